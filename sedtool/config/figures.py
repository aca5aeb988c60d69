"""What the figures show unless told otherwise."""

from dataclasses import dataclass

from sedtool.config.base import SEEDS, require_valid, setting


@dataclass(frozen=True)
class CorrelationConfig:
    """How the interval of a rank correlation is found."""

    resamples: int = setting(
        2000,
        "How often classes are resampled for the interval of the correlation.",
        within="[100, 1e6]",
    )
    level: float = setting(0.95, "The confidence of the interval, 0 to 1.", within="(0, 1)")
    seed: int = setting(0, "The seed of the resamples.", within=SEEDS)

    def __post_init__(self) -> None:
        require_valid(self)


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
