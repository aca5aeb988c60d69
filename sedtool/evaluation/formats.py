"""An evaluation as text: a table, TSV with every number, JSON, Markdown, LaTeX."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping

from sedtool.evaluation.analysis import ErrorAnalysis, ErrorCounts
from sedtool.evaluation.counts import Rates
from sedtool.evaluation.psds import Psds
from sedtool.evaluation.report import Evaluation
from sedtool.evaluation.resampling import RATES, Statistics
from sedtool.text import aligned, latex

Row = tuple[str, ...]
Table = list[list[Row]]  # blocks of rows, the first of which is the header

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


def format_evaluation(evaluation: Evaluation, name: str) -> str:
    """Return an evaluation in one of `sedtool.config.evaluation.REPORT_FORMATS`."""
    formats: dict[str, Callable[[Evaluation], str]] = {
        "table": _as_table,
        "tsv": _as_tsv,
        "json": Evaluation.to_json,
        "md": _as_markdown,
        "latex": _as_latex,
    }
    return formats[name](evaluation)


def _as_table(evaluation: Evaluation) -> str:
    """Return aligned plain text: macro and micro rows, then a row a class.

    Rates are fractions; ``-`` is an undefined one. The last lines say how it was measured.
    """
    lines: list[str] = []
    for blocks in _tables(evaluation):
        rows = aligned([row for block in blocks for row in block], n_left=2)
        for block in blocks:
            lines += [*rows[: len(block)], ""] if block else []
            del rows[: len(block)]
    return "\n".join([*lines, *_notes(evaluation)]) + "\n"


def _as_markdown(evaluation: Evaluation) -> str:
    """Return the tables in Markdown, and how they were made."""
    tables = []
    for blocks in _tables(evaluation):
        header, *rows = (row for block in blocks for row in block)
        rule = ["---" if i < 2 else "---:" for i in range(len(header))]
        lines = [header, rule, *rows]
        tables.append("".join(f"| {' | '.join(map(_markdown, line))} |\n" for line in lines))
    notes = "".join(f"- {_markdown(line)}\n" for line in _notes(evaluation))
    return "\n".join([*tables, notes])


def _markdown(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\|*_<>`[]" else c for c in text)


def _as_latex(evaluation: Evaluation) -> str:
    """Return the tables in LaTeX with booktabs, and how they were made as comments."""
    lines = [f"% {line}" for line in (*_notes(evaluation), "needs booktabs")]
    for blocks in _tables(evaluation):
        lines += [*_latex_table(blocks), ""]
    return "\n".join(lines).rstrip() + "\n"


def _latex_table(blocks: Table) -> Iterator[str]:
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
    return " & ".join(map(latex, cells)) + r" \\"


def _as_tsv(evaluation: Evaluation) -> str:
    """Return a row a number; what is undefined, or was not asked for, is empty."""
    rows = [list(TSV_COLUMNS), *_macro_rows(evaluation)]
    rows += [[*where, _exact(value)] for *where, value in _numbers(evaluation)]
    lines = ("\t".join([*row, *[""] * (len(TSV_COLUMNS) - len(row))]) for row in rows)
    return "".join(line + "\n" for line in lines)


def _macro_rows(evaluation: Evaluation) -> Iterator[list[str]]:
    drawn = evaluation.statistics
    for name, value in evaluation.macro_scores.items():
        metric, _, score = name.partition("_")
        values = [value]
        if drawn:
            values += drawn.intervals.get(name, (math.nan, math.nan))
        if drawn and drawn.against is not None:
            d = drawn.differences[name]
            values += [drawn.other[name], d.observed, d.low, d.high, d.p]
        yield [metric, "macro", "", score or "psds", *map(_exact, values)]


def _numbers(evaluation: Evaluation) -> Iterator[tuple[str, str, str, str, float]]:
    """Yield metric, average, class, score and value of each number but the macro rates."""
    tables: list[tuple[str, object, Mapping[str, object], Mapping[str, str]]] = []
    same = dict(zip((*RATES, *_COUNTS), (*RATES, *_COUNTS), strict=True))
    tables += [(name, each.micro, each.classes, same) for name, each in evaluation.scores.items()]
    rates = {"error_rate": "rate"} | {name: name for name in _ERRORS}
    tables += [
        (name, each.overall, each.classes, rates) for name, each in evaluation.error_rates.items()
    ]
    if evaluation.errors:
        kinds = {field.name: field.name for field in dataclasses.fields(ErrorCounts)}
        tables.append(("errors", evaluation.errors.total, evaluation.errors.classes, kinds))
    for metric, total, classes, fields in tables:
        for average, label, row in (
            ("micro", "", total),
            *(("class", label, row) for label, row in classes.items()),
        ):
            for score, field in fields.items():
                yield metric, average, label, score, getattr(row, field)
    for name, psds in evaluation.psds.items():
        for label, value in psds.classes.items():
            yield name, "class", label, "psds", value


def _exact(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6g}"


def _tables(evaluation: Evaluation) -> list[Table]:
    """Return what there is to show."""
    tables = [_score_table(evaluation), _error_rate_table(evaluation)]
    if evaluation.errors:
        tables.append(_kind_table(evaluation.errors, "references", _OF_REFERENCES))
        tables.append(_kind_table(evaluation.errors, "estimates", _OF_ESTIMATES))
    tables.append(_psds_table(evaluation))
    if evaluation.statistics:
        tables.append([_statistics_rows(evaluation.statistics, evaluation.macro_scores)])
    return [table for table in tables if table]


def _score_table(evaluation: Evaluation) -> Table:
    if not evaluation.scores:
        return []
    counts = ("tp", "fp", "fn", "reference", "estimated")
    table: Table = [[("metric", "class", "F1", "precision", "recall", *counts)]]
    for name, scores in evaluation.scores.items():
        table[0].append((name, "macro", *_rates(scores.macro), *[""] * len(counts)))
        table[0].append((name, "micro", *_rates(scores.micro), *_counts(scores.micro, _COUNTS)))
        rows = scores.classes.items()
        table.append([(name, k, *_rates(row), *_counts(row, _COUNTS)) for k, row in rows])
    return table


def _error_rate_table(evaluation: Evaluation) -> Table:
    """Return the error rates of events and segments: macro, all classes together, each class."""
    if not evaluation.error_rates:
        return []
    counts = (*_ERRORS, "n_reference")
    table: Table = [[("metric", "class", "ER", *_ERRORS, "reference")]]
    for name, rates in evaluation.error_rates.items():
        table[0].append((name, "macro", _rate(rates.macro), *[""] * len(counts)))
        overall = rates.overall
        table[0].append((name, "all", _rate(overall.rate), *_counts(overall, counts)))
        rows = rates.classes.items()
        table.append([(name, k, _rate(row.rate), *_counts(row, counts)) for k, row in rows])
    return table


def _kind_table(errors: ErrorAnalysis, side: str, kinds: tuple[str, ...]) -> Table:
    """Return how many events of one side are of each kind."""
    header = ("errors", "class", *(kind.replace("_", " ") for kind in kinds))
    rows = [(side, label, *_counts(row, kinds)) for label, row in errors.classes.items()]
    return [[header, (side, "all", *_counts(errors.total, kinds))], rows]


def _psds_table(evaluation: Evaluation) -> Table:
    if not evaluation.psds:
        return []
    table: Table = [[("metric", "class", "PSDS")]]
    for name, psds in evaluation.psds.items():
        table[0].append((name, "all", _rate(psds.value)))
        table.append([(name, label, _rate(value)) for label, value in psds.classes.items()])
    return table


def _statistics_rows(drawn: Statistics, scores: Mapping[str, float]) -> list[Row]:
    tail = 50 * (1 - drawn.confidence)
    ends = (f"{tail:.3g} %", f"{100 - tail:.3g} %")
    more = () if drawn.against is None else ("other", "difference", *ends, "p")
    rows: list[Row] = [("metric", "score", "value", *ends, *more)]
    for name, value in scores.items():
        metric, _, rate = name.partition("_")
        interval = drawn.intervals.get(name, (math.nan, math.nan))
        cells = [metric, rate.replace("_", " "), *map(_rate, (value, *interval))]
        if more:
            d = drawn.differences[name]
            signed = (_rate(each, "+") for each in (d.observed, d.low, d.high))
            cells += [_rate(drawn.other[name]), *signed, _rate(d.p)]
        rows.append(tuple(cells))
    return rows


def _rates(rates: Rates) -> tuple[str, ...]:
    return tuple(_rate(getattr(rates, name)) for name in RATES)


def _rate(value: float, sign: str = "") -> str:
    """Return a rate as tables have it; an undefined one is a dash."""
    return (
        "-" if math.isnan(value) else f"{value:{sign}.4g}" if value > 1e6 else f"{value:{sign}.4f}"
    )


def _counts(row: object, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(getattr(row, name)) for name in names)


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
                    f"is undefined: {', '.join(scores.undefined)}"
                )
    return [*lines, *(_statistics_notes(evaluation.statistics) if evaluation.statistics else [])]


def _tolerances(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield each metric and what it allows."""
    c, shares = evaluation.config, evaluation.intersection
    yield (
        "event",
        f"event: onset within {c.collar:g} s, offset within {c.collar:g} s or "
        f"{c.offset_ratio:.0%} of the reference event's length",
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
    c = psds.config
    return (
        f"{name}: dtc {c.dtc:g}, gtc {c.gtc:g}, cttc {c.cttc:g}, alpha_ct {c.alpha_ct:g}, alpha_st "
        f"{c.alpha_st:g}, up to {c.max_efpr:g} false positives an hour; {psds.n_clips} clips, "
        f"{psds.seconds:g} s{'' if psds.n_lists is None else f', {psds.n_lists} lists'}"
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
