"""`infer`: files in, files out."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sedtool import __version__
from sedtool.atomic import claim, write_failures
from sedtool.audio import AudioInputs
from sedtool.checkpoint import Model, load_model
from sedtool.config import DecodingConfig
from sedtool.decoding import ClipScores, clip_scores, decode_clip
from sedtool.errors import InputsFailedError, NothingUsableError
from sedtool.inference.outputs import (
    Emit,
    InferOutputs,
    Job,
    ResultWriter,
    name_problem,
    refuse_finished,
    refuse_inputs,
    refuse_loose_part,
    refuse_outputs,
)
from sedtool.inference.resume import ScoreSpool
from sedtool.inference.settings import InferRun, InferSettings
from sedtool.inference.sources import (
    Source,
    artifacts_among,
    find_source,
    given_scores,
    refuse_for_scores,
)
from sedtool.machine import pick_device
from sedtool.scoring import Failure, prefetch, score_recordings
from sedtool.shards import WHOLE, Shard
from sedtool.store import Scores
from sedtool.store.merge import check_siblings
from sedtool.store.spool import resumes

__all__ = [
    "InferResult",
    "InferTask",
    "infer",
    "prepare",
]

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]  # recordings done, all recordings, name of the latest


@dataclass(frozen=True)
class InferTask:
    """What a run is of."""

    job: Job
    given: Source | Scores  # recordings for the network, or scores to decode
    identity: dict[str, Any]  # an interrupted run of equal identity is taken up

    @property
    def names(self) -> list[str]:
        """Return the recordings, sorted."""
        return self.given.names

    def resumes(self, outputs: InferOutputs) -> bool:
        """Return whether an interrupted run of this task stands beside the outputs.

        Raises
        ------
        OutputExistsError
            If one of another task does, and may not be thrown away.
        """
        kept_at = outputs.spool
        return kept_at is not None and resumes(kept_at, self.identity, outputs.overwrite)


def prepare(
    model_path: Path,
    inputs: AudioInputs | Sequence[Path],
    settings: InferSettings,
    outputs: InferOutputs,
    run: InferRun,
) -> InferTask:
    """Open the model and find the recordings; see `sedtool.inference.infer`.

    Raises
    ------
    SedtoolError
        If options, inputs and outputs do not fit each other.
    """
    inputs = inputs if isinstance(inputs, AudioInputs) else AudioInputs(tuple(inputs))
    model = load_model(model_path)
    decoding = settings.decoding(model)
    if (scores := given_scores(model, inputs)) is not None:
        refuse_for_scores(inputs, settings, run)
        refuse_inputs(outputs, model_path, settings, artifacts_among(inputs))
        job = Job(model, decoding, scores.settings, scores.shard, scores.manifest_sha256)
        task = InferTask(job, scores, decoding_identity(job, scores))
    else:
        source = find_source(model, inputs, run)
        refuse_inputs(outputs, model_path, settings, source.files)
        refuse_loose_part(outputs, source.shard, run)
        if run.shard_is_auto and outputs.spool is not None:
            check_siblings(outputs.spool, source.shard, source.manifest_sha256)
        job = Job(model, decoding, settings.scoring(model), source.shard, source.manifest_sha256)
        task = InferTask(job, source, scoring_identity(job, source, settings, run))
    refuse_outputs(outputs, task.names, job.shard)
    return task


def scoring_identity(
    job: Job, source: Source, settings: InferSettings, run: InferRun
) -> dict[str, Any]:
    """Return all that scores depend on: those of an interrupted run are taken up if equal."""
    return {
        **_identity(job, source.names),
        "batch_size": settings.batch_size,  # moves the last bit of a score
        "device": str(pick_device(run.device)),
        "allow_truncated": run.allow_truncated,
        "inputs": source.identity,
    }


def decoding_identity(job: Job, scores: Scores) -> dict[str, Any]:
    """Return what an interrupted run that decoded a scores file was of."""
    return {**_identity(job, scores.names), "inputs": [scores.sha256]}


def _identity(job: Job, names: Sequence[str]) -> dict[str, Any]:
    return {
        "sedtool_version": __version__,
        "clips": len(names),
        "model_sha256": job.model.weights_sha256,
        "scoring": job.scoring,
        "manifest_sha256": job.manifest_sha256,
        "shard": str(job.shard),
    }


@dataclass
class InferResult:
    """What was done."""

    shard: Shard = WHOLE  # the part that the results are
    n_recordings: int = 0
    n_resumed: int = 0  # of these, taken over from an interrupted run
    n_events: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    failures: list[tuple[str, str, str]] = field(default_factory=list)  # filename, stage, error
    failures_path: Path | None = None

    @property
    def n_done(self) -> int:
        """Return the recordings that were looked at."""
        return self.n_recordings + len(self.failures)

    def failure_summary(self) -> str:
        """Say in one line which recordings could not be used."""
        count = f"{len(self.failures)} of {self.n_done} recordings could not be used"
        first = "; ".join(f"{name}: {error}" for name, _, error in self.failures[:3])
        if self.failures_path:
            return f"{count} ({first}); see {self.failures_path}"
        return f"{count} ({first}{', …; each is named above' if len(self.failures) > 3 else ''})"

    def __str__(self) -> str:
        """Return a line that sums up."""
        resumed = f" ({self.n_resumed} of an interrupted run)" if self.n_resumed else ""
        return (
            f"{self.n_events} events in {self.n_recordings} recordings{resumed}, "
            f"{len(self.failures)} failed; {self.audio_seconds:.0f} s of audio in "
            f"{self.seconds:.1f} s ({self.audio_seconds / self.seconds:.0f} times real time)"
        )


def infer(
    model_path: Path,
    inputs: AudioInputs | Sequence[Path],
    settings: InferSettings | None = None,
    outputs: InferOutputs | None = None,
    run: InferRun | None = None,
    *,
    emit: Emit | None = None,
    progress: Progress | None = None,
) -> InferResult:
    """Detect events.

    Interrupted at any moment, the same call goes on where it stopped if it writes to a file, and
    ends with the same bytes.

    Parameters
    ----------
    model_path
        A model file.
    inputs
        Audio, as for `sedtool.audio.find_audio`; or features files; or one scores file, which is
        decoded anew without the network. Results are in the order of names.
    settings, outputs, run
        How to score and decode, where to, and how the work is done.
    emit
        Takes the event list if `outputs.events` is None, recording by recording. Without either, no
        event list is written.
    progress
        Called after each recording.

    Raises
    ------
    ArtifactError
        If model and inputs do not fit.
    InputsFailedError
        If a recording failed and `run.fail_fast` is set.
    NothingUsableError
        If every recording failed.
    """
    started = time.monotonic()
    settings, outputs = settings or InferSettings(), outputs or InferOutputs()
    run = run or InferRun()
    task = prepare(model_path, inputs, settings, outputs, run)
    _warn_if_untuned(task.job.model, model_path, settings)
    work = _Work(task, outputs, emit, progress)
    if isinstance(task.given, Scores):
        work.decode(task.given)
    else:
        work.score(task.given, settings, run)
    result = work.result
    result.seconds, result.shard = time.monotonic() - started, task.job.shard
    return result


def _warn_if_untuned(model: Model, path: Path, settings: InferSettings) -> None:
    if not model.tuned and "auto" in (settings.threshold, settings.clip_threshold, settings.median):
        log.warning(
            "%s is not tuned: thresholds are %g and median windows %g s where none are given",
            path,
            DecodingConfig.threshold,
            DecodingConfig.window,
        )


@dataclass
class _Work:
    """One run: recordings through the network, or from a scores file, to the outputs."""

    task: InferTask
    outputs: InferOutputs
    emit: Emit | None
    progress: Progress | None
    result: InferResult = field(default_factory=InferResult)

    def decode(self, scores: Scores) -> None:
        """Decode a scores file anew."""
        with self._writing() as (kept, writer):
            for clip in clip_scores(scores):
                self._take(clip, writer)
                if self.outputs.folder is not None:
                    kept.note(clip.name)  # until all lists are there, the folder is unfinished

    def score(self, source: Source, settings: InferSettings, run: InferRun) -> None:
        """Score recordings, keeping what is done until the outputs are complete."""
        with self._writing() as (kept, writer):
            for scored in self._scores(source, kept, settings, run):
                self._take(scored, writer)
                if run.fail_fast and self.result.failures:
                    raise InputsFailedError(self.result.failure_summary())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[tuple[ScoreSpool, ResultWriter]]:
        """Open the outputs, and what is kept beside them until they are complete."""
        kept_at, outputs = self.outputs.spool, self.outputs
        if self.task.resumes(outputs):
            # What is there of an interrupted run's outputs is not in the way of its rerun.
            outputs = replace(outputs, overwrite=True)
        with ScoreSpool(kept_at, self.task.identity) as kept:
            refuse_finished(outputs, self.task.names)
            with (
                claim(*outputs.files, overwrite=outputs.overwrite),
                ResultWriter(self.task.job, outputs, self.emit) as writer,
            ):
                yield kept, writer
                self._end(writer)
            self._report_failures()
            kept.remove()  # the last thing of all: until then a rerun completes what is missing

    def _report_failures(self) -> None:
        """Write the failures beside an output; where there is none, say each."""
        failures = self.result.failures
        self.result.failures_path = write_failures(self.outputs.failures_beside, failures)
        if self.result.failures_path is None:
            for name, _, error in failures:
                log.warning("%s: %s", name, error)

    def _scores(
        self,
        source: Source,
        kept: ScoreSpool,
        settings: InferSettings,
        run: InferRun,
    ) -> Iterator[ClipScores | Failure]:
        """Yield the scores of all recordings in order, those that are done from the disk."""
        model, device = self.task.job.model, pick_device(run.device)
        stamps = {name: source.stamp(name) for name in source.names}
        done = {name for name in source.names if kept.has(name, stamps[name])}
        self.result.n_resumed = len(done)
        waiting = (source.recording(name) for name in source.names if name not in done)
        scored = score_recordings(
            model, prefetch(waiting, run.workers), settings.windows(model), device, settings.amp
        )
        for name in source.names:
            if name in done:
                yield kept.read(name)
                continue
            scores = next(scored)
            if isinstance(scores, ClipScores):
                kept.add(scores, stamps[name])
            yield scores

    def _take(self, scored: ClipScores | Failure, writer: ResultWriter) -> None:
        if not isinstance(scored, Failure) and (problem := name_problem(self.outputs, scored.name)):
            scored = Failure(scored.name, problem)
        if isinstance(scored, Failure):
            self.result.failures.append((scored.name, "infer", scored.error))
        else:
            model, decoding = self.task.job.model, self.task.job.decoding
            events = decode_clip(scored, model.classes, model.frame_rate, decoding)
            writer.add(scored, events)
            self.result.n_recordings += 1
            self.result.n_events += len(events)
            self.result.audio_seconds += scored.duration
        if self.progress:
            self.progress(self.result.n_done, len(self.task.names), scored.name)

    def _end(self, writer: ResultWriter) -> None:
        """Complete the outputs; of no recording there are none, but for a part to merge."""
        failures = self.result.failures
        failures.sort()  # a name that had to be escaped may have left its place
        if failures and not self.result.n_recordings and self.task.job.shard.is_whole:
            name, _, error = failures[0]
            raise NothingUsableError(
                f"none of {len(failures)} recordings could be used; the first, {name}: {error}"
            )
        writer.finish(failures)
