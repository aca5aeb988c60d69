"""The demo's main job: every stage of sedtool, one after the other, on sounds made on the spot."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from sedtool.atomic import refuse_existing, resource_errors, write_text
from sedtool.config import FEATURE_PRESETS, EvaluationConfig, TrainConfig, TuneConfig
from sedtool.demo.dataset import SIZES, make_dataset
from sedtool.errors import OutputExistsError
from sedtool.evaluation.report import Evaluation
from sedtool.evaluation.stage import EvaluateInputs, evaluate_files
from sedtool.extraction import extract
from sedtool.inference import InferOutputs, InferSettings, infer
from sedtool.labels import read_events
from sedtool.plots import plot_clip, plot_pooling
from sedtool.training import Progress, TrainInputs, train
from sedtool.tuning import TuneInputs, tune

__all__ = ["DEMO_TRAINING", "DemoFiles", "run_demo"]

Report = Callable[[int, int, str], None]
Bar = Callable[[str], AbstractContextManager[Report]]  # title -> progress callback

DEMO_TRAINING = TrainConfig(
    arch="small", pooling="power", epochs=12, time_shift=16.0, select_by="clip_f1"
)


@dataclass(frozen=True)
class DemoFiles:
    """What the demo leaves in its folder."""

    folder: Path

    @property
    def marker(self) -> Path:
        """Return the file that says that a demo made this folder."""
        return self.folder / ".sedtool-demo"

    @property
    def labels(self) -> Path:
        """Return the folder of label files."""
        return self.folder / "labels"

    @property
    def metrics(self) -> Path:
        """Return the scores as JSON."""
        return self.folder / "metrics.json"

    @property
    def clip_picture(self) -> Path:
        """Return the picture of a test clip."""
        return self.folder / "clip.png"

    @property
    def pooling_picture(self) -> Path:
        """Return the picture of the learned exponents."""
        return self.folder / "exponents.png"


def run_demo(
    folder: Path,
    bar: Bar,
    *,
    seed: int = 0,
    workers: int = 2,
    device: str = "auto",
    sizes: dict[str, int] | None = None,
    training: TrainConfig = DEMO_TRAINING,
    overwrite: bool = False,
) -> Evaluation:
    """Make data, extract, train from weak labels, tune, infer, evaluate, draw.

    Strong labels are used to tune on validation clips and to score test clips, and for nothing
    else; no test clip is seen before the model is finished.

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
    files = DemoFiles(folder)
    refuse_existing(files.metrics, overwrite)
    _claim(files)
    labels, features, run = files.labels, folder / "features.h5", folder / "run"
    with bar("make sounds") as report:
        make_dataset(folder, seed, sizes or SIZES, overwrite, report)
    with bar("extract") as report:
        config = FEATURE_PRESETS["dcase2017"]
        audio = [folder / "audio"]
        extract(audio, features, config, root=folder / "audio", workers=workers, progress=report)
    with bar("train") as report:
        inputs = TrainInputs(
            (features,),
            labels / "train_weak.tsv",
            val_strong=labels / "validation_strong.tsv",
            classes=labels / "classes.txt",
        )
        train(
            run,
            inputs,
            training,
            device=device,
            progress=lambda at: report(at.done, at.total, str(at)),
        )
    model, scores = run / "model.safetensors", folder / "scores.h5"
    reference = labels / "test_strong.tsv"
    with bar("tune") as report:
        validation = TuneInputs((features,), reference=labels / "validation_strong.tsv")
        tune(model, validation, TuneConfig(), device=device, progress=report)
    with bar("infer") as report:
        outputs = InferOutputs(folder / "events.tsv", scores, folder / "tags.tsv")
        test_audio = [folder / "audio" / "test"]
        infer(
            model,
            test_audio,
            InferSettings(),
            outputs,
            root=folder / "audio",
            device=device,
            progress=report,
        )
    comparison = EvaluateInputs(reference, scores)
    evaluation = evaluate_files(comparison, EvaluationConfig(), files.metrics)
    clip = _busiest_clip(reference)
    plot_clip(features, scores, clip, files.clip_picture, reference=reference)
    plot_pooling([model], files.pooling_picture, durations_from=labels / "validation_strong.tsv")
    return evaluation


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
    for name in ("audio", "labels", "run"):
        shutil.rmtree(files.folder / name, ignore_errors=True)
    for name in (
        "features.h5",
        "scores.h5",
        "events.tsv",
        "tags.tsv",
        "metrics.json",
        "clip.png",
        "exponents.png",
    ):
        (files.folder / name).unlink(missing_ok=True)


def _shown(report: Report) -> Callable[[Progress], None]:
    return lambda at: report(at.done, at.total, str(at))


def _busiest_clip(reference: Path) -> str:
    """Return the first of the clips with most classes: the one with most to see."""
    heard = read_events(reference).weak()
    return max(sorted(heard), key=lambda name: len(heard[name]))
