"""Label files, row by row: what `sedtool.labels` refuses is noted, and reading goes on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sedtool.errors import LabelError
from sedtool.labels import Vocabulary
from sedtool.labels.cells import named_cells, parse_interval, parse_number
from sedtool.labels.tables import STRONG_COLUMNS, WEAK_COLUMNS
from sedtool.text import is_writable

__all__ = ["LabelFile", "Row", "read_label_file"]

_COLUMNS = {
    "strong": STRONG_COLUMNS,
    "weak": WEAK_COLUMNS,
    "unlabelled": ("filename",),
}
_OPTIONAL = {"strong": ("confidence",), "weak": (), "unlabelled": ()}


class _TimeError(LabelError):
    """The times of a row make no sense."""


class Row(NamedTuple):
    """A row that can be read; a strong row without a label names a clip without events."""

    line: int
    name: str
    labels: tuple[str, ...] = ()  # of a strong row, at most one
    onset: float = 0.0  # seconds
    offset: float = 0.0


@dataclass
class LabelFile:
    """The rows of a label file, and what is wrong with the others."""

    path: Path
    kind: str  # "strong", "weak" or "unlabelled"
    rows: list[Row] = field(default_factory=list)
    n_rows: int = 0  # those that cannot be read included
    unreadable: str | None = None  # why no row could be read
    bad_rows: list[str] = field(default_factory=list)
    bad_times: list[str] = field(default_factory=list)

    def at(self, row: Row) -> str:
        """Return ``file:line`` of a row."""
        return f"{self.path}:{row.line}"

    def first_rows(self) -> dict[str, Row]:
        """Return the first row of each clip name, in order."""
        first: dict[str, Row] = {}
        for row in self.rows:
            first.setdefault(row.name, row)
        return first

    def events(self) -> Iterator[Row]:
        """Yield the rows of a strong file that are events."""
        return (row for row in self.rows if row.labels and self.kind == "strong")

    def heard(self) -> dict[str, set[str]]:
        """Return the labels of each clip name; zero-length events say nothing was heard."""
        heard: dict[str, set[str]] = {}
        for row in self.rows:
            counts = self.kind != "strong" or row.offset > row.onset
            heard.setdefault(row.name, set()).update(row.labels if counts else ())
        return heard


def read_label_file(path: Path, kind: str, vocabulary: Vocabulary | None = None) -> LabelFile:
    """Read a label file; it has no fault if and only if `sedtool.labels` takes it.

    Labels that the vocabulary lacks are no fault. Without one, weak labels are split at commas.
    """
    file = LabelFile(path, kind)
    header: list[str] = []
    try:
        for number, line in _lines(path):
            cells = [cell.strip(" ") for cell in line.split("\t")]
            if not header and _is_clean(line):
                header = _header(cells, kind, f"{path}:{number}")
                if "filename" in cells:
                    continue
            file.n_rows += 1
            try:
                if not _is_clean(line):
                    raise LabelError(f"{path}:{number}: a control character stands in the line")
                named = named_cells(header, cells, f"{path}:{number}")
                file.rows.append(_row(kind, named, file.path, number, vocabulary))
            except _TimeError as error:
                file.bad_times.append(str(error))
            except LabelError as error:
                file.bad_rows.append(str(error))
    except LabelError as error:
        file.unreadable = str(error)
    return file


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers from 1."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if line.strip() or not _is_clean(line):
            yield number, line


def _is_clean(line: str) -> bool:
    return is_writable(line.replace("\t", " "))


def _header(cells: list[str], kind: str, where: str) -> list[str]:
    """Return the columns that the first row names, or those of a file without a header."""
    columns, optional = _COLUMNS[kind], _OPTIONAL[kind]
    if "filename" in cells:
        missing = [column for column in columns if column not in cells]
        if missing:
            raise LabelError(
                f"{where}: no column {missing[0]!r}; the columns are {cells}"
                f"{_other_kind(cells, kind)}"
            )
        if len(set(cells)) < len(cells):
            raise LabelError(f"{where}: a column name stands twice in {cells}")
        return cells
    if kind == "unlabelled":
        return ["filename", *cells[1:]]
    if not len(columns) <= len(cells) <= len(columns + optional):
        raise LabelError(
            f"{where}: {len(cells)} columns and no header line; a {kind} label file has "
            f"{', '.join(columns)}{_other_kind(cells, kind)}"
        )
    return [*columns, *optional]


def _other_kind(cells: list[str], kind: str) -> str:
    """Return a hint if the row is one of another kind of label file."""
    for other, columns in _COLUMNS.items():
        fits = set(columns) <= set(cells) or "filename" not in cells
        if other != kind and len(cells) == len(columns) and fits:
            return f"; if this is a list of {other} clips, give it to --{other}"
    return ""


def _row(
    kind: str, cells: dict[str, str], path: Path, number: int, vocabulary: Vocabulary | None
) -> Row:
    """Return a row, or raise a LabelError."""
    where, name = f"{path}:{number}", cells["filename"]
    if not name:
        raise LabelError(f"{where}: the filename is empty")
    if kind == "unlabelled":
        return Row(number, name)
    if kind == "strong":
        return _strong_row(cells, number, where)
    try:
        return Row(number, name, _split(cells["event_labels"], vocabulary))
    except LabelError as error:
        raise LabelError(f"{where}: {error}") from None


def _strong_row(cells: dict[str, str], number: int, where: str) -> Row:
    name, label = cells["filename"], cells["event_label"]
    given = [cells[column] for column in STRONG_COLUMNS[1:]]
    if not any(given):
        return Row(number, name)
    if not all(given):
        raise LabelError(f"{where}: onset, offset and event_label must be all given or all empty")
    try:
        onset, offset = parse_interval(cells["onset"], cells["offset"], where)
    except LabelError as error:
        raise _TimeError(str(error)) from None
    if cells.get("confidence"):
        parse_number(cells["confidence"], where)
    return Row(number, name, (label,), onset, offset)


def _split(text: str, vocabulary: Vocabulary | None) -> tuple[str, ...]:
    """Return the labels of a weak field, unknown ones as they stand."""
    if vocabulary is None and ", " in text:
        raise LabelError(f"{text!r} may be one label or several; give the class list (--classes)")
    parts = text.split(",") if text.strip() else []
    longest = 1 + max((c.count(",") for c in vocabulary.classes), default=0) if vocabulary else 1
    labels: list[str] = []
    start = 0
    while start < len(parts):
        runs = range(min(longest, len(parts) - start), 0, -1)
        joined = [(n, ",".join(parts[start : start + n]).strip()) for n in runs]
        length, label = next((j for j in joined if vocabulary and j[1] in vocabulary), joined[-1])
        if not label:
            raise LabelError(f"a label is missing between the commas of {text!r}")
        labels.append(label)
        start += length
    return tuple(dict.fromkeys(labels))
