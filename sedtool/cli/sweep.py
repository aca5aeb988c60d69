"""`sedtool sweep`: recipe + poolings + seeds -> a folder of trained, tuned and scored runs."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import join, quote
from typing import TYPE_CHECKING, Any

import click

from sedtool.cli import options as opt
from sedtool.cli.console import logging_to, progress, say, write_stdout
from sedtool.cli.evaluate import report_settings
from sedtool.cli.extract import feature_settings
from sedtool.cli.settings import Options, SedtoolCommand, resolve, taken
from sedtool.config import (
    POOLING_NAMES,
    EvaluateInputs,
    EvaluationConfig,
    ExtractConfig,
    FailurePolicy,
    FilesConfig,
    InferConfig,
    TrainConfig,
    TrainInputs,
    TuneConfig,
    TuneInputs,
)
from sedtool.config.evaluation import CompareConfig
from sedtool.config.training import SweepConfig
from sedtool.errors import ConfigError
from sedtool.plugins import load, loaded_files

if TYPE_CHECKING:
    from sedtool.sweep import Step, SweepSettings

_SCORING = ("tune", "infer", "evaluate")
_STAGES = ("extract", "train", *_SCORING, "compare")
_LABELS = {"reference", "weak-reference"}  # of the test, options of evaluate
_VARIED = ("train.pooling", "train.seed")  # by the sweep itself

_log = logging.getLogger(__name__)


class _SweepCommand(SedtoolCommand):
    """RECIPE is also what --config names, unless another file is."""

    def recipe(self, raw: Mapping[str, Any]) -> str | None:
        recipe = raw.get("config") or raw.get("recipe")
        return recipe if isinstance(recipe, str) else None  # Click has a word for none


@click.command(cls=_SweepCommand)
@click.argument("recipe", type=opt.EXISTING_FILE, required=False)
@opt.group(
    "Input",
    click.option(
        "--data",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=".",
        help="The folder that the paths in RECIPE and in the options below are relative to.",
    ),
    *opt.settings(
        SweepConfig,
        *("features", "audio", "root", "test", "test_reference", "test_weak_reference"),
        type=opt.OUTPUT_FOLDER,  # below --data, so that it cannot be looked at yet
    ),
)
@opt.group(
    "Output",
    opt.output(
        "The folder to write, with a folder for each run.", opt.OUTPUT_FOLDER, required=True
    ),
    opt.flag("--overwrite", help="Replace runs that have other settings."),
)
@opt.group(
    "Runs",
    click.option(
        "--pooling",
        multiple=True,
        required=True,
        metavar="NAME[:key=value,...],...",
        help="Poolings with commas between them. May be given several times.",
        shell_complete=opt.names(*POOLING_NAMES),
    ),
    *opt.settings(SweepConfig, "seeds"),
)
@opt.group(
    "Execution",
    *opt.settings(
        InferConfig,
        "device",
        default=None,
        help="Where train, tune and infer run: auto, cpu, cuda, cuda:1 or mps.",
    ),
    *opt.settings(FilesConfig, "shard"),
    *opt.settings(
        FailurePolicy,
        "tolerate",
        help="How many runs may fail, or which share of them, with exit code 0.",
    ),
    *opt.settings(FilesConfig, "fail_fast", help="Stop at the first run that fails."),
    opt.plugin,
    opt.max_time,
    opt.flag("--dry-run", help="Print the commands that remain to be run, without running them."),
)
@click.pass_context
def sweep(
    ctx: click.Context,
    /,
    recipe: Path | None,
    output: Path,
    overwrite: bool,
    dry_run: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train, tune, score and compare poolings and seeds.

    Runs that are done are left as they are, so the same command goes on after a stop, and more
    poolings and seeds can be added. Several sweeps at a time share the work. OUTPUT/POOLING/seed-N/
    test has the scores.h5, events.tsv and metrics.json of each run; the table of `sedtool compare`
    goes to stdout.

    \b
    Example: sedtool sweep recipes/esc10/esc10.yaml --data esc10 -o esc10/runs \\
                 --pooling power,linear,rap:lambda=1e-2 --seeds 0-4
    """
    from sedtool.cli import explained
    from sedtool.sweep import Hooks, grid, parse_poolings, parse_seeds, part_of, plan_sweep
    from sedtool.sweep import sweep as sweep_runs

    everything = grid(parse_poolings(options["pooling"]), parse_seeds(options["seeds"]))
    runs = part_of(everything, options["shard"], os.environ)
    policy = taken(FailurePolicy, options)
    if options["device"] == "":
        raise ConfigError("device is empty; auto, cpu, cuda, cuda:1 or mps")
    recipe = recipe or ctx.meta["sedtool.recipe"]
    if not recipe:
        raise click.UsageError("Missing argument 'RECIPE'.")
    stages = Stages(ctx, Path(recipe), options)
    settings = stages.settings()
    if dry_run:
        n_left, steps = plan_sweep(output, settings, runs, overwrite)
        lines = [f"# {len(runs) - n_left} of {len(runs)} runs are done", *stages.script(steps)]
        write_stdout("".join(f"{line}\n" for line in lines))
        return
    with progress("sweep", quiet) as report:
        hooks = Hooks(report, lambda line: say(line, quiet), stages.logged, explained)
        how: dict[str, bool] = {"overwrite": overwrite, "fail_fast": options["fail_fast"]}
        result = sweep_runs(output, settings, runs, hooks, everything=everything, **how)
    if result.table is not None:
        write_stdout(result.table.read_text("utf-8"))
    say(f"{result} -> {output}", quiet)
    result.require_success(policy)


