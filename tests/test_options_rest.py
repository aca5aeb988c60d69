"""Each option of the commands beside extract, train, tune and infer."""

import dataclasses
import json
import os
import shutil

import pytest

from sedtool import demo
from sedtool.checking.files import inspect
from sedtool.config import FEATURE_PRESETS, ExtractConfig
from sedtool.doctor import Check
from sedtool.extraction import extract
from sedtool.labels import read_events, read_weak
from sedtool.store import open_features
from support.command_lines import refused, run, save_small_model, tries

pytestmark = pytest.mark.slow

STRONG = "filename\tonset\toffset\tevent_label\n"
MAGIC = {".png": b"\x89PNG\r\n", ".svg": b"<?xml", ".pdf": b"%PDF"}


def write(path, text):
    path.write_text(text)
    return path


# plot


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture(scope="module")
def scores(model, tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("scores") / "s.h5"
    run("infer", model, tiny.audio, "--scores", path)
    return path


@tries("plot clip", "--from", "--to")
def test_a_part_of_a_clip_is_drawn_and_what_is_none_refused(tiny, scores, tmp_path):
    line = ("plot clip", tiny.features, scores, "tone_16.wav", "--overwrite", "-o")
    whole, part = tmp_path / "whole.svg", tmp_path / "part.svg"
    run(*line, whole)
    run(*line, part, "--from", "0.25", "--to", "0.75")
    assert "<!-- 0.3 -->" in part.read_text()  # a tick
    assert "<!-- 0.3 -->" not in whole.read_text()
    nothing = ("--from", "0.5", "--to", "0.5")
    for options in (("--from", "1"), ("--to", "2"), nothing, ("--from=-1",)):
        assert "tone_16.wav lasts 1 s: there is nothing to draw" in refused(*line, part, *options)
    run(*line, part, "--from", "0", "--to", "1")
    assert part.read_bytes() == whole.read_bytes()


@tries("plot clip", "features", "scores", "name", "--output", "--reference", "--overwrite")
def test_a_clip_is_drawn_with_its_reference(tiny, scores, tmp_path):
    line = ("plot clip", tiny.features, scores, "tone_16.wav", "--overwrite", "-o")
    without, output = tmp_path / "c.svg", tmp_path / "r.svg"
    run(*line, without)
    output.write_text("mine")
    run(*line, output, "--reference", tiny.strong)
    assert without.read_bytes().startswith(MAGIC[".svg"])
    assert output.read_bytes() != without.read_bytes()
    assert "--overwrite" in refused(*line[:4], "-o", output)
    assert "no clip" in refused(*line[:3], "tone_99.wav", "-o", tmp_path / "x.png")
    assert ".png, .svg, .pdf" in refused(*line, tmp_path / "c.gif")


@tries("plot pooling", "models", "--output", "--durations-from", "--overwrite")
@pytest.mark.parametrize("suffix", MAGIC)
def test_what_poolings_learned_is_drawn_in_the_order_of_durations(model, tmp_path, suffix):
    output = tmp_path / f"p{suffix}"
    run("plot pooling", model, model, "-o", output)
    drawn = output.read_bytes()
    assert drawn.startswith(MAGIC[suffix])
    assert "--overwrite" in refused("plot pooling", model, "-o", output)
    long = write(tmp_path / "l.tsv", f"{STRONG}a.wav\t0\t9\tnoise\na.wav\t0\t1\ttone\n")
    run("plot pooling", model, model, "-o", output, "--overwrite", "--durations-from", long)
    assert output.read_bytes() != drawn


# demo


@pytest.fixture
def small_demo(monkeypatch):
    """The demo of a few clips, which trains for one step."""
    training = dataclasses.replace(demo.TRAINING, epochs=1, steps_per_epoch=1)
    monkeypatch.setattr(demo, "TRAINING", training)
    monkeypatch.setattr(demo, "SIZES", {"train": 12, "validation": 2, "test": 2})


@tries("demo", "--output", "--seed", "--workers", "--device", "--overwrite")
def test_the_demo_is_made_again_only_if_asked_to(small_demo, tmp_path, monkeypatch):
    folder = tmp_path / "demo"
    run("demo", "-o", folder, "--device", "cpu", "--workers", "1")
    first = (folder / "labels" / "test_strong.tsv").read_bytes()
    assert json.loads((folder / "run" / "run.json").read_text())["device"] == "cpu"
    assert run("demo", "-o", folder).stderr.startswith("nothing to do: ")
    assert "--overwrite" in refused("demo", "-o", folder, "--seed", "1")
    monkeypatch.setattr("sedtool.demo.train", _stop_before_training)
    run("demo", "-o", folder, "--overwrite", "--seed", "1", exit_code=130)
    assert (folder / "labels" / "test_strong.tsv").read_bytes() != first


def _stop_before_training(run_folder, inputs, training, **_):
    assert training.seed == 1
    raise KeyboardInterrupt


def test_the_demo_looks_for_its_device_first(small_demo, tmp_path):
    line = ("demo", "-o", tmp_path / "demo", "--device")
    assert "not there" in refused(*line, "cuda:99", exit_code=6)
    assert "auto, cpu, cuda" in refused(*line, "gpu")
    assert not (tmp_path / "demo").exists()


def test_the_demo_extracts_with_so_many_workers(small_demo, tmp_path, monkeypatch):
    given = []

    def stop(inputs, output, config, settings, **_):
        given.append(settings.workers)
        raise KeyboardInterrupt

    monkeypatch.setattr("sedtool.demo.extract", stop)
    run("demo", "-o", tmp_path / "demo", "--workers", "3", exit_code=130)
    assert given == [3]


# merge


@tries("merge", "parts", "--output", "--partial", "--overwrite")
def test_parts_become_a_whole_that_is_replaced_only_if_asked_to(tiny, tmp_path):
    parts, output = tmp_path / "parts", tmp_path / "f.h5"
    parts.mkdir()
    for number in (1, 2, 3):
        settings = ExtractConfig(shard=f"{number}/3")
        preset = FEATURE_PRESETS["dcase2017"]
        extract([tiny.audio], parts / f"{number}.h5", preset, settings, root=tiny.audio)
    run("merge", parts, "-o", output)
    assert output.read_bytes() == tiny.features.read_bytes()
    assert run("merge", parts, "-o", output).stderr.startswith("nothing to do: ")
    line = ("merge", parts / "1.h5", parts / "3.h5", "-o", output)
    assert "--overwrite" in refused(*line, "--partial")
    line = (*line, "--overwrite")
    assert "shard 2 of 3 is missing" in refused(*line, exit_code=5)
    assert "shard 2 of 3 is missing" in run(*line, "--partial").stderr
    assert len(open_features(output).names) == 16


@tries("merge", "--union")
def test_whole_files_of_other_clips_are_joined_only_if_asked_to(tiny, tmp_path):
    days, output = [tmp_path / "1.h5", tmp_path / "2.h5"], tmp_path / "f.h5"
    for day, folder in zip(days, ("train", "val"), strict=True):
        extract([tiny.audio / folder], day, FEATURE_PRESETS["dcase2017"], root=tiny.audio)
    said = refused("merge", *days, "-o", output, exit_code=5)
    assert "not a part: it was made without --shard; --union joins whole files" in said
    assert "give one" in refused("merge", *days, "-o", output, "--union", "--partial")
    run("merge", *days, "-o", output, "--union")
    assert output.read_bytes() == tiny.features.read_bytes()


# check


@pytest.fixture
def audio(tiny, tmp_path):
    """A folder of two recordings."""
    folder = tmp_path / "audio"
    folder.mkdir()
    shutil.copy(tiny.audio / "val" / "tone_16.wav", folder / "tone.wav")
    shutil.copy(tiny.audio / "val" / "noise_17.wav", folder / "noise.wav")
    return folder


def found(*arguments, exit_code=0, **how):
    """Return the report of a check, and its findings by kind."""
    report = json.loads(run("check", *arguments, "--json", exit_code=exit_code, **how).stdout)
    return report, {finding["kind"]: finding["count"] for finding in report["findings"]}


@tries("check", "inputs", "--strong", "--weak", "--unlabelled", "--classes", "--json")
def test_label_files_of_each_kind_are_checked(audio, tmp_path):
    strong = write(tmp_path / "s.tsv", f"{STRONG}tone.wav\t0.5\t7\tBeep\n")
    weak = write(tmp_path / "w.tsv", "filename\tevent_labels\nnoise.wav\tHiss\ngone.wav\tHiss\n")
    names = write(tmp_path / "u.tsv", "filename\nnoise.wav\nlost.wav\n")
    classes = write(tmp_path / "classes.txt", "Hiss\n")
    assert found(audio)[1] == {}
    assert found(audio, "--strong", strong, exit_code=3)[1]["past-end"] == 1
    assert found(audio, "--weak", weak, exit_code=3)[1]["missing"] == 1
    assert found(audio, "--unlabelled", names, exit_code=3)[1]["missing"] == 1
    assert found(audio, "--weak", weak, "--weak", weak, exit_code=3)[1]["shared-clip"] == 2
    line = (audio, "--strong", strong, "--classes", classes)
    assert found(*line, exit_code=3)[1]["unknown-label"] == 1
    said = run("check", *line, exit_code=3).stdout
    assert "1 past-end" in said
    assert not said.startswith("{")


@tries("check", "--decode", "--workers")
def test_all_audio_is_decoded_by_so_many_workers_only_if_asked_to(audio, monkeypatch):
    given = []

    def watched(files, decode, workers, *others):
        given.extend([workers] * bool(files))
        return inspect(files, decode, workers, *others)

    monkeypatch.setattr("sedtool.checking.report.inspect", watched)
    whole = (audio / "noise.wav").read_bytes()
    silent = whole[:44] + bytes(len(whole) - 44)
    (audio / "noise.wav").write_bytes(silent)
    report, findings = found(audio)
    assert (report["audio"]["decoded"], findings) == (False, {})
    for workers in (1, 2):
        report, findings = found(audio, "--decode", "--workers", workers)
        assert (report["audio"]["decoded"], findings["silent"]) == (True, 1)
    assert given[1:] == [1, 2]


@tries("check", "--files-from", "--null", "--root", "--stdin-name")
def test_audio_is_listed_and_named_as_elsewhere(audio, tmp_path):
    weak = write(tmp_path / "w.tsv", "filename\tevent_labels\naudio/noise.wav\tHiss\n")
    by_path = found(audio, "--root", tmp_path, "--weak", weak)[1]
    assert "by-basename" not in by_path
    assert found(audio, "--weak", weak)[1]["by-basename"] == 1
    listed = write(tmp_path / "list", f"{audio / 'noise.wav'}\n")
    assert found("--files-from", listed)[0]["audio"]["clips"] == 1
    ended = os.fsencode(f"{audio / 'noise.wav'}\0{audio / 'tone.wav'}\0")
    assert found("--files-from", "-", "-0", stdin=ended)[0]["audio"]["clips"] == 2
    wave = (audio / "noise.wav").read_bytes()
    line = ("-", "--weak", weak)
    assert found(*line, stdin=wave, exit_code=3)[1]["missing"] == 1
    assert "missing" not in found(*line, "--stdin-name", "audio/noise.wav", stdin=wave)[1]


@pytest.mark.parametrize("option", ["--decode", "--root=."])
def test_what_means_nothing_for_features_is_refused(tiny, option):
    assert "no meaning for features" in refused("check", tiny.features, option)


# convert


@tries("convert", "--names", "--min-confidence")
def test_label_ids_get_names_and_unsure_events_are_left_out(tmp_path):
    header = "filename\tonset\toffset\tevent_label\tconfidence\n"
    rows = "a.wav\t0\t1\t/m/09x0r\t0.5\nb.wav\t0\t1\t/m/09x0r\t0.4\n"
    events = write(tmp_path / "e.tsv", header + rows)
    names = write(tmp_path / "n.csv", 'index,mid,display_name\n0,/m/09x0r,"Speech"\n')
    line = ("convert", events, "--names", names, "--to", "weak")
    assert run(*line, "--min-confidence", "0.5").stdout.splitlines()[1:] == [
        "a.wav\tSpeech",
        "b.wav\t",
    ]
    assert "must be in [0, 1]" in refused(*line, "--min-confidence", "2")
    assert "does not exist" in refused("convert", events, "--names", tmp_path / "x.csv")


@tries("convert", "inputs", "--from", "--to", "--output", "--audio-suffix", "--overwrite")
def test_event_lists_change_their_format_and_back(tiny, tmp_path):
    given = run("convert", tiny.strong).stdout
    for target in ("dcase", "jsonl", "raven"):
        text = run("convert", tiny.strong, "--to", target).stdout
        path = write(tmp_path / target, text)
        assert run("convert", path, "--from", target).stdout == given
    output = tmp_path / "e.jsonl"
    run("convert", tiny.strong, "-o", output)
    assert output.read_text() == run("convert", tiny.strong, "--to", "jsonl").stdout
    assert "--overwrite" in refused("convert", tiny.strong, "-o", output, "--to", "weak")
    run("convert", tiny.strong, "-o", output, "--to", "weak", "--overwrite")
    assert read_weak(output) == read_events(tiny.strong).weak()
    run("convert", tiny.strong, "--to", "audacity", "-o", f"{tmp_path}/labels/")
    assert run("convert", tmp_path / "labels").stdout == given
    track = write(tmp_path / "clip.txt", "0.5\t1.0\tDog\n")
    assert "\nclip\t" in run("convert", track).stdout
    flac = ("--audio-suffix", ".flac")
    assert "\nclip.flac\t" in run("convert", track, *flac).stdout
    table = write(tmp_path / "t.tsv", "x/a.WAV\t0\t1\tDog\nb\t0\t1\tDog\nc.5\t\t\t\n")
    names = [row.split("\t")[0] for row in run("convert", table, *flac).stdout.splitlines()[1:]]
    assert names == ["b.flac", "c.5.flac", "x/a.flac"]
    twice = write(tmp_path / "t.tsv", "a.wav\t0\t1\tDog\na.mp3\t0\t1\tDog\n")
    assert "two clips would be 'a.flac'" in refused("convert", twice, *flac)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--from jsnl", "did you mean 'jsonl'"),
        ("--to json", "did you mean 'jsonl'"),
        ("--to audacity", "give a folder"),
        ("-o x.txt", "say with --to dcase|audacity|raven|jsonl|jams|weak"),
        ("--from raven", "no column 'Begin Time (s)'"),
        ("--audio-suffix wav", "is not like .wav"),
    ],
)
def test_what_cannot_be_converted_is_refused(tiny, options, message):
    assert message in refused("convert", tiny.strong, *options.split())


