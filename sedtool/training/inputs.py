"""Label files and features -> the clips a run trains and validates on."""

import logging
from collections.abc import Sized
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sedtool.config import TrainConfig
from sedtool.datasets import Clips, FeatureSet, TrainingClips, weak_targets
from sedtool.draws import generator
from sedtool.errors import ConfigError, LabelError
from sedtool.labels import (
    Event,
    StrongLabels,
    Vocabulary,
    read_events,
    read_names,
    read_vocabulary,
    read_weak,
)

__all__ = ["TrainInputs", "Validation", "load_inputs"]

log = logging.getLogger(__name__)

# What each method learns from; of the mean teacher's, any may be missing.
_SOURCES = {
    "weak": ("weak",),
    "strong": ("strong",),
    "mean-teacher": ("weak", "unlabelled", "strong"),
}


@dataclass(frozen=True)
class TrainInputs:
    """The files a run reads."""

    features: tuple[Path, ...]
    weak: Path | None = None
    strong: Path | None = None
    unlabelled: Path | None = None
    val_weak: Path | None = None
    val_strong: Path | None = None
    classes: Path | None = None
    missing: str = "error"  # or "skip": leave out labelled clips without features
    partial: bool = False  # take some parts of features in place of all

    def __post_init__(self) -> None:
        if self.missing not in ("error", "skip"):
            raise ConfigError(f"missing must be error or skip, not {self.missing!r}")
        if not self.features:
            raise ConfigError("no features file is given (--features)")

    def paths(self) -> list[Path]:
        """Return every file that is given."""
        labels = (self.weak, self.strong, self.unlabelled, self.val_weak, self.val_strong)
        given = (*self.features, *labels, self.classes)
        return [path for path in given if path is not None]

    def require_sources(self, config: TrainConfig) -> None:
        """Raise a ConfigError unless the files are those that the method learns from."""
        sources = {"weak": self.weak, "unlabelled": self.unlabelled, "strong": self.strong}
        if idle := config.idle_settings():
            log.warning("method %s does not use %s", config.method, ", ".join(idle))
        given = [name for name, path in sources.items() if path is not None]
        used = _SOURCES[config.method]
        for name in given:
            if name not in used:
                raise ConfigError(
                    f"method {config.method} does not learn from --{name}; --method mean-teacher "
                    "learns from weak, strong and unlabelled clips"
                )
        if not {"weak", "strong"} & set(given):
            needed = " or ".join(f"--{name}" for name in used if name != "unlabelled")
            raise ConfigError(f"method {config.method} needs labelled clips: {needed}")
        if config.method == "mean-teacher":
            for name, size in zip(used, config.batch_size, strict=True):
                if name in given and not size:
                    raise ConfigError(f"batch_size has no {name} clips, but --{name} is given")


@dataclass(frozen=True)
class Validation:
    """Held-out clips: first those whose classes count, then those with strong labels alone."""

    clips: Clips
    n_labelled: int  # clips, the first ones, that clip scores and the loss are of
    strong: StrongLabels | None  # under the same names


def load_inputs(
    inputs: TrainInputs, config: TrainConfig
) -> tuple[TrainingClips, Validation, Vocabulary]:
    """Read everything a run needs.

    Without validation labels a seeded share of the labelled training clips is held out. Unlabelled
    clips that are validated on, under whatever name, are left out.

    Raises
    ------
    LabelError
        If labels and features do not belong together, or a labelled clip is both trained and
        validated on.
    ConfigError
        If the files are not those of the method, or the score to select by needs others.
    """
    inputs.require_sources(config)
    features = FeatureSet(inputs.features, inputs.partial)
    clips, vocabulary = _training_clips(features, inputs)
    if inputs.val_weak or inputs.val_strong:
        validation = _given_validation(features, inputs, vocabulary)
    else:
        clips, validation = _held_out(clips, config)
    heard = clips.weak.targets.sum(axis=0) + clips.strong.targets.sum(axis=0)
    for label, count in zip(vocabulary.classes, heard, strict=True):
        if not count:
            log.warning("class %r has no training clip; it cannot be learned", label)
    if "event_f1" in config.select_by and validation.strong is None:
        raise ConfigError(
            f"--select-by {config.select_by} needs strong validation labels (--val-strong)"
        )
    clips = _without(clips, validation.clips)
    return clips, validation, vocabulary


def _training_clips(features: FeatureSet, inputs: TrainInputs) -> tuple[TrainingClips, Vocabulary]:
    """Read the labels to train from, and look their clips up in the features."""
    vocabulary = read_vocabulary(inputs.classes) if inputs.classes else None
    strong = read_events(inputs.strong) if inputs.strong else StrongLabels([], ())
    weak = read_weak(inputs.weak, vocabulary) if inputs.weak else {}
    if vocabulary is None:
        labels = {label for found in weak.values() for label in found}
        vocabulary = Vocabulary(sorted(labels | set(strong.classes)))
    _require_clips(inputs.weak, weak)
    _require_clips(inputs.strong, strong.names)
    none = Clips(features, (), np.zeros((0, len(vocabulary)), np.float32))
    clips = TrainingClips(none, none, none)
    if inputs.weak:
        found = features.match(weak, inputs.weak, inputs.missing)
        targets = _targets(weak, list(found), vocabulary, inputs.weak)
        clips = replace(clips, weak=Clips(features, tuple(found.values()), targets))
    if inputs.strong:
        found = features.match(strong.names, inputs.strong, inputs.missing)
        clips = replace(
            clips, strong=_strong_clips(features, strong.renamed(found), vocabulary, inputs.strong)
        )
    if inputs.unlabelled:
        listed = read_names(inputs.unlabelled)
        _require_clips(inputs.unlabelled, listed)
        names = tuple(features.match(listed, inputs.unlabelled, inputs.missing).values())
        nothing = np.zeros((len(names), len(vocabulary)), np.float32)
        clips = replace(clips, unlabelled=Clips(features, names, nothing))
    return clips, vocabulary


