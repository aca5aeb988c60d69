"""Folders of sweeps: what they were made for, how far each run is, and what the poolings reach."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from sedtool.errors import ArtifactError, ConfigError, SedtoolError
from sedtool.info.description import Description
from sedtool.info.records import attempt, macro_f1, read_recipe_sections
from sedtool.runs import RunFolder, SweepFolder, read_json, split_name
from sedtool.store import open_scores

__all__ = ["describe_sweep"]

_DONE, _RATES = "done", ("event_f1", "segment_f1", "clip_f1")


@dataclass(frozen=True)
class _Run:
    """How far a run of a sweep is."""

    name: str
    pooling: str  # as it was written, or, before the run has begun, the name of its folder
    seed: int
    status: str
    error: str | None  # where it failed: why
    f1: Mapping[str, float | None]  # of the test clips, macro


def describe_sweep(
    path: Path, verify: bool, progress: Callable[[int, int, str], None] | None
) -> Description:
    """Describe the folder of a sweep; `verify` checks models, training states and scores of all."""
    folder = SweepFolder(path)
    record = folder.read_record()
    problems: list[SedtoolError] = []
    failures, runs = folder.read_failures(), []
    for name in record.runs:
        runs.append(_read_run(folder, name, failures.get(name), problems))
        if verify:
            problems += _damage(path / name)
        if progress:
            progress(len(runs), len(record.runs), name)
    rows = [{"run": run.name, "status": run.status, "error": run.error} for run in runs]
    values = {
        "recipe": record.recipe,
        "data": record.data,
        "reference": str(record.reference.path),
        "weak_reference": record.weak_reference and str(record.weak_reference.path),
        "paper": record.paper and str(record.paper),
        "runs": len(runs),
        "done": sum(run.status == _DONE for run in runs),
        "seeds": sorted({run.seed for run in runs}),
        "poolings": _pooling_rows(runs),
        "not_done": [row for row in rows if row["status"] != _DONE],
    }
    return Description(path, "sweep", values, verify, tuple(problems))


def _read_run(
    sweep: SweepFolder, name: str, failure: str | None, problems: list[SedtoolError]
) -> _Run:
    """Read how far a run is; what of it is damaged is added to `problems`."""
    try:
        folder, seed = split_name(name)
    except ConfigError as error:
        raise ArtifactError(f"{sweep.record}: {error}") from None
    files = sweep.run(name)
    settings = (attempt(read_recipe_sections, files.config, problems) or {}).get("train", {})
    metrics = attempt(read_json, files.metrics, problems)
    status, why = (_DONE, None) if metrics else _status(files, failure, problems)
    rates = macro_f1(metrics or {})
    return _Run(name, str(settings.get("pooling") or folder), seed, status, why, rates)


def _status(
    files: RunFolder, failure: str | None, problems: list[SedtoolError]
) -> tuple[str, str | None]:
    """Return how far a run without metrics is, and why it came no further."""
    if files.is_held():
        return "under way", None
    record = attempt(read_json, files.record, problems) or {}
    status, error = files.status(record), record.get("error")
    if status in (None, "finished"):  # of training: it is another stage that may have failed
        if failure is not None:
            return "failed", failure
        return "not scored" if status else "not begun", None
    return str(status), error and str(error)


def _pooling_rows(runs: Sequence[_Run]) -> list[dict[str, Any]]:
    """Return a row a pooling, with the mean F1 over the seeds that are done."""
    rows = []
    for pooling in dict.fromkeys(run.pooling for run in runs):
        mine = [run for run in runs if run.pooling == pooling]
        done = [run for run in mine if run.status == _DONE]
        means = {rate: _mean([run.f1[rate] for run in done]) for rate in _RATES}
        rows.append(
            {"pooling": pooling, "seeds": [run.seed for run in mine], "done": len(done), **means}
        )
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    """Return a mean; None if there is nothing to average, or something undefined."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _damage(folder: Path) -> list[SedtoolError]:
    """Return what is damaged of a run: all its digests are checked."""
    from sedtool.info.runs import describe_run  # loads torch

    if not folder.is_dir():
        return []
    problems = [*describe_run(folder, verify=True).problems]
    attempt(lambda path: open_scores(path, verify=True), RunFolder(folder).scores, problems)
    return problems
