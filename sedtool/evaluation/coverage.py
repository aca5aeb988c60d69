"""How much of an event others cover, exactly: times are whole picoseconds, sums integers.

A lane is whatever events must share to be compared, numbered from 0: a clip, or a clip and a class.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedtool.errors import LabelError
from sedtool.evaluation.counts import FloatArray, IntArray

__all__ = ["Lanes", "covered", "expand", "meets", "merge", "overlap", "ticks"]

_TICKS = 1e12  # a second; 63 bits hold 100 days
_DECIMALS = 1e6  # shares are compared in whole microseconds
_LONGEST = 1_000_000  # seconds


class Lanes(NamedTuple):
    """Events that do not overlap within their lane, sorted by lane and onset; N rows."""

    lane: IntArray
    onset: FloatArray  # seconds
    offset: FloatArray  # seconds, after the onset

    def take(self, rows: NDArray[np.bool_]) -> "Lanes":
        """Return the chosen rows, bool (N,)."""
        return Lanes(self.lane[rows], self.onset[rows], self.offset[rows])


def ticks(seconds: FloatArray) -> IntArray:
    """Return times as whole picoseconds."""
    return np.rint(seconds * _TICKS).astype(np.int64)


def merge(lane: IntArray, onset: FloatArray, offset: FloatArray) -> Lanes:
    """Sort events, drop those without length, and join those that overlap in their lane.

    Events that only touch stay apart.

    Raises
    ------
    LabelError
        If a time is beyond 1 000 000 s, which is no recording.
    """
    if offset.size and offset.max() > _LONGEST:
        raise LabelError(f"an event ends at {offset.max():g} s; are its times in seconds?")
    order = np.lexsort((onset, lane))
    order = order[(offset > onset)[order]]
    lane, onset, offset = lane[order], onset[order], offset[order]
    # Complex numbers compare by lane, then time: the end of all that came before in the lane.
    end = np.maximum.accumulate(lane + 1j * offset) if lane.size else np.zeros(0, complex)
    first = np.ones(lane.size, bool)
    first[1:] = lane[1:] + 1j * onset[1:] >= end[:-1]
    last = np.append(first[1:], True)[: lane.size]
    return Lanes(lane[first], onset[first], end.imag[last])


def covered(events: Lanes, lane: IntArray, time: FloatArray) -> IntArray:
    """Return a running total of what events cover, in ticks, at points (lane, time) of any shape.

    Only differences between two points of one lane mean something.
    """
    length = ticks(events.offset) - ticks(events.onset)
    total = np.concatenate([[0], np.cumsum(length)])  # may wrap around; differences are exact
    # The last event that begins at the point or before, in any lane.
    i = np.searchsorted(events.lane + 1j * events.onset, lane + 1j * time, side="right") - 1
    if not events.lane.size:
        return np.zeros(np.shape(i), np.int64)
    inside = (i >= 0) & (events.lane[i] == lane)
    left = np.where(inside, np.maximum(ticks(events.offset)[i] - ticks(time), 0), 0)
    result: IntArray = total[i + 1] - left
    return result


def overlap(events: Lanes, others: Lanes) -> IntArray:
    """Return how much of each event the others of its lane cover, in ticks."""
    end, begin = (covered(others, events.lane, time) for time in (events.offset, events.onset))
    return end - begin


def meets(part: IntArray, share: float, whole: FloatArray) -> NDArray[np.bool_]:
    """Return whether a part, in ticks, is at least a share of the whole, in seconds.

    Both sides are rounded to microseconds, so that times which tie in decimals tie here. A part
    of nothing is never enough.
    """
    enough = np.rint(part * (_DECIMALS / _TICKS)) >= np.rint(share * whole * _DECIMALS)
    result: NDArray[np.bool_] = (part > 0) & enough
    return result


def expand(first: IntArray, stop: IntArray) -> tuple[IntArray, IntArray]:
    """Return all numbers of N ranges, one range after the other, after the row each belongs to."""
    width = stop - first
    rows = np.repeat(np.arange(len(width)), width)
    before = np.repeat(np.cumsum(width) - width, width)
    return rows, np.arange(len(rows)) - before + first[rows]
