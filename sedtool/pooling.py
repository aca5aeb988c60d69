"""Frame logits (B, T, K) -> clip log-probabilities (B, K).

Every pooling but max is a weighted mean of the frame probabilities y = sigmoid(z) of a clip,

    y_c = Σ_t w_t y_t / Σ_t w_t                      (power-pooling paper, Eq. 1)

and is defined by one line, its log w. The base class does the rest in the log domain:

    log y_c       = logsumexp_t(log w + log σ(z))  - logsumexp_t(log w)
    log (1 - y_c) = logsumexp_t(log w + log σ(-z)) - logsumexp_t(log w)

Both are exact for logits up to 1e30 either way, so the loss needs no clamp; frames beyond the end
of a clip are left out by log w = -inf. To add a pooling, write a class and its line in `POOLINGS`.

Axis letters: B clips, T frames, K classes, H hidden size.
"""

import inspect
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sedtool.config import PoolingConfig, lookup
from sedtool.errors import ConfigError

__all__ = ["POOLINGS", "Pooling", "clip_loss", "make_pooling"]


class Pooling(nn.Module):
    """Weighted mean of the frame probabilities of each clip, computed in the log domain.

    Parameters
    ----------
    n_classes
        Number of event classes, K.
    hidden_size
        Size H of the hidden states; only poolings that look at them use it.
    """

    def __init__(self, n_classes: int, hidden_size: int) -> None:
        super().__init__()

    def log_weights(self, logits: Tensor, hidden: Tensor) -> Tensor:
        """Return log w (B, T, K) from frame logits (B, T, K) and hidden states (B, T, H)."""
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
            padding = ~mask.bool()[..., None]  # (B, T, 1)
            # Whatever stands in the padding, NaN included, must not reach values or gradients.
            logits, hidden = logits.masked_fill(padding, 0.0), hidden.masked_fill(padding, 0.0)
            return self.pool(logits, hidden, padding)

    def pool(self, logits: Tensor, hidden: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return log y and log(1 - y) (B, K); `padding` (B, T, 1) is True beyond a clip's end."""
        log_w = self.log_weights(logits, hidden)
        if padding is not None:
            log_w = log_w.masked_fill(padding, -torch.inf)
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
        """Return what was learned for each class, by name, for the log and the model file."""
        return {}


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


class AttentionPooling(Pooling):
    """Weights from the hidden states by a softmax over time: ``log w = Linear(hidden)``.

    References
    ----------
    Q. Kong, Y. Xu, W. Wang, M. D. Plumbley, "Audio Set classification with attention model: a
    probabilistic perspective", ICASSP 2018; the softmax over time is that of Wang et al. 2019.
    The DCASE 2019 baseline's softmax over classes is another function.
    """

    def __init__(self, n_classes: int, hidden_size: int) -> None:
        super().__init__(n_classes, hidden_size)
        self.attention = nn.Linear(hidden_size, n_classes)
        nn.init.xavier_uniform_(self.attention.weight)
        nn.init.zeros_(self.attention.bias)

    def log_weights(self, logits: Tensor, hidden: Tensor) -> Tensor:
        if hidden.shape[-1] != self.attention.in_features:
            raise ValueError(
                f"attention pooling needs hidden states of size {self.attention.in_features}, "
                f"got {hidden.shape[-1]}"
            )
        weight, bias = self.attention.weight, self.attention.bias  # perhaps in half precision
        return F.linear(hidden, weight.to(hidden.dtype), bias.to(hidden.dtype))


class AutoPooling(Pooling):
    """Softmax-weighted mean with one learned sharpness per class: ``log w = α y``.

    α = 0 is average pooling, α = 1 exponential pooling, and a large α tends to max pooling.
    α is free: where it turns negative, the pooling tends to the minimum.

    Parameters
    ----------
    init
        α of every class before training.

    References
    ----------
    B. McFee, J. Salamon, J. P. Bello, "Adaptive pooling operators for weakly labeled sound event
    detection", IEEE/ACM TASLP 26(11), 2018.
    """

    def __init__(self, n_classes: int, hidden_size: int, *, init: float = 0.0) -> None:
        super().__init__(n_classes, hidden_size)
        self.alpha = nn.Parameter(torch.full((n_classes,), float(init)))

    def log_weights(self, logits: Tensor, hidden: Tensor) -> Tensor:
        return self.alpha * logits.sigmoid()

    def learned(self) -> dict[str, list[float]]:
        return {"alpha": self.alpha.tolist()}


class ConstrainedAutoPooling(AutoPooling):
    """Auto pooling with α kept in [0, max] (CAP of McFee et al. 2018).

    Parameters
    ----------
    max_
        Largest α. For an event of k of T frames to be able to reach y_c = 0.5, α must reach
        ln((T - k) / k): 4.6 for one frame of a hundred.
    """

    def __init__(
        self, n_classes: int, hidden_size: int, *, init: float = 0.0, max_: float = 4.6
    ) -> None:
        super().__init__(n_classes, hidden_size, init=_within(init, max_, "cap"))
        self.max = max_

    def project_(self) -> None:
        self.alpha.data.clamp_(0.0, self.max)


class RegularizedAutoPooling(AutoPooling):
    """Auto pooling with a penalty λ Σ α² in the loss (RAP of McFee et al. 2018)."""

    def __init__(
        self, n_classes: int, hidden_size: int, *, init: float = 0.0, lambda_: float = 1e-3
    ) -> None:
        super().__init__(n_classes, hidden_size, init=init)
        self.lambda_ = _not_negative(lambda_, "rap")

    def penalty(self) -> Tensor:
        return self.lambda_ * self.alpha.square().sum()


class PowerPooling(Pooling):
    """Each frame weighed by a learned power of its probability: ``log w = n log y``, n >= 0.

    A frame is pushed up, in a positive clip, where y > θ y_c with θ = n / (n + 1), and down below:
    every class finds its own threshold. n = 0 is average, n = 1 linear, n → ∞ max pooling.

    Parameters
    ----------
    init
        n of every class before training. The paper does not state it; 1 starts as its baseline.
    max_
        Largest n. The paper has no bound; beyond 20 the weights are those of max pooling.
    lambda_
        Weight of the penalty λ Σ n²: 1e-4 for DCASE 2017, 0 for DCASE 2019 in the paper.

    References
    ----------
    Y. Liu, H. Chen, Y. Wang, P. Zhang, "Power pooling: an adaptive pooling function for weakly
    labelled sound event detection", Eqs. 4 and 5. How it keeps n non-negative is not
    stated there; here n is projected into [0, max] after every step.
    """

    def __init__(
        self,
        n_classes: int,
        hidden_size: int = 0,
        *,
        init: float = 1.0,
        max_: float = 20.0,
        lambda_: float = 1e-4,
    ) -> None:
        super().__init__(n_classes, hidden_size)
        self.max, self.lambda_ = max_, _not_negative(lambda_, "power")
        self.n = nn.Parameter(torch.full((n_classes,), _within(init, max_, "power")))

    def log_weights(self, logits: Tensor, hidden: Tensor) -> Tensor:
        return self.n * F.logsigmoid(logits)

    def penalty(self) -> Tensor:
        return self.lambda_ * self.n.square().sum()

    def project_(self) -> None:
        self.n.data.clamp_(0.0, self.max)

    def learned(self) -> dict[str, list[float]]:
        return {"n": self.n.tolist(), "theta": (self.n / (self.n + 1)).tolist()}


def clip_loss(log_y: Tensor, log_not_y: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of clip predictions, from their log-probabilities.

    Parameters
    ----------
    log_y, log_not_y
        log y and log(1 - y), shape (B, K), as a pooling returns them.
    target
        Weak labels in [0, 1], shape (B, K).
    """
    # Selecting the term, not multiplying by 0, keeps 0 * -inf out of the value and the gradient.
    positive = torch.where(target > 0, target * log_y, 0.0)
    negative = torch.where(target < 1, (1 - target) * log_not_y, 0.0)
    return -(positive + negative).mean()


def make_pooling(config: PoolingConfig, n_classes: int, hidden_size: int) -> Pooling:
    """Build the pooling a configuration names.

    Raises
    ------
    ConfigError
        If the name, or an option of it, is unknown or out of range.
    """
    cls = lookup(POOLINGS, config.name, "pooling")
    keywords = [
        p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    known = {name.removesuffix("_"): name for name in keywords}  # lambda and max are taken words
    for option in config.options:
        if option not in known:
            valid = ", ".join(known) or "none"
            raise ConfigError(f"pooling {config.name!r} has no option {option!r}; it has: {valid}")
    return cls(n_classes, hidden_size, **{known[k]: v for k, v in config.options.items()})


def _within(init: float, max_: float, name: str) -> float:
    if not (0 <= init <= max_ and math.isfinite(max_)):
        raise ConfigError(f"{name} pooling needs 0 <= init <= max, not init={init:g}, max={max_:g}")
    return float(init)


def _not_negative(lambda_: float, name: str) -> float:
    if lambda_ < 0:
        raise ConfigError(f"lambda of {name} pooling must not be negative, but is {lambda_:g}")
    return lambda_


POOLINGS: dict[str, type[Pooling]] = {
    "attention": AttentionPooling,
    "auto": AutoPooling,
    "average": AveragePooling,
    "cap": ConstrainedAutoPooling,
    "exponential": ExponentialPooling,
    "linear": LinearPooling,
    "max": MaxPooling,
    "power": PowerPooling,
    "rap": RegularizedAutoPooling,
}
