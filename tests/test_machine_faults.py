"""What fails because of the machine ends a run with exit code 6, and is no recording's fault."""

import errno
import itertools
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from sedtool.audio import AudioReader, write_wav
from sedtool.errors import AudioError, ConfigError, ResourceError, as_sedtool_error
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


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (RuntimeError("can't start new thread"), ResourceError, "give fewer --workers"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), ResourceError, "a/b: Permiss"),
        (OSError(errno.EMFILE, "Too many open files", "a"), ResourceError, "raise `ulimit -n`"),
        (OSError(errno.EIO, "Input/output error"), ResourceError, "Input/output error"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "a"), ConfigError, "a: Is a directory"),
        (OSError(errno.ENAMETOOLONG, "File name too long", b"a"), ConfigError, "a: File name too"),
        (RuntimeError("can't"), type(None), "None"),
        (OSError("no number"), type(None), "None"),
    ],
)
def test_what_the_system_says_is_an_error_and_no_bug(error, kind, said):
    known = as_sedtool_error(error)
    assert type(known) is kind
    assert said in str(known)


WITHOUT_PRIVILEGES = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may enter any folder"
)
@pytest.mark.parametrize(
    ("line", "exit_code"),
    [
        ("extract in -o f.h5", 4),
        ("extract in/a.wav -o f.h5", 2),
        ("extract rec -o in/f.h5", 6),
        ("evaluate in/a.tsv in/b.tsv", 6),
        ("compare in", 6),
        ("info in", 5),
        ("merge in/1.h5 -o in/o.h5", 6),
        ("train -o in/run --features in/f.h5 --weak in/w.tsv", 6),
    ],
)
def test_a_folder_that_cannot_be_entered_is_no_bug(recordings, tmp_path, line, exit_code):
    closed = tmp_path / "in"
    closed.mkdir()
    (recordings / "0.wav").rename(closed / "a.wav")
    closed.chmod(0o666)
    command = [sys.executable, "-m", "sedtool", *line.split()]
    prefix = WITHOUT_PRIVILEGES if os.geteuid() == 0 else []
    done = subprocess.run([*prefix, *command], cwd=tmp_path, capture_output=True, text=True)
    closed.chmod(0o777)
    assert done.returncode == exit_code, done.stderr
    assert "ermission denied" in done.stderr
    assert done.stderr.count("\n") == 1
