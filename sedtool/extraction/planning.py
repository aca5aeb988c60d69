"""What an extraction would take, from the headers of the files and a few seconds of one of them."""

import math
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sedtool.audio import AudioInputs, AudioReader, find_audio
from sedtool.config import FeatureConfig
from sedtool.errors import AudioError
from sedtool.extraction.clips import IN_MEMORY, Work
from sedtool.extraction.outputs import refuse_at_once, refuse_output
from sedtool.extraction.settings import DEFAULTS, ExtractSettings
from sedtool.features import log_mel_blocks
from sedtool.shards import manifest_digest
from sedtool.store import DTYPES, unfinished
from sedtool.store.merge import check_siblings

__all__ = ["ExtractionPlan", "plan_extraction"]

TRIAL_SECONDS = 10.0  # of audio, whose features are timed
MOST_TRIALS = 20  # files, where decoding them fails
HEADER_SIZE = 7_000  # bytes of an output without clips
CLIP_SIZE = 200  # bytes a clip of tables in the output, and about as many in the journal
NAMES_SHOWN = 5


@dataclass(frozen=True)
class ExtractionPlan:
    """What an extraction would take. Sizes are bytes, times seconds."""

    output: Path
    n_files: int  # in all, or in the shard
    n_done: int  # of these, kept from an interrupted run
    unreadable: tuple[tuple[str, str], ...]  # name and error of files that fail before decoding
    n_unstated: int  # files that do not state their length, which is not counted below
    audio_seconds: float
    n_frames: int
    output_size: int
    disk_free: int
    memory: int
    seconds: float | None  # None if no file could be tried
    workers: int

    @property
    def disk_needed(self) -> int:
        """Bytes on the disk while the run goes on: the spool and the output."""
        return 2 * self.output_size

    def lines(self) -> list[str]:
        """Say it for people, a line each."""
        unstated = f" and {self.n_unstated} that do not say" if self.n_unstated else ""
        lines = [f"{self.n_files} files, {self.audio_seconds:.1f} s of audio{unstated}"]
        if self.unreadable:
            first = "; ".join(f"{name}: {error}" for name, error in self.unreadable[:NAMES_SHOWN])
            more = "; ..." if len(self.unreadable) > NAMES_SHOWN else ""
            lines.append(f"{len(self.unreadable)} of them cannot be used ({first}{more})")
        if self.n_done:
            lines.append(f"{self.n_done} are done by an interrupted run, which would go on")
        lines.append(
            f"{self.n_frames} frames, {_megabytes(self.output_size)} in {self.output}; meanwhile "
            f"{_megabytes(self.disk_needed)}, and {_megabytes(self.disk_free)} are free"
        )
        took = f"about {self.seconds:.0f} s" if self.seconds is not None else "an unknown time"
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        lines.append(f"{took} with {workers}, {_megabytes(self.memory)} of memory")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


def plan_extraction(
    inputs: AudioInputs | Sequence[Path],
    output: Path,
    config: FeatureConfig,
    settings: ExtractSettings = DEFAULTS,
    *,
    root: Path | None = None,
) -> ExtractionPlan:
    """Return what `extract` would take, given the same. No file is written.

    The time is that of the features of the first ten seconds of a file, times all audio that is
    left, over the workers there are cores for.

    Raises
    ------
    ConfigError, OutputExistsError, NothingUsableError
        As `extract` would.
    """
    output = Path(output)
    refuse_at_once(output, settings.overwrite)
    engine = settings.make_engine(config)
    files = find_audio(inputs, root)
    job = settings.job(config, list(files))
    goes_on = refuse_output(output, files, job, settings.overwrite)
    if settings.shard_is_auto:
        check_siblings(output, job.shard, manifest_digest(job.names))
    work = Work(config, engine, DTYPES[settings.dtype], settings.allow_truncated, output.resolve())
    headers = _Headers(work)
    for name in job.share:
        headers.add(name, files[name])
    before = unfinished(output.resolve()) if goes_on else None
    n_done = before.done if before else 0
    speed = headers.speed()
    left = headers.audio_seconds * (1 - n_done / max(len(job.share), 1))
    size = headers.n_frames * config.n_mels * np.dtype(DTYPES[settings.dtype]).itemsize
    return ExtractionPlan(
        output=output,
        n_files=len(job.share),
        n_done=n_done,
        unreadable=tuple(headers.unreadable),
        n_unstated=headers.n_unstated,
        audio_seconds=headers.audio_seconds,
        n_frames=headers.n_frames,
        output_size=size + HEADER_SIZE + CLIP_SIZE * len(job.share),
        disk_free=shutil.disk_usage(_existing(output.resolve())).free,
        memory=_peak_memory() + 2 * settings.workers * min(IN_MEMORY, size),
        seconds=left / speed / min(settings.workers, os.cpu_count() or 1) if speed else None,
        workers=settings.workers,
    )


class _Headers:
    """What the headers of files say, summed up."""

    def __init__(self, work: Work) -> None:
        self.audio_seconds = 0.0
        self.n_frames = self.n_unstated = 0
        self.unreadable: list[tuple[str, str]] = []
        self._work = work
        self._usable: list[tuple[str, Path]] = []  # the first few, to try

    def add(self, name: str, path: Path) -> None:
        """Count a file."""
        try:
            with self._work.open(name, path) as reader:
                seconds = reader.claimed_duration
        except AudioError as error:
            self.unreadable.append((printable(name), str(error).removeprefix(f"{path}: ")))
            return
        self.n_unstated += not seconds
        self.audio_seconds += seconds
        config = self._work.config
        self.n_frames += config.n_frames(math.ceil(seconds * config.sample_rate))
        if len(self._usable) < MOST_TRIALS:
            self._usable.append((name, path))

    def speed(self) -> float:
        """Return the seconds of audio whose features a second gives; 0 if no file could be used."""
        for name, path in self._usable:
            try:
                return max(self._try(name, path) for _ in range(2))  # the first time warms up
            except AudioError:
                continue
        return 0.0

    def _try(self, name: str, path: Path) -> float:
        started = time.perf_counter()
        with self._work.open(name, path) as reader:
            for _ in log_mel_blocks(_beginning(reader), self._work.config, self._work.engine):
                pass
            return reader.duration / (time.perf_counter() - started)


def _beginning(reader: AudioReader) -> Iterator[npt.NDArray[np.float32]]:
    for block in reader:
        yield block
        if reader.duration >= TRIAL_SECONDS:
            return


def _existing(path: Path) -> Path:
    """Return the nearest folder above a path that is there."""
    return next(folder for folder in path.parents if folder.is_dir())


def _peak_memory() -> int:
    """Return the most bytes this process has used."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
