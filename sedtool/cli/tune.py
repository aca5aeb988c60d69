"""`sedtool tune`: validation labels -> thresholds and windows, written into the model."""

from pathlib import Path
from shlex import quote

import click

from sedtool.cli.console import progress, summary
from sedtool.cli.options import (
    DEVICES,
    EXISTING_FILE,
    MODEL,
    common_options,
    missing_option,
    names,
)
from sedtool.cli.settings import SedtoolCommand
from sedtool.config import TuneConfig


@click.command(cls=SedtoolCommand)
@click.argument("model", type=MODEL)
@click.option("--features", type=EXISTING_FILE, multiple=True, required=True, help="Repeatable.")
@click.option("--reference", type=EXISTING_FILE, help="Strong labels of validation clips.")
@click.option("--weak", type=EXISTING_FILE, help="Weak labels of validation clips.")
@click.option(
    "--durations-from",
    type=EXISTING_FILE,
    help="Strong labels whose mean event durations set the windows: a third of each.",
)
@click.option("--window", type=float, help="Median window of every class, seconds.")
@missing_option
@click.option("--partial", is_flag=True, help="Take parts of features of which others lack.")
@click.option(
    "--device",
    default="auto",
    help="auto, cpu, cuda, cuda:1, mps.",
    shell_complete=names(*DEVICES),
)
@common_options
def tune(
    model: Path,
    features: tuple[Path, ...],
    reference: Path | None,
    weak: Path | None,
    durations_from: Path | None,
    window: float | None,
    missing: str,
    partial: bool,
    device: str,
    quiet: bool,
) -> None:
    """Fit decoding to validation labels and write it into MODEL, a file or the folder of a run.

    Clip thresholds maximise clip F1, of the clips of --weak if it is given, else of those of
    --reference. With strong labels, frame thresholds (0.05 to 0.95 in steps of 0.05) and median
    windows (on a grid from 0 to 3 s) maximise event F1; without, frames take the clip thresholds,
    and windows come from --durations-from, else they are 0.3 s. Clips the model was trained on are
    refused.

    \b
    Example: sedtool tune run/ --features val.h5 --reference validation.tsv
    """
    from sedtool.tuning import TuneInputs
    from sedtool.tuning import tune as tune_model

    inputs = TuneInputs(features, reference, weak, durations_from, window, missing, partial)
    with progress("tune", quiet) as report:
        result = tune_model(model, inputs, TuneConfig(), device=device, progress=report)
    following = f"sedtool infer {quote(str(model))} INPUT -o events.tsv"
    summary(f"{result} -> {model}; next: {following}", quiet)
