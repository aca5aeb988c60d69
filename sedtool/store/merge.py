"""Parts of a job array -> the one file that a single job would have written, byte for byte.

A part is opened once, checked and closed; of its frames or lines only the place is kept, and they
are read again clip by clip, so neither their number nor that of the parts is limited by memory or
by open files. The whole list of names is sorted, and so are the clips of all parts together.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from statistics import mode
from typing import Any

import numpy as np

from sedtool.atomic import claim, open_atomic, refuse_input, together, write_failures
from sedtool.audio.find import is_pattern, match, suggestion
from sedtool.errors import ArtifactError, ConfigError, NothingUsableError
from sedtool.shards import (
    PART_KINDS,
    PART_SUFFIX,
    WHOLE,
    Shard,
    has_part_record,
    read_part,
    read_part_record,
    remove_part_record,
    write_part,
)
from sedtool.store.features import Features, open_features, write_features
from sedtool.store.reading import file_format, file_shard, is_hdf5, naming, read_range
from sedtool.store.scores import Scores, ScoresWriter, clip_scores, open_scores
from sedtool.store.spool import JOURNAL_SUFFIX, Unfinished, unfinished
from sedtool.text import counted, quoted

Progress = Callable[[int, int, str], None]  # parts read, all parts, name of the latest

_MOST_NAMED = 5  # problems in one message
_MOST_NUMBERS = 10  # missing shards in one message
_LONGEST_LINE = 2**20  # bytes


@dataclass(frozen=True)
class Piece:
    """A clip of a part, and where the part holds its frames or lines."""

    name: str
    clip: Any  # its description
    path: Path
    offset: int  # bytes
    size: int  # bytes

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; an ArtifactError says that they are gone."""
        try:
            with naming(self.path), self.path.open("rb") as stream:
                yield from read_range(stream, self.offset, self.size)
        except OSError as error:
            raise ArtifactError(f"{self.path}: cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class Part:
    """A file that holds one shard, closed; or what several make when they are joined."""

    path: Path
    shard: Shard
    header: Any  # what the file says of itself
    identity: dict[str, Any]  # what all parts of one whole have in common, in words
    n_clips: int
    pieces: list[Piece]
    failures: list[tuple[str, str, str]]  # name, stage, error

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of all clips, one clip after the other."""
        return chain.from_iterable(piece.chunks() for piece in self.pieces)


def open_features_part(path: Path) -> Part:
    """Read and check what a features file holds; see `open_features` for the errors."""
    features = open_features(path)
    header = features.header
    details = header.details()
    identity = {"list of clips": header.manifest_sha256, **details.pop("config"), **details}
    pieces = _pieces(path, features, features.data, features.sources())
    failures = [(name, "extract", error) for name, error in features.failures]
    return Part(path, features.shard, header, identity, len(pieces), pieces, failures)


def join_features(whole: Part) -> None:
    """Write the clips of all parts as one features file."""
    header = replace(whole.header, shard=whole.shard)
    failures = [(name, error) for name, _, error in whole.failures]
    write_features(whole.path, header, [p.clip for p in whole.pieces], failures, whole.chunks)


def open_scores_part(path: Path) -> Part:
    """Read and check what a scores file holds; see `open_scores` for the errors."""
    scores = open_scores(path)
    header = scores.header
    identity = {
        "list of clips": header.manifest_sha256,
        "model": header.model_sha256,
        "list of classes": header.classes,
        "frame_rate": header.frame_rate,
        "decoding": header.decoding,
        "scoring": header.settings,
    }
    bare = (replace(clip, frame=clip.frame[:0].copy()) for clip in clip_scores(scores))
    pieces = _pieces(path, scores, scores.frame, bare)
    return Part(path, scores.shard, header, identity, len(pieces), pieces, [])


def join_scores(whole: Part) -> None:
    """Write the clips of all parts as one scores file."""
    with ScoresWriter(whole.path, replace(whole.header, shard=whole.shard)) as writer:
        for piece in whole.pieces:
            frame = np.frombuffer(b"".join(piece.chunks()), "<f4")
            writer.append(replace(piece.clip, frame=frame.reshape(-1, piece.clip.frame.shape[1])))


def _pieces(path: Path, file: Features | Scores, data: Any, clips: Iterator[Any]) -> list[Piece]:
    """Return the clips of a file whose frames are `data`."""
    row = data.shape[1] * data.dtype.itemsize
    columns = zip(file.names, clips, file.start.tolist(), file.frames.tolist(), strict=True)
    return [
        Piece(name, clip, path, data.offset + start * row, n_frames * row)
        for name, clip, start, n_frames in columns
    ]


def open_text_part(path: Path) -> Part:
    """Read and check an event list, or clip tags, and the record beside it."""
    record = read_part(path)
    try:
        columns, pieces = _index(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error})") from error
    if len({piece.name for piece in pieces}) < len(pieces):
        raise ArtifactError(f"{path}: the lines of a clip do not follow each other")
    identity = {
        "list of clips": record.manifest_sha256,
        "model": record.model_sha256,
        "decoding or scoring": record.settings,
        "first line": columns,
    }
    return Part(path, record.shard, record, identity, record.n_clips, pieces, [*record.failures])


def _index(path: Path) -> tuple[bytes, list[Piece]]:
    """Return the first line of a file, and where the lines of each clip are."""
    pieces: list[Piece] = []
    with path.open("rb") as stream:
        columns = _line(stream.readline(_LONGEST_LINE), path)
        offset = len(columns)
        while line := _line(stream.readline(_LONGEST_LINE), path):
            name = line.partition(b"\t")[0].decode()
            if pieces and pieces[-1].name == name:
                pieces[-1] = replace(pieces[-1], size=pieces[-1].size + len(line))
            else:
                pieces.append(Piece(name, None, path, offset, len(line)))
            offset += len(line)
    return columns, pieces


def _line(line: bytes, path: Path) -> bytes:
    """Refuse a line that is too long, or torn off."""
    if line and not line.endswith(b"\n"):
        raise ArtifactError(f"{path}: a line has no end, or more than {_LONGEST_LINE} bytes")
    return line


def join_text(whole: Part) -> None:
    """Write the lines of all parts, as they stand, as one file; a record says if it is not whole.

    The record is written first, for without it the file would look whole.
    """
    output, columns = whole.path, whole.identity["first line"]
    if not whole.shard.is_whole:
        digest = hashlib.sha256(columns)
        for chunk in whole.chunks():
            digest.update(chunk)
        record = replace(
            whole.header,
            shard=whole.shard,
            n_clips=whole.n_clips,
            failures=tuple(whole.failures),
            sha256=digest.hexdigest(),
        )
        write_part(output, record)
    with open_atomic(output) as stream:
        stream.write(columns)
        for chunk in whole.chunks():
            stream.write(chunk)
    if whole.shard.is_whole:
        remove_part_record(output)


_KINDS: dict[str, tuple[Callable[[Path], Part], Callable[[Part], None]]] = {
    "features": (open_features_part, join_features),
    "scores": (open_scores_part, join_scores),
    **dict.fromkeys(PART_KINDS, (open_text_part, join_text)),
}
_WITH_FAILURES = ("features", "events")  # what has a list of failures beside it


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
    progress: Progress | None = None,
) -> MergeResult:
    """Join the parts that the tasks of a job array made.

    `parts` are files, folders of them and patterns; see `find_parts`. With `partial`, shards may be
    missing, and the output then says that it is not whole. `progress` is called after each part is
    read.

    Raises
    ------
    ArtifactError
        If a shard is missing, unfinished, there twice, damaged, or part of something else.
    ConfigError, OutputExistsError
        Before anything is read.
    NothingUsableError
        If there is no part, or no clip in any.
    """
    with claim(output, overwrite=overwrite):
        found = find_parts(parts, output)
        refuse_input(output, found.paths)
        opened = found.open(progress)
        n_shards = mode(part.shard.count for part in opened) if opened else 0
        missing = sorted({*range(1, n_shards + 1)} - {part.shard.number for part in opened})
        problems = [*found.problems, *_misfits(opened)]
        if not partial:
            # A damaged part does not say which it is: perhaps one that seems to be missing.
            problems += _absent(found, [] if found.problems else missing, n_shards)
        if problems:
            more = len(problems) - _MOST_NAMED
            rest = f"; and {more} more" if more > 0 else ""
            raise ArtifactError("; ".join(problems[:_MOST_NAMED]) + rest)
        whole = _joined(opened, output, Shard(0, n_shards) if missing else WHOLE)
        failures, n_parts, n_clips = whole.failures, len(opened), whole.n_clips
        with together(output):
            _KINDS[found.kind][1](whole)
            beside = write_failures(output, failures) if found.kind in _WITH_FAILURES else None
        return MergeResult(found.kind, n_parts, n_clips, n_shards, missing, failures, beside)


def _joined(parts: Sequence[Part], output: Path, shard: Shard) -> Part:
    """Return what parts of one whole make together, in the order of names."""
    n_clips = sum(part.n_clips for part in parts)
    if not n_clips:
        raise NothingUsableError(f"there is no clip in any of {len(parts)} parts")
    return replace(
        parts[0],
        path=output,
        shard=shard,
        n_clips=n_clips,
        pieces=sorted(
            chain.from_iterable(part.pieces for part in parts), key=lambda piece: piece.name
        ),
        failures=sorted(chain.from_iterable(part.failures for part in parts)),
    )


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
                opened.append(_KINDS[self.kind][0](path))
            except ArtifactError as error:
                self.problems.append(str(error))
            if progress:
                progress(number, len(self.paths), path.name)
        return opened


def _misfits(parts: Sequence[Part]) -> list[str]:
    """Return what keeps parts from being parts of one whole, a line for each problem."""
    problems = [f"{part.path}: {reason}" for part in parts if (reason := _no_part(part))]
    parts = [part for part in parts if not _no_part(part)]
    identities = [part.identity | {"number of shards": part.shard.count} for part in parts]
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
        if first != part.path:
            problems.append(f"{first} and {part.path} are both shard {part.shard}")
            continue
        for piece in part.pieces:
            first = of_clip.setdefault(piece.name, part.path)
            if first != part.path:
                problems.append(f"{first} and {part.path} both hold the clip {piece.name}")
                break
    return problems


def _no_part(part: Part) -> str:
    """Return why a file is no part of anything, or an empty text."""
    if part.shard.is_whole:
        return "not a part: it was made without --shard"
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
    shown = ", ".join(map(str, missing[:_MOST_NUMBERS]))
    more = f" and {len(missing) - _MOST_NUMBERS} more" if len(missing) > _MOST_NUMBERS else ""
    noun, verb = ("shards", "are") if len(missing) > 1 else ("shard", "is")
    return f"{noun} {shown}{more} of {count} {verb} missing"


def find_parts(inputs: Sequence[Path], output: Path) -> Found:
    """Return the parts that files, folders and patterns such as ``parts/*.h5`` mean.

    Of a folder the HDF5 files are taken if the name of the output ends in ``.h5``, else the TSV
    files with a record of a part. The output itself is taken only if it is named.
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
                f"{path}: its format is {quoted(name)}; only features and scores are merged"
            )
        return name
    return read_part_record(path).kind


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
