"""The result of an evaluation, and as JSON."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from sedtool.config import EvaluationConfig
from sedtool.config.evaluation import IntersectionConfig, Limit
from sedtool.errors import ScoreError
from sedtool.evaluation.analysis import ErrorAnalysis
from sedtool.evaluation.counts import ClassScores, Counts, MetricScores, Rates, score
from sedtool.evaluation.error_rates import ErrorRates, ErrorsCounted, rate_errors
from sedtool.evaluation.psds import Psds
from sedtool.evaluation.resampling import (
    RATES,
    Measure,
    Statistics,
    error_measure,
    measure,
    psds_measure,
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one comparison counted, how it was made, and what the reader should know."""

    clips: tuple[str, ...] = field(repr=False)  # of the counts, by number
    counts: Mapping[str, Counts] = field(repr=False)  # by metric
    clip_source: Literal["clip predictions", "event lists"]
    config: EvaluationConfig
    n_clips: int  # of both sides together
    n_durations: int  # clips whose duration was known
    n_matched_by_basename: int  # estimated names whose folder is not that of the reference
    classes_given: bool  # whether the class list was given; else it comes from the labels
    warnings: tuple[str, ...]
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
        lists: list[Mapping[str, Any]] = [
            *(scores.classes for scores in self.scores.values()),
            *(rates.classes for rates in self.error_rates.values()),
            *(psds.classes for psds in self.psds.values()),
            *([self.errors.classes] if self.errors else []),
        ]
        return max(map(len, lists), default=0)

    @property
    def macro_scores(self) -> dict[str, float]:
        """Return every macro score by name, such as ``event_f1``; NaN where undefined."""
        rates = {
            f"{metric}_{rate}": float(getattr(scores.macro, rate))
            for metric, scores in self.scores.items()
            for rate in RATES
        }
        error_rates = {f"{name}_error_rate": each.macro for name, each in self.error_rates.items()}
        return rates | error_rates | {name: psds.value for name, psds in self.psds.items()}

    @property
    def named_scores(self) -> dict[str, float]:
        """Return every macro and micro score by name; micro ones such as ``event_micro_f1``."""
        micro = {
            f"{metric}_micro_{rate}": float(getattr(scores.micro, rate))
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
                error_measure(name, self.clips, each)
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
        report |= {name: _metric_json(scores) for name, scores in self.scores.items()}
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


def check_limits(limits: Iterable[Limit], scores: Mapping[str, float]) -> None:
    """Raise a ScoreError that names every score below its limit; an undefined one is below any."""
    low = []
    for name, least in limits:
        value = scores[name]
        if math.isnan(value):
            low.append(f"{name} is undefined, not {least:g} or more")
        elif value < least:
            low.append(f"{name} is {value:.12g}, less than {least:.12g}")
    if low:
        raise ScoreError(f"{'; '.join(low)} (--fail-under)")


def _defined(value: Any) -> Any:
    """Return a tree of JSON in which undefined numbers are None."""
    if isinstance(value, dict):
        return {key: _defined(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _metric_json(scores: MetricScores) -> dict[str, Any]:
    return {
        "macro": _rates_json(scores.macro),
        "micro": _class_json(scores.micro),
        "classes": {label: _class_json(row) for label, row in scores.classes.items()},
        "undefined_classes": scores.undefined,
    }


def _rates_json(rates: Rates) -> dict[str, float]:
    return {name: getattr(rates, name) for name in RATES}


def _class_json(row: ClassScores) -> dict[str, float]:
    names = ("tp", "fp", "fn", "n_reference", "n_estimated")
    return _rates_json(row) | {name: getattr(row, name) for name in names}


def _psds_json(psds: Psds) -> dict[str, Any]:
    return {
        "value": psds.value,
        "classes": psds.classes,
        "parameters": dataclasses.asdict(psds.config),
        "n_clips": psds.n_clips,
        "seconds": psds.seconds,
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
