"""Hierarchical pooling: frames -> segments -> larger segments -> clip."""

import re
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from sedtool.errors import ConfigError
from sedtool.plugins import find
from sedtool.pooling.base import Options, Pooling
from sedtool.pooling.flat import FLAT_POOLINGS
from sedtool.text import quoted

BASE, LEVELS = "power", "5x4"
_MOST_LEVELS, _LONGEST = 8, 4096


class HierarchicalPooling(Pooling):
    """The same pooling at every stage: over frames, over segments of them, over larger ones.

    With levels (5, 4), the pooling makes a probability of each 5 frames, one of each 4 of those,
    and one of the clip of what these are. Segments count from the start of the clip; the last of
    a clip may be shorter. A segment goes on as its logit, log y - log(1 - y), which is as exact as
    both, so stages lose nothing in the log domain. One set of parameters serves all stages.

    Attention needs hidden states of segments: they are the mean of those of the frames, so that
    the attention logit of a segment is the mean of its frames'.

    References
    ----------
    Reference [15] of the power-pooling paper, arXiv 1903.11791, has three stages; the default
    segments of 5 and 20 frames (0.5 and 2 s at 10 frames a second) are of this project.
    """

    def __init__(
        self,
        n_classes: int,
        hidden_size: int = 0,
        *,
        base: str | Pooling = BASE,
        levels: str | float | Sequence[int] = LEVELS,
    ) -> None:
        super().__init__(n_classes, hidden_size)
        self.levels = _read_levels(levels)
        if isinstance(base, str):
            base = _make_base(base, {}, n_classes, hidden_size)
        self.base = base

    @classmethod
    def from_options(cls, name: str, options: Options, n_classes: int, hidden_size: int) -> Self:
        base, levels = options.get("base", BASE), options.get("levels", LEVELS)
        rest = {key: value for key, value in options.items() if key not in ("base", "levels")}
        pooling = _make_base(str(base), rest, n_classes, hidden_size)
        return cls(n_classes, hidden_size, base=pooling, levels=levels)

    @classmethod
    def defaults(cls, given: Options) -> dict[str, Any]:
        base = find(FLAT_POOLINGS, "pooling", str(given.get("base", BASE)), Pooling)
        return base.defaults({}) | super().defaults(given)

    def pool(self, logits: Tensor, hidden: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        for size in self.levels:
            if logits.shape[1] <= size:  # one segment is the clip
                break
            logits, hidden, valid = self._join(logits, hidden, valid, size)
        return self.base.pool(logits, hidden, valid)

    def _join(
        self, logits: Tensor, hidden: Tensor, valid: Tensor | None, size: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Pool each `size` frames (B, T, ...) into one (B, ceil(T / size), ...)."""
        n_clips, n_frames = logits.shape[:2]
        n_segments = -(-n_frames // size)
        missing = n_segments * size - n_frames
        if missing and valid is None:
            valid = torch.ones_like(logits[..., :1]).bool()

        def split(x: Tensor) -> Tensor:
            x = F.pad(x, (0, 0, 0, missing)) if missing else x
            return x.reshape(n_clips * n_segments, size, x.shape[2])

        def joined(x: Tensor) -> Tensor:
            return x.reshape(n_clips, n_segments, x.shape[-1])

        logits, hidden = split(logits), split(hidden)
        if valid is None:
            log_y, log_not_y = self.base.pool(logits, hidden, None)
            return joined(log_y - log_not_y), joined(hidden.mean(dim=1)), None
        valid = split(valid)
        mean = hidden.sum(dim=1) / valid.sum(dim=1).clamp_min(1)  # hidden is 0 in padding
        empty = ~valid.any(dim=1, keepdim=True)  # (B * S, 1, 1)
        # A segment without a frame is pooled as one of zeros, and has no weight.
        log_y, log_not_y = self.base.pool(logits, hidden, valid | empty)
        logit = (log_y - log_not_y).masked_fill(empty[:, 0], 0.0)
        return joined(logit), joined(mean), joined(~empty)

    def penalty(self) -> Tensor | float:
        return self.base.penalty()

    def project_(self) -> None:
        self.base.project_()

    def learned(self) -> dict[str, list[float]]:
        return self.base.learned()


def _make_base(name: str, options: Options, n_classes: int, hidden_size: int) -> Pooling:
    cls = find(FLAT_POOLINGS, "pooling", name, Pooling)
    return cls.from_options(name, options, n_classes, hidden_size)


def _read_levels(levels: str | float | Sequence[int]) -> tuple[int, ...]:
    """Return the levels of a text such as ``5x4``, of one number, or of a sequence."""
    sizes: list[float]
    if isinstance(levels, str):
        parts = levels.split("x")
        sizes = [float(part) if re.fullmatch("[0-9]{1,5}", part) else 0 for part in parts]
    else:
        sizes = [levels] if isinstance(levels, int | float) else list(levels)
    if not (
        1 <= len(sizes) <= _MOST_LEVELS and all(2 <= s <= _LONGEST and s % 1 == 0 for s in sizes)
    ):
        raise ConfigError(
            f"levels of hierarchical pooling are up to {_MOST_LEVELS} whole numbers from 2 to "
            f"{_LONGEST}, such as 5x4, not {quoted(levels)}"
        )
    return tuple(int(size) for size in sizes)
