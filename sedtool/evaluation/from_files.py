"""`evaluate_files`: label files, score files and audio in, an evaluation out."""

import contextlib
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from sedtool.atomic import claim, refuse_input, write_text
from sedtool.audio import find_audio, read_duration
from sedtool.config import EvaluationConfig
from sedtool.config.evaluation import (
    PSDS_SCENARIOS,
    EvaluateInputs,
    Limit,
    PsdsConfig,
    ReportConfig,
)
from sedtool.decoding import clip_tags, decode_clip
from sedtool.errors import ArtifactError, ConfigError, SameOutputError, ScoreError
from sedtool.evaluation.evaluate import Evaluation, evaluate
from sedtool.evaluation.pair import (
    UnlikeNamesError,
    match_names,
    suggested,
    warn_of_labels,
    warn_of_names,
)
from sedtool.evaluation.psds import Psds, psds_from_lists, psds_from_scores
from sedtool.evaluation.resampling import Progress, Resampled, statistics
from sedtool.labels import (
    Event,
    NameIndex,
    StrongLabels,
    Vocabulary,
    read_durations,
    read_events,
    read_groups,
    read_reference,
    read_vocabulary,
    read_weak,
)
from sedtool.labels.cells import table_rows
from sedtool.score_tables import TIMES, open_frame_scores, score_files
from sedtool.shards import Shard, has_part_record, read_part
from sedtool.store import clip_scores, is_hdf5, open_features, open_scores
from sedtool.text import first_five

log = logging.getLogger(__name__)
_REPORT = ReportConfig()


