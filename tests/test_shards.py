"""Shards divide a list without gap or overlap, and a task of a job array knows its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedtool.errors import ConfigError
from sedtool.shards import WHOLE, Shard, manifest_digest

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
