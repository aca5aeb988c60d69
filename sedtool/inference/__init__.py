"""Model + audio, features.h5 or scores.h5 -> scores.h5, event list, clip tags."""

from sedtool.inference.infer import InferResult, infer
from sedtool.inference.outputs import InferOutputs
from sedtool.inference.settings import InferRun, InferSettings

__all__ = ["InferOutputs", "InferResult", "InferRun", "InferSettings", "infer"]
