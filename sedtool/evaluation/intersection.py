"""Intersection-based scores: events are judged by how much of them the other side covers.

Conventions
-----------
With events of one class and clip that do not overlap, and shares of lengths in seconds:

- an estimate is *accepted* if references of its class cover at least `dtc` of it (detection
  tolerance criterion); any other estimate is a false positive;
- a reference is *found*, a true positive, if accepted estimates of its class cover at least `gtc`
  of it (ground truth intersection criterion);
- a false positive is a *cross-trigger* of another class if references of that class cover at least
  `cttc` of it (cross-trigger tolerance criterion). It stays a false positive, and may be a
  cross-trigger of several classes.

F1 is 2 TP / (2 TP + FP + FN). True positives are references and false positives estimates: an
accepted estimate that finds nothing is neither. So `n_estimated` of a class is TP + FP here.

Differences from psds_eval and sed_scores_eval
----------------------------------------------
Given lists that both of them take, counts equal those of sed_scores_eval 0.0.4 with its default of
six decimals, and those of psds_eval 0.5.3 but for ties (1).

1. Overlap and share of length are rounded to microseconds before they are compared, as
   sed_scores_eval does: 0.2 s to 0.9 s is 0.7 of one second. psds_eval compares raw floats, and
   misses about half of the decimal ties. Scores rise where there are ties.
2. Overlapping events of one class in one clip are joined on both sides. psds_eval refuses them,
   sed_scores_eval stops at references that overlap or touch.
3. Events of zero length are left out, as in psds_eval. In sed_scores_eval a zero-length reference
   is always found. Scores fall.
4. A share of 0 still asks for some overlap, as in psds_eval. In sed_scores_eval everything then
   meets the criterion. Scores fall.
5. A class of which nothing was found has F1 0. The macro F1 of psds_eval drops it: deleting the
   only correct estimate of a class can raise that average. Scores fall.
6. Precision without estimates is undefined and counts 0 in macro. In sed_scores_eval it is 1.
   Macro precision falls, F1 does not move.
7. Estimates in clips that the reference does not name are false positives, and so are those past
   the end of a clip. psds_eval ignores estimates that lie outside the clips of its metadata
   altogether; sed_scores_eval refuses other clips. Scores fall.

References
----------
C. Bilen, G. Ferroni, F. Tuveri, J. Azcarreta, S. Krstulovic, "A framework for the robust
evaluation of sound event detection", ICASSP 2020.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedtool.config import EvaluationConfig
from sedtool.config.intersection import IntersectionConfig
from sedtool.evaluation.counts import Counts, FloatArray, IntArray, Scores, Undefined, score
from sedtool.evaluation.coverage import Lanes, expand, meets, merge, overlap
from sedtool.evaluation.pair import EventArrays, tabulate
from sedtool.labels import Event, StrongLabels

__all__ = ["Intersections", "evaluate_intersection", "intersect", "merge_classes"]


@dataclass(frozen=True)
class Intersections:
    """Which events of K classes are found, accepted, and cross-triggers.

    The lane of an event is ``clip * K + class``.
    """

    n_classes: int
    reference: Lanes  # N rows
    estimated: Lanes  # M rows
    found: NDArray[np.bool_]  # (N,)
    accepted: NDArray[np.bool_]  # (M,)
    crossing: IntArray  # rows of estimates that are cross-triggers, once for each class crossed
    crossed: IntArray  # the class that each of them crosses

    @property
    def counts(self) -> Counts:
        """Return true positives, references, and true plus false positives of each class."""
        tp = self._by_class(self.reference.lane[self.found])
        fp = self._by_class(self.estimated.lane[~self.accepted])
        return Counts(tp, self._by_class(self.reference.lane), tp + fp)

    def counts_by_clip(self, n_clips: int) -> IntArray:
        """Return the same clip by clip, shape (clips, K, 3)."""
        shape = (n_clips, self.n_classes)
        found, every, false = (
            np.bincount(lane, minlength=n_clips * self.n_classes).reshape(shape)
            for lane in (
                self.reference.lane[self.found],
                self.reference.lane,
                self.estimated.lane[~self.accepted],
            )
        )
        return np.stack([found, every, found + false], axis=-1).astype(np.int64)

    @property
    def cross_triggers(self) -> IntArray:
        """Return how many estimates of each class cross each other class, shape (K, K)."""
        k = self.n_classes
        cell = self.estimated.lane[self.crossing] % k * k + self.crossed
        return np.bincount(cell, minlength=k * k).reshape(k, k).astype(np.int64)

    @property
    def reference_seconds(self) -> FloatArray:
        """Return the total length of the references of each class, shape (K,)."""
        length = self.reference.offset - self.reference.onset
        label = self.reference.lane % self.n_classes
        return np.bincount(label, length, self.n_classes).astype(float)

    def _by_class(self, lane: IntArray) -> IntArray:
        return np.bincount(lane % self.n_classes, minlength=self.n_classes).astype(np.int64)


def evaluate_intersection(
    reference: StrongLabels | Sequence[Event],
    estimated: StrongLabels | Sequence[Event],
    config: IntersectionConfig,
    classes: Iterable[str] | None = None,
) -> Scores:
    """Score events by how much of them overlaps with the other side.

    Parameters
    ----------
    reference, estimated
        Events in any order. Clip names of the two sides are compared as they are.
    config
        `dtc` and `gtc` are used.
    classes
        The only classes to score; by default those of the reference.

    Returns
    -------
    Scores
        Counted in events, joined where they overlap; `n_estimated` is TP + FP.

    Raises
    ------
    LabelError
        If an event has impossible times.
    """
    pair = tabulate(reference, estimated, EvaluationConfig(), classes)
    found = intersect(pair.reference, pair.estimated, config, cross=False)
    return score(pair.classes, found.counts, Undefined.ZERO)


def intersect(
    reference: Sequence[EventArrays],
    estimated: Sequence[EventArrays],
    config: IntersectionConfig,
    cross: bool = True,
) -> Intersections:
    """Apply the three criteria to the events of K classes in any number of clips.

    Parameters
    ----------
    reference, estimated
        One table a class.
    config
        The shares.
    cross
        Whether to look for cross-triggers.
    """
    n_classes = len(reference)
    truth, guess = merge_classes(reference), merge_classes(estimated)
    accepted = meets(overlap(guess, truth), config.dtc, guess.offset - guess.onset)
    coverage = overlap(truth, guess.take(accepted))
    found = meets(coverage, config.gtc, truth.offset - truth.onset)
    crossing = crossed = np.zeros(0, np.int64)
    if cross:
        crossing, crossed = _cross_triggers(guess, truth, ~accepted, n_classes, config.cttc)
    return Intersections(n_classes, truth, guess, found, accepted, crossing, crossed)


def merge_classes(tables: Sequence[EventArrays]) -> Lanes:
    """Put K classes into one table of lanes ``clip * K + class``, joined where they overlap."""
    lanes = [table.clip * len(tables) + k for k, table in enumerate(tables)]
    none = np.zeros(0)
    return merge(
        np.concatenate([none.astype(np.int64), *lanes]),
        np.concatenate([none, *(table.onset for table in tables)]),
        np.concatenate([none, *(table.offset for table in tables)]),
    )


def _cross_triggers(
    guess: Lanes, truth: Lanes, false: NDArray[np.bool_], n_classes: int, share: float
) -> tuple[IntArray, IntArray]:
    """Return rows of false positives, and the class that each crosses."""
    candidates = np.flatnonzero(false)
    clip = guess.lane[candidates] // n_classes
    present = np.unique(truth.lane)  # every class of every clip
    first = np.searchsorted(present, clip * n_classes)
    stop = np.searchsorted(present, (clip + 1) * n_classes)
    i, lane = expand(first, stop)
    row, lane = candidates[i], present[lane]
    other = lane != guess.lane[row]
    row, lane = row[other], lane[other]
    part = overlap(Lanes(lane, guess.onset[row], guess.offset[row]), truth)
    crossing = meets(part, share, guess.offset[row] - guess.onset[row])
    return row[crossing], lane[crossing] % n_classes
