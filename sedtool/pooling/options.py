"""Options of poolings, as a command line or a model file has them, to keyword arguments."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

from sedtool.errors import ConfigError

__all__ = ["Options", "keywords", "require_bounds", "require_not_negative"]

Options = Mapping[str, float | str]


def keywords(cls: type, name: str, options: Options) -> dict[str, Any]:
    """Return the keyword arguments of a pooling that `options` stand for.

    The options of a pooling are its keyword-only arguments, without the underscore behind words
    that Python has taken. Those declared as bool are 0 or 1.

    Raises
    ------
    ConfigError
        If an option is unknown or no number.
    """
    parameters = inspect.signature(cls).parameters.values()
    known = {p.name.removesuffix("_"): p for p in parameters if p.kind is p.KEYWORD_ONLY}
    for option, value in options.items():
        if option not in known:
            valid = ", ".join(known) or "none"
            raise ConfigError(f"pooling {name!r} has no option {option!r}; it has: {valid}")
        if type(value) not in (int, float):
            raise ConfigError(f"option {option!r} of {name} pooling is {value!r}, and no number")
        if known[option].annotation is bool and value not in (0, 1):
            raise ConfigError(f"option {option!r} of {name} pooling is 0 or 1, not {value:g}")
    return {known[option].name: value for option, value in options.items()}


def require_bounds(init: float, max_: float, name: str) -> float:
    """Return `init`, or raise a ConfigError if it is not from 0 to a finite `max_`."""
    if not (0 <= init <= max_ and math.isfinite(max_)):
        raise ConfigError(f"{name} pooling needs 0 <= init <= max, not init={init:g}, max={max_:g}")
    return float(init)


def require_not_negative(lambda_: float, name: str) -> float:
    """Return `lambda_`, or raise a ConfigError if it is negative."""
    if lambda_ < 0:
        raise ConfigError(f"lambda of {name} pooling must not be negative, but is {lambda_:g}")
    return lambda_
