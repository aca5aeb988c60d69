r"""The formats of event lists, by name; how a format is told, and where a folder keeps a clip.

::

    name        suffix            clips         times
    dcase       .tsv              many          three decimals, never rounded to zero length
    audacity    .txt              one a file    six decimals, never rounded to zero length
    raven       .selections.txt   many          every digit
    jsonl       .jsonl            many          every digit

A **DCASE table** is that of `sedtool.labels.tables`.

An **Audacity label track** has no header; onset, offset and label are separated by tabs, and equal
times are a point label::

    0.500000    1.250000    Dog
    \   800.000000  4000.000000

A line that begins with a backslash gives the frequency range of the label before it; it is checked
and passed over. A fourth cell is the confidence, as BirdNET-Analyzer writes it; Audacity itself
does not read it. A label without text is refused, and so is one at a negative time.

A **Raven selection table** is separated by tabs, with a header line and a selection a row. Read are
``Begin Time (s)``, ``End Time (s)``, the label (the first that is there of `LABEL_COLUMNS`) and,
where they are there, ``Selection``, ``View``, ``Channel``, ``Begin Path`` (else ``Begin File``),
``File Offset (s)`` and ``Confidence``; other columns are passed over.

- The rows of one selection in several views or channels are one event, and must agree.
- The recording is ``Begin Path`` as it stands, with ``/`` for the ``\`` of a Windows path; in a
  table without such a column it is the one that the file is named after.
- Raven counts ``Begin Time (s)`` from the start of the first recording that is open, and
  ``File Offset (s)`` from the start of the selection's own: the onset is the latter, where it is
  given. A table of several recordings without it is refused.
- BirdNET-Analyzer says "no events" by a row whose ``Common Name`` and ``Species Code`` are both
  ``nocall``. A table without rows says it of the recording that its file is named after.

Written are the columns of `RAVEN_COLUMNS`. Times count from the start of each recording: open a
table of several as a *sound selection table*, so that Raven goes by ``Begin Path`` and ``File
Offset (s)``. An event has no band of frequencies but Raven must have one, so every row says 0 to
`HIGH_FREQUENCY` Hz, which means nothing. A table has no place for a recording without events.

**JSON lines** have one object an event, and a line of nulls for a clip without events::

    {"filename": "a.wav", "onset": 0.5, "offset": 1.25, "event_label": "Dog", "confidence": 0.9}
    {"filename": "silent.wav", "onset": null, "offset": null, "event_label": null}

Keys that are not named here are passed over; a key that stands twice, one that is missing, a value
of another type, ``NaN`` and ``Infinity`` are refused. Any text can be a name or a label: what would
not print is escaped.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from sedtool.atomic import write_text
from sedtool.config import lookup
from sedtool.errors import LabelError
from sedtool.labels.cells import (
    check_cell,
    format_times,
    named_cells,
    numbered_lines,
    parse_interval,
    parse_number,
    parse_seconds,
    table_rows,
)
from sedtool.labels.events import Event, StrongLabels
from sedtool.labels.tables import COLUMNS, RAVEN_TIME, read_events
from sedtool.text import first_quoted, quoted, strict_json

END_TIME, FILE_OFFSET = "End Time (s)", "File Offset (s)"
RAVEN_COLUMNS = (
    *("Selection", "View", "Channel", RAVEN_TIME, END_TIME, "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin Path", FILE_OFFSET, "Annotation"),
)
LABEL_COLUMNS = ("Annotation", "Common Name", "Species", "Label")
HIGH_FREQUENCY = 8000  # Hz: is on screen in any recording of 16 kHz or more
NO_CALL = "nocall"
_WINDOWS_PATH = re.compile(r"[A-Za-z]:\\|\\\\")
_NUMBERED_TABLE = re.compile(r"\.Table\.\d+$")  # as Raven names what it saves
_LONGEST_NAME = 230  # bytes; file systems take 255, and a temporary name is longer


@dataclass(frozen=True)
class EventFormat:
    """How one kind of event list is read and written.

    A list is its header once, then the rows of one clip after the other.
    """

    name: str
    suffix: str  # of its files
    read: Callable[[Path, str], StrongLabels]  # (path, name of a clip that it does not name)
    row: Callable[[Event, int, bool], str]  # (event, its number, with confidence)
    header: Callable[[bool], str] = lambda confidence: ""  # (with confidence)
    silent: Callable[[str], str] = lambda name: ""  # what says that the clip has no events
    one_clip: bool = False  # a file holds one clip, which the file is named after

    def rows(self, events: Iterable[Event], first: int = 1, confidence: bool = False) -> str:
        """Return events sorted by file, then onset, and numbered from `first`.

        A name or a label that the format cannot hold is a LabelError.
        """
        ordered = sorted(events, key=lambda e: (e.name, e.onset, e.offset, e.label))
        return "".join(self.row(event, n, confidence) for n, event in enumerate(ordered, first))

    @property
    def last_suffix(self) -> str:
        """Return what the names of its files end with, whoever wrote them."""
        return "." + self.suffix.rpartition(".")[2]

    def file_of(self, name: str) -> Path:
        """Return where a folder keeps the clip `name`: its name with the suffix added.

        It is a LabelError if that would be outside the folder, hidden, or could not be read back.
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


