"""Resampling what clips count is resampling clips; intervals and p-values are read off it."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from sedtool.config import EvaluationConfig
from sedtool.config.evaluation import ReportConfig
from sedtool.errors import LabelError
from sedtool.evaluation import evaluate, resampling
from sedtool.evaluation.counts import MacroRule
from sedtool.evaluation.resampling import (
    Resampled,
    clip_weights,
    difference,
    holm,
    measure,
    rescore,
    seed_means,
    statistics,
)
from sedtool.labels import Event, StrongLabels
from support.counts import counts_of
from support.drawn import moved, random_events

CONFIG = EvaluationConfig()
METRICS = ("event", "segment", "clip", "onset", "intersection", "error-rate")


@pytest.fixture(scope="module")
def lists():
    rng = np.random.default_rng(5)
    reference = random_events(rng, 30)
    names = tuple(f"{i}.wav" for i in range(30))
    estimated = [*moved(reference, rng), *random_events(rng, 30, 1.0)]
    odd = [Event("99.wav", 0, 1, "Dog"), Event("1.wav", 2, 2, "Cat"), Event("2.wav", 0, 1, "Cow")]
    return StrongLabels(reference, names), StrongLabels([*estimated, *odd], names)


def scored(*sides, config=CONFIG):
    found = evaluate(*sides, config, metrics=METRICS)
    return Resampled("x", found.macro_scores, found.measures)


def clips_of(table):
    return tuple(map(str, range(len(table))))


def system(table, rule=MacroRule.ZERO, **scores):
    """Return a system whose events are counted in a dense table."""
    return Resampled("x", scores, [measure("event", clips_of(table), counts_of(table, rule))])


def drawn(table, resamples, seed=0, rule=MacroRule.ZERO):
    """Return the F1, precision and recall of resamples, (B,) each."""
    clips = clips_of(table)
    units = {clip: i for i, clip in enumerate(clips)}
    measures = [measure("event", clips, counts_of(table, rule))]
    (found,) = rescore([measures], units, resamples, seed)
    return [found[f"event_{rate}"] for rate in ("f1", "precision", "recall")]


def hits(values):
    """Return counts of clips with one reference and one estimate each, right or wrong."""
    return np.array([[[int(value), 1, 1]] for value in values])


# --- draws ----------------------------------------------------------------------------------------


def test_every_resample_draws_as_many_clips_as_there_are(monkeypatch):
    whole = np.concatenate(list(clip_weights(7, 50, np.random.default_rng(0))))
    assert whole.shape == (50, 7) and (whole.sum(axis=1) == 7).all()
    assert whole.mean() == 1.0 and whole.var() == pytest.approx(1 - 1 / 7, rel=0.2)
    monkeypatch.setattr(resampling, "_BLOCK", 8 * 7 * 3)
    blocks = list(clip_weights(7, 50, np.random.default_rng(0)))
    assert len(blocks) == 17
    assert np.array_equal(np.concatenate(blocks), whole)


@pytest.mark.parametrize("compat", ["", "dcase"])
def test_a_resample_scores_as_a_data_set_of_the_clips_drawn(lists, compat):
    config = EvaluationConfig(compat=compat)
    whole = evaluate(*lists, config, metrics=METRICS)
    clips = sorted(whole.clips)
    (found,) = rescore([whole.measures], {c: i for i, c in enumerate(clips)}, 3, seed=7)
    (weights,) = clip_weights(len(clips), 3, np.random.default_rng((7, 0)))
    for row in range(3):
        copies = [
            (clip, f"{n} {clip}")
            for clip, times in zip(clips, weights[row].astype(int), strict=True)
            for n in range(times)
        ]
        sides = [
            StrongLabels(
                [
                    replace(e, name=copy)
                    for clip, copy in copies
                    for e in s.events
                    if e.name == clip
                ],
                tuple(copy for clip, copy in copies if clip in s.names),
            )
            for s in lists
        ]
        for name in ("event", "segment", "clip", "onset", "intersection"):
            anew = evaluate(*sides, config, classes=whole.counts[name].classes, metrics=[name])
            for score, value in anew.macro_scores.items():
                assert found[score][row] == pytest.approx(value), (score, row)


def test_equal_seeds_give_equal_intervals(lists):
    one = scored(*lists)
    once, again, other = (
        statistics(one, None, ReportConfig(bootstrap=50, seed=seed)).intervals for seed in (1, 1, 2)
    )
    assert once == again and once != other


def test_clips_are_drawn_alike_for_all_systems():
    values = np.random.default_rng(0).uniform(size=50) < 0.5
    pair = statistics(
        system(hits(values), event_f1=values.mean()),
        system(hits(values), event_f1=values.mean()),
        ReportConfig(bootstrap=100, seed=3),
    )
    found = pair.differences["event_f1"]
    assert (found.observed, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_resampling_says_how_far_it_is(lists):
    seen = []
    statistics(scored(*lists), None, ReportConfig(bootstrap=250), None, lambda *a: seen.append(a))
    assert seen == [(done, 250, "resamples") for done in (100, 200, 250)]


def test_no_clip_and_no_group_are_errors():
    with pytest.raises(LabelError, match="no clip to draw from"):
        statistics(Resampled("x", {}, []), None, ReportConfig(bootstrap=2))
    with pytest.raises(LabelError, match="1 clips have no group: 1; name"):
        statistics(system(hits([1, 1])), None, ReportConfig(bootstrap=2), {"0": "g"})


# --- spread ---------------------------------------------------------------------------------------


def test_the_spread_of_a_resampled_share_is_that_of_the_binomial():
    _, precision, _ = drawn(hits(np.arange(200) % 5 == 0), 20_000)
    assert precision.mean() == pytest.approx(0.2, abs=0.002)
    assert precision.std() == pytest.approx(math.sqrt(0.2 * 0.8 / 200), rel=0.02)


def test_intervals_are_those_of_the_binomial_where_a_clip_is_one_trial():
    """Of 400 clips with one event each 60 % are found: precision 1, recall a share of clips."""
    table = np.ones((400, 1, 3), np.int64)
    table[240:, 0, 0] = table[240:, 0, 2] = 0
    one = system(table, event_recall=0.6, event_precision=1.0)
    report = ReportConfig(bootstrap=4000)
    found = statistics(one, None, report)
    low, high = found.intervals["event_recall"]
    deviation = (0.6 * 0.4 / 400) ** 0.5
    assert (low, high) == pytest.approx((0.6 - 1.96 * deviation, 0.6 + 1.96 * deviation), abs=4e-3)
    assert found.intervals["event_precision"] == (1, 1)
    # Clips of one group are one trial: with 10 times fewer, √10 times the width.
    grouped = statistics(one, None, report, {str(i): f"g{i // 10}" for i in range(400)})
    wide = grouped.intervals["event_recall"]
    assert (grouped.unit, grouped.n_units) == ("groups", 40)
    assert (wide[1] - wide[0]) / (high - low) == pytest.approx(10**0.5, rel=0.06)
    single = statistics(one, None, report, {str(i): str(i) for i in range(400)})
    assert single.intervals["event_recall"] == pytest.approx((low, high), abs=6e-3)


def test_the_spread_of_resampled_seeds_is_that_of_a_mean():
    shares = [0.0, 0.5, 1.0, 1.0]  # each the same in every resample of clips
    rates = seed_means([np.full(20_000, share) for share in shares], seed=0, system=0)
    assert rates.mean() == pytest.approx(np.mean(shares), abs=0.01)
    assert rates.std() == pytest.approx(np.std(shares) / 2, rel=0.02)


def test_a_system_does_not_differ_from_itself_and_does_from_a_worse_one(lists):
    reference, good = lists
    bad = StrongLabels(
        moved(good.events, np.random.default_rng(0), miss=0.6, spread=1.0), good.names
    )
    systems = [scored(reference, estimated) for estimated in (good, bad)]
    report = ReportConfig(bootstrap=500)
    same = statistics(systems[0], systems[0], report).differences
    assert {(d.observed, d.low, d.high, d.p) for d in same.values()} == {(0, 0, 0, 1)}
    found = statistics(*systems, report).differences["event_f1"]
    assert found.p < 0.01 and found.low > 0
    turned = statistics(*reversed(systems), report).differences["event_f1"]
    assert turned.observed == -found.observed
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


# --- classes that a resample has no reference of --------------------------------------------------


def rare(n_classes=10):
    """Return a reference in which every class but the last is in many clips, that one in one."""
    events = [
        Event(f"{i}.wav", 0.0, 1.0, f"class {k}") for i in range(20) for k in range(n_classes - 1)
    ]
    return [*events, Event("0.wav", 2.0, 3.0, f"class {n_classes - 1}")]


@pytest.mark.parametrize("compat", ["", "dcase"])
def test_a_perfect_system_with_a_rare_class_has_no_spread(compat):
    one = scored(rare(), rare(), config=EvaluationConfig(compat=compat))
    found = statistics(one, None, ReportConfig(bootstrap=500))
    for name, interval in found.intervals.items():
        assert interval == ((0, 0) if name.endswith("error_rate") else (1, 1)), name


@pytest.mark.parametrize("rule", list(MacroRule))
def test_a_resample_averages_over_the_classes_that_it_has_references_of(rule):
    """One clip of two has the second class, and an estimate of it is in the other, too.

    Drawn are both clips, one twice, or the other twice: F1 of the first class is 1, that of the
    second 2 / 3 in both, 1 in the first, and left out in the other.
    """
    table = [[[1, 1, 1], [1, 1, 1]], [[1, 1, 1], [0, 0, 1]]]
    f1, precision, recall = drawn(table, 400, rule=rule)
    assert set(np.round(f1, 9)) == {1, round((1 + 2 / 3) / 2, 9)}
    assert set(precision) == {1, 0.75}
    assert set(recall) == {1}
    errors = measure("event", ("0", "1"), counts_of(table, rule), of_errors=True)
    (found,) = rescore([[errors]], {"0": 0, "1": 1}, 400, 0)
    assert set(np.round(found["event_error_rate"], 9)) == {0, 0.5}


def test_a_class_that_never_has_references_counts_0_in_every_resample():
    f1, _, _ = drawn([[[1, 1, 1], [0, 0, 1]]] * 5, 100)
    assert set(f1) == {0.5}


def test_resamples_without_any_class_say_nothing():
    """One clip of two has the class: a quarter of the resamples has no reference at all."""
    table = np.array([[[1, 1, 1]], [[0, 0, 0]]])
    one = system(table, event_f1=1.0)
    found = statistics(one, one, ReportConfig(bootstrap=200))
    assert found.intervals["event_f1"] == (1, 1)
    assert found.differences["event_f1"].p == 1
    never = system(table[1:], MacroRule.DCASE, event_f1=1.0)
    found = statistics(never, never, ReportConfig(bootstrap=20))
    assert np.isnan(found.intervals["event_f1"]).all()
    assert math.isnan(found.differences["event_f1"].p)


# --- intervals and p-values -----------------------------------------------------------------------


def test_an_interval_and_a_p_value_are_read_off_the_resamples():
    resampled = np.arange(1, 1000) / 100 - 0.5  # 49 below 0, one at 0
    found = difference(4.5, resampled, np.zeros(999), confidence=0.9)
    assert found.low == pytest.approx(np.quantile(resampled, 0.05))
    assert found.high == pytest.approx(np.quantile(resampled, 0.95))
    assert found.p == pytest.approx(2 * (50 + 1) / 1000)
    assert difference(-4.5, -resampled, np.zeros(999)).p == pytest.approx(found.p)
    assert difference(1.0, np.ones(999), np.zeros(999)).p == pytest.approx(2 / 1000)  # never 0


def test_differences_of_rounding_are_none():
    noise = np.array([1e-16, -3e-15, 0.0] * 50)
    found = difference(0.0, noise, np.zeros(150))
    assert (found.low, found.high, found.p) == (0, 0, 1)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng, held = np.random.default_rng(7), []
    for trial in range(300):
        first, second = rng.uniform(size=(2, 60)) < np.array([[0.6], [0.4]])
        rates = [drawn(hits(each), 400, trial)[1] for each in (first, second)]
        found = difference(0.0, *rates, confidence=0.9)
        held.append(found.low <= 0.2 <= found.high)
    assert 0.84 < np.mean(held) < 0.95


def test_equal_systems_are_rarely_told_apart():
    rng, p_values = np.random.default_rng(8), []
    for trial in range(300):
        rates = [drawn(hits(v), 400, trial)[1] for v in rng.uniform(size=(2, 60)) < 0.5]
        p_values.append(difference(0.0, *rates).p)
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09


def test_holm_multiplies_by_how_many_are_left_and_never_goes_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2] and holm([]) == []


def test_ten_thousand_resamples_of_as_many_clips_as_dcase_has_take_seconds():
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 3, size=(1168, 10))
    tp = rng.integers(0, reference + 1)
    table = np.stack([tp, reference, tp + rng.integers(0, 2, size=tp.shape)], axis=-1)
    clips, counts = clips_of(table), counts_of(table)
    measures = [measure(name, clips, counts) for name in ("event", "segment", "clip")]
    one = Resampled("x", {f"{m}_f1": 0.5 for m in ("event", "segment", "clip")}, measures)
    started = time.process_time()
    statistics(one, one, ReportConfig(bootstrap=10_000))
    assert time.process_time() - started < 20  # a few seconds, and a slow machine
