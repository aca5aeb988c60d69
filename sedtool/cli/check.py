"""`sedtool check`: audio and label files -> a report of faults."""

from typing import Any

import click

from sedtool.cli import options as opt
from sedtool.cli.console import progress, say, write_stdout
from sedtool.cli.settings import SedtoolCommand, taken
from sedtool.config.extraction import CHECK_WORKERS
from sedtool.errors import InputsFailedError
from sedtool.text import bounded, plain


@click.command(cls=SedtoolCommand)
@opt.group(
    "Input",
    *opt.inputs,
    opt.file("--strong", help="Strong labels. May be given several times.", multiple=True),
    opt.file("--weak", help="Weak labels. May be given several times.", multiple=True),
    opt.file(
        "--unlabelled",
        help="A list of clips without labels. May be given several times.",
        multiple=True,
    ),
    opt.file("--classes", help="The classes that may occur, one a line."),
)
@opt.group("Output", opt.flag("--json", "as_json", help="Write the report as JSON."))
@opt.group(
    "Execution",
    opt.flag("--decode", help="Decode all audio; otherwise only headers are read."),
    opt.workers(CHECK_WORKERS, "How many audio files are read at a time."),
)
def check(decode: bool, workers: int, as_json: bool, quiet: bool, **options: Any) -> None:
    """Find faults in audio and label files before training.

    Problems and notes are counted exactly, and the first five of each are named. The exit code is
    3 if there is a problem. A features file among the inputs stands for the audio it was made of.

    \b
    Example: sedtool check audio/ --weak train.tsv --strong validation.tsv --classes classes.txt
    """
    from sedtool.checking import CheckInputs
    from sedtool.checking import check as check_files

    inputs = taken(CheckInputs, options, audio=opt.audio_inputs(options))
    with progress("check", quiet) as report_progress:
        report = check_files(inputs, decode=decode, workers=workers, progress=report_progress)
    lines = [report.json()] if as_json else [bounded(plain(line)) for line in report.lines()]
    write_stdout("".join(f"{line}\n" for line in lines))
    if report.problems:
        raise InputsFailedError(report.verdict())
    say(report.verdict(), quiet)
