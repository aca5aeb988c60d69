"""Published label files + the audio that is at hand -> which clips can be used, and for what.

Data sets that are cut out of YouTube videos rot, and copies of them differ: files are missing or
empty, names have a ``Y`` in front or not, times decimals or not, audio is FLAC in place of WAV. So
clips are matched by what their names mean (`clip_key`), whatever is not there is named (`Missing`),
and what is held out depends on the label files alone (`hold_out`).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from sedtool.atomic import write_text
from sedtool.audio import find_audio
from sedtool.checking.files import Clip, inspect
from sedtool.checking.files import copies as equal_files
from sedtool.draws import generator
from sedtool.errors import ConfigError, NothingUsableError
from sedtool.labels.names import NameIndex, video_part
from sedtool.text import aligned, first_five

_THREADS = 8

Found = dict[str, str]  # name in the label file -> name of the audio


@dataclass(frozen=True)
class Missing:
    """A clip of a split that cannot be used."""

    split: str
    name: str  # in the label file
    reason: str


def video(name: str) -> str:
    """Return the id of the YouTube video that a clip is part of, or the name itself."""
    part = video_part(name)
    return part[0] if part else name


def seconds_of(name: str) -> float:
    """Return how long the part of a video is that a clip is named after; infinity of any other."""
    part = video_part(name)
    return part[2] - part[1] if part else math.inf


def _is_of_video(name: str) -> bool:
    """Return whether a name says which part of which video a clip is."""
    return video_part(name) is not None


def find_label_file(folder: Path, *names: str) -> Path:
    """Return the one file under `folder`, at any depth, that has one of these names.

    None, or more than one, is a ConfigError.
    """
    found = sorted(path for name in names for path in folder.rglob(name))
    if len(found) != 1:
        places = f": {first_five(map(str, found))}" if found else ""
        raise ConfigError(
            f"{folder} has {len(found) or 'no'} files {' or '.join(names)}{places}; "
            "give the folder with the published label files"
        )
    return found[0]


def hold_out(labels: Mapping[str, Collection[str]], share: float, seed: int) -> set[str]:
    """Choose the clips to validate on: a seeded share, in which rare classes are represented.

    The clips of one video stay together. A video counts for its rarest class, of which `share` is
    held out, and one video at least where there are two. Neither the order of the clips nor what
    audio there is has a part in it. A share outside (0, 1) or a negative seed is a ConfigError.
    """
    if not 0 < share < 1:
        raise ConfigError(f"the share to hold out must be in (0, 1), not {share:g}")
    if seed < 0:
        raise ConfigError(f"the seed must not be negative, but is {seed}")
    classes: dict[str, set[str]] = defaultdict(set)
    for name, found in labels.items():
        classes[video(name)].update(found)
    counts = Counter(chain.from_iterable(classes.values()))
    strata: dict[str, list[str]] = defaultdict(list)
    for source in sorted(classes):
        rarest = min(classes[source], key=lambda label: (counts[label], label), default="")
        strata[rarest].append(source)
    held: set[str] = set()
    for rarest, sources in sorted(strata.items()):
        n_held = min(max(round(share * len(sources)), 1), len(sources) - 1)
        order = generator(f"hold out of {rarest}", seed).permutation(len(sources))
        held.update(sources[i] for i in order[:n_held])
    return {name for name in labels if video(name) in held}


class AudioFolder:
    """The audio files under a folder, at any depth, by the clips they are."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(f"the audio folder {folder} is not there, or no folder")
        self.folder = folder
        self.paths = find_audio([folder], root=folder)
        self._index = NameIndex(self.paths)
        self._folders = {_parent(name) for name in self.paths}

    def resolve(
        self,
        splits: Mapping[str, Iterable[str]],
        folders: Mapping[str, str],
        decoded: Collection[str] = (),
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[dict[str, Found], list[Missing]]:
        """Find the audio of every split, and keep apart what must not be in two of them.

        Parameters
        ----------
        splits
            Names of clips as the label files have them; of a video or a recording that is in two
            splits, the first has it.
        folders
            For a split, the folder that its audio is kept in where the data set is laid out as
            published, e.g. ``train/weak``: with several files of one clip, those in it count. Where
            there is such a folder, a soundscape ``10.wav`` outside of it is another one.
        decoded
            Splits whose audio is decoded to its end, so that no reference has clips which cannot be
            scored. Of all others only headers are read.
        progress
            Called with the number of files read so far, and that of all.
        """
        missing: list[Missing] = []
        copies: dict[str, dict[str, list[str]]] = {}  # split -> name -> the best file first
        for split, names in splits.items():
            copies[split] = {}
            for name in names:
                files = self._choose(name, folders.get(split, ""))
                if not files:
                    missing.append(Missing(split, name, "no audio"))
                elif len(files) > 1 and not _is_of_video(name):  # whose files would be copies
                    what = f"could be any of {first_five(files)}"
                    missing.append(Missing(split, name, what))
                else:
                    copies[split][name] = files
        clips = self._inspect(copies, decoded, progress)
        found: dict[str, Found] = {split: {} for split in splits}
        for split, names_here in copies.items():
            for name, files in names_here.items():
                usable = next((file for file in files if not clips[file].error), None)
                if usable is None:
                    missing.append(Missing(split, name, str(clips[files[0]].error)))
                else:
                    found[split][name] = usable
        _drop_repeated(found, missing, video, "the same video")
        used = {file for names_here in found.values() for file in names_here.values()}
        first = {
            n: same[0] for same in equal_files((clips[n] for n in used), _THREADS) for n in same
        }
        _drop_repeated(found, missing, lambda file: first.get(file, file), "the same audio")
        return found, missing

    def require_clips(self, found: Mapping[str, Found], missing: Sequence[Missing]) -> None:
        """Raise a NothingUsableError if a split has no clip, and say what is in its place."""
        for split in (split for split, clips in found.items() if not clips):
            lost = [clip for clip in missing if clip.split == split]
            if not lost:
                raise NothingUsableError(f"the label files name no clip of {split}")
            raise NothingUsableError(
                f"none of the {len(lost)} clips of {split} can be used ({lost[0].name}: "
                f"{lost[0].reason}); {self.folder} has {len(self.paths)} audio files, such as "
                f"{min(self.paths)}: give the folder with the audio of all splits"
            )

    def _choose(self, name: str, folder: str) -> list[str]:
        """Return the files that may be a clip, the likeliest first."""
        candidates = self._index.alike(name)
        if folder:
            here = [file for file in candidates if _parent(file).endswith(f"/{folder}")]
            is_laid_out = any(parent.endswith(f"/{folder}") for parent in self._folders)
            if here or (is_laid_out and not _is_of_video(name)):
                candidates = here
        suffix = PurePosixPath(name).suffix
        alike = [file for file in candidates if PurePosixPath(file).suffix == suffix]
        others = [file for file in candidates if file not in alike]
        return alike + others if _is_of_video(name) else alike or others

    def _inspect(
        self,
        copies: Mapping[str, Mapping[str, Sequence[str]]],
        decoded: Collection[str],
        progress: Callable[[int, int], None],
    ) -> dict[str, Clip]:
        """Read the headers of all files, and decode those of some splits."""
        by_split = {s: set(chain.from_iterable(clips.values())) for s, clips in copies.items()}
        files = sorted(set().union(*by_split.values()))
        whole = set().union(*(by_split[split] for split in decoded))

        def inspect_all(names: Iterable[str], decode: bool, n_before: int) -> dict[str, Clip]:
            def report(done: int, total: int, name: str) -> None:
                progress(n_before + done, len(files))

            paths = {name: self.paths[name] for name in names}
            return inspect(paths, decode, _THREADS, report)

        clips = inspect_all([file for file in files if file not in whole], False, 0)
        # A header that states no length may have nothing behind it.
        unknown = [c.name for c in clips.values() if c.duration is None and not c.error]
        return clips | inspect_all([*whole, *unknown], True, len(clips) - len(unknown))


def _parent(name: str) -> str:
    """Return the folder of an audio file, relative to the audio folder, with a / in front."""
    return f"/{name}".rpartition("/")[0]


def _drop_repeated(
    found: dict[str, Found], missing: list[Missing], key: Callable[[str], str], what: str
) -> None:
    """Leave what has the same key in two splits to the first of them."""
    owners: dict[str, tuple[str, str]] = {}
    for split, clips in found.items():
        for name, file in list(clips.items()):
            owner, other = owners.setdefault(key(file), (split, name))
            if owner != split:
                missing.append(Missing(split, name, f"{what} as {other} in {owner}"))
                del clips[name]


def format_summary(found: Mapping[str, Found], missing: Sequence[Missing]) -> str:
    """Return how many clips of each split can be used, and why the others cannot, a line each."""
    lines = []
    for split, clips in found.items():
        lost = [clip for clip in missing if clip.split == split]
        reason = f"; {len(lost)} cannot be used: {first_five(clip.name for clip in lost)}"
        lines.append(
            f"{split}: {len(clips)} of {len(clips) + len(lost)} clips{reason * bool(lost)}"
        )
    return "\n".join(lines)


def format_classes(
    classes: Sequence[str], splits: Mapping[str, Mapping[str, Collection[str]]]
) -> str:
    """Return a table of how many clips of each split have each class, and which splits lack one."""
    counts = {split: Counter(chain.from_iterable(weak.values())) for split, weak in splits.items()}
    rows = [[label, *(str(counts[split][label]) for split in splits)] for label in classes]
    lines = aligned([["clips with", *splits], *rows], 1)
    for split, count in counts.items():
        if missing := [label for label in classes if label not in count]:
            lines.append(f"warning: {split} has no clip with {'; '.join(missing)}")
    return "\n".join(lines)


def write_names(path: Path, names: Iterable[str]) -> None:
    """Write a list of clips, as unlabelled data are given and audio is listed."""
    write_text(path, "".join(f"{name}\n" for name in ("filename", *names)))


def write_missing(path: Path, missing: Iterable[Missing]) -> None:
    """Write which clips cannot be used, and why."""
    rows = [("filename", "split", "reason"), *((m.name, m.split, m.reason) for m in missing)]
    write_text(path, "".join("\t".join(row) + "\n" for row in rows))
