"""A signal is obeyed, at a moment that suits: nothing is torn apart, and nothing is said twice."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import weakref

import pytest

from sedtool.signals import Interrupted, listening, poll, stop_signals

pytestmark = pytest.mark.slow

SEDTOOL = [sys.executable, "-m", "sedtool"]
EVERY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("sedtool.signals._PATIENCE", 0.1)


@pytest.mark.parametrize("number", EVERY)
def test_a_signal_is_obeyed_where_it_is_asked_for(number):
    with pytest.raises(Interrupted) as caught, listening():
        os.kill(os.getpid(), number)
        time.sleep(0.2)
        poll()
        pytest.fail("the signal was lost")
    assert caught.value.exit_code == (130 if number == signal.SIGINT else 75)


def test_what_does_not_ask_is_broken_off(impatient):
    with pytest.raises(Interrupted, match="SIGTERM"), listening():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        pytest.fail("the signal was lost")


def test_a_repeated_signal_is_obeyed_at_once():
    with pytest.raises(Interrupted, match="Ctrl-C"), listening():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the signal was lost")


def test_a_signal_in_a_finaliser_is_not_lost_and_nothing_is_said_of_it(capsys):
    class Kept:
        pass

    with pytest.raises(Interrupted), listening():
        kept = Kept()
        reference = weakref.ref(kept, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        del kept
        assert reference() is None
        poll()
    assert capsys.readouterr().err == ""


def test_what_a_library_makes_of_a_signal_is_still_the_signal(impatient):
    with pytest.raises(Interrupted, match="SIGTERM") as caught, listening():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        except Interrupted:
            raise AttributeError("'_SparseFile' object has no attribute 'flush'") from None
    assert caught.value.exit_code == 75


def test_an_error_after_a_signal_that_was_not_obeyed_is_still_the_error():
    with pytest.raises(ZeroDivisionError), listening():
        os.kill(os.getpid(), signal.SIGTERM)
        _ = 1 / 0


def test_a_signal_that_went_unheard_is_raised_again(impatient):
    with pytest.raises(Interrupted, match="SIGTERM"), listening():
        with contextlib.suppress(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        time.sleep(5)
        pytest.fail("the signal was lost")


def test_a_signal_waits_until_a_module_is_imported(tmp_path, monkeypatch, impatient):
    (tmp_path / "slowly_imported.py").write_text(
        "import os, signal, time\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(0.4)\n"
        "    done = True\n"
        "except BaseException:\n"
        "    done = False\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Interrupted, match="SIGTERM"), listening():
        import slowly_imported

        time.sleep(5)
    assert slowly_imported.done


def test_tidying_up_is_broken_off_by_a_later_signal_alone(monkeypatch):
    monkeypatch.setattr("sedtool.signals._TIDYING", 0.2)
    tidied = []
    with pytest.raises(Interrupted, match="Ctrl-C"), listening():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            poll()
        finally:
            os.kill(os.getpid(), signal.SIGINT)  # too early
            tidied.append("half")
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
            tidied.append("whole")
    assert tidied == ["half"]


def test_who_saves_first_is_left_alone_until_the_signal_is_repeated(impatient):
    with pytest.raises(Interrupted, match="SIGUSR1"), listening(), stop_signals() as stop:
        assert stop() == 0
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)  # such as Slurm sends after the first
        time.sleep(0.3)
        poll()
        assert stop() == 75
        os.kill(os.getpid(), signal.SIGUSR1)
        pytest.fail("the second one was not obeyed")


def test_handlers_are_given_back():
    before = [signal.getsignal(number) for number in EVERY]
    with listening(), stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop() == 75
    assert [signal.getsignal(number) for number in EVERY] == before


# In a process of its own


def ended(code: str, number: int) -> tuple[int, str]:
    """Run Python that prints READY when it is to be signalled; return exit code and stderr."""
    run = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    while run.stdout.readline() not in ("READY\n", ""):
        pass
    run.send_signal(number)
    _, said = run.communicate(timeout=60)
    return run.returncode, said


@pytest.mark.parametrize("number", EVERY)
def test_a_run_that_is_done_ends_with_0_whatever_comes_then(number):
    code = (
        "import atexit, sys, time\n"
        "from sedtool.__main__ import main\n"
        "atexit.register(lambda: (print('READY', flush=True), time.sleep(0.5)))\n"
        "sys.argv = ['sedtool', 'completion', 'bash']\n"
        "main()\n"
    )
    assert ended(code, number) == (0, "")


@pytest.mark.parametrize("number", EVERY)
def test_a_signal_while_the_program_is_loaded_is_one_line(number):
    code = (
        "import builtins, sys, time\n"
        "from sedtool.__main__ import main\n"
        "load = builtins.__import__\n"
        "def slowly(name, *rest):\n"
        "    if name == 'sedtool.cli':\n"
        "        print('READY', flush=True)\n"
        "        time.sleep(0.5)\n"
        "    return load(name, *rest)\n"
        "builtins.__import__ = slowly\n"
        "sys.argv = ['sedtool', 'doctor']\n"
        "main()\n"
    )
    exit_code, said = ended(code, number)
    assert exit_code == (130 if number == signal.SIGINT else 75)
    assert said.startswith("Error: ") and said.count("\n") == 1


def test_under_nohup_a_run_goes_on_when_its_terminal_is_closed():
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from sedtool.signals import listen, poll\n"
        "listen()\n"
        "print('READY', flush=True)\n"
        "time.sleep(0.5)\n"
        "poll()\n"
    )
    assert ended(code, signal.SIGHUP)[0] == 0


@pytest.mark.parametrize(
    ("error", "said"),
    [("signals.Interrupted(signal.SIGTERM)", ""), ("ValueError('odd')", "ValueError: odd")],
)
def test_an_interruption_that_a_callback_cannot_raise_is_not_printed(error, said):
    program = f"""
import signal, weakref
from sedtool import signals

class Held: pass

def fail(_): raise {error}

with signals.listening():
    held = Held()
    reference = weakref.ref(held, fail)
    del held
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.strip().endswith(said)
    assert bool(done.stderr) == bool(said)
