"""The log-mel picture of a clip, as the top of a figure."""

from typing import TYPE_CHECKING

import numpy as np

from sedtool.config import FeatureConfig
from sedtool.features import mel_filters

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_spectrogram"]

_TICKS = np.array([0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64])  # kHz


def draw_spectrogram(axes: "Axes", spectrogram: np.ndarray, config: FeatureConfig) -> None:
    """Draw log-mel features, shape (T, F), over seconds and kilohertz."""
    frames = spectrogram.astype(np.float32)
    seconds, n_mels = len(frames) / config.frame_rate, frames.shape[1]
    image = axes.imshow(
        frames.T,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, n_mels),
        cmap="magma",
        vmin=float(np.percentile(frames, 5)),
    )
    centres = _centres(config)
    ticks = _TICKS[(centres[0] <= _TICKS) & (centres[-1] * 1.05 >= _TICKS)]
    rows = np.interp(ticks, centres, np.arange(n_mels) + 0.5)
    apart = np.diff(rows, append=np.inf) > n_mels / 10  # the mel scale is dense below 500 Hz
    axes.set_yticks(rows[apart], [f"{tick:g}" for tick in ticks[apart]])
    axes.set_ylabel("frequency (kHz, mel scale)")
    beside = axes.inset_axes((1.01, 0.0, 0.015, 1.0))
    unit = "dB" if config.log == "db" else "ln power" if config.power == 2 else "ln magnitude"
    axes.figure.colorbar(image, cax=beside, label=f"log-mel ({unit})")


def _centres(config: FeatureConfig) -> np.ndarray:
    """Return the middle of each mel band, kHz (F,): the mean frequency under its filter."""
    filters = mel_filters(config).astype(float)  # (F, bins)
    kilohertz = np.linspace(0, config.sample_rate / 2000, filters.shape[1])
    area = filters.sum(axis=1)
    middle = filters @ kilohertz / np.maximum(area, 1e-9)
    filled = area > 0  # a narrow band may lie between two bins
    bands = np.arange(len(middle))
    centres: np.ndarray = np.interp(bands, bands[filled], middle[filled])
    return centres
