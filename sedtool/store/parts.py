"""What is merged: a file of clips -> where it holds each of them; these -> one file of that kind.

A file is opened once, checked and closed; of its frames or lines only the place is kept, and they
are read again clip by clip, so neither their number nor that of the files is limited by memory or
by open files.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from sedtool.atomic import open_atomic, refuse_unfinished
from sedtool.bounds import RECORD, read_bounded
from sedtool.errors import ArtifactError
from sedtool.shards import (
    PART_KINDS,
    WHOLE,
    PartRecord,
    Shard,
    has_part_record,
    read_part,
    read_part_record,
    remove_part_record,
    write_part,
)
from sedtool.store.features import Features, open_features, write_features
from sedtool.store.reading import file_format, is_hdf5, naming, read_range
from sedtool.store.scores import Scores, ScoresWriter, clip_scores, open_scores
from sedtool.text import quoted

_LONGEST_LINE = 2**20  # bytes
_FIRST_LINES = {
    "events": b"filename\tonset\toffset\tevent_label",
    "tags": b"filename\tevent_labels",
}


@dataclass(frozen=True)
class Piece:
    """A clip of a part, and where the part holds its frames or lines."""

    name: str
    clip: Any  # its description
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
    """A file that holds a shard, or all there is, closed; or what several make together."""

    path: Path
    shard: Shard
    header: Any  # what the file says of itself
    identity: dict[str, Any]  # what all that is joined has in common, in words
    n_clips: int
    pieces: list[Piece]
    failures: list[tuple[str, str, str]]  # name, stage, error

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of all clips, one clip after the other."""
        return chain.from_iterable(piece.chunks() for piece in self.pieces)


def open_features_part(path: Path) -> Part:
    """Read and check what a features file holds; see `open_features` for the errors."""
    features = open_features(path)
    header = features.header
    details = header.details()
    identity = {**details.pop("config"), **details}
    pieces = _pieces(path, features, features.data, features.sources())
    failures = [(name, "extract", error) for name, error in features.failures]
    return Part(path, features.shard, header, identity, len(pieces), pieces, failures)


def join_features(whole: Part) -> None:
    """Write the clips of all parts as one features file."""
    header = replace(whole.header, shard=whole.shard)
    failures = [(name, error) for name, _, error in whole.failures]
    write_features(whole.path, header, [p.clip for p in whole.pieces], failures, whole.chunks)


def open_scores_part(path: Path) -> Part:
    """Read and check what a scores file holds; see `open_scores` for the errors."""
    scores = open_scores(path)
    header = scores.header
    identity = {
        "model": header.model_sha256,
        "list of classes": header.classes,
        "frame_rate": header.frame_rate,
        "decoding": header.decoding,
        "scoring": header.settings,
    }
    bare = (replace(clip, frame=clip.frame[:0].copy()) for clip in clip_scores(scores))
    pieces = _pieces(path, scores, scores.frame, bare)
    return Part(path, scores.shard, header, identity, len(pieces), pieces, [])


def join_scores(whole: Part) -> None:
    """Write the clips of all parts as one scores file."""
    with ScoresWriter(whole.path, replace(whole.header, shard=whole.shard)) as writer:
        for piece in whole.pieces:
            frame = np.frombuffer(b"".join(piece.chunks()), "<f4")
            writer.append(replace(piece.clip, frame=frame.reshape(-1, piece.clip.frame.shape[1])))


def _pieces(path: Path, file: Features | Scores, data: Any, clips: Iterator[Any]) -> list[Piece]:
    """Return the clips of a file whose frames are `data`."""
    row = data.shape[1] * data.dtype.itemsize
    columns = zip(file.names, clips, file.start.tolist(), file.frames.tolist(), strict=True)
    return [
        Piece(name, clip, path, data.offset + start * row, n_frames * row)
        for name, clip, start, n_frames in columns
    ]


