"""Figures: what detectors make of clips, what poolings learned and do, how training went.

`plot_*` reads files and writes `output`, a PNG, SVG or PDF by its suffix; `overwrite` replaces one
that is there. A clip is named by its path, or its basename where that is unique, and `reference`
is a file of strong labels that name it. A LabelError says what clip or class a file lacks, an
ArtifactError which file is damaged. In the modules, `draw_*` makes a figure of what is in memory.

Only this package imports matplotlib (the `plot` extra); without it, importing the package raises a
ConfigError.
"""

from sedtool.errors import ConfigError

try:
    import matplotlib  # noqa: F401
except ImportError:
    raise ConfigError("figures need matplotlib: pip install 'sedtool[plot]'") from None

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
]
