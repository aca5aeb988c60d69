"""The extraction of many files: what is done already, workers, failures, the output."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sedtool.atomic import write_failures
from sedtool.audio import AudioInputs, find_audio, stamp
from sedtool.config import FeatureConfig
from sedtool.errors import AudioError, InputsFailedError, NothingUsableError
from sedtool.extraction.clips import Work, extract_clip
from sedtool.extraction.outputs import refuse_at_once, refuse_output
from sedtool.extraction.settings import DEFAULTS, ExtractSettings
from sedtool.shards import manifest_digest
from sedtool.store import DTYPES, FeaturesWriter, SourceClip
from sedtool.store.merge import check_siblings

__all__ = ["ExtractionResult", "extract"]

CHUNK_SIZE = 2**20  # bytes copied at once

Progress = Callable[[int, int, str], None]  # clips done, all clips, name of the latest

_log = logging.getLogger(__name__)


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
