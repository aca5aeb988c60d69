"""Each reader on thousands of files with a few changes: read as it stands, or refused in a line.

Artifacts give what was stored or an error, never other numbers; tables give what stands in them.
Files are read in a child that may take 1.5 GB and 10 s for each. Run as a program, this file
reads.
"""

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sedtool.audio.lists import read_list, read_manifest
from sedtool.checkpoint import digest, load_model, load_state, save_state
from sedtool.config.recipe import read_recipe
from sedtool.errors import SedtoolError
from sedtool.labels import (
    StrongLabels,
    detect_format,
    dialect,
    read_durations,
    read_events,
    read_label_names,
    read_names,
    read_thresholds,
    read_vocabulary,
    read_weak,
)
from sedtool.store import open_features, open_scores
from support.campaign import scaled
from support.mutations import flipped, mutated, reworded

MEMORY = 1.5e9  # bytes beyond what the libraries map when they start
SECONDS = 10
RECIPE = b"""\
# a recipe
train:
  weak: "weak.tsv"
  epochs: 3
  lr: 1e-3
  pooling: [linear, 'power:init=1']
infer:
  threshold: 0.5
"""
STRONG = b"filename\tonset\toffset\tevent_label\na/1.wav\t0.5\t1.25\tDog\nb.wav\t0\t10\tCat, big\n"
STRONG += "é 日.wav\t1\t2.5\tNA\nnone.wav\t\t\t\n".encode()
WEAK = b"filename\tevent_labels\na/1.wav\tDog,Cat\nb.wav\tCat\n007.wav\tTrue,NA\nnone.wav\t\n"
RAVEN = b"Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tBegin Path\tFile Offset (s)\t"
RAVEN += b"Annotation\n1\tSpectrogram 1\t1\t0.5\t1.25\tC:\\a.wav\t0.5\tDog\n"
JAMS = b"""\
{"annotations": [{"namespace": "scaper", "annotation_metadata": {}, "data": [
{"time": 0, "duration": 10, "value": {"label": "park", "role": "background"}, "confidence": 1.0},
{"time": 0.2, "duration": 0.7, "value": {"label": "Dog", "role": "foreground"}, "confidence": 1.0}
], "sandbox": {"scaper": {"soundscape_audio_path": "x.wav"}}}], "file_metadata": {"duration": 10}}
"""


# What is read, as something that can be compared


def features(path: Path) -> Any:
    read = open_features(path)
    return read.names, read.failures, vars(read.config), np.array(read.data).tobytes()


def scores(path: Path) -> Any:
    read = open_scores(path)
    arrays = (read.frame, read.clip, read.window, read.duration, read.start)
    numbers = [np.asarray(array).tobytes() for array in arrays]
    return read.names, read.classes, read.frame_rate, vars(read.decoding), numbers


def model(path: Path) -> Any:
    read = load_model(path)
    tensors = {name: value.numpy().tobytes() for name, value in read.detector.state_dict().items()}
    fields = (read.classes, vars(read.features), vars(read.decoding), read.window, read.pooling)
    return tensors, repr(fields), repr((read.trained, read.tuned, read.architecture))


def state(path: Path) -> Any:
    return digest(load_state(path))


def strong(path: Path) -> Any:
    read = read_events(path)
    rows = [(e.name, e.onset, e.offset, e.label) for e in read.events]
    return sorted(rows), sorted(set(read.names))


def cells(path: Path) -> Iterator[list[str]]:
    """Yield the cells of rows, read as naively as can be."""
    for line in path.read_bytes().decode("utf-8-sig").split("\n"):
        if line.removesuffix("\r").strip():
            yield [cell.strip(" ") for cell in line.removesuffix("\r").split("\t")]


