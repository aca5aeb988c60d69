"""What a finished output was made of, for the same command on another day.

Beside ``features.h5`` stands ``.features.h5.made``: a line of JSON for each clip, with its name,
size and time of its file, and what else is to be known, then one that says of which output all
this is, by digest. A record that is missing, damaged, or of what was replaced, tells nothing.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sedtool.atomic import differing, open_atomic, remove_leftovers
from sedtool.bounds import RECORD
from sedtool.errors import OutputExistsError
from sedtool.store.spool import OF_CLIPS
from sedtool.text import first_five, plain, quoted

MADE_FORMAT = {"format": "sedtool-made", "format_version": 1}
Stamp = tuple[int | str, int | str]  # of a clip's file: size and time, or digest and settings
Note = Callable[[Sequence[Any]], None]

_LONGEST = 100  # characters of the two values of a setting


def made_path(output: Path) -> Path:
    """Return where the record of an output stands."""
    target = output.resolve()
    return target.with_name(f".{target.name.lstrip('.')}.made")


@contextmanager
def recording(output: Path, of: Callable[[], Mapping[str, Any]]) -> Iterator[Note]:
    """Take rows of clips, which begin with their names, for the record of an output.

    `of` is asked at the end for what the record says of the output.
    """
    path, digest = made_path(output), hashlib.sha256()
    remove_leftovers(path)
    with open_atomic(path) as stream:

        def note(row: object) -> None:
            line = json.dumps(row).encode() + b"\n"
            digest.update(line)
            stream.write(line)

        yield note
        note(MADE_FORMAT | {"rows": digest.hexdigest()} | dict(of()))


def read_made(output: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return what the record of an output says of it, and of each clip; both are empty if none."""
    digest = hashlib.sha256()
    try:
        with made_path(output).open("rb") as stream:
            *lines, last = iter(lambda: stream.readline(RECORD), b"")
        for line in lines:
            digest.update(line)
        of = dict(json.loads(last))
        if of.items() >= (MADE_FORMAT | {"rows": digest.hexdigest()}).items():
            return of, {name: row for name, *row in map(json.loads, lines)}
    except (OSError, ValueError, TypeError, RecursionError):
        pass
    return {}, {}


@dataclass(frozen=True)
class Compared:
    """A finished output, against what would be made now."""

    output: Path
    before: Mapping[str, Any]  # the jobs
    now: Mapping[str, Any]
    known: Mapping[str, list[Any]]  # the rows of the record
    names: Sequence[str]  # of the clips of now
    kept: set[str]  # of these, whose files are as they were, though they may have failed

    @property
    def changes(self) -> dict[str, list[str]]:
        """Return the names of the clips that are new, changed and gone."""
        known, names = self.known, self.names
        return {
            "new": [name for name in names if name not in known],
            "changed": [name for name in names if name in known and name not in self.kept],
            "gone": sorted(known.keys() - set(names)),
        }

    @property
    def is_same(self) -> bool:
        """Return whether the output is what would be made."""
        return self.before == self.now and not any(self.changes.values())

    def __str__(self) -> str:
        """Return how many clips differ: ``12 new, 1 changed, 2 gone``."""
        return ", ".join(f"{len(names)} {kind}" for kind, names in self.changes.items())

    def refuse(self, update: bool) -> None:
        """Raise an OutputExistsError that says what differs; with `update`, clips may."""
        if settings := _differences(self.before, self.now):
            raise differing(self.output, "; ".join(settings))
        if not (update or self.is_same):
            named = [
                f"{len(names)} {kind}: {first_five(list(map(plain, names)))}"
                for kind, names in self.changes.items()
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
            values = f"is {quoted(old)} there and {quoted(new)} here"
            is_told = quoted(old) != quoted(new) and len(values) < _LONGEST
            told.append(f"{key} {values if is_told else 'differs'}")
    return told
