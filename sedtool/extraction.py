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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from sedtool.atomic import refuse_existing, refuse_input, resource_errors, write_failures
from sedtool.audio import AUDIO_SUFFIXES, RESAMPLER, AudioInputs, AudioReader, find_audio, stamp
from sedtool.config import FeatureConfig
from sedtool.errors import AudioError, ConfigError, InputsFailedError, NothingUsableError
from sedtool.features import Engine, log_mel_blocks, native_engine, torchaudio_engine
from sedtool.labels import printable
from sedtool.shards import WHOLE, Shard, manifest_digest
from sedtool.store import (
    DTYPES,
    FeaturesJob,
    FeaturesWriter,
    SourceClip,
    refuse_finished,
    unfinished,
)
from sedtool.store.merge import check_siblings

__all__ = ["ExtractSettings", "ExtractionResult", "extract"]

CHUNK_SIZE = 2**20  # bytes copied at once
IN_MEMORY = 2**23  # bytes of a clip's features; longer clips wait on the disk

Progress = Callable[[int, int, str], None]  # clips done, all clips, name of the latest

_log = logging.getLogger(__name__)

ENGINES = ("native", "torchaudio")


@dataclass(frozen=True)
class ExtractSettings:
    """How an extraction is run."""

    workers: int = 1  # files at a time; changes no byte of the output
    engine: str = "native"  # or "torchaudio"
    device: str = "cpu"  # where torchaudio runs
    dtype: str = "f16"  # or "f32", as stored
    shard: Shard = WHOLE  # the part of all files that is done
    shard_is_auto: bool = False  # whether the environment said which; parts beside are then asked
    allow_truncated: bool = False  # whether a file whose end is missing is used as far as it goes
    fail_fast: bool = False  # stop at the first file that cannot be used
    overwrite: bool = False  # replace a complete output

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers must be at least 1, not {self.workers}")
        if self.engine not in ENGINES:
            raise ConfigError(f"engine must be {' or '.join(ENGINES)}, not {self.engine!r}")
        if self.engine == "native" and self.device != "cpu":
            raise ConfigError("--device says where torchaudio runs: give --engine torchaudio, too")

    def job(self, config: FeatureConfig, names: Sequence[str]) -> FeaturesJob:
        """Return what the output is to be; `names` is the whole list, in order."""
        kind = self.device.partition(":")[0]  # two GPUs make the same
        made_by = self.engine if self.engine == "native" else f"{self.engine} on {kind}"
        return FeaturesJob(config, names, self.dtype, made_by, self.shard, self.allow_truncated)

    def make_engine(self, config: FeatureConfig) -> Engine:
        """Return what computes the features.

        Raises
        ------
        ConfigError
            If no engine here can make them.
        ResourceError
            If there is no such device.
        """
        if config.resampler != RESAMPLER:
            raise ConfigError(f"resampler must be {RESAMPLER!r}, not {config.resampler!r}")
        if self.engine == "native":
            return native_engine(config)
        return torchaudio_engine(config, self.device)


DEFAULTS = ExtractSettings()


@dataclass(frozen=True)
class Work:
    """What a worker needs to know, and a flag that makes it stop."""

    config: FeatureConfig
    engine: Engine
    dtype: str  # of numpy
    allow_truncated: bool
    output: Path  # temporary files are made beside it
    stop: threading.Event = field(default_factory=threading.Event)

    def open(self, name: str, path: Path) -> AudioReader:
        """Return a reader of a clip."""
        return AudioReader(
            path,
            self.config.sample_rate,
            self.config.channel,
            name=name,
            allow_truncated=self.allow_truncated,
        )


