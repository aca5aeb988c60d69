"""Scores and labels -> the thresholds and median filter lengths that suit them best, or the boxes.

Axis letters: N clips, T frames, K classes, S settings that are tried, F folds of the clips.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedtool.boxes import BoxSettings, box_scores
from sedtool.config import DecodingConfig, EvaluationConfig, TuneConfig
from sedtool.decoding import find_spans, median_frames
from sedtool.draws import generator
from sedtool.evaluation import EventArrays, largest_matching
from sedtool.labels import Event, StrongLabels
from sedtool.store import ClipScores

N_FOLDS = 5  # of the clips, for scores of settings that were not fitted to them

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Groups = list[tuple[IntArray, list[ClipScores]]]  # clips with equally many frames, with numbers


def best_clip_thresholds(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the threshold of each class that maximises its clip F1, and that F1, both (K,).

    Scores are clip probabilities, targets weak labels of 0 or 1, both of shape (N, K); a class
    without a positive gets 0.5 and NaN. Macro F1 separates by class, so this is exact: every cut
    between two neighbouring distinct scores is tried, and the threshold lies midway. Where several
    cuts are equally good the lowest threshold wins, since a clip gate that is too high loses events
    that nothing can bring back.
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


def untuned_decoding(
    events: Iterable[Event], classes: Sequence[str], frame_rate: float
) -> DecodingConfig:
    """Return the decoding settings of a model before it is tuned.

    They are the same for every class, but that no median filter is so long that it erases the
    shortest labelled event of its class: an event of n frames outlives a filter of 2n - 1.
    """
    shortest: dict[str, float] = {}
    for event in events:
        if event.offset > event.onset:
            length = event.offset - event.onset
            shortest[event.label] = min(length, shortest.get(event.label, length))

    def longest(label: str) -> float:
        n_frames = max(int(shortest[label] * frame_rate), 1)
        return (2 * n_frames - 1) / frame_rate if n_frames > 1 else 0.0

    default = DecodingConfig.default(len(classes))
    lengths = [
        min(longest(label), length) if label in shortest else length
        for label, length in zip(classes, default.windows, strict=True)
    ]
    return dataclasses.replace(default, windows=tuple(lengths))


def lengths_from_durations(
    labels: StrongLabels, classes: Sequence[str], decoding: DecodingConfig, config: TuneConfig
) -> tuple[DecodingConfig, list[str]]:
    """Set each class's median filter length to a share of its mean event duration.

    The classes without an event, whose length stays as it was, are returned, too.
    """
    durations = labels.mean_durations()
    lengths = tuple(
        config.duration_ratio * durations[label] if label in durations else length
        for label, length in zip(classes, decoding.windows, strict=True)
    )
    without = [label for label in classes if label not in durations]
    return dataclasses.replace(decoding, windows=lengths, boxes=()), without


class FittedEvents(NamedTuple):
    """Settings of decoding, and the event F1 of each class (K,), NaN without a reference event."""

    decoding: DecodingConfig
    f1: FloatArray  # on the clips that they were fitted to, which flatters
    held_out: FloatArray  # of each fold of the clips, with what was fitted to the others


def lengths_that_leave_events(
    scores: Sequence[ClipScores],
    targets: np.ndarray,
    frame_rate: float,
    decoding: DecodingConfig,
    config: TuneConfig,
) -> DecodingConfig:
    """Shorten the median filters that leave no event in clips that have the class.

    Weak labels do not say how long events are, but that there is one. Of the grid of `config`, each
    class gets the longest filter, of those no longer than its own, that leaves an event in nine of
    ten clips with the class in which there is one without a filter. `targets` are the weak labels
    of the clips (N, K).
    """
    groups, own = _equally_long(scores), np.array(decoding.windows)
    lengths, least = np.zeros(len(own)), np.zeros(len(own))
    for length in sorted({0.0, *_distinct(config.windows, frame_rate), *decoding.windows}):
        uniform = dataclasses.replace(decoding, windows=(length,) * len(own))
        estimates = _estimate(groups, frame_rate, uniform)
        left = np.array([targets[np.unique(e.clip), k].sum() for k, e in enumerate(estimates)])
        least = least if length else 0.9 * left
        lengths[(length <= own) & (left >= least)] = length
    return dataclasses.replace(decoding, windows=tuple(lengths.tolist()))


def tune_events(
    scores: Sequence[ClipScores],
    reference: StrongLabels,
    classes: tuple[str, ...],
    frame_rate: float,
    decoding: DecodingConfig,
    config: TuneConfig,
) -> FittedEvents:
    """Fit how events are decoded: each class's best event F1 on a grid.

    These are thresholds and median filter lengths, or settings of boxes, by `config.decoder`. With
    "auto" a class has boxes if they are better on clips that they were not fitted to: in total, and
    in all folds but one. Clip thresholds, minimum duration and gap stay as they are.

    A threshold is as good as it and its neighbours on the grid count together, weighted by
    `config.smoothing`: a peak of F1 at a single threshold is chance, and a level stretch is not. Of
    equally good settings the shorter length wins, then the threshold nearer to 0.5. The clips of
    scores and reference are the same.
    """
    grids = _grids(decoding, config, frame_rate)
    clips = _Clips(scores, reference, classes, frame_rate, config)
    searches = {kind: clips.search(grid, config) for kind, grid in grids.items()}
    chosen = [next(iter(searches.values()))] * len(classes)
    if config.decoder == "auto":
        median, boxes = searches.values()
        chosen = [boxes if better else median for better in boxes.is_surely_better(median)]
    best = [each.grid[each.best[k]] for k, each in enumerate(chosen)]
    f1 = np.array([each.f1[k] for k, each in enumerate(chosen)])
    held_out = np.array([_f1(each.held_out[k].sum(axis=0)) for k, each in enumerate(chosen)])
    # What has no reference event stays as it is.
    best = [decoding if np.isnan(f1[k]) else settings for k, settings in enumerate(best)]
    of_classes = tuple(each.boxes[k] if each.boxes else () for k, each in enumerate(best))
    fitted = dataclasses.replace(
        decoding,
        thresholds=tuple(settings.thresholds[k] for k, settings in enumerate(best)),
        windows=tuple(settings.windows[k] for k, settings in enumerate(best)),
        boxes=of_classes if any(of_classes) else (),
    )
    return FittedEvents(fitted, f1, held_out)


def _grids(
    decoding: DecodingConfig, config: TuneConfig, frame_rate: float
) -> dict[str, list[DecodingConfig]]:
    """Return the settings to try, the same for every class, of each kind of decoder.

    All thresholds follow each other, from the lowest on.
    """
    n_classes = len(decoding.thresholds)
    none = (0.0,) * n_classes
    lengths = [(length,) * n_classes for length in _distinct(config.windows, frame_rate)]
    boxes = itertools.product(config.box_steps, config.box_absolutes, config.box_relatives)
    kinds: dict[str, list[tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]]] = {
        "median": [(length, ()) for length in lengths or [decoding.windows]],
        "boxes": [(none, (box,) * n_classes) for box in boxes],
    }
    return {
        kind: [
            dataclasses.replace(
                decoding, windows=windows, boxes=box, thresholds=(threshold,) * n_classes
            )
            for windows, box in how
            for threshold in sorted(config.thresholds)
        ]
        for kind, how in kinds.items()
        if config.decoder in (kind, "auto")
    }


@dataclass(frozen=True, eq=False)
class _Search:
    """What each of S settings counts in each of F folds of the clips."""

    grid: list[DecodingConfig]  # S: all thresholds, from the lowest on, with each length or box
    counts: IntArray  # (S, K, F, 3): true positives, references, estimates
    config: TuneConfig

    @cached_property
    def best(self) -> IntArray:
        """Return the place of the best settings of each class, (K,)."""
        return self._best(self.counts.sum(axis=2))

    @cached_property
    def f1(self) -> FloatArray:
        """Return the F1 of each class with its best settings, (K,), NaN without a reference."""
        return _f1(self.counts.sum(axis=2)[self.best, np.arange(len(self.best))])

    @cached_property
    def held_out(self) -> IntArray:
        """Return what each fold counts with the settings that are best in the others, (K, F, 3)."""
        n_classes, n_folds = self.counts.shape[1:3]
        total, every = self.counts.sum(axis=2), np.arange(n_classes)
        folds = [self.counts[:, :, fold] for fold in range(n_folds)]
        return np.stack([fold[self._best(total - fold), every] for fold in folds], axis=1)

    def is_surely_better(self, other: "_Search") -> NDArray[np.bool_]:
        """Return for which classes it is better where it was not fitted, (K,)."""
        in_total = _f1(self.held_out.sum(axis=1)) > _f1(other.held_out.sum(axis=1))
        in_folds = _f1(self.held_out) > _f1(other.held_out)
        surely: NDArray[np.bool_] = in_total & (in_folds.sum(axis=1) >= N_FOLDS - 1)
        return surely

    def _best(self, counts: IntArray) -> IntArray:
        """Return the place of the best settings of each class, (K,), of counts (S, K, 3)."""
        thresholds, weights = np.sort(self.config.thresholds), self.config.smoothing
        n, reach = len(thresholds), len(weights) // 2
        by_threshold = counts.reshape(-1, n, *counts.shape[1:])  # (lengths or boxes, n, K, 3)
        padded = np.pad(by_threshold, ((0, 0), (reach, reach), (0, 0), (0, 0)), mode="edge")
        smooth = sum(weight * padded[:, i : i + n] for i, weight in enumerate(weights))
        order = np.argsort(np.abs(thresholds - 0.5), kind="stable")  # the first of equals wins
        f1 = np.nan_to_num(_f1(np.asarray(smooth)))[:, order]
        length, rank = np.divmod(f1.reshape(-1, f1.shape[2]).argmax(axis=0), n)
        place: IntArray = n * length + order[rank]
        return place


def _f1(counts: IntArray) -> FloatArray:
    """Return F1 of counts (..., 3) of true positives, references and estimates.

    It is NaN without a reference.
    """
    hits, n_reference, n_estimated = (counts[..., i] for i in range(3))
    twice = np.where(n_reference, 2.0 * hits, np.nan)
    f1: FloatArray = twice / np.maximum(n_reference + n_estimated, 1)
    return f1


class _Clips:
    """Scores and reference events of clips, dealt into folds."""

    def __init__(
        self,
        scores: Sequence[ClipScores],
        reference: StrongLabels,
        classes: tuple[str, ...],
        frame_rate: float,
        config: TuneConfig,
    ) -> None:
        number = {clip.name: i for i, clip in enumerate(scores)}
        self.references = [_reference(reference, label, number) for label in classes]
        self.groups = _equally_long(scores)
        self.frame_rate = frame_rate
        self.tolerances = EvaluationConfig(config.collar, config.offset_ratio)
        # The order of the clips is no matter, but that of their names.
        order = np.argsort([clip.name for clip in scores], kind="stable")
        self.fold = np.empty(len(scores), np.int64)
        self.fold[generator("folds").permutation(order)] = np.arange(len(scores)) % N_FOLDS

    def search(self, grid: list[DecodingConfig], config: TuneConfig) -> _Search:
        """Count with each of these settings, those with the same boxes one after the other."""
        counts = []
        for boxes, of_these in itertools.groupby(grid, key=lambda settings: settings.boxes):
            groups = self._boxed(boxes[0]) if boxes else self.groups
            for settings in of_these:
                plain = dataclasses.replace(settings, boxes=())
                counts.append(self._count(_estimate(groups, self.frame_rate, plain)))
        return _Search(grid, np.stack(counts), config)

    def _boxed(self, box: tuple[float, ...]) -> Groups:
        """Return the clips with the confidences of boxes in place of their scores."""
        how = (self.frame_rate, BoxSettings(*box))
        return [
            (numbers, [dataclasses.replace(c, frame=box_scores(c.frame, *how)) for c in clips])
            for numbers, clips in self.groups
        ]

    def _count(self, estimates: list[EventArrays]) -> IntArray:
        """Return what the events count, (K, F, 3)."""
        counts = []
        for reference, estimated in zip(self.references, estimates, strict=True):
            matched, _ = largest_matching(reference, estimated, self.tolerances)
            clips = (reference.clip[matched], reference.clip, estimated.clip)
            counts.append([np.bincount(self.fold[c], minlength=N_FOLDS) for c in clips])
        return np.array(counts).transpose(0, 2, 1)


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


def _equally_long(scores: Sequence[ClipScores]) -> Groups:
    """Return clips with equally many frames together, with their numbers, to decode in one go."""
    groups: dict[int, list[int]] = {}
    for i, clip in enumerate(scores):
        groups.setdefault(len(clip.frame), []).append(i)
    return [(np.array(group), [scores[i] for i in group]) for group in groups.values()]


def _estimate(groups: Groups, frame_rate: float, decoding: DecodingConfig) -> list[EventArrays]:
    """Decode all clips; return the events of each class, by clip number."""
    n_classes = len(decoding.thresholds)
    decoded = [(numbers, find_spans(clips, frame_rate, decoding)) for numbers, clips in groups]
    clip = np.concatenate([numbers[spans.column // n_classes] for numbers, spans in decoded])
    label = np.concatenate([spans.column % n_classes for _, spans in decoded])
    onset = np.concatenate([spans.onset for _, spans in decoded])
    offset = np.concatenate([spans.offset for _, spans in decoded])
    of_class = (label == k for k in range(n_classes))
    return [EventArrays(clip[rows], onset[rows], offset[rows]) for rows in of_class]
