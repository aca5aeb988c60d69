"""What the runs of a sweep are, what their stages take, and what is looked at before the first."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from sedtool.atomic import remove_leftovers, write_text
from sedtool.audio import AudioInputs
from sedtool.checkpoint import read_header
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
from sedtool.evaluation.from_files import check_limits, evaluate_files
from sedtool.extraction import extract
from sedtool.inference import InferOutputs, infer
from sedtool.labels import read_events, read_names, read_vocabulary, read_weak
from sedtool.mean_teacher import teacher_of
from sedtool.runs import (
    NamedFile,
    RunFolder,
    SweepFolder,
    SweepRecord,
    file_digest,
    read_json,
    split_name,
    unlike,
)
from sedtool.signals import stop_signals
from sedtool.store import is_hdf5, open_features, open_scores
from sedtool.training import train
from sedtool.tuning import tune

Report = Callable[[int, int, str], None]  # done, total, what

# Options of the stages that change no result, or that the sweep itself gives.
FREE = {
    *("output", "device", "overwrite", "dry-run", "quiet", "workers", "scores", "model", "inputs"),
    *("estimated", "features", "files-from", "null", "root", "stdin-name", "format", "tolerate"),
    *("fail-fast", "shard", "resume", "save-every", "plugin"),
}

_log = logging.getLogger(__name__)

# What the stages take


@dataclass(frozen=True)
class SweepSettings:
    """What runs of a sweep have in common, as the stages take it."""

    varied: tuple[str, ...] = field(compare=False)  # settings that vary, as train.arch=small
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

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Return what `check_inputs` looks at."""
        return (self.train, self.tune, self.evaluate, self.features, *self.audio)

    def scored(self, files: RunFolder) -> Path:
        """Return the model of a run that is scored."""
        return teacher_of(files.model) if self.teacher else files.model


@dataclass(frozen=True)
class Run:
    """One training: a pooling, as it was written, a seed, and all other settings."""

    name: str  # its folder, below that of the sweep
    pooling: str
    seed: int
    settings: SweepSettings = field(compare=False, repr=False)

    @property
    def training(self) -> TrainConfig:
        return replace(self.settings.training, pooling=self.pooling, seed=self.seed)

    def folder(self, output: Path) -> RunFolder:
        return SweepFolder(output).run(self.name)

    def steps(self, output: Path, anew: bool, is_trained: bool) -> list["Step"]:
        """Return what is left to do."""
        names = ["train", *(["tune"] if self.settings.tune else []), "infer", "evaluate"]
        return [Step(name, output, self.settings, self, anew) for name in names[is_trained:]]


def record_of(runs: Sequence[Run]) -> SweepRecord:
    """Return what the folder of a sweep says of its runs."""
    settings = runs[0].settings
    weak = settings.evaluate.weak_reference
    return SweepRecord(
        recipe=str(settings.recipe.resolve()),
        data=str(settings.data.resolve()),
        reference=NamedFile.of(settings.evaluate.reference),
        weak_reference=NamedFile.of(weak) if weak else None,
        paper=settings.paper and settings.paper.resolve(),
        runs=tuple(run.name for run in runs),
        varied={split_name(r.name)[0]: r.settings.varied for r in runs if r.settings.varied},
    )


class Step(NamedTuple):
    """One stage, as it is called for a run, or for the whole sweep."""

    stage: str
    output: Path  # a run folder, a features file, or the folder of the sweep
    settings: SweepSettings
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


def call(step: Step, progress: Report) -> Any:
    """Run a stage and return its result. After a signal training saves and stops."""
    output, settings, files = step.output, step.settings, step.folder
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
                    step.run.training,
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
    model = settings.scored(files)
    written: dict[str, Any] = {"events": files.events, "scores": files.scores, "weak": files.tags}
    outputs = replace(settings.outputs, **written, overwrite=True)
    result = infer(model, settings.test, settings.infer, outputs, progress=progress)
    record = {**scoring_record(settings), "decoding": read_header(model)["decoding"]}
    text = json.dumps(record, indent=2, ensure_ascii=False)
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
    return f"{len(comparison.systems)} rows"


# Is a run that is there the one that is to be made?


def scoring_record(settings: SweepSettings) -> dict[str, dict[str, Any]]:
    """Return the options of tuning and scoring, files by their digest."""
    return {
        stage: {k: _fingerprint(v, settings.data) for k, v in options.items() if k not in FREE}
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
    """Refuse what runs would stumble over.

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
        elif name == "train.soft":
            open_scores(path, verify=False)
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
    for name in ("train.weak", "train.strong", "train.unlabelled", "train.soft"):
        lists.pop(name, None)
    for name, path, both in _shared(trained, lists.items()):
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


def _shared(
    names: set[str], lists: Iterable[tuple[str, Path]]
) -> Iterator[tuple[str, Path, list[str]]]:
    """Yield the lists that have some of these clips, by option, and which clips they are."""
    for option, path in lists:
        if both := sorted(names.intersection(_names(path))):
            yield option, path, both


def _names(path: Path) -> list[str]:
    """Return the clips that labels, or scores, are of."""
    return open_scores(path, verify=False).names if is_hdf5(path) else read_names(path)


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


def warn_of_leaks(variants: Sequence[SweepSettings]) -> None:
    """Say so where clips of the test are in a list that is learned from or tuned on."""
    reference = variants[0].evaluate.reference  # the same in all
    learned = [pair for settings in variants for pair in _learned_from(settings).items()]
    once = {path: (name, path) for name, path in reversed(learned)}  # each list is named once
    for name, path, both in _shared(set(read_names(reference)), reversed(once.values())):
        _log.warning(
            "%d clips of %s are in %s (%s), too, e.g. %r: scores of what was learned from or "
            "tuned on say nothing about other clips",
            *(len(both), reference, path, name, both[0]),
        )
