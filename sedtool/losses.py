"""How far scores are from labels: what training lowers, of clips and of frames.

Axis letters: B clips, T' output frames, K classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from sedtool.config.base import require
from sedtool.config.named import LossConfig
from sedtool.plugins import find
from sedtool.pooling import clip_loss

__all__ = ["LOSSES", "BinaryCrossEntropy", "Loss", "make_loss"]


class Loss:
    """A loss of each score, whose mean is that of clips, or of frames; masks are seen to."""

    def values(self, log_y: Tensor, log_not_y: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each score, from log y, log(1 - y) and labels in [0, 1]."""
        raise NotImplementedError

    def of_clips(self, log_y: Tensor, log_not_y: Tensor, target: Tensor) -> Tensor:
        """Return the mean over clips and classes, all of shape (B, K)."""
        return self.values(log_y, log_not_y, target).mean()

    def of_frames(self, logits: Tensor, mask: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the frames where `mask` (B, T') is True, and over classes.

        Logits and targets are of shape (B, T', K).
        """
        padding = ~mask[..., None]
        logits = logits.float().masked_fill(padding, 0.0)
        losses = self.values(F.logsigmoid(logits), F.logsigmoid(-logits), target)
        return _mean(losses, padding)


class BinaryCrossEntropy(Loss):
    """``- target log y - (1 - target) log(1 - y)``.

    With `edges`, frames by an onset or an offset of a class count more: 1 + edges at the border,
    falling along a sine to 1 at `reach` output frames from it. The mean stays one of weights, so
    that the loss keeps its scale.

    References
    ----------
    T. Song, "Onset and offset weighted loss function for sound event detection",
    arXiv:2403.13254: first differences of labels, a sinusoidal window, α = `edges`, σ = `reach`.
    """

    def __init__(self, *, edges: float = 0.0, reach: float = 4) -> None:
        require(edges >= 0, f"edges of bce must not be negative, but is {edges:g}")
        require(
            float(reach).is_integer() and 1 <= reach <= 1000,
            f"reach of bce must be a whole number of frames from 1 to 1000, but is {reach:g}",
        )
        self.edges, self.reach = edges, int(reach)

    def of_clips(self, log_y: Tensor, log_not_y: Tensor, target: Tensor) -> Tensor:
        return clip_loss(log_y, log_not_y, target)

    def of_frames(self, logits: Tensor, mask: Tensor, target: Tensor) -> Tensor:
        padding = ~mask[..., None]
        logits = logits.float().masked_fill(padding, 0.0)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if self.edges:
            weights = self.frame_weights(target, mask).masked_fill(padding, 0.0)
            return (losses * weights).sum() / weights.sum()
        return _mean(losses, padding)

    def frame_weights(self, target: Tensor, mask: Tensor) -> Tensor:
        """Return the weights of frames, of the shape (B, T', K) of their labels.

        A border between two frames of a clip is an onset or offset by as much as their labels
        differ; the nearest frames are half a frame from it. The end of a clip is none.
        """
        change = target.diff(dim=1).abs() * mask[:, 1:, None]
        distances = torch.arange(self.reach, device=target.device) + 0.5
        one_side = torch.cos(torch.pi / 2 * distances / self.reach)
        window = torch.cat([one_side.flip(0), one_side])
        borders = F.pad(change.transpose(1, 2), (self.reach, self.reach))  # (B, K, T' - 1 + ...)
        near = (borders.unfold(2, len(window), 1) * window).amax(dim=-1)  # (B, K, T')
        return 1.0 + self.edges * near.transpose(1, 2)


def _mean(losses: Tensor, padding: Tensor) -> Tensor:
    return losses.masked_fill(padding, 0.0).sum() / ((~padding).sum() * losses.shape[2])


LOSSES: dict[str, type[Loss]] = {"bce": BinaryCrossEntropy}


def make_loss(text: str) -> Loss:
    """Make the loss that a text names; a ConfigError says if the name or an option is none."""
    config = LossConfig.parse(text)
    cls = find(LOSSES, config.kind, config.name, Loss)
    return cls(**config.keywords(cls))
