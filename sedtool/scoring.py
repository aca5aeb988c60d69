"""Model + features -> scores of each clip: the network on arrays.

A clip longer than the model's window is cut into overlapping scoring windows; the probabilities of
frames that several windows cover are averaged, so no event breaks at a seam. Windows are cut from
a stream of features, so an hour needs no more memory than its scores.

Axis letters: B scoring windows in a batch, W of a clip, T frames, F mel bands, K classes.
"""

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Self

import numpy as np
import torch

from sedtool.checkpoint import Model
from sedtool.config import InferConfig, WindowConfig
from sedtool.crnn import Detector, Ensemble
from sedtool.datasets import FeatureSet
from sedtool.errors import ArtifactError, AudioError
from sedtool.features import overlapping
from sedtool.machine import autocast
from sedtool.store import ClipScores

_BLOCKS_AHEAD = 64  # of a clip, about two minutes: a longer one waits to be consumed
_FRAMES_AT_ONCE = 4096  # read from a features file
WINDOW_MEMORY = 2**27  # bytes, of the network on one scoring window of a batch


@dataclass(frozen=True)
class Prediction:
    """What a detector says about one scoring window."""

    frame: np.ndarray  # float32 (T', K), frame probabilities
    log_y: np.ndarray  # float32 (K,), log of the clip probability
    log_not_y: np.ndarray  # float32 (K,), log of one minus it


@dataclass(frozen=True)
class ClipFeatures:
    """A clip on its way to the network.

    `blocks` yields its features (t, F) in order; `duration` is asked for at the end.
    """

    name: str
    blocks: Callable[[], Iterable[np.ndarray]]
    duration: Callable[[], float]  # seconds


@dataclass(frozen=True)
class Failure:
    """A clip that could not be scored."""

    name: str
    error: str


@torch.inference_mode()
def predict(
    detector: Detector | Ensemble,
    windows: Sequence[np.ndarray],
    device: torch.device,
    amp: str = InferConfig.amp,
) -> list[Prediction]:
    """Run the detector, in evaluation mode, over scoring windows (T, F) as one padded batch."""
    lengths = torch.tensor([len(window) for window in windows])
    batch = np.zeros((len(windows), int(lengths.max()), windows[0].shape[1]), np.float32)
    for row, window in enumerate(windows):
        batch[row, : len(window)] = window
    with autocast(device, amp):
        output = detector(torch.from_numpy(batch).to(device), lengths.to(device))
    frame = output.logits.float().sigmoid().cpu().numpy()
    log_y, log_not_y = output.log_y.cpu().numpy(), output.log_not_y.cpu().numpy()
    if not (np.isfinite(frame).all() and np.isfinite(log_y).all()):
        raise ArtifactError("the model's scores are not finite; try --amp off")
    valid = output.mask.sum(dim=1).tolist()
    return [
        Prediction(frame[row, : valid[row]], log_y[row], log_not_y[row])
        for row in range(len(windows))
    ]


@dataclass(frozen=True)
class WindowGrid:
    """How features are cut for the network, in feature frames."""

    size: int  # of a scoring window, a multiple of `step`
    hop: int  # from one window to the next, a multiple of `step`
    step: int  # that become one output frame

    @classmethod
    def of(cls, model: Model, config: WindowConfig) -> Self:
        """Return the grid of a model for scoring windows in seconds."""
        step = model.architecture.time_pooling
        # Rounded up, as frames are: a clip as long as the window is one window, however rounded.
        n_steps = math.ceil(config.window * model.features.frame_rate / step - 1e-6)
        size = max(n_steps, 1) * step
        return cls(size, max(round(size * (1 - config.overlap) / step), 1) * step, step)


def windows_of(model: Model, config: InferConfig) -> WindowConfig:
    """Return how clips are cut for the network, in seconds."""
    seconds = model.window if config.window is None else config.window
    return WindowConfig(seconds, config.overlap, config.batch_size)


