"""The counts of every metric clip by clip, whose sums over clips are those of the metric.

C is the number of clips, K that of classes; the last axis of counts is true positives, reference,
estimates, as in `sedtool.evaluation.resampling`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.evaluation.counts import FloatArray, IntArray
from sedtool.evaluation.events import matched_references
from sedtool.evaluation.pair import EventPair, LabelInput, as_labels, pair_up
from sedtool.evaluation.pairing import durations_by_clip, match_names, weak_form
from sedtool.evaluation.segments import clip_seconds, segment_runs
from sedtool.labels import StrongLabels

__all__ = ["ClipCounts", "count_by_clip"]


@dataclass(frozen=True)
class ClipCounts:
    """What each metric counts in each clip; arrays of shape (C, K, 3)."""

    clips: tuple[str, ...]  # sorted
    classes: tuple[str, ...]
    event: IntArray
    onset: IntArray
    segment: IntArray
    clip: IntArray

    def metric(self, name: str) -> IntArray:
        """Return the counts of ``event``, ``onset``, ``segment`` or ``clip``."""
        counts: IntArray = getattr(self, name)
        return counts


def count_by_clip(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str],
    *,
    durations: Mapping[str, float] | None = None,
    weak_reference: Mapping[str, Iterable[str]] | None = None,
    weak_estimated: Mapping[str, Iterable[str]] | None = None,
) -> ClipCounts:
    """Count what `sedtool.evaluation.evaluate` counts with these classes, clip by clip.

    Parameters
    ----------
    reference, estimated, durations, weak_reference, weak_estimated
        As there.
    config
        `collar`, `offset_ratio` and `segment` are used; the conventions are sedtool's own.
    classes
        The class list.

    Raises
    ------
    LabelError
        If an event or a duration has impossible times, or a clip name is ambiguous.
    """
    reference, estimated = as_labels(reference), as_labels(estimated)
    estimated = estimated.renamed(match_names(estimated.names, reference.names, "estimated events"))
    heard = weak_form(reference, "") if weak_reference is None else weak_reference
    tagged = weak_form(estimated, "") if weak_estimated is None else weak_estimated
    if weak_estimated is not None or weak_reference is not None:
        names = match_names(tagged, heard, "estimated clip labels")
        tagged = {names[name]: labels for name, labels in tagged.items()}

    clips = tuple(sorted({*reference.names, *estimated.names, *heard, *tagged}))
    numbered = StrongLabels.from_columns(reference.columns, clips)  # so that clips are as here
    pair = pair_up(numbered, estimated, classes, "")
    seconds = clip_seconds(durations_by_clip(durations, clips), clips)
    tags = _tags_by_clip(clips, pair.classes, heard, tagged)
    segments = _segments_by_clip(pair, config, seconds)
    events, onsets = (_events_by_clip(pair, config, onset_only) for onset_only in (False, True))
    return ClipCounts(clips, pair.classes, events, onsets, segments, tags)


def _events_by_clip(pair: EventPair, config: EvaluationConfig, onset_only: bool) -> IntArray:
    """Return the counts of events, shape (C, K, 3)."""
    reference, estimated = pair.lanes
    matched = reference.clip[matched_references(reference, estimated, config, onset_only)]
    return _table(pair, [(lane, None) for lane in (matched, reference.clip, estimated.clip)])


def _segments_by_clip(pair: EventPair, config: EvaluationConfig, seconds: FloatArray) -> IntArray:
    """Return the counts of segments, shape (C, K, 3); `seconds` (C,) is inf where unknown."""
    found = segment_runs(pair, config, seconds)
    return _table(pair, [(found.class_in_clip, row * found.width) for row in found.active])


def _table(pair: EventPair, columns: list[tuple[IntArray, FloatArray | None]]) -> IntArray:
    """Sum lanes, or their weights, into shape (C, K, columns)."""
    shape = (len(pair.classes), len(pair.clips))
    sums = [np.bincount(lane, w, shape[0] * shape[1]).reshape(shape).T for lane, w in columns]
    return np.stack(sums, axis=2).astype(np.int64)


def _tags_by_clip(
    clips: Sequence[str],
    classes: Sequence[str],
    heard: Mapping[str, Iterable[str]],
    tagged: Mapping[str, Iterable[str]],
) -> IntArray:
    """Return the counts of the clip metric, shape (C, K, 3)."""
    number = {label: k for k, label in enumerate(classes)}
    tables = []
    for side in (heard, tagged):
        table = np.zeros((len(clips), len(classes)), bool)
        for i, clip in enumerate(clips):
            table[i, [number[label] for label in side.get(clip, ()) if label in number]] = True
        tables.append(table)
    known, found = tables
    return np.stack([known & found, known, found], axis=-1).astype(np.int64)
