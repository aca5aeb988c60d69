"""`sedtool evaluate`: reference and estimated events -> metrics."""

import time
from pathlib import Path
from typing import Any

import click

from sedtool.cli.console import plain, summary, write_stdout
from sedtool.cli.options import (
    EXISTING_FILE,
    INPUT,
    OUTPUT,
    common_options,
    names,
    overwrite_option,
)
from sedtool.cli.settings import SedtoolCommand
from sedtool.config import EvaluationConfig


@click.command(cls=SedtoolCommand)
@click.argument("reference", type=EXISTING_FILE)
@click.argument("estimated", type=EXISTING_FILE)
@click.option("-o", "--output", type=OUTPUT, help="Write the metrics as JSON, too.")
@click.option("--collar", default=EvaluationConfig.collar, help="Tolerance, seconds.")
@click.option("--offset-ratio", default=EvaluationConfig.offset_ratio, help="Of event length.")
@click.option("--segment", default=EvaluationConfig.segment, help="Segment length, seconds.")
@click.option("--classes", type=EXISTING_FILE, help="Score these classes, one a line.")
@click.option("--durations", type=INPUT, help="TSV (filename, duration), or a folder of audio.")
@click.option("--weak-reference", type=EXISTING_FILE, help="Weak labels for clip F1.")
@click.option("--weak-estimated", type=EXISTING_FILE, help="Clip predictions for clip F1.")
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
    classes: Path | None,
    durations: Path | None,
    weak_reference: Path | None,
    weak_estimated: Path | None,
    partial: bool,
    overwrite: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Score estimated events against the reference: event, segment and clip F1.

    ESTIMATED is an event list, or a scores.h5, which is decoded with the settings it carries.

    \b
    Example: sedtool evaluate reference.tsv events.tsv -o metrics.json
    """
    from sedtool.evaluation.stage import EvaluateInputs, evaluate_files

    inputs = EvaluateInputs(
        reference, estimated, classes, durations, weak_reference, weak_estimated, partial
    )
    started = time.monotonic()
    evaluation = evaluate_files(inputs, EvaluationConfig(**settings), output, overwrite)
    write_stdout("".join(plain(line) + "\n" for line in evaluation.table().splitlines()))
    summary(
        f"{evaluation.n_clips} clips, {len(evaluation.event.classes)} classes in "
        f"{time.monotonic() - started:.1f} s -> {f'stdout, {output}' if output else 'stdout'}",
        quiet,
    )
