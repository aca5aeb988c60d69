"""How a table is written, told before it is read: what parts its cells, what its columns hold.

A DCASE table is separated by tabs, names the columns of its kind and has decimal points. Read are

- cells separated by commas or semicolons, and CSV's quotes: those around a whole cell are taken
  off, and ``""`` between them is ``"``. Quotes elsewhere are text.
- other names of the columns, those of `SYNONYMS`. They are compared without case, spaces, dots and
  hyphens are underscores, and a unit of seconds is passed over: ``Start Time (s)`` is
  ``start_time``. Where a column has its own name, synonyms are passed over; two that could be one
  column are refused. Columns that are not needed are passed over.
- lists of TUT Sound Events without a header line: filename, scene, onset, offset, event_label.
- decimal commas, if all times of a table have them, and not all could be thousands, like 1,250.

What is read in one of these ways is logged, once. What may be one thing or another is not guessed,
but a `Fault`, and so is a first row that looks like a header of other names.
"""

import contextlib
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from sedtool.bounds import MOST_COLUMNS
from sedtool.errors import LabelError
from sedtool.file_kinds import HEAD_SIZE, file_kind
from sedtool.labels.cells import QUOTED, clean_line, is_number, say_how, split_cells, unquoted
from sedtool.labels.signatures import HEAD, signature
from sedtool.text import cut, first_quoted, quoted

COLUMNS = {
    "strong": ("filename", "onset", "offset", "event_label"),
    "weak": ("filename", "event_labels"),
    "unlabelled": ("filename",),
}
OPTIONAL = {"strong": ("confidence",), "weak": (), "unlabelled": ()}
_LABEL = (
    *("label", "event", "class", "category", "annotation", "tag"),
    *("class_name", "class_label", "event_class", "event_name", "event_type"),
)
SYNONYMS = {
    "filename": (
        *("file", "fname", "file_name", "file_path", "filepath", "path", "clip", "clip_name"),
        *("audio", "audio_file", "audio_filename", "audio_path", "audiofile", "audiofilename"),
        *("wav", "wav_file", "wav_filename", "recording", "segment_id"),
    ),
    "onset": ("start", "begin", "onset_time", "start_time", "begin_time", "starttime"),
    "offset": ("end", "stop", "offset_time", "end_time", "stop_time", "endtime"),
    "event_label": _LABEL,
    "event_labels": ("event_label", "labels", "tags", "events", "classes", "categories", *_LABEL),
    "confidence": ("score", "probability"),
    "duration": ("length",),
}
_CUT_OUT = "slice_file_name"  # of UrbanSound8K, whose times are not those in this clip
_ANSWER = "present"  # of AudioSet, where rows also say that a class is not there
_NUMBERS = ("onset", "offset", "duration", "confidence", "threshold")
_SEPARATORS = {",": "comma", ";": "semicolon"}
_UNIT = re.compile(r"(_?\((s|sec|seconds)\)|_?\[(s|sec|seconds)\]|_(s|sec|secs|seconds))$")
_EXCEL = re.compile(r"sep=.\r?$", re.IGNORECASE)  # a first line that is for Excel alone
_SUFFIX = re.compile(r"\.[A-Za-z]\w{1,4}$")  # of an audio file
_DECIMAL_COMMA, _THOUSANDS = re.compile(r"-?\d+,\d+"), re.compile(r"-?[1-9]\d{0,2},\d{3}")
_HEAD = 100  # rows that tell a header from a row


class Fault(LabelError):
    """Why a table or one of its rows cannot be read, with file and line."""

    def __init__(self, message: str, kind: str = "row") -> None:
        super().__init__(message)
        self.kind = kind  # "file": nothing can be read; "row"; or "time": of a row


class _OtherTableError(LabelError):
    """The first row is not that of a table of this kind, but may be that of something known."""


