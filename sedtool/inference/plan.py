"""What an inference run would do, and what it would take: for a dry run."""

import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sedtool.audio import AudioInputs
from sedtool.checkpoint import Model
from sedtool.errors import AudioError
from sedtool.inference.checks import refuse_finished
from sedtool.inference.scoring import Recording, pick_device, score_recordings
from sedtool.inference.settings import InferOutputs, InferRun, InferSettings
from sedtool.inference.sources import Source
from sedtool.inference.task import InferTask, prepare
from sedtool.inference.writing import name_problem
from sedtool.store import Scores
from sedtool.store.spool import unfinished

__all__ = ["InferencePlan", "plan_inference"]

_FLOAT = 4  # bytes of a stored score


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
        memory=_memory(),
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


def _memory() -> int:
    """Return the most memory that was resident so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
