"""Labels of both sides in; one metric out, or all that are asked for.

The functions share their parameters. `reference` and `estimated` are events in any order; `classes`
are the only ones to score, by default those of the reference; of `config`, a metric uses what it
needs; `durations` are seconds, by clip name, and a clip that is not named there is as long as its
last event. Clip names of the two sides are compared as they are, but for `evaluate`, which matches
them. A LabelError is raised if an event or a duration has impossible times.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np

from sedtool.config import EvaluationConfig, lookup
from sedtool.config.evaluation import METRICS, PSDS_SCENARIOS, USUAL, IntersectionConfig
from sedtool.evaluation.analysis import ErrorAnalysis, count_kinds
from sedtool.evaluation.counts import RATES, Counts, MetricScores, score
from sedtool.evaluation.error_rates import (
    ErrorRates,
    ErrorsCounted,
    count_event_errors,
    count_segment_errors,
    rate_errors,
)
from sedtool.evaluation.events import count_events
from sedtool.evaluation.intersection import count_intersection
from sedtool.evaluation.pair import LabelInput, Tags, match_sides, pair_up, warnings_of
from sedtool.evaluation.psds import Psds
from sedtool.evaluation.resampling import Measure, Statistics, measure, psds_measure
from sedtool.evaluation.segments import count_clips, count_segments
from sedtool.labels.names import inexact

_DEFAULT = EvaluationConfig()
_SHARES = IntersectionConfig()
_NAMES = [name for name in METRICS if name not in PSDS_SCENARIOS]
_COUNTS: dict[str, Callable[..., Counts]] = {
    "event": count_events,
    "segment": count_segments,
    "clip": count_clips,
    "onset": partial(count_events, onset_only=True),
    "intersection": count_intersection,
}
_ERRORS = {"event": count_event_errors, "segment": count_segment_errors}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one comparison counted, how it was made, and what the reader should know."""

    config: EvaluationConfig
    classes_given: bool  # whether the class list was given; else it comes from the labels
    warnings: tuple[str, ...]
    clips: tuple[str, ...] = field(default=(), repr=False)  # of the counts, by number
    counts: Mapping[str, Counts] = field(default_factory=dict, repr=False)  # by metric
    clip_source: Literal["clip predictions", "event lists"] = "event lists"
    n_clips: int = 0  # of both sides together
    n_durations: int = 0  # clips whose duration was known
    median_length: float = math.nan  # of the reference events, in seconds
    n_matched_by_basename: int = 0  # estimated names whose folder is not that of the reference
    intersection: IntersectionConfig = field(default_factory=IntersectionConfig)
    error_counts: Mapping[str, ErrorsCounted] = field(default_factory=dict, repr=False)
    errors: ErrorAnalysis | None = None
    psds: Mapping[str, Psds] = field(default_factory=dict)  # by scenario
    statistics: Statistics | None = None

    @cached_property
    def scores(self) -> dict[str, MetricScores]:
        """Return the scores of each metric that has F1, precision and recall."""
        return {name: score(counts) for name, counts in self.counts.items()}

    @cached_property
    def error_rates(self) -> dict[str, ErrorRates]:
        """Return the error rates of events and segments, if they were asked for."""
        return {name: rate_errors(*each) for name, each in self.error_counts.items()}

    @property
    def event(self) -> MetricScores:
        """Return the event-based scores."""
        return self.scores["event"]

    @property
    def segment(self) -> MetricScores:
        """Return the segment-based scores."""
        return self.scores["segment"]

    @property
    def clip(self) -> MetricScores:
        """Return the clip-level scores."""
        return self.scores["clip"]

    @property
    def n_classes(self) -> int:
        """Return the length of the class list."""
        scored: list[Any] = [*self.scores.values(), *self.error_rates.values()]
        scored += [*self.psds.values(), *([self.errors] if self.errors else [])]
        return max((len(each.classes) for each in scored), default=0)

    @property
    def macro_scores(self) -> dict[str, float]:
        """Return every macro score by name, such as ``event_f1``; NaN where undefined."""
        rates = {
            f"{metric}_{rate}": value
            for metric, scores in self.scores.items()
            for rate, value in dataclasses.asdict(scores.macro).items()
        }
        error_rates = {f"{name}_error_rate": each.macro for name, each in self.error_rates.items()}
        return rates | error_rates | {name: psds.value for name, psds in self.psds.items()}

    @property
    def named_scores(self) -> dict[str, float]:
        """Return every macro and micro score by name; micro ones such as ``event_micro_f1``."""
        micro = {
            f"{metric}_micro_{rate}": getattr(scores.micro, rate)
            for metric, scores in self.scores.items()
            for rate in RATES
        }
        return self.macro_scores | micro

    @property
    def measures(self) -> list[Measure]:
        """Return what resamples of the clips are scored by."""
        return [
            *(measure(name, self.clips, c) for name, c in self.counts.items()),
            *(
                measure(name, self.clips, each, of_errors=True)
                for name, (each, _) in self.error_counts.items()
            ),
            *(psds_measure(name, each.counts) for name, each in self.psds.items()),
        ]

    @property
    def class_list(self) -> str:
        """Return where the class list is from."""
        if self.classes_given:
            return "given"
        return "both sides" if self.config.compat == "dcase" else "reference"

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the settings, and the facts that decide what was compared."""
        parameters = dataclasses.asdict(self.config) | {
            "class_list": self.class_list,
            "n_clips": self.n_clips,
            "n_durations": self.n_durations,
            "n_matched_by_basename": self.n_matched_by_basename,
        }
        if "intersection" in self.scores:
            parameters |= {"dtc": self.intersection.dtc, "gtc": self.intersection.gtc}
        return parameters

    def to_json(self) -> str:
        """Return everything as JSON; an undefined value is null."""
        report: dict[str, Any] = {"parameters": self.parameters}
        for name, scores in self.scores.items():
            undefined = {"undefined_classes": scores.undefined}
            report[name] = dataclasses.asdict(scores) | undefined
        if "clip" in self.scores:
            report["clip"]["source"] = self.clip_source
        if self.error_rates:
            rates = {name: dataclasses.asdict(each) for name, each in self.error_rates.items()}
            report["error_rate"] = rates
        if self.errors:
            report["errors"] = dataclasses.asdict(self.errors)
        if self.psds:
            report["psds"] = {name: _psds_json(psds) for name, psds in self.psds.items()}
        if self.statistics:
            report |= _statistics_json(self.statistics)
        report["warnings"] = list(self.warnings)
        text = json.dumps(_defined(report), indent=2, ensure_ascii=False, allow_nan=False)
        return text + "\n"


def _defined(value: Any) -> Any:
    """Return a tree of JSON in which undefined numbers are None."""
    if isinstance(value, dict):
        return {key: _defined(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _psds_json(psds: Psds) -> dict[str, Any]:
    return {
        "value": psds.value,
        "classes": psds.classes,
        "parameters": dataclasses.asdict(psds.counts.config),
        "n_clips": len(psds.counts.clips),
        "seconds": float(psds.counts.seconds.sum()),
        "undefined_classes": psds.undefined,
        "unscored_classes": psds.unscored,
        "n_lists": psds.n_lists,
    }


def _statistics_json(drawn: Statistics) -> dict[str, Any]:
    names = ("resamples", "seed", "confidence", "unit", "n_units", "intervals")
    report: dict[str, Any] = {"bootstrap": {name: getattr(drawn, name) for name in names}}
    if drawn.against is not None:
        report["against"] = {
            "estimated": drawn.against,
            "scores": drawn.other,
            "differences": {
                name: {"difference": each.observed, "low": each.low, "high": each.high, "p": each.p}
                for name, each in drawn.differences.items()
            },
        }
    return report


def evaluate(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    *,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
    weak_reference: Tags | None = None,
    weak_estimated: Tags | None = None,
    metrics: Iterable[str] = USUAL,
    intersection: IntersectionConfig = _SHARES,
) -> Evaluation:
    """Match clip names, warn of what has no partner, and compute metrics.

    Parameters
    ----------
    weak_reference, weak_estimated
        Labels by clip name, for the clip metric. Without them it uses the labels of the events,
        which measures the events' thresholds more than the system's judgement of clips.
    metrics
        Of ``event``, ``segment``, ``clip``, ``onset`` and ``intersection``, in the order of the
        result; and ``error-rate``, ``errors``.
    intersection
        The shares of ``intersection``.

    Raises
    ------
    LabelError
        If a time is impossible, or a clip name is ambiguous.
    ArtifactError
        If no clip is on both sides, or none has a duration.
    ConfigError
        If there is no such metric.
    """
    metrics = tuple(metrics)
    for name in metrics:
        lookup(dict.fromkeys(_NAMES), name, "metric")
    classes = None if classes is None else tuple(classes)
    tags = weak_reference, weak_estimated
    sides = match_sides(reference, estimated, tags, durations, config.compat)
    pair = pair_up(
        sides.reference, sides.estimated, classes, config.compat, sides.durations, sides.tags
    )
    tags_only = sides.tags is not None and set(metrics) == {"clip"}
    warnings = warnings_of(sides, pair, classes, config.compat, tags_only)
    configs = dict.fromkeys(_COUNTS, config) | {"intersection": intersection}
    counts = {name: _COUNTS[name](pair, configs[name]) for name in metrics if name in _COUNTS}
    lengths = pair.reference.offset - pair.reference.onset
    errors = {k: count(pair, config) for k, count in _ERRORS.items() if "error-rate" in metrics}
    return Evaluation(
        config,
        classes_given=classes is not None,
        warnings=tuple(warnings),
        clips=pair.clips,
        counts=counts,
        clip_source="event lists" if weak_estimated is None else "clip predictions",
        n_clips=len(sides.clips),
        n_durations=len(sides.durations or ()),
        median_length=float(np.median(lengths)) if len(lengths) else math.nan,
        n_matched_by_basename=inexact(sides.renamed)[0],
        intersection=intersection,
        error_counts=errors,
        errors=count_kinds(pair, config) if "errors" in metrics else None,
    )


def evaluate_events(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
) -> MetricScores:
    """Score events by their onsets and offsets."""
    return score(count_events(pair_up(reference, estimated, classes, config.compat), config))


def evaluate_onsets(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
) -> MetricScores:
    """Score events by their onsets alone, as sed_eval does with ``evaluate_offset=False``."""
    pair = pair_up(reference, estimated, classes, config.compat)
    return score(count_events(pair, config, onset_only=True))


def evaluate_segments(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
) -> MetricScores:
    """Score the activity of each class in segments of equal length."""
    pair = pair_up(reference, estimated, classes, config.compat, durations)
    return score(count_segments(pair, config))


def evaluate_clips(
    reference_weak: Tags,
    estimated_weak: Tags,
    classes: Iterable[str] | None = None,
    config: EvaluationConfig = _DEFAULT,
) -> MetricScores:
    """Score the labels of clips, by clip name; a clip missing on one side has none there."""
    tags = reference_weak, estimated_weak
    return score(count_clips(pair_up([], [], classes, config.compat, tags=tags), config))


def evaluate_intersection(
    reference: LabelInput,
    estimated: LabelInput,
    config: IntersectionConfig,
    classes: Iterable[str] | None = None,
) -> MetricScores:
    """Score events, joined where they overlap, by how much of them the other side covers."""
    return score(count_intersection(pair_up(reference, estimated, classes), config))


def event_errors(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
    onset_only: bool = False,
) -> ErrorRates:
    """Count the errors of events; with `onset_only`, offsets are not looked at."""
    pair = pair_up(reference, estimated, classes, config.compat)
    return rate_errors(*count_event_errors(pair, config, onset_only))


def segment_errors(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
) -> ErrorRates:
    """Count the errors of segments."""
    pair = pair_up(reference, estimated, classes, config.compat, durations)
    return rate_errors(*count_segment_errors(pair, config))


def analyse_errors(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
) -> ErrorAnalysis:
    """Say of every event what is right or wrong with it; see `sedtool.evaluation.analysis`."""
    return count_kinds(pair_up(reference, estimated, classes, config.compat), config)
