"""Scores -> true positives, false positives and cross-triggers at every threshold, exactly.

Clips are taken in blocks. In a block, the scores of all clips and classes lie one after the other
in one array, each signal after a sentinel of ``-inf``; position p of a signal that begins at b is
frame p - b - 1, and stands in other arrays for the border between frames p - b - 1 and p - b.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedtool.config.evaluation import PsdsConfig
from sedtool.evaluation.counts import FloatArray, IntArray
from sedtool.evaluation.intersection import MergedEvents, covered, expand, meets, ticks
from sedtool.evaluation.psds.curves import OperatingPoints
from sedtool.evaluation.psds.resampling import ClassSteps, Steps
from sedtool.evaluation.psds.score_runs import (
    ScoreRuns,
    change,
    find_runs,
    peaks_and_valleys,
)

__all__ = ["ClipFrames", "Tally"]

_BLOCK = 2**17  # frames times classes that are counted at a time
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class ClipFrames:
    """The scores of one clip, T frames of the K classes that are scored."""

    number: int  # of the clip
    times: FloatArray  # seconds, (T + 1,)
    scores: NDArray[np.floating]  # (T, K)


class _Changes:
    """What changes when the threshold falls to a score, by class."""

    def __init__(self, n_classes: int, n_marks: int = 0) -> None:
        self.n_classes = n_classes
        self._none = (np.zeros(0), np.zeros(0), *[np.zeros(0, np.int64)] * n_marks)
        self._rows: list[list[tuple[np.ndarray, ...]]] = [[] for _ in range(n_classes)]

    def add(self, label: IntArray, score: FloatArray, step: FloatArray, *marks: IntArray) -> None:
        """Add changes of any class; those of 0 are left out. `marks` say of what they are."""
        rows = np.flatnonzero(step)
        rows = rows[np.argsort(label[rows], kind="stable")]
        borders = np.searchsorted(label[rows], np.arange(self.n_classes + 1))
        for k in np.flatnonzero(np.diff(borders)):
            mine = rows[borders[k] : borders[k + 1]]
            self._rows[k].append(tuple(column[mine] for column in (score, step, *marks)))

    def of(self, label: int) -> tuple[np.ndarray, ...]:
        """Return the scores, changes and marks of a class, in any order."""
        columns = zip(self._none, *self._rows[label], strict=True)
        return tuple(np.concatenate(column) for column in columns)


class Tally:
    """Counts the clips that are given to it, for several scenarios at once.

    Parameters
    ----------
    reference
        The references of all clips.
    n_classes
        K.
    configs
        The scenarios.
    by_clip
        Whether to remember which clip each change is of; `changes` needs it.
    """

    def __init__(
        self,
        reference: MergedEvents,
        n_classes: int,
        configs: Sequence[PsdsConfig],
        by_clip: bool = False,
    ) -> None:
        self.reference = reference
        self.n_classes = n_classes
        self.configs = configs
        label = reference.class_in_clip % n_classes
        seconds = np.bincount(label, reference.offset - reference.onset, n_classes)
        # Cross-triggers count by how rare the class is that they are taken for.
        self.weight = np.divide(1.0, seconds, out=np.zeros(n_classes), where=seconds > 0)
        self.by_clip = by_clip
        self._runs = _Changes(n_classes, by_clip)  # how many there are
        # True positives, accepted runs, cross-triggers of each scenario.
        kinds = (int(by_clip), int(by_clip), by_clip + 1)
        self._changes = [tuple(_Changes(n_classes, n) for n in kinds) for _ in configs]

    def count(self, clips: Iterable[ClipFrames]) -> None:
        """Add clips; each may come once."""
        # Without cross-triggers, only signals with references of their class can hold any surprise.
        others = any(config.alpha_ct for config in self.configs)
        for clips_of_block in _blocks(clips):
            block = _Block(clips_of_block, self.reference, self.n_classes)
            for position, step in zip(peaks_and_valleys(block.flat), (1.0, -1.0), strict=True):
                signal = _signal_of(position, block.base)
                steps = np.full(len(position), step)
                clip = self._marks(block.numbers, signal // self.n_classes)
                self._runs.add(signal % self.n_classes, block.flat[position], steps, *clip)
            for part in block.parts(others):
                for config, changes in zip(self.configs, self._changes, strict=True):
                    self._count_part(part, config, *changes)

    def points(self, label: int, scenario: int = 0) -> OperatingPoints:
        """Return the counts of a class at every threshold where one of them changes."""
        thresholds, found = self._at_thresholds(label, scenario)
        tp, accepted, cross, every = (
            np.cumsum(np.bincount(place, step, len(thresholds))) for place, step, *_ in found
        )
        fp = (every - accepted).astype(np.int64)
        return OperatingPoints(thresholds, tp.astype(np.int64), fp, cross.astype(float))

    def steps(self, label: int, scenario: int = 0) -> ClassSteps:
        """Return the same as steps of single clips, for resampling them."""
        thresholds, found = self._at_thresholds(label, scenario, weighted=False)
        (tp, accepted, cross, every), n = found, len(thresholds)
        # False positives are all runs but the accepted ones.
        at, change, clip = map(np.concatenate, zip(every, accepted, strict=True))
        change[len(every[1]) :] *= -1
        false = Steps.of(at, change, clip, n)
        at, change, crossed, clip = cross
        return ClassSteps(
            Steps.of(tp[0], tp[1], tp[2], n), false, Steps.of(at, change, clip, n, crossed)
        )

    def _at_thresholds(
        self, label: int, scenario: int, weighted: bool = True
    ) -> tuple[FloatArray, list[tuple[np.ndarray, ...]]]:
        """Return the thresholds of a class, falling, and its changes with their places in them.

        Changes are those of true positives, accepted runs, cross-triggers, all runs;
        columns are place, step and marks. Cross-triggers are weighted if asked for.
        """
        found = [changes.of(label) for changes in (*self._changes[scenario], self._runs)]
        if weighted:
            score, step, other, *clip = found[2]
            found[2] = (score, step * self.weight[other], other, *clip)
        scores = np.concatenate([columns[0] for columns in found])
        thresholds, place = np.unique(-scores, return_inverse=True)
        places = np.split(place, np.cumsum([len(columns[0]) for columns in found[:-1]]))
        return -thresholds, [(at, *columns[1:]) for at, columns in zip(places, found, strict=True)]

    def _count_part(
        self, part: "_Part", config: PsdsConfig, tp: _Changes, good: _Changes, cross: _Changes
    ) -> None:
        accepted = meets(part.own_overlap(), config.dtc, part.seconds)
        step = change(accepted.astype(float), part.tree.parent)
        good.add(part.label, part.tree.score, step, *self._marks(part.numbers, part.clip))
        lane, score, step = _found(part, accepted, config.gtc)
        clip = self._marks(part.numbers, lane // self.n_classes)
        tp.add(lane % self.n_classes, score, step, *clip)
        if config.alpha_ct:
            row, other, step = _crossing(part, accepted, config.cttc)
            clip = self._marks(part.numbers, part.clip.take(row))
            cross.add(part.label.take(row), part.tree.score.take(row), step, other, *clip)

    def _marks(self, numbers: IntArray, place: IntArray) -> list[IntArray]:
        """Return the clips of changes, from their places in the block, if they are remembered."""
        return [numbers[place]] if self.by_clip else []


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
    """The signals of some clips: signal ``i * K + k`` is class k of clip i of the block."""

    def __init__(
        self, clips: Sequence[ClipFrames], reference: MergedEvents, n_classes: int
    ) -> None:
        self.clips = clips
        self.n_classes = n_classes
        every = np.ones((len(clips), n_classes), bool)
        self.flat, self.base = _lay_out(clips, every)
        self.numbers = np.array([clip.number for clip in clips])
        place = np.argsort(self.numbers)
        clip = reference.class_in_clip // n_classes
        at = np.minimum(np.searchsorted(self.numbers[place], clip), len(clips) - 1)
        here = self.numbers[place][at] == clip
        lane = place[at[here]] * n_classes + reference.class_in_clip[here] % n_classes
        order = np.argsort(lane, kind="stable")
        mine = reference.take(here)
        self.reference = MergedEvents(lane[order], mine.onset[order], mine.offset[order])

    def parts(self, others: bool) -> Iterator["_Part"]:
        """Yield the signals with references of their class, or of any class of their clip.

        The classes of a block that is one long clip come in several parts.
        """
        wanted = np.zeros((len(self.clips), self.n_classes), bool)
        wanted.reshape(-1)[self.reference.class_in_clip] = True
        if others:
            wanted[:] = wanted.any(axis=1, keepdims=True)
        n_parts = max(1, min(self.n_classes, len(self.flat) // _BLOCK))
        for columns in np.array_split(np.arange(self.n_classes), n_parts):
            chosen = np.zeros_like(wanted)
            chosen[:, columns] = wanted[:, columns]
            if chosen.any():
                yield _Part(self.clips, self.reference, chosen)


class _Part:
    """The tree of runs of some signals of a block, and the references near them."""

    def __init__(
        self, clips: Sequence[ClipFrames], reference: MergedEvents, wanted: BoolArray
    ) -> None:
        self.reference = reference
        self.numbers = np.array([clip.number for clip in clips])
        n_classes, self.n_signals = wanted.shape[1], wanted.size
        flat, base = _lay_out(clips, wanted)
        signals = np.flatnonzero(wanted)
        self.tree: ScoreRuns = find_runs(flat)
        place = _signal_of(self.tree.at, base)
        self.signal = signals.take(place)  # (M,)
        self.clip, self.label = self.signal // n_classes, self.signal % n_classes
        self.n_classes = n_classes

        length = np.array([len(clip.times) for clip in clips])
        starts = np.cumsum(length) - length
        self.times = np.concatenate([clip.times for clip in clips])
        # First and last border of each run, in the times of its clip.
        shift = -base.take(place) - 1
        self.first_border, self.last_border = self.tree.first + shift, self.tree.stop + shift
        start = starts.take(self.clip)
        self.onset = self.times.take(start + self.first_border)
        self.offset = self.times.take(start + self.last_border)
        self.seconds = self.offset - self.onset

        # How much each lane with references is covered up to each border of its clip.
        self.lanes = np.unique(reference.class_in_clip)
        clip_of_lane = self.lanes // n_classes
        rows, index = expand(starts[clip_of_lane], starts[clip_of_lane] + length[clip_of_lane])
        self.covered = covered(reference, self.lanes[rows], self.times[index])
        self.lane_base = np.cumsum(length[clip_of_lane]) - length[clip_of_lane]

    def lane_overlap(self, row: IntArray, lane: IntArray) -> IntArray:
        """Return how much of each run `row` the references of `lane`, by place, cover."""
        base = self.lane_base.take(lane)
        last = self.covered.take(base + self.last_border.take(row))
        part: IntArray = last - self.covered.take(base + self.first_border.take(row))
        return part

    def own_overlap(self) -> IntArray:
        """Return how much of each run the references of its class cover, in ticks (M,)."""
        place = np.full(self.n_signals, -1)
        place[self.lanes] = np.arange(len(self.lanes))
        lane = place.take(self.signal)
        row = np.flatnonzero(lane >= 0)
        result = np.zeros(len(self.signal), np.int64)
        result[row] = self.lane_overlap(row, lane.take(row))
        return result


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


def _found(
    part: _Part, accepted: BoolArray, share: float
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return where references become found (1) or lost (-1): lane, score, change.

    Each accepted run is laid beside the references that it overlaps. How much of a reference is
    covered changes by what the run covers, less what those covered that it is made of; where
    a run becomes part of one that is not accepted, all is lost.
    """
    truth, tree = part.reference, part.tree
    chosen = np.flatnonzero(accepted)
    lane = part.signal[chosen]
    begin = np.searchsorted(
        truth.class_in_clip + 1j * truth.offset, lane + 1j * part.onset[chosen], "right"
    )
    stop = np.searchsorted(
        truth.class_in_clip + 1j * truth.onset, lane + 1j * part.offset[chosen], "left"
    )
    pair, i = expand(begin, stop)  # rows of `chosen`, and of `truth`
    row = chosen[pair]
    common = np.minimum(ticks(part.offset)[row], ticks(truth.offset)[i])
    common -= np.maximum(ticks(part.onset)[row], ticks(truth.onset)[i])

    # Where the pairs of each run begin, as if they were of the first reference.
    base = np.zeros(len(tree.score), np.int64)
    base[chosen] = np.cumsum(stop - begin) - (stop - begin) - begin
    outer = tree.parent[row]
    grows = (outer >= 0) & accepted[outer]
    step = change(common.astype(float), np.where(grows, base[outer] + i, -1)).astype(np.int64)
    lost = np.flatnonzero((outer >= 0) & ~grows)
    step = np.concatenate([step, -common[lost]])
    i = np.concatenate([i, i[lost]])
    score = np.concatenate([tree.score[row], tree.score[outer[lost]]])
    rows = np.flatnonzero(step)
    return _hits(truth, i[rows], score[rows], step[rows], share)


