"""Scores of clips -> events: clip gate, threshold, median filter, segments, gap merging, durations.

Axis letters: T frames, K classes, W scoring windows of a long clip.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sedtool.boxes import BoxSettings, box_scores
from sedtool.config import DecodingConfig, InferConfig
from sedtool.errors import ConfigError
from sedtool.labels import Event, Vocabulary, read_thresholds
from sedtool.store import ClipScores
from sedtool.text import quoted


def decoding_of(
    classes: tuple[str, ...], fitted: DecodingConfig, config: InferConfig
) -> DecodingConfig:
    """Return the decoding settings of a model with what the config replaces."""
    changes: dict[str, Any] = {"min_duration": config.min_duration, "merge_gap": config.merge_gap}
    if config.threshold != "auto":
        changes["thresholds"] = _thresholds(classes, fitted, config.threshold)
    if config.clip_threshold == "off":
        changes["gate"] = False
    elif config.clip_threshold != "auto":
        number = _number(config.clip_threshold, "clip-threshold")
        changes["clip_thresholds"] = (number,) * len(classes)
    if config.median != "auto":
        seconds = 0.0 if config.median == "off" else _number(config.median, "median")
        changes |= {"windows": (seconds,) * len(classes), "boxes": ()}
    return replace(fitted, **changes)


def _thresholds(classes: tuple[str, ...], fitted: DecodingConfig, text: str) -> tuple[float, ...]:
    """Return one threshold for every class, or those of a file with the model's for the others."""
    path = Path(text)
    if not path.is_file():
        return (_number(text, "threshold"),) * len(classes)
    given = read_thresholds(path)
    Vocabulary(classes).require(given, path)
    pairs = zip(classes, fitted.thresholds, strict=True)
    return tuple(given.get(label, threshold) for label, threshold in pairs)


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            f"--{option} {quoted(text)} is not a number, nor what else it takes"
        ) from None


def median_frames(seconds: float, frame_rate: float) -> int:
    """Return the median filter length in frames, odd and nearest to seconds; 1 changes nothing.

    Odd, because an even median moves the edges of events.
    """
    return 2 * int(seconds * frame_rate / 2 + 1e-9) + 1


def median_filter(active: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Median-filter decisions along time, each class with its own odd length.

    The median of an odd number of decisions is their majority, so cumulative sums suffice; and a
    threshold commutes with a median, so this equals filtering the scores and then deciding. The
    ends are mirrored, as ``scipy.ndimage.median_filter(mode="reflect")`` does. `active` are
    decisions (T, K), `sizes` filter lengths in frames (K,).
    """
    filtered = active.copy()
    for size in np.unique(sizes[sizes > 1]):
        columns = sizes == size
        half = int(size) // 2
        padded = np.pad(active[:, columns], ((half, half), (0, 0)), mode="symmetric")
        sums = np.zeros((len(padded) + 1, padded.shape[1]), np.int32)
        np.cumsum(padded, axis=0, out=sums[1:])
        filtered[:, columns] = sums[size:] - sums[:-size] > half
    return filtered


class Spans(NamedTuple):
    """Events as columns of equal length: in which column of the scores, and when."""

    column: np.ndarray  # int
    start: np.ndarray  # int, first frame
    stop: np.ndarray  # int, frame after the last
    onset: np.ndarray  # seconds
    offset: np.ndarray  # seconds


def decode_clip(
    scores: ClipScores, classes: tuple[str, ...], frame_rate: float, config: DecodingConfig
) -> list[Event]:
    """Turn the frame scores of one clip, of which there are `frame_rate` a second, into events.

    Events are sorted by onset, with times in seconds, within the clip; the confidence is the mean
    frame score of the event.
    """
    spans = find_spans([scores], frame_rate, config)
    events = [
        Event(scores.name, onset, offset, classes[k], float(scores.frame[start:stop, k].mean()))
        for k, start, stop, onset, offset in zip(*(c.tolist() for c in spans), strict=True)
    ]
    return sorted(events, key=lambda event: (event.onset, event.offset, event.label))


def find_spans(clips: Sequence[ClipScores], frame_rate: float, config: DecodingConfig) -> Spans:
    """Return the events of N clips of equally many frames, decoded in one go.

    Column n * K + k is class k of clip n.
    """
    n = len(clips)
    frame = np.concatenate([clip.frame for clip in clips], axis=1)  # (T, N*K)
    frame = with_boxes(frame, frame_rate, config, config.thresholds)
    active = frame > np.tile(np.array(config.thresholds, np.float32), n)
    sizes = np.array([median_frames(seconds, frame_rate) for seconds in config.windows])
    active = median_filter(active, np.tile(sizes, n))
    if config.gate:
        thresholds = np.array(config.clip_thresholds, np.float32)
        active &= np.concatenate([_open_frames(clip, thresholds) for clip in clips], axis=1)
    column, start, stop = _segments(active, round(config.merge_gap * frame_rate, 6))
    ends = np.repeat([_whole_ms(clip.duration) for clip in clips], len(sizes))
    onset, offset = start / frame_rate, np.minimum(stop / frame_rate, ends[column])
    # A difference of floats may fall a hair short of the length it stands for.
    kept = (offset > onset) & (offset - onset >= config.min_duration - 1e-6)
    return Spans(column[kept], start[kept], stop[kept], onset[kept], offset[kept])


def with_boxes(
    frame: np.ndarray, frame_rate: float, config: DecodingConfig, least: Sequence[float]
) -> np.ndarray:
    """Return scores (T, N*K) in which the classes that have boxes have those of their boxes.

    Boxes that cannot have a confidence above `least` (K,) may be left out.
    """
    if any(config.boxes):
        frame = frame.copy()
    for k, settings in enumerate(config.boxes):
        if settings:
            columns = slice(k, None, len(config.boxes))
            box = BoxSettings(*settings)
            frame[:, columns] = box_scores(frame[:, columns], frame_rate, box, least[k])
    return frame


def _whole_ms(duration: float) -> float:
    """Round down to what an event list can say, so that no event ends after its clip."""
    return int(duration * 1000 + 1e-6) / 1000


def _open_frames(scores: ClipScores, thresholds: np.ndarray) -> np.ndarray:
    """Return where the clip gate is open, bool (T, K): in any scoring window that is tagged."""
    gate = np.zeros(scores.frame.shape, bool)
    tagged = scores.window > thresholds  # (W, K)
    for start, length, row in zip(scores.window_start, scores.window_frames, tagged, strict=True):
        gate[start : start + length] |= row
    return gate


def _segments(active: np.ndarray, max_gap: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return column, start and stop of each run of active frames, runs `max_gap` apart merged."""
    edges = np.zeros((active.shape[1], len(active) + 1), np.int8)  # (columns, T + 1)
    edges[:, :-1] = active.T
    edges[:, 1:] -= active.T
    columns, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    apart = np.ones(len(starts), bool)  # whether a run begins a new event
    if max_gap > 0:
        apart[1:] = (columns[1:] != columns[:-1]) | (starts[1:] - stops[:-1] > max_gap)
    last = np.append(apart[1:], True)[: len(stops)]
    return columns[apart], starts[apart], stops[last]


def clip_tags(
    scores: ClipScores, classes: tuple[str, ...], config: DecodingConfig
) -> tuple[str, ...]:
    """Return the classes whose clip score is above their clip threshold."""
    tagged = scores.clip > np.array(config.clip_thresholds, np.float32)
    return tuple(label for label, on in zip(classes, tagged, strict=True) if on)
