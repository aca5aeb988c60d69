"""Clip names of the estimates -> those of the reference, and a warning for what has no partner."""

from collections.abc import Iterable, Mapping

from sedtool.labels import NameIndex, StrongLabels

__all__ = [
    "durations_by_clip",
    "match_names",
    "matched_by_basename",
    "warn_of_durations",
    "warn_of_labels",
    "warn_of_names",
    "weak_form",
]


def match_names(names: Iterable[str], targets: Iterable[str], where: str) -> dict[str, str]:
    """Map each name to the target it means: by path, else by unique basename, else to itself.

    Raises
    ------
    LabelError
        If a name is ambiguous, or two names mean the same target; `where` tells whose names.
    """
    names = list(names)
    found, _ = NameIndex(targets).resolve(names, where)
    return {name: found.get(name, name) for name in names}


def matched_by_basename(match: Mapping[str, str]) -> set[str]:
    """Return the names whose folders are not those of the names they mean."""
    return {name for name, target in match.items() if target != name}


def weak_form(labels: StrongLabels, compat: str) -> dict[str, tuple[str, ...]]:
    """Return the labels of each clip; with compat ``"dcase"`` zero-length events count too."""
    if compat != "dcase":
        return labels.weak()
    heard: dict[str, set[str]] = {name: set() for name in labels.names}
    for event in labels.events:
        heard[event.name].add(event.label)
    return {name: tuple(sorted(found)) for name, found in heard.items()}


def durations_by_clip(
    durations: Mapping[str, float] | None, clips: Iterable[str]
) -> dict[str, float]:
    """Return the durations under the names of the clips that have one."""
    if not durations:
        return {}
    found, _ = NameIndex(durations).resolve(clips, "durations")
    return {clip: durations[name] for clip, name in found.items()}


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
        return _warning(every_label - set(classes), "labels not in the class list, not scored")
    if compat == "dcase":
        return []  # the class list has them all
    unknown = set[str]().union(*(found - known for known, found in pairs))
    return _warning(unknown, "estimated labels not in the reference, counted in micro only")


def warn_of_durations(
    reference: StrongLabels, estimated: StrongLabels, durations: Mapping[str, float]
) -> list[str]:
    """Name the clips without a duration, and count the events that end after their clip."""
    clips = {*reference.names, *estimated.names}
    what = "clips without a duration, taken to end with their last event"
    warnings = _warning(clips - durations.keys(), what)
    for side, labels in (("reference", reference), ("estimated", estimated)):
        excess = [
            event.offset - durations[event.name]
            for event in labels.events
            if event.offset > durations.get(event.name, event.offset)
        ]
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
