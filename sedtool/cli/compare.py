"""`sedtool compare`: scored runs -> the table of a paper, with statistics."""

import time
from pathlib import Path

import click

from sedtool.cli.console import harmless, progress, summary, write_stdout
from sedtool.cli.options import (
    EXISTING_FILE,
    INPUT,
    OUTPUT,
    common_options,
    group,
    overwrite_option,
)
from sedtool.cli.settings import BesideRecipe, SedtoolCommand
from sedtool.config.comparison import CompareConfig

_D = CompareConfig  # its fields are the defaults
_FORMATS = ("text", "md", "tsv", "latex")


@click.command(cls=SedtoolCommand)
@click.argument("runs", type=INPUT, nargs=-1, required=True)
@group(
    "Input",
    click.option(
        "--reference",
        type=EXISTING_FILE,
        help="Strong labels of the test clips; by default, those of the sweep.",
    ),
    click.option(
        "--weak-reference",
        type=EXISTING_FILE,
        help="Weak labels of the test clips, which clip F1 is scored by.",
    ),
    click.option(
        "--paper",
        type=BesideRecipe(),
        help="A TSV file of published numbers (pooling, event_f1, …); by default, that of the "
        "sweep.",
    ),
)
@group(
    "Output",
    click.option(
        "-o",
        "--output",
        type=OUTPUT,
        multiple=True,
        help="Write the table to this file (.txt, .md, .tsv or .tex) and not to stdout. May be "
        "given several times.",
    ),
    click.option(
        "--format",
        "format_",
        type=click.Choice(_FORMATS),
        help="The format of all outputs; by default, as the suffix says, and text on stdout.",
    ),
    overwrite_option,
)
@group(
    "Statistics",
    click.option(
        "--against",
        default=_D.against,
        metavar="POOLING",
        help="The pooling that others are compared with; by default, linear if it is there, else "
        "the first.",
    ),
    click.option(
        "--resamples",
        default=_D.resamples,
        help="How often clips and seeds are resampled for intervals and p-values.",
    ),
    click.option("--seed", default=_D.seed, help="The seed of the resamples."),
    click.option(
        "--confidence", default=_D.confidence, help="The confidence of intervals, 0 to 1."
    ),
)
@common_options
def compare(
    runs: tuple[Path, ...],
    output: tuple[Path, ...],
    format_: str | None,
    against: str | None,
    reference: Path | None,
    weak_reference: Path | None,
    paper: Path | None,
    resamples: int,
    seed: int,
    confidence: float,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Compare poolings by mean, gain and significance.

    RUNS are run folders, or folders of them as `sedtool sweep` makes. Their test clips are scored
    again from test/scores.h5; a paired bootstrap over clips and seeds tests each pooling against
    one of them, with Holm's correction for the number of tests.

    \b
    Example: sedtool compare esc10/runs --against linear -o table.md -o table.tex
    """
    from sedtool.comparison import check_outputs, compare_runs, format_comparison, write_tables

    config = CompareConfig(against, resamples, seed, confidence)
    given = [path for path in (reference, weak_reference, paper) if path is not None]
    check_outputs(output, format_, given)
    started = time.monotonic()
    with progress("compare", quiet) as report:
        comparison = compare_runs(
            runs,
            config,
            reference=reference,
            weak_reference=weak_reference,
            paper=paper,
            progress=report,
        )
    if output:
        write_tables(comparison, output, format_, overwrite)
    else:
        text = format_comparison(comparison, format_ or "text")
        write_stdout(harmless(text))
    summary(
        f"{sum(len(s.seeds) for s in comparison.systems)} runs of {len(comparison.systems)} "
        f"poolings in {time.monotonic() - started:.1f} s -> "
        f"{', '.join(map(str, output)) if output else 'stdout'}",
        quiet,
    )
