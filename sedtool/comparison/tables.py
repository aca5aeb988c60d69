"""A comparison as text, Markdown, LaTeX like the tables of the paper, and TSV with every number."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import TextWrapper

from sedtool.atomic import claim, refuse_input, together, write_text
from sedtool.comparison.compare import RULES, Comparison, System
from sedtool.comparison.runs import COLUMNS, METRICS, PAPER_COLUMNS, Column
from sedtool.errors import ConfigError
from sedtool.evaluation.formats import exact
from sedtool.text import aligned, booktabs, latex, latex_row, markdown_table

TSV_COLUMNS = (
    *("pooling", "metric", "rate", "rule", "n_seeds", "seeds", "values", "mean", "deviation"),
    *("best", "best_without_power", "paper", "against", "gain", "relative_gain"),
    *("interval_low", "interval_high", "p", "p_holm"),
)
_SUFFIXES = {".txt": "text", ".md": "md", ".tsv": "tsv", ".tex": "latex"}
_UNDEFINED = "—"
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
_WRAPPER = TextWrapper(  # for a terminal of 100 columns
    100, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
)

Mark = Callable[[str, bool, bool], str]  # text, is the best, is the best apart from power


@dataclass(frozen=True)
class _Table:
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def format_comparison(comparison: Comparison, name: str) -> str:
    """Return a comparison in one of `FORMATS`."""
    return FORMATS[name](comparison)


def write_tables(
    comparison: Comparison, outputs: Sequence[Path], name: str | None, overwrite: bool
) -> None:
    """Write a comparison to files, each in the format `name`, or in that of its suffix."""
    with claim(*outputs, overwrite=overwrite), together(outputs[0]):
        for output in outputs:
            write_text(output, format_comparison(comparison, name or _format_of(output)))


def check_outputs(outputs: Sequence[Path], name: str | None, inputs: Sequence[Path]) -> None:
    """Raise a ConfigError if an output cannot be written as asked, before anything is done."""
    for output in outputs:
        refuse_input(output, inputs)
        if name is None:
            _format_of(output)


def _format_of(output: Path) -> str:
    """Return the format that the suffix of a file stands for."""
    if output.suffix not in _SUFFIXES:
        raise ConfigError(
            f"{output}: no format is known by that suffix ({', '.join(_SUFFIXES)}); give --format"
        )
    return _SUFFIXES[output.suffix]


def _as_text(comparison: Comparison) -> str:
    """Return the tables for a terminal."""

    def mark(text: str, is_best: bool, is_apart: bool) -> str:
        return f"{text}{'*' if is_best else ' '}{'+' if is_apart else ' '}"

    blocks = [
        "\n".join([table.title, *aligned([table.header, *table.rows], n_left=1), ""])
        for table in _tables(comparison, mark)
    ]
    apart = ", + best apart from power pooling" * comparison.has_power_and_others
    legend = f"* best{apart}; dcase: F1 by its macro rule"
    if comparison.paper:
        legend += "; paper, (P), (R): F1, precision and recall of the paper"
    lines = [legend, *_claims(comparison), *_notes(comparison)]
    wrapped = [part for line in lines for part in _WRAPPER.wrap(line)]
    return "\n".join([*blocks, *wrapped]) + "\n"


def _as_markdown(comparison: Comparison) -> str:
    """Return the tables for a README."""

    def mark(text: str, is_best: bool, is_apart: bool) -> str:
        text = f"**{text}**" if is_best else text
        return f"<u>{text}</u>" if is_apart else text

    blocks = []
    for table in _tables(comparison, mark):
        rows = [[_LONG_HEADS.get(head, head) for head in table.header], *table.rows]
        escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
        lines = markdown_table(escaped, n_left=1)
        blocks.append("\n".join([f"**{table.title}**", "", *lines]))
    apart = "; underlined: best apart from power pooling" * comparison.has_power_and_others
    lines = [f"**Bold**: best{apart}.", *_claims(comparison)]
    blocks.append("\n".join(f"- {line}" for line in [*lines, *_notes(comparison)]))
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
    papers = comparison.paper.values()
    published = [rate for rate in rates if any((metric, rate) in paper for paper in papers)]
    header = ["pooling", "seeds", *(_HEADS[rate] for rate in rates), "dcase"]
    header += [_PAPER_HEADS[rate] for rate in published]
    rows = []
    for system in comparison.systems:
        row = [comparison.title(system), str(len(system.seeds))]
        for rate in rates:
            marks = _marks(comparison, system, (metric, rate))
            row.append(mark(_score(system, (metric, rate)), *marks))
        row.append(_number(system.mean((metric, "f1"), "dcase")))
        paper = comparison.published(system)
        row += [_number(paper.get((metric, rate), math.nan)) for rate in published]
        rows.append(tuple(row))
    title = f"{_NAMES[metric]}: macro, mean ± deviation over seeds"
    return _Table(title, tuple(header), tuple(rows))


def _test_table(comparison: Comparison, metric: str) -> _Table:
    """Return how much the F1 of each system differs from that of the reference."""
    base = comparison.reference.mean((metric, "f1"))
    rows = []
    for label, test in comparison.tests[(metric, "f1")].items():
        gain, low, high = (
            _number(value, "+.3f")
            for value in (test.difference.observed, test.difference.low, test.difference.high)
        )
        rows.append(
            (
                comparison.title(comparison.system(label)),
                *(gain, _percent(test.relative(base)), f"{low} to {high}"),
                _chance(test.difference.p, comparison.config.resamples),
                _number(test.p_holm),
            )
        )
    title = (
        f"{_NAMES[metric]}: F1 against {comparison.title(comparison.reference)} ({_number(base)})"
    )
    interval = f"{100 * comparison.config.confidence:g} % interval"
    return _Table(title, ("pooling", "gain", "relative", interval, "p", "p Holm"), tuple(rows))


def _claims(comparison: Comparison) -> list[str]:
    """Say what power pooling gains over the best of the others, where there are both."""
    lines = []
    for metric in METRICS if comparison.has_power_and_others else ():
        column = (metric, "f1")
        others = comparison.best(column, without_power=True)
        mine = [system for system in comparison.systems if system.is_power]
        other, power = others[0], max(mine, key=lambda system: system.mean(column))
        gain, base = power.mean(column) - other.mean(column), other.mean(column)
        relative = _percent(gain / base if base > 0 else math.nan)
        lines.append(
            f"{metric} F1: {comparison.title(power)} {_number(gain, '+.3f')} ({relative}) over "
            f"{comparison.title(other)}, the best of the others"
        )
    return lines


def _notes(comparison: Comparison) -> list[str]:
    """Say how it was measured, and what is missing."""
    s = comparison.scoring
    how = {
        "collar": f"collar {s.collar:g} s",
        "offset-ratio": f"offsets {s.offset_ratio:.0%} of the length",
        "segment": f"segments of {s.segment:g} s",
    }
    told = ", ".join(v for k, v in how.items() if f"evaluate.{k}" not in comparison.varying)
    lines = [
        f"{comparison.n_clips} test clips, {len(comparison.classes)} classes; {told}; clip F1 from "
        "clip predictions",
        "macro: an undefined rate counts 0; by the rule of DCASE it is left out",
    ]
    for metric, labels in comparison.unreferenced.items():
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
        f"row (seed {config.seed}); a class without references in a resample is left out of it; "
        f"p Holm is for all {n_tests} tests of a table"
    ]
    if 1 in seeds:
        lines.append("where there is one seed, chance in training is not in interval and p")
    if seeds & {2, 3, 4}:
        lines.append(
            "with few seeds, intervals are too short: their part of seeds has 71 % of its "
            "spread with two, 82 % with three, 87 % with four"
        )
    return lines


def _as_tsv(comparison: Comparison) -> str:
    """Return a row for each pooling, metric, rate and rule; what is not defined is empty."""
    rows: list[Sequence[str]] = [TSV_COLUMNS]
    rows += [
        _row(comparison, system, column, rule)
        for system in comparison.systems
        for column in COLUMNS
        for rule in RULES
    ]
    return "".join("\t".join(row) + "\n" for row in rows)


def _row(comparison: Comparison, system: System, column: Column, rule: str) -> list[str]:
    row = [system.label, *column, rule, str(len(system.seeds)), ",".join(map(str, system.seeds))]
    row.append(",".join(exact(value) or "-" for value in system.values[rule][column]))
    row += [exact(system.mean(column, rule)), exact(system.deviation(column, rule))]
    if rule == "default":
        row += [str(int(mark)) for mark in _marks(comparison, system, column)]
        row.append(exact(comparison.published(system).get(column, math.nan)))
    if rule == "default" and (test := comparison.tests[column].get(system.label)):
        gain, base = test.difference, comparison.reference.mean(column)
        row += [comparison.against, exact(gain.observed), exact(test.relative(base))]
        row += [exact(gain.low), exact(gain.high), exact(gain.p), exact(test.p_holm)]
    return row + [""] * (len(TSV_COLUMNS) - len(row))


def _as_latex(comparison: Comparison) -> str:
    """Return two tables with booktabs: scores as in the paper, and gains with their p-values."""
    lines = [f"% {line}" for line in (*_claims(comparison), *_notes(comparison))]
    apart = " underlined: best apart from power pooling;" * comparison.has_power_and_others
    lines += [f"% bold: best;{apart} needs booktabs"]
    lines += [*_score_lines(comparison), ""]
    if len(comparison.systems) > 1:
        lines += _test_lines(comparison)
    return "\n".join(lines).rstrip() + "\n"


def _score_lines(comparison: Comparison) -> list[str]:
    columns = list(PAPER_COLUMNS.values())
    heads = [
        r" & \multicolumn{3}{c}{Event-level} & \multicolumn{3}{c}{Segment-level} & Clip-level \\",
        r"\cmidrule(lr){2-4} \cmidrule(lr){5-7} \cmidrule(lr){8-8}",
        r"Pooling & F1 & Precision & Recall & F1 & Precision & Recall & F1 \\",
    ]
    lines = []
    for system in comparison.systems:
        cells = [_score_cell(comparison, system, column) for column in columns]
        lines.append(latex_row([latex(comparison.title(system)), *cells]))
        if paper := comparison.published(system):
            cells = [_latex_number(paper.get(column, math.nan)) for column in columns]
            lines.append(latex_row([r"\quad (paper)", *cells]))
    return booktabs("l" + "c" * len(columns), heads, lines)


def _latex_number(value: float) -> str:
    return _number(value).replace(_UNDEFINED, "--")


def _score_cell(comparison: Comparison, system: System, column: Column) -> str:
    best, apart = _marks(comparison, system, column)
    text = _latex_number(system.mean(column))
    text = rf"\textbf{{{text}}}" if best else text
    text = rf"\underline{{{text}}}" if apart else text
    deviation = system.deviation(column)
    return text if math.isnan(deviation) else rf"{text} {{\scriptsize $\pm$ {deviation:.3f}}}"


def _test_lines(comparison: Comparison) -> list[str]:
    names = [rf"\multicolumn{{3}}{{c}}{{{name.title()}-level F1}}" for name in METRICS]
    against = f"Against {latex(comparison.title(comparison.reference))}"
    heads = [
        latex_row(["", *names]).lstrip(),
        r"\cmidrule(lr){2-4} \cmidrule(lr){5-7} \cmidrule(lr){8-10}",
        latex_row([against, *["Gain", "Relative", "$p$"] * len(METRICS)]),
    ]
    lines = []
    for label in comparison.tests["event", "f1"]:
        cells = [latex(comparison.title(comparison.system(label)))]
        for metric in METRICS:
            test = comparison.tests[(metric, "f1")][label]
            relative = test.relative(comparison.reference.mean((metric, "f1")))
            share = _percent(relative).replace(" %", r"\,\%")
            cells += [f"${test.difference.observed:+.3f}$", f"${share}$"]
            cells.append(f"${_chance(test.p_holm, comparison.config.resamples)}$")
        lines.append(latex_row(cells).replace(_UNDEFINED, "--"))
    return booktabs("l" + "c" * 9, heads, lines)


def _number(value: float, form: str = ".3f") -> str:
    """Return a number; a dash for what is not defined."""
    return _UNDEFINED if math.isnan(value) else format(value, form)


def _percent(value: float) -> str:
    """Return a share as a signed percentage."""
    return _number(value, "+.1%").replace("%", " %")


def _chance(p: float, resamples: int) -> str:
    """Return a p-value; one that is as low as resamples can tell is said to be below that."""
    if math.isnan(p):
        return _UNDEFINED
    least = 2 / (resamples + 1)
    return f"<{least:.1g}" if p <= least * 1.001 else f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"


def _marks(comparison: Comparison, system: System, column: Column) -> tuple[bool, bool]:
    """Return whether a system is the best in a column, and the best apart from power."""
    apart = comparison.best(column, without_power=True) if comparison.has_power_and_others else ()
    return system in comparison.best(column), system in apart


def _score(system: System, column: Column) -> str:
    """Return mean and deviation over seeds."""
    deviation = system.deviation(column)
    spread = "" if math.isnan(deviation) else f" ±{deviation:.3f}"
    return f"{_number(system.mean(column))}{spread}"


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": _as_text,
    "md": _as_markdown,
    "tsv": _as_tsv,
    "latex": _as_latex,
}
