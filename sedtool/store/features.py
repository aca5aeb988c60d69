"""features.h5: the log-mel frames of many clips in one array.

::

    /                  format, format_version, sedtool_version, sha256, config (JSON),
                       config_sha256, engine, allow_truncated (0 or 1), manifest_sha256 (of the
                       list of all names), shard, n_shards
    /features/logmel   float16 or float32 (frames, mels)
    /features/sha256   digest of each 64 MiB of it
    /clips/            name, start, frames, duration (seconds), and of the audio file: source_rate
                       (Hz), channels, size (bytes), sha256, truncated (0 or 1)
    /failures/         name and error of the files that could not be used
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sedtool.atomic import appears_whole, claim, refuse_existing
from sedtool.config import ExtractConfig, FeatureConfig, from_json, to_json
from sedtool.errors import ArtifactError, ConfigError, OutputExistsError
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
from sedtool.store.spool import Spool, job_of, resumes, unfinished

MOST_ROUNDED = 2  # frames that a clip has more or fewer than its duration says, rounded
DTYPES = {"f16": "<f2", "f32": "<f4"}  # name on the command line -> numpy type

_LAYOUT = Layout(
    format="sedtool-features",
    frames="/features/logmel",
    frames_types=tuple(DTYPES.values()),
    digests="/features/sha256",
    within=(-1e5, 1e5),  # the logarithm of the strongest sound is below 1e3
    tables={
        **CLIP_TABLES,
        "/clips/source_rate": ("<u4", 1),
        "/clips/channels": ("<u4", 1),
        "/clips/size": ("<u8", 1),
        "/clips/sha256": (TEXT, 1),
        "/clips/truncated": ("|u1", 1),
        "/failures/name": (TEXT, 1),
        "/failures/error": (TEXT, 1),
    },
    attributes={
        "config": str,
        "config_sha256": str,
        "engine": str,
        "allow_truncated": int,
        **SHARD_ATTRIBUTES,
    },
)


@dataclass(frozen=True)
class FeaturesHeader:
    """What a features file says of itself, and how it stores frames."""

    config: FeatureConfig
    dtype: str = ExtractConfig.dtype  # or "f32"
    engine: str = ExtractConfig.engine  # what computed the features
    allow_truncated: bool = False  # whether audio that ends before its header says was taken
    shard: Shard = WHOLE
    manifest_sha256: str = ""  # of the whole list of names

    def details(self) -> dict[str, Any]:
        """Return what decides the bytes of a clip's features."""
        return {
            "config": asdict(self.config),
            "dtype": self.dtype,
            "engine": self.engine,
            "allow_truncated": self.allow_truncated,
        }

    def job(self, n_clips: int) -> dict[str, Any]:
        """Return what a run that makes the file must have in common with an interrupted one."""
        return job_of(n_clips, self.shard, self.manifest_sha256, **self.details())


@dataclass(frozen=True)
class SourceClip:
    """A clip of a features file, but for its features."""

    name: str
    n_frames: int
    sample_rate: int  # Hz, of the audio file
    channels: int
    duration: float  # seconds
    size: int  # bytes of the audio file
    sha256: str  # of the audio file
    modified: int  # ns since 1970; kept until the output is complete, to tell if the file changed
    truncated: bool = False  # whether the audio file ends before its header says


