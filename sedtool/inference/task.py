"""Model, inputs and options -> what an inference run is of, after all that can be refused early."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sedtool.audio import AudioInputs
from sedtool.checkpoint import Model, load_model
from sedtool.errors import ArtifactError, ConfigError
from sedtool.inference.checks import (
    refuse_for_scores,
    refuse_given,
    refuse_inputs,
    refuse_loose_part,
    refuse_outputs,
)
from sedtool.inference.resume import decoding_identity, scoring_identity
from sedtool.inference.settings import InferOutputs, InferRun, InferSettings
from sedtool.inference.sources import Source, audio_source, features_source
from sedtool.inference.writing import Job
from sedtool.store import Scores, file_format, is_hdf5, open_features, open_scores
from sedtool.store.merge import check_siblings
from sedtool.store.spool import resumes, unfinished

__all__ = ["InferTask", "prepare"]


@dataclass(frozen=True)
class InferTask:
    """What a run is of."""

    job: Job
    given: Source | Scores  # recordings for the network, or scores to decode
    identity: dict[str, Any]  # an interrupted run of equal identity is taken up

    @property
    def names(self) -> list[str]:
        """Return the recordings, sorted."""
        return self.given.names

    def resumes(self, outputs: InferOutputs) -> bool:
        """Return whether an interrupted run of this task stands beside the outputs.

        Raises
        ------
        OutputExistsError
            If one of another task does, and may not be thrown away.
        """
        kept_at = outputs.spool
        return kept_at is not None and resumes(kept_at, self.identity, outputs.overwrite)


def prepare(
    model_path: Path,
    inputs: AudioInputs | Sequence[Path],
    settings: InferSettings,
    outputs: InferOutputs,
    run: InferRun,
) -> InferTask:
    """Open the model and find the recordings; see `sedtool.inference.infer`.

    Raises
    ------
    SedtoolError
        If options, inputs and outputs do not fit each other.
    """
    inputs = inputs if isinstance(inputs, AudioInputs) else AudioInputs(tuple(inputs))
    model = load_model(model_path)
    decoding = settings.decoding(model)
    if (scores := _given_scores(model, inputs)) is not None:
        refuse_for_scores(inputs, settings, run)
        refuse_inputs(outputs, model_path, settings, _artifacts(inputs))
        job = Job(model, decoding, scores.settings, scores.shard, scores.manifest_sha256)
        task = InferTask(job, scores, decoding_identity(job, scores))
    else:
        source = _find_source(model, inputs, run)
        refuse_inputs(outputs, model_path, settings, source.files)
        refuse_loose_part(outputs, source.shard, run)
        if run.shard_is_auto and outputs.spool is not None:
            check_siblings(outputs.spool, source.shard, source.manifest_sha256)
        job = Job(model, decoding, settings.scoring(model), source.shard, source.manifest_sha256)
        task = InferTask(job, source, scoring_identity(job, source, settings, run))
    refuse_outputs(outputs, task.names, job.shard)
    return task


def _artifacts(inputs: AudioInputs) -> list[Path]:
    """Return the features or scores files among the inputs, which are all such or none."""
    if inputs.is_stdin:
        return []
    paths = [path for given in inputs.paths for path in _matching(Path(given))]
    artifacts = [path for path in paths if is_hdf5(path) or path.suffix.lower() == ".h5"]
    if artifacts and (len(artifacts) < len(paths) or inputs.files_from):
        raise ConfigError("inputs must be all audio, or all features files, or one scores file")
    return artifacts


def _matching(path: Path) -> list[Path]:
    """Return what a quoted pattern such as ``parts/*.h5`` means; anything else means itself."""
    if path.exists() or not glob.has_magic(str(path)) or path.suffix.lower() != ".h5":
        return [path]
    return [Path(match) for match in sorted(glob.glob(str(path)))] or [path]  # noqa: PTH207


def _given_scores(model: Model, inputs: AudioInputs) -> Scores | None:
    """Return the scores file that is the input, if that is what it is."""
    artifacts = _artifacts(inputs)
    if not artifacts or not artifacts[0].exists() or file_format(artifacts[0]) != "sedtool-scores":
        return None
    if len(artifacts) > 1:
        raise ConfigError("give one scores file at a time")
    scores = open_scores(artifacts[0])
    if scores.model_sha256 != model.weights_sha256:
        raise ArtifactError(
            f"{artifacts[0]} was made by a model with other weights than the one given"
        )
    return scores


def _find_source(model: Model, inputs: AudioInputs, run: InferRun) -> Source:
    """Return the recordings that the inputs mean, be they audio or features."""
    artifacts = _artifacts(inputs)
    for path in artifacts:
        _refuse_missing(path)
    if artifacts:
        refuse_given("features", inputs, "root")
        refuse_given("features", run, "allow_truncated")
        return features_source(model, artifacts, run)
    refuse_given("audio", run, "partial")
    return audio_source(model, inputs, run)


def _refuse_missing(path: Path) -> None:
    """Raise an error if a file is not there: ArtifactError if it is unfinished."""
    if path.exists():
        return
    if unfinished(path.resolve()) is None:
        there = [entry.name for entry in path.parent.glob("*.h5")]
        close = get_close_matches(path.name, there, n=1)
        hint = f"; did you mean {path.with_name(close[0])}?" if close else ""
        raise ConfigError(f"{path} does not exist{hint}")
    open_features(path)  # says how far it is
