"""Scored recordings -> event list, scores file, clip tags, each with its record if it is a part."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from sedtool.atomic import (
    appears_whole,
    open_atomic,
    refuse_existing,
    refuse_input,
    resource_errors,
    write_text,
)
from sedtool.checkpoint import Model
from sedtool.config import DecodingConfig, to_json
from sedtool.decoding import ClipScores, clip_tags
from sedtool.errors import ConfigError, LabelError, ResourceError
from sedtool.inference.settings import InferRun, InferSettings
from sedtool.labels import EVENT_FORMATS, Event, event_format, format_weak, printable
from sedtool.shards import Shard
from sedtool.store import ScoresHeader, ScoresWriter
from sedtool.store.parts import PartRecord, remove_part_record, write_part

__all__ = [
    "Emit",
    "InferOutputs",
    "Job",
    "ResultWriter",
    "file_of",
    "name_problem",
    "refuse_finished",
    "refuse_inputs",
    "refuse_loose_part",
    "refuse_outputs",
]

Emit = Callable[[str], None]  # takes lines of an event list


@dataclass(frozen=True)
class InferOutputs:
    """Where results go."""

    events: Path | None = None  # event list, or a folder of them; the stream where there is none
    scores: Path | None = None
    weak: Path | None = None  # classes of each clip
    format: str = "dcase"  # of the event list
    confidence: bool = False  # a column in the event list
    overwrite: bool = False

    def __str__(self) -> str:
        """Return where results go, in words."""
        return ", ".join(map(str, self.files)) or "stdout"

    @property
    def files(self) -> list[Path]:
        """Return the outputs that are given."""
        return [path for path in (self.events, self.scores, self.weak) if path is not None]

    @property
    def folder(self) -> Path | None:
        """Return the folder that takes an event list a recording, if that is asked for."""
        return self.events if self.events is not None and self.events.is_dir() else None

    @property
    def list_file(self) -> Path | None:
        """Return the file that takes the event list of all recordings, if that is asked for."""
        return self.events if self.folder is None else None

    @property
    def spool(self) -> Path | None:
        """Return the output beside which unfinished work is kept; without a file, none is."""
        if self.folder is not None:
            return self.folder / ".events"
        files = (path for path in self.files if appears_whole(path))
        return next(files, None)

    @property
    def failures_beside(self) -> Path | None:
        """Return the output that a list of failures stands beside; None if all are streams."""
        if self.folder is not None:
            return self.folder.resolve()  # "." has no name
        return self.spool

    def refuse(self) -> None:
        """Raise an error if an output is named twice, or cannot be written."""
        streams = [] if self.events is not None else [Path("/dev/stdout")]
        targets = [path.resolve() for path in (*self.files, *streams)]
        targets = [path for path in targets if path != Path("/dev/null")]
        if len(set(targets)) < len(targets):
            raise ConfigError("event list, scores and clip tags need a file each")
        if self.scores is not None and not appears_whole(self.scores):
            raise ConfigError(f"--scores {self.scores} must be a regular file")
        if self.weak is not None and self.weak.is_dir():
            raise ConfigError(f"--weak {self.weak} is a folder; name a file in it")
        for path in self.files:
            _refuse_unwritable(path)


def _refuse_unwritable(output: Path) -> None:
    """Raise a ResourceError if a file cannot be made where it shall be."""
    folder = output if output.is_dir() else output.resolve().parent
    if not folder.is_dir():
        raise ResourceError(f"cannot write {output}: the folder does not exist")
    if (output.is_dir() or appears_whole(output)) and not os.access(folder, os.W_OK):
        raise ResourceError(f"cannot write {output}: permission denied")


@dataclass(frozen=True)
class Job:
    """What results are of."""

    model: Model
    decoding: DecodingConfig
    scoring: str  # JSON, as `InferSettings.scoring`
    shard: Shard
    manifest_sha256: str

    def scores_header(self) -> ScoresHeader:
        """Return what a scores file says of itself."""
        model = self.model
        return ScoresHeader(
            classes=model.classes,
            frame_rate=model.frame_rate,
            decoding=self.decoding,
            model_sha256=model.weights_sha256,
            settings=self.scoring,
            shard=self.shard,
            manifest_sha256=self.manifest_sha256,
        )

    def part(self, kind: str, confidence: bool = False) -> PartRecord:
        """Return what the record of a part in text says; clips and digest are filled in later."""
        settings = {
            "decoding": json.loads(to_json(self.decoding)),
            "scoring": json.loads(self.scoring),
            "confidence": confidence,
        }
        return PartRecord(
            kind=kind,
            shard=self.shard,
            manifest_sha256=self.manifest_sha256,
            model_sha256=self.model.weights_sha256,
            settings=json.dumps(settings, sort_keys=True),
            n_clips=0,
        )


def file_of(outputs: InferOutputs, name: str) -> Path:
    """Return the file that a folder of event lists has for a recording; see `name_problem`."""
    assert outputs.folder is not None
    return outputs.folder / event_format(outputs.format).file_of(name)


def name_problem(outputs: InferOutputs, name: str) -> str | None:
    """Return why the event list cannot hold a recording of this name; None if it can."""
    form = event_format(outputs.format)
    try:
        form.rows([Event(name, 0.0, 1.0, "any")], 1, False)
        if outputs.folder is not None:
            form.file_of(name)
    except LabelError as error:
        return str(error)
    return None


class _TextFile:
    """A text output that appears when it is closed, after its record if it is a part."""

    def __init__(self, path: Path, record: PartRecord | None) -> None:
        self.path, self._record = path, record
        self._digest = hashlib.sha256()
        self._closing = contextlib.ExitStack()
        self._stream: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._stream = self._closing.enter_context(open_atomic(self.path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.__exit__(kind, error, trace)
        if kind is None and self._record is None and appears_whole(self.path):
            remove_part_record(self.path)  # of a part that this replaced

    def write(self, text: str) -> None:
        assert self._stream is not None
        content = text.encode("utf-8")
        self._digest.update(content)
        self._stream.write(content)
        self._stream.flush()  # a FIFO's reader need not wait

    def record(self, n_clips: int, failures: tuple[tuple[str, str, str], ...]) -> None:
        """Write the record; before the text itself, which would look whole without it."""
        if self._record is not None:
            digest = self._digest.hexdigest()
            write_part(
                self.path,
                replace(self._record, n_clips=n_clips, failures=failures, sha256=digest),
            )


class ResultWriter:
    """Takes recordings in order and writes all that was asked for.

    Files appear, whole, when the block ends without an error, after `finish`.

    Parameters
    ----------
    job
        What the results are of.
    outputs
        Where they go.
    emit
        Takes the event list, recording by recording, where no output is given for it.
    """

    def __init__(self, job: Job, outputs: InferOutputs, emit: Emit | None) -> None:
        self.job, self.outputs, self.emit = job, outputs, emit
        self.format = event_format(outputs.format)
        self.n_recordings = self.n_events = 0
        self._tags: dict[str, tuple[str, ...]] = {}
        self._leftovers: dict[Path, list[Path]] = {}  # temporary files, by folder
        self._closing = contextlib.ExitStack()
        self._events: _TextFile | None = None
        self._weak: _TextFile | None = None
        self._scores: ScoresWriter | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as entering:
            if self.outputs.list_file is not None:
                self._events = entering.enter_context(self._text(self.outputs.list_file, "events"))
                self.emit = self._events.write
            elif self.outputs.folder is not None:
                self.emit = None
            if self.outputs.weak is not None:
                self._weak = entering.enter_context(self._text(self.outputs.weak, "tags"))
            if self.outputs.scores is not None:
                writer = ScoresWriter(self.outputs.scores, self.job.scores_header())
                self._scores = entering.enter_context(writer)
            self._closing = entering.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.__exit__(kind, error, trace)

    def _text(self, path: Path, kind: str) -> _TextFile:
        is_part = not self.job.shard.is_whole and appears_whole(path)
        return _TextFile(path, self.job.part(kind, self.outputs.confidence) if is_part else None)

    def add(self, scores: ClipScores, events: list[Event]) -> None:
        """Take one recording, the next in order."""
        confidence = self.outputs.confidence
        if self.outputs.folder is not None:
            path = file_of(self.outputs, scores.name)
            self._make_room(path)
            rows = self.format.rows(events, 1, confidence)
            write_text(path, self.format.header(confidence) + rows)
        elif self.emit is not None:
            header = "" if self.n_recordings else self.format.header(confidence)
            self.emit(header + self.format.rows(events, 1 + self.n_events, confidence))
        self._tags[scores.name] = clip_tags(scores, self.job.model.classes, self.job.decoding)
        if self._scores is not None:
            self._scores.append(scores)
        self.n_recordings += 1
        self.n_events += len(events)

    def _make_room(self, path: Path) -> None:
        """Make the folder of a list, and remove what killed writers of the list left there."""
        folder = path.parent
        with resource_errors(path):
            if folder not in self._leftovers:
                folder.mkdir(parents=True, exist_ok=True)
                self._leftovers[folder] = list(folder.glob(".*.tmp"))
            for leftover in self._leftovers[folder]:
                if leftover.name.startswith(f".{path.name}."):
                    leftover.unlink(missing_ok=True)

    def finish(self, failures: list[tuple[str, str, str]]) -> None:
        """Complete the outputs; a list without any recording still gets its header."""
        if not self.n_recordings and self.emit is not None:
            self.emit(self.format.header(self.outputs.confidence))
        if self._weak is not None:
            self._weak.write(format_weak(self._tags))
        for text in (self._events, self._weak):
            if text is not None:
                text.record(self.n_recordings, tuple(failures))


def refuse_outputs(outputs: InferOutputs, names: Sequence[str], shard: Shard) -> None:
    """Raise an error, before anything is computed, if an output does not fit.

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


def refuse_finished(outputs: InferOutputs, names: Sequence[str]) -> None:
    """Raise OutputExistsError if an output, or a list in a folder of them, may not be replaced."""
    for path in outputs.files:
        refuse_existing(path, outputs.overwrite)
    if outputs.overwrite or outputs.folder is None:
        return
    for name in map(printable, names):
        if name_problem(outputs, name) is None:
            refuse_existing(file_of(outputs, name), False)


def refuse_inputs(
    outputs: InferOutputs, model: Path, settings: InferSettings, inputs: Iterable[Path]
) -> None:
    """Raise a ConfigError if an output is a file that is read."""
    files = [model, Path(settings.threshold), *inputs]
    for output in outputs.files:
        refuse_input(output, files)


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
