"""Audio and label files -> a report: exact counts, the first five of each, as text and JSON."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path, PurePath
from statistics import fmean, median

import numpy as np

from sedtool.atomic import refuse_unfinished
from sedtool.audio import AudioInputs, find_audio
from sedtool.checking.files import SHOWN, Clip, LabelFile, Progress, copies, inspect, listed_clips
from sedtool.checking.rules import (
    HOP,
    NOTE,
    POOLED,
    PROBLEM,
    RULES,
    Data,
    Found,
    between,
    in_audio,
    in_labels,
    in_spelling,
)
from sedtool.errors import ConfigError
from sedtool.labels import NameIndex, read_vocabulary
from sedtool.store import is_hdf5
from sedtool.text import aligned, counted

MOST_ROWS = 1000  # of a table of classes, as text


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found in one place or between two."""

    kind: str
    severity: str  # "problem" or "note"
    count: int
    where: str  # the label files, or "audio"
    first: tuple[str, ...]  # five places at most, "file:line: what" or "clip: what"

    def lines(self) -> list[str]:
        """Return the finding as text."""
        rule = RULES[self.kind]
        more = ["    ..."] if self.count > len(self.first) == SHOWN else []
        head = f"  {self.count} {self.kind} ({self.where}): {rule.what}"
        remedy = [f"    remedy: {rule.remedy}"] if rule.remedy else []
        remedy += [f"    {rule.advice}"] if rule.advice else []
        return [head, *(f"    {self._brief(place)}" for place in self.first), *more, *remedy]

    def _brief(self, place: str) -> str:
        """Return a place without the file that the finding names already."""
        brief = place.removeprefix(f"{self.where}:").lstrip()
        has_line = brief != place and brief[0].isdigit()
        return f"line {brief}" if has_line else brief


def findings_of(where: object, found: Iterable[Found]) -> Iterator[Finding]:
    """Yield a finding for each kind among what was found in one place, in the order of `RULES`."""
    counts: Counter[str] = Counter()
    first: dict[str, list[str]] = {}
    for kind, place, number in found:
        counts[kind] += number
        places = first.setdefault(kind, [])
        if len(places) < SHOWN:
            places.append(place)
    for kind, rule in RULES.items():
        if kind in first:
            yield Finding(kind, rule.severity, counts[kind], str(where), tuple(first[kind]))


@dataclass(frozen=True)
class FileSummary:
    """What a label file holds."""

    file: str
    kind: str  # "strong", "weak" or "unlabelled"
    rows: int
    clips: int
    events: int | None  # of a strong file

    @classmethod
    def of(cls, file: LabelFile) -> "FileSummary":
        """Count a label file's rows, clips and events."""
        events = int(file.is_labelled.sum()) if file.kind == "strong" else None
        return cls(str(file.path), file.kind, file.n_rows, len(file.names), events)


@dataclass(frozen=True)
class ClassSummary:
    """One class in one label file; lengths are those of events that last some time, in seconds."""

    label: str
    file: str
    clips: int
    events: int | None = None
    total: float | None = None
    mean: float | None = None
    median: float | None = None
    min: float | None = None
    max: float | None = None

    @classmethod
    def all_of(cls, file: LabelFile, classes: Iterable[str]) -> Iterator["ClassSummary"]:
        """Count the clips and events of each class, and measure its events."""
        is_strong = file.kind == "strong"
        by_labels = np.argsort(file.labelled, kind="stable")
        lengths = (file.offset - file.onset)[by_labels]
        ends = np.cumsum(np.bincount(file.labelled)).tolist()
        parts = {
            labels: slice(*of) for labels, of in zip(file.labels, pairwise([0, *ends]), strict=True)
        }
        for label in classes:
            events = lengths[parts.get((label,), slice(0))].tolist() if is_strong else []
            n_events = len(events) if is_strong else None
            given = [length for length in events if length > 0]
            measures = (sum, fmean, median, min, max) if given else ()
            times = [float(measure(given)) for measure in measures]
            yield cls(label, str(file.path), file.clips_by_label[label], n_events, *times)

    def short(self, frame: float) -> Found | None:
        """Return what to say of a class that output frames are too long for."""
        if self.median is None or self.min is None or self.median >= 2 * frame - 1e-9:
            return None
        lengths = f"median {self.median:.3f} s, shortest {self.min:.3f} s"
        return Found("short-events", f"{self.label}: {lengths}; two frames are {2 * frame:g} s")

    def cells(self) -> list[str]:
        """Return a row of the table of classes: label and clips, of strong labels more."""
        if self.events is None:
            return [self.label, str(self.clips)]
        times = (self.total, self.mean, self.median, self.min, self.max)
        counts = [str(self.clips), str(self.events)]
        return [self.label, *counts, *("-" if t is None else f"{t:.3f}" for t in times)]


