"""Labels of validation clips -> decoding settings, written into the model."""

import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sedtool.atomic import claim
from sedtool.checkpoint import Model, load_model, save_model, source_tags
from sedtool.config import DEVICE, DecodingConfig, TuneConfig, TuneInputs, WindowConfig
from sedtool.datasets import Clips, FeatureSet, ValidationClips
from sedtool.errors import LabelError
from sedtool.labels import Vocabulary, read_events
from sedtool.machine import pick_device
from sedtool.scoring import Failure, score_clips, stored_clip
from sedtool.store import ClipScores
from sedtool.text import file_sha256
from sedtool.tuning.fit import lengths_from_durations, macro, tune_clips, tune_events

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuneResult:
    """What was fitted; scores are on the validation clips themselves, so they flatter."""

    n_clips: int
    clip_f1: float  # macro over the classes that have a positive clip
    event_f1: float | None  # macro over the classes that have an event; None without strong labels
    seconds: float  # that it took

    def __str__(self) -> str:
        """Return one line for a summary."""
        event = "" if self.event_f1 is None else f", event F1 {self.event_f1:.3f}"
        return (
            f"fitted on {self.n_clips} clips in {self.seconds:.1f} s: clip F1 {self.clip_f1:.3f}"
            f"{event} (on these clips)"
        )


def tune(
    model_path: Path,
    inputs: TuneInputs,
    config: TuneConfig,
    *,
    device: str = DEVICE,
    progress: Callable[[int, int, str], None] | None = None,
) -> TuneResult:
    """Fit decoding settings on validation labels and write them into the model.

    Clip thresholds maximise clip F1: of the weak labels if there are any, else of the classes of
    the strong ones. With strong labels, frame thresholds and median filter lengths maximise event
    F1 on the grid of `config`; lengths that are given outright are left alone.

    Raises
    ------
    LabelError
        If a clip was trained on, or labels and features do not belong together.
    ArtifactError
        If the features are not of the model's kind.
    ResourceError
        If the model is being trained or tuned by another process, or the disk is full; the model
        is then as it was.
    """
    started = time.monotonic()
    with claim(model_path, overwrite=True):
        model = load_model(model_path)
        n_clips, clip_f1, event_f1 = _fit(model, inputs, config, device, progress)
        save_model(model_path, model)
    return TuneResult(
        n_clips,
        macro(clip_f1),
        None if event_f1 is None else macro(event_f1),
        time.monotonic() - started,
    )


def _fit(
    model: Model,
    inputs: TuneInputs,
    config: TuneConfig,
    device: str,
    progress: Callable[[int, int, str], None] | None,
) -> tuple[int, np.ndarray, np.ndarray | None]:
    """Fit the settings of `model`; return the number of clips, and clip and event F1 by class."""
    features = FeatureSet(inputs.features, inputs.partial)
    features.require(model.features)
    validation = ValidationClips.read(
        features, inputs.weak, inputs.reference, Vocabulary(model.classes), inputs.missing
    )
    clips, n, strong = validation.clips, validation.n_labelled, validation.strong
    _refuse_training_clips(model, clips)
    scores = _score(model, clips, device, progress)

    clip_scores = np.stack([clip.clip for clip in scores[:n]])
    decoding, clip_f1 = tune_clips(clip_scores, clips.targets[:n], model.decoding)
    for label, f1 in zip(model.classes, clip_f1, strict=True):
        if np.isnan(f1):
            log.warning("no validation clip has %r; its threshold is 0.5", label)
    decoding = _with_lengths(inputs, model.classes, decoding, config)
    event_f1 = None
    if strong is not None:
        with_events = set(strong.names)
        of_events = [clip for clip in scores if clip.name in with_events]
        grid = config
        if inputs.durations_from is not None or inputs.window is not None:
            grid = dataclasses.replace(config, windows=())
        decoding, event_f1 = tune_events(
            of_events, strong, model.classes, model.frame_rate, decoding, grid
        )
    model.decoding = decoding
    model.tuned = _provenance(model, inputs, config, clip_f1, event_f1, len(scores))
    return len(scores), clip_f1, event_f1


def _refuse_training_clips(model: Model, clips: Clips) -> None:
    trained = {bytes(tag) for tag in model.trained_on}
    pairs = zip(clips.names, clips.sources(), strict=True)
    both = [name for name, source in pairs if bytes(source_tags([source])[0]) in trained]
    if both:
        raise LabelError(
            f"the model was trained on {len(both)} of {len(clips)} clips, e.g. {both[0]!r}; "
            "tune on clips it has not seen"
        )


def _score(
    model: Model, clips: Clips, device: str, progress: Callable[[int, int, str], None] | None
) -> list[ClipScores]:
    stored = (stored_clip(clips.features, name) for name in clips.names)
    scores: list[ClipScores] = []
    windows = WindowConfig(model.window)
    for clip in score_clips(model, stored, windows, pick_device(device)):
        if isinstance(clip, Failure):
            raise LabelError(f"{clip.name}: {clip.error}")
        scores.append(clip)
        if progress:
            progress(len(scores), len(clips), clip.name)
    return scores


def _with_lengths(
    inputs: TuneInputs, classes: tuple[str, ...], decoding: DecodingConfig, config: TuneConfig
) -> DecodingConfig:
    """Set the median filter lengths from what was given, else to the default."""
    seconds = decoding.window if inputs.window is None else inputs.window
    decoding = dataclasses.replace(decoding, windows=(seconds,) * len(classes))
    if inputs.durations_from is None:
        return decoding
    labels = read_events(inputs.durations_from)
    decoding, without = lengths_from_durations(labels, classes, decoding, config)
    if without:
        log.warning(
            "%s has no event of %s; their median filter length is %g s",
            inputs.durations_from,
            ", ".join(without),
            seconds,
        )
    return decoding


def _provenance(
    model: Model,
    inputs: TuneInputs,
    config: TuneConfig,
    clip_f1: np.ndarray,
    event_f1: np.ndarray | None,
    n_clips: int,
) -> dict[str, Any]:
    """Return where the settings come from, as the model file keeps it."""

    def by_class(values: np.ndarray) -> dict[str, float | None]:
        pairs = zip(model.classes, values.tolist(), strict=True)
        return {label: None if value != value else value for label, value in pairs}

    files = (inputs.reference, inputs.weak, inputs.durations_from)
    return {
        "files": {str(path): file_sha256(path) for path in files if path is not None},
        "clips": n_clips,
        "clip_f1": by_class(clip_f1),
        "event_f1": None if event_f1 is None else by_class(event_f1),
        "grid": dataclasses.asdict(config) if event_f1 is not None else None,
        "weights_sha256": model.weights_sha256,
    }
