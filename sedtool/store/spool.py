"""Finished clips on disk, until all are there: what makes an interrupted run resumable.

Beside ``features.h5`` stand, while it is being made::

    features.h5.spool      the frames of finished clips, one after the other, in any order
    features.h5.journal    a line that says what the job is, then a line of JSON for each clip

A clip's line is written after its frames, so that a kill costs at most the clip being written: the
torn end is cut off when the job is taken up again. Each line carries a sha256 of itself and of the
frames. The journal is also what is locked against a second writer; a lock ends with its process.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from sedtool import __version__
from sedtool.atomic import discard, lock, resource_errors, write_bytes
from sedtool.bounds import RECORD
from sedtool.errors import ConfigError, OutputExistsError
from sedtool.shards import Shard
from sedtool.store.layout import CHUNK_SIZE

JOURNAL_SUFFIX = ".journal"
OF_CLIPS = {"clips", "inputs", "manifest_sha256"}  # what jobs with other clips differ in

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One clip in the spool."""

    offset: int  # bytes
    size: int  # bytes
    info: dict[str, Any]  # what the caller wants to know of it, as JSON


class Spool:
    """The spool and journal of one output, locked while the block lasts.

    ::

        with Spool(output, job) as spool:
            spool.append("a.wav", {"duration": 10.0}, chunks)
            b"".join(spool.read("a.wav"))
            spool.remove()  # when the output is complete; else they stay for the next run

    `job` is what makes the output what it is, as `job_of`. Clips of another job are thrown away:
    ask `resumes` before. With `update`, those of a job that has other clips, and else is the same,
    are taken up. Another process that makes the same output is a ResourceError on entering.
    """

    def __init__(self, output: Path, job: dict[str, Any], update: bool = False) -> None:
        self.output = output
        self._update = update
        self.entries: dict[str, Entry] = {}  # the latest of each clip
        self._job = _job_line(job)
        self._spool_path, self._journal_path = _paths(output)
        self._size = 0  # bytes of the spool that the journal accounts for
        self._is_removed = False
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with resource_errors(self.output), ExitStack() as closing:
            self._journal = closing.enter_context(lock(self._journal_path, self.output))
            if self._update:
                self._adopt(closing)
            try:
                self._spool = closing.enter_context(self._spool_path.open("a+b", buffering=0))
                self._resume()
            except OSError:
                self._journal.seek(0)
                if not self._journal.readline().endswith(b"\n"):  # not even the first line is there
                    self.remove()
                raise
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        with self._closing:
            if not self.entries and not self._is_removed:
                self.remove()

    def append(self, name: str, info: dict[str, Any], chunks: Iterable[bytes]) -> None:
        """Add a clip: its frames as bytes, then its line."""
        digest = hashlib.sha256(_canonical(name, info))
        size = 0
        with resource_errors(self.output):
            for chunk in chunks:
                write_all(self._spool, chunk)
                digest.update(chunk)
                size += len(chunk)
            line = {"name": name, "size": size, "info": info, "sha256": digest.hexdigest()}
            write_all(self._journal, json.dumps(line).encode() + b"\n")
        self.entries[name] = Entry(self._size, size, info)
        self._size += size

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the frames of a clip, in chunks."""
        return self._read(self.entries[name])

    def remove(self) -> None:
        """Remove both files, the one with the lock last."""
        discard(self._spool_path)
        discard(self._journal_path)
        self._is_removed = True

    def _adopt(self, closing: ExitStack) -> None:
        """Make the journal of a job that only has other clips that of this one."""
        with self._journal_path.open("rb") as journal:
            found, rest = journal.readline(RECORD), journal.read()
        if _differ_in_clips(found, self._job):
            write_bytes(self._journal_path, self._job + rest)
            self._journal = closing.enter_context(lock(self._journal_path, self.output))

    def _resume(self) -> None:
        """Take up the clips of the same job, and cut off what is torn, damaged or of another."""
        end = 0
        with self._journal_path.open("rb") as journal:
            job = journal.readline(RECORD)
            if job == self._job:
                end = len(job)
                while self._take_up(line := journal.readline(RECORD)):
                    end += len(line)
        if job.endswith(b"\n") and job != self._job:
            different = _differences(job, self._job) or "all, as its journal is damaged"
            _log.warning(
                "%s: an unfinished run with other settings or files is dropped (differs in: %s)",
                self.output,
                different,
            )
        self._journal.truncate(end)
        self._spool.truncate(self._size)
        if not end:
            write_all(self._journal, self._job)

    def _take_up(self, line: bytes) -> bool:
        """Enter the clip of a journal line, unless the line or the clip's frames are damaged."""
        try:
            fields = json.loads(line)
            name, info, size = fields["name"], fields["info"], fields["size"]
            entry = Entry(self._size, size, info)
            digest = hashlib.sha256(_canonical(name, info))
            for chunk in self._read(entry):
                digest.update(chunk)
            whole = line.endswith(b"\n") and digest.hexdigest() == fields["sha256"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return False
        if whole:
            self.entries[name] = entry
            self._size += size
        return whole

    def _read(self, entry: Entry) -> Iterator[bytes]:
        position, end = entry.offset, entry.offset + entry.size
        while position < end:
            chunk = os.pread(self._spool.fileno(), min(CHUNK_SIZE, end - position), position)
            if not chunk:
                return
            yield chunk
            position += len(chunk)


@dataclass(frozen=True)
class Unfinished:
    """How far the run that makes an output has come; as text, in words."""

    done: int  # clips
    total: int  # clips
    shard: Shard
    manifest_sha256: str

    def __str__(self) -> str:
        which = "" if self.shard.is_whole else f"shard {self.shard}, "
        return f"{which}{self.done} of {self.total} clips"


def unfinished(output: Path) -> Unfinished | None:
    """Return how far the run that makes `output` has come, if there is one."""
    try:
        with _paths(output)[1].open("rb") as journal:
            fields = json.loads(journal.readline(RECORD))
            done = sum(chunk.count(b"\n") for chunk in iter(lambda: journal.read(CHUNK_SIZE), b""))
        number, count = (int(text) for text in fields["shard"].split("/"))
        manifest = str(fields["manifest_sha256"])
        return Unfinished(done, int(fields["clips"]), Shard(number, count), manifest)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, ConfigError):
        return None


