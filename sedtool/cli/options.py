"""What the subcommands share: option types and groups of options."""

import functools
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sedtool.cli.console import hear_libraries, open_log, setup_logging
from sedtool.cli.signals import start_timer
from sedtool.config import FailurePolicy
from sedtool.errors import ArtifactError

__all__ = [
    "DEVICES",
    "EXISTING_FILE",
    "EXISTING_PATH",
    "INPUT",
    "INTEGERS",
    "MODEL",
    "OUTPUT",
    "OUTPUT_FOLDER",
    "common_options",
    "dry_run_option",
    "failure_options",
    "input_options",
    "max_time_option",
    "missing_option",
    "names",
    "overwrite_option",
    "shard_option",
]


class _ExistingFile(click.Path):
    """A file that is there; one that is still being made, or was interrupted, is called that."""

    def __init__(self, dir_okay: bool = False) -> None:
        super().__init__(exists=True, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self._refuse_unfinished(Path(value))
            raise

    def _refuse_unfinished(self, path: Path) -> None:
        if not path.exists() and path.with_name(path.name + ".journal").exists():
            from sedtool.store.spool import unfinished

            progress = unfinished(path.resolve()) or "interrupted at once"
            raise ArtifactError(
                f"{path}: not complete ({progress}); run the command that makes it again"
            )


class _Model(_ExistingFile):
    """A model file, or the folder of a run, which stands for its model."""

    def __init__(self) -> None:
        super().__init__(dir_okay=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        if not path.is_dir():
            return path
        from sedtool.runs import find_model

        return find_model(path)


class _OutputFolder(click.Path):
    """A folder to write to, never the current one because a variable in a script was empty."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("it is empty.", param, ctx)
        return super().convert(value, param, ctx)


class _Output(_OutputFolder):
    """A file to write; ``-`` is stdout, as ever."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-":
            return Path("/dev/stdout")
        if str(value).endswith("/") and not Path(value).is_dir():
            self.fail(f"the folder {value} does not exist; make it first.", param, ctx)
        try:
            Path(value).resolve()
        except (OSError, RuntimeError) as error:  # a loop of links, or a name that is too long
            self.fail(f"{value}: {error}.", param, ctx)
        return super().convert(value, param, ctx)


class _Integers(click.ParamType):  # type: ignore[type-arg]  # older Clicks have none
    """Whole numbers with commas between them: 6,12,6."""

    name = "integers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers such as 6,12,6.", param, ctx)


EXISTING_FILE = _ExistingFile()
EXISTING_PATH = _ExistingFile(dir_okay=True)  # a file of one kind, or a folder of many
INTEGERS = _Integers()
MODEL = _Model()
INPUT = click.Path(exists=True, path_type=Path)  # a file or a folder
OUTPUT = _Output()
OUTPUT_FOLDER = _OutputFolder()  # made if need be

DEVICES = ("auto", "cpu", "cuda", "mps")  # cuda:1 and so on besides

F = TypeVar("F", bound=Callable[..., Any])

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace a finished output.")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be done, and what it takes; do nothing."
)
missing_option = click.option(
    "--missing",
    type=click.Choice(["error", "skip"]),
    default="error",
    help="Labelled clips without features.",
)
shard_option = click.option(
    "--shard",
    metavar="I/N|auto|auto/N",
    help="Do part I of N, from 1; auto: as the job array says.",
)


def common_options(command: F) -> F:
    """Add what every command takes; the command itself receives `quiet` alone."""
    options = (
        click.option(
            "-c",
            "--config",
            type=EXISTING_FILE,
            expose_value=False,
            help="YAML with a section for each subcommand; keys are option names.",
        ),
        click.option(
            "--set",
            "sets",
            multiple=True,
            expose_value=False,
            metavar="SECTION.KEY=VALUE",
            help="As a line of the configuration file; repeatable.",
        ),
        click.option(
            "--print-config",
            is_flag=True,
            expose_value=False,
            callback=_print_config,
            help="Show every value and where it comes from; do nothing.",
        ),
        click.option(
            "--log-file",
            type=click.Path(dir_okay=False, path_type=Path),
            is_eager=True,
            expose_value=False,
            callback=_log_file,
            help="Append to this file what is said on stderr, and more.",
        ),
        click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors."),
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_verbose,
            help="Say more, what C libraries print included.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def input_options(command: F) -> F:
    """Add INPUT... and how to list more of it; the command receives ``inputs: AudioInputs``."""

    @functools.wraps(command)
    def with_inputs(*args: Any, **kwargs: Any) -> Any:
        from sedtool.audio import AudioInputs

        keys = ("files_from", "null", "root", "stdin_name")
        given = {key: kwargs.pop(key) for key in keys}
        paths = kwargs.pop("inputs")
        if not paths and given["files_from"] is None:
            raise click.UsageError("Missing argument 'INPUT...' (or --files-from).")
        return command(*args, inputs=AudioInputs(paths, **given), **kwargs)

    options = (
        click.argument("inputs", nargs=-1, type=click.Path(readable=False), metavar="INPUT..."),
        click.option(
            "--files-from",
            type=click.Path(),
            metavar="FILE",
            help="Read more inputs from FILE, one a line; - is stdin.",
        ),
        click.option("-0", "--null", is_flag=True, help="They end with a NUL: find -print0."),
        click.option(
            "--root",
            type=click.Path(path_type=Path),
            help="Clip names are relative to it; default: the common folder.",
        ),
        click.option(
            "--stdin-name", default="stdin", help="The clip name of audio on stdin (INPUT is -)."
        ),
    )
    decorated: Any = with_inputs
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def failure_options(command: F) -> F:
    """Add --tolerate and --fail-fast; the command receives ``failures: FailurePolicy``."""

    @functools.wraps(command)
    def with_policy(*args: Any, **kwargs: Any) -> Any:
        policy = FailurePolicy(kwargs.pop("tolerate"), kwargs.pop("fail_fast"))
        return command(*args, failures=policy, **kwargs)

    options = (
        click.option(
            "--tolerate",
            default=FailurePolicy.tolerate,
            metavar="N|P%",
            help="Failed files that still make a success.",
        ),
        click.option("--fail-fast", is_flag=True, help="Stop at the first file that fails."),
    )
    decorated: Any = with_policy
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def max_time_option(command: F) -> F:
    """Add --max-time, which ends the command as SIGTERM does; the command receives nothing."""
    return click.option(
        "--max-time",
        expose_value=False,
        callback=_max_time,
        metavar="TIME",
        help="Stop, resumable, after this: 3600, 90m, 1.5h, 23:30:00.",
    )(command)


def names(*valid: str) -> Callable[..., list[str]]:
    """Return what completes an option whose values are names, for Click's `shell_complete`."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in valid if name.startswith(incomplete)]

    return complete


def _print_config(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    ctx.meta["sedtool.print_config"] = value


def _log_file(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None and not ctx.resilient_parsing:
        open_log(value)


def _verbose(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        setup_logging(logging.INFO)
        hear_libraries()


def _max_time(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None or ctx.resilient_parsing:
        return
    seconds = _seconds(value)
    if not 0 < seconds < 1e9:
        raise click.BadParameter(f"{value!r} is no time such as 3600, 90m, 1.5h or 23:30:00.")
    start_timer(seconds)


def _seconds(text: str) -> float:
    """Return the seconds of 3600, 90m, 1.5h, 2d or HH:MM:SS; 0 if it is none of these."""
    if match := re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text):
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if match := re.fullmatch(r"(\d{1,5}):([0-5]\d):([0-5]\d)", text):
        return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
    return 0.0
