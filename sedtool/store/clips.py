"""The table of clips that both formats hold: whose frames stand where."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sedtool.errors import ArtifactError
from sedtool.store.layout import TEXT
from sedtool.store.reading import Flat

__all__ = ["CLIP_TABLES", "ClipTable", "check_texts", "clip_tables", "read_clips"]

CLIP_TABLES = {
    "/clips/name": (TEXT, 1),
    "/clips/start": ("<u8", 1),
    "/clips/frames": ("<u8", 1),
    "/clips/duration": ("<f8", 1),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class ClipTable:
    """Names, first frame, number of frames and seconds of all clips."""

    names: list[str]
    start: npt.NDArray[np.int64]
    frames: npt.NDArray[np.int64]
    duration: npt.NDArray[np.float64]


def clip_tables(
    names: Sequence[str], n_frames: Sequence[int], durations: Sequence[float]
) -> dict[str, Any]:
    """Return the tables of clips whose frames stand one after the other."""
    frames = np.array(n_frames, "<u8")
    return {
        "/clips/name": list(names),
        "/clips/start": np.cumsum(frames, dtype="<u8") - frames,
        "/clips/frames": frames,
        "/clips/duration": np.array(durations, "<f8"),
    }


def read_clips(flat: Flat) -> ClipTable:
    """Return the clips of an open file, or raise an ArtifactError if the table makes no sense."""
    names = flat.tables["/clips/name"]
    start, frames, duration = (flat.tables[f"/clips/{n}"] for n in ("start", "frames", "duration"))
    total = len(flat.frames)
    if not len(names) == len(start) == len(frames) == len(duration) > 0:
        raise ArtifactError("its tables of clips differ in length, or are empty")
    if len(set(names)) < len(names):
        raise ArtifactError("a clip is in it twice")
    if not all(names):
        raise ArtifactError("a clip has no name")
    check_texts(names)
    in_range = frames.min() > 0 and frames.max() <= total and start.max() < total
    # Nothing is summed over the file, so nothing can overflow.
    joined = start[0] == 0 and (start[1:] == start[:-1] + frames[:-1]).all()
    if not (in_range and joined and start[-1] + frames[-1] == total):
        raise ArtifactError("its clips do not cover its frames one after the other")
    if not (duration > 0).all() or not np.isfinite(duration).all():
        raise ArtifactError("a clip has a duration that is no positive number of seconds")
    return ClipTable(names, start.astype(np.int64), frames.astype(np.int64), duration)


def check_texts(texts: Sequence[str]) -> None:
    """Refuse texts that would act on a terminal or break a line of TSV."""
    for text in texts:
        if _CONTROL.search(text):
            raise ArtifactError(f"the text {text[:80]!r} in it has a control character")
