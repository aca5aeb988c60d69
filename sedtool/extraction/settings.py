"""How an extraction is run; what the features are is `sedtool.config.FeatureConfig`."""

from collections.abc import Sequence
from dataclasses import dataclass

from sedtool.audio import RESAMPLER
from sedtool.config import FeatureConfig
from sedtool.errors import ConfigError
from sedtool.features import Engine, native_engine, torchaudio_engine
from sedtool.shards import WHOLE, Shard
from sedtool.store import FeaturesJob

__all__ = ["DEFAULTS", "ENGINES", "ExtractSettings"]

ENGINES = ("native", "torchaudio")


@dataclass(frozen=True)
class ExtractSettings:
    """How an extraction is run."""

    workers: int = 1  # files at a time; changes no byte of the output
    engine: str = "native"  # or "torchaudio"
    device: str = "cpu"  # where torchaudio runs
    dtype: str = "f16"  # or "f32", as stored
    shard: Shard = WHOLE  # the part of all files that is done
    shard_is_auto: bool = False  # whether the environment said which; parts beside are then asked
    allow_truncated: bool = False  # whether a file whose end is missing is used as far as it goes
    fail_fast: bool = False  # stop at the first file that cannot be used
    overwrite: bool = False  # replace a complete output

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers must be at least 1, not {self.workers}")
        if self.engine not in ENGINES:
            raise ConfigError(f"engine must be {' or '.join(ENGINES)}, not {self.engine!r}")
        if self.engine == "native" and self.device != "cpu":
            raise ConfigError("--device says where torchaudio runs: give --engine torchaudio, too")

    def job(self, config: FeatureConfig, names: Sequence[str]) -> FeaturesJob:
        """Return what the output is to be; `names` is the whole list, in order."""
        kind = self.device.partition(":")[0]  # two GPUs make the same
        made_by = self.engine if self.engine == "native" else f"{self.engine} on {kind}"
        return FeaturesJob(config, names, self.dtype, made_by, self.shard, self.allow_truncated)

    def make_engine(self, config: FeatureConfig) -> Engine:
        """Return what computes the features.

        Raises
        ------
        ConfigError
            If no engine here can make them.
        ResourceError
            If there is no such device.
        """
        if config.resampler != RESAMPLER:
            raise ConfigError(f"resampler must be {RESAMPLER!r}, not {config.resampler!r}")
        if self.engine == "native":
            return native_engine(config)
        return torchaudio_engine(config, self.device)


DEFAULTS = ExtractSettings()
