"""`sedtool extract`: audio -> features.h5."""

import os
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from sedtool.cli.console import progress, summary
from sedtool.cli.options import (
    DEVICES,
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
from sedtool.config import FEATURE_PRESETS, FailurePolicy, FeatureConfig, lookup
from sedtool.errors import InputsFailedError
from sedtool.shards import WHOLE, Shard

if TYPE_CHECKING:
    from sedtool.audio import AudioInputs

_PRESET = "dcase2017"
_FEATURES = ("sample_rate", "n_fft", "win_length", "hop_length", "n_mels", "fmin", "fmax")


class _ExtractCommand(SedtoolCommand):
    def derived(self, values: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        preset = lookup(FEATURE_PRESETS, values["preset"], "preset")
        config = preset.with_overrides(**{name: values[name] for name in _FEATURES})
        found = {name.replace("_", "-"): getattr(config, name) for name in _FEATURES}
        return {key: (value, f"preset {values['preset']}") for key, value in found.items()}


@click.command(cls=_ExtractCommand)
@input_options
@click.option("-o", "--output", type=OUTPUT, required=True, help="The features file to write.")
@click.option(
    "--preset",
    default=_PRESET,
    shell_complete=names(*FEATURE_PRESETS),
    help=f"Feature settings: {', '.join(FEATURE_PRESETS)}.",
)
@click.option("--sample-rate", type=int, help="Hz; replaces the preset's, as all below.")
@click.option("--n-fft", type=int, help="Samples; --win-length follows unless it is given.")
@click.option("--win-length", type=int, help="Samples.")
@click.option("--hop-length", type=int, help="Samples from one frame to the next.")
@click.option("--n-mels", type=int, help="Mel bands.")
@click.option("--fmin", type=float, help="Hz.")
@click.option("--fmax", type=float, help="Hz.")
@click.option("--channel", default=FeatureConfig.channel, help="mean, or a channel from 0.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, help="Files at a time.")
@click.option(
    "--engine",
    type=click.Choice(["native", "torchaudio"]),
    default="native",
    help="What computes the features.",
)
@click.option(
    "--device",
    default="cpu",
    help="Where torchaudio runs.",
    shell_complete=names(*DEVICES),
)
@click.option("--dtype", type=click.Choice(["f16", "f32"]), default="f16", help="As stored.")
@click.option(
    "--allow-truncated", is_flag=True, help="Use files whose end is missing as far as they go."
)
@shard_option
@failure_options
@max_time_option
@dry_run_option
@overwrite_option
@common_options
def extract(
    inputs: "AudioInputs",
    output: Path,
    preset: str,
    channel: str,
    workers: int,
    engine: str,
    device: str,
    dtype: str,
    allow_truncated: bool,
    shard: str | None,
    failures: FailurePolicy,
    dry_run: bool,
    overwrite: bool,
    quiet: bool,
    **changes: Any,
) -> None:
    """Compute log-mel features of audio files, and of folders of them.

    A file that cannot be used is named, written to OUTPUT.failures.tsv, and left out; the exit
    code is then 3. A run that was interrupted goes on where it stopped.

    \b
    Example: sedtool extract audio/ -o features.h5 --preset dcase2017 --workers 2
    """
    from sedtool.extraction import ExtractSettings
    from sedtool.extraction import extract as extract_features
    from sedtool.planning import plan_extraction

    config = lookup(FEATURE_PRESETS, preset, "preset").with_overrides(channel=channel, **changes)
    settings = ExtractSettings(
        workers,
        engine,
        device,
        dtype,
        shard=Shard.parse(shard, os.environ) if shard is not None else WHOLE,
        shard_is_auto=shard == "auto",
        allow_truncated=allow_truncated,
        fail_fast=failures.fail_fast,
        overwrite=overwrite,
    )
    if dry_run:
        for line in plan_extraction(inputs, output, config, settings).lines():
            summary(line, quiet=False)
        return
    with progress("extract", quiet) as report:
        result = extract_features(inputs, output, config, settings, progress=report)
    features = quote(str(output))
    following = (
        f"sedtool train -o RUN --features {features} --weak WEAK.tsv"
        if settings.shard.is_whole
        else f"sedtool merge {quote(str(output.parent))} -o features.h5"
    )
    summary(f"{result} -> {output}; next: {following}", quiet)
    if not failures.allows(len(result.failures), result.n_files):
        raise InputsFailedError(
            f"{len(result.failures)} of {result.n_files} files could not be used; "
            f"see {result.failures_path}"
        )
