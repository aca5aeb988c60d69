"""How sure macro scores are, and their difference to another system's: resampled clips.

Counts of each clip are made once; a resample weights them, as `sedtool.evaluation.resampling` says.
So it is with PSDS, at every threshold: see `sedtool.evaluation.psds.steps`. With groups, such
as the recordings that clips were cut from, whole groups are drawn. The two systems of a difference
see the same clips in each resample.

Intervals are percentiles. They say how the score moves with the choice of test clips; chance in
training is not in them: `sedtool compare` has that, too.

Axis letters: B resamples, C clips or groups, K classes. The last axis of counts is true positives,
reference, estimates.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sedtool.config.evaluation import ReportConfig
from sedtool.errors import LabelError
from sedtool.evaluation.counts import FloatArray, IntArray, Undefined
from sedtool.evaluation.pairing import match_clips
from sedtool.evaluation.psds.steps import PsdsCounts
from sedtool.evaluation.resampling import Difference, clip_weights, difference, macro_rates

__all__ = ["CountTable", "Progress", "Statistics", "System", "macro_error_rate", "statistics"]

Progress = Callable[[int, int, str], None]
_SMALLEST = float(np.spacing(1.0))  # what sed_eval adds to every denominator
_RESAMPLES = 10_000  # for a difference, where no number is given
_AT_A_TIME = 100  # resamples between two reports
_RATES = ("f1", "precision", "recall")


@dataclass(frozen=True, eq=False)
class CountTable:
    """What the metrics of one system count in each clip."""

    clips: tuple[str, ...] = ()  # of the counts
    counts: Mapping[str, IntArray] = field(default_factory=dict)  # by metric, (C, K, 3); K may vary
    rules: Mapping[str, Undefined] = field(default_factory=dict)  # by metric
    error_rates: tuple[str, ...] = ()  # metrics whose error rate is asked for, too
    psds: Mapping[str, PsdsCounts] = field(default_factory=dict)  # by scenario

    @property
    def every_clip(self) -> set[str]:
        """Return the clips of all metrics."""
        return set(self.clips).union(*(counts.clips for counts in self.psds.values()))

    def by_unit(self, number: Mapping[str, int], n_units: int) -> dict[str, FloatArray]:
        """Return the counts of each metric summed over the clips of each unit, (C, 3 K)."""
        rows = np.array([number[clip] for clip in self.clips], np.int64)
        found = {}
        for metric, counts in self.counts.items():
            sums = np.zeros((n_units, counts.shape[1] * 3))
            np.add.at(sums, rows, counts.reshape(len(counts), -1))
            found[metric] = sums
        return found

    def psds_scores(self, weights: FloatArray, number: Mapping[str, int]) -> dict[str, FloatArray]:
        """Return PSDS by scenario, (B,), of how often each unit was drawn, (B, C)."""
        return {
            name: counts.psds(weights[:, [number[clip] for clip in counts.clips]])
            for name, counts in self.psds.items()
        }

    def scores(self, sums: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Return the macro scores by name, shape (B,), of summed counts, (B, 3 K)."""
        found: dict[str, FloatArray] = {}
        for metric, flat in sums.items():
            table = flat.reshape(len(flat), -1, 3)
            rates = macro_rates(table, self.rules[metric])
            found |= {f"{metric}_{rate}": rates[:, i] for i, rate in enumerate(_RATES)}
            if metric in self.error_rates:
                dcase = self.rules[metric] is not Undefined.ZERO
                found[f"{metric}_error_rate"] = macro_error_rate(table, dcase)
        return found


