"""info: artifacts say what they are, damage is found, no stranger's text reaches a terminal."""

import fcntl
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sedtool.checkpoint import save_model
from sedtool.cli import cli
from sedtool.config import FEATURE_PRESETS
from sedtool.errors import ArtifactError, AudioError, ConfigError, LabelError
from sedtool.info import Description, describe, describe_all
from sedtool.shards import PartRecord, Shard, write_part
from sedtool.store import (
    SourceClip,
    open_features,
)
from support.audio import RATE, WAV
from support.features import features_writer
from support.info import as_json, check_frame, flip, run, write_small_scores
from support.models import new_model


@pytest.fixture
def scores(tmp_path):
    return write_small_scores(tmp_path / "scores.h5")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, new_model())
    return path


@pytest.fixture
def features(tiny, tmp_path):
    return Path(shutil.copy(tiny.features, tmp_path / "features.h5"))


@pytest.fixture
def strong(tmp_path):
    path = tmp_path / "strong.tsv"
    path.write_text(
        "filename\tonset\toffset\tevent_label\n"
        "a.wav\t0.5\t1.5\tDog\na.wav\t2\t5\tDog\na.wav\t1\t1\tCat\nb.wav\t\t\t\n"
    )
    return path


# Audio


def test_an_audio_file_is_described_by_its_header(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((8_000, 2)), RATE, subtype="PCM_24")
    found = describe(path)
    assert found.kind == "audio"
    assert found.values["format"] == "WAV"
    assert found.values["subtype"] == "PCM_24"
    assert found.values["sample_rate"] == RATE
    assert found.values["channels"] == 2
    assert found.values["seconds"] == 0.5
    assert found.values["bytes"] == path.stat().st_size
    assert found.verified is False


def test_verify_decodes_audio_that_its_header_calls_whole(tmp_path):
    path = tmp_path / "nan.wav"
    wave = np.zeros(8_000, np.float32)
    wave[4_000] = np.nan
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    assert describe(path).values["seconds"] == 0.5
    with pytest.raises(AudioError, match=r"at 0\.250 s is nan"):
        describe(path, verify=True)
    assert run(path, "--verify").exit_code == 3


def test_audio_is_known_without_its_suffix(tmp_path):
    path = tmp_path / "recording"
    path.write_bytes(WAV)
    assert describe(path, verify=True).values["seconds"] == 1.0


def test_a_folder_of_audio_is_counted(make_clips):
    folder = make_clips(6)
    seconds = math.fsum(soundfile.info(path).duration for path in folder.rglob("*.*"))
    values = describe(folder).values
    assert values["files"] == 6
    assert values["seconds"] == pytest.approx(seconds)
    assert values["sample_rates"] == {"16000": 2, "44100": 2, "22050": 1, "8000": 1}
    assert values["formats"]["WAV PCM_16"] == 2
    assert values["failures"] == {"count": 0, "first": []}


def test_files_of_a_folder_that_cannot_be_used_are_counted_and_end_with_3(make_clips):
    folder = make_clips(3)
    for i in range(7):
        (folder / f"bad{i}.wav").write_bytes(WAV[:-1000])
    result = run(folder, "--json")
    assert result.exit_code == 3
    found = json.loads(result.stdout)
    assert found["files"] == 10
    assert found["failures"]["count"] == 7
    assert len(found["failures"]["first"]) == 5
    assert "7 of 10 files cannot be used (the first, bad0.wav: " in result.stderr


def test_a_folder_of_audio_says_how_far_it_is(make_clips):
    calls = []
    describe(make_clips(3), progress=lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(1, 3), (2, 3), (3, 3)]


# Labels


def test_strong_labels_are_counted_by_class(strong):
    found = describe(strong)
    assert found.kind == "strong labels"
    assert found.values["rows"] == 4
    assert found.values["clips"] == 2
    assert found.values["clips_without_events"] == 1
    assert found.values["events"] == 3
    assert found.values["classes"] == [
        {"class": "Cat", "events": 1, "seconds": 0.0, "mean_seconds": None},
        {"class": "Dog", "events": 2, "seconds": 4.0, "mean_seconds": 2.0},
    ]
    assert found.verified is None


