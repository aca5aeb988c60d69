"""A sweep while it runs: one stage after the other, one run after the other."""

import contextlib
import datetime
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sedtool.atomic import lock, resource_errors
from sedtool.config import FailurePolicy
from sedtool.errors import (
    InputsFailedError,
    NothingUsableError,
    ResourceError,
    StoppedError,
)
from sedtool.runs import RunFolder, SweepFolder
from sedtool.sweep.checks import Progress, State, examine, record_settings
from sedtool.sweep.children import ChildError, Stop, run_child
from sedtool.sweep.commands import (
    Settings,
    SweepInputs,
    comparison_line,
    extractions,
    stages,
)
from sedtool.sweep.grid import Run
from sedtool.text import first_five

__all__ = ["Report", "Say", "Sweep", "SweepResult"]

Report = Callable[[int, int, str], None]  # done, total, what
Say = Callable[[str], None]  # takes a line
_WAIT = 2.0  # seconds until features that another sweep makes are looked for again


@dataclass
class SweepResult:
    """How a sweep ended."""

    n_runs: int
    found: list[str] = field(default_factory=list)  # names of runs that were done before
    made: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)  # left to another process
    failures: list[tuple[str, str, str]] = field(default_factory=list)  # run, stage, error
    failures_path: Path | None = None
    table: Path | None = None  # the comparison, as text
    seconds: float = 0.0

    @property
    def n_settled(self) -> int:
        """Return how many runs nothing is left to do for, be it for a failure."""
        return len(self.found) + len(self.made) + len(self.failures)

    def __str__(self) -> str:
        """Say it in one line."""
        parts = [f"{_count(len(self.made), 'run')} made", f"{len(self.found)} done before"]
        if self.held:
            parts.append(f"{len(self.held)} left to another process ({first_five(self.held)})")
        if self.failures:
            parts.append(f"{len(self.failures)} failed")
        return f"{', '.join(parts)}, of {self.n_runs}, in {_clock(self.seconds)}"

    def require_success(self, policy: FailurePolicy) -> None:
        """Raise an error that names the runs that failed, if they are more than is tolerated."""
        if not self.failures:
            return
        names = first_five(name for name, _, _ in self.failures)
        message = f"{len(self.failures)} of {_count(self.n_runs, 'run')} failed ({names})"
        if len(self.failures) == self.n_runs:
            raise NothingUsableError(f"{message}; see {self.failures_path}")
        if not policy.allows(len(self.failures), self.n_runs):
            raise InputsFailedError(f"{message}; see {self.failures_path}")


