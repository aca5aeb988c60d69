"""The poolings from frames to the clip at once, each defined by its log w.

Axis letters: B clips, T frames, K classes, H hidden size.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sedtool.draws import draw_normal
from sedtool.errors import ConfigError
from sedtool.pooling.base import Options, Pooling

_MAX = 4.6  # of CAP: ln 99
_CLIP = 10.0  # seconds


class AveragePooling(Pooling):
    """Every frame weighs the same: ``log w = 0``; all gradients have the sign of the label."""

    def log_weights(self, logits: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        return torch.zeros_like(logits)


class LinearPooling(Pooling):
    """Linear softmax, each frame weighed by its own probability: ``log w = log y``.

    References
    ----------
    Y. Wang, J. Li, F. Metze, "A comparison of five multiple instance learning pooling functions
    for sound event detection with weak labeling", ICASSP 2019. Eqs. 2 and 3 of the power paper.
    """

    def log_weights(self, logits: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        return F.logsigmoid(logits)


class ExponentialPooling(Pooling):
    """Exponential softmax on probabilities: ``log w = y``, so no frame weighs e times another."""

    def log_weights(self, logits: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        return logits.sigmoid()


class MaxPooling(Pooling):
    """The most probable frame alone; frames that tie for it share the gradient."""

    def pool(self, logits: Tensor, hidden: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        if valid is not None:
            logits = logits.masked_fill(~valid, -torch.inf)
        peak = logits.amax(dim=1)  # (B, T, K) -> (B, K)
        return F.logsigmoid(peak), F.logsigmoid(-peak)


class AttentionPooling(Pooling):
    """Weights from the hidden states by a softmax over time: ``log w = Linear(hidden)``.

    References
    ----------
    Q. Kong, Y. Xu, W. Wang, M. D. Plumbley, "Audio Set classification with attention model: a
    probabilistic perspective", ICASSP 2018; the softmax over time is that of Wang et al. 2019.
    The DCASE 2019 baseline's softmax over classes is another function: `ClassAttentionPooling`.
    """

    def __init__(self, n_classes: int, hidden_size: int) -> None:
        super().__init__(n_classes, hidden_size)
        self.attention = nn.Linear(hidden_size, n_classes)
        nn.init.xavier_uniform_(self.attention.weight)
        nn.init.zeros_(self.attention.bias)

    def log_weights(self, logits: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        if hidden.shape[-1] != self.attention.in_features:
            raise ValueError(
                f"attention pooling needs hidden states of size {self.attention.in_features}, "
                f"got {hidden.shape[-1]}"
            )
        weight, bias = self.attention.weight, self.attention.bias  # perhaps in half precision
        return F.linear(hidden, weight.to(hidden.dtype), bias.to(hidden.dtype))


class ClassAttentionPooling(AttentionPooling):
    """Weights from a softmax over classes: ``log w = log_softmax_k(Linear(hidden))``.

    In each frame the classes compete for the weight, which is then normalised over time like
    that of any other pooling. With one class it is average pooling.

    References
    ----------
    N. Turpault, R. Serizel, A. Parag Shah, J. Salamon, "Sound event detection in domestic
    environments with weakly labeled data and soundscape synthesis", DCASE 2019: its baseline, which
    clamps the softmax to [1e-7, 1], has no masks and does not save these weights with the model.
    Here nothing is clamped, padded frames have no weight, and the weights are saved.
    """

    def __init__(self, n_classes: int, hidden_size: int) -> None:
        super().__init__(n_classes, hidden_size)
        draw_normal(self.attention.weight, 0.0, 0.01)  # as the baseline has it

    def log_weights(self, logits: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        return super().log_weights(logits, hidden, valid).log_softmax(dim=-1)


class AutoPooling(Pooling):
    """Softmax-weighted mean with one learned sharpness per class: ``log w = α y``.

    α = 0 is average pooling, α = 1 exponential pooling, and a large α tends to max pooling.
    α is free: where it turns negative, the pooling tends to the minimum. It starts at `init`; with
    `shared`, there is one for all classes; without `learned`, it is a buffer and stays as it is.

    References
    ----------
    B. McFee, J. Salamon, J. P. Bello, "Adaptive pooling operators for weakly labeled sound event
    detection", IEEE/ACM TASLP 26(11), 2018.
    """

    alpha: Tensor

    def __init__(
        self,
        n_classes: int,
        hidden_size: int = 0,
        *,
        init: float = 0.0,
        shared: bool = False,
        learned: bool = True,
    ) -> None:
        super().__init__(n_classes, hidden_size)
        self.make_values("alpha", init, shared, learned)

    def log_weights(self, logits: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        return self.alpha * logits.sigmoid()

    def learned(self) -> dict[str, list[float]]:
        return {"alpha": self.per_class(self.alpha).tolist()}


class ConstrainedAutoPooling(AutoPooling):
    """Auto pooling with α kept in [0, max] (CAP of McFee et al. 2018).

    For an event of k of T frames to be able to reach y_c = 0.5, α must reach ln((T - k) / k),
    and needs no more: from the shortest event, that is the bound. It is given as `max_`, by default
    4.6, for one frame of a hundred, or as `shortest`, the seconds of the shortest event in a clip
    of `clip` seconds, by default 10.
    """

    def __init__(
        self,
        n_classes: int,
        hidden_size: int = 0,
        *,
        init: float = 0.0,
        max_: float | None = None,
        shortest: float | None = None,
        clip: float | None = None,
        shared: bool = False,
    ) -> None:
        bound = _largest_alpha(max_, shortest, clip)
        super().__init__(
            n_classes, hidden_size, init=_require_bounds(init, bound, "cap"), shared=shared
        )
        self.max = bound

    @classmethod
    def defaults(cls, given: Options) -> dict[str, Any]:
        return super().defaults(given) | {"max": _MAX, "clip": _CLIP}

    def project_(self) -> None:
        self.alpha.data.clamp_(0.0, self.max)


def _largest_alpha(max_: float | None, shortest: float | None, clip: float | None) -> float:
    """Return the bound of CAP as it is given, or from the shortest event."""
    if shortest is None:
        if clip is not None:
            raise ConfigError("clip of cap pooling has a meaning with shortest alone")
        return _MAX if max_ is None else max_
    if max_ is not None:
        raise ConfigError("cap pooling has its bound from max or from shortest, not both")
    clip = _CLIP if clip is None else clip
    if not 0 < 2 * shortest < clip:
        raise ConfigError(
            f"cap pooling needs a shortest event of less than half a clip, not shortest="
            f"{shortest:g} s of clip={clip:g} s"
        )
    return math.log((clip - shortest) / shortest)


class RegularizedAutoPooling(AutoPooling):
    """Auto pooling with a penalty λ Σ α² in the loss (RAP of McFee et al. 2018).

    A shared α counts once for each class in the penalty.
    """

    def __init__(
        self,
        n_classes: int,
        hidden_size: int = 0,
        *,
        init: float = 0.0,
        lambda_: float = 1e-3,
        shared: bool = False,
    ) -> None:
        super().__init__(n_classes, hidden_size, init=init, shared=shared)
        self.lambda_ = _require_not_negative(lambda_, "rap")

    def penalty(self) -> Tensor:
        return self.lambda_ * self.per_class(self.alpha).square().sum()


class PowerPooling(Pooling):
    """Each frame weighed by a learned power of its probability: ``log w = n log y``, n >= 0.

    A frame is pushed up, in a positive clip, where y > θ y_c with θ = n / (n + 1), and down below:
    every class finds its own threshold. n = 0 is average, n = 1 linear, n → ∞ max pooling.

    Parameters
    ----------
    init
        n before training. The paper does not state it; 1 starts as its baseline.
    max_
        Largest n. The paper has no bound; beyond 20 the weights are those of max pooling.
    lambda_
        Weight of the penalty λ Σ n²: 1e-4 for DCASE 2017, 0 for DCASE 2019 in the paper. A shared
        n counts once for each class.
    shared
        One n for all classes, in place of one each.
    learned
        Without, n stays as it is: it is a buffer, no parameter, and there is no penalty.

    References
    ----------
    Y. Liu, H. Chen, Y. Wang, P. Zhang, "Power pooling: an adaptive pooling function for weakly
    labelled sound event detection", Eqs. 4 and 5. How it keeps n non-negative is not
    stated there; here n is projected into [0, max] after every step.
    """

    n: Tensor

    def __init__(
        self,
        n_classes: int,
        hidden_size: int = 0,
        *,
        init: float = 1.0,
        max_: float = 20.0,
        lambda_: float = 1e-4,
        shared: bool = False,
        learned: bool = True,
    ) -> None:
        super().__init__(n_classes, hidden_size)
        self.max, self.lambda_ = max_, _require_not_negative(lambda_, "power")
        self.make_values("n", _require_bounds(init, max_, "power"), shared, learned)

    def log_weights(self, logits: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        return self.n * F.logsigmoid(logits)

    def penalty(self) -> Tensor | float:
        if not isinstance(self.n, nn.Parameter):
            return 0.0
        return self.lambda_ * self.per_class(self.n).square().sum()

    def project_(self) -> None:
        self.n.data.clamp_(0.0, self.max)

    def learned(self) -> dict[str, list[float]]:
        n = self.per_class(self.n)
        return {"n": n.tolist(), "theta": (n / (n + 1)).tolist()}


def _require_bounds(init: float, max_: float, name: str) -> float:
    """Return `init`, or raise a ConfigError if it is not from 0 to a finite `max_`."""
    if not (0 <= init <= max_ and math.isfinite(max_)):
        raise ConfigError(f"{name} pooling needs 0 <= init <= max, not init={init:g}, max={max_:g}")
    return float(init)


def _require_not_negative(lambda_: float, name: str) -> float:
    """Return `lambda_`, or raise a ConfigError if it is negative."""
    if lambda_ < 0:
        raise ConfigError(f"lambda of {name} pooling must not be negative, but is {lambda_:g}")
    return lambda_


FLAT_POOLINGS: dict[str, type[Pooling]] = {
    "attention": AttentionPooling,
    "attention-classes": ClassAttentionPooling,
    "auto": AutoPooling,
    "average": AveragePooling,
    "cap": ConstrainedAutoPooling,
    "exponential": ExponentialPooling,
    "linear": LinearPooling,
    "max": MaxPooling,
    "power": PowerPooling,
    "rap": RegularizedAutoPooling,
}
