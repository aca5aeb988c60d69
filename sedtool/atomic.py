"""The only code that opens a final path for writing.

A file is written under a temporary name in the same folder, flushed, fsynced and renamed, so that
a file under its final name is whole, however the writer was interrupted. Outputs that are no
regular file (a FIFO, a device), or are open already (``/dev/stdout``), are written directly;
symbolic links are resolved first.

Several files of one result appear `together`: all are written before the first is renamed. While
they are renamed, a file ``.unfinished`` in their folder, or ``.NAME.unfinished`` beside the first
of them, says which they are. It goes last: a folder that has one is refused by readers, and what
the mark names may be replaced by the run that finishes the result. Of a `claim`, what is finished
is only compared with what would be written to it, and refused if it is anything else.
"""

import contextlib
import errno
import fcntl
import io
import json
import logging
import os
import re
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from sedtool.bounds import RECORD, read_bounded
from sedtool.errors import (
    WRITE_ERRNO,
    ArtifactError,
    BusyError,
    ConfigError,
    OutputExistsError,
    ResourceError,
    SameOutputError,
)
from sedtool.text import first_five, first_unlike

_READER_PATIENCE = 5.0  # seconds that the reader of a pipe is waited for
_LOCK_PATIENCE = 0.3  # seconds; a process that only looks whether a file is locked lets go at once

_MARK = ".unfinished"
_FAILURES = ".failures.tsv"
_BESIDE = (_FAILURES, ".part.json", ".made")  # of what stands beside an output, and goes with it
_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]+\.tmp", re.DOTALL)

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def resource_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into a ResourceError."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has gone, and that is no error
    except OSError as error:
        reason = WRITE_ERRNO.get(error.errno or 0) or error.strerror or str(error)
        raise ResourceError(f"cannot write {path}: {reason}") from error


def appears_whole(path: Path) -> bool:
    """Return whether an output is a file that can appear whole, or will be one."""
    return _descriptor(path) is None and (path.is_file() or not path.exists())


def _descriptor(path: Path) -> int | None:
    """Return the open descriptor that a path names, such as 1 for ``/dev/stdout``.

    What the shell has opened may be a regular file, which is then to be written to as it is.
    """
    if str(path.parent) in ("/dev/fd", "/proc/self/fd") and path.name.isdecimal():
        number = int(path.name)
    else:
        number = {"/dev/stdout": 1, "/dev/stderr": 2}.get(str(path), -1)
    if number == 2:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return sys.stderr.fileno()  # a program may have moved it, to keep libraries off it
    return number if number >= 0 else None


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise OutputExistsError if `path` is a finished file and `overwrite` is false."""
    if not overwrite and path.exists() and appears_whole(path):
        raise differing(path)


def differing(path: Path, how: str = "") -> OutputExistsError:
    """Return the error that says that a finished file is not replaced, and how it is another."""
    remedy = "give --overwrite to replace it, or another name"
    return OutputExistsError(f"{path} exists; {remedy}{how and f' ({how})'}")


def refuse_input(output: Path | None, inputs: Iterable[Path]) -> None:
    """Raise a ConfigError if an output is one of the files that are read."""
    if output is None or not output.exists() or not appears_whole(output):
        return
    for path in inputs:
        with contextlib.suppress(OSError):
            if output.samefile(path):
                raise ConfigError(f"{output} is an input; give the output another name")


def open_atomic(path: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    """Open a binary stream that becomes `path` when the block ends without an error.

    If the folder cannot be written or the disk is full, what stood at `path` is untouched.
    """
    path = Path(path)
    with resource_errors(path):
        if not appears_whole(path):
            return _open_directly(path)
        is_compared = os.path.realpath(path) in (_standing.get() or {})
    return _open_compared(path) if is_compared else _open_whole(path)


@contextlib.contextmanager
def _open_compared(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as there:
        yield cast("BinaryIO", _Compared(there, path))
        if there.read(1):
            raise differing(path, "it has more in it than would be written now")
    (_standing.get() or {})[os.path.realpath(path)] = True


class _Compared(io.RawIOBase):
    """Takes what would be written to a file that stands there, and refuses anything else."""

    def __init__(self, there: IO[bytes], path: Path) -> None:
        self._there, self._path = there, path

    def write(self, data: Any) -> int:
        if (there := self._there.read(len(data))) != data:
            raise differing(self._path, first_unlike(there, data))
        return len(data)


@contextlib.contextmanager
def _open_directly(path: Path) -> Iterator[BinaryIO]:
    with resource_errors(path):
        descriptor = _descriptor(path)
        target = _open_for_reader(path) if descriptor is None else os.dup(descriptor)
        stream = os.fdopen(target, "wb")
    try:
        yield cast("BinaryIO", _Guarded(stream, path))
    finally:
        with resource_errors(path):
            stream.close()


def _open_for_reader(path: Path) -> int:
    """Open a device or a pipe; a pipe that nobody reads is not waited for without end."""
    until = time.monotonic() + _READER_PATIENCE
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o666)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > until:
                raise
            time.sleep(_READER_PATIENCE / 250)
        else:
            os.set_blocking(descriptor, True)
            return descriptor


@contextlib.contextmanager
def _open_whole(path: Path) -> Iterator[BinaryIO]:
    with resource_errors(path):
        final = Path(os.path.realpath(path))  # the link stays; the file it points to is replaced
    temporary = final.with_name(f".{final.name}.{secrets.token_hex(4)}.tmp")
    try:
        with resource_errors(path):
            stream = _create(temporary, final)
        try:
            yield cast("BinaryIO", _Guarded(stream, path))
            with resource_errors(path):
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            with resource_errors(path):  # what could not be written is tried once more
                stream.close()
        if (others := _others.get()) is not None:
            others.written.append((temporary, final))
            return
        with resource_errors(path):
            temporary.replace(final)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    with resource_errors(path):
        sync_folder(final.parent)


def _create(temporary: Path, final: Path) -> IO[bytes]:
    """Create a file with the rights of the one that it replaces; a new one has what umask gives."""
    stream = os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb")
    with contextlib.suppress(FileNotFoundError):
        os.fchmod(stream.fileno(), final.stat().st_mode & 0o777)
    return stream


class _Guarded:
    """A stream whose refusals to be written to name the output; what its user reads is his own."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream, self._path = stream, path

    def write(self, data: bytes) -> int:
        with resource_errors(self._path):
            return self._stream.write(data)

    def flush(self) -> None:
        with resource_errors(self._path):
            self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file at once."""
    with open_atomic(path) as stream:
        stream.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file at once, line ends as given."""
    write_bytes(path, text.encode("utf-8"))


