"""Clips of one or more feature files, by name.

Axis letters: T frames, F mel bands.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from sedtool.config import FeatureConfig
from sedtool.errors import ArtifactError, LabelError
from sedtool.labels import NameIndex, StrongLabels, Vocabulary, read_events, read_weak
from sedtool.store import Features, open_features

__all__ = ["FeatureSet"]

log = logging.getLogger(__name__)


class FeatureSet:
    """The clips of one or more feature files, by name.

    Parameters
    ----------
    paths
        Feature files made with the same settings; together they may not name a clip twice.
    partial
        Whether some parts of features that were made in parts do, in place of all.

    Raises
    ------
    ArtifactError
        If a file is damaged, the settings differ, a clip is in two files, or parts are lacking.
    """

    def __init__(self, paths: Sequence[Path], partial: bool = False) -> None:
        self.files: list[Features] = [open_features(path) for path in paths]
        if not partial:
            _require_all_parts(self.files)
        self.place: dict[str, tuple[int, int]] = {}  # name -> (file, clip in it)
        first = self.files[0]
        for number, file in enumerate(self.files):
            if file.config != first.config:
                raise ArtifactError(
                    f"{file.path} and {first.path} were made with different settings: "
                    f"{_difference(file.config, first.config)}"
                )
            for clip, name in enumerate(file.names):
                if name in self.place:
                    other = self.files[self.place[name][0]].path
                    raise ArtifactError(f"clip {name!r} is in both {other} and {file.path}")
                self.place[name] = (number, clip)

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
            If a clip has no features and `missing` is "error", or none has.
        """
        wanted = list(names)
        index = NameIndex(self.place)
        found, absent = index.resolve(wanted, where)
        if index.n_inexact:
            log.warning("%s: %d clips are matched by their basename", where, index.n_inexact)
        files = ", ".join(str(file.path) for file in self.files)
        lack = f"{len(absent)} of {len(wanted)} clips have no features in {files}"
        if absent and (missing == "error" or not found):
            remedy = "; --missing skip leaves them out" if found else ""
            raise LabelError(f"{where}: {lack} ({index.listed(absent)}){remedy}")
        if absent:
            log.warning("%s: %s; left out", where, lack)
        return found

    def match_labels(
        self, weak: Path | None, strong: Path | None, vocabulary: Vocabulary, missing: str
    ) -> tuple[dict[str, tuple[str, ...]], StrongLabels | None]:
        """Read labels of validation clips, by the names of the clips they belong to.

        Returns
        -------
        tuple
            Labels of clips: those of the weak file alone if there is one, else the classes of the
            events. Strong labels may be of synthetic clips, which say little of the threshold that
            recorded ones need; the baseline of DCASE 2019 task 4 selects by clips in the same way.
            And the strong labels, if given, of the clips that have them.
        """
        heard: dict[str, tuple[str, ...]] = {}
        events = None
        if strong is not None:
            given = read_events(strong)
            vocabulary.require(given.classes, strong)
            events = given.renamed(self.match(given.names, strong, missing))
            heard = events.weak()
        if weak is not None:
            labels = read_weak(weak, vocabulary)
            found = self.match(labels, weak, missing)
            heard = {found[name]: labels[name] for name in labels if name in found}
        return heard, events

    def clip(self, name: str) -> np.ndarray:
        """Return the features (T, F) of a clip, a view of its file."""
        file, clip = self.place[name]
        return self.files[file].clip(clip)

    def duration(self, name: str) -> float:
        """Return the seconds of a clip."""
        file, clip = self.place[name]
        return float(self.files[file].duration[clip])

    def source(self, name: str) -> str:
        """Return the sha256 of the audio file a clip was made from."""
        file, clip = self.place[name]
        return self.files[file].source_sha256[clip]

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
