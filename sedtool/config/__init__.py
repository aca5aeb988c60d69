"""The settings of every stage: one frozen dataclass each, and every default written once, here.

Nothing heavy is imported, so the command line can borrow the defaults without paying for torch.
A value out of range is a ConfigError, never clamped.
"""

from sedtool.config.base import DEVICE, from_json, lookup, to_json
from sedtool.config.evaluation import EvaluateInputs, EvaluationConfig
from sedtool.config.extraction import FEATURE_PRESETS, ExtractConfig, FeatureConfig, FilesConfig
from sedtool.config.inference import (
    DecodingConfig,
    FailurePolicy,
    InferConfig,
    TuneConfig,
    TuneInputs,
    WindowConfig,
)
from sedtool.config.network import (
    ARCHITECTURES,
    POOLING_NAMES,
    ArchitectureConfig,
    PoolingConfig,
    parse_architecture,
)
from sedtool.config.training import (
    FEW_CLIPS,
    MEAN_TEACHER,
    LookupConfig,
    TrainConfig,
    TrainInputs,
    suited,
)

__all__ = [
    "ARCHITECTURES",
    "DEVICE",
    "FEATURE_PRESETS",
    "FEW_CLIPS",
    "MEAN_TEACHER",
    "POOLING_NAMES",
    "ArchitectureConfig",
    "DecodingConfig",
    "EvaluateInputs",
    "EvaluationConfig",
    "ExtractConfig",
    "FailurePolicy",
    "FeatureConfig",
    "FilesConfig",
    "InferConfig",
    "LookupConfig",
    "PoolingConfig",
    "TrainConfig",
    "TrainInputs",
    "TuneConfig",
    "TuneInputs",
    "WindowConfig",
    "from_json",
    "lookup",
    "parse_architecture",
    "suited",
    "to_json",
]
