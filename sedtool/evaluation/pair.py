"""Label lists of both sides -> one set of names -> numbers, once: what every count works on.

`match_sides` gives clips the names that the reference has for them, and `warnings_of` names what
has no partner. In a `Pair`, C clips and L labels have numbers. Events can be compared if they are
of one class in one clip; that class-in-clip has the number ``clip * L + label``.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

from sedtool.bounds import MOST_CLASSES
from sedtool.errors import ArtifactError, LabelError
from sedtool.evaluation.counts import FloatArray, IntArray
from sedtool.labels import Event, EventColumns, NameIndex, StrongLabels, Vocabulary
from sedtool.labels.cells import LATEST
from sedtool.labels.names import inexact
from sedtool.text import cut, did_you_mean, first_five, nearest, quoted

LabelInput = StrongLabels | EventColumns | Sequence[Event]
Tags = Mapping[str, Iterable[str]]  # labels by clip


class UnlikeNamesError(ArtifactError):
    """No clip of one file is in another one that it is compared with."""

    suffix = ""  # of the estimated clips, if the reference has the same ones with another suffix


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
    """Return strong labels that name every clip of their events; a LabelError for a bad time."""
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
                f"{name}: a {quoted(label)} event from {start:g} s to {end:g} s; times must be "
                f"finite, 0 or more, at most {LATEST:g} s, onset before offset"
            )


@dataclass(frozen=True, eq=False)
class Sides:
    """What is compared; clips have the names that the reference has for them."""

    reference: StrongLabels
    estimated: StrongLabels
    clips: tuple[str, ...]  # that either of them names
    tags: tuple[Tags, Tags] | None  # labels of clips where they are not those of the events
    durations: Mapping[str, float] | None  # seconds, of the clips that have one; None: not given
    unmeasured: str  # clips that have none, and those that they may be, as text
    renamed: dict[str, str]  # clips by the names that the estimates have for them


def match_sides(
    reference: LabelInput,
    estimated: LabelInput,
    tags: tuple[Tags | None, Tags | None],
    durations: Mapping[str, float] | None,
    compat: str,
) -> Sides:
    """Give clips the names of the reference; see `sedtool.labels.NameIndex`.

    If one side alone has `tags`, those of the other are the labels of its events.

    Raises
    ------
    LabelError
        If an event has impossible times, or a clip name is ambiguous.
    """
    reference, estimated = as_labels(reference), as_labels(estimated)
    names = match_names(estimated.names, reference.names, "estimated events")
    renamed = estimated.renamed(names)
    both: tuple[Tags, Tags] | None = None
    unmeasured = ""
    if tags != (None, None):
        first, second = (
            _tags_of(events, compat) if given is None else given
            for events, given in zip((reference, estimated), tags, strict=True)
        )
        own = NameIndex(reference.names).matches(first)
        if not any(match.message for match in own):  # else they stay as they are
            first = {match.clip or match.name: first[match.name] for match in own}
        tag_names = match_names(second, {*first, *reference.names}, "estimated clip labels")
        both = first, {tag_names[name]: labels for name, labels in second.items()}
        names = names | tag_names
    clips = tuple(dict.fromkeys((*reference.names, *renamed.names)))
    if durations is not None:
        index = NameIndex(durations)
        given, missing = index.resolve(clips, "durations")
        if missing and not given and durations:
            raise UnlikeNamesError(f"no clip has a duration: {index.listed(missing)}")
        durations = {clip: durations[name] for clip, name in given.items()}
        unmeasured = f"({len(missing)}): {index.listed(sorted(missing))}" if missing else ""
    return Sides(reference, renamed, clips, both, durations, unmeasured, names)


def _tags_of(labels: StrongLabels, compat: str) -> Tags:
    """Return the labels of each clip; with compat ``"dcase"`` zero-length events count too."""
    if compat != "dcase":
        return labels.weak()
    tags: dict[str, set[str]] = {name: set() for name in labels.names}
    for name, label in zip(labels.columns.name, labels.columns.label, strict=True):
        tags[name].add(label)
    return tags


def match_names(names: Iterable[str], targets: Iterable[str], where: str) -> dict[str, str]:
    """Map each name to the clip it means, one of the targets, else to itself.

    Raises
    ------
    LabelError
        If a name is ambiguous, or two names mean the same clip; `where` tells whose names.
    """
    clips, missing = NameIndex(targets).resolve(names, where)
    return clips | dict(zip(missing, missing, strict=True))


def pair_up(
    reference: LabelInput,
    estimated: LabelInput,
    classes: Iterable[str] | None = None,
    compat: str = "",
    durations: Mapping[str, float] | None = None,
    tags: tuple[Tags, Tags] | None = None,
) -> Pair:
    """Give numbers to the clips and labels of both sides; names are compared as they are.

    `classes` is the class list, and the only labels that are kept. By default it is the sorted
    labels of the reference; with compat ``"dcase"`` those of both sides. `tags` are the labels of
    clips, of the reference and estimated, where they are not those of the events.
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
    if len(labels) > MOST_CLASSES:
        raise LabelError(f"{len(labels)} different labels; {MOST_CLASSES} are the most")
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
        clip_seconds(durations or {}, clips),
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
    tags: Tags, label_number: Mapping[str, int], clip_number: Mapping[str, int], n_labels: int
) -> IntArray:
    """Return the classes-in-clips of the numbered labels."""
    clips = (clip_number[name] for name, mine in tags.items() for _ in mine)
    labels = (label_number[label] for mine in tags.values() for label in mine)
    clip, label = (np.fromiter(numbers, np.int64) for numbers in (clips, labels))
    return distinct((clip * n_labels + label)[label >= 0])


