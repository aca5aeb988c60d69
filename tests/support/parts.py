"""Parts of every kind, made without audio or a network."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sedtool.config import DecodingConfig
from sedtool.labels import EVENT_FORMATS, Event, format_weak
from sedtool.shards import WHOLE, PartRecord, Shard, manifest_digest, write_part
from sedtool.store import (
    DTYPES,
    ClipScores,
    ScoresHeader,
    ScoresWriter,
    SourceClip,
)
from support.features import CONFIG, features_writer

CLASSES = ("Dog", "Air horn, truck horn")


NAMES = [f"{'ab'[i % 2]}/{i} é [/].wav" for i in range(11)]


FAILED = {"a/4 é [/].wav": "the file is empty", "b/1 é [/].wav": "too short"}


MANIFEST = manifest_digest(sorted(NAMES))


def fake_features(path: Path, shard: Shard = WHOLE, **changes) -> Path:
    """Write features of NAMES; `changes` are those of the job."""
    names = sorted(changes.pop("names", NAMES))
    config, dtype = changes.get("config", CONFIG), DTYPES[changes.get("dtype", "f16")]
    shard = changes.pop("shard", shard)
    with features_writer(path, names, shard=shard, **changes) as writer:
        for name in shard.select(names):
            if name not in FAILED:
                i = NAMES.index(name) if name in NAMES else 0
                values = np.random.default_rng(i).standard_normal((3 + i, config.n_mels))
                clip = SourceClip(
                    name, 3 + i, 8_000 + i, 1 + i % 2, (3 + i) / 40, 9 + i, f"{i:064}", 7
                )
                clip = dataclasses.replace(clip, truncated=i == 5)
                writer.add(clip, [values.astype(dtype).tobytes()])
        writer.finish(sorted((n, e) for n, e in FAILED.items() if n in shard.select(names)))
    return path


def scored(name: str) -> ClipScores:
    rng = np.random.default_rng(len(name) + NAMES.index(name))
    n_windows = 1 + NAMES.index(name) % 3
    return ClipScores(
        name,
        1.5 + NAMES.index(name),
        rng.random((10 + n_windows, 2)).astype(np.float32),
        np.arange(n_windows),
        np.full(n_windows, 10),
        rng.random((n_windows, 2)).astype(np.float32),
    )


def fake_scores(path: Path, shard: Shard = WHOLE, **changes) -> Path:
    """Write scores of NAMES; `changes` are those of the header."""
    header = ScoresHeader(
        CLASSES, 12.5, DecodingConfig.default(2), "cd" * 32, '{"window": 10}', shard, MANIFEST
    )
    with ScoresWriter(path, dataclasses.replace(header, **changes)) as writer:
        for name in shard.select(sorted(NAMES)):
            if name not in FAILED:
                writer.append(scored(name))
    return path


def events_of(name: str) -> list[Event]:
    """Return no event of some recordings, several of others, some of them at once."""
    n = NAMES.index(name) % 4
    return [Event(name, k // 2, k + 0.25, CLASSES[k % 2], 0.1 * k) for k in range(n)]


def fake_events(path: Path, shard: Shard = WHOLE, confidence: bool = False, **changes) -> Path:
    """Write the event list of NAMES as `infer` does, recording by recording."""
    share = [name for name in shard.select(sorted(NAMES)) if name not in FAILED]
    form = EVENT_FORMATS["dcase"]
    rows = (form.rows(events_of(name), confidence=confidence) for name in share)
    text = form.header(confidence) + "".join(rows)
    return write_text_part(path, "events", text, shard, changes)


def fake_tags(path: Path, shard: Shard = WHOLE, **changes) -> Path:
    """Write the clip tags of NAMES as `infer` does."""
    share = [name for name in shard.select(sorted(NAMES)) if name not in FAILED]
    text = format_weak({name: sorted({e.label for e in events_of(name)}) for name in share})
    return write_text_part(path, "tags", text, shard, changes)


def write_text_part(path: Path, kind: str, text: str, shard: Shard, changes: dict) -> Path:
    path.write_text(text)
    share = shard.select(sorted(NAMES))
    failures = tuple((name, "infer", FAILED[name]) for name in share if name in FAILED)
    n_clips = len(share) - len(failures)
    record = PartRecord(kind, shard, MANIFEST, "cd" * 32, '{"window": 10}', n_clips, failures)
    if not shard.is_whole or changes:
        write_part(path, dataclasses.replace(record, **changes))
    return path


Make = Callable[..., Path]
KINDS: dict[str, tuple[Make, str]] = {
    "features": (fake_features, ".h5"),
    "scores": (fake_scores, ".h5"),
    "events": (fake_events, ".tsv"),
    "tags": (fake_tags, ".tsv"),
}
