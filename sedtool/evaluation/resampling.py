"""Is a difference more than chance? Resampled clips and seeds, intervals, p-values, Holm.

What a metric counts adds up over clips. So a resample of clips needs no matching of events: it is a
weight for each clip, how often it was drawn, and its counts are weights times counts. PSDS is the
same at every threshold: see `sedtool.evaluation.psds`. With groups, such as the recordings that
clips were cut from, whole groups are drawn.

Axis letters: B resamples, C clips, U units that are drawn (clips or groups), S seeds (repeated
trainings of one system).

What the numbers say
--------------------
Each resample draws U of the U units with replacement, the same for all systems (paired). Interval
and p-value are those of percentiles: p is twice the smaller share of resamples on either side of no
difference, with one added to both counts, so it is never 0.

A class that has references in the data and none in a resample is left out of that resample's macro
average, by every macro rule, since the resample says nothing about it; see `counts`. A resample
without any class says nothing at all, and is left out of interval and p-value.

Where trainings are drawn too (`sedtool compare`), test clips and trainings are both drawn at
random, and a difference is to hold for others of either kind. Within each system, S of its S
trainings are drawn; its statistic is the mean over the trainings drawn of the macro score on the
clips drawn. With few seeds the interval is too short: the spread of a mean of S resampled values is
√((S - 1) / S) of the true one, 82 % with three. With one seed, chance in training is not in it at
all; nor is it in the intervals of `sedtool evaluate`.

References
----------
B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall 1993, chapters 13 and
15. S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
Statistics 6(2), 1979. A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application",
Cambridge 1997, section 4.2, for the one that is added.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sedtool.config.evaluation import ReportConfig
from sedtool.errors import ArtifactError, LabelError
from sedtool.evaluation.counts import RATES, Counts, FloatArray, macro_error_rates, macro_rates
from sedtool.evaluation.psds import PsdsCounts
from sedtool.labels import NameIndex

Progress = Callable[[int, int, str], None]

_BLOCK = 2**24  # bytes of weights made at a time
_AT_A_TIME = 100  # resamples at most, between two reports of progress
_ROUNDING = 1e-12  # sums in another order differ by less, and are equal


class Measure(NamedTuple):
    """Scores that can be computed again with weights on the clips."""

    clips: Sequence[str]  # C
    scores: Callable[[FloatArray], Mapping[str, FloatArray]]  # (B, C) -> (B,) each, by name


def measure(metric: str, clips: Sequence[str], counts: Counts, of_errors: bool = False) -> Measure:
    """Return macro F1, precision and recall, or the macro error rate; none without any class."""
    names = ("error_rate",) if of_errors else RATES
    macro = macro_error_rates if of_errors else macro_rates

    def scores(weights: FloatArray) -> dict[str, FloatArray]:
        if not counts.classes:
            return {}
        rates = macro(counts.weighted(weights), counts.rule, counts.table[:, 1] > 0)
        return {f"{metric}_{name}": rates[:, i] for i, name in enumerate(names)}

    return Measure(clips, scores)


def psds_measure(name: str, counts: PsdsCounts) -> Measure:
    """Return the PSDS of a scenario."""
    return Measure(counts.clips, lambda weights: {name: counts.psds(weights)})


class Resampled(NamedTuple):
    """A system that is resampled."""

    name: str
    scores: Mapping[str, float]  # on all clips
    measures: Sequence[Measure]

    @property
    def clips(self) -> set[str]:
        """Return the clips of all measures."""
        return set[str]().union(*(measure.clips for measure in self.measures))


@dataclass(frozen=True)
class Difference:
    """How much one system is better than another, and how sure that is."""

    observed: float
    low: float  # ends of the interval
    high: float
    p: float  # of no difference, two-sided, in (0, 1]


@dataclass(frozen=True)
class Statistics:
    """Intervals of macro scores by name, and differences to another system."""

    resamples: int
    seed: int
    confidence: float
    unit: str  # "clips" or "groups"
    n_units: int
    intervals: Mapping[str, tuple[float, float]]
    against: str | None = None  # the name of the other system
    other: Mapping[str, float] = field(default_factory=dict)  # its scores
    differences: Mapping[str, Difference] = field(default_factory=dict)


def statistics(
    system: Resampled,
    other: Resampled | None,
    report: ReportConfig,
    groups: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Statistics:
    """Resample clips and return the interval of every macro score.

    Each clip is drawn by itself, or with its group: `groups` has that of each, by clip name.
    `progress` is called with resamples done, resamples, and what they are, now and then.

    Raises
    ------
    LabelError
        If there is no clip, or one has no group.
    """
    systems = [system] if other is None else [system, other]
    units = _units(sorted(set[str]().union(*(each.clips for each in systems))), groups)
    drawn = rescore([s.measures for s in systems], units, report.resamples, report.seed, progress)
    tail = (1 - report.confidence) / 2
    intervals = {
        name: _interval(values, tail) for name, values in drawn[0].items() if name in system.scores
    }
    unit = "clips" if groups is None else "groups"
    settings = report.resamples, report.seed, report.confidence, unit, len(set(units.values()))
    if other is None:
        return Statistics(*settings, intervals)
    nothing = np.zeros(0)
    differences = {
        name: difference(
            value - other.scores[name],
            drawn[0].get(name, nothing),
            drawn[1].get(name, nothing),
            report.confidence,
        )
        for name, value in system.scores.items()
    }
    return Statistics(*settings, intervals, other.name, other.scores, differences)


def _units(clips: Sequence[str], groups: Mapping[str, str] | None) -> dict[str, int]:
    """Return the number of what each clip is drawn with."""
    if not clips:
        raise LabelError("there is no clip to draw from: --bootstrap needs labels")
    if groups is None:
        return {clip: i for i, clip in enumerate(clips)}
    index = NameIndex(groups)
    names, missing = index.resolve(clips, "groups")
    if missing:
        raise (LabelError if names else ArtifactError)(
            f"{len(missing)} clips have no group: {index.listed(missing)}; name that of every clip"
        )
    of_clip = {clip: groups[name] for clip, name in names.items()}
    number = {group: i for i, group in enumerate(sorted(set(of_clip.values())))}
    return {clip: number[group] for clip, group in of_clip.items()}


def rescore(
    systems: Sequence[Sequence[Measure]],
    units: Mapping[str, int],
    resamples: int,
    seed: int,
    progress: Progress | None = None,
) -> list[dict[str, FloatArray]]:
    """Return the scores of each system in the same resamples, (B,) each, by name.

    `units` has the number of what each clip is drawn with, from 0, by clip name.
    """
    n_units = len(set(units.values()))
    of_clips = [[np.array([units[c] for c in m.clips]) for m in measures] for measures in systems]
    blocks: list[list[dict[str, FloatArray]]] = [[] for _ in systems]
    done = 0
    for weights in clip_weights(n_units, resamples, np.random.default_rng((seed, 0))):
        for measures, numbers, scores in zip(systems, of_clips, blocks, strict=True):
            pairs = zip(measures, numbers, strict=True)
            scores.append({k: v for m, n in pairs for k, v in m.scores(weights[:, n]).items()})
        done += len(weights)
        if progress:
            progress(done, resamples, "resamples")
    return [
        {name: np.concatenate([block[name] for block in scores]) for name in scores[0]}
        for scores in blocks
    ]


def clip_weights(n_units: int, resamples: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Yield how often each unit was drawn, in blocks of shape (b, U) that make up (B, U).

    The draws do not depend on the size of the blocks.
    """
    size = min(_AT_A_TIME, max(1, _BLOCK // (8 * n_units)))
    for first in range(0, resamples, size):
        rows = min(size, resamples - first)
        drawn = rng.integers(n_units, size=(rows, n_units))
        drawn += n_units * np.arange(rows)[:, None]  # each row counts in bins of its own
        counted = np.bincount(drawn.reshape(-1), minlength=rows * n_units)
        yield counted.reshape(rows, n_units).astype(float)


def seed_means(scores: Sequence[FloatArray], seed: int, system: int) -> FloatArray:
    """Return the mean over as many trainings as there are, drawn anew in each resample, (B,).

    `scores` are those of each training in the same resamples of clips, S arrays (B,). Systems with
    different numbers have draws of their own.
    """
    by_seed = np.stack(scores)  # (S, B)
    rng = np.random.default_rng((seed, 1, system))
    drawn = rng.integers(len(by_seed), size=by_seed.shape)
    mean: FloatArray = np.take_along_axis(by_seed, drawn, axis=0).mean(axis=0)
    return mean


def _interval(values: FloatArray, tail: float) -> tuple[float, float]:
    """Return the ends of an interval; resamples in which nothing is defined say nothing."""
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan, math.nan
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def difference(
    observed: float,
    resampled: ArrayLike,
    other: ArrayLike,
    confidence: float = ReportConfig.confidence,
) -> Difference:
    """Return a difference, as it was observed, with its interval and p-value.

    `resampled` and `other` are a score of each system in the same resamples, (B,); those where one
    is NaN say nothing.
    """
    differences = np.asarray(resampled, float) - np.asarray(other, float)
    differences = differences[~np.isnan(differences)]
    if not differences.size:
        return Difference(observed, math.nan, math.nan, math.nan)
    differences[np.abs(differences) < _ROUNDING] = 0.0
    low, high = _interval(differences, (1 - confidence) / 2)
    fewer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, 2 * (fewer + 1) / (len(differences) + 1))
    return Difference(observed, low, high, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that take into account how many there are, in the order given.

    Reject what is below α here, and the chance that any true hypothesis is rejected is at most α.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(factors * np.asarray(p_values, float)[order]), 1.0)
    in_order = np.empty(len(order))
    in_order[order] = adjusted
    return [float(p) for p in in_order]
