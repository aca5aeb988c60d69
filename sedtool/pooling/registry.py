"""The poolings by name, how one is made from its name and options, and when two are the same."""

import inspect
from collections.abc import Mapping

from sedtool.config import PoolingConfig, lookup
from sedtool.pooling.base import Pooling
from sedtool.pooling.flat import FLAT_POOLINGS
from sedtool.pooling.hierarchical import HierarchicalPooling

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


def canonical(config: PoolingConfig) -> PoolingConfig:
    """Return the same pooling without the options that are at their defaults, others by name."""
    defaults = _defaults(config.name, config.options)
    given = sorted(config.options.items())
    return PoolingConfig(config.name, {k: v for k, v in given if defaults.get(k) != v})


def _defaults(name: str, given: Mapping[str, float | str]) -> dict[str, float | str]:
    """Return the options of a pooling, those of its base included, with their defaults."""
    parameters = inspect.signature(POOLINGS[name]).parameters.values()
    own = {p.name.removesuffix("_"): p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    own |= POOLINGS[name].implied
    base = given.get("base", own.get("base"))
    return _defaults(base, {}) | own if base in POOLINGS else own
