"""Memory is bounded by settings: more clips, or longer ones, cost next to nothing more."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from support.audio import encoded
from support.campaign import scaled
from support.command_lines import save_small_model
from support.peaks import peak

pytestmark = pytest.mark.slow

GIGABYTE = 10**9
TRAINING = ("--arch", "small", "--epochs", 1, "--steps-per-epoch", 5, "--batch-size", 8)
WAVE = encoded(np.random.default_rng(3).uniform(-0.3, 0.3, 3_200), 16_000, "WAV")


def make_clips(folder: Path, count: int) -> None:
    """Write clips of 0.2 s, no two of which are the same, and labels for them."""
    names = [f"{i // 1000:03d}/{i:06d}.wav" for i in range(count)]
    for i, name in enumerate(names):
        if i % 1000 == 0:
            (folder / "audio" / name).parent.mkdir(parents=True)
        (folder / "audio" / name).write_bytes(WAVE[:1000] + i.to_bytes(4, "little") + WAVE[1004:])
    rows = (f"{name}\t{'tone' if i % 2 else 'noise'}\n" for i, name in enumerate(names))
    (folder / "weak.tsv").write_text("filename\tevent_labels\n" + "".join(rows))
    rows = (f"{name}\t0\t0.1\t{'tone' if i % 2 else 'noise'}\n" for i, name in enumerate(names))
    (folder / "strong.tsv").write_text("filename\tonset\toffset\tevent_label\n" + "".join(rows))


def peaks_of(folder: Path, count: int) -> dict[str, int]:
    """Return the most memory that each stage takes for so many clips."""
    make_clips(folder, count)
    model = save_small_model(folder / "m.safetensors")
    features, events, scores = folder / "f.h5", folder / "e.tsv", folder / "s.h5"
    labels = ("--weak", folder / "weak.tsv", "--validation-fraction", 0.01)
    evaluation = (folder / "strong.tsv", events)
    return {
        "extract": peak("extract", folder / "audio", "-o", features),
        "train": peak("train", "-o", folder / "r", "--features", features, *labels, *TRAINING),
        "infer": peak("infer", model, features, "-o", events, "--scores", scores),
        "infer from scores": peak("infer", model, scores, "-o", folder / "again.tsv"),
        "evaluate": peak("evaluate", *evaluation),
        "convert": peak("convert", events, "--to", "weak", "-o", folder / "w.tsv"),
        "info": peak("info", features),
    }


def test_ten_times_the_clips_cost_next_to_no_more_memory(tmp_path):
    peaks = [peaks_of(tmp_path / str(count), count) for count in (100, 1000)]
    for stage, most in peaks[1].items():
        assert most < peaks[0][stage] + 50e6, stage


@pytest.mark.campaign
@pytest.mark.parametrize("count", [1_000, 10_000, 100_000])
def test_memory_against_the_number_of_clips(tmp_path, report, count):
    count = count if count < 100_000 else scaled(count, 20_000)
    tries = report("P17", f"stages over {count:,} clips in under 1 GB")
    peaks = peaks_of(tmp_path, count)
    tries.add(len(peaks), sum(most < GIGABYTE for most in peaks.values()))
    said = ", ".join(f"{stage} {most / 1e6:.0f}" for stage, most in peaks.items())
    tries.what += f" (MB: {said})"
    assert tries.held == tries.tried


@pytest.mark.campaign
def test_an_hour_costs_less_than_a_gigabyte(tmp_path, report):
    tries = report("P17", "extract and infer of an hour of FLAC in under 1 GB")
    hour, model = tmp_path / "hour.flac", save_small_model(tmp_path / "m.safetensors")
    with soundfile.SoundFile(hour, "w", 44_100, 2, format="FLAC") as stream:
        second = np.random.default_rng(5).uniform(-0.1, 0.1, (44_100, 2))
        for _ in range(3_600):
            stream.write(second)
    peaks = [
        peak("extract", hour, "-o", tmp_path / "f.h5"),
        peak("infer", model, hour, "-o", tmp_path / "e.tsv"),
    ]
    tries.add(len(peaks), sum(most < GIGABYTE for most in peaks))
    tries.what += f" (MB: {', '.join(f'{most / 1e6:.0f}' for most in peaks)})"
    assert tries.held == tries.tried


@pytest.mark.campaign
def test_a_sparse_recording_of_4_gb_is_refused_in_little_memory(tmp_path, report):
    tries = report("P17", "a sparse WAV of 3.9 GB refused in under 1 GB")
    path, size = tmp_path / "sparse.wav", 3_900_000_000
    path.write_bytes(WAVE[:40] + size.to_bytes(4, "little"))
    os.truncate(path, 44 + size)
    tries.add(1, int(peak("extract", path, "-o", tmp_path / "f.h5", exit_code=4) < GIGABYTE))
    assert tries.held == tries.tried
