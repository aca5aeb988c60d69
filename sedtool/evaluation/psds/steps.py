"""Steps by clip -> counts at every threshold -> ROC curves -> the polyphonic sound detection score.

What a clip counts of a class changes at some thresholds only. These steps are counted once, clip by
clip; everything else is a weighted sum over clips. With weights of 1 it is the score, and with how
often each clip was drawn it is the score of a resample: a clip that is drawn twice counts twice, in
true and false positives, cross-triggers, references and duration.

Axis letters: B resamples, C clips, K classes, M steps, N references, P thresholds of one class.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedtool.config.evaluation import PsdsConfig
from sedtool.evaluation.counts import FloatArray, IntArray
from sedtool.evaluation.intersection import MergedEvents

TP, FP = -2, -1  # what a step is of; a class number stands for cross-triggers of that class
_HOUR = 3600.0  # seconds
_BLOCK = 2**22  # values of the curves of all classes made at a time
Whole = NDArray[np.integer]  # 32 bits in `Steps`


class Steps(NamedTuple):
    """How much the counts of clips change as the threshold falls; M rows in any order.

    What a clip counts of a class at a threshold is the sum of its steps there and above.
    """

    class_in_clip: IntArray  # ``clip * K + class``
    threshold: FloatArray  # the highest threshold at which the step is made
    kind: Whole  # TP, FP, or the number of the class that is crossed
    size: Whole  # by how much the count changes

    @classmethod
    def of(
        cls,
        class_in_clip: IntArray,
        threshold: FloatArray,
        kind: Whole | int,
        size: NDArray[np.number],
    ) -> "Steps":
        """Return the steps that are not 0, in few bytes."""
        rows = np.flatnonzero(size)
        return cls(
            class_in_clip[rows],
            threshold[rows].astype(float),
            np.broadcast_to(kind, size.shape)[rows].astype(np.int32),
            size[rows].astype(np.int32),
        )

    @classmethod
    def join(cls, parts: Iterable["Steps"]) -> "Steps":
        """Return the steps of all parts."""
        none = np.zeros(0, np.int32)
        every = [cls(np.zeros(0, np.int64), np.zeros(0), none, none), *parts]
        return cls(*map(np.concatenate, zip(*every, strict=True)))


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
    def of_each(cls, steps: Steps, n_classes: int, of_lists: bool = False) -> list["ClassSteps"]:
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
    reference: MergedEvents  # N references; class-in-clip ``clip * K + class``
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
        return np.divmod(self.reference.class_in_clip, len(self.classes))

    def psds(self, weights: FloatArray) -> FloatArray:
        """Return the score, (B,), of each row of how often the clips were drawn, (B, C).

        A class that has references, and none in the clips drawn, is left out of mean and deviation.
        The score is NaN where no class is left, or no time.
        """
        return np.array([self._psds(row) for row in weights])

    def _psds(self, weights: FloatArray) -> float:
        found = [curve for curve in self.curves(weights) if curve is not None]
        if not found:
            return float("nan")
        return area(psd_roc(found, self.config.alpha_st), self.config.max_efpr)

    def curves(self, weights: FloatArray) -> list[Curve | None]:
        """Return the ROC of each class with clips weighted by `weights`, (C,).

        None stands for a class whose references are all in clips of weight 0.
        """
        seconds = float((weights * self.seconds).sum())
        if not seconds > 0:
            return [None] * len(self.classes)
        clip, label = self._places
        n_reference = np.bincount(label, weights[clip], len(self.classes))
        is_left_out = (n_reference == 0) & (self.n_reference > 0)
        return [
            None if left_out else self._curve(points, n, seconds)
            for points, n, left_out in zip(
                self.points(weights), n_reference.tolist(), is_left_out, strict=True
            )
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
