"""Parts of a job array -> the one file that a single job would have written, byte for byte.

The whole list of names is sorted, and so are the clips of all parts together. So are those of whole
files of other clips, such as several days, which `union` joins.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from statistics import mode
from typing import Any

from sedtool.atomic import claim, differing, is_unfinished, refuse_input, together, write_failures
from sedtool.audio.find import is_pattern, match, suggestion
from sedtool.errors import ArtifactError, ConfigError, NothingUsableError
from sedtool.shards import (
    PART_KINDS,
    PART_SUFFIX,
    WHOLE,
    Shard,
    has_part_record,
    manifest_digest,
    read_part_record,
)
from sedtool.store.parts import KINDS, WITH_FAILURES, Part, kind_of
from sedtool.store.reading import file_shard
from sedtool.store.spool import JOURNAL_SUFFIX, Unfinished, unfinished
from sedtool.text import counted, first_five

Progress = Callable[[int, int, str], None]  # parts read, all parts, name of the latest

_MOST_NAMED = 5  # problems in one message


@dataclass(frozen=True)
class MergeResult:
    """What was merged."""

    kind: str  # "features", "scores", "events" or "tags"
    n_parts: int
    n_clips: int
    n_shards: int
    missing: list[int]  # numbers of shards
    failures: list[tuple[str, str, str]]  # name, stage, error
    failures_path: Path | None

    def summary(self) -> str:
        """Say in one line what was merged, and what was not."""
        texts = [f"{self.n_parts} parts, {self.n_clips} clips ({self.kind})"]
        if self.failures_path:
            files = counted(len(self.failures), "file")
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
    union: bool = False,
    progress: Progress | None = None,
) -> MergeResult:
    """Join the parts that the tasks of a job array made; or, with `union`, whole files.

    `parts` are files, folders of them and patterns; see `find_parts`. With `partial`, shards may be
    missing, and the output then says that it is not whole. `progress` is called after each part is
    read.

    Raises
    ------
    ArtifactError
        If a shard is missing, unfinished, there twice, damaged, or part of something else; or if
        whole files have a clip in common, or were not made with the same settings.
    ConfigError
        Before anything is read.
    OutputExistsError
        If the output is there and has other clips or settings; it is a SameOutputError if it is the
        same.
    NothingUsableError
        If there is no part, or no clip in any.
    """
    if union and partial:
        raise ConfigError("--union joins whole files and --partial the parts of one; give one")
    with claim(output, overwrite=overwrite):
        found = find_parts(parts, output, union)
        refuse_input(output, found.paths)
        opened = found.open(progress)
        n_shards = mode(part.shard.count for part in opened) if opened else 0
        missing = sorted({*range(1, n_shards + 1)} - {part.shard.number for part in opened})
        problems = [*found.problems, *_misfits(opened, union)]
        if not partial:
            # A damaged part does not say which it is: perhaps one that seems to be missing.
            problems += _absent(found, [] if found.problems else missing, n_shards)
        if problems:
            more = len(problems) - _MOST_NAMED
            rest = f"; and {more} more" if more > 0 else ""
            raise ArtifactError("; ".join(problems[:_MOST_NAMED]) + rest)
        whole = _joined(opened, output, Shard(0, n_shards) if missing else WHOLE)
        failures, n_parts, n_clips = whole.failures, len(opened), whole.n_clips
        if not overwrite and output.is_file() and not is_unfinished(output):
            _refuse_others(found.kind, whole)
        with together(output):
            KINDS[found.kind][1](whole)
            beside = write_failures(output, failures) if found.kind in WITH_FAILURES else None
        return MergeResult(found.kind, n_parts, n_clips, n_shards, missing, failures, beside)


def _joined(parts: Sequence[Part], output: Path, shard: Shard) -> Part:
    """Return what parts of one whole make together, in the order of names."""
    n_clips = sum(part.n_clips for part in parts)
    if not n_clips:
        raise NothingUsableError(f"there is no clip in any of {len(parts)} parts")
    pieces = sorted(chain.from_iterable(p.pieces for p in parts), key=lambda piece: piece.name)
    failures = sorted(chain.from_iterable(part.failures for part in parts))
    header = parts[0].header
    if parts[0].shard.is_whole:  # else the parts have the digest of the list of all
        names = sorted({*(piece.name for piece in pieces), *(name for name, *_ in failures)})
        header = replace(header, manifest_sha256=manifest_digest(names))
    return Part(output, shard, header, parts[0].identity, n_clips, pieces, failures)


def _refuse_others(kind: str, whole: Part) -> None:
    """Raise an OutputExistsError if the output is there, with other clips or settings."""
    try:
        there = KINDS[kind][0](whole.path)
    except ArtifactError as error:
        raise differing(whole.path, str(error)) from error
    told = whole.identity.items()
    if unlike := [key for key, value in told if there.identity[key] not in ("", value)]:
        raise differing(whole.path, f"other {first_five(unlike)}")
    old, new = ({piece.name: piece.size for piece in part.pieces} for part in (there, whole))
    if clips := sorted(name for name in {*old, *new} if old.get(name) != new.get(name)):
        raise differing(whole.path, f"other clips: {first_five(clips)}")


@dataclass
class Found:
    """What there is to merge."""

    kind: str = ""  # "features", "scores", "events" or "tags"
    paths: list[Path] = field(default_factory=list)
    unfinished: list[tuple[Path, Unfinished]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # of what is no part, or cannot be read

    def open(self, progress: Progress | None) -> list[Part]:
        """Return the parts that can be read; what is wrong with the others is a problem."""
        opened: list[Part] = []
        for number, path in enumerate(self.paths, 1):
            try:
                opened.append(KINDS[self.kind][0](path))
            except ArtifactError as error:
                self.problems.append(str(error))
            if progress:
                progress(number, len(self.paths), path.name)
        return opened


def _misfits(parts: Sequence[Part], union: bool) -> list[str]:
    """Return what keeps files from being joined, a line for each problem."""
    problems = [f"{part.path}: {reason}" for part in parts if (reason := _unfit(part, union))]
    parts = [part for part in parts if not _unfit(part, union)]
    identities = [part.identity if union else _of_job(part) for part in parts]
    common = dict(mode(tuple(identity.items()) for identity in identities)) if parts else {}
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
        if first != part.path and not union:
            problems.append(f"{first} and {part.path} are both shard {part.shard}")
            continue
        clips = [*(piece.name for piece in part.pieces), *(name for name, *_ in part.failures)]
        twice = [name for name in clips if of_clip.setdefault(name, part.path) != part.path]
        for first in dict.fromkeys(of_clip[name] for name in twice):
            both = [name for name in twice if of_clip[name] == first]
            noun = "clip" if len(both) == 1 else "clips"
            problems.append(f"{first} and {part.path} both hold the {noun} {first_five(both)}")
    return problems


def _of_job(part: Part) -> dict[str, Any]:
    """Return what all parts of one job have in common, in words."""
    job = {"list of clips": part.header.manifest_sha256, "number of shards": part.shard.count}
    return job | part.identity


def _unfit(part: Part, union: bool) -> str:
    """Return why a file is not one to be joined with others, or an empty text."""
    if union:
        return "" if part.shard.is_whole else f"it is shard {part.shard}; merge its parts first"
    if part.shard.is_whole:
        return "not a part: it was made without --shard; --union joins whole files"
    if not part.shard.number:
        return "was merged with --partial; give the parts that it was made of"
    return ""


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
    noun, verb = ("shards", "are") if len(missing) > 1 else ("shard", "is")
    return f"{noun} {first_five(map(str, missing))} of {count} {verb} missing"


def find_parts(inputs: Sequence[Path], output: Path, union: bool = False) -> Found:
    """Return the parts that files, folders and patterns such as ``parts/*.h5`` mean.

    Of a folder the HDF5 files are taken if the name of the output ends in ``.h5``, else the TSV
    files with a record of a part. The output itself is taken only if it is named.
    """
    paths: dict[Path, Path] = {}  # by what they are when links are resolved: each once
    for file in chain.from_iterable(_parts_of(path, output, union) for path in inputs):
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
            kinds.setdefault(kind_of(path, union), path)
            found.paths.append(path)
        except ArtifactError as error:
            found.problems.append(str(error))
    if not paths:
        where = ", ".join(map(str, inputs)) or "no input"
        raise NothingUsableError(f"no part in {where} ({'*.h5' if _is_h5(output) else '*.tsv'})")
    if len(kinds) > 1:
        both = " and ".join(f"{kind} ({path})" for kind, path in list(kinds.items())[:2])
        raise ArtifactError(f"the parts hold {both}; name the files of one kind")
    found.kind = next(iter(kinds), "")
    wrong = ".h5" if found.kind in PART_KINDS else ".tsv"
    if kinds and output.suffix.lower() == wrong:
        raise ConfigError(f"the parts hold {found.kind}; {output} must not end in {wrong}")
    return found


def _is_h5(path: Path) -> bool:
    return path.suffix.lower() == ".h5"


def _parts_of(path: Path, output: Path, union: bool) -> Iterator[Path]:
    """Yield the parts that a file, a folder or a pattern gives."""
    if path.is_dir():
        yield from _in_folder(path, output, union)
    elif os.path.lexists(path) or not is_pattern(str(path)) or unfinished(path.resolve()):
        yield path
    else:
        matches = sorted(match(str(path)))
        if not matches:
            raise NothingUsableError(f"nothing matches the pattern {path}")
        for matched in matches:
            if not (_same(matched, output) or matched.name.endswith(".failures.tsv")):
                yield from _parts_of(matched, output, union)


def _in_folder(folder: Path, output: Path, union: bool) -> Iterator[Path]:
    """Yield the files in a folder of the kind of `output`, unfinished ones included."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"{folder} cannot be listed: {error.strerror}") from error
    names = {path.name for path in entries}
    for path in entries:
        name = path.name.removesuffix(JOURNAL_SUFFIX)
        if name.startswith(".") or _same(path.with_name(name), output):
            continue
        is_text = name.endswith(".tsv") and not name.endswith(".failures.tsv") and union
        is_part = _is_h5(path) or name + PART_SUFFIX in names or name != path.name or is_text
        if is_part and _is_h5(Path(name)) == _is_h5(output):
            yield path.with_name(name)


def _same(path: Path, output: Path) -> bool:
    return path.resolve() == output.resolve()


def check_siblings(output: Path, shard: Shard, manifest_sha256: str) -> None:
    """Refuse the shard that the environment named, if parts of the same list contradict it.

    A task of a job array that is submitted again alone sees an array of one task; the parts in the
    folder of its output say how many there were.
    """
    folder = output.resolve().parent
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        part = path.with_name(path.name.removesuffix(JOURNAL_SUFFIX).removesuffix(PART_SUFFIX))
        try:
            other, manifest = _told_quickly(path, part)
        except ArtifactError:
            continue  # no part, or a damaged one
        if manifest == manifest_sha256 and not other.is_whole and other.count != shard.count:
            raise ConfigError(
                f"{part.name} in the folder of {output} is one of {other.count} shards, not of "
                f"{shard.count}; state it: auto/{other.count}"
            )


def _told_quickly(path: Path, part: Path) -> tuple[Shard, str]:
    """Return which part of which list a file says that it is: the part itself, or one beside it."""
    if path.name.endswith(JOURNAL_SUFFIX) and (progress := unfinished(part)):
        return progress.shard, progress.manifest_sha256
    if path.name.endswith(PART_SUFFIX):
        record = read_part_record(part)
        return record.shard, record.manifest_sha256
    if _is_h5(path):
        return file_shard(path)
    raise ArtifactError(f"{path}: not a part")
