"""A run between its first step and its last: epochs, validation, what is saved and when."""

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sedtool.checkpoint import require_finite, save_model
from sedtool.config import TrainConfig, TrainInputs
from sedtool.datasets import TrainingBatches
from sedtool.errors import ArtifactError, DivergedError, StoppedError
from sedtool.runs import settings_of_weights
from sedtool.training.folder import RunWriter, require_same_run, run_identity
from sedtool.training.inputs import load_inputs
from sedtool.training.learner import Learner, new_model
from sedtool.training.validation import validate

_SAMPLED = 100  # clips whose mel values noise is compared with
_LOUD = 0.9  # share of these values below its standard deviation

log = logging.getLogger(__name__)


class Trainer:
    """The state of a run, and what an epoch does to it.

    Nothing is written to the folder before the first step. `stop` is asked before each step and
    each batch of validation: an exit code other than 0 saves and stops the run.
    """

    def __init__(
        self,
        folder: RunWriter,
        inputs: TrainInputs,
        config: TrainConfig,
        device: torch.device,
        stop: Callable[[], int],
    ) -> None:
        self.folder, self.config, self.stop = folder, config, stop
        self.clips, self.validation, self.vocabulary = load_inputs(inputs, config)
        model = new_model(self.clips, self.vocabulary, config)
        self.batches = TrainingBatches(
            self.clips, self.vocabulary, config, model.architecture.time_pooling
        )
        self.steps = config.steps_per_epoch or self.batches.steps_of_a_pass
        n_steps = config.epochs * self.steps
        self.learner = Learner(model.detector, config, device, model.features, n_steps)
        networks = self.learner.networks
        self.models = {
            name: dataclasses.replace(model, detector=networks[name])
            for name in sorted(networks, key=lambda name: name != config.final)
        }
        self.model, *_ = self.models.values()  # which is validated and selected
        self.files = {name: folder.other(name) for name in self.models}
        self.files[next(iter(self.models))] = folder.model
        identity = run_identity(config, self.clips, self.validation, self.vocabulary)
        if self.learner.teacher is not None:  # half of the run's steps, unless they are given
            identity["ramp_up"] = self.learner.ramp_up
        self.identity = json.dumps(identity, sort_keys=True)
        self._warn_of_loud_noise()
        self.step = 0  # of the run: the number of finished steps
        self.loss_sums: dict[str, float] = {}  # of this epoch's steps
        self.rows: list[dict[str, Any]] = []  # of finished epochs
        self.latest: list[str] = []  # clips of the latest batch
        self.saved_step, self.saved_at = 0, time.monotonic()

    def _warn_of_loud_noise(self) -> None:
        """Warn where little of the clips stands out of the noise, in units of the features."""
        is_linear = self.config.noise_domain == "linear" and self.config.noise
        if self.learner.teacher is None or not is_linear:
            return
        names = self.clips.names[:: max(len(self.clips) // _SAMPLED, 1)]
        values = np.concatenate([self.clips.features.clip(name).ravel() for name in names])
        level = math.log(self.config.noise)
        if self.model.features.log == "db":
            level *= 20 / math.log(10)
        if (share := float((values < level).mean())) > _LOUD:
            log.warning(
                "noise of %g is above %.0f %% of the mel values of the training clips; lower "
                "--noise, or give --noise-domain normalised",
                self.config.noise,
                100 * share,
            )

    # One epoch

    def train_epoch(self, progress: Callable[[int, int, str], None]) -> None:
        """Run the remaining steps of the current epoch.

        `progress` is told the steps done, all steps, and where the run stands in words.
        """
        while self.step < (len(self.rows) + 1) * self.steps:
            self.pause()
            for name, loss in self.train_step().items():
                self.loss_sums[name] = self.loss_sums.get(name, 0.0) + loss
            self.step += 1
            progress(self.step, self.config.epochs * self.steps, self._where())

    def train_step(self) -> dict[str, float]:
        """Draw the batch of the current step and learn from it; return the losses."""
        batch = self.batches.draw(len(self.rows), self.step)
        self.latest = batch.names
        try:
            return self.learner.step(batch, self.step)
        except FloatingPointError as error:
            raise self._diverged(f"{error}; {self._latest()}", self.step + 1) from None

    def validate(self) -> None:
        """End the epoch: score the validation clips, keep the best model, save."""
        self._require_finite()
        try:
            scores = validate(
                self.model, self.validation, self.config, self.learner.device, self.pause
            )
        except FloatingPointError as error:
            raise self._diverged(str(error), self.step) from None
        row: dict[str, Any] = {
            "epoch": len(self.rows) + 1,
            "step": self.step,
            "lr": self.learner.lr,
            **{name: total / self.steps for name, total in self.loss_sums.items()},
            **scores,
        }
        for name, values in self.model.detector.pooling.learned().items():
            labels = zip(self.vocabulary.classes, values, strict=True)
            row |= {f"{name}[{label}]": value for label, value in labels}
        self.learner.end_epoch(row["loss"])
        self.rows.append(row)
        self.loss_sums = {}
        self._save_models(row)
        self.folder.write_metrics(self.rows)
        self.save()

    def pause(self) -> None:
        """Save, or save and stop, if it is time to; called where no step is half done.

        Raises
        ------
        StoppedError
            If the run is to stop.
        """
        code = self.stop()
        is_due = time.monotonic() - self.saved_at > 60 * self.config.save_every
        if self.step > self.saved_step and (code or is_due):
            self.save()
        if code and not self.step:
            raise StoppedError("stopped before the first step; run it again", code)
        if code:
            raise StoppedError(
                f"stopped in epoch {len(self.rows) + 1} after step {self.step}; "
                f"--resume goes on from {self.folder.last}",
                code,
            )

    # The run

    def finished(self) -> bool:
        """Return whether the last epoch is done, or the validation score has stalled."""
        n_epochs, patience = len(self.rows), self.config.patience
        has_stalled = patience and self.rows and n_epochs - self.best_row()["epoch"] >= patience
        return n_epochs >= self.config.epochs or bool(has_stalled)

    def best_row(self) -> dict[str, Any]:
        """Return the row of the epoch with the best validation score, of equals the lowest loss.

        On few clips scores are often equal, and the first of them is that of a network that has
        learned least.
        """
        sign = -1 if self.config.select_by == "loss" else 1
        return max(self.rows, key=lambda row: (sign * self.score(row), -float(row["loss"])))

    def score(self, row: dict[str, Any]) -> float:
        """Return the validation score of an epoch that models are selected by."""
        return sum(float(row[name]) for name in self.config.select_by.split("+"))

    def _where(self) -> str:
        """Return the epoch and its loss so far, for people."""
        epoch = len(self.rows) + 1
        loss = self.loss_sums["train_loss"] / (self.step - (epoch - 1) * self.steps)
        return f"epoch {epoch} of {self.config.epochs}, loss {loss:.3f}"

    def _save_models(self, row: dict[str, Any]) -> None:
        """Save the model of the latest epoch if it is the best so far, or to be kept."""
        trained = {
            "config": settings_of_weights(self.config),
            "epoch": row["epoch"],
            "step": row["step"],
            "selected_by": self.config.select_by,
            "validation": {k: v for k, v in row.items() if k in ("loss", "clip_f1", "event_f1")},
            "clips": len(self.clips),
        }
        for name, model in self.models.items():
            model.trained = trained | ({"network": name} if len(self.models) > 1 else {})
        if row["epoch"] in self.config.keep_epochs:
            self.folder.save_epoch(row["epoch"], self.model)
        if self.best_row()["epoch"] == row["epoch"]:
            for name, model in self.models.items():
                save_model(self.files[name], model)

    def _require_finite(self) -> None:
        """Stop a run whose weights are ruined, before they are saved or used."""
        try:
            for model in self.models.values():
                require_finite(model.detector, "the network")
        except ArtifactError as error:
            raise self._diverged(f"{error}; {self._latest()}", self.step) from None

    def _latest(self) -> str:
        return f"the clips of the batch: {', '.join(self.latest)}"

    def _diverged(self, what: str, step: int) -> DivergedError:
        best = f"{self.folder.model} is the best model so far"
        if not self.rows:
            best = "no epoch was finished, so there is no model"
        return DivergedError(
            f"training diverged in epoch {len(self.rows) + 1}, step {step}: {what}; "
            f"lower --lr, or look at the clips; {best}"
        )

    # What resuming needs

    def state(self) -> dict[str, Any]:
        """Return what resuming needs.

        Randomness is derived from seed and step, so none is in it.
        """
        state = self.learner.state() | {
            "identity": self.identity,
            "step": self.step,
            "loss_sums": self.loss_sums,
            "columns": list(self.rows[0]) if self.rows else [],
        }
        values = [[float(value) for value in row.values()] for row in self.rows]
        state["tensors"]["rows"] = torch.tensor(values, dtype=torch.float64)
        return state

    def save(self) -> None:
        """Write the state."""
        self._require_finite()
        self.folder.save_state(self.state())
        self.saved_step, self.saved_at = self.step, time.monotonic()

    def resume(self) -> bool:
        """Go on from the state in the folder; return whether there is one.

        Raises
        ------
        ArtifactError
            If it is that of another run, or damaged.
        """
        state = self.folder.load_state()
        if state is None:
            return False
        try:
            self._take_over(state)
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ArtifactError(
                f"{self.folder.last} cannot be resumed ({' '.join(str(error).split())[:200]})"
            ) from error
        past = [n for n in self.config.keep_epochs if n <= len(self.rows)]
        if lost := [n for n in past if not self.folder.epoch(n).exists()]:
            log.warning("epochs %s are over and cannot be kept", ", ".join(map(str, lost)))
        for path in self.files.values():
            if self.rows and not path.exists():
                raise ArtifactError(
                    f"{path} is missing, the best model of the run to resume; put it back, or "
                    "--overwrite"
                )
        return True

    def _take_over(self, state: dict[str, Any]) -> None:
        require_same_run(self.identity, state["identity"], str(self.folder.last))
        tensors = dict(state["tensors"])
        self.rows = _rows(state["columns"], tensors.pop("rows"))
        self.learner.load(state | {"tensors": tensors})
        self.step = self.saved_step = int(state["step"])
        self.loss_sums = {name: float(loss) for name, loss in state["loss_sums"].items()}
        scored = [(row["epoch"], self.score(row)) for row in self.rows]
        if [epoch for epoch, _ in scored] != list(range(1, len(scored) + 1)):
            raise ValueError("its epochs are not in order")


def _rows(columns: list[str], values: torch.Tensor) -> list[dict[str, Any]]:
    """Return the rows of metrics.tsv from a state, shape (epochs, columns)."""
    rows = [dict(zip(columns, row, strict=True)) for row in values.tolist()]
    return [{**row, "epoch": int(row["epoch"]), "step": int(row["step"])} for row in rows]
