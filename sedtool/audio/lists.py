"""Lists and manifests -> the paths that stand in them; standard input as a list or as audio.

A list has one path a line, or between NUL bytes, and nothing else. A manifest is a table or JSON
lines with a column of paths among others.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from sedtool.atomic import resource_errors
from sedtool.bounds import MIB, read_bounded
from sedtool.errors import AudioError, ConfigError, LabelError, NothingUsableError, ResourceError
from sedtool.file_kinds import HEAD_SIZE, file_kind
from sedtool.labels import read_names
from sedtool.labels.cells import numbered_lines
from sedtool.labels.formats.json_lines import parse_json
from sedtool.labels.names import check_name
from sedtool.text import quoted

_log = logging.getLogger(__name__)

SPOOLED = Path("/dev/fd")  # where the copy of standard input is, as a path
MAX_LIST = 256 * MIB
MOST_PATH = 4096  # bytes: no system takes a longer one
MAX_AUDIO = 4 * 2**30  # bytes of audio on standard input
CHUNK_SIZE = 2**20  # bytes copied at once


def read_list(path: str, null: bool = False) -> list[str]:
    """Read a list of paths, one a line, or if `null` with NUL bytes, as ``find -print0`` writes it.

    ``"-"`` is standard input. Empty lines are skipped; a list of nothing else is a
    NothingUsableError, and one that cannot be read, or ends its paths otherwise, a ConfigError.
    """
    name = "standard input" if path == "-" else path
    if path == "-":
        stream = open_stdin("find audio/ -name '*.wav' | sedtool ... --files-from -")
        data = read_some(stream, MAX_LIST + 1, name)
        if len(data) > MAX_LIST:
            raise ConfigError(f"{name} is larger than {MAX_LIST // MIB} MiB: too long for a list")
    else:
        try:
            data = read_bounded(path, MAX_LIST)
        except OSError as error:
            raise ConfigError(f"the list {path} cannot be read ({error.strerror})") from error
    if null and b"\0" not in data and b"\n" in data:
        raise ConfigError(f"{name} has lines and no NUL bytes; leave --null out")
    if not null and b"\0" in data:
        if kind := file_kind(data[:HEAD_SIZE], name):
            raise ConfigError(f"{name} is no list of paths: {kind}")
        raise ConfigError(f"{name} has NUL bytes; give --null if find -print0 wrote it")
    if null:
        entries = data.split(b"\0")
    else:
        lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        entries = [line.removesuffix(b"\r") for line in lines]
    paths = [os.fsdecode(entry) for entry in entries if entry]
    if not paths:
        raise NothingUsableError(f"the list of files in {name} is empty")
    longest = max(paths, key=len)
    if len(longest) > MOST_PATH:
        raise ConfigError(f"no path is {len(longest)} characters long, as one in {name} is")
    return paths


def is_manifest(path: Path) -> bool:
    """Return whether a path is that of a manifest, by its suffix in any case."""
    return path.suffix.lower() in _READERS and path.is_file()


def read_manifest(path: Path) -> list[str]:
    """Read the paths in a manifest, each once, in order.

    ======  ===================================================================================
    .tsv    the column ``filename``, or the first where there is no header line
    .csv    the same: both are read as `sedtool.labels.dialect` says
    .jsonl  ``audio_filepath`` of one JSON object a line, as in NeMo; its ``offset`` must be 0,
            and its ``duration`` is not looked at: files are read to their end
    ======  ===================================================================================

    A row that cannot be read as it stands is a LabelError with file and line.
    """
    found = list(dict.fromkeys(_READERS[path.suffix.lower()](path)))
    if not found:
        raise NothingUsableError(f"{path} names no audio file")
    return found


def _read_jsonl(path: Path) -> Iterator[str]:
    has_durations = False
    for where, line in numbered_lines(path):
        row = parse_json(line, where)
        name = row.get("audio_filepath") if isinstance(row, dict) else None
        if not isinstance(name, str) or not name:
            raise LabelError(f"{where}: not an object with a text 'audio_filepath'")
        try:
            check_name(name)  # in JSON any text can be written
        except AudioError as error:
            raise LabelError(f"{where}: {error}") from None
        if row.get("offset") not in (None, 0):
            raise LabelError(
                f"{where}: offset {quoted(row['offset'])} is not 0; files are read from start to "
                "end: cut the segment out"
            )
        has_durations |= row.get("duration") is not None
        yield name
    if has_durations:
        _log.warning("%s: 'duration' is not looked at; files are read from start to end", path)


_READERS: dict[str, Callable[[Path], Iterator[str] | list[str]]] = {
    ".tsv": read_names,
    ".csv": read_names,
    ".jsonl": _read_jsonl,
}


def open_stdin(example: str) -> BinaryIO:
    """Return standard input; `example` is a command that uses it as it is meant.

    If it is closed, or a terminal, which would be waited for without end, that is a ConfigError.
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

    The path is good until the process ends, and only in this process. Nothing, or more than 4 GiB,
    is a NothingUsableError.
    """
    stream = open_stdin("ffmpeg -i film.mkv -f wav - | sedtool ...")
    try:
        with resource_errors(Path("a temporary copy of standard input")):
            descriptor = _spool(stream)
    except ResourceError as error:
        raise ResourceError(f"{error}; TMPDIR can name another folder for it") from error
    return SPOOLED / str(descriptor)


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
