"""What is checked: clips, as audio or the table of a features file, and label files."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from sedtool.audio import AudioReader, read_header
from sedtool.errors import AudioError, ConfigError
from sedtool.labels import NameIndex, Vocabulary, check_name
from sedtool.labels.names import Match
from sedtool.labels.tables import Fault, Row, read_rows
from sedtool.store import open_features
from sedtool.text import file_sha256

PROBE_SIZE = 2**16  # bytes compared before whole files of equal size are

Progress = Callable[[int, int, str], None]  # done, all, name of the latest
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Clip:
    """A clip; what is not known is None."""

    name: str
    path: Path | None = None
    duration: float | None = None  # seconds
    sample_rate: int | None = None  # Hz
    channels: int | None = None
    size: int | None = None  # bytes
    sha256: str | None = None  # of the audio file
    constant: float | None = None  # the value of all samples
    error: str | None = None  # why the audio cannot be used

    @property
    def format(self) -> str:
        """Return sample rate and channels as text; nothing where they are not known."""
        if not self.sample_rate:
            return ""
        return f"{self.sample_rate} Hz, {self.channels} channel{'s' * (self.channels != 1)}"


class LabelFile:
    """The rows of a label file, the faults of those that cannot be read, and whose clips they are.

    Labels that are no class of the vocabulary are kept. `index` has the clips that names may mean.
    """

    def __init__(
        self, path: Path, kind: str, vocabulary: Vocabulary | None, index: NameIndex
    ) -> None:
        self.path, self.kind, self._index = path, kind, index
        self.rows: list[Row] = []
        self.faults: list[Fault] = []
        for item in read_rows(path, kind, vocabulary):
            if isinstance(item, Fault):
                self.faults.append(item)
            else:
                self.rows.append(item)

    @property
    def n_rows(self) -> int:
        """Return the number of rows, those that cannot be read included."""
        return len(self.rows) + sum(fault.kind != "file" for fault in self.faults)

    def at(self, row: Row) -> str:
        """Return ``file:line`` of a row."""
        return f"{self.path}:{row.line}"

    def events(self) -> Iterator[Row]:
        """Yield the rows of a strong file that are events."""
        return (row for row in self.rows if row.labels and self.kind == "strong")

    @cached_property
    def first_rows(self) -> dict[str, Row]:
        """Return the first row of each clip name, in order."""
        first: dict[str, Row] = {}
        for row in self.rows:
            first.setdefault(row.name, row)
        return first

    @cached_property
    def matches(self) -> dict[str, Match]:
        """Return what each name means."""
        return {match.name: match for match in self._index.matches(self.first_rows)}

    @cached_property
    def nearest(self) -> dict[str, str | None]:
        """Return the clip that is nearest to each name that means none."""
        missing = (name for name, match in self.matches.items() if match.fault == "missing")
        return {name: self._index.nearest(name) for name in missing}

    @cached_property
    def clip_of(self) -> dict[str, str]:
        """Return the clip of each name: of what is missing the nearest, or else the name itself."""
        return {n: m.clip or self.nearest.get(n) or n for n, m in self.matches.items()}

    @cached_property
    def labels_by_clip(self) -> dict[str, set[str]]:
        """Return the labels of each clip, without those of events that last no time."""
        labels: dict[str, set[str]] = {}
        for row in self.rows:
            counts = self.kind != "strong" or row.offset > row.onset
            labels.setdefault(self.clip_of[row.name], set()).update(row.labels if counts else ())
        return labels

    @cached_property
    def clips_by_label(self) -> Counter[str]:
        """Return the number of clips of each label."""
        pairs = {(row.name, label) for row in self.rows for label in row.labels}
        return Counter(label for _, label in pairs)


def listed_clips(features: Iterable[Path]) -> dict[str, Clip]:
    """Return the clips of features files, those that extraction failed on included."""
    clips: dict[str, Clip] = {}
    for path in features:
        file = open_features(path)
        table = zip(file.names, file.duration.tolist(), file.source_sha256, strict=True)
        here = [Clip(name, None, duration, sha256=digest) for name, duration, digest in table]
        for clip in [*here, *(Clip(name, error=error) for name, error in file.failures)]:
            if clips.setdefault(clip.name, clip) is not clip:
                raise ConfigError(f"clip {clip.name!r} is in {path} and in another input")
    return clips


def inspect(
    files: Mapping[str, Path], decode: bool, workers: int, progress: Progress | None = None
) -> dict[str, Clip]:
    """Read the header of each audio file, or all of it, several files at a time."""

    def look(item: tuple[str, Path]) -> Clip:
        name, path = item
        try:
            check_name(name)
            if decode:
                return _decoded(name, path)
            about = read_header(path)
            return Clip(name, path, about.duration, about.sample_rate, about.channels, about.size)
        except AudioError as error:
            return Clip(name, path, error=str(error).removeprefix(f"{path}: "))

    clips: dict[str, Clip] = {}
    for clip in _threaded(look, list(files.items()), workers):
        clips[clip.name] = clip
        if progress:
            progress(len(clips), len(files), clip.name)
    return clips


def _decoded(name: str, path: Path) -> Clip:
    lows, highs = [], []
    with AudioReader(path, None) as reader:
        for block in reader:
            lows.append(float(block.min()))
            highs.append(float(block.max()))
        info = reader.info()
    constant = lows[0] if min(lows) == max(highs) else None
    return Clip(name, path, constant=constant, **asdict(info))


def copies(clips: Iterable[Clip], workers: int) -> list[list[str]]:
    """Return the names of clips with the same audio file content, where there are several.

    Only files of equal size are compared, and only those read whole that agree in their middle:
    clips cut to one length have one size.
    """
    listed = list(clips)
    suspects = _alike([c for c in listed if c.path and c.size], lambda clip: clip.size, workers)
    suspects = _alike(suspects, _middle, workers)
    told = {clip.name: clip for clip in (*suspects, *(c for c in listed if c.sha256))}
    same: defaultdict[str, list[str]] = defaultdict(list)
    for name, digest in zip(told, _threaded(_digest, list(told.values()), workers), strict=True):
        if digest:
            same[digest].append(name)
    return [sorted(names) for names in same.values() if len(names) > 1]


def _alike(clips: Sequence[Clip], key: Callable[[Clip], object], workers: int) -> list[Clip]:
    """Return the clips of which another one has the same size and key."""
    groups: defaultdict[object, list[Clip]] = defaultdict(list)
    for clip, value in zip(clips, _threaded(key, clips, workers), strict=True):
        groups[clip.size, value].append(clip)
    return [clip for group in groups.values() if len(group) > 1 for clip in group]


def _middle(clip: Clip) -> bytes:
    """Return a digest of the middle of a file; empty if it was removed meanwhile."""
    assert clip.path and clip.size
    try:
        with clip.path.open("rb") as stream:
            stream.seek(max((clip.size - PROBE_SIZE) // 2, 0))
            return hashlib.sha256(stream.read(PROBE_SIZE)).digest()
    except FileNotFoundError:
        return b""


def _digest(clip: Clip) -> str:
    """Return the sha256 of a clip's audio file; nothing if it was removed meanwhile."""
    try:
        return clip.sha256 or (file_sha256(clip.path) if clip.path else "")
    except FileNotFoundError:
        return ""


def _threaded(function: Callable[[T], U], items: Sequence[T], workers: int) -> Iterable[U]:
    """Yield the results in order; reading files releases Python's lock."""
    executor = ThreadPoolExecutor(workers)
    try:
        yield from executor.map(function, items)
    finally:  # after Ctrl-C, too
        executor.shutdown(cancel_futures=True)
