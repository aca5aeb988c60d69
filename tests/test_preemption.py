"""Trainings that are stopped and killed over and over end in the bytes of one that is not.

Run as a program, this file does so for some seconds.
"""

import json
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from support.campaign import MINUTES
from support.forks import Fork, prepare, program, run
from support.jobs import JOBS, fresh_case, results

pytestmark = pytest.mark.slow

METHODS = {"weak": "train", "mean-teacher": "train mean-teacher"}
STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT, signal.SIGKILL)
LONGER = ["--epochs", "6", "--steps-per-epoch", "3", "--schedule", "plateau", "--time-shift", "2"]
CODES = {75, 130, -signal.SIGKILL}


def preempt(method: str, seconds: float, given: Path, folder: Path) -> dict:
    """Train in chains of stops for so many seconds; return how many chains, stops, and faults."""
    job, case, chance = JOBS[METHODS[method]], folder / "case", random.Random(method)
    words = [*job.words(), *LONGER]
    fresh_case(job, given, case)
    began = time.monotonic()
    assert run(words, case).code == 0
    length, expected = time.monotonic() - began, results(case)
    chains = stops = 0
    wrong: list[str] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or not chains:
        fresh_case(job, given, case)
        chain: list[str] = []
        while True:
            fork = Fork([*words, *job.again.split()], case)
            number = chance.choice(STOPS)
            fork.signalled(number, chance.uniform(0, length))
            ended = fork.wait()
            chain.append(f"{number.name}: {ended.code}")
            if ended.code not in CODES or len(chain) > 100:
                break
        chains, stops = chains + 1, stops + len(chain) - 1
        if ended.code or results(case) != expected:
            wrong.append(f"{method}: {chain} ended with {ended}")
    return {"chains": chains, "stops": stops, "wrong": wrong}


@pytest.mark.parametrize("method", METHODS)
def test_a_training_that_is_stopped_over_and_over_ends_as_if_it_was_not(given, tmp_path, method):
    assert program(__file__, method, 0, given, tmp_path)["wrong"] == []


@pytest.mark.campaign
@pytest.mark.parametrize("method", METHODS)
def test_minutes_of_preemption_change_no_byte(given, tmp_path, report, method):
    tries = report("P3 P11 P12", f"chains of stops and kills of a {method} training")
    found = program(__file__, method, MINUTES * 60 / 6, given, tmp_path)
    tries.what += f" ({found['stops']:,} stops)"
    tries.add(found["chains"], found["chains"] - len(found["wrong"]))
    assert found["wrong"] == []


if __name__ == "__main__":
    prepare()
    which, duration, *places = sys.argv[1:]
    print(json.dumps(preempt(which, float(duration), *map(Path, places))))
