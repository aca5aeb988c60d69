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
- `evaluate_segments`: counted in segments of 1 s, by class. An event is active in every segment it
  touches; overlapping events of one class are active once, zero-length ones on a border never.
- `evaluate_clips`: counted in clips, by class: is the class anywhere in the clip?
- `evaluate_onsets`: as the first, but offsets are not looked at.
- `event_errors`, `segment_errors`: error rates with substitutions, deletions and insertions.
- `analyse_errors`: each event is correct or of one kind of error; see `analysis`.
- `evaluate_intersection`, and PSDS: see `intersection` and `psds`.

`evaluate` matches the clip names of the two sides, by path, else by unique basename or but for the
suffix (see `sedtool.labels.names`), and computes those that it is asked for. Each function takes
events as label files give them, as a sequence of `Event`, or as `EventColumns` of arrays, and loads
nothing. `event_counts` is for arrays of numbers, and fast enough to sit inside a search over
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
6. * A zero-length event does not put its class in the clip, as everywhere in sedtool.
   There, it does. Clip scores move either way. It counts as an event in both.
7. Where durations are known, segments past the end of the clip are not scored. Without, as there, a
   clip ends with its last event of either side, and an estimate that runs on by some ms is
   charged a whole segment. Segment scores usually rise, for some systems by more than a point.
8. Clip names match by unique basename where paths differ, and with or without their suffix. There,
   such clips have no partner. Scores rise.
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

from sedtool.evaluation.analysis import ErrorAnalysis, ErrorCounts
from sedtool.evaluation.counts import ClassScores, MetricScores, Rates
from sedtool.evaluation.error_rates import ErrorRate, ErrorRates
from sedtool.evaluation.evaluate import (
    Evaluation,
    analyse_errors,
    evaluate,
    evaluate_clips,
    evaluate_events,
    evaluate_intersection,
    evaluate_onsets,
    evaluate_segments,
    event_errors,
    segment_errors,
)
from sedtool.evaluation.events import event_counts, largest_matching
from sedtool.evaluation.pair import EventArrays
from sedtool.labels import EventColumns

__all__ = [
    "ClassScores",
    "ErrorAnalysis",
    "ErrorCounts",
    "ErrorRate",
    "ErrorRates",
    "Evaluation",
    "EventArrays",
    "EventColumns",
    "MetricScores",
    "Rates",
    "analyse_errors",
    "evaluate",
    "evaluate_clips",
    "evaluate_events",
    "evaluate_intersection",
    "evaluate_onsets",
    "evaluate_segments",
    "event_counts",
    "event_errors",
    "largest_matching",
    "segment_errors",
]
