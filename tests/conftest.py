"""Audio files and a small data set that several test modules use."""

import io
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import settings

from sedtool.audio import write_wav
from sedtool.checkpoint import Model, source_tags
from sedtool.config import ARCHITECTURES, FEATURE_PRESETS, DecodingConfig, PoolingConfig
from sedtool.crnn import Detector
from sedtool.extraction import extract
from sedtool.labels import Event, StrongLabels, write_events, write_weak

# A busy machine must not fail a property test, nor a random example a run of CI.
settings.register_profile("sedtool", deadline=None, derandomize=True)
settings.load_profile("sedtool")

RATE = 16_000  # Hz, of the tiny data set
RNG = np.random.default_rng(20170613)
NOISE = RNG.uniform(-0.5, 0.5, 22_050)  # 1 s at 22.05 kHz


def encoded(wave: np.ndarray, rate: int, kind: str, subtype: str = "PCM_16") -> bytes:
    """Return an audio file in memory."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


WAV = encoded(NOISE, 22_050, "WAV")
FLAC = encoded(NOISE, 22_050, "FLAC")
OGG = encoded(NOISE, 22_050, "OGG", "VORBIS")
MP3 = encoded(NOISE, 22_050, "MP3", "MPEG_LAYER_III")
AIFF = encoded(NOISE, 22_050, "AIFF")
W64 = encoded(NOISE, 22_050, "W64")
RF64 = encoded(NOISE, 22_050, "RF64")
AU = encoded(NOISE, 22_050, "AU")


def with_float(value: float, at: int = 7_000) -> bytes:
    """Return a 32-bit float WAV with one strange sample."""
    wave = NOISE.astype(np.float32)
    wave[at] = value
    return encoded(wave, 22_050, "WAV", "FLOAT")


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def without_length() -> bytes:
    """Return an MP3 of varying bit rate without its first frame, which states the length."""
    loud_then_quiet = np.concatenate([NOISE, NOISE, *[1e-4 * NOISE] * 6])
    content = encoded(loud_then_quiet, 22_050, "MP3", "MPEG_LAYER_III")
    return content[content.index(content[:2], 2) :]


# File name -> content, and what the error says.
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty.wav": (b"", "empty"),
    "text.wav": (b"this is no audio\n" * 100, "not audio"),
    "zeros.wav": (bytes(5000), "not audio"),
    "noise.mp3": (RNG.bytes(5000), "not audio"),
    "header only.wav": (WAV[:44], "states 44144 bytes, 44 are there"),
    "half a header.wav": (WAV[:20], "not audio"),
    "cut.wav": (WAV[:-1000], "states 44144 bytes, 43144 are there"),
    "cut by one byte.wav": (WAV[:-1], "states 44144 bytes, 44143 are there"),
    "cut.flac": (FLAC[:-1000], "cannot be decoded beyond"),
    "cut.ogg": (OGG[:-1000], "Ogg page .* is cut off"),
    "cut at a page.ogg": (OGG[: OGG.rfind(b"OggS")], "an Ogg page is missing at byte"),
    "flipped.ogg": (patched(OGG, len(OGG) // 2, b"\xff\x00\xff"), "Ogg page .* is damaged"),
    "cut.mp3": (MP3[: len(MP3) // 2], "could be decoded of the 1.000 s its header states"),
    "no length.mp3": (without_length(), "MP3 of varying bit rate that does not state its length"),
    "cut.aiff": (AIFF[:-1000], "states .* bytes, .* are there"),
    "cut.w64": (W64[:-1000], "states .* bytes, .* are there"),
    "cut.rf64": (RF64[:-1000], "states .* bytes, .* are there"),
    "cut.au": (AU[:-1000], "states .* bytes, .* are there"),
    "no channels.wav": (patched(WAV, 22, struct.pack("<H", 0)), "not audio"),
    "channels.wav": (encoded(np.zeros((2_000, 65)), 8_000, "WAV"), "65 channels"),
    "no rate.wav": (patched(WAV, 24, struct.pack("<I", 0)), "not audio"),
    "slow.wav": (patched(WAV, 24, struct.pack("<I", 999)), "999 Hz; 1000 to 384000"),
    "fast.wav": (patched(WAV, 24, struct.pack("<I", 384_001)), "384001 Hz; 1000 to 384000"),
    "odd rate.wav": (patched(WAV, 24, struct.pack("<I", 15_999)), "no simple ratio"),
    "no samples.wav": (encoded(NOISE[:0], 22_050, "WAV"), "no samples"),
    "short.wav": (encoded(NOISE[:700], 22_050, "WAV"), "too short for one window"),
    "nan.wav": (with_float(np.nan), r"at 0\.317 s is nan"),
    "inf.wav": (with_float(np.inf), r"at 0\.317 s is inf"),
    "minus inf.wav": (with_float(-np.inf), r"at 0\.317 s is -inf"),
    "huge.wav": (with_float(3e30), r"at 0\.317 s is 3e\+30"),
    "double.wav": (encoded(np.full(20_000, 1e300), 8_000, "WAV", "DOUBLE"), r"at 0\.000 s is inf"),
}


@pytest.fixture
def bad_files(tmp_path: Path) -> dict[str, Path]:
    """Files that cannot be used, some of which are no files, by name."""
    folder = tmp_path / "bad"
    folder.mkdir()
    for name, (content, _) in BAD_FILES.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "fifo.wav")
    (folder / "broken link.wav").symlink_to("nowhere.wav")
    (folder / "loop.wav").symlink_to("loop.wav")
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def make_clips(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a folder of short clips of noise at several rates."""

    def make(count: int = 5) -> Path:
        kinds = [("wav", 16_000), ("flac", 44_100), ("ogg", 22_050), ("aiff", 8_000)]
        for i in range(count):
            kind, rate = kinds[i % len(kinds)]
            path = tmp_path / "clips" / f"{'ab'[i % 2]}" / f"{i:03d}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            wave = np.random.default_rng(i).uniform(-0.5, 0.5, rate // 4 + 700 * i)
            soundfile.write(path, wave, rate)
        return tmp_path / "clips"

    return make


