"""A sweep makes the runs that are not done, each as its stages would, and goes on after a stop."""

import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from types import SimpleNamespace

import pytest
import yaml

from sedtool.atomic import lock
from sedtool.checkpoint import load_model
from sedtool.config import TrainConfig
from sedtool.errors import BusyError, ConfigError, ResourceError
from sedtool.runs import RunSettings, run_name, split_name
from sedtool.sweep import grid, parse_poolings, parse_seeds, parse_varied
from support.sweeps import RECIPE, invoke, sweep

pytestmark = pytest.mark.slow

# --- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["power"], ["power"]),
        (["power,linear", "max"], ["power", "linear", "max"]),
        (["rap:lambda=1e-2,init=0,max"], ["rap:lambda=1e-2,init=0", "max"]),
        (["rap:lambda=1e-2,rap:lambda=1e-3"], ["rap:lambda=1e-2", "rap:lambda=1e-3"]),
        (["power:init=1, linear"], ["power:init=1", "linear"]),
        (["power,power:init=2"], ["power", "power:init=2"]),
        (["rap:lambda=1e-2,rap:init=0"], ["rap:lambda=1e-2", "rap:init=0"]),
        (
            ["hierarchical:base=rap", "hierarchical:base=auto", "hierarchical:base=rap,init=1"],
            ["hierarchical:base=rap", "hierarchical:base=auto", "hierarchical:base=rap,init=1"],
        ),
    ],
)
def test_commas_part_poolings_and_their_options(texts, expected):
    assert list(parse_poolings(texts)) == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([""], "empty item"),
        (["power,,max"], "empty item"),
        (["max,init=0"], "'init=0' belongs to nothing"),
        (["powr"], "did you mean 'power'"),
        (["power", "power"], "given twice"),
        (
            ["rap:lambda=1e-2,rap:lambda=0.01"],
            "pooling 'rap:lambda=0.01' is given twice: 'rap:lambda=1e-2' is the same pooling",
        ),
        (
            ["power,power:init=1"],
            "pooling 'power:init=1' is given twice: 'power' is the same pooling",
        ),
        (["power:max=9,power:init=1,max=9"], "the same pooling"),
        (["rap:init=2,lambda=1", "rap:lambda=1,init=2"], "the same pooling"),
        (["power:shared=0", "power:learned=1"], "the same pooling"),
        (["hierarchical", "hierarchical:base=power,levels=5x4"], "the same pooling"),
        (["hierarchical:base=rap", "hierarchical:base=rap,lambda=1e-3"], "the same pooling"),
        (["hierarchical:base=power", "hierarchical:init=1"], "the same pooling"),
        (["rap:lambda"], "is not key=number"),
    ],
)
def test_a_list_of_poolings_that_cannot_be_meant_is_refused(texts, message):
    with pytest.raises(ConfigError, match=message):
        parse_poolings(texts)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["0"], [0]),
        (["0-4"], [0, 1, 2, 3, 4]),
        (["0,2,5-7"], [0, 2, 5, 6, 7]),
        (["3-3"], [3]),
        (["0", "2", " 5-7"], [0, 2, 5, 6, 7]),
        (["0,2", "5-7"], [0, 2, 5, 6, 7]),
    ],
)
def test_seeds_are_numbers_and_ranges(texts, expected):
    assert list(parse_seeds(texts)) == expected


