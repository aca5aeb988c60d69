"""How trainings went: losses, scores, and what poolings learned, by epoch."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sedtool.bounds import read_table
from sedtool.checkpoint import load_model
from sedtool.errors import ArtifactError
from sedtool.plots import canvas
from sedtool.plots.learned import SYMBOLS
from sedtool.runs import RunFolder

_LEARNED = re.compile(r"(n|theta|alpha)\[(.+)\]")
_PANELS: dict[str, dict[str, str]] = {  # label of the axis -> column -> name
    "loss (nats)": {"train_loss": "training", "loss": "validation"},
    "F1 on validation clips": {"clip_f1": "clip F1", "event_f1": "event F1"},
    "part of the training loss": {},  # all columns that stand nowhere else
    "weight of consistency": {"consistency": "weight of consistency"},
}
_ELSEWHERE = {"epoch", "step", "lr", *(column for panel in _PANELS.values() for column in panel)}
_OF_MODEL = ("loss", "clip_f1", "event_f1")  # columns in which the epoch of the model is marked
_FEW = 40  # epochs of which each is marked


@dataclass(frozen=True)
class History:
    """A run, finished or not, as its metrics.tsv tells it."""

    name: str
    columns: dict[
        str, np.ndarray
    ]  # float64 (epochs,), "epoch" (from 1) among them; NaN: not defined
    learned: dict[str, dict[str, np.ndarray]]  # n, theta or alpha -> class -> (epochs,)
    selected: int | None = None  # epoch of the model that was kept, if there is one

    @property
    def epochs(self) -> np.ndarray:
        return self.columns["epoch"]


def read_history(run: Path, name: str) -> History:
    """Read a run folder, or its metrics.tsv alone, whose faults are named with their line."""
    path = _metrics_of(run)
    try:
        lines = read_table(path).decode().splitlines()
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
    for i, (before, epoch) in enumerate(pairwise([0.0, *columns["epoch"]]), 2):
        if not epoch > before:
            raise ArtifactError(f"{path}:{i}: epoch {epoch:g} after epoch {before:g}")
    learned: dict[str, dict[str, np.ndarray]] = {}
    for column in header:
        if match := _LEARNED.fullmatch(column):
            learned.setdefault(match[1], {})[match[2]] = columns.pop(column)
    model = RunFolder(path.parent).model
    epoch = load_model(model).trained.get("epoch") if model.exists() else None
    return History(name, columns, learned, epoch if isinstance(epoch, int) else None)


def _metrics_of(run: Path) -> Path:
    return RunFolder(run).history if run.is_dir() else run


def _numbers(line: str, n_columns: int, where: str) -> list[float]:
    """Return the cells of a line; what is not defined is empty, or nan."""
    cells = line.split("\t")
    if len(cells) != n_columns:
        raise ArtifactError(f"{where}: {len(cells)} columns where {n_columns} are expected")
    try:
        return [float(cell) if cell not in ("", "None") else math.nan for cell in cells]
    except ValueError as error:
        raise ArtifactError(f"{where}: {error}") from None


def plot_curves(runs: Sequence[Path], output: Path, *, overwrite: bool = False) -> None:
    """Draw the learning curves of runs, finished or not: folders, or their metrics.tsv."""
    canvas.check_output(output, *map(_metrics_of, runs))
    canvas.save(draw_curves(list(map(read_history, runs, _short_names(runs)))), output, overwrite)


def _short_names(runs: Sequence[Path]) -> list[str]:
    """Return the paths of runs without what all begin with."""
    paths = [run.absolute() for run in runs]
    if len(set(paths)) < 2:
        return [str(run) for run in runs]
    common = os.path.commonpath(paths)
    return [str(path.relative_to(common)) for path in paths]


@canvas.styled()
def draw_curves(runs: Sequence[History]) -> Figure:
    """Return the figure of `plot_curves`: all runs above, then a row a run that learned exponents.

    Panels of what no run has, such as the loss parts of a mean teacher, are left out.
    """
    panels = _panels(runs)
    learning = [run for run in runs if run.learned]
    n_rows = -(-len(panels) // 2)
    heights = [3.4 * n_rows + 0.6 + 0.12 * len(runs), *(3.6,) * len(learning)]  # inches
    figure = canvas.new_figure(10.5, sum(heights))
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    top = [*parts[0].subplots(n_rows, min(len(panels), 2), squeeze=False).flat]
    for axes, (title, columns) in zip(top, panels.items(), strict=False):
        _draw_columns(axes, runs, columns)
        axes.set_ylabel(title)
    for axes in top[len(panels) :]:
        axes.remove()
    _explain_runs(parts[0], runs)
    for part, run in zip(parts[1:], learning, strict=True):
        _draw_learned(part, run)
    return figure


def _panels(runs: Sequence[History]) -> dict[str, dict[str, str]]:
    """Return the panels that have data: label of the axis -> column -> name."""
    present = dict.fromkeys(column for run in runs for column in run.columns)
    parts = {c: c.replace("_", " ") for c in present if c not in _ELSEWHERE}
    found = {
        title: {column: name for column, name in columns.items() if column in present}
        for title, columns in (_PANELS | {"part of the training loss": parts}).items()
    }
    return {title: columns for title, columns in found.items() if columns}


def _draw_columns(axes: Axes, runs: Sequence[History], columns: Mapping[str, str]) -> None:
    """Draw columns of all runs: a colour a run, a line style a column."""
    for i, run in enumerate(runs):
        chosen = run.epochs == run.selected
        for j, column in enumerate(columns):
            if column not in run.columns:
                continue
            values = run.columns[column]
            _draw_line(axes, run, values, i, j)
            if column in _OF_MODEL and chosen.any():
                axes.plot(run.epochs[chosen], values[chosen], **_selected_style(i))
    if len(columns) > 1:
        handles = [
            axes.plot([], [], color="#000000", linestyle=canvas.line(j))[0]
            for j in range(len(columns))
        ]
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}
        canvas.legend(axes, handles, columns.values(), ncols=2, handlelength=3.0, **place)
    _set_epochs(axes, np.concatenate([run.epochs for run in runs]))


def _draw_line(axes: Axes, run: History, values: np.ndarray, colour: int, line: int) -> Line2D:
    """Draw a value of each epoch, with dots where there are few."""
    style = {"color": canvas.colour(colour), "linestyle": canvas.line(line), "linewidth": 1.3}
    return axes.plot(run.epochs, values, marker="." if len(values) <= _FEW else None, **style)[0]


def _selected_style(i: int) -> dict[str, Any]:
    return {
        "color": canvas.colour(i),
        "marker": canvas.marker(i),
        "markersize": 9,
        "markeredgecolor": "#000000",
        "linestyle": "none",
    }


def _set_epochs(axes: Axes, epochs: np.ndarray) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    axes.grid(alpha=0.3)


def _explain_runs(part: Any, runs: Sequence[History]) -> None:
    """Name the runs, and the epoch of each model, below the first row."""
    handles, labels = [], []
    for i, run in enumerate(runs):
        style = _selected_style(i) if run.selected is not None else {"color": canvas.colour(i)}
        handles.append(Line2D([], [], **(style | {"linestyle": "-"})))
        epoch = f" (marked: its model, epoch {run.selected})" if run.selected is not None else ""
        labels.append(f"{canvas.shown(run.name)}{epoch}")
    canvas.legend(part, handles, labels, ncols=1 + (len(runs) > 2))


def _draw_learned(part: Any, run: History) -> None:
    """Draw what the pooling of one run learned: a line a class, named beside in their order."""
    part.suptitle(canvas.shown(run.name), fontsize="medium")
    panels = part.subplots(1, len(run.learned), squeeze=False)[0]
    for axes, (parameter, by_class) in zip(panels, run.learned.items(), strict=True):
        lines = {
            label: _draw_line(axes, run, values, i, i)
            for i, (label, values) in enumerate(by_class.items())
        }
        if run.selected is not None:
            axes.axvline(run.selected, color=canvas.GREY, linewidth=1, linestyle="--")
        axes.set_ylabel(SYMBOLS.get(parameter, parameter))
        _set_epochs(axes, run.epochs)
    order = sorted(by_class, key=lambda label: -by_class[label][-1])  # as the lines end
    canvas.legend(
        part,
        [lines[label] for label in order],
        map(canvas.shown, order),
        loc="outside right center",
        handlelength=3.5,
    )
