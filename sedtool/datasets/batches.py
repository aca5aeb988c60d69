"""Padded batches of training clips: which clips each holds, and what is to be learned of them.

Axis letters: B clips in a batch, T frames, T' output frames, F mel bands, K classes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sedtool.augment import draw_time_shift, shift_events, time_shift
from sedtool.config import TrainConfig
from sedtool.datasets.feature_set import Clips, FeatureSet
from sedtool.draws import generator
from sedtool.labels import Event, Vocabulary


class Batch(NamedTuple):
    """Padded features and their labels: of weak clips, then unlabelled, then strong ones."""

    features: Tensor  # (B, T, F), as stored
    lengths: Tensor  # (B,), valid frames
    targets: Tensor  # (B, K), classes of each clip; zeros where they are unknown
    frame_targets: Tensor  # (strong clips, T', K), classes of each output frame
    weak: slice  # of B: the clips with weak labels
    strong: slice  # of B: the clips with strong labels
    names: list[str]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on a device."""
        names = ("features", "lengths", "targets", "frame_targets")
        return self._replace(**{name: getattr(self, name).to(device) for name in names})


@dataclass(frozen=True)
class TrainingClips:
    """All that a network learns from; a kind of label that is not there has no clips."""

    weak: Clips
    unlabelled: Clips
    strong: Clips

    def __iter__(self) -> Iterator[Clips]:
        """Yield the three kinds, in the order they have in a batch."""
        return iter((self.weak, self.unlabelled, self.strong))

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.names)

    @property
    def features(self) -> FeatureSet:
        """Return the features of all of them."""
        return self.weak.features

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all of them, each once: a clip may be of several kinds."""
        return tuple(dict.fromkeys(name for kind in self for name in kind.names))


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
        self._samplers = (
            Sampler(clips.weak.targets, balance, seed),
            Sampler(clips.unlabelled.targets, "none", seed, "sampler of unlabelled clips"),
            Sampler(clips.strong.targets, balance, seed, "sampler of strong clips"),
        )
        self.sizes = batch_sizes(clips, config)

    @property
    def steps_of_a_pass(self) -> int:
        """Return the steps of a pass over the unlabelled clips; without any, over all others."""
        pairs = zip(self.clips, self.sizes, strict=True)
        passes = [-(-len(kind) // size) if size else 0 for kind, size in pairs]
        return passes[1] or max(passes)

    def draw(self, epoch: int, step: int) -> Batch:
        """Return the batch of step `step` of the whole run, which falls into epoch `epoch`."""
        rows = [
            (kind, index)
            for kind, sampler, size in zip(self.clips, self._samplers, self.sizes, strict=True)
            for index in sampler.indices(step * size, size)
        ]
        shifts = [0] * len(rows)
        if self.config.time_shift:
            draw = (self.config.time_shift, self.config.seed, epoch, step)
            shifts = [draw_time_shift(*draw, row) for row in range(len(rows))]
        n_weak, n_unlabelled, _ = self.sizes
        names = [kind.names[index] for kind, index in rows]
        padded, lengths = self._padded(names, shifts)
        strong = slice(n_weak + n_unlabelled, None)
        return Batch(
            padded,
            lengths,
            torch.from_numpy(np.stack([kind.targets[index] for kind, index in rows])),
            self._frame_targets(names[strong], shifts[strong], lengths),
            slice(0, n_weak),
            strong,
            names,
        )

    def _padded(self, names: list[str], shifts: list[int]) -> tuple[Tensor, Tensor]:
        """Gather features (B, T, F), padded with zeros, each clip shifted; and their lengths."""
        clips = [self.clips.features.clip(name) for name in names]
        lengths = [len(clip) for clip in clips]
        padded = np.zeros((len(clips), max(lengths), clips[0].shape[1]), clips[0].dtype)
        for row, clip in enumerate(clips):
            padded[row, : len(clip)] = time_shift(clip, shifts[row], self.config.shift_mode)
        return torch.from_numpy(padded), torch.tensor(lengths)

    def _frame_targets(self, names: list[str], shifts: list[int], lengths: Tensor) -> Tensor:
        """Return the strong labels (clips, T', K) of the last clips of a batch, moved like them."""
        feature_rate = self.clips.features.config.frame_rate
        frame_rate = feature_rate / self.time_pooling
        n_frames = -(-int(lengths.max()) // self.time_pooling)
        targets = np.zeros((len(names), n_frames, len(self.vocabulary)), np.float32)
        last = lengths[len(lengths) - len(names) :].tolist()
        for row, (name, shift, length) in enumerate(zip(names, shifts, last, strict=True)):
            moved = shift_events(
                self.clips.strong.events[name],
                shift / feature_rate,
                length / feature_rate,
                self.config.shift_mode,
                0.5 / frame_rate,
            )
            valid = -(-length // self.time_pooling)
            targets[row, :valid] = frame_targets(moved, valid, frame_rate, self.vocabulary)
        return torch.from_numpy(targets)


def batch_sizes(clips: TrainingClips, config: TrainConfig) -> tuple[int, int, int]:
    """Return how many weak, unlabelled and strong clips a batch holds; 0 where there are none."""
    sizes = {
        "weak": (*config.batch_size, 0, 0),
        "strong": (0, 0, *config.batch_size),
        "mean-teacher": config.batch_size,
    }[config.method]
    weak, unlabelled, strong = (
        size if len(kind) else 0 for kind, size in zip(clips, sizes, strict=True)
    )
    return weak, unlabelled, strong


def frame_targets(
    events: Iterable[Event], n_frames: int, frame_rate: float, vocabulary: Vocabulary
) -> np.ndarray:
    """Return the strong labels of a clip as float32 (T', K), ones where a class is active.

    Frame t lies between t / rate and (t + 1) / rate, as decoding has it. Onsets and offsets go to
    the nearest of these borders, so that lengths are right on average; an event is active in one
    frame at least, unless it has no length: such a row says that its clip has no event.
    """
    targets = np.zeros((n_frames, len(vocabulary)), np.float32)
    for event in events:
        if event.offset <= event.onset:
            continue
        first = min(int(event.onset * frame_rate + 0.5), n_frames - 1)
        last = max(int(event.offset * frame_rate + 0.5), first + 1)
        targets[first:last, vocabulary.index(event.label)] = 1.0
    return targets


class Sampler:
    """Endless draws of clip numbers; draw g is a pure function of (seed, g).

    With ``balance="classes"`` there is one queue a class, each shuffled anew whenever it has been
    gone through, and draws go round the queues: every class is equally often the reason a clip is
    drawn. Clips without any label form one more queue. With ``"none"`` there is a single queue.
    `targets` are weak labels (clips, K); `purpose` tells several samplers of one seed apart.

    References
    ----------
    The round-robin queues are those of Y. Wang's system, on which the power-pooling paper's
    DCASE 2017 experiment builds; there a class is a set of files.
    """

    def __init__(
        self, targets: np.ndarray, balance: str, seed: int, purpose: str = "sampler"
    ) -> None:
        self.seed, self.purpose = seed, purpose
        if balance == "classes":
            queues = [np.flatnonzero(column) for column in targets.T > 0]
            queues.append(np.flatnonzero(~(targets > 0).any(axis=1)))
        else:
            queues = [np.arange(len(targets))]
        self.queues = [queue for queue in queues if len(queue)]
        self._shuffled: dict[int, tuple[int, np.ndarray]] = {}  # queue -> (pass, order)

    def indices(self, start: int, count: int) -> list[int]:
        """Return the clips of draws start, …, start + count - 1."""
        return [self._draw(number) for number in range(start, start + count)]

    def _draw(self, number: int) -> int:
        turn, queue = divmod(number, len(self.queues))
        clips = self.queues[queue]
        passes, position = divmod(turn, len(clips))
        if self._shuffled.get(queue, (-1,))[0] != passes:
            order = generator(self.purpose, self.seed, queue, passes).permutation(clips)
            self._shuffled[queue] = (passes, order)
        return int(self._shuffled[queue][1][position])
