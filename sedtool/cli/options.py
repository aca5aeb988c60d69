"""What the subcommands share: option types, options of several commands, groups in --help."""

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

import click

from sedtool.cli.console import hear_libraries, setup_logging
from sedtool.config import InferConfig
from sedtool.config.base import REQUIRED, Setting
from sedtool.config.extraction import STDIN_NAME
from sedtool.errors import ArtifactError
from sedtool.signals import start_timer
from sedtool.text import in_other_form, quoted

if TYPE_CHECKING:
    from sedtool.audio import AudioInputs


_LONGEST_NAME = 220  # bytes of an output, which has files beside it with longer names


class _ExistingFile(click.Path):
    """An existing file; the error for one that is not complete says that it is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            path = Path(value)
            if path.exists() or not os.path.exists(f"{value}.journal"):  # noqa: PTH110  # too long
                why = error.message.removesuffix(".")
                self.fail(why + (in_other_form(path) or "."), param, ctx)
        from sedtool.store.spool import unfinished

        progress = unfinished(path.resolve()) or "interrupted at once"
        raise ArtifactError(
            f"{path}: not complete ({progress}); run the command that makes it again"
        )


class _Model(_ExistingFile):
    """A model file, or the folder of a run, which stands for its model."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        if not path.is_dir():
            return path
        from sedtool.runs import find_model

        return find_model(path)


class _OutputFolder(click.Path):
    """A folder to write to, never the current one because a variable in a script was empty."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("it is empty.", param, ctx)
        return super().convert(value, param, ctx)


class BesideRecipe(_OutputFolder):
    """A path that is relative to the recipe, if it is from one."""


class WordOrFile(click.ParamType):  # type: ignore[type-arg]  # older Clicks have none
    """A word or number, or the name of a file that has more to say."""

    name = "text"


class _Output(_OutputFolder):
    """A file to write; ``-`` is stdout."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-":
            return Path("/dev/stdout")
        if str(value).endswith("/") and not Path(value).is_dir():
            self.fail(f"the folder {value} does not exist; make it first.", param, ctx)
        if len(os.fsencode(Path(value).name)) > _LONGEST_NAME:
            self.fail(f"the name of {value} is longer than {_LONGEST_NAME} bytes.", param, ctx)
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
            self.fail(f"{quoted(value)} is no list of whole numbers such as 6,12,6.", param, ctx)


EXISTING_FILE = _ExistingFile(exists=True, dir_okay=False, path_type=Path)
EXISTING_PATH = _ExistingFile(
    exists=True, path_type=Path
)  # a file of one kind, or a folder of many
INTEGERS = _Integers()
MODEL = _Model(exists=True, path_type=Path)
INPUT = _ExistingFile(exists=True, path_type=Path)  # a file or a folder
OUTPUT = _Output(path_type=Path)
OUTPUT_FOLDER = _OutputFolder(path_type=Path)  # made if need be
BESIDE_RECIPE = BesideRecipe(path_type=Path)

F = TypeVar("F", bound=Callable[..., Any])


