"""`sedtool doctor`: what works here, what does not, and what mends it."""

import json
from pathlib import Path

import click

from sedtool.cli import options as opt
from sedtool.cli.console import write_stdout
from sedtool.cli.settings import SedtoolCommand
from sedtool.errors import ResourceError
from sedtool.text import plain


@click.command(cls=SedtoolCommand)
@click.argument("path", default=".", type=click.Path(file_okay=False, path_type=Path))
@opt.group(
    "Output", opt.flag("--json", "as_json", help="Write one JSON object with a list of checks.")
)
def doctor(path: Path, as_json: bool, quiet: bool) -> None:
    """Check the installation, the machine and a folder.

    PATH is a folder for outputs. Each check is ok, a warning or a problem, with what mends it; -q
    leaves out what is ok. The exit code is 6 if something that is needed does not work.

    \b
    Example: sedtool doctor /scratch/run
    """
    import os

    from sedtool.doctor import examine

    checks = examine(path, os.environ)
    problems = [check.name for check in checks if check.status == "problem"]
    shown = [check for check in checks if check.status != "ok" or not quiet]
    if as_json:
        content = {"healthy": not problems, "checks": [check.to_json() for check in shown]}
        write_stdout(json.dumps(content, indent=2) + "\n")
    else:
        lines = [plain(line) for check in shown for line in str(check).splitlines()]
        write_stdout("".join(line + "\n" for line in lines))
    if problems:
        raise ResourceError(f"{len(problems)} of {len(checks)} checks: {', '.join(problems)}")
