"""Files and folders -> parts, finished and unfinished, of one kind."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from sedtool.audio.find import is_pattern, match, suggestion
from sedtool.errors import ArtifactError, ConfigError, NothingUsableError
from sedtool.shards import PART_SUFFIX, Shard, has_part_record, read_part_record
from sedtool.store import Unfinished, file_format, file_shard, is_hdf5, unfinished

__all__ = ["Found", "check_siblings", "find_parts"]

_JOURNAL_SUFFIX = ".journal"


@dataclass
class Found:
    """What there is to merge."""

    kind: str = ""  # "features", "scores", "events" or "tags"
    paths: list[Path] = field(default_factory=list)
    unfinished: list[tuple[Path, Unfinished]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # of what is no part, or cannot be read


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
    for file in chain.from_iterable(_meant_by(path, output) for path in inputs):
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


def _meant_by(path: Path, output: Path) -> Iterator[Path]:
    """Yield the parts that a path or a pattern stands for."""
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
                yield from _meant_by(matched, output)


def _in_folder(folder: Path, output: Path) -> Iterator[Path]:
    """Yield the parts in a folder of the kind of `output`, unfinished ones included."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"{folder} cannot be listed: {error.strerror}") from error
    names = {path.name for path in entries}
    for path in entries:
        name = path.name.removesuffix(_JOURNAL_SUFFIX)
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
            raise ArtifactError(f"{path}: its format is {name!r}; there is no merging that")
        return name
    return read_part_record(path).kind


def check_siblings(output: Path, shard: Shard, manifest_sha256: str) -> None:
    """Refuse a shard that was guessed if other parts of the same list say otherwise.

    A task of a job array that is submitted again alone takes itself for all there is; the parts
    in the folder of its output know better.

    Raises
    ------
    ConfigError
        If a part there is one of another number of shards.
    """
    for path, other, manifest in _parts_beside(output.resolve()):
        if manifest == manifest_sha256 and not other.is_whole and other.count != shard.count:
            raise ConfigError(
                f"{path.name} in the folder of {output} is one of {other.count} shards, not of "
                f"{shard.count}; state it: auto/{other.count}"
            )


def _parts_beside(output: Path) -> Iterator[tuple[Path, Shard, str]]:
    """Yield what can be known quickly of the parts in the folder of an output."""
    for path in _listed(output.parent):
        if path.name.endswith(_JOURNAL_SUFFIX):
            part = path.with_name(path.name.removesuffix(_JOURNAL_SUFFIX))
            if progress := unfinished(part):
                yield part, progress.shard, progress.manifest_sha256
            continue
        try:
            if path.name.endswith(PART_SUFFIX):
                part = path.with_name(path.name.removesuffix(PART_SUFFIX))
                record = read_part_record(part)
                yield part, record.shard, record.manifest_sha256
            elif _is_h5(path):
                yield path, *file_shard(path)
        except ArtifactError:
            continue  # whatever it is, it says nothing of shards


def _listed(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []  # writing the output will say why
