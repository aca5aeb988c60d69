"""Error rates: substitutions, deletions and insertions, per reference event or segment.

Of all classes together, what is missing on one side and too much on the other may be the same sound
under another name: a *substitution*, counted once. What is left are *deletions* (missed) and
*insertions* (spurious). The error rate is their sum over the number of references, and has no upper
end.

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

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.evaluation.counts import Counts, IntArray, MacroRule, error_ratio, macro_error_rates
from sedtool.evaluation.events import (
    count_matched,
    largest_matching,
    layered_matching,
    possible_pairs,
)
from sedtool.evaluation.pair import EventArrays, Pair
from sedtool.evaluation.segments import count_runs, segment_runs

MOST_PAIRS = 2_000_000


class Errors(NamedTuple):
    """How many errors there are of each kind, of all classes together."""

    substitutions: int
    deletions: int
    insertions: int


ErrorsCounted = tuple[Counts, Errors]


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


def count_event_errors(
    pair: Pair, config: EvaluationConfig, onset_only: bool = False
) -> ErrorsCounted:
    """Return the counts of events, and the errors of all classes together."""
    pair = pair.counted(config.compat)
    matching = largest_matching(*pair.by_class, config, onset_only)
    counts = count_matched(pair, matching[0], config)
    missed, spurious = (np.ones(len(side.clip), bool) for side in pair.by_class)
    matched, partner = _in_order(pair, matching, config, onset_only)
    missed[matched], spurious[partner] = False, False
    left = pair.reference.by_clip().take(missed), pair.estimated.by_clip().take(spurious)
    n = _substitutions(*left, config, onset_only)
    return counts, Errors(n, int(missed.sum()) - n, int(spurious.sum()) - n)


def _substitutions(
    missed: EventArrays, spurious: EventArrays, config: EvaluationConfig, onset_only: bool
) -> int:
    """Count missed references that can be paired, one to one, with spurious estimates.

    Events of all classes stand in the order of the lists. Each reference in its turn takes the
    first estimate that is left, as sed_eval does.
    """
    taken = np.zeros(len(spurious.clip), bool)
    for i, j in possible_pairs(missed, spurious, config, onset_only):
        for partners in np.split(j, np.flatnonzero(np.diff(i)) + 1):  # of a reference each
            free = partners[~taken[partners]]
            if free.size:
                taken[free.min()] = True
    return int(taken.sum())


def count_segment_errors(pair: Pair, config: EvaluationConfig) -> ErrorsCounted:
    """Return the counts of segments, and the errors of all classes together."""
    pair = pair.counted(config.compat)
    runs = segment_runs(pair, config)
    # The runs of all classes on one time line a clip: how many classes are active at a time?
    clip = np.tile(runs.class_in_clip // max(pair.n_labels, 1), 2)
    edge = np.concatenate([runs.first, runs.first + runs.width])
    order = np.lexsort((edge, clip))
    step = np.concatenate([runs.active.astype(int), -runs.active.astype(int)], axis=1)
    both, reference, estimated = np.cumsum(step[:, order], axis=1)[:, :-1]  # 0 between clips
    width = np.where(reference + estimated > 0, np.diff(edge[order]), 0.0)
    errors = (
        np.minimum(reference, estimated) - both,
        np.maximum(reference - estimated, 0),
        np.maximum(estimated - reference, 0),
    )
    return count_runs(pair, runs, config), Errors(*(int((n * width).sum()) for n in errors))


def _in_order(
    pair: Pair, matching: tuple[IntArray, IntArray], config: EvaluationConfig, onset_only: bool
) -> tuple[IntArray, IntArray]:
    """Return rows of the largest matching that sed_eval finds, where several are largest."""
    parts = []
    for part in possible_pairs(*pair.by_class, config, onset_only):
        parts.append(part)
        if sum(len(i) for i, _ in parts) > MOST_PAIRS:
            return matching
    if not parts:
        return matching
    i, j = (np.concatenate(side) for side in zip(*parts, strict=True))
    several = (np.bincount(i)[i] > 1) | (np.bincount(j)[j] > 1)
    unclear = np.unique(pair.reference.clip[i[several]])
    keep = ~np.isin(pair.reference.clip[matching[0]], unclear)
    rows = np.flatnonzero(np.isin(pair.reference.clip[i], unclear))
    clip = pair.reference.clip[i[rows]]
    rows = rows[np.lexsort((j[rows], i[rows], clip))]  # as in one matrix of hits a clip
    again: dict[int, int] = {}
    for row in np.split(rows, np.flatnonzero(np.diff(np.sort(clip))) + 1):
        again |= layered_matching(i[row].tolist(), j[row].tolist())
    rows, partners = (np.array(list(side), np.int64) for side in (again.keys(), again.values()))
    return np.concatenate([matching[0][keep], rows]), np.concatenate([matching[1][keep], partners])


def rate_errors(counts: Counts, errors: Errors) -> ErrorRates:
    """Turn counts, and the errors of all classes together, into rates."""
    classes = {
        label: _rated(Errors(0, reference - tp, estimated - tp), reference, counts.rule)
        for label, (tp, reference, estimated) in zip(
            counts.classes, counts.table.tolist(), strict=True
        )
    }
    overall = _rated(errors, int(counts.by_label[:, 1].sum()), counts.rule)
    macro, deletion, insertion = macro_error_rates(counts.table, counts.rule).tolist()
    return ErrorRates(overall, macro, deletion, insertion, classes)


def _rated(errors: Errors, n_reference: int, rule: MacroRule) -> ErrorRate:
    s, d, i = (float(error_ratio(n, n_reference, rule)) for n in errors)
    return ErrorRate(s + d + i, s, d, i, *errors, n_reference)
