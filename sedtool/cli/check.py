"""`sedtool check`: audio and label files -> a report of faults."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sedtool.cli.console import progress, summary, write_stdout
from sedtool.cli.options import common_options, file_option, group, input_options
from sedtool.cli.settings import SedtoolCommand
from sedtool.config import CHECK_WORKERS
from sedtool.errors import InputsFailedError
from sedtool.text import plain

if TYPE_CHECKING:
    from sedtool.audio import AudioInputs


@click.command(cls=SedtoolCommand)
@group(
    "Input",
    input_options,
    file_option("--strong", "Strong labels. May be given several times.", multiple=True),
    file_option("--weak", "Weak labels. May be given several times.", multiple=True),
    file_option(
        "--unlabelled",
        "A list of clips without labels. May be given several times.",
        multiple=True,
    ),
    file_option("--classes", "The classes that may occur, one a line."),
)
@group("Output", click.option("--json", "as_json", is_flag=True, help="Write the report as JSON."))
@group(
    "Execution",
    click.option(
        "--decode", is_flag=True, help="Decode all audio; otherwise only headers are read."
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 256),
        default=CHECK_WORKERS,
        help="How many audio files are read at a time.",
    ),
)
@common_options
def check(
    inputs: "AudioInputs",
    strong: tuple[Path, ...],
    weak: tuple[Path, ...],
    unlabelled: tuple[Path, ...],
    classes: Path | None,
    decode: bool,
    workers: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find faults in audio and label files before training.

    Problems and notes are counted exactly, and the first five of each are named. The exit code is
    3 if there is a problem. A features file among the inputs stands for the audio it was made of.

    \b
    Example: sedtool check audio/ --weak train.tsv --strong validation.tsv --classes classes.txt
    """
    from sedtool.checking import CheckInputs
    from sedtool.checking import check as check_files

    given = CheckInputs(inputs, strong, weak, unlabelled, classes)
    with progress("check", quiet) as report_progress:
        report = check_files(given, decode=decode, workers=workers, progress=report_progress)
    lines = [report.json()] if as_json else [plain(line) for line in report.lines()]
    write_stdout("".join(f"{line}\n" for line in lines))
    if report.problems:
        raise InputsFailedError(report.verdict())
    summary(report.verdict(), quiet)
