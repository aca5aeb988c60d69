"""Each option of `infer`: what its help says is what it does."""

import json
import os
import shutil
import sys
import time

import numpy as np
import pytest

from sedtool import scoring
from sedtool.checkpoint import load_model
from sedtool.config import FEATURE_PRESETS, ExtractConfig
from sedtool.extraction import extract
from sedtool.labels import EVENT_FORMATS, read_events, read_weak
from sedtool.scoring import prefetch
from sedtool.store import Scores, open_scores
from support.command_lines import refused, run, save_small_model, tries
from support.score_files import write_scores


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("model") / "m.safetensors", 0.5)


@pytest.fixture
def audio(tiny, tmp_path):
    """A folder of two recordings of one second."""
    folder = tmp_path / "audio"
    (folder / "a").mkdir(parents=True)
    shutil.copy(tiny.audio / "val" / "tone_16.wav", folder / "a" / "tone.wav")
    shutil.copy(tiny.audio / "val" / "noise_17.wav", folder / "noise.wav")
    return folder


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def names(text):
    return sorted({row.split("\t")[0] for row in text.splitlines()[1:]})


def scored(model, audio, out, *options):
    """Return the scores of audio."""
    line = ("infer", model, audio, "-o", out / "e.tsv", "--scores", out / "s.h5", "--device", "cpu")
    run(*line, "--overwrite", *options)
    return open_scores(out / "s.h5")


# Which audio


@tries("infer", "model", "inputs", "--output")
def test_events_of_the_inputs_go_to_stdout_or_a_file(model, audio, out):
    line = ("infer", model, audio / "noise.wav", audio / "a", "--threshold", "0")
    line = (*line, "--clip-threshold", "off")
    assert names(run(*line).stdout) == ["a/tone.wav", "noise.wav"]
    assert run(*line, "-o", out / "e.tsv").stdout == ""
    assert names((out / "e.tsv").read_text()) == ["a/tone.wav", "noise.wav"]


@tries("infer", "model")
def test_the_folder_of_a_run_stands_for_its_model(model, audio, out):
    folder = out / "run"
    folder.mkdir()
    line = (audio, "--threshold", "0", "--clip-threshold", "off")
    message = f"{folder} holds no model.safetensors; give a model file, or the folder of a run"
    assert message in refused("infer", folder, *line)
    shutil.copy(model, folder / "model.safetensors")
    assert run("infer", f"{folder}/", *line).stdout == run("infer", model, *line).stdout


@pytest.fixture
def loud(model):
    """The beginning of a line that finds one event of each class in every recording."""
    return ("infer", model, "--threshold", "0", "--clip-threshold", "off")


@tries("infer", "--files-from", "--null", "--root")
def test_inputs_come_from_lists_and_names_are_relative_to_the_root(loud, audio, out):
    (out / "list").write_text(f"{audio / 'noise.wav'}\n{audio / 'a'}\n")
    listed = run(*loud, "--files-from", out / "list")
    assert names(listed.stdout) == ["a/tone.wav", "noise.wav"]
    ended = os.fsencode(f"{audio / 'noise.wav'}\0{audio / 'a'}\0")
    assert run(*loud, "--files-from", "-", "-0", stdin=ended).stdout == listed.stdout
    rooted = run(*loud, "--files-from", out / "list", "--root", audio.parent)
    assert names(rooted.stdout) == ["audio/a/tone.wav", "audio/noise.wav"]


@tries("infer", "--stdin-name")
def test_audio_on_stdin_is_named(loud, audio):
    wave = (audio / "noise.wav").read_bytes()
    assert names(run(*loud, "-", stdin=wave).stdout) == ["stdin"]
    assert names(run(*loud, "-", "--stdin-name", "x.wav", stdin=wave).stdout) == ["x.wav"]


# What is written


@tries("infer", "--scores", "--weak")
def test_scores_and_tags_are_written_too(loud, audio, out):
    run(*loud, audio, "--scores", out / "s.h5", "--weak", out / "w.tsv", "-o", out / "e.tsv")
    assert open_scores(out / "s.h5").names == ["a/tone.wav", "noise.wav"]
    assert set(read_weak(out / "w.tsv")) == {"a/tone.wav", "noise.wav"}
    clash = refused(*loud, audio, "-o", out / "x", "--weak", out / "x")
    assert "need a file each" in clash


@tries("infer", "--format")
@pytest.mark.parametrize("name", EVENT_FORMATS)
def test_the_list_is_written_in_the_format_that_is_asked_for(loud, audio, out, name):
    form = EVENT_FORMATS[name]
    path = out / f"e{form.suffix}"
    run(*loud, audio / "noise.wav", "--format", name, "-o", path)
    labels = [event.label for event in form.read(path, "noise.wav").events]
    assert sorted(labels) == ["noise", "tone"]


