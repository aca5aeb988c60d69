"""What `train` chooses for few clips where settings are not given, and what it says of it."""

import json

import pytest

from sedtool.config import TrainConfig, suited
from sedtool.labels import read_weak, write_weak
from sedtool.runs import RunFolder, RunSettings
from support.command_lines import run, tries
from support.training import contents


def steps(n_clips, **given):
    found = suited(n_clips, "weak", **given)
    per_epoch = given.get("steps_per_epoch") or -(-n_clips // found["batch_size"][0])
    return found["epochs"] * per_epoch, per_epoch


@pytest.mark.parametrize("n_clips", [1, 7, 8, 9, 30, 100, 149])
@pytest.mark.parametrize("given", [{}, {"batch_size": (32,)}, {"steps_per_epoch": 7}], ids=str)
def test_a_run_of_few_clips_takes_as_many_steps_as_are_enough(n_clips, given):
    taken, per_epoch = steps(n_clips, **given)
    assert 600 <= taken < 600 + per_epoch
    found = suited(n_clips, "strong", **given)
    assert found["arch"] == "small"
    assert found["batch_size"] == given.get("batch_size", (8,))


def test_from_150_clips_on_nothing_depends_on_their_number():
    many = {"arch": "dcase2017", "batch_size": (32,), "epochs": 50}
    assert suited(150, "weak") == suited(10**6, "strong") == many
    teacher = many | {"batch_size": (6, 12, 6)}
    assert suited(30, "mean-teacher") == suited(10**6, "mean-teacher") == teacher


def test_what_is_given_is_not_chosen():
    wanted = suited(100, "weak")
    assert TrainConfig().with_chosen(wanted) == (TrainConfig(**wanted), wanted)
    config, chosen = TrainConfig(epochs=5, batch_size=(32,)).with_chosen(wanted)
    assert (config.epochs, config.batch_size, config.arch) == (5, (32,), "small")
    assert chosen == {"arch": "small"}
    given = TrainConfig(arch="dcase2019", epochs=1, batch_size=(2,))
    assert given.with_chosen(wanted) == (given, {})


@pytest.fixture
def line(tiny, monkeypatch):
    monkeypatch.setattr("sedtool.config.training._FEW_STEPS", 4)
    return ("train", "--features", tiny.features, "--weak", tiny.weak, "--device", "cpu")


CHOICE = "chosen for 16 labelled clips (less than 150: a small network, many steps): "


@tries("train", "--arch", "--epochs", "--batch-size")
def test_a_run_says_what_it_chose_and_leaves_it_in_its_folder(line, tmp_path):
    folder = RunFolder(tmp_path / "run")
    said = run(*line, "-o", folder.path).stderr
    assert f"{CHOICE}--arch small, --batch-size 8, --epochs 2\n" in said
    config = RunSettings.read(folder.config).config
    assert (config.arch, config.batch_size, config.epochs) == ("small", (8,), 2)
    assert json.loads(folder.record.read_text())["chosen"] == ["arch", "batch_size", "epochs"]
    assert (
        f"{CHOICE}--batch-size 8\n"
        in run(
            *line, "-o", tmp_path / "dry", "--dry-run", "--arch", "small", "--epochs", "1"
        ).stderr
    )
    again = tmp_path / "again"
    assert "chosen" not in run("train", "-c", folder.config, "-o", again).stderr
    assert contents(again) == contents(folder.path)


def test_a_run_that_is_resumed_keeps_what_was_chosen(line, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    run(*line, "-o", folder.path)
    monkeypatch.setattr("sedtool.config.training._FEW_STEPS", 100)
    assert "--epochs 2\n" in run(*line, "-o", folder.path, "--resume").stderr
    folder.record.write_text("{")  # damaged: what config.yaml says is kept
    assert "--epochs 2\n" in run(*line, "-o", folder.path, "--resume").stderr
    assert "--epochs" not in run(*line, "-o", folder.path, "--resume", "--epochs", "3").stderr
    assert RunSettings.read(folder.config).config.epochs == 3


def test_the_same_line_again_finds_nothing_to_do(line, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    run(*line, "-o", folder.path)
    monkeypatch.setattr("sedtool.config.training._FEW_STEPS", 100)
    before = folder.record.read_bytes()
    assert "nothing to do" in run(*line, "-o", folder.path).stderr
    assert folder.record.read_bytes() == before
    said = run(*line, "-o", folder.path, "--epochs", "3", exit_code=2).stderr
    assert "epochs is 2 there and 3 here" in said


def test_a_run_of_an_older_version_goes_on_with_what_it_had(line, tmp_path):
    folder = RunFolder(tmp_path / "run")
    run(*line, "-o", folder.path, "--arch", "dcase2017", "--batch-size", "32", "--epochs", "1")
    record = json.loads(folder.record.read_text())
    del record["chosen"]
    folder.record.write_text(json.dumps(record))
    config = RunSettings.read(folder.config).config
    assert config.chosen_in(record) == {"arch": "dcase2017", "batch_size": (32,), "epochs": 50}
    said = run(*line, "-o", folder.path, "--resume", "--epochs", "2").stderr
    assert "--arch dcase2017, --batch-size 32\n" in said


def test_print_config_says_what_would_be_chosen_and_for_how_many_clips(line, tmp_path):
    shown = run(*line, "-o", tmp_path / "run", "--print-config", "--batch-size", "4").stdout
    assert 'arch: "small"                           # chosen for 16 labelled clips' in shown
    assert "epochs: 1                               # chosen for 16 labelled clips" in shown
    assert "batch-size: 4                           # command line" in shown


def test_with_few_clips_held_out_the_last_epoch_is_the_model(line, tmp_path):
    said = run(*line, "-o", tmp_path / "run").stderr
    assert "the last is the model" in said
    assert "best" not in said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["selected_by"] == "last"
    said = run(*line, "-o", tmp_path / "stops", "--patience", "1").stderr
    assert "best clip_f1" in said


def test_classes_of_too_few_clips_are_named(line, tiny, tmp_path):
    labels = read_weak(tiny.weak)
    tones = [name for name in labels if "tone" in labels[name]]
    few = {name: labels[name] for name in labels if name not in tones[2:]}
    write_weak(tmp_path / "few.tsv", few)
    line = tuple(tmp_path / "few.tsv" if word == tiny.weak else word for word in line)
    said = run(*line, "-o", tmp_path / "run", "--val-weak", tiny.weak_validation).stderr
    assert "fewer than 3 training clips may not be learned, of none they cannot: 'tone' (2)" in said
