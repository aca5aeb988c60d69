"""Segment-based scores: both sides are laid on a grid of cells and compared cell by cell."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.errors import LabelError
from sedtool.evaluation import sed_eval_engine
from sedtool.evaluation.counts import Counts, FloatArray, IntArray, Scores, Undefined, score
from sedtool.evaluation.pair import EventArrays, EventPair, LabelInput, tabulate

__all__ = [
    "SegmentRuns",
    "active_runs",
    "clip_seconds",
    "evaluate_segments",
    "score_segments",
    "segment_counts",
    "segment_runs",
]


_HALF = 2**32
_MOST_CELLS = 2**53  # doubles count no further


def evaluate_segments(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
) -> Scores:
    """Score the activity of each class in segments of equal length.

    An event is active in every segment it touches, ``floor(onset / segment)`` up to but not
    including ``ceil(offset / segment)``. Overlapping events of one class are active once.

    Parameters
    ----------
    reference, estimated
        Events in any order. Clip names of the two sides are compared as they are.
    config
        `segment`, `engine` and `compat` are used.
    classes
        The only classes to score; by default those of the reference.
    durations
        Seconds, by clip name. A clip has ``ceil(duration / segment)`` segments; activity past
        them is not scored. A clip not named here is as long as its last event.

    Returns
    -------
    Scores
        Counted in segments.

    Raises
    ------
    LabelError
        If an event has impossible times, or a duration is negative.

    References
    ----------
    A. Mesaros, T. Heittola, T. Virtanen, "Metrics for polyphonic sound event detection",
    Applied Sciences 6(6), 2016, section 3.1.
    """
    pair = tabulate(reference, estimated, config, classes)
    return score_segments(pair, config, durations or {})


def score_segments(
    pair: EventPair, config: EvaluationConfig, durations: Mapping[str, float]
) -> Scores:
    """Score events that are numbered already; see `evaluate_segments`."""
    count = sed_eval_engine.count_segments if config.engine == "sed_eval" else _count_segments
    seconds = clip_seconds(durations, pair.clips)
    rule = Undefined.DROPPED if config.compat == "dcase" else Undefined.ZERO
    return score(pair.classes, count(pair, config, seconds), rule)


def clip_seconds(durations: Mapping[str, float], clips: Sequence[str]) -> FloatArray:
    """Return the duration of each clip in seconds, inf where unknown, shape (clips,)."""
    for name, duration in durations.items():
        if not 0 <= duration < np.inf:
            raise LabelError(f"{name}: a duration of {duration:g} s; it must be finite, 0 or more")
    return np.array([durations.get(name, np.inf) for name in clips], float)


def _count_segments(pair: EventPair, config: EvaluationConfig, seconds: FloatArray) -> Counts:
    found = segment_runs(pair, config, seconds)
    label = pair.label_of(found.class_in_clip)
    sums = (np.bincount(label, row * found.width, pair.n_labels) for row in found.active)
    return Counts(*(column.astype(np.int64) for column in sums))


class SegmentRuns(NamedTuple):
    """Runs of segments between the borders of events; N rows, of which many have no length."""

    class_in_clip: IntArray  # the clip, or the class and clip, each run is in
    first: FloatArray  # number of its first segment
    width: FloatArray  # segments
    active: np.ndarray  # bool (3, N): in both, in the reference, in the estimates


def segment_runs(pair: EventPair, config: EvaluationConfig, seconds: FloatArray) -> SegmentRuns:
    """Return the runs of all classes and clips; `seconds` (clips,) is inf where unknown."""
    n_segments = np.ceil(seconds / config.segment)
    reference, estimated = pair.lanes
    return active_runs(
        _cells(reference, n_segments[pair.truth.clip], config.segment),
        _cells(estimated, n_segments[pair.guess.clip], config.segment),
    )


def segment_counts(
    reference: EventArrays, estimated: EventArrays, segment: float, seconds: float = np.inf
) -> tuple[int, int, int]:
    """Count the segments of one class that are active.

    Parameters
    ----------
    reference, estimated
        Events of one class in any number of clips.
    segment
        Length in seconds.
    seconds
        Length of the clips, if it is known.

    Returns
    -------
    tuple of int
        Segments active in both, in the reference, and in the estimates.
    """
    end = np.ceil(seconds / segment)
    sides = (_cells(side, np.full(len(side.clip), end), segment) for side in (reference, estimated))
    found = active_runs(*sides)
    both, in_reference, in_estimated = (found.active * found.width).sum(axis=1)
    return int(both), int(in_reference), int(in_estimated)


def _cells(events: EventArrays, end: FloatArray, segment: float) -> EventArrays:
    """Return events with their times counted in segments, whole ones, cut at the clip's end."""
    first = np.minimum(np.floor(events.onset / segment), end)
    last = np.minimum(np.ceil(events.offset / segment), end)
    if last.max(initial=0.0) > _MOST_CELLS:
        raise LabelError(
            f"an event ends at {events.offset.max():g} s, too far on for segments of {segment:g} s"
        )
    return EventArrays(events.clip, first, last)


def active_runs(reference: EventArrays, estimated: EventArrays) -> SegmentRuns:
    """Return the runs of segments of one class, or of classes and clips that are told apart.

    Only the segments where something begins or ends are visited, so the cost depends on the
    number of events and not on the segment length.
    """
    n, m = len(reference.clip), len(estimated.clip)
    kind = np.repeat(np.arange(4), [n, n, m, m])
    lane = np.concatenate([reference.clip, reference.clip, estimated.clip, estimated.clip])
    cell = np.concatenate([reference.onset, reference.offset, estimated.onset, estimated.offset])
    lane, cell, kind = _sorted(lane, cell, kind)
    # How many events of each side are active, in the two halves of one number.
    n_active = np.cumsum(np.array([_HALF, -_HALF, 1, -1])[kind])[:-1]
    in_reference, in_estimated = n_active >= _HALF, n_active % _HALF > 0
    # From each border to the next. Between lanes nothing is active, since every event that began
    # has ended, so the meaningless widths there are never counted.
    return SegmentRuns(
        lane[:-1],
        cell[:-1],
        np.diff(cell),
        np.array([in_reference & in_estimated, in_reference, in_estimated]),
    )


def _sorted(
    lane: IntArray, cell: FloatArray, kind: IntArray
) -> tuple[IntArray, FloatArray, IntArray]:
    """Return the columns sorted by lane, then cell; `kind` is 0 to 3.

    Where 63 bits hold a row, it is sorted as one number, which is some times faster than finding
    the order of rows.
    """
    n_cells = int(cell.max(initial=0.0)) + 1
    if (int(lane.max(initial=0)) + 1) * n_cells >= 2**61:
        order = np.lexsort((cell, lane))
        return lane[order], cell[order], kind[order]
    rows = np.sort(4 * (lane * n_cells + cell.astype(np.int64)) + kind)
    place = rows >> 2
    lane = place // n_cells
    return lane, (place - lane * n_cells).astype(float), rows & 3
