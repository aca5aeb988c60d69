"""Scored clips -> event list, scores file, clip tags, each with its record if it is a part.

Until they are complete, the scores of finished clips are kept beside them, for a rerun.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sedtool.atomic import (
    appears_whole,
    differing,
    is_unfinished,
    made_before,
    open_atomic,
    refuse_existing,
    resource_errors,
    write_text,
)
from sedtool.config import to_json
from sedtool.config.base import require
from sedtool.config.extraction import UPDATE_OR_OVERWRITE
from sedtool.config.inference import EVENT_FORMAT
from sedtool.errors import ArtifactError, ConfigError, LabelError, ResourceError
from sedtool.labels import EVENT_FORMATS, Event, event_format, format_weak, printable
from sedtool.labels.formats import EventFormat
from sedtool.shards import PartRecord, Shard, remove_part_record, write_part
from sedtool.store import ClipScores, ScoresHeader, ScoresWriter, open_scores
from sedtool.store.made import Compared, Note, Stamp, read_made, recording
from sedtool.store.spool import Spool
from sedtool.text import file_sha256

Emit = Callable[[str], None]  # takes lines of an event list


@dataclass(frozen=True)
class Detections:
    """What was detected in a clip."""

    name: str
    events: list[Event]
    tags: Sequence[str]

    @classmethod
    def of(cls, name: str, row: Sequence[Any]) -> "Detections":
        """Return what the record of an output says of a clip."""
        *_, events, tags = row
        return cls(name, [Event(name, *columns) for columns in events], tags)

    def row(self) -> list[Any]:
        """Return what `of` reads."""
        events = [[e.onset, e.offset, e.label, e.confidence] for e in self.events]
        return [events, self.tags]


@dataclass(frozen=True)
class InferOutputs:
    """Where results go."""

    events: Path | None = None  # event list, or a folder of them; the stream where there is none
    scores: Path | None = None
    weak: Path | None = None  # classes of each clip
    format: str = EVENT_FORMAT  # of the event list
    confidence: bool = False  # a column in the event list
    overwrite: bool = False
    update: bool = False  # take over from a finished list the clips whose files are unchanged

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
        return next((path for path in self.files if appears_whole(path)), None)

    @property
    def first(self) -> Path | None:
        """Return the output that all others go with, a folder or a file; None if all are streams.

        A list of failures stands beside it.
        """
        if self.folder is not None:
            return self.folder.resolve()  # "." has no name
        return self.spool

    @property
    def event_format(self) -> EventFormat:
        """Return how an event list is written."""
        return event_format(self.format)

    def file_of(self, name: str) -> Path:
        """Return the file that the folder of event lists has for a clip; see `name_problem`."""
        assert self.folder is not None
        return self.folder / self.event_format.file_of(name)

    def name_problem(self, name: str) -> str | None:
        """Return why the event list cannot hold a clip of this name; None if it can."""
        try:
            self.event_format.rows([Event(name, 0.0, 1.0, "any")], 1, False)
            if self.folder is not None:
                self.event_format.file_of(name)
        except LabelError as error:
            return str(error)
        return None

    def refuse(self, n_clips: int, shard: Shard) -> None:
        """Raise an error, before anything is computed, if an output does not fit such clips."""
        self._refuse_clashes()
        require(not (self.update and self.overwrite), UPDATE_OR_OVERWRITE)
        is_one = self.spool is not None and self.folder is None
        require(is_one or not self.update, "--update keeps a list in a file: give -o EVENTS.tsv")
        for path in self.files:
            _refuse_unwritable(path)
        self._refuse_suffix()
        if self.event_format.one_clip and self.folder is None and n_clips > 1:
            raise ConfigError(
                f"a list in the format {self.format} holds one clip; for "
                f"{n_clips}, -o must name a folder that exists"
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

    def lists(self, names: Sequence[str]) -> list[Path]:
        """Return the event lists that the folder, if there is one, is to have."""
        if self.folder is None:
            return []
        return [self.file_of(n) for n in map(printable, names) if self.name_problem(n) is None]

    @property
    def kinds(self) -> dict[str, Path]:
        """Return the files, but those of a folder, by what they hold."""
        kinds = {"events": self.list_file, "scores": self.scores, "tags": self.weak}
        return {kind: p for kind, p in kinds.items() if p is not None and appears_whole(p)}

    def compare(self, job: dict[str, Any], stamps: dict[str, Stamp]) -> Compared | None:
        """Compare what is finished with what would be made; None if there is nothing to compare.

        An output that no record tells of, as it is now, is refused where it is to be updated.
        """
        if self.overwrite or self.spool is None or self.first is None:
            return None
        if is_unfinished(self.first) and not self.update:
            return None  # what is missing of it is made first
        of, rows = read_made(self.spool)
        ours, told = made_before(self.first, self.files), of.get("sha256", {})
        others = {kind: path for kind, path in self.kinds.items() if path not in ours}
        unlike = [path for kind, path in others.items() if told.get(kind) != _digest(path)]
        if self.folder is not None and told.get("lists") != self._digest_of_lists(rows):
            unlike.append(self.folder)
        if of and not unlike:
            same = {name for name, stamp in stamps.items() if rows.get(name, [])[:2] == [*stamp]}
            compared = Compared(self.spool, of["job"], job, rows, list(stamps), same)
            return compared if compared.is_same or self.folder is None else None
        if self.update and (there := [path for path in others.values() if path.exists()]):
            raise differing(there[0], f"no record says what {unlike[0].name} is of, as it is")
        return None

    def _digest_of_lists(self, rows: Mapping[str, Sequence[Any]]) -> str | None:
        """Return what identifies the lists in the folder of clips that did not fail."""
        names = [printable(name) for name, row in rows.items() if not row[2]]
        digest = hashlib.sha256()
        with contextlib.suppress(OSError):
            for name in names:
                digest.update(self.file_of(name).read_bytes())
            return digest.hexdigest()
        return None

    def refuse_finished(self, names: Sequence[str]) -> set[Path]:
        """Raise OutputExistsError if a file, or a list in the folder, may not be replaced.

        Returns those that are there of an interrupted run, which may be.
        """
        paths = [*self.files, *self.lists(names)]
        ours = made_before(self.first, paths) if self.first is not None else set()
        for path in paths:
            refuse_existing(path, self.overwrite or path in ours)
        return ours


def _refuse_unwritable(output: Path) -> None:
    """Raise a ResourceError if a file cannot be made where it shall be."""
    folder = output if output.is_dir() else output.resolve().parent
    if not folder.is_dir():
        raise ResourceError(f"cannot write {output}: the folder does not exist")
    if (output.is_dir() or appears_whole(output)) and not os.access(folder, os.W_OK):
        raise ResourceError(f"cannot write {output}: permission denied")


@contextlib.contextmanager
def open_results(
    header: ScoresHeader, outputs: InferOutputs, emit: Emit | None, job: dict[str, Any]
) -> Iterator["ResultWriter"]:
    """Take clips in order and write all that was asked for.

    Files are written when the block ends without an error, after `finish`. `header` says what the
    results are of; `emit` takes the event list, clip by clip, where no output is given for it. The
    record of what they were made of says `job`.
    """
    with contextlib.ExitStack() as entered:
        writer = ResultWriter(header, outputs, emit if outputs.events is None else None)
        if outputs.spool is not None:
            made = recording(outputs.spool, lambda: {"job": job, "sha256": writer.digests()})
            writer.note = entered.enter_context(made)
        for kind, path in (("events", outputs.list_file), ("tags", outputs.weak)):
            if path is not None:
                is_part = not header.shard.is_whole and appears_whole(path)
                record = writer.record(kind) if is_part else None
                writer.texts[kind] = entered.enter_context(_open_text(path, record))
        if "events" in writer.texts:
            writer.emit = writer.texts["events"].write
        if outputs.scores is not None:
            writer.scores = entered.enter_context(ScoresWriter(outputs.scores, header))
        yield writer


@dataclass
class ResultWriter:
    """The outputs of a run while they are written; see `open_results`."""

    header: ScoresHeader
    outputs: InferOutputs
    emit: Emit | None
    note: Note = lambda row: None
    scores: ScoresWriter | None = None
    texts: dict[str, "_Text"] = field(default_factory=dict)  # "events" and "tags"
    n_clips: int = 0
    n_events: int = 0
    _tags: dict[str, Sequence[str]] = field(default_factory=dict)
    _lists: Any = field(default_factory=hashlib.sha256)  # of the lists in a folder

    def record(self, kind: str) -> PartRecord:
        """Return what the record of a part in text says, but for clips and digest."""
        settings = {
            "decoding": json.loads(to_json(self.header.decoding)),
            "scoring": json.loads(self.header.settings),
            "confidence": self.outputs.confidence,
        }
        header, text = self.header, json.dumps(settings, sort_keys=True)
        return PartRecord(kind, header.shard, header.manifest_sha256, header.model_sha256, text, 0)

    def digests(self) -> dict[str, str]:
        """Return the digests of the files, by what they hold, once all are written."""
        written = {kind: text.sha256 for kind, text in self.texts.items()}
        if self.outputs.folder is not None:
            written["lists"] = self._lists.hexdigest()
        return written | ({"scores": self.scores.sha256} if self.scores is not None else {})

    def add(self, detected: Detections, scores: ClipScores | None) -> None:
        """Take one clip, the next in order; `scores` are left out if none are to be written."""
        name, events = detected.name, detected.events
        form, confidence = self.outputs.event_format, self.outputs.confidence
        if self.outputs.folder is not None:
            path = self.outputs.file_of(name)
            with resource_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            text = form.text(name, events, confidence)
            write_text(path, text)
            self._lists.update(text.encode())
        elif self.emit is not None and form.one_clip:
            self.emit(form.text(name, events, confidence))
        elif self.emit is not None:
            header = "" if self.n_clips else form.header(confidence)
            self.emit(header + form.rows(events, 1 + self.n_events, confidence))
        self._tags[name] = detected.tags
        if self.scores is not None and scores is not None:
            self.scores.append(scores)
        self.n_clips += 1
        self.n_events += len(events)

    def finish(self, failures: list[tuple[str, str, str]]) -> None:
        """Complete the outputs; a list without any clip still gets its header."""
        if not self.n_clips and self.emit is not None:
            self.emit(self.outputs.event_format.header(self.outputs.confidence))
        if "tags" in self.texts:
            self.texts["tags"].write(format_weak(self._tags))
        for text in self.texts.values():
            text.finish(self.n_clips, tuple(failures))


def _digest(path: Path) -> str | None:
    """Return what identifies the content of a list, or of a scores file, if it is there."""
    if not path.exists():
        return None
    try:
        return open_scores(path, verify=False).sha256
    except ArtifactError:
        return file_sha256(path)


@contextlib.contextmanager
def _open_text(path: Path, record: PartRecord | None) -> Iterator["_Text"]:
    """Open a text output that appears when the block ends, after its record if it is a part."""
    with open_atomic(path) as stream:
        yield _Text(path, stream, record)
    if record is None and appears_whole(path):
        remove_part_record(path)  # of a part that this replaced


class _Text:
    """A text output while it is written."""

    def __init__(self, path: Path, stream: BinaryIO, record: PartRecord | None) -> None:
        self._path, self._stream, self._record = path, stream, record
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, text: str) -> None:
        content = text.encode("utf-8")
        self._digest.update(content)
        self._stream.write(content)
        self._stream.flush()  # a FIFO's reader need not wait

    def finish(self, n_clips: int, failures: tuple[tuple[str, str, str], ...]) -> None:
        """Write the record; before the text itself, which would look whole without it."""
        if self._record is not None:
            record = replace(self._record, n_clips=n_clips, failures=failures, sha256=self.sha256)
            write_part(self._path, record)


@contextlib.contextmanager
def keep_scores(
    path: Path | None, job: dict[str, Any], update: bool = False
) -> Iterator["KeptScores"]:
    """Keep the scores of finished clips beside an output, until it is complete: a rerun goes on.

    Without an output (`path`) nothing is kept. `job` is all that the scores depend on, as `job_of`;
    scores of another job are thrown away, or with `update` of one of other settings. Another
    process that makes the output is a ResourceError.
    """
    kept = contextlib.nullcontext() if path is None else Spool(path.resolve(), job, update)
    with kept as spool:
        yield KeptScores(spool)


class KeptScores:
    """The scores of finished clips on disk; see `keep_scores`."""

    def __init__(self, spool: Spool | None) -> None:
        self._spool = spool

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
        start, frames = np.array(info["window_start"]), np.array(info["window_frames"])
        return ClipScores(
            name, info["duration"], values[: -len(start)], start, frames, values[-len(start) :]
        )

    def remove(self) -> None:
        """Remove what is kept, once the outputs are complete."""
        if self._spool is not None:
            self._spool.remove()
