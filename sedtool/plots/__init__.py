"""Figures: what detectors make of clips, what poolings learned and do, how training went.

`plot_*` reads files and writes a picture. In the modules, `draw_*` makes a figure of what is in
memory.
"""

from sedtool.plots.canvas import require_matplotlib
from sedtool.plots.clip import plot_clip
from sedtool.plots.curves import plot_curves
from sedtool.plots.durations import plot_durations
from sedtool.plots.frames import plot_frames
from sedtool.plots.gradients import plot_gradients
from sedtool.plots.pooling import plot_pooling

__all__ = [
    "plot_clip",
    "plot_curves",
    "plot_durations",
    "plot_frames",
    "plot_gradients",
    "plot_pooling",
    "require_matplotlib",
]
