"""`evaluate_files`: label files, score files and audio in, an evaluation out."""

import logging
from dataclasses import dataclass
from pathlib import Path

from sedtool.atomic import claim, refuse_input, write_text
from sedtool.audio import find_audio, read_duration
from sedtool.config import EvaluationConfig
from sedtool.decoding import clip_scores, clip_tags, decode_clip
from sedtool.errors import ArtifactError
from sedtool.evaluation import evaluate
from sedtool.evaluation.report import Evaluation
from sedtool.labels import (
    Event,
    StrongLabels,
    Vocabulary,
    read_durations,
    read_events,
    read_vocabulary,
    read_weak,
)
from sedtool.shards import Shard, has_part_record, read_part
from sedtool.store import is_hdf5, open_features, open_scores

__all__ = ["Estimated", "EvaluateInputs", "evaluate_files", "read_estimated"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluateInputs:
    """The files to compare."""

    reference: Path  # strong labels
    estimated: Path  # an event list, or a scores file
    classes: Path | None = None
    durations: Path | None = None  # a TSV, a features file, or a folder of audio
    weak_reference: Path | None = None
    weak_estimated: Path | None = None
    partial: bool = False  # whether the estimates may be one shard of several

    @property
    def files(self) -> list[Path]:
        """Return all that is given."""
        optional = (self.classes, self.durations, self.weak_reference, self.weak_estimated)
        return [self.reference, self.estimated, *(path for path in optional if path is not None)]


@dataclass(frozen=True)
class Estimated:
    """What a system said."""

    events: StrongLabels
    classes: tuple[str, ...]
    tags: dict[str, tuple[str, ...]] | None = None
    durations: dict[str, float] | None = None


def evaluate_files(
    inputs: EvaluateInputs,
    config: EvaluationConfig,
    output: Path | None = None,
    overwrite: bool = False,
) -> Evaluation:
    """Read what is to be compared, compute all metrics, and write them as JSON to `output`.

    A scores file brings its own clip predictions, made with the thresholds of its model, and the
    durations of its clips.

    Raises
    ------
    ConfigError
        If the output is one of the inputs.
    ArtifactError
        If the estimates are one shard of several: every clip of the others would count as missed.
    """
    refuse_input(output, inputs.files)
    with claim(output, overwrite=overwrite):
        evaluation = _evaluate(inputs, config)
        for warning in evaluation.warnings:
            log.warning("%s", warning)
        if output:
            write_text(output, evaluation.to_json())
    return evaluation


def _evaluate(inputs: EvaluateInputs, config: EvaluationConfig) -> Evaluation:
    reference = read_events(inputs.reference)
    classes = read_vocabulary(inputs.classes) if inputs.classes else None
    estimated = read_estimated(inputs.estimated, inputs.partial)
    known = classes or _told_apart({*reference.classes, *estimated.classes})
    weak_reference = read_weak(inputs.weak_reference, known) if inputs.weak_reference else None
    tags = read_weak(inputs.weak_estimated, known) if inputs.weak_estimated else estimated.tags
    durations = _read_durations(inputs.durations) if inputs.durations else estimated.durations
    return evaluate(
        reference,
        estimated.events,
        config,
        classes=classes.classes if classes else None,
        durations=durations,
        weak_reference=weak_reference,
        weak_estimated=tags,
    )


def _told_apart(classes: set[str]) -> Vocabulary | None:
    """Return the class list that weak labels need if a class has a comma in its name.

    Tags may name classes that neither list of events has; only ``--classes`` can help then.
    """
    return Vocabulary(sorted(classes)) if any("," in label for label in classes) else None


def read_estimated(path: Path, partial: bool) -> Estimated:
    """Read an event list, or decode a scores file with the settings it carries."""
    if not is_hdf5(path):
        if not partial and has_part_record(path):
            _refuse_part(path, read_part(path).shard)
        listed = read_events(path)
        return Estimated(listed, listed.classes)
    scores = open_scores(path)
    if not partial:
        _refuse_part(path, scores.shard)
    events: list[Event] = []
    tags: dict[str, tuple[str, ...]] = {}
    for clip in clip_scores(scores):
        events += decode_clip(clip, scores.classes, scores.frame_rate, scores.decoding)
        tags[clip.name] = clip_tags(clip, scores.classes, scores.decoding)
    names = tuple(scores.names)
    durations = dict(zip(names, scores.duration.tolist(), strict=True))
    return Estimated(StrongLabels(events, names), scores.classes, tags, durations)


def _refuse_part(path: Path, shard: Shard) -> None:
    if not shard.is_whole:
        raise ArtifactError(
            f"{path} is shard {shard}: sedtool merge joins all, --partial scores what is there"
        )


def _read_durations(path: Path) -> dict[str, float]:
    if path.is_dir():
        return {name: read_duration(file) for name, file in find_audio([path]).items()}
    if is_hdf5(path):
        features = open_features(path)
        return dict(zip(features.names, features.duration.tolist(), strict=True))
    return read_durations(path)
