"""Events, and the strong labels of a set of clips."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One sound event: clip `name` has `label` in the interval [onset, offset)."""

    name: str
    onset: float  # seconds
    offset: float  # seconds
    label: str
    confidence: float | None = None


class EventColumns(NamedTuple):
    """Events as columns of equal length, a fraction of the cost of an object each."""

    name: Sequence[str]
    onset: Sequence[float]  # seconds
    offset: Sequence[float]  # seconds
    label: Sequence[str]
    confidence: Sequence[float | None] | None = None  # None: no event has one

    def events(self) -> list[Event]:
        """Return the events, one object each."""
        columns = self[:4] if self.confidence is None else self
        return [Event(*row) for row in zip(*columns, strict=True)]


class StrongLabels:
    """A strong label file: its events, and every clip it names, those without events included.

    Events are kept as they were given, as objects or as columns, and made into the other form
    when first asked for. Neither may be changed in place.
    """

    def __init__(self, events: list[Event], names: tuple[str, ...]) -> None:
        self.events = events
        self.names = names  # in order of first appearance

    @classmethod
    def from_columns(cls, columns: EventColumns, names: tuple[str, ...]) -> "StrongLabels":
        """Return labels that make objects of their events only when asked for them."""
        labels = cls.__new__(cls)
        labels.columns = columns
        labels.names = names
        return labels

    @cached_property
    def events(self) -> list[Event]:
        """Return the events in the order of the file."""
        return self.columns.events()

    @cached_property
    def columns(self) -> EventColumns:
        """Return the events as columns, in the same order."""
        confidence = [event.confidence for event in self.events]
        return EventColumns(
            [event.name for event in self.events],
            [event.onset for event in self.events],
            [event.offset for event in self.events],
            [event.label for event in self.events],
            None if confidence.count(None) == len(confidence) else confidence,
        )

    @cached_property
    def times(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return onsets and offsets in seconds, in the same order."""
        return np.array(self.columns.onset, float), np.array(self.columns.offset, float)

    def __eq__(self, other: object) -> bool:
        """Return whether both have equal events in equal order, and name the same clips."""
        if not isinstance(other, StrongLabels):
            return NotImplemented
        return self.names == other.names and self.events == other.events

    __hash__ = None  # type: ignore[assignment]  # its lists may not be changed, but could be

    def __repr__(self) -> str:
        """Return an expression for the labels."""
        return f"StrongLabels({self.events!r}, {self.names!r})"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Return the labels that occur, sorted."""
        return tuple(sorted(set(self.columns.label)))

    def durations(self) -> dict[str, list[float]]:
        """Return the lengths in seconds of each class's events, zero-length ones left out."""
        lengths: dict[str, list[float]] = {}
        _, onsets, offsets, labels, _ = self.columns
        for onset, offset, label in zip(onsets, offsets, labels, strict=True):
            if offset > onset:  # else it says that its clip has no event
                lengths.setdefault(label, []).append(offset - onset)
        return lengths

    def mean_durations(self) -> dict[str, float]:
        """Return the mean length in seconds of each class's events, zero-length ones left out."""
        return {label: math.fsum(each) / len(each) for label, each in self.durations().items()}

    def median_durations(self) -> dict[str, float]:
        """Return the median length in seconds of the same, in the order of the classes' names."""
        return {label: median(each) for label, each in sorted(self.durations().items())}

    def weak(self) -> dict[str, tuple[str, ...]]:
        """Return the labels of each clip, sorted, without those of zero-length events."""
        weak: dict[str, set[str]] = {name: set() for name in self.names}
        for name, onset, offset, label in zip(*self.columns[:4], strict=True):
            if offset > onset:
                weak[name].add(label)
        return {name: tuple(sorted(labels)) for name, labels in weak.items()}

    def renamed(self, names: Mapping[str, str]) -> "StrongLabels":
        """Return the labels under other clip names; clips not in `names` are left out."""
        if tuple(map(names.get, self.names)) == self.names:  # and none is left out
            return self
        kept = tuple(names[name] for name in self.names if name in names)
        columns = self.columns
        keep = [name in names for name in columns.name]
        if not all(keep):
            rows = (column and list(compress(column, keep)) for column in columns)
            columns = EventColumns(*rows)  # type: ignore[arg-type]
        renamed = columns._replace(name=[names[name] for name in columns.name])
        return StrongLabels.from_columns(renamed, kept)


def confident(labels: StrongLabels, where: str, least: float | None) -> StrongLabels:
    """Return labels without the events whose confidence is below a bound; the log says how many.

    Without a bound, all are kept, and the log says that some are unsure.
    """
    confidence = labels.columns.confidence or ()
    bound = 1.0 if least is None else least
    is_kept = [value is None or value >= bound for value in confidence]
    if not (n_below := is_kept.count(False)):
        return labels
    given = f"{where}: {n_below} of {len(is_kept)} events have a confidence below {bound:g}"
    if least is None:
        lowest = min(value for value in confidence if value is not None)
        log.warning(
            "%s (least %g); all are taken as whole events, and --min-confidence leaves out those "
            "below it",
            given,
            lowest,
        )
        return labels
    log.warning("%s; they are left out", given)
    name, onset, offset, label, _ = labels.columns
    columns = EventColumns(
        list(compress(name, is_kept)),
        list(compress(onset, is_kept)),
        list(compress(offset, is_kept)),
        list(compress(label, is_kept)),
        list(compress(confidence, is_kept)),
    )
    return StrongLabels.from_columns(columns, labels.names)
