"""The formats of event lists, by name; how a format is told, and where a folder keeps a recording.

::

    name        suffix            recordings    times
    dcase       .tsv              many          three decimals, never rounded to zero length
    audacity    .txt              one a file    six decimals, never rounded to zero length
    raven       .selections.txt   many          every digit
    jsonl       .jsonl            many          every digit
"""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sedtool.config import lookup
from sedtool.errors import LabelError
from sedtool.labels.audacity import format_audacity, read_audacity
from sedtool.labels.cells import check_cell, parse_number, table_rows
from sedtool.labels.events import Event, StrongLabels
from sedtool.labels.jsonl import format_jsonl, format_silent_jsonl, read_jsonl
from sedtool.labels.raven import BEGIN_TIME, format_raven, raven_header, read_raven
from sedtool.labels.tables import (
    STRONG_COLUMNS,
    format_events,
    format_header,
    format_silent,
    read_events,
)

__all__ = ["EVENT_FORMATS", "EventFormat", "event_format", "guess_format"]

_LONGEST_NAME = 230  # bytes; file systems take 255, and a temporary name is longer
_NUMBERED_TABLE = re.compile(r"\.Table\.\d+$")  # as Raven names what it saves


@dataclass(frozen=True)
class EventFormat:
    """How one kind of event list is read and written.

    A list is its header once, then the rows of one recording after the other.
    """

    name: str
    suffix: str  # of its files
    one_recording: bool  # a file holds one recording, which the file is named after
    read: Callable[[Path, str], StrongLabels]  # (path, name of a recording that it does not name)
    header: Callable[[bool], str]  # (with confidence)
    rows: Callable[[Iterable[Event], int, bool], str]  # (events, number of the first, confidence)
    silent: Callable[[str], str]  # what says that the recording of this name has no events

    @property
    def last_suffix(self) -> str:
        """Return what the names of its files end with, whoever wrote them."""
        return "." + self.suffix.rpartition(".")[2]

    def file_of(self, name: str) -> Path:
        """Return where a folder keeps the recording `name`: its name with the suffix added.

        Raises
        ------
        LabelError
            If that would be outside the folder, hidden, or no name that can be read back.
        """
        parts = check_cell(name).split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise LabelError(f"{name!r} leads out of the folder, or is no plain path")
        if any(part.startswith(".") for part in parts):
            raise LabelError(f"{name!r} would be a hidden file, which is not read back")
        if any(len(os.fsencode(part + self.suffix)) > _LONGEST_NAME for part in parts):
            raise LabelError(f"{name!r} is too long for the name of a file")
        return Path(name + self.suffix)

    def recording_of(self, file: str) -> str:
        """Return the recording that a label file is named after: its name without the suffix."""
        name = file.removesuffix(self.last_suffix)
        if self.name == "raven":
            name = _NUMBERED_TABLE.sub("", name.removesuffix(".selections"))
        return name


EVENT_FORMATS: dict[str, EventFormat] = {
    "dcase": EventFormat(
        name="dcase",
        suffix=".tsv",
        one_recording=False,
        read=lambda path, name: read_events(path),
        header=format_header,
        rows=lambda events, first, confidence: format_events(events, confidence, header=False),
        silent=format_silent,
    ),
    "audacity": EventFormat(
        name="audacity",
        suffix=".txt",
        one_recording=True,
        read=read_audacity,
        header=lambda confidence: "",
        rows=lambda events, first, confidence: format_audacity(events, confidence),
        silent=lambda name: "",  # an empty file says it
    ),
    "raven": EventFormat(
        name="raven",
        suffix=".selections.txt",
        one_recording=False,
        read=read_raven,
        header=raven_header,
        rows=format_raven,
        silent=lambda name: "",  # no row can say it
    ),
    "jsonl": EventFormat(
        name="jsonl",
        suffix=".jsonl",
        one_recording=False,
        read=lambda path, name: read_jsonl(path),
        header=lambda confidence: "",
        rows=lambda events, first, confidence: format_jsonl(events, confidence),
        silent=format_silent_jsonl,
    ),
}


def event_format(name: str) -> EventFormat:
    """Return a format by its name, or raise a ConfigError that lists them."""
    return lookup(EVENT_FORMATS, name, "format")


def guess_format(path: Path) -> EventFormat:
    """Tell the format of a file from its first line, or if it is empty from its suffix.

    ``{`` begins JSON lines, a column ``Begin Time (s)`` a Raven table, a column ``filename`` one of
    DCASE. Without a header, numbers in columns two and three mean DCASE, in one and two Audacity.

    Raises
    ------
    LabelError
        If it could be none or several of them, or ends in ``.jsonl`` or ``.selections.txt`` and is
        something else.
    """
    if path.exists() and not path.is_file():  # a pipe can be read once only
        raise LabelError(f"{path} is no regular file: say with --from what it holds")
    longest_first = sorted(EVENT_FORMATS.values(), key=lambda f: len(f.suffix), reverse=True)
    said = [f.name for f in longest_first if path.name.lower().endswith(f.suffix)][:1]
    cells = next((cells for _, cells in table_rows(path)), None)
    told = said if cells is None else _formats_that_begin(cells)
    if said and said[0] in ("jsonl", "raven"):
        told = [name for name in told if name == said[0]]
    if len(told) != 1:
        raise LabelError(
            f"{path}: cannot tell what kind of event list this is; "
            f"say it with --from {'|'.join(told or EVENT_FORMATS)}"
        )
    return EVENT_FORMATS[told[0]]


def _formats_that_begin(cells: list[str]) -> list[str]:
    """Return the formats that a file with this first line may have."""
    if cells[0].startswith("{"):
        return ["jsonl"]
    if BEGIN_TIME in cells:
        return ["raven"]
    if STRONG_COLUMNS[0] in cells:
        return ["dcase"]
    numbers = "".join("n" if _is_number(cell) else "x" for cell in cells)
    kinds = {"dcase": ".nn.n?", "audacity": "nn.n?"}  # where numbers must stand
    return [name for name, pattern in kinds.items() if re.fullmatch(pattern, numbers)]


def _is_number(text: str) -> bool:
    try:
        parse_number(text, "")
    except LabelError:
        return False
    return True
