"""Tables of labels, tab-separated: their kinds, and what their rows say.

::

    strong      filename  onset  offset  event_label  [confidence]
    weak        filename  event_labels
    unlabelled  filename

CRLF, a byte-order mark, columns in any order by header name and files without a header line are
taken. What is read is taken as it stands, or refused with file and line. `read_rows` is the one
reader: it yields rows and, in their place, the faults of those that cannot be read. A stage raises
the first fault (`read_events`, `read_weak`, `read_names`); `sedtool check` shows them all, and so
passes exactly what a stage takes.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from operator import lt
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from sedtool.errors import LabelError
from sedtool.labels.cells import (
    LATEST,
    clean_line,
    numbered_lines,
    parse_interval,
    parse_number,
    parse_seconds,
    read_text,
    unquoted,
)
from sedtool.labels.dialect import COLUMNS, OPTIONAL, Fault, dialect_of, plain_columns
from sedtool.labels.events import Event, EventColumns, StrongLabels, confident
from sedtool.labels.vocabulary import Vocabulary, split_labels
from sedtool.text import quoted

_OPENING_QUOTE = re.compile(r'(^|[\t\n])"')
_SPACE, _DELETE = b" \x7f"

T = TypeVar("T")


# Rows, and what is wrong with them


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


def read_rows(
    path: Path, kind: str, vocabulary: Vocabulary | None = None, text: str | None = None
) -> Iterator[Row | Fault]:
    """Yield the rows of a table of a kind, and a fault in place of each that cannot be read.

    Weak labels are split by the vocabulary, see `split_labels`; those that are no class are kept.
    `text` is what stands in the file, where it has been read already.
    """
    for record in _records(path, COLUMNS[kind], OPTIONAL[kind], text):
        if isinstance(record, Fault):
            yield record
            continue
        try:
            yield _row(record, kind, vocabulary)
        except Fault as fault:
            yield fault
        except LabelError as error:
            yield Fault(f"{record.where}: {error}")


def _row(record: _Record, kind: str, vocabulary: Vocabulary | None) -> Row:
    line, where, cells = record
    name = cells["filename"]
    if kind == "unlabelled":
        return Row(line, name)
    if kind == "weak":
        return Row(line, name, split_labels(cells["event_labels"], vocabulary))
    onset, offset, label = given = [cells[column] for column in COLUMNS["strong"][1:]]
    if not any(given):
        return Row(line, name)
    if not all(given):
        raise LabelError("onset, offset and event_label must be all given or all empty")
    if label != label.strip():
        raise LabelError(f"label {quoted(label)} begins or ends with a space")
    try:
        times = parse_interval(onset, offset, where)
    except LabelError as error:
        raise Fault(str(error), "time") from None
    number = cells.get("confidence")
    try:
        confidence = parse_number(number, where) if number else None
    except LabelError as error:
        raise Fault(str(error)) from None
    return Row(line, name, (label,), *times, confidence)


def _records(
    path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = (), text: str | None = None
) -> Iterator[_Record | Fault]:
    """Yield the cells of each row by column: by header where there is one, else by position."""
    try:
        lines = (read_text(path) if text is None else text).split("\n")
        dialect = dialect_of(lines, path, columns, optional)
    except LabelError as error:
        yield error if isinstance(error, Fault) else Fault(str(error), "file")
        return
    for number, line in enumerate(lines[dialect.first - 1 :], dialect.first):
        where = f"{path}:{number}"
        try:
            line = clean_line(line, where)
            if dialect.is_blank(line):
                continue
            row = dialect.row(line, where)
            if not row[columns[0]]:
                raise LabelError(f"{where}: the {columns[0]} is empty")
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


# Files


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


def read_reference(path: Path, min_confidence: float | None = None) -> StrongLabels:
    """Read strong labels to learn from or to score by; see `confident`, which may leave some out.

    Raises
    ------
    LabelError
        As `read_events`.
    """
    return confident(read_events(path), str(path), min_confidence)


def read_soft(path: Path) -> StrongLabels:
    """Read strong labels whose confidence is a target of training.

    Raises
    ------
    LabelError
        As `read_events`; and if a confidence is not in [0, 1], or no event has one.
    """
    labels = read_events(path)
    given = [value for value in labels.columns.confidence or () if value is not None]
    if not given:
        raise LabelError(f"{path}: no event has a confidence; --soft-confidence needs that column")
    if min(given) < 0 or max(given) > 1:
        for row in _strictly(read_rows(path, "strong")):
            if row.confidence is not None and not 0 <= row.confidence <= 1:
                what = "as a target of training it is 0 to 1"
                raise LabelError(f"{path}:{row.line}: confidence {row.confidence:g}; {what}")
    return labels


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
    try:
        columns = _columns(text)
        first = [cells[0] for cells in columns]
        header = plain_columns(first, COLUMNS["strong"], OPTIONAL["strong"])
        if header is None:
            return None
        if "filename" in first:
            columns = [cells[1:] for cells in columns]
        column = dict(zip(header, columns, strict=False))
        names = tuple(dict.fromkeys(column["filename"]))
        return None if "" in names else StrongLabels.from_columns(_event_columns(column), names)
    except (LabelError, ValueError):
        return None


def _columns(text: str) -> list[list[str]]:
    """Return the cells of each column; a ValueError if lines differ in length or a cell is odd."""
    if '"' in text and _OPENING_QUOTE.search(text):
        raise ValueError("a cell may stand in quotes")
    text = text.replace("\r\n", "\n")
    if not text.endswith("\n"):
        text += "\n"
    if not text.isascii() and not text.replace("\n", "").replace("\t", "").isprintable():
        raise ValueError("a character does not print")
    width = text.count("\t", 0, text.index("\n")) + 1
    codes = np.frombuffer(f"\n{text}".encode(), np.uint8)
    ends = np.flatnonzero(codes < _SPACE)  # of cells, and before the first
    is_padded = (codes[ends[:-1] + 1] == _SPACE) | (codes[ends[1:] - 1] == _SPACE)
    line = np.frombuffer(b"\t" * (width - 1) + b"\n", np.uint8)
    is_regular = (codes[ends[1:]].reshape(-1, width) == line).all()  # else it has another size
    if not is_regular or is_padded.any() or (codes == _DELETE).any():
        raise ValueError("a line or a cell is not plain")
    cells = text.replace("\n", "\t").split("\t")
    return [cells[k:-1:width] for k in range(width)]  # the last one is behind the last line


def _event_columns(column: dict[str, list[str]]) -> EventColumns:
    """Return the events of columns of text; rows of clips without events are left out."""
    starts = column["onset"]
    if n_silent := starts.count(""):
        if any(column[name].count("") != n_silent for name in ("offset", "event_label")):
            raise ValueError("a cell is empty")
        # An end or a label that is missing elsewhere is still empty then.
        column = {name: list(compress(cells, starts)) for name, cells in column.items()}
    names, starts, ends, labels = (column[name] for name in COLUMNS["strong"])
    if "" in ends or any(label != label.strip() or not label for label in set(labels)):
        raise ValueError("a cell is empty, or padded with a space of another script")
    onset, offset = _seconds(starts), _seconds(ends)
    if any(map(lt, offset, onset)):
        raise ValueError("an offset is before its onset")
    confidence = None
    given = column.get("confidence", [])
    if any(given):
        number = _numbers([cell for cell in given if cell])
        confidence = [number[cell] if cell else None for cell in given]
    return EventColumns(names, onset, offset, labels, confidence)


def _seconds(column: Sequence[str]) -> list[float]:
    """Return times from 0 up, -0 as 0."""
    number = _numbers(column)
    if min(number.values(), default=0.0) < 0 or max(number.values(), default=0.0) > LATEST:
        raise ValueError("a time is negative, or too late")
    if "-" in "".join(number):
        number = {cell: abs(value) for cell, value in number.items()}
    return list(map(number.__getitem__, column))


def _numbers(column: Sequence[str]) -> dict[str, float]:
    """Return the finite number that each cell is.

    Times stand on the grid of a system's frames, so that many cells are equal: each is read once.
    """
    different = set(column)
    text = "".join(different)
    number = dict(zip(different, map(float, different), strict=True))
    if "_" in text or not text.isascii() or not math.isfinite(sum(number.values())):
        raise ValueError("a cell is no number")  # though Python reads 1_0 as 10
    return number


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a class list: one name a line, in the order the model will have."""
    lines = [(where, unquoted(line)) for where, line in numbered_lines(path)]
    is_table = all(re.match(r"\d+[,;]", line) for _, line in lines[1:]) and len(lines) > 1
    for number, (where, line) in enumerate(lines):
        if "\t" in line or is_table:
            raise LabelError(f"{where}: a class list has one name a line, and no columns")
        if not number and line.lower() in ("event_label", "event_labels", "label", "class_name"):
            raise LabelError(f"{where}: {quoted(line)} names a column; take this line out")
    try:
        return Vocabulary((line for _, line in lines), "--classes gives another list")
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
                f"{where}: {name!r} is of group {quoted(group)} here and of "
                f"{quoted(groups[name])} in an earlier row"
            )
    return groups


def read_thresholds(path: Path) -> dict[str, float]:
    """Read ``event_label threshold``; a class named twice is an error."""
    thresholds: dict[str, float] = {}
    for _, where, row in _strictly(_records(path, ("event_label", "threshold"))):
        if row["event_label"] in thresholds:
            raise LabelError(f"{where}: {quoted(row['event_label'])} has a threshold already")
        thresholds[row["event_label"]] = parse_number(row["threshold"], where)
    return thresholds
