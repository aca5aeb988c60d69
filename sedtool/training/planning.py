"""What a training run would take, found by taking a few of its steps in memory."""

import datetime
import resource
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from sedtool.config import TrainConfig
from sedtool.inference import pick_device, predict
from sedtool.training.folder import RunFolder
from sedtool.training.inputs import TrainInputs
from sedtool.training.trainer import Trainer

__all__ = ["TrainingPlan", "plan_training"]

_TIMED_STEPS = 2
_METRICS_CELL = 12  # bytes


@dataclass(frozen=True)
class TrainingPlan:
    """What a run would take. Sizes are bytes, times seconds."""

    run: Path
    n_clips: int
    n_validation_clips: int
    n_classes: int
    n_parameters: int
    epochs: int
    steps: int  # an epoch
    steps_done: int  # by the run that would be resumed
    seconds: float  # for what is left
    disk_needed: int
    disk_free: int
    memory: int
    device: str

    def lines(self) -> list[str]:
        """Say it for people, a line each."""
        lines = [
            f"{self.n_clips} clips to train and {self.n_validation_clips} to validate on, "
            f"{self.n_classes} classes, {self.n_parameters} parameters",
            f"{self.epochs} epochs of {self.steps} steps, "
            f"about {datetime.timedelta(seconds=round(self.seconds))} on {self.device}",
        ]
        if self.steps_done:
            lines.append(f"{self.steps_done} steps are done by the run that would be resumed")
        lines.append(
            f"{_megabytes(self.disk_needed)} in {self.run}, and {_megabytes(self.disk_free)} are "
            f"free; {_megabytes(self.memory)} of memory"
        )
        return lines

    def __str__(self) -> str:
        """Return the lines as one text."""
        return "\n".join(self.lines())


def plan_training(
    run: Path,
    inputs: TrainInputs,
    config: TrainConfig,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> TrainingPlan:
    """Return what `train` would take, given the same. Nothing is written.

    All inputs are read and checked, and a few steps are taken and timed, as the run would take
    them; of early stopping nothing can be known.

    Raises
    ------
    SedtoolError
        As `train` would, before its first step or in the first few.
    """
    chosen = pick_device(device)
    folder = RunFolder(run, resume, overwrite)
    folder.refuse_existing()
    trainer = Trainer(folder, inputs, config, chosen, lambda: 0)
    state = folder.load_state() if resume else None
    if state is not None:
        trainer.restore(state)
    steps_done, epochs_done = trainer.step, len(trainer.rows)
    step = _time_steps(trainer, chosen)
    validation = _time_validation(trainer, chosen)
    return TrainingPlan(
        run,
        len(trainer.clips),
        len(trainer.validation.clips),
        len(trainer.vocabulary),
        sum(parameter.numel() for parameter in trainer.model.detector.parameters()),
        config.epochs,
        trainer.steps,
        steps_done,
        max(config.epochs * trainer.steps - steps_done, 0) * step
        + max(config.epochs - epochs_done, 0) * validation,
        _disk_needed(trainer),
        shutil.disk_usage(_existing(run)).free,
        _peak_memory(chosen),
        str(chosen),
    )


def _time_steps(trainer: Trainer, device: torch.device) -> float:
    """Return the seconds of a step."""
    trainer.train_step()  # the first takes longer than all others
    started = _now(device)
    for _ in range(_TIMED_STEPS):
        trainer.train_step()
    return (_now(device) - started) / _TIMED_STEPS


def _time_validation(trainer: Trainer, device: torch.device) -> float:
    """Return the seconds of a validation, from those of one batch."""
    clips, size = trainer.validation.clips, trainer.config.total_batch_size
    network = trainer.model.detector.eval()
    batch = [clips.features.clip(name) for name in clips.names[:size]]
    started = _now(device)
    predict(network, batch, device, trainer.config.amp)
    return (_now(device) - started) * len(clips) / len(batch)


def _disk_needed(trainer: Trainer) -> int:
    """Return the bytes of all files of the run, and of a state that is being written."""
    network = trainer.model.detector
    weights: int = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    n_networks = 1 if trainer.other is None else 2
    state = (2 + n_networks) * weights  # the optimiser keeps two numbers a weight
    columns: int = 12 + sum(map(len, network.pooling.learned().values()))
    models = n_networks + len(trainer.config.keep_epochs)
    return models * weights + 3 * state + trainer.config.epochs * columns * _METRICS_CELL


def _now(device: torch.device) -> float:
    """Return the time when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def _peak_memory(device: torch.device) -> int:
    """Return the most bytes that were in use so far, of the device where it has its own."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _existing(path: Path) -> Path:
    """Return the nearest folder that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
