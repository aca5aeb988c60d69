"""Polyphonic sound detection score: intersection-based ROC curves of all classes in one number.

Conventions
-----------
Events are judged as in `sedtool.evaluation.intersection`, at every threshold. For each class::

    TPR  = true positives / references
    eFPR = (false positives / duration of all clips
            + alpha_ct * mean over other classes of cross-triggers / their total length) per hour

The curve of a class is a staircase: at a rate, the highest TPR that a threshold with this eFPR or
less gives. PSDS is the mean height, from 0 to `max_efpr`, of the mean of the curves less `alpha_st`
times their standard deviation, where that is not negative.

- `psds_from_scores`: from frame scores, at all thresholds. The events at a threshold are the
  runs of frames with a score above it; as it falls, they begin, grow and join, and the counts
  change only there. Nothing is sampled.
- `psds_from_lists`: from lists of events, one a threshold.

Both take clips without events: false positives and the duration count there, too.

What is scored of a scores file is the score after the median filter of its decoding settings, as
in DCASE task 4, where post-processing is part of the system (`sources.open_frame_scores` can leave
it out). Clip gate, shortest event and merging of gaps belong to one operating point, and are left
out.

Differences from psds_eval and sed_scores_eval
----------------------------------------------
Given input that it takes, `psds_from_scores` equals sed_scores_eval 0.0.4 and `psds_from_lists`
equals psds_eval 0.5.3, but for the differences listed in `sedtool.evaluation.intersection` (ties,
overlaps, zero length and shares of 0) and these.

1. From scores, all thresholds are used, as in sed_scores_eval. psds_eval uses the lists it is
   given: the fewer, the lower its score. Scores rise against psds_eval.
2. Cross-triggers are averaged over the other classes, K - 1, as in both. psds_eval before 0.5
   divided by K. Scores fall against that where alpha_ct is not 0.
3. A class of the list without references has TPR 0, and counts in mean, deviation and as another
   class without cross-triggers. psds_eval fails, or reads memory that was never set;
   sed_scores_eval refuses. By default the class list is the reference's, and there is none.
4. A class of the reference that has no scores has TPR 0, with a warning. sed_scores_eval refuses.
5. A clip of the reference without scores is one where nothing was detected, and any clip of the
   durations counts by its length, as in psds_eval. sed_scores_eval asks for the same clips
   everywhere. Scores fall, or stay.
6. Staircases only, and rates per hour: there is no linear interpolation, and no open `max_efpr`.
7. With one class there are no cross-triggers. psds_eval has NaN for them. No valid score moves.
8. Intervals (`resampling`) are of clips drawn with replacement. sed_scores_eval leaves out a fifth
   of the clips instead, in which a mean has √(0.2 / 0.8) = half the deviation: its intervals are
   half as wide. No score moves.

References
----------
C. Bilen, G. Ferroni, F. Tuveri, J. Azcarreta, S. Krstulovic, "A framework for the robust
evaluation of sound event detection", ICASSP 2020. J. Ebbers, R. Haeb-Umbach, R. Serizel,
"Threshold independent evaluation of sound event detection scores", ICASSP 2022.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.config.evaluation import PSDS_SCENARIOS, PsdsConfig
from sedtool.errors import LabelError
from sedtool.evaluation.counts import IntArray
from sedtool.evaluation.intersection import MergedEvents, intersect, merge_classes
from sedtool.evaluation.pair import as_labels, scored_classes, tabulate
from sedtool.evaluation.psds.counting import ClipFrames, Tally
from sedtool.evaluation.psds.curves import Curve, OperatingPoints, area, class_curve, psd_roc
from sedtool.evaluation.psds.resampling import ClassSteps, ClipSteps, ListSteps
from sedtool.labels import Event, StrongLabels
from sedtool.score_tables import FrameScores

__all__ = [
    "PSDS_SCENARIOS",
    "Curve",
    "Psds",
    "PsdsConfig",
    "psds_from_lists",
    "psds_from_scores",
]


@dataclass(frozen=True)
class Psds:
    """The score of one scenario, and the curves behind it."""

    value: float  # in [0, 1]
    classes: dict[str, float]  # the mean height of the curve of each class
    roc: Curve  # of all classes
    class_rocs: dict[str, Curve]
    config: PsdsConfig
    n_clips: int
    seconds: float  # duration of all clips
    undefined: tuple[str, ...]  # classes without references, whose curve is 0
    unscored: tuple[str, ...] = ()  # classes of the list that the scores lack
    steps: ClipSteps | None = None  # what resampling needs, if it was asked for
    n_lists: int | None = None  # of event lists: how many thresholds there are


def psds_from_scores(
    reference: StrongLabels | Sequence[Event],
    scores: Iterable[FrameScores],
    score_classes: Sequence[str],
    configs: Sequence[PsdsConfig],
    *,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
    by_clip: bool = False,
) -> list[Psds]:
    """Return the PSDS of frame scores, over all thresholds.

    Parameters
    ----------
    reference
        Events in any order. Clip names of the two sides are compared as they are.
    scores
        One entry a clip, in any order; they are read once, and may be made on the fly.
    score_classes
        What the columns of the scores are.
    configs
        The scenarios; all are counted in one pass.
    classes
        The only classes to score; by default those of the reference.
    durations
        Seconds, by clip name. A clip that is not named here is as long as its scores.
    by_clip
        Whether to keep what each clip counts, for resampling.

    Returns
    -------
    list of Psds
        One a scenario.

    Raises
    ------
    LabelError
        If an event has impossible times, a clip of the reference has neither scores nor a duration,
        a clip or class stands twice in the scores, or there is no class.
    """
    reference = as_labels(reference)
    listed = _class_list(reference, classes)
    column = {label: k for k, label in enumerate(score_classes)}
    if len(column) < len(score_classes):
        raise LabelError("a class stands twice in the scores")
    columns = np.array([column.get(label, -1) for label in listed])
    clips = dict.fromkeys((*reference.names, *(durations or {})))
    number = {name: i for i, name in enumerate(clips)}
    pair = tabulate(StrongLabels(reference.events, tuple(clips)), [], EvaluationConfig(), listed)
    truth = merge_classes(pair.reference)
    seconds = dict(durations or {})
    tally = Tally(truth, len(listed), configs, by_clip)
    tally.count(_numbered(scores, len(score_classes), columns, number, seconds))
    total = _total(number, seconds)
    every = range(len(listed))
    return [
        _psds(
            [tally.points(k, i) for k in every],
            config,
            listed,
            truth,
            (len(number), total),
            unscored=tuple(label for label in listed if label not in column),
            steps=_clip_steps([tally.steps(k, i) for k in every], number, seconds, truth, config)
            if by_clip
            else None,
        )
        for i, config in enumerate(configs)
    ]


def _clip_steps(
    steps: Sequence[ClassSteps],
    clips: Iterable[str],
    seconds: Mapping[str, float],
    truth: MergedEvents,
    config: PsdsConfig,
) -> ClipSteps:
    names = tuple(clips)
    return ClipSteps(names, np.array([seconds[name] for name in names]), truth, steps, config)


def _class_list(reference: StrongLabels, classes: Iterable[str] | None) -> tuple[str, ...]:
    listed, _ = scored_classes(reference.classes, (), classes, "")
    if not listed:
        raise LabelError("PSDS needs a class: the reference has no events, so give a class list")
    return listed


def _numbered(
    scores: Iterable[FrameScores],
    n_columns: int,
    columns: IntArray,
    number: dict[str, int],
    seconds: dict[str, float],
) -> Iterator[ClipFrames]:
    """Yield the scores of the classes in `columns`; number clips, and note how long they are."""
    seen: set[str] = set()
    known = columns >= 0
    as_it_is = np.array_equal(columns, np.arange(len(columns)))
    for clip in scores:
        if clip.name in seen:
            raise LabelError(f"{clip.name} has scores twice")
        seen.add(clip.name)
        chosen = clip.scores
        if chosen.shape[1] != n_columns:
            raise LabelError(f"{clip.name}: {chosen.shape[1]} scores for {n_columns} classes")
        if not (as_it_is and chosen.shape[1] == len(columns)):
            chosen = np.full((len(clip.scores), len(columns)), -np.inf)
            chosen[:, known] = clip.scores[:, columns[known]]
        if np.isnan(np.min(chosen, initial=0.0)):
            raise LabelError(f"{clip.name}: a score is not a number")
        seconds.setdefault(clip.name, float(clip.times[-1]))
        yield ClipFrames(number.setdefault(clip.name, len(number)), clip.times, chosen)


def psds_from_lists(
    reference: StrongLabels | Sequence[Event],
    lists: Iterable[StrongLabels | Sequence[Event]],
    configs: Sequence[PsdsConfig],
    *,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float],
    by_clip: bool = False,
) -> list[Psds]:
    """Return the PSDS of lists of events, each made with another threshold.

    Parameters
    ----------
    reference, configs, classes, by_clip
        As in `psds_from_scores`.
    lists
        In any order; they are read once, and may be made on the fly.
    durations
        Seconds, by clip name, of every clip.

    Raises
    ------
    LabelError
        If an event has impossible times, a clip has no duration, or there is no class.
    """
    reference = as_labels(reference)
    listed = _class_list(reference, classes)
    clips = dict.fromkeys((*reference.names, *durations))
    reference = StrongLabels(reference.events, tuple(clips))
    truth = merge_classes(tabulate(reference, [], EvaluationConfig(), listed).reference)
    rows: list[list[tuple[IntArray, ...]]] = [[] for _ in configs]
    steps = [ListSteps(len(listed)) for _ in configs if by_clip]
    for estimated in lists:
        pair = tabulate(reference, estimated, EvaluationConfig(), listed)
        clips |= dict.fromkeys(pair.clips)
        for i, (found, config) in enumerate(zip(rows, configs, strict=True)):
            every = intersect(pair.reference, pair.estimated, config.criteria)
            if by_clip:
                steps[i].add(every)
            counts = every.counts
            false = counts.n_estimated - counts.tp
            found.append((counts.tp, false, every.cross_triggers))
    length = np.bincount(truth.class_in_clip % len(listed), truth.offset - truth.onset, len(listed))
    weight = np.divide(1.0, length, out=np.zeros(len(listed)), where=length > 0)
    total = _total(clips, durations)
    results = []
    for i, (found, config) in enumerate(zip(rows, configs, strict=True)):
        points = [_points(found, k, weight) for k in range(len(listed))]
        kept = _clip_steps(steps[i].classes(), clips, durations, truth, config) if by_clip else None
        result = _psds(points, config, listed, truth, (len(clips), total), steps=kept)
        results.append(replace(result, n_lists=len(found)))
    return results


def _points(rows: list[tuple[IntArray, ...]], k: int, weight: np.ndarray) -> OperatingPoints:
    """Return the counts of a class in each list."""
    tp, fp = (np.array([row[kind][k] for row in rows], np.int64) for kind in (0, 1))
    cross = np.array([row[2][k] @ weight for row in rows], float)
    return OperatingPoints(np.full(len(rows), np.nan), tp, fp, cross)


def _total(clips: Iterable[str], seconds: Mapping[str, float]) -> float:
    """Return the duration of all clips."""
    lacking = [name for name in clips if name not in seconds]
    if lacking:
        raise LabelError(
            f"{len(lacking)} clips have no duration, {lacking[0]} first: rates per hour need "
            "all of them"
        )
    for name, value in seconds.items():
        if not 0 <= value < np.inf:
            raise LabelError(f"{name}: a duration of {value:g} s; it must be finite, 0 or more")
    total = float(np.sum(list(seconds.values())))
    if not total > 0:
        raise LabelError("the clips last 0 s altogether, so there is no rate per hour")
    return total


def _psds(
    points: Sequence[OperatingPoints],
    config: PsdsConfig,
    classes: Sequence[str],
    truth: MergedEvents,
    clips: tuple[int, float],
    unscored: tuple[str, ...] = (),
    steps: ClipSteps | None = None,
) -> Psds:
    n_reference = np.bincount(truth.class_in_clip % len(classes), minlength=len(classes)).tolist()
    n_clips, seconds = clips
    curves = [
        class_curve(p, n, len(classes), seconds, config)
        for p, n in zip(points, n_reference, strict=True)
    ]
    roc = psd_roc(curves, config.alpha_st)
    return Psds(
        area(roc, config.max_efpr),
        {label: area(c, config.max_efpr) for label, c in zip(classes, curves, strict=True)},
        roc,
        dict(zip(classes, curves, strict=True)),
        config,
        n_clips,
        seconds,
        tuple(label for label, n in zip(classes, n_reference, strict=True) if n == 0),
        unscored,
        steps,
    )
