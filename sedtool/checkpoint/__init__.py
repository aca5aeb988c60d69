"""model.safetensors and last.pt, saved and loaded as one.

``model.safetensors`` holds the weights and, as JSON in its header, everything `infer` needs. It is
never a pickle, so a stranger's model is safe to open. Weights and decoding settings are hashed
apart: tuning changes what a model decides, not what its weights are.

``last.pt`` holds what resuming needs. It loads with ``weights_only=True`` and carries its own
digest, because torch does not notice a changed byte.
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
from sedtool.checkpoint.tensors import digest, file_sha256

__all__ = [
    "Model",
    "digest",
    "empty_detector",
    "file_sha256",
    "load_model",
    "load_state",
    "require_finite",
    "save_model",
    "save_state",
    "source_tags",
    "teacher_of",
]
