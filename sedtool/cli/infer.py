"""`sedtool infer`: model + audio, features.h5 or scores.h5 -> events."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from sedtool.cli.console import progress, summary, write_stdout
from sedtool.cli.options import (
    MODEL,
    OUTPUT,
    common_options,
    device_option,
    dry_run_option,
    failure_options,
    group,
    input_options,
    max_time_option,
    names,
    overwrite_option,
    partial_option,
    shard_option,
)
from sedtool.cli.settings import SedtoolCommand, WordOrFile, taken
from sedtool.config import EVENT_FORMAT, FailurePolicy, InferConfig
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
@group(
    "Input",
    input_options,
    click.option(
        "--allow-truncated",
        is_flag=True,
        help="Use files that are cut off up to where they end.",
    ),
    partial_option,
)
@group(
    "Output",
    click.option(
        "-o", "--output", type=OUTPUT, help="The event list to write; by default, stdout."
    ),
    click.option(
        "--format",
        default=EVENT_FORMAT,
        help=f"The format of the event list: {', '.join(_FORMATS)}.",
        shell_complete=names(*_FORMATS),
    ),
    click.option(
        "--confidence",
        is_flag=True,
        help="Add a column with the mean score of each event.",
    ),
    click.option("--scores", type=OUTPUT, help="Also write frame and clip scores to this file."),
    click.option("--weak", type=OUTPUT, help="Also write the tags of each clip to this file."),
    overwrite_option,
)
@group(
    "Network",
    click.option(
        "--teacher", is_flag=True, help="Use the teacher of a mean-teacher run, not the student."
    ),
    click.option(
        "--window",
        type=float,
        help="Seconds of audio that the network takes at a time; by default, as in training.",
    ),
    click.option(
        "--overlap",
        type=float,
        default=InferConfig.overlap,
        help="The share of such a scoring window that the next one covers, 0 to 1.",
    ),
    click.option(
        "--batch-size",
        type=int,
        default=InferConfig.batch_size,
        help="How many scoring windows the network takes at once.",
    ),
)
@group(
    "Decoding",
    click.option(
        "--threshold",
        type=WordOrFile(),
        default=InferConfig.threshold,
        help="The frame threshold: auto (that of the model), a number, or a TSV file with one for "
        "each class.",
    ),
    click.option(
        "--clip-threshold",
        default=InferConfig.clip_threshold,
        help="The clip score below which a class has no events: auto (that of the model), a "
        "number, or off.",
    ),
    click.option(
        "--median",
        default=InferConfig.median,
        help="The length of the median filter: auto (that of the model), seconds, or off.",
    ),
    click.option(
        "--min-duration",
        type=float,
        default=InferConfig.min_duration,
        help="Leave out events that are shorter than these seconds.",
    ),
    click.option(
        "--merge-gap",
        type=float,
        default=InferConfig.merge_gap,
        help="Join events of a class with less than these seconds between them.",
    ),
)
@group(
    "Execution",
    device_option(),
    click.option(
        "--amp",
        default=InferConfig.amp,
        help="Mixed precision on a GPU: off, bf16 or fp16.",
        shell_complete=names("off", "bf16", "fp16"),
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 256),
        default=InferConfig.workers,
        help="How many files are decoded at a time.",
    ),
    shard_option,
    failure_options,
    max_time_option,
    dry_run_option,
)
@common_options
def infer(
    model: Path,
    inputs: "AudioInputs",
    failures: FailurePolicy,
    output: Path | None,
    teacher: bool,
    dry_run: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Detect events in audio, features.h5 or scores.h5.

    MODEL is a model file, or the folder of a run. INPUT is as for extract; a scores.h5 is decoded
    again without the network. Events go to stdout clip by clip. Files appear when they are
    complete, and the same command goes on with a run that was interrupted.

    \b
    Example: sedtool infer run/ recordings/ > events.tsv
             find rec -name '*.wav' -print0 | sedtool infer m.safetensors --files-from - -0
             ffmpeg -i film.mp4 -f wav - | sedtool infer m.safetensors -
    """
    from sedtool.checkpoint import teacher_of
    from sedtool.inference import InferOutputs
    from sedtool.inference import infer as detect
    from sedtool.planning import plan_inference

    if teacher:
        model = teacher_of(model)
    events = None if output == Path("/dev/stdout") else output
    outputs = taken(InferOutputs, options, events=events)
    config = taken(InferConfig, options, fail_fast=failures.fail_fast)
    if dry_run:
        for line in plan_inference(model, inputs, config, outputs).lines():
            summary(line, quiet=False)
        return
    with progress("infer", quiet, data_on_stdout=events is None) as report:
        result = detect(model, inputs, config, outputs, emit=write_stdout, progress=report)
    summary(f"{result} -> {outputs}; next: {_next(outputs, result.shard)}", quiet)
    if not failures.allows(len(result.failures), result.n_done):
        raise InputsFailedError(result.failure_summary())
