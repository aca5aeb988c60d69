"""Samples -> a WAV file."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from sedtool.atomic import write_bytes
from sedtool.errors import AudioError


def write_wav(path: Path, wave: npt.NDArray[np.floating], sample_rate: int) -> None:
    """Write a WAV file of 16-bit samples.

    Parameters
    ----------
    path
        Replaced if it exists.
    wave
        Samples within [-1, 1], shape (N,) or (N, channels).
    sample_rate
        Hz.

    Raises
    ------
    AudioError
        If a sample is out of range.
    """
    peak = np.abs(wave).max(initial=0.0)
    if not peak <= 1.0:
        raise AudioError(f"{path}: a sample of {peak:g} does not fit 16 bits; scale to within 1")
    pcm = np.minimum(np.rint(np.asarray(wave, np.float64) * 2**15), 2**15 - 1).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sample_rate, format="WAV", subtype="PCM_16")
    write_bytes(path, buffer.getvalue())
