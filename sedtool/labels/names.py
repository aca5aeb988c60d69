"""Clip names: which can be used, and which clip of another file a name means."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath
from unicodedata import category

from sedtool.errors import AudioError, LabelError
from sedtool.text import is_writable

__all__ = ["NameIndex", "check_name", "printable"]


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


class NameIndex:
    """Matches clip names of one file to those of another: by path, else by unique basename."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self.by_basename = 0  # names that `find` matched by their basename only

    @cached_property
    def _by_basename(self) -> dict[str, list[str]]:
        """Return the indexed names of each basename; not needed where all paths agree."""
        found: dict[str, list[str]] = {}
        for name in sorted(self._names):
            found.setdefault(PurePosixPath(name).name, []).append(name)
        return found

    def find(self, name: str) -> str | None:
        """Return the indexed name that `name` means, or None.

        Raises
        ------
        LabelError
            If the path is not there and its basename stands for several clips.
        """
        if name in self._names:
            return name
        candidates = self._by_basename.get(PurePosixPath(name).name, [])
        if len(candidates) > 1:
            first = ", ".join(candidates[:5])
            raise LabelError(f"{name!r} could be any of {len(candidates)} clips: {first}")
        if not candidates:
            return None
        self.by_basename += 1
        return candidates[0]

    def resolve(self, names: Iterable[str], where: Path | str) -> tuple[dict[str, str], list[str]]:
        """Map `names` of the label file `where` to indexed names; also return the missing ones.

        Raises
        ------
        LabelError
            If a name is ambiguous, or two names mean the same clip.
        """
        found: dict[str, str] = {}
        missing: list[str] = []
        owner: dict[str, str] = {}
        for name in names:
            try:
                match = self.find(name)
            except LabelError as error:
                raise LabelError(f"{where}: {error}") from None
            if match is None:
                missing.append(name)
                continue
            if owner.setdefault(match, name) != name:
                raise LabelError(f"{where}: {owner[match]!r} and {name!r} both mean clip {match!r}")
            found[name] = match
        return found, missing
