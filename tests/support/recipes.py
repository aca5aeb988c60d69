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
