"""What stands in a run folder: nothing, a part of the run, all of it, or another run."""

import contextlib
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from sedtool.atomic import write_text
from sedtool.config import PoolingConfig, TrainConfig, to_json
from sedtool.errors import ArtifactError, ConfigError, SedtoolError
from sedtool.store import open_scores
from sedtool.sweep.children import StageSettings
from sedtool.sweep.commands import RunFiles, Settings, SweepInputs
from sedtool.sweep.grid import Run

__all__ = [
    "Progress",
    "State",
    "examine",
    "file_digest",
    "is_trained",
    "record_settings",
    "train_settings",
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


def examine(run: Run, files: RunFiles, inputs: SweepInputs, settings: Settings) -> State:
    """Compare a run folder with what is to be run there."""
    if not files.config.exists():
        return State(Progress.NEW)
    training = _training_differences(run, files, inputs, settings["train"])
    scoring: tuple[str, ...] = ()
    with contextlib.suppress(FileNotFoundError):
        recorded = _read_json(files.settings)
        scoring = _scoring_differences(recorded, inputs, settings)
    is_done = not training and not scoring and _is_done(files)
    return State(Progress.DONE if is_done else Progress.BEGUN, training, scoring)


def is_trained(files: RunFiles) -> bool:
    """Return whether the training in a run folder has ended well."""
    try:
        return _read_json(files.record).get("status") == "finished" and files.model.exists()
    except (OSError, ArtifactError):
        return False


def _is_done(files: RunFiles) -> bool:
    """Return whether training has ended and the metrics are those of the model that is there."""
    if not is_trained(files):
        return False
    try:
        _read_json(files.metrics)
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
    run: Run, files: RunFiles, inputs: SweepInputs, settings: StageSettings
) -> tuple[str, ...]:
    """Say in which settings a run folder's training is not the one that is to be run."""
    saved = train_settings(files.config)
    digests = _input_digests(files.record)
    mine = dict(settings) | {"pooling": run.pooling, "seed": run.seed}
    if not mine.get("features"):
        mine["features"] = [inputs.features]
    found = []
    for key in sorted({*mine, *saved} - (_FREE - {"features"})):
        old, new = saved.get(key), mine.get(key)
        if key not in saved and key not in settings.given:
            continue  # it was not known yet, and is not asked for
        if key in _FILES:
            is_same = _same_files(old, new, inputs, digests)
        else:
            is_same = _plain(key, old, saved) == _plain(key, new, mine)
        if not is_same:
            found.append(f"{key} is {_text(old)} there and {_text(new)} here")
    return tuple(found)


def train_settings(path: Path) -> dict[str, Any]:
    """Return the settings that a run folder's config.yaml has, by option.

    Raises
    ------
    ArtifactError
        If it is not what `train` writes.
    """
    try:
        settings = yaml.safe_load(path.read_bytes())["train"]
        if not isinstance(settings, dict):
            raise TypeError("its section train is no mapping")
    except (OSError, yaml.YAMLError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read ({' '.join(str(error).split())})") from None
    return settings


def _plain(key: str, value: Any, settings: Mapping[str, Any]) -> Any:
    """Return a value as it can be compared, whether it is an option's text or a field's value."""
    if key == "pooling":
        with contextlib.suppress(ConfigError):
            return str(PoolingConfig.parse(str(value)))
    if value in (None, "", [], ()):
        value = _default(key, settings)
    if isinstance(value, str) and "," in value:
        value = value.split(",")
    if isinstance(value, list | tuple):
        items = [_number(item) for item in value]
        return items[0] if len(items) == 1 else items
    return _number(value)


def _default(key: str, settings: Mapping[str, Any]) -> Any:
    """Return what training takes where a setting is not given, or was not known yet."""
    try:
        config = TrainConfig(method=str(settings.get("method") or TrainConfig.method))
    except ConfigError:
        config = TrainConfig()
    return getattr(config, key.replace("-", "_"), None)


def _number(value: Any) -> Any:
    """Return a number as such, be it text; a flag and anything else as it is."""
    if isinstance(value, bool) or value is None:
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return {"true": True, "false": False}.get(str(value).lower(), value)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "not given"
    return "not given" if value in (None, "") else str(value)


def _same_files(old: Any, new: Any, inputs: SweepInputs, digests: Mapping[str, str]) -> bool:
    """Return whether the files a run read are those it would read: by content, else by path."""
    before = [Path(path) for path in _listed(old)]
    now = [inputs.path(str(path)) for path in _listed(new)]
    return len(before) == len(now) and all(
        _same_file(*pair, digests) for pair in zip(before, now, strict=True)
    )


def _listed(value: Any) -> list[Any]:
    if value in (None, "", ()):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _same_file(before: Path, now: Path, digests: Mapping[str, str]) -> bool:
    """Compare a path of config.yaml, whose digest may be recorded, with a file."""
    named = [digest for name, digest in digests.items() if _is_end(Path(name), before)]
    if len(set(named)) == 1 and now.is_file():
        return named[0] == file_digest(now)
    return before == now


def _is_end(name: Path, path: Path) -> bool:
    """Return whether a path, absolute or relative to some folder, may mean an absolute one."""
    words = [word for word in name.parts if word not in ("..", ".")]
    return name == path or (not name.is_absolute() and list(path.parts[-len(words) :]) == words)


def _input_digests(path: Path) -> dict[str, str]:
    """Return the digests of the files that a run read, by name, as run.json has them."""
    try:
        found = _read_json(path).get("inputs")
    except (OSError, ArtifactError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


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


def record_settings(files: RunFiles, inputs: SweepInputs, settings: Settings) -> None:
    """Write down how a run was tuned and scored."""
    text = json.dumps(scoring_settings(inputs, settings), indent=2, ensure_ascii=False)
    write_text(files.settings, text + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} cannot be read: it is no JSON object")
    return content


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, read once as long as it is not changed."""
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
