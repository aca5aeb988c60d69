"""Model + audio, features.h5 or scores.h5 -> scores.h5, event list, clip tags.

`infer` is the stage on files; `predict` and `score_recordings` are the network on arrays.
"""

from sedtool.inference.scoring import (
    Failure,
    Prediction,
    Recording,
    autocast,
    pick_device,
    predict,
    score_recordings,
)
from sedtool.inference.stage import (
    InferOutputs,
    InferResult,
    InferSettings,
    feature_recordings,
    infer,
)

__all__ = [
    "Failure",
    "InferOutputs",
    "InferResult",
    "InferSettings",
    "Prediction",
    "Recording",
    "autocast",
    "feature_recordings",
    "infer",
    "pick_device",
    "predict",
    "score_recordings",
]
