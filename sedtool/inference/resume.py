"""The scores of finished clips on disk, so that an interrupted run goes on."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sedtool.store import ClipScores
from sedtool.store.spool import Spool

Stamp = tuple[int, int]  # size and time of an audio file; it is scored again where they changed


@contextlib.contextmanager
def kept_scores(path: Path | None, job: dict[str, Any]) -> Iterator["KeptScores"]:
    """Open what is kept beside the output `path`, locked while the block lasts.

    Parameters
    ----------
    path
        The output; None keeps nothing.
    job
        All that the scores depend on, as `job_of`. Scores of another job are thrown away.

    Raises
    ------
    ResourceError
        If another process is making the same output.
    """
    if path is None:
        yield KeptScores(None)
        return
    with Spool(path.resolve(), job) as spool:
        yield KeptScores(spool)


class KeptScores:
    """The scores of finished clips, until the outputs are complete."""

    def __init__(self, spool: Spool | None) -> None:
        self._spool = spool

    def has(self, name: str, stamp: Stamp) -> bool:
        """Return whether the clip is done, and its file still the same."""
        entry = self._spool.entries.get(name) if self._spool is not None else None
        return entry is not None and tuple(entry.info["stamp"]) == stamp

    def add(self, scores: ClipScores, stamp: Stamp) -> None:
        """Keep the scores of a clip."""
        if self._spool is None:
            return
        info = {
            "stamp": stamp,
            "duration": scores.duration,
            "n_classes": scores.frame.shape[1],
            "window_start": scores.window_start.tolist(),
            "window_frames": scores.window_frames.tolist(),
        }
        content = scores.frame.astype("<f4").tobytes(), scores.window.astype("<f4").tobytes()
        self._spool.append(scores.name, info, content)

    def note(self, name: str) -> None:
        """Keep that a clip is done, without scores: they are at hand for a rerun."""
        if self._spool is not None:
            self._spool.append(name, {}, ())

    def read(self, name: str) -> ClipScores:
        """Return the scores of a clip that is done."""
        assert self._spool is not None  # what is not kept is not read
        info = self._spool.entries[name].info
        values = np.frombuffer(b"".join(self._spool.read(name)), "<f4")
        values = values.reshape(-1, info["n_classes"])
        n_windows = len(info["window_start"])
        return ClipScores(
            name,
            info["duration"],
            values[:-n_windows],
            np.array(info["window_start"]),
            np.array(info["window_frames"]),
            values[-n_windows:],
        )

    def remove(self) -> None:
        """Remove what is kept, once the outputs are complete."""
        if self._spool is not None:
            self._spool.remove()
