"""What extract, train and infer would do, and what it would take: for a dry run.

Nothing is written. Sizes come from headers, times from a little of the work, done in memory. torch
is imported where it is needed, so that the plan of an extraction need not wait for it.
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sedtool.audio import AudioInputs
from sedtool.config import DEVICE, ExtractConfig, FeatureConfig, InferConfig, TrainConfig
from sedtool.errors import AudioError
from sedtool.extraction import IN_MEMORY, ExtractTask, prepare
from sedtool.features import log_mel_blocks
from sedtool.labels import printable
from sedtool.machine import free_disk, peak_memory, pick_device
from sedtool.store import DTYPES, unfinished

if TYPE_CHECKING:
    import torch

    from sedtool.checkpoint import Model
    from sedtool.inference import InferOutputs
    from sedtool.inference.infer import InferTask
    from sedtool.scoring import ClipFeatures
    from sedtool.training import TrainInputs
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
TIMED_STEPS = 2  # of a training
HEADER_SIZE = 7_000  # bytes of a features file without clips
CLIP_SIZE = 200  # bytes a clip of tables in the output, and about as many in the journal
METRICS_CELL = 12  # bytes of metrics.tsv
SCORE_SIZE = 4  # bytes
NAMES_SHOWN = 5

Array = npt.NDArray[np.float32]


class _Plan:
    """What a command would do. Sizes are bytes, times seconds."""

    def lines(self) -> list[str]:
        """Say it for people, a line each."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Return the lines as one text."""
        return "\n".join(self.lines())


@dataclass(frozen=True)
class ExtractionPlan(_Plan):
    """What an extraction would take."""

    output: Path
    n_files: int  # in all, or in the shard
    n_done: int  # of these, kept from an interrupted run
    unreadable: list[tuple[str, str]]  # name and error of files that fail before decoding
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
        unstated = f" and {self.n_unstated} that do not say" if self.n_unstated else ""
        lines = [f"{self.n_files} files, {self.audio_seconds:.1f} s of audio{unstated}"]
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} of them cannot be used ({_few(self.unreadable)})")
        if self.n_done:
            lines.append(f"{self.n_done} are done by an interrupted run, which would go on")
        lines.append(
            f"{self.n_frames} frames, {_megabytes(self.output_size)} in {self.output}; meanwhile "
            f"{_megabytes(self.disk_needed)}, and {_megabytes(self.disk_free)} are free"
        )
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        lines.append(f"{_about(self.seconds)} with {workers}, {_megabytes(self.memory)} of memory")
        return lines


def plan_extraction(
    inputs: AudioInputs | Sequence[Path],
    output: Path,
    features: FeatureConfig,
    config: ExtractConfig | None = None,
    *,
    root: Path | None = None,
) -> ExtractionPlan:
    """Return what `extract` would take, given the same.

    The time is that of the features of the first ten seconds of a file, times all audio that is
    left, over the workers there are cores for.

    Raises
    ------
    ConfigError, OutputExistsError, NothingUsableError
        As `extract` would.
    """
    config = config or ExtractConfig()
    task = prepare(inputs, output, features, config, root)
    durations, unreadable = _durations(task.names, task.claimed_duration)
    n_frames = sum(
        features.n_frames(math.ceil(seconds * features.sample_rate))
        for seconds in durations.values()
    )
    before = unfinished(task.output.resolve()) if task.resumes else None
    n_done = before.done if before else 0
    audio_seconds = sum(durations.values())
    left = audio_seconds * (1 - n_done / max(len(task.names), 1))
    speed = _extraction_speed(task, list(durations)[:MOST_TRIALS])
    size = n_frames * features.n_mels * np.dtype(DTYPES[config.dtype]).itemsize
    return ExtractionPlan(
        output=task.output,
        n_files=len(task.names),
        n_done=n_done,
        unreadable=unreadable,
        n_unstated=sum(not seconds for seconds in durations.values()),
        audio_seconds=audio_seconds,
        n_frames=n_frames,
        output_size=size + HEADER_SIZE + CLIP_SIZE * len(task.names),
        disk_free=free_disk(task.output.resolve()),
        memory=peak_memory() + 2 * config.workers * min(IN_MEMORY, size),
        seconds=left / speed / min(config.workers, os.cpu_count() or 1) if speed else None,
        workers=config.workers,
    )


