"""`compare_runs`: run folders in; means over seeds, the best poolings, and what is chance, out.

Every run is evaluated once. Both macro rules, and all resamples, are sums of the counts by clip
that its evaluation made.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sedtool.comparison.runs import (
    COLUMNS,
    METRICS,
    Column,
    RunSet,
    TrainedRun,
    find_runs,
    read_paper,
)
from sedtool.config import EvaluationConfig, PoolingConfig
from sedtool.config.base import as_number
from sedtool.config.evaluation import CompareConfig
from sedtool.errors import ArtifactError, ConfigError
from sedtool.evaluation import Evaluation, evaluate
from sedtool.evaluation.counts import DCASE_RULES, RATES, MacroRule, macro_rates
from sedtool.evaluation.from_files import read_estimated, said_of
from sedtool.evaluation.resampling import (
    Difference,
    Progress,
    difference,
    holm,
    rescore,
    seed_means,
)
from sedtool.labels import StrongLabels, Vocabulary, read_events, read_weak
from sedtool.runs import NamedFile
from sedtool.text import quoted

# What an undefined rate does to a macro average, by metric.
RULES: dict[str, Mapping[str, MacroRule]] = {"default": {}, "dcase": DCASE_RULES}
_USUAL = "linear"  # what power pooling is a generalisation of
# The order of the rows in the tables of the power-pooling paper.
_ORDER = (
    *("max", "average", "exponential", "attention", "attention-classes"),
    *("auto", "cap", "rap", "linear", "power", "hierarchical"),
)
_SAME = 1e-9  # how much scores that are computed again may differ


@dataclass(frozen=True, eq=False)
class System:
    """One pooling, or whatever else is compared, with all its seeds."""

    label: str
    pooling: PoolingConfig
    seeds: tuple[int, ...]
    evaluations: tuple[Evaluation, ...]  # of each seed
    values: Mapping[str, Mapping[Column, tuple[float, ...]]]  # by rule, of each seed; may be NaN

    def mean(self, column: Column, rule: str = "default") -> float:
        """Return the mean over seeds; NaN if it is undefined with one of them."""
        return float(np.mean(self.values[rule][column]))

    def deviation(self, column: Column, rule: str = "default") -> float:
        """Return the sample deviation over seeds; NaN with one seed."""
        values = self.values[rule][column]
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

    @property
    def is_power(self) -> bool:
        """Return whether it pools by power pooling, alone or at the base of a hierarchy."""
        return "power" in (self.pooling.name, self.pooling.options.get("base"))


@dataclass(frozen=True)
class Gain:
    """A system against the reference system, in one column."""

    difference: Difference
    p_holm: float  # p as one of those of all systems in this column

    def relative(self, reference: float) -> float:
        """Return the difference as a share of the reference's score; NaN of nothing."""
        return self.difference.observed / reference if reference > 0 else math.nan


@dataclass(frozen=True)
class Comparison:
    """All that the tables say."""

    systems: tuple[System, ...]  # in the order of rows
    varying: tuple[str, ...]  # settings, beside pooling and seed, in which systems differ
    against: str  # the label of the reference system
    tests: Mapping[Column, Mapping[str, Gain]]  # of all systems but the reference, by label
    paper: Mapping[str, Mapping[Column, float]]  # by pooling
    missing: tuple[str, ...]  # runs that are not in it
    config: CompareConfig
    scoring: EvaluationConfig
    n_clips: int
    classes: tuple[str, ...]
    unreferenced: Mapping[str, tuple[str, ...]]  # by metric: the classes without a reference
    warnings: tuple[str, ...]  # of the evaluation of any run

    @property
    def has_power_and_others(self) -> bool:
        """Return whether some systems, and not all, have power pooling."""
        return len({system.is_power for system in self.systems}) > 1

    def title(self, system: System) -> str:
        """Return a short name: options of a pooling stand in it where they tell it from others."""
        name, mine = system.pooling.name, system.pooling.options
        others = [other.pooling.options for other in self.systems if other.pooling.name == name]
        telling = {
            key: value
            for key, value in mine.items()
            if any(options.get(key) != value for options in others)
        }
        return f"{PoolingConfig(name, telling)}{system.label.removeprefix(str(system.pooling))}"

    def published(self, system: System) -> Mapping[Column, float]:
        """Return the paper's numbers of a system: by its pooling, else by a name it has alone."""
        if system.label in self.paper or system.label != str(system.pooling):
            return self.paper.get(system.label, {})
        name = system.pooling.name
        theirs = [text for text in self.paper if PoolingConfig.parse(text).name == name]
        ours = [other for other in self.systems if other.pooling.name == name]
        return self.paper[theirs[0]] if len(theirs) == len(ours) == 1 else {}

    def system(self, label: str) -> System:
        """Return a system by its label."""
        return next(system for system in self.systems if system.label == label)

    @property
    def reference(self) -> System:
        """Return the reference system."""
        return self.system(self.against)

    def best(self, column: Column, without_power: bool = False) -> list[System]:
        """Return those with the highest mean, of all or of the systems without power pooling."""
        systems = [s for s in self.systems if not (without_power and s.is_power)]
        means = [system.mean(column) for system in systems]
        highest = max((mean for mean in means if not math.isnan(mean)), default=math.nan)
        pairs = zip(systems, means, strict=True)
        return [s for s, mean in pairs if math.isclose(mean, highest, abs_tol=1e-12)]

    def uneven(self) -> list[str]:
        """Say which seeds of other systems are missing in a system."""
        every = sorted({seed for system in self.systems for seed in system.seeds})
        missing = {s.label: [n for n in every if n not in s.seeds] for s in self.systems}
        return [
            f"{label}: no run with seed {', '.join(map(str, seeds))}"
            for label, seeds in missing.items()
            if seeds
        ]


