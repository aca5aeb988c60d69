"""`sedtool sweep`: recipe + poolings, settings, seeds -> a folder of trained and scored runs."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import product
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
_VARIED = {"train.pooling": "--pooling", "train.seed": "--seeds"}  # by options of their own
_COMPARED = ("collar", "offset-ratio", "segment")  # options of evaluate that may vary

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
        *("features", "audio", "root", "test", "test_features"),
        *("test_reference", "test_weak_reference"),
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
        metavar="NAME[:key=value,...],...",
        help="Poolings with commas between them; with --vary, by default that of the recipe. May "
        "be given several times.",
        shell_complete=opt.names(*POOLING_NAMES),
    ),
    *opt.settings(SweepConfig, "vary", "seeds"),
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
    """Train, tune, score and compare poolings, settings and seeds.

    Runs that are done are left as they are, so the same command goes on after a stop, and more
    poolings, settings and seeds can be added. Several sweeps at a time share the work. The folder
    test in that of a run, OUTPUT/POOLING/seed-N or OUTPUT/POOLING,KEY=VALUE/seed-N, has its
    scores.h5, events.tsv and metrics.json; the table of `sedtool compare` goes to stdout.

    \b
    Example: sedtool sweep recipes/esc10/esc10.yaml --data esc10 -o esc10/runs \\
                 --pooling power,linear,rap:lambda=1e-2 --seeds 0-4
             sedtool sweep recipes/esc10/esc10.yaml --data esc10 -o esc10/lr \\
                 --vary train.lr=1e-3,3e-4 --vary train.arch=small,dcase2017
    """
    from sedtool.cli import explained
    from sedtool.sweep import Hooks, grid, parse_poolings, parse_seeds, part_of, plan_sweep
    from sedtool.sweep import sweep as sweep_runs

    poolings, seeds = parse_poolings(options["pooling"]), parse_seeds(options["seeds"])
    policy = taken(FailurePolicy, options)
    if options["device"] == "":
        raise ConfigError("device is empty; auto, cpu, cuda, cuda:1 or mps")
    recipe = recipe or ctx.meta["sedtool.recipe"]
    if not recipe:
        raise click.UsageError("Missing argument 'RECIPE'.")
    stages = _variants(ctx, Path(recipe), options)
    everything = grid(poolings, [each.settings for each in stages.values()], seeds)
    runs = part_of(everything, options["shard"], os.environ)
    if dry_run:
        n_left, steps = plan_sweep(output, runs, overwrite)
        lines = [f"# {len(runs) - n_left} of {len(runs)} runs are done"]
        lines += _script(options["data"], steps, stages)
        write_stdout("".join(f"{line}\n" for line in lines))
        return

    def logged(step: "Step", path: Path) -> AbstractContextManager[None]:
        return stages[step.settings.varied].logged(step, path)

    with progress("sweep", quiet) as report:
        hooks = Hooks(report, lambda line: say(line, quiet), logged, explained)
        how: dict[str, bool] = {"overwrite": overwrite, "fail_fast": options["fail_fast"]}
        result = sweep_runs(output, runs, hooks, everything=everything, **how)
    if result.table is not None:
        write_stdout(result.table.read_text("utf-8"))
    say(f"{result} -> {output}", quiet)
    result.require_success(policy)


def _variants(
    ctx: click.Context, recipe: Path, options: Mapping[str, Any]
) -> "dict[tuple[str, ...], Stages]":
    """Return the stages by the settings that vary: each value of one with each of the others."""
    from sedtool.sweep import FREE, parse_varied

    varied, sets = parse_varied(options["vary"]), ctx.meta["sedtool.sets"]
    if not (varied or options["pooling"]):
        raise click.UsageError("Missing option '--pooling' (or --vary).")
    for key in (text.partition("=")[0].strip() for text in sets):
        if option := _VARIED.get(key, "--vary" if key in varied else ""):
            raise ConfigError(f"--set {key}: a sweep varies it; give {option}")
    stages = {}
    for values in product(*varied.values()):
        texts = tuple(map("=".join, zip(varied, values, strict=True)))
        try:
            stages[texts] = Stages(ctx, recipe, options, sets, texts)
        except ConfigError as error:  # in what varies, which the stages take as from --set
            if not str(error).startswith(tuple(f"--set {key}:" for key in varied)):
                raise
            raise ConfigError(str(error).replace("--set", "vary", 1)) from error
    for key in varied:
        section, _, option = key.partition(".")
        if key in _VARIED:
            raise ConfigError(f"vary {key}: give {_VARIED[key]}")
        is_evaluated = section == "evaluate" and option in _COMPARED
        if option in FREE or not (section in _STAGES[:4] or is_evaluated):
            raise ConfigError(
                f"vary {key}: only what changes results of {', '.join(_STAGES[:4])} can vary, and "
                f"{', '.join(_COMPARED)} of evaluate"
            )
    return stages


class Stages:
    """The stages of runs of a sweep: what they take, and the command lines they stand for.

    A stage takes what it would with the recipe, --set and what varies, and what the sweep adds.
    """

    def __init__(
        self,
        ctx: click.Context,
        recipe: Path,
        options: Mapping[str, Any],
        sets: Sequence[str],
        varied: tuple[str, ...],
    ) -> None:
        self._recipe, self._data, self._varied = recipe, options["data"], varied
        self._sets = (*sets, *varied)
        self._own = {name: resolve(ctx, name, recipe, self._sets, self._data) for name in _STAGES}
        for plugin in (
            p for stage in ("train", "tune", "infer") for p in self._own[stage]["plugins"]
        ):
            load(plugin)
        below = {name: _below(self._data, value) for name, value in options.items()}
        given = taken(SweepConfig, below)
        scored, is_audio = given.test[0], len(given.test) > 1 or given.test[0].suffix != ".h5"
        if is_audio:
            scored = given.test_features
        elif options["test_features"] != SweepConfig.test_features:
            raise ConfigError("--test is a features file already; leave --test-features out")
        if scored == given.features and is_audio:
            raise ConfigError(f"--features and --test-features are both {scored}")
        if made := [text for text in varied if text.startswith("extract.")]:
            if not (is_audio and given.audio) or self._own["train"]["features"]:
                raise ConfigError(
                    f"vary {made[0]}: features of each value are made of --audio, and of --test as "
                    "audio; give both, and no train.features"
                )
            from sedtool.runs import name_of

            features, scored = (
                path.with_name(f"{name_of(path.stem, made)}{path.suffix}")
                for path in (given.features, scored)
            )
            given = replace(given, features=features)
        self._audio = {given.features: given.audio} | ({scored: given.test} if is_audio else {})
        self._added = {
            stage: {name: value for name, value in values.items() if value is not None}
            for stage, values in self._additions(given, scored, options["device"]).items()
        }
        self.settings = self._settings()

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

    def _settings(self) -> "SweepSettings":
        """Return what the stages take."""
        from sedtool.inference import InferOutputs
        from sedtool.sweep import SweepSettings

        train, tune, infer, compare = map(self._of, ("train", "tune", "infer", "compare"))
        evaluate = self._of("evaluate", estimated=Path())
        fitted_to = ("reference", "weak", "durations_from", "window")
        is_fitted = any(tune[name] is not None for name in fitted_to)
        if unused := [text for text in self._varied if text.startswith("tune.") and not is_fitted]:
            raise ConfigError(f"vary {unused[0]}: there are no labels to tune to; set tune.weak")
        with train.named(), tune.named(), evaluate.named(), compare.named():
            return SweepSettings(
                varied=self._varied,
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


def _script(
    data: Path, steps: "Sequence[Step]", stages: Mapping[tuple[str, ...], Stages]
) -> Iterator[str]:
    """Yield the command lines of steps as a shell takes them."""
    yield f"cd {quote(str(data.resolve()))}"
    for step in steps:
        if step.stage == "train":
            yield f"mkdir -p {quote(str(step.folder.test))}"
        yield stages[step.settings.varied].line(step)


def _below(folder: Path, value: Any) -> Any:
    """Return paths below a folder, and anything else as it is."""
    if isinstance(value, tuple):
        return tuple(_below(folder, item) for item in value)
    return folder / value if isinstance(value, Path) else value
