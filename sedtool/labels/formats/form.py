"""How an event list of a format is read and written, and where a folder keeps a clip."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sedtool.errors import LabelError
from sedtool.labels.cells import check_cell, numbered_lines, split_cells
from sedtool.labels.dialect import Dialect
from sedtool.labels.events import Event, StrongLabels
from sedtool.labels.signatures import separator_of

# What Raven and BirdNET add to the name of a recording for that of its table.
_BY_RAVEN = re.compile(r"(\.Table\.\d+)?(\.selections)?$")
_BY_BIRDNET = re.compile(r"\.BirdNET\.(results|selection\.table)$")
_TABLE = re.compile(r"\.(txt|csv|tsv|table)$", re.IGNORECASE)
_LONGEST_NAME = 230  # bytes; file systems take 255, and a temporary name is longer


Labels = StrongLabels | dict[str, tuple[str, ...]]  # events, or the labels of each clip


@dataclass(frozen=True)
class LabelSource:
    """How one kind of label file is read."""

    name: str
    suffix: str  # of its files
    read: Callable[[Path, str], Labels]  # (path, name of a clip that it does not name)

    @property
    def last_suffix(self) -> str:
        """Return what the names of its files end with, whoever wrote them."""
        return "." + self.suffix.rpartition(".")[2]

    def clip_of(self, file: str) -> str:
        """Return the clip that a label file is named after: its name without the suffix."""
        return _BY_BIRDNET.sub("", _TABLE.sub("", file))


@dataclass(frozen=True)
class EventFormat(LabelSource):
    """How one kind of event list is read and written.

    A list is its header once, then the rows of one clip after the other; or a document for each.
    """

    row: Callable[[Event, int, bool], str]  # (event, its number, with confidence)
    header: Callable[[bool], str] = lambda confidence: ""  # (with confidence)
    silent: Callable[[str], str] = lambda name: ""  # what says that the clip has no events
    one_clip: bool = False  # a file holds one clip
    document: Callable[[str, Sequence[Event], bool], str] | None = None  # (clip, events, with …)

    def clip_of(self, file: str) -> str:
        """Return the clip that a label file is named after: its name without the suffix."""
        is_named_so = file.endswith(self.last_suffix)
        name = file.removesuffix(self.last_suffix) if is_named_so else _TABLE.sub("", file)
        return _BY_BIRDNET.sub("", _BY_RAVEN.sub("", name) if self.name == "raven" else name)

    def rows(self, events: Iterable[Event], first: int = 1, confidence: bool = False) -> str:
        """Return events sorted by file, then onset, and numbered from `first`.

        A name or a label that the format cannot hold is a LabelError.
        """
        return "".join(self.row(e, n, confidence) for n, e in enumerate(ordered(events), first))

    def text(self, name: str, events: Sequence[Event], confidence: bool, silent: str = "") -> str:
        """Return the list of one clip; without rows, `silent` stands in their place."""
        if self.document is not None:
            return self.document(name, ordered(events), confidence)
        return self.header(confidence) + (self.rows(events, 1, confidence) or silent)

    def file_of(self, name: str) -> Path:
        """Return where a folder keeps the clip `name`: its name with the suffix added.

        It is a LabelError if that would be outside the folder, hidden, or could not be read back.
        """
        parts = check_cell(name).split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise LabelError(f"{name!r} leads out of the folder, or is no plain path")
        if any(part.startswith(".") for part in parts):
            raise LabelError(f"{name!r} would be a hidden file, which is not read back")
        if any(len(os.fsencode(part + self.suffix)) > _LONGEST_NAME for part in parts):
            raise LabelError(f"{name!r} is too long for the name of a file")
        return Path(name + self.suffix)


def separated_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (``file:line``, cells) of the rows, without those that begin with ``#``.

    Cells are separated by tabs, and stand as they are, or else by commas or semicolons as in CSV.
    """
    dialect = None
    for where, line in numbered_lines(path):
        if not line.startswith("#"):
            dialect = dialect or Dialect(separator_of(line))
            is_plain = dialect.separator == "\t"
            yield where, split_cells(line) if is_plain else dialect.cells(line, where)


def ordered(events: Iterable[Event]) -> list[Event]:
    """Return events sorted by file, onset, offset and label."""
    return sorted(events, key=lambda e: (e.name, e.onset, e.offset, e.label))


def table_row(cells: Sequence[str], event: Event, confidence: bool) -> str:
    """Return a row of a table, and in it the confidence of its event if that is asked for."""
    if confidence:
        cells = [*cells, "" if event.confidence is None else f"{event.confidence:.4f}"]
    return "\t".join(cells) + "\n"
