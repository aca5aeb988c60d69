"""PSDS of a scores file, of a folder of score tables, or of a folder of event lists."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sedtool.config.evaluation import PsdsConfig
from sedtool.errors import ConfigError
from sedtool.evaluation.psds import Psds, psds_from_lists, psds_from_scores
from sedtool.evaluation.sides import (
    match_names,
    suggested,
    warn_of_labels,
    warn_of_names,
)
from sedtool.labels import StrongLabels, read_events
from sedtool.labels.cells import table_rows
from sedtool.score_tables import TIMES, open_frame_scores, score_files
from sedtool.store import is_hdf5


def score_psds(
    path: Path,
    reference: StrongLabels,
    scenarios: Mapping[str, PsdsConfig],
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
    *,
    clips: Iterable[str] = (),
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
    clips
        Names of clips beside those of the reference.

    Returns
    -------
    dict
        The results by scenario.
    list of str
        Warnings.

    Raises
    ------
    ConfigError
        If it is a single event list, or event lists come without durations.
    """
    if not scenarios:
        return {}, []
    configs = list(scenarios.values())
    classes = None if classes is None else tuple(classes)
    targets = tuple(dict.fromkeys((*reference.names, *clips)))
    if durations is not None:
        durations = _under_clip_names(durations, targets)
        targets = tuple(dict.fromkeys((*targets, *durations)))
    if path.is_dir() and not _has_score_tables(path):
        if durations is None:
            raise ConfigError(f"durations are needed with event lists such as those in {path}")
        found, warnings = _from_lists(path, reference, configs, targets, classes, durations)
    elif path.is_dir() or is_hdf5(path):
        found, warnings = _from_scores(path, reference, configs, targets, classes, durations)
    else:
        raise ConfigError(
            f"metrics {next(iter(scenarios))} needs scores, not one event list such as {path}: "
            "give a scores.h5, a folder of score files, or one of event lists at many thresholds"
        )
    return dict(zip(scenarios, found, strict=True)), warnings


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
    classes: tuple[str, ...] | None,
    durations: Mapping[str, float] | None,
) -> tuple[list[Psds], list[str]]:
    source = open_frame_scores(path)
    names = match_names(source.names, targets, str(path), any_suffix=True)
    if durations is None and source.durations is not None:
        durations = {names[name]: seconds for name, seconds in source.durations.items()}
    scores = source.clips(names)
    found = psds_from_scores(
        reference, scores, source.classes, configs, classes=classes, durations=durations
    )
    warnings = warn_of_names("scores", reference.names, names.values()) if path.is_dir() else []
    if missing := found[0].unscored:
        labels = ", ".join(suggested(missing[:5], source.classes))
        warnings.append(f"classes without scores ({len(missing)}), whose PSDS is 0: {labels}")
    return found, warnings


def _from_lists(
    path: Path,
    reference: StrongLabels,
    configs: Sequence[PsdsConfig],
    targets: tuple[str, ...],
    classes: tuple[str, ...] | None,
    durations: Mapping[str, float],
) -> tuple[list[Psds], list[str]]:
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
                if end > durations.get(name, end):
                    late[name] = max(late.get(name, 0.0), end - durations[name])
            yield listed

    found = psds_from_lists(reference, lists(), configs, classes=classes, durations=durations)
    warnings = warn_of_names("lists", reference.names, names)
    listed = reference.classes if classes is None else classes
    warnings += warn_of_labels([(reference.classes, labels)], listed, "")
    if late:
        warnings.append(
            f"clips in which estimated events end after the clip ({len(late)}), by up to "
            f"{max(late.values()):.3f} s, such as {min(late)}"
        )
    return found, warnings


def _under_clip_names(durations: Mapping[str, float], clips: Iterable[str]) -> dict[str, float]:
    """Return all durations, those of clips under the names that the clips have."""
    names = match_names(durations, clips, "durations", any_suffix=True)
    return {names[name]: seconds for name, seconds in durations.items()}