class Stages:
    """The stages of a sweep: what they take, and the command lines they stand for.

    A stage takes what it would with the recipe and --set, and what the sweep adds to it.
    """

    def __init__(self, ctx: click.Context, recipe: Path, options: Mapping[str, Any]) -> None:
        self._recipe, self._data = recipe, options["data"]
        self._sets: tuple[str, ...] = ctx.meta["sedtool.sets"]
        for key in (text.partition("=")[0].strip() for text in self._sets):
            if key in _VARIED:
                raise ConfigError(f"--set {key}: a sweep varies it; give --pooling and --seeds")
        self._own = {name: resolve(ctx, name, recipe, self._sets, self._data) for name in _STAGES}
        for plugin in (
            p for stage in ("train", "tune", "infer") for p in self._own[stage]["plugins"]
        ):
            load(plugin)
        below = {name: _below(self._data, value) for name, value in options.items()}
        given = taken(SweepConfig, below)
        self._audio = {given.features: given.audio}
        scored = given.test[0]
        if len(given.test) > 1 or scored.suffix != ".h5":
            scored = self._data / SweepConfig.test_features
            self._audio[scored] = given.test
        self._added = {
            stage: {name: value for name, value in values.items() if value is not None}
            for stage, values in self._additions(given, scored, options["device"]).items()
        }

    def _additions(
        self, given: SweepConfig, scored: Path, device: str | None
    ) -> dict[str, dict[str, Any]]:
        """Return what the sweep adds to the options of each stage; None adds nothing."""
        train, tune, plugins = self._own["train"], self._own["tune"], loaded_files() or None
        has_labels = tune["reference"] or tune["weak"]
        labels = {"reference": given.test_reference, "weak_reference": given.test_weak_reference}
        # With the classes of training, no average depends on those of the test.
        classes = None if self._own["evaluate"]["classes"] else train["classes"]
        return {
            "extract": {"root": given.root},
            "train": {
                "features": None if train["features"] else (given.features,),
                "device": device,
                "plugins": plugins,
            },
            "tune": {
                "features": None if tune["features"] else (given.features,),
                "reference": None if has_labels else train["val_strong"],
                "weak": None if has_labels else train["val_weak"],
                "device": device,
                "plugins": plugins,
            },
            "infer": {"inputs": (scored,), "device": device, "plugins": plugins},
            "evaluate": {**labels, "classes": classes},
            "compare": labels,
        }

    def _of(self, stage: str, **more: Any) -> Options:
        """Return the options of a stage, with what is added to them, and `more`."""
        return self._own[stage].with_(**self._added[stage], **more)

    def settings(self) -> "SweepSettings":
        """Return what the stages take."""
        from sedtool.inference import InferOutputs
        from sedtool.sweep import SweepSettings

        train, tune, infer, compare = map(self._of, ("train", "tune", "infer", "compare"))
        evaluate = self._of("evaluate", estimated=Path())
        fitted_to = ("reference", "weak", "durations_from", "window")
        is_fitted = any(tune[name] is not None for name in fitted_to)
        with train.named(), tune.named(), evaluate.named(), compare.named():
            return SweepSettings(
                recipe=self._recipe,
                data=self._data,
                features=feature_settings(self._own["extract"]),
                extract=taken(ExtractConfig, self._own["extract"]),
                audio={
                    output: opt.audio_inputs(self._of("extract", inputs=tuple(map(str, paths))))
                    for output, paths in self._audio.items()
                    if paths
                },
                train=taken(TrainInputs, train),
                training=taken(TrainConfig, train),
                tune=taken(TuneInputs, tune) if is_fitted else None,
                tuning=taken(TuneConfig, tune),
                devices={"train": train["device"], "tune": tune["device"]},
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
                given={stage: self._own[stage].given | _LABELS for stage in _SCORING},
            )

    def _recorded(self, stage: str) -> dict[str, Any]:
        """Return the options of a stage as a run's record has them, paths as in the recipe."""
        options = self._own[stage]
        if stage == "evaluate":  # the labels of the test are the sweep's, whatever the recipe says
            labels = ("reference", "weak_reference")
            options = options.with_(**{name: self._added[stage].get(name) for name in labels})
        values = options.by_key().items()
        return {key: self._plain(value) for key, value in values if value not in (None, ())}

    def _plain(self, value: Any) -> Any:
        """Return a value with paths as text, as they stand in the recipe: relative to its data."""
        if isinstance(value, tuple):
            return [str(self._plain(item)) for item in value]
        if not isinstance(value, Path):
            return value
        return str(value.relative_to(self._data) if value.is_relative_to(self._data) else value)

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
        values = {**self._added[step.stage], **self._files(step)}
        words = self._own[step.stage].words({k: self._plain(v) for k, v in values.items()})
        sets = [word for text in self._sets for word in ("--set", text)]
        return join(["sedtool", step.stage, *words, "-c", str(self._recipe.resolve()), *sets])

    def _files(self, step: "Step") -> dict[str, Any]:
        """Return what is a step's own of its options, by parameter: inputs and outputs."""
        from sedtool.runs import SweepFolder

        files = step.folder
        if step.stage == "extract":
            return {"inputs": self._audio[step.output], "output": step.output}
        if step.run is None:
            tables = SweepFolder(step.output).tables
            return {"runs": (step.output,), "output": tables, "overwrite": True}
        train = {"pooling": step.run.pooling, "seed": step.run.seed, "output": files.path}
        outputs = {"output": files.events, "scores": files.scores, "weak": files.tags}
        own: dict[str, dict[str, Any]] = {
            "train": {**train, "overwrite" if step.overwrite else "resume": True},
            "tune": {"model": files.model},
            "infer": {"model": files.model, **outputs, "overwrite": True},
            "evaluate": {"estimated": files.scores, "output": files.metrics, "overwrite": True},
        }
        return own[step.stage]


def _below(folder: Path, value: Any) -> Any:
    """Return paths below a folder, and anything else as it is."""
    if isinstance(value, tuple):
        return tuple(_below(folder, item) for item in value)
    return folder / value if isinstance(value, Path) else value
