"""Audio or features.h5 -> recordings, by name."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sedtool.audio import AudioInputs, AudioReader, find_audio, stamp
from sedtool.checkpoint import Model
from sedtool.config import FeatureConfig
from sedtool.datasets import FeatureSet
from sedtool.errors import AudioError
from sedtool.features import log_mel_blocks
from sedtool.inference.scoring import Recording
from sedtool.inference.settings import InferRun
from sedtool.labels import printable
from sedtool.shards import Shard, manifest_digest

__all__ = ["Source", "audio_source", "feature_recordings", "features_source"]

log = logging.getLogger(__name__)

_FRAMES_AT_ONCE = 4096  # read from a features file


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


def feature_recordings(features: FeatureSet, names: Sequence[str]) -> Iterator[Recording]:
    """Return clips of a feature set as recordings."""

    def recording(name: str) -> Recording:
        def blocks() -> Iterator[np.ndarray]:
            clip = features.clip(name)
            for start in range(0, len(clip), _FRAMES_AT_ONCE):
                yield clip[start : start + _FRAMES_AT_ONCE]

        return Recording(name, blocks, lambda: features.duration(name))

    return map(recording, names)


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