@dataclass(frozen=True)
class Estimated:
    """The output of a system."""

    events: StrongLabels
    classes: tuple[str, ...]
    tags: dict[str, tuple[str, ...]] | None = None
    durations: dict[str, float] | None = None

    def under(self, targets: Collection[str], where: str) -> "Estimated":
        """Return the same with the names that clips have in `targets`."""
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
    durations of its clips. Limits are checked by name only: see `check_limits`. An output that is
    there and the same is left alone.

    Raises
    ------
    ConfigError
        If a metric needs what the estimates do not have, or a limit is of a score that is not
        computed.
    ArtifactError
        If the estimates are one shard of several, or `report` is strict and there is a warning.
    """
    refuse_input(output, inputs.files)
    with contextlib.suppress(SameOutputError), claim(output, overwrite=overwrite):
        evaluation = _evaluate(inputs, config, report, progress)
        if output and not (report.strict and evaluation.warnings):
            write_text(output, evaluation.to_json())
        for warning in evaluation.warnings[report.strict :]:
            log.warning("%s", warning)
        if report.strict and evaluation.warnings:
            others = len(evaluation.warnings) - 1
            raise ArtifactError(
                f"{inputs.reference} and {inputs.estimated} do not fit (--strict): "
                f"{evaluation.warnings[0]}{f'; and {others} more, see above' * bool(others)}"
            )
    return evaluation


def _evaluate(
    inputs: EvaluateInputs,
    config: EvaluationConfig,
    report: ReportConfig,
    progress: Progress | None,
) -> Evaluation:
    has_list = inputs.has_list
    report.require_scores(has_list)
    is_resampled = report.bootstrap is not None or inputs.against is not None
    if inputs.groups is not None and not is_resampled:
        raise ConfigError("groups needs --bootstrap or --against: they are what is resampled")
    if is_resampled and not {*report.chosen(has_list), *report.scenarios(has_list)} - {"errors"}:
        raise ConfigError("metrics must name one that has intervals; errors has none")
    scorer = _Scorer(
        inputs,
        read_reference(inputs.reference, inputs.min_confidence),
        read_vocabulary(inputs.classes) if inputs.classes else None,
        _read_durations(inputs.durations) if inputs.durations else None,
        config,
        report,
    )
    evaluation = scorer.score(inputs.estimated, inputs.weak_estimated)
    if not is_resampled:
        return evaluation
    system, other = _resampled(evaluation, inputs.estimated), None
    if inputs.against is not None:
        against = scorer.score(inputs.against, None, system.clips)
        other = _resampled(against, inputs.against)
        evaluation = _with_warnings(evaluation, inputs.estimated, against, inputs.against)
    groups = read_groups(inputs.groups) if inputs.groups else None
    drawn = statistics(system, other, report, groups, progress)
    return replace(evaluation, statistics=drawn)


def _resampled(evaluation: Evaluation, path: Path) -> Resampled:
    return Resampled(str(path), evaluation.macro_scores, evaluation.measures)


@dataclass(frozen=True)
class _Scorer:
    """Scores one system or two against the same reference."""

    inputs: EvaluateInputs
    reference: StrongLabels
    vocabulary: Vocabulary | None  # the class list, if it was given
    durations: dict[str, float] | None  # those that were given
    config: EvaluationConfig
    report: ReportConfig

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Return the class list, if it was given."""
        return self.vocabulary.classes if self.vocabulary else None

    def score(
        self, path: Path, weak_estimated: Path | None, clips: Collection[str] = ()
    ) -> Evaluation:
        """Score a system's output; clips beyond the reference have their names in `clips`."""
        with said_of(self.inputs.reference, path):
            return self._score(path, weak_estimated, clips)

    def _score(self, path: Path, weak_estimated: Path | None, clips: Collection[str]) -> Evaluation:
        chosen = self.report.chosen(self.inputs.has_list)
        metrics = [name for name in chosen if name not in PSDS_SCENARIOS]
        if metrics and path.is_dir():
            raise ConfigError(
                f"metrics {metrics[0]} needs an event list or a scores.h5; {path} is a folder, of "
                "which PSDS can be computed"
            )
        psds, warnings = self._score_psds(path, clips)
        if path.is_dir():  # which has no single event list
            return Evaluation(
                self.config,
                classes_given=self.vocabulary is not None,
                warnings=tuple(warnings),
                n_clips=max((len(each.counts.clips) for each in psds.values()), default=0),
                n_durations=len(self.durations or ()),
                psds=psds,
            )
        evaluation = self._score_list(path, weak_estimated, clips, metrics)
        return replace(evaluation, psds=psds, warnings=(*evaluation.warnings, *warnings))

    def _score_list(
        self,
        path: Path,
        weak_estimated: Path | None,
        clips: Collection[str],
        metrics: Sequence[str],
    ) -> Evaluation:
        """Score an event list, or a scores file with its clip predictions."""
        estimated = read_estimated(path, self.inputs.partial)
        if clips:
            estimated = estimated.under({*self.reference.names, *clips}, str(path))
        vocabulary = self.vocabulary or _told_apart({*self.reference.classes, *estimated.classes})
        weak = self.inputs.weak_reference
        return evaluate(
            self.reference,
            estimated.events,
            self.config,
            classes=self.classes,
            durations=estimated.durations if self.durations is None else self.durations,
            weak_reference=read_weak(weak, vocabulary) if weak else None,
            weak_estimated=(
                read_weak(weak_estimated, vocabulary) if weak_estimated else estimated.tags
            ),
            metrics=metrics,
            intersection=self.report.intersection,
        )

    def _score_psds(self, path: Path, clips: Collection[str]) -> tuple[dict[str, Psds], list[str]]:
        """Return the PSDS of each scenario, and warnings.

        The header of the first file in a folder tells whether they are score tables, one a clip, or
        event lists, one a threshold.
        """
        scenarios = self.report.scenarios(self.inputs.has_list)
        if not scenarios:
            return {}, []
        configs = list(scenarios.values())
        targets = dict.fromkeys((*self.reference.names, *clips))
        durations = self.durations
        if durations is not None:  # every clip of them counts, under the name that it has
            names = match_names(durations, targets, "durations")
            if targets and durations and targets.keys().isdisjoint(names.values()):
                listed = NameIndex(durations).listed(targets)
                raise UnlikeNamesError(f"no clip of the reference has a duration: {listed}")
            durations = {names[name]: seconds for name, seconds in durations.items()}
            targets |= dict.fromkeys(durations)
        if path.is_dir() and not _has_score_tables(path):
            if durations is None:
                raise ConfigError(f"durations are needed with event lists such as those in {path}")
            found, warnings = self._psds_of_lists(path, configs, targets, durations)
        elif path.is_dir() or is_hdf5(path):
            found, warnings = self._psds_of_scores(path, configs, targets, durations)
        else:
            raise ConfigError(
                f"metrics {next(iter(scenarios))} needs scores, not one event list such as {path}: "
                "give a scores.h5, a folder of score files, or one of event lists at many "
                "thresholds"
            )
        return dict(zip(scenarios, found, strict=True)), warnings

    def _psds_of_scores(
        self,
        path: Path,
        configs: Sequence[PsdsConfig],
        targets: Iterable[str],
        durations: Mapping[str, float] | None,
    ) -> tuple[list[Psds], list[str]]:
        source = open_frame_scores(path)
        names = match_names(source.names, targets, str(path))
        warnings = warn_of_names("scores", self.reference.names, names.values())
        if not path.is_dir():  # of which the event lists say the same
            warnings = []
        if durations is None and source.durations is not None:
            durations = {names[name]: seconds for name, seconds in source.durations.items()}
        found = psds_from_scores(
            self.reference,
            source.clips(names),
            source.classes,
            configs,
            classes=self.classes,
            durations=durations,
        )
        if missing := found[0].unscored:
            labels = first_five(suggested(missing, source.classes))
            warnings.append(f"classes without scores ({len(missing)}), whose PSDS is 0: {labels}")
        return found, warnings

    def _psds_of_lists(
        self,
        path: Path,
        configs: Sequence[PsdsConfig],
        targets: Iterable[str],
        durations: Mapping[str, float],
    ) -> tuple[list[Psds], list[str]]:
        names: set[str] = set()
        labels: set[str] = set()
        late: dict[str, float] = {}  # how far events reach past the ends of their clips

        def lists() -> Iterator[StrongLabels]:
            for file in score_files(path):
                listed = read_events(file)
                listed = listed.renamed(match_names(listed.names, targets, str(file)))
                names.update(listed.names)
                labels.update(listed.classes)
                for name, end in zip(listed.columns.name, listed.columns.offset, strict=True):
                    if end > durations.get(name, end):
                        late[name] = max(late.get(name, 0.0), end - durations[name])
                yield listed

        reference = self.reference
        found = psds_from_lists(
            reference, lists(), configs, classes=self.classes, durations=durations
        )
        warnings = warn_of_names("lists", reference.names, names)
        listed = reference.classes if self.classes is None else self.classes
        warnings += warn_of_labels([(reference.classes, labels)], listed, "")
        if late:
            warnings.append(
                f"clips in which estimated events end after the clip ({len(late)}), by up to "
                f"{max(late.values()):.3f} s, such as {min(late)}"
            )
        return found, warnings


