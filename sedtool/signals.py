"""Signals and the clock: how a run is stopped from outside.

SIGTERM, SIGHUP, SIGUSR1 (what a batch system sends before it takes the machine away) and
``--max-time`` end a run with exit code 75: rerun it to go on. Ctrl-C ends it with 130.

A signal is only noted when it comes in, and obeyed where `poll` is called: between two clips, not
in the middle of a write. Work that does not poll for a second, such as waiting for a pipe, is
broken off where it is. `train` asks between steps, so that it can save first. Once the work is
done, signals change nothing any more.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

_NAMES = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "SIGHUP",
    signal.SIGUSR1: "SIGUSR1",
    signal.SIGALRM: "--max-time",
}
RESUMABLE = 75  # EX_TEMPFAIL: try again
INTERRUPTED = 130
_PATIENCE = 1.0  # seconds that a signal waits for `poll`
_TIDYING = 5.0  # seconds after a signal in which another one does not break off the tidying up
_AGAIN = 0.05  # seconds until a signal that waits is looked at again

_received: list[tuple[int, float]] = []  # signals since listening began, and when each came
_is_held = False  # whether somebody asks what was received, to save before stopping
_is_raised = False  # whether a signal was raised where the work happened to be


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


def listen() -> None:
    """Note signals from now on. SIGHUP stays ignored under ``nohup``."""
    for number in _NAMES:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _note)


def ignore() -> None:
    """Ignore all signals: the work is done, and the exit code says how it went."""
    for number in _NAMES:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Note signals while the block lasts, which is one command; handlers are given back.

    What a library makes of an `Interrupted` that came up in it is an `Interrupted` here.
    """
    global _is_raised
    before = {number: signal.getsignal(number) for number in _NAMES}
    hook, sys.unraisablehook = sys.unraisablehook, _pass_over
    is_first = before[signal.SIGTERM] is not _note  # else the program listens since it began
    _is_raised = False
    listen()
    try:
        poll()
        yield
    except Exception as error:
        if _is_raised:
            raise Interrupted(_received[0][0]) from error
        raise
    finally:
        start_timer(0)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
        if is_first:
            _received.clear()


def _pass_over(unraisable: "sys.UnraisableHookArgs") -> None:
    """Print what a callback could not raise, but for an `Interrupted`, which is raised again."""
    if not isinstance(unraisable.exc_value, Interrupted):
        sys.__unraisablehook__(unraisable)


def poll() -> None:
    """Raise `Interrupted` if a signal has come in, and nobody asks for it to save first."""
    if _received and not _is_held:
        raise Interrupted(_received[0][0])


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Yield a function that returns 0, or the exit code of the first signal that came in.

    The first signal lets the run save and stop; a second one of its kind is obeyed at once.
    """
    global _is_held
    _is_held = True
    try:
        yield lambda: _exit_code(_received[0][0]) if _received else 0
    finally:
        _is_held = False


def _note(number: int, frame: FrameType | None) -> None:
    """Note a signal; raise it if it has waited for too long, or is repeated."""
    global _is_raised
    now = time.monotonic()
    is_repeated = number in [earlier for earlier, _ in _received]
    is_a_look = number == signal.SIGALRM and bool(_received)
    if not is_a_look:
        _received.append((number, now))
    first, since = _received[0]
    if _is_held and (is_a_look or not is_repeated):
        return
    start_timer(_AGAIN)
    waits = now - since < _PATIENCE and (is_a_look or not is_repeated)
    is_tidying = _is_unwinding() and now - since < _TIDYING
    if not (waits or is_tidying or _is_importing(frame)):
        _is_raised = True
        raise Interrupted(first)


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a module is being imported where a signal came in.

    C++ code that is loaded by one may abort when an exception crosses it.
    """
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