@pytest.mark.parametrize(
    ("name", "text", "kind", "values"),
    [
        ("a.tsv", "filename\tevent_labels\na.wav\tA,B\nb.wav\tA\n", "weak labels", {"clips": 2}),
        ("a.tsv", "a.wav\tA,B\nb.wav\tA\n", "weak labels", {"rows": 2}),
        ("a.csv", "a.wav\t0\t1.5\tA\n", "strong labels", {"seconds": 1.5}),
        ("a.tsv", "filename\na.wav\nb.wav\nb.wav\n", "clip list", {"rows": 3, "clips": 2}),
        ("a.txt", "a.wav\nb.flac\n", "clip list", {"clips": 2}),
        ("a.tsv", "fname\tlabel\na.wav\tDog\n", "weak labels", {"rows": 1, "clips": 1}),
        ("a.txt", "Dog\nAir horn, truck horn\n", "class list", {"rows": 2}),
        ("a.csv", "a.wav\t10.0\nb.wav\t2.5\n", "durations", {"seconds": 12.5}),
        ("a.tsv", "filename\tduration\na.wav\t10.0\n", "durations", {"clips": 1}),
        ("a.tsv", "event_label\tthreshold\nDog\t0.4\n", "thresholds", {"rows": 1}),
        ("a.tsv", "filename\tstage\terror\na.wav\tinfer\tbad\n", "failures", {"rows": 1}),
        (
            "a.tsv",
            "epoch\tclip_f1\n1\t0.3\n2\t0.4\n",
            "training metrics",
            {"epochs": 2, "last": {"epoch": "2", "clip_f1": "0.4"}},
        ),
        ("a.txt", "0.5\t1.25\tDog\n", "strong labels", {"format": "audacity", "seconds": 0.75}),
        ("a.csv", "a.wav,0,1.5,A\n", "strong labels", {"format": "dcase", "seconds": 1.5}),
        ("a.csv", "file,label\na.wav,A\n", "weak labels", {"format": "weak", "clips": 1}),
        (
            "a.csv",
            "YTID,start_seconds,end_seconds,positive_labels\nx,0,9,/m/1\n",
            "weak labels",
            {"format": "audioset", "rows": None, "classes": [{"class": "/m/1", "clips": 1}]},
        ),
        (
            "a.jams",
            '{"annotations": [{"namespace": "segment_open", "data": []}]}',
            "strong labels",
            {"format": "jams", "rows": None, "clips_without_events": 1},
        ),
    ],
)
def test_each_kind_of_table_is_told(tmp_path, name, text, kind, values):
    path = tmp_path / name
    path.write_text(text)
    found = describe(path)
    assert found.kind == kind
    assert {key: found.values[key] for key in values} == values


def test_weak_labels_with_commas_in_names_are_counted_without_their_classes(tmp_path):
    path = tmp_path / "weak.tsv"
    path.write_text("filename\tevent_labels\na.wav\tAir horn, truck horn\nb.wav\tBus\n")
    values = describe(path).values
    assert values["clips"] == 2
    assert values["classes"] is None
    assert "only a class list can tell" in values["note"]


def test_a_label_file_that_cannot_be_read_ends_with_its_line(tmp_path):
    path = tmp_path / "strong.tsv"
    path.write_text("a.wav\t2\t1\tDog\n")
    with pytest.raises(LabelError, match=r"strong.tsv:1: offset 1 is before onset 2"):
        describe(path)
    path.write_text("\n")
    with pytest.raises(LabelError, match="is empty"):
        describe(path)


@pytest.fixture
def part(tmp_path):
    path = tmp_path / "events.tsv"
    path.write_text("filename\tonset\toffset\tevent_label\na.wav\t0.5\t1.5\tDog\n")
    failures = (("bad.wav", "infer", "damaged"),)
    write_part(path, PartRecord("events", Shard(2, 7), "ab", "cd", "{}", 4, failures))
    return path


def test_a_part_and_its_record_name_their_shard(part):
    assert describe(part).values["shard"] == "2/7"
    found = describe(part.with_name("events.tsv.part.json"), verify=True)
    assert found.kind == "part record"
    assert found.values["shard"] == "2/7"
    assert found.values["n_clips"] == 4
    assert found.values["failures"] == {"count": 1, "first": ["bad.wav: damaged"]}
    assert found.verified


@pytest.mark.parametrize("name", ["events.tsv", "events.tsv.part.json"])
def test_verify_finds_a_part_that_was_changed(part, name):
    part.write_text(part.read_text().replace("Dog", "Cat"))
    describe(part.with_name(name))
    with pytest.raises(ArtifactError, match=r"changed since events.tsv.part.json was written"):
        describe(part.with_name(name), verify=True)


