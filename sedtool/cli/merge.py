"""`sedtool merge`: the parts of a job array -> one file."""

from pathlib import Path
from shlex import quote

import click

from sedtool.cli import options as opt
from sedtool.cli.console import progress, say
from sedtool.cli.settings import SedtoolCommand
from sedtool.errors import ConfigError


@click.command(cls=SedtoolCommand)
@click.argument("parts", nargs=-1, required=True, type=opt.OUTPUT, metavar="PART...")
@opt.group(
    "Output",
    opt.output("The file to write.", required=True),
    opt.flag(
        "--partial", help="Join the parts that are there if shards are missing; OUTPUT says so."
    ),
    opt.flag(
        "--union", help="Join whole files of other clips, as of several days, not the parts of one."
    ),
    opt.flag(
        "--average",
        help="Average scores of the same clips by several models; or the models themselves, where "
        "OUTPUT ends in .safetensors.",
    ),
    opt.overwrite,
)
def merge(
    parts: tuple[Path, ...], output: Path, average: bool, overwrite: bool, quiet: bool, **how: bool
) -> None:
    """Join parts of a job, whole files, or scores of models.

    PART is a file, a folder of parts or a quoted pattern. Parts are those of extract --shard or
    infer --shard, and OUTPUT is what a single job would have written, byte for byte. A shard that
    is missing, incomplete, there twice or of another job is refused with exit code 5.

    With --union, PART is a whole file, made with the same settings as the others; a clip that is
    in two of them is refused. With --average, PART is scores of one model, and OUTPUT has the mean
    scores of all, with the means of their thresholds and median filter lengths. Where OUTPUT ends
    in .safetensors, PART is a model, the folder of a run or one with such folders, and OUTPUT is a
    model whose scores are the means of theirs; `sedtool tune` then fits its decoding.

    \b
    Example: sedtool merge parts/ -o features.h5
    \b
    And: sedtool merge monday.h5 tuesday.h5 -o week.h5 --union
    \b
    And: sedtool merge seed-*/scores.h5 -o mean.h5 --average
    \b
    And: sedtool merge runs/power/seed-* -o ensemble.safetensors --average
    """
    from sedtool.store.average import average as average_scores
    from sedtool.store.merge import merge as merge_parts

    given = [f"--{name}" for name, value in how.items() if value]
    if average and given:
        raise ConfigError(f"--average and {given[0]} are two ways to join files; give one")
    is_model = output.suffix.lower() == ".safetensors"
    if is_model and not average:
        raise ConfigError(f"models are joined by --average; {output} would be one")
    if is_model:
        from sedtool.ensemble import join_models

        with progress("merge", quiet) as report:
            n = join_models(parts, output, overwrite=overwrite, progress=report)
        tuning = f"sedtool tune {quote(str(output))} --features VAL.h5 --reference VAL.tsv"
        say(f"an ensemble of {n} networks -> {output}; next: {tuning}", quiet)
        return
    with progress("merge", quiet) as report:
        if average:
            result = average_scores(parts, output, overwrite=overwrite, progress=report)
        else:
            result = merge_parts(parts, output, overwrite=overwrite, **how, progress=report)
    merged = quote(str(output))
    following = {
        "features": f"; next: sedtool train -o RUN --features {merged} --weak WEAK.tsv",
        "scores": f"; next: sedtool evaluate REFERENCE.tsv {merged}",
        "events": f"; next: sedtool evaluate REFERENCE.tsv {merged}",
    }
    say(f"{result.summary()} -> {output}{following.get(result.kind, '')}", quiet)
