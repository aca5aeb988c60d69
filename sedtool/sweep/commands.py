"""The command lines of a run: train, tune, infer, evaluate, as a user could type them.

They run in the data folder, so that relative paths in the recipe are relative to it; the paths of
the run itself are absolute.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sedtool.config.comparison import SweepConfig
from sedtool.runs import RunFolder, SweepFolder
from sedtool.sweep.children import StageSettings
from sedtool.sweep.grid import Run

__all__ = [
    "Settings",
    "SweepInputs",
    "comparison_line",
    "extractions",
    "features_option",
    "stages",
]

Settings = Mapping[str, StageSettings]  # of each stage


@dataclass(frozen=True)
class SweepInputs:
    """What all runs have in common. Paths are relative to the data folder, unless absolute."""

    recipe: Path
    data: Path  # the folder
    test: tuple[str, ...]  # audio, lists of it, or one features file
    reference: str  # strong labels of the test clips
    weak_reference: str | None = None  # weak labels of the test clips
    audio: tuple[str, ...] = ()  # to extract the features of training and validation from
    root: str | None = None  # clip names are relative to it
    features: str = SweepConfig.features
    test_features: str = SweepConfig.test_features
    sets: tuple[str, ...] = ()  # section.key=value
    device: str | None = None
    paper: Path | None = None  # a table of published numbers

    def path(self, text: str) -> Path:
        """Return what a path of the recipe means."""
        return (self.data / text).resolve()

    @property
    def test_is_features(self) -> bool:
        """Return whether the test clips are given as features, not as audio."""
        return len(self.test) == 1 and Path(self.test[0]).suffix == ".h5"

    @property
    def scored(self) -> str:
        """Return the features file of the test clips."""
        return self.test[0] if self.test_is_features else self.test_features

    def common(self) -> list[str]:
        """Return the options that every stage gets."""
        recipe = ["-c", str(self.recipe.resolve())]
        return [*recipe, *(word for text in self.sets for word in ("--set", text))]


def extractions(inputs: SweepInputs) -> list[tuple[Path, list[str]]]:
    """Return the features files to make, each with its command line; those there are left out."""
    wanted = [(inputs.features, inputs.audio)]
    if not inputs.test_is_features:
        wanted.append((inputs.test_features, inputs.test))
    return [
        (inputs.path(output), ["extract", *_operands(audio), "-o", output, *_root(inputs)])
        for output, audio in wanted
        if audio and not inputs.path(output).exists()
    ]


def _root(inputs: SweepInputs) -> list[str]:
    root = ["--root", inputs.root] if inputs.root is not None else []
    return [*root, *inputs.common()]


def _operands(paths: Iterable[str]) -> list[str]:
    """Return paths, none of which looks like an option."""
    return [f"./{path}" if path.startswith("-") else path for path in paths]


def stages(
    run: Run, files: RunFolder, inputs: SweepInputs, settings: Settings, overwrite: bool = False
) -> list[list[str]]:
    """Return the command lines of a run: train, tune, infer, evaluate."""
    common = inputs.common()
    device = ["--device", inputs.device] if inputs.device else []
    train = ["train", "-o", str(files.path), "--pooling", run.pooling, "--seed", str(run.seed)]
    train += [*features_option(inputs, settings["train"]), *common, *device]
    train.append("--overwrite" if overwrite else "--resume")
    model = str(files.model)
    lines = [train]
    labels = tune_labels(settings)
    if labels is not None:
        features = features_option(inputs, settings["tune"])
        lines.append(["tune", model, *features, *labels, *common, *device])
    outputs = ["-o", str(files.events), "--scores", str(files.scores)]
    outputs += ["--weak", str(files.tags), "--overwrite"]
    lines.append(["infer", model, *_operands([inputs.scored]), *outputs, *common, *device])
    return [*lines, evaluation(files, inputs, settings)]


def evaluation(files: RunFolder, inputs: SweepInputs, settings: Settings) -> list[str]:
    """Return the last command line of a run."""
    line = ["evaluate", *_operands([inputs.reference]), str(files.scores)]
    line += ["-o", str(files.metrics), "--overwrite"]
    if inputs.weak_reference is not None:
        line += ["--weak-reference", inputs.weak_reference]
    classes = settings["train"].get("classes")
    if classes and not settings["evaluate"].get("classes"):
        line += ["--classes", str(classes)]  # no average depends on which classes the test has
    return [*line, *inputs.common()]


def features_option(inputs: SweepInputs, settings: Mapping[str, Any]) -> list[str]:
    """Return the option that names the features, unless the recipe does."""
    return [] if settings.get("features") else ["--features", inputs.features]


def tune_labels(settings: Settings) -> list[str] | None:
    """Return options that name validation labels for `tune`; None if there are none.

    They are those of the recipe's section ``tune``, else those that training validates on.
    """
    tune, train = settings["tune"], settings["train"]
    if tune.get("reference") or tune.get("weak"):
        return []
    pairs = (("--reference", train.get("val-strong")), ("--weak", train.get("val-weak")))
    found = [word for option, path in pairs if path for word in (option, str(path))]
    if found or tune.get("durations-from") or tune.get("window") is not None:
        return found
    return None


def comparison_line(output: Path, inputs: SweepInputs) -> list[str]:
    """Return the command line that makes the tables of all runs in the folder."""
    folder = SweepFolder(output.resolve())
    line = ["compare", str(folder.path), "--reference", inputs.reference]
    if inputs.weak_reference is not None:
        line += ["--weak-reference", inputs.weak_reference]
    line += [word for table in folder.tables for word in ("-o", str(table))]
    return [*line, "--overwrite", *inputs.common()]
