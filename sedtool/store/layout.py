"""The HDF5 layout that features.h5 and scores.h5 share, and arrays -> one file of it.

One big array of frames and some small tables, every data set contiguous and unfiltered, so that
its place in the file is an offset: all of it is read from there, and HDF5 itself only ever parses
headers. Contiguous data has no HDF5 checksum, so the file carries its own: a sha256 of each 64 MiB
of frames, and in the attribute ``sha256`` one of everything else.

HDF5 never writes to a disk, since a failing one crashes it: the headers and tables are made in
memory, with a hole where the frames belong, and go out with plain writes.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from sedtool import __version__
from sedtool.atomic import open_atomic
from sedtool.errors import ResourceError
from sedtool.shards import Shard

FORMAT_VERSION = 2
BLOCK_SIZE = 64 * 2**20  # bytes of frames under one digest
CHUNK_SIZE = 2**20  # bytes read at once
TEXT = "text"  # the type of a table of fixed-length UTF-8 strings

CLIP_TABLES = {
    "/clips/name": (TEXT, 1),
    "/clips/start": ("<u8", 1),
    "/clips/frames": ("<u8", 1),
    "/clips/duration": ("<f8", 1),
}
SHARD_ATTRIBUTES = {"manifest_sha256": str, "shard": int, "n_shards": int}

T = TypeVar("T")
Attributes = Mapping[str, str | int | float]
Array = npt.NDArray[Any]
Table = Sequence[Any] | Array


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
    within: tuple[float, float]  # the least and the greatest value that a frame may have
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


@dataclass(frozen=True)
class Frames:
    """The big array on its way into a file."""

    shape: tuple[int, int]  # (frames, width)
    dtype: str  # of numpy
    chunks: Callable[[], Iterable[bytes]]  # its bytes, from the start each time it is called


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
    tables: Mapping[str, Array],
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
) -> dict[str, Table]:
    """Return the tables of clips whose frames stand one after the other."""
    start = np.cumsum(n_frames, dtype="<u8") - np.array(n_frames, "<u8")
    columns = (names, start, n_frames, durations)
    return dict(zip(CLIP_TABLES, columns, strict=True))


def shard_attributes(shard: Shard, manifest_sha256: str) -> dict[str, str | int | float]:
    """Return the attributes that say which part of which list of clips a file is."""
    values = (manifest_sha256, shard.number, shard.count)
    return dict(zip(SHARD_ATTRIBUTES, values, strict=True))


def as_base(cls: type[T], instance: T) -> T:
    """Return what an instance has as one of its base dataclasses, and nothing else."""
    return cls(**{entry.name: getattr(instance, entry.name) for entry in fields(cls)})  # type: ignore[arg-type]


def write_flat(
    path: Path, layout: Layout, attributes: Attributes, tables: Mapping[str, Table], frames: Frames
) -> str:
    """Write a file whole or not at all; equal contents give equal bytes. Returns its sha256."""
    tables = {**tables, layout.digests: block_digests(frames.chunks())}
    types = layout.datasets()
    encoded = {name: _encoded(table, types[name][0][0]) for name, table in tables.items()}
    attributes = {
        **attributes,
        "format": layout.format,
        "format_version": FORMAT_VERSION,
        "sedtool_version": __version__,
    }
    dtype = np.dtype(frames.dtype)
    digest = tables_digest(attributes, encoded, frames.shape, dtype)
    headers, hole, end = _headers(layout, {**attributes, "sha256": digest}, encoded, frames)
    with open_atomic(path) as stream:
        stream.write(headers.read_range(0, hole))
        written = 0
        for chunk in frames.chunks():
            stream.write(chunk)
            written += len(chunk)
        if written != frames.shape[0] * frames.shape[1] * dtype.itemsize:
            raise ResourceError(f"{path}: frames were lost while it was written; run it again")
        stream.write(headers.read_range(hole + written, end))
    return digest


def _encoded(table: Table, kind: str) -> Array:
    """Return a table as it is stored: text as fixed-length UTF-8."""
    if kind != TEXT:
        return np.asarray(table, kind)
    encoded = [text.encode() for text in table]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}")


def _headers(
    layout: Layout, attributes: Attributes, tables: Mapping[str, Array], frames: Frames
) -> tuple["_SparseFile", int, int]:
    """Return the file without its frames, the offset where they belong, and the file's length."""
    sparse = _SparseFile()
    # v110 puts a checksum on every header; alignment lets the frames be mapped as numbers.
    with h5py.File(
        sparse, "w", libver=("v110", "v110"), alignment_threshold=1, alignment_interval=8
    ) as file:
        for name, value in attributes.items():
            file.attrs.create(name, _string(value) if isinstance(value, str) else value)
        for name, table in tables.items():
            dtype = table.dtype
            if dtype.kind == "S":
                dtype = h5py.string_dtype("utf-8", dtype.itemsize)
            file.create_dataset(name, data=table.astype(dtype))
        hole = _reserve(file, layout.frames, frames)
    return sparse, hole, sparse.seek(0, io.SEEK_END)


def _string(text: str) -> npt.NDArray[np.bytes_]:
    encoded = text.encode()
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", max(len(encoded), 1)))


def _reserve(file: h5py.File, name: str, frames: Frames) -> int:
    """Create the data set of frames, allocated but never written; return its offset.

    HDF5 gives a data set without bytes no place: 0 stands for it.
    """
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)  # else equal files would differ
    group, _, leaf = name.rpartition("/")
    kind = h5py.h5t.py_create(np.dtype(frames.dtype), logical=True)
    space = h5py.h5s.create_simple(frames.shape)
    dataset = h5py.h5d.create(file.require_group(group).id, leaf.encode(), kind, space, plist)
    return int(dataset.get_offset() or 0)


class _SparseFile(io.RawIOBase):
    """A file in memory that keeps what was written, in order; the rest reads as zeros."""

    def __init__(self) -> None:
        self.written: list[tuple[int, bytes]] = []  # offset and content
        self._position = self._end = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        self._position = base + offset
        return self._position

    def truncate(self, size: int | None = None) -> int:
        self._end = self._position if size is None else size
        return self._end

    def write(self, data: Any) -> int:
        content = bytes(data)
        self.written.append((self._position, content))
        self._position += len(content)
        self._end = max(self._end, self._position)
        return len(content)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        start = self._position
        stop = max(start, min(start + len(view), self._end))
        view[: stop - start] = bytes(stop - start)
        for offset, content in self.written:
            first, last = max(offset, start), min(offset + len(content), stop)
            if first < last:
                view[first - start : last - start] = content[first - offset : last - offset]
        self._position = stop
        return stop - start

    def read_range(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`."""
        self.seek(start)
        return self.read(stop - start)
