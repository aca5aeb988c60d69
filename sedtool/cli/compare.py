"""`sedtool compare`: scored runs -> the table of a paper, with statistics."""

import time
from pathlib import Path
from typing import Any

import click

from sedtool.cli import options as opt
from sedtool.cli.console import harmless, progress, say, write_stdout
from sedtool.cli.settings import SedtoolCommand, taken
from sedtool.config.evaluation import CompareConfig

_FORMATS = ("text", "md", "tsv", "latex")


@click.command(cls=SedtoolCommand)
@click.argument("runs", type=opt.INPUT, nargs=-1, required=True)
@opt.group(
    "Input",
    opt.file(
        "--reference", help="Strong labels of the test clips; by default, those of the sweep."
    ),
    opt.file("--weak-reference", help="Weak labels of the test clips, which clip F1 is scored by."),
    click.option(
        "--paper",
        type=opt.BESIDE_RECIPE,
        help="A TSV file of published numbers (pooling, event_f1, …); by default, that of the "
        "sweep.",
    ),
)
@opt.group(
    "Output",
    opt.output(
        "Write the table to this file (.txt, .md, .tsv or .tex) and not to stdout. May be given "
        "several times.",
        multiple=True,
    ),
    click.option(
        "--format",
        "format_",
        type=click.Choice(_FORMATS),
        help="The format of all outputs; by default, as the suffix says, and text on stdout.",
    ),
    opt.overwrite,
)
@opt.group("Statistics", *opt.settings(CompareConfig, "against", "resamples", "seed", "confidence"))
def compare(
    output: tuple[Path, ...], format_: str | None, overwrite: bool, quiet: bool, **options: Any
) -> None:
    """Compare poolings and settings by mean, gain and significance.

    RUNS are run folders, or folders of them as `sedtool sweep` makes; a row is named by what tells
    its runs from others. Their test clips are scored again from test/scores.h5; a paired bootstrap
    over clips and seeds tests each row against one of them, with Holm's correction for the number
    of tests.

    \b
    Example: sedtool compare esc10/runs --against linear -o table.md -o table.tex
    """
    from sedtool.comparison import check_outputs, compare_runs, format_comparison, write_tables

    config = taken(CompareConfig, options)
    files = {name: options[name] for name in ("reference", "weak_reference", "paper")}
    check_outputs(output, format_, [path for path in files.values() if path is not None])
    started = time.monotonic()
    with progress("compare", quiet) as report:
        comparison = compare_runs(options["runs"], config, **files, progress=report)
    if output:
        write_tables(comparison, output, format_, overwrite)
    else:
        text = format_comparison(comparison, format_ or "text")
        write_stdout(harmless(text))
    say(
        f"{sum(len(s.seeds) for s in comparison.systems)} runs, {len(comparison.systems)} rows in "
        f"{time.monotonic() - started:.1f} s -> "
        f"{', '.join(map(str, output)) if output else 'stdout'}",
        quiet,
    )
