"""`sweep`: settings, poolings and seeds in, a folder of trained, tuned and scored runs out."""

import contextlib
import gc
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from sedtool.atomic import claim, lock, remove_leftovers, resource_errors, write_failures
from sedtool.checkpoint import read_header
from sedtool.config import FailurePolicy, to_json
from sedtool.errors import (
    ArtifactError,
    BusyError,
    InputsFailedError,
    NothingUsableError,
    ResourceError,
    SedtoolError,
    StoppedError,
)
from sedtool.runs import (
    RunFolder,
    RunSettings,
    SweepFolder,
    SweepRecord,
    differences,
    read_json,
    same_pooling,
)
from sedtool.signals import Interrupted, poll
from sedtool.store import open_scores
from sedtool.sweep.stages import (
    Hooks,
    Run,
    Step,
    SweepSettings,
    call,
    check_inputs,
    record_of,
    scoring_differences,
    warn_of_leaks,
)
from sedtool.text import clock, counted, first_five

_WAIT = 2.0  # seconds until features that another sweep makes are looked for again
_F1 = ("event", "segment", "clip")
_AGAIN = "run the same command again to go on"
_STOPPED = f"stopped; {_AGAIN}"

log = logging.getLogger(__name__)


class StageError(SedtoolError):
    """A stage of a sweep failed."""

    def __init__(self, stage: str, reason: str, exit_code: int) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage, self.reason, self.exit_code = stage, reason, exit_code


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
        """Return how many runs nothing is left to do for, those that failed among them."""
        return len(self.found) + len(self.made) + len(self.failures)

    def __str__(self) -> str:
        parts = [f"{counted(len(self.made), 'run')} made", f"{len(self.found)} done before"]
        if self.held:
            parts.append(f"{len(self.held)} left to another process ({first_five(self.held)})")
        if self.failures:
            parts.append(f"{len(self.failures)} failed")
        return f"{', '.join(parts)}, of {self.n_runs}, in {clock(self.seconds)}"

    def require_success(self, policy: FailurePolicy) -> None:
        """Raise an error that names the runs that failed, if they are more than is tolerated."""
        if not self.failures:
            return
        names = first_five(name for name, _, _ in self.failures)
        message = f"{len(self.failures)} of {counted(self.n_runs, 'run')} failed ({names})"
        if len(self.failures) == self.n_runs:
            raise NothingUsableError(f"{message}; see {self.failures_path}")
        if not policy.allows(len(self.failures), self.n_runs):
            raise InputsFailedError(f"{message}; see {self.failures_path}")


def sweep(
    output: Path,
    runs: Sequence[Run],
    hooks: Hooks,
    *,
    everything: Sequence[Run] = (),
    overwrite: bool = False,
    fail_fast: bool = False,
) -> SweepResult:
    """Make those runs that are not made: train, tune, infer, evaluate; then compare them.

    A run that another process works on is left to it, so several sweeps can share a folder. A run
    that fails does not keep the others from being made; a machine that fails ends the sweep.

    Parameters
    ----------
    output
        The folder that takes a folder for each run.
    runs
        The runs, in the order in which to make them.
    hooks
        What is told how it goes.
    everything
        All runs, if `runs` are a part of them; they are compared when the last one is done.
    overwrite, fail_fast
        Make those runs anew that have other settings; stop at the first run that fails.

    Raises
    ------
    ArtifactError
        If a run of other settings stands in the folder.
    ResourceError
        If a stage meets a full disk, or runs out of memory or of open files.
    StageError
        If features cannot be made.
    StoppedError
        If a signal stopped a training, which can be resumed.
    """
    output = output.resolve()
    known = _under_known_names(everything or runs, output)
    runs, everything = [known[run] for run in runs], list(known.values())
    variants = _variants(runs)
    left = _left(output, runs, overwrite)
    with resource_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    at_work = _Sweep(SweepFolder(output), overwrite, hooks)
    if left:
        warn_of_leaks(variants)
        at_work.make_features(variants)
        _left(output, runs, overwrite)  # again, now with the features
    SweepFolder(output).add_record(record_of(everything))
    result = at_work.make_runs(runs, fail_fast)
    with claim(SweepFolder(output).record, overwrite=True):  # which other sweeps do, too
        remove_leftovers(output)
        result.failures_path = write_failures(output, result.failures)
    failed = {name for name, _, _ in result.failures}
    undone = {run.name for run in _left(output, everything)}
    if undone <= failed and len(failed) < len(everything):
        result.table = at_work.compare(everything[0].settings)
    return result


def plan_sweep(
    output: Path, runs: Sequence[Run], overwrite: bool = False
) -> tuple[int, list[Step]]:
    """Return how many runs are to be made, and the steps that are left; nothing is written."""
    output = output.resolve()
    runs = list(_under_known_names(runs, output).values())
    variants = _variants(runs)
    undone = _left(output, runs, overwrite)
    audio = {path: each for each in variants for path in each.audio if undone}
    planned = [Step("extract", path, each) for path, each in audio.items() if not path.exists()]
    for run in undone:
        files = run.folder(output)
        planned += run.steps(files.path, bool(_examine(run, files).training), is_trained=False)
    return len(undone), [*planned, *(Step("compare", output, run.settings) for run in runs[:1])]


