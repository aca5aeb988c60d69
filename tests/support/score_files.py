"""Scores files from scores in memory."""

from pathlib import Path
from types import SimpleNamespace

from sedtool.store import Scores, ScoresWriter


def write_scores(path: Path, scores: Scores) -> None:
    """Write a scores file from scores in memory; clip scores are made from the windows'."""
    with ScoresWriter(path, scores.header) as writer:
        for i, name in enumerate(scores.names):
            first, rows = int(scores.start[i]), scores.window_clip == i
            clip = SimpleNamespace(
                name=name,
                duration=float(scores.duration[i]),
                frame=scores.frame[first : first + int(scores.frames[i])],
                window_start=scores.window_start[rows],
                window_frames=scores.window_frames[rows],
                window=scores.window[rows],
            )
            writer.append(clip)
