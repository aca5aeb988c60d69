"""Models that were never trained."""

import torch

from sedtool.checkpoint import Model, source_tags
from sedtool.config import ARCHITECTURES, FEATURE_PRESETS, DecodingConfig, PoolingConfig
from sedtool.crnn import Detector


def new_model(pooling: str = "power:init=2") -> Model:
    """Return a model of two classes that was never trained."""
    spec = PoolingConfig.parse(pooling)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = Detector(ARCHITECTURES["small"], spec, 64, 2)
    detector.mean.fill_(-5.0)
    return Model(
        detector.eval(),
        ("Dog", "Air horn, truck horn"),
        FEATURE_PRESETS["dcase2017"],
        ARCHITECTURES["small"],
        spec,
        10.0,
        DecodingConfig((0.3, 0.6), (0.2, 0.4), (0.3, 1.5)),
        trained={"epoch": 3},
        tuned={"clips": 7},
        trained_on=source_tags(["ab" * 32, "01" * 32]),
    )
