"""What both formats hold of their clips: whose frames stand where, and which shard they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sedtool.errors import ArtifactError, ConfigError
from sedtool.shards import Shard
from sedtool.store.layout import TEXT
from sedtool.store.reading import Flat
from sedtool.text import is_writable

__all__ = [
    "CLIP_TABLES",
    "SHARD_ATTRIBUTES",
    "ClipTable",
    "check_texts",
    "clip_tables",
    "read_clips",
    "shard_attributes",
]

CLIP_TABLES = {
    "/clips/name": (TEXT, 1),
    "/clips/start": ("<u8", 1),
    "/clips/frames": ("<u8", 1),
    "/clips/duration": ("<f8", 1),
}
SHARD_ATTRIBUTES = {"manifest_sha256": str, "shard": int, "n_shards": int}


@dataclass(frozen=True)
class ClipTable:
    """Names, first frame, number of frames and seconds of all clips, and which shard they are."""

    names: list[str]
    start: npt.NDArray[np.int64]
    frames: npt.NDArray[np.int64]
    duration: npt.NDArray[np.float64]
    shard: Shard


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


def shard_attributes(shard: Shard, manifest_sha256: str) -> dict[str, str | int | float]:
    """Return the attributes that say which part of which list of clips a file is."""
    return {
        "manifest_sha256": manifest_sha256,
        "shard": shard.number,
        "n_shards": shard.count,
    }


def read_clips(flat: Flat) -> ClipTable:
    """Return the clips of an open file, or raise an ArtifactError if the table makes no sense.

    Only a part may have no clip: those of its shard all failed, or it has no share of a short list.
    """
    names = flat.tables["/clips/name"]
    start, frames, duration = (flat.tables[f"/clips/{n}"] for n in ("start", "frames", "duration"))
    try:
        shard = Shard(flat.attributes["shard"], flat.attributes["n_shards"])
    except ConfigError as error:
        raise ArtifactError(str(error)) from error
    check_texts([flat.attributes["manifest_sha256"]])
    if not len(names) == len(start) == len(frames) == len(duration):
        raise ArtifactError("its tables of clips differ in length")
    if not names and shard.is_whole:
        raise ArtifactError("there is no clip in it")
    if len(set(names)) < len(names):
        raise ArtifactError("a clip is in it twice")
    if not all(names):
        raise ArtifactError("a clip has no name")
    check_texts(names)
    if not _cover(start, frames, len(flat.frames)):
        raise ArtifactError("its clips do not cover its frames one after the other")
    if not (duration > 0).all() or not np.isfinite(duration).all():
        raise ArtifactError("a clip has a duration that is no positive number of seconds")
    return ClipTable(names, start.astype(np.int64), frames.astype(np.int64), duration, shard)


def _cover(start: npt.NDArray[np.uint64], frames: npt.NDArray[np.uint64], total: int) -> bool:
    """Return whether clips stand one after the other, from the first frame to the last."""
    if not len(start):
        return total == 0
    in_range = frames.min() > 0 and frames.max() <= total and start.max() < total
    # Nothing is summed over the file, so nothing can overflow.
    joined = start[0] == 0 and (start[1:] == start[:-1] + frames[:-1]).all()
    return bool(in_range and joined and start[-1] + frames[-1] == total)


def check_texts(texts: Sequence[str]) -> None:
    """Refuse texts that would act on a terminal or break a line of TSV."""
    for text in texts:
        if not is_writable(text):
            raise ArtifactError(f"the text {text[:80]!r} in it has a control character")
