"""Labels of both sides in; one metric out, or all that are asked for.

The functions share their parameters. `reference` and `estimated` are events in any order; `classes`
are the only ones to score, by default those of the reference; of `config`, a metric uses what it
needs; `durations` are seconds, by clip name, and a clip that is not named there is as long as its
last event. Clip names of the two sides are compared as they are, but for `evaluate`, which matches
them. A LabelError is raised if an event or a duration has impossible times.
"""

from collections.abc import Callable, Iterable, Mapping

from sedtool.config import EvaluationConfig, lookup
from sedtool.config.evaluation import METRICS, PSDS_SCENARIOS, USUAL, IntersectionConfig
from sedtool.evaluation.analysis import ErrorAnalysis, count_kinds
from sedtool.evaluation.clips import count_clips
from sedtool.evaluation.counts import Counts, MetricScores, score
from sedtool.evaluation.error_rates import (
    ErrorRates,
    count_event_errors,
    count_segment_errors,
    rate_errors,
)
from sedtool.evaluation.events import count_events, count_onsets
from sedtool.evaluation.intersection import count_intersection
from sedtool.evaluation.pair import LabelInput, Tags, match_sides, pair_up, warnings_of
from sedtool.evaluation.report import Evaluation
from sedtool.evaluation.segments import count_segments

_DEFAULT = EvaluationConfig()
_SHARES = IntersectionConfig()
_NAMES = [name for name in METRICS if name not in PSDS_SCENARIOS]
_COUNTS: dict[str, Callable[..., Counts]] = {
    "event": count_events,
    "segment": count_segments,
    "clip": count_clips,
    "onset": count_onsets,
    "intersection": count_intersection,
}
_ERRORS = {"event": count_event_errors, "segment": count_segment_errors}


def evaluate(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    *,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
    weak_reference: Tags | None = None,
    weak_estimated: Tags | None = None,
    metrics: Iterable[str] = USUAL,
    intersection: IntersectionConfig = _SHARES,
) -> Evaluation:
    """Match clip names and compute metrics.

    Parameters
    ----------
    weak_reference, weak_estimated
        Labels by clip name, for the clip metric. Without them it uses the labels of the events,
        which measures the events' thresholds more than the system's judgement of clips.
    metrics
        Of ``event``, ``segment``, ``clip``, ``onset`` and ``intersection``, in the order of the
        result; and ``error-rate``, ``errors``.
    intersection
        The shares of ``intersection``.

    Returns
    -------
    Evaluation
        With a warning for every clip and label without a partner.

    Raises
    ------
    LabelError
        If a time is impossible, or a clip name is ambiguous.
    ConfigError
        If there is no such metric.
    """
    metrics = tuple(metrics)
    for name in metrics:
        lookup(dict.fromkeys(_NAMES), name, "metric")
    classes = None if classes is None else tuple(classes)
    tags = weak_reference, weak_estimated
    sides = match_sides(reference, estimated, tags, durations, config.compat)
    pair = pair_up(
        sides.reference, sides.estimated, classes, config.compat, sides.durations, sides.tags
    )
    configs = dict.fromkeys(_COUNTS, config) | {"intersection": intersection}
    counts = {name: _COUNTS[name](pair, configs[name]) for name in metrics if name in _COUNTS}
    errors = {k: count(pair, config) for k, count in _ERRORS.items() if "error-rate" in metrics}
    tags_only = sides.tags is not None and set(metrics) == {"clip"}
    return Evaluation(
        pair.clips,
        counts,
        clip_source="event lists" if weak_estimated is None else "clip predictions",
        config=config,
        n_clips=len(sides.clips),
        n_durations=len(sides.durations or ()),
        n_matched_by_basename=len(sides.inexact),
        classes_given=classes is not None,
        warnings=tuple(warnings_of(sides, pair, classes, config.compat, tags_only)),
        intersection=intersection,
        error_counts=errors,
        errors=count_kinds(pair, config) if "errors" in metrics else None,
    )


def evaluate_events(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
) -> MetricScores:
    """Score events by their onsets and offsets."""
    return score(count_events(pair_up(reference, estimated, classes, config.compat), config))


def evaluate_onsets(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
) -> MetricScores:
    """Score events by their onsets alone, as sed_eval does with ``evaluate_offset=False``."""
    return score(count_onsets(pair_up(reference, estimated, classes, config.compat), config))


def evaluate_segments(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
) -> MetricScores:
    """Score the activity of each class in segments of equal length."""
    pair = pair_up(reference, estimated, classes, config.compat, durations)
    return score(count_segments(pair, config))


def evaluate_clips(
    reference_weak: Tags,
    estimated_weak: Tags,
    classes: Iterable[str] | None = None,
    config: EvaluationConfig = _DEFAULT,
) -> MetricScores:
    """Score the labels of clips, by clip name; a clip missing on one side has none there."""
    tags = reference_weak, estimated_weak
    return score(count_clips(pair_up([], [], classes, config.compat, tags=tags), config))


def evaluate_intersection(
    reference: LabelInput,
    estimated: LabelInput,
    config: IntersectionConfig,
    classes: Iterable[str] | None = None,
) -> MetricScores:
    """Score events, joined where they overlap, by how much of them the other side covers."""
    return score(count_intersection(pair_up(reference, estimated, classes), config))


def event_errors(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
    onset_only: bool = False,
) -> ErrorRates:
    """Count the errors of events; with `onset_only`, offsets are not looked at."""
    pair = pair_up(reference, estimated, classes, config.compat)
    return rate_errors(*count_event_errors(pair, config, onset_only))


def segment_errors(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
) -> ErrorRates:
    """Count the errors of segments."""
    pair = pair_up(reference, estimated, classes, config.compat, durations)
    return rate_errors(*count_segment_errors(pair, config))


def analyse_errors(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
) -> ErrorAnalysis:
    """Say of every event what is right or wrong with it; see `sedtool.evaluation.analysis`."""
    return count_kinds(pair_up(reference, estimated, classes, config.compat), config)
