"""A part in text has a record beside it, which is right or refused."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedtool.errors import ArtifactError
from sedtool.shards import PartRecord, Shard, read_part, remove_part_record, write_part

RECORD = PartRecord(
    "events",
    Shard(2, 7),
    "ab" * 32,
    "cd" * 32,
    '{"window": 10}',
    12,
    (("a é [/].wav", "infer", "the file is empty"), ("b.wav", "infer", "too short")),
)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "events.tsv"
    path.write_text("filename\tonset\toffset\tevent_label\n")
    write_part(path, RECORD)
    return path


def record_of(path: Path) -> Path:
    return path.with_name(path.name + ".part.json")


def test_a_record_is_read_as_it_was_written(part):
    found = read_part(part)
    assert dataclasses.replace(found, sha256="") == RECORD
    assert len(found.sha256) == 64
    assert json.loads(record_of(part).read_text())["n_shards"] == 7


def test_a_record_can_be_written_before_its_part(part):
    record = read_part(part)
    content = part.read_bytes()
    part.unlink()
    record_of(part).unlink()
    write_part(part, record)
    with pytest.raises(ArtifactError, match=r"events\.tsv: not complete"):
        read_part(part)
    part.write_bytes(content)
    assert read_part(part) == record


def test_a_record_is_removed_with_no_trace(part):
    remove_part_record(part)
    remove_part_record(part)
    assert list(part.parent.iterdir()) == [part]
    with pytest.raises(ArtifactError, match=r"not a part: events\.tsv\.part\.json is not beside"):
        read_part(part)
    part.unlink()
    with pytest.raises(ArtifactError, match=r"events\.tsv: no such file"):
        read_part(part)


@given(position=st.integers(0, 35), flip=st.integers(1, 255))
def test_a_part_with_a_changed_byte_is_refused(tmp_path_factory, position, flip):
    path = tmp_path_factory.mktemp("part") / "events.tsv"
    content = bytearray(b"filename\tonset\toffset\tevent_label\nab\n")
    path.write_bytes(content)
    write_part(path, RECORD)
    content[position] ^= flip
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"events\.tsv: changed since events\.tsv\.part\.json"):
        read_part(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "elsewhere"}, "not the record of a part"),
        ({"format_version": 2}, "its format_version is 2, and this sedtool reads 1"),
        ({"format_version": "\x1b[2J"}, r"its format_version is '\\x1b\[2J'"),
        ({"format_version": None}, "its format_version is None"),
        ({"more": 1}, "keys are missing or foreign"),
        ({"kind": "scores"}, "its kind is none of events, tags"),
        ({"kind": 3}, "must be text"),
        ({"settings": {}}, "must be text"),
        ({"sha256": None}, "must be text"),
        ({"shard": "2"}, "must be a number"),
        ({"shard": 2.0}, "must be a number"),
        ({"n_clips": True}, "must be a number"),
        ({"n_clips": -1}, "must be a number"),
        ({"shard": 8}, "there is no shard 8 of 7"),
        ({"n_shards": 0}, "number of shards must be"),
        ({"failures": {}}, "failures must be a list"),
        ({"failures": ["a"]}, "a failure is not a name, a stage and an error"),
        ({"failures": [["a", "b"]]}, "a failure is not"),
        ({"failures": [["a", "b", 3]]}, "a failure is not"),
        ({"failures": [["a\tb", "infer", "error"]]}, "a failure is not"),
        ({"failures": [["a\x1b[2J", "infer", "error"]]}, "a failure is not"),
        ({"failures": [["a\ud800", "infer", "error"]]}, "a failure is not"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(part, changes, message):
    fields = json.loads(record_of(part).read_text()) | changes
    record_of(part).write_text(json.dumps(fields))
    with pytest.raises(ArtifactError, match=rf"events\.tsv\.part\.json: .*{message}") as caught:
        read_part(part)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[" * 200_000, "cannot be read"),
        (b"[]", "not the record of a part"),
        (b'{"kind": "events", "kind": "tags"}', "a key stands twice"),
        (b" " * (64 * 2**20 + 1), "too large"),
    ],
    ids=["empty", "no text", "deep", "list", "double", "huge"],
)
def test_what_is_no_record_is_refused(part, content, message):
    record_of(part).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"events\.tsv\.part\.json: .*{message}") as caught:
        read_part(part)
    assert len(str(caught.value)) < 400


def test_what_is_no_file_is_no_part(part):
    record_of(part).unlink()
    os.mkfifo(record_of(part))
    with pytest.raises(ArtifactError, match="not a regular file"):
        read_part(part)
    record_of(part).unlink()
    part.write_text("x")
    write_part(part, RECORD)
    part.unlink()
    os.mkfifo(part)
    with pytest.raises(ArtifactError, match="not a regular file"):
        read_part(part)
