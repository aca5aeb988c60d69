"""Audio files -> features.h5, several files at a time.

Threads, not processes: decoding, resampling and the Fourier transform release Python's lock, and a
fork after torch has started threads hangs. Each clip's frames wait in a temporary file of their
own, so memory is bounded by the number of workers, whatever the length of the clips; the output
has them in the order of their names, whichever was ready first.
"""

import logging
import math
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from sedtool.atomic import refuse_existing, resource_errors, write_failures
from sedtool.audio import RESAMPLER, AudioReader, check_name, find_audio, printable
from sedtool.config import FeatureConfig
from sedtool.errors import AudioError, ConfigError, NothingUsableError
from sedtool.features import Engine, log_mel_blocks, native_engine, torchaudio_engine
from sedtool.store import DTYPES, FeaturesWriter, SourceClip

__all__ = ["ExtractionResult", "extract"]

IN_MEMORY = 2**23  # bytes of a clip's features; longer clips wait on the disk
CHUNK_SIZE = 2**20  # bytes copied at once

Progress = Callable[[int, int, str], None]  # clips done, all clips, name of the latest

_log = logging.getLogger(__name__)


@dataclass
class ExtractionResult:
    """What was done."""

    n_clips: int = 0  # in the output
    n_resumed: int = 0  # of these, taken over from an interrupted run
    audio_seconds: float = 0.0  # in the output
    seconds: float = 0.0  # that the run took
    failures: list[tuple[str, str, str]] = field(default_factory=list)  # name, stage, error
    failures_path: Path | None = None


