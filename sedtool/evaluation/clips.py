"""Clip-level scores: which classes are heard in a clip, wherever in it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike

from sedtool.config import EvaluationConfig
from sedtool.evaluation import sed_eval_engine
from sedtool.evaluation.counts import Counts, IntArray, Scores, Undefined, score
from sedtool.evaluation.pair import EventPair, scored_classes

__all__ = ["clip_counts", "evaluate_clips", "score_heard"]

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


def score_heard(pair: EventPair, compat: str) -> Scores:
    """Score the labels that events give their clips; the same as `evaluate_clips` of them.

    Zero-length events say nothing was heard, but with compat ``"dcase"``.
    """
    reference, estimated = (
        _distinct(side.clip[(side.offset > side.onset) | (compat == "dcase")])
        for side in pair.lanes
    )
    where = np.minimum(np.searchsorted(reference, estimated), max(reference.size - 1, 0))
    both = estimated[reference[where] == estimated] if reference.size else reference
    columns = (pair.label_of(lanes) for lanes in (both, reference, estimated))
    counts = Counts(*(np.bincount(column, minlength=pair.n_labels) for column in columns))
    return score(pair.classes, counts, Undefined.ZERO)


def _distinct(lane: IntArray) -> IntArray:
    """Return each number once, ascending; sorting is faster than the hashing of `np.unique`."""
    ordered = np.sort(lane)
    return ordered[np.diff(ordered, prepend=-1) > 0]


def clip_counts(reference: ArrayLike, estimated: ArrayLike) -> tuple[IntArray, IntArray, IntArray]:
    """Count clips by class.

    Parameters
    ----------
    reference, estimated
        Whether each class is heard in each clip, bool (clips, K).

    Returns
    -------
    tuple of array
        Clips in which it is heard on both sides, in the reference, and in the estimates, (K,).
    """
    known, found = np.asarray(reference, bool), np.asarray(estimated, bool)
    return (known & found).sum(axis=0), known.sum(axis=0), found.sum(axis=0)
