"""`sedtool train`: features.h5 + labels -> run/model.safetensors."""

from pathlib import Path
from shlex import join, quote
from typing import TYPE_CHECKING, Any

import click

from sedtool.cli.console import progress, summary
from sedtool.cli.options import (
    EXISTING_FILE,
    INTEGERS,
    OUTPUT_FOLDER,
    common_options,
    device_option,
    dry_run_option,
    group,
    max_time_option,
    missing_option,
    names,
    overwrite_option,
    partial_option,
)
from sedtool.cli.settings import SedtoolCommand, taken
from sedtool.cli.signals import stop_signals
from sedtool.config import ARCHITECTURES, METHODS, POOLING_NAMES, TrainConfig

if TYPE_CHECKING:
    from sedtool.training import TrainInputs

_D = TrainConfig  # its fields are the defaults


@click.command(cls=SedtoolCommand)
@group(
    "Input",
    click.option(
        "--features",
        type=EXISTING_FILE,
        multiple=True,
        required=True,
        help="A features file of the clips. Given several times, a clip is looked up in all.",
    ),
    click.option("--weak", type=EXISTING_FILE, help="Weak labels to train on."),
    click.option("--strong", type=EXISTING_FILE, help="Strong labels to train on."),
    click.option(
        "--unlabelled", type=EXISTING_FILE, help="A list of clips without labels to train on."
    ),
    click.option(
        "--val-weak", type=EXISTING_FILE, help="Weak labels to validate on, by clip scores."
    ),
    click.option(
        "--val-strong", type=EXISTING_FILE, help="Strong labels to validate on, by event scores."
    ),
    click.option(
        "--validation-fraction",
        type=float,
        default=_D.validation_fraction,
        help="The share of the training clips to validate on where no validation labels are given.",
    ),
    click.option(
        "--classes",
        type=EXISTING_FILE,
        help="A list of the classes, one a line, which is needed where names have commas.",
    ),
    missing_option,
    partial_option,
)
@group(
    "Output",
    click.option(
        "-o", "--output", type=OUTPUT_FOLDER, required=True, help="The run folder to write."
    ),
    click.option(
        "--keep-epochs",
        type=INTEGERS,
        default=_D.keep_epochs,
        metavar="N,N,...",
        help="Keep the models of these epochs, as RUN/epochs/040.safetensors.",
    ),
    click.option(
        "--save-every",
        type=float,
        default=_D.save_every,
        help="Save within an epoch after this many minutes; every epoch ends with a save.",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Go on where the run in the folder stopped; without a run, begin one.",
    ),
    overwrite_option,
)
@group(
    "Network",
    click.option(
        "--arch",
        default=_D.arch,
        help=f"The network, NAME[:key=value,...], as in small:gru-units=32: "
        f"{', '.join(ARCHITECTURES)}.",
        shell_complete=names(*ARCHITECTURES),
    ),
    click.option(
        "--pooling",
        default=_D.pooling,
        help="How frame scores become a clip score, NAME[:key=value,...], as in "
        f"power:init=1,lambda=1e-4: {', '.join(POOLING_NAMES)}.",
        shell_complete=names(*POOLING_NAMES),
    ),
)
@group(
    "Training",
    click.option(
        "--method",
        default=_D.method,
        help="Learn from weak labels, from strong labels, or from both and unlabelled clips: "
        f"{', '.join(METHODS)}.",
        shell_complete=names(*METHODS),
    ),
    click.option(
        "--epochs",
        type=int,
        default=_D.epochs,
        help="The number of epochs, each of which ends with a validation.",
    ),
    click.option(
        "--steps-per-epoch",
        type=int,
        default=_D.steps_per_epoch,
        help="Steps in an epoch. With 0, an epoch is one pass over the clips, with a mean teacher "
        "over the unlabelled ones.",
    ),
    click.option(
        "--batch-size",
        type=INTEGERS,
        default=_D.batch_size,
        show_default="32; mean-teacher: 6,12,6",
        metavar="N|N,N,N",
        help="Clips in a batch; with a mean teacher, of weak, unlabelled and strong clips.",
    ),
    click.option(
        "--balance",
        default=_D.balance,
        help="classes: draw labelled clips so that all classes are equally frequent; or none.",
        shell_complete=names("classes", "none"),
    ),
    click.option("--lr", type=float, default=_D.lr, help="The learning rate of Adam."),
    click.option(
        "--pooling-lr",
        type=float,
        default=_D.pooling_lr,
        help="The learning rate of the pooling's own parameters; 0 means that of --lr.",
    ),
    click.option(
        "--schedule",
        default=_D.schedule,
        help="plateau: halve the learning rate when the validation score stalls; or constant.",
        shell_complete=names("plateau", "constant"),
    ),
    click.option(
        "--plateau-patience",
        type=int,
        default=_D.plateau_patience,
        help="Epochs without a better score after which the learning rate is halved.",
    ),
    click.option(
        "--time-shift",
        type=float,
        default=_D.time_shift,
        help="The standard deviation of random shifts in time, in frames.",
    ),
    click.option(
        "--shift-mode",
        default=_D.shift_mode,
        help="roll: what is shifted out of a clip enters at its other end; pad: it is lost.",
        shell_complete=names("roll", "pad"),
    ),
    click.option(
        "--strong-clip-loss/--no-strong-clip-loss",
        default=_D.strong_clip_loss,
        help="Whether clips with strong labels count in the clip loss, too.",
    ),
    click.option(
        "--select-by",
        default=_D.select_by,
        help="The validation score of the best epoch: clip_f1, loss, event_f1, clip_f1+event_f1.",
        shell_complete=names("clip_f1", "loss", "event_f1", "clip_f1+event_f1"),
    ),
    click.option(
        "--patience",
        type=int,
        default=_D.patience,
        help="Stop after this many epochs without a better score; 0 means never.",
    ),
    click.option(
        "--seed",
        type=int,
        default=_D.seed,
        help="The seed of everything that is drawn at random.",
    ),
)
@group(
    "Mean teacher",
    click.option(
        "--consistency",
        type=float,
        default=_D.consistency,
        help="The weight of the consistency loss after the ramp.",
    ),
    click.option(
        "--ramp-up",
        type=int,
        default=_D.ramp_up,
        help="Steps until that weight is reached; 0 means half of all steps.",
    ),
    click.option(
        "--ema",
        type=float,
        default=_D.ema,
        help="The share that the teacher keeps of its own weights in a step.",
    ),
    click.option(
        "--ema-buffers/--no-ema-buffers",
        default=_D.ema_buffers,
        help="Whether batch-norm statistics are averaged like the weights.",
    ),
    click.option(
        "--noise",
        type=float,
        default=_D.noise,
        help="The standard deviation of the noise on the teacher's input, in units of "
        "--noise-domain.",
    ),
    click.option(
        "--noise-domain",
        default=_D.noise_domain,
        help="normalised: standard deviations of each mel band; linear: mel values themselves.",
        shell_complete=names("normalised", "linear"),
    ),
    click.option(
        "--final",
        default=_D.final,
        help="Which network becomes model.safetensors: student or teacher.",
        shell_complete=names("student", "teacher"),
    ),
)
@group(
    "Execution",
    device_option(),
    click.option(
        "--amp",
        default=_D.amp,
        help="Mixed precision on a GPU: off, bf16 or fp16.",
        shell_complete=names("off", "bf16", "fp16"),
    ),
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
    config = taken(TrainConfig, options)
    how: dict[str, Any] = {"device": device, "resume": resume, "overwrite": overwrite}
    if dry_run:
        from sedtool.planning import plan_training
        from sedtool.training import TrainInputs

        for line in plan_training(output, taken(TrainInputs, options), config, **how).lines():
            summary(line, quiet=False)
        return
    with stop_signals() as stop:  # also while torch is loaded
        from sedtool.training import TrainInputs
        from sedtool.training import train as train_model

        inputs = taken(TrainInputs, options)
        with progress("train", quiet) as report:
            result = train_model(
                output,
                inputs,
                config,
                **how,
                progress=report,
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
