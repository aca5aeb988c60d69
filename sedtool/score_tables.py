"""Frame scores of clips: read from a scores file or from score tables, written as score tables.

A score table is a file a clip, as sed_scores_eval reads and writes them::

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
from scipy import ndimage

from sedtool.atomic import claim_folder, refuse_unfinished, resource_errors, write_text
from sedtool.audio import AUDIO_SUFFIXES
from sedtool.decoding import median_frames, with_boxes
from sedtool.errors import ArtifactError, ConfigError, LabelError, NothingUsableError
from sedtool.labels.cells import check_cell, numbered_lines, parse_number, parse_seconds
from sedtool.store import Scores, clip_scores, is_hdf5, open_scores
from sedtool.text import first_quoted

SUFFIX = ".tsv"
TIMES = ("onset", "offset")  # the first columns

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class FrameScores:
    """The scores of one clip, T frames of K classes."""

    name: str
    times: FloatArray  # seconds, ascending, (T + 1,): frame t is from times[t] to times[t + 1]
    scores: NDArray[np.floating]  # (T, K); no NaN


def score_files(folder: Path) -> list[Path]:
    """Return the score files of a folder, sorted by name; raise an error if there is none."""
    refuse_unfinished(folder)
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        raise LabelError(f"{folder}: cannot be read ({error.strerror})") from None
    if not found:
        raise NothingUsableError(f"{folder} has no score files (*{SUFFIX})")
    return found


def read_score_tables(folder: Path) -> Iterator[FrameScores]:
    """Yield the clips of a folder of score files, which must agree in their classes."""
    files = score_files(folder)
    first: tuple[str, ...] = ()
    for path in files:
        classes, clip = read_score_table(path)
        first = first or classes
        if classes != first:
            raise LabelError(
                f"{path}: its classes {first_quoted(classes)} are not those of {files[0]}, "
                f"{first_quoted(first)}"
            )
        yield clip


def read_score_table(path: Path) -> tuple[tuple[str, ...], FrameScores]:
    """Return the classes of a score file, and its clip, which is named as the file.

    A LabelError says in which line there is no header, a cell is no number, or a frame does not
    begin where the one before it ends.
    """
    lines = [(where, line) for where, line in numbered_lines(path) if line.strip()]
    if not lines:
        raise LabelError(f"{path}: an empty file; a score file begins with its header")
    (where, header), *rows = lines
    cells = [cell.strip(" ") for cell in header.split("\t")]
    classes = tuple(cells[2:])
    if tuple(cells[:2]) != TIMES or not classes:
        raise LabelError(
            f"{where}: a score file begins with the columns onset, offset and a class or more, "
            f"not with {first_quoted(cells)}"
        )
    if not all(classes) or len(set(classes)) < len(classes):
        raise LabelError(f"{where}: a class has no name, or stands twice")
    table = _numbers(rows, len(cells))
    onset, offset = table[:, 0], table[:, 1]
    gap = np.append(False, onset[1:] != offset[:-1])[: len(onset)]
    for wrong, what in (
        (offset <= onset, "the frame does not end after its onset"),
        (gap, "the frame does not begin where the one before it ends"),
        (onset < 0, "the onset is negative"),
    ):
        if wrong.any():
            raise LabelError(f"{rows[int(np.argmax(wrong))][0]}: {what}")
    times = np.append(onset, offset[-1:]) if rows else np.zeros(1)
    return classes, FrameScores(path.name.removesuffix(SUFFIX), times, table[:, 2:])


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
    table = np.zeros((len(lines), width))
    for row, (where, line) in zip(table, lines, strict=True):
        cells = [cell.strip(" ") for cell in line.split("\t")]
        if len(cells) != width:
            raise LabelError(f"{where}: {len(cells)} columns where {width} are expected")
        row[:2] = [parse_seconds(cell, where) for cell in cells[:2]]
        row[2:] = [-np.inf if cell == "-inf" else parse_number(cell, where) for cell in cells[2:]]
    return table


def write_score_tables(folder: Path, classes: Sequence[str], clips: Iterable[FrameScores]) -> int:
    """Write a folder of score files, a file a clip, with every digit; return how many."""
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


def _path_of(name: str, folder: Path, owner: dict[Path, str]) -> Path:
    """Return the file of a clip, which no other clip may own: its name without an audio suffix."""
    clip = PurePosixPath(check_cell(name))
    stem = clip.stem if clip.suffix.lower() in AUDIO_SUFFIXES else clip.name
    path = folder / f"{stem}{SUFFIX}"
    if owner.setdefault(path, name) != name:
        raise LabelError(f"{owner[path]!r} and {name!r} are both {path.name}")
    return path


@dataclass(frozen=True)
class FrameSource:
    """The scores of many clips, opened and not yet read."""

    path: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]
    durations: dict[str, float] | None  # seconds; None: scores must be read to tell
    scores: Scores | None = None  # of a scores file

    def clips(self, names: dict[str, str] | None = None) -> Iterator[FrameScores]:
        """Yield the scores of each clip, under the names that `names` gives them."""
        names = names or {}
        for clip in frame_scores(self.scores) if self.scores else read_score_tables(self.path):
            yield FrameScores(names.get(clip.name, clip.name), clip.times, clip.scores)


def open_frame_scores(path: Path) -> FrameSource:
    """Open a scores file, or a folder of score tables.

    The scores of a scores file are filtered with the median lengths of its decoding settings. Score
    tables have no settings, and are taken as they are.
    """
    if path.is_dir():
        files = score_files(path)
        classes, _ = read_score_table(files[0])
        return FrameSource(path, classes, tuple(file.stem for file in files), None)
    scores = open_scores(path)
    durations = dict(zip(scores.names, scores.duration.tolist(), strict=True))
    return FrameSource(path, scores.classes, tuple(scores.names), durations, scores)


def frame_scores(scores: Scores) -> Iterator[FrameScores]:
    """Yield the clips of a scores file, filtered; the last frame ends with the clip."""
    rate = scores.frame_rate
    sizes = np.array([median_frames(seconds, rate) for seconds in scores.decoding.windows])
    for clip in clip_scores(scores):
        times = np.minimum(np.arange(len(clip.frame) + 1) / rate, clip.duration)
        n_frames = int(np.count_nonzero(np.diff(times) > 0))  # those that begin within the clip
        boxed = with_boxes(clip.frame, rate, scores.decoding, np.zeros(len(sizes)).tolist())
        filtered = filter_scores(boxed, sizes)[:n_frames]
        yield FrameScores(clip.name, times[: n_frames + 1], filtered)


def filter_scores(frame: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Median-filter scores (T, K) along time, each class with its own odd length, ends mirrored.

    A threshold commutes with it, so the decisions of these scores at any threshold are those that
    `sedtool.decoding.median_filter` gives. `sizes` are frames, int (K,).
    """
    filtered = frame.copy()
    if not len(frame):
        return filtered
    for size in np.unique(sizes[sizes > 1]):
        columns = sizes == size
        half = int(size) // 2
        padded = np.pad(frame[:, columns], ((half, half), (0, 0)), mode="symmetric")
        flat = np.ascontiguousarray(padded.T).reshape(-1)  # one line is much faster than many
        middle = ndimage.median_filter(flat, size=int(size), mode="nearest")
        filtered[:, columns] = middle.reshape(padded.T.shape)[:, half : half + len(frame)].T
    return filtered


def convert_scores(inputs: Sequence[Path], output: str | None, overwrite: bool = False) -> int:
    """Write the scores of each clip as a table; return how many clips there are.

    They are what PSDS is computed of: filtered with the median lengths that the file carries. The
    inputs must be one whole scores file, and the folder have no other tables in it.
    """
    if len(inputs) != 1 or not is_hdf5(inputs[0]):
        raise ConfigError("score files are made of one scores.h5; give nothing beside it")
    if output is None or output == "-" or Path(output).is_file():
        raise ConfigError("score files are a folder, a file a clip: name it with -o FOLDER")
    shard = open_scores(inputs[0]).shard
    if not shard.is_whole:
        raise ArtifactError(f"{inputs[0]} is shard {shard}; join all with sedtool merge first")
    source, folder = open_frame_scores(inputs[0]), Path(output)
    owner: dict[Path, str] = {}
    paths = [_path_of(name, folder, owner) for name in source.names]
    if others := {*folder.glob(f"*{SUFFIX}")} - {*paths}:
        raise ConfigError(
            f"{folder} has other files that would be read as scores, such as {min(others)}; "
            "name a folder of its own"
        )
    with claim_folder(folder, paths, overwrite):
        return write_score_tables(folder, source.classes, source.clips())
