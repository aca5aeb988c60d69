"""Parts of a job array, as files: opened and checked, and joined as if there had been no shards.

A part is opened once, checked and closed; of its frames or lines only the place is kept, and they
are read again clip by clip, so neither their number nor that of the parts is limited by memory or
by open files. The whole list of names is sorted, and so are the clips of all parts together.

Features and scores files carry their shard themselves; an event list is plain DCASE text, so beside
it stands ``NAME.part.json``.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sedtool.atomic import open_atomic, resource_errors, write_text
from sedtool.errors import ArtifactError, ConfigError
from sedtool.shards import Shard
from sedtool.store.features import open_features, write_features
from sedtool.store.reading import naming, read_range
from sedtool.store.scores import ScoresWriter, clip_scores, open_scores
from sedtool.text import file_sha256, is_writable

PART_SUFFIX = ".part.json"
PART_KINDS = ("events", "tags")
_FORMAT = {"format": "sedtool-part", "format_version": 1}
_LARGEST = 64 * 2**20  # bytes of a part record
_LONGEST_LINE = 2**20  # bytes


@dataclass(frozen=True)
class Piece:
    """Where a file holds what it says of one clip."""

    path: Path
    offset: int  # bytes
    size: int  # bytes

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; an ArtifactError says that they are gone."""
        try:
            with naming(self.path), self.path.open("rb") as stream:
                yield from read_range(stream, self.offset, self.size)
        except OSError as error:
            raise ArtifactError(f"{self.path}: cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class Part:
    """A file that holds one shard, closed."""

    path: Path
    shard: Shard
    header: Any  # what the file says of itself
    identity: dict[str, Any]  # what all parts of one whole have in common, in words
    n_clips: int
    clips: list[tuple[str, Any, Piece]]  # name, description, frames or lines
    failures: list[tuple[str, str, str]]  # name, stage, error


def open_features_part(path: Path) -> Part:
    """Read and check what a features file holds; see `open_features` for the errors."""
    features = open_features(path)
    header = features.header
    details = header.details()
    identity = {"list of clips": header.manifest_sha256, **details.pop("config"), **details}
    pieces = _pieces(path, features.data, features.start, features.frames)
    clips = list(zip(features.names, features.sources(), pieces, strict=True))
    failures = [(name, "extract", error) for name, error in features.failures]
    return Part(path, features.shard, header, identity, len(clips), clips, failures)


def join_features(parts: Sequence[Part], output: Path, shard: Shard) -> None:
    """Write the clips of all parts as one features file, which says that it is `shard`."""
    clips = _in_order(parts)
    write_features(
        output,
        replace(parts[0].header, shard=shard),
        [clip for _, clip, _ in clips],
        [(name, error) for name, _, error in _failures(parts)],
        lambda: _read(clips),
    )


def open_scores_part(path: Path) -> Part:
    """Read and check what a scores file holds; see `open_scores` for the errors."""
    scores = open_scores(path)
    header = scores.header
    identity = {
        "list of clips": header.manifest_sha256,
        "model": header.model_sha256,
        "list of classes": header.classes,
        "frame_rate": header.frame_rate,
        "decoding": header.decoding,
        "scoring": header.settings,
    }
    nothing = np.zeros((0, len(header.classes)), np.float32)  # the mapping ends with this function
    bare = [replace(clip, frame=nothing) for clip in clip_scores(scores)]
    pieces = _pieces(path, scores.frame, scores.start, scores.frames)
    clips = list(zip(scores.names, bare, pieces, strict=True))
    return Part(path, scores.shard, header, identity, len(clips), clips, [])


def join_scores(parts: Sequence[Part], output: Path, shard: Shard) -> None:
    """Write the clips of all parts as one scores file, which says that it is `shard`."""
    with ScoresWriter(output, replace(parts[0].header, shard=shard)) as writer:
        for _, clip, piece in _in_order(parts):
            frame = np.frombuffer(b"".join(piece.chunks()), "<f4")
            writer.append(replace(clip, frame=frame.reshape(-1, clip.window.shape[1])))


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


def open_text_part(path: Path) -> Part:
    """Read and check an event list, or clip tags, and the record beside it.

    Raises
    ------
    ArtifactError
        If one of them is missing or damaged.
    """
    record = read_part(path)
    try:
        columns, lines = _index(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error})") from error
    if len({name for name, *_ in lines}) < len(lines):
        raise ArtifactError(f"{path}: the lines of a clip do not follow each other")
    identity = {
        "list of clips": record.manifest_sha256,
        "model": record.model_sha256,
        "decoding or scoring": record.settings,
        "first line": columns,
    }
    failures = list(record.failures)
    return Part(path, record.shard, record, identity, record.n_clips, lines, failures)


def join_text(parts: Sequence[Part], output: Path, shard: Shard) -> None:
    """Write the lines of all parts as one file; a record says so if it is not whole.

    They are copied as they stand, so that nothing is rounded twice.
    """
    clips = _in_order(parts)

    def chunks() -> Iterator[bytes]:
        yield parts[0].identity["first line"]
        yield from _read(clips)

    if not shard.is_whole:  # first, for without its record it would look whole
        record = replace(
            parts[0].header,
            shard=shard,
            n_clips=sum(part.n_clips for part in parts),
            failures=tuple(_failures(parts)),
            sha256=_digest(chunks()),
        )
        write_part(output, record)
    with open_atomic(output) as stream:
        for chunk in chunks():
            stream.write(chunk)
    if shard.is_whole:
        remove_part_record(output)


def _index(path: Path) -> tuple[bytes, list[tuple[str, Any, Piece]]]:
    """Return the first line of a file, and where the lines of each clip are."""
    found: list[tuple[str, Any, Piece]] = []
    with path.open("rb") as stream:
        columns = _line(stream.readline(_LONGEST_LINE), path)
        offset = len(columns)
        while line := _line(stream.readline(_LONGEST_LINE), path):
            name = line.partition(b"\t")[0].decode()
            first, size = offset, 0
            if found and found[-1][0] == name:
                *_, before = found.pop()
                first, size = before.offset, before.size
            found.append((name, None, Piece(path, first, size + len(line))))
            offset += len(line)
    return columns, found


def _line(line: bytes, path: Path) -> bytes:
    """Refuse a line that is too long, or torn off."""
    if line and not line.endswith(b"\n"):
        raise ArtifactError(f"{path}: a line has no end, or more than {_LONGEST_LINE} bytes")
    return line


def _in_order(parts: Sequence[Part]) -> list[tuple[str, Any, Piece]]:
    """Return the clips of all parts, sorted by name."""
    return sorted(chain.from_iterable(part.clips for part in parts), key=lambda clip: clip[0])


def _read(clips: Iterable[tuple[str, Any, Piece]]) -> Iterator[bytes]:
    """Yield the bytes of all clips, one clip after the other."""
    return chain.from_iterable(piece.chunks() for *_, piece in clips)


def _failures(parts: Sequence[Part]) -> list[tuple[str, str, str]]:
    return sorted(chain.from_iterable(part.failures for part in parts))


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


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

    A part without its record would look whole: where the digest of the text is known beforehand,
    the record is written first.
    """
    record = replace(record, sha256=record.sha256 or file_sha256(path))
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
        digest = file_sha256(path)
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
        failures=_failure_rows(fields["failures"]),
    )


def _failure_rows(rows: Any) -> tuple[tuple[str, str, str], ...]:
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
