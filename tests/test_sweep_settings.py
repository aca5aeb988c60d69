"""A sweep over any settings: what its runs are called, what they are made with, and its table."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
import yaml

from sedtool.comparison import compare_runs
from sedtool.config.evaluation import CompareConfig
from sedtool.info import describe
from sedtool.runs import RunSettings, SweepRecord
from sedtool.store import open_features
from support.sweeps import RECIPE, invoke, sweep

pytestmark = pytest.mark.slow

ONE = ("--vary", "train.lr=1e-3,3e-4")


def vary(data, *texts, options=(), pooling=None, exit_code=0):
    """Run a sweep that varies settings, with the pooling of the recipe unless others are given."""
    line = ("sweep", data / "recipe.yaml", "--data", data, "-o", data / "runs", *options)
    line += ("--pooling", pooling) if pooling else ()
    result = invoke(*line, *(word for text in texts for word in ("--vary", text)))
    assert result.exit_code == exit_code, f"{result.stderr}{result.exception!r}"
    return result


def settings(data, name):
    return RunSettings.read(data / "runs" / name / "config.yaml").config


# --- which runs -----------------------------------------------------------------------------------


def test_every_value_is_trained_with_every_other_and_rows_are_named_by_what_varies(data, stages):
    archs = "train.arch=small:gru-units=4,small:gru-units=4,dropout=0.5"
    said = vary(data, archs, "train.lr=1e-3,3e-4", options=("--seeds", "0-1")).stdout
    a, b = "small-gru-units=4", "small-gru-units=4-dropout=0.5"
    folders = [f"power,arch={arch},lr={lr}" for arch in (a, b) for lr in ("1e-3", "3e-4")]
    names = [f"{folder}/seed-{seed}" for seed in (0, 1) for folder in folders]
    record = json.loads((data / "runs" / "sweep.json").read_text())
    assert record["runs"] == names
    assert record["varied"][folders[3]] == [
        "train.arch=small:gru-units=4,dropout=0.5", "train.lr=3e-4"
    ]  # fmt: skip
    assert stages.stages().count("train") == 8
    for name in names:
        config = settings(data, name)
        dropout = ",dropout=0.5" * (b in name)
        assert config.arch == f"small:gru-units=4{dropout}" and config.pooling == "power"
        assert (config.lr, config.seed) == (0.001 if "1e-3" in name else 0.0003, int(name[-1]))
    rows = [
        f"power arch=small:gru-units=4{dropout} lr={lr}"
        for dropout in ("", ",dropout=0.5")
        for lr in (0.0003, 0.001)
    ]
    found = re.findall(r"^power .*?lr=\S+(?=  )", said, re.MULTILINE)
    assert found == [*rows * 3, *rows[1:] * 3]  # all rows, then those against the first
    assert "apart from power" not in said and "the best of the others" not in said
    assert f"F1 against {rows[0]} (" in said
    info = describe(data / "runs").values
    assert [row["pooling"] for row in info["poolings"]] == folders and info["done"] == 8


def test_poolings_and_settings_make_one_grid_in_which_power_leads_or_does_not(data, stages):
    said = vary(data, "train.lr=1e-3,3e-4", pooling="linear,power").stdout
    assert len(re.findall("^(linear|power) lr=0.00(1|03) ", said, re.MULTILINE)) == 4 * 3 + 3 * 3
    assert "+ best apart from power pooling" in said
    assert len(re.findall("over linear lr=0.00(1|03), the best of the", said)) == 3
    line = ("compare", data / "runs", "--resamples", 20, "--against")
    for row in ("power lr=0.001", "power lr=1e-3"):
        assert "F1 against power lr=0.001 (" in invoke(*line, row).stdout
    assert "F1 against power lr=0.0003 (" in invoke(*line, "power").stdout  # the first of these
    for form, row in (("md", "| power lr=0.001 |"), ("latex", "power lr=0.001 &")):
        assert row in invoke(*line, "linear", "--format", form).stdout
    table = invoke(*line, "linear", "--format", "tsv").stdout
    assert "\npower lr=0.001\tevent\tf1\tdefault\t1\t0\t" in table


def test_runs_keep_their_names_where_values_and_settings_are_added(data, stages):
    vary(data, "train.lr=1e-3")
    vary(data, "train.lr=3e-4,1e-3")
    assert stages.stages().count("train") == 2
    sweep(data, pooling="power")  # lr=1e-3 is what the recipe has, so that it is there
    assert stages.stages() == ["compare"]
    result = vary(data, "train.lr=1e-3,3e-4", "train.time-shift=0,5")
    assert "2 runs made, 2 done before, of 4" in result.stderr
    assert len(re.findall("^power ", result.stdout, re.MULTILINE)) == 4 * 3 + 3 * 3


def test_a_run_that_an_earlier_sweep_made_is_not_made_again(data, stages):
    sweep(data, pooling="cap,max")
    stages.stages()
    result = vary(data, "train.lr=1e-3,3e-4", pooling="cap:max=4.6")
    assert stages.stages().count("train") == 1
    assert "1 run made, 1 done before, of 2" in result.stderr
    assert "cap lr=0.001" in result.stdout and "max lr=0.001" in result.stdout
    assert SweepRecord.read(data / "runs" / "sweep.json").runs == (
        *("cap/seed-0", "max/seed-0", "cap-max=4.6,lr=3e-4/seed-0"),
    )


def test_other_settings_are_refused_by_name_where_settings_vary(data, stages):
    vary(data, "train.lr=1e-3,3e-4")
    stages.stages()
    other = ("--set", "train.epochs=2")
    said = vary(data, "train.lr=1e-3,3e-4", options=other, exit_code=5).stderr
    assert "runs/power,lr=1e-3/seed-0 (and 1 more) holds a run of other settings: epochs" in said
    vary(data, "train.lr=3e-4", options=(*other, "--overwrite"))
    assert settings(data, "power,lr=3e-4/seed-0").epochs == 2
    assert settings(data, "power,lr=1e-3/seed-0").epochs == 1


def test_a_dry_run_and_shards_are_of_all_settings(data, stages):
    said = vary(data, "train.lr=1e-3,3e-4", options=("--dry-run",)).stdout.splitlines()
    trained = [shlex.split(line) for line in said if line.startswith("sedtool train")]
    assert [line[-1] for line in trained] == ["train.lr=1e-3", "train.lr=3e-4"]
    first = vary(data, "train.lr=1e-3,3e-4", options=("--shard", "1/2"))
    assert first.stdout == "" and stages.stages().count("train") == 1
    last = vary(data, "train.lr=1e-3,3e-4", options=("--shard", "2/2"))
    assert stages.stages().count("train") == 1 and "power lr=0.0003" in last.stdout


def test_a_recipe_says_what_varies(data, stages):
    lines = "  vary:\n    - train.lr=1e-3,3e-4\n    - train.batch-size=[2],[3]\n"
    (data / "recipe.yaml").write_text(RECIPE + lines)
    assert vary(data, options=("--dry-run",)).stdout.startswith("# 0 of 4 runs are done\n")
    (data / "recipe.yaml").write_text(f"{RECIPE}  vary: [train.lr=1e-3, many]\n")
    said = vary(data, exit_code=2).stderr
    assert said.endswith("recipe.yaml:13: --vary train.lr: lr: 'many' is not a valid float.\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.lrr=1", "--vary train.lrr: train has no option 'lrr'; did you mean 'lr'"),
        ("trian.lr=1", "--vary trian.lr: no subcommand 'trian'; did you mean 'train'"),
        ("train.lr=1,-1", "--vary train.lr: --lr must be in (0, 1e30), not -1.0"),
        ("train.arch=small,smal", "unknown architecture 'smal'"),
        ("train.lr=1e-3,0.001", "--vary train.lr=1e-3 and train.lr=0.001: these are the same runs"),
        ("train.pooling=max,power", "--vary train.pooling: give --pooling"),
        ("train.seed=0,1", "--vary train.seed: give --seeds"),
        ("train.device=cpu,cuda", "--vary train.device: only what changes results"),
        ("all.collar=0.1,0.2", "--vary all.collar: only what changes results"),
        ("sweep.test=a,b", "--vary sweep.test: only what changes results"),
        ("evaluate.engine=native,sed_eval", "and collar, offset-ratio, segment of evaluate"),
        ("train.epochs=1,2", "--set train.epochs: a sweep varies it; give --vary"),
    ],
)
def test_what_cannot_vary_is_refused_before_anything_is_done(data, stages, text, message):
    said = vary(data, text, options=("--set", "train.epochs=1"), exit_code=2).stderr
    assert message in said and said.count("\n") == 1
    assert not stages.lines and not (data / "runs").exists()


def test_a_sweep_needs_poolings_or_settings_that_vary(data, stages):
    assert "Missing option '--pooling' (or --vary)" in vary(data, exit_code=2).stderr


# --- settings of other stages ---------------------------------------------------------------------


def test_settings_of_tune_and_infer_and_tolerances_vary(data, stages):
    line = ("infer.median=off,0.5", "evaluate.collar=0.2,5")
    result = vary(data, *line, pooling="max")
    said = result.stdout
    rows = [
        f"max evaluate.collar={c} infer.median={m}" for c in ("0.2", "5") for m in ("0.5", "off")
    ]
    assert re.findall("^max.*?(?=  )", said, re.MULTILINE) == [*rows * 3, *rows[1:] * 3]
    assert "2 classes; offsets 20% of the length" in said.replace("\n    ", " ")  # no one collar
    scoring = json.loads((data / "runs" / f"{rows[3].replace(' ', ',')}".replace(
        "max,evaluate.collar=5,infer.median=off", "max,infer.median=off,evaluate.collar=5"
    ) / "seed-0/test/settings.json").read_text())  # fmt: skip
    assert (scoring["infer"]["median"], scoring["evaluate"]["collar"]) == ("off", 5)
    assert "0 runs made, 4 done before" in vary(data, *line, pooling="max").stderr
    (data / "recipe.yaml").write_text(RECIPE.replace("  val-strong: strong.tsv\n", ""))
    said = vary(data, "tune.collar=0.1,0.2", exit_code=2).stderr
    assert "--vary tune.collar=0.1: there are no labels to tune to" in said


def test_a_teacher_is_scored_beside_its_student(data, stages):
    method = ("--set", "train.method=mean-teacher", "--set", "train.batch-size=2,0,0")
    said = vary(data, "infer.teacher=no,yes", options=method, pooling="max").stdout
    assert "F1 against max infer.teacher=no (" in said and "\nmax infer.teacher=yes " in said
    said = vary(data, "infer.teacher=no,yes", options=method, pooling="max").stderr
    assert "0 runs made, 2 done before" in said


def test_label_files_vary_and_name_their_rows(data, stages):
    lines = (data / "weak.tsv").read_text().splitlines(keepends=True)
    (data / "a few:1.tsv").write_text("".join(lines[:-2]))
    said = vary(data, "train.weak=weak.tsv,a few:1.tsv", pooling="max").stdout
    assert re.findall("^max weak=.*?tsv", said, re.MULTILINE)[:2] == [
        *("max weak=a few:1.tsv", "max weak=weak.tsv"),
    ]
    assert (data / "runs" / "max,weak=a-few-1.tsv" / "seed-0" / "model.safetensors").exists()


def test_settings_of_features_vary_with_a_file_for_each_value(data, stages):
    said = vary(data, "extract.n-mels=40,64", pooling="max").stdout
    assert "max extract.n-mels=40" in said
    for n_mels in (40, 64):
        for name in ("features", "test"):
            path = data / f"{name},extract.n-mels={n_mels}.h5"
            assert open_features(path, verify=False).config.n_mels == n_mels
    said = vary(data, "extract.n-mels=40,64", options=("--test", "features.h5"), exit_code=2).stderr
    assert "--vary extract.n-mels=40: features of each value are made of --audio" in said


# --- comparison -----------------------------------------------------------------------------------


def test_rows_with_numbers_are_in_the_order_of_their_size(data, stages):
    vary(data, "train.batch-size=2,10,4", "train.lr=1e-5,1e-3", pooling="max")
    comparison = compare_runs([data / "runs"], CompareConfig(resamples=10))
    rows = [f"max batch-size={size} lr={lr}" for size in (2, 4, 10) for lr in ("1e-05", "0.001")]
    assert [system.label for system in comparison.systems] == rows


# --- processes ------------------------------------------------------------------------------------


def test_a_sweep_over_settings_that_is_killed_goes_on_and_ends_with_the_same_models(data):
    recipe = yaml.safe_load(RECIPE)
    recipe["train"]["epochs"] = 4
    (data / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (data / "test.h5").write_bytes((data / "features.h5").read_bytes())
    texts = ("train.arch=small:gru-units=4,small:gru-units=5", "train.lr=1e-3,3e-4")
    command = [sys.executable, "-m", "sedtool", "sweep", data / "recipe.yaml", "--data", data]
    command += ["-o", data / "runs", *(word for text in texts for word in ("--vary", text))]
    second = data / "runs" / "power,arch=small-gru-units=4,lr=3e-4" / "seed-0"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (second / "metrics.tsv").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = vary(data, *texts)
    assert "1 done before, of 4" in result.stderr
    models = [path.read_bytes() for path in sorted((data / "runs").rglob("model.safetensors"))]
    (data / "runs").rename(data / "killed")
    vary(data, *texts)
    again = [path.read_bytes() for path in sorted((data / "runs").rglob("model.safetensors"))]
    assert len(models) == 4 and models == again
