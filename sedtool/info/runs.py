"""Models, training states and run folders."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from sedtool.atomic import is_locked
from sedtool.checkpoint import Model, load_model, load_state
from sedtool.errors import ArtifactError, SedtoolError
from sedtool.info.description import Description
from sedtool.info.records import attempt, read_recipe_sections
from sedtool.info.stores import class_rows, decoding_values
from sedtool.runs import RunFolder, read_json

__all__ = ["describe_model", "describe_run", "describe_state"]

_LEARNED = ("n", "theta", "alpha")  # what poolings learn for each class


def describe_model(path: Path, verify: bool) -> Description:
    """Describe a model; its weights are read and checked either way."""
    model = load_model(path)
    values = {
        "parameters": sum(p.numel() for p in model.detector.parameters()),
        "bytes": path.stat().st_size,
        "architecture": dataclasses.asdict(model.architecture),
        "pooling": str(model.pooling),
        "settings": dataclasses.asdict(model.features),
        "frame_rate": model.frame_rate,
        "window": model.window,
        **decoding_values(model.decoding),
        "classes": _learned_rows(model),
        "tuned": model.tuned,
        "trained": model.trained,
        "training_clips": len(model.trained_on),
        "weights_sha256": model.weights_sha256,
    }
    return Description(path, "model", values, verified=True)


def _learned_rows(model: Model) -> list[dict[str, Any]]:
    """Return a row a class, with what the pooling learned for it."""
    learned = dict.fromkeys(_LEARNED) | model.detector.pooling.learned()
    rows = class_rows(model.classes, model.decoding)
    return [
        row | {name: values[k] if values else None for name, values in learned.items()}
        for k, row in enumerate(rows)
    ]


def describe_state(path: Path, verify: bool) -> Description:
    """Describe what a run resumes from; it is read and checked either way."""
    return Description(path, "training state", _state_values(path), verified=True)


def _state_values(path: Path) -> dict[str, Any]:
    state = load_state(path)
    try:
        identity = json.loads(state["identity"])
        return {
            "epochs": len(state["rows"]),
            "step": state["step"],
            "seed": identity["seed"],
            "pooling": identity["pooling"],
            "classes": [{"class": name} for name in identity["classes"]],
            "bytes": path.stat().st_size,
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path} is no training state of this sedtool ({error!r})") from None


def describe_run(path: Path, verify: bool) -> Description:
    """Describe a run folder: how the run ended, and whether what it left is whole."""
    problems: list[SedtoolError] = []
    folder = RunFolder(path)
    run = attempt(read_json, folder.record, problems) or {}
    sections = attempt(read_recipe_sections, folder.config, problems) or {}
    members: dict[str, Any] = {}
    others = [other for other in folder.others if other.exists()]
    for file, read in {
        **dict.fromkeys([folder.model, *others, *folder.kept], _model_values),
        **dict.fromkeys([folder.last, folder.previous], _state_values),
    }.items():
        found = attempt(read, file, problems)
        name = str(file.relative_to(path))
        members[name] = found and {k: v for k, v in found.items() if k not in ("classes", "bytes")}
    last = members[folder.last.name] or {}
    values = {
        "status": folder.status(run),
        "being_made": is_locked(folder.lock),
        **{key: run.get(key) for key in ("error", "started", "finished")},
        "epochs": run.get("epochs", last.get("epochs")),
        **{key: run.get(key) for key in ("best_epoch", "best_score", "stopped_early")},
        **{key: run.get(key) for key in ("seed", "device", "host", "sedtool_version")},
        **{key: run.get(key) for key in ("git_revision", "versions", "command", "inputs")},
        "resumed": "resumed" in run and run["resumed"] is not None,
        "settings": sections.get("train"),
        **members,
    }
    return Description(path, "run folder", values, True, tuple(problems))


def _model_values(path: Path) -> dict[str, Any]:
    """Return what tells the models of a run apart."""
    model = load_model(path)
    return {
        "epoch": model.trained.get("epoch"),
        "is_tuned": bool(model.tuned),
        "weights_sha256": model.weights_sha256,
    }