@dataclass(frozen=True, eq=False)
class System:
    """One of two systems: its name, its macro scores on all clips, and its counts."""

    name: str
    scores: Mapping[str, float]
    table: CountTable


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
    other: Mapping[str, float] | None = None  # its scores
    differences: Mapping[str, Difference] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the keys that metrics.json gets; an undefined value is null."""
        setting = {"resamples": self.resamples, "seed": self.seed, "confidence": self.confidence}
        intervals = {name: list(map(known, pair)) for name, pair in self.intervals.items()}
        found: dict[str, Any] = {
            "bootstrap": {
                **setting,
                "unit": self.unit,
                "n_units": self.n_units,
                "intervals": intervals,
            }
        }
        if self.against is not None:
            fields = {"difference": "observed", "low": "low", "high": "high", "p": "p"}
            found["against"] = {
                "estimated": self.against,
                "scores": {name: known(value) for name, value in (self.other or {}).items()},
                "differences": {
                    name: {key: known(getattr(each, attr)) for key, attr in fields.items()}
                    for name, each in (self.differences or {}).items()
                },
            }
        return found

    def rows(self, scores: Mapping[str, float]) -> list[tuple[str, ...]]:
        """Return a table of text, a row a score, under a header."""
        tail = 50 * (1 - self.confidence)
        ends = (f"{tail:.3g} %", f"{100 - tail:.3g} %")
        more = ("other", "difference", *ends, "p") if self.against is not None else ()
        rows: list[tuple[str, ...]] = [("metric", "score", "value", *ends, *more)]
        for name, value in scores.items():
            metric, _, rate = name.partition("_")
            interval = self.intervals.get(name, (math.nan, math.nan))
            cells = [metric, rate.replace("_", " "), *map(_show, (value, *interval))]
            if more:
                found = (self.differences or {})[name]
                cells += [
                    _show((self.other or {})[name]),
                    *(_show(each, "+") for each in (found.observed, found.low, found.high)),
                    _show(found.p),
                ]
            rows.append(tuple(cells))
        return rows

    def footer(self) -> list[str]:
        """Return the lines that say how it was done."""
        lines = [
            f"intervals: {100 * self.confidence:g} %, percentiles of {self.resamples} resamples of "
            f"{self.n_units} {self.unit}, seed {self.seed}; chance in training is not in them"
        ]
        if self.against is not None:
            lines.append(
                f"difference: to {self.against}, paired; p of no difference, two-sided, "
                "each score by itself"
            )
        return lines


def known(value: float) -> float | None:
    """Return a number as JSON has it: None where it is undefined."""
    return None if math.isnan(value) else value


def _show(value: float, sign: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{sign}.4f}"


def macro_error_rate(counts: FloatArray, dcase: bool = False) -> FloatArray:
    """Return the macro error rate, (B,), from counts (B, K, 3); see `error_rates`.

    Classes without references are left out; with `dcase`, what sed_eval has for them counts.
    """
    tp, reference, estimated = counts[..., 0], counts[..., 1], counts[..., 2]
    whole = reference + (_SMALLEST if dcase else 0.0)
    has = whole > 0
    rates = np.divide(reference + estimated - 2 * tp, whole, out=np.zeros_like(tp), where=has)
    total, n_known = rates.sum(axis=-1), has.sum(axis=-1)
    mean: FloatArray = np.full(len(counts), np.nan)
    np.divide(total, n_known, out=mean, where=n_known > 0)
    return mean


def statistics(
    system: System,
    other: System | None,
    report: ReportConfig,
    groups: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Statistics:
    """Resample clips and return the interval of every macro score.

    Parameters
    ----------
    system, other
        The system, and one to compare it with.
    report
        `bootstrap`, `seed` and `confidence` are used.
    groups
        The group of each clip, by clip name; by default each clip is drawn by itself.
    progress
        Called with (resamples done, resamples, what) now and then.

    Raises
    ------
    LabelError
        If there is no clip, or one has no group.
    """
    systems = [system] if other is None else [system, other]
    clips = sorted({clip for each in systems for clip in each.table.every_clip})
    number, n_units = _units(clips, groups)
    resamples = report.bootstrap or _RESAMPLES
    tables = [each.table for each in systems]
    drawn = _draw(tables, number, n_units, resamples, report.seed, progress)
    tail = (1 - report.confidence) / 2
    found = Statistics(
        resamples,
        report.seed,
        report.confidence,
        "clips" if groups is None else "groups",
        n_units,
        {n: _quantiles(values, tail) for n, values in drawn[0].items() if n in system.scores},
    )
    if other is None:
        return found
    nothing = np.zeros(0)
    differences = {
        name: _difference(
            value - other.scores[name],
            drawn[0].get(name, nothing),
            drawn[1].get(name, nothing),
            report.confidence,
        )
        for name, value in system.scores.items()
    }
    return Statistics(
        **{**vars(found), "against": other.name, "other": other.scores, "differences": differences}
    )


def _units(clips: Sequence[str], groups: Mapping[str, str] | None) -> tuple[dict[str, int], int]:
    """Return the number of what each clip is drawn with, and how many numbers there are."""
    if not clips:
        raise LabelError("there is no clip to draw from: --bootstrap needs labels")
    if groups is None:
        return {clip: i for i, clip in enumerate(clips)}, len(clips)
    found = match_clips(clips, groups, "groups")
    missing = [clip for clip, name in found.items() if name not in groups]
    if missing:
        raise LabelError(
            f"{len(missing)} clips have no group, {missing[0]} first; name the group of every clip"
        )
    of_clip = {clip: groups[name] for clip, name in found.items()}
    number = {group: i for i, group in enumerate(sorted(set(of_clip.values())))}
    return {clip: number[group] for clip, group in of_clip.items()}, len(number)


def _draw(
    tables: Sequence[CountTable],
    number: Mapping[str, int],
    n_units: int,
    resamples: int,
    seed: int,
    progress: Progress | None,
) -> list[dict[str, FloatArray]]:
    """Return the macro scores of each system in each resample, by name, shape (B,)."""
    sums = [table.by_unit(number, n_units) for table in tables]
    blocks: list[list[dict[str, FloatArray]]] = [[] for _ in tables]
    done = 0
    for weights in _few(clip_weights(n_units, resamples, np.random.default_rng((seed, 0)))):
        for table, counts, found in zip(tables, sums, blocks, strict=True):
            scores = table.scores({m: weights @ flat for m, flat in counts.items()})
            found.append(scores | table.psds_scores(weights, number))
        done += len(weights)
        if progress:
            progress(done, resamples, "resamples")
    return [
        {name: np.concatenate([block[name] for block in found]) for name in found[0]}
        for found in blocks
    ]


def _few(blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
    """Yield the rows of blocks, `_AT_A_TIME` or fewer at a time."""
    for block in blocks:
        for first in range(0, len(block), _AT_A_TIME):
            yield block[first : first + _AT_A_TIME]


def _quantiles(values: FloatArray, tail: float) -> tuple[float, float]:
    """Return the ends of an interval; resamples in which nothing is defined say nothing."""
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan, math.nan
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _difference(
    observed: float, values: FloatArray, others: FloatArray, confidence: float
) -> Difference:
    fine = ~(np.isnan(values) | np.isnan(others))
    if not fine.any():
        return Difference(observed, math.nan, math.nan, math.nan)
    return difference(observed, values[fine], others[fine], confidence)
