r"""Audacity label tracks: one recording a file, a line an event, no header.

::

    0.500000    1.250000    Dog
    \   800.000000  4000.000000

Onset, offset and label, separated by tabs; times have six decimals, equal ones are a point label.
A line that begins with a backslash gives the frequency range of the label before it; it is checked
and passed over. A fourth cell is the confidence, as BirdNET-Analyzer writes it; Audacity itself
does not read it. A label without text is refused, and so is one at a negative time.
"""

from collections.abc import Iterable
from pathlib import Path

from sedtool.errors import LabelError
from sedtool.labels.cells import (
    check_cell,
    format_times,
    parse_interval,
    parse_number,
    table_rows,
)
from sedtool.labels.events import Event, StrongLabels

__all__ = ["format_audacity", "read_audacity"]


def read_audacity(path: Path, name: str) -> StrongLabels:
    """Read the label track of the recording `name`; an empty file says it has no events.

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
    """Return the lines of one recording, sorted by onset; six decimals, no zero length."""
    lines = []
    for event in sorted(events, key=lambda e: (e.onset, e.offset, e.label)):
        cells = [*format_times(event.onset, event.offset, 6), check_cell(event.label)]
        if confidence and event.confidence is not None:
            cells.append(f"{event.confidence:.4f}")
        lines.append("\t".join(cells) + "\n")
    return "".join(lines)
