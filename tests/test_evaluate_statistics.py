"""Intervals and differences of scores, by resampling what each clip counts."""

import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest

from sedtool.config import EvaluationConfig
from sedtool.config.evaluation import ReportConfig
from sedtool.errors import LabelError
from sedtool.evaluation import evaluate
from sedtool.evaluation.count_tables import count_table
from sedtool.evaluation.counts import Undefined
from sedtool.evaluation.intervals import CountTable, System, macro_error_rate, statistics
from sedtool.evaluation.resampling import clip_weights, difference
from sedtool.labels import Event, StrongLabels, write_events
from sedtool.score_tables import FrameScores, write_score_tables
from support.command_lines import refused, run, save_small_model

CLASSES = ("Cat", "Dog", "Speech")
METRICS = ("event", "segment", "clip", "onset", "intersection", "error-rate")


def random_events(rng, n_clips, per_clip=4.0, seconds=10.0):
    events = []
    for i in range(n_clips):
        for _ in range(rng.poisson(per_clip)):
            onset = float(rng.uniform(0, seconds - 1))
            label = CLASSES[rng.integers(len(CLASSES))]
            events.append(Event(f"{i}.wav", onset, onset + float(rng.uniform(0.1, 3)), label))
    return events


def moved(events, rng, miss=0.3, spread=0.15):
    """Return what a system might say about events."""
    kept = [e for e in events if rng.uniform() > miss]
    shifts = rng.normal(0, spread, size=(len(kept), 2))
    return [
        replace(e, onset=max(0.0, e.onset + a), offset=max(0.0, e.onset + a, e.offset + b))
        for e, (a, b) in zip(kept, shifts.tolist(), strict=True)
    ]


@pytest.fixture(scope="module")
def lists():
    rng = np.random.default_rng(5)
    reference = random_events(rng, 30)
    names = tuple(f"{i}.wav" for i in range(30))
    systems = [[*moved(reference, rng), *random_events(rng, 30, 1.0)] for _ in range(2)]
    odd = [Event("99.wav", 0, 1, "Dog"), Event("1.wav", 2, 2, "Cat"), Event("2.wav", 0, 1, "Cow")]
    systems[0] += odd
    return StrongLabels(reference, names), [StrongLabels(s, names) for s in systems]


def scored(reference, estimated, config=EvaluationConfig()):  # noqa: B008  # it is frozen
    evaluation = evaluate(reference, estimated, config, metrics=METRICS)
    return evaluation, count_table(reference, estimated, evaluation)


@pytest.mark.parametrize("compat", ["", "dcase"])
def test_the_sum_over_clips_is_the_score(lists, compat):
    reference, (estimated, _) = lists
    evaluation, table = scored(reference, estimated, EvaluationConfig(compat=compat))
    everything = {m: c.sum(axis=0).reshape(1, -1).astype(float) for m, c in table.counts.items()}
    found = {name: float(value[0]) for name, value in table.scores(everything).items()}
    assert found == pytest.approx(evaluation.macro_scores, nan_ok=True)
    assert len(found) == 3 * 5 + 2


def test_a_resample_scores_as_a_data_set_of_the_clips_drawn(lists):
    reference, (estimated, _) = lists
    _, table = scored(reference, estimated)
    (weights,) = clip_weights(len(table.clips), 3, np.random.default_rng((7, 0)))
    flat = table.by_unit({clip: i for i, clip in enumerate(table.clips)}, len(table.clips))
    found = table.scores({metric: weights @ sums for metric, sums in flat.items()})
    for row in range(3):
        copies = [
            (clip, f"{n} {clip}")
            for clip, times in zip(table.clips, weights[row].astype(int), strict=True)
            for n in range(times)
        ]
        sides = [
            [replace(e, name=copy) for clip, copy in copies for e in side.events if e.name == clip]
            for side in (reference, estimated)
        ]
        anew = evaluate(*sides, EvaluationConfig(), classes=CLASSES, metrics=METRICS)
        expected = {name: values[row] for name, values in found.items()}
        assert anew.macro_scores == pytest.approx(expected)


def test_intervals_are_those_of_the_binomial_where_a_clip_is_one_trial():
    """Of 400 clips with one event each 60 % are found: precision 1, recall a share of clips."""
    counts = np.ones((400, 1, 3), np.int64)
    counts[240:, 0, 0] = counts[240:, 0, 2] = 0
    clips = tuple(map(str, range(400)))
    table = CountTable(clips, {"event": counts}, {"event": Undefined.ZERO})
    drawn = statistics(
        System("a", {"event_recall": 0.6, "event_precision": 1.0}, table),
        None,
        ReportConfig(bootstrap=4000),
    )
    low, high = drawn.intervals["event_recall"]
    deviation = (0.6 * 0.4 / 400) ** 0.5
    assert (low, high) == pytest.approx((0.6 - 1.96 * deviation, 0.6 + 1.96 * deviation), abs=4e-3)
    assert drawn.intervals["event_precision"] == (1, 1)
    # Clips of one group are one trial: with 10 times fewer, √10 times the width.
    groups = {clip: f"g{int(clip) // 10}" for clip in clips}
    system = System("a", {"event_recall": 0.6}, table)
    grouped = statistics(system, None, ReportConfig(bootstrap=4000), groups)
    wide = grouped.intervals["event_recall"]
    assert (grouped.unit, grouped.n_units) == ("groups", 40)
    assert (wide[1] - wide[0]) / (high - low) == pytest.approx(10**0.5, rel=0.06)
    single = statistics(system, None, ReportConfig(bootstrap=4000), {c: c for c in clips})
    assert single.intervals["event_recall"] == pytest.approx((low, high), abs=6e-3)


