"""Error rates: substitutions, deletions and insertions, per reference event or segment.

Of all classes together, what one side lacks and the other has too much may be the same sound under
another name: a *substitution*, counted once. What is left are *deletions* (missed) and *insertions*
(spurious). The error rate is their sum over the number of references, and has no upper end.

- Events: an estimate that is no true positive is a substitution for a missed reference of the same
  clip if their times match, whatever their labels; each takes part once.
- Segments: in each segment, with N_ref and N_est active classes of which TP in both, there are
  min(N_ref, N_est) - TP substitutions.

A class alone has no substitutions: its deletions are its false negatives, its insertions its false
positives. Macro is the mean over the class list.

Differences from sed_eval
-------------------------
Given equal clips and classes, all counts are those of sed_eval 0.2.1 with optimal matching, given
events in the same order: which estimates are left over, and so the number of event substitutions,
depends on the matching that was found, where several are largest. The same search, in the same
order, is made here for clips where it matters, unless there are more than `MOST_PAIRS` pairs of
events that may match.
``compat="dcase"`` undoes the difference marked *.

1. * The rates of a class without references are undefined, and left out of macro. There, they
   are 0, or about 4.5e15 for each insertion, and so is the average.
2. Clips that only the estimates name, labels outside a class list, durations: as in
   `sedtool.evaluation`.

References
----------
A. Mesaros, T. Heittola, T. Virtanen, "Metrics for polyphonic sound event detection", Applied
Sciences 6(6), 2016, section 4.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedtool.config import EvaluationConfig
from sedtool.evaluation.counts import Counts, IntArray
from sedtool.evaluation.matching import largest_matching, layered_matching, possible_pairs
from sedtool.evaluation.pair import EventArrays, EventPair, LabelInput, tabulate
from sedtool.evaluation.segments import clip_seconds, segment_runs

__all__ = ["ErrorRate", "ErrorRates", "event_errors", "segment_errors", "substitutions"]

MOST_PAIRS = 2_000_000
_SMALLEST = float(np.spacing(1.0))  # what sed_eval adds to every denominator


@dataclass(frozen=True)
class ErrorRate:
    """Errors, and how many there are for each reference; NaN is an undefined rate."""

    rate: float
    substitution_rate: float
    deletion_rate: float
    insertion_rate: float
    substitutions: int
    deletions: int
    insertions: int
    n_reference: int


@dataclass(frozen=True)
class ErrorRates:
    """The errors of all classes together, of each class, and the mean over classes."""

    overall: ErrorRate
    macro: float
    macro_deletion_rate: float
    macro_insertion_rate: float
    classes: dict[str, ErrorRate]


def event_errors(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
    onset_only: bool = False,
) -> ErrorRates:
    """Count the errors of events; parameters are those of `sedtool.evaluation.evaluate_events`.

    With `onset_only` offsets are not looked at. The engine is always the native one.
    """
    pair = tabulate(reference, estimated, config, classes)
    truth, guess = pair.lanes
    matching = largest_matching(truth, guess, config, onset_only)
    labels = (pair.truth.label[matching[0]], pair.truth.label, pair.guess.label)
    counts = Counts(*(np.bincount(column, minlength=pair.n_labels) for column in labels))
    missed, spurious = np.ones(len(truth.clip), bool), np.ones(len(guess.clip), bool)
    matched, partner = _in_order(pair, matching, config, onset_only)
    missed[matched], spurious[partner] = False, False
    known, said = (EventArrays(t.clip, t.onset, t.offset) for t in (pair.truth, pair.guess))
    n = substitutions(known, said, missed, spurious, config, onset_only)
    errors = (n, int(missed.sum()) - n, int(spurious.sum()) - n)
    return _rates(pair, counts, errors, config)


def substitutions(
    reference: EventArrays,
    estimated: EventArrays,
    missed: NDArray[np.bool_],
    spurious: NDArray[np.bool_],
    config: EvaluationConfig,
    onset_only: bool = False,
) -> int:
    """Count missed references that can be paired, one to one, with spurious estimates.

    Each in its turn takes the first estimate that is left, as sed_eval does.

    Parameters
    ----------
    reference, estimated
        Events of all classes, N and M rows in the order of the lists.
    missed, spurious
        Which take part, bool (N,) and (M,).
    config, onset_only
        What may match is told in `sedtool.evaluation.event_counts`.
    """
    known, said = np.flatnonzero(missed), np.flatnonzero(spurious)
    sides = _take(reference, known), _take(estimated, said)
    taken = np.zeros(len(said), bool)
    for i, j in possible_pairs(*sides, config, onset_only):
        for found in np.split(j, np.flatnonzero(np.diff(i)) + 1):  # a reference each
            free = found[~taken[found]]
            if free.size:
                taken[free.min()] = True
    return int(taken.sum())


def _take(events: EventArrays, rows: IntArray) -> EventArrays:
    return EventArrays(events.clip[rows], events.onset[rows], events.offset[rows])


def segment_errors(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
) -> ErrorRates:
    """Count the errors of segments; parameters are those of `evaluate_segments`.

    The engine is always the native one.
    """
    pair = tabulate(reference, estimated, config, classes)
    found = segment_runs(pair, config, clip_seconds(durations or {}, pair.clips))
    label = pair.label_of(found.class_in_clip)
    sums = (np.bincount(label, row * found.width, pair.n_labels) for row in found.active)
    counts = Counts(*(column.astype(np.int64) for column in sums))

    # The same runs on one time line a clip: how many classes are active at a time?
    clip = np.tile(found.class_in_clip % max(len(pair.clips), 1), 2)
    edge = np.concatenate([found.first, found.first + found.width])
    order = np.lexsort((edge, clip))
    step = np.concatenate([found.active.astype(int), -found.active.astype(int)], axis=1)
    both, known, said = np.cumsum(step[:, order], axis=1)[:, :-1]  # between clips all are 0
    width = np.where(known + said > 0, np.diff(edge[order]), 0.0)
    substituted = int(((np.minimum(known, said) - both) * width).sum())
    deleted = int((np.maximum(known - said, 0) * width).sum())
    inserted = int((np.maximum(said - known, 0) * width).sum())
    return _rates(pair, counts, (substituted, deleted, inserted), config)


def _in_order(
    pair: EventPair, matching: tuple[IntArray, IntArray], config: EvaluationConfig, onset_only: bool
) -> tuple[IntArray, IntArray]:
    """Return rows of the largest matching that sed_eval finds, where several are largest."""
    parts = []
    for part in possible_pairs(*pair.lanes, config, onset_only):
        parts.append(part)
        if sum(len(i) for i, _ in parts) > MOST_PAIRS:
            return matching
    if not parts:
        return matching
    i, j = (np.concatenate(side) for side in zip(*parts, strict=True))
    several = (np.bincount(i)[i] > 1) | (np.bincount(j)[j] > 1)
    unclear = np.unique(pair.truth.clip[i[several]])
    keep = ~np.isin(pair.truth.clip[matching[0]], unclear)
    rows = np.flatnonzero(np.isin(pair.truth.clip[i], unclear))
    clip = pair.truth.clip[i[rows]]
    rows = rows[np.lexsort((j[rows], i[rows], clip))]  # as in one matrix of hits a clip
    found: dict[int, int] = {}
    for row in np.split(rows, np.flatnonzero(np.diff(np.sort(clip))) + 1):
        found |= layered_matching(i[row].tolist(), j[row].tolist())
    known, said = (np.array(list(side), np.int64) for side in (found.keys(), found.values()))
    return np.concatenate([matching[0][keep], known]), np.concatenate([matching[1][keep], said])


def _rates(
    pair: EventPair, counts: Counts, errors: tuple[int, int, int], config: EvaluationConfig
) -> ErrorRates:
    """Turn the counts of classes, and the errors of all together, into rates."""
    least = _SMALLEST if config.compat == "dcase" else 0.0
    columns = (counts.n_reference, counts.n_reference - counts.tp, counts.n_estimated - counts.tp)
    rows = zip(pair.labels, *(column.tolist() for column in columns), strict=True)
    of_label = {label: _rate(n, 0, missed, spurious, least) for label, n, missed, spurious in rows}
    classes = {label: of_label[label] for label in pair.classes}
    macro, deletion, insertion = (
        _mean([getattr(row, name) for row in classes.values()])
        for name in ("rate", "deletion_rate", "insertion_rate")
    )
    overall = _rate(int(counts.n_reference.sum()), *errors, least)
    return ErrorRates(overall, macro, deletion, insertion, classes)


def _rate(
    n_reference: int, substituted: int, deleted: int, inserted: int, least: float
) -> ErrorRate:
    whole = n_reference + least
    s, d, i = (n / whole if whole else math.nan for n in (substituted, deleted, inserted))
    return ErrorRate(s + d + i, s, d, i, substituted, deleted, inserted, n_reference)


def _mean(rates: list[float]) -> float:
    known = [rate for rate in rates if not math.isnan(rate)]
    return math.fsum(known) / len(known) if known else math.nan
