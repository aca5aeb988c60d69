"""`sedtool evaluate`: reference and estimated events -> metrics."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sedtool.atomic import appears_whole
from sedtool.cli import options as opt
from sedtool.cli.console import harmless, progress, say, write_stdout
from sedtool.cli.settings import SedtoolCommand, taken
from sedtool.config import EvaluateInputs, EvaluationConfig
from sedtool.config.evaluation import (
    METRICS,
    REPORT_FORMATS,
    IntersectionConfig,
    Limit,
    ReportConfig,
    parse_metrics,
    parse_psds,
)


@click.command(cls=SedtoolCommand)
@click.argument("reference", type=opt.EXISTING_FILE)
@click.argument("estimated", type=opt.EXISTING_PATH)
@opt.group(
    "Input",
    *opt.settings(EvaluateInputs, "classes"),
    *opt.settings(EvaluateInputs, "durations", type=opt.INPUT),
    *opt.settings(EvaluateInputs, "weak_reference", "weak_estimated", "partial", "min_confidence"),
)
@opt.group(
    "Output",
    opt.output("Also write the metrics to this JSON file."),
    click.option(
        "--format",
        "format_",
        type=click.Choice(REPORT_FORMATS),
        default=REPORT_FORMATS[0],
        help="The format of the report on stdout.",
    ),
    opt.flag(
        "--per-class",
        help="Show all classes by each metric in the table, and not the worst and the best alone. "
        "Other formats always have all.",
    ),
    opt.overwrite,
)
@opt.group(
    "Metrics",
    click.option(
        "--metrics",
        metavar="NAME,...",
        help=f"The metrics to compute: {', '.join(METRICS)}. By default, the first three; for a "
        "folder, PSDS.",
        shell_complete=opt.names(*METRICS),
    ),
    *opt.settings(EvaluationConfig, "collar", "offset_ratio", "segment"),
    *opt.settings(IntersectionConfig, "dtc", "gtc"),
    click.option(
        "--psds",
        metavar="KEY=VALUE,...",
        help="PSDS with parameters of your own: dtc, gtc, cttc, alpha_ct, alpha_st, max_efpr.",
    ),
    *opt.settings(EvaluationConfig, "engine", "compat"),
)
@opt.group(
    "Statistics",
    *opt.settings(ReportConfig, "bootstrap"),
    *opt.settings(EvaluateInputs, "against", type=opt.EXISTING_PATH),
    *opt.settings(EvaluateInputs, "groups"),
    *opt.settings(ReportConfig, "seed", "confidence"),
)
@opt.group(
    "Verdict",
    click.option(
        "--fail-under",
        multiple=True,
        metavar="SCORE=VALUE",
        help="End with exit code 7 if a score is lower, as in event_f1=0.30. May be given several "
        "times.",
    ),
    *opt.settings(ReportConfig, "strict"),
)
def evaluate(
    output: Path | None, format_: str, per_class: bool, overwrite: bool, quiet: bool, **options: Any
) -> None:
    """Score estimated events against a reference.

    ESTIMATED is an event list, a scores.h5, which is decoded with the settings it carries, or, for
    PSDS, a folder of score files (a TSV for each clip) or of event lists (one for each threshold).
    The scores are event, segment and clip F1; --metrics names others.

    \b
    Example: sedtool evaluate reference.tsv events.tsv -o metrics.json
    \b
    And: sedtool evaluate reference.tsv scores.h5 --metrics event,psds1,psds2
    \b
    And: sedtool evaluate reference.tsv new.tsv --against old.tsv --fail-under event_f1=0.30
    """
    from sedtool.evaluation.formats import format_evaluation
    from sedtool.evaluation.from_files import check_limits, evaluate_files

    started = time.monotonic()
    inputs = taken(EvaluateInputs, options)
    config = taken(EvaluationConfig, options)
    report = report_settings(options)
    is_resampled = report.bootstrap is not None or inputs.against is not None
    source = click.get_current_context().get_parameter_source
    typed = [name for name in options if source(name) is ParameterSource.COMMANDLINE]
    report.require_used(typed, inputs.has_list, is_resampled)  # recipes may be of several uses
    stands = output is not None and appears_whole(output) and output.exists() and not overwrite
    with progress("evaluate", quiet or not is_resampled) as show:
        evaluation = evaluate_files(inputs, config, output, overwrite, report, show)
    text = format_evaluation(evaluation, format_, per_class)
    write_stdout(harmless(text, format_ == "json"))
    say(
        f"nothing to do: {output} is finished and the same"
        if stands
        else f"{evaluation.n_clips} clips, {evaluation.n_classes} classes in "
        f"{time.monotonic() - started:.1f} s -> {f'stdout, {output}' if output else 'stdout'}",
        quiet,
    )
    check_limits(report.limits, evaluation.named_scores)


def report_settings(options: Mapping[str, Any]) -> ReportConfig:
    """Return what is computed and reported, of the options of `evaluate`."""
    metrics, psds = options["metrics"], options["psds"]
    return taken(
        ReportConfig,
        options,
        metrics=() if metrics is None else parse_metrics(metrics),
        intersection=taken(IntersectionConfig, options),
        psds=None if psds is None else parse_psds(psds),
        limits=tuple(map(Limit.parse, options["fail_under"])),
    )
