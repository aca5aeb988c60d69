"""Training that is stopped, run twice, starved of disk or diverging loses nothing."""

import contextlib
import dataclasses
import errno
import io
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from sedtool.atomic import lock
from sedtool.checkpoint import digest, load_state, save_state
from sedtool.config import TrainConfig, TuneConfig
from sedtool.datasets import FeatureSet, TrainingBatches
from sedtool.errors import (
    ArtifactError,
    DivergedError,
    ResourceError,
    StoppedError,
)
from sedtool.training import TrainInputs, train
from sedtool.training.learner import Learner
from sedtool.tuning import TuneInputs, tune
from support.faults import Faults, fail
from support.training import ALL_FILES, CONFIG, contents, names

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nano")]


@pytest.fixture(scope="session")
def inputs(tiny):
    return TrainInputs((tiny.features,), tiny.weak, val_strong=tiny.strong)


@pytest.fixture(scope="module")
def finished(nano, inputs, tmp_path_factory):
    run = tmp_path_factory.mktemp("finished") / "run"
    train(run, inputs, CONFIG, device="cpu")
    return run


def after(steps, code=75):
    """Return a `stop` that answers with a code once it was asked so often."""
    left = iter(range(steps, -1, -1))
    return lambda: code if next(left) == 0 else 0


# The state and the one before it


def test_the_state_before_the_last_is_kept(inputs, finished):
    last, previous = load_state(finished / "last.pt"), load_state(finished / "previous.pt")
    assert (len(previous["tensors"]["rows"]), len(last["tensors"]["rows"])) == (1, 2)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_state_is_passed_over_for_the_one_before_it(
    inputs, finished, tmp_path, caplog, damage
):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    if damage == "gone":
        (run / "last.pt").unlink()
    else:
        os.truncate(run / "last.pt", 1000)
    train(run, inputs, CONFIG, device="cpu", resume=True)
    assert contents(run) == contents(finished)
    reason = "is missing" if damage == "gone" else "cannot be read as a training state"
    assert f"{run / 'last.pt'} {reason}" in caplog.text
    assert f"going on from {run / 'previous.pt'}" in caplog.text
    longer = dataclasses.replace(CONFIG, epochs=3)
    if damage == "cut":
        os.truncate(run / "last.pt", 1000)
    train(run, inputs, longer, device="cpu", resume=True)
    for name in ("last.pt", "previous.pt"):
        load_state(run / name)  # what was damaged has not taken the place of what was whole