# Features and scores


def test_features_are_described(features):
    found = describe(features, verify=True)
    opened = open_features(features)
    assert found.kind == "features"
    assert found.verified
    assert found.values["clips"] == 24
    assert found.values["seconds"] == pytest.approx(24.0)
    assert found.values["frames"] == 24 * 40
    assert found.values["frame_rate"] == 40.0
    assert found.values["settings"]["n_mels"] == 64
    assert found.values["shard"] == "1/1"
    assert found.values["source_rates"] == {"16000": 24}
    assert found.values["failures"] == {"count": 0, "first": []}
    assert found.values["sha256"] == opened.sha256


def test_verify_finds_a_flipped_byte_in_features_and_a_quick_look_does_not(features):
    flip(features, open_features(features).data.offset + 1001)
    assert describe(features).verified is False
    result = run(features, "--verify")
    assert result.exit_code == 5
    assert "block 1 of 1 of its frames does not match" in result.stderr


def test_features_are_described_without_reading_their_frames(features, monkeypatch):
    def read(*_):
        raise AssertionError("frames were read")

    monkeypatch.setattr("sedtool.store.reading.block_digests", read)
    describe(features)


def test_failures_in_features_are_counted_and_the_first_five_named(tmp_path):
    config, path = FEATURE_PRESETS["dcase2017"], tmp_path / "f.h5"
    bad = [f"bad{i}.wav" for i in range(7)]
    with features_writer(path, ["a.wav", *bad], config=config) as writer:
        clip = SourceClip("a.wav", 3, 8_000, 1, 0.075, 100, "00" * 32, 0)
        writer.add(clip, [bytes(3 * 64 * 2)])
        writer.finish([(name, "not audio") for name in bad])
    failures = describe(path).values["failures"]
    assert failures["count"] == 7
    assert failures["first"][0] == "bad0.wav: not audio"
    assert len(failures["first"]) == 5


def test_an_unfinished_extraction_says_how_far_it_is(tmp_path):
    config, path = FEATURE_PRESETS["dcase2017"], tmp_path / "f.h5"
    with features_writer(path, ["a.wav", "b.wav"], config=config) as writer:
        clip = SourceClip("a.wav", 3, 8_000, 1, 0.075, 100, "00" * 32, 0)
        writer.add(clip, [bytes(3 * 64 * 2)])
        assert describe(path).values["being_made"] is True
    found = describe(path)
    assert found.kind == "unfinished output"
    assert found.values["clips_done"] == 1
    assert found.values["clips"] == 2
    assert found.values["being_made"] is False
    assert run(path).exit_code == 0


def test_where_locks_do_not_work_nobody_knows_who_makes_an_output(tmp_path, monkeypatch):
    config, path = FEATURE_PRESETS["dcase2017"], tmp_path / "f.h5"
    with features_writer(path, ["a.wav", "b.wav"], config=config) as writer:
        clip = SourceClip("a.wav", 3, 8_000, 1, 0.075, 100, "00" * 32, 0)
        writer.add(clip, [bytes(3 * 64 * 2)])

        def no_locks(*_):
            raise OSError(37, "No locks available")

        monkeypatch.setattr(fcntl, "flock", no_locks)
        assert describe(path).values["being_made"] is None
        monkeypatch.undo()


def test_scores_are_described(scores):
    found = describe(scores, verify=True)
    assert found.kind == "scores"
    assert found.values["clips"] == 1
    assert found.values["frames"] == 10
    assert found.values["model_sha256"] == "ab" * 32
    assert found.values["classes"][1] == {
        "class": "Cat",
        "threshold": 0.6,
        "clip_threshold": 0.4,
        "window": 1.5,
    }


def test_verify_finds_a_flipped_byte_in_scores(scores):
    frames = np.full((10, 2), 0.25, "<f4").tobytes()
    flip(scores, scores.read_bytes().index(frames) + 5)
    assert describe(scores).verified is False
    with pytest.raises(ArtifactError, match="does not match its digest"):
        describe(scores, verify=True)


# Models, recipes and metrics


def test_a_model_is_described(model):
    saved = new_model()
    found = describe(model, verify=True)
    assert found.kind == "model"
    assert found.verified
    assert found.values["parameters"] == sum(p.numel() for p in saved.detector.parameters())
    assert found.values["pooling"] == "power:init=2"
    assert found.values["weights_sha256"] == saved.weights_sha256
    assert found.values["classes"][0] == {
        "class": "Dog",
        "threshold": 0.3,
        "clip_threshold": 0.2,
        "window": 0.3,
        "n": 2.0,
        "theta": pytest.approx(2 / 3),
        "alpha": None,
    }
    assert found.values["trained"] == {"epoch": 3}
    assert found.values["tuned"] == {"clips": 7}
    assert found.values["training_clips"] == 2


