"""An evaluation as text: a table, TSV with every number, JSON, Markdown, LaTeX."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice, product
from typing import NamedTuple

from sedtool.evaluation.counts import RATES
from sedtool.evaluation.evaluate import Evaluation
from sedtool.evaluation.psds import Psds
from sedtool.evaluation.resampling import Statistics
from sedtool.text import aligned, booktabs, cut, first_five, latex, latex_row, markdown_table

Row = tuple[str, ...]
Table = list[list[Row]]  # blocks of rows, the first of which begins with the header
Numbers = Mapping[str, float]  # by name

MOST_LABEL = 200  # characters of a label in a table
MOST_ROWS = 1000  # of a block of a plain table, one a class
FEW = 3  # of the worst classes, and of the best, where a plain table has not all
TSV_COLUMNS = (
    *("metric", "average", "class", "score", "value"),
    *("low", "high", "other", "difference", "difference_low", "difference_high", "p"),
)
_COUNTS = ("tp", "fp", "fn", "n_reference", "n_estimated")
_ERRORS = ("substitutions", "deletions", "insertions")
_OF_REFERENCES = (
    *("reference", "correct", "displaced", "early_onset", "late_onset"),
    *("early_offset", "late_offset", "fragmented", "joined", "substituted", "missed"),
)
_OF_ESTIMATES = (
    *("estimated", "correct", "displaced", "fragments", "merged", "mislabelled", "spurious"),
)
_HEADS = {"f1": "F1", "rate": "ER", "psds": "PSDS"}


class Scored(NamedTuple):
    """What there is of one metric."""

    metric: str
    averages: Mapping[str, Numbers]  # of all classes together, by name
    classes: Mapping[str, Numbers]  # of each


def format_evaluation(evaluation: Evaluation, name: str, per_class: bool = False) -> str:
    """Return an evaluation in one of `sedtool.config.evaluation.REPORT_FORMATS`.

    Of many classes a table has the worst and the best by one metric, or with `per_class` all by
    each metric, as the other formats always have.
    """
    formats: dict[str, Callable[[Evaluation], str]] = {
        "table": lambda evaluation: _as_table(evaluation, per_class),
        "tsv": _as_tsv,
        "json": Evaluation.to_json,
        "md": _as_markdown,
        "latex": _as_latex,
    }
    return formats[name](evaluation)


def _as_table(evaluation: Evaluation, per_class: bool) -> str:
    """Return aligned plain text: averages, then a row a class; ``-`` is an undefined rate.

    The last lines say how it was measured.
    """
    by, ranked, undefined = _ranked(evaluation)
    n_classes = len(ranked) + len(undefined)
    is_short = not per_class and n_classes > 2 * FEW

    def chosen(scored: list[Scored]) -> list[Scored]:
        if not is_short:
            return [_only(each, [*ranked, *undefined]) for each in scored] if by else scored
        best = [_only(each, ranked[FEW:][-FEW:])._replace(averages={}) for each in scored[:1]]
        return [*(_only(each, ranked[: FEW * (not n)]) for n, each in enumerate(scored)), *best]

    lines: list[str] = []
    for blocks in _tables(evaluation, chosen, _COUNTS[:3]):  # the sums of these are the others
        shown = [block[:MOST_ROWS] for block in blocks]
        rows = iter(aligned([row for block in shown for row in block], n_left=2))
        for block, part in zip(blocks, shown, strict=True):
            more = len(block) - len(part)
            rest = [f"… and {more} more classes; --format tsv has all of them"] if more else []
            lines += [*islice(rows, len(part)), *rest, ""] if block else []
    if is_short:
        lines.append(f"classes: the worst and the best by {by}; --per-class shows all {n_classes}")
    return "\n".join([*lines, *_notes(evaluation)]) + "\n"


def _ranked(evaluation: Evaluation) -> tuple[str, list[str], list[str]]:
    """Return the first score that was computed, its classes from the worst on, and the undefined.

    Kinds of errors rank no class.
    """
    scored = [*_scores(evaluation), *_error_rates(evaluation), *_psds(evaluation)]
    if not scored:
        return "", [], []
    metric, _, classes = scored[0]
    score = "f1" if evaluation.scores else "rate" if evaluation.error_rates else "psds"

    def rank(label: str) -> tuple[float, float]:
        value = classes[label][score]
        return -value if score == "rate" else value, -classes[label].get("n_reference", 0)

    undefined = [label for label in classes if math.isnan(classes[label][score])]
    ranked = sorted(set(classes) - set(undefined), key=lambda label: (*rank(label), label))
    return f"{metric} {_HEADS[score]}", ranked, undefined


def _only(scored: Scored, labels: Iterable[str]) -> Scored:
    """Return what there is of some classes alone, in their order."""
    return scored._replace(classes={k: scored.classes[k] for k in labels if k in scored.classes})


def _as_markdown(evaluation: Evaluation) -> str:
    """Return the tables in Markdown, and how they were made."""
    lines: list[str] = []
    for blocks in _tables(evaluation):
        rows = [[_markdown(cell) for cell in row] for block in blocks for row in block]
        lines += [*markdown_table(rows, n_left=2), ""]
    lines += [f"- {_markdown(line)}" for line in _notes(evaluation)]
    return "\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\|*_<>`[]" else c for c in text)


def _as_latex(evaluation: Evaluation) -> str:
    """Return the tables in LaTeX with booktabs, and how they were made as comments."""
    lines = [f"% {line}" for line in (*_notes(evaluation), "needs booktabs")]
    for blocks in _tables(evaluation):
        (header, *first), *others = (
            [latex_row(map(latex, row)) for row in block] for block in blocks
        )
        columns = "ll" + "r" * (len(blocks[0][0]) - 2)
        lines += [*booktabs(columns, [header], first, *others), ""]
    return "\n".join(lines).rstrip() + "\n"


def _as_tsv(evaluation: Evaluation) -> str:
    """Return a row a number; what is undefined, or was not asked for, is empty."""
    rows = [list(TSV_COLUMNS)]
    for metric, rate, values in _macro_numbers(evaluation):
        rows.append([metric, "macro", "", rate or "psds", *map(exact, values)])
    rows += [[*where, exact(value)] for *where, value in _other_numbers(evaluation)]
    lines = ("\t".join([*row, *[""] * (len(TSV_COLUMNS) - len(row))]) for row in rows)
    return "".join(line + "\n" for line in lines)


def _macro_numbers(evaluation: Evaluation) -> Iterator[tuple[str, str, list[float]]]:
    """Yield metric, rate and, as far as there are any, the values of the last eight TSV columns."""
    drawn = evaluation.statistics
    for name, value in evaluation.macro_scores.items():
        metric, _, rate = name.partition("_")
        values = [value]
        if drawn:
            values += drawn.intervals.get(name, (math.nan, math.nan))
        if drawn and drawn.against is not None:
            d = drawn.differences[name]
            values += [drawn.other[name], d.observed, d.low, d.high, d.p]
        yield metric, rate, values


def _other_numbers(evaluation: Evaluation) -> Iterator[tuple[str, str, str, str, float]]:
    """Yield metric, average, class, score and value of each number but the macro rates."""
    kinds = _kinds(evaluation, "errors")
    for metric, averages, classes in (*_scores(evaluation), *_error_rates(evaluation), *kinds):
        *_, total = averages.values()
        names = ("rate", *_ERRORS) if "rate" in total else tuple(total)
        rows = [("micro", "", total), *(("class", k, row) for k, row in classes.items())]
        for (average, label, row), name in product(rows, names):
            yield metric, average, label, "error_rate" if name == "rate" else name, row[name]
    for name, psds in evaluation.psds.items():
        for label, value in psds.classes.items():
            yield name, "class", label, "psds", value


def exact(value: float) -> str:
    """Return a number with the digits of a TSV; nothing for an undefined one."""
    if isinstance(value, int):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6g}"


def _scores(evaluation: Evaluation) -> list[Scored]:
    rows = ((name, asdict(scores)) for name, scores in evaluation.scores.items())
    return [
        Scored(name, {k: row[k] for k in ("macro", "micro")}, row["classes"]) for name, row in rows
    ]


def _error_rates(evaluation: Evaluation) -> list[Scored]:
    rows = ((name, asdict(rates)) for name, rates in evaluation.error_rates.items())
    return [
        Scored(name, {"macro": {"rate": row["macro"]}, "all": row["overall"]}, row["classes"])
        for name, row in rows
    ]


def _kinds(evaluation: Evaluation, metric: str) -> list[Scored]:
    rows = asdict(evaluation.errors) if evaluation.errors else {}
    return [Scored(metric, {"all": rows["total"]}, rows["classes"])] if rows else []


def _psds(evaluation: Evaluation) -> list[Scored]:
    return [
        Scored(name, {"all": {"psds": p.value}}, {k: {"psds": v} for k, v in p.classes.items()})
        for name, p in evaluation.psds.items()
    ]


def _tables(
    evaluation: Evaluation,
    shown: Callable[[list[Scored]], list[Scored]] = list,
    counts: Sequence[str] = _COUNTS,
) -> list[Table]:
    """Return what there is to show: of each table's metrics what `shown` makes of them."""
    tables = [
        _table("metric", (*RATES, *counts), shown(_scores(evaluation))),
        _table("metric", ("rate", *_ERRORS, "n_reference"), shown(_error_rates(evaluation))),
        _table("errors", _OF_REFERENCES, shown(_kinds(evaluation, "references"))),
        _table("errors", _OF_ESTIMATES, shown(_kinds(evaluation, "estimates"))),
        _table("metric", ("psds",), shown(_psds(evaluation))),
    ]
    if evaluation.statistics:
        tables.append([_statistics_rows(evaluation, evaluation.statistics)])
    return [table for table in tables if table]


