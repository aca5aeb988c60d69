"""What is chosen by ``NAME[:key=value,...]``: poolings, augmentations, losses."""

import inspect
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from sedtool.config.base import as_number, require
from sedtool.text import quoted

_WORDS = ("base", "levels", "mode")  # options that are no numbers
_MOST = 1e6  # of an option that is one


@dataclass(frozen=True)
class Named:
    """What has a name and options; which there are is checked where it is made."""

    kind: ClassVar[str]  # what it is, for messages
    name: str
    options: dict[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Both may be a stranger's.
        require(
            isinstance(self.name, str) and isinstance(self.options, dict),
            f"a {self.kind} is a name and a table of options",
        )
        for key, value in self.options.items():
            is_number = type(value) in (int, float) and abs(value) <= _MOST  # type: ignore[arg-type]
            is_word = key in _WORDS and isinstance(value, str) and 0 < len(value) <= 100
            require(
                is_number or is_word,
                f"{self.kind} option {quoted(key)} is {quoted(value)}, "
                f"which is no number of 1e6 at most",
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NAME[:key=value,...]``, e.g. ``power:init=1,max=20,lambda=1e-4``."""
        name, given = split(text, cls.kind, "number")
        options: dict[str, float | str] = {}
        for key, value in given.items():
            number = as_number(value)
            is_word = math.isnan(number) and key in _WORDS and value != ""
            options[key] = value if is_word else number
            require(
                is_word or abs(number) <= _MOST,
                f"{cls.kind} option {quoted(f'{key}={value}')} of {quoted(text)} is not "
                "key=number, of 1e6 at most",
            )
        return cls(name, options)

    def __str__(self) -> str:
        """Return the text that `parse` reads back."""
        options = ",".join(f"{key}={_short(value)}" for key, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """Return kind and name of all that it is made of."""
        return ((self.kind, self.name),)

    def keywords(self, cls: type) -> dict[str, Any]:
        """Return the options as keyword arguments of the class that has them.

        Raises a ConfigError if one is unknown, or neither a number nor a word as it must be.
        """
        known = options_of(cls)
        of = f"of {self.name} {self.kind}"
        for option, value in self.options.items():
            require(
                option in known,
                f"{self.kind} {quoted(self.name)} has no option {quoted(option)}; it has: "
                f"{', '.join(known) or 'none'}",
            )
            declared = known[option].annotation
            is_number = isinstance(value, int | float)
            require(
                is_number or declared in (str, "str"),
                f"option {option!r} {of} is {quoted(value)}, and no number",
            )
            require(
                value in (0, 1) or declared not in (bool, "bool"),
                f"option {option!r} {of} is 0 or 1, not {value}",
            )
        return {known[option].name: value for option, value in self.options.items()}


def options_of(cls: type) -> dict[str, inspect.Parameter]:
    """Return the keyword-only arguments of a class by option; those declared as bool are 0 or 1.

    The option has not the underscore behind words that Python has taken.
    """
    parameters = inspect.signature(cls).parameters.values()
    return {p.name.removesuffix("_"): p for p in parameters if p.kind is p.KEYWORD_ONLY}


def split(text: str, what: str, kind: str = "value") -> tuple[str, dict[str, str]]:
    """Split ``NAME[:key=value,...]``; errors say of `what` it is, and what `kind` values are."""
    name, _, rest = text.partition(":")
    options: dict[str, str] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        require(bool(equals), f"{what} option {quoted(item)} of {quoted(text)} is not key={kind}")
        require(key not in options, f"{what} option {quoted(key)} is given twice in {quoted(text)}")
        options[key] = value
    return name, options


def _short(value: float | str) -> str:
    """Return the shortest text that is read as `value`."""
    if isinstance(value, str):
        return value
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


# Those of `sedtool.augment` and of `sedtool.losses`, for who may not import torch.
AUGMENTATION_NAMES = (
    *("time-shift", "mixup", "hard-mixup"),
    *("time-mask", "freq-mask", "freq-warp", "filter", "gain"),
)
LOSS_NAMES = ("bce",)


class AugmentationConfig(Named):
    """An augmentation by name, with its options."""

    kind = "augmentation"


class LossConfig(Named):
    """A loss by name, with its options."""

    kind = "loss"
