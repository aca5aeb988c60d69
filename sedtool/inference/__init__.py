"""Model + audio, features.h5 or scores.h5 -> scores.h5, event list, clip tags.

`infer` is the stage on files; `predict` and `score_recordings` are the network on arrays.
"""

from sedtool.inference.plan import InferencePlan, plan_inference
from sedtool.inference.scoring import (
    Failure,
    Prediction,
    Recording,
    autocast,
    pick_device,
    predict,
    score_recordings,
)
from sedtool.inference.settings import InferOutputs, InferRun, InferSettings
from sedtool.inference.sources import feature_recordings
from sedtool.inference.stage import InferResult, infer

__all__ = [
    "Failure",
    "InferOutputs",
    "InferResult",
    "InferRun",
    "InferSettings",
    "InferencePlan",
    "Prediction",
    "Recording",
    "autocast",
    "feature_recordings",
    "infer",
    "pick_device",
    "plan_inference",
    "predict",
    "score_recordings",
]
