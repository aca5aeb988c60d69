"""`convert scores.h5`: the score files say what the scores file says, or nothing is written."""

import json

import numpy as np
import pytest

from sedtool.score_tables import open_frame_scores, read_score_tables
from support.command_lines import refused, run, save_small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture
def scores(model, tiny, tmp_path):
    path = tmp_path / "scores.h5"
    run("infer", model, tiny.features, "--scores", path, "--median", 0.3, "-q")
    return path


def test_tables_hold_every_digit_of_the_filtered_scores(scores, tmp_path):
    said = run("convert", scores, "-o", tmp_path / "tables").stderr
    known = {clip.name: clip for clip in open_frame_scores(scores).clips()}
    assert said.startswith(f"scores of {len(known)} clips -> ")
    tables = {clip.name: clip for clip in read_score_tables(tmp_path / "tables")}
    by_stem = {name.rpartition("/")[2].removesuffix(".wav"): clip for name, clip in known.items()}
    assert tables.keys() == by_stem.keys()
    for stem, clip in by_stem.items():
        np.testing.assert_array_equal(tables[stem].times, clip.times)
        np.testing.assert_array_equal(tables[stem].scores, clip.scores)
    assert not list((tmp_path / "tables").glob(".*"))


def test_psds_of_the_tables_is_that_of_the_scores_file(scores, tiny, tmp_path):
    run("convert", scores, "--to", "scores", "-o", tmp_path / "tables", "-q")
    line = ("--psds", "dtc=0.1,gtc=0.1,max_efpr=10000", "--format", "json", "-q")
    of_file, of_tables = (
        json.loads(run("evaluate", tiny.strong, path, *more, *line).stdout)["psds"]["psds"]
        for path, more in ((scores, ("--metrics", "psds1")), (tmp_path / "tables", ()))
    )
    assert of_file["value"] > 0
    assert of_file == of_tables


def test_what_is_there_is_kept_unless_overwritten(scores, tmp_path):
    folder = tmp_path / "tables"
    run("convert", scores, "-o", folder, "-q")
    first, *others = sorted(folder.iterdir())
    text = first.read_text()
    first.write_text("mine")
    for path in others:
        path.unlink()
    assert "--overwrite" in refused("convert", scores, "-o", folder)
    assert [path.name for path in folder.iterdir()] == [first.name]
    run("convert", scores, "-o", folder, "--overwrite", "-q")
    assert first.read_text() == text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "score files are a folder, a file a clip: name it with -o FOLDER"),
        (("-o", "-"), "score files are a folder"),
        (("--to", "dcase"), "has no event list; sedtool infer MODEL"),
        (("--from", "raven", "-o", "x/"), "has no event list"),
    ],
)
def test_what_scores_cannot_become_is_said(scores, more, message):
    assert message in refused("convert", scores, *more)


def test_scores_are_made_of_one_whole_scores_file(scores, model, tiny, tmp_path):
    assert "one scores.h5; give nothing beside it" in refused(
        "convert", tiny.strong, "--to", "scores", "-o", tmp_path / "x"
    )
    assert "give nothing beside it" in refused("convert", scores, scores, "-o", tmp_path / "x")
    part = tmp_path / "part.h5"
    run("infer", model, tiny.features, "--scores", part, "--shard", "1/2", "-q")
    said = refused("convert", part, "-o", tmp_path / "x", exit_code=5)
    assert "is shard 1/2; join all with sedtool merge first" in said
    assert not (tmp_path / "x").exists()


def test_a_folder_with_other_tables_is_refused(scores, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "other.tsv").write_text("mine")
    said = refused("convert", scores, "-o", folder, "--overwrite")
    assert f"has other files that would be read as scores, such as {folder / 'other.tsv'}" in said
    assert [path.name for path in folder.iterdir()] == ["other.tsv"]
