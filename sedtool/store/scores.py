"""scores.h5: the frame and clip probabilities of many clips, and how to decode them.

::

    /               format, format_version, sedtool_version, sha256, frame_rate (frames a second),
                    decoding (JSON), model_sha256, settings (JSON: how the model was applied),
                    manifest_sha256 (of the list of all names), shard, n_shards
    /classes        names, in the order of the axis K
    /scores/frame   float32 (frames, K)
    /scores/sha256  digest of each 64 MiB of it
    /scores/clip    float32 (clips, K), the maximum over its scoring windows
    /scores/window  float32 (windows, K)
    /clips/         name, start, frames, duration (seconds)
    /windows/       clip (its number), start and frames (inside the clip)
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Self, cast

import numpy as np
import numpy.typing as npt

from sedtool.atomic import resource_errors
from sedtool.config import DecodingConfig, from_json, to_json
from sedtool.config.base import is_within
from sedtool.config.extraction import FRAME_RATES
from sedtool.errors import ArtifactError, ConfigError, LabelError
from sedtool.labels import Vocabulary
from sedtool.shards import WHOLE, Shard
from sedtool.store.layout import (
    CHUNK_SIZE,
    CLIP_TABLES,
    SHARD_ATTRIBUTES,
    TEXT,
    ClipTable,
    Frames,
    Layout,
    as_base,
    clip_tables,
    shard_attributes,
    write_flat,
)
from sedtool.store.reading import Flat, StoredFrames, check_texts, naming, open_flat
from sedtool.store.spool import write_all
from sedtool.text import brief, strict_json

_LAYOUT = Layout(
    format="sedtool-scores",
    frames="/scores/frame",
    frames_types=("<f4",),
    digests="/scores/sha256",
    within=(0.0, 1.0),
    tables={
        **CLIP_TABLES,
        "/classes": (TEXT, 1),
        "/scores/clip": ("<f4", 2),
        "/scores/window": ("<f4", 2),
        "/windows/clip": ("<u8", 1),
        "/windows/start": ("<u8", 1),
        "/windows/frames": ("<u8", 1),
    },
    attributes={
        "frame_rate": float,
        "decoding": str,
        "model_sha256": str,
        "settings": str,
        **SHARD_ATTRIBUTES,
    },
)

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ScoresHeader:
    """What a scores file says of itself."""

    classes: tuple[str, ...]
    frame_rate: float  # frames a second
    decoding: DecodingConfig
    model_sha256: str
    settings: str = "{}"  # JSON, all else that the scores depend on: scoring window, overlap, amp
    shard: Shard = WHOLE
    manifest_sha256: str = ""  # of the whole list of names


@dataclass(frozen=True)
class ClipScores:
    """What a detector says about one clip.

    A clip of one scoring window has one row in the arrays of windows; a longer one was scored in
    overlapping windows, each with clip scores of its own.
    """

    name: str
    duration: float  # seconds
    frame: FloatArray  # (T, K), frame probabilities, averaged over windows
    window_start: IntArray  # (W,), first output frame of each window
    window_frames: IntArray  # (W,), output frames of each window
    window: FloatArray  # (W, K), clip probabilities of each window

    @property
    def clip(self) -> FloatArray:
        """Return the clip probabilities of the clip (K,): the maximum over its windows."""
        peak: FloatArray = self.window.max(axis=0)
        return peak


@dataclass(frozen=True, kw_only=True)
class Scores(ScoresHeader, ClipTable):
    """The scores of many clips; of an open file, frame scores are read when they are asked for."""

    frame: FloatArray | StoredFrames  # (frames, K)
    clip: FloatArray  # (clips, K)
    window_clip: IntArray  # number of the clip each window is of, ascending
    window_start: IntArray  # first frame of the window, in its clip
    window_frames: IntArray  # number of frames of the window
    window: FloatArray  # (windows, K)
    sha256: str = ""  # of the whole content; empty before it is written

    @property
    def header(self) -> ScoresHeader:
        """Return what a file of these scores says of itself."""
        return as_base(ScoresHeader, self)


def clip_scores(scores: Scores) -> Iterator[ClipScores]:
    """Yield the clips of a scores file, in its order."""
    first = np.searchsorted(scores.window_clip, np.arange(len(scores.names) + 1))
    for i, name in enumerate(scores.names):
        windows = slice(first[i], first[i + 1])
        begin = int(scores.start[i])
        yield ClipScores(
            name,
            float(scores.duration[i]),
            np.asarray(scores.frame[begin : begin + int(scores.frames[i])]),
            scores.window_start[windows],
            scores.window_frames[windows],
            scores.window[windows],
        )


class ScoresWriter:
    """Makes a scores file clip by clip, whole or not at all.

    ::

        with ScoresWriter(path, header) as writer:
            writer.append(clip)

    The file appears when the block ends without an error. Frame scores wait in an unnamed file
    in the same folder, so memory does not grow with them.
    """

    def __init__(self, path: Path, header: ScoresHeader) -> None:
        self.path = Path(path)
        self.header = header
        self.sha256 = ""  # of the whole content, once it is written
        self._clips: list[ClipScores] = []  # without their frames
        self._n_frames: list[int] = []
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with resource_errors(self.path):
            spool = tempfile.TemporaryFile(buffering=0, dir=self.path.resolve().parent)
        self._spool = cast("BinaryIO", self._closing.enter_context(spool))
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        with self._closing:
            if kind is None:
                self._finish()

    def append(self, clip: ClipScores) -> None:
        """Add a clip; a model that gives scores outside [0, 1] is of no use, an ArtifactError."""
        frame = clip.frame
        if not (_are_probabilities(frame) and _are_probabilities(clip.window)):
            raise ArtifactError(f"{clip.name}: the model gave scores that are not in [0, 1]")
        with resource_errors(self.path):
            write_all(self._spool, np.asarray(frame, "<f4").tobytes())
        self._clips.append(replace(clip, frame=frame[:0].copy()))
        self._n_frames.append(len(frame))

    def _finish(self) -> None:
        clips, none = self._clips, np.zeros((0, len(self.header.classes)), "<f4")
        names, durations = [clip.name for clip in clips], [clip.duration for clip in clips]
        n_windows = [len(clip.window) for clip in clips]
        tables = clip_tables(names, self._n_frames, durations) | {
            "/classes": self.header.classes,
            "/scores/clip": [clip.clip for clip in clips] or none,
            "/scores/window": np.concatenate([none, *(clip.window for clip in clips)]),
            "/windows/clip": np.repeat(np.arange(len(clips)), n_windows),
            "/windows/start": np.concatenate([[], *(clip.window_start for clip in clips)]),
            "/windows/frames": np.concatenate([[], *(clip.window_frames for clip in clips)]),
        }
        attributes = {
            "frame_rate": float(self.header.frame_rate),
            "decoding": to_json(self.header.decoding),
            "model_sha256": self.header.model_sha256,
            "settings": self.header.settings,
            **shard_attributes(self.header.shard, self.header.manifest_sha256),
        }
        shape = (sum(self._n_frames), len(self.header.classes))
        frames = Frames(shape, "<f4", self._chunks)
        self.sha256 = write_flat(self.path, _LAYOUT, attributes, tables, frames)

    def _chunks(self) -> Iterator[bytes]:
        self._spool.seek(0)
        while chunk := self._spool.read(CHUNK_SIZE):
            yield chunk


def open_scores(path: Path, verify: bool = True) -> Scores:
    """Open a scores file; see `open_features` for `verify` and the errors."""
    path = Path(path)
    flat = open_flat(path, _LAYOUT, verify)
    tables, attributes = flat.tables, flat.attributes
    with naming(path):
        decoding = from_json(DecodingConfig, attributes["decoding"], "decoding")
        _check(flat, decoding)
        _check_settings(flat, decoding)
    return Scores(
        **vars(flat.clips),
        classes=tuple(tables["/classes"]),
        frame_rate=attributes["frame_rate"],
        decoding=decoding,
        model_sha256=attributes["model_sha256"],
        settings=attributes["settings"],
        shard=flat.shard,
        manifest_sha256=attributes["manifest_sha256"],
        frame=flat.frames,
        clip=tables["/scores/clip"],
        window_clip=tables["/windows/clip"].astype(np.int64),
        window_start=tables["/windows/start"].astype(np.int64),
        window_frames=tables["/windows/frames"].astype(np.int64),
        window=tables["/scores/window"],
        sha256=attributes["sha256"],
    )


def _check(flat: Flat, decoding: DecodingConfig) -> None:
    """Check that classes, scoring windows and scores fit each other."""
    tables, clips = flat.tables, flat.clips
    classes, n_clips, n_classes = tables["/classes"], len(clips.names), flat.frames.shape[1]
    clip, start, frames = (tables[f"/windows/{name}"] for name in ("clip", "start", "frames"))
    check_texts([*classes, flat.attributes["model_sha256"], flat.attributes["settings"]])
    if not 0 < len(classes) == len(set(classes)) == n_classes == len(decoding.thresholds):
        raise ArtifactError("its classes, scores and decoding settings differ in number")
    if tables["/scores/clip"].shape != (n_clips, n_classes):
        raise ArtifactError("its clip scores do not fit its clips")
    if not len(clip) == len(start) == len(frames) == len(tables["/scores/window"]):
        raise ArtifactError("its tables of scoring windows differ in length")
    if tables["/scores/window"].shape[1] != n_classes:
        raise ArtifactError("its window scores do not fit its classes")
    # Every clip has a scoring window, in order: the clip numbers go from 0 up in steps of 0 or 1.
    steps = np.diff(clip.astype(np.int64), prepend=-1, append=n_clips)
    ascending = (steps[1:-1] > 0) | (start[1:] > start[:-1])
    if steps[0] != 1 or steps[-1] != 1 or not (np.isin(steps, (0, 1)).all() and ascending.all()):
        raise ArtifactError("its scoring windows are not in the order of its clips, and in time")
    length = clips.frames[clip].astype(np.uint64)
    if not ((frames > 0) & (frames <= length) & (start <= length - frames)).all():
        raise ArtifactError("a scoring window reaches beyond its clip")
    if not all(_are_probabilities(tables[f"/scores/{name}"]) for name in ("clip", "window")):
        raise ArtifactError("it holds scores that are no numbers in [0, 1]")
    peaks = np.maximum.reduceat(tables["/scores/window"], np.flatnonzero(steps[:-1]))
    if (peaks != tables["/scores/clip"]).any():
        raise ArtifactError("its clip scores are not the maxima over their scoring windows")


def _check_settings(flat: Flat, decoding: DecodingConfig) -> None:
    """Check classes, frame rate, and the settings with which clips were scored."""
    frame_rate = flat.attributes["frame_rate"]
    try:
        Vocabulary(flat.tables["/classes"])
        decoding.require_rate(frame_rate)
        if not is_within(FRAME_RATES, frame_rate):
            raise ValueError(f"its frame_rate is {frame_rate}, not in {FRAME_RATES}")
        if not isinstance(strict_json(flat.attributes["settings"]), dict):
            raise ValueError("its settings are no JSON object")
    except (ConfigError, LabelError, ValueError) as error:
        raise ArtifactError(f"its classes or settings cannot be used ({brief(error)})") from error


def _are_probabilities(scores: FloatArray) -> bool:
    # NaN fails every comparison.
    return bool(((scores >= 0) & (scores <= 1)).all())
