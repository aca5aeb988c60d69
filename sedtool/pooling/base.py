"""What all poolings share: masks, the log domain, and the loss.

Axis letters: B clips, T frames, K classes, H hidden size.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sedtool.config import PoolingConfig
from sedtool.config.named import options_of

Options = Mapping[str, float | str]


class Pooling(nn.Module):
    """Weighted mean of the frame probabilities of each clip, computed in the log domain.

    Only poolings that look at the hidden states use their size, H.
    """

    def __init__(self, n_classes: int, hidden_size: int = 0) -> None:
        super().__init__()
        self.n_classes = n_classes

    @classmethod
    def from_options(cls, name: str, options: Options, n_classes: int, hidden_size: int) -> Self:
        """Build the pooling from options as a command line or a model file has them.

        Raises a ConfigError, which `name` stands in, if one is unknown, no number or out of range.
        """
        keywords = PoolingConfig(name, dict(options)).keywords(cls)
        return cls(n_classes, hidden_size, **keywords)

    @classmethod
    def defaults(cls, given: Options) -> dict[str, Any]:
        """Return what the options mean that are not `given`, but what is `given` may change it."""
        return {name: p.default for name, p in options_of(cls).items()}

    def make_values(self, name: str, init: float, shared: bool, learned: bool) -> None:
        """Give the pooling a number a class, or one for all, as a parameter or a fixed buffer."""
        values = torch.full((1 if shared else self.n_classes,), float(init))
        if learned:
            self.register_parameter(name, nn.Parameter(values))
        else:
            self.register_buffer(name, values)

    def per_class(self, values: Tensor) -> Tensor:
        """Return the numbers that `make_values` made, one for each class, (K,)."""
        return values.expand(self.n_classes)

    def log_weights(self, logits: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        """Return log w of each frame.

        Logits and hidden states are 0 beyond the end of a clip, and what is returned there does not
        count. Weights that depend on one frame alone need no more. Those that depend on the whole
        clip, as of a rank, have to leave out the frames that are not `valid`.

        Parameters
        ----------
        logits
            Frame logits z, shape (B, T, K).
        hidden
            Hidden states the logits were made from, shape (B, T, H).
        valid
            True on the frames of each clip, shape (B, T, 1).

        Returns
        -------
        Tensor
            log w, shape (B, T, K), -inf where a frame has no weight, but not in all of a clip.
        """
        raise NotImplementedError

    def forward(
        self, logits: Tensor, hidden: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pool each clip over its valid frames.

        Parameters
        ----------
        logits
            Frame logits z, shape (B, T, K).
        hidden
            Hidden states the logits were made from, shape (B, T, H); only attention needs them.
        mask
            True on valid frames, shape (B, T); all are valid where it is not given.

        Returns
        -------
        tuple of Tensor
            log y and log(1 - y) of each clip and class, each of shape (B, K), float32 at least.

        Raises
        ------
        ValueError
            If a clip has no valid frame.
        """
        # Autocast would run parts of this in half precision, which loses small weights.
        with torch.autocast(device_type=logits.device.type, enabled=False):
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            hidden = logits.new_zeros(*logits.shape[:2], 0) if hidden is None else hidden
            hidden = hidden.to(logits.dtype)
            if logits.shape[1] == 0 or not (mask is None or bool(mask.any(dim=1).all())):
                raise ValueError("a clip has no valid frame, so it has no clip probability")
            if mask is None:
                return self.pool(logits, hidden, None)
            valid = mask.bool()[..., None]  # (B, T, 1)
            # Whatever stands in the padding, NaN included, must not reach values or gradients.
            logits, hidden = logits.masked_fill(~valid, 0.0), hidden.masked_fill(~valid, 0.0)
            return self.pool(logits, hidden, valid)

    def pool(self, logits: Tensor, hidden: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return log y and log(1 - y) (B, K); without `valid` (B, T, 1), all frames are."""
        if valid is None:
            log_w = self.log_weights(logits, hidden, torch.ones_like(logits[..., :1]).bool())
        else:
            log_w = self.log_weights(logits, hidden, valid).masked_fill(~valid, -torch.inf)
        log_w = log_w.log_softmax(dim=1)
        return (
            (log_w + F.logsigmoid(logits)).logsumexp(dim=1),  # (B, T, K) -> (B, K)
            (log_w + F.logsigmoid(-logits)).logsumexp(dim=1),
        )

    def penalty(self) -> Tensor | float:
        """Return the term that training adds to the loss."""
        return 0.0

    def project_(self) -> None:
        """Move the parameters back into their range; training calls it after every step.

        A clamp in the forward pass would have no gradient outside the range, so a parameter that
        crossed its bound would be stuck there.
        """

    def learned(self) -> dict[str, list[float]]:
        """Return what was learned for each class, by name, for the log and the model file.

        Numbers that are shared or fixed are there for each class as well.
        """
        return {}


def clip_loss(log_y: Tensor, log_not_y: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of clip predictions, from their log-probabilities.

    They are log y and log(1 - y), as a pooling returns them, and the target has weak labels in
    [0, 1], all of shape (B, K).
    """
    # Selecting the term, not multiplying by 0, keeps 0 * -inf out of the value and the gradient.
    positive = torch.where(target > 0, target * log_y, 0.0)
    negative = torch.where(target < 1, (1 - target) * log_not_y, 0.0)
    return -(positive + negative).mean()
