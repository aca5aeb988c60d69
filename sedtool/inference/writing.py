"""Scored recordings -> event list, scores file, clip tags, each with its record if it is a part."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from sedtool.atomic import appears_whole, open_atomic, resource_errors, write_text
from sedtool.checkpoint import Model
from sedtool.config import DecodingConfig, to_json
from sedtool.decoding import ClipScores, clip_tags
from sedtool.errors import LabelError
from sedtool.inference.settings import InferOutputs
from sedtool.labels import Event, event_format, format_weak
from sedtool.shards import Shard
from sedtool.store import ScoresHeader, ScoresWriter
from sedtool.store.parts import PartRecord, remove_part_record, write_part

__all__ = ["Emit", "Job", "ResultWriter", "file_of", "name_problem"]

Emit = Callable[[str], None]  # takes lines of an event list


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
