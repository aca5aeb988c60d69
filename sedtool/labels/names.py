r"""Clip names: which can be used, and which clip of another file a name means.

A name means, in this order, and in every stage:

1. the clip of that very name,
2. the one clip of the same basename,
3. the same two with ``\`` read as ``/`` and accents composed (Unicode NFC), as Windows and macOS
   write them.

A basename of several clips is ambiguous, and an error. Of a name that means no clip, messages show
the nearest one: of another suffix, case or folder, or without the ``Y`` of YouTube downloads.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sedtool.errors import AudioError, LabelError
from sedtool.text import first_five, is_writable

_VIDEO = re.compile(r"Y?(?P<video>[\w-]{11})_(?P<start>\d+(\.\d+)?)_(?P<end>\d+(\.\d+)?)", re.A)


def check_name(name: str) -> None:
    r"""Raise an AudioError if a clip name could not pass through a TSV file unchanged.

    The message shows the name with its strange characters escaped, e.g. ``'a\x1b[31m.wav'``.
    """
    if not is_writable(name) and any(unicodedata.category(c) == "Cs" for c in name):
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


def video_part(name: str) -> tuple[str, float, float] | None:
    """Return the YouTube id, start and end (seconds) that a clip is named after; None of others."""
    part = _VIDEO.fullmatch(_stem(name))
    return (part["video"], float(part["start"]), float(part["end"])) if part else None


def clip_key(name: str) -> str:
    """Return what all names of one clip share, whatever their folder and format.

    Of a part of a YouTube video that is its id, start and end: ``Y-5QrBL6MzLg_60.000_70.000.wav``
    and ``-5QrBL6MzLg_60_70.flac`` are the same. Of any other clip it is the stem of its name.
    """
    part = video_part(name)
    return "{} {} {}".format(*part) if part else _stem(name)


class Match(NamedTuple):
    """What became of one name."""

    name: str
    clip: str | None = None  # which it means
    fault: str = ""  # "missing", "ambiguous", or "same-clip": another name means this clip already
    message: str = ""  # what is wrong; see `NameIndex.hint` for what is missing


class NameIndex:
    """Finds the clips of one file by the names that another file has for them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._groups: dict[Callable[[str], str], dict[str, list[str]]] = {}
        self.n_inexact = 0  # names so far that are not exactly those of their clips

    def _by(self, key: Callable[[str], str], value: str) -> list[str]:
        """Return the clips of which `key` is `value`, sorted."""
        if key not in self._groups:  # no group is needed where all paths agree
            groups: dict[str, list[str]] = {}
            for name in sorted(self._names):
                groups.setdefault(key(name), []).append(name)
            self._groups[key] = groups
        return self._groups[key].get(value, [])

    def find(self, name: str, any_suffix: bool = False) -> str | None:
        """Return the clip that `name` means, or None; if it may mean several, raise a LabelError.

        With `any_suffix` a name without a suffix means the one clip that has it with a suffix.
        """
        if name in self._names:
            return name
        candidates = (
            self._by(_basename, _basename(name))
            or self._by(_plain, _plain(name))
            or self._by(_plain_basename, _plain_basename(name))
            or (self._by(_stem, _basename(name)) if any_suffix else [])
        )
        if len(candidates) > 1:
            raise LabelError(
                f"{name!r} could be any of {len(candidates)} clips: {first_five(candidates)}"
            )
        if not candidates:
            return None
        self.n_inexact += 1
        return candidates[0]

    def alike(self, name: str) -> list[str]:
        """Return the clips that share their `clip_key` with a name, sorted."""
        return self._by(clip_key, clip_key(name))

    def nearest(self, name: str) -> str | None:
        """Return the clip that was probably meant by a name that means none."""
        rough = _rough_key(name)
        keys = (rough, f"y{rough}", rough.removeprefix("y"))
        among = (self._by(_rough_key, key) for key in keys)
        return next((found[0] for found in (self.alike(name), *among) if found), None)

    def hint(self, name: str) -> str:
        """Return `` (there is NEAREST)``, to end a message about a missing clip; or nothing."""
        near = self.nearest(name)
        return f" (there is {near})" if near is not None else ""

    def listed(self, missing: list[str]) -> str:
        """Return the first five of the names that mean no clip, each with the nearest clip."""
        return first_five([f"{name}{self.hint(name)}" for name in missing[:5]] + missing[5:])

    def matches(self, names: Iterable[str], any_suffix: bool = False) -> Iterator[Match]:
        """Yield what each name means. No clip is given to two different names."""
        owner: dict[str, str] = {}
        for name in names:
            try:
                clip = self.find(name, any_suffix)
            except LabelError as error:
                yield Match(name, None, "ambiguous", str(error))
                continue
            if clip is None:
                yield Match(name, None, "missing")
            elif owner.setdefault(clip, name) != name:
                what = f"{owner[clip]!r} and {name!r} both mean clip {clip!r}"
                yield Match(name, clip, "same-clip", what)
            else:
                yield Match(name, clip)

    def resolve(
        self, names: Iterable[str], where: Path | str, any_suffix: bool = False
    ) -> tuple[dict[str, str], list[str]]:
        """Map `names` of the file `where` to clips; also return the names that mean none.

        A name that is ambiguous, or the second one of the same clip, is a LabelError.
        """
        found: dict[str, str] = {}
        missing: list[str] = []
        for match in self.matches(names, any_suffix):
            if match.message:
                raise LabelError(f"{where}: {match.message}")
            if match.clip is None:
                missing.append(match.name)
            else:
                found[match.name] = match.clip
        return found, missing


def _basename(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]  # ten times as fast as PurePosixPath


def _stem(name: str) -> str:
    base = _basename(name)
    return base.rpartition(".")[0] or base


def _plain(name: str) -> str:
    """Return a path as POSIX systems other than macOS write it."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _plain_basename(name: str) -> str:
    return _basename(_plain(name))


def _rough_key(name: str) -> str:
    """Return what names share that differ in folder, suffix, case and Unicode form only."""
    return _stem(_plain(name)).casefold()
