"""What extract, train and infer would do, and what it would take: for a dry run.

Nothing is written. Sizes come from headers, times from a little of the work, done in memory. torch
is imported where it is needed, so that the plan of an extraction need not wait for it.
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from sedtool.text import clock, counted

if TYPE_CHECKING:
    import torch

    from sedtool.checkpoint import Model
    from sedtool.inference import InferOutputs
    from sedtool.inference.infer import InferTask
    from sedtool.inference.sources import UnscoredClips
    from sedtool.training import TrainInputs
    from sedtool.training.trainer import Trainer

TRIAL_SECONDS = 10.0  # of audio, whose features are timed
MOST_TRIALS = 20  # files, where decoding them fails
MOST_HEADERS = 20_000  # of files that are looked at; more would take minutes
TIMED_STEPS = 2  # of a training
HEADER_SIZE = 7_000  # bytes of a features file without clips
CLIP_SIZE = 200  # bytes a clip of tables in the output, and about as many in the journal
METRICS_CELL = 12  # bytes of metrics.tsv
SCORE_SIZE = 4  # bytes
NAMES_SHOWN = 5

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """What a command would take. Sizes are bytes, times seconds."""

    lines: list[str]  # all of it, for people
    n_clips: int
    seconds: float | None  # for what is left; None if no file could be tried
    disk_needed: int  # while it goes on
    memory: int
    n_done: int = 0  # clips or steps of an interrupted run, which would go on
    audio_seconds: float = 0.0  # as headers state
    unreadable: Sequence[tuple[str, str]] = ()  # name and error of clips that cannot be used

    def __str__(self) -> str:
        """Return the lines as one text."""
        return "\n".join(self.lines)


def plan_extraction(
    inputs: AudioInputs | Sequence[Path],
    output: Path,
    features: FeatureConfig,
    config: ExtractConfig | None = None,
) -> Plan:
    """Return what `extract` would take, given the same, and refuse what it would refuse.

    The time is that of the features of the first ten seconds of a file, times all audio that is
    left, over the workers there are cores for.
    """
    config = config or ExtractConfig()
    task = prepare(inputs, output, features, config)
    kept = task.kept
    names = [name for name in task.names if name not in kept]
    every, share = _every(names)
    durations, unreadable = _durations(names[::every], task.claimed_duration)
    stated = (math.ceil(seconds * features.sample_rate) for seconds in durations.values())
    n_frames = round(share * sum(map(features.n_frames, stated)))
    if task.old is not None:
        n_frames += int(task.old.frames[np.isin(task.old.names, list(kept))].sum())
    before = unfinished(task.output.resolve()) if task.resumes else None
    n_done = before.done if before else 0
    audio_seconds = share * sum(durations.values())
    left = audio_seconds * (1 - n_done / max(len(names), 1))
    speed = _extraction_speed(task, list(durations)[:MOST_TRIALS])
    seconds = left / speed / min(config.workers, os.cpu_count() or 1) if speed else None
    size = n_frames * features.n_mels * np.dtype(DTYPES[config.dtype]).itemsize
    output_size = size + HEADER_SIZE + CLIP_SIZE * len(task.names)
    disk_needed = 2 * output_size  # the spool and the output
    memory = peak_memory() + 2 * config.workers * min(IN_MEMORY, size)
    n_unstated = sum(not seconds for seconds in durations.values())
    unstated = f" and {n_unstated} that do not say" if n_unstated else ""
    free, workers = free_disk(task.output.resolve()), counted(config.workers, "worker")
    lines = [
        *([f"nothing to do: {output} is finished and the same"] if task.is_done else []),
        *([f"{task.compared}, {len(kept)} taken over; left:"] if task.compared else []),
        f"{len(names)} files, {audio_seconds:.1f} s of audio{unstated}{_looked_at(every)}",
        *_unusable(unreadable),
        *([f"{n_done} are done by an interrupted run, which would go on"] if n_done else []),
        f"{n_frames} frames, {_megabytes(output_size)} in {task.output}; meanwhile "
        f"{_megabytes(disk_needed)}, and {_megabytes(free)} are free",
        f"{_about(seconds)} with {workers}, {_megabytes(memory)} of memory",
    ]
    n_clips = len(task.names)
    return Plan(lines, n_clips, seconds, disk_needed, memory, n_done, audio_seconds, unreadable)


def _extraction_speed(task: ExtractTask, names: Sequence[str]) -> float:
    """Return the seconds of audio whose features a second gives; 0 if no file can be decoded."""
    config = task.header.config

    def try_features(name: str) -> float:
        with task.open(name) as reader:
            beginning = _beginning(reader, int(TRIAL_SECONDS * config.sample_rate))
            for _ in log_mel_blocks(beginning, config, task.engine):
                pass
            return reader.duration

    for name in names:
        with suppress(AudioError):
            return _speed(try_features, name)
    return 0.0


def _speed(work: Callable[[str], float], name: str) -> float:
    """Return the seconds of audio that work on a clip does in a second; the first time warms up."""
    work(name)
    started = time.perf_counter()
    return work(name) / (time.perf_counter() - started)


def plan_training(
    run: Path,
    inputs: "TrainInputs",
    config: TrainConfig,
    *,
    device: str = DEVICE,
    resume: bool = False,
    overwrite: bool = False,
) -> Plan:
    """Return what `train` would take, given the same, and refuse what it would refuse.

    All inputs are read and checked, and a few steps are taken and timed, as the run would take
    them; early stopping is not foreseen.
    """
    from sedtool.runs import RunSettings
    from sedtool.training.folder import RunWriter
    from sedtool.training.trainer import Trainer

    chosen = pick_device(device)
    folder = RunWriter(run, resume, overwrite)
    folder.refuse_existing(RunSettings.of(inputs, config, device))
    trainer = Trainer(folder, inputs, config, chosen, lambda: 0)
    config = trainer.config
    if resume:
        trainer.resume()
    n_done, epochs_done = trainer.step, len(trainer.rows)
    seconds = max(config.epochs * trainer.steps - n_done, 0) * _time_steps(trainer, chosen)
    seconds += max(config.epochs - epochs_done, 0) * _time_validation(trainer, chosen)
    n_parameters = sum(p.numel() for p in trainer.model.detector.parameters())
    disk_needed, memory = _run_size(trainer), peak_memory(chosen)
    lines = [
        f"{trainer}, {n_parameters} parameters",
        *trainer.choice,
        f"{config.epochs} epochs of {trainer.steps} steps, {_about(seconds)} on {chosen}",
        *([f"{n_done} steps are done by the run that would be resumed"] if n_done else []),
        f"{_megabytes(disk_needed)} in {run}, and {_megabytes(free_disk(run))} are free; "
        f"{_megabytes(memory)} of memory",
    ]
    return Plan(lines, len(trainer.clips), seconds, disk_needed, memory, n_done)


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


def plan_inference(
    model_path: Path,
    inputs: AudioInputs | Sequence[Path],
    config: InferConfig,
    outputs: "InferOutputs",
) -> Plan:
    """Check everything that `infer` would, look at all headers, and time one scoring window."""
    from sedtool.inference.infer import prepare
    from sedtool.inference.sources import UnscoredClips

    task = prepare(model_path, inputs, config, outputs)
    before = _look_at_outputs(task, outputs)
    source, header = task.source, task.header
    kept = task.kept
    names = [name for name in source.names if name not in kept]
    every, share = _every(names)
    durations, unreadable = _durations(names[::every], source.claimed_duration)
    for name in durations:
        if problem := outputs.name_problem(name):
            unreadable.append((name, problem))
    audio_seconds = share * sum(durations.values())
    seconds, score_size = 0.0, 0
    if isinstance(source, UnscoredClips) and durations:
        speed = _scoring_speed(task.model, source, next(iter(durations)), config)
        seconds = audio_seconds / speed if speed else 0.0
        score_size = int(audio_seconds * header.frame_rate * len(header.classes) * SCORE_SIZE)
    memory = peak_memory(pick_device(config.device))
    lines = [
        f"{len(names)} clips, {audio_seconds:.0f} s of audio{_looked_at(every)}",
        *_unusable(unreadable),
        *before,
        f"{_megabytes(score_size)} of scores on the disk meanwhile",
        f"{_about(seconds)}, {_megabytes(memory)} of memory",
        f"outputs: {outputs}; nothing was written",
    ]
    n_clips = len(source.names)
    return Plan(lines, n_clips, seconds, score_size, memory, 0, audio_seconds, unreadable)


def _look_at_outputs(task: "InferTask", outputs: "InferOutputs") -> list[str]:
    """Refuse finished outputs; return a line on what would become of an unfinished run, if any."""
    kept_at = outputs.spool
    goes_on = task.resumes(outputs)
    if task.is_done(outputs):
        return [f"nothing to do: {outputs}, finished and the same"]
    if task.compared is not None and outputs.update:
        return [f"{task.compared}, {len(task.kept)} taken over"]
    outputs.refuse_finished(task.source.names)
    begun = unfinished(kept_at.resolve()) if kept_at is not None else None
    if begun is None:
        return []
    verb = "goes on with" if goes_on else "--overwrite drops"
    return [f"{verb} an unfinished run ({begun} are done)"]


def _scoring_speed(
    model: "Model", source: "UnscoredClips", name: str, config: InferConfig
) -> float:
    """Return the seconds of audio that a second scores, by a trial on about one scoring window."""
    from sedtool.scoring import ClipFeatures, score_clips, windows_of

    windows = windows_of(model, config)
    wanted = int(windows.window * model.features.frame_rate)

    def try_network(name: str) -> float:
        beginning = _beginning(source.features(name).blocks(), wanted)
        frames = np.concatenate(list(beginning))[:wanted]
        trial = ClipFeatures("", [frames].copy, lambda: 0.0)
        list(score_clips(model, [trial], windows, pick_device(config.device), config.amp))
        return len(frames) / model.features.frame_rate

    with suppress(AudioError):
        return _speed(try_network, name)
    return 0.0


def _every(names: Sequence[str]) -> tuple[int, float]:
    """Return which files are looked at, every first, second, …, and how many one stands for."""
    every = -(-len(names) // MOST_HEADERS) or 1
    return every, len(names) / (len(names[::every]) or 1)


def _looked_at(every: int) -> str:
    """Return what of many files an estimate is from."""
    return "" if every == 1 else f", as one in {every} says: only these were looked at"


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


def _unusable(unreadable: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line with the first clips that cannot be used and their errors, if there are any."""
    if not unreadable:
        return []
    first = "; ".join(f"{name}: {error}" for name, error in unreadable[:NAMES_SHOWN])
    more = "; ..." if len(unreadable) > NAMES_SHOWN else ""
    return [f"{len(unreadable)} of them cannot be used ({first}{more})"]


def _about(seconds: float | None) -> str:
    """Return a time in words: seconds, from two minutes on also minutes and hours."""
    if seconds is None:
        return "about an unknown time"
    return f"about {seconds:.0f} s" if seconds < 120 else f"about {clock(seconds)}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
