"""Extraction ends in the same bytes whatever happens on the way, and leaves bad files out."""

import os
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sedtool import extraction
from sedtool.audio import find, read
from sedtool.cli import cli
from sedtool.config import FEATURE_PRESETS, ExtractConfig, FeatureConfig
from sedtool.errors import (
    AudioError,
    ConfigError,
    InputsFailedError,
    NothingUsableError,
    OutputExistsError,
)
from sedtool.extraction import extract
from sedtool.features import log_mel
from sedtool.planning import plan_extraction
from sedtool.shards import Shard
from sedtool.store import open_features
from support.audio import BAD_FILES, FLAC, OGG, WAV
from support.extraction import beside, run
from support.features import CONFIG
from support.published import ESC10


@pytest.fixture
def output(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "features.h5"


# What comes out


@pytest.mark.parametrize("preset", sorted(FEATURE_PRESETS))
def test_the_output_holds_the_features_of_every_clip(make_clips, output, preset):
    folder, config = make_clips(), FEATURE_PRESETS[preset]
    result = extract([folder], output, config)
    features = open_features(output)
    assert features.config == config
    assert features.names == ["a/000.wav", "a/002.ogg", "a/004.wav", "b/001.flac", "b/003.aiff"]
    for i, name in enumerate(features.names):
        expected = log_mel(read(folder / name, config.sample_rate), config)
        assert np.array_equal(features.clip(i), expected.astype(np.float16))
        assert features.duration[i] == soundfile.info(folder / name).duration
    assert (result.n_clips, result.n_resumed, result.failures) == (5, 0, [])
    assert result.audio_seconds == pytest.approx(features.duration.sum())
    assert beside(output) == ["features.h5"]


def test_the_engine_of_torchaudio_gives_the_same_features(make_clips, output):
    folder = make_clips()
    run(folder, output, dtype="f32")
    native = np.array(open_features(output).data)
    run(folder, output, dtype="f32", engine="torchaudio")
    assert native.dtype == np.float32
    assert np.abs(open_features(output).data - native).max() < 1e-4


def test_the_number_of_workers_changes_no_byte(make_clips, output):
    folder = make_clips(9)
    contents = []
    for workers in (1, 2, 5):
        run(folder, output, workers=workers)
        contents.append(output.read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_the_place_of_the_audio_changes_no_byte(make_clips, output):
    here = make_clips()
    there = here.with_name("there")
    shutil.copytree(here, there)
    extract([here], output, CONFIG)
    first = output.read_bytes()
    run(there, output)
    assert output.read_bytes() == first


def test_progress_counts_every_file_once(make_clips, bad_files, output):
    seen: list[tuple[int, int, str]] = []
    folder = make_clips().parent
    settings = ExtractConfig(workers=2)
    extract([folder], output, CONFIG, settings, progress=lambda *report: seen.append(report))
    total = 5 + len(bad_files)
    assert [done for done, _, _ in seen] == list(range(1, total + 1))
    assert {total for _, total, _ in seen} == {total}
    assert len({name for _, _, name in seen}) == total


def test_clips_that_do_not_fit_in_memory_go_through_the_disk(make_clips, output, monkeypatch):
    folder = make_clips()
    extract([folder], output, CONFIG)
    first = output.read_bytes()
    monkeypatch.setattr(extraction, "IN_MEMORY", 1000)
    monkeypatch.setattr(extraction, "CHUNK_SIZE", 77)
    run(folder, output, workers=2)
    assert output.read_bytes() == first


def test_few_clips_are_in_hand_at_a_time(make_clips, output, monkeypatch):
    """However many are waiting: memory is bounded by the number of workers."""
    in_hand, most, lock = 0, 0, threading.Lock()
    extract_clip, collect = extraction.extract_clip, extraction._Extraction._collect

    def counted(*args):
        nonlocal in_hand, most
        with lock:
            in_hand += 1
            most = max(most, in_hand)
        return extract_clip(*args)

    def collected(*args):
        nonlocal in_hand
        collect(*args)
        with lock:
            in_hand -= 1

    monkeypatch.setattr(extraction, "extract_clip", counted)
    monkeypatch.setattr(extraction._Extraction, "_collect", collected)
    run(make_clips(30), output, workers=3)
    assert most <= 6


@pytest.mark.slow
def test_an_hour_costs_no_more_memory_than_a_minute(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from sedtool.config import *; "
        "from sedtool.extraction import extract; "
        "extract([Path(sys.argv[1])], Path(sys.argv[2]), FeatureConfig()); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for seconds in (60, 3_600):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, np.zeros(0), 16_000)
        n_bytes = seconds * 32_000
        with path.open("r+b") as file:  # silence, as a hole in the file
            file.seek(4)
            file.write(struct.pack("<I", 36 + n_bytes))
            file.seek(40)
            file.write(struct.pack("<I", n_bytes))
            file.truncate(44 + n_bytes)
        arguments = [sys.executable, "-c", code, path, tmp_path / f"{seconds}.h5"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)  # MiB
        assert "silent throughout" in done.stderr
    assert peaks[1] < peaks[0] + 40  # the samples alone are 230 MB


# Bad files


def test_bad_files_are_left_out_and_named_and_change_no_other(make_clips, bad_files, output):
    extract([make_clips()], output, CONFIG)
    alone = open_features(output)
    folder = make_clips().parent
    settings = ExtractConfig(workers=2, overwrite=True)
    result = extract([folder], output, CONFIG, settings, root=folder)
    features = open_features(output)
    assert features.names == [f"clips/{name}" for name in alone.names]
    assert np.array_equal(features.data, alone.data)
    assert [name for name, _, _ in result.failures] == sorted(f"bad/{name}" for name in bad_files)
    assert {stage for _, stage, _ in result.failures} == {"extract"}
    assert features.failures == [(name, error) for name, _, error in result.failures]
    rows = output.with_name("features.h5.failures.tsv").read_text().splitlines()
    assert rows[0] == "filename\tstage\terror"
    assert [tuple(row.split("\t")) for row in rows[1:]] == result.failures
    assert str(folder) not in "".join(rows)
    assert result.failures_path == output.with_name("features.h5.failures.tsv")


@pytest.mark.parametrize("name", [*BAD_FILES, "fifo.wav", "broken link.wav", "loop.wav"])
def test_a_bad_file_alone_leaves_nothing_usable(bad_files, output, name):
    with pytest.raises(NothingUsableError, match="none of 1 files can be used") as caught:
        extract([bad_files[name]], output, FeatureConfig())
    assert str(caught.value).isprintable()
    assert beside(output) == ["features.h5.failures.tsv"]


def test_names_that_no_tsv_would_keep_are_refused_by_name(make_clips, output):
    folder = make_clips(1)
    content = (folder / "a" / "000.wav").read_bytes()
    strange = [b"a\nb.wav", b"\x1b[31m.wav", b"latin-\xe9.wav", b" space.wav"]
    for name in strange:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content)
    result = extract([folder], output, CONFIG)
    assert result.n_clips == 1
    assert [name for name, _, _ in result.failures] == [
        *(r" space.wav", r"\x1b[31m.wav", r"a\nb.wav", r"latin-\udce9.wav")
    ]
    table = output.with_name("features.h5.failures.tsv").read_text()
    assert len(table.splitlines()) == 5
    assert all(c.isprintable() or c in "\t\n" for c in table)
    open_features(output)


def test_the_list_of_failures_goes_when_nothing_fails_any_more(make_clips, output):
    folder = make_clips(2)
    bad = folder / "bad.wav"
    bad.write_bytes(b"")
    extract([folder], output, CONFIG)
    assert beside(output) == ["features.h5", "features.h5.failures.tsv"]
    bad.unlink()
    run(folder, output)
    assert beside(output) == ["features.h5"]


def test_features_that_are_not_finite_are_an_error():
    with pytest.raises(AudioError, match="not finite"):
        extraction.as_stored(np.array([[1e6]], np.float32), "<f2")
    with pytest.raises(AudioError, match="not finite"):
        extraction.as_stored(np.array([[-np.inf]], np.float32), "<f4")
    with pytest.raises(AudioError, match="not finite"):
        extraction.as_stored(np.array([[0, np.nan, 1]], np.float32), "<f2")
    assert extraction.as_stored(np.array([[1e4]], np.float32), "<f2") == np.float16(1e4).tobytes()


def test_the_loudest_audio_there_can_be_fits_float16(output, tmp_path):
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.full(20_000, 9_999.0), 16_000, subtype="FLOAT")
    for config in FEATURE_PRESETS.values():
        extract([path], output, config, ExtractConfig(overwrite=True))
        assert np.isfinite(open_features(output).data).all()


def test_failing_fast_stops_at_the_first_bad_file_and_keeps_the_clips_before_it(make_clips, output):
    folder = make_clips(4)
    (folder / "a" / "001 bad.wav").write_bytes(b"")
    with pytest.raises(InputsFailedError, match=r"a/001 bad\.wav: the file is empty; .* 1 of 5"):
        run(folder, output, fail_fast=True)
    assert beside(output) == ["features.h5.journal", "features.h5.spool"]
    (folder / "a" / "001 bad.wav").unlink()
    assert run(folder, output, fail_fast=True).n_clips == 4


def test_without_failing_fast_the_same_run_ends_and_counts_what_failed(make_clips, output):
    folder = make_clips(4)
    (folder / "a" / "001 bad.wav").write_bytes(b"")
    result = run(folder, output)
    assert (result.n_files, result.n_clips, len(result.failures)) == (5, 4, 1)
    assert str(result).startswith("4 clips, 1 failed, 1 s of audio in ")


# Truncated files


@pytest.fixture
def truncated(tmp_path):
    """A folder of three files that were cut, a whole one, and one that has a hole."""
    folder = tmp_path / "truncated"
    folder.mkdir()
    hole = OGG[: len(OGG) // 3] + OGG[len(OGG) // 3 + 100 :]
    files = {"cut.flac": FLAC[:-9_000], "cut.ogg": OGG[:-1_000], "cut.wav": WAV[:-10_000]}
    for name, content in {**files, "hole.ogg": hole, "whole.wav": WAV}.items():
        (folder / name).write_bytes(content)
    return folder


def test_truncated_files_are_refused_unless_they_are_allowed(truncated, output):
    result = run(truncated, output)
    assert open_features(output).names == ["whole.wav"]
    assert (len(result.failures), result.n_truncated) == (4, 0)


def test_truncated_files_that_are_allowed_are_marked_and_named(truncated, output, caplog):
    result = run(truncated, output, allow_truncated=True)
    features = open_features(output)
    assert features.names == ["cut.flac", "cut.ogg", "cut.wav", "whole.wav"]
    assert features.truncated.tolist() == [True, True, True, False]
    assert [name for name, _, _ in result.failures] == ["hole.ogg"]
    assert result.n_truncated == 3
    assert "4 clips, 3 truncated, 1 failed" in str(result)
    named = [record.getMessage() for record in caplog.records]
    assert features.names[:3] == sorted(message.partition(": ")[0] for message in named)
    seconds = (len(WAV) - 44 - 10_000) / 2 / 22_050
    assert features.duration[2] == pytest.approx(seconds)


def test_truncated_features_are_the_beginning_of_whole_ones(truncated, output):
    run(truncated, output, allow_truncated=True, dtype="f32")
    features = open_features(output)
    whole = features.clip(features.names.index("whole.wav"))
    cut = features.clip(features.names.index("cut.wav"))
    n_same = len(cut) - 2  # the last frames see the reflection at the end
    assert 0 < len(cut) < len(whole)
    assert np.abs(cut[:n_same] - whole[:n_same]).max() < 0.01  # the resampler sees the end, too


# Shards


def test_every_file_is_in_exactly_one_shard_under_its_own_name(make_clips, output):
    folder = make_clips(8)
    (folder / "a" / "bad.wav").write_bytes(b"")
    run(folder, output)
    whole = open_features(output)
    found: dict[str, np.ndarray] = {}
    for number in (1, 2, 3):
        part = output.with_name(f"{number}.h5")
        result = run(folder, part, shard=f"{number}/3")
        features = open_features(part)
        assert result.n_files == 3
        assert features.shard == Shard(number, 3)
        assert features.manifest_sha256 == whole.manifest_sha256
        for i, name in enumerate(features.names):
            assert name not in found
            found[name] = features.clip(i)
        assert [name for name, _ in features.failures] == ["a/bad.wav"] * (number == 2)
    assert sorted(found) == whole.names
    for i, name in enumerate(whole.names):
        assert np.array_equal(found[name], whole.clip(i))


def test_only_the_files_of_a_shard_are_read(make_clips, output):
    folder = make_clips(6)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*"))
    for name in names[1::2]:
        (folder / name).write_bytes(b"")
    result = run(folder, output, shard="1/2")
    assert (result.n_clips, result.failures) == (3, [])


@pytest.mark.parametrize(("number", "n_failed"), [(2, 1), (3, 0)])
def test_a_shard_without_a_usable_file_is_an_output_without_clips(
    make_clips, output, number, n_failed
):
    """Else the parts could not be merged."""
    folder = make_clips(1)
    (folder / "b.wav").write_bytes(b"")
    result = run(folder, output, shard=f"{number}/3")
    assert (result.n_clips, len(result.failures)) == (0, n_failed)
    features = open_features(output)
    assert (features.names, features.shard) == ([], Shard(number, 3))
    assert len(features.failures) == n_failed


def test_a_shard_of_the_environment_is_refused_if_a_part_beside_says_otherwise(
    make_clips, output, monkeypatch
):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    folder = make_clips(4)
    run(folder, output.with_name("1.h5"), shard="1/3")
    for work in (extract, plan_extraction):
        with pytest.raises(ConfigError, match="one of 3 shards, not of 1; state it: auto/3"):
            work([folder], output, CONFIG, ExtractConfig(shard="auto"))
    assert run(folder, output).n_clips == 4


# Refusals


def test_a_complete_output_is_refused_before_anything_is_read(output):
    output.write_text("old")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        extract([Path("nowhere")], output, CONFIG)
    assert output.read_text() == "old"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, r"workers must be in \[1, 256\], not 0"),
        ({"engine": "fast"}, "engine must be one of native, torchaudio, not 'fast'"),
        ({"dtype": "f64"}, "dtype must be one of f16, f32"),
    ],
)
def test_options_out_of_range_are_refused(make_clips, output, options, message):
    with pytest.raises(ConfigError, match=message):
        run(make_clips(), output, **options)
    assert beside(output) == []


