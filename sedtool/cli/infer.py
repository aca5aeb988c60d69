"""`sedtool infer`: model + audio, features.h5 or scores.h5 -> events."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from sedtool.cli import options as opt
from sedtool.cli.console import progress, say, write_stdout
from sedtool.cli.settings import SedtoolCommand, taken
from sedtool.config import FailurePolicy, InferConfig
from sedtool.config.inference import EVENT_FORMAT
from sedtool.errors import InputsFailedError

if TYPE_CHECKING:
    from sedtool.inference import InferOutputs
    from sedtool.shards import Shard

_FORMATS = ("dcase", "audacity", "raven", "jsonl", "jams")


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
@click.argument("model", type=opt.MODEL)
@opt.group("Input", *opt.inputs, *opt.settings(InferConfig, "allow_truncated", "partial"))
@opt.group(
    "Output",
    opt.output("The event list to write; by default, stdout."),
    click.option(
        "--format",
        default=EVENT_FORMAT,
        help=f"The format of the event list: {', '.join(_FORMATS)}.",
        shell_complete=opt.names(*_FORMATS),
    ),
    opt.flag("--confidence", help="Add a column with the mean score of each event."),
    click.option(
        "--scores", type=opt.OUTPUT, help="Also write frame and clip scores to this file."
    ),
    click.option("--weak", type=opt.OUTPUT, help="Also write the tags of each clip to this file."),
    opt.update,
    opt.overwrite,
)
@opt.group(
    "Network",
    opt.flag("--teacher", help="Use the teacher of a mean-teacher run, not the student."),
    *opt.settings(InferConfig, "window", "overlap", "batch_size"),
)
@opt.group(
    "Decoding",
    *opt.settings(InferConfig, "threshold", type=opt.WordOrFile()),
    *opt.settings(InferConfig, "clip_threshold", "median", "min_duration", "merge_gap"),
)
@opt.group(
    "Execution",
    *opt.settings(InferConfig, "device", "amp", "workers", "shard"),
    *opt.settings(FailurePolicy, "tolerate"),
    *opt.settings(InferConfig, "fail_fast"),
    opt.plugin,
    opt.max_time,
    opt.dry_run,
)
def infer(model: Path, output: Path | None, dry_run: bool, quiet: bool, **options: Any) -> None:
    """Detect events in audio, features.h5 or scores.h5.

    MODEL is a model file, or the folder of a run. INPUT is as for extract; a scores.h5 is decoded
    again without the network. Events go to stdout clip by clip. Files appear when they are
    complete, and the same command goes on with a run that was interrupted, and has nothing to do if
    they are finished; --update takes in what is new.

    \b
    Example: sedtool infer run/ recordings/ > events.tsv
             find rec -name '*.wav' -print0 | sedtool infer m.safetensors --files-from - -0
             ffmpeg -i film.mp4 -f wav - | sedtool infer m.safetensors -
    """
    from sedtool.inference import InferOutputs
    from sedtool.inference import infer as detect
    from sedtool.mean_teacher import teacher_of
    from sedtool.planning import plan_inference

    if options["teacher"]:
        model = teacher_of(model)
    events = None if output == Path("/dev/stdout") else output
    inputs, outputs = opt.audio_inputs(options), taken(InferOutputs, options, events=events)
    config = taken(InferConfig, options)
    policy = taken(FailurePolicy, options)
    if dry_run:
        for line in plan_inference(model, inputs, config, outputs).lines:
            say(line)
        return
    with progress("infer", quiet, data_on_stdout=events is None) as report:
        result = detect(model, inputs, config, outputs, emit=write_stdout, progress=report)
    say(f"{result} -> {outputs}; next: {_next(outputs, result.shard)}", quiet)
    if not policy.allows(len(result.failures), result.n_done):
        raise InputsFailedError(result.failure_summary())