def extract_clip(name: str, path: Path, work: Work) -> tuple[SourceClip, BinaryIO]:
    """Return what is known of a clip, and its features in a temporary file.

    Raises
    ------
    AudioError
        If it cannot be used. The message does not say where the file lay: the name says which it
        was, and an artifact need not tell more.
    """
    n_frames = 0
    with ExitStack() as closing:
        frames = cast(
            "BinaryIO",
            closing.enter_context(
                tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(work.output.parent))
            ),
        )
        try:
            _, modified = stamp(path)
            with work.open(name, path) as reader:
                for block in log_mel_blocks(reader, work.config, work.engine):
                    if work.stop.is_set():
                        raise CancelledError
                    stored = as_stored(block, work.dtype)
                    with resource_errors(work.output):
                        frames.write(stored)
                    n_frames += len(block)
                info = reader.info()
        except AudioError as error:
            raise AudioError(str(error).removeprefix(f"{path}: ")) from error
        frames.seek(0)
        closing.pop_all()
    clip = SourceClip(name, n_frames, **asdict(info), modified=modified, truncated=reader.truncated)
    return clip, frames


def as_stored(block: npt.NDArray[np.float32], dtype: str) -> bytes:
    """Return frames as bytes of the type they are stored in."""
    largest = np.finfo(dtype).max
    if not -largest <= block.min() <= block.max() <= largest:  # NaN fails every comparison
        raise AudioError("its features are not finite; check the floor of the logarithm")
    return block.astype(dtype).tobytes()


@dataclass
class ExtractionResult:
    """What was done."""

    n_files: int  # in all, or in the shard
    n_clips: int = 0  # in the output
    n_resumed: int = 0  # of these, taken over from an interrupted run
    n_truncated: int = 0  # of these, used as far as they go
    audio_seconds: float = 0.0  # in the output
    seconds: float = 0.0  # that the run took
    failures: list[tuple[str, str, str]] = field(default_factory=list)  # name, stage, error
    failures_path: Path | None = None

    def __str__(self) -> str:
        """Return it in words: ``"300 clips, 2 failed, 3000 s of audio in 1.2 s (...)"``."""
        resumed = f" ({self.n_resumed} of an interrupted run)" if self.n_resumed else ""
        truncated = f", {self.n_truncated} truncated" if self.n_truncated else ""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        speed = self.audio_seconds / self.seconds if self.seconds else 0.0
        return (
            f"{self.n_clips} clips{resumed}{truncated}{failed}, {self.audio_seconds:.0f} s of "
            f"audio in {self.seconds:.1f} s ({speed:.0f} times real time)"
        )


def extract(
    inputs: AudioInputs | Sequence[Path],
    output: Path,
    config: FeatureConfig,
    settings: ExtractSettings = DEFAULTS,
    *,
    root: Path | None = None,
    progress: Progress | None = None,
) -> ExtractionResult:
    """Compute the features of audio files, and of folders of them.

    Interrupted at any moment, the same call goes on where it stopped, and ends with the same bytes.
    A file that cannot be used becomes a row of ``OUTPUT.failures.tsv`` and of the output itself. A
    shard in which no file can be used is an output without clips, so that all parts are there.

    Parameters
    ----------
    inputs, root
        As for `sedtool.audio.find_audio`. Names and their order come from the whole list, whatever
        the shard.
    output
        The features file.
    config
        What the features are.
    settings
        How the run works.
    progress
        Called in this thread after each clip.

    Raises
    ------
    ConfigError, OutputExistsError
        Before anything is read.
    InputsFailedError
        At the first file that cannot be used, if `settings.fail_fast`; a rerun goes on.
    NothingUsableError
        If there is no audio file, or none can be used.
    ResourceError
        If the disk is full or another process is making the same output; a rerun goes on.
    """
    started = time.monotonic()
    output = Path(output)
    refuse_at_once(output, settings.overwrite)
    engine = settings.make_engine(config)
    files = find_audio(inputs, root)
    job = settings.job(config, list(files))
    refuse_output(output, files, job, settings.overwrite)
    if settings.shard_is_auto:
        check_siblings(output, job.shard, manifest_digest(job.names))
    result = ExtractionResult(len(job.share))
    with FeaturesWriter(output, job, settings.overwrite) as writer:
        _forget_changed(files, writer)
        result.n_resumed = len(writer.done)
        if result.n_resumed:
            _log.info("%s: %d of %d clips are done", output, result.n_resumed, result.n_files)
        work = Work(
            config, engine, DTYPES[settings.dtype], settings.allow_truncated, output.resolve()
        )
        waiting = {name: files[name] for name in job.share if name not in writer.done}
        _Extraction(work, settings, writer, result, progress).run(waiting)
        result.failures.sort()
        is_empty = not writer.done and settings.shard.is_whole
        if not is_empty:
            writer.finish([(name, error) for name, _, error in result.failures])
        result.failures_path = write_failures(output, result.failures)  # after it
        if is_empty:
            raise NothingUsableError(_none_usable(result))
        result.n_clips = len(writer.done)
        result.n_truncated = sum(clip.truncated for clip in writer.done.values())
        result.audio_seconds = math.fsum(clip.duration for clip in writer.done.values())
    result.seconds = time.monotonic() - started
    return result


