"""Each option of sweep and compare."""

import json
import re
import shutil

import pytest

from sedtool.comparison import TSV_COLUMNS
from support.command_lines import quick_lines, refused, run, tries
from support.sweeps import RECIPE, invoke, sweep

pytestmark = pytest.mark.slow

# --- sweep ----------------------------------------------------------------------------------------


@tries("sweep", "recipe", "--output", "--data", "--pooling", "--seeds", "--features", "--test")
@tries("sweep", "--test-reference")
def test_a_sweep_goes_where_it_is_told_with_what_it_is_told(data, stages, tmp_path):
    (data / "features.h5").rename(data / "f.h5")
    line = ("sweep", data / "recipe.yaml", "--data", data, "-o", tmp_path / "runs")
    given = ("--features", "f.h5", "--test", "f.h5", "--test-reference", "strong.tsv")
    result = invoke(*line, "--pooling", "power:init=2", "--seeds", "7", *given)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "runs" / "power-init=2" / "seed-7" / "test" / "metrics.json").exists()
    train = stages.lines[0]
    assert train[train.index("--features") + 1] == "f.h5"
    assert [train[train.index(o) + 1] for o in ("--pooling", "--seed")] == ["power:init=2", "7"]


@tries("sweep", "--vary")
def test_what_varies_is_the_same_in_a_recipe_on_the_line_and_from_set(data, stages):
    line = ("sweep", data / "recipe.yaml", "--data", data, "-o", data / "runs", "--dry-run")
    (data / "recipe.yaml").write_text(f"{RECIPE}  vary: ['train.lr=1,2', train.epochs=1]\n")
    for options in (
        (),
        ("--vary", "train.lr=1,2", "--vary", "train.epochs=1"),
        ("--set", "sweep.vary=[train.lr=1,2,train.epochs=1]"),
    ):
        said = invoke(*line, *options).stdout
        assert re.findall("-o runs/(.*)/seed-0 --resume --pooling power", said) == [
            *("power,lr=1,epochs=1", "power,lr=2,epochs=1"),
        ]


@tries("sweep", "--seeds")
@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("0,2,5-6", ()),
        ("[0, 2, 5, 6]", ()),
        ("[0, 2, 5-6]", ()),
        ('["0,2", 5-6]', ()),
        ("[0, 2,\n    5, 6]", ()),
        ("1", ("--seeds", "0,2,5-6")),
        ("[3, 4]", ("--seeds", "0,2", "--seeds", "5-6")),
        ("1", ("--set", "sweep.seeds=[0, 2, 5-6]")),
        ("1", ("--set", "sweep.seeds=0,2,5-6")),
    ],
)
def test_seeds_are_the_same_in_a_recipe_and_on_the_line(data, stages, recipe, options):
    (data / "recipe.yaml").write_text(f"{RECIPE}  seeds: {recipe}\n")
    said = sweep(data, "--dry-run", *options, pooling="max").stdout
    assert said.startswith("# 0 of 4 runs are done\n")
    assert re.findall("--seed ([0-9]+)", said) == ["0", "2", "5", "6"]


def test_a_recipe_without_a_seed_is_refused_with_its_line(data, stages):
    (data / "recipe.yaml").write_text(f"{RECIPE}  seeds: []\n")
    said = sweep(data, "--dry-run", pooling="max", exit_code=2).stderr
    assert "recipe.yaml:13: --seeds must be numbers and ranges" in said


@tries("sweep", "--audio", "--root", "--test-features")
def test_features_are_made_of_the_audio_that_is_named(data, stages):
    (data / "features.h5").unlink()
    audio = ("--audio", "audio/train", "--audio", "audio/val", "--root", ".")
    sweep(data, *audio, "--test", "audio/val", "--test-features", "t.h5", pooling="max")
    first, second = stages.lines[:2]
    assert first[:3] == ["extract", "audio/train", "audio/val"]
    assert first[3:7] == ["--root", ".", "-o", "features.h5"]
    assert second[:6] == ["extract", "audio/val", "--root", ".", "-o", "t.h5"]
    assert (data / "t.h5").exists() and not (data / "test.h5").exists()
    given = ("--test", "t.h5", "--test-features", "u.h5", "--dry-run")
    said = sweep(data, *given, pooling="max", exit_code=2).stderr
    assert "--test is a features file already" in said
    both = ("--test", "audio/val", "--test-features", "features.h5", "--dry-run")
    said = sweep(data, *both, pooling="max", exit_code=2).stderr
    assert f"--features and --test-features are both {data / 'features.h5'}" in said


@tries("sweep", "--test-weak-reference")
def test_weak_labels_of_the_test_clips_are_scored_by_if_given(data, stages, tiny):
    text = tiny.weak_validation.read_text()
    (data / "w.tsv").write_text(text.replace("noise\n", "tone\n", 1))  # wrong, so that it shows
    sweep(data, "--test-weak-reference", "w.tsv", pooling="max")
    metrics = json.loads((data / "runs/max/seed-0/test/metrics.json").read_text())
    assert metrics["clip"]["classes"]["noise"]["n_reference"] == 3
    assert metrics["event"]["classes"]["noise"]["n_reference"] == 4


