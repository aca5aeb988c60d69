"""`sedtool extract`: audio -> features.h5."""

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
    group,
    input_options,
    max_time_option,
    names,
    overwrite_option,
    shard_option,
)
from sedtool.cli.settings import SedtoolCommand, taken
from sedtool.config import (
    ENGINES,
    FEATURE_PRESETS,
    PRESET,
    STORED_TYPES,
    ExtractConfig,
    FailurePolicy,
    FeatureConfig,
    lookup,
)
from sedtool.errors import InputsFailedError

if TYPE_CHECKING:
    from sedtool.audio import AudioInputs

_FEATURES = ("sample_rate", "n_fft", "win_length", "hop_length", "n_mels", "fmin", "fmax")


class _ExtractCommand(SedtoolCommand):
    def derived(self, values: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        config = feature_settings(values)
        found = {name.replace("_", "-"): getattr(config, name) for name in _FEATURES}
        return {key: (value, f"preset {values['preset']}") for key, value in found.items()}


def feature_settings(options: Mapping[str, Any]) -> FeatureConfig:
    """Return what the features are, of the options of `extract`."""
    changes = {name: options[name] for name in (*_FEATURES, "channel")}
    return lookup(FEATURE_PRESETS, options["preset"], "preset").with_overrides(**changes)


@click.command(cls=_ExtractCommand)
@group(
    "Input",
    input_options,
    click.option(
        "--channel",
        default=FeatureConfig.channel,
        help="The channel to use, counted from 0, or the mean of all.",
    ),
    click.option(
        "--allow-truncated",
        is_flag=True,
        help="Use files that are cut off up to where they end.",
    ),
)
@group(
    "Output",
    click.option("-o", "--output", type=OUTPUT, required=True, help="The features file to write."),
    click.option(
        "--dtype",
        type=click.Choice(STORED_TYPES),
        default=ExtractConfig.dtype,
        help="The number type in which features are stored.",
    ),
    overwrite_option,
)
@group(
    "Features",
    click.option(
        "--preset",
        default=PRESET,
        shell_complete=names(*FEATURE_PRESETS),
        help=f"Feature settings of a task: {', '.join(FEATURE_PRESETS)}. The options below "
        "replace single values of it.",
    ),
    click.option("--sample-rate", type=int, help="The rate in Hz that audio is resampled to."),
    click.option(
        "--n-fft",
        type=int,
        help="Samples in a Fourier transform. The analysis window is as long unless --win-length "
        "is given.",
    ),
    click.option("--win-length", type=int, help="Samples in an analysis window."),
    click.option("--hop-length", type=int, help="Samples from one frame to the next."),
    click.option("--n-mels", type=int, help="The number of mel bands."),
    click.option("--fmin", type=float, help="The lower edge of the lowest mel band in Hz."),
    click.option("--fmax", type=float, help="The upper edge of the highest mel band in Hz."),
)
@group(
    "Execution",
    click.option(
        "--workers",
        type=click.IntRange(1, 256),
        default=ExtractConfig.workers,
        help="How many files are processed at a time.",
    ),
    click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default=ExtractConfig.engine,
        help="The library that computes the spectra: sedtool itself, or torchaudio.",
    ),
    click.option(
        "--device",
        default=ExtractConfig.device,
        help="Where torchaudio runs: cpu, cuda, cuda:1 or mps.",
        shell_complete=names(*DEVICES),
    ),
    shard_option,
    failure_options,
    max_time_option,
    dry_run_option,
)
@common_options
def extract(
    inputs: "AudioInputs",
    output: Path,
    failures: FailurePolicy,
    dry_run: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Compute log-mel features of audio files and folders.

    A file that cannot be used is named on stderr and in OUTPUT.failures.tsv, and the others are
    processed; the exit code is then 3. The same command goes on with a run that was interrupted.

    \b
    Example: sedtool extract audio/ -o features.h5 --preset dcase2017 --workers 2
    """
    from sedtool.extraction import extract as extract_features
    from sedtool.planning import plan_extraction

    features = feature_settings(options)
    config = taken(ExtractConfig, options, fail_fast=failures.fail_fast)
    if dry_run:
        for line in plan_extraction(inputs, output, features, config).lines():
            summary(line, quiet=False)
        return
    with progress("extract", quiet) as report:
        result = extract_features(inputs, output, features, config, progress=report)
    following = (
        f"sedtool train -o RUN --features {quote(str(output))} --weak WEAK.tsv"
        if result.shard.is_whole
        else f"sedtool merge {quote(str(output.parent))} -o features.h5"
    )
    summary(f"{result} -> {output}; next: {following}", quiet)
    if not failures.allows(len(result.failures), result.n_files):
        raise InputsFailedError(
            f"{len(result.failures)} of {result.n_files} files could not be used; "
            f"see {result.failures_path}"
        )
