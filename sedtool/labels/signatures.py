"""What a text is that somebody gives as labels: told from its head, with what can be done with it.

Told are the event lists and tables that `sedtool convert` reads, and files of other programs that
it does not, with how these export them. A table is told by its columns, one without a header by
where numbers stand in its first row.
"""

import codecs
import csv
import json
import re
import shlex
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from sedtool.errors import LabelError
from sedtool.labels.cells import is_number


class Signature(NamedTuple):
    """What a text is, and what can be done with it."""

    name: str  # that `sedtool convert --from` has for it; empty of what convert does not read
    what: str  # with its article
    remedy: str


HEAD = 65536  # bytes or characters that are looked at
_WEAK = ("weak", "audioset")  # have no times
AS_TABLE = (
    "write filename, onset, offset and event_label of each event to a table, separated by tabs, "
    "with times in seconds"
)
_FROM_ELAN = (
    "export it as tab-delimited text with begin and end time in ss.msec alone and without names "
    "of tiers: that is a label track, which sedtool convert reads"
)
_FROM_PRAAT = (
    "in Praat, Tabulate > Down to Table... and then Save as tab-separated file... make a table of "
    "tmin, tier, text and tmax, which sedtool convert reads"
)
_TABLES = (  # name, what it is, and columns that it has in any order, in lower case
    ("dcase", "a table of strong labels", "filename|onset|offset|event_label"),
    ("raven", "a Raven selection table", "begin time (s)|end time (s)"),
    ("birdnet", "a result table of BirdNET", "start (s)|end (s)|common name"),
    ("birdnet", "a result table of BirdNET", "filepath|start|end|scientific_name|common_name"),
    ("birdnet", "a Kaleidoscope table", "indir|folder|in file|offset|duration"),
    ("weak", "the table of ESC-50", "filename|fold|target|category"),
    ("weak", "the table of UrbanSound8K", "slice_file_name|fsid|classid|class"),
    ("weak", "a table of FSD50K", "fname|labels|mids"),
    (
        "dcase",
        "a table of AudioSet's strong labels",
        "segment_id|start_time_seconds|end_time_seconds|label",
    ),
    ("audioset", "a segment list of AudioSet", "ytid|start_seconds|end_seconds|positive_labels"),
    ("praat", "a table that Praat made of a TextGrid", "tmin|tier|text|tmax"),
    ("", "a table of Label Studio", "annotator|annotation_id|lead_time"),
)
_ROWS = (  # name, what it is, and where numbers (n) and other cells (x) stand in its first row
    ("dcase", "a table of strong labels without a header", ".nn.n?"),
    ("audacity", "an Audacity label track", "nn.n?"),
    ("dcase", "a list of the TUT data sets, whose second column is a scene", "xxnnx"),
)
_CLIPS = {  # columns that name clips
    *("filename", "begin path", "begin file", "file", "filepath", "in file", "slice_file_name"),
    *("fname", "segment_id", "ytid"),
}
_KEYS = ("filename", "onset", "offset", "event_label")  # of JSON lines
_AUDIOSET_ROW = re.compile(r'[\w-]{11},\s*[\d.]+,\s*[\d.]+,\s*"?/[a-z]/')
_BY_ELAN = re.compile(r"\d+:\d\d:\d\d[.,]\d+$|Begin Time - ")
# What follows the name of a clip in that of its file.
_OWN_ENDING = re.compile(r"(\.Table\.\d+)?(\.selections|\.BirdNET\.results)?\.\w+$")
_TEXTS = (  # how a text begins, what it is, and what can be done with it
    (r'(File type = "ooTextFile|"Praat chrono).*TextGrid', "a TextGrid of Praat", _FROM_PRAAT),
    (r"<.*<ANNOTATION_DOCUMENT\b", "an ELAN document", _FROM_ELAN),
    (r"<.*<project\b.*audacity", "an Audacity project", "export its labels as text"),
    (r"<.*<sv>", "a Sonic Visualiser session", AS_TABLE),
    (r"<\?xml", "an XML document", AS_TABLE),
    (r"WEBVTT\b|(\d+\s+)?\d+:\d\d:\d\d[.,]\d+ --> ", "a file of subtitles", AS_TABLE),
    (r"%YAML|---\s*\n|(- )?\w+:( [^\t,;]*)?\n", "a YAML document", AS_TABLE),
)


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file, or raise a LabelError."""
    try:
        with path.open("rb") as stream:
            return stream.read(HEAD)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror})") from None


def decode_head(data: bytes) -> str:
    """Return the text of the first bytes; what is none, as the half of a letter, is replaced."""
    is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf_16 else "utf-8-sig", errors="replace")


def signature(head: str, path: Path) -> Signature | None:
    """Tell from its first `HEAD` characters what a text is; None if that is nothing known.

    Parameters
    ----------
    head
        The beginning of the text.
    path
        Where it stands, for the remedy.
    """
    head = head[:HEAD].lstrip("\ufeff \r\n")
    if head[:1] in ("{", "["):
        return _json(head, path)
    for beginning, what, remedy in _TEXTS:
        if re.match(beginning, head, re.DOTALL):
            return Signature("", what, remedy)
    return _table(head, path)


def _json(head: str, path: Path) -> Signature:
    if re.search(r'"annotations"\s*:', head) and re.search(r'"(namespace|file_metadata)"', head):
        return _readable("jams", "a JAMS document", path)
    if re.search(r'"(labels|choices)"\s*:\s*\[\s*"', head) and re.search(
        r'"(result|start)"\s*:', head
    ):
        return Signature("", "an export of Label Studio", AS_TABLE)
    first, _, _ = head.partition("\n")
    missing = [key for key in _KEYS if f'"{key}"' not in (head if head[0] == "[" else first)]
    if head[0] == "[" and not missing:
        remedy = f"jq -c '.[]' {shlex.quote(str(path))} > events.jsonl makes JSON lines of it"
        return Signature("", "a JSON list of events", remedy)
    if _is_object(first) and missing:
        return Signature("", f"JSON without the key {missing[0]!r}", f"it needs {', '.join(_KEYS)}")
    if _is_object(first) or path.suffix.lower() == ".jsonl":
        return _readable("jsonl", "JSON lines", path, names_clips=True)
    return Signature("", "a JSON document", AS_TABLE)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _table(head: str, path: Path) -> Signature | None:
    """Tell what a table is by its header, else by its first row."""
    lines = [line for line in head.splitlines()[:20] if line.strip()]
    comments = list(takewhile(lambda line: line.startswith("#"), lines))
    first = next(iter(lines[len(comments) :]), "")
    for line in (*comments, first):
        columns = {cell.lower() for cell in _split_row(line.lstrip("# "))}
        for name, what, needed in _TABLES:
            if columns.issuperset(needed.split("|")):
                return _readable(name, what, path, bool(columns & _CLIPS))
    if _AUDIOSET_ROW.match(first):
        return _readable("audioset", "a segment list of AudioSet", path, names_clips=True)
    cells = _split_row(first)
    if any(map(_BY_ELAN.match, cells)):
        return Signature("", "a table that ELAN exported", _FROM_ELAN)
    numbers = "".join("n" if is_number(cell) else "x" for cell in cells)
    is_certain = "\t" in first or not numbers.startswith("n")  # commas part other columns, too
    possible = [pair[:2] for pair in _ROWS if is_certain and re.fullmatch(pair[2], numbers)]
    if len(possible) > 1:
        what = "a label track or a table of strong labels"
        return Signature("", what, "say with --from audacity or --from dcase which")
    if not possible and numbers.startswith("nn") and len(cells) > 2:
        return Signature("", "a table of numbers without names of clips", AS_TABLE)
    return _readable(*possible[0], path, possible[0][0] != "audacity") if possible else None


def _split_row(line: str) -> list[str]:
    """Return the cells of a row, separated by tabs, else by semicolons, else by commas."""
    row = next(csv.reader([line], delimiter=separator_of(line), skipinitialspace=True), [])
    return [cell.strip() for cell in row]


def separator_of(line: str) -> str:
    """Return what parts the cells of a first row."""
    return next((mark for mark in "\t;" if mark in line), ",")


def _readable(name: str, what: str, path: Path, names_clips: bool = False) -> Signature:
    """Return the signature of what convert reads, with the command line that does it."""
    if not name:
        return Signature("", what, AS_TABLE)
    stem = _OWN_ENDING.sub("", path.name)
    suffix = "" if names_clips or "." in stem else " --audio-suffix .wav"
    line = f"sedtool convert {shlex.quote(str(path))}{suffix} -o"
    if name in _WEAK:
        return Signature(name, what, f"{line} weak.tsv makes weak labels of it; it has no times")
    return Signature(name, what, f"{line} labels.tsv makes a table of it")
