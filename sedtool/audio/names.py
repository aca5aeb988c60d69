"""Which clip names can be used."""

import unicodedata

from sedtool.errors import AudioError

__all__ = ["check_name", "printable"]


def check_name(name: str) -> None:
    r"""Raise an AudioError if a clip name could not pass through a TSV file unchanged.

    The message shows the name with its strange characters escaped, e.g. ``'a\x1b[31m.wav'``.
    """
    if any(unicodedata.category(c) == "Cs" for c in name):
        raise AudioError(f"the name {name!a} is not UTF-8; rename the file")
    if any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name):
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
