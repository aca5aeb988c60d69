"""`sedtool tune`: validation labels -> thresholds and median filter lengths in the model."""

from pathlib import Path
from shlex import join
from typing import Any

import click

from sedtool.cli import options as opt
from sedtool.cli.console import progress, say
from sedtool.cli.settings import SedtoolCommand, taken
from sedtool.config import TuneConfig, TuneInputs
from sedtool.plugins import loaded_files


@click.command(cls=SedtoolCommand)
@click.argument("model", type=opt.MODEL)
@opt.group(
    "Input",
    *opt.settings(TuneInputs, "features", "reference", "weak", "missing", "partial"),
    *opt.settings(TuneInputs, "min_confidence"),
)
@opt.group(
    "Decoding",
    *opt.settings(TuneInputs, "durations_from", "window"),
    *opt.settings(TuneConfig, "decoder", "collar", "offset_ratio"),
)
@opt.group("Execution", opt.device, opt.plugin)
def tune(model: Path, device: str, quiet: bool, **options: Any) -> None:
    """Fit a model's decoding to validation labels.

    `train` ends with this, on its own validation clips; here it is done again, on other labels or
    for other tolerances. What is fitted is written into MODEL, a model file or the folder of a run.
    Clip thresholds maximise clip F1, of the clips of --weak if it is given, else of those of
    --reference. With strong labels, frame thresholds (0.0025 to 0.982, at equal distances of
    logits) and median filter lengths (on a grid from 0 to 6 s) maximise event F1, that of a
    threshold and its neighbours together, and it is said, too, what each fifth of the clips scores
    with the settings that suit the others. Without them, frames take the clip thresholds, and
    median filter lengths come from --durations-from, or stay, but that those are shortened which
    erase what clips are known to have. Clips that the model was trained on are refused.

    \b
    Example: sedtool tune run/ --features val.h5 --reference validation.tsv
    """
    from sedtool.tuning import tune as tune_model

    inputs, config = taken(TuneInputs, options), taken(TuneConfig, options)
    with progress("tune", quiet) as report:
        result = tune_model(model, inputs, config, device=device, progress=report)
    words = [word for path in loaded_files() for word in ("--plugin", path)]
    following = join(map(str, ["sedtool", "infer", model, "INPUT", "-o", "events.tsv", *words]))
    say(f"{result} -> {model}; next: {following}", quiet)