def table(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """Return rows by column; a first row of other words is a row."""
    rows = list(cells(path))
    first = [dialect.normal(cell) for cell in rows[0]] if rows else []
    known = {}
    for column in columns:
        names = (column, *dialect.SYNONYMS.get(column, ()))
        known |= {first.index(name): column for name in names[::-1] if name in first}
    header = columns
    if len(set(known.values())) == len(columns) or (rows and "filename" in rows[0]):
        header = [known.get(place, cell) for place, cell in enumerate(rows.pop(0))]
    return [dict(itertools.zip_longest(header, row, fillvalue="")) for row in rows]


def strong_as_it_stands(path: Path) -> Any:
    rows, events = table(path, ["filename", "onset", "offset", "event_label"]), []
    for row in rows:
        if row["event_label"]:
            times = (abs(float(row["onset"])), abs(float(row["offset"])))
            events.append((row["filename"], *times, row["event_label"]))
    return sorted(events), sorted({row["filename"] for row in rows})


def label_file(path: Path) -> Any:
    form = detect_format(path)
    read = form.read(path, form.clip_of(path.name))
    return (read.events, read.names) if isinstance(read, StrongLabels) else read


def weak(path: Path) -> Any:
    return {name: set(labels) for name, labels in read_weak(path).items()}


def weak_as_it_stands(path: Path) -> Any:
    found: dict[str, set[str]] = {}
    for row in table(path, ["filename", "event_labels"]):  # rows of a clip add up
        labels = {label.strip(" ") for label in row.get("event_labels", "").split(",")}
        found.setdefault(row["filename"], set()).update(labels - {""})
    return found


@dataclass(frozen=True)
class Reader:
    """A reader, a file for it, how the file is changed, and what it must give if it is read."""

    read: Callable[[Path], Any]
    content: Callable[[Path, Path], bytes]  # of a folder, and of what jobs are given
    suffix: str
    changes: tuple[Callable[..., bytearray], ...] = (mutated, reworded, flipped)
    truth: Callable[[Path], Any] | None = None  # of a table: what stands in it
    is_artifact: bool = False  # anything else than what was stored is an error


def small_state(folder: Path, given: Path) -> bytes:
    import torch

    tensors = {"weights": torch.arange(40.0), "means": torch.zeros(3, 4, dtype=torch.float64)}
    save_state(folder / "s.pt", {"step": 12, "rows": [1.5, 2.5], "tensors": tensors})
    return (folder / "s.pt").read_bytes()


def of_given(name: str) -> Callable[[Path, Path], bytes]:
    return lambda folder, given: (given / name).read_bytes()


def text(content: bytes) -> Callable[[Path, Path], bytes]:
    return lambda folder, given: content


BINARY = (mutated, flipped, flipped)
PATHS = "a.wav\nsub/b.wav\n-c d.wav\né.wav\n".encode()
READERS = {
    "features": Reader(features, of_given("f.h5"), ".h5", BINARY, is_artifact=True),
    "scores": Reader(scores, of_given("s.h5"), ".h5", BINARY, is_artifact=True),
    "model": Reader(model, of_given("m.safetensors"), ".safetensors", BINARY, is_artifact=True),
    "state": Reader(state, small_state, ".pt", BINARY, is_artifact=True),
    "strong labels": Reader(strong, text(STRONG), ".tsv", truth=strong_as_it_stands),
    "weak labels": Reader(weak, text(WEAK), ".tsv", truth=weak_as_it_stands),
    "label track": Reader(label_file, text(b"0.5\t1.25\tDog\n\\\t80\t90\n2\t2\tCat\t0.5\n"),
        ".txt"),
    "Raven table": Reader(label_file, text(RAVEN), ".txt"),
    "JSON lines": Reader(label_file, text(b'{"filename": "a", "onset": 0.5, "offset": 1, '
        b'"event_label": "Dog"}\n'), ".jsonl"),
    "JAMS": Reader(label_file, text(JAMS), ".jams"),
    "BirdNET": Reader(label_file, text(b"Start (s),End (s),Scientific name,Common name,Confidence"
        b',File\n0.0,3.0,Strix,"Owl, barred",0.42,C:\\a.wav\n'), ".csv"),
    "AudioSet": Reader(label_file, text(b"# Segments csv created\n# YTID, start_seconds, "
        b'end_seconds, positive_labels\n-PJHxphWEs4, 30.0, 40.0, "/m/09x0r,/t/dd00088"\n'),
        ".csv"),
    "label names": Reader(read_label_names, text(b'index,mid,display_name\n0,/m/09x0r,"A, b"\n'),
        ".csv"),
    "recipe": Reader(read_recipe, text(RECIPE), ".yaml"),
    "list of files": Reader(lambda path: read_list(str(path)), text(PATHS), ".txt"),
    "list of clips": Reader(read_names, text(PATHS), ".tsv"),
    "list of classes": Reader(lambda path: list(read_vocabulary(path).classes),
        text("Dog\nCat, big\nNA\né\n".encode()), ".txt"),
    "manifest .csv": Reader(read_manifest, text(b'id,filename\n1,"a, b.wav"\n2,c.wav\n'), ".csv"),
    "manifest .jsonl": Reader(read_manifest, text(b'{"audio_filepath": "a.wav", "offset": 0}\n'
        b'{"audio_filepath": "b.wav", "duration": 1.5}\n'), ".jsonl"),
    "durations": Reader(read_durations, text(b"filename\tduration\na.wav\t1.5\nb.wav\t2\n"),
        ".tsv"),
    "thresholds": Reader(read_thresholds, text(b"event_label\tthreshold\nDog\t0.5\nCat\t0.25\n"),
        ".tsv"),
}  # fmt: skip


def changed(reader: Reader, content: bytes, number: int) -> bytes:
    """Return a changed file, the same for the same number."""
    rng = np.random.default_rng([12, number])
    return bytes(reader.changes[number % len(reader.changes)](content, rng))


def judge(reader: Reader, path: Path, stored: Any) -> str:
    """Read a file; return "" if that is as it should be, else what is wrong."""
    try:
        found = reader.read(path)
    except SedtoolError as error:
        return "" if str(error) else "P9 refused without a word"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return f"P9 {type(error).__name__} at {place}: {error!s:.100}"
    if reader.is_artifact and found != stored:
        return "P8 it was read as something else"
    if reader.truth:
        try:
            truth = reader.truth(path)
        except (ValueError, KeyError, IndexError) as error:
            truth = error
        if found != truth:
            return f"P15 read as {found!r:.300}, and not as {truth!r:.300}"
    return ""


def read_all(name: str, given: Path, folder: Path, start: int, stop: int) -> None:
    """Read changed files; print a line of JSON before each, and one for what is wrong."""
    reader = READERS[name]
    content = reader.content(folder, given)
    path = folder / f"x{reader.suffix}"
    path.write_bytes(content)
    stored = reader.read(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = int(pages * resource.getpagesize() + MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    slowest = 0.0
    for number in range(start, stop):
        path.write_bytes(changed(reader, content, number))
        print(json.dumps(number), flush=True)
        signal.alarm(SECONDS)  # ends the process
        began = time.perf_counter()
        wrong = judge(reader, path, stored)
        slowest = max(slowest, time.perf_counter() - began)
        signal.alarm(0)
        if wrong:
            print(json.dumps(f"{name} {number}: {wrong}"), flush=True)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": slowest, "MiB": grown / 1024}), flush=True)


def read_changed(name: str, given: Path, folder: Path, count: int) -> dict[str, Any]:
    """Let children read so many files; return what was wrong, the slowest, the most memory."""
    wrong, start = [], 0
    worst = {"seconds": 0.0, "MiB": 0.0}
    tests = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}"}
    while start < count:
        words = [name, given, folder, start, count]
        line = [sys.executable, __file__, *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, env=environment)
        said = [json.loads(line) for line in done.stdout.splitlines()]
        wrong += [line for line in said if isinstance(line, str)]
        for cost in (line for line in said if isinstance(line, dict)):
            worst = {key: max(worst[key], cost[key]) for key in worst}
        if done.returncode == 0:
            break
        numbers = [line for line in said if isinstance(line, int)]
        assert numbers, done.stderr
        start = numbers[-1] + 1
        wrong.append(f"{name} {numbers[-1]}: P9 ended the child, {done.returncode}: "
                     f"{done.stderr[-300:]}")  # fmt: skip
    return {"wrong": wrong, **worst}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["features", "strong labels", "recipe"])
def test_some_changed_files_are_read_as_they_stand_or_refused(given, tmp_path, name):
    assert read_changed(name, given, tmp_path, 200)["wrong"] == []


@pytest.mark.campaign
@pytest.mark.parametrize("name", READERS)
def test_ten_thousand_changed_files_are_read_as_they_stand_or_refused(
    given, tmp_path, report, name
):
    count = scaled(10_000, 100)
    promises = "P8 P9" if READERS[name].is_artifact else "P9 P15" if READERS[name].truth else "P9"
    tries = report(promises, f"changed files for the reader of {name}")
    found = read_changed(name, given, tmp_path, count)
    tries.add(count, count - len(found["wrong"]))
    tries.what += f": at most {found['seconds']:.2f} s, {found['MiB']:.0f} MiB more"
    assert found["wrong"] == []


if __name__ == "__main__":
    which, at, place, *numbers = sys.argv[1:]
    read_all(which, Path(at), Path(place), *map(int, numbers))