def _variants(runs: Sequence[Run]) -> list[SweepSettings]:
    """Return settings of runs that have different inputs, or raise what `check_inputs` does."""
    variants = list({run.settings.inputs: run.settings for run in reversed(runs)}.values())[::-1]
    for settings in variants:
        check_inputs(settings)
    return variants


def _under_known_names(runs: Sequence[Run], output: Path) -> dict[Run, Run]:
    """Return runs under the names that they have in the folder of a sweep, if they are there.

    So `cap` and `cap:max=4.6` are one run there, and one with lr=1e-3 is that of an earlier sweep
    which had this learning rate and did not vary it.
    """
    folder, wanted = SweepFolder(output), {run.name for run in runs}
    known: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for name in SweepRecord.read(folder.record).runs if folder.record.exists() else ():
        if name not in wanted and (config := folder.run(name).config).exists():
            there = RunSettings.read(config).config
            key = (same_pooling(there.pooling), there.seed)
            known.setdefault(key, []).append((name, there.pooling))

    def is_there(run: Run) -> bool:
        files = run.folder(output)
        state = _examine(run, files)
        is_told = files.scoring.exists() or not run.settings.varied
        return is_told and not (state.training or state.scoring)

    def known_as(run: Run) -> Run:
        names = known.get((same_pooling(run.pooling), run.seed), [])
        others = (replace(run, name=name, pooling=pooling) for name, pooling in names)
        is_begun = run.folder(output).config.exists()
        return run if is_begun else next(filter(is_there, others), run)

    return {run: known_as(run) for run in runs}


class _State(NamedTuple):
    """What stands in a run folder, and how it differs from what is to be made."""

    is_done: bool = False
    training: Sequence[str] = ()  # settings of training that differ, as text
    scoring: Sequence[str] = ()  # settings of the stages behind it that differ


def _examine(run: Run, files: RunFolder) -> _State:
    """Compare a run folder with what is to be made there."""
    if not files.config.exists():
        return _State()
    there, settings = RunSettings.read(files.config), run.settings
    config, _ = run.training.with_chosen(there.config.chosen_in(files.read_record()))
    here = RunSettings.of(settings.train, config, settings.devices["train"])
    training = differences(there, here, files.input_digests(there))
    scoring = scoring_differences(settings, files)
    return _State(not (training or scoring) and _is_done(files, settings), training, scoring)


def _is_done(files: RunFolder, settings: SweepSettings) -> bool:
    """Return whether training has ended and the metrics are those of the model that is there."""
    if not files.is_trained():
        return False
    try:
        read_json(files.metrics)
        header = read_header(settings.scored(files))
        scores = open_scores(files.scores, verify=False)
        is_of_model: bool = scores.model_sha256 == header["weights_sha256"]
        record = read_json(files.scoring) if files.scoring.exists() else {}
        decoding = record.get("decoding") or json.loads(to_json(scores.decoding))
        return is_of_model and decoding == header["decoding"]
    except (OSError, SedtoolError, ValueError, RecursionError, LookupError):
        return False


def _left(output: Path, runs: Sequence[Run], overwrite: bool = True) -> list[Run]:
    """Return the runs that are not done; those of other settings are refused, or made anew."""
    states = {run: _examine(run, run.folder(output)) for run in runs}
    others = [(run, state) for run, state in states.items() if state.training or state.scoring]
    if others and not overwrite:
        run, state = others[0]
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        raise ArtifactError(
            f"{run.folder(output).path}{more} holds a run of other settings: "
            f"{'; '.join((*state.training, *state.scoring))}; give another folder, or --overwrite "
            "to make it anew"
        )
    return [run for run, state in states.items() if not state.is_done]


