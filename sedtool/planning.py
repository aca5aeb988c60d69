"""What extract, train and infer would take: for a dry run, which writes nothing."""

import datetime
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sedtool.audio import AudioInputs, AudioReader, find_audio
from sedtool.checkpoint import Model
from sedtool.config import FeatureConfig, TrainConfig
from sedtool.errors import AudioError
from sedtool.extraction import (
    DEFAULTS,
    IN_MEMORY,
    ExtractSettings,
    Work,
    refuse_at_once,
    refuse_output,
)
from sedtool.features import log_mel_blocks
from sedtool.inference import InferOutputs, InferRun, InferSettings
from sedtool.inference.infer import InferTask, prepare
from sedtool.inference.outputs import name_problem, refuse_finished
from sedtool.inference.sources import Source
from sedtool.labels import printable
from sedtool.machine import free_disk, peak_memory, pick_device
from sedtool.scoring import Recording, predict, score_recordings
from sedtool.shards import manifest_digest
from sedtool.store import DTYPES, Scores, unfinished
from sedtool.store.merge import check_siblings
from sedtool.training.folder import RunWriter
from sedtool.training.inputs import TrainInputs
from sedtool.training.trainer import Trainer

__all__ = [
    "ExtractionPlan",
    "InferencePlan",
    "TrainingPlan",
    "plan_extraction",
    "plan_inference",
    "plan_training",
]

TRIAL_SECONDS = 10.0  # of audio, whose features are timed
MOST_TRIALS = 20  # files, where decoding them fails
HEADER_SIZE = 7_000  # bytes of an output without clips
CLIP_SIZE = 200  # bytes a clip of tables in the output, and about as many in the journal
NAMES_SHOWN = 5
_TIMED_STEPS = 2
_METRICS_CELL = 12  # bytes
_FLOAT = 4  # bytes of a stored score


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
        disk_free=free_disk(output.resolve()),
        memory=peak_memory() + 2 * settings.workers * min(IN_MEMORY, size),
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


@dataclass(frozen=True)
class TrainingPlan:
    """What a run would take. Sizes are bytes, times seconds."""

    run: Path
    n_clips: int
    n_validation_clips: int
    n_classes: int
    n_parameters: int
    epochs: int
    steps: int  # an epoch
    steps_done: int  # by the run that would be resumed
    seconds: float  # for what is left
    disk_needed: int
    disk_free: int
    memory: int
    device: str

    def lines(self) -> list[str]:
        """Say it for people, a line each."""
        lines = [
            f"{self.n_clips} clips to train and {self.n_validation_clips} to validate on, "
            f"{self.n_classes} classes, {self.n_parameters} parameters",
            f"{self.epochs} epochs of {self.steps} steps, "
            f"about {datetime.timedelta(seconds=round(self.seconds))} on {self.device}",
        ]
        if self.steps_done:
            lines.append(f"{self.steps_done} steps are done by the run that would be resumed")
        lines.append(
            f"{_megabytes(self.disk_needed)} in {self.run}, and {_megabytes(self.disk_free)} are "
            f"free; {_megabytes(self.memory)} of memory"
        )
        return lines

    def __str__(self) -> str:
        """Return the lines as one text."""
        return "\n".join(self.lines())


