"""Validation labels -> thresholds and median filter lengths, written into the model.

`tune` is the stage on files; what suits best is found in `sedtool.fitting`.

Axis letters: K classes.
"""

import dataclasses
import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sedtool.atomic import claim
from sedtool.checkpoint import Model, load_model, save_model, source_tags
from sedtool.config import (
    DEVICE,
    DecodingConfig,
    TuneConfig,
    TuneInputs,
    WindowConfig,
)
from sedtool.config.base import require
from sedtool.datasets import Clips, FeatureSet, ValidationClips
from sedtool.decoding import median_frames
from sedtool.errors import LabelError
from sedtool.fitting import (
    FittedEvents,
    best_clip_thresholds,
    lengths_from_durations,
    lengths_that_leave_events,
    macro,
    tune_events,
)
from sedtool.labels import StrongLabels, Vocabulary, read_reference
from sedtool.machine import pick_device
from sedtool.scoring import Failure, score_clips, stored_clip
from sedtool.store import ClipScores
from sedtool.text import file_sha256, first_five, first_quoted, quoted

__all__ = ["TuneInputs", "TuneResult", "fit_decoding", "tune"]

_KNOWN, _NOWHERE, _ENOUGH = 0.8, 0.1, 5  # clip F1 from, event F1 below, clips with events

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuneResult:
    """What was fitted; scores are on the validation clips themselves, so they flatter."""

    n_clips: int
    clip_f1: float  # macro over the classes that have a positive clip
    event_f1: float | None  # macro over the classes that have an event; None without strong labels
    held_out: float | None  # the same of each fold of the clips, fitted to the others
    seconds: float = 0.0  # that it took

    def __str__(self) -> str:
        """Return one line for a summary."""
        event, other = "", ""
        if self.event_f1 is not None:
            event = f", event F1 {self.event_f1:.3f}"
            other = f"; event F1 of each fifth, fitted to the others: {self.held_out:.3f}"
        return (
            f"fitted on {self.n_clips} clips in {self.seconds:.1f} s: clip F1 {self.clip_f1:.3f}"
            f"{event} (on these clips{other})"
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
    the strong ones. With strong labels, frame thresholds and median filter lengths are those of
    `tune_events` on the grid of `config`; lengths that are given outright are left alone.

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
        fitted = _fit(model, inputs, config, device, progress)
        save_model(model_path, model)
    return dataclasses.replace(fitted, seconds=time.monotonic() - started)


def _fit(
    model: Model,
    inputs: TuneInputs,
    config: TuneConfig,
    device: str,
    progress: Callable[[int, int, str], None] | None,
) -> TuneResult:
    """Fit the settings of `model` to the labels of `inputs`."""
    are_given = inputs.durations_from is not None or inputs.window is not None
    if config.decoder != "median":
        what = f"--decoder {config.decoder}"
        require(inputs.reference is not None, f"{what} needs strong labels: --reference STRONG.tsv")
        given = "--window and --durations-from set the median filter lengths"
        require(not are_given, f"{given}, which {what} fits or has none of; leave one out")
    features = FeatureSet(inputs.features, inputs.partial)
    features.require(model.features)
    vocabulary = Vocabulary(model.classes, "the model has no others; leave their rows out")
    validation = ValidationClips.read(features, inputs.weak, inputs.reference, vocabulary, inputs)
    _refuse_training_clips(model, validation.clips)
    model.decoding = _with_lengths(inputs, model, validation.strong, config)
    model.decoding.require_rate(model.frame_rate)
    grid = dataclasses.replace(config, windows=()) if are_given else config
    files = (inputs.reference, inputs.weak, inputs.durations_from)
    digests = {str(path): file_sha256(path) for path in files if path is not None}
    return fit_decoding(model, validation, digests, grid, pick_device(device), progress)


def fit_decoding(
    model: Model,
    validation: ValidationClips,
    files: Mapping[str, str],
    config: TuneConfig,
    device: torch.device,
    progress: Callable[[int, int, str], None] | None = None,
) -> TuneResult:
    """Fit the decoding settings of a model to validation clips that it has not seen.

    Clip thresholds are fitted to the labelled clips, and with strong labels frame thresholds and
    median filter lengths, or boxes, on the grid of `config`; see `tune`. Without them, filters that
    leave nothing of what clips are known to have are shortened, unless lengths are given. The model
    keeps what the settings were fitted on: `files`, digests by name.
    """
    clips, n, strong = validation.clips, validation.n_labelled, validation.strong
    scores = _score(model, clips, device, progress)
    clip_scores = np.stack([clip.clip for clip in scores[:n]])
    fitted, clip_f1 = best_clip_thresholds(clip_scores, clips.targets[:n])
    if without := [model.classes[k] for k in np.flatnonzero(np.isnan(clip_f1))]:
        log.warning("no validation clip has %s; the threshold is 0.5", first_quoted(without))
    # Frames use the same thresholds until strong labels say better, as in the system that the
    # power-pooling paper's DCASE 2017 experiment builds on.
    thresholds = tuple(fitted.tolist())
    decoding = dataclasses.replace(
        model.decoding, clip_thresholds=thresholds, thresholds=thresholds
    )
    of_events = None
    if strong is not None:
        with_events = set(strong.names)
        with_labels = [clip for clip in scores if clip.name in with_events]
        of_events = tune_events(
            with_labels, strong, model.classes, model.frame_rate, decoding, config
        )
        decoding = of_events.decoding
        _warn_of_classes_nowhere(strong, model, clip_f1, of_events.f1)
    elif config.windows:
        what = (scores[:n], clips.targets[:n], model.frame_rate, decoding, config)
        decoding = lengths_that_leave_events(*what)
    model.decoding = decoding
    model.tuned = _provenance(model, files, config, clip_f1, of_events, len(scores))
    event_f1 = (macro(of_events.f1), macro(of_events.held_out)) if of_events else (None, None)
    return TuneResult(len(scores), macro(clip_f1), *event_f1)


def _warn_of_classes_nowhere(
    strong: StrongLabels, model: Model, clip_f1: np.ndarray, event_f1: np.ndarray
) -> None:
    """Warn of the classes that the model knows to be in a clip, but not where in it."""
    clips = Counter(label for _, label in {(event.name, event.label) for event in strong.events})
    enough = np.array([clips[label] >= _ENOUGH for label in model.classes])
    if (nowhere := enough & (clip_f1 >= _KNOWN) & (event_f1 < _NOWHERE)).any():
        faster = "with them a pooling that learns faster (--pooling-lr 1e-1), "
        log.warning(
            "the model knows what and not where: %s (clip F1 of %g or more, event F1 below %g); "
            "finer frames help (extract --preset short, train --arch small:time-pooling=1), %sno "
            "GRU (gru-layers=0), and no pooling near the average; see docs/short-sounds.md",
            first_quoted(itertools.compress(model.classes, nowhere)),
            *(_KNOWN, _NOWHERE, faster if _is_slow(model) else ""),
        )


def _is_slow(model: Model) -> bool:
    """Return whether exponents of classes were learned at the learning rate of the network."""
    settings = model.trained.get("config")
    moves = model.learned() and [*model.detector.pooling.parameters()]
    if not (isinstance(settings, dict) and moves):
        return False  # nothing is learned of a class, or nobody knows how
    if settings.get("method") == "strong":
        return False  # it learns from frames alone
    rate = settings.get("pooling_lr") or model.pooling.rate or settings.get("lr")
    return bool(rate == settings.get("lr"))


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
    model: Model,
    clips: Clips,
    device: torch.device,
    progress: Callable[[int, int, str], None] | None,
) -> list[ClipScores]:
    stored = (stored_clip(clips.features, name) for name in clips.names)
    scores: list[ClipScores] = []
    windows = WindowConfig(model.window)
    for clip in score_clips(model, stored, windows, device):
        if isinstance(clip, Failure):
            raise LabelError(f"{clip.name}: {clip.error}")
        scores.append(clip)
        if progress:
            progress(len(scores), len(clips), clip.name)
    return scores


