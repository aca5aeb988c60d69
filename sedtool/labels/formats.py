r"""The formats of event lists, by name; how a format is told, and where a folder keeps a clip.

::

    name        suffix            clips         times
    dcase       .tsv              many          three decimals, never rounded to zero length
    audacity    .txt              one a file    six decimals, never rounded to zero length
    raven       .selections.txt   many          every digit (see `sedtool.labels.raven`)
    jsonl       .jsonl            many          every digit

A DCASE table is that of `sedtool.labels.tables`.

An Audacity label track has no header; onset, offset and label are separated by tabs, and equal
times are a point label::

    0.500000    1.250000    Dog
    \   800.000000  4000.000000

A line that begins with a backslash gives the frequency range of the label before it; it is checked
and passed over. A fourth cell is the confidence, as BirdNET-Analyzer writes it; Audacity itself
does not read it. A label without text is refused, and so is one at a negative time.

JSON lines have one object an event, and a line of nulls for a clip without events::

    {"filename": "a.wav", "onset": 0.5, "offset": 1.25, "event_label": "Dog", "confidence": 0.9}
    {"filename": "silent.wav", "onset": null, "offset": null, "event_label": null}

Keys that are not named here are passed over; a key that stands twice, one that is missing, a value
of another type, ``NaN`` and ``Infinity`` are refused. Any text can be a name or a label: what would
not print is escaped.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sedtool.atomic import write_text
from sedtool.config import lookup
from sedtool.errors import LabelError
from sedtool.labels.events import Event, StrongLabels
from sedtool.labels.raven import BEGIN_TIME, format_raven, raven_header, read_raven
from sedtool.labels.tables import (
    COLUMNS,
    check_cell,
    format_times,
    numbered_lines,
    parse_interval,
    parse_number,
    read_events,
    table_rows,
)
from sedtool.text import strict_json

_LONGEST_NAME = 230  # bytes; file systems take 255, and a temporary name is longer
_NUMBERED_TABLE = re.compile(r"\.Table\.\d+$")  # as Raven names what it saves


def format_header(confidence: bool = False) -> str:
    """Return the header line of a strong label file."""
    return "\t".join((*COLUMNS["strong"], "confidence") if confidence else COLUMNS["strong"]) + "\n"


def format_events(events: Iterable[Event], confidence: bool = False, header: bool = True) -> str:
    """Return events as DCASE TSV, sorted by file, then onset; three decimals, no zero length.

    Raises
    ------
    LabelError
        If a name or a label cannot stand in a table.
    """
    lines = [format_header(confidence)] if header else []
    for event in sorted(events, key=lambda e: (e.name, e.onset, e.offset, e.label)):
        times = format_times(event.onset, event.offset, 3)
        cells = [check_cell(event.name), *times, check_cell(event.label)]
        if confidence:
            cells.append("" if event.confidence is None else f"{event.confidence:.4f}")
        lines.append("\t".join(cells) + "\n")
    return "".join(lines)


def format_silent(name: str) -> str:
    """Return the row of a clip without events in a strong label file: its other cells are empty."""
    return f"{check_cell(name)}\t\t\t\n"


def format_weak(labels: Mapping[str, Sequence[str]]) -> str:
    """Return weak labels as DCASE TSV, in the given order, labels joined by commas."""
    rows = [
        f"{check_cell(name)}\t{','.join(map(check_cell, of_clip))}\n"
        for name, of_clip in labels.items()
    ]
    return "\t".join(COLUMNS["weak"]) + "\n" + "".join(rows)


def write_events(path: Path, labels: StrongLabels) -> None:
    """Write a strong label file; a clip without events becomes a row with empty cells."""
    with_events = {event.name for event in labels.events}
    silent = map(format_silent, sorted(set(labels.names) - with_events))
    write_text(path, format_events(labels.events) + "".join(silent))


def write_weak(path: Path, labels: Mapping[str, Sequence[str]]) -> None:
    """Write a weak label file."""
    write_text(path, format_weak(labels))


def read_audacity(path: Path, name: str) -> StrongLabels:
    """Read the label track of the clip `name`; an empty file says it has no events.

    Raises
    ------
    LabelError
        With file and line.
    """
    events: list[Event] = []
    for where, cells in table_rows(path):
        if cells[0] == "\\":
            _check_range(cells, bool(events), where)
            continue
        if not 3 <= len(cells) <= 4:
            raise LabelError(
                f"{where}: {len(cells)} columns; a label track has onset, offset and label"
            )
        onset, offset = parse_interval(cells[0], cells[1], where)
        if not cells[2]:
            raise LabelError(f"{where}: the label is empty")
        confidence = parse_number(cells[3], where) if cells[3:] and cells[3] else None
        events.append(Event(name, onset, offset, cells[2], confidence))
    return StrongLabels(events, (name,))


def _check_range(cells: list[str], has_label: bool, where: str) -> None:
    if not has_label or len(cells) != 3:
        raise LabelError(f"{where}: a frequency range is two numbers in the line after its label")
    for cell in cells[1:]:
        parse_number(cell, where)


def format_audacity(events: Iterable[Event], confidence: bool = False) -> str:
    """Return the lines of one clip, sorted by onset; six decimals, no zero length."""
    lines = []
    for event in sorted(events, key=lambda e: (e.onset, e.offset, e.label)):
        cells = [*format_times(event.onset, event.offset, 6), check_cell(event.label)]
        if confidence and event.confidence is not None:
            cells.append(f"{event.confidence:.4f}")
        lines.append("\t".join(cells) + "\n")
    return "".join(lines)


def read_jsonl(path: Path) -> StrongLabels:
    """Read a file of JSON lines.

    Raises
    ------
    LabelError
        With file and line.
    """
    events: list[Event] = []
    names: dict[str, None] = {}
    for where, line in numbered_lines(path):
        if not line.strip():
            continue
        entry = parse_json(line, where)
        if not isinstance(entry, dict):
            raise LabelError(f"{where}: not a JSON object")
        missing = [key for key in COLUMNS["strong"] if key not in entry]
        if missing:
            raise LabelError(f"{where}: no key {missing[0]!r}; the keys are {list(entry)}")
        name = _text(entry, "filename", where)
        names[name] = None
        values = [entry[key] for key in COLUMNS["strong"][1:]]
        if all(value is None for value in values):
            continue
        if any(value is None for value in values):
            raise LabelError(
                f"{where}: onset, offset and event_label must be all given or all null"
            )
        onset, offset = (_digits(entry, key, where) for key in ("onset", "offset"))
        times = parse_interval(onset, offset, where)
        confidence = None
        if entry.get("confidence") is not None:
            confidence = parse_number(_digits(entry, "confidence", where), where)
        events.append(Event(name, *times, _text(entry, "event_label", where), confidence))
    return StrongLabels(events, tuple(names))


def parse_json(line: str, where: str) -> Any:
    """Return what one line of JSON lines holds; a key that stands twice is an error."""
    try:
        return strict_json(line)
    except ValueError as error:  # a JSONDecodeError, or an integer of thousands of digits
        raise LabelError(f"{where}: not JSON ({error})") from None


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value:
        raise LabelError(f"{where}: {key} {value!r} is not text, or empty")
    return value


def _digits(entry: dict[str, Any], key: str, where: str) -> str:
    """Return a JSON number as text; true and false are no numbers."""
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LabelError(f"{where}: {key} {value!r} is not a number")
    return repr(value)


def format_jsonl(events: Iterable[Event], confidence: bool = False) -> str:
    """Return the lines of events, sorted by file, then onset."""
    lines = []
    for event in sorted(events, key=lambda e: (e.name, e.onset, e.offset, e.label)):
        values = (event.name, float(event.onset), float(event.offset), event.label)
        entry: dict[str, Any] = dict(zip(COLUMNS["strong"], values, strict=True))
        if confidence and event.confidence is not None:
            entry["confidence"] = float(event.confidence)
        lines.append(_line(entry))
    return "".join(lines)


def format_silent_jsonl(name: str) -> str:
    """Return the line of a clip without events."""
    return _line({"filename": name, "onset": None, "offset": None, "event_label": None})


def _line(entry: dict[str, Any]) -> str:
    text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n"


@dataclass(frozen=True)
class EventFormat:
    """How one kind of event list is read and written.

    A list is its header once, then the rows of one clip after the other.
    """

    name: str
    suffix: str  # of its files
    one_clip: bool  # a file holds one clip, which the file is named after
    read: Callable[[Path, str], StrongLabels]  # (path, name of a clip that it does not name)
    rows: Callable[[Iterable[Event], int, bool], str]  # (events, number of the first, confidence)
    header: Callable[[bool], str] = lambda confidence: ""  # (with confidence)
    silent: Callable[[str], str] = lambda name: ""  # what says that the clip has no events

    @property
    def last_suffix(self) -> str:
        """Return what the names of its files end with, whoever wrote them."""
        return "." + self.suffix.rpartition(".")[2]

    def file_of(self, name: str) -> Path:
        """Return where a folder keeps the clip `name`: its name with the suffix added.

        Raises
        ------
        LabelError
            If that would be outside the folder, hidden, or no name that can be read back.
        """
        parts = check_cell(name).split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise LabelError(f"{name!r} leads out of the folder, or is no plain path")
        if any(part.startswith(".") for part in parts):
            raise LabelError(f"{name!r} would be a hidden file, which is not read back")
        if any(len(os.fsencode(part + self.suffix)) > _LONGEST_NAME for part in parts):
            raise LabelError(f"{name!r} is too long for the name of a file")
        return Path(name + self.suffix)

    def clip_of(self, file: str) -> str:
        """Return the clip that a label file is named after: its name without the suffix."""
        name = file.removesuffix(self.last_suffix)
        if self.name == "raven":
            name = _NUMBERED_TABLE.sub("", name.removesuffix(".selections"))
        return name


EVENT_FORMATS = {
    form.name: form
    for form in (
        EventFormat(
            "dcase",
            suffix=".tsv",
            one_clip=False,
            read=lambda path, name: read_events(path),
            header=format_header,
            rows=lambda events, first, confidence: format_events(events, confidence, header=False),
            silent=format_silent,
        ),
        EventFormat(
            "audacity",
            suffix=".txt",
            one_clip=True,
            read=read_audacity,
            rows=lambda events, first, confidence: format_audacity(events, confidence),
        ),
        EventFormat(
            "raven",
            suffix=".selections.txt",
            one_clip=False,
            read=read_raven,
            header=raven_header,
            rows=format_raven,
        ),
        EventFormat(
            "jsonl",
            suffix=".jsonl",
            one_clip=False,
            read=lambda path, name: read_jsonl(path),
            rows=lambda events, first, confidence: format_jsonl(events, confidence),
            silent=format_silent_jsonl,
        ),
    )
}


def event_format(name: str) -> EventFormat:
    """Return a format by its name, or raise a ConfigError that lists them."""
    return lookup(EVENT_FORMATS, name, "format")


def detect_format(path: Path) -> EventFormat:
    """Tell the format of a file from its first line, or if it is empty from its suffix.

    ``{`` begins JSON lines, a column ``Begin Time (s)`` a Raven table, a column ``filename`` one of
    DCASE. Without a header, numbers in columns two and three mean DCASE, in one and two Audacity.

    Raises
    ------
    LabelError
        If it could be none or several of them, or ends in ``.jsonl`` or ``.selections.txt`` and is
        something else.
    """
    if path.exists() and not path.is_file():  # a pipe can be read once only
        raise LabelError(f"{path} is no regular file: say with --from what it holds")
    longest_first = sorted(EVENT_FORMATS.values(), key=lambda f: len(f.suffix), reverse=True)
    by_suffix = [f.name for f in longest_first if path.name.lower().endswith(f.suffix)][:1]
    cells = next((cells for _, cells in table_rows(path)), None)
    possible = by_suffix if cells is None else _formats_that_begin(cells)
    if by_suffix and by_suffix[0] in ("jsonl", "raven"):
        possible = [name for name in possible if name == by_suffix[0]]
    if len(possible) != 1:
        raise LabelError(
            f"{path}: cannot tell what kind of event list this is; "
            f"say it with --from {'|'.join(possible or EVENT_FORMATS)}"
        )
    return EVENT_FORMATS[possible[0]]


def _formats_that_begin(cells: list[str]) -> list[str]:
    """Return the formats that a file with this first line may have."""
    if cells[0].startswith("{"):
        return ["jsonl"]
    if BEGIN_TIME in cells:
        return ["raven"]
    if "filename" in cells:
        return ["dcase"]
    numbers = "".join("n" if _is_number(cell) else "x" for cell in cells)
    kinds = {"dcase": ".nn.n?", "audacity": "nn.n?"}  # where numbers must stand
    return [name for name, pattern in kinds.items() if re.fullmatch(pattern, numbers)]


def _is_number(text: str) -> bool:
    try:
        parse_number(text, "")
    except LabelError:
        return False
    return True
