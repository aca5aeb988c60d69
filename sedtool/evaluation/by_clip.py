"""The counts of every metric clip by clip, whose sums over clips are those of the metric.

C is the number of clips, K that of classes; the last axis of counts is true positives, reference,
estimates, as in `sedtool.evaluation.bootstrap`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.evaluation.events import matched_references
from sedtool.evaluation.pairing import durations_by_clip, match_names, weak_form
from sedtool.evaluation.scores import IntArray
from sedtool.evaluation.segments import active_stretches, clip_seconds, segment_cells
from sedtool.evaluation.tables import EventPair, as_labels, tabulate
from sedtool.labels import Event, StrongLabels

__all__ = ["ClipCounts", "count_by_clip"]


@dataclass(frozen=True)
class ClipCounts:
    """What each metric counts in each clip; arrays of shape (C, K, 3)."""

    clips: tuple[str, ...]  # sorted
    classes: tuple[str, ...]
    event: IntArray
    segment: IntArray
    clip: IntArray

    def metric(self, name: str) -> IntArray:
        """Return the counts of ``event``, ``segment`` or ``clip``."""
        counts: IntArray = getattr(self, name)
        return counts


def count_by_clip(
    reference: StrongLabels | Sequence[Event],
    estimated: StrongLabels | Sequence[Event],
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
    classes = tuple(classes)
    reference, estimated = as_labels(reference), as_labels(estimated)
    heard = weak_form(reference, "") if weak_reference is None else weak_reference
    tagged = weak_form(estimated, "") if weak_estimated is None else weak_estimated
    estimated = estimated.renamed(match_names(estimated.names, reference.names, "estimated events"))
    names = match_names(tagged, heard, "estimated clip labels")
    tagged = {names[name]: labels for name, labels in tagged.items()}

    clips = tuple(sorted({*reference.names, *estimated.names, *heard, *tagged}))
    everywhere = StrongLabels(list(reference.events), clips)  # so that clips are numbered as here
    pair = tabulate(everywhere, estimated, replace(config, compat="", engine="native"), classes)
    seconds = clip_seconds(durations_by_clip(durations, clips), clips)
    shape = (len(clips), len(classes), 3)
    event, segment = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for k in range(len(classes)):
        event[:, k] = _events_by_clip(pair, k, config)
        segment[:, k] = _segments_by_clip(pair, k, config, np.ceil(seconds / config.segment))
    return ClipCounts(clips, classes, event, segment, _tags_by_clip(clips, classes, heard, tagged))


def _events_by_clip(pair: EventPair, k: int, config: EvaluationConfig) -> IntArray:
    """Return the counts of a class, shape (C, 3)."""
    reference, estimated = pair.reference[k], pair.estimated[k]
    matched = reference.clip[matched_references(reference, estimated, config)]
    columns = (matched, reference.clip, estimated.clip)
    return np.stack([np.bincount(c, minlength=len(pair.clips)) for c in columns], axis=1)


def _segments_by_clip(
    pair: EventPair, k: int, config: EvaluationConfig, n_segments: np.ndarray
) -> IntArray:
    """Return the counts of a class, shape (C, 3); `n_segments` (C,) is inf where unknown."""
    sides = (pair.reference[k], pair.estimated[k])
    clip, widths = active_stretches(*(segment_cells(s, config, n_segments) for s in sides))
    sums = [np.bincount(clip, weights=w, minlength=len(pair.clips)) for w in widths]
    return np.stack(sums, axis=1).astype(np.int64)


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
