"""Each exit code, brought about in every command where it can come about.

Those that the machine is to blame for, 6 and 141, are in `test_exit_codes_machine`.
"""

import shutil
import signal
import time
from pathlib import Path

import pytest

from sedtool.checkpoint import load_model, load_state, save_model
from sedtool.training.learner import Learner
from sedtool.training.trainer import Trainer
from support.command_lines import (
    every_command,
    is_one_line,
    quick_lines,
    refused,
    run,
    save_small_model,
)

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM, signal.SIGINT)

# What each command calls, and so what can go wrong at the wrong moment.
CALLED = {
    "extract": "sedtool.extraction.extract",
    "train": "sedtool.training.train",
    "tune": "sedtool.tuning.tune",
    "infer": "sedtool.inference.infer",
    "evaluate": "sedtool.evaluation.from_files.evaluate_files",
    "plot clip": "sedtool.plots.plot_clip",
    "plot pooling": "sedtool.plots.plot_pooling",
    "plot frames": "sedtool.plots.plot_frames",
    "plot durations": "sedtool.plots.plot_durations",
    "plot gradients": "sedtool.plots.plot_gradients",
    "plot curves": "sedtool.plots.plot_curves",
    "demo": "sedtool.demo.run_demo",
    "compare": "sedtool.comparison.compare_runs",
    "merge": "sedtool.store.merge.merge",
    "check": "sedtool.checking.check",
    "convert": "sedtool.convert.convert",
    "info": "sedtool.info.describe_all",
    "doctor": "sedtool.doctor.examine",
}


@pytest.fixture
def lines(tiny, tmp_path):
    return quick_lines(tiny, tmp_path)


@pytest.fixture
def audio(tiny, tmp_path):
    """A folder of four recordings, one of which is broken."""
    folder = tmp_path / "audio"
    folder.mkdir()
    for number in (16, 18, 20):
        shutil.copy(tiny.audio / "val" / f"tone_{number}.wav", folder)
    (folder / "bad.wav").write_bytes(b"")
    return folder


# 0, 3: how many failures are tolerated


@pytest.mark.parametrize(
    ("tolerated", "exit_code"),
    [("0", 3), ("1", 0), ("2", 0), ("0%", 3), ("24.9%", 3), ("25%", 0), ("100%", 0)],
)
@pytest.mark.parametrize("command", ["extract", "infer"])
def test_failures_are_counted_against_what_is_tolerated(
    command, tolerated, exit_code, audio, tmp_path
):
    output = tmp_path / "out"
    model = [save_small_model(tmp_path / "m.safetensors")] if command == "infer" else []
    line = (command, *model, audio, "-o", output, "--tolerate", tolerated, "-q")
    result = run(*line, exit_code=exit_code)
    assert output.exists()
    assert "bad.wav\t" in output.with_name("out.failures.tsv").read_text()
    assert is_one_line(result.stderr) if exit_code else not result.stderr


def test_nothing_may_fail_where_nothing_fails(audio, tmp_path):
    (audio / "bad.wav").unlink()
    run("extract", audio, "-o", tmp_path / "f.h5", "--tolerate", "0", "-q")
    assert not (tmp_path / "f.h5.failures.tsv").exists()


def test_a_problem_that_check_finds_is_3_and_a_note_is_not(audio):
    result = run("check", audio, "-q", exit_code=3)
    assert is_one_line(result.stderr)
    assert "bad.wav" in result.stdout
    (audio / "bad.wav").unlink()
    run("check", audio)


# 1, 75, 130 in any command, at the worst moment


@pytest.mark.parametrize("command", CALLED)
def test_a_bug_is_1_and_says_where_its_traceback_is(lines, command, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("by\x1b[31m nothing")

    monkeypatch.setattr(CALLED[command], broken)
    message = refused(*lines[command], exit_code=1, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert message.startswith("Error: this is a bug in sedtool: ZeroDivisionError: by\\x1b[31m")
    (report,) = (tmp_path / "cache" / "sedtool").iterdir()
    assert str(report) in message
    assert "in broken" in report.read_text()


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(s, 130 if s == signal.SIGINT else 75) for s in SIGNALS],
)
@pytest.mark.parametrize("command", [name for name in CALLED if name != "train"])
def test_a_signal_ends_a_run(lines, command, number, exit_code, monkeypatch):
    def busy(*_, **__):
        signal.raise_signal(number)
        time.sleep(10)

    monkeypatch.setattr(CALLED[command], busy)
    monkeypatch.setattr("sedtool.signals._PATIENCE", 0.0)
    message = refused(*lines[command], exit_code=exit_code)
    assert ("run the same command again" in message) == (exit_code == 75)


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(s, 130 if s == signal.SIGINT else 75) for s in SIGNALS],
)
def test_a_signal_ends_a_training_after_saving(lines, tmp_path, monkeypatch, number, exit_code):
    step = Trainer.train_step

    def signalled(self):
        if self.step == 1:
            signal.raise_signal(number)
        return step(self)

    line = (*lines["train"], "--steps-per-epoch", "3", "-q")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", signalled)
        message = refused(*line, exit_code=exit_code)
    assert "stopped in epoch 1 after step 2; --resume goes on from" in message
    assert load_state(tmp_path / "out" / "last.pt")["step"] == 2
    run(*line, "--resume")


