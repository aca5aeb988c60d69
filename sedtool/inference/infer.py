"""`infer`: audio, features.h5 or a scores.h5 in, files out."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sedtool.atomic import claim, refuse_input, remove_leftovers, together, write_failures
from sedtool.audio import AudioInputs
from sedtool.checkpoint import Model, load_model
from sedtool.config import InferConfig, to_json
from sedtool.decoding import clip_tags, decode_clip, decoding_of
from sedtool.errors import ConfigError, InputsFailedError, NothingUsableError
from sedtool.inference.outputs import (
    Detections,
    Emit,
    InferOutputs,
    KeptScores,
    ResultWriter,
    keep_scores,
    open_results,
)
from sedtool.inference.sources import ClipSource, ScoredClips, UnscoredClips, open_source
from sedtool.labels import printable
from sedtool.machine import pick_device
from sedtool.scoring import Failure, prefetch, score_clips, windows_of
from sedtool.shards import WHOLE, Shard
from sedtool.store import (
    ClipScores,
    ScoresHeader,
    clip_scores,
    open_scores,
)
from sedtool.store.made import Compared, Stamp
from sedtool.store.merge import check_siblings
from sedtool.store.spool import job_of, resumes
from sedtool.text import counted, real_time

_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]  # clips done, all clips, name of the latest


@dataclass
class InferResult:
    """What was done."""

    shard: Shard = WHOLE  # the part that the results are
    n_clips: int = 0
    n_resumed: int = 0  # of these, taken over from an interrupted run
    n_kept: int = 0  # of these, taken over from a finished list
    changes: str = ""  # to its files, in words
    is_done: bool = False  # whether it is what would have been made, so that nothing was done
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
        if self.is_done:
            return f"nothing to do: {counted(self.n_done, 'clip')}, finished and the same"
        resumed = f" ({self.n_resumed} of an interrupted run)" if self.n_resumed else ""
        resumed += f" ({self.changes}, {self.n_kept} taken over)" if self.changes else ""
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
    ends with the same bytes. Where finished files are what would be made, nothing is done; with
    `outputs.update`, clips whose files are unchanged are taken over.

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
    result = InferResult(task.source.shard, n_passed_over=task.source.n_passed_over)
    if task.is_done(outputs) and (outputs.events is not None or emit is None):
        return task.as_it_is(result, outputs)
    _warn_if_untuned(task.model, model_path, config)
    _Inference(task, config, outputs, result, progress).run(emit)
    result.seconds = time.monotonic() - started
    return result


@dataclass(frozen=True)
class InferTask:
    """What a run is of, once all that can be refused beforehand was."""

    model: Model
    source: ClipSource
    header: ScoresHeader  # what its scores file says
    stamps: dict[str, Stamp]  # of the clips, before they are read
    job: dict[str, Any]  # an interrupted run of an equal job is taken up
    made_of: dict[str, Any]  # what is kept of it, and all that the files depend on besides
    compared: Compared | None  # with what is finished

    @property
    def failed(self) -> dict[str, str]:
        """Return the errors of the clips that a finished list is without, by name."""
        rows = self.compared.known.items() if self.compared is not None else ()
        return {name: row[2] for name, row in rows if row[2]}

    @property
    def kept(self) -> set[str]:
        """Return the clips that are taken over from a finished list."""
        return set() if self.compared is None else self.compared.kept - self.failed.keys()

    def is_done(self, outputs: InferOutputs) -> bool:
        """Return whether finished files are what would be made."""
        is_same = self.compared is not None and self.compared.is_same
        is_left = self.resumes(outputs) or (outputs.update and self.failed)
        files = {path for path in outputs.files if path != outputs.folder}
        return is_same and not is_left and files == set(outputs.kinds.values())

    def as_it_is(self, result: InferResult, outputs: InferOutputs) -> InferResult:
        """Complete the result of a run that had nothing to do."""
        failures = [(printable(name), "infer", error) for name, error in self.failed.items()]
        result.is_done, result.failures, result.n_clips = True, sorted(failures), len(self.kept)
        result.failures_path = write_failures(outputs.first, result.failures)
        return result

    def resumes(self, outputs: InferOutputs) -> bool:
        """Return whether an interrupted run of this task stands beside the outputs.

        One of another task that may not be thrown away is an OutputExistsError.
        """
        kept_at = outputs.spool
        return kept_at is not None and resumes(kept_at, self.job, outputs.overwrite, outputs.update)


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
    made_of = job | {
        "scoring": json.loads(settings),
        "decoding": json.loads(to_json(decoding)),
        "outputs": sorted(outputs.kinds),
        "format": outputs.format,
        "confidence": outputs.confidence,
    }
    stamps = {name: source.stamp(name) for name in source.names}
    compared = outputs.compare(made_of, stamps)
    if compared is not None:
        compared.refuse(outputs.update)
    return InferTask(model, source, header, stamps, job, made_of, compared)


def _refuse_loose_part(source: ClipSource, config: InferConfig, outputs: InferOutputs) -> None:
    """Refuse a part that nothing would say to be one, or that other parts contradict."""
    if not source.shard.is_whole and outputs.spool is None and not config.partial:
        raise ConfigError(f"shard {source.shard} is a part to be merged: give it a file, with -o")
    if config.shard == "auto" and outputs.spool is not None:
        check_siblings(outputs.spool, source.shard, source.manifest_sha256)


def _warn_if_untuned(model: Model, path: Path, config: InferConfig) -> None:
    if not model.tuned and "auto" in (config.threshold, config.clip_threshold, config.median):
        _log.warning(
            "%s is not tuned: thresholds are %s and median filters %s s long where none are given",
            path,
            _range(model.decoding.thresholds),
            _range(model.decoding.windows),
        )


def _range(values: Sequence[float]) -> str:
    """Return the least and the greatest of some numbers in words, or the one that all are."""
    return " to ".join(dict.fromkeys(f"{value:.3g}" for value in (min(values), max(values))))


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
        with keep_scores(outputs.spool, task.job, outputs.update) as kept:
            is_update = outputs.update and task.compared is not None
            ours = set(outputs.files) if is_update else outputs.refuse_finished(task.source.names)
            with (
                claim(*outputs.files, overwrite=outputs.overwrite, ours=ours),
                together(outputs.first),
            ):
                remove_leftovers(*filter(None, [outputs.folder]), *outputs.lists(task.source.names))
                with open_results(task.header, outputs, emit, task.made_of) as writer:
                    self._write(writer, kept)
                self.result.failures_path = write_failures(outputs.first, failures)
                kept.remove()  # as all outputs are there then
        if self.result.failures_path is None:
            for name, _, error in failures:
                _log.warning("%s: %s", name, error)

    def _write(self, writer: ResultWriter, kept: KeptScores) -> None:
        failures = self.result.failures
        self.result.changes = str(self.task.compared or "")
        for (name, stamp), scored in zip(self.task.stamps.items(), self._scored(kept), strict=True):
            writer.note([name, *stamp, *self._take(scored, writer)])
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

    def _scored(self, kept: KeptScores) -> Iterator[ClipScores | Detections | Failure]:
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
    ) -> Iterator[ClipScores | Detections | Failure]:
        model, config = self.task.model, self.config
        stamps = self.task.stamps
        done = {name for name in source.names if kept.has(name, stamps[name])}
        old = self.task.kept - done
        self.result.n_resumed, self.result.n_kept = len(done), len(old)
        waiting = (source.features(n) for n in source.names if n not in done and n not in old)
        before = self._before(old)
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
            if name in old:
                yield next(before)
                continue
            scores = next(scored)
            if isinstance(scores, ClipScores):
                kept.add(scores, stamps[name])
                self.result.audio_seconds += scores.duration
            yield scores

    def _before(self, names: Set[str]) -> Iterator[ClipScores | Detections]:
        """Yield what finished files have of clips, in their order."""
        if self.outputs.scores is not None and names:
            yield from (c for c in clip_scores(open_scores(self.outputs.scores)) if c.name in names)
        elif self.task.compared is not None:
            rows = self.task.compared.known
            yield from (Detections.of(name, rows[name]) for name in sorted(names))

    def _take(self, scored: ClipScores | Detections | Failure, writer: ResultWriter) -> list[Any]:
        """Decode a clip, and put it where it belongs; return what the record says of it."""
        problem = self.outputs.name_problem(scored.name)
        error = scored.error if isinstance(scored, Failure) else problem or ""
        row: list[Any] = [error]
        if error:
            self.result.failures.append((scored.name, "infer", error))
        elif not isinstance(scored, Failure):
            detected = scored if isinstance(scored, Detections) else self._decoded(scored)
            writer.add(detected, scored if isinstance(scored, ClipScores) else None)
            row += detected.row()
            self.result.n_clips += 1
            self.result.n_events += len(detected.events)
        if self.progress:
            self.progress(self.result.n_done, len(self.task.source.names), scored.name)
        return row

    def _decoded(self, scored: ClipScores) -> Detections:
        header = self.task.header
        events = decode_clip(scored, header.classes, header.frame_rate, header.decoding)
        return Detections(scored.name, events, clip_tags(scored, header.classes, header.decoding))