def test_another_resampler_is_refused(make_clips, output):
    with pytest.raises(ConfigError, match="resampler must be 'soxr HQ'"):
        extract([make_clips()], output, FeatureConfig(resampler="linear"))


@pytest.mark.skipif(not ESC10.is_dir(), reason="the ESC-10 recordings are not there")
def test_real_recordings_are_extracted_alike_by_any_number_of_workers(output):
    inputs = sorted(ESC10.glob("*/*.ogg"))[:12]
    result = extract(inputs, output, FEATURE_PRESETS["dcase2017"], root=ESC10)
    assert (result.n_clips, result.failures) == (12, [])
    first = output.read_bytes()
    settings = ExtractConfig(workers=3, overwrite=True)
    extract(inputs, output, FEATURE_PRESETS["dcase2017"], settings, root=ESC10)
    assert output.read_bytes() == first


# The command


def command(*arguments):
    return CliRunner().invoke(cli, ["extract", *map(str, arguments)])


@pytest.fixture
def one_of_four_bad(make_clips):
    folder = make_clips(3)
    (folder / "bad.wav").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("options", "exit_code"),
    [
        ((), 3),
        (("--tolerate", "1"), 0),
        (("--tolerate", "25%"), 0),
        (("--tolerate", "24%"), 3),
        (("--tolerate", "x"), 2),
    ],
)
def test_the_command_fails_if_more_files_failed_than_are_tolerated(
    one_of_four_bad, output, options, exit_code
):
    result = command(one_of_four_bad, "-o", output, *options)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    if exit_code != 2:
        assert "3 clips, 1 failed, 1 s of audio in " in result.stderr
        assert f"-> {output}; next: sedtool train -o RUN --features {output}" in result.stderr
        assert open_features(output).names == ["a/000.wav", "a/002.ogg", "b/001.flac"]


