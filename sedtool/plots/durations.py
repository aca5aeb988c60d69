"""What poolings learned of each class against how long its events are.

The power-pooling paper's Fig. 3. Axis letters: S seeds, K classes.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from sedtool.checkpoint import load_model
from sedtool.config.figures import CorrelationConfig
from sedtool.draws import generator
from sedtool.errors import ConfigError, LabelError
from sedtool.labels import read_events
from sedtool.plots import canvas
from sedtool.plots.pooling import SYMBOLS, learned_by_class
from sedtool.runs import find_models
from sedtool.text import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    """Return the rank correlation of durations and the mean of values over seeds.

    The interval is that of a percentile bootstrap, which draws classes and seeds anew, both with
    replacement: another choice of classes, and other trainings. All is NaN where durations or
    values are all equal; resamples where they are do not count.

    Parameters
    ----------
    durations
        One for each class, shape (K,).
    values
        Learned for each class by each training, shape (S, K).
    config
        Number of resamples, level and seed.
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
    def short(self) -> np.ndarray:
        """Return which classes have short events, bool (K,)."""
        return np.asarray(self.durations < self.boundary)

    def groups(self) -> dict[str, np.ndarray]:
        """Return which classes are in the group of short and in that of long events."""
        return {"shorter": self.short, "longer": ~self.short}


