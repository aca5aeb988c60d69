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

What a clip counts of a class changes at some thresholds only. These steps are counted once, clip by
clip; everything else is a weighted sum over clips. With weights of 1 it is the score, and with how
often each clip was drawn it is the score of a resample: a clip that is drawn twice counts twice, in
true and false positives, cross-triggers, references and duration.

Axis letters: B resamples, C clips, K classes, N references, P thresholds of one class.

What is scored of a scores file is the score after the median filter of its decoding settings, or
the confidence of its boxes, as
in DCASE task 4, where post-processing is part of the system (`open_frame_scores` can leave it out).
Clip gate, shortest event and merging of gaps belong to one operating point, and are left out.

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
8. Intervals are of clips drawn with replacement. sed_scores_eval leaves out a fifth
   of the clips instead, in which a mean has √(0.2 / 0.8) = half the deviation: its intervals are
   half as wide. No score moves.

References
----------
C. Bilen, G. Ferroni, F. Tuveri, J. Azcarreta, S. Krstulovic, "A framework for the robust
evaluation of sound event detection", ICASSP 2020. J. Ebbers, R. Haeb-Umbach, R. Serizel,
"Threshold independent evaluation of sound event detection scores", ICASSP 2022.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sedtool.config.evaluation import PsdsConfig
from sedtool.errors import LabelError
from sedtool.evaluation.counts import FloatArray, IntArray
from sedtool.evaluation.intersection import intersect, merge
from sedtool.evaluation.pair import EventArrays, as_labels, clip_seconds, pair_up
from sedtool.evaluation.psds_steps import FP, TP, ClipFrames, Steps, Whole, count_steps
from sedtool.labels import Event, NameIndex, StrongLabels, Vocabulary

if TYPE_CHECKING:
    from sedtool.score_tables import FrameScores  # which loads h5py and scipy

_HOUR = 3600.0  # seconds
_BLOCK = 2**22  # values of the curves of all classes made at a time


class OperatingPoints(NamedTuple):
    """What a class counts at P thresholds, falling."""

    threshold: FloatArray  # (P,) highest threshold with these counts
    tp: FloatArray  # (P,)
    fp: FloatArray  # (P,)
    cross: FloatArray  # (P,) cross-triggers per second of the class crossed, summed over classes


class Curve(NamedTuple):
    """A staircase: from each rate on, up to the next, the ratio beside it."""

    rate: FloatArray  # effective false positives an hour, ascending from 0
    ratio: FloatArray  # (effective) true positive ratio, in [0, 1]


