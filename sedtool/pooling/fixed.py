"""Poolings without parameters: average, linear, exponential, max."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sedtool.pooling.base import Pooling

__all__ = ["AveragePooling", "ExponentialPooling", "LinearPooling", "MaxPooling"]


class AveragePooling(Pooling):
    """Every frame weighs the same: ``log w = 0``; all gradients have the sign of the label."""

    def log_weights(self, logits: Tensor, hidden: Tensor) -> Tensor:
        return torch.zeros_like(logits)


class LinearPooling(Pooling):
    """Linear softmax, each frame weighed by its own probability: ``log w = log y``.

    References
    ----------
    Y. Wang, J. Li, F. Metze, "A comparison of five multiple instance learning pooling functions
    for sound event detection with weak labeling", ICASSP 2019. Eqs. 2 and 3 of the power paper.
    """

    def log_weights(self, logits: Tensor, hidden: Tensor) -> Tensor:
        return F.logsigmoid(logits)


class ExponentialPooling(Pooling):
    """Exponential softmax on probabilities: ``log w = y``, so no frame weighs e times another."""

    def log_weights(self, logits: Tensor, hidden: Tensor) -> Tensor:
        return logits.sigmoid()


class MaxPooling(Pooling):
    """The most probable frame alone; frames that tie for it share the gradient."""

    def pool(self, logits: Tensor, hidden: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
        if padding is not None:
            logits = logits.masked_fill(padding, -torch.inf)
        peak = logits.amax(dim=1)  # (B, T, K) -> (B, K)
        return F.logsigmoid(peak), F.logsigmoid(-peak)
