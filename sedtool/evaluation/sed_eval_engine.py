"""The same counts by sed_eval 0.2.1, the reference implementation; imported only when asked for.

Clips and classes go in as numbers: dcase_util, which sed_eval reads with, would strip spaces,
take the label ``none`` for a missing one and change file names.
"""

import importlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.errors import ConfigError
from sedtool.evaluation.counts import Entries, IntArray, Kinds
from sedtool.evaluation.pair import Pair, TagPair

Rows = list[dict[str, Any]]  # the events, or the tags, of one clip as sed_eval takes them


def event_kinds(pair: Pair, config: EvaluationConfig, onset_only: bool) -> Kinds:
    """Count events with sed_eval's EventBasedMetrics, optimal matching."""
    if config.collar == 0 or config.offset_ratio > 1:
        raise ConfigError(
            f"sed_eval needs a collar above 0 and an offset_ratio up to 1, not {config.collar:g} "
            f"and {config.offset_ratio:g}; use the native engine"
        )
    metric = _import("sed_eval.sound_event").EventBasedMetrics(
        event_label_list=_names(pair.n_labels),
        evaluate_offset=not onset_only,
        t_collar=float(config.collar),
        percentage_of_length=float(config.offset_ratio),
        event_matching_type="optimal",
    )
    return _counted(
        metric, lambda: metric.class_wise, ((*sides, {}) for sides in _events_of_clips(pair))
    )


def segment_kinds(pair: Pair, config: EvaluationConfig) -> Kinds:
    """Count segments with sed_eval's SegmentBasedMetrics."""
    metric = _import("sed_eval.sound_event").SegmentBasedMetrics(
        event_label_list=_names(pair.n_labels), time_resolution=float(config.segment)
    )
    lengths = [None if seconds == np.inf else seconds for seconds in pair.seconds.tolist()]
    clips = (
        (*sides, {"evaluated_length_seconds": length})
        for sides, length in zip(_events_of_clips(pair), lengths, strict=True)
    )
    return _counted(metric, lambda: metric.class_wise, clips)


def clip_kinds(pair: Pair, tags: TagPair) -> Kinds:
    """Count labels of clips with sed_eval's AudioTaggingMetrics."""
    metric = _import("sed_eval.audio_tag").AudioTaggingMetrics(tags=_names(pair.n_labels))
    sides = [_tags_of_clips(pair, side) for side in (tags.reference, tags.estimated)]
    # One clip at a time: given them all at once, it takes time quadratic in their number.
    clips = ((*both, {}) for both in zip(*sides, strict=True))
    return _counted(metric, lambda: metric.tag_wise, clips)


def _counted(
    metric: Any,
    rows_of_clip: Callable[[], Mapping[str, Mapping[str, float]]],  # of all labels
    clips: Iterable[tuple[Rows, Rows, dict[str, Any]]],  # reference, estimated, options
) -> Kinds:
    """Return what a metric of sed_eval counts, clip by clip."""
    tables: list[list[list[float]]] = []  # of each clip, (L, 3)
    for reference, estimated, options in clips:
        metric.evaluate(reference, estimated, **options)
        rows = rows_of_clip()
        tables.append(
            [[rows[k][kind] for kind in ("Ntp", "Nref", "Nsys")] for k in _names(len(rows))]
        )
        metric.reset()
    columns = np.array(tables, float).reshape(-1, 3).T  # (3, C L)
    tp, n_reference, n_estimated = (Entries(np.flatnonzero(n), n[n != 0]) for n in columns)
    return tp, n_reference, n_estimated


def _import(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"--engine sed_eval cannot be used ({error}); install sed_eval and setuptools<81"
            ) from error


def _names(n_labels: int) -> list[str]:
    return [f"class {k}" for k in range(n_labels)]


def _events_of_clips(pair: Pair) -> list[tuple[Rows, Rows]]:
    """Return the events of each clip, reference and estimated."""
    clips: list[tuple[Rows, Rows]] = [([], []) for _ in pair.clips]
    names = _names(pair.n_labels)
    for side, table in enumerate((pair.reference, pair.estimated)):
        rows = zip(*(column.tolist() for column in table), strict=True)
        for label, clip, onset, offset in rows:
            row = {"event_label": names[label], "event_onset": onset, "event_offset": offset}
            clips[clip][side].append(row)
    return clips


def _tags_of_clips(pair: Pair, class_in_clip: IntArray) -> list[Rows]:
    clips: list[Rows] = [[{"filename": "clip", "tags": []}] for _ in pair.clips]
    for cell in class_in_clip.tolist():
        clip, label = divmod(cell, pair.n_labels)
        clips[clip][0]["tags"].append(f"class {label}")
    return clips
