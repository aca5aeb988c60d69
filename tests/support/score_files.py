"""Scores files from scores in memory."""

from pathlib import Path

import numpy as np

from sedtool.store import ClipScores, Scores, ScoresWriter, clip_scores


def write_scores(path: Path, scores: Scores) -> None:
    """Write a scores file from scores in memory; clip scores are made from the windows'."""
    with ScoresWriter(path, scores.header) as writer:
        for clip in clip_scores(scores):
            writer.append(clip)


def scored_whole(name: str, duration: float, frame: np.ndarray, clip: np.ndarray) -> ClipScores:
    """Return the scores of a clip of one scoring window: frame (T, K) and clip (K,)."""
    return ClipScores(name, duration, frame, np.array([0]), np.array([len(frame)]), clip[None])
