"""Which frames a pooling pushes up or down: in one clip for every pooling, and for trained models.

The power-pooling paper's Fig. 2 is `plot_frames`. Axis letters: T frames, K classes, H hidden size.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator
from torch import nn

from sedtool.checkpoint import Model, load_model
from sedtool.config import POOLING_NAMES, FeatureConfig, PoolingConfig
from sedtool.config.network import GRADIENT_EXAMPLES
from sedtool.datasets import FeatureSet
from sedtool.draws import torch_draws
from sedtool.errors import ConfigError
from sedtool.labels import Vocabulary
from sedtool.plots import canvas
from sedtool.plots.clip import (
    Interval,
    draw_spectrogram,
    find_clip,
    read_scored,
    reference_intervals,
)
from sedtool.pooling import AutoPooling, LinearPooling, Pooling, PowerPooling, make_pooling
from sedtool.runs import find_model

_COLUMNS = 3
_PUSHES: tuple[dict[str, Any], ...] = (  # how frames are drawn that are pushed up, and down
    {"facecolor": canvas.BLUE, "alpha": 0.8, "linewidth": 0},
    {"facecolor": canvas.ORANGE, "hatch": "///", "edgecolor": "white", "linewidth": 0},
)
_NEAREST = 1e-7  # a score is stored as float32, in which 1 stands for all that is nearer


def sign_change(pooling: Pooling, k: int, y_c: float) -> float | None:
    """Return the frame probability d at which dy_c/dy_i changes its sign, for class k.

    It is y_c / 2 for linear and n / (n + 1) y_c for power pooling (power-pooling paper, Eqs. 3 and
    5), and y_c - 1/α for the auto poolings, whose gradient is w_i (1 + α (y_i - y_c)) / Σ w. It is
    None if all frames get a gradient of one sign, or there is no rule.
    """
    if isinstance(pooling, LinearPooling):
        return y_c / 2
    if isinstance(pooling, PowerPooling):
        return pooling.learned()["theta"][k] * y_c
    if isinstance(pooling, AutoPooling) and (alpha := pooling.learned()["alpha"][k]) > 0:
        return y_c - 1 / alpha if y_c > 1 / alpha else None
    return None


# Every pooling in one clip


@dataclass(frozen=True)
class ExampleClip:
    """Frame probabilities of one class in a clip."""

    title: str
    probabilities: np.ndarray  # (T,)
    frame_rate: float  # frames a second
    reference: Sequence[Interval] = ()  # when the class is active


def _event_and_background() -> np.ndarray:
    """Return 100 probabilities: an event with soft edges, and a false alarm before it."""
    times = np.arange(100)
    away = np.abs(times - 50)
    event = (0.9 - 0.004 * away) * np.exp(-0.5 * (np.maximum(away - 8, 0) / 8) ** 2)
    alarm = 0.3 * np.exp(-0.5 * ((times - 15) / 4) ** 2)
    return np.asarray(np.maximum(np.maximum(event, alarm), 0.03))


EXAMPLE = ExampleClip(
    "a made-up clip: an event from 3.4 to 6.6 s", _event_and_background(), 10.0, ((3.4, 6.6),)
)


def plot_gradients(
    output: Path,
    *,
    poolings: Sequence[str] = (),
    scores: Path | None = None,
    clip: str | None = None,
    label: str | None = None,
    reference: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Draw the gradient of the clip probability for each frame, a panel a pooling.

    `poolings` are ``NAME[:key=value,...]``; without, every one there is, learned ones with example
    values. Frame probabilities are those of a class in a clip of a scores file, or made up.

    Raises
    ------
    ConfigError
        If a pooling is unknown, or only some of scores, clip and label are given.
    """
    canvas.check_output(output, scores, reference)
    example = EXAMPLE
    if scores is not None and clip is not None and label is not None:
        stored, found = read_scored(scores, clip)
        Vocabulary(stored.classes).require([label], scores)
        frame = found.frame[:, stored.classes.index(label)].astype(float)
        intervals = reference_intervals(reference, clip, label)
        example = ExampleClip(f"{label} in {found.name}", frame, stored.frame_rate, intervals)
    elif any(value is not None for value in (scores, clip, label, reference)):
        raise ConfigError("--scores, --clip and --class belong together; --reference needs them")
    every = [text for name in POOLING_NAMES for text in GRADIENT_EXAMPLES.get(name, (name,))]
    configs = [PoolingConfig.parse(text) for text in poolings or every]
    canvas.save(draw_gradients(example, configs), output, overwrite)


