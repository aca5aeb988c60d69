"""`evaluate`: labels of both sides in, every metric that is asked for out."""

from collections.abc import Callable, Iterable, Mapping

from sedtool.config import EvaluationConfig, lookup
from sedtool.config.evaluation import METRICS, PSDS_SCENARIOS, USUAL, IntersectionConfig
from sedtool.evaluation.analysis import count_kinds
from sedtool.evaluation.clips import count_clips
from sedtool.evaluation.counts import Counts
from sedtool.evaluation.error_rates import count_event_errors, count_segment_errors
from sedtool.evaluation.events import count_events, count_onsets
from sedtool.evaluation.intersection import count_intersection
from sedtool.evaluation.pair import LabelInput, Tags, pair_up
from sedtool.evaluation.report import Evaluation
from sedtool.evaluation.segments import count_segments
from sedtool.evaluation.sides import match_sides, warnings_of

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
    """Match clip names and compute metrics: by default event, segment and clip.

    Parameters
    ----------
    reference, estimated
        Events in any order.
    config
        Tolerances, engine, conventions.
    classes
        The only classes to score; by default those of the reference.
    durations
        Seconds, by clip name; see `evaluate_segments`.
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
        If an event or a duration has impossible times, or a clip name is ambiguous.
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
