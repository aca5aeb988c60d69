"""An evaluation as text: a table, TSV with every number, JSON, Markdown, LaTeX."""

import math
from collections.abc import Callable, Iterable, Iterator

from sedtool.evaluation.counts import ClassScores
from sedtool.evaluation.error_report import error_numbers
from sedtool.evaluation.report import RATES, Evaluation

__all__ = ["TSV_COLUMNS", "format_evaluation"]

TSV_COLUMNS = (
    *("metric", "average", "class", "score", "value"),
    *("low", "high", "other", "difference", "difference_low", "difference_high", "p"),
)
_COUNTS = ("tp", "fp", "fn", "n_reference", "n_estimated")
_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def format_evaluation(evaluation: Evaluation, name: str) -> str:
    """Return an evaluation in one of `sedtool.config.evaluation.REPORT_FORMATS`."""
    formats: dict[str, Callable[[Evaluation], str]] = {
        "table": Evaluation.table,
        "tsv": _as_tsv,
        "json": Evaluation.to_json,
        "md": _as_markdown,
        "latex": _as_latex,
    }
    return formats[name](evaluation)


def _as_tsv(evaluation: Evaluation) -> str:
    """Return a row a number; what is undefined, or was not asked for, is empty."""
    rows = [TSV_COLUMNS, *_macro_rows(evaluation)]
    for metric, scores in evaluation.scores.items():
        rows += _count_rows(metric, "micro", "", scores.micro)
        for label, row in scores.classes.items():
            rows += _count_rows(metric, "class", label, row)
    for *where, value in error_numbers(evaluation.error_rates, evaluation.errors):
        rows.append(_padded(*where, _exact(value)))
    for name, psds in evaluation.psds.items():
        for label, value in psds.classes.items():
            rows.append(_padded(name, "class", label, "psds", _exact(value)))
    return "".join("\t".join(row) + "\n" for row in rows)


def _macro_rows(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    found = evaluation.statistics
    for name, value in evaluation.macro_scores.items():
        metric, _, score = name.partition("_")
        cells = [_exact(value)]
        if found:
            cells += map(_exact, found.intervals.get(name, (math.nan, math.nan)))
        if found and found.differences and found.other:
            d = found.differences[name]
            cells += map(_exact, (found.other[name], d.observed, d.low, d.high, d.p))
        yield _padded(metric, "macro", "", score or "psds", *cells)


def _count_rows(metric: str, average: str, label: str, row: ClassScores) -> list[tuple[str, ...]]:
    rates = [(name, _exact(getattr(row, name))) for name in RATES]
    counts = [(name, str(getattr(row, name))) for name in _COUNTS]
    return [_padded(metric, average, label, name, value) for name, value in (*rates, *counts)]


def _padded(*cells: str) -> tuple[str, ...]:
    return (*cells, *[""] * (len(TSV_COLUMNS) - len(cells)))


def _exact(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _as_markdown(evaluation: Evaluation) -> str:
    """Return the tables in Markdown, and how they were made."""
    tables = [_markdown_table(blocks) for blocks in evaluation.blocks()]
    notes = "".join(f"- {_markdown(line)}\n" for line in evaluation.footer())
    return "\n".join([*tables, notes])


def _markdown_table(blocks: Iterable[list[tuple[str, ...]]]) -> str:
    header, *rows = (row for block in blocks for row in block)
    marks = ["---" if i < 2 else "---:" for i in range(len(header))]
    lines = [header, marks, *rows]
    return "".join(f"| {' | '.join(map(_markdown, line))} |\n" for line in lines)


def _markdown(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\|*_<>`[]" else c for c in text)


def _as_latex(evaluation: Evaluation) -> str:
    """Return the tables in LaTeX with booktabs, and how they were made as comments."""
    lines = [f"% {line}" for line in (*evaluation.footer(), "needs booktabs")]
    for blocks in evaluation.blocks():
        lines += [*_latex_table(blocks), ""]
    return "\n".join(lines).rstrip() + "\n"


def _latex_table(blocks: Iterable[list[tuple[str, ...]]]) -> Iterator[str]:
    (header, *first), *others = blocks
    yield rf"\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}"
    yield r"\toprule"
    yield _latex_row(header)
    for block in (first, *others):
        if block:
            yield r"\midrule"
            yield from map(_latex_row, block)
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join("".join(_ESCAPED.get(c, c) for c in cell) for cell in cells) + r" \\"
