"""Training runs: a tiny network, what equal runs have in common, when to stop."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from sedtool.config import ARCHITECTURES, ArchitectureConfig, TrainConfig

NANO = ArchitectureConfig((4,), (3,), ((4, 8),), gru_units=8, gru_layers=1)  # trains in no time
ARCHITECTURES["nano"] = NANO  # while CONFIG is checked; then the fixture `nano` puts it there
CONFIG = TrainConfig(arch="nano", epochs=2, steps_per_epoch=2, batch_size=(4,), seed=1, lr=3e-3)
PASSES = dataclasses.replace(CONFIG, steps_per_epoch=0, time_shift=2.0)  # over all clips
del ARCHITECTURES["nano"]

ALL_FILES = [
    *("config.yaml", "last.pt", "metrics.tsv", "model.safetensors", "previous.pt", "run.json"),
    "trained_on.tsv",
]


@dataclass(frozen=True)
class Tiny:
    """A data set of one-second clips: a tone, or a burst of noise, in quiet noise."""

    audio: Path
    features: Path
    weak: Path  # of 16 training clips
    strong: Path  # of 8 validation clips
    weak_validation: Path


def contents(run):
    """Return what equal runs have in common: model, metrics, state."""
    return {
        "model": (run / "model.safetensors").read_bytes(),
        "metrics": (run / "metrics.tsv").read_bytes(),
        "state": (run / "last.pt").read_bytes(),
    }


def names(run):
    return sorted(path.name for path in run.iterdir())


def whole_contents(run):
    """Return what equal runs of equal settings have in common."""
    return contents(run) | {"config": (run / "config.yaml").read_bytes()}


def stop_after(steps):
    """Return a `stop` callback that says 75 when it is asked after so many steps.

    It is asked once before the run begins, then before each step and each batch of validation.
    """
    left = iter(range(steps + 1, -1, -1))
    return lambda: 75 if next(left) == 0 else 0
