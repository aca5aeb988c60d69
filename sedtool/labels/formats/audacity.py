r"""Audacity label tracks.

They have no header; onset, offset and label are separated by tabs, and equal times are a point
label::

    0.500000    1.250000    Dog
    \   800.000000  4000.000000

A line that begins with a backslash gives the frequency range of the label before it; it is checked
and passed over. A fourth cell is the confidence, as BirdNET-Analyzer writes it; Audacity itself
does not read it. A label without text is refused, and so is one at a negative time.
"""

from pathlib import Path

from sedtool.errors import LabelError
from sedtool.labels.cells import check_cell, format_times, parse_interval, parse_number, table_rows
from sedtool.labels.events import Event, StrongLabels
from sedtool.labels.formats.form import EventFormat, table_row


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
    return table_row(cells, event, confidence and event.confidence is not None)


AUDACITY = EventFormat("audacity", ".txt", _read_audacity, _audacity_row, one_clip=True)
