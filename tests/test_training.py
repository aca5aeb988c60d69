"""Training: it learns, it repeats, it resumes bit for bit, it stops on what is not finite."""

import dataclasses
import json
import shutil
from shlex import quote

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from sedtool.checkpoint import load_model
from sedtool.cli import cli
from sedtool.config import FEATURE_PRESETS, TuneConfig, TuneInputs, WindowConfig
from sedtool.errors import (
    ArtifactError,
    ConfigError,
    DivergedError,
    LabelError,
    OutputExistsError,
    ResourceError,
    SameOutputError,
    StoppedError,
)
from sedtool.extraction import extract
from sedtool.labels import Event, StrongLabels, read_events, read_weak, write_events
from sedtool.planning import plan_training
from sedtool.scoring import Prediction, join_windows, score_clips, stored_clip
from sedtool.training import TrainInputs, learner, load_inputs, train
from sedtool.training.folder import RunWriter
from sedtool.training.trainer import Trainer
from sedtool.training.validation import _predict, validate
from sedtool.tuning import tune
from support.training import PASSES as CONFIG
from support.training import stop_after, whole_contents

pytestmark = pytest.mark.usefixtures("nano")


@pytest.fixture(scope="session")
def inputs(tiny):
    return TrainInputs((tiny.features,), tiny.weak, val_strong=tiny.strong)


@pytest.fixture(scope="module")
def finished(nano, inputs, tmp_path_factory):
    run = tmp_path_factory.mktemp("finished") / "run"
    train(run, inputs, CONFIG, device="cpu")
    return run


@pytest.mark.slow
def test_sounds_that_differ_are_told_apart(inputs, tmp_path):
    config = dataclasses.replace(CONFIG, arch="small", epochs=8)
    result = train(tmp_path / "run", inputs, config, device="cpu")
    assert result.best_score > 0.9
    model = load_model(result.model)
    assert model.classes == ("noise", "tone")
    assert model.trained["epoch"] == result.best_epoch


def test_equal_runs_are_equal_files(inputs, finished, tmp_path):
    train(tmp_path / "run", inputs, CONFIG, device="cpu")
    assert whole_contents(tmp_path / "run") == whole_contents(finished)


def test_another_seed_is_another_run(inputs, finished, tmp_path):
    train(tmp_path / "run", inputs, dataclasses.replace(CONFIG, seed=2), device="cpu")
    assert whole_contents(tmp_path / "run")["metrics"] != whole_contents(finished)["metrics"]


@pytest.mark.parametrize("steps", [1, 3, 4, 7])
def test_a_run_that_was_stopped_anywhere_and_resumed_ends_bit_identical(
    inputs, finished, tmp_path, steps
):
    run = tmp_path / "run"
    with pytest.raises(StoppedError, match="--resume goes on") as stopped:
        train(run, inputs, CONFIG, device="cpu", stop=stop_after(steps))
    assert stopped.value.exit_code == 75
    train(run, inputs, CONFIG, device="cpu", resume=True)
    assert whole_contents(run) == whole_contents(finished)


@pytest.mark.parametrize("at", [1, 5])
def test_a_run_that_was_stopped_while_its_decoding_was_fitted_is_fitted_when_resumed(
    inputs, finished, tmp_path, at
):
    fitting, run = [], tmp_path / "run"

    def progress(step, n_steps, where):
        fitting.extend(["fitting"] * ("fitting the decoding" in where))

    with pytest.raises(StoppedError, match="after the last step, while the decoding was fitted"):
        stop = lambda: 75 * (len(fitting) >= at)  # noqa: E731
        train(run, inputs, CONFIG, device="cpu", progress=progress, stop=stop)
    assert not load_model(run / "model.safetensors").tuned
    train(run, inputs, CONFIG, device="cpu", resume=True)
    assert whole_contents(run) == whole_contents(finished)


