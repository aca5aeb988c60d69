"""Numbers and texts of artifacts have ranges: a right checksum does not make them right."""

import os
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from sedtool.checkpoint import load_model, save_model
from sedtool.config import DecodingConfig, TrainInputs
from sedtool.datasets import FeatureSet
from sedtool.errors import ArtifactError, LabelError
from sedtool.plots.canvas import shown
from sedtool.store import ScoresWriter, clip_scores, open_features, open_scores
from sedtool.training import train
from support.command_lines import refused, run, save_small_model
from support.forged import forge_flat, forge_model, forge_state, in_json, put
from support.models import new_model
from support.stored import example_scores, write_features
from support.training import CONFIG

pytestmark = pytest.mark.slow

NAN, INF = float("nan"), float("inf")
LONG = "x" * 10**6


def first(value):
    """Return a change of the first value of an array or a list."""

    def change(values):
        changed = list(values) if isinstance(values, list) else values.copy()
        changed[0] = value
        return changed

    return change


FEATURES = {
    **{
        f"duration {v}": {"/clips/duration": first(v)}
        for v in (0.0, -1.0, NAN, INF, 1e300, 1e9, 1e-3, 5.0)
    },
    **{f"digest {v:.9}": {"/clips/sha256": first(v)} for v in ("", "x", "zz" * 32, "AB" * 32)},
    **{
        f"{key} {value}": {"config": in_json(**{key: value})}
        for key, value in (("hop_length", 1), ("hop_length", 10**18), ("n_mels", 10**9))
    },
    "n_fft": {"config": in_json(n_fft=2**20, win_length=2**20)},
    "nested settings": {"config": "[" * 100_000},
    "a name of 1 MB": {"/clips/name": first(LONG)},
    **{f"a feature of {v}": {"/features/logmel": first(v)} for v in (NAN, INF)},
    "features of 1e38": {"/features/logmel": lambda a: np.full(a.shape, 1e38, "<f4")},
}

SCORES = {
    **{f"frame rate {v}": {"frame_rate": v} for v in (0.0, -1.0, NAN, INF, 1e300, 1e9, 1e-300)},
    **{f"duration {v}": {"/clips/duration": first(v)} for v in (0.0, -1.0, NAN, INF, 1e300, 1e9)},
    **{
        f"{table} score {v}": {f"/scores/{table}": first(v)}
        for table in ("frame", "clip", "window")
        for v in (2.0, 1.0000001, -1e-9, NAN, INF)
    },
    "clip scores of other windows": {"/scores/clip": lambda a: a * 0},
    **{
        f"window {column} {v}": {f"/windows/{column}": first(v)}
        for column in ("clip", "start", "frames")
        for v in (2**63, 2**64 - 1)
    },
    "many windows": {
        f"/{name}": lambda a: np.repeat(a, 1000, 0)
        for name in ("windows/clip", "windows/start", "windows/frames", "scores/window")
    },
    **{
        f"{key} {value}": {"decoding": in_json(**{key: value})}
        for key, value in (
            *(("thresholds", [v, 0.5]) for v in (NAN, 2.0, -1.0)),
            *(("windows", [v, 0.5]) for v in (NAN, 1e9, -1.0)),
            *(("merge_gap", v) for v in (NAN, 1e300, -1.0)),
        )
    },
    "long filters": {"frame_rate": 1000.0, "decoding": in_json(windows=[3600.0, 0.0])},
    **{f"settings {v:.9}": {"settings": v} for v in ("no", "", "3", "[" * 100_000, '{"a":NaN}')},
    **{
        f"classes {v!r:.20}": {"/classes": v}
        for v in (["a", "a"], ["a", ""], ["a", " b"], ["a", "x" * 5000], ["a", LONG])
    },
}

