"""Folders -> the runs in them that are scored, those that are not, and what they were scored on.

A run is a folder with a config.yaml that `train` wrote, and in ``test`` the scores and metrics of
the test clips. What it is, is read from its settings; the names of folders do not matter. Beside
the runs stand the numbers that a paper reports for its poolings, paper.tsv.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sedtool.config import EvaluationConfig, PoolingConfig
from sedtool.errors import ArtifactError, ConfigError, LabelError, NothingUsableError
from sedtool.evaluation.counts import RATES
from sedtool.labels import printable
from sedtool.labels.cells import table_rows
from sedtool.runs import (
    RunFolder,
    RunSettings,
    SweepFolder,
    SweepRecord,
    read_json,
    same_pooling,
)
from sedtool.text import quoted

METRICS = ("event", "segment", "clip")
Column = tuple[str, str]  # metric and rate
COLUMNS: tuple[Column, ...] = tuple((metric, rate) for metric in METRICS for rate in RATES)
PAPER_COLUMNS = {"_".join(column): column for column in COLUMNS[:-2]}  # of clips, F1 alone
_LABELS = ("weak", "strong", "unlabelled", "soft")  # files that make another system of a run
_DEPTH = 3  # folders below one that is given in which runs are looked for


@dataclass(frozen=True)
class TrainedRun:
    """A run whose test clips are scored."""

    folder: Path
    pooling: str  # as `str(PoolingConfig)` writes it
    seed: int
    metrics: dict[str, Any]  # what metrics.json says
    options: dict[str, str]  # what may tell its system from others with the same pooling

    @property
    def scores(self) -> Path:
        """Return the scores of the test clips."""
        return RunFolder(self.folder).scores

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the classes that were scored."""
        return tuple(self.metrics["event"]["classes"])

    def unreferenced(self, metric: str) -> tuple[str, ...]:
        """Return the classes that the reference has nothing of."""
        rows = self.metrics[metric]["classes"]
        return tuple(label for label, row in rows.items() if row.get("n_reference") == 0)

    @property
    def config(self) -> EvaluationConfig:
        """Return how it was scored."""
        names = EvaluationConfig.__dataclass_fields__
        return EvaluationConfig(**{name: self.metrics["parameters"][name] for name in names})


@dataclass(frozen=True)
class RunSet:
    """Runs of one comparison."""

    runs: tuple[TrainedRun, ...]
    missing: tuple[str, ...]  # each with what is wrong with it
    records: tuple[SweepRecord, ...]  # of the sweeps they are of
    varying: tuple[str, ...]  # settings, beside pooling and seed, in which the runs differ

    def label(self, run: TrainedRun) -> str:
        """Return what tells a run's system from the others: its pooling, and what varies."""
        options = run.options.items()
        return " ".join([run.pooling, *(f"{k}={text}" for k, text in options if k in self.varying)])


def find_runs(paths: Sequence[Path]) -> RunSet:
    """Read the runs that are, or are in, the given folders; refuse those that do not fit."""
    runs: dict[Path, TrainedRun] = {}
    records: dict[Path, SweepRecord] = {}
    missing: dict[str, str] = {}
    for path in paths:
        folders = _run_folders(path)
        for folder in folders:
            run = _read_run(folder)
            if run is None:
                missing[str(folder)] = f"{folder}: not finished"
            else:
                runs[folder] = run
        for where in (path.resolve(), *(above for f in folders for above in f.parents[:_DEPTH])):
            if where not in records and SweepFolder(where).record.is_file():
                records[where] = SweepRecord.read(SweepFolder(where).record)
        if (own := records.get(path.resolve())) is not None:
            for name in own.runs:
                if (folder := path.resolve() / name) not in folders:
                    missing[str(folder)] = f"{folder}: not begun"
    if not runs:
        given = ", ".join(map(str, paths))
        raise NothingUsableError(f"{given}: no run there has test/metrics.json")
    scored = _alike([runs[folder] for folder in sorted(runs)])
    keys = dict.fromkeys(key for run in scored for key in run.options)
    varying = tuple(k for k in keys if len({run.options.get(k) for run in scored}) > 1)
    _require_equal_scoring(scored, varying)
    run_set = RunSet(scored, tuple(missing.values()), tuple(records.values()), varying)
    _refuse_doubles(run_set)
    return run_set


def _run_folders(path: Path, depth: int = _DEPTH) -> list[Path]:
    """Return the run folders at a path or below, resolved."""
    path = path.resolve()
    if not path.is_dir():
        raise ConfigError(f"{path} is no folder; compare takes run folders, and folders of them")
    if RunFolder(path).config.is_file():
        return [path]
    if not depth:
        return []
    below = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [folder for p in below for folder in _run_folders(p, depth - 1)]


