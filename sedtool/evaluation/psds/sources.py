"""Scores files and folders of score tables -> frame scores with times; clip names matched."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from sedtool.decoding import ClipScores, clip_scores, window_frames
from sedtool.score_tables import (
    FrameScores,
    read_score_classes,
    read_score_tables,
    score_files,
)
from sedtool.store import Scores, open_scores

__all__ = ["FrameSource", "filter_scores", "frame_scores", "open_frame_scores"]


@dataclass(frozen=True)
class FrameSource:
    """The scores of many clips, opened and not yet read."""

    path: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]
    durations: dict[str, float] | None  # seconds; None: not known before the scores are read
    scores: Scores | None = None  # of a scores file
    median: bool = True

    def clips(self, names: dict[str, str] | None = None) -> Iterator[FrameScores]:
        """Yield the scores of each clip, under the names that `names` gives them."""
        names = names or {}
        found = (
            read_score_tables(self.path)
            if self.scores is None
            else frame_scores(self.scores, self.median)
        )
        for clip in found:
            yield FrameScores(names.get(clip.name, clip.name), clip.times, clip.scores)


def open_frame_scores(path: Path, median: bool = True) -> FrameSource:
    """Open a scores file, or a folder of score tables.

    Parameters
    ----------
    path
        The file or folder.
    median
        Whether to filter the scores of a scores file with the windows of its decoding settings.
        Score tables have no settings, and are taken as they are.
    """
    if path.is_dir():
        names = tuple(file.stem for file in score_files(path))
        return FrameSource(path, read_score_classes(path), names, None)
    scores = open_scores(path)
    durations = dict(zip(scores.names, scores.duration.tolist(), strict=True))
    return FrameSource(path, scores.classes, tuple(scores.names), durations, scores, median)


def frame_scores(scores: Scores, median: bool = True) -> Iterator[FrameScores]:
    """Yield the clips of a scores file; the last frame ends with the clip."""
    rate = scores.frame_rate
    sizes = np.array([window_frames(seconds, rate) for seconds in scores.decoding.windows])
    for clip in clip_scores(scores):
        times, n_frames = _borders(clip, rate)
        frame = filter_scores(clip.frame, sizes) if median else clip.frame
        yield FrameScores(clip.name, times, frame[:n_frames])


def _borders(clip: ClipScores, rate: float) -> tuple[np.ndarray, int]:
    """Return the borders of the frames that begin within the clip, and how many they are."""
    times = np.minimum(np.arange(len(clip.frame) + 1) / rate, clip.duration)
    n_frames = int(np.count_nonzero(np.diff(times) > 0))
    return times[: n_frames + 1], n_frames


def filter_scores(frame: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Median-filter scores along time, each class with its own odd window, ends mirrored.

    A threshold commutes with it, so the decisions of these scores at any threshold are those that
    `sedtool.decoding.median_filter` gives.

    Parameters
    ----------
    frame
        Scores (T, K).
    sizes
        Odd windows in frames, int (K,).
    """
    filtered = frame.copy()
    if not len(frame):
        return filtered
    for size in np.unique(sizes[sizes > 1]):
        columns = sizes == size
        half = int(size) // 2
        padded = np.pad(frame[:, columns], ((half, half), (0, 0)), mode="symmetric")
        flat = np.ascontiguousarray(padded.T).reshape(-1)  # one line is much faster than many
        middle = ndimage.median_filter(flat, size=int(size), mode="nearest")
        filtered[:, columns] = middle.reshape(padded.T.shape)[:, half : half + len(frame)].T
    return filtered
