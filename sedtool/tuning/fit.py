"""Scores + labels -> thresholds and median filter lengths, on arrays.

Axis letters: N clips, T frames, K classes.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from sedtool.config import DecodingConfig, EvaluationConfig, TuneConfig
from sedtool.decoding import find_spans, median_frames
from sedtool.evaluation import EventArrays, event_counts
from sedtool.labels import StrongLabels
from sedtool.store import ClipScores


def best_clip_thresholds(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the threshold of each class that maximises its clip F1, and that F1.

    Macro F1 separates by class, so this is exact: every cut between two neighbouring distinct
    scores is tried, and the threshold lies midway. Where several cuts are equally good the lowest
    threshold wins, since a clip gate that is too high loses events that nothing can bring back.

    Parameters
    ----------
    scores
        Clip probabilities, shape (N, K).
    targets
        Weak labels, 0 or 1, shape (N, K).

    Returns
    -------
    tuple of numpy.ndarray
        Thresholds (K,), 0.5 for a class without a positive, and F1 (K,), NaN for such a class.
    """
    n_classes = scores.shape[1]
    thresholds, f1 = np.full(n_classes, DecodingConfig.threshold), np.full(n_classes, np.nan)
    for k in range(n_classes):
        n_positive = targets[:, k].sum()
        if not n_positive:
            continue
        order = np.argsort(-scores[:, k], kind="stable")
        ranked = scores[order, k].astype(np.float64)
        hits = np.cumsum(targets[order, k])
        tagged = np.arange(1, len(ranked) + 1)
        below = np.append(ranked[1:], 0.0)
        cut_f1 = np.where(ranked > below, 2 * hits / (tagged + n_positive), 0.0)
        best = len(cut_f1) - 1 - int(np.argmax(cut_f1[::-1]))
        thresholds[k], f1[k] = _between(below[best], ranked[best]), cut_f1[best]
    return thresholds, f1


def _between(lower: float, upper: float) -> float:
    """Return a threshold that, as float32, is below `upper` and not below `lower`."""
    middle = np.float32((lower + upper) / 2)
    return float(middle) if middle < np.float32(upper) else float(lower)


