"""A comparison as TSV, with every number, and as LaTeX, like the tables of the paper."""

import math

from sedtool.comparison.paper import PAPER_COLUMNS
from sedtool.comparison.scoring import COLUMNS, METRICS, RULES, Column, System
from sedtool.comparison.statistics import Comparison
from sedtool.comparison.tables import UNKNOWN, chance, claims, marks, notes, number, percent

__all__ = ["TSV_COLUMNS", "as_latex", "as_tsv"]

TSV_COLUMNS = (
    *("pooling", "metric", "rate", "rule", "n_seeds", "seeds", "values", "mean", "deviation"),
    *("best", "best_without_power", "paper", "against", "gain", "relative_gain"),
    *("interval_low", "interval_high", "p", "p_holm"),
)
_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def as_tsv(comparison: Comparison) -> str:
    """Return a row for each pooling, metric, rate and rule; what is not defined is empty."""
    rows: list[tuple[str, ...]] = [TSV_COLUMNS]
    for system in comparison.systems:
        for column in COLUMNS:
            for rule in RULES:
                rows.append(_row(comparison, system, column, rule))
    return "".join("\t".join(row) + "\n" for row in rows)


def _row(comparison: Comparison, system: System, column: Column, rule: str) -> tuple[str, ...]:
    is_default = rule == RULES[0]
    best, apart = marks(comparison, system, column) if is_default else (False, False)
    test = comparison.tests[column].get(system.label) if is_default else None
    found = None if test is None else test.difference
    paper = comparison.published(system).get(column, math.nan)
    base = comparison.reference.mean(column)
    return (
        *(system.label, *column, rule, str(len(system.seeds)), ",".join(map(str, system.seeds))),
        ",".join(_exact(value) or "-" for value in system.values[rule][column]),
        *(_exact(system.mean(column, rule)), _exact(system.deviation(column, rule))),
        *(str(int(best)) if is_default else "", str(int(apart)) if is_default else ""),
        *(_exact(paper) if is_default else "", comparison.against if found else ""),
        *((_exact(found.observed), _exact(test.relative(base))) if found and test else ("", "")),
        *((_exact(found.low), _exact(found.high), _exact(found.p)) if found else ("", "", "")),
        _exact(test.p_holm) if test else "",
    )


def _exact(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def as_latex(comparison: Comparison) -> str:
    """Return two tables with booktabs: scores as in the paper, and gains with their p-values."""
    lines = [f"% {line}" for line in (*claims(comparison), *notes(comparison))]
    lines += ["% bold: best; underlined: best apart from power pooling; needs booktabs"]
    lines += [*_score_lines(comparison), ""]
    if len(comparison.systems) > 1:
        lines += _test_lines(comparison)
    return "\n".join(lines).rstrip() + "\n"


def _score_lines(comparison: Comparison) -> list[str]:
    columns = list(PAPER_COLUMNS.values())
    lines = [
        r"\begin{tabular}{l" + "c" * len(columns) + "}",
        r"\toprule",
        r" & \multicolumn{3}{c}{Event-level} & \multicolumn{3}{c}{Segment-level} & Clip-level \\",
        r"\cmidrule(lr){2-4} \cmidrule(lr){5-7} \cmidrule(lr){8-8}",
        r"Pooling & F1 & Precision & Recall & F1 & Precision & Recall & F1 \\",
        r"\midrule",
    ]
    for system in comparison.systems:
        cells = [_score_cell(comparison, system, column) for column in columns]
        lines.append(" & ".join([_escape(comparison.title(system)), *cells]) + r" \\")
        if paper := comparison.published(system):
            cells = [
                number(paper.get(column, math.nan)).replace(UNKNOWN, "--") for column in columns
            ]
            lines.append(" & ".join([r"\quad (paper)", *cells]) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _score_cell(comparison: Comparison, system: System, column: Column) -> str:
    best, apart = marks(comparison, system, column)
    text = number(system.mean(column)).replace(UNKNOWN, "--")
    text = rf"\textbf{{{text}}}" if best else text
    text = rf"\underline{{{text}}}" if apart else text
    deviation = system.deviation(column)
    return text if math.isnan(deviation) else rf"{text} {{\scriptsize $\pm$ {deviation:.3f}}}"


def _test_lines(comparison: Comparison) -> list[str]:
    heads = "".join(rf" & \multicolumn{{3}}{{c}}{{{name.title()}-level F1}}" for name in METRICS)
    lines = [
        r"\begin{tabular}{l" + "c" * 9 + "}",
        r"\toprule",
        heads.removeprefix(" ") + r" \\",
        r"\cmidrule(lr){2-4} \cmidrule(lr){5-7} \cmidrule(lr){8-10}",
        rf"Against {_escape(comparison.title(comparison.reference))}"
        + r" & Gain & Relative & $p$" * 3
        + r" \\",
        r"\midrule",
    ]
    for system in comparison.systems:
        if system.label == comparison.against:
            continue
        cells = [_escape(comparison.title(system))]
        for metric in METRICS:
            test = comparison.tests[(metric, "f1")][system.label]
            relative = test.relative(comparison.reference.mean((metric, "f1")))
            share = percent(relative).replace(" %", r"\,\%")
            cells += [f"${test.difference.observed:+.3f}$", f"${share}$"]
            cells.append(f"${chance(test.p_holm, comparison.config.resamples)}$")
        lines.append(" & ".join(cells).replace(UNKNOWN, "--") + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _escape(text: str) -> str:
    return "".join(_ESCAPED.get(character, character) for character in text)
