"""How far each frame moves the clip probability, for every pooling.

Axis letters: T frames, K classes, H hidden size.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sedtool.checkpoint import Model
from sedtool.config import POOLING_NAMES, PoolingConfig
from sedtool.config.figures import GRADIENT_EXAMPLES
from sedtool.draws import torch_draws
from sedtool.errors import ConfigError
from sedtool.labels import NameIndex, Vocabulary
from sedtool.plots import canvas
from sedtool.plots.clip import find_clip, reference_events
from sedtool.pooling import AutoPooling, LinearPooling, Pooling, PowerPooling, make_pooling
from sedtool.store import clip_scores, open_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
_PUSHES: tuple[dict[str, Any], ...] = (  # how frames are drawn that are pushed up, and down
    {"facecolor": canvas.BLUE, "alpha": 0.8, "linewidth": 0},
    {"facecolor": canvas.ORANGE, "hatch": "///", "edgecolor": "white", "linewidth": 0},
)
_NEAREST = 1e-7  # a score is stored as float32, in which 1 stands for all that is nearer


@dataclass(frozen=True)
class ExampleClip:
    """Frame probabilities of one class in a clip."""

    title: str
    probabilities: np.ndarray  # (T,)
    frame_rate: float  # frames a second
    reference: tuple[tuple[float, float], ...] = ()  # when the class is active, seconds

    @property
    def times(self) -> np.ndarray:
        """Return the middle of each frame in seconds, (T,)."""
        return canvas.frame_times(len(self.probabilities), self.frame_rate)


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

    Parameters
    ----------
    output
        PNG, SVG or PDF by its suffix.
    poolings
        ``NAME[:key=value,...]`` of each; every one there is, learned ones with example values,
        where none is given.
    scores, clip, label
        Where the frame probabilities are: file, clip and class. A made-up clip without.
    reference
        Strong labels that name the clip.
    overwrite
        Replace an existing picture.

    Raises
    ------
    ConfigError
        If a pooling is unknown, or only some of scores, clip and label are given.
    LabelError
        If a file does not have the clip or the class.
    """
    canvas.check_output(output, overwrite, scores, reference)
    given = [value is not None for value in (scores, clip, label)]
    if any(given) != all(given) or (reference is not None and scores is None):
        raise ConfigError("--scores, --clip and --class belong together; --reference needs them")
    example = EXAMPLE
    if scores is not None and clip is not None and label is not None:
        example = _read_example(scores, clip, label, reference)
    configs = [PoolingConfig.parse(text) for text in poolings or _every_pooling()]
    canvas.save(draw_gradients(example, configs), output)


def _every_pooling() -> list[str]:
    return [text for name in POOLING_NAMES for text in GRADIENT_EXAMPLES.get(name, (name,))]


def _read_example(scores: Path, clip: str, label: str, reference: Path | None) -> ExampleClip:
    stored = open_scores(scores)
    name = find_clip(NameIndex(stored.names), clip, scores)
    Vocabulary(stored.classes).require([label], scores)
    found = next(c for c in clip_scores(stored) if c.name == name)
    frame = found.frame[:, stored.classes.index(label)].astype(float)
    events = reference_events(reference, clip) if reference is not None else []
    intervals = tuple((event.onset, event.offset) for event in events if event.label == label)
    return ExampleClip(f"{label} in {name}", frame, stored.frame_rate, intervals)


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


