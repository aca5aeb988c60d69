"""Event-based scores: an estimated event is right if it starts and ends where a reference does."""

from collections.abc import Iterable

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.evaluation import sed_eval_engine
from sedtool.evaluation.counts import Counts, IntArray, Scores, Undefined, score
from sedtool.evaluation.matching import largest_matching
from sedtool.evaluation.pair import EventArrays, EventPair, LabelInput, tabulate

__all__ = [
    "evaluate_events",
    "evaluate_onsets",
    "event_counts",
    "matched_references",
    "score_events",
]


def evaluate_events(
    reference: LabelInput,
    estimated: LabelInput,
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
    return score_events(tabulate(reference, estimated, config, classes), config)


def evaluate_onsets(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
) -> Scores:
    """Score events by their onsets alone, as sed_eval does with ``evaluate_offset=False``.

    Parameters, errors and result are those of `evaluate_events`; `offset_ratio` is not used.
    """
    pair = tabulate(reference, estimated, config, classes)
    return score_events(pair, config, onset_only=True)


def score_events(pair: EventPair, config: EvaluationConfig, onset_only: bool = False) -> Scores:
    """Score events that are numbered already; see `evaluate_events` and `evaluate_onsets`."""
    count = sed_eval_engine.count_events if config.engine == "sed_eval" else _count_events
    compat = config.compat == "dcase"
    rule = Undefined.DROPPED_ZERO_PRECISION if compat else Undefined.ZERO
    return score(pair.classes, count(pair, config, onset_only), rule)


def _count_events(pair: EventPair, config: EvaluationConfig, onset_only: bool) -> Counts:
    reference, estimated = pair.lanes
    matched = matched_references(reference, estimated, config, onset_only)
    labels = (pair.truth.label[matched], pair.truth.label, pair.guess.label)
    return Counts(*(np.bincount(column, minlength=pair.n_labels) for column in labels))


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

    Parameters
    ----------
    reference, estimated
        Events of one class in any number of clips, of N and M rows.
    config
        Only `collar` and `offset_ratio` are used.
    onset_only
        Whether offsets are not looked at.

    Returns
    -------
    int
        True positives; false positives are M less these, false negatives N less these.
    """
    return len(matched_references(reference, estimated, config, onset_only))


def matched_references(
    reference: EventArrays,
    estimated: EventArrays,
    config: EvaluationConfig,
    onset_only: bool = False,
) -> IntArray:
    """Return the rows of the reference that are matched; see `event_counts`."""
    rows, _ = largest_matching(reference, estimated, config, onset_only)
    return rows
