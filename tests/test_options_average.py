"""merge --average: the mean scores of several models, as of one."""

import dataclasses

import numpy as np
import pytest

from sedtool.config import DecodingConfig
from sedtool.decoding import decode_clip
from sedtool.labels import read_events
from sedtool.shards import Shard
from sedtool.store import ClipScores, ScoresHeader, ScoresWriter, clip_scores, open_scores
from support.command_lines import refused, run, tries

DECODING = DecodingConfig((0.4, 0.5), (0.2, 0.6), (0.1, 0.5))
HEADER = ScoresHeader(("a", "b"), 10.0, DECODING, "1" * 64, '{"window": 2.0}')


def clips(seed, names=("x.wav", "y/z.wav"), seconds=3.0):
    """Return random scores of clips in two overlapping windows each."""
    rng = np.random.default_rng(seed)
    n = round(10 * seconds)
    where = np.array([0, n - 20]), np.array([20, 20])
    return [
        ClipScores(name, seconds, rng.random((n, 2), np.float32), *where, rng.random((2, 2)))
        for name in names
    ]


def write(path, header=HEADER, made=None, seed=0):
    with ScoresWriter(path, header) as writer:
        for clip in made or clips(seed):
            writer.append(clip)
    return path


@pytest.fixture
def three(tmp_path):
    other = dataclasses.replace(DECODING, thresholds=(0.1, 0.2), windows=(0.7, 0.5))
    third = dataclasses.replace(DECODING, clip_thresholds=(0.8, 0.0))
    return [
        write(tmp_path / f"{i}.h5", dataclasses.replace(HEADER, decoding=how, model_sha256=sha))
        for i, (how, sha) in enumerate([(DECODING, "1" * 64), (other, "2" * 64), (third, "3" * 64)])
    ]


@tries("merge", "--average")
def test_scores_and_settings_are_the_means_of_all(three, tmp_path):
    for i, path in enumerate(three):
        write(path, open_scores(path).header, seed=i)
    output = tmp_path / "mean.h5"
    assert "3 parts, 2 clips (scores) -> " in run("merge", *three, "-o", output, "--average").stderr
    mean = open_scores(output)
    made = [clips(i) for i in range(3)]
    for clip, *each in zip(clip_scores(mean), *made, strict=True):
        for name in ("frame", "window"):
            expected = np.mean([getattr(one, name).astype(np.float32) for one in each], axis=0)
            np.testing.assert_allclose(getattr(clip, name), expected, atol=1e-7)
        assert (clip.name, clip.duration) == (each[0].name, each[0].duration)
    assert mean.decoding.thresholds == pytest.approx((0.3, 0.4))
    assert mean.decoding.clip_thresholds == pytest.approx((0.4, 0.4))
    assert mean.decoding.windows == pytest.approx((0.3, 0.5))
    backwards = tmp_path / "backwards.h5"
    run("merge", *reversed(three), "-o", backwards, "--average")
    assert backwards.read_bytes() == output.read_bytes()
    assert "nothing to do" in run("merge", tmp_path / "[0-9].h5", "-o", output, "--average").stderr


def test_equal_scores_are_their_own_mean_and_later_stages_take_it(three, tmp_path):
    output = tmp_path / "mean.h5"
    run("merge", *three, "-o", output, "--average")
    mean = open_scores(output)
    expected = [
        event
        for clip in clips(0)
        for event in decode_clip(clip, mean.classes, mean.frame_rate, mean.decoding)
    ]
    assert len(expected) > 2
    for clip, other in zip(clip_scores(mean), clips(0), strict=True):
        np.testing.assert_array_equal(clip.frame, other.frame)
    reference = tmp_path / "reference.tsv"
    rows = (f"{e.name}\t{e.onset:.3f}\t{e.offset:.3f}\t{e.label}\n" for e in expected)
    reference.write_text("filename\tonset\toffset\tevent_label\n" + "".join(rows))
    assert len(read_events(reference).events) == len(expected)
    run("evaluate", reference, output, "--fail-under", "event_f1=0.99")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("a", "c")}, "other classes: 'b', 'c'"),
        ({"classes": ("b", "a")}, "the order of classes differs"),
        ({"frame_rate": 5.0}, "5 and 10 frames a second"),
        (
            {"decoding": dataclasses.replace(DECODING, merge_gap=0.5)},
            "merge_gap of decoding is 0.5",
        ),
        ({"shard": Shard(1, 2)}, "one is a shard; merge its parts first"),
    ],
)
def test_scores_that_differ_in_anything_else_are_refused(three, tmp_path, change, message):
    path = write(tmp_path / "other.h5", dataclasses.replace(HEADER, **change))
    line = ("merge", three[0], path, "-o", tmp_path / "mean.h5", "--average")
    said = refused(*line, exit_code=5)
    assert message in said
    assert "cannot be averaged" in said
    assert not (tmp_path / "mean.h5").exists()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (clips(0, ("x.wav", "z.wav")), "clips in one of them alone: 'y/z.wav', 'z.wav'"),
        (clips(0, seconds=4.0), "their clips were of another length, or scored in other windows"),
    ],
)
def test_scores_of_other_clips_are_refused(three, tmp_path, made, message):
    path = write(tmp_path / "other.h5", made=made)
    line = ("merge", three[0], path, "-o", tmp_path / "mean.h5", "--average")
    assert message in refused(*line, exit_code=5)


def test_what_cannot_be_averaged_is_said_in_one_line(three, tiny, tmp_path):
    line = ("-o", tmp_path / "mean.h5", "--average")
    assert "scores files of two models or more" in refused("merge", three[0], *line)
    assert "holds features; --average is of scores" in refused(
        "merge", tiny.features, *line, exit_code=5
    )
    assert "--average and --union are two ways" in refused("merge", *three, *line, "--union")
    assert "no such file" in refused("merge", tmp_path / "no.h5", three[0], *line, exit_code=5)
    assert "is an input" in refused("merge", *three, "-o", three[0], "--average", "--overwrite")
