"""The settings of every stage: one frozen dataclass each, and every default written once, here.

Nothing heavy is imported, so the command line can borrow the defaults without paying for torch.
A value out of range is a ConfigError, never clamped.
"""

from sedtool.config.base import DEVICE, added_fields, from_json, lookup, to_json
from sedtool.config.evaluation import EvaluateInputs, EvaluationConfig
from sedtool.config.extraction import (
    CHECK_WORKERS,
    DEMO_WORKERS,
    FEATURE_PRESETS,
    PRESET,
    STDIN_NAME,
    ExtractConfig,
    FeatureConfig,
    FilesConfig,
)
from sedtool.config.inference import (
    EVENT_FORMAT,
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
from sedtool.config.training import MEAN_TEACHER, METHODS, LookupConfig, TrainConfig, TrainInputs

__all__ = [
    "ARCHITECTURES",
    "CHECK_WORKERS",
    "DEMO_WORKERS",
    "DEVICE",
    "EVENT_FORMAT",
    "FEATURE_PRESETS",
    "MEAN_TEACHER",
    "METHODS",
    "POOLING_NAMES",
    "PRESET",
    "STDIN_NAME",
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
    "added_fields",
    "from_json",
    "lookup",
    "parse_architecture",
    "to_json",
]
