"""`sedtool train`: features.h5 + labels -> run/model.safetensors."""

from pathlib import Path
from shlex import join, quote
from typing import TYPE_CHECKING, Any

import click

from sedtool.cli.console import progress, summary
from sedtool.cli.options import (
    DEVICES,
    EXISTING_FILE,
    INTEGERS,
    OUTPUT_FOLDER,
    common_options,
    dry_run_option,
    max_time_option,
    missing_option,
    names,
    overwrite_option,
)
from sedtool.cli.settings import SedtoolCommand
from sedtool.cli.signals import stop_signals
from sedtool.config import ARCHITECTURES, METHODS, POOLING_NAMES, TrainConfig

if TYPE_CHECKING:
    from sedtool.training import TrainInputs

_D = TrainConfig  # its fields are the defaults


@click.command(cls=SedtoolCommand)
@click.option("-o", "--output", type=OUTPUT_FOLDER, required=True, help="The run folder.")
@click.option("--features", type=EXISTING_FILE, multiple=True, required=True, help="Repeatable.")
@click.option("--weak", type=EXISTING_FILE, help="Weak labels to train from.")
@click.option("--strong", type=EXISTING_FILE, help="Strong labels to train from.")
@click.option("--unlabelled", type=EXISTING_FILE, help="A list of clips without labels.")
@click.option("--val-weak", type=EXISTING_FILE, help="Weak labels to validate on: clip scores.")
@click.option("--val-strong", type=EXISTING_FILE, help="Strong ones: event scores.")
@click.option(
    "--classes", type=EXISTING_FILE, help="Class list, one a line; needed if names have commas."
)
@missing_option
@click.option("--partial", is_flag=True, help="Take parts of features of which others lack.")
@click.option(
    "--method",
    default=_D.method,
    help="Learn from weak labels, from strong ones, or from both and unlabelled clips: "
    f"{', '.join(METHODS)}.",
    shell_complete=names(*METHODS),
)
@click.option(
    "--pooling",
    default=_D.pooling,
    help=f"NAME[:key=value,...], e.g. power:init=1,lambda=1e-4; {', '.join(POOLING_NAMES)}.",
    shell_complete=names(*POOLING_NAMES),
)
@click.option(
    "--arch",
    default=_D.arch,
    help=f"Network, NAME[:key=value,...]: {', '.join(ARCHITECTURES)}; e.g. small:gru-units=32.",
    shell_complete=names(*ARCHITECTURES),
)
@click.option("--epochs", type=int, default=_D.epochs, help="Each ends with a validation.")
@click.option(
    "--steps-per-epoch",
    type=int,
    default=_D.steps_per_epoch,
    help="0: one pass over the clips, of a mean teacher over the unlabelled ones.",
)
@click.option(
    "--batch-size",
    type=INTEGERS,
    default=_D.batch_size,
    show_default="32; mean-teacher: 6,12,6",
    metavar="N|N,N,N",
    help="Clips; of a mean teacher weak, unlabelled and strong ones.",
)
@click.option(
    "--balance",
    default=_D.balance,
    help="Labelled clips of all classes equally often: classes; or none.",
    shell_complete=names("classes", "none"),
)
@click.option("--lr", type=float, default=_D.lr, help="Learning rate of Adam.")
@click.option(
    "--pooling-lr", type=float, default=_D.pooling_lr, help="Of the pooling itself; 0: as --lr."
)
@click.option(
    "--schedule",
    default=_D.schedule,
    help="plateau: halve the rate when it stalls; or constant.",
    shell_complete=names("plateau", "constant"),
)
@click.option(
    "--plateau-patience", type=int, default=_D.plateau_patience, help="Epochs before halving."
)
@click.option(
    "--time-shift", type=float, default=_D.time_shift, help="Deviation of random shifts, frames."
)
@click.option(
    "--shift-mode",
    default=_D.shift_mode,
    help="What is shifted out: roll: enters at the other end; pad: is lost.",
    shell_complete=names("roll", "pad"),
)
@click.option(
    "--strong-clip-loss/--no-strong-clip-loss",
    default=_D.strong_clip_loss,
    help="Strong clips have a clip loss, too.",
)
@click.option(
    "--consistency", type=float, default=_D.consistency, help="Mean teacher: weight at the end."
)
@click.option(
    "--ramp-up", type=int, default=_D.ramp_up, help="Mean teacher: steps to it; 0: half of all."
)
@click.option("--ema", type=float, default=_D.ema, help="Mean teacher: its share in each average.")
@click.option(
    "--ema-buffers/--no-ema-buffers",
    default=_D.ema_buffers,
    help="Mean teacher: average batch-norm statistics, too.",
)
@click.option(
    "--noise",
    type=float,
    default=_D.noise,
    help="Mean teacher: deviation on its input, in units of --noise-domain.",
)
@click.option(
    "--noise-domain",
    default=_D.noise_domain,
    help="normalised: deviations of each mel band; linear: mel values themselves.",
    shell_complete=names("normalised", "linear"),
)
@click.option(
    "--final",
    default=_D.final,
    help="Mean teacher: model.safetensors is the student or the teacher.",
    shell_complete=names("student", "teacher"),
)
@click.option("--seed", type=int, default=_D.seed, help="Of all that is drawn at random.")
@click.option(
    "--device",
    default="auto",
    help="auto, cpu, cuda, cuda:1, mps.",
    shell_complete=names(*DEVICES),
)
@click.option(
    "--amp",
    default=_D.amp,
    help="Mixed precision: off, bf16, fp16.",
    shell_complete=names("off", "bf16", "fp16"),
)
@click.option(
    "--select-by",
    default=_D.select_by,
    help="Best epoch by: clip_f1, loss, event_f1, clip_f1+event_f1.",
    shell_complete=names("clip_f1", "loss", "event_f1", "clip_f1+event_f1"),
)
@click.option("--patience", type=int, default=_D.patience, help="Epochs to early stop; 0: never.")
@click.option(
    "--validation-fraction",
    type=float,
    default=_D.validation_fraction,
    help="Of the training clips, where no validation labels are given.",
)
@click.option(
    "--keep-epochs",
    type=INTEGERS,
    default=_D.keep_epochs,
    metavar="N,N,...",
    help="Keep the models of these epochs: RUN/epochs/040.safetensors.",
)
@click.option("--save-every", type=float, default=_D.save_every, help="Minutes, inside an epoch.")
@click.option("--resume", is_flag=True, help="Go on from the run folder's last.pt, if any.")
@dry_run_option
@max_time_option
@overwrite_option
@common_options
def train(
    output: Path,
    features: tuple[Path, ...],
    weak: Path | None,
    strong: Path | None,
    unlabelled: Path | None,
    val_weak: Path | None,
    val_strong: Path | None,
    classes: Path | None,
    missing: str,
    partial: bool,
    device: str,
    resume: bool,
    overwrite: bool,
    dry_run: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Train a network: from weak labels, from strong ones, or as a mean teacher from all there is.

    Ctrl-C, SIGTERM, SIGUSR1 and --max-time save and stop; --resume goes on, bit for bit.

    \b
    Example: sedtool train -o run --features features.h5 --weak train.tsv \\
                 --val-strong validation.tsv --arch small --pooling power
             sedtool train -o run --features features.h5 --method mean-teacher \\
                 --weak weak.tsv --unlabelled others.tsv --strong synthetic.tsv
    """
    config = TrainConfig(**settings)
    training = (features, weak, strong, unlabelled)
    files = (*training, val_weak, val_strong, classes, missing, partial)
    how: dict[str, Any] = {"device": device, "resume": resume, "overwrite": overwrite}
    if dry_run:
        from sedtool.planning import plan_training
        from sedtool.training import TrainInputs

        for line in plan_training(output, TrainInputs(*files), config, **how).lines():
            summary(line, quiet=False)
        return
    with stop_signals() as stop:  # also while torch is loaded
        from sedtool.training import TrainInputs
        from sedtool.training import train as train_model

        inputs = TrainInputs(*files)
        with progress("train", quiet) as report:
            result = train_model(
                output,
                inputs,
                config,
                **how,
                progress=lambda at: report(at.done, at.total, str(at)),
                stop=stop,
            )
        summary(f"{result}; next: {_next(result.model, inputs)}", quiet)


def _next(model: Path, inputs: "TrainInputs") -> str:
    """Return the command that follows: fit thresholds where there are labels to fit them to."""
    labels = inputs.val_strong or inputs.val_weak
    if labels is None:
        return f"sedtool infer {quote(str(model))} INPUT -o events.tsv"
    features = [word for path in inputs.features for word in ("--features", path)]
    option = "--reference" if inputs.val_strong else "--weak"
    return join(map(str, ["sedtool", "tune", model, *features, option, labels]))
