"""PSDS of a scores file, of a folder of score tables, or of a folder of event lists."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sedtool.config.intersection import PsdsConfig
from sedtool.errors import ConfigError
from sedtool.evaluation.pairing import match_names
from sedtool.evaluation.psds import Psds, psds_from_lists, psds_from_scores
from sedtool.evaluation.psds.sources import match_clips, open_frame_scores
from sedtool.labels import StrongLabels, read_events
from sedtool.labels.text import table_rows
from sedtool.score_tables import TIMES, score_files
from sedtool.store import is_hdf5

__all__ = ["score_psds"]


def score_psds(
    path: Path,
    reference: StrongLabels,
    scenarios: Mapping[str, PsdsConfig],
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
    by_clip: bool = False,
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
    by_clip
        Whether to keep what each clip counts, for resampling.

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
    if path.is_dir() and not _has_score_tables(path):
        found = _from_lists(path, reference, configs, classes, durations, by_clip)
    elif path.is_dir() or is_hdf5(path):
        found = _from_scores(path, reference, configs, classes, durations, by_clip)
    else:
        raise ConfigError(
            f"metrics {next(iter(scenarios))} needs scores, not one event list such as {path}: "
            "give a scores.h5, a folder of score files, or one of event lists at many thresholds"
        )
    lacking = found[0].unscored
    doubts = f"classes without scores ({len(lacking)}), whose PSDS is 0: {', '.join(lacking[:5])}"
    return dict(zip(scenarios, found, strict=True)), [doubts] if lacking else []


def _has_score_tables(folder: Path) -> bool:
    """Return whether the files of a folder are score tables, and not event lists."""
    first = next(table_rows(score_files(folder)[0]), ("", []))[1]
    return tuple(first[:2]) == TIMES and "filename" not in first


def _from_scores(
    path: Path,
    reference: StrongLabels,
    configs: Sequence[PsdsConfig],
    classes: tuple[str, ...] | None,
    durations: Mapping[str, float] | None,
    by_clip: bool,
) -> list[Psds]:
    source = open_frame_scores(path)
    names = match_clips(source.names, reference.names, str(path))
    clips = (*reference.names, *names.values())
    durations = source.durations if durations is None else durations
    return psds_from_scores(
        reference,
        source.clips(names),
        source.classes,
        configs,
        classes=classes,
        durations=None if durations is None else _under_clip_names(durations, clips),
        by_clip=by_clip,
    )


def _from_lists(
    path: Path,
    reference: StrongLabels,
    configs: Sequence[PsdsConfig],
    classes: tuple[str, ...] | None,
    durations: Mapping[str, float] | None,
    by_clip: bool,
) -> list[Psds]:
    if durations is None:
        raise ConfigError(f"durations are needed with event lists such as those in {path}")
    seconds = _under_clip_names(durations, reference.names)
    clips = (*reference.names, *seconds)
    lists = (_renamed(read_events(file), clips) for file in score_files(path))
    return psds_from_lists(
        reference, lists, configs, classes=classes, durations=seconds, by_clip=by_clip
    )


def _renamed(estimated: StrongLabels, clips: Iterable[str]) -> StrongLabels:
    return estimated.renamed(match_names(estimated.names, clips, "estimated events"))


def _under_clip_names(durations: Mapping[str, float], clips: Iterable[str]) -> dict[str, float]:
    """Return all durations, those of clips under the names that the clips have."""
    names = match_clips(durations, dict.fromkeys(clips), "durations")
    return {names[name]: seconds for name, seconds in durations.items()}
