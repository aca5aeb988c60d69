"""Figures: what a detector saw and said of a clip; what its pooling learned.

Only this module imports matplotlib (the `plot` extra). Colours are Okabe and Ito's, which
colour-blind readers can tell apart; each class also keeps its own line or row.
"""

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sedtool.atomic import refuse_existing, write_bytes
from sedtool.checkpoint import Model, load_model
from sedtool.datasets import FeatureSet
from sedtool.decoding import ClipScores, clip_scores, clip_tags, decode_clip
from sedtool.errors import ConfigError, LabelError
from sedtool.labels import Event, NameIndex, read_events
from sedtool.store import Scores, open_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_clip", "draw_pooling", "plot_clip", "plot_pooling", "require_matplotlib"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
_FORMATS = (".png", ".svg", ".pdf")


def plot_clip(
    features: Path,
    scores: Path,
    name: str,
    output: Path,
    *,
    reference: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Draw one clip: spectrogram, frame probabilities, reference and detected events.

    Parameters
    ----------
    features, scores
        Files that hold the clip.
    name
        Of the clip: its path, or its basename where that is unique.
    output
        PNG, SVG or PDF by its suffix.
    reference
        Strong labels.
    overwrite
        Replace an existing picture.
    """
    _check_output(output, overwrite)
    stored = open_scores(scores)
    clip = _find(NameIndex(stored.names), name, scores)
    recording = next(c for c in clip_scores(stored) if c.name == clip)
    feature_set = FeatureSet([features])
    spectrogram = feature_set.clip(_find(NameIndex(feature_set.place), name, features))
    true = None
    if reference is not None:
        labels = read_events(reference)
        wanted = _find(NameIndex(labels.names), name, reference)
        true = [event for event in labels.events if event.name == wanted]
    figure = draw_clip(
        spectrogram, feature_set.config.frame_rate, feature_set.config.fmax, recording, stored, true
    )
    _save(figure, output)


def _find(index: NameIndex, name: str, where: Path) -> str:
    found = index.find(name)
    if found is None:
        raise LabelError(f"{where} has no clip {name!r}")
    return found


def draw_clip(
    spectrogram: np.ndarray,
    feature_rate: float,
    fmax: float,
    clip: ClipScores,
    scores: Scores,
    reference: list[Event] | None,
) -> "Figure":
    """Return the figure of `plot_clip`.

    Parameters
    ----------
    spectrogram
        Log-mel features, shape (T, F), `feature_rate` frames a second, up to `fmax` Hz.
    clip
        Its scores.
    scores
        The file they are from: classes, frame rate, decoding settings.
    reference
        True events; None if they are not known.
    """
    detected = decode_clip(clip, scores.classes, scores.frame_rate, scores.decoding)
    heard = {event.label for event in [*detected, *(reference or [])]}
    heard.update(clip_tags(clip, scores.classes, scores.decoding))
    shown = [k for k, label in enumerate(scores.classes) if label in heard]
    figure = _figure(9.0, 6.0 + 0.25 * len(shown))
    top, middle, bottom = figure.subplots(
        3, 1, sharex=True, height_ratios=(3, 3, 0.6 + 0.45 * max(len(shown), 1))
    )
    _draw_spectrogram(top, spectrogram, feature_rate, fmax)
    top.set_title(clip.name)
    _draw_probabilities(middle, clip, scores, shown)
    _draw_events(bottom, [scores.classes[k] for k in shown], detected, reference)
    bottom.set_xlim(0, clip.duration)
    bottom.set_xlabel("time (s)")
    figure.align_ylabels()
    return figure


def _draw_spectrogram(axes: "Axes", spectrogram: np.ndarray, rate: float, fmax: float) -> None:
    seconds = len(spectrogram) / rate
    image = axes.imshow(
        spectrogram.T.astype(np.float32),
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, spectrogram.shape[1]),
        cmap="magma",
        vmin=float(np.percentile(spectrogram.astype(np.float32), 5)),
    )
    axes.set_ylabel(f"mel band (to {fmax / 1000:g} kHz)")
    beside = axes.inset_axes((1.01, 0.0, 0.015, 1.0))
    axes.figure.colorbar(image, cax=beside, label="log-mel")


def _draw_probabilities(axes: "Axes", clip: ClipScores, scores: Scores, shown: list[int]) -> None:
    times = (np.arange(len(clip.frame)) + 0.5) / scores.frame_rate
    for colour, k in zip(_cycle(len(shown)), shown, strict=True):
        axes.plot(times, clip.frame[:, k], color=colour, label=scores.classes[k])
        axes.axhline(scores.decoding.thresholds[k], color=colour, linewidth=0.8, linestyle=":")
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("frame probability\n(dotted: threshold)")
    if shown:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small", frameon=False)
    else:
        axes.text(0.5, 0.5, "no class heard or detected", ha="center", transform=axes.transAxes)


def _draw_events(
    axes: "Axes", labels: list[str], detected: list[Event], reference: list[Event] | None
) -> None:
    """Draw a row a class: reference above, in grey; detected below, in the class's colour."""
    for row, (colour, label) in enumerate(zip(_cycle(len(labels)), labels, strict=True)):
        for event in reference or []:
            if event.label == label:
                span = (event.onset, event.offset - event.onset)
                axes.broken_barh([span], (row + 0.05, 0.4), facecolor="#999999", hatch="//")
        for event in detected:
            if event.label == label:
                span = (event.onset, event.offset - event.onset)
                axes.broken_barh([span], (row - 0.4, 0.4), facecolor=colour)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    above = "above: reference (grey), below: " if reference is not None else ""
    axes.set_ylabel("events")
    axes.set_title(f"{above}detected", fontsize="small", loc="left")


def plot_pooling(
    models: Sequence[Path],
    output: Path,
    *,
    durations_from: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Draw what the pooling of each model learned, class by class.

    With `durations_from`, strong labels, classes stand in the order of their mean event duration
    (the order of Fig. 3 of the power-pooling paper).
    """
    _check_output(output, overwrite)
    loaded = [(path, load_model(path)) for path in models]
    durations = read_events(durations_from).mean_durations() if durations_from else None
    _save(draw_pooling([(str(path), model) for path, model in loaded], durations), output)


def draw_pooling(
    models: Sequence[tuple[str, Model]], durations: dict[str, float] | None
) -> "Figure":
    """Return the figure of `plot_pooling`.

    Parameters
    ----------
    models
        Label and model, all with one class list.
    durations
        Mean event duration by class, seconds; None where it is not known.

    Raises
    ------
    ConfigError
        If the pooling of a model learns nothing, or the class lists differ.
    """
    classes = models[0][1].classes
    order = sorted(classes, key=lambda c: durations.get(c, np.inf)) if durations else list(classes)
    figure = _figure(max(5.0, 1.5 + 0.75 * len(classes)), 4.5)
    axes = figure.subplots()
    names = set()
    for colour, marker, (label, model) in zip(
        _cycle(len(models)), "os^vD*PX" * len(models), models, strict=False
    ):
        learned = model.detector.pooling.learned()
        if not learned:
            raise ConfigError(f"{label}: {model.pooling.name} pooling learns nothing of a class")
        if model.classes != classes:
            raise ConfigError(f"{label} has other classes than {models[0][0]}")
        name, values = next(iter(learned.items()))
        names.add(name)
        by_class = dict(zip(classes, values, strict=True))
        heights = [by_class[c] for c in order]
        axes.plot(range(len(order)), heights, marker, color=colour, markersize=8, label=label)
    ticks = [f"{c}\n{durations[c]:.2g} s" if durations and c in durations else c for c in order]
    axes.set_xticks(range(len(order)), ticks, rotation=45, ha="right")
    if durations:
        axes.set_xlabel("class, by mean event duration")
    symbols = {"n": "exponent n", "alpha": "sharpness α"}
    axes.set_ylabel(" / ".join(f"learned {symbols.get(n, n)}" for n in sorted(names)))
    axes.grid(axis="y", alpha=0.3)
    if "n" in names:
        axes.axhline(1.0, color="#999999", linestyle="--", linewidth=1, label="linear pooling")
        axes.legend(fontsize="small")
    elif len(models) > 1:
        axes.legend(fontsize="small")
    return figure


def _cycle(n: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(n)]


def require_matplotlib() -> None:
    """Raise a ConfigError unless figures can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("figures need matplotlib: pip install 'sedtool[plot]'")


def _figure(width: float, height: float) -> "Figure":
    """Return an empty figure (inches) that belongs to no window system."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _check_output(output: Path, overwrite: bool) -> None:
    if output.suffix.lower() not in _FORMATS:
        raise ConfigError(f"{output}: a figure is written as one of {', '.join(_FORMATS)}")
    refuse_existing(output, overwrite)


def _save(figure: Any, output: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=output.suffix[1:].lower(), dpi=150)
    write_bytes(output, buffer.getvalue())
