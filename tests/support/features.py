"""Feature settings that are quick to compute."""

from sedtool.config import FeatureConfig

CONFIG = FeatureConfig(
    sample_rate=8_000, n_fft=256, win_length=256, hop_length=200, n_mels=16, fmax=4e3
)
