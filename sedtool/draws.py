"""Random draws as pure functions of what they are for, so that a resumed run repeats them.

No generator has a state that outlives a call: each is made from (purpose, seed, epoch, step,
index), whatever was drawn before, by however many workers.
"""

import contextlib
import hashlib
from collections.abc import Iterator

import numpy as np
import torch

__all__ = ["MOST_UNEQUAL", "Sampler", "draw_normal", "generator", "torch_draws"]

MOST_UNEQUAL = 10  # times the clips of a class may another have before classes are balanced


def _entropy(purpose: str, key: tuple[int, ...]) -> list[int]:
    tag = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
    return [tag, *key]


def generator(purpose: str, *key: int) -> np.random.Generator:
    """Return a numpy generator that depends on `purpose` and `key` alone."""
    return np.random.default_rng(np.random.SeedSequence(_entropy(purpose, key)))


@contextlib.contextmanager
def torch_draws(device: torch.device, purpose: str, *key: int) -> Iterator[None]:
    """Seed torch's global generators from `purpose` and `key` inside the block, restore them after.

    For what cannot be handed a generator: weight initialisation and dropout.
    """
    high, low = np.random.SeedSequence(_entropy(purpose, key)).generate_state(2, np.uint32)
    seed = int(high) << 31 | int(low)  # torch takes 63 bits
    on_cpu = device.type == "cpu"  # whose generator is always forked
    with torch.random.fork_rng(
        [] if on_cpu else [device], device_type="cuda" if on_cpu else device.type
    ):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every device
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)
        yield


def draw_normal(weight: torch.Tensor, mean: float, std: float) -> None:
    """Draw initial weights from N(mean, std²), but not those of a network without memory.

    For such a tensor torch would load what it compiles with, which takes longer than a second.
    """
    if not weight.is_meta:
        torch.nn.init.normal_(weight, mean, std)


class Sampler:
    """Endless draws of clip numbers; draw g is a pure function of (seed, g).

    With ``balance="classes"`` there is one queue a class, each shuffled anew whenever it has been
    gone through, and draws go round the queues: every class is equally often the reason a clip is
    drawn. Clips without any label form one more queue. With ``"none"`` there is a single queue.
    With ``"auto"`` it is classes where one has more than ten times the clips of another, and else
    none: queues draw a clip as often as it has classes, so that busy clips count more than they
    occur. `balance` says which it is. `targets` are weak labels (clips, K); `purpose` tells several
    samplers of one seed apart.

    References
    ----------
    The round-robin queues are those of Y. Wang's system, on which the power-pooling paper's
    DCASE 2017 experiment builds; there a class is a set of files.
    """

    def __init__(
        self, targets: np.ndarray, balance: str, seed: int, purpose: str = "sampler"
    ) -> None:
        self.seed, self.purpose, self.balance = seed, purpose, balance
        if balance == "auto":
            counts = np.count_nonzero(targets > 0, axis=0)
            counts = counts[counts > 0]
            is_unequal = len(counts) > 0 and counts.max() > MOST_UNEQUAL * counts.min()
            self.balance = "classes" if is_unequal else "none"
        if self.balance == "classes":
            queues = [np.flatnonzero(column) for column in targets.T > 0]
            queues.append(np.flatnonzero(~(targets > 0).any(axis=1)))
        else:
            queues = [np.arange(len(targets))]
        self.queues = [queue for queue in queues if len(queue)]
        self._shuffled: dict[int, tuple[int, np.ndarray]] = {}  # queue -> (pass, order)

    def indices(self, start: int, count: int) -> list[int]:
        """Return the clips of draws start, …, start + count - 1."""
        return [self._draw(number) for number in range(start, start + count)]

    def _draw(self, number: int) -> int:
        turn, queue = divmod(number, len(self.queues))
        clips = self.queues[queue]
        passes, position = divmod(turn, len(clips))
        if self._shuffled.get(queue, (-1,))[0] != passes:
            order = generator(self.purpose, self.seed, queue, passes).permutation(clips)
            self._shuffled[queue] = (passes, order)
        return int(self._shuffled[queue][1][position])
