"""Clip names of the estimates -> those of the reference, and a warning for what has no partner."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

import numpy as np

from sedtool.evaluation.counts import IntArray
from sedtool.evaluation.pair import EventArrays, EventPair
from sedtool.labels import NameIndex, StrongLabels

__all__ = [
    "durations_by_clip",
    "match_clips",
    "match_names",
    "matched_by_basename",
    "suggested",
    "warn_of_basenames",
    "warn_of_durations",
    "warn_of_labels",
    "warn_of_names",
    "warn_of_overlaps",
    "weak_form",
]


def match_names(names: Iterable[str], targets: Iterable[str], where: str) -> dict[str, str]:
    """Map each name to the target it means: by path, else by unique basename, else to itself.

    Raises
    ------
    LabelError
        If a name is ambiguous, or two names mean the same target; `where` tells whose names.
    """
    names, targets = list(names), set(targets)
    if targets.issuperset(names):
        return dict(zip(names, names, strict=True))
    found, _ = NameIndex(targets).resolve(names, where)
    return {name: found.get(name, name) for name in names}


def match_clips(names: Iterable[str], targets: Iterable[str], where: str) -> dict[str, str]:
    """Map names of score files to clips: by path, by unique basename, or without the suffix.

    A name that means no clip is mapped to itself.

    Raises
    ------
    LabelError
        If a name is ambiguous, or two names mean the same clip.
    """
    names = list(names)
    found, _ = NameIndex(targets).resolve(names, where, any_suffix=True)
    return {name: found.get(name, name) for name in names}


def matched_by_basename(match: Mapping[str, str]) -> set[str]:
    """Return the names whose folders are not those of the names they mean."""
    return {name for name, target in match.items() if target != name}


def weak_form(labels: StrongLabels, compat: str) -> dict[str, tuple[str, ...]]:
    """Return the labels of each clip; with compat ``"dcase"`` zero-length events count too."""
    if compat != "dcase":
        return labels.weak()
    heard: dict[str, set[str]] = {name: set() for name in labels.names}
    for name, label in zip(labels.columns.name, labels.columns.label, strict=True):
        heard[name].add(label)
    return {name: tuple(sorted(found)) for name, found in heard.items()}


def durations_by_clip(
    durations: Mapping[str, float] | None, clips: Iterable[str]
) -> dict[str, float]:
    """Return the durations under the names of the clips that have one."""
    if not durations:
        return {}
    clips = list(clips)
    if durations.keys() >= set(clips):
        return {clip: durations[clip] for clip in clips}
    found, _ = NameIndex(durations).resolve(clips, "durations")
    return {clip: durations[name] for clip, name in found.items()}


def warn_of_basenames(match: Mapping[str, str]) -> list[str]:
    """Name the clips that were matched though their folders differ."""
    pairs = [f"{name} is {match[name]}" for name in matched_by_basename(match)]
    return _warning(pairs, "estimated clips matched by their basename, as folders differ")


def warn_of_names(what: str, reference: Iterable[str], estimated: Iterable[str]) -> list[str]:
    """Name the clips that stand on one side only of the `what` lists."""
    known, found = set(reference), set(estimated)
    return [
        *_warning(found - known, f"clips of the estimated {what} that are not in the reference"),
        *_warning(known - found, f"clips of the reference {what} that are not in the estimates"),
    ]


def warn_of_labels(
    sides: Iterable[tuple[Iterable[str], Iterable[str]]],
    classes: Iterable[str] | None,
    compat: str,
) -> list[str]:
    """Name the labels outside the class list, and what becomes of them.

    `sides` are the labels of the reference and of the estimates, one pair for each kind of list.
    """
    pairs = [(set(known), set(found)) for known, found in sides]
    if classes is not None:
        every_label = set[str]().union(*(known | found for known, found in pairs))
        listed = list(classes)
        strangers = suggested(every_label - set(listed), listed)
        return _warning(strangers, "labels not in the class list, not scored")
    if compat == "dcase":
        return []  # the class list has them all
    unknown = set[str]().union(*(found - known for known, found in pairs))
    every_known = set[str]().union(*(known for known, _ in pairs))
    return _warning(
        suggested(unknown, every_known - unknown),
        "estimated labels not in the reference, counted in micro only",
    )


def suggested(labels: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return unknown labels, each with the known one that was probably meant."""
    by_shape = {_shape(label): label for label in sorted(known)}
    found = []
    for label in labels:
        close = get_close_matches(_shape(label), by_shape, n=1, cutoff=0.7)
        found.append(f"{label} (did you mean {by_shape[close[0]]!r}?)" if close else label)
    return found


def _shape(label: str) -> str:
    """Return a label without what is often written differently."""
    return "".join(label.casefold().replace("_", " ").replace("-", " ").split())


def warn_of_overlaps(pair: EventPair) -> list[str]:
    """Count the events that overlap with another one of their class, and name the first clip."""
    warnings = []
    for side, table in zip(("reference", "estimated"), pair.lanes, strict=True):
        found = _overlapping(table)
        if found.size:
            lane = found.min()
            label, name = pair.labels[pair.label_of(lane)], pair.clips[lane % len(pair.clips)]
            warnings.append(
                f"{side} events that overlap with another of their class ({len(found)}), such as "
                f"{label!r} in {name}; where time is counted they are one, in event counts several"
            )
    return warnings


def _overlapping(events: EventArrays) -> IntArray:
    """Return the lane of each event that begins before an earlier one of its lane ends."""
    # Most lanes have no two events that are near each other, which a time line of all tells.
    span = events.offset.max(initial=0.0) + 1.0
    line = events.clip * span
    order = np.argsort(line + events.onset)
    lane = events.clip[order]
    near = (line + events.onset)[order[1:]] <= (line + events.offset)[order[:-1]] + 1e-3
    if not (near & (lane[1:] == lane[:-1])).any():
        return np.zeros(0, np.int64)
    rows = np.flatnonzero(np.isin(events.clip, lane[1:][near]))
    rows = rows[np.lexsort((events.onset[rows], events.clip[rows]))]
    lane, begin, stop = events.clip[rows], events.onset[rows], events.offset[rows]
    # Complex numbers compare by lane, then time: the end of all that came before in the lane.
    end = np.maximum.accumulate(lane + 1j * stop)
    found: IntArray = lane[1:][lane[1:] + 1j * begin[1:] < end[:-1]]
    return found


def warn_of_durations(
    reference: StrongLabels, estimated: StrongLabels, durations: Mapping[str, float]
) -> list[str]:
    """Name the clips without a duration, and count the events that end after their clip."""
    clips = {*reference.names, *estimated.names}
    what = "clips without a duration, taken to end with their last event"
    warnings = _warning(clips - durations.keys(), what)
    for side, labels in (("reference", reference), ("estimated", estimated)):
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
    if not listed:
        return []
    return [f"{what} ({len(listed)}): {', '.join(listed[:5])}{', …' * (len(listed) > 5)}"]