@dataclass(frozen=True)
class Dialect:
    """How one table is written."""

    separator: str = "\t"
    places: Mapping[str, int] = field(default_factory=dict)  # of the columns, from 0
    least: int = 0  # cells that a row has
    most: int = 0
    first: int = 1  # line of the first row
    header: Sequence[str] = ()
    has_decimal_commas: bool = False

    def cells(self, line: str, where: str) -> list[str]:
        """Return the cells of a line, without spaces and quotes around them."""
        if self.separator == "\t":
            cells = split_cells(line)
            if '"' not in line:
                return cells
            odd = [cell for cell in cells if not QUOTED.fullmatch(cell)]
            opening = next((n for n, cell in enumerate(odd) if cell.startswith('"')), len(odd))
            if any(cell.endswith('"') for cell in odd[opening + 1 :]):
                raise LabelError(f"{where}: a quote opens in one cell and closes in another")
            return list(map(unquoted, cells))
        try:
            # Line by line: a quote that is never closed must not swallow the rows after it.
            [cells] = csv.reader(
                [line], delimiter=self.separator, skipinitialspace=True, strict=True
            )
        except csv.Error as error:
            raise LabelError(f"{where}: not CSV ({error})") from None
        return [cell.strip(" ") for cell in cells]

    def is_blank(self, line: str) -> bool:
        """Return whether nothing stands in any cell, as in lines that Excel leaves at the end."""
        return not line.replace(self.separator, "").strip()

    def row(self, line: str, where: str) -> dict[str, str]:
        """Return the cells of a row by column; those missing at its end are empty."""
        cells = self.cells(line, where)
        if not self.least <= len(cells) <= self.most:
            hint = "" if self.separator == "\t" else '; labels in one cell need quotes: "Dog,Cat"'
            raise LabelError(f"{where}: {len(cells)} columns where {self.most} are expected{hint}")
        names = [*self.places] if cells[0] in self.places else None
        if cells == self.header or (names and cells[: len(names)] == names[: len(cells)]):
            raise LabelError(f"{where}: a header stands here again; take this line out")
        cells += [""] * (self.most - len(cells))
        row = {column: cells[place] for column, place in self.places.items()}
        if self.has_decimal_commas:
            row |= {name: row[name].replace(",", ".") for name in _NUMBERS if name in row}
        return row


def plain_columns(
    cells: list[str], columns: tuple[str, ...], optional: tuple[str, ...]
) -> list[str] | None:
    """Return what the columns hold, if the first row is one of a table in the usual way."""
    if columns[0] not in cells:
        fits = len(columns) <= len(cells) <= len(columns) + len(optional)
        return [*columns, *optional] if fits else None
    others = set(cells).difference(columns, optional)
    odd = {_ANSWER, *(name for column in optional for name in (column, *SYNONYMS[column]))}
    is_whole = set(columns) <= set(cells) and len(set(cells)) == len(cells)
    return cells if is_whole and odd.isdisjoint(map(normal, others)) else None