def _read_run(folder: Path) -> TrainedRun | None:
    """Return a run; None if it is not scored."""
    files = RunFolder(folder)
    settings, path = RunSettings.read(files.config), files.metrics
    if not path.exists():
        return None
    digests, labels = files.input_digests(settings), {}
    for kind in _LABELS:
        for file in settings.files.get(kind, ()):
            if digest := digests.get(file):  # else nobody knows what it was
                labels[kind] = f"{file.name}@{digest[:8]}"
    if settings.min_confidence is not None:
        labels["min-confidence"] = f"{settings.min_confidence:g}"
    try:
        metrics = read_json(path)
        pooling = str(PoolingConfig.parse(settings.config.pooling))
        options = dict(sorted((labels | _varied(folder) | settings.of_system).items()))
        run = TrainedRun(folder, pooling, settings.config.seed, metrics, options)
        _ = run.config, run.classes
    except (OSError, ValueError, TypeError, KeyError, RecursionError, ConfigError) as error:
        raise ArtifactError(f"{path}: cannot be read with its config.yaml ({error})") from None
    if missing := [name for name in METRICS if name not in metrics]:
        raise ArtifactError(
            f"{path}: no scores of {', '.join(missing)}; evaluate it again, with these in --metrics"
        )
    return run


def _varied(folder: Path) -> dict[str, str]:
    """Return what a run's sweep says that it varied; config.yaml does not tell all of it."""
    record = SweepFolder(folder.parents[1]).record
    texts = SweepRecord.read(record).varied.get(folder.parent.name, ()) if record.is_file() else ()
    pairs = (printable(text).removeprefix("train.").partition("=") for text in texts)
    return {key: text for key, _, text in pairs}


def _alike(runs: Sequence[TrainedRun]) -> tuple[TrainedRun, ...]:
    """Return runs with one name for a pooling, however it is written: that of its first run."""
    names: dict[str, str] = {}
    return tuple(
        replace(run, pooling=names.setdefault(same_pooling(run.pooling), run.pooling))
        for run in runs
    )


def _refuse_doubles(run_set: RunSet) -> None:
    """Raise an ArtifactError if a system has two runs of one seed."""
    seen: dict[tuple[str, int], Path] = {}
    for run in run_set.runs:
        first = seen.setdefault((run_set.label(run), run.seed), run.folder)
        if first != run.folder:
            raise ArtifactError(
                f"{first} and {run.folder} are both of {run_set.label(run)} with seed {run.seed}"
            )


def _require_equal_scoring(runs: Sequence[TrainedRun], varying: Sequence[str]) -> None:
    """Raise an ArtifactError if runs were scored in different ways, or on different labels.

    What a sweep varied may differ, since it stands in the names of the systems.
    """
    for run in runs:
        if run.classes != tuple(run.metrics["clip"]["classes"]):
            raise ArtifactError(
                f"{run.folder}: its events and its clips were scored with different class lists; "
                "evaluate it with --classes"
            )
    first, *others = runs
    for run in others:
        expected, found = _scoring(first, varying), _scoring(run, varying)
        if different := [what for what, mine in found.items() if mine != expected[what]]:
            raise ArtifactError(
                f"{run.folder} and {first.folder} were scored with different "
                f"{' and '.join(different)}; score them alike"
            )


def _scoring(run: TrainedRun, varying: Sequence[str]) -> dict[str, Any]:
    """Return what must be the same in all runs."""
    config = vars(run.config).items()
    n_references = [  # equal labels are counted equally
        [row.get("n_reference") for row in run.metrics[name]["classes"].values()]
        for name in ("event", "clip")
    ]
    return {
        "class lists": run.classes,
        "tolerances and conventions": {
            k: value for k, value in config if f"evaluate.{k.replace('_', '-')}" not in varying
        },
        "reference labels": n_references,
    }


def read_paper(path: Path) -> dict[str, Mapping[Column, float]]:
    """Read published numbers: a column ``pooling`` and some of `PAPER_COLUMNS`, as fractions.

    Poolings are written as `str(PoolingConfig)` does; numbers that are not stated are left out. A
    LabelError has file and line.
    """
    rows = table_rows(path)
    _, columns = next(rows, ("", []))
    unknown = set(columns) - {"pooling", *PAPER_COLUMNS}
    if "pooling" not in columns or unknown or len(set(columns)) < len(columns):
        raise LabelError(f"{path}: its columns must be pooling, {', '.join(PAPER_COLUMNS)}")
    published: dict[str, Mapping[Column, float]] = {}
    for where, cells in rows:
        if len(cells) != len(columns):
            raise LabelError(f"{where}: {len(columns)} columns are needed")
        row = dict(zip(columns, cells, strict=True))
        try:
            pooling = str(PoolingConfig.parse(row.pop("pooling")))
        except ConfigError as error:
            raise LabelError(f"{where}: {error}") from None
        if pooling in published:
            raise LabelError(f"{where}: {pooling} is given twice")
        published[pooling] = {PAPER_COLUMNS[k]: _fraction(v, where) for k, v in row.items() if v}
    return published


def _fraction(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise LabelError(f"{where}: {quoted(text)} is no number from 0 to 1")
    return value
