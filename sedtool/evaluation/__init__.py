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
- `evaluate_onsets`: as the first, but offsets are not looked at.
- `event_errors`, `segment_errors`: error rates with substitutions, deletions and insertions.
- `analyse_errors`: each event is correct or of one kind of error; see `analysis`.
- `evaluate_intersection`, and PSDS: see `intersection` and `psds`.

`evaluate` matches the clip names of the two sides, by path, else by unique basename, and computes
those that it is asked for. Each function takes events as label files give them, as a sequence of
`Event`, or as `EventColumns` of arrays, and loads nothing. `event_counts`, `segment_counts` and
`clip_counts` are their cores, for arrays of numbers, and fast enough to sit inside a search over
thresholds.

Differences from sed_eval
-------------------------
Given equal clips and classes, every count equals that of sed_eval 0.2.1 with optimal matching
(``engine="sed_eval"`` asks sed_eval for it; with its ``greedy`` matching TP is smaller or equal,
and depends on the order of rows). What is done with the counts, and which clips and classes are
counted, differs from sed_eval as the DCASE 2019 task 4 baseline calls it, as follows.
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
12. * Error rates of a class without references are undefined, and left out of their mean. There,
    they are 0, or some 10^15 for each insertion. Mean error rates fall where there are any.

Differences from psds_eval and sed_scores_eval are listed in `intersection` and `psds`. Of the
metrics here, collar-based F1 of sed_scores_eval rounds differences of times to six decimals, so
that all decimal ties count as hits; its scores are higher, or equal.

The clip metric of that baseline is its own: `compat` then counts undefined classes 0, as it does.

References
----------
A. Mesaros, T. Heittola, T. Virtanen, "Metrics for polyphonic sound event detection", Applied
Sciences 6(6), 2016. N. Turpault, R. Serizel, A. Parag Shah, J. Salamon, "Sound event detection in
domestic environments with weakly labeled data and soundscape synthesis", DCASE workshop 2019.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

from sedtool.config import EvaluationConfig, lookup
from sedtool.config.evaluation import METRICS, PSDS_SCENARIOS, IntersectionConfig
from sedtool.evaluation.analysis import ErrorAnalysis, ErrorCounts, analyse_errors
from sedtool.evaluation.clips import clip_counts, evaluate_clips, score_heard
from sedtool.evaluation.counts import ClassScores, Rates, Scores
from sedtool.evaluation.error_rates import ErrorRate, ErrorRates, event_errors, segment_errors
from sedtool.evaluation.events import evaluate_events, evaluate_onsets, event_counts, score_events
from sedtool.evaluation.intersection import evaluate_intersection
from sedtool.evaluation.pair import EventArrays, LabelInput, as_labels, pair_up
from sedtool.evaluation.pairing import (
    durations_by_clip,
    match_names,
    matched_by_basename,
    warn_of_basenames,
    warn_of_durations,
    warn_of_labels,
    warn_of_names,
    warn_of_overlaps,
    weak_form,
)
from sedtool.evaluation.report import Evaluation
from sedtool.evaluation.segments import evaluate_segments, score_segments, segment_counts
from sedtool.labels import EventColumns, StrongLabels

__all__ = [
    "ClassScores",
    "ErrorAnalysis",
    "ErrorCounts",
    "ErrorRate",
    "ErrorRates",
    "Evaluation",
    "EventArrays",
    "EventColumns",
    "Rates",
    "Scores",
    "analyse_errors",
    "clip_counts",
    "evaluate",
    "evaluate_clips",
    "evaluate_events",
    "evaluate_intersection",
    "evaluate_onsets",
    "evaluate_segments",
    "event_counts",
    "event_errors",
    "segment_counts",
    "segment_errors",
]

_SHARES = IntersectionConfig()


