"""A comparison's numbers are those of the runs, and runs that do not fit each other are refused."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
import yaml

from sedtool.comparison import TSV_COLUMNS, compare_runs
from sedtool.comparison.runs import read_paper
from sedtool.config import DecodingConfig
from sedtool.config.evaluation import CompareConfig
from sedtool.errors import ArtifactError, LabelError
from sedtool.evaluation.resampling import clip_weights, difference
from sedtool.labels import Event, StrongLabels, write_events
from sedtool.store import ScoresHeader, ScoresWriter
from support.command_lines import refused, run
from support.score_files import scored_whole

CLASSES = ("Cat", "Dog", "Owl")
CLIPS = [f"{i:02d}.wav" for i in range(12)]
RATE = 10.0  # frames a second; a clip has 4 s
FAST = ("--resamples", "200")


@pytest.fixture
def reference(tmp_path):
    """Strong labels: an event or two in each clip."""
    rng = np.random.default_rng(0)
    events = [
        Event(name, onset, onset + 1.0, str(rng.choice(CLASSES)))
        for name in CLIPS
        for onset in (0.5, 2.5)[: rng.integers(1, 3)]
    ]
    write_events(tmp_path / "reference.tsv", StrongLabels(events, tuple(CLIPS)))
    return tmp_path / "reference.tsv", events


@pytest.fixture
def make_run(reference, tmp_path):
    """Return a function that makes a scored run, which finds a share of the events."""
    path, events = reference

    def make(pooling, seed, share, folder=None, clips=CLIPS, **settings):
        rng = np.random.default_rng([seed, *pooling.encode()])
        frame = np.full((len(clips), 40, 3), 0.1, np.float32)
        for event in events:
            k = CLASSES.index(event.label)
            if rng.uniform() > share:
                k = (k + 1) % 3
            if event.name in clips:
                span = slice(round(RATE * event.onset), round(RATE * event.offset))
                frame[clips.index(event.name), span, k] = 0.9
        where = folder or tmp_path / "runs" / f"{pooling.replace(':', '-')}-{seed}"
        (where / "test").mkdir(parents=True)
        train = {"pooling": pooling, "seed": seed, "arch": "small", "weak": "w.tsv", **settings}
        (where / "config.yaml").write_text(yaml.safe_dump({"train": train}))
        save(where / "test" / "scores.h5", frame, list(clips))
        score(where)
        return where

    def save(where, frame, names):
        decoding = DecodingConfig((0.5,) * 3, (0.5,) * 3, (0.0,) * 3)
        with ScoresWriter(where, ScoresHeader(CLASSES, RATE, decoding, "ab" * 32)) as writer:
            for name, scores in zip(names, frame, strict=True):
                writer.append(scored_whole(name, 4.0, scores, scores.max(axis=0)))

    def score(where, *options):
        line = ("evaluate", path, where / "test" / "scores.h5", "--overwrite", "-q")
        run(*line, "-o", where / "test" / "metrics.json", *options)

    make.score = score
    return make


@pytest.fixture
def runs(make_run, tmp_path):
    """Three poolings with two seeds each."""
    for pooling, share in (("power", 0.9), ("linear", 0.7), ("max", 0.3)):
        for seed in (0, 1):
            make_run(pooling, seed, share)
    return tmp_path / "runs"


def compared(runs, reference, *options):
    return run("compare", runs, "--reference", reference[0], *FAST, *options).stdout


def rows(text):
    """Return the rows of the TSV by pooling, metric, rate and rule."""
    table = csv.DictReader(io.StringIO(text), delimiter="\t")
    assert tuple(table.fieldnames) == TSV_COLUMNS
    return {tuple(row[key] for key in TSV_COLUMNS[:4]): row for row in table}


# --- numbers --------------------------------------------------------------------------------------


def test_means_and_deviations_are_those_of_the_metrics_of_the_runs(runs, reference):
    table = rows(compared(runs, reference, "--format", "tsv"))
    assert len(table) == 3 * 9 * 2
    for pooling in ("power", "linear", "max"):
        metrics = [
            json.loads((runs / f"{pooling}-{seed}" / "test" / "metrics.json").read_text())
            for seed in (0, 1)
        ]
        for metric in ("event", "segment", "clip"):
            for rate in ("f1", "precision", "recall"):
                values = [each[metric]["macro"][rate] for each in metrics]
                row = table[pooling, metric, rate, "default"]
                assert float(row["mean"]) == pytest.approx(np.mean(values), abs=1e-6)
                assert float(row["deviation"]) == pytest.approx(np.std(values, ddof=1), abs=1e-6)
                found = [float(value) for value in row["values"].split(",")]
                assert found == pytest.approx(values, abs=1e-6)
                assert (row["n_seeds"], row["seeds"]) == ("2", "0,1")


def test_the_rule_of_dcase_stands_beside_the_default_one(make_run, reference, tmp_path):
    make_run("power", 0, 1.0)
    path, events = reference
    kept = [event for event in events if event.label != "Owl"]  # what is found of it is wrong
    write_events(path, StrongLabels(kept, tuple(CLIPS)))
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    folder = tmp_path / "runs" / "power-0"
    make_run.score(folder, "--classes", tmp_path / "classes.txt")
    table = rows(compared(tmp_path / "runs", reference, "--format", "tsv"))
    default, dcase = (
        float(table["power", "segment", "f1", rule]["mean"]) for rule in ("default", "dcase")
    )
    assert default == pytest.approx(2 / 3) and dcase == pytest.approx(1.0)


def test_gains_intervals_and_p_values_are_those_of_the_bootstrap(runs, reference):
    config = CompareConfig("linear", resamples=300, seed=4, confidence=0.9)
    comparison = compare_runs([runs], config, reference=reference[0])
    assert [system.label for system in comparison.systems] == ["max", "linear", "power"]
    order = np.argsort(comparison.systems[0].evaluations[0].clips)
    blocks = clip_weights(len(CLIPS), 300, np.random.default_rng((4, 0)))
    weights = np.concatenate(list(blocks))
    rates = []
    for i, system in enumerate(comparison.systems):
        drawn = np.random.default_rng((4, 1, i)).integers(2, size=(2, 300))
        of_seeds = [resampled(each.counts["event"], weights, order) for each in system.evaluations]
        rates.append(np.take_along_axis(np.stack(of_seeds), drawn, axis=0).mean(axis=0))
    for i, label in ((0, "max"), (2, "power")):
        test = comparison.tests["event", "f1"][label]
        gain = comparison.systems[i].mean(("event", "f1")) - comparison.reference.mean(
            ("event", "f1")
        )
        assert test.difference == difference(gain, rates[i], rates[1], 0.9)
        assert test.p_holm >= test.difference.p
    row = rows(compared(runs, reference, "--format", "tsv"))["power", "event", "f1", "default"]
    base = comparison.reference.mean(("event", "f1"))
    assert float(row["relative_gain"]) == pytest.approx(float(row["gain"]) / base, rel=1e-4)


def resampled(counts, weights, order):
    """Return the macro F1 of each resample, without the classes that it has no reference of."""
    dense = counts.by_clip.toarray()[order].reshape(len(order), -1, 3)
    rates = []
    for tp, reference, estimated in (np.tensordot(row, dense, 1).T for row in weights):
        there = (reference > 0) | (dense[..., 1].sum(axis=0) == 0)
        f1 = 2 * tp[there] / np.maximum(reference + estimated, 1)[there]
        rates.append(f1.mean() if there.any() else np.nan)
    return np.array(rates)


def test_the_best_is_marked_and_the_best_apart_from_power(runs, reference):
    table = rows(compared(runs, reference, "--format", "tsv"))
    marks = {
        key[0]: (row["best"], row["best_without_power"])
        for key, row in table.items()
        if key[1:] == ("event", "f1", "default")
    }
    assert marks == {"power": ("1", "0"), "linear": ("0", "1"), "max": ("0", "0")}
    text = compared(runs, reference)
    assert re.search(r"^power +2 +0\.\d{3} ±0\.\d{3}\* ", text, re.MULTILINE)
    assert re.search(r"^linear +2 +0\.\d{3} ±0\.\d{3} \+", text, re.MULTILINE)
    assert re.search(r"^event F1: power \+0\.\d{3} \(\+\d+\.\d %\) over linear", text, re.MULTILINE)


def test_equal_scores_are_both_the_best(make_run, reference, tmp_path):
    for pooling in ("power", "linear"):
        make_run(pooling, 0, 1.0)
    text = compared(tmp_path / "runs", reference)
    assert re.search(r"^linear +1 +1\.000\*\+", text, re.MULTILINE)
    assert re.search(r"^power +1 +1\.000\* ", text, re.MULTILINE)
    assert re.search(
        r"^power +\+0\.000 +\+0\.0 % +\+0\.000 to \+0\.000 +1\.000", text, re.MULTILINE
    )


def test_the_papers_numbers_stand_beside_ours_where_it_has_them(runs, reference, tmp_path):
    paper = tmp_path / "paper.tsv"
    paper.write_text("pooling\tevent_f1\tclip_f1\npower\t0.196\t0.545\nlinear\t0.162\t\n")
    options = ("--paper", paper)
    text = compared(runs, reference, *options)
    assert re.search(r"recall  dcase  paper$", text, re.MULTILINE)
    assert "| F1 by DCASE | paper's F1 |" in compared(runs, reference, *options, "--format", "md")
    assert re.search(r"^power .* 0\.196$", text, re.MULTILINE)
    clips = text[text.index("Clips: macro") :]
    assert re.search(r"^linear .* —$", clips, re.MULTILINE)
    assert r"\quad (paper) & 0.196 & -- &" in compared(
        runs, reference, *options, "--format", "latex"
    )
    table = rows(compared(runs, reference, *options, "--format", "tsv"))
    assert table["power", "clip", "f1", "default"]["paper"] == "0.545"
    assert table["max", "clip", "f1", "default"]["paper"] == ""


def test_a_pooling_that_is_alone_of_its_name_goes_by_its_name(make_run, reference, tmp_path):
    for pooling in ("power:init=1,max=20", "rap:init=1,lambda=1e-2", "rap:init=1,lambda=1e-3"):
        make_run(pooling, 0, 0.8, tmp_path / "runs" / pooling.replace(":", "-"))
    paper = tmp_path / "paper.tsv"
    paper.write_text("pooling\tevent_f1\npower:lambda=0\t0.196\nrap\t0.176\n")
    text = compared(tmp_path / "runs", reference, "--paper", paper, "--against", "power")
    assert re.search(r"^power +1 .* 0\.196$", text, re.MULTILINE)
    assert re.search(r"^rap:lambda=0\.01 +1 .* —$", text, re.MULTILINE)
    assert "power is power:init=1,max=20\n" in text and "F1 against power (" in text
    assert "rap:lambda=0.001 is rap:init=1,lambda=0.001\n" in text


def test_nothing_undefined_is_printed_as_a_score(make_run, reference, tmp_path):
    make_run("power", 0, 0.5)
    make_run("max", 0, 0.5)
    path, _ = reference
    write_events(path, StrongLabels([], tuple(CLIPS)))  # no class is in the reference at all
    (tmp_path / "classes.txt").write_text("Cat\n")
    for folder in (tmp_path / "runs").iterdir():
        make_run.score(folder, "--classes", tmp_path / "classes.txt")
    for form in ("text", "md", "tsv", "latex"):
        text = compared(tmp_path / "runs", reference, "--format", form)
        assert "nan" not in text.lower()
    assert re.search(
        r"^power +1 +0\.000.* —$", compared(tmp_path / "runs", reference), re.MULTILINE
    )


# --- which runs -----------------------------------------------------------------------------------


def test_classes_that_no_test_clip_has_are_named_with_what_they_cost(make_run, reference, tmp_path):
    path, events = reference
    kept = [event for event in events if event.label != "Owl"]
    write_events(path, StrongLabels(kept, tuple(CLIPS)))
    (tmp_path / "classes.txt").write_text("".join(f"{label}\n" for label in CLASSES))
    make_run.score(make_run("linear", 0, 1.0), "--classes", tmp_path / "classes.txt")
    text = " ".join(compared(tmp_path / "runs", reference).split())
    for metric in ("event", "segment", "clip"):
        assert (
            f"{metric}: 1 of 3 classes have no reference, so that no F1 exceeds 0.667: Owl" in text
        )


def test_a_pooling_is_read_from_the_settings_whatever_the_folder_is_called(make_run, tmp_path):
    for i, pooling in enumerate(("rap:lambda=1e-2", "rap:lambda=0.01")):
        make_run(pooling, i, 0.5, tmp_path / "any" / "name" / f"x{i}")
    comparison = compare_runs(
        [tmp_path / "any"], CompareConfig(resamples=10), reference=tmp_path / "reference.tsv"
    )
    assert [(s.label, s.seeds) for s in comparison.systems] == [("rap:lambda=0.01", (0, 1))]


def test_runs_that_differ_in_more_than_the_pooling_are_told_apart(make_run, reference, tmp_path):
    make_run("power", 0, 0.9, **{"batch-size": [32], "lr": 0.1})
    make_run("linear", 0, 0.5, **{"batch-size": [32], "lr": 0.2})
    text = compared(tmp_path / "runs", reference, "--against", "linear lr=0.2")
    assert "power lr=0.1" in text and "F1 against linear lr=0.2" in text


def test_runs_that_learned_from_other_scores_are_no_runs_of_one_system(
    make_run, reference, tmp_path
):
    whole = {"inputs": {"w.tsv": "0" * 64}}
    (make_run("power", 0, 0.9) / "run.json").write_text(json.dumps(whole))
    digests = {1: "ab" * 32, 2: "cd" * 32, 3: "ab" * 32}
    for seed, digest in digests.items():
        where = make_run("power", seed, 0.9, soft=f"/of/{seed}/mean.h5")
        inputs = {f"{seed}/mean.h5": digest, "w.tsv": "0" * 64}  # as in the config.yaml
        (where / "run.json").write_text(json.dumps({"inputs": inputs}))
    table = rows(compared(tmp_path / "runs", reference, "--format", "tsv"))
    seeds = {key[0]: row["seeds"] for key, row in table.items()}
    assert seeds == {
        "power": "0", "power soft=mean.h5@abababab": "1,3", "power soft=mean.h5@cdcdcdcd": "2"
    }  # fmt: skip


def test_runs_that_learned_from_other_labels_are_no_runs_of_one_system(
    make_run, reference, tmp_path
):
    digests = {1: "ab" * 32, 2: "cd" * 32, 3: "ab" * 32, 4: "ab" * 32}
    for seed, digest in digests.items():
        how = {"min-confidence": 0.5} if seed == 4 else {}
        where = make_run("power", seed, 0.9, weak=f"/of/{seed}/w.tsv", **how)
        (where / "run.json").write_text(json.dumps({"inputs": {f"{seed}/w.tsv": digest}}))
    table = rows(compared(tmp_path / "runs", reference, "--format", "tsv"))
    assert {key[0]: row["seeds"] for key, row in table.items()} == {
        "power weak=w.tsv@abababab": "1,3",
        "power weak=w.tsv@cdcdcdcd": "2",
        "power min-confidence=0.5 weak=w.tsv@abababab": "4",
    }


def test_what_is_missing_is_named(runs, reference):
    (runs / "max-1" / "test" / "metrics.json").unlink()
    text = compared(runs, reference)
    assert "max: no run with seed 1" in text
    assert f"not in it: {(runs / 'max-1').resolve()}: not finished" in text.replace("\n    ", " ")


def test_the_same_run_twice_is_one_and_a_copy_of_it_is_refused(runs, reference):
    line = ("compare", runs, runs / "max-0", "--reference", reference[0], *FAST)
    assert "6 runs, 3 rows in" in run(*line).stderr
    shutil.copytree(runs / "max-0", runs / "copy")
    assert "are both of max with seed 0" in refused(*line, exit_code=5)


def test_runs_scored_in_different_ways_are_refused(make_run, runs, reference):
    line = ("compare", runs, "--reference", reference[0], *FAST)
    make_run.score(runs / "max-0", "--collar", "0.5")
    assert "different tolerances and conventions" in refused(*line, exit_code=5)
    (runs / "classes.txt").write_text("Cat\nDog\n")
    make_run.score(runs / "max-0", "--classes", runs / "classes.txt")
    assert "different class lists" in refused(*line, exit_code=5)


def test_a_run_with_one_class_list_for_events_and_another_for_clips_is_refused(
    make_run, runs, reference, tmp_path
):
    (tmp_path / "w.tsv").write_text("filename\tevent_labels\n00.wav\tDog\n")
    make_run.score(runs / "max-0", "--weak-reference", tmp_path / "w.tsv")
    line = ("compare", runs, "--reference", reference[0], *FAST)
    assert "evaluate it with --classes" in refused(*line, exit_code=5)


def test_runs_scored_on_other_labels_or_clips_are_refused(make_run, runs, reference, tmp_path):
    path, events = reference
    line = ("compare", runs, "--reference", path, *FAST)
    whole = path.read_text()
    write_events(path, StrongLabels(events[:-1], tuple(CLIPS)))
    make_run.score(runs / "max-0")
    assert "different reference labels" in refused(*line, exit_code=5)
    path.write_text(whole)
    make_run.score(runs / "max-0")
    shifted = [Event(e.name, e.onset + 0.5, e.offset + 0.5, e.label) for e in events]
    write_events(path, StrongLabels(shifted, tuple(CLIPS)))
    assert "test/metrics.json says event F1" in refused(*line, exit_code=5)
    path.write_text(whole)
    shutil.rmtree(runs / "max-0")
    make_run("max", 0, 0.3, clips=[*CLIPS, "more.wav"])
    assert "were scored on different clips: 1 are in one of them only, such as more.wav" in refused(
        *line, exit_code=5
    )


def test_a_damaged_run_is_refused_and_none_at_all_is_4(runs, reference, tmp_path):
    line = ("compare", runs, "--reference", reference[0], *FAST)
    (runs / "max-0" / "test" / "scores.h5").unlink()
    assert "scores.h5 is not there" in refused(*line, exit_code=5)
    (runs / "max-0" / "test" / "metrics.json").write_text("{}")
    assert "metrics.json: cannot be read" in refused(*line, exit_code=5)
    (runs / "max-0" / "config.yaml").write_text("train: 3")
    assert "config.yaml cannot be read" in refused(*line, exit_code=5)
    (tmp_path / "empty").mkdir()
    empty = ("compare", tmp_path / "empty", "--reference", reference[0])
    assert "no run there has test/metrics.json" in refused(*empty, exit_code=4)
    assert "name the labels they were scored on" in refused("compare", runs / "power-0")


def test_a_run_scored_by_too_few_metrics_is_refused_with_what_to_add(make_run, runs, reference):
    make_run.score(runs / "max-0", "--metrics", "event,clip")
    refusal = refused("compare", runs, "--reference", reference[0], *FAST, exit_code=5)
    assert "no scores of segment; evaluate it again, with these in --metrics" in refusal


def test_a_pooling_that_is_not_there_cannot_be_compared_against(runs, reference):
    line = ("compare", runs, "--reference", reference[0], *FAST)
    message = refused(*line, "--against", "cap")
    assert "against 'cap' is none of the rows here: max, linear, power" in message


# --- the paper's table ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("event_f1\n0.1\n", "its columns must be pooling"),
        ("pooling\tf1\npower\t0.1\n", "its columns must be pooling"),
        ("pooling\tevent_f1\npower\t19.6\n", ":2: '19.6' is no number from 0 to 1"),
        ("pooling\tevent_f1\npower\tnan\n", ":2: 'nan' is no number"),
        ("pooling\tevent_f1\npower\n", ":2: 2 columns are needed"),
        ("pooling\tevent_f1\npower\t0.1\npower\t0.1\n", ":3: power is given twice"),
        ("pooling\tevent_f1\nrap:x\t0.1\n", ":2: pooling option"),
    ],
)
def test_a_table_of_a_paper_that_cannot_be_read_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "paper.tsv").write_text(text)
    with pytest.raises(LabelError, match=re.escape(message)):
        read_paper(tmp_path / "paper.tsv")


def test_a_sweep_scored_against_a_file_that_has_changed_is_refused(runs, reference):
    record = {
        "format": "sedtool-sweep", "format_version": 1, "sedtool_version": "0", "recipe": "r",
        "data": "d", "weak_reference": None, "paper": None, "runs": ["max-0", "max-2"],
        "reference": {"path": str(reference[0]), "sha256": "0" * 64},
    }  # fmt: skip
    (runs / "sweep.json").write_text(json.dumps(record))
    assert "is not what the runs were scored against" in refused("compare", runs, exit_code=5)
    with pytest.raises(ArtifactError, match=r"sweep\.json: cannot be read"):
        (runs / "sweep.json").write_text(json.dumps(record | {"format_version": 2}))
        compare_runs([runs], CompareConfig())
