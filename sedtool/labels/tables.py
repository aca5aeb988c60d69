"""Tables of labels, tab-separated, told apart by their columns.

::

    strong      filename  onset  offset  event_label  [confidence]
    weak        filename  event_labels
    unlabelled  filename

CRLF, a byte-order mark, columns in any order by header name and files without a header line are
taken. `read_rows` is the one reader: it yields rows and, in their place, the faults of those that
cannot be read. A stage raises the first fault (`read_events`, `read_weak`, `read_names`);
`sedtool check` shows them all, and so passes exactly what a stage takes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from operator import lt
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sedtool.errors import LabelError
from sedtool.labels.cells import (
    LATEST,
    clean_line,
    named_cells,
    numbered_lines,
    parse_interval,
    parse_number,
    parse_seconds,
    read_text,
    split_cells,
)
from sedtool.labels.events import Event, EventColumns, StrongLabels
from sedtool.labels.vocabulary import Vocabulary, split_labels

COLUMNS = {
    "strong": ("filename", "onset", "offset", "event_label"),
    "weak": ("filename", "event_labels"),
    "unlabelled": ("filename",),
}
OPTIONAL = {"strong": ("confidence",), "weak": (), "unlabelled": ()}

_TAB, _LINE_END, _SPACE, _DELETE = b"\t\n \x7f"


class Fault(LabelError):
    """Why a table or one of its rows cannot be read, with file and line."""

    def __init__(self, message: str, kind: str = "row") -> None:
        super().__init__(message)
        self.kind = kind  # "file": nothing can be read; "row"; or "time": of a row


class Row(NamedTuple):
    """One row of a table; a strong row without a label names a clip without events."""

    line: int  # from 1
    name: str  # of the clip
    labels: tuple[str, ...] = ()  # of a strong row at most one
    onset: float = 0.0  # seconds
    offset: float = 0.0  # seconds
    confidence: float | None = None


class _Record(NamedTuple):
    """The cells of one row, by column."""

    line: int
    where: str  # file:line
    cells: dict[str, str]


T = TypeVar("T")


def read_rows(
    path: Path, kind: str, vocabulary: Vocabulary | None = None, text: str | None = None
) -> Iterator[Row | Fault]:
    """Yield the rows of a table, and a fault in place of each that cannot be read.

    Parameters
    ----------
    path
        The file.
    kind
        A key of `COLUMNS`.
    vocabulary
        The classes, to split weak labels by; those that are no class are kept as they stand.
        Without it labels are split at commas, unless a space follows one: then ``Air horn, truck
        horn`` may be one label or two, and only a class list can tell.
    text
        What stands in the file, where it has been read already.
    """
    for record in _records(path, COLUMNS[kind], OPTIONAL[kind], text):
        if isinstance(record, Fault):
            yield record
            continue
        try:
            yield _PARSERS[kind](record, vocabulary)
        except Fault as fault:
            yield fault
        except LabelError as error:
            yield Fault(f"{record.where}: {error}")


def _strong_row(record: _Record, vocabulary: Vocabulary | None) -> Row:
    line, where, cells = record
    name, label = cells["filename"], cells["event_label"]
    given = [cells[column] for column in COLUMNS["strong"][1:]]
    if not any(given):
        return Row(line, name)
    if not all(given):
        raise LabelError("onset, offset and event_label must be all given or all empty")
    if label != label.strip():
        raise LabelError(f"label {label!r} begins or ends with a space")
    try:
        onset, offset = parse_interval(cells["onset"], cells["offset"], where)
    except LabelError as error:
        raise Fault(str(error), "time") from None
    number = cells.get("confidence")
    try:
        confidence = parse_number(number, where) if number else None
    except LabelError as error:
        raise Fault(str(error)) from None
    return Row(line, name, (label,), onset, offset, confidence)


def _weak_row(record: _Record, vocabulary: Vocabulary | None) -> Row:
    labels = split_labels(record.cells["event_labels"], vocabulary)
    return Row(record.line, record.cells["filename"], labels)


def _unlabelled_row(record: _Record, vocabulary: Vocabulary | None) -> Row:
    return Row(record.line, record.cells["filename"])


_PARSERS: dict[str, Callable[[_Record, Vocabulary | None], Row]] = {
    "strong": _strong_row,
    "weak": _weak_row,
    "unlabelled": _unlabelled_row,
}


def _records(
    path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = (), text: str | None = None
) -> Iterator[_Record | Fault]:
    """Yield the cells of each row by column: by header where there is one, else by position."""
    header: list[str] = []
    try:
        lines = (read_text(path) if text is None else text).split("\n")
    except LabelError as error:
        yield Fault(str(error), "file")
        return
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        try:
            line = clean_line(line, where)
            if not line.strip():
                continue
            cells = split_cells(line)
            if not header:
                header = _header(cells, columns, optional, where)
                if columns[0] in cells:
                    continue
            row = named_cells(header, cells, where)
            if not row[columns[0]]:
                raise LabelError(f"{where}: the {columns[0]} is empty")
        except Fault as fault:  # of the header
            yield fault
            return
        except LabelError as error:
            yield Fault(str(error))
        else:
            yield _Record(number, where, row)


def _strictly(items: Iterable[T | Fault]) -> Iterator[T]:
    """Yield what can be read, and raise the first fault."""
    for item in items:
        if isinstance(item, Fault):
            raise item
        yield item


def _header(
    cells: list[str], columns: tuple[str, ...], optional: tuple[str, ...], where: str
) -> list[str]:
    """Return the column names that a file's first row gives, or those of a file without header.

    Raises
    ------
    Fault
        If it is a header of another table, or one that was meant and cannot be read.
    """
    if columns[0] in cells:
        missing = [column for column in columns if column not in cells]
        if missing:
            what = f"no column {missing[0]!r}; the columns are {cells}"
            raise Fault(f"{where}: {what}{_other_kind(cells, columns)}", "file")
        if len(set(cells)) < len(cells):
            raise Fault(f"{where}: a column name stands twice in {cells}", "file")
        return cells
    if columns == ("filename",):
        return ["filename", *cells[1:]]
    if any(cell.strip("'\"") == columns[0] for cell in cells):
        what = f"the columns stand in quotes: {cells}; write them without"
    elif len(cells) == 1 and (columns[0] in cells[0] or "," in cells[0]):
        what = f"columns must be separated by tabs, not as in {cells[0][:80]!r}"
    elif len(set(cells) & set(columns[1:])) > (len(columns) > 2):  # one may be a label
        what = f"no column {columns[0]!r}; the columns are {cells}"
    elif not len(columns) <= len(cells) <= len(columns + optional):
        what = f"{len(cells)} columns and no header line; expected {', '.join(columns)}"
        what += _other_kind(cells, columns)
    else:
        return [*columns, *optional]
    raise Fault(f"{where}: {what}", "file")


def _other_kind(cells: list[str], expected: tuple[str, ...]) -> str:
    """Return a hint if the first row is one of another kind of label table."""
    if "Begin Time (s)" in cells:
        return "; it looks like a Raven table, of which sedtool convert makes a DCASE table"
    for kind, columns in COLUMNS.items():
        fits = set(columns) <= set(cells) or "filename" not in cells
        if expected in COLUMNS.values() and len(cells) == len(columns) and fits:
            what = "unlabelled clips" if kind == "unlabelled" else f"{kind} labels"
            return f"; it looks like a table of {what}"
    return ""


def read_events(path: Path) -> StrongLabels:
    """Read a table of strong labels.

    A row with empty times and label names a clip without events. Zero-length events are kept.

    Raises
    ------
    LabelError
        With file and line: a time that is no finite number from 0 up, an offset before its onset,
        a label without times, a column too few or too many.
    """
    text = read_text(path)
    plain = _plain_events(text)
    if plain is not None:
        return plain
    events: list[Event] = []
    names: dict[str, None] = {}
    for row in _strictly(read_rows(path, "strong", text=text)):
        names[row.name] = None
        if row.labels:
            events.append(Event(row.name, row.onset, row.offset, row.labels[0], row.confidence))
    return StrongLabels(events, tuple(names))


def read_weak(path: Path, vocabulary: Vocabulary | None = None) -> dict[str, tuple[str, ...]]:
    """Read a table of weak labels: clip name -> labels; several rows of one clip add up.

    Raises
    ------
    LabelError
        With file and line: a label that is no class, or without a vocabulary an ambiguous comma.
    """
    labels: dict[str, list[str]] = {}
    for row in _strictly(read_rows(path, "weak", vocabulary)):
        if vocabulary is not None and not all(label in vocabulary for label in row.labels):
            vocabulary.require(row.labels, f"{path}:{row.line}")
        labels.setdefault(row.name, []).extend(row.labels)
    return {name: tuple(dict.fromkeys(of_clip)) for name, of_clip in labels.items()}


def read_names(path: Path) -> list[str]:
    """Read the clip names of any label table, each once, in order."""
    return list(dict.fromkeys(row.name for row in _strictly(read_rows(path, "unlabelled"))))


def _plain_events(text: str) -> StrongLabels | None:
    """Read a table of strong labels without anything unusual in it by columns: many times faster.

    Nothing is decided here. A table that is not plain, or has the least thing wrong with it, is
    None: it is left to `read_rows`, which knows what to say about it.
    """
    columns = _columns(text)
    first = [cells[0] for cells in columns]
    try:
        header = _header(first, COLUMNS["strong"], OPTIONAL["strong"], "")
    except LabelError:
        return None
    if "filename" in first:
        columns = [cells[1:] for cells in columns]
    column = dict(zip(header, columns, strict=False))
    names, *rest = (column[name] for name in COLUMNS["strong"])
    if "" in names:
        return None
    if not text.isascii() and any(label != label.strip() for label in set(rest[-1])):
        return None  # padded with a space of another script
    events = _event_columns((names, *rest), column.get("confidence"))
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


def _event_columns(
    cells: tuple[Sequence[str], ...], given: Sequence[str] | None
) -> EventColumns | None:
    """Return the events of columns of text; rows of clips without events are left out."""
    names, starts, ends, labels = cells
    if n_silent := starts.count(""):
        if ends.count("") != n_silent or labels.count("") != n_silent:
            return None
        given = given and list(compress(given, starts))
        # An end or a label that is missing elsewhere is still empty then.
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


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a class list: one name a line, in the order the model will have.

    Raises
    ------
    LabelError
        If it is a table, a name stands twice, or there is none.
    """
    lines = [(where, line) for where, line in numbered_lines(path) if line.strip()]
    for where, line in lines:
        if "\t" in line:
            raise LabelError(f"{where}: a class list has one name a line, and no columns")
    try:
        return Vocabulary(line for _, line in lines)
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from None


