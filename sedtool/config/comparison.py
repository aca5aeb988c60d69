"""Which runs a sweep makes, and how runs are compared."""

from dataclasses import dataclass

from sedtool.config.base import require, require_valid, setting
from sedtool.config.evaluation import RESAMPLES, ResamplingConfig


@dataclass(frozen=True)
class SweepConfig:
    """What a sweep takes where neither recipe nor command line says more."""

    seeds: tuple[str, ...] = setting(
        ("0",),
        "Seeds and ranges of seeds with commas between them, as in 0-4 or 0,2,5-7. May be given "
        "several times.",
        metavar="LIST",
    )
    features: str = setting(  # of training and validation clips, in the data folder
        "features.h5", "The features file, which is made of --audio if it is missing."
    )
    test_features: str = "test.h5"  # of the test clips, if they are given as audio


@dataclass(frozen=True)
class CompareConfig(ResamplingConfig):
    """How poolings are compared, and how far the comparison can be trusted."""

    against: str | None = setting(
        None,
        "The pooling that others are compared with; by default, linear if it is there, else the "
        "first.",
        metavar="POOLING",
    )
    resamples: int = setting(
        RESAMPLES,
        "How often clips and seeds are resampled for intervals and p-values.",
        within="[1, 1e6]",
    )

    def __post_init__(self) -> None:
        require_valid(self)
        require(self.against != "", "against is empty; name a pooling")