def test_the_text_of_a_model_begins_with_what_is_asked_and_ends_with_its_digest(tmp_path):
    saved = new_model()
    saved.tuned = {
        "clips": 7,
        "files": {"val.tsv": "ab" * 32},
        "clip_f1": {"Dog": 0.5, "Cat": None},
        "event_f1": {"Dog": 0.25, "Cat": 0.75},
        "grid": {"collar": 0.05},
    }
    path = tmp_path / "m.safetensors"
    save_model(path, saved)
    lines = describe(path).text().splitlines()
    heads = "class threshold clip threshold median (s) n theta clip f1 event f1"
    assert lines[2].split() == heads.split()
    assert lines[3].split()[-2:] == ["0.5", "0.25"]
    keys = [line.split(":")[0] for line in lines if line[0] != " "]
    assert keys[1:5] == ["classes", "frame length", "scoring window", "tuned on"]
    assert keys[-2:] == ["verified", "weights sha256"]
    words = " ".join(" ".join(lines).split())
    assert "frame length: 100 ms (10 a second)" in words
    tuned = "7, files (val.tsv abababab…), mean clip_f1 0.5, mean event_f1 0.5, collar 0.05"
    assert f"tuned on: clips {tuned}" in words
    saved.tuned = {}
    save_model(path, saved)
    assert "tuned on: nothing; thresholds" in " ".join(describe(path).text().split())


@pytest.mark.parametrize("tuned", [{"clip_f1": 3}, {"event_f1": {"Dog": "x"}, "grid": []}])
def test_a_model_that_says_odd_things_of_its_tuning_is_described(tuned, tmp_path):
    saved, path = new_model(), tmp_path / "m.safetensors"
    saved.tuned = tuned
    save_model(path, saved)
    assert "tuned on:" in describe(path).text()
    assert as_json(path)["tuned"] == tuned


def test_text_has_no_line_for_what_is_not_there():
    text = Description(Path("x"), "test", {"error": None, "seconds": 2.5, "sha256": "ab"}).text()
    assert text.splitlines()[1:] == [
        "seconds:  2.5 s",
        "verified: it has no digest",
        "sha256:   ab",
    ]


def test_poolings_that_learn_nothing_have_null_in_json_and_no_column_as_text(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, new_model("linear"))
    found = describe(path)
    assert found.to_json()["classes"][0]["theta"] is None
    assert "theta" not in found.text()


def test_a_flipped_byte_in_a_model_is_found(model):
    flip(model, model.stat().st_size - 5_000)
    result = run(model, "--verify")
    assert result.exit_code == 5
    assert "damaged" in result.stderr


def test_a_bomb_of_merge_keys_is_refused_and_not_followed(tmp_path):
    path = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 {x: 1}"]
    lines += [
        f"a{i}: &a{i} {{<<: [{', '.join(f'*a{i - 1}' for _ in range(9))}]}}" for i in range(1, 30)
    ]
    path.write_text("\n".join(lines))
    with pytest.raises(ArtifactError, match=r"bomb\.yaml:1: anchors, aliases and tags are refused"):
        describe(path)


def test_metrics_are_described_and_undefined_is_null(tmp_path, strong):
    path = tmp_path / "metrics.json"
    result = CliRunner().invoke(cli, ["evaluate", str(strong), str(strong), "-o", str(path)])
    assert result.exit_code == 0, result.output
    found = as_json(path)
    assert found["kind"] == "metrics"
    assert found["scores"][0] == {
        "metric": "event",
        "average": "macro",
        "f1": 1.0,
        "precision": 1.0,
        "recall": 1.0,
    }
    assert found["parameters"]["collar"] == 0.2
    assert found["verified"] is None


# All of them


def test_several_paths_give_a_list_and_one_gives_an_object(model, scores):
    assert [found["kind"] for found in as_json(model, scores)] == ["model", "scores"]
    assert as_json(model)["kind"] == "model"


