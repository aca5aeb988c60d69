"""Frame logits (B, T, K) -> clip log-probabilities (B, K).

Every pooling but max is a weighted mean of the frame probabilities y = sigmoid(z) of a clip,

    y_c = Σ_t w_t y_t / Σ_t w_t                      (power-pooling paper, Eq. 1)

and is defined by one line, its log w. The base class does the rest in the log domain:

    log y_c       = logsumexp_t(log w + log σ(z))  - logsumexp_t(log w)
    log (1 - y_c) = logsumexp_t(log w + log σ(-z)) - logsumexp_t(log w)

Both are exact for logits up to 1e30 either way, so the loss needs no clamp; frames beyond the end
of a clip are left out by log w = -inf. Hierarchical pooling repeats any of them, on segments of
frames and then on segments of segments. To add a pooling, write a class in flat.py and its
line in `FLAT_POOLINGS` there.

Axis letters: B clips, T frames, K classes, H hidden size.
"""

from sedtool.config import PoolingConfig
from sedtool.plugins import find, is_known
from sedtool.pooling.base import Pooling, clip_loss
from sedtool.pooling.flat import (
    FLAT_POOLINGS,
    AttentionPooling,
    AutoPooling,
    AveragePooling,
    ClassAttentionPooling,
    ConstrainedAutoPooling,
    ExponentialPooling,
    LinearPooling,
    MaxPooling,
    PowerPooling,
    RegularizedAutoPooling,
)
from sedtool.pooling.hierarchical import HierarchicalPooling

__all__ = [
    "POOLINGS",
    "AttentionPooling",
    "AutoPooling",
    "AveragePooling",
    "ClassAttentionPooling",
    "ConstrainedAutoPooling",
    "ExponentialPooling",
    "HierarchicalPooling",
    "LinearPooling",
    "MaxPooling",
    "Pooling",
    "PowerPooling",
    "RegularizedAutoPooling",
    "canonical",
    "clip_loss",
    "find_pooling",
    "make_pooling",
]

POOLINGS: dict[str, type[Pooling]] = FLAT_POOLINGS | {"hierarchical": HierarchicalPooling}


def find_pooling(name: str) -> type[Pooling]:
    """Return the pooling of a name, or raise a ConfigError with those there are."""
    return find(POOLINGS, PoolingConfig.kind, name, Pooling)


def make_pooling(config: PoolingConfig, n_classes: int, hidden_size: int) -> Pooling:
    """Make the pooling a configuration names.

    Raises
    ------
    ConfigError
        If the name, or an option of it, is unknown or out of range.
    """
    return find_pooling(config.name).from_options(
        config.name, config.options, n_classes, hidden_size
    )


def canonical(config: PoolingConfig) -> PoolingConfig:
    """Return the same pooling without the options that are at their defaults, others by name."""
    if not is_known(config.kind, config.name):  # of a plugin that is not loaded
        return config
    defaults = find_pooling(config.name).defaults(config.options)
    given = sorted(config.options.items())
    return PoolingConfig(config.name, {k: v for k, v in given if defaults.get(k) != v})