@pytest.mark.parametrize(
    "texts",
    [
        *([text] for text in ("", "a", "-1", "4-0", "0,0", "0-3,2", "1.5", "0-1000000", "0,,1")),
        *([], ["0", "0"], ["0-2", "1"], ["0", ""]),
    ],
)
def test_seeds_that_are_none_are_refused(texts):
    with pytest.raises(ConfigError, match="seed"):
        parse_seeds(texts)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], {}),
        (["train.lr=1e-3,3e-4"], {"train.lr": ("1e-3", "3e-4")}),
        (["train.lr=1e-3", " train.lr=3e-4"], {"train.lr": ("1e-3", "3e-4")}),
        (["train.lr=1e-3, train.arch=small"], {"train.lr": ("1e-3",), "train.arch": ("small",)}),
        (
            ["train.arch=small:time-pooling=1,gru-units=32,dcase2017"],
            {"train.arch": ("small:time-pooling=1,gru-units=32", "dcase2017")},
        ),
        (
            ["train.batch-size=[6,12,6],[12, 24, 12]"],
            {"train.batch-size": ("[6,12,6]", "[12, 24, 12]")},
        ),
        (["train.lr=1e-3", "3e-4"], {"train.lr": ("1e-3", "3e-4")}),  # [train.lr=1e-3, 3e-4]
    ],
)
def test_commas_part_values_of_a_setting_but_for_options_of_one_and_in_brackets(texts, expected):
    assert parse_varied(texts) == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["lr=1e-3"], "expected SECTION.KEY=VALUE,... as in train.lr=1e-3,3e-4"),
        (["train.lr"], "vary 'train.lr': expected SECTION"),
        (["train.lr="], "vary train.lr '' has an empty item"),
        (["train.lr=1e-3,,1"], "has an empty item"),
        (["train.arch=small,gru-units=4"], "'gru-units=4' belongs to nothing"),
        (["train.lr=1e-3", "train.lr=1e-3"], "vary train.lr=1e-3 is given twice"),
    ],
)
def test_settings_that_cannot_be_meant_to_vary_are_refused(texts, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_varied(texts)


def variant(*varied):
    """Return settings of a sweep of which only what varies counts."""
    return SimpleNamespace(varied=varied, training=TrainConfig(pooling="linear"))


def test_every_pooling_gets_its_first_seed_before_any_gets_its_second():
    runs = [(run.pooling, run.seed) for run in grid(["power", "max"], [variant()], [3, 4])]
    assert runs == [("power", 3), ("max", 3), ("power", 4), ("max", 4)]


def test_a_grid_is_of_all_settings_with_all_poolings_or_with_that_of_the_settings():
    variants = [variant("train.lr=1"), variant("train.lr=2")]
    names = ["power,lr=1", "max,lr=1", "power,lr=2", "max,lr=2"]
    assert [run.name for run in grid(["power", "max"], variants, [0])] == [
        f"{name}/seed-0" for name in names
    ]
    assert [run.pooling for run in grid([], variants, [0, 1])] == ["linear"] * 4
    alike = [variant("train.weak=a/b.tsv"), variant("train.weak=a-b.tsv")]
    with pytest.raises(ConfigError, match=r"a/b\.tsv and train\.weak=a-b\.tsv: these are"):
        grid([], alike, [0])
    many = ",".join(map(str, range(400)))
    with pytest.raises(ConfigError, match="160000 runs are more than 100000"):
        parse_varied([f"train.lr={many}", f"train.ramp-up={many}"])


def test_the_folder_of_a_run_tells_poolings_apart_and_is_a_plain_name():
    assert run_name("rap:lambda=1e-2,init=0", 3) == "rap-lambda=1e-2-init=0/seed-3"
    assert run_name("hierarchical:base=../../x", 0) == "hierarchical-base=..-..-x/seed-0"


def test_the_folder_of_a_run_tells_what_varies_and_is_no_longer_than_names_of_files_are():
    varied = ("train.arch=small:gru-units=4,dropout=0.1", "train.lr=3e-4", "infer.median=off")
    name = run_name("power", 0, varied)
    assert name == "power,arch=small-gru-units=4-dropout=0.1,lr=3e-4,infer.median=off/seed-0"
    assert split_name(name) == (name[:-7], 0)
    long = [run_name("power", 0, [f"train.weak={300 * 'x'}{i}"]) for i in (1, 2)]
    assert len(set(long)) == 2 and all(len(name) < 220 and split_name(name) for name in long)


# --- stages in this process -----------------------------------------------------------------------


def test_files_that_no_features_could_be_made_of_are_counted(data, tiny, stages):
    (data / "features.h5").unlink()
    (data / "audio").unlink()
    shutil.copytree(tiny.audio, data / "audio")
    (data / "audio" / "train" / "broken.wav").write_bytes(b"no audio")
    said = sweep(data, "--seeds", "0", pooling="max").stderr
    features = (data / "features.h5").resolve()
    assert f"made {features} without 1 file that failed, see {features}.failures.tsv" in said
    assert "test.h5 without" not in said


def test_a_sweep_leaves_a_scored_run_for_each_pooling_and_seed_and_prints_the_table(data, stages):
    (data / "features.h5").unlink()
    result = sweep(data, "--seeds", "0-1", pooling="power,rap:lambda=1e-2")
    names = ["power/seed-0", "rap-lambda=1e-2/seed-0", "power/seed-1", "rap-lambda=1e-2/seed-1"]
    once = ["train", "tune", "infer", "evaluate"]
    assert stages.stages() == ["extract", "extract", *4 * once, "compare"]
    for name in names:
        folder = data / "runs" / name
        for file in ("scores.h5", "events.tsv", "tags.tsv", "metrics.json"):
            assert (folder / "test" / file).exists()
        config = yaml.safe_load((folder / "config.yaml").read_text())["train"]
        assert name == run_name(config["pooling"], config["seed"])
        assert f"{name}: done in 0:00:" in result.stderr
    assert json.loads((data / "runs" / "sweep.json").read_text())["runs"] == names
    assert "4 runs made, 0 done before, of 4" in result.stderr
    assert (data / "runs" / "comparison.txt").read_text() == result.stdout
    assert "rap:lambda=0.01" in result.stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("extract.n-mels=40", "n-mels is 64 there and 40 here"),
        ("extract.preset=dcase2019", "sample-rate is 16000 there and 44100 here"),
    ],
)
def test_features_of_other_settings_are_not_used_unseen(data, stages, given, message):
    said = sweep(data, "--set", given, exit_code=5).stderr
    assert f"{data / 'features.h5'} has features of other settings: " in said
    assert message in said
    assert not stages.lines and not (data / "runs").exists()
    sweep(data, "--set", "extract.workers=2", "--dry-run")  # makes no other features


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("train.arch=smal", "unknown architecture 'smal'"),
        ("train.keep-epochs=2", "epoch 2 to keep \\(keep-epochs\\) is none of 1 to 1"),
        ("train.val-strong=weak.tsv", "weak.tsv:1: no column 'onset'"),
        ("train.val-strong=wrong.tsv", "wrong.tsv:2: offset 1 is before onset 2"),
        ("train.weak=joined.tsv", "joined.tsv:2: 'a, b' may be one label or several"),
        ("train.classes=classes.txt", "weak.tsv:2: unknown label 'tone'; the 1 classes are 'bell'"),
        (
            "train.val-weak=weak.tsv",
            "16 clips of .*weak.tsv \\(train.val-weak\\) are trained on, e.g. 'train/",
        ),
        (
            "tune.weak=weak.tsv",
            "16 clips of .*weak.tsv \\(tune.weak\\) are trained on, e.g. 'train/",
        ),
    ],
)
def test_what_every_run_would_stumble_over_is_said_before_the_first(data, stages, given, message):
    row = "filename\tonset\toffset\tevent_label\nval/tone_16.wav\t2\t1\ttone\n"
    (data / "wrong.tsv").write_text(row)
    (data / "joined.tsv").write_text("filename\tevent_labels\ntrain/tone_0.wav\ta, b\n")
    (data / "classes.txt").write_text("bell\n")
    said = sweep(data, "--set", given, exit_code=2).stderr
    assert re.search(message, said) and said.count("\n") == 1
    assert not stages.lines and not (data / "runs").exists()


