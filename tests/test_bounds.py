"""What is read whole is bounded, and a pipe is waited for as long as somebody may write to it."""

import os
import subprocess
import sys
import threading
import time

import pytest

from sedtool import bounds
from sedtool.bounds import MIB, read_bounded, read_table


@pytest.fixture
def fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.mark.parametrize("read", [read_table, lambda path: read_bounded(path, 4 * MIB)])
@pytest.mark.parametrize("content", [b"", b"a\tb", b"a\n" * MIB, (b"x" * 99 + b"\r\n") * 30_000])
def test_a_file_within_the_bounds_is_read_as_it_is(tmp_path, read, content):
    (tmp_path / "file").write_bytes(content)
    assert read(tmp_path / "file") == content


def test_a_file_that_is_too_large_is_refused_unread(tmp_path):
    with (tmp_path / "zeros").open("wb") as stream:
        stream.truncate(2**40)
    started = time.monotonic()
    with pytest.raises(OSError, match="it is larger than 512 MiB"):
        read_table(tmp_path / "zeros")
    assert time.monotonic() - started < 1


def test_a_stream_without_end_is_refused():
    with pytest.raises(OSError, match="it is larger than 1 MiB"):
        read_bounded("/dev/zero", MIB)


@pytest.mark.parametrize("before", [b"", b"a\tb\n" * 7, b"a\n" * (MIB - 1)])
def test_a_line_without_end_is_refused_with_its_number(tmp_path, before):
    (tmp_path / "file").write_bytes(before + b"x" * MIB + b"\nmore\n")
    assert read_table(tmp_path / "file")[-5:] == b"more\n"  # as long as a line may be
    (tmp_path / "file").write_bytes(before + b"x" * (MIB + 1) + b"\nmore\n")
    with pytest.raises(OSError, match=f"line {before.count(10) + 1} is longer than 1 MiB"):
        read_table(tmp_path / "file")


def test_a_pipe_that_nobody_writes_to_is_refused(fifo, monkeypatch):
    monkeypatch.setattr(bounds, "_PATIENCE", 0.2)
    with pytest.raises(OSError, match="nobody writes to this pipe"):
        read_table(fifo)


def test_a_pipe_is_waited_for_as_long_as_its_writer_takes(fifo, monkeypatch):
    monkeypatch.setattr(bounds, "_PATIENCE", 0.5)

    def write():
        time.sleep(0.2)  # it comes late
        with fifo.open("wb") as stream:
            time.sleep(1)  # and thinks for longer than anybody waits for a writer
            stream.write(b"a\n")
            stream.flush()
            time.sleep(0.2)
            stream.write(b"b\n")

    writer = threading.Thread(target=write)
    writer.start()
    assert read_table(fifo) == b"a\nb\n"
    writer.join()


def test_what_a_shell_substitutes_for_a_file_is_read():
    code = "import sys; from sedtool.bounds import read_table; print(read_table(sys.argv[1]))"
    line = ["bash", "-c", '"$0" -c "$1" <(echo one; sleep 0.3; echo two)', sys.executable, code]
    assert subprocess.run(line, capture_output=True, text=True).stdout == "b'one\\ntwo\\n'\n"
