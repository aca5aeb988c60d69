"""What inference may write, and what it leaves alone: finished files, inputs, folders, streams."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sedtool.checkpoint import save_model
from sedtool.cli import cli
from sedtool.config import DecodingConfig, InferConfig
from sedtool.convert import ConvertSettings, convert
from sedtool.errors import (
    ArtifactError,
    ConfigError,
    NothingUsableError,
    OutputExistsError,
    ResourceError,
)
from sedtool.inference import InferOutputs, infer
from sedtool.info import describe
from sedtool.planning import plan_inference
from support.models import new_model

NAMES = ["0.wav", "1.wav", "2.wav"]
CPU = InferConfig(device="cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    model = new_model()
    model.classes = ("noise", "tone")
    model.decoding = DecodingConfig((0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    save_model(path, model)
    return path


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    for i, name in enumerate(NAMES):
        wave = np.random.default_rng(i).uniform(-0.5, 0.5, 8_000)
        soundfile.write(folder / name, wave, 16_000)
    return folder


@pytest.fixture
def lists(tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    return folder


def rename(audio: Path, name: str) -> None:
    (audio / name).parent.mkdir(exist_ok=True)
    (audio / NAMES[0]).rename(audio / name)


def interrupt_at(number: int):
    def interrupt(done: int, total: int, name: str) -> None:
        if done == number:
            raise KeyboardInterrupt

    return interrupt


def interrupted(model, inputs, outputs, at=2, settings=CPU):
    with pytest.raises(KeyboardInterrupt):
        infer(model, inputs, settings, outputs, progress=interrupt_at(at))


# Finished outputs


def test_a_finished_output_is_kept_though_another_job_was_interrupted_beside_it(
    model, audio, tmp_path
):
    events = tmp_path / "e.tsv"
    infer(model, [audio], CPU, InferOutputs(events))
    finished = events.read_bytes()
    other = InferConfig(window=0.4, device="cpu")
    interrupted(model, [audio], InferOutputs(events, overwrite=True), settings=other)
    with pytest.raises(OutputExistsError, match="unfinished run with other settings"):
        infer(model, [audio], CPU, InferOutputs(events))
    assert events.read_bytes() == finished


def test_a_whole_list_over_a_part_is_no_part(model, audio, tmp_path):
    events, weak = tmp_path / "e.tsv", tmp_path / "w.tsv"
    infer(model, [audio], InferConfig(device="cpu", shard="1/2"), InferOutputs(events, weak=weak))
    assert (tmp_path / "e.tsv.part.json").exists()
    infer(model, [audio], CPU, InferOutputs(events, weak=weak, overwrite=True))
    assert sorted(path.name for path in tmp_path.glob("*.json")) == []


def test_a_failed_rerun_keeps_the_record_of_the_part(model, audio, tmp_path):
    events = tmp_path / "e.tsv"
    infer(model, [audio], InferConfig(device="cpu", shard="1/2"), InferOutputs(events))
    interrupted(model, [audio], InferOutputs(events, overwrite=True))
    assert (tmp_path / "e.tsv.part.json").exists()


# Inputs


@pytest.mark.parametrize("kind", ["events", "scores", "weak"])
@pytest.mark.parametrize("which", ["model", "audio", "scores", "thresholds"])
def test_an_output_is_never_an_input(model, audio, tmp_path, kind, which):
    own = tmp_path / "m.safetensors"
    own.write_bytes(model.read_bytes())
    infer(own, [audio], CPU, InferOutputs(scores=tmp_path / "s.h5"))
    (tmp_path / "t.tsv").write_text("event_label\tthreshold\ntone\t0.1\n")
    files = {"model": own, "audio": audio / NAMES[1], "scores": tmp_path / "s.h5"}
    files["thresholds"] = tmp_path / "t.tsv"
    before = files[which].read_bytes()
    link = tmp_path / "link.out"
    link.symlink_to(files[which])
    outputs = InferOutputs(**{"events": tmp_path / "e.out", kind: link}, overwrite=True)
    settings = InferConfig(threshold=str(tmp_path / "t.tsv"), device="cpu")
    given = [files["scores"]] if which == "scores" else [audio]
    for begin in (infer, plan_inference):
        with pytest.raises(ConfigError, match="is an input"):
            begin(own, given, settings, outputs)
    assert files[which].read_bytes() == before


# Names


def test_a_name_that_a_folder_cannot_hold_fails_alone(model, audio, lists):
    rename(audio, " 0.wav")
    result = infer(model, [audio], CPU, InferOutputs(lists, format="audacity"))
    assert [name for name, _, _ in result.failures] == [" 0.wav"]
    names = [".events.made", "1.wav.txt", "2.wav.txt"]
    assert sorted(path.name for path in lists.iterdir()) == names


def test_a_name_that_a_raven_table_cannot_hold_fails_alone(model, audio, tmp_path):
    rename(audio, "C:\\0.wav")
    texts = []
    scores = tmp_path / "s.h5"
    outputs = InferOutputs(format="raven", scores=scores)
    from_audio = infer(model, [audio], CPU, outputs, emit=texts.append)
    from_scores = infer(model, [scores], CPU, InferOutputs(format="raven"), emit=texts.append)
    assert [len(found.failures) for found in (from_audio, from_scores)] == [1, 0]
    assert "Windows path" in from_audio.failures[0][2]
    plan = plan_inference(model, [audio], CPU, InferOutputs(format="raven"))
    assert len(plan.unreadable) == 1


def test_a_name_that_scores_bring_fails_alone(model, audio, tmp_path):
    rename(audio, "C:\\0.wav")
    infer(model, [audio], CPU, InferOutputs(scores=tmp_path / "s.h5"))
    raven = InferOutputs(tmp_path / "e", format="raven")
    result = infer(model, [tmp_path / "s.h5"], None, raven)
    assert (result.n_clips, len(result.failures)) == (2, 1)
    assert result.failures_path == tmp_path / "e.failures.tsv"
    only = InferOutputs(tmp_path / "other", format="raven")
    for path in (audio / "1.wav", audio / "2.wav"):
        path.unlink()
    with pytest.raises(NothingUsableError, match="Windows path"):
        infer(model, [audio], CPU, only)


# Failures


def test_failures_are_said_where_no_file_can_hold_them(model, audio, caplog):
    (audio / "bad.wav").write_bytes(b"RIFF")
    infer(model, [audio], CPU, None, emit=lambda text: None)
    assert [r.getMessage() for r in caplog.records if r.getMessage().startswith("bad.wav: ")]


def test_failures_stand_beside_scores_where_there_is_no_list(model, audio, tmp_path):
    (audio / "bad.wav").write_bytes(b"RIFF")
    scores = tmp_path / "s.h5"
    result = infer(model, [audio], CPU, InferOutputs(scores=scores), emit=lambda text: None)
    assert result.failures_path == tmp_path / "s.h5.failures.tsv"
    assert "s.h5.failures.tsv" in result.failure_summary()


def test_failures_of_a_folder_stand_beside_it(model, audio, lists):
    (audio / "bad.wav").write_bytes(b"RIFF")
    result = infer(model, [audio], CPU, InferOutputs(lists))
    assert result.failures_path == lists.with_name("lists.failures.tsv")
    assert "bad.wav\tinfer\t" in result.failures_path.read_text()


# Outputs that clash


@pytest.mark.parametrize(
    ("outputs", "error"),
    [
        (InferOutputs(weak=Path("/dev/stdout")), "need a file each"),
        (InferOutputs(Path("f"), weak=Path("f")), "need a file each"),
        (InferOutputs(Path("e"), Path("d")), "must be a regular file"),
        (InferOutputs(Path("e"), Path("/dev/stdout")), "must be a regular file"),
        (InferOutputs(Path("e"), Path("f")), "must be a regular file"),
        (InferOutputs(Path("e"), weak=Path("d")), "is a folder"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused_first(
    model, audio, tmp_path, monkeypatch, outputs, error
):
    import os

    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    os.mkfifo("f")
    for begin in (infer, plan_inference):
        with pytest.raises(ConfigError, match=error):
            begin(model, [audio], CPU, outputs)


def test_a_dry_run_refuses_a_folder_that_is_not_there(model, audio, tmp_path):
    outputs = InferOutputs(tmp_path / "nowhere" / "e.tsv")
    for begin in (infer, plan_inference):
        with pytest.raises(ResourceError, match="the folder does not exist"):
            begin(model, [audio], CPU, outputs)


# Unfinished work


def test_a_dry_run_says_what_becomes_of_an_unfinished_run(model, audio, tmp_path):
    outputs = InferOutputs(tmp_path / "e.tsv")
    interrupted(model, [audio], outputs)
    plan = plan_inference(model, [audio], CPU, outputs)
    assert any("goes on with an unfinished run (2 of 3 clips" in line for line in plan.lines)
    other = InferConfig(window=0.4, device="cpu")
    with pytest.raises(OutputExistsError, match="unfinished run with other settings"):
        plan_inference(model, [audio], other, outputs)
    overwriting = InferOutputs(tmp_path / "e.tsv", overwrite=True)
    plan = plan_inference(model, [audio], other, overwriting)
    assert any("--overwrite drops an unfinished run" in line for line in plan.lines)


def test_a_dry_run_names_an_unreadable_file_once(model, audio):
    (audio / "bad.wav").write_bytes(b"RIFF")
    plan = plan_inference(model, [audio], CPU, InferOutputs())
    assert str(plan).count("bad.wav") == 1


@pytest.mark.parametrize("source", ["audio", "scores"])
def test_an_unfinished_folder_is_refused_by_convert_and_info_says_it(
    model, audio, lists, tmp_path, source
):
    scores = tmp_path / "s.h5"
    infer(model, [audio], CPU, InferOutputs(scores=scores))
    given = [scores] if source == "scores" else [audio]
    interrupted(model, given, InferOutputs(lists), at=3)
    for folder in (lists, lists.parent):
        with pytest.raises(ArtifactError, match=r"lists: not complete .* of 3 clips"):
            convert([folder], None, ConvertSettings(), print)
    assert describe(lists).kind == "unfinished output"
    infer(model, given, CPU, InferOutputs(lists))
    texts = []
    assert convert([lists], None, ConvertSettings(), texts.append).n_clips == 3
    assert [path.name for path in lists.glob(".*")] == [".events.made"]


def test_a_folder_is_locked_while_scores_are_decoded_into_it(model, audio, lists, tmp_path):
    scores = tmp_path / "s.h5"
    infer(model, [audio], CPU, InferOutputs(scores=scores))

    def second(done: int, total: int, name: str) -> None:
        with pytest.raises(ResourceError, match="another sedtool is making"):
            infer(model, [scores], CPU, InferOutputs(lists))

    infer(model, [scores], CPU, InferOutputs(lists), progress=second)


def test_what_a_killed_writer_left_in_a_folder_is_removed_and_nothing_else(model, audio, lists):
    (lists / ".1.wav.tsv.k2j3.tmp").write_text("torn")
    (lists / ".other.k2j3.tmp").write_text("of another program")
    weak = lists / "w.tsv"
    infer(model, [audio], CPU, InferOutputs(lists, weak=weak))
    assert {path.name for path in lists.glob(".*")} == {".events.made", ".other.k2j3.tmp"}
    assert weak.exists()


# Hints


def test_a_part_that_comes_from_the_input_is_to_be_merged_next(model, audio, tmp_path):
    scores = tmp_path / "s2.h5"
    infer(model, [audio], InferConfig(device="cpu", shard="2/3"), InferOutputs(scores=scores))
    line = ["infer", str(model), str(scores), "-o", str(tmp_path / "e2.tsv")]
    result = CliRunner().invoke(cli, line)
    assert result.exit_code == 0
    assert "next: sedtool merge" in result.stderr
    with pytest.raises(ArtifactError, match=r"e2.tsv is shard 2/3; join all with sedtool merge"):
        convert([tmp_path / "e2.tsv"], None, ConvertSettings(), print)


def test_a_features_file_that_is_misspelt_is_suggested(model, audio, tmp_path):
    infer(model, [audio], CPU, InferOutputs(scores=tmp_path / "whole.h5"))
    with pytest.raises(ConfigError, match=r"wole.h5 does not exist; did you mean .*whole.h5\?"):
        infer(model, [tmp_path / "wole.h5"], CPU, None)
