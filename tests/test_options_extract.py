"""Each option of `extract`: what its help says is what it does."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from sedtool.config import FEATURE_PRESETS
from sedtool.shards import Shard
from sedtool.store import open_features
from support.audio import RATE
from support.command_lines import refused, run, tries


@pytest.fixture
def audio(tiny, tmp_path):
    """A folder of two recordings."""
    folder = tmp_path / "audio"
    (folder / "a").mkdir(parents=True)
    shutil.copy(tiny.audio / "val" / "tone_16.wav", folder / "a" / "tone.wav")
    shutil.copy(tiny.audio / "val" / "noise_17.wav", folder / "noise.wav")
    return folder


@pytest.fixture
def output(tmp_path):
    return tmp_path / "f.h5"


def extracted(audio, output, *options, **how):
    run("extract", audio, "-o", output, "--overwrite", *options, **how)
    return open_features(output)


# Which audio


@tries("extract", "inputs", "--output")
def test_features_of_the_inputs_are_written_to_the_output(audio, output):
    run("extract", audio / "noise.wav", audio / "a", "-o", output)
    assert open_features(output).names == ["a/tone.wav", "noise.wav"]


@tries("extract", "--files-from")
def test_inputs_come_from_a_list(audio, output, tmp_path):
    (tmp_path / "list").write_text(f"{audio / 'noise.wav'}\n{audio / 'a'}\n")
    run("extract", "--files-from", tmp_path / "list", "-o", output)
    assert open_features(output).names == ["a/tone.wav", "noise.wav"]


@tries("extract", "--null")
def test_the_entries_of_a_list_may_end_with_nul(audio, output):
    odd = audio / "two\nlines.wav"
    (audio / "noise.wav").rename(odd)
    listed = os.fsencode(f"{odd}\0{audio / 'a'}\0")
    result = run("extract", "--files-from", "-", "--null", "-o", output, stdin=listed, exit_code=3)
    assert "1 of 2 files could not be used" in result.stderr  # a name with a line end is refused
    assert "--files-from" in refused("extract", audio, "-o", output, "-0", "--overwrite")


@tries("extract", "--root")
def test_names_are_relative_to_the_root(audio, output):
    assert extracted(audio / "a", output).names == ["tone.wav"]
    assert extracted(audio / "a", output, "--root", audio.parent).names == ["audio/a/tone.wav"]
    assert "is not under the root" in refused(
        "extract", audio, "-o", output, "--overwrite", "--root", audio / "a"
    )


@tries("extract", "--stdin-name")
def test_audio_on_stdin_is_named(audio, output):
    wave = (audio / "noise.wav").read_bytes()
    assert extracted("-", output, stdin=wave).names == ["stdin"]
    assert extracted("-", output, "--stdin-name", "x/y.wav", stdin=wave).names == ["x/y.wav"]
    refused("extract", audio, "-o", output, "--overwrite", "--stdin-name", "x.wav")
    refused("extract", "-", "-o", output, "--overwrite", "--root", audio, stdin=wave)


# What features are


@tries("extract", "--preset")
@pytest.mark.parametrize("preset", FEATURE_PRESETS)
def test_a_preset_sets_everything(audio, output, preset):
    assert extracted(audio, output, "--preset", preset).config == FEATURE_PRESETS[preset]


SETTINGS = {
    "--sample-rate": ("8000", {"sample_rate": 8_000, "fmax": 4_000.0}),
    "--n-fft": ("512", {"n_fft": 512, "win_length": 512}),
    "--win-length": ("800", {"win_length": 800}),
    "--hop-length": ("160", {"hop_length": 160}),
    "--n-mels": ("40", {"n_mels": 40}),
    "--fmin": ("50", {"fmin": 50.0}),
    "--fmax": ("7000", {"fmax": 7_000.0}),
}


@tries("extract", "--sample-rate", "--n-fft", "--win-length", "--hop-length", "--n-mels")
@tries("extract", "--fmin", "--fmax")
@pytest.mark.parametrize("option", SETTINGS)
def test_a_setting_replaces_that_of_the_preset_alone(audio, output, option):
    value, changed = SETTINGS[option]
    before, after = extracted(audio, output), extracted(audio, output, option, value)
    assert vars(after.config) == vars(before.config) | changed
    n_frames = after.config.n_frames(after.config.sample_rate)  # of one second
    assert after.data.shape == (2 * n_frames, after.config.n_mels)
    assert after.data.shape != before.data.shape or not np.array_equal(after.data, before.data)


@tries("extract", "--channel")
def test_a_channel_or_their_mean_is_taken(output, tmp_path):
    left, right = np.random.default_rng(0).uniform(-0.5, 0.5, (2, RATE))
    waves = {"0": left, "1": right, "mean": (left + right) / 2}
    soundfile.write(tmp_path / "both.wav", np.stack([left, right], 1), RATE, subtype="DOUBLE")
    for channel, wave in waves.items():
        soundfile.write(tmp_path / "one.wav", wave, RATE, subtype="DOUBLE")
        both = extracted(tmp_path / "both.wav", output, "--channel", channel)
        assert both.config.channel == channel
        assert np.array_equal(both.data, extracted(tmp_path / "one.wav", output).data)
    line = ("extract", tmp_path / "both.wav", "-o", output, "--overwrite", "--channel")
    assert "no channel 2" in refused(*line, "2", exit_code=4)
    assert "'mean' or a channel number" in refused(*line, "meen")


@tries("extract", "--dtype")
def test_features_are_stored_in_the_type_that_is_asked_for(audio, output):
    half, single = (extracted(audio, output, "--dtype", dtype).data[:] for dtype in ("f16", "f32"))
    assert (half.dtype, single.dtype) == (np.float16, np.float32)
    assert np.array_equal(single.astype(np.float16), half)


@tries("extract", "--engine", "--device")
def test_torchaudio_gives_the_same_features_on_a_device_that_is_there(audio, output):
    native = extracted(audio, output, "--dtype", "f32")
    pytest.importorskip("torchaudio")
    other = extracted(audio, output, "--dtype", "f32", "--engine", "torchaudio", "--device", "cpu")
    assert (native.engine, other.engine) == ("native", "torchaudio on cpu")
    assert np.allclose(native.data, other.data, atol=1e-3)
    line = ("extract", audio, "-o", output, "--overwrite", "--device")
    assert "torchaudio runs" in refused(*line, "cuda")  # and not the engine that is the default
    line = (*line[:-1], "--engine", "torchaudio", "--device")
    assert "cuda:99" in refused(*line, "cuda:99", exit_code=6)
    assert "use cpu, cuda, cuda:1 or mps" in refused(*line, "gpu")


@tries("extract", "--allow-truncated")
def test_truncated_files_are_used_as_far_as_they_go(audio, output):
    whole = (audio / "noise.wav").read_bytes()
    (audio / "noise.wav").write_bytes(whole[: len(whole) // 2])
    run("extract", audio, "-o", output, exit_code=3)
    assert open_features(output).names == ["a/tone.wav"]
    found = extracted(audio, output, "--allow-truncated")
    assert found.truncated.tolist() == [False, True]
    assert found.duration[1] == pytest.approx(0.5, abs=0.01)


# How the run goes


@tries("extract", "--workers")
def test_so_many_workers_change_no_byte(audio, output, monkeypatch):
    contents, given = set(), []

    class Watched(ThreadPoolExecutor):
        def __init__(self, workers):
            given.append(workers)
            super().__init__(workers)

    monkeypatch.setattr("sedtool.extraction.ThreadPoolExecutor", Watched)
    for workers in (1, 3, 256):
        extracted(audio, output, "--workers", workers)
        contents.add(output.read_bytes())
    assert given == [1, 3, 256]
    assert len(contents) == 1


@tries("extract", "--shard")
def test_a_shard_does_its_part(audio, output):
    part = extracted(audio, output, "--shard", "2/2")
    assert (part.names, part.shard) == (["noise.wav"], Shard(2, 2))
    auto = extracted(audio, output, "--shard", "auto", RANK="0", WORLD_SIZE="2")
    assert (auto.names, auto.shard) == (["a/tone.wav"], Shard(1, 2))
    stated = extracted(audio, output, "--shard", "auto/2", SLURM_ARRAY_TASK_ID="2")
    assert stated.shard == Shard(2, 2)


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("0/2", "shards are numbered from 1"),
        ("3/2", "no shard 3 of 2"),
        ("1", "I/N, auto or auto/N"),
        ("1/0", "must be 1 to 1000000"),
        ("atuo", "I/N, auto or auto/N"),
        ("-1/2", "I/N, auto or auto/N"),
    ],
)
def test_what_is_no_shard_is_refused(audio, output, shard, message):
    assert message in refused("extract", audio, "-o", output, f"--shard={shard}")


@tries("extract", "--tolerate")
@pytest.mark.parametrize(
    ("tolerated", "exit_code"),
    [("0", 3), ("1", 0), ("49%", 3), ("50%", 0), ("50.0%", 0), ("100%", 0), ("0%", 3)],
)
def test_so_many_failures_are_tolerated(audio, output, tolerated, exit_code):
    (audio / "noise.wav").write_bytes(b"")
    run("extract", audio, "-o", output, "--tolerate", tolerated, exit_code=exit_code)
    assert open_features(output).names == ["a/tone.wav"]
    assert output.with_name("f.h5.failures.tsv").exists()


@pytest.mark.parametrize("tolerated", ["-1", "1.5", "101%", "nan%", "inf%", "1e400%", "some", ""])
def test_what_is_no_number_of_failures_is_refused(audio, output, tolerated):
    assert "0% to 100%" in refused("extract", audio, "-o", output, f"--tolerate={tolerated}")


@tries("extract", "--fail-fast")
def test_the_first_failure_ends_the_run(audio, output):
    (audio / "a" / "tone.wav").write_bytes(b"")
    assert "stopped at this first failure" in refused(
        "extract", audio, "-o", output, "--fail-fast", "--tolerate", "9", exit_code=3
    )
    assert not output.exists()


@tries("extract", "--max-time")
def test_the_run_stops_after_its_time_and_the_next_goes_on(audio, output):
    for number in range(400):
        (audio / f"{number}.wav").symlink_to("noise.wav")
    stopped = run("extract", audio, "-o", output, "--max-time", "0.1s", exit_code=75)
    assert stopped.stderr.startswith("Error: stopped by --max-time; run the same command again")
    assert not output.exists()
    run("extract", audio, "-o", output)
    assert len(open_features(output).names) == 402


@tries("extract", "--dry-run")
def test_a_dry_run_writes_nothing(audio, output):
    result = run("extract", audio, "-o", output, "--dry-run")
    assert result.stderr.startswith("2 files, 2.0 s of audio")
    assert list(output.parent.iterdir()) == [audio]


@tries("extract", "--overwrite")
def test_a_finished_output_is_replaced_only_if_asked_to(audio, output):
    output.write_text("mine")
    assert "--overwrite" in refused("extract", audio, "-o", output)
    assert output.read_text() == "mine"
    run("extract", audio, "-o", output, "--overwrite")
    assert len(open_features(output).names) == 2


@tries("extract", "--update")
def test_an_update_takes_in_what_is_new(audio, output):
    run("extract", audio / "noise.wav", "--root", audio, "-o", output)
    said = run("extract", audio, "-o", output, "--update").stderr
    assert said.startswith("2 clips (1 new, 0 changed, 0 gone, 1 taken over), 1 s of audio in ")
    assert open_features(output).names == ["a/tone.wav", "noise.wav"]
