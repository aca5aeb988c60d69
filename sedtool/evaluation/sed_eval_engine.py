"""The same counts by sed_eval 0.2.1, the reference implementation; imported only when asked for.

Clips and classes go in as numbers: dcase_util, which sed_eval reads with, would strip spaces,
take the label ``none`` for a missing one and change file names.
"""

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.errors import ConfigError
from sedtool.evaluation.counts import Counts, Entries, IntArray, MacroRule
from sedtool.evaluation.pair import Pair, TagPair

Rows = list[dict[str, Any]]  # the events, or the tags, of one clip as sed_eval takes them


def count_events(pair: Pair, config: EvaluationConfig, onset_only: bool = False) -> Counts:
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
    tally = _Tally(metric, lambda: metric.class_wise)
    for reference, estimated in _events_of_clips(pair):
        tally.add(reference, estimated)
    rule = MacroRule.DCASE_EVENTS if config.compat == "dcase" else MacroRule.ZERO
    return tally.counts(pair, pair.classes, rule)


def count_segments(pair: Pair, config: EvaluationConfig) -> Counts:
    """Count segments with sed_eval's SegmentBasedMetrics."""
    metric = _import("sed_eval.sound_event").SegmentBasedMetrics(
        event_label_list=_names(pair.n_labels), time_resolution=float(config.segment)
    )
    tally = _Tally(metric, lambda: metric.class_wise)
    events, seconds = _events_of_clips(pair), pair.seconds.tolist()
    for (reference, estimated), duration in zip(events, seconds, strict=True):
        length = None if duration == np.inf else duration
        tally.add(reference, estimated, evaluated_length_seconds=length)
    rule = MacroRule.DCASE if config.compat == "dcase" else MacroRule.ZERO
    return tally.counts(pair, pair.classes, rule)


def count_clips(pair: Pair, tags: TagPair) -> Counts:
    """Count labels of clips with sed_eval's AudioTaggingMetrics."""
    metric = _import("sed_eval.audio_tag").AudioTaggingMetrics(tags=_names(pair.n_labels))
    tally = _Tally(metric, lambda: metric.tag_wise)
    sides = [_tags_of_clips(pair, side) for side in (tags.reference, tags.estimated)]
    # One clip at a time: given them all at once, it takes time quadratic in their number.
    for reference, estimated in zip(*sides, strict=True):
        tally.add(reference, estimated)
    return tally.counts(pair, tags.classes, MacroRule.ZERO)


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


@dataclass
class _Tally:
    """What a metric of sed_eval counts, clip by clip."""

    metric: Any
    rows: Callable[[], Mapping[str, Mapping[str, float]]]  # of all labels, of the last clip
    tables: list[list[list[float]]] = field(default_factory=list)  # of each clip, (L, 3)

    def add(self, reference: Rows, estimated: Rows, **options: Any) -> None:
        """Count one more clip."""
        self.metric.evaluate(reference, estimated, **options)
        rows = self.rows()
        names = _names(len(rows))
        self.tables.append([[rows[k][kind] for kind in ("Ntp", "Nref", "Nsys")] for k in names])
        self.metric.reset()

    def counts(self, pair: Pair, classes: Sequence[str], rule: MacroRule) -> Counts:
        """Return all that was counted."""
        table = np.array(self.tables, float).reshape(-1, 3)  # (C L, 3)
        cells = [np.flatnonzero(column) for column in table.T]
        tp, reference, estimated = (
            Entries(cell, column[cell]) for cell, column in zip(cells, table.T, strict=True)
        )
        kinds = tp, reference, estimated
        return Counts(len(pair.clips), pair.labels, classes, kinds, rule)
