"""What the stages of a sweep take, what is looked at before the first, and how a run is made."""

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from sedtool.atomic import write_text
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
    TrainConfig,
    TrainInputs,
    TuneConfig,
    TuneInputs,
)
from sedtool.config.evaluation import CompareConfig, ReportConfig
from sedtool.errors import ArtifactError, ConfigError
from sedtool.evaluation.from_files import evaluate_files
from sedtool.evaluation.report import check_limits
from sedtool.extraction import extract
from sedtool.inference import InferOutputs, infer
from sedtool.labels import read_events, read_names, read_vocabulary, read_weak
from sedtool.runs import (
    NamedFile,
    RunFolder,
    SweepFolder,
    SweepRecord,
    file_digest,
    read_json,
)
from sedtool.store import open_features
from sedtool.sweep.grid import Run
from sedtool.training import train
from sedtool.tuning import tune

Stop = Callable[[], int]  # 0, or the exit code of the signal that came in
Report = Callable[[int, int, str], None]  # done, total, what

# Options of tuning and scoring that change no result, or that the sweep itself gives.
_FREE = {
    *("output", "device", "overwrite", "dry-run", "quiet", "workers", "scores", "model", "inputs"),
    *("estimated", "features", "files-from", "null", "root", "stdin-name", "format", "tolerate"),
    *("fail-fast", "shard"),
}

_log = logging.getLogger(__name__)


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
            str(self.recipe.resolve()),
            str(self.data.resolve()),
            NamedFile.of(self.evaluate.reference.resolve()),
            None if weak is None else NamedFile.of(weak.resolve()),
            None if self.paper is None else self.paper.resolve(),
            runs,
        )

    def training_of(self, run: Run) -> TrainConfig:
        return replace(self.training, pooling=run.pooling, seed=run.seed)


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
    """How a sweep tells how it goes, and hears that it is to stop."""

    report: Report  # called with runs done, runs in all, and what is being done
    say: Callable[[str], None]  # takes a line where something has ended
    logged: Callable[[Step, Path], AbstractContextManager[None]]  # sends what a step says to a file
    explain: Callable[[Exception], tuple[str, int]]  # says in a line what failed; exit code
    stop: Stop


def steps(
    settings: SweepSettings, run: Run, output: Path, anew: bool, is_trained: bool
) -> list[Step]:
    """Return what is left to do of a run."""
    names = ["train", *(["tune"] if settings.tune else []), "infer", "evaluate"]
    return [Step(name, output, run, anew) for name in names[is_trained:]]


def call(step: Step, settings: SweepSettings, progress: Report, stop: Stop) -> Any:
    """Run a stage and return its result."""
    return _CALLS[step.stage](step, settings, progress, stop)


def _extract(step: Step, settings: SweepSettings, progress: Report, stop: Stop) -> Any:
    audio = settings.audio[step.output]
    return extract(audio, step.output, settings.features, settings.extract, progress=progress)


def _train(step: Step, settings: SweepSettings, progress: Report, stop: Stop) -> Any:
    assert step.run is not None
    return train(
        step.output,
        settings.train,
        settings.training_of(step.run),
        device=settings.devices["train"],
        resume=not step.overwrite,
        overwrite=step.overwrite,
        progress=progress,
        stop=stop,
    )


def _tune(step: Step, settings: SweepSettings, progress: Report, stop: Stop) -> Any:
    assert settings.tune is not None
    device, model = settings.devices["tune"], step.folder.model
    return tune(model, settings.tune, TuneConfig(), device=device, progress=progress)


def _infer(step: Step, settings: SweepSettings, progress: Report, stop: Stop) -> Any:
    files = step.folder
    model = teacher_of(files.model) if settings.teacher else files.model
    outputs = replace(settings.outputs, events=files.events, scores=files.scores)
    outputs = replace(outputs, weak=files.tags, overwrite=True)
    result = infer(model, settings.test, settings.infer, outputs, progress=progress)
    text = json.dumps(scoring_record(settings), indent=2, ensure_ascii=False)
    write_text(files.scoring, text + "\n")
    return result


def _evaluate(step: Step, settings: SweepSettings, progress: Report, stop: Stop) -> Any:
    inputs = replace(settings.evaluate, estimated=step.folder.scores)
    output, report = step.folder.metrics, settings.report
    scored = evaluate_files(inputs, settings.scoring, output, True, report, progress)
    check_limits(settings.report.limits, scored.named_scores)
    return f"{scored.n_clips} clips, {scored.n_classes} classes"


