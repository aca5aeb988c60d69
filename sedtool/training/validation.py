"""The held-out clips, scored as `infer` would score them.

Axis letters: B scoring windows in a batch, T frames, F mel bands, K classes.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sedtool.checkpoint import Model
from sedtool.config import TrainConfig, TuneConfig, WindowConfig
from sedtool.datasets import Clips, ValidationClips
from sedtool.errors import ArtifactError
from sedtool.fitting import best_clip_thresholds, clip_f1, macro, tune_events
from sedtool.losses import make_loss
from sedtool.scoring import Prediction, WindowGrid, cut_windows, join_windows, predict
from sedtool.store import ClipScores

_THRESHOLDS, _LENGTHS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9), (0.0, 0.3, 1.0)  # seconds

# Of each clip, the first output frame of each scoring window, and what the model says of it.
Windows = list[list[tuple[int, Prediction]]]


def validate(
    model: Model,
    validation: ValidationClips,
    config: TrainConfig,
    device: torch.device,
    pause: Callable[[], None],
) -> dict[str, Any]:
    """Score the validation clips, in scoring windows as long as the model's.

    Returns "loss" and "clip_f1" of the clips whose classes count, and, with strong labels,
    "event_f1". Both F1 are those of the best decoding settings, event F1 on a small grid: what
    fixed thresholds and median filters score says more of these than of the network. `pause` is
    called before each batch, and may raise. A FloatingPointError names the clips of a batch whose
    scores are not finite.
    """
    model.detector.eval()
    clips = validation.clips
    windows = _predict(model, clips, config, device, pause)
    # The clip probability is the maximum over the windows, and so its logarithms.
    log_y = np.stack([np.max([p.log_y for _, p in parts], axis=0) for parts in windows])
    log_not_y = np.stack([np.min([p.log_not_y for _, p in parts], axis=0) for parts in windows])
    n = validation.n_labelled
    labelled = [torch.from_numpy(values[:n]) for values in (log_y, log_not_y, clips.targets)]
    scores = {
        "loss": make_loss(config.loss).of_clips(*labelled).item(),
        "clip_f1": clip_f1(np.exp(log_y[:n]), clips.targets[:n]),
    }
    if validation.strong:
        gates, _ = best_clip_thresholds(np.exp(log_y[:n]), clips.targets[:n])
        decoding = replace(model.decoding, clip_thresholds=tuple(gates.tolist()))
        of_events = _joined(clips, windows, set(validation.strong.names))
        what = (validation.strong, model.classes, model.frame_rate, decoding)
        grid = TuneConfig(
            *(config.collar, config.offset_ratio, _THRESHOLDS), smoothing=(1,), windows=_LENGTHS
        )
        scores["event_f1"] = macro(tune_events(of_events, *what, grid).f1)
    return scores


def _predict(
    model: Model,
    clips: Clips,
    config: TrainConfig,
    device: torch.device,
    pause: Callable[[], None],
) -> Windows:
    """Score all clips, in their order; neighbouring windows share a batch."""
    windows: Windows = [[] for _ in clips.names]
    grid = WindowGrid.of(model, WindowConfig(model.window))
    cut = (
        (number, start, features)
        for number, name in enumerate(clips.names)
        for start, features in cut_windows([clips.features.clip(name)], grid)
    )
    while batch := list(itertools.islice(cut, config.total_batch_size)):
        pause()
        try:
            predictions = predict(model.detector, [part for *_, part in batch], device, config.amp)
        except ArtifactError:
            names = ", ".join(dict.fromkeys(clips.names[number] for number, *_ in batch))
            raise FloatingPointError(
                f"the validation scores are not finite, of these clips: {names}"
            ) from None
        for (number, start, _), prediction in zip(batch, predictions, strict=True):
            windows[number].append((start // grid.step, prediction))
    return windows


def _joined(clips: Clips, windows: Windows, names: set[str]) -> list[ClipScores]:
    """Return the scores of the clips of these names, over all their windows."""
    scores = []
    for name, parts in zip(clips.names, windows, strict=True):
        if name in names:
            starts, predictions = zip(*parts, strict=True)
            scores.append(join_windows(name, clips.features.duration(name), starts, predictions))
    return scores
