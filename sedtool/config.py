"""The settings of every stage: one frozen dataclass each, and every default written once, here.

Nothing heavy is imported, so the command line can borrow the defaults without paying for torch.
A value out of range is a ConfigError, never clamped.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

from sedtool.errors import ArtifactError, ConfigError

__all__ = [
    "ARCHITECTURES",
    "FEATURE_PRESETS",
    "ArchitectureConfig",
    "DecodingConfig",
    "EvaluationConfig",
    "FailurePolicy",
    "FeatureConfig",
    "PoolingConfig",
    "TrainConfig",
    "TuneConfig",
    "WindowConfig",
    "from_json",
    "lookup",
    "to_json",
]

Seconds = float
T = TypeVar("T")

_MOST = 1_000_000  # epochs, steps, clips in a batch, seconds: more is a slip of the hand


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _require_finite(config: Any) -> None:
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if isinstance(value, float):
            _require(math.isfinite(value), f"{entry.name} must be a finite number, not {value}")


def _require_within(low: int, high: int, config: Any, *names: str) -> None:
    least = f"be at least {low}" if low else "not be negative"
    for name in names:
        value = getattr(config, name)
        _require(value >= low, f"{name} must {least}, but is {value}")
        _require(value <= high, f"{name} must be at most {high}, not {value}")


def lookup(table: dict[str, T], name: str, what: str) -> T:
    """Return ``table[name]``, or raise a ConfigError that lists the valid names."""
    if name not in table:
        close = get_close_matches(name, table, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"unknown {what} {name!r}; one of: {', '.join(sorted(table))}{hint}")
    return table[name]


def to_json(config: Any) -> str:
    """Return a dataclass as JSON with sorted keys, as it is stored in an artifact."""
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def from_json(cls: type[T], text: str, where: str) -> T:
    """Rebuild a flat dataclass that `to_json` wrote; `where` names the artifact in errors.

    The text may be a stranger's, so every field must be there, and of its declared type.
    """
    try:
        values = {name: _tuples(value) for name, value in json.loads(text).items()}
        hints = get_type_hints(cls)
        types = {entry.name: hints[entry.name] for entry in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for name in values.keys() ^ types.keys():
            raise ValueError(f"{name} is {'foreign' if name in values else 'missing'}")
        for name, value in values.items():
            if not _fits(value, types[name]):
                raise TypeError(f"{name} is {str(value)[:80]!r}, and so of a wrong type")
        return cls(**values)
    except (ValueError, TypeError, AttributeError, RecursionError, ConfigError) as error:
        raise ArtifactError(f"{where}: settings cannot be read ({str(error)[:200]})") from error


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of an annotated type; JSON may drop the fraction of a float."""
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value) if isinstance(value, tuple) else ()
        return (
            isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
        )
    return type(value) in (int, float) if kind is float else type(value) is kind