def test_a_list_is_not_named_as_another_format_is(loud, audio, out):
    line = (*loud, audio, "--dry-run", "-o")
    assert "did you mean 'raven'" in refused(*line, out / "e", "--format", "ravn")
    assert "--format is dcase" in refused(*line, out / "e.jsonl")
    assert "--format is jsonl" in refused(*line, out / "e.tsv", "--format", "jsonl")
    assert "--scores e.h5" in refused(*line, out / "e.h5")
    assert "must name a folder" in refused(*line, out / "e.txt", "--format", "audacity")


# How scores become events: a recording of two seconds, ten frames a second, of which all is known


@pytest.fixture
def scores(model, out):
    frame = np.zeros((20, 2), np.float32)  # noise, tone
    frame[2:6, 0], frame[7:10, 0], frame[15, 0] = 0.9, 0.7, 0.6
    frame[0:4, 1] = 0.55
    clip = np.array([[0.8, 0.4]], np.float32)
    loaded, one = load_model(model), np.array([0])
    path = out / "known.h5"
    write_scores(
        path,
        Scores(
            loaded.classes,
            names=["x.wav"],
            start=one,
            frames=np.array([20]),
            duration=np.array([2.0]),
            frame=frame,
            clip=clip,
            window_clip=one,
            window_start=one,
            window_frames=np.array([20]),
            window=clip,
            frame_rate=loaded.frame_rate,
            decoding=loaded.decoding,
            model_sha256=loaded.weights_sha256,
        ),
    )
    return path


LONG, MIDDLE, SHORT = (0.2, 0.6, "noise"), (0.7, 1.0, "noise"), (1.5, 1.6, "noise")
TONE = (0.0, 0.4, "tone")


def decoded(model, scores, out, *options):
    run("infer", model, scores, "-o", out / "e.tsv", "--overwrite", *options)
    events = read_events(out / "e.tsv").events
    return sorted((event.onset, event.offset, event.label) for event in events)


@tries("infer", "--threshold", "--clip-threshold", "--median", "--min-duration", "--merge-gap")
@pytest.mark.parametrize(
    ("options", "events"),
    [
        ("", [LONG, MIDDLE, SHORT]),
        ("--threshold auto --clip-threshold auto --median auto", [LONG, MIDDLE, SHORT]),
        ("--threshold 0.65", [LONG, MIDDLE]),
        ("--threshold 0.8", [LONG]),
        ("--threshold 1", []),
        ("--clip-threshold 0.3", [TONE, LONG, MIDDLE, SHORT]),
        ("--clip-threshold off", [TONE, LONG, MIDDLE, SHORT]),
        ("--clip-threshold 0.9", []),
        ("--median 0.3", [(0.2, 1.0, "noise")]),
        ("--median off", [LONG, MIDDLE, SHORT]),
        ("--min-duration 0.3", [LONG, MIDDLE]),
        ("--min-duration 0.31", [LONG]),
        ("--merge-gap 0.1", [(0.2, 1.0, "noise"), SHORT]),
        ("--merge-gap 0.5", [(0.2, 1.6, "noise")]),
    ],
)
def test_decoding_is_as_asked_for(model, scores, out, options, events):
    assert decoded(model, scores, out, *options.split()) == events


def test_settings_that_are_auto_are_those_of_the_model(model, scores, out):
    assert decoded(save_small_model(out / "m.safetensors", 0.75), scores, out) == [LONG]


def test_thresholds_come_from_a_table(model, scores, out):
    table = out / "t.tsv"
    table.write_text("event_label\tthreshold\nnoise\t0.65\n")  # tone keeps the model's
    line = ("--threshold", table, "--clip-threshold", "off")
    assert decoded(model, scores, out, *line) == [TONE, LONG, MIDDLE]
    table.write_text("event_label\tthreshold\nnoice\t0.65\n")
    assert "did you mean 'noise'" in refused("infer", model, scores, "--threshold", table)


@tries("infer", "--confidence")
def test_confidence_is_the_mean_score(model, scores):
    rows = run("infer", model, scores, "--confidence").stdout.splitlines()
    assert rows[0].endswith("\tevent_label\tconfidence")
    assert [row.split("\t")[-1] for row in rows[1:]] == ["0.9000", "0.7000", "0.6000"]


@pytest.mark.parametrize("option", ["--threshold", "--clip-threshold", "--median"])
@pytest.mark.parametrize("value", ["-0.1", "nan", "inf", "1e400", "atuo", "of", "", "1e9"])
def test_what_is_no_setting_is_refused(model, scores, option, value):
    refused("infer", model, scores, f"{option}={value}")


# How recordings go through the network


