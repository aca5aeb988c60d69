"""Counts of each clip and class -> precision, recall, F1 and error rates: by class, macro, micro.

Axis letters: B weightings of the clips, such as resamples, C clips, K classes of the class list, L
labels: the class list, and those beyond it that count in micro only. The last axis of a table of
counts has length 3: true positives, references, estimates. Rates are fractions; NaN is an
undefined one.

Sums over the clips are the metric. With weights on the clips they are the counts of a resample, in
which a clip counts as often as it was drawn. A class that has references in the data and none in a
resample is left out of its macro averages: the resample says nothing about the class. (If it
counted 0 there, a perfect system with a class of one clip would have a lower interval end below 1.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

RATES = ("f1", "precision", "recall")
_SMALLEST = float(np.spacing(1.0))  # what sed_eval adds to every denominator


class MacroRule(Enum):
    """What a rate whose denominator is 0 does to its class and to the macro average."""

    ZERO = "counts 0"  # F1 is 2 tp / (n_reference + n_estimated)
    DCASE = "dropped"  # sed_eval: F1 needs both precision and recall
    DCASE_EVENTS = "zero_score"  # the same, but precision without estimates is 0


DCASE_RULES = {"event": MacroRule.DCASE_EVENTS, "segment": MacroRule.DCASE}


def macro_rule(metric: str, compat: str) -> MacroRule:
    """Return the rule of a metric; compat is as in `EvaluationConfig`."""
    return DCASE_RULES[metric] if compat == "dcase" else MacroRule.ZERO


class Entries(NamedTuple):
    """What one kind of count consists of, M entries; those of one class and clip add up."""

    class_in_clip: IntArray  # ``clip * L + label``
    amount: FloatArray | None = None  # None: each is 1


Kinds = tuple[Entries, Entries, Entries]  # true positives, references, estimates


@dataclass(frozen=True, eq=False)
class Counts:
    """What a metric counts in each clip and class. What has no entry is 0."""

    n_clips: int
    labels: Sequence[str]  # by number
    classes: Sequence[str]  # the class list
    kinds: Kinds
    rule: MacroRule = MacroRule.ZERO

    @cached_property
    def by_label(self) -> IntArray:
        """Return the sums over all clips, (L, 3)."""
        size = len(self.labels)
        sums = [np.bincount(cell % max(size, 1), n, size) for cell, n in self.kinds]
        return np.stack(sums, axis=-1).astype(np.int64)

    @cached_property
    def table(self) -> IntArray:
        """Return the sums over all clips of the class list, (K, 3)."""
        return self.by_label[self._listed]

    @cached_property
    def _listed(self) -> IntArray:
        number = {label: k for k, label in enumerate(self.labels)}
        return np.array([number[label] for label in self.classes], np.int64)

    @cached_property
    def by_clip(self) -> "csr_array":
        """Return the counts of the class list in each clip, (C, 3 K)."""
        from scipy.sparse import coo_array  # takes 30 MB; scores alone do without

        place = np.full(len(self.labels), -1)
        place[self._listed] = np.arange(len(self.classes))
        entries = []
        for kind, (cell, amount) in enumerate(self.kinds):
            clip, label = np.divmod(cell, max(len(self.labels), 1))
            column = 3 * place[label] + kind
            amount = np.ones(len(cell)) if amount is None else amount
            listed = column >= 0
            entries.append((amount[listed], clip[listed], column[listed]))
        amount, clip, column = map(np.concatenate, zip(*entries, strict=True))
        shape = (self.n_clips, 3 * len(self.classes))
        return coo_array((amount, (clip, column)), shape).tocsr()

    def weighted(self, weights: FloatArray) -> FloatArray:
        """Return the sums over clips with weights (B, C), of the class list, (B, K, 3)."""
        sums: FloatArray = weights @ self.by_clip
        return sums.reshape(len(weights), len(self.classes), 3)


def class_rates(
    counts: NDArray[np.number], rule: MacroRule
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return F1, precision and recall, each (..., K), of counts (..., K, 3)."""
    tp, reference, estimated = np.moveaxis(counts, -1, 0)
    precision, recall = _ratio(tp, estimated), _ratio(tp, reference)
    f1 = _ratio(2 * tp, reference + estimated)
    if rule is MacroRule.DCASE_EVENTS:
        precision = np.where(np.isnan(precision), 0.0, precision)
    if rule is not MacroRule.ZERO:
        f1 = np.where(np.isnan(precision) | np.isnan(recall), np.nan, f1)
    return f1, precision, recall


