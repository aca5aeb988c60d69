"""features.h5 + labels -> padded batches.

A clip is looked up by name in several feature files; batches are gathered straight from
their memory maps. Which clips a batch holds is a function of (seed, draw number) alone.
"""

from sedtool.datasets.batches import (
    Batch,
    Sampler,
    TrainingBatches,
    TrainingClips,
    frame_targets,
)
from sedtool.datasets.feature_set import Clips, FeatureSet, ValidationClips, weak_targets

__all__ = [
    "Batch",
    "Clips",
    "FeatureSet",
    "Sampler",
    "TrainingBatches",
    "TrainingClips",
    "ValidationClips",
    "frame_targets",
    "weak_targets",
]
