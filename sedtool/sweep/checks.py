"""What stands in a run folder: nothing, a part of the run, all of it, or another run."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from sedtool.atomic import write_text
from sedtool.config import to_json
from sedtool.errors import ArtifactError, SedtoolError
from sedtool.runs import RunFolder, RunSettings, differences, file_digest, read_json
from sedtool.store import open_scores
from sedtool.sweep.children import StageSettings
from sedtool.sweep.commands import Settings, SweepInputs
from sedtool.sweep.grid import Run

__all__ = [
    "Progress",
    "State",
    "examine",
    "file_digest",
    "record_settings",
]

# What does not change what a run is: where it is written, on what, and how often it is saved.
_FREE = {
    *("output", "device", "resume", "overwrite", "dry-run", "quiet", "save-every", "workers"),
    *("scores", "model", "inputs", "estimated", "features", "files-from", "null", "root"),
    *("stdin-name", "format", "tolerate", "fail-fast", "shard"),
}
_SCORED = ("tune", "infer", "evaluate")  # the stages behind training
_FILES = ("weak", "strong", "unlabelled", "val-weak", "val-strong", "classes", "features")


class Progress(Enum):
    """How far a run is."""

    NEW = "not begun"
    BEGUN = "not finished"
    DONE = "done"


@dataclass(frozen=True)
class State:
    """What stands in a run folder, and how it differs from what is to be run."""

    progress: Progress
    training: tuple[str, ...] = ()  # settings of training that differ, as text
    scoring: tuple[str, ...] = ()  # settings of the stages behind it that differ

    @property
    def differences(self) -> str:
        """Return all that differs, as text."""
        return "; ".join((*self.training, *self.scoring))


def examine(run: Run, files: RunFolder, inputs: SweepInputs, settings: Settings) -> State:
    """Compare a run folder with what is to be run there."""
    if not files.config.exists():
        return State(Progress.NEW)
    training = _training_differences(run, files, inputs, settings["train"])
    scoring: tuple[str, ...] = ()
    with contextlib.suppress(FileNotFoundError):
        recorded = read_json(files.scoring)
        scoring = _scoring_differences(recorded, inputs, settings)
    is_done = not training and not scoring and _is_done(files)
    return State(Progress.DONE if is_done else Progress.BEGUN, training, scoring)


def _is_done(files: RunFolder) -> bool:
    """Return whether training has ended and the metrics are those of the model that is there."""
    if not files.is_trained():
        return False
    try:
        read_json(files.metrics)
        header, scores = _model_header(files.model), open_scores(files.scores, verify=False)
        decoding = json.loads(to_json(scores.decoding))
        return bool(
            scores.model_sha256 == header["weights_sha256"] and decoding == header["decoding"]
        )
    except (OSError, SedtoolError, KeyError, TypeError, AttributeError):
        return False


def _model_header(path: Path) -> dict[str, Any]:
    """Return the header of a model file, without its weights and without loading torch."""
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > 2**23:
            raise ArtifactError(f"{path} is no model of ours")
        text = stream.read(size)
    try:
        header: dict[str, Any] = json.loads(json.loads(text)["__metadata__"]["sedtool"])
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is no model of ours ({error})") from None
    return header


def _training_differences(
    run: Run, files: RunFolder, inputs: SweepInputs, settings: StageSettings
) -> tuple[str, ...]:
    """Say in which settings a run folder's training is not the one that is to be run."""
    there = files.read_settings()
    mine = {key: value for key, value in settings.items() if value not in (None, [], "")}
    mine |= {"pooling": run.pooling, "seed": run.seed}
    mine.setdefault("features", [inputs.features])
    for key in mine.keys() & set(_FILES):
        paths = mine[key] if isinstance(mine[key], list) else [mine[key]]
        mine[key] = [str(inputs.path(str(path))) for path in paths]
    here = RunSettings.parse({k: v for k, v in mine.items() if k not in _FREE - {"features"}})
    return differences(there, here, files.input_digests(there))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "not given"
    return "not given" if value in (None, "") else str(value)


def scoring_settings(inputs: SweepInputs, settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the settings of tuning and scoring, files by their digest."""
    found = {
        stage: {
            key: _fingerprint(value, inputs)
            for key, value in settings[stage].items()
            if key not in _FREE and value is not None
        }
        for stage in _SCORED
    }
    for key in ("reference", "weak-reference"):  # the sweep's own, whatever the recipe says
        text = inputs.reference if key == "reference" else inputs.weak_reference
        found["evaluate"][key] = _fingerprint(text, inputs)
    return found


def _fingerprint(value: Any, inputs: SweepInputs) -> Any:
    if isinstance(value, str) and value and inputs.path(value).is_file():
        return f"sha256:{file_digest(inputs.path(value))}"
    return value


def _scoring_differences(
    recorded: Mapping[str, Any], inputs: SweepInputs, settings: Settings
) -> tuple[str, ...]:
    """Say which settings of tuning and scoring differ from those of a run's record."""
    found = []
    for stage, mine in scoring_settings(inputs, settings).items():
        old = dict(recorded.get(stage) or {})
        known = settings[stage].given | {"reference", "weak-reference"}
        for key in sorted({*old, *(key for key in mine if key in known)}):
            if old.get(key) != mine.get(key):
                there, here = _brief(old.get(key)), _brief(mine.get(key))
                found.append(f"{stage} {key} is {there} there and {here} here")
    return tuple(found)


def _brief(value: Any) -> str:
    text = _text(value)
    return f"a file ({text[7:15]}…)" if text.startswith("sha256:") else text


def record_settings(files: RunFolder, inputs: SweepInputs, settings: Settings) -> None:
    """Write down how a run was tuned and scored."""
    text = json.dumps(scoring_settings(inputs, settings), indent=2, ensure_ascii=False)
    write_text(files.scoring, text + "\n")