def test_test_clips_in_a_list_that_is_learned_from_or_tuned_on_are_named(data, stages):
    said = sweep(data).stderr
    assert (
        f"8 clips of {data / 'strong.tsv'} are in {data / 'strong.tsv'} (train.val-strong)" in said
    )
    (data / "test.tsv").write_text("filename\tonset\toffset\tevent_label\nx.wav\t0\t1\ttone\n")
    line = ("--test-reference", "test.tsv", "-o", data / "others")
    said = sweep(data, *line, exit_code=4).stderr  # no test clip is in it
    assert "no clip of the estimated events is in the reference" in said
    assert "(train.val-strong)" not in said


def test_what_is_done_is_not_done_again(data, stages):
    sweep(data)
    stages.stages()
    before = {path: path.stat().st_mtime_ns for path in (data / "runs").rglob("*.safetensors")}
    result = sweep(data)
    assert stages.stages() == ["compare"]
    assert "0 runs made, 2 done before" in result.stderr
    sweep(data, "--seeds", "0-1")
    assert stages.stages().count("train") == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_pooling_in_other_words_is_the_run_that_is_there(data, stages):
    sweep(data, pooling="cap")
    stages.stages()
    result = sweep(data, pooling="cap:max=4.6")
    assert "0 runs made, 1 done before" in result.stderr
    assert stages.stages() == ["compare"]
    assert len(re.findall("^cap", result.stdout, re.MULTILINE)) == 3  # a row in each table


