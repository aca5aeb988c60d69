"""Log-mel features are those of torchaudio and librosa, and do not depend on how audio arrives."""

import dataclasses
import sys

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from sedtool.config import FEATURE_PRESETS, FeatureConfig
from sedtool.errors import AudioError, ConfigError, ResourceError
from sedtool.features import log_mel, log_mel_blocks, mel_filters, torchaudio_engine

PRESETS = sorted(FEATURE_PRESETS)
SMALL = FeatureConfig(sample_rate=8_000, n_fft=64, win_length=48, hop_length=20, n_mels=6, fmax=4e3)

# What two float32 implementations of one definition may differ by, in the units of the features
# (nepers of power, decibels for dcase2019 and desed): rounding on noise of any level, and up to
# 5e-3 in bands 80 dB below the strongest of their frame. Fainter bands of a pure tone hold nothing
# but the rounding noise of the Fourier transform.
NOISE_TOLERANCE = {  # maximum, mean
    "dcase2017": (5e-5, 1e-5),
    "dcase2019": (2e-4, 2e-5),
    "desed": (2e-4, 2e-5),
    "short": (5e-5, 1e-5),
}
TONE_TOLERANCE = 5e-3
DYNAMIC_RANGE = 80.0  # dB


def seconds(config: FeatureConfig, n: float) -> np.ndarray:
    return np.arange(int(config.sample_rate * n)) / config.sample_rate


def noise(config: FeatureConfig, level: float, n: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (level * rng.standard_normal(int(config.sample_rate * n))).astype(np.float32)


def by_torchaudio(wave: np.ndarray, config: FeatureConfig) -> np.ndarray:
    window = {"hann": torch.hann_window, "hamming": torch.hamming_window}[config.window]
    transform = torchaudio.transforms.MelSpectrogram(
        sample_rate=config.sample_rate,
        n_fft=config.n_fft,
        win_length=config.win_length,
        hop_length=config.hop_length,
        f_min=config.fmin,
        f_max=config.fmax,
        n_mels=config.n_mels,
        window_fn=window,
        power=float(config.power),
        center=True,
        pad_mode="reflect",
        norm=None,
        mel_scale=config.mel_scale,
    )
    return in_log(transform(torch.from_numpy(wave)).numpy().T, len(wave), config)


def by_librosa(wave: np.ndarray, config: FeatureConfig) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=wave,
        sr=config.sample_rate,
        n_fft=config.n_fft,
        win_length=config.win_length,
        hop_length=config.hop_length,
        window=config.window,
        center=True,
        pad_mode="reflect",
        power=config.power,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
        htk=config.mel_scale == "htk",
        norm=None,
    )
    return in_log(mel.T, len(wave), config)


