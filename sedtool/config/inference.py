"""How clips are scored and decoded, and where tuning looks for the settings of decoding."""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

from sedtool.config.base import DEVICE, MOST, Seconds, require, require_within

__all__ = [
    "EVENT_FORMAT",
    "DecodingConfig",
    "FailurePolicy",
    "InferConfig",
    "TuneConfig",
    "WindowConfig",
]


EVENT_FORMAT = "dcase"  # of event lists


@dataclass(frozen=True)
class DecodingConfig:
    """How frame scores become events, with thresholds and a median filter for each class."""

    thresholds: tuple[float, ...]  # a frame is active where its score is above it
    clip_thresholds: tuple[float, ...]  # a class is silenced unless its clip score is above it
    windows: tuple[Seconds, ...]  # median filter lengths; 0: no filter
    gate: bool = True  # whether clip scores silence classes at all
    min_duration: Seconds = 0.0  # shorter events are dropped, after merging
    merge_gap: Seconds = 0.0  # events of one class at most this far apart become one

    threshold: ClassVar[float] = 0.5  # of an untuned model
    window: ClassVar[Seconds] = 0.3  # median filter length of an untuned model

    def __post_init__(self) -> None:
        sizes = {len(self.thresholds), len(self.clip_thresholds), len(self.windows)}
        require(len(sizes) == 1, "thresholds, clip_thresholds and windows differ in length")
        for name in ("thresholds", "clip_thresholds"):
            for value in getattr(self, name):
                require(0 <= value <= 1, f"{name} must be in [0, 1], not {value}")
        for value in (*self.windows, self.min_duration, self.merge_gap):
            require(
                0 <= value < math.inf,
                f"windows, min_duration and merge_gap must be seconds from 0 up, not {value}",
            )
        require_within(0, MOST, self, "min_duration", "merge_gap")
        longest = max(self.windows, default=0.0)  # memory grows with it, however short the clip
        require(longest <= 3_600, f"windows must be at most 3600 s, not {longest:g}")

    @classmethod
    def default(cls, n_classes: int) -> Self:
        """Return what an untuned model uses, which is the same for every class."""
        halves = (cls.threshold,) * n_classes
        return cls(halves, halves, (cls.window,) * n_classes)


@dataclass(frozen=True)
class WindowConfig:
    """How long clips are cut into scoring windows for the network."""

    window: Seconds = 10.0  # length of the scoring windows; a shorter clip is one
    overlap: float = 0.5  # of one window with the next, in [0, 1)
    batch_size: int = 8  # windows at a time

    def __post_init__(self) -> None:
        require(
            0 < self.window <= MOST,
            f"window must be positive, and {MOST} s at most, not {self.window}",
        )
        require(0 <= self.overlap < 1, f"overlap must be in [0, 1), not {self.overlap}")
        require_within(1, MOST, self, "batch_size")


@dataclass(frozen=True)
class InferConfig:
    """How clips are scored and decoded, and how the work is done.

    "auto" and None take what the model was trained and tuned with. What a clip scores depends on
    none of the second group but `device`, which moves its last bits.
    """

    threshold: str = "auto"  # or a number, or a TSV file: event_label, threshold
    clip_threshold: str = "auto"  # or a number, or "off"
    median: str = "auto"  # or seconds, or "off"
    min_duration: Seconds = DecodingConfig.min_duration
    merge_gap: Seconds = DecodingConfig.merge_gap
    window: Seconds | None = None  # length of the scoring windows
    overlap: float = WindowConfig.overlap
    batch_size: int = WindowConfig.batch_size  # scoring windows of one clip
    amp: str = "off"  # or "bf16", "fp16"

    device: str = DEVICE
    workers: int = 1  # clips whose features are computed at a time
    shard: str | None = None  # the part of all clips that is scored: I/N, auto or auto/N
    allow_truncated: bool = False  # whether a file whose end is missing is used as far as it goes
    partial: bool = False  # whether features may be parts of which others are missing
    fail_fast: bool = False  # stop at the first clip that cannot be used

    def __post_init__(self) -> None:
        require(self.workers >= 1, f"--workers must be at least 1, not {self.workers}")


@dataclass(frozen=True)
class FailurePolicy:
    """How many inputs may fail before a run that finished counts as failed."""

    tolerate: str = "0"  # a number of inputs, or a percentage such as "5%"
    fail_fast: bool = False  # stop at the first failure, whatever is tolerated

    def __post_init__(self) -> None:
        limit, is_share = self._limit()
        require(
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
    """The grid on which frame thresholds and median filter lengths are searched."""

    thresholds: tuple[float, ...] = tuple(round(0.05 * i, 2) for i in range(1, 20))
    windows: tuple[Seconds, ...] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
    duration_ratio: float = 1 / 3  # median filter length over mean event duration
