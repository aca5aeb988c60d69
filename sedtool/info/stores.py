"""features.h5, scores.h5, and outputs that are still being made."""

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from sedtool.atomic import is_locked
from sedtool.config import DecodingConfig
from sedtool.info.description import Description, first_of
from sedtool.store import open_features, open_scores, unfinished

__all__ = [
    "class_rows",
    "decoding_values",
    "describe_features",
    "describe_scores",
    "describe_unfinished",
]


def describe_features(path: Path, verify: bool) -> Description:
    """Describe a features file."""
    features = open_features(path, verify)
    truncated = [name for name, cut in zip(features.names, features.truncated, strict=True) if cut]
    begun = unfinished(path.resolve())
    values = {
        "clips": len(features.names),
        "frames": len(features.data),
        "seconds": math.fsum(features.duration.tolist()),
        "bytes": path.stat().st_size,
        "dtype": str(features.data.dtype),
        "settings": dataclasses.asdict(features.config),
        "frame_rate": features.config.frame_rate,
        "engine": features.engine,
        "source_rates": _counts(features.source_rate.tolist()),
        "shard": str(features.shard),
        "truncated": first_of(truncated),
        "failures": first_of([f"{name}: {error}" for name, error in features.failures]),
        "manifest_sha256": features.manifest_sha256,
        "sha256": features.sha256,
        "being_replaced": str(begun) if begun else None,
    }
    return Description(path, "features", values, verify)


def describe_scores(path: Path, verify: bool) -> Description:
    """Describe a scores file."""
    scores = open_scores(path, verify)
    values = {
        "clips": len(scores.names),
        "windows": len(scores.window),
        "frames": len(scores.frame),
        "seconds": math.fsum(scores.duration.tolist()),
        "bytes": path.stat().st_size,
        "frame_rate": scores.frame_rate,
        **decoding_values(scores.decoding),
        "classes": class_rows(scores.classes, scores.decoding),
        "settings": json.loads(scores.settings),
        "shard": str(scores.shard),
        "manifest_sha256": scores.manifest_sha256,
        "model_sha256": scores.model_sha256,
        "sha256": scores.sha256,
    }
    return Description(path, "scores", values, verify)


def describe_unfinished(path: Path) -> Description | None:
    """Describe an output, maybe a folder, that was begun; None if there is no such run."""
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
        "to_finish": "run the same command again",
    }
    return Description(path, "unfinished output", values)


def decoding_values(decoding: DecodingConfig) -> dict[str, Any]:
    """Return the decoding settings that all classes share."""
    return {
        "gate": decoding.gate,
        "min_duration": decoding.min_duration,
        "merge_gap": decoding.merge_gap,
    }


def class_rows(classes: tuple[str, ...], decoding: DecodingConfig) -> list[dict[str, Any]]:
    """Return a row a class: its name, thresholds and median window in seconds."""
    return [
        {"class": name, "threshold": frame, "clip_threshold": clip, "window": window}
        for name, frame, clip, window in zip(
            classes, decoding.thresholds, decoding.clip_thresholds, decoding.windows, strict=True
        )
    ]


def _counts(values: list[int]) -> dict[str, int]:
    """Return how often each value occurs, the most frequent first."""
    return {str(value): count for value, count in Counter(values).most_common()}
