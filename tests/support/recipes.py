"""The recipes of DCASE, run as scripts or as modules, and made-up audio for them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from sedtool.labels import read_names

REPOSITORY = Path(__file__).parents[2]
RECIPES = REPOSITORY / "recipes"
YEARS = ("dcase2017", "dcase2019")
RATE = 8_000  # Hz


def load(path):
    specification = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


prepare = {year: load(RECIPES / year / "prepare.py") for year in YEARS}


def make_audio(folder, names, seconds=1.0):
    """Write noise, another for each name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(list(name.encode())).standard_normal(round(seconds * RATE))
        soundfile.write(path, 0.1 * noise, RATE)


LINES_2017 = {
    "weak_label_training": [
        f"{name}_0.000_10.000.wav\t0.000\t10.000\t{label}"
        for name, label in [
            *(("-" + f"train{i:05d}", "Air horn, truck horn") for i in range(10)),
            *(("-" + f"train{i:05d}", "Train") for i in range(5)),
            *((f"Ytrain{i:05d}", "Fire engine, fire truck (siren)") for i in range(10)),
        ]
    ],
    "strong_label_testing": [
        "--test00001_30.000_40.000.wav\t0\t0\tTrain horn",
        "--test00002_30.000_40.000.wav\t0.165\t3.8\tAir horn, truck horn",
        "--test00002_30.000_40.000.wav\t0\t0\tTrain",
        "--test00003_8.000_18.000.wav\t5\t9.345\tCar",
    ],
    "weak_label_testing": [
        "--test00001_30.000_40.000.wav\t30.000\t40.000\tTrain horn",
        "--test00002_30.000_40.000.wav\t30.000\t40.000\tAir horn, truck horn",
        "--test00002_30.000_40.000.wav\t30.000\t40.000\tTrain",
        "--test00003_8.000_18.000.wav\t8.000\t18.000\tCar",
    ],
}


def make_2017(folder):
    """Make audio with a Y in front, CRLF in the label files; return the arguments of prepare.py."""
    labels = folder / "metadata" / "groundtruth_release"
    labels.mkdir(parents=True)
    for kind, lines in LINES_2017.items():
        text = "".join(f"{line}\r\n" for line in lines)
        (labels / f"groundtruth_{kind}_set.csv").write_bytes(text.encode() + b"\r\n")
    names = {line.split("\t")[0] for lines in LINES_2017.values() for line in lines}
    make_audio(folder / "audio", [f"Y{name}" for name in names])
    return folder / "audio", labels.parent, folder / "out"


def make_2019(folder):
    """Make DCASE 2019 as published, with faults; return the arguments of prepare.py."""
    weak = [f"Yweak{i:07d}_0.000_10.000.wav\tSpeech,Dog" for i in range(10)]
    unlabelled = [f"Y--other{i:04d}_30.000_40.000.wav" for i in range(6)]
    strong = [f"{i}.wav\t0.25\t1.{i}\tSpeech" for i in range(10)]
    test = [
        "Y-test000001_0.000_10.000.wav\t0.000\t10.115\tVacuum_cleaner",
        "Y-test000002_30.000_40.000.wav\t\t\t",
    ]
    header = "filename\tonset\toffset\tevent_label"
    files = {
        "train/weak.tsv": ["filename\tevent_labels", *weak],
        "train/unlabel_in_domain.tsv": ["filename", *unlabelled],
        "train/synthetic.tsv": [header, *strong],
        "validation/validation.tsv": [header, *test],
    }
    for name, lines in files.items():
        path = folder / "metadata" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    folders = ["train/weak", "train/unlabel_in_domain", "train/synthetic", "validation"]
    for place, lines in zip(folders, files.values(), strict=True):
        make_audio(folder / "audio", {f"{place}/{line.split()[0]}" for line in lines[1:]})
    return folder / "audio", folder / "metadata", folder / "out"


def rows(path):
    return [line.split("\t") for line in path.read_text().splitlines()[1:]]


def read_all(out):
    """Return the clips that each label file and list of a prepared folder names."""
    tables = [*(out / "labels").glob("*.tsv"), *(out / "lists").glob("*.tsv")]
    return {path.stem: set(read_names(path)) for path in tables}


def run_script(year, audio, metadata, out, *options):
    environment = os.environ | {
        "PYTHON": sys.executable,
        "SEDTOOL": str(Path(sys.executable).with_name("sedtool")),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [RECIPES / year / "run.sh", audio, metadata, out, *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
