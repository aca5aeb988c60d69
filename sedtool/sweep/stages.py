"""Which runs a sweep makes, what their stages take, and what is looked at before the first."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from sedtool.atomic import remove_leftovers, write_text
from sedtool.audio import AudioInputs
from sedtool.checkpoint import teacher_of
from sedtool.comparison import compare_runs, write_tables
from sedtool.comparison.runs import METRICS
from sedtool.config import (
    EvaluateInputs,
    EvaluationConfig,
    ExtractConfig,
    FeatureConfig,
    InferConfig,
    PoolingConfig,
    TrainConfig,
    TrainInputs,
    TuneConfig,
    TuneInputs,
)
from sedtool.config.evaluation import CompareConfig, ReportConfig
from sedtool.errors import ArtifactError, ConfigError
from sedtool.evaluation.from_files import check_limits, evaluate_files
from sedtool.extraction import extract
from sedtool.inference import InferOutputs, infer
from sedtool.labels import read_events, read_names, read_vocabulary, read_weak
from sedtool.plugins import require_known
from sedtool.runs import (
    NamedFile,
    RunFolder,
    RunSettings,
    SweepFolder,
    SweepRecord,
    file_digest,
    read_json,
    run_name,
    same_pooling,
    unlike,
)
from sedtool.shards import Shard
from sedtool.signals import stop_signals
from sedtool.store import open_features
from sedtool.text import quoted
from sedtool.training import train
from sedtool.tuning import tune

Report = Callable[[int, int, str], None]  # done, total, what

_MOST_RUNS = 100_000

# Options of tuning and scoring that change no result, or that the sweep itself gives.
_FREE = {
    *("output", "device", "overwrite", "dry-run", "quiet", "workers", "scores", "model", "inputs"),
    *("estimated", "features", "files-from", "null", "root", "stdin-name", "format", "tolerate"),
    *("fail-fast", "shard", "plugin"),
}

_log = logging.getLogger(__name__)

# Which runs there are


@dataclass(frozen=True)
class Run:
    """One training: a pooling, as it was written, and a seed."""

    pooling: str
    seed: int

    @property
    def name(self) -> str:
        """Return the folder of the run, below that of the sweep."""
        return run_name(self.pooling, self.seed)

    def folder(self, output: Path) -> RunFolder:
        return SweepFolder(output).run(self.name)


def parse_poolings(texts: Iterable[str]) -> tuple[str, ...]:
    """Read lists of poolings: ``power,rap:lambda=1e-2,init=0,max`` are three.

    Commas separate poolings and the options of one pooling alike. An item with ``=`` and without
    ``:`` is one more option of the pooling before it, for no pooling begins like that. A pooling
    that is given twice, also in other words, is refused.
    """
    found: list[str] = []
    for text in texts:
        for place, item in enumerate(part.strip() for part in text.split(",")):
            if not item:
                raise ConfigError(f"pooling {quoted(text)} has an empty item")
            if place and "=" in item and ":" not in item:
                if ":" not in found[-1]:
                    raise ConfigError(
                        f"pooling {quoted(text)}: {quoted(item)} belongs to no pooling; "
                        "NAME:key=value,..."
                    )
                found[-1] += f",{item}"
            else:
                found.append(item)
    if not found:
        raise ConfigError("no pooling is given; power,linear are two")
    _refuse_doubles(found)
    return tuple(found)


def _refuse_doubles(texts: Sequence[str]) -> None:
    """Raise a ConfigError if two texts are one pooling, or one is none."""
    seen: dict[str, str] = {}
    for text in texts:
        require_known(PoolingConfig.kind, PoolingConfig.parse(text).name)
        first = seen.setdefault(same_pooling(text), text)
        if first != text or texts.count(text) > 1:
            what = f": {quoted(first)} is the same pooling" if first != text else ""
            raise ConfigError(f"pooling {quoted(text)} is given twice{what}")


def parse_seeds(texts: Iterable[str]) -> tuple[int, ...]:
    """Read lists of numbers and ranges: ``0-4`` or ``0,2,5-7``, each end included."""
    text = ",".join(texts)
    seeds: list[int] = []
    for item in text.split(","):
        match = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", item.strip())
        if match is None:
            raise ConfigError(
                f"seeds must be numbers and ranges such as 0-4 or 0,2,5-7, not {quoted(text)}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 <= last - first < _MOST_RUNS:
            raise ConfigError(
                f"seeds {quoted(item.strip())}: the range must go up, by {_MOST_RUNS} at most"
            )
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds {quoted(text)} name a seed twice")
    return tuple(seeds)


def grid(poolings: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """Return the runs: every pooling with the first seed, then with the next, and so on.

    A sweep that is stopped early has then as many seeds of one pooling as of another.
    """
    if len(poolings) * len(seeds) > _MOST_RUNS:
        raise ConfigError(f"{len(poolings)} poolings with {len(seeds)} seeds are too many runs")
    return [Run(pooling, seed) for seed in seeds for pooling in poolings]


def under_known_names(runs: Sequence[Run], folder: SweepFolder) -> list[Run]:
    """Return runs with the poolings as they are written in the folder of a sweep, if they are.

    So `cap` and `cap:max=4.6`, which are the same pooling, are one run there.
    """
    known: dict[tuple[str, int], str] = {}
    for name in SweepRecord.read(folder.record).runs if folder.record.exists() else ():
        files = folder.run(name)
        if files.config.exists():
            config = RunSettings.read(files.config).config
            known.setdefault((same_pooling(config.pooling), config.seed), config.pooling)
    names = {run_name(pooling, seed) for (_, seed), pooling in known.items()}

    def written(run: Run) -> str:
        if run.name in names:
            return run.pooling
        return known.get((same_pooling(run.pooling), run.seed), run.pooling)

    return [replace(run, pooling=written(run)) for run in runs]


def part_of(runs: Sequence[Run], shard: str | None, environment: Mapping[str, str]) -> list[Run]:
    """Return the runs of a part: I/N, or what a job array says with auto; all for None."""
    if shard is None:
        return list(runs)
    chosen = set(Shard.parse(shard, environment).select([run.name for run in runs]))
    return [run for run in runs if run.name in chosen]


# What their stages take


@dataclass(frozen=True)
class SweepSettings:
    """What all runs of a sweep have in common, as the stages take it."""

    recipe: Path
    data: Path  # the folder that the recipe's paths are relative to
    features: FeatureConfig
    extract: ExtractConfig
    audio: Mapping[Path, AudioInputs]  # what the features of training, and of the test, are made of
    train: TrainInputs
    training: TrainConfig  # each run has a pooling and a seed of its own
    tune: TuneInputs | None  # None where no labels to tune to are known
    tuning: TuneConfig
    devices: Mapping[str, str]  # of train and tune
    test: AudioInputs  # the features of the test clips
    infer: InferConfig
    outputs: InferOutputs
    teacher: bool  # whether that of a mean teacher is scored
    evaluate: EvaluateInputs
    scoring: EvaluationConfig
    report: ReportConfig
    compare: CompareConfig
    paper: Path | None  # a table of published numbers
    options: Mapping[str, Mapping[str, Any]]  # of tune, infer and evaluate, for a run's record
    given: Mapping[str, frozenset[str]]  # those of them that are not just defaults

    def record(self, runs: tuple[str, ...]) -> SweepRecord:
        weak = self.evaluate.weak_reference
        return SweepRecord(
            recipe=str(self.recipe.resolve()),
            data=str(self.data.resolve()),
            reference=NamedFile.of(self.evaluate.reference),
            weak_reference=NamedFile.of(weak) if weak else None,
            paper=self.paper and self.paper.resolve(),
            runs=runs,
        )

    def training_of(self, run: Run) -> TrainConfig:
        return replace(self.training, pooling=run.pooling, seed=run.seed)

    def steps(self, run: Run, output: Path, anew: bool, is_trained: bool) -> list["Step"]:
        """Return what is left to do of a run."""
        names = ["train", *(["tune"] if self.tune else []), "infer", "evaluate"]
        return [Step(name, output, run, anew) for name in names[is_trained:]]


class Step(NamedTuple):
    """One stage, as it is called for a run, or for the whole sweep."""

    stage: str
    output: Path  # a run folder, a features file, or the folder of the sweep
    run: Run | None = None
    overwrite: bool = False  # whether training begins anew

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.output)


class Hooks(NamedTuple):
    """How a sweep tells how it goes."""

    report: Report  # called with runs done, runs in all, and what is being done
    say: Callable[[str], None]  # takes a line where something has ended
    logged: Callable[[Step, Path], AbstractContextManager[None]]  # sends what a step says to a file
    explain: Callable[[Exception], tuple[str, int]]  # says in a line what failed; exit code


def call(step: Step, settings: SweepSettings, progress: Report) -> Any:
    """Run a stage and return its result. After a signal training saves and stops."""
    output, files = step.output, step.folder
    match step.stage:
        case "extract":
            made_of = (settings.features, settings.extract)
            return extract(settings.audio[output], output, *made_of, progress=progress)
        case "train":
            assert step.run is not None
            with stop_signals() as stop:
                return train(
                    output,
                    settings.train,
                    settings.training_of(step.run),
                    device=settings.devices["train"],
                    resume=not step.overwrite,
                    overwrite=step.overwrite,
                    progress=progress,
                    stop=stop,
                )
        case "tune":
            assert settings.tune is not None
            device = settings.devices["tune"]
            how = (settings.tune, settings.tuning)
            return tune(files.model, *how, device=device, progress=progress)
        case "infer":
            return _infer(files, settings, progress)
        case "evaluate":
            return _evaluate(files, settings, progress)
        case _:
            return _compare(output, settings, progress)


def _infer(files: RunFolder, settings: SweepSettings, progress: Report) -> Any:
    model = teacher_of(files.model) if settings.teacher else files.model
    written: dict[str, Any] = {"events": files.events, "scores": files.scores, "weak": files.tags}
    outputs = replace(settings.outputs, **written, overwrite=True)
    result = infer(model, settings.test, settings.infer, outputs, progress=progress)
    text = json.dumps(scoring_record(settings), indent=2, ensure_ascii=False)
    remove_leftovers(files.scoring)
    write_text(files.scoring, text + "\n")
    return result


def _evaluate(files: RunFolder, settings: SweepSettings, progress: Report) -> str:
    inputs, report = replace(settings.evaluate, estimated=files.scores), settings.report
    scored = evaluate_files(inputs, settings.scoring, files.metrics, True, report, progress)
    check_limits(report.limits, scored.named_scores)
    return f"{scored.n_clips} clips, {scored.n_classes} classes"


def _compare(output: Path, settings: SweepSettings, progress: Report) -> str:
    labels = {
        "reference": settings.evaluate.reference,
        "weak_reference": settings.evaluate.weak_reference,
    }
    comparison = compare_runs(
        [output], settings.compare, **labels, paper=settings.paper, progress=progress
    )
    write_tables(comparison, SweepFolder(output).tables, None, overwrite=True)
    return f"{len(comparison.systems)} poolings"


# Is a run that is there the one that is to be made?


def scoring_record(settings: SweepSettings) -> dict[str, dict[str, Any]]:
    """Return the options of tuning and scoring, files by their digest."""
    return {
        stage: {k: _fingerprint(v, settings.data) for k, v in options.items() if k not in _FREE}
        for stage, options in settings.options.items()
    }


def _fingerprint(value: Any, data: Path) -> Any:
    if isinstance(value, str) and value and (data / value).is_file():
        return f"sha256:{file_digest((data / value).resolve())}"
    return value


def scoring_differences(settings: SweepSettings, files: RunFolder) -> list[str]:
    """Say which options of tuning and scoring differ from those of a run's record."""
    try:
        recorded = read_json(files.scoring)
    except FileNotFoundError:
        return []
    there: dict[str, Any] = {}
    here: dict[str, Any] = {}
    for stage, mine in scoring_record(settings).items():
        old = dict(recorded.get(stage) or {})
        for key in sorted(old.keys() | (mine.keys() & settings.given[stage])):
            there[f"{stage} {key}"], here[f"{stage} {key}"] = old.get(key), mine.get(key)
    return unlike(there, here)


