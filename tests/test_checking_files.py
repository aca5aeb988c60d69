"""Copies of audio are told by what is in the files, and of a label file what is wrong with it."""

import numpy as np
import pytest

from sedtool.audio import write_wav
from sedtool.checking.files import Clip, LabelFile, copies, inspect
from sedtool.checking.report import findings_of
from sedtool.checking.rules import Data, in_labels
from sedtool.labels import NameIndex


def test_copies_are_told_by_content_not_by_size_or_by_their_middle(tmp_path):
    base = np.random.default_rng(0).bytes(300_000)
    contents = {"a": base, "b": base, "same middle": b"x" + base[1:], "other": base[::-1]}
    clips = []
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        clips.append(Clip(name, tmp_path / name, size=len(content)))
    assert copies(clips, workers=2) == [["a", "b"]]


def test_a_copy_is_told_though_one_of_the_two_was_decoded(tmp_path):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 4_000)
    for name in ("a.wav", "b.wav"):
        write_wav(tmp_path / name, wave, 8_000)
    decoded = inspect({"a.wav": tmp_path / "a.wav"}, True, 1)
    clips = decoded | inspect({"b.wav": tmp_path / "b.wav"}, False, 1)
    listed = Clip("x/a.wav", sha256=decoded["a.wav"].sha256)  # in a features file
    assert copies([*clips.values(), listed], workers=2) == [["a.wav", "b.wav", "x/a.wav"]]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            b"filename\tevent_labels\na\xff.wav\tDog\n",
            "line 2: not UTF-8 text (byte 23); it may be Windows-1252 or Latin-1; save it as UTF-8 "
            "text",
        ),
        (
            "filename\tevent_labels\n".encode("utf-16-le"),
            "line 1: it seems to be UTF-16 text without a byte-order mark; save it as UTF-8 text",
        ),
        (
            "filename\tevent_labels\n".encode("utf-16")[:-1],
            "line 1: UTF-16 text that is cut off or broken; save it as UTF-8 text",
        ),
        (b"PK\3\4\xff", "not UTF-8 text: it is a ZIP archive; unpack it"),
        (
            b"Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation\n1\t0\t1\tDog\n",
            "line 1: it looks like a Raven selection table; sedtool convert FOLDER/weak.tsv "
            "--audio-suffix .wav -o labels.tsv makes a table of it",
        ),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_of_a_file_that_cannot_be_read_the_line_and_what_mends_it_are_said(tmp_path, content, line):
    path = tmp_path / "weak.tsv"
    if content is not None:
        path.write_bytes(content)
    file = LabelFile(path, "weak", None, NameIndex(()))
    (found,) = findings_of(path, in_labels(file, Data({}, [file], (), None, ())))
    assert found.kind == "unreadable-labels"
    assert found.lines()[1].strip().replace(str(tmp_path), "FOLDER") == line
