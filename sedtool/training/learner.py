"""A network under training: what one optimiser step does, and what resuming it needs.

Axis letters: B clips in a batch, T frames, F mel bands, K classes.
"""

from typing import Any

import torch
from torch import Tensor

from sedtool.checkpoint import Model, source_tags
from sedtool.config import ARCHITECTURES, DecodingConfig, PoolingConfig, TrainConfig
from sedtool.crnn import Detector
from sedtool.datasets import Batch, WeakDataset
from sedtool.draws import torch_draws
from sedtool.inference import autocast
from sedtool.labels import Vocabulary
from sedtool.pooling import clip_loss

__all__ = ["Learner", "new_model"]

_LEAST_SCALE = 1e-6  # of float16 losses; it halves whenever a gradient is not finite
_LONGEST_WINDOW = 60.0  # seconds; longer training clips are cut into windows of this at inference


def new_model(clips: WeakDataset, vocabulary: Vocabulary, config: TrainConfig) -> Model:
    """Make a model with fresh weights and the statistics of the training clips."""
    features = clips.features
    architecture, pooling = ARCHITECTURES[config.arch], PoolingConfig.parse(config.pooling)
    with torch_draws(torch.device("cpu"), "initial weights", config.seed):
        detector = Detector(architecture, pooling, features.config.n_mels, len(vocabulary))
    mean, std = features.statistics(clips.names)
    detector.mean.copy_(torch.from_numpy(mean))
    detector.std.copy_(torch.from_numpy(std))
    longest = max(features.duration(name) for name in clips.names)
    return Model(
        detector,
        vocabulary.classes,
        features.config,
        architecture,
        pooling,
        min(longest, _LONGEST_WINDOW),
        DecodingConfig.default(len(vocabulary)),
        trained_on=source_tags([features.source(name) for name in clips.names]),
    )


class Learner:
    """A network, its optimiser, its learning-rate schedule and its float16 scaler.

    Parameters
    ----------
    detector
        The network; it is moved to `device`.
    config
        Learning rates, schedule, precision and seed.
    device
        Where it is trained.
    """

    def __init__(self, detector: Detector, config: TrainConfig, device: torch.device) -> None:
        self.detector, self.config, self.device = detector.to(device), config, device
        self.optimizer = torch.optim.Adam(self._parameter_groups())
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.5, patience=config.plateau_patience
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")

    def _parameter_groups(self) -> list[dict[str, Any]]:
        pooling = list(self.detector.pooling.parameters())
        groups: list[dict[str, Any]] = [
            {"params": list(self.detector.crnn.parameters()), "lr": self.config.lr}
        ]
        if pooling:
            groups.append({"params": pooling, "lr": self.config.pooling_lr or self.config.lr})
        return groups

    @property
    def lr(self) -> float:
        """Return the learning rate of the network."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, batch: Batch, number: int) -> float:
        """Take step `number` of the run on a batch; return its loss.

        Raises
        ------
        FloatingPointError
            If the loss or a gradient is not finite; the weights are then as before.
        """
        self.detector.train()
        features, lengths, targets = (tensor.to(self.device) for tensor in batch[:3])
        with torch_draws(self.device, "dropout", self.config.seed, number):
            with autocast(self.device, self.config.amp):
                output = self.detector(features, lengths)
            loss = clip_loss(output.log_y, output.log_not_y, targets)
            loss = loss + self.detector.pooling.penalty()
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._check_finite(loss)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.detector.pooling.project_()
        return loss.item()

    def _check_finite(self, loss: Tensor) -> None:
        """Stop before a step that would ruin the weights (a scaler skips such steps itself)."""
        gradients = [p.grad for p in self.detector.parameters() if p.grad is not None]
        finite = loss.isfinite()
        if not self.scaler.is_enabled():
            finite = finite & torch.nn.utils.get_total_norm(gradients).isfinite()
        if not bool(finite):
            raise FloatingPointError(f"the loss is {loss.item():g}, or its gradient is not finite")
        if self.scaler.is_enabled() and self.scaler.get_scale() < _LEAST_SCALE:
            raise FloatingPointError("float16 gradients are never finite; see --amp bf16")

    def end_epoch(self, validation_loss: float) -> None:
        """Let the schedule see how the epoch ended."""
        if self.config.schedule == "plateau":
            self.schedule.step(validation_loss)

    def state(self) -> dict[str, Any]:
        """Return what `load` needs."""
        return {
            "detector": self.detector.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over a state.

        Raises
        ------
        ValueError, RuntimeError
            If it is that of another kind of network.
        """
        if state["schedule"].keys() != self.schedule.state_dict().keys():
            raise ValueError("the state of the learning-rate schedule is not one")
        self.detector.load_state_dict(state["detector"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        for parameter, moments in self.optimizer.state.items():
            if moments["exp_avg"].shape != parameter.shape:
                raise ValueError("the state of the optimiser is of another network")
