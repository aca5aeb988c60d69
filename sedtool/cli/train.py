"""`sedtool train`: features.h5 + labels -> run/model.safetensors."""

from pathlib import Path
from typing import Any

import click

from sedtool.cli.console import progress, summary
from sedtool.cli.options import (
    EXISTING_FILE,
    OUTPUT,
    common_options,
    overwrite_option,
    stop_signals,
)
from sedtool.config import ARCHITECTURES, TrainConfig

_D = TrainConfig  # its fields are the defaults


@click.command()
@click.option("-o", "--output", type=OUTPUT, required=True, help="The run folder.")
@click.option("--features", type=EXISTING_FILE, multiple=True, required=True, help="Repeatable.")
@click.option("--weak", type=EXISTING_FILE, required=True, help="Weak labels to train from.")
@click.option("--val-weak", type=EXISTING_FILE, help="Weak labels to validate on.")
@click.option("--val-strong", type=EXISTING_FILE, help="Strong labels to validate on.")
@click.option(
    "--classes", type=EXISTING_FILE, help="Class list, one a line; needed if names have commas."
)
@click.option("--missing", default="error", help="Labelled clips without features: error or skip.")
@click.option("--method", default=_D.method, help="weak.")
@click.option(
    "--pooling",
    default=_D.pooling,
    help="NAME[:key=value,...], e.g. power:init=1,lambda=1e-4; max, average, linear, exponential, "
    "attention, auto, cap, rap, power.",
)
@click.option("--arch", default=_D.arch, help=f"Network: {', '.join(ARCHITECTURES)}.")
@click.option("--epochs", type=int, default=_D.epochs)
@click.option(
    "--steps-per-epoch", type=int, default=_D.steps_per_epoch, help="0: ceil(clips / batch size)."
)
@click.option("--batch-size", type=int, default=_D.batch_size, help="Clips.")
@click.option("--balance", default=_D.balance, help="classes: each equally often; or none.")
@click.option("--lr", type=float, default=_D.lr, help="Learning rate of Adam.")
@click.option(
    "--pooling-lr", type=float, default=_D.pooling_lr, help="Of the pooling itself; 0: as --lr."
)
@click.option(
    "--schedule", default=_D.schedule, help="plateau: halve the rate when it stalls; or constant."
)
@click.option(
    "--plateau-patience", type=int, default=_D.plateau_patience, help="Epochs before halving."
)
@click.option(
    "--time-shift", type=float, default=_D.time_shift, help="Deviation of random shifts, frames."
)
@click.option("--seed", type=int, default=_D.seed)
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.")
@click.option("--amp", default=_D.amp, help="Mixed precision: off, bf16, fp16.")
@click.option("--select-by", default=_D.select_by, help="Best epoch by: clip_f1, loss, event_f1.")
@click.option("--patience", type=int, default=_D.patience, help="Epochs to early stop; 0: never.")
@click.option(
    "--validation-fraction",
    type=float,
    default=_D.validation_fraction,
    help="Of the training clips, where no validation labels are given.",
)
@click.option("--save-every", type=float, default=_D.save_every, help="Minutes, inside an epoch.")
@click.option("--resume", is_flag=True, help="Go on from the run folder's last.pt, if any.")
@overwrite_option
@common_options
def train(
    output: Path,
    features: tuple[Path, ...],
    weak: Path,
    val_weak: Path | None,
    val_strong: Path | None,
    classes: Path | None,
    missing: str,
    device: str,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Train a network from weak labels.

    Ctrl-C, SIGTERM and SIGUSR1 save and stop; --resume goes on, bit for bit.

    \b
    Example: sedtool train -o run --features features.h5 --weak train.tsv \\
                 --val-strong validation.tsv --arch small --pooling power
    """
    config = TrainConfig(**settings)
    from sedtool.training import TrainInputs
    from sedtool.training import train as train_model

    inputs = TrainInputs(features, weak, val_weak, val_strong, classes, missing)
    with progress("train", quiet) as report, stop_signals() as stop:
        result = train_model(
            output,
            inputs,
            config,
            device=device,
            resume=resume,
            overwrite=overwrite,
            progress=lambda at: report(at.done, at.total, str(at)),
            stop=stop,
        )
    early = ", stopped early" if result.stopped_early else ""
    summary(
        f"{result.epochs} epochs{early}; best {config.select_by} {result.best_score:.3f} in epoch "
        f"{result.best_epoch} -> {result.model}",
        quiet,
    )
