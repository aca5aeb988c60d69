"""Figures: what detectors make of clips, what poolings learned and do, how training went.

`plot_*` reads files and writes `output`, a PNG, SVG or PDF by its suffix; `overwrite` replaces one
that is there. A clip is named by its path, or its basename where that is unique, and `reference`
is a file of strong labels that name it. A LabelError says what clip or class a file lacks, an
ArtifactError which file is damaged. In the modules, `draw_*` makes a figure of what is in memory.

Only this package imports matplotlib (the `plot` extra); without it, importing the package raises a
ConfigError.
"""

import logging

from sedtool.errors import ConfigError, ResourceError

_logger = logging.getLogger("matplotlib")
# Where it cannot write below the home, it takes a temporary folder, removes it, and talks of it.
_logger.disabled = True
try:
    import matplotlib  # noqa: F401

    from sedtool.plots.clip import plot_clip
    from sedtool.plots.curves import plot_curves
    from sedtool.plots.gradients import plot_frames, plot_gradients
    from sedtool.plots.learned import plot_durations, plot_pooling
except ModuleNotFoundError as error:
    if error.name != "matplotlib":
        raise
    raise ConfigError("figures need matplotlib: pip install 'sedtool[plot]'") from None
except OSError as error:
    raise ResourceError(f"matplotlib cannot be loaded: {error}") from error
finally:
    _logger.disabled = False

__all__ = [
    "plot_clip",
    "plot_curves",
    "plot_durations",
    "plot_frames",
    "plot_gradients",
    "plot_pooling",
]
