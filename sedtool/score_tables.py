"""Frame scores as tables, a file a clip: the score files of sed_scores_eval, in and out.

::

    onset   offset  Cat     Dog
    0.0     0.02    0.125   0.5
    0.02    0.04    0.25    0.75

A row is a frame: when it begins, when it ends, and a score for each class. The file ``a.tsv`` is of
the clip ``a.wav``; frames follow each other without gaps. ``-inf`` is a score that no threshold is
below.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from sedtool.atomic import resource_errors, write_text
from sedtool.audio import AUDIO_SUFFIXES
from sedtool.errors import LabelError, NothingUsableError
from sedtool.labels.text import check_cell, numbered_lines, parse_number, parse_seconds

__all__ = [
    "SUFFIX",
    "FrameScores",
    "read_score_classes",
    "read_score_table",
    "read_score_tables",
    "score_files",
    "score_table_paths",
    "write_score_tables",
]

SUFFIX = ".tsv"
TIMES = ("onset", "offset")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class FrameScores:
    """The scores of one clip, T frames of K classes."""

    name: str
    times: FloatArray  # seconds, ascending, (T + 1,): frame t is from times[t] to times[t + 1]
    scores: NDArray[np.floating]  # (T, K); no NaN


def score_files(folder: Path) -> list[Path]:
    """Return the score files of a folder, sorted by name.

    Raises
    ------
    NothingUsableError
        If there is none.
    """
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        raise LabelError(f"{folder}: cannot be read ({error.strerror})") from None
    if not found:
        raise NothingUsableError(f"{folder} has no score files (*{SUFFIX})")
    return found


def read_score_tables(folder: Path) -> Iterator[FrameScores]:
    """Yield the clips of a folder of score files, read one after the other.

    Raises
    ------
    LabelError
        With file and line; also if two files differ in their classes.
    """
    files = score_files(folder)
    classes = read_score_classes(folder)
    for path in files:
        found, clip = read_score_table(path)
        if found != classes:
            raise LabelError(
                f"{path}: its classes {list(found)} are not those of {files[0]}, {list(classes)}"
            )
        yield clip


def read_score_classes(folder: Path) -> tuple[str, ...]:
    """Return the classes of a folder of score files: those of the first."""
    return read_score_table(score_files(folder)[0])[0]


def read_score_table(path: Path) -> tuple[tuple[str, ...], FrameScores]:
    """Read one score file; the clip is named as the file, without its suffix.

    Raises
    ------
    LabelError
        With file and line: a first line that is no header, a cell that is no number, a frame that
        does not begin where the one before it ends.
    """
    lines = [(where, line) for where, line in numbered_lines(path) if line.strip()]
    if not lines:
        raise LabelError(f"{path}: an empty file; a score file begins with its header")
    classes = _classes(*lines[0])
    table = _numbers(lines[1:], len(classes) + 2)
    _check_times(table, [where for where, _ in lines[1:]])
    times = np.append(table[:, 0], table[-1:, 1]) if len(table) else np.zeros(1)
    return classes, FrameScores(path.name.removesuffix(SUFFIX), times, table[:, 2:])


def _classes(where: str, line: str) -> tuple[str, ...]:
    cells = [cell.strip(" ") for cell in line.split("\t")]
    classes = tuple(cells[2:])
    if tuple(cells[:2]) != TIMES or not classes:
        raise LabelError(
            f"{where}: a score file begins with the columns onset, offset and a class or more, "
            f"not with {cells[:5]}"
        )
    if not all(classes) or len(set(classes)) < len(classes):
        raise LabelError(f"{where}: a class has no name, or stands twice")
    return classes


def _numbers(lines: Sequence[tuple[str, str]], width: int) -> FloatArray:
    """Return the cells of rows as numbers, shape (rows, width)."""
    if lines and all(line.isascii() for _, line in lines):  # loadtxt drops other kinds of spaces
        try:
            text = (line for _, line in lines)
            table = np.loadtxt(text, float, delimiter="\t", comments=None, ndmin=2)
        except ValueError:
            table = np.zeros((0, 0))
        if table.shape == (len(lines), width) and np.isfinite(table).all():
            return table
    # What is not quite right is read again, slowly, to say which line it is.
    rows = []
    for where, line in lines:
        cells = [cell.strip(" ") for cell in line.split("\t")]
        if len(cells) != width:
            raise LabelError(f"{where}: {len(cells)} columns where {width} are expected")
        times = [parse_seconds(cell, where) for cell in cells[:2]]
        rows.append([*times, *(_score(cell, where) for cell in cells[2:])])
    return np.array(rows, float).reshape(-1, width)


def _score(cell: str, where: str) -> float:
    return -np.inf if cell == "-inf" else parse_number(cell, where)


def _check_times(table: FloatArray, places: Sequence[str]) -> None:
    onset, offset = table[:, 0], table[:, 1]
    gap = np.append(False, onset[1:] != offset[:-1])[: len(onset)]
    for wrong, what in (
        (offset <= onset, "the frame does not end after its onset"),
        (gap, "the frame does not begin where the one before it ends"),
        (onset < 0, "the onset is negative"),
    ):
        if wrong.any():
            raise LabelError(f"{places[int(np.argmax(wrong))]}: {what}")


def write_score_tables(folder: Path, classes: Sequence[str], clips: Iterable[FrameScores]) -> int:
    """Write a folder of score files, a file a clip, with every digit; return how many.

    Raises
    ------
    LabelError
        If a class cannot stand in a table, or two clips would be one file.
    """
    header = "\t".join((*TIMES, *map(check_cell, classes))) + "\n"
    with resource_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    owner: dict[Path, str] = {}
    for clip in clips:
        path = _path_of(clip.name, folder, owner)
        table = np.column_stack([clip.times[:-1], clip.times[1:], clip.scores.astype(float)])
        rows = ["\t".join(map(repr, row)) + "\n" for row in table.tolist()]
        write_text(path, header + "".join(rows))
    return len(owner)


def score_table_paths(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the file of each clip.

    Raises
    ------
    LabelError
        If two clips would be one file.
    """
    owner: dict[Path, str] = {}
    return [_path_of(name, folder, owner) for name in names]


def _path_of(name: str, folder: Path, owner: dict[Path, str]) -> Path:
    """Return the file of a clip: only the suffix of audio is left out, other dots belong to it."""
    clip = PurePosixPath(check_cell(name))
    stem = clip.stem if clip.suffix.lower() in AUDIO_SUFFIXES else clip.name
    path = folder / f"{stem}{SUFFIX}"
    if owner.setdefault(path, name) != name:
        raise LabelError(f"{owner[path]!r} and {name!r} are both {path.name}")
    return path