def test_a_dry_run_says_the_commands_that_make_the_runs_and_writes_nothing(data, stages):
    there = sorted(data.rglob("*"))
    said = sweep(data, "--dry-run").stdout.splitlines()
    assert sorted(data.rglob("*")) == there and not stages.lines
    assert said[0] == "# 0 of 2 runs are done"
    assert shlex.split(said[1]) == ["cd", str(data)]
    for line in said[2:]:  # as a shell would run them
        program, *words = shlex.split(line)
        if program == "mkdir":
            os.makedirs(words[1])  # noqa: PTH103
        else:
            assert program == "sedtool"
            result = invoke(*words, folder=data)
            assert result.exit_code == 0, result.stderr
    # Runs that were made by hand are done, whatever else is not known of them.
    assert "0 runs made, 2 done before" in sweep(data).stderr
    assert sweep(data, "--dry-run").stdout.startswith("# 2 of 2 runs are done\n")


def test_other_settings_are_refused_by_name_and_overwritten_if_asked_to(data, stages):
    sweep(data)
    stages.stages()
    other = ("--set", "train.lr=0.5")
    message = sweep(data, *other, exit_code=5).stderr
    assert (
        "power/seed-0 (and 1 more) holds a run of other settings: lr is 0.001 there and" in message
    )
    assert sweep(data, *other, "--dry-run", exit_code=5).stdout == ""
    assert not stages.lines
    result = sweep(data, *other, "--overwrite", pooling="max")
    assert [line[0] for line in stages.lines] == ["train", "tune", "infer", "evaluate", "compare"]
    assert "1 run made" in result.stderr
    assert load_model(data / "runs" / "power" / "seed-0" / "model.safetensors")
    assert "--overwrite" in stages.lines[0]


def test_labels_that_have_changed_make_another_run(data, stages):
    sweep(data, pooling="max")
    moved = data.rename(data.with_name("moved"))
    assert "1 done before" in sweep(moved, pooling="max").stderr  # files are compared by content
    (moved / "weak.tsv").write_text((moved / "weak.tsv").read_text() + "train/none.wav\ttone\n")
    assert "weak is" in sweep(moved, pooling="max", exit_code=5).stderr


def test_other_settings_of_tuning_and_scoring_leave_the_training_alone(data, stages):
    sweep(data, pooling="max")
    stages.stages()
    for other in ("tune.window=0.2", "evaluate.collar=0.5", "infer.median=off"):
        assert (
            "holds a run of other settings"
            in sweep(data, "--set", other, pooling="max", exit_code=5).stderr
        )
        sweep(data, "--set", other, "--overwrite", pooling="max")
        assert stages.stages() == ["tune", "infer", "evaluate", "compare"]
        sweep(data, "--overwrite", pooling="max")
        stages.stages()
    events = (data / "strong.tsv").read_text().splitlines(keepends=True)
    (data / "strong.tsv").write_text("".join(events[:-1]))
    message = sweep(data, "--set", "train.val-strong=strong.tsv", pooling="max", exit_code=5).stderr
    assert "val-strong has changed" in message and "evaluate reference is a file" in message


