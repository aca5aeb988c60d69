"""features.h5 + labels -> padded batches.

A clip is looked up by name in several feature files. Which clips a batch holds is a function of
(seed, draw number) alone.

Axis letters: B clips in a batch, T frames, T' output frames, F mel bands, K classes.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sedtool.augment import (
    Batch,
    TimeShift,
    make_augmentations,
    shift_events,
    shift_scores,
    time_shift,
)
from sedtool.config import FeatureConfig, TrainConfig
from sedtool.config.training import LookupConfig
from sedtool.draws import Sampler
from sedtool.errors import ArtifactError, ConfigError, LabelError
from sedtool.labels import Event, NameIndex, StrongLabels, Vocabulary, read_reference, read_weak
from sedtool.labels.names import inexact
from sedtool.store import Features, Scores, open_features

__all__ = [
    "Batch",
    "Clips",
    "FeatureSet",
    "SoftTargets",
    "TrainingBatches",
    "TrainingClips",
    "ValidationClips",
    "frame_targets",
    "weak_targets",
]

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
            If no clip is named, or a clip has no features and `missing` is "error".
        ArtifactError
            If no clip has features.
        """
        wanted = list(names)
        if not wanted:
            raise LabelError(f"{where} names no clip")
        index = NameIndex(self.place)
        matched, absent = index.resolve(wanted, where)
        n_inexact, shown = inexact(matched)
        if n_inexact:
            what = "%s: %d clips are matched by their basename, suffix or Unicode form: %s"
            log.warning(what, where, n_inexact, shown)
        files = ", ".join(str(file.path) for file in self.files)
        problem = f"{len(absent)} of {len(wanted)} clips have no features in {files}"
        if absent:
            problem += f" ({index.listed(absent)})"
        if not matched:
            raise ArtifactError(f"{where}: {problem}")
        is_header = absent == wanted[:1] and "." not in wanted[0]
        if is_header:
            problem += "; it may be a header line, whose first column has to be filename"
        if absent and missing == "error":
            are_misnamed = is_header or all(map(index.near, absent))
            remedy = "" if are_misnamed else "; --missing skip leaves them out"
            raise LabelError(f"{where}: {problem}{remedy}")
        if absent:
            log.warning("%s: %s; left out", where, problem)
        return matched

    def clip(self, name: str) -> np.ndarray:
        """Read the features (T, F) of a clip."""
        file, number = self.place[name]
        return file.clip(number)

    def blocks(self, name: str, size: int) -> Iterator[np.ndarray]:
        """Read the features (t, F) of a clip in blocks of at most `size` frames."""
        file, i = self.place[name]
        end = int(file.start[i] + file.frames[i])
        for first in range(int(file.start[i]), end, size):
            yield file.data[first : min(first + size, end)]

    def duration(self, name: str) -> float:
        """Return the seconds of a clip."""
        file, number = self.place[name]
        return float(file.duration[number])

    def frames(self, name: str) -> int:
        """Return the number of frames of a clip."""
        file, number = self.place[name]
        return int(file.frames[number])

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
class SoftTargets:
    """Scores of clips as frame targets, read from their file one clip at a time."""

    scores: Scores
    places: Mapping[str, int]  # of a clip, by name: its number in the scores
    columns: np.ndarray  # of the classes, in the scores
    allowed: Mapping[str, np.ndarray]  # the classes (K,) of the weak labels that a clip has, if any

    def frames(
        self, name: str, rate: float, shift: int, n_frames: int, pooled: int, mode: str
    ) -> np.ndarray:
        """Return the targets (T', K) of a clip of `n_frames` features, `rate` in a second.

        For the others see `shift_scores`. What weak labels rule out is 0.
        """
        begin = int(self.scores.start[self.places[name]])
        end = begin + int(self.scores.frames[self.places[name]])
        scores = np.asarray(self.scores.frame[begin:end])[:, self.columns]
        ratio = round(rate / self.scores.frame_rate, 9)  # of equal frames it is a whole number
        targets = shift_scores(scores, ratio, shift, n_frames, pooled, mode)
        return targets * self.allowed.get(name, np.float32(1))


