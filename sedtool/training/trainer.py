"""`train`: files in, a run folder out; what an epoch does, and what is saved when."""

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sedtool.bounds import number
from sedtool.checkpoint import load_model, require_finite, save_model, save_state
from sedtool.config import DEVICE, TrainConfig, TrainInputs, TuneConfig, suited
from sedtool.datasets import TrainingBatches
from sedtool.errors import ArtifactError, DivergedError, StoppedError
from sedtool.fitting import lengths_from_durations, untuned_decoding
from sedtool.labels import StrongLabels
from sedtool.machine import pick_device
from sedtool.runs import RunSettings, rows_of, settings_of_weights
from sedtool.text import brief, file_sha256
from sedtool.training.folder import RunWriter, new_record, require_same_run, run_identity
from sedtool.training.inputs import (
    choices,
    load_inputs,
    warn_of_loud_noise,
    warn_of_short_events,
)
from sedtool.training.learner import LOSSES, Learner, new_model
from sedtool.training.validation import validate
from sedtool.tuning import TuneResult, fit_decoding

_IDLE_EPOCHS = 5  # after which a score that does not move is remarked
_TELLING = 20  # held-out clips; by the scores of fewer, epochs of no use look best

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """How a run ended."""

    model: Path
    best_epoch: int
    best_score: float
    selected_by: str  # what score that is
    epochs: int  # that were run
    stopped_early: bool
    seconds: float  # that this session took
    fitted: TuneResult | None = None  # what the decoding settings were fitted to at the end

    def __str__(self) -> str:
        """Return one line for a summary."""
        early = ", stopped early" if self.stopped_early else ""
        best = f"best {self.selected_by} {self.best_score:.3f} in epoch {self.best_epoch}"
        best = "the last is the model" if self.selected_by == "last" else best
        decoding = f"; decoding {self.fitted}" if self.fitted else ""
        return (
            f"{self.epochs} epochs{early}, in {self.seconds:.1f} s; {best}{decoding} "
            f"-> {self.model}"
        )


def train(
    run: Path,
    inputs: TrainInputs,
    config: TrainConfig,
    *,
    device: str = DEVICE,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
    tell: Callable[[str], None] | None = None,
    stop: Callable[[], int] | None = None,
) -> TrainResult:
    """Train a model into the run folder `run`, by the method of the settings.

    Parameters
    ----------
    resume, overwrite
        What may be done with a run that is there already: go on with it, or start anew over it.
    progress
        Called after every step with the steps done, all steps, and where the run stands.
    tell
        Takes a line of what is trained, and after every epoch one of its losses and scores.
    stop
        Asked before every step and every batch of validation; an exit code other than 0 saves and
        stops the run.

    Raises
    ------
    DivergedError
        If the loss, a gradient or a score is not finite; ``model.safetensors`` is the best model so
        far, and the state that of the last good save.
    StoppedError
        If `stop` asked for it; the state is saved.
    SameOutputError
        If the run is finished, and was trained on the same files with the same settings.
    ArtifactError
        If the run to resume was another one, or no whole state of it is left.
    ResourceError
        If another process trains into the same folder, or the disk is full; what was saved before
        can be resumed.
    """
    started = time.monotonic()
    chosen = pick_device(device)
    folder, settings = RunWriter(run, resume, overwrite), RunSettings.of(inputs, config, device)
    report, tell = progress or (lambda *_: None), tell or (lambda _: None)
    with folder.held(settings):
        trainer = Trainer(folder, inputs, config, chosen, stop or (lambda: 0))
        resumed = resume and trainer.resume()
        config = trainer.config
        record = new_record(inputs, config, str(chosen)) | {"chosen": sorted(trainer.chosen)}
        if not trainer.finished():
            trainer.pause()
        folder.begin(record, anew=not resumed)
        try:
            dataclasses.replace(settings, config=config).write(folder.config)
            if trainer.rows:
                folder.write_metrics(trainer.rows)
            trainer.write_clips()
            tell(f"{trainer}, {trainer.steps} steps an epoch")
            for line in trainer.choice:
                tell(line)
            while not trainer.finished():
                trainer.train_epoch(report)
                trainer.validate()
                tell(trainer.epoch_line())
            fitted = trainer.fit_decoding(report) if config.tune else None
        except BaseException as error:
            folder.abandon(error)
            raise
        result = trainer.result(time.monotonic() - started, fitted)
        folder.close_record("finished", **dataclasses.asdict(result) | {"model": result.model.name})
    return result


