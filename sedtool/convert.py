"""`convert`: label files of one format -> another, or to weak labels.

Many clips are one file, or a folder with a file for each: ``a/b.wav`` is ``a/b.wav.txt`` as an
Audacity label track, ``a/b.wav.selections.txt`` as a Raven table.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sedtool.atomic import claim, claim_folder, refuse_unfinished, write_text
from sedtool.audio import AUDIO_SUFFIXES
from sedtool.config import EvaluateInputs, lookup
from sedtool.config.base import as_in, require_valid
from sedtool.errors import ArtifactError, ConfigError, LabelError, NothingUsableError
from sedtool.labels import (
    EVENT_FORMATS,
    SOURCES,
    Event,
    EventFormat,
    StrongLabels,
    detect_format,
    format_weak,
    read_label_names,
)
from sedtool.labels.events import confident
from sedtool.labels.formats.published import LABEL_ID
from sedtool.shards import has_part_record, read_part_record
from sedtool.store import is_hdf5, unfinished
from sedtool.text import first_five, first_quoted, quoted

log = logging.getLogger(__name__)

Weak = dict[str, tuple[str, ...]]  # the labels of each clip
WEAK = "weak"  # a target, but no event list
SCORES = "scores"  # a target that sedtool.score_tables has
TARGETS = (*EVENT_FORMATS, WEAK, SCORES)
DEFAULT_TARGET = "dcase"  # of what goes to stdout
_SUFFIXES, _OTHERS = {".tsv", ".txt", ".jsonl"}, {".jams", ".csv"}  # of label files in folders


@dataclass(frozen=True)
class ConvertSettings:
    """From which format to which; None is told from the files."""

    source: str | None = None
    target: str | None = None
    audio_suffix: str = ""  # that clips are to have
    names: Path | None = None  # of a file that names label ids
    min_confidence: float | None = as_in(EvaluateInputs, "min_confidence")
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.source is not None:
            lookup(SOURCES, self.source, "format")
        if self.target is not None:
            lookup(dict.fromkeys(TARGETS), self.target, "format")
        if self.audio_suffix and (self.audio_suffix[0] != "." or "/" in self.audio_suffix):
            raise ConfigError(f"--audio-suffix {quoted(self.audio_suffix)} is not like .wav")
        require_valid(self)


@dataclass(frozen=True)
class ConvertResult:
    """What was done."""

    n_clips: int
    n_events: int | None  # None: there are only labels without times


def convert(
    inputs: Sequence[Path],
    output: str | None,
    settings: ConvertSettings,
    emit: Callable[[str], None],
) -> ConvertResult:
    """Convert label files.

    Labels without times become weak labels where nothing else is asked for, and nothing else.

    Parameters
    ----------
    inputs
        Files, and folders of them. They are joined; no clip may stand in two.
    output
        A file; or a folder, which exists or ends with ``/``, for a file a clip. None: the
        text goes to `emit`.
    settings
        Formats. A target that is None is told by the suffix of the output, ``.tsv``, ``.jsonl``,
        ``.jams`` or ``.selections.txt``; without an output it is dcase.
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
    strong, weak = read_labels(inputs, settings.source, settings.audio_suffix)
    if weak and target != WEAK:
        if settings.target or target != DEFAULT_TARGET or into_folder or strong.names:
            raise ConfigError(
                f"{next(iter(weak))!r} has labels without times, which can only become weak "
                f"labels: --to {WEAK}, with a file as the output"
            )
        log.warning("labels without times become weak labels, as with --to %s", WEAK)
        target = WEAK
    if into_folder and target == WEAK:
        raise ConfigError("weak labels are one file; name one as the output")
    strong = confident(strong, first_five(map(str, inputs)), settings.min_confidence)
    strong, weak = _named(strong, weak, settings.names)
    if into_folder:
        _write_folder(Path(str(output)), strong, EVENT_FORMATS[target], settings.overwrite)
        return ConvertResult(len(strong.names), len(strong.events))
    if target == WEAK:
        if n_points := sum(event.onset == event.offset for event in strong.events):
            log.warning("%d events without length are left out of weak labels", n_points)
        text = format_weak(dict(sorted((strong.weak() | weak).items())))
    else:
        text = format_labels(strong, target)
    if output is None:
        emit(text)
    else:
        with claim(Path(output), overwrite=settings.overwrite):
            write_text(Path(output), text)
    n_events = len(strong.events) if strong.names or not weak else None
    return ConvertResult(len(strong.names) + len(weak), n_events)