def _extraction_speed(task: ExtractTask, names: Sequence[str]) -> float:
    """Return the seconds of audio whose features a second gives; 0 if no file can be decoded."""
    for name in names:
        try:
            return max(_time_features(task, name) for _ in range(2))
        except AudioError:
            continue
    return 0.0


def _time_features(task: ExtractTask, name: str) -> float:
    """Return the speed of the beginning of a file; the first time warms up."""
    config, started = task.header.config, time.perf_counter()
    with task.open(name) as reader:
        beginning = _beginning(reader, int(TRIAL_SECONDS * config.sample_rate))
        for _ in log_mel_blocks(beginning, config, task.engine):
            pass
        return reader.duration / (time.perf_counter() - started)


@dataclass(frozen=True)
class TrainingPlan(_Plan):
    """What a training would take."""

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
        lines = [
            f"{self.n_clips} clips to train and {self.n_validation_clips} to validate on, "
            f"{self.n_classes} classes, {self.n_parameters} parameters",
            f"{self.epochs} epochs of {self.steps} steps, {_about(self.seconds)} on {self.device}",
        ]
        if self.steps_done:
            lines.append(f"{self.steps_done} steps are done by the run that would be resumed")
        lines.append(
            f"{_megabytes(self.disk_needed)} in {self.run}, and {_megabytes(self.disk_free)} are "
            f"free; {_megabytes(self.memory)} of memory"
        )
        return lines


def plan_training(
    run: Path,
    inputs: "TrainInputs",
    config: TrainConfig,
    *,
    device: str = DEVICE,
    resume: bool = False,
    overwrite: bool = False,
) -> TrainingPlan:
    """Return what `train` would take, given the same.

    All inputs are read and checked, and a few steps are taken and timed, as the run would take
    them; early stopping is not foreseen.

    Raises
    ------
    SedtoolError
        As `train` would, before its first step or in the first few.
    """
    from sedtool.training.folder import RunWriter
    from sedtool.training.trainer import Trainer

    chosen = pick_device(device)
    folder = RunWriter(run, resume, overwrite)
    folder.refuse_existing()
    trainer = Trainer(folder, inputs, config, chosen, lambda: 0)
    if resume:
        trainer.resume()
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
        _run_size(trainer),
        free_disk(run),
        peak_memory(chosen),
        str(chosen),
    )


def _time_steps(trainer: "Trainer", device: "torch.device") -> float:
    """Return the seconds of a step."""
    trainer.train_step()  # the first takes longer than all others
    started = _now(device)
    for _ in range(TIMED_STEPS):
        trainer.train_step()
    return (_now(device) - started) / TIMED_STEPS


def _time_validation(trainer: "Trainer", device: "torch.device") -> float:
    """Return the seconds of a validation, from those of one batch."""
    from sedtool.scoring import predict

    clips, size = trainer.validation.clips, trainer.config.total_batch_size
    network = trainer.model.detector.eval()
    batch = [clips.features.clip(name) for name in clips.names[:size]]
    started = _now(device)
    predict(network, batch, device, trainer.config.amp)
    return (_now(device) - started) * len(clips) / len(batch)


def _run_size(trainer: "Trainer") -> int:
    """Return the bytes of all files of the run, and of a state that is being written."""
    network = trainer.model.detector
    weights: int = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    n_networks = len(trainer.models)
    state = (2 + n_networks) * weights  # the optimiser keeps two numbers a weight
    columns: int = 12 + sum(map(len, network.pooling.learned().values()))
    models = n_networks + len(trainer.config.keep_epochs)
    return models * weights + 3 * state + trainer.config.epochs * columns * METRICS_CELL


