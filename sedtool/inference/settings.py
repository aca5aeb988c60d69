"""What the user of `infer` chooses: how to score and decode, where results go, how it runs."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from sedtool.checkpoint import Model
from sedtool.config import DecodingConfig, WindowConfig
from sedtool.errors import ConfigError
from sedtool.labels import Vocabulary, read_thresholds
from sedtool.shards import WHOLE, Shard

__all__ = ["InferRun", "InferSettings"]


@dataclass(frozen=True)
class InferSettings:
    """How to score and decode; "auto" and None take what the model was trained and tuned with."""

    threshold: str = "auto"  # or a number, or a TSV file: event_label, threshold
    clip_threshold: str = "auto"  # or a number, or "off"
    median: str = "auto"  # or seconds, or "off"
    min_duration: float = DecodingConfig.min_duration  # seconds
    merge_gap: float = DecodingConfig.merge_gap  # seconds
    window: float | None = None  # seconds
    overlap: float = WindowConfig.overlap
    batch_size: int = WindowConfig.batch_size  # windows of one recording
    amp: str = "off"

    def decoding(self, model: Model) -> DecodingConfig:
        """Return the model's decoding settings with what these replace.

        Raises
        ------
        ConfigError
            If a value is out of range or a threshold file names unknown classes.
        """
        n, changes = len(model.classes), dict[str, object]()
        if self.threshold != "auto":
            changes["thresholds"] = self._thresholds(model)
        if self.clip_threshold == "off":
            changes["gate"] = False
        elif self.clip_threshold != "auto":
            changes["clip_thresholds"] = (_number(self.clip_threshold, "clip-threshold"),) * n
        if self.median != "auto":
            seconds = 0.0 if self.median == "off" else _number(self.median, "median")
            changes["windows"] = (seconds,) * n
        return dataclasses.replace(
            model.decoding,
            min_duration=self.min_duration,
            merge_gap=self.merge_gap,
            **changes,  # type: ignore[arg-type]
        )

    def windows(self, model: Model) -> WindowConfig:
        """Return how recordings are cut for the network."""
        seconds = model.window if self.window is None else self.window
        return WindowConfig(seconds, self.overlap, self.batch_size)

    def scoring(self, model: Model) -> str:
        """Return, as JSON, what scores depend on besides the weights."""
        windows = self.windows(model)
        values = {"window": windows.window, "overlap": windows.overlap, "amp": self.amp}
        return json.dumps(values, sort_keys=True)

    def _thresholds(self, model: Model) -> tuple[float, ...]:
        path = Path(self.threshold)
        if not path.is_file():
            return (_number(self.threshold, "threshold"),) * len(model.classes)
        given = read_thresholds(path)
        Vocabulary(model.classes).require(given, path)
        pairs = zip(model.classes, model.decoding.thresholds, strict=True)
        return tuple(given.get(label, fitted) for label, fitted in pairs)


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--{option} {text!r} is not a number, nor what else it takes") from None


@dataclass(frozen=True)
class InferRun:
    """How the work is done, and which recordings are taken.

    What a recording scores depends on none of it, but for `device`, which moves its last bits, and
    audio that only `allow_truncated` takes.
    """

    device: str = "auto"
    workers: int = 1  # recordings whose features are computed at a time
    shard: Shard = WHOLE
    shard_is_auto: bool = False  # whether parts beside the output may contradict it
    fail_fast: bool = False  # stop at the first recording that cannot be used
    allow_truncated: bool = False
    partial: bool = False  # whether features may be parts of which others lack

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"--workers must be at least 1, not {self.workers}")
