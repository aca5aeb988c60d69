"""Extraction ends in the same bytes whatever happens on the way, and leaves bad files out."""

import contextlib
import errno
import io
import logging
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import BAD_FILES

from sedtool import extraction
from sedtool.audio import read
from sedtool.config import FEATURE_PRESETS, FeatureConfig
from sedtool.errors import (
    AudioError,
    ConfigError,
    NothingUsableError,
    OutputExistsError,
    ResourceError,
)
from sedtool.extraction import extract
from sedtool.features import log_mel
from sedtool.store import open_features

ESC10 = Path(__file__).parents[2] / "shared" / "data" / "esc10"
CONFIG = FeatureConfig(
    sample_rate=8_000, n_fft=256, win_length=256, hop_length=200, n_mels=16, fmax=4e3
)


@pytest.fixture
def output(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "features.h5"


def beside(output: Path) -> list[str]:
    return sorted(path.name for path in output.parent.iterdir())


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
    extract([folder], output, CONFIG, dtype="f32")
    native = np.array(open_features(output).data)
    extract([folder], output, CONFIG, dtype="f32", engine="torchaudio", overwrite=True)
    assert native.dtype == np.float32
    assert np.abs(open_features(output).data - native).max() < 1e-4


def test_the_number_of_workers_changes_no_byte(make_clips, output):
    folder = make_clips(9)
    contents = []
    for workers in (1, 2, 5):
        extract([folder], output, CONFIG, workers=workers, overwrite=True)
        contents.append(output.read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_the_place_of_the_audio_changes_no_byte(make_clips, output):
    here = make_clips()
    there = here.with_name("there")
    shutil.copytree(here, there)
    extract([here], output, CONFIG)
    first = output.read_bytes()
    extract([there], output, CONFIG, overwrite=True)
    assert output.read_bytes() == first


def test_progress_counts_every_file_once(make_clips, bad_files, output):
    seen: list[tuple[int, int, str]] = []
    folder = make_clips().parent
    extract([folder], output, CONFIG, workers=2, progress=lambda *report: seen.append(report))
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
    extract([folder], output, CONFIG, workers=2, overwrite=True)
    assert output.read_bytes() == first


def test_few_clips_are_in_hand_at_a_time(make_clips, output, monkeypatch):
    """However many are waiting: memory is bounded by the number of workers."""
    in_hand, most, lock = 0, 0, threading.Lock()
    extract_one, collect = extraction._extract_one, extraction._collect

    def counted(*args):
        nonlocal in_hand, most
        with lock:
            in_hand += 1
            most = max(most, in_hand)
        return extract_one(*args)

    def collected(*args):
        nonlocal in_hand
        collect(*args)
        with lock:
            in_hand -= 1

    monkeypatch.setattr(extraction, "_extract_one", counted)
    monkeypatch.setattr(extraction, "_collect", collected)
    extract([make_clips(30)], output, CONFIG, workers=3)
    assert most <= 6


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
    result = extract([folder], output, CONFIG, workers=2, overwrite=True, root=folder)
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
    extract([folder], output, CONFIG, overwrite=True)
    assert beside(output) == ["features.h5"]


def test_features_that_are_not_finite_are_an_error():
    with pytest.raises(AudioError, match="not finite"):
        extraction._as_stored(np.array([[1e6]], np.float32), "<f2")
    with pytest.raises(AudioError, match="not finite"):
        extraction._as_stored(np.array([[-np.inf]], np.float32), "<f4")
    assert extraction._as_stored(np.array([[1e4]], np.float32), "<f2") == np.float16(1e4).tobytes()


def test_the_loudest_audio_there_can_be_fits_float16(output, tmp_path):
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.full(20_000, 9_999.0), 16_000, subtype="FLOAT")
    for config in FEATURE_PRESETS.values():
        extract([path], output, config, overwrite=True)
        assert np.isfinite(open_features(output).data).all()


# Refusals


def test_a_complete_output_is_refused_before_anything_is_read(output):
    output.write_text("old")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        extract([Path("nowhere")], output, CONFIG)
    assert output.read_text() == "old"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be at least 1"),
        ({"engine": "fast"}, "engine must be native or torchaudio"),
        ({"dtype": "f64"}, "dtype must be one of f16, f32"),
        ({"config": FeatureConfig(resampler="linear")}, "resampler must be 'soxr HQ'"),
    ],
)
def test_options_out_of_range_are_refused(make_clips, output, options, message):
    with pytest.raises(ConfigError, match=message):
        extract([make_clips()], output, **({"config": CONFIG} | options))
    assert beside(output) == []


# Faults. A fault hits the n-th operation that changes the disk, for every n.


class Faults:
    """Counts the operations that change the disk, and calls `strike` at one of them."""

    def __init__(self, at: int, strike) -> None:
        self.at, self.strike, self.count = at, strike, 0

    def step(self, half_done=lambda: None) -> None:
        self.count += 1
        if self.count == self.at:
            half_done()
            self.strike()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            opened = io.open
            patch.setattr(io, "open", lambda *a, **k: self.wrapped(opened(*a, **k)))
            for name in ("fsync", "replace", "unlink", "truncate", "ftruncate"):
                patch.setattr(os, name, self.counted(getattr(os, name)))
            yield

    def counted(self, function):
        def call(*args, **kwargs):
            self.step()
            return function(*args, **kwargs)

        return call

    def wrapped(self, stream):
        return FaultyStream(stream, self) if stream.writable() else stream


