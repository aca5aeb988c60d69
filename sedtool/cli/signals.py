"""Signals and the clock: how a run is stopped from outside.

SIGTERM, SIGUSR1 (what a batch system sends before it takes the machine away) and ``--max-time`` end
a run with exit code 75: rerun it to go on. Ctrl-C ends it with 130. Most commands are safe to stop
anywhere and simply unwind; `train` asks between steps, so that it can save first.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import click

__all__ = [
    "INTERRUPTED",
    "RESUMABLE",
    "Interrupted",
    "raising_signals",
    "start_timer",
    "stop_signals",
]

_NAMES = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    signal.SIGUSR1: "SIGUSR1",
    signal.SIGALRM: "--max-time",
}
RESUMABLE = 75  # EX_TEMPFAIL: try again
INTERRUPTED = 130
_TIDYING = 5.0  # seconds after a signal in which another one is not obeyed
_Handler = Callable[[int, FrameType | None], None]


class Interrupted(BaseException):
    """A signal asked the run to stop. No Exception, so that nothing takes it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__(_NAMES[signal.Signals(number)])
        self.exit_code = _exit_code(number)


def _exit_code(number: int) -> int:
    return INTERRUPTED if number == signal.SIGINT else RESUMABLE


def start_timer(seconds: float) -> None:
    """Send this process SIGALRM after so many seconds; 0 cancels."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


@contextlib.contextmanager
def raising_signals() -> Iterator[None]:
    """Let the signals unwind the main thread with `Interrupted` while the block lasts."""
    received: list[tuple[int, float]] = []

    def unwind(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if received and now - received[-1][1] < _TIDYING:
            return  # what tidies up now is not to be interrupted again
        received.append((number, now))
        raise Interrupted(number)

    with _handled(dict.fromkeys(_NAMES, unwind)):
        try:
            yield
        except click.exceptions.Exit:
            raise
        except Exception as error:  # what a library made of the interruption
            if received:
                raise Interrupted(received[0][0]) from error
            raise
        finally:
            start_timer(0)


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Yield a function that returns 0, or the exit code of the signal that came in meanwhile.

    The first signal lets the run save and stop; a second one is obeyed at once.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(_exit_code(number))
        signal.signal(number, before[signal.Signals(number)])

    with _handled(dict.fromkeys(_NAMES, note)) as before:
        yield lambda: received[0] if received else 0


@contextlib.contextmanager
def _handled(
    handlers: dict[signal.Signals, _Handler],
) -> Iterator[dict[signal.Signals, Any]]:
    """Install handlers while the block lasts; yields those that were there before."""
    before: dict[signal.Signals, Any] = {}
    try:
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
