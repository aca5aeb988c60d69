"""Validation labels -> thresholds and median windows, written into the model.

`tune` is the stage on files; the functions of `fit` work on arrays.
"""

from sedtool.tuning.fit import (
    best_clip_thresholds,
    clip_f1,
    tune_clips,
    tune_events,
    windows_from_durations,
)
from sedtool.tuning.tune import TuneInputs, TuneResult, tune

__all__ = [
    "TuneInputs",
    "TuneResult",
    "best_clip_thresholds",
    "clip_f1",
    "tune",
    "tune_clips",
    "tune_events",
    "windows_from_durations",
]
