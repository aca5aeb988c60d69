"""What log-mel features are, and how an extraction is run."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

from sedtool.config.base import DEVICES, Checked, is_within, require, require_valid, setting
from sedtool.text import quoted

PRESET = "dcase2017"  # of FEATURE_PRESETS
STDIN_NAME = "stdin"  # of the clip that standard input is
FRAME_RATES = "[1e-6, 1000]"  # frames a second; more take memory and time without an end
CHECK_WORKERS = 4  # files that `check` looks at at a time
DEMO_WORKERS = 2


@dataclass(frozen=True)
class FeatureConfig:
    """What log-mel features are: two files made with equal settings may be mixed."""

    sample_rate: int = setting(
        16_000, "The rate in Hz that audio is resampled to.", within="[1000, 384000]"
    )
    n_fft: int = setting(
        1024,
        "Samples in a Fourier transform. The analysis window is as long unless --win-length is "
        "given.",
        within="[2, 65536]",
    )
    win_length: int = setting(1024, "Samples in an analysis window.")  # centred in n_fft
    hop_length: int = setting(400, "Samples from one frame to the next.")
    n_mels: int = setting(64, "The number of mel bands.", within="[1, 1024]")
    fmin: float = setting(0.0, "The lower edge of the lowest mel band in Hz.")
    fmax: float = setting(8_000.0, "The upper edge of the highest mel band in Hz.")
    window: str = setting("hann", "The analysis window; periodic.", choices=("hann", "hamming"))
    mel_scale: str = setting(
        "htk", "The mel scale; never area-normalised.", choices=("htk", "slaney")
    )
    power: int = 2  # 1: magnitude, 2: power
    log: str = "ln"  # "ln": ln(x + floor); "db": 20 log10(max(x, floor)) of a magnitude
    floor: float = setting(1e-10, "The least power that has a logarithm.", within="(0, 1e6]")
    channel: str = setting("mean", "The channel to use, counted from 0, or the mean of all.")
    resampler: str = "soxr HQ"  # decides reproducibility more than the FFT does

    def __post_init__(self) -> None:
        require_valid(self)
        require(self.n_fft % 2 == 0, f"n_fft must be even, not {self.n_fft}")
        require(
            1 < self.win_length <= self.n_fft,
            f"win_length must be 2 to n_fft = {self.n_fft} samples, not {self.win_length}",
        )
        require(
            1 <= self.hop_length <= self.n_fft,
            f"hop_length must be 1 to n_fft = {self.n_fft} samples, not {self.hop_length}",
        )
        least = self.sample_rate / 1000
        what = f"hop_length must be 1 ms at least, {least:g} samples, not {self.hop_length}"
        require(is_within(FRAME_RATES, self.frame_rate), what)
        require(
            0 <= self.fmin < self.fmax <= self.sample_rate / 2,
            f"0 <= fmin < fmax <= {self.sample_rate / 2:g} Hz (half the sample rate) must hold, "
            f"not fmin = {self.fmin:g}, fmax = {self.fmax:g}",
        )
        require(
            (self.log, self.power) in (("ln", 1), ("ln", 2), ("db", 1)),
            f"log must be ln, or db with power 1, not {quoted(self.log)} with power {self.power}",
        )
        require(
            self.channel == "mean" or self.channel.isdecimal(),
            f"channel must be 'mean' or a channel number from 0, not {quoted(self.channel)}",
        )

    @property
    def decibel(self) -> float:
        """A decibel, in units of stored values."""
        return 1.0 if self.log == "db" else self.power * math.log(10) / 20

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
    # 625 frames x 128 mels for 10 s, as in the baselines of DCASE 2021 to 2023, whose window is
    # symmetric; the floor is the least value there, -50 dB. For the networks crnn7.
    "desed": FeatureConfig(
        n_fft=2048,
        win_length=2048,
        hop_length=256,
        n_mels=128,
        window="hamming",
        power=1,
        log="db",
        floor=10**-2.5,
    ),
    # Frames of 10 ms, from windows of 20 ms, up to 16 kHz: for bird syllables, clicks and the
    # like, which last some 50 ms; with a network that pools none of them (time-pooling=1).
    "short": FeatureConfig(sample_rate=32_000, win_length=640, hop_length=320, fmax=16_000.0),
}


UPDATE_OR_OVERWRITE = "--update keeps what --overwrite makes anew: give one of them"


@dataclass(frozen=True, kw_only=True)
class FilesConfig(Checked):
    """How a list of files is worked through."""

    workers: int = setting(  # changes no byte of the output
        1, "How many files are processed at a time, 1 to 256.", within="[1, 256]"
    )
    shard: str | None = setting(
        None,
        "Do part I of N, counted from 1. With auto, the variables of the job array say which.",
        metavar="I/N|auto|auto/N",
    )
    allow_truncated: bool = setting(False, "Use files that are cut off up to where they end.")
    fail_fast: bool = setting(False, "Stop at the first file that fails.")


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(FilesConfig):
    """How an extraction is run; what the features are is `FeatureConfig`."""

    engine: str = setting(
        "native",
        "The library that computes the spectra: sedtool itself, or torchaudio.",
        choices=("native", "torchaudio"),
    )
    device: str = setting("cpu", "Where torchaudio runs: cpu, cuda, cuda:1 or mps.", names=DEVICES)
    dtype: str = setting(
        "f16", "The number type in which features are stored.", choices=("f16", "f32")
    )
    overwrite: bool = False  # replace a complete output
    update: bool = False  # take over from it the clips whose files are unchanged

    def __post_init__(self) -> None:
        require_valid(self)
        require(
            self.engine != "native" or self.device == "cpu",
            "--device says where torchaudio runs: give --engine torchaudio, too",
        )
        require(not (self.update and self.overwrite), UPDATE_OR_OVERWRITE)
