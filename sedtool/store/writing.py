"""Arrays -> one HDF5 file of the flat layout.

HDF5 never writes to a disk, since a failing one crashes it: the headers and tables are made in
memory, with a hole where the frames belong, and go out with plain writes.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from sedtool import __version__
from sedtool.atomic import open_atomic
from sedtool.errors import ResourceError
from sedtool.store.layout import FORMAT_VERSION, Attributes, Layout, block_digests, tables_digest

Table = npt.NDArray[Any] | Sequence[str]


@dataclass(frozen=True)
class Frames:
    """The big array on its way into a file."""

    shape: tuple[int, int]  # (frames, width)
    dtype: str  # of numpy
    chunks: Callable[[], Iterable[bytes]]  # its bytes, from the start each time it is called


def write_flat(
    path: Path, layout: Layout, attributes: Attributes, tables: Mapping[str, Table], frames: Frames
) -> None:
    """Write a file whole or not at all; equal contents give equal bytes."""
    digests = block_digests(frames.chunks())
    encoded = {name: _encode(table) for name, table in {**tables, layout.digests: digests}.items()}
    attributes = {
        **attributes,
        "format": layout.format,
        "format_version": FORMAT_VERSION,
        "sedtool_version": __version__,
    }
    digest = tables_digest(attributes, encoded, frames.shape, np.dtype(frames.dtype))
    headers, hole, end = _headers(layout, {**attributes, "sha256": digest}, encoded, frames)
    with open_atomic(path) as stream:
        stream.write(headers.read_range(0, hole))
        written = 0
        for chunk in frames.chunks():
            stream.write(chunk)
            written += len(chunk)
        if written != frames.shape[0] * frames.shape[1] * np.dtype(frames.dtype).itemsize:
            raise ResourceError(f"{path}: frames were lost while it was written; run it again")
        stream.write(headers.read_range(hole + written, end))


def _encode(table: Table) -> npt.NDArray[Any]:
    """Return a table as it is stored: text as fixed-length UTF-8."""
    if isinstance(table, np.ndarray):
        return table
    encoded = [text.encode() for text in table]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}")


def _headers(
    layout: Layout, attributes: Attributes, tables: Mapping[str, npt.NDArray[Any]], frames: Frames
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
    """A file in memory that keeps the pages written to; the rest reads as zeros."""

    PAGE = 4096

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._position = self._end = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        self._position = base + offset
        return self._position

    def truncate(self, size: int | None = None) -> int:
        self._end = self._position if size is None else size
        return self._end

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for page, start, stop, at in self._pieces(len(view)):
            content = self._pages.setdefault(page, bytearray(self.PAGE))
            content[start:stop] = view[at : at + stop - start]
        self._position += len(view)
        self._end = max(self._end, self._position)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        size = max(min(len(view), self._end - self._position), 0)
        for page, start, stop, at in self._pieces(size):
            content = self._pages.get(page)
            view[at : at + stop - start] = content[start:stop] if content else bytes(stop - start)
        self._position += size
        return size

    def read_range(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`."""
        self.seek(start)
        return self.read(stop - start)

    def _pieces(self, size: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield (page, first byte in it, byte after the last, offset) of the next `size` bytes."""
        done = 0
        while done < size:
            page, start = divmod(self._position + done, self.PAGE)
            stop = min(self.PAGE, start + size - done)
            yield page, start, stop, done
            done += stop - start
