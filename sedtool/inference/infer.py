"""`infer`: audio, features.h5 or a scores.h5 in, files out."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sedtool.atomic import claim, refuse_input, remove_leftovers, together, write_failures
from sedtool.audio import AudioInputs, AudioReader, find_audio, stamp, unnamed
from sedtool.audio.find import is_pattern, match, suggestion
from sedtool.checkpoint import Model, load_model
from sedtool.config import DecodingConfig, InferConfig
from sedtool.datasets import FeatureSet
from sedtool.decoding import decode_clip, decoding_of
from sedtool.errors import ArtifactError, ConfigError, InputsFailedError, NothingUsableError
from sedtool.features import log_mel_blocks
from sedtool.inference.outputs import (
    Emit,
    InferOutputs,
    KeptScores,
    ResultWriter,
    keep_scores,
    open_results,
)
from sedtool.labels import printable
from sedtool.machine import pick_device
from sedtool.scoring import ClipFeatures, Failure, prefetch, score_clips, stored_clip, windows_of
from sedtool.shards import WHOLE, Shard, manifest_digest
from sedtool.store import (
    ClipScores,
    Scores,
    ScoresHeader,
    clip_scores,
    file_format,
    is_hdf5,
    open_scores,
    unfinished,
)
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
    n_passed_over: int = 0  # files of audio or video that cannot be read
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
        failed = f"{len(self.failures)} failed"
        if self.n_passed_over:
            failed += f", {self.n_passed_over} passed over"
        return (
            f"{self.n_events} events in {self.n_clips} clips{resumed}, "
            f"{failed}; {real_time(self.audio_seconds, self.seconds)}"
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
    result = InferResult(task.source.shard, n_passed_over=task.source.n_passed_over)
    _Inference(task, config, outputs, result, progress).run(emit)
    result.seconds = time.monotonic() - started
    return result


@dataclass(frozen=True, kw_only=True)
class ClipSource:
    """Clips by name, and which part of which list they are."""

    names: list[str]  # sorted
    shard: Shard
    manifest_sha256: str  # of the whole list of names
    files: list[Path]  # that are read
    digests: list[str]  # of these files, where they have them
    claimed_duration: Callable[[str], float]  # seconds, as the header says; 0 if it does not
    n_passed_over: int = 0  # files of audio or video that cannot be read


@dataclass(frozen=True, kw_only=True)
class ScoredClips(ClipSource):
    """Clips of a scores file, to be decoded anew."""

    scores: Scores


@dataclass(frozen=True, kw_only=True)
class UnscoredClips(ClipSource):
    """Clips for the network."""

    features: Callable[[str], ClipFeatures]
    stamp: Callable[[str], tuple[int, int]]  # changes when the clip's file does


def open_source(model: Model, inputs: AudioInputs, config: InferConfig) -> ClipSource:
    """Return the clips that the inputs mean.

    Files that are unfinished, damaged, or do not fit the model are an ArtifactError; inputs of
    several kinds, and options without a meaning for theirs, a ConfigError.
    """
    artifacts = _artifacts(inputs)
    if artifacts and artifacts[0].exists() and file_format(artifacts[0]) == "sedtool-scores":
        return _scored_clips(model, artifacts, inputs, config)
    for path in artifacts:
        if not path.exists() and unfinished(path.resolve()) is None:  # else how far it is, below
            raise ConfigError(f"{path} does not exist{suggestion(path)}")
    if artifacts:
        _refuse_given("features", inputs, "root")
        _refuse_given("features", config, "allow_truncated")
        return _features_source(model, artifacts, config)
    _refuse_given("audio", config, "partial")
    return _audio_source(model, inputs, config)


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
    if path.exists() or not is_pattern(str(path)) or path.suffix.lower() != ".h5":
        return [path]
    return sorted(set(match(str(path)))) or [path]


def _refuse_given(what: str, options: Any, *names: str) -> None:
    """Raise a ConfigError if an option is given that would be ignored for such inputs."""
    default = type(options)()
    for name in names:
        if getattr(options, name) != getattr(default, name):
            raise ConfigError(f"--{name.replace('_', '-')} has no meaning for {what}")


def _scored_clips(
    model: Model, paths: list[Path], inputs: AudioInputs, config: InferConfig
) -> ScoredClips:
    if len(paths) > 1:
        raise ConfigError("give one scores file at a time")
    scores = open_scores(paths[0])
    if scores.model_sha256 == model.weights_sha256_of_format_2:
        raise ArtifactError(
            f"{paths[0]} was made before models of equal weights and different pooling were "
            "told apart; score the clips again"
        )
    if scores.model_sha256 != model.weights_sha256:
        raise ArtifactError(f"{paths[0]} was made by a model with other weights than the one given")
    _refuse_given("scores", inputs, "root")
    of_network = ("window", "overlap", "batch_size", "amp", "workers", "allow_truncated")
    _refuse_given("scores", config, *of_network, "shard", "partial")
    if config.device not in ("auto", "cpu"):
        raise ConfigError("--device has no meaning for scores: no network is run")
    return ScoredClips(
        names=scores.names,
        shard=scores.shard,
        manifest_sha256=scores.manifest_sha256,
        files=paths,
        digests=[scores.sha256],
        claimed_duration=dict(zip(scores.names, scores.duration.tolist(), strict=True)).__getitem__,
        scores=scores,
    )


def _features_source(model: Model, paths: list[Path], config: InferConfig) -> UnscoredClips:
    """Return the clips of features files; one file that is a part makes a part."""
    features = FeatureSet(paths, partial=config.partial or len(paths) == 1)
    features.require(model.features)
    for file in features.files:
        if file.failures:
            _log.warning(
                "%s: %d files that could not be used are missing", file.path, len(file.failures)
            )
    names = sorted(features.place)
    shard, manifest = Shard.of(config.shard), manifest_digest(names)
    if shard.is_whole and len(paths) == 1:
        shard, manifest = features.files[0].shard, features.files[0].manifest_sha256
    else:
        names = shard.select(names)
    return UnscoredClips(
        names=names,
        shard=shard,
        manifest_sha256=manifest,
        files=paths,
        digests=[file.sha256 for file in features.files],
        claimed_duration=features.duration,
        features=lambda name: stored_clip(features, name),
        stamp=lambda name: (0, 0),
    )


def _audio_source(model: Model, inputs: AudioInputs, config: InferConfig) -> UnscoredClips:
    """Return audio files as clips: decoded, and turned into features, as they are read."""
    shard, found, wanted = Shard.of(config.shard), find_audio(inputs), model.features

    def reader_of(name: str) -> AudioReader:
        return AudioReader(
            found[name],
            wanted.sample_rate,
            wanted.channel,
            name=name,
            allow_truncated=config.allow_truncated,
        )

    def claimed_duration(name: str) -> float:
        with unnamed(found[name]), reader_of(name) as reader:
            return reader.claimed_duration

    def features(name: str) -> ClipFeatures:
        reader = reader_of(name)

        def blocks() -> Iterator[np.ndarray]:
            with unnamed(found[name]), reader:
                yield from log_mel_blocks(reader, wanted)

        return ClipFeatures(printable(name), blocks, lambda: reader.duration)

    return UnscoredClips(
        names=shard.select(list(found)),
        shard=shard,
        manifest_sha256=manifest_digest(list(found)),
        files=list(found.values()),
        n_passed_over=len(found.passed_over),
        digests=[],
        claimed_duration=claimed_duration,
        features=features,
        stamp=lambda name: stamp(found[name]),
    )


@dataclass(frozen=True)
class InferTask:
    """What a run is of, once all that can be refused beforehand was."""

    model: Model
    source: ClipSource
    header: ScoresHeader  # what its scores file says
    job: dict[str, Any]  # an interrupted run of an equal job is taken up

    def resumes(self, outputs: InferOutputs) -> bool:
        """Return whether an interrupted run of this task stands beside the outputs.

        One of another task that may not be thrown away is an OutputExistsError.
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
    decoding = decoding_of(model.classes, model.decoding, config)
    decoding.require_rate(model.frame_rate)
    source = open_source(model, inputs, config)
    for output in outputs.files:
        refuse_input(output, [model_path, Path(config.threshold), *source.files])
    details: dict[str, Any] = {"inputs": source.digests}
    if isinstance(source, ScoredClips):
        settings = source.scores.settings
    else:
        _refuse_loose_part(source, config, outputs)
        windows = windows_of(model, config)
        scoring = {"window": windows.window, "overlap": windows.overlap, "amp": config.amp}
        settings = json.dumps(scoring, sort_keys=True)
        # What moves scores a little, or decides which there are, and no scores file says.
        details |= {
            "batch_size": config.batch_size,  # moves the last bit of a score
            "device": str(pick_device(config.device)),
            "allow_truncated": config.allow_truncated,
        }
    n_clips, shard, manifest = len(source.names), source.shard, source.manifest_sha256
    weights, classes = model.weights_sha256, model.classes
    header = ScoresHeader(classes, model.frame_rate, decoding, weights, settings, shard, manifest)
    job = job_of(n_clips, shard, manifest, model_sha256=weights, scoring=settings, **details)
    outputs.refuse(n_clips, shard)
    return InferTask(model, source, header, job)


