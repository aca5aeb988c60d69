"""Score files of sed_scores_eval are read and written digit for digit, or refused by line."""

import math

import numpy as np
import pytest

from sedtool.errors import LabelError, NothingUsableError
from sedtool.score_tables import (
    FrameScores,
    read_score_table,
    read_score_tables,
    write_score_tables,
)

HEADER = "onset\toffset\tCat\tDog\n"


def clip(name, n_frames=5, dtype=float):
    rng = np.random.default_rng(n_frames)
    times = np.append(0, np.cumsum(rng.random(n_frames)))
    return FrameScores(name, times, rng.random((n_frames, 2)).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_is_written_is_read_digit_for_digit(tmp_path, dtype):
    clips = [clip("a.b", 5, dtype), clip("x/c.wav", 7, dtype), clip("é", 1, dtype)]
    folder = tmp_path / "new" / "folder"
    assert write_score_tables(folder, ("Cat", "Dog"), clips) == 3
    found = {c.name: c for c in read_score_tables(folder)}
    assert set(found) == {"a.b", "c", "é"}
    for name, written in zip(("a.b", "c", "é"), clips, strict=True):
        assert (found[name].times == written.times).all()
        assert (found[name].scores == written.scores).all()


def test_a_file_of_sed_scores_eval_is_read(tmp_path):
    path = tmp_path / "Y-_123.wav.tsv"
    path.write_text(HEADER + "0.0\t0.02\t0.125\t1e-05\n0.02\t0.04\t-inf\t1.0\n")
    classes, found = read_score_table(path)
    assert classes == ("Cat", "Dog")
    assert found.name == "Y-_123.wav"
    assert found.times.tolist() == [0.0, 0.02, 0.04]
    assert found.scores.tolist() == [[0.125, 1e-05], [-math.inf, 1.0]]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + "0\t1\t.5\t.25\n",
        HEADER.replace("\n", "\r\n") + "0\t1\t.5\t.25\r\n\r\n",
        HEADER + " 0\t1 \t .5\t.25",
    ],
)
def test_byte_order_marks_carriage_returns_and_spaces_are_taken(tmp_path, text):
    path = tmp_path / "a.tsv"
    path.write_bytes(text.encode())
    classes, found = read_score_table(path)
    assert classes == ("Cat", "Dog")
    assert found.scores.tolist() == [[0.5, 0.25]]


def test_a_file_without_frames_is_a_clip_without_frames(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(HEADER)
    _, found = read_score_table(path)
    assert (found.times.tolist(), found.scores.shape) == ([0.0], (0, 2))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "an empty file"),
        ("0\t1\t.5\t.25\n", r":1: a score file begins with the columns onset, offset"),
        ("onset\toffset\n", r":1: a score file begins"),
        ("onset\toffset\tCat\tCat\n", r":1: a class has no name, or stands twice"),
        ("onset\toffset\t\tCat\n", r":1: a class has no name"),
        (HEADER + "0\t1\t.5\n", r":2: 3 columns where 4 are expected"),
        (HEADER + "0\t1\t.5\t.2\n\n1\t2\t.5\t.2\t3\n", r":4: 5 columns where 4"),
        (HEADER + "0\t1\t.5\tx\n", r":2: 'x' is not a number"),
        (HEADER + "0\t1\t.5\t\u00a01\n", r":2: '\\xa01' is not a number"),
        (HEADER + "0\t1\t.5\tnan\n", r":2: 'nan' is not a number"),
        (HEADER + "0\t1\t.5\tinf\n", r":2: 'inf' is not a number"),
        (HEADER + "0\t1\t.5\t1_0\n", r":2: '1_0' is not a number"),
        (HEADER + "0\t1\t.5\t\n", r":2: '' is not a number"),
        (HEADER + "-1\t1\t.5\t.2\n", r":2: the onset is negative"),
        (HEADER + "0\t-inf\t.5\t.2\n", r":2: '-inf' is not a number"),
        (HEADER + "0\t1\t.5\t.2\n1\t1\t.5\t.2\n", r":3: the frame does not end after its onset"),
        (HEADER + "0\t1\t.5\t.2\n2\t3\t.5\t.2\n", r":3: the frame does not begin where"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path, text, match):
    path = tmp_path / "bad.tsv"
    path.write_text(text)
    with pytest.raises(LabelError, match=rf"bad\.tsv.*{match}|bad\.tsv{match}"):
        read_score_table(path)


def test_files_of_different_classes_are_refused(tmp_path):
    (tmp_path / "a.tsv").write_text(HEADER)
    (tmp_path / "b.tsv").write_text("onset\toffset\tDog\tCat\n")
    with pytest.raises(LabelError, match=r"b\.tsv: its classes 'Dog', 'Cat' are not those"):
        list(read_score_tables(tmp_path))


def test_a_folder_without_score_files_and_what_is_no_folder_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(NothingUsableError, match="has no score files"):
        list(read_score_tables(tmp_path))
    with pytest.raises(LabelError, match="cannot be read"):
        list(read_score_tables(tmp_path / "a.txt"))


def test_clips_that_would_be_one_file_and_classes_that_no_table_takes_are_refused(tmp_path):
    with pytest.raises(LabelError, match=r"'x/a\.wav' and 'y/a\.wav' are both a\.tsv"):
        write_score_tables(tmp_path, ("Cat", "Dog"), [clip("x/a.wav"), clip("y/a.wav")])
    with pytest.raises(LabelError, match="cannot carry"):
        write_score_tables(tmp_path, ("Cat", "Do\tg"), [clip("a.wav")])
