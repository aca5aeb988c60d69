"""Which clip names can be used, and what tells one state of a file from another."""

from pathlib import Path
from unicodedata import category

from sedtool.errors import AudioError
from sedtool.text import is_writable

__all__ = ["check_name", "printable", "stamp"]


def check_name(name: str) -> None:
    r"""Raise an AudioError if a clip name could not pass through a TSV file unchanged.

    The message shows the name with its strange characters escaped, e.g. ``'a\x1b[31m.wav'``.
    """
    if not is_writable(name) and any(category(c) == "Cs" for c in name):
        raise AudioError(f"the name {name!a} is not UTF-8; rename the file")
    if not is_writable(name):
        raise AudioError(f"the name {name!r} has a control character in it; rename the file")
    if name != name.strip():
        raise AudioError(f"the name {name!r} begins or ends with a space; rename the file")


def printable(name: str) -> str:
    """Return a name as it is, or escaped if it is one that `check_name` refuses."""
    try:
        check_name(name)
    except AudioError:
        return ascii(name)[1:-1]
    return name


def stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file does: its size, and when it was written, ns since 1970."""
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
