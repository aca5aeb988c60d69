"""`sedtool convert`: event lists of one format -> another, or to weak labels."""

from pathlib import Path

import click

from sedtool.cli.console import summary, write_stdout
from sedtool.cli.options import INPUT, common_options, overwrite_option
from sedtool.cli.settings import SedtoolCommand


@click.command(cls=SedtoolCommand)
@click.argument("inputs", nargs=-1, required=True, type=INPUT, metavar="INPUT...")
@click.option("-o", "--output", type=click.Path(), help="A file, or FOLDER/; stdout without.")
@click.option("--from", "source", help="dcase, audacity, raven, jsonl; default: as it looks.")
@click.option("--to", "target", help="One of these, or weak; default: as OUTPUT ends, or dcase.")
@click.option("--audio-suffix", metavar=".SUFFIX", help="Of a recording that a.txt is named after.")
@overwrite_option
@common_options
def convert(
    inputs: tuple[Path, ...],
    output: str | None,
    source: str | None,
    target: str | None,
    audio_suffix: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Convert event lists: DCASE tables, Audacity label tracks, Raven tables, JSON lines.

    Folders are searched for label files. Several inputs are joined; no recording may stand in two.
    A folder as OUTPUT takes a file for each recording.

    \b
    Example: sedtool convert events.tsv --to audacity -o labels/
    """
    from sedtool.conversion import ConvertSettings
    from sedtool.conversion import convert as convert_labels

    settings = ConvertSettings(source, target, audio_suffix or "", overwrite)
    result = convert_labels(inputs, output, settings, write_stdout)
    summary(
        f"{result.n_events} events in {result.n_recordings} recordings -> {output or 'stdout'}",
        quiet,
    )
