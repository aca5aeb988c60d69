"""Which classes are active where: in each segment of a grid, or anywhere in a clip."""

from typing import NamedTuple

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.errors import LabelError
from sedtool.evaluation import sed_eval_engine
from sedtool.evaluation.counts import Counts, Entries, FloatArray, IntArray, Kinds, macro_rule
from sedtool.evaluation.pair import EventArrays, Pair, TagPair, distinct

_HALF = 2**32
_MOST_SEGMENTS = 2**53  # doubles count no further


def count_segments(pair: Pair, config: EvaluationConfig) -> Counts:
    """Count active segments.

    An event is active in every segment it touches, ``floor(onset / segment)`` up to but not
    including ``ceil(offset / segment)``. A clip of known duration has ``ceil(duration / segment)``
    segments; activity past them is not counted.
    """
    pair = pair.counted(config.compat)
    if config.engine == "sed_eval":
        return _counts(pair, sed_eval_engine.segment_kinds(pair, config), config)
    return count_runs(pair, segment_runs(pair, config), config)


def count_runs(pair: Pair, runs: "SegmentRuns", config: EvaluationConfig) -> Counts:
    """Return the counts of the segments in runs."""
    both, reference, estimated = (
        Entries(runs.class_in_clip[rows], runs.width[rows])
        for rows in runs.active & (runs.width > 0)
    )
    return _counts(pair, (both, reference, estimated), config)


def _counts(pair: Pair, kinds: Kinds, config: EvaluationConfig) -> Counts:
    rule = macro_rule("segment", config.compat)
    return Counts(len(pair.clips), pair.labels, pair.classes, kinds, rule)


class SegmentRuns(NamedTuple):
    """Runs of segments between the borders of events; N rows, of which many have no length."""

    class_in_clip: IntArray  # the clip, or the class and clip, each run is in
    first: FloatArray  # number of its first segment
    width: FloatArray  # segments
    active: np.ndarray  # bool (3, N): in both, in the reference, in the estimates


def segment_runs(pair: Pair, config: EvaluationConfig) -> SegmentRuns:
    """Return the runs of all classes and clips."""
    n_segments = np.ceil(pair.seconds / config.segment)
    reference, estimated = pair.by_class
    return active_runs(
        _in_segments(reference, n_segments[pair.reference.clip], config.segment),
        _in_segments(estimated, n_segments[pair.estimated.clip], config.segment),
    )


def _in_segments(events: EventArrays, end: FloatArray, segment: float) -> EventArrays:
    """Return events with their times counted in segments, whole ones, cut at the clip's end."""
    first = np.minimum(np.floor(events.onset / segment), end)
    last = np.minimum(np.ceil(events.offset / segment), end)
    if last.max(initial=0.0) > _MOST_SEGMENTS:
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
    cell = np.concatenate([reference.clip, reference.clip, estimated.clip, estimated.clip])
    edge = np.concatenate([reference.onset, reference.offset, estimated.onset, estimated.offset])
    cell, edge, kind = _sorted(cell, edge, kind)
    # How many events of each side are active, in the two halves of one number.
    n_active = np.cumsum(np.array([_HALF, -_HALF, 1, -1])[kind])[:-1]
    in_reference, in_estimated = n_active >= _HALF, n_active % _HALF > 0
    # From each edge to the next. Between one class-in-clip and the next nothing is active, since
    # every event that began has ended, so the meaningless widths there are never counted.
    return SegmentRuns(
        cell[:-1],
        edge[:-1],
        np.diff(edge),
        np.array([in_reference & in_estimated, in_reference, in_estimated]),
    )


def _sorted(
    cell: IntArray, edge: FloatArray, kind: IntArray
) -> tuple[IntArray, FloatArray, IntArray]:
    """Return the columns sorted by class-in-clip, then edge; `kind` is 0 to 3.

    Where 63 bits hold a row, it is sorted as one number, which is faster than an order of rows.
    """
    n_edges = int(edge.max(initial=0.0)) + 1
    if (int(cell.max(initial=0)) + 1) * n_edges >= 2**61:
        order = np.lexsort((edge, cell))
        return cell[order], edge[order], kind[order]
    rows = np.sort(4 * (cell * n_edges + edge.astype(np.int64)) + kind)
    place = rows >> 2
    cell = place // n_edges
    return cell, (place - cell * n_edges).astype(float), rows & 3


def count_clips(pair: Pair, config: EvaluationConfig) -> Counts:
    """Count clips by class; without labels of their own, clips have those of their events.

    Zero-length events give none, but with compat ``"dcase"``.
    """
    reference, estimated, classes = tags = pair.tags or _tags_of_events(pair, config)
    if config.engine == "sed_eval":
        kinds = sed_eval_engine.clip_kinds(pair, tags)
    else:
        where = np.minimum(np.searchsorted(reference, estimated), max(reference.size - 1, 0))
        both = estimated[reference[where] == estimated] if reference.size else reference
        kinds = Entries(both), Entries(reference), Entries(estimated)
    return Counts(len(pair.clips), pair.labels, classes, kinds)


def _tags_of_events(pair: Pair, config: EvaluationConfig) -> TagPair:
    zero_length = config.compat == "dcase"
    reference, estimated = (
        distinct(side.clip[(side.offset > side.onset) | zero_length]) for side in pair.by_class
    )
    return TagPair(reference, estimated, pair.classes)
