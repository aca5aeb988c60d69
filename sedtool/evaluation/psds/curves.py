"""Counts at many thresholds -> ROC curves of classes -> the polyphonic sound detection score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sedtool.config.evaluation import PsdsConfig
from sedtool.evaluation.counts import FloatArray, IntArray

__all__ = ["Curve", "OperatingPoints", "area", "class_curve", "psd_roc"]

_HOUR = 3600.0  # seconds
_BLOCK = 2**22  # values of the curves of all classes made at a time


@dataclass(frozen=True)
class OperatingPoints:
    """What a class counts at P thresholds, or in P lists of events."""

    threshold: FloatArray  # (P,) highest value that still gives these counts
    tp: IntArray  # (P,)
    fp: IntArray  # (P,)
    cross: FloatArray  # (P,) cross-triggers per second of the class crossed, summed over classes


class Curve(NamedTuple):
    """A staircase: from each rate on, up to the next, the ratio beside it."""

    rate: FloatArray  # effective false positives an hour, ascending from 0
    ratio: FloatArray  # (effective) true positive ratio, in [0, 1]


def class_curve(
    points: OperatingPoints, n_reference: int, n_classes: int, seconds: float, config: PsdsConfig
) -> Curve:
    """Return the ROC of a class, as far as it rises and up to `max_efpr`.

    Parameters
    ----------
    points
        In any order.
    n_reference
        Events of the class. Without any the curve is 0.
    n_classes
        Cross-triggers are averaged over the others.
    seconds
        Duration of all clips.
    config
        The scenario.
    """
    cross = config.alpha_ct * points.cross / max(n_classes - 1, 1) if config.alpha_ct else 0.0
    # Sums of weights may miss 0 by a hair.
    rate = np.maximum(np.append(0.0, (points.fp / seconds + cross) * _HOUR), 0.0)
    ratio = np.append(0.0, points.tp / max(n_reference, 1))
    near = np.flatnonzero(rate <= config.max_efpr)
    order = near[np.lexsort((-ratio[near], rate[near]))]
    best = np.maximum.accumulate(ratio[order])
    rises = np.append(True, best[1:] > best[:-1])
    return Curve(rate[order][rises], best[rises])


def psd_roc(curves: Sequence[Curve], alpha_st: float) -> Curve:
    """Return mean less weighted standard deviation over the classes, never below 0."""
    rate = np.unique(np.concatenate([curve.rate for curve in curves]))
    size = max(1, _BLOCK // len(curves))
    pieces = []
    for first in range(0, len(rate), size):
        x = rate[first : first + size]
        ratios = np.stack([c.ratio[np.searchsorted(c.rate, x, "right") - 1] for c in curves])
        pieces.append(ratios.mean(axis=0) - alpha_st * ratios.std(axis=0))
    return Curve(rate, np.maximum(np.concatenate(pieces), 0.0))


def area(curve: Curve, max_rate: float) -> float:
    """Return the mean height of a staircase from 0 to `max_rate`, which no step lies beyond."""
    return float(curve.ratio @ np.diff(curve.rate, append=max_rate) / max_rate)
