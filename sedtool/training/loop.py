"""The training loop.

Axis letters: B clips in a batch, T frames, F mel bands, K classes.
"""

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sedtool.checkpoint import Model, digest, load_state, save_model, save_state, source_tags
from sedtool.config import (
    ARCHITECTURES,
    DecodingConfig,
    EvaluationConfig,
    PoolingConfig,
    TrainConfig,
)
from sedtool.crnn import Detector
from sedtool.datasets import Batch, Sampler
from sedtool.decoding import ClipScores, decode_clip
from sedtool.draws import torch_draws
from sedtool.errors import ArtifactError, DivergedError, StoppedError
from sedtool.evaluation import evaluate_events
from sedtool.inference import Prediction, autocast, pick_device, predict
from sedtool.labels import StrongLabels, format_events
from sedtool.pooling import clip_loss
from sedtool.training.folder import RunFolder
from sedtool.training.inputs import TrainInputs, Validation, load_inputs
from sedtool.training.progress import Progress, TrainResult
from sedtool.tuning import clip_f1

__all__ = ["train"]

log = logging.getLogger(__name__)

# What may differ between a run and its resumption without making it another run.
_FREE = ("epochs", "patience", "save_every")
_LEAST_SCALE = 1e-6  # of float16 losses; it halves whenever a gradient is not finite
_LONGEST_WINDOW = 60.0  # seconds; longer training clips are cut into windows of this at inference


def train(
    run: Path,
    inputs: TrainInputs,
    config: TrainConfig,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], int] | None = None,
) -> TrainResult:
    """Train a model from weak labels.

    Parameters
    ----------
    run
        The run folder.
    inputs, config
        Files and settings.
    device
        auto, cpu, cuda, cuda:1 or mps.
    resume
        Go on from ``last.pt`` if it is there.
    overwrite
        Start anew over a run that is there.
    progress
        Called after every step and every epoch.
    stop
        Asked after every step; an exit code other than 0 saves and stops the run.

    Raises
    ------
    DivergedError
        If the loss or a gradient is not finite; ``model.safetensors`` is the best model so far.
    StoppedError
        If `stop` asked for it; ``last.pt`` is written.
    ArtifactError
        If the run to resume was another one.
    """
    folder = RunFolder(run, resume, overwrite)
    trainer = _Trainer(folder, inputs, config, pick_device(device))
    resumed = resume and folder.last.exists()
    if resumed:
        trainer.restore(load_state(folder.last))
    folder.prepare(anew=not resumed)
    folder.write_config(inputs, config, device)
    folder.open_record(inputs, config, str(trainer.device))
    report = progress or (lambda _: None)
    try:
        while not trainer.finished():
            trainer.train_epoch(report, stop or (lambda: 0))
            row = trainer.validate()
            report(trainer.where(row))
    except StoppedError:
        folder.close_record("stopped")
        raise
    except BaseException as error:
        diverged = isinstance(error, DivergedError)
        folder.close_record("diverged" if diverged else "failed", error=str(error))
        raise
    result = trainer.result()
    results = dataclasses.asdict(result) | {"model": result.model.name}
    folder.close_record("finished", **results)
    return result