class FaultyStream:
    """A file whose n-th write is half done when the fault strikes."""

    def __init__(self, stream, faults: Faults) -> None:
        self.stream, self.faults = stream, faults

    def write(self, data) -> int:
        def half():
            self.stream.write(bytes(data)[: len(data) // 2])
            self.stream.flush()

        self.faults.step(half)
        return self.stream.write(data)

    def truncate(self, size: int) -> int:
        self.faults.step()
        return self.stream.truncate(size)

    def __getattr__(self, name: str):
        return getattr(self.stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *args) -> None:
        self.stream.close()


def run(folder: Path, output: Path) -> None:
    extract([folder], output, CONFIG, overwrite=True)


def fail(number: int):
    def strike():
        raise OSError(number, os.strerror(number))

    return strike


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_failing_disk_is_one_line_the_old_output_stays_and_a_rerun_goes_on(
    make_clips, output, number
):
    folder = make_clips(3)
    (folder / "bad.wav").write_bytes(b"")
    run(folder, output)
    expected = output.read_bytes()
    survived = 0
    for at in range(1, 200):
        output.write_text("old")
        faults = Faults(at, fail(number))
        try:
            with faults.installed():
                run(folder, output)
        except ResourceError as error:
            assert str(error).isprintable()
            # Only what follows the rename may fail after it: tidying up.
            assert output.read_bytes() in (b"old", expected)
            assert not list(output.parent.glob(".*"))
        else:
            assert output.read_bytes() == expected
        if faults.count < at:
            break
        survived += 1
        run(folder, output)
        assert output.read_bytes() == expected
        assert beside(output) == ["features.h5", "features.h5.failures.tsv"]
    assert survived > 15


def kill_campaign(folder: Path, output: Path) -> None:
    """Kill the run at every operation, in processes of their own, and run it again."""
    reference = output.with_name("reference.h5")
    in_a_child(lambda: run(folder, reference))
    expected = reference.read_bytes()
    for at in range(1, 200):
        output.unlink(missing_ok=True)
        killed = in_a_child(lambda at=at: killed_at(at, folder, output))
        if output.exists():
            assert output.read_bytes() == expected, f"kill {at}: a broken output"
        assert in_a_child(lambda: run(folder, output)) == 0, f"kill {at}: the rerun failed"
        assert output.read_bytes() == expected, f"kill {at}: other bytes"
        names = sorted(path.name for path in output.parent.iterdir())
        assert names == ["features.h5", "reference.h5"], f"kill {at}: left {names}"
        if not killed:
            print(at - 1)
            return


def killed_at(at: int, folder: Path, output: Path) -> None:
    with Faults(at, lambda: os.kill(os.getpid(), signal.SIGKILL)).installed():
        run(folder, output)


def in_a_child(function) -> int:
    """Return the exit status of a function run in a process of its own; 0 if it returned."""
    child = os.fork()
    if not child:
        try:
            function()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def test_a_run_killed_at_any_write_is_taken_up_and_ends_in_the_same_bytes(make_clips, output):
    # In a fresh interpreter: this one may hold threads of torch, which do not survive a fork.
    folder = make_clips(3)
    campaign = subprocess.run(
        [sys.executable, __file__, folder, output], capture_output=True, text=True, check=False
    )
    assert campaign.returncode == 0, campaign.stderr
    assert int(campaign.stdout) > 15  # kills


def test_an_interrupt_leaves_finished_clips_to_the_next_run(make_clips, output, caplog):
    folder = make_clips(8)
    run(folder, output)
    expected = output.read_bytes()
    output.unlink()

    def interrupt(done: int, total: int, name: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract([folder], output, CONFIG, workers=2, progress=interrupt)
    assert beside(output) == ["features.h5.journal", "features.h5.spool"]
    with caplog.at_level(logging.INFO, logger="sedtool"):
        result = extract([folder], output, CONFIG)
    assert (result.n_resumed, result.n_clips) == (4, 8)
    assert "4 of 8 clips are done" in caplog.text
    assert output.read_bytes() == expected


def test_a_file_that_changed_since_the_interruption_is_done_again(make_clips, output):
    folder = make_clips(3)

    def interrupt(done: int, total: int, name: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract([folder], output, CONFIG, progress=interrupt)
    soundfile.write(folder / "a" / "000.wav", np.linspace(-0.1, 0.1, 5_000), 16_000)
    (folder / "b" / "001.flac").write_bytes(b"")
    result = extract([folder], output, CONFIG)
    assert (result.n_resumed, result.n_clips, len(result.failures)) == (1, 2, 1)
    resumed = output.read_bytes()
    run(folder, output)
    assert output.read_bytes() == resumed


def test_a_second_run_on_the_same_output_stops_at_once(make_clips, output):
    folder = make_clips(6)

    def second(done: int, total: int, name: str) -> None:
        with pytest.raises(ResourceError, match="another sedtool is making"):
            extract([folder], output, CONFIG)

    assert extract([folder], output, CONFIG, progress=second).n_clips == 6


@pytest.mark.skipif(not ESC10.is_dir(), reason="the ESC-10 recordings are not there")
def test_real_recordings_are_extracted_alike_by_any_number_of_workers(output):
    inputs = sorted(ESC10.glob("*/*.ogg"))[:12]
    result = extract(inputs, output, FEATURE_PRESETS["dcase2017"], root=ESC10)
    assert (result.n_clips, result.failures) == (12, [])
    first = output.read_bytes()
    extract(inputs, output, FEATURE_PRESETS["dcase2017"], root=ESC10, workers=3, overwrite=True)
    assert output.read_bytes() == first


if __name__ == "__main__":
    kill_campaign(Path(sys.argv[1]), Path(sys.argv[2]))
