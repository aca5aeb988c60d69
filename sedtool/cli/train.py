"""`sedtool train`: features.h5 + labels -> run/model.safetensors."""

from collections.abc import Mapping
from pathlib import Path
from shlex import join
from typing import Any

import click

from sedtool.cli import options as opt
from sedtool.cli.console import progress, say
from sedtool.cli.settings import SedtoolCommand, taken
from sedtool.config import MEAN_TEACHER, TrainConfig, TrainInputs, suited
from sedtool.plugins import files_of
from sedtool.signals import stop_signals


class _TrainCommand(SedtoolCommand):
    def derived(self, values: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        weak, strong, soft = values["weak"], values["strong"], values["soft"]
        if not (weak or strong):
            return {}
        from sedtool.labels import read_events, read_names, read_weak
        from sedtool.store import open_scores

        names = [*(read_weak(weak) if weak else ()), *(read_events(strong).names if strong else ())]
        scored = {*open_scores(soft, verify=False).names} if soft else set()
        for validated in filter(None, (values["val_weak"], values["val_strong"])):
            scored -= {*read_names(validated)}
        n_clips = len(names) + len(scored.difference(names))
        given = (values[name] for name in ("method", "batch_size", "steps_per_epoch"))
        found = suited(n_clips, *given)
        source = f"chosen for {n_clips} labelled clips"
        return {name.replace("_", "-"): (value, source) for name, value in found.items()}


@click.command(cls=_TrainCommand)
@opt.group(
    "Input",
    *opt.settings(TrainInputs, "features", "weak", "strong", "unlabelled", "soft"),
    *opt.settings(TrainInputs, "val_weak", "val_strong"),
    *opt.settings(TrainConfig, "validation_fraction"),
    *opt.settings(TrainInputs, "classes", "missing", "partial", "min_confidence"),
)
@opt.group(
    "Output",
    opt.output("The run folder to write.", opt.OUTPUT_FOLDER, required=True),
    *opt.settings(TrainConfig, "keep_epochs", "save_every"),
    opt.flag(
        "--resume", help="Go on where the run in the folder stopped; without a run, begin one."
    ),
    opt.overwrite,
)
@opt.group("Network", *opt.settings(TrainConfig, "arch", "pooling"))
@opt.group(
    "Training",
    *opt.settings(
        TrainConfig,
        *("method", "epochs", "steps_per_epoch", "batch_size", "balance", "lr"),
        *("pooling_lr", "pooling_start"),
        *("schedule", "plateau_patience", "warm_up"),
        *("augment", "time_shift", "shift_mode", "touching_gap"),
        *("loss", "clip_weight", "frame_weight", "strong_clip_loss", "soft_confidence"),
        *("select_by", "collar", "offset_ratio", "patience", "tune", "seed"),
    ),
)
@opt.group("Mean teacher", *opt.settings(TrainConfig, *MEAN_TEACHER))
@opt.group(
    "Execution",
    opt.device,
    *opt.settings(TrainConfig, "amp"),
    opt.plugin,
    opt.max_time,
    opt.dry_run,
)
def train(output: Path, dry_run: bool, quiet: bool, **options: Any) -> None:
    """Train a network from weak, strong or mixed labels.

    Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 and --max-time save the state and stop; --resume goes on from
    there, bit for bit.

    \b
    Example: sedtool train -o run --features features.h5 --weak train.tsv \\
                 --val-strong validation.tsv --arch small --pooling power
             sedtool train -o run --features features.h5 --method mean-teacher \\
                 --weak weak.tsv --unlabelled others.tsv --strong synthetic.tsv
    """
    inputs, config = taken(TrainInputs, options), taken(TrainConfig, options)
    how = {name: options[name] for name in ("device", "resume", "overwrite")}
    if dry_run:
        from sedtool.planning import plan_training

        for line in plan_training(output, inputs, config, **how).lines:
            say(line)
        return
    with stop_signals() as stop:  # also while torch is loaded
        from sedtool.training import train as train_model

        with progress("train", quiet) as report:
            result = train_model(
                *(output, inputs, config),
                **how,
                progress=report,
                tell=lambda line: say(line, quiet),
                stop=stop,
            )
        say(f"{result}; next: {_next(result.model, inputs, config)}", quiet)


def _next(model: Path, inputs: TrainInputs, config: TrainConfig) -> str:
    """Return the command that follows: fit the decoding, if training did not."""
    plugins = [word for path in files_of(config.names) for word in ("--plugin", path)]
    if config.tune:
        return join(map(str, ["sedtool", "infer", model, "INPUT", "-o", "events.tsv", *plugins]))
    features = [word for path in inputs.features for word in ("--features", path)]
    option = "--reference" if inputs.val_strong else "--weak"
    held_out = model.with_name("held_out.tsv")
    labels = inputs.val_strong or inputs.val_weak or held_out
    return join(map(str, ["sedtool", "tune", model, *features, option, labels, *plugins]))
