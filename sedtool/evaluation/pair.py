"""Label lists -> columns of numbers over one list of classes and clips: what counting works on.

A lane is a class in a clip, the place where events can be compared: number ``class * C + clip``
of C clips.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.errors import LabelError
from sedtool.evaluation.counts import FloatArray, IntArray
from sedtool.labels import Event, EventColumns, StrongLabels, Vocabulary
from sedtool.labels.cells import LATEST

__all__ = [
    "EventArrays",
    "EventPair",
    "EventTable",
    "LabelInput",
    "as_labels",
    "pair_up",
    "scored_classes",
    "tabulate",
]

LabelInput = StrongLabels | EventColumns | Sequence[Event]


class EventArrays(NamedTuple):
    """The events of one class as columns of equal length, in any order."""

    clip: IntArray  # number of the clip each event is in, from 0
    onset: FloatArray  # seconds
    offset: FloatArray  # seconds, never before the onset


class EventTable(NamedTuple):
    """The events of all classes as columns of equal length, in the order they were given."""

    label: IntArray  # number of the class, from 0
    clip: IntArray  # number of the clip, from 0
    onset: FloatArray  # seconds
    offset: FloatArray  # seconds, never before the onset

    def take(self, rows: np.ndarray) -> "EventTable":
        """Return the chosen rows."""
        return EventTable(*(column[rows] for column in self))


@dataclass(frozen=True)
class EventPair:
    """Both sides of an evaluation over the same classes and clips."""

    truth: EventTable
    guess: EventTable
    classes: tuple[str, ...]  # the class list; labels beyond it count in micro only
    labels: tuple[str, ...]  # the class list and the labels beyond it, by class number
    clips: tuple[str, ...]  # clip names, by clip number: those of the reference first
    n_reference_clips: int

    @property
    def n_labels(self) -> int:
        """Return the length of the class list and of the labels beyond it."""
        return len(self.labels)

    @property
    def reference(self) -> list[EventArrays]:
        """Return the events of the reference, one table a label."""
        return self._by_label(self.truth)

    @property
    def estimated(self) -> list[EventArrays]:
        """Return the estimated events, one table a label."""
        return self._by_label(self.guess)

    @cached_property
    def lanes(self) -> tuple[EventArrays, EventArrays]:
        """Return both sides with the lane of each event for its clip."""
        first, second = (
            EventArrays(t.label * len(self.clips) + t.clip, t.onset, t.offset)
            for t in (self.truth, self.guess)
        )
        return first, second

    def label_of(self, lane: IntArray) -> IntArray:
        """Return the class numbers of lanes."""
        return lane // max(len(self.clips), 1)

    @property
    def n_lanes(self) -> int:
        """Return how many lanes there are."""
        return self.n_labels * len(self.clips)

    def within_reference(self) -> "EventPair":
        """Return the pair without the clips that only the estimates name."""
        if self.n_reference_clips == len(self.clips):
            return self
        return EventPair(
            self.truth,
            self.guess.take(self.guess.clip < self.n_reference_clips),
            self.classes,
            self.labels,
            self.clips[: self.n_reference_clips],
            self.n_reference_clips,
        )

    def _by_label(self, table: EventTable) -> list[EventArrays]:
        order = np.argsort(table.label, kind="stable")
        ends = np.cumsum(np.bincount(table.label, minlength=self.n_labels))[:-1]
        columns = (table.clip, table.onset, table.offset)
        split = [np.split(column[order], ends) for column in columns]
        return [EventArrays(*part) for part in zip(*split, strict=True)][: self.n_labels]


def as_labels(labels: LabelInput) -> StrongLabels:
    """Return valid strong labels that name every clip of their events.

    Raises
    ------
    LabelError
        If a time is negative or not finite, an offset is before its onset, or columns differ in
        length.
    """
    if isinstance(labels, EventColumns):
        labels = StrongLabels.from_columns(_plain_columns(labels), ())
    elif not isinstance(labels, StrongLabels):
        labels = StrongLabels(list(labels), ())
    _check_times(labels)
    columns = labels.columns
    if set(labels.names).issuperset(columns.name):
        return labels
    return StrongLabels.from_columns(columns, tuple(dict.fromkeys((*labels.names, *columns.name))))


def _plain_columns(columns: EventColumns) -> EventColumns:
    """Return columns of anything, arrays too, as lists."""
    name, onset, offset, label = (np.asarray(column).tolist() for column in columns[:4])
    if len({len(name), len(onset), len(offset), len(label)}) > 1:
        lengths = f"{len(name)}, {len(onset)}, {len(offset)} and {len(label)}"
        raise LabelError(f"columns of events must be of one length, not {lengths}")
    onset, offset = (list(map(float, column)) for column in (onset, offset))
    return EventColumns(list(map(str, name)), onset, offset, list(map(str, label)))


def _check_times(labels: StrongLabels) -> None:
    onset, offset = labels.times
    if ((onset >= 0) & (onset <= offset) & (offset <= LATEST)).all():
        return
    for name, start, end, label in zip(*labels.columns[:4], strict=True):
        if not 0 <= start <= end <= LATEST:
            raise LabelError(
                f"{name}: a {label!r} event from {start:g} s to {end:g} s; times must be finite, "
                f"0 or more, at most {LATEST:g} s, onset before offset"
            )


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
    reference: LabelInput,
    estimated: LabelInput,
    config: EvaluationConfig,
    classes: Iterable[str] | None,
) -> EventPair:
    """Give numbers to the events of both sides; with compat ``"dcase"`` in reference clips only."""
    pair = pair_up(as_labels(reference), as_labels(estimated), classes, config.compat)
    return pair.within_reference() if config.compat == "dcase" else pair


def pair_up(
    reference: StrongLabels, estimated: StrongLabels, classes: Iterable[str] | None, compat: str
) -> EventPair:
    """Give numbers to the classes and clips of both sides, and to the events by them.

    Both sides must have passed `as_labels`. Labels that are not scored are left out.
    """
    clips = dict.fromkeys(reference.names) | dict.fromkeys(estimated.names)
    listed, others = scored_classes(reference.classes, estimated.classes, classes, compat)
    labels = (*listed, *others)
    label_number = defaultdict(lambda: -1, {label: k for k, label in enumerate(labels)})
    clip_number = {name: i for i, name in enumerate(clips)}
    return EventPair(
        _table(reference, label_number, clip_number),
        _table(estimated, label_number, clip_number),
        listed,
        labels,
        tuple(clips),
        len(dict.fromkeys(reference.names)),
    )


def _table(
    events: StrongLabels, label_number: Mapping[str, int], clip_number: Mapping[str, int]
) -> EventTable:
    """Return the events of the numbered labels; others are left out."""
    name, label = events.columns.name, events.columns.label
    table = EventTable(
        np.fromiter(map(label_number.__getitem__, label), np.int64, len(label)),
        np.fromiter(map(clip_number.__getitem__, name), np.int64, len(name)),
        *events.times,
    )
    known = table.label >= 0
    return table if known.all() else table.take(known)
