"""The command line: one thin file a subcommand, over library functions.

Nothing here imports torch, numpy or h5py before a command's body runs, so ``--help`` is quick.
The group turns errors into one line on stderr and an exit code, once for all commands.
"""

import contextlib
import faulthandler
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import get_completion_class

from sedtool import __version__
from sedtool.cli.console import close_log, say, setup_logging, silence_libraries, write_stdout
from sedtool.errors import SedtoolError, as_sedtool_error
from sedtool.signals import INTERRUPTED, Interrupted, listening
from sedtool.text import nearest, quoted

__all__ = ["cli", "explained", "main"]

COMMANDS = (  # in pipeline order, then what helps beside it
    *("extract", "train", "tune", "infer", "evaluate", "plot", "demo"),
    *("sweep", "compare"),
    *("merge", "check", "convert", "info", "doctor", "completion"),
)
_SHELLS = ("bash", "zsh", "fish")


class SedtoolGroup(click.Group):
    """Loads subcommands when they are asked for, and reports every error the same way."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is None and cmd_name in COMMANDS:
            command = getattr(importlib.import_module(f"sedtool.cli.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        near = nearest(args[0], COMMANDS)
        if args[0] not in COMMANDS and near and not args[0].startswith("-"):
            ctx.fail(f"No such command {quoted(args[0])}. Did you mean {near!r}?")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _reported(ctx):  # --help and --version are written here
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _reported(ctx), listening():
                return super().invoke(ctx)
        finally:
            close_log()


@contextlib.contextmanager
def _reported(ctx: click.Context) -> Iterator[None]:
    """Turn every error into one line on stderr and an exit code."""
    try:
        yield
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
            raise  # of `sedtool plot` alone: the help text
        place = error.ctx.command_path if error.ctx else ctx.command_path
        message = " ".join(error.format_message().split())  # Click lists choices on lines
        _end(ctx, f"{message} (see {place} --help)", error.exit_code)
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise  # Click's own: --help
    except KeyboardInterrupt:
        _end(ctx, "interrupted", INTERRUPTED)
    except Interrupted as signal:
        if signal.exit_code == INTERRUPTED:
            _end(ctx, "interrupted", INTERRUPTED)
        _end(ctx, f"stopped by {signal}; run the same command again", signal.exit_code)
    except BrokenPipeError:
        # Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ctx.exit(141)
    except Exception as error:
        command = ctx.command
        if isinstance(command, click.Group) and ctx.invoked_subcommand:
            command = command.get_command(ctx, ctx.invoked_subcommand) or command
        _end(ctx, *explained(error, command))


def _end(ctx: click.Context, message: str, exit_code: int) -> NoReturn:
    """Say in one line on stderr what went wrong, and end the command."""
    say(f"Error: {message}")
    ctx.exit(exit_code)


def explained(error: Exception, command: click.Command | None = None) -> tuple[str, int]:
    """Return the line and the exit code for an error; it advises options of the command."""
    options = {} if command is None else {"options": [entry.name for entry in command.params]}
    known = error if isinstance(error, SedtoolError) else as_sedtool_error(error, **options)
    return (str(known), known.exit_code) if known else (_bug(error), 1)


def _bug(error: Exception) -> str:
    """Write the traceback of an unforeseen error to a file; return the line that says so."""
    from sedtool.plugins import blamed

    place = blamed(error) or "this is a bug in sedtool"
    summary = f"{place}: {type(error).__name__}: {error}"
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sedtool"
        report = cache / f"crash-{os.getpid()}.txt"
        cache.mkdir(parents=True, exist_ok=True)
        text = f"{sys.argv}\n{''.join(traceback.format_exception(error))}"
        report.write_text(text, encoding="utf-8", errors="backslashreplace")
    except (OSError, RuntimeError):  # no folder that can be written, or no home at all
        logging.getLogger(__name__).error("%s", "".join(traceback.format_exception(error)))
        return summary
    return f"{summary} (traceback in {report})"


@click.group(
    cls=SedtoolGroup,
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
    epilog="`sedtool COMMAND --help` explains a command and its options.",
)
@click.version_option(__version__, prog_name="sedtool")
def cli() -> None:
    """Detect sound events with models trained from weak labels.

    The stages read and write files: extract makes features of audio, train a model of features and
    labels, tune the thresholds of the model, infer the events of new audio, and evaluate scores
    them.
    """
    setup_logging()


@cli.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that lets a shell complete by TAB.

    It completes commands, options, and names such as those of poolings and presets.

    \b
    bash: sedtool completion bash > ~/.local/share/bash-completion/completions/sedtool
    zsh:  sedtool completion zsh > "${fpath[1]}/_sedtool"; in ~/.zshrc: compinit
    fish: sedtool completion fish > ~/.config/fish/completions/sedtool.fish

    \b
    Example: sedtool completion bash > ~/.local/share/bash-completion/completions/sedtool
    """
    maker = get_completion_class(shell)
    assert maker is not None  # Click knows them all
    write_stdout(maker(ctx.find_root().command, {}, "sedtool", "_SEDTOOL_COMPLETE").source())


def main() -> None:
    """Run the command line."""
    silence_libraries()
    if sys.stderr is not None:
        faulthandler.enable(sys.stderr)  # a crash in a library is not to be silent
    streams: tuple[Any, ...] = (sys.stdin, sys.stdout)
    for stream in streams:  # data is UTF-8 whatever the locale
        if stream is not None:
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    cli()
