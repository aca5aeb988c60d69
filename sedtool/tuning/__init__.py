"""Validation labels -> thresholds and median filter lengths, written into the model.

`tune` is the stage on files; the functions of `fit` work on arrays.
"""

from sedtool.config import TuneInputs
from sedtool.tuning.fit import (
    best_clip_thresholds,
    clip_f1,
    lengths_from_durations,
    tune_clips,
    tune_events,
)
from sedtool.tuning.tune import TuneResult, tune

__all__ = [
    "TuneInputs",
    "TuneResult",
    "best_clip_thresholds",
    "clip_f1",
    "lengths_from_durations",
    "tune",
    "tune_clips",
    "tune_events",
]
