"""DCASE tables in and out, tab-separated, three kinds told apart by their columns.

::

    strong      filename  onset  offset  event_label  [confidence]
    weak        filename  event_labels
    unlabelled  filename

CRLF, a byte-order mark, columns in any order by header name and files without a header line are
taken.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sedtool.atomic import write_text
from sedtool.errors import LabelError
from sedtool.labels.cells import (
    check_cell,
    format_times,
    named_cells,
    numbered_lines,
    parse_interval,
    parse_number,
    parse_seconds,
    read_text,
    table_rows,
)
from sedtool.labels.events import Event, StrongLabels
from sedtool.labels.plain import plain_events
from sedtool.labels.vocabulary import Vocabulary

__all__ = [
    "format_events",
    "format_header",
    "format_silent",
    "format_weak",
    "read_durations",
    "read_events",
    "read_groups",
    "read_names",
    "read_thresholds",
    "read_vocabulary",
    "read_weak",
    "write_events",
    "write_weak",
]

STRONG_COLUMNS = ("filename", "onset", "offset", "event_label")
WEAK_COLUMNS = ("filename", "event_labels")


def read_events(path: Path) -> StrongLabels:
    """Read a strong label file.

    A row with empty times and label names a clip without events. Zero-length events are kept.

    Raises
    ------
    LabelError
        With file and line: a time that is no finite number from 0 up, an offset before its onset,
        a label without times, a column too few or too many.
    """
    text = read_text(path)
    plain = plain_events(text, STRONG_COLUMNS, "confidence")
    return _read_events(path, text) if plain is None else plain


def _read_events(path: Path, text: str) -> StrongLabels:
    """Read row by row, which any file can be, and say where one is wrong."""
    events: list[Event] = []
    names: dict[str, None] = {}
    for where, row in _rows(path, STRONG_COLUMNS, ("confidence",), text):
        names[row["filename"]] = None
        cells = [row[column] for column in STRONG_COLUMNS[1:]]
        if not any(cells):
            continue
        if not all(cells):
            raise LabelError(
                f"{where}: onset, offset and event_label must be all given or all empty"
            )
        onset, offset = parse_interval(row["onset"], row["offset"], where)
        confidence = parse_number(row["confidence"], where) if row.get("confidence") else None
        events.append(Event(row["filename"], onset, offset, row["event_label"], confidence))
    return StrongLabels(events, tuple(names))


def read_weak(path: Path, vocabulary: Vocabulary | None = None) -> dict[str, tuple[str, ...]]:
    """Read a weak label file: clip name -> labels; several rows of one clip add up.

    Without a vocabulary a field is split at its commas, unless one is followed by a space: then
    ``Air horn, truck horn`` may be one label or two, and only a class list can tell.

    Raises
    ------
    LabelError
        With file and line: an unknown label, or an ambiguous comma.
    """
    labels: dict[str, list[str]] = {}
    for where, row in _rows(path, WEAK_COLUMNS):
        text = row["event_labels"]
        if vocabulary is None and ", " in text:
            raise LabelError(
                f"{where}: {text!r} may be one label or several; give the class list (--classes)"
            )
        try:
            found = vocabulary.split(text) if vocabulary else _split_blindly(text)
        except LabelError as error:
            raise LabelError(f"{where}: {error}") from None
        labels.setdefault(row["filename"], []).extend(found)
    return {name: tuple(dict.fromkeys(found)) for name, found in labels.items()}


def _split_blindly(text: str) -> tuple[str, ...]:
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(parts):
        raise LabelError(f"a label is missing between the commas of {text!r}")
    return tuple(dict.fromkeys(parts))


def read_names(path: Path) -> list[str]:
    """Read the clip names of any label file, each once, in order."""
    return list(dict.fromkeys(row["filename"] for _, row in _rows(path, ("filename",))))


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
    for where, row in _rows(path, ("filename", "duration")):
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
    for where, row in _rows(path, ("filename", "group")):
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
    for where, row in _rows(path, ("event_label", "threshold")):
        if row["event_label"] in thresholds:
            raise LabelError(f"{where}: {row['event_label']!r} has a threshold already")
        thresholds[row["event_label"]] = parse_number(row["threshold"], where)
    return thresholds


def format_header(confidence: bool = False) -> str:
    """Return the header line of a strong label file."""
    return "\t".join((*STRONG_COLUMNS, "confidence") if confidence else STRONG_COLUMNS) + "\n"


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
        f"{check_cell(name)}\t{','.join(map(check_cell, found))}\n"
        for name, found in labels.items()
    ]
    return "\t".join(WEAK_COLUMNS) + "\n" + "".join(rows)


def write_events(path: Path, labels: StrongLabels) -> None:
    """Write a strong label file; a clip without events becomes a row with empty cells."""
    heard = {event.name for event in labels.events}
    silent = map(format_silent, sorted(set(labels.names) - heard))
    write_text(path, format_events(labels.events) + "".join(silent))


def write_weak(path: Path, labels: Mapping[str, Sequence[str]]) -> None:
    """Write a weak label file."""
    write_text(path, format_weak(labels))


def _rows(
    path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = (), text: str | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (``file:line``, cell by column); by header where there is one, else by position."""
    header: list[str] | None = None
    for where, cells in table_rows(path, text):
        if header is None:
            header = _header(cells, columns, optional, where)
            if columns[0] in cells:
                continue
        row = named_cells(header, cells, where)
        if not row[columns[0]]:
            raise LabelError(f"{where}: the {columns[0]} is empty")
        yield where, row


def _header(
    cells: list[str], columns: tuple[str, ...], optional: tuple[str, ...], where: str
) -> list[str]:
    """Return the column names that a file's first row gives, or those of a file without header."""
    if columns[0] in cells:
        missing = [column for column in columns if column not in cells]
        if missing:
            raise LabelError(f"{where}: no column {missing[0]!r}; the columns are {cells}")
        if len(set(cells)) < len(cells):
            raise LabelError(f"{where}: a column name stands twice in {cells}")
        return cells
    _refuse_odd_header(cells, columns, where)
    if columns != ("filename",) and not len(columns) <= len(cells) <= len(columns + optional):
        raise LabelError(
            f"{where}: {len(cells)} columns and no header line; expected {', '.join(columns)}"
        )
    return [*columns, *optional] if columns != ("filename",) else ["filename", *cells[1:]]


def _refuse_odd_header(cells: list[str], columns: tuple[str, ...], where: str) -> None:
    """Raise a LabelError if a row is a header that was meant, and not one of a table as here."""
    if columns == ("filename",):
        return
    if any(cell.strip("'\"") == columns[0] for cell in cells):
        raise LabelError(f"{where}: the columns stand in quotes: {cells}; write them without")
    if len(cells) == 1 and columns[0] in cells[0]:
        raise LabelError(f"{where}: columns must be separated by tabs, not as in {cells[0][:80]!r}")
    if len(set(cells) & set(columns[1:])) > (len(columns) > 2):  # one may be a label
        raise LabelError(f"{where}: no column {columns[0]!r}; the columns are {cells}")