def _table_row(cells: Sequence[str], event: Event, confidence: bool) -> str:
    """Return a row of a table, and in it the confidence of its event if that is asked for."""
    if confidence:
        cells = [*cells, "" if event.confidence is None else f"{event.confidence:.4f}"]
    return "\t".join(cells) + "\n"


# DCASE tables


def _dcase_header(confidence: bool) -> str:
    columns = COLUMNS["strong"]
    return "\t".join((*columns, "confidence") if confidence else columns) + "\n"


def _dcase_row(event: Event, number: int, confidence: bool) -> str:
    times = format_times(event.onset, event.offset, 3)
    return _table_row([check_cell(event.name), *times, check_cell(event.label)], event, confidence)


def format_events(events: Iterable[Event]) -> str:
    """Return events as DCASE TSV, sorted by file, then onset; three decimals, no zero length.

    Raises
    ------
    LabelError
        If a name or a label cannot stand in a table.
    """
    return _dcase_header(False) + EVENT_FORMATS["dcase"].rows(events)


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
    silent = map(EVENT_FORMATS["dcase"].silent, sorted(set(labels.names) - with_events))
    write_text(path, format_events(labels.events) + "".join(silent))


def write_weak(path: Path, labels: Mapping[str, Sequence[str]]) -> None:
    """Write a weak label file."""
    write_text(path, format_weak(labels))


# Audacity label tracks


def _read_audacity(path: Path, name: str) -> StrongLabels:
    events: list[Event] = []
    for where, cells in table_rows(path):
        if cells[0] == "\\":
            if not events or len(cells) != 3:
                raise LabelError(
                    f"{where}: a frequency range is two numbers in the line after its label"
                )
            for cell in cells[1:]:
                parse_number(cell, where)
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


def _audacity_row(event: Event, number: int, confidence: bool) -> str:
    cells = [*format_times(event.onset, event.offset, 6), check_cell(event.label)]
    return _table_row(cells, event, confidence and event.confidence is not None)


# Raven selection tables


def _read_raven(path: Path, name: str) -> StrongLabels:
    events: list[Event] = []
    names: dict[str, None] = {}
    views: dict[tuple[str, str], dict[tuple[str, str], Event]] = {}
    for where, row, label in _selections(path):
        recording = row.get("Begin Path") or row.get("Begin File", "")
        if _WINDOWS_PATH.match(recording):
            recording = recording.replace("\\", "/")
        names[recording or name] = None
        if len(names) > 1 and not row.get(FILE_OFFSET):
            raise LabelError(
                f"{where}: another recording, and no {FILE_OFFSET!r}: its times count from the "
                "start of the first"
            )
        if row.get("Common Name") == row.get("Species Code") == NO_CALL:
            continue
        event = _raven_event(row, recording or name, label, where)
        selection = row.get("Selection")  # a row without one stands for itself
        drawn = views.setdefault((event.name, selection), {}) if selection else {}
        if not drawn:
            events.append(event)
        _add_view(drawn, row, event, where)
    return StrongLabels(events, tuple(names) or (name,))


