"""Runs of train --method mean-teacher and strong: files in, a run folder out."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from sedtool.atomic import claim
from sedtool.checkpoint import digest, load_model, load_state, save_model
from sedtool.config import ARCHITECTURES, TrainConfig
from sedtool.datasets import TrainingBatches
from sedtool.errors import (
    ArtifactError,
    ConfigError,
    LabelError,
    OutputExistsError,
    ResourceError,
    StoppedError,
)
from sedtool.labels import Event, StrongLabels, read_names, write_events
from sedtool.mean_teacher import teacher_of
from sedtool.planning import plan_training
from sedtool.runs import read_json
from sedtool.training import TrainInputs, load_inputs, train
from support.training import NANO, stop_after, whole_contents

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nano")]


@pytest.fixture(scope="module")
def settings(nano):
    return TrainConfig(
        method="mean-teacher",
        arch="nano",
        epochs=3,
        batch_size=(2, 3, 2),
        lr=1e-2,
        time_shift=3.0,
        seed=1,
        select_by="clip_f1+event_f1",
    )


@pytest.fixture(scope="module")
def inputs(tiny, tmp_path_factory):
    """Six weak clips, four strong ones, and a list of all 16 training clips without labels."""
    folder = tmp_path_factory.mktemp("labels")
    rows = tiny.weak.read_text().splitlines()
    (folder / "weak.tsv").write_text("\n".join(rows[:7]) + "\n")
    names = read_names(tiny.weak)
    (folder / "all.tsv").write_text("filename\n" + "".join(f"{name}\n" for name in names))
    events = [Event(n, 0.2, 0.7, n.split("/")[1].split("_")[0]) for n in names[6:10]]
    write_events(folder / "strong.tsv", StrongLabels(events, tuple(names[6:10])))
    return TrainInputs(
        (tiny.features,),
        weak=folder / "weak.tsv",
        strong=folder / "strong.tsv",
        unlabelled=folder / "all.tsv",
        val_strong=tiny.strong,
    )


def everything(run):
    """Return all that equal runs must have in common."""
    others = {p.name: p.read_bytes() for p in sorted(run.rglob("*.safetensors"))}
    return whole_contents(run) | others


@pytest.fixture(scope="module")
def finished(inputs, settings, tmp_path_factory):
    run = tmp_path_factory.mktemp("finished") / "run"
    train(run, inputs, settings, device="cpu")
    return run


def rows(run):
    header, *lines = (row.split("\t") for row in (run / "metrics.tsv").read_text().splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_a_row_an_epoch_has_the_parts_of_the_loss(finished, settings):
    first, _, last = rows(finished)
    assert list(first)[:10] == [
        *("epoch", "step", "lr", "train_loss", "clip_loss", "frame_loss"),
        *("frame_consistency", "clip_consistency", "consistency", "loss"),
    ]
    assert float(first["consistency"]) < float(last["consistency"]) <= settings.consistency
    parts = float(last["clip_loss"]) + float(last["frame_loss"])
    assert float(last["train_loss"]) >= parts


def test_equal_runs_are_equal_files(inputs, finished, settings, tmp_path):
    train(tmp_path / "run", inputs, settings, device="cpu")
    assert everything(tmp_path / "run") == everything(finished)


def test_the_record_says_what_the_model_of_the_run_scores_and_not_its_teacher(finished):
    of_run = read_json(finished / "run.json")["fitted"]["event_f1"]
    student, teacher = (
        np.mean([*load_model(finished / name).tuned["event_f1"].values()])
        for name in ("model.safetensors", "teacher.safetensors")
    )
    assert of_run == pytest.approx(student) != pytest.approx(teacher)


@pytest.mark.parametrize("stops", [(1, 4), (6, 3, 2), (17,)])
def test_both_networks_resume_bit_for_bit(inputs, finished, settings, tmp_path, stops):
    run = tmp_path / "run"
    for steps in stops:
        with pytest.raises(StoppedError):
            train(run, inputs, settings, device="cpu", resume=True, stop=stop_after(steps))
    train(run, inputs, settings, device="cpu", resume=True)
    assert everything(run) == everything(finished)


@pytest.mark.parametrize(
    "changes",
    [
        {"final": "teacher"},
        {"ema_buffers": False, "amp": "bf16"},
        {"pooling": "hierarchical:base=attention-classes", "noise_domain": "linear"},
        {"augment": ("mixup", "time-mask", "freq-mask", "gain:most=3"), "time_shift": 0.0},
    ],
)
def test_other_settings_resume_bit_for_bit_too(inputs, settings, tmp_path, changes):
    config = dataclasses.replace(settings, **changes)
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(whole, inputs, config, device="cpu")
    for steps in (5, 4):
        with pytest.raises(StoppedError):
            train(run, inputs, config, device="cpu", resume=True, stop=stop_after(steps))
    train(run, inputs, config, device="cpu", resume=True)
    assert everything(run) == everything(whole)


@pytest.mark.parametrize("at", ["teacher.safetensors", "metrics.tsv", "last.pt"])
def test_a_run_that_ends_between_its_first_files_is_begun_anew_by_resuming(
    inputs, finished, settings, tmp_path, monkeypatch, at
):
    run = tmp_path / "run"
    replace = Path.replace

    def full(self, target):
        if Path(target).name == at:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ResourceError):
        train(run, inputs, settings, device="cpu", resume=True)
    monkeypatch.undo()
    assert (run / "model.safetensors").exists()
    with pytest.raises(OutputExistsError):
        train(run, inputs, settings, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "nano", NANO)
        train(run, inputs, settings, device="cpu", resume=True)
    assert everything(run) == everything(finished)
    assert not list(run.rglob("*.tmp"))


def test_no_other_process_rewrites_a_teacher_that_is_being_trained(inputs, settings, tmp_path):
    run, tried = tmp_path / "run", []

    def tune_meanwhile(done, *_):
        if not tried:
            tried.append(done)
            with pytest.raises(ResourceError), claim(run / "teacher.safetensors", overwrite=True):
                pass

    train(run, inputs, settings, device="cpu", progress=tune_meanwhile)
    assert tried


def test_epochs_that_are_over_are_named_where_they_were_to_be_kept(
    inputs, finished, settings, tmp_path, caplog
):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    more = dataclasses.replace(settings, keep_epochs=(1, 4), epochs=4, ramp_up=9)
    train(run, inputs, more, device="cpu", resume=True)
    assert "epochs 1 are over and cannot be kept" in caplog.text
    assert [path.name for path in (run / "epochs").iterdir()] == ["004.safetensors"]


def test_an_epoch_is_one_pass_over_the_unlabelled_clips(inputs, settings):
    clips, _, vocabulary = load_inputs(inputs, settings)
    batches = TrainingBatches(clips, vocabulary, settings, NANO.time_pooling)
    assert batches.sizes == (2, 3, 2)
    drawn = [batches.draw(0, step) for step in range(6)]  # ceil(16 / 3)
    unlabelled = [name for batch in drawn for name in batch.names[2:5]]
    assert sorted(unlabelled[:16]) == sorted(clips.unlabelled.names)
    for batch in drawn:
        assert set(batch.names[batch.weak]) <= set(clips.weak.names)
        assert set(batch.names[batch.strong]) <= set(clips.strong.names)
        assert not batch.targets[2:5].any()


def test_strong_clips_come_with_their_frames_moved_like_them(inputs, settings):
    clips, _, vocabulary = load_inputs(inputs, settings)
    still = dataclasses.replace(settings, time_shift=0.0)
    shifted = dataclasses.replace(settings, time_shift=30.0)
    one = TrainingBatches(clips, vocabulary, still, 1).draw(0, 0)
    other = TrainingBatches(clips, vocabulary, shifted, 1).draw(0, 0)
    for row, name in enumerate(one.names[one.strong]):
        features, moved = one.features[one.strong][row], other.features[other.strong][row]
        ours = [s for s in range(40) if features.roll(s, 0).equal(moved)]
        assert ours, name
        assert one.frame_targets[row].roll(ours[0], 0).equal(other.frame_targets[row])
    assert one.frame_targets.sum() == 2 * 20  # half a second of each at 40 frames a second


def test_sounds_that_differ_are_told_apart_from_strong_labels_alone(tiny, tmp_path, settings):
    names = read_names(tiny.weak)
    events = [Event(n, 0.2, 0.7, n.split("/")[1].split("_")[0]) for n in names]
    write_events(tmp_path / "strong.tsv", StrongLabels(events, tuple(names)))
    inputs = TrainInputs((tiny.features,), strong=tmp_path / "strong.tsv", val_strong=tiny.strong)
    config = dataclasses.replace(
        settings, method="strong", batch_size=(8,), epochs=12, arch="small", lr=3e-3,
        select_by="event_f1", time_shift=0.0, pooling="linear",
    )  # fmt: skip
    result = train(tmp_path / "run", inputs, config, device="cpu")
    assert result.best_score > 0.9
    assert not (tmp_path / "run" / "teacher.safetensors").exists()


def test_a_pooling_that_learns_nothing_is_named(inputs, settings, tmp_path, caplog):
    strong = dataclasses.replace(inputs, weak=None, unlabelled=None)
    config = dataclasses.replace(settings, method="strong", batch_size=(2,), epochs=1)
    plan_training(tmp_path / "run", strong, config, device="cpu")
    assert "power pooling stays as it starts; --strong-clip-loss lets it learn" in caplog.text
    train(tmp_path / "run", strong, config, device="cpu")
    assert load_model(tmp_path / "run" / "model.safetensors").detector.pooling.n.tolist() == [1, 1]
    caplog.clear()
    for same in ({"strong_clip_loss": True}, {"pooling": "linear"}):
        other = dataclasses.replace(config, **same)
        plan_training(tmp_path / "other", strong, other, device="cpu")
    assert "has a clip loss" not in caplog.text


def test_a_clip_loss_of_weight_0_moves_no_pooling(inputs, settings, tmp_path, caplog):
    config = dataclasses.replace(settings, clip_weight=0.0, epochs=1)
    train(tmp_path / "run", inputs, config, device="cpu")
    assert "power pooling stays as it starts; --clip-weight above 0 lets it learn" in caplog.text
    assert load_model(tmp_path / "run" / "model.safetensors").detector.pooling.n.tolist() == [1, 1]


def test_the_other_network_stands_beside_the_model(finished, inputs, settings, tmp_path):
    student = load_model(finished / "model.safetensors")
    assert student.trained["network"] == "student"
    assert teacher_of(finished / "model.safetensors") == finished / "teacher.safetensors"
    teacher = load_model(finished / "teacher.safetensors")
    assert teacher.trained["network"] == "teacher"
    assert teacher.trained["epoch"] == student.trained["epoch"]
    assert teacher.weights_sha256 != student.weights_sha256
    state = load_state(finished / "last.pt")
    if student.trained["epoch"] == settings.epochs:
        weights = teacher.detector.state_dict()
        saved = {name: state["tensors"][f"teacher.{name}"] for name in weights}
        assert digest(saved) == digest(weights)
    final = dataclasses.replace(settings, final="teacher")
    train(tmp_path / "run", inputs, final, device="cpu")
    model = tmp_path / "run" / "model.safetensors"
    assert load_model(model).trained["network"] == "teacher"
    assert load_model(tmp_path / "run" / "student.safetensors").trained["network"] == "student"
    assert teacher_of(model) == model
    # What is learned is the same; what is validated is not.
    ours, theirs = rows(tmp_path / "run"), rows(finished)
    assert [row["train_loss"] for row in ours] == [row["train_loss"] for row in theirs]
    assert [row["loss"] for row in ours] != [row["loss"] for row in theirs]


def test_models_of_kept_epochs_are_those_of_their_epochs(finished, inputs, settings, tmp_path):
    run = tmp_path / "run"
    config = dataclasses.replace(settings, keep_epochs=(1, 3))
    train(run, inputs, config, device="cpu")
    kept = sorted(path.name for path in (run / "epochs").iterdir())
    assert kept == ["001.safetensors", "003.safetensors"]
    assert load_model(run / "epochs" / "001.safetensors").trained["epoch"] == 1
    best = load_model(run / "model.safetensors")
    if best.trained["epoch"] in (1, 3):
        same = load_model(run / "epochs" / f"{best.trained['epoch']:03d}.safetensors")
        assert same.weights_sha256 == best.weights_sha256
    assert (run / "metrics.tsv").read_bytes() == (finished / "metrics.tsv").read_bytes()
    train(run, inputs, settings, device="cpu", overwrite=True)
    assert not list((run / "epochs").glob("*"))  # what is left of them is not of this run


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        (("weak",), (2, 0, 0)),
        (("strong",), (0, 0, 2)),
        (("weak", "unlabelled"), (2, 3, 0)),
        (("strong", "unlabelled"), (0, 3, 2)),
        (("weak", "strong"), (2, 0, 2)),
    ],
)
def test_any_source_may_be_missing(inputs, settings, tmp_path, given, sizes):
    absent = {name: None for name in ("weak", "strong", "unlabelled") if name not in given}
    some = dataclasses.replace(inputs, **absent)
    config = dataclasses.replace(settings, epochs=1)
    train(tmp_path / "run", some, config, device="cpu")
    (row,) = rows(tmp_path / "run")
    assert ("clip_loss" in row) == bool(sizes[0])
    assert ("frame_loss" in row) == bool(sizes[2])
    clips, _, vocabulary = load_inputs(some, config)
    assert TrainingBatches(clips, vocabulary, config, 4).sizes == sizes


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("weak", ("strong",), "method weak does not learn from --strong"),
        ("weak", (), "method weak needs labelled clips: --weak"),
        ("strong", ("weak", "strong"), "method strong does not learn from --weak"),
        ("mean-teacher", ("unlabelled",), "needs labelled clips: --weak or --strong"),
    ],
)
def test_a_method_takes_what_it_learns_from(inputs, settings, method, given, message):
    absent = {name: None for name in ("weak", "strong", "unlabelled") if name not in given}
    size = (2, 3, 2) if method == "mean-teacher" else (4,)
    config = dataclasses.replace(settings, method=method, batch_size=size, select_by="clip_f1")
    with pytest.raises(ConfigError, match=message):
        load_inputs(dataclasses.replace(inputs, **absent), config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": (4,)}, r"batch_size of mean-teacher must be three numbers"),
        ({"batch_size": (0, 0, 0)}, "batch_size must not be 0,0,0"),
        ({"batch_size": (2, -1, 2)}, r"batch_size must be in \[0, 1e6\]"),
        ({"method": "weak"}, "batch_size of method weak must be one number, not '2,3,2'"),
        ({"method": "teacher"}, "method must be one of weak, mean-teacher, strong"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\)"),
        ({"noise": -0.1}, r"noise must be in \[0, 1e6\]"),
        ({"consistency": float("nan")}, r"consistency must be in \[0, 1e6\], not nan"),
        ({"ramp_up": -1}, r"ramp_up must be in \[0, 9"),
        ({"noise_domain": "log"}, "noise_domain must be one of normalised, linear"),
        ({"shift_mode": "wrap"}, "shift_mode must be one of roll, pad"),
        ({"final": "both"}, "final must be one of student, teacher"),
        (
            {"keep_epochs": (0,)},
            r"epoch 0 to keep \(keep-epochs\) is none of 1 to 3",
        ),
        (
            {"keep_epochs": (4,)},
            r"epoch 4 to keep \(keep-epochs\) is none of 1 to 3",
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings, changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(settings, **changes)


def test_a_source_without_room_in_the_batch_is_refused(inputs, settings):
    config = dataclasses.replace(settings, batch_size=(2, 0, 2))
    with pytest.raises(ConfigError, match="no unlabelled clips, but --unlabelled is given"):
        load_inputs(inputs, config)


def test_unlabelled_clips_that_are_validated_on_are_left_out(inputs, tiny, settings, caplog):
    listed = inputs.unlabelled.with_name("more.tsv")
    listed.write_text(inputs.unlabelled.read_text() + "val/tone_16.wav\nval/noise_17.wav\n")
    clips, _, _ = load_inputs(dataclasses.replace(inputs, unlabelled=listed), settings)
    assert len(clips.unlabelled) == 16
    assert "2 of 18 unlabelled clips are validated on; left out of training" in caplog.text


def test_labelled_clips_that_are_validated_on_are_refused(inputs, settings):
    given = dataclasses.replace(inputs, val_strong=inputs.strong)
    with pytest.raises(LabelError, match="4 validation clips are trained on too"):
        load_inputs(given, settings)


@pytest.mark.parametrize("kind", ["weak", "strong", "unlabelled", "val_strong"])
def test_a_list_that_names_no_clip_is_refused(inputs, settings, tmp_path, kind):
    empty = tmp_path / "empty.tsv"
    header = {"weak": "filename\tevent_labels\n", "unlabelled": "filename\n"}
    empty.write_text(header.get(kind, "filename\tonset\toffset\tevent_label\n"))
    with pytest.raises(LabelError, match=r"empty\.tsv names no clip"):
        load_inputs(dataclasses.replace(inputs, **{kind: empty}), settings)


def test_events_that_begin_after_their_clip_are_left_out_and_counted(
    inputs, settings, tmp_path, caplog
):
    late = tmp_path / "late.tsv"
    name = read_names(inputs.strong)[0]
    late.write_text(inputs.strong.read_text() + f"{name}\t1.000\t2.000\tbird\n")
    clips, _, vocabulary = load_inputs(dataclasses.replace(inputs, strong=late), settings)
    assert "1 events begin after the end of their clip; left out" in caplog.text
    assert clips.strong.targets[:, vocabulary.index("bird")].sum() == 0
    assert "may not be learned, of none they cannot: 'bird' (0)" in caplog.text


@pytest.mark.parametrize("seed", range(5))
def test_a_share_of_each_kind_is_held_out_whatever_the_seed(inputs, settings, seed):
    given = dataclasses.replace(inputs, val_strong=None)
    config = dataclasses.replace(settings, validation_fraction=0.3, seed=seed)
    clips, validation, _ = load_inputs(given, config)
    assert (len(clips.weak), len(clips.strong)) == (4, 3)
    assert len(validation.strong.names) == 1


def test_noise_that_drowns_the_clips_is_named(inputs, settings, tmp_path, caplog):
    def said(**changes):
        caplog.clear()
        config = dataclasses.replace(settings, **changes)
        plan_training(tmp_path / "run", inputs, config, device="cpu")
        return "of the mel values of the training clips; lower --noise" in caplog.text

    assert said(noise=1e3, noise_domain="linear")
    assert not said(noise=1e-6, noise_domain="linear")
    assert not said(noise=1e3, noise_domain="normalised")


def test_a_share_of_both_kinds_of_labels_is_held_out(inputs, settings, caplog):
    given = dataclasses.replace(inputs, val_strong=None)
    config = dataclasses.replace(settings, validation_fraction=0.4)
    clips, validation, _ = load_inputs(given, config)
    held = set(validation.clips.names)
    assert len(held) == 4
    assert len(clips.weak) + len(clips.strong) == 6
    assert validation.strong is not None
    assert set(validation.strong.names) == held - set(read_names(inputs.weak))
    assert held.isdisjoint(clips.names)
    assert "4 of 10 training clips (seed 1) are held out" in caplog.text


def test_a_run_of_another_ramp_cannot_be_resumed(inputs, finished, settings, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    longer = dataclasses.replace(settings, epochs=4)
    with pytest.raises(ArtifactError, match=r"ramp_up \(9 before, 12 now\) differ"):
        train(run, inputs, longer, device="cpu", resume=True)
    same = dataclasses.replace(longer, ramp_up=9)
    train(run, inputs, same, device="cpu", resume=True)
    assert len(rows(run)) == 4


def test_a_run_whose_rate_falls_to_its_last_step_cannot_be_made_longer(inputs, settings, tmp_path):
    run = tmp_path / "run"
    falling = dataclasses.replace(settings, schedule="cosine", ramp_up=3)
    train(run, inputs, falling, device="cpu")
    longer = dataclasses.replace(falling, epochs=falling.epochs + 1)
    with pytest.raises(ArtifactError, match=r"steps \(\d+ before, \d+ now\) differ"):
        train(run, inputs, longer, device="cpu", resume=True)


def test_a_model_without_a_teacher_is_called_that(finished, inputs, settings, tmp_path):
    shutil.copy(finished / "model.safetensors", tmp_path / "m.safetensors")
    with pytest.raises(ArtifactError, match=r"has no teacher: .* as teacher\.safetensors"):
        teacher_of(tmp_path / "m.safetensors")
    other = dataclasses.replace(load_model(finished / "teacher.safetensors"))
    other.trained = other.trained | {"epoch": 99}
    save_model(tmp_path / "teacher.safetensors", other)
    with pytest.raises(
        ArtifactError, match=r"is not the teacher of .* but of another epoch or run"
    ):
        teacher_of(tmp_path / "m.safetensors")
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "teacher.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"teacher.safetensors is missing, .*put it back"):
        train(run, inputs, settings, device="cpu", resume=True)


def test_a_plan_knows_both_networks(inputs, settings, tmp_path):
    plan = plan_training(tmp_path / "run", inputs, settings, device="cpu")
    assert " of 6 steps" in str(plan)
    alone = dataclasses.replace(settings, method="weak", batch_size=(2,), select_by="clip_f1")
    weak = dataclasses.replace(inputs, strong=None, unlabelled=None)
    other = plan_training(tmp_path / "run", weak, alone, device="cpu")
    assert plan.disk_needed > other.disk_needed
    assert np.isfinite(plan.seconds)
