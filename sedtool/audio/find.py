"""Files, folders, patterns, lists and manifests -> clip names and paths."""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePosixPath

from sedtool.audio.av_reader import has_av, without_av
from sedtool.audio.lists import is_manifest, read_list, read_manifest, spool_stdin
from sedtool.config.extraction import STDIN_NAME
from sedtool.errors import AudioError, ConfigError, NothingUsableError
from sedtool.labels.names import NameIndex, check_name, inexact
from sedtool.text import counted, in_other_form, nearest

SNDFILE_SUFFIXES = (
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp2", ".mp3", ".mpga", ".oga"),
    *(".ogg", ".opus", ".rf64", ".snd", ".w64", ".wav", ".wave"),
)

# Of audio and video that libsndfile does not read.
OTHER_SUFFIXES = (
    *(".3g2", ".3ga", ".3gp", ".aac", ".ac3", ".adts", ".amr", ".ape", ".asf", ".avi"),
    *(".awb", ".dff", ".dsf", ".dts", ".eac3", ".ec3", ".flv", ".m2ts", ".m4a", ".m4b"),
    *(".m4r", ".m4v", ".mka", ".mkv", ".mov", ".mp4", ".mpc", ".mpeg", ".mpg"),
    *(".mts", ".ogm", ".ogv", ".ra", ".rm", ".rmvb", ".shn", ".spx", ".tak"),
    *(".tta", ".voc", ".vob", ".weba", ".webm", ".wma", ".wmv", ".wv"),
)
AUDIO_SUFFIXES = (*SNDFILE_SUFFIXES, *OTHER_SUFFIXES)

MOST_COMPARED = 10_000  # names of a folder, to find the one that may have been meant

Above = frozenset[tuple[int, int]]  # the folders that one lies in, by device and inode

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioInputs:
    """Which audio is meant, as a command line says it; a ConfigError if that is a contradiction."""

    paths: tuple[str | Path, ...] = ()  # files, folders, patterns, manifests; "-": audio on stdin
    files_from: str | None = None  # a list of files and folders; "-": on stdin
    null: bool = False  # whether NUL bytes end the paths in that list, and not line ends
    root: Path | None = None  # clip names are relative to it; default the common folder
    stdin_name: str = STDIN_NAME  # of the clip that "-" is

    def __post_init__(self) -> None:
        if self.null and self.files_from is None:
            raise ConfigError("--null says how a list is written; give one with --files-from")
        if self.is_stdin and (len(self.paths) > 1 or self.files_from is not None):
            raise ConfigError(
                "audio on standard input (-) goes alone: no other input and no --files-from"
            )
        if self.is_stdin and self.root is not None:
            raise ConfigError("--root has no meaning for audio on standard input: see --stdin-name")
        if not self.is_stdin and self.stdin_name != AudioInputs.stdin_name:
            raise ConfigError("--stdin-name names audio on standard input; the input for it is -")
        if not _is_name(self.stdin_name):
            raise ConfigError(f"--stdin-name {self.stdin_name!a} cannot be the name of a clip")

    @property
    def is_stdin(self) -> bool:
        """Return whether the audio comes from standard input. ``Path("-")`` is a file, ``./-``."""
        return "-" in self.paths


class AudioFiles(dict[str, Path]):
    """Audio files by clip name."""

    def __init__(self, files: dict[str, Path], passed_over: dict[str, Path] | None = None) -> None:
        super().__init__(files)
        self.passed_over = passed_over or {}  # what else of audio and video the folders have

    @property
    def notice(self) -> str:
        """Return what was passed over: ``4 files passed over: .m4a .webm cannot be read; …``."""
        suffixes = sorted({path.suffix.lower() for path in self.passed_over.values()})
        number, them = (
            counted(len(self.passed_over), "file"),
            "them" if len(self.passed_over) > 1 else "it",
        )
        return f"{number} passed over: {' '.join(suffixes)} cannot be read; {without_av(them)}"


