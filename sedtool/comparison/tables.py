"""A comparison as text and as Markdown: the same tables, cut to what each can show."""

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sedtool.comparison.scoring import METRICS, Column, System
from sedtool.comparison.statistics import Comparison, Gain, is_power

__all__ = ["UNKNOWN", "as_markdown", "as_text", "claims", "marks", "notes", "number", "percent"]

UNKNOWN = "—"
_NAMES = {"event": "Events", "segment": "Segments", "clip": "Clips"}
_HEADS = {"f1": "F1", "precision": "precision", "recall": "recall"}
_PAPER_HEADS = {"f1": "paper", "precision": "(P)", "recall": "(R)"}
# Where there is more room than on a terminal.
_LONG_HEADS = {
    "dcase": "F1 by DCASE",
    "paper": "paper's F1",
    "(P)": "paper's precision",
    "(R)": "paper's recall",
}

_MOST_WARNINGS = 5
_WIDTH = 100  # columns of a terminal
_WRAP: dict[str, Any] = {
    "subsequent_indent": "    ",
    "break_long_words": False,
    "break_on_hyphens": False,
}

Mark = Callable[[str, bool, bool], str]  # text, is the best, is the best apart from power


@dataclass(frozen=True)
class _Table:
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def number(value: float, digits: int = 3) -> str:
    """Return a number; a dash for what is not defined."""
    return UNKNOWN if math.isnan(value) else f"{value:.{digits}f}"


def percent(value: float) -> str:
    """Return a share as a signed percentage."""
    return UNKNOWN if math.isnan(value) else f"{value:+.1%}".replace("%", " %")


def chance(p: float, resamples: int) -> str:
    """Return a p-value; one that is as low as resamples can tell is said to be below that."""
    least = 2 / (resamples + 1)
    return f"<{least:.1g}" if p <= least * 1.001 else f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"


def marks(comparison: Comparison, system: System, column: Column) -> tuple[bool, bool]:
    """Return whether a system is the best in a column, and the best apart from power."""
    best, apart = comparison.best(column), comparison.best(column, without_power=True)
    return system in best, system in apart and any(map(is_power, comparison.systems))


def score(system: System, column: Column) -> str:
    """Return mean and deviation over seeds."""
    deviation = system.deviation(column)
    spread = "" if math.isnan(deviation) else f" ±{deviation:.3f}"
    return f"{number(system.mean(column))}{spread}"


def as_text(comparison: Comparison) -> str:
    """Return the tables for a terminal."""

    def mark(text: str, is_best: bool, is_apart: bool) -> str:
        return f"{text}{'*' if is_best else ' '}{'+' if is_apart else ' '}"

    blocks = [_aligned(table) for table in _tables(comparison, mark)]
    legend = "* best, + best apart from power pooling; dcase: F1 by its macro rule"
    if comparison.paper:
        legend += "; paper, (P), (R): F1, precision and recall of the paper"
    lines = [legend, *claims(comparison), *notes(comparison)]
    wrapped = [part for line in lines for part in textwrap.wrap(line, _WIDTH, **_WRAP)]
    return "\n".join([*blocks, *wrapped]) + "\n"


def as_markdown(comparison: Comparison) -> str:
    """Return the tables for a README."""

    def mark(text: str, is_best: bool, is_apart: bool) -> str:
        text = f"**{text}**" if is_best else text
        return f"<u>{text}</u>" if is_apart else text

    blocks = []
    for table in _tables(comparison, mark):
        rule = ["---", *["---:"] * (len(table.header) - 1)]
        rows = [[_LONG_HEADS.get(h, h) for h in table.header], rule, *table.rows]
        lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in r)} |" for r in rows]
        blocks.append("\n".join([f"**{table.title}**", "", *lines]))
    lines = ["**Bold**: best; underlined: best apart from power pooling.", *claims(comparison)]
    blocks.append("\n".join(f"- {line}" for line in [*lines, *notes(comparison)]))
    return "\n\n".join(blocks) + "\n"


def _tables(comparison: Comparison, mark: Mark) -> Iterator[_Table]:
    for metric in METRICS:
        yield _score_table(comparison, metric, mark)
    for metric in METRICS:
        if len(comparison.systems) > 1:
            yield _test_table(comparison, metric)


def _score_table(comparison: Comparison, metric: str, mark: Mark) -> _Table:
    """Return the scores of all systems in a metric, and the paper's beside them."""
    rates = ("f1",) if metric == "clip" else ("f1", "precision", "recall")
    published = [rate for rate in rates if _is_published(comparison, (metric, rate))]
    header = ["pooling", "seeds", *(_HEADS[rate] for rate in rates), "dcase"]
    header += [_PAPER_HEADS[rate] for rate in published]
    rows = []
    for system in comparison.systems:
        row = [comparison.title(system), str(len(system.seeds))]
        for rate in rates:
            row.append(
                mark(score(system, (metric, rate)), *marks(comparison, system, (metric, rate)))
            )
        row.append(number(system.mean((metric, "f1"), "dcase")))
        paper = comparison.published(system)
        row += [number(paper.get((metric, rate), math.nan)) for rate in published]
        rows.append(tuple(row))
    return _Table(
        f"{_NAMES[metric]}: macro, mean ± deviation over seeds", tuple(header), tuple(rows)
    )


