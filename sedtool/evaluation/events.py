"""Event-based scores: the largest one-to-one matching of reference and estimated events.

Pairs that may match are found in a sorted list and tested exactly. Where events are so dense that
there are millions of such pairs, only `MOST_PAIRS` of each reference are kept for a first
matching. What it leaves out, it may have to: each reference without a partner then looks, in a
breadth-first search over all pairs, for an augmenting path, until there is none, which is when a
matching is largest (Berge). Pairs are found anew in that search and never stored, and what a
search in vain has seen is never seen again, so time grows with the square of the number of events
at worst, and memory with the number.

References
----------
J. E. Hopcroft, R. M. Karp, "An n^5/2 algorithm for maximum matchings in bipartite graphs", SIAM
Journal on Computing 2(4), 1973. C. Berge, "Two theorems in graph theory", PNAS 43(9),
1957.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedtool.config import EvaluationConfig
from sedtool.errors import LabelError
from sedtool.evaluation import sed_eval_engine
from sedtool.evaluation.counts import Counts, Entries, FloatArray, IntArray, Kinds, macro_rule
from sedtool.evaluation.pair import EventArrays, Pair

MOST_PAIRS = 48  # of a reference in the first matching
MOST_NEAR = 500_000_000  # pairs of events that are compared, which takes some ten seconds
_BLOCK = 1_000_000  # pairs tested at a time
_FREE = -1


def count_events(pair: Pair, config: EvaluationConfig, onset_only: bool = False) -> Counts:
    """Count events, and those that match; see `event_counts`."""
    pair = pair.counted(config.compat)
    if config.engine == "sed_eval":
        return _counts(pair, sed_eval_engine.event_kinds(pair, config, onset_only), config)
    return count_matched(pair, largest_matching(*pair.by_class, config, onset_only)[0], config)


def count_matched(pair: Pair, matched: IntArray, config: EvaluationConfig) -> Counts:
    """Return the counts of events of which those rows of the reference are matched."""
    reference, estimated = (side.clip for side in pair.by_class)
    kinds = Entries(reference[matched]), Entries(reference), Entries(estimated)
    return _counts(pair, kinds, config)


def _counts(pair: Pair, kinds: Kinds, config: EvaluationConfig) -> Counts:
    rule = macro_rule("event", config.compat)
    return Counts(len(pair.clips), pair.labels, pair.classes, kinds, rule)


def event_counts(
    reference: EventArrays,
    estimated: EventArrays,
    config: EvaluationConfig,
    onset_only: bool = False,
) -> int:
    """Count the true positives of one class: the size of the largest one-to-one matching.

    A pair may match if both events are in one clip, their onsets differ by at most `collar`, and
    their offsets by at most ``max(collar, offset_ratio * length)``, with the length of the
    reference event. Times are compared as given, without rounding, so ties at the tolerance fall
    as they do in sed_eval: 0.3 - 0.1 is within 0.2, and 0.4 - 0.2 is too, but 0.8 - 0.6 is not.
    """
    return len(largest_matching(reference, estimated, config, onset_only)[0])


@dataclass(frozen=True)
class _Windows:
    """Where the estimates whose onsets may be within the collar of each reference stand.

    N references, M estimates; ranges are `first` to `last` of the estimates sorted by time.
    """

    reference: EventArrays
    estimated: EventArrays  # sorted
    order: IntArray  # (M,): rows of the estimates as they were given
    first: IntArray  # (N,)
    last: IntArray  # (N,)
    collar: float  # seconds
    tolerance: FloatArray  # seconds, (N,): on offsets; inf where they do not matter

    def blocks(self) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield the pairs that may match, as rows of references and of sorted estimates.

        References ascend, and all pairs of one are in the same block.
        """
        width = self.last - self.first
        ends = np.cumsum(width)
        begin = 0
        while begin < len(width):
            done = ends[begin] - width[begin]
            stop = max(begin + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
            count = width[begin:stop]
            i = np.repeat(np.arange(begin, stop), count)
            j = np.arange(len(i)) + np.repeat(self.first[begin:stop] - ends[begin:stop], count)
            j += np.repeat(count, count) + done
            hit = self._hits(i, j)
            yield i[hit], j[hit]
            begin = stop

    def _hits(self, i: IntArray | int, j: IntArray | slice) -> NDArray[np.bool_]:
        """Return whether references and sorted estimates may match, pair by pair."""
        reference, estimated = self.reference, self.estimated
        hit: NDArray[np.bool_] = reference.clip[i] == estimated.clip[j]
        hit &= np.abs(reference.onset[i] - estimated.onset[j]) <= self.collar
        hit &= np.abs(reference.offset[i] - estimated.offset[j]) <= self.tolerance[i]
        return hit

    def partners(self, i: int, unseen: NDArray[np.bool_]) -> IntArray:
        """Return the sorted estimates that reference i may match, of the unseen ones, bool (M,)."""
        window = slice(self.first[i], self.last[i])
        rows: IntArray = np.flatnonzero(unseen[window] & self._hits(i, window)) + self.first[i]
        return rows


def largest_matching(
    reference: EventArrays,
    estimated: EventArrays,
    config: EvaluationConfig,
    onset_only: bool = False,
) -> tuple[IntArray, IntArray]:
    """Return rows of references, ascending, and of the estimates they are matched with.

    What may match is told in `event_counts`.
    """
    if not (len(reference.clip) and len(estimated.clip)):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    windows = _windows(reference, estimated, config, onset_only)
    n, m = len(reference.clip), len(estimated.clip)
    kept = [_thinned(i, j, n) for i, j in windows.blocks()]
    i, j = (np.concatenate(side) for side in zip(*((i, j) for i, j, _ in kept), strict=True))
    partner = _matched(i, j, n, m)
    if any(thinned for _, _, thinned in kept):
        _augment(windows, partner)
    matched = np.flatnonzero(partner >= 0)
    return matched, windows.order[partner[matched]]


def possible_pairs(
    reference: EventArrays,
    estimated: EventArrays,
    config: EvaluationConfig,
    onset_only: bool = False,
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield all pairs that may match, as rows of references, ascending, and of estimates."""
    if len(reference.clip) and len(estimated.clip):
        windows = _windows(reference, estimated, config, onset_only)
        for i, j in windows.blocks():
            yield i, windows.order[j]


def _windows(
    reference: EventArrays, estimated: EventArrays, config: EvaluationConfig, onset_only: bool
) -> _Windows:
    """Find the estimates near each reference, and few others.

    All clips are laid on one time line, far enough apart, so that the candidates of a reference
    are one slice of the estimates sorted by onset.
    """
    collar = config.collar
    span = max(reference.onset.max(), estimated.onset.max()) + collar + 1.0  # seconds a clip
    reference_time = reference.clip * span + reference.onset
    estimated_time = estimated.clip * span + estimated.onset
    order = np.argsort(estimated_time)
    estimated_time = estimated_time[order]
    # Times on the line are rounded: a few units in the last place more, so that no pair is lost.
    reach = collar + 8 * np.spacing(max(reference_time.max(), estimated_time[-1]) + collar)
    length = reference.offset - reference.onset
    tolerance = np.maximum(collar, config.offset_ratio * length)
    first = np.searchsorted(estimated_time, reference_time - reach, side="left")
    last = np.searchsorted(estimated_time, reference_time + reach, side="right")
    if (n_near := int((last - first).sum())) > MOST_NEAR:
        raise LabelError(
            f"{n_near:.1e} pairs of events begin within {collar:g} s of each other, more than "
            f"{MOST_NEAR:.0e}: events are listed many times over, as sedtool check says where"
        )
    return _Windows(
        reference,
        estimated.take(order),
        order,
        first,
        last,
        collar,
        np.full_like(tolerance, np.inf) if onset_only else tolerance,
    )


def _matched(i: IntArray, j: IntArray, n: int, m: int) -> IntArray:
    """Return the partner of each reference in a largest matching of these pairs, or -1, (n,)."""
    partner = np.full(n, -1)
    sole = (np.bincount(i, minlength=n)[i] == 1) & (np.bincount(j, minlength=m)[j] == 1)
    partner[i[sole]] = j[sole]  # most pairs leave nothing to choose
    others = layered_matching(i[~sole].tolist(), j[~sole].tolist())
    partner[list(others)] = list(others.values())
    return partner


def _thinned(i: IntArray, j: IntArray, n: int) -> tuple[IntArray, IntArray, bool]:
    """Keep at most `MOST_PAIRS` pairs of each reference, spread evenly; tell if some are lost."""
    degree = np.bincount(i, minlength=n)
    if not i.size or degree.max() <= MOST_PAIRS:
        return i, j, False
    rank = np.arange(i.size) - (np.cumsum(degree) - degree)[i]
    # Pairs are dealt into MOST_PAIRS parts of equal size; the first of each part is kept. Where
    # the parts begin differs by reference, or all would keep the same few estimates.
    shifted = (rank + i) % degree[i]
    part = shifted * MOST_PAIRS // degree[i]
    before = (shifted - 1) * MOST_PAIRS // degree[i]
    keep = (part != before) | (degree[i] <= MOST_PAIRS)
    return i[keep], j[keep], True


def _augment(windows: _Windows, partner: IntArray) -> None:
    """Enlarge a matching, in place, until it is the largest; `partner` (N,) of references."""
    owner = np.full(len(windows.order), -1, np.int64)  # of estimates, (M,)
    owner[partner[partner >= 0]] = np.flatnonzero(partner >= 0)
    unseen = np.ones(len(owner), bool)
    came_from = np.empty(len(owner), np.int64)  # the reference that an estimate was reached from
    for start in np.flatnonzero(partner < 0).tolist():
        end, seen = _search(windows, start, owner, unseen, came_from)
        if end < 0:
            continue  # no path leads through what was seen, now or later
        while end >= 0:  # back along the path, to the start, which had no partner
            i = came_from[end]
            owner[end] = i
            partner[i], end = end, partner[i]
        unseen[seen] = True


def _search(
    windows: _Windows, start: int, owner: IntArray, unseen: NDArray[np.bool_], came_from: IntArray
) -> tuple[int, IntArray]:
    """Return a free estimate that an alternating path reaches, or -1, and all that were seen."""
    queue, seen = [start], [np.zeros(0, np.int64)]
    for i in queue:  # grows meanwhile
        partners = windows.partners(i, unseen)
        came_from[partners] = i
        unseen[partners] = False
        seen.append(partners)
        free = partners[owner[partners] < 0]
        if free.size:
            return int(free[0]), np.concatenate(seen)
        queue += owner[partners].tolist()
    return -1, np.zeros(0, np.int64)


def layered_matching(references: Sequence[int], estimates: Sequence[int]) -> dict[int, int]:
    """Return the largest matching that sed_eval finds, estimates by reference.

    The pairs that may match are sorted by reference, then estimate. The size of a largest matching
    is one number, the pairs in it are not. sed_eval takes over the search of mir_eval, and with it
    what is left over; this one visits pairs in the same order, with a list of its own in place of
    recursion.
    """
    options: dict[int, list[int]] = {}  # references by estimate, in the order of the pairs
    for reference, estimate in zip(references, estimates, strict=True):
        options.setdefault(estimate, []).append(reference)
    owner: dict[int, int] = {}  # estimates by reference
    for estimate, choices in options.items():
        first = next((reference for reference in choices if reference not in owner), None)
        if first is not None:
            owner[first] = estimate
    while True:
        before, reached, ends = _layers(options, owner)
        if not ends:
            return owner
        for end in ends:
            _follow_back(end, before, reached, owner)


def _layers(
    options: dict[int, list[int]], owner: dict[int, int]
) -> tuple[dict[int, list[int]], dict[int, int], list[int]]:
    """Walk from the free estimates, layer by layer, until a layer has free references.

    Returns the estimates that each reference was reached from, the reference that each estimate was
    reached from, or `_FREE`, and the free references of the last layer.
    """
    taken = set(owner.values())
    reached = {estimate: _FREE for estimate in options if estimate not in taken}
    before: dict[int, list[int]] = {}
    layer, ends = list(reached), list[int]()
    while layer and not ends:
        new: dict[int, list[int]] = {}
        for estimate in layer:
            for reference in options[estimate]:
                if reference not in before:
                    new.setdefault(reference, []).append(estimate)
        before |= new
        ends = [reference for reference in new if reference not in owner]
        layer = [owner[reference] for reference in new if reference in owner]
        reached |= {owner[reference]: reference for reference in new if reference in owner}
    return before, reached, ends


def _follow_back(
    end: int, before: dict[int, list[int]], reached: dict[int, int], owner: dict[int, int]
) -> None:
    """Look for a path back from a free reference, and match along it; what is seen is used up."""
    trail = [(end, iter(before.pop(end, ())))]
    steps: list[tuple[int, int]] = []
    while trail:
        reference, estimates = trail[-1]
        estimate = next((e for e in estimates if e in reached), None)
        if estimate is None:
            trail.pop()
            if steps:
                steps.pop()
            continue
        steps.append((reference, estimate))
        previous = reached.pop(estimate)
        if previous == _FREE:
            owner |= dict(steps)
            return
        trail.append((previous, iter(before.pop(previous, ()))))