def test_a_system_does_not_differ_from_itself_and_does_from_a_worse_one(lists):
    reference, (good, _) = lists
    rng = np.random.default_rng(0)
    bad = StrongLabels(moved(good.events, rng, miss=0.6, spread=1.0), good.names)
    systems = []
    for estimated in (good, bad):
        evaluation, table = scored(reference, estimated)
        systems.append(System("x", evaluation.macro_scores, table))
    report = ReportConfig(bootstrap=500)
    same = statistics(systems[0], systems[0], report).differences
    assert {(d.observed, d.low, d.high, d.p) for d in same.values()} == {(0, 0, 0, 1)}
    found = statistics(*systems, report).differences
    assert found["event_f1"].p < 0.01
    assert found["event_f1"].low > 0
    turned = statistics(*reversed(systems), report).differences["event_f1"]
    assert turned.observed == -found["event_f1"].observed
    assert (turned.low, turned.high) == pytest.approx(
        (-found["event_f1"].high, -found["event_f1"].low)
    )


def test_draws_depend_on_the_seed_alone(lists):
    reference, (estimated, _) = lists
    evaluation, table = scored(reference, estimated)
    system = System("x", evaluation.macro_scores, table)
    once, again, other = (
        statistics(system, None, ReportConfig(bootstrap=50, seed=seed)).intervals
        for seed in (1, 1, 2)
    )
    assert once == again
    assert once != other


def test_resamples_without_the_only_class_say_nothing():
    """One clip of two has the class: a quarter of the resamples has no reference at all."""
    counts = np.array([[[1, 1, 1]], [[0, 0, 0]]])
    table = CountTable(("a", "b"), {"event": counts}, {"event": Undefined.DROPPED})
    drawn = statistics(System("x", {"event_f1": 1.0}, table), None, ReportConfig(bootstrap=200))
    assert drawn.intervals["event_f1"] == (1, 1)
    never = CountTable(("a",), {"event": counts[1:]}, {"event": Undefined.DROPPED})
    drawn = statistics(System("x", {"event_f1": 1.0}, never), None, ReportConfig(bootstrap=20))
    assert drawn.to_json()["bootstrap"]["intervals"]["event_f1"] == [None, None]


def test_the_macro_error_rate_leaves_out_classes_without_references():
    counts = np.array([[[1, 2, 3], [0, 0, 5], [0, 4, 0]]], float)
    assert macro_error_rate(counts) == pytest.approx([((1 + 2) / 2 + 4 / 4) / 2])
    assert np.isnan(macro_error_rate(np.zeros((1, 2, 3)))).all()
    assert macro_error_rate(counts, dcase=True) == pytest.approx([5 / np.spacing(1.0) / 3])


def test_no_clip_and_no_group_are_errors():
    empty = CountTable((), {"event": np.zeros((0, 1, 3))}, {"event": Undefined.ZERO})
    with pytest.raises(LabelError, match="no clip to draw from"):
        statistics(System("x", {}, empty), None, ReportConfig(bootstrap=2))
    table = CountTable(("a", "b"), {"event": np.ones((2, 1, 3))}, {"event": Undefined.ZERO})
    with pytest.raises(LabelError, match="1 clips have no group, b first"):
        statistics(System("x", {}, table), None, ReportConfig(bootstrap=2), {"a": "g"})


def test_ten_thousand_resamples_of_as_many_clips_as_dcase_has_take_seconds():
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 3, size=(1168, 10))
    tp = rng.integers(0, reference + 1)
    counts = np.stack([tp, reference, tp + rng.integers(0, 2, size=tp.shape)], axis=-1)
    table = CountTable(
        tuple(map(str, range(1168))),
        dict.fromkeys(("event", "segment", "clip"), counts),
        dict.fromkeys(("event", "segment", "clip"), Undefined.ZERO),
    )
    system = System("x", {f"{m}_f1": 0.5 for m in table.counts}, table)
    started = time.process_time()
    statistics(system, system, ReportConfig(bootstrap=10_000))
    assert time.process_time() - started < 20  # 2 s, and a slow machine


# On the command line


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
    line = ("evaluate", tiny.strong, scores, "--against", tiny.strong, "--bootstrap", 5, "-q")
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


def test_resampling_says_how_far_it_is(lists):
    reference, (estimated, _) = lists
    evaluation, table = scored(reference, estimated)
    seen = []
    system = System("x", evaluation.macro_scores, table)
    statistics(system, None, ReportConfig(bootstrap=250), None, lambda *now: seen.append(now))
    assert seen == [(done, 250, "resamples") for done in (100, 200, 250)]


def test_errors_alone_have_no_interval(files):
    line = ("evaluate", *files[:2], "--metrics", "errors", "--bootstrap", 10)
    assert "metrics must name one that has intervals; errors has none" in refused(*line)


def test_a_reference_without_events_has_no_intervals_and_no_error(tmp_path):
    (tmp_path / "r.tsv").write_text("filename\tonset\toffset\tevent_label\na.wav\t\t\t\n")
    line = ("evaluate", tmp_path / "r.tsv", tmp_path / "r.tsv", "--bootstrap", 10, "-q")
    found = json.loads(run(*line, "--format", "json").stdout)
    assert found["bootstrap"]["intervals"] == {}
    assert "NaN" not in run(*line).stdout


def test_differences_of_rounding_are_none():
    noise = np.array([1e-16, -3e-15, 0.0] * 50)
    found = difference(0.0, noise, np.zeros(150))
    assert (found.low, found.high, found.p) == (0, 0, 1)