class _Trainer:
    """The state of a run, and what an epoch does to it."""

    def __init__(
        self, folder: RunFolder, inputs: TrainInputs, config: TrainConfig, device: torch.device
    ) -> None:
        self.folder, self.config, self.device = folder, config, device
        self.clips, self.validation, self.vocabulary = load_inputs(inputs, config)
        self.steps = config.steps_per_epoch or math.ceil(len(self.clips) / config.batch_size)
        self.sampler = Sampler(self.clips.targets, config.balance, config.seed)
        self.model = self._new_model()
        self.detector = self.model.detector.to(device)
        self.optimizer = torch.optim.Adam(self._parameter_groups())
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.5, patience=config.plateau_patience
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
        self.step = 0  # of the run: the number of finished steps
        self.loss_sum = 0.0  # of this epoch's steps
        self.rows: list[dict[str, Any]] = []  # of finished epochs
        self.saved_at = time.monotonic()

    def _new_model(self) -> Model:
        """Make a model with fresh weights and the statistics of the training clips."""
        features = self.clips.features
        architecture = ARCHITECTURES[self.config.arch]
        pooling = PoolingConfig.parse(self.config.pooling)
        with torch_draws(torch.device("cpu"), "initial weights", self.config.seed):
            detector = Detector(architecture, pooling, features.config.n_mels, len(self.vocabulary))
        mean, std = features.statistics(self.clips.names)
        detector.mean.copy_(torch.from_numpy(mean))
        detector.std.copy_(torch.from_numpy(std))
        longest = max(features.duration(name) for name in self.clips.names)
        return Model(
            detector,
            self.vocabulary.classes,
            features.config,
            architecture,
            pooling,
            min(longest, _LONGEST_WINDOW),
            DecodingConfig.default(len(self.vocabulary)),
            trained_on=source_tags([features.source(name) for name in self.clips.names]),
        )

    def _parameter_groups(self) -> list[dict[str, Any]]:
        pooling = list(self.detector.pooling.parameters())
        groups: list[dict[str, Any]] = [
            {"params": list(self.detector.crnn.parameters()), "lr": self.config.lr}
        ]
        if pooling:
            groups.append({"params": pooling, "lr": self.config.pooling_lr or self.config.lr})
        return groups

    # One epoch

    def train_epoch(self, report: Callable[[Progress], None], stop: Callable[[], int]) -> None:
        """Run the remaining steps of the current epoch."""
        self.detector.train()
        while self.step < (len(self.rows) + 1) * self.steps:
            batch = self.clips.training_batch(
                self.sampler,
                self.config.batch_size,
                self.config.time_shift,
                self.config.seed,
                len(self.rows),
                self.step,
            )
            self.loss_sum += self._train_step(batch)
            self.step += 1
            report(self.where(None))
            if code := stop():
                self.save()
                raise StoppedError(
                    f"stopped in epoch {len(self.rows) + 1} after step {self.step}; "
                    f"--resume goes on from {self.folder.last}",
                    code,
                )
            if time.monotonic() - self.saved_at > 60 * self.config.save_every:
                self.save()

    def _train_step(self, batch: Batch) -> float:
        """Take one optimiser step; return its loss."""
        features, lengths, targets = (tensor.to(self.device) for tensor in batch[:3])
        with torch_draws(self.device, "dropout", self.config.seed, self.step):
            with autocast(self.device, self.config.amp):
                output = self.detector(features, lengths)
            loss = clip_loss(output.log_y, output.log_not_y, targets)
            loss = loss + self.detector.pooling.penalty()
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._check_finite(loss, batch)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.detector.pooling.project_()
        return loss.item()

    def _check_finite(self, loss: Tensor, batch: Batch) -> None:
        """Stop before a step that would ruin the weights (a scaler skips such steps itself)."""
        gradients = [p.grad for p in self.detector.parameters() if p.grad is not None]
        finite = loss.isfinite()
        if not self.scaler.is_enabled():
            finite = finite & torch.nn.utils.get_total_norm(gradients).isfinite()
        if not bool(finite):
            raise self._diverged(
                f"the loss is {loss.item():g}, or its gradient is not finite",
                f"the clips of this batch: {', '.join(batch.names)}",
            )
        if self.scaler.is_enabled() and self.scaler.get_scale() < _LEAST_SCALE:
            raise self._diverged("float16 gradients are never finite", "--amp bf16 or off")

    def _diverged(self, what: str, where: str) -> DivergedError:
        best = f"{self.folder.model} is the best model so far"
        if not self.rows:
            best = "no epoch was finished, so there is no model"
        return DivergedError(
            f"training diverged in epoch {len(self.rows) + 1}, step {self.step + 1}: {what}; "
            f"lower --lr, or look at {where}; {best}"
        )

    def validate(self) -> dict[str, Any]:
        """End the epoch: score the validation clips, keep the best model, save."""
        self.detector.eval()
        clips = self.validation.clips
        try:
            predictions = _predict_all(self.detector, self.validation, self.device, self.config)
        except ArtifactError:
            raise self._diverged("the validation scores are not finite", "the last steps") from None
        row: dict[str, Any] = {
            "epoch": len(self.rows) + 1,
            "step": self.step,
            "lr": self.optimizer.param_groups[0]["lr"],
            "train_loss": self.loss_sum / self.steps,
            "loss": _mean_loss(predictions, clips.targets),
            "clip_f1": clip_f1(np.exp([p.log_y for p in predictions]), clips.targets),
        }
        if self.validation.strong:
            row["event_f1"] = self._event_f1(predictions, self.validation.strong)
        for name, values in self.detector.pooling.learned().items():
            labels = zip(self.vocabulary.classes, values, strict=True)
            row |= {f"{name}[{label}]": value for label, value in labels}
        if self.config.schedule == "plateau":
            self.schedule.step(row["loss"])
        self.rows.append(row)
        self.loss_sum = 0.0
        if self._best_epoch() == row["epoch"]:
            self._save_best(row)
        self.folder.write_metrics(self.rows)
        self.save()
        return row

    def _event_f1(self, predictions: list[Prediction], reference: StrongLabels) -> float:
        """Return macro event F1 with the decoding settings of an untuned model."""
        features = self.validation.clips.features
        frame_rate = self.model.frame_rate
        events = []
        with_events = set(reference.names)
        for name, prediction in zip(self.validation.clips.names, predictions, strict=True):
            if name not in with_events:
                continue
            scores = ClipScores.of_one_window(
                name, features.duration(name), prediction.frame, np.exp(prediction.log_y)
            )
            events += decode_clip(scores, self.vocabulary.classes, frame_rate, self.model.decoding)
        scored = evaluate_events(
            reference, events, EvaluationConfig(), classes=self.vocabulary.classes
        )
        return scored.macro.f1

    # The run

    def finished(self) -> bool:
        """Return whether the last epoch is done, or the validation score has stalled."""
        return len(self.rows) >= self.config.epochs or self._stalled()

    def _stalled(self) -> bool:
        patience = self.config.patience
        return bool(patience and self.rows) and len(self.rows) - self._best_epoch() >= patience

    def _best_epoch(self) -> int:
        """Return the first epoch with the best validation score."""
        sign = -1 if self.config.select_by == "loss" else 1
        scores = [sign * row[self.config.select_by] for row in self.rows]
        return 1 + max(range(len(scores)), key=scores.__getitem__)

    def where(self, row: dict[str, Any] | None) -> Progress:
        """Return where the run stands."""
        epoch = row["epoch"] if row else len(self.rows) + 1
        step = self.step - (epoch - 1) * self.steps
        loss = row["train_loss"] if row else self.loss_sum / max(step, 1)
        return Progress(epoch, self.config.epochs, step, self.steps, loss, row)

    def result(self) -> TrainResult:
        """Return how the run ended."""
        best = self.rows[self._best_epoch() - 1]
        return TrainResult(
            self.folder.model,
            best["epoch"],
            best[self.config.select_by],
            len(self.rows),
            len(self.rows) < self.config.epochs,
        )

    def _save_best(self, row: dict[str, Any]) -> None:
        self.model.trained = {
            "config": self._settings(),
            "epoch": row["epoch"],
            "step": row["step"],
            "selected_by": self.config.select_by,
            "validation": {k: v for k, v in row.items() if k in ("loss", "clip_f1", "event_f1")},
            "clips": len(self.clips),
        }
        save_model(self.folder.model, self.model)

    def save(self) -> None:
        """Write what `restore` needs; randomness is derived from seed and step, so none is kept."""
        state = {
            "identity": self._identity(),
            "detector": self.detector.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "loss_sum": self.loss_sum,
            "rows": self.rows,
        }
        save_state(self.folder.last, state)
        self.saved_at = time.monotonic()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        mine, saved = json.loads(self._identity()), json.loads(state["identity"])
        different = [key for key in mine if mine[key] != saved.get(key)]
        if different:
            raise ArtifactError(
                f"{self.folder.last} is of another run: {', '.join(different)} differ; "
                "give the same settings, or --overwrite"
            )
        self.detector.load_state_dict(state["detector"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.loss_sum, self.rows = state["step"], state["loss_sum"], state["rows"]

    def _settings(self) -> dict[str, Any]:
        """Return the settings that weights after a given number of steps depend on."""
        settings = dataclasses.asdict(self.config)
        return {key: value for key, value in settings.items() if key not in _FREE}

    def _identity(self) -> str:
        """Return, as JSON, what must be equal for a run to be the same run."""
        identity: dict[str, Any] = self._settings()
        identity["classes"] = list(self.vocabulary.classes)
        identity["features"] = [file.sha256 for file in self.clips.features.files]
        identity["training clips"] = list(self.clips.names)
        identity["training labels"] = digest(torch.from_numpy(self.clips.targets))
        identity["validation clips"] = list(self.validation.clips.names)
        identity["validation labels"] = digest(torch.from_numpy(self.validation.clips.targets))
        strong = self.validation.strong
        identity["validation events"] = digest(format_events(strong.events)) if strong else None
        return json.dumps(identity, sort_keys=True)


def _predict_all(
    detector: Detector, validation: Validation, device: torch.device, config: TrainConfig
) -> list[Prediction]:
    """Score the validation clips, in their order."""
    clips = [validation.clips.features.clip(name) for name in validation.clips.names]
    predictions: list[Prediction] = []
    for start in range(0, len(clips), config.batch_size):
        batch = clips[start : start + config.batch_size]
        predictions += predict(detector, batch, device, config.amp)
    return predictions


def _mean_loss(predictions: list[Prediction], targets: np.ndarray) -> float:
    """Return the mean clip loss of validation clips, without the pooling's penalty."""
    log_y = torch.from_numpy(np.stack([p.log_y for p in predictions]))
    log_not_y = torch.from_numpy(np.stack([p.log_not_y for p in predictions]))
    return clip_loss(log_y, log_not_y, torch.from_numpy(targets)).item()
