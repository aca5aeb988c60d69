"""Rank correlation with a bootstrap interval.

Axis letters: S seeds, K classes, R resamples.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from sedtool.config.figures import CorrelationConfig
from sedtool.draws import generator

__all__ = ["RankCorrelation", "rank_correlation"]


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ and its percentile interval; NaN where it is not defined."""

    rho: float
    low: float
    high: float
    level: float  # of the interval

    def __str__(self) -> str:
        """Return it as text."""
        if math.isnan(self.rho):
            return "ρ not defined"
        return (
            f"ρ = {self.rho:.2f}, {100 * self.level:g} % interval {self.low:.2f} to {self.high:.2f}"
        )


def rank_correlation(
    durations: np.ndarray, values: np.ndarray, config: CorrelationConfig
) -> RankCorrelation:
    """Return the rank correlation of durations and the mean of values over seeds.

    The interval is that of a percentile bootstrap, which draws classes and seeds anew, both with
    replacement: another choice of classes, and other trainings.

    Parameters
    ----------
    durations
        One for each class, shape (K,).
    values
        Learned for each class by each training, shape (S, K).
    config
        Number of resamples, level and seed.

    Returns
    -------
    RankCorrelation
        All NaN where durations or values are all equal; resamples where they are do not count.
    """
    rho = float(_spearman(durations[None], values.mean(axis=0)[None])[0])
    if math.isnan(rho):
        return RankCorrelation(math.nan, math.nan, math.nan, config.level)
    draws = generator("rank correlation", config.seed)
    n_seeds, n_classes = values.shape
    classes = draws.integers(n_classes, size=(config.resamples, n_classes))  # (R, K)
    seeds = draws.integers(n_seeds, size=(config.resamples, n_seeds))  # (R, S)
    counts = (seeds[:, :, None] == np.arange(n_seeds)).sum(axis=1)  # (R, S), how often each
    means = counts @ values / n_seeds  # (R, K)
    drawn = _spearman(durations[classes], np.take_along_axis(means, classes, axis=1))
    tail = (1 - config.level) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return RankCorrelation(rho, float(low), float(high), config.level)


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Spearman's ρ of each row of (R, K); ties have their mean rank, constants none."""
    ranks = [rankdata(side, axis=1) for side in (x, y)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    product = (a * b).sum(axis=1)
    rho: np.ndarray = np.divide(product, scale, out=np.full(len(x), np.nan), where=scale > 0)
    return rho
