"""What an inference run would do, and what it would take: for a dry run."""

import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sedtool.audio import AudioInputs
from sedtool.checkpoint import Model, load_model
from sedtool.errors import AudioError
from sedtool.inference.scoring import Recording, pick_device, score_recordings
from sedtool.inference.settings import InferOutputs, InferRun, InferSettings
from sedtool.inference.sources import Source
from sedtool.inference.stage import (
    find_source,
    given_scores,
    refuse_for_scores,
    refuse_loose_part,
    refuse_outputs,
)

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

    def lines(self) -> Iterator[str]:
        """Yield the plan as lines of text."""
        yield f"{self.n_recordings} recordings, {self.audio_seconds:.0f} s of audio"
        if self.n_unreadable:
            yield f"{self.n_unreadable} cannot be read: {'; '.join(self.first_unreadable)}"
        yield f"about {self.seconds:.0f} s, {self.memory / 2**20:.0f} MiB of memory"
        yield f"{self.score_bytes / 2**20:.1f} MiB of scores on the disk meanwhile"
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
    inputs = inputs if isinstance(inputs, AudioInputs) else AudioInputs(tuple(inputs))
    model = load_model(model_path)
    settings.decoding(model)
    if (scores := given_scores(model, inputs)) is not None:
        refuse_for_scores(inputs, settings, run)
        refuse_outputs(outputs, scores.names, scores.shard)
        audio_seconds = float(scores.duration.sum())
        return InferencePlan(
            len(scores.names), 0, (), audio_seconds, 0.0, 0, _memory(), tuple(outputs.files)
        )
    source = find_source(model, inputs, run)
    refuse_outputs(outputs, source.names, source.shard)
    refuse_loose_part(outputs, source.shard, run)
    durations, errors = _durations(source)
    audio_seconds = sum(durations.values())
    speed = _trial(model, source, next(iter(durations), None), settings, run)
    n_frames = audio_seconds * model.frame_rate
    return InferencePlan(
        len(source.names),
        len(errors),
        tuple(errors[:5]),
        audio_seconds,
        audio_seconds / speed if speed else 0.0,
        int(n_frames * len(model.classes) * _FLOAT),
        _memory(),
        tuple(outputs.files),
    )


def _durations(source: Source) -> tuple[dict[str, float], list[str]]:
    """Return the seconds of each recording as far as headers tell, and those without a header."""
    durations: dict[str, float] = {}
    errors: list[str] = []
    for name in source.names:
        try:
            durations[name] = source.claimed_duration(name)
        except AudioError as error:
            errors.append(f"{source.recording(name).name}: {error}")
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
