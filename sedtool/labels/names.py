"""Clip names of one file matched to those of another."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath

from sedtool.errors import LabelError

__all__ = ["NameIndex"]


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
