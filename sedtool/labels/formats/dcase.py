"""DCASE tables, as they are written: events, and the labels of clips.

`sedtool.labels.tables` reads them. Events have three decimals and are never rounded to zero length.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sedtool.atomic import write_text
from sedtool.labels.cells import check_cell, format_times, quoted_cell
from sedtool.labels.dialect import COLUMNS
from sedtool.labels.events import Event, StrongLabels
from sedtool.labels.formats.form import EventFormat, table_row
from sedtool.labels.tables import read_events


def _dcase_header(confidence: bool) -> str:
    columns = COLUMNS["strong"]
    return "\t".join((*columns, "confidence") if confidence else columns) + "\n"


def _dcase_row(event: Event, number: int, confidence: bool) -> str:
    times = format_times(event.onset, event.offset, 3)
    return table_row([quoted_cell(event.name), *times, quoted_cell(event.label)], event, confidence)


def format_events(events: Iterable[Event]) -> str:
    """Return events as DCASE TSV, sorted by file, then onset; three decimals, no zero length.

    Raises
    ------
    LabelError
        If a name or a label cannot stand in a table.
    """
    return _dcase_header(False) + DCASE.rows(events)


def format_weak(labels: Mapping[str, Sequence[str]]) -> str:
    """Return weak labels as DCASE TSV, in the given order, labels joined by commas."""
    joined = {name: ",".join(map(check_cell, of_clip)) for name, of_clip in labels.items()}
    rows = [
        f"{quoted_cell(name)}\t{quoted_cell(text) if text else ''}\n"
        for name, text in joined.items()
    ]
    return "\t".join(COLUMNS["weak"]) + "\n" + "".join(rows)


def write_events(path: Path, labels: StrongLabels) -> None:
    """Write a strong label file; a clip without events becomes a row with empty cells."""
    with_events = {event.name for event in labels.events}
    silent = map(DCASE.silent, sorted(set(labels.names) - with_events))
    write_text(path, format_events(labels.events) + "".join(silent))


def write_weak(path: Path, labels: Mapping[str, Sequence[str]]) -> None:
    """Write a weak label file."""
    write_text(path, format_weak(labels))


DCASE = EventFormat(
    "dcase",
    ".tsv",
    read=lambda path, name: read_events(path),
    row=_dcase_row,
    header=_dcase_header,
    silent=lambda name: f"{quoted_cell(name)}\t\t\t\n",  # the other cells are empty
)
