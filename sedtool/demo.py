"""The demo: every stage of sedtool, one after the other, on sounds made on the spot.

Ten-second clips at 16 kHz hold up to four events of ten classes, 6 to 25 dB above a background that
differs from clip to clip. Nothing is downloaded, and every clip is a function of (seed, split,
index): it does not depend on how many others are made.

Each sound is a pure function of a random generator: every call draws a new pitch, rate, timbre,
envelope and length. Onsets and offsets are sharp and nothing fades away slowly, so that labels can
be true in noise too. Levels are arbitrary; waves are mono float64, shape (N,). Lengths in seconds::

    click 0.1   knock 0.2-0.5   beep 0.3-1    chirp 0.4-1   trill 0.6-1.5
    bell 1-2    rattle 1-2.5    siren 2-5     hiss 2-6      engine 4-8
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfilt

from sedtool import __version__
from sedtool.atomic import claim, differing, resource_errors, write_text
from sedtool.audio import AudioInputs
from sedtool.config import (
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
from sedtool.config.extraction import DEMO_WORKERS
from sedtool.errors import OutputExistsError, SameOutputError
from sedtool.evaluation import Evaluation
from sedtool.evaluation.from_files import evaluate_files
from sedtool.extraction import extract
from sedtool.inference import InferOutputs, infer
from sedtool.labels import read_events
from sedtool.machine import pick_device
from sedtool.plots import plot_clip, plot_pooling
from sedtool.recipes.soundscapes import (
    Soundscape,
    Source,
    Wave,
    clip_generator,
    compose,
    noise,
    trim,
    write_dataset,
)
from sedtool.runs import RunFolder, unlike
from sedtool.training import train
from sedtool.tuning import tune

__all__ = ["DemoFiles", "run_demo"]

Report = Callable[[int, int, str], None]
Bar = Callable[[str], AbstractContextManager[Report]]  # title -> progress callback

SIZES = {"train": 600, "validation": 150, "test": 150}  # clips
TRAINING = TrainConfig(
    arch="small",
    pooling="power",
    epochs=12,
    time_shift=16.0,
    tune=False,  # a stage does it
)

SAMPLE_RATE = 16_000  # Hz
DURATION = 10.0  # seconds
NOISE_LEVELS = (-46.0, -34.0)  # dB of full scale
SNRS = (6.0, 25.0)  # dB
CLASSES_A_CLIP = (0.1, 0.3, 0.4, 0.2)  # probabilities of 0, 1, 2 and 3 classes
MOST_EVENTS = 4  # in a clip
REPEATABLE = 2.0  # seconds: a shorter sound may occur twice in a clip


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

    def refuse_finished(self, seed: int) -> None:
        """Raise a SameOutputError if a demo of this seed is finished; other ones are refused."""
        if self.metrics.exists():
            record = RunFolder(self.run).read_record()
            here = {"seed": seed, "sedtool_version": __version__}
            if different := unlike(record, here):
                raise differing(self.folder, "; ".join(different))
            raise SameOutputError(f"{self.folder} is finished, with {self.metrics.name}")

    def refuse_others(self) -> None:
        """Refuse a folder that is not new, empty, or of a demo."""
        with resource_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            names = {path.name for path in self.folder.iterdir()}
        begun = f".{self.marker.name}."  # with which the names of its lock and of a part begin
        if self.marker.name not in names and not all(name.startswith(begun) for name in names):
            raise OutputExistsError(
                f"{self.folder} holds files that no demo made; name a new folder"
            )

    def begin(self) -> None:
        """Mark the folder, and remove what an earlier demo left in it."""
        if not self.marker.exists():
            write_text(self.marker, "Made by sedtool demo, which may remove what it made here.\n")
        for folder in (self.audio, self.labels, self.run):
            shutil.rmtree(folder, ignore_errors=True)
        files = (self.features, self.scores, self.events, self.tags, self.metrics)
        for path in (*files, self.clip_picture, self.pooling_picture):
            path.unlink(missing_ok=True)


def run_demo(
    folder: Path,
    bar: Bar,
    *,
    seed: int = TrainConfig.seed,
    workers: int = DEMO_WORKERS,
    device: str = DEVICE,
    overwrite: bool = False,
) -> Evaluation:
    """Make data, extract, train from weak labels, tune, infer, evaluate, draw.

    Strong labels serve to select and tune on validation clips and to score test clips, and for
    nothing else; no test clip is seen before the model is finished. `bar` is called with the title
    of each stage and gives its progress callback; `seed` is of the sounds and of the training.
    """
    pick_device(device)  # before minutes are spent
    files = DemoFiles(folder)
    files.refuse_others()
    with claim(files.marker, overwrite=True):
        if not overwrite:
            files.refuse_finished(seed)
        files.begin()
        return _run_stages(files, bar, seed, workers, device, overwrite)


def _run_stages(
    files: DemoFiles, bar: Bar, seed: int, workers: int, device: str, overwrite: bool
) -> Evaluation:
    """Go from sounds to figures and metrics, whose file comes last and says that all is there."""
    with bar("make sounds") as report:
        sounds = (tuple(SOUNDS), SIZES, partial(make_clip, seed))
        write_dataset(files.folder, *sounds, overwrite=overwrite, progress=report)
    with bar("extract") as report:
        config, audio = FEATURE_PRESETS["dcase2017"], files.audio
        run = ExtractConfig(workers=workers)
        extract([audio], files.features, config, run, root=audio, progress=report)
    _train(files, replace(TRAINING, seed=seed), bar, device)
    with bar("infer") as report:
        test = AudioInputs((files.audio / "test",), root=files.audio)
        outputs = InferOutputs(files.events, files.scores, files.tags)
        infer(files.model, test, InferConfig(device=device), outputs, progress=report)
    labels = read_events(files.reference).weak()
    clip = max(sorted(labels), key=lambda name: len(labels[name]))  # with most to see
    plot_clip(files.features, files.scores, clip, files.clip_picture, reference=files.reference)
    plot_pooling([files.model], files.pooling_picture, durations_from=files.validation)
    compared = EvaluateInputs(files.reference, files.scores)
    return evaluate_files(compared, EvaluationConfig(), files.metrics)


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


def make_clip(seed: int, split: str, index: int) -> Soundscape:
    """Return one soundscape of the demo."""
    rng = clip_generator(seed, split, index)
    level = 10 ** (rng.uniform(*NOISE_LEVELS) / 20)
    background = level * noise(rng, round(DURATION * SAMPLE_RATE), SAMPLE_RATE)
    return compose(rng, background, _draw_sources(rng), SAMPLE_RATE)


def _draw_sources(rng: np.random.Generator) -> list[Source]:
    n_classes = rng.choice(len(CLASSES_A_CLIP), p=CLASSES_A_CLIP)
    sources: list[Source] = []
    for label in rng.choice(list(SOUNDS), n_classes, replace=False).tolist():
        sources.append(_draw_source(rng, label))
        short = len(sources[-1].wave) < REPEATABLE * SAMPLE_RATE
        if short and rng.random() < 0.5:
            sources.append(_draw_source(rng, label))
    return sources[:MOST_EVENTS]


def _draw_source(rng: np.random.Generator, label: str) -> Source:
    wave = trim(SOUNDS[label](rng, SAMPLE_RATE), SAMPLE_RATE)
    return Source(label, wave, rng.uniform(*SNRS))


# Sounds


def click(rng: np.random.Generator, sample_rate: int) -> Wave:
    """Return one burst of noise in an octave around 1.5 to 4 kHz."""
    n = _samples(rng, 0.08, 0.12, sample_rate)
    centre = rng.uniform(1500.0, 4000.0)
    burst = _band_noise(rng, n, centre / 1.4, centre * 1.4, sample_rate)
    return burst * _decay(n, 20.0) * _ramps(n, 0.002, 0.01, sample_rate)


def knock(rng: np.random.Generator, sample_rate: int) -> Wave:
    """Return two or three dull thuds, 0.12 to 0.2 s apart, that ring at 150 to 400 Hz."""
    n, step = round(0.1 * sample_rate), _samples(rng, 0.12, 0.2, sample_rate)
    pitch = rng.uniform(150.0, 400.0)
    ring = _tone(np.full(n, pitch), [1.0, 0.0, 0.3], sample_rate)
    ring *= _decay(n, 20.0) * _ramps(n, 0.002, 0.01, sample_rate)
    wave = np.zeros(n + step * rng.integers(1, 3))
    for start in range(0, len(wave), step):
        wave[start : start + n] += ring * rng.uniform(0.7, 1.0)
    return wave


def beep(rng: np.random.Generator, sample_rate: int) -> Wave:
    """Return one steady tone of 600 to 1500 Hz with odd harmonics, as of an alarm clock."""
    n = _samples(rng, 0.3, 1.0, sample_rate)
    weights = [1.0, 0.0, rng.uniform(0.1, 0.5), 0.0, rng.uniform(0.0, 0.2)]
    wave = _tone(np.full(n, rng.uniform(600.0, 1500.0)), weights, sample_rate)
    return wave * _ramps(n, 0.01, 0.01, sample_rate)


def chirp(rng: np.random.Generator, sample_rate: int) -> Wave:
    """Return a tone that sweeps up three octaves or so, from 300 to 600 Hz."""
    n = _samples(rng, 0.4, 1.0, sample_rate)
    octaves = rng.uniform(2.5, 3.5) * np.linspace(0.0, 1.0, n)
    wave = _tone(rng.uniform(300.0, 600.0) * 2**octaves, [1.0], sample_rate)
    return wave * _ramps(n, 0.02, 0.02, sample_rate)


def trill(rng: np.random.Generator, sample_rate: int) -> Wave:
    """Return a bird's trill: a tone of 3.5 to 5.5 kHz that wavers 12 to 25 times a second."""
    n = _samples(rng, 0.6, 1.5, sample_rate)
    waver = np.sin(2 * np.pi * rng.uniform(12.0, 25.0) * np.arange(n) / sample_rate)
    pitch = rng.uniform(3500.0, 5500.0) * (1 + rng.uniform(0.06, 0.15) * waver)
    loudness = 1 + rng.uniform(0.2, 0.6) * waver
    return _tone(pitch, [1.0], sample_rate) * loudness * _ramps(n, 0.03, 0.03, sample_rate)


