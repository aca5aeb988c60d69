"""Shards: which part of a list of clips a job does.

Shards are numbered from 1. Shard i of N has every N-th name of the whole sorted list, from the
i-th on, so that long and short clips spread evenly.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from sedtool.errors import ConfigError

_MOST = 1_000_000


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

        Raises
        ------
        ConfigError
            If the text is none of these, or the environment does not say what is needed.
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
        raise ConfigError(f"shard must be I/N, auto or auto/N, as in 3/8, not {text!r}")


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
        raise ConfigError(f"{name} is {text!r} in the environment, not a number")
    return int(text)
