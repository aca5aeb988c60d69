"""`convert`: event lists of one format -> another, or to weak labels.

Many clips are one file, or a folder with a file for each: ``a/b.wav`` is ``a/b.wav.txt`` as an
Audacity label track, ``a/b.wav.selections.txt`` as a Raven table.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sedtool.atomic import claim, claim_folder, refuse_unfinished, write_text
from sedtool.audio import AUDIO_SUFFIXES
from sedtool.config import lookup
from sedtool.errors import ArtifactError, ConfigError, LabelError, NothingUsableError
from sedtool.labels import (
    EVENT_FORMATS,
    Event,
    EventFormat,
    StrongLabels,
    detect_format,
    event_format,
    format_weak,
)
from sedtool.shards import has_part_record, read_part_record
from sedtool.store import is_hdf5, unfinished
from sedtool.text import quoted

log = logging.getLogger(__name__)

WEAK = "weak"  # a target, but no event list
SCORES = "scores"  # a target that sedtool.score_tables has
TARGETS = (*EVENT_FORMATS, WEAK, SCORES)
DEFAULT_TARGET = "dcase"  # of what goes to stdout


@dataclass(frozen=True)
class ConvertSettings:
    """From which format to which; None is told from the files."""

    source: str | None = None
    target: str | None = None
    audio_suffix: str = ""  # added to a clip's name that a label file without one gives
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.source is not None:
            event_format(self.source)
        if self.target is not None:
            lookup(dict.fromkeys(TARGETS), self.target, "format")
        if self.audio_suffix and (self.audio_suffix[0] != "." or "/" in self.audio_suffix):
            raise ConfigError(f"--audio-suffix {quoted(self.audio_suffix)} is not like .wav")


@dataclass(frozen=True)
class ConvertResult:
    """What was done."""

    n_clips: int
    n_events: int


def convert(
    inputs: Sequence[Path],
    output: str | None,
    settings: ConvertSettings,
    emit: Callable[[str], None],
) -> ConvertResult:
    """Convert event lists.

    Parameters
    ----------
    inputs
        Files, and folders of them. They are joined; no clip may stand in two.
    output
        A file; or a folder, which exists or ends with ``/``, for a file a clip. None: the
        text goes to `emit`.
    settings
        Formats. A target that is None is told by the suffix of the output, ``.tsv``, ``.jsonl`` or
        ``.selections.txt``; without an output it is dcase.
    emit
        Takes the text if there is no output.
    """
    for path in inputs:
        if is_hdf5(path):
            raise ConfigError(
                f"{path} has no event list; sedtool infer MODEL {path} makes one of scores, "
                "and --to scores a table of each clip"
            )
    output = None if output == "-" else output
    target = settings.target or _target_of(output)
    into_folder = output is not None and (output.endswith("/") or Path(output).is_dir())
    if into_folder and target == WEAK:
        raise ConfigError("weak labels are one file; name one as the output")
    labels = read_labels(inputs, settings.source, settings.audio_suffix)
    if into_folder:
        _write_folder(Path(str(output)), labels, EVENT_FORMATS[target], settings.overwrite)
    elif output is None:
        emit(format_labels(labels, target))
    else:
        with claim(Path(output), overwrite=settings.overwrite):
            write_text(Path(output), format_labels(labels, target))
    return ConvertResult(len(labels.names), len(labels.events))


def _target_of(output: str | None) -> str:
    if output is None:
        return DEFAULT_TARGET
    told = [
        form.name
        for form in EVENT_FORMATS.values()
        if form.suffix != ".txt" and output.lower().endswith(form.suffix)  # .txt may be anything
    ]
    if not told:
        raise ConfigError(
            f"{output}: say with --to {'|'.join(TARGETS)} what format this is to have"
        )
    return told[0]


def read_labels(
    inputs: Sequence[Path], source: str | None = None, audio_suffix: str = ""
) -> StrongLabels:
    """Read event lists of any format and join them.

    A file that does not name its clip is named after it: by its path relative to the folder
    that was given, or that the inputs have in common, without the suffix of the format.
    """
    events: list[Event] = []
    owner: dict[str, Path] = {}
    for name, path in _label_files(inputs, source):
        if has_part_record(path) and not (shard := read_part_record(path).shard).is_whole:
            raise ArtifactError(f"{path} is shard {shard}; join all with sedtool merge first")
        form = event_format(source) if source else detect_format(path)
        named_after = form.clip_of(name)
        if not named_after.lower().endswith(AUDIO_SUFFIXES):
            named_after += audio_suffix
        labels = form.read(path, named_after)
        for clip in labels.names:
            if clip in owner:
                raise LabelError(
                    f"{clip!r} stands in {owner[clip]} and in {path}; give one of them"
                )
        owner.update(dict.fromkeys(labels.names, path))
        events += labels.events
    return StrongLabels(events, tuple(owner))


def _label_files(inputs: Sequence[Path], source: str | None) -> list[tuple[str, Path]]:
    """Return (path relative to the common folder, path) of each label file, sorted."""
    formats = [event_format(source)] if source else EVENT_FORMATS.values()
    suffixes = {form.last_suffix for form in formats}
    folders = [path if path.is_dir() else path.parent for path in inputs]
    files = [
        file for path in inputs for file in (_walk(path, suffixes) if path.is_dir() else [path])
    ]
    if not files:
        where = ", ".join(map(str, inputs))
        raise NothingUsableError(f"no label file ({' '.join(sorted(suffixes))}) in {where}")
    base = os.path.commonpath([os.path.abspath(folder) for folder in folders])  # noqa: PTH100
    return sorted((Path(os.path.relpath(file, base)).as_posix(), file) for file in files)


def _walk(folder: Path, suffixes: set[str]) -> Iterator[Path]:
    """Yield the files under a folder with one of the suffixes, hidden ones left out."""

    def refuse(error: OSError) -> None:
        raise ConfigError(f"{error.filename} cannot be listed: {error.strerror}") from error

    for where, folders, files in os.walk(folder, onerror=refuse):
        refuse_unfinished(Path(where))
        if begun := unfinished(Path(where).resolve() / ".events"):
            raise ArtifactError(f"{where}: not complete ({begun}); run the same infer again")
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(where, name) for name in files if not name.startswith(".")):
            if path.suffix.lower() in suffixes and path.is_file():
                yield path


def format_labels(labels: StrongLabels, target: str) -> str:
    """Return labels as the text of one file: an event list, or weak labels."""
    if target == WEAK:
        return format_weak(dict(sorted(labels.weak().items())))
    form = EVENT_FORMATS[target]
    clips = _by_clip(labels)
    if form.one_clip and len(clips) != 1:
        raise ConfigError(
            f"{target} is one clip a file and here are {len(clips)}: "
            "give a folder as the output, ending with /"
        )
    confidence = labels.columns.confidence is not None
    texts, number = [form.header(confidence)], 1
    for name, events in clips.items():
        texts.append(form.rows(events, number, confidence) if events else form.silent(name))
        number += len(events)
    n_lost = texts[1:].count("")
    if n_lost and not form.one_clip:
        log.warning(
            "%d clips without events are left out: a %s file cannot name them, a folder can",
            n_lost,
            target,
        )
    return "".join(texts)


def _write_folder(folder: Path, labels: StrongLabels, form: EventFormat, overwrite: bool) -> None:
    """Write a file for each clip; none if one is refused."""
    confidence = labels.columns.confidence is not None
    texts = {}
    for name, events in _by_clip(labels).items():
        rows = form.rows(events, 1, confidence) if events else form.silent(name)
        texts[folder / form.file_of(name)] = form.header(confidence) + rows
    with claim_folder(folder, texts, overwrite):
        for path, text in texts.items():
            write_text(path, text)


def _by_clip(labels: StrongLabels) -> dict[str, list[Event]]:
    clips: dict[str, list[Event]] = {name: [] for name in sorted(labels.names)}
    for event in labels.events:
        clips[event.name].append(event)
    return clips
