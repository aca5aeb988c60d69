"""Label files and features -> the clips a run trains and validates on."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sedtool.config import TrainConfig
from sedtool.datasets import FeatureSet, WeakDataset, weak_targets
from sedtool.draws import generator
from sedtool.errors import ConfigError, LabelError
from sedtool.labels import StrongLabels, Vocabulary, read_vocabulary, read_weak

__all__ = ["TrainInputs", "Validation", "load_inputs"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainInputs:
    """The files a run reads."""

    features: tuple[Path, ...]
    weak: Path
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
        given = (*self.features, self.weak, self.val_weak, self.val_strong, self.classes)
        return [path for path in given if path is not None]


@dataclass(frozen=True)
class Validation:
    """Held-out clips with weak targets and, where given, strong labels under the same names."""

    clips: WeakDataset
    strong: StrongLabels | None


def load_inputs(
    inputs: TrainInputs, config: TrainConfig
) -> tuple[WeakDataset, Validation, Vocabulary]:
    """Read everything a run needs.

    Without validation labels a seeded share of the training clips is held out.

    Raises
    ------
    LabelError
        If labels and features do not belong together, or a clip is both trained and validated on.
    ConfigError
        If the score to select by needs labels that are not given.
    """
    features = FeatureSet(inputs.features, inputs.partial)
    given = read_vocabulary(inputs.classes) if inputs.classes else None
    weak = read_weak(inputs.weak, given)
    vocabulary = given or Vocabulary(sorted({label for found in weak.values() for label in found}))
    train = _weak_clips(features, weak, inputs.weak, inputs.missing, vocabulary)
    if inputs.val_weak or inputs.val_strong:
        validation = _given_validation(features, inputs, vocabulary)
    else:
        train, validation = _held_out(train, config)
    for label, count in zip(vocabulary.classes, train.targets.sum(axis=0), strict=True):
        if not count:
            log.warning("class %r has no training clip; it cannot be learned", label)
    if config.select_by == "event_f1" and validation.strong is None:
        raise ConfigError("--select-by event_f1 needs strong validation labels (--val-strong)")
    _refuse_overlap(train, validation.clips)
    return train, validation, vocabulary


def _weak_clips(
    features: FeatureSet,
    labels: Mapping[str, tuple[str, ...]],
    where: Path,
    missing: str,
    vocabulary: Vocabulary,
) -> WeakDataset:
    """Look the clips of a weak label file up in the features."""
    found = features.match(labels, where, missing)
    try:
        targets = weak_targets(labels, list(found), vocabulary)
    except LabelError as error:
        raise LabelError(f"{where}: {error}") from None
    return WeakDataset(features, tuple(found.values()), targets)


def _given_validation(
    features: FeatureSet, inputs: TrainInputs, vocabulary: Vocabulary
) -> Validation:
    """Read validation labels; without weak ones, a clip has the classes of its events."""
    heard, strong = features.match_labels(
        inputs.val_weak, inputs.val_strong, vocabulary, inputs.missing
    )
    names = tuple(heard)
    return Validation(WeakDataset(features, names, weak_targets(heard, names, vocabulary)), strong)


def _held_out(train: WeakDataset, config: TrainConfig) -> tuple[WeakDataset, Validation]:
    """Split off a seeded share of the training clips; copies of one recording stay together."""
    recordings = [train.features.source(name) for name in train.names]
    distinct = sorted(set(recordings))
    n_held = round(len(distinct) * config.validation_fraction)
    if not 0 < n_held < len(distinct):
        raise LabelError(
            f"{len(distinct)} recordings are too few to hold out {config.validation_fraction:.0%} "
            "of them; give validation labels (--val-weak or --val-strong)"
        )
    order = generator("validation split", config.seed).permutation(len(distinct))
    chosen = {distinct[i] for i in order[:n_held]}
    is_held = np.array([recording in chosen for recording in recordings])
    held, kept = np.flatnonzero(is_held), np.flatnonzero(~is_held)
    log.warning(
        "no validation labels are given: %d of %d training clips (seed %d) are held out for it",
        len(held),
        len(train),
        config.seed,
    )
    return _subset(train, kept), Validation(_subset(train, held), None)


def _subset(clips: WeakDataset, indices: np.ndarray) -> WeakDataset:
    names = tuple(clips.names[i] for i in indices)
    return WeakDataset(clips.features, names, clips.targets[indices])


def _refuse_overlap(train: WeakDataset, validation: WeakDataset) -> None:
    """Refuse to validate on what is trained on, under whatever name it comes."""
    trained = {train.features.source(name): name for name in train.names}
    both = [n for n in validation.names if validation.features.source(n) in trained]
    if both:
        raise LabelError(
            f"{len(both)} validation clips are trained on too, e.g. {both[0]!r} "
            f"(the audio of {trained[validation.features.source(both[0])]!r})"
        )
