"""PSDS of a scores file, of a folder of score tables, or of a folder of event lists."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sedtool.config.evaluation import PsdsConfig
from sedtool.errors import ConfigError
from sedtool.evaluation.mismatches import (
    match_names,
    suggested,
    warn_of_labels,
    warn_of_names,
)
from sedtool.evaluation.psds import Psds, psds_from_lists, psds_from_scores
from sedtool.labels import StrongLabels, read_events
from sedtool.labels.cells import table_rows
from sedtool.score_tables import TIMES, open_frame_scores, score_files
from sedtool.store import is_hdf5

__all__ = ["score_psds"]


def score_psds(
    path: Path,
    reference: StrongLabels,
    scenarios: Mapping[str, PsdsConfig],
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
    *,
    known: Iterable[str] = (),
) -> tuple[dict[str, Psds], list[str]]:
    """Compute PSDS from files.

    Parameters
    ----------
    path
        A scores file or a folder. In a folder, the header of the first file tells whether they are
        score tables, one a clip, or event lists, one a threshold.
    reference
        The strong labels.
    scenarios
        By name. Nothing is read if there is none.
    classes
        The only classes to score; by default those of the reference.
    durations
        Seconds, by clip name; every clip of it counts. Event lists need them.
    known
        Names of clips beside those of the reference, for clips that it lacks.

    Returns
    -------
    dict
        The results by scenario.
    list of str
        What the reader should know.

    Raises
    ------
    ConfigError
        If it is a single event list, or event lists come without durations.
    """
    if not scenarios:
        return {}, []
    configs = list(scenarios.values())
    classes = None if classes is None else tuple(classes)
    targets = tuple(dict.fromkeys((*reference.names, *known)))
    if durations is not None:
        durations = _under_clip_names(durations, targets)
        targets = tuple(dict.fromkeys((*targets, *durations)))
    options: dict[str, Any] = {"classes": classes, "durations": durations}
    if path.is_dir() and not _has_score_tables(path):
        found, doubts = _from_lists(path, reference, configs, targets, options)
    elif path.is_dir() or is_hdf5(path):
        found, doubts = _from_scores(path, reference, configs, targets, options)
    else:
        raise ConfigError(
            f"metrics {next(iter(scenarios))} needs scores, not one event list such as {path}: "
            "give a scores.h5, a folder of score files, or one of event lists at many thresholds"
        )
    return dict(zip(scenarios, found, strict=True)), doubts


def _has_score_tables(folder: Path) -> bool:
    """Return whether the files of a folder are score tables, and not event lists."""
    first = next(table_rows(score_files(folder)[0]), ("", []))[1]
    if len(first) == 1 and first[0].startswith(TIMES[0]):
        return True  # not parted by tabs, which its reader says
    return tuple(first[:2]) == TIMES and "filename" not in first


def _from_scores(
    path: Path,
    reference: StrongLabels,
    configs: Sequence[PsdsConfig],
    targets: tuple[str, ...],
    options: dict[str, Any],
) -> tuple[list[Psds], list[str]]:
    source = open_frame_scores(path)
    names = match_names(source.names, targets, str(path), any_suffix=True)
    if options["durations"] is None and source.durations is not None:
        seconds = {names[name]: duration for name, duration in source.durations.items()}
        options = options | {"durations": seconds}
    clips = source.clips(names)
    found = psds_from_scores(reference, clips, source.classes, configs, **options)
    doubts = warn_of_names("scores", reference.names, names.values()) if path.is_dir() else []
    if lacking := found[0].unscored:
        labels = ", ".join(suggested(lacking[:5], source.classes))
        doubts.append(f"classes without scores ({len(lacking)}), whose PSDS is 0: {labels}")
    return found, doubts


def _from_lists(
    path: Path,
    reference: StrongLabels,
    configs: Sequence[PsdsConfig],
    targets: tuple[str, ...],
    options: dict[str, Any],
) -> tuple[list[Psds], list[str]]:
    seconds: dict[str, float] | None = options["durations"]
    if seconds is None:
        raise ConfigError(f"durations are needed with event lists such as those in {path}")
    names: set[str] = set()
    labels: set[str] = set()
    late: dict[str, float] = {}  # how far events reach past the ends of their clips

    def lists() -> Iterator[StrongLabels]:
        for file in score_files(path):
            listed = read_events(file)
            listed = listed.renamed(match_names(listed.names, targets, str(file)))
            names.update(listed.names)
            labels.update(listed.classes)
            for name, end in zip(listed.columns.name, listed.columns.offset, strict=True):
                if end > seconds.get(name, end):
                    late[name] = max(late.get(name, 0.0), end - seconds[name])
            yield listed

    found = psds_from_lists(reference, lists(), configs, **options)
    doubts = warn_of_names("lists", reference.names, names)
    listed = reference.classes if options["classes"] is None else options["classes"]
    doubts += warn_of_labels([(reference.classes, labels)], listed, "")
    if late:
        doubts.append(
            f"clips in which estimated events end after the clip ({len(late)}), by up to "
            f"{max(late.values()):.3f} s, such as {min(late)}"
        )
    return found, doubts


def _under_clip_names(durations: Mapping[str, float], clips: Iterable[str]) -> dict[str, float]:
    """Return all durations, those of clips under the names that the clips have."""
    names = match_names(durations, clips, "durations", any_suffix=True)
    return {names[name]: seconds for name, seconds in durations.items()}
