"""PSDS of resampled clips: counts at every threshold are sums over clips, and so can be weighted.

Nothing is judged anew. A clip that is drawn twice counts twice, in true and false positives,
cross-triggers, references and duration; whether a run is accepted and a reference found is the
business of one clip, and stays as it is. Axis letters: B resamples, C clips, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from sedtool.config.evaluation import PsdsConfig
from sedtool.evaluation.counts import FloatArray, IntArray
from sedtool.evaluation.intersection import Intersections, MergedEvents
from sedtool.evaluation.psds.curves import OperatingPoints, area, class_curve, psd_roc

__all__ = ["ClassSteps", "ClipSteps", "ListSteps", "Steps"]


@dataclass(frozen=True, eq=False)
class Steps:
    """Changes of one count of one class in single clips, M rows, as the threshold falls."""

    step: FloatArray  # (M,) how much the count changes
    clip: IntArray  # (M,) number of the clip
    other: IntArray | None  # (M,) the class that is crossed, of cross-triggers
    upto: IntArray  # (P,) how many changes there are at each threshold and above

    @classmethod
    def of(
        cls,
        place: IntArray,
        step: FloatArray,
        clip: IntArray,
        n_places: int,
        other: IntArray | None = None,
    ) -> Self:
        """Sort changes by `place`, the number of their threshold, from 0 for the highest."""
        order = np.argsort(place, kind="stable")
        upto = np.cumsum(np.bincount(place, minlength=n_places))
        return cls(step[order], clip[order], other if other is None else other[order], upto)

    def counts(self, weights: FloatArray) -> FloatArray:
        """Return the count at each threshold, (P,), with clips weighted by `weights` (C,).

        Cross-triggers are weighted by class, too: then `weights` is (C, K).
        """
        weight = weights[self.clip] if self.other is None else weights[self.clip, self.other]
        counts: FloatArray = np.cumsum(np.append(0.0, weight * self.step))[self.upto]
        return counts


class ClassSteps(NamedTuple):
    """What one class counts, clip by clip, as the threshold falls."""

    tp: Steps
    fp: Steps
    cross: Steps


class ListSteps:
    """Gathers the counts of lists of events, which become those at falling thresholds."""

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self.n_lists = 0
        # Of true positives, false positives, cross-triggers: list, lane, and the class crossed.
        none = np.zeros(0, np.int64)
        self._rows: list[list[tuple[IntArray, ...]]] = [[(none,) * n] for n in (2, 2, 3)]

    def add(self, found: Intersections) -> None:
        """Add the next list."""
        tp = (found.reference.class_in_clip[found.found],)
        fp = (found.estimated.class_in_clip[~found.accepted],)
        cross = (found.estimated.class_in_clip[found.crossing], found.crossed)
        for rows, columns in zip(self._rows, (tp, fp, cross), strict=True):
            rows.append((np.full(len(columns[0]), self.n_lists), *columns))
        self.n_lists += 1

    def classes(self) -> list[ClassSteps]:
        """Return what each class counts."""
        kinds = [tuple(map(np.concatenate, zip(*rows, strict=True))) for rows in self._rows]
        return [
            ClassSteps(*(self._steps(label, kind) for kind in kinds))
            for label in range(self.n_classes)
        ]

    def _steps(self, label: int, kind: tuple[IntArray, ...]) -> Steps:
        number, lane, *other = (column[kind[1] % self.n_classes == label] for column in kind)
        # What a list counts is there from its own place to the next, where it is taken back.
        place = np.concatenate([number, number + 1])
        step = np.repeat([1.0, -1.0], len(number))
        clip = np.tile(lane // self.n_classes, 2)
        crossed = np.tile(other[0], 2) if other else None
        return Steps.of(place, step, clip, self.n_lists + 1, crossed)


@dataclass(frozen=True, eq=False)
class ClipSteps:
    """What a scenario counts in each clip at every threshold: all that a resample needs."""

    clips: tuple[str, ...]  # by number
    seconds: FloatArray  # duration of each clip, (C,)
    reference: MergedEvents  # lane ``clip * K + class``
    classes: Sequence[ClassSteps]  # K
    config: PsdsConfig

    def psds(self, weights: FloatArray) -> FloatArray:
        """Return the score, (B,), of each row of how often the clips were drawn, (B, C)."""
        return np.array([self._psds(row) for row in weights])

    def _psds(self, drawn: FloatArray) -> float:
        n_classes = len(self.classes)
        clip, label = np.divmod(self.reference.class_in_clip, n_classes)
        n_reference = np.bincount(label, drawn[clip], n_classes)
        spans = self.reference.offset - self.reference.onset
        length = np.bincount(label, spans * drawn[clip], n_classes).astype(float)
        rarity = np.divide(1.0, length, out=np.zeros(n_classes), where=length > 0)
        weights = drawn[:, None] * rarity
        seconds = float(drawn @ self.seconds)
        if not seconds > 0:
            return float("nan")
        curves = []
        for steps, n in zip(self.classes, n_reference, strict=True):
            tp, fp = (count.counts(drawn).astype(np.int64) for count in (steps.tp, steps.fp))
            cross = steps.cross.counts(weights)
            points = OperatingPoints(np.full(len(tp), np.nan), tp, fp, cross)
            curves.append(class_curve(points, int(n), n_classes, seconds, self.config))
        return area(psd_roc(curves, self.config.alpha_st), self.config.max_efpr)
