"""Every stage after the other, as a user calls them."""

import dataclasses
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from sedtool import demo
from sedtool.checkpoint import load_model
from sedtool.cli import cli
from sedtool.demo import run_demo
from sedtool.errors import OutputExistsError
from sedtool.evaluation import evaluate
from sedtool.labels import read_events
from sedtool.store import open_features
from support.esc10 import make_esc10
from support.published import ESC10

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments, exit_code=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == exit_code, result.stderr
    return result


@contextmanager
def quiet(title):
    yield lambda done, total, what: None


def test_audio_and_labels_become_scores_through_the_commands(tiny, tmp_path):
    features, out = tmp_path / "features.h5", tmp_path / "run"
    model, scores = out / "model.safetensors", tmp_path / "scores.h5"
    extracted = run("extract", tiny.audio, "-o", features, "--workers", 2)
    assert extracted.stdout == ""
    assert "24 clips, 24 s of audio" in extracted.stderr
    run(
        *("train", "-o", out, "--features", features, "--weak", tiny.weak),
        *("--val-strong", tiny.strong, "--arch", "small", "--epochs", 6, "--batch-size", 4),
        *("--lr", "3e-3", "--device", "cpu", "--select-by", "event_f1"),
    )
    tuned = run("tune", model, "--features", features, "--reference", tiny.strong)
    assert "fitted on 8 clips" in tuned.stderr
    events = run("infer", model, tiny.audio / "val", "--root", tiny.audio, "--scores", scores)
    (tmp_path / "events.tsv").write_text(events.stdout)
    metrics = tmp_path / "metrics.json"
    run("evaluate", tiny.strong, scores, "-o", metrics)
    result = json.loads(metrics.read_text())
    assert result["clip"]["source"] == "clip predictions"
    assert result["clip"]["macro"]["f1"] > 0.9  # a tone and a burst of noise are easily told apart
    assert set(result["event"]["classes"]) == {"noise", "tone"}
    run("plot", "clip", features, scores, "tone_16.wav", "-o", tmp_path / "c.png")
    run("plot", "pooling", model, "-o", tmp_path / "p.svg", "--durations-from", tiny.strong)
    assert (tmp_path / "c.png").read_bytes().startswith(PNG)
    assert b"<svg" in (tmp_path / "p.svg").read_bytes()


def test_a_run_repeats_from_its_own_configuration(tiny, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    run(
        *("train", "-o", first, "--features", tiny.features, "--weak", tiny.weak, "--epochs", 1),
        *("--val-weak", tiny.weak_validation, "--arch", "small", "--pooling", "cap:max=3"),
        *("--device", "cpu", "--time-shift", 1),
    )
    run("train", "-o", again, "-c", first / "config.yaml")
    for name in ("model.safetensors", "metrics.tsv", "config.yaml"):
        assert (first / name).read_bytes() == (again / name).read_bytes()
    same = run("train", "-o", first, "-c", first / "config.yaml").stderr
    assert same.startswith("nothing to do: ")


def test_bad_audio_ends_extract_with_3_and_all_bad_with_4(tiny, tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    (folder / "bad [red].wav").write_bytes(b"no audio")
    run("extract", folder, "-o", tmp_path / "f.h5", exit_code=4)
    assert not (tmp_path / "f.h5").exists()
    (folder / "good.wav").write_bytes((tiny.audio / "val/tone_16.wav").read_bytes())
    result = run("extract", folder, "-o", tmp_path / "f.h5", exit_code=3)
    assert "1 of 2 files could not be used" in result.stderr
    assert "bad [red].wav\textract\t" in (tmp_path / "f.h5.failures.tsv").read_text()
    features = open_features(tmp_path / "f.h5")
    assert features.names == ["good.wav"]
    assert [name for name, _ in features.failures] == ["bad [red].wav"]
    again = run("extract", folder, "-o", tmp_path / "f.h5", exit_code=3)
    assert again.stderr.startswith("nothing to do: 2 files")
    run("extract", folder / "good.wav", "-o", tmp_path / "f.h5", exit_code=2)
    run("extract", tmp_path / "empty.h5", "-o", tmp_path / "g.h5", exit_code=2)


def test_a_diverging_run_ends_with_8(tiny, tmp_path):
    result = run(
        *("train", "-o", tmp_path / "run", "--features", tiny.features, "--weak", tiny.weak),
        *("--val-weak", tiny.weak_validation, "--arch", "small", "--lr", "1e25"),
        *("--batch-size", 4, "--device", "cpu"),
        exit_code=8,
    )
    assert "training diverged in epoch 1" in result.stderr


def test_the_demo_leaves_everything_it_promises(tmp_path, monkeypatch):
    folder = tmp_path / "demo"
    monkeypatch.setattr(demo, "TRAINING", dataclasses.replace(demo.TRAINING, epochs=1))
    monkeypatch.setattr(demo, "SIZES", {"train": 16, "validation": 8, "test": 8})
    evaluation = run_demo(folder, quiet, device="cpu", seed=3)
    assert json.loads((folder / "run" / "run.json").read_text())["seed"] == 3
    assert len(evaluation.event.classes) >= 5
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["parameters"]["n_clips"] == 8
    for picture in ("clip.png", "exponents.png"):
        assert (folder / picture).read_bytes().startswith(PNG)
    newest = max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert newest.name == "metrics.json"  # whose presence says that all the others are there
    # The table's event scores are those of the event list it leaves.
    scored = evaluate(
        read_events(folder / "labels" / "test_strong.tsv"),
        read_events(folder / "events.tsv"),
        evaluation.config,
    )
    assert scored.event.micro.f1 == pytest.approx(evaluation.event.micro.f1)
    with pytest.raises(OutputExistsError):
        run_demo(folder, quiet)
    (folder / "mine.txt").write_text("kept")
    run_demo(folder, quiet, device="cpu", seed=3, overwrite=True)
    assert (folder / "mine.txt").read_text() == "kept"
    assert json.loads((folder / "metrics.json").read_text()) == metrics


def test_the_demo_touches_no_folder_that_is_not_its_own(tmp_path):
    mine = tmp_path / "audio" / "mine.wav"
    mine.parent.mkdir()
    mine.touch()
    with pytest.raises(OutputExistsError, match="holds files that no demo made"):
        run_demo(tmp_path, quiet, overwrite=True)
    assert list(tmp_path.rglob("*")) == [mine.parent, mine]


def test_the_esc10_recipe_runs_from_audio_to_a_score_table(tmp_path):
    audio = ESC10 if ESC10.is_dir() else make_esc10(tmp_path / "esc10")
    environment = os.environ | {
        "PYTHON": sys.executable,
        "SEDTOOL": str(Path(sys.executable).with_name("sedtool")),
        "PREPARE_OPTIONS": "--train 24 --validation 12 --test 12",
        "SWEEP_OPTIONS": "--set train.epochs=1 --device cpu",
        "PYTHONWARNINGS": "default",
    }
    command = ["bash", ROOT / "recipes/esc10/run.sh", audio, tmp_path, "rap:lambda=1e-3", "7"]
    for _ in range(2):  # the second time it finds data and run, and goes through
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Events: macro, mean")
    model = load_model(tmp_path / "runs" / "rap-lambda=1e-3" / "seed-7" / "model.safetensors")
    assert model.trained["config"]["seed"] == 7
    assert model.trained["config"]["time_shift"] == 16.0  # as in the recipe's YAML
    assert len(model.classes) == 10
