"""The result of an evaluation, as JSON and as a table."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from sedtool.config import EvaluationConfig
from sedtool.evaluation.scores import ClassScores, Rates, Scores

__all__ = ["Evaluation"]

_HEADER = (
    "metric",
    "class",
    "F1",
    "precision",
    "recall",
    "tp",
    "fp",
    "fn",
    "reference",
    "estimated",
)


@dataclass(frozen=True)
class Evaluation:
    """Every score of one comparison, how it was made, and what the reader should know."""

    event: Scores
    segment: Scores
    clip: Scores
    clip_source: Literal["clip predictions", "event lists"]
    config: EvaluationConfig
    n_clips: int  # of both sides together
    n_durations: int  # clips whose duration was known
    n_matched_by_basename: int  # estimated names whose folder is not that of the reference
    classes_given: bool  # whether the class list was given; else it comes from the labels
    warnings: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, Scores]:
        """Return the three metrics by name."""
        return {"event": self.event, "segment": self.segment, "clip": self.clip}

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the settings, and the facts that decide what was compared."""
        return dataclasses.asdict(self.config) | {
            "class_list": self._class_list,
            "n_clips": self.n_clips,
            "n_durations": self.n_durations,
            "n_matched_by_basename": self.n_matched_by_basename,
        }

    @property
    def _class_list(self) -> str:
        if self.classes_given:
            return "given"
        return "both sides" if self.config.compat == "dcase" else "reference"

    def to_json(self) -> str:
        """Return everything as JSON; an undefined value is null."""
        report: dict[str, Any] = {"parameters": self.parameters}
        report |= {name: _metric_json(scores) for name, scores in self.metrics.items()}
        report["clip"]["source"] = self.clip_source
        report["warnings"] = list(self.warnings)
        return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def table(self) -> str:
        """Return an aligned plain-text table: macro and micro rows, then a row a class.

        Rates are fractions; ``-`` is an undefined one. The last lines say how it was measured.
        """
        averages = [
            row
            for name, scores in self.metrics.items()
            for row in (
                (name, "macro", *_rates(scores.macro), "", "", "", "", ""),
                (name, "micro", *_rates(scores.micro), *_counts(scores.micro)),
            )
        ]
        blocks = [[_HEADER, *averages]]
        for name, scores in self.metrics.items():
            rows = scores.classes.items()
            blocks.append([(name, label, *_rates(row), *_counts(row)) for label, row in rows])
        return "\n".join([*_align(blocks), "", *self._footer()]) + "\n"

    def _footer(self) -> list[str]:
        c = self.config
        left_out = "is left out, in clip counts 0" if c.compat == "dcase" else "counts 0"
        lines = [
            f"event: onset within {c.collar:g} s, offset within {c.collar:g} s or "
            f"{c.offset_ratio:.0%} of the reference event's length",
            f"segment: {c.segment:g} s; {self.n_durations} of {self.n_clips} clips end with their "
            "known duration, the others with their last event",
            f"clip: from {self.clip_source}",
            f"macro: class list {self._class_list}; an undefined rate {left_out}",
        ]
        for name, scores in self.metrics.items():
            if scores.undefined:
                lines.append(
                    f"{name}: F1 of {len(scores.undefined)} of {len(scores.classes)} classes is "
                    f"undefined: {', '.join(scores.undefined)}"
                )
        return lines


def _metric_json(scores: Scores) -> dict[str, Any]:
    return {
        "macro": _rates_json(scores.macro),
        "micro": _class_json(scores.micro),
        "classes": {label: _class_json(row) for label, row in scores.classes.items()},
        "undefined_classes": list(scores.undefined),
    }


def _rates_json(rates: Rates) -> dict[str, float | None]:
    values = {"f1": rates.f1, "precision": rates.precision, "recall": rates.recall}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _class_json(row: ClassScores) -> dict[str, float | int | None]:
    counts = {"tp": row.tp, "fp": row.fp, "fn": row.fn}
    both = {"n_reference": row.n_reference, "n_estimated": row.n_estimated}
    return {**_rates_json(row), **counts, **both}


def _rates(rates: Rates) -> tuple[str, str, str]:
    values = (rates.f1, rates.precision, rates.recall)
    f1, precision, recall = ("-" if math.isnan(value) else f"{value:.4f}" for value in values)
    return f1, precision, recall


def _counts(row: ClassScores) -> tuple[str, ...]:
    return tuple(map(str, (row.tp, row.fp, row.fn, row.n_reference, row.n_estimated)))


def _align(blocks: list[list[tuple[str, ...]]]) -> list[str]:
    """Lay rows out in columns of one width, text left and numbers right; blank lines between."""
    blocks = [block for block in blocks if block]
    columns = zip(*(row for block in blocks for row in block), strict=True)
    widths = [max(map(len, column)) for column in columns]
    lines: list[str] = []
    for block in blocks:
        lines += [""] * bool(lines)
        for row in block:
            text = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
            text += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
            lines.append("  ".join(text).rstrip())
    return lines
