"""How trainings went: losses, scores, and what poolings learned, by epoch."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from sedtool.runs import RunFolder, RunSettings

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
_SHORT = 70  # characters of a label, two of which stand beside each other


@dataclass(frozen=True)
class History:
    """A run, finished or not, as its metrics.tsv tells it."""

    name: str
    columns: dict[str, np.ndarray]  # (epochs,), "epoch" (from 1) among them; NaN: not defined
    learned: dict[str, dict[str, np.ndarray]]  # n, theta or alpha -> class -> (epochs,)
    selected: int | None = None  # epoch of the model that was kept, if there is one
    seed: int | None = None  # and all other settings, if config.yaml says them
    settings: str = ""

    @property
    def epochs(self) -> np.ndarray:
        return self.columns["epoch"]


@dataclass(frozen=True)
class Curve:
    """Runs that differ in the seed alone, or one run."""

    runs: list[History]

    @property
    def name(self) -> str:
        names = [run.name for run in self.runs]
        return os.path.commonpath(names) or f"{names[0]} to {names[-1]}"

    @property
    def epochs(self) -> np.ndarray:
        return np.unique(np.concatenate([run.epochs for run in self.runs]))

    def values(self, column: str, parameter: str = "") -> np.ndarray:
        """Return a column, or what a class learned, of all runs, (R, E); NaN is not defined."""
        found = np.full((len(self.runs), len(self.epochs)), math.nan)
        for row, run in zip(found, self.runs, strict=True):
            table = run.learned.get(parameter, {}) if parameter else run.columns
            if column in table:
                row[np.searchsorted(self.epochs, run.epochs)] = table[column]
        return found

    def __str__(self) -> str:
        """Return what the legend says."""
        one, seeds = len(self.runs) == 1, ", ".join(str(run.seed) for run in self.runs)
        epochs = ", ".join(str(run.selected) for run in self.runs if run.selected)
        models = f"marked: {'its model, epoch' if one else 'their models, epochs'} {epochs}"
        told = [f"mean and range of seeds {seeds}"] * (not one) + [models] * bool(epochs)
        return canvas.shown(self.name) + (f" ({'; '.join(told)})" if told else "")


def _by_seed(runs: Sequence[History]) -> list[Curve]:
    """Put runs together that differ in the seed alone."""
    found: dict[tuple[Any, ...], list[History]] = {}
    for i, run in enumerate(runs):
        copies = sum((run.settings, run.seed) == (other.settings, other.seed) for other in runs[:i])
        found.setdefault((run.settings, copies if run.settings else i), []).append(run)
    return list(map(Curve, found.values()))


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
    folder = RunFolder(path.parent)
    epoch = load_model(folder.model).trained.get("epoch") if folder.model.exists() else None
    selected = epoch if isinstance(epoch, int) else None
    return History(name, columns, learned, selected, *_settings(folder.config))


def _settings(config: Path) -> tuple[int | None, str]:
    """Return the seed of a run, and all its other settings; nothing where config.yaml is not."""
    if not config.exists():
        return None, ""
    settings = RunSettings.read(config)
    others = replace(settings, config=replace(settings.config, seed=0))
    return settings.config.seed, repr(others)


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
    """Return the figure of `plot_curves`: all above, then a row for each that learned exponents.

    Runs that differ in the seed alone are one curve: their mean as far as all have come, and the
    range from the lowest to the highest. Panels of what no run has, such as the loss parts of a
    mean teacher, are left out.
    """
    panels, curves = _panels(runs), _by_seed(runs)
    learning = [curve for curve in curves if curve.runs[0].learned]
    n_rows = -(-len(panels) // 2)
    heights = [3.4 * n_rows + 0.6 + 0.2 * len(curves), *(3.6,) * len(learning)]  # inches
    figure = canvas.new_figure(10.5, sum(heights))
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    top = [*parts[0].subplots(n_rows, min(len(panels), 2), squeeze=False).flat]
    for axes, (title, columns) in zip(top, panels.items(), strict=False):
        _draw_columns(axes, curves, columns)
        axes.set_ylabel(title)
    for axes in top[len(panels) :]:
        axes.remove()
    _explain(parts[0], curves)
    for part, curve in zip(parts[1:], learning, strict=True):
        _draw_learned(part, curve)
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


def _draw_columns(axes: Axes, curves: Sequence[Curve], columns: Mapping[str, str]) -> None:
    """Draw columns of all curves: a colour a curve, a line style a column."""
    for i, curve in enumerate(curves):
        for j, column in enumerate(columns):
            having = [run for run in curve.runs if column in run.columns]
            if not having:
                continue
            _draw_line(axes, curve, curve.values(column), i, j)
            for run in having if column in _OF_MODEL else ():
                chosen = run.epochs == run.selected
                axes.plot(run.epochs[chosen], run.columns[column][chosen], **_selected_style(i))
    if len(columns) > 1:
        handles = [
            axes.plot([], [], color="#000000", linestyle=canvas.line(j))[0]
            for j in range(len(columns))
        ]
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}
        canvas.legend(axes, handles, columns.values(), ncols=2, handlelength=3.0, **place)
    _set_epochs(axes, np.concatenate([curve.epochs for curve in curves]))


def _draw_line(axes: Axes, curve: Curve, values: np.ndarray, colour: int, line: int) -> Line2D:
    """Draw values (R, E), with dots where there are few; of several runs, mean and range."""
    style = {"color": canvas.colour(colour), "linestyle": canvas.line(line), "linewidth": 1.3}
    if len(values) > 1:
        ends = np.fmin.reduce(values), np.fmax.reduce(values)
        axes.fill_between(curve.epochs, *ends, color=style["color"], alpha=0.2, linewidth=0.5)
    marker = "." if values.shape[1] <= _FEW else None
    return axes.plot(curve.epochs, values.mean(axis=0), marker=marker, **style)[0]


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


def _explain(part: Any, curves: Sequence[Curve]) -> None:
    """Name the curves, and the epoch of each model, below the first row."""
    handles, labels = [], list(map(str, curves))
    for i, label in enumerate(labels):
        style = _selected_style(i) if "marked: " in label else {"color": canvas.colour(i)}
        handles.append(Line2D([], [], **(style | {"linestyle": "-"})))
    is_wide = len(curves) < 3 or max(map(len, labels)) > _SHORT
    canvas.legend(part, handles, labels, ncols=1 if is_wide else 2)


def _draw_learned(part: Any, curve: Curve) -> None:
    """Draw what the pooling of one curve learned: a line a class, named beside in their order."""
    part.suptitle(canvas.shown(curve.name), fontsize="medium")
    panels = part.subplots(1, len(curve.runs[0].learned), squeeze=False)[0]
    for axes, (parameter, by_class) in zip(panels, curve.runs[0].learned.items(), strict=True):
        lines = {
            label: _draw_line(axes, curve, curve.values(label, parameter), i, i)
            for i, label in enumerate(by_class)
        }
        for run in curve.runs:
            if run.selected is not None:
                axes.axvline(run.selected, color=canvas.GREY, linewidth=1, linestyle="--")
        axes.set_ylabel(SYMBOLS.get(parameter, parameter))
        _set_epochs(axes, curve.epochs)
    order = sorted(by_class, key=lambda label: -by_class[label][-1])  # as the lines end
    canvas.legend(
        part,
        [lines[label] for label in order],
        map(canvas.shown, order),
        loc="outside right center",
        handlelength=3.5,
    )
