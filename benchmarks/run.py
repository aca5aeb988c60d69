"""Ratios of sedtool to named peers at the same job; see README.md."""

import argparse
import importlib.metadata
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy starts its threads

import h5py
import librosa
import numpy as np
import soundfile
import torch
from scipy import ndimage

from sedtool.audio import AudioReader, write_wav
from sedtool.config import ARCHITECTURES, FEATURE_PRESETS, PoolingConfig
from sedtool.crnn import Detector
from sedtool.decoding import median_filter
from sedtool.extraction import extract
from sedtool.features import log_mel_blocks
from sedtool.pooling import clip_loss
from sedtool.store import open_features

torch.set_num_threads(1)
Job = Callable[[], object]
CONFIG = FEATURE_PRESETS["dcase2017"]
RNG = np.random.default_rng(0)


@contextmanager
def audio(rate: int, suffix: str, n_files: int = 20) -> Iterator[list[Path]]:
    """Make ten-second files of noise."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}{suffix}" for i in range(n_files)]
        for path in paths:
            soundfile.write(path, 0.1 * RNG.standard_normal(10 * rate), rate)
        yield paths


def by_librosa(path: Path) -> np.ndarray:
    """Return the features of a file as a librosa user computes them."""
    wave, _ = librosa.load(path, sr=CONFIG.sample_rate)
    power = librosa.feature.melspectrogram(
        y=wave, sr=CONFIG.sample_rate, n_fft=1024, hop_length=400, n_mels=64, htk=True, norm=None
    )
    return np.log(power + 1e-10).T


def by_sedtool(path: Path) -> np.ndarray:
    """Return the features of a file, decoded in blocks."""
    with AudioReader(path, CONFIG.sample_rate) as reader:
        return np.concatenate(list(log_mel_blocks(reader, CONFIG)))


@contextmanager
def features_of(rate: int, suffix: str) -> Iterator[tuple[Job, Job]]:
    """Compare log-mel extraction with librosa.load and melspectrogram."""
    with audio(rate, suffix) as paths:
        yield lambda: [by_sedtool(p) for p in paths], lambda: [by_librosa(p) for p in paths]


@contextmanager
def batches() -> Iterator[tuple[Job, Job]]:
    """Compare shuffled reads of clips with one HDF5 data set a clip."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i in range(200):
            write_wav(folder / f"{i}.wav", 0.1 * RNG.standard_normal(160_000), 16_000)
        extract([folder], folder / "features.h5", CONFIG)
        features = open_features(folder / "features.h5")
        order = RNG.integers(len(features.names), size=2000)
        with h5py.File(folder / "peer.h5", "w") as file:
            for i, clip in enumerate(features.names):
                file[clip] = features.clip(i)
        with h5py.File(folder / "peer.h5", "r") as file:
            yield (
                lambda: [features.clip(i).copy() for i in order],
                lambda: [file[features.names[i]][:] for i in order],
            )


@contextmanager
def median() -> Iterator[tuple[Job, Job]]:
    """Compare the median of decisions with scipy's of scores, on a clip of 500 frames."""
    scores = RNG.random((500, 10)).astype(np.float32)
    sizes = np.full(10, 27)
    yield (
        lambda: [median_filter(scores > 0.5, sizes) for _ in range(50)],
        lambda: [ndimage.median_filter(scores, size=(27, 1)) > 0.5 for _ in range(50)],
    )


@contextmanager
def training_step() -> Iterator[tuple[Job, Job]]:
    """Compare a training step of the dcase2017 network with the reference's order of layers."""
    ours = Detector(ARCHITECTURES["dcase2017"], PoolingConfig("linear"), 64, 17)
    features, lengths = torch.randn(16, 400, 64), torch.full((16,), 400)
    target = (torch.rand(16, 17) < 0.1).float()
    peer = ReferenceOrder(ours)

    def step(forward: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> None:
        clip_loss(*forward(), target).backward()

    yield (
        lambda: step(lambda: ours(features, lengths)[2:]),
        lambda: step(lambda: peer(features)),
    )


class ReferenceOrder(torch.nn.Module):
    """The same network with channels first, and pooling after ReLU."""

    def __init__(self, ours: Detector) -> None:
        super().__init__()
        layers: list[torch.nn.Module] = []
        for n_in, n_out, pool in ((1, 32, (1, 2)), (32, 64, (2, 2)), (64, 128, (2, 2))):
            layers += [torch.nn.Conv2d(n_in, n_out, 5, padding=2), torch.nn.BatchNorm2d(n_out)]
            layers += [torch.nn.ReLU(), torch.nn.MaxPool2d(pool)]
        self.cnn = torch.nn.Sequential(*layers)
        self.gru = torch.nn.GRU(1024, 100, 2, batch_first=True, bidirectional=True)
        self.classify = torch.nn.Linear(200, 17)
        self.pooling = ours.pooling

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log y and log(1 - y) of each clip."""
        x = self.cnn(features[:, None]).permute(0, 2, 1, 3).flatten(2)
        pooled: tuple[torch.Tensor, torch.Tensor] = self.pooling(self.classify(self.gru(x)[0]))
        return pooled


BENCHMARKS: dict[str, tuple[Callable[[], "contextmanager[tuple[Job, Job]]"], str]] = {
    "extract-wav-16k": (lambda: features_of(16_000, ".wav"), "librosa"),
    "extract-wav-44k": (lambda: features_of(44_100, ".wav"), "librosa"),
    "extract-flac-44k": (lambda: features_of(44_100, ".flac"), "librosa"),
    "extract-ogg-44k": (lambda: features_of(44_100, ".ogg"), "librosa"),
    "read-clips": (batches, "h5py"),
    "median": (median, "scipy"),
    "training-step": (training_step, "torch"),
}


def seconds(job: Job) -> float:
    """Return the CPU seconds of a call."""
    started = time.process_time()
    job()
    return time.process_time() - started


def main() -> None:
    """Print a line for each benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print("| benchmark | peer | times faster (median) | spread |\n|---|---|---|---|")
    for name in options.names or BENCHMARKS:
        make, peer = BENCHMARKS[name]
        with make() as (ours, theirs):
            ours(), theirs()  # warm up
            ratios = sorted(1 / seconds(ours) * seconds(theirs) for _ in range(options.runs))
        version = importlib.metadata.version(peer)
        middle = statistics.median(ratios)
        print(
            f"| {name} | {peer} {version} | {middle:.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
