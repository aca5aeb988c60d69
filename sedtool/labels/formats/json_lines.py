"""JSON lines of events.

They have one object an event, and a line of nulls for a clip without events::

    {"filename": "a.wav", "onset": 0.5, "offset": 1.25, "event_label": "Dog", "confidence": 0.9}
    {"filename": "silent.wav", "onset": null, "offset": null, "event_label": null}

Keys that are not named here are passed over; a key that stands twice, one that is missing, a value
of another type, ``NaN`` and ``Infinity`` are refused. Any text can be a name or a label: what would
not print is escaped.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from sedtool.bounds import RECORD, read_bounded
from sedtool.errors import LabelError
from sedtool.labels.cells import decode_text, numbered_lines, parse_interval, parse_number
from sedtool.labels.dialect import COLUMNS
from sedtool.labels.events import Event, StrongLabels
from sedtool.labels.formats.form import EventFormat
from sedtool.text import first_quoted, quoted, strict_json


def _read_jsonl(path: Path, name: str) -> StrongLabels:
    events: list[Event] = []
    names: dict[str, None] = {}
    for where, line in numbered_lines(path):
        entry = parse_json(line, where)
        if not isinstance(entry, dict):
            raise LabelError(f"{where}: not a JSON object")
        missing = [key for key in COLUMNS["strong"] if key not in entry]
        if missing:
            raise LabelError(
                f"{where}: no key {quoted(missing[0])}; the keys are {first_quoted(entry)}"
            )
        clip = _text(entry, "filename", where)
        names[clip] = None
        values = [entry[key] for key in COLUMNS["strong"][1:]]
        if all(value is None for value in values):
            continue
        if any(value is None for value in values):
            raise LabelError(
                f"{where}: onset, offset and event_label must be all given or all null"
            )
        onset, offset = (digits(entry, key, where) for key in ("onset", "offset"))
        times = parse_interval(onset, offset, where)
        confidence = None
        if entry.get("confidence") is not None:
            confidence = parse_number(digits(entry, "confidence", where), where)
        events.append(Event(clip, *times, _text(entry, "event_label", where), confidence))
    return StrongLabels(events, tuple(names))


def parse_json(line: str, where: str) -> Any:
    """Return what one line of JSON lines holds; a key that stands twice is an error."""
    try:
        return strict_json(line)
    except ValueError as error:  # a JSONDecodeError, or an integer of thousands of digits
        raise LabelError(f"{where}: not JSON ({error})") from None


def read_document(path: Path) -> Any:
    """Return what a file of one JSON value holds; what is no whole number is a Decimal."""
    try:
        return strict_json(decode_text(read_bounded(path, RECORD), path), Decimal)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise LabelError(f"{path}: not JSON ({error})") from None


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value:
        raise LabelError(f"{where}: {key} {quoted(value)} is not text, or empty")
    return value


def digits(entry: dict[str, Any], key: str, where: str) -> str:
    """Return a JSON number as text; true and false are no numbers."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise LabelError(f"{where}: {key} {quoted(value)} is not a number")
    return str(value)


def _jsonl_row(event: Event, number: int, confidence: bool) -> str:
    values = (event.name, float(event.onset), float(event.offset), event.label)
    if confidence and event.confidence is not None:
        return _json_line(*values, confidence=float(event.confidence))
    return _json_line(*values)


def _json_line(*values: str | float | None, **more: float) -> str:
    entry = dict(zip(COLUMNS["strong"], values, strict=True)) | more
    return json_text(entry) + "\n"


def json_text(value: object) -> str:
    """Return a value as JSON on one line, in which what would not print is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


JSON_LINES = EventFormat(
    "jsonl",
    ".jsonl",
    read=_read_jsonl,
    row=_jsonl_row,
    silent=lambda name: _json_line(name, None, None, None),
)
