"""A file under its final name is whole; what stood there stays until then."""

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sedtool import atomic
from sedtool.atomic import (
    claim,
    claim_folder,
    discard,
    open_atomic,
    refuse_existing,
    remove_leftovers,
    together,
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
    for name in (".x.h5.abc.tmp", ".y.h5.abc.tmp", "x.h5.tmp", ".x.h5.old.abc.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".x.h5.failures.tsv.abc.tmp").touch()
    remove_leftovers(tmp_path / "x.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(".x.h5.old.abc.tmp", ".y.h5.abc.tmp", "x.h5.tmp"),
    ]


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


def killed_at(at, write):
    with Faults(at, lambda: os.kill(os.getpid(), signal.SIGKILL)).installed():
        write()


def kill_campaign(path):
    """Kill a writer at every operation; print how many kills there were."""
    old, new = b"old" * 1000, b"new" * 2000

    def write():
        with claim(path, overwrite=True):
            write_bytes(path, new)

    for at in range(1, 50):
        path.write_bytes(old)
        killed = in_a_child(lambda at=at: killed_at(at, write))
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
        assert "BusyError: another sedtool is making" in refused.stderr
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


def test_what_another_run_has_finished_meanwhile_is_refused_and_not_taken_for_its_own(
    tmp_path, monkeypatch
):
    path, mark = tmp_path / "x.tsv", tmp_path / ".x.tsv.unfinished"
    path.write_text("made")
    files = {path.name: [path.stat().st_size, path.stat().st_mtime_ns]}
    mark.write_text(json.dumps({"format": "sedtool-unfinished", "files": files}))
    holding = atomic._holding

    def ended(*arguments):
        mark.unlink()  # as the run does that renamed the file
        return holding(*arguments)

    with claim(path):
        pass  # without another run, it is what was interrupted
    monkeypatch.setattr(atomic, "_holding", ended)
    with pytest.raises(OutputExistsError), claim(path):
        write_text(path, "other")


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


# Files that are one result


def fill(folder):
    """Write a folder of three files."""
    texts = {folder / name: name * 1000 for name in ("a.tsv", "b/c.tsv", "b/d.tsv")}
    with claim_folder(folder, texts, overwrite=False):
        for path, text in texts.items():
            write_text(path, text)


def write_several(folder):
    """Write two files and a list of failures; a journal goes."""
    first, second = folder / "a.tsv", folder / "b.tsv"
    with claim(first, second), together(first):
        write_text(first, "first")
        write_text(second, "second")
        write_failures(first, [("a.wav", "infer", "bad")])
        discard(folder / "journal")


def visible(folder):
    return set(folder.rglob("[!.]*.tsv"))


def kill_campaign_together(folder):
    """Kill either at every operation, and run it again; print how many kills there were."""
    n_kills = 0
    for job in (fill, write_several):
        for at in range(1, 100):
            folder.mkdir()
            (folder / "journal").touch()
            killed = in_a_child(lambda job=job, at=at: killed_at(at, lambda: job(folder)))
            has_mark = bool(list(folder.glob("*.unfinished")))
            assert len(visible(folder)) in (0, 3) or has_mark, f"kill {at}: a part looks whole"
            if has_mark or not visible(folder):
                assert in_a_child(lambda job=job: job(folder)) == 0, f"kill {at}: no rerun"
            assert len(visible(folder)) == 3
            left = {path.name for path in folder.glob(".*")}
            assert left <= {".convert.lock", ".a.tsv.lock", ".b.tsv.lock"}, f"kill {at}: {left}"
            assert (folder / "journal").exists() == (job is fill)
            shutil.rmtree(folder)
            if not killed:
                break
            n_kills += 1
    print(n_kills)


def test_files_of_one_result_are_all_there_or_marked_after_a_kill_anywhere(tmp_path):
    campaign = subprocess.run(
        [sys.executable, __file__, tmp_path / "out", "together"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert campaign.returncode == 0, campaign.stderr
    assert int(campaign.stdout) > 30


def test_what_is_written_together_appears_at_the_end_or_not_at_all(tmp_path):
    with claim_folder(tmp_path, [tmp_path / "a"], overwrite=False):
        write_text(tmp_path / "a", "new")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_text() == "new"
    with pytest.raises(KeyError), together(tmp_path):
        write_text(tmp_path / "a", "newer")
        write_text(tmp_path / "b", "newer")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "new"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    kill_campaign_together(path) if sys.argv[2:] else kill_campaign(path)