def group(title: str, *options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Return a decorator that adds options, which --help shows under a title."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            n_before = len(getattr(command, "__click_params__", ()))
            command = option(command)
            for parameter in command.__click_params__[n_before:]:
                parameter.group = title
        return command

    return add


def names(*valid: str) -> Callable[..., list[str]]:
    """Return what completes an option whose values are names, for Click's `shell_complete`."""
    return lambda ctx, parameter, begun: [name for name in valid if name.startswith(begun)]


def settings(cls: type, *names: str, **others: Any) -> list[Callable[[Any], Any]]:
    """Return the options of fields of settings, as their `Setting` describes them.

    `others` are attributes of the options that are to be unlike those of the fields.
    """
    entries = {entry.name: entry for entry in fields(cls)}
    return [_option(entries[name], others) for name in names]


def _option(entry: Field[Any], others: Mapping[str, Any]) -> Callable[[Any], Any]:
    about: Setting = entry.metadata["setting"]
    flag = f"--{entry.name.replace('_', '-')}"
    attributes: dict[str, Any] = {
        "default": entry.default,
        "help": about.help,
        "metavar": about.metavar,
        "show_default": about.shown,
        "shell_complete": names(*about.names) if about.names else None,
    }
    if entry.default is REQUIRED:
        attributes["default"], attributes["required"] = None, True
    if entry.type is bool:
        attributes["is_flag"] = True
        flag += f"/--no-{flag[2:]}" * about.paired
    else:
        attributes["type"], attributes["multiple"] = _kind(entry, about)
    return click.option(flag, **attributes | dict(others))


def _kind(entry: Field[Any], about: Setting) -> tuple[Any, bool]:
    """Return the type of an option, and whether it may be given several times."""
    if about.choices:
        return click.Choice(about.choices), False
    if about.names:
        return str, get_origin(entry.type) is tuple
    if entry.type == tuple[int, ...]:
        return INTEGERS, False
    kind, *_ = get_args(entry.type) or (entry.type,)  # of X | None and tuple[X, ...] that is X
    return EXISTING_FILE if kind is Path else kind, get_origin(entry.type) is tuple


def output(help: str, kind: click.Path = OUTPUT, **attributes: Any) -> Callable[[Any], Any]:
    """Return the option that names what a command writes."""
    return click.option("-o", "--output", type=kind, help=help, **attributes)


def file(*names: str, help: str, **attributes: Any) -> Callable[[Any], Any]:
    """Return an option that names a file to read."""
    return click.option(*names, type=EXISTING_FILE, help=help, **attributes)


def workers(default: int, help: str) -> Callable[[Any], Any]:
    """Return the option that says how many files are worked on at a time."""
    return click.option("--workers", type=click.IntRange(1, 256), default=default, help=help)


def flag(*names: str, help: str, **attributes: Any) -> Callable[[Any], Any]:
    """Return an option that takes no value."""
    return click.option(*names, is_flag=True, help=help, **attributes)


def _verbose(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        setup_logging(logging.INFO)
        hear_libraries()


def _quiet(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    if value:
        setup_logging(logging.ERROR)
    return value


def _max_time(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None or ctx.resilient_parsing:
        return
    seconds = _seconds(value)
    if not 0 < seconds < 1e9:
        raise click.BadParameter(f"{quoted(value)} is no time such as 3600, 90m, 1.5h or 23:30:00.")
    start_timer(seconds)


def _seconds(text: str) -> float:
    """Return the seconds of 3600, 90m, 1.5h, 2d or HH:MM:SS; 0 if it is none of these."""
    if match := re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text):
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if match := re.fullmatch(r"(\d{1,5}):([0-5]\d):([0-5]\d)", text):
        return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
    return 0.0


# Options of several commands

update = flag(
    "--update",
    help="Take over what is unchanged of an output that is there: only new and changed files are "
    "processed, and those that are gone are left out.",
)
overwrite = flag("--overwrite", help="Replace an output that is there and complete.")
dry_run = flag(
    "--dry-run",
    help="Say what would be done, and the time, disk and memory it needs, without doing it.",
)
max_time = click.option(  # ends the command as SIGTERM does
    "--max-time",
    expose_value=False,
    callback=_max_time,
    metavar="TIME",
    help="Save and stop after this time, such as 3600, 90m, 1.5h or 23:30:00; the same command "
    "goes on.",
)
(device,) = settings(InferConfig, "device")
plugin = click.option(  # of commands that look names up; `SedtoolCommand` loads what it names
    "--plugin",
    "plugins",
    multiple=True,
    metavar="MODULE|FILE.py",
    help="Load a Python module that has poolings, blocks, augmentations or losses by names. May be "
    "given several times.",
)

common = (  # of every command, whose function receives `quiet` alone
    file(
        "-c",
        "--config",
        help="Read settings from a YAML file with a section for each subcommand, whose keys are "
        "names of options.",
        expose_value=False,
    ),
    click.option(
        "--set",
        "sets",
        multiple=True,
        expose_value=False,
        metavar="SECTION.KEY=VALUE",
        help="Set one value, as a line of the YAML file would. May be given several times.",
    ),
    flag(
        "--print-config",
        help="Print the value of every option and where it comes from, and do nothing else.",
        expose_value=False,
    ),
    click.option(
        "--log-file",
        type=click.Path(path_type=Path),
        expose_value=False,  # it is opened before other options can be wrong
        help="Append to this file what is written to stderr, with times and details.",
    ),
    flag("-q", "--quiet", help="Write only errors to stderr.", callback=_quiet),
    flag(
        "-v",
        "--verbose",
        help="Write more to stderr, including what C libraries print.",
        is_eager=True,
        expose_value=False,
        callback=_verbose,
    ),
)

# INPUT..., and how to list more of it; `audio_inputs` takes what they say.
inputs = (
    click.argument("inputs", nargs=-1, type=click.Path(readable=False), metavar="INPUT..."),
    click.option(
        "--files-from",
        type=click.Path(),
        metavar="FILE",
        help="Read more inputs from FILE, one a line, or from stdin if FILE is -.",
    ),
    flag(
        "-0", "--null", help="The names in FILE end with a NUL byte, as `find -print0` writes them."
    ),
    click.option(
        "--root",
        type=click.Path(path_type=Path),
        help="The folder that clip names are relative to. By default, the deepest folder that "
        "holds all inputs.",
    ),
    click.option(
        "--stdin-name",
        default=STDIN_NAME,
        help="The clip name of audio that is read from stdin (INPUT is -).",
    ),
)


def audio_inputs(options: Mapping[str, Any]) -> "AudioInputs":
    """Return the audio that `inputs` mean."""
    from sedtool.audio import AudioInputs

    if not options["inputs"] and options["files_from"] is None:
        raise click.UsageError("Missing argument 'INPUT...' (or --files-from).")
    names = ("files_from", "null", "root", "stdin_name")
    return AudioInputs(options["inputs"], **{name: options[name] for name in names})
