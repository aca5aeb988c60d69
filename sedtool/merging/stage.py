"""Parts -> one file: all checks, then the writing."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from sedtool.atomic import claim, refuse_input, write_failures
from sedtool.errors import ArtifactError, NothingUsableError
from sedtool.merging.finding import Found, find_parts
from sedtool.merging.text import join_text, open_text_part
from sedtool.shards import WHOLE, Shard
from sedtool.store import (
    Part,
    join_features,
    join_scores,
    open_features_part,
    open_scores_part,
)

__all__ = ["MergeResult", "merge"]

Progress = Callable[[int, int, str], None]  # parts read, all parts, name of the latest

T = TypeVar("T")

_MOST_NAMED = 5  # problems in one message
_MOST_NUMBERS = 10  # missing shards in one message
_WITH_FAILURES = ("features", "events")  # what has a list of failures beside it
_KINDS: dict[str, tuple[Callable[[Path], Any], Callable[[Any, Path, Shard], None]]] = {
    "features": (open_features_part, join_features),
    "scores": (open_scores_part, join_scores),
    "events": (open_text_part, join_text),
    "tags": (open_text_part, join_text),
}


@dataclass(frozen=True)
class MergeResult:
    """What was merged."""

    kind: str  # "features", "scores", "events" or "tags"
    n_parts: int
    n_clips: int
    n_shards: int
    missing: list[int] = field(default_factory=list)  # numbers of shards
    failures: list[tuple[str, str, str]] = field(default_factory=list)  # name, stage, error
    failures_path: Path | None = None

    def summary(self) -> str:
        """Say in one line what was merged, and what was not."""
        texts = [f"{self.n_parts} parts, {self.n_clips} clips ({self.kind})"]
        if self.failures_path:
            count = len(self.failures)
            files = "1 file" if count == 1 else f"{count} files"
            texts.append(f"{files} had failed, see {self.failures_path}")
        if self.missing:
            texts.append(f"not whole, as {_which(self.missing, self.n_shards)}")
        return "; ".join(texts)


def merge(
    parts: Sequence[Path],
    output: Path,
    *,
    overwrite: bool = False,
    partial: bool = False,
    progress: Progress | None = None,
) -> MergeResult:
    """Join the parts that the tasks of a job array made.

    The result is what one job would have written, byte for byte.

    Parameters
    ----------
    parts
        Files, folders of them, and patterns; see `find_parts`.
    output
        The features, the scores, the event list or the clip tags of all.
    overwrite
        Whether a complete output may be replaced.
    partial
        Whether shards may be missing. The output then says that it is not whole.
    progress
        Called after each part is read.

    Raises
    ------
    ArtifactError
        If a shard is missing, unfinished, there twice, damaged, or part of something else.
    ConfigError, OutputExistsError
        Before anything is read.
    NothingUsableError
        If there is no part, or no clip in any.
    ResourceError
        If the disk is full or another process is making the same output.
    """
    output = Path(output)
    with claim(output, overwrite=overwrite):
        found = find_parts([Path(path) for path in parts], output)
        refuse_input(output, found.paths)
        opened, damages = _open_all(found, progress)
        problems = [*damages, *_misfits(opened)]
        missing = _missing(opened)
        if not partial:
            # What a damaged part is cannot be known: it may be one that seems to be missing.
            problems += _absent(found, [] if damages else missing, opened)
        if problems:
            more = len(problems) - _MOST_NAMED
            rest = f"; and {more} more" if more > 0 else ""
            raise ArtifactError("; ".join(problems[:_MOST_NAMED]) + rest)
        return _join(opened, found.kind, missing, output)


def _open_all(found: Found, progress: Progress | None) -> tuple[list[Part], list[str]]:
    """Return the parts that can be read, and what is wrong with the others."""
    opened: list[Part] = []
    problems = list(found.problems)
    for number, path in enumerate(found.paths, 1):
        try:
            opened.append(_KINDS[found.kind][0](path))
        except ArtifactError as error:
            problems.append(str(error))
        if progress:
            progress(number, len(found.paths), path.name)
    return opened, problems


def _misfits(parts: Sequence[Part]) -> list[str]:
    """Return what keeps parts from being parts of one whole, a line for each problem."""
    problems = [f"{part.path}: {reason}" for part in parts if (reason := _no_part(part))]
    parts = [part for part in parts if not _no_part(part)]
    common = dict(_most_common(tuple(_identity(part).items()) for part in parts) or ())
    problems += [
        f"{part.path}: {_difference(what, value, common[what])}"
        for part in parts
        for what, value in _identity(part).items()
        if value != common[what]
    ]
    of_shard: dict[Shard, Path] = {}
    of_clip: dict[str, Path] = {}
    for part in parts:
        first = of_shard.setdefault(part.shard, part.path)
        if first != part.path:
            problems.append(f"{first} and {part.path} are both shard {part.shard}")
            continue
        for name in part.names:
            if of_clip.setdefault(name, part.path) != part.path:
                problems.append(f"{of_clip[name]} and {part.path} both hold the clip {name}")
                break
    return problems


def _no_part(part: Part) -> str:
    """Return why a file is no part of anything, or an empty text."""
    if part.shard.is_whole:
        return "not a part: it was made without --shard"
    if not part.shard.number:
        return "was merged with --partial; give the parts that it was made of"
    return ""


def _identity(part: Part) -> dict[str, Any]:
    return part.identity | {"number of shards": part.shard.count}


def _most_common(values: Iterable[T]) -> T | None:
    """Return the value that occurs most often, the first such one."""
    return next((value for value, _ in Counter(values).most_common(1)), None)


def _difference(what: str, value: Any, common: Any) -> str:
    if isinstance(value, int | float) or (isinstance(value, str) and len(value) < 30):
        return f"its {what} is {value}, and {common} in the other parts"
    return f"its {what} differs from that of the other parts"


def _missing(parts: Sequence[Part]) -> list[int]:
    """Return the numbers of the shards that no part holds."""
    return sorted(set(range(1, _count(parts) + 1)) - {part.shard.number for part in parts})


def _count(parts: Sequence[Part]) -> int:
    """Return the number of shards that most parts are of."""
    return _most_common(part.shard.count for part in parts) or 0


def _absent(found: Found, missing: Sequence[int], parts: Sequence[Part]) -> list[str]:
    """Return what shards lack, a line for each that is unfinished and one for the others."""
    problems = [
        f"{path}: part {p.shard.number} of {p.shard.count} is not complete "
        f"({p.done} of {p.total} clips)"
        for path, p in found.unfinished
    ]
    begun = {progress.shard.number for _, progress in found.unfinished}
    if lost := [number for number in missing if number not in begun]:
        problems.append(_which(lost, _count(parts)))
    return problems


def _which(missing: Sequence[int], count: int) -> str:
    """Say in words which shards of `count` are missing."""
    shown = ", ".join(map(str, missing[:_MOST_NUMBERS]))
    more = f" and {len(missing) - _MOST_NUMBERS} more" if len(missing) > _MOST_NUMBERS else ""
    plural = "shards" if len(missing) > 1 else "shard"
    return f"{plural} {shown}{more} of {count} {'are' if len(missing) > 1 else 'is'} missing"


def _join(parts: Sequence[Part], kind: str, missing: list[int], output: Path) -> MergeResult:
    """Write the output, and beside it what failed."""
    failures = sorted(chain.from_iterable(part.failures for part in parts))
    n_clips = sum(part.n_clips for part in parts)
    if not n_clips:
        raise NothingUsableError(f"there is no clip in any of {len(parts)} parts")
    count = _count(parts)
    shard = Shard(0, count) if missing else WHOLE
    _KINDS[kind][1](parts, output, shard)
    failures_path = write_failures(output, failures) if kind in _WITH_FAILURES else None
    return MergeResult(kind, len(parts), n_clips, count, missing, failures, failures_path)
