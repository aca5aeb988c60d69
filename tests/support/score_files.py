"""Scores files from scores in memory."""

from pathlib import Path

from sedtool.store import Scores, ScoresWriter, clip_scores


def write_scores(path: Path, scores: Scores) -> None:
    """Write a scores file from scores in memory; clip scores are made from the windows'."""
    with ScoresWriter(path, scores.header) as writer:
        for clip in clip_scores(scores):
            writer.append(clip)
