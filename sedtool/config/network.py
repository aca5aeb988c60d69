"""What a network is: its shape, and how it pools."""

import math
from dataclasses import dataclass, field
from typing import Self

from sedtool.config.base import require

__all__ = ["ARCHITECTURES", "POOLING_NAMES", "ArchitectureConfig", "PoolingConfig"]


@dataclass(frozen=True)
class ArchitectureConfig:
    """The shape of a CRNN: convolutional blocks, then bidirectional GRU layers."""

    channels: tuple[int, ...] = (32, 64, 128)
    kernels: tuple[int, ...] = (5, 5, 5)  # square, odd
    pools: tuple[tuple[int, int], ...] = ((1, 2), (2, 2), (2, 2))  # (time, frequency)
    gru_units: int = 100  # per direction
    gru_layers: int = 2
    dropout: float = 0.0  # before every layer but the first

    def __post_init__(self) -> None:
        require(
            0 < len(self.channels) == len(self.kernels) == len(self.pools) <= 16,
            "channels, kernels and pools must name the same number of blocks, of 16 at most",
        )
        # A stranger's model is built from these before anything else of it is looked at.
        require(
            all(1 <= c <= 4096 for c in self.channels),
            f"channels must be 1 to 4096, not {self.channels}",
        )
        require(
            all(k % 2 == 1 and 1 <= k <= 31 for k in self.kernels),
            f"kernels must be odd and 1 to 31, not {self.kernels}",
        )
        require(
            all(1 <= size <= 64 for pool in self.pools for size in pool),
            f"pools must be 1 to 64, not {self.pools}",
        )
        require(
            self.time_pooling <= 1024,
            f"pools must not join more than 1024 frames, but join {self.time_pooling}",
        )
        require(1 <= self.gru_units <= 4096, f"gru_units must be 1 to 4096, not {self.gru_units}")
        require(1 <= self.gru_layers <= 16, f"gru_layers must be 1 to 16, not {self.gru_layers}")
        require(0 <= self.dropout < 1, f"dropout must be in [0, 1), not {self.dropout}")

    @property
    def time_pooling(self) -> int:
        """Feature frames that become one output frame."""
        return math.prod(time for time, _ in self.pools)


ARCHITECTURES: dict[str, ArchitectureConfig] = {
    "dcase2017": ArchitectureConfig(),
    "small": ArchitectureConfig(channels=(16, 32, 64), gru_units=64),
}


# Those of `sedtool.pooling.POOLINGS`, for who may not import torch.
POOLING_NAMES = (
    *("max", "average", "linear", "exponential", "attention"),
    *("auto", "cap", "rap", "power"),
)


@dataclass(frozen=True)
class PoolingConfig:
    """A pooling by name, with its options; both are checked where the pooling is made."""

    name: str = "power"
    options: dict[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NAME[:key=value,...]``, e.g. ``power:init=1,max=20,lambda=1e-4``."""
        name, _, rest = text.partition(":")
        options: dict[str, float] = {}
        for item in filter(None, rest.split(",")):
            key, equals, value = item.partition("=")
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            require(
                bool(equals) and abs(number) <= 1e6,
                f"pooling option {item!r} of {text!r} is not key=number, of 1e6 at most",
            )
            require(key not in options, f"pooling option {key!r} is given twice in {text!r}")
            options[key] = number
        return cls(name, options)

    def __str__(self) -> str:
        """Return the text that `parse` reads back."""
        options = ",".join(f"{key}={value:g}" for key, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name