MODELS = {
    "hop 1": put("features", "hop_length", value=1),
    "n_fft": lambda header, _: header["features"].update(n_fft=2**20, win_length=2**20),
    **{f"window {v}": put("window", value=v) for v in (0, -1.0, 1e300, 3601.0)},
    "an hour of frames": lambda header, _: (
        header["features"].update(hop_length=40),
        header.update(window=3600.0),
    ),
    "a median of an hour": lambda header, _: (
        header["features"].update(hop_length=40),
        header["decoding"].update(windows=[3600.0] * 2),
    ),
    "a wide block": put("architecture", "channels", value=[4096, 1, 1]),
    **{f"epoch {v!r:.9}": put("trained", "epoch", value=v) for v in (-1, 1e308, LONG, [])},
    **{
        f"classes {v!r:.20}": put("classes", value=v)
        for v in ([], ["a", "a"], ["a", ""], ["a", " b"], ["a", LONG])
    },
    "no deviation": lambda _, tensors: tensors["std"].fill_(0.0),
    "a negative variance": lambda _, tensors: tensors["crnn.blocks.0.norm.running_var"].fill_(-1.0),
}


@pytest.mark.parametrize("case", FEATURES)
def test_features_that_are_out_of_range_are_refused(tmp_path, case):
    write_features(tmp_path / "good.h5")
    forge_flat(tmp_path / "good.h5", tmp_path / "f.h5", FEATURES[case])
    with pytest.raises(ArtifactError) as caught:
        open_features(tmp_path / "f.h5")
    assert str(caught.value).startswith(f"{tmp_path / 'f.h5'}: ")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("case", SCORES)
def test_scores_that_are_out_of_range_are_refused(tmp_path, case):
    scores = example_scores()
    with ScoresWriter(tmp_path / "good.h5", scores.header) as writer:
        for clip in clip_scores(scores):
            writer.append(clip)
    forge_flat(tmp_path / "good.h5", tmp_path / "s.h5", SCORES[case])
    with pytest.raises(ArtifactError) as caught:
        open_scores(tmp_path / "s.h5")
    assert str(caught.value).startswith(f"{tmp_path / 's.h5'}: ")
    assert len(str(caught.value)) < 1000


def test_what_is_forged_without_a_change_is_as_good_as_it_was(tmp_path):
    write_features(tmp_path / "f.h5")
    forge_flat(tmp_path / "f.h5", tmp_path / "again.h5", {})
    assert open_features(tmp_path / "again.h5").sha256 == open_features(tmp_path / "f.h5").sha256
    save_model(tmp_path / "m", new_model())
    forge_model(tmp_path / "m", tmp_path / "again", lambda *_: None)
    assert load_model(tmp_path / "again").weights_sha256 == new_model().weights_sha256


@pytest.mark.parametrize("case", MODELS)
def test_a_model_that_is_out_of_range_is_refused(tmp_path, case):
    save_model(tmp_path / "good", new_model())
    forge_model(tmp_path / "good", tmp_path / "m", MODELS[case])
    with pytest.raises(ArtifactError) as caught:
        load_model(tmp_path / "m")
    assert str(tmp_path / "m") in str(caught.value)
    assert len(str(caught.value)) < 1000


# Training states


def tensors(part: str, value: float):
    """Return a change of all tensors whose name has a part."""
    return lambda state: [
        tensor.fill_(value)
        for name, tensor in state["tensors"].items()
        if part in name and tensor.is_floating_point()
    ]


def rows(change):
    return lambda state: state["tensors"].update(rows=change(state["tensors"]["rows"]))


