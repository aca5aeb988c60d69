"""Weak labels of short events: makes the sounds, trains, and prints what each choice finds.

Sounds are nine kinds of syllables; one to four of them, or rows of up to six (``--in-rows``), are
in a clip of two seconds with noise. A choice is ``PRESET: OPTIONS``, of `extract` and of `train`.
"""

import argparse
import contextlib
import io
import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from sedtool.cli import cli
from sedtool.labels import Event, read_reference
from sedtool.store import clip_scores, open_scores

RATE, CLIP = 32_000, 2.0  # Hz, seconds
LISTS = {"train": 470, "val": 100, "test": 150}  # clips
SHAPES: dict[str, tuple[float, float, float, int]] = {
    # kHz at the onset and at the offset, trills of 1/8 octave (Hz), harmonics
    "rise": (2, 4, 0, 1),
    "fall": (4, 2, 0, 1),
    "whistle": (3.2, 3.2, 0, 1),
    "high rise": (5, 7, 0, 1),
    "high fall": (7, 5, 0, 1),
    "trill": (2.5, 2.5, 60, 1),
    "high trill": (6, 6, 60, 1),
    "stack": (0.9, 0.9, 0, 6),
    "falling stack": (1.3, 0.8, 0, 6),
}
CHOICES = (
    "dcase2017: --arch small",
    "dcase2017: --arch small:time-pooling=1",
    "dcase2017: --arch small:time-pooling=1 --pooling max",
    "dcase2017: --arch small:time-pooling=1,gru-layers=0",
    "short: --arch small:time-pooling=1,gru-layers=0",
)
Sound = tuple[float, float, str]  # onset, length or offset (seconds), shape


def sound(rng: np.random.Generator, shape: str, seconds: float) -> np.ndarray:
    """Return one sound of this shape; its pitch varies by a sixth of an octave."""
    first, last, trill, harmonics = SHAPES[shape]
    t = np.arange(int(seconds * RATE)) / RATE
    octaves = rng.uniform(-1 / 12, 1 / 12) + np.sin(2 * np.pi * trill * t) / 8
    phase = 2 * np.pi * np.cumsum(1e3 * np.geomspace(first, last, len(t)) * 2**octaves) / RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, harmonics + 1))
    return wave * np.minimum(1, 8 * np.minimum(t, seconds - t) / seconds)


def single(rng: np.random.Generator, seconds: tuple[float, float]) -> Iterator[Sound]:
    """Yield onset, length and shape of one to four sounds, 0.05 s apart."""
    taken: list[tuple[float, float]] = []
    for shape in rng.choice(list(SHAPES), rng.integers(1, 5)):
        length = rng.uniform(*seconds)
        onset = rng.uniform(0, CLIP - length)
        if all(onset + length + 0.05 < a or b + 0.05 < onset for a, b in taken):
            taken.append((onset, onset + length))
            yield onset, length, str(shape)


def rows(rng: np.random.Generator, seconds: tuple[float, float]) -> Iterator[Sound]:
    """Yield rows of three to six equal sounds, 0.06 to 0.15 s apart, of one to three kinds."""
    for shape in rng.choice(list(SHAPES), rng.integers(1, 4), replace=False):
        n, length, gap = int(rng.integers(3, 7)), rng.uniform(*seconds), rng.uniform(0.06, 0.15)
        first = rng.uniform(0, CLIP - n * (length + gap))
        yield from ((first + i * (length + gap), length, str(shape)) for i in range(n))


def clip(
    rng: np.random.Generator, sounds: Callable[..., Iterator[Sound]], seconds: tuple[float, float]
) -> tuple[np.ndarray, list[Sound]]:
    """Return a clip of noise with sounds 0 to 20 dB above it, and their events."""
    white = np.fft.rfft(rng.normal(size=int(CLIP * RATE)))
    noise = np.fft.irfft(white / np.sqrt(np.arange(len(white)) + 100))
    wave, events = 0.01 * noise / noise.std(), []
    for onset, length, shape in sounds(rng, seconds):
        loud = sound(rng, shape, length) * 0.01 * 10 ** rng.uniform(0, 1)
        wave[int(onset * RATE) :][: len(loud)] += loud
        events.append((round(onset, 4), round(onset + length, 4), shape))
    return wave, sorted(events)


def make_data(folder: Path, seconds: tuple[float, float], in_rows: bool) -> None:
    """Write the clips of each list, and their strong and weak labels."""
    rng = np.random.default_rng(0)
    for part, n in LISTS.items():
        (folder / part).mkdir(parents=True)
        strong, weak = ["filename\tonset\toffset\tevent_label"], ["filename\tevent_labels"]
        for name in (f"{part}/{i:03}.wav" for i in range(n)):
            wave, events = clip(rng, rows if in_rows else single, seconds)
            soundfile.write(folder / name, wave, RATE)
            strong += [f"{name}\t{a}\t{b}\t{label}" for a, b, label in events]
            weak += [f"{name}\t{','.join(sorted({label for *_, label in events}))}"]
        (folder / f"{part}.tsv").write_text("\n".join(strong) + "\n")
        (folder / f"{part}_weak.tsv").write_text("\n".join(weak) + "\n")


