"""Labels of both sides -> what every metric of an evaluation counts in each clip."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sedtool.evaluation.by_clip import count_by_clip
from sedtool.evaluation.counts import IntArray, Undefined
from sedtool.evaluation.intersection import intersect
from sedtool.evaluation.intervals import CountTable
from sedtool.evaluation.pair import as_labels, tabulate
from sedtool.evaluation.pairing import match_names, weak_form
from sedtool.evaluation.report import Evaluation
from sedtool.labels import Event, StrongLabels

__all__ = ["count_table"]

_DCASE = {
    "event": Undefined.DROPPED_ZERO_PRECISION,
    "onset": Undefined.DROPPED_ZERO_PRECISION,
    "segment": Undefined.DROPPED,
}


def count_table(
    reference: StrongLabels | Sequence[Event],
    estimated: StrongLabels | Sequence[Event],
    evaluation: Evaluation,
    *,
    durations: Mapping[str, float] | None = None,
    weak_reference: Mapping[str, Iterable[str]] | None = None,
    weak_estimated: Mapping[str, Iterable[str]] | None = None,
) -> CountTable:
    """Count clip by clip what `evaluate` counted, given the same labels; sums over clips are equal.

    Parameters
    ----------
    reference, estimated, durations, weak_reference, weak_estimated
        As they were given to `sedtool.evaluation.evaluate`.
    evaluation
        What it returned.
    """
    lists = {name: tuple(rates.classes) for name, rates in evaluation.error_rates.items()}
    lists |= {name: tuple(scores.classes) for name, scores in evaluation.scores.items()}
    config = evaluation.config
    reference, estimated = as_labels(reference), as_labels(estimated)
    lists = {name: classes for name, classes in lists.items() if classes}
    if not lists:  # nothing that a resample could change
        return CountTable(tuple(sorted({*reference.names, *estimated.names})))
    if config.compat == "dcase":  # zero-length events are heard there
        weak_reference = (
            weak_form(reference, config.compat) if weak_reference is None else weak_reference
        )
        weak_estimated = (
            weak_form(estimated, config.compat) if weak_estimated is None else weak_estimated
        )
    by_list = {
        classes: count_by_clip(
            reference,
            estimated,
            config,
            classes,
            durations=durations,
            weak_reference=weak_reference,
            weak_estimated=weak_estimated,
        )
        for classes in dict.fromkeys(lists.values())
    }
    clips = next(iter(by_list.values())).clips
    counts: dict[str, IntArray] = {}
    for name, classes in lists.items():
        if name == "intersection":
            counts[name] = _intersections(reference, estimated, evaluation, classes, clips)
        else:
            counts[name] = by_list[classes].metric(name)
    compat = config.compat == "dcase"
    if compat:  # what only the estimates name is not scored there
        known = np.isin(clips, reference.names)
        counts |= {name: counts[name] * known[:, None, None] for name in _DCASE if name in counts}
    rules = _DCASE if compat else {}
    return CountTable(
        clips,
        counts,
        {name: rules.get(name, Undefined.ZERO) for name in counts},
        tuple(evaluation.error_rates),
    )


def _intersections(
    reference: StrongLabels,
    estimated: StrongLabels,
    evaluation: Evaluation,
    classes: Sequence[str],
    clips: Sequence[str],
) -> IntArray:
    """Return the counts of intersection-based scores, shape (C, K, 3)."""
    estimated = estimated.renamed(match_names(estimated.names, reference.names, "estimated events"))
    everywhere = StrongLabels.from_columns(reference.columns, tuple(clips))
    config = replace(evaluation.config, compat="", engine="native")
    pair = tabulate(everywhere, estimated, config, classes)
    found = intersect(pair.reference, pair.estimated, evaluation.intersection, cross=False)
    return found.counts_by_clip(len(clips))
