"""What is refused before anything is computed: options and outputs that do not fit."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sedtool.atomic import refuse_existing, refuse_input
from sedtool.audio import AudioInputs
from sedtool.errors import ConfigError
from sedtool.inference.settings import InferOutputs, InferRun, InferSettings
from sedtool.inference.writing import file_of, name_problem
from sedtool.labels import EVENT_FORMATS, event_format, printable
from sedtool.shards import Shard

__all__ = [
    "refuse_finished",
    "refuse_for_scores",
    "refuse_given",
    "refuse_inputs",
    "refuse_loose_part",
    "refuse_outputs",
]


def refuse_for_scores(inputs: AudioInputs, settings: InferSettings, run: InferRun) -> None:
    """Raise a ConfigError if an option is given that scores, decoded as they are, do not need."""
    refuse_given("scores", inputs, "root")
    refuse_given("scores", settings, "window", "overlap", "batch_size", "amp")
    refuse_given("scores", run, "shard", "workers", "allow_truncated", "partial")
    if run.device not in ("auto", "cpu"):
        raise ConfigError("--device has no meaning for scores: no network is run")


def refuse_given(what: str, options: Any, *names: str) -> None:
    """Raise a ConfigError if an option is given that would be ignored for such inputs."""
    default = type(options)()
    for name in names:
        if getattr(options, name) != getattr(default, name):
            raise ConfigError(f"--{name.replace('_', '-')} has no meaning for {what}")


def refuse_outputs(outputs: InferOutputs, names: Sequence[str], shard: Shard) -> None:
    """Raise an error, before anything is computed, if an output does not fit.

    Parameters
    ----------
    outputs
        What is asked for.
    names
        The recordings.
    shard
        The part of all recordings that they are.
    """
    outputs.refuse()
    _refuse_suffix(outputs)
    one_recording = event_format(outputs.format).one_recording
    if one_recording and outputs.folder is None and len(names) > 1:
        raise ConfigError(
            f"a list in the format {outputs.format} holds one recording; for "
            f"{len(names)}, -o must name a folder that exists"
        )
    if not shard.is_whole and outputs.format != "dcase":
        raise ConfigError("parts are merged as --format dcase; sedtool convert does the rest")


def refuse_finished(outputs: InferOutputs, names: Sequence[str]) -> None:
    """Raise OutputExistsError if an output, or a list in a folder of them, may not be replaced."""
    for path in outputs.files:
        refuse_existing(path, outputs.overwrite)
    if outputs.overwrite or outputs.folder is None:
        return
    for name in map(printable, names):
        if name_problem(outputs, name) is None:
            refuse_existing(file_of(outputs, name), False)


def refuse_inputs(
    outputs: InferOutputs, model: Path, settings: InferSettings, inputs: Iterable[Path]
) -> None:
    """Raise a ConfigError if an output is a file that is read."""
    files = [model, Path(settings.threshold), *inputs]
    for output in outputs.files:
        refuse_input(output, files)


def _refuse_suffix(outputs: InferOutputs) -> None:
    """Raise a ConfigError if the event list is named as something else is."""
    name = outputs.list_file.name if outputs.list_file is not None else ""
    if name.endswith(".h5"):
        raise ConfigError(f"-o {name} would be an event list; --scores {name} writes scores")
    for form in EVENT_FORMATS.values():
        is_told = name.endswith(form.suffix) and form.suffix != ".txt"  # which may be anything
        if is_told and form.name != outputs.format:
            raise ConfigError(
                f"{name} is named as {form.name} files are, and --format is {outputs.format}"
            )


def refuse_loose_part(outputs: InferOutputs, shard: Shard, run: InferRun) -> None:
    """Raise a ConfigError if a part would go where nothing can say that it is one."""
    if not shard.is_whole and outputs.spool is None and not run.partial:
        raise ConfigError(f"shard {shard} is a part to be merged: give it a file, with -o")
