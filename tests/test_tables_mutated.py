"""`check` passes a changed table exactly if the reader of `train` takes it, and reads the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sedtool.checking.files import LabelFile
from sedtool.checking.rules import Data, in_labels
from sedtool.errors import LabelError
from sedtool.labels import NameIndex, Vocabulary, read_events, read_names, read_weak
from support.campaign import scaled
from support.mutations import WORDS, flipped, mutated

FAULTS = {"unreadable-labels", "bad-row", "bad-time"}
CLASSES = Vocabulary(["Dog", "Cat", "Air horn, truck horn"])
HEADERS = {
    "strong": [
        ("filename", "onset", "offset", "event_label"),
        ("fname", "start_time_seconds", "end_time_seconds", "label"),
        ("Audio File", "Begin (s)", "Stop", "Class"),
    ],
    "weak": [("filename", "event_labels"), ("fname", "labels"), ("slice_file_name", "class")],
    "unlabelled": [("filename",), ("path",)],
}
ROWS = {
    "strong": [
        ("a.wav", "0.5", "1.25", "Dog"),
        ("b/é.wav", "0", "10", "Air horn, truck horn"),
        ("c.wav", "", "", ""),
        ("a.wav", "2.5", "2.75", "Cat"),
    ],
    "weak": [("a.wav", "Dog,Cat"), ("b/é.wav", "Cat"), ("c.wav", ""), ("d.wav", "Dog")],
    "unlabelled": [("a.wav",), ("b, c.wav",), ("é.wav",)],
}
NAMES = [name.encode() for of_kind in HEADERS.values() for names in of_kind for name in names]
MARKS = [b"\t", b",", b";", b'"', b'""', b"\r\n", b"0,5", b"1,250", b".", b"present", b"\n"]


def table(kind: str, rng: np.random.Generator) -> bytes:
    """Return a table in one of many ways to write it."""
    separator = "\t,;"[rng.choice(3, p=(0.5, 0.25, 0.25))]
    headers = [*HEADERS[kind], None]
    header = headers[rng.integers(len(headers))]
    rows = ROWS[kind] if header is None else [header, *ROWS[kind]]
    has_commas, has_extra = rng.random(2) < 0.2

    def cell(text: str) -> str:
        if has_commas and text[:1].isdigit():
            text = text.replace(".", ",")
        is_quoted = separator in text or rng.random() < 0.1
        return '"' + text.replace('"', '""') + '"' if is_quoted else text

    if has_extra and header is not None:
        rows = [(*row, "extra" if row is header else "more") for row in rows]
    text = "".join(separator.join(map(cell, row)) + "\n" for row in rows)
    encoding = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252")[rng.integers(5)]
    return text.encode(encoding if rng.random() < 0.3 else "utf-8")


def reworded(content: bytes, rng: np.random.Generator) -> bytearray:
    """Return a table with up to three words in it that mean something in a table."""
    changed = bytearray(content)
    for _ in range(rng.integers(4)):
        words = (WORDS, NAMES, MARKS)[rng.integers(3)]
        at, length = int(rng.integers(len(changed) + 1)), int(rng.integers(4))
        changed[at : at + length] = words[rng.integers(len(words))]
    return changed


def read(reader: Callable[[Path], Any], path: Path) -> Any:
    """Return what is read, or None if it is refused in a line."""
    try:
        return reader(path)
    except LabelError as error:
        message = str(error)
        assert message.startswith(str(path)), message
        assert message[len(str(path))] == ":", message
        assert "\n" not in message
        return None


READERS = {
    "strong": lambda path, classes: read_events(path),
    "weak": read_weak,
    "unlabelled": lambda path, classes: read_names(path),
}


def checked(kind: str, path: Path, classes: Vocabulary | None) -> tuple[bool, LabelFile]:
    """Return whether `check` finds nothing that is a stage's to refuse, and what it read."""
    file = LabelFile(path, kind, classes, NameIndex(()))
    found = list(in_labels(file, Data({}, [file], (), classes, ())))
    faults = FAULTS | ({"unknown-label"} if kind == "weak" else set())
    return not any(item.kind in faults for item in found), file


def disagree(path: Path, number: int) -> str:
    """Write a changed table, and say if `check` and `train` read it differently."""
    rng = np.random.default_rng([13, number])
    kind = list(HEADERS)[number % 3]
    change = (reworded, reworded, mutated, flipped)[rng.integers(4)]
    content = bytes(change(table(kind, rng), rng))
    path.write_bytes(content)
    classes = CLASSES if rng.random() < 0.3 else None
    taken = read(lambda path: READERS[kind](path, classes), path)
    passes, file = checked(kind, path, classes)
    names = () if taken is None else tuple(getattr(taken, "names", taken))
    if passes != (taken is not None) or (passes and names != tuple(file.names)):
        return f"{kind} {number}: {content!r} is read as {taken}, and check says {passes}"
    return ""


def test_a_hundred_changed_tables_are_checked_as_they_are_read(tmp_path):
    path = tmp_path / "x.tsv"
    assert [what for number in range(100) if (what := disagree(path, number))] == []


@pytest.mark.campaign
def test_thousands_of_changed_tables_are_checked_as_they_are_read(tmp_path, report):
    count = scaled(20_000, 1_000)
    tries = report("P9 P15", "changed tables: check and train agree")
    wrong = [what for number in range(count) if (what := disagree(tmp_path / "x.tsv", number))]
    tries.add(count, count - len(wrong))
    assert wrong == []


def test_a_table_is_read_as_if_it_were_written_plainly_or_refused(tmp_path):
    path, n_read = tmp_path / "x.tsv", 0
    plain = {}
    for kind, rows in ROWS.items():
        path.write_text("".join("\t".join(row) + "\n" for row in (HEADERS[kind][0], *rows)))
        plain[kind] = READERS[kind](path, CLASSES)
    for number in range(1_000):
        rng = np.random.default_rng([14, number])
        kind = list(HEADERS)[number % 3]
        path.write_bytes(content := table(kind, rng))
        found = read(lambda path, kind=kind: READERS[kind](path, CLASSES), path)
        assert found in (None, plain[kind]), (number, content)
        n_read += found is not None
    assert n_read > 800
