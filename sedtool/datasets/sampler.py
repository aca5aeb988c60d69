"""Which clips a batch holds: a function of (seed, number of the draw) alone.

Axis letters: K classes.
"""

import numpy as np

from sedtool.draws import generator

__all__ = ["Sampler"]


class Sampler:
    """Endless draws of clip numbers; draw g is a pure function of (seed, g).

    With ``balance="classes"`` there is one queue a class, each shuffled anew whenever it has been
    gone through, and draws go round the queues: every class is equally often the reason a clip is
    drawn. Clips without any label form one more queue. With ``"none"`` there is a single queue.

    Parameters
    ----------
    targets
        Weak labels, shape (clips, K).
    balance
        "classes" or "none".
    seed
        Of the shuffling.
    purpose
        Tells the draws of several samplers of one seed apart.

    References
    ----------
    The round-robin queues are those of Y. Wang's system, on which the power-pooling paper's
    DCASE 2017 experiment builds; there a class is a set of files.
    """

    def __init__(
        self, targets: np.ndarray, balance: str, seed: int, purpose: str = "sampler"
    ) -> None:
        self.seed, self.purpose = seed, purpose
        if balance == "classes":
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
