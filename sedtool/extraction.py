"""Audio files -> features.h5, several files at a time.

Threads, not processes: decoding, resampling and the Fourier transform release Python's lock, and a
fork after torch has started threads hangs. Each clip's frames wait in a temporary file of their
own, so memory is bounded by the number of workers, whatever the length of the clips; the output
has them in the order of their names, whichever was ready first.
"""

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from sedtool.atomic import (
    appears_whole,
    refuse_existing,
    refuse_input,
    resource_errors,
    write_failures,
)
from sedtool.audio import (
    AUDIO_SUFFIXES,
    RESAMPLER,
    AudioFiles,
    AudioInputs,
    AudioReader,
    find_audio,
    stamp,
    unnamed,
)
from sedtool.config import ExtractConfig, FeatureConfig
from sedtool.errors import (
    ArtifactError,
    AudioError,
    ConfigError,
    InputsFailedError,
    NothingUsableError,
)
from sedtool.features import Engine, log_mel_blocks, native_engine, torchaudio_engine
from sedtool.labels import printable
from sedtool.shards import WHOLE, Shard, manifest_digest
from sedtool.store import (
    DTYPES,
    Features,
    FeaturesHeader,
    FeaturesWriter,
    SourceClip,
    open_features,
)
from sedtool.store.made import Compared, read_made, recording
from sedtool.store.merge import check_siblings
from sedtool.store.spool import resumes
from sedtool.text import counted, file_sha256, real_time

CHUNK_SIZE = 2**20  # bytes copied at once
IN_MEMORY = 2**23  # bytes of a clip's features; longer clips wait on the disk

Progress = Callable[[int, int, str], None]  # clips done, all clips, name of the latest

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractTask:
    """What an extraction is of, once all that can be refused beforehand was."""

    output: Path
    files: AudioFiles  # of the whole list, by name
    names: list[str]  # of these, those to extract
    header: FeaturesHeader
    engine: Engine
    resumes: bool  # whether an unfinished run of the job is there
    stamps: dict[str, tuple[int, int]]  # of the files, before they are read
    old: Features | None = None  # a finished output, and how its files differ
    compared: Compared | None = None

    @property
    def is_done(self) -> bool:
        """Return whether the finished output is what would be made."""
        return self.compared is not None and self.compared.is_same and not self.resumes

    @property
    def kept(self) -> set[str]:
        """Return the names of the clips that are taken over from the finished output."""
        if self.old is None or self.compared is None:
            return set()
        return self.compared.kept.intersection(self.old.names)

    def open(self, name: str) -> AudioReader:
        """Return a reader of a clip."""
        config = self.header.config
        return AudioReader(
            self.files[name],
            config.sample_rate,
            config.channel,
            name=name,
            allow_truncated=self.header.allow_truncated,
        )

    def claimed_duration(self, name: str) -> float:
        """Return the seconds that the header of a file states; 0 if it does not."""
        with unnamed(self.files[name]), self.open(name) as reader:
            return reader.claimed_duration


def prepare(
    inputs: AudioInputs | Sequence[Path],
    output: Path,
    features: FeatureConfig,
    config: ExtractConfig,
    root: Path | None = None,
) -> ExtractTask:
    """Find the files, and refuse what cannot end well; see `extract`."""
    output = Path(output)
    if output.suffix.lower() in AUDIO_SUFFIXES:
        raise ConfigError(f"{output} is named as audio is; features go to a file such as out.h5")
    old = None if config.overwrite else _finished(output)
    engine, made_by = _engine(features, config)
    shard = Shard.of(config.shard)
    files = find_audio(inputs, root)
    refuse_input(output, files.values())
    names, manifest = shard.select(list(files)), manifest_digest(list(files))
    header = FeaturesHeader(
        features, config.dtype, made_by, config.allow_truncated, shard, manifest
    )
    goes_on = resumes(output, header.job(len(names)), config.overwrite, config.update)
    if config.shard == "auto":
        check_siblings(output, shard, manifest)
    stamps = {name: stamp(files[name]) for name in names}
    task = ExtractTask(output, files, names, header, engine, goes_on, stamps)
    if old is None or (goes_on and old.header == header and not config.update):
        return task
    compared = _compared(task, old)
    compared.refuse(config.update)
    return replace(task, old=old, compared=compared)


def _finished(output: Path) -> Features | None:
    """Return the output if it is there and finished; refuse what is something else."""
    if output.exists() and appears_whole(output):
        with suppress(ArtifactError):
            return open_features(output, verify=False)
        refuse_existing(output, overwrite=False)
    return None


