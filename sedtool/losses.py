"""How far scores are from labels: what training lowers, of clips and of frames.

Axis letters: B clips, T' output frames, K classes.
"""

from torch import Tensor
from torch.nn import functional as F

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
    """``- target log y - (1 - target) log(1 - y)``."""

    def of_clips(self, log_y: Tensor, log_not_y: Tensor, target: Tensor) -> Tensor:
        return clip_loss(log_y, log_not_y, target)

    def of_frames(self, logits: Tensor, mask: Tensor, target: Tensor) -> Tensor:
        padding = ~mask[..., None]
        logits = logits.float().masked_fill(padding, 0.0)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return _mean(losses, padding)


def _mean(losses: Tensor, padding: Tensor) -> Tensor:
    return losses.masked_fill(padding, 0.0).sum() / ((~padding).sum() * losses.shape[2])


LOSSES: dict[str, type[Loss]] = {"bce": BinaryCrossEntropy}


def make_loss(text: str) -> Loss:
    """Make the loss that a text names; a ConfigError says if the name or an option is none."""
    config = LossConfig.parse(text)
    cls = find(LOSSES, config.kind, config.name, Loss)
    return cls(**config.keywords(cls))
