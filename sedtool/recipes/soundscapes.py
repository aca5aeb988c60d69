"""Soundscapes: sound events placed in a background, with labels that are true to the sound.

::

    sources       ▂█▆▅▃      ▇▇▇▇▇▇▇▇▇▇▇▇        each cut to where its energy is (`trim`)
                    │              │             scaled to its signal-to-noise ratio
                    ▼              ▼
    background  ░░░░▂█▆▅▃░░░░░▇▇▇▇▇▇▇▇▇▇▇▇░░     shaped noise, drawn afresh for every clip (`noise`)
    labels          [bark]    [   rain   ]       onset and offset are where the source was put

`compose` makes one soundscape, `write_dataset` a data set of them: weak labels for training, strong
ones for validation and test. Waves are mono float64, shape=(N,).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from sedtool.atomic import refuse_existing, resource_errors, write_text
from sedtool.audio import write_wav
from sedtool.labels import Event, StrongLabels, write_events, write_weak

Wave = npt.NDArray[np.float64]

SPLITS = ("train", "validation", "test")

ENVELOPE_WINDOW = 0.01  # seconds over which the power of a wave is averaged
ACTIVE_FLOOR = -30.0  # dB below the peak of its envelope: what is weaker is no part of an event
PEAK = 0.9  # of full scale: a louder mix is scaled down, so that it never clips
ONSET_STEP = 0.01  # seconds: the grid that onsets are drawn from
LOWEST_NOISE = 50.0  # Hz: without it the power of steep noise would all be inaudible rumble


@dataclass(frozen=True)
class Source:
    """One sound to be placed: all of `wave` is labelled, so cut it to its energy first."""

    label: str
    wave: Wave
    snr: float  # dB, over the background where the sound is put

    def __post_init__(self) -> None:
        if not np.any(self.wave):
            raise ValueError(f"a source of {self.label!r} is silent: it has no level to scale")


@dataclass(frozen=True)
class Soundscape:
    """A mix of background and sources, and where each source that found room was put."""

    wave: Wave
    sample_rate: int  # Hz
    spans: tuple[tuple[str, int, int], ...]  # label, first sample, sample after the last

    def events(self, name: str) -> list[Event]:
        """Return the spans as events of the clip `name`."""
        rate = self.sample_rate
        return [Event(name, start / rate, stop / rate, label) for label, start, stop in self.spans]


def clip_generator(seed: int, split: str, index: int) -> np.random.Generator:
    """Return the random generator of one clip, which no other clip, split or seed shares."""
    return np.random.default_rng(
        np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), index))
    )


def active_spans(
    wave: Wave,
    sample_rate: int,
    floor: float = ACTIVE_FLOOR,
    join: float = 0.0,
    window: float = ENVELOPE_WINDOW,
) -> list[tuple[int, int]]:
    """Find where the energy of a wave is: (start, stop) in samples; none in digital silence.

    What is weaker than `floor` (dB) below the loudest moment is silence. Spans closer than `join`
    (seconds) are one. A moment lasts `window` (seconds): a long one makes a texture of short
    sounds one span.
    """
    active = _active(wave, sample_rate, floor, window)
    edges = np.flatnonzero(np.diff(active, prepend=False, append=False))
    spans: list[tuple[int, int]] = []
    for start, stop in edges.reshape(-1, 2).tolist():
        if spans and start - spans[-1][1] < join * sample_rate:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
    return spans


def trim(
    wave: Wave, sample_rate: int, floor: float = ACTIVE_FLOOR, window: float = ENVELOPE_WINDOW
) -> Wave:
    """Cut a wave to the part from its first to its last active sample; silence becomes empty."""
    spans = active_spans(wave, sample_rate, floor, window=window)
    return wave[spans[0][0] : spans[-1][1]] if spans else wave[:0]


def rms(wave: Wave, sample_rate: int) -> float:
    """Return the root mean square of a wave without its pauses: ticks in a train are as loud."""
    active = wave[_active(wave, sample_rate, ACTIVE_FLOOR, ENVELOPE_WINDOW)]
    return float(np.sqrt(np.mean(active**2))) if len(active) else 0.0


def _active(wave: Wave, sample_rate: int, floor: float, window: float) -> npt.NDArray[np.bool_]:
    """Return where the power in a window around a sample is above the floor, shape=(N,)."""
    power = uniform_filter1d(wave**2, max(round(window * sample_rate), 1), mode="constant")
    return np.asarray(power > power.max(initial=0.0) * 10 ** (floor / 10))


def loop(wave: Wave, n_samples: int, sample_rate: int, fade: float = 0.25) -> Wave:
    """Repeat a wave until it is `n_samples` long, with cross-fades of equal power at the joints.

    These last `fade` seconds, and at most half the wave, which is not empty.
    """
    overlap = min(round(fade * sample_rate), len(wave) // 2)
    angle = (np.arange(overlap) + 0.5) * np.pi / 2 / max(overlap, 1)
    faded = wave.copy()
    faded[:overlap] *= np.sin(angle)
    faded[len(wave) - overlap :] *= np.cos(angle)
    step = len(wave) - overlap
    result = np.zeros(n_samples + len(wave))
    for start in range(0, n_samples, step):
        result[start : start + len(wave)] += faded
    result[:overlap] = wave[:overlap]  # nothing was there to fade from
    return result[:n_samples]


def noise(rng: np.random.Generator, n_samples: int, sample_rate: int) -> Wave:
    """Return Gaussian noise with a drawn spectrum and a root mean square of one, shape=(N,).

    The spectrum falls with a power of the frequency, from white (0) over pink (1) to brown (2), and
    is raised by up to 15 dB in a band of one third to two octaves.
    """
    slope, boost = rng.uniform(0.0, 2.0), rng.uniform(0.0, 15.0)
    centre, width = np.exp(rng.uniform(np.log(100.0), np.log(6000.0))), rng.uniform(1 / 3, 2.0)
    frequencies = np.fft.rfftfreq(n_samples, 1 / sample_rate)
    octaves = np.log2(np.maximum(frequencies, LOWEST_NOISE) / centre)
    decibels = boost * np.exp(-((2 * octaves / width) ** 2)) - slope * 10 * np.log10(2.0) * octaves
    gains = np.where(frequencies < LOWEST_NOISE, 0.0, 10 ** (decibels / 20))
    wave = np.fft.irfft(np.fft.rfft(rng.standard_normal(n_samples)) * gains, n_samples)
    return np.asarray(wave / np.sqrt(np.mean(wave**2)))


def compose(
    rng: np.random.Generator,
    background: Wave,
    sources: Iterable[Source],
    sample_rate: int,
    gap: float = 0.5,
) -> Soundscape:
    """Place sources in a background, each at a random time, wholly inside the clip.

    Sources of one label keep `gap` seconds apart; those of different labels may overlap. The
    longest are placed first, and one that finds no room is left out of the mix and of the labels.
    """
    mix = background.copy()
    spans: list[tuple[str, int, int]] = []
    for source in sorted(sources, key=lambda s: len(s.wave), reverse=True):
        taken = [(start, stop) for label, start, stop in spans if label == source.label]
        onsets = _free_onsets(len(mix), len(source.wave), taken, sample_rate, gap)
        if not len(onsets):
            continue
        start = int(rng.choice(onsets))
        stop = start + len(source.wave)
        level = np.sqrt(np.mean(background[start:stop] ** 2)) / rms(source.wave, sample_rate)
        mix[start:stop] += source.wave * level * 10 ** (source.snr / 20)
        spans.append((source.label, start, stop))
    mix *= PEAK / max(np.abs(mix).max(), PEAK)
    return Soundscape(mix, sample_rate, tuple(sorted(spans, key=lambda span: span[1])))


def _free_onsets(
    n_samples: int, length: int, taken: Iterable[tuple[int, int]], sample_rate: int, gap: float
) -> npt.NDArray[np.int64]:
    """Return the samples of a clip at which `length` samples keep `gap` seconds from `taken`."""
    onsets = np.arange(0, n_samples - length + 1, round(ONSET_STEP * sample_rate))
    margin = round(gap * sample_rate)
    for start, stop in taken:
        onsets = onsets[(onsets + length + margin <= start) | (onsets >= stop + margin)]
    return onsets


def write_dataset(
    folder: Path,
    classes: Sequence[str],
    sizes: Mapping[str, int],
    make_clip: Callable[[str, int], Soundscape],
    prefix: str = "",
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> dict[str, StrongLabels]:
    """Write a data set of soundscapes.

    ::

        folder/audio/{train,validation,test}/PREFIXtrain_0001.wav ...
        folder/labels/train_weak.tsv         clip names are relative to folder/audio
        folder/labels/validation_strong.tsv  and test_strong.tsv
        folder/labels/check/train_strong.tsv only to check the data with: not for training
        folder/labels/classes.txt

    Labels are written after all audio, the class list last, so that a folder with a class list is
    whole; a whole one is replaced only with `overwrite`. Clips of an earlier, larger data set stay
    where they are, without labels.

    `sizes` has the clips of each split, of which ``make_clip(split, index)`` returns one, from 1
    on; it must depend on nothing else. Returned are the strong labels of each split.
    """
    class_list = folder / "labels" / "classes.txt"
    refuse_existing(class_list, overwrite)
    for subfolder in (*(folder / "audio" / split for split in sizes), class_list.parent / "check"):
        with resource_errors(subfolder):
            subfolder.mkdir(parents=True, exist_ok=True)
    class_list.unlink(missing_ok=True)
    clips = [
        (split, index, f"{split}/{prefix}{split}_{index:04d}.wav")
        for split, size in sizes.items()
        for index in range(1, size + 1)
    ]
    events: dict[str, list[Event]] = {split: [] for split in sizes}
    for done, (split, index, name) in enumerate(clips, 1):
        clip = make_clip(split, index)
        write_wav(folder / "audio" / name, clip.wave, clip.sample_rate)
        events[split] += clip.events(name)
        progress(done, len(clips), name)
    labels = {
        split: StrongLabels(events[split], tuple(name for s, _, name in clips if s == split))
        for split in sizes
    }
    for split, strong in labels.items():
        if split == "train":
            write_weak(class_list.parent / "train_weak.tsv", strong.weak())
            write_events(class_list.parent / "check" / "train_strong.tsv", strong)
        else:
            write_events(class_list.parent / f"{split}_strong.tsv", strong)
    write_text(class_list, "".join(f"{label}\n" for label in classes))
    return labels
