"""Clip-level scores: which classes are heard in a clip, wherever in it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.evaluation import sed_eval_engine
from sedtool.evaluation.scores import Counts, Scores, Undefined, score
from sedtool.evaluation.tables import scored_classes

__all__ = ["evaluate_clips"]

_DEFAULT = EvaluationConfig()


def evaluate_clips(
    reference_weak: Mapping[str, Iterable[str]],
    estimated_weak: Mapping[str, Iterable[str]],
    classes: Iterable[str] | None = None,
    config: EvaluationConfig = _DEFAULT,
) -> Scores:
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
    Scores
        Counted in clips.
    """
    listed, others = scored_classes(
        chain.from_iterable(reference_weak.values()),
        chain.from_iterable(estimated_weak.values()),
        classes,
        config.compat,
    )
    count = sed_eval_engine.count_clips if config.engine == "sed_eval" else _count_clips
    return score(listed, count(reference_weak, estimated_weak, (*listed, *others)), Undefined.ZERO)


def _count_clips(
    reference: Mapping[str, Iterable[str]],
    estimated: Mapping[str, Iterable[str]],
    labels: Sequence[str],
) -> Counts:
    in_both: Counter[str] = Counter()
    in_reference: Counter[str] = Counter()
    in_estimated: Counter[str] = Counter()
    for name in reference.keys() | estimated.keys():
        expected, found = set(reference.get(name, ())), set(estimated.get(name, ()))
        in_both.update(expected & found)
        in_reference.update(expected)
        in_estimated.update(found)
    return Counts(
        *(
            np.array([counter[label] for label in labels], np.int64)
            for counter in (in_both, in_reference, in_estimated)
        )
    )
