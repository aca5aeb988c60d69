"""metrics.tsv of a run -> columns: what training wrote of each epoch."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sedtool.checkpoint import load_model
from sedtool.errors import ArtifactError

__all__ = ["History", "read_history"]

_LEARNED = re.compile(r"(n|theta|alpha)\[(.+)\]")


@dataclass(frozen=True)
class History:
    """A run, finished or not, as its metrics.tsv tells it."""

    name: str
    columns: dict[str, np.ndarray]  # float64 (epochs,), "epoch" among them; NaN: not defined
    learned: dict[str, dict[str, np.ndarray]]  # n, theta or alpha -> class -> (epochs,)
    selected: int | None = None  # epoch of the model that was kept, if it is known

    @property
    def epochs(self) -> np.ndarray:
        """Return the numbers of the epochs, from 1."""
        return self.columns["epoch"]


def read_history(run: Path, name: str) -> History:
    """Read a run folder, or its metrics.tsv alone.

    Raises
    ------
    ArtifactError
        With file and line: there is no such file, no epoch in it, a cell too few or too many, one
        that is no number, or epochs out of order.
    """
    path = run / "metrics.tsv" if run.is_dir() else run
    try:
        lines = path.read_bytes().decode().splitlines()
    except FileNotFoundError:
        raise ArtifactError(f"{path} is not there: is {run} a run that has begun?") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error})") from None
    header = lines[0].split("\t") if lines else []
    if "epoch" not in header:
        raise ArtifactError(f"{path}:1: no training metrics: there is no column 'epoch'")
    if len(set(header)) < len(header):
        raise ArtifactError(f"{path}:1: a column is named twice")
    rows = [_numbers(line, len(header), f"{path}:{i}") for i, line in enumerate(lines[1:], 2)]
    if not rows:
        raise ArtifactError(f"{path}: no epoch is finished yet")
    columns = dict(zip(header, np.array(rows).T, strict=True))
    _check_epochs(columns["epoch"], path)
    learned: dict[str, dict[str, np.ndarray]] = {}
    for column in header:
        if match := _LEARNED.fullmatch(column):
            learned.setdefault(match[1], {})[match[2]] = columns.pop(column)
    return History(name, columns, learned, _selected(path.parent))


def _numbers(line: str, n_columns: int, where: str) -> list[float]:
    """Return the cells of a line; what is not defined is empty, or nan."""
    cells = line.split("\t")
    if len(cells) != n_columns:
        raise ArtifactError(f"{where}: {len(cells)} columns where {n_columns} are expected")
    try:
        return [float(cell) if cell not in ("", "None") else math.nan for cell in cells]
    except ValueError as error:
        raise ArtifactError(f"{where}: {error}") from None


def _check_epochs(epochs: np.ndarray, path: Path) -> None:
    for i, (before, epoch) in enumerate(zip([0.0, *epochs[:-1]], epochs, strict=True), 2):
        if not epoch > before:
            raise ArtifactError(f"{path}:{i}: epoch {epoch:g} after epoch {before:g}")


def _selected(folder: Path) -> int | None:
    """Return the epoch of the model of a run; None if there is none yet."""
    model = folder / "model.safetensors"
    epoch = load_model(model).trained.get("epoch") if model.exists() else None
    return epoch if isinstance(epoch, int) else None