def write_failures(output: Path | None, failures: Sequence[tuple[str, str, str]]) -> Path | None:
    """Write ``OUTPUT.failures.tsv`` (filename, stage, error), or remove it if nothing failed.

    Returns its path; None if there is no output to stand beside, or nothing failed.
    """
    if output is None or not (appears_whole(output) or output.is_dir()):
        return None  # nothing belongs beside a pipe or a device
    path = output.with_name(output.name + _FAILURES)
    if not failures:
        discard(path)
        return None
    text = "".join("\t".join(row) + "\n" for row in [("filename", "stage", "error"), *failures])
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)
    return path


# Several files that are one result


@dataclass
class _Together:
    """What a block has written that is still under temporary names, and what it discarded."""

    written: list[tuple[Path, Path]] = field(default_factory=list)  # temporary and final
    discarded: list[Path] = field(default_factory=list)


_others: ContextVar[_Together | None] = ContextVar("_others", default=None)


@contextlib.contextmanager
def together(result: Path | None) -> Iterator[None]:
    """Make all files that are written in the block appear when it ends without an error.

    `result` is the folder of these files, or the first of them; None if all are streams. What is
    discarded in the block goes when the files have appeared.
    """
    files = _Together()
    token = _others.set(files)
    try:
        try:
            yield
        finally:
            _others.reset(token)
        if result is not None:
            _appear(files, _mark_of(result))
    except BaseException:
        for temporary, _ in files.written:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        raise