def _now(device: "torch.device") -> float:
    """Return the time when all that was asked of the device is done."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
    return time.monotonic()


@dataclass(frozen=True)
class InferencePlan(_Plan):
    """What an inference would take."""

    n_clips: int
    unreadable: list[tuple[str, str]]  # name and error
    audio_seconds: float
    seconds: float  # from a trial on one scoring window
    score_size: int  # of the scores: kept until the outputs are complete, and in --scores
    memory: int  # resident, after the trial
    outputs: tuple[Path, ...]
    before: str = ""  # what becomes of an unfinished run, if there is one

    def lines(self) -> list[str]:
        lines = [f"{self.n_clips} clips, {self.audio_seconds:.0f} s of audio"]
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} of them cannot be used ({_few(self.unreadable)})")
        if self.before:
            lines.append(self.before)
        outputs = ", ".join(map(str, self.outputs)) or "stdout"
        lines += [
            f"{_megabytes(self.score_size)} of scores on the disk meanwhile",
            f"{_about(self.seconds)}, {_megabytes(self.memory)} of memory",
            f"outputs: {outputs}; nothing was written",
        ]
        return lines


def plan_inference(
    model_path: Path,
    inputs: AudioInputs | Sequence[Path],
    config: InferConfig,
    outputs: "InferOutputs",
) -> InferencePlan:
    """Check everything that `infer` would, look at all headers, and time one scoring window.

    Raises
    ------
    SedtoolError
        As `infer` would, before it computes anything.
    """
    from sedtool.inference.infer import prepare
    from sedtool.inference.sources import UnscoredClips

    task = prepare(model_path, inputs, config, outputs)
    before = _look_at_outputs(task, outputs)
    source, header = task.source, task.header
    durations, unreadable = _durations(source.names, source.claimed_duration)
    for name in durations:
        if problem := outputs.name_problem(name):
            unreadable.append((name, problem))
    audio_seconds = sum(durations.values())
    seconds, score_size = 0.0, 0
    if isinstance(source, UnscoredClips) and durations:
        first = next(iter(durations))
        speed = _scoring_speed(task.model, lambda: source.features(first), config)
        seconds = audio_seconds / speed if speed else 0.0
        score_size = int(audio_seconds * header.frame_rate * len(header.classes) * SCORE_SIZE)
    return InferencePlan(
        n_clips=len(source.names),
        unreadable=unreadable,
        audio_seconds=audio_seconds,
        seconds=seconds,
        score_size=score_size,
        memory=peak_memory(pick_device(config.device)),
        outputs=tuple(outputs.files),
        before=before,
    )


def _look_at_outputs(task: "InferTask", outputs: "InferOutputs") -> str:
    """Refuse finished outputs; return what would become of an unfinished run, in words."""
    kept_at = outputs.spool
    goes_on = task.resumes(outputs)
    overwrite = outputs.overwrite or goes_on
    replace(outputs, overwrite=overwrite).refuse_finished(task.source.names)
    begun = unfinished(kept_at.resolve()) if kept_at is not None else None
    if begun is None:
        return ""
    verb = "goes on with" if goes_on else "--overwrite drops"
    return f"{verb} an unfinished run ({begun} are done)"


def _scoring_speed(
    model: "Model", clip: Callable[[], "ClipFeatures"], config: InferConfig
) -> float:
    """Return the seconds of audio that a second scores, by a trial on about one scoring window."""
    from sedtool.inference.infer import windows_of
    from sedtool.scoring import ClipFeatures, score_clips

    windows = windows_of(model, config)
    wanted = int(windows.window * model.features.frame_rate)
    speed = 0.0
    for _ in range(2):  # the first time is a warm-up
        started = time.perf_counter()
        try:
            frames = np.concatenate(list(_beginning(clip().blocks(), wanted)))[:wanted]
        except AudioError:
            return 0.0
        trial = ClipFeatures("", [frames].copy, lambda: 0.0)
        list(score_clips(model, [trial], windows, pick_device(config.device), config.amp))
        speed = len(frames) / model.features.frame_rate / (time.perf_counter() - started)
    return speed


def _durations(
    names: Iterable[str], claimed_duration: Callable[[str], float]
) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """Return the seconds that headers state, and name and error of clips that have no header."""
    durations: dict[str, float] = {}
    unreadable: list[tuple[str, str]] = []
    for name in names:
        try:
            durations[name] = claimed_duration(name)
        except AudioError as error:
            unreadable.append((printable(name), str(error)))
    return durations, unreadable


def _beginning(blocks: Iterable[Array], wanted: int) -> Iterator[Array]:
    """Yield blocks (n, ...) until there are `wanted` samples or frames."""
    for block in blocks:
        yield block
        wanted -= len(block)
        if wanted <= 0:
            return


def _few(unreadable: Sequence[tuple[str, str]]) -> str:
    """Return the first names with their errors."""
    first = "; ".join(f"{name}: {error}" for name, error in unreadable[:NAMES_SHOWN])
    return first + ("; ..." if len(unreadable) > NAMES_SHOWN else "")


def _about(seconds: float | None) -> str:
    """Return a time in words: seconds, from two minutes on also minutes and hours."""
    if seconds is None:
        return "about an unknown time"
    return (
        f"about {seconds:.0f} s" if seconds < 120 else f"about {timedelta(seconds=round(seconds))}"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
