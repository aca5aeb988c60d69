"""stderr: warnings, progress and summaries. stdout is for data."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

import click

__all__ = ["Report", "plain", "progress", "setup_logging", "summary"]

Report = Callable[[int, int, str], None]  # done, total, what
_LINE_EVERY = 30.0  # seconds between progress lines where stderr is no terminal


def plain(text: str) -> str:
    """Return `text` on one line without control characters: names come from strangers."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class _Lines(logging.Handler):
    """Each log record becomes one plain line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(plain(f"{record.levelname.lower()}: {record.getMessage()}"), err=True)


def setup_logging(level: int = logging.WARNING) -> None:
    """Send the library's log to stderr."""
    logger = logging.getLogger("sedtool")
    logger.handlers = [_Lines()]
    logger.setLevel(level)


def summary(text: str, quiet: bool) -> None:
    """Say how a run ended, on stderr."""
    if not quiet:
        click.echo(plain(text), err=True)


@contextlib.contextmanager
def progress(title: str, quiet: bool) -> Iterator[Report]:
    """Yield a function (done, total, what) that shows how far a run is.

    A bar with the time left on a terminal; elsewhere a line every 30 seconds.
    """
    if quiet:
        yield lambda done, total, what: None
    elif sys.stderr.isatty():
        with _bar(title) as report:
            yield report
    else:
        yield _liner(title)


def _liner(title: str) -> Report:
    started = last = time.monotonic()

    def report(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _LINE_EVERY:
            last = now
            left = (now - started) / max(done, 1) * (total - done)
            click.echo(plain(f"{title}: {done} of {total}, {left:.0f} s left  {what}"), err=True)

    return report


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}", markup=False),  # names may hold [brackets]
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, what="")

        def report(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, what=plain(what)[:60])

        yield report