def clip_seconds(durations: Mapping[str, float], clips: Collection[str]) -> FloatArray:
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


def warnings_of(
    sides: Sides, pair: Pair, classes: Iterable[str] | None, compat: str, tags_only: bool
) -> list[str]:
    """Return a warning for each kind of clip, label and event that has no partner or place.

    `tags_only` tells whether no metric looks at the events.
    """
    n_inexact, shown = inexact(sides.renamed)
    how = "their basename, as folders, suffixes or Unicode forms differ"
    warnings = [f"estimated clips matched by {how} ({n_inexact}): {shown}"] * bool(n_inexact)
    labels: list[tuple[Iterable[str], Iterable[str]]] = []
    if not tags_only:
        warnings += warn_of_names("events", sides.reference.names, sides.estimated.names)
        labels.append((sides.reference.classes, sides.estimated.classes))
    if sides.tags is not None:
        warnings += warn_of_names("clip labels", *sides.tags)
        first, second = (chain.from_iterable(tags.values()) for tags in sides.tags)
        labels.append((first, second))
    warnings += warn_of_labels(labels, classes, compat) + _warn_of_overlaps(pair)
    return warnings if sides.durations is None else warnings + _warn_of_ends(sides, sides.durations)


def warn_of_names(what: str, reference: Iterable[str], estimated: Iterable[str]) -> list[str]:
    """Name the clips that stand on one side only of the `what` lists, and those near them.

    If both sides have clips, and none in common, that is an UnlikeNamesError.
    """
    both = set(reference), set(estimated)
    mine, theirs = both[0] - both[1], both[1] - both[0]
    if mine and theirs and len(mine) + len(theirs) == sum(map(len, both)):
        index, names = NameIndex(mine), sorted(theirs)
        text = f"no clip of the estimated {what} is in the reference: {index.listed(names)}"
        has = f"; there are {first_five(sorted(mine))}" * (not any(map(index.near, names[:5])))
        error = UnlikeNamesError(text + has)
        error.suffix = next(filter(None, (index.other_suffix(name) for name in names)), "")
        raise error
    sides = ((theirs, mine, "estimated", "reference"), (mine, theirs, "reference", "estimates"))
    return [
        f"clips of the {one} {what} that are not in the {other} ({len(names)}): "
        f"{NameIndex(others).listed(sorted(names))}"
        for names, others, one, other in sides
        if names
    ]


