"""Audio and label files -> a report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sedtool.audio import AudioInputs, find_audio
from sedtool.checking.audio_rules import check_audio, summarise_audio
from sedtool.checking.clips import Clip, Progress, copies, inspect, listed_clips
from sedtool.checking.label_rules import (
    check_labels,
    check_spelling,
    summarise,
    summarise_classes,
)
from sedtool.checking.matching_rules import check_copies, check_pairs, check_unlabelled, match
from sedtool.checking.report import Report
from sedtool.checking.rows import LabelFile, read_label_file
from sedtool.errors import ConfigError
from sedtool.labels import Vocabulary, read_vocabulary
from sedtool.store import is_hdf5

__all__ = ["CheckInputs", "check"]


@dataclass(frozen=True)
class CheckInputs:
    """The files that are checked against each other."""

    audio: AudioInputs  # features files may be among them, and stand for their audio
    strong: Sequence[Path] = ()
    weak: Sequence[Path] = ()
    unlabelled: Sequence[Path] = ()
    classes: Path | None = None  # without it, all labels that occur are classes


def check(
    inputs: CheckInputs, *, decode: bool = False, workers: int, progress: Progress | None = None
) -> Report:
    """Check audio and label files by themselves and against each other.

    Parameters
    ----------
    inputs
        The files.
    decode
        Whether to decode all audio; otherwise headers are read, and Ogg pages, and what files of
        equal size need to be told apart.
    workers
        Audio files at a time.
    progress
        Called in this thread after each audio file.

    Raises
    ------
    ConfigError, ArtifactError, NothingUsableError
        If the audio cannot be listed, or there is none.
    LabelError
        If the class list cannot be read. Faults of label files are findings.
    """
    vocabulary = read_vocabulary(inputs.classes) if inputs.classes else None
    files = _label_files(inputs, vocabulary)
    classes = vocabulary.classes if vocabulary else _labels_of(files)
    clips = _clips(inputs.audio, decode, workers, progress)
    matched, findings = match(files, clips)
    labelled = [file for file in files if file.kind != "unlabelled"]
    return Report(
        (
            *check_audio(clips.values()),
            *(finding for file in files for finding in check_labels(file, classes, vocabulary)),
            *([] if vocabulary else check_spelling(labelled)),
            *findings,
            *(check_unlabelled(matched, clips) if files else []),
            *check_pairs(matched),
            *check_copies(copies(clips.values(), workers), matched),
        ),
        tuple(row for file in labelled if file.rows for row in summarise_classes(file, classes)),
        tuple(summarise(file) for file in files),
        summarise_audio(clips.values(), decode),
    )


def _label_files(inputs: CheckInputs, vocabulary: Vocabulary | None) -> list[LabelFile]:
    kinds = {"strong": inputs.strong, "weak": inputs.weak, "unlabelled": inputs.unlabelled}
    given = [(path, kind) for kind, paths in kinds.items() for path in paths]
    return [read_label_file(path, kind, vocabulary) for path, kind in given]


def _labels_of(files: Sequence[LabelFile]) -> tuple[str, ...]:
    return tuple(sorted({label for file in files for row in file.rows for label in row.labels}))


def _is_features(path: str | Path) -> bool:
    return path != "-" and (Path(path).suffix.lower() == ".h5" or is_hdf5(Path(path)))


def _clips(
    audio: AudioInputs, decode: bool, workers: int, progress: Progress | None
) -> dict[str, Clip]:
    """Return the clips of features files and audio files, by name."""
    features = [Path(path) for path in audio.paths if _is_features(path)]
    others = tuple(path for path in audio.paths if not _is_features(path))
    listed = listed_clips(features)
    if features and not others and audio.files_from is None:
        if decode or audio.root is not None:
            option = "--decode" if decode else "--root"
            raise ConfigError(f"{option} has no meaning for features files: they hold no audio")
        return listed
    found = find_audio(replace(audio, paths=others))
    for name in found:
        if name in listed:
            raise ConfigError(f"clip {name!r} is in a features file and among the audio files")
    return listed | inspect(found, decode, workers, progress)