def sedtool(*arguments: object) -> None:
    """Run one command, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        cli([*map(str, arguments), "-q"], standalone_mode=False)


def beside(path: Path, reference: Sequence[Event]) -> list[float]:
    """Return mean frame scores from 75 ms before to 100 ms after an event, and in it.

    By steps of 25 ms; of the events that are alone of their class in a clip.
    """
    n_alike = Counter((event.name, event.label) for event in reference)
    scores = open_scores(path)
    clips = {clip.name: clip.frame for clip in clip_scores(scores)}
    values: dict[int, list[float]] = {step: [] for step in range(-3, 5)}
    for event in reference:
        frame = clips[event.name][:, scores.classes.index(event.label)]
        middle = (np.arange(len(frame)) + 0.5) / scores.frame_rate
        distance = np.minimum(middle - event.onset, 0) + np.maximum(middle - event.offset, 0)
        steps = np.floor(distance / 0.025) + (distance > 0)  # 0 in the event
        if n_alike[event.name, event.label] == 1:
            for step, found in values.items():
                found.extend(frame[steps == step].tolist())
    return [statistics.mean(found) if found else math.nan for found in values.values()]


def score(
    folder: Path, choice: str, seed: int, epochs: int
) -> tuple[dict[str, float], list[float]]:
    """Train by a choice with one seed, if that is not done, and score the test clips.

    Returns macro F1 of events and clips, and what `beside` does.
    """
    preset, _, options = choice.partition(": ")
    name = preset.replace(" ", "_")
    features, test = folder / f"{name}.h5", folder / f"{name}_test.h5"
    if not test.exists():
        clips = (folder / "train", folder / "val")
        how = ("--root", folder, "--preset", *preset.split())
        sedtool("extract", *clips, "-o", features, *how)
        sedtool("extract", folder / "test", "-o", test, *how)
    run = folder / "runs" / f"{choice} --epochs {epochs}".replace(" ", "_") / f"seed-{seed}"
    if not (run / "metrics.json").exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        kind, suffix = ("strong", "") if "--method strong" in options else ("weak", "_weak")
        labels = (f"--{kind}", folder / f"train{suffix}.tsv", "--val-strong", folder / "val.tsv")
        length = ("--epochs", epochs, "--seed", seed, "--overwrite")
        common = ("--collar", 0.05)
        sedtool("train", "-o", run, "--features", features, *labels, *length, *common,
                *options.split())  # fmt: skip
        sedtool("infer", run, test, "-o", run / "test.tsv", "--scores", run / "scores.h5")
        sedtool("evaluate", folder / "test.tsv", run / "test.tsv", "--metrics", "event,clip",
                *common, "-o", run / "metrics.json")  # fmt: skip
    scores = json.loads((run / "metrics.json").read_text())
    rates = {kind: scores[kind]["macro"]["f1"] for kind in ("event", "clip")}
    return rates, beside(run / "scores.h5", read_reference(folder / "test.tsv", None).events)


def spread(values: list[float]) -> str:
    """Return mean and sample deviation."""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def main() -> None:
    """Make what is missing, and print a line for each choice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("choice", nargs="*", default=CHOICES, help="as 'short: --pooling max'")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seconds", default="0.05,0.12", help="shortest and longest sound")
    parser.add_argument("--in-rows", action="store_true", help="rows of equal sounds, as in songs")
    given = parser.parse_args()
    if not (given.folder / "test_weak.tsv").exists():
        shortest, longest = map(float, given.seconds.split(","))
        make_data(given.folder, (shortest, longest), given.in_rows)
    print("| features | train | event F1 | clip F1 | seeds | frame scores beside and in events |")
    print("|---|---|---|---|---|---|", flush=True)
    for choice in given.choice:
        seeds = [int(seed) for seed in given.seeds.split(",")]
        scored = [score(given.folder, choice, seed, given.epochs) for seed in seeds]
        event, clip = (spread([rates[kind] for rates, _ in scored]) for kind in ("event", "clip"))
        near = " ".join(f"{value:.2f}" for value in np.mean([near for _, near in scored], axis=0))
        preset, _, options = choice.partition(": ")
        print(
            f"| `{preset}` | `{options}` | {event} | {clip} | {given.seeds} | {near} |", flush=True
        )


if __name__ == "__main__":
    main()