def extract(
    inputs: Sequence[Path],
    output: Path,
    config: FeatureConfig,
    *,
    root: Path | None = None,
    workers: int = 1,
    engine: str = "native",
    device: str = "cpu",
    dtype: str = "f16",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExtractionResult:
    """Compute the features of audio files, and of folders of them.

    Interrupted at any moment, the same call goes on where it stopped, and ends with the same bytes.
    A file that cannot be used becomes a row of ``OUTPUT.failures.tsv`` and of the output itself.

    Parameters
    ----------
    inputs, root
        As for `sedtool.audio.find_audio`.
    output
        The features file.
    config
        What the features are.
    workers
        Files at a time; changes no byte of the output.
    engine, device
        ``"native"``, or ``"torchaudio"`` on a torch device.
    dtype
        ``"f16"`` or ``"f32"``, as stored.
    overwrite
        Whether a complete output may be replaced.
    progress
        Called in this thread after each clip.

    Raises
    ------
    ConfigError, OutputExistsError
        Before anything is read.
    NothingUsableError
        If there is no audio file, or none can be used.
    ResourceError
        If the disk is full or another process is making the same output; a rerun goes on.
    """
    started = time.monotonic()
    output = Path(output)
    refuse_existing(output, overwrite)
    _check(config, workers, engine)
    files = find_audio(inputs, root)
    result = ExtractionResult()
    made_by = engine if engine == "native" else f"{engine} on {device}"
    with FeaturesWriter(output, config, list(files), dtype, made_by, overwrite) as writer:
        for name, clip in list(writer.done.items()):
            if _stamp(files[name]) != (clip.size, clip.modified):
                del writer.done[name]  # the file has changed since
        result.n_resumed = len(writer.done)
        if result.n_resumed:
            _log.info("%s: %d of %d clips are done", output, result.n_resumed, len(files))
        work = _Work(config, _engine(config, engine, device), DTYPES[dtype], output.resolve())
        _extract_all(files, work, workers, writer, result, progress)
        result.failures.sort()
        result.failures_path = write_failures(output, result.failures)
        if not writer.done:
            name, _, error = result.failures[0]
            raise NothingUsableError(
                f"none of {len(files)} files can be used (the first, {name}: {error}); "
                f"see {result.failures_path}"
            )
        writer.finish([(name, error) for name, _, error in result.failures])
        result.n_clips = len(writer.done)
        result.audio_seconds = math.fsum(clip.duration for clip in writer.done.values())
    result.seconds = time.monotonic() - started
    return result


def _check(config: FeatureConfig, workers: int, engine: str) -> None:
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, not {workers}")
    if engine not in ("native", "torchaudio"):
        raise ConfigError(f"engine must be native or torchaudio, not {engine!r}")
    if config.resampler != RESAMPLER:
        raise ConfigError(f"resampler must be {RESAMPLER!r}, not {config.resampler!r}")


def _engine(config: FeatureConfig, engine: str, device: str) -> Engine:
    return native_engine(config) if engine == "native" else torchaudio_engine(config, device)


def _stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file does: its size, and when it was written, ns since 1970."""
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class _Work:
    """What a worker needs to know, and a flag that makes it stop."""

    config: FeatureConfig
    engine: Engine
    dtype: str  # of numpy
    output: Path  # temporary files are made beside it
    stop: threading.Event = field(default_factory=threading.Event)


def _extract_all(
    files: dict[str, Path],
    work: _Work,
    workers: int,
    writer: FeaturesWriter,
    result: ExtractionResult,
    progress: Progress | None,
) -> None:
    """Extract what is not done yet, at most twice as many clips in hand as there are workers."""
    waiting = iter([name for name in files if name not in writer.done])
    pending: dict[Future[tuple[SourceClip, BinaryIO]], str] = {}
    executor = ThreadPoolExecutor(workers)
    try:
        while True:
            for name in waiting:
                pending[executor.submit(_extract_one, name, files[name], work)] = name
                if len(pending) >= 2 * workers:
                    break
            if not pending:
                break
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                name = pending.pop(future)
                _collect(name, future, writer, result)
                if progress:
                    progress(len(writer.done) + len(result.failures), len(files), name)
    finally:  # after an error too: clips that are finished stay for a rerun
        work.stop.set()
        executor.shutdown(cancel_futures=True)
        for future in pending:
            if not future.cancelled() and not future.exception():
                future.result()[1].close()


def _collect(
    name: str,
    future: "Future[tuple[SourceClip, BinaryIO]]",
    writer: FeaturesWriter,
    result: ExtractionResult,
) -> None:
    try:
        clip, frames = future.result()
    except AudioError as error:
        result.failures.append((printable(name), "extract", str(error)))
        return
    with frames:
        writer.add(clip, iter(lambda: frames.read(CHUNK_SIZE), b""))


def _extract_one(name: str, path: Path, work: _Work) -> tuple[SourceClip, BinaryIO]:
    """Return what is known of a clip, and its features in a temporary file."""
    config = work.config
    n_frames = 0
    with ExitStack() as closing:
        frames = cast(
            "BinaryIO",
            closing.enter_context(
                tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(work.output.parent))
            ),
        )
        try:
            check_name(name)
            _, modified = _stamp(path)
            with AudioReader(path, config.sample_rate, config.channel) as reader:
                for block in log_mel_blocks(reader, config, work.engine):
                    if work.stop.is_set():
                        raise CancelledError
                    stored = _as_stored(block, work.dtype)
                    with resource_errors(work.output):
                        frames.write(stored)
                    n_frames += len(block)
                info = reader.info()
        except AudioError as error:
            # The name says which file it was; an artifact need not tell where it lay.
            raise AudioError(str(error).removeprefix(f"{path}: ")) from error
        frames.seek(0)
        closing.pop_all()
    return SourceClip(name, n_frames, **asdict(info), modified=modified), frames


def _as_stored(block: npt.NDArray[np.float32], dtype: str) -> bytes:
    """Return frames as bytes of the type they are stored in."""
    with np.errstate(over="ignore"):
        stored = block.astype(dtype)
    if not np.isfinite(stored).all():
        raise AudioError("its features are not finite; check the floor of the logarithm")
    return stored.tobytes()