def compare_runs(
    folders: Sequence[Path],
    config: CompareConfig,
    *,
    reference: Path | None = None,
    weak_reference: Path | None = None,
    paper: Path | None = None,
    progress: Progress = lambda done, total, what: None,
) -> Comparison:
    """Score the runs in some folders anew, and compare their poolings.

    `folders` are run folders, and folders of them, such as that of a sweep. By default, labels of
    the test clips and published numbers are those of the sweep. `progress` is called with runs
    scored, runs in all, and the folder of the next.

    Raises
    ------
    ConfigError
        If no reference is known, or the reference pooling is not among the runs.
    NothingUsableError
        If no run is scored.
    ArtifactError
        If runs were scored in different ways, or not on this reference.
    """
    run_set = find_runs(folders)
    records = run_set.records
    strong = reference or _recorded([r.reference for r in records], "reference")
    if strong is None:
        raise ConfigError(
            "the runs are of no sweep: name the labels they were scored on, --reference"
        )
    named = [r.weak_reference for r in records if r.weak_reference is not None]
    weak = weak_reference or (None if reference else _recorded(named, "weak reference"))
    table = paper or next((r.paper for r in records if r.paper is not None), None)
    published = read_paper(table) if table is not None else {}
    systems = sorted(_score_runs(run_set, strong, weak, progress), key=_place)
    against = _against(systems, config.against)
    first = run_set.runs[0]
    return Comparison(
        tuple(systems),
        run_set.varying,
        against,
        _tests(systems, against, config),
        published,
        run_set.missing,
        config,
        first.config,
        len(systems[0].evaluations[0].clips),
        first.classes,
        {metric: first.unreferenced(metric) for metric in METRICS},
        tuple(dict.fromkeys(w for s in systems for each in s.evaluations for w in each.warnings)),
    )


def _recorded(files: Sequence[NamedFile], what: str) -> Path | None:
    """Return the one file that all sweeps have scored against; None if there is no sweep."""
    digests = {file.sha256 for file in files}
    if len(digests) > 1:
        paths = ", ".join(sorted({str(file.path) for file in files}))
        raise ArtifactError(f"the runs were scored on different {what} files: {paths}")
    return files[0].require() if files else None


def _score_runs(
    run_set: RunSet, reference: Path, weak_reference: Path | None, progress: Progress
) -> list[System]:
    """Evaluate every run from its scores.h5, and put the seeds of each system together."""
    classes = run_set.runs[0].classes
    strong = read_events(reference)
    weak = read_weak(weak_reference, Vocabulary(classes)) if weak_reference else None
    by_label: dict[str, list[tuple[TrainedRun, Evaluation]]] = {}
    first: Evaluation | None = None
    for done, run in enumerate(run_set.runs):
        progress(done, len(run_set.runs), str(run.folder))
        evaluation = _evaluate(run, strong, weak, reference)
        first = first or evaluation
        if other := set(evaluation.clips) ^ set(first.clips):
            raise ArtifactError(
                f"{run.folder} and {run_set.runs[0].folder} were scored on different clips: "
                f"{len(other)} are in one of them only, such as {min(other)}"
            )
        by_label.setdefault(run_set.label(run), []).append((run, evaluation))
    return [_system(label, scored, strong) for label, scored in by_label.items()]


