"""`sedtool extract`: audio -> features.h5."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import click

from sedtool.cli import options as opt
from sedtool.cli.console import progress, say
from sedtool.cli.settings import SedtoolCommand, taken
from sedtool.config import FEATURE_PRESETS, ExtractConfig, FailurePolicy, FeatureConfig, lookup
from sedtool.config.extraction import PRESET
from sedtool.errors import InputsFailedError

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
@opt.group(
    "Input",
    *opt.inputs,
    *opt.settings(FeatureConfig, "channel"),
    *opt.settings(ExtractConfig, "allow_truncated"),
)
@opt.group(
    "Output",
    opt.output("The features file to write.", required=True),
    *opt.settings(ExtractConfig, "dtype"),
    opt.update,
    opt.overwrite,
)
@opt.group(
    "Features",
    click.option(
        "--preset",
        default=PRESET,
        shell_complete=opt.names(*FEATURE_PRESETS),
        help=f"Feature settings of a task: {', '.join(FEATURE_PRESETS)}. For syllables, clicks "
        "and other sounds of some 50 ms, short, and train --arch small:time-pooling=1. The options "
        "below replace single values of it.",
    ),
    *opt.settings(FeatureConfig, *_FEATURES, default=None),
)
@opt.group(
    "Execution",
    *opt.settings(ExtractConfig, "workers", "engine", "device", "shard"),
    *opt.settings(FailurePolicy, "tolerate"),
    *opt.settings(ExtractConfig, "fail_fast"),
    opt.max_time,
    opt.dry_run,
)
def extract(output: Path, dry_run: bool, quiet: bool, **options: Any) -> None:
    """Compute log-mel features of audio files and folders.

    A file that cannot be used is named on stderr and in OUTPUT.failures.tsv, and the others are
    processed; the exit code is then 3. The same command goes on with a run that was interrupted,
    and has nothing to do if the output is finished; --update takes in what is new.
    Files such as m4a, mp4, webm, wma, amr, and the sound of video, need sedtool[av].

    \b
    Example: sedtool extract audio/ -o features.h5 --preset dcase2017 --workers 2
    """
    from sedtool.extraction import extract as extract_features
    from sedtool.planning import plan_extraction

    inputs, features = opt.audio_inputs(options), feature_settings(options)
    config = taken(ExtractConfig, options)
    policy = taken(FailurePolicy, options)
    if dry_run:
        for line in plan_extraction(inputs, output, features, config).lines:
            say(line)
        return
    with progress("extract", quiet) as report:
        result = extract_features(inputs, output, features, config, progress=report)
    following = (
        f"sedtool train -o RUN --features {quote(str(output))} --weak WEAK.tsv"
        if result.shard.is_whole
        else f"sedtool merge {quote(str(output.parent))} -o features.h5"
    )
    say(f"{result} -> {output}; next: {following}", quiet)
    if not policy.allows(len(result.failures), result.n_files):
        raise InputsFailedError(
            f"{len(result.failures)} of {result.n_files} files could not be used; "
            f"see {result.failures_path}"
        )
