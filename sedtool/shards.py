"""Shards: which part of a list of clips a job does, and what stands beside a part that is text.

Shards are numbered from 1. Shard i of N has every N-th name of the whole sorted list, from the
i-th on, so that long and short clips spread evenly.

Features and scores files carry their shard themselves; an event list is plain DCASE text, so beside
it stands ``NAME.part.json``.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from sedtool.atomic import discard, write_text
from sedtool.bounds import RECORD, read_bounded
from sedtool.errors import ArtifactError, ConfigError
from sedtool.text import file_sha256, is_writable, quoted, strict_json

PART_SUFFIX = ".part.json"
PART_KINDS = ("events", "tags")
PART_FORMAT = {"format": "sedtool-part", "format_version": 1}
_MOST = 1_000_000
_TYPES = {  # of the keys of a record, besides those of its format
    **dict.fromkeys(("kind", "manifest_sha256", "model_sha256", "settings", "sha256"), str),
    **dict.fromkeys(("shard", "n_shards", "n_clips"), int),
    "failures": list,
}
_IN_WORDS = {str: "text", int: "a number from 0 up", list: "a list"}


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count` parts; number 0 is some of them, merged without the others."""

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _MOST:
            raise ConfigError(f"the number of shards must be 1 to {_MOST}, not {self.count}")
        if not (self.count == 1) <= self.number <= self.count:
            raise ConfigError(f"there is no shard {self.number} of {self.count}")

    def __str__(self) -> str:
        """Return the text that `parse` reads back."""
        return f"{self.number}/{self.count}"

    @property
    def is_whole(self) -> bool:
        """Return whether this is all there is."""
        return self.count == 1

    def select(self, names: Sequence[str]) -> list[str]:
        """Return the names of this shard, out of the whole list."""
        if not self.number:
            raise ConfigError(f"{self} names no shard")
        return list(names[self.number - 1 :: self.count])

    @classmethod
    def of(cls, text: str | None) -> Self:
        """Return the shard of an option, by the environment of this process; None: the whole."""
        return cls() if text is None else cls.parse(text, os.environ)

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Self:
        """Read ``I/N``, ``auto`` or ``auto/N``.

        ``auto`` takes both numbers from a Slurm job array (``SLURM_ARRAY_TASK_ID`` and its MIN,
        STEP, MAX and COUNT), else from ``RANK`` and ``WORLD_SIZE``. A task of an array that is
        submitted again alone sees a COUNT of 1: ``auto/N`` states how many shards there are, and
        takes the task's own number, so the array must be numbered from 1.
        """
        if match := re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text):
            number, count = int(match[1]), int(match[2])
            if number == 0:
                raise ConfigError(f"shards are numbered from 1: 1/{count} to {count}/{count}")
            return cls(number, count)
        if text == "auto":
            return cls(*_from_environment(environment))
        if match := re.fullmatch(r"auto/([0-9]{1,9})", text):
            return cls(_stated(environment, int(match[1])), int(match[1]))
        raise ConfigError(f"shard must be I/N, auto or auto/N, as in 3/8, not {quoted(text)}")


WHOLE = Shard()


def manifest_digest(names: Sequence[str]) -> str:
    """Return the sha256 of a whole list of names: parts of one list have it in common."""
    return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()


def _from_environment(environment: Mapping[str, str]) -> tuple[int, int]:
    if "SLURM_ARRAY_TASK_ID" in environment:
        task = _integer(environment, "SLURM_ARRAY_TASK_ID")
        first, last, count, step = (
            _integer(environment, f"SLURM_ARRAY_TASK_{name}")
            for name in ("MIN", "MAX", "COUNT", "STEP")
        )
        if step < 1 or (task - first) % step or (last - first) // step + 1 != count:
            raise ConfigError(
                f"the job array has gaps ({count} tasks from {first} to {last}), so that the "
                "number of shards cannot be told; state it: auto/N"
            )
        return (task - first) // step + 1, count
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _integer(environment, "RANK") + 1, _integer(environment, "WORLD_SIZE")
    raise ConfigError(
        "shard auto needs SLURM_ARRAY_TASK_ID, or RANK and WORLD_SIZE, in the environment; give I/N"
    )


