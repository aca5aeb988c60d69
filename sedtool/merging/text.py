"""Event lists and clip tags of several shards -> one file.

Lines are copied as they stand, so that nothing is rounded twice. Those of one recording follow each
other, and recordings are sorted by name.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from sedtool.atomic import open_atomic
from sedtool.errors import ArtifactError
from sedtool.shards import PartRecord, Shard, read_part, remove_part_record, write_part
from sedtool.store import Part, Piece, read_pieces

__all__ = ["TextPart", "join_text", "open_text_part"]

_LONGEST_LINE = 2**20  # bytes


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
