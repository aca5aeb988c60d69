"""What log-mel features are, and how an extraction is run."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from sedtool.config.base import require, require_finite

__all__ = [
    "CHECK_WORKERS",
    "DEMO_WORKERS",
    "ENGINES",
    "FEATURE_PRESETS",
    "PRESET",
    "STDIN_NAME",
    "STORED_TYPES",
    "ExtractConfig",
    "FeatureConfig",
]

ENGINES = ("native", "torchaudio")
STORED_TYPES = ("f16", "f32")
PRESET = "dcase2017"  # of FEATURE_PRESETS
STDIN_NAME = "stdin"  # of the clip that standard input is
CHECK_WORKERS = 4  # files that `check` looks at at a time
DEMO_WORKERS = 2


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
        require_finite(self)
        require(
            1_000 <= self.sample_rate <= 384_000,
            f"sample_rate must be 1000 to 384000 Hz, not {self.sample_rate}",
        )
        require(
            2 <= self.n_fft <= 2**20 and self.n_fft % 2 == 0,
            f"n_fft must be even and 2 to {2**20} samples, not {self.n_fft}",
        )
        require(
            1 < self.win_length <= self.n_fft,
            f"win_length must be 2 to n_fft = {self.n_fft} samples, not {self.win_length}",
        )
        require(
            1 <= self.hop_length <= self.n_fft,
            f"hop_length must be 1 to n_fft = {self.n_fft} samples, not {self.hop_length}",
        )
        require(1 <= self.n_mels <= 1024, f"n_mels must be 1 to 1024, not {self.n_mels}")
        require(
            0 <= self.fmin < self.fmax <= self.sample_rate / 2,
            f"0 <= fmin < fmax <= {self.sample_rate / 2:g} Hz (half the sample rate) must hold, "
            f"not fmin = {self.fmin:g}, fmax = {self.fmax:g}",
        )
        choices = {"window": ("hann", "hamming"), "mel_scale": ("htk", "slaney")}
        for name, valid in choices.items():
            value = getattr(self, name)
            require(value in valid, f"{name} must be {' or '.join(valid)}, not {value!r}")
        require(
            (self.log, self.power) in (("ln", 1), ("ln", 2), ("db", 1)),
            f"log must be ln, or db with power 1, not {self.log!r} with power {self.power}",
        )
        require(self.floor > 0, f"floor must be positive, not {self.floor}")
        require(
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
class ExtractConfig:
    """How an extraction is run; what the features are is `FeatureConfig`."""

    workers: int = 1  # files at a time; changes no byte of the output
    engine: str = "native"  # or "torchaudio"
    device: str = "cpu"  # where torchaudio runs
    dtype: str = "f16"  # or "f32", as stored
    shard: str | None = None  # the part of all files that is done: I/N, auto or auto/N
    allow_truncated: bool = False  # whether a file whose end is missing is used as far as it goes
    fail_fast: bool = False  # stop at the first file that cannot be used
    overwrite: bool = False  # replace a complete output

    def __post_init__(self) -> None:
        require(self.workers >= 1, f"workers must be at least 1, not {self.workers}")
        for name, valid in (("engine", ENGINES), ("dtype", STORED_TYPES)):
            value = getattr(self, name)
            require(value in valid, f"{name} must be {' or '.join(valid)}, not {value!r}")
        require(
            self.engine != "native" or self.device == "cpu",
            "--device says where torchaudio runs: give --engine torchaudio, too",
        )
