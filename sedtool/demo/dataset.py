"""The demo: a small data set of sounds made on the spot.

Ten-second clips at 16 kHz hold up to four events of ten classes (`sedtool.demo.sounds`), 6 to 25 dB
above a background that differs from clip to clip. Nothing is downloaded, and every clip is a
function of (seed, split, index): it does not depend on how many others are made.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from sedtool.demo.sounds import SOUNDS
from sedtool.recipes.soundscapes import (
    Soundscape,
    Source,
    clip_generator,
    compose,
    noise,
    trim,
    write_dataset,
)

__all__ = ["SIZES", "make_clip", "make_dataset"]

SIZES = {"train": 600, "validation": 150, "test": 150}  # clips

SAMPLE_RATE = 16_000  # Hz
DURATION = 10.0  # seconds
NOISE_LEVELS = (-46.0, -34.0)  # dB of full scale
SNRS = (6.0, 25.0)  # dB
CLASSES_A_CLIP = (0.1, 0.3, 0.4, 0.2)  # probabilities of 0, 1, 2 and 3 classes
MOST_EVENTS = 4  # in a clip
REPEATABLE = 2.0  # seconds: a shorter sound may be heard twice in a clip


def make_dataset(
    folder: Path,
    seed: int,
    sizes: Mapping[str, int] = SIZES,
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> None:
    """Write the demo's audio and labels, as `write_dataset` lays them out.

    Equal seeds give equal bytes.

    Parameters
    ----------
    folder
        Made if need be.
    seed
        From 0 up.
    sizes
        Clips of each split: ``train``, ``validation`` and ``test``.
    overwrite
        Whether a finished data set may be replaced.
    progress
        Called with the number of clips done, that of all, and the name of the latest.

    Raises
    ------
    OutputExistsError
        If the folder holds a finished data set and `overwrite` is false.
    ResourceError
        If the folder cannot be written.
    """
    write_dataset(
        folder,
        tuple(SOUNDS),
        sizes,
        lambda split, index: make_clip(seed, split, index),
        overwrite=overwrite,
        progress=progress,
    )


def make_clip(seed: int, split: str, index: int) -> Soundscape:
    """Return one soundscape of the demo."""
    rng = clip_generator(seed, split, index)
    level = 10 ** (rng.uniform(*NOISE_LEVELS) / 20)
    background = level * noise(rng, round(DURATION * SAMPLE_RATE), SAMPLE_RATE)
    return compose(rng, background, _draw_sources(rng), SAMPLE_RATE)


def _draw_sources(rng: np.random.Generator) -> list[Source]:
    n_classes = rng.choice(len(CLASSES_A_CLIP), p=CLASSES_A_CLIP)
    sources: list[Source] = []
    for label in rng.choice(list(SOUNDS), n_classes, replace=False).tolist():
        sources.append(_draw_source(rng, label))
        short = len(sources[-1].wave) < REPEATABLE * SAMPLE_RATE
        if short and rng.random() < 0.5:
            sources.append(_draw_source(rng, label))
    return sources[:MOST_EVENTS]


def _draw_source(rng: np.random.Generator, label: str) -> Source:
    wave = trim(SOUNDS[label](rng, SAMPLE_RATE), SAMPLE_RATE)
    return Source(label, wave, rng.uniform(*SNRS))
