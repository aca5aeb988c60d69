"""An HDF5 file of the flat layout -> arrays, or an ArtifactError.

The file may come from a stranger. Only the names of the layout may be in it, each a hard link to a
contiguous, unfiltered data set of the exact type, so that nothing is decoded, and nothing outside
the file is opened. What a data set claims is checked against the file's size before it is read.
Frames are read where others would map them: a process that touches what is mapped of a file that
was cut short ends on the spot.
"""

import contextlib
import io
import math
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from sedtool.errors import ArtifactError, ConfigError, ResourceError
from sedtool.file_kinds import kind_of_file
from sedtool.shards import Shard
from sedtool.store.layout import (
    CHUNK_SIZE,
    CLIP_TABLES,
    FORMAT_VERSION,
    SHARD_ATTRIBUTES,
    TEXT,
    ClipTable,
    Layout,
    block_digests,
    tables_digest,
)
from sedtool.text import is_writable, quoted

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCKS = (2, 3)  # the versions with checksums
_MOST_TEXT = 2**20  # bytes of one attribute
_LONGEST_CLIP = 1e6  # seconds
_LONGEST_TEXT = 2**16  # bytes of a name or a message in a table
_MOST_HOLES = 1000  # bytes of a file for one that is on the disk


@dataclass(frozen=True)
class Flat:
    """An open file."""

    attributes: dict[str, Any]  # str, int or float
    tables: dict[str, Any]  # numpy array, or list of str
    frames: "StoredFrames"
    clips: ClipTable
    shard: Shard


@dataclass(frozen=True)
class _Place:
    """Where a data set lies in the file."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def open_flat(path: Path, layout: Layout, verify: bool) -> Flat:
    """Open a file; `verify` also checks the digests of the frames, and that all are finite.

    An ArtifactError names the file and what is wrong with it.
    """
    with _opened(path) as (stream, file):
        size = stream.seek(0, io.SEEK_END)
        stored = os.fstat(stream.fileno()).st_blocks * 512  # some file systems say 0
        if stored and size > _MOST_HOLES * max(stored, 2**18):
            raise ArtifactError(f"damaged: of its {size} bytes only {stored} are on the disk")
        attributes = _attributes(file, layout)
        _check_members(file, layout)
        places = {
            name: _place(file[name], name, kinds, rank, size)
            for name, (kinds, rank) in layout.datasets().items()
        }
        big = places.pop(layout.frames)
        arrays = {name: _read(stream, place) for name, place in places.items()}
        if tables_digest(attributes, arrays, big.shape, big.dtype) != attributes["sha256"]:
            raise ArtifactError("damaged: its tables do not match their digest; make it again")
        tables: dict[str, Any] = {
            name: [text.decode() for text in array.tolist()] if array.dtype.kind == "S" else array
            for name, array in arrays.items()
        }
        clips = _clips(attributes, tables, big.shape[0])
        shard = Shard(attributes["shard"], attributes["n_shards"])
        if verify:
            _verify(stream, big, tables[layout.digests], *layout.within)
        frames = StoredFrames(path, stream, big)
        return Flat(attributes, tables, frames, clips, shard)


class StoredFrames:
    """The frames (frames, width) of an open file; a slice of them is read from there."""

    def __init__(self, path: Path, stream: BinaryIO, place: "_Place") -> None:
        self.offset, self.shape, self.dtype = place.offset, place.shape, place.dtype
        self._path, self._file = path, os.dup(stream.fileno())
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Read all frames, for numpy."""
        return np.asarray(self[:], dtype)

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        """Read the frames from a start to a stop; an ArtifactError says that they are gone."""
        start, stop, _ = rows.indices(len(self))
        frames = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        left = memoryview(frames.data).cast("B") if frames.size else b""
        offset = self.offset + start * self.shape[1] * self.dtype.itemsize
        try:
            while left and (n_read := os.preadv(self._file, [left], offset)):
                left, offset = left[n_read:], offset + n_read
        except OSError as error:
            raise ResourceError(f"cannot read {self._path}: {error.strerror}") from error
        if left:
            raise ArtifactError(f"{self._path}: cut short while it was read; make it again")
        return frames


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is found wrong with it."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, h5py.File]]:
    """Open a file as bytes and as HDF5; whatever is found wrong is an ArtifactError."""
    try:
        with naming(path):
            if path.exists() and not path.is_file():  # opening a FIFO would wait without end
                raise ArtifactError("not a regular file")
            with path.open("rb", buffering=0) as stream:
                if not _has_superblock(stream):
                    kind = kind_of_file(path)
                    what = f": {kind}" if kind else ""
                    raise ArtifactError(f"not an HDF5 file that sedtool wrote{what}")
                with h5py.File(stream, "r") as file:
                    yield stream, file
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file") from error
    except ConfigError as error:
        raise ArtifactError(f"{path}: {error}") from error  # there can be no such shard
    # h5py turns what HDF5 finds wrong with a file into any of these.
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise ArtifactError(f"{path}: damaged, or not made by sedtool ({reason})") from error


