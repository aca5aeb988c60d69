"""Label lists -> one table of columns a class: what the counting functions work on."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.errors import LabelError
from sedtool.evaluation.scores import FloatArray, IntArray
from sedtool.labels import Event, StrongLabels, Vocabulary

__all__ = ["EventArrays", "EventPair", "as_labels", "scored_classes", "tabulate"]


class EventArrays(NamedTuple):
    """The events of one class as columns of equal length, in any order."""

    clip: IntArray  # number of the clip each event is in, from 0
    onset: FloatArray  # seconds
    offset: FloatArray  # seconds, never before the onset


@dataclass(frozen=True)
class EventPair:
    """Both sides of an evaluation, class by class over the same classes and clips."""

    reference: list[EventArrays]  # one table a class: those of `classes`, then other labels
    estimated: list[EventArrays]
    classes: tuple[str, ...]  # the class list; labels beyond it count in micro only
    clips: tuple[str, ...]  # clip names, by clip number


def as_labels(labels: StrongLabels | Sequence[Event]) -> StrongLabels:
    """Return valid strong labels that name every clip of their events.

    Raises
    ------
    LabelError
        If a time is negative or not finite, or an offset is before its onset.
    """
    events, names = (
        (labels.events, labels.names) if isinstance(labels, StrongLabels) else (labels, ())
    )
    for event in events:
        if not 0 <= event.onset <= event.offset < math.inf:
            raise LabelError(
                f"{event.name}: a {event.label!r} event from {event.onset:g} s to "
                f"{event.offset:g} s; times must be finite, 0 or more, onset before offset"
            )
    every_name = dict.fromkeys(names) | dict.fromkeys(event.name for event in events)
    return StrongLabels(list(events), tuple(every_name))


def scored_classes(
    reference: Iterable[str],
    estimated: Iterable[str],
    classes: Iterable[str] | None,
    compat: str,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose the class list, and the other labels that count in micro.

    Parameters
    ----------
    reference, estimated
        Every label of that side; repetitions are welcome.
    classes
        The class list, or None for the default.
    compat
        As in `EvaluationConfig`.

    Returns
    -------
    tuple of str
        The class list: `classes`, else the sorted labels of the reference (``"dcase"``: of both).
    tuple of str
        Labels of the estimates outside a default list, sorted.
    """
    if classes is not None:
        return Vocabulary(classes).classes, ()
    known, heard = set(reference), set(estimated)
    if compat == "dcase":
        return tuple(sorted(known | heard)), ()
    return tuple(sorted(known)), tuple(sorted(heard - known))


def tabulate(
    reference: StrongLabels | Sequence[Event],
    estimated: StrongLabels | Sequence[Event],
    config: EvaluationConfig,
    classes: Iterable[str] | None,
) -> EventPair:
    """Sort both sides into one table a class, over the same class and clip numbers."""
    reference, estimated = as_labels(reference), as_labels(estimated)
    clips = dict.fromkeys(reference.names)
    if config.compat != "dcase":
        clips |= dict.fromkeys(estimated.names)
    listed, others = scored_classes(reference.classes, estimated.classes, classes, config.compat)
    class_number = {label: k for k, label in enumerate((*listed, *others))}
    clip_number = {name: i for i, name in enumerate(clips)}
    return EventPair(
        _tables(reference.events, class_number, clip_number),
        _tables(estimated.events, class_number, clip_number),
        listed,
        tuple(clips),
    )


def _tables(
    events: Iterable[Event], class_number: Mapping[str, int], clip_number: Mapping[str, int]
) -> list[EventArrays]:
    """Return the events of the numbered classes and clips; others are left out."""
    rows: list[list[tuple[int, float, float]]] = [[] for _ in class_number]
    for event in events:
        k, clip = class_number.get(event.label), clip_number.get(event.name)
        if k is not None and clip is not None:
            rows[k].append((clip, event.onset, event.offset))
    tables = []
    for row in rows:
        clip_column, onset, offset = zip(*row, strict=True) if row else ((), (), ())
        tables.append(
            EventArrays(
                np.array(clip_column, np.int64), np.array(onset, float), np.array(offset, float)
            )
        )
    return tables
