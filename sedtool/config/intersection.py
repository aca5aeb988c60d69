"""What counts as found where times are judged by overlap: intersection-based F1 and PSDS."""

from dataclasses import dataclass

from sedtool.config.base import MOST, require, require_finite

__all__ = ["PSDS_SCENARIOS", "IntersectionConfig", "PsdsConfig"]


@dataclass(frozen=True)
class IntersectionConfig:
    """The three criteria of intersection-based metrics, each a share in [0, 1]."""

    dtc: float = 0.5  # of an estimate, that references of its class must cover
    gtc: float = 0.5  # of a reference, that accepted estimates of its class must cover
    cttc: float = 0.3  # of a false positive, that references of another class must cover

    def __post_init__(self) -> None:
        require_finite(self)
        for name in ("dtc", "gtc", "cttc"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} must be in [0, 1], not {value}")


@dataclass(frozen=True)
class PsdsConfig:
    """A scenario of the polyphonic sound detection score."""

    dtc: float = 0.7  # as in IntersectionConfig
    gtc: float = 0.7
    cttc: float = 0.3  # without effect where alpha_ct is 0
    alpha_ct: float = 0.0  # weight of the rate of cross-triggers in the effective FP rate
    alpha_st: float = 1.0  # weight of the standard deviation over classes
    max_efpr: float = 100.0  # effective false positives an hour, where the curve ends

    def __post_init__(self) -> None:
        require_finite(self)
        _ = self.criteria  # checks the three of them
        require(0 <= self.alpha_ct <= 1, f"alpha_ct must be in [0, 1], not {self.alpha_ct}")
        require(0 <= self.alpha_st <= MOST, f"alpha_st must be 0 or more, not {self.alpha_st}")
        require(0 < self.max_efpr <= MOST, f"max_efpr must be positive, not {self.max_efpr}")

    @property
    def criteria(self) -> IntersectionConfig:
        """Return what decides which events are found."""
        return IntersectionConfig(self.dtc, self.gtc, self.cttc)


# Of DCASE task 4 from 2021 on: the first asks for precise times, the second for the right class.
PSDS_SCENARIOS = {
    "psds1": PsdsConfig(dtc=0.7, gtc=0.7, alpha_ct=0.0, alpha_st=1.0, max_efpr=100.0),
    "psds2": PsdsConfig(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5, alpha_st=1.0, max_efpr=100.0),
}
