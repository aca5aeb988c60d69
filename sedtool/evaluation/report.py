"""The result of an evaluation, as JSON and as a table."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sedtool.config import EvaluationConfig
from sedtool.config.evaluation import IntersectionConfig
from sedtool.evaluation.analysis import ErrorAnalysis
from sedtool.evaluation.counts import ClassScores, Rates, Scores
from sedtool.evaluation.error_rates import ErrorRates
from sedtool.evaluation.error_report import analysis_tables, as_json, rate_table
from sedtool.evaluation.intervals import Statistics
from sedtool.evaluation.psds import Psds

__all__ = ["Evaluation"]

RATES = ("f1", "precision", "recall")
_COUNTS = ("tp", "fp", "fn", "reference", "estimated")
_HEADER = ("metric", "class", "F1", "precision", "recall", *_COUNTS)


@dataclass(frozen=True)
class Evaluation:
    """Every score of one comparison, how it was made, and what the reader should know."""

    scores: Mapping[str, Scores]  # by metric
    clip_source: Literal["clip predictions", "event lists"]
    config: EvaluationConfig
    n_clips: int  # of both sides together
    n_durations: int  # clips whose duration was known
    n_matched_by_basename: int  # estimated names whose folder is not that of the reference
    classes_given: bool  # whether the class list was given; else it comes from the labels
    warnings: tuple[str, ...]
    intersection: IntersectionConfig = field(default_factory=IntersectionConfig)
    error_rates: Mapping[str, ErrorRates] = field(default_factory=dict)  # of event and segment
    errors: ErrorAnalysis | None = None
    psds: Mapping[str, Psds] = field(default_factory=dict)  # by scenario
    statistics: Statistics | None = None

    @property
    def event(self) -> Scores:
        """Return the event-based scores."""
        return self.scores["event"]

    @property
    def segment(self) -> Scores:
        """Return the segment-based scores."""
        return self.scores["segment"]

    @property
    def clip(self) -> Scores:
        """Return the clip-level scores."""
        return self.scores["clip"]

    @property
    def metrics(self) -> dict[str, Scores]:
        """Return the metrics that have F1, precision and recall, by name."""
        return dict(self.scores)

    @property
    def n_classes(self) -> int:
        """Return the length of the class list."""
        return max(
            [
                *(len(scores.classes) for scores in self.scores.values()),
                *(len(rates.classes) for rates in self.error_rates.values()),
                *(len(psds.classes) for psds in self.psds.values()),
                len(self.errors.classes) if self.errors else 0,
            ],
            default=0,
        )

    @property
    def macro_scores(self) -> dict[str, float]:
        """Return every macro score by name, such as ``event_f1``; NaN where undefined."""
        found = {
            f"{metric}_{rate}": float(getattr(scores.macro, rate))
            for metric, scores in self.scores.items()
            for rate in RATES
        }
        found |= {f"{name}_error_rate": rates.macro for name, rates in self.error_rates.items()}
        return found | {name: psds.value for name, psds in self.psds.items()}

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
    def parameters(self) -> dict[str, Any]:
        """Return the settings, and the facts that decide what was compared."""
        found = dataclasses.asdict(self.config) | {
            "class_list": self._class_list,
            "n_clips": self.n_clips,
            "n_durations": self.n_durations,
            "n_matched_by_basename": self.n_matched_by_basename,
        }
        if "intersection" in self.scores:
            found |= {"dtc": self.intersection.dtc, "gtc": self.intersection.gtc}
        return found

    @property
    def _class_list(self) -> str:
        if self.classes_given:
            return "given"
        return "both sides" if self.config.compat == "dcase" else "reference"

    def to_json(self) -> str:
        """Return everything as JSON; an undefined value is null."""
        report: dict[str, Any] = {"parameters": self.parameters}
        report |= {name: _metric_json(scores) for name, scores in self.scores.items()}
        if "clip" in self.scores:
            report["clip"]["source"] = self.clip_source
        if self.error_rates:
            report["error_rate"] = {name: as_json(r) for name, r in self.error_rates.items()}
        if self.errors:
            report["errors"] = as_json(self.errors)
        if self.psds:
            report["psds"] = {name: _psds_json(psds) for name, psds in self.psds.items()}
        if self.statistics:
            report |= self.statistics.to_json()
        report["warnings"] = list(self.warnings)
        return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def table(self) -> str:
        """Return an aligned plain-text table: macro and micro rows, then a row a class.

        Rates are fractions; ``-`` is an undefined one. The last lines say how it was measured.
        """
        lines = [line for blocks in self.blocks() for line in (*align(blocks), "")]
        return "\n".join([*lines, *self.footer()]) + "\n"

    def blocks(self) -> list[list[list[tuple[str, ...]]]]:
        """Return the tables: each a list of blocks of rows, whose first row is the header."""
        tables = [self._score_blocks(), rate_table(self.error_rates)]
        tables += [*analysis_tables(self.errors), self._psds_blocks()]
        if self.statistics:
            tables.append([self.statistics.rows(self.macro_scores)])
        return [blocks for blocks in tables if blocks]

    def _score_blocks(self) -> list[list[tuple[str, ...]]]:
        if not self.scores:
            return []
        averages = [
            row
            for name, scores in self.scores.items()
            for row in (
                (name, "macro", *_rates(scores.macro), "", "", "", "", ""),
                (name, "micro", *_rates(scores.micro), *_counts(scores.micro)),
            )
        ]
        blocks = [[_HEADER, *averages]]
        for name, scores in self.scores.items():
            rows = scores.classes.items()
            blocks.append([(name, label, *_rates(row), *_counts(row)) for label, row in rows])
        return blocks

    def _psds_blocks(self) -> list[list[tuple[str, ...]]]:
        if not self.psds:
            return []
        blocks: list[list[tuple[str, ...]]] = [[("metric", "class", "PSDS")]]
        blocks[0] += [(name, "all", show(psds.value)) for name, psds in self.psds.items()]
        for name, psds in self.psds.items():
            blocks.append([(name, label, show(value)) for label, value in psds.classes.items()])
        return blocks

    def footer(self) -> list[str]:
        """Return the lines that say how it was measured."""
        left_out = "is left out, in clip counts 0" if self.config.compat == "dcase" else "counts 0"
        lines = [text for name, text in self._tolerances().items() if name in self.scores]
        if self.scores:
            lines.append(f"macro: class list {self._class_list}; an undefined rate {left_out}")
        if self.error_rates:
            without = "has" if self.config.compat == "dcase" else "leaves out"
            lines.append(f"ER: errors per reference; macro {without} classes without references")
        if self.errors:
            lines.append(
                "errors: displaced ones overlap one event of their class and no other that is left"
            )
        lines += [_psds_line(name, psds) for name, psds in self.psds.items()]
        undefined = {name: (scores.undefined, "F1") for name, scores in self.scores.items()}
        undefined |= {name: (psds.undefined, "PSDS") for name, psds in self.psds.items()}
        sizes = {name: len(scores.classes) for name, scores in self.scores.items()}
        sizes |= {name: len(psds.classes) for name, psds in self.psds.items()}
        for name, (classes, what) in undefined.items():
            if classes:
                lines.append(
                    f"{name}: {what} of {len(classes)} of {sizes[name]} classes is "
                    f"undefined: {', '.join(classes)}"
                )
        return [*lines, *(self.statistics.footer() if self.statistics else [])]

    def _tolerances(self) -> dict[str, str]:
        c, shares = self.config, self.intersection
        return {
            "event": f"event: onset within {c.collar:g} s, offset within {c.collar:g} s or "
            f"{c.offset_ratio:.0%} of the reference event's length",
            "segment": f"segment: {c.segment:g} s; {self.n_durations} of {self.n_clips} clips end "
            "with their known duration, the others with their last event",
            "clip": f"clip: from {self.clip_source}",
            "onset": f"onset: within {c.collar:g} s, whatever the offset",
            "intersection": f"intersection: references cover {shares.dtc:.0%} of an estimate that "
            f"is accepted, such estimates {shares.gtc:.0%} of a reference that is found",
        }


def _psds_line(name: str, psds: Psds) -> str:
    c = psds.config
    return (
        f"{name}: dtc {c.dtc:g}, gtc {c.gtc:g}, cttc {c.cttc:g}, alpha_ct {c.alpha_ct:g}, alpha_st "
        f"{c.alpha_st:g}, up to {c.max_efpr:g} false positives an hour; {psds.n_clips} clips, "
        f"{psds.seconds:g} s{'' if psds.n_lists is None else f', {psds.n_lists} lists'}"
    )


def _psds_json(psds: Psds) -> dict[str, Any]:
    return {
        "value": psds.value,
        "classes": psds.classes,
        "parameters": dataclasses.asdict(psds.config),
        "n_clips": psds.n_clips,
        "seconds": psds.seconds,
        "undefined_classes": list(psds.undefined),
        "unscored_classes": list(psds.unscored),
        "n_lists": psds.n_lists,
    }


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
    return show(rates.f1), show(rates.precision), show(rates.recall)


def show(value: float) -> str:
    """Return a rate as tables have it; an undefined one is a dash."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def _counts(row: ClassScores) -> tuple[str, ...]:
    return tuple(map(str, (row.tp, row.fp, row.fn, row.n_reference, row.n_estimated)))


def align(blocks: Iterable[list[tuple[str, ...]]]) -> list[str]:
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