STATES = {
    **{f"step {v!r}": put("step", value=v) for v in (-1, 0, 3, 10**18, 1e300, "4", True, None)},
    **{f"rate {v}": put("lr", value=[v] * 2) for v in (-1.0, 1e300, 1.0, INF, "x")},
    **{f"best {v!r}": put("schedule", "best", value=v) for v in (1e300, "x", True, [])},
    **{f"bad {v!r}": put("schedule", "bad_epochs", value=v) for v in (-1, 1e300, 7, True, "x")},
    **{f"scaler {v!r}": put("scaler", value=v) for v in (5, [], {"scale": 1.0})},
    **{f"losses {v!r}": put("loss_sums", value=v) for v in ({"x": 1.0}, {"loss": "x"}, 5, [1])},
    **{
        f"{part} {v}": tensors(part, v)
        for part, values in {
            "adam.step.": (NAN, INF, -1.0, 0.0, 1e30),
            "adam.exp_avg.": (NAN, INF),
            "adam.exp_avg_sq.": (NAN, INF, -1.0),
            "student.": (NAN, INF),
            "student.std": (0.0,),
            "running_var": (-1.0,),
            "rows": (NAN, INF, 1e300, 2.5),
        }.items()
        for v in values
    },
    "a row too few": rows(lambda values: values[:1]),
    "a million rows": rows(lambda values: values[:1].repeat(10**6, 1)),
    "columns of other names": put("columns", value=lambda names: [f"x{n}" for n in names]),
    "a column of 1 MB": put("columns", value=lambda names: [*names[:-1], LONG]),
    "nested identity": put("identity", value="[" * 100_000),
}


# What only the run itself can tell: with how many steps an epoch, and which columns.
NAMED_OTHERWISE = ("step 0", "a row too few", "columns of other names", "a column of 1 MB")


@pytest.fixture(scope="module")
def finished(tiny, nano, tmp_path_factory):
    inputs = TrainInputs((tiny.features,), weak=tiny.weak, val_strong=tiny.strong)
    train(tmp_path_factory.mktemp("ranges") / "run", inputs, CONFIG, device="cpu")
    return inputs, tmp_path_factory.getbasetemp() / "ranges0" / "run"


def test_a_state_that_is_out_of_range_is_not_resumed(finished, tmp_path):
    inputs, good = finished
    copy = tmp_path / "run"
    shutil.copytree(good, copy)
    (copy / "previous.pt").unlink()
    for case, change in STATES.items():
        try:
            forge_state(good / "last.pt", copy / "last.pt", change)
        except ValueError:  # JSON has no such number
            assert "inf" in case
            continue
        with pytest.raises(ArtifactError, match=r"last\.pt") as caught:
            train(copy, inputs, CONFIG, device="cpu", resume=True)
        assert len(str(caught.value)) < 1000, case


@pytest.mark.parametrize("part", ["step", "row", "column", "identity"])
def test_a_state_that_is_not_resumed_is_described_as_no_state(finished, tmp_path, part):
    _, good = finished
    for case, change in STATES.items():
        if part in case and "adam" not in case and case not in NAMED_OTHERWISE:
            forge_state(good / "last.pt", tmp_path / "last.pt", change)
            said = refused("info", tmp_path / "last.pt", exit_code=5)
            assert "is no training state" in said and len(said) < 1000, case


@pytest.mark.parametrize("classes", [[], ["a", "a"], "=1+1", ["a\n"], [LONG]])
def test_a_state_whose_classes_are_none_is_described_as_no_state(finished, tmp_path, classes):
    _, good = finished

    def change(state):
        put("identity", value=in_json(classes=classes))(state)

    forge_state(good / "last.pt", tmp_path / "last.pt", change)
    assert "is no training state" in refused("info", tmp_path / "last.pt", exit_code=5)


# What reads them


def test_features_that_are_cut_short_while_they_are_read_end_in_one_line(tmp_path, tiny):
    path = tmp_path / "f.h5"
    shutil.copy(tiny.features, path)
    features = FeatureSet([path])
    name = "val/tone_22.wav"
    assert np.array_equal(np.concatenate(list(features.blocks(name, 7))), features.clip(name))
    os.truncate(path, 20_000)
    with pytest.raises(ArtifactError, match=r"f\.h5: cut short while it was read"):
        features.clip(name)
    os.truncate(path, 0)
    with pytest.raises(ArtifactError, match=r"f\.h5: cut short while it was read"):
        list(features.blocks(name, 7))