def test_the_command_stops_at_the_first_failure_if_asked_to(one_of_four_bad, output):
    result = command(one_of_four_bad, "-o", output, "--fail-fast", "--tolerate", "9")
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert "bad.wav: the file is empty; stopped at this first failure" in result.stderr
    assert not output.exists()


def test_the_command_makes_a_part_and_says_how_to_merge(make_clips, output):
    result = command(make_clips(4), "-o", output, "--shard", "2/3")
    assert result.exit_code == 0
    assert "1 clips, 0 s of audio in " in result.stderr
    assert f"; next: sedtool merge {output.parent} -o features.h5" in result.stderr
    assert open_features(output).shard == Shard(2, 3)


def test_a_part_whose_files_all_failed_is_written_and_the_command_fails(make_clips, output):
    (make_clips(1) / "b.wav").write_bytes(b"")
    result = command(make_clips(1), "-o", output, "--shard", "2/2")
    assert result.exit_code == 3
    assert open_features(output).names == []


def test_shards_are_counted_from_1(make_clips, output):
    result = command(make_clips(1), "-o", output, "--shard", "0/3")
    assert result.exit_code == 2
    assert "shards are numbered from 1: 1/3 to 3/3" in result.stderr


def test_the_command_takes_truncated_files_if_asked_to(truncated, output):
    assert command(truncated / "cut.wav", "-o", output).exit_code == 4
    result = command(truncated / "cut.wav", "-o", output, "--allow-truncated")
    assert result.exit_code == 0
    assert "1 clips, 1 truncated" in result.stderr


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(one_of_four_bad, output):
    result = command(one_of_four_bad, "-o", output, "--dry-run")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[0].startswith("4 files, 0.8 s of audio")
    assert "1 of them cannot be used (bad.wav: the file is empty)" in result.stderr
    assert beside(output) == []