def in_log(mel: np.ndarray, n_samples: int, config: FeatureConfig) -> np.ndarray:
    mel = mel[: -(-n_samples // config.hop_length)]
    if config.log == "ln":
        return np.log(mel + config.floor)
    return 20 * np.log10(np.maximum(mel, config.floor))


def by_torchaudio_engine(
    wave: np.ndarray, config: FeatureConfig, device: str = "cpu"
) -> np.ndarray:
    return np.concatenate(list(log_mel_blocks([wave], config, torchaudio_engine(config, device))))


ORACLES = {
    "torchaudio": by_torchaudio,
    "librosa": by_librosa,
    "the torchaudio engine": by_torchaudio_engine,
}


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("level", [0.3, 1e-6])
def test_noise_of_any_level_is_as_the_oracles_have_it(preset, oracle, level):
    config = FEATURE_PRESETS[preset]
    wave = noise(config, level)
    difference = np.abs(log_mel(wave, config) - ORACLES[oracle](wave, config))
    maximum, mean = NOISE_TOLERANCE[preset]
    assert difference.max() < maximum
    assert difference.mean() < mean


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("sound", ["tone", "chirp", "16-bit tone", "tone in noise", "offset"])
def test_bands_within_80_db_of_the_strongest_are_as_the_oracles_have_them(preset, oracle, sound):
    config = FEATURE_PRESETS[preset]
    t = seconds(config, 1.0)
    tone = 0.9 * np.sin(2 * np.pi * 1_000 * t)
    wave = {
        "tone": tone,
        "chirp": 0.9 * np.sin(2 * np.pi * (100 * t + 1_000 * t**2)),
        "16-bit tone": np.rint(tone * 2**15) / 2**15,
        "tone in noise": tone + noise(config, 1e-3),
        "offset": np.full_like(t, 0.5),
    }[sound].astype(np.float32)
    ours = log_mel(wave, config)
    decibels = ours * (10 / np.log(10) if config.log == "ln" else 1)
    audible = decibels > decibels.max(axis=1, keepdims=True) - DYNAMIC_RANGE
    difference = np.abs(ours - ORACLES[oracle](wave, config))[audible]
    assert difference.max() < TONE_TOLERANCE
    assert audible.any(axis=1).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_silence_is_the_floor(preset):
    config = FEATURE_PRESETS[preset]
    features = log_mel(np.zeros(config.sample_rate, np.float32), config)
    floor = np.log(config.floor) if config.log == "ln" else 20 * np.log10(config.floor)
    assert np.allclose(features, floor, rtol=1e-6)


@pytest.mark.parametrize("oracle", ["torchaudio", "librosa"])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("extra", [0, 1, 17, 399, 400, 401, 1_022, 5_110, 51_100])
def test_clips_of_any_length_from_one_window_on_are_as_the_oracles_have_them(preset, oracle, extra):
    config = FEATURE_PRESETS[preset]
    wave = noise(config, 0.3, 2.0)[: config.n_fft + extra]
    ours = log_mel(wave, config)
    assert ours.shape == (-(-len(wave) // config.hop_length), config.n_mels)
    assert np.abs(ours - ORACLES[oracle](wave, config)).max() < NOISE_TOLERANCE[preset][0]


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize(
    "changes",
    [
        {"win_length": 600},
        {"hop_length": 1024},  # frames that do not overlap
        {"hop_length": 16},  # a thousand frames a second, the most
        {"fmin": 50.0, "fmax": 7_600.0},
        {"window": "hamming", "mel_scale": "slaney", "n_mels": 40},
        {"power": 1},
        {"sample_rate": 22_050, "fmax": 11_025.0},
    ],
    ids=str,
)
def test_other_settings_are_as_the_oracles_have_them(oracle, changes):
    config = dataclasses.replace(FeatureConfig(), **changes)
    wave = noise(config, 0.3, 0.1)
    difference = np.abs(log_mel(wave, config) - ORACLES[oracle](wave, config))
    assert difference.max() < 1e-4


def test_the_filters_are_those_of_torchaudio():
    for config in FEATURE_PRESETS.values():
        expected = torchaudio.functional.melscale_fbanks(
            config.n_fft // 2 + 1,
            config.fmin,
            config.fmax,
            config.n_mels,
            config.sample_rate,
            norm=None,
            mel_scale=config.mel_scale,
        )
        assert np.abs(mel_filters(config) - expected.numpy().T).max() < 1e-4


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("frequency", [300.0, 1_000.0, 3_000.0])
def test_a_pure_tone_is_strongest_in_the_band_that_is_centred_nearest_to_it(preset, frequency):
    config = FEATURE_PRESETS[preset]
    filters = mel_filters(config)
    bins = np.arange(filters.shape[1]) * config.sample_rate / config.n_fft
    k = round(frequency * config.n_fft / config.sample_rate)
    expected = filters[:, k].argmax()
    tone = np.sin(2 * np.pi * bins[k] * seconds(config, 1.0)).astype(np.float32)
    inner = log_mel(tone, config)[3:-3]
    assert (inner.argmax(axis=1) == expected).all()


def test_a_tone_at_a_bin_has_the_power_of_its_window_sum():
    """A sine of amplitude a at a bin has magnitude a/2 x the sum of the window there."""
    config = dataclasses.replace(FeatureConfig(), n_mels=1, mel_scale="slaney", fmax=8_000.0)
    k, amplitude = 100, 0.25
    tone = amplitude * np.sin(2 * np.pi * k * np.arange(16_000) / config.n_fft)
    window_sum = config.n_fft / 2  # of a Hann window; half as much one bin away
    weights = mel_filters(config)[0, k - 1 : k + 2]
    power = np.dot(weights, (amplitude / 2 * window_sum * np.array([0.5, 1.0, 0.5])) ** 2)
    features = log_mel(tone.astype(np.float32), config)
    assert np.allclose(features[3:-3], np.log(power), atol=1e-3)


def test_twice_the_amplitude_adds_six_decibels():
    wave = noise(FeatureConfig(), 0.1)
    for config, step in zip(
        (FeatureConfig(), FEATURE_PRESETS["dcase2019"]), (np.log(4), 20 * np.log10(2)), strict=True
    ):
        difference = log_mel(2 * wave, config) - log_mel(wave, config)
        assert np.allclose(difference, step, atol=1e-4)


def test_features_are_float32_in_rows_of_frames():
    features = log_mel(noise(SMALL, 0.1), SMALL)
    assert features.dtype == np.float32
    assert features.flags.c_contiguous


@given(data=st.data(), n_samples=st.integers(48, 6_000))
@settings(deadline=None, max_examples=60)
def test_streamed_features_equal_those_of_the_whole_bit_for_bit(data, n_samples):
    wave = noise(SMALL, 0.3)[:n_samples]
    cuts = sorted(data.draw(st.lists(st.integers(0, n_samples), max_size=8)))
    blocks = np.split(wave, cuts)
    streamed = np.concatenate(list(log_mel_blocks(blocks, SMALL)))
    assert np.array_equal(streamed, log_mel(wave, SMALL))
    assert len(streamed) == SMALL.n_frames(n_samples)


@pytest.mark.parametrize("hop_length", [8, 9, 32, 33, 63, 64])
@pytest.mark.parametrize("size", [1, 5, 64, 1_000])
def test_streaming_works_for_every_hop_and_block_size(hop_length, size):
    config = dataclasses.replace(SMALL, hop_length=hop_length)
    wave = noise(config, 0.3)[:1_003]
    blocks = [wave[i : i + size] for i in range(0, len(wave), size)]
    streamed = np.concatenate(list(log_mel_blocks(blocks, config)))
    assert np.array_equal(streamed, log_mel(wave, config))
    assert np.abs(streamed - by_torchaudio(wave, config)).max() < 1e-4


def test_frames_come_as_soon_as_their_samples_are_there():
    """Memory is bounded: an endless stream yields features."""
    block = noise(SMALL, 0.1, 1.0)
    received = 0

    def endless():
        nonlocal received
        while True:
            received += 1
            yield block

    stream = log_mel_blocks(endless(), SMALL)
    n_frames = sum(len(next(stream)) for _ in range(100))
    assert received <= 2 + n_frames * SMALL.hop_length / len(block)


def test_a_device_that_is_not_there_is_a_resource_error():
    with pytest.raises(ResourceError, match="device 'cuda:99' cannot be used"):
        by_torchaudio_engine(noise(SMALL, 0.3), SMALL, "cuda:99")


def test_the_torchaudio_engine_needs_torchaudio(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio.transforms", None)
    with pytest.raises(ConfigError, match="pip install"):
        by_torchaudio_engine(noise(SMALL, 0.3), SMALL)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_clip_shorter_than_a_window_is_refused(preset):
    config = FEATURE_PRESETS[preset]
    wave = noise(config, 0.3)
    assert log_mel(wave[: config.win_length], config).shape[0] >= 1
    with pytest.raises(AudioError, match=f"too short for one window.*{config.win_length}"):
        log_mel(wave[: config.win_length - 1], config)
    with pytest.raises(AudioError, match="0 samples at"):
        list(log_mel_blocks([], config))


def test_a_clip_too_short_to_be_reflected_is_refused_before_anything_is_yielded():
    config = dataclasses.replace(SMALL, win_length=8, hop_length=8)
    assert len(log_mel(noise(config, 0.3)[:33], config)) == 5
    with pytest.raises(AudioError, match="32 samples at 8000 Hz are too short"):
        next(log_mel_blocks([noise(config, 0.3)[:32]], config))