def test_metrics_that_are_not_of_the_model_are_made_anew(data, stages):
    sweep(data, pooling="max")
    stages.stages()
    run = data / "runs" / "max" / "seed-0"
    labels = ("--features", "features.h5", "--reference", "strong.tsv")
    for spoil in (
        lambda: invoke("tune", run / "model.safetensors", *labels, "--window", 0.4, folder=data),
        lambda: (run / "test" / "metrics.json").unlink(),
        lambda: (run / "test" / "scores.h5").write_bytes(b"nothing"),
        lambda: (run / "test" / "metrics.json").write_text("{"),
    ):
        spoil()
        written = ("runs.failures.tsv", "runs/sweep.json", "runs/comparison.md")
        for path in (*(data / name for name in written), run / "test" / "settings.json"):
            path.with_name(f".{path.name}.k3j2ab9x.tmp").touch()  # of a sweep that was killed
        assert "1 run made" in sweep(data, pooling="max").stderr
        assert stages.stages() == ["tune", "infer", "evaluate", "compare"]
        assert not list(data.rglob(".*.tmp"))


def test_a_run_that_fails_is_named_and_does_not_stop_the_others(data, stages):
    stages.fail("train", "max")
    result = sweep(data, pooling="max,power", exit_code=3)
    assert "max/seed-0: failed: train: the loss is not finite" in result.stderr
    assert "1 of 2 runs failed (max/seed-0)" in result.stderr
    failures = (data / "runs.failures.tsv").read_text().splitlines()
    assert failures == ["filename\tstage\terror", "max/seed-0\ttrain\tthe loss is not finite"]
    assert (data / "runs" / "power" / "seed-0" / "test" / "metrics.json").exists()
    assert "power" in result.stdout and "not in it: " in result.stdout
    sweep(data, "--tolerate", "1", pooling="max,power")
    stages.meanwhile = lambda arguments: None
    sweep(data, pooling="max,power")
    assert not (data / "runs.failures.tsv").exists()


def test_runs_that_all_fail_are_exit_code_4_and_the_first_one_may_be_the_last(data, stages):
    stages.fail("train")
    assert "2 of 2 runs failed" in sweep(data, exit_code=4).stderr
    assert stages.stages() == ["extract", "train", "train"]
    sweep(data, "--fail-fast", exit_code=3)
    assert stages.stages() == ["train"]


def test_a_run_that_another_process_works_on_is_left_to_it(data, stages):
    folder = data / "runs" / "power"
    folder.mkdir(parents=True)
    with lock(folder / ".seed-0.lock", folder / "seed-0"):
        result = sweep(data)
    assert "power/seed-0: left to the process that works on it" in result.stderr
    assert "1 run made, 0 done before, 1 left to another process (power/seed-0)" in result.stderr
    assert ["--resume" in line for line in stages.lines if line[0] == "train"] == [True]
    assert result.stdout == ""  # there is no table before all runs are done
    assert "1 run made, 1 done before" in sweep(data).stderr
    (folder / "seed-0" / "test" / "metrics.json").unlink()
    with lock(folder / "seed-0" / ".lock", folder / "seed-0"):  # as `sedtool train` holds it
        assert "1 left to another process" in sweep(data).stderr


def test_what_another_process_leaves_undone_is_done_after_all(data, stages):
    folder = data / "runs" / "power"
    folder.mkdir(parents=True)
    held = lock(folder / ".seed-0.lock", folder / "seed-0")
    stages.meanwhile = lambda arguments: held.close()
    assert "2 runs made" in sweep(data).stderr


def test_a_shard_does_its_part_and_the_last_one_makes_the_table(data, stages):
    first = sweep(data, "--shard", "1/2")
    assert (first.stdout, stages.stages().count("train")) == ("", 1)
    assert not (data / "runs" / "max").exists()
    assert "max" in sweep(data, "--shard", "2/2").stdout
    assert stages.stages().count("train") == 1


