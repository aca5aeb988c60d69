"""`sedtool infer`: model + audio, features.h5 or scores.h5 -> events."""

import sys
from pathlib import Path

import click

from sedtool.cli.console import progress, summary
from sedtool.cli.options import EXISTING_FILE, INPUT, OUTPUT, common_options, overwrite_option
from sedtool.config import DecodingConfig, WindowConfig
from sedtool.errors import InputsFailedError


@click.command()
@click.argument("model", type=EXISTING_FILE)
@click.argument("inputs", nargs=-1, required=True, type=INPUT, metavar="INPUT...")
@click.option("-o", "--output", type=OUTPUT, help="Event list; stdout where none is given.")
@click.option("--scores", type=OUTPUT, help="Write frame and clip scores, too.")
@click.option("--weak", type=OUTPUT, help="Write the classes of each clip, too.")
@click.option("--threshold", default="auto", help="auto (the model's), a number, or a TSV file.")
@click.option("--clip-threshold", default="auto", help="auto (the model's), a number, or off.")
@click.option("--median", default="auto", help="auto (the model's), seconds, or off.")
@click.option("--min-duration", type=float, default=DecodingConfig.min_duration, help="Seconds.")
@click.option("--merge-gap", type=float, default=DecodingConfig.merge_gap, help="Seconds.")
@click.option("--confidence", is_flag=True, help="Add a column: the mean score of the event.")
@click.option("--window", type=float, help="Seconds at a time; default: as in training.")
@click.option("--overlap", type=float, default=WindowConfig.overlap, help="Of windows, 0 to 1.")
@click.option("--batch-size", type=int, default=WindowConfig.batch_size, help="Windows.")
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.")
@click.option("--amp", default="off", help="Mixed precision: off, bf16, fp16.")
@click.option("--root", type=click.Path(path_type=Path), help="Clip names are relative to it.")
@overwrite_option
@common_options
def infer(
    model: Path,
    inputs: tuple[Path, ...],
    output: Path | None,
    scores: Path | None,
    weak: Path | None,
    threshold: str,
    clip_threshold: str,
    median: str,
    min_duration: float,
    merge_gap: float,
    confidence: bool,
    window: float | None,
    overlap: float,
    batch_size: int,
    device: str,
    amp: str,
    root: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Detect events in audio files and folders, in a features.h5, or anew in a scores.h5.

    \b
    Example: sedtool infer run/model.safetensors recordings/ > events.tsv
    """
    from sedtool.inference import InferOutputs, InferSettings
    from sedtool.inference import infer as detect

    settings = InferSettings(
        threshold, clip_threshold, median, min_duration, merge_gap, window, overlap, batch_size, amp
    )
    outputs = InferOutputs(output, scores, weak, confidence, overwrite)
    with progress("infer", quiet) as report:
        result = detect(
            model,
            inputs,
            settings,
            outputs,
            stream=sys.stdout,
            root=root,
            device=device,
            progress=report,
        )
    summary(
        f"{result.n_events} events in {result.n_recordings} recordings, "
        f"{result.audio_seconds:.0f} s of audio in {result.seconds:.1f} s",
        quiet,
    )
    if result.failures:
        raise InputsFailedError(result.failure_summary())
