"""Label lists of both sides -> numbers, once: what every count works on.

C clips and L labels have numbers. Events can be compared if they are of one class in one clip; that
class-in-clip has the number ``clip * L + label``.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

from sedtool.errors import LabelError
from sedtool.evaluation.counts import FloatArray, IntArray
from sedtool.labels import Event, EventColumns, StrongLabels, Vocabulary
from sedtool.labels.cells import LATEST

LabelInput = StrongLabels | EventColumns | Sequence[Event]
Tags = Mapping[str, Iterable[str]]  # labels by clip


class EventArrays(NamedTuple):
    """Events as columns of equal length, in any order."""

    clip: IntArray  # number of the clip, or of the class-in-clip, each event is in, from 0
    onset: FloatArray  # seconds
    offset: FloatArray  # seconds, never before the onset

    def take(self, rows: np.ndarray) -> "EventArrays":
        """Return the chosen rows."""
        return EventArrays(*(column[rows] for column in self))


class EventTable(NamedTuple):
    """The events of one side as columns of equal length, in the order they were given."""

    label: IntArray  # number of the label, from 0
    clip: IntArray  # number of the clip, from 0
    onset: FloatArray  # seconds
    offset: FloatArray  # seconds, never before the onset

    def take(self, rows: np.ndarray) -> "EventTable":
        """Return the chosen rows."""
        return EventTable(*(column[rows] for column in self))

    def by_class(self, n_labels: int) -> EventArrays:
        """Return the events with the number of their class-in-clip."""
        return EventArrays(self.clip * n_labels + self.label, self.onset, self.offset)

    def by_clip(self) -> EventArrays:
        """Return the events of all classes with the number of their clip."""
        return EventArrays(self.clip, self.onset, self.offset)


class TagPair(NamedTuple):
    """The labels of clips on both sides."""

    reference: IntArray  # numbers of classes-in-clips, ascending, each once
    estimated: IntArray
    classes: tuple[str, ...]  # the class list


@dataclass(frozen=True, eq=False)
class Pair:
    """Both sides of an evaluation over the same labels and clips."""

    reference: EventTable
    estimated: EventTable
    clips: tuple[str, ...]  # by number; those that the reference names come first
    n_reference_clips: int
    labels: tuple[str, ...]  # by number
    classes: tuple[str, ...]  # the class list; other labels count in micro only
    reference_classes: tuple[str, ...]  # the same if compat is not "dcase"
    seconds: FloatArray  # duration of each clip, (C,); inf where it is not known
    tags: TagPair | None  # None: clips have the labels of their events

    @property
    def n_labels(self) -> int:
        """Return the number of labels, L."""
        return len(self.labels)

    @cached_property
    def by_class(self) -> tuple[EventArrays, EventArrays]:
        """Return both sides with the class-in-clip of each event."""
        return self.reference.by_class(self.n_labels), self.estimated.by_class(self.n_labels)

    def counted(self, compat: str) -> "Pair":
        """Return the pair with the events that count: ``"dcase"``: in clips of the reference."""
        if compat != "dcase" or self.n_reference_clips == len(self.clips):
            return self
        kept = self.estimated.take(self.estimated.clip < self.n_reference_clips)
        return replace(self, estimated=kept)


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


def pair_up(
    reference: LabelInput,
    estimated: LabelInput,
    classes: Iterable[str] | None = None,
    compat: str = "",
    durations: Mapping[str, float] | None = None,
    tags: tuple[Tags, Tags] | None = None,
) -> Pair:
    """Give numbers to the clips and labels of both sides; names are compared as they are.

    Parameters
    ----------
    reference, estimated
        Events in any order.
    classes
        The class list, and the only labels that are kept. None: the sorted labels of the reference;
        with compat ``"dcase"`` those of both sides.
    compat
        As in `EvaluationConfig`.
    durations
        Seconds, by clip name.
    tags
        The labels of clips, of the reference and estimated, where they are not those of the events.
    """
    reference, estimated = as_labels(reference), as_labels(estimated)
    clips = dict.fromkeys((*reference.names, *estimated.names, *chain(*(tags or ()))))
    clip_number = {name: i for i, name in enumerate(clips)}
    if classes is not None:
        classes = Vocabulary(classes).classes
    of_events = reference.classes, estimated.classes
    listed, labels = _numbered_labels(of_events, classes, compat)
    tag_classes, tag_labels = _numbered_labels(
        [set(chain.from_iterable(side.values())) for side in tags or ({}, {})], classes, compat
    )
    labels = tuple(dict.fromkeys((*labels, *tag_labels)))
    label_number = defaultdict(lambda: -1, {label: k for k, label in enumerate(labels)})
    cells = [_cells(side, label_number, clip_number, len(labels)) for side in tags or ()]
    return Pair(
        _table(reference, label_number, clip_number),
        _table(estimated, label_number, clip_number),
        tuple(clips),
        len(dict.fromkeys(reference.names)),
        labels,
        listed,
        _numbered_labels(of_events, classes, compat="")[0],
        _clip_seconds(durations or {}, clips),
        TagPair(cells[0], cells[1], tag_classes) if cells else None,
    )


def _numbered_labels(
    sides: Sequence[Iterable[str]], classes: tuple[str, ...] | None, compat: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the class list of both sides, and all labels that are counted."""
    if classes is not None:
        return classes, classes
    reference, estimated = map(set, sides)
    listed = sorted(reference | estimated if compat == "dcase" else reference)
    return tuple(listed), (*listed, *sorted(estimated.difference(listed)))


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
    numbered = table.label >= 0
    return table if numbered.all() else table.take(numbered)


def _cells(
    tags: Tags,
    label_number: Mapping[str, int],
    clip_number: Mapping[str, int],
    n_labels: int,
) -> IntArray:
    """Return the classes-in-clips of the numbered labels."""
    clips = (clip_number[name] for name, mine in tags.items() for _ in mine)
    labels = (label_number[label] for mine in tags.values() for label in mine)
    clip, label = (np.fromiter(numbers, np.int64) for numbers in (clips, labels))
    return distinct((clip * n_labels + label)[label >= 0])


def _clip_seconds(durations: Mapping[str, float], clips: Collection[str]) -> FloatArray:
    """Return the duration of each clip in seconds, inf where unknown, (C,)."""
    if not durations:
        return np.full(len(clips), np.inf)
    for name, duration in durations.items():
        if not 0 <= duration < np.inf:
            raise LabelError(f"{name}: a duration of {duration:g} s; it must be finite, 0 or more")
    return np.array([durations.get(name, np.inf) for name in clips], float)


def distinct(numbers: IntArray) -> IntArray:
    """Return each number once, ascending; sorting is faster than the hashing of `np.unique`."""
    ordered = np.sort(numbers)
    return ordered[np.diff(ordered, prepend=-1) > 0]
