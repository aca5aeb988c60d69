"""How networks are trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from sedtool.config.base import REQUIRED, SEEDS, Seconds, as_in, require, require_valid, setting
from sedtool.config.evaluation import EvaluateInputs, EvaluationConfig
from sedtool.config.named import AUGMENTATION_NAMES, LOSS_NAMES, AugmentationConfig, LossConfig
from sedtool.config.network import ARCHITECTURES, POOLING_NAMES, PoolingConfig, parse_architecture
from sedtool.text import quoted

METHODS = ("weak", "mean-teacher", "strong")
MEAN_TEACHER = (  # settings that no other method has
    *("consistency", "ramp_up", "ema", "ema_buffers", "noise", "noise_domain", "final"),
)
FEW_CLIPS = 150  # labelled ones; with fewer, a network of fewer weights takes more steps
_FEW_STEPS = 600  # that are taken then, at least, if no number of epochs is given
# The settings that suit the clips, where they are not given, and what they are then.
_NOT_GIVEN: dict[str, Any] = {"arch": "auto", "batch_size": (), "epochs": 0}


def suited(
    n_clips: int, method: str, batch_size: Sequence[int] = (), steps_per_epoch: int = 0
) -> dict[str, Any]:
    """Return the settings that suit a number of labelled training clips, by name.

    An epoch of few clips in large batches has hardly a step. With less than `FEW_CLIPS`, batches
    are small, and there are as many epochs as `_FEW_STEPS` steps take, those of a batch size or of
    an epoch that is given.
    """
    if method == "mean-teacher":  # whose epochs are passes over the unlabelled clips
        return {"arch": "dcase2017", "batch_size": (6, 12, 6), "epochs": 50}
    if n_clips >= FEW_CLIPS:
        return {"arch": "dcase2017", "batch_size": batch_size or (32,), "epochs": 50}
    size, *_ = batch_size = batch_size or (8,)
    steps = steps_per_epoch or -(-n_clips // size) or 1
    return {"arch": "small", "batch_size": batch_size, "epochs": -(-_FEW_STEPS // steps)}


@dataclass(frozen=True, kw_only=True)
class LookupConfig:
    """How labelled clips are looked up in features files."""

    missing: str = setting(
        "error",
        "Refuse labelled clips without features, or skip and count them.",
        choices=("error", "skip"),
    )
    partial: bool = setting(
        False, "Accept features that `sedtool merge --partial` joined without some shards."
    )
    min_confidence: float | None = as_in(EvaluateInputs, "min_confidence")

    @property
    def files(self) -> dict[str, tuple[Path, ...]]:
        """Return the files that are given, by option."""
        values = {
            name.replace("_", "-"): value if isinstance(value, tuple) else (value,)
            for name, value in vars(self).items()
        }
        return {name: files for name, files in values.items() if isinstance(files[0], Path)}


@dataclass(frozen=True)
class TrainInputs(LookupConfig):
    """The files a run reads."""

    features: tuple[Path, ...] = setting(
        REQUIRED, "A features file of the clips. Given several times, a clip is looked up in all."
    )
    weak: Path | None = setting(None, "Weak labels to train on.")
    strong: Path | None = setting(None, "Strong labels to train on.")
    unlabelled: Path | None = setting(None, "A list of clips without labels to train on.")
    soft: Path | None = setting(
        None,
        "Scores of clips as targets of their frames, with 0 for what weak labels rule out. Clips "
        "with weak labels, or in --unlabelled, count in the frame loss, too; others are drawn as "
        "unlabelled ones, or as half of each batch where the method has none.",
    )
    val_weak: Path | None = setting(None, "Weak labels to validate on, by clip scores.")
    val_strong: Path | None = setting(None, "Strong labels to validate on, by event scores.")
    classes: Path | None = setting(
        None, "A list of the classes, one a line, which is needed where names have commas."
    )

    def __post_init__(self) -> None:
        require_valid(self)
        require(bool(self.features), "no features file is given (--features)")


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """The clips that runs of a sweep share, and what varies; paths are below the data folder."""

    features: Path = setting(  # of training and validation clips
        Path("features.h5"), "The features file, which is made of --audio if it is missing."
    )
    audio: tuple[Path, ...] = setting(
        (), "Audio to train and validate on, as INPUT of extract. May be given several times."
    )
    root: Path | None = setting(None, "The folder that clip names are relative to.")
    test: tuple[Path, ...] = setting(
        REQUIRED, "The test clips: audio, or a features file. May be given several times."
    )
    test_features: Path = setting(
        Path("test.h5"),
        "The features file of the test clips, which is made of --test if that is audio.",
    )
    test_reference: Path = setting(REQUIRED, "Strong labels of the test clips.")
    test_weak_reference: Path | None = setting(None, "Weak labels of the test clips.")
    vary: tuple[str, ...] = setting(
        (),
        "A setting of extract, train, tune, infer or evaluate, and its values with commas between "
        "them, as in train.lr=1e-3,3e-4. May be given several times.",
        metavar="SECTION.KEY=VALUE,...",
    )
    seeds: tuple[str, ...] = setting(
        ("0",),
        "Seeds and ranges of seeds with commas between them, as in 0-4 or 0,2,5-7. May be given "
        "several times.",
        metavar="LIST",
    )


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained: from weak labels, from strong ones, or as a mean teacher."""

    method: str = setting(
        "weak",
        "Learn from weak labels, from strong labels, or from both and unlabelled clips.",
        choices=METHODS,
    )
    pooling: str = setting(
        PoolingConfig.name,
        "How frame scores become a clip score, NAME[:key=value,...], as in "
        f"power:init=1,lambda=1e-4: {', '.join(POOLING_NAMES)}.",
        names=POOLING_NAMES,
    )
    arch: str = setting(
        "auto",
        f"The network, NAME[:key=value,...], as in small:gru-units=32: {', '.join(ARCHITECTURES)}; "
        f"auto: small with less than {FEW_CLIPS} labelled clips, else dcase2017.",
        names=("auto", *ARCHITECTURES),
    )
    epochs: int = setting(
        0,
        "The number of epochs, each of which ends with a validation. With 0, 50, or as many as "
        f"{_FEW_STEPS} steps take.",
        within="[0, 1e6]",
    )
    steps_per_epoch: int = setting(
        0,
        "Steps in an epoch. With 0, an epoch is one pass over the clips, with a mean teacher over "
        "the unlabelled ones.",
        within="[0, 1e6]",
    )
    batch_size: tuple[int, ...] = setting(
        (),
        "Clips in a batch; with a mean teacher, of weak, unlabelled and strong clips.",
        within="[0, 1e6]",
        metavar="N|N,N,N",
        shown=f"32; below {FEW_CLIPS} labelled clips: 8; mean-teacher: 6,12,6",
    )
    balance: str = setting(
        "auto",
        "Draw labelled clips so that all classes are equally frequent, or as they are; auto: as "
        "they are, unless a class has more than ten times the clips of another.",
        choices=("auto", "classes", "none"),
    )
    lr: float = setting(1e-3, "The learning rate of Adam.", within="(0, 1e30)")
    pooling_lr: float = setting(
        0.0,
        "The learning rate of the pooling's own parameters; 0 means 0.1 for auto, cap and rap, and "
        "that of --lr for others.",
        within="[0, 1e6]",
    )
    pooling_start: int = setting(
        0,
        "Steps after which the pooling's own parameters begin to move.",
        within=SEEDS,
        metavar="STEPS",
        added=True,
    )
    schedule: str = setting(
        "plateau",
        "Halve the learning rate when the validation loss stalls, leave it constant, or let it "
        "fall to 0 along half a cosine.",
        choices=("plateau", "constant", "cosine"),
    )
    plateau_patience: int = setting(
        5,
        "Epochs without a lower validation loss after which the learning rate is halved.",
        within="[1, 1e6]",
    )
    warm_up: int = setting(
        0,
        "Steps over which learning rates rise to their values, exponentially; and the consistency "
        "weight with them, unless --ramp-up is given.",
        within=SEEDS,
        metavar="STEPS",
        added=True,
    )
    time_shift: float = setting(
        0.0, "The standard deviation of random shifts in time, in frames.", within="[0, 1e6]"
    )
    shift_mode: str = setting(
        "roll",
        "roll: what is shifted out of a clip enters at its other end; pad: it is lost.",
        choices=("roll", "pad"),
    )
    augment: tuple[str, ...] = setting(
        (),
        "Change batches by this augmentation, NAME[:key=value,...], as in mixup:alpha=0.2: "
        f"{', '.join(AUGMENTATION_NAMES)}. May be given several times.",
        names=AUGMENTATION_NAMES,
        metavar="NAME[:key=value,...]",
        added=True,
    )
    loss: str = setting(
        LOSS_NAMES[0],
        "The loss of frames and clips, NAME[:key=value,...]: bce (binary cross-entropy; "
        "bce:edges=1 weights frames by onsets and offsets), or that of a plugin.",
        names=LOSS_NAMES,
        added=True,
    )
    clip_weight: float = setting(
        1.0,
        "The weight of the clip loss, that of weak labels; with 0 the pooling stays as it starts.",
        within="[0, 1e6]",
        added=True,
    )
    frame_weight: float = setting(
        1.0, "The weight of the frame loss, that of strong labels.", within="[0, 1e6]", added=True
    )
    seed: int = setting(0, "The seed of everything that is drawn at random.", within=SEEDS)
    amp: str = setting("off", "Mixed precision on a GPU.", choices=("off", "bf16", "fp16"))
    select_by: str = setting(
        "auto",
        "The validation score of the best epoch; those of events need strong labels. auto: "
        "event_f1 where strong labels are both learned from and validated on, else clip_f1; or the "
        "last epoch, where few clips are held out.",
        choices=("auto", "clip_f1", "event_f1", "clip_f1+event_f1", "loss", "last"),
    )
    collar: Seconds = as_in(EvaluationConfig, "collar")  # of event_f1
    offset_ratio: float = as_in(EvaluationConfig, "offset_ratio")
    patience: int = setting(
        0, "Stop after this many epochs without a better score; 0 means never.", within="[0, 1e6]"
    )
    validation_fraction: float = setting(
        0.1,
        "The share of the training clips to validate on where no validation labels are given.",
        within="(0, 1)",
    )
    save_every: float = setting(
        10.0,
        "Save within an epoch after this many minutes; every epoch ends with a save.",
        within="(0, 1e6]",
    )
    tune: bool = setting(
        True,
        "Whether training ends by fitting thresholds and median filter lengths to the validation "
        "clips, as `sedtool tune` does.",
        paired=True,
    )
    keep_epochs: tuple[int, ...] = setting(
        (), "Keep the models of these epochs, as RUN/epochs/040.safetensors.", metavar="N,N,..."
    )
    touching_gap: int = setting(
        0,
        "Output frames before an event that are learned as free where another of its class ends "
        "there; with 0 such events are learned, and found, as one.",
        within="[0, 1000]",
        metavar="FRAMES",
        added=True,
    )
    strong_clip_loss: bool = setting(
        False, "Whether clips with strong labels count in the clip loss, too.", paired=True
    )
    soft_confidence: bool = setting(
        False,
        "Whether the confidence of a strong label, 0 to 1, is the target of its frames in place of "
        "1. What is validated on has a confidence of --min-confidence, or 0.5, and more.",
        paired=True,
        added=True,
    )

    # Of the mean teacher alone; their names are MEAN_TEACHER.
    consistency: float = setting(
        2.0, "The weight of the consistency loss after the ramp.", within="[0, 1e6]"
    )
    ramp_up: int = setting(
        0,
        "Steps until that weight is reached; 0 means those of --warm-up, or half of all steps.",
        within=SEEDS,
    )
    ema: float = setting(
        0.999, "The share that the teacher keeps of its own weights in a step.", within="[0, 1)"
    )
    ema_buffers: bool = setting(
        True, "Whether batch-norm statistics are averaged like the weights.", paired=True
    )
    noise: float = setting(
        0.25,
        "The standard deviation of the noise on the teacher's input, in units of --noise-domain.",
        within="[0, 1e6]",
    )
    noise_domain: str = setting(
        "normalised",
        "normalised: standard deviations of each mel band; linear: mel values themselves.",
        choices=("normalised", "linear"),
    )
    final: str = setting(
        "student", "Which network becomes model.safetensors.", choices=("student", "teacher")
    )

    def __post_init__(self) -> None:
        require_valid(self)
        for epoch in self.keep_epochs:
            require(
                1 <= epoch <= (self.epochs or epoch),  # which may not be known yet
                f"epoch {epoch} to keep (keep-epochs) is none of 1 to {self.epochs}",
            )
        if self.method == "mean-teacher" and not self.batch_size:
            object.__setattr__(self, "batch_size", suited(0, self.method)["batch_size"])
        if self.batch_size:
            self._check_batch_size()
        if self.arch != _NOT_GIVEN["arch"]:
            parse_architecture(self.arch)
        names = [augmentation.name for augmentation in self.augmentations]
        double = next((name for name in names if names.count(name) > 1), None)
        require(double is None, f"augment has {double} twice")

    def _check_batch_size(self) -> None:
        given = ",".join(map(str, self.batch_size))
        method, n_kinds, wanted = f"method {self.method}", 1, "one number"
        if self.method == "mean-teacher":
            method, n_kinds = self.method, 3
            wanted = "three numbers, of weak, unlabelled and strong clips, such as 6,12,6"
        require(
            len(self.batch_size) == n_kinds,
            f"batch_size of {method} must be {wanted}, not {quoted(given)}",
        )
        require(sum(self.batch_size) > 0, f"batch_size must not be {given}")

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """Return kind and name of all that is chosen by name."""
        named = (
            *(PoolingConfig.parse(self.pooling), LossConfig.parse(self.loss)),
            *self.augmentations,
        )
        block = parse_architecture("small" if self.arch == "auto" else self.arch).block
        return (*(name for each in named for name in each.names), ("block", block))

    @property
    def rate_of_pooling(self) -> float:
        """The learning rate of the pooling's own parameters."""
        return self.pooling_lr or PoolingConfig.parse(self.pooling).rate or self.lr

    @property
    def augmentations(self) -> tuple[AugmentationConfig, ...]:
        """The augmentations, a shift in time first."""
        shift: dict[str, float | str] = {"std": self.time_shift, "mode": self.shift_mode}
        first = [AugmentationConfig("time-shift", shift)] if self.time_shift else []
        return (*first, *map(AugmentationConfig.parse, self.augment))

    def with_chosen(self, values: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Return the settings with those of `values` that are chosen if not given, and these."""
        unset = [name for name, value in _NOT_GIVEN.items() if getattr(self, name) == value]
        chosen = {name: values[name] for name in unset if name in values}
        return replace(self, **chosen), chosen

    def chosen_in(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return those settings of a run that were not given, as its run.json says."""
        names = record.get("chosen") if record else [*_NOT_GIVEN]  # it may be damaged
        if not isinstance(names, list):  # by an older version, to which all clips were many
            return suited(FEW_CLIPS, self.method)
        return {name: value for name, value in vars(self).items() if name in names}

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
