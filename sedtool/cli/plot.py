"""`sedtool plot`: figures of a clip and of what a pooling learned."""

from pathlib import Path

import click

from sedtool.cli.console import summary
from sedtool.cli.options import EXISTING_FILE, OUTPUT, common_options, overwrite_option
from sedtool.cli.settings import SedtoolCommand


@click.group()
def plot() -> None:
    """Draw figures, as PNG, SVG or PDF by the suffix of the output."""


@plot.command(cls=SedtoolCommand)
@click.argument("features", type=EXISTING_FILE)
@click.argument("scores", type=EXISTING_FILE)
@click.argument("name")
@click.option("-o", "--output", type=OUTPUT, required=True, help="The picture to write.")
@click.option("--reference", type=EXISTING_FILE, help="Strong labels.")
@overwrite_option
@common_options
def clip(
    features: Path,
    scores: Path,
    name: str,
    output: Path,
    reference: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Draw clip NAME: spectrogram, frame probabilities, reference and detected events.

    \b
    Example: sedtool plot clip test.h5 scores.h5 clip.wav -o clip.png --reference test.tsv
    """
    from sedtool.plots import plot_clip

    plot_clip(features, scores, name, output, reference=reference, overwrite=overwrite)
    summary(f"clip {name} -> {output}", quiet)


@plot.command(cls=SedtoolCommand)
@click.argument("models", nargs=-1, required=True, type=EXISTING_FILE, metavar="MODEL...")
@click.option("-o", "--output", type=OUTPUT, required=True, help="The picture to write.")
@click.option("--durations-from", type=EXISTING_FILE, help="Strong labels: orders the classes.")
@overwrite_option
@common_options
def pooling(
    models: tuple[Path, ...],
    output: Path,
    durations_from: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Draw the exponent, or sharpness, that each model's pooling learned for each class.

    \b
    Example: sedtool plot pooling run/model.safetensors -o n.png --durations-from validation.tsv
    """
    from sedtool.plots import plot_pooling

    plot_pooling(models, output, durations_from=durations_from, overwrite=overwrite)
    summary(f"{len(models)} models -> {output}", quiet)
