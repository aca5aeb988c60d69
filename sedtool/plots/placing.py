"""Names beside points, so that they cover neither points nor each other."""

import math
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sedtool.plots.canvas import fit_fonts, fonts_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["NamedPoint", "place_names"]

_SIZE = 8.0  # points
_HEIGHT = 1.35 * _SIZE
_WIDTH = 0.62 * _SIZE  # of a character; most are narrower, and those of East Asia are square
_DISTANCES = (9.0, 20.0, 32.0, 46.0, 62.0)  # from the point, points
_ANGLES = (0, 180, 90, 270, 45, 135, 225, 315, 20, 160, 200, 340, 65, 115, 245, 295)

Box = tuple[float, float, float, float]  # left, bottom, right, top


class NamedPoint(NamedTuple):
    """A point with an error bar, in data coordinates, and what is to be written beside it."""

    x: float
    y: float
    bar: tuple[float, float]  # lowest and highest y
    name: str
    colour: str


def place_names(figure: "Figure", axes: "Axes", points: Sequence[NamedPoint]) -> None:
    """Write the name of each point near it, with a thin line where it is far.

    Each name takes the first free place of a few, nearest first; where none is free, the one that
    covers least. Axes and figure must be complete: what comes later moves points.
    """
    from matplotlib.patheffects import withStroke

    fit_fonts(figure)
    figure.draw_without_rendering()  # lays the figure out
    scale = 72.0 / figure.dpi  # pixels to points

    def place(x: float, y: float) -> np.ndarray:
        return scale * np.array(axes.transData.transform((x, y)))

    edges = axes.get_window_extent()
    frame = (edges.x0 * scale, edges.y0 * scale, edges.x1 * scale, edges.y1 * scale)
    taken: list[Box] = []
    for point in points:
        (x, y), low, high = place(point.x, point.y), *(place(point.x, end) for end in point.bar)
        taken += [(x - 5, y - 5, x + 5, y + 5), (x - 2, low[1], x + 2, high[1])]
    for point in points:
        x, y = place(point.x, point.y)
        dx, dy, box = _best_place(x, y, _width(point.name), frame, taken)
        taken.append(box)
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


def _width(name: str) -> float:
    """Return about how wide a name is, in points."""
    return sum(_SIZE if unicodedata.east_asian_width(c) in "WF" else _WIDTH for c in name)


def _best_place(
    x: float, y: float, width: float, frame: Box, taken: Sequence[Box]
) -> tuple[float, float, Box]:
    """Return the offset of a name from its point, and the box it fills, all in points."""
    others = np.array(taken)
    best: tuple[float, float, float, Box] | None = None
    for distance in _DISTANCES:
        for angle in _ANGLES:
            dx = distance * math.cos(math.radians(angle))
            dy = distance * math.sin(math.radians(angle))
            left = x + dx - (0 if dx > 1 else width if dx < -1 else width / 2)
            bottom = y + dy - _HEIGHT / 2
            box = (left, bottom, left + width, bottom + _HEIGHT)
            cost = _overlap(others, box) + 10 * _outside(frame, box)
            if best is None or cost < best[0]:
                best = (cost, dx, dy, box)
            if cost == 0:
                return dx, dy, box
    assert best is not None
    return best[1:]


def _overlap(boxes: np.ndarray, box: Box) -> float:
    """Return the area of a box that others (N, 4) cover."""
    width = np.minimum(boxes[:, 2], box[2]) - np.maximum(boxes[:, 0], box[0])
    height = np.minimum(boxes[:, 3], box[3]) - np.maximum(boxes[:, 1], box[1])
    return float((np.maximum(width, 0) * np.maximum(height, 0)).sum())


def _outside(frame: Box, box: Box) -> float:
    """Return how far a box reaches beyond the frame."""
    left, bottom = max(frame[0] - box[0], 0.0), max(frame[1] - box[1], 0.0)
    return left + bottom + max(box[2] - frame[2], 0.0) + max(box[3] - frame[3], 0.0)
