"""A dry run tells what a run would do and take, and writes nothing."""

from types import SimpleNamespace

import pytest

from sedtool import machine
from sedtool.checkpoint import save_model
from sedtool.config import ExtractConfig, InferConfig
from sedtool.errors import (
    OutputExistsError,
)
from sedtool.extraction import extract
from sedtool.inference import InferOutputs
from sedtool.planning import plan_extraction, plan_inference
from sedtool.store import open_features
from support.audio import FLAC, WAV
from support.extraction import run
from support.features import CONFIG
from support.models import new_model


@pytest.fixture
def output(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "features.h5"


def test_a_plan_tells_what_a_run_then_does_and_writes_nothing(make_clips, bad_files, output):
    folder = make_clips(9).parent
    before = sorted(folder.rglob("*"))
    plan = plan_extraction([folder], output, CONFIG, ExtractConfig(workers=2))
    assert sorted(folder.rglob("*")) == before
    result = run(folder, output, workers=2)
    features = open_features(output)
    assert plan.n_clips == result.n_files
    assert plan.audio_seconds >= result.audio_seconds > 0  # headers of what then fails count
    failed = dict(features.failures)
    assert set(plan.unreadable) <= set(failed.items())
    stated = [name for name in failed if name not in dict(plan.unreadable)]
    assert all(name.startswith("bad/") for name in stated)
    assert plan.seconds is not None and plan.seconds < 60
    lines = plan.lines
    assert lines[0].startswith(f"{plan.n_clips} files, ")
    assert lines[1].startswith(f"{len(plan.unreadable)} of them cannot be used (bad/")
    assert lines[-1].startswith("about ") and " with 2 workers, " in lines[-1]
    assert all(line.isprintable() for line in lines)


def test_the_sizes_of_a_plan_are_those_of_the_output(make_clips, output):
    folder = make_clips(9)
    plan = plan_extraction([folder], output, CONFIG)
    result = run(folder, output)
    features = open_features(output)
    assert f"{len(features.data)} frames, " in str(plan)
    assert plan.audio_seconds == pytest.approx(result.audio_seconds)
    assert plan.disk_needed == pytest.approx(2 * output.stat().st_size, rel=0.3)


def test_a_plan_counts_what_an_interrupted_run_has_done(make_clips, output):
    folder = make_clips(8)

    def interrupt(done: int, total: int, name: str) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract([folder], output, CONFIG, progress=interrupt)
    plan = plan_extraction([folder], output, CONFIG)
    assert plan.n_done == 6
    assert "6 are done by an interrupted run" in str(plan)
    (folder / "another.wav").write_bytes(WAV)
    for other in ({}, {"shard": "1/2"}, {"dtype": "f32"}):
        with pytest.raises(OutputExistsError, match=r"differs in: .*--overwrite"):
            plan_extraction([folder], output, CONFIG, ExtractConfig(**other))
        dropped = ExtractConfig(**other, overwrite=True)
        assert plan_extraction([folder], output, CONFIG, dropped).n_done == 0


def test_a_plan_of_a_shard_is_about_its_files(make_clips, output):
    plan = plan_extraction([make_clips(5)], output, CONFIG, ExtractConfig(shard="2/2"))
    assert plan.n_clips == 2


def test_a_plan_without_a_usable_file_knows_no_time(make_clips, bad_files, output):
    plan = plan_extraction([bad_files["empty.wav"]], output, CONFIG)
    assert plan.seconds is None
    assert "an unknown time" in str(plan) and "\n0 frames, " in str(plan)


def test_a_plan_counts_the_files_that_do_not_state_their_length(make_clips, output, tmp_path):
    header = FLAC[:21] + bytes([FLAC[21] & 0xF0, 0, 0, 0, 0]) + FLAC[26:]
    (tmp_path / "piped.flac").write_bytes(header)
    plan = plan_extraction([tmp_path / "piped.flac", make_clips(1)], output, CONFIG)
    assert "and 1 that do not say" in plan.lines[0]


def test_a_plan_refuses_what_the_run_would_refuse(make_clips, output):
    output.write_text("old")
    with pytest.raises(OutputExistsError):
        plan_extraction([make_clips(1)], output, CONFIG)


@pytest.fixture
def model(tmp_path):
    save_model(tmp_path / "m.safetensors", new_model())
    return tmp_path / "m.safetensors"


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_memory_is_in_bytes_on_every_platform(
    make_clips, model, output, monkeypatch, platform, unit
):
    usage = SimpleNamespace(ru_maxrss=3 * 10**9 // unit)  # KiB on Linux, bytes on macOS
    monkeypatch.setattr(machine.resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(machine, "sys", SimpleNamespace(platform=platform))
    folder = make_clips(1)
    inference = plan_inference(model, [folder], InferConfig(device="cpu"), InferOutputs())
    assert inference.memory == pytest.approx(3e9, rel=1e-6)
    assert plan_extraction([folder], output, CONFIG).memory == pytest.approx(3e9, rel=0.01)


def test_a_plan_of_many_files_looks_at_some_of_them(make_clips, output, monkeypatch):
    folder = make_clips(9)
    whole = plan_extraction([folder], output, CONFIG)
    monkeypatch.setattr("sedtool.planning.MOST_HEADERS", 4)
    plan = plan_extraction([folder], output, CONFIG)
    assert plan.n_clips == whole.n_clips
    assert plan.audio_seconds == pytest.approx(whole.audio_seconds, rel=0.5)
    assert plan.lines[0].endswith(", as one in 3 says: only these were looked at")