def read_durations(path: Path) -> dict[str, float]:
    """Read ``filename duration`` in seconds; identical duplicate rows are accepted."""
    durations: dict[str, float] = {}
    for _, where, row in _strictly(_records(path, ("filename", "duration"))):
        duration = parse_seconds(row["duration"], where)
        if durations.setdefault(row["filename"], duration) != duration:
            raise LabelError(
                f"{where}: {row['filename']!r} lasts {duration:g} s here and "
                f"{durations[row['filename']]:g} s in an earlier row"
            )
    return durations


def read_groups(path: Path) -> dict[str, str]:
    """Read ``filename group``; identical duplicate rows are accepted."""
    groups: dict[str, str] = {}
    for _, where, row in _strictly(_records(path, ("filename", "group"))):
        name, group = row["filename"], row["group"]
        if not group:
            raise LabelError(f"{where}: the group is empty")
        if groups.setdefault(name, group) != group:
            raise LabelError(
                f"{where}: {name!r} is of group {group!r} here and of {groups[name]!r} in an "
                "earlier row"
            )
    return groups


def read_thresholds(path: Path) -> dict[str, float]:
    """Read ``event_label threshold``; a class named twice is an error."""
    thresholds: dict[str, float] = {}
    for _, where, row in _strictly(_records(path, ("event_label", "threshold"))):
        if row["event_label"] in thresholds:
            raise LabelError(f"{where}: {row['event_label']!r} has a threshold already")
        thresholds[row["event_label"]] = parse_number(row["threshold"], where)
    return thresholds
