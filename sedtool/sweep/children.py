"""Stages as processes of their own: started, listened to, stopped."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

import sedtool
from sedtool.atomic import resource_errors
from sedtool.errors import ConfigError, SedtoolError, StoppedError

__all__ = ["ChildError", "StageSettings", "ask_settings", "quoted", "run_child"]

Hear = Callable[[str], None]  # takes the last line that says how far a command is
Stop = Callable[[], int]  # 0, or the exit code of the signal that came in

_POLL = 0.25  # seconds
_PROGRESS = re.compile(r"\w+: \d+ of \d+, ")  # as `cli.console.progress` writes it off a terminal
_TAIL = 4096  # bytes of a log that are looked at for its last line
# The folder is not put on the path of modules: there may be a random.py in it.
_PROGRAM = (sys.executable, "-P", "-m", "sedtool")
# What --max-time sends to itself. A batch system may have sent SIGTERM or SIGUSR1 to all processes
# of the job, and a second one of the same kind would keep `train` from saving.
_STOP = signal.SIGALRM


class StageSettings(dict[str, Any]):
    """The settings that a command would run with, by option; `given` are not just defaults."""

    given: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "StageSettings":
        """Read what ``--print-config`` says of one command."""
        (shown,) = yaml.safe_load(text).values()
        settings = cls((key or "null", value) for key, value in shown.items())  # YAML's own null
        lines = [line for line in text.splitlines() if line.endswith("# default")]
        settings.given = frozenset(
            settings.keys() - {line.partition(":")[0].strip() for line in lines}
        )
        return settings


class ChildError(SedtoolError):
    """A stage of a run failed."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def quoted(arguments: Sequence[str]) -> str:
    """Return a command line that a shell takes."""
    return shlex.join(["sedtool", *arguments])


def run_child(
    arguments: Sequence[str], folder: Path, log: Path, stop: Stop, hear: Hear | None = None
) -> int:
    """Run a sedtool command in `folder` and return its exit code, 0 or 3.

    Parameters
    ----------
    arguments
        Behind the word ``sedtool``.
    folder
        Relative paths are relative to it.
    log
        What the command says is appended to it.
    stop
        Asked again and again; when it is not 0, the command is told to save and stop.
    hear
        Called again and again with the last line that says how far it is; empty if none does.

    Raises
    ------
    ChildError
        If the command fails; the message is the one line that it said.
    StoppedError
        If it was stopped, by `stop` or from outside.
    """
    with resource_errors(log):
        stream = log.open("ab")
    with stream:
        stream.write(f"$ {quoted(arguments)}\n".encode(errors="surrogateescape"))
        stream.flush()
        start = stream.tell()
        process = subprocess.Popen(
            [*_PROGRAM, *arguments],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            process_group=0,  # Ctrl-C is for the sweep, which passes it on
        )
        try:
            code, is_stopping = _wait(process, log, stop, hear)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if is_stopping and code not in (0, 3):
        raise StoppedError("stopped; run the same command again to go on", stop())
    if code in (75, 130):
        raise StoppedError(f"{arguments[0]} was stopped; run the same command again to go on", code)
    if code in (0, 3):
        return code
    raise ChildError(_complaint(arguments[0], log, start, code), code if code > 0 else 1)


def _wait(
    process: "subprocess.Popen[bytes]", log: Path, stop: Stop, hear: Hear | None
) -> tuple[int, bool]:
    """Wait for a process; return its exit code and whether it was told to stop."""
    is_stopping = False
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL), is_stopping
        if stop() and not is_stopping:
            is_stopping = True
            process.send_signal(_STOP)
        if hear is not None:
            line = _last_line(log)
            hear(line if _PROGRESS.match(line) else "")


def _environment() -> dict[str, str]:
    """Return the environment of children: they are to run this very sedtool."""
    here = str(Path(sedtool.__file__).parents[1])
    paths = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def _last_line(log: Path, start: int = 0) -> str:
    with log.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(start, size - _TAIL))
        lines = stream.read().decode(errors="backslashreplace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")


def _complaint(stage: str, log: Path, start: int, code: int) -> str:
    """Return why a stage failed, in one line."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        hint = "; was there enough memory?" if -code == signal.SIGKILL else ""
        return f"{stage} was ended by {name}{hint} (see {log})"
    line = _last_line(log, start).removeprefix("Error: ")
    return f"{stage}: {line}" if line else f"{stage} ended with exit code {code} (see {log})"


def ask_settings(arguments: Sequence[str], folder: Path) -> StageSettings:
    """Return the settings that a command line would run with, as its ``--print-config`` says.

    Raises
    ------
    ConfigError
        If it would be refused.
    """
    done = subprocess.run(
        [*_PROGRAM, *arguments, "--print-config"],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
    )
    if done.returncode:
        line = next(iter(reversed(done.stderr.strip().splitlines())), "")
        raise ConfigError(line.removeprefix("Error: ") or f"{quoted(arguments)} does not run")
    return StageSettings.parse(done.stdout)
