"""What poolings learned of each class: model beside model, and against how long its events are.

The latter is the power-pooling paper's Fig. 3. Axis letters: S seeds, K classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from scipy.stats import rankdata

from sedtool.checkpoint import Model, load_model
from sedtool.config.evaluation import CorrelationConfig
from sedtool.draws import generator
from sedtool.errors import ConfigError, LabelError
from sedtool.labels import read_events
from sedtool.plots import canvas
from sedtool.pooling import make_pooling
from sedtool.runs import find_model, find_models
from sedtool.text import counted, quoted

SYMBOLS = {"n": "exponent n", "alpha": "sharpness α", "theta": "θ = n / (n + 1)"}


def learned_by_class(label: str, model: Model) -> tuple[str, dict[str, float]]:
    """Return the name of what a model's pooling learns, and its value for each class."""
    if model.others:
        raise ConfigError(f"{label} is an ensemble; give one of the models that it was made of")
    learned = model.learned()
    if not learned:
        raise ConfigError(f"{label}: {model.pooling.name} pooling learns nothing of a class")
    started = make_pooling(model.pooling, len(model.classes), 1).learned()
    if model.trained.get("step") and learned == started:
        raise ConfigError(
            f"{label}: {model.pooling.name} pooling learned nothing of a class: it is as it "
            "started, as without a clip loss (--strong-clip-loss) or with learned=0"
        )
    name, values = next(iter(learned.items()))
    return name, dict(zip(model.classes, values, strict=True))


# Model beside model


