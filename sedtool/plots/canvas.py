"""What all figures share: sheets, colours, legends, names as the font has them, files.

Colours are Okabe and Ito's and two of Tol's muted ones, which colour-blind readers can tell apart;
lines and markers differ besides.
"""

import functools
import io
import math
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from sedtool.atomic import claim, refuse_input, write_bytes
from sedtool.errors import ConfigError

_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#882255", "#999933"),
)
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
# Nine colours and four lines have no common divisor: 36 classes are told apart.
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
_MARKERS = "osD^vPX*"
_FORMATS = (".png", ".svg", ".pdf")
_LONGEST = 60  # characters of a name
_DATES = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # equal figures are equal files

_FONT = "DejaVu Sans"  # comes with matplotlib, so it is the same everywhere
_STYLE: dict[Any, Any] = {
    "font.family": _FONT,
    "text.parse_math": False,  # a class may well be named $5$
    "svg.hashsalt": "sedtool",
}
styled = functools.partial(rc_context, _STYLE)  # whatever style the caller has set


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure (inches) that belongs to no window system."""
    return Figure(figsize=(width, height), layout="constrained")


def colour(i: int) -> str:
    """Return the colour of the i-th of several."""
    return _COLOURS[i % len(_COLOURS)]


def line(i: int) -> Any:
    """Return the line style of the i-th of several."""
    return _LINES[i % len(_LINES)]


def marker(i: int) -> str:
    """Return the marker of the i-th of several."""
    return _MARKERS[i % len(_MARKERS)]


def legend(part: Any, handles: Iterable[Any], labels: Iterable[str], **style: Any) -> None:
    """Explain what is drawn; by default below the axes of a figure, where it covers no data."""
    style = {"loc": "outside lower center", "fontsize": "small", "frameon": False} | style
    part.legend(list(handles), list(labels), **style)


def frame_times(n_frames: int, frame_rate: float) -> np.ndarray:
    """Return the middle of each frame in seconds, (T,)."""
    return (np.arange(n_frames) + 0.5) / frame_rate


def mark_intervals(axes: Axes, intervals: Sequence[tuple[float, float]]) -> list[Artist]:
    """Shade intervals, onset and offset in seconds; return what is drawn."""
    return [axes.axvspan(*ends, facecolor=GREY, alpha=0.3, linewidth=0) for ends in intervals]


def shown(name: str) -> str:
    r"""Return a name as it can be drawn, cut if it is long; what no font has stands as \\uXXXX."""
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}… ({len(name)} characters)"
    text = "".join(c if _font_of(c) else f"\\u{ord(c):04x}" for c in name)
    # A legend leaves out names that begin with an underscore.
    return f"\u200b{text}" if text.startswith("_") else text


def fit_fonts(figure: Figure) -> None:
    """Give each text of a figure the fonts that it is drawn in."""
    for text in figure.findobj(Text):
        text.set_fontfamily(fonts_of(text.get_text()))


def fonts_of(text: str) -> list[str]:
    """Return the fonts that a text is drawn in: ours, and those that have the rest."""
    return [_FONT, *sorted({font for c in text if (font := _font_of(c)) and font != _FONT})]


@functools.cache
def _font_of(character: str) -> str | None:
    """Return the font that a character is drawn in: ours, else an installed one that has it."""

    def has(path: str) -> bool:
        return get_font(path).get_char_index(ord(character)) > 0

    if has(findfont(_FONT)):
        return _FONT
    others = _other_fonts() if character.isprintable() else ()
    return next((name for name, path in others if has(path)), None)


@functools.cache
def _other_fonts() -> tuple[tuple[str, str], ...]:
    """Return name and path of the upright fonts that are installed, the largest first."""
    found = {
        font.name: font.fname
        for font in fontManager.ttflist
        if (font.style, font.weight) == ("normal", 400) and Path(font.fname).is_file()
    }
    # Fonts of last resort draw one box for all characters of a script.
    names = [name for name in sorted(found) if not name.startswith("Last Resort")]
    names.sort(key=lambda name: -get_font(found[name]).num_glyphs)
    return tuple((name, found[name]) for name in names)


def check_output(output: Path, *inputs: Path | None) -> None:
    """Refuse an output that is no picture, or is read itself."""
    if output.suffix.lower() not in _FORMATS:
        raise ConfigError(f"{output}: a figure is written as one of {', '.join(_FORMATS)}")
    refuse_input(output, filter(None, inputs))


@styled()
def save(figure: Figure, output: Path, overwrite: bool = False) -> None:
    """Write a figure as PNG, SVG or PDF, by the suffix, unless it is there and the same."""
    fit_fonts(figure)
    buffer, kind = io.BytesIO(), output.suffix[1:].lower()
    figure.savefig(buffer, format=kind, dpi=150, metadata=_DATES.get(kind, {}))
    with claim(output, overwrite=overwrite):
        write_bytes(output, buffer.getvalue())


# Names of points

_SIZE = 8.0  # points
_HEIGHT = 1.35 * _SIZE
_WIDTH = 0.62 * _SIZE  # of a character; most are narrower, and those of East Asia are square
_DISTANCES = (9.0, 20.0, 32.0, 46.0, 62.0)  # from the point, points
_ANGLES = (0, 180, 90, 270, 45, 135, 225, 315, 20, 160, 200, 340, 65, 115, 245, 295)


class NamedPoint(NamedTuple):
    """A point with an error bar, in data coordinates, and what is to be written beside it."""

    x: float
    y: float
    bar: tuple[float, float]  # lowest and highest y
    name: str
    colour: str


def place_names(figure: Figure, axes: Axes, points: Sequence[NamedPoint]) -> None:
    """Write the name of each point near it, with a thin line where it is far.

    Each name takes the first free place of a few, nearest first; where none is free, the one that
    covers least. Axes and figure must be complete: what comes later moves points.
    """
    fit_fonts(figure)
    figure.draw_without_rendering()  # lays the figure out
    scale = 72.0 / figure.dpi  # pixels to points
    frame = scale * np.array(axes.get_window_extent().extents)
    taken = []  # boxes: left, bottom, right, top, in points
    for point in points:
        ends = [(point.x, y) for y in (point.y, *point.bar)]
        (x, y), (_, low), (_, high) = scale * axes.transData.transform(ends)
        taken += [(x - 5, y - 5, x + 5, y + 5), (x - 2, low, x + 2, high)]
    for point in points:
        x, y = scale * axes.transData.transform((point.x, point.y))
        dx, dy, box = _best_place(x, y, point.name, frame, np.array(taken))
        taken.append(tuple(box))
        is_far = math.hypot(dx, dy) > _DISTANCES[0] + 1
        axes.annotate(
            point.name,
            (point.x, point.y),
            (dx, dy),
            textcoords="offset points",
            ha="left" if dx > 1 else "right" if dx < -1 else "center",
            va="center",
            fontsize=_SIZE,
            fontfamily=fonts_of(point.name),
            color=point.colour,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops={"arrowstyle": "-", "lw": 0.6, "color": point.colour} if is_far else None,
        ).set_in_layout(False)


def _best_place(
    x: float, y: float, name: str, frame: np.ndarray, taken: np.ndarray
) -> tuple[float, float, np.ndarray]:
    """Return the offset of a name from its point, and the box it fills, all in points.

    Of all places, it is the one where the box covers least of the boxes `taken`, (N, 4), and
    reaches least beyond the frame, (4,).
    """
    width = sum(_SIZE if unicodedata.east_asian_width(c) in "WF" else _WIDTH for c in name)
    distances, angles = np.meshgrid(_DISTANCES, np.radians(_ANGLES), indexing="ij")
    dx, dy = (distances * np.cos(angles)).ravel(), (distances * np.sin(angles)).ravel()
    left = x + dx - np.select([dx > 1, dx < -1], [0.0, width], width / 2)
    bottom = y + dy - _HEIGHT / 2
    low, high = np.stack([left, bottom], 1), np.stack([left + width, bottom + _HEIGHT], 1)  # (P, 2)
    sides = np.minimum(high[:, None], taken[:, 2:]) - np.maximum(low[:, None], taken[:, :2])
    covered = np.maximum(sides, 0).prod(axis=-1).sum(axis=-1)  # (P, N, 2) -> (P,)
    beyond = np.maximum(frame[:2] - low, 0) + np.maximum(high - frame[2:], 0)
    best = np.argmin(covered + 10 * beyond.sum(axis=-1))
    return float(dx[best]), float(dy[best]), np.concatenate([low[best], high[best]])
