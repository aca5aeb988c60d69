"""Figures: what detectors make of clips, what poolings learned and do, how training went.

`plot_*` reads files and writes `output`, a PNG, SVG or PDF by its suffix; `overwrite` replaces one
that is there. A clip is named by its path, or its basename where that is unique, and `reference`
is a file of strong labels that name it. In the modules, `draw_*` makes a figure of what is in
memory.
"""

from sedtool.plots.canvas import require_matplotlib
from sedtool.plots.clip import plot_clip
from sedtool.plots.curves import plot_curves
from sedtool.plots.gradients import plot_frames, plot_gradients
from sedtool.plots.learned import plot_durations, plot_pooling

__all__ = [
    "plot_clip",
    "plot_curves",
    "plot_durations",
    "plot_frames",
    "plot_gradients",
    "plot_pooling",
    "require_matplotlib",
]
