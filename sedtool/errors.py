"""Every error that sedtool raises on purpose, and the exit code each one ends a command with.

Each message says what is wrong, where, and what to do about it, in one line. The library raises;
only `sedtool.cli` prints and exits. What other code raises where the machine is at fault, not the
program, `as_sedtool_error` knows. Anything else that escapes is a bug, and ends with exit code 1.
"""

import errno
import os
from collections.abc import Collection

# What the system says when the machine fails, whatever file it was asked for.
_OF_MACHINE = (
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    *(errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ENODEV),
)
# What it says when it refuses to write a file.
WRITE_ERRNO = {
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
# Options with which a command needs less memory, and how.
_LESS_MEMORY = {"batch_size": "a smaller --batch-size", "workers": "fewer --workers"}

# What the system says of a path that cannot be meant.
_NO_SUCH_PATH = (errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)


class SedtoolError(Exception):
    """Base of all errors a user can cause; `exit_code` is the exit status of the command."""

    exit_code = 1


class ConfigError(SedtoolError):
    """An option, a configuration key or a preset name is unknown, ill-typed or out of range."""

    exit_code = 2


class LabelError(SedtoolError):
    """A label file cannot be read as it stands, or names unknown clips or classes."""

    exit_code = 2


class OutputExistsError(SedtoolError):
    """A complete output is there already and overwriting was not asked for."""

    exit_code = 2


class SameOutputError(OutputExistsError):
    """The output is there and what would be made again: a command says so, and all is well."""

    exit_code = 0


class AudioError(SedtoolError):
    """One audio file cannot be used; the run goes on without it."""

    exit_code = 3


class InputsFailedError(SedtoolError):
    """The run finished and its outputs are complete, but some inputs could not be used."""

    exit_code = 3


class NothingUsableError(SedtoolError):
    """No input matched, or every one failed; no output was written."""

    exit_code = 4


class ArtifactError(SedtoolError):
    """A features, scores or model file is damaged, foreign, or does not fit another one."""

    exit_code = 5


class ResourceError(SedtoolError):
    """The machine ran out of something: disk, memory, a device that is not there."""

    exit_code = 6


class BusyError(ResourceError):
    """Another process makes what was to be written; the machine is well."""


class ScoreError(SedtoolError):
    """A score is below the limit that was set for it; all outputs are complete."""

    exit_code = 7


class DivergedError(SedtoolError):
    """The training loss is not finite; the best model so far is intact."""

    exit_code = 8


class StoppedError(SedtoolError):
    """A signal stopped the run, which can be resumed; the exit code depends on the signal."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def machine_fault(error: Exception) -> str:
    """Return what fails and what helps, if it is the machine and not the file; else nothing."""
    if not isinstance(error, OSError) or error.errno not in _OF_MACHINE:
        return ""
    is_open = error.errno in (errno.EMFILE, errno.ENFILE)
    remedy = "; raise `ulimit -n`, or give fewer --workers" if is_open else ""
    return f"{error.strerror}{remedy}"


def as_sedtool_error(
    error: Exception, options: Collection[str] = tuple(_LESS_MEMORY)
) -> SedtoolError | None:
    """Return what a path or the machine is wrong with, if an error of other code says so.

    What is advised is to change one of the `options` of the command.
    """
    # torch reports missing memory as a RuntimeError, of its own class or of none.
    of_memory = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
    if of_memory or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error)):
        less = " or ".join(text for name, text in _LESS_MEMORY.items() if name in options)
        remedy = f"{less} needs less" if less else "`sedtool doctor` says how much there is"
        return ResourceError(f"out of memory; {remedy}")
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return ResourceError(
            "no more threads can be started; give fewer --workers, or allow more memory"
        )
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        kind = ConfigError if where and error.errno in _NO_SUCH_PATH else ResourceError
        return kind(f"{where}{machine_fault(error) or error.strerror}")
    if isinstance(error, ImportError):
        return ResourceError(f"{error}; `sedtool doctor` says what is missing and how to mend it")
    return None
