"""`infer`: files in, files out."""

import glob
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from sedtool import __version__
from sedtool.atomic import claim, refuse_existing, write_failures
from sedtool.audio import AudioInputs
from sedtool.checkpoint import Model, load_model
from sedtool.config import DecodingConfig
from sedtool.decoding import ClipScores, clip_scores, decode_clip
from sedtool.errors import ArtifactError, ConfigError, InputsFailedError, NothingUsableError
from sedtool.inference.prefetch import prefetch
from sedtool.inference.resume import ScoreSpool
from sedtool.inference.scoring import Failure, pick_device, score_recordings
from sedtool.inference.settings import InferOutputs, InferRun, InferSettings
from sedtool.inference.sources import Source, audio_source, features_source
from sedtool.inference.writing import Emit, Job, ResultWriter, file_of
from sedtool.labels import EVENT_FORMATS, event_format
from sedtool.merging import check_siblings
from sedtool.shards import Shard
from sedtool.store import Scores, file_format, is_hdf5, open_features, open_scores
from sedtool.store.spool import unfinished

__all__ = [
    "InferResult",
    "find_source",
    "given_scores",
    "infer",
    "refuse_for_scores",
    "refuse_loose_part",
    "refuse_outputs",
]

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]  # recordings done, all recordings, name of the latest


@dataclass
class InferResult:
    """What was done."""

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
        return f"{count} ({first})" + (f"; see {self.failures_path}" if self.failures_path else "")

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
    inputs = inputs if isinstance(inputs, AudioInputs) else AudioInputs(tuple(inputs))
    model = load_model(model_path)
    decoding = settings.decoding(model)
    _warn_if_untuned(model, model_path, settings)
    if (scores := given_scores(model, inputs)) is not None:
        refuse_for_scores(inputs, settings, run)
        job = Job(model, decoding, scores.settings, scores.shard, scores.manifest_sha256)
        result = _Work(job, outputs, emit, progress).decode(scores)
    else:
        source = find_source(model, inputs, run)
        scoring = settings.scoring(model)
        job = Job(model, decoding, scoring, source.shard, source.manifest_sha256)
        result = _Work(job, outputs, emit, progress).score(source, settings, run)
    result.seconds = time.monotonic() - started
    return result


def _warn_if_untuned(model: Model, path: Path, settings: InferSettings) -> None:
    if not model.tuned and "auto" in (settings.threshold, settings.clip_threshold, settings.median):
        log.warning(
            "%s is not tuned: thresholds are %g and median windows %g s where none are given",
            path,
            DecodingConfig.threshold,
            DecodingConfig.window,
        )


def _artifacts(inputs: AudioInputs) -> list[Path]:
    """Return the features or scores files among the inputs, which are all such or none."""
    if inputs.is_stdin:
        return []
    paths = [path for given in inputs.paths for path in _matching(Path(given))]
    artifacts = [path for path in paths if is_hdf5(path) or path.suffix.lower() == ".h5"]
    if artifacts and (len(artifacts) < len(paths) or inputs.files_from):
        raise ConfigError("inputs must be all audio, or all features files, or one scores file")
    return artifacts


def _matching(path: Path) -> list[Path]:
    """Return what a quoted pattern such as ``parts/*.h5`` means; anything else means itself."""
    if path.exists() or not glob.has_magic(str(path)) or path.suffix.lower() != ".h5":
        return [path]
    return [Path(match) for match in sorted(glob.glob(str(path)))] or [path]  # noqa: PTH207


def given_scores(model: Model, inputs: AudioInputs) -> Scores | None:
    """Return the scores file that is the input, if that is what it is."""
    artifacts = _artifacts(inputs)
    if not artifacts or not artifacts[0].exists() or file_format(artifacts[0]) != "sedtool-scores":
        return None
    if len(artifacts) > 1:
        raise ConfigError("give one scores file at a time")
    scores = open_scores(artifacts[0])
    if scores.model_sha256 != model.weights_sha256:
        raise ArtifactError(
            f"{artifacts[0]} was made by a model with other weights than the one given"
        )
    return scores


def find_source(model: Model, inputs: AudioInputs, run: InferRun) -> Source:
    """Return the recordings that the inputs mean, be they audio or features."""
    artifacts = _artifacts(inputs)
    for path in artifacts:
        if not path.exists():
            open_features(path)  # says whether it is unfinished or not there
    if artifacts:
        _refuse_given("features", inputs, "root")
        _refuse_given("features", run, "allow_truncated")
        return features_source(model, artifacts, run)
    _refuse_given("audio", run, "partial")
    return audio_source(model, inputs, run)


def refuse_for_scores(inputs: AudioInputs, settings: InferSettings, run: InferRun) -> None:
    """Raise a ConfigError if an option is given that scores, decoded as they are, do not need."""
    _refuse_given("scores", inputs, "root")
    _refuse_given("scores", settings, "window", "overlap", "batch_size", "amp")
    _refuse_given("scores", run, "shard", "workers", "allow_truncated", "partial")
    if run.device not in ("auto", "cpu"):
        raise ConfigError("--device has no meaning for scores: no network is run")


def _refuse_given(what: str, options: Any, *names: str) -> None:
    """Raise a ConfigError if an option is given that would be ignored for such inputs."""
    default = type(options)()
    for name in names:
        if getattr(options, name) != getattr(default, name):
            raise ConfigError(f"--{name.replace('_', '-')} has no meaning for {what}")


