"""Several models on one class in one clip: probabilities, and which way the loss pushes frames.

The power-pooling paper's Fig. 2. Axis letters: T frames, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sedtool.checkpoint import Model, load_model
from sedtool.config import FeatureConfig
from sedtool.datasets import FeatureSet
from sedtool.errors import ConfigError
from sedtool.labels import NameIndex, Vocabulary
from sedtool.plots import canvas
from sedtool.plots.clip import draw_spectrogram, find_clip, reference_events
from sedtool.plots.gradients import gradient_signs, run_network, sign_change
from sedtool.pooling import PowerPooling
from sedtool.runs import find_model

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Interval = tuple[float, float]  # onset and offset, seconds


@dataclass(frozen=True)
class FrameCurve:
    """The output of a model for one class in one clip."""

    name: str  # of the pooling
    epoch: int | None  # of the model
    n: float | None  # learned exponent of the class
    frame: np.ndarray  # frame probabilities, (T,)
    frame_rate: float  # frames a second
    y_c: float  # clip probability
    sign: np.ndarray  # of dy_c/dy_i: 1, 0 or -1, (T,)
    threshold: float | None  # where the sign changes; None if it does not

    @property
    def times(self) -> np.ndarray:
        """Return the middle of each frame in seconds, (T,)."""
        return canvas.frame_times(len(self.frame), self.frame_rate)

    def within(self, reference: Sequence[Interval]) -> np.ndarray:
        """Return whether the middle of each frame lies in an interval, bool (T,)."""
        inside = np.zeros(len(self.frame), bool)
        for onset, offset in reference:
            inside |= (self.times >= onset) & (self.times < offset)
        return inside

    def right(self, reference: Sequence[Interval]) -> np.ndarray:
        """Return the frames that a positive clip pushes the right way, bool (T,).

        Up inside the reference intervals, down outside. A frame that is left alone is not pushed.
        """
        wanted = np.where(self.within(reference), 1, -1)
        return np.asarray(self.sign == wanted)


def plot_frames(
    features: Path,
    name: str,
    label: str,
    models: Sequence[Path],
    output: Path,
    *,
    reference: Path | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Draw the frame probabilities of models for one class of one clip, with their thresholds.

    Parameters
    ----------
    features
        File that holds the clip.
    name
        Of the clip: its path, or its basename where that is unique.
    label
        The class.
    models
        Model files, such as those that ``train --keep-epochs`` keeps, or run folders.
    output
        PNG, SVG or PDF by its suffix.
    reference
        Strong labels that name the clip.
    overwrite
        Replace an existing picture.

    Returns
    -------
    list of str
        A line a model: its clip probability and thresholds, and, with a reference, the share of
        frames that are pushed the right way.

    Raises
    ------
    LabelError
        If a file does not have the clip, or a model the class.
    ArtifactError
        If the features are not of a model's kind.
    ConfigError
        If the clip is longer than a model's scoring window, or a folder holds no model.
    """
    models = [find_model(path) for path in models]
    canvas.check_output(output, overwrite, features, *models, reference)
    stored = FeatureSet([features])
    clip = find_clip(NameIndex(stored.place), name, features)
    events = reference_events(reference, name) if reference is not None else []
    intervals = [(event.onset, event.offset) for event in events if event.label == label]
    curves = []
    for path in models:
        model = load_model(path)
        stored.require(model.features)
        Vocabulary(model.classes).require([label], path)
        if stored.duration(clip) > model.window + 1 / model.frame_rate:
            raise ConfigError(
                f"{clip} is {stored.duration(clip):g} s long, and {path} pools over windows of "
                f"{model.window:g} s: such a clip has no threshold of its own; choose a shorter one"
            )
        curves.append(frame_curve(model, stored.clip(clip), label))
    title = f"{label} in {clip}"
    canvas.save(draw_frames(stored.clip(clip), stored.config, curves, title, intervals), output)
    lines = [_title(curve, intervals) for curve in curves]
    return [f"{path}: {line}" for path, line in zip(models, lines, strict=True)]


def frame_curve(model: Model, features: np.ndarray, label: str) -> FrameCurve:
    """Run a model over the features (T, F) of one clip."""
    k, pooling = model.classes.index(label), model.detector.pooling
    logits, hidden = run_network(model, features)
    y_c, sign = gradient_signs(model, logits, hidden, k)
    is_power = isinstance(pooling, PowerPooling)
    return FrameCurve(
        model.pooling.name,
        model.trained.get("epoch"),
        pooling.learned()["n"][k] if is_power else None,
        logits[0, :, k].sigmoid().numpy(),
        model.frame_rate,
        y_c,
        sign,
        sign_change(pooling, k, y_c),
    )


