"""The same counts by sed_eval 0.2.1, the reference implementation; imported only when asked for.

Clips and classes go in as numbers: dcase_util, which sed_eval reads with, would strip spaces,
take the label ``none`` for a missing one and change file names.
"""

import importlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.errors import ConfigError
from sedtool.evaluation.counts import Counts, FloatArray
from sedtool.evaluation.pair import EventPair

__all__ = ["count_clips", "count_events", "count_segments"]


def count_events(pair: EventPair, config: EvaluationConfig, onset_only: bool = False) -> Counts:
    """Count events with sed_eval's EventBasedMetrics, optimal matching.

    Raises
    ------
    ConfigError
        If the collar is 0 or the offset ratio above 1: sed_eval refuses them.
    """
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
    for reference, estimated in _clips(pair):
        metric.evaluate(reference, estimated)
    return _counts(metric.class_wise, pair.n_labels)


def count_segments(pair: EventPair, config: EvaluationConfig, seconds: FloatArray) -> Counts:
    """Count segments with sed_eval's SegmentBasedMetrics; `seconds` is inf where unknown."""
    metric = _import("sed_eval.sound_event").SegmentBasedMetrics(
        event_label_list=_names(pair.n_labels), time_resolution=float(config.segment)
    )
    for (reference, estimated), duration in zip(_clips(pair), seconds.tolist(), strict=True):
        known = None if duration == np.inf else duration
        metric.evaluate(reference, estimated, evaluated_length_seconds=known)
    return _counts(metric.class_wise, pair.n_labels)


def count_clips(
    reference: Mapping[str, Iterable[str]],
    estimated: Mapping[str, Iterable[str]],
    labels: Sequence[str],
) -> Counts:
    """Count labels of clips with sed_eval's AudioTaggingMetrics."""
    names = _names(len(labels))
    metric = _import("sed_eval.audio_tag").AudioTaggingMetrics(tags=names)
    tag = dict(zip(labels, names, strict=True))
    for name in dict.fromkeys((*reference, *estimated)):
        # One clip at a time: given them all at once, it takes time quadratic in their number.
        metric.evaluate(_tags(reference.get(name, ()), tag), _tags(estimated.get(name, ()), tag))
    return _counts(metric.tag_wise, len(labels))


def _import(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"--engine sed_eval cannot be used ({error}); install sed_eval and setuptools<81"
            ) from error


def _names(n_classes: int) -> list[str]:
    return [f"class {k}" for k in range(n_classes)]


def _clips(pair: EventPair) -> list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Return the events of each clip as sed_eval takes them, reference and estimated."""
    clips: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]] = [([], []) for _ in pair.clips]
    names = _names(pair.n_labels)
    for side, table in enumerate((pair.truth, pair.guess)):
        rows = zip(*(column.tolist() for column in table), strict=True)
        for label, clip, onset, offset in rows:
            row = {"event_label": names[label], "event_onset": onset, "event_offset": offset}
            clips[clip][side].append(row)
    return clips


def _tags(labels: Iterable[str], tag: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one clip as sed_eval takes it; labels that are not scored are left out."""
    return [{"filename": "clip", "tags": [tag[label] for label in labels if label in tag]}]


def _counts(rows: Mapping[str, Mapping[str, float]], n_classes: int) -> Counts:
    return Counts(
        *(
            np.array([rows[name][key] for name in _names(n_classes)], np.int64)
            for key in ("Ntp", "Nref", "Nsys")
        )
    )