def find_audio(inputs: AudioInputs | Sequence[str | Path], root: Path | None = None) -> AudioFiles:
    """Return the audio files that `inputs` mean, by clip name, sorted by name.

    A name is a path relative to the root, ``/``-separated, so that it stands for one file, and a
    file that is given twice is one clip. A link has its own name, not that of what it points to.

    Parameters
    ----------
    inputs
        What is given; a sequence is short for `AudioInputs` with these `paths`:

        - Files, taken whatever their suffix, and folders, searched recursively for audio suffixes
          in any case, and those of what PyAV reads: without it, such files are passed over with a
          warning. Hidden files and folders inside a folder are left out; links to folders are
          followed.
        - Patterns such as ``rec/**/*.wav``, unless a file has that very name; they stand for the
          files and folders that they match.
        - Manifests: ``.tsv``, ``.csv`` and ``.jsonl``; see `read_manifest`. Their relative paths
          start from the root where one is given, else from the folder the manifest is in. No path
          may lead out of there. One that is not there is matched with the other audio files in
          that folder as names in label files are; see `sedtool.labels.names`.
        - ``"-"``: one audio file on standard input, named `stdin_name`.

        The paths in `files_from` start from the current folder and are never read as patterns or
        manifests. A path in a list need not exist, and one in a manifest that matches no file;
        reading it then fails.
    root
        In place of that of `inputs`. The default is the deepest folder that has in it the given
        files and folders, the folders in front of patterns, and those of manifests.

    Raises
    ------
    ConfigError
        If an input does not exist, cannot be read or listed, or is not under the root.
    LabelError
        If a manifest has a row that cannot be read, or that could mean several files.
    NothingUsableError
        If no audio file is found, a pattern matches nothing or a list is empty.
    """
    if not isinstance(inputs, AudioInputs):
        inputs = AudioInputs(tuple(inputs))
    if root is not None:
        inputs = replace(inputs, root=root)
    if inputs.is_stdin:
        return AudioFiles({inputs.stdin_name: spool_stdin()})
    found = _Found(inputs.root)
    for path in inputs.paths:
        found.add_given(path)
    if inputs.files_from is not None:
        found.add_list(read_list(inputs.files_from, inputs.null))
    files = found.by_name()
    if not files:
        where = ", ".join(str(path) for path in inputs.paths) or inputs.files_from or "no input"
        what = f"; {files.notice}" if files.passed_over else f" ({' '.join(SNDFILE_SUFFIXES)})"
        raise NothingUsableError(f"no audio file in {where}{what}")
    if files.passed_over:
        _log.warning("%s", files.notice)
    return files


class _Found:
    """The files found so far; text, as a million paths are ten times faster to handle so."""

    def __init__(self, root: Path | None) -> None:
        self.root = Path(_absolute(root)) if root is not None else None
        if self.root is not None and not self.root.is_dir():
            raise ConfigError(f"the root {self.root} is not a folder")
        self.suffixes = AUDIO_SUFFIXES if has_av() else SNDFILE_SUFFIXES
        self.files: dict[str, None] = {}
        self.passed_over: dict[str, None] = {}  # what is no less audio or video, but not read
        self.folders: set[str] = set()  # what is common to them is the default root

    def add_given(self, given: str | Path) -> None:
        """Add what a path on the command line means."""
        text = os.fspath(given)
        if _exists(text):
            self._add(_absolute(text))
        elif is_pattern(text):
            matches = list(match(text))
            if not matches:
                form = in_other_form(text, lambda other: any(match(other)))
                raise NothingUsableError(f"nothing matches the pattern {text}{form}")
            self.folders.add(_absolute(fixed_folder(text)))
            for matched in matches:
                self._add(_absolute(matched))
        else:
            path = Path(_absolute(text))
            raise ConfigError(f"{path} does not exist{suggestion(path)}")

    def add_list(self, entries: Iterable[str]) -> None:
        """Add files and folders by their paths, as they stand."""
        for path in map(_absolute, entries):
            self._add_path(path)

    def by_name(self) -> AudioFiles:
        """Return the files by their names, sorted."""
        root = self.root or Path(os.path.commonpath(self.folders or ["/"]))
        passed_over = [file for file in self.passed_over if file not in self.files]
        return AudioFiles(_named(self.files, root), _named(passed_over, root))

    def _add(self, path: str) -> None:
        if is_manifest(Path(path)):
            self._add_manifest(Path(path))
        else:
            self._add_path(path)

    def _add_path(self, path: str) -> None:
        if os.path.isdir(path):  # noqa: PTH112
            self.folders.add(path)
            for file in walk(Path(path)):
                is_read = file.suffix.lower() in self.suffixes
                (self.files if is_read else self.passed_over)[str(file)] = None
        else:
            self.folders.add(path.rpartition("/")[0] or "/")
            self.files[path] = None

    def _add_manifest(self, manifest: Path) -> None:
        folder = self.root or manifest.parent
        self.folders.add(str(folder))
        start = str(folder / "_")[:-1]
        rows = read_manifest(manifest)
        files = {row: _absolute(row if row.startswith("/") else start + row) for row in rows}
        for row, file in files.items():
            if self.root is None and not file.startswith(start):
                raise ConfigError(
                    f"{manifest}: {row} leads out of the folder of the list; give --root"
                )
        absent = [row for row, file in files.items() if not os.path.lexists(file)]
        if absent:
            files |= _found_by_name(absent, manifest, folder, set(files.values()))
        self.files.update(dict.fromkeys(files.values()))