# info, doctor, completion


@tries("info", "paths", "--json", "--verify")
def test_artifacts_are_described_and_verified(tiny, model, tmp_path):
    assert "kind" not in run("info", tiny.features).stdout
    assert json.loads(run("info", tiny.features, "--json").stdout)["clips"] == 24
    both = json.loads(run("info", tiny.features, model, "--json").stdout)
    assert [description["kind"] for description in both] == ["features", "model"]
    damaged = tmp_path / "f.h5"
    content = bytearray(tiny.features.read_bytes())
    content[len(content) // 2] ^= 1  # among the frames
    damaged.write_bytes(content)
    run("info", damaged)
    assert refused("info", damaged, "--verify", exit_code=5).startswith(f"Error: {damaged}")


@tries("doctor", "path", "--json", "--quiet")
def test_the_doctor_looks_at_a_folder(tmp_path, monkeypatch):
    def examined(folder, environment):
        return [Check("folder", "ok", str(folder)), Check("space", "warning", "little", "tidy up")]

    monkeypatch.setattr("sedtool.doctor.examine", examined)
    assert run("doctor", tmp_path).stdout.splitlines() == [
        f"ok       folder                 {tmp_path}",
        "warning  space                  little",
        f"{'':<31} -> tidy up",
    ]
    assert run("doctor", tmp_path, "--quiet").stdout.startswith("warning")  # what is ok is left out
    report = json.loads(run("doctor", tmp_path, "--json").stdout)
    assert [check["found"] for check in report["checks"]] == [str(tmp_path), "little"]
    assert "is a file" in refused("doctor", write(tmp_path / "file", ""))


@tries("completion", "shell")
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell):
    assert "_SEDTOOL_COMPLETE" in run("completion", shell).stdout
    assert "'bash', 'zsh', 'fish'" in refused("completion", "csh")
