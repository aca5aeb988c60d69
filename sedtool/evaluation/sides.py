"""Both sides of an evaluation under one set of clip names, and warnings for what has no partner."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain

import numpy as np

from sedtool.evaluation.counts import IntArray
from sedtool.evaluation.pair import EventArrays, LabelInput, Pair, Tags, as_labels
from sedtool.labels import NameIndex, StrongLabels
from sedtool.text import first_five


@dataclass(frozen=True, eq=False)
class Sides:
    """What is compared; clips have the names that the reference has for them."""

    reference: StrongLabels
    estimated: StrongLabels
    clips: tuple[str, ...]  # that either of them names
    tags: tuple[Tags, Tags] | None  # labels of clips where they are not those of the events
    durations: dict[str, float] | None  # seconds, of the clips that have one; None: not given
    inexact: dict[str, str]  # clips by the other names that the estimates have for them


def match_sides(
    reference: LabelInput,
    estimated: LabelInput,
    tags: tuple[Tags | None, Tags | None],
    durations: Mapping[str, float] | None,
    compat: str,
) -> Sides:
    """Give clips the names of the reference; see `sedtool.labels.NameIndex`.

    Parameters
    ----------
    reference, estimated
        Events in any order.
    tags
        Labels of clips. If one side alone has them, those of the other are those of its events.
    durations
        Seconds, by clip name.
    compat
        As in `EvaluationConfig`: whether events without length give their clip a label.

    Raises
    ------
    LabelError
        If an event has impossible times, or a clip name is ambiguous.
    """
    reference, estimated = as_labels(reference), as_labels(estimated)
    names = match_names(estimated.names, reference.names, "estimated events")
    renamed = estimated.renamed(names)
    both: tuple[Tags, Tags] | None = None
    if tags != (None, None):
        first, second = (
            _tags_of(events, compat) if given is None else given
            for events, given in zip((reference, estimated), tags, strict=True)
        )
        tag_names = match_names(second, first, "estimated clip labels")
        both = first, {tag_names[name]: labels for name, labels in second.items()}
        names = names | tag_names
    inexact = {name: clip for name, clip in names.items() if name != clip}
    clips = tuple(dict.fromkeys((*reference.names, *renamed.names)))
    return Sides(reference, renamed, clips, both, _durations_of(clips, durations), inexact)


def _tags_of(labels: StrongLabels, compat: str) -> Tags:
    """Return the labels of each clip; with compat ``"dcase"`` zero-length events count too."""
    if compat != "dcase":
        return labels.weak()
    tags: dict[str, set[str]] = {name: set() for name in labels.names}
    for name, label in zip(labels.columns.name, labels.columns.label, strict=True):
        tags[name].add(label)
    return tags


def _durations_of(
    clips: Iterable[str], durations: Mapping[str, float] | None
) -> dict[str, float] | None:
    """Return the durations under the names of the clips that have one."""
    if durations is None:
        return None
    names, _ = NameIndex(durations).resolve(clips, "durations")
    return {clip: durations[name] for clip, name in names.items()}


def match_names(
    names: Iterable[str], targets: Iterable[str], where: str, any_suffix: bool = False
) -> dict[str, str]:
    """Map each name to the clip it means, one of the targets, else to itself.

    Raises
    ------
    LabelError
        If a name is ambiguous, or two names mean the same clip; `where` tells whose names.
    """
    names, targets = list(names), set(targets)
    if targets.issuperset(names):
        return dict(zip(names, names, strict=True))
    clips, _ = NameIndex(targets).resolve(names, where, any_suffix)
    return {name: clips.get(name, name) for name in names}


def warnings_of(
    sides: Sides, pair: Pair, classes: Iterable[str] | None, compat: str, tags_only: bool
) -> list[str]:
    """Return a warning for each kind of clip, label and event that has no partner or place.

    Parameters
    ----------
    sides, pair
        What is compared.
    classes, compat
        As in `pair_up`.
    tags_only
        Whether no metric looks at the events.
    """
    inexact = [f"{name} is {clip}" for name, clip in sides.inexact.items()]
    warnings = _warning(
        inexact, "estimated clips matched by their basename, as folders or Unicode forms differ"
    )
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
    """Name the clips that stand on one side only of the `what` lists."""
    sides = set(reference), set(estimated)
    return [
        *_warning(
            sides[1] - sides[0], f"clips of the estimated {what} that are not in the reference"
        ),
        *_warning(
            sides[0] - sides[1], f"clips of the reference {what} that are not in the estimates"
        ),
    ]


def warn_of_labels(
    sides: Iterable[tuple[Iterable[str], Iterable[str]]],
    classes: Iterable[str] | None,
    compat: str,
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
    """Return unknown labels, each with the valid one that was probably meant."""
    by_shape = {_shape(label): label for label in sorted(valid)}
    shown = []
    for label in labels:
        close = get_close_matches(_shape(label), by_shape, n=1, cutoff=0.7)
        shown.append(f"{label} (did you mean {by_shape[close[0]]!r}?)" if close else label)
    return shown


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
                f"{pair.labels[label]!r} in {pair.clips[clip]}; where time is counted they are "
                "one, in event counts several"
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
    warnings = _warning(set(sides.clips) - durations.keys(), what)
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
    """Say how many there are, and the first five; nothing if there are none."""
    listed = sorted(names)
    return [f"{what} ({len(listed)}): {first_five(listed)}"] if listed else []
