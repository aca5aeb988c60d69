"""No value of any option makes a command hang, talk without end, or call it a bug in sedtool.

Run as a program, this file tries the values, each in a fork of a process that has loaded all.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import sedtool.demo
from sedtool.__main__ import main
from sedtool.config import EvaluationConfig
from sedtool.errors import SedtoolError
from sedtool.evaluation import evaluate
from sedtool.labels import read_events
from support.campaign import MINUTES, USUAL_MINUTES
from support.command_lines import every_option, option_name, quick_lines
from support.training import Tiny

pytestmark = pytest.mark.slow

SECONDS = 10  # that a command may take
LONGEST = 2000  # characters of a line on stderr
CODES = {0, 75, 130} | {kind.exit_code for kind in SedtoolError.__subclasses__()[:-1]}
TEXTS = {
    "nothing": "",
    "300 characters": "x" * 300,
    "5000 characters": "y" * 5000,
    "5000 names": "z," * 5000,
    **{number: number for number in ("nan", "inf", "0", "-1", "1e300")},
    "null device": "/dev/null",
}


def odd_values(folder: Path) -> dict[str, str]:
    """Return values that some option takes and most do not, by what they are."""
    (folder / "a folder").mkdir()
    os.mkfifo(folder / "a fifo")
    return TEXTS | {name: str(folder / name) for name in ("a folder", "a fifo")}


def odd_lines(lines: dict[str, tuple]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield command, option and a line whose word VALUE is to be the value of the option."""
    for command, parameter in every_option():
        if command not in lines or getattr(parameter, "is_flag", False):
            continue
        words, name = command.split(), option_name(parameter)
        given = [str(word) for word in lines[command][1:]]
        if isinstance(parameter, click.Option):
            yield command, name, [*words, *given, f"{name}=VALUE"]
        else:
            yield command, name, [*words, "VALUE", *given[1:]]


def attempt(words: list[str], folder: Path) -> tuple[int | str, str]:
    """Run a command line in a fork; return its exit code, or that it hangs, and its stderr."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(folder)
        for descriptor, path in enumerate((os.devnull, os.devnull, folder / "stderr")):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
        sys.argv = ["sedtool", *words]
        try:
            main()
        except SystemExit as end:
            os._exit(end.code if isinstance(end.code, int) else 0)
        finally:
            os._exit(99)
    code: int | str = f"hangs for {SECONDS} s"
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.002)
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return code, (folder / "stderr").read_text(errors="replace")


def try_all(tiny: Tiny, folder: Path, step: int) -> tuple[int, list[str]]:
    """Try every `step`-th value; return how many, and a line for each that ended badly."""
    labels = read_events(tiny.strong)
    evaluation = evaluate(labels, labels, EvaluationConfig())
    sedtool.demo.run_demo = lambda *_, **__: evaluation  # it takes minutes
    template, case = folder / "template", folder / "case"
    template.mkdir()
    lines = list(odd_lines(quick_lines(tiny, template)))
    values = odd_values(folder)
    chosen = [(line, kind) for line in lines for kind in values][step - 1 :: step]
    bad = []
    for (command, option, line), kind in chosen:
        shutil.copytree(template, case)
        words = [word.replace("VALUE", values[kind]) for word in line]
        code, said = attempt([word.replace(str(template), str(case)) for word in words], case)
        shutil.rmtree(case)
        too_long = max(map(len, said.splitlines()), default=0) > LONGEST
        if code not in CODES or too_long or "Traceback" in said or "Exception ignored" in said:
            bad.append(f"{command} {option} ({kind}): {code}, {said[-300:]}")
    return len(chosen), bad


def tried(tiny: Tiny, folder: Path, step: int) -> tuple[int, list[str]]:
    """Try values in a process of its own, which has no threads; return what `try_all` does."""
    paths = json.dumps({name: str(path) for name, path in vars(tiny).items()})
    line = [sys.executable, __file__, paths, str(folder), str(step)]
    tests = Path(__file__).parent
    python_path = os.pathsep.join([str(tests.parent), str(tests)])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": python_path}
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    number, bad = json.loads(done.stdout)
    return number, bad


def test_every_eleventh_odd_value_of_all_options_ends_as_a_value_should(tiny, tmp_path):
    number, bad = tried(tiny, tmp_path, 11)
    assert bad == []
    assert number > 250


@pytest.mark.campaign
def test_every_odd_value_of_all_options_ends_as_a_value_should(tiny, tmp_path, report):
    what = f"odd values of all options: no bug, none over {SECONDS} s or {LONGEST:,} characters"
    tries = report("P9 P16", what)
    number, bad = tried(tiny, tmp_path, round(1 / min(1, MINUTES / USUAL_MINUTES)))
    tries.add(number, number - len(bad))
    assert bad == []


if __name__ == "__main__":
    given = Tiny(**{name: Path(path) for name, path in json.loads(sys.argv[1]).items()})
    print(json.dumps(try_all(given, Path(sys.argv[2]), int(sys.argv[3]))))
