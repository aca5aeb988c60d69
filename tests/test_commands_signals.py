"""Every command that writes, under signals at random moments, and two of each at once.

A command that is stopped says so in one line and its exit code, leaves no temporary file, and is
completed by its rerun. Run as a program, this file tries one command.
"""

import json
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from support.campaign import scaled
from support.forks import Ended, Fork, prepare, program, run
from support.jobs import JOBS, finished, fresh_case, results, shorten_demo

pytestmark = pytest.mark.slow

SIGNALS = {
    signal.SIGTERM: 75,
    signal.SIGINT: 130,
    signal.SIGHUP: 75,
    signal.SIGUSR1: 75,
    signal.SIGKILL: -signal.SIGKILL,
}
LONG = ("sweep", "demo")  # which take seconds
BUSY, EXISTS = 6, 2  # exit codes of the second of two


class Trial:
    """Tries of one command: where, how long it takes, what it makes, and what was wrong."""

    def __init__(self, name: str, given: Path, folder: Path) -> None:
        self.name, self.job, self.given, self.folder = name, JOBS[name], given, folder / "case"
        self.chance, self.wrong = random.Random(name), []
        self.begin()
        started = time.monotonic()
        ended = run(self.job.words(), self.folder)
        self.seconds = time.monotonic() - started
        assert ended.code == self.job.code, ended
        self.expected = results(self.folder)

    def begin(self) -> None:
        fresh_case(self.job, self.given, self.folder)

    def stop(self, number: signal.Signals, fresh: bool) -> bool:
        """Send a signal at a random moment; return whether all was as it should be."""
        self.begin()
        fork = Fork(self.job.words(), self.folder, fresh=fresh)
        delay = self.chance.uniform(0, self.seconds + 2 * fresh)
        fork.signalled(number, delay)
        ended, before = fork.wait(), len(self.wrong)
        where = f"{self.name}, {number.name} after {delay:.2f} s"
        self.check_end(number, ended, where)
        was_done = finished(results(self.folder)) == finished(self.expected)
        again = run(self.job.words(self.job.again), self.folder)
        if again.code != self.job.code and not (was_done and again.code == EXISTS):
            self.wrong.append(f"P3 {where}, {ended}; the rerun: {again}")
        elif finished(results(self.folder)) != self.expected:
            self.wrong.append(f"P3 {where}, {ended}; the rerun made something else")
        return len(self.wrong) == before

    def check_end(self, number: signal.Signals, ended: Ended, where: str) -> None:
        if ended.code not in (SIGNALS[number], self.job.code):
            self.wrong.append(f"P10 {where}: {ended}")
        elif not ended.is_decent or (ended.code in (75, 130) and "Error: " not in ended.said):
            self.wrong.append(f"P16 {where}: {ended}")
        left = [name for name in results(self.folder) if name.endswith(".tmp")]
        if left and number != signal.SIGKILL:
            self.wrong.append(f"P3 {where}: left {left}")

    def pair(self, delay: float) -> bool:
        """Run the command, and again so much later; return whether one worked, with all kept."""
        self.begin()
        forks = []
        for name in ("one", "two"):
            (self.folder / name).mkdir()
            forks.append(self._in(self.folder / name))
            time.sleep(delay)
        codes = [fork.wait().code for fork in forks]
        # The other may find all done; besides, runs share a sweep, and models are rewritten.
        others = {BUSY, EXISTS, self.job.code}
        if not any({codes[i]} == {self.job.code} and codes[1 - i] in others for i in (0, 1)):
            self.wrong.append(f"P5 {self.name} twice: exit codes {codes}")
            return False
        if results(self.folder) != self.expected:
            self.wrong.append(f"P5 {self.name} twice: other results, exit codes {codes}")
            return False
        return True

    def _in(self, place: Path) -> Fork:
        """Start the command with its streams in a folder of their own."""
        for name in ("given", "out"):
            (place / name).symlink_to(self.folder / name)
        return Fork(self.job.words(), place)


def try_command(name: str, count: int, pairs: int, given: Path, folder: Path) -> dict:
    """Stop a command so often by each signal, and run so many pairs of it."""
    trial = Trial(name, given, folder)
    held = {
        number.name: sum(trial.stop(number, fresh=turn % 10 == 9) for turn in range(count))
        for number in SIGNALS
    }
    # Every second time the other one begins while the first is at work, or has just ended.
    delays = [trial.chance.uniform(0, trial.seconds) * (turn % 2) for turn in range(pairs)]
    return {"held": held, "pairs": sum(map(trial.pair, delays)), "wrong": trial.wrong}


def tried(name: str, count: int, pairs: int, given: Path, folder: Path) -> dict:
    return program(__file__, name, count, pairs, given, folder)


@pytest.mark.parametrize("name", ["extract", "train"])
def test_a_command_that_is_stopped_is_completed_by_its_rerun(given, tmp_path, name):
    assert tried(name, 1, 1, given, tmp_path)["wrong"] == []


@pytest.mark.campaign
@pytest.mark.parametrize("name", JOBS)
def test_signals_at_random_moments_cost_no_command_anything(given, tmp_path, report, name):
    count = scaled(4 if name in LONG else 20, 2)
    pairs = scaled(3 if name in LONG else 15, 2)
    promises = "P3 P10 P16" if name.startswith("train") else "P3 P16"
    stops = report(promises, f"`{name}`: TERM, INT, HUP, USR1 at random moments")
    kills = report("P3", f"`{name}`: SIGKILL at random moments")
    twice = report("P5", f"`{name}`: twice at once")
    found = tried(name, count, pairs, given, tmp_path)
    for number, held in found["held"].items():
        (kills if number == "SIGKILL" else stops).add(count, held)
    twice.add(pairs, found["pairs"])
    assert found["wrong"] == []


if __name__ == "__main__":
    prepare()
    shorten_demo()
    command, often, twice_often, *places = sys.argv[1:]
    numbers = int(often), int(twice_often)
    print(json.dumps(try_command(command, *numbers, *map(Path, places))))
