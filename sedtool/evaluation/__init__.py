"""events and reference -> event-based, segment-based and clip-level F1, macro, micro and by class.

Conventions
-----------
Events are intervals [onset, offset) in seconds within a clip. Both sides are lists; their order
does not matter. Rates are fractions. With true positives TP among n_reference and n_estimated::

    precision = TP / n_estimated            FP = n_estimated - TP
    recall    = TP / n_reference            FN = n_reference - TP
    F1        = 2 TP / (n_reference + n_estimated)

A rate is undefined where its denominator is 0. *Micro* pools the counts of all classes; *macro*
is the mean over a fixed list of classes, in which an undefined rate counts 0.

Metrics
-------
- `evaluate_events`: counted in events. An estimated event is a true positive if it can be paired,
  one to one, with a reference event of the same clip and class whose onset is at most
  `collar` = 0.2 s away and whose offset at most max(`collar`, 20 % of its own length). TP is the
  size of the largest possible pairing, so no order of rows and no density of events changes it.
- `evaluate_segments`: counted in cells of 1 s, by class. An event is active in every cell it
  touches; overlapping events of one class are active once, zero-length ones on a border never.
- `evaluate_clips`: counted in clips, by class: is the class heard anywhere in the clip?

`evaluate` matches the clip names of the two sides, by path, else by unique basename, and computes
all three. `event_counts` is the core of the first, for arrays of one class, and fast enough to
sit inside a search over thresholds.

Differences from sed_eval
-------------------------
Given equal clips and classes, every count equals that of sed_eval 0.2.1 with optimal matching
(``engine="sed_eval"`` asks sed_eval for it). What is done with the counts, and which clips and
classes are counted, differs from sed_eval as the DCASE 2019 task 4 baseline calls it, as follows.
``compat="dcase"`` undoes the differences marked *.

1. * Clips that only the estimates name are scored: their events are false positives. There, only
   the clip metric sees them. Event and segment scores fall, or stay.
2. * The class list is the reference's or the one given, not the union of both sides, so it does not
   depend on the system. A class that only the estimates have counts as false positives in micro,
   as there, and not in macro. There, it is dropped from macro F1 of events and segments, counts 0
   in their macro precision, and 0 in macro F1 of clips. Those macro scores rise, or stay.
3. Given a class list, labels outside it are left out on both sides, in micro too. There, they
   count in event micro, and stop the segment metric. Micro moves either way.
4. * An undefined rate counts 0 in macro. There, the segment metric drops a class that was never
   estimated, as if it were not evaluated, so that deleting a correct estimate can raise macro F1
   (the event metric, called with ``zero_score``, counts it 0 as here). Classes without references
   or estimates, possible with a class list only, count 0 too. Segment scores fall, or stay.
5. * Micro F1 is 0 with references and no estimates. There, that of segments is undefined.
6. * A zero-length event does not make its class heard in the clip, as everywhere in sedtool.
   There, it does. Clip scores move either way. It counts as an event in both.
7. Where durations are known, cells past the end of the clip are not scored. Without, as there, a
   clip ends with its last event of either side, and an estimate that runs on by some ms is
   charged a whole cell. Segment scores usually rise, for some systems by more than a point.
8. Clip names match by unique basename where paths differ. There, such clips have no partner.
   Scores rise.
9. A negative time or an offset before its onset is a LabelError. There, activity from a negative
   onset is lost in silence. Labels are compared as they are; there, outer spaces are stripped and
   the label ``none`` is dropped. No score of valid lists moves.
10. `collar` 0 and `offset_ratio` above 1 are allowed. There, they are refused.
11. FP and FN of micro are the sums over classes. There, those of events leave substitutions out;
    precision, recall and F1 do not depend on it.

The clip metric of that baseline is its own: `compat` then counts undefined classes 0, as it does.

References
----------
A. Mesaros, T. Heittola, T. Virtanen, "Metrics for polyphonic sound event detection", Applied
Sciences 6(6), 2016. N. Turpault, R. Serizel, A. Parag Shah, J. Salamon, "Sound event detection in
domestic environments with weakly labeled data and soundscape synthesis", DCASE workshop 2019.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from sedtool.config import EvaluationConfig
from sedtool.evaluation.clips import evaluate_clips
from sedtool.evaluation.events import evaluate_events, event_counts
from sedtool.evaluation.pairing import (
    durations_by_clip,
    match_names,
    matched_by_basename,
    warn_of_durations,
    warn_of_labels,
    warn_of_names,
    weak_form,
)
from sedtool.evaluation.report import Evaluation
from sedtool.evaluation.scores import ClassScores, Rates, Scores
from sedtool.evaluation.segments import evaluate_segments
from sedtool.evaluation.tables import EventArrays, as_labels
from sedtool.labels import Event, StrongLabels

__all__ = [
    "ClassScores",
    "Evaluation",
    "EventArrays",
    "Rates",
    "Scores",
    "evaluate",
    "evaluate_clips",
    "evaluate_events",
    "evaluate_segments",
    "event_counts",
]


def evaluate(
    reference: StrongLabels | Sequence[Event],
    estimated: StrongLabels | Sequence[Event],
    config: EvaluationConfig,
    *,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
    weak_reference: Mapping[str, Iterable[str]] | None = None,
    weak_estimated: Mapping[str, Iterable[str]] | None = None,
) -> Evaluation:
    """Match clip names and compute all three metrics.

    Parameters
    ----------
    reference, estimated
        Events in any order.
    config
        Tolerances, engine, conventions.
    classes
        The only classes to score; by default those of the reference.
    durations
        Seconds, by clip name; see `evaluate_segments`.
    weak_reference, weak_estimated
        Labels by clip name, for the clip metric. Without them it uses the labels of the events,
        which measures the events' thresholds more than the system's judgement of clips.

    Returns
    -------
    Evaluation
        With a warning for every clip and label without a partner.

    Raises
    ------
    LabelError
        If an event or a duration has impossible times, or a clip name is ambiguous.
    """
    classes = None if classes is None else tuple(classes)
    reference, estimated = as_labels(reference), as_labels(estimated)
    heard = weak_form(reference, config.compat) if weak_reference is None else weak_reference
    tagged = weak_form(estimated, config.compat) if weak_estimated is None else weak_estimated

    event_names = match_names(estimated.names, reference.names, "estimated events")
    clip_names = match_names(tagged, heard, "estimated clip labels")
    estimated = estimated.renamed(event_names)
    tagged = {clip_names[name]: labels for name, labels in tagged.items()}
    by_basename = matched_by_basename(event_names) | matched_by_basename(clip_names)
    clips = dict.fromkeys((*reference.names, *estimated.names))
    seconds = durations_by_clip(durations, clips)

    warnings = warn_of_names("events", reference.names, estimated.names)
    if weak_reference is not None or weak_estimated is not None:
        warnings += warn_of_names("clip labels", heard, tagged)
    event_labels = (reference.classes, estimated.classes)
    clip_labels = (chain(*heard.values()), chain(*tagged.values()))
    warnings += warn_of_labels([event_labels, clip_labels], classes, config.compat)
    if durations is not None:
        warnings += warn_of_durations(reference, estimated, seconds)
    return Evaluation(
        event=evaluate_events(reference, estimated, config, classes),
        segment=evaluate_segments(reference, estimated, config, classes, seconds),
        clip=evaluate_clips(heard, tagged, classes, config),
        clip_source="event lists" if weak_estimated is None else "clip predictions",
        config=config,
        n_clips=len(clips),
        n_durations=len(seconds),
        n_matched_by_basename=len(by_basename),
        classes_given=classes is not None,
        warnings=tuple(warnings),
    )