# What is looked at before hours are spent


def check_inputs(settings: SweepSettings) -> None:
    """Refuse what every run would stumble over.

    Features without audio to make them of are taken as they are, others only if `extract` would
    make the same now.
    """
    if missing := [name for name in METRICS if name not in settings.report.chosen(True)]:
        raise ConfigError(
            f"evaluate.metrics leaves out {', '.join(missing)}, which the sweep compares; add "
            f"{'them' if len(missing) > 1 else 'it'}"
        )
    given = [path for audio in settings.audio.values() for path in audio.paths]
    labels = (settings.evaluate.reference, settings.evaluate.weak_reference)
    for path in map(Path, (*given, *filter(None, labels))):
        if not path.exists() and "*" not in str(path):
            raise ConfigError(f"{path} does not exist; is --data the right folder?")
    made = set(settings.audio)
    for features in {*settings.train.features, *(settings.tune.features if settings.tune else ())}:
        if features not in made and not features.exists():
            raise ConfigError(f"{features} does not exist, and there is no --audio to make it of")
    _check_labels(settings)
    _refuse_clips_of_both(settings)
    for path in filter(Path.exists, settings.audio):
        _refuse_other_features(path, settings.features)


def _check_labels(settings: SweepSettings) -> None:
    """Read every label file as the stages will, with their class list."""
    classes = settings.train.classes
    vocabulary = read_vocabulary(classes) if classes else None
    for name, path in _learned_from(settings).items():
        if name.endswith("weak"):
            read_weak(path, vocabulary)
        elif name == "train.unlabelled":
            read_names(path)
        else:
            labels = read_events(path)
            if vocabulary is not None:
                vocabulary.require(labels.classes, path)
    read_events(settings.evaluate.reference)


