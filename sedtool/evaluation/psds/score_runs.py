"""Every run of frames above some threshold, at all thresholds at once.

As a threshold falls, runs of a score signal begin at its peaks, grow, and join at its valleys. Each
is there for one range of thresholds, then becomes part of a longer one: a signal of T frames has at
most T runs, which form a tree. What holds for a run and not for those it is made of is a change at
its score, so counts at all thresholds are sums over the tree.
"""

from typing import NamedTuple

import numpy as np

from sedtool.evaluation.counts import FloatArray, IntArray

__all__ = ["ScoreRuns", "change", "find_runs", "peaks_and_valleys"]


class ScoreRuns(NamedTuple):
    """M runs of several signals that follow each other in one array."""

    at: IntArray  # position of the first frame with the lowest score in it; ascending
    first: IntArray  # position of its first frame
    stop: IntArray  # position after its last frame
    score: FloatArray  # its lowest score: it is there for thresholds up to this
    parent: IntArray  # row of the next longer run, -1 where there is none


def change(value: FloatArray, parent: IntArray) -> FloatArray:
    """Return the value of each row less those of the rows whose parent it is; -1 is no parent."""
    inner = parent >= 0
    return value - np.bincount(parent[inner], value[inner], len(value))


def peaks_and_valleys(flat: FloatArray) -> tuple[IntArray, IntArray]:
    """Return where a run begins as the threshold falls, and where two join.

    Parameters
    ----------
    flat
        Signals, one after the other, with ``-inf`` before each and after the last.
    """
    begin, value = _without_repeats(flat)
    rises = value[1:] > value[:-1]
    peak = np.flatnonzero(rises[:-1] & ~rises[1:]) + 1
    valley = np.flatnonzero(~rises[:-1] & rises[1:]) + 1
    return begin[peak], begin[valley[np.isfinite(value[valley])]]


def find_runs(flat: FloatArray) -> ScoreRuns:
    """Return all runs of the signals in `flat`, which is as in `peaks_and_valleys`."""
    begin, value = _without_repeats(flat)
    end = np.append(begin[1:], len(flat))
    rows = np.flatnonzero(np.isfinite(value))
    left = _reach(value, rows, strict=True)
    # Several frames may have the lowest score of one run: the first stands for it.
    same = np.flatnonzero(value.take(left - 1) == value.take(rows))
    speaker = np.arange(len(value))
    again = rows.take(same)
    speaker[again] = left.take(same) - 1
    while (moved := speaker[speaker[again]] != speaker[again]).any():
        again = again[moved]
        speaker[again] = speaker[speaker[again]]
    first = np.ones(len(rows), bool)
    first[same] = False
    rows, left = rows.compress(first), left.compress(first)
    mirrored = len(value) - 1 - rows
    right = len(value) - _reach(value[::-1].copy(), mirrored, strict=False)
    lower, upper = value.take(left - 1), value.take(right)
    outer = speaker.take(np.where(lower >= upper, left - 1, right))
    number = np.full(len(value), -1)  # of sentinels, too, which are no one's parent
    number[rows] = np.arange(len(rows))
    return ScoreRuns(
        begin.take(rows),
        begin.take(left),
        end.take(right - 1),
        value.take(rows),
        number.take(outer),
    )


def _without_repeats(flat: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return positions where the value changes, and the values there."""
    begin = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)
    return begin, flat[begin]


def _reach(value: FloatArray, rows: IntArray, strict: bool) -> IntArray:
    """Return how far left from each row all values are greater: the first position of them.

    Not strict: greater or equal. The search goes up and down a tree of minima over blocks of
    1, 2, 4, … values, so it takes logarithmic time however long a signal is.

    Parameters
    ----------
    value
        The first one is ``-inf``.
    rows
        Positions with finite values.
    """
    beyond = np.greater if strict else np.greater_equal
    minima = [value]
    while len(minima[-1]) > 1:
        low = minima[-1] if len(minima[-1]) % 2 == 0 else np.append(minima[-1], -np.inf)
        minima.append(np.minimum(low[::2], low[1::2]))
    reach, mine = rows.copy(), value.take(rows)
    active = np.flatnonzero(beyond(value.take(rows - 1), mine))  # most end here
    edge, mine = rows.take(active) - 1, mine.take(active)
    stopped: list[tuple[IntArray, IntArray, FloatArray]] = []
    for level, low in enumerate(minima):
        block = edge >> level  # one of this size ends at the edge if it is odd
        odd = (block & 1).astype(bool)
        clear = beyond(low.take(block - 1, mode="wrap"), mine)
        edge = edge - ((odd & clear).astype(np.int64) << level)
        stop, go = np.flatnonzero(odd & ~clear), np.flatnonzero(~odd | clear)
        stopped.append((active.take(stop), edge.take(stop), mine.take(stop)))
        active, edge, mine = active.take(go), edge.take(go), mine.take(go)
    for level in range(len(minima) - 1, -1, -1):
        clear = beyond(minima[level].take((edge >> level) - 1, mode="wrap"), mine)
        edge = edge - (clear.astype(np.int64) << level)
        # From here on the smaller blocks within the one that stopped the search.
        active, edge, mine = (
            np.concatenate(both) for both in zip((active, edge, mine), stopped[level], strict=True)
        )
    reach[active] = edge
    return reach
