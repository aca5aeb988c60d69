"""What a sweep looks at before it begins: settings, features that are there, clips in two lists."""

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from sedtool.config import FEATURE_PRESETS, TrainConfig
from sedtool.errors import ArtifactError, ConfigError
from sedtool.labels import read_events, read_names, read_vocabulary, read_weak
from sedtool.store import open_features
from sedtool.sweep.commands import Settings, SweepInputs

__all__ = ["check_training", "refuse_other_features", "warn_of_leaks"]

_LEARNED_FROM = {
    "train": ("weak", "strong", "unlabelled", "val-weak", "val-strong"),
    "tune": ("reference", "weak"),
}

# Options of a stage that name labels, and of what kind.
_WEAK = (("train", "weak"), ("train", "val-weak"), ("tune", "weak"))
_STRONG = (("train", "strong"), ("train", "val-strong"), ("tune", "reference"))

log = logging.getLogger(__name__)


def check_training(inputs: SweepInputs, settings: Settings) -> None:
    """Refuse what every run would stumble over, before hours are spent.

    Raises
    ------
    ConfigError
        If `train` would refuse its settings, or clips to validate or tune on are trained on.
    LabelError
        With file and line: if labels cannot be read, or are of no class.
    """
    given = settings["train"]
    values: dict[str, Any] = {}
    for entry in fields(TrainConfig):
        value = given.get(entry.name.replace("_", "-"))
        if value is not None:
            is_list = isinstance(entry.default, tuple)
            values[entry.name] = tuple(map(int, str(value).split(","))) if is_list else value
    TrainConfig(**values)
    _check_labels(inputs, settings)
    if not (given.get("val-weak") or given.get("val-strong")):
        return  # which clips are trained on is then for `train` to say
    trained = {
        name
        for key in ("weak", "strong")
        if given.get(key)
        for name in read_names(inputs.path(str(given[key])))
    }
    for stage, keys in (("train", ("val-weak", "val-strong")), ("tune", _LEARNED_FROM["tune"])):
        for key in keys:
            if not (text := settings[stage].get(key)):
                continue
            path = inputs.path(str(text))
            if both := sorted(trained.intersection(read_names(path))):
                raise ConfigError(
                    f"{len(both)} clips of {path} ({stage}.{key}) are trained on, e.g. "
                    f"{both[0]!r}; {stage} needs others there"
                )


def _check_labels(inputs: SweepInputs, settings: Settings) -> None:
    """Read every label file as the stages will, with their class list."""
    weak, strong = (
        [
            inputs.path(str(settings[stage][key]))
            for stage, key in keys
            if settings[stage].get(key) not in (None, "")
        ]
        for keys in (_WEAK, _STRONG)
    )
    classes = settings["train"].get("classes")
    events = {path: read_events(path) for path in strong}
    vocabulary = read_vocabulary(inputs.path(str(classes))) if classes else None
    for path in weak:
        read_weak(path, vocabulary)
    for path, labels in events.items():
        if vocabulary is not None:
            vocabulary.require(labels.classes, path)
    if unlabelled := settings["train"].get("unlabelled"):
        read_names(inputs.path(str(unlabelled)))
    read_events(inputs.path(inputs.reference))


def refuse_other_features(inputs: SweepInputs, settings: Settings) -> None:
    """Raise an ArtifactError if features are there that `extract` would make otherwise now.

    Features without audio to make them of are taken as they are.
    """
    made = [inputs.path(inputs.features)] if inputs.audio else []
    made += [] if inputs.test_is_features else [inputs.path(inputs.test_features)]
    for path in filter(Path.exists, made):
        if different := _differences(path, settings["extract"]):
            raise ArtifactError(
                f"{path} has features of other settings: {'; '.join(different)}; move it away, or "
                "name another with --features and --test-features"
            )


def _differences(path: Path, wanted: Mapping[str, Any]) -> list[str]:
    """Return the settings of features that are not what they would be, as text."""
    preset = vars(FEATURE_PRESETS[str(wanted["preset"])])
    different = []
    for name, value in vars(open_features(path, verify=False).config).items():
        given = wanted.get(name.replace("_", "-"))
        expected = preset[name] if given is None else type(value)(given)
        if value != expected:
            different.append(f"{name.replace('_', '-')} is {value} there and {expected} here")
    return different


def warn_of_leaks(inputs: SweepInputs, settings: Settings) -> None:
    """Say so where clips of the test are in a list that is learned from or tuned on."""
    reference = inputs.path(inputs.reference)
    test = set(read_names(reference))
    for stage, keys in _LEARNED_FROM.items():
        for key in keys:
            if not (text := settings[stage].get(key)):
                continue
            path = inputs.path(str(text))
            if both := sorted(test.intersection(read_names(path))):
                log.warning(
                    "%d clips of %s are in %s (%s), too, e.g. %r: scores of what was learned from "
                    "or tuned on say nothing about other clips",
                    *(len(both), reference, path, f"{stage}.{key}", both[0]),
                )
