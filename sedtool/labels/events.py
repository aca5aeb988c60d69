"""What is heard when: events, and the strong labels of a set of clips."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

__all__ = ["Event", "StrongLabels"]


@dataclass(frozen=True, slots=True)
class Event:
    """One sound event: `label` is heard in clip `name` in the interval [onset, offset)."""

    name: str
    onset: float  # seconds
    offset: float  # seconds
    label: str
    confidence: float | None = None


@dataclass(frozen=True)
class StrongLabels:
    """A strong label file: its events, and every clip it names, those without events included."""

    events: list[Event]
    names: tuple[str, ...]  # in order of first appearance

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the labels that occur, sorted."""
        return tuple(sorted({event.label for event in self.events}))

    def mean_durations(self) -> dict[str, float]:
        """Return the mean length in seconds of each class's events, zero-length ones left out."""
        lengths: dict[str, list[float]] = {}
        for event in self.events:
            if event.offset > event.onset:
                lengths.setdefault(event.label, []).append(event.offset - event.onset)
        return {label: math.fsum(found) / len(found) for label, found in lengths.items()}

    def weak(self) -> dict[str, tuple[str, ...]]:
        """Return the labels of each clip, sorted; zero-length events say nothing was heard."""
        heard: dict[str, set[str]] = {name: set() for name in self.names}
        for event in self.events:
            if event.offset > event.onset:
                heard[event.name].add(event.label)
        return {name: tuple(sorted(labels)) for name, labels in heard.items()}

    def renamed(self, names: Mapping[str, str]) -> "StrongLabels":
        """Return the labels under other clip names; clips that `names` lacks are left out."""
        events = [replace(e, name=names[e.name]) for e in self.events if e.name in names]
        return StrongLabels(events, tuple(names[n] for n in self.names if n in names))