@dataclass(frozen=True)
class TrainingClips:
    """All that a network learns from; a kind of label that is not there has no clips.

    Clips of `soft` that have no labels are among the unlabelled ones.
    """

    weak: Clips
    unlabelled: Clips
    strong: Clips
    soft: SoftTargets | None = None

    def __iter__(self) -> Iterator[Clips]:
        """Yield the three kinds, in the order they have in a batch."""
        return iter((self.weak, self.unlabelled, self.strong))

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.names)

    def __str__(self) -> str:
        """Return how many clips there are, and how many have soft targets."""
        n_scored = len(self.scored(self.names))
        return f"{len(self)} clips" + f" ({n_scored} with scores as targets)" * bool(self.soft)

    def scored(self, names: Iterable[str]) -> list[int]:
        """Return which of some clips have soft targets, by number."""
        return [k for k, name in enumerate(names) if self.soft and name in self.soft.places]

    @property
    def n_labelled(self) -> int:
        """Return the number of clips with labels, and of those with scores alone."""
        return len(self.weak) + len(self.strong) + len(self.scored(self.unlabelled.names))

    @property
    def features(self) -> FeatureSet:
        """Return the features of all of them."""
        return self.weak.features

    @property
    def events(self) -> list[Event]:
        """Return the events of the strong labels."""
        return [event for of_clip in self.strong.events.values() for event in of_clip]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all of them, each once: a clip may be of several kinds."""
        return tuple(dict.fromkeys(name for kind in self for name in kind.names))


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
        lookup: LookupConfig,
    ) -> Self:
        """Read label files, of which one at least is given.

        The classes of clips are those of the weak labels alone if there are any, else those of the
        events. Strong labels may be of synthetic clips, which say little of the threshold that
        recorded ones need; the baseline of DCASE 2019 task 4 selects by clips in the same way.
        """
        labels: dict[str, tuple[str, ...]] = {}
        events = None
        if strong is not None:
            events = read_reference(strong, lookup.min_confidence)
            vocabulary.require(events.classes, strong)
            events = events.renamed(features.match(events.names, strong, lookup.missing))
            labels = events.weak()
        if weak is not None:
            given = read_weak(weak, vocabulary)
            found = features.match(given, weak, lookup.missing)
            labels = {clip: given[name] for name, clip in found.items()}
        for labelled, where in ((any(labels.values()), weak), (events and events.events, strong)):
            if where is not None and not labelled:
                raise LabelError(f"{where} has no label of any clip; its scores would all be 0")
        others = [name for name in (events.names if events else ()) if name not in labels]
        targets = weak_targets(labels, list(labels), vocabulary)
        unknown = np.zeros((len(others), len(vocabulary)), targets.dtype)
        clips = Clips(features, (*labels, *others), np.concatenate([targets, unknown]))
        return cls(clips, len(labels), events)

    def weak(self, classes: Sequence[str]) -> dict[str, list[str]]:
        """Return the classes of each of the first clips, by its name."""
        names, targets = self.clips.names[: self.n_labelled], self.clips.targets
        rows = zip(names, targets[: self.n_labelled], strict=True)
        return {name: [classes[int(k)] for k in np.flatnonzero(row)] for name, row in rows}


def weak_targets(
    labels: Mapping[str, Iterable[str]], names: Sequence[str], vocabulary: Vocabulary
) -> np.ndarray:
    """Return the weak labels of clips as float32 (len(names), K), ones for the classes of each."""
    targets = np.zeros((len(names), len(vocabulary)), np.float32)
    for row, name in enumerate(names):
        for label in labels[name]:
            targets[row, vocabulary.index(label)] = 1.0
    return targets


class TrainingBatches:
    """The batch of every step of a run: a pure function of settings, clips and step.

    Of `time_pooling` feature frames one output frame is made.
    """

    def __init__(
        self, clips: TrainingClips, vocabulary: Vocabulary, config: TrainConfig, time_pooling: int
    ) -> None:
        self.clips, self.vocabulary, self.config = clips, vocabulary, config
        self.time_pooling = time_pooling
        balance, seed = config.balance, config.seed
        self.samplers = (
            Sampler(clips.weak.targets, balance, seed),
            Sampler(clips.unlabelled.targets, "none", seed, "sampler of unlabelled clips"),
            Sampler(clips.strong.targets, balance, seed, "sampler of strong clips"),
        )
        self.sizes = batch_sizes(clips, config)
        made = make_augmentations(config.augmentations).values()
        self._shift = next((a for a in made if isinstance(a, TimeShift)), TimeShift(std=0.0))

    @property
    def steps_of_a_pass(self) -> int:
        """Return the steps of a pass over a mean teacher's unlabelled clips; else over all."""
        pairs = zip(self.clips, self.sizes, strict=True)
        passes = [-(-len(kind) // size) if size else 0 for kind, size in pairs]
        return passes[1] if passes[1] and self.config.method == "mean-teacher" else max(passes)

    def draw(self, epoch: int, step: int) -> Batch:
        """Return the batch of step `step` of the whole run, which falls into epoch `epoch`."""
        rows = [
            (kind, index)
            for kind, sampler, size in zip(self.clips, self.samplers, self.sizes, strict=True)
            for index in sampler.indices(step * size, size)
        ]
        draw = (self.config.seed, epoch, step)
        shifts = [self._shift.draw_frames(*draw, row) for row in range(len(rows))]
        n_weak, n_unlabelled, _ = self.sizes
        names = [kind.names[index] for kind, index in rows]
        padded, lengths = self._padded(names, shifts)
        n_others = n_weak + n_unlabelled
        batch = Batch(
            padded,
            lengths,
            torch.from_numpy(np.stack([kind.targets[index] for kind, index in rows])),
            torch.empty(0),
            slice(0, n_weak),
            slice(n_others, None),
            names,
            self.time_pooling,
            self.clips.features.config.decibel,
            tuple(self.clips.scored(names[:n_others])) if self.clips.soft else None,
        )
        return batch._replace(frame_targets=self._frame_targets(batch, shifts))

    def _padded(self, names: list[str], shifts: list[int]) -> tuple[Tensor, Tensor]:
        """Gather features (B, T, F), padded with zeros, each clip shifted; and their lengths."""
        clips = [self.clips.features.clip(name) for name in names]
        lengths = [len(clip) for clip in clips]
        padded = np.zeros((len(clips), max(lengths), clips[0].shape[1]), clips[0].dtype)
        for row, clip in enumerate(clips):
            padded[row, : len(clip)] = time_shift(clip, shifts[row], self._shift.mode)
        return torch.from_numpy(padded), torch.tensor(lengths)

    def _frame_targets(self, batch: Batch, shifts: list[int]) -> Tensor:
        """Return the targets (framed clips, T', K) of the frames of a batch, moved like them."""
        pooled, rate = self.time_pooling, self.clips.features.config.frame_rate
        frame_rate, n_frames = rate / pooled, -(-batch.features.shape[1] // pooled)
        rows = np.arange(len(shifts))[batch.framed].tolist()
        targets = np.zeros((len(rows), n_frames, len(self.vocabulary)), np.float32)
        for of_clip, row in zip(targets, rows, strict=True):
            name, shift, length = batch.names[row], shifts[row], int(batch.lengths[row])
            valid = -(-length // pooled)
            if self.clips.soft and row < batch.strong.start:
                how = (rate, shift, length, pooled, self._shift.mode)
                of_clip[:valid] = self.clips.soft.frames(name, *how)
                continue
            moved = shift_events(
                self.clips.strong.events[name],
                shift / rate,
                length / rate,
                self._shift.mode,
                0.5 / frame_rate,
            )
            what = (self.vocabulary, self.config.touching_gap, self.config.soft_confidence)
            of_clip[:valid] = frame_targets(moved, valid, frame_rate, *what)
        return torch.from_numpy(targets)


def batch_sizes(clips: TrainingClips, config: TrainConfig) -> tuple[int, int, int]:
    """Return how many weak, unlabelled and strong clips a batch holds; 0 where there are none.

    Without a mean teacher, half of a batch are clips that have soft targets and no labels.
    """
    if config.method == "mean-teacher":
        sizes = config.batch_size
    else:
        n_scored = config.batch_size[0] // 2 if len(clips.unlabelled) else 0
        n_labelled = config.batch_size[0] - n_scored
        sizes = (n_labelled, n_scored, 0) if config.method == "weak" else (0, n_scored, n_labelled)
    if clips.soft and len(clips.unlabelled) and not sizes[1]:
        given = ",".join(map(str, config.batch_size))
        raise ConfigError(f"batch_size {given} has no place for clips of --soft without labels")
    weak, unlabelled, strong = (
        size if len(kind) else 0 for kind, size in zip(clips, sizes, strict=True)
    )
    return weak, unlabelled, strong


def frame_targets(
    events: Iterable[Event],
    n_frames: int,
    frame_rate: float,
    vocabulary: Vocabulary,
    touching_gap: int = TrainConfig.touching_gap,
    soft: bool = TrainConfig.soft_confidence,
) -> np.ndarray:
    """Return the strong labels of a clip as float32 (T', K), ones where a class is active.

    With `soft`, the confidence of an event stands for 1, the greatest where events overlap.

    Frame t lies between t / rate and (t + 1) / rate, as decoding has it. Onsets and offsets go to
    the nearest of these borders, so that lengths are right on average; an event is active in one
    frame at least, unless it has no length: such a row says that its clip has no event. Where an
    event begins in the frame in which another of its class ends, the latter loses its last
    `touching_gap` frames, but one.
    """
    targets = np.zeros((n_frames, len(vocabulary)), np.float32)
    ends: dict[tuple[int, int], int] = {}  # column and frame after the last of an event -> first
    for event in sorted(events, key=lambda event: event.onset):
        if event.offset <= event.onset:
            continue
        column = vocabulary.index(event.label)
        first = min(int(event.onset * frame_rate + 0.5), n_frames - 1)
        last = max(int(event.offset * frame_rate + 0.5), first + 1)
        level = 1.0 if event.confidence is None or not soft else event.confidence
        targets[first:last, column] = np.maximum(targets[first:last, column], level)
        before = ends.get((column, first), first)  # of an event that ends here a frame stays
        targets[max(before + 1, first - touching_gap) : first, column] = 0.0
        ends[column, last] = first
    return targets