def test_two_damaged_states_are_both_named_and_left_alone(inputs, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    for name in ("last.pt", "previous.pt"):
        os.truncate(run / name, 1000)
    with pytest.raises(ArtifactError, match=r"last\.pt cannot .*previous\.pt cannot .*--over"):
        train(run, inputs, CONFIG, device="cpu", resume=True)
    assert names(run) == ALL_FILES


def test_a_run_whose_best_model_is_gone_is_not_resumed(inputs, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="is missing, the best model of the run"):
        train(run, inputs, CONFIG, device="cpu", resume=True)


def test_a_state_with_the_right_digest_and_wrong_content_is_refused(inputs, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    good = load_state(finished / "last.pt")
    tensors, rows = good["tensors"], good["tensors"]["rows"]
    moment = next(name for name in tensors if name.startswith("adam.exp_avg."))
    for key, value in [
        *[(key, None) for key in good if key not in ("scaler", "tensors")],  # fp16 has a scaler
        ("columns", ["epoch"]),
        ("columns", ["epoch"] * len(good["columns"])),
        ("schedule", {"step": 5}),
        ("lr", []),
        ("step", "many"),
        ("identity", "[" * 10_000),
        ("tensors", {}),
        ("tensors", {"rows": rows}),
        ("tensors", tensors | {"rows": rows[1:]}),
        ("tensors", tensors | {"rows": rows[0]}),
        ("tensors", tensors | {"another": torch.zeros(1)}),
        ("tensors", tensors | {moment: torch.zeros(1)}),
        ("tensors", tensors | {"student.mean": torch.zeros(1)}),
        ("tensors", {name: tensors[name] for name in tensors if name != moment}),
    ]:
        save_state(run / "last.pt", good | {key: value})
        with pytest.raises(ArtifactError, match=r"last\.pt cannot be resumed"):
            train(run, inputs, CONFIG, device="cpu", resume=True)


def test_a_state_of_an_earlier_version_is_refused_with_what_to_do(inputs, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    for name in ("last.pt", "previous.pt"):
        torch.save({"state": {"step": 1}, "sha256": digest({"step": 1})}, run / name)
    with pytest.raises(
        ArtifactError, match=r"last\.pt .*an earlier version .* can resume .*; --overwrite starts"
    ):
        train(run, inputs, CONFIG, device="cpu", resume=True)


def test_a_state_has_neither_a_pickle_nor_an_archive_in_it(finished):
    """So that no version of torch has a say in whether a run is resumed."""
    with safe_open(finished / "last.pt", framework="np") as file:
        names, header = set(file.keys()), json.loads(file.metadata()["sedtool"])
    assert {"rows", "student.mean", "adam.exp_avg.crnn.classify.weight"} <= names
    assert set(header["state"]) == {
        *("step", "loss_sums", "columns", "identity", "lr", "schedule", "scaler"),
    }


# Stops


@pytest.mark.parametrize("asked", [1, 2, 3, 4, 5, 6, 7])
def test_a_stop_anywhere_is_saved_and_the_resumed_run_ends_bit_identical(
    inputs, finished, tmp_path, asked
):
    """Asked before the run, then before each of two steps and two batches of validation."""
    run = tmp_path / "run"
    with pytest.raises(StoppedError) as stopped:
        train(run, inputs, CONFIG, device="cpu", stop=after(asked))
    assert stopped.value.exit_code == 75
    if asked == 1:
        assert str(stopped.value) == "stopped before the first step; run it again"
        assert not (run / "last.pt").exists()
    else:
        steps = {2: 1, 3: 2, 4: 2}.get(asked, asked - 3)
        assert f"after step {steps};" in str(stopped.value)
        state = load_state(run / "last.pt")
        assert (state["step"], len(state["tensors"]["rows"])) == (steps, int(asked > 4))
    assert json.loads((run / "run.json").read_text())["status"] == "stopped"
    train(run, inputs, CONFIG, device="cpu", resume=True)
    assert contents(run) == contents(finished)


def test_a_stop_before_anything_was_done_costs_the_old_run_nothing(inputs, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    other = dataclasses.replace(CONFIG, seed=2)
    with pytest.raises(StoppedError, match="before the first step"):
        train(run, inputs, other, device="cpu", overwrite=True, stop=lambda: 75)
    assert contents(run) == contents(finished)
    with pytest.raises(StoppedError, match="before the first step"):
        train(tmp_path / "new", inputs, other, device="cpu", stop=lambda: 75)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("amp", ["off", "bf16"])
@pytest.mark.parametrize("seed", [0, 1])
def test_chains_of_stops_end_where_an_uninterrupted_run_ends(inputs, tmp_path, amp, seed):
    config = TrainConfig(
        arch="nano",
        epochs=4,
        batch_size=(5,),
        time_shift=3.0,
        balance="classes",
        lr=0.5,
        plateau_patience=1,
        patience=3,
        seed=seed,
        amp=amp,
        pooling="auto",
    )
    train(tmp_path / "straight", inputs, config, device="cpu")
    chance, run, stops = random.Random(seed), tmp_path / "run", 0
    for _ in range(50):
        with contextlib.suppress(StoppedError):
            stop = after(chance.randint(1, 9))
            train(run, inputs, config, device="cpu", resume=True, stop=stop)
            break
        stops += 1
    assert contents(run) == contents(tmp_path / "straight")
    assert stops > 2
    sessions = json.loads((run / "run.json").read_text())["resumed"]
    assert {session["status"] for session in sessions} == {"stopped"}
    assert not any("resumed" in session for session in sessions)


def test_a_killed_session_is_recorded_by_the_next(inputs, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"status": "running"}))
    train(run, inputs, CONFIG, device="cpu", resume=True)
    resumed = json.loads((run / "run.json").read_text())
    assert [session["status"] for session in resumed["resumed"]] == ["killed"]
    assert resumed["status"] == "finished"


def test_a_record_that_cannot_be_read_does_not_stop_a_run(inputs, finished, tmp_path, caplog):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "run.json").write_text("[" * 100_000)
    train(run, inputs, CONFIG, device="cpu", resume=True)
    assert "what it said is lost" in caplog.text


# Two runs


def test_a_second_run_stops_at_once_and_the_first_goes_on(inputs, tiny, finished, tmp_path):
    run, refused = tmp_path / "run", []

    def meanwhile(done, total, where):
        if done != 3:
            return
        for resume, overwrite in [(True, False), (False, True), (False, False)]:
            with pytest.raises(ResourceError, match="another sedtool is making") as second:
                train(run, inputs, CONFIG, device="cpu", resume=resume, overwrite=overwrite)
            refused.append(second.value.exit_code)
        with pytest.raises(ResourceError, match="another sedtool is making"):
            lock(run / ".lock", run)  # which says that the run goes on
        with pytest.raises(ResourceError, match="another sedtool is making"):
            tune(
                run / "model.safetensors",
                TuneInputs((tiny.features,), reference=tiny.strong),
                TuneConfig(),
            )

    train(run, inputs, CONFIG, device="cpu", progress=meanwhile)
    assert refused == [6, 6, 6]
    assert contents(run) == contents(finished)
    assert names(run) == ALL_FILES


def test_a_killed_run_leaves_no_lock_and_its_leftovers_go(inputs, finished, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in (".lock", ".model.safetensors.lock", ".last.pt.x.tmp", ".run.json.y.tmp"):
        (run / name).touch()
    train(run, inputs, CONFIG, device="cpu")
    assert names(run) == ALL_FILES
    assert contents(run) == contents(finished)


def test_a_model_that_is_being_tuned_is_not_tuned_twice(tiny, finished, tmp_path):
    model = tmp_path / "model.safetensors"
    shutil.copy(finished / "model.safetensors", model)
    with lock(tmp_path / ".model.safetensors.lock", model), pytest.raises(ResourceError):
        tune(model, TuneInputs((tiny.features,), reference=tiny.strong), TuneConfig())
    assert model.read_bytes() == (finished / "model.safetensors").read_bytes()


# A failing disk


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_failing_disk_is_one_line_and_the_run_resumes(inputs, finished, tmp_path, number):
    # Every fifth fault each; together, with their offsets, they are nearly all.
    survived = 0
    for at in range(1 + number % 5, 200, 5):
        run = tmp_path / str(at)
        faults = Faults(at, fail(number))
        with contextlib.suppress(ResourceError), faults.installed():
            train(run, inputs, CONFIG, device="cpu")
        if faults.count < at:
            break
        survived += 1
        assert not list(run.glob(".*.tmp")), at
        if (run / "model.safetensors").exists() and not list(run.glob("*.pt")):
            train(run, inputs, CONFIG, device="cpu", overwrite=True)  # the first save failed
        else:
            train(run, inputs, CONFIG, device="cpu", resume=True)
        assert contents(run) == contents(finished), at
        shutil.rmtree(run)
    assert survived >= 6


def test_a_full_disk_leaves_the_state_that_was_there(inputs, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = contents(run)
    longer = dataclasses.replace(CONFIG, epochs=3)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sedtool.checkpoint._to_bytes", full)
        with pytest.raises(OSError, match="No space"):
            train(run, inputs, longer, device="cpu", resume=True)
    assert contents(run)["state"] == before["state"]
    assert json.loads((run / "run.json").read_text())["status"] == "failed"


def test_a_folder_that_cannot_be_written_is_one_line(inputs, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    opened = io.open

    def refuse(path, mode="r", *rest, **kwargs):
        if isinstance(path, Path) and set(mode) & set("wax+"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(path, mode, *rest, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", refuse)
        with pytest.raises(ResourceError, match="run: the file system is read-only"):
            train(run, inputs, CONFIG, device="cpu", resume=True)
    assert contents(run) == contents(finished)


# Divergence


def poisoned(run, step):
    """Return a TrainingBatches.draw with a NaN in one clip of one step."""
    drawn = TrainingBatches.draw

    def draw(self, *arguments):
        batch = drawn(self, *arguments)
        if arguments[-1] == step:
            batch.features[1, 3, 5] = np.nan
        return batch

    return draw


def test_a_nan_in_a_clip_stops_the_run_before_it_reaches_anything(
    inputs, finished, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = contents(run)
    monkeypatch.setattr(TrainingBatches, "draw", poisoned(run, 5))
    longer = dataclasses.replace(CONFIG, epochs=3)
    with pytest.raises(DivergedError) as diverged:
        train(run, inputs, longer, device="cpu", resume=True)
    assert diverged.value.exit_code == 8
    message = str(diverged.value)
    assert "diverged in epoch 3, step 6: the loss is nan" in message
    assert message.count("train/") == CONFIG.total_batch_size
    assert f"{run / 'model.safetensors'} is the best model so far" in message
    assert contents(run) == before  # neither model nor state nor metrics were touched
    assert json.loads((run / "run.json").read_text())["status"] == "diverged"


@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_a_learning_rate_that_is_too_high_stops_the_run(inputs, tmp_path, amp):
    config = dataclasses.replace(CONFIG, lr=1e25, amp=amp)
    with pytest.raises(DivergedError, match=r"step 2: .*; the clips of the batch: train/"):
        train(tmp_path / "run", inputs, config, device="cpu")
    assert names(tmp_path / "run") == ["config.yaml", "run.json", "trained_on.tsv"]


def test_float16_gradients_that_always_overflow_stop_the_run(inputs, tmp_path, monkeypatch):
    made = Learner.__init__

    def overflowing(self, *arguments):
        made(self, *arguments)
        self.detector.crnn.classify.bias.register_hook(lambda gradient: gradient * torch.inf)

    monkeypatch.setattr(Learner, "__init__", overflowing)
    config = dataclasses.replace(CONFIG, steps_per_epoch=100, batch_size=(1,), amp="fp16")
    with pytest.raises(DivergedError, match=r"step 37: float16 .* never finite; .*batch: train/"):
        train(tmp_path / "run", inputs, config, device="cpu")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_ruined_weights_are_neither_saved_nor_validated(
    inputs, finished, tmp_path, monkeypatch, value
):
    taken = Learner.step

    def ruinous(self, batch, number):
        loss = taken(self, batch, number)
        if number == 4:
            self.detector.crnn.blocks[0].norm.running_var[0] = value  # unseen in training mode
        return loss

    monkeypatch.setattr(Learner, "step", ruinous)
    longer = dataclasses.replace(CONFIG, epochs=3)
    for asked in (2, 100):  # stopped at once, or going on to the validation
        run = tmp_path / str(asked)
        shutil.copytree(finished, run)
        with pytest.raises(DivergedError, match=r"weight crnn\.blocks.*running_var is not"):
            train(run, inputs, longer, device="cpu", resume=True, stop=after(asked))
        assert contents(run) == contents(finished)


def test_features_that_are_not_finite_do_not_reach_the_statistics(inputs, tmp_path, monkeypatch):
    clip = FeatureSet.clip

    def bad(self, name):
        features = clip(self, name)
        return features * np.nan if name == "train/tone_4.wav" else features

    monkeypatch.setattr(FeatureSet, "clip", bad)
    with pytest.raises(ArtifactError, match=r"features of 'train/tone_4\.wav' are not all finite"):
        train(tmp_path / "run", inputs, CONFIG, device="cpu")
    assert not (tmp_path / "run").exists()


def test_validation_scores_that_are_not_finite_name_the_clips(inputs, tmp_path, monkeypatch):
    clip = FeatureSet.clip

    def bad(self, name):
        features = clip(self, name)
        return features * np.nan if name == "val/tone_22.wav" else features

    monkeypatch.setattr(FeatureSet, "clip", bad)
    with pytest.raises(DivergedError, match=r"of these clips: val/.*val/tone_22\.wav"):
        train(tmp_path / "run", inputs, CONFIG, device="cpu")
    with pytest.raises(ArtifactError, match="scores are not finite"):
        monkeypatch.setattr(FeatureSet, "clip", clip)
        train(tmp_path / "good", inputs, CONFIG, device="cpu")
        monkeypatch.setattr(FeatureSet, "blocks", lambda self, name, _: [bad(self, name)])
        tune(
            tmp_path / "good" / "model.safetensors",
            TuneInputs(inputs.features, reference=inputs.val_strong),
            TuneConfig(),
        )
