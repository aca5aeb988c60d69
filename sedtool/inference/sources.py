"""Audio or features.h5 -> recordings, by name."""

import glob
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from sedtool.audio import AudioInputs, AudioReader, find_audio, stamp
from sedtool.checkpoint import Model
from sedtool.config import FeatureConfig
from sedtool.datasets import FeatureSet
from sedtool.errors import ArtifactError, AudioError, ConfigError
from sedtool.features import log_mel_blocks
from sedtool.inference.settings import InferRun, InferSettings
from sedtool.labels import printable
from sedtool.scoring import Recording, feature_recordings
from sedtool.shards import Shard, manifest_digest
from sedtool.store import Scores, file_format, is_hdf5, open_features, open_scores
from sedtool.store.spool import unfinished

__all__ = ["Source", "artifacts_among", "find_source", "given_scores", "refuse_for_scores"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Recordings that can be scored."""

    names: list[str]  # those to score, sorted
    recording: Callable[[str], Recording]
    claimed_duration: Callable[[str], float]  # seconds, as the header says; 0 if it does not
    stamp: Callable[[str], tuple[int, int]]  # changes when the recording's file does
    shard: Shard
    manifest_sha256: str  # of the whole list of names
    identity: list[str]  # digests of the files read, where they have them
    files: list[Path]  # that are read


def audio_source(model: Model, inputs: AudioInputs, run: InferRun) -> Source:
    """Return audio files as recordings, which are decoded when they are scored."""
    found = find_audio(inputs)
    names = list(found)

    def recording(name: str) -> Recording:
        return _audio_recording(name, found[name], model.features, run.allow_truncated)

    def claimed_duration(name: str) -> float:
        try:
            with AudioReader(found[name], None, allow_truncated=run.allow_truncated) as reader:
                return reader.claimed_duration
        except AudioError as error:
            raise _without_path(error, found[name]) from error

    share = run.shard.select(names)
    manifest = manifest_digest(names)
    files = list(found.values())
    return Source(
        share,
        recording,
        claimed_duration,
        lambda name: stamp(found[name]),
        run.shard,
        manifest,
        [],
        files,
    )


def features_source(model: Model, paths: Sequence[Path], run: InferRun) -> Source:
    """Return the clips of features files; one file that is a part makes a part."""
    features = FeatureSet(paths, partial=run.partial or len(paths) == 1)
    features.require(model.features)
    for file in features.files:
        if file.failures:
            log.warning("%s lacks %d files that could not be used", file.path, len(file.failures))
    names = sorted(features.place)
    shard, manifest = run.shard, manifest_digest(names)
    if run.shard.is_whole and len(paths) == 1:
        shard, manifest = features.files[0].shard, features.files[0].manifest_sha256
        share = names
    else:
        share = shard.select(names)
    return Source(
        share,
        lambda name: next(feature_recordings(features, [name])),
        features.duration,
        lambda name: (0, 0),
        shard,
        manifest,
        [file.sha256 for file in features.files],
        list(paths),
    )


def _audio_recording(
    name: str, path: Path, config: FeatureConfig, allow_truncated: bool
) -> Recording:
    """Return an audio file as a recording: decoded, and turned into features, as it is read."""
    reader = AudioReader(
        path, config.sample_rate, config.channel, name=name, allow_truncated=allow_truncated
    )

    def blocks() -> Iterator[np.ndarray]:
        try:
            with reader:
                yield from log_mel_blocks(reader, config)
        except AudioError as error:
            raise _without_path(error, path) from error

    return Recording(printable(name), blocks, lambda: reader.duration)


def _without_path(error: AudioError, path: Path) -> AudioError:
    """Return the error without the file's path: the recording's name says which it was."""
    return AudioError(str(error).removeprefix(f"{path}: "))


def artifacts_among(inputs: AudioInputs) -> list[Path]:
    """Return the features or scores files among the inputs, which are all such or none."""
    if inputs.is_stdin:
        return []
    paths = [path for given in inputs.paths for path in _matching(Path(given))]
    artifacts = [path for path in paths if is_hdf5(path) or path.suffix.lower() == ".h5"]
    if artifacts and (len(artifacts) < len(paths) or inputs.files_from):
        raise ConfigError("inputs must be all audio, or all features files, or one scores file")
    return artifacts


def _matching(path: Path) -> list[Path]:
    """Return what a quoted pattern such as ``parts/*.h5`` means; anything else means itself."""
    if path.exists() or not glob.has_magic(str(path)) or path.suffix.lower() != ".h5":
        return [path]
    return [Path(match) for match in sorted(glob.glob(str(path)))] or [path]  # noqa: PTH207


def given_scores(model: Model, inputs: AudioInputs) -> Scores | None:
    """Return the scores file that is the input, if that is what it is."""
    artifacts = artifacts_among(inputs)
    if not artifacts or not artifacts[0].exists() or file_format(artifacts[0]) != "sedtool-scores":
        return None
    if len(artifacts) > 1:
        raise ConfigError("give one scores file at a time")
    scores = open_scores(artifacts[0])
    if scores.model_sha256 == model.weights_sha256_of_format_2:
        raise ArtifactError(
            f"{artifacts[0]} was made before models of equal weights and different pooling were "
            "told apart; score the clips again"
        )
    if scores.model_sha256 != model.weights_sha256:
        raise ArtifactError(
            f"{artifacts[0]} was made by a model with other weights than the one given"
        )
    return scores


def find_source(model: Model, inputs: AudioInputs, run: InferRun) -> Source:
    """Return the recordings that the inputs mean, be they audio or features."""
    artifacts = artifacts_among(inputs)
    for path in artifacts:
        _refuse_missing(path)
    if artifacts:
        refuse_given("features", inputs, "root")
        refuse_given("features", run, "allow_truncated")
        return features_source(model, artifacts, run)
    refuse_given("audio", run, "partial")
    return audio_source(model, inputs, run)


def _refuse_missing(path: Path) -> None:
    """Raise an error if a file is not there: ArtifactError if it is unfinished."""
    if path.exists():
        return
    if unfinished(path.resolve()) is None:
        there = [entry.name for entry in path.parent.glob("*.h5")]
        close = get_close_matches(path.name, there, n=1)
        hint = f"; did you mean {path.with_name(close[0])}?" if close else ""
        raise ConfigError(f"{path} does not exist{hint}")
    open_features(path)  # says how far it is


def refuse_for_scores(inputs: AudioInputs, settings: InferSettings, run: InferRun) -> None:
    """Raise a ConfigError if an option is given that scores, decoded as they are, do not need."""
    refuse_given("scores", inputs, "root")
    refuse_given("scores", settings, "window", "overlap", "batch_size", "amp")
    refuse_given("scores", run, "shard", "workers", "allow_truncated", "partial")
    if run.device not in ("auto", "cpu"):
        raise ConfigError("--device has no meaning for scores: no network is run")


def refuse_given(what: str, options: Any, *names: str) -> None:
    """Raise a ConfigError if an option is given that would be ignored for such inputs."""
    default = type(options)()
    for name in names:
        if getattr(options, name) != getattr(default, name):
            raise ConfigError(f"--{name.replace('_', '-')} has no meaning for {what}")