def clip_f1(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return macro clip F1 at each class's best threshold, over the classes with a positive."""
    return macro(best_clip_thresholds(scores, targets)[1])


def macro(values: np.ndarray) -> float:
    """Return the mean over classes (K,), without those of NaN; 0 if all are."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def tune_clips(
    scores: np.ndarray, targets: np.ndarray, decoding: DecodingConfig
) -> tuple[DecodingConfig, np.ndarray]:
    """Fit clip thresholds; return the settings and the F1 of each class (K,).

    Frames use the same thresholds until strong labels say better, as in the system that the
    power-pooling paper's DCASE 2017 experiment builds on.
    """
    fitted, f1 = best_clip_thresholds(scores, targets)
    thresholds = tuple(float(value) for value in fitted)
    return dataclasses.replace(decoding, clip_thresholds=thresholds, thresholds=thresholds), f1


def lengths_from_durations(
    labels: StrongLabels, classes: Sequence[str], decoding: DecodingConfig, config: TuneConfig
) -> tuple[DecodingConfig, list[str]]:
    """Set each class's median filter length to a share of its mean event duration.

    Returns
    -------
    tuple of DecodingConfig and list of str
        The settings, and the classes without an event, whose length stays as it was.
    """
    durations = labels.mean_durations()
    lengths = tuple(
        config.duration_ratio * durations[label] if label in durations else length
        for label, length in zip(classes, decoding.windows, strict=True)
    )
    without = [label for label in classes if label not in durations]
    return dataclasses.replace(decoding, windows=lengths), without


def tune_events(
    scores: Sequence[ClipScores],
    reference: StrongLabels,
    classes: tuple[str, ...],
    frame_rate: float,
    decoding: DecodingConfig,
    config: TuneConfig,
) -> tuple[DecodingConfig, np.ndarray]:
    """Fit frame thresholds and median filter lengths: each class's best event F1 on a grid.

    Clip thresholds, minimum duration and gap stay as they are. Of equally good settings the shorter
    length wins, then the threshold nearer to 0.5.

    Parameters
    ----------
    scores, reference
        Of the same clips, by name.
    classes, frame_rate
        As for `decode_clip`.
    decoding
        Where to start.
    config
        The grid; if it has no lengths, they stay as they are.

    Returns
    -------
    tuple of DecodingConfig and numpy.ndarray
        The settings and the event F1 of each class (K,), NaN for a class without a reference event.
    """
    number = {clip.name: i for i, clip in enumerate(scores)}
    references = [_reference(reference, label, number) for label in classes]
    groups = _equally_long(scores)
    best_f1 = np.full(len(classes), -1.0)
    thresholds, lengths = list(decoding.thresholds), list(decoding.windows)
    trials = [(length,) * len(classes) for length in _distinct(config.windows, frame_rate)]
    grid = itertools.product(
        trials or [decoding.windows], sorted(config.thresholds, key=lambda t: abs(t - 0.5))
    )
    for trial, threshold in grid:
        uniform = dataclasses.replace(
            decoding, thresholds=(threshold,) * len(classes), windows=trial
        )
        estimates = _estimate(groups, len(classes), frame_rate, uniform)
        for k, (of_class, estimated) in enumerate(zip(references, estimates, strict=True)):
            f1 = _event_f1(of_class, estimated)
            if f1 > best_f1[k]:
                best_f1[k], thresholds[k], lengths[k] = f1, threshold, trial[k]
    tuned = dataclasses.replace(decoding, thresholds=tuple(thresholds), windows=tuple(lengths))
    return tuned, np.where(best_f1 < 0, np.nan, best_f1)


def _distinct(lengths: Sequence[float], frame_rate: float) -> list[float]:
    """Return median filter lengths, in seconds, as the odd numbers of frames they really are."""
    frames = sorted({median_frames(seconds, frame_rate) for seconds in lengths})
    return [n / frame_rate if n > 1 else 0.0 for n in frames]


def _reference(labels: StrongLabels, label: str, number: Mapping[str, int]) -> EventArrays:
    """Return the reference events of one class, by clip number."""
    events = [event for event in labels.events if event.label == label]
    return EventArrays(
        np.array([number[event.name] for event in events], np.int64),
        np.array([event.onset for event in events], np.float64),
        np.array([event.offset for event in events], np.float64),
    )


def _equally_long(scores: Sequence[ClipScores]) -> list[tuple[np.ndarray, list[ClipScores]]]:
    """Return clips with equally many frames together, with their numbers, to decode in one go."""
    groups: dict[int, list[int]] = {}
    for i, clip in enumerate(scores):
        groups.setdefault(len(clip.frame), []).append(i)
    return [(np.array(group), [scores[i] for i in group]) for group in groups.values()]


def _estimate(
    groups: list[tuple[np.ndarray, list[ClipScores]]],
    n_classes: int,
    frame_rate: float,
    decoding: DecodingConfig,
) -> list[EventArrays]:
    """Decode all clips; return the events of each class, by clip number."""
    decoded = [(numbers, find_spans(clips, frame_rate, decoding)) for numbers, clips in groups]
    clip = np.concatenate([numbers[spans.column // n_classes] for numbers, spans in decoded])
    label = np.concatenate([spans.column % n_classes for _, spans in decoded])
    onset = np.concatenate([spans.onset for _, spans in decoded])
    offset = np.concatenate([spans.offset for _, spans in decoded])
    of_class = (label == k for k in range(n_classes))
    return [EventArrays(clip[rows], onset[rows], offset[rows]) for rows in of_class]


def _event_f1(reference: EventArrays, estimated: EventArrays) -> float:
    """Return F1 with the default tolerances of `evaluate`; -1 without a reference event."""
    n_reference, n_estimated = len(reference.onset), len(estimated.onset)
    if not n_reference:
        return -1.0
    return 2 * event_counts(reference, estimated, EvaluationConfig()) / (n_reference + n_estimated)
