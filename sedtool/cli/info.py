"""`sedtool info`: any artifact -> a description."""

import json
from pathlib import Path

import click

from sedtool.cli import options as opt
from sedtool.cli.console import progress, say, write_stdout
from sedtool.cli.settings import SedtoolCommand


@click.command(cls=SedtoolCommand)
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@opt.group(
    "Output",
    opt.flag(
        "--json", "as_json", help="Write one JSON object, or a list of them for several PATHs."
    ),
)
@opt.group(
    "Execution",
    opt.flag(
        "--verify", help="Read the files to their ends: check every digest, and decode audio."
    ),
    opt.plugin,
)
def info(paths: tuple[Path, ...], as_json: bool, verify: bool, quiet: bool) -> None:
    """Describe audio, labels, features, models and runs.

    PATH is audio, a list of labels, a features or scores file, a model, a run, a sweep or metrics.
    Features that are not complete are described as such. A damaged file ends the command with
    exit code 5.

    \b
    Example: sedtool info features.h5 run/ --verify
    """
    from sedtool.info import describe_all

    with progress("info", quiet) as report:
        described, problems = describe_all(paths, verify, report)
    if as_json:
        objects = [description.to_json() for description in described]
        for content in [objects] if len(paths) > 1 else objects:
            write_stdout(json.dumps(content, indent=2, allow_nan=False) + "\n")
    else:
        write_stdout("\n".join(description.text() for description in described))
    for problem in problems[:-1]:
        say(f"Error: {problem}")
    if problems:
        raise problems[-1]
