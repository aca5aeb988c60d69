"""The run folder while it is written: who may, what is begun, kept and closed there.

Only the same run may go on with what is there: one of equal settings, classes, clips and labels.
"""

import contextlib
import datetime
import importlib.metadata
import json
import logging
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sedtool import __version__
from sedtool.atomic import (
    claim,
    lock,
    remove_leftovers,
    resource_errors,
    sync_folder,
    write_text,
)
from sedtool.checkpoint import Model, digest, load_state, save_model
from sedtool.config import TrainConfig, TrainInputs
from sedtool.datasets import TrainingClips, ValidationClips
from sedtool.errors import (
    ArtifactError,
    ConfigError,
    DivergedError,
    OutputExistsError,
    ResourceError,
    SameOutputError,
    StoppedError,
)
from sedtool.labels import Vocabulary, format_events, write_events, write_weak
from sedtool.plugins import files_of, needed
from sedtool.runs import (
    RunFolder,
    RunSettings,
    differences,
    read_json,
    settings_of_weights,
    unlike,
)
from sedtool.text import file_sha256, first_five

_PACKAGES = ("torch", "numpy", "scipy", "h5py", "safetensors")

log = logging.getLogger(__name__)


class RunWriter(RunFolder):
    """A run folder that a training run writes; resuming and overwriting are as for `train`."""

    def __init__(self, path: Path, resume: bool = False, overwrite: bool = False) -> None:
        if resume and overwrite:
            raise ConfigError("--resume goes on with a run and --overwrite starts anew; give one")
        self._home, self._new = RunFolder(path), RunFolder(path).replacement
        self._resume, self._overwrite = resume, overwrite
        self._settle_in(self._new if resume and self._new.has_state else self._home)

    def _settle_in(self, folder: RunFolder) -> None:
        super().__init__(folder.path)
        self._resumed_from = self.last

    @contextlib.contextmanager
    def held(self, here: RunSettings) -> Iterator[None]:
        """Keep other runs, and `tune`, off the folder while a run of these settings lasts.

        The folder is made if need be, and goes again if nothing was written to it.

        Raises
        ------
        OutputExistsError
            If a run is there and neither resuming nor overwriting was asked for; a SameOutputError
            if it is this one, and finished.
        ResourceError
            If another process holds the folder, or it cannot be written.
        """
        home = self._home
        is_new = not home.path.exists()
        with resource_errors(home.path):
            home.path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as leaving:
            if is_new:
                leaving.callback(_quietly, home.path.rmdir)  # if it is empty
            leaving.enter_context(lock(home.lock, home.path))
            leaving.callback(_quietly, home.lock.unlink)
            leaving.callback(_quietly, self._new.path.rmdir)
            for model in (home.model, *home.others):  # `tune` rewrites models
                leaving.enter_context(claim(model, overwrite=True))
            self.take_place()  # if it was interrupted while it did
            self.refuse_existing(here)
            with resource_errors(home.path):
                remove_leftovers(*home.files, *self._new.files)
            yield

    def refuse_existing(self, here: RunSettings) -> None:
        """Raise OutputExistsError if a run is there that may be neither resumed nor replaced.

        A new one that left no state is not resumed, nor the old one in its place; one that diverged
        has come to its end.
        """
        status = self._new.read_record().get("status", "diverged")
        if self._resume and not self.replaces and status != "diverged":
            raise OutputExistsError(
                f"{self._home.path}: the run that --overwrite began has no state to go on from; "
                f"give --overwrite again, or remove {self._new.path} to resume the run before it"
            )
        may_go_on = self._resume and (self.has_state or self._stopped_early())
        if self._is_there() and not may_go_on and not self._overwrite:
            different = self._different(here) if self._home.is_trained() else []
            fixed = settings_of_weights(here.config)
            free = [name.replace("_", "-") for name in vars(here.config) if name not in fixed]
            goes_on = all(text.split(" ", 1)[0] in free for text in different)
            of_others = f" of other settings or files: {first_five(different)}" * bool(different)
            raise OutputExistsError(
                f"{self._home.path} holds a run already{of_others}; "
                f"{'--resume goes on with it, ' * goes_on}--overwrite starts anew"
            )

    def _different(self, here: RunSettings) -> list[str]:
        """Say how a finished run differs from one of these settings; if not, SameOutputError."""
        there, record = self._home, self._home.read_record()
        if different := unlike(record, {"sedtool_version": __version__}):
            return different
        settings = RunSettings.read(there.config)
        if not (digests := there.input_digests(settings)):
            return [f"{there.record.name} does not say what was read"]
        chosen = settings.config.chosen_in(record)
        here = replace(here, config=here.config.with_chosen(chosen)[0])
        if different := [*differences(settings, here, digests)]:
            return different
        raise SameOutputError(
            f"{there.path} is finished, and was trained on the same files with the same settings"
        )

    @property
    def replaces(self) -> bool:
        """Return whether a run that was there stays until this one has a model."""
        return self.path == self._new.path

    def _is_there(self) -> bool:
        return self._home.has_state or self._home.model.exists()

    def _stopped_early(self) -> bool:
        """Return whether a run was stopped before its first state; it has nothing to lose."""
        sessions = _sessions(self.record)
        return bool(sessions) and sessions[-1].get("status") != "finished"

    def begin(self, record: dict[str, Any], anew: bool) -> None:
        """Write run.json; a run that is there already stays until one `anew` has a model.

        Called when everything a run needs has been read, so that a mistake costs nothing.
        """
        earlier = [] if anew else _sessions(self.record)
        with resource_errors(self.path):
            if anew and self._is_there():
                self._settle_in(self._new)
                self.path.mkdir(exist_ok=True)
            stale = [] if self.replaces else self._new.written
            for file in (*stale, *(self.written if anew else [])):
                file.unlink()
            if not anew and self._resumed_from == self.previous:
                self.previous.replace(self.last)  # so that the next save keeps what is whole
        self._record = record | {"resumed": earlier or None}
        self._write_record()

    def take_place(self) -> None:
        """Let a run that has a model of its own take the place of the one that was there."""
        old, new = self._home, self._new
        if not new.model.exists():
            return
        with resource_errors(old.path):
            if new.config.exists():  # else what is old has gone already
                kept = {file.relative_to(new.path) for file in new.written}
                for file in old.written:
                    if file.relative_to(old.path) not in kept:
                        file.unlink()
            for file in new.written:
                target = old.path / file.relative_to(new.path)
                target.parent.mkdir(exist_ok=True)
                file.replace(target)
                sync_folder(target.parent)
            for folder in (new.epochs, old.epochs):
                _quietly(folder.rmdir)  # if it is empty
        self._settle_in(old)

    def save_epoch(self, number: int, model: Model) -> None:
        with resource_errors(self.epochs):
            self.epochs.mkdir(exist_ok=True)
            remove_leftovers(self.epoch(number))
        save_model(self.epoch(number), model)

    def chosen(self) -> dict[str, Any]:
        """Return the settings that the run to resume chose for its clips."""
        if not (self._resume and self.config.exists()):
            return {}
        return RunSettings.read(self.config).config.chosen_in(self.read_record())

    def load_state(self) -> dict[str, Any] | None:
        """Return the latest state that is whole; None if none was saved.

        Raises an ArtifactError if all that was saved is damaged.
        """
        problems: list[str] = []
        if self.previous.exists() and not self.last.exists():
            problems.append(f"{self.last} is missing")
        for path in filter(Path.exists, (self.last, self.previous)):
            try:
                state = load_state(path)
            except ArtifactError as error:
                problems.append(str(error))
                continue
            if problems:
                log.warning("%s; going on from %s", problems[0], path)
            self._resumed_from = path
            return state
        if problems:
            raise ArtifactError(f"{'; '.join(problems)}; --overwrite starts anew")
        return None

    def abandon(self, error: BaseException) -> None:
        """Close run.json after an error, if the disk still lets it."""
        ends = {StoppedError: "stopped", DivergedError: "diverged"}
        status = ends.get(type(error), "failed")
        try:
            self.close_record(status, error=str(error))
        except ResourceError as problem:
            log.warning("%s; it does not say that the run has %s", problem, status)

    def close_record(self, status: str, **results: Any) -> None:
        self._record |= {"finished": _now(), "status": status, **results}
        self._write_record()

    def _write_record(self) -> None:
        write_text(self.record, json.dumps(self._record, indent=2) + "\n")

    def write_clips(self, trained: TrainingClips) -> None:
        """Write which clips are trained on."""
        names = ("filename", *sorted(trained.names))
        write_text(self.trained_on, "".join(f"{name}\n" for name in names))

    def write_held_out(self, held_out: ValidationClips, classes: Sequence[str]) -> None:
        """Write the labels of the training clips that are validated on instead."""
        write_weak(self.held_out, held_out.weak(classes))
        if held_out.strong is not None:
            write_events(self.held_out_strong, held_out.strong)

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Write a row an epoch; columns are those of the first row."""
        lines: list[Iterable[str]] = [rows[0]]
        for row in rows:
            lines.append([f"{v:.6g}" if isinstance(v, float) else str(v) for v in row.values()])
        write_text(self.history, "".join("\t".join(line) + "\n" for line in lines))


def new_record(inputs: TrainInputs, config: TrainConfig, device: str) -> dict[str, Any]:
    """Return what run.json says of a run: what runs, where, on which inputs."""
    return {
        "command": sys.argv,
        "sedtool_version": __version__,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "git_revision": _git_revision(),
        "host": platform.node(),
        "device": device,
        "seed": config.seed,
        "inputs": {
            str(path): file_sha256(path)
            for paths in (*inputs.files.values(), files_of(config.names))
            for path in paths
        },
        "started": _now(),
        "finished": None,
        "status": "running",
    }


def _sessions(path: Path) -> list[dict[str, Any]]:
    """Return the records of the sessions before this one, from their run.json, oldest first."""
    try:
        latest = read_json(path)
        earlier = list(latest.pop("resumed", None) or [])
    except FileNotFoundError:
        return []
    except (OSError, TypeError, ArtifactError) as error:
        log.warning("%s; what it said is lost", error)
        return []
    if latest.get("status") == "running":
        latest["status"] = "killed"  # it could not say so itself
    return [*earlier, latest]


def _quietly(remove: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        remove()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _git_revision() -> str | None:
    """Return the revision of the folder the command runs in: that of the user's experiment."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.check_output(
            git, stderr=subprocess.DEVNULL, text=True, timeout=10
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return None