def test_features_are_made_once_and_not_for_runs_that_are_done(data, stages):
    (data / "features.h5").unlink()
    sweep(data, pooling="max")
    assert stages.stages().count("extract") == 2
    sweep(data, pooling="power")
    assert "extract" not in stages.stages()
    (data / "features.h5").unlink()
    sweep(data, pooling="power")
    assert "extract" not in stages.stages()


def test_test_clips_may_be_given_as_features(data, stages):
    sweep(data, "--test", "features.h5", pooling="max")
    (infer,) = (line for line in stages.lines if line[0] == "infer")
    assert infer[2] == "features.h5" and not (data / "test.h5").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "train.seed=3"), "a sweep varies it"),
        (("--set", "train.lr=many"), "--set train.lr: lr: 'many' is not a valid float"),
        (("--set", "train.lrr=1"), "train has no option 'lrr'; did you mean 'lr'"),
        (("--test", "nowhere"), "nowhere does not exist; is --data the right folder?"),
        (("--test-reference", "none.tsv"), "none.tsv does not exist"),
        (("--features", "other.h5", "--audio", "nowhere"), "nowhere does not exist"),
        (("--device", ""), "device is empty"),
        (("--set", "evaluate.metrics=event"), "leaves out segment, clip, which the sweep compares"),
        (("--seeds", "1-0"), "must go up"),
        (("--seeds", "0-2", "--seeds", "1"), "seeds '0-2,1' name a seed twice"),
        (("--pooling", "power:init=1"), "'power' is the same pooling"),
    ],
)
def test_a_line_that_cannot_be_meant_is_refused_before_anything_is_done(
    data, stages, options, message
):
    assert message in sweep(data, *options, exit_code=2).stderr
    assert not stages.lines and not (data / "runs").exists()


def test_a_recipe_is_needed_and_features_or_audio(data, stages):
    result = invoke(
        "sweep", "--pooling", "max", "-o", data / "runs", "--test", "x", "--test-reference", "y"
    )
    assert result.exit_code == 2 and "Missing argument 'RECIPE'" in result.stderr
    (data / "recipe.yaml").write_text(RECIPE.replace("  audio: [audio]\n", ""))
    (data / "features.h5").unlink()
    assert "there is no --audio to make it of" in sweep(data, exit_code=2).stderr


def test_a_run_that_meets_what_nobody_foresaw_does_not_stop_the_others(data, stages, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(data))  # takes the traceback of a bug
    stages.fail("train", "max", error=ZeroDivisionError)
    said = sweep(data, pooling="max,power", exit_code=3).stderr
    message = "this is a bug in sedtool: ZeroDivisionError: the loss is not finite"
    assert f"max/seed-0: failed: train: {message}" in said
    assert (data / "runs" / "power" / "seed-0" / "test" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("stage", "error", "message"),
    [
        ("train", MemoryError, "out of memory; a smaller --batch-size"),
        ("infer", partial(OSError, errno.EMFILE), "the loss is not finite; raise `ulimit -n`"),
        ("extract", ResourceError, "features.h5: the loss is not finite; "),
        ("compare", ResourceError, "compare: the loss is not finite; "),
    ],
)
def test_a_machine_that_fails_ends_a_sweep_which_goes_on_later(data, stages, stage, error, message):
    (data / "features.h5").unlink()
    stages.fail(stage, error=error)
    said = sweep(data, "--tolerate", "100%", pooling="max", exit_code=6).stderr
    assert message in said and "; run the same command again to go on" in said
    assert not (data / "runs.failures.tsv").exists() and "failed" not in said
    stages.fail("no stage")
    assert "max" in sweep(data, pooling="max").stdout


def test_a_run_that_is_busy_after_all_does_not_stop_the_others(data, stages):
    stages.fail("tune", error=BusyError)
    assert "2 of 2 runs failed" in sweep(data, exit_code=4).stderr


