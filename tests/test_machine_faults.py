"""What fails because of the machine ends a run with exit code 6, and is no recording's fault."""

import errno
import itertools
import os

import numpy as np
import pytest

from sedtool.audio import AudioReader, write_wav
from sedtool.errors import AudioError, ResourceError
from support.command_lines import refused, run, save_small_model


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "rec"
    folder.mkdir()
    for number in range(6):
        wave = np.random.default_rng(number).uniform(-0.5, 0.5, 16_000)
        write_wav(folder / f"{number}.wav", wave, 16_000)
    return folder


@pytest.fixture
def model(tmp_path):
    return save_small_model(tmp_path / "m.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["extract", "infer", "check"])
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EMFILE, "Too many open files; raise `ulimit -n`, or give fewer --workers"),
        (errno.EIO, "Input/output error"),
        (errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_what_the_machine_is_to_blame_for_ends_a_run_that_a_rerun_completes(
    recordings, model, tmp_path, monkeypatch, command, number, said
):
    out = tmp_path / ("out.tsv" if command == "infer" else "out.h5")
    words = {
        "extract": ("extract", recordings, "-o", out, "--tolerate", "100%"),
        "infer": ("infer", model, recordings, "-o", out, "--tolerate", "100%"),
        "check": ("check", recordings, "--decode"),
    }[command]
    check_file, calls = AudioReader._check_file, itertools.count()

    def failing(self):
        if next(calls) > 3:
            raise OSError(number, os.strerror(number))
        return check_file(self)

    with monkeypatch.context() as patch:
        patch.setattr(AudioReader, "_check_file", failing)
        assert said in refused(*words, exit_code=6)
    left = {path.name for path in tmp_path.iterdir()} - {"rec", "m.safetensors"}
    assert left == {f"{out.name}.{kind}" for kind in ("journal", "spool") if command != "check"}
    run(*words)
    assert not out.with_name(f"{out.name}.failures.tsv").exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_disk_that_fails_is_not_the_end_of_a_recording(recordings, monkeypatch, number):
    path = recordings / "0.wav"
    path.write_bytes(path.read_bytes()[:-9000])  # as much as libsndfile sees of it

    def failing(*_):
        raise OSError(number, os.strerror(number))

    with pytest.raises(AudioError, match="truncated"), AudioReader(path, None) as reader:
        list(reader)
    monkeypatch.setattr(os, "pread", failing)
    with pytest.raises(ResourceError, match="cannot be read"), AudioReader(path, None) as reader:
        list(reader)
