"""Few clips: what `train` chooses for them against fixed settings; see docs/training.md.

    python benchmarks/little_data.py ESC10_FOLDER OUT_FOLDER

Soundscapes of five seconds are made of the demo's sounds and of ESC-10 (folds 1 to 3 to train on,
fold 5 to test on), 900 to train on and 150 to test on, with 32 mel bands. Seed s has the clips from
300 s on, of which 30, 100, 200 or all 300 are given to `train` with nothing but weak labels. Then
`infer` and `evaluate` on the test clips, which nothing else sees. The rows are added to
OUT_FOLDER/rows.tsv; the same line goes on where it was stopped, and prints the table.
"""

import argparse
import importlib.util
import os
import shutil
import statistics
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy starts its threads

from sedtool import demo
from sedtool.config import (
    FEATURE_PRESETS,
    EvaluateInputs,
    EvaluationConfig,
    ExtractConfig,
    InferConfig,
    TrainConfig,
    TrainInputs,
)
from sedtool.evaluation.from_files import evaluate_files
from sedtool.extraction import extract
from sedtool.inference import InferOutputs, infer
from sedtool.labels import read_weak, write_weak
from sedtool.recipes.soundscapes import write_dataset
from sedtool.training import train

DURATION = 5.0  # seconds
SPLITS = {"train": 900, "test": 150}  # clips
SIZES, SEEDS = (30, 100, 200, 300), (0, 1, 2)
SETTINGS: dict[str, dict[str, Any]] = {
    "fixed": {"arch": "dcase2017", "batch_size": (32,), "epochs": 50, "select_by": "clip_f1"},
    "chosen": {},
}
SCORES = ("event F1", "clip F1")
HEADER = ("data", "clips", "settings", "seed", *SCORES)


def prepare(esc10: Path, out: Path) -> None:
    """Make both data sets, audio and features, unless they are there."""
    path = Path(__file__).parents[1] / "recipes" / "esc10" / "prepare.py"
    spec = importlib.util.spec_from_file_location("prepare", path)
    assert spec is not None and spec.loader is not None
    recipe: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    demo.DURATION = recipe.DURATION = DURATION
    recipe.TEXTURE_LENGTHS = (2.0, DURATION)
    parts, _ = recipe.read_parts(recipe.find_files(esc10))
    config = FEATURE_PRESETS["dcase2017"].with_overrides(n_mels=32)
    makers = {
        "demo": (tuple(demo.SOUNDS), partial(demo.make_clip, 0)),
        "esc10": (sorted(recipe.KINDS), lambda s, i: recipe.make_clip(0, s, i, parts[s])),
    }
    for name, (classes, make) in makers.items():
        folder = out / name
        if not (folder / "labels" / "classes.txt").exists():
            write_dataset(folder, classes, SPLITS, make, overwrite=True)
        for split in SPLITS:
            if not (folder / f"{split}.h5").exists():
                audio = folder / "audio"
                where = ([audio / split], folder / f"{split}.h5", config, ExtractConfig(workers=1))
                extract(*where, root=audio)


def score(data: Path, n_clips: int, settings: dict[str, Any], seed: int) -> list[float]:
    """Train on some of the clips; return the scores of the test clips."""
    run, labels = data / "run", data / "labels"
    shutil.rmtree(run, ignore_errors=True)
    weak = read_weak(labels / "train_weak.tsv")
    names = list(weak)[300 * seed :][:n_clips]
    write_weak(data / "weak.tsv", {name: weak[name] for name in names})
    inputs = TrainInputs((data / "train.h5",), data / "weak.tsv", classes=labels / "classes.txt")
    result = train(run, inputs, TrainConfig(seed=seed, **settings))
    outputs = InferOutputs(data / "events.tsv", data / "scores.h5", overwrite=True)
    infer(result.model, [data / "test.h5"], InferConfig(), outputs)
    compared = EvaluateInputs(labels / "test_strong.tsv", data / "scores.h5")
    found = evaluate_files(compared, EvaluationConfig())
    return [found.event.macro.f1, found.clip.macro.f1]


def table(rows: list[list[str]]) -> str:
    """Return mean and least to greatest over seeds, a line for each data set, size and setting."""
    lines = [f"| data | clips | settings | seeds | {' | '.join(SCORES)} |", "|---" * 6 + "|"]
    for key in dict.fromkeys(tuple(row[:3]) for row in rows):
        values = [[float(v) for v in row[4:6]] for row in rows if tuple(row[:3]) == key]
        cells = [
            f"{statistics.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})"
            for v in zip(*values, strict=True)
        ]
        lines.append(f"| {' | '.join((*key, str(len(values)), *cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Make what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("esc10", type=Path, metavar="ESC10_FOLDER")
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("--only", nargs="+", default=(), help="of demo, esc10, 30, 100, 200, 300")
    options = parser.parse_args()
    prepare(options.esc10, options.out)
    path = options.out / "rows.tsv"
    if not path.exists():
        path.write_text("\t".join(HEADER) + "\n")
    keys = [
        (data, str(size), settings, str(seed))
        for size in SIZES
        for seed in SEEDS
        for data in ("demo", "esc10")
        for settings in SETTINGS
    ]
    for data, size, settings, seed in keys:
        rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
        wanted = not options.only or {data, size} <= {*options.only}
        if wanted and not any(tuple(row[:4]) == (data, size, settings, seed) for row in rows):
            scores = score(options.out / data, int(size), SETTINGS[settings], int(seed))
            with path.open("a") as file:
                file.write("\t".join((data, size, settings, seed, *map("{:.4f}".format, scores))))
                file.write("\n")
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    print(table(sorted(rows, key=lambda row: (row[0], int(row[1]), row[2]))))


if __name__ == "__main__":
    main()
