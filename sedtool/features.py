"""Audio -> log-mel features.

Frames are centred, with the signal reflected at both ends, and number ceil(samples / hop): the
short-time Fourier transform, mel filters and scaling are those of
``torchaudio.transforms.MelSpectrogram(center=True, pad_mode="reflect", norm=None)``, except that a
frame centred exactly on the end of the signal is left out. A test holds both to that, and to
librosa.

All sums are float32. Where a frame holds a strong sound, its bands carry rounding noise about
1e-14 of that sound's power (1e-7 of its magnitude); a band that is quieter differs between any two
implementations, this one and torchaudio's included.

Axis letters: N samples, T frames, F mel bands; "bins" are the n_fft // 2 + 1 Fourier frequencies.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.sparse import csr_array

from sedtool.config import ExtractConfig, FeatureConfig
from sedtool.errors import AudioError, ConfigError, ResourceError
from sedtool.text import quoted

# Enough for few calls a clip, and little enough for the caches. Each frame is computed alone, so
# that neither changes a value.
FRAMES_AT_ONCE = 128
MOST_SAMPLES = 2**17  # of them, after windowing

Array = npt.NDArray[np.float32]
Engine = Callable[[Array], Array]  # samples of consecutive frames (n,) -> their log-mel (t, F)


def log_mel(wave: Array, config: FeatureConfig) -> Array:
    """Return the log-mel features (T, F) of a clip (N,), with T = ceil(N / hop_length).

    A clip that is shorter than an analysis window, or too short to reflect half an n_fft of it, is
    an AudioError.
    """
    return np.concatenate(list(log_mel_blocks([wave], config)))


def log_mel_blocks(
    blocks: Iterable[Array], config: FeatureConfig, engine: Engine | None = None
) -> Iterator[Array]:
    """Yield the log-mel features of a clip that comes in blocks, in bounded memory.

    The blocks are samples (n,) at `config.sample_rate`, of any lengths. The features (t, F), when
    joined, equal `log_mel` of the joined blocks bit for bit. Errors come before all features.
    """
    engine = engine or native_engine(config)
    frames = max(min(FRAMES_AT_ONCE, MOST_SAMPLES // config.n_fft), 1)
    length = (frames - 1) * config.hop_length + config.n_fft
    step = frames * config.hop_length
    for samples in overlapping(_reflected(blocks, config), length, step):
        if len(samples) >= config.n_fft:
            yield engine(samples)


def _reflected(blocks: Iterable[Array], config: FeatureConfig) -> Iterator[Array]:
    """Yield the blocks with a reflection before the first and after the last.

    The last frame ends where the second reflection does, and no other frame fits.
    """
    pad = config.n_fft // 2
    shortest = max(pad + 1, config.win_length)
    head: list[Array] = []
    n_samples = 0
    remaining = (np.asarray(block, np.float32) for block in blocks)
    for block in remaining:
        head.append(block)
        n_samples += len(block)
        if n_samples >= shortest:  # enough to reflect
            break
    else:
        raise AudioError(
            f"{n_samples} samples at {config.sample_rate} Hz are too short for one window "
            f"({shortest}); leave the clip out"
        )
    start = np.concatenate(head)
    yield start[pad:0:-1]
    yield start
    tail = start[-pad - 1 :]  # what the end is reflected from
    for block in remaining:
        yield block
        n_samples += len(block)
        tail = np.concatenate([tail, block[-pad - 1 :]])[-pad - 1 :]
    end = (config.n_frames(n_samples) - 1) * config.hop_length + config.n_fft
    missing = end - pad - n_samples
    if missing > 0:
        yield tail[-2 : -2 - missing : -1]


def overlapping(blocks: Iterable[Array], length: int, step: int) -> Iterator[Array]:
    """Cut what comes in blocks (n, ...) into pieces of `length`, one every `step`.

    The last piece is what remains, less than `length`; `step` is at most `length`.
    """
    held: list[Array] = []
    n_held = 0
    for block in blocks:
        held.append(block)
        n_held += len(block)
        if n_held < length:
            continue
        signal = np.concatenate(held) if len(held) > 1 else block
        start = 0
        while start + length <= n_held:
            yield signal[start : start + length]
            start += step
        held, n_held = [signal[start:]], n_held - start
    yield np.concatenate(held)


@lru_cache(maxsize=8)
def native_engine(config: FeatureConfig) -> Engine:
    """Return the engine that needs no torch; threads may share it."""
    window = _window(config)
    filters = csr_array(mel_filters(config))
    scratch = _Scratch()

    def engine(samples: Array) -> Array:
        frames = np.lib.stride_tricks.sliding_window_view(samples, config.n_fft)
        frames = frames[:: config.hop_length]  # (t, n_fft), a view
        windowed = np.multiply(frames, window, out=scratch.array("windowed", frames.shape))
        spectrum = scipy.fft.rfft(windowed, axis=1, workers=1)  # (t, bins)
        energy = np.square(spectrum.real, out=scratch.array("energy", spectrum.shape))
        energy += np.square(spectrum.imag, out=scratch.array("imaginary", spectrum.shape))
        if config.power == 1:
            np.sqrt(energy, out=energy)
        by_bin = scratch.array("by bin", energy.T.shape)
        by_bin[:] = energy.T
        mel: Array = filters @ by_bin  # (F, t)
        return np.ascontiguousarray(_log(mel, config).T)

    return engine


class _Scratch(threading.local):
    """Arrays of a thread, used again and again: fresh memory costs more than what is done in it."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}

    def array(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return an array of this shape with whatever is in it."""
        size = math.prod(shape)
        if name not in self._arrays or self._arrays[name].size < size:
            self._arrays[name] = np.empty(size, np.float32)
        return self._arrays[name][:size].reshape(shape)


def torchaudio_engine(config: FeatureConfig, device: str = ExtractConfig.device) -> Engine:
    """Return the engine that is torchaudio's, on a torch device; an error says what is missing."""
    if device.partition(":")[0] not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"unknown device {quoted(device)}; use cpu, cuda, cuda:1 or mps")
    try:
        import torch
        from torchaudio.transforms import MelSpectrogram
    except ImportError as error:
        raise ConfigError(
            "--engine torchaudio needs torchaudio: pip install sedtool[torchaudio]"
        ) from error
    transform = MelSpectrogram(
        sample_rate=config.sample_rate,
        n_fft=config.n_fft,
        win_length=config.win_length,
        hop_length=config.hop_length,
        f_min=config.fmin,
        f_max=config.fmax,
        n_mels=config.n_mels,
        window_fn={"hann": torch.hann_window, "hamming": torch.hamming_window}[config.window],
        power=float(config.power),
        center=False,  # what it gets is reflected already
        norm=None,
        mel_scale=config.mel_scale,
    )
    try:
        transform.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ResourceError(f"device {quoted(device)} cannot be used: {reason}") from error

    def engine(samples: Array) -> Array:
        with torch.inference_mode():
            mel = transform(torch.from_numpy(np.array(samples)).to(device))  # (F, t)
        return np.ascontiguousarray(_log(mel.cpu().numpy(), config).T)

    return engine


