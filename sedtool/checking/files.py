"""What is checked: clips, as audio or the table of a features file, and label files."""

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sedtool.audio import AudioReader, read_header
from sedtool.errors import AudioError, ConfigError
from sedtool.labels import NameIndex, Vocabulary, check_name
from sedtool.labels.dialect import Fault
from sedtool.labels.names import Match
from sedtool.labels.tables import read_rows
from sedtool.store import open_features
from sedtool.text import file_sha256

SHOWN = 5  # places of each finding
PROBE_SIZE = 2**16  # bytes compared before whole files of equal size are

Progress = Callable[[int, int, str], None]  # done, all, name of the latest
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
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
    hop: float | None = None  # seconds from frame to frame, where it has features
    error: str | None = None  # why the audio cannot be used
    is_passed_over: bool = False  # whether other stages leave it out, as what they do not read

    @property
    def format(self) -> str:
        """Return sample rate and channels as text; nothing where they are not known."""
        if not self.sample_rate:
            return ""
        return f"{self.sample_rate} Hz, {self.channels} channel{'s' * (self.channels != 1)}"


class LabelFile:
    """The rows of a label file by columns, their clips, and the faults of what cannot be read.

    Labels that are no class of the vocabulary are kept. `index` has the clips that names may mean.
    Names, and the labels that a row has, are numbered in the order in which they first occur.
    """

    def __init__(
        self, path: Path, kind: str, vocabulary: Vocabulary | None, index: NameIndex
    ) -> None:
        self.path, self.kind, self._index = path, kind, index
        self.n_faults: Counter[str] = Counter()  # of a kind, see `Fault`
        self.faults: defaultdict[str, list[str]] = defaultdict(list)  # the first of each kind
        names: dict[str, int] = {}
        labels: dict[tuple[str, ...], int] = {}
        rows, times = array("q"), array("d")  # three of a row, and two
        self.unsure: list[int] = []  # rows whose confidence is below 1
        for item in read_rows(path, kind, vocabulary):
            if isinstance(item, Fault):
                self._note(item)
                continue
            if item.confidence is not None and item.confidence < 1:
                self.unsure.append(len(rows) // 3)
            name = names.setdefault(item.name, len(names))
            rows.extend((item.line, name, labels.setdefault(item.labels, len(labels))))
            times.extend((item.onset, item.offset))
        self.names, self.labels = list(names), list(labels)
        self.line, self.name, self.labelled = np.array(rows).reshape(-1, 3).T.copy()
        self.onset, self.offset = np.array(times).reshape(-1, 2).T.copy()  # seconds

    def _note(self, fault: Fault) -> None:
        self.n_faults[fault.kind] += 1
        if len(self.faults[fault.kind]) < SHOWN:
            self.faults[fault.kind].append(str(fault))

    @property
    def n_rows(self) -> int:
        """Return the number of rows, those that cannot be read included."""
        return len(self.line) + self.n_faults["row"] + self.n_faults["time"]

    def at(self, row: int) -> str:
        """Return ``file:line`` of a row."""
        return f"{self.path}:{self.line[row]}"

    def named(self, row: int) -> str:
        """Return the name in a row."""
        return self.names[int(self.name[row])]

    def kinds_of_rows(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield the first row of each that differ in their labels, and these."""
        return zip(_first(self.labelled).tolist(), self.labels, strict=True)

    @cached_property
    def is_labelled(self) -> BoolArray:
        """Return whether each row has a label; one of a strong file is an event then."""
        is_labelled: BoolArray = np.array([*map(bool, self.labels)], bool)[self.labelled]
        return is_labelled

    @cached_property
    def first(self) -> IntArray:
        """Return the first row of each name."""
        return _first(self.name)

    @cached_property
    def same_labels(self) -> IntArray:
        """Return a number for the labels of each row, in whatever order they stand."""
        numbers: dict[frozenset[str], int] = {}
        equal = [numbers.setdefault(frozenset(labels), len(numbers)) for labels in self.labels]
        return self._of_rows(equal)

    def _of_rows(self, values: Sequence[int] | IntArray) -> IntArray:
        """Return the value of each row, from those of what they are labelled."""
        of_rows: IntArray = np.array(values, np.int64)[self.labelled]
        return of_rows

    @cached_property
    def order(self) -> IntArray:
        """Return the rows by name, labels, onset and offset; equal ones as they stand."""
        columns = self.offset, self.onset, self.same_labels, self.name
        return np.lexsort(columns).astype(np.int64)

    @cached_property
    def matches(self) -> list[Match]:
        """Return what those names mean that are not exactly those of their clips."""
        found = self._index.matches(self.names)
        return [match for match in found if match.clip != match.name or match.fault]

    def hint(self, name: str) -> str:
        """Return what to say of a name that means no clip and is near one; or nothing."""
        return self._index.hint(name) if name in self._near else ""

    @cached_property
    def _near(self) -> dict[str, str]:
        """Return a clip that is near to each of the names that mean none, where there is one."""
        missing = (match.name for match in self.matches if match.fault == "missing")
        return {name: near[0] for name in missing if (near := self._index.near(name))}

    @cached_property
    def clips(self) -> list[str]:
        """Return the clip of each name: of what is missing the nearest, or else the name itself."""
        meant = self._near | {match.name: match.clip for match in self.matches if match.clip}
        return [meant.get(name, name) for name in self.names]

    @cached_property
    def labels_by_clip(self) -> dict[str, frozenset[str]]:
        """Return the labels of each clip, without those of events that last no time."""
        sets = [frozenset(labels) for labels in self.labels]
        shared: dict[frozenset[str], frozenset[str]] = {}
        by_clip: dict[str, frozenset[str]] = {}
        counts = self.offset > self.onset if self.kind == "strong" else self.is_labelled
        rows = zip(self.name.tolist(), self.labelled.tolist(), counts.tolist(), strict=True)
        for name, labelled, count in rows:
            clip, more = self.clips[name], sets[labelled] if count else frozenset()
            labels = by_clip.get(clip, frozenset()) | more
            by_clip[clip] = shared.setdefault(labels, labels)
        return by_clip

    @cached_property
    def clips_by_label(self) -> Counter[str]:
        """Return the number of names that have each label."""
        numbers: dict[str, int] = {}
        each = [numbers.setdefault(label, len(numbers)) for of in self.labels for label in of]
        size = np.array([len(labels) for labels in self.labels], np.int64)
        start, count = self._of_rows(np.cumsum(size) - size), self._of_rows(size)
        place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        label = np.array(each, np.int64)[np.repeat(start, count) + place]
        pairs = np.sort(np.repeat(self.name, count) * len(numbers) + label)
        pairs = pairs[np.diff(pairs, prepend=-1) > 0] % (len(numbers) or 1)
        return Counter(dict(zip(numbers, np.bincount(pairs).tolist(), strict=True)))


def _first(numbers: IntArray) -> IntArray:
    """Return where each number first occurs."""
    return np.unique(numbers, return_index=True)[1].astype(np.int64)


def listed_clips(features: Iterable[Path]) -> dict[str, Clip]:
    """Return the clips of features files, those that extraction failed on included."""
    clips: dict[str, Clip] = {}
    for path in features:
        file = open_features(path)
        table = zip(file.names, file.duration.tolist(), file.source_sha256, strict=True)
        hop = 1 / file.config.frame_rate
        here = [Clip(name, None, length, sha256=digest, hop=hop) for name, length, digest in table]
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
