"""Changes to a clip's features that leave its label true: (T, F) -> (T, F)."""

import numpy as np

from sedtool.draws import generator

__all__ = ["draw_time_shift", "time_shift"]


def draw_time_shift(std: float, seed: int, epoch: int, step: int, index: int) -> int:
    """Draw a shift in frames from N(0, std²), a function of its place in the run."""
    return round(generator("time shift", seed, epoch, step, index).normal(0.0, std))


def time_shift(features: np.ndarray, frames: int) -> np.ndarray:
    """Roll the valid frames (T, F) of a clip by `frames`; what leaves at one end enters the other.

    Rolled rather than padded, so that a shifted clip keeps every sound its weak label names. The
    paper shifts by N(0, 16 frames) and does not say which it does.
    """
    return np.roll(features, frames, axis=0)
