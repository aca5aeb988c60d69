"""Counts of each class -> precision, recall and F1 of each class, macro and micro.

K is the number of classes. Rates are fractions; NaN is an undefined one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ClassScores",
    "Counts",
    "FloatArray",
    "IntArray",
    "Rates",
    "Scores",
    "Undefined",
    "score",
]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """What a metric counts, class by class; each of shape (K,)."""

    tp: IntArray
    n_reference: IntArray
    n_estimated: IntArray

    def total(self) -> "Counts":
        """Return the sums over the classes, shape (1,)."""
        columns = (self.tp, self.n_reference, self.n_estimated)
        return Counts(*(column.sum(keepdims=True) for column in columns))


class Undefined(Enum):
    """What a rate whose denominator is zero does to its class and to the macro average."""

    ZERO = "counts 0"  # F1 is 2 tp / (n_reference + n_estimated)
    DROPPED = "dropped"  # sed_eval: F1 needs both precision and recall
    DROPPED_ZERO_PRECISION = "zero_score"  # the same, but precision without estimates is 0


@dataclass(frozen=True)
class Rates:
    """F1, precision and recall, fractions in [0, 1] or NaN."""

    f1: float
    precision: float
    recall: float


@dataclass(frozen=True)
class ClassScores(Rates):
    """The rates of one class, or of all classes pooled (micro), with the counts behind them."""

    tp: int
    n_reference: int
    n_estimated: int

    @property
    def fp(self) -> int:
        """Return how many estimates match nothing."""
        return self.n_estimated - self.tp

    @property
    def fn(self) -> int:
        """Return how many references nothing matches."""
        return self.n_reference - self.tp


@dataclass(frozen=True)
class Scores:
    """One metric: its macro average, its micro average and every class of the class list."""

    macro: Rates
    micro: ClassScores
    classes: dict[str, ClassScores]

    @property
    def undefined(self) -> tuple[str, ...]:
        """Return the classes whose F1 is undefined."""
        return tuple(label for label, row in self.classes.items() if np.isnan(row.f1))


def score(classes: Sequence[str], counts: Counts, undefined: Undefined) -> Scores:
    """Turn counts into rates.

    Parameters
    ----------
    classes
        The K classes that macro averages over.
    counts
        Of at least K classes, those of `classes` first; the others count in micro only.
    undefined
        The rule for classes without references, without estimates, or without both.
    """
    rates = _rates(counts, undefined)
    macro = Rates(*(_mean(column[: len(classes)], undefined) for column in rates))
    total = counts.total()
    (micro,) = _class_scores(total, _rates(total, undefined))
    return Scores(macro, micro, dict(zip(classes, _class_scores(counts, rates), strict=False)))


def _rates(counts: Counts, undefined: Undefined) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return F1, precision and recall, each of shape (K,)."""
    precision = _ratio(counts.tp, counts.n_estimated)
    recall = _ratio(counts.tp, counts.n_reference)
    f1 = _ratio(2 * counts.tp, counts.n_reference + counts.n_estimated)
    if undefined is Undefined.DROPPED_ZERO_PRECISION:
        precision = np.where(np.isnan(precision), 0.0, precision)
    if undefined is not Undefined.ZERO:
        f1 = np.where(np.isnan(precision) | np.isnan(recall), np.nan, f1)
    return f1, precision, recall


def _class_scores(
    counts: Counts, rates: tuple[FloatArray, FloatArray, FloatArray]
) -> list[ClassScores]:
    columns = (*rates, counts.tp, counts.n_reference, counts.n_estimated)
    return [ClassScores(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def _ratio(part: IntArray, whole: IntArray) -> FloatArray:
    ratio = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _mean(values: FloatArray, undefined: Undefined) -> float:
    """Average over classes; NaN if there is none to average over."""
    known = values[~np.isnan(values)]
    n = len(values) if undefined is Undefined.ZERO else len(known)
    return float(known.sum()) / n if n else float("nan")
