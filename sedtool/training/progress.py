"""Where a run stands, and how it ended."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Progress", "TrainResult"]


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for a callback; `row` is set at the end of an epoch."""

    epoch: int  # from 1
    epochs: int
    step: int  # of the epoch, from 1
    steps: int
    loss: float  # mean over the epoch so far
    row: dict[str, Any] | None = None

    @property
    def done(self) -> int:
        """Return the steps of the run so far."""
        return (self.epoch - 1) * self.steps + self.step

    @property
    def total(self) -> int:
        """Return the steps of the whole run."""
        return self.epochs * self.steps

    def __str__(self) -> str:
        """Return epoch and loss, for a progress bar."""
        return f"epoch {self.epoch} of {self.epochs}, loss {self.loss:.3f}"


@dataclass(frozen=True)
class TrainResult:
    """How a run ended."""

    model: Path
    best_epoch: int
    best_score: float
    epochs: int  # that were run
    stopped_early: bool
