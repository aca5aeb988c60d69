r"""The formats of label files, by name; and how the format of a file is told.

::

    name        suffix            clips         times
    dcase       .tsv              many          three decimals, never rounded to zero length
    audacity    .txt              one a file    six decimals, never rounded to zero length
    raven       .selections.txt   many          every digit
    jsonl       .jsonl            many          every digit
    jams        .jams             one a file    every digit

These are read and written. A module each says how: `dcase`, `audacity`, `raven`, `json_lines`,
`jams`; those of `published` are read only, and so are weak labels.
"""

import contextlib
from pathlib import Path

from sedtool.config import lookup
from sedtool.errors import LabelError
from sedtool.file_kinds import HEAD_SIZE, file_kind
from sedtool.labels.cells import is_number
from sedtool.labels.dialect import Fault
from sedtool.labels.formats.audacity import AUDACITY
from sedtool.labels.formats.dcase import DCASE, format_events, format_weak, write_events, write_weak
from sedtool.labels.formats.form import EventFormat, LabelSource, separated_rows
from sedtool.labels.formats.jams import JAMS
from sedtool.labels.formats.json_lines import JSON_LINES
from sedtool.labels.formats.published import (
    AUDIOSET,
    BIRDNET,
    PRAAT,
    TRACK,
    read_label_names,
    track_layouts,
)
from sedtool.labels.formats.raven import RAVEN
from sedtool.labels.signatures import decode_head, read_head, signature
from sedtool.labels.tables import Row, read_rows, read_weak

__all__ = [
    "EVENT_FORMATS",
    "SOURCES",
    "EventFormat",
    "LabelSource",
    "detect_format",
    "event_format",
    "format_events",
    "format_weak",
    "read_label_names",
    "write_events",
    "write_weak",
]

EVENT_FORMATS = {form.name: form for form in (DCASE, AUDACITY, RAVEN, JSON_LINES, JAMS)}
WEAK = LabelSource("weak", ".tsv", lambda path, name: read_weak(path))
SOURCES = {**EVENT_FORMATS, **{form.name: form for form in (WEAK, BIRDNET, PRAAT, TRACK, AUDIOSET)}}


def event_format(name: str) -> EventFormat:
    """Return a format by its name, or raise a ConfigError that lists them."""
    return lookup(EVENT_FORMATS, name, "format")


def detect_format(path: Path) -> LabelSource:
    """Tell the format of a file from its head, or if it is empty from its suffix.

    Raises
    ------
    LabelError
        If it could be none or several of them, or ends in ``.jsonl`` or ``.selections.txt`` and is
        something else.
    """
    if path.exists() and not path.is_file():  # a pipe can be read once only
        raise LabelError(f"{path} is no regular file: say with --from what it holds")
    longest_first = sorted(EVENT_FORMATS.values(), key=lambda f: len(f.suffix), reverse=True)
    by_suffix = next((f for f in longest_first if path.name.lower().endswith(f.suffix)), None)
    data = read_head(path)
    head = decode_head(data)
    if by_suffix is not None and not head.strip():
        return by_suffix
    told = signature(head, path)
    if told is not None and not told.name:
        raise LabelError(f"{path}: this is {told.what}; {told.remedy}")
    if by_suffix in (JSON_LINES, RAVEN) and (told is None or told.name != by_suffix.name):
        what = told.what if told else "something else"
        raise LabelError(
            f"{path}: cannot tell what kind of label file this is: it is named as {by_suffix.name} "
            f"files are, and looks like {what}; say with --from what it is"
        )
    return SOURCES[told.name if told else _name_by_rows(path, data)]


def _name_by_rows(path: Path, head: bytes) -> str:
    """Return the name of the kind of table that can be read, for columns of other names."""
    if kind := file_kind(head[:HEAD_SIZE], path.name):
        raise LabelError(f"{path}: {kind}")
    faults = []
    for what, name in (("strong", "dcase"), ("weak", "weak")):
        first = next(read_rows(path, what), None)
        is_list = isinstance(first, Row) and any(map(is_number, first.labels))  # of durations
        if not is_list and (not isinstance(first, Fault) or first.kind != "file"):
            return name
        faults.append(first)
    with contextlib.suppress(LabelError):  # which the reader of tables words better
        if track_layouts(next(separated_rows(path), ("", []))[1]):
            return "track"
    raise LabelError(f"{faults[0]}; or say what file this is with --from {'|'.join(SOURCES)}")
