"""`evaluate_files`: label files, score files and audio in, an evaluation out."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sedtool.atomic import claim, refuse_input, write_text
from sedtool.audio import find_audio, read_duration
from sedtool.config import EvaluationConfig
from sedtool.config.evaluation import PSDS_SCENARIOS, ReportConfig
from sedtool.decoding import clip_scores, clip_tags, decode_clip
from sedtool.errors import ArtifactError, ConfigError
from sedtool.evaluation import evaluate
from sedtool.evaluation.count_tables import count_table
from sedtool.evaluation.intervals import CountTable, Progress, System, statistics
from sedtool.evaluation.limits import require_names, score_names
from sedtool.evaluation.pairing import match_names
from sedtool.evaluation.psds import Psds
from sedtool.evaluation.psds.files import score_psds
from sedtool.evaluation.report import Evaluation
from sedtool.labels import (
    Event,
    StrongLabels,
    Vocabulary,
    read_durations,
    read_events,
    read_groups,
    read_vocabulary,
    read_weak,
)
from sedtool.shards import Shard
from sedtool.store import is_hdf5, open_features, open_scores
from sedtool.store.parts import has_part_record, read_part

__all__ = ["Estimated", "EvaluateInputs", "evaluate_files", "read_estimated"]

log = logging.getLogger(__name__)
_REPORT = ReportConfig()


@dataclass(frozen=True)
class EvaluateInputs:
    """The files to compare."""

    reference: Path  # strong labels
    estimated: Path  # an event list, a scores file, or a folder of score tables or event lists
    classes: Path | None = None
    durations: Path | None = None  # a TSV, a features file, or a folder of audio
    weak_reference: Path | None = None
    weak_estimated: Path | None = None
    partial: bool = False  # whether the estimates may be one shard of several
    against: Path | None = None  # what another system said, as `estimated`
    groups: Path | None = None  # which clips are drawn together

    @property
    def files(self) -> list[Path]:
        """Return all that is given."""
        weak = (self.weak_reference, self.weak_estimated)
        optional = (self.classes, self.durations, *weak, self.against, self.groups)
        return [self.reference, self.estimated, *(path for path in optional if path is not None)]


@dataclass(frozen=True)
class Truth:
    """What estimates are compared with, read once for two systems."""

    reference: StrongLabels
    classes: Vocabulary | None
    durations: dict[str, float] | None  # those that were given


@dataclass(frozen=True)
class Estimated:
    """What a system said."""

    events: StrongLabels
    classes: tuple[str, ...]
    tags: dict[str, tuple[str, ...]] | None = None
    durations: dict[str, float] | None = None

    def under(self, targets: Collection[str], where: str) -> "Estimated":
        """Return the same with those names of clips that `targets` have for them."""
        every = (*self.events.names, *(self.tags or ()), *(self.durations or ()))
        names = match_names(dict.fromkeys(every), targets, where)
        return Estimated(
            self.events.renamed(names),
            self.classes,
            None if self.tags is None else {names[k]: v for k, v in self.tags.items()},
            None if self.durations is None else {names[k]: v for k, v in self.durations.items()},
        )


def evaluate_files(
    inputs: EvaluateInputs,
    config: EvaluationConfig,
    output: Path | None = None,
    overwrite: bool = False,
    report: ReportConfig = _REPORT,
    progress: Progress | None = None,
) -> Evaluation:
    """Read what is to be compared, compute metrics, and write them as JSON to `output`.

    A scores file brings its own clip predictions, made with the thresholds of its model, and the
    durations of its clips. Limits are checked by name only: see `sedtool.evaluation.limits`.

    Raises
    ------
    ConfigError
        If the output is one of the inputs, a metric needs what the estimates do not have, or a
        limit is of a score that is not computed.
    ArtifactError
        If the estimates are one shard of several: every clip of the others would count as missed;
        or if `report` is strict and there is a warning.
    """
    refuse_input(output, inputs.files)
    with claim(output, overwrite=overwrite):
        evaluation = _evaluate(inputs, config, report, progress)
        for warning in evaluation.warnings[report.strict :]:
            log.warning("%s", warning)
        if report.strict and evaluation.warnings:
            others = len(evaluation.warnings) - 1
            raise ArtifactError(
                f"{inputs.reference} and {inputs.estimated} do not fit (--strict): "
                f"{evaluation.warnings[0]}{f'; and {others} more, see above' * bool(others)}"
            )
        if output:
            write_text(output, evaluation.to_json())
    return evaluation


def _evaluate(
    inputs: EvaluateInputs,
    config: EvaluationConfig,
    report: ReportConfig,
    progress: Progress | None,
) -> Evaluation:
    has_list = not any(path and path.is_dir() for path in (inputs.estimated, inputs.against))
    require_names(report.limits, score_names(report, has_list))
    resampled = _is_resampled(inputs, report)
    if inputs.groups is not None and not resampled:
        raise ConfigError("groups needs --bootstrap or --against: they are what is resampled")
    if resampled and not {*report.chosen(has_list), *report.scenarios(has_list)} - {"errors"}:
        raise ConfigError("metrics must name one that has intervals; errors has none")
    truth = Truth(
        read_events(inputs.reference),
        read_vocabulary(inputs.classes) if inputs.classes else None,
        _read_durations(inputs.durations) if inputs.durations else None,
    )
    found = _score(inputs, inputs.estimated, truth, config, report, has_list)
    if not resampled:
        return found.evaluation
    other = None
    if inputs.against is not None:
        alike = replace(inputs, weak_estimated=None)  # which are the first system's
        other = _score(alike, inputs.against, truth, config, report, has_list, found.clips)
    groups = read_groups(inputs.groups) if inputs.groups else None
    return _with_statistics(found, other, report, groups, progress)


def _is_resampled(inputs: EvaluateInputs, report: ReportConfig) -> bool:
    return report.bootstrap is not None or inputs.against is not None


@dataclass(frozen=True, eq=False)
class _Scored:
    """One system: its evaluation, and what it was made of."""

    path: Path
    evaluation: Evaluation
    labels: dict[str, Any]  # reference, estimated, and keywords of `evaluate`

    @property
    def clips(self) -> set[str]:
        """Return the names of its clips."""
        listed: StrongLabels | None = self.labels.get("estimated")
        scored = self.evaluation.psds.values()
        return set(listed.names if listed else ()).union(*(psds.counts.clips for psds in scored))

    def system(self) -> System:
        """Return its scores with the counts of each clip."""
        found = self.evaluation
        table = count_table(evaluation=found, **self.labels) if self.labels else CountTable()
        counts = {name: psds.counts for name, psds in found.psds.items()}
        return System(str(self.path), found.macro_scores, replace(table, psds=counts))


def _score(
    inputs: EvaluateInputs,
    path: Path,
    truth: Truth,
    config: EvaluationConfig,
    report: ReportConfig,
    has_list: bool,
    known: Collection[str] = (),
) -> _Scored:
    """Score what one system said, read from `path`.

    `has_list` tells whether all systems have an event list; clips that the reference lacks have
    their names in `known`, which are those of another system.
    """
    metrics = tuple(name for name in report.chosen(has_list) if name not in PSDS_SCENARIOS)
    scenarios = report.scenarios(has_list)
    if metrics and path.is_dir():
        raise ConfigError(
            f"metrics {metrics[0]} needs an event list or a scores.h5; {path} is a folder, of "
            "which PSDS can be computed"
        )
    classes = truth.classes.classes if truth.classes else None
    psds, doubts = score_psds(
        path, truth.reference, scenarios, classes, truth.durations, known=known
    )
    if path.is_dir():
        return _Scored(path, _of_folder(truth, config, psds, doubts), {})
    estimated = read_estimated(path, inputs.partial)
    if known:
        estimated = estimated.under({*truth.reference.names, *known}, str(path))
    vocabulary = truth.classes or _told_apart({*truth.reference.classes, *estimated.classes})
    weak = read_weak(inputs.weak_reference, vocabulary) if inputs.weak_reference else None
    tags = read_weak(inputs.weak_estimated, vocabulary) if inputs.weak_estimated else estimated.tags
    labels: dict[str, Any] = {
        "reference": truth.reference,
        "estimated": estimated.events,
        "durations": estimated.durations if truth.durations is None else truth.durations,
        "weak_reference": weak,
        "weak_estimated": tags,
    }
    evaluation = evaluate(
        config=config,
        classes=classes,
        metrics=metrics,
        intersection=report.intersection,
        **labels,
    )
    warnings = (*evaluation.warnings, *doubts)
    return _Scored(path, replace(evaluation, psds=psds, warnings=warnings), labels)


def _of_folder(
    truth: Truth,
    config: EvaluationConfig,
    psds: Mapping[str, Psds],
    warnings: Sequence[str],
) -> Evaluation:
    """Return the evaluation of a folder, which has no single event list."""
    n_clips = max((each.n_clips for each in psds.values()), default=0)
    return Evaluation(
        {},
        clip_source="event lists",
        config=config,
        n_clips=n_clips,
        n_durations=len(truth.durations or ()),
        n_matched_by_basename=0,
        classes_given=truth.classes is not None,
        warnings=tuple(warnings),
        psds=psds,
    )


def _with_statistics(
    found: _Scored,
    other: _Scored | None,
    report: ReportConfig,
    groups: dict[str, str] | None,
    progress: Progress | None,
) -> Evaluation:
    """Add intervals, and the difference to another system."""
    warnings = found.evaluation.warnings
    if other is not None:
        new = (text for text in other.evaluation.warnings if text not in warnings)
        warnings = (*warnings, *(f"{other.path}: {text}" for text in new))
        warnings = (*warnings, *_unequal(found, other))
    systems = found.system(), other.system() if other else None
    drawn = statistics(*systems, report, groups, progress)
    return replace(found.evaluation, statistics=drawn, warnings=warnings)


def _unequal(found: _Scored, other: _Scored) -> list[str]:
    """Say in what two systems were not scored alike."""
    mine, theirs = found.evaluation, other.evaluation
    doubts = []
    if "clip" in mine.scores and mine.clip_source != theirs.clip_source:
        doubts.append(
            f"clip scores are from {mine.clip_source} in {found.path} and from "
            f"{theirs.clip_source} in {other.path}, and so not comparable"
        )
    is_known = [each.labels.get("durations") is not None for each in (found, other)]
    if "segment" in {*mine.scores, *mine.error_rates} and len(set(is_known)) > 1:
        known, unknown = (found, other) if is_known[0] else (other, found)
        doubts.append(
            f"clips of {known.path} end with their known duration, those of {unknown.path} with "
            "their last event, so that segments are not comparable; give --durations"
        )
    return doubts


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