@canvas.styled
def draw_frames(
    spectrogram: np.ndarray,
    features: FeatureConfig,
    curves: Sequence[FrameCurve],
    title: str,
    reference: Sequence[Interval],
) -> "Figure":
    """Return the figure of `plot_frames`, of log-mel features (T, F) and the models' curves."""
    figure = canvas.new_figure(9.0, 2.9 + 2.5 * len(curves))
    axes = figure.subplots(
        1 + len(curves), 1, sharex=True, height_ratios=(2.2, *(2.5,) * len(curves))
    )
    draw_spectrogram(axes[0], spectrogram, features)
    axes[0].set_title(canvas.shown(title))
    handles: dict[str, Artist] = {}
    for below, curve in zip(axes[1:], curves, strict=True):
        _draw_curve(below, curve, reference, handles)
        below.set_title(_title(curve, reference), fontsize="small", loc="left")
    axes[-1].set_xlim(0, len(spectrogram) / features.frame_rate)
    axes[-1].set_xlabel("time (s)")
    canvas.legend(figure, handles.values(), handles, ncols=3, handlelength=3.0)
    figure.align_ylabels()
    return figure


def _draw_curve(
    axes: "Axes", curve: FrameCurve, reference: Sequence[Interval], handles: dict[str, "Artist"]
) -> None:
    """Draw one model; the first artist of each kind goes to `handles`, for the legend."""
    for span in canvas.mark_intervals(axes, reference):
        handles.setdefault("reference", span)
    (line,) = axes.plot(curve.times, curve.frame, color="#000000", linewidth=1.4)
    handles.setdefault("frame probability y", line)
    level = axes.axhline(curve.y_c, color="#009E73", linewidth=1.2, linestyle=":")
    handles.setdefault("clip probability y_c", level)
    if curve.threshold is not None:
        own = axes.axhline(curve.threshold, color=canvas.ORANGE, linewidth=1.6, linestyle="--")
        handles.setdefault("own threshold d: above it y is pushed up", own)
    if curve.n is not None:
        linear = axes.axhline(curve.y_c / 2, color=canvas.BLUE, linewidth=1.4, linestyle="-.")
        handles.setdefault("threshold of linear pooling, y_c / 2", linear)
    if reference:
        _draw_pushes(axes, curve, curve.right(reference), handles)
    axes.set_ylim(-0.14 if reference else -0.02, 1.04)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_ylabel("frame probability")


def _draw_pushes(
    axes: "Axes", curve: FrameCurve, right: np.ndarray, handles: dict[str, "Artist"]
) -> None:
    """Draw a strip below zero: which frames are pushed the right way, bool (T,), and which not."""
    styles = (
        (right, canvas.BLUE, None, "gradient of the right sign"),
        (~right, "#E69F00", "////", "gradient of the wrong sign, or none"),
    )
    for frames, colour, hatch, label in styles:
        changes = np.flatnonzero(np.diff(frames, prepend=False, append=False))
        starts, stops = changes.reshape(-1, 2).T / curve.frame_rate
        bars = list(zip(starts, stops - starts, strict=True))
        drawn = axes.broken_barh(
            bars, (-0.12, 0.08), facecolor=colour, hatch=hatch, edgecolor="white", lw=0
        )
        handles.setdefault(label, drawn)


def _title(curve: FrameCurve, reference: Sequence[Interval]) -> str:
    """Say in one line how a model pools the clip."""
    epoch = f", epoch {curve.epoch}" if curve.epoch is not None else ""
    parts = [f"y_c = {curve.y_c:.3f}"]
    if curve.n is not None:
        parts.append(f"n = {curve.n:.3f}")
    if curve.threshold is None:
        parts.append("no threshold")
    else:
        parts.append(f"d = {curve.threshold:.3f} ({curve.threshold / curve.y_c:.3f} y_c)")
    if reference:
        share = float(curve.right(reference).mean())
        parts.append(f"{100 * share:.1f} % of gradients of the right sign")
    return f"{curve.name}{epoch}: {', '.join(parts)}"
