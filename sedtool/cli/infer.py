"""`sedtool infer`: model + audio, features.h5 or scores.h5 -> events."""

import os
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from sedtool.cli.console import progress, summary, write_stdout
from sedtool.cli.options import (
    DEVICES,
    MODEL,
    OUTPUT,
    common_options,
    dry_run_option,
    failure_options,
    input_options,
    max_time_option,
    names,
    overwrite_option,
    shard_option,
)
from sedtool.cli.settings import SedtoolCommand
from sedtool.config import DecodingConfig, FailurePolicy, WindowConfig
from sedtool.errors import InputsFailedError

if TYPE_CHECKING:
    from sedtool.audio import AudioInputs
    from sedtool.inference import InferOutputs
    from sedtool.shards import Shard

_FORMATS = ("dcase", "audacity", "raven", "jsonl")


def _next(outputs: "InferOutputs", shard: "Shard") -> str:
    """Return the command that comes after this one."""
    part = outputs.list_file or outputs.scores
    if not shard.is_whole and part is not None:
        return f"sedtool merge {quote(f'{part.parent}/')} -o MERGED{part.suffix}"
    if outputs.scores is None and (outputs.folder is not None or outputs.format != "dcase"):
        return f"sedtool convert {quote(str(outputs.events or 'EVENTS'))} -o events.tsv"
    estimated = outputs.scores or outputs.events or "events.tsv"
    return f"sedtool evaluate REFERENCE.tsv {quote(str(estimated))}"


@click.command(cls=SedtoolCommand)
@click.argument("model", type=MODEL)
@input_options
@click.option("-o", "--output", type=OUTPUT, help="Event list; stdout where none is given.")
@click.option("--scores", type=OUTPUT, help="Write frame and clip scores, too.")
@click.option("--weak", type=OUTPUT, help="Write the classes of each clip, too.")
@click.option(
    "--format",
    default="dcase",
    help=f"Of the event list: {', '.join(_FORMATS)}.",
    shell_complete=names(*_FORMATS),
)
@click.option("--teacher", is_flag=True, help="Use the teacher of a mean-teacher run.")
@click.option("--threshold", default="auto", help="auto (the model's), a number, or a TSV file.")
@click.option("--clip-threshold", default="auto", help="auto (the model's), a number, or off.")
@click.option("--median", default="auto", help="auto (the model's), seconds, or off.")
@click.option("--min-duration", type=float, default=DecodingConfig.min_duration, help="Seconds.")
@click.option("--merge-gap", type=float, default=DecodingConfig.merge_gap, help="Seconds.")
@click.option("--confidence", is_flag=True, help="Add a column: the mean score of the event.")
@click.option("--window", type=float, help="Seconds at a time; default: as in training.")
@click.option("--overlap", type=float, default=WindowConfig.overlap, help="Of windows, 0 to 1.")
@click.option("--batch-size", type=int, default=WindowConfig.batch_size, help="Windows at a time.")
@click.option(
    "--device",
    default="auto",
    help="auto, cpu, cuda, cuda:1, mps.",
    shell_complete=names(*DEVICES),
)
@click.option(
    "--amp",
    default="off",
    help="Mixed precision: off, bf16, fp16.",
    shell_complete=names("off", "bf16", "fp16"),
)
@click.option("--workers", type=click.IntRange(1, 256), default=1, help="Files decoded at a time.")
@click.option("--allow-truncated", is_flag=True, help="Take audio that ends too early, too.")
@click.option("--partial", is_flag=True, help="Take features of which other parts lack.")
@shard_option
@failure_options
@max_time_option
@dry_run_option
@overwrite_option
@common_options
def infer(
    model: Path,
    inputs: "AudioInputs",
    failures: FailurePolicy,
    teacher: bool,
    shard: str | None,
    dry_run: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Detect events in audio, in a features.h5, or anew in a scores.h5.

    MODEL is a file, or the folder of a run. INPUT is as for extract. Events go to stdout recording
    by recording; files appear when they are whole, and a run that was interrupted goes on where it
    stopped.

    \b
    Example: sedtool infer run/ recordings/ > events.tsv
             find rec -name '*.wav' -print0 | sedtool infer m.safetensors --files-from - -0
             ffmpeg -i film.mp4 -f wav - | sedtool infer m.safetensors -
    """
    from sedtool.checkpoint import teacher_of
    from sedtool.inference import InferOutputs, InferRun, InferSettings
    from sedtool.inference import infer as detect
    from sedtool.planning import plan_inference
    from sedtool.shards import WHOLE, Shard

    if teacher:
        model = teacher_of(model)
    keys = ("events", "scores", "weak", "format", "confidence", "overwrite")
    output = options.pop("output")
    options["events"] = None if output == Path("/dev/stdout") else output
    outputs = InferOutputs(**{key: options.pop(key) for key in keys})
    run = InferRun(
        options.pop("device"),
        options.pop("workers"),
        Shard.parse(shard, os.environ) if shard is not None else WHOLE,
        shard == "auto",
        failures.fail_fast,
        options.pop("allow_truncated"),
        options.pop("partial"),
    )
    settings = InferSettings(**options)
    if dry_run:
        for line in plan_inference(model, inputs, settings, outputs, run).lines():
            summary(line, quiet=False)
        return
    with progress("infer", quiet, data_on_stdout=outputs.events is None) as report:
        result = detect(model, inputs, settings, outputs, run, emit=write_stdout, progress=report)
    summary(f"{result} -> {outputs}; next: {_next(outputs, result.shard)}", quiet)
    if not failures.allows(len(result.failures), result.n_done):
        raise InputsFailedError(result.failure_summary())