def dialect_of(
    lines: Sequence[str], path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Dialect:
    """Tell how a table with these columns is written, and log it if that is not the usual way.

    Raises
    ------
    Fault
        Of the kind "file", if that is not certain, or a column is missing.
    """
    passed = (line if n or not _EXCEL.match(line) else "" for n, line in enumerate(lines))
    n_blank = next((n for n, line in enumerate(passed) if line.strip(" \t\r")), None)
    if n_blank is None:
        return Dialect()
    table = _Table(lines[n_blank:], path, n_blank + 1, columns, optional)
    try:
        dialect, how = table.dialect()
    except LabelError as error:
        is_other = isinstance(error, _OtherTableError)
        what = _what_it_is("\n".join(table.lines[:_HEAD])[:HEAD], path) if is_other else ""
        raise Fault(f"{table.where}: {what}" if what else str(error), "file") from None
    if how:
        say_how(path, ", ".join(how))
    return replace(dialect, first=dialect.first + n_blank)


def _what_it_is(head: str, path: Path) -> str:
    """Return what a text is that is no table of labels, and what to do; nothing if unknown."""
    if kind := file_kind(head.encode()[:HEAD_SIZE], path.name):
        return str(kind)
    if 3 * head.count("\0") > len(head):
        return "it seems to be UTF-16 text without a byte-order mark; save it as UTF-8 text"
    told = signature(head, path)
    return f"it looks like {told.what}; {told.remedy}" if told and told.name != "dcase" else ""


def normal(name: str) -> str:
    """Return a column name as it is compared."""
    return _UNIT.sub("", re.sub(r"[\s.-]+", "_", name.strip().lower()))


@dataclass(frozen=True)
class _Table:
    """A table from its first row on, and the columns that are wanted of it."""

    lines: Sequence[str]
    path: Path
    number: int  # of the first row's line
    columns: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def where(self) -> str:
        """Return ``file:line`` of the first row."""
        return f"{self.path}:{self.number}"

    @property
    def needed(self) -> str:
        """Return what the columns have to be, to end a message with."""
        return f"; name the columns {', '.join(self.columns)}"

    def refusal(self, what: str) -> LabelError:
        """Return an error about the first row."""
        return LabelError(f"{self.where}: {what}")

    def other(self, what: str) -> LabelError:
        """Return an error about a first row that may be one of another kind of file."""
        return _OtherTableError(f"{self.where}: {what}")

    def dialect(self) -> tuple[Dialect, list[str]]:
        """Return how the table is written, and what is to be said of it."""
        try:
            line = clean_line(self.lines[0], self.where)
        except LabelError as error:
            raise _OtherTableError(*error.args) from None
        found: list[tuple[Dialect, list[str]]] = []
        errors: list[LabelError] = []
        for separator in "\t" if "\t" in line else filter(line.__contains__, _SEPARATORS):
            try:
                found.append(self._separated(separator, line))
            except LabelError as error:
                errors.append(error)
        certain = [error for error in errors if not isinstance(error, _OtherTableError)]
        if not found and errors and (certain or "\t" in line or len(self.columns) > 1):
            raise (certain or errors)[0]
        if len(found) > 1:  # a name ends with its suffix
            found = [each for each in found if _SUFFIX.search(each[0].cells(line, "")[0])]
            if len(found) != 1:
                raise self.refusal("separated by commas or by semicolons? Use tabs")
        dialect, how = found[0] if found else self._separated("\t", line)
        if self._has_decimal_commas(dialect):
            return replace(dialect, has_decimal_commas=True), [*how, "with decimal commas"]
        return dialect, how

    def _separated(self, separator: str, line: str) -> tuple[Dialect, list[str]]:
        """Return how the table is written if this parts its cells, and what is to be said of it."""
        dialect = Dialect(separator)
        try:
            cells = dialect.cells(line, self.where)
        except LabelError as error:
            raise _OtherTableError(*error.args) from None
        if len(cells) > MOST_COLUMNS:
            raise self.refusal(f"{len(cells)} columns; a table of labels has a few")
        how = [] if separator == "\t" else [f"as {_SEPARATORS[separator]}-separated"]
        found = {column: self._find(column, cells) for column in (*self.columns, *self.optional)}
        has_header = self._has_header(cells, found, dialect)
        if has_header:
            places = self._named(cells, found)
            names = [f"{cut(cells[i])} → {name}" for name, i in places.items() if cells[i] != name]
            how += [f"with columns {', '.join(names)}"] if names else []
        else:
            places = self._unnamed(cells, found, dialect)
            is_tut = places.get("onset") == 2
            how += ["without its second column, a scene"] if is_tut else []
        with_quotes = (line for line in self.lines if separator == "\t" and '"' in line)
        if any(any(map(QUOTED.fullmatch, split_cells(line))) for line in with_quotes):
            how.append("without the quotes around cells")
        most = max(len(cells), *(place + 1 for place in places.values()))
        least = 0 if separator == "\t" else len(cells) if has_header else len(self.columns)
        header = cells if has_header else ()
        return Dialect(separator, places, least, most, 1 + has_header, header), how

    def _find(self, column: str, cells: list[str]) -> list[int]:
        """Return the places of the cells that name a column: by its own name, else by another."""
        known = list(map(normal, cells))
        synonyms = {*SYNONYMS.get(column, ())}
        if column == "filename" and "onset" not in self.columns:
            synonyms.add(_CUT_OUT)
        for names, those in (({column}, cells), ({column}, known), (synonyms, known)):
            if places := [place for place, name in enumerate(those) if name in names]:
                return places
        return []

    def _has_header(self, cells: list[str], found: dict[str, list[int]], dialect: Dialect) -> bool:
        """Return whether the first row names columns, of which some may be missing."""
        first, *others = self.columns
        if first in cells or (others and all(found[column] for column in self.columns)):
            return True
        if others:
            n_found = sum(bool(found[column]) for column in others)
            return 2 * n_found > len(others) and not _SUFFIX.search(cells[0])
        known = {*SYNONYMS, *(name for names in SYNONYMS.values() for name in names)}
        is_of_names = sum(normal(cell) in known for cell in cells) > 1
        return bool(found[first]) and (is_of_names or self._differs(cells, dialect))

    def _named(self, cells: list[str], found: dict[str, list[int]]) -> dict[str, int]:
        """Return the places of the columns that the first row names."""
        for column in self.columns:
            those = [cells[place] for place in found[column]]
            if len(set(those)) < len(those):
                raise self.refusal(f"a column name stands twice in {first_quoted(cells)}")
            if len(those) > 1:
                raise self.refusal(f"{first_quoted(those)} could each be {column!r}; rename one")
        if any(normal(cell) == _ANSWER for cell in cells):
            raise self.refusal(
                f"by its column {_ANSWER!r}, rows may say that a class is not there; take those "
                "rows and the column out"
            )
        missing = [column for column in self.columns if not found[column]]
        has_times = all(self._find(column, cells) for column in ("onset", "offset"))
        if has_times and self.columns == COLUMNS["weak"] and "event_labels" not in cells:
            is_strong = _CUT_OUT not in map(normal, cells)
            missing += ["event_labels"] * is_strong
        else:
            is_strong = False
        if missing:
            what = f"no column {missing[0]!r}; the columns are {first_quoted(cells)}{self.needed}"
            raise self.other(what + self._other_kind(cells, is_strong))
        return {column: places[0] for column, places in found.items() if len(places) == 1}

    def _other_kind(self, cells: list[str], is_strong: bool) -> str:
        """Return a hint if the first row is one of another kind of label table."""
        is_weak = len(cells) == 2 and ("event_labels" in cells or "filename" not in cells)
        kinds = {
            "strong labels": is_strong,
            "weak labels": is_weak,
            "unlabelled clips": len(cells) == 1,
        }
        for (what, is_kind), columns in zip(kinds.items(), COLUMNS.values(), strict=True):
            if is_kind and self.columns in {*COLUMNS.values()} - {columns}:
                return f"; it looks like a table of {what}"
        return ""

    def _unnamed(
        self, cells: list[str], found: dict[str, list[int]], dialect: Dialect
    ) -> dict[str, int]:
        """Return the places of the columns of a table without a header line."""
        first, *others = self.columns
        is_strong, n_columns = "onset" in others, len(self.columns)
        if not others:
            return self._names_alone(cells, found, dialect)
        numbers = [is_number(cell.replace(",", ".")) for cell in cells]
        if is_strong and numbers[1:] == [False, True, True, False] and cells[1]:
            return dict(zip(self.columns, (0, 2, 3, 4), strict=True))
        if len(cells) == 1:
            raise self.other(f"columns must be separated by tabs, not as in {quoted(cells[0])}")
        has_width = n_columns <= len(cells) <= n_columns + len(self.optional)
        if not has_width and not found[first]:
            hint = self._other_kind(cells, numbers[1:3] == [True, True])
            what = f"{len(cells)} columns and no header line; expected {', '.join(self.columns)}"
            raise self.other(what + (hint or f", not {first_quoted(cells)}"))
        if is_strong and numbers[:3] == [True, True, False]:
            raise self.other(f"times in the first two columns, and no names of clips{self.needed}")
        is_row = self.columns[1] in _NUMBERS and (any(numbers[1:3]) or not all(cells[1:3]))
        looks_odd = is_strong or found[first] or self._differs(cells, dialect)
        if not has_width or (looks_odd and not is_row):
            raise self._header_like(cells, found)
        return {column: place for place, column in enumerate((*self.columns, *self.optional))}

    def _header_like(self, cells: list[str], found: dict[str, list[int]]) -> LabelError:
        missing = next((column for column in self.columns if not found[column]), self.columns[0])
        what = f"this looks like a header without a column {missing!r}: {first_quoted(cells)}"
        return self.other(what + self.needed)

    def _names_alone(
        self, cells: list[str], found: dict[str, list[int]], dialect: Dialect
    ) -> dict[str, int]:
        """Return the place of the names in a list without a header line, of which many have one.

        Names may have commas. They are in the first of several cells if that alone has a suffix.
        """
        if found["filename"] and not _SUFFIX.search(cells[-1]):
            raise LabelError(*self._header_like(cells, found).args)
        if dialect.separator != "\t":
            has_suffix = [True] + [False] * (len(cells) - 1)
            rows = ([bool(_SUFFIX.search(cell)) for cell in row] for row in self._rows(dialect))
            if any(row != has_suffix for row in rows):
                raise self.other("not a table of names")
        elif any(
            _SUFFIX.search(cell) for mark in _SEPARATORS for cell in cells[0].split(mark)[:-1]
        ):
            what = f"{quoted(cells[0])} looks like several cells, not like the name of a clip"
            raise self.refusal(what + self.needed)
        elif self._differs(cells, dialect):
            raise self._header_like(cells, found)
        return {"filename": 0}

    def _differs(self, cells: list[str], dialect: Dialect) -> bool:
        """Return whether the first row looks like a header: all names but its own have a suffix.

        Or they are numbers, as those of FSD50K. Its last cell stands in no other row.
        """
        rows = list(islice(self._rows(dialect), 1, _HEAD))
        if _SUFFIX.search(cells[0]) or cells[0].isdecimal() or not rows:
            return False
        have_suffixes = all(_SUFFIX.search(row[0]) for row in rows)
        return (have_suffixes or all(row[0].isdecimal() for row in rows)) and not any(
            row[-1] == cells[-1] for row in rows
        )

    def _rows(self, dialect: Dialect) -> Iterator[list[str]]:
        """Yield the cells of the rows that can be told apart."""
        for line in self.lines:
            if not dialect.is_blank(line):
                with contextlib.suppress(LabelError):
                    yield dialect.cells(line.removesuffix("\r"), "")

    def _has_decimal_commas(self, dialect: Dialect) -> bool:
        """Return whether it is certain that numbers have commas for points."""
        places = [dialect.places[name] for name in _NUMBERS if name in dialect.places]
        if not places or not any("," in line for line in self.lines):
            return False
        rows = islice(self._rows(dialect), dialect.first - 1, None)
        numbers = [row[place] for row in rows for place in places if place < len(row)]
        with_comma = [text for text in numbers if "," in text]
        are_all = all(map(_DECIMAL_COMMA.fullmatch, with_comma)) and "." not in "".join(numbers)
        return are_all and not all(map(_THOUSANDS.fullmatch, with_comma))