def plan_training(
    run: Path,
    inputs: TrainInputs,
    config: TrainConfig,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> TrainingPlan:
    """Return what `train` would take, given the same. Nothing is written.

    All inputs are read and checked, and a few steps are taken and timed, as the run would take
    them; of early stopping nothing can be known.

    Raises
    ------
    SedtoolError
        As `train` would, before its first step or in the first few.
    """
    chosen = pick_device(device)
    folder = RunWriter(run, resume, overwrite)
    folder.refuse_existing()
    trainer = Trainer(folder, inputs, config, chosen, lambda: 0)
    state = folder.load_state() if resume else None
    if state is not None:
        trainer.restore(state)
    steps_done, epochs_done = trainer.step, len(trainer.rows)
    step = _time_steps(trainer, chosen)
    validation = _time_validation(trainer, chosen)
    return TrainingPlan(
        run,
        len(trainer.clips),
        len(trainer.validation.clips),
        len(trainer.vocabulary),
        sum(parameter.numel() for parameter in trainer.model.detector.parameters()),
        config.epochs,
        trainer.steps,
        steps_done,
        max(config.epochs * trainer.steps - steps_done, 0) * step
        + max(config.epochs - epochs_done, 0) * validation,
        _disk_needed(trainer),
        free_disk(run),
        peak_memory(chosen),
        str(chosen),
    )


def _time_steps(trainer: Trainer, device: torch.device) -> float:
    """Return the seconds of a step."""
    trainer.train_step()  # the first takes longer than all others
    started = _now(device)
    for _ in range(_TIMED_STEPS):
        trainer.train_step()
    return (_now(device) - started) / _TIMED_STEPS


def _time_validation(trainer: Trainer, device: torch.device) -> float:
    """Return the seconds of a validation, from those of one batch."""
    clips, size = trainer.validation.clips, trainer.config.total_batch_size
    network = trainer.model.detector.eval()
    batch = [clips.features.clip(name) for name in clips.names[:size]]
    started = _now(device)
    predict(network, batch, device, trainer.config.amp)
    return (_now(device) - started) * len(clips) / len(batch)


def _disk_needed(trainer: Trainer) -> int:
    """Return the bytes of all files of the run, and of a state that is being written."""
    network = trainer.model.detector
    weights: int = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    n_networks = 1 if trainer.other is None else 2
    state = (2 + n_networks) * weights  # the optimiser keeps two numbers a weight
    columns: int = 12 + sum(map(len, network.pooling.learned().values()))
    models = n_networks + len(trainer.config.keep_epochs)
    return models * weights + 3 * state + trainer.config.epochs * columns * _METRICS_CELL


def _now(device: torch.device) -> float:
    """Return the time when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


@dataclass(frozen=True)
class InferencePlan:
    """What a run would do."""

    n_recordings: int
    n_unreadable: int
    first_unreadable: tuple[str, ...]  # name and error of up to five
    audio_seconds: float
    seconds: float  # that it would take, from a trial on one window
    score_bytes: int  # of the scores: kept until the outputs are complete, and in --scores
    memory: int  # bytes, resident, after the trial
    outputs: tuple[Path, ...]
    before: str = ""  # what becomes of an unfinished run, if there is one

    def lines(self) -> Iterator[str]:
        """Yield the plan as lines of text."""
        yield f"{self.n_recordings} recordings, {self.audio_seconds:.0f} s of audio"
        if self.n_unreadable:
            yield f"{self.n_unreadable} cannot be read: {'; '.join(self.first_unreadable)}"
        yield f"about {self.seconds:.0f} s, {self.memory / 2**20:.0f} MiB of memory"
        yield f"{self.score_bytes / 2**20:.1f} MiB of scores on the disk meanwhile"
        if self.before:
            yield self.before
        yield f"outputs: {', '.join(map(str, self.outputs)) or 'stdout'}; nothing was written"


def plan_inference(
    model_path: Path,
    inputs: AudioInputs | Sequence[Path],
    settings: InferSettings,
    outputs: InferOutputs,
    run: InferRun,
) -> InferencePlan:
    """Check everything that `infer` would, look at all headers, and time one window.

    Raises
    ------
    SedtoolError
        Whatever `infer` would refuse before it computes anything.
    """
    task = prepare(model_path, inputs, settings, outputs, run)
    before = _look_at_outputs(task, outputs)
    model = task.job.model
    durations, errors = _durations(task.given)
    for name in list(durations):
        if problem := name_problem(outputs, name):
            errors.append(f"{name}: {problem}")
    audio_seconds = sum(durations.values())
    seconds, score_bytes = 0.0, 0
    if isinstance(task.given, Source):
        speed = _trial(model, task.given, next(iter(durations), None), settings, run)
        seconds = audio_seconds / speed if speed else 0.0
        score_bytes = int(audio_seconds * model.frame_rate * len(model.classes) * _FLOAT)
    return InferencePlan(
        n_recordings=len(task.names),
        n_unreadable=len(errors),
        first_unreadable=tuple(errors[:5]),
        audio_seconds=audio_seconds,
        seconds=seconds,
        score_bytes=score_bytes,
        memory=peak_memory(),
        outputs=tuple(outputs.files),
        before=before,
    )


def _look_at_outputs(task: InferTask, outputs: InferOutputs) -> str:
    """Refuse finished outputs; return what would become of an unfinished run, in words."""
    kept_at = outputs.spool
    goes_on = task.resumes(outputs)
    refuse_finished(replace(outputs, overwrite=outputs.overwrite or goes_on), task.names)
    begun = unfinished(kept_at.resolve()) if kept_at is not None else None
    if begun is None:
        return ""
    verb = "goes on with" if goes_on else "--overwrite drops"
    return f"{verb} an unfinished run ({begun} are done)"


def _durations(given: Source | Scores) -> tuple[dict[str, float], list[str]]:
    """Return the seconds of each recording as far as headers tell, and those without a header."""
    if isinstance(given, Scores):
        return dict(zip(given.names, given.duration.tolist(), strict=True)), []
    durations: dict[str, float] = {}
    errors: list[str] = []
    for name in given.names:
        try:
            durations[name] = given.claimed_duration(name)
        except AudioError as error:
            errors.append(f"{given.recording(name).name}: {error}")
    return durations, errors


def _trial(
    model: Model, source: Source, name: str | None, settings: InferSettings, run: InferRun
) -> float:
    """Score about one window; return seconds of audio a second, 0 if there is nothing to score."""
    if name is None:
        return 0.0
    windows = settings.windows(model)
    wanted = int(windows.window * model.features.frame_rate)
    device = pick_device(run.device)
    seconds = elapsed = 0.0
    for _ in range(2):  # the first time is a warm-up
        started = time.perf_counter()
        try:
            features = _first_frames(source.recording(name), wanted)
        except AudioError:
            return 0.0
        seconds = len(features) / model.features.frame_rate
        trial = Recording(name, lambda found=features: [found], lambda: 0.0)  # type: ignore[misc]
        list(score_recordings(model, [trial], windows, device, settings.amp))
        elapsed = time.perf_counter() - started
    return seconds / elapsed


def _first_frames(recording: Recording, wanted: int) -> np.ndarray:
    blocks: list[np.ndarray] = []
    n_frames = 0
    for block in recording.blocks():
        blocks.append(block)
        n_frames += len(block)
        if n_frames >= wanted:
            break
    return np.concatenate(blocks)[:wanted]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
