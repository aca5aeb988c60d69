"""scores.h5 -> events: clip gate, threshold, median filter, segments, gap merging, durations.

Axis letters: T frames, K classes, W windows of a long recording.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sedtool.config import DecodingConfig
from sedtool.labels import Event
from sedtool.store import Scores

__all__ = [
    "ClipScores",
    "Spans",
    "clip_scores",
    "clip_tags",
    "decode_clip",
    "find_spans",
    "median_filter",
    "window_frames",
]


@dataclass(frozen=True)
class ClipScores:
    """What a detector says about one recording.

    A recording of one window has one row in the window arrays; a longer one was scored in
    overlapping windows, and each has its own clip scores.
    """

    name: str
    duration: float  # seconds
    frame: np.ndarray  # float32 (T, K), frame probabilities, averaged over windows
    window_start: np.ndarray  # int (W,), first output frame of each window
    window_frames: np.ndarray  # int (W,), output frames of each window
    window: np.ndarray  # float32 (W, K), clip probabilities of each window

    @classmethod
    def of_one_window(
        cls, name: str, duration: float, frame: np.ndarray, clip: np.ndarray
    ) -> "ClipScores":
        """Return the scores of a clip that was scored whole: frame (T, K) and clip (K,)."""
        return cls(name, duration, frame, np.array([0]), np.array([len(frame)]), clip[None])

    @property
    def clip(self) -> np.ndarray:
        """Return the clip probabilities of the recording (K,): the maximum over its windows."""
        peak: np.ndarray = self.window.max(axis=0)
        return peak


def window_frames(seconds: float, frame_rate: float) -> int:
    """Return the odd number of frames nearest to a median window; 1 changes nothing.

    Odd, because an even median moves the edges of events.
    """
    return 2 * int(seconds * frame_rate / 2 + 1e-9) + 1


def median_filter(active: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Median-filter decisions along time, each class with its own odd window.

    The median of an odd number of decisions is their majority, so cumulative sums suffice; and a
    threshold commutes with a median, so this equals filtering the scores and then deciding. The
    ends are mirrored, as ``scipy.ndimage.median_filter(mode="reflect")`` does.

    Parameters
    ----------
    active
        Decisions, bool (T, K).
    sizes
        Odd windows in frames, int (K,).
    """
    filtered = active.copy()
    for size in np.unique(sizes[sizes > 1]):
        columns = sizes == size
        half = int(size) // 2
        padded = np.pad(active[:, columns], ((half, half), (0, 0)), mode="symmetric")
        sums = np.zeros((len(padded) + 1, padded.shape[1]), np.int64)
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
    """Turn the frame scores of one recording into events.

    Parameters
    ----------
    scores
        Of one recording.
    classes
        Class names, K.
    frame_rate
        Output frames a second.
    config
        One threshold and one window for each class.

    Returns
    -------
    list of Event
        Sorted by onset; times in seconds, within the recording; the confidence is the mean frame
        score of the event.
    """
    spans = find_spans([scores], frame_rate, config)
    events = [
        Event(scores.name, onset, offset, classes[k], float(scores.frame[start:stop, k].mean()))
        for k, start, stop, onset, offset in zip(*(c.tolist() for c in spans), strict=True)
    ]
    return sorted(events, key=lambda event: (event.onset, event.offset, event.label))


def find_spans(clips: Sequence[ClipScores], frame_rate: float, config: DecodingConfig) -> Spans:
    """Return the events of N recordings of equally many frames, decoded in one go.

    Column n * K + k is class k of recording n.
    """
    n = len(clips)
    frame = np.concatenate([clip.frame for clip in clips], axis=1)  # (T, N*K)
    active = frame > np.tile(np.array(config.thresholds, np.float32), n)
    sizes = np.array([window_frames(seconds, frame_rate) for seconds in config.windows])
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


def _whole_ms(duration: float) -> float:
    """Round down to what an event list can say, so that no event ends after its recording."""
    return int(duration * 1000 + 1e-6) / 1000


def _open_frames(scores: ClipScores, thresholds: np.ndarray) -> np.ndarray:
    """Return where the clip gate is open, bool (T, K): in any window that is tagged."""
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


def clip_scores(scores: Scores) -> Iterator[ClipScores]:
    """Yield the recordings of a scores file, in its order."""
    first = np.searchsorted(scores.window_clip, np.arange(len(scores.names) + 1))
    for i, name in enumerate(scores.names):
        rows = slice(first[i], first[i + 1])
        begin = int(scores.start[i])
        yield ClipScores(
            name,
            float(scores.duration[i]),
            np.asarray(scores.frame[begin : begin + int(scores.frames[i])]),
            scores.window_start[rows],
            scores.window_frames[rows],
            scores.window[rows],
        )


def clip_tags(
    scores: ClipScores, classes: tuple[str, ...], config: DecodingConfig
) -> tuple[str, ...]:
    """Return the classes whose clip score is above their clip threshold."""
    tagged = scores.clip > np.array(config.clip_thresholds, np.float32)
    return tuple(label for label, on in zip(classes, tagged, strict=True) if on)
