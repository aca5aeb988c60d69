"""Clip-level scores: which classes are in a clip, wherever in it."""

from collections.abc import Iterable, Mapping

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.evaluation import sed_eval_engine
from sedtool.evaluation.counts import Counts, Entries, MetricScores, score
from sedtool.evaluation.pair import Pair, TagPair, distinct, pair_up

_DEFAULT = EvaluationConfig()


def evaluate_clips(
    reference_weak: Mapping[str, Iterable[str]],
    estimated_weak: Mapping[str, Iterable[str]],
    classes: Iterable[str] | None = None,
    config: EvaluationConfig = _DEFAULT,
) -> MetricScores:
    """Score the labels of clips (audio tagging).

    Parameters
    ----------
    reference_weak, estimated_weak
        The labels of each clip, by clip name; a clip missing on one side has none there. Names
        of the two sides are compared as they are.
    classes
        The only classes to score; by default those of the reference.
    config
        `engine` and `compat` are used.

    Returns
    -------
    MetricScores
        Entries in clips.
    """
    tags = reference_weak, estimated_weak
    return score(count_clips(pair_up([], [], classes, config.compat, tags=tags), config))


def count_clips(pair: Pair, config: EvaluationConfig) -> Counts:
    """Count clips by class; without labels of their own, clips have those of their events.

    Zero-length events give none, but with compat ``"dcase"``.
    """
    tags = pair.tags or _tags_of_events(pair, config)
    if config.engine == "sed_eval":
        return sed_eval_engine.count_clips(pair, tags)
    reference, estimated, classes = tags
    where = np.minimum(np.searchsorted(reference, estimated), max(reference.size - 1, 0))
    both = estimated[reference[where] == estimated] if reference.size else reference
    kinds = Entries(both), Entries(reference), Entries(estimated)
    return Counts(len(pair.clips), pair.labels, classes, kinds)


def _tags_of_events(pair: Pair, config: EvaluationConfig) -> TagPair:
    zero_length = config.compat == "dcase"
    reference, estimated = (
        distinct(side.clip[(side.offset > side.onset) | zero_length]) for side in pair.by_class
    )
    return TagPair(reference, estimated, pair.classes)
