"""Scores that must be reached, for tests of models."""

import math
from collections.abc import Iterable, Mapping, Sequence

from sedtool.config.evaluation import METRICS, PSDS_SCENARIOS, Limit, ReportConfig
from sedtool.errors import ConfigError, ScoreError
from sedtool.text import suggestion

__all__ = ["check_limits", "rated", "require_names", "score_names"]

_WITHOUT_RATES = {*PSDS_SCENARIOS, "error-rate", "errors"}


def rated(metrics: Iterable[str]) -> tuple[str, ...]:
    """Return those of the metrics that have F1, precision and recall, in the order of reports."""
    return tuple(name for name in METRICS if name in set(metrics) - _WITHOUT_RATES)


def score_names(report: ReportConfig, has_list: bool) -> list[str]:
    """Return the names of all scores that may have a limit."""
    names = [
        f"{metric}_{kind}{rate}"
        for metric in rated(report.chosen(has_list))
        for kind in ("", "micro_")
        for rate in ("f1", "precision", "recall")
    ]
    return [*names, *report.scenarios(has_list)]


def require_names(limits: Sequence[Limit], names: Iterable[str]) -> None:
    """Raise a ConfigError, with the valid names, if a limit is of a score that is not computed."""
    valid = list(names)
    for limit in limits:
        if limit.name not in valid:
            raise ConfigError(
                f"fail_under {limit.name!r} is no score of this evaluation; those are "
                f"{', '.join(valid) or 'none'}{suggestion(limit.name, valid)}; "
                "--metrics adds others"
            )


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
