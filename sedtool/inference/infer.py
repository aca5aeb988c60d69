"""`infer`: files in, files out."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sedtool.atomic import claim, write_failures
from sedtool.audio import AudioInputs
from sedtool.checkpoint import Model, load_model
from sedtool.config import DecodingConfig, InferConfig, WindowConfig
from sedtool.decoding import decode_clip
from sedtool.errors import ConfigError, InputsFailedError, NothingUsableError
from sedtool.inference.outputs import Emit, InferOutputs, KeptScores, ResultWriter
from sedtool.inference.sources import ClipSource, ScoredClips, UnscoredClips, open_source
from sedtool.labels import Vocabulary, read_thresholds
from sedtool.machine import pick_device
from sedtool.scoring import Failure, prefetch, score_clips
from sedtool.shards import WHOLE, Shard
from sedtool.store import ClipScores, ScoresHeader, clip_scores
from sedtool.store.merge import check_siblings
from sedtool.store.spool import job_of, resumes
from sedtool.text import real_time

_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]  # clips done, all clips, name of the latest


@dataclass
class InferResult:
    """What was done."""

    shard: Shard = WHOLE  # the part that the results are
    n_clips: int = 0
    n_resumed: int = 0  # of these, taken over from an interrupted run
    n_events: int = 0
    audio_seconds: float = 0.0  # of the clips that were scored or decoded anew, not resumed
    seconds: float = 0.0
    failures: list[tuple[str, str, str]] = field(default_factory=list)  # filename, stage, error
    failures_path: Path | None = None

    @property
    def n_done(self) -> int:
        """Return the clips that were looked at."""
        return self.n_clips + len(self.failures)

    def failure_summary(self) -> str:
        """Say in one line which clips could not be used."""
        count = f"{len(self.failures)} of {self.n_done} clips could not be used"
        first = "; ".join(f"{name}: {error}" for name, _, error in self.failures[:3])
        if self.failures_path:
            return f"{count} ({first}); see {self.failures_path}"
        return f"{count} ({first}{', …; each is named above' if len(self.failures) > 3 else ''})"

    def __str__(self) -> str:
        """Return a line that sums up."""
        resumed = f" ({self.n_resumed} of an interrupted run)" if self.n_resumed else ""
        return (
            f"{self.n_events} events in {self.n_clips} clips{resumed}, "
            f"{len(self.failures)} failed; {real_time(self.audio_seconds, self.seconds)}"
        )


def infer(
    model_path: Path,
    inputs: AudioInputs | Sequence[Path],
    config: InferConfig | None = None,
    outputs: InferOutputs | None = None,
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
    config, outputs
        How to score and decode, and where to.
    emit
        Takes the event list if `outputs.events` is None, clip by clip. Without either, no event
        list is written.
    progress
        Called after each clip.

    Raises
    ------
    ArtifactError
        If model and inputs do not fit.
    InputsFailedError
        If a clip failed and `config.fail_fast` is set.
    NothingUsableError
        If every clip failed.
    """
    started = time.monotonic()
    config, outputs = config or InferConfig(), outputs or InferOutputs()
    task = prepare(model_path, inputs, config, outputs)
    _warn_if_untuned(task.model, model_path, config)
    result = InferResult(task.source.shard)
    _Inference(task, config, outputs, result, progress).run(emit)
    result.seconds = time.monotonic() - started
    return result


@dataclass(frozen=True)
class InferTask:
    """What a run is of, once all that can be refused beforehand was."""

    model: Model
    source: ClipSource
    header: ScoresHeader  # what its scores file says
    job: dict[str, Any]  # an interrupted run of an equal job is taken up

    def resumes(self, outputs: InferOutputs) -> bool:
        """Return whether an interrupted run of this task stands beside the outputs.

        Raises
        ------
        OutputExistsError
            If one of another task does, and may not be thrown away.
        """
        kept_at = outputs.spool
        return kept_at is not None and resumes(kept_at, self.job, outputs.overwrite)