def bell(rng: np.random.Generator, sample_rate: int) -> Wave:
    """Return a struck bell: inharmonic partials that die away by 15 dB, then a hand damps it."""
    n = _samples(rng, 1.0, 2.0, sample_rate)
    pitch = rng.uniform(400.0, 900.0)
    wave = np.zeros(n)
    for ratio in (1.0, 2.0, 2.4, 3.0, 4.5, 5.4):  # minor third and all: as church bells are tuned
        partial = _tone(np.full(n, pitch * ratio * rng.uniform(0.99, 1.01)), [1.0], sample_rate)
        wave += rng.uniform(0.3, 1.0) * partial * _decay(n, 12.0 + 3.0 * ratio)
    return wave * _ramps(n, 0.003, 0.03, sample_rate)


def rattle(rng: np.random.Generator, sample_rate: int) -> Wave:
    """Return a train of bursts of high noise, 8 to 14 a second."""
    n = _samples(rng, 1.0, 2.5, sample_rate)
    phase = (rng.uniform(8.0, 14.0) * np.arange(n) / sample_rate) % 1.0
    wave = _band_noise(
        rng, n, rng.uniform(1000.0, 2000.0), rng.uniform(4500.0, 6500.0), sample_rate
    )
    return wave * np.exp(-phase * rng.uniform(4.0, 6.0)) * _ramps(n, 0.002, 0.01, sample_rate)


