"""What a finished output was made of, for the same command on another day.

Beside ``features.h5`` stands ``.features.h5.made``: a line of JSON that says of which output it
tells, by digest, then a line for each clip: its name, size and time of its file, and what else is
to be known. A record that is missing, damaged, or of what was replaced since, tells nothing.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sedtool.atomic import differing, open_atomic, remove_leftovers
from sedtool.bounds import RECORD
from sedtool.errors import OutputExistsError
from sedtool.store.spool import OF_CLIPS
from sedtool.text import first_five, plain, quoted

MADE_FORMAT = {"format": "sedtool-made", "format_version": 1}
_LONGEST = 50  # characters of a setting that is shown
_THERE = "is {} there and {} here"


def made_path(output: Path) -> Path:
    """Return where the record of an output stands."""
    target = output.resolve()
    return target.with_name(f".{target.name.lstrip('.')}.made")


def write_made(output: Path, head: Mapping[str, Any], clips: Iterable[Sequence[Any]]) -> None:
    """Write the record of an output; the row of a clip begins with its name."""
    path = made_path(output)
    remove_leftovers(path)
    with open_atomic(path) as stream:
        for line in (MADE_FORMAT | dict(head), *clips):
            stream.write(json.dumps(line).encode() + b"\n")


def read_made(output: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return what the record of an output says of it, and of each clip; both are empty if none."""
    try:
        with made_path(output).open("rb") as stream:
            head, *rows = map(json.loads, iter(lambda: stream.readline(RECORD), b""))
        if head.items() >= MADE_FORMAT.items():
            return head, {str(name): rest for name, *rest in rows}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        pass
    return {}, {}


@dataclass(frozen=True)
class Compared:
    """A finished output, against what would be made now: the jobs, and clips by name."""

    output: Path
    before: Mapping[str, Any]
    now: Mapping[str, Any]
    new: list[str]
    changed: list[str]
    gone: list[str]
    kept: set[str]  # whose files are as they were, those that could not be used included

    @classmethod
    def of(
        cls,
        output: Path,
        jobs: tuple[Mapping[str, Any], Mapping[str, Any]],
        known: Collection[str],
        names: Sequence[str],
        is_same: Callable[[str], bool],
    ) -> Self:
        """Compare jobs, and the names that an output knows with those of now."""
        kept = {name for name in names if name in known and is_same(name)}
        new = [name for name in names if name not in known]
        changed = [name for name in names if name in known and name not in kept]
        return cls(output, *jobs, new, changed, sorted(set(known).difference(names)), kept)

    @property
    def is_same(self) -> bool:
        """Return whether the output is what would be made."""
        return self.before == self.now and not (self.new or self.changed or self.gone)

    def __str__(self) -> str:
        """Return how many clips differ: ``12 new, 1 changed, 2 gone``."""
        return f"{len(self.new)} new, {len(self.changed)} changed, {len(self.gone)} gone"

    def refuse(self, update: bool) -> None:
        """Raise an OutputExistsError that says what differs; with `update`, clips may."""
        if settings := _differences(self.before, self.now):
            raise differing(self.output, "; ".join(settings))
        if not (update or self.is_same):
            kinds = {"new": self.new, "changed": self.changed, "gone": self.gone}
            named = [
                f"{len(names)} {kind}: {first_five(list(map(plain, names)))}"
                for kind, names in kinds.items()
                if names
            ]
            raise OutputExistsError(
                f"{self.output} exists; give --update to take over what is unchanged, --overwrite "
                f"to make all anew, or another name ({'; '.join(named) or 'other shards differ'})"
            )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in which settings two jobs differ: ``n_mels is 64 there and 32 here``."""
    told: list[str] = []
    for key in sorted((before.keys() | now.keys()) - OF_CLIPS):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            told += _differences(old, new)
        elif old != new:
            texts = quoted(old), quoted(new)
            is_told = texts[0] != texts[1] and max(map(len, texts)) < _LONGEST
            told.append(f"{key} {_THERE.format(*texts) if is_told else 'differs'}")
    return told
