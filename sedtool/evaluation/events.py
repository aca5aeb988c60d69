"""Event-based scores: an estimated event is right if it starts and ends where a reference does."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from sedtool.config import EvaluationConfig
from sedtool.evaluation import sed_eval_engine
from sedtool.evaluation.scores import Counts, IntArray, Scores, Undefined, score
from sedtool.evaluation.tables import EventArrays, EventPair, tabulate
from sedtool.labels import Event, StrongLabels

__all__ = ["evaluate_events", "event_counts", "matched_references"]


def evaluate_events(
    reference: StrongLabels | Sequence[Event],
    estimated: StrongLabels | Sequence[Event],
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
) -> Scores:
    """Score events by their onsets and offsets.

    Parameters
    ----------
    reference, estimated
        Events in any order. Clip names of the two sides are compared as they are.
    config
        `collar`, `offset_ratio`, `engine` and `compat` are used.
    classes
        The only classes to score; by default those of the reference.

    Returns
    -------
    Scores
        Counted in events.

    Raises
    ------
    LabelError
        If an event has impossible times.

    References
    ----------
    A. Mesaros, T. Heittola, T. Virtanen, "Metrics for polyphonic sound event detection",
    Applied Sciences 6(6), 2016, section 3.2.
    """
    pair = tabulate(reference, estimated, config, classes)
    count = sed_eval_engine.count_events if config.engine == "sed_eval" else _count_events
    compat = config.compat == "dcase"
    rule = Undefined.DROPPED_ZERO_PRECISION if compat else Undefined.ZERO
    return score(pair.classes, count(pair, config), rule)


def _count_events(pair: EventPair, config: EvaluationConfig) -> Counts:
    both = zip(pair.reference, pair.estimated, strict=True)
    return Counts(
        np.array([event_counts(r, e, config) for r, e in both], np.int64),
        np.array([len(r.clip) for r in pair.reference], np.int64),
        np.array([len(e.clip) for e in pair.estimated], np.int64),
    )


def event_counts(reference: EventArrays, estimated: EventArrays, config: EvaluationConfig) -> int:
    """Count the true positives of one class: the size of the largest one-to-one matching.

    A pair may match if both events are in one clip, their onsets differ by at most `collar`, and
    their offsets by at most ``max(collar, offset_ratio * length)``, with the length of the
    reference event. Times are compared as given, without rounding, so ties at the tolerance fall
    as they do in sed_eval: 0.3 - 0.1 is within 0.2, and 0.4 - 0.2 is too, but 0.8 - 0.6 is not.

    Parameters
    ----------
    reference, estimated
        Events of one class in any number of clips, of N and M rows.
    config
        Only `collar` and `offset_ratio` are used.

    Returns
    -------
    int
        True positives; false positives are M less these, false negatives N less these.
    """
    return len(matched_references(reference, estimated, config))


def matched_references(
    reference: EventArrays, estimated: EventArrays, config: EvaluationConfig
) -> IntArray:
    """Return the rows of the reference that are matched; see `event_counts`."""
    if not (len(reference.clip) and len(estimated.clip)):
        return np.zeros(0, np.int64)
    i, j = _candidates(reference, estimated, config.collar)
    length = reference.offset - reference.onset
    tolerance = np.maximum(config.collar, config.offset_ratio * length)  # (N,)
    hit = reference.clip[i] == estimated.clip[j]
    hit &= np.abs(reference.onset[i] - estimated.onset[j]) <= config.collar
    hit &= np.abs(reference.offset[i] - estimated.offset[j]) <= tolerance[i]
    i, j = i[hit], j[hit]
    graph = csr_array((np.ones(i.size, bool), (i, j)), (len(reference.clip), len(estimated.clip)))
    # The partner of each column, an estimate, is a row, a reference; -1 is none.
    partner = maximum_bipartite_matching(graph, perm_type="row")
    return partner[partner >= 0].astype(np.int64)


def _candidates(
    reference: EventArrays, estimated: EventArrays, collar: float
) -> tuple[IntArray, IntArray]:
    """Return row numbers of all pairs whose onsets may be within the collar, and few others.

    All clips are laid on one time line, far enough apart, so that the candidates of a reference
    are one slice of the estimates sorted by onset.
    """
    span = max(reference.onset.max(), estimated.onset.max()) + collar + 1.0  # seconds a clip
    reference_time = reference.clip * span + reference.onset
    estimated_time = estimated.clip * span + estimated.onset
    order = np.argsort(estimated_time)
    estimated_time = estimated_time[order]
    # Times on the line are rounded: a few units in the last place more, so that no pair is lost.
    reach = collar + 8 * np.spacing(max(reference_time.max(), estimated_time[-1]) + collar)
    first = np.searchsorted(estimated_time, reference_time - reach, side="left")
    last = np.searchsorted(estimated_time, reference_time + reach, side="right")
    width = last - first  # candidates of each reference
    rows = np.repeat(np.arange(len(width)), width)
    before = np.repeat(np.cumsum(width) - width, width)  # candidates of earlier references
    return rows, order[np.arange(len(rows)) - before + first[rows]]
