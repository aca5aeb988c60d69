"""`infer`: files in, files out."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from sedtool.atomic import open_atomic, refuse_existing, write_failures
from sedtool.audio import AudioReader, check_name, find_audio, printable
from sedtool.checkpoint import Model, load_model
from sedtool.config import DecodingConfig, WindowConfig
from sedtool.datasets import FeatureSet
from sedtool.decoding import ClipScores, clip_scores, clip_tags, decode_clip
from sedtool.errors import ArtifactError, AudioError, ConfigError, NothingUsableError
from sedtool.features import log_mel_blocks
from sedtool.inference.scoring import Failure, Recording, pick_device, score_recordings
from sedtool.labels import format_events, read_thresholds, write_weak
from sedtool.store import ScoresWriter, file_format, is_hdf5, open_scores

__all__ = ["InferOutputs", "InferResult", "InferSettings", "feature_recordings", "infer"]

log = logging.getLogger(__name__)

_FRAMES_AT_ONCE = 4096  # read from a features file


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
    batch_size: int = WindowConfig.batch_size
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

    def _thresholds(self, model: Model) -> tuple[float, ...]:
        path = Path(self.threshold)
        if not path.is_file():
            return (_number(self.threshold, "threshold"),) * len(model.classes)
        given = read_thresholds(path)
        unknown = [label for label in given if label not in model.classes]
        if unknown:
            raise ConfigError(f"{path}: the model has no class {unknown[0]!r}")
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

    events: Path | None = None  # event list; the stream where there is none
    scores: Path | None = None
    weak: Path | None = None  # classes of each clip
    confidence: bool = False  # a column in the event list
    overwrite: bool = False

    def refuse_existing(self) -> None:
        """Raise an error, before anything is computed, if an output is there or named twice."""
        paths = [path for path in (self.events, self.scores, self.weak) if path is not None]
        files = [path.resolve() for path in paths if path.is_file() or not path.exists()]
        if len(set(files)) < len(files):
            raise ConfigError("event list, scores and clip tags need a file each")
        for path in paths:
            refuse_existing(path, self.overwrite)


@dataclass
class InferResult:
    """What was done."""

    n_recordings: int = 0
    n_events: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    failures: list[tuple[str, str, str]] = field(default_factory=list)  # filename, stage, error
    failures_path: Path | None = None

    def failure_summary(self) -> str:
        """Say in one line which recordings could not be used."""
        where = f"; see {self.failures_path}" if self.failures_path else ""
        total = self.n_recordings + len(self.failures)
        first = "; ".join(f"{name}: {error}" for name, _, error in self.failures[:3])
        return f"{len(self.failures)} of {total} recordings could not be used ({first}){where}"


def infer(
    model_path: Path,
    inputs: Sequence[Path],
    settings: InferSettings,
    outputs: InferOutputs,
    *,
    stream: TextIO | None = None,
    root: Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int, str], None] | None = None,
) -> InferResult:
    """Detect events.

    Parameters
    ----------
    model_path
        A model file.
    inputs
        Audio files and folders of them; or features files; or one scores file, which is decoded
        anew without the network.
    settings, outputs
        How, and where to.
    stream
        Takes the event list if `outputs.events` is None; flushed after each recording. Without
        either, no event list is written.
    root
        Clip names are relative to it.
    device
        auto, cpu, cuda, cuda:1 or mps.
    progress
        Called with (done, total, name).

    Raises
    ------
    ArtifactError
        If model and inputs do not fit.
    NothingUsableError
        If every recording failed.
    """
    started = time.monotonic()
    outputs.refuse_existing()
    model = load_model(model_path)
    decoding = settings.decoding(model)
    if not model.tuned and "auto" in (settings.threshold, settings.clip_threshold, settings.median):
        log.warning(
            "%s is not tuned: thresholds are %g and median windows %g s where none are given",
            model_path,
            DecodingConfig.threshold,
            DecodingConfig.window,
        )
    total, scored = _scored(model, inputs, settings, root, device)
    result, tags = InferResult(), dict[str, tuple[str, ...]]()
    with contextlib.ExitStack() as stack:
        emit = _emitter(outputs.events, stream, stack)
        writer = _scores_writer(outputs.scores, model, decoding, stack)
        for clip in scored:
            if isinstance(clip, Failure):
                result.failures.append((clip.name, "infer", clip.error))
            else:
                events = decode_clip(clip, model.classes, model.frame_rate, decoding)
                first = not result.n_recordings
                emit(format_events(events, outputs.confidence, header=first))
                tags[clip.name] = clip_tags(clip, model.classes, decoding)
                if writer is not None:
                    writer.append(clip)
                result.n_recordings += 1
                result.n_events += len(events)
                result.audio_seconds += clip.duration
            if progress:
                progress(result.n_recordings + len(result.failures), total, clip.name)
        if not result.n_recordings:
            raise NothingUsableError(_all_failed(result))
    if outputs.weak:
        write_weak(outputs.weak, tags)
    result.failures_path = write_failures(outputs.events, result.failures)
    result.seconds = time.monotonic() - started
    return result


def _all_failed(result: InferResult) -> str:
    name, _, error = result.failures[0]
    return f"none of {len(result.failures)} recordings could be used; the first, {name}: {error}"


def _emitter(
    path: Path | None, stream: TextIO | None, stack: contextlib.ExitStack
) -> Callable[[str], None]:
    """Return what takes event lines: a file that appears whole at the end, or the stream."""
    file = stack.enter_context(open_atomic(path)) if path is not None else None

    def emit(text: str) -> None:
        if file is not None:
            file.write(text.encode("utf-8"))
        elif stream is not None:
            stream.write(text)
            stream.flush()

    return emit


def _scores_writer(
    path: Path | None, model: Model, decoding: DecodingConfig, stack: contextlib.ExitStack
) -> ScoresWriter | None:
    if path is None:
        return None
    return stack.enter_context(
        ScoresWriter(path, model.classes, model.frame_rate, decoding, model.weights_sha256)
    )


def _scored(
    model: Model, inputs: Sequence[Path], settings: InferSettings, root: Path | None, device: str
) -> tuple[int, Iterator[ClipScores | Failure]]:
    """Return the number of recordings and their scores, from whatever the inputs are."""
    artifacts = [path for path in inputs if is_hdf5(path) or path.suffix.lower() == ".h5"]
    if artifacts and len(artifacts) < len(inputs):
        raise ConfigError("inputs must be all audio, or all features files, or one scores file")
    if artifacts and file_format(artifacts[0]) == "sedtool-scores":
        if settings.window is not None:
            raise ConfigError("--window has no meaning for scores, which are decoded as they are")
        return _stored_scores(model, artifacts)
    if artifacts:
        features = FeatureSet(artifacts)
        features.require(model.features)
        names = list(features.place)
        recordings = feature_recordings(features, names)
    else:
        found = find_audio(inputs, root)
        names = list(found)
        recordings = (_audio_recording(name, path, model) for name, path in found.items())
    seconds = model.window if settings.window is None else settings.window
    windows = WindowConfig(seconds, settings.overlap, settings.batch_size)
    return len(names), score_recordings(
        model, recordings, windows, pick_device(device), settings.amp
    )


def _stored_scores(
    model: Model, paths: Sequence[Path]
) -> tuple[int, Iterator[ClipScores | Failure]]:
    if len(paths) > 1:
        raise ConfigError("give one scores file at a time")
    scores = open_scores(paths[0])
    if scores.model_sha256 != model.weights_sha256:
        raise ArtifactError(f"{paths[0]} was made by a model with other weights than the one given")
    return len(scores.names), clip_scores(scores)


def feature_recordings(features: FeatureSet, names: Sequence[str]) -> Iterator[Recording]:
    """Return clips of a feature set as recordings."""

    def recording(name: str) -> Recording:
        def blocks() -> Iterator[np.ndarray]:
            clip = features.clip(name)
            for start in range(0, len(clip), _FRAMES_AT_ONCE):
                yield clip[start : start + _FRAMES_AT_ONCE]

        return Recording(name, blocks, lambda: features.duration(name))

    return map(recording, names)


def _audio_recording(name: str, path: Path, model: Model) -> Recording:
    """Return an audio file as a recording: decoded, and turned into features, as it is read."""
    config = model.features
    reader = AudioReader(path, config.sample_rate, config.channel)

    def blocks() -> Iterator[np.ndarray]:
        try:
            check_name(name)
            with reader:
                yield from log_mel_blocks(reader, config)
        except AudioError as error:  # the recording's name says which file it was
            raise AudioError(str(error).removeprefix(f"{path}: ")) from error

    return Recording(printable(name), blocks, lambda: reader.duration)