@dataclass(frozen=True)
class Tiny:
    """A data set of one-second clips: a tone, or a burst of noise, in quiet noise."""

    audio: Path
    features: Path
    weak: Path  # of 16 training clips
    strong: Path  # of 8 validation clips
    weak_validation: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    audio, weak, strong = folder / "audio", {}, []
    for i in range(24):
        label = ("tone", "noise")[i % 2]
        name = f"{'train' if i < 16 else 'val'}/{label}_{i}.wav"
        onset, offset = 0.2, 0.7
        wave = 0.001 * rng.standard_normal(RATE)
        span = slice(int(onset * RATE), int(offset * RATE))
        time = np.arange(span.stop - span.start) / RATE
        tone = 0.3 * np.sin(2 * np.pi * rng.uniform(500, 2000) * time)
        wave[span] += tone if label == "tone" else 0.1 * rng.standard_normal(len(time))
        (audio / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(audio / name, wave, RATE)
        if i < 16:
            weak[name] = (label,)
        else:
            strong.append(Event(name, onset, offset, label))
    labels = StrongLabels(strong, tuple(event.name for event in strong))
    tiny = Tiny(
        audio, folder / "features.h5", folder / "weak.tsv", folder / "strong.tsv", folder / "v.tsv"
    )
    extract([audio], tiny.features, FEATURE_PRESETS["dcase2017"], root=audio)
    write_weak(tiny.weak, weak)
    write_weak(tiny.weak_validation, labels.weak())
    write_events(tiny.strong, labels)
    return tiny


def new_model(pooling: str = "power:init=2") -> Model:
    """Return a model of two classes that was never trained."""
    spec = PoolingConfig.parse(pooling)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = Detector(ARCHITECTURES["small"], spec, 64, 2)
    detector.mean.fill_(-5.0)
    return Model(
        detector.eval(),
        ("Dog", "Air horn, truck horn"),
        FEATURE_PRESETS["dcase2017"],
        ARCHITECTURES["small"],
        spec,
        10.0,
        DecodingConfig((0.3, 0.6), (0.2, 0.4), (0.3, 1.5)),
        trained={"epoch": 3},
        tuned={"clips": 7},
        trained_on=source_tags(["ab" * 32, "01" * 32]),
    )