def test_the_environment_sets_options_of_the_stages_below_set_and_above_the_recipe(
    data, stages, monkeypatch
):
    monkeypatch.setenv("SEDTOOL_TRAIN_EPOCHS", "2")
    monkeypatch.setenv("SEDTOOL_TRAIN_LR", "0.5")
    sweep(data, "--set", "train.lr=0.25", pooling="max")
    config = RunSettings.read(data / "runs" / "max" / "seed-0" / "config.yaml").config
    assert (config.epochs, config.lr, config.arch) == (2, 0.25, "small:gru-units=4")


def test_a_log_has_the_command_lines_of_a_run_and_what_the_stages_said(data):
    said = sweep(data, pooling="max", folder=data.parent).stderr
    run = data / "runs" / "max" / "seed-0"
    lines = (run / "sweep.log").read_text().splitlines()
    typed = [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]
    assert [words[:2] for words in typed] == [
        ["sedtool", stage] for stage in ("train", "tune", "infer", "evaluate")
    ]
    assert all(line.endswith(f"# in '{data}'") for line in lines if line.startswith("$ "))
    assert any("best clip_f1" in line for line in lines) and "best clip_f1" not in said


# --- processes ------------------------------------------------------------------------------------


_TYPED = """\
import sys
from sedtool.cli import cli
for line in sys.argv[1:]:
    assert cli(line.split(), standalone_mode=False) in (None, 0), line
"""


def test_a_run_is_what_its_command_lines_make_when_they_are_typed(data):
    """The second run, so that nothing of the first one is left in it; in a process of its own."""
    there = data.rename(data.with_name("data"))  # no spaces, for the lines are split
    line = ("sweep", "recipe.yaml", "-o", "runs", "--pooling", "cap,power:init=2")
    assert invoke(*line, folder=there).exit_code == 0
    run = there / "runs" / "power-init=2" / "seed-0"
    log = (run / "sweep.log").read_text().replace("/runs/", "/typed/").splitlines()
    lines = [line[10:].partition("  # in ")[0] for line in log if line.startswith("$ sedtool ")]
    typed = there / "typed" / "power-init=2" / "seed-0"
    (typed / "test").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", _TYPED, *lines], cwd=there, check=True)
    names = ["model.safetensors", "metrics.tsv", "config.yaml"]
    names += [f"test/{name}" for name in ("events.tsv", "tags.tsv", "scores.h5", "metrics.json")]
    for name in names:
        assert (typed / name).read_bytes() == (run / name).read_bytes(), name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("stage", ["tune", "infer", "evaluate"])
def test_a_sweep_is_stopped_in_the_middle_of_a_stage(data, stages, number, stage):
    started = time.monotonic()

    def signalled(arguments):
        if arguments[0] == stage:
            signal.raise_signal(number)
            time.sleep(20)  # as one very long recording would take

    stages.meanwhile = signalled
    result = sweep(data, pooling="max", exit_code=75)
    assert result.exit_code == 75, result.stderr
    assert time.monotonic() - started < 15
    assert "run the same command again" in result.stderr
    log = (data / "runs" / "max" / "seed-0" / "sweep.log").read_text()
    assert f"warning: stopped by {signal.Signals(number).name}" in log
    stages.meanwhile = lambda arguments: None
    sweep(data, pooling="max")


def test_a_sweep_that_is_stopped_saves_and_goes_on(data):
    (data / "test.h5").write_bytes((data / "features.h5").read_bytes())
    command = [sys.executable, "-m", "sedtool", "sweep", data / "recipe.yaml", "--data", data]
    command += ["-o", data / "runs", "--pooling", "max", "--set", "train.epochs=10"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    metrics = data / "runs" / "max" / "seed-0" / "metrics.tsv"
    until = time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert said.splitlines()[-1] == "Error: stopped; run the same command again to go on"
    run = metrics.parent
    assert json.loads((run / "run.json").read_text())["status"] == "stopped"
    assert "--resume goes on from" in (run / "sweep.log").read_text()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 run made" in done.stderr and "max" in done.stdout
    record = json.loads((run / "run.json").read_text())
    assert [record["status"], record["resumed"][0]["status"]] == ["finished", "stopped"]
    assert len(metrics.read_text().splitlines()) == 11
