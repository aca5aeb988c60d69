"""Changes to clips that leave their labels true, or change them along.

An augmentation is a class of one method, from a batch to a batch, whose line in `AUGMENTATIONS` at
the foot gives it a name. All that it draws comes from the generator it is given, which is a
function of seed and step: a run that is resumed repeats it.

Axis letters: B clips in a batch, T feature frames, T' output frames, F mel bands, K classes.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sedtool.config import FeatureConfig
from sedtool.config.base import require
from sedtool.config.named import AugmentationConfig
from sedtool.draws import generator
from sedtool.labels import Event
from sedtool.plugins import find

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Batch",
    "TimeShift",
    "add_mel_noise",
    "augmented",
    "make_augmentations",
    "shift_events",
    "shift_scores",
    "time_shift",
]


class Batch(NamedTuple):
    """Padded features and their labels: of weak clips, then unlabelled, then strong ones."""

    features: Tensor  # (B, T, F), as stored
    lengths: Tensor  # (B,), valid frames
    targets: Tensor  # (B, K), classes of each clip, in [0, 1]; zeros where they are unknown
    frame_targets: Tensor  # (framed clips, T', K), classes of each output frame, in [0, 1]
    weak: slice  # of B: the clips with weak labels
    strong: slice  # of B: the clips with strong labels
    names: list[str]
    time_pooling: int = 1  # feature frames that become one output frame
    decibel: float = 1.0  # in units of the features
    soft: tuple[int, ...] | None = None  # of B: clips with soft targets; None in a run without

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on a device."""
        names = ("features", "lengths", "targets", "frame_targets")
        return self._replace(**{name: getattr(self, name).to(device) for name in names})

    @property
    def framed(self) -> slice | list[int]:
        """Return which clips of B `frame_targets` are of: those with soft ones, then the strong."""
        strong = range(len(self.names))[self.strong]
        return [*self.soft, *strong] if self.soft else self.strong

    @property
    def kinds(self) -> list[np.ndarray]:
        """Return which clips are weak, unlabelled and strong ones, and which have soft targets.

        Those that are weak and soft, and those that are soft alone, are kinds of their own.
        """
        rows = np.arange(len(self.names))
        soft, weak, strong = (
            np.isin(rows, of) for of in (self.soft or (), rows[self.weak], rows[self.strong])
        )
        hard = ~soft
        kinds = (hard & weak, hard & ~weak & ~strong, strong, soft & weak, soft & ~weak)
        return [rows[kind] for kind in kinds]

    @property
    def valid(self) -> Tensor:
        """Return (B, T, 1), True on the frames of each clip."""
        frames = torch.arange(self.features.shape[1], device=self.lengths.device)
        return (frames < self.lengths[:, None])[..., None]

    @property
    def quiet(self) -> Tensor:
        """Return the lowest value of each band of each clip (B, 1, F): what no sound would be."""
        return self.features.masked_fill(~self.valid, torch.inf).amin(dim=1, keepdim=True)


class Augmentation:
    """A change of the features of a batch, and of their labels where it makes others of them.

    What changes labels is `shared`: student and teacher of a mean teacher get the same. What does
    not is drawn for each of them. Options are keyword-only arguments.
    """

    shared: ClassVar[bool] = False

    def __call__(self, batch: Batch, draw: np.random.Generator) -> Batch:
        """Return the changed batch, features being float32; the one that is given stays as it is.

        What stands in features beyond the end of a clip does not count.
        """
        raise NotImplementedError


class TimeShift(Augmentation):
    """Moves each clip, and its events with it, by N(0, std²) feature frames.

    `time_shift` says what happens at the ends. It is done before events become frames, so that no
    rounding leans to one side: `draw_frames` is what counts, and the batch is moved already.
    """

    shared = True

    def __init__(self, *, std: float = 16.0, mode: str = "roll") -> None:
        require(std >= 0, f"std of time-shift must not be negative, but is {std:g}")
        require(mode in ("roll", "pad"), "mode of time-shift must be roll or pad")
        self.std, self.mode = std, mode

    def draw_frames(self, seed: int, epoch: int, step: int, index: int) -> int:
        """Draw the shift of clip `index` of a batch, a function of its place in the run."""
        return round(generator("time shift", seed, epoch, step, index).normal(0.0, self.std))

    def __call__(self, batch: Batch, draw: np.random.Generator) -> Batch:
        return batch


