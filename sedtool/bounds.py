"""Files from outside that are read whole: how much is read of one, and how long it is waited for.

What is too large, or has a line without end, is refused before it fills the memory. A pipe is read
as a file is, if anybody writes to it.
"""

import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MIB = 2**20
TABLE = 512 * MIB  # of labels, clip names or scores: several million rows
RECORD = 64 * MIB  # of JSON that sedtool wrote
RECIPE = MIB // 8  # more of YAML takes seconds
MOST_COLUMNS = 10_000  # of a table
MOST_CLASSES = 100_000  # that are trained on or scored
MOST_LABEL = 1000  # characters of the name of a class
_PIECE = MIB  # what is read at once, and how long a line of a table may be
_PATIENCE = 5.0  # seconds that a pipe is waited for at whose other end nobody is


def read_bounded(path: Path | str, most: int) -> bytes:
    """Return the content of a file or pipe, of at most so many bytes.

    Raises
    ------
    OSError
        If it cannot be opened or read, is too large, or a pipe that nobody writes to; its
        `strerror` says which.
    """
    return b"".join(_chunks(path, most))


def read_table(path: Path | str) -> bytes:
    """Return the content of a table, as `read_bounded`; its lines are bounded, too."""
    chunks: list[bytes] = []
    number, begun = 1, 0  # the line that is not over yet, and how much of it was read
    for chunk in _chunks(path, TABLE):
        first = chunk.find(b"\n")
        if begun + (len(chunk) if first < 0 else first) > _PIECE:
            raise OSError(errno.EFBIG, f"line {number} is longer than {_PIECE // MIB} MiB")
        number += chunk.count(b"\n")
        begun = len(chunk) - 1 - chunk.rfind(b"\n") + (begun if first < 0 else 0)
        chunks.append(chunk)
    return b"".join(chunks)


def _chunks(path: Path | str, most: int) -> Iterator[bytes]:
    """Yield the pieces of a file of at most so many bytes."""
    bound = f"{most // MIB} MiB" if most >= MIB else f"{most // 1024} KiB"
    too_large = OSError(errno.EFBIG, f"it is larger than {bound}")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for its writer
    with open(descriptor, "rb", buffering=0) as stream:  # noqa: PTH123  # a descriptor
        status = os.fstat(descriptor)
        if status.st_size > most:
            raise too_large
        size = 0
        while chunk := _first_piece(descriptor) if size == 0 else stream.read(_PIECE):
            size += len(chunk)
            if size > most:
                raise too_large
            yield chunk


def _first_piece(descriptor: int) -> bytes:
    """Return the first piece of a file; of a pipe, once somebody writes to it."""
    is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            if (chunk := os.read(descriptor, _PIECE)) or not is_pipe:
                os.set_blocking(descriptor, True)
                return chunk
        except BlockingIOError:  # somebody is there, who has not written yet
            os.set_blocking(descriptor, True)
            return os.read(descriptor, _PIECE)
        time.sleep(_PATIENCE / 250)
    raise OSError(errno.ENXIO, "nobody writes to this pipe")


def number(value: Any, low: float = -1e30, high: float = 1e30) -> float:
    """Return a number of a file, or raise a ValueError if it is none, or not in its range."""
    if type(value) not in (int, float) or not low <= value <= high:
        raise ValueError(f"{value!r:.80} in it is no number from {low:g} to {high:g}")
    return float(value)
