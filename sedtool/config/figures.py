"""What the figures show unless told otherwise."""

from dataclasses import dataclass

from sedtool.config.base import require, require_within

__all__ = ["GRADIENT_EXAMPLES", "CorrelationConfig"]


@dataclass(frozen=True)
class CorrelationConfig:
    """How the interval of a rank correlation is found."""

    resamples: int = 2000  # of the bootstrap
    level: float = 0.95  # share of the resamples within the interval
    seed: int = 0

    def __post_init__(self) -> None:
        require_within(100, 1_000_000, self, "resamples")
        require_within(0, 2**62, self, "seed")
        require(0 < self.level < 1, f"level must be between 0 and 1, not {self.level}")


# Poolings that learn start as others do (auto as average, power as linear), so that untrained ones
# would show nothing of their own. n = 0.337 is what the power-pooling paper found for vacuum
# cleaners (its Fig. 2); n = 3 and α = 4 are examples of short events.
GRADIENT_EXAMPLES: dict[str, tuple[str, ...]] = {
    "auto": ("auto:init=4",),
    "cap": ("cap:init=4",),
    "rap": ("rap:init=4",),
    "power": ("power:init=0.337", "power:init=3"),
    "hierarchical": ("hierarchical:base=linear,levels=5x4",),
}