class TimeMask(Augmentation):
    """Silences a stretch of each clip: each band has its lowest value of the clip there.

    It is `least` to `most` of the clip, in whole output frames. Strong labels and soft ones in it
    are 0, and so are classes of a clip whose events are all in it; of labels with a confidence, a
    clip has the greatest that is left. Weak labels stay, as nobody knows when their events are.
    """

    shared = True

    def __init__(self, *, least: float = 0.05, most: float = 0.2) -> None:
        require(0 <= least <= most <= 1, "time-mask needs 0 <= least <= most <= 1")
        self.within = least, most

    def __call__(self, batch: Batch, draw: np.random.Generator) -> Batch:
        output = -(-batch.lengths // batch.time_pooling)
        n_frames = -(-batch.features.shape[1] // batch.time_pooling)
        masked = _stretches(output, n_frames, self.within, draw)  # (B, T')
        of_features = masked.repeat_interleave(batch.time_pooling, dim=1)
        of_features = of_features[:, : batch.features.shape[1], None]
        frames = batch.frame_targets.masked_fill(masked[batch.framed][..., None], 0.0)
        targets = batch.targets.clone()
        before, left = (of[len(batch.soft or ()) :] for of in (batch.frame_targets, frames))
        if len(left):  # a class is as sure as the surest of its frames
            targets[batch.strong] *= left.amax(dim=1) / before.amax(dim=1).clamp_min(1e-9)
        return batch._replace(
            features=torch.where(of_features, batch.quiet, batch.features),
            frame_targets=frames,
            targets=targets,
        )


class FrequencyMask(Augmentation):
    """Keeps some neighbouring bands of each clip, `least` to `most` of all, at their lowest."""

    def __init__(self, *, least: float = 0.0, most: float = 0.2) -> None:
        require(0 <= least <= most <= 1, "freq-mask needs 0 <= least <= most <= 1")
        self.within = least, most

    def __call__(self, batch: Batch, draw: np.random.Generator) -> Batch:
        n_bands = batch.features.shape[2]
        bands = torch.full_like(batch.lengths, n_bands)
        masked = _stretches(bands, n_bands, self.within, draw)[:, None]  # (B, 1, F)
        return batch._replace(features=torch.where(masked, batch.quiet, batch.features))


class Gain(Augmentation):
    """Makes each clip louder or quieter, by up to `most` decibels."""

    def __init__(self, *, most: float = 6.0) -> None:
        require(most >= 0, f"most of gain must not be negative, but is {most:g}")
        self.most = most

    def __call__(self, batch: Batch, draw: np.random.Generator) -> Batch:
        gains = draw.uniform(-self.most, self.most, (len(batch.lengths), 1, 1)) * batch.decibel
        return batch._replace(features=batch.features + torch.from_numpy(gains).to(batch.features))


class Mixup(Augmentation):
    """Mixes each clip with another one of its kind, weak or strong: x = λ x1 + (1 - λ) x2.

    So it is with log-mel values as they are stored, and with labels. One λ ~ Beta(alpha, alpha)
    serves a batch; unlabelled clips without soft targets stay as they are. A clip that ends before
    the other is as quiet from there on as its quietest frames are.

    References
    ----------
    H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup: Beyond empirical risk minimization",
    ICLR 2018; within the weak and within the strong clips, as systems for DESED do.
    """

    shared = True

    def __init__(self, *, alpha: float = 0.2) -> None:
        require(alpha >= 1e-3, f"alpha of mixup must be at least 0.001, but is {alpha:g}")
        self.alpha = alpha

    def __call__(self, batch: Batch, draw: np.random.Generator) -> Batch:
        first = draw.beta(self.alpha, self.alpha)
        weak, _, *others = batch.kinds
        other = _others(batch, (weak, *others), draw)
        features = torch.where(batch.valid, batch.features, batch.quiet)
        return batch._replace(
            features=torch.lerp(features[other], features, first),
            lengths=torch.maximum(batch.lengths, batch.lengths[other]),
            targets=torch.lerp(batch.targets[other], batch.targets, first),
            frame_targets=torch.lerp(
                batch.frame_targets[_of_framed(batch, other)], batch.frame_targets, first
            ),
        )


class HardMixup(Augmentation):
    """Adds the sounds of one or two other clips of its kind to a clip, as if heard at once.

    Powers add, as those of sounds do that know nothing of each other, and a clip has the labels of
    all; of soft labels the greatest. `share` of the clips get others, up to `most` of them;
    unlabelled clips are mixed with each other.

    References
    ----------
    N. Shao, E. Loweimi, X. Li, "RCT: Random consistency training for semi-supervised sound event
    detection", Interspeech 2022: sounds are added and labels joined, of two or three clips.
    """

    shared = True

    def __init__(self, *, share: float = 0.5, most: float = 2) -> None:
        require(0 <= share <= 1, f"share of hard-mixup must be within [0, 1], but is {share:g}")
        require(most in (1, 2), f"most of hard-mixup must be 1 or 2, but is {most:g}")
        self.share, self.most = share, int(most)

    def __call__(self, batch: Batch, draw: np.random.Generator) -> Batch:
        n = len(batch.names)
        chosen = draw.random(n) < self.share
        n_others = torch.from_numpy(draw.integers(1, self.most + 1, n) * chosen)
        power = math.log(10) / (10 * batch.decibel)  # of a stored value, in nepers
        quiet = torch.where(batch.valid, batch.features, batch.quiet)
        batch = before = batch._replace(features=quiet)
        for i in range(self.most):
            other = _others(batch, batch.kinds, draw)
            gets = (n_others > i).to(other.device)
            other = torch.where(gets, other, torch.arange(n, device=other.device))
            both = torch.logaddexp(batch.features * power, before.features[other] * power) / power
            of_framed = _of_framed(batch, other)
            batch = batch._replace(
                features=torch.where(gets[:, None, None], both, batch.features),
                lengths=torch.maximum(batch.lengths, before.lengths[other]),
                targets=torch.maximum(batch.targets, before.targets[other]),
                frame_targets=torch.maximum(batch.frame_targets, before.frame_targets[of_framed]),
            )
        return batch


class FilterAugment(Augmentation):
    """Raises and lowers frequency bands of each clip, as another room or microphone would.

    `fewest` to `greatest` bands with random borders, of `width` mel bands at least, change by
    `low` to `high` decibels each (mode "step"); or these are the values at the borders, and those
    between lie on lines (mode "linear").

    References
    ----------
    H. Nam, S.-H. Kim, Y.-H. Park, "FilterAugment: An acoustic environmental data augmentation
    method", ICASSP 2022.
    """

    def __init__(
        self,
        *,
        mode: str = "step",
        fewest: float = 2,
        greatest: float = 4,
        width: float = 4,
        low: float = -4.5,
        high: float = 6.0,
    ) -> None:
        require(mode in ("step", "linear"), "mode of filter must be step or linear")
        whole = all(float(n).is_integer() for n in (fewest, greatest, width))
        require(whole, "fewest, greatest and width of filter must be whole numbers")
        require(1 <= fewest <= greatest, "filter needs 1 <= fewest <= greatest")
        require(width >= 1, f"width of filter must be at least 1, but is {width:g}")
        require(low <= high, "filter needs low <= high")
        self.mode, self.width, self.gains = mode, int(width), (low, high)
        self.n_bands = int(fewest), int(greatest)

    def __call__(self, batch: Batch, draw: np.random.Generator) -> Batch:
        size = batch.features.shape[2]
        change = np.stack([self._drawn(size, draw) for _ in batch.names]) * batch.decibel
        added = torch.from_numpy(change)[:, None].to(batch.features)  # (B, 1, F)
        return batch._replace(features=batch.features + added)

    def _drawn(self, size: int, draw: np.random.Generator) -> np.ndarray:
        """Draw the change (F,) of the mel bands of a clip, in decibels."""
        fewest, greatest = (min(n, max(size // self.width, 1)) for n in self.n_bands)
        n = int(draw.integers(fewest, greatest + 1))
        spare = max(size - n * self.width, 0)  # mel bands that no frequency band must have
        inner = np.sort(draw.integers(0, spare + 1, n - 1)) + self.width * np.arange(1, n)
        if self.mode == "step":
            widths = np.diff(inner, prepend=0, append=size)
            return np.repeat(draw.uniform(*self.gains, n), widths)
        borders = [0, *inner, size - 1]
        return np.interp(np.arange(size), borders, draw.uniform(*self.gains, n + 1))


class FrequencyWarp(Augmentation):
    """Stretches the bands of each clip, as if its sources were smaller or larger.

    A band gets what stood at up to `most` of its number more or less; between bands values lie on
    lines, and beyond the last one they are that of the last.

    References
    ----------
    N. Jaitly, G. E. Hinton, "Vocal tract length perturbation (VTLP) improves speech recognition",
    ICML 2013 workshop on deep learning for audio, speech and language; there of frequencies, here
    of mel bands.
    """

    def __init__(self, *, most: float = 0.1) -> None:
        require(0 <= most < 1, f"most of freq-warp must be within [0, 1), but is {most:g}")
        self.most = most

    def __call__(self, batch: Batch, draw: np.random.Generator) -> Batch:
        x, last = batch.features, batch.features.shape[2] - 1
        factors = 1 + draw.uniform(-self.most, self.most, (len(batch.names), 1, 1))
        place = torch.from_numpy((np.arange(last + 1) * factors).clip(0, last)).to(x)  # (B, 1, F)
        below, above = (of.long().expand(x.shape) for of in (place.floor(), place.ceil()))
        warped = torch.lerp(x.gather(2, below), x.gather(2, above), place.frac())
        return batch._replace(features=warped)


def _others(batch: Batch, kinds: Iterable[np.ndarray], draw: np.random.Generator) -> Tensor:
    """Draw another clip, by number (B,), for each one of each of these kinds in a batch."""
    other = np.arange(len(batch.names))
    for kind in kinds:
        other[kind] = draw.permutation(kind)
    return torch.from_numpy(other).to(batch.lengths.device)


def _of_framed(batch: Batch, rows: Tensor) -> Tensor:
    """Return numbers in a batch of clips with frame targets as those in `frame_targets`."""
    every = torch.arange(len(batch.names), device=rows.device)
    return torch.searchsorted(every[batch.framed], rows[batch.framed])


def _stretches(
    lengths: Tensor, size: int, within: tuple[float, float], draw: np.random.Generator
) -> Tensor:
    """Draw a stretch of each of some `lengths` (B,), a share of it; it is True in (B, size)."""
    n = lengths.cpu().numpy()
    widths = np.rint(draw.uniform(*within, len(n)) * n).astype(int)
    starts = np.floor(draw.random(len(n)) * (n - widths + 1))[:, None]
    place = np.arange(size)
    masked = (starts <= place) & (place < starts + widths[:, None])
    return torch.from_numpy(masked).to(lengths.device)


def time_shift(features: np.ndarray, frames: int, mode: str = "roll") -> np.ndarray:
    """Move the valid frames (T, F) of a clip by `frames`.

    The paper shifts by N(0, 16 frames) and does not say what happens at the ends. With "roll", what
    leaves at one end enters at the other, so that a clip keeps every sound its weak label names.
    With "pad" it is lost, and each band's lowest value of the clip fills the gap.
    """
    rolled = np.roll(features, frames, axis=0)
    if mode == "pad" and frames:
        gap = slice(0, frames) if frames > 0 else slice(frames, None)
        rolled[gap] = features.min(axis=0)
    return rolled


def shift_events(
    events: Iterable[Event],
    seconds: float,
    duration: float,
    mode: str = "roll",
    shortest: float = 1e-9,
) -> list[Event]:
    """Move events like the frames of their clip, which is `duration` seconds long.

    In seconds, not in output frames, so that no rounding leans to one side. With "roll", an event
    that is moved over an end of the clip goes on at the other; with "pad" it is cut there. Of an
    event in two parts, one under `shortest` seconds is left out: as a frame it would be too long.
    """
    moved = []
    for event in events:
        onset, offset = event.onset + seconds, min(event.offset, duration) + seconds
        turns = math.floor(onset / duration) if mode == "roll" else 0
        parts = []
        for turn in (turns, turns + 1) if mode == "roll" else (0,):
            start = max(onset - turn * duration, 0.0)
            end = min(offset - turn * duration, duration)
            if start < end:
                parts.append(replace(event, onset=start, offset=end))
        parts.sort(key=lambda part: part.onset - part.offset)  # the longest first
        moved += parts[:1] + [p for p in parts[1:] if p.offset - p.onset >= shortest]
    return moved


def shift_scores(
    scores: np.ndarray, ratio: float, shift: int, n_frames: int, pooled: int, mode: str = "roll"
) -> np.ndarray:
    """Move scores (S, K) like the `n_frames` of their clip, and average them by output frame.

    A score lasts `ratio` feature frames, the last one to the end of the clip; an output frame is
    the mean over the time of `pooled` feature frames, or of those that are left. A shift is one of
    feature frames, and nothing is rounded. With "pad", nothing is active in the gap.
    """
    starts = np.arange(0, n_frames, pooled)
    borders = np.append(np.minimum(np.arange(len(scores)) * ratio, n_frames), n_frames) + shift
    borders = borders % n_frames if mode == "roll" else borders.clip(0, n_frames)
    borders = np.unique(np.concatenate([starts, borders]))
    borders = borders[borders < n_frames]
    widths = np.diff(borders, append=n_frames)  # of pieces that have one score each
    middles = borders + widths / 2 - shift
    middles = middles % n_frames if mode == "roll" else middles
    is_inside = (middles >= 0) & (middles < n_frames)
    place = (middles / ratio).clip(0, len(scores) - 1).astype(int)
    pieces = scores[place] * (widths * is_inside)[:, None]
    sums = np.add.reduceat(pieces, np.searchsorted(borders, starts))
    lengths = np.minimum(n_frames - starts, pooled)
    means: np.ndarray = (sums / lengths[:, None]).astype(np.float32)
    return means


def add_mel_noise(features: Tensor, std: float, config: FeatureConfig) -> Tensor:
    """Add |N(0, std²)| to the linear mel values behind log-mel features (B, T, F), as stored.

    Noise only adds energy then, as a second sound would: a quiet bin changes much and a loud one
    hardly. Drawn from torch's global generator. The units of `std` are those of the linear values:
    amplitude or power, as the features were made.

    References
    ----------
    The DCASE 2019 task 4 baseline adds such noise, with a standard deviation of 0.25, to what the
    teacher gets.
    """
    unit = math.log(10) / 20 if config.log == "db" else 1.0  # of a stored value, in nepers
    noise = torch.randn_like(features).abs() * std
    return torch.logaddexp(features * unit, noise.log()) / unit


AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "filter": FilterAugment,
    "freq-mask": FrequencyMask,
    "freq-warp": FrequencyWarp,
    "gain": Gain,
    "hard-mixup": HardMixup,
    "mixup": Mixup,
    "time-mask": TimeMask,
    "time-shift": TimeShift,
}


def make_augmentations(configs: Iterable[AugmentationConfig]) -> dict[str, Augmentation]:
    """Make augmentations, by name; a ConfigError says if a name or an option is none."""
    made = {}
    for config in configs:
        cls = find(AUGMENTATIONS, config.kind, config.name, Augmentation)
        made[config.name] = cls(**config.keywords(cls))
    return made


def augmented(
    batch: Batch, augmentations: Mapping[str, Augmentation], whose: str, *key: int
) -> Batch:
    """Return a batch as the augmentations make it that are shared, or are not, one after the other.

    They are those that student and teacher share if `whose` is "both"; else their own. `key` is
    seed and step.
    """
    for name, augmentation in augmentations.items():
        if augmentation.shared == (whose == "both"):
            batch = batch._replace(features=batch.features.float())
            batch = augmentation(batch, generator(f"augmentation {name} of {whose}", *key))
    return batch