def _selections(path: Path) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield (``file:line``, cell by column, label) of each row."""
    rows = table_rows(path)
    where, header = next(rows, (f"{path}", []))
    missing = [column for column in (RAVEN_TIME, END_TIME) if column not in header]
    if missing:
        raise LabelError(
            f"{where}: no column {quoted(missing[0])}; the columns are {first_quoted(header)}"
        )
    named = [column for column in header if column]
    if len(set(named)) < len(named):
        raise LabelError(f"{where}: a column name stands twice in {first_quoted(header)}")
    labels = [column for column in LABEL_COLUMNS if column in header]
    if not labels:
        raise LabelError(
            f"{where}: no column of labels in {first_quoted(header)}; "
            f"name it one of {', '.join(LABEL_COLUMNS)}"
        )
    for where, cells in rows:
        row = named_cells(header, cells, where)
        if not row[labels[0]]:
            raise LabelError(f"{where}: the {labels[0]} is empty")
        yield where, row, row[labels[0]]


def _raven_event(row: dict[str, str], recording: str, label: str, where: str) -> Event:
    begin, end = parse_interval(row[RAVEN_TIME], row[END_TIME], where)
    onset = parse_seconds(row[FILE_OFFSET], where) if row.get(FILE_OFFSET) else begin
    offset = max(end + (onset - begin), onset)  # exactly `end` if the times agree
    confidence = parse_number(row["Confidence"], where) if row.get("Confidence") else None
    return Event(recording, onset, offset, label, confidence)


def _add_view(
    drawn: dict[tuple[str, str], Event], row: dict[str, str], event: Event, where: str
) -> None:
    """Add the row to the views of its selection, which must agree."""
    view = (row.get("View", ""), row.get("Channel", ""))
    if view in drawn:
        raise LabelError(f"{where}: selection {row['Selection']} stands twice")
    if drawn and event not in drawn.values():
        raise LabelError(f"{where}: selection {row['Selection']} differs between its views")
    drawn[view] = event


def _raven_header(confidence: bool) -> str:
    return "\t".join((*RAVEN_COLUMNS, "Confidence") if confidence else RAVEN_COLUMNS) + "\n"


def _raven_row(event: Event, number: int, confidence: bool) -> str:
    if _WINDOWS_PATH.match(event.name):
        raise LabelError(f"{event.name!r} would be taken for a Windows path; rename it")
    # The shortest decimals that read back as the same numbers, without an exponent.
    onset, offset = (f"{Decimal(repr(float(time))):f}" for time in (event.onset, event.offset))
    cells = [f"{number}", "Spectrogram 1", "1", onset, offset, "0", f"{HIGH_FREQUENCY}"]
    cells += [check_cell(event.name), onset, check_cell(event.label)]
    return _table_row(cells, event, confidence)


# JSON lines


def _read_jsonl(path: Path, name: str) -> StrongLabels:
    events: list[Event] = []
    names: dict[str, None] = {}
    for where, line in numbered_lines(path):
        entry = parse_json(line, where)
        if not isinstance(entry, dict):
            raise LabelError(f"{where}: not a JSON object")
        missing = [key for key in COLUMNS["strong"] if key not in entry]
        if missing:
            raise LabelError(
                f"{where}: no key {quoted(missing[0])}; the keys are {first_quoted(entry)}"
            )
        clip = _text(entry, "filename", where)
        names[clip] = None
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
        events.append(Event(clip, *times, _text(entry, "event_label", where), confidence))
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
        raise LabelError(f"{where}: {key} {quoted(value)} is not text, or empty")
    return value


def _digits(entry: dict[str, Any], key: str, where: str) -> str:
    """Return a JSON number as text; true and false are no numbers."""
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LabelError(f"{where}: {key} {quoted(value)} is not a number")
    return repr(value)


def _jsonl_row(event: Event, number: int, confidence: bool) -> str:
    values = (event.name, float(event.onset), float(event.offset), event.label)
    if confidence and event.confidence is not None:
        return _json_line(*values, confidence=float(event.confidence))
    return _json_line(*values)


def _json_line(*values: str | float | None, **more: float) -> str:
    entry = dict(zip(COLUMNS["strong"], values, strict=True)) | more
    text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n"


EVENT_FORMATS = {
    form.name: form
    for form in (
        EventFormat(
            "dcase",
            ".tsv",
            read=lambda path, name: read_events(path),
            row=_dcase_row,
            header=_dcase_header,
            silent=lambda name: f"{check_cell(name)}\t\t\t\n",  # the other cells are empty
        ),
        EventFormat("audacity", ".txt", _read_audacity, _audacity_row, one_clip=True),
        EventFormat("raven", ".selections.txt", _read_raven, _raven_row, _raven_header),
        EventFormat(
            "jsonl",
            ".jsonl",
            read=_read_jsonl,
            row=_jsonl_row,
            silent=lambda name: _json_line(name, None, None, None),
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
    if RAVEN_TIME in cells:
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