def prepare(
    model_path: Path,
    inputs: AudioInputs | Sequence[Path],
    config: InferConfig,
    outputs: InferOutputs,
) -> InferTask:
    """Open the model, find the clips, and refuse what cannot end well; see `infer`."""
    inputs = inputs if isinstance(inputs, AudioInputs) else AudioInputs(tuple(inputs))
    model = load_model(model_path)
    decoding = decoding_of(model, config)
    source = open_source(model, inputs, config)
    outputs.refuse_inputs([model_path, Path(config.threshold), *source.files])
    if isinstance(source, ScoredClips):
        settings, details = source.scores.settings, {}
    else:
        _refuse_loose_part(source, config, outputs)
        settings, details = _scoring_of(model, config), _details(config)
    header = ScoresHeader(
        model.classes,
        model.frame_rate,
        decoding,
        model.weights_sha256,
        settings,
        source.shard,
        source.manifest_sha256,
    )
    job = job_of(
        len(source.names),
        header.shard,
        header.manifest_sha256,
        model_sha256=header.model_sha256,
        scoring=header.settings,
        inputs=source.digests,
        **details,
    )
    outputs.refuse(source.names, source.shard)
    return InferTask(model, source, header, job)


def _refuse_loose_part(source: ClipSource, config: InferConfig, outputs: InferOutputs) -> None:
    """Refuse a part that nothing would say to be one, or that other parts contradict."""
    if not source.shard.is_whole and outputs.spool is None and not config.partial:
        raise ConfigError(f"shard {source.shard} is a part to be merged: give it a file, with -o")
    if config.shard == "auto" and outputs.spool is not None:
        check_siblings(outputs.spool, source.shard, source.manifest_sha256)


def _details(config: InferConfig) -> dict[str, Any]:
    """Return what moves scores a little, or decides which there are, and no scores file says."""
    return {
        "batch_size": config.batch_size,  # moves the last bit of a score
        "device": str(pick_device(config.device)),
        "allow_truncated": config.allow_truncated,
    }


def decoding_of(model: Model, config: InferConfig) -> DecodingConfig:
    """Return the model's decoding settings with what the config replaces.

    Raises
    ------
    ConfigError
        If a value is out of range or a threshold file names unknown classes.
    """
    n, changes = len(model.classes), dict[str, Any]()
    if config.threshold != "auto":
        changes["thresholds"] = _thresholds(model, config.threshold)
    if config.clip_threshold == "off":
        changes["gate"] = False
    elif config.clip_threshold != "auto":
        changes["clip_thresholds"] = (_number(config.clip_threshold, "clip-threshold"),) * n
    if config.median != "auto":
        seconds = 0.0 if config.median == "off" else _number(config.median, "median")
        changes["windows"] = (seconds,) * n
    return replace(
        model.decoding, min_duration=config.min_duration, merge_gap=config.merge_gap, **changes
    )


def _thresholds(model: Model, text: str) -> tuple[float, ...]:
    """Return one threshold for every class, or those of a file with the model's for the others."""
    path = Path(text)
    if not path.is_file():
        return (_number(text, "threshold"),) * len(model.classes)
    given = read_thresholds(path)
    Vocabulary(model.classes).require(given, path)
    pairs = zip(model.classes, model.decoding.thresholds, strict=True)
    return tuple(given.get(label, fitted) for label, fitted in pairs)


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--{option} {text!r} is not a number, nor what else it takes") from None


def windows_of(model: Model, config: InferConfig) -> WindowConfig:
    """Return how clips are cut for the network."""
    seconds = model.window if config.window is None else config.window
    return WindowConfig(seconds, config.overlap, config.batch_size)


def _scoring_of(model: Model, config: InferConfig) -> str:
    """Return, as JSON, what scores depend on besides the weights."""
    windows = windows_of(model, config)
    values = {"window": windows.window, "overlap": windows.overlap, "amp": config.amp}
    return json.dumps(values, sort_keys=True)


def _warn_if_untuned(model: Model, path: Path, config: InferConfig) -> None:
    if not model.tuned and "auto" in (config.threshold, config.clip_threshold, config.median):
        _log.warning(
            "%s is not tuned: thresholds are %g and median filters %g s long where none are given",
            path,
            DecodingConfig.threshold,
            DecodingConfig.window,
        )


