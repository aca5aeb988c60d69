"""The DCASE recipes on published label files, with made-up audio, to the table of results."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import yaml

from sedtool.checkpoint import load_model
from sedtool.labels import read_events, read_names, read_vocabulary, read_weak
from sedtool.recipes.corpora import video
from support.published import LARGEST
from support.recipes import make_audio, prepare, read_all, rows, run_script

pytestmark = pytest.mark.slow

LABELS_2017 = LARGEST.folder / "dcase2017"
LABELS_2019 = LARGEST.folder / "dcase2019" / "metadata"


# --- the published label files, with made-up audio ------------------------------------------------


def sample(names, n, seed=0):
    return random.Random(seed).sample(sorted(names), min(n, len(names)))


@pytest.fixture(scope="module")
def made_2017(tmp_path_factory):
    """Return the folder and the output of a run of the 2017 recipe, on a few hundred clips."""
    folder = tmp_path_factory.mktemp("dcase2017")
    training = read_events(LABELS_2017 / "groundtruth_weak_label_training_set.csv").weak()
    by_class = {label: [] for label in prepare["dcase2017"].CLASSES}
    for name, labels in training.items():
        by_class[labels[0]].append(name)
    names = {name for found in by_class.values() for name in sample(found, 15)}
    names |= set(sample([name for name in training if name.startswith("-")], 5))
    test = read_events(LABELS_2017 / "groundtruth_strong_label_testing_set.csv").names
    chosen = [f"Y{name}" for name in sample(names, len(names))]
    make_audio(folder / "audio", chosen[::2])
    make_audio(folder / "audio", [name.replace(".wav", ".flac") for name in chosen[1::2]], 1.5)
    make_audio(
        folder / "audio" / "testing",
        [f"Y{name}" for name in sample(test, LARGEST.expect(60, 30))],
        2.0,
    )
    (folder / "audio" / f"Y{next(n for n in training if n not in names)}").touch()
    tiny = ("epochs=1", "steps-per-epoch=2", "batch-size=4", "arch=small")
    sets = (word for text in tiny for word in ("--set", f"train.{text}"))
    return folder, run_script(
        "dcase2017", folder / "audio", LABELS_2017, folder / "out", *sets, "--pooling", "linear"
    )


def test_2017_runs_from_the_audio_to_the_table_with_one_command(made_2017):
    folder, done = made_2017
    assert done.returncode == 0, done.stderr
    assert " paper " in done.stdout and "0.471" in done.stdout  # segment F1 of linear pooling
    test = folder / "out" / "runs" / "linear" / "seed-0" / "test"
    metrics = json.loads((test / "metrics.json").read_text())
    assert set(metrics["event"]["classes"]) == set(prepare["dcase2017"].CLASSES)
    assert metrics["clip"]["source"] == "clip predictions"
    weak = read_weak(
        folder / "out/labels/test_weak.tsv", read_vocabulary(folder / "out/labels/classes.txt")
    )
    counts = {k: c["n_reference"] for k, c in metrics["clip"]["classes"].items()}
    assert sum(counts.values()) == sum(map(len, weak.values()))  # not the classes of events


def test_2017_leaks_nothing(made_2017):
    found = read_all(made_2017[0] / "out")
    test = {video(name) for name in found["test_strong"]}
    held, train = ({video(n) for n in found[f"{s}_weak"]} for s in ("held_out", "train"))
    assert test and held and train
    assert not (test & held or test & train or held & train)
    assert found["test_weak"] == found["test_strong"] == found["test"]
    assert found["train"] == found["train_weak"] | found["held_out_weak"]
    model = load_model(made_2017[0] / "out/runs/linear/seed-0/model.safetensors")
    assert len(model.trained_on) == len(found["train_weak"])
    assert {Path(path).name for path in model.tuned["files"]} == {"held_out_weak.tsv"}


def test_2017_names_all_that_is_missing(made_2017):
    folder, done = made_2017
    missing = rows(folder / "out" / "missing.tsv")
    found = read_all(folder / "out")
    assert len(missing) + len(found["train"]) + len(found["test"]) == sum(
        LARGEST.expect((51_172, 488), (169, 33))
    )
    assert sum(reason != "no audio" for _, _, reason in missing) == 1
    n, total = LARGEST.expect((60, 488), (30, 33))
    assert f"test: {n} of {total} clips; {total - n} cannot be used: " in done.stderr


def test_2017_holds_out_a_fifth_of_every_class():
    recipe = prepare["dcase2017"]
    training, strong, weak = recipe.read_labels(recipe.find_label_files(LABELS_2017))
    n_training, n_test, n_events = LARGEST.expect((51_172, 488, 688 - 36), (169, 33, 54))
    assert (len(training), len(strong.names), len(strong.events)) == (n_training, n_test, n_events)
    assert len(weak) == n_test
    held = prepare["dcase2017"].hold_out(training, 0.2, 0)
    for label in prepare["dcase2017"].CLASSES:
        clips = [name for name, labels in training.items() if label in labels]
        share = len([name for name in clips if name in held]) / len(clips)
        assert share == pytest.approx(0.2, abs=LARGEST.expect(0.035, 0.2)), label


def test_2017_classes_are_in_the_official_order():
    lines = (LABELS_2017 / "sound_event_list_17_classes.txt").read_text().splitlines()[1:]
    assert tuple(line.split("\t")[2] for line in lines if line) == prepare["dcase2017"].CLASSES


@pytest.fixture(scope="module")
def made_2019(tmp_path_factory):
    """Return the folder and the output of a run of the 2019 recipe, on a few hundred clips."""
    folder = tmp_path_factory.mktemp("dcase2019")
    files = {
        "train/weak": "train/weak.tsv",
        "train/unlabel_in_domain": "train/unlabel_in_domain.tsv",
        "train/synthetic": "train/synthetic.tsv",
        "validation": "validation/validation.tsv",
    }
    for place, file in files.items():
        names = sample(read_names(LABELS_2019 / file), LARGEST.expect(70, 34))
        make_audio(folder / "audio" / place, names)
    heard = read_events(LABELS_2019 / files["validation"]).weak()
    silent = [name for name, labels in heard.items() if not labels]
    make_audio(folder / "audio" / "validation", silent, 0.4)
    tiny = ("epochs=1", "steps-per-epoch=2", "batch-size=2,2,2", "keep-epochs=1")
    network = "arch=dcase2019-baseline"
    sets = (word for text in (*tiny, network) for word in ("--set", f"train.{text}"))
    power = ("--pooling", "power:init=1,max=20,lambda=0")
    return folder, run_script(
        "dcase2019", folder / "audio", LABELS_2019, folder / "out", *sets, *power
    )


def test_2019_runs_from_the_audio_to_the_table_with_one_command(made_2019):
    folder, done = made_2019
    assert done.returncode == 0, done.stderr
    assert " paper " in done.stdout and "0.378" in done.stdout
    [run_folder] = (folder / "out" / "runs").glob("power*/seed-0")
    metrics = json.loads((run_folder / "test" / "metrics.json").read_text())
    assert set(metrics["event"]["classes"]) == set(prepare["dcase2019"].CLASSES)
    assert (run_folder / "teacher.safetensors").exists()
    assert (run_folder / "epochs" / "001.safetensors").exists()
    settings = yaml.safe_load((run_folder / "config.yaml").read_text())["train"]
    assert settings["method"] == "mean-teacher" and settings["time-shift"] == 16


def test_2019_windows_are_a_third_of_the_durations_of_synthetic_events(made_2019):
    [run_folder] = (made_2019[0] / "out" / "runs").glob("power*/seed-0")
    windows = load_model(run_folder / "model.safetensors").decoding.windows
    lengths = {label: [] for label in prepare["dcase2019"].CLASSES}
    for _, onset, offset, label in rows(LABELS_2019 / "train" / "synthetic.tsv"):
        lengths[label].append(float(offset) - float(onset))
    third = [np.mean(found) / 3 for found in lengths.values()]
    assert windows == pytest.approx(third, abs=1e-3)  # label files have milliseconds


def test_2019_leaks_nothing(made_2019):
    found = read_all(made_2019[0] / "out")
    splits = ["test_strong", "held_out_weak", "held_out_strong", "train_weak", "train_strong"]
    sources = [{video(name) for name in found[split]} for split in (*splits, "unlabelled")]
    assert all(sources)
    assert sum(map(len, sources)) == len(set.union(*sources))
    assert found["train"] == set.union(*(found[s] for s in (*splits[1:], "unlabelled")))
    [run_folder] = (made_2019[0] / "out" / "runs").glob("power*/seed-0")
    tuned = {
        Path(path).name for path in load_model(run_folder / "model.safetensors").tuned["files"]
    }
    assert tuned == {"held_out_weak.tsv", "held_out_strong.tsv", "synthetic_strong.tsv"}


def test_2019_test_clips_without_events_are_scored(made_2019):
    strong = read_events(made_2019[0] / "out" / "labels" / "test_strong.tsv")
    silent = [name for name, labels in strong.weak().items() if not labels]
    assert len(silent) == LARGEST.expect(15, 2)
    assert set(read_names(made_2019[0] / "out" / "lists" / "test.tsv")) == set(strong.names)


def test_2019_names_all_that_is_missing(made_2019):
    found = read_all(made_2019[0] / "out")
    total = sum(LARGEST.expect((1_578, 14_412, 2_045, 1_168), (35, 40, 27, 21)))
    missing = rows(made_2019[0] / "out" / "missing.tsv")
    assert len(missing) + len(found["train"]) + len(found["test"]) == total
    assert {reason for _, _, reason in missing} == {"no audio"}
