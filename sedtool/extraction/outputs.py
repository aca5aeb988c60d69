"""What an extraction must not write to: audio, what is complete, and what another run has begun."""

from collections.abc import Mapping
from pathlib import Path

from sedtool.atomic import refuse_existing, refuse_input
from sedtool.audio import AUDIO_SUFFIXES
from sedtool.errors import ConfigError
from sedtool.store import FeaturesJob, refuse_finished, unfinished

__all__ = ["refuse_at_once", "refuse_output"]


def refuse_at_once(output: Path, overwrite: bool) -> None:
    """Refuse, before any file is looked for, an output that no files could be meant for.

    Raises
    ------
    ConfigError
        If it has the name of an audio file.
    OutputExistsError
        If it is complete and `overwrite` is false.
    """
    if output.suffix.lower() in AUDIO_SUFFIXES:
        raise ConfigError(f"{output} is named as audio is; features go to a file such as out.h5")
    if unfinished(output.resolve()) is None:  # else `refuse_output` knows whether it can go on
        refuse_existing(output, overwrite)


def refuse_output(
    output: Path, files: Mapping[str, Path], job: FeaturesJob, overwrite: bool
) -> bool:
    """Refuse an output that is one of the audio files, or as `refuse_finished` does.

    Returns whether an unfinished run of the job is there.
    """
    refuse_input(output, files.values())
    return refuse_finished(output, job, overwrite)