def macro_rates(
    counts: NDArray[np.number], rule: MacroRule, expected: BoolArray | None = None
) -> FloatArray:
    """Return macro F1, precision and recall, (..., 3), of counts (..., K, 3).

    A class that is `expected` to have references, (K,), and has none in `counts` is left out; None:
    `counts` is all of the data. NaN where every class is left out.
    """
    return _macro(class_rates(counts, rule), counts, expected, rule is MacroRule.ZERO)


def error_ratio(errors: ArrayLike, n_reference: ArrayLike, rule: MacroRule) -> FloatArray:
    """Return errors per reference; undefined without any, but with the rules of DCASE."""
    least = 0.0 if rule is MacroRule.ZERO else _SMALLEST
    return _ratio(np.asarray(errors), np.asarray(n_reference) + least)


def macro_error_rates(
    counts: NDArray[np.number], rule: MacroRule, expected: BoolArray | None = None
) -> FloatArray:
    """Return macro error, deletion and insertion rates, (..., 3); see `macro_rates`."""
    tp, reference, estimated = np.moveaxis(counts, -1, 0)
    deletion, insertion = (error_ratio(n - tp, reference, rule) for n in (reference, estimated))
    return _macro((deletion + insertion, deletion, insertion), counts, expected, False)


def _macro(
    rates: Sequence[FloatArray],  # (..., K) each
    counts: NDArray[np.number],
    expected: BoolArray | None,
    count_undefined: bool,
) -> FloatArray:
    absent = (counts[..., 1] == 0) & (False if expected is None else expected)
    return np.stack([_mean(each, absent, count_undefined) for each in rates], axis=-1)


def _mean(rates: FloatArray, absent: BoolArray, count_undefined: bool) -> FloatArray:
    """Return the mean over classes, (...), of rates (..., K); undefined ones count 0 or not."""
    defined = ~(np.isnan(rates) | absent)
    n = (~absent if count_undefined else defined).sum(axis=-1)
    return _ratio(np.where(defined, rates, 0.0).sum(axis=-1), n)


def _ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> FloatArray:
    ratio = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=ratio, where=np.greater(whole, 0))
    return ratio


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
    fp: int  # estimates that match nothing
    fn: int  # references that nothing matches
    n_reference: int
    n_estimated: int


@dataclass(frozen=True)
class MetricScores:
    """One metric: its macro average, its micro average and every class of the class list."""

    macro: Rates
    micro: ClassScores
    classes: dict[str, ClassScores]

    @property
    def undefined(self) -> tuple[str, ...]:
        """Return the classes whose F1 is undefined."""
        return tuple(label for label, row in self.classes.items() if np.isnan(row.f1))


def score(counts: Counts) -> MetricScores:
    """Turn counts into rates; labels beyond the class list count in micro only."""
    macro = Rates(*macro_rates(counts.table, counts.rule).tolist())
    (micro,) = _class_scores(counts.by_label.sum(axis=0, keepdims=True), counts.rule)
    rows = _class_scores(counts.table, counts.rule)
    return MetricScores(macro, micro, dict(zip(counts.classes, rows, strict=True)))


def _class_scores(counts: IntArray, rule: MacroRule) -> list[ClassScores]:
    tp, reference, estimated = counts.T
    counted = tp, estimated - tp, reference - tp, reference, estimated
    columns = (*class_rates(counts, rule), *counted)
    return [ClassScores(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]
