"""Signals and the clock: how a run is stopped from outside.

SIGTERM, SIGUSR1 (what a batch system sends before it takes the machine away) and ``--max-time`` end
a run with exit code 75: rerun it to go on. Ctrl-C ends it with 130. Most commands are safe to stop
anywhere and simply unwind; `train` asks between steps, so that it can save first.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import click

_NAMES = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    signal.SIGUSR1: "SIGUSR1",
    signal.SIGALRM: "--max-time",
}
RESUMABLE = 75  # EX_TEMPFAIL: try again
INTERRUPTED = 130
_TIDYING = 5.0  # seconds after a signal in which another one does not break off the tidying up
_AGAIN = 0.05  # seconds until a signal that had to wait, or went unheard, is tried again
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
    """Let the signals unwind the main thread with `Interrupted` while the block lasts.

    A signal waits until imports are over: C++ code that is loaded by one may abort when an
    exception crosses it. One that was raised where exceptions go unheard, as in a finaliser, is
    raised again.
    """
    received: list[tuple[int, float]] = []  # signal, when it came

    def unwind(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        repeated = number == signal.SIGALRM and received
        if not repeated:
            received.append((number, now))
        first, since = received[0]
        patient = repeated or now - since < _TIDYING
        start_timer(_AGAIN)
        if not (_is_importing(frame) or (_is_unwinding() and patient)):
            raise Interrupted(first)

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


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a module is being imported where a signal came in."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _is_unwinding() -> bool:
    """Return whether what runs is tidying up after an `Interrupted`."""
    error = sys.exception()
    while error is not None and not isinstance(error, Interrupted):
        error = error.__context__
    return error is not None


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
