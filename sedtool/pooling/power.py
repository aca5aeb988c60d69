"""Power pooling: each frame weighed by a learned power of its probability."""

from torch import Tensor, nn
from torch.nn import functional as F

from sedtool.pooling.base import Pooling
from sedtool.pooling.options import require_bounds, require_not_negative

__all__ = ["PowerPooling"]


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
        self.max, self.lambda_ = max_, require_not_negative(lambda_, "power")
        self.make_values("n", require_bounds(init, max_, "power"), shared, learned)

    def log_weights(self, logits: Tensor, hidden: Tensor) -> Tensor:
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