@contextlib.contextmanager
def said_of(reference: Path, estimated: Path) -> Iterator[None]:
    """Say in which files the names are that do not fit, and what mends them."""
    try:
        yield
    except UnlikeNamesError as error:
        line = (
            f"sedtool convert {quote(str(reference))} --audio-suffix {error.suffix} -o RENAMED.tsv"
        )
        remedy = f"; `{line}` gives the reference that suffix" * bool(error.suffix)
        raise ArtifactError(f"{reference} and {estimated} do not fit: {error}{remedy}") from None


def _with_warnings(
    evaluation: Evaluation, path: Path, other: Evaluation, against: Path
) -> Evaluation:
    """Add the warnings of another system, and one for whatever the two are not scored alike in."""
    new = (text for text in other.warnings if text not in evaluation.warnings)
    warnings = [*evaluation.warnings, *(f"{against}: {text}" for text in new)]
    if "clip" in evaluation.scores and evaluation.clip_source != other.clip_source:
        warnings.append(
            f"clip scores are from {evaluation.clip_source} in {path} and from "
            f"{other.clip_source} in {against}, and so not comparable"
        )
    with_segments = "segment" in {*evaluation.scores, *evaluation.error_rates}
    if with_segments and bool(evaluation.n_durations) != bool(other.n_durations):
        timed, untimed = (path, against) if evaluation.n_durations else (against, path)
        warnings.append(
            f"clips of {timed} end with their known duration, those of {untimed} with "
            "their last event, so that segments are not comparable; give --durations"
        )
    return replace(evaluation, warnings=tuple(warnings))


def _told_apart(classes: set[str]) -> Vocabulary | None:
    """Return the class list that weak labels need if a class has a comma in its name.

    Tags may name classes that neither list of events has; only ``--classes`` can help then.
    """
    return Vocabulary(sorted(classes)) if any("," in label for label in classes) else None


def _has_score_tables(folder: Path) -> bool:
    """Return whether the files of a folder are score tables, and not event lists."""
    first = next(table_rows(score_files(folder)[0]), ("", []))[1]
    if len(first) == 1 and first[0].startswith(TIMES[0]):
        return True  # not parted by tabs, which its reader says
    return tuple(first[:2]) == TIMES and "filename" not in first


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


def check_limits(limits: Iterable[Limit], scores: Mapping[str, float]) -> None:
    """Raise a ScoreError that names every score below its limit; an undefined one is below any."""
    low = []
    for name, least in limits:
        value = scores[name]
        if math.isnan(value):
            low.append(f"{name} is undefined, not {least:g} or more")
        elif value < least:
            low.append(f"{name} is {value:.12g}, less than {least:.12g}")
    if low:
        raise ScoreError(f"{'; '.join(low)} (--fail-under)")
