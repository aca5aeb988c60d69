"""Is a difference more than chance? Resampled clips and seeds, intervals, p-values, Holm.

Macro F1, precision and recall are functions of counts that add up over clips. So a resample of
clips needs no matching of events: it is a weight for each clip, how often it was drawn, and all
resamples together are one matrix product of weights and counts.

Axis letters: B resamples, C clips, K classes, S seeds (repeated trainings of one system). The last
axis of counts has length 3: true positives, events of the reference, events of the estimates;
that of rates has F1, precision and recall. Segments and clips are counted in the same way.

A clip stands for whatever is drawn: sum the counts of the clips of one recording first, and
recordings are resampled.

What the numbers say
--------------------
Test clips and trainings are both drawn at random, and a difference is to hold for others of either
kind. Each resample draws C clips with replacement, the same for all systems (paired), and, within
each system, S of its S trainings; its statistic is the mean over the trainings drawn of the macro
rate on the clips drawn. Interval and p-value are those of percentiles: p is twice the smaller share
of resamples on either side of no difference, with one added to both counts, so it is never 0.

With few seeds the interval is too short: the spread of a mean of S resampled values is
√((S - 1) / S) of the true one, 82 % with three. With one seed, chance in training is not in it at
all.

References
----------
B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall 1993, chapters 13 and
15. S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
Statistics 6(2), 1979. A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application",
Cambridge 1997, section 4.2, for the one that is added.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sedtool.errors import ConfigError
from sedtool.evaluation.counts import FloatArray, IntArray, Undefined

__all__ = ["Difference", "clip_weights", "difference", "holm", "macro_rates", "resample"]

_BLOCK = 2**24  # bytes of weights made at a time
_ROUNDING = 1e-12  # sums in another order differ by less, and are equal


@dataclass(frozen=True)
class Difference:
    """How much one system is better than another, and how sure that is."""

    observed: float
    low: float  # ends of the interval
    high: float
    p: float  # of no difference, two-sided, in (0, 1]


def macro_rates(counts: ArrayLike, undefined: Undefined = Undefined.ZERO) -> FloatArray:
    """Return macro F1, precision and recall of summed counts.

    Parameters
    ----------
    counts
        Shape (..., K, 3): true positives, reference, estimates of each class.
    undefined
        The rule for classes without references, without estimates, or without both; as in
        `sedtool.evaluation.counts.score`.

    Returns
    -------
    array
        Shape (..., 3). NaN where every class is left out.
    """
    table = np.asarray(counts, float)
    tp, reference, estimated = table[..., 0], table[..., 1], table[..., 2]
    precision, recall = _ratio(tp, estimated), _ratio(tp, reference)
    f1 = _ratio(2 * tp, reference + estimated)
    if undefined is Undefined.DROPPED_ZERO_PRECISION:
        precision = np.nan_to_num(precision)
    if undefined is not Undefined.ZERO:
        f1 = np.where(np.isnan(precision) | np.isnan(recall), np.nan, f1)
    rates = np.stack([f1, precision, recall], axis=-1)  # (..., K, 3)
    known = ~np.isnan(rates)
    n_known = rates.shape[-2] if undefined is Undefined.ZERO else known.sum(axis=-2)
    return _ratio(np.where(known, rates, 0.0).sum(axis=-2), np.asarray(n_known, float))


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    ratio = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def clip_weights(
    n_clips: int, n_resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Yield how often each clip was drawn, in blocks of shape (b, C) that make up (B, C).

    The draws do not depend on the size of the blocks.
    """
    size = max(1, _BLOCK // (8 * max(n_clips, 1)))
    for first in range(0, n_resamples, size):
        rows = min(size, n_resamples - first)
        drawn = rng.integers(n_clips, size=(rows, n_clips))
        drawn += n_clips * np.arange(rows)[:, None]  # each row counts in bins of its own
        counted = np.bincount(drawn.reshape(-1), minlength=rows * n_clips)
        yield counted.reshape(rows, n_clips).astype(float)


def resample(
    systems: Sequence[IntArray],
    n_resamples: int,
    seed: int,
    undefined: Undefined = Undefined.ZERO,
) -> FloatArray:
    """Return the macro rates of each system in each resample of clips and seeds.

    Parameters
    ----------
    systems
        Counts of shape (S, C, K, 3), one array a system; C and K are those of all, S is not.
    n_resamples
        How many resamples to draw, B.
    seed
        Of the draws; equal seeds give equal results.
    undefined
        As in `macro_rates`.

    Returns
    -------
    array
        Shape (systems, B, 3): F1, precision, recall.

    Raises
    ------
    ConfigError
        If a shape is none of these, or there is no clip, class or seed.
    """
    shapes = {np.shape(system)[1:] for system in systems}
    if len(shapes) != 1 or any(np.ndim(s) != 4 or np.shape(s)[3] != 3 for s in systems):
        raise ConfigError("counts must be of shape (S, C, K, 3), with equal C and K in all systems")
    if not all(np.size(system) for system in systems):
        raise ConfigError("there must be a clip, a class and a seed to draw from")
    ((n_clips, n_classes, _),) = shapes
    rng = np.random.default_rng((seed, 0))
    rows: list[list[FloatArray]] = []  # of each block: (S, b, 3) for each system
    for weights in clip_weights(n_clips, n_resamples, rng):
        rows.append([_rates_of(system, weights, n_classes, undefined) for system in systems])
    by_seed = [np.concatenate(blocks, axis=1) for blocks in zip(*rows, strict=True)]
    return np.stack([_draw_seeds(rates, seed, i) for i, rates in enumerate(by_seed)])


def _rates_of(
    system: IntArray, weights: FloatArray, n_classes: int, undefined: Undefined
) -> FloatArray:
    """Return the macro rates of each seed on each resample of clips, shape (S, b, 3)."""
    counts = np.asarray(system, float)
    sums = weights @ counts.reshape(len(counts), counts.shape[1], -1)  # (b, C) (S, C, 3K)
    return macro_rates(sums.reshape(len(counts), -1, n_classes, 3), undefined)


def _draw_seeds(rates: FloatArray, seed: int, system: int) -> FloatArray:
    """Return the mean over as many seeds as there are, drawn anew in each resample, (B, 3)."""
    n_seeds, n_resamples, _ = rates.shape
    rng = np.random.default_rng((seed, 1, system))
    drawn = rng.integers(n_seeds, size=(n_seeds, n_resamples))
    taken = np.take_along_axis(rates, drawn[:, :, None], axis=0)  # (S, B, 3)
    mean: FloatArray = taken.mean(axis=0)
    return mean


def difference(
    observed: float, resampled: ArrayLike, other: ArrayLike, confidence: float = 0.95
) -> Difference:
    """Return a difference with its interval and p-value.

    Parameters
    ----------
    observed
        The difference of the systems on the clips and seeds as they are.
    resampled, other
        A rate of each system in the same B resamples, shape (B,).
    confidence
        Of the interval, in (0, 1).
    """
    differences = np.asarray(resampled, float) - np.asarray(other, float)
    differences[np.abs(differences) < _ROUNDING] = 0.0
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    fewer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, 2 * (fewer + 1) / (len(differences) + 1))
    return Difference(observed, float(low), float(high), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that take into account how many there are, in the order given.

    Reject what is below α here, and the chance that any true hypothesis is rejected is at most α.

    References
    ----------
    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6(2), 1979.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(factors * np.asarray(p_values, float)[order]), 1.0)
    found = np.empty(len(order))
    found[order] = adjusted
    return [float(p) for p in found]
