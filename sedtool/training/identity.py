"""What must be equal for two runs to be the same run: only then can one go on from the other."""

import json
from typing import Any

import torch

from sedtool.checkpoint import digest
from sedtool.config import TrainConfig
from sedtool.datasets import TrainingClips, ValidationClips
from sedtool.errors import ArtifactError
from sedtool.labels import Vocabulary, format_events
from sedtool.runs import settings_of_weights

__all__ = ["require_same_run", "run_identity"]


def run_identity(
    config: TrainConfig, clips: TrainingClips, validation: ValidationClips, vocabulary: Vocabulary
) -> dict[str, Any]:
    """Return settings, classes, clips and labels, fit for JSON."""
    identity = settings_of_weights(config)
    identity["classes"] = list(vocabulary.classes)
    identity["features"] = [file.sha256 for file in clips.features.files]
    for name, kind in zip(("weak", "unlabelled", "strong"), clips, strict=True):
        identity[f"{name} training clips"] = digest(kind.names)
        identity[f"{name} training labels"] = digest(torch.from_numpy(kind.targets))
    events = [event for of_clip in clips.strong.events.values() for event in of_clip]
    identity["strong training events"] = digest(format_events(events))
    identity["validation clips"] = digest(validation.clips.names)
    identity["validation labels"] = digest(torch.from_numpy(validation.clips.targets))
    strong = validation.strong
    identity["validation events"] = digest(format_events(strong.events)) if strong else None
    return identity


def require_same_run(identity: str, saved: Any, where: str) -> None:
    """Raise an ArtifactError that says what differs between a run and the saved one.

    Raises
    ------
    ArtifactError
        If anything does; `where` names the state of the saved run.
    ValueError, TypeError
        If `saved` is no identity.
    """
    mine, other = json.loads(identity), dict(json.loads(saved))
    different = [
        _difference(key, other.get(key), mine[key]) for key in mine if mine[key] != other.get(key)
    ]
    if different:
        raise ArtifactError(
            f"{where} is of another run: {', '.join(different)} differ; "
            "give the same settings, or --overwrite"
        )


def _difference(key: str, before: Any, now: Any) -> str:
    """Return a key with both of its values, where they are short enough to read."""
    if all(isinstance(v, str | int | float) and len(str(v)) <= 40 for v in (before, now)):
        return f"{key} ({before} before, {now} now)"
    return key
