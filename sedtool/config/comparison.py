"""Which runs a sweep makes, and how runs are compared."""

from dataclasses import dataclass

from sedtool.config.base import MOST, require, require_finite, require_within
from sedtool.config.evaluation import RESAMPLES, ReportConfig

__all__ = ["CompareConfig", "SweepConfig"]


@dataclass(frozen=True)
class SweepConfig:
    """What a sweep takes where neither recipe nor command line says more."""

    seeds: tuple[str, ...] = ("0",)  # lists of numbers and ranges: 0-4, or 0,2,5-7
    features: str = "features.h5"  # of training and validation clips, in the data folder
    test_features: str = "test.h5"  # of the test clips, if they are given as audio


@dataclass(frozen=True)
class CompareConfig:
    """How poolings are compared, and how far the comparison can be trusted."""

    against: str | None = None  # the reference pooling; None: linear if it is there, else the first
    resamples: int = RESAMPLES  # of clips and seeds
    seed: int = ReportConfig.seed  # of the resampling
    confidence: float = ReportConfig.confidence  # of intervals

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.against != "", "against is empty; name a pooling")
        require_within(1, MOST, self, "resamples")
        require_within(0, 2**63 - 1, self, "seed")
        require(0 < self.confidence < 1, f"confidence must be in (0, 1), not {self.confidence}")
