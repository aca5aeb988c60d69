"""`sedtool train`: features.h5 + labels -> run/model.safetensors."""

from pathlib import Path
from shlex import join, quote
from typing import Any

import click

from sedtool.cli.console import progress, say
from sedtool.cli.options import (
    OUTPUT_FOLDER,
    common_options,
    device_option,
    dry_run_option,
    flag_option,
    group,
    max_time_option,
    overwrite_option,
    settings_options,
)
from sedtool.cli.settings import SedtoolCommand, taken
from sedtool.cli.signals import stop_signals
from sedtool.config import MEAN_TEACHER, LookupConfig, TrainConfig, TrainInputs


@click.command(cls=SedtoolCommand)
@group(
    "Input",
    *settings_options(TrainInputs, "features", "weak", "strong", "unlabelled"),
    *settings_options(TrainInputs, "val_weak", "val_strong"),
    *settings_options(TrainConfig, "validation_fraction"),
    *settings_options(TrainInputs, "classes"),
    *settings_options(LookupConfig, "missing", "partial"),
)
@group(
    "Output",
    click.option(
        "-o", "--output", type=OUTPUT_FOLDER, required=True, help="The run folder to write."
    ),
    *settings_options(TrainConfig, "keep_epochs", "save_every"),
    flag_option(
        "--resume",
        help="Go on where the run in the folder stopped; without a run, begin one.",
    ),
    overwrite_option,
)
@group("Network", *settings_options(TrainConfig, "arch", "pooling"))
@group(
    "Training",
    *settings_options(
        TrainConfig,
        *("method", "epochs", "steps_per_epoch", "batch_size", "balance", "lr", "pooling_lr"),
        *("schedule", "plateau_patience", "time_shift", "shift_mode", "strong_clip_loss"),
        *("select_by", "patience", "seed"),
    ),
)
@group("Mean teacher", *settings_options(TrainConfig, *MEAN_TEACHER))
@group(
    "Execution",
    device_option,
    *settings_options(TrainConfig, "amp"),
    max_time_option,
    dry_run_option,
)
@common_options
def train(
    output: Path,
    device: str,
    resume: bool,
    overwrite: bool,
    dry_run: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a network from weak, strong or mixed labels.

    Ctrl-C, SIGTERM, SIGUSR1 and --max-time save the state and stop; --resume goes on from there,
    bit for bit.

    \b
    Example: sedtool train -o run --features features.h5 --weak train.tsv \\
                 --val-strong validation.tsv --arch small --pooling power
             sedtool train -o run --features features.h5 --method mean-teacher \\
                 --weak weak.tsv --unlabelled others.tsv --strong synthetic.tsv
    """
    inputs, config = taken(TrainInputs, options), taken(TrainConfig, options)
    how: dict[str, Any] = {"device": device, "resume": resume, "overwrite": overwrite}
    if dry_run:
        from sedtool.planning import plan_training

        for line in plan_training(output, inputs, config, **how).lines:
            say(line)
        return
    with stop_signals() as stop:  # also while torch is loaded
        from sedtool.training import train as train_model

        with progress("train", quiet) as report:
            result = train_model(output, inputs, config, **how, progress=report, stop=stop)
        say(f"{result}; next: {_next(result.model, inputs)}", quiet)


def _next(model: Path, inputs: TrainInputs) -> str:
    """Return the command that follows: fit thresholds where there are labels to fit them to."""
    labels = inputs.val_strong or inputs.val_weak
    if labels is None:
        return f"sedtool infer {quote(str(model))} INPUT -o events.tsv"
    features = [word for path in inputs.features for word in ("--features", path)]
    option = "--reference" if inputs.val_strong else "--weak"
    return join(map(str, ["sedtool", "tune", model, *features, option, labels]))
