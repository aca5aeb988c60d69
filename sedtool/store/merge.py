"""Parts of a job array -> the one file that a single job would have written, byte for byte."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from sedtool.atomic import claim, refuse_input, write_failures
from sedtool.audio.find import is_pattern, match, suggestion
from sedtool.errors import ArtifactError, ConfigError, NothingUsableError
from sedtool.shards import WHOLE, Shard
from sedtool.store.parts import (
    PART_SUFFIX,
    Part,
    has_part_record,
    join_features,
    join_scores,
    join_text,
    open_features_part,
    open_scores_part,
    open_text_part,
    read_part_record,
)
from sedtool.store.reading import file_format, file_shard, is_hdf5
from sedtool.store.spool import JOURNAL_SUFFIX, Unfinished, unfinished

T = TypeVar("T")
Progress = Callable[[int, int, str], None]  # parts read, all parts, name of the latest

_MOST_NAMED = 5  # problems in one message
_MOST_NUMBERS = 10  # missing shards in one message
_WITH_FAILURES = ("features", "events")  # what has a list of failures beside it
_KINDS: dict[str, tuple[Callable[[Path], Part], Callable[[Sequence[Part], Path, Shard], None]]] = {
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
        n_shards = _most_common([part.shard.count for part in opened]) or 0
        missing = sorted({*range(1, n_shards + 1)} - {part.shard.number for part in opened})
        problems = [*damages, *_misfits(opened)]
        if not partial:
            # A damaged part does not say which it is: perhaps one that seems to be missing.
            problems += _absent(found, [] if damages else missing, n_shards)
        if problems:
            more = len(problems) - _MOST_NAMED
            rest = f"; and {more} more" if more > 0 else ""
            raise ArtifactError("; ".join(problems[:_MOST_NAMED]) + rest)
        failures = sorted(chain.from_iterable(part.failures for part in opened))
        n_clips = sum(part.n_clips for part in opened)
        if not n_clips:
            raise NothingUsableError(f"there is no clip in any of {len(opened)} parts")
        shard = Shard(0, n_shards) if missing else WHOLE
        _KINDS[found.kind][1](opened, output, shard)
        beside = write_failures(output, failures) if found.kind in _WITH_FAILURES else None
        return MergeResult(found.kind, len(opened), n_clips, n_shards, missing, failures, beside)


@dataclass
class Found:
    """What there is to merge."""

    kind: str = ""  # "features", "scores", "events" or "tags"
    paths: list[Path] = field(default_factory=list)
    unfinished: list[tuple[Path, Unfinished]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # of what is no part, or cannot be read


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
    identities = [part.identity | {"number of shards": part.shard.count} for part in parts]
    common = dict(_most_common([tuple(identity.items()) for identity in identities]) or ())
    problems += [
        f"{part.path}: {_difference(what, value, common[what])}"
        for part, identity in zip(parts, identities, strict=True)
        for what, value in identity.items()
        if value != common[what]
    ]
    of_shard: dict[Shard, Path] = {}
    of_clip: dict[str, Path] = {}
    for part in parts:
        first = of_shard.setdefault(part.shard, part.path)
        if first != part.path:
            problems.append(f"{first} and {part.path} are both shard {part.shard}")
            continue
        for name, *_ in part.clips:
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


def _most_common(values: Sequence[T]) -> T | None:
    """Return the value that occurs most often, the first such one."""
    return next((value for value, _ in Counter(values).most_common(1)), None)


def _difference(what: str, value: Any, common: Any) -> str:
    if isinstance(value, int | float) or (isinstance(value, str) and len(value) < 30):
        return f"its {what} is {value}, and {common} in the other parts"
    return f"its {what} differs from that of the other parts"


def _absent(found: Found, missing: Sequence[int], n_shards: int) -> list[str]:
    """Return which shards are missing, a line for each unfinished one and one for the others."""
    problems = [
        f"{path}: part {p.shard.number} of {p.shard.count} is not complete "
        f"({p.done} of {p.total} clips)"
        for path, p in found.unfinished
    ]
    begun = {progress.shard.number for _, progress in found.unfinished}
    if lost := [number for number in missing if number not in begun]:
        problems.append(_which(lost, n_shards))
    return problems


def _which(missing: Sequence[int], count: int) -> str:
    """Say in words which shards of `count` are missing."""
    shown = ", ".join(map(str, missing[:_MOST_NUMBERS]))
    more = f" and {len(missing) - _MOST_NUMBERS} more" if len(missing) > _MOST_NUMBERS else ""
    plural = "shards" if len(missing) > 1 else "shard"
    return f"{plural} {shown}{more} of {count} {'are' if len(missing) > 1 else 'is'} missing"


def find_parts(inputs: Sequence[Path], output: Path) -> Found:
    """Return the parts that `inputs` mean.

    Parameters
    ----------
    inputs
        Part files, folders, and patterns such as ``parts/*.h5``, unless a file has that very name.
        Of a folder the HDF5 files are taken if the name of the output ends in ``.h5``, else the TSV
        files with a record of a part. The output itself is taken only if it is named.
    output
        What they are to become.

    Raises
    ------
    ArtifactError
        If they are not all of one kind.
    ConfigError
        If `output` has the suffix of another kind.
    NothingUsableError
        If there is no part, or a pattern matches nothing.
    """
    paths: dict[Path, Path] = {}  # by what they are when links are resolved: each once
    for file in chain.from_iterable(_parts_of(path, output) for path in inputs):
        paths.setdefault(file.resolve(), file)
    found, kinds = Found(), dict[str, Path]()
    for path in paths.values():
        if not path.exists() and (progress := unfinished(path.resolve())):
            found.unfinished.append((path, progress))
            continue
        if not os.path.lexists(path) and not has_part_record(path):
            found.problems.append(f"{path}: no such file{suggestion(path)}")
            continue
        try:
            kinds.setdefault(_kind(path), path)
            found.paths.append(path)
        except ArtifactError as error:
            found.problems.append(str(error))
    if not paths:
        where = ", ".join(str(path) for path in inputs) or "no input"
        raise NothingUsableError(f"no part in {where} ({'*.h5' if _is_h5(output) else '*.tsv'})")
    if len(kinds) > 1:
        both = " and ".join(f"{kind} ({path})" for kind, path in list(kinds.items())[:2])
        raise ArtifactError(f"the parts hold {both}; name the files of one kind")
    found.kind = next(iter(kinds), "")
    wrong = ".h5" if found.kind in ("events", "tags") else ".tsv"
    if kinds and output.suffix.lower() == wrong:
        raise ConfigError(f"the parts hold {found.kind}; {output} must not end in {wrong}")
    return found


def _is_h5(path: Path) -> bool:
    return path.suffix.lower() == ".h5"


def _parts_of(path: Path, output: Path) -> Iterator[Path]:
    """Yield the parts that a file, a folder or a pattern gives."""
    if path.is_dir():
        yield from _in_folder(path, output)
    elif os.path.lexists(path) or not is_pattern(str(path)) or unfinished(path.resolve()):
        yield path
    else:
        matches = sorted(match(str(path)))
        if not matches:
            raise NothingUsableError(f"nothing matches the pattern {path}")
        for matched in matches:
            if not (_same(matched, output) or matched.name.endswith(".failures.tsv")):
                yield from _parts_of(matched, output)


def _in_folder(folder: Path, output: Path) -> Iterator[Path]:
    """Yield the parts in a folder of the kind of `output`, unfinished ones included."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"{folder} cannot be listed: {error.strerror}") from error
    names = {path.name for path in entries}
    for path in entries:
        name = path.name.removesuffix(JOURNAL_SUFFIX)
        if name.startswith(".") or _same(path.with_name(name), output):
            continue
        is_part = _is_h5(path) or name + PART_SUFFIX in names or name != path.name
        if is_part and _is_h5(Path(name)) == _is_h5(output):
            yield path.with_name(name)


def _same(path: Path, output: Path) -> bool:
    return path.resolve() == output.resolve()


def _kind(path: Path) -> str:
    """Return what a file holds, by what it says itself."""
    if is_hdf5(path) or _is_h5(path):
        name = file_format(path).removeprefix("sedtool-")
        if name not in ("features", "scores"):
            raise ArtifactError(
                f"{path}: its format is {name!r}; only features and scores are merged"
            )
        return name
    return read_part_record(path).kind


def check_siblings(output: Path, shard: Shard, manifest_sha256: str) -> None:
    """Refuse the shard that the environment named, if parts of the same list contradict it.

    A task of a job array that is submitted again alone sees an array of one task; the parts in the
    folder of its output say how many there were.

    Raises
    ------
    ConfigError
        If a part there is one of another number of shards.
    """
    folder = output.resolve().parent
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            other, manifest = _told_quickly(path)
        except ArtifactError:
            continue  # no part, or a damaged one
        if manifest == manifest_sha256 and not other.is_whole and other.count != shard.count:
            name = path.name.removesuffix(JOURNAL_SUFFIX).removesuffix(PART_SUFFIX)
            raise ConfigError(
                f"{name} in the folder of {output} is one of {other.count} shards, not of "
                f"{shard.count}; state it: auto/{other.count}"
            )


def _told_quickly(path: Path) -> tuple[Shard, str]:
    """Return which part of which list a file, a journal or a record says that it is."""
    if path.name.endswith(JOURNAL_SUFFIX):
        if progress := unfinished(path.with_name(path.name.removesuffix(JOURNAL_SUFFIX))):
            return progress.shard, progress.manifest_sha256
    elif path.name.endswith(PART_SUFFIX):
        record = read_part_record(path.with_name(path.name.removesuffix(PART_SUFFIX)))
        return record.shard, record.manifest_sha256
    elif _is_h5(path):
        return file_shard(path)
    raise ArtifactError(f"{path}: not a part")
