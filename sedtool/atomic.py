"""The only code that opens a final path for writing.

A file is written under a temporary name in the same folder, flushed, fsynced and renamed, so that
a file under its final name is whole, however the writer was interrupted. Outputs that are no
regular file (a FIFO, a device), or are open already (``/dev/stdout``), are written directly;
symbolic links are resolved first.
"""

import contextlib
import errno
import fcntl
import glob
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, BinaryIO, cast

from sedtool.errors import ConfigError, OutputExistsError, ResourceError

_RESOURCE_ERRNO = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk failed",
    errno.ENOENT: "the folder does not exist",
    errno.EEXIST: "a file of that name is there",
    errno.ENOTDIR: "its parent is not a folder",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "it is a loop of links",
    errno.EBADF: "it is not open",
    errno.ENXIO: "nobody reads from it",
}
_READER_PATIENCE = 5.0  # seconds that the reader of a pipe is waited for
_LOCK_PATIENCE = 0.3  # seconds; a process that only looks whether a file is locked lets go at once

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def resource_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into a ResourceError."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has gone, and that is no error
    except OSError as error:
        reason = _RESOURCE_ERRNO.get(error.errno or 0) or error.strerror or str(error)
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
        raise OutputExistsError(f"{path} exists; give --overwrite to replace it, or another name")


def refuse_input(output: Path | None, inputs: Iterable[Path]) -> None:
    """Raise a ConfigError if an output is one of the files that are read."""
    if output is None or not output.exists() or not appears_whole(output):
        return
    for path in inputs:
        with contextlib.suppress(OSError):
            if output.samefile(path):
                raise ConfigError(f"{output} is an input; give the output another name")


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a binary stream that becomes `path` when the block ends without an error.

    If the folder cannot be written or the disk is full, what stood at `path` is untouched.
    """
    path = Path(path)
    with resource_errors(path):
        is_file = appears_whole(path)
    with _open_whole(path) if is_file else _open_directly(path) as stream:
        yield stream


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
        handle, name = tempfile.mkstemp(prefix=f".{final.name}.", suffix=".tmp", dir=final.parent)
    temporary = Path(name)
    try:
        stream = os.fdopen(handle, "wb")
        try:
            yield cast("BinaryIO", _Guarded(stream, path))
            with resource_errors(path):
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            with resource_errors(path):  # what could not be written is tried once more
                stream.close()
        with resource_errors(path):
            temporary.chmod(_mode_of_a_new_file(final))
            temporary.replace(final)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    with resource_errors(path):
        _sync_folder(final.parent)


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
    path = output.with_name(output.name + ".failures.tsv")
    if not failures:
        with resource_errors(path):
            path.unlink(missing_ok=True)
        return None
    rows = [("filename", "stage", "error"), *failures]
    write_text(path, "".join("\t".join(row) + "\n" for row in rows))
    return path


@contextlib.contextmanager
def claim(*outputs: Path | None, overwrite: bool = False) -> Iterator[None]:
    """Keep other runs off outputs while the block lasts.

    Each is locked by a file ``.NAME.lock`` beside it; a lock ends with its process. Outputs that
    are None, or no regular files, are left alone. One that is finished already is refused unless
    `overwrite` is given, one that another process is making always.
    """
    with contextlib.ExitStack() as held:
        for output in outputs:
            if output is None or not appears_whole(output):
                continue
            refuse_existing(output, overwrite)
            target = Path(os.path.realpath(output))
            path = target.with_name(f".{target.name}.lock")
            held.enter_context(_holding(path, output))
            refuse_existing(output, overwrite)  # another run may have finished it meanwhile
            remove_leftovers(output)
        yield


@contextlib.contextmanager
def claim_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and keep other runs off it while the block lasts."""
    with resource_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _holding(folder / ".convert.lock", folder):
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

    A lock that another process holds is a ResourceError.
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
            raise ResourceError(
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
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` left; the caller holds its lock."""
    target = Path(os.path.realpath(path))
    for temporary in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        temporary.unlink(missing_ok=True)


def _mode_of_a_new_file(target: Path) -> int:
    """Return the replaced file's mode, else what the umask gives (mkstemp always makes 0600)."""
    if target.exists():
        return target.stat().st_mode & 0o777
    try:  # asking the system itself would change the mask of all threads for a moment
        status = Path("/proc/self/status").read_text()
        umask = int(status.partition("Umask:")[2].split()[0], 8)
    except (OSError, IndexError, ValueError):
        umask = os.umask(0)
        os.umask(umask)
    return 0o666 & ~umask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