def test_open_files_are_closed_with_what_reads_them(tmp_path):
    write_features(tmp_path / "f.h5")
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if sys.platform == "linux" else 0
    for _ in range(20):
        open_features(tmp_path / "f.h5").clip(0)
    if before:
        assert len(list(descriptors.iterdir())) == before


def test_threads_may_read_frames_at_once(tmp_path):
    write_features(tmp_path / "f.h5")
    features, wrong = open_features(tmp_path / "f.h5"), []
    expected = [features.clip(i) for i in range(4)]

    def read():
        for i in range(400):
            if not np.array_equal(features.clip(i % 4), expected[i % 4]):
                wrong.append(i)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_check_finds_features_that_are_not_finite(tmp_path, tiny):
    forge_flat(tiny.features, tmp_path / "f.h5", {"/features/logmel": first(NAN)})
    said = refused("check", tmp_path / "f.h5", "--weak", tiny.weak, exit_code=5)
    assert "its frames hold values that are not finite" in said


def test_scoring_windows_are_one_output_frame_at_least(tmp_path, tiny):
    model = save_small_model(tmp_path / "m")
    clip = tiny.audio / "val" / "tone_16.wav"
    expected = run("infer", model, clip, "--window", "0.1").stdout
    assert expected
    assert run("infer", model, clip, "--window", "1e-9").stdout == expected


def test_a_median_filter_that_takes_too_long_is_refused(tmp_path, tiny):
    model = new_model()
    model.features = type(model.features)(hop_length=80)  # 50 output frames a second
    model.decoding = DecodingConfig.default(2)
    save_model(tmp_path / "m", model)
    clip = tiny.audio / "val" / "tone_16.wav"
    said = refused("infer", tmp_path / "m", clip, "--median", "3600")
    assert "median filters must be at most 150000 frames, not 180000" in said


def test_long_names_are_cut_in_figures():
    assert shown("x" * 10**6) == "x" * 60 + "… (1000000 characters)"
    assert shown("x" * 60) == "x" * 60


# Validation labels


@pytest.mark.parametrize("kind", ["--val-weak", "--val-strong"])
def test_validation_labels_of_no_clip_are_refused(tiny, tmp_path, kind):
    header = "event_labels" if kind == "--val-weak" else "onset\toffset\tevent_label"
    labels = tmp_path / "v.tsv"
    labels.write_text(f"filename\t{header}\nval/tone_16.wav\n")
    given = ("--features", tiny.features, "--weak", tiny.weak, kind, labels)
    said = refused("train", "-o", tmp_path / "run", *given)
    assert f"{labels} has no label of any clip; its scores would all be 0" in said
    assert not (tmp_path / "run").exists()
    model = save_small_model(tmp_path / "m")
    option = "--weak" if kind == "--val-weak" else "--reference"
    said = refused("tune", model, "--features", tiny.features, option, labels)
    assert "has no label of any clip" in said


def test_a_class_that_no_validation_clip_has_is_said(tiny, nano, tmp_path, caplog):
    labels = tmp_path / "v.tsv"
    labels.write_text("filename\tevent_labels\nval/tone_16.wav\ttone\n")
    inputs = TrainInputs((tiny.features,), weak=tiny.weak, val_weak=labels)
    train(tmp_path / "run", inputs, CONFIG, device="cpu")
    assert "no validation clip has 'noise'; scores leave that out" in caplog.text


def test_a_class_name_has_a_longest_length(tiny, tmp_path):
    classes = tmp_path / "classes.txt"
    classes.write_text(f"tone\nnoise\n{'x' * 1001}\n")
    with pytest.raises(LabelError, match="longer than 1000"):
        inputs = TrainInputs((tiny.features,), weak=tiny.weak, classes=classes)
        train(tmp_path / "run", inputs, CONFIG, device="cpu")
