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
    selected_by: str  # what score that is
    epochs: int  # that were run
    stopped_early: bool
    seconds: float  # that this session took

    def __str__(self) -> str:
        """Return one line for a summary."""
        early = ", stopped early" if self.stopped_early else ""
        return (
            f"{self.epochs} epochs{early}, in {self.seconds:.1f} s; best {self.selected_by} "
            f"{self.best_score:.3f} in epoch {self.best_epoch} -> {self.model}"
        )