def evaluate(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    *,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
    weak_reference: Mapping[str, Iterable[str]] | None = None,
    weak_estimated: Mapping[str, Iterable[str]] | None = None,
    metrics: Iterable[str] = ("event", "segment", "clip"),
    intersection: IntersectionConfig = _SHARES,
) -> Evaluation:
    """Match clip names and compute metrics: by default event, segment and clip.

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
    metrics
        Of ``event``, ``segment``, ``clip``, ``onset`` and ``intersection``, in the order of the
        result; and ``error-rate``, ``errors``.
    intersection
        The shares of ``intersection``.

    Returns
    -------
    Evaluation
        With a warning for every clip and label without a partner.

    Raises
    ------
    LabelError
        If an event or a duration has impossible times, or a clip name is ambiguous.
    ConfigError
        If there is no such metric.
    """
    classes = None if classes is None else tuple(classes)
    metrics = tuple(metrics)
    for name in metrics:
        lookup(dict.fromkeys(n for n in METRICS if n not in PSDS_SCENARIOS), name, "metric")
    reference, estimated = as_labels(reference), as_labels(estimated)
    heard, tagged, clip_names = _clip_labels(
        reference, estimated, weak_reference, weak_estimated, config
    )
    from_events = not (heard or tagged)
    event_names = match_names(estimated.names, reference.names, "estimated events")
    estimated = estimated.renamed(event_names)
    pair = pair_up(reference, estimated, classes, config.compat)
    scored = pair.within_reference() if config.compat == "dcase" else pair
    seconds = durations_by_clip(durations, pair.clips)

    tags = None if weak_reference is None and weak_estimated is None else (heard, tagged)
    warnings = warn_of_basenames(event_names | clip_names)
    of_events = tags is None or any(name != "clip" for name in metrics)
    sides = (reference, estimated) if of_events else None
    warnings += _warn_of_sides(sides, tags, classes, config)
    warnings += warn_of_overlaps(pair)
    if durations is not None:
        warnings += warn_of_durations(reference, estimated, seconds)
    measure: dict[str, Callable[[], Scores]] = {
        "event": lambda: score_events(scored, config),
        "segment": lambda: score_segments(scored, config, seconds),
        "clip": lambda: (
            score_heard(pair, config.compat)
            if from_events
            else evaluate_clips(heard, tagged, classes, config)
        ),
        "onset": lambda: score_events(scored, config, onset_only=True),
        "intersection": lambda: evaluate_intersection(reference, estimated, intersection, classes),
    }
    return Evaluation(
        {name: measure[name]() for name in metrics if name in measure},
        clip_source="event lists" if weak_estimated is None else "clip predictions",
        config=config,
        n_clips=len(pair.clips),
        n_durations=len(seconds),
        n_matched_by_basename=len(matched_by_basename(event_names | clip_names)),
        classes_given=classes is not None,
        warnings=tuple(warnings),
        intersection=intersection,
        error_rates={
            "event": event_errors(reference, estimated, config, classes),
            "segment": segment_errors(reference, estimated, config, classes, seconds),
        }
        if "error-rate" in metrics
        else {},
        errors=analyse_errors(reference, estimated, config, classes)
        if "errors" in metrics
        else None,
    )


def _warn_of_sides(
    events: tuple[StrongLabels, StrongLabels] | None,
    tags: tuple[Mapping[str, Iterable[str]], Mapping[str, Iterable[str]]] | None,
    classes: tuple[str, ...] | None,
    config: EvaluationConfig,
) -> list[str]:
    """Return what is to be said of names and labels that one side alone has."""
    warnings: list[str] = []
    labels: list[tuple[Sequence[str], Sequence[str]]] = []
    if events is not None:
        reference, estimated = events
        warnings += warn_of_names("events", reference.names, estimated.names)
        labels.append((reference.classes, estimated.classes))
    if tags is not None:
        heard, tagged = tags
        warnings += warn_of_names("clip labels", heard, tagged)
        labels.append((tuple(chain(*heard.values())), tuple(chain(*tagged.values()))))
    return warnings + warn_of_labels(labels, classes, config.compat)


def _clip_labels(
    reference: StrongLabels,
    estimated: StrongLabels,
    weak_reference: Mapping[str, Iterable[str]] | None,
    weak_estimated: Mapping[str, Iterable[str]] | None,
    config: EvaluationConfig,
) -> tuple[Mapping[str, Iterable[str]], Mapping[str, Iterable[str]], dict[str, str]]:
    """Return the labels of clips under the names of the reference, and what each name means.

    All are empty where the events say it, which need no such detour.
    """
    if weak_reference is None and weak_estimated is None and config.engine == "native":
        return {}, {}, {}
    heard = weak_form(reference, config.compat) if weak_reference is None else weak_reference
    tagged = weak_form(estimated, config.compat) if weak_estimated is None else weak_estimated
    names = match_names(tagged, heard, "estimated clip labels")
    return heard, {names[name]: labels for name, labels in tagged.items()}, names