def _compared(task: ExtractTask, old: Features) -> Compared:
    """Compare a finished output with the task.

    A file is as it was if its size and time are, or else its size and digest.
    """
    head, rows = read_made(task.output)
    if head.get("sha256") != old.sha256:
        rows = {name: [] for name, _ in old.failures}
    known: dict[str, list[Any]] = {name: [] for name in old.names} | rows
    digests = {clip.name: [clip.size, clip.sha256] for clip in old.sources()}

    def is_same(name: str) -> bool:
        size, modified = task.stamps[name]
        if rows.get(name) == [size, modified]:
            return True
        before = digests.get(name, [-1])
        with suppress(OSError):
            return before[0] == size and before[1] == file_sha256(task.files[name])
        return False

    before = old.header.job(len(digests) + len(old.failures))
    before["sedtool_version"] = old.sedtool_version
    now, kept = task.header.job(len(task.names)), set(filter(is_same, task.names))
    return Compared(task.output, before, now, known, task.names, kept)


def _engine(features: FeatureConfig, config: ExtractConfig) -> tuple[Engine, str]:
    """Return what computes the features, and its name in the file."""
    if features.resampler != RESAMPLER:
        raise ConfigError(f"resampler must be {RESAMPLER!r}, not {features.resampler!r}")
    if config.engine == "native":
        return native_engine(features), "native"
    kind = config.device.partition(":")[0]  # two GPUs make the same
    return torchaudio_engine(features, config.device), f"{config.engine} on {kind}"


@dataclass
class ExtractionResult:
    """What was done."""

    n_files: int  # in all, or in the shard
    shard: Shard = WHOLE
    n_clips: int = 0  # in the output
    n_resumed: int = 0  # of these, taken over from an interrupted run
    n_kept: int = 0  # of these, taken over from a finished output
    changes: str = ""  # to its files, in words
    is_done: bool = False  # whether it is what would have been made, so that nothing was done
    n_truncated: int = 0  # of these, used as far as they go
    n_passed_over: int = 0  # files of audio or video that cannot be read
    audio_seconds: float = 0.0  # of the clips that were computed, not resumed
    seconds: float = 0.0  # that the run took
    failures: list[tuple[str, str, str]] = field(default_factory=list)  # name, stage, error
    failures_path: Path | None = None

    def __str__(self) -> str:
        """Return it in words: ``"300 clips, 2 failed, 3000 s of audio in 1.2 s (...)"``."""
        if self.is_done:
            return f"nothing to do: {counted(self.n_files, 'file')}, finished and the same"
        resumed = f" ({self.n_resumed} of an interrupted run)" if self.n_resumed else ""
        resumed += f" ({self.changes}, {self.n_kept} taken over)" if self.changes else ""
        truncated = f", {self.n_truncated} truncated" if self.n_truncated else ""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        passed_over = f", {self.n_passed_over} passed over" if self.n_passed_over else ""
        return f"{self.n_clips} clips{resumed}{truncated}{failed}{passed_over}, " + real_time(
            self.audio_seconds, self.seconds
        )