def test_what_was_tuned_by_hand_is_left_alone_when_a_finished_run_is_resumed(
    inputs, finished, tiny, tmp_path
):
    run = shutil.copytree(finished, tmp_path / "run")
    labels = TuneInputs((tiny.features,), weak=tiny.weak_validation)
    tune(run / "model.safetensors", labels, TuneConfig())
    before = (run / "model.safetensors").read_bytes()
    train(run, inputs, CONFIG, device="cpu", resume=True)
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_score_that_stays_at_its_end_is_remarked_once(
    inputs, tmp_path, caplog, monkeypatch, score
):
    scores = {"loss": 1.0, "clip_f1": score, "event_f1": 0.5}
    monkeypatch.setattr("sedtool.training.trainer.validate", lambda *_: dict(scores))
    config = dataclasses.replace(CONFIG, epochs=9, steps_per_epoch=1, select_by="clip_f1")
    said = []
    train(tmp_path / "run", inputs, config, device="cpu", tell=said.append)
    (remark,) = (r.getMessage() for r in caplog.records if "for 5 epochs" in r.getMessage())
    assert remark.startswith(f"clip_f1 of the validation clips has been {score:g}")
    first, *epochs = said
    assert first.endswith(
        "2 classes, output frames of 100 ms (each of 4 of 25 ms), 1 steps an epoch"
    )
    assert len(epochs) == 9
    assert f"clip_f1 {score:.3f}, event_f1 0.500" in epochs[3]


@pytest.mark.parametrize(
    ("lengths", "arch", "remedies"),
    [
        (
            [0.1, 0.1, 0.9],
            "small",
            ["--arch small:time-pooling=1 makes frames of 25 ms", ", or extract with"],
        ),
        ([0.1], "small:gru-units=8", ["--arch small:gru-units=8,time-pooling=1 makes frames"]),
        ([0.04], "small:time-pooling=1", ["; extract with a shorter --hop-length"]),
        ([0.1, 0.9, 0.9], "small", []),
        ([0.0, 0.0, 0.9], "small", []),
    ],
)
def test_events_too_short_for_the_output_frames_are_remarked_with_what_mends_it(
    tmp_path, tiny, caplog, lengths, arch, remedies
):
    name = next(iter(read_weak(tiny.weak)))
    events = [Event(name, 0.0, length, "tone") for length in lengths]
    long = Event(name, 0.0, 0.9, "noise")
    write_events(tmp_path / "strong.tsv", StrongLabels([*events, long], (name,)))
    labels = {"strong": tmp_path / "strong.tsv", "val_weak": tiny.weak_validation}
    files = TrainInputs((tiny.features,), **labels)
    config = dataclasses.replace(CONFIG, method="strong", arch=arch, batch_size=(4,))
    Trainer(RunWriter(tmp_path / "run"), files, config, torch.device("cpu"), lambda: 0)
    said = [m for m in caplog.messages if "shorter than two output frames" in m]
    assert len(said) == bool(remedies)
    for remedy in remedies:
        assert remedy in said[0]
        assert f"tone ({1000 * np.median(lengths):.0f} ms)" in said[0]


def test_a_finished_run_can_be_given_more_epochs(inputs, finished, tmp_path):
    longer = dataclasses.replace(CONFIG, epochs=3)
    train(tmp_path / "run", inputs, CONFIG, device="cpu")
    train(tmp_path / "run", inputs, longer, device="cpu", resume=True)
    train(tmp_path / "straight", inputs, longer, device="cpu")
    assert whole_contents(tmp_path / "run") == whole_contents(tmp_path / "straight")


def test_resuming_another_run_is_refused_with_what_differs(inputs, finished):
    with pytest.raises(
        ArtifactError, match=r"is of another run: lr \(0.003 before, 1.0 now\) differ"
    ):
        train(finished, inputs, dataclasses.replace(CONFIG, lr=1.0), device="cpu", resume=True)


def test_a_run_is_not_overwritten_unasked(inputs, finished):
    for changes, remedy in (
        ({"epochs": 9}, "--resume goes on with it, --ov"),
        ({"lr": 1.0}, "--ov"),
    ):
        with pytest.raises(OutputExistsError, match=f" here; {remedy}erwrite starts anew$"):
            train(finished, inputs, dataclasses.replace(CONFIG, **changes), device="cpu")
    with pytest.raises(SameOutputError, match="is finished, and was trained on the same files"):
        train(finished, inputs, CONFIG, device="cpu")


