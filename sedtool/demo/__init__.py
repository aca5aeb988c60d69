"""The demo: every stage of sedtool, one after the other, on sounds made on the spot."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

from sedtool.atomic import refuse_existing, resource_errors, write_text
from sedtool.audio import AudioInputs
from sedtool.config import (
    DEMO_WORKERS,
    DEVICE,
    FEATURE_PRESETS,
    EvaluateInputs,
    EvaluationConfig,
    ExtractConfig,
    InferConfig,
    TrainConfig,
    TrainInputs,
    TuneConfig,
    TuneInputs,
)
from sedtool.demo.sounds import SIZES, SOUNDS, make_clip
from sedtool.errors import OutputExistsError
from sedtool.evaluation.from_files import evaluate_files
from sedtool.evaluation.report import Evaluation
from sedtool.extraction import extract
from sedtool.inference import InferOutputs, infer
from sedtool.labels import read_events
from sedtool.machine import pick_device
from sedtool.plots import plot_clip, plot_pooling, require_matplotlib
from sedtool.recipes.soundscapes import write_dataset
from sedtool.runs import RunFolder
from sedtool.training import train
from sedtool.tuning import tune

__all__ = ["DEMO_TRAINING", "DemoFiles", "run_demo"]

Report = Callable[[int, int, str], None]
Bar = Callable[[str], AbstractContextManager[Report]]  # title -> progress callback

DEMO_TRAINING = TrainConfig(
    arch="small", pooling="power", epochs=12, time_shift=16.0, select_by="clip_f1"
)


class DemoFiles:
    """What the demo leaves in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = folder / ".sedtool-demo"  # says that a demo made this folder
        self.audio, self.labels = folder / "audio", folder / "labels"
        self.validation = self.labels / "validation_strong.tsv"
        self.reference = self.labels / "test_strong.tsv"
        self.features, self.run = folder / "features.h5", folder / "run"
        self.model = RunFolder(self.run).model
        self.scores, self.events = folder / "scores.h5", folder / "events.tsv"
        self.tags, self.metrics = folder / "tags.tsv", folder / "metrics.json"
        self.clip_picture = folder / "clip.png"
        self.pooling_picture = folder / "exponents.png"

    @property
    def made(self) -> list[Path]:
        """Return the files that stand in the folder itself, the marker left out."""
        pictures = [self.clip_picture, self.pooling_picture]
        return [self.features, self.scores, self.events, self.tags, self.metrics, *pictures]


def run_demo(
    folder: Path,
    bar: Bar,
    *,
    seed: int = TrainConfig.seed,
    workers: int = DEMO_WORKERS,
    device: str = DEVICE,
    sizes: dict[str, int] | None = None,
    training: TrainConfig = DEMO_TRAINING,
    overwrite: bool = False,
) -> Evaluation:
    """Make data, extract, train from weak labels, tune, infer, evaluate, draw.

    Strong labels serve to select and tune on validation clips and to score test clips, and for
    nothing else; no test clip is seen before the model is finished.

    Parameters
    ----------
    folder
        Takes everything.
    bar
        Called with the title of each stage; gives its progress callback.
    seed
        Of the sounds and of the training.
    workers
        Audio files to extract at a time.
    device
        Where to train.
    sizes
        Clips of train, validation and test.
    training
        How to train.
    overwrite
        Start anew where a finished demo is there.
    """
    require_matplotlib()  # before minutes are spent, as all that follows
    pick_device(device)
    files = DemoFiles(folder)
    refuse_existing(files.metrics, overwrite)
    _claim(files)
    with bar("make sounds") as report:
        sounds = (tuple(SOUNDS), sizes or SIZES, partial(make_clip, seed))
        write_dataset(folder, *sounds, overwrite=overwrite, progress=report)
    with bar("extract") as report:
        config, audio = FEATURE_PRESETS["dcase2017"], files.audio
        run = ExtractConfig(workers=workers)
        extract([audio], files.features, config, run, root=audio, progress=report)
    _train(files, replace(training, seed=seed), bar, device)
    evaluation = _score(files, bar, device)
    clip, reference = _busiest_clip(files.reference), files.reference
    plot_clip(files.features, files.scores, clip, files.clip_picture, reference=reference)
    plot_pooling([files.model], files.pooling_picture, durations_from=files.validation)
    return evaluation


def _train(files: DemoFiles, training: TrainConfig, bar: Bar, device: str) -> None:
    """Train from weak labels, and fit decoding on the validation clips."""
    inputs = TrainInputs(
        (files.features,),
        files.labels / "train_weak.tsv",
        val_strong=files.validation,
        classes=files.labels / "classes.txt",
    )
    with bar("train") as report:
        train(files.run, inputs, training, device=device, progress=report)
    with bar("tune") as report:
        validation = TuneInputs((files.features,), reference=files.validation)
        tune(files.model, validation, TuneConfig(), device=device, progress=report)


def _score(files: DemoFiles, bar: Bar, device: str) -> Evaluation:
    """Detect events in the test clips, from their audio, and score them."""
    outputs = InferOutputs(files.events, files.scores, files.tags)
    inputs = AudioInputs((files.audio / "test",), root=files.audio)
    with bar("infer") as report:
        infer(files.model, inputs, InferConfig(device=device), outputs, progress=report)
    comparison = EvaluateInputs(files.reference, files.scores)
    return evaluate_files(comparison, EvaluationConfig(), files.metrics)


def _claim(files: DemoFiles) -> None:
    """Take a folder that is new, empty, or of an earlier demo, whose files are then removed."""
    with resource_errors(files.folder):
        files.folder.mkdir(parents=True, exist_ok=True)
    if not files.marker.exists():
        if any(files.folder.iterdir()):
            raise OutputExistsError(
                f"{files.folder} holds files that no demo made; name a new folder"
            )
        write_text(files.marker, "Made by sedtool demo, which may remove what it made here.\n")
    for path in (files.audio, files.labels, files.run):
        shutil.rmtree(path, ignore_errors=True)
    for path in files.made:
        path.unlink(missing_ok=True)


def _busiest_clip(reference: Path) -> str:
    """Return the first of the clips with most classes: the one with most to see."""
    labels = read_events(reference).weak()
    return max(sorted(labels), key=lambda name: len(labels[name]))
