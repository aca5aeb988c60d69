"""Inference ends in the same bytes whatever happens on the way: kills, full disks, shards."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedtool.audio import AudioInputs
from sedtool.checkpoint import load_model, save_model
from sedtool.config import DecodingConfig, InferConfig
from sedtool.errors import (
    ArtifactError,
    ConfigError,
    InputsFailedError,
    NothingUsableError,
    OutputExistsError,
    ResourceError,
)
from sedtool.extraction import extract
from sedtool.inference import InferOutputs, infer
from sedtool.labels import EVENT_FORMATS, read_events
from sedtool.planning import plan_inference
from sedtool.store import open_scores
from sedtool.store.merge import merge
from support.faults import Faults, fail, in_a_child
from support.models import new_model

pytestmark = pytest.mark.slow

NAMES = [f"{'ab'[i % 2]}/{i:02d}.wav" for i in range(7)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    model = new_model()
    model.classes = ("noise", "tone")
    model.decoding = DecodingConfig((0.45, 0.45), (0.3, 0.3), (0.0, 0.0))
    model.window = 0.5
    save_model(path, model)
    return path


@pytest.fixture
def audio(tmp_path):
    for i, name in enumerate(NAMES):
        path = tmp_path / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = np.random.default_rng(i).uniform(-0.5, 0.5, 4_000 + 2_000 * i)
        soundfile.write(path, wave, 16_000)
    return tmp_path / "audio"


def outputs_in(folder: Path, **options) -> InferOutputs:
    folder.mkdir(exist_ok=True)
    return InferOutputs(folder / "e.tsv", folder / "s.h5", folder / "w.tsv", **options)


def run(model: Path, audio: Path, outputs: InferOutputs, **how):
    return infer(model, [audio], InferConfig(device="cpu", **how), outputs)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder, but for records of what they are."""
    paths = folder.iterdir() if folder.exists() else ()
    return {path.name: path.read_bytes() for path in paths if path.suffix != ".made"}


@pytest.fixture
def expected(model, audio, tmp_path):
    run(model, audio, outputs_in(tmp_path / "expected"))
    found = contents(tmp_path / "expected")
    assert sorted(found) == ["e.tsv", "s.h5", "w.tsv"]
    return found


# What does not matter


@pytest.mark.parametrize("workers", [2, 5])
def test_the_number_of_workers_changes_no_byte(model, audio, tmp_path, expected, workers):
    run(model, audio, outputs_in(tmp_path / "out"), workers=workers)
    assert contents(tmp_path / "out") == expected


def test_a_long_recording_goes_through_a_short_queue(model, audio, tmp_path, expected, monkeypatch):
    monkeypatch.setattr("sedtool.scoring._BLOCKS_AHEAD", 1)
    monkeypatch.setattr("sedtool.features.FRAMES_AT_ONCE", 3)
    run(model, audio, outputs_in(tmp_path / "out"), workers=3)
    assert (tmp_path / "out" / "e.tsv").read_bytes() == expected["e.tsv"]


def test_a_bad_recording_changes_no_byte_of_the_others(model, audio, tmp_path, expected):
    (audio / "a" / "bad.wav").write_bytes(b"RIFF")
    result = run(model, audio, outputs_in(tmp_path / "out"), workers=2)
    assert [name for name, _, _ in result.failures] == ["a/bad.wav"]
    assert (tmp_path / "out" / "e.tsv").read_bytes() == expected["e.tsv"]
    assert (tmp_path / "out" / "w.tsv").read_bytes() == expected["w.tsv"]


@pytest.mark.parametrize("count", [2, 3, 9])
def test_merged_parts_are_the_whole(model, audio, tmp_path, expected, count):
    (audio / "a" / "bad.wav").write_bytes(b"RIFF")
    whole = tmp_path / "whole"
    run(model, audio, outputs_in(whole))
    for number in range(1, count + 1):
        folder = tmp_path / f"part{number}"
        run(model, audio, outputs_in(folder), shard=f"{number}/{count}")
    for name in ("e.tsv", "s.h5", "w.tsv"):
        parts = [tmp_path / f"part{number}" / name for number in range(1, count + 1)]
        (tmp_path / "merged").mkdir(exist_ok=True)
        merge(parts, tmp_path / "merged" / name)
    assert contents(tmp_path / "merged") == contents(whole)


def test_a_part_of_features_makes_a_part(model, audio, tmp_path):
    config = load_model(model).features
    extract([audio], tmp_path / "f.h5", config)
    infer(model, [tmp_path / "f.h5"], InferConfig(device="cpu"), outputs_in(tmp_path / "whole"))
    parts = []
    for number in (1, 2):
        from sedtool.config import ExtractConfig

        part = tmp_path / f"f{number}.h5"
        extract([audio], part, config, ExtractConfig(shard=f"{number}/2"))
        infer(model, [part], InferConfig(device="cpu"), outputs_in(tmp_path / f"p{number}"))
        parts.append(tmp_path / f"p{number}" / "e.tsv")
    merge(parts, tmp_path / "e.tsv")
    assert (tmp_path / "e.tsv").read_bytes() == (tmp_path / "whole" / "e.tsv").read_bytes()
    with pytest.raises(ArtifactError):
        infer(model, [tmp_path / "f1.h5", tmp_path / "f.h5"], None, InferOutputs())


