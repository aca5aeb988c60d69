"""Model + features -> scores of each recording.

A recording longer than the model's window is cut into overlapping windows; the probabilities of
frames that several windows cover are averaged, so no event breaks at a seam. Windows are cut from
a stream of features, so an hour needs no more memory than its scores.

Axis letters: B windows in a batch, T frames, F mel bands, K classes, W windows of a recording.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from sedtool.checkpoint import Model
from sedtool.config import WindowConfig
from sedtool.crnn import Detector
from sedtool.decoding import ClipScores
from sedtool.errors import ArtifactError, AudioError, ConfigError, ResourceError

__all__ = [
    "Failure",
    "Prediction",
    "Recording",
    "autocast",
    "pick_device",
    "predict",
    "score_recordings",
]

_AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Prediction:
    """What a detector says about one window of features."""

    frame: np.ndarray  # float32 (T', K), frame probabilities
    log_y: np.ndarray  # float32 (K,), log of the clip probability
    log_not_y: np.ndarray  # float32 (K,), log of one minus it


@dataclass(frozen=True)
class Recording:
    """A source of features: `blocks` yields arrays (t, F); `duration` is asked for at the end."""

    name: str
    blocks: Callable[[], Iterable[np.ndarray]]
    duration: Callable[[], float]  # seconds


@dataclass(frozen=True)
class Failure:
    """A recording that could not be scored."""

    name: str
    error: str


def pick_device(name: str) -> torch.device:
    """Return the device of a name: auto, cpu, cuda, cuda:1, mps.

    Raises
    ------
    ConfigError
        If there is no such kind of device.
    ResourceError
        If this machine, or this build of torch, does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:1 or mps") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:1 or mps")
    available = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }[device.type]
    if (device.index or 0) >= available:
        raise ResourceError(f"device {name} is not there: this torch sees {available} of its kind")
    return device


def autocast(device: torch.device, amp: str) -> torch.autocast:
    """Return the autocast context of ``--amp off|bf16|fp16``."""
    if amp not in ("off", *_AMP):
        raise ConfigError(f"amp must be off, bf16 or fp16, not {amp!r}")
    return torch.autocast(device.type, dtype=_AMP.get(amp), enabled=amp != "off")


@torch.inference_mode()
def predict(
    detector: Detector, windows: Sequence[np.ndarray], device: torch.device, amp: str = "off"
) -> list[Prediction]:
    """Run the detector, in evaluation mode, over windows of features (T, F) as one padded batch."""
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


def cut_windows(
    blocks: Iterable[np.ndarray], size: int, hop: int, grid: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Cut a stream of features into windows, holding little more than one in memory.

    Parameters
    ----------
    blocks
        Arrays (t, F), in order.
    size, hop, grid
        Frames of a window, and from one window to the next, both multiples of `grid`, the frames
        of the network's output step. The last window is as long as the others and ends where the
        recording does, give or take the grid.

    Yields
    ------
    tuple of int and numpy.ndarray
        First frame of the window, and its features (t, F).
    """
    held: list[np.ndarray] = []
    first, length, start = 0, 0, 0  # first frame held, frames held, start of the next window
    emitted = 0  # end of the last window
    for block in blocks:
        held.append(block)
        length += len(block)
        while first + length >= start + size:
            held = [np.concatenate(held)] if len(held) > 1 else held
            yield start, held[0][start - first : start - first + size]
            emitted, start = start + size, start + hop
            drop = start - hop - first  # the last window may reach back to where this one began
            held, first, length = [held[0][drop:]], first + drop, length - drop
    end = first + length
    if end > emitted:
        tail = max(-(-(end - size) // grid) * grid, 0) if emitted else 0
        yield tail, np.concatenate(held)[tail - first :]


@dataclass
class _Scored:
    """A recording on its way through the network."""

    recording: Recording
    windows: list[tuple[int, Prediction]] = field(default_factory=list)
    n_windows: int = 0  # cut so far
    complete: bool = False  # all windows are cut
    error: str = ""

    def finished(self) -> bool:
        return self.complete and len(self.windows) == self.n_windows

    def result(self, grid: int) -> ClipScores | Failure:
        if self.error:
            return Failure(self.recording.name, self.error)
        starts = np.array([start // grid for start, _ in self.windows])
        frames = np.array([len(p.frame) for _, p in self.windows])
        total = np.zeros((int((starts + frames).max()), self.windows[0][1].frame.shape[1]))
        count = np.zeros((len(total), 1))
        for start, n, (_, prediction) in zip(starts, frames, self.windows, strict=True):
            total[start : start + n] += prediction.frame
            count[start : start + n] += 1
        return ClipScores(
            self.recording.name,
            self.recording.duration(),
            (total / count).astype(np.float32),
            starts,
            frames,
            np.exp(np.minimum([p.log_y for _, p in self.windows], 0.0)),
        )


def score_recordings(
    model: Model,
    recordings: Iterable[Recording],
    config: WindowConfig,
    device: torch.device,
    amp: str = "off",
) -> Iterator[ClipScores | Failure]:
    """Score recordings, in their order; one that cannot be read becomes a Failure.

    Windows of several recordings share a batch, so results may lag `config.batch_size` behind.
    """
    detector = model.detector.to(device).eval()
    grid = model.architecture.time_pooling
    # Rounded up, as frames are: a clip as long as the window is one window, however it is rounded.
    size = math.ceil(config.window * model.features.frame_rate / grid - 1e-6) * grid
    hop = max(round(size * (1 - config.overlap) / grid), 1) * grid
    waiting: deque[_Scored] = deque()
    pending: list[tuple[_Scored, int, np.ndarray]] = []

    def run() -> None:
        if pending:
            predictions = predict(detector, [window for *_, window in pending], device, amp)
            for (scored, start, _), prediction in zip(pending, predictions, strict=True):
                scored.windows.append((start, prediction))
        pending.clear()

    for recording in recordings:
        scored = _Scored(recording)
        waiting.append(scored)
        try:
            for start, window in cut_windows(recording.blocks(), size, hop, grid):
                pending.append((scored, start, window))
                scored.n_windows += 1
                if len(pending) >= config.batch_size:
                    run()
        except AudioError as error:
            scored.error = str(error)
        scored.complete = True
        while waiting and waiting[0].finished():
            yield waiting.popleft().result(grid)
    run()
    for scored in waiting:
        yield scored.result(grid)
