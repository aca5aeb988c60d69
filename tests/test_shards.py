"""Shards divide a list without gap or overlap, a task of a job array knows its own, and the record
beside a part in text is right or refused.
"""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedtool.errors import ArtifactError, ConfigError
from sedtool.shards import (
    WHOLE,
    PartRecord,
    Shard,
    manifest_digest,
    read_part,
    remove_part_record,
    write_part,
)

# Which names a shard has


@given(names=st.lists(st.text(), max_size=40, unique=True), count=st.integers(1, 50))
def test_shards_divide_the_list_and_keep_its_order(names, count):
    names = sorted(names)
    shares = [Shard(number, count).select(names) for number in range(1, count + 1)]
    assert sorted(name for share in shares for name in share) == names
    assert all(share == sorted(share) for share in shares)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_shard_has_every_nth_name():
    assert Shard(2, 3).select(list("abcdefgh")) == ["b", "e", "h"]
    assert WHOLE.select(list("abc")) == ["a", "b", "c"]
    assert WHOLE.is_whole and not Shard(1, 2).is_whole


@given(number=st.integers(1, 99), count=st.integers(1, 99))
def test_a_shard_as_text_is_read_back(number, count):
    if number <= count:
        assert Shard.parse(str(Shard(number, count)), {}) == Shard(number, count)
    else:
        with pytest.raises(ConfigError, match=f"there is no shard {number} of {count}"):
            Shard(number, count)


def test_some_shards_merged_without_the_others_are_none_of_them():
    some = Shard(0, 7)
    assert not some.is_whole
    with pytest.raises(ConfigError, match="0/7 names no shard"):
        some.select(["a"])
    with pytest.raises(ConfigError, match="there is no shard 0 of 1"):
        Shard(0, 1)


def test_lists_have_the_same_digest_if_they_are_equal():
    assert manifest_digest(["a", "b"]) == manifest_digest(["a", "b"])
    assert len({manifest_digest(names) for names in (["a"], ["a", "b"], ["ab"], ["b", "a"])}) == 4
    assert manifest_digest(["\udcff"]) != manifest_digest(["a"])  # a name that is not UTF-8


# What the environment says


def array(task: int, tasks: list[int], step: int = 1) -> dict[str, str]:
    """Return what Slurm tells a task of a job array."""
    return {
        "SLURM_ARRAY_TASK_ID": str(task),
        "SLURM_ARRAY_TASK_MIN": str(min(tasks)),
        "SLURM_ARRAY_TASK_MAX": str(max(tasks)),
        "SLURM_ARRAY_TASK_COUNT": str(len(tasks)),
        "SLURM_ARRAY_TASK_STEP": str(step),
    }


RANK = {"RANK": "2", "WORLD_SIZE": "4"}


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("3/8", {}, (3, 8)),
        ("1/1", {}, (1, 1)),
        ("3/8", array(1, [1, 2]), (3, 8)),
        ("auto", array(3, list(range(1, 8))), (3, 7)),
        ("auto", array(0, list(range(7))), (1, 7)),
        ("auto", array(6, list(range(7))), (7, 7)),
        ("auto", array(8, list(range(0, 13, 2)), step=2), (5, 7)),
        ("auto", array(3, [3]), (1, 1)),  # alone: it cannot know of the others
        ("auto/7", array(3, [3]), (3, 7)),
        ("auto/7", array(9 - 2, list(range(1, 8))), (7, 7)),
        ("auto/9", array(9, [1, 2, 9]), (9, 9)),
        ("auto", RANK, (3, 4)),
        ("auto/4", RANK, (3, 4)),
        ("auto", RANK | array(2, [1, 2, 3]), (2, 3)),
    ],
)
def test_a_shard_is_what_the_job_is_told(text, environment, expected):
    assert Shard.parse(text, environment) == Shard(*expected)


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("0/8", {}, "numbered from 1: 1/8 to 8/8"),
        ("9/8", {}, "there is no shard 9 of 8"),
        ("1/0", {}, "number of shards must be 1 to 1000000, not 0"),
        ("1/9999999", {}, "number of shards must be 1 to 1000000"),
        ("-1/8", {}, "must be I/N, auto or auto/N"),
        ("1 / 8", {}, "must be I/N, auto or auto/N"),
        ("\u0661/\u0663", {}, "must be I/N, auto or auto/N"),
        ("auto/\u0663", RANK, "must be I/N, auto or auto/N"),
        ("auto", {"RANK": "\u0661", "WORLD_SIZE": "4"}, "in the environment, not a number"),
        ("1/8/2", {}, "must be I/N, auto or auto/N"),
        ("1.0/8", {}, "must be I/N, auto or auto/N"),
        ("", {}, "must be I/N, auto or auto/N"),
        ("AUTO", {}, "must be I/N, auto or auto/N"),
        ("auto/", {}, "must be I/N, auto or auto/N"),
        ("9999999999/9999999999", {}, "must be I/N, auto or auto/N"),
        ("auto", {}, "needs SLURM_ARRAY_TASK_ID, or RANK and WORLD_SIZE"),
        ("auto/7", {}, "needs SLURM_ARRAY_TASK_ID, or RANK and WORLD_SIZE"),
        ("auto", {"RANK": "1"}, "needs SLURM_ARRAY_TASK_ID, or RANK and WORLD_SIZE"),
        ("auto", {"RANK": "x", "WORLD_SIZE": "4"}, "RANK is 'x' in the environment, not a number"),
        ("auto", {"RANK": "4", "WORLD_SIZE": "4"}, "there is no shard 5 of 4"),
        ("auto", {"RANK": "-1", "WORLD_SIZE": "4"}, "RANK is '-1'"),
        ("auto/5", RANK, "shard auto/5, but WORLD_SIZE is 4"),
        ("auto", array(9, [1, 2, 9]), r"has gaps \(3 tasks from 1 to 9\).* state it: auto/N"),
        ("auto", array(5, [1, 3, 5]), "has gaps"),
        ("auto", array(3, list(range(0, 13, 2)), step=2), "has gaps"),
        ("auto", array(3, list(range(1, 8))) | {"SLURM_ARRAY_TASK_STEP": "0"}, "has gaps"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_MIN is ''"),
        ("auto/7", array(0, list(range(7))), "must begin at 1: --array=1-7"),
        ("auto/7", array(2, list(range(7))), "must begin at 1: --array=1-7"),
        ("auto/7", array(8, [8]), "there is no shard 8 of 7"),
        ("auto/7", {"SLURM_ARRAY_TASK_ID": "three"}, "SLURM_ARRAY_TASK_ID is 'three'"),
    ],
)
def test_a_shard_that_cannot_be_told_is_refused(text, environment, message):
    with pytest.raises(ConfigError, match=message):
        Shard.parse(text, environment)


# The record beside a part in text

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
        (b" " * (64 * 2**20 + 1), "larger than 64 MiB"),
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
