"""Scores -> steps of true positives, false positives and cross-triggers, exactly.

As a threshold falls, runs of frames above it begin at the peaks of a score signal, grow, and join
at its valleys. Each is there for one range of thresholds, then becomes part of a longer one: a
signal of T frames has at most T runs, which form a tree. What holds for a run and not for those it
is made of is a change at its score, so counts at all thresholds are sums over the tree.

Clips are taken in blocks. In a block, the scores of all clips and classes lie one after the other
in one array, each signal after a sentinel of ``-inf``; position p of a signal that begins at b is
frame p - b - 1, and stands in other arrays for the border between frames p - b - 1 and p - b.
Signal ``i * K + k`` is class k of clip i of the block, and has the references of that class in that
clip. Axis letters: T frames, K classes, M runs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedtool.config.evaluation import PsdsConfig
from sedtool.evaluation.counts import BoolArray, FloatArray, IntArray
from sedtool.evaluation.intersection import covered, expand, meets, ticks
from sedtool.evaluation.pair import EventArrays

TP, FP = -2, -1  # what a step is of; a class number stands for cross-triggers of that class
_BLOCK = 2**17  # frames times classes that are counted at a time
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


@dataclass(frozen=True)
class ClipFrames:
    """The scores of one clip, T frames of the K classes that are scored."""

    number: int  # of the clip
    times: FloatArray  # seconds, (T + 1,)
    scores: NDArray[np.floating]  # (T, K)


def count_steps(
    clips: Iterable[ClipFrames],
    reference: EventArrays,
    n_classes: int,
    configs: Sequence[PsdsConfig],
) -> list[Steps]:
    """Return the steps of each scenario, from one pass over clips in any order."""
    # Without cross-triggers, only signals with references of their class can hold any surprise.
    others = any(config.alpha_ct for config in configs)
    every: list[Steps] = []
    found: list[list[Steps]] = [[] for _ in configs]
    for clips_of_block in _blocks(clips):
        block = _Block(clips_of_block, reference, n_classes)
        every += block.runs()
        for part in block.parts(others):
            for config, steps in zip(configs, found, strict=True):
                steps += part.steps(config)
    return [Steps.join([*every, *steps]) for steps in found]


def _blocks(clips: Iterable[ClipFrames]) -> Iterator[list[ClipFrames]]:
    block: list[ClipFrames] = []
    size = 0
    for clip in clips:
        if block and size + clip.scores.size > _BLOCK:
            yield block
            block, size = [], 0
        block.append(clip)
        size += clip.scores.size
    if block:
        yield block


class _Block:
    """The signals of some clips, and their references."""

    def __init__(self, clips: Sequence[ClipFrames], reference: EventArrays, n_classes: int) -> None:
        self.clips = clips
        self.n_classes = n_classes
        every = np.ones((len(clips), n_classes), bool)
        self.flat, self.base = _lay_out(clips, every)
        numbers = np.array([clip.number for clip in clips])
        self.class_in_clip = (numbers[:, None] * n_classes + np.arange(n_classes)).reshape(-1)
        place = np.argsort(self.class_in_clip)
        at = np.searchsorted(self.class_in_clip, reference.clip, sorter=place)
        signal = place.take(at, mode="clip")
        here = self.class_in_clip[signal] == reference.clip
        signal, mine = signal[here], reference.take(here)
        order = np.argsort(signal, kind="stable")
        self.reference = EventArrays(signal[order], mine.onset[order], mine.offset[order])

    def runs(self) -> Iterator[Steps]:
        """Yield how many runs there are: each is a false positive until it is accepted."""
        for position, size in zip(_peaks_and_valleys(self.flat), (1, -1), strict=True):
            cells = self.class_in_clip[_signal_of(position, self.base)]
            yield Steps.of(cells, self.flat[position], FP, np.full(len(position), size))

    def parts(self, others: bool) -> Iterator["_Part"]:
        """Yield the signals with references of their class, or of any class of their clip.

        The classes of a block that is one long clip come in several parts.
        """
        wanted = np.zeros((len(self.clips), self.n_classes), bool)
        wanted.reshape(-1)[self.reference.clip] = True
        if others:
            wanted[:] = wanted.any(axis=1, keepdims=True)
        n_parts = max(1, min(self.n_classes, len(self.flat) // _BLOCK))
        for columns in np.array_split(np.arange(self.n_classes), n_parts):
            chosen = np.zeros_like(wanted)
            chosen[:, columns] = wanted[:, columns]
            if chosen.any():
                yield _Part(self, chosen)


class _Part:
    """The tree of runs of some signals of a block, and the references of all signals."""

    def __init__(self, block: _Block, wanted: BoolArray) -> None:
        self.block, self.reference = block, block.reference
        self.n_signals, self.n_classes = wanted.size, wanted.shape[1]
        flat, base = _lay_out(block.clips, wanted)
        self.tree = find_runs(flat)
        place = _signal_of(self.tree.at, base)
        self.signal = np.flatnonzero(wanted).take(place)  # (M,)
        self.clip = self.signal // self.n_classes

        length = np.array([len(clip.times) for clip in block.clips])
        starts = np.cumsum(length) - length
        times = np.concatenate([clip.times for clip in block.clips])
        # First and last border of each run, in the times of its clip.
        shift = -base.take(place) - 1
        self.first_border, self.last_border = self.tree.first + shift, self.tree.stop + shift
        start = starts.take(self.clip)
        self.onset = times.take(start + self.first_border)
        self.offset = times.take(start + self.last_border)
        self.seconds = self.offset - self.onset

        # How much each signal with references is covered up to each border of its clip.
        self.referenced = np.unique(self.reference.clip)
        clip = self.referenced // self.n_classes
        rows, index = expand(starts[clip], starts[clip] + length[clip])
        self.covered = covered(self.reference, self.referenced[rows], times[index])
        self.covered_base = np.cumsum(length[clip]) - length[clip]

    def steps(self, config: PsdsConfig) -> Iterator[Steps]:
        """Yield what changes when runs are accepted, find references, or trigger other classes."""
        cells, score = self.block.class_in_clip, self.tree.score
        accepted = meets(self._own_overlap(), config.dtc, self.seconds)
        fewer = -_change(accepted.astype(float), self.tree.parent)
        yield Steps.of(cells[self.signal], score, FP, fewer)
        signal, at, size = self._found(accepted, config.gtc)
        yield Steps.of(cells[signal], at, TP, size)
        if config.alpha_ct:
            row, other, size = self._crossing(accepted, config.cttc)
            yield Steps.of(cells[self.signal[row]], score[row], other, size)

    def _overlap(self, row: IntArray, place: IntArray) -> IntArray:
        """Return how much of each run `row` the references at `place` of `referenced` cover."""
        base = self.covered_base.take(place)
        last = self.covered.take(base + self.last_border.take(row))
        part: IntArray = last - self.covered.take(base + self.first_border.take(row))
        return part

    def _own_overlap(self) -> IntArray:
        """Return how much of each run the references of its class cover, in ticks (M,)."""
        place = np.full(self.n_signals, -1)
        place[self.referenced] = np.arange(len(self.referenced))
        place = place.take(self.signal)
        row = np.flatnonzero(place >= 0)
        result = np.zeros(len(self.signal), np.int64)
        result[row] = self._overlap(row, place.take(row))
        return result

    def _found(self, accepted: BoolArray, share: float) -> tuple[IntArray, FloatArray, IntArray]:
        """Return where references become found (1) or missed (-1): signal, score, step.

        Each accepted run is laid beside the references that it overlaps. How much of a reference is
        covered changes by what the run covers, less what those covered that it is made of; where
        a run becomes part of one that is not accepted, all is lost.
        """
        reference, parent = self.reference, self.tree.parent
        chosen = np.flatnonzero(accepted)
        # Complex numbers compare by signal, then time.
        signal = self.signal[chosen]
        onset, offset = (reference.clip + 1j * t for t in reference[1:])
        begin = np.searchsorted(offset, signal + 1j * self.onset[chosen], "right")
        stop = np.searchsorted(onset, signal + 1j * self.offset[chosen], "left")
        pair, i = expand(begin, stop)  # rows of `chosen`, and of the references
        row = chosen[pair]
        common = np.minimum(ticks(self.offset)[row], ticks(reference.offset)[i])
        common -= np.maximum(ticks(self.onset)[row], ticks(reference.onset)[i])

        # Where the pairs of each run begin, as if they were of the first reference.
        base = np.zeros(len(accepted), np.int64)
        base[chosen] = np.cumsum(stop - begin) - (stop - begin) - begin
        outer = parent[row]
        grows = (outer >= 0) & accepted[outer]
        step = _change(common.astype(float), np.where(grows, base[outer] + i, -1)).astype(np.int64)
        lost = np.flatnonzero((outer >= 0) & ~grows)
        step = np.concatenate([step, -common[lost]])
        i = np.concatenate([i, i[lost]])
        score = self.tree.score[np.concatenate([row, outer[lost]])]
        rows = np.flatnonzero(step)
        return _hits(reference, i[rows], score[rows], step[rows], share)

    def _crossing(self, accepted: BoolArray, share: float) -> tuple[IntArray, IntArray, IntArray]:
        """Return where cross-triggers begin and end: row of the tree, class crossed, step.

        Each run is laid beside every class that its clip has references of.
        """
        # Signals with references of each clip, then of the clip of each run.
        first = np.searchsorted(self.referenced, np.arange(0, self.n_signals + 1, self.n_classes))
        begin, width = first.take(self.clip), np.diff(first).take(self.clip)
        row, place = expand(begin, begin + width)
        covers = self._overlap(row, place)
        near = np.flatnonzero((covers > 0) & ~accepted.take(row))
        near = near[self.referenced.take(place.take(near)) != self.signal.take(row.take(near))]
        enough = meets(covers.take(near), share, self.seconds.take(row.take(near)))
        crosses = near[enough]

        # The pair of the run that each becomes part of, and the same class.
        first = np.cumsum(width) - width
        outer = self.tree.parent.take(row.take(crosses))
        parent = first.take(outer) + crosses - first.take(row.take(crosses))
        step = -np.bincount(parent[outer >= 0], minlength=len(row))
        step[crosses] += 1
        moves = np.flatnonzero(step)
        other = self.referenced.take(place.take(moves)) % self.n_classes
        return row.take(moves), other, step.take(moves)


def _lay_out(clips: Sequence[ClipFrames], wanted: BoolArray) -> tuple[FloatArray, IntArray]:
    """Put the wanted signals of each clip one after the other; also return where each begins."""
    n_signals = wanted.sum(axis=1)
    lengths = np.array([len(clip.times) for clip in clips])
    length = np.repeat(lengths, n_signals)
    flat = np.full(length.sum() + 1, -np.inf)
    end = 0
    for clip, columns in zip(clips, wanted, strict=True):
        begin, end = end, end + int(columns.sum()) * len(clip.times)
        chosen = clip.scores if columns.all() else clip.scores[:, columns]
        flat[begin:end].reshape(-1, len(clip.times))[:, 1:] = chosen.T
    return flat, np.cumsum(length) - length


def _signal_of(position: IntArray, base: IntArray) -> IntArray:
    """Return the place of the signal that each position is in; positions are ascending."""
    first = np.searchsorted(position, base)
    return np.repeat(np.arange(len(base)), np.diff(first, append=len(position)))


def _hits(
    reference: EventArrays, i: IntArray, score: FloatArray, step: IntArray, share: float
) -> tuple[IntArray, FloatArray, IntArray]:
    """Return where reference `i` is found or missed, if its cover changes by `step` at `score`."""
    order = np.lexsort((-score, i))
    i, score, step = i[order], score[order], step[order]
    total = np.cumsum(step)
    new = np.diff(i, prepend=-1) != 0  # the first row of each reference
    cover = total - (total - step)[new][np.cumsum(new) - 1]
    hit = meets(cover, share, (reference.offset - reference.onset)[i]).astype(np.int64)
    moves = np.diff(hit, prepend=0)  # several at one score add up to one
    moves[new] = hit[new]
    return reference.clip[i], score, moves


class ScoreRuns(NamedTuple):
    """M runs of several signals that follow each other in one array."""

    at: IntArray  # position of the first frame with the lowest score in it; ascending
    first: IntArray  # position of its first frame
    stop: IntArray  # position after its last frame
    score: FloatArray  # its lowest score: it is there for thresholds up to this
    parent: IntArray  # row of the next longer run, -1 where there is none


def _change(value: FloatArray, parent: IntArray) -> FloatArray:
    """Return the value of each row less those of the rows whose parent it is; -1 is no parent."""
    inner = parent >= 0
    return value - np.bincount(parent[inner], value[inner], len(value))


def _peaks_and_valleys(flat: FloatArray) -> tuple[IntArray, IntArray]:
    """Return where a run begins as the threshold falls, and where two join.

    In `flat`, ``-inf`` stands before each signal and after the last.
    """
    begin, value = _without_repeats(flat)
    rises = value[1:] > value[:-1]
    peak = np.flatnonzero(rises[:-1] & ~rises[1:]) + 1
    valley = np.flatnonzero(~rises[:-1] & rises[1:]) + 1
    return begin[peak], begin[valley[np.isfinite(value[valley])]]


def find_runs(flat: FloatArray) -> ScoreRuns:
    """Return all runs of the signals in `flat`, which is as in `_peaks_and_valleys`."""
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

    Not strict: greater or equal. Rows are positions of finite values; the first value is ``-inf``.
    The search goes up and down a tree of minima over blocks of 1, 2, 4, … values, so it takes
    logarithmic time however long a signal is.
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