def is_hdf5(path: Path) -> bool:
    """Return whether a file begins as the HDF5 files do that sedtool writes."""
    try:
        if not path.is_file():
            return False
        with path.open("rb", buffering=0) as stream:
            return _has_superblock(stream)
    except OSError:
        return False


def file_format(path: Path) -> str:
    """Return which format a file says it has, e.g. ``sedtool-features``; see `open_flat`."""
    with _opened(path) as (_, file):
        return str(_attribute(file, "format", str))


def file_shard(path: Path) -> tuple[Shard, str]:
    """Return the shard a file says it is, and the digest of its list of names; see `open_flat`."""
    with _opened(path) as (_, file):
        manifest, number, count = (_attribute(file, *item) for item in SHARD_ATTRIBUTES.items())
        return Shard(number, count), manifest


def _has_superblock(stream: BinaryIO) -> bool:
    head = stream.read(9)
    return len(head) == 9 and head.startswith(_SIGNATURE) and head[8] in _SUPERBLOCKS


def _attributes(file: h5py.File, layout: Layout) -> dict[str, Any]:
    expected = layout.all_attributes()
    if "format" not in file.attrs or "format_version" not in file.attrs:
        raise ArtifactError("not a file that sedtool wrote: it has no format attribute")
    found = {name: _attribute(file, name, expected[name]) for name in ("format", "format_version")}
    if found["format"] != layout.format:
        raise ArtifactError(f"its format is {quoted(found['format'])}, not {layout.format!r}")
    if found["format_version"] != FORMAT_VERSION:
        raise ArtifactError(
            f"its format_version is {found['format_version']}, and this sedtool reads "
            f"{FORMAT_VERSION}; make it again, or use the sedtool that wrote it"
        )
    if set(file.attrs) != set(expected):
        raise ArtifactError("damaged: attributes are missing or foreign")
    return {name: _attribute(file, name, kind) for name, kind in expected.items()}


def _attribute(file: h5py.File, name: str, kind: type) -> Any:
    attribute = file.attrs.get_id(name)
    dtype = attribute.dtype
    if attribute.shape != ():
        raise ArtifactError(f"damaged: attribute {name} is not a single value")
    if kind is not str:
        if dtype != np.dtype({int: "<i8", float: "<f8"}[kind]):
            raise ArtifactError(f"damaged: attribute {name} is of type {dtype}")
        return kind(file.attrs[name])
    text = h5py.check_string_dtype(dtype)
    if text is None or text.length is None or text.length > _MOST_TEXT:
        raise ArtifactError(f"damaged: attribute {name} is not a text of fixed length")
    return bytes(file.attrs[name]).decode()


def _check_members(file: h5py.File, layout: Layout) -> None:
    """Check that the groups hold the names of the layout and nothing else, all by hard links."""
    expected: dict[str, set[str]] = {"/": set()}
    for name in layout.datasets():
        group, _, leaf = name.rpartition("/")
        expected.setdefault(group or "/", set()).add(leaf)
        if group:
            expected["/"].add(group.removeprefix("/"))
    for group, names in expected.items():
        links = file[group]
        if not isinstance(links, h5py.Group) or len(links) != len(names) or set(links) != names:
            raise ArtifactError(f"damaged: {group} holds other things than {sorted(names)}")
        for name in names:
            if not isinstance(links.get(name, getlink=True), h5py.HardLink):
                raise ArtifactError(f"{group} has a link out of itself, {quoted(name)}: not opened")


