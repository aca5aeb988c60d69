"""The command line: one thin file a subcommand, over library functions.

Nothing here imports torch, numpy or h5py before a command's body runs, so ``--help`` is quick.
The group turns errors into one line on stderr and an exit code, once for all commands.
"""

import importlib
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click

from sedtool import __version__
from sedtool.cli.console import plain, setup_logging
from sedtool.errors import SedtoolError

__all__ = ["cli", "main"]

COMMANDS = ("extract", "train", "tune", "infer", "evaluate", "plot", "demo")  # in pipeline order


class SedtoolGroup(click.Group):
    """Loads subcommands when they are asked for, and reports every error the same way."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"sedtool.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except SedtoolError as error:
            _end(ctx, str(error), error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # Click's own: wrong usage, --help
        except KeyboardInterrupt:
            _end(ctx, "interrupted", 130)
        except BrokenPipeError:
            # Python would complain again when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(141)
        except MemoryError:
            _end(ctx, "out of memory; a smaller --batch-size needs less", 6)
        except Exception as error:
            _end(ctx, _bug(error), 1)


def _end(ctx: click.Context, message: str, exit_code: int) -> NoReturn:
    """Say in one line on stderr what went wrong, and end the command."""
    click.echo(f"Error: {plain(message)}", err=True)
    ctx.exit(exit_code)


def _bug(error: Exception) -> str:
    """Write the traceback of an unforeseen error to a file; return the line that says so."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sedtool"
    report = cache / f"crash-{os.getpid()}.txt"
    summary = f"this is a bug in sedtool: {type(error).__name__}: {error}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        report.write_text(f"{sys.argv}\n{''.join(traceback.format_exception(error))}")
    except OSError:
        logging.getLogger(__name__).error("%s", "".join(traceback.format_exception(error)))
        return summary
    return f"{summary} (traceback in {report})"


@click.group(
    cls=SedtoolGroup,
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
    epilog="Every stage reads files and writes files: extract, train, tune, infer, evaluate.",
)
@click.version_option(__version__, prog_name="sedtool")
def cli() -> None:
    """Detect sound events with models trained from weak labels."""
    setup_logging()


def main() -> None:
    """Run the command line; what the `sedtool` script calls."""
    cli()