def _table(head: str, names: Sequence[str], scored: Sequence[Scored]) -> Table:
    """Return some numbers of some metrics, averages first; nothing if there are none."""

    def rows(metric: str, part: Mapping[str, Numbers]) -> list[Row]:
        return [
            (metric, _brief(label), *(_cell(row.get(name)) for name in names))
            for label, row in part.items()
        ]

    header = (
        head,
        "class",
        *(_HEADS.get(n, n.removeprefix("n_").replace("_", " ")) for n in names),
    )
    averages = [row for metric, part, _ in scored for row in rows(metric, part)]
    classes = [rows(metric, part) for metric, _, part in scored]
    return [[header, *averages], *classes] if averages else []


def _brief(label: str) -> str:
    """Return a label, or the beginning of an endless one."""
    return label if len(label) <= MOST_LABEL else cut(label)


def _statistics_rows(evaluation: Evaluation, drawn: Statistics) -> list[Row]:
    tail = 50 * (1 - drawn.confidence)
    ends = (f"{tail:.3g} %", f"{100 - tail:.3g} %")
    more = () if drawn.against is None else ("other", "difference", *ends, "p")
    rows: list[Row] = [("metric", "score", "value", *ends, *more)]
    for metric, rate, values in _macro_numbers(evaluation):
        signs = ["+" if 4 <= place <= 6 else "" for place in range(len(values))]  # of differences
        rows.append((metric, rate.replace("_", " "), *map(_rate, values, signs)))
    return rows


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else _rate(value)