def _refuse_clips_of_both(settings: SweepSettings) -> None:
    """Raise a ConfigError if clips to validate or tune on are trained on.

    Where a share of the training clips is held out, which they are is for `train` to say.
    """
    train, lists = settings.train, _learned_from(settings)
    if not (train.val_weak or train.val_strong):
        return
    trained = {name for path in (train.weak, train.strong) if path for name in read_names(path)}
    for name in ("train.weak", "train.strong", "train.unlabelled"):
        lists.pop(name, None)
    for name, path, both in _shared(trained, lists):
        raise ConfigError(
            f"{len(both)} clips of {path} ({name}) are trained on, e.g. {both[0]!r}; "
            f"{name.partition('.')[0]} needs others there"
        )


def _learned_from(settings: SweepSettings) -> dict[str, Path]:
    """Return the label files that are learned from or tuned on, by option."""
    stages = {"train": settings.train.files, "tune": settings.tune.files if settings.tune else {}}
    return {
        f"{stage}.{name}": paths[0]
        for stage, files in stages.items()
        for name, paths in files.items()
        if name not in ("features", "classes", "durations-from")
    }


def _shared(names: set[str], lists: Mapping[str, Path]) -> Iterator[tuple[str, Path, list[str]]]:
    """Yield the lists that have some of these clips, by option, and which clips they are."""
    for option, path in lists.items():
        if both := sorted(names.intersection(read_names(path))):
            yield option, path, both


def _refuse_other_features(path: Path, wanted: FeatureConfig) -> None:
    """Raise an ArtifactError if features have other settings than those that would be made."""
    there, here = (
        {name.replace("_", "-"): value for name, value in vars(config).items()}
        for config in (open_features(path, verify=False).config, wanted)
    )
    if different := unlike(there, here):
        raise ArtifactError(
            f"{path} has features of other settings: {'; '.join(different)}; move it away, or "
            "name another with --features and --test-features"
        )


def warn_of_leaks(settings: SweepSettings) -> None:
    """Say so where clips of the test are in a list that is learned from or tuned on."""
    reference = settings.evaluate.reference
    lists: dict[str, Path] = {}
    for name, path in _learned_from(settings).items():
        if path not in lists.values():  # each list is named once
            lists[name] = path
    for name, path, both in _shared(set(read_names(reference)), lists):
        _log.warning(
            "%d clips of %s are in %s (%s), too, e.g. %r: scores of what was learned from or "
            "tuned on say nothing about other clips",
            *(len(both), reference, path, name, both[0]),
        )
