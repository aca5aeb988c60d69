"""`sedtool convert`: event lists of one format -> another, or to weak labels; scores to tables."""

from pathlib import Path

import click

from sedtool.cli.console import summary, write_stdout
from sedtool.cli.options import INPUT, common_options, overwrite_option
from sedtool.cli.settings import SedtoolCommand


@click.command(cls=SedtoolCommand)
@click.argument("inputs", nargs=-1, required=True, type=INPUT, metavar="INPUT...")
@click.option("-o", "--output", type=click.Path(), help="A file, or FOLDER/; stdout without.")
@click.option("--from", "source", help="dcase, audacity, raven, jsonl; default: as it looks.")
@click.option("--to", "target", help="One of these, weak, or scores; default: as it looks.")
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

    A scores.h5 becomes a folder of score files as sed_scores_eval has them, a TSV a clip, filtered
    with the median windows that the file carries.

    \b
    Example: sedtool convert events.tsv --to audacity -o labels/
    \b
    And: sedtool convert scores.h5 -o scores/
    """
    from sedtool.convert import ConvertSettings
    from sedtool.convert import convert as convert_labels
    from sedtool.store import is_hdf5

    settings = ConvertSettings(source, target, audio_suffix or "", overwrite)
    if target == "scores" or (not (source or target) and any(map(is_hdf5, inputs))):
        from sedtool.score_tables import convert_scores

        n_clips = convert_scores(inputs, output, overwrite)
        summary(f"scores of {n_clips} clips -> {output}", quiet)
        return
    result = convert_labels(inputs, output, settings, write_stdout)
    summary(
        f"{result.n_events} events in {result.n_recordings} recordings -> {output or 'stdout'}",
        quiet,
    )
