"""How networks are trained."""

from dataclasses import dataclass, fields

from sedtool.config.base import MOST, require, require_finite, require_within
from sedtool.config.network import parse_architecture

__all__ = ["MEAN_TEACHER", "METHODS", "TrainConfig"]

METHODS = ("weak", "mean-teacher", "strong")
_CHOICES = {
    "method": METHODS,
    "balance": ("classes", "none"),
    "schedule": ("plateau", "constant"),
    "shift_mode": ("roll", "pad"),
    "amp": ("off", "bf16", "fp16"),
    "select_by": ("clip_f1", "event_f1", "clip_f1+event_f1", "loss"),
    "noise_domain": ("normalised", "linear"),
    "final": ("student", "teacher"),
}
MEAN_TEACHER = (  # settings that no other method has
    *("consistency", "ramp_up", "ema", "ema_buffers", "noise", "noise_domain", "final"),
)
_BATCH_SIZES = {"weak": (32,), "mean-teacher": (6, 12, 6), "strong": (32,)}  # if none is given


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained: from weak labels, from strong ones, or as a mean teacher."""

    method: str = "weak"  # a name in METHODS
    pooling: str = "power"  # NAME[:key=value,...]
    arch: str = "dcase2017"  # NAME[:key=value,...]
    epochs: int = 50
    steps_per_epoch: int = 0  # 0: one pass over the clips, of the mean teacher the unlabelled ones
    batch_size: tuple[int, ...] = ()  # clips; of the mean teacher weak, unlabelled, strong ones
    balance: str = "classes"  # of labelled clips; or "none"
    lr: float = 1e-3  # Adam
    pooling_lr: float = 0.0  # learning rate of the pooling's own parameters; 0: the same as lr
    schedule: str = "plateau"  # halve the rate when the validation loss stalls; or "constant"
    plateau_patience: int = 5  # epochs without a lower validation loss before the rate halves
    time_shift: float = 0.0  # standard deviation of a random shift in time, feature frames
    shift_mode: str = "roll"  # what leaves at one end enters at the other; or "pad": it is lost
    seed: int = 0
    amp: str = "off"  # or "bf16", "fp16"
    select_by: str = "clip_f1"  # or "loss"; with "event_f1" in it needs strong validation labels
    patience: int = 0  # epochs without a better validation score before training stops; 0: never
    validation_fraction: float = 0.1  # of the training clips, where no validation labels are given
    save_every: float = 10.0  # minutes between checkpoints inside an epoch
    keep_epochs: tuple[int, ...] = ()  # epochs whose models are kept, from 1
    strong_clip_loss: bool = False  # strong clips have a clip loss besides the one of their frames
    consistency: float = 2.0  # mean teacher: largest weight of the consistency loss
    ramp_up: int = 0  # mean teacher: steps until that weight is reached; 0: half of the run's
    ema: float = 0.999  # mean teacher: share of the teacher in each new average
    ema_buffers: bool = True  # mean teacher: average the statistics of batch norms, too
    noise: float = 0.25  # mean teacher: standard deviation of the noise on the teacher's input
    noise_domain: str = "normalised"  # on what the network gets; or "linear": on linear mel values
    final: str = "student"  # mean teacher: which of the two is validated, selected and kept

    def __post_init__(self) -> None:
        require_finite(self)
        require_within(1, MOST, self, "epochs", "plateau_patience")
        require_within(0, MOST, self, "steps_per_epoch", "patience", "time_shift", "pooling_lr")
        require_within(0, MOST, self, "consistency", "noise")
        require_within(0, 2**63 - 1, self, "seed", "ramp_up")
        require(0 < self.lr < 1e30, f"lr must be positive and under 1e30, not {self.lr}")
        require(
            0 < self.save_every <= MOST,
            f"save_every must be positive, and at most {MOST}, not {self.save_every}",
        )
        require(
            0 < self.validation_fraction < 1,
            f"validation_fraction must be in (0, 1), not {self.validation_fraction}",
        )
        require(0 <= self.ema < 1, f"ema must be in [0, 1), not {self.ema}")
        for epoch in self.keep_epochs:
            require(
                1 <= epoch <= self.epochs,
                f"epoch {epoch} to keep (keep-epochs) is none of 1 to {self.epochs}",
            )
        for name, valid in _CHOICES.items():
            value = getattr(self, name)
            require(value in valid, f"{name} must be one of {', '.join(valid)}, not {value!r}")
        self._check_batch_size()
        parse_architecture(self.arch)

    def _check_batch_size(self) -> None:
        if not self.batch_size:
            object.__setattr__(self, "batch_size", _BATCH_SIZES[self.method])
        given = ",".join(map(str, self.batch_size))
        if self.method == "mean-teacher":
            require(
                len(self.batch_size) == 3,
                "batch_size of mean-teacher must be three numbers, of weak, unlabelled and strong "
                f"clips, such as 6,12,6, not {given!r}",
            )
        else:
            require(
                len(self.batch_size) == 1,
                f"batch_size of method {self.method} must be one number, not {given!r}",
            )
        least = 0 if self.method == "mean-teacher" else 1
        for size in self.batch_size:
            require(size >= least, f"batch_size must be at least {least}, but is {size}")
            require(size <= MOST, f"batch_size must be at most {MOST}, not {size}")
        require(sum(self.batch_size) > 0, f"batch_size must not be {given}")

    def idle_settings(self) -> list[str]:
        """Return the settings that are not at their defaults, and that the method does not use."""
        if self.method == "mean-teacher":
            return []
        defaults = {entry.name: entry.default for entry in fields(self)}
        return [name for name in MEAN_TEACHER if getattr(self, name) != defaults[name]]

    @property
    def total_batch_size(self) -> int:
        """Clips in a batch, of whatever labels."""
        return sum(self.batch_size)
