"""A network under training: what one optimiser step does, and what resuming it needs.

Axis letters: B clips in a batch, T frames, F mel bands, K classes.
"""

import copy
import logging
import math
from typing import Any

import torch
from torch import Tensor

from sedtool.augment import Batch, add_mel_noise, augmented, make_augmentations
from sedtool.bounds import number
from sedtool.checkpoint import Model, empty_detector, source_tags
from sedtool.config import (
    DecodingConfig,
    FeatureConfig,
    PoolingConfig,
    TrainConfig,
    parse_architecture,
)
from sedtool.crnn import Detector, Output
from sedtool.datasets import TrainingClips
from sedtool.draws import torch_draws
from sedtool.labels import Vocabulary
from sedtool.losses import make_loss
from sedtool.machine import autocast, keep_freed_memory
from sedtool.mean_teacher import Teacher, consistency_losses, ramp

log = logging.getLogger(__name__)

_ADAM = ("step", "exp_avg", "exp_avg_sq")  # what it keeps of a parameter
_CONSISTENCY = ("frame_consistency", "clip_consistency")  # losses of a mean teacher
LOSSES = ("train_loss", "clip_loss", "frame_loss", *_CONSISTENCY, "consistency")  # of a step
_LEAST_SCALE = 1e-6  # of float16 losses; the scale halves whenever a gradient is not finite
_LONGEST_WINDOW = 60.0  # seconds, of the scoring windows of a model of longer training clips


def new_model(clips: TrainingClips, vocabulary: Vocabulary, config: TrainConfig) -> Model:
    """Make a model with fresh weights and the statistics of the training clips."""
    features, names = clips.features, clips.names
    architecture, pooling = parse_architecture(config.arch), PoolingConfig.parse(config.pooling)
    network = (architecture, pooling, features.config.n_mels, len(vocabulary))
    empty_detector(*network)  # raises a ConfigError for one that no model file can hold
    with torch_draws(torch.device("cpu"), "initial weights", config.seed):
        detector = Detector(*network)
    mean, std = features.statistics(names)
    detector.mean.copy_(torch.from_numpy(mean))
    detector.std.copy_(torch.from_numpy(std))
    has_clip_loss = config.clip_weight and (len(clips.weak) or config.strong_clip_loss)
    if not has_clip_loss and list(detector.pooling.parameters()):
        detector.pooling.requires_grad_(False)  # consistency alone would move it
        log.warning(
            "no clip has a clip loss, so %s pooling stays as it starts; %s lets it learn",
            pooling.name,
            "--strong-clip-loss" if config.clip_weight else "--clip-weight above 0",
        )
    longest = max(features.duration(name) for name in names)
    return Model(
        detector,
        vocabulary.classes,
        features.config,
        architecture,
        pooling,
        min(longest, _LONGEST_WINDOW),
        DecodingConfig.default(len(vocabulary)),
        trained_on=source_tags([features.source(name) for name in names]),
    )


