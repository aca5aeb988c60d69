"""What `infer` is given -> clips by name: audio, features files, or a scores file."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sedtool.audio import AudioInputs, AudioReader, find_audio, stamp, unnamed
from sedtool.audio.find import is_pattern, match, suggestion
from sedtool.checkpoint import Model
from sedtool.config import InferConfig
from sedtool.datasets import FeatureSet
from sedtool.errors import ArtifactError, ConfigError
from sedtool.features import log_mel_blocks
from sedtool.labels import printable
from sedtool.scoring import ClipFeatures, stored_clip
from sedtool.shards import Shard, manifest_digest
from sedtool.store import Scores, file_format, is_hdf5, open_scores, unfinished
from sedtool.store.made import Stamp

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ClipSource:
    """Clips by name, and which part of which list they are."""

    names: list[str]  # sorted
    shard: Shard
    manifest_sha256: str  # of the whole list of names
    files: list[Path]  # that are read
    digests: list[str]  # of these files, where they have them
    claimed_duration: Callable[[str], float]  # seconds, as the header says; 0 if it does not
    stamp: Callable[[str], Stamp]  # changes when the clip does
    n_passed_over: int = 0  # files of audio or video that cannot be read


@dataclass(frozen=True, kw_only=True)
class ScoredClips(ClipSource):
    """Clips of a scores file, to be decoded anew."""

    scores: Scores


@dataclass(frozen=True, kw_only=True)
class UnscoredClips(ClipSource):
    """Clips for the network."""

    features: Callable[[str], ClipFeatures]


def open_source(model: Model, inputs: AudioInputs, config: InferConfig) -> ClipSource:
    """Return the clips that the inputs mean.

    Files that are unfinished, damaged, or do not fit the model are an ArtifactError; inputs of
    several kinds, and options without a meaning for theirs, a ConfigError.
    """
    artifacts = _artifacts(inputs)
    if artifacts and artifacts[0].exists() and file_format(artifacts[0]) == "sedtool-scores":
        return _scored_clips(model, artifacts, inputs, config)
    for path in artifacts:
        if not path.exists() and unfinished(path.resolve()) is None:  # else how far it is, below
            raise ConfigError(f"{path} does not exist{suggestion(path)}")
    if artifacts:
        _refuse_given("features", inputs, "root")
        _refuse_given("features", config, "allow_truncated")
        return _features_source(model, artifacts, config)
    _refuse_given("audio", config, "partial")
    return _audio_source(model, inputs, config)


def _artifacts(inputs: AudioInputs) -> list[Path]:
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
    if path.exists() or not is_pattern(str(path)) or path.suffix.lower() != ".h5":
        return [path]
    return sorted(set(match(str(path)))) or [path]


def _refuse_given(what: str, options: Any, *names: str) -> None:
    """Raise a ConfigError if an option is given that would be ignored for such inputs."""
    default = type(options)()
    for name in names:
        if getattr(options, name) != getattr(default, name):
            raise ConfigError(f"--{name.replace('_', '-')} has no meaning for {what}")


def _scored_clips(
    model: Model, paths: list[Path], inputs: AudioInputs, config: InferConfig
) -> ScoredClips:
    if len(paths) > 1:
        raise ConfigError("give one scores file at a time")
    scores = open_scores(paths[0])
    if scores.model_sha256 == model.weights_sha256_of_format_2:
        raise ArtifactError(
            f"{paths[0]} was made before models of equal weights and different pooling were "
            "told apart; score the clips again"
        )
    if scores.model_sha256 != model.weights_sha256:
        raise ArtifactError(f"{paths[0]} was made by a model with other weights than the one given")
    _refuse_given("scores", inputs, "root")
    of_network = ("window", "overlap", "batch_size", "amp", "workers", "allow_truncated")
    _refuse_given("scores", config, *of_network, "shard", "partial")
    if config.device not in ("auto", "cpu"):
        raise ConfigError("--device has no meaning for scores: no network is run")
    return ScoredClips(
        names=scores.names,
        shard=scores.shard,
        manifest_sha256=scores.manifest_sha256,
        files=paths,
        digests=[scores.sha256],
        stamp=lambda name: (scores.sha256, 0),
        claimed_duration=dict(zip(scores.names, scores.duration.tolist(), strict=True)).__getitem__,
        scores=scores,
    )


def _features_source(model: Model, paths: list[Path], config: InferConfig) -> UnscoredClips:
    """Return the clips of features files; one file that is a part makes a part."""
    features = FeatureSet(paths, partial=config.partial or len(paths) == 1)
    features.require(model.features)
    for file in features.files:
        if file.failures:
            _log.warning(
                "%s: %d files that could not be used are missing", file.path, len(file.failures)
            )
    names = sorted(features.place)

    def stamp_of(name: str) -> Stamp:
        file, place = features.place[name]
        made = (file.dtype, file.engine, file.allow_truncated, file.sedtool_version)
        return file.source_sha256[place], str(made)

    shard, manifest = Shard.of(config.shard), manifest_digest(names)
    if shard.is_whole and len(paths) == 1:
        shard, manifest = features.files[0].shard, features.files[0].manifest_sha256
    else:
        names = shard.select(names)
    return UnscoredClips(
        names=names,
        shard=shard,
        manifest_sha256=manifest,
        files=paths,
        digests=[file.sha256 for file in features.files],
        claimed_duration=features.duration,
        features=lambda name: stored_clip(features, name),
        stamp=stamp_of,
    )


def _audio_source(model: Model, inputs: AudioInputs, config: InferConfig) -> UnscoredClips:
    """Return audio files as clips: decoded, and turned into features, as they are read."""
    shard, found, wanted = Shard.of(config.shard), find_audio(inputs), model.features

    def reader_of(name: str) -> AudioReader:
        return AudioReader(
            found[name],
            wanted.sample_rate,
            wanted.channel,
            name=name,
            allow_truncated=config.allow_truncated,
        )

    def claimed_duration(name: str) -> float:
        with unnamed(found[name]), reader_of(name) as reader:
            return reader.claimed_duration

    def features(name: str) -> ClipFeatures:
        reader = reader_of(name)

        def blocks() -> Iterator[np.ndarray]:
            with unnamed(found[name]), reader:
                yield from log_mel_blocks(reader, wanted)

        return ClipFeatures(printable(name), blocks, lambda: reader.duration)

    return UnscoredClips(
        names=shard.select(list(found)),
        shard=shard,
        manifest_sha256=manifest_digest(list(found)),
        files=list(found.values()),
        n_passed_over=len(found.passed_over),
        digests=[],
        claimed_duration=claimed_duration,
        features=features,
        stamp=lambda name: stamp(found[name]),
    )