def _place(dataset: Any, name: str, kinds: tuple[str, ...], rank: int, size: int) -> _Place:
    """Check one data set against the layout and the file's size, and return where it is."""
    if not isinstance(dataset, h5py.Dataset):
        raise ArtifactError(f"damaged: {name} is not a data set")
    plist = dataset.id.get_create_plist()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count():
        raise ArtifactError(f"{name} is not stored in one piece inside the file: not opened")
    text = h5py.check_string_dtype(dataset.dtype)
    kind = TEXT if text is not None and text.length is not None else dataset.dtype.str
    if kind not in kinds:
        raise ArtifactError(f"damaged: {name} is of type {dataset.dtype}, not {' or '.join(kinds)}")
    if kind == TEXT and text.length > _LONGEST_TEXT:
        raise ArtifactError(f"{name} has texts of {text.length} bytes, more than {_LONGEST_TEXT}")
    if dataset.shape is None or len(dataset.shape) != rank:
        raise ArtifactError(f"damaged: {name} has other than {rank} axes")
    place = _Place(dataset.id.get_offset() or 0, np.dtype(dataset.dtype.str), dataset.shape)
    if place.n_bytes and (not place.offset or place.offset + place.n_bytes > size):
        raise ArtifactError(f"truncated: {name} would end behind the end of the file")
    return place


def _read(stream: BinaryIO, place: _Place) -> npt.NDArray[Any]:
    stream.seek(place.offset)
    content = stream.read(place.n_bytes)
    return np.frombuffer(content, place.dtype).reshape(place.shape)


def read_range(stream: BinaryIO, offset: int, size: int) -> Iterator[bytes]:
    """Yield the bytes of a range, in chunks; an ArtifactError says that they are gone."""
    stream.seek(offset)
    while size:
        chunk = stream.read(min(CHUNK_SIZE, size))
        if not chunk:
            raise ArtifactError("truncated while it was read")
        size -= len(chunk)
        yield chunk


def _verify(stream: BinaryIO, place: _Place, digests: list[str], low: float, high: float) -> None:
    """Check the digests of the frames, and that all are numbers in their range."""
    all_within = True

    def chunks() -> Iterator[bytes]:
        nonlocal all_within
        for chunk in read_range(stream, place.offset, place.n_bytes):
            values = np.frombuffer(chunk, place.dtype)
            is_half = values.itemsize == 2  # slow to compare; all of it is in range, if finite
            right = np.isfinite(values) if is_half else (values >= low) & (values <= high)
            all_within &= bool(right.all())
            yield chunk

    found = block_digests(chunks())
    if len(found) != len(digests):
        raise ArtifactError(f"damaged: {len(digests)} digests for {len(found)} blocks of frames")
    for number, (block, digest) in enumerate(zip(found, digests, strict=True), 1):
        if block != digest:
            raise ArtifactError(
                f"damaged: block {number} of {len(found)} of its frames does not match its "
                "digest; make it again"
            )
    if not all_within:
        raise ArtifactError(
            f"its frames hold values that are not finite, or not {low:g} to {high:g}"
        )


def _clips(attributes: Mapping[str, Any], tables: Mapping[str, Any], n_frames: int) -> ClipTable:
    """Return the clips of a file, or raise an ArtifactError if the table makes no sense.

    Only a part may have no clip: those of its shard all failed, or it has no share of a short list.
    """
    names, start, frames, duration = (tables[name] for name in CLIP_TABLES)
    check_texts([attributes["manifest_sha256"], *names])
    if not len(names) == len(start) == len(frames) == len(duration):
        raise ArtifactError("its tables of clips differ in length")
    if not names and attributes["n_shards"] == 1:
        raise ArtifactError("there is no clip in it")
    if len(set(names)) < len(names):
        raise ArtifactError("a clip is in it twice")
    if not all(names):
        raise ArtifactError("a clip has no name")
    if not _cover(start, frames, n_frames):
        raise ArtifactError("its clips do not cover its frames one after the other")
    if not ((duration > 0) & (duration <= _LONGEST_CLIP)).all():  # so is no NaN
        raise ArtifactError(f"a clip has a duration that is not in (0, {_LONGEST_CLIP:g}] seconds")
    start, frames = start.astype(np.int64), frames.astype(np.int64)
    return ClipTable(names=names, start=start, frames=frames, duration=duration)


def _cover(start: npt.NDArray[np.uint64], frames: npt.NDArray[np.uint64], total: int) -> bool:
    """Return whether clips stand one after the other, from the first frame to the last."""
    if not len(start):
        return total == 0
    in_range = frames.min() > 0 and frames.max() <= total and start.max() < total
    # Nothing is summed over the file, so nothing can overflow.
    joined = start[0] == 0 and (start[1:] == start[:-1] + frames[:-1]).all()
    return bool(in_range and joined and start[-1] + frames[-1] == total)


def check_texts(texts: Sequence[str]) -> None:
    """Refuse texts that would act on a terminal or break a line of TSV."""
    for text in texts:
        if not is_writable(text):
            raise ArtifactError(f"the text {quoted(text)} in it has a control character")
