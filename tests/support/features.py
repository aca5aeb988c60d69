"""Feature settings that are quick to compute, and features files from features in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sedtool.config import FeatureConfig
from sedtool.shards import manifest_digest
from sedtool.store import FeaturesHeader, FeaturesWriter

CONFIG = FeatureConfig(
    sample_rate=8_000, n_fft=256, win_length=256, hop_length=200, n_mels=16, fmax=4e3
)


def features_writer(
    path: Path, names: Sequence[str], overwrite: bool = False, **changes: Any
) -> FeaturesWriter:
    """Return the writer of a shard of a list of names; `changes` are those of the header."""
    fields = {"config": CONFIG, "manifest_sha256": manifest_digest(names)} | changes
    header = FeaturesHeader(**fields)
    return FeaturesWriter(path, header, header.shard.select(names), overwrite)