def _hits(
    truth: MergedEvents, i: IntArray, score: FloatArray, step: IntArray, share: float
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return where reference `i` is found or lost, if its cover changes by `step` at `score`."""
    order = np.lexsort((-score, i))
    i, score, step = i[order], score[order], step[order]
    total = np.cumsum(step)
    new = np.diff(i, prepend=-1) != 0  # the first row of each reference
    cover = total - (total - step)[new][np.cumsum(new) - 1]
    hit = meets(cover, share, (truth.offset - truth.onset)[i]).astype(float)
    moves = np.diff(hit, prepend=0.0)  # several at one score add up to one
    moves[new] = hit[new]
    return truth.class_in_clip[i], score, moves


def _crossing(
    part: _Part, accepted: BoolArray, share: float
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return where cross-triggers begin and end: row of the tree, class crossed, change.

    Each run is laid beside every class that its clip has references of.
    """
    tree = part.tree
    # MergedEvents of each clip, then of the clip of each run.
    first = np.searchsorted(part.lanes, np.arange(0, part.n_signals + 1, part.n_classes))
    begin, width = first.take(part.clip), np.diff(first).take(part.clip)
    row, lane = expand(begin, begin + width)
    covers = part.lane_overlap(row, lane)
    near = np.flatnonzero((covers > 0) & ~accepted.take(row))
    near = near[part.lanes.take(lane.take(near)) != part.signal.take(row.take(near))]
    crosses = near[meets(covers.take(near), share, part.seconds.take(row.take(near)))]

    # The pair of the run that each becomes part of, and the same class.
    first = np.cumsum(width) - width
    outer = tree.parent.take(row.take(crosses))
    parent = first.take(outer) + crosses - first.take(row.take(crosses))
    step = -np.bincount(parent[outer >= 0], minlength=len(row))
    step[crosses] += 1
    moves = np.flatnonzero(step)
    other = part.lanes.take(lane.take(moves)) % part.n_classes
    return row.take(moves), other, step.take(moves).astype(float)
