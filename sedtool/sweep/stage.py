"""`sweep`: a recipe, poolings and seeds in, a folder of trained, tuned and scored runs out."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from sedtool.atomic import resource_errors, write_failures
from sedtool.errors import ArtifactError, ConfigError
from sedtool.runs import NamedFile, SweepFolder, SweepRecord
from sedtool.sweep.checks import Progress, examine
from sedtool.sweep.children import Stop, ask_settings, quoted
from sedtool.sweep.commands import (
    Settings,
    SweepInputs,
    comparison_line,
    extractions,
    features_option,
    stages,
)
from sedtool.sweep.data import check_training, refuse_other_features, warn_of_leaks
from sedtool.sweep.grid import Run
from sedtool.sweep.making import Report, Say, Sweep, SweepResult

__all__ = ["plan_sweep", "sweep"]

_STAGES = ("extract", "train", "tune", "infer", "evaluate")


def sweep(
    output: Path,
    inputs: SweepInputs,
    runs: Sequence[Run],
    everything: Sequence[Run] = (),
    *,
    overwrite: bool = False,
    fail_fast: bool = False,
    progress: Report = lambda done, total, what: None,
    say: Say = lambda line: None,
    stop: Stop = lambda: 0,
) -> SweepResult:
    """Do those runs that are not done: train, tune, infer, evaluate; then compare them.

    Each stage is a process of its own. A run that another process works on is left to it, so
    several sweeps can share a folder. A run that fails does not keep the others from being made.

    Parameters
    ----------
    output
        The folder that takes a folder for each run.
    inputs
        What the runs have in common.
    runs
        The runs, in the order in which to make them.
    everything
        All runs, if `runs` are a part of them; they are compared when the last one is done.
    overwrite
        Make those runs anew that stand in the folder with other settings.
    fail_fast
        Stop at the first run that fails.
    progress
        Called with runs done, runs in all, and what is being done.
    say
        Called with a line where a run has ended.
    stop
        Asked again and again; when it is not 0, the stage that runs is told to save and stop.

    Raises
    ------
    ArtifactError
        If a run of other settings stands in the folder.
    ConfigError
        If the settings are none to run with.
    ChildError
        If features cannot be made.
    StoppedError
        If the sweep was stopped; a training that was under way can be resumed.
    """
    output = output.resolve()
    settings = _settings(inputs)
    check_training(inputs, settings)
    _refuse_others(output, inputs, runs, settings, overwrite)
    refuse_other_features(inputs, settings)
    with resource_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    at_work = Sweep(output, inputs, overwrite, progress, say, stop)
    if _undone(output, inputs, runs, settings):
        warn_of_leaks(inputs, settings)
        at_work.make_features()
        _refuse_others(output, inputs, runs, settings, overwrite)  # now with the features
    SweepFolder(output).add_record(_record(inputs, everything or runs))
    result = at_work.make_runs(runs, settings, fail_fast)
    result.failures_path = write_failures(output, result.failures)
    failed = {name for name, _, _ in result.failures}
    undone = {run.name for run in _undone(output, inputs, everything or runs, settings)}
    if undone <= failed and len(failed) < len(everything or runs):
        result.table = at_work.compare()
    return result


def _record(inputs: SweepInputs, runs: Sequence[Run]) -> SweepRecord:
    weak = inputs.weak_reference
    return SweepRecord(
        str(inputs.recipe.resolve()),
        str(inputs.data.resolve()),
        NamedFile.of(inputs.path(inputs.reference)),
        None if weak is None else NamedFile.of(inputs.path(weak)),
        None if inputs.paper is None else inputs.paper.resolve(),
        tuple(run.name for run in runs),
    )


def _undone(
    output: Path, inputs: SweepInputs, runs: Sequence[Run], settings: Settings
) -> list[Run]:
    """Return the runs that are not done."""
    states = (examine(run, run.folder(output), inputs, settings) for run in runs)
    pairs = zip(runs, states, strict=True)
    return [run for run, state in pairs if state.progress is not Progress.DONE]


def plan_sweep(
    output: Path, inputs: SweepInputs, runs: Sequence[Run], overwrite: bool = False
) -> list[str]:
    """Return the command lines that are left to be run, as a shell takes them.

    Nothing is written. They are all in one process; a sweep also records what it does.

    Raises
    ------
    SedtoolError
        As `sweep` would, before it begins.
    """
    settings = _settings(inputs)
    check_training(inputs, settings)
    _refuse_others(output, inputs, runs, settings, overwrite)
    refuse_other_features(inputs, settings)
    undone = _undone(output, inputs, runs, settings)
    lines = [quoted(line) for _, line in extractions(inputs) if undone]
    for run in undone:
        files = run.folder(output.resolve())
        state = examine(run, files, inputs, settings)
        lines.append(f"mkdir -p {shlex.quote(str(files.test))}")
        lines += map(quoted, stages(run, files, inputs, settings, bool(state.training)))
    return [
        f"# {len(runs) - len(undone)} of {len(runs)} runs are done",
        f"cd {shlex.quote(str(inputs.data.resolve()))}",
        *lines,
        quoted(comparison_line(output, inputs)),
    ]


def _settings(inputs: SweepInputs) -> Settings:
    """Return the settings that the stages of every run would have, as they say themselves.

    Raises
    ------
    ConfigError
        If they are refused, or a file that is needed is not there.
    """
    for text in (*inputs.test, *inputs.audio, inputs.reference, inputs.weak_reference):
        if text is not None and not inputs.path(text).exists() and "*" not in text:
            raise ConfigError(f"{inputs.path(text)} does not exist; is --data the right folder?")
    common = inputs.common()
    settings = {stage: ask_settings([stage, *common], inputs.data) for stage in _STAGES}
    is_needed = any(features_option(inputs, settings[stage]) for stage in ("train", "tune"))
    if is_needed and not (inputs.audio or inputs.path(inputs.features).exists()):
        raise ConfigError(
            f"{inputs.path(inputs.features)} does not exist, and there is no --audio to make it of"
        )
    return settings


def _refuse_others(
    output: Path, inputs: SweepInputs, runs: Sequence[Run], settings: Settings, overwrite: bool
) -> None:
    """Raise an ArtifactError if runs of other settings are there, and may not be replaced."""
    found: list[tuple[Path, str]] = []
    for run in runs:
        files = run.folder(output)
        differences = examine(run, files, inputs, settings).differences
        if differences:
            found.append((files.path, differences))
    if found and not overwrite:
        folder, differences = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ArtifactError(
            f"{folder}{more} holds a run of other settings: {differences}; give another folder, or "
            "--overwrite to make it anew"
        )