def warn_of_labels(
    sides: Iterable[tuple[Iterable[str], Iterable[str]]], classes: Iterable[str] | None, compat: str
) -> list[str]:
    """Name the labels outside the class list, and what becomes of them.

    `sides` are the labels of the reference and of the estimates, one pair for each kind of list.
    """
    pairs = [(set(reference), set(estimated)) for reference, estimated in sides]
    in_reference = set[str]().union(*(reference for reference, _ in pairs))
    if classes is not None:
        every_label = in_reference.union(*(estimated for _, estimated in pairs))
        listed = list(classes)
        beyond = every_label - set(listed)
        return _warning(suggested(beyond, listed), "labels not in the class list, not scored")
    if compat == "dcase":
        return []  # the class list has them all
    beyond = set[str]().union(*(estimated - reference for reference, estimated in pairs))
    return _warning(
        suggested(beyond, in_reference - beyond),
        "estimated labels not in the reference, counted in micro only",
    )


def suggested(labels: Iterable[str], valid: Iterable[str]) -> list[str]:
    """Return unknown labels, sorted; the first five with the valid ones that they may stand for."""
    by_shape = {_shape(label): label for label in sorted(valid)}
    ordered = sorted(labels)
    for number, label in enumerate(ordered[:5]):
        near = nearest(_shape(label), by_shape, cutoff=0.7)
        hint = f" ({did_you_mean(label, by_shape[near])})" if near is not None else ""
        ordered[number] = cut(label) + hint
    return ordered


def _shape(label: str) -> str:
    """Return a label without what is often written differently."""
    return "".join(label.casefold().replace("_", " ").replace("-", " ").split())


def _warn_of_overlaps(pair: Pair) -> list[str]:
    """Count the events that overlap with another one of their class, and name the first clip."""
    warnings = []
    for side, events in zip(("reference", "estimated"), pair.by_class, strict=True):
        cells = _overlapping(events)
        if cells.size:
            clip, label = divmod(int(cells.min()), pair.n_labels)
            warnings.append(
                f"{side} events that overlap with another of their class ({len(cells)}), such as "
                f"{quoted(pair.labels[label])} in {pair.clips[clip]}; where time is counted they "
                "are one, in event counts several"
            )
    return warnings


def _overlapping(events: EventArrays) -> IntArray:
    """Return the class-in-clip of each event that begins before an earlier one has ended."""
    span = events.offset.max(initial=0.0) + 1.0  # seconds
    # Sorting rounded times tells in which classes-in-clips something may overlap: few, mostly.
    line = events.clip * span
    order = np.argsort(line + events.onset)
    cell = events.clip[order]
    near = (line + events.onset)[order[1:]] <= (line + events.offset)[order[:-1]] + 1e-3
    if not (near & (cell[1:] == cell[:-1])).any():
        return np.zeros(0, np.int64)
    rows = np.flatnonzero(np.isin(events.clip, cell[1:][near]))
    rows = rows[np.lexsort((events.onset[rows], events.clip[rows]))]
    cell, begin, stop = events.clip[rows], events.onset[rows], events.offset[rows]
    # Complex numbers compare by class-in-clip, then time: the end of all that came before in it.
    end = np.maximum.accumulate(cell + 1j * stop)
    overlapping: IntArray = cell[1:][cell[1:] + 1j * begin[1:] < end[:-1]]
    return overlapping


def _warn_of_ends(sides: Sides, durations: Mapping[str, float]) -> list[str]:
    """Name the clips without a duration, and count the events that end after their clip."""
    what = "clips without a duration, taken to end with their last event"
    warnings = [f"{what} {sides.unmeasured}"] * bool(sides.unmeasured)
    for side, labels in (("reference", sides.reference), ("estimated", sides.estimated)):
        ends = zip(labels.columns.name, labels.columns.offset, strict=True)
        past = [offset - durations.get(name, offset) for name, offset in ends]
        excess = [seconds for seconds in past if seconds > 0]
        if excess:
            warnings.append(
                f"{side} events that end after their clip ({len(excess)}), by up to "
                f"{max(excess):.3f} s; segments past the end are not scored"
            )
    return warnings


def _warning(names: Iterable[str], what: str) -> list[str]:
    """Say how many there are, and the first five, of a list as it is; nothing if there are none."""
    listed = names if isinstance(names, list) else sorted(names)
    return [f"{what} ({len(listed)}): {first_five(listed)}"] if listed else []
