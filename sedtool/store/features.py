"""features.h5: the log-mel frames of many clips in one array.

::

    /                  format, format_version, sedtool_version, sha256, config (JSON),
                       config_sha256, manifest_sha256 (of the list of all names), shard, n_shards
    /features/logmel   float16 or float32 (frames, mels)
    /features/sha256   digest of each 64 MiB of it
    /clips/            name, start, frames, duration (seconds), and of the audio file: source_rate
                       (Hz), channels, size (bytes), sha256
    /failures/         name and error of the files that could not be used
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sedtool import __version__
from sedtool.atomic import refuse_existing, remove_leftovers
from sedtool.config import FeatureConfig, from_json, to_json
from sedtool.errors import ArtifactError, ConfigError
from sedtool.store.clips import CLIP_TABLES, check_texts, clip_tables, read_clips
from sedtool.store.layout import TEXT, Layout
from sedtool.store.reading import open_flat
from sedtool.store.spool import Spool, unfinished
from sedtool.store.writing import Frames, write_flat

__all__ = ["DTYPES", "Features", "FeaturesWriter", "SourceClip", "open_features"]

DTYPES = {"f16": "<f2", "f32": "<f4"}  # name on the command line -> numpy type

_LAYOUT = Layout(
    format="sedtool-features",
    frames="/features/logmel",
    frames_types=tuple(DTYPES.values()),
    digests="/features/sha256",
    tables={
        **CLIP_TABLES,
        "/clips/source_rate": ("<u4", 1),
        "/clips/channels": ("<u4", 1),
        "/clips/size": ("<u8", 1),
        "/clips/sha256": (TEXT, 1),
        "/failures/name": (TEXT, 1),
        "/failures/error": (TEXT, 1),
    },
    attributes={
        "config": str,
        "config_sha256": str,
        "manifest_sha256": str,
        "shard": int,
        "n_shards": int,
    },
)


@dataclass(frozen=True)
class SourceClip:
    """What is known of a clip besides its features."""

    name: str
    n_frames: int
    sample_rate: int  # Hz, of the audio file
    channels: int
    duration: float  # seconds
    size: int  # bytes of the audio file
    sha256: str  # of the audio file
    modified: int  # ns since 1970; kept until the output is complete, to tell if the file changed


class FeaturesWriter:
    """Makes a features file clip by clip; interrupted, it goes on where it was.

    ::

        with FeaturesWriter(path, config, names) as writer:
            ...  # leave out what is in writer.done
            writer.add(clip, chunks)
            writer.finish(failures)

    Parameters
    ----------
    path
        The output.
    config
        What the features are.
    names
        All clips, those that will fail included, in the order of the output.
    dtype
        ``"f16"`` or ``"f32"``.
    engine
        What computes the features; clips that another one made are not taken up.
    overwrite
        Whether a complete output may be replaced.

    Raises
    ------
    ConfigError, OutputExistsError, ResourceError
        On entering: if the output is no regular file, is there already, or is being made.
    """

    def __init__(
        self,
        path: Path,
        config: FeatureConfig,
        names: Sequence[str],
        dtype: str = "f16",
        engine: str = "native",
        overwrite: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
        self.path = Path(path)
        self.done: dict[str, SourceClip] = {}
        self._config, self._names, self._dtype = config, list(names), DTYPES[dtype]
        self._overwrite = overwrite
        self._closing = ExitStack()
        manifest = "\n".join(names).encode(errors="surrogateescape")
        self._manifest_sha256 = hashlib.sha256(manifest).hexdigest()
        job = {
            "sedtool_version": __version__,
            "clips": len(self._names),
            "config": asdict(config),
            "dtype": dtype,
            "engine": engine,
            "manifest_sha256": self._manifest_sha256,
        }
        self._spool = Spool(self.path.resolve(), job)

    def __enter__(self) -> Self:
        if self.path.exists() and not self.path.is_file():
            raise ConfigError(f"{self.path} is not a regular file; features need one")
        with ExitStack() as entering:
            entering.enter_context(self._spool)
            refuse_existing(self.path, self._overwrite)  # who held the lock may have finished it
            remove_leftovers(self.path)
            self._closing = entering.pop_all()
        self.done = {n: SourceClip(**entry.info) for n, entry in self._spool.entries.items()}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()

    def add(self, clip: SourceClip, chunks: Iterable[bytes]) -> None:
        """Add a clip, or replace it; `chunks` are its frames as stored."""
        self._spool.append(clip.name, asdict(clip), chunks)
        self.done[clip.name] = clip

    def finish(self, failures: Sequence[tuple[str, str]]) -> None:
        """Write the output from the clips in `done`, and (name, error) of the others."""
        clips = [self.done[name] for name in self._names if name in self.done]
        tables = clip_tables(
            [c.name for c in clips], [c.n_frames for c in clips], [c.duration for c in clips]
        )
        tables |= {
            "/clips/source_rate": np.array([c.sample_rate for c in clips], "<u4"),
            "/clips/channels": np.array([c.channels for c in clips], "<u4"),
            "/clips/size": np.array([c.size for c in clips], "<u8"),
            "/clips/sha256": [c.sha256 for c in clips],
            "/failures/name": [name for name, _ in failures],
            "/failures/error": [error for _, error in failures],
        }
        config = to_json(self._config)
        attributes: dict[str, str | int | float] = {
            "config": config,
            "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
            "manifest_sha256": self._manifest_sha256,
            "shard": 1,
            "n_shards": 1,
        }

        def chunks() -> Iterator[bytes]:
            for clip in clips:
                yield from self._spool.read(clip.name)

        shape = (sum(c.n_frames for c in clips), self._config.n_mels)
        write_flat(self.path, _LAYOUT, attributes, tables, Frames(shape, self._dtype, chunks))
        self._spool.remove()


@dataclass(frozen=True)
class Features:
    """An open features file; its frames are mapped, not read."""

    path: Path
    config: FeatureConfig
    names: list[str]
    start: npt.NDArray[np.int64]  # first frame of each clip
    frames: npt.NDArray[np.int64]  # number of frames of each clip
    duration: npt.NDArray[np.float64]  # seconds
    source_sha256: list[str]  # of the audio files
    data: npt.NDArray[Any]  # float16 or float32 (frames, mels)
    failures: list[tuple[str, str]]  # name and error of the files that could not be used
    sha256: str  # of the whole content

    def clip(self, index: int) -> npt.NDArray[Any]:
        """Return the features of a clip, a view (T, F)."""
        start = int(self.start[index])
        return self.data[start : start + int(self.frames[index])]


def open_features(path: Path, verify: bool = True) -> Features:
    """Open a features file.

    Parameters
    ----------
    path
        The file.
    verify
        Whether to check the digests of all frames, which reads the whole file; tables and
        attributes are always checked.

    Raises
    ------
    ArtifactError
        If the file is missing, unfinished, damaged, or not a features file.
    """
    path = Path(path)
    if not path.exists() and (progress := unfinished(path.resolve())):
        raise ArtifactError(f"{path}: not complete ({progress}); run the same extract again")
    flat = open_flat(path, _LAYOUT, verify)
    config = from_json(FeatureConfig, flat.attributes["config"], str(path))
    try:
        clips = read_clips(flat)
        failed, errors = flat.tables["/failures/name"], flat.tables["/failures/error"]
        check_texts([*failed, *errors])
        if flat.frames.shape[1] != config.n_mels:
            raise ArtifactError(
                f"its frames have {flat.frames.shape[1]} mel bands, its settings {config.n_mels}"
            )
        if len(flat.tables["/clips/sha256"]) != len(clips.names) or len(failed) != len(errors):
            raise ArtifactError("its tables differ in length")
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return Features(
        path,
        config,
        clips.names,
        clips.start,
        clips.frames,
        clips.duration,
        flat.tables["/clips/sha256"],
        flat.frames,
        list(zip(failed, errors, strict=True)),
        flat.attributes["sha256"],
    )
