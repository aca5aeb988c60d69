"""Poolings that are not of sedtool, which look at more than one frame."""

import torch
from torch import Tensor, nn

from sedtool.pooling import Pooling


class TopK(Pooling):
    """The mean of the most probable frames, a share of those of the clip."""

    def __init__(self, n_classes: int, hidden_size: int = 0, *, share: float = 0.3) -> None:
        super().__init__(n_classes, hidden_size)
        self.share = share

    def log_weights(self, logits: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        k = (self.share * valid.sum(dim=1, keepdim=True)).ceil()  # (B, 1, 1)
        z = logits.masked_fill(~valid, -torch.inf)
        rank = z.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return torch.zeros_like(logits).masked_fill(rank >= k, -torch.inf)


class Ranked(Pooling):
    """A frame weighs the less, the more of its clip is more probable: ``log w = -c rank / T``."""

    def __init__(self, n_classes: int, hidden_size: int = 0) -> None:
        super().__init__(n_classes, hidden_size)
        self.c = nn.Parameter(torch.ones(n_classes))

    def log_weights(self, logits: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        z = logits.masked_fill(~valid, -torch.inf)
        rank = z.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return -self.c * rank / valid.sum(dim=1, keepdim=True)


class Smoothed(Pooling):
    """A convolution over time of the hidden states, which ends in zeros as a clip alone does."""

    def __init__(self, n_classes: int, hidden_size: int) -> None:
        super().__init__(n_classes, hidden_size)
        self.conv = nn.Conv1d(hidden_size, n_classes, 3, padding=1)

    def log_weights(self, logits: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        x = nn.functional.conv1d(
            hidden.mT,  # (B, H, T)
            self.conv.weight.to(hidden.dtype),
            self.conv.bias.to(hidden.dtype),
            padding=1,
        )
        return x.mT


class Unmasked(TopK):
    """Top-k as it must not be: it takes the padding for frames."""

    def log_weights(self, logits: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        return super().log_weights(logits, hidden, torch.ones_like(valid))


OTHERS = {"top-k": TopK, "ranked": Ranked, "smoothed": Smoothed}