def plot_pooling(
    models: Sequence[Path],
    output: Path,
    *,
    durations_from: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Draw what the pooling of each model, a file or that of a run folder, learned of each class.

    With `durations_from`, strong labels, classes stand in the order of their mean event duration
    (the order of Fig. 3 of the power-pooling paper).
    """
    models = [find_model(path) for path in models]
    canvas.check_output(output, *models, durations_from)
    loaded = [(str(path), load_model(path)) for path in models]
    durations = read_events(durations_from).mean_durations() if durations_from else {}
    canvas.save(draw_pooling(loaded, durations), output, overwrite)


@canvas.styled()
def draw_pooling(models: Sequence[tuple[str, Model]], durations: Mapping[str, float]) -> Figure:
    """Return the figure of `plot_pooling`, of labels and models with one class list.

    `durations` are the mean event durations of classes, seconds.
    """
    classes = models[0][1].classes
    order = sorted(classes, key=lambda c: durations.get(c, np.inf))
    figure = canvas.new_figure(max(5.0, 1.5 + 0.75 * len(classes)), 4.5)
    axes = figure.subplots()
    names, handles = set(), []
    for i, (label, model) in enumerate(models):
        name, by_class = learned_by_class(label, model)
        if model.classes != classes:
            raise ConfigError(f"{label} has other classes than {models[0][0]}")
        names.add(name)
        heights, colour = [by_class[c] for c in order], canvas.colour(i)
        handles += axes.plot(heights, canvas.marker(i), color=colour, markersize=8, alpha=0.85)
    ticks = [canvas.shown(c) + (f"\n{durations[c]:.2g} s" if c in durations else "") for c in order]
    axes.set_xticks(range(len(order)), ticks, rotation=45, ha="right")
    axes.set_xlabel("class, by mean event duration" if durations else "class")
    axes.set_ylabel(" / ".join(f"learned {SYMBOLS.get(n, n)}" for n in sorted(names)))
    axes.grid(axis="y", alpha=0.3)
    labels = [canvas.shown(label) for label, _ in models]
    if "n" in names:
        handles.append(_mark_linear(axes))
        labels.append("linear pooling")
    if len(handles) > 1:
        canvas.legend(figure, handles, labels)
    return figure


def _mark_linear(axes: Axes) -> Any:
    """Draw the exponent with which power pooling is linear pooling."""
    return axes.axhline(1.0, color=canvas.GREY, linestyle="--", linewidth=1)


# Against the durations of events


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ and its percentile interval; NaN where it is not defined."""

    rho: float
    low: float
    high: float
    level: float  # of the interval

    def __str__(self) -> str:
        if math.isnan(self.rho):
            return "ρ not defined"
        return (
            f"ρ = {self.rho:.2f}, {100 * self.level:g} % interval {self.low:.2f} to {self.high:.2f}"
        )


def rank_correlation(
    durations: np.ndarray, values: np.ndarray, config: CorrelationConfig
) -> RankCorrelation:
    """Return the rank correlation of durations, (K,), and the mean of values, (S, K), over seeds.

    The interval is that of a percentile bootstrap, which draws classes and seeds anew, both with
    replacement: another choice of classes, and other trainings. All is NaN where durations or
    values are all equal; resamples where they are do not count.
    """
    rho = float(_spearman(durations[None], values.mean(axis=0)[None])[0])
    if math.isnan(rho):
        return RankCorrelation(math.nan, math.nan, math.nan, config.level)
    draws = generator("rank correlation", config.seed)
    n_seeds, n_classes = values.shape
    classes = draws.integers(n_classes, size=(config.resamples, n_classes))  # (R, K)
    seeds = draws.integers(n_seeds, size=(config.resamples, n_seeds))  # (R, S)
    counts = (seeds[:, :, None] == np.arange(n_seeds)).sum(axis=1)  # (R, S), how often each
    means = counts @ values / n_seeds  # (R, K)
    drawn = _spearman(durations[classes], np.take_along_axis(means, classes, axis=1))
    tail = (1 - config.level) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return RankCorrelation(rho, float(low), float(high), config.level)


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Spearman's ρ of each row of (R, K); ties have their mean rank, constants none."""
    ranks = [rankdata(side, axis=1) for side in (x, y)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    product = (a * b).sum(axis=1)
    undefined = np.full(len(x), np.nan)
    return np.asarray(np.divide(product, scale, out=undefined, where=scale > 0))


@dataclass(frozen=True)
class ClassExponents:
    """What trainings on one data set learned of its classes."""

    name: str  # of the data set
    parameter: str  # what is learned: n or alpha
    classes: tuple[str, ...]
    durations: np.ndarray  # mean event duration, seconds (K,)
    values: np.ndarray  # of each training and class, (S, K)
    boundary: float  # seconds; classes whose events are shorter are the short ones

    @property
    def mean(self) -> np.ndarray:
        return np.asarray(self.values.mean(axis=0))  # over trainings, (K,)

    @property
    def bars(self) -> np.ndarray:
        return np.stack([self.values.min(axis=0), self.values.max(axis=0)])  # (2, K)

    def groups(self) -> dict[str, np.ndarray]:
        """Return which classes have short and which long events, bool (K,), if there are any."""
        short = self.durations < self.boundary
        groups = {"shorter": short, "longer": ~short}
        return {word: chosen for word, chosen in groups.items() if chosen.any()}


def plot_durations(
    data: Sequence[str],
    output: Path,
    *,
    boundaries: Sequence[str] = (),
    correlation: CorrelationConfig | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Draw what poolings learned against the mean duration of each class's events.

    `data` are ``NAME=MODELS:STRONG``: a model file, a run folder or a folder of runs, and the
    strong labels that tell durations. A name that is given again adds models. `boundaries` are
    ``NAME=SECONDS``: where classes are parted into short and long, by default at their median.

    Return a line for each data set, and for all together if they are several: the rank correlation
    and the mean of each group.

    Raises
    ------
    ConfigError
        If a text is not of this form, a path holds no model, or a pooling learns nothing.
    """
    sources = _parse_data(data)
    inputs = [path for models, strong in sources.values() for path in (*models, strong)]
    canvas.check_output(output, *inputs)
    limits = _parse_boundaries(boundaries, sources)
    sets = [_read(name, *source, limits.get(name)) for name, source in sources.items()]
    parameters = {entry.parameter for entry in sets}
    if len(parameters) > 1:
        raise ConfigError(
            f"{' and '.join(sorted(parameters))} are no one quantity: draw models of power pooling "
            "and of auto poolings apart"
        )
    config = correlation or CorrelationConfig()
    found = {s.name: rank_correlation(s.durations, s.values, config) for s in sets}
    if (
        len(sets) > 1
    ):  # of means: trainings of one data set have nothing to do with those of another
        means = np.concatenate([s.mean for s in sets])[None]
        seconds = np.concatenate([s.durations for s in sets])
        found["all"] = rank_correlation(seconds, means, config)
    canvas.save(draw_durations(sets, found), output, overwrite)
    lines = [_describe(entry, found[entry.name]) for entry in sets]
    return lines + ([f"all classes: {found['all']}"] if "all" in found else [])


def _parse_data(texts: Sequence[str]) -> dict[str, tuple[list[Path], Path]]:
    """Return the models of each data set, and its strong labels."""
    sources: dict[str, tuple[list[Path], Path]] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        paths, colon, strong = rest.rpartition(":")
        if not (name and equals and paths and colon and strong):
            raise ConfigError(f"--data {text}: expected NAME=MODELS:STRONG.tsv")
        models, before = sources.setdefault(name, ([], Path(strong)))
        models += find_models(Path(paths))
        if before != Path(strong):
            raise ConfigError(f"--data {name} is given with both {before} and {strong}")
    return sources


def _parse_boundaries(texts: Sequence[str], names: Mapping[str, Any]) -> dict[str, float]:
    limits: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            limits[name] = float(number)
        except ValueError:
            limits[name] = math.nan
        if not (name and 0 < limits[name] < math.inf):
            raise ConfigError(f"--boundary {text}: expected NAME=SECONDS")
        if name not in names:
            raise ConfigError(
                f"--boundary {text}: no data set {quoted(name)}; one of: {', '.join(names)}"
            )
    return limits


def _read(name: str, models: list[Path], strong: Path, boundary: float | None) -> ClassExponents:
    """Read the models and the durations of one data set."""
    durations = read_events(strong).mean_durations()
    rows: list[dict[str, float]] = []
    parameter = ""
    for path in models:
        before, (parameter, learned) = parameter, learned_by_class(str(path), load_model(path))
        if rows and (before, [*rows[0]]) != (parameter, [*learned]):
            raise ConfigError(
                f"{path} learned another quantity, or of other classes, than {models[0]}"
            )
        rows.append(learned)
    if unknown := [label for label in rows[0] if label not in durations]:
        raise LabelError(f"{strong}: no event tells how long {', '.join(unknown)} lasts")
    classes = tuple(sorted(rows[0], key=lambda label: (durations[label], label)))
    seconds = np.array([durations[label] for label in classes])
    values = np.array([[row[label] for label in classes] for row in rows])
    limit = float(np.median(seconds)) if boundary is None else boundary
    return ClassExponents(name, parameter, classes, seconds, values, limit)


def _describe(entry: ClassExponents, correlation: RankCorrelation) -> str:
    """Say in one line what trainings on a data set learned."""
    means = []
    for word, chosen in entry.groups().items():
        seconds, mean = entry.durations[chosen], entry.mean[chosen].mean()
        span = f"{seconds.min():.2g} to {seconds.max():.2g} s"
        means.append(f"{word} classes {span}, mean {entry.parameter} {mean:.3f}")
    trainings = counted(len(entry.values), "training")
    return f"{entry.name} ({trainings}): {correlation}; {'; '.join(means)}"


@canvas.styled()
def draw_durations(sets: Sequence[ClassExponents], found: Mapping[str, RankCorrelation]) -> Figure:
    """Return the figure of `plot_durations`, with the rank correlation of each data set by name."""
    n_classes = sum(len(entry.classes) for entry in sets)
    figure = canvas.new_figure(10.0, 5.5 + 0.12 * n_classes)
    axes = figure.subplots()
    axes.set_xscale("log")
    handles = [_draw_set(axes, entry, i) for i, entry in enumerate(sets)]
    labels = [f"{canvas.shown(entry.name)}: {found[entry.name]}" for entry in sets]
    symbol = SYMBOLS.get(sets[0].parameter, sets[0].parameter)
    if sets[0].parameter == "n":
        handles.append(_mark_linear(axes))
        labels.append("linear pooling, n = 1")
    handles += axes.plot([], [], "o", color="#000000", markerfacecolor="none")
    labels.append("open: longer events of a data set; bars: mean of each group")
    if "all" in found:
        handles += axes.plot([], [], " ")
        labels.append(f"all data sets: {found['all']}")
    axes.set_xlabel("mean event duration of the class (s)")
    spread = ", mean and range over trainings" if any(len(s.values) > 1 for s in sets) else ""
    axes.set_ylabel(f"learned {symbol}{spread}")
    axes.grid(alpha=0.3)
    axes.margins(0.08, 0.12)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    canvas.legend(figure, handles, labels)
    points = [
        canvas.NamedPoint(x, y, bar, canvas.shown(label), canvas.colour(i))
        for i, entry in enumerate(sets)
        for x, y, bar, label in zip(
            entry.durations, entry.mean, entry.bars.T, entry.classes, strict=True
        )
    ]
    canvas.place_names(figure, axes, points)
    return figure


def _draw_set(axes: Axes, entry: ClassExponents, i: int) -> Any:
    """Draw one data set, its classes and a bar at the mean of each group; return its first part."""
    drawn = []
    for word, chosen in entry.groups().items():
        x, y = entry.durations[chosen], entry.mean[chosen]
        bars = axes.errorbar(
            x,
            y,
            yerr=np.abs(entry.bars[:, chosen] - y) if len(entry.values) > 1 else None,
            fmt=canvas.marker(i),
            color=canvas.colour(i),
            markerfacecolor=canvas.colour(i) if word == "shorter" else "white",
            markersize=8,
            elinewidth=1,
            capsize=2,
        )
        drawn.append(bars)
        ends = x.min() / 1.03, x.max() * 1.03
        axes.hlines(y.mean(), *ends, color=canvas.colour(i), alpha=0.3, linewidth=4, zorder=0)
    return drawn[0]
