"""Event-based scores: an estimated event is right if it starts and ends where a reference does."""

from collections.abc import Iterable

from sedtool.config import EvaluationConfig
from sedtool.evaluation import sed_eval_engine
from sedtool.evaluation.counts import Counts, Entries, IntArray, MacroRule, MetricScores, score
from sedtool.evaluation.matching import largest_matching
from sedtool.evaluation.pair import EventArrays, LabelInput, Pair, pair_up


def evaluate_events(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
) -> MetricScores:
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
    MetricScores
        Entries in events.

    Raises
    ------
    LabelError
        If an event has impossible times.

    References
    ----------
    A. Mesaros, T. Heittola, T. Virtanen, "Metrics for polyphonic sound event detection",
    Applied Sciences 6(6), 2016, section 3.2.
    """
    return score(count_events(pair_up(reference, estimated, classes, config.compat), config))


def evaluate_onsets(
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None = None,
) -> MetricScores:
    """Score events by their onsets alone, as sed_eval does with ``evaluate_offset=False``.

    Parameters, errors and result are those of `evaluate_events`; `offset_ratio` is not used.
    """
    return score(count_onsets(pair_up(reference, estimated, classes, config.compat), config))


def count_onsets(pair: Pair, config: EvaluationConfig) -> Counts:
    """Count events that match by their onsets."""
    return count_events(pair, config, onset_only=True)


def count_events(pair: Pair, config: EvaluationConfig, onset_only: bool = False) -> Counts:
    """Count events, and those that match; see `event_counts`."""
    pair = pair.counted(config.compat)
    if config.engine == "sed_eval":
        return sed_eval_engine.count_events(pair, config, onset_only)
    return count_matched(pair, largest_matching(*pair.by_class, config, onset_only)[0], config)


def count_matched(pair: Pair, matched: IntArray, config: EvaluationConfig) -> Counts:
    """Return the counts of events of which those rows of the reference are matched."""
    reference, estimated = (side.clip for side in pair.by_class)
    rule = MacroRule.DCASE_EVENTS if config.compat == "dcase" else MacroRule.ZERO
    kinds = Entries(reference[matched]), Entries(reference), Entries(estimated)
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
    return len(largest_matching(reference, estimated, config, onset_only)[0])
