"""The poolings by name, and how one is built from its name and options."""

from sedtool.config import lookup
from sedtool.pooling.base import Pooling
from sedtool.pooling.flat import (
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
from sedtool.pooling.options import Options

__all__ = ["FLAT_POOLINGS", "build"]

# Those from frames to the clip at once.
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


def build(
    table: dict[str, type[Pooling]], name: str, options: Options, n_classes: int, hidden_size: int
) -> Pooling:
    """Build the pooling that `name` has in `table`.

    Raises
    ------
    ConfigError
        If the name, or an option of it, is unknown or out of range.
    """
    cls = lookup(table, name, "pooling")
    return cls.from_options(name, options, n_classes, hidden_size)
