"""What the subcommands share: option types, the configuration file, signals."""

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click

from sedtool.cli.console import setup_logging
from sedtool.errors import ConfigError

__all__ = [
    "EXISTING_FILE",
    "INPUT",
    "OUTPUT",
    "common_options",
    "overwrite_option",
    "stop_signals",
]

EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
INPUT = click.Path(exists=True, path_type=Path)  # a file or a folder
OUTPUT = click.Path(path_type=Path)

F = TypeVar("F", bound=Callable[..., Any])

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace a finished output.")


def common_options(command: F) -> F:
    """Add ``-c/--config``, ``-q`` and ``-v``; the command receives `quiet` alone."""
    command = click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors.")(command)
    command = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=_verbose, help="Say more."
    )(command)
    return click.option(
        "-c",
        "--config",
        type=EXISTING_FILE,
        is_eager=True,
        expose_value=False,
        callback=_load_config,
        help="YAML with a section for each subcommand; keys are option names.",
    )(command)


def _verbose(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        setup_logging(logging.INFO)


def _load_config(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """Make the values of a configuration file the defaults of this command."""
    if value is None:
        return
    from sedtool.cli.recipe import read_recipe

    keys = {option_key(p): p for p in ctx.command.params if p.name and p.expose_value}
    section = read_recipe(value).get(ctx.command.name or "", {})
    defaults: dict[str, Any] = {}
    for key, (entry, line) in section.items():
        if key not in keys:
            close = get_close_matches(key, keys, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(sorted(keys))}"
            raise ConfigError(f"{value}:{line}: {ctx.command.name} has no option {key!r}; {hint}")
        if entry is None:
            continue  # `val-weak:` with nothing behind it is not given
        parameter = keys[key]
        repeatable = getattr(parameter, "multiple", False) or parameter.nargs == -1
        if isinstance(entry, list) != repeatable:
            raise ConfigError(
                f"{value}:{line}: {key} takes {'a list' if repeatable else 'one value, not a list'}"
            )
        _check_value(parameter, entry, ctx, f"{value}:{line}")
        defaults[str(parameter.name)] = entry
    ctx.default_map = defaults


def _check_value(parameter: click.Parameter, entry: Any, ctx: click.Context, where: str) -> None:
    """Convert a value once, so that a wrong one is reported with its file and line."""
    try:
        parameter.type_cast_value(ctx, entry)
    except click.BadParameter as error:
        raise ConfigError(f"{where}: {option_key(parameter)}: {error.message}") from None


def option_key(parameter: click.Parameter) -> str:
    """Return the name a parameter has in a configuration file: its long option's."""
    longest = max(parameter.opts, key=len).lstrip("-")
    return longest.lower()


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Yield a function that returns 0, or the exit code of the signal that came in meanwhile.

    The first signal lets the run save and stop; a second one is obeyed at once.
    """
    codes = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGUSR1: 75}
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        received.append(codes[signal.Signals(number)])
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in codes}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
