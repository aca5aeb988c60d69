"""The HDF5 layout that features.h5 and scores.h5 share, and what both hold of their clips.

One big array of frames and some small tables, every data set contiguous and unfiltered, so that
its place in the file is an offset: frames are memory-mapped there, tables are read from there, and
HDF5 itself only ever parses headers. Contiguous data has no HDF5 checksum, so the file carries its
own: a sha256 of each 64 MiB of frames, and in the attribute ``sha256`` one of everything else.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sedtool.shards import Shard

FORMAT_VERSION = 2
BLOCK_SIZE = 64 * 2**20  # bytes of frames under one digest
CHUNK_SIZE = 2**20  # bytes read at once
TEXT = "text"  # the type of a table of fixed-length UTF-8 strings

Attributes = Mapping[str, str | int | float]


CLIP_TABLES = {
    "/clips/name": (TEXT, 1),
    "/clips/start": ("<u8", 1),
    "/clips/frames": ("<u8", 1),
    "/clips/duration": ("<f8", 1),
}
SHARD_ATTRIBUTES = {"manifest_sha256": str, "shard": int, "n_shards": int}


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ClipTable:
    """The clips of a file, whose frames stand one after the other."""

    names: list[str]
    start: npt.NDArray[np.int64]  # first frame of each clip
    frames: npt.NDArray[np.int64]  # number of frames of each clip
    duration: npt.NDArray[np.float64]  # seconds


@dataclass(frozen=True)
class Layout:
    """The names and types of one file format."""

    format: str  # value of the attribute `format`
    frames: str  # path of the big array, (frames, width)
    frames_types: tuple[str, ...]  # numpy types it may have
    digests: str  # path of its block digests
    tables: Mapping[str, tuple[str, int]]  # path -> numpy type or TEXT, and number of axes
    attributes: Mapping[str, type]  # besides those every file has

    def datasets(self) -> dict[str, tuple[tuple[str, ...], int]]:
        """Return the types and the number of axes that each data set may have, by path."""
        tables = {**self.tables, self.digests: (TEXT, 1)}
        small = {name: ((kind,), rank) for name, (kind, rank) in tables.items()}
        return {**small, self.frames: (self.frames_types, 2)}

    def all_attributes(self) -> dict[str, type]:
        """Return the attributes with those that every file has."""
        common = {"format": str, "format_version": int, "sedtool_version": str, "sha256": str}
        return {**self.attributes, **common}


def block_digests(chunks: Iterable[bytes]) -> list[str]:
    """Return the sha256 of each BLOCK_SIZE bytes of a stream, in hexadecimal."""
    digests: list[str] = []
    block, size = hashlib.sha256(), 0
    for chunk in chunks:
        view = memoryview(chunk)
        while len(view):
            part = view[: BLOCK_SIZE - size]
            block.update(part)
            view, size = view[len(part) :], size + len(part)
            if size == BLOCK_SIZE:
                digests.append(block.hexdigest())
                block, size = hashlib.sha256(), 0
    return [*digests, block.hexdigest()] if size else digests


def tables_digest(
    attributes: Attributes,
    tables: Mapping[str, npt.NDArray[Any]],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> str:
    """Return the sha256 of all that is not frames: a JSON head, then each table's bytes by name.

    It covers the block digests, and through them the frames: it identifies the file.
    """
    head = {
        "attributes": {name: value for name, value in attributes.items() if name != "sha256"},
        "frames": [dtype.str, shape],
        "tables": {name: [table.dtype.str, table.shape] for name, table in tables.items()},
    }
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for _, table in sorted(tables.items()):
        digest.update(table.tobytes())
    return digest.hexdigest()


def clip_tables(
    names: Sequence[str], n_frames: Sequence[int], durations: Sequence[float]
) -> dict[str, Any]:
    """Return the tables of clips whose frames stand one after the other."""
    frames = np.array(n_frames, "<u8")
    return {
        "/clips/name": list(names),
        "/clips/start": np.cumsum(frames, dtype="<u8") - frames,
        "/clips/frames": frames,
        "/clips/duration": np.array(durations, "<f8"),
    }


def shard_attributes(shard: Shard, manifest_sha256: str) -> dict[str, str | int | float]:
    """Return the attributes that say which part of which list of clips a file is."""
    return {
        "manifest_sha256": manifest_sha256,
        "shard": shard.number,
        "n_shards": shard.count,
    }


def as_base(cls: type[T], instance: T) -> T:
    """Return what an instance has as one of its base dataclasses, and nothing else."""
    return cls(**{entry.name: getattr(instance, entry.name) for entry in fields(cls)})  # type: ignore[arg-type]