class Learner:
    """A network, its teacher if it has one, its optimiser, its schedule and its float16 scaler.

    The network is moved to `device`. `features` says how features were made, for the noise on
    them; schedules and ramps are shares of the `n_steps` of the run.
    """

    def __init__(
        self,
        detector: Detector,
        config: TrainConfig,
        device: torch.device,
        features: FeatureConfig,
        n_steps: int,
    ) -> None:
        self.detector, self.config, self.device = detector.to(device), config, device
        self.features, self.n_steps = features, n_steps
        if device.type == "cpu":
            keep_freed_memory()
        self.ramp_up = config.ramp_up or config.warm_up or n_steps // 2
        self.augmentations = make_augmentations(config.augmentations)
        self.loss = make_loss(config.loss)
        self.teacher: Teacher | None = None
        if config.method == "mean-teacher":
            self.teacher = Teacher(copy.deepcopy(self.detector), config.ema, config.ema_buffers)
        groups = [{"params": list(detector.crnn.parameters()), "lr": config.lr}]
        if pooling := list(detector.pooling.parameters()):
            groups.append({"params": pooling, "lr": config.rate_of_pooling})
        self.optimizer = torch.optim.Adam(groups)
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.5, patience=config.plateau_patience
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")

    @property
    def networks(self) -> dict[str, Detector]:
        """Return what is trained, by the name it has in a state."""
        student = {"student": self.detector}
        return student | {"teacher": self.teacher.network} if self.teacher else student

    def lr(self, number: int) -> float:
        """Return the learning rate of the network in step `number` of the run."""
        return float(self.optimizer.param_groups[0]["lr"]) * self._paces(number)[0]

    def _paces(self, number: int) -> tuple[float, float]:
        """Return the shares of the learning rates of network and pooling that a step takes.

        They rise as `ramp` does, as in systems for DESED; with "cosine" they fall to 0 from there
        on.
        """
        pace, warm_up = ramp(number, self.config.warm_up), self.config.warm_up
        if self.config.schedule == "cosine" and number > warm_up:
            done = min((number - warm_up) / max(self.n_steps - warm_up, 1), 1.0)
            pace *= (1.0 + math.cos(math.pi * done)) / 2.0
        return pace, pace if number >= self.config.pooling_start else 0.0

    def step(self, batch: Batch, number: int) -> dict[str, float]:
        """Take step `number` of the run, counted from 0, on a batch.

        Returns "train_loss", the sum, and the parts that the method has: "clip_loss", "frame_loss",
        "frame_consistency" and "clip_consistency" before they are weighted by "consistency". If the
        loss or a gradient is not finite, the weights stay, and a FloatingPointError says so.
        """
        self.detector.train()
        batch = self._augmented(batch.to(self.device), "both", number)
        taught = self._teach(batch, number)
        batch = self._augmented(batch, "student", number)
        weight = self.config.consistency * ramp(number, self.ramp_up)
        with torch_draws(self.device, "dropout", self.config.seed, number):
            with autocast(self.device, self.config.amp):
                output = self.detector(batch.features, batch.lengths)
            losses = self._supervised_losses(output, batch)
            if taught is not None:
                losses |= zip(_CONSISTENCY, consistency_losses(output, taught), strict=True)
            loss = self._total(losses, weight)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._check_finite(loss)
        groups = self.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        for group, rate, pace in zip(groups, rates, self._paces(number), strict=False):
            group["lr"] = rate * pace
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate  # which the schedule lowers when the validation loss stalls
        self.detector.pooling.project_()
        if self.config.method == "weak" and batch.soft is None:
            losses = {}  # its one part says little more than the sum
        values = torch.stack([loss, *losses.values()]).tolist()  # one transfer from the device
        parts = dict(zip(("train_loss", *losses), values, strict=True))
        if self.teacher is not None:
            self.teacher.update(self.detector, number)
            parts["consistency"] = weight
        return parts

    def _augmented(self, batch: Batch, whose: str, number: int) -> Batch:
        return augmented(batch, self.augmentations, whose, self.config.seed, number)

    def _total(self, losses: dict[str, Tensor], weight: float) -> Tensor:
        """Return the weighted sum of the losses, those of consistency by `weight`, and penalty."""
        weights = {"clip_loss": self.config.clip_weight, "frame_loss": self.config.frame_weight}
        terms = [weights.get(kind, weight) * loss for kind, loss in losses.items()]
        loss = sum(terms[1:], terms[0])
        if "clip_loss" in losses and self.config.clip_weight:  # else the pooling stays
            loss = loss + self.detector.pooling.penalty()
        return loss

    def _supervised_losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of the labelled clips of a batch."""
        losses: dict[str, Tensor] = {}
        parts = [batch.weak, batch.strong] if self.config.strong_clip_loss else [batch.weak]
        values = (output.log_y, output.log_not_y, batch.targets)
        labelled = [torch.cat([value[part] for part in parts]) for value in values]
        if len(labelled[0]):
            losses["clip_loss"] = self.loss.of_clips(*labelled)
        if len(batch.frame_targets):
            losses["frame_loss"] = self.loss.of_frames(
                output.logits[batch.framed], output.mask[batch.framed], batch.frame_targets
            )
        elif batch.soft is not None:  # none of its clips was drawn
            losses["frame_loss"] = torch.zeros((), device=output.logits.device)
        return losses

    @torch.no_grad()
    def _teach(self, batch: Batch, number: int) -> Output | None:
        """Return what the teacher says of the batch with noise in it, if that counts.

        Without consistency it does not, unless the teacher has statistics of its own to learn.
        """
        counts = self.config.consistency > 0 or not self.config.ema_buffers
        if self.teacher is None or not counts:
            return None
        self.teacher.network.train()
        features = self._augmented(batch, "teacher", number).features.float()
        with torch_draws(self.device, "teacher", self.config.seed, number):
            if self.config.noise and self.config.noise_domain == "linear":
                features = add_mel_noise(features, self.config.noise, self.features)
            elif self.config.noise:
                scale = self.config.noise * self.detector.std
                features = features + scale * torch.randn_like(features)
            with autocast(self.device, self.config.amp):
                taught: Output = self.teacher.network(features, batch.lengths)
        return taught

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
        """Return what `load` needs: tensors by name, and numbers for JSON.

        Of torch's optimiser and schedule only what changes in training: what else they keep in
        their own states differs from version to version.
        """
        tensors = {
            f"{kind}.{name}": tensor
            for kind, network in self.networks.items()
            for name, tensor in network.state_dict().items()
        }
        for name, parameter in self.detector.named_parameters():
            if moments := self.optimizer.state.get(parameter):  # none before its first step
                tensors |= {f"adam.{key}.{name}": moments[key] for key in _ADAM}
        best = self.schedule.best
        return {
            "tensors": tensors,
            "lr": [float(group["lr"]) for group in self.optimizer.param_groups],
            "schedule": {
                "best": best if math.isfinite(best) else None,  # before the first epoch ends
                "bad_epochs": self.schedule.num_bad_epochs,
            },
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over a state.

        That of another kind of network, or none, raises LookupError, RuntimeError, TypeError or
        ValueError.
        """
        tensors = state["tensors"]
        for kind, network in self.networks.items():
            prefix = f"{kind}."
            mine = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            network.load_state_dict(mine)
        for name, parameter in self.detector.named_parameters():
            moments = {key: tensors.get(f"adam.{key}.{name}") for key in _ADAM}
            if any(value is not None for value in moments.values()):
                self.optimizer.state[parameter] = _moments(moments, parameter, state["step"])
        if self.state()["tensors"].keys() != tensors.keys():
            raise ValueError("its tensors are not those of this run")
        for group, lr in zip(self.optimizer.param_groups, state["lr"], strict=True):
            group["lr"] = number(lr, 0.0, group["lr"])  # it only ever sinks
        best, bad_epochs = state["schedule"]["best"], state["schedule"]["bad_epochs"]
        self.schedule.best = math.inf if best is None else number(best)
        self.schedule.num_bad_epochs = int(number(bad_epochs, 0, self.config.plateau_patience))
        scaler = {key: number(value, 0) for key, value in state["scaler"].items()}
        if scaler.keys() != self.scaler.state_dict().keys():
            raise ValueError("its scaler of float16 losses is not that of this run")
        self.scaler.load_state_dict(state["scaler"])


def _moments(saved: dict[str, Any], parameter: Tensor, step: int) -> dict[str, Tensor]:
    """Return what Adam keeps of a parameter, laid out in memory as the parameter is."""
    if any(saved[key].shape != parameter.shape for key in ("exp_avg", "exp_avg_sq")):
        raise ValueError("the state of the optimiser is of another network")
    number(saved["step"].item(), 1, step)
    for key, low in (("exp_avg", -1e30), ("exp_avg_sq", 0)):
        for end in saved[key].aminmax():
            number(end.item(), low)
    return {
        "step": saved["step"].reshape(()).clone(),
        "exp_avg": torch.empty_like(parameter).copy_(saved["exp_avg"]),
        "exp_avg_sq": torch.empty_like(parameter).copy_(saved["exp_avg_sq"]),
    }
