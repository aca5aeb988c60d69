"""What a recipe means for the stages of a sweep: their settings, and their command lines."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import join, quote
from typing import TYPE_CHECKING, Any

import click

from sedtool.cli import options as opt
from sedtool.cli.console import logging_to
from sedtool.cli.evaluate import report_settings
from sedtool.cli.extract import feature_settings
from sedtool.cli.settings import Options, resolve, taken
from sedtool.config import EvaluationConfig, ExtractConfig, InferConfig, TrainConfig
from sedtool.config.comparison import CompareConfig, SweepConfig
from sedtool.errors import ConfigError

if TYPE_CHECKING:
    from sedtool.audio import AudioInputs
    from sedtool.sweep import Step, SweepSettings
    from sedtool.tuning import TuneInputs

_OURS = ("train.pooling", "train.seed")  # what a sweep varies
_SCORING = ("tune", "infer", "evaluate")
_LABELS = {"reference", "weak-reference"}  # of the test, options of evaluate
_STAGES = ("extract", "train", *_SCORING, "compare")

_log = logging.getLogger(__name__)


class Stages:
    """The stages of a sweep: what they take, and the command lines they stand for.

    A stage takes what it would with the recipe and --set, and what the sweep adds to it. Options
    that are added are kept as text, with paths relative to the data folder.
    """

    def __init__(self, ctx: click.Context, recipe: Path, options: Mapping[str, Any]) -> None:
        self._recipe, self._given, self._data = recipe, options, options["data"]
        self._sets: tuple[str, ...] = ctx.meta["sedtool.sets"]
        for text in self._sets:
            key = text.partition("=")[0].strip()
            if key in _OURS:
                raise ConfigError(f"--set {key}: a sweep varies it; give --pooling and --seeds")
        self._options = {
            name: resolve(ctx, name, recipe, self._sets, self._data) for name in _STAGES
        }
        test = [str(path) for path in options["test"]]
        self._test_is_features = len(test) == 1 and Path(test[0]).suffix == ".h5"
        self._scored = test[0] if self._test_is_features else SweepConfig.test_features
        self._added = {name: self._additions(name) for name in _STAGES}

    def _additions(self, stage: str) -> dict[str, str]:
        """Return what the sweep adds to the options of a stage."""
        given, options, train = self._given, self._options[stage], self._options["train"]
        added: dict[str, Any] = {}
        if stage in ("train", "tune") and not options["features"]:
            added["features"] = given["features"]
        if stage == "tune" and not (options["reference"] or options["weak"]):
            added["reference"], added["weak"] = train["val_strong"], train["val_weak"]
        if stage in ("evaluate", "compare"):
            added["weak_reference"] = given["test_weak_reference"]
        if stage == "evaluate" and options["classes"] is None:
            added["classes"] = train["classes"]  # so that no average depends on the test's classes
        if stage in ("train", "tune", "infer"):
            added["device"] = given["device"]
        return {name: self._text(value) for name, value in added.items() if value is not None}

    def _text(self, value: Any) -> str:
        """Return a value as it stands in the recipe, where paths are relative to its data."""
        is_below = isinstance(value, Path) and value.is_relative_to(self._data)
        return str(value.relative_to(self._data) if is_below else value)

    def _of(self, stage: str, **more: Any) -> Options:
        """Return the options of a stage, with what is added to them, and `more`."""
        added: dict[str, Any] = {
            name: text if name == "device" else self._data / text
            for name, text in self._added[stage].items()
        }
        if "features" in added:
            added["features"] = (added["features"],)
        return self._options[stage].with_(**added, **more)

    def settings(self) -> "SweepSettings":
        """Return what the stages take."""
        from sedtool.config import EvaluateInputs
        from sedtool.inference import InferOutputs
        from sedtool.sweep import SweepSettings
        from sedtool.training import TrainInputs

        train, compare = self._of("train"), self._of("compare")
        reference = self._data / self._given["test_reference"]
        evaluate = self._of("evaluate", reference=reference, estimated=Path())
        infer = self._of("infer", inputs=(self._data / self._scored,))
        extract = self._options["extract"]
        with train.named(), evaluate.named(), compare.named():
            return SweepSettings(
                recipe=self._recipe,
                data=self._data,
                features=feature_settings(extract),
                extract=taken(ExtractConfig, extract),
                audio=self._audio(),
                train=taken(TrainInputs, train),
                training=taken(TrainConfig, train),
                tune=self._tuning(),
                devices={stage: self._of(stage)["device"] for stage in ("train", "tune")},
                test=opt.audio_inputs(infer),
                infer=taken(InferConfig, infer),
                outputs=taken(InferOutputs, infer),
                teacher=infer["teacher"],
                evaluate=taken(EvaluateInputs, evaluate),
                scoring=taken(EvaluationConfig, evaluate),
                report=report_settings(evaluate),
                compare=taken(CompareConfig, compare),
                paper=compare["paper"],
                options={stage: self._recorded(stage) for stage in _SCORING},
                given={stage: self._options[stage].given | _LABELS for stage in _SCORING},
            )

    def _audio(self) -> "dict[Path, AudioInputs]":
        """Return what the features are made of, those of training first."""
        wanted = [(self._given["features"], self._given["audio"])]
        if not self._test_is_features:
            wanted.append((SweepConfig.test_features, self._given["test"]))
        root = self._given["root"]
        own = {} if root is None else {"root": self._data / root}
        return {
            self._data / output: opt.audio_inputs(
                self._of("extract", inputs=tuple(str(self._data / path) for path in paths), **own)
            )
            for output, paths in wanted
            if paths
        }

    def _tuning(self) -> "TuneInputs | None":
        """Return what `tune` fits to; None where nothing to fit to is given."""
        from sedtool.tuning import TuneInputs

        tune = self._of("tune")
        fitted_to = ("reference", "weak", "durations_from", "window")
        if all(tune[name] is None for name in fitted_to):
            return None
        with tune.named():
            return taken(TuneInputs, tune)

    def _recorded(self, stage: str) -> dict[str, Any]:
        """Return the options of a stage as a run's record has them, paths as in the recipe."""
        values = self._options[stage].by_key()
        if stage == "evaluate":  # those of the sweep, whatever the recipe says
            values |= {key: self._given[f"test_{key.replace('-', '_')}"] for key in _LABELS}
        return {key: self._plain(value) for key, value in values.items() if value not in (None, ())}

    def _plain(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return [str(self._plain(item)) for item in value]
        return self._text(value) if isinstance(value, Path) else value

    # The command lines

    @contextlib.contextmanager
    def logged(self, step: "Step", path: Path) -> Iterator[None]:
        """Send what a step says to a file, below the command line that it stands for."""
        with logging_to(path):
            _log.info("$ %s  # in %s", self.line(step), quote(str(self._data.resolve())))
            yield

    def script(self, steps: "Sequence[Step]") -> list[str]:
        """Return the command lines of steps as a shell takes them."""
        lines = [f"cd {quote(str(self._data.resolve()))}"]
        for step in steps:
            if step.stage == "train":
                lines.append(f"mkdir -p {quote(str(step.folder.test))}")
            lines.append(self.line(step))
        return lines

    def line(self, step: "Step") -> str:
        """Return the command line that a step stands for, to be run in the data folder."""
        added = [
            word
            for name, text in self._added[step.stage].items()
            for word in (f"--{name.replace('_', '-')}", text)
        ]
        sets = [word for text in self._sets for word in ("--set", text)]
        common = ["-c", str(self._recipe.resolve()), *sets]
        words = [step.stage, *self._words(step), *added, *common]
        if step.stage == "train":
            words.append("--overwrite" if step.overwrite else "--resume")
        return join(["sedtool", *words])

    def _words(self, step: "Step") -> list[str]:
        """Return what is a step's own of its command line: inputs and outputs."""
        from sedtool.runs import SweepFolder

        files, given, reference = step.folder, self._given, str(self._given["test_reference"])
        if step.run is not None:
            names = ["--pooling", step.run.pooling, "--seed", str(step.run.seed)]
            scored, scores = _operand(self._scored), str(files.scores)
            return {
                "train": ["-o", str(files.path), *names],
                "tune": [str(files.model)],
                "infer": [
                    *(str(files.model), scored, "-o", str(files.events), "--scores", scores),
                    *("--weak", str(files.tags), "--overwrite"),
                ],
                "evaluate": [
                    *(_operand(reference), scores, "-o", str(files.metrics), "--overwrite"),
                ],
            }[step.stage]
        if step.stage == "compare":
            tables = [word for table in SweepFolder(step.output).tables for word in ("-o", table)]
            return [*map(str, (step.output, *tables)), "--reference", reference, "--overwrite"]
        is_test = step.output == self._data / SweepConfig.test_features
        audio = given["test"] if is_test else given["audio"]
        root = [] if given["root"] is None else ["--root", str(given["root"])]
        return [*(_operand(str(path)) for path in audio), "-o", self._text(step.output), *root]


def _operand(path: str) -> str:
    """Return a path that does not look like an option."""
    return f"./{path}" if path.startswith("-") else path