def _evaluate(
    run: TrainedRun, strong: StrongLabels, weak: Mapping[str, Sequence[str]] | None, reference: Path
) -> Evaluation:
    """Evaluate a run by the conventions of sedtool; refuse one whose metrics.json differs."""
    if not run.scores.is_file():
        raise ArtifactError(f"{run.scores} is not there; `sedtool infer --scores` writes it")
    estimated = read_estimated(run.scores, partial=False)

    def evaluation(config: EvaluationConfig) -> Evaluation:
        with said_of(reference, run.scores):
            return evaluate(
                strong,
                estimated.events,
                config,
                classes=run.classes,
                durations=estimated.durations,
                weak_reference=weak,
                weak_estimated=estimated.tags,
            )

    as_recorded = evaluation(replace(run.config, engine="native"))
    for name, scores in as_recorded.scores.items():
        recorded = run.metrics[name]["macro"]["f1"]
        recorded = math.nan if recorded is None else float(recorded)
        if not np.isclose(recorded, scores.macro.f1, rtol=0, atol=_SAME, equal_nan=True):
            raise ArtifactError(
                f"{run.folder}: its test/metrics.json says {name} F1 {recorded:.4f}, but its "
                f"scores and {reference} give {scores.macro.f1:.4f}; evaluate it again"
            )
    if not run.config.compat:
        return as_recorded
    return evaluation(replace(run.config, engine="native", compat=""))


def _system(
    label: str, scored: Sequence[tuple[TrainedRun, Evaluation]], strong: StrongLabels
) -> System:
    """Put the runs of one system together, in the order of their seeds."""
    ordered = sorted(scored, key=lambda each: each[0].seed)
    evaluations = tuple(evaluation for _, evaluation in ordered)
    values = {}
    for rule, rules in RULES.items():
        of_seeds = [_rates(each, rules, strong.names) for each in evaluations]
        values[rule] = {column: tuple(rates[column] for rates in of_seeds) for column in COLUMNS}
    seeds = tuple(run.seed for run, _ in ordered)
    return System(label, PoolingConfig.parse(ordered[0][0].pooling), seeds, evaluations, values)


def _rates(
    evaluation: Evaluation, rules: Mapping[str, MacroRule], named: Sequence[str]
) -> dict[Column, float]:
    """Return the macro rates by some rules, which look at the clips that the reference names."""
    in_reference = np.isin(evaluation.clips, named).astype(float)
    rates: dict[Column, float] = {}
    for metric in METRICS:
        counts = evaluation.counts[metric]
        table = counts.weighted(in_reference[None])[0] if metric in rules else counts.table
        macro = macro_rates(table, rules.get(metric, counts.rule)).tolist()
        rates |= {(metric, rate): value for rate, value in zip(RATES, macro, strict=True)}
    return rates


def _place(system: System) -> tuple[int, Any]:
    """Return what puts rows in their order: poolings as in the paper, then settings."""
    name = system.pooling.name
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), _parts(system.label))


def _parts(row: str) -> list[tuple[str, float, str]]:
    """Return key, number and text of the parts of a row's name: lr=1e-3 is as lr=0.001."""
    pooling, *settings = row.split(" ")
    parts = [("", math.inf, str(PoolingConfig.parse(pooling)))]
    for key, _, value in (setting.partition("=") for setting in settings):
        size = as_number(value)
        parts.append((key, math.inf, value) if math.isnan(size) else (key, size, ""))
    return parts


def _against(systems: Sequence[System], wanted: str | None) -> str:
    """Return the label of the reference system; a pooling alone is the first row that has it."""
    if wanted is None:
        return next((s for s in systems if str(s.pooling) == _USUAL), systems[0]).label
    for system in systems:
        if _parts(wanted) == _parts(system.label):
            return system.label
    named = [s for s in systems if wanted in (str(s.pooling), s.pooling.name)]
    if len({str(system.pooling) for system in named}) != 1:
        rows = ", ".join(system.label for system in systems)
        raise ConfigError(f"against {quoted(wanted)} is none of the rows here: {rows}")
    return named[0].label


def _tests(
    systems: Sequence[System], against: str, config: CompareConfig
) -> dict[Column, dict[str, Gain]]:
    """Test every system but the reference in every column."""
    clips = {clip: i for i, clip in enumerate(sorted(systems[0].evaluations[0].clips))}
    runs = [evaluation.measures for system in systems for evaluation in system.evaluations]
    drawn = iter(rescore(runs, clips, config.resamples, config.seed))
    of_seeds = {s.label: [next(drawn) for _ in s.seeds] for s in systems}
    base = next(system for system in systems if system.label == against)
    tests: dict[Column, dict[str, Gain]] = {}
    for metric, rate in COLUMNS:
        name = f"{metric}_{rate}"
        scores = {
            s.label: seed_means([run[name] for run in of_seeds[s.label]], config.seed, i)
            for i, s in enumerate(systems)
        }
        differences = {
            s.label: difference(
                s.mean((metric, rate)) - base.mean((metric, rate)),
                scores[s.label],
                scores[against],
                config.confidence,
            )
            for s in systems
            if s is not base
        }
        adjusted = holm([each.p for each in differences.values()])
        tests[metric, rate] = {
            label: Gain(each, p)
            for (label, each), p in zip(differences.items(), adjusted, strict=True)
        }
    return tests