def example_pooling(config: PoolingConfig) -> Pooling:
    """Return a pooling of two classes and two hidden states, to be looked at.

    What attention makes of its hidden states is for training to find. Here these are the logits of
    the class and of its opposite, and the attention logits are the same: a frame attends to the
    class that it is likely to hold.
    """
    with torch_draws(torch.device("cpu"), "example pooling"):
        pooling = make_pooling(config, 2, 2).double()
    for module in pooling.modules():
        if isinstance(module, nn.Linear):
            nn.init.eye_(module.weight)
            nn.init.zeros_(module.bias)
    return pooling


def clip_gradient(pooling: Pooling, probabilities: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the clip probability y_c and its derivative for each frame's, dy_c/dy_i, (T,).

    Hidden states are held: it is the direct effect of a frame's probability. The pooling is one of
    `example_pooling`: the other class has one minus the probabilities. What is within 1e-7 of 0 or
    1 is taken to be that far, since float32 scores cannot tell.
    """
    inner = np.clip(probabilities.astype(float), _NEAREST, 1 - _NEAREST)
    frames = torch.from_numpy(inner).requires_grad_()
    both = torch.stack([frames, 1 - frames], dim=1)[None]  # (1, T, 2)
    logits = both.logit()
    log_y, _ = pooling(logits, logits.detach())
    y_c = log_y[0, 0].exp()
    (gradient,) = torch.autograd.grad(y_c, frames)
    return y_c.item(), gradient.numpy()


@canvas.styled()
def draw_gradients(example: ExampleClip, poolings: Sequence[PoolingConfig]) -> Figure:
    """Return the figure of `plot_gradients`: a panel a pooling.

    All panels have one scale: the gradient times the number of frames, so that average pooling is 1
    everywhere; beyond 1 either way it is logarithmic.
    """
    n_frames = len(example.probabilities)
    times = canvas.frame_times(n_frames, example.frame_rate)
    n_rows = -(-(1 + len(poolings)) // _COLUMNS)
    figure = canvas.new_figure(10.5, 1.2 + 2.0 * n_rows)
    grid = [*figure.subplots(n_rows, _COLUMNS, sharex=True, squeeze=False).flat]
    clip, *panels = drawn = grid[: 1 + len(poolings)]
    for axes in drawn:
        canvas.mark_intervals(axes, example.reference)
    for axes in drawn[-_COLUMNS:]:
        axes.set_xlabel("time (s)")
        axes.tick_params(labelbottom=True)
    for axes in grid[len(drawn) :]:
        axes.remove()
    clip.plot(times, example.probabilities, color="#000000")
    clip.set_ylim(-0.02, 1.04)
    clip.set_ylabel("frame\nprobability y")
    clip.set_title("the clip", fontsize="small", loc="left")
    scaled = []
    for axes, config in zip(panels, poolings, strict=True):
        pooling = example_pooling(config)
        y_c, gradient = clip_gradient(pooling, example.probabilities)
        scaled.append(n_frames * gradient)
        _draw_pushes(axes, times, scaled[-1])
        d = sign_change(pooling, 0, y_c)
        changes = f", changes sign at y = {d:.3f}" if d is not None else ""
        axes.set_title(f"{config}\ny_c = {y_c:.3f}{changes}", fontsize="small", loc="left")
    _share_scale(panels, scaled)
    clip.set_xlim(0, n_frames / example.frame_rate)
    figure.suptitle(
        f"{canvas.shown(example.title)}\ngradient of the clip probability y_c for the probability "
        f"of each of T = {n_frames} frames; logarithmic beyond ±1",
        fontsize="medium",
    )
    _explain(figure, bool(example.reference))
    return figure


def _draw_pushes(axes: Axes, times: np.ndarray, heights: np.ndarray) -> None:
    up, down = np.maximum(heights, 0), np.minimum(heights, 0)
    for pushed, style in zip((up, down), _PUSHES, strict=True):
        axes.fill_between(times, pushed, step="mid", **style)
    axes.plot(times, heights, color="#000000", linewidth=0.9, drawstyle="steps-mid")
    axes.axhline(0, color="#000000", linewidth=0.6)
    axes.set_ylabel("T · dy_c / dy_i")


def _share_scale(panels: Sequence[Axes], scaled: Sequence[np.ndarray]) -> None:
    """Give all panels one scale, linear from -1 to 1 and logarithmic beyond."""
    low, high = min(0.0, *map(np.min, scaled)), max(1.0, *map(np.max, scaled))
    powers = [sign * 10.0**p for sign in (-1, 1) for p in range(4)]
    ticks = sorted([0.0, *(t for t in powers if 1.6 * low <= t <= 1.6 * high)])
    for axes in panels:
        axes.set_yscale("symlog", linthresh=1.0, linscale=1.0)
        axes.set_ylim(1.6 * low - 0.25, 1.6 * high)
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_locator(NullLocator())


def _explain(figure: Figure, has_reference: bool) -> None:
    handles = [Patch(**style) for style in _PUSHES]
    labels = ["a positive clip pushes the frame up", "a positive clip pushes the frame down"]
    if has_reference:
        handles.append(Patch(facecolor=canvas.GREY, alpha=0.3))
        labels.append("reference")
    canvas.legend(figure, handles, labels, ncols=3)


# Models on one class in one clip


@dataclass(frozen=True)
class FrameCurve:
    """The output of a model for one class in one clip."""

    name: str  # of the pooling
    epoch: int | None  # of the model
    n: float | None  # learned exponent of the class
    frame: np.ndarray  # frame probabilities, (T,)
    frame_rate: float  # frames a second
    y_c: float  # clip probability
    sign: np.ndarray  # of dy_c/dy_i: 1 where a positive clip raises a frame, 0 or -1, int (T,)
    threshold: float | None  # where the sign changes; None if it does not

    @property
    def times(self) -> np.ndarray:
        return canvas.frame_times(len(self.frame), self.frame_rate)

    def right(self, reference: Sequence[Interval]) -> np.ndarray:
        """Return the frames that a positive clip pushes the right way, bool (T,).

        That is up where the middle of a frame lies in a reference interval, and down elsewhere. A
        frame that is left alone is not pushed.
        """
        inside = np.zeros(len(self.frame), bool)
        for onset, offset in reference:
            inside |= (self.times >= onset) & (self.times < offset)
        return np.asarray(self.sign == np.where(inside, 1, -1))

    def describe(self, reference: Sequence[Interval]) -> str:
        """Say in one line how the model pools the clip."""
        epoch = f", epoch {self.epoch}" if self.epoch is not None else ""
        parts = [f"y_c = {self.y_c:.3f}"]
        if self.n is not None:
            parts.append(f"n = {self.n:.3f}")
        if self.threshold is None:
            parts.append("no threshold")
        else:
            parts.append(f"d = {self.threshold:.3f} ({self.threshold / self.y_c:.3f} y_c)")
        if reference:
            share = float(self.right(reference).mean())
            parts.append(f"{100 * share:.1f} % of gradients of the right sign")
        return f"{self.name}{epoch}: {', '.join(parts)}"


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

    Models are files, such as those that ``train --keep-epochs`` keeps, or run folders. Return a
    line for each: its clip probability and thresholds, and, with a reference, the share of frames
    that are pushed the right way.

    Raises
    ------
    ArtifactError
        If the features are not of a model's kind.
    ConfigError
        If the clip is longer than a model's scoring window, or a folder holds no model.
    """
    models = [find_model(path) for path in models]
    canvas.check_output(output, features, *models, reference)
    stored = FeatureSet([features])
    clip = find_clip(stored.place, name, features)
    intervals = reference_intervals(reference, name, label)
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
    figure = draw_frames(stored.clip(clip), stored.config, curves, title, intervals)
    canvas.save(figure, output, overwrite)
    described = zip(models, curves, strict=True)
    return [f"{path}: {curve.describe(intervals)}" for path, curve in described]


def frame_curve(model: Model, features: np.ndarray, label: str) -> FrameCurve:
    """Run a model over the features (T, F) of one clip.

    The gradient is in float64, so that a frame that is sure of its class still has one.
    """
    k, detector = model.classes.index(label), model.detector
    batch = torch.from_numpy(features.astype(np.float32))[None]
    with torch.no_grad():
        normal = (batch - detector.mean) / detector.std
        logits, hidden = detector.crnn(normal, torch.tensor([len(features)]))
    frames = logits.double().requires_grad_()
    log_y, _ = copy.deepcopy(detector.pooling).double()(frames, hidden.double())
    (gradient,) = torch.autograd.grad(log_y[0, k], frames)
    y_c = log_y[0, k].exp().item()
    is_power = isinstance(detector.pooling, PowerPooling)
    return FrameCurve(
        model.pooling.name,
        model.trained.get("epoch"),
        detector.pooling.learned()["n"][k] if is_power else None,
        logits[0, :, k].sigmoid().numpy(),
        model.frame_rate,
        y_c,
        gradient[0, :, k].sign().int().numpy(),
        sign_change(detector.pooling, k, y_c),
    )


@canvas.styled()
def draw_frames(
    spectrogram: np.ndarray,
    features: FeatureConfig,
    curves: Sequence[FrameCurve],
    title: str,
    reference: Sequence[Interval],
) -> Figure:
    """Return the figure of `plot_frames`, of log-mel features (T, F) and the models' curves."""
    figure = canvas.new_figure(9.0, 2.9 + 2.5 * len(curves))
    axes = figure.subplots(
        1 + len(curves), 1, sharex=True, height_ratios=(2.2, *(2.5,) * len(curves))
    )
    draw_spectrogram(axes[0], spectrogram, features)
    axes[0].set_title(canvas.shown(title))
    handles: dict[str, Artist] = {}
    for below, curve in zip(axes[1:], curves, strict=True):
        handles |= _draw_curve(below, curve, reference)
        below.set_title(curve.describe(reference), fontsize="small", loc="left")
    axes[-1].set_xlim(0, len(spectrogram) / features.frame_rate)
    axes[-1].set_xlabel("time (s)")
    canvas.legend(figure, handles.values(), handles, ncols=3, handlelength=3.0)
    figure.align_ylabels()
    return figure


def _draw_curve(axes: Axes, curve: FrameCurve, reference: Sequence[Interval]) -> dict[str, Artist]:
    """Draw one model; return an artist of each kind, for the legend."""
    drawn: dict[str, Artist] = {}
    if reference:
        drawn["reference"] = canvas.mark_intervals(axes, reference)[0]
    (line,) = axes.plot(curve.times, curve.frame, color="#000000", linewidth=1.4)
    drawn["frame probability y"] = line
    level = axes.axhline(curve.y_c, color="#009E73", linewidth=1.2, linestyle=":")
    drawn["clip probability y_c"] = level
    if curve.threshold is not None:
        own = axes.axhline(curve.threshold, color=canvas.ORANGE, linewidth=1.6, linestyle="--")
        drawn["own threshold d: above it y is pushed up"] = own
    if curve.n is not None:
        linear = axes.axhline(curve.y_c / 2, color=canvas.BLUE, linewidth=1.4, linestyle="-.")
        drawn["threshold of linear pooling, y_c / 2"] = linear
    if reference:
        drawn |= _draw_signs(axes, curve, curve.right(reference))
    axes.set_ylim(-0.14 if reference else -0.02, 1.04)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_ylabel("frame probability")
    return drawn


def _draw_signs(axes: Axes, curve: FrameCurve, right: np.ndarray) -> dict[str, Artist]:
    """Draw a strip below zero: which frames are pushed the right way, bool (T,), and which not."""
    drawn: dict[str, Artist] = {}
    styles = (
        (right, canvas.BLUE, None, "gradient of the right sign"),
        (~right, "#E69F00", "////", "gradient of the wrong sign, or none"),
    )
    for frames, colour, hatch, label in styles:
        changes = np.flatnonzero(np.diff(frames, prepend=False, append=False))
        starts, stops = changes.reshape(-1, 2).T / curve.frame_rate
        bars = list(zip(starts, stops - starts, strict=True))
        drawn[label] = axes.broken_barh(
            bars, (-0.12, 0.08), facecolor=colour, hatch=hatch, edgecolor="white", lw=0
        )
    return drawn