def _forget_changed(files: dict[str, Path], writer: FeaturesWriter) -> None:
    """Take out of what an interrupted run did the files that have changed since."""
    for name, clip in list(writer.done.items()):
        if stamp(files[name]) != (clip.size, clip.modified):
            del writer.done[name]


def _none_usable(result: ExtractionResult) -> str:
    name, _, error = result.failures[0]
    return (
        f"none of {result.n_files} files can be used (the first, {name}: {error}); "
        f"see {result.failures_path}"
    )


@dataclass(frozen=True)
class _Extraction:
    """A run on its way."""

    work: Work
    settings: ExtractSettings
    writer: FeaturesWriter
    result: ExtractionResult
    progress: Progress | None

    def run(self, files: dict[str, Path]) -> None:
        """Extract files, at most twice as many in hand as there are workers."""
        workers = self.settings.workers
        waiting = iter(files)
        pending: dict[Future[tuple[SourceClip, BinaryIO]], str] = {}
        executor = ThreadPoolExecutor(workers)
        try:
            while True:
                for name in waiting:
                    pending[executor.submit(extract_clip, name, files[name], self.work)] = name
                    if len(pending) >= 2 * workers:
                        break
                if not pending:
                    break
                done = wait(pending, return_when=FIRST_COMPLETED).done
                for future in [each for each in pending if each in done]:  # in their order
                    self._collect(pending.pop(future), future)
        finally:  # after an error too: clips that are finished stay for a rerun
            self.work.stop.set()
            executor.shutdown(cancel_futures=True)
            for future in pending:
                if not future.cancelled() and not future.exception():
                    future.result()[1].close()

    def _collect(self, name: str, future: "Future[tuple[SourceClip, BinaryIO]]") -> None:
        """Put a clip that is finished where it belongs."""
        done, failures = self.writer.done, self.result.failures
        try:
            clip, frames = future.result()
        except AudioError as error:
            failures.append((printable(name), "extract", str(error)))
            if self.settings.fail_fast:
                raise InputsFailedError(
                    f"{printable(name)}: {error}; stopped at this first failure, and "
                    f"{len(done)} of {self.result.n_files} clips are kept for a rerun"
                ) from error
        else:
            with frames:
                self.writer.add(clip, iter(lambda: frames.read(CHUNK_SIZE), b""))
        if self.progress:
            self.progress(len(done) + len(failures), self.result.n_files, name)


def refuse_at_once(output: Path, overwrite: bool) -> None:
    """Refuse, before any file is looked for, an output that no files could be meant for.

    Raises
    ------
    ConfigError
        If it has the name of an audio file.
    OutputExistsError
        If it is complete and `overwrite` is false.
    """
    if output.suffix.lower() in AUDIO_SUFFIXES:
        raise ConfigError(f"{output} is named as audio is; features go to a file such as out.h5")
    if unfinished(output.resolve()) is None:  # else `refuse_output` knows whether it can go on
        refuse_existing(output, overwrite)


def refuse_output(
    output: Path, files: Mapping[str, Path], job: FeaturesJob, overwrite: bool
) -> bool:
    """Refuse an output that is one of the audio files, or as `refuse_finished` does.

    Returns whether an unfinished run of the job is there.
    """
    refuse_input(output, files.values())
    return refuse_finished(output, job, overwrite)
