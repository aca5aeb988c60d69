"""Event-based scores: an estimated event is right if it starts and ends where a reference does."""

from sedtool.config import EvaluationConfig
from sedtool.evaluation import sed_eval_engine
from sedtool.evaluation.counts import Counts, Entries, IntArray, Kinds, macro_rule
from sedtool.evaluation.matching import largest_matching
from sedtool.evaluation.pair import EventArrays, Pair


def count_onsets(pair: Pair, config: EvaluationConfig) -> Counts:
    """Count events that match by their onsets."""
    return count_events(pair, config, onset_only=True)


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

    Parameters
    ----------
    reference, estimated
        Events of one class in any number of clips.
    config
        `collar` and `offset_ratio` are used.
    onset_only
        Whether offsets are not looked at.
    """
    return len(largest_matching(reference, estimated, config, onset_only)[0])