def open_text_part(path: Path) -> Part:
    """Read and check an event list, or clip tags, and the record beside it, if it is a part."""
    record = read_part(path) if has_part_record(path) else _record_of_whole(path)
    try:
        columns, pieces = _index(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error})") from error
    if len({piece.name for piece in pieces}) < len(pieces):
        raise ArtifactError(f"{path}: the lines of a clip do not follow each other")
    identity = {
        "model": record.model_sha256,
        "decoding or scoring": record.settings,
        "first line": columns,
    }
    n_clips = record.n_clips or len(pieces)
    return Part(path, record.shard, record, identity, n_clips, pieces, [*record.failures])


def _record_of_whole(path: Path) -> PartRecord:
    """Return what would stand beside a list that is no part, as far as can be told."""
    refuse_unfinished(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: not a regular file")
    beside = path.with_name(f"{path.name}.failures.tsv")
    try:
        with path.open("rb") as stream:
            first = stream.readline(_LONGEST_LINE).removesuffix(b"\n")
        text = read_bounded(beside, RECORD).decode() if beside.is_file() else ""
        rows = (line.split("\t") for line in text.splitlines()[1:])
        failures = tuple((name, stage, error) for name, stage, error in rows)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}, or {beside.name}: cannot be read ({error})") from error
    for kind, columns in _FIRST_LINES.items():
        if first.startswith(columns):
            return PartRecord(kind, WHOLE, "", "", "", 0, failures)
    raise ArtifactError(f"{path}: not an event list or clip tags, as its first line is another")


def kind_of(path: Path, union: bool) -> str:
    """Return what a file says that it holds; for a `union`, a text says it in its first line."""
    if is_hdf5(path) or path.suffix.lower() == ".h5":
        name = file_format(path).removeprefix("sedtool-")
        if name not in ("features", "scores"):
            raise ArtifactError(
                f"{path}: its format is {quoted(name)}; only features and scores are merged"
            )
        return name
    is_whole = union and not has_part_record(path)
    return (_record_of_whole if is_whole else read_part_record)(path).kind


def _index(path: Path) -> tuple[bytes, list[Piece]]:
    """Return the first line of a file, and where the lines of each clip are."""
    pieces: list[Piece] = []
    with path.open("rb") as stream:
        columns = _line(stream.readline(_LONGEST_LINE), path)
        offset = len(columns)
        while line := _line(stream.readline(_LONGEST_LINE), path):
            name = line.partition(b"\t")[0].decode()
            if pieces and pieces[-1].name == name:
                pieces[-1] = replace(pieces[-1], size=pieces[-1].size + len(line))
            else:
                pieces.append(Piece(name, None, path, offset, len(line)))
            offset += len(line)
    return columns, pieces


def _line(line: bytes, path: Path) -> bytes:
    """Refuse a line that is too long, or torn off."""
    if line and not line.endswith(b"\n"):
        raise ArtifactError(f"{path}: a line has no end, or more than {_LONGEST_LINE} bytes")
    return line


def join_text(whole: Part) -> None:
    """Write the lines of all parts, as they stand, as one file; a record says if it is not whole.

    The record is written first, for without it the file would look whole.
    """
    output, columns = whole.path, whole.identity["first line"]
    if not whole.shard.is_whole:
        digest = hashlib.sha256(columns)
        for chunk in whole.chunks():
            digest.update(chunk)
        record = replace(
            whole.header,
            shard=whole.shard,
            n_clips=whole.n_clips,
            failures=tuple(whole.failures),
            sha256=digest.hexdigest(),
        )
        write_part(output, record)
    with open_atomic(output) as stream:
        stream.write(columns)
        for chunk in whole.chunks():
            stream.write(chunk)
    if whole.shard.is_whole:
        remove_part_record(output)


KINDS: dict[str, tuple[Callable[[Path], Part], Callable[[Part], None]]] = {
    "features": (open_features_part, join_features),
    "scores": (open_scores_part, join_scores),
    **dict.fromkeys(PART_KINDS, (open_text_part, join_text)),
}
WITH_FAILURES = ("features", "events")  # what has a list of failures beside it
