"""Clips of one or more feature files, by name, and the labels that belong to them.

Axis letters: T frames, F mel bands, K classes.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from sedtool.config import FeatureConfig
from sedtool.errors import ArtifactError, LabelError
from sedtool.labels import Event, NameIndex, StrongLabels, Vocabulary, read_events, read_weak
from sedtool.store import Features, open_features

log = logging.getLogger(__name__)


class FeatureSet:
    """The clips of one or more feature files, by name.

    Raises
    ------
    ArtifactError
        If a file is damaged, the settings differ, a clip is in two files, or, unless some do as
        well (`partial`), not all parts of features that were made in parts are given.
    """

    def __init__(self, paths: Sequence[Path], partial: bool = False) -> None:
        self.files: list[Features] = [open_features(path) for path in paths]
        if not partial:
            _require_all_parts(self.files)
        self.place: dict[str, tuple[Features, int]] = {}  # the file, and which clip of it
        first = self.files[0]
        for file in self.files:
            if file.config != first.config:
                raise ArtifactError(
                    f"{file.path} and {first.path} were made with different settings: "
                    f"{_difference(file.config, first.config)}"
                )
            for number, name in enumerate(file.names):
                if name in self.place:
                    other = self.place[name][0].path
                    raise ArtifactError(f"clip {name!r} is in both {other} and {file.path}")
                self.place[name] = (file, number)

    @property
    def config(self) -> FeatureConfig:
        """Return the settings all files were made with."""
        return self.files[0].config

    def require(self, config: FeatureConfig) -> None:
        """Raise an ArtifactError unless the features are of the kind a model was trained on."""
        if self.config != config:
            raise ArtifactError(
                f"{self.files[0].path} does not fit the model: "
                f"{_difference(self.config, config)} (features against model)"
            )

    def match(self, names: Iterable[str], where: Path, missing: str) -> dict[str, str]:
        """Map the names of the label file `where` to clips.

        With `missing` "skip", clips without features are counted in a warning and left out.

        Raises
        ------
        LabelError
            If no clip is named, a clip has no features and `missing` is "error", or none has.
        """
        wanted = list(names)
        if not wanted:
            raise LabelError(f"{where} names no clip")
        index = NameIndex(self.place)
        matched, absent = index.resolve(wanted, where)
        if index.n_inexact:
            log.warning("%s: %d clips are matched by their basename", where, index.n_inexact)
        files = ", ".join(str(file.path) for file in self.files)
        problem = f"{len(absent)} of {len(wanted)} clips have no features in {files}"
        if absent and (missing == "error" or not matched):
            are_misnamed = all(index.nearest(name) is not None for name in absent)
            remedy = "; --missing skip leaves them out" * bool(matched and not are_misnamed)
            raise LabelError(f"{where}: {problem} ({index.listed(absent)}){remedy}")
        if absent:
            log.warning("%s: %s; left out", where, problem)
        return matched

    def clip(self, name: str) -> np.ndarray:
        """Return the features (T, F) of a clip, a view of its file."""
        file, number = self.place[name]
        return file.clip(number)

    def duration(self, name: str) -> float:
        """Return the seconds of a clip."""
        file, number = self.place[name]
        return float(file.duration[number])

    def source(self, name: str) -> str:
        """Return the sha256 of the audio file a clip was made from."""
        file, number = self.place[name]
        return file.source_sha256[number]

    def statistics(self, names: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of each mel band over clips, float32 (F,)."""
        count, total, square = 0, np.zeros(self.config.n_mels), np.zeros(self.config.n_mels)
        for name in names:
            frames = self.clip(name).astype(np.float64)
            count += len(frames)
            total += frames.sum(axis=0)
            square += np.square(frames).sum(axis=0)
            if not np.isfinite(square).all():
                raise ArtifactError(f"the features of {name!r} are not all finite numbers")
        mean = total / count
        variance = np.maximum(square / count - mean**2, 0.0)
        # A band that never changes carries nothing; one unit keeps it from being blown up.
        std = np.where(variance > 1e-8, np.sqrt(variance), 1.0)
        return mean.astype(np.float32), std.astype(np.float32)


