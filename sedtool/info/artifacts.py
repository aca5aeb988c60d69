"""Audio, features, scores and models; folders of audio, of runs and of sweeps.

torch is loaded only where a model or a training state is read.
"""

import dataclasses
import json
import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from sedtool.atomic import is_locked, is_unfinished
from sedtool.audio import AudioHeader, AudioReader, find_audio, read_header
from sedtool.bounds import number
from sedtool.config import DecodingConfig, PoolingConfig
from sedtool.errors import (
    ArtifactError,
    AudioError,
    ConfigError,
    InputsFailedError,
    LabelError,
    NothingUsableError,
    SedtoolError,
)
from sedtool.info.description import Description, first_of
from sedtool.info.texts import macro_f1, read_recipe_sections
from sedtool.labels import printable
from sedtool.runs import (
    RunFolder,
    SweepFolder,
    SweepRecord,
    is_run_folder,
    read_json,
    rows_of,
    split_name,
)
from sedtool.store import open_features, open_scores, unfinished
from sedtool.text import brief, strict_json

Progress = Callable[[int, int, str], None]  # members done, all members, name of the latest

_LEARNED = ("n", "theta", "alpha")  # what poolings learn for each class
_OF_ALL_CLASSES = ("gate", "min_duration", "merge_gap")  # decoding settings
_OF_MODEL = ("classes", "frame_rate", "window", "tuned on", "training_clips")  # is asked first
_DONE = "done"
_RERUN = "run the same command again"


# Audio


def describe_audio(path: Path, verify: bool) -> Description:
    """Describe an audio file; `verify` decodes it whole."""
    header = read_header(path)
    seconds, digest = _decoded(path) if verify else (header.duration, None)
    values = {
        **_fields(header, "format", "subtype", "sample_rate", "channels"),
        "seconds": seconds,
        "bytes": header.size,
        "sha256": digest,
    }
    return Description(path, "audio", values, verify)


def describe_audio_folder(path: Path, verify: bool, progress: Progress | None) -> Description:
    """Describe a folder of audio; `verify` decodes every file."""
    try:
        files = find_audio([path])
    except NothingUsableError:
        raise ArtifactError(f"{path}: neither a run folder nor a folder with audio in it") from None
    headers: list[AudioHeader] = []
    seconds: list[float | None] = []
    failures: list[str] = []
    for done, (name, file) in enumerate(files.items(), 1):
        try:
            headers.append(read_header(file))
            seconds.append(_decoded(file)[0] if verify else headers[-1].duration)
        except AudioError as error:
            failures.append(f"{printable(name)}: {str(error).removeprefix(f'{file}: ')}")
        if progress:
            progress(done, len(files), name)
    values = {
        "files": len(files),
        "seconds": math.fsum(filter(None, seconds)),
        "unknown_length": seconds.count(None),
        "bytes": sum(header.size for header in headers),
        "formats": _counts(f"{header.format} {header.subtype}" for header in headers),
        "sample_rates": _counts(header.sample_rate for header in headers),
        "channels": _counts(header.channels for header in headers),
        "failures": first_of(failures),
    }
    problems = [
        InputsFailedError(
            f"{path}: {len(failures)} of {len(files)} files cannot be used (the first, {first}); "
            "`sedtool check` names them all"
        )
        for first in failures[:1]
    ]
    return Description(path, "audio folder", values, verify, tuple(problems))


def _decoded(path: Path) -> tuple[float, str]:
    """Return the seconds of audio that a file really holds, and its digest."""
    with AudioReader(path, None) as reader:
        for _ in reader:
            pass
        return reader.duration, reader.info().sha256


def _counts(values: Iterable[Any]) -> dict[str, int]:
    """Return how often each value occurs, the most frequent first."""
    return dict(Counter(map(str, values)).most_common())


# Features and scores