def _is_published(comparison: Comparison, column: Column) -> bool:
    return any(column in row for row in comparison.paper.values())


def _test_table(comparison: Comparison, metric: str) -> _Table:
    """Return how much the F1 of each system differs from that of the reference."""
    interval = f"{100 * comparison.config.confidence:g} % interval"
    rows = []
    base = comparison.reference.mean((metric, "f1"))
    for label, test in comparison.tests[(metric, "f1")].items():
        name = comparison.title(comparison.system(label))
        rows.append((name, *_test_cells(comparison, test, base)))
    against = comparison.title(comparison.reference)
    title = f"{_NAMES[metric]}: F1 against {against} ({number(base)})"
    return _Table(title, ("pooling", "gain", "relative", interval, "p", "p Holm"), tuple(rows))


def _test_cells(comparison: Comparison, test: Gain, base: float) -> tuple[str, ...]:
    found, resamples = test.difference, comparison.config.resamples
    return (
        _signed(found.observed),
        percent(test.relative(base)),
        f"{_signed(found.low)} to {_signed(found.high)}",
        chance(found.p, resamples),
        number(test.p_holm),
    )


def _signed(value: float) -> str:
    return UNKNOWN if math.isnan(value) else f"{value:+.3f}"


def claims(comparison: Comparison) -> list[str]:
    """Say what power pooling gains over the best of the others, where there are both."""
    lines = []
    for metric in METRICS:
        column = (metric, "f1")
        others = comparison.best(column, without_power=True)
        mine = [system for system in comparison.systems if is_power(system)]
        if not (others and mine):
            continue
        other, power = others[0], max(mine, key=lambda system: system.mean(column))
        gain, base = power.mean(column) - other.mean(column), other.mean(column)
        relative = percent(gain / base if base > 0 else math.nan)
        lines.append(
            f"{metric} F1: {comparison.title(power)} {_signed(gain)} ({relative}) over "
            f"{comparison.title(other)}, the best of the others"
        )
    return lines


def notes(comparison: Comparison) -> list[str]:
    """Say how it was measured, and what lacks."""
    s = comparison.scoring
    lines = [
        f"{comparison.n_clips} test clips, {len(comparison.classes)} classes; collar {s.collar:g} s"
        f", offsets {s.offset_ratio:.0%} of the length, segments of {s.segment:g} s; clip F1 from "
        "clip predictions",
        "macro: an undefined rate counts 0; by the rule of DCASE it is left out",
    ]
    for metric, labels in comparison.unheard.items():
        if labels:
            n_classes = len(comparison.classes)
            lines.append(
                f"{metric}: {len(labels)} of {n_classes} classes have no reference, so that no F1 "
                f"exceeds {1 - len(labels) / n_classes:.3f}: {', '.join(labels)}"
            )
    if len(comparison.systems) > 1:
        lines += _test_notes(comparison)
    titles = {comparison.title(system): system.label for system in comparison.systems}
    lines += [f"{title} is {label}" for title, label in titles.items() if title != label]
    lines += comparison.warnings[:_MOST_WARNINGS]
    if (more := len(comparison.warnings) - _MOST_WARNINGS) > 0:
        lines.append(f"{more} more warnings: `sedtool evaluate` gives them run by run")
    lines += comparison.uneven()
    lines += [f"not in it: {text}" for text in comparison.missing]
    return lines


def _test_notes(comparison: Comparison) -> list[str]:
    """Say what intervals and p-values mean, and what they leave out."""
    config, n_tests = comparison.config, len(comparison.systems) - 1
    seeds = {len(system.seeds) for system in comparison.systems}
    lines = [
        f"interval and p: {config.resamples} paired resamples of clips, and of seeds within a "
        f"pooling (seed {config.seed}); p Holm is for all {n_tests} tests of a table"
    ]
    if 1 in seeds:
        lines.append("where there is one seed, chance in training is not in interval and p")
    if seeds & {2, 3, 4}:
        lines.append(
            "with few seeds, intervals are too short: their part of seeds has 71 % of its "
            "spread with two, 82 % with three, 87 % with four"
        )
    return lines


def _aligned(table: _Table) -> str:
    """Lay a table out in columns; the first to the left, the others to the right."""
    rows: list[Sequence[str]] = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [table.title]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"
