"""The adaptive poolings of McFee et al.: weights exp(α y) of learned sharpness α."""

import math

from torch import Tensor

from sedtool.errors import ConfigError
from sedtool.pooling.base import Pooling
from sedtool.pooling.options import require_bounds, require_not_negative

__all__ = ["AutoPooling", "ConstrainedAutoPooling", "RegularizedAutoPooling"]

_MAX = 4.6  # of CAP: ln 99
_CLIP = 10.0  # seconds


class AutoPooling(Pooling):
    """Softmax-weighted mean with one learned sharpness per class: ``log w = α y``.

    α = 0 is average pooling, α = 1 exponential pooling, and a large α tends to max pooling.
    α is free: where it turns negative, the pooling tends to the minimum.

    Parameters
    ----------
    init
        α before training.
    shared
        One α for all classes.
    learned
        Without, α stays as it is: it is a buffer, no parameter.

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

    def log_weights(self, logits: Tensor, hidden: Tensor) -> Tensor:
        return self.alpha * logits.sigmoid()

    def learned(self) -> dict[str, list[float]]:
        return {"alpha": self.per_class(self.alpha).tolist()}


class ConstrainedAutoPooling(AutoPooling):
    """Auto pooling with α kept in [0, max] (CAP of McFee et al. 2018).

    For an event of k of T frames to be able to reach y_c = 0.5, α must reach ln((T - k) / k),
    and needs no more: from the shortest event, that is the bound.

    Parameters
    ----------
    init, shared
        As for `AutoPooling`.
    max_
        Largest α; by default 4.6, for one frame of a hundred.
    shortest
        In place of `max_`: seconds of the shortest event.
    clip
        Seconds of a clip, by default 10; for `shortest`.
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
            n_classes, hidden_size, init=require_bounds(init, bound, "cap"), shared=shared
        )
        self.max = bound

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

    Parameters
    ----------
    init, shared
        As for `AutoPooling`; a shared α counts once for each class in the penalty.
    lambda_
        λ.
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
        self.lambda_ = require_not_negative(lambda_, "rap")

    def penalty(self) -> Tensor:
        return self.lambda_ * self.per_class(self.alpha).square().sum()