def test_a_shard_of_scores_is_refused(model, audio, tmp_path, expected):
    scores = tmp_path / "expected" / "s.h5"
    with pytest.raises(ConfigError, match="--shard has no meaning for scores"):
        infer(model, [scores], InferConfig(device="cpu", shard="1/2"))


@pytest.mark.parametrize(
    "changes", [{"overlap": 0.25}, {"window": 1.0}, {"amp": "bf16"}, {"batch_size": 2}]
)
def test_what_has_no_meaning_for_scores_is_refused(model, tmp_path, expected, changes):
    option = next(iter(changes)).replace("_", "-")
    with pytest.raises(ConfigError, match=f"--{option} has no meaning for scores"):
        infer(model, [tmp_path / "expected" / "s.h5"], InferConfig(**changes))


# Formats and folders


@pytest.mark.parametrize("name", sorted(EVENT_FORMATS))
def test_a_folder_takes_a_list_a_recording_in_every_format(model, audio, tmp_path, name):
    events = tmp_path / "lists"
    events.mkdir()
    outputs = InferOutputs(events, format=name)
    result = run(model, audio, outputs)
    whole = tmp_path / "e.tsv"
    run(model, audio, InferOutputs(whole))
    by_name = {recording: [] for recording in NAMES}
    for event in read_events(whole).events:
        by_name[event.name].append((event.onset, event.offset, event.label))
    form = EVENT_FORMATS[name]
    for recording, wanted in by_name.items():
        found = form.read(events / form.file_of(recording), recording).events
        assert [(round(e.onset, 3), round(e.offset, 3), e.label) for e in found] == wanted
    assert result.n_clips == 7
    assert [path.name for path in events.glob(".*")] == [".events.made"]
    assert run(model, audio, outputs).is_done
    with pytest.raises(OutputExistsError):
        run(model, audio, outputs, threshold="0.9")
    run(model, audio, InferOutputs(events, format=name, overwrite=True))


def test_a_format_of_one_recording_a_file_needs_a_folder_for_several(model, audio, tmp_path):
    with pytest.raises(ConfigError, match="holds one clip; for 7, -o must name a folder"):
        run(model, audio, InferOutputs(tmp_path / "e.txt", format="audacity"))
    run(model, audio / NAMES[0], InferOutputs(tmp_path / "e.txt", format="audacity"))
    assert (tmp_path / "e.txt").exists()


def test_parts_are_written_as_dcase_only(model, audio, tmp_path):
    with pytest.raises(ConfigError, match="--format dcase"):
        run(model, audio, InferOutputs(tmp_path / "e", format="jsonl"), shard="1/2")


# Failures


def test_fail_fast_stops_at_the_first_failure_and_keeps_what_is_done(model, audio, tmp_path):
    (audio / "a" / "99.wav").write_bytes(b"RIFF")
    folder = tmp_path / "out"
    with pytest.raises(InputsFailedError, match="1 of 5 clips could not be used"):
        run(model, audio, outputs_in(folder), fail_fast=True)
    assert sorted(contents(folder)) == ["e.tsv.journal", "e.tsv.spool"]
    (audio / "a" / "99.wav").unlink()
    with pytest.raises(ArtifactError, match="not complete"):
        open_scores_like(folder / "e.tsv")


def open_scores_like(path):
    from sedtool.cli.options import EXISTING_FILE

    EXISTING_FILE.convert(path, None, None)


def test_a_part_whose_recordings_all_fail_is_written_all_the_same(model, tmp_path):
    (tmp_path / "bad").mkdir()
    for i in range(2):
        (tmp_path / "bad" / f"{i}.wav").write_bytes(b"RIFF")
    outputs = outputs_in(tmp_path / "out")
    result = run(model, tmp_path / "bad", outputs, shard="2/2")
    assert len(result.failures) == 1
    assert outputs.events.read_text() == "filename\tonset\toffset\tevent_label\n"
    assert len(open_scores(outputs.scores).names) == 0
    with pytest.raises(NothingUsableError):
        run(model, tmp_path / "bad", outputs_in(tmp_path / "whole"))
    assert contents(tmp_path / "whole") == {}


def test_a_second_run_on_the_same_output_stops_at_once(model, audio, tmp_path):
    outputs = outputs_in(tmp_path / "out")

    def second(done: int, total: int, name: str) -> None:
        for other in (outputs, InferOutputs(scores=outputs.scores), InferOutputs(outputs.weak)):
            with pytest.raises(ResourceError, match="another sedtool is making"):
                run(model, audio, other)

    inputs = AudioInputs((audio,))
    infer(model, inputs, InferConfig(device="cpu"), outputs, progress=second)
    assert sorted(contents(tmp_path / "out")) == ["e.tsv", "s.h5", "w.tsv"]