def _refuse_loose_part(source: ClipSource, config: InferConfig, outputs: InferOutputs) -> None:
    """Refuse a part that nothing would say to be one, or that other parts contradict."""
    if not source.shard.is_whole and outputs.spool is None and not config.partial:
        raise ConfigError(f"shard {source.shard} is a part to be merged: give it a file, with -o")
    if config.shard == "auto" and outputs.spool is not None:
        check_siblings(outputs.spool, source.shard, source.manifest_sha256)


def _warn_if_untuned(model: Model, path: Path, config: InferConfig) -> None:
    if not model.tuned and "auto" in (config.threshold, config.clip_threshold, config.median):
        lengths = sorted({f"{seconds:g}" for seconds in model.decoding.windows}, key=float)
        _log.warning(
            "%s is not tuned: thresholds are %g and median filters %s s long where none are given",
            path,
            DecodingConfig.threshold,
            " to ".join(dict.fromkeys((lengths[0], lengths[-1]))),
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
        outputs, task, failures = self.outputs, self.task, self.result.failures
        task.resumes(outputs)  # else it is refused
        with keep_scores(outputs.spool, task.job) as kept:
            ours = outputs.refuse_finished(task.source.names)
            with (
                claim(*outputs.files, overwrite=outputs.overwrite, ours=ours),
                together(outputs.first),
            ):
                remove_leftovers(*filter(None, [outputs.folder]), *outputs.lists(task.source.names))
                with open_results(task.header, outputs, emit) as writer:
                    self._write(writer, kept)
                self.result.failures_path = write_failures(outputs.first, failures)
                kept.remove()  # as all outputs are there then
        if self.result.failures_path is None:
            for name, _, error in failures:
                _log.warning("%s: %s", name, error)

    def _write(self, writer: ResultWriter, kept: KeptScores) -> None:
        failures = self.result.failures
        for scored in self._scored(kept):
            self._take(scored, writer)
            if self.config.fail_fast and failures:
                raise InputsFailedError(self.result.failure_summary())
        failures.sort()  # a name that had to be escaped may have left its place
        self._refuse_nothing()
        writer.finish(failures)

    def _refuse_nothing(self) -> None:
        """Raise an error if every clip failed; only a part to merge may be without any."""
        failures = self.result.failures
        if failures and not self.result.n_clips and self.task.source.shard.is_whole:
            name, _, error = failures[0]
            raise NothingUsableError(
                f"none of {len(failures)} clips could be used; the first, {name}: {error}"
            )

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