@canvas.styled
def draw_gradients(example: ExampleClip, poolings: Sequence[PoolingConfig]) -> "Figure":
    """Return the figure of `plot_gradients`: a panel a pooling.

    All panels have one scale: the gradient times the number of frames, so that average pooling is 1
    everywhere; beyond 1 either way it is logarithmic.
    """
    found = [(config, example_pooling(config)) for config in poolings]
    values = [clip_gradient(pooling, example.probabilities) for _, pooling in found]
    n_frames = len(example.probabilities)
    scaled = [n_frames * gradient for _, gradient in values]
    n_rows = -(-(1 + len(found)) // _COLUMNS)
    figure = canvas.new_figure(10.5, 1.2 + 2.0 * n_rows)
    grid = figure.subplots(n_rows, _COLUMNS, sharex=True, squeeze=False)
    panels = [*grid.flat]
    _draw_example(panels[0], example)
    for axes, (config, pooling), (y_c, _), heights in zip(
        panels[1:], found, values, scaled, strict=False
    ):
        _draw_panel(axes, example, heights)
        d = sign_change(pooling, 0, y_c)
        changes = f", changes sign at y = {d:.3f}" if d is not None else ""
        axes.set_title(f"{config}\ny_c = {y_c:.3f}{changes}", fontsize="small", loc="left")
    _share_scale(panels[1 : 1 + len(found)], scaled)
    for i, axes in enumerate(panels):
        if i > len(found):
            axes.remove()
        elif i + _COLUMNS > len(found):
            axes.set_xlabel("time (s)")
            axes.tick_params(labelbottom=True)
    panels[0].set_xlim(0, n_frames / example.frame_rate)
    figure.suptitle(
        f"{canvas.shown(example.title)}\ngradient of the clip probability y_c for the probability "
        f"of each of T = {n_frames} frames; logarithmic beyond ±1",
        fontsize="medium",
    )
    _explain(figure, bool(example.reference))
    return figure


def _draw_example(axes: "Axes", example: ExampleClip) -> None:
    canvas.mark_intervals(axes, example.reference)
    axes.plot(example.times, example.probabilities, color="#000000")
    axes.set_ylim(-0.02, 1.04)
    axes.set_ylabel("frame\nprobability y")
    axes.set_title("the clip", fontsize="small", loc="left")


def _draw_panel(axes: "Axes", example: ExampleClip, heights: np.ndarray) -> None:
    canvas.mark_intervals(axes, example.reference)
    up, down = np.maximum(heights, 0), np.minimum(heights, 0)
    for pushed, style in zip((up, down), _PUSHES, strict=True):
        axes.fill_between(example.times, pushed, step="mid", **style)
    axes.plot(example.times, heights, color="#000000", linewidth=0.9, drawstyle="steps-mid")
    axes.axhline(0, color="#000000", linewidth=0.6)
    axes.set_ylabel("T · dy_c / dy_i")


def _share_scale(panels: Sequence["Axes"], scaled: Sequence[np.ndarray]) -> None:
    """Give all panels one scale, linear from -1 to 1 and logarithmic beyond."""
    from matplotlib.ticker import FixedLocator, NullLocator

    low = min(min(float(heights.min()) for heights in scaled), 0.0)
    high = max(max(float(heights.max()) for heights in scaled), 1.0)
    powers = [sign * 10.0**p for sign in (-1, 1) for p in range(4)]
    ticks = sorted([0.0, *(t for t in powers if 1.6 * low <= t <= 1.6 * high)])
    for axes in panels:
        axes.set_yscale("symlog", linthresh=1.0, linscale=1.0)
        axes.set_ylim(1.6 * low - 0.25, 1.6 * high)
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_locator(NullLocator())


def _explain(figure: "Figure", has_reference: bool) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(**style) for style in _PUSHES]
    labels = ["a positive clip pushes the frame up", "a positive clip pushes the frame down"]
    if has_reference:
        handles.append(Patch(facecolor=canvas.GREY, alpha=0.3))
        labels.append("reference")
    canvas.legend(figure, handles, labels, ncols=3)


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


def run_network(model: Model, features: np.ndarray) -> tuple[Tensor, Tensor]:
    """Run a model over one clip (T, F); return frame logits (1, T', K) and hidden states."""
    seen: list[tuple[Any, ...]] = []
    listening = model.detector.pooling.register_forward_pre_hook(lambda _, args: seen.append(args))
    batch = torch.from_numpy(features.astype(np.float32))[None]
    try:
        with torch.no_grad():
            model.detector(batch, torch.tensor([len(features)]))
    finally:
        listening.remove()
    logits, hidden, *_ = seen[0]
    return logits, hidden


def gradient_signs(
    model: Model, logits: Tensor, hidden: Tensor, k: int
) -> tuple[float, np.ndarray]:
    """Return the probability y_c of class k, and the sign of dy_c/dy_i of each frame, int (T,).

    1 is where a positive clip raises the frame, -1 where it lowers it. In float64, so that a frame
    that is sure of its class still has a gradient.
    """
    pooling = copy.deepcopy(model.detector.pooling).double()
    frames = logits.double().requires_grad_()
    log_y, _ = pooling(frames, hidden.double())
    (gradient,) = torch.autograd.grad(log_y[0, k], frames)
    return log_y[0, k].exp().item(), gradient[0, :, k].sign().int().numpy()
