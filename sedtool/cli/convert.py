"""`sedtool convert`: label files of one format -> another, or to weak labels; scores to tables."""

from pathlib import Path
from typing import Any

import click

from sedtool.cli import options as opt
from sedtool.cli.console import say, write_stdout
from sedtool.cli.settings import SedtoolCommand, taken
from sedtool.config import EvaluateInputs


@click.command(cls=SedtoolCommand)
@click.argument("inputs", nargs=-1, required=True, type=opt.INPUT, metavar="INPUT...")
@opt.group(
    "Input",
    click.option(
        "--from",
        "source",
        help="The format of the inputs: dcase, audacity, raven, jsonl, jams, weak, birdnet, praat, "
        "track or audioset. By default, it is found from the files.",
    ),
    click.option(
        "--audio-suffix",
        metavar=".SUFFIX",
        help="The suffix that clips have whose names are without one, as that of a label track "
        "a.txt; names in a table have it in place of another one of audio.",
    ),
    click.option(
        "--names",
        type=opt.INPUT,
        help="A table of label ids and names, as class_labels_indices.csv of AudioSet.",
    ),
    *opt.settings(EvaluateInputs, "min_confidence"),
)
@opt.group(
    "Output",
    opt.output(
        "The file to write, or FOLDER/ for one file a clip; by default, stdout.", click.Path()
    ),
    click.option(
        "--to",
        "target",
        help="The format of the output: dcase, audacity, raven, jsonl, jams, weak or scores. By "
        "default, it is found from OUTPUT.",
    ),
    opt.overwrite,
)
def convert(inputs: tuple[Path, ...], output: str | None, quiet: bool, **options: Any) -> None:
    """Convert label files and scores between formats.

    Event lists are DCASE tables, Audacity label tracks, Raven tables, JSON lines and JAMS. Read,
    but not written, are results of BirdNET, tables that Praat makes of a TextGrid, and weak labels,
    such as those of AudioSet, ESC-50, FSD50K and UrbanSound8K. Folders are searched for label
    files. Several inputs are joined; no clip may be in two of them. If OUTPUT is a folder, each
    clip gets a file.

    A scores.h5 becomes a folder of score files for sed_scores_eval, a TSV for each clip, filtered
    with the median filter lengths that the file carries.

    \b
    Example: sedtool convert events.tsv --to audacity -o labels/
    \b
    And: sedtool convert scores.h5 -o scores/
    """
    from sedtool.convert import ConvertSettings
    from sedtool.convert import convert as convert_labels
    from sedtool.store import is_hdf5

    settings = taken(ConvertSettings, options, audio_suffix=options["audio_suffix"] or "")
    is_told = settings.source or settings.target
    if settings.target == "scores" or (not is_told and any(map(is_hdf5, inputs))):
        from sedtool.score_tables import convert_scores

        n_clips = convert_scores(inputs, output, settings.overwrite)
        say(f"scores of {n_clips} clips -> {output}", quiet)
        return
    result = convert_labels(inputs, output, settings, write_stdout)
    what = "labels of" if result.n_events is None else f"{result.n_events} events in"
    say(f"{what} {result.n_clips} clips -> {output or 'stdout'}", quiet)
