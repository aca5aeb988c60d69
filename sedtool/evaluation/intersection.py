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

from dataclasses import dataclass

import numpy as np

from sedtool.config.evaluation import IntersectionConfig
from sedtool.errors import LabelError
from sedtool.evaluation.counts import BoolArray, Counts, Entries, FloatArray, IntArray
from sedtool.evaluation.pair import EventArrays, Pair

_TICKS = 1e12  # a second; 63 bits hold 100 days
_DECIMALS = 1e6  # shares are compared in whole microseconds
_LONGEST = 1_000_000  # seconds


@dataclass(frozen=True)
class Intersections:
    """Which events are found, accepted, and cross-triggers; both sides are as `merge` has them."""

    reference: EventArrays  # N rows
    estimated: EventArrays  # M rows
    found: BoolArray  # (N,)
    accepted: BoolArray  # (M,)
    crossing: IntArray  # rows of estimates that are cross-triggers, once for each class crossed
    crossed: IntArray  # the class that each of them crosses


def count_intersection(pair: Pair, config: IntersectionConfig) -> Counts:
    """Return true positives, references, and true plus false positives; see the module."""
    found = intersect(pair, config, cross=False)
    reference, estimated = found.reference.clip, found.estimated.clip
    tp, fp = reference[found.found], estimated[~found.accepted]
    kinds = Entries(tp), Entries(reference), Entries(np.concatenate([tp, fp]))
    return Counts(len(pair.clips), pair.labels, pair.reference_classes, kinds)


def intersect(pair: Pair, config: IntersectionConfig, cross: bool = True) -> Intersections:
    """Apply the three criteria, the third only with `cross`."""
    reference, estimated = (merge(*side) for side in pair.by_class)
    accepted = meets(overlap(estimated, reference), config.dtc, estimated.offset - estimated.onset)
    coverage = overlap(reference, estimated.take(accepted))
    found = meets(coverage, config.gtc, reference.offset - reference.onset)
    crossing = crossed = np.zeros(0, np.int64)
    if cross:
        crossing, crossed = _cross_triggers(
            estimated, reference, ~accepted, pair.n_labels, config.cttc
        )
    return Intersections(reference, estimated, found, accepted, crossing, crossed)


def _cross_triggers(
    estimated: EventArrays,
    reference: EventArrays,
    false: BoolArray,
    n_classes: int,
    share: float,
) -> tuple[IntArray, IntArray]:
    """Return rows of false positives, and the class that each crosses."""
    candidates = np.flatnonzero(false)
    clip = estimated.clip[candidates] // n_classes
    present = np.unique(reference.clip)  # every class of every clip
    first = np.searchsorted(present, clip * n_classes)
    stop = np.searchsorted(present, (clip + 1) * n_classes)
    i, column = expand(first, stop)
    row, cell = candidates[i], present[column]
    other = cell != estimated.clip[row]
    row, cell = row[other], cell[other]
    onset, offset = estimated.onset[row], estimated.offset[row]
    part = overlap(EventArrays(cell, onset, offset), reference)
    crossing = meets(part, share, offset - onset)
    return row[crossing], cell[crossing] % n_classes


def ticks(seconds: FloatArray) -> IntArray:
    """Return times as whole picoseconds."""
    return np.rint(seconds * _TICKS).astype(np.int64)


def merge(class_in_clip: IntArray, onset: FloatArray, offset: FloatArray) -> EventArrays:
    """Sort events, drop those without length, join those of a class that overlap in their clip.

    They are sorted by class-in-clip and onset. Events that only touch stay apart. A time that no
    recording has is a LabelError.
    """
    if offset.size and offset.max() > _LONGEST:
        raise LabelError(f"an event ends at {offset.max():g} s; are its times in seconds?")
    order = np.lexsort((onset, class_in_clip))
    order = order[(offset > onset)[order]]
    cell, onset, offset = class_in_clip[order], onset[order], offset[order]
    # Complex numbers compare by class-in-clip, then time: the end of all that came before in it.
    end = np.maximum.accumulate(cell + 1j * offset) if cell.size else np.zeros(0, complex)
    first = np.ones(cell.size, bool)
    first[1:] = cell[1:] + 1j * onset[1:] >= end[:-1]
    last = np.append(first[1:], True)[: cell.size]
    return EventArrays(cell[first], onset[first], end.imag[last])


def covered(events: EventArrays, class_in_clip: IntArray, time: FloatArray) -> IntArray:
    """Return a running total of what events cover, in ticks, at points in time, of any shape.

    Only differences between two points of one class-in-clip mean something.
    """
    length = ticks(events.offset) - ticks(events.onset)
    total = np.concatenate([[0], np.cumsum(length)])  # may wrap around; differences are exact
    # The last event that begins at the point or before, of any class and clip.
    begin = events.clip + 1j * events.onset
    i = np.searchsorted(begin, class_in_clip + 1j * time, side="right") - 1
    if not events.clip.size:
        return np.zeros(np.shape(i), np.int64)
    inside = (i >= 0) & (events.clip[i] == class_in_clip)
    left = np.where(inside, np.maximum(ticks(events.offset)[i] - ticks(time), 0), 0)
    result: IntArray = total[i + 1] - left
    return result


def overlap(events: EventArrays, others: EventArrays) -> IntArray:
    """Return how much of each merged event others of its class and clip cover, in ticks.

    That is exact: times are whole picoseconds, sums integers.
    """
    end, begin = (covered(others, events.clip, time) for time in (events.offset, events.onset))
    return end - begin


def meets(part: IntArray, share: float, whole: FloatArray) -> BoolArray:
    """Return whether a part, in ticks, is at least a share of the whole, in seconds.

    Both sides are rounded to microseconds, so that times which tie in decimals tie here. A part
    of nothing is never enough.
    """
    enough = np.rint(part * (_DECIMALS / _TICKS)) >= np.rint(share * whole * _DECIMALS)
    result: BoolArray = (part > 0) & enough
    return result


def expand(first: IntArray, stop: IntArray) -> tuple[IntArray, IntArray]:
    """Return all numbers of N ranges, one range after the other, after the row each belongs to."""
    width = stop - first
    rows = np.repeat(np.arange(len(width)), width)
    before = np.repeat(np.cumsum(width) - width, width)
    return rows, np.arange(len(rows)) - before + first[rows]
