"""JSON lines: one object an event.

::

    {"filename": "a.wav", "onset": 0.5, "offset": 1.25, "event_label": "Dog", "confidence": 0.9}
    {"filename": "silent.wav", "onset": null, "offset": null, "event_label": null}

Times keep all their digits. A recording without events is a line of nulls. Keys that are not named
here are passed over; a key that stands twice, one that is missing, a value of another type, ``NaN``
and ``Infinity`` are refused. Any text can be a name or a label: what would not print is escaped.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sedtool.errors import LabelError
from sedtool.labels.cells import numbered_lines, parse_interval, parse_number
from sedtool.labels.events import Event, StrongLabels

__all__ = ["format_jsonl", "format_silent_jsonl", "read_jsonl", "unique_keys"]

KEYS = ("filename", "onset", "offset", "event_label")


def read_jsonl(path: Path) -> StrongLabels:
    """Read a file of JSON lines.

    Raises
    ------
    LabelError
        With file and line.
    """
    events: list[Event] = []
    names: dict[str, None] = {}
    for where, line in numbered_lines(path):
        if not line.strip():
            continue
        entry = _object(line, where)
        name = _text(entry["filename"], "filename", where)
        names[name] = None
        values = [entry[key] for key in KEYS[1:]]
        if all(value is None for value in values):
            continue
        if any(value is None for value in values):
            raise LabelError(
                f"{where}: onset, offset and event_label must be all given or all null"
            )
        onset, offset, label = values
        times = parse_interval(
            _digits(onset, "onset", where), _digits(offset, "offset", where), where
        )
        confidence = entry.get("confidence")
        if confidence is not None:
            confidence = parse_number(_digits(confidence, "confidence", where), where)
        events.append(Event(name, *times, _text(label, "event_label", where), confidence))
    return StrongLabels(events, tuple(names))


def _object(line: str, where: str) -> dict[str, Any]:
    """Parse one line; every key of an event must be there."""
    try:
        entry = json.loads(line, object_pairs_hook=unique_keys, parse_constant=_refuse_constant)
    except RecursionError:
        raise LabelError(f"{where}: nested too deeply") from None
    except ValueError as error:  # a JSONDecodeError, or an integer of thousands of digits
        raise LabelError(f"{where}: not JSON ({error})") from None
    if not isinstance(entry, dict):
        raise LabelError(f"{where}: not a JSON object")
    missing = [key for key in KEYS if key not in entry]
    if missing:
        raise LabelError(f"{where}: no key {missing[0]!r}; the keys are {list(entry)}")
    return entry


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, for json.loads to call; a key that stands twice is a ValueError."""
    entry = dict(pairs)
    if len(entry) < len(pairs):
        raise ValueError("a key stands twice")
    return entry


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _text(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise LabelError(f"{where}: {key} {value!r} is not text, or empty")
    return value


def _digits(value: Any, key: str, where: str) -> str:
    """Return a JSON number as text; true and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LabelError(f"{where}: {key} {value!r} is not a number")
    return repr(value)


def format_jsonl(events: Iterable[Event], confidence: bool = False) -> str:
    """Return the lines of events, sorted by file, then onset."""
    lines = []
    for event in sorted(events, key=lambda e: (e.name, e.onset, e.offset, e.label)):
        values = (event.name, float(event.onset), float(event.offset), event.label)
        entry: dict[str, Any] = dict(zip(KEYS, values, strict=True))
        if confidence and event.confidence is not None:
            entry["confidence"] = float(event.confidence)
        lines.append(_line(entry))
    return "".join(lines)


def format_silent_jsonl(name: str) -> str:
    """Return the line of a recording without events."""
    return _line({"filename": name, "onset": None, "offset": None, "event_label": None})


def _line(entry: dict[str, Any]) -> str:
    text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n"