def test_global_generators_are_left_as_found(inputs, tmp_path):
    torch.manual_seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    train(tmp_path / "run", inputs, dataclasses.replace(CONFIG, epochs=1), device="cpu")
    load_model(tmp_path / "run" / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002


def test_a_loss_that_is_not_finite_stops_and_names_the_clips(inputs, tmp_path):
    config = dataclasses.replace(CONFIG, arch="small", lr=1e25)
    with pytest.raises(DivergedError, match=r"diverged in epoch 1, step 2: .*tone_\d+\.wav"):
        train(tmp_path / "run", inputs, config, device="cpu")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "diverged"


def test_the_run_folder_says_what_ran_on_what(finished, tiny):
    record = json.loads((finished / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["seed"] == 1
    assert set(record["inputs"]) == {str(tiny.features), str(tiny.weak), str(tiny.strong)}
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    header, *rows = (finished / "metrics.tsv").read_text().splitlines()
    columns = header.split("\t")
    assert columns[:7] == ["epoch", "step", "lr", "train_loss", "loss", "clip_f1", "event_f1"]
    assert columns[7:] == ["n[noise]", "n[tone]", "theta[noise]", "theta[tone]"]
    assert [row.split("\t")[0] for row in rows] == ["1", "2"]


def test_the_model_carries_what_the_pooling_learned(finished):
    row = dict(
        zip(
            *[
                line.split("\t")
                for line in (finished / "metrics.tsv").read_text().splitlines()[::2]
            ],
            strict=True,
        )
    )
    model = load_model(finished / "model.safetensors")
    learned = model.detector.pooling.learned()["n"]
    if model.trained["epoch"] == int(row["epoch"]):
        assert learned[0] == pytest.approx(float(row["n[noise]"]), rel=1e-5)
    assert all(value != 1.0 for value in learned)


def test_training_stops_when_the_validation_score_stalls(inputs, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=30, patience=2, lr=1e-9)
    result = train(tmp_path / "run", inputs, config, device="cpu")
    assert result.stopped_early
    assert result.epochs == result.best_epoch + 2


def test_the_plateau_schedule_halves_the_rate_where_the_loss_has_not_fallen(
    inputs, tmp_path, monkeypatch
):
    losses, step = iter((3.0, 2.0, 2.5, 2.1, 1.0, 1.0)), learner.Learner.end_epoch
    monkeypatch.setattr(learner.Learner, "end_epoch", lambda self, _: step(self, next(losses)))
    config = dataclasses.replace(CONFIG, epochs=6, plateau_patience=1)
    train(tmp_path / "run", inputs, config, device="cpu")
    lines = (tmp_path / "run" / "metrics.tsv").read_text().splitlines()[1:]
    rates = [float(line.split("\t")[2]) / config.lr for line in lines]
    assert rates == pytest.approx([1, 1, 1, 1, 0.5, 0.5])


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_trains(inputs, tmp_path, amp):
    config = dataclasses.replace(CONFIG, epochs=1, amp=amp)
    assert train(tmp_path / "run", inputs, config, device="cpu").best_score > 0


def test_without_validation_labels_a_seeded_share_is_held_out(tiny, caplog):
    config = dataclasses.replace(CONFIG, validation_fraction=0.25)
    alone = TrainInputs((tiny.features,), tiny.weak)
    clips, validation, _ = load_inputs(alone, config)
    again = load_inputs(alone, config)
    assert len(validation.clips) == 4
    assert len(clips) == 12
    assert not set(clips.names) & set(validation.clips.names)
    assert validation.clips.names == again[1].clips.names
    assert "4 of 16 training clips (seed 1) are held out" in caplog.text


def test_training_clips_may_not_be_validated_on(tiny):
    with pytest.raises(LabelError, match="16 validation clips are trained on too"):
        load_inputs(TrainInputs((tiny.features,), tiny.weak, val_weak=tiny.weak), CONFIG)


def test_labelled_clips_without_features_are_an_error_or_counted(tiny, tmp_path, caplog):
    weak = tmp_path / "weak.tsv"
    weak.write_text(tiny.weak.read_text() + "gone.wav\ttone\n")
    inputs = TrainInputs((tiny.features,), weak, val_strong=tiny.strong)
    with pytest.raises(LabelError, match=r"1 of 17 clips have no features .*\(gone\.wav\)"):
        load_inputs(inputs, CONFIG)
    clips, *_ = load_inputs(dataclasses.replace(inputs, missing="skip"), CONFIG)
    assert len(clips) == 16
    assert "weak.tsv: 1 of 17 clips have no features in" in caplog.text


def test_names_that_match_by_basename_only_are_counted(tiny, tmp_path, caplog):
    weak = tmp_path / "weak.tsv"
    weak.write_text(tiny.weak.read_text().replace("train/", "elsewhere/"))
    clips, *_ = load_inputs(TrainInputs((tiny.features,), weak, val_strong=tiny.strong), CONFIG)
    assert len(clips) == 16
    assert "weak.tsv: 16 clips are matched by their basename" in caplog.text


def test_a_class_without_training_clips_is_named(tiny, tmp_path, caplog):
    classes = tmp_path / "classes.txt"
    classes.write_text("noise\ntone\nzebra\n")
    inputs = TrainInputs((tiny.features,), tiny.weak, val_strong=tiny.strong, classes=classes)
    assert load_inputs(inputs, CONFIG)[0].weak.targets.shape == (16, 3)
    assert "may not be learned, of none they cannot: 'zebra' (0)" in caplog.text


@pytest.mark.parametrize(("event_f1", "best"), [((), 3), ((0.9, 0.7, 0.6, 0.6, 0.8), 2)])
def test_of_equal_scores_that_of_the_best_event_f1_is_kept_then_of_the_lowest_loss(
    inputs, tmp_path, event_f1, best
):
    folder = RunWriter(tmp_path / "run")
    trainer = Trainer(folder, inputs, CONFIG, torch.device("cpu"), lambda: 0)
    rows = [(1, 0.9, 0.5), (2, 0.95, 0.4), (3, 0.95, 0.3), (4, 0.95, 0.3), (5, 0.9, 0.1)]
    trainer.rows = [{"epoch": e, "clip_f1": f1, "loss": loss} for e, f1, loss in rows]
    for row, score in zip(trainer.rows, event_f1, strict=False):
        row["event_f1"] = score
    assert trainer.best_row()["epoch"] == best


def test_settings_that_a_method_does_not_use_are_named(inputs, caplog):
    load_inputs(inputs, dataclasses.replace(CONFIG, ema=0.5, final="teacher"))
    assert "method weak does not use ema, final" in caplog.text
    caplog.clear()
    load_inputs(inputs, CONFIG)
    assert "does not use" not in caplog.text


def test_a_run_is_resumed_or_made_anew_but_not_both(inputs, tmp_path):
    with pytest.raises(ConfigError, match=r"--resume goes on .* and --overwrite starts anew"):
        train(tmp_path / "run", inputs, CONFIG, device="cpu", resume=True, overwrite=True)
    assert not (tmp_path / "run").exists()


def test_selecting_by_events_needs_strong_labels(tiny):
    config = dataclasses.replace(CONFIG, select_by="event_f1")
    with pytest.raises(ConfigError, match="needs strong validation labels"):
        load_inputs(TrainInputs((tiny.features,), tiny.weak), config)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", -1, r"epochs must be in \[0, 1e6\], not -1"),
        ("lr", 0.0, r"lr must be in \(0, 1e30\)"),
        ("lr", float("nan"), r"lr must be in \(0, 1e30\), not nan"),
        ("arch", "smal", "unknown architecture 'smal'; one of: .*small"),
        ("amp", "on", "amp must be one of off, bf16, fp16"),
        ("seed", -1, r"seed must be in \[0, 9223372036854775807\]"),
    ],
)
def test_settings_out_of_range_are_refused(field, value, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(CONFIG, **{field: value})


def test_a_mistake_costs_no_model(inputs, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = whole_contents(run)
    wrong = tmp_path / "wrong.tsv"
    wrong.write_text(inputs.val_strong.read_text().replace("tone\n", "tune\n"))
    with pytest.raises(LabelError, match="unknown label 'tune'"):
        train(run, dataclasses.replace(inputs, val_strong=wrong), CONFIG, overwrite=True)
    assert whole_contents(run) == before
    with pytest.raises(ConfigError, match="unknown device"):
        train(tmp_path / "new", inputs, CONFIG, device="gpu")
    assert not (tmp_path / "new").exists()


def test_a_run_folder_that_is_a_file_is_named(inputs, tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(ResourceError, match="a file of that name is there"):
        train(tmp_path / "run", inputs, CONFIG, device="cpu")


def test_other_validation_labels_make_another_run(inputs, finished, tmp_path):
    moved = tmp_path / "moved.tsv"
    moved.write_text(inputs.val_strong.read_text().replace("0.700", "0.900"))
    with pytest.raises(ArtifactError, match="validation events differ"):
        train(finished, dataclasses.replace(inputs, val_strong=moved), CONFIG, resume=True)


def test_only_clips_with_strong_labels_count_in_event_f1(inputs, finished, tiny, tmp_path):
    strong = tmp_path / "strong.tsv"
    header, *rows = tiny.strong.read_text().splitlines()
    strong.write_text("\n".join([header, rows[0], rows[-1]]) + "\n")  # one of each class
    some = dataclasses.replace(inputs, val_weak=tiny.weak_validation, val_strong=strong)
    config = dataclasses.replace(CONFIG, epochs=1)

    events = {event.name: event for event in read_events(tiny.strong).events}

    def perfect(model, clips, config, device, pause):
        assert len(clips) == 8
        windows = []
        for name, target in zip(clips.names, clips.targets, strict=True):
            frame = np.zeros((10, 2), np.float32)
            event = events[name]
            frame[round(event.onset * 10) : round(event.offset * 10)] = target
            log_y = np.log(np.where(target > 0, 0.99, 0.01)).astype(np.float32)
            windows.append([(0, Prediction(frame, log_y, np.log1p(-np.exp(log_y))))])
        return windows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sedtool.training.validation._predict", perfect)
        train(tmp_path / "perfect", some, config, device="cpu")
    row = (tmp_path / "perfect" / "metrics.tsv").read_text().splitlines()[1].split("\t")
    assert float(row[6]) == 1.0


def test_clips_with_strong_labels_do_not_count_in_clip_scores_beside_weak_ones(
    inputs, tiny, tmp_path
):
    header, *rows = tiny.strong.read_text().splitlines()
    weak, strong = tmp_path / "weak.tsv", tmp_path / "strong.tsv"
    weak.write_text("\n".join(tiny.weak_validation.read_text().splitlines()[:5]) + "\n")
    weak_names = {row.split("\t")[0] for row in weak.read_text().splitlines()[1:]}
    others = [row for row in rows if row.split("\t")[0] not in weak_names]
    strong.write_text("\n".join([header, *others]) + "\n")
    some = dataclasses.replace(inputs, val_weak=weak, val_strong=strong)
    config = dataclasses.replace(CONFIG, epochs=1)
    labels = {event.name: event.label for event in read_events(tiny.strong).events}
    vocabulary = load_inputs(some, config)[2]

    def right_where_weak(model, clips, config, device, pause):
        assert len(clips) == 8
        windows = []
        for name in clips.names:
            target = np.array([labels[name] == label for label in vocabulary.classes])
            if name not in weak_names:
                target = ~target
            log_y = np.log(np.where(target, 0.99, 0.01)).astype(np.float32)
            frames = np.zeros((10, 2), np.float32)
            windows.append([(0, Prediction(frames, log_y, np.log1p(-np.exp(log_y))))])
        return windows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sedtool.training.validation._predict", right_where_weak)
        train(tmp_path / "run", some, config, device="cpu")
    header, row = (tmp_path / "run" / "metrics.tsv").read_text().splitlines()
    scores = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert float(scores["clip_f1"]) == 1.0
    assert float(scores["loss"]) == pytest.approx(-np.log(0.99), rel=1e-4)
    assert float(scores["event_f1"]) == 0.0


def test_copies_of_an_audio_file_are_held_out_together(tiny, tmp_path):
    twice = tmp_path / "twice"
    for copy in ("a", "b"):
        shutil.copytree(tiny.audio / "train", twice / copy)
    extract([twice], tmp_path / "f.h5", FEATURE_PRESETS["dcase2017"], root=twice)
    weak = tmp_path / "weak.tsv"
    header, *rows = tiny.weak.read_text().splitlines()
    copies = [row.replace("train/", f"{copy}/") for copy in ("a", "b") for row in rows]
    weak.write_text("\n".join([header, *copies]) + "\n")
    clips, validation, _ = load_inputs(TrainInputs((tmp_path / "f.h5",), weak), CONFIG)
    assert len(validation.clips) == 4  # two of sixteen audio files
    assert len(clips) == 28


def test_scores_that_are_not_finite_at_validation_end_with_8(inputs, tmp_path):
    config = dataclasses.replace(CONFIG, lr=1e20, steps_per_epoch=1)
    with pytest.raises(DivergedError, match="no epoch was finished, so there is no model"):
        train(tmp_path / "run", inputs, config, device="cpu")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "diverged"


def test_clips_longer_than_the_window_are_validated_as_they_are_inferred(
    inputs, tmp_path, monkeypatch
):
    monkeypatch.setattr(learner, "_LONGEST_WINDOW", 0.4)
    train(tmp_path / "run", inputs, CONFIG, device="cpu")
    model, device = load_model(tmp_path / "run" / "model.safetensors"), torch.device("cpu")
    assert model.window == 0.4
    _, validation, _ = load_inputs(inputs, CONFIG)
    clips = validation.clips
    windows = _predict(model, clips, CONFIG, device, lambda: None)
    stored = (stored_clip(clips.features, name) for name in clips.names)
    inferred = score_clips(model, stored, WindowConfig(model.window), device)
    for name, parts, expected in zip(clips.names, windows, inferred, strict=True):
        starts, predictions = zip(*parts, strict=True)
        scores = join_windows(name, clips.features.duration(name), starts, predictions)
        assert len(scores.window) == len(expected.window) == 4
        assert scores.window_start.tolist() == expected.window_start.tolist()
        np.testing.assert_allclose(scores.frame, expected.frame, atol=1e-6)
        np.testing.assert_allclose(scores.clip, expected.clip, atol=1e-6)
    # The clip loss is that of the most probable window.
    probability = np.array([np.max([np.exp(p.log_y) for _, p in parts], 0) for parts in windows])
    cross_entropy = np.where(clips.targets > 0, probability, 1 - probability)
    scores = validate(model, validation, CONFIG, device, lambda: None)
    assert scores["loss"] == pytest.approx(-np.log(cross_entropy).mean(), abs=1e-5)


def test_a_plan_says_what_a_run_takes_and_writes_nothing(inputs, finished, tmp_path):
    plan = plan_training(tmp_path / "run", inputs, CONFIG, device="cpu")
    assert not (tmp_path / "run").exists()
    assert (plan.n_clips, plan.n_done) == (16, 0)
    assert 0 < plan.seconds < 60
    taken = sum(path.stat().st_size for path in finished.iterdir())
    state = (finished / "last.pt").stat().st_size
    assert taken < plan.disk_needed < 1.1 * (taken + state)
    assert "16 clips to train and 8 to validate on, 2 classes" in plan.lines[0]
    assert "2 epochs of 4 steps" in plan.lines[1]


def test_a_plan_for_a_run_that_is_there_is_one_for_what_is_left(inputs, finished):
    before = {path.name: path.stat().st_mtime_ns for path in finished.iterdir()}
    with pytest.raises(OutputExistsError):
        plan_training(finished, inputs, CONFIG, device="cpu")
    longer = dataclasses.replace(CONFIG, epochs=10)
    plan = plan_training(finished, inputs, longer, device="cpu", resume=True)
    assert plan.n_done == 8
    with pytest.raises(ArtifactError, match=r"lr \(0.003 before, 1.0 now\) differ"):
        other = dataclasses.replace(CONFIG, lr=1.0)
        plan_training(finished, inputs, other, device="cpu", resume=True)
    assert {path.name: path.stat().st_mtime_ns for path in finished.iterdir()} == before


@pytest.mark.parametrize(
    ("labels", "following"),
    [
        ("val_strong", "sedtool tune {model} --features {features} --reference {labels}"),
        ("val_weak", "sedtool tune {model} --features {features} --weak {labels}"),
        (None, "sedtool tune {model} --features {features} --weak {held_out}"),
    ],
)
def test_the_summary_names_the_next_command(tiny, tmp_path, labels, following):
    given = {"val_strong": tiny.strong, "val_weak": tiny.weak_validation, None: None}[labels]
    option = [f"--{labels.replace('_', '-')}", str(given)] if labels else []
    command = [
        *("train", "-o", str(tmp_path / "a run"), "--features", str(tiny.features)),
        *("--weak", str(tiny.weak), "--arch", "small", "--epochs", "1", "--steps-per-epoch", "1"),
        *("--device", "cpu", "--batch-size", "2", *option),
    ]
    dry = CliRunner().invoke(cli, [*command, "--dry-run"])
    assert dry.exit_code == 0, dry.stderr
    assert "1 epochs of 1 steps" in dry.stderr
    assert not (tmp_path / "a run").exists()
    done = CliRunner().invoke(cli, [*command, "--no-tune"])
    assert done.exit_code == 0, done.stderr
    model, held_out = (
        quote(str(tmp_path / "a run" / name)) for name in ("model.safetensors", "held_out.tsv")
    )
    files = {"features": tiny.features, "labels": given, "held_out": held_out}
    expected = following.format(model=model, **files)
    assert done.stderr.endswith(f"; next: {expected}\n")
    done = CliRunner().invoke(cli, [*command, "--overwrite"])
    assert done.exit_code == 0, done.stderr
    assert done.stderr.endswith(f"; next: sedtool infer {model} INPUT -o events.tsv\n")
