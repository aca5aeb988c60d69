"""What is known of each clip: from its audio file, or from the table of a features file."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sedtool.audio import AudioReader, read_header
from sedtool.errors import AudioError, ConfigError
from sedtool.labels import check_name
from sedtool.store import open_features

__all__ = ["Clip", "copies", "inspect", "listed_clips"]

PROBE_SIZE = 2**16  # bytes compared before whole files of equal size are

Progress = Callable[[int, int, str], None]  # done, all, name of the latest
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Clip:
    """A clip; what is not known is None."""

    name: str
    path: Path | None = None
    duration: float | None = None  # seconds
    sample_rate: int | None = None  # Hz
    channels: int | None = None
    size: int | None = None  # bytes
    sha256: str | None = None  # of the audio file
    constant: float | None = None  # the value of all samples
    error: str | None = None  # why the audio cannot be used


def listed_clips(features: Iterable[Path]) -> dict[str, Clip]:
    """Return the clips of features files, those that extraction failed on included.

    Raises
    ------
    ConfigError
        If two files hold a clip of one name.
    ArtifactError
        If one cannot be read.
    """
    clips: dict[str, Clip] = {}
    for path in features:
        file = open_features(path, verify=False)
        table = zip(file.names, file.duration.tolist(), file.source_sha256, strict=True)
        here = [Clip(name, None, duration, sha256=digest) for name, duration, digest in table]
        for clip in [*here, *(Clip(name, error=error) for name, error in file.failures)]:
            if clips.setdefault(clip.name, clip) is not clip:
                raise ConfigError(f"clip {clip.name!r} is in {path} and in another input")
    return clips


def inspect(
    files: Mapping[str, Path], decode: bool, workers: int, progress: Progress | None = None
) -> dict[str, Clip]:
    """Read the header of each audio file, or all of it, several files at a time."""

    def look(item: tuple[str, Path]) -> Clip:
        name, path = item
        try:
            check_name(name)
            return _decoded(name, path) if decode else _header(name, path)
        except AudioError as error:
            return Clip(name, path, error=str(error).removeprefix(f"{path}: "))

    clips: dict[str, Clip] = {}
    for clip in _threaded(look, list(files.items()), workers):
        clips[clip.name] = clip
        if progress:
            progress(len(clips), len(files), clip.name)
    return clips


def _header(name: str, path: Path) -> Clip:
    header = read_header(path)
    return Clip(name, path, header.duration, header.sample_rate, header.channels, header.size)


def _decoded(name: str, path: Path) -> Clip:
    lows, highs = [], []
    with AudioReader(path, None) as reader:
        for block in reader:
            lows.append(float(block.min()))
            highs.append(float(block.max()))
        info = reader.info()
    constant = lows[0] if min(lows) == max(highs) else None
    return Clip(
        name,
        path,
        info.duration,
        info.sample_rate,
        info.channels,
        info.size,
        info.sha256,
        constant,
    )


def copies(clips: Iterable[Clip], workers: int) -> list[list[str]]:
    """Return the names of clips with the same audio file content, where there are several.

    Only files of equal size are compared, and only those read whole that agree in their middle:
    clips cut to one length have one size.
    """
    same: defaultdict[str, list[str]] = defaultdict(list)
    files = []
    for clip in clips:
        if clip.sha256:
            same[clip.sha256].append(clip.name)
        elif clip.path and clip.size:
            files.append(clip)
    suspects = _alike(files, [clip.size for clip in files])
    suspects = _alike(suspects, _threaded(_middle, suspects, workers))
    for clip, digest in zip(suspects, _threaded(_digest, suspects, workers), strict=True):
        if digest:
            same[digest].append(clip.name)
    return [sorted(names) for names in same.values() if len(names) > 1]


def _alike(clips: Sequence[Clip], keys: Iterable[object]) -> list[Clip]:
    """Return the clips that share their key with another one, in groups of equal keys."""
    groups: defaultdict[object, list[Clip]] = defaultdict(list)
    for clip, key in zip(clips, keys, strict=True):
        groups[clip.size, key].append(clip)
    return [clip for group in groups.values() if len(group) > 1 for clip in group]


def _middle(clip: Clip) -> bytes:
    """Return a digest of the middle of a file; empty if it has gone since."""
    assert clip.path and clip.size  # only files get here
    try:
        with clip.path.open("rb") as stream:
            stream.seek(max((clip.size - PROBE_SIZE) // 2, 0))
            return hashlib.sha256(stream.read(PROBE_SIZE)).digest()
    except OSError:
        return b""


def _digest(clip: Clip) -> str:
    assert clip.path
    try:
        with clip.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def _threaded(function: Callable[[T], U], items: Sequence[T], workers: int) -> Iterable[U]:
    """Yield the results in order; reading files releases Python's lock."""
    executor = ThreadPoolExecutor(workers)
    try:
        yield from executor.map(function, items)
    finally:  # after Ctrl-C, too
        executor.shutdown(cancel_futures=True)