class Trainer:
    """The state of a run, and what an epoch does to it.

    Nothing is written to the folder before the first step; `stop` is as for `train`.
    """

    def __init__(
        self,
        folder: RunWriter,
        inputs: TrainInputs,
        config: TrainConfig,
        device: torch.device,
        stop: Callable[[], int],
    ) -> None:
        self.folder, self.stop = folder, stop
        self.clips, self.validation, self.vocabulary = load_inputs(inputs, config)
        self.labels = (inputs.val_strong, inputs.val_weak)  # to validate on; none: held-out clips
        self.n_labelled = self.clips.n_labelled
        if not any(self.labels):
            self.n_labelled += len(self.validation.clips)
        given = (config.method, config.batch_size, config.steps_per_epoch)
        wanted = suited(self.n_labelled, *given) | folder.chosen()
        config, self.chosen = config.with_chosen(wanted)
        self.config = config
        self.selected_by = config.select_by
        if config.select_by == "auto":
            of_events = self.validation.strong is not None and len(self.clips.strong)
            self.selected_by = "event_f1" if of_events else "clip_f1"
            few = len(self.validation.clips) < _TELLING and not any(self.labels)
            self.selected_by = "last" if few and not config.patience else self.selected_by
        model = new_model(self.clips, self.vocabulary, config)
        strong = self.validation.strong
        events = [*self.clips.events, *(strong.events if strong else ())]
        model.decoding = untuned_decoding(events, model.classes, model.frame_rate)
        warn_of_short_events(events, model, config.arch)
        self.batches = TrainingBatches(
            self.clips, self.vocabulary, config, model.architecture.time_pooling
        )
        self.steps = config.steps_per_epoch or self.batches.steps_of_a_pass
        n_steps = config.epochs * self.steps
        self.learner = Learner(model.detector, config, device, model.features, n_steps)
        networks = self.learner.networks
        self.models = {
            name: dataclasses.replace(model, network=networks[name])
            for name in sorted(networks, key=lambda name: name != config.final)
        }
        self.model, *_ = self.models.values()  # which is validated and selected
        identity = run_identity(config, self.clips, self.validation, self.vocabulary)
        if self.learner.teacher is not None:  # half of the run's steps, unless they are given
            identity["ramp_up"] = self.learner.ramp_up
        if config.schedule == "cosine":  # which ends with the last step
            identity["steps"] = n_steps
        self.identity = json.dumps(identity, sort_keys=True)
        if self.learner.teacher is not None:
            warn_of_loud_noise(self.clips, config)
        self.step = 0  # of the run: the number of finished steps
        self.loss_sums: dict[str, float] = {}  # of this epoch's steps
        self.rows: list[dict[str, Any]] = []  # of finished epochs
        self.latest: list[str] = []  # clips of the latest batch
        self.saved_step, self.saved_at = 0, time.monotonic()

    def __str__(self) -> str:
        """Return what is trained on, and how long the frames of its output are."""
        hop, pooled = 1000 / self.model.features.frame_rate, self.model.architecture.time_pooling
        made_of = f" (each of {pooled} of {hop:.3g} ms)" if pooled > 1 else ""
        return (
            f"{self.clips} to train and {len(self.validation.clips)} to validate on, "
            f"{len(self.vocabulary)} classes, output frames of {pooled * hop:.3g} ms{made_of}"
        )

    @property
    def choice(self) -> list[str]:
        """Return lines on the settings that were not given, if there are any."""
        learns = any(p.requires_grad for p in self.model.detector.pooling.parameters())
        return choices(self.config, self.chosen, self.n_labelled, self.batches, learns)

    @property
    def files(self) -> dict[str, Path]:
        """Return the model file of each network."""
        first, *others = self.models
        return {first: self.folder.model, **{name: self.folder.other(name) for name in others}}

    # One epoch

    def train_epoch(self, progress: Callable[[int, int, str], None]) -> None:
        """Run the remaining steps of the current epoch."""
        while self.step < (len(self.rows) + 1) * self.steps:
            self.pause()
            for name, loss in self.train_step().items():
                self.loss_sums[name] = self.loss_sums.get(name, 0.0) + loss
            self.step += 1
            progress(self.step, self.config.epochs * self.steps, self._where())

    def train_step(self) -> dict[str, float]:
        """Draw the batch of the current step and learn from it; return the losses."""
        batch = self.batches.draw(len(self.rows), self.step)
        self.latest = batch.names
        try:
            return self.learner.step(batch, self.step)
        except FloatingPointError as error:
            raise self._diverged(f"{error}; {self._latest()}", self.step + 1) from None

    def validate(self) -> None:
        """End the epoch: score the validation clips, keep the best model, save."""
        self._require_finite()
        what = (self.model, self.validation, self.config, self.learner.device)
        try:
            scores = validate(*what, self.pause)
        except FloatingPointError as error:
            raise self._diverged(str(error), self.step) from None
        row: dict[str, Any] = {
            "epoch": len(self.rows) + 1,
            "step": self.step,
            "lr": self.learner.lr(self.step - 1),
            **{name: total / self.steps for name, total in self.loss_sums.items()},
            **scores,
        }
        for name, values in self.model.detector.pooling.learned().items():
            labels = zip(self.vocabulary.classes, values, strict=True)
            row |= {f"{name}[{label}]": value for label, value in labels}
        self.learner.end_epoch(row["loss"])
        self.rows.append(row)
        self.loss_sums = {}
        self._save_models(row)
        self.folder.write_metrics(self.rows)
        self.save()
        self.folder.take_place()
        self._warn_of_idle_score()

    def epoch_line(self) -> str:
        """Return the losses and scores of the latest epoch, for people."""
        row = self.rows[-1]
        scores = [f"{n} {row[n]:.3f}" for n in ("clip_f1", "event_f1") if n in row]
        is_best = self.selected_by != "last" and self.best_row() is row
        best = " (best so far)" if is_best else ""
        return (
            f"epoch {row['epoch']} of {self.config.epochs}: loss {row['train_loss']:.3f}; of the "
            f"validation clips {row['loss']:.3f}, {', '.join(scores)}{best}"
        )

    def _warn_of_idle_score(self) -> None:
        """Warn once of a score that has stayed at its least or greatest value."""
        scores = [self.score(row) for row in self.rows]
        latest, before = set(scores[-_IDLE_EPOCHS:]), set(scores[-_IDLE_EPOCHS - 1 : -_IDLE_EPOCHS])
        if len(scores) < _IDLE_EPOCHS or len(latest) > 1 or latest == before:
            return
        meaning = {
            0.0: "nothing is learned so far; look at labels and --lr",
            1.0: "they are too few or too easy to tell epochs apart by it",
        }.get(scores[-1])
        if meaning and self.selected_by != "loss":
            what = "%s of the validation clips has been %g for %d epochs: %s"
            log.warning(what, self.selected_by, scores[-1], _IDLE_EPOCHS, meaning)

    def pause(self) -> None:
        """Save, or save and raise a StoppedError, if it is time to; no step is half done then."""
        code = self.stop()
        is_due = time.monotonic() - self.saved_at > 60 * self.config.save_every
        if self.step > self.saved_step and (code or is_due):
            self.save()
        if code and not self.step:
            raise StoppedError("stopped before the first step; run it again", code)
        if code:
            where = f"in epoch {len(self.rows) + 1} after step {self.step}"
            if self.finished():
                where = "after the last step, while the decoding was fitted"
            raise StoppedError(f"stopped {where}; --resume goes on from {self.folder.last}", code)

    # The run

    def finished(self) -> bool:
        """Return whether the last epoch is done, or the validation score has stalled."""
        n_epochs, patience = len(self.rows), self.config.patience
        has_stalled = patience and self.rows and n_epochs - self.best_row()["epoch"] >= patience
        return n_epochs >= self.config.epochs or bool(has_stalled)

    def best_row(self) -> dict[str, Any]:
        """Return the row of the epoch with the best validation score.

        On few clips scores are often equal, and the first of them is that of a network that has
        learned least. Of equals the best event F1 counts, where there is one: after clip F1 has
        come to 1, events grow longer while the loss still falls. Then the lowest loss does.
        """
        sign = -1 if self.selected_by == "loss" else 1

        def rank(row: dict[str, Any]) -> tuple[float, float, float]:
            return sign * self.score(row), float(row.get("event_f1", 0.0)), -float(row["loss"])

        return max(self.rows, key=rank)

    def write_clips(self) -> None:
        """Write what is trained on, and what is held out of it for validation."""
        self.folder.write_clips(self.clips)
        if not any(self.labels):
            self.folder.write_held_out(self.validation, self.vocabulary.classes)

    def fit_decoding(self, progress: Callable[[int, int, str], None]) -> TuneResult | None:
        """Fit the decoding settings of the best models to the validation clips.

        Where there are no strong validation labels, the median filter lengths come from the strong
        labels that are trained on, if there are any. A model that is tuned already stays as it is.
        """

        def report(done: int, total: int, name: str) -> None:
            self.pause()
            what = f"fitting the decoding, clip {done} of {total}"
            progress(self.step, self.config.epochs * self.steps, what)

        started, fitted = time.monotonic(), None
        config = TuneConfig(self.config.collar, self.config.offset_ratio)
        held_out = (self.folder.held_out_strong, self.folder.held_out)
        files = {str(path): file_sha256(path) for path in self.labels if path}
        files = files or {path.name: file_sha256(path) for path in held_out if path.exists()}
        for path in reversed(self.files.values()):  # that of the run last, whose result it is
            model = load_model(path)
            if model.tuned:
                continue
            if self.validation.strong is None:
                labels = StrongLabels(self.clips.events, ())
                lengths = (labels, model.classes, model.decoding, config)
                model.decoding, _ = lengths_from_durations(*lengths)
            what = (self.validation, files, config, self.learner.device, report)
            fitted = fit_decoding(model, *what)
            save_model(path, model)
        return fitted and dataclasses.replace(fitted, seconds=time.monotonic() - started)

    def result(self, seconds: float, fitted: TuneResult | None) -> TrainResult:
        """Return how the run ended."""
        best, n_epochs = self.best_row(), len(self.rows)
        return TrainResult(
            self.folder.model,
            best["epoch"],
            self.score(best),
            self.selected_by,
            n_epochs,
            n_epochs < self.config.epochs,
            seconds,
            fitted,
        )

    def score(self, row: dict[str, Any]) -> float:
        """Return the validation score of an epoch that models are selected by."""
        names = "epoch" if self.selected_by == "last" else self.selected_by
        return sum(float(row[name]) for name in names.split("+"))

    def _where(self) -> str:
        """Return the epoch and its loss so far, for people."""
        epoch = len(self.rows) + 1
        loss = self.loss_sums["train_loss"] / (self.step - (epoch - 1) * self.steps)
        return f"epoch {epoch} of {self.config.epochs}, loss {loss:.3f}"

    def _save_models(self, row: dict[str, Any]) -> None:
        """Save the model of the latest epoch if it is the best so far, or to be kept."""
        trained = {
            "config": settings_of_weights(self.config),
            "epoch": row["epoch"],
            "step": row["step"],
            "selected_by": self.selected_by,
            "validation": {k: v for k, v in row.items() if k in ("loss", "clip_f1", "event_f1")},
            "clips": len(self.clips),
        }
        for name, model in self.models.items():
            model.trained = trained | ({"network": name} if len(self.models) > 1 else {})
        if row["epoch"] in self.config.keep_epochs:
            self.folder.save_epoch(row["epoch"], self.model)
        if self.best_row()["epoch"] == row["epoch"]:
            for name, model in self.models.items():
                save_model(self.files[name], model)

    def _require_finite(self) -> None:
        """Stop a run whose weights are ruined, before they are saved or used."""
        try:
            for model in self.models.values():
                require_finite(model.detector, "the network")
        except ArtifactError as error:
            raise self._diverged(f"{error}; {self._latest()}", self.step) from None

    def _latest(self) -> str:
        return f"the clips of the batch: {', '.join(self.latest)}"

    def _diverged(self, what: str, step: int) -> DivergedError:
        so_far = f"{self.folder.model} is the best model so far"
        no_model = "no epoch was finished, so there is no model"
        if self.folder.replaces:
            no_model += " but that of the run before"
        best = so_far if self.rows else no_model
        return DivergedError(
            f"training diverged in epoch {len(self.rows) + 1}, step {step}: {what}; "
            f"lower --lr, or look at the clips; {best}"
        )

    # What resuming needs

    def state(self) -> dict[str, Any]:
        """Return what resuming needs; draws depend on seed and step, so none are in it."""
        state = self.learner.state() | {
            "identity": self.identity,
            "step": self.step,
            "loss_sums": self.loss_sums,
            "columns": list(self.rows[0]) if self.rows else [],
        }
        values = [[float(value) for value in row.values()] for row in self.rows]
        state["tensors"]["rows"] = torch.tensor(values, dtype=torch.float64)
        return state

    def save(self) -> None:
        """Write the state."""
        self._require_finite()
        save_state(self.folder.last, self.state(), self.folder.previous)
        self.saved_step, self.saved_at = self.step, time.monotonic()

    def resume(self) -> bool:
        """Go on from the state in the folder; return whether there is one.

        Raises an ArtifactError if it is that of another run, or damaged.
        """
        state = self.folder.load_state()
        if state is None:
            return False
        try:
            self._take_over(state)
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ArtifactError(f"{self.folder.last} cannot be resumed ({brief(error)})") from error
        past = (n for n in self.config.keep_epochs if n <= len(self.rows))
        if lost := [n for n in past if not self.folder.epoch(n).exists()]:
            log.warning("epochs %s are over and cannot be kept", ", ".join(map(str, lost)))
        for path in self.files.values():
            if self.rows and not path.exists():
                what = "the best model of the run to resume; put it back, or --overwrite"
                raise ArtifactError(f"{path} is missing, {what}")
        return True

    def _take_over(self, state: dict[str, Any]) -> None:
        require_same_run(self.identity, state["identity"], str(self.folder.last))
        self.rows = self._rows(state)
        tensors = {name: value for name, value in state["tensors"].items() if name != "rows"}
        begun = len(self.rows) * self.steps  # the step with which the current epoch began
        self.step = self.saved_step = int(number(state["step"], begun, begun + self.steps))
        self.learner.load(state | {"tensors": tensors})
        for model in self.models.values():
            require_finite(model.detector, str(self.folder.last))
        self.loss_sums = {name: number(loss) for name, loss in state["loss_sums"].items()}
        known = (self.rows[0] if self.rows else self.loss_sums).keys() & LOSSES
        wanted = known | {"train_loss"} if self.step > begun else set()
        if self.loss_sums.keys() != wanted:
            raise ValueError("its losses are not those of this run")

    def _rows(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the rows of metrics.tsv from a state, if they are those of this run."""
        learned = self.model.detector.pooling.learned()
        others = [f"{name}[{label}]" for name in learned for label in self.vocabulary.classes]
        scores = ("clip_f1", "event_f1")[: 2 if self.validation.strong else 1]
        names = ["epoch", "step", "lr", "loss", *scores, *others]
        rows = rows_of(state)
        for i, row in enumerate(rows, 1):
            if [key for key in row if key not in LOSSES] != names:
                raise ValueError("its columns are not those of this run")
            number(row["step"], i * self.steps, i * self.steps)
            number(row["lr"], 0, self.config.lr)
        return rows
