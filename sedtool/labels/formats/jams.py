"""JAMS documents: one clip a file, as Scaper writes them beside its soundscapes (DESED, URBAN-SED).

Read are the annotations of the namespaces ``scaper`` (earlier ``sound_event``), ``segment_open``
and, where there is none of these, those of ``tag_…``, which are labels of the whole clip.

- What Scaper puts in the background lasts as long as the clip and is no event: it is left out. The
  confidence of 1 that it gives to all events says nothing, and is left out, too.
- The clip is ``file_metadata.identifiers.filename``, which only sedtool writes, else the one that
  the file is named after, with the suffix of Scaper's ``soundscape_audio_path``.

Written is ``segment_open``, the namespace for labels of any kind with times that the library `jams`
knows (``sound_event`` it does not). The library asks for the length of the clip: that is said to be
the end of the last event. Times keep every digit, as onset and duration add up in decimals.
"""

import logging
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from sedtool.errors import LabelError
from sedtool.labels.cells import parse_number, parse_span
from sedtool.labels.events import Event, StrongLabels
from sedtool.labels.formats.form import EventFormat, Labels
from sedtool.labels.formats.json_lines import digits, json_text, read_document
from sedtool.text import first_quoted, quoted

log = logging.getLogger(__name__)

_TIMED = ("scaper", "sound_event", "segment_open")
_VERSION = "0.3.4"  # of the schema
_Placed = tuple[str, dict[str, Any]]  # where an object stands, and it


def _read_jams(path: Path, name: str) -> Labels:
    document = read_document(path)
    if not isinstance(document, dict):
        raise LabelError(f"{path}: not a JSON object, which a JAMS document is")
    annotations = list(_objects(document, "annotations", f"{path}"))
    name = _clip(document, annotations, name)
    if timed := [pair for pair in annotations if pair[1].get("namespace") in _TIMED]:
        if len(timed) > 1:
            log.warning("%s: the events of %d annotations are joined", path, len(timed))
        return StrongLabels([event for pair in timed for event in _events(*pair, name)], (name,))
    spaces = [str(annotation.get("namespace")) for _, annotation in annotations]
    if not any(space.startswith("tag_") for space in spaces):
        raise LabelError(
            f"{path}: no annotation of a namespace that is read ({', '.join(_TIMED)}, tag_open); "
            f"there are {first_quoted(spaces)}"
        )
    tags = [pair for pair in annotations if str(pair[1].get("namespace")).startswith("tag_")]
    items = [pair for where, tag in tags for pair in _objects(tag, "data", where)]
    sure = [item.get("confidence") in (None, 1) for _, item in items]
    if not all(sure):
        log.warning("%s: %d tags that are not sure are taken as whole", path, sure.count(False))
    return {name: tuple(dict.fromkeys(_label(item, where) for where, item in items))}


def _objects(parent: dict[str, Any], key: str, where: str) -> Iterator[_Placed]:
    """Yield the objects of a list, with where they stand."""
    items = parent.get(key)
    if not isinstance(items, list):
        raise LabelError(f"{where}: {key} is not a list")
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise LabelError(f"{where}: {key}[{number}] is not an object")
        yield f"{where}: {key}[{number}]", item


def _clip(document: dict[str, Any], annotations: list[_Placed], name: str) -> str:
    given = _value(document, "file_metadata", "identifiers", "filename")
    if isinstance(given, str) and given:
        return given
    paths = [_value(each, "sandbox", "scaper", "soundscape_audio_path") for _, each in annotations]
    suffix = next((Path(path).suffix for path in paths if isinstance(path, str)), "")
    return name if name.lower().endswith(suffix.lower()) else name + suffix


def _value(parent: Any, *keys: str) -> Any:
    """Return what stands under keys in keys; None where it is not there."""
    for key in keys:
        parent = parent.get(key) if isinstance(parent, dict) else None
    return parent


def _events(where: str, annotation: dict[str, Any], name: str) -> Iterator[Event]:
    for at, item in _objects(annotation, "data", where):
        role = _value(item, "value", "role")
        if role == "background":
            _say_background()
            continue
        times = parse_span(digits(item, "time", at), digits(item, "duration", at), at)
        score = None if role and item.get("confidence") == 1 else item.get("confidence")
        confidence = None if score is None else parse_number(digits(item, "confidence", at), at)
        yield Event(name, *times, _label(item, at), confidence)


@cache
def _say_background() -> None:
    """Say it once, and not for each of ten thousand soundscapes."""
    log.warning("the background events of Scaper last all the time, and are left out")


def _label(item: dict[str, Any], where: str) -> str:
    label = _value(item, "value", "label") or item.get("value")
    if not isinstance(label, str) or not label:
        raise LabelError(f"{where}: the value {quoted(label)} is no label")
    return label


def _row(event: Event, number: int, confidence: bool) -> str:
    onset, offset = (Decimal(repr(float(time))) for time in (event.onset, event.offset))
    score = event.confidence if confidence and event.confidence is not None else None
    return (
        f'{{"time": {onset}, "duration": {offset - onset}, "value": {json_text(event.label)}, '
        f'"confidence": {json_text(score)}}}'
    )


def _jams_document(name: str, events: Sequence[Event], confidence: bool) -> str:
    rows = ",\n".join(_row(event, 0, confidence) for event in events)
    file = {
        "identifiers": {"filename": name},
        "duration": max((float(event.offset) for event in events), default=0.0),
        "jams_version": _VERSION,
    }
    return (
        '{"annotations": [{"namespace": "segment_open", "annotation_metadata": {}, "sandbox": {}, '
        f'"data": [\n{rows}\n]}}],\n"file_metadata": {json_text(file)}, "sandbox": {{}}}}\n'
    )


JAMS = EventFormat("jams", ".jams", _read_jams, _row, one_clip=True, document=_jams_document)