def siren(rng: np.random.Generator, sample_rate: int) -> Wave:
    """Return a siren: a tone with harmonics that rises and falls, 0.6 to 1.5 times a second."""
    n = _samples(rng, 2.0, 5.0, sample_rate)
    turns = rng.uniform(0.6, 1.5) * np.arange(n) / sample_rate + rng.uniform()
    pitch = rng.uniform(700.0, 1000.0) * 2 ** (rng.uniform(0.3, 0.5) * np.sin(2 * np.pi * turns))
    wave = _tone(pitch, [1.0, rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.4)], sample_rate)
    return wave * _ramps(n, 0.03, 0.03, sample_rate)


def hiss(rng: np.random.Generator, sample_rate: int) -> Wave:
    """Return steady noise in a band of 3.5 to 7.5 kHz, as of a spray can."""
    n = _samples(rng, 2.0, 6.0, sample_rate)
    low, high = rng.uniform(3000.0, 4500.0), rng.uniform(6000.0, 7500.0)
    return _band_noise(rng, n, low, high, sample_rate) * _ramps(n, 0.03, 0.03, sample_rate)


def engine(rng: np.random.Generator, sample_rate: int) -> Wave:
    """Return an idling engine: harmonics of 50 to 90 Hz that throb 6 to 12 times a second."""
    n = _samples(rng, 4.0, 8.0, sample_rate)
    time = np.arange(n) / sample_rate
    drift = 1 + 0.05 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.4) * time + rng.uniform()))
    tilt = rng.uniform(0.3, 0.8)
    weights = [rng.uniform(0.3, 1.0) / number**tilt for number in range(1, 21)]
    wave = _tone(rng.uniform(50.0, 90.0) * drift, weights, sample_rate)
    throb = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(6.0, 12.0) * time)
    return wave * throb * _ramps(n, 0.05, 0.05, sample_rate)


def _samples(rng: np.random.Generator, shortest: float, longest: float, sample_rate: int) -> int:
    """Draw a length between two durations in seconds."""
    return round(rng.uniform(shortest, longest) * sample_rate)


def _tone(frequency: Wave, weights: Sequence[float], sample_rate: int) -> Wave:
    """Return harmonics 1, 2, ... of a frequency contour in Hz, each with its weight."""
    phase = 2 * np.pi * np.cumsum(frequency) / sample_rate
    wave = np.zeros(len(frequency))
    for number, weight in enumerate(weights, 1):
        wave += weight * np.sin(number * phase)
    return wave


def _band_noise(
    rng: np.random.Generator, n_samples: int, low: float, high: float, sample_rate: int
) -> Wave:
    band = butter(4, (low, high), "bandpass", fs=sample_rate, output="sos")
    return np.asarray(sosfilt(band, rng.standard_normal(n_samples)))


def _decay(n_samples: int, decibels: float) -> Wave:
    """Return an exponential that falls by `decibels` over its length."""
    return 10 ** (-decibels / 20 * np.linspace(0.0, 1.0, n_samples))


def _ramps(n_samples: int, attack: float, release: float, sample_rate: int) -> Wave:
    """Return an envelope of ones that rises and falls linearly at its ends, in seconds."""
    time = np.arange(1, n_samples + 1) / sample_rate
    return np.minimum(np.minimum(time / attack, time[::-1] / release), 1.0)


Sound = Callable[[np.random.Generator, int], Wave]  # of a sample rate, Hz
SOUNDS: dict[str, Sound] = {
    sound.__name__: sound
    for sound in (beep, bell, chirp, click, engine, hiss, knock, rattle, siren, trill)
}
