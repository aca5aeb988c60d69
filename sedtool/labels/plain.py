"""Strong label files without anything unusual in them, read by columns: many times faster.

Nothing is decided here. A file that is not plain, or has the least thing wrong with it, is left to
the reader that goes row by row and knows what to say about it.
"""

import math
from collections.abc import Sequence
from operator import itemgetter, lt

from sedtool.labels.events import EventColumns, StrongLabels

__all__ = ["plain_events"]

_AT_CELL_ENDS = (" \t", "\t ", " \n", "\n ")  # spaces that reading takes away
_PLAIN = bytes(range(32, 127)) + b"\t\n"


def plain_events(text: str, columns: tuple[str, ...], confidence: str) -> StrongLabels | None:
    """Return the events of a strong label file, or None if it must be read row by row.

    Parameters
    ----------
    text
        The file, without byte-order mark.
    columns
        Names of the columns of clip name, onset, offset and label.
    confidence
        Name of a column that may be there or not.
    """
    cells = _columns(text)
    header = [column[0] for column in cells]
    if columns[0] in header:
        if len(set(header)) < len(header) or not set(columns) <= set(header):
            return None
        cells = [column[1:] for column in cells]
    elif len(columns) <= len(header) <= len(columns) + 1:
        header = [*columns, confidence][: len(header)]
    else:
        return None
    names, *rest = (cells[header.index(column)] for column in columns)
    if "" in names:
        return None
    given = cells[header.index(confidence)] if confidence in header else None
    events = _events((names, *rest), given)
    return events and StrongLabels.from_columns(events, tuple(dict.fromkeys(names)))


def _columns(text: str) -> list[list[str]]:
    """Return the cells of each column; none if lines differ in length, or a cell needs a look."""
    text = text.replace("\r\n", "\n").rstrip("\n")
    if not _is_printable(text):
        return []
    if " " in text:
        framed = f"\n{text}\n"
        if any(space in framed for space in _AT_CELL_ENDS):
            return []
    # Line ends become cells, which must stand in a column of their own: no line is looked at alone.
    cells = text.replace("\n", "\t\n\t").split("\t")
    width = text.partition("\n")[0].count("\t") + 1
    if len(cells) % (width + 1) != width:
        return []
    ends = cells[width :: width + 1]
    if ends.count("\n") != len(ends) or text.count("\n") != len(ends):
        return []
    return [cells[k :: width + 1] for k in range(width)]


def _is_printable(text: str) -> bool:
    """Return whether a text has nothing but tabs, line feeds and characters that print."""
    if text.isascii():
        return not text.encode().translate(None, _PLAIN)
    return text.replace("\n", "").replace("\t", "").isprintable()


def _events(cells: tuple[Sequence[str], ...], given: Sequence[str] | None) -> EventColumns | None:
    """Return the events of columns of text; rows of clips without events are left out."""
    names, starts, ends, labels = cells
    if "" in starts:
        heard = [i for i, start in enumerate(starts) if start]
        if any(ends[i] or labels[i] for i, start in enumerate(starts) if not start):
            return None
        names, starts, ends, labels = (_take(column, heard) for column in cells)
        given = given and _take(given, heard)
    onset, offset = _seconds(starts), _seconds(ends)
    if onset is None or offset is None or "" in labels or any(map(lt, offset, onset)):
        return None
    confidence = None
    if given is not None and any(given):
        found = _numbers([cell for cell in given if cell])
        if found is None:
            return None
        values = iter(found)
        confidence = [next(values) if cell else None for cell in given]
    return EventColumns(list(names), onset, offset, list(labels), confidence)


def _take(column: Sequence[str], rows: list[int]) -> Sequence[str]:
    return itemgetter(*rows)(column) if len(rows) > 1 else [column[i] for i in rows]


def _seconds(column: Sequence[str]) -> list[float] | None:
    """Return times from 0 up, -0 as 0, or None if one is no such thing."""
    values = _numbers(column)
    if values is None or min(values, default=0.0) < 0:
        return None
    return [abs(value) for value in values] if "-" in "".join(column) else values


def _numbers(column: Sequence[str]) -> list[float] | None:
    """Return finite numbers, or None if one is no number."""
    different = set(column)
    text = "".join(different)
    if "_" in text or not text.isascii():  # Python reads 1_0 as 10
        return None
    try:
        # Times stand on the grid of a system's frames: each is read once.
        number = {cell: float(cell) for cell in different}
    except ValueError:
        return None
    values = [number[cell] for cell in column]
    return values if math.isfinite(sum(values)) else None
