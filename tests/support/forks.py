"""Command lines in forks of a process that has loaded everything: fast, and each one on its own.

The process must hold no threads, which do not survive a fork: `program` runs a test file as one.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import sedtool
from sedtool.__main__ import main
from sedtool.config import ARCHITECTURES
from support.training import NANO

LONGEST = 2000  # characters of a line on stderr
_PROGRAM = f"""
import sys
from sedtool.signals import listen
listen()
from sedtool.config import ARCHITECTURES, ArchitectureConfig
ARCHITECTURES["nano"] = {NANO!r}
sys.argv[0] = "sedtool"
from sedtool.__main__ import main
main()
"""


@dataclass
class Ended:
    """How a command ended: its exit code, minus a signal, or None for one that hung."""

    code: int | None
    out: bytes
    said: str  # on stderr

    @property
    def is_decent(self) -> bool:
        """Return whether stderr is what a person can read."""
        lines = self.said.split("\n")
        is_readable = all(line.isprintable() and len(line) <= LONGEST for line in lines)
        return is_readable and "Traceback" not in self.said and "Exception ign" not in self.said

    def __str__(self) -> str:
        return f"exit code {self.code}, {self.said[-300:]!r}"


class Fork:
    """A command line that runs in a fork, with nothing on stdin, its streams in a folder."""

    def __init__(
        self,
        words: list[str],
        folder: Path,
        around: Callable[[], Any] = contextlib.nullcontext,
        out: str | None = None,
        fresh: bool = False,
    ) -> None:
        self.streams = [Path(out) if out else folder / ".stdout", folder / ".stderr"]
        for path in self.streams:
            path.unlink(missing_ok=True) if path.parent == folder else None
        if fresh:
            self.child = self._spawned(words, folder)
            return
        self.child = os.fork()
        if self.child == 0:
            _become(words, folder, around, self.streams)

    def _spawned(self, words: list[str], folder: Path) -> int:
        line = [sys.executable, "-c", _PROGRAM, *words]
        with self.streams[0].open("wb") as out, self.streams[1].open("wb") as err:
            child = subprocess.Popen(
                line, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip
        child.returncode = 0  # it is waited for by its number
        return child.pid

    def wait(self, seconds: float = 60.0) -> Ended:
        """Wait until it has ended; one that does not end in time is killed."""
        until, code = time.monotonic() + seconds, None
        while time.monotonic() < until:
            ended, status = os.waitpid(self.child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(0.001)
        else:
            os.killpg(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
        out, said = (path.read_bytes() if path.is_file() else b"" for path in self.streams)
        return Ended(code, out, said.decode(errors="replace"))

    def signalled(self, number: int, delay: float) -> None:
        """Send a signal so long after it would be heard, if the command has not ended by then."""
        heard = 0
        while not heard >> (signal.SIGUSR1 - 1) & 1:
            status = Path(f"/proc/{self.child}/status").read_text()
            heard = int(status.split("SigCgt:")[1].split()[0], 16)
            if "\nState:\tZ" in status:
                break
        time.sleep(delay)
        os.kill(self.child, number)


def _become(words: list[str], folder: Path, around: Callable[[], Any], streams: list[Path]) -> None:
    """Run a command line in this process, which is a fork, and end it."""
    code: Any = 99
    try:
        os.setsid()
        os.chdir(folder)
        how = os.O_RDWR | os.O_CREAT
        for descriptor, path in enumerate([Path(os.devnull), *streams]):
            os.dup2(os.open(path, how if path.parent == folder else os.O_RDWR), descriptor)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
        sys.argv = ["sedtool", *words]
        with around():
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
    finally:
        os._exit(code)


def run(words: list[str], folder: Path, seconds: float = 60.0, **how: Any) -> Ended:
    """Run a command line in a fork to its end."""
    return Fork(words, folder, **how).wait(seconds)


def program(file: str, *words: object, limit: float | None = None) -> Any:
    """Run a test file as a program, with words; return what it prints as JSON."""
    tests = Path(__file__).parents[1]
    python_path = os.pathsep.join([str(tests.parent), str(tests)])
    done = subprocess.run(
        [sys.executable, file, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=limit,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": python_path},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def prepare() -> None:
    """Load what takes long to load, once for all forks."""
    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(sedtool.__path__, "sedtool."):
        importlib.import_module(module.name)
    for kind in ("agg", "pdf", "svg"):  # in which figures are drawn
        importlib.import_module(f"matplotlib.backends.backend_{kind}")
    ARCHITECTURES["nano"] = NANO
    torch.optim.Adam([torch.zeros(1)])