def cut_windows(blocks: Iterable[np.ndarray], grid: WindowGrid) -> Iterator[tuple[int, np.ndarray]]:
    """Cut a stream of features (t, F) into scoring windows, and say at which frame each begins.

    Little more than one window is held in memory. The last is as long as the others and ends where
    the clip does, give or take a step.
    """
    size, hop = grid.size, grid.hop
    before: np.ndarray | None = None  # the last whole window
    for number, window in enumerate(overlapping(blocks, size, hop)):
        start = number * hop
        if len(window) == size:
            yield start, window
            before = window
        elif before is None:
            yield start, window
        elif len(window) > size - hop:  # it has frames that are in no window
            tail = math.ceil((start + len(window) - size) / grid.step) * grid.step
            yield tail, np.concatenate([before[:hop], window])[tail - start + hop :]


def score_clips(
    model: Model,
    clips: Iterable[ClipFeatures],
    config: WindowConfig,
    device: torch.device,
    amp: str = InferConfig.amp,
) -> Iterator[ClipScores | Failure]:
    """Score clips, in their order; one that cannot be read becomes a Failure.

    The windows of one clip share batches, those of several never do: what a clip scores then
    depends on nothing beside it, so that shards, reruns and bad files among the inputs change no
    bit. (On a CPU larger batches gain next to nothing.)
    """
    detector = model.network.to(device).eval()
    grid = WindowGrid.of(model, config)
    of_window = grid.size * detector.frame_memory
    batch_size = max(config.batch_size * min(WINDOW_MEMORY / of_window, 1), 1)
    for clip in clips:
        starts: list[int] = []
        predictions: list[Prediction] = []
        try:
            windows = cut_windows(clip.blocks(), grid)
            while batch := list(islice(windows, int(batch_size))):
                starts += [start // grid.step for start, _ in batch]
                predictions += predict(detector, [window for _, window in batch], device, amp)
            scored: ClipScores | Failure = join_windows(
                clip.name, clip.duration(), starts, predictions
            )
        except AudioError as error:
            scored = Failure(clip.name, str(error))
        yield scored


def join_windows(
    name: str, duration: float, starts: Sequence[int], predictions: Sequence[Prediction]
) -> ClipScores:
    """Return the scores of a clip of several windows, averaged where windows overlap.

    `starts` are the first output frames of the windows, ascending.
    """
    frames = [len(prediction.frame) for prediction in predictions]
    total = np.zeros((starts[-1] + frames[-1], predictions[0].frame.shape[1]))
    count = np.zeros((len(total), 1))
    for start, n, prediction in zip(starts, frames, predictions, strict=True):
        total[start : start + n] += prediction.frame
        count[start : start + n] += 1
    return ClipScores(
        name,
        duration,
        (total / count).astype(np.float32),
        np.array(starts),
        np.array(frames),
        np.exp(np.minimum([prediction.log_y for prediction in predictions], 0.0)),
    )


def stored_clip(features: FeatureSet, name: str) -> ClipFeatures:
    """Return a clip of features files."""

    def blocks() -> Iterator[np.ndarray]:
        yield from features.blocks(name, _FRAMES_AT_ONCE)

    return ClipFeatures(name, blocks, lambda: features.duration(name))


@dataclass(frozen=True)
class _Ahead:
    """A clip whose blocks a thread puts into a queue; None, or an error, ends them."""

    clip: ClipFeatures
    blocks: "queue.Queue[np.ndarray | Exception | None]"

    def fill(self, stop: threading.Event) -> None:
        try:
            for block in self.clip.blocks():
                if not self._put(block, stop):
                    return
            self._put(None, stop)
        except Exception as error:  # raised again where the blocks are read
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


def prefetch(clips: Iterable[ClipFeatures], workers: int) -> Iterator[ClipFeatures]:
    """Yield the same clips in the same order, their features computed ahead by threads.

    One worker computes features when they are asked for, without a thread.
    """
    if workers == 1:
        yield from clips
        return
    stop = threading.Event()
    waiting = iter(clips)
    ahead: deque[_Ahead] = deque()
    executor = ThreadPoolExecutor(workers)
    try:
        while True:
            for clip in islice(waiting, workers + 1 - len(ahead)):
                ahead.append(_Ahead(clip, queue.Queue(_BLOCKS_AHEAD)))
                executor.submit(ahead[-1].fill, stop)
            if not ahead:
                return
            next_one = ahead.popleft()
            yield replace(next_one.clip, blocks=next_one.read)
    finally:
        stop.set()
        executor.shutdown(cancel_futures=True)