def describe_features(path: Path, verify: bool) -> Description:
    """Describe a features file."""
    features = open_features(path, verify)
    truncated = [name for name, cut in zip(features.names, features.truncated, strict=True) if cut]
    begun = unfinished(path.resolve())
    values = {
        "clips": len(features.names),
        "seconds": math.fsum(features.duration.tolist()),
        "frame_rate": features.config.frame_rate,
        "frames": len(features.data),
        "failures": first_of([f"{name}: {error}" for name, error in features.failures]),
        "truncated": first_of(truncated),
        "settings": dataclasses.asdict(features.config),
        "engine": features.engine,
        "source_rates": _counts(features.source_rate.tolist()),
        "shard": str(features.shard),
        "dtype": str(features.data.dtype),
        "bytes": path.stat().st_size,
        **_fields(features, "manifest_sha256", "sha256"),
        "being_replaced": begun and str(begun),
    }
    return Description(path, "features", values, verify)


def describe_scores(path: Path, verify: bool) -> Description:
    """Describe a scores file."""
    scores = open_scores(path, verify)
    values = {
        "clips": len(scores.names),
        "seconds": math.fsum(scores.duration.tolist()),
        "frame_rate": scores.frame_rate,
        "classes": _class_rows(scores.classes, scores.decoding),
        **_fields(scores.decoding, *_OF_ALL_CLASSES),
        "settings": json.loads(scores.settings),
        "frames": len(scores.frame),
        "windows": len(scores.window),
        "shard": str(scores.shard),
        "bytes": path.stat().st_size,
        **_fields(scores, "manifest_sha256", "model_sha256", "sha256"),
    }
    return Description(path, "scores", values, verify)


def describe_unfinished(path: Path) -> Description | None:
    """Describe an output, maybe a folder, that was begun; None if there is no such run."""
    if is_unfinished(path):
        return Description(path, "unfinished output", {"to_finish": _RERUN})
    target = path.resolve()
    lock = target.with_name(f".{target.name}.lock")
    if path.is_dir():
        target, lock = target / ".events", target / ".events.journal"
    begun = unfinished(target)
    if begun is None:
        return None
    values = {
        "clips_done": begun.done,
        "clips": begun.total,
        "shard": str(begun.shard),
        "manifest_sha256": begun.manifest_sha256,
        "being_made": is_locked(lock),
        "to_finish": _RERUN,
    }
    return Description(path, "unfinished output", values)


