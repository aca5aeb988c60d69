"""model.safetensors and last.pt, saved and loaded as one.

Both are safetensors with a JSON table in the header, never a pickle, so a stranger's are safe to
open. ``model.safetensors`` holds the weights and everything that `infer` needs. What scores depend
on and the decoding settings are hashed apart: tuning changes what a model decides, not what it is.
``last.pt`` holds what resuming needs, and its own digest.
"""

from sedtool.checkpoint.model import (
    Model,
    empty_detector,
    load_model,
    require_finite,
    save_model,
    source_tags,
    teacher_of,
)
from sedtool.checkpoint.state import load_state, save_state
from sedtool.checkpoint.tensors import digest, read_header

__all__ = [
    "Model",
    "digest",
    "empty_detector",
    "load_model",
    "load_state",
    "read_header",
    "require_finite",
    "save_model",
    "save_state",
    "source_tags",
    "teacher_of",
]
