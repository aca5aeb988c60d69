"""`sedtool plot`: figures of clips, models and trainings."""

from pathlib import Path
from typing import Any

import click

from sedtool.cli import options as opt
from sedtool.cli.console import say
from sedtool.cli.settings import SedtoolCommand
from sedtool.config import POOLING_NAMES
from sedtool.config.evaluation import CorrelationConfig
from sedtool.text import counted

_output_options = opt.group(
    "Output", opt.output("The picture to write.", required=True), opt.overwrite
)
_plugin_option = opt.group("Execution", opt.plugin)
_reference_option = opt.file("--reference", help="Strong labels, whose events are drawn, too.")


class _ClipCommand(SedtoolCommand):
    """A command that takes the name of a clip, which may look like an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.possibilities:  # an option that is misspelt
                raise
            raise click.UsageError(
                f"{error.format_message()} A clip whose name begins with - is named last, after --",
                ctx,
            ) from None


@click.group()
def plot() -> None:
    """Draw figures of clips, poolings and runs.

    The suffix of the output says whether it is a PNG, SVG or PDF file.
    """


@plot.command(cls=_ClipCommand)
@click.argument("features", type=opt.EXISTING_FILE)
@click.argument("scores", type=opt.EXISTING_FILE)
@click.argument("name")
@opt.group(
    "Input",
    _reference_option,
    click.option(
        "--from",
        "start",
        type=float,
        help="The second of the clip from which on it is drawn, and not from its beginning.",
    ),
    click.option("--to", "end", type=float, help="The second up to which."),
)
@_output_options
def clip(name: str, output: Path, quiet: bool, **options: Any) -> None:
    """Draw the spectrogram, scores and events of a clip.

    NAME is that of the clip. Its events are the detected ones, and those of --reference.

    \b
    Example: sedtool plot clip test.h5 scores.h5 clip.wav -o clip.png --reference test.tsv
    """
    from sedtool.plots import plot_clip

    plot_clip(name=name, output=output, **options)
    say(f"clip {name} -> {output}", quiet)


@plot.command(cls=_ClipCommand)
@click.argument("features", type=opt.EXISTING_FILE)
@click.argument("name")
@opt.group(
    "Input",
    click.option("--class", "label", required=True, help="The class to draw."),
    click.option(
        "--model",
        "models",
        type=opt.EXISTING_PATH,
        multiple=True,
        required=True,
        help="A model file, or the folder of a run. May be given several times.",
    ),
    _reference_option,
)
@_output_options
@_plugin_option
def frames(quiet: bool, **options: Any) -> None:
    """Draw which frames of a clip poolings push up or down.

    NAME is that of the clip. The figure has the frame probabilities of one class, its clip
    probability y_c, and the probability above which frames are pushed up: y_c n / (n + 1) with
    power pooling, y_c / 2 with linear pooling.

    \b
    Example: sedtool plot frames test.h5 clip.wav --class Dog --model linear/epochs/040.safetensors
             --model power/epochs/040.safetensors --reference test.tsv -o frames.png
    """
    from sedtool.plots import plot_frames

    for line in plot_frames(**options):
        say(line, quiet)


@plot.command(cls=SedtoolCommand)
@click.argument("models", nargs=-1, required=True, type=opt.EXISTING_PATH, metavar="MODEL...")
@opt.group(
    "Input",
    opt.file(
        "--durations-from",
        help="Strong labels: classes are drawn in the order of their mean event durations.",
    ),
)
@_output_options
@_plugin_option
def pooling(models: tuple[Path, ...], output: Path, quiet: bool, **options: Any) -> None:
    """Draw what each model's pooling learned for each class.

    That is an exponent, or a sharpness. A MODEL is a file, or the folder of a run.

    \b
    Example: sedtool plot pooling run/model.safetensors -o n.png --durations-from validation.tsv
    """
    from sedtool.plots import plot_pooling

    plot_pooling(models, output, **options)
    say(f"{counted(len(models), 'model')} -> {output}", quiet)


@plot.command(cls=SedtoolCommand)
@opt.group(
    "Input",
    click.option(
        "--data",
        multiple=True,
        required=True,
        metavar="NAME=MODELS:STRONG",
        help="A data set: its name, a model or a folder of runs, and its strong labels. May be "
        "given several times.",
    ),
    click.option(
        "--boundary",
        "boundaries",
        multiple=True,
        metavar="NAME=SECONDS",
        help="The mean duration up to which a class of a data set has short events; by default, "
        "the median of its classes. May be given several times.",
    ),
)
@_output_options
@opt.group("Statistics", *opt.settings(CorrelationConfig, "resamples", "level", "seed"))
@_plugin_option
def durations(quiet: bool, resamples: int, level: float, seed: int, **options: Any) -> None:
    """Draw what poolings learned against event durations.

    \b
    Example: sedtool plot durations -o n.png --data 2017=runs17/power:dev17.tsv
             --data 2019=runs19/power:synthetic.tsv --boundary 2019=1.5
    """
    from sedtool.plots import plot_durations

    correlation = CorrelationConfig(resamples, level, seed)
    for line in plot_durations(**options, correlation=correlation):
        say(line, quiet)


@plot.command(cls=SedtoolCommand)
@opt.group(
    "Input",
    click.option(
        "--pooling",
        "poolings",
        multiple=True,
        metavar="NAME[:key=value,...]",
        shell_complete=opt.names(*POOLING_NAMES),
        help="A pooling to draw; by default, all. May be given several times.",
    ),
    opt.file(
        "--scores",
        help="A scores file with the frame scores to draw; by default, those of a made-up clip.",
    ),
    click.option("--clip", help="The clip of the scores file to draw."),
    click.option("--class", "label", help="The class of the scores file to draw."),
    _reference_option,
)
@_output_options
@_plugin_option
def gradients(output: Path, quiet: bool, **options: Any) -> None:
    """Draw how far each frame moves the clip probability.

    \b
    Example: sedtool plot gradients -o gradients.svg --pooling linear --pooling power:init=0.337
    """
    from sedtool.plots import plot_gradients

    plot_gradients(output, **options)
    say(f"gradients -> {output}", quiet)


@plot.command(cls=SedtoolCommand)
@click.argument("runs", nargs=-1, required=True, type=opt.INPUT, metavar="RUN...")
@_output_options
def curves(runs: tuple[Path, ...], output: Path, overwrite: bool, quiet: bool) -> None:
    """Draw losses, scores and pooling parameters by epoch.

    A RUN is a run folder, or its metrics.tsv; training may still go on. Runs that differ in the
    seed alone are one curve: their mean as far as all have come, and a band from the lowest to the
    highest.

    \b
    Example: sedtool plot curves runs/linear/seed-* runs/power/seed-* -o curves.png
    """
    from sedtool.plots import plot_curves

    plot_curves(runs, output, overwrite=overwrite)
    say(f"{counted(len(runs), 'run')} -> {output}", quiet)
