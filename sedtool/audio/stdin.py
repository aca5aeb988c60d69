"""Standard input, as a list or as one audio file."""

import os
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

from sedtool.atomic import resource_errors
from sedtool.errors import ConfigError, NothingUsableError, ResourceError

__all__ = ["open_stdin", "read_some", "spool_stdin"]

MAX_AUDIO = 4 * 2**30  # bytes
CHUNK_SIZE = 2**20  # bytes copied at once


def open_stdin(example: str) -> BinaryIO:
    """Return standard input; `example` is a command that uses it as it is meant.

    Raises
    ------
    ConfigError
        If it is closed, or a terminal, where we would wait for ever.
    """
    if sys.stdin is None:
        raise ConfigError("standard input is closed")
    if sys.stdin.isatty():
        raise ConfigError(f"standard input is a terminal; pipe something in, such as: {example}")
    return sys.stdin.buffer


def read_some(stream: BinaryIO, size: int, name: str) -> bytes:
    """Return the next `size` bytes, fewer at the end; `name` is the stream's in an error."""
    try:
        return stream.read(size)
    except OSError as error:
        raise ConfigError(f"{name} cannot be read ({error.strerror})") from error


def spool_stdin() -> Path:
    """Copy standard input to an unnamed temporary file and return a path that opens the copy.

    The path is good until the process ends, and only in this process.

    Raises
    ------
    ConfigError
        If standard input cannot be read, or is a terminal.
    NothingUsableError
        If nothing comes in, or more than 4 GiB.
    ResourceError
        If the disk is full.
    """
    stream = open_stdin("ffmpeg -i film.mkv -f wav - | sedtool ...")
    try:
        with resource_errors(Path("a temporary copy of standard input")):
            descriptor = _spool(stream)
    except ResourceError as error:
        raise ResourceError(f"{error}; TMPDIR can name another folder for it") from error
    return Path(f"/dev/fd/{descriptor}")


def _spool(stream: BinaryIO) -> int:
    """Return a descriptor of the copy.

    Nobody closes it: the paths of other clips have no owner either. Since standard input can be
    read once, there is one in a process, and the copy goes when the process does.
    """
    size = 0
    with tempfile.TemporaryFile() as copy:
        while chunk := read_some(stream, CHUNK_SIZE, "standard input"):
            size += len(chunk)
            if size > MAX_AUDIO:
                raise NothingUsableError(
                    f"standard input has more than {MAX_AUDIO / 2**30:g} GiB; write it to a file"
                )
            copy.write(chunk)
        if not size:
            raise NothingUsableError("standard input is empty: no audio came in")
        copy.seek(0)  # some systems open /dev/fd at the position that is shared with this
        return os.dup(copy.fileno())