@dataclass(frozen=True)
class _Inference:
    """One run: clips through the network, or from a scores file, to the outputs."""

    task: InferTask
    config: InferConfig
    outputs: InferOutputs
    result: InferResult
    progress: Progress | None

    def run(self, emit: Emit | None) -> None:
        """Score and decode, keeping what is done until the outputs are complete."""
        outputs, task = self.outputs, self.task
        if task.resumes(outputs):
            # What is there of an interrupted run's outputs is not in the way of its rerun.
            outputs = replace(outputs, overwrite=True)
        with KeptScores(outputs.spool, task.job) as kept:
            outputs.refuse_finished(task.source.names)
            with (
                claim(*outputs.files, overwrite=outputs.overwrite),
                ResultWriter(task.header, outputs, emit) as writer,
            ):
                for scored in self._scored(kept):
                    self._take(scored, writer)
                    if self.config.fail_fast and self.result.failures:
                        raise InputsFailedError(self.result.failure_summary())
                self._end(writer)
            self._report_failures()
            kept.remove()  # the last thing of all: until then a rerun completes what is missing

    def _scored(self, kept: KeptScores) -> Iterator[ClipScores | Failure]:
        """Yield the scores of all clips in order, those that are done from the disk."""
        source = self.task.source
        if isinstance(source, ScoredClips):
            for clip in clip_scores(source.scores):
                self.result.audio_seconds += clip.duration
                yield clip
                if self.outputs.folder is not None:
                    kept.note(clip.name)  # until all lists are there, the folder is unfinished
        elif isinstance(source, UnscoredClips):
            yield from self._through_the_network(source, kept)

    def _through_the_network(
        self, source: UnscoredClips, kept: KeptScores
    ) -> Iterator[ClipScores | Failure]:
        model, config = self.task.model, self.config
        stamps = {name: source.stamp(name) for name in source.names}
        done = {name for name in source.names if kept.has(name, stamps[name])}
        self.result.n_resumed = len(done)
        waiting = (source.features(name) for name in source.names if name not in done)
        scored = score_clips(
            model,
            prefetch(waiting, config.workers),
            windows_of(model, config),
            pick_device(config.device),
            config.amp,
        )
        for name in source.names:
            if name in done:
                yield kept.read(name)
                continue
            scores = next(scored)
            if isinstance(scores, ClipScores):
                kept.add(scores, stamps[name])
                self.result.audio_seconds += scores.duration
            yield scores

    def _take(self, scored: ClipScores | Failure, writer: ResultWriter) -> None:
        """Decode a clip, and put it where it belongs."""
        if isinstance(scored, ClipScores) and (problem := self.outputs.name_problem(scored.name)):
            scored = Failure(scored.name, problem)
        if isinstance(scored, Failure):
            self.result.failures.append((scored.name, "infer", scored.error))
        else:
            header = self.task.header
            events = decode_clip(scored, header.classes, header.frame_rate, header.decoding)
            writer.add(scored, events)
            self.result.n_clips += 1
            self.result.n_events += len(events)
        if self.progress:
            self.progress(self.result.n_done, len(self.task.source.names), scored.name)

    def _end(self, writer: ResultWriter) -> None:
        """Complete the outputs; of no clip there are none, but for a part to merge."""
        failures = self.result.failures
        failures.sort()  # a name that had to be escaped may have left its place
        if failures and not self.result.n_clips and self.task.source.shard.is_whole:
            name, _, error = failures[0]
            raise NothingUsableError(
                f"none of {len(failures)} clips could be used; the first, {name}: {error}"
            )
        writer.finish(failures)

    def _report_failures(self) -> None:
        """Write the failures beside an output; where there is none, say each."""
        failures = self.result.failures
        self.result.failures_path = write_failures(self.outputs.failures_beside, failures)
        if self.result.failures_path is None:
            for name, _, error in failures:
                _log.warning("%s: %s", name, error)