@tries("infer", "--window", "--overlap")
def test_recordings_are_cut_into_overlapping_windows(model, audio, out):
    def windows(*options):
        found = scored(model, audio / "noise.wav", out, *options)
        return found.window_start.tolist(), json.loads(found.settings)

    assert windows() == ([0], {"window": 10.0, "overlap": 0.5, "amp": "off"})
    assert windows("--window", "0.4")[0] == [0, 2, 4, 6]
    starts, settings = windows("--window", "0.4", "--overlap", "0")
    assert (starts, settings["window"], settings["overlap"]) == ([0, 4, 6], 0.4, 0.0)


@tries("infer", "--batch-size")
def test_so_many_windows_go_at_a_time(model, audio, out, monkeypatch):
    sizes, predict = [], scoring.predict

    def watched(detector, windows, *others):
        sizes.append(len(windows))
        return predict(detector, windows, *others)

    monkeypatch.setattr(scoring, "predict", watched)
    for size, expected in ((8, [4]), (3, [3, 1]), (1, [1] * 4)):
        sizes.clear()
        line = ("--window", "0.4", "--batch-size", size)
        scored(model, audio / "noise.wav", out, *line)
        assert sizes == expected


@tries("infer", "--amp")
def test_half_precision_needs_no_gpu_and_is_recorded(model, audio, out):
    exact = scored(model, audio, out).frame
    for amp in ("bf16", "fp16"):
        found = scored(model, audio, out, "--amp", amp)
        assert json.loads(found.settings)["amp"] == amp
        assert not np.array_equal(found.frame, exact)
        assert np.allclose(found.frame, exact, atol=0.02)
    assert "one of 'off', 'bf16', 'fp16'" in refused("infer", model, audio, "--amp", "bf")


@tries("infer", "--device")
def test_the_device_is_one_that_is_there(model, audio):
    assert "not there" in refused("infer", model, audio, "--device", "cuda:99", exit_code=6)
    assert "auto, cpu, cuda, cuda:1 or mps" in refused("infer", model, audio, "--device", "gpu")


# How the run goes


@tries("infer", "--workers")
def test_so_many_workers_change_no_byte(loud, audio, monkeypatch):
    given = []

    def watched(recordings, workers):
        given.append(workers)
        return prefetch(recordings, workers)

    monkeypatch.setattr(sys.modules["sedtool.inference.infer"], "prefetch", watched)
    (one,) = {run(*loud, audio, "--workers", workers).stdout for workers in (1, 2, 256)}
    assert given == [1, 2, 256]
    assert names(one) == ["a/tone.wav", "noise.wav"]


