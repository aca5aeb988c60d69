"""Scores of the same clips by several models -> their mean, as of one model: an ensemble."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from sedtool.atomic import claim, refuse_input
from sedtool.config import DecodingConfig
from sedtool.errors import ArtifactError, ConfigError
from sedtool.shards import WHOLE
from sedtool.store.merge import MergeResult, find_parts
from sedtool.store.scores import Scores, ScoresHeader, ScoresWriter, clip_scores, open_scores
from sedtool.text import first_quoted, strict_json

_AVERAGED = ("thresholds", "clip_thresholds", "windows")  # of the settings of decoding


def average(
    inputs: Sequence[Path],
    output: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> MergeResult:
    """Write the mean scores of whole scores files of the same clips, classes and frames.

    `inputs` are files, folders of them and patterns. Thresholds and median filter lengths are means
    too; what else belongs to decoding has to be equal. The order of the files changes no byte.

    Raises
    ------
    ArtifactError
        If a file holds something else, or does not fit the first one.
    ConfigError
        If there are fewer than two files, or the output is one of them.
    OutputExistsError
        If the output is there with other scores; a SameOutputError if it is the same.
    """
    with claim(output, overwrite=overwrite):
        found = find_parts(inputs, output, union=True)
        refuse_input(output, found.paths)
        if found.problems:
            raise ArtifactError(found.problems[0])
        if found.kind != "scores":
            raise ArtifactError(f"{found.paths[0]} holds {found.kind}; --average is of scores")
        if len(found.paths) < 2:
            raise ConfigError("--average needs scores files of two models or more")
        files = {path: open_scores(path) for path in found.paths}
        first, *others = files
        for path in others:
            if how := _difference(files[path], files[first]):
                raise ArtifactError(f"{path} and {first} cannot be averaged: {how}")
        ordered = sorted(files.values(), key=lambda scores: (scores.model_sha256, scores.sha256))
        n_clips = len(ordered[0].names)
        with ScoresWriter(output, _header(ordered)) as writer:
            for n, clips in enumerate(zip(*map(clip_scores, ordered), strict=True), 1):
                frame, window = (
                    np.mean([getattr(clip, name) for clip in clips], 0, float).astype(np.float32)
                    for name in ("frame", "window")
                )
                writer.append(replace(clips[0], frame=frame, window=window))
                if progress:
                    progress(n, n_clips, clips[0].name)
        return MergeResult("scores", len(ordered), n_clips, 1, [], [], None)


def _difference(scores: Scores, first: Scores) -> str:
    """Return what keeps scores from being averaged with the first, or an empty text."""
    if not (scores.shard.is_whole and first.shard.is_whole):
        return "one is a shard; merge its parts first"
    if scores.classes != first.classes:
        unlike = sorted({*scores.classes} ^ {*first.classes})
        return (
            f"other classes: {first_quoted(unlike)}" if unlike else "the order of classes differs"
        )
    if scores.frame_rate != first.frame_rate:
        return f"{scores.frame_rate:g} and {first.frame_rate:g} frames a second"
    clips, of_first = ({*one.names} for one in (scores, first))
    if unlike := sorted(clips ^ of_first):
        return f"clips in one of them alone: {first_quoted(unlike)}"
    for name in ("frames", "duration", "window_clip", "window_start", "window_frames"):
        if not np.array_equal(getattr(scores, name), getattr(first, name)):
            return "their clips were of another length, or scored in other windows"
    for entry in fields(DecodingConfig):
        values = [getattr(one.decoding, entry.name) for one in (scores, first)]
        if entry.name not in _AVERAGED and values[0] != values[1]:
            return f"{entry.name} of decoding is {values[0]} and {values[1]}"
    return ""


def _header(files: Sequence[Scores]) -> ScoresHeader:
    """Return what the mean of scores says of itself."""
    one = files[0]
    means: dict[str, Any] = {
        name: tuple(np.mean([getattr(f.decoding, name) for f in files], axis=0).tolist())
        for name in _AVERAGED
    }
    models: list[dict[str, Any]] = [
        {"model_sha256": each.model_sha256, "sha256": each.sha256}
        | {"settings": strict_json(each.settings)}
        for each in files
    ]
    digest = hashlib.sha256("".join(each.model_sha256 for each in files).encode()).hexdigest()
    return ScoresHeader(
        one.classes,
        one.frame_rate,
        replace(one.decoding, **means),
        digest,
        json.dumps({"average": models}, sort_keys=True),
        WHOLE,
        one.manifest_sha256,
    )
