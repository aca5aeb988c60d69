"""Every command that writes: a kill or a failing disk at the n-th operation that changes the disk.

After each fault what stands is whole, the next stage takes nothing incomplete, and the same
command goes on and ends in the same bytes. Run as a program, this file tries one command.
"""

import contextlib
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sedtool.checkpoint import load_model, load_state
from sedtool.errors import SedtoolError
from sedtool.store import file_format, open_features, open_scores
from support.campaign import scaled
from support.faults import Faults, fail
from support.forks import Ended, prepare, program, run
from support.jobs import JOBS, UNFINISHED, finished, fresh_case, results, shorten_demo

pytestmark = pytest.mark.slow

KILL = "kill"
FAULTS: dict[str, Callable[[], None]] = {
    KILL: lambda: os.kill(os.getpid(), signal.SIGKILL),
    "ENOSPC": fail(errno.ENOSPC),
    "EIO": fail(errno.EIO),
    "EDQUOT": fail(errno.EDQUOT),
}
MINE = "what a user keeps here"
LONG = ("sweep", "demo", "train", "train mean-teacher")  # of many operations, or of long ones


def is_whole(path: Path, content: object, expected: object) -> bool:
    """Return whether a file is as an uninterrupted run leaves it, or has a state of its own."""
    if content in (expected, b"old") or path.name.endswith(UNFINISHED):
        return True
    if path.name.startswith(".") or path.suffix not in (".h5", ".safetensors", ".pt", ".json"):
        return path.suffix in ("", ".yaml", ".log") or path.name.startswith((".", "metrics"))
    try:
        if path.suffix == ".h5":
            open_features(path) if "features" in file_format(path) else open_scores(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        else:
            (load_model if path.suffix == ".safetensors" else load_state)(path)
    except (SedtoolError, ValueError):
        return False
    return True


class Trial:
    """Tries of one command: where, what a run to its end makes, and what was wrong."""

    def __init__(self, name: str, given: Path, folder: Path) -> None:
        self.name, self.job, self.folder = name, JOBS[name], folder / "case"
        self.given = given
        self.stamps = self._stamps()
        self.expected, self.read = self._straight()
        self.wrong: list[str] = []

    def _straight(self) -> tuple[dict[str, object], Ended | None]:
        self.begin()
        self.before = results(self.folder)
        ended = run(self.job.words(), self.folder)
        assert ended.code == self.job.code, ended
        read = run(self.job.reader.split(), self.folder) if self.job.reader else None
        assert read is None or read.code == 0, read
        return results(self.folder), read

    def _stamps(self) -> dict[str, tuple[int, int]]:
        files = (path.stat() for path in sorted(self.given.rglob("*")) if path.is_file())
        return {str(i): (stat.st_size, stat.st_mtime_ns) for i, stat in enumerate(files)}

    def begin(self) -> None:
        fresh_case(self.job, self.given, self.folder)
        (self.folder / "out" / "mine.tsv").write_text(MINE)

    def count_operations(self) -> int:
        """Return how many operations that change the disk a run to its end has."""
        self.begin()
        counted = self.folder / ".count"

        @contextlib.contextmanager
        def around() -> Iterator[None]:
            faults = Faults(0, lambda: None)
            try:
                with faults.installed():
                    yield
            finally:
                counted.write_text(str(faults.count))

        run(self.job.words(), self.folder, around=around)
        return int(counted.read_text())

    def strike(self, kind: str, at: int) -> bool:
        """Let one fault happen; return whether everything was as it should be afterwards."""
        self.begin()
        more = []
        if kind != KILL and self.job.replaces:
            more = ["--overwrite"]
            for name in self.expected:
                path = self.folder / "out" / name
                path.write_text("old") if name != "mine.tsv" else None
        faults = Faults(at, FAULTS[kind])
        ended = run(self.job.words(*more), self.folder, around=faults.installed)
        before = len(self.wrong)
        where = f"{self.name}, {kind} at {at}"
        self.check_end(kind, ended, where)
        self.check_what_stands(where)
        self.check_rerun(more, where)
        return len(self.wrong) == before

    def check_end(self, kind: str, ended: Ended, where: str) -> None:
        """Check how the command itself ended: a failing disk is exit code 6 and one line."""
        if kind == KILL:
            if ended.code not in (-signal.SIGKILL, self.job.code):
                self.wrong.append(f"P1 {where}: {ended}")
            return
        is_said = ended.code == self.job.code or ended.said.count("Error: ") == 1
        if ended.code not in (6, self.job.code) or not is_said:
            self.wrong.append(f"P4 {where}: {ended}")
        elif not ended.is_decent:
            self.wrong.append(f"P16 {where}: {ended}")

    def check_what_stands(self, where: str) -> None:
        """Check that each file is whole, and that the next stage takes nothing incomplete."""
        found, out = results(self.folder), self.folder / "out"
        changed = {name: x for name, x in found.items() if x != self.before.get(name)}
        broken = [n for n, x in changed.items() if not is_whole(out / n, x, self.expected.get(n))]
        if broken:
            self.wrong.append(f"P1 {where}: {broken} not whole")
        if found == self.expected or b"old" in found.values() or self.read is None:
            return
        read = run(self.job.reader.split(), self.folder)
        is_the_same = read.out == self.read.out or self.job.lacks in read.out.decode()
        if not read.code and not is_the_same:
            self.wrong.append(f"P2 {where}: the next stage took {sorted(found)}")

    def check_rerun(self, more: list[str], where: str) -> None:
        """Check that the same command completes what is not complete, in the same bytes."""
        was_done = finished(results(self.folder)) == finished(self.expected)
        ended = run(self.job.words(*more, self.job.again), self.folder)
        if ended.code != self.job.code and not (was_done and ended.code == 2):
            self.wrong.append(f"P3 {where}: the rerun: {ended}")
        found = results(self.folder)
        # A lock beside what was finished does no harm; a sweep leaves finished runs as they are.
        if was_done or self.name == "sweep":
            found = {name: x for name, x in found.items() if not name.endswith(".lock")}
        differ = sorted(n for n in {*found, *self.expected} if found.get(n) != self.expected.get(n))
        if differ:
            self.wrong.append(f"P3 {where}: after the rerun other {differ}")
        if self._stamps() != self.stamps:
            self.wrong.append(f"P1 {where}: files that are read were changed")
            self.stamps = self._stamps()


def try_command(name: str, most: int, given: Path, folder: Path) -> dict:
    """Strike at up to so many operations of a command with each fault; return what happened."""
    trial = Trial(name, given, folder)
    count = trial.count_operations()
    tried = {}
    for number, kind in enumerate(FAULTS):
        share = most if kind != "EDQUOT" else max(1, most // 4)  # it goes the way of ENOSPC
        step = max(1.0, count / share)
        places = sorted({1 + int((number / 7 + i) * step) for i in range(min(share, count))})
        places = [at for at in places if at <= count]
        tried[kind] = [len(places), sum(trial.strike(kind, at) for at in places)]
    return {"operations": count, "tried": tried, "wrong": trial.wrong}


def struck(name: str, most: int, given: Path, folder: Path) -> dict:
    return program(__file__, name, most, given, folder)


@pytest.mark.parametrize(
    "name", ["extract", "extract --update", "infer --update", "merge events", "evaluate"]
)
def test_a_few_faults_of_a_command_cost_nothing(given, tmp_path, name):
    assert struck(name, 3, given, tmp_path)["wrong"] == []


@pytest.mark.campaign
@pytest.mark.parametrize("name", JOBS)
def test_a_fault_at_any_operation_of_any_command_costs_nothing(given, tmp_path, report, name):
    most = scaled(40, 4) if name in LONG else 10_000
    kills = report("P1 P2 P3", f"`{name}`: kill at operations that change the disk")
    errors = report("P3 P4 P16", f"`{name}`: ENOSPC, EIO, EDQUOT at them")
    found = struck(name, most, given, tmp_path)
    for kind, (tried, held) in found["tried"].items():
        (kills if kind == KILL else errors).add(tried, held)
    kills.what += f" ({found['tried'][KILL][0]} of {found['operations']})"
    assert found["wrong"] == []


if __name__ == "__main__":
    prepare()
    shorten_demo()
    command, limit, *places = sys.argv[1:]
    print(json.dumps(try_command(command, int(limit), *map(Path, places))))
