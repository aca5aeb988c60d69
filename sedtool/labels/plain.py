"""Strong label files without anything unusual in them, read by columns: many times faster.

Nothing is decided here. A file that is not plain, or has the least thing wrong with it, is left to
the reader that goes row by row and knows what to say about it.
"""

import math
from collections.abc import Sequence
from itertools import compress
from operator import lt

import numpy as np
from numpy.typing import NDArray

from sedtool.labels.cells import LATEST
from sedtool.labels.events import EventColumns, StrongLabels

__all__ = ["plain_events"]

_TAB, _LINE_END, _SPACE, _DELETE = b"\t\n \x7f"


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
        if any(cell.strip("'\"") == columns[0] for cell in header):
            return None  # a header in quotes
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
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if not text.endswith("\n"):
        text += "\n"
    if not text.isascii() and not text.replace("\n", "").replace("\t", "").isprintable():
        return []
    width = text.count("\t", 0, text.index("\n")) + 1
    if not _is_regular(np.frombuffer(text.encode(), np.uint8), width):
        return []
    cells = text.replace("\n", "\t").split("\t")
    cells.pop()  # what is left behind the last line
    return [cells[k::width] for k in range(width)]


def _is_regular(codes: NDArray[np.uint8], width: int) -> bool:
    """Return whether all lines have `width` cells of characters that print, unpadded."""
    ends = np.flatnonzero(codes < _SPACE)
    if len(ends) % width:
        return False
    kinds = codes[ends].reshape(-1, width)
    padded = (codes[ends[:-1] + 1] == _SPACE) | (codes[ends[1:] - 1] == _SPACE)
    return bool(
        (kinds[:, -1] == _LINE_END).all()
        and (kinds[:, :-1] == _TAB).all()
        and not padded.any()
        and _SPACE not in (codes[0], codes[ends[0] - 1])
        and not (codes == _DELETE).any()
    )


def _events(cells: tuple[Sequence[str], ...], given: Sequence[str] | None) -> EventColumns | None:
    """Return the events of columns of text; rows of clips without events are left out."""
    names, starts, ends, labels = cells
    if n_silent := starts.count(""):
        if ends.count("") != n_silent or labels.count("") != n_silent:
            return None
        given = given and list(compress(given, starts))
        # An end or a label that lacks elsewhere is still empty then.
        names, starts, ends, labels = (list(compress(column, starts)) for column in cells)
    if "" in ends or "" in labels:
        return None
    onset, offset = _seconds(starts), _seconds(ends)
    if onset is None or offset is None or any(map(lt, offset, onset)):
        return None
    confidence = None
    if given is not None and any(given):
        number = _numbers([cell for cell in given if cell])
        if number is None:
            return None
        confidence = [number[cell] if cell else None for cell in given]
    return EventColumns(list(names), onset, offset, list(labels), confidence)


def _seconds(column: Sequence[str]) -> list[float] | None:
    """Return times from 0 up, -0 as 0, or None if one is no such thing."""
    number = _numbers(column)
    if number is None or min(number.values(), default=0.0) < 0:
        return None
    if max(number.values(), default=0.0) > LATEST:
        return None
    if "-" in "".join(number):
        number = {cell: abs(value) for cell, value in number.items()}
    return list(map(number.__getitem__, column))


def _numbers(column: Sequence[str]) -> dict[str, float] | None:
    """Return the finite number that each cell is, or None if one is none.

    Times stand on the grid of a system's frames, so that many cells are equal: each is read once.
    """
    different = set(column)
    text = "".join(different)
    if "_" in text or not text.isascii():  # Python reads 1_0 as 10
        return None
    try:
        number = dict(zip(different, map(float, different), strict=True))
    except ValueError:
        return None
    return number if math.isfinite(sum(number.values())) else None