def _class_rows(
    classes: tuple[str, ...], decoding: DecodingConfig, **learned: list[float] | None
) -> list[dict[str, Any]]:
    """Return a row a class: its name, thresholds, median window in seconds, and what is learned."""
    columns: dict[str, Sequence[Any]] = {
        "class": classes,
        "threshold": decoding.thresholds,
        "clip_threshold": decoding.clip_thresholds,
        "window": decoding.windows,
        **({"boxes": decoding.boxes} if decoding.boxes else {}),
        **{name: values or [None] * len(classes) for name, values in learned.items()},
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


# Models and runs


def describe_model(path: Path, verify: bool = True) -> Description:
    """Describe a model; its weights are read and checked either way."""
    from sedtool.checkpoint import load_model

    model = load_model(path)
    learned = dict.fromkeys(_LEARNED) | model.learned()
    values = {
        "classes": _class_rows(model.classes, model.decoding, **learned),
        **_fields(model, "frame_rate", "window", "tuned"),
        **_fields(model.decoding, *_OF_ALL_CLASSES),
        "training_clips": len(model.trained_on),
        "trained": model.trained,
        "pooling": " ".join(dict.fromkeys(str(pooling) for _, pooling in model.members)),
        "architecture": dataclasses.asdict(model.architecture),
        "networks": len(model.members),
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "settings": dataclasses.asdict(model.features),
        "bytes": path.stat().st_size,
        "weights_sha256": model.weights_sha256,
    }
    words = {"settings": "features", "tuned": "tuned on"}
    said = {words.get(key, key): value for key, value in values.items()}
    said["tuned on"] = "nothing; thresholds and median filters are as before tuning"
    if model.tuned:
        names = ("clip_f1", "event_f1", "event_f1_held_out")
        f1 = {name: _numbers(model.tuned.get(name)) for name in names}
        said["classes"] = [
            row | {name: of.get(row["class"]) for name, of in f1.items()}
            for row in values["classes"]
        ]
        means = {f"mean {name}": fmean(of.values()) for name, of in f1.items() if of}
        said["tuned on"] = {key: model.tuned.get(key) for key in ("clips", "files")} | means
        if isinstance(grid := model.tuned.get("grid"), dict):
            said["tuned on"]["collar"] = grid.get("collar")
    said["trained"] = dict(sorted(model.trained.items(), key=lambda item: item[0] == "config"))
    return Description(path, "model", values, verified=True, said=said)


def _numbers(values: Any) -> dict[str, float]:
    """Return the numbers by class that a model says its tuning reached; it may say anything."""
    items = values.items() if isinstance(values, dict) else ()
    return {label: float(f1) for label, f1 in items if type(f1) in (int, float)}


def describe_state(path: Path, verify: bool = True) -> Description:
    """Describe what a run resumes from; it is read and checked either way."""
    from sedtool.checkpoint import checked_classes, load_state

    state = load_state(path)
    try:
        identity = strict_json(state["identity"])
        values = {
            "epochs": len(rows_of(state)),
            "step": state["step"],
            "seed": int(number(identity["seed"], 0, 2**63)),
            "pooling": str(PoolingConfig.parse(identity["pooling"])),
            "classes": [{"class": name} for name in checked_classes(identity["classes"])],
            "bytes": path.stat().st_size,
        }
    except (AttributeError, LookupError, TypeError, ValueError, ConfigError, LabelError) as error:
        raise ArtifactError(
            f"{path} is no training state of this sedtool ({brief(error)})"
        ) from None
    return Description(path, "training state", values, verified=True)


def describe_run(path: Path, verify: bool) -> Description:
    """Describe a run folder: how the run ended, and whether what it left is whole."""
    problems: list[SedtoolError] = []
    folder = RunFolder(path)
    new = folder.replacement.path
    run = _attempt(read_json, folder.record, problems) or {}
    sections = _attempt(read_recipe_sections, folder.config, problems) or {}
    members: dict[str, Any] = {}
    of_model: Mapping[str, Any] = {}  # what text says of model.safetensors
    others = [other for other in folder.others if other.exists()]
    for file in (folder.model, *others, *folder.kept):
        model = _attempt(describe_model, file, problems)
        of_model = model.said if model and file == folder.model else of_model
        members[str(file.relative_to(path))] = model and {
            "epoch": model.values["trained"].get("epoch"),
            "is_tuned": bool(model.values["tuned"]),
            "weights_sha256": model.values["weights_sha256"],
        }
    for file in (folder.last, folder.previous):
        state = _attempt(describe_state, file, problems)
        kept = ("epochs", "step", "seed", "pooling")
        members[file.name] = state and {key: state.values[key] for key in kept}
    last = members[folder.last.name] or {}

    def recorded(*keys: str) -> dict[str, Any]:
        return {key: run.get(key) for key in keys}

    values = {
        "status": folder.status(run),
        "being_made": is_locked(folder.lock),
        "being_replaced": f"train --resume goes on in {new}" if is_run_folder(new) else None,
        "error": run.get("error"),
        "epochs": run.get("epochs", last.get("epochs")),
        **recorded("best_epoch", "best_score", "selected_by", "stopped_early"),
        **recorded("started", "finished"),
        "resumed": run.get("resumed") is not None,
        **members,
        **recorded("seed"),
        "settings": sections.get("train"),
        **recorded("device", "host", "sedtool_version", "git_revision", "versions"),
        **recorded("command", "inputs"),
    }
    said = {"status": None, **{k: of_model[k] for k in _OF_MODEL if k in of_model}, **values}
    if isinstance(values["command"], list):
        said["command"] = shlex.join(map(str, values["command"]))
    return Description(path, "run folder", values, True, tuple(problems), said)


# Sweeps


def describe_sweep(path: Path, verify: bool, progress: Progress | None) -> Description:
    """Describe the folder of a sweep; `verify` checks models, training states and scores of all."""
    folder = SweepFolder(path)
    record = SweepRecord.read(folder.record)
    problems: list[SedtoolError] = []
    failures, runs = folder.read_failures(), []
    for name in record.runs:
        runs.append(_read_run(folder, name, failures.get(name), problems))
        if verify and (path / name).is_dir():
            problems += describe_run(path / name, verify).problems
            _attempt(open_scores, folder.run(name).scores, problems)
        if progress:
            progress(len(runs), len(record.runs), name)
    weak, paper = record.weak_reference, record.paper
    values = {
        "runs": len(runs),
        "done": sum(run["status"] == _DONE for run in runs),
        "seeds": sorted({run["seed"] for run in runs}),
        "poolings": _pooling_rows(runs),
        "not_done": [
            {key: run[key] for key in ("run", "status", "error")}
            for run in runs
            if run["status"] != _DONE
        ],
        "recipe": record.recipe,
        "data": record.data,
        "reference": str(record.reference.path),
        "weak_reference": weak and str(weak.path),
        "paper": paper and str(paper),
    }
    return Description(path, "sweep", values, verify, tuple(problems))


def _read_run(
    sweep: SweepFolder, name: str, failure: str | None, problems: list[SedtoolError]
) -> dict[str, Any]:
    """Return how far a run is, and its macro F1; what is damaged of it is added to `problems`."""
    try:
        folder, seed = split_name(name)
    except ConfigError as error:
        raise ArtifactError(f"{sweep.record}: {error}") from None
    files = sweep.run(name)
    settings = (_attempt(read_recipe_sections, files.config, problems) or {}).get("train", {})
    metrics = _attempt(read_json, files.metrics, problems)
    status, why = (_DONE, None) if metrics else _status(files, failure, problems)
    # The pooling as it was written, once the run has begun; where settings vary, they stand there.
    pooling = folder if "," in folder else str(settings.get("pooling") or folder)
    run = {"run": name, "pooling": pooling, "seed": seed, "status": status, "error": why}
    return run | {"f1": macro_f1(metrics or {})}


def _status(
    files: RunFolder, failure: str | None, problems: list[SedtoolError]
) -> tuple[str, str | None]:
    """Return how far a run without metrics is, and why it came no further."""
    if files.is_held():
        return "under way", None
    record = _attempt(read_json, files.record, problems) or {}
    status, error = files.status(record), record.get("error")
    if status in (None, "finished"):  # of training: it is another stage that may have failed
        if failure is not None:
            return "failed", failure
        return "not scored" if status else "not begun", None
    return str(status), error and str(error)


def _pooling_rows(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a pooling, with the mean F1 over the seeds that are done, if all define it."""
    rows = []
    for pooling in dict.fromkeys(run["pooling"] for run in runs):
        mine = [run for run in runs if run["pooling"] == pooling]
        done = [run["f1"] for run in mine if run["status"] == _DONE]
        row = {"pooling": pooling, "seeds": [run["seed"] for run in mine], "done": len(done)}
        for metric in mine[0]["f1"]:
            f1 = [each[metric] for each in done]
            row[metric] = fmean(f1) if f1 and None not in f1 else None
        rows.append(row)
    return rows


def _attempt(read: Callable[[Path], Any], path: Path, problems: list[SedtoolError]) -> Any:
    """Return what `read` makes of a member of a folder; None if it is missing or damaged."""
    if not path.exists():
        return None
    try:
        return read(path)
    except SedtoolError as error:
        problems.append(error)
        return None


def _fields(thing: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}
