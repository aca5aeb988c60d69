"""Segment-based scores: both sides are laid on a grid of cells and compared cell by cell."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.errors import LabelError
from sedtool.evaluation import sed_eval_engine
from sedtool.evaluation.scores import Counts, FloatArray, IntArray, Scores, Undefined, score
from sedtool.evaluation.tables import EventArrays, EventPair, tabulate
from sedtool.labels import Event, StrongLabels

__all__ = ["active_stretches", "clip_seconds", "evaluate_segments", "segment_cells"]


def evaluate_segments(
    reference: StrongLabels | Sequence[Event],
    estimated: StrongLabels | Sequence[Event],
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
    count = sed_eval_engine.count_segments if config.engine == "sed_eval" else _count_segments
    seconds = clip_seconds(durations or {}, pair.clips)
    rule = Undefined.DROPPED if config.compat == "dcase" else Undefined.ZERO
    return score(pair.classes, count(pair, config, seconds), rule)


def clip_seconds(durations: Mapping[str, float], clips: Sequence[str]) -> FloatArray:
    """Return the duration of each clip in seconds, inf where unknown, shape (clips,)."""
    for name, duration in durations.items():
        if not 0 <= duration < np.inf:
            raise LabelError(f"{name}: a duration of {duration:g} s; it must be finite, 0 or more")
    return np.array([durations.get(name, np.inf) for name in clips], float)


def _count_segments(pair: EventPair, config: EvaluationConfig, seconds: FloatArray) -> Counts:
    n_segments = np.ceil(seconds / config.segment)  # (clips,), inf where unknown
    rows = [
        _active_segments(segment_cells(r, config, n_segments), segment_cells(e, config, n_segments))
        for r, e in zip(pair.reference, pair.estimated, strict=True)
    ]
    table = np.array(rows, np.int64).reshape(-1, 3)
    return Counts(table[:, 0], table[:, 1], table[:, 2])


def segment_cells(
    events: EventArrays, config: EvaluationConfig, n_segments: FloatArray
) -> EventArrays:
    """Return events with their times counted in segments, whole ones, cut at the clip's end."""
    end = n_segments[events.clip]
    first = np.minimum(np.floor(events.onset / config.segment), end)
    last = np.minimum(np.ceil(events.offset / config.segment), end)
    return EventArrays(events.clip, first, last)


def _active_segments(reference: EventArrays, estimated: EventArrays) -> tuple[float, float, float]:
    """Count the segments of one class that are active in both, in reference and in estimates."""
    _, widths = active_stretches(reference, estimated)
    both, in_reference, in_estimated = widths.sum(axis=1)
    return both, in_reference, in_estimated


def active_stretches(reference: EventArrays, estimated: EventArrays) -> tuple[IntArray, FloatArray]:
    """Return the stretches of segments of one class: the clip of each, and how much is active.

    Only the segments where something begins or ends are visited, so the cost depends on the
    number of events and not on the segment length.

    Returns
    -------
    array
        Clip numbers, shape (N,).
    array
        Segments that are active in both, in the reference, and in the estimates, shape (3, N).
    """
    tables = (reference, reference, estimated, estimated)
    clip = np.concatenate([table.clip for table in tables])
    cell = np.concatenate([reference.onset, reference.offset, estimated.onset, estimated.offset])
    step = np.repeat([1, -1, 1, -1], [len(table.clip) for table in tables])
    is_reference = np.arange(len(step)) < 2 * len(reference.clip)
    order = np.lexsort((cell, clip))
    # Width of the stretch from each border to the next. Between clips nothing is active, since
    # every event that began has ended, so the meaningless widths there are never summed.
    width = np.diff(cell[order])
    in_reference = np.cumsum(np.where(is_reference, step, 0)[order])[:-1] > 0
    in_estimated = np.cumsum(np.where(is_reference, 0, step)[order])[:-1] > 0
    active = np.array([in_reference & in_estimated, in_reference, in_estimated])
    return clip[order][:-1], np.where(active, width, 0.0)
