"""Model + audio, features.h5 or scores.h5 -> scores.h5, event list, clip tags.

`infer` finds the clips that the inputs mean, scores and decodes them; `outputs` writes what was
asked for, and keeps the scores of finished clips until it is complete.
"""

from sedtool.inference.infer import InferResult, infer
from sedtool.inference.outputs import InferOutputs

__all__ = ["InferOutputs", "InferResult", "infer"]