def _stated(environment: Mapping[str, str], count: int) -> int:
    """Return the number of the shard where its count is stated."""
    if "SLURM_ARRAY_TASK_ID" not in environment:
        number, size = _from_environment(environment)
        if size != count:
            raise ConfigError(f"shard auto/{count}, but WORLD_SIZE is {size}")
        return number
    task = _integer(environment, "SLURM_ARRAY_TASK_ID")
    if task == 0 or environment.get("SLURM_ARRAY_TASK_MIN") == "0":
        raise ConfigError(
            f"shard auto/{count} takes the number of the array task, which must begin at 1: "
            f"--array=1-{count}"
        )
    return task


def _integer(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ConfigError(f"{name} is {quoted(text)} in the environment, not a number")
    return int(text)


@dataclass(frozen=True)
class PartRecord:
    """What stands beside a part that is text, in ``NAME.part.json``."""

    kind: str  # "events" or "tags"
    shard: Shard
    manifest_sha256: str  # of the whole list of names
    model_sha256: str
    settings: str  # all else that the rows depend on, as text
    n_clips: int  # those without a row included
    failures: tuple[tuple[str, str, str], ...] = ()  # name, stage, error
    sha256: str = ""  # of the text; empty: `write_part` reads it


def write_part(path: Path, record: PartRecord) -> None:
    """Write the record of the part `path`.

    A part without its record would look whole: where the digest of the text is known beforehand,
    the record is written first.
    """
    record = replace(record, sha256=record.sha256 or file_sha256(path))
    fields = PART_FORMAT | vars(record)
    fields |= {"shard": record.shard.number, "n_shards": record.shard.count}
    write_text(_record_path(path), json.dumps(fields, indent=1, sort_keys=True) + "\n")


def remove_part_record(path: Path) -> None:
    """Remove the record of the part `path`, if there is one: it is whole now."""
    discard(_record_path(path))


def has_part_record(path: Path) -> bool:
    """Return whether a text file is a part, or was one before it was changed."""
    return _record_path(path).exists()


def read_part(path: Path) -> PartRecord:
    """Return the record of the part `path`, whose text is what it was when it was recorded.

    Raises
    ------
    ArtifactError
        If there is no such part, no record of it, or one of them was changed.
    """
    record = read_part_record(path)
    if not path.exists():
        raise ArtifactError(f"{path}: not complete (only its record is there); make it again")
    if not path.is_file():
        raise ArtifactError(f"{path}: not a regular file")
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    if digest != record.sha256:
        raise ArtifactError(
            f"{path}: changed since {_record_path(path).name} was written; make it again"
        )
    return record


def read_part_record(path: Path) -> PartRecord:
    """Return the record of the part `path`, without looking at the part; see `read_part`."""
    where = _record_path(path)
    try:
        if where.exists() and not where.is_file():
            raise ArtifactError("not a regular file")
        return _record(strict_json(read_bounded(where, RECORD)))
    except FileNotFoundError:
        problem = f"not a part: {where.name} is not beside it" if path.exists() else "no such file"
        raise ArtifactError(f"{path}: {problem}") from None
    except ArtifactError as error:
        raise ArtifactError(f"{where}: {error}") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{where}: cannot be read ({error})") from error
    except ConfigError as error:
        raise ArtifactError(f"{where}: damaged: {error}") from error


def _record(fields: Any) -> PartRecord:
    """Check every field of a record."""
    if not isinstance(fields, dict) or fields.pop("format", None) != PART_FORMAT["format"]:
        raise ArtifactError("not the record of a part")
    if (version := fields.pop("format_version", None)) != PART_FORMAT["format_version"]:
        raise ArtifactError(
            f"its format_version is {version!a}, and this sedtool reads "
            f"{PART_FORMAT['format_version']}; use the sedtool that wrote it"
        )
    if fields.keys() != _TYPES.keys():
        raise ArtifactError("damaged: keys are missing or foreign")
    for key, kind in _TYPES.items():
        if type(fields[key]) is not kind or (kind is int and fields[key] < 0):
            raise ArtifactError(f"damaged: {key} must be {_IN_WORDS[kind]}")
    if fields["kind"] not in PART_KINDS:
        raise ArtifactError(f"damaged: its kind is none of {', '.join(PART_KINDS)}")
    if not all(map(_is_failure, fields["failures"])):
        raise ArtifactError("damaged: a failure is not a name, a stage and an error")
    fields["shard"] = Shard(fields["shard"], fields.pop("n_shards"))
    fields["failures"] = tuple(map(tuple, fields["failures"]))
    return PartRecord(**fields)


def _is_failure(row: Any) -> bool:
    texts = isinstance(row, list) and len(row) == 3 and all(isinstance(text, str) for text in row)
    return texts and all(map(is_writable, row))


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + PART_SUFFIX)
