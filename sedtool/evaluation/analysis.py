"""What went wrong, event by event: each reference and each estimate is of exactly one kind.

First, events are matched as in `sedtool.evaluation.evaluate_events`: those are *correct*. Then it
is asked which of the others overlap in time, in the same clip and class::

    reference                              estimate
    correct     matched                    correct     matched
    displaced   overlaps one estimate,     displaced   overlaps one reference,
                which overlaps no other                which overlaps no other
    fragmented  overlaps several           fragment    one of several over a reference
    joined      shares its estimate        merged      overlaps several
    substituted overlaps none of its       mislabelled the same, the other way round
                class, but one of another
                that overlaps none of its
    missed      any other                  spurious    any other

The kinds of each column add up to the number of references, and of estimates. What is displaced
has its onset too early or too late by more than the collar, or its offset by more than the
tolerance, or both: the four counts of these add up to no less than `displaced`. An estimate that
only overlaps references that others have found, such as a duplicate, is spurious. Events that only
touch do not overlap; one without length overlaps what it lies within.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sedtool.config import EvaluationConfig
from sedtool.evaluation.counts import BoolArray, FloatArray, IntArray
from sedtool.evaluation.events import largest_matching
from sedtool.evaluation.intersection import expand
from sedtool.evaluation.pair import EventArrays, Pair


@dataclass(frozen=True)
class ErrorCounts:
    """How many events are of each kind; see the module."""

    reference: int
    estimated: int
    correct: int
    displaced: int
    early_onset: int
    late_onset: int
    early_offset: int
    late_offset: int
    fragmented: int  # references
    joined: int  # references
    substituted: int  # references
    missed: int  # references
    fragments: int  # estimates
    merged: int  # estimates
    mislabelled: int  # estimates
    spurious: int  # estimates


@dataclass(frozen=True)
class ErrorAnalysis:
    """The kinds of events of each class of the class list, and of all labels that are scored."""

    total: ErrorCounts
    classes: dict[str, ErrorCounts]


def count_kinds(pair: Pair, config: EvaluationConfig) -> ErrorAnalysis:
    """Count the events of each kind."""
    pair = pair.counted(config.compat)
    labels = pair.reference.label, pair.estimated.label
    counted = {
        name: np.bincount(label[rows], minlength=pair.n_labels)
        for label, kinds in zip(labels, _kinds(pair, config), strict=True)
        for name, rows in kinds.items()
    }
    total = ErrorCounts(**{name: int(column.sum()) for name, column in counted.items()})
    number = {label: k for k, label in enumerate(pair.labels)}
    classes = {
        label: ErrorCounts(**{name: int(column[number[label]]) for name, column in counted.items()})
        for label in pair.classes
    }
    return ErrorAnalysis(total, classes)


def _kinds(
    pair: Pair, config: EvaluationConfig
) -> tuple[dict[str, NDArray[np.generic]], dict[str, NDArray[np.generic]]]:
    """Return the references of each kind, and the estimates, as rows or as bool (rows,)."""
    reference, estimated = pair.by_class
    matched, partner = largest_matching(reference, estimated, config)
    missed = ~_rows(len(reference.clip), matched)  # so far
    spurious = ~_rows(len(estimated.clip), partner)
    n_over = _degrees(reference, missed, estimated, spurious)  # estimates that overlap each
    n_under = _degrees(estimated, spurious, reference, missed)
    i, j = _couples(reference, missed & (n_over == 1), estimated, spurious & (n_under == 1))
    displaced, displacing = _rows(len(missed), i), _rows(len(spurious), j)
    alone, alone_too = missed & (n_over == 0), spurious & (n_under == 0)
    in_clip = pair.reference.by_clip(), pair.estimated.by_clip()  # of any class
    substituted = _degrees(in_clip[0], alone, in_clip[1], alone_too) > 0
    mislabelled = _degrees(in_clip[1], alone_too, in_clip[0], alone) > 0
    of_references = {
        "reference": np.ones_like(missed),
        "correct": ~missed,
        "displaced": displaced,
        "fragmented": n_over > 1,
        "joined": (n_over == 1) & ~displaced,
        "substituted": substituted,
        "missed": alone & ~substituted,
        **_shifts(reference, estimated, i, j, config),
    }
    of_estimates = {
        "estimated": np.ones_like(spurious),
        "fragments": (n_under == 1) & ~displacing,
        "merged": n_under > 1,
        "mislabelled": mislabelled,
        "spurious": alone_too & ~mislabelled,
    }
    return of_references, of_estimates


def _shifts(
    reference: EventArrays,
    estimated: EventArrays,
    i: IntArray,
    j: IntArray,
    config: EvaluationConfig,
) -> dict[str, IntArray]:
    """Return the references whose estimate begins or ends too early or too late."""
    late = estimated.onset[j] - reference.onset[i]
    long = estimated.offset[j] - reference.offset[i]
    length = (reference.offset - reference.onset)[i]
    tolerance = np.maximum(config.collar, config.offset_ratio * length)
    return {
        "early_onset": i[late < -config.collar],
        "late_onset": i[late > config.collar],
        "early_offset": i[long < -tolerance],
        "late_offset": i[long > tolerance],
    }


def _rows(length: int, rows: IntArray) -> BoolArray:
    """Return true at the given rows, bool (length,)."""
    chosen = np.zeros(length, bool)
    chosen[rows] = True
    return chosen


def _key(clip: IntArray, time: FloatArray) -> NDArray[np.complex128]:
    """Return numbers that sort by clip, then time, exactly."""
    return clip + 1j * time


def _degrees(
    events: EventArrays, chosen: BoolArray, others: EventArrays, taking: BoolArray
) -> IntArray:
    """Return how many of the others that take part overlap each chosen event; 0 for the rest.

    Two events overlap if each begins before the other ends.
    """
    first, last = _key(events.clip, events.onset), _key(events.clip, events.offset)
    lasting = events.offset > events.onset
    long = others.offset > others.onset
    total = np.zeros(len(first), np.int64)
    for part, can in ((taking & long, chosen), (taking & ~long, chosen & lasting)):
        begin = np.sort(_key(others.clip, others.onset)[part])
        end = np.sort(_key(others.clip, others.offset)[part])
        begun = np.searchsorted(begin, last, side="left")
        ended = np.searchsorted(end, first, side="right")
        total += np.where(can, begun - ended, 0)
    return total


def _couples(
    reference: EventArrays, chosen: BoolArray, estimated: EventArrays, taking: BoolArray
) -> tuple[IntArray, IntArray]:
    """Return references and estimates that overlap each other, of those that overlap one only."""
    i, j = _beginning_within(reference, chosen, estimated, taking, "left")
    y, x = _beginning_within(estimated, taking, reference, chosen, "right")
    i, j = np.concatenate([i, x]), np.concatenate([j, y])
    meet = reference.onset[i] < estimated.offset[j]
    meet &= estimated.onset[j] < reference.offset[i]
    return i[meet], j[meet]


def _beginning_within(
    events: EventArrays,
    chosen: BoolArray,
    others: EventArrays,
    taking: BoolArray,
    side: Literal["left", "right"],
) -> tuple[IntArray, IntArray]:
    """Return chosen events, and the others that begin within them; "left": or with them."""
    i, j = np.flatnonzero(chosen), np.flatnonzero(taking)
    begin = _key(others.clip, others.onset)[j]
    order = np.argsort(begin)
    first = np.searchsorted(begin[order], _key(events.clip, events.onset)[i], side=side)
    stop = np.searchsorted(begin[order], _key(events.clip, events.offset)[i], side="left")
    rows, partners = expand(first, np.maximum(first, stop))
    return i[rows], j[order[partners]]
