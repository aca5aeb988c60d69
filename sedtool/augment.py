"""Changes to a clip that leave its labels true, or move them along.

Axis letters: B clips in a batch, T frames, F mel bands.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sedtool.config import FeatureConfig
from sedtool.draws import generator
from sedtool.labels import Event

__all__ = ["add_mel_noise", "draw_time_shift", "shift_events", "time_shift"]


def draw_time_shift(std: float, seed: int, epoch: int, step: int, index: int) -> int:
    """Draw a shift in frames from N(0, std²), a function of its place in the run."""
    return round(generator("time shift", seed, epoch, step, index).normal(0.0, std))


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
