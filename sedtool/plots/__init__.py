"""Figures: what detectors make of clips, what poolings learned and do, how training went.

`draw_*` makes a figure of what is in memory, `plot_*` reads files and writes a picture.
"""

from sedtool.plots.canvas import require_matplotlib
from sedtool.plots.clip import draw_clip, plot_clip
from sedtool.plots.curves import History, draw_curves, plot_curves, read_history
from sedtool.plots.durations import (
    ClassExponents,
    RankCorrelation,
    draw_durations,
    plot_durations,
    rank_correlation,
)
from sedtool.plots.frames import FrameCurve, draw_frames, frame_curve, plot_frames
from sedtool.plots.gradients import ExampleClip, clip_gradient, draw_gradients, plot_gradients
from sedtool.plots.pooling import draw_pooling, plot_pooling

__all__ = [
    "ClassExponents",
    "ExampleClip",
    "FrameCurve",
    "History",
    "RankCorrelation",
    "clip_gradient",
    "draw_clip",
    "draw_curves",
    "draw_durations",
    "draw_frames",
    "draw_gradients",
    "draw_pooling",
    "frame_curve",
    "plot_clip",
    "plot_curves",
    "plot_durations",
    "plot_frames",
    "plot_gradients",
    "plot_pooling",
    "rank_correlation",
    "read_history",
    "require_matplotlib",
]
