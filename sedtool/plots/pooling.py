"""What the pooling of each model learned, class by class."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sedtool.checkpoint import Model, load_model
from sedtool.errors import ConfigError
from sedtool.labels import read_events
from sedtool.plots import canvas
from sedtool.runs import find_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYMBOLS = {"n": "exponent n", "alpha": "sharpness α", "theta": "θ = n / (n + 1)"}


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
    canvas.check_output(output, overwrite, *models, durations_from)
    loaded = [(str(path), load_model(path)) for path in models]
    durations = read_events(durations_from).mean_durations() if durations_from else None
    canvas.save(draw_pooling(loaded, durations), output)


def learned_by_class(label: str, model: Model) -> tuple[str, dict[str, float]]:
    """Return the name of what a model's pooling learns, and its value for each class."""
    learned = model.detector.pooling.learned()
    if not learned:
        raise ConfigError(f"{label}: {model.pooling.name} pooling learns nothing of a class")
    name, values = next(iter(learned.items()))
    return name, dict(zip(model.classes, values, strict=True))


@canvas.styled
def draw_pooling(
    models: Sequence[tuple[str, Model]], durations: dict[str, float] | None
) -> "Figure":
    """Return the figure of `plot_pooling`, of labels and models with one class list.

    `durations` are the mean event durations of classes, seconds.
    """
    classes = models[0][1].classes
    order = sorted(classes, key=lambda c: durations.get(c, np.inf)) if durations else list(classes)
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
    known = durations or {}
    ticks = [canvas.shown(c) + (f"\n{known[c]:.2g} s" if c in known else "") for c in order]
    axes.set_xticks(range(len(order)), ticks, rotation=45, ha="right")
    axes.set_xlabel("class, by mean event duration" if durations else "class")
    axes.set_ylabel(" / ".join(f"learned {SYMBOLS.get(n, n)}" for n in sorted(names)))
    axes.grid(axis="y", alpha=0.3)
    labels = [canvas.shown(label) for label, _ in models]
    if "n" in names:
        handles.append(axes.axhline(1.0, color=canvas.GREY, linestyle="--", linewidth=1))
        labels.append("linear pooling")
    if len(handles) > 1:
        canvas.legend(figure, handles, labels)
    return figure