def _named(strong: StrongLabels, weak: Weak, path: Path | None) -> tuple[StrongLabels, Weak]:
    """Return the labels with names in place of their ids, if a file has them."""
    given = {*strong.columns.label, *(label for of_clip in weak.values() for label in of_clip)}
    ids = sorted(label for label in given if LABEL_ID.fullmatch(label))
    if path is None:
        if ids:
            log.warning(
                "labels are ids like %s; --names FILE takes their names from AudioSet's "
                "class_labels_indices.csv or ontology.json",
                ids[0],
            )
        return strong, weak
    names = read_label_names(path)
    if missing := [label for label in ids if label not in names]:
        raise LabelError(f"{path} has no name for {first_quoted(missing)}")
    events = [replace(event, label=names.get(event.label, event.label)) for event in strong.events]
    weak = {
        clip: tuple(dict.fromkeys(names.get(label, label) for label in labels))
        for clip, labels in weak.items()
    }
    return StrongLabels(events, strong.names), weak


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
) -> tuple[StrongLabels, Weak]:
    """Read label files of any format and join them: events, and labels of clips without times.

    A file that does not name its clip is named after it: by its path relative to the folder
    that was given, or that the inputs have in common, without the suffix of the format.
    """
    events: list[Event] = []
    weak: Weak = {}
    owner: dict[str, Path] = {}
    for name, path in _label_files(inputs, source):
        if has_part_record(path) and not (shard := read_part_record(path).shard).is_whole:
            raise ArtifactError(f"{path} is shard {shard}; join all with sedtool merge first")
        form = SOURCES[source] if source else detect_format(path)
        named_after = form.clip_of(name)
        labels = form.read(path, named_after)
        clips = labels.names if isinstance(labels, StrongLabels) else tuple(labels)
        renamed = {clip: _with_suffix(clip, audio_suffix, named_after) for clip in clips}
        for clip in renamed.values():
            if owner.get(clip) == path:
                raise LabelError(f"{path}: two clips would be {clip!r} (--audio-suffix)")
            if clip in owner:
                raise LabelError(
                    f"{clip!r} stands in {owner[clip]} and in {path}; give one of them"
                )
            owner[clip] = path
        if isinstance(labels, StrongLabels):
            events += labels.renamed(renamed).events
        else:
            weak |= {renamed[clip]: of_clip for clip, of_clip in labels.items()}
    return StrongLabels(events, tuple(clip for clip in owner if clip not in weak)), weak


def _with_suffix(clip: str, suffix: str, file: str) -> str:
    """Return a clip's name with a suffix, in place of another one of audio if no `file` has it."""
    is_audio = clip.lower().endswith(AUDIO_SUFFIXES)
    if not suffix or (is_audio and clip == file):
        return clip
    return (clip.rpartition(".")[0] if is_audio else clip) + suffix


def _label_files(inputs: Sequence[Path], source: str | None) -> list[tuple[str, Path]]:
    """Return (path relative to the common folder, path) of each label file, sorted.

    Without a format that is said, folders are searched for `_SUFFIXES`, then for `_OTHERS`: data
    sets have their labels as JAMS and as text in one folder.
    """
    searches = [{SOURCES[source].last_suffix}] if source else [_SUFFIXES, _OTHERS]
    for suffixes in searches:
        files = [f for path in inputs for f in (_walk(path, suffixes) if path.is_dir() else [path])]
        if files:
            break
    else:
        where, wanted = ", ".join(map(str, inputs)), sorted(set().union(*searches))
        raise NothingUsableError(f"no label file ({' '.join(wanted)}) in {where}")
    folders = [path if path.is_dir() else path.parent for path in inputs]
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
    """Return labels as the text of one event list."""
    form = EVENT_FORMATS[target]
    clips = _by_clip(labels)
    confidence = labels.columns.confidence is not None
    if form.one_clip:
        if len(clips) != 1:
            raise ConfigError(
                f"{target} is one clip a file and here are {len(clips)}: "
                "give a folder as the output, ending with /"
            )
        return "".join(form.text(*clip, confidence) for clip in clips.items())
    texts, number = [form.header(confidence)], 1
    for name, events in clips.items():
        texts.append(form.rows(events, number, confidence) if events else form.silent(name))
        number += len(events)
    if n_lost := texts[1:].count(""):
        log.warning(
            "%d clips without events are left out: a %s file cannot name them, a folder can",
            n_lost,
            target,
        )
    return "".join(texts)


def _write_folder(folder: Path, labels: StrongLabels, form: EventFormat, overwrite: bool) -> None:
    """Write a file for each clip; none if one is refused."""
    confidence = labels.columns.confidence is not None
    texts = {
        folder / form.file_of(name): form.text(name, events, confidence, form.silent(name))
        for name, events in _by_clip(labels).items()
    }
    with claim_folder(folder, texts, overwrite):
        for path, text in texts.items():
            write_text(path, text)


def _by_clip(labels: StrongLabels) -> dict[str, list[Event]]:
    clips: dict[str, list[Event]] = {name: [] for name in sorted(labels.names)}
    for event in labels.events:
        clips[event.name].append(event)
    return clips