@dataclass(frozen=True)
class AudioSummary:
    """The audio as a whole; lengths in seconds."""

    clips: int
    unreadable: int
    decoded: bool
    total: float
    min: float | None
    median: float | None
    max: float | None
    formats: Mapping[str, int]  # "44100 Hz, 1 channel" -> clips

    @classmethod
    def of(cls, clips: Collection[Clip], decoded: bool) -> "AudioSummary":
        """Count and measure the clips."""
        durations = [clip.duration for clip in clips if clip.duration is not None]
        return cls(
            clips=len(clips),
            unreadable=sum(clip.error is not None for clip in clips),
            decoded=decoded,
            total=sum(durations),
            min=min(durations, default=None),
            median=median(durations) if durations else None,
            max=max(durations, default=None),
            formats=dict(Counter(c.format for c in clips if c.format).most_common()),
        )

    def lines(self) -> list[str]:
        """Return the summary as text."""
        how = "decoded" if self.decoded else "headers only"
        lines = [f"audio: {self.clips} clips, {self.unreadable} unreadable ({how})"]
        if self.min is not None:
            lines[0] += (
                f"; {self.total:.1f} s: {self.min:.3f} to {self.max:.3f}, median {self.median:.3f}"
            )
        return [*lines, *(f"  {name}: {count} clips" for name, count in self.formats.items())]


@dataclass(frozen=True)
class Report:
    """Everything a check found."""

    findings: tuple[Finding, ...]
    classes: tuple[ClassSummary, ...]
    files: tuple[FileSummary, ...]
    audio: AudioSummary

    @property
    def problems(self) -> int:
        """Return in how many places something is wrong."""
        return sum(f.count for f in self.findings if f.severity == PROBLEM)

    def verdict(self) -> str:
        """Return the outcome in one line."""
        kinds = dict.fromkeys(f.kind for f in self.findings if f.severity == PROBLEM)
        notes = sum(f.severity == NOTE for f in self.findings)
        if not kinds:
            return f"nothing wrong; {counted(notes, 'note')}"
        return (
            f"{counted(len(kinds), 'kind')} of problems in "
            f"{counted(self.problems, 'place')}: {', '.join(kinds)}"
        )

    def lines(self) -> list[str]:
        """Return the report as text. Names stand as they are: a terminal needs them made plain."""
        lines = self.audio.lines()
        for file in self.files:
            events = "" if file.events is None else f", {file.events} events"
            lines.append(f"{file.kind}: {file.file}: {file.rows} rows, {file.clips} clips{events}")
        for severity, title in ((PROBLEM, "Problems"), (NOTE, "Notes")):
            findings = [f for f in self.findings if f.severity == severity]
            if findings:
                lines += ["", title, *(line for f in findings for line in f.lines())]
        for name in dict.fromkeys(row.file for row in self.classes):
            classes = [row for row in self.classes if row.file == name]
            rows = [row.cells() for row in classes[:MOST_ROWS]]
            lines += ["", f"Classes of {name}{', times in seconds' * (len(rows[0]) > 2)}"]
            heading = ["class", "clips", "events", "total", "mean", "median", "min", "max"]
            lines += [f"  {line}" for line in aligned([heading[: len(rows[0])], *rows], 1)]
            if more := len(classes) - len(rows):
                lines.append(f"  ... and {more} more; --json has all of them")
        return lines

    def json(self) -> str:
        """Return the report as one line of JSON, in ASCII."""
        return json.dumps({"problems": self.problems, **asdict(self)}, allow_nan=False)


