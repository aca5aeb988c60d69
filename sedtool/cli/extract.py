"""`sedtool extract`: audio -> features.h5."""

from pathlib import Path
from typing import Any

import click

from sedtool.cli.console import progress, summary
from sedtool.cli.options import INPUT, OUTPUT, common_options, overwrite_option
from sedtool.config import FEATURE_PRESETS, FeatureConfig, lookup
from sedtool.errors import InputsFailedError

_PRESET = "dcase2017"


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=INPUT, metavar="INPUT...")
@click.option("-o", "--output", type=OUTPUT, required=True, help="The features file to write.")
@click.option("--preset", default=_PRESET, help=f"Feature settings: {', '.join(FEATURE_PRESETS)}.")
@click.option("--sample-rate", type=int, help="Hz; replaces the preset's, as all below.")
@click.option("--n-fft", type=int, help="Samples; --win-length follows unless it is given.")
@click.option("--win-length", type=int, help="Samples.")
@click.option("--hop-length", type=int, help="Samples from one frame to the next.")
@click.option("--n-mels", type=int, help="Mel bands.")
@click.option("--fmin", type=float, help="Hz.")
@click.option("--fmax", type=float, help="Hz.")
@click.option("--channel", default=FeatureConfig.channel, help="mean, or a channel from 0.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, help="Files at a time.")
@click.option("--engine", type=click.Choice(["native", "torchaudio"]), default="native")
@click.option("--device", default="cpu", help="Where torchaudio runs.")
@click.option("--dtype", type=click.Choice(["f16", "f32"]), default="f16", help="As stored.")
@click.option("--root", type=click.Path(path_type=Path), help="Clip names are relative to it.")
@overwrite_option
@common_options
def extract(
    inputs: tuple[Path, ...],
    output: Path,
    preset: str,
    quiet: bool,
    channel: str,
    workers: int,
    engine: str,
    device: str,
    dtype: str,
    root: Path | None,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Compute log-mel features of audio files, and of folders of them.

    A file that cannot be used is named, written to OUTPUT.failures.tsv, and left out; the exit
    code is then 3. A run that was interrupted goes on where it stopped.

    \b
    Example: sedtool extract audio/ -o features.h5 --preset dcase2017 --workers 2
    """
    from sedtool.extraction import extract as extract_features

    config = lookup(FEATURE_PRESETS, preset, "preset").with_overrides(channel=channel, **settings)
    with progress("extract", quiet) as report:
        result = extract_features(
            inputs,
            output,
            config,
            root=root,
            workers=workers,
            engine=engine,
            device=device,
            dtype=dtype,
            overwrite=overwrite,
            progress=report,
        )
    resumed = f" ({result.n_resumed} of an interrupted run)" if result.n_resumed else ""
    speed = result.audio_seconds / result.seconds
    summary(
        f"{result.n_clips} clips{resumed}, {result.audio_seconds:.0f} s of audio in "
        f"{result.seconds:.1f} s ({speed:.0f} times real time) -> {output}",
        quiet,
    )
    if result.failures:
        raise InputsFailedError(
            f"{len(result.failures)} of {result.n_clips + len(result.failures)} files could not be "
            f"used; see {result.failures_path}"
        )