def _rate(value: float, sign: str = "") -> str:
    """Return a rate as tables have it; an undefined one is a dash."""
    if math.isnan(value):
        return "-"
    return f"{value:{sign}.4g}" if value > 1e6 else f"{value:{sign}.4f}"


def _notes(evaluation: Evaluation) -> list[str]:
    """Return the lines that say how it was measured."""
    is_dcase = evaluation.config.compat == "dcase"
    lines = [text for name, text in _tolerances(evaluation) if name in evaluation.scores]
    if evaluation.scores:
        undefined = "is left out, in clip counts 0" if is_dcase else "counts 0"
        lines.append(f"macro: class list {evaluation.class_list}; an undefined rate {undefined}")
    if evaluation.error_rates:
        without = "has" if is_dcase else "leaves out"
        lines.append(f"ER: errors per reference; macro {without} classes without references")
    if evaluation.errors:
        lines.append(
            "errors: displaced ones overlap one event of their class and no other that is left"
        )
    lines += [_psds_note(name, psds) for name, psds in evaluation.psds.items()]
    for what, metrics in (("F1", evaluation.scores), ("PSDS", evaluation.psds)):
        for name, scores in metrics.items():
            if scores.undefined:
                lines.append(
                    f"{name}: {what} of {len(scores.undefined)} of {len(scores.classes)} classes "
                    f"is undefined: {first_five(map(_brief, scores.undefined))}"
                )
    return [*lines, *(_statistics_notes(evaluation.statistics) if evaluation.statistics else [])]


def _tolerances(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield each metric and what it allows."""
    c, shares, length = evaluation.config, evaluation.intersection, evaluation.median_length
    yield (
        "event",
        f"event: onset within {c.collar:g} s, offset within {c.collar:g} s or "
        f"{c.offset_ratio:.0%} of the reference event's length"
        f"{'' if math.isnan(length) else f' (median {length:.3g} s)'}",
    )
    yield (
        "segment",
        f"segment: {c.segment:g} s; {evaluation.n_durations} of {evaluation.n_clips} clips end "
        "with their known duration, the others with their last event",
    )
    yield "clip", f"clip: from {evaluation.clip_source}"
    yield "onset", f"onset: within {c.collar:g} s, whatever the offset"
    yield (
        "intersection",
        f"intersection: references cover {shares.dtc:.0%} of an estimate that is accepted, such "
        f"estimates {shares.gtc:.0%} of a reference that is found",
    )


def _psds_note(name: str, psds: Psds) -> str:
    c, seconds = psds.counts.config, psds.counts.seconds
    return (
        f"{name}: dtc {c.dtc:g}, gtc {c.gtc:g}, cttc {c.cttc:g}, alpha_ct {c.alpha_ct:g}, alpha_st "
        f"{c.alpha_st:g}, up to {c.max_efpr:g} false positives an hour; {len(seconds)} clips, "
        f"{seconds.sum():g} s{'' if psds.n_lists is None else f', {psds.n_lists} lists'}"
    )


def _statistics_notes(drawn: Statistics) -> list[str]:
    lines = [
        f"intervals: {100 * drawn.confidence:g} %, percentiles of {drawn.resamples} resamples of "
        f"{drawn.n_units} {drawn.unit}, seed {drawn.seed}; a class without references in a "
        "resample is left out of its averages; chance in training is not in them"
    ]
    if drawn.against is not None:
        lines.append(
            f"difference: to {drawn.against}, paired; p of no difference, two-sided, "
            "each score by itself"
        )
    return lines
