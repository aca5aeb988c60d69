"""The poolings by name, and how one is made from its name and options."""

from sedtool.config import PoolingConfig, lookup
from sedtool.pooling.base import Pooling
from sedtool.pooling.flat import FLAT_POOLINGS
from sedtool.pooling.hierarchical import HierarchicalPooling

__all__ = ["POOLINGS", "make_pooling"]

POOLINGS: dict[str, type[Pooling]] = FLAT_POOLINGS | {"hierarchical": HierarchicalPooling}


def make_pooling(config: PoolingConfig, n_classes: int, hidden_size: int) -> Pooling:
    """Make the pooling a configuration names.

    Raises
    ------
    ConfigError
        If the name, or an option of it, is unknown or out of range.
    """
    pooling = lookup(POOLINGS, config.name, "pooling")
    return pooling.from_options(config.name, config.options, n_classes, hidden_size)