def _with_lengths(
    inputs: TuneInputs, model: Model, strong: StrongLabels | None, config: TuneConfig
) -> DecodingConfig:
    """Set the median filter lengths from what was given; else they stay."""
    decoding = model.decoding
    if inputs.window is not None:
        lengths = (inputs.window,) * len(model.classes)
        decoding = dataclasses.replace(decoding, windows=lengths, boxes=())
    elif inputs.durations_from is not None:
        labels = read_reference(inputs.durations_from, inputs.min_confidence)
        decoding, without = lengths_from_durations(labels, model.classes, decoding, config)
        strong = strong or labels
        if without:
            given = (inputs.durations_from, first_quoted(without))
            log.warning("%s has no event of %s; their median filter lengths stay", *given)
    else:
        return decoding
    if strong is not None:
        _warn_of_erased_events(strong, model, decoding)
    return decoding


def _warn_of_erased_events(strong: StrongLabels, model: Model, decoding: DecodingConfig) -> None:
    """Warn of classes of which the median filters leave less than half of the labelled events."""
    middle, erased = strong.median_durations(), []
    for label, length in zip(model.classes, decoding.windows, strict=True):
        longest = median_frames(length, model.frame_rate) // 2 / model.frame_rate
        if middle.get(label, math.inf) <= longest:
            erased.append(f"{quoted(label)} ({middle[label]:.3g} s, the filter {length:.3g} s)")
    if erased:
        log.warning(
            "the median filter erases half of the events or more of %s; give a shorter --window "
            "(0: no filter), or --reference alone, which fits the lengths",
            first_five(erased),
        )


def _provenance(
    model: Model,
    files: Mapping[str, str],
    config: TuneConfig,
    clip_f1: np.ndarray,
    of_events: FittedEvents | None,
    n_clips: int,
) -> dict[str, Any]:
    """Return where the settings come from, as the model file keeps it."""

    def by_class(values: np.ndarray) -> dict[str, float | None]:
        pairs = zip(model.classes, values.tolist(), strict=True)
        return {label: None if value != value else value for label, value in pairs}

    return {
        "files": dict(files),
        "clips": n_clips,
        "clip_f1": by_class(clip_f1),
        "event_f1": None if of_events is None else by_class(of_events.f1),
        "event_f1_held_out": None if of_events is None else by_class(of_events.held_out),
        "grid": None if of_events is None else dataclasses.asdict(config),
        "weights_sha256": model.weights_sha256,
    }
