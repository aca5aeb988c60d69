"""Faults that hit the n-th operation that changes the disk, for every n: full disks and kills."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator

import pytest

CHANGES = ("fsync", "replace", "rename", "unlink", "truncate", "ftruncate", "mkdir", "rmdir")


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
            for name in CHANGES:
                patch.setattr(os, name, self.counted(getattr(os, name)))
            open_descriptor = os.open

            def opened_by_number(path, flags, *mode, **where):
                if flags & os.O_CREAT:
                    self.step()
                return open_descriptor(path, flags, *mode, **where)

            patch.setattr(os, "open", opened_by_number)
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
            whole = data if isinstance(data, str) else bytes(data)
            self.stream.write(whole[: len(whole) // 2])
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


def fail(number: int):
    def strike():
        raise OSError(number, os.strerror(number))

    return strike


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
