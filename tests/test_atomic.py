"""A file under its final name is whole; what stood there stays until then."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sedtool import atomic
from sedtool.atomic import (
    claim,
    open_atomic,
    refuse_existing,
    remove_leftovers,
    write_bytes,
    write_failures,
    write_text,
)
from sedtool.errors import OutputExistsError, ResourceError
from support.faults import Faults, in_a_child


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x"
    write_text(path, "old")
    with pytest.raises(RuntimeError), open_atomic(path) as stream:
        stream.write(b"new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failing_disk_is_a_resource_error_that_names_the_file(tmp_path, monkeypatch, number):
    path = tmp_path / "x"
    write_text(path, "old")

    def fail(descriptor):
        raise OSError(number, "no")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ResourceError, match=f"cannot write {path}: the disk"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ResourceError, match="the folder does not exist"):
        write_text(tmp_path / "no" / "x", "new")


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_files_get_the_rights_that_the_umask_gives_and_keep_their_own(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "x", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640
    (tmp_path / "x").chmod(0o600)
    write_text(tmp_path / "x", "")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600


def test_what_is_no_regular_file_is_written_directly():
    write_bytes("/dev/null", b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # noqa: PTH116


def test_existing_files_are_refused_unless_asked(tmp_path):
    refuse_existing(tmp_path / "x", False)
    write_text(tmp_path / "x", "")
    refuse_existing(tmp_path / "x", True)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        refuse_existing(tmp_path / "x", False)


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    for name in (".x.h5.abc.tmp", ".y.h5.abc.tmp", "x.h5.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "x.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".y.h5.abc.tmp", "x.h5.tmp"]


def test_failures_are_written_beside_the_output_and_go_when_there_are_none(tmp_path):
    path = write_failures(tmp_path / "x.h5", [("a.wav", "extract", "bad")])
    assert path.read_text() == "filename\tstage\terror\na.wav\textract\tbad\n"
    assert write_failures(tmp_path / "x.h5", []) is None
    assert not path.exists()
    assert write_failures(None, [("a", "b", "c")]) is None


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_what_the_shell_has_opened_is_added_to_and_not_replaced(tmp_path, name):
    """A stdout that leads to a regular file keeps what the commands before wrote there."""
    code = (
        f"from pathlib import Path; from sedtool.atomic import *; write_text(Path('{name}'), 'b')"
    )
    line = f'(printf a; "{sys.executable}" -c "{code}"; printf c) > out'
    subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True)
    assert (tmp_path / "out").read_text() == "abc"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def kill_campaign(path):
    """Kill a writer at every operation; print how many kills there were."""
    old, new = b"old" * 1000, b"new" * 2000

    def write():
        with claim(path, overwrite=True):
            write_bytes(path, new)

    def killed_at(at):
        with Faults(at, lambda: os.kill(os.getpid(), signal.SIGKILL)).installed():
            write()

    for at in range(1, 50):
        path.write_bytes(old)
        killed = in_a_child(lambda at=at: killed_at(at))
        assert path.read_bytes() in (old, new), f"kill {at}: a broken file"
        assert in_a_child(write) == 0, f"kill {at}: the next writer failed"
        assert path.read_bytes() == new
        assert [file.name for file in path.parent.iterdir()] == [path.name], f"kill {at}"
        if not killed:
            print(at - 1)
            return


def test_a_writer_killed_anywhere_leaves_the_old_file_or_the_new_one(tmp_path):
    (tmp_path / "out").mkdir()
    campaign = subprocess.run(
        [sys.executable, __file__, tmp_path / "out" / "metrics.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert campaign.returncode == 0, campaign.stderr
    assert int(campaign.stdout) >= 5


def test_an_output_is_claimed_once_and_a_killed_holder_leaves_no_lock(tmp_path):
    path = tmp_path / "x.tsv"
    with claim(path):
        other = "import sys; from pathlib import Path; from sedtool.atomic import claim\n"
        other += "with claim(Path(sys.argv[1])): pass"
        refused = subprocess.run(
            [sys.executable, "-c", other, path], capture_output=True, text=True, check=False
        )
        assert "ResourceError: another sedtool is making" in refused.stderr
    holder = subprocess.Popen(
        [sys.executable, "-c", other.replace("pass", "print(flush=True); input()"), path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    with pytest.raises(ResourceError, match="another sedtool is making"), claim(path):
        pass
    holder.kill()
    holder.communicate()
    assert [file.name for file in tmp_path.iterdir()] == [".x.tsv.lock"]
    with claim(path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_pipe_that_nobody_reads_is_refused_and_one_that_somebody_will_is_written(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(atomic, "_READER_PATIENCE", 0.3)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ResourceError, match="pipe: nobody reads from it"):
        write_text(tmp_path / "pipe", "never")
    line = ["sh", "-c", 'sleep 0.1; cat "$0"', tmp_path / "pipe"]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as reader:
        write_text(tmp_path / "pipe", "text")
        assert reader.communicate() == (b"text", None)


if __name__ == "__main__":
    kill_campaign(Path(sys.argv[1]))
