"""Frame scores -> boxes: stretches of a clip with one confidence each, whose borders stay.

A threshold on frame scores decides two things at once: whether an event is there, and where it
ends. Boxes part them. Where a class begins and ends is told by how its scores change, whatever
their height; how sure it is by their mean. A threshold then lets boxes through, and moves no
border.

For each class of a clip, boxes are made in three steps.

1. The change at a border between two frames is the mean of the scores after it less that of those
   before it, over half a `step` each; before and after the clip scores are 0. Where it is largest a
   box may begin, and where it is smallest end. The clip is then a row of gaps and boxes in turn,
   and the level of each is its mean score.
2. Of the differences between neighbours, those under `absolute`, or with a ratio of levels under
   `relative`, are too small to mean anything. The smallest is taken away: the gap and the box that
   it parts, a shelf between a lower and a higher level, go to the one whose level is nearer.
3. This is repeated until all that are left are large enough, or one box is left.

References
----------
The idea, and the grid that settings are searched on, are those of J. Ebbers, F. G. Germain,
G. Wichern, J. Le Roux, "Sound event bounding boxes", Interspeech 2024 (arXiv 2406.04212). Their
rule joins boxes over gaps that are not deep enough. Step 2 is another one: joined so, a ripple of
the scores between events would draw the border of the event beside it to itself.

Axis letters: T frames, M columns of scores, each of one class in one clip.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BoxSettings", "box_scores"]

FloatArray = NDArray[np.floating]

_LEAST_CHANGE = 1e-9  # of scores; less is what sums are rounded by


class BoxSettings(NamedTuple):
    """How boxes are made of the scores of a class."""

    step: float  # seconds that a change is told from, half of them before it and half after
    absolute: float  # that levels have to differ by
    relative: float  # that a level has to be times a lower one beside it


def box_scores(
    scores: FloatArray, frame_rate: float, settings: BoxSettings, least: float = 0.0
) -> FloatArray:
    """Return the scores (T, M) that boxes are: their confidence within each, 0 between them.

    Columns without a score above `least`, in which no box has a confidence above it, are all 0.
    """
    half = max(round(settings.step * frame_rate / 2), 1)
    boxed = np.zeros_like(scores)
    columns = np.flatnonzero(scores.max(axis=0, initial=0.0) > least)
    sums = np.zeros((len(scores) + 1, len(columns)))
    np.cumsum(scores[:, columns], axis=0, out=sums[1:])
    for m, (column, turns) in enumerate(zip(columns, _turns(sums, half), strict=True)):
        row = _Row([0, *turns, len(scores)], sums[:, m])
        row.simplify(settings.absolute, settings.relative)
        for start, stop, level in row.boxes():
            boxed[start:stop, column] = level
    return boxed


def _turns(sums: FloatArray, half: int) -> list[list[int]]:
    """Return the borders where the change of each column is an extremum, in turn, an even number.

    `sums` (T + 1, M) are those of the scores before each border. Outside of the clip the change
    begins and ends with 0: it rises to its first extremum, and from its last one.
    """
    last = len(sums) - 1
    border = np.arange(-half, last + half + 1)
    before, here, after = (sums[np.clip(border + shift, 0, last)] for shift in (-half, 0, half))
    slope = np.diff(after - here - (here - before), axis=0)
    sign = np.where(np.abs(slope) < _LEAST_CHANGE, 0, np.sign(slope)).astype(np.int8)
    # Where the change stays as it is, it goes on as it came.
    latest = np.where(sign != 0, np.arange(len(sign))[:, None], 0)
    sign = np.take_along_axis(sign, np.maximum.accumulate(latest, axis=0), axis=0)
    is_turn = (sign[1:] * sign[:-1] < 0).T  # (M, borders without the outermost ones)
    inside = np.clip(border[1:-1], 0, last)
    return [inside[turns].tolist() for turns in is_turn]


class _Row:
    """The gaps and boxes of one class in one clip, in turn; the first and the last is a gap."""

    def __init__(self, borders: list[int], sums: FloatArray) -> None:
        self.borders = borders
        self.sums: list[float] = sums[borders].tolist()  # of the scores before each border
        self.levels = [self._level(i, i + 1) for i in range(len(borders) - 1)]

    def _level(self, first: int, last: int) -> float:
        """Return the mean score between two borders, which may be the same one."""
        n_frames = self.borders[last] - self.borders[first]
        return (self.sums[last] - self.sums[first]) / max(n_frames, 1)

    def simplify(self, absolute: float, relative: float) -> None:
        """Take away the smallest difference between levels until all are large enough."""
        while len(self.levels) > 3 and (i := self._least(absolute, relative)) is not None:
            self._join(i)

    def _least(self, absolute: float, relative: float) -> int | None:
        """Return the place before the smallest of the differences that are not large enough."""
        least, place = np.inf, None
        for i, (one, other) in enumerate(zip(self.levels, self.levels[1:], strict=False)):
            gap, box = (other, one) if i % 2 else (one, other)
            is_large = box - gap >= absolute and box >= relative * gap
            if not is_large and box - gap < least:
                least, place = box - gap, i
        return place

    def _join(self, i: int) -> None:
        """Join levels i and i + 1 with the one before them or with the one after them."""
        if i == 0 or i + 2 == len(self.levels):  # the outermost box becomes part of a gap
            first = max(i - 1, 0)
        else:
            shelf = self._level(i, i + 2)
            is_near = abs(shelf - self.levels[i - 1]) <= abs(shelf - self.levels[i + 2])
            first = i - 1 if is_near else i
        del self.borders[first + 1 : first + 3], self.sums[first + 1 : first + 3]
        self.levels[first : first + 3] = [self._level(first, first + 1)]

    def boxes(self) -> list[tuple[int, int, float]]:
        """Return the first frame of each box, the one after its last, and its level."""
        return [
            (self.borders[i], self.borders[i + 1], self.levels[i])
            for i in range(1, len(self.levels), 2)
        ]
