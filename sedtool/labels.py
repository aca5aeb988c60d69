"""Label files in and out: DCASE TSV <-> events, weak labels, clip names, class lists.

Three kinds of file, told apart by their columns::

    strong      filename  onset  offset  event_label  [confidence]
    weak        filename  event_labels
    unlabelled  filename

A row is read as it stands or refused with its line number. Text stays text: ``NA``, ``007`` and
quotes mean themselves. CRLF, a byte-order mark, columns in any order by header name and files
without a header line are taken. Times are seconds.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from sedtool.atomic import write_text
from sedtool.errors import LabelError

__all__ = [
    "Event",
    "NameIndex",
    "StrongLabels",
    "Vocabulary",
    "format_events",
    "format_weak",
    "read_durations",
    "read_events",
    "read_names",
    "read_thresholds",
    "read_vocabulary",
    "read_weak",
    "write_events",
    "write_weak",
]

STRONG_COLUMNS = ("filename", "onset", "offset", "event_label")
WEAK_COLUMNS = ("filename", "event_labels")


@dataclass(frozen=True, slots=True)
class Event:
    """One sound event: `label` is heard in clip `name` in the interval [onset, offset)."""

    name: str
    onset: float  # seconds
    offset: float  # seconds
    label: str
    confidence: float | None = None


@dataclass(frozen=True)
class StrongLabels:
    """A strong label file: its events, and every clip it names, those without events included."""

    events: list[Event]
    names: tuple[str, ...]  # in order of first appearance

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the labels that occur, sorted."""
        return tuple(sorted({event.label for event in self.events}))

    def mean_durations(self) -> dict[str, float]:
        """Return the mean length in seconds of each class's events, zero-length ones left out."""
        lengths: dict[str, list[float]] = {}
        for event in self.events:
            if event.offset > event.onset:
                lengths.setdefault(event.label, []).append(event.offset - event.onset)
        return {label: math.fsum(found) / len(found) for label, found in lengths.items()}

    def weak(self) -> dict[str, tuple[str, ...]]:
        """Return the labels of each clip, sorted; zero-length events say nothing was heard."""
        heard: dict[str, set[str]] = {name: set() for name in self.names}
        for event in self.events:
            if event.offset > event.onset:
                heard[event.name].add(event.label)
        return {name: tuple(sorted(labels)) for name, labels in heard.items()}

    def renamed(self, names: Mapping[str, str]) -> "StrongLabels":
        """Return the labels under other clip names; clips that `names` lacks are left out."""
        events = [replace(e, name=names[e.name]) for e in self.events if e.name in names]
        return StrongLabels(events, tuple(names[n] for n in self.names if n in names))


class Vocabulary:
    """An ordered list of class names, and the only code that splits a joined label field.

    Two of the seventeen classes of DCASE 2017 contain commas, so a field such as
    ``Train,Air horn, truck horn`` is matched against the list, longest name first.
    """

    def __init__(self, classes: Iterable[str]) -> None:
        self.classes = tuple(classes)
        if not self.classes:
            raise LabelError("the class list is empty")
        for label, count in Counter(self.classes).items():
            if count > 1:
                raise LabelError(f"the class list names {label!r} {count} times")
            if label != label.strip() or not label:
                raise LabelError(f"class name {label!r} is empty or begins or ends with a space")
        self._index = {label: k for k, label in enumerate(self.classes)}
        self._longest_first = sorted(self.classes, key=len, reverse=True)

    def __len__(self) -> int:
        """Return the number of classes, K."""
        return len(self.classes)

    def __contains__(self, label: object) -> bool:
        """Return whether `label` is one of the classes."""
        return label in self._index

    def index(self, label: str) -> int:
        """Return the class number of `label`, or raise a LabelError with a suggestion."""
        if label not in self._index:
            raise LabelError(f"unknown label {label!r}{self._suggestion(label)}")
        return self._index[label]

    def require(self, labels: Iterable[str], where: Path) -> None:
        """Raise a LabelError that names the file `where` unless all labels are classes."""
        for label in labels:
            try:
                self.index(label)
            except LabelError as error:
                raise LabelError(f"{where}: {error}") from None

    def split(self, text: str) -> tuple[str, ...]:
        """Return the labels that are joined by commas in `text`, each once, in order."""
        labels: list[str] = []
        rest = text.strip()
        while rest:
            label = next((c for c in self._longest_first if _starts_with_label(rest, c)), None)
            if label is None:
                unknown = rest.split(",")[0].strip()
                raise LabelError(f"unknown label {unknown!r}{self._suggestion(unknown)}")
            labels.append(label)
            rest = rest[len(label) :].lstrip()
            if rest:
                rest = rest[1:].lstrip()  # the comma
                if not rest:
                    raise LabelError(f"a label is missing after the last comma of {text!r}")
        return tuple(dict.fromkeys(labels))

    def _suggestion(self, label: str) -> str:
        close = get_close_matches(label, self.classes, n=1)
        if close:
            return f"; did you mean {close[0]!r}?"
        first = ", ".join(map(repr, self.classes[:5])) + ", …" * (len(self.classes) > 5)
        return f"; the {len(self.classes)} classes are {first}; --classes gives another list"


