"""How clips are scored and decoded, and where tuning looks for the settings of decoding."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from sedtool.config.base import (
    DEVICE,
    DEVICES,
    REQUIRED,
    Checked,
    Seconds,
    as_in,
    is_within,
    require,
    require_valid,
    setting,
)
from sedtool.config.evaluation import EvaluationConfig
from sedtool.config.extraction import FilesConfig
from sedtool.config.training import LookupConfig, TrainConfig
from sedtool.text import quoted

EVENT_FORMAT = "dcase"  # of event lists
_BOXES = ("(0, 60]", "[0, 1]", "[1, 1000]")  # what their settings must be in
MOST_MEDIAN = 150_000  # frames of a median filter: an hour of 40 a second


@dataclass(frozen=True)
class DecodingConfig:
    """How frame scores become events, with thresholds and a median filter for each class."""

    thresholds: tuple[float, ...]  # a frame is active where its score is above it
    clip_thresholds: tuple[float, ...]  # a class is silenced unless its clip score is above it
    windows: tuple[Seconds, ...]  # median filter lengths; 0: no filter
    gate: bool = True  # whether clip scores silence classes at all
    min_duration: Seconds = setting(  # after merging
        0.0, "Leave out events that are shorter than these seconds.", within="[0, 1e6]"
    )
    merge_gap: Seconds = setting(
        0.0, "Join events of a class with less than these seconds between them.", within="[0, 1e6]"
    )
    boxes: tuple[tuple[float, ...], ...] = setting(
        (),
        "Of each class that has boxes in place of a filter their step in seconds, and the absolute "
        "and relative difference of levels; nothing of the others, or no class.",
        added=True,
    )

    threshold: ClassVar[float] = 0.5  # of an untuned model
    window: ClassVar[Seconds] = 0.3  # median filter length of an untuned model

    def __post_init__(self) -> None:
        require_valid(self)
        sizes = {len(self.thresholds), len(self.clip_thresholds), len(self.windows)}
        require(len(sizes) == 1, "thresholds, clip_thresholds and windows differ in length")
        for name in ("thresholds", "clip_thresholds"):
            for value in getattr(self, name):
                require(0 <= value <= 1, f"{name} must be in [0, 1], not {value}")
        for value in self.windows:
            require(0 <= value < math.inf, f"median filters must last 0 s or more, not {value} s")
        require(len(self.boxes) in (0, *sizes), "boxes and thresholds differ in length")
        for window, box in zip(self.windows, self.boxes, strict=False):
            is_valid = len(box) == 3 and not window and all(map(is_within, _BOXES, box))
            what = f"step, absolute and relative difference in {', '.join(_BOXES)}, and no filter"
            require(is_valid or not box, f"boxes need a {what}, not {box} and {window:g} s")
        longest = max(self.windows, default=0.0)  # memory grows with it, however short the clip
        require(longest <= 3_600, f"median filters must last at most 3600 s, not {longest:g} s")

    def require_rate(self, frame_rate: float) -> None:
        """Raise a ConfigError if a median filter takes more frames than can be sorted in time."""
        frames, most = max(self.windows) * frame_rate, MOST_MEDIAN
        require(frames <= most, f"median filters must be at most {most} frames, not {frames:.0f}")

    @classmethod
    def default(cls, n_classes: int) -> Self:
        """Return what an untuned model uses, which is the same for every class."""
        halves = (cls.threshold,) * n_classes
        return cls(halves, halves, (cls.window,) * n_classes)


@dataclass(frozen=True)
class WindowConfig(Checked):
    """How long clips are cut into scoring windows for the network."""

    window: Seconds = setting(
        10.0,
        "Seconds of audio that the network takes at a time; by default, as in training.",
        within="(0, 1e6]",
    )
    overlap: float = setting(
        0.5, "The share of such a scoring window that the next one covers, 0 to 1.", within="[0, 1)"
    )
    batch_size: int = setting(
        8,
        "How many scoring windows the network takes at once; fewer if they are so long that each "
        "takes more than 128 MiB of memory.",
        within="[1, 1e6]",
    )


@dataclass(frozen=True)
class InferConfig(FilesConfig):
    """How clips are scored and decoded, and how the work is done.

    "auto" and None take what the model was trained and tuned with. What a clip scores depends on
    `device` in its last bits, and on nothing of `FilesConfig`.
    """

    threshold: str = setting(
        "auto",
        "The frame threshold: auto (that of the model), a number, or a TSV file with one for each "
        "class.",
    )
    clip_threshold: str = setting(
        "auto",
        "The clip score below which a class has no events: auto (that of the model), a number, or "
        "off.",
    )
    median: str = setting(
        "auto", "The length of the median filter: auto (that of the model), seconds, or off."
    )
    min_duration: Seconds = as_in(DecodingConfig, "min_duration")
    merge_gap: Seconds = as_in(DecodingConfig, "merge_gap")
    window: Seconds | None = as_in(WindowConfig, "window", default=None)
    overlap: float = as_in(WindowConfig, "overlap")
    batch_size: int = as_in(WindowConfig, "batch_size")
    amp: str = as_in(TrainConfig, "amp")
    device: str = setting(
        DEVICE, "Where the network runs: auto, cpu, cuda, cuda:1 or mps.", names=DEVICES
    )
    partial: bool = as_in(LookupConfig, "partial")


@dataclass(frozen=True)
class FailurePolicy:
    """How many inputs may fail before a run that finished counts as failed."""

    tolerate: str = setting(
        "0", "How many files may fail, or which share of them, with exit code 0.", metavar="N|P%"
    )

    def __post_init__(self) -> None:
        limit, is_share = self._limit()
        require(
            0 <= limit <= (100 if is_share else math.inf),
            f"tolerate must be a number of files, or 0% to 100%, not {quoted(self.tolerate)}",
        )

    def allows(self, n_failed: int, n_total: int) -> bool:
        """Return whether so many failures out of so many inputs are tolerated."""
        limit, is_share = self._limit()
        return n_failed <= (limit / 100 * n_total if is_share else limit)

    def _limit(self) -> tuple[float, bool]:
        """Return the number, and whether it is a percentage; -1 if it is none."""
        text, is_share = self.tolerate.removesuffix("%"), self.tolerate.endswith("%")
        try:
            limit = float(text) if is_share else int(text)
        except ValueError:
            return -1.0, is_share
        return (limit if math.isfinite(limit) else -1.0), is_share


@dataclass(frozen=True)
class TuneInputs(LookupConfig):
    """The files to fit decoding settings to."""

    features: tuple[Path, ...] = setting(
        REQUIRED,
        "A features file of the validation clips. Given several times, a clip is looked up in all.",
    )
    reference: Path | None = setting(None, "Strong labels of validation clips.")
    weak: Path | None = setting(None, "Weak labels of validation clips.")
    durations_from: Path | None = setting(
        None,
        "Strong labels of which a third of each class's mean event duration becomes the median "
        "filter length of the class.",
    )
    window: Seconds | None = setting(None, "The median filter length of every class, in seconds.")

    def __post_init__(self) -> None:
        require_valid(self)
        require(
            self.reference is not None or self.weak is not None,
            "tune needs labels: --reference STRONG.tsv, --weak WEAK.tsv, or both",
        )
        require(
            self.durations_from is None or self.window is None,
            "--durations-from and --window both set the median filter lengths; give one",
        )
        if self.window is not None:  # refused before all clips are scored
            DecodingConfig((0.0,), (0.0,), (self.window,))


@dataclass(frozen=True)
class TuneConfig(Checked):
    """The grid on which frame thresholds and median filter lengths are searched, for what score.

    Without lengths (`windows`), those that are there stay.
    """

    collar: Seconds = as_in(EvaluationConfig, "collar")
    offset_ratio: float = as_in(EvaluationConfig, "offset_ratio")

    # Equally far apart as logits, from -6 to 4: networks that learn from weak labels have scores
    # far below 0.5 in events, too.
    thresholds: tuple[float, ...] = tuple(
        round(1 / (1 + math.exp(-logit / 2)), 4) for logit in range(-12, 9)
    )
    smoothing: tuple[int, ...] = (1, 2, 3, 2, 1)  # weights of a threshold and its neighbours
    windows: tuple[Seconds, ...] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    duration_ratio: float = 1 / 3  # median filter length over mean event duration

    decoder: str = setting(
        "median",
        "How events are told from frames: thresholds and a median filter; boxes, whose borders no "
        "threshold moves; or auto, boxes for the classes that are surely better with them.",
        choices=("median", "boxes", "auto"),
    )
    # Of boxes: see `sedtool.boxes.BoxSettings`.
    box_steps: tuple[Seconds, ...] = (0.32, 0.48, 0.64)
    box_absolutes: tuple[float, ...] = (0.1, 0.3)
    box_relatives: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0)
