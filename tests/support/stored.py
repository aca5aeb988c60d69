"""Features and scores made up for the tests of what is stored."""

from pathlib import Path
from typing import Any

import numpy as np

from sedtool.config import DecodingConfig, FeatureConfig
from sedtool.store import (
    FeaturesWriter,
    Scores,
    SourceClip,
)
from support.features import features_writer

CONFIG = FeatureConfig(n_mels=8)


NAMES = ["a/1.wav", "a/2 é [/].wav", "b/日本.flac", "b/4.wav", "bad.wav"]


FAILURES = [("bad.wav", "the file is empty")]


LENGTHS = {name: 3 + 2 * i for i, name in enumerate(NAMES[:4])}  # frames


def frames_of(name: str) -> np.ndarray:
    rng = np.random.default_rng(LENGTHS[name])
    return rng.standard_normal((LENGTHS[name], CONFIG.n_mels)).astype("<f2")


def clip_of(name: str) -> SourceClip:
    n_frames = LENGTHS[name]
    return SourceClip(name, n_frames, 44_100, 2, n_frames / 40, 1_000 + n_frames, "ab" * 32, 7)


def add(writer: FeaturesWriter, names: list[str]) -> None:
    for name in names:
        content = frames_of(name).tobytes()
        writer.add(clip_of(name), [content[:10], content[10:]])


def writer_of(path: Path, overwrite: bool = False, **changes: Any) -> FeaturesWriter:
    """Return a writer of the clips in NAMES; `changes` are those of the header, and `names`."""
    names = changes.pop("names", NAMES)
    return features_writer(path, names, overwrite, **{"config": CONFIG} | changes)


def write_features(path: Path, order: list[str] = NAMES[:4]) -> bytes:
    with writer_of(path, overwrite=True) as writer:
        add(writer, [name for name in order if name not in writer.done])
        writer.finish(FAILURES)
    return path.read_bytes()


def example_scores() -> Scores:
    rng = np.random.default_rng(3)
    window = rng.random((3, 2)).astype(np.float32)
    return Scores(
        classes=("Dog", "Air horn, truck horn"),
        names=["a.wav", "b.wav"],
        start=np.array([0, 6]),
        frames=np.array([6, 15]),
        duration=np.array([0.48, 1.2]),
        frame=rng.random((21, 2)).astype(np.float32),
        clip=np.stack([window[0], window[1:].max(axis=0)]),
        window_clip=np.array([0, 1, 1]),
        window_start=np.array([0, 0, 5]),
        window_frames=np.array([6, 10, 10]),
        window=window,
        frame_rate=12.5,
        decoding=DecodingConfig((0.3, 0.4), (0.5, 0.6), (0.0, 0.3)),
        model_sha256="cd" * 32,
    )