def test_the_options_have_the_defaults_of_the_settings():
    options = {option.name: option.default for option in cli.get_command(None, "extract").params}
    for name in ("workers", "engine", "device", "dtype"):
        assert options[name] == getattr(ExtractConfig(), name)


@pytest.mark.parametrize("name", ["x.wav", "x.FLAC", "x.snd"])
def test_an_output_named_as_audio_is_refused(make_clips, name):
    folder = make_clips(2)
    before = sorted(folder.iterdir())
    for make in (extract, plan_extraction):
        with pytest.raises(ConfigError, match="is named as audio is"):
            make([folder], folder / name, CONFIG, ExtractConfig(overwrite=True))
    assert sorted(folder.iterdir()) == before


def test_an_output_that_is_an_input_is_refused(make_clips, tmp_path):
    recording = next(make_clips(1).rglob("*.wav")).rename(tmp_path / "recording")
    content = recording.read_bytes()
    for make in (extract, plan_extraction):
        with pytest.raises(ConfigError, match="recording is an input"):
            make([recording], recording, CONFIG, ExtractConfig(overwrite=True))
    assert recording.read_bytes() == content


def test_the_summary_counts_what_was_passed_over(make_clips, output, monkeypatch):
    monkeypatch.setattr(find, "has_av", lambda: False)
    folder = make_clips(2)
    (folder / "b.m4a").touch()
    (folder / "c.amr").touch()
    result = run(folder, output)
    assert str(result).startswith("2 clips, 2 passed over, ")
