"""Labels as arrays: what is heard in a clip, and in each of its output frames.

Axis letters: T' output frames, K classes.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sedtool.labels import Event, Vocabulary

__all__ = ["frame_targets", "weak_targets"]


def weak_targets(
    labels: Mapping[str, Iterable[str]], names: Sequence[str], vocabulary: Vocabulary
) -> np.ndarray:
    """Return the weak labels of `names` as float32 (len(names), K), ones where a class is heard."""
    targets = np.zeros((len(names), len(vocabulary)), np.float32)
    for row, name in enumerate(names):
        for label in labels[name]:
            targets[row, vocabulary.index(label)] = 1.0
    return targets


def frame_targets(
    events: Iterable[Event], n_frames: int, frame_rate: float, vocabulary: Vocabulary
) -> np.ndarray:
    """Return the strong labels of a clip as float32 (T', K), ones where a class is active.

    Frame t lies between t / rate and (t + 1) / rate, as decoding has it. Onsets and offsets go to
    the nearest of these borders, so that lengths are right on average; an event is active in one
    frame at least, unless it has no length: such rows say that nothing was heard.
    """
    targets = np.zeros((n_frames, len(vocabulary)), np.float32)
    for event in events:
        if event.offset <= event.onset:
            continue
        first = min(int(event.onset * frame_rate + 0.5), n_frames - 1)
        last = max(int(event.offset * frame_rate + 0.5), first + 1)
        targets[first:last, vocabulary.index(event.label)] = 1.0
    return targets
