"""What a check found: exact counts, the first five of each, as text and as JSON."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice

__all__ = ["KINDS", "AudioSummary", "ClassSummary", "FileSummary", "Finding", "Report", "found"]

SHOWN = 5  # places of each finding
PROBLEM, NOTE = "problem", "note"

# What is said of each kind; why it is a problem or a note stands in the package's docstring.
KINDS = {
    "unreadable-audio": (PROBLEM, "audio files that cannot be used"),
    "short-clip": (PROBLEM, "clips shorter than one analysis window"),
    "leak": (PROBLEM, "recordings labelled under different names in different files"),
    "duplicate-audio": (NOTE, "copies of a recording under another name"),
    "silent": (NOTE, "clips whose samples are all equal"),
    "long-clip": (NOTE, "clips more than 10 times as long as the median"),
    "mixed-formats": (NOTE, "clips of other sample rates or channels than most"),
    "unknown-duration": (NOTE, "clips whose header does not state a length; --decode finds it"),
    "unreadable-labels": (PROBLEM, "label files that cannot be read"),
    "empty-file": (PROBLEM, "label files without a row"),
    "bad-row": (PROBLEM, "rows that cannot be read"),
    "bad-time": (PROBLEM, "times that make no sense"),
    "unknown-label": (PROBLEM, "labels that are not in the class list"),
    "duplicate-event": (PROBLEM, "events that are listed twice"),
    "overlap": (PROBLEM, "events that overlap another one of their class"),
    "relabelled": (PROBLEM, "clips with different labels in different rows"),
    "added-labels": (NOTE, "clips with a label in each of several rows; they add up"),
    "duplicate-row": (NOTE, "rows that are listed twice"),
    "touching": (NOTE, "events that begin where another one of their class ends"),
    "zero-length": (NOTE, "events that last no time"),
    "without-labels": (NOTE, "clips in which nothing is heard"),
    "rare-class": (NOTE, "classes with fewer than 10 clips"),
    "missing": (PROBLEM, "labelled clips without audio"),
    "misnamed": (PROBLEM, "labelled clips whose audio differs in suffix, case or leading Y"),
    "ambiguous": (PROBLEM, "names that could mean several clips"),
    "same-clip": (PROBLEM, "names that mean a clip that another name means, too"),
    "past-end": (PROBLEM, "events that end after their audio"),
    "by-basename": (NOTE, "names that match by their basename, or but for \\ and Unicode form"),
    "unlabelled": (NOTE, "audio files that no label file names"),
    "shared-clip": (PROBLEM, "clips in both files: not one to train and one to validate on"),
    "contradiction": (PROBLEM, "clips with events of classes that their weak labels lack"),
    "parallel-labels": (NOTE, "clips in both files: not one to train and one to validate on"),
    "unlocated": (NOTE, "clips with weak labels of which no event is listed"),
    "label-spelling": (NOTE, "labels that come in several spellings"),
}


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
        more = ["    ..."] if self.count > len(self.first) == SHOWN else []
        head = f"  {self.count} {self.kind} ({self.where}): {KINDS[self.kind][1]}"
        return [head, *(f"    {self._brief(place)}" for place in self.first), *more]

    def _brief(self, place: str) -> str:
        """Return a place without the file that the finding names already."""
        prefix = f"{self.where}:"
        return f"line {place.removeprefix(prefix)}" if place.startswith(prefix) else place


def found(
    kind: str, where: object, places: Iterable[str], count: int | None = None
) -> list[Finding]:
    """Return one finding of all places, which are read to the end, or none if there are none.

    With a `count`, a place may stand for several of them.
    """
    remaining = iter(places)
    first = tuple(islice(remaining, SHOWN))
    if not first:
        return []
    total = len(first) + sum(1 for _ in remaining) if count is None else count
    return [Finding(kind, KINDS[kind][0], total, str(where), first)]


@dataclass(frozen=True)
class FileSummary:
    """What a label file holds."""

    file: str
    kind: str  # "strong", "weak" or "unlabelled"
    rows: int
    clips: int
    events: int | None  # of a strong file


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
            return f"nothing wrong; {notes} note{'s' * (notes != 1)}"
        return (
            f"{len(kinds)} kind{'s' * (len(kinds) != 1)} of problems in {self.problems} "
            f"place{'s' * (self.problems != 1)}: {', '.join(kinds)}"
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
            rows = [row.cells() for row in self.classes if row.file == name]
            lines += ["", f"Classes of {name}{', times in seconds' * (len(rows[0]) > 2)}"]
            lines += _aligned(rows)
        return lines

    def json(self) -> str:
        """Return the report as one line of JSON, in ASCII."""
        return json.dumps({"problems": self.problems, **asdict(self)}, allow_nan=False)


def _aligned(rows: list[list[str]]) -> list[str]:
    """Return rows as lines, under a heading; numbers end at the same column."""
    heading = ["class", "clips", "events", "total", "mean", "median", "min", "max"]
    rows = [heading[: len(rows[0])], *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([f"  {row[0]:<{widths[0]}}", *map(str.rjust, row[1:], widths[1:])])
        for row in rows
    ]
