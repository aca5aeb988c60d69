"""Features of the recordings to come, computed in threads while the network is busy."""

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from sedtool.inference.scoring import Recording

__all__ = ["prefetch"]

_BLOCKS_AHEAD = 64  # of a recording, about two minutes: a longer one waits to be consumed


@dataclass(frozen=True)
class _Ahead:
    """A recording whose blocks a thread puts into a queue; None, or an error, ends them."""

    recording: Recording
    blocks: "queue.Queue[np.ndarray | Exception | None]"

    def fill(self, stop: threading.Event) -> None:
        try:
            for block in self.recording.blocks():
                if not self._put(block, stop):
                    return
            self._put(None, stop)
        except Exception as error:  # whatever it is belongs to who reads the blocks
            self._put(error, stop)

    def _put(self, item: "np.ndarray | Exception | None", stop: threading.Event) -> bool:
        while not stop.is_set():
            try:
                self.blocks.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def read(self) -> Iterator[np.ndarray]:
        while (item := self.blocks.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item


def prefetch(recordings: Iterable[Recording], workers: int) -> Iterator[Recording]:
    """Yield the same recordings in the same order, their features computed ahead.

    Parameters
    ----------
    recordings
        Each is read once, in the order they are yielded.
    workers
        Threads; 1 computes features when they are asked for, without a thread.
    """
    if workers == 1:
        yield from recordings
        return
    stop = threading.Event()
    waiting = iter(recordings)
    ahead: deque[_Ahead] = deque()
    executor = ThreadPoolExecutor(workers)
    try:
        while True:
            for recording in islice(waiting, workers + 1 - len(ahead)):
                ahead.append(_Ahead(recording, queue.Queue(_BLOCKS_AHEAD)))
                executor.submit(ahead[-1].fill, stop)
            if not ahead:
                return
            next_one = ahead.popleft()
            yield replace(next_one.recording, blocks=next_one.read)
    finally:
        stop.set()
        executor.shutdown(cancel_futures=True)