def job_of(n_clips: int, shard: Shard, manifest_sha256: str, **details: Any) -> dict[str, Any]:
    """Return what a run must have in common with an interrupted one to take up its clips.

    It has `n_clips`, those of a shard of a list of names; `details` are all else that decides the
    bytes of a clip, as JSON.
    """
    return {
        "sedtool_version": __version__,
        "clips": n_clips,
        "manifest_sha256": manifest_sha256,
        "shard": str(shard),
        **details,
    }


def resumes(output: Path, job: dict[str, Any], overwrite: bool, update: bool = False) -> bool:
    """Return whether an unfinished run beside `output` is of this very job, and can go on.

    With `update`, one with other clips can, too. One of another job is an OutputExistsError, unless
    `overwrite` says that its clips may be thrown away.
    """
    wanted = _job_line(job)
    try:
        with _paths(output.resolve())[1].open("rb") as journal:
            found = journal.readline(RECORD)
    except OSError:
        return False  # there is none, as a rule
    if found == wanted or (update and _differ_in_clips(found, wanted)):
        return True
    if not overwrite and (different := _differences(found, wanted)):
        raise OutputExistsError(
            f"{output}: an unfinished run with other settings or files is there "
            f"(differs in: {different}); --overwrite drops it"
        )
    return False


def _job_line(job: dict[str, Any]) -> bytes:
    return json.dumps(job, sort_keys=True).encode() + b"\n"


def _differences(found: bytes, wanted: bytes) -> str:
    """Return the keys in which the job lines of two journals differ; none if one is torn."""
    try:
        one, other = json.loads(found), json.loads(wanted)
        keys = sorted(k for k in one.keys() | other if one.get(k) != other.get(k))
    except (ValueError, AttributeError, RecursionError):
        return ""
    return ", ".join(keys) if found.endswith(b"\n") else ""


def _differ_in_clips(found: bytes, wanted: bytes) -> bool:
    """Return whether the jobs of two journals have other clips, and all else in common."""
    return {""} < {*_differences(found, wanted).split(", "), ""} <= {*OF_CLIPS, ""}


def _paths(output: Path) -> tuple[Path, Path]:
    return output.with_name(output.name + ".spool"), output.with_name(output.name + JOURNAL_SUFFIX)


def _canonical(name: str, info: dict[str, Any]) -> bytes:
    return json.dumps([name, info], sort_keys=True).encode()


def write_all(stream: BinaryIO, data: bytes) -> None:
    """Write to an unbuffered file, which may take less than it is given."""
    view = memoryview(data)
    while len(view):
        view = view[stream.write(view) :]
