"""Files and folders -> clip names and paths."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from sedtool.errors import AudioError, ConfigError, NothingUsableError

__all__ = ["AUDIO_SUFFIXES", "check_name", "find_audio", "printable"]

AUDIO_SUFFIXES = (
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"),
    *(".rf64", ".snd", ".w64", ".wav", ".wave"),
)


def find_audio(inputs: Sequence[Path], root: Path | None = None) -> dict[str, Path]:
    """Return the audio files that `inputs` mean, by clip name, sorted by name.

    Parameters
    ----------
    inputs
        Folders, searched recursively for audio suffixes in any case, and files, taken as they are.
        Hidden files and folders inside a folder are left out; links to folders are followed.
    root
        Clip names are paths relative to it, ``/``-separated; default the common folder.

    Raises
    ------
    ConfigError
        If an input does not exist, cannot be listed or is not under `root`.
    NothingUsableError
        If no audio file is found.
    """
    # Not Path.resolve: a link in the data set has the link's name, not that of what it points to.
    given = [Path(os.path.abspath(path)) for path in inputs]  # noqa: PTH100
    for path in given:
        if not os.path.lexists(path):
            raise ConfigError(f"{path} does not exist")
    files = [file for path in given for file in (_walk(path) if path.is_dir() else [path])]
    if not files:
        where = ", ".join(str(path) for path in inputs) or "no input"
        raise NothingUsableError(f"no audio file in {where} ({' '.join(AUDIO_SUFFIXES)})")
    folders = [path if path.is_dir() else path.parent for path in given]
    base = Path(os.path.abspath(root) if root else os.path.commonpath(folders))  # noqa: PTH100
    for file in files:
        if not file.is_relative_to(base):
            raise ConfigError(f"{file} is not under the root {base}; give another --root")
    return dict(sorted((file.relative_to(base).as_posix(), file) for file in files))


def _walk(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Yield the audio files under a folder; `above` are the folders it lies in, by inode."""
    try:
        status = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be listed: {error.strerror}") from error
    here = (status.st_dev, status.st_ino)
    if here in above:
        return  # a link back to a folder that is being listed
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and path.is_dir()):
            yield from _walk(path, above | {here})
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            yield path


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