def run_identity(
    config: TrainConfig, clips: TrainingClips, validation: ValidationClips, vocabulary: Vocabulary
) -> dict[str, Any]:
    """Return settings, classes, clips and labels, fit for JSON."""
    identity = settings_of_weights(config)
    if plugins := needed(config.names):
        identity["plugins"] = plugins
    identity["classes"] = list(vocabulary.classes)
    identity["features"] = [file.sha256 for file in clips.features.files]
    for name, kind in zip(("weak", "unlabelled", "strong"), clips, strict=True):
        identity[f"{name} training clips"] = digest(kind.names)
        identity[f"{name} training labels"] = digest(torch.from_numpy(kind.targets))
    identity["strong training events"] = digest(format_events(clips.events))
    if clips.soft:
        identity["soft scores"] = clips.soft.scores.sha256
    if config.soft_confidence:
        identity["confidences"] = digest([event.confidence for event in clips.events])
    identity["validation clips"] = digest(validation.clips.names)
    identity["validation labels"] = digest(torch.from_numpy(validation.clips.targets))
    strong = validation.strong
    identity["validation events"] = digest(format_events(strong.events)) if strong else None
    return identity


def require_same_run(identity: str, saved: Any, where: str) -> None:
    """Raise an ArtifactError that says what differs between a run and that of the state `where`.

    What `saved` there is no identity raises ValueError or TypeError.
    """
    mine, other = json.loads(identity), dict(json.loads(saved))
    keys = sorted(mine.keys() | other.keys())
    pairs = [(key, other.get(key), mine.get(key)) for key in keys]
    different = [_difference(*pair) for pair in pairs if pair[1] != pair[2]]
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
