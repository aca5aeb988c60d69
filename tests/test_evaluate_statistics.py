"""`sedtool evaluate --bootstrap` and `--against`: intervals and differences in every format."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sedtool.labels import Event, StrongLabels, write_events
from sedtool.score_tables import FrameScores, write_score_tables
from support.command_lines import refused, run, save_small_model
from support.drawn import CLASSES, moved, random_events


@pytest.fixture(scope="module")
def lists():
    rng = np.random.default_rng(5)
    reference = random_events(rng, 30)
    names = tuple(f"{i}.wav" for i in range(30))
    systems = [[*moved(reference, rng), *random_events(rng, 30, 1.0)] for _ in range(2)]
    odd = [Event("99.wav", 0, 1, "Dog"), Event("1.wav", 2, 2, "Cat"), Event("2.wav", 0, 1, "Cow")]
    systems[0] += odd
    return StrongLabels(reference, names), [StrongLabels(s, names) for s in systems]


@pytest.fixture(scope="module")
def files(lists, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    reference, systems = lists
    paths = [folder / name for name in ("r.tsv", "a.tsv", "b.tsv")]
    for path, labels in zip(paths, (reference, *systems), strict=True):
        write_events(path, labels)
    return paths


def test_intervals_stand_in_every_format(files):
    line = ("evaluate", *files[:2], "--bootstrap", 100, "--against", files[2], "-q")
    found = json.loads(run(*line, "--format", "json").stdout)
    assert found["bootstrap"]["resamples"] == 100
    assert found["bootstrap"]["n_units"] == 31
    low, high = found["bootstrap"]["intervals"]["event_f1"]
    assert low < found["event"]["macro"]["f1"] < high
    other = json.loads(run("evaluate", files[0], files[2], "--format", "json").stdout)
    against = found["against"]
    assert against["scores"]["event_f1"] == pytest.approx(other["event"]["macro"]["f1"])
    difference = against["differences"]["event_f1"]
    assert difference["difference"] == pytest.approx(
        found["event"]["macro"]["f1"] - other["event"]["macro"]["f1"]
    )
    shown = [f"{low:.4f}", f"{high:.4f}", f"{difference['difference']:+.4f}"]
    for name in ("table", "md", "latex"):
        text = run(*line, "--format", name).stdout
        assert all(number in text for number in shown)
    rows = [row.split("\t") for row in run(*line, "--format", "tsv").stdout.splitlines()]
    columns = dict(zip(rows[0], rows[1], strict=True))
    assert [columns[key] for key in ("metric", "average", "score")] == ["event", "macro", "f1"]
    assert float(columns["low"]) == pytest.approx(low, rel=1e-5)
    assert float(columns["p"]) == pytest.approx(difference["p"], rel=1e-5)


def test_warnings_of_the_other_system_have_its_name(files):
    result = run("evaluate", files[0], files[2], "--against", files[1], "--bootstrap", 10)
    mine = f"warning: {files[1]}: clips of the estimated events that are not in the reference (1)"
    assert mine in result.stderr


def test_systems_that_are_not_scored_alike_are_warned_of(files, tiny, tmp_path):
    model, scores = save_small_model(tmp_path / "m.safetensors"), tmp_path / "s.h5"
    run("infer", model, tiny.features, "--scores", scores, "-q")
    line = ("evaluate", tiny.strong, scores, "--against", tiny.strong, "--bootstrap", 5)
    said = run(*line).stderr
    assert "clip scores are from clip predictions in" in said
    assert "with their last event, so that segments are not comparable; give --durations" in said
    assert "not comparable" not in run(*line, "--metrics", "event").stderr
    alike = ("--durations", tiny.features, "--metrics", "segment")
    assert "not comparable" not in run(*line, *alike).stderr


@pytest.fixture(scope="module")
def score_folders(lists, tmp_path_factory):
    """Two systems' scores of 30 clips, the second's of noise alone, as folders of tables."""
    folder = tmp_path_factory.mktemp("scores")
    rng = np.random.default_rng(0)
    times = np.arange(51) / 5
    paths = []
    for gain in (2.0, 0.0):
        clips = []
        for name in lists[0].names:
            scores = rng.uniform(0, 0.5, size=(50, len(CLASSES)))
            for e in (e for e in lists[0].events if e.name == name):
                inside = (times[:-1] >= e.onset) & (times[:-1] < e.offset)
                scores[inside, CLASSES.index(e.label)] *= 1 + gain
            clips.append(FrameScores(name, times, scores))
        paths.append(folder / str(gain))
        write_score_tables(paths[-1], CLASSES, clips)
    return paths


def test_psds_has_an_interval_and_a_difference_on_the_same_draws(files, score_folders):
    good, bad = score_folders
    line = (
        "evaluate",
        files[0],
        good,
        *("--psds", "dtc=0.3,gtc=0.3,max_efpr=1000"),
        *("--bootstrap", 60),
    )
    alone = json.loads(run(*line, "--format", "json", "-q").stdout)
    low, high = alone["bootstrap"]["intervals"]["psds"]
    assert 0 < low < alone["psds"]["psds"]["value"] < high < 1
    found = json.loads(run(*line, "--against", bad, "--format", "json", "-q").stdout)
    assert found["bootstrap"] == alone["bootstrap"]
    difference = found["against"]["differences"]["psds"]
    assert 0 < difference["low"] < difference["difference"] < difference["high"]
    same = json.loads(run(*line, "--against", good, "--format", "json", "-q").stdout)
    assert same["against"]["differences"]["psds"] == {"difference": 0, "low": 0, "high": 0, "p": 1}
    shown = run(*line, "-q").stdout
    assert re.search(rf"psds +[0-9.]+ +{low:.4f} +{high:.4f}", shown)


def test_psds_is_resampled_with_the_groups_of_its_clips(files, score_folders, tmp_path):
    groups = tmp_path / "groups.tsv"
    rows = [f"{i}.wav\tg{i % 2}\n" for i in range(30)]
    groups.write_text("".join(["filename\tgroup\n", *rows]))
    line = ("evaluate", files[0], score_folders[0], "--metrics", "psds1", "--bootstrap", 40)
    found = json.loads(run(*line, "--groups", groups, "--format", "json", "-q").stdout)
    assert (found["bootstrap"]["unit"], found["bootstrap"]["n_units"]) == ("groups", 2)
    # Both groups, or one of them twice: three values are all there can be.
    every = [found["bootstrap"]["intervals"]["psds1"], [found["psds"]["psds1"]["value"]] * 2]
    assert every[0][0] <= every[1][0] <= every[0][1]


def test_errors_alone_have_no_interval(files):
    line = ("evaluate", *files[:2], "--metrics", "errors", "--bootstrap", 10)
    assert "metrics must name one that has intervals; errors has none" in refused(*line)


def test_a_reference_without_events_has_no_intervals_and_no_error(tmp_path):
    (tmp_path / "r.tsv").write_text("filename\tonset\toffset\tevent_label\na.wav\t\t\t\n")
    line = ("evaluate", tmp_path / "r.tsv", tmp_path / "r.tsv", "--bootstrap", 10, "-q")
    found = json.loads(run(*line, "--format", "json").stdout)
    assert found["bootstrap"]["intervals"] == {}
    assert "NaN" not in run(*line).stdout


@pytest.mark.campaign
def test_a_million_clips_with_500_classes_are_scored_and_resampled_in_4_gb(report):
    tries = report("P17", "a million clips of 500 classes scored, with intervals, in under 4 GB")
    benchmark = Path(__file__).parents[1] / "benchmarks" / "evaluate.py"
    command = [sys.executable, str(benchmark), "--large"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    gigabytes = float(re.search(r"most memory ([0-9.]+) GB", said)[1])
    tries.what += f": {gigabytes:g} GB"
    tries.add(1, int(gigabytes < 4))
    assert gigabytes < 4
