"""stderr and the log file: warnings, progress, summaries. stdout: data, and nothing else."""

import contextlib
import datetime
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from sedtool.atomic import resource_errors
from sedtool.errors import ConfigError, ResourceError
from sedtool.signals import poll
from sedtool.text import bounded, clock, is_writable, plain

if TYPE_CHECKING:
    from rich.console import Console

Report = Callable[[int, int, str], None]  # done, total, what
_UNITS = {  # of what is counted; elsewhere, clips
    "train": "step",
    "sweep": "run",
    "compare": "run",
    "evaluate": "resample",
    "merge": "part",
    "info": "file",
}
_LINE_EVERY = 30.0  # seconds between progress lines where stderr is no terminal
_log_file: TextIO | None = None
_bar: "Console | None" = None  # of the bar that stands on the terminal
_real_stderr: int | None = None  # the descriptor that stderr had before silence_libraries


def harmless(text: str, is_json: bool = False) -> str:
    """Return lines of data in which nothing acts on a terminal: names come from strangers.

    What only looks odd is left as it is, as it is data.
    """
    if all(map(is_writable, text.replace("\t", " ").split("\n"))):
        return text
    escape = json.dumps if is_json else repr
    return "".join(c if c in "\t\n" or is_writable(c) else escape(c)[1:-1] for c in text)


def write_stdout(text: str) -> None:
    """Write data to stdout, at once, or raise a ResourceError.

    If its reader has gone, that is a BrokenPipeError, with which the group ends quietly.
    """
    with resource_errors(Path("stdout")):
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (AttributeError, ValueError):  # there is no sys.stdout after >&-
            raise ResourceError("cannot write stdout: it is closed") from None


def say(text: str, quiet: bool = False) -> None:
    """Write one line to stderr, unless `quiet`, and to the log file."""
    line = bounded(plain(text))
    if not quiet and sys.stderr is not None:
        try:
            if _bar is None:
                click.echo(line, err=True)
            else:  # rich takes the bar away, writes the line and draws the bar below it
                _bar.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
        except OSError:  # a run does not fail because nobody listens, not at exit either
            sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    if _log_file is not None:
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        with contextlib.suppress(OSError):
            _log_file.write(f"{now} {line}\n")
            _log_file.flush()


class _Lines(logging.Handler):
    """Each log record becomes one line, which a function takes with its level."""

    def __init__(self, write: Callable[[str, int], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(f"{record.levelname.lower()}: {record.getMessage()}", record.levelno)


def setup_logging(level: int = logging.WARNING) -> None:
    """Send the library's log to stderr from `level` on; what is below it, to the log file alone."""
    logger = logging.getLogger("sedtool")
    logger.handlers = [_Lines(lambda line, of_line: say(line, quiet=of_line < level))]
    logger.setLevel(min(level, logging.INFO) if _log_file else level)


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Send what the library logs to the end of a file, not to stderr, while the block lasts."""
    logger = logging.getLogger("sedtool")
    before, level = logger.handlers, logger.level

    def write(line: str, of_line: int) -> None:
        text = line if of_line > logging.INFO else line.removeprefix("info: ")
        with contextlib.suppress(OSError):  # as elsewhere, nothing fails for what is only said
            stream.write(bounded(plain(text)) + "\n")
            stream.flush()

    with _appended(path) as stream:
        logger.handlers = [_Lines(write)]
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.handlers = before
            logger.setLevel(level)


def _appended(path: Path) -> TextIO:
    with resource_errors(path):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK  # no wait for a reader
        stream = os.open(path, flags, 0o666)
    os.set_blocking(stream, True)
    return os.fdopen(stream, "w", encoding="utf-8", errors="backslashreplace")


def open_log(path: Path) -> None:
    """Append to a file everything that is logged, including what stderr does not show.

    Raises
    ------
    ConfigError
        If the file is there and is none of our logs.
    ResourceError
        If it cannot be written.
    """
    global _log_file  # one process, one log
    with resource_errors(path):
        if path.is_file() and not _is_log(path):
            raise ConfigError(f"{path} is no log; give --log-file a new name")
    _log_file = _appended(path)
    logging.getLogger("sedtool").setLevel(logging.INFO)
    say(f"{sys.argv}", quiet=True)


def _is_log(path: Path) -> bool:
    """Return whether a file is empty, or begins with the time of a line."""
    with path.open("rb") as stream:
        first = stream.read(len("2026-11-30T12:00:00"))
    return not first or re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", first) is not None


def close_log() -> None:
    """Close the log file, if there is one."""
    global _log_file
    if _log_file is not None:
        with contextlib.suppress(OSError):
            _log_file.close()
    _log_file = None


def silence_libraries() -> None:
    """Keep what C libraries print, such as libmpg123, off stderr, where Python itself still writes.

    Only for a program's start, before there are threads.
    """
    global _real_stderr
    if sys.stderr is None or _real_stderr is not None:
        return
    _real_stderr = os.dup(2)
    sys.stderr = open(  # noqa: SIM115  # a descriptor, for the life of the process
        _real_stderr, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    with open(os.devnull, "w") as null:  # noqa: PTH123
        os.dup2(null.fileno(), 2)


def hear_libraries() -> None:
    """Undo `silence_libraries`, for --verbose."""
    if _real_stderr is not None:
        os.dup2(_real_stderr, 2)


@contextlib.contextmanager
def progress(title: str, quiet: bool, data_on_stdout: bool = False) -> Iterator[Report]:
    """Yield a function (done, total, what) that shows how far a run is, and obeys signals.

    A bar with the time left on a terminal, unless data goes there at the same time; elsewhere, and
    in the log file, a line every 30 seconds.
    """
    global _bar
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    if data_on_stdout and sys.stdout is not None and sys.stdout.isatty():
        on_terminal = False
    line = _liner(title, quiet or on_terminal)
    if quiet or not on_terminal:
        yield line
        return
    import rich.progress as parts
    from rich.console import Console

    columns = (
        parts.TextColumn("{task.description}", markup=False),
        parts.BarColumn(),
        parts.TextColumn("{task.fields[count]}", markup=False),
        parts.TimeRemainingColumn(),
        parts.TextColumn("{task.fields[what]}", markup=False),  # names may hold [brackets]
    )
    # rich knows NO_COLOR. It is kept off stdout, which it would else send to the terminal wherever
    # it was meant to go.
    console = Console(stderr=True)
    with parts.Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(title, total=None, count="", what="")

        def report(done: int, total: int, what: str) -> None:
            count = f"{_unit(title)} {done} of {total}"
            bar.update(task, completed=done, total=total, count=count, what=plain(what)[:60])
            line(done, total, what)

        _bar = console
        try:
            yield report
        finally:
            _bar = None


def _unit(title: str) -> str:
    return _UNITS.get(title, "clip")


def _liner(title: str, quiet: bool) -> Report:
    started = last = time.monotonic()
    first_done: int | None = None  # what a resumed run begins with took no time now

    def report(done: int, total: int, what: str) -> None:
        nonlocal last, first_done
        poll()
        first_done = done - 1 if first_done is None else first_done
        now = time.monotonic()
        if now - last >= _LINE_EVERY:
            last = now
            left = (now - started) / max(done - first_done, 1) * (total - done)
            say(f"{title}: {_unit(title)} {done} of {total}, {clock(left)} left  {what}", quiet)

    return report
