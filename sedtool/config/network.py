"""What a network is: its shape, and how it pools.

Both are written ``NAME[:key=value,...]``, e.g. ``dcase2019:time-pooling=4`` and ``power:init=2``.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from sedtool.config.base import lookup, require, require_valid, setting
from sedtool.config.named import Named, split
from sedtool.text import quoted

# Those of `sedtool.crnn.BLOCKS`, for who may not import torch.
BLOCKS = ("relu-max", "glu-average", "context-average")


@dataclass(frozen=True)
class ArchitectureConfig:
    """The shape of a CRNN: convolutional blocks, then bidirectional GRU layers, if any.

    A block is ``relu-max``: convolution, batch norm, ReLU, max pooling; ``glu-average``:
    convolution, batch norm, gated linear unit, average pooling; or ``context-average``: the same
    with context gating.
    """

    channels: tuple[int, ...] = setting(
        (32, 64, 128), "The channels of each block.", within="[1, 4096]"
    )
    kernels: tuple[int, ...] = setting(
        (5, 5, 5), "The sides of the square kernels, which are odd.", within="[1, 31]"
    )
    pools: tuple[tuple[int, int], ...] = setting(
        ((1, 2), (2, 2), (2, 2)),
        "What each block pools: frames, and frequency bands.",
        within="[1, 64]",
    )
    gru_units: int = setting(100, "Units of a GRU layer, per direction.", within="[1, 4096]")
    gru_layers: int = setting(2, "The number of GRU layers; 0 means no GRU.", within="[0, 16]")
    dropout: float = setting(0.0, "The share of values that is dropped.", within="[0, 1)")
    block: str = setting(BLOCKS[0], "The kind of the blocks.", added=True)  # checked when made
    dropout_at: str = setting(
        "all",
        "Dropout is before every layer but the first; or in the blocks, before they pool, and "
        "before the linear layer; or before the linear layer alone.",
        choices=("all", "blocks", "linear"),
        added=True,
    )
    init: str = setting(
        "xavier",
        "Xavier-uniform convolutions and last layer; or the same with gain √2, batch norms of "
        "N(1, 0.02) and a last layer of N(0, 0.01). GRU weights are orthogonal, biases zero.",
        choices=("xavier", "dcase2019"),
        added=True,
    )
    norm_momentum: float = setting(
        0.1, "The share of the latest batch in batch norms.", within="(0, 1]", added=True
    )
    norm_eps: float = setting(
        1e-5, "What is added to the variance in batch norms.", within="(0, 1]", added=True
    )
    fdy: int = setting(
        0,
        "The basis kernels of frequency-dynamic convolutions, in all blocks but the first; with 0 "
        "convolutions are ordinary ones.",
        within="[0, 16]",
        added=True,
    )
    floor: float = setting(
        0.0,
        "The share of the frames of a scoring window that are at or below the floor of their band. "
        "Convolutions then see, beside the features, how far these are above it; with 0 they do "
        "not.",
        within="[0, 1)",
        added=True,
    )

    def __post_init__(self) -> None:
        require(
            0 < len(self.channels) == len(self.kernels) == len(self.pools) <= 16,
            "channels, kernels and pools must name the same number of blocks, of 16 at most",
        )
        # A stranger's model is built from these before anything else of it is looked at.
        require_valid(self)
        require(all(k % 2 for k in self.kernels), f"kernels must be odd, not {self.kernels}")
        require(
            self.time_pooling <= 1024,
            f"pools must not join more than 1024 frames, but join {self.time_pooling}",
        )

    @property
    def time_pooling(self) -> int:
        """Feature frames that become one output frame."""
        return math.prod(time for time, _ in self.pools)

    @property
    def inputs(self) -> tuple[int, ...]:
        """The channels that go into each block."""
        return (2 if self.floor else 1, *self.channels[:-1])


_SEVEN_BLOCKS = ArchitectureConfig(
    channels=(32, 64, 128, 256, 256, 256, 256),
    kernels=(3,) * 7,
    pools=((2, 2), (2, 2), *((1, 2),) * 5),
    gru_units=256,
    dropout=0.5,
    block="context-average",
    dropout_at="blocks",
    norm_eps=1e-3,
)
ARCHITECTURES: dict[str, ArchitectureConfig] = {
    # The power-pooling paper's for DCASE 2017: that of Y. Wang et al., ICASSP 2019, with batch
    # norms and a second GRU layer.
    "dcase2017": ArchitectureConfig(),
    # Its network for DCASE 2019: the feature extractor of its reference [21], the "guided
    # learning" system of that challenge, with the BiGRU and linear layer of [19]. The extractor
    # of [21] does not pool over time; whether the paper's does is not stated.
    "dcase2019": ArchitectureConfig(
        channels=(160, 160, 160),
        kernels=(5, 5, 3),
        pools=((1, 4), (1, 4), (1, 4)),
        gru_units=64,
        dropout=0.5,
        dropout_at="linear",
        init="dcase2019",
    ),
    # That of [19], the baseline of DCASE 2019 task 4, but for its batch norms' momentum of 0.99,
    # which in PyTorch leaves them the statistics of the last batch alone.
    "dcase2019-baseline": ArchitectureConfig(
        channels=(64, 64, 64),
        kernels=(3, 3, 3),
        pools=((2, 4), (2, 4), (2, 4)),
        gru_units=64,
        dropout=0.5,
        block="glu-average",
        dropout_at="blocks",
        init="dcase2019",
        norm_eps=1e-3,
    ),
    "small": ArchitectureConfig(channels=(16, 32, 64), gru_units=64),
    # Those of systems for DESED since 2021: seven blocks of the widths of FDY-SED (arXiv
    # 2203.15296), whose gates they have, too, and of the DCASE 2021 to 2023 baselines.
    "crnn7": _SEVEN_BLOCKS,
    "crnn7-small": replace(_SEVEN_BLOCKS, channels=(16, 32, 64, 128, 128, 128, 128), gru_units=128),
}

# The options of an architecture text: fields of ArchitectureConfig, and its time pooling.
_OPTIONS = (
    *("time-pooling", "gru-units", "gru-layers"),
    *("dropout", "dropout-at", "init", "norm-momentum", "fdy", "block", "floor"),
)


def parse_architecture(text: str) -> ArchitectureConfig:
    """Read ``NAME[:key=value,...]``, e.g. ``dcase2019:time-pooling=4,dropout=0.3``.

    ``time-pooling=N``, a power of two, sets the feature frames that become one output frame: the
    first blocks then pool by two in time, as many as that takes, and the others do not. The
    other keys are fields of `ArchitectureConfig`.
    """
    name, given = split(text, "architecture")
    config = lookup(ARCHITECTURES, name, "architecture")
    kinds: dict[str, Any] = {entry.name: entry.type for entry in fields(config)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        require(
            key in _OPTIONS,
            f"architecture {name} has no option {quoted(key)}; it has: {', '.join(_OPTIONS)}",
        )
        field_name = key.replace("-", "_")
        kind = kinds.get(field_name, int)  # time-pooling is no field
        try:
            values[field_name] = kind(value)
        except ValueError:
            needed = "a whole number" if kind is int else "a number"
            what = quoted(f"{key}={value}")
            require(False, f"architecture option {what} of {quoted(text)} needs {needed}")
    time_pooling = values.pop("time_pooling", config.time_pooling)
    if time_pooling != config.time_pooling:
        values["pools"] = _pools_in_time(config.pools, time_pooling)
    return replace(config, **values)


def _pools_in_time(pools: tuple[tuple[int, int], ...], frames: int) -> tuple[tuple[int, int], ...]:
    """Return the pools of an architecture changed so that `frames` become one."""
    valid = [2**k for k in range(len(pools) + 1)]
    require(
        frames in valid, f"time-pooling must be one of {', '.join(map(str, valid))}, not {frames}"
    )
    halvings = valid.index(frames)
    return tuple((2 if i < halvings else 1, frequency) for i, (_, frequency) in enumerate(pools))


# Those of `sedtool.pooling.POOLINGS`, for who may not import torch.
POOLING_NAMES = (
    *("max", "average", "linear", "exponential", "attention", "attention-classes"),
    *("auto", "cap", "rap", "power", "hierarchical"),
)

# The learning rates of those that start as the average. Adam moves a parameter by about its rate a
# step, so that at that of a network they would stay there, and an average does not say where an
# event is; recipes/esc10/README.md has scores with both.
POOLING_RATES = {"auto": 0.1, "cap": 0.1, "rap": 0.1}

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


@dataclass(frozen=True)
class PoolingConfig(Named):
    """A pooling by name, with its options."""

    kind = "pooling"
    name: str = "power"

    @property
    def rate(self) -> float | None:
        """The learning rate of its own parameters; None: that of the network suits them."""
        name = self.options.get("base") if self.name == "hierarchical" else self.name
        return POOLING_RATES.get(str(name))

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        return (
            *super().names,
            *((self.kind, str(v)) for k, v in self.options.items() if k == "base"),
        )