@dataclass(frozen=True)
class FeatureConfig:
    """What log-mel features are: two files made with equal settings may be mixed."""

    sample_rate: int = 16_000  # Hz; audio is resampled to it
    n_fft: int = 1024  # samples
    win_length: int = 1024  # samples, centred in n_fft
    hop_length: int = 400  # samples from one frame to the next
    n_mels: int = 64
    fmin: float = 0.0  # Hz
    fmax: float = 8_000.0  # Hz
    window: str = "hann"  # or "hamming"; both periodic
    mel_scale: str = "htk"  # or "slaney"; never area-normalised
    power: int = 2  # 1: magnitude, 2: power
    log: str = "ln"  # "ln": ln(x + floor); "db": 20 log10(max(x, floor)) of a magnitude
    floor: float = 1e-10
    channel: str = "mean"  # or the number of one channel, from 0
    resampler: str = "soxr HQ"  # decides reproducibility more than the FFT does

    def __post_init__(self) -> None:
        _require_finite(self)
        _require(
            1_000 <= self.sample_rate <= 384_000,
            f"sample_rate must be 1000 to 384000 Hz, not {self.sample_rate}",
        )
        _require(
            2 <= self.n_fft <= 2**20 and self.n_fft % 2 == 0,
            f"n_fft must be even and 2 to {2**20} samples, not {self.n_fft}",
        )
        _require(
            1 < self.win_length <= self.n_fft,
            f"win_length must be 2 to n_fft = {self.n_fft} samples, not {self.win_length}",
        )
        _require(
            1 <= self.hop_length <= self.n_fft,
            f"hop_length must be 1 to n_fft = {self.n_fft} samples, not {self.hop_length}",
        )
        _require(1 <= self.n_mels <= 1024, f"n_mels must be 1 to 1024, not {self.n_mels}")
        _require(
            0 <= self.fmin < self.fmax <= self.sample_rate / 2,
            f"0 <= fmin < fmax <= {self.sample_rate / 2:g} Hz (half the sample rate) must hold, "
            f"not fmin = {self.fmin:g}, fmax = {self.fmax:g}",
        )
        _require(
            self.window in ("hann", "hamming"),
            f"window must be hann or hamming, not {self.window!r}",
        )
        _require(
            self.mel_scale in ("htk", "slaney"),
            f"mel_scale must be htk or slaney, not {self.mel_scale!r}",
        )
        _require(
            (self.log, self.power) in (("ln", 1), ("ln", 2), ("db", 1)),
            f"log must be ln, or db with power 1, not {self.log!r} with power {self.power}",
        )
        _require(self.floor > 0, f"floor must be positive, not {self.floor}")
        _require(
            self.channel == "mean" or self.channel.isdecimal(),
            f"channel must be 'mean' or a channel number from 0, not {self.channel!r}",
        )

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_length

    def n_frames(self, n_samples: int) -> int:
        """Return the number of centred frames of a clip: ceil(samples / hop)."""
        return -(-n_samples // self.hop_length)

    def with_overrides(self, **values: Any) -> Self:
        """Return a copy with the values that are not None, e.g. from the command line.

        A sample rate that lowers the Nyquist frequency takes an `fmax` that was not given with it.
        """
        given = {k: v for k, v in values.items() if v is not None}
        rate = given.get("sample_rate", self.sample_rate)
        given.setdefault("fmax", min(self.fmax, rate / 2))
        if "n_fft" in given and "win_length" not in given:
            given["win_length"] = given["n_fft"]
        return dataclasses.replace(self, **given)


FEATURE_PRESETS: dict[str, FeatureConfig] = {
    # 400 frames x 64 mels for 10 s. The paper states the shape only; the rate and the window are
    # ours, since the reference system never published its feature extraction.
    "dcase2017": FeatureConfig(),
    # 864 frames x 64 mels for 10 s, as in the DCASE 2019 task 4 baseline, except for its
    # top_db = 80, which makes every frame depend on the loudest one of its clip.
    "dcase2019": FeatureConfig(
        sample_rate=44_100,
        n_fft=2048,
        win_length=2048,
        hop_length=511,
        fmax=22_050.0,
        window="hamming",
        mel_scale="slaney",
        power=1,
        log="db",
        floor=1e-5,
    ),
}


@dataclass(frozen=True)
class ArchitectureConfig:
    """The shape of a CRNN: convolutional blocks, then bidirectional GRU layers."""

    channels: tuple[int, ...] = (32, 64, 128)
    kernels: tuple[int, ...] = (5, 5, 5)  # square, odd
    pools: tuple[tuple[int, int], ...] = ((1, 2), (2, 2), (2, 2))  # (time, frequency)
    gru_units: int = 100  # per direction
    gru_layers: int = 2
    dropout: float = 0.0  # before every layer but the first

    def __post_init__(self) -> None:
        _require(
            0 < len(self.channels) == len(self.kernels) == len(self.pools) <= 16,
            "channels, kernels and pools must name the same number of blocks, of 16 at most",
        )
        # A stranger's model is built from these before anything else of it is looked at.
        _require(
            all(1 <= c <= 4096 for c in self.channels),
            f"channels must be 1 to 4096, not {self.channels}",
        )
        _require(
            all(k % 2 == 1 and 1 <= k <= 31 for k in self.kernels),
            f"kernels must be odd and 1 to 31, not {self.kernels}",
        )
        _require(
            all(1 <= size <= 64 for pool in self.pools for size in pool),
            f"pools must be 1 to 64, not {self.pools}",
        )
        _require(
            self.time_pooling <= 1024,
            f"pools must not join more than 1024 frames, but join {self.time_pooling}",
        )
        _require(1 <= self.gru_units <= 4096, f"gru_units must be 1 to 4096, not {self.gru_units}")
        _require(1 <= self.gru_layers <= 16, f"gru_layers must be 1 to 16, not {self.gru_layers}")
        _require(0 <= self.dropout < 1, f"dropout must be in [0, 1), not {self.dropout}")

    @property
    def time_pooling(self) -> int:
        """Feature frames that become one output frame."""
        return math.prod(time for time, _ in self.pools)


ARCHITECTURES: dict[str, ArchitectureConfig] = {
    "dcase2017": ArchitectureConfig(),
    "small": ArchitectureConfig(channels=(16, 32, 64), gru_units=64),
}


@dataclass(frozen=True)
class PoolingConfig:
    """A pooling by name, with its options; both are checked where the pooling is made."""

    name: str = "power"
    options: dict[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NAME[:key=value,...]``, e.g. ``power:init=1,max=20,lambda=1e-4``."""
        name, _, rest = text.partition(":")
        options: dict[str, float] = {}
        for item in filter(None, rest.split(",")):
            key, equals, value = item.partition("=")
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            _require(
                bool(equals) and abs(number) <= 1e6,
                f"pooling option {item!r} of {text!r} is not key=number, of 1e6 at most",
            )
            _require(key not in options, f"pooling option {key!r} is given twice in {text!r}")
            options[key] = number
        return cls(name, options)

    def __str__(self) -> str:
        """Return the text that `parse` reads back."""
        options = ",".join(f"{key}={value:g}" for key, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained from weak labels."""

    method: str = "weak"
    pooling: str = "power"  # NAME[:key=value,...]
    arch: str = "dcase2017"  # a name in ARCHITECTURES
    epochs: int = 50
    steps_per_epoch: int = 0  # 0: ceil(clips / batch_size)
    batch_size: int = 32  # clips
    balance: str = "classes"  # or "none"
    lr: float = 1e-3  # Adam
    pooling_lr: float = 0.0  # learning rate of the pooling's own parameters; 0: the same as lr
    schedule: str = "plateau"  # halve the rate when the validation loss stalls; or "constant"
    plateau_patience: int = 5  # epochs without a lower validation loss before the rate halves
    time_shift: float = 0.0  # standard deviation of a random shift in time, feature frames
    seed: int = 0
    amp: str = "off"  # or "bf16", "fp16"
    select_by: str = "clip_f1"  # or "loss", "event_f1" (needs strong validation labels)
    patience: int = 0  # epochs without a better validation score before training stops; 0: never
    validation_fraction: float = 0.1  # of the training clips, where no validation labels are given
    save_every: float = 10.0  # minutes between checkpoints inside an epoch

    def __post_init__(self) -> None:
        _require_finite(self)
        _require_within(1, _MOST, self, "epochs", "batch_size", "plateau_patience")
        _require_within(0, _MOST, self, "steps_per_epoch", "patience", "time_shift", "pooling_lr")
        _require_within(0, 2**63 - 1, self, "seed")
        _require(0 < self.lr < 1e30, f"lr must be positive and under 1e30, not {self.lr}")
        _require(
            0 < self.save_every <= _MOST,
            f"save_every must be positive, and at most {_MOST}, not {self.save_every}",
        )
        _require(
            0 < self.validation_fraction < 1,
            f"validation_fraction must be in (0, 1), not {self.validation_fraction}",
        )
        choices = {
            "method": ("weak",),
            "balance": ("classes", "none"),
            "schedule": ("plateau", "constant"),
            "amp": ("off", "bf16", "fp16"),
            "select_by": ("clip_f1", "event_f1", "loss"),
        }
        for name, valid in choices.items():
            value = getattr(self, name)
            _require(value in valid, f"{name} must be one of {', '.join(valid)}, not {value!r}")
        lookup(ARCHITECTURES, self.arch, "architecture")


@dataclass(frozen=True)
class DecodingConfig:
    """How frame scores become events; one threshold and one window for each class."""

    thresholds: tuple[float, ...]  # a frame is active where its score is above it
    clip_thresholds: tuple[float, ...]  # a class is silenced unless its clip score is above it
    windows: tuple[Seconds, ...]  # of the median filter; 0: none
    gate: bool = True  # whether clip scores silence classes at all
    min_duration: Seconds = 0.0  # shorter events are dropped, after merging
    merge_gap: Seconds = 0.0  # events of one class at most this far apart become one

    threshold: ClassVar[float] = 0.5  # what an untuned model uses
    window: ClassVar[Seconds] = 0.3  # what an untuned model uses

    def __post_init__(self) -> None:
        sizes = {len(self.thresholds), len(self.clip_thresholds), len(self.windows)}
        _require(len(sizes) == 1, "thresholds, clip_thresholds and windows differ in length")
        for name in ("thresholds", "clip_thresholds"):
            for value in getattr(self, name):
                _require(0 <= value <= 1, f"{name} must be in [0, 1], not {value}")
        for value in (*self.windows, self.min_duration, self.merge_gap):
            _require(
                0 <= value < math.inf,
                f"windows, min_duration and merge_gap must be seconds from 0 up, not {value}",
            )
        _require_within(0, _MOST, self, "min_duration", "merge_gap")
        longest = max(self.windows, default=0.0)  # memory grows with it, whatever the recording
        _require(longest <= 3_600, f"windows must be at most 3600 s, not {longest:g}")

    @classmethod
    def default(cls, n_classes: int) -> Self:
        """Return what an untuned model uses: one threshold and one window for every class."""
        halves = (cls.threshold,) * n_classes
        return cls(halves, halves, (cls.window,) * n_classes)


@dataclass(frozen=True)
class WindowConfig:
    """How long recordings are cut for the network."""

    window: Seconds = 10.0  # longer clips are cut into overlapping windows of this length
    overlap: float = 0.5  # of one window with the next, in [0, 1)
    batch_size: int = 8  # windows at a time

    def __post_init__(self) -> None:
        _require(
            0 < self.window <= _MOST,
            f"window must be positive, and {_MOST} s at most, not {self.window}",
        )
        _require(0 <= self.overlap < 1, f"overlap must be in [0, 1), not {self.overlap}")
        _require_within(1, _MOST, self, "batch_size")


@dataclass(frozen=True)
class FailurePolicy:
    """How many inputs may fail before a run that finished counts as failed."""

    tolerate: str = "0"  # a number of inputs, or a percentage such as "5%"
    fail_fast: bool = False  # stop at the first failure, whatever is tolerated

    def __post_init__(self) -> None:
        limit, is_share = self._limit()
        _require(
            0 <= limit <= (100 if is_share else math.inf),
            f"tolerate must be a number of files, or 0% to 100%, not {self.tolerate!r}",
        )

    def allows(self, n_failed: int, n_total: int) -> bool:
        """Return whether so many failures out of so many inputs are tolerated."""
        limit, is_share = self._limit()
        return n_failed <= (limit / 100 * n_total if is_share else limit)

    def _limit(self) -> tuple[float, bool]:
        """Return the number, and whether it is a percentage; -1 if it is none."""
        is_share = self.tolerate.endswith("%")
        text = self.tolerate.removesuffix("%")
        try:
            limit = float(text) if is_share else float(int(text))
        except ValueError:
            return -1.0, is_share
        return (limit if math.isfinite(limit) else -1.0), is_share


@dataclass(frozen=True)
class TuneConfig:
    """The grid on which frame thresholds and median windows are searched."""

    thresholds: tuple[float, ...] = tuple(round(0.05 * i, 2) for i in range(1, 20))
    windows: tuple[Seconds, ...] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
    duration_ratio: float = 1 / 3  # window over mean event duration, where only durations are known


@dataclass(frozen=True)
class EvaluationConfig:
    """Tolerances and conventions of the metrics."""

    collar: Seconds = 0.2  # tolerance on onsets; at least this on offsets
    offset_ratio: float = 0.2  # tolerance on offsets as a share of the reference event's length
    segment: Seconds = 1.0  # length of the cells of segment-based F1
    engine: Literal["native", "sed_eval"] = "native"
    compat: Literal["", "dcase"] = ""  # "dcase": sed_eval's rules for undefined classes

    def __post_init__(self) -> None:
        _require_finite(self)
        _require_within(0, _MOST, self, "collar", "offset_ratio")
        _require(
            0 < self.segment <= _MOST,
            f"segment must be positive, and at most {_MOST}, not {self.segment}",
        )
        engines = ("native", "sed_eval")
        _require(self.engine in engines, f"unknown engine {self.engine!r}; {' or '.join(engines)}")
        _require(self.compat in ("", "dcase"), f"unknown compat {self.compat!r}; only 'dcase'")
