"""features.h5 and scores.h5 of several shards -> one file, as if there had been no shards.

A part is opened once, checked and closed; of its frames only the place is kept, and they are read
again clip by clip, so neither their number nor that of the parts is limited by memory or by open
files. The whole list of names is sorted, and so are the clips of all parts together.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sedtool.atomic import open_atomic, resource_errors, write_text
from sedtool.errors import ArtifactError, ConfigError
from sedtool.shards import Shard
from sedtool.store.features import FeaturesHeader, SourceClip, open_features, write_features
from sedtool.store.layout import CHUNK_SIZE
from sedtool.store.scores import ScoresHeader, ScoresWriter, open_scores
from sedtool.text import is_writable

__all__ = [
    "PART_SUFFIX",
    "FeaturesPart",
    "Part",
    "PartRecord",
    "Piece",
    "ScoresPart",
    "TextPart",
    "has_part_record",
    "join_features",
    "join_scores",
    "join_text",
    "open_features_part",
    "open_scores_part",
    "open_text_part",
    "read_part",
    "read_part_record",
    "read_pieces",
    "remove_part_record",
    "write_part",
]


PART_SUFFIX = ".part.json"
PART_KINDS = ("events", "tags")
_FORMAT = {"format": "sedtool-part", "format_version": 1}
_LARGEST = 64 * 2**20  # bytes of a part record
_CHUNK_SIZE = 2**20  # bytes read at once
_LONGEST_LINE = 2**20  # bytes


@dataclass(frozen=True)
class PartRecord:
    """What stands beside a part that is text, in ``NAME.part.json``."""

    kind: str  # "events" or "tags"
    shard: Shard
    manifest_sha256: str  # of the whole list of names
    model_sha256: str
    settings: str  # all else that the rows depend on, as text
    n_clips: int  # those without a row included
    failures: tuple[tuple[str, str, str], ...] = ()  # name, stage, error
    sha256: str = ""  # of the text; empty: `write_part` reads it


def write_part(path: Path, record: PartRecord) -> None:
    """Write the record of the part `path`.

    A part should never stand without its record, since it would look whole: who knows the digest
    of the text writes the record first.
    """
    record = replace(record, sha256=record.sha256 or _digest(path))
    fields = _FORMAT | vars(record)
    fields |= {"shard": record.shard.number, "n_shards": record.shard.count}
    write_text(_record_path(path), json.dumps(fields, indent=1, sort_keys=True) + "\n")


def remove_part_record(path: Path) -> None:
    """Remove the record of the part `path`, if there is one: it is whole now."""
    with resource_errors(path):
        _record_path(path).unlink(missing_ok=True)


def read_part(path: Path) -> PartRecord:
    """Return the record of the part `path`, whose text is what it was when it was recorded.

    Raises
    ------
    ArtifactError
        If there is no such part, no record of it, or one of them was changed.
    """
    record = read_part_record(path)
    if not path.exists():
        raise ArtifactError(f"{path}: not complete (only its record is there); make it again")
    if not path.is_file():
        raise ArtifactError(f"{path}: not a regular file")
    try:
        digest = _digest(path)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    if digest != record.sha256:
        raise ArtifactError(
            f"{path}: changed since {_record_path(path).name} was written; make it again"
        )
    return record


def has_part_record(path: Path) -> bool:
    """Return whether a text file is a part, or was one before it was changed."""
    return _record_path(path).exists()


def read_part_record(path: Path) -> PartRecord:
    """Return the record of the part `path`, without looking at the part; see `read_part`."""
    where = _record_path(path)
    try:
        if where.exists() and not where.is_file():
            raise ArtifactError("not a regular file")
        with where.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ArtifactError("too large for the record of a part")
        return _record(json.loads(content, object_pairs_hook=_without_doubles))
    except FileNotFoundError:
        problem = f"not a part: {where.name} is not beside it" if path.exists() else "no such file"
        raise ArtifactError(f"{path}: {problem}") from None
    except ArtifactError as error:
        raise ArtifactError(f"{where}: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{where}: cannot be read ({error})") from error


def _record(fields: Any) -> PartRecord:
    """Check every field of a record."""
    if not isinstance(fields, dict) or fields.get("format") != _FORMAT["format"]:
        raise ArtifactError("not the record of a part")
    if fields.get("format_version") != _FORMAT["format_version"]:
        raise ArtifactError(
            f"its format_version is {fields.get('format_version')!a}, and this sedtool reads "
            f"{_FORMAT['format_version']}; use the sedtool that wrote it"
        )
    texts = ("kind", "manifest_sha256", "model_sha256", "settings", "sha256")
    numbers = ("shard", "n_shards", "n_clips")
    if set(fields) != {*_FORMAT, *texts, *numbers, "failures"}:
        raise ArtifactError("damaged: keys are missing or foreign")
    if not all(isinstance(fields[key], str) for key in texts):
        raise ArtifactError(f"damaged: {', '.join(texts)} must be text")
    if not all(type(fields[key]) is int and fields[key] >= 0 for key in numbers):
        raise ArtifactError(f"damaged: {', '.join(numbers)} must be numbers")
    if fields["kind"] not in PART_KINDS:
        raise ArtifactError(f"damaged: its kind is none of {', '.join(PART_KINDS)}")
    try:
        shard = Shard(fields["shard"], fields["n_shards"])
    except ConfigError as error:
        raise ArtifactError(f"damaged: {error}") from error
    return PartRecord(
        **{key: fields[key] for key in texts},
        shard=shard,
        n_clips=fields["n_clips"],
        failures=_failures(fields["failures"]),
    )


def _failures(rows: Any) -> tuple[tuple[str, str, str], ...]:
    if not isinstance(rows, list) or not all(map(_is_failure, rows)):
        raise ArtifactError("damaged: a failure is not a name, a stage and an error")
    return tuple((name, stage, error) for name, stage, error in rows)


def _is_failure(row: Any) -> bool:
    texts = isinstance(row, list) and len(row) == 3 and all(isinstance(text, str) for text in row)
    return texts and all(map(is_writable, row))


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ArtifactError("damaged: a key is in it twice")
    return fields


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + PART_SUFFIX)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_SIZE):
            digest.update(chunk)
    return digest.hexdigest()


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


@dataclass(frozen=True)
class TextPart(Part):
    """The event list or the clip tags of one shard."""

    record: PartRecord
    header: bytes  # the line that names the columns
    lines: list[tuple[str, Piece]]  # of each clip that has any

    @property
    def n_clips(self) -> int:
        return self.record.n_clips


def open_text_part(path: Path) -> TextPart:
    """Read and check a part and its record.

    Raises
    ------
    ArtifactError
        If one of them is missing or damaged.
    """
    record = read_part(path)
    try:
        header, lines = _index(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error})") from error
    names = [name for name, _ in lines]
    if len(set(names)) < len(names):
        raise ArtifactError(f"{path}: the lines of a clip do not follow each other")
    identity = {
        "list of clips": record.manifest_sha256,
        "model": record.model_sha256,
        "decoding or scoring": record.settings,
        "first line": header,
    }
    return TextPart(
        path, record.shard, identity, names, list(record.failures), record, header, lines
    )


def join_text(parts: Sequence[TextPart], output: Path, shard: Shard) -> None:
    """Write the lines of all parts as one file; a record says so if it is not whole."""
    lines = sorted(chain.from_iterable(part.lines for part in parts), key=lambda line: line[0])

    def chunks() -> Iterator[bytes]:
        yield parts[0].header
        yield from read_pieces(piece for _, piece in lines)

    if not shard.is_whole:  # first, for without its record it would look whole
        write_part(output, _joined_record(parts, shard, chunks))
    with open_atomic(output) as stream:
        for chunk in chunks():
            stream.write(chunk)
    if shard.is_whole:
        remove_part_record(output)


def _joined_record(
    parts: Sequence[TextPart], shard: Shard, chunks: Callable[[], Iterator[bytes]]
) -> PartRecord:
    digest = hashlib.sha256()
    for chunk in chunks():
        digest.update(chunk)
    return replace(
        parts[0].record,
        shard=shard,
        n_clips=sum(part.record.n_clips for part in parts),
        failures=tuple(sorted(chain.from_iterable(part.failures for part in parts))),
        sha256=digest.hexdigest(),
    )


def _index(path: Path) -> tuple[bytes, list[tuple[str, Piece]]]:
    """Return the first line of a file, and where the lines of each clip are."""
    found: list[tuple[str, Piece]] = []
    with path.open("rb") as stream:
        header = _line(stream.readline(_LONGEST_LINE), path)
        offset = len(header)
        while line := _line(stream.readline(_LONGEST_LINE), path):
            name = line.partition(b"\t")[0].decode()
            first, size = offset, 0
            if found and found[-1][0] == name:
                first, size = found[-1][1].offset, found.pop()[1].size
            found.append((name, Piece(path, first, size + len(line))))
            offset += len(line)
    return header, found


def _line(line: bytes, path: Path) -> bytes:
    """Refuse a line that is too long, or torn off."""
    if line and not line.endswith(b"\n"):
        raise ArtifactError(f"{path}: a line has no end, or more than {_LONGEST_LINE} bytes")
    return line