@dataclass(frozen=True)
class Clips:
    """Clips with labels of one kind, or none, in a fixed order."""

    features: FeatureSet
    names: tuple[str, ...]
    targets: np.ndarray  # float32 (clips, K), classes of each clip; zeros where unknown
    events: Mapping[str, Sequence[Event]] = field(default_factory=dict)  # strong labels, by clip

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.names)

    def subset(self, indices: Sequence[int] | np.ndarray) -> Self:
        """Return some of the clips, by number."""
        names = tuple(self.names[i] for i in indices)
        events = {name: self.events[name] for name in names if name in self.events}
        return type(self)(self.features, names, self.targets[list(indices)], events)

    def split(self, sources: Iterable[str]) -> tuple[Self, Self]:
        """Return the clips that are not made from these audio files, and those that are."""
        wanted = set(sources)
        is_in = np.array([source in wanted for source in self.sources()], bool)
        return self.subset(np.flatnonzero(~is_in)), self.subset(np.flatnonzero(is_in))

    def sources(self) -> list[str]:
        """Return the sha256 of the audio file of each clip."""
        return [self.features.source(name) for name in self.names]


@dataclass(frozen=True)
class ValidationClips:
    """Held-out clips: first those whose classes count, then those with strong labels alone."""

    clips: Clips
    n_labelled: int  # the first clips, whose classes clip scores and the loss are of
    strong: StrongLabels | None  # under the same names

    @classmethod
    def read(
        cls,
        features: FeatureSet,
        weak: Path | None,
        strong: Path | None,
        vocabulary: Vocabulary,
        missing: str,
    ) -> Self:
        """Read label files, of which one at least is given.

        The classes of clips are those of the weak labels alone if there are any, else those of the
        events. Strong labels may be of synthetic clips, which say little of the threshold that
        recorded ones need; the baseline of DCASE 2019 task 4 selects by clips in the same way.
        """
        labels: dict[str, tuple[str, ...]] = {}
        events = None
        if strong is not None:
            events = read_events(strong)
            vocabulary.require(events.classes, strong)
            events = events.renamed(features.match(events.names, strong, missing))
            labels = events.weak()
        if weak is not None:
            given = read_weak(weak, vocabulary)
            labels = {clip: given[n] for n, clip in features.match(given, weak, missing).items()}
        others = [name for name in (events.names if events else ()) if name not in labels]
        targets = weak_targets(labels, list(labels), vocabulary)
        unknown = np.zeros((len(others), len(vocabulary)), targets.dtype)
        clips = Clips(features, (*labels, *others), np.concatenate([targets, unknown]))
        return cls(clips, len(labels), events)


def weak_targets(
    labels: Mapping[str, Iterable[str]], names: Sequence[str], vocabulary: Vocabulary
) -> np.ndarray:
    """Return the weak labels of clips as float32 (len(names), K), ones for the classes of each."""
    targets = np.zeros((len(names), len(vocabulary)), np.float32)
    for row, name in enumerate(names):
        for label in labels[name]:
            targets[row, vocabulary.index(label)] = 1.0
    return targets


def _require_all_parts(files: Sequence[Features]) -> None:
    """Refuse features of which other parts were made too, and are not given."""
    given: dict[tuple[str, int], list[Features]] = {}
    for file in files:
        given.setdefault((file.manifest_sha256, file.shard.count), []).append(file)
    for (_, count), parts in given.items():
        numbers = sorted({part.shard.number for part in parts} - {0})
        if count > 1 and len(numbers) < count:
            listed = ", ".join(map(str, numbers[:10])) + ", …" * (len(numbers) > 10)
            what = f"parts {listed}" if numbers else "only some parts"
            raise ArtifactError(
                f"{what} of {count} are given ({parts[0].path}{', …' * (len(parts) > 1)}); "
                "merge them, give all, or --partial"
            )


def _difference(one: FeatureConfig, other: FeatureConfig) -> str:
    """Return the settings that differ, for an error message."""
    pairs = vars(one).items()
    return ", ".join(f"{k} {v} against {vars(other)[k]}" for k, v in pairs if v != vars(other)[k])
