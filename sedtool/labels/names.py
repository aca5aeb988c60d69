r"""Clip names: which can be used, and which clip of another file a name means.

A name means, in this order, and in every stage:

1. the clip of that very name,
2. the one clip of the same basename; of several, the one whose path ends as the name does, or with
   whose path the name ends: ``sub/a.wav`` and ``/data/sub/a.wav``,
3. the same two with ``\`` read as ``/`` and accents composed (Unicode NFC), as Windows and macOS
   write them,
4. the one clip of the same path, or else basename, with a suffix more or less: ``a`` and ``a.wav``,
   where no other clip and no other name is as near.

What could still be several clips is ambiguous, and an error. Of a name that means no clip, messages
show the nearest ones: of another suffix, case or folder, or without the ``Y`` of YouTube downloads.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from sedtool.errors import AudioError, LabelError
from sedtool.text import composed, first_five, is_writable

# Such as wav and 3gp; what stands after the point in `rec_12.5` is none.
_is_suffix = lru_cache(1000)(re.compile(r"[0-9]?[a-z][a-z0-9]{1,4}", re.A | re.I).fullmatch)
_DEEPEST = 16  # folders of a path that are compared
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
        self._groups: dict[Callable[[str], str], tuple[dict[str, str], dict[str, list[str]]]] = {}

    @cached_property
    def _are_plain(self) -> bool:
        return all(_plain(name) == name for name in self._names)

    def _by(self, key: Callable[[str], str], value: str) -> list[str]:
        """Return the clips of which `key` is `value`, sorted."""
        last, several = self._groups.get(key) or self._grouped(key)
        if value in several:
            return several[value]
        return [last[value]] if value in last else []

    def _grouped(self, key: Callable[[str], str]) -> tuple[dict[str, str], dict[str, list[str]]]:
        """Return a clip of each value of `key`, and all clips of those values that several have."""
        names = sorted(self._names)
        of_names = list(map(key, names))
        last = dict(zip(of_names, names, strict=True))
        several: dict[str, list[str]] = {}
        if len(last) < len(names):  # seldom: a list for each of a million clips takes seconds
            for name, value in zip(names, of_names, strict=True):
                if last[value] is not name or value in several:
                    several.setdefault(value, []).append(name)
        self._groups[key] = last, several
        return last, several

    def find(self, name: str) -> str | None:
        """Return the clip that `name` means whatever its suffix, or None.

        If it may mean several, raise a LabelError.
        """
        if name in self._names:
            return name
        candidates = self._by(_basename, _basename(name))
        if not candidates and ((plain := _plain(name)) != name or not self._are_plain):
            candidates = self._by(_plain, plain) or self._by(_plain_basename, _basename(plain))
        if len(candidates) > 1:
            parts = _plain(name).split("/")[-_DEEPEST:]
            tails = (self._by(_plain, "/".join(parts[i:])) for i in range(len(parts)))
            longer = self._by(_tail(len(parts)), "/".join(parts))
            candidates = longer or next(filter(None, tails), candidates)
        if len(candidates) > 1:
            raise LabelError(
                f"{name!r} could be any of {len(candidates)} clips: {first_five(candidates)}"
            )
        return candidates[0] if candidates else None

    def alike(self, name: str) -> list[str]:
        """Return the clips that share their `clip_key` with a name, sorted."""
        return self._by(clip_key, clip_key(name))

    def near(self, name: str) -> list[str]:
        """Return the clips that may have been meant by a name that means none, sorted."""
        rough = _rough_key(name)
        keys = (rough, f"y{rough}", rough.removeprefix("y"))
        roughly = next(filter(None, (self._by(_rough_key, key) for key in keys)), [])
        if not roughly and not video_part(name):  # then none is alike: that is a closer look
            return []
        return self.alike(name) or roughly

    def hint(self, name: str) -> str:
        """Return `` (there is CLIP)``, to end a message about a missing clip; or nothing."""
        near = self.near(name)
        return f" (there {'are' if near[1:] else 'is'} {first_five(near)})" if near else ""

    def other_suffix(self, name: str) -> str:
        """Return the suffix of a name that means no clip, if one clip is the same but for it."""
        stem = _plain_stem(name)
        return _plain_basename(name).removeprefix(stem) if self._by(_plain_stem, stem) else ""

    def listed(self, missing: Iterable[str]) -> str:
        """Return five of the names that mean no clip, first those that are nearly one."""
        names = list(missing)
        nearly = set(filter(self.near, names))
        first = sorted(names, key=lambda name: name not in nearly)
        shown = first_five([f"{name}{self.hint(name)}" for name in first[:5]] + first[5:])
        is_seen = not nearly or len(nearly) == len(names) <= 5
        return shown + f"; {len(nearly)} may be there under another name" * (not is_seen)

    def matches(self, names: Iterable[str]) -> list[Match]:
        """Return what each name means. No clip is given to two different names."""
        owner: dict[str, str] = {}
        matches = [self._match(name, owner) for name in names]
        if missing := [match.name for match in matches if match.fault == "missing"]:
            others = NameIndex(match.name for match in matches)
            found = self._but_for_suffix(missing, others, owner)
            matches = [Match(m.name, found[m.name]) if m.name in found else m for m in matches]
        return matches

    def _match(self, name: str, owner: dict[str, str]) -> Match:
        try:
            clip = self.find(name)
        except LabelError as error:
            return Match(name, None, "ambiguous", str(error))
        if clip is None:
            return Match(name, None, "missing")
        if (other := owner.setdefault(clip, name)) != name:
            what = f"{other!r} and {name!r} both mean clip {clip!r}{_form(name, other)}"
            return Match(name, clip, "same-clip", what)
        return Match(name, clip)

    def _but_for_suffix(
        self, names: Iterable[str], others: "NameIndex", taken: Iterable[str]
    ) -> dict[str, str]:
        """Return the clip of each name that no other is as near to, nor to it of the `others`."""
        found: dict[str, str] = {}
        taken = set(taken)
        for key, stem in ((_plain, _plain_path_stem), (_plain_basename, _plain_stem)):
            for name in [name for name in names if name not in found]:
                clip = self._one_suffix_apart(name, key, stem)
                if clip and clip not in taken and others._one_suffix_apart(clip, key, stem):
                    found[name] = clip
                    taken.add(clip)
        return found

    def _one_suffix_apart(
        self, name: str, key: Callable[[str], str], stem: Callable[[str], str]
    ) -> str | None:
        """Return the clip that is `name` but for a suffix of one of them, if it is one."""
        apart = {*self._by(stem, key(name))[:2], *self._by(key, stem(name))[:2]}
        return apart.pop() if len(apart) == 1 else None

    def resolve(self, names: Iterable[str], where: Path | str) -> tuple[dict[str, str], list[str]]:
        """Map `names` of the file `where` to clips; also return the names that mean none.

        A name that is ambiguous, or the second one of the same clip, is a LabelError.
        """
        names = list(names)
        if self._names.issuperset(names):
            return dict(zip(names, names, strict=True)), []
        last, several = self._groups.get(_basename) or self._grouped(_basename)
        clips = [last[base] for base in map(_basename, names) if base in last]
        if not several and len(names) == len(clips) == len(set(clips)):  # as one by one, but faster
            return dict(zip(names, clips, strict=True)), []
        found: dict[str, str] = {}
        missing: list[str] = []
        for match in self.matches(names):
            if match.message:
                raise LabelError(f"{where}: {match.message}")
            if match.clip is None:
                missing.append(match.name)
            else:
                found[match.name] = match.clip
        return found, missing


def _basename(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]  # ten times as fast as PurePosixPath


def _path_stem(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return stem if stem and stem[-1] != "/" and _is_suffix(suffix) else name


def _stem(name: str) -> str:
    return _path_stem(_basename(name))


def _plain(name: str) -> str:
    """Return a path as POSIX systems other than macOS write it."""
    return composed(name.replace("\\", "/"))


@cache
def _tail(n_parts: int) -> Callable[[str], str]:
    """Return what takes the last parts of a path."""
    return lambda name: "/".join(_plain(name).split("/")[-n_parts:])


def _plain_basename(name: str) -> str:
    return _basename(_plain(name))


def _plain_stem(name: str) -> str:
    return _stem(_plain(name))


def _plain_path_stem(name: str) -> str:
    return _path_stem(_plain(name))


def _rough_key(name: str) -> str:
    """Return what names share that differ in folder, suffix, case and Unicode form only."""
    return _plain_stem(name).casefold()


def name_is(name: str, clip: str) -> str:
    """Return ``NAME is CLIP``, for messages."""
    return f"{name} is {clip}{_form(name, clip)}"


def inexact(clips: Mapping[str, str]) -> tuple[int, str]:
    """Return how many names are not exactly those of their clips, and what five of them are."""
    names = sorted(name for name, clip in clips.items() if name != clip)
    return len(names), first_five([name_is(name, clips[name]) for name in names[:5]] + names[5:])


def _form(name: str, other: str) -> str:
    """Return what to say of names that look the same."""
    return ", in another Unicode form" * (composed(name) == composed(other))
