"""Which way a clip's loss pushes each of its frames.

Axis letters: T frames, K classes, H hidden size.
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sedtool.checkpoint import Model
from sedtool.pooling import (
    AutoPooling,
    LinearPooling,
    Pooling,
    PowerPooling,
)

__all__ = ["gradient_signs", "run_network", "sign_change"]


def sign_change(pooling: Pooling, k: int, y_c: float) -> float | None:
    """Return the frame probability d at which dy_c/dy_i changes its sign, for class k.

    It is y_c / 2 for linear and n / (n + 1) y_c for power pooling (power-pooling paper, Eqs. 3 and
    5), and y_c - 1/α for the auto poolings, whose gradient is w_i (1 + α (y_i - y_c)) / Σ w.

    Returns
    -------
    float or None
        None if all frames get a gradient of one sign, or no rule is known.
    """
    if isinstance(pooling, LinearPooling):
        return y_c / 2
    if isinstance(pooling, PowerPooling):
        return pooling.learned()["theta"][k] * y_c
    if isinstance(pooling, AutoPooling) and (alpha := pooling.learned()["alpha"][k]) > 0:
        return y_c - 1 / alpha if y_c > 1 / alpha else None
    return None


def run_network(model: Model, features: np.ndarray) -> tuple[Tensor, Tensor]:
    """Run a model over one clip (T, F); return frame logits (1, T', K) and hidden states."""
    seen: list[tuple[Any, ...]] = []
    listening = model.detector.pooling.register_forward_pre_hook(lambda _, args: seen.append(args))
    batch = torch.from_numpy(features.astype(np.float32))[None]
    try:
        with torch.no_grad():
            model.detector(batch, torch.tensor([len(features)]))
    finally:
        listening.remove()
    logits, hidden, *_ = seen[0]
    return logits, hidden


def gradient_signs(
    model: Model, logits: Tensor, hidden: Tensor, k: int
) -> tuple[float, np.ndarray]:
    """Return the probability y_c of class k, and the sign of dy_c/dy_i of each frame.

    In float64, so that a frame that is sure of its class still has a gradient.

    Returns
    -------
    tuple
        y_c, and int (T,): 1 where a positive clip raises the frame, -1 where it lowers it, 0 where
        it leaves it alone.
    """
    pooling = copy.deepcopy(model.detector.pooling).double()
    frames = logits.double().requires_grad_()
    log_y, _ = pooling(frames, hidden.double())
    (gradient,) = torch.autograd.grad(log_y[0, k], frames)
    return log_y[0, k].exp().item(), gradient[0, :, k].sign().int().numpy()