@tries("sweep", "--device")
def test_the_device_is_that_of_train_tune_and_infer(data, stages):
    sweep(data, "--device", "cpu", pooling="max")
    with_device = [line[0] for line in stages.lines if "--device" in line]
    assert with_device == ["train", "tune", "infer"]
    failed = sweep(data, "--device", "cuda:99", pooling="power", exit_code=6)
    assert "cuda:99" in failed.stderr


@tries("sweep", "--overwrite", "--dry-run")
def test_an_overwriting_dry_run_says_what_would_be_overwritten(data, stages):
    sweep(data, pooling="max")
    other = ("--set", "train.lr=0.5", "--overwrite", "--dry-run")
    said = sweep(data, *other, pooling="max").stdout
    (train,) = (line for line in said.splitlines() if line.startswith("sedtool train"))
    assert "--set train.lr=0.5" in train and "--overwrite" in train.split()


@tries("sweep", "--shard", "--tolerate", "--fail-fast", "--max-time")
def test_a_part_of_a_sweep_that_may_fail(data, stages):
    stages.fail("train", "max")
    sweep(data, "--shard", "2/2", "--tolerate", "100%", exit_code=4)  # nothing at all is done
    sweep(data, "--tolerate", "50%")
    sweep(data, "--fail-fast", "--max-time", "1h", exit_code=3, pooling="max,power")
    assert "shard must be I/N" in sweep(data, "--shard", "x", exit_code=2).stderr
    assert "tolerate must be" in sweep(data, "--tolerate", "x", exit_code=2).stderr
    assert "is no time" in sweep(data, "--max-time", "x", exit_code=2).stderr


def test_a_sweep_that_is_out_of_time_ends_with_75(data, stages):
    said = sweep(data, "--max-time", "0.001", exit_code=75).stderr
    assert said.endswith("Error: stopped by --max-time; run the same command again\n")


# --- compare --------------------------------------------------------------------------------------


@pytest.fixture
def compare(tiny, tmp_path):
    """Return the line of a comparison of one run."""
    return quick_lines(tiny, tmp_path)["compare"]


@tries("compare", "runs", "--reference", "--output", "--format", "--overwrite")
def test_tables_are_written_in_the_format_of_their_suffix(compare, tmp_path):
    text = run(*compare).stdout
    assert text.startswith("Events: macro, mean ± deviation over seeds\npooling")
    outputs = [tmp_path / f"t.{suffix}" for suffix in ("txt", "md", "tsv", "tex")]
    line = [*compare, *(word for output in outputs for word in ("-o", output))]
    assert run(*line).stdout == ""
    starts = [text[:20], "**Events: macro", "\t".join(TSV_COLUMNS), "% 24 test clips"]
    for output, start in zip(outputs, starts, strict=True):
        assert output.read_text().startswith(start)
    assert "nothing to do" in run(*line).stderr
    assert "--overwrite" in refused(*line, "--format", "md")
    run(*line, "--overwrite", "--format", "md")
    assert len({output.read_text() for output in outputs}) == 1
    assert run(*compare, "--format", "md").stdout == outputs[0].read_text()
    assert "no format is known by that suffix" in refused(*compare, "-o", tmp_path / "t.doc")
    assert "is an input" in refused(*compare, "-o", compare[3], "--format", "md", "--overwrite")


@tries("compare", "--against", "--resamples", "--seed", "--confidence")
def test_how_to_compare_is_said_below_the_table(compare):
    shutil.copytree(compare[1] / "max", compare[1] / "other")
    config = compare[1] / "other" / "seed-0" / "config.yaml"
    config.write_text(config.read_text().replace("pooling: max", "pooling: linear"))
    options = ("--resamples", 30, "--seed", 5, "--confidence", 0.9)
    text = run(*compare, *options).stdout.replace("\n    ", " ")
    assert "30 paired resamples of clips, and of seeds within a row (seed 5)" in text
    assert "90 % interval" in text and "F1 against linear (" in text
    assert "F1 against max (" in run(*compare, "--against", "max").stdout
    assert "none of the rows here: max" in refused(*compare, "--against", "power")
    assert "against is empty" in refused(*compare, "--against=")


@tries("compare", "--weak-reference")
def test_clips_are_compared_by_the_weak_labels_they_were_scored_by(compare, tiny, tmp_path):
    weak = ("--weak-reference", tiny.weak_validation)
    run(*compare, *weak)  # the same as those of the events
    (tmp_path / "w.tsv").write_text("filename\tevent_labels\nval/tone_16.wav\tnoise\n")
    other = refused(*compare, "--weak-reference", tmp_path / "w.tsv", exit_code=5)
    assert "test/metrics.json says clip F1" in other


@tries("compare", "--paper")
def test_a_paper_is_looked_for_beside_the_recipe_that_names_it(compare, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "paper.tsv").write_text("pooling\tevent_f1\nmax\t0.094\n")
    (tmp_path / "a" / "recipe.yaml").write_text("compare:\n  paper: paper.tsv\n")
    monkeypatch.chdir(tmp_path)
    assert "0.094" in run(*compare, "-c", "a/recipe.yaml").stdout
    assert "0.094" in run(*compare, "--paper", "a/paper.tsv").stdout
    assert "cannot be read" in refused(*compare, "--paper", "paper.tsv")
