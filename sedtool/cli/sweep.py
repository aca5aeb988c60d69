"""`sedtool sweep`: recipe + poolings + seeds -> a folder of trained, tuned and scored runs."""

import os
from pathlib import Path
from typing import Any

import click

from sedtool.cli import options as opt
from sedtool.cli.console import progress, say, write_stdout
from sedtool.cli.settings import SedtoolCommand
from sedtool.cli.stages import Stages
from sedtool.config import POOLING_NAMES, FailurePolicy, FilesConfig, InferConfig
from sedtool.config.comparison import SweepConfig
from sedtool.errors import ConfigError
from sedtool.signals import stop_signals

_IN_DATA = opt.OUTPUT_FOLDER  # a path below --data, so that it cannot be looked at yet


class _SweepCommand(SedtoolCommand):
    """RECIPE is also what --config names, unless another file is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        raw, _, _ = self.make_parser(ctx).parse_args(list(args))
        recipe, config = raw.get("recipe"), raw.get("config")
        ctx.meta["sedtool.config"] = config
        ctx.meta["sedtool.sets"] = tuple(raw.get("sets") or ())
        return super().parse_args(
            ctx, ["-c", recipe, *args] if isinstance(recipe, str) and not config else args
        )


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
    *opt.settings(SweepConfig, "features", type=_IN_DATA),
    click.option(
        "--audio",
        type=_IN_DATA,
        multiple=True,
        help="Audio to train and validate on, as INPUT of extract. May be given several times.",
    ),
    click.option("--root", type=_IN_DATA, help="The folder that clip names are relative to."),
    click.option(
        "--test",
        type=_IN_DATA,
        multiple=True,
        required=True,
        help="The test clips: audio, or a features file. May be given several times.",
    ),
    click.option(
        "--test-reference",
        type=_IN_DATA,
        required=True,
        help="Strong labels of the test clips.",
    ),
    click.option("--test-weak-reference", type=_IN_DATA, help="Weak labels of the test clips."),
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
    opt.max_time,
    opt.flag(
        "--dry-run",
        help="Print the commands that remain to be run, without running them.",
    ),
)
@click.pass_context
def sweep(
    ctx: click.Context,
    /,
    recipe: Path | None,
    output: Path,
    pooling: tuple[str, ...],
    seeds: tuple[str, ...],
    overwrite: bool,
    shard: str | None,
    tolerate: str,
    fail_fast: bool,
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

    everything = grid(parse_poolings(pooling), parse_seeds(seeds))
    runs = part_of(everything, shard, os.environ)
    policy = FailurePolicy(tolerate)
    if options["device"] == "":
        raise ConfigError("device is empty; auto, cpu, cuda, cuda:1 or mps")
    stages = Stages(ctx, _recipe(ctx, recipe), options)
    settings = stages.settings()
    if dry_run:
        n_left, steps = plan_sweep(output, settings, runs, overwrite)
        lines = [f"# {len(runs) - n_left} of {len(runs)} runs are done", *stages.script(steps)]
        write_stdout("".join(f"{line}\n" for line in lines))
        return
    with stop_signals() as stop, progress("sweep", quiet) as report:
        hooks = Hooks(report, lambda line: say(line, quiet), stages.logged, explained, stop)
        result = sweep_runs(
            output,
            settings,
            runs,
            hooks,
            everything=everything,
            overwrite=overwrite,
            fail_fast=fail_fast,
        )
    if result.table is not None:
        write_stdout(result.table.read_text("utf-8"))
    say(f"{result} -> {output}", quiet)
    result.require_success(policy)


def _recipe(ctx: click.Context, recipe: Path | None) -> Path:
    """Return the recipe: RECIPE, else what --config names."""
    given = recipe or ctx.meta["sedtool.config"]
    if not given:
        raise click.UsageError("Missing argument 'RECIPE'.")
    return Path(given)
