r"""Raven selection tables.

They are separated by tabs, with a header line and a selection a row. Read are
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
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from sedtool.errors import LabelError
from sedtool.labels.cells import (
    check_cell,
    named_cells,
    parse_interval,
    parse_number,
    parse_seconds,
)
from sedtool.labels.events import Event, StrongLabels
from sedtool.labels.formats.form import EventFormat, separated_rows, table_row
from sedtool.text import first_quoted, quoted

BEGIN_TIME, END_TIME, FILE_OFFSET = "Begin Time (s)", "End Time (s)", "File Offset (s)"
RAVEN_COLUMNS = (
    *("Selection", "View", "Channel", BEGIN_TIME, END_TIME, "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin Path", FILE_OFFSET, "Annotation"),
)
LABEL_COLUMNS = ("Annotation", "Common Name", "Species", "Label")
HIGH_FREQUENCY = 8000  # Hz: is on screen in any recording of 16 kHz or more
NO_CALL = "nocall"
_WINDOWS_PATH = re.compile(r"[A-Za-z]:\\|\\\\")


def _read_raven(path: Path, name: str) -> StrongLabels:
    events: list[Event] = []
    names: dict[str, None] = {}
    views: dict[tuple[str, str], dict[tuple[str, str], Event]] = {}
    for where, row, label in _selections(path):
        recording = posix_path(row.get("Begin Path") or row.get("Begin File", ""))
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


def posix_path(path: str) -> str:
    """Return a path with ``/`` for the backslashes of Windows."""
    return path.replace("\\", "/") if _WINDOWS_PATH.match(path) else path


def _selections(path: Path) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield (``file:line``, cell by column, label) of each row."""
    rows = separated_rows(path)
    where, header = next(rows, (f"{path}", []))
    missing = [column for column in (BEGIN_TIME, END_TIME) if column not in header]
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
    begin, end = parse_interval(row[BEGIN_TIME], row[END_TIME], where)
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
    return table_row(cells, event, confidence)


RAVEN = EventFormat("raven", ".selections.txt", _read_raven, _raven_row, _raven_header)
