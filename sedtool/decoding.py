"""scores.h5 -> events: clip gate, threshold, median filter, segments, gap merging, durations.

Axis letters: T frames, K classes, W windows of a long recording.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sedtool.config import DecodingConfig
from sedtool.labels import Event
from sedtool.store import Scores

__all__ = [
    "ClipScores",
    "clip_scores",
    "clip_tags",
    "decode_clip",
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
    active = scores.frame > np.array(config.thresholds, np.float32)
    sizes = np.array([window_frames(seconds, frame_rate) for seconds in config.windows])
    active = median_filter(active, sizes)
    if config.gate:
        active &= _open_frames(scores, np.array(config.clip_thresholds, np.float32))
    events = []
    for k, start, stop in _segments(active, round(config.merge_gap * frame_rate, 6)):
        onset, offset = start / frame_rate, min(stop / frame_rate, _whole_ms(scores.duration))
        if offset - onset <= 0 or offset - onset < config.min_duration:
            continue
        confidence = float(scores.frame[start:stop, k].mean())
        events.append(Event(scores.name, onset, offset, classes[k], confidence))
    return sorted(events, key=lambda event: (event.onset, event.offset, event.label))


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


def _segments(active: np.ndarray, max_gap: float) -> Iterator[tuple[int, int, int]]:
    """Yield (class, start, stop) of each run of active frames, runs `max_gap` apart merged."""
    edges = np.diff(np.pad(active.T.astype(np.int8), ((0, 0), (1, 1))), axis=1)  # (K, T + 1)
    classes, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    if not len(starts):
        return
    apart = np.ones(len(starts), bool)  # whether a run begins a new event
    if max_gap > 0:
        apart[1:] = (classes[1:] != classes[:-1]) | (starts[1:] - stops[:-1] > max_gap)
    last = np.append(apart[1:], True)
    for k, start, stop in zip(classes[apart], starts[apart], stops[last], strict=True):
        yield int(k), int(start), int(stop)


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
