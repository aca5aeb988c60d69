"""`sedtool evaluate`: reference and estimated events -> metrics."""

import time
from pathlib import Path
from typing import Any

import click

from sedtool.cli.console import harmless, progress, summary, write_stdout
from sedtool.cli.options import (
    EXISTING_FILE,
    EXISTING_PATH,
    INPUT,
    OUTPUT,
    common_options,
    names,
    overwrite_option,
)
from sedtool.cli.settings import SedtoolCommand
from sedtool.config import EvaluationConfig
from sedtool.config.evaluation import (
    METRICS,
    REPORT_FORMATS,
    IntersectionConfig,
    Limit,
    ReportConfig,
    parse_metrics,
    parse_psds,
)

_R = ReportConfig
_SCORING = ("collar", "offset_ratio", "segment", "engine", "compat")
_FILES = (
    *("classes", "durations", "weak_reference", "weak_estimated"),
    *("partial", "against", "groups"),
)


@click.command(cls=SedtoolCommand)
@click.argument("reference", type=EXISTING_FILE)
@click.argument("estimated", type=EXISTING_PATH)
@click.option("-o", "--output", type=OUTPUT, help="Write the metrics as JSON, too.")
@click.option(
    "--format", "format_", type=click.Choice(REPORT_FORMATS), default="table", help="Of stdout."
)
@click.option(
    "--metrics",
    metavar="NAME,...",
    help=f"Of {', '.join(METRICS)}; default: the first three, of a folder PSDS.",
    shell_complete=names(*METRICS),
)
@click.option("--collar", default=EvaluationConfig.collar, help="Tolerance, seconds.")
@click.option("--offset-ratio", default=EvaluationConfig.offset_ratio, help="Of event length.")
@click.option("--segment", default=EvaluationConfig.segment, help="Segment length, seconds.")
@click.option("--dtc", default=IntersectionConfig.dtc, help="Intersection: share of an estimate.")
@click.option("--gtc", default=IntersectionConfig.gtc, help="Intersection: share of a reference.")
@click.option(
    "--psds",
    metavar="KEY=VALUE,...",
    help="PSDS with dtc, gtc, cttc, alpha_ct, alpha_st, max_efpr of your own.",
)
@click.option("--classes", type=EXISTING_FILE, help="Score these classes, one a line.")
@click.option("--durations", type=INPUT, help="TSV (filename, duration), or a folder of audio.")
@click.option("--weak-reference", type=EXISTING_FILE, help="Weak labels for clip F1.")
@click.option("--weak-estimated", type=EXISTING_FILE, help="Clip predictions for clip F1.")
@click.option("--bootstrap", type=int, metavar="N", help="Intervals from N resamples of clips.")
@click.option("--against", type=EXISTING_PATH, help="Other estimates: is the difference chance?")
@click.option("--groups", type=EXISTING_FILE, help="TSV (filename, group): groups are resampled.")
@click.option("--seed", default=_R.seed, help="Of the resampling.")
@click.option("--confidence", default=_R.confidence, help="Of intervals, 0 to 1.")
@click.option(
    "--fail-under",
    multiple=True,
    metavar="SCORE=VALUE",
    help="Exit code 7 below it, as in event_f1=0.30; repeatable.",
)
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.option(
    "--engine",
    default=EvaluationConfig.engine,
    help="native or sed_eval.",
    shell_complete=names("native", "sed_eval"),
)
@click.option(
    "--compat",
    default=EvaluationConfig.compat,
    help="dcase: its undefined-class rules.",
    shell_complete=names("dcase"),
)
@click.option("--partial", is_flag=True, help="Score one shard of several as if it were all.")
@overwrite_option
@common_options
def evaluate(
    reference: Path,
    estimated: Path,
    output: Path | None,
    format_: str,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Score estimated events against the reference: event, segment and clip F1, and more.

    ESTIMATED is an event list; or a scores.h5, which is decoded with the settings it carries; or,
    for PSDS, a folder of score files (a TSV a clip) or of event lists (one a threshold).

    \b
    Example: sedtool evaluate reference.tsv events.tsv -o metrics.json
    \b
    And: sedtool evaluate reference.tsv scores.h5 --metrics event,psds1,psds2
    \b
    And: sedtool evaluate reference.tsv new.tsv --against old.tsv --fail-under event_f1=0.30
    """
    from sedtool.evaluation.files import EvaluateInputs, evaluate_files
    from sedtool.evaluation.formats import format_evaluation
    from sedtool.evaluation.limits import check_limits

    started = time.monotonic()
    inputs = EvaluateInputs(reference, estimated, **{name: options[name] for name in _FILES})
    config = EvaluationConfig(**{name: options[name] for name in _SCORING})
    report = _report(**{name: options[name] for name in options.keys() - {*_FILES, *_SCORING}})
    is_short = report.bootstrap is None and inputs.against is None
    with progress("evaluate", quiet or is_short) as show:
        evaluation = evaluate_files(inputs, config, output, overwrite, report, show)
    text = format_evaluation(evaluation, format_)
    write_stdout(harmless(text, format_ == "json"))
    summary(
        f"{evaluation.n_clips} clips, {evaluation.n_classes} classes in "
        f"{time.monotonic() - started:.1f} s -> {f'stdout, {output}' if output else 'stdout'}",
        quiet,
    )
    check_limits(report.limits, evaluation.named_scores)


def _report(
    metrics: str | None,
    dtc: float,
    gtc: float,
    psds: str | None,
    fail_under: tuple[str, ...],
    **settings: Any,
) -> ReportConfig:
    return ReportConfig(
        metrics=() if metrics is None else parse_metrics(metrics),
        intersection=IntersectionConfig(dtc, gtc),
        psds=None if psds is None else parse_psds(psds),
        limits=tuple(map(Limit.parse, fail_under)),
        **settings,
    )