def test_what_is_damaged_does_not_hide_the_others(model, scores, tmp_path):
    result = run(model, tmp_path / "gone.h5", scores)
    assert result.exit_code == 2
    assert "model.safetensors: model" in result.stdout
    assert "scores.h5: scores" in result.stdout
    assert result.stderr.startswith(f"Error: {tmp_path}/gone.h5 does not exist")


def test_a_path_that_is_not_there_is_an_error_with_a_suggestion(scores):
    with pytest.raises(ConfigError, match=r"does not exist; did you mean .*/scores\.h5"):
        describe(scores.with_name("score.h5"))
    link = scores.with_name("link.h5")
    link.symlink_to("nowhere.h5")
    with pytest.raises(ConfigError, match=r"is a link to nowhere\.h5, which does not exist"):
        describe(link)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.bin", b"\x00\x01\x02"),
        ("a.md", b"# Readme"),
        ("a.tsv", b"one\ttwo\tthree\tfour\tfive\tsix\n"),
        ("a.csv", b"word\n"),
        ("a.TextGrid", b'File type = "ooTextFile"\nObject class = "TextGrid"\n'),
        ("a.json", b'[{"label": [{"start": 0, "end": 1, "labels": ["Dog"]}]}]'),
        ("a.txt", b"default\t\t00:00:00.200\t0.2\t00:00:00.900\t0.9\tDog\n"),
        ("a.json", b'{"a": 1}'),
        ("a.json", b'{"a": '),
        ("b.json", b"{" * 100_000),
        ("a.yaml", b"- a\n- b\n"),
        ("a.yaml", b"a: [\n"),
        ("a.safetensors", b"\x08\0\0\0\0\0\0\0{}      "),
        ("last.pt", b"PK\x03\x04" + bytes(100)),
        ("empty", b""),
    ],
)
def test_a_file_of_no_known_kind_is_refused_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    result = run(path)
    assert result.exit_code == 5, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert str(path) in result.stderr


def test_what_is_no_regular_file_is_refused(bad_files, tmp_path):
    with pytest.raises(ArtifactError, match="not a regular file"):
        describe(bad_files["fifo.wav"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ArtifactError, match="neither a run folder nor a folder with audio"):
        describe(empty)


def test_no_text_of_a_stranger_reaches_the_terminal_raw(tmp_path):
    saved = new_model()
    saved.trained = {"no\x1b[31mte": "a\nb\x07\u2028\u202e", "deep": [{"x\n": "\x9b31m"}]}
    path = tmp_path / "evil\x1b[2J\n.safetensors"
    save_model(path, saved)
    result = run(path)
    assert result.exit_code == 0
    assert all(c.isprintable() or c == "\n" for c in result.stdout)
    assert r"no\x1b[31mte" in result.stdout
    assert as_json(path)["trained"] == saved.trained
    bad = tmp_path / "\x1b[2J.bin"
    bad.write_bytes(b"")
    assert "\x1b" not in run(bad).stderr


def test_a_file_with_527_classes_fits_a_screen_and_json_has_all(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("".join(f"class {i}\n" for i in range(527)))
    text = describe(path).text()
    assert text.count("\n") < 40
    assert "… and 507 more (--json has all)" in text
    assert len(as_json(path)["classes"]) == 527


def test_text_is_bounded_whatever_the_values_are():
    values = {
        "long": "x" * 10_000,
        "many": list(range(10_000)),
        "deep": {f"k{i}": "y" * 300 for i in range(1_000)},
        "rows": [{"a": "z" * 5_000, "b": None}] * 1_000,
    }
    text = Description(Path("x"), "test", values).text()
    assert len(text) < 10_000
    assert text.count("\n") < 40


def test_many_keys_and_deep_values_are_bounded(tmp_path):
    deep = {}
    for _ in range(5_000):
        deep = {"a": [deep]}
    found = Description(Path("x"), "test", {f"{i}": i for i in range(1_000)} | {"deep": deep})
    assert found.text().count("\n") < 60
    json.dumps(found.to_json())
    assert "…" in Description(Path("x"), "test", {"deep": deep}).text()


def test_numbers_that_json_lacks_become_null():
    values = {"a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": (1.5, None)}
    found = Description(Path("x"), "test", values).to_json()
    assert found["a"] is None
    assert found["b"] == [None, {"c": None}]
    assert found["d"] == [1.5, None]
    json.dumps(found, allow_nan=False)


def test_every_description_has_the_same_frame_of_keys(model, scores, features, strong):
    described, problems = describe_all([model, scores, features, strong])
    assert problems == []
    for found in described:
        check_frame(found)
