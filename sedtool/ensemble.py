"""Several models -> one, whose scores are the means of theirs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from sedtool.atomic import claim, refuse_input
from sedtool.audio.find import is_pattern, match
from sedtool.checkpoint import MOST_MEMBERS, MOST_WEIGHTS, Model, load_model, save_model
from sedtool.config import DecodingConfig
from sedtool.crnn import Ensemble
from sedtool.errors import ArtifactError, ConfigError, NothingUsableError
from sedtool.runs import find_models
from sedtool.text import first_quoted


def join_models(
    inputs: Sequence[Path],
    output: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> int:
    """Write a model that is an ensemble of others, and return how many networks it has.

    `inputs` are model files, folders of runs, folders of those, and patterns. Thresholds and median
    filter lengths are the means of theirs until the ensemble is tuned, which it is to be: means
    of scores lie closer together than scores do. The order of the models changes no byte.

    Raises
    ------
    ArtifactError
        If a file is no model, or does not fit the first one.
    ConfigError
        If there are fewer than two models, one is there twice or an ensemble itself, they are too
        many or too large, or the output is one of them.
    OutputExistsError
        If the output is another model; a SameOutputError if it is the same.
    NothingUsableError
        If a pattern matches nothing.
    """
    paths, size = _models_of(inputs), 0
    with claim(output, overwrite=overwrite):
        refuse_input(output, paths)
        models: dict[str, tuple[Path, Model]] = {}
        for number, path in enumerate(paths, 1):
            model = load_model(path)
            if model.others:
                raise ConfigError(f"{path} is an ensemble; name the models that it was made of")
            sha256 = model.weights_sha256
            if sha256 in models:
                raise ConfigError(f"{models[sha256][0]} and {path} are the same model")
            models[sha256] = path, model
            size += sum(tensor.nbytes for tensor in model.detector.state_dict().values())
            if number > MOST_MEMBERS or size > MOST_WEIGHTS:
                most = f"{MOST_MEMBERS} networks and {MOST_WEIGHTS / 2**20:.0f} MiB of weights"
                raise ConfigError(f"a model file holds {most}; {path} is too much")
            if progress:
                progress(number, len(paths), str(path))
        (first_path, first), *others = models.values()
        for path, model in others:
            if how := _difference(model, first):
                raise ArtifactError(f"{path} and {first_path} cannot be one model: {how}")
        joined = _joined({sha256: models[sha256][1] for sha256 in sorted(models)})
        save_model(output, joined)
        return len(joined.members)


def _models_of(inputs: Sequence[Path]) -> list[Path]:
    """Return the model files that files, folders and patterns mean, each once."""
    found: dict[Path, Path] = {}
    for given in inputs:
        is_open = is_pattern(str(given)) and not given.exists()
        matching = sorted(match(str(given))) if is_open else [given]
        if not matching:
            raise NothingUsableError(f"nothing matches the pattern {given}")
        for path in matching:
            for model in find_models(path):
                found.setdefault(model.resolve(), model)
    if len(found) < 2:
        raise ConfigError(f"an ensemble needs two models or more, not {len(found)}")
    return [*found.values()]


def _difference(model: Model, first: Model) -> str:
    """Return what keeps a model from being joined with the first, or an empty text."""
    if model.classes != first.classes:
        unlike = sorted({*model.classes} ^ {*first.classes})
        what = f"other classes: {first_quoted(unlike)}"
        return what if unlike else "the order of classes differs"
    if model.features != first.features:
        return "they were trained on features of other settings (sedtool info shows them)"
    if model.frame_rate != first.frame_rate:
        return f"{model.frame_rate:g} and {first.frame_rate:g} output frames a second"
    for name in ("gate", "min_duration", "merge_gap"):
        values = [getattr(one.decoding, name) for one in (model, first)]
        if values[0] != values[1]:
            return f"{name} of decoding is {values[0]} and {values[1]}"
    return ""


def _joined(models: dict[str, Model]) -> Model:
    """Return the ensemble of models, by the digests of their weights."""
    one = next(iter(models.values()))
    members = [(model.architecture, model.pooling) for model in models.values()]
    (architecture, pooling), *others = members
    return Model(
        Ensemble([model.detector for model in models.values()]),
        one.classes,
        one.features,
        architecture,
        pooling,
        min(model.window for model in models.values()),
        _mean_decoding([model.decoding for model in models.values()]),
        trained={"members": [_told(sha256, model) for sha256, model in models.items()]},
        trained_on=np.unique(np.concatenate([m.trained_on for m in models.values()]), axis=0),
        others=tuple(others),
    )


def _told(sha256: str, model: Model) -> dict[str, Any]:
    """Return what an ensemble says of one of the models that it was made of."""
    config = model.trained.get("config")
    seed = config.get("seed") if isinstance(config, dict) else None
    return {"weights_sha256": sha256, "seed": seed, "epoch": model.trained.get("epoch")}


def _mean_decoding(settings: Sequence[DecodingConfig]) -> DecodingConfig:
    """Return thresholds and median filter lengths that are means of those of several models.

    A model that has boxes for a class counts with the filter of an untuned one.
    """

    def mean(rows: list[tuple[float, ...]]) -> tuple[float, ...]:
        return tuple(np.mean(rows, axis=0).tolist())

    windows = [
        tuple(
            DecodingConfig.window if box else window
            for window, box in zip_longest(each.windows, each.boxes)
        )
        for each in settings
    ]
    return replace(
        settings[0],
        thresholds=mean([each.thresholds for each in settings]),
        clip_thresholds=mean([each.clip_thresholds for each in settings]),
        windows=mean(windows),
        boxes=(),
    )