def test_a_recording_that_changed_since_the_interruption_is_scored_again(model, audio, tmp_path):
    outputs = outputs_in(tmp_path / "out")

    def interrupt(done: int, total: int, name: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer(model, [audio], InferConfig(device="cpu"), outputs, progress=interrupt)
    shutil.copy(audio / NAMES[6], audio / NAMES[0])
    result = run(model, audio, outputs)
    assert (result.n_resumed, result.n_clips) == (4, 7)
    durations = open_scores(tmp_path / "out" / "s.h5").duration
    assert result.audio_seconds == pytest.approx(durations[[0, 5, 6]].sum())  # of what was new
    resumed = contents(tmp_path / "out")
    run(model, audio, outputs_in(tmp_path / "again"))
    assert contents(tmp_path / "again") == resumed


def test_other_settings_do_not_take_up_the_scores_of_an_interrupted_run(model, audio, tmp_path):
    outputs = outputs_in(tmp_path / "out")

    def interrupt(done: int, total: int, name: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer(model, [audio], InferConfig(device="cpu"), outputs, progress=interrupt)
    other, before = InferConfig(overlap=0.0, device="cpu"), contents(tmp_path / "out")
    with pytest.raises(OutputExistsError, match=r"unfinished run with other settings.*scoring"):
        infer(model, [audio], other, outputs)
    assert contents(tmp_path / "out") == before
    overwriting = outputs_in(tmp_path / "out", overwrite=True)
    result = infer(model, [audio], other, overwriting)
    assert result.n_resumed == 0


def test_a_dry_run_counts_everything_and_writes_nothing(model, audio, tmp_path):
    (audio / "a" / "bad.wav").write_bytes(b"RIFF")
    outputs = outputs_in(tmp_path / "out")
    plan = plan_inference(model, [audio], InferConfig(device="cpu"), outputs)
    total = sum(4_000 + 2_000 * i for i in range(7)) / 16_000
    assert (plan.n_clips, len(plan.unreadable)) == (8, 1)
    assert plan.audio_seconds == pytest.approx(total)
    assert plan.seconds > 0
    assert contents(tmp_path / "out") == {}
    assert "8 clips" in plan.lines[0]


# Faults at every operation that changes the disk


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_failing_disk_is_one_line_and_a_rerun_goes_on(model, audio, tmp_path, expected, number):
    folder, survived = tmp_path / "out", 0
    for at in range(1, 300):
        folder.mkdir(exist_ok=True)
        (folder / "s.h5").write_bytes(b"old")
        faults = Faults(at, fail(number))
        try:
            with faults.installed():
                run(model, audio, outputs_in(folder, overwrite=True))
        except ResourceError as error:
            assert str(error).isprintable()
            assert (folder / "s.h5").read_bytes() in (b"old", expected["s.h5"])
        if faults.count < at:
            break
        survived += 1
        run(model, audio, outputs_in(folder, overwrite=True))
        assert contents(folder) == expected, at
        shutil.rmtree(folder)
    assert survived > 30


def kill_campaign(model: Path, audio: Path, folder: Path) -> None:
    """Kill the run at every operation, in processes of their own, and run it again."""
    in_a_child(lambda: run(model, audio, outputs_in(folder)))
    expected = contents(folder)
    shutil.rmtree(folder)
    for at in range(1, 300):
        killed = in_a_child(lambda at=at: killed_at(at, model, audio, folder))
        for name, content in contents(folder).items():
            if name in expected:
                assert content == expected[name], f"kill {at}: {name} is broken"
        left = {name: c for name, c in contents(folder).items() if not name.endswith(".lock")}
        if killed and left != expected:  # else all was there, and it was killed while leaving
            assert in_a_child(lambda: run(model, audio, outputs_in(folder))) == 0, f"kill {at}"
            left = contents(folder)
        assert left == expected, f"kill {at}"
        shutil.rmtree(folder)
        if not killed:
            print(at - 1)
            return


def killed_at(at: int, model: Path, audio: Path, folder: Path) -> None:
    with Faults(at, lambda: os.kill(os.getpid(), signal.SIGKILL)).installed():
        run(model, audio, outputs_in(folder))


def test_a_run_killed_at_any_write_is_taken_up_and_ends_in_the_same_bytes(model, audio, tmp_path):
    # In a fresh interpreter: this one may hold threads of torch, which do not survive a fork.
    campaign = subprocess.run(
        [sys.executable, __file__, model, audio, tmp_path / "out"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert campaign.returncode == 0, campaign.stderr
    assert int(campaign.stdout) > 30  # kills


if __name__ == "__main__":
    kill_campaign(*map(Path, sys.argv[1:]))