def _starts_with_label(text: str, label: str) -> bool:
    rest = text[len(label) :].lstrip()
    return text.startswith(label) and (not rest or rest.startswith(","))


class NameIndex:
    """Matches clip names of one file to those of another: by path, else by unique basename."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._by_basename: dict[str, list[str]] = {}
        for name in sorted(self._names):
            self._by_basename.setdefault(PurePosixPath(name).name, []).append(name)
        self.by_basename = 0  # names that `find` matched by their basename only

    def find(self, name: str) -> str | None:
        """Return the indexed name that `name` means, or None.

        Raises
        ------
        LabelError
            If the path is not there and its basename stands for several clips.
        """
        if name in self._names:
            return name
        candidates = self._by_basename.get(PurePosixPath(name).name, [])
        if len(candidates) > 1:
            first = ", ".join(candidates[:5])
            raise LabelError(f"{name!r} could be any of {len(candidates)} clips: {first}")
        if not candidates:
            return None
        self.by_basename += 1
        return candidates[0]

    def resolve(self, names: Iterable[str], where: Path | str) -> tuple[dict[str, str], list[str]]:
        """Map `names` of the label file `where` to indexed names; also return the missing ones.

        Raises
        ------
        LabelError
            If a name is ambiguous, or two names mean the same clip.
        """
        found: dict[str, str] = {}
        missing: list[str] = []
        owner: dict[str, str] = {}
        for name in names:
            try:
                match = self.find(name)
            except LabelError as error:
                raise LabelError(f"{where}: {error}") from None
            if match is None:
                missing.append(name)
                continue
            if owner.setdefault(match, name) != name:
                raise LabelError(f"{where}: {owner[match]!r} and {name!r} both mean clip {match!r}")
            found[name] = match
        return found, missing


def read_events(path: Path) -> StrongLabels:
    """Read a strong label file.

    A row with empty times and label names a clip without events. Zero-length events are kept.

    Raises
    ------
    LabelError
        With file and line: a time that is no finite number from 0 up, an offset before its onset,
        a label without times, a column too few or too many.
    """
    events: list[Event] = []
    names: dict[str, None] = {}
    for where, row in _rows(path, STRONG_COLUMNS, optional=("confidence",)):
        names[row["filename"]] = None
        cells = [row[column] for column in STRONG_COLUMNS[1:]]
        if not any(cells):
            continue
        if not all(cells):
            raise LabelError(
                f"{where}: onset, offset and event_label must be all given or all empty"
            )
        onset, offset = _seconds(row["onset"], where), _seconds(row["offset"], where)
        if offset < onset:
            raise LabelError(f"{where}: offset {offset:g} is before onset {onset:g}")
        confidence = _number(row["confidence"], where) if row.get("confidence") else None
        events.append(Event(row["filename"], onset, offset, row["event_label"], confidence))
    return StrongLabels(events, tuple(names))


def read_weak(path: Path, vocabulary: Vocabulary | None = None) -> dict[str, tuple[str, ...]]:
    """Read a weak label file: clip name -> labels; several rows of one clip add up.

    Without a vocabulary a field is split at its commas, unless one is followed by a space: then
    ``Air horn, truck horn`` may be one label or two, and only a class list can tell.

    Raises
    ------
    LabelError
        With file and line: an unknown label, or an ambiguous comma.
    """
    labels: dict[str, list[str]] = {}
    for where, row in _rows(path, WEAK_COLUMNS):
        text = row["event_labels"]
        if vocabulary is None and ", " in text:
            raise LabelError(
                f"{where}: {text!r} may be one label or several; give the class list (--classes)"
            )
        try:
            found = vocabulary.split(text) if vocabulary else _split_blindly(text)
        except LabelError as error:
            raise LabelError(f"{where}: {error}") from None
        labels.setdefault(row["filename"], []).extend(found)
    return {name: tuple(dict.fromkeys(found)) for name, found in labels.items()}


def _split_blindly(text: str) -> tuple[str, ...]:
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(parts):
        raise LabelError(f"a label is missing between the commas of {text!r}")
    return tuple(dict.fromkeys(parts))


def read_names(path: Path) -> list[str]:
    """Read the clip names of any label file, each once, in order."""
    return list(dict.fromkeys(row["filename"] for _, row in _rows(path, ("filename",))))


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a class list: one name a line, in the order the model will have."""
    return Vocabulary(line for _, line in _lines(path) if line.strip())