class FeaturesWriter:
    """Makes a features file clip by clip; interrupted, it goes on where it was.

    ::

        with FeaturesWriter(path, header, names) as writer:
            ...  # leave out what is in writer.done
            writer.add(clip, chunks)
            writer.finish(failures)

    `names` are the clips of its shard in order, those that will fail included. With `overwrite`, a
    complete output is replaced, and an unfinished one of another job dropped; with `update`, one
    of other clips goes on, and an output that is still `old` is replaced, after its clips could be
    taken over. Else, or if it is no regular file or is being made, entering raises an error.
    """

    def __init__(
        self,
        path: Path,
        header: FeaturesHeader,
        names: Sequence[str],
        overwrite: bool = False,
        update: bool = False,
        old: "Features | None" = None,
    ) -> None:
        self.path = Path(path)
        self.done: dict[str, SourceClip] = {}
        self._header, self._names, self._job = header, names, header.job(len(names))
        self._overwrite, self._update, self._old = overwrite, update, old
        self._taken: dict[str, int] = {}  # clips by their place in the old file
        self._finished = False
        self._closing = ExitStack()
        self._spool = Spool(self.path.resolve(), self._job, update)

    def __enter__(self) -> Self:
        if not appears_whole(self.path):
            raise ConfigError(f"{self.path} is not a regular file; features need one")
        with ExitStack() as entering:
            entering.enter_context(claim(self.path, overwrite=True))
            # Now that it is locked:
            self._refuse_finished()
            entering.enter_context(self._spool)
            self._closing = entering.pop_all()
        self.done = {n: SourceClip(**entry.info) for n, entry in self._spool.entries.items()}
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        with self._closing:
            if self._finished and kind is None:
                self._spool.remove()

    def add(self, clip: SourceClip, chunks: Iterable[bytes]) -> None:
        """Add a clip, or replace it; `chunks` are its frames as stored."""
        self._spool.append(clip.name, asdict(clip), chunks)
        self.done[clip.name] = clip

    def take_over(self, names: Collection[str]) -> None:
        """Add clips of the old file, as it has them, but for those that are done."""
        for place, clip in enumerate(self._old.sources() if self._old is not None else ()):
            if clip.name in names and clip.name not in self.done:
                self._taken[clip.name], self.done[clip.name] = place, clip

    def finish(self, failures: Sequence[tuple[str, str]]) -> str:
        """Write the output from the clips in `done`, and (name, error) of the others.

        Returns the sha256 of its content.

        What makes a rerun go on is removed when the block ends without an error, so that the caller
        can write other files that belong to the output.
        """
        clips = [self.done[name] for name in self._names if name in self.done]

        def chunks() -> Iterator[bytes]:
            return chain.from_iterable(self._stored(clip.name) for clip in clips)

        sha256 = write_features(self.path, self._header, clips, failures, chunks)
        self._finished = True
        return sha256

    def _refuse_finished(self) -> None:
        """Refuse an output that is complete, or begun by another job, if it may not be replaced.

        What is complete but for its journal was made by this very job before a kill, and goes on.
        """
        goes_on = resumes(self.path, self._job, self._overwrite, self._update)
        if self._old is None:
            is_ours = goes_on and _is_of(self.path, self._header)
            refuse_existing(self.path, self._overwrite or is_ours)
            return
        compared, self._old = self._old.sha256, open_features(self.path)  # with all its digests
        if self._old.sha256 != compared:
            raise OutputExistsError(f"{self.path} was replaced meanwhile; run this again")

    def _stored(self, name: str) -> Iterator[bytes]:
        if self._old is not None and name in self._taken:
            return self._old.stored(self._taken[name])
        return self._spool.read(name)


def _is_of(path: Path, header: FeaturesHeader) -> bool:
    """Return whether a file is what a job makes."""
    try:
        return open_features(path, verify=False).header == header
    except ArtifactError:
        return False


def write_features(
    path: Path,
    header: FeaturesHeader,
    clips: Sequence[SourceClip],
    failures: Sequence[tuple[str, str]],
    chunks: Callable[[], Iterator[bytes]],
) -> str:
    """Write a features file at once; `chunks` gives the frames of all clips each time it is called.

    What stood at `path` is untouched if the disk is full. Returns the sha256 of the content.
    """
    n_frames = [c.n_frames for c in clips]
    tables = clip_tables([c.name for c in clips], n_frames, [c.duration for c in clips]) | {
        "/clips/source_rate": [c.sample_rate for c in clips],
        "/clips/channels": [c.channels for c in clips],
        "/clips/size": [c.size for c in clips],
        "/clips/sha256": [c.sha256 for c in clips],
        "/clips/truncated": [c.truncated for c in clips],
        "/failures/name": [name for name, _ in failures],
        "/failures/error": [error for _, error in failures],
    }
    config = to_json(header.config)
    attributes = {
        "config": config,
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "engine": header.engine,
        "allow_truncated": int(header.allow_truncated),
        **shard_attributes(header.shard, header.manifest_sha256),
    }
    frames = Frames((sum(n_frames), header.config.n_mels), DTYPES[header.dtype], chunks)
    return write_flat(path, _LAYOUT, attributes, tables, frames)