def extract(
    inputs: AudioInputs | Sequence[Path],
    output: Path,
    features: FeatureConfig,
    config: ExtractConfig | None = None,
    *,
    root: Path | None = None,
    progress: Progress | None = None,
) -> ExtractionResult:
    """Compute the features of audio files, and of folders of them.

    Interrupted at any moment, the same call goes on where it stopped, and ends with the same bytes.
    A file that cannot be used becomes a row of ``OUTPUT.failures.tsv`` and of the output itself. A
    shard in which no file can be used is an output without clips, so that all parts are there.
    Where a finished output is what would be made, nothing is done; with `config.update`, clips
    whose files are unchanged are taken over from one that was made of other files.

    Parameters
    ----------
    inputs, root
        As for `sedtool.audio.find_audio`. Names and their order come from the whole list, whatever
        the shard.
    output
        The features file.
    features, config
        What the features are, and how the run works.
    progress
        Called in this thread after each clip.

    Raises
    ------
    ConfigError, OutputExistsError
        Before anything is read.
    InputsFailedError
        At the first file that cannot be used, if `config.fail_fast`; a rerun goes on.
    NothingUsableError
        If there is no audio file, or none can be used.
    """
    started = time.monotonic()
    config = config or ExtractConfig()
    task = prepare(inputs, output, features, config, root)
    result = ExtractionResult(len(task.names), task.header.shard)
    result.n_passed_over = len(task.files.passed_over)
    if task.old is not None and task.is_done and not (config.update and task.old.failures):
        return _as_it_is(result, task.old)
    job = task.output, task.header, task.names, config.overwrite, config.update
    with FeaturesWriter(*job, task.old) as writer:
        for name, clip in list(writer.done.items()):
            if task.stamps.get(name) != (clip.size, clip.modified):
                del writer.done[name]  # its file has changed since the run was interrupted
        result.n_resumed = len(writer.done)
        if result.n_resumed:
            _log.info("%s: %d of %d clips are done", output, result.n_resumed, result.n_files)
        writer.take_over(task.kept)
        result.n_kept = len(writer.done) - result.n_resumed
        result.changes = str(task.compared or "")
        _Extraction(task, config, writer, result, progress).run()
        result.failures.sort()
        is_empty = not writer.done and result.shard.is_whole
        if not is_empty:
            sha256 = writer.finish([(name, error) for name, _, error in result.failures])
        result.failures_path = write_failures(task.output, result.failures)  # after it
        if not is_empty:
            with recording(task.output, lambda: {"sha256": sha256}) as note:
                for name in task.names:
                    note([name, *task.stamps[name]])
        if is_empty:
            name, _, error = result.failures[0]
            raise NothingUsableError(
                f"none of {result.n_files} files can be used (the first, {name}: {error}); "
                f"see {result.failures_path}"
            )
        result.n_clips = len(writer.done)
        result.n_truncated = sum(clip.truncated for clip in writer.done.values())
    result.seconds = time.monotonic() - started
    return result


def _as_it_is(result: ExtractionResult, old: Features) -> ExtractionResult:
    """Complete the result of a run that had nothing to do."""
    result.is_done, result.n_clips, result.n_truncated = True, len(old.names), sum(old.truncated)
    result.failures = [(name, "extract", error) for name, error in old.failures]
    result.failures_path = write_failures(old.path, result.failures)  # as it is there, as a rule
    return result


@dataclass(frozen=True)
class _Extraction:
    """A run on its way."""

    task: ExtractTask
    config: ExtractConfig
    writer: FeaturesWriter
    result: ExtractionResult
    progress: Progress | None

    def run(self) -> None:
        """Extract what is not done yet, at most twice as many in hand as there are workers."""
        workers = self.config.workers
        waiting = iter([name for name in self.task.names if name not in self.writer.done])
        stop = threading.Event()
        pending: dict[Future[tuple[SourceClip, BinaryIO]], str] = {}
        executor = ThreadPoolExecutor(workers)
        try:
            while True:
                for name in islice(waiting, 2 * workers - len(pending)):
                    pending[executor.submit(extract_clip, name, self.task, stop)] = name
                if not pending:
                    break
                done = wait(pending, return_when=FIRST_COMPLETED).done
                for future in [each for each in pending if each in done]:  # in their order
                    self._collect(pending.pop(future), future)
        finally:  # after an error too: clips that are finished stay for a rerun
            stop.set()
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
            if self.config.fail_fast:
                raise InputsFailedError(
                    f"{printable(name)}: {error}; stopped at this first failure, and "
                    f"{len(done)} of {self.result.n_files} clips are kept for a rerun"
                ) from error
        else:
            with frames:
                self.writer.add(clip, iter(lambda: frames.read(CHUNK_SIZE), b""))
            self.result.audio_seconds += clip.duration
        if self.progress:
            self.progress(len(done) + len(failures), self.result.n_files, name)


def extract_clip(
    name: str, task: ExtractTask, stop: threading.Event
) -> tuple[SourceClip, BinaryIO]:
    """Return a clip, and its features in a temporary file.

    What an AudioError says does not tell where the file lay: the name says which it was, and an
    artifact need not tell more.
    """
    header, n_frames, folder = task.header, 0, str(task.output.resolve().parent)
    with ExitStack() as closing:
        spooled = closing.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY, dir=folder))
        frames = cast("BinaryIO", spooled)
        with unnamed(task.files[name]):
            _, modified = stamp(task.files[name])
            with task.open(name) as reader:
                for block in log_mel_blocks(reader, header.config, task.engine):
                    if stop.is_set():
                        raise CancelledError
                    stored = as_stored(block, DTYPES[header.dtype])
                    with resource_errors(task.output):
                        frames.write(stored)
                    n_frames += len(block)
                info = reader.info()
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
