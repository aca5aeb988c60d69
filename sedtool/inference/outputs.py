"""Scored clips -> event list, scores file, clip tags, each with its record if it is a part.

Until they are complete, the scores of finished clips are kept beside them, for a rerun.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from sedtool.atomic import (
    appears_whole,
    open_atomic,
    refuse_existing,
    refuse_input,
    resource_errors,
    write_text,
)
from sedtool.config import EVENT_FORMAT, to_json
from sedtool.decoding import clip_tags
from sedtool.errors import ConfigError, LabelError, ResourceError
from sedtool.labels import EVENT_FORMATS, Event, event_format, format_weak, printable
from sedtool.shards import PartRecord, Shard, remove_part_record, write_part
from sedtool.store import ClipScores, ScoresHeader, ScoresWriter
from sedtool.store.spool import Spool

Emit = Callable[[str], None]  # takes lines of an event list
Stamp = tuple[int, int]  # size and time of an audio file; it is scored again where they changed


@dataclass(frozen=True)
class InferOutputs:
    """Where results go."""

    events: Path | None = None  # event list, or a folder of them; the stream where there is none
    scores: Path | None = None
    weak: Path | None = None  # classes of each clip
    format: str = EVENT_FORMAT  # of the event list
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
        """Return the folder that takes an event list for each clip, if that is asked for."""
        return self.events if self.events is not None and self.events.is_dir() else None

    @property
    def list_file(self) -> Path | None:
        """Return the file that takes the event list of all clips, if that is asked for."""
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

    def file_of(self, name: str) -> Path:
        """Return the file that the folder of event lists has for a clip; see `name_problem`."""
        assert self.folder is not None
        return self.folder / event_format(self.format).file_of(name)

    def name_problem(self, name: str) -> str | None:
        """Return why the event list cannot hold a clip of this name; None if it can."""
        form = event_format(self.format)
        try:
            form.rows([Event(name, 0.0, 1.0, "any")], 1, False)
            if self.folder is not None:
                form.file_of(name)
        except LabelError as error:
            return str(error)
        return None

    def refuse(self, names: Sequence[str], shard: Shard) -> None:
        """Raise an error, before anything is computed, if an output does not fit.

        Parameters
        ----------
        names
            The clips.
        shard
            The part of all clips that they are.
        """
        self._refuse_clashes()
        for path in self.files:
            _refuse_unwritable(path)
        self._refuse_suffix()
        if event_format(self.format).one_clip and self.folder is None and len(names) > 1:
            raise ConfigError(
                f"a list in the format {self.format} holds one clip; for "
                f"{len(names)}, -o must name a folder that exists"
            )
        if not shard.is_whole and self.format != "dcase":
            raise ConfigError("parts are merged as --format dcase; sedtool convert does the rest")

    def _refuse_clashes(self) -> None:
        """Refuse outputs that are one file, or a kind of file that they cannot be."""
        streams = [] if self.events is not None else [Path("/dev/stdout")]
        targets = [path.resolve() for path in (*self.files, *streams)]
        targets = [path for path in targets if path != Path("/dev/null")]
        if len(set(targets)) < len(targets):
            raise ConfigError("event list, scores and clip tags need a file each")
        if self.scores is not None and not appears_whole(self.scores):
            raise ConfigError(f"--scores {self.scores} must be a regular file")
        if self.weak is not None and self.weak.is_dir():
            raise ConfigError(f"--weak {self.weak} is a folder; name a file in it")

    def _refuse_suffix(self) -> None:
        """Refuse an event list that is named as something else is."""
        name = self.list_file.name if self.list_file is not None else ""
        if name.endswith(".h5"):
            raise ConfigError(f"-o {name} would be an event list; --scores {name} writes scores")
        for form in EVENT_FORMATS.values():
            is_told = name.endswith(form.suffix) and form.suffix != ".txt"  # which may be anything
            if is_told and form.name != self.format:
                raise ConfigError(
                    f"{name} is named as {form.name} files are, and --format is {self.format}"
                )

    def refuse_finished(self, names: Sequence[str]) -> None:
        """Raise OutputExistsError if a file, or a list in the folder, may not be replaced."""
        for path in self.files:
            refuse_existing(path, self.overwrite)
        if self.overwrite or self.folder is None:
            return
        for name in map(printable, names):
            if self.name_problem(name) is None:
                refuse_existing(self.file_of(name), False)

    def refuse_inputs(self, inputs: Iterable[Path]) -> None:
        """Raise a ConfigError if an output is a file that is read."""
        inputs = list(inputs)
        for output in self.files:
            refuse_input(output, inputs)


def _refuse_unwritable(output: Path) -> None:
    """Raise a ResourceError if a file cannot be made where it shall be."""
    folder = output if output.is_dir() else output.resolve().parent
    if not folder.is_dir():
        raise ResourceError(f"cannot write {output}: the folder does not exist")
    if (output.is_dir() or appears_whole(output)) and not os.access(folder, os.W_OK):
        raise ResourceError(f"cannot write {output}: permission denied")


class ResultWriter:
    """Takes clips in order and writes all that was asked for.

    Files appear, whole, when the block ends without an error, after `finish`.

    Parameters
    ----------
    header
        What the results are of, as a scores file says it.
    outputs
        Where they go.
    emit
        Takes the event list, clip by clip, where no output is given for it.
    """

    def __init__(self, header: ScoresHeader, outputs: InferOutputs, emit: Emit | None) -> None:
        self.header, self.outputs, self.emit = header, outputs, emit
        self.format = event_format(outputs.format)
        self.n_clips = self.n_events = 0
        self._tags: dict[str, tuple[str, ...]] = {}
        self._leftovers: dict[Path, list[Path]] = {}  # temporary files, by folder
        self._closing = contextlib.ExitStack()
        self._events: _TextFile | None = None
        self._weak: _TextFile | None = None
        self._scores: ScoresWriter | None = None

    def __enter__(self) -> Self:
        outputs = self.outputs
        with contextlib.ExitStack() as entering:
            if outputs.list_file is not None:
                self._events = entering.enter_context(self._text(outputs.list_file, "events"))
                self.emit = self._events.write
            elif outputs.folder is not None:
                self.emit = None
            if outputs.weak is not None:
                self._weak = entering.enter_context(self._text(outputs.weak, "tags"))
            if outputs.scores is not None:
                self._scores = entering.enter_context(ScoresWriter(outputs.scores, self.header))
            self._closing = entering.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._closing.__exit__(*raised)

    def _text(self, path: Path, kind: str) -> "_TextFile":
        is_part = not self.header.shard.is_whole and appears_whole(path)
        return _TextFile(path, self._record(kind) if is_part else None)

    def _record(self, kind: str) -> PartRecord:
        """Return what the record of a part in text says, but for clips and digest."""
        settings = {
            "decoding": json.loads(to_json(self.header.decoding)),
            "scoring": json.loads(self.header.settings),
            "confidence": self.outputs.confidence,
        }
        return PartRecord(
            kind=kind,
            shard=self.header.shard,
            manifest_sha256=self.header.manifest_sha256,
            model_sha256=self.header.model_sha256,
            settings=json.dumps(settings, sort_keys=True),
            n_clips=0,
        )

    def add(self, scores: ClipScores, events: list[Event]) -> None:
        """Take one clip, the next in order."""
        confidence = self.outputs.confidence
        if self.outputs.folder is not None:
            path = self.outputs.file_of(scores.name)
            self._make_room(path)
            rows = self.format.rows(events, 1, confidence)
            write_text(path, self.format.header(confidence) + rows)
        elif self.emit is not None:
            header = "" if self.n_clips else self.format.header(confidence)
            self.emit(header + self.format.rows(events, 1 + self.n_events, confidence))
        self._tags[scores.name] = clip_tags(scores, self.header.classes, self.header.decoding)
        if self._scores is not None:
            self._scores.append(scores)
        self.n_clips += 1
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
        """Complete the outputs; a list without any clip still gets its header."""
        if not self.n_clips and self.emit is not None:
            self.emit(self.format.header(self.outputs.confidence))
        if self._weak is not None:
            self._weak.write(format_weak(self._tags))
        for text in (self._events, self._weak):
            if text is not None:
                text.record(self.n_clips, tuple(failures))


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

    def __exit__(self, kind: type[BaseException] | None, *raised: Any) -> None:
        self._closing.__exit__(kind, *raised)
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


class KeptScores:
    """The scores of finished clips beside an output, until it is complete: a rerun goes on there.

    Parameters
    ----------
    path
        The output; None keeps nothing.
    job
        All that the scores depend on, as `job_of`. Scores of another job are thrown away.

    Raises
    ------
    ResourceError
        On entering, if another process is making the same output.
    """

    def __init__(self, path: Path | None, job: dict[str, Any]) -> None:
        self._spool = None if path is None else Spool(path.resolve(), job)
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if self._spool is not None:
            self._closing.enter_context(self._spool)
        return self

    def __exit__(self, *raised: Any) -> None:
        self._closing.__exit__(*raised)

    def has(self, name: str, stamp: Stamp) -> bool:
        """Return whether the clip is done, and its file still the same."""
        entry = self._spool.entries.get(name) if self._spool is not None else None
        return entry is not None and tuple(entry.info["stamp"]) == stamp

    def add(self, scores: ClipScores, stamp: Stamp) -> None:
        """Keep the scores of a clip."""
        if self._spool is None:
            return
        info = {
            "stamp": stamp,
            "duration": scores.duration,
            "n_classes": scores.frame.shape[1],
            "window_start": scores.window_start.tolist(),
            "window_frames": scores.window_frames.tolist(),
        }
        content = scores.frame.astype("<f4").tobytes(), scores.window.astype("<f4").tobytes()
        self._spool.append(scores.name, info, content)

    def note(self, name: str) -> None:
        """Keep that a clip is done, without scores: they are at hand for a rerun."""
        if self._spool is not None:
            self._spool.append(name, {}, ())

    def read(self, name: str) -> ClipScores:
        """Return the scores of a clip that is done."""
        assert self._spool is not None  # what is not kept is not read
        info = self._spool.entries[name].info
        values = np.frombuffer(b"".join(self._spool.read(name)), "<f4")
        values = values.reshape(-1, info["n_classes"])
        n_windows = len(info["window_start"])
        return ClipScores(
            name,
            info["duration"],
            values[:-n_windows],
            np.array(info["window_start"]),
            np.array(info["window_frames"]),
            values[-n_windows:],
        )

    def remove(self) -> None:
        """Remove what is kept, once the outputs are complete."""
        if self._spool is not None:
            self._spool.remove()
