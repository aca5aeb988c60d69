"""Label files and features -> the clips a run trains and validates on."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sedtool.checkpoint import Model
from sedtool.config import FEW_CLIPS, PoolingConfig, TrainConfig, TrainInputs
from sedtool.datasets import (
    Clips,
    FeatureSet,
    SoftTargets,
    TrainingBatches,
    TrainingClips,
    ValidationClips,
    frame_targets,
    weak_targets,
)
from sedtool.draws import MOST_UNEQUAL, generator
from sedtool.errors import ArtifactError, ConfigError, LabelError
from sedtool.labels import (
    Event,
    StrongLabels,
    Vocabulary,
    read_names,
    read_reference,
    read_soft,
    read_vocabulary,
    read_weak,
)
from sedtool.store import open_scores
from sedtool.text import first_five, first_quoted, quoted

_SAMPLED = 100  # clips whose mel values noise is compared with
_LEAST = 3  # training clips of a class; what fewer teach is a matter of luck
_SURE = 0.5  # confidence of an event that is validated on, where it is a target of training
_LOUD = 0.9  # share of these values below its standard deviation

log = logging.getLogger(__name__)

# What each method learns from; of the mean teacher's, any may be missing.
_SOURCES = {
    "weak": ("weak",),
    "strong": ("strong",),
    "mean-teacher": ("weak", "unlabelled", "strong"),
}


def load_inputs(
    inputs: TrainInputs, config: TrainConfig
) -> tuple[TrainingClips, ValidationClips, Vocabulary]:
    """Read everything a run needs.

    Without validation labels a seeded share of the labelled training clips is held out. Unlabelled
    clips that are validated on, under whatever name, are left out.

    Raises
    ------
    LabelError
        If labels and features do not belong together, or a labelled clip is both trained and
        validated on.
    ConfigError
        If the files are not those of the method, or the score to select by needs others.
    """
    _require_sources(inputs, config)
    if config.soft_confidence and inputs.min_confidence is None:
        inputs = replace(inputs, min_confidence=_SURE)
    features = FeatureSet(inputs.features, inputs.partial)
    clips, vocabulary = _training_clips(features, inputs, config)
    if inputs.val_weak or inputs.val_strong:
        given = (inputs.val_weak, inputs.val_strong, vocabulary, inputs)
        validation = ValidationClips.read(features, *given)
    else:
        clips, validation = _hold_out(clips, config, inputs.min_confidence)
    if config.soft_confidence and validation.strong:
        validation = replace(validation, strong=_joined(validation.strong))
    clips = _without(clips, validation.clips)
    labels = list(zip(vocabulary.classes, _n_clips(clips).tolist(), strict=True))
    if few := [f"{quoted(label)} ({count})" for label, count in labels if count < _LEAST]:
        what = "classes of fewer than %d training clips may not be learned, of none they cannot: %s"
        log.warning(what, _LEAST, first_five(few))
    validated = validation.clips.targets[: validation.n_labelled].sum(axis=0)
    if without := [vocabulary.classes[k] for k in np.flatnonzero(validated == 0)]:
        log.warning("no validation clip has %s; scores leave that out", first_quoted(without))
    if "event_f1" in config.select_by and validation.strong is None:
        raise ConfigError(
            f"--select-by {config.select_by} needs strong validation labels (--val-strong)"
        )
    if clips.soft and clips.soft.places.keys().isdisjoint(
        clips.weak.names + clips.unlabelled.names
    ):
        what = "no clip is left to learn from that has no strong labels, and is not validated on"
        raise ConfigError(f"{inputs.soft}: {what}; score others")
    return clips, validation, vocabulary


def _require_sources(inputs: TrainInputs, config: TrainConfig) -> None:
    """Raise a ConfigError unless the files are those that the method learns from."""
    sources = {"weak": inputs.weak, "unlabelled": inputs.unlabelled, "strong": inputs.strong}
    if idle := config.idle_settings():
        log.warning("method %s does not use %s", config.method, ", ".join(idle))
    given = [name for name, path in sources.items() if path is not None]
    used = _SOURCES[config.method]
    for name in given:
        if name not in used:
            others = " and ".join(method for method, used in _SOURCES.items() if name in used)
            raise ConfigError(
                f"method {config.method} does not learn from --{name}; those that do: {others}"
            )
    if not {"weak", "strong"} & set(given):
        needed = " or ".join(f"--{name}" for name in used if name != "unlabelled")
        raise ConfigError(f"method {config.method} needs labelled clips: {needed}")
    if config.soft_confidence and inputs.strong is None:
        raise ConfigError("--soft-confidence is of strong labels: --strong")
    if config.method == "mean-teacher":
        for name, size in zip(used, config.batch_size, strict=True):
            if name in given and not size:
                raise ConfigError(f"batch_size has no {name} clips, but --{name} is given")


def _training_clips(
    features: FeatureSet, inputs: TrainInputs, config: TrainConfig
) -> tuple[TrainingClips, Vocabulary]:
    """Read the labels to train from, and find their clips in the features."""
    vocabulary = read_vocabulary(inputs.classes) if inputs.classes else None

    def matched(names: Iterable[str], where: Path | None) -> dict[str, str]:
        return features.match(names, where, inputs.missing) if where else {}

    weak = read_weak(inputs.weak, vocabulary) if inputs.weak else {}
    of_weak = matched(weak, inputs.weak)
    strong = StrongLabels([], ())
    if inputs.strong and config.soft_confidence:
        strong = read_soft(inputs.strong)
    elif inputs.strong:
        strong = read_reference(inputs.strong, inputs.min_confidence)
    of_strong = matched(strong.names, inputs.strong)
    unlabelled = read_names(inputs.unlabelled) if inputs.unlabelled else []
    of_unlabelled = matched(unlabelled, inputs.unlabelled)
    if vocabulary is None:
        labels = {label for labels in weak.values() for label in labels}
        vocabulary = Vocabulary(
            sorted(labels | set(strong.classes)), "--classes gives another list"
        )
    vocabulary.require(strong.classes, inputs.strong or "")
    given = (strong.renamed(of_strong), vocabulary, inputs.strong, config.soft_confidence)
    with_strong, soft = _strong_clips(features, *given), None
    targets = weak_targets(weak, list(of_weak), vocabulary)
    with_weak = Clips(features, tuple(of_weak.values()), targets)
    others = dict.fromkeys(of_unlabelled.values())
    if inputs.soft:
        soft = _soft_targets(inputs, with_weak, with_strong, vocabulary)
        others |= dict.fromkeys(name for name in soft.places if name not in soft.allowed)
    unknown = np.zeros((len(others), len(vocabulary)), np.float32)
    clips = TrainingClips(with_weak, Clips(features, tuple(others), unknown), with_strong, soft)
    return clips, vocabulary


def _soft_targets(
    inputs: TrainInputs, weak: Clips, strong: Clips, vocabulary: Vocabulary
) -> SoftTargets:
    """Open scores, and find in them the clips that have features and no strong labels.

    Raises an ArtifactError or a ConfigError if they do not fit the features, or lack a class.
    """
    path, features = inputs.soft, weak.features
    assert path is not None
    try:
        scores = open_scores(path)
    except ArtifactError as error:
        what = "--soft takes the scores of `sedtool infer --scores`, or of `sedtool merge`"
        raise ArtifactError(f"{error}; {what}") from None
    if not (scores.shard.is_whole or inputs.partial):
        raise ArtifactError(f"{path}: scores of one shard; merge all, or --partial")
    if missing := [label for label in vocabulary.classes if label not in scores.classes]:
        raise ConfigError(
            f"{path} has no scores of {first_quoted(missing)}; score with models that know all "
            "classes, or name fewer with --classes"
        )
    if more := [label for label in scores.classes if label not in vocabulary]:
        what = "%s: %s are no classes of the labels, or of --classes; their scores are left out"
        log.warning(what, path, first_quoted(more))
    numbers = {name: number for number, name in enumerate(scores.names)}
    found = features.match(scores.names, path, "skip")
    places = {clip: numbers[name] for name, clip in found.items()}
    rate, tolerated = features.config.frame_rate, 2 / scores.frame_rate
    for clip, number in places.items():
        ends = scores.frames[number] / scores.frame_rate, features.frames(clip) / rate
        if abs(ends[0] - ends[1]) > tolerated + 1 / rate:
            raise ArtifactError(
                f"{path}: its scores of {clip!r} are of {ends[0]:.3f} s, and the features of "
                f"{ends[1]:.3f} s; score what the features are made of"
            )
    if both := [name for name in strong.names if places.pop(name, None) is not None]:
        what = "%s: the strong labels of %d clips count, and not their scores, as of %r"
        log.warning(what, path, len(both), both[0])
    columns = np.array([scores.classes.index(label) for label in vocabulary.classes])
    allowed = dict(zip(weak.names, weak.targets, strict=True))
    return SoftTargets(scores, places, columns, allowed)


def _strong_clips(
    features: FeatureSet,
    labels: StrongLabels,
    vocabulary: Vocabulary,
    where: Path | None,
    soft: bool,
) -> Clips:
    """Return clips with their events, of which a clip may have none."""
    events: dict[str, list[Event]] = {name: [] for name in labels.names}
    inside = [event for event in labels.events if event.onset < features.duration(event.name)]
    for event in inside:
        events[event.name].append(event)
    if n_beyond := len(labels.events) - len(inside):
        log.warning("%s: %d events begin after the end of their clip; left out", where, n_beyond)
    classes = StrongLabels(inside, labels.names).weak()
    targets = weak_targets(classes, labels.names, vocabulary)
    for row, name in enumerate(labels.names if soft else ()):
        [targets[row]] = frame_targets(events[name], 1, 0.0, vocabulary, soft=True)
    return Clips(features, labels.names, targets, events)


def _hold_out(
    clips: TrainingClips, config: TrainConfig, least: float | None
) -> tuple[TrainingClips, ValidationClips]:
    """Split off a seeded share of the labelled clips; copies of one audio file stay together."""
    sources = _draw_sources(clips.weak, set(), config)
    sources |= _draw_sources(clips.strong, sources, config)
    weak, held_weak = clips.weak.split(sources)
    strong, held_strong = clips.strong.split(sources)
    if config.soft_confidence:
        held_strong = _sure(held_strong, least or 0.0)
    log.warning(
        "no validation labels are given: %d of %d training clips (seed %d) are held out for it",
        len(held_weak) + len(held_strong),
        len(clips.weak) + len(clips.strong),
        config.seed,
    )
    labelled = set(held_weak.names)  # a clip may have labels of both kinds
    rest = held_strong.subset([i for i, n in enumerate(held_strong.names) if n not in labelled])
    held = Clips(
        clips.features,
        held_weak.names + rest.names,
        np.concatenate([held_weak.targets, rest.targets]),
    )
    events = [event for name in held_strong.names for event in held_strong.events[name]]
    reference = StrongLabels(events, held_strong.names) if len(held_strong) else None
    validation = ValidationClips(held, len(held_weak) or len(held), reference)
    return replace(clips, weak=weak, strong=strong), validation


def _joined(labels: StrongLabels) -> StrongLabels:
    """Return labels in which events of a class that touch are one, as frames find them."""
    joined: dict[tuple[str, str], list[Event]] = {}
    for event in sorted(labels.events, key=lambda event: event.onset):
        before = joined.setdefault((event.name, event.label), [])
        if before and event.onset <= before[-1].offset + 1e-6:
            event = replace(before[-1], offset=max(before.pop().offset, event.offset))
        before.append(event)
    return StrongLabels([event for of_class in joined.values() for event in of_class], labels.names)


def _sure(clips: Clips, least: float) -> Clips:
    """Return strong clips whose events have so much confidence; others are none."""
    events = {
        name: [e for e in of_clip if e.confidence is None or e.confidence >= least]
        for name, of_clip in clips.events.items()
    }
    is_there = (clips.targets >= least) & (clips.targets > 0)
    return replace(clips, targets=is_there.astype(np.float32), events=events)


def _draw_sources(clips: Clips, chosen: set[str], config: TrainConfig) -> set[str]:
    """Return audio files to hold out of clips, so that with those already chosen they suffice."""
    distinct = sorted(set(clips.sources()))
    n_held = round(len(distinct) * config.validation_fraction)
    if distinct and not 0 < n_held < len(distinct):
        raise LabelError(
            f"{len(distinct)} audio files are too few to hold out {config.validation_fraction:.0%} "
            "of them; give validation labels (--val-weak or --val-strong)"
        )
    order = generator("validation split", config.seed).permutation(len(distinct))
    rest = [distinct[i] for i in order if distinct[i] not in chosen]
    return set(rest[: max(n_held - len(chosen.intersection(distinct)), 0)])


def _n_clips(clips: TrainingClips) -> np.ndarray:
    """Return how many clips have each class (K,): by labels, or else by scores above a half."""
    n = sum((kind.targets > 0).sum(axis=0) for kind in (clips.weak, clips.strong))
    if soft := clips.soft:
        rows = [soft.places[name] for name in clips.unlabelled.names if name in soft.places]
        n += (soft.scores.clip[rows][:, soft.columns] > 0.5).sum(axis=0)
    return np.asarray(n)


def _without(clips: TrainingClips, validation: Clips) -> TrainingClips:
    """Refuse to validate on what is trained on, under whatever name it comes.

    Unlabelled clips are no mistake: their list is often simply all there is.
    """
    for kind in (clips.weak, clips.strong):
        trained = dict(zip(kind.sources(), kind.names, strict=True))
        pairs = zip(validation.names, validation.sources(), strict=True)
        both = [(name, trained[source]) for name, source in pairs if source in trained]
        if both:
            raise LabelError(
                f"{len(both)} validation clips are trained on too, e.g. {both[0][0]!r} "
                f"(the audio of {both[0][1]!r})"
            )
    unlabelled, validated = clips.unlabelled.split(validation.sources())
    if len(validated):
        log.warning(
            "%d of %d unlabelled clips are validated on; left out of training",
            len(validated),
            len(clips.unlabelled),
        )
        clips = replace(clips, unlabelled=unlabelled)
        if not (len(unlabelled) or clips.soft):  # of which weak clips have some, too
            log.warning("no unlabelled clip is left to train on")
    return clips


def warn_of_loud_noise(clips: TrainingClips, config: TrainConfig) -> None:
    """Warn where little of the clips stands out of the noise, in units of the features."""
    if config.noise_domain != "linear" or not config.noise:
        return
    names = clips.names[:: max(len(clips) // _SAMPLED, 1)]
    values = np.concatenate([clips.features.clip(name).ravel() for name in names])
    level = math.log(config.noise)
    if clips.features.config.log == "db":
        level *= 20 / math.log(10)
    if (share := float((values < level).mean())) > _LOUD:
        log.warning(
            "noise of %g is above %.0f %% of the mel values of the training clips; lower "
            "--noise, or give --noise-domain normalised",
            config.noise,
            100 * share,
        )


def warn_of_short_events(events: Sequence[Event], model: Model, arch: str) -> None:
    """Warn of classes of which most events are shorter than two output frames."""
    middle = StrongLabels(list(events), ()).median_durations()
    if not (short := [label for label in middle if middle[label] * model.frame_rate < 2]):
        return
    pooled, frame = model.architecture.time_pooling, 1000 / model.frame_rate
    remedy = "extract with a shorter --hop-length (--preset short: 10 ms)"
    if pooled > 1:
        network = f"{arch}{',' if ':' in arch else ':'}time-pooling=1"
        remedy = f"--arch {network} makes frames of {frame / pooled:.3g} ms, or {remedy}"
    log.warning(
        "half of the events or more are shorter than two output frames of %.3g ms, of the classes "
        "%s; %s",
        frame,
        first_five([f"{label} ({1000 * middle[label]:.0f} ms)" for label in short]),
        remedy,
    )


def choices(
    config: TrainConfig,
    chosen: Mapping[str, Any],
    n_labelled: int,
    batches: TrainingBatches,
    learns: bool,
) -> list[str]:
    """Return a line on each thing that settings were chosen for, where they were not given.

    `chosen` are those for the number of clips; `learns` says whether the pooling does.
    """
    lines = []
    if chosen:
        few = n_labelled < FEW_CLIPS and config.method != "mean-teacher"
        why = f" (less than {FEW_CLIPS}: a small network, many steps)" if few else ""
        options = [
            f"--{name.replace('_', '-')} {str(value).strip('(,)').replace(' ', '')}"
            for name, value in chosen.items()
        ]
        lines.append(f"chosen for {n_labelled} labelled clips{why}: {', '.join(options)}")
    if learns and not config.pooling_lr and config.rate_of_pooling != config.lr:
        name = PoolingConfig.parse(config.pooling).name
        lines.append(f"chosen for {name} pooling: --pooling-lr {config.rate_of_pooling:g}")
    if config.balance == "auto" and "classes" in {sampler.balance for sampler in batches.samplers}:
        what = f"a class has more than {MOST_UNEQUAL} times the clips of another"
        lines.append(f"chosen as {what}: --balance classes")
    return lines
