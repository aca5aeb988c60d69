"""Tables of other programs and data sets that are read, and not written.

::

    birdnet     .csv    results of BirdNET-Analyzer as CSV, for R, and for Kaleidoscope
    praat       .txt    what Praat's "Down to Table..." makes of a TextGrid
    track       .csv    a table with onset, offset or duration, and label, that names no clips
    audioset    .csv    segment lists of AudioSet: YTID, start, end, ids of labels

Cells are separated by tabs, semicolons or commas, and quoted as in CSV. Columns are found by name.

- A table that does not name its clips, as most of BirdNET and those of Praat, is of the clip that
  the file is named after. ``nocall`` is no event, and neither is what has no text in a TextGrid.
- The tiers of a TextGrid, and the annotators of a table, are joined.
- A clip of AudioSet is ``YTID_start_end``, and its labels are those of all of it. They are ids;
  `read_label_names` reads the files that give them names.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sedtool.errors import LabelError
from sedtool.labels.cells import named_cells, parse_interval, parse_number, parse_span
from sedtool.labels.dialect import SYNONYMS, normal
from sedtool.labels.events import Event, StrongLabels
from sedtool.labels.formats.form import Labels, LabelSource, separated_rows
from sedtool.labels.formats.json_lines import read_document
from sedtool.labels.formats.raven import NO_CALL, posix_path
from sedtool.text import first_quoted, quoted

log = logging.getLogger(__name__)

LABEL_ID = re.compile(r"/[a-z]/\w+")  # of AudioSet's ontology


class _Layout(NamedTuple):
    """The columns of a table, in lower case."""

    onset: str
    end: str  # the offset, or the duration
    label: str
    clip: tuple[str, ...] = ()  # parts of its path; those that are not there are passed over
    confidence: str = ""


_BIRDNET = (
    _Layout("start (s)", "end (s)", "common name", ("file",), "confidence"),
    _Layout("start", "end", "common_name", ("filepath",), "confidence"),
    _Layout("offset", "duration", "common_name", ("indir", "folder", "in file"), "confidence"),
    _Layout("offset", "duration", "top1match", ("indir", "folder", "in file")),
)
_NO_NAMES = {  # columns that are sure to name no clips
    *("", "annotator", "channel", "comment", "comments", "id", "index", "note", "notes", "tier"),
    *("f_min", "f_max", "fmin", "fmax", "low_freq", "high_freq", "freq_min", "freq_max"),
}
_PRAAT = (_Layout("tmin", "tmax", "text"),)


def track_layouts(columns: Sequence[str]) -> list[_Layout]:
    """Return the layout of columns that give events, by any of their names, but no clips."""
    place = {
        name: next((c for c in columns if normal(c) in (name, *SYNONYMS[name])), "")
        for name in ("onset", "offset", "duration", "event_label", "filename", "confidence")
    }
    layout = _Layout(
        place["onset"],
        place["offset"] or place["duration"],
        place["event_label"],
        confidence=place["confidence"],
    )
    others = {normal(column) for column in columns if column not in place.values()}
    is_of_one_clip = not place["filename"] and others <= _NO_NAMES
    return [layout] if all(layout[:3]) and is_of_one_clip else []


def _read_events(path: Path, name: str, layouts: Sequence[_Layout] = ()) -> Labels:
    rows = separated_rows(path)
    where, header = next(rows, (f"{path}", []))
    columns = [column.lower() for column in header]
    fitting = (each for each in layouts if set(each[:3]) <= set(columns))
    layout = next(fitting if layouts else iter(track_layouts(columns)), None)
    if layout is None:
        wanted = ", ".join(layouts[0][:3] if layouts else ("onset", "offset", "event_label"))
        raise LabelError(f"{where}: no columns {wanted}; the columns are {first_quoted(header)}")
    if any(columns.count(name) > 1 for name in layout[:3]):
        raise LabelError(f"{where}: a column name stands twice in {first_quoted(header)}")
    is_span = normal(layout.end) in ("duration", *SYNONYMS["duration"])
    parse = parse_span if is_span else parse_interval
    events: list[Event] = []
    names: dict[str, None] = {}
    sources: set[str] = set()  # tiers of a TextGrid, or annotators
    for where, cells in rows:
        row = named_cells(columns, cells, where)
        clip = posix_path("/".join(filter(None, (row.get(part) for part in layout.clip)))) or name
        names[clip] = None
        sources.add(row.get("tier") or row.get("annotator", ""))
        label = row[layout.label]
        if not label and layouts is not _PRAAT:
            raise LabelError(f"{where}: the label is empty")
        if label not in ("", NO_CALL):
            times = parse(row[layout.onset], row[layout.end], where)
            number = row.get(layout.confidence)
            confidence = parse_number(number, where) if number else None
            events.append(Event(clip, *times, label, confidence))
    if len(sources) > 1:
        log.warning("%s: the events of %s are joined", path, first_quoted(sorted(sources)))
    return StrongLabels(events, tuple(names) or (name,))


def _read_audioset(path: Path, name: str) -> Labels:
    labels: dict[str, dict[str, None]] = {}
    for where, cells in separated_rows(path):
        if cells[0].lower() == "ytid":
            continue
        if len(cells) != 4:
            raise LabelError(
                f"{where}: {len(cells)} columns; a segment list of AudioSet has YTID, start, end "
                'and labels, as in AAAAAAAAAAA, 30.000, 40.000, "/m/09x0r,/m/05zppz"'
            )
        parse_interval(cells[1], cells[2], where)
        given = [label.strip() for label in cells[3].split(",")]
        if not all(given):
            raise LabelError(f"{where}: a label of {quoted(cells[3])} is empty")
        labels.setdefault("_".join(cells[:3]), {}).update(dict.fromkeys(given))
    return {clip: tuple(of_clip) for clip, of_clip in labels.items()}


def read_label_names(path: Path) -> dict[str, str]:
    """Read label ids and their names: AudioSet's class lists and ontology, FSD50K's vocabulary.

    Of each row of a table, the cell like ``/m/09x0r`` is the id, and the name is the other one
    that is no whole number; a first row without an id is the header.
    """
    if path.suffix.lower() == ".json":
        try:
            return {str(entry["id"]): str(entry["name"]) for entry in read_document(path)}
        except (KeyError, TypeError):
            raise LabelError(f"{path}: not a list of objects with id and name") from None
    names: dict[str, str] = {}
    for number, (where, cells) in enumerate(separated_rows(path)):
        ids = [cell for cell in cells if LABEL_ID.fullmatch(cell)]
        others = [c for c in cells if c and not c.isdigit() and not LABEL_ID.fullmatch(c)]
        if len(ids) == len(others) == 1:
            names[ids[0]] = others[0]
        elif number or ids:
            raise LabelError(f"{where}: not one id like /m/09x0r and one name, but {quoted(cells)}")
    return names


BIRDNET = LabelSource("birdnet", ".csv", lambda path, name: _read_events(path, name, _BIRDNET))
TRACK = LabelSource("track", ".csv", _read_events)
PRAAT = LabelSource("praat", ".txt", lambda path, name: _read_events(path, name, _PRAAT))
AUDIOSET = LabelSource("audioset", ".csv", _read_audioset)