@dataclass(frozen=True)
class CheckInputs:
    """The files that are checked against each other."""

    audio: AudioInputs  # features files may be among them, and stand for their audio
    strong: Sequence[Path] = ()
    weak: Sequence[Path] = ()
    unlabelled: Sequence[Path] = ()
    classes: Path | None = None  # without it, all labels that occur are classes


def check(
    inputs: CheckInputs, *, decode: bool = False, workers: int, progress: Progress | None = None
) -> Report:
    """Check audio and label files by themselves and against each other.

    Without `decode` of audio only headers are read, and Ogg pages, and what files of equal size
    need to be told apart, `workers` files at a time. `progress` is called in this thread after each
    file. A class list that cannot be read is a LabelError; faults of label files are findings.
    """
    kinds = {"strong": inputs.strong, "weak": inputs.weak, "unlabelled": inputs.unlabelled}
    given = [(path, kind) for kind, paths in kinds.items() for path in paths]
    for place in (*map(Path, inputs.audio.paths), *(path.parent for path, _ in given)):
        refuse_unfinished(place)
    vocabulary = read_vocabulary(inputs.classes) if inputs.classes else None
    clips = _clips(inputs.audio, decode, workers, progress)
    index = NameIndex(clips)
    files = [LabelFile(path, kind, vocabulary, index) for path, kind in given]
    labels = {label for file in files for labels in file.labels for label in labels}
    classes = vocabulary.classes if vocabulary else tuple(sorted(labels))
    frame = POOLED * max((clip.hop for clip in clips.values() if clip.hop), default=HOP)
    data = Data(clips, files, classes, vocabulary, copies(clips.values(), workers), frame)
    labelled = [file for file in files if file.kind != "unlabelled" and file.names]
    summaries = tuple(row for file in labelled for row in ClassSummary.all_of(file, classes))
    return Report(
        tuple(_findings(data, summaries)),
        summaries,
        tuple(map(FileSummary.of, files)),
        AudioSummary.of(clips.values(), decode),
    )


def _findings(data: Data, classes: Sequence[ClassSummary]) -> Iterator[Finding]:
    """Apply all rules."""
    yield from findings_of("audio", in_audio(data))
    yield from findings_of("label files", in_spelling(data))
    for file in data.files:
        short = (row.short(data.frame) for row in classes if row.file == str(file.path))
        found = (*in_labels(file, data), *filter(None, short))
        yield from findings_of(file.path, found)
    for one, other in combinations(data.files, 2):
        yield from findings_of(f"{one.path}, {other.path}", between(one, other))


def _is_features(path: str | Path) -> bool:
    return path != "-" and (Path(path).suffix.lower() == ".h5" or is_hdf5(Path(path)))


def _clips(
    audio: AudioInputs, decode: bool, workers: int, progress: Progress | None
) -> dict[str, Clip]:
    """Return the clips of features files and audio files, by name."""
    features = [Path(path) for path in audio.paths if _is_features(path)]
    others = tuple(path for path in audio.paths if not _is_features(path))
    listed = listed_clips(features)
    if features and not others and audio.files_from is None:
        if decode or audio.root is not None:
            option = "--decode" if decode else "--root"
            raise ConfigError(f"{option} has no meaning for features files: they hold no audio")
        return listed
    found = find_audio(replace(audio, paths=others))
    for name in found:
        if name in listed:
            raise ConfigError(f"clip {name!r} is in a features file and among the audio files")
    clips = listed | inspect(found, decode, workers, progress)
    stems = {PurePath(name).with_suffix("") for name in clips}  # the audio of a video may be there
    rest = {
        n: at for n, at in found.passed_over.items() if PurePath(n).with_suffix("") not in stems
    }
    passed_over = inspect(rest, decode, workers).items()
    return clips | {name: replace(clip, is_passed_over=True) for name, clip in passed_over}
