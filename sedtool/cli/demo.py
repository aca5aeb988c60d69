"""`sedtool demo`: a small artificial data set, and every stage on it."""

from pathlib import Path
from typing import Any

import click

from sedtool.cli import options as opt
from sedtool.cli.console import progress, say, write_stdout
from sedtool.cli.settings import SedtoolCommand
from sedtool.config import TrainConfig
from sedtool.config.extraction import DEMO_WORKERS


@click.command(cls=SedtoolCommand)
@opt.group(
    "Output", opt.output("The folder to write.", opt.OUTPUT_FOLDER, required=True), opt.overwrite
)
@opt.group(
    "Execution",
    click.option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        default=TrainConfig.seed,
        help="The seed of the sounds and of training.",
    ),
    opt.workers(DEMO_WORKERS, "How many audio files are processed at a time."),
    opt.device,
)
def demo(output: Path, quiet: bool, **options: Any) -> None:
    """Make a small data set and run every stage on it.

    The stages are extract, train, tune, infer and evaluate; they take about ten minutes.

    \b
    Example: sedtool demo -o demo
    """
    from sedtool.demo import DemoFiles, run_demo
    from sedtool.evaluation.formats import format_evaluation

    evaluation = run_demo(output, lambda title: progress(title, quiet), **options)
    write_stdout(format_evaluation(evaluation, "table"))
    files = DemoFiles(output)
    say(f"pictures: {files.clip_picture} and {files.pooling_picture}", quiet)
