"""What lies in folders: all audio files, or whatever a pattern matches.

Hidden entries are left out unless a pattern asks for them. Links to folders are followed, but not
back into a folder that is being listed.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from sedtool.errors import ConfigError

__all__ = ["AUDIO_SUFFIXES", "fixed_folder", "is_pattern", "match", "suggestion", "walk"]

AUDIO_SUFFIXES = (
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"),
    *(".rf64", ".snd", ".w64", ".wav", ".wave"),
)

MOST_COMPARED = 10_000  # names of a folder, to find the one that may have been meant

Above = frozenset[tuple[int, int]]  # the folders that one lies in, by device and inode


def walk(folder: Path, above: Above = frozenset()) -> Iterator[Path]:
    """Yield the audio files under a folder, at any depth.

    Raises
    ------
    ConfigError
        If a folder cannot be listed.
    """
    entries, above = _list(folder, "*", above)
    for entry in entries:
        path = Path(entry.path)
        if _is_folder(entry):
            yield from walk(path, above)
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            yield path


def is_pattern(text: str) -> bool:
    """Return whether a path has characters in it that a pattern is made of."""
    return any(character in text for character in "*?[")


def fixed_folder(pattern: str) -> Path:
    """Return the folder in front of the first part that is a pattern; ``.`` if there is none."""
    return Path(*_split(pattern)[0])


def match(pattern: str) -> Iterator[Path]:
    """Yield the files and folders that a pattern matches, some perhaps twice.

    ``*``, ``?`` and ``[…]`` match within one name, ``**`` any number of folders, none included.

    Raises
    ------
    ConfigError
        If a folder cannot be listed.
    """
    matches = _match(fixed_folder(pattern), _split(pattern)[1], frozenset())
    return filter(Path.is_dir, matches) if pattern.endswith("/") else matches


def suggestion(path: Path) -> str:
    """Return what may have been meant by a path that does not exist, to end a message with."""
    names: list[str] = []
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        names = [entry.name for entry in islice(entries, MOST_COMPARED)]
    close = get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _split(pattern: str) -> tuple[Sequence[str], Sequence[str]]:
    """Return the parts of a path before the first that is a pattern, and from there on."""
    parts = Path(pattern).parts
    first = next((i for i, part in enumerate(parts) if is_pattern(part)), len(parts))
    return parts[:first], parts[first:]


def _match(folder: Path, parts: Sequence[str], above: Above) -> Iterator[Path]:
    """Yield what the parts of a pattern, one for each level, match in a folder."""
    if not parts:
        yield folder
        return
    if not folder.is_dir():
        return
    part, rest = parts[0], parts[1:]
    if part == "**" and not rest:
        yield folder  # and with it all that it holds
    elif part == "**":
        yield from _match(folder, rest, above)
        entries, above = _list(folder, "*", above)
        for entry in filter(_is_folder, entries):
            yield from _match(Path(entry.path), parts, above)
    elif is_pattern(part):
        entries, above = _list(folder, part, above)
        for entry in entries:
            yield from _match(Path(entry.path), rest, above)
    elif os.path.lexists(folder / part):
        yield from _match(folder / part, rest, above)


def _list(folder: Path, part: str, above: Above) -> tuple[list["os.DirEntry[str]"], Above]:
    """Return the entries that one part of a pattern matches, and the folders they lie in."""
    try:
        status = folder.stat()
        with os.scandir(folder) as found:
            entries = [
                entry
                for entry in found
                if fnmatchcase(entry.name, part)
                and (part.startswith(".") or not entry.name.startswith("."))
            ]
    except OSError as error:
        raise ConfigError(f"{folder} cannot be listed: {error.strerror}") from error
    here = (status.st_dev, status.st_ino)
    return ([] if here in above else entries), above | {here}


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    # DirEntry.is_dir raises an error for a link to itself, Path.is_dir does not.
    is_folder = entry.is_dir(follow_symlinks=False)
    return is_folder or (entry.is_symlink() and Path(entry.path).is_dir())
