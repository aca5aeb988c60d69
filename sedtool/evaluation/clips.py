"""Clip-level scores: which classes are in a clip, wherever in it."""

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.evaluation import sed_eval_engine
from sedtool.evaluation.counts import Counts, Entries
from sedtool.evaluation.pair import Pair, TagPair, distinct


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