class Sweep:
    """Makes features and runs.

    Parameters
    ----------
    output
        The folder that takes the runs.
    inputs
        What the runs have in common.
    overwrite
        Whether runs of other settings are made anew.
    report
        Called with runs done, runs in all and what is being done.
    say
        Called with a line where something has ended.
    stop
        Asked again and again; 0, or the exit code of the signal to stop for.
    """

    def __init__(
        self,
        output: Path,
        inputs: SweepInputs,
        overwrite: bool,
        report: Report,
        say: Say,
        stop: Stop,
    ) -> None:
        self._output, self._inputs, self._overwrite = output.resolve(), inputs, overwrite
        self._report, self._say, self._stop = report, say, stop
        self._started = time.monotonic()

    def make_features(self) -> None:
        """Extract what is missing, or wait for another sweep that does."""
        for path, line in extractions(self._inputs):
            holder = path.with_name(f".{path.name}.sweep.lock")
            while not path.exists():
                with _held(holder, path) as is_ours:
                    if is_ours and not path.exists():
                        self._extract(path, line)
                if not path.exists():
                    self._pause(f"another sedtool makes {path}")

    def _extract(self, path: Path, line: list[str]) -> None:
        def hear(said: str) -> None:
            self._report(0, 1, f"{path.name}  {said}")

        hear("")
        log = SweepFolder(self._output).log
        code = run_child(line, self._inputs.data, log, self._stop, hear)
        failures = path.with_name(f"{path.name}.failures.tsv")
        failed = ""
        if code and failures.exists():
            n_failed = len(failures.read_bytes().splitlines()) - 1  # below the header
            failed = f" without {_count(n_failed, 'file')} that failed, see {failures}"
        self._say(f"extract: made {path}{failed}")

    def _pause(self, why: str) -> None:
        until = time.monotonic() + _WAIT
        while time.monotonic() < until:
            self._require_going()
            self._report(0, 1, why)
            time.sleep(_WAIT / 10)

    def _require_going(self) -> None:
        if code := self._stop():
            raise StoppedError("stopped; run the same command again to go on", code)

    def make_runs(self, runs: Sequence[Run], settings: Settings, fail_fast: bool) -> SweepResult:
        """Make the runs that are not done."""
        result = SweepResult(len(runs))
        waiting = []
        for run in runs:
            state = examine(run, self._files(run), self._inputs, settings)
            if state.progress is Progress.DONE:
                result.found.append(run.name)
            else:
                waiting.append(run)
        for _ in range(2):  # what another process held may be free, or done, the second time
            waiting = self._make_all(waiting, settings, result, fail_fast)
            if not result.made:
                break
        result.held = [run.name for run in waiting]
        result.seconds = time.monotonic() - self._started
        return result

    def _files(self, run: Run) -> RunFolder:
        return run.folder(self._output)

    def _make_all(
        self, runs: Sequence[Run], settings: Settings, result: SweepResult, fail_fast: bool
    ) -> list[Run]:
        """Make runs; return those that another process holds."""
        held = []
        for run in runs:
            if fail_fast and result.failures:
                break
            self._require_going()
            files = self._files(run)
            folder = files.path
            with resource_errors(folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
            with _held(files.sweep_lock, folder) as is_ours:
                if is_ours and _is_free(files):
                    self._make(run, settings, result)
                    continue
            held.append(run)
            if run.name not in result.held:
                result.held.append(run.name)
                self._say(f"{run.name}: left to the process that works on it")
        return held

    def _make(self, run: Run, settings: Settings, result: SweepResult) -> None:
        files, started = self._files(run), time.monotonic()
        state = examine(run, files, self._inputs, settings)
        if state.progress is Progress.DONE:  # by another process, meanwhile
            result.found.append(run.name)
            return
        try:
            self._run_stages(run, files, state, settings, result)
        except ChildError as error:
            stage, _, reason = str(error).partition(": ")
            result.failures.append((run.name, stage, reason or stage))
            self._say(f"{run.name}: failed: {error}")
            return
        result.made.append(run.name)
        took = time.monotonic() - started
        left = result.n_runs - result.n_settled
        each = (time.monotonic() - self._started) / len(result.made)
        rest = f"; {left} to go, about {_clock(left * each)}" if left else ""
        self._say(f"{run.name}: done in {_clock(took)}; {_scores(files.metrics)}{rest}")

    def _run_stages(
        self, run: Run, files: RunFolder, state: State, settings: Settings, result: SweepResult
    ) -> None:
        """Do what is left of a run. Its metrics go first, so that none stand for another model."""
        anew = bool(state.training) and self._overwrite
        lines = stages(run, files, self._inputs, settings, anew)
        if not state.training and files.is_trained():
            lines = lines[1:]
        with resource_errors(files.test):
            files.test.mkdir(parents=True, exist_ok=True)
            files.metrics.unlink(missing_ok=True)
            files.scoring.unlink(missing_ok=True)
        for line in lines:
            self._require_going()
            what = f"{run.name} {line[0]}"
            self._report(result.n_settled, result.n_runs, what)

            def hear(said: str, what: str = what) -> None:
                self._report(result.n_settled, result.n_runs, f"{what}  {said}")

            run_child(line, self._inputs.data, files.log, self._stop, hear)
            if line[0] == "infer":
                record_settings(files, self._inputs, settings)

    def compare(self) -> Path | None:
        """Make the tables of all runs in the folder; return the one for people."""
        line = comparison_line(self._output, self._inputs)
        try:
            run_child(line, self._inputs.data, SweepFolder(self._output).log, self._stop)
        except ChildError as error:
            self._say(f"no table of these runs yet: {error}")
            return None
        return SweepFolder(self._output).tables[0]


@contextlib.contextmanager
def _held(path: Path, output: Path) -> Iterator[bool]:
    """Lock the file `path`, which stands for `output`; yields whether that was possible."""
    try:
        stream: BinaryIO = lock(path, output)
    except ResourceError as error:
        if not isinstance(error.__cause__, BlockingIOError):
            raise
        yield False
        return
    with stream:
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def _is_free(files: RunFolder) -> bool:
    """Return whether no `sedtool train` or `tune` outside of any sweep works on a run."""
    if not files.lock.exists():
        return True
    with _held(files.lock, files.path) as is_free:
        return is_free


def _scores(metrics: Path) -> str:
    """Return what a run's metrics come to, in a few words."""
    content = json.loads(metrics.read_bytes())
    found = {name: content[name]["macro"]["f1"] for name in ("event", "segment", "clip")}
    texts = (f"{name} {'-' if f1 is None else f'{f1:.3f}'}" for name, f1 in found.items())
    return f"F1 {', '.join(texts)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