# 2, 4, 5


@pytest.mark.parametrize("command", [*CALLED, "completion", "plot", ""])
def test_a_wrong_line_is_2(lines, command, tmp_path):
    refused(*filter(None, [command]), "--nonsense")
    if command not in lines:
        return
    (tmp_path / "recipe.yaml").write_text("extract:\n  preset: a\n  preset: b\n")
    message = refused(*lines[command], "-c", tmp_path / "recipe.yaml")
    assert "recipe.yaml:3: 'preset' is given twice" in message


def test_a_command_alone_says_what_it_lacks():
    for words, _ in every_command():
        if words != "doctor":
            refused(words)
    assert "No such command 'nonsense'" in refused("nonsense")


LABELS = {
    "train": ["--weak", "--val-weak", "--val-strong", "--classes"],
    "tune": ["--weak", "--reference", "--durations-from"],
    "evaluate": ["--weak-reference", "--weak-estimated", "--classes", "--durations"],
    "plot clip": ["--reference"],
    "plot pooling": ["--durations-from"],
    "plot frames": ["--reference"],
    "check": ["--classes"],  # in other files, what is wrong is what is looked for
    "infer": ["--threshold"],
}


@pytest.mark.parametrize(
    "content", [b"\x00\xff", b"a\tb\tc\td\te\tf\tg\nx\n"], ids=["bytes", "table"]
)
@pytest.mark.parametrize(
    ("command", "option"), [(name, option) for name, all_ in LABELS.items() for option in all_]
)
def test_a_label_file_that_cannot_be_read_is_2_and_named(lines, command, option, content, tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_bytes(content)
    assert str(path) in refused(*lines[command], option, path)


def test_lists_of_events_that_cannot_be_read_are_2_and_named(lines, tiny, tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text("filename\tonset\toffset\tevent_label\na.wav\t2\t1\tDog\n")
    for line in (("convert", path), ("evaluate", path, path), ("evaluate", tiny.strong, path)):
        assert f"{path}:2: offset 1 is before onset 2" in refused(*line)


def test_no_input_at_all_is_4(lines, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "list").write_text("")
    for command in ("extract", "infer", "check"):
        line = [*lines[command][:-1], empty] if command != "extract" else ["extract", empty, "-o"]
        line += [tmp_path / "none.h5"] if command == "extract" else []
        assert "no audio file in" in refused(*line, exit_code=4)
        assert "nothing matches" in refused(
            *(f"{empty}/*.wav" if word == empty else word for word in line), exit_code=4
        )
    refused("convert", empty, exit_code=4)
    refused("merge", empty, "-o", tmp_path / "none.h5", exit_code=4)
    assert not (tmp_path / "none.h5").exists()


def test_inputs_that_all_fail_are_4_and_leave_no_output(lines, audio, tmp_path):
    bad, output = audio / "bad.wav", tmp_path / "none.h5"
    line = ("-o", output, "--tolerate", "100%", "-q")
    refused("extract", bad, *line, exit_code=4)
    refused("infer", lines["infer"][1], bad, *line, "-o", tmp_path / "e.tsv", exit_code=4)
    assert not output.exists()


def broken_artifacts(lines, tiny, folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return, for each kind of artifact, one that is no such thing and one that is damaged."""
    whole = {"features": tiny.features, "scores": lines["plot clip"][2], "model": lines["tune"][1]}
    found = {}
    for kind, path in whole.items():
        foreign, damaged = folder / f"foreign {kind}.h5", folder / f"damaged {kind}.h5"
        foreign.write_text("nonsense")
        content = bytearray(path.read_bytes())
        content[len(content) * 3 // 4] ^= 1
        damaged.write_bytes(content)
        found[kind] = foreign, damaged
    return found


def test_what_is_no_artifact_or_a_damaged_one_is_5_and_named(lines, tiny, tmp_path):
    broken = broken_artifacts(lines, tiny, tmp_path)
    model, scores = lines["tune"][1], lines["plot clip"][2]
    labels, svg = ("--weak", tiny.weak_validation), ("-o", tmp_path / "x.svg")
    tone = ("tone_16.wav", "--class", "tone")
    uses = {
        "features": [
            lambda path: ("train", "-o", tmp_path / "r", "--features", path, "--weak", tiny.weak),
            lambda path: ("tune", model, "--features", path, *labels),
            lambda path: ("infer", model, path),
            lambda path: ("plot clip", path, scores, "tone_16.wav", *svg),
            lambda path: ("plot frames", path, *tone, "--model", model, *svg),
            lambda path: ("merge", path, "-o", tmp_path / "merged.h5"),
            lambda path: ("info", path, "--verify"),
        ],
        "scores": [
            lambda path: ("infer", model, path),
            lambda path: ("evaluate", tiny.strong, path),
            lambda path: ("plot clip", tiny.features, path, "tone_16.wav", *svg),
            lambda path: ("plot gradients", "--scores", path, "--clip", *tone, *svg),
            lambda path: ("merge", path, "-o", tmp_path / "merged.h5"),
            lambda path: ("info", path, "--verify"),
        ],
        "model": [
            lambda path: ("tune", path, "--features", tiny.features, *labels),
            lambda path: ("infer", path, tiny.audio),
            lambda path: ("plot pooling", path, *svg),
            lambda path: ("plot frames", tiny.features, *tone, "--model", path, *svg),
            lambda path: ("plot durations", "--data", f"a={path}:{tiny.strong}", *svg),
            lambda path: ("info", path, "--verify"),
        ],
    }
    before = {path: path.read_bytes() for pair in broken.values() for path in pair}
    for kind, lines_of in uses.items():
        for path in broken[kind]:
            for line in lines_of:
                # What is no scores file is an event list to evaluate.
                is_list = line(path)[0] == "evaluate" and path.name.startswith("foreign")
                assert str(path) in refused(*line(path), exit_code=2 if is_list else 5)
    assert "features" in refused("check", broken["features"][0], exit_code=5)
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "x.svg").exists()
    assert not (tmp_path / "merged.h5").exists()


def test_what_does_not_fit_together_is_5(lines, tiny, tmp_path):
    other, model = tmp_path / "other.h5", lines["tune"][1]
    run("extract", tiny.audio, "-o", other, "--n-mels", "40", "-q")
    assert "n_mels 40" in refused("infer", model, other, exit_code=5)
    labels = ("--weak", tiny.weak_validation)
    assert "n_mels 40" in refused("tune", model, "--features", other, *labels, exit_code=5)
    both = ("--features", other, "--features", tiny.features, "--weak", tiny.weak)
    assert "n_mels" in refused("train", "-o", tmp_path / "r", *both, exit_code=5)
    trained = tmp_path / "other.safetensors"
    changed = load_model(model)
    changed.detector.mean.fill_(-4.0)
    save_model(trained, changed)
    scores = lines["plot clip"][2]
    assert "other weights" in refused("infer", trained, scores, exit_code=5)
    run(*lines["train"])
    resumed = (*lines["train"], "--resume", "--epochs", "2", "--seed", "1")
    assert "seed" in refused(*resumed, exit_code=5)


def test_what_is_not_complete_is_5(lines, tiny, tmp_path, monkeypatch):
    part = lines["merge"][1]
    assert "shard 2 of 2 is missing" in refused("merge", part, "-o", tmp_path / "f", exit_code=5)
    labels = ("--weak", tiny.weak_validation)
    for line in (
        ("tune", lines["tune"][1], "--features", part, *labels),
        ("train", "-o", tmp_path / "r", "--features", part, "--weak", tiny.weak),
    ):
        assert "parts 1 of 2" in refused(*line, exit_code=5)
    begun = tmp_path / "begun.h5"
    monkeypatch.setattr("sedtool.store.features.write_features", lambda *_: 1 / 0)
    run("extract", tiny.audio, "-o", begun, "-q", exit_code=1, XDG_CACHE_HOME=str(tmp_path))
    for line in (
        ("tune", lines["tune"][1], "--features", begun, *labels),
        ("train", "-o", tmp_path / "r", "--features", begun, "--weak", tiny.weak),
        ("infer", lines["infer"][1], begun),
        ("merge", begun, "-o", tmp_path / "f"),
    ):
        assert "not complete" in refused(*line, exit_code=5)


# 8


def test_a_training_that_diverges_is_8_and_names_step_and_clips(lines):
    message = refused(*lines["train"], "--lr", "1e20", "-q", exit_code=8)
    assert "training diverged in epoch 1, step 1" in message
    assert "no epoch was finished, so there is no model" in message
    assert ".wav" in message


def test_the_best_model_outlives_a_training_that_diverges(lines, tmp_path, monkeypatch):
    step, best = Learner.step, tmp_path / "out" / "model.safetensors"

    def diverges(self, batch, number):
        if number == 2:
            batch.features.fill_(float("nan"))
        return step(self, batch, number)

    monkeypatch.setattr(Learner, "step", diverges)
    message = refused(*lines["train"], "--epochs", "3", "-q", exit_code=8)
    assert "training diverged in epoch 3, step 3: the loss is nan" in message
    assert f"{best} is the best model so far" in message
    assert load_model(best).trained["epoch"] in (1, 2)