def _require_clips(path: Path | None, names: Sized) -> None:
    """Refuse a label file that names no clip: it was meant to."""
    if path is not None and not len(names):
        raise LabelError(f"{path} names no clip")


def _targets(
    labels: dict[str, tuple[str, ...]], names: list[str], vocabulary: Vocabulary, where: Path
) -> np.ndarray:
    try:
        return weak_targets(labels, names, vocabulary)
    except LabelError as error:
        raise LabelError(f"{where}: {error}") from None


def _strong_clips(
    features: FeatureSet, labels: StrongLabels, vocabulary: Vocabulary, where: Path
) -> Clips:
    """Return clips with their events, of which a clip may have none."""
    vocabulary.require(labels.classes, where)
    heard = [event for event in labels.events if event.onset < features.duration(event.name)]
    if n_beyond := len(labels.events) - len(heard):
        log.warning("%s: %d events begin after the end of their clip; left out", where, n_beyond)
    labels = StrongLabels(heard, labels.names)
    events: dict[str, list[Event]] = {name: [] for name in labels.names}
    for event in labels.events:
        events[event.name].append(event)
    targets = weak_targets(labels.weak(), labels.names, vocabulary)
    return Clips(features, labels.names, targets, events)


def _given_validation(
    features: FeatureSet, inputs: TrainInputs, vocabulary: Vocabulary
) -> Validation:
    """Read validation labels; without weak ones, a clip has the classes of its events."""
    heard, strong = features.match_labels(
        inputs.val_weak, inputs.val_strong, vocabulary, inputs.missing
    )
    if not heard:
        raise LabelError(f"{inputs.val_weak or inputs.val_strong} names no clip to validate on")
    others = [name for name in (strong.names if strong else ()) if name not in heard]
    targets = weak_targets(heard, list(heard), vocabulary)
    nothing = np.zeros((len(others), len(vocabulary)), targets.dtype)
    clips = Clips(features, (*heard, *others), np.concatenate([targets, nothing]))
    return Validation(clips, len(heard), strong)


def _held_out(clips: TrainingClips, config: TrainConfig) -> tuple[TrainingClips, Validation]:
    """Split off a seeded share of the labelled clips; copies of one recording stay together."""
    chosen: set[str] = set()
    for kind in (clips.weak, clips.strong):
        chosen |= _draw_recordings(kind, chosen, config)
    weak, held_weak = _split(clips.weak, chosen)
    strong, held_strong = _split(clips.strong, chosen)
    log.warning(
        "no validation labels are given: %d of %d training clips (seed %d) are held out for it",
        len(held_weak) + len(held_strong),
        len(clips.weak) + len(clips.strong),
        config.seed,
    )
    events = [event for name in held_strong.names for event in held_strong.events[name]]
    known = set(held_weak.names)  # a clip may have labels of both kinds
    others = held_strong.subset([i for i, n in enumerate(held_strong.names) if n not in known])
    held = Clips(
        clips.features,
        held_weak.names + others.names,
        np.concatenate([held_weak.targets, others.targets]),
    )
    reference = StrongLabels(events, held_strong.names) if len(held_strong) else None
    validation = Validation(held, len(held_weak) or len(held), reference)
    return replace(clips, weak=weak, strong=strong), validation


def _draw_recordings(clips: Clips, chosen: set[str], config: TrainConfig) -> set[str]:
    """Return recordings to hold out of clips, so that with those chosen already they suffice."""
    distinct = sorted(set(clips.sources()))
    n_held = round(len(distinct) * config.validation_fraction)
    if distinct and not 0 < n_held < len(distinct):
        raise LabelError(
            f"{len(distinct)} recordings are too few to hold out {config.validation_fraction:.0%} "
            "of them; give validation labels (--val-weak or --val-strong)"
        )
    order = generator("validation split", config.seed).permutation(len(distinct))
    rest = [distinct[i] for i in order if distinct[i] not in chosen]
    return set(rest[: max(n_held - len(chosen.intersection(distinct)), 0)])


def _split(clips: Clips, recordings: set[str]) -> tuple[Clips, Clips]:
    """Return the clips that are not of these recordings, and those that are."""
    is_held = np.array([source in recordings for source in clips.sources()], bool)
    return clips.subset(np.flatnonzero(~is_held)), clips.subset(np.flatnonzero(is_held))


def _without(clips: TrainingClips, validation: Clips) -> TrainingClips:
    """Refuse to validate on what is trained on, under whatever name it comes.

    Unlabelled clips are no mistake: their list is often simply all there is.
    """
    held = set(validation.sources())
    for kind in (clips.weak, clips.strong):
        trained = dict(zip(kind.sources(), kind.names, strict=True))
        both = [n for n in validation.names if validation.features.source(n) in trained]
        if both:
            raise LabelError(
                f"{len(both)} validation clips are trained on too, e.g. {both[0]!r} "
                f"(the audio of {trained[validation.features.source(both[0])]!r})"
            )
    unlabelled, both_kinds = _split(clips.unlabelled, held)
    if len(both_kinds):
        log.warning(
            "%d of %d unlabelled clips are validated on; left out of training",
            len(both_kinds),
            len(clips.unlabelled),
        )
        clips = replace(clips, unlabelled=unlabelled)
        if not len(unlabelled):
            log.warning("no unlabelled clip is left to train on")
    return clips