def _found_by_name(
    rows: Sequence[str], manifest: Path, folder: Path, listed: set[str]
) -> dict[str, str]:
    """Return the files under a folder that paths of a manifest mean which are not there.

    A file that the manifest lists is not taken for another one.
    """
    start = str(folder / "_")[:-1]
    there = (path for path in map(str, walk(folder)) if path not in listed)
    index = NameIndex(path.removeprefix(start) for path in there)
    found, missing = index.resolve(rows, manifest)
    if found:
        what = "%s: %d files are matched by their basename, suffix or Unicode form: %s"
        _log.warning(what, manifest, *inexact(found))
    if misnamed := list(filter(index.near, missing)):
        what = "%s: %d files are not there, but others like them: %s"
        _log.warning(what, manifest, len(misnamed), index.listed(misnamed))
    return {row: start + name for row, name in found.items()}


def _named(files: Iterable[str], root: Path) -> dict[str, Path]:
    """Return files by their names, sorted; a ConfigError names one that is not under the root."""
    start = str(root / "_")[:-1]
    names = {file.removeprefix(start): file for file in files}
    for name, file in names.items():
        if name.startswith("/"):
            raise ConfigError(f"{file} is not under the root {root}; give another --root")
    return {name: Path(names[name]) for name in sorted(names)}


def _is_name(text: str) -> bool:
    """Return whether a file under the root could have a name."""
    try:
        check_name(text)
    except AudioError:
        return False
    parts = PurePosixPath(text).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts


def _absolute(path: str | Path) -> str:
    """Return a path from ``/`` on, without ``.`` and ``..``.

    Not Path.resolve: a link in the data set has the link's name, not that of what it points to.
    """
    absolute = "/" + os.path.abspath(path).lstrip("/")  # noqa: PTH100
    parts = Path(path).parts if ".." in os.fspath(path) else ()
    if ".." not in parts:
        return absolute
    after = len(parts) - parts[::-1].index("..")
    above = Path(*parts[:after])
    with contextlib.suppress(OSError):  # of a path that does not exist
        # After a link, `..` is the folder that holds what it points to.
        if not above.samefile(os.path.abspath(above)):  # noqa: PTH100
            return str(above.resolve().joinpath(*parts[after:]))
    return absolute


def _exists(path: str) -> bool:
    """Return whether something is there, a broken link included."""
    if not path:
        raise ConfigError("an input is empty text; give a file, a folder or a pattern")
    try:
        Path(path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    return True


def walk(folder: Path, above: Above = frozenset()) -> Iterator[Path]:
    """Yield the audio and video files under a folder, at any depth."""
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
    """
    matches = _match(fixed_folder(pattern), _split(pattern)[1], frozenset())
    return filter(Path.is_dir, matches) if pattern.endswith("/") else matches


def suggestion(path: Path) -> str:
    """Return what may have been meant by a path that does not exist, to end a message with."""
    if form := in_other_form(path):
        return form
    names: list[str] = []
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        names = [entry.name for entry in islice(entries, MOST_COMPARED)]
    near = nearest(path.name, names)
    return f"; did you mean {path.parent / near}?" if near is not None else ""


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