def _log(mel: Array, config: FeatureConfig) -> Array:
    floor = np.float32(config.floor)
    if config.log == "ln":
        logarithm: Array = np.log(mel + floor)
    else:
        logarithm = np.float32(20.0) * np.log10(np.maximum(mel, floor))
    return logarithm


def _window(config: FeatureConfig) -> Array:
    """Return the periodic window, padded on both sides to n_fft."""
    raised = {"hann": 0.5, "hamming": 0.54}[config.window]
    phase = 2 * np.pi * np.arange(config.win_length) / config.win_length
    window = np.zeros(config.n_fft, np.float32)
    left = (config.n_fft - config.win_length) // 2
    window[left : left + config.win_length] = raised - (1 - raised) * np.cos(phase)
    return window


def mel_filters(config: FeatureConfig) -> Array:
    """Return the triangular mel filters with peaks of 1, float32 (F, bins)."""
    low, high = _to_mel(np.array([config.fmin, config.fmax]), config.mel_scale)
    edges = _to_hertz(np.linspace(low, high, config.n_mels + 2), config.mel_scale)
    lower, peak, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(config.n_fft // 2 + 1) * config.sample_rate / config.n_fft  # Hz
    rising, falling = (bins - lower) / (peak - lower), (upper - bins) / (upper - peak)
    np.minimum(rising, falling, out=rising)
    return np.maximum(0.0, rising, out=rising).astype(np.float32)


# The Slaney scale is linear up to 1 kHz = 15 mel, then logarithmic: 27 mel a factor of 6.4.
_SLANEY_LINEAR = 200 / 3  # Hz a mel
_SLANEY_LOG = np.log(6.4) / 27  # nepers a mel


def _to_mel(hertz: npt.NDArray[np.float64], scale: str) -> npt.NDArray[np.float64]:
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hertz / 700.0)
    log_part = 15 + np.log(np.maximum(hertz, 1000.0) / 1000.0) / _SLANEY_LOG
    return np.where(hertz < 1000.0, hertz / _SLANEY_LINEAR, log_part)


def _to_hertz(mel: npt.NDArray[np.float64], scale: str) -> npt.NDArray[np.float64]:
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return np.where(
        mel < 15, mel * _SLANEY_LINEAR, 1000.0 * np.exp(_SLANEY_LOG * np.maximum(mel - 15, 0))
    )
