"""`evaluate`: labels of both sides in, every metric that is asked for out."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain

from sedtool.config import EvaluationConfig, lookup
from sedtool.config.evaluation import METRICS, PSDS_SCENARIOS, IntersectionConfig
from sedtool.evaluation.analysis import count_kinds
from sedtool.evaluation.clips import count_clips
from sedtool.evaluation.counts import Counts, score
from sedtool.evaluation.error_rates import count_event_errors, count_segment_errors, rate_errors
from sedtool.evaluation.events import count_events, count_onsets
from sedtool.evaluation.intersection import count_intersection
from sedtool.evaluation.mismatches import (
    match_names,
    warn_of_durations,
    warn_of_inexact_names,
    warn_of_labels,
    warn_of_names,
    warn_of_overlaps,
)
from sedtool.evaluation.pair import LabelInput, TagSides, as_labels, number_sides
from sedtool.evaluation.report import Evaluation
from sedtool.evaluation.segments import count_segments
from sedtool.labels import NameIndex, StrongLabels

__all__ = ["evaluate"]

_SHARES = IntersectionConfig()
_NAMES = [name for name in METRICS if name not in PSDS_SCENARIOS]
_COUNTS: dict[str, Callable[..., Counts]] = {
    "event": count_events,
    "segment": count_segments,
    "clip": count_clips,
    "onset": count_onsets,
    "intersection": count_intersection,
}
Tags = Mapping[str, Iterable[str]]  # labels by clip


def evaluate(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    *,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
    weak_reference: Tags | None = None,
    weak_estimated: Tags | None = None,
    metrics: Iterable[str] = ("event", "segment", "clip"),
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
    sides = as_labels(reference), as_labels(estimated)
    tags, tag_names = _tags(sides, weak_reference, weak_estimated, config.compat)
    sides, names = _under_reference_names(sides)
    names |= tag_names
    clips = dict.fromkeys((*sides[0].names, *sides[1].names))
    seconds = _durations_of(clips, durations)
    pair = number_sides(*sides, classes, config.compat, seconds, tags)
    configs = dict.fromkeys(_COUNTS, config) | {"intersection": intersection}
    counts = {name: _COUNTS[name](pair, configs[name]) for name in metrics if name in _COUNTS}
    errors = {}
    if "error-rate" in metrics:
        errors["event"] = count_event_errors(pair, config)
        errors["segment"] = count_segment_errors(pair, config)
    inexact = {name: clip for name, clip in names.items() if name != clip}
    warnings = warn_of_inexact_names(inexact)
    compared = sides if tags is None or set(metrics) - {"clip"} else None
    warnings += _warnings(compared, tags, classes, config.compat) + warn_of_overlaps(pair)
    if durations is not None:
        warnings += warn_of_durations(*sides, seconds)
    return Evaluation(
        {name: score(each) for name, each in counts.items()},
        clip_source="event lists" if weak_estimated is None else "clip predictions",
        config=config,
        n_clips=len(clips),
        n_durations=len(seconds),
        n_matched_by_basename=len(inexact),
        classes_given=classes is not None,
        warnings=tuple(warnings),
        intersection=intersection,
        error_rates={name: rate_errors(*each) for name, each in errors.items()},
        errors=count_kinds(pair, config) if "errors" in metrics else None,
        clips=pair.clips,
        counts=counts,
        error_counts={name: each[0] for name, each in errors.items()},
    )


def _under_reference_names(
    sides: tuple[StrongLabels, StrongLabels],
) -> tuple[tuple[StrongLabels, StrongLabels], dict[str, str]]:
    """Return the estimates with the clip names of the reference, and what each name means."""
    reference, estimated = sides
    names = match_names(estimated.names, reference.names, "estimated events")
    return (reference, estimated.renamed(names)), names


def _tags(
    sides: tuple[StrongLabels, StrongLabels],
    weak_reference: Tags | None,
    weak_estimated: Tags | None,
    compat: str,
) -> tuple[TagSides | None, dict[str, str]]:
    """Return the labels of clips under the names of the reference, and what each name means.

    Without any, clips have the labels of their events, which needs no such detour.
    """
    if weak_reference is None and weak_estimated is None:
        return None, {}
    reference = _tags_of(sides[0], compat) if weak_reference is None else weak_reference
    estimated = _tags_of(sides[1], compat) if weak_estimated is None else weak_estimated
    names = match_names(estimated, reference, "estimated clip labels")
    return (reference, {names[name]: labels for name, labels in estimated.items()}), names


def _tags_of(labels: StrongLabels, compat: str) -> dict[str, tuple[str, ...]]:
    """Return the labels of each clip; with compat ``"dcase"`` zero-length events count too."""
    if compat != "dcase":
        return labels.weak()
    tags: dict[str, set[str]] = {name: set() for name in labels.names}
    for name, label in zip(labels.columns.name, labels.columns.label, strict=True):
        tags[name].add(label)
    return {name: tuple(sorted(found)) for name, found in tags.items()}


def _durations_of(clips: Iterable[str], durations: Mapping[str, float] | None) -> dict[str, float]:
    """Return the durations under the names of the clips that have one."""
    if not durations:
        return {}
    clips = list(clips)
    if durations.keys() >= set(clips):
        return {clip: durations[clip] for clip in clips}
    found, _ = NameIndex(durations).resolve(clips, "durations")
    return {clip: durations[name] for clip, name in found.items()}


def _warnings(
    events: tuple[StrongLabels, StrongLabels] | None,
    tags: TagSides | None,
    classes: tuple[str, ...] | None,
    compat: str,
) -> list[str]:
    """Return what is to be said of names and labels that one side alone has."""
    warnings: list[str] = []
    labels: list[tuple[Iterable[str], Iterable[str]]] = []
    if events is not None:
        warnings += warn_of_names("events", *(side.names for side in events))
        labels.append((events[0].classes, events[1].classes))
    if tags is not None:
        warnings += warn_of_names("clip labels", *tags)
        labels.append((chain(*tags[0].values()), chain(*tags[1].values())))
    return warnings + warn_of_labels(labels, classes, compat)
