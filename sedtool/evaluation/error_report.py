"""Error rates and kinds of errors as JSON, and as rows of text."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from sedtool.evaluation.analysis import ErrorAnalysis, ErrorCounts
from sedtool.evaluation.error_rates import ErrorRates

__all__ = ["analysis_tables", "as_json", "error_numbers", "rate_table"]

Table = list[list[tuple[str, ...]]]  # blocks of rows, the first of which is the header

_PARTS = ("substitutions", "deletions", "insertions", "n_reference")
_REFERENCES = (
    *("reference", "correct", "displaced", "early_onset", "late_onset"),
    *("early_offset", "late_offset", "fragmented", "joined", "substituted", "missed"),
)
_ESTIMATES = (
    *("estimated", "correct", "displaced", "fragments", "merged", "mislabelled", "spurious"),
)


def as_json(found: ErrorRates | ErrorAnalysis) -> dict[str, Any]:
    """Return all numbers; an undefined one is None."""
    return _defined(dataclasses.asdict(found))


def _defined(value: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _defined(item)
        if isinstance(item, dict)
        else (None if isinstance(item, float) and math.isnan(item) else item)
        for key, item in value.items()
    }


def rate_table(rates: Mapping[str, ErrorRates]) -> Table:
    """Return the error rates of events and segments: macro, all classes together, each class."""
    if not rates:
        return []
    first: list[tuple[str, ...]] = [
        ("metric", "class", "ER", "substitutions", "deletions", "insertions", "reference")
    ]
    blocks = [first]
    for name, found in rates.items():
        first.append((name, "macro", _show(found.macro), *[""] * 4))
        first.append((name, "all", _show(found.overall.rate), *_counts(found.overall)))
        blocks.append(
            [(name, k, _show(row.rate), *_counts(row)) for k, row in found.classes.items()]
        )
    return blocks


def _counts(row: Any) -> tuple[str, ...]:
    return tuple(str(getattr(row, name)) for name in _PARTS)


def _show(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}" if value > 1e6 else f"{value:.4f}"


def analysis_tables(analysis: ErrorAnalysis | None) -> list[Table]:
    """Return the kinds of the references, and those of the estimates."""
    if analysis is None:
        return []
    return [
        _kinds(analysis, "references", _REFERENCES),
        _kinds(analysis, "estimates", _ESTIMATES),
    ]


def _kinds(analysis: ErrorAnalysis, side: str, kinds: tuple[str, ...]) -> Table:
    def row(label: str, counts: ErrorCounts) -> tuple[str, ...]:
        return (side, label, *(str(getattr(counts, kind)) for kind in kinds))

    header = ("errors", "class", *(kind.replace("_", " ") for kind in kinds))
    rows = [row(label, counts) for label, counts in analysis.classes.items()]
    return [[header, row("all", analysis.total)], rows]


def error_numbers(
    rates: Mapping[str, ErrorRates], analysis: ErrorAnalysis | None
) -> Iterator[tuple[str, str, str, str, float]]:
    """Yield metric, average, class, score and value of each number but the macro rates."""
    for name, found in rates.items():
        for average, label, row in (
            ("micro", "", found.overall),
            *(("class", label, row) for label, row in found.classes.items()),
        ):
            yield name, average, label, "error_rate", row.rate
            for part in _PARTS[:3]:
                yield name, average, label, part, getattr(row, part)
    if analysis is not None:
        for average, label, counts in (
            ("micro", "", analysis.total),
            *(("class", label, counts) for label, counts in analysis.classes.items()),
        ):
            for kind, value in dataclasses.asdict(counts).items():
                yield "errors", average, label, kind, value
