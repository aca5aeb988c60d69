r"""The formats of event lists, by name; how a format is told, and where a folder keeps a clip.

::

    name        suffix            clips         times
    dcase       .tsv              many          three decimals, never rounded to zero length
    audacity    .txt              one a file    six decimals, never rounded to zero length
    raven       .selections.txt   many          every digit
    jsonl       .jsonl            many          every digit

A module each says what is read and written: `dcase`, `audacity`, `raven`, `json_lines`.
"""

import re
from pathlib import Path

from sedtool.config import lookup
from sedtool.errors import LabelError
from sedtool.labels.cells import parse_number, table_rows
from sedtool.labels.formats.audacity import AUDACITY
from sedtool.labels.formats.dcase import DCASE, format_events, format_weak, write_events, write_weak
from sedtool.labels.formats.form import EventFormat
from sedtool.labels.formats.json_lines import JSON_LINES
from sedtool.labels.formats.raven import RAVEN
from sedtool.labels.tables import RAVEN_TIME

__all__ = [
    "EVENT_FORMATS",
    "EventFormat",
    "detect_format",
    "event_format",
    "format_events",
    "format_weak",
    "write_events",
    "write_weak",
]

EVENT_FORMATS = {form.name: form for form in (DCASE, AUDACITY, RAVEN, JSON_LINES)}


def event_format(name: str) -> EventFormat:
    """Return a format by its name, or raise a ConfigError that lists them."""
    return lookup(EVENT_FORMATS, name, "format")


def detect_format(path: Path) -> EventFormat:
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
    by_suffix = [f.name for f in longest_first if path.name.lower().endswith(f.suffix)][:1]
    cells = next((cells for _, cells in table_rows(path)), None)
    possible = by_suffix if cells is None else _formats_that_begin(cells)
    if by_suffix and by_suffix[0] in ("jsonl", "raven"):
        possible = [name for name in possible if name == by_suffix[0]]
    if len(possible) != 1:
        raise LabelError(
            f"{path}: cannot tell what kind of event list this is; "
            f"say it with --from {'|'.join(possible or EVENT_FORMATS)}"
        )
    return EVENT_FORMATS[possible[0]]


def _formats_that_begin(cells: list[str]) -> list[str]:
    """Return the formats that a file with this first line may have."""
    if cells[0].startswith("{"):
        return ["jsonl"]
    if RAVEN_TIME in cells:
        return ["raven"]
    if "filename" in cells:
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
