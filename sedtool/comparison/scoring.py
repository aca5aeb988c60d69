"""Runs -> their scores by both macro rules, and the counts of each clip to resample."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from sedtool.comparison.runs import RunSet, TrainedRun
from sedtool.errors import ArtifactError
from sedtool.evaluation import Evaluation, evaluate
from sedtool.evaluation.by_clip import ClipCounts, count_by_clip
from sedtool.evaluation.counts import IntArray
from sedtool.evaluation.files import read_estimated
from sedtool.labels import StrongLabels, Vocabulary, read_events, read_weak

__all__ = ["COLUMNS", "METRICS", "RATES", "RULES", "Column", "System", "score_runs"]

METRICS = ("event", "segment", "clip")
RATES = ("f1", "precision", "recall")
_COMPAT: dict[str, Literal["", "dcase"]] = {"default": "", "dcase": "dcase"}
RULES = tuple(_COMPAT)  # what an undefined rate does to a macro average
Column = tuple[str, str]  # metric and rate
COLUMNS: tuple[Column, ...] = tuple((metric, rate) for metric in METRICS for rate in RATES)
_SAME = 1e-9  # how much scores that are computed again may differ

Values = dict[Column, tuple[float, ...]]  # of each seed; NaN where undefined
Report = Callable[[int, int, str], None]
_Weak = Mapping[str, Iterable[str]]


@dataclass(frozen=True, eq=False)
class System:
    """One pooling, or whatever else is compared, with all its seeds."""

    label: str
    pooling: str
    seeds: tuple[int, ...]
    values: Mapping[str, Values]  # by rule
    counts: Mapping[str, IntArray]  # by metric, (S, C, K, 3)
    warnings: tuple[str, ...] = ()  # of evaluating its runs

    def mean(self, column: Column, rule: str = RULES[0]) -> float:
        """Return the mean over seeds; NaN if it is undefined with one of them."""
        return float(np.mean(self.values[rule][column]))

    def deviation(self, column: Column, rule: str = RULES[0]) -> float:
        """Return the sample deviation over seeds; NaN with one seed."""
        values = self.values[rule][column]
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


@dataclass(frozen=True)
class _Scored:
    """One run."""

    run: TrainedRun
    evaluations: Mapping[str, Evaluation]  # by rule
    counts: ClipCounts


def score_runs(
    run_set: RunSet, reference: Path, weak_reference: Path | None, report: Report
) -> list[System]:
    """Score every run from its scores.h5, and put the seeds of each system together.

    Raises
    ------
    ArtifactError
        If a run's metrics.json does not follow from its scores and this reference, or runs were
        scored on different clips.
    """
    classes = run_set.runs[0].classes
    strong = read_events(reference)
    weak = read_weak(weak_reference, Vocabulary(classes)) if weak_reference else None
    by_label: dict[str, list[_Scored]] = {}
    first: _Scored | None = None
    for done, run in enumerate(run_set.runs):
        report(done, len(run_set.runs), str(run.folder))
        scored = _score(run, strong, weak)
        _require_same_metrics(scored, reference)
        first = first or scored
        _require_same_clips(scored, first)
        by_label.setdefault(run_set.label(run), []).append(scored)
    return [_system(label, scored) for label, scored in by_label.items()]


def _score(run: TrainedRun, strong: StrongLabels, weak: _Weak | None) -> _Scored:
    if not run.scores.is_file():
        raise ArtifactError(f"{run.scores} is not there; `sedtool infer --scores` writes it")
    estimated = read_estimated(run.scores, partial=False)
    evaluations = {
        rule: evaluate(
            strong,
            estimated.events,
            replace(run.config, compat=compat, engine="native"),
            classes=run.classes,
            durations=estimated.durations,
            weak_reference=weak,
            weak_estimated=estimated.tags,
        )
        for rule, compat in _COMPAT.items()
    }
    counts = count_by_clip(
        strong,
        estimated.events,
        run.config,
        run.classes,
        durations=estimated.durations,
        weak_reference=weak,
        weak_estimated=estimated.tags,
    )
    return _Scored(run, evaluations, counts)


def _require_same_metrics(scored: _Scored, reference: Path) -> None:
    """Raise an ArtifactError if a run's metrics.json says something else than its scores do."""
    run = scored.run
    rule = next(name for name, compat in _COMPAT.items() if compat == run.config.compat)
    for name, scores in scored.evaluations[rule].metrics.items():
        recorded = run.metrics[name]["macro"]["f1"]
        recorded = math.nan if recorded is None else float(recorded)
        if not math.isclose(recorded, scores.macro.f1, abs_tol=_SAME) and not (
            math.isnan(recorded) and math.isnan(scores.macro.f1)
        ):
            raise ArtifactError(
                f"{run.folder}: its test/metrics.json says {name} F1 {recorded:.4f}, but its "
                f"scores and {reference} give {scores.macro.f1:.4f}; evaluate it again"
            )


def _require_same_clips(scored: _Scored, first: _Scored) -> None:
    """Raise an ArtifactError if two runs were scored on different clips."""
    other = set(scored.counts.clips) ^ set(first.counts.clips)
    if other:
        raise ArtifactError(
            f"{scored.run.folder} and {first.run.folder} were scored on different clips: "
            f"{len(other)} are in one of them only, such as {min(other)}"
        )


def _system(label: str, scored: Sequence[_Scored]) -> System:
    """Put the runs of one system together, in the order of their seeds."""
    ordered = sorted(scored, key=lambda each: each.run.seed)
    values = {
        rule: {
            (metric, rate): tuple(
                getattr(each.evaluations[rule].metrics[metric].macro, rate) for each in ordered
            )
            for metric, rate in COLUMNS
        }
        for rule in RULES
    }
    counts = {name: np.stack([s.counts.metric(name) for s in ordered]) for name in METRICS}
    seeds = tuple(each.run.seed for each in ordered)
    found = (text for each in ordered for text in each.evaluations[RULES[0]].warnings)
    warnings = tuple(dict.fromkeys(found))
    return System(label, ordered[0].run.pooling, seeds, values, counts, warnings)