def plot_durations(
    data: Sequence[str],
    output: Path,
    *,
    boundaries: Sequence[str] = (),
    correlation: CorrelationConfig | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Draw what poolings learned against the mean duration of each class's events.

    Parameters
    ----------
    data
        ``NAME=MODELS:STRONG`` of each data set: MODELS is a model file, a run folder or a folder of
        runs; STRONG is the strong labels that tell durations. A name that is given again adds
        models.
    output
        PNG, SVG or PDF by its suffix.
    boundaries
        ``NAME=SECONDS``: where a data set's classes are parted into short and long; the median of
        its classes where it is not given.
    correlation
        How the interval of the rank correlation is found.
    overwrite
        Replace an existing picture.

    Returns
    -------
    list of str
        For each data set, and for all together if they are several, the rank correlation and the
        mean of each group.

    Raises
    ------
    ConfigError
        If a text is not of this form, a path holds no model, or a pooling learns nothing.
    LabelError
        If no event tells the duration of a class.
    """
    sources = _parse_data(data)
    canvas.check_output(
        output, overwrite, *(p for s in sources.values() for p in (*s.models, s.strong))
    )
    limits = _parse_boundaries(boundaries, sources)
    sets = [_read(name, source, limits.get(name)) for name, source in sources.items()]
    parameters = {entry.parameter for entry in sets}
    if len(parameters) > 1:
        raise ConfigError(
            f"{' and '.join(sorted(parameters))} are no one quantity: draw models of power pooling "
            "and of auto poolings apart"
        )
    found = correlations(sets, correlation or CorrelationConfig())
    canvas.save(draw_durations(sets, found), output)
    return _describe(sets, found)


@dataclass(frozen=True)
class _Source:
    """The files of a data set."""

    models: tuple[Path, ...]
    strong: Path


def _parse_data(texts: Sequence[str]) -> dict[str, _Source]:
    sources: dict[str, _Source] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        models, colon, strong = rest.rpartition(":")
        if not (name and equals and models and colon and strong):
            raise ConfigError(f"--data {text}: expected NAME=MODELS:STRONG.tsv")
        before = sources.get(name, _Source((), Path(strong)))
        found = find_models(Path(models))
        if before.strong != Path(strong):
            raise ConfigError(f"--data {name} is given with both {before.strong} and {strong}")
        sources[name] = _Source((*before.models, *found), before.strong)
    return sources


def _parse_boundaries(texts: Sequence[str], sources: Mapping[str, _Source]) -> dict[str, float]:
    limits: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            seconds = float(number)
        except ValueError:
            seconds = math.nan
        if not (name and 0 < seconds < math.inf):
            raise ConfigError(f"--boundary {text}: expected NAME=SECONDS")
        if name not in sources:
            raise ConfigError(
                f"--boundary {text}: no data set {name!r}; one of: {', '.join(sources)}"
            )
        limits[name] = seconds
    return limits


def _read(name: str, source: _Source, boundary: float | None) -> ClassExponents:
    """Read the models and the durations of one data set."""
    durations = read_events(source.strong).mean_durations()
    rows: list[dict[str, float]] = []
    parameter, classes = "", tuple[str, ...]()
    for path in source.models:
        model = load_model(path)
        parameter_here, learned = learned_by_class(str(path), model)
        if rows and (parameter_here, model.classes) != (parameter, classes):
            raise ConfigError(
                f"{path} learned another quantity, or of other classes, than {source.models[0]}"
            )
        parameter, classes = parameter_here, model.classes
        rows.append(learned)
    unknown = [label for label in classes if label not in durations]
    if unknown:
        raise LabelError(f"{source.strong}: no event tells how long {', '.join(unknown)} lasts")
    order = sorted(classes, key=lambda label: (durations[label], label))
    seconds = np.array([durations[label] for label in order])
    limit = statistics.median(seconds.tolist()) if boundary is None else boundary
    values = np.array([[row[label] for label in order] for row in rows])
    return ClassExponents(name, parameter, tuple(order), seconds, values, limit)


def correlations(
    sets: Sequence[ClassExponents], config: CorrelationConfig
) -> dict[str, RankCorrelation]:
    """Return the rank correlation of each data set, and of all together under ``all``.

    Together, the means over trainings are taken as they are: the trainings of one data set have
    nothing to do with those of another.
    """
    found = {s.name: rank_correlation(s.durations, s.values, config) for s in sets}
    if len(sets) > 1:
        together = np.concatenate([s.mean for s in sets])[None]
        seconds = np.concatenate([s.durations for s in sets])
        found["all"] = rank_correlation(seconds, together, config)
    return found


def _describe(sets: Sequence[ClassExponents], found: Mapping[str, RankCorrelation]) -> list[str]:
    lines = []
    for entry in sets:
        means = [
            f"{word} classes {entry.durations[chosen].min():.2g} to "
            f"{entry.durations[chosen].max():.2g} s, mean {entry.parameter} "
            f"{entry.mean[chosen].mean():.3f}"
            for word, chosen in entry.groups().items()
            if chosen.any()
        ]
        trainings = counted(len(entry.values), "training")
        lines.append(f"{entry.name} ({trainings}): {found[entry.name]}; {'; '.join(means)}")
    return lines + ([f"all classes: {found['all']}"] if "all" in found else [])


@canvas.styled
def draw_durations(
    sets: Sequence[ClassExponents], found: Mapping[str, RankCorrelation]
) -> "Figure":
    """Return the figure of `plot_durations`, with the rank correlation of each data set by name."""
    from matplotlib.ticker import LogLocator, NullLocator

    n_classes = sum(len(entry.classes) for entry in sets)
    figure = canvas.new_figure(10.0, 5.5 + 0.12 * n_classes)
    axes = figure.subplots()
    axes.set_xscale("log")
    handles: list[Any] = []
    labels: list[str] = []
    for i, entry in enumerate(sets):
        handles.append(_draw_set(axes, entry, i))
        labels.append(f"{canvas.shown(entry.name)}: {found[entry.name]}")
    symbol = SYMBOLS.get(sets[0].parameter, sets[0].parameter)
    if sets[0].parameter == "n":
        handles.append(axes.axhline(1.0, color=canvas.GREY, linestyle="--", linewidth=1))
        labels.append("linear pooling, n = 1")
    handles.append(axes.plot([], [], "o", color="#000000", markerfacecolor="none")[0])
    labels.append("open: longer events of a data set; bars: mean of each group")
    if "all" in found:
        handles.append(axes.plot([], [], " ")[0])
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
    canvas.place_names(
        figure, axes, [point for i, entry in enumerate(sets) for point in _points(entry, i)]
    )
    return figure


def _points(entry: ClassExponents, i: int) -> list[canvas.NamedPoint]:
    """Return the classes of a data set, as what names are to be written beside."""
    low, high = entry.values.min(axis=0), entry.values.max(axis=0)
    columns = zip(entry.durations, entry.mean, low, high, entry.classes, strict=True)
    return [
        canvas.NamedPoint(x, y, (a, b), canvas.shown(label), canvas.colour(i))
        for x, y, a, b, label in columns
    ]


def _draw_set(axes: "Axes", entry: ClassExponents, i: int) -> Any:
    """Draw one data set: its classes, and a bar at the mean of each group."""
    handle = None
    low, high = entry.values.min(axis=0), entry.values.max(axis=0)
    for word, chosen in entry.groups().items():
        if not chosen.any():
            continue
        x, y = entry.durations[chosen], entry.mean[chosen]
        drawn = axes.errorbar(
            x,
            y,
            yerr=[y - low[chosen], high[chosen] - y] if len(entry.values) > 1 else None,
            fmt=canvas.marker(i),
            color=canvas.colour(i),
            markerfacecolor=canvas.colour(i) if word == "shorter" else "white",
            markersize=8,
            elinewidth=1,
            capsize=2,
        )
        ends = x.min() / 1.03, x.max() * 1.03
        axes.hlines(y.mean(), *ends, color=canvas.colour(i), alpha=0.3, linewidth=4, zorder=0)
        handle = handle or drawn
    return handle
