"""features.h5 and scores.h5 of several shards -> one file, as if there had been no shards.

A part is opened once, checked and closed; of its frames only the place is kept, and they are read
again clip by clip, so neither their number nor that of the parts is limited by memory or by open
files. The whole list of names is sorted, and so are the clips of all parts together.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sedtool.errors import ArtifactError
from sedtool.shards import Shard
from sedtool.store.features import FeaturesHeader, SourceClip, open_features, write_features
from sedtool.store.layout import CHUNK_SIZE
from sedtool.store.scores import ScoresHeader, ScoresWriter, open_scores

__all__ = [
    "FeaturesPart",
    "Part",
    "Piece",
    "ScoresPart",
    "join_features",
    "join_scores",
    "open_features_part",
    "open_scores_part",
    "read_pieces",
]


@dataclass(frozen=True)
class Piece:
    """Where a file holds what it says of one clip."""

    path: Path
    offset: int  # bytes
    size: int  # bytes

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; an ArtifactError says that they are gone."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.offset)
                remaining = self.size
                while remaining and (chunk := stream.read(min(CHUNK_SIZE, remaining))):
                    yield chunk
                    remaining -= len(chunk)
        except OSError as error:
            raise ArtifactError(f"{self.path}: cannot be read ({error.strerror})") from error
        if remaining:
            raise ArtifactError(f"{self.path}: truncated while it was read")


def read_pieces(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """Yield the bytes of all pieces, one piece after the other."""
    return chain.from_iterable(piece.chunks() for piece in pieces)


@dataclass(frozen=True)
class Part:
    """A file that holds one shard, closed."""

    path: Path
    shard: Shard
    identity: dict[str, Any]  # what all parts of one whole have in common
    names: list[str]  # of the clips in it
    failures: list[tuple[str, str, str]]  # name, stage, error

    @property
    def n_clips(self) -> int:
        """Return the number of clips in it."""
        return len(self.names)


@dataclass(frozen=True)
class FeaturesPart(Part):
    """The features of one shard."""

    header: FeaturesHeader
    clips: list[tuple[SourceClip, Piece]]


@dataclass(frozen=True)
class StoredClip:
    """A clip of a scores file, which gives its frame scores by reading them."""

    name: str
    duration: float  # seconds
    window_start: npt.NDArray[np.int64]
    window_frames: npt.NDArray[np.int64]
    window: npt.NDArray[np.float32]  # (W, K)
    piece: Piece

    @property
    def frame(self) -> npt.NDArray[np.float32]:
        """Read the frame scores (T, K)."""
        content = b"".join(self.piece.chunks())
        return np.frombuffer(content, "<f4").reshape(-1, self.window.shape[1])


@dataclass(frozen=True)
class ScoresPart(Part):
    """The scores of one shard."""

    header: ScoresHeader
    clips: list[StoredClip]


def open_features_part(path: Path) -> FeaturesPart:
    """Read and check what a features file holds; see `open_features` for the errors."""
    features = open_features(path)
    dtype = {2: "f16", 4: "f32"}[features.data.itemsize]
    header = FeaturesHeader(
        features.config,
        dtype,
        features.engine,
        features.allow_truncated,
        features.shard,
        features.manifest_sha256,
    )
    of_clips = zip(
        features.names,
        features.frames.tolist(),
        features.source_rate.tolist(),
        features.channels.tolist(),
        features.duration.tolist(),
        features.source_size.tolist(),
        features.source_sha256,
        [0] * len(features.names),  # when they were written is of no use any more
        features.truncated.tolist(),
        strict=True,
    )
    clips = [SourceClip(*known) for known in of_clips]
    pieces = _pieces(path, features.data, features.start, features.frames)
    return FeaturesPart(
        path,
        features.shard,
        {"list of clips": header.manifest_sha256, **asdict(header.config)}
        | {"dtype": dtype, "engine": header.engine, "allow_truncated": header.allow_truncated},
        features.names,
        [(name, "extract", error) for name, error in features.failures],
        header,
        list(zip(clips, pieces, strict=True)),
    )


def join_features(parts: Sequence[FeaturesPart], output: Path, shard: Shard) -> None:
    """Write the clips of all parts as one features file, which says that it is `shard`."""
    clips = sorted(chain.from_iterable(part.clips for part in parts), key=lambda c: c[0].name)
    failures = sorted(chain.from_iterable(part.failures for part in parts))
    write_features(
        output,
        replace(parts[0].header, shard=shard),
        [clip for clip, _ in clips],
        [(name, error) for name, _, error in failures],
        lambda: read_pieces(piece for _, piece in clips),
    )


def open_scores_part(path: Path) -> ScoresPart:
    """Read and check what a scores file holds; see `open_scores` for the errors."""
    scores = open_scores(path)
    header = scores.header
    first = np.searchsorted(scores.window_clip, np.arange(len(scores.names) + 1))
    pieces = _pieces(path, scores.frame, scores.start, scores.frames)
    clips = [
        StoredClip(
            name,
            float(scores.duration[i]),
            scores.window_start[first[i] : first[i + 1]],
            scores.window_frames[first[i] : first[i + 1]],
            scores.window[first[i] : first[i + 1]],
            piece,
        )
        for i, (name, piece) in enumerate(zip(scores.names, pieces, strict=True))
    ]
    identity = {
        "list of clips": header.manifest_sha256,
        "model": header.model_sha256,
        "list of classes": header.classes,
        "frame_rate": header.frame_rate,
        "decoding": header.decoding,
        "scoring": header.settings,
    }
    return ScoresPart(path, scores.shard, identity, scores.names, [], header, clips)


def join_scores(parts: Sequence[ScoresPart], output: Path, shard: Shard) -> None:
    """Write the clips of all parts as one scores file, which says that it is `shard`."""
    clips = sorted(chain.from_iterable(part.clips for part in parts), key=lambda clip: clip.name)
    with ScoresWriter(output, replace(parts[0].header, shard=shard)) as writer:
        for clip in clips:
            writer.append(clip)


def _pieces(
    path: Path,
    data: npt.NDArray[Any],
    start: npt.NDArray[np.int64],
    frames: npt.NDArray[np.int64],
) -> list[Piece]:
    """Return where the frames of each clip are in a file whose frames are mapped as `data`."""
    if not isinstance(data, np.memmap):
        return []  # there are none
    row = data.shape[1] * data.itemsize
    places = zip(start.tolist(), frames.tolist(), strict=True)
    return [Piece(path, data.offset + first * row, count * row) for first, count in places]
