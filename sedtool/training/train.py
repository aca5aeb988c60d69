"""`train`: files in, a run folder out."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sedtool.config import DEVICE, TrainConfig, TrainInputs
from sedtool.errors import DivergedError, StoppedError
from sedtool.machine import pick_device
from sedtool.runs import RunSettings
from sedtool.training.folder import RunWriter, new_record
from sedtool.training.trainer import Trainer


@dataclass(frozen=True)
class TrainResult:
    """How a run ended."""

    model: Path
    best_epoch: int
    best_score: float
    selected_by: str  # what score that is
    epochs: int  # that were run
    stopped_early: bool
    seconds: float  # that this session took

    def __str__(self) -> str:
        """Return one line for a summary."""
        early = ", stopped early" if self.stopped_early else ""
        return (
            f"{self.epochs} epochs{early}, in {self.seconds:.1f} s; best {self.selected_by} "
            f"{self.best_score:.3f} in epoch {self.best_epoch} -> {self.model}"
        )


def train(
    run: Path,
    inputs: TrainInputs,
    config: TrainConfig,
    *,
    device: str = DEVICE,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
    stop: Callable[[], int] | None = None,
) -> TrainResult:
    """Train a model, by the method of the settings.

    Parameters
    ----------
    run
        The run folder.
    inputs, config
        Files and settings.
    device
        auto, cpu, cuda, cuda:1 or mps.
    resume
        Go on from the state that is saved there, if any.
    overwrite
        Start anew over a run that is there.
    progress
        Called after every step with the steps done, all steps, and where the run stands.
    stop
        Asked before every step and every batch of validation; an exit code other than 0 saves and
        stops the run.

    Raises
    ------
    DivergedError
        If the loss, a gradient or a score is not finite; ``model.safetensors`` is the best model so
        far, and the state that of the last good save.
    StoppedError
        If `stop` asked for it; the state is saved.
    ArtifactError
        If the run to resume was another one, or no whole state of it is left.
    ResourceError
        If another process trains into the same folder, or the disk is full; what was saved before
        can be resumed.
    """
    started = time.monotonic()
    chosen = pick_device(device)
    folder = RunWriter(run, resume, overwrite)
    report = progress or (lambda *_: None)
    with folder.held():
        trainer = Trainer(folder, inputs, config, chosen, stop or (lambda: 0))
        resumed = resume and trainer.resume()
        record = new_record(inputs, config, str(chosen))
        if not trainer.finished():
            trainer.pause()
        folder.begin(record, anew=not resumed)
        try:
            RunSettings.of(inputs, config, device).write(folder.config)
            if trainer.rows:
                folder.write_metrics(trainer.rows)
            while not trainer.finished():
                trainer.train_epoch(report)
                trainer.validate()
        except BaseException as error:
            folder.abandon(_status(error), error)
            raise
        result = _result(trainer, time.monotonic() - started)
        folder.close_record("finished", **dataclasses.asdict(result) | {"model": result.model.name})
    return result


def _status(error: BaseException) -> str:
    if isinstance(error, StoppedError):
        return "stopped"
    return "diverged" if isinstance(error, DivergedError) else "failed"


def _result(trainer: Trainer, seconds: float) -> TrainResult:
    """Return how a run ended."""
    best = trainer.best_row()
    return TrainResult(
        trainer.folder.model,
        best["epoch"],
        trainer.score(best),
        trainer.config.select_by,
        len(trainer.rows),
        len(trainer.rows) < trainer.config.epochs,
        seconds,
    )
