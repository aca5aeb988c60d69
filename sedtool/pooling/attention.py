"""Poolings whose weights come from the hidden states behind the logits."""

from torch import Tensor, nn
from torch.nn import functional as F

from sedtool.pooling.base import Pooling

__all__ = ["AttentionPooling", "ClassAttentionPooling"]


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

    def log_weights(self, logits: Tensor, hidden: Tensor) -> Tensor:
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
        nn.init.normal_(self.attention.weight, 0.0, 0.01)  # as the baseline has it

    def log_weights(self, logits: Tensor, hidden: Tensor) -> Tensor:
        return super().log_weights(logits, hidden).log_softmax(dim=-1)
