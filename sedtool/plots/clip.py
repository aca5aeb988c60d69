"""One clip: its features, frame probabilities, reference and detected events."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sedtool.config import FeatureConfig
from sedtool.datasets import FeatureSet
from sedtool.decoding import clip_tags, decode_clip
from sedtool.errors import ConfigError, LabelError
from sedtool.features import mel_filters
from sedtool.labels import Event, NameIndex, read_events
from sedtool.plots import canvas
from sedtool.store import ClipScores, Scores, clip_scores, open_scores

Interval = tuple[float, float]  # onset and offset, seconds
_WIDTH = 700  # pixels of the axes, about
_HATCHED = 8  # pixels of a bar, on average, from which on hatching can be told from ink


def plot_clip(
    features: Path,
    scores: Path,
    name: str,
    output: Path,
    *,
    reference: Path | None = None,
    start: float | None = None,
    end: float | None = None,
    overwrite: bool = False,
) -> None:
    """Draw one clip: spectrogram, frame probabilities, reference and detected events.

    Drawn is what lies between `start` and `end` (seconds), else the ends of the clip. A
    ConfigError says if that is nothing, or more than the clip.
    """
    canvas.check_output(output, features, scores, reference)
    stored, scored = read_scored(scores, name)
    feature_set = FeatureSet([features])
    spectrogram = feature_set.clip(find_clip(feature_set.place, name, features))
    events = reference_events(reference, name) if reference is not None else None
    part = _part_of(scored, start, end)
    figure = draw_clip(spectrogram, feature_set.config, scored, stored, events, part)
    canvas.save(figure, output, overwrite)


def _part_of(clip: ClipScores, start: float | None, end: float | None) -> Interval:
    """Return the part of a clip that is to be drawn."""
    first, last = start or 0.0, clip.duration if end is None else end
    if not 0 <= first < last <= clip.duration:
        raise ConfigError(
            f"{clip.name} lasts {clip.duration:g} s: there is nothing to draw from {first:g} to "
            f"{last:g} s"
        )
    return first, last


def find_clip(names: Iterable[str], name: str, where: Path) -> str:
    """Return the name by which a file knows a clip, or raise a LabelError."""
    index = NameIndex(names)
    found, missing = index.resolve([name], where)
    if missing:
        raise LabelError(f"{where} has no clip {name!r}{index.hint(name)}")
    return found[name]


def read_scored(path: Path, name: str) -> tuple[Scores, ClipScores]:
    """Return a scores file, and the scores of one clip in it."""
    scores = open_scores(path)
    found = find_clip(scores.names, name, path)
    return scores, next(clip for clip in clip_scores(scores) if clip.name == found)


def reference_events(reference: Path, name: str) -> list[Event]:
    """Return the events of a clip from strong labels that name it."""
    labels = read_events(reference)
    wanted = find_clip(labels.names, name, reference)
    return [event for event in labels.events if event.name == wanted]


def reference_intervals(reference: Path | None, name: str, label: str) -> list[Interval]:
    """Return when a class is active in a clip; never without a reference."""
    events = reference_events(reference, name) if reference is not None else []
    return [(event.onset, event.offset) for event in events if event.label == label]


@canvas.styled()
def draw_clip(
    spectrogram: np.ndarray,
    features: FeatureConfig,
    clip: ClipScores,
    scores: Scores,
    reference: list[Event] | None,
    part: Interval,
) -> Figure:
    """Return the figure of `plot_clip`, of log-mel features (T, F) and the scores of a clip.

    `scores` is the file they are from: classes, frame rate and decoding settings are used. `part`
    is what is drawn, in seconds.
    """
    start, end = part
    detected = decode_clip(clip, scores.classes, scores.frame_rate, scores.decoding)
    drawn = [e for e in [*detected, *(reference or [])] if e.offset >= start and e.onset <= end]
    labels = {event.label for event in drawn}
    if part == (0.0, clip.duration):
        labels.update(clip_tags(clip, scores.classes, scores.decoding))
    shown_classes = [k for k, label in enumerate(scores.classes) if label in labels]
    figure = canvas.new_figure(9.0, 6.0 + 0.25 * len(shown_classes))
    top, middle, bottom = figure.subplots(
        3, 1, sharex=True, height_ratios=(3, 3, 0.6 + 0.45 * max(len(shown_classes), 1))
    )
    draw_spectrogram(top, spectrogram, features, part)
    top.set_title(canvas.shown(clip.name))
    _draw_probabilities(middle, clip, scores, shown_classes, part)
    classes = [scores.classes[k] for k in shown_classes]
    _draw_events(bottom, classes, detected, reference, (end - start) / _WIDTH)
    bottom.set_xlim(start, end)
    bottom.set_xlabel("time (s)")
    figure.align_ylabels()
    return figure


def _draw_probabilities(
    axes: Axes, clip: ClipScores, scores: Scores, classes: list[int], part: Interval
) -> None:
    """Draw the scores of each class: of more frames than a line can show, their mean and range."""
    times = canvas.frame_times(len(clip.frame), scores.frame_rate)
    inside = (times >= part[0]) & (times <= part[1])
    times, frame = times[inside], clip.frame[inside]
    edges = np.arange(0, len(times), max(2 * len(times) // _WIDTH, 1))  # of what is one point
    counts = np.diff(edges, append=len(times))
    lines = []
    for i, k in enumerate(classes):
        colour, threshold = canvas.colour(i), scores.decoding.thresholds[k]
        middle = np.add.reduceat(times, edges) / counts
        mean = np.add.reduceat(frame[:, k].astype(float), edges) / counts
        lines += axes.plot(middle, mean, color=colour, linestyle=canvas.line(i))
        if counts.max() > 1:
            ends = (
                np.minimum.reduceat(frame[:, k], edges),
                np.maximum.reduceat(frame[:, k], edges),
            )
            axes.fill_between(middle, *ends, color=colour, alpha=0.15, linewidth=0)
        axes.axhline(threshold, color=colour, linewidth=0.8, alpha=0.6)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("frame probability\n(thin: threshold)")
    if classes:
        names = [canvas.shown(scores.classes[k]) for k in classes]
        place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
        canvas.legend(axes, lines, names, handlelength=3.0, **place)
    else:
        axes.text(
            0.5, 0.5, "no class in the reference or detected", ha="center", transform=axes.transAxes
        )


def _draw_events(
    axes: Axes,
    labels: list[str],
    detected: list[Event],
    reference: list[Event] | None,
    least: float,
) -> None:
    """Draw a row a class: reference above, in grey; detected below, in the class's colour.

    No event is drawn narrower than `least` seconds, so that none is invisible.
    """

    def bars(events: list[Event], label: str) -> list[tuple[float, float]]:
        return [(e.onset, max(e.offset - e.onset, least)) for e in events if e.label == label]

    for row, label in enumerate(labels):
        lengths = bars(reference or [], label)
        are_wide = sum(length for _, length in lengths) > _HATCHED * least * len(lengths)
        hatch = "//" if are_wide else None  # of narrow bars, all would be ink
        axes.broken_barh(lengths, (row + 0.05, 0.4), fc=canvas.GREY, hatch=hatch)
        axes.broken_barh(bars(detected, label), (row - 0.4, 0.4), fc=canvas.colour(row))
    axes.set_yticks(range(len(labels)), [canvas.shown(label) for label in labels])
    axes.set_ylim(-0.6, len(labels) - 0.4)
    above = "above: reference (grey), below: " if reference is not None else ""
    axes.set_ylabel("events")
    axes.set_title(f"{above}detected", fontsize="small", loc="left")


_TICKS = np.array([0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64])  # kHz


def draw_spectrogram(
    axes: Axes, spectrogram: np.ndarray, config: FeatureConfig, part: Interval | None = None
) -> None:
    """Draw log-mel features, shape (T, F), or a part of them, over seconds and kilohertz."""
    first, last = (
        (0, len(spectrogram))
        if part is None
        else (int(part[0] * config.frame_rate), math.ceil(part[1] * config.frame_rate))
    )
    frames = spectrogram[first:last].astype(np.float32)
    n_mels = frames.shape[1]
    seconds = [number / config.frame_rate for number in (first, first + len(frames))]
    image = axes.imshow(
        frames.T,
        origin="lower",
        aspect="auto",
        extent=(*seconds, 0, n_mels),
        cmap="magma",
        vmin=float(np.percentile(frames, 5)),
    )
    centres = _centres(config)
    ticks = _TICKS[(centres[0] <= _TICKS) & (centres[-1] * 1.05 >= _TICKS)]
    rows = np.interp(ticks, centres, np.arange(n_mels) + 0.5)
    apart = np.diff(rows, append=np.inf) > n_mels / 10  # the mel scale is dense below 500 Hz
    axes.set_yticks(rows[apart], [f"{tick:g}" for tick in ticks[apart]])
    axes.set_ylabel("frequency (kHz, mel scale)")
    beside = axes.inset_axes((1.01, 0.0, 0.015, 1.0))
    unit = "dB" if config.log == "db" else "ln power" if config.power == 2 else "ln magnitude"
    axes.figure.colorbar(image, cax=beside, label=f"log-mel ({unit})")


def _centres(config: FeatureConfig) -> np.ndarray:
    """Return the middle of each mel band, kHz (F,): the mean frequency under its filter."""
    filters = mel_filters(config).astype(float)  # (F, bins)
    kilohertz = np.linspace(0, config.sample_rate / 2000, filters.shape[1])
    area = filters.sum(axis=1)
    middle = filters @ kilohertz / np.maximum(area, 1e-9)
    filled = area > 0  # a narrow band may lie between two bins
    bands = np.arange(len(middle))
    return np.asarray(np.interp(bands, bands[filled], middle[filled]))
