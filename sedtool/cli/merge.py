"""`sedtool merge`: the parts of a job array -> one file."""

from pathlib import Path
from shlex import quote

import click

from sedtool.cli import options as opt
from sedtool.cli.console import progress, say
from sedtool.cli.settings import SedtoolCommand


@click.command(cls=SedtoolCommand)
@click.argument("parts", nargs=-1, required=True, type=opt.OUTPUT, metavar="PART...")
@opt.group(
    "Output",
    opt.output("The file to write.", required=True),
    opt.flag(
        "--partial", help="Join the parts that are there if shards are missing; OUTPUT says so."
    ),
    opt.overwrite,
)
def merge(
    parts: tuple[Path, ...], output: Path, partial: bool, overwrite: bool, quiet: bool
) -> None:
    """Join the parts of extract --shard or infer --shard.

    PART is a file, a folder of parts or a quoted pattern. Parts are of features, scores, events or
    tags, and OUTPUT is what a single job would have written, byte for byte. A shard that is
    missing, incomplete, there twice or of another job is refused with exit code 5.

    \b
    Example: sedtool merge parts/ -o features.h5
    """
    from sedtool.store.merge import merge as merge_parts

    with progress("merge", quiet) as report:
        result = merge_parts(parts, output, overwrite=overwrite, partial=partial, progress=report)
    merged = quote(str(output))
    following = {
        "features": f"; next: sedtool train -o RUN --features {merged} --weak WEAK.tsv",
        "scores": f"; next: sedtool evaluate REFERENCE.tsv {merged}",
        "events": f"; next: sedtool evaluate REFERENCE.tsv {merged}",
    }
    say(f"{result.summary()} -> {output}{following.get(result.kind, '')}", quiet)