class ClassSteps:
    """The steps of one class, with the place of each among the thresholds of the class.

    Of event lists, each is a threshold by itself: what is counted there are its steps alone.
    """

    def __init__(
        self, clip: Whole, threshold: FloatArray, kind: Whole, size: Whole, of_lists: bool
    ) -> None:
        self.of_lists = of_lists
        falling, place = np.unique(-threshold, return_inverse=True)
        self.threshold = -falling  # (P,)
        place = place.astype(np.int32)
        rows = [np.flatnonzero(kind == counted) for counted in (TP, FP)]
        rows.append(np.flatnonzero(kind >= 0))
        self._counted = [(place[r], clip[r], size[r]) for r in rows]
        self._crossed = kind[rows[-1]]

    @classmethod
    def of_each(cls, steps: Steps, n_classes: int, of_lists: bool) -> list["ClassSteps"]:
        """Return the steps of each class."""
        clip = (steps.class_in_clip // n_classes).astype(np.int32)
        label = steps.class_in_clip % n_classes
        label = label.astype(np.min_scalar_type(n_classes))  # small numbers sort fast
        order = np.argsort(label, kind="stable")
        borders = np.searchsorted(label[order], np.arange(n_classes + 1))
        _, threshold, kind, size = steps
        every = (order[first:stop] for first, stop in pairwise(borders))
        return [cls(clip[r], threshold[r], kind[r], size[r], of_lists) for r in every]

    def points(self, weights: FloatArray, rarity: FloatArray) -> OperatingPoints:
        """Return the counts with clips weighted by `weights`, (C,).

        Cross-triggers are weighted by the `rarity` of the class that is crossed, too, (K,).
        """
        tp, fp, cross = (weights[clip] * size for _, clip, size in self._counted)
        sizes = (tp, fp, cross * rarity[self._crossed])
        counts = [
            np.bincount(place, size, len(self.threshold)).astype(float)
            for (place, _, _), size in zip(self._counted, sizes, strict=True)
        ]
        return OperatingPoints(
            self.threshold, *(counts if self.of_lists else map(np.cumsum, counts))
        )


@dataclass(frozen=True, eq=False)
class PsdsCounts:
    """All that a scenario counts in each clip; scores are weighted sums over the clips."""

    clips: tuple[str, ...]  # C names, by number
    seconds: FloatArray  # duration of each clip, (C,)
    reference: EventArrays  # N references, by class-in-clip ``clip * K + class``
    classes: Sequence[ClassSteps]  # K
    config: PsdsConfig

    @property
    def n_reference(self) -> IntArray:
        """Return how many references each class has, (K,)."""
        _, label = self._places
        return np.bincount(label, minlength=len(self.classes))

    @cached_property
    def _places(self) -> tuple[IntArray, IntArray]:
        """Return the numbers of clip and class of each reference, (N,)."""
        return np.divmod(self.reference.clip, len(self.classes))

    def psds(self, weights: FloatArray) -> FloatArray:
        """Return the score, (B,), of each row of how often the clips were drawn, (B, C).

        A class that has references, and none in the clips drawn, is left out of mean and deviation.
        The score is NaN where no class is left, or no time.
        """
        return np.array([self.height(self.curves(row)) for row in weights])

    def height(self, curves: Sequence[Curve]) -> float:
        """Return the score of the curves of some classes; NaN of none."""
        if not curves:
            return math.nan
        return area(psd_roc(curves, self.config.alpha_st), self.config.max_efpr)

    def curves(self, weights: FloatArray) -> list[Curve]:
        """Return the ROC of each class with clips weighted by `weights`, (C,).

        Classes whose references are all in clips of weight 0 are left out.
        """
        seconds = float((weights * self.seconds).sum())
        if not seconds > 0:
            return []
        clip, label = self._places
        n_reference = np.bincount(label, weights[clip], len(self.classes))
        is_left_out = (n_reference == 0) & (self.n_reference > 0)
        return [
            self._curve(points, n, seconds)
            for points, n, left_out in zip(
                self.points(weights), n_reference.tolist(), is_left_out, strict=True
            )
            if not left_out
        ]

    def points(self, weights: FloatArray) -> list[OperatingPoints]:
        """Return the counts of each class at its thresholds."""
        clip, label = self._places
        spans = (self.reference.offset - self.reference.onset) * weights[clip]
        length = np.bincount(label, spans, len(self.classes)).astype(float)
        # Cross-triggers count by how rare the class is that they are taken for.
        rarity = np.divide(1.0, length, out=np.zeros(len(length)), where=length > 0)
        return [steps.points(weights, rarity) for steps in self.classes]

    def _curve(self, points: OperatingPoints, n_reference: float, seconds: float) -> Curve:
        """Return the ROC of a class, as far as it rises and up to `max_efpr`."""
        config = self.config
        cross = np.zeros(1)
        if config.alpha_ct:
            cross = config.alpha_ct * points.cross / max(len(self.classes) - 1, 1)
        # Sums of weights may miss 0 by a hair.
        rate = np.maximum(np.append(0.0, (points.fp / seconds + cross) * _HOUR), 0.0)
        ratio = np.append(0.0, points.tp / max(n_reference, 1))
        near = np.flatnonzero(rate <= config.max_efpr)
        order = near[np.lexsort((-ratio[near], rate[near]))]
        best = np.maximum.accumulate(ratio[order])
        rises = np.append(True, best[1:] > best[:-1])
        return Curve(rate[order][rises], best[rises])


def psd_roc(curves: Sequence[Curve], alpha_st: float) -> Curve:
    """Return mean less weighted standard deviation over the classes, never below 0."""
    rate = np.unique(np.concatenate([curve.rate for curve in curves]))
    size = max(1, _BLOCK // len(curves))
    pieces = []
    for first in range(0, len(rate), size):
        x = rate[first : first + size]
        ratios = np.stack([c.ratio[np.searchsorted(c.rate, x, "right") - 1] for c in curves])
        pieces.append(ratios.mean(axis=0) - alpha_st * ratios.std(axis=0))
    return Curve(rate, np.maximum(np.concatenate(pieces), 0.0))


def area(curve: Curve, max_rate: float) -> float:
    """Return the mean height of a staircase from 0 to `max_rate`, which no step lies beyond."""
    return float(curve.ratio @ np.diff(curve.rate, append=max_rate) / max_rate)


@dataclass(frozen=True, eq=False)
class Psds:
    """The score of one scenario."""

    value: float  # in [0, 1]
    classes: dict[str, float]  # the mean height of the curve of each class
    undefined: tuple[str, ...]  # classes without references, whose curve is 0
    unscored: tuple[str, ...]  # classes of the list that have no scores
    n_lists: int | None  # of event lists: how many thresholds there are
    counts: PsdsCounts  # of each clip, for resampling


def psds_from_scores(
    reference: StrongLabels | Sequence[Event],
    scores: "Iterable[FrameScores]",
    score_classes: Sequence[str],
    configs: Sequence[PsdsConfig],
    *,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
) -> list[Psds]:
    """Return the PSDS of frame scores, over all thresholds; clip names are compared as they are.

    Parameters
    ----------
    scores
        One entry a clip, in any order; they are read once, and may be made on the fly.
    score_classes
        What the columns of the scores are.
    configs
        The scenarios, each of which gives one result; all are counted in one pass.
    durations
        Seconds, by clip name. A clip that is not named here is as long as its scores.

    Raises
    ------
    LabelError
        If an event has impossible times, a clip of the reference has neither scores nor a duration,
        a clip or class stands twice in the scores, or there is no class.
    """
    column = {label: k for k, label in enumerate(score_classes)}
    if len(column) < len(score_classes):
        raise LabelError("a class stands twice in the scores")
    side = _Reference(reference, classes, durations or {})
    columns = np.array([column.get(label, -1) for label in side.classes])
    clips = side.numbered(scores, len(score_classes), columns)
    steps = count_steps(clips, side.events, len(side.classes), configs)
    unscored = tuple(label for label in side.classes if label not in column)
    return [side.scored(*each, unscored) for each in zip(configs, steps, strict=True)]


def psds_from_lists(
    reference: StrongLabels | Sequence[Event],
    lists: Iterable[StrongLabels | Sequence[Event]],
    configs: Sequence[PsdsConfig],
    *,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float],
) -> list[Psds]:
    """Return the PSDS of lists of events, each made with another threshold.

    As `psds_from_scores`; `durations` must have every clip.
    """
    side = _Reference(reference, classes, durations)
    found: list[list[Steps]] = [[] for _ in configs]
    n_lists = 0
    for estimated in lists:
        pair = pair_up(side.labels, estimated, side.classes)
        for name in pair.clips:
            side.number.setdefault(name, len(side.number))
        for steps, config in zip(found, configs, strict=True):
            counted = intersect(pair, config.criteria)
            cells = counted.estimated.clip
            for kind, changed in (
                (TP, counted.reference.clip[counted.found]),
                (FP, cells[~counted.accepted]),
                (counted.crossed, cells[counted.crossing]),
            ):
                place = np.full(len(changed), -float(n_lists))
                steps.append(Steps.of(changed, place, kind, np.ones(len(changed), np.int32)))
        n_lists += 1
    return [
        side.scored(config, Steps.join(steps), n_lists=n_lists)
        for config, steps in zip(configs, found, strict=True)
    ]


class _Reference:
    """The reference of a score: its events and classes, and clips by number with their length."""

    def __init__(
        self,
        reference: StrongLabels | Sequence[Event],
        classes: Iterable[str] | None,
        durations: Mapping[str, float],
    ) -> None:
        labels = as_labels(reference)
        own = tuple(sorted(labels.classes))
        self.classes = own if classes is None else Vocabulary(classes).classes
        if not self.classes:
            raise LabelError(
                "PSDS needs a class: the reference has no events, so give a class list"
            )
        clips = dict.fromkeys((*labels.names, *durations))
        self.labels = StrongLabels.from_columns(labels.columns, tuple(clips))
        self.number = {name: i for i, name in enumerate(clips)}
        self.seconds = dict(durations)
        self.events = merge(*pair_up(self.labels, [], self.classes).by_class[0])

    def numbered(
        self, scores: "Iterable[FrameScores]", n_columns: int, columns: IntArray
    ) -> Iterator[ClipFrames]:
        """Yield the scores of the classes in `columns`; number clips, and note their length."""
        seen: set[str] = set()
        present = columns >= 0
        as_it_is = n_columns == len(columns) and np.array_equal(columns, np.arange(n_columns))
        for clip in scores:
            if clip.name in seen:
                raise LabelError(f"{clip.name} has scores twice")
            seen.add(clip.name)
            chosen = clip.scores
            if chosen.shape[1] != n_columns:
                raise LabelError(f"{clip.name}: {chosen.shape[1]} scores for {n_columns} classes")
            if not as_it_is:
                chosen = np.full((len(clip.scores), len(columns)), -np.inf)
                chosen[:, present] = clip.scores[:, columns[present]]
            if np.isnan(np.min(chosen, initial=0.0)):
                raise LabelError(f"{clip.name}: a score is not a number")
            self.seconds.setdefault(clip.name, float(clip.times[-1]))
            number = self.number.setdefault(clip.name, len(self.number))
            yield ClipFrames(number, clip.times, chosen)

    def scored(
        self,
        config: PsdsConfig,
        steps: Steps,
        unscored: tuple[str, ...] = (),
        n_lists: int | None = None,
    ) -> Psds:
        """Return the score of a scenario."""
        by_class = ClassSteps.of_each(steps, len(self.classes), n_lists is not None)
        counts = PsdsCounts(tuple(self.number), self._lengths(), self.events, by_class, config)
        curves = counts.curves(np.ones(len(self.number)))
        heights = [area(curve, config.max_efpr) for curve in curves]
        undefined = tuple(compress(self.classes, counts.n_reference == 0))
        by_label = dict(zip(self.classes, heights, strict=True))
        return Psds(counts.height(curves), by_label, undefined, unscored, n_lists, counts)

    def _lengths(self) -> FloatArray:
        """Return the duration of every clip, (C,)."""
        missing = [name for name in self.number if name not in self.seconds]
        if missing:
            listed = NameIndex(self.seconds).listed(missing)
            raise LabelError(
                f"{len(missing)} clips have no duration: {listed}; rates per hour need all of them"
            )
        seconds = clip_seconds(self.seconds, self.number)
        if not seconds.sum() > 0:
            raise LabelError("the clips last 0 s altogether, so there is no rate per hour")
        return seconds