@dataclass(frozen=True, kw_only=True)
class Features(FeaturesHeader, ClipTable):
    """An open features file; its frames are read when they are asked for."""

    path: Path
    source_rate: npt.NDArray[np.uint32]  # Hz, of the audio files
    channels: npt.NDArray[np.uint32]
    source_size: npt.NDArray[np.uint64]  # bytes
    source_sha256: list[str]
    truncated: npt.NDArray[np.bool_]  # whether the audio file ended before its header said
    data: StoredFrames  # (frames, F)
    failures: list[tuple[str, str]]  # name and error of files that could not be used
    sedtool_version: str  # what wrote it
    sha256: str  # of the whole content

    @property
    def header(self) -> FeaturesHeader:
        """Return what the file says of itself."""
        return as_base(FeaturesHeader, self)

    def clip(self, index: int) -> npt.NDArray[Any]:
        """Read the features (T, F) of a clip."""
        start = int(self.start[index])
        return self.data[start : start + int(self.frames[index])]

    def stored(self, index: int) -> Iterator[bytes]:
        """Yield the features of a clip as they are stored, in pieces."""
        row = self.data.shape[1] * self.data.dtype.itemsize
        start = int(self.start[index])
        stop, step = start + int(self.frames[index]), max(CHUNK_SIZE // row, 1)
        for first in range(start, stop, step):
            yield self.data[first : min(first + step, stop)].tobytes()

    def sources(self) -> Iterator[SourceClip]:
        """Return the clips, but for when their files were modified."""
        columns = zip(
            self.names,
            self.frames.tolist(),
            self.source_rate.tolist(),
            self.channels.tolist(),
            self.duration.tolist(),
            self.source_size.tolist(),
            self.source_sha256,
            [0] * len(self.names),
            self.truncated.tolist(),
            strict=True,
        )
        return (SourceClip(*row) for row in columns)


def open_features(path: Path, verify: bool = True) -> Features:
    """Open a features file.

    Tables and attributes are always checked. To `verify` the digests of all frames reads the whole
    file.

    Raises
    ------
    ArtifactError
        If the file is missing, unfinished, damaged, or not a features file.
    """
    path = Path(path)
    if not path.exists() and (progress := unfinished(path.resolve())):
        raise ArtifactError(f"{path}: not complete ({progress}); run the same extract again")
    flat = open_flat(path, _LAYOUT, verify)
    tables, attributes = flat.tables, flat.attributes
    with naming(path):
        config = from_json(FeatureConfig, attributes["config"], "config")
        _check(flat, config)
    return Features(
        **vars(flat.clips),
        path=path,
        config=config,
        dtype={2: "f16", 4: "f32"}[flat.frames.dtype.itemsize],
        engine=attributes["engine"],
        allow_truncated=bool(attributes["allow_truncated"]),
        shard=flat.shard,
        manifest_sha256=attributes["manifest_sha256"],
        source_rate=tables["/clips/source_rate"],
        channels=tables["/clips/channels"],
        source_size=tables["/clips/size"],
        source_sha256=tables["/clips/sha256"],
        truncated=tables["/clips/truncated"].astype(bool),
        data=flat.frames,
        failures=list(zip(tables["/failures/name"], tables["/failures/error"], strict=True)),
        sedtool_version=attributes["sedtool_version"],
        sha256=attributes["sha256"],
    )


def _check(flat: Flat, config: FeatureConfig) -> None:
    """Check that frames, clips and failures fit each other."""
    failed, errors = flat.tables["/failures/name"], flat.tables["/failures/error"]
    check_texts([*failed, *errors, flat.attributes["engine"]])
    if flat.frames.shape[1] != config.n_mels:
        raise ArtifactError(
            f"its frames have {flat.frames.shape[1]} mel bands, its settings {config.n_mels}"
        )
    of_clips = [table for name, table in flat.tables.items() if name.startswith("/clips/")]
    if len(set(map(len, of_clips))) > 1 or len(failed) != len(errors):
        raise ArtifactError("its tables differ in length")
    expected = flat.clips.duration * config.frame_rate
    odd = np.flatnonzero(np.abs(flat.clips.frames - expected) > MOST_ROUNDED)
    if odd.size:
        frames, seconds = flat.clips.frames[odd[0]], flat.clips.duration[odd[0]]
        raise ArtifactError(f"a clip has {frames} frames, which does not fit its {seconds:g} s")
    is_truncated = flat.tables["/clips/truncated"]
    if (is_truncated > 1).any() or flat.attributes["allow_truncated"] not in (0, 1):
        raise ArtifactError("it says other than 0 or 1 of what was truncated")
    if not all(re.fullmatch("[0-9a-f]{64}", text) for text in flat.tables["/clips/sha256"]):
        raise ArtifactError("what it has for the digest of an audio file is no sha256")