def _compare(step: Step, settings: SweepSettings, progress: Report, stop: Stop) -> Any:
    comparison = compare_runs(
        [step.output],
        settings.compare,
        reference=settings.evaluate.reference,
        weak_reference=settings.evaluate.weak_reference,
        paper=settings.paper,
        progress=progress,
    )
    write_tables(comparison, SweepFolder(step.output).tables, None, overwrite=True)
    return f"{len(comparison.systems)} poolings"


_CALLS: dict[str, Callable[[Step, SweepSettings, Report, Stop], Any]] = {
    "extract": _extract,
    "train": _train,
    "tune": _tune,
    "infer": _infer,
    "evaluate": _evaluate,
    "compare": _compare,
}


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


def scoring_differences(settings: SweepSettings, files: RunFolder) -> tuple[str, ...]:
    """Say which options of tuning and scoring differ from those of a run's record."""
    try:
        recorded = read_json(files.scoring)
    except FileNotFoundError:
        return ()
    found = []
    for stage, mine in scoring_record(settings).items():
        old = dict(recorded.get(stage) or {})
        for key in sorted(old.keys() | (mine.keys() & settings.given[stage])):
            if old.get(key) != mine.get(key):
                there, here = _brief(old.get(key)), _brief(mine.get(key))
                found.append(f"{stage} {key} is {there} there and {here} here")
    return tuple(found)


def _brief(value: Any) -> str:
    if value in (None, "", []):
        return "not given"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"a file ({text[7:15]}…)" if text.startswith("sha256:") else text


# What is looked at before hours are spent


def check_inputs(settings: SweepSettings) -> None:
    """Refuse what every run would stumble over.

    Raises
    ------
    ConfigError
        If a file is not there, clips to validate or tune on are trained on, or runs would not be
        scored by what the table of the sweep shows.
    LabelError
        With file and line: if labels cannot be read, or are of no class.
    ArtifactError
        If features are there that `extract` would make otherwise now; those without audio to make
        them of are taken as they are.
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
    train = settings.train
    if not (train.val_weak or train.val_strong):
        return
    trained = {name for path in (train.weak, train.strong) if path for name in read_names(path)}
    for name, path in _learned_from(settings).items():
        if name in ("train.weak", "train.strong", "train.unlabelled"):
            continue
        if both := sorted(trained.intersection(read_names(path))):
            raise ConfigError(
                f"{len(both)} clips of {path} ({name}) are trained on, e.g. {both[0]!r}; "
                f"{name.partition('.')[0]} needs others there"
            )


def _learned_from(settings: SweepSettings) -> dict[str, Path]:
    """Return the label files that are learned from or tuned on, by option."""
    train, tune = settings.train, settings.tune
    files = {
        "train.weak": train.weak,
        "train.strong": train.strong,
        "train.unlabelled": train.unlabelled,
        "train.val-weak": train.val_weak,
        "train.val-strong": train.val_strong,
        "tune.reference": tune.reference if tune else None,
        "tune.weak": tune.weak if tune else None,
    }
    return {name: path for name, path in files.items() if path is not None}


def _refuse_other_features(path: Path, wanted: FeatureConfig) -> None:
    """Raise an ArtifactError if features have other settings than those that would be made."""
    there = vars(open_features(path, verify=False).config)
    different = [
        f"{name.replace('_', '-')} is {there[name]} there and {value} here"
        for name, value in vars(wanted).items()
        if there[name] != value
    ]
    if different:
        raise ArtifactError(
            f"{path} has features of other settings: {'; '.join(different)}; move it away, or "
            "name another with --features and --test-features"
        )


def warn_of_leaks(settings: SweepSettings) -> None:
    """Say so where clips of the test are in a list that is learned from or tuned on."""
    reference = settings.evaluate.reference
    test = set(read_names(reference))
    seen: set[Path] = set()
    for name, path in _learned_from(settings).items():
        both = sorted(test.intersection(read_names(path))) if path not in seen else []
        seen.add(path)
        if both:
            _log.warning(
                "%d clips of %s are in %s (%s), too, e.g. %r: scores of what was learned from or "
                "tuned on say nothing about other clips",
                *(len(both), reference, path, name, both[0]),
            )