def _appear(files: _Together, mark: Path) -> None:
    """Rename what was written; the mark that says so is removed last."""
    with resource_errors(mark):
        listed = {
            os.path.relpath(final, mark.parent): _stamp(temporary)
            for temporary, final in files.written
            if not final.name.endswith(_BESIDE)
        }
        if listed:  # else all of it stands there
            write_text(mark, json.dumps({"format": "sedtool-unfinished", "files": listed}))
        for temporary, final in files.written:
            with resource_errors(final):
                temporary.replace(final)
        for folder in {final.parent for _, final in files.written}:
            sync_folder(folder)
        for path in files.discarded:
            path.unlink(missing_ok=True)
        mark.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Remove a file if it is there, in a block of files that appear `together` after them."""
    if (others := _others.get()) is not None:
        others.discarded.append(path)
        return
    with resource_errors(path):
        path.unlink(missing_ok=True)


def made_before(result: Path, outputs: Iterable[Path]) -> set[Path]:
    """Return which outputs an interrupted run had made of the same result, by its mark.

    Only these may be replaced: the mark tells them by size and time from what is anything else. A
    folder that holds part of another result is an OutputExistsError.
    """
    mark = _mark_of(result)
    try:
        files = json.loads(read_bounded(mark, RECORD))["files"]
        listed = {os.path.realpath(mark.parent / name): made for name, made in files.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return set()  # there is no mark, as a rule
    ours = {os.path.realpath(output): output for output in outputs}
    if others := listed.keys() - ours.keys():
        if result.is_dir():
            raise OutputExistsError(
                f"{result} holds part of another result, with {Path(min(others)).name}; run again "
                "what was interrupted, or name another folder"
            )
        return set()
    return {ours[p] for p, made in listed.items() if Path(p).is_file() and _stamp(p) == made}


def is_unfinished(result: Path) -> bool:
    """Return whether a folder holds only a part of a result, or a file is the first of a part."""
    return os.path.exists(_mark_of(result))  # noqa: PTH110  # a name that is too long is none


def refuse_unfinished(result: Path) -> None:
    """Raise an ArtifactError if only a part of a result is there."""
    if is_unfinished(result):
        raise ArtifactError(f"{result}: not complete; run again what was to fill it")


def _mark_of(result: Path) -> Path:
    target = Path(os.path.realpath(result))
    return target / _MARK if target.is_dir() else target.with_name(f".{target.name}{_MARK}")


def _stamp(path: str | Path) -> list[int]:
    """Return what a file keeps when it is renamed, and changes when it is written."""
    status = os.stat(path)  # noqa: PTH116  # a path as text
    return [status.st_size, status.st_mtime_ns]


# One writer at a time

# Of finished outputs of a claim: whether each was compared with what is not written to it.
_standing: ContextVar[dict[str, bool] | None] = ContextVar("_standing", default=None)


@contextlib.contextmanager
def _comparing(
    result: Path, files: Collection[Path], overwrite: bool, ours: Collection[Path] | None = None
) -> Iterator[None]:
    """Compare finished files with what the block would write, which is not written to them."""
    ours = made_before(result, files) if ours is None else ours
    there = (path for path in files if path.exists() and not (overwrite or path in ours))
    token = _standing.set(standing := dict.fromkeys(map(os.path.realpath, there), False))
    try:
        yield
    finally:
        _standing.reset(token)
    if files and sum(standing.values()) == len(files):
        named = [result] if result.is_dir() else files
        verb = "is" if len(named) == 1 else "are"
        raise SameOutputError(f"{first_five(map(str, named))} {verb} finished and the same")


@contextlib.contextmanager
def claim(
    *outputs: Path | None, overwrite: bool = False, ours: Collection[Path] | None = None
) -> Iterator[None]:
    """Keep other runs off outputs while the block lasts.

    Each is locked by a file ``.NAME.lock`` beside it; a lock ends with its process. Outputs that
    are None, or no regular files, are left alone. One that is finished is replaced if `overwrite`
    is given or it is in `ours`, by default what `made_before` says. Else it is refused when the
    block writes anything else to it; a SameOutputError ends the block if all are the same.
    """
    files = [output for output in outputs if output is not None and appears_whole(output)]
    with contextlib.ExitStack() as held:
        for output in files:
            target = Path(os.path.realpath(output))
            held.enter_context(_holding(target.with_name(f".{target.name}.lock"), output))
        remove_leftovers(*files)
        if files:
            held.enter_context(_comparing(files[0], files, overwrite, ours))
        yield


@contextlib.contextmanager
def claim_folder(folder: Path, files: Collection[Path], overwrite: bool) -> Iterator[None]:
    """Make a folder for files that are one result, and keep other runs off it.

    Files that are there already are compared, as by `claim`; new ones appear `together`.
    """
    with resource_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _holding(folder / ".convert.lock", folder), _comparing(folder, files, overwrite):
        for parent in {path.parent for path in files}:
            with resource_errors(parent):
                parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, *files)
        with together(folder):
            yield


@contextlib.contextmanager
def _holding(path: Path, output: Path) -> Iterator[None]:
    """Hold the lock file `path` for `output`, and remove it at the end."""
    with lock(path, output):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # one that cannot be removed does no harm
                path.unlink()


def lock(path: Path, output: Path) -> BinaryIO:
    """Open and lock the file `path`, which stands for `output`; closing it unlocks.

    A lock that another process holds is a BusyError.
    """
    until = time.monotonic() + _LOCK_PATIENCE
    while True:
        with resource_errors(output):
            stream = path.open("a+b", buffering=0)
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.close()
            if time.monotonic() < until:
                time.sleep(_LOCK_PATIENCE / 10)
                continue
            raise BusyError(
                f"another sedtool is making {output}; wait for it or name another output"
            ) from error
        except OSError as error:  # some network file systems have no locks
            _log.warning("%s cannot be locked (%s)", path, error.strerror)
            return stream
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                return stream
        stream.close()  # its holder removed it while we waited for the lock


def is_locked(path: Path) -> bool | None:
    """Return whether a process holds the lock file `path`; None where locks do not work."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return {FileNotFoundError: False, BlockingIOError: True}.get(type(error))
    return False


def remove_leftovers(*paths: Path) -> None:
    """Remove what killed writers of files left, and of what stands beside these files.

    The caller keeps other writers off them.
    """
    names: defaultdict[Path, set[str]] = defaultdict(set)
    for path in paths:
        target, mark = Path(os.path.realpath(path)), _mark_of(path)
        names[target.parent] |= {target.name + suffix for suffix in ("", *_BESIDE)}
        names[mark.parent].add(mark.name)
    for folder, mine in names.items():
        for path in folder.glob(".*.tmp"):
            if (found := _TEMPORARY.fullmatch(path.name)) and found[1] in mine:
                path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the renames in a folder themselves durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
