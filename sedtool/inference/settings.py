"""What the user of `infer` chooses: how to score and decode, where results go, how it runs."""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from sedtool.atomic import appears_whole
from sedtool.checkpoint import Model
from sedtool.config import DecodingConfig, WindowConfig
from sedtool.errors import ConfigError, ResourceError
from sedtool.labels import Vocabulary, read_thresholds
from sedtool.shards import WHOLE, Shard

__all__ = ["InferOutputs", "InferRun", "InferSettings"]


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
class InferOutputs:
    """Where results go."""

    events: Path | None = None  # event list, or a folder of them; the stream where there is none
    scores: Path | None = None
    weak: Path | None = None  # classes of each clip
    format: str = "dcase"  # of the event list
    confidence: bool = False  # a column in the event list
    overwrite: bool = False

    def __str__(self) -> str:
        """Return where results go, in words."""
        return ", ".join(map(str, self.files)) or "stdout"

    @property
    def files(self) -> list[Path]:
        """Return the outputs that are given."""
        return [path for path in (self.events, self.scores, self.weak) if path is not None]

    @property
    def folder(self) -> Path | None:
        """Return the folder that takes an event list a recording, if that is asked for."""
        return self.events if self.events is not None and self.events.is_dir() else None

    @property
    def list_file(self) -> Path | None:
        """Return the file that takes the event list of all recordings, if that is asked for."""
        return self.events if self.folder is None else None

    @property
    def spool(self) -> Path | None:
        """Return the output beside which unfinished work is kept; without a file, none is."""
        if self.folder is not None:
            return self.folder / ".events"
        files = (path for path in self.files if appears_whole(path))
        return next(files, None)

    @property
    def failures_beside(self) -> Path | None:
        """Return the output that a list of failures stands beside; None if all are streams."""
        if self.folder is not None:
            return self.folder.resolve()  # "." has no name
        return self.spool

    def refuse(self) -> None:
        """Raise an error if an output is named twice, or cannot be written."""
        streams = [] if self.events is not None else [Path("/dev/stdout")]
        targets = [path.resolve() for path in (*self.files, *streams)]
        targets = [path for path in targets if path != Path("/dev/null")]
        if len(set(targets)) < len(targets):
            raise ConfigError("event list, scores and clip tags need a file each")
        if self.scores is not None and not appears_whole(self.scores):
            raise ConfigError(f"--scores {self.scores} must be a regular file")
        if self.weak is not None and self.weak.is_dir():
            raise ConfigError(f"--weak {self.weak} is a folder; name a file in it")
        for path in self.files:
            _refuse_unwritable(path)


def _refuse_unwritable(output: Path) -> None:
    """Raise a ResourceError if a file cannot be made where it shall be."""
    folder = output if output.is_dir() else output.resolve().parent
    if not folder.is_dir():
        raise ResourceError(f"cannot write {output}: the folder does not exist")
    if (output.is_dir() or appears_whole(output)) and not os.access(folder, os.W_OK):
        raise ResourceError(f"cannot write {output}: permission denied")


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
