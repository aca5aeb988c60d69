"""Text: label files and other tables, JSON that sedtool writes for programs, and recipes."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sedtool.audio import AUDIO_SUFFIXES
from sedtool.bounds import read_table
from sedtool.config.recipe import read_recipe
from sedtool.errors import ArtifactError, ConfigError, LabelError
from sedtool.info.description import Description, first_of
from sedtool.labels import (
    LabelSource,
    StrongLabels,
    detect_format,
    read_durations,
    read_names,
    read_thresholds,
    read_vocabulary,
    read_weak,
)
from sedtool.labels.cells import is_number
from sedtool.labels.dialect import SYNONYMS, normal
from sedtool.labels.signatures import decode_head, signature
from sedtool.runs import read_json
from sedtool.shards import PART_SUFFIX, read_part, read_part_record

_METRICS = ("event", "segment", "clip")
_RATES = ("f1", "precision", "recall")
_FAILURES = ["filename", "stage", "error"]  # columns
_RAVEN = "Begin Time (s)"  # a column of its tables
_KINDS = (
    "event lists (DCASE, Audacity, Raven, JSON lines, JAMS), weak labels (filename, event_labels), "
    "clip lists (filename), durations (filename, duration), thresholds (event_label, threshold) "
    "failures (filename, stage, error), training metrics (epoch, …) and class lists (.txt)"
)


def describe_labels(path: Path, verify: bool) -> Description:
    """Describe a table; it is read whole either way. A part is checked against its record."""
    try:
        text = decode_head(read_table(path))  # all of it; the readers refuse what is no text
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror})") from None
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        raise LabelError(f"{path} is empty")
    first = [cell.strip() for cell in lines[0].split("\t")]
    names = {*first, *map(normal, first)}
    has_header = bool({"filename", "event_label", "epoch", _RAVEN, *SYNONYMS["filename"]} & names)
    told = signature(text, path)
    kind = None
    if told is None or not told.name:
        kind = _kind_by_header(first) if has_header else _kind_by_shape(first, path)
    if kind is None:
        try:
            source = detect_format(path)
        except LabelError:
            what = f"a table of no known kind; known are {_KINDS}"
            what = f"this is {told.what}; {told.remedy}" if told else what
            raise ArtifactError(f"{path}: {what}") from None
        kind, values = _source_values(path, source)
        is_counted = len(first) > 1 or source.name == "jsonl"
    else:
        values, is_counted = _table_values(kind, path, lines), True
    is_part = path.with_name(path.name + PART_SUFFIX).exists()
    values = {
        "rows": len(lines) - has_header if is_counted else None,
        **values,
        "shard": str(read_part_record(path).shard) if is_part else None,
    }
    if is_part and verify:
        read_part(path)
    return Description(path, kind, values, verify if is_part else None)


def _kind_by_header(columns: list[str]) -> str | None:
    if columns[0] == "epoch":
        return "training metrics"
    if "filename" not in columns:
        return "thresholds" if "threshold" in columns else None
    if "event_labels" in columns:
        return "weak labels"
    if columns == _FAILURES:
        return "failures"
    return "durations" if "duration" in columns else "clip list"


def _kind_by_shape(cells: list[str], path: Path) -> str | None:
    """Return the kind of a file without a header line."""
    if len(cells) == 2:
        return "durations" if is_number(cells[1]) else "weak labels"
    if len(cells) == 1 and Path(cells[0]).suffix.lower() in AUDIO_SUFFIXES:
        return "clip list"
    return "class list" if len(cells) == 1 and path.suffix.lower() == ".txt" else None


def _table_values(kind: str, path: Path, lines: list[str]) -> dict[str, Any]:
    """Return what there is to say of a table of a known kind."""
    match kind:
        case "weak labels":
            return _weak(path, lines)
        case "clip list":
            return {"clips": len(read_names(path))}
        case "durations":
            durations = read_durations(path)
            return {"clips": len(durations), "seconds": math.fsum(durations.values())}
        case "thresholds":
            thresholds = read_thresholds(path).items()
            return {"classes": [{"class": name, "threshold": value} for name, value in thresholds]}
        case "class list":
            return {"classes": [{"class": name} for name in read_vocabulary(path).classes]}
        case "failures":
            return {"failures": [_row(_FAILURES, line) for line in lines[1:]]}
        case _:  # metrics of a training
            last = _row(lines[0].split("\t"), lines[-1]) if len(lines) > 1 else {}
            return {"epochs": len(lines) - 1, "last": last}


def _row(columns: list[str], line: str) -> dict[str, str]:
    return dict(zip(columns, line.split("\t"), strict=False))


def _source_values(path: Path, source: LabelSource) -> tuple[str, dict[str, Any]]:
    """Return the kind of labels that a file has, and what there is to say of them."""
    labels = source.read(path, source.clip_of(path.name))
    if not isinstance(labels, StrongLabels):
        return "weak labels", {"format": source.name, **_weak_values(labels)}
    return "strong labels", {"format": source.name, **_strong_values(labels)}


def _strong_values(labels: StrongLabels) -> dict[str, Any]:
    lengths: dict[str, list[float]] = {label: [] for label in labels.classes}
    for event in labels.events:
        lengths[event.label].append(event.offset - event.onset)
    means = labels.mean_durations()
    silent = set(labels.names) - {event.name for event in labels.events}
    return {
        "clips": len(labels.names),
        "clips_without_events": len(silent),
        "events": len(labels.events),
        "seconds": math.fsum(length for found in lengths.values() for length in found),
        "classes": [
            {
                "class": label,
                "events": len(found),
                "seconds": math.fsum(found),
                "mean_seconds": means.get(label),
            }
            for label, found in lengths.items()
        ],
    }


def _weak(path: Path, lines: list[str]) -> dict[str, Any]:
    """Describe weak labels; a class list alone could tell the classes if names hold commas."""
    if any(", " in line for line in lines):
        return {
            "clips": len(read_names(path)),
            "clips_without_labels": None,
            "classes": None,
            "note": "class names with commas in them: only a class list can tell them apart",
        }
    return _weak_values(read_weak(path))


def _weak_values(labels: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    counts = Counter(label for found in labels.values() for label in found)
    return {
        "clips": len(labels),
        "clips_without_labels": sum(not found for found in labels.values()),
        "classes": [{"class": label, "clips": counts[label]} for label in sorted(counts)],
        "note": None,
    }


# Records of programs, and recipes


def describe_json(path: Path, verify: bool) -> Description:
    """Describe a metrics.json, a run.json, a sweep.json or a part record."""
    if path.name.endswith(PART_SUFFIX):
        return _describe_part(path, verify)
    content = read_json(path)
    if "parameters" in content and set(_METRICS) & set(content):
        return Description(path, "metrics", _metrics(content))
    if {"command", "status", "inputs"} <= set(content):
        return Description(path, "run record", content)
    if content.get("format") == "sedtool-sweep":
        return Description(path, "sweep record", content)
    raise ArtifactError(
        f"{path}: JSON of no known kind; known are metrics, runs, sweeps and part records"
    )


def _describe_part(path: Path, verify: bool) -> Description:
    """Describe the record of a part that is text; `verify` reads the part itself."""
    part = path.with_name(path.name.removesuffix(PART_SUFFIX))
    record = (read_part if verify else read_part_record)(part)
    values = {
        "part": str(part),
        **vars(record),
        "shard": str(record.shard),
        "failures": first_of([f"{name}: {error}" for name, _, error in record.failures]),
    }
    return Description(path, "part record", values, verify)


def _metrics(content: dict[str, Any]) -> dict[str, Any]:
    """Return macro and micro rates, as a row each, and how it was measured."""
    rows = []
    for name in _METRICS:
        for average in ("macro", "micro"):
            rates = _mapping(content, name, average)
            rows.append({"metric": name, "average": average, **{r: rates.get(r) for r in _RATES}})
    classes = _mapping(content, "event", "classes")
    warnings = content.get("warnings")
    return {
        "scores": rows,
        "classes": [
            {"class": label, "event_f1": _mapping(classes, label).get("f1")} for label in classes
        ],
        "parameters": _mapping(content, "parameters"),
        "clip_source": _mapping(content, "clip").get("source"),
        "warnings": warnings if isinstance(warnings, list) else [],
    }


def macro_f1(content: dict[str, Any]) -> dict[str, float | None]:
    """Return the macro F1 of each metric of a metrics.json; None where it is not defined."""
    found = {f"{name}_f1": _mapping(content, name, "macro").get("f1") for name in _METRICS}
    return {name: f1 if type(f1) in (int, float) else None for name, f1 in found.items()}


def _mapping(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return the mapping that stands under keys in keys; an empty one where there is none."""
    for key in keys:
        below = content.get(key)
        content = below if isinstance(below, dict) else {}
    return content


def describe_recipe(path: Path, verify: bool) -> Description:
    """Describe a recipe: its sections and their keys."""
    return Description(path, "recipe", {"sections": read_recipe_sections(path)})


def read_recipe_sections(path: Path) -> dict[str, dict[str, Any]]:
    """Read a recipe as the stages do: key -> text, or list of text, of each section."""
    try:
        sections = read_recipe(path)
    except ConfigError as error:
        raise ArtifactError(str(error)) from None
    if not sections:
        raise ArtifactError(f"{path}: YAML of no known kind; a recipe has a section a subcommand")
    return {
        name: {key: value for key, (value, _) in section.values.items()}
        for name, section in sections.items()
    }