@tries("infer", "--allow-truncated")
def test_truncated_files_are_taken_as_far_as_they_go(loud, audio, out):
    whole = (audio / "noise.wav").read_bytes()
    (audio / "noise.wav").write_bytes(whole[: len(whole) // 2])
    line = (*loud, audio, "-o", out / "e.tsv", "--overwrite")
    run(*line, exit_code=3)
    assert names((out / "e.tsv").read_text()) == ["a/tone.wav"]
    run(*line, "--allow-truncated")
    last = read_events(out / "e.tsv").events[-1]
    assert (last.name, last.offset) == ("noise.wav", pytest.approx(0.5, abs=0.01))


@tries("infer", "--partial")
def test_some_parts_of_features_are_taken_only_if_asked_to(loud, audio, out):
    preset = FEATURE_PRESETS["dcase2017"]
    shutil.copy(audio / "noise.wav", audio / "third.wav")
    for number in (1, 2):
        settings = ExtractConfig(shard=f"{number}/3")
        extract([audio], out / f"{number}.h5", preset, settings)
    parts = (out / "1.h5", out / "2.h5")
    assert "--partial" in refused(*loud, *parts, exit_code=5)
    assert names(run(*loud, *parts, "--partial").stdout) == ["a/tone.wav", "noise.wav"]
    assert "give it a file" in refused(*loud, parts[0])
    assert names(run(*loud, parts[0], "--partial").stdout) == ["a/tone.wav"]


@tries("infer", "--shard")
def test_a_shard_does_its_part_into_a_file(loud, audio, out):
    for number, name in ((1, "a/tone.wav"), (2, "noise.wav")):
        run(*loud, audio, "--shard", f"{number}/2", "-o", out / f"{number}.tsv")
        assert names((out / f"{number}.tsv").read_text()) == [name]
        assert (out / f"{number}.tsv.part.json").exists()
    line = ("-o", out / "auto.tsv", "--shard", "auto/2")
    run(*loud, audio, *line, SLURM_ARRAY_TASK_ID="2")
    assert (out / "auto.tsv").read_bytes() == (out / "2.tsv").read_bytes()
    for stdout in ([], ["-o", "/dev/stdout"]):
        message = refused(*loud, audio, "--shard", "1/2", *stdout)
        assert "shard 1/2 is a part to be merged: give it a file" in message
    assert "numbered from 1" in refused(*loud, audio, "--shard", "0/2")


@tries("infer", "--tolerate")
@pytest.mark.parametrize(
    ("tolerated", "exit_code"), [("0", 3), ("1", 0), ("49%", 3), ("50%", 0), ("x", 2)]
)
def test_so_many_failures_are_tolerated(loud, audio, out, tolerated, exit_code):
    (audio / "noise.wav").write_bytes(b"")
    line = (*loud, audio, "-o", out / "e.tsv", "--tolerate", tolerated)
    run(*line, exit_code=exit_code)
    assert (out / "e.tsv.failures.tsv").exists() == (exit_code != 2)


@tries("infer", "--fail-fast")
def test_the_first_failure_ends_the_run(loud, audio, out):
    (audio / "a" / "tone.wav").write_bytes(b"")
    line = (*loud, audio, "-o", out / "e.tsv", "--tolerate", "9")
    assert "1 of 1 clips" in refused(*line, "--fail-fast", exit_code=3)
    assert not (out / "e.tsv").exists()
    assert "--fail-fast" not in run(*line).stderr


@tries("infer", "--max-time")
def test_the_run_stops_after_its_time_and_the_next_goes_on(loud, audio, out, monkeypatch):
    for number in range(20):
        (audio / f"{number:02d}.wav").symlink_to("noise.wav")
    line = (*loud, audio, "-o", out / "e.tsv")
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["sedtool.inference.infer"], "decode_clip", _slowly)
        stopped = run(*line, "--max-time", "0.5s", exit_code=75)
    assert stopped.stderr.startswith("Error: stopped by --max-time; run the same command again")
    assert not (out / "e.tsv").exists()
    assert "of an interrupted run" in run(*line).stderr
    assert len(names((out / "e.tsv").read_text())) == 22


def _slowly(*arguments):
    time.sleep(0.1)
    return []


@tries("infer", "--dry-run")
def test_a_dry_run_writes_nothing_and_refuses_what_a_run_would(loud, audio, out):
    line = (*loud, audio, "-o", out / "e.tsv", "--dry-run")
    assert run(*line).stderr.startswith("2 clips, 2 s of audio")
    assert not list(out.iterdir())
    for wrong in (["--format", "x"], ["--amp", "x"], ["--shard", "3/2"], ["--median", "x"]):
        refused(*line, *wrong)


@tries("infer", "--overwrite")
def test_a_finished_output_is_replaced_only_if_asked_to(loud, audio, out):
    for option in ("-o", "--scores", "--weak"):
        output = out / option
        output.write_text("mine")
        line = (*loud, audio, f"{option}={output}" if option != "-o" else f"-o{output}")
        assert "--overwrite" in refused(*line)
        assert output.read_text() == "mine"
        run(*line, "--overwrite")
        assert output.read_bytes() != b"mine"


@tries("infer", "--update")
def test_an_update_scores_what_is_new(model, audio, tmp_path):
    first, *_ = sorted(path for path in audio.rglob("*") if path.is_file())
    line = ("infer", model, "--root", audio, "-o", tmp_path / "e.tsv")
    run(*line, first)
    said = run(*line, audio, "--update").stderr
    assert " new, 0 changed, 0 gone, 1 taken over)" in said
    before = (tmp_path / "e.tsv").read_bytes()
    run(*line, audio, "--overwrite")
    assert (tmp_path / "e.tsv").read_bytes() == before


# What would be ignored is refused


@pytest.mark.parametrize(
    "option",
    [
        *("--window 1", "--overlap 0.1", "--batch-size 2", "--amp bf16", "--workers 2"),
        *("--device cuda", "--allow-truncated", "--partial", "--root .", "--shard 1/2"),
        "--stdin-name x",
    ],
)
def test_options_that_scores_have_no_use_for_are_refused(model, scores, option):
    message = refused("infer", model, scores, *option.split())
    assert option.split()[0] in message
    refused("infer", model, scores, "--dry-run", *option.split())


@pytest.mark.parametrize("option", ["--allow-truncated", "--root .", "--stdin-name x"])
def test_options_that_features_have_no_use_for_are_refused(model, tiny, option):
    assert option.split()[0] in refused("infer", model, tiny.features, *option.split())


def test_options_that_audio_has_no_use_for_are_refused(model, audio):
    assert "--partial" in refused("infer", model, audio, "--partial")
    assert "--stdin-name" in refused("infer", model, audio, "--stdin-name", "x")
    assert "--null" in refused("infer", model, audio, "--null")