def read_durations(path: Path) -> dict[str, float]:
    """Read ``filename duration`` in seconds; identical duplicate rows are accepted."""
    durations: dict[str, float] = {}
    for where, row in _rows(path, ("filename", "duration")):
        duration = _seconds(row["duration"], where)
        if durations.setdefault(row["filename"], duration) != duration:
            raise LabelError(
                f"{where}: {row['filename']!r} lasts {duration:g} s here and "
                f"{durations[row['filename']]:g} s in an earlier row"
            )
    return durations


def read_thresholds(path: Path) -> dict[str, float]:
    """Read ``event_label threshold``; a class named twice is an error."""
    thresholds: dict[str, float] = {}
    for where, row in _rows(path, ("event_label", "threshold")):
        if row["event_label"] in thresholds:
            raise LabelError(f"{where}: {row['event_label']!r} has a threshold already")
        thresholds[row["event_label"]] = _number(row["threshold"], where)
    return thresholds


def format_events(events: Iterable[Event], confidence: bool = False, header: bool = True) -> str:
    """Return events as DCASE TSV, sorted by file, then onset; three decimals, no zero length."""
    columns = (*STRONG_COLUMNS, "confidence") if confidence else STRONG_COLUMNS
    lines = ["\t".join(columns)] if header else []
    for event in sorted(events, key=lambda e: (e.name, e.onset, e.offset, e.label)):
        onset, offset = f"{event.onset:.3f}", f"{event.offset:.3f}"
        if onset == offset and event.offset > event.onset:  # keep the end: it is the clip's at most
            onset = f"{max(float(offset) - 0.001, 0):.3f}"
        cells = [event.name, onset, offset, event.label]
        if confidence:
            cells.append("" if event.confidence is None else f"{event.confidence:.4f}")
        lines.append("\t".join(cells))
    return "".join(line + "\n" for line in lines)


def format_weak(labels: Mapping[str, Sequence[str]]) -> str:
    """Return weak labels as DCASE TSV, in the given order, labels joined by commas."""
    lines = ["\t".join(WEAK_COLUMNS), *(f"{n}\t{','.join(found)}" for n, found in labels.items())]
    return "".join(line + "\n" for line in lines)


def write_events(path: Path, labels: StrongLabels) -> None:
    """Write a strong label file; a clip without events becomes a row with empty cells."""
    heard = {event.name for event in labels.events}
    silent = "".join(f"{name}\t\t\t\n" for name in sorted(set(labels.names) - heard))
    write_text(path, format_events(labels.events) + silent)


def write_weak(path: Path, labels: Mapping[str, Sequence[str]]) -> None:
    """Write a weak label file."""
    write_text(path, format_weak(labels))


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (``file:line``, text without its line end) of a UTF-8 file."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if any(ord(c) < 32 and c != "\t" for c in line):
            raise LabelError(f"{path}:{number}: a control character stands in the line")
        yield f"{path}:{number}", line


def _rows(
    path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (``file:line``, cell by column); by header where there is one, else by position."""
    header: list[str] | None = None
    for where, line in _lines(path):
        if not line.strip():
            continue
        cells = [cell.strip(" ") for cell in line.split("\t")]
        if header is None:
            header = _header(cells, columns, optional, where)
            if columns[0] in cells:
                continue
        cells += [""] * (len(columns) - len(cells))  # trailing tabs of empty cells get lost
        if len(cells) > len(header):
            raise LabelError(f"{where}: {len(cells)} columns where {len(header)} are expected")
        row = dict(zip(header, cells, strict=False))
        if not row[columns[0]]:
            raise LabelError(f"{where}: the {columns[0]} is empty")
        yield where, row


def _header(
    cells: list[str], columns: tuple[str, ...], optional: tuple[str, ...], where: str
) -> list[str]:
    """Return the column names that a file's first row gives, or those of a file without header."""
    if columns[0] in cells:
        missing = [column for column in columns if column not in cells]
        if missing:
            raise LabelError(f"{where}: no column {missing[0]!r}; the columns are {cells}")
        if len(set(cells)) < len(cells):
            raise LabelError(f"{where}: a column name stands twice in {cells}")
        return cells
    if columns != ("filename",) and not len(columns) <= len(cells) <= len(columns + optional):
        raise LabelError(
            f"{where}: {len(cells)} columns and no header line; expected {', '.join(columns)}"
        )
    return [*columns, *optional] if columns != ("filename",) else ["filename", *cells[1:]]


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:  # Python reads 1_0 as 10
        raise LabelError(f"{where}: {text!r} is not a number")
    return value


def _seconds(text: str, where: str) -> float:
    value = _number(text, where)
    if value < 0:
        raise LabelError(f"{where}: time {text} is negative")
    return value