class _Sweep:
    """A sweep while it runs: one stage after the other, one run after the other."""

    def __init__(self, folder: SweepFolder, overwrite: bool, hooks: Hooks) -> None:
        self._folder, self._overwrite, self._hooks = folder, overwrite, hooks
        self._started = time.monotonic()

    def make_features(self, variants: Sequence[SweepSettings]) -> None:
        """Extract what is missing, or wait for another sweep that does."""
        for step in [Step("extract", path, each) for each in variants for path in each.audio]:
            path = step.output
            holder = path.with_name(f".{path.name}.sweep.lock")
            while not path.exists():
                with _held(holder, path) as is_ours:
                    if is_ours and not path.exists():
                        self._extract(step)
                if not path.exists():
                    self._pause(f"another sedtool makes {path}")

    def _extract(self, step: Step) -> None:
        path = step.output
        result = self._do(step, self._folder.log, path.name, 0, 1)
        failed = counted(len(result.failures), "file")
        without = f" without {failed} that failed, see {result.failures_path}"
        self._hooks.say(f"extract: made {path}{without if result.failures else ''}")

    def _pause(self, why: str) -> None:
        until = time.monotonic() + _WAIT
        while time.monotonic() < until:
            poll()
            self._hooks.report(0, 1, why)
            time.sleep(_WAIT / 10)

    def _do(self, step: Step, log_file: Path, what: str, done: int, total: int) -> Any:
        """Run a stage, or raise a StageError; its warnings go to a log."""

        def progress(part: int, parts: int, said: str) -> None:
            self._hooks.report(done, total, f"{what}  {part} of {parts}  {said}")

        self._hooks.report(done, total, what)
        with self._hooks.logged(step, log_file):
            try:
                result = call(step, progress)
            except StoppedError as error:
                log.warning("%s", error)
                raise StoppedError(_STOPPED, error.exit_code) from error
            except Interrupted as signal:
                log.warning("stopped by %s", signal)
                raise
            except Exception as error:
                reason, code = self._hooks.explain(error)
                log.error("%s", reason)
                if code == ResourceError.exit_code and not isinstance(error, BusyError):
                    raise ResourceError(f"{what}: {reason}; {_AGAIN}") from error
                raise StageError(step.stage, reason, code) from None
            log.info("%s", result)
        return result

    def make_runs(self, runs: Sequence[Run], fail_fast: bool) -> SweepResult:
        result = SweepResult(len(runs))
        waiting = _left(self._folder.path, runs)
        result.found = [run.name for run in runs if run not in waiting]
        for _ in range(2):  # what another process held may be free, or done, the second time
            waiting = self._make_all(waiting, result, fail_fast)
            if not result.made:
                break
        result.held = [run.name for run in waiting]
        result.seconds = time.monotonic() - self._started
        return result

    def _make_all(self, runs: Sequence[Run], result: SweepResult, fail_fast: bool) -> list[Run]:
        """Make runs; return those that another process holds."""
        held = []
        for run in runs:
            if fail_fast and result.failures:
                break
            poll()
            files = run.folder(self._folder.path)
            with resource_errors(files.path):
                files.path.parent.mkdir(parents=True, exist_ok=True)
            with _held(files.sweep_lock, files.path) as is_ours:
                if is_ours and _is_free(files):
                    self._make(run, files, result)
                    continue
            held.append(run)
            if run.name not in result.held:
                result.held.append(run.name)
                self._hooks.say(f"{run.name}: left to the process that works on it")
        return held

    def _make(self, run: Run, files: RunFolder, result: SweepResult) -> None:
        started = time.monotonic()
        state = _examine(run, files)
        if state.is_done:  # by another process, meanwhile
            result.found.append(run.name)
            return
        try:
            self._run_stages(run, files, state, result)
        except StageError as error:
            result.failures.append((run.name, error.stage, error.reason))
            self._hooks.say(f"{run.name}: failed: {error}")
            return
        finally:
            gc.collect()  # the network of this run, before that of the next is made
        result.made.append(run.name)
        took = time.monotonic() - started
        left = result.n_runs - result.n_settled
        each = (time.monotonic() - self._started) / len(result.made)
        rest = f"; {left} to go, about {clock(left * each)}" if left else ""
        self._hooks.say(f"{run.name}: done in {clock(took)}; {_scores(files.metrics)}{rest}")

    def _run_stages(self, run: Run, files: RunFolder, state: _State, result: SweepResult) -> None:
        """Do what is left of a run. Its metrics go first, so that none stand for another model."""
        anew = bool(state.training) and self._overwrite
        is_trained = not state.training and files.is_trained()
        with resource_errors(files.test):
            files.test.mkdir(parents=True, exist_ok=True)
            files.metrics.unlink(missing_ok=True)
            files.scoring.unlink(missing_ok=True)
        for step in run.steps(files.path, anew, is_trained):
            what = f"{run.name} {step.stage}"
            self._do(step, files.log, what, result.n_settled, result.n_runs)

    def compare(self, settings: SweepSettings) -> Path | None:
        """Make the tables of all runs in the folder; return the one for people."""
        step = Step("compare", self._folder.path, settings)
        try:
            self._do(step, self._folder.log, "compare", 0, 1)
        except StageError as error:
            self._hooks.say(f"no table of these runs yet: {error}")
            return None
        return self._folder.tables[0]


@contextlib.contextmanager
def _held(path: Path, output: Path) -> Iterator[bool]:
    """Lock the file `path`, which stands for `output`; yields whether that was possible."""
    try:
        stream = lock(path, output)
    except BusyError:
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
    content = read_json(metrics)
    found = {name: content[name]["macro"]["f1"] for name in _F1 if name in content}
    texts = (f"{name} {'-' if f1 is None else f'{f1:.3f}'}" for name, f1 in found.items())
    return f"F1 {', '.join(texts)}"