def refuse_outputs(outputs: InferOutputs, names: Sequence[str], shard: Shard) -> None:
    """Raise an error, before anything is computed, if an output is in the way or does not fit.

    Parameters
    ----------
    outputs
        What is asked for.
    names
        The recordings.
    shard
        The part of all recordings that they are.
    """
    outputs.refuse()
    _refuse_suffix(outputs)
    one_recording = event_format(outputs.format).one_recording
    if one_recording and outputs.folder is None and len(names) > 1:
        raise ConfigError(
            f"a list in the format {outputs.format} holds one recording; for "
            f"{len(names)}, -o must name a folder that exists"
        )
    if not shard.is_whole and outputs.format != "dcase":
        raise ConfigError("parts are merged as --format dcase; sedtool convert does the rest")
    if not outputs.overwrite and outputs.folder is not None:
        for name in names:
            refuse_existing(file_of(outputs, name), False)


def _refuse_suffix(outputs: InferOutputs) -> None:
    """Raise a ConfigError if the event list is named as something else is."""
    name = outputs.list_file.name if outputs.list_file is not None else ""
    if name.endswith(".h5"):
        raise ConfigError(f"-o {name} would be an event list; --scores {name} writes scores")
    for form in EVENT_FORMATS.values():
        is_told = name.endswith(form.suffix) and form.suffix != ".txt"  # which may be anything
        if is_told and form.name != outputs.format:
            raise ConfigError(
                f"{name} is named as {form.name} files are, and --format is {outputs.format}"
            )


def refuse_loose_part(outputs: InferOutputs, shard: Shard, run: InferRun) -> None:
    """Raise a ConfigError if a part would go where nothing can say that it is one."""
    if not shard.is_whole and outputs.spool is None and not run.partial:
        raise ConfigError(f"shard {shard} is a part to be merged: give it a file, with -o")


@dataclass
class _Work:
    """One run: recordings through the network, or from a scores file, to the outputs."""

    job: Job
    outputs: InferOutputs
    emit: Emit | None
    progress: Progress | None
    result: InferResult = field(default_factory=InferResult)

    def decode(self, scores: Scores) -> InferResult:
        """Decode a scores file anew."""
        refuse_outputs(self.outputs, scores.names, self.job.shard)
        with (
            claim(*self.outputs.files, overwrite=self.outputs.overwrite),
            ResultWriter(self.job, self.outputs, self.emit) as writer,
        ):
            for clip in clip_scores(scores):
                self._take(clip, writer, len(scores.names))
            writer.finish([])
        return self.result

    def score(self, source: Source, settings: InferSettings, run: InferRun) -> InferResult:
        """Score recordings, keeping what is done until the outputs are complete."""
        device, kept_at = pick_device(run.device), self.outputs.spool
        # What is there of an interrupted run's outputs is not in the way of its rerun.
        resumes = kept_at is not None and unfinished(kept_at.resolve()) is not None
        overwrite = self.outputs.overwrite or resumes
        outputs = replace(self.outputs, overwrite=overwrite)
        refuse_outputs(outputs, source.names, source.shard)
        refuse_loose_part(outputs, source.shard, run)
        if run.shard_is_auto and kept_at is not None:
            check_siblings(kept_at, source.shard, source.manifest_sha256)
        identity = self._identity(source, settings, run, str(device))
        with ScoreSpool(kept_at, identity) as kept:
            with (
                claim(*self.outputs.files, overwrite=overwrite),
                ResultWriter(self.job, self.outputs, self.emit) as writer,
            ):
                for scored in self._scores(source, kept, settings, run, device):
                    self._take(scored, writer, len(source.names))
                    if run.fail_fast and self.result.failures:
                        raise InputsFailedError(self.result.failure_summary())
                self._end(writer)
            failures = self.result.failures
            self.result.failures_path = write_failures(self.outputs.list_file, failures)
            kept.remove()  # the last thing of all: until then a rerun completes what is missing
        return self.result

    def _identity(
        self, source: Source, settings: InferSettings, run: InferRun, device: str
    ) -> dict[str, object]:
        """Return all that scores depend on: those of an interrupted run are taken up if equal."""
        return {
            "sedtool_version": __version__,
            "clips": len(source.names),
            "model_sha256": self.job.model.weights_sha256,
            "scoring": self.job.scoring,
            "batch_size": settings.batch_size,  # moves the last bit of a score
            "device": device,
            "allow_truncated": run.allow_truncated,
            "manifest_sha256": source.manifest_sha256,
            "shard": str(source.shard),
            "inputs": source.identity,
        }

    def _scores(
        self,
        source: Source,
        kept: ScoreSpool,
        settings: InferSettings,
        run: InferRun,
        device: torch.device,
    ) -> Iterator[ClipScores | Failure]:
        """Yield the scores of all recordings in order, those that are done from the disk."""
        model = self.job.model
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

    def _take(self, scored: ClipScores | Failure, writer: ResultWriter, total: int) -> None:
        if isinstance(scored, Failure):
            self.result.failures.append((scored.name, "infer", scored.error))
        else:
            model, decoding = self.job.model, self.job.decoding
            events = decode_clip(scored, model.classes, model.frame_rate, decoding)
            writer.add(scored, events)
            self.result.n_recordings += 1
            self.result.n_events += len(events)
            self.result.audio_seconds += scored.duration
        if self.progress:
            self.progress(self.result.n_done, total, scored.name)

    def _end(self, writer: ResultWriter) -> None:
        """Complete the outputs; of no recording there are none, but for a part to merge."""
        failures = self.result.failures
        failures.sort()  # a name that had to be escaped may have left its place
        if not self.result.n_recordings and self.job.shard.is_whole:
            name, _, error = failures[0]
            raise NothingUsableError(
                f"none of {len(failures)} recordings could be used; the first, {name}: {error}"
            )
        writer.finish(failures)
