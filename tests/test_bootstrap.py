"""Counts by clip add up to those of the metrics, and resampling them is resampling clips."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedtool.config import EvaluationConfig
from sedtool.errors import ConfigError
from sedtool.evaluation import evaluate, resampling
from sedtool.evaluation.by_clip import count_by_clip
from sedtool.evaluation.counts import Counts, Undefined, score
from sedtool.evaluation.resampling import clip_weights, difference, holm, macro_rates, resample
from sedtool.labels import Event, StrongLabels

CLASSES = ("Cat", "Dog", "Owl")
CONFIG = EvaluationConfig()


def labels(rng, n_clips=5, most=3, prefix="clip"):
    """Return random events, also of a class that is not scored."""
    events = []
    for i in range(n_clips):
        for _ in range(rng.integers(most + 1)):
            onset = round(float(rng.uniform(0, 4)), 2)
            label = str(rng.choice([*CLASSES, "Fish"]))
            events.append(
                Event(f"{prefix}{i}.wav", onset, onset + 0.1 * rng.integers(1, 20), label)
            )
    return StrongLabels(events, tuple(f"{prefix}{i}.wav" for i in range(n_clips)))


def near(rng, reference):
    """Return a system's guess: some of the events, moved a little, and others."""
    kept = [event for event in reference.events if rng.uniform() < 0.7]
    moved = [replace(event, onset=event.onset + float(rng.uniform(0, 0.25))) for event in kept]
    moved = [event for event in moved if event.onset < event.offset]
    return StrongLabels([*moved, *labels(rng, most=1).events], reference.names)


# --- counts by clip -------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_counts_by_clip_add_up_to_those_of_the_metrics(seed, with_durations, with_weak):
    rng = np.random.default_rng(seed)
    reference = labels(rng)
    estimated = near(rng, reference)
    sides = {}
    if with_durations:
        sides["durations"] = dict.fromkeys(reference.names, 5.0)
    if with_weak:
        sides["weak_reference"] = labels(rng).weak()
        sides["weak_estimated"] = labels(rng).weak()
    counts = count_by_clip(reference, estimated, CONFIG, CLASSES, **sides)
    whole = evaluate(reference, estimated, CONFIG, classes=CLASSES, **sides)
    for name, scores in whole.metrics.items():
        for k, row in enumerate(scores.classes.values()):
            found = counts.metric(name).sum(axis=0)[k].tolist()
            assert found == [row.tp, row.n_reference, row.n_estimated], (name, k)
        rates = macro_rates(counts.metric(name).sum(axis=0))
        expected = [scores.macro.f1, scores.macro.precision, scores.macro.recall]
        assert rates.tolist() == pytest.approx(expected, abs=1e-12)


def test_the_counts_of_a_clip_are_those_of_the_clip_alone():
    rng = np.random.default_rng(1)
    reference = labels(rng, n_clips=8)
    estimated = near(rng, reference)
    counts = count_by_clip(reference, estimated, CONFIG, CLASSES)
    for i, name in enumerate(counts.clips):
        alone = [
            StrongLabels([e for e in side.events if e.name == name], (name,))
            for side in (reference, estimated)
        ]
        single = count_by_clip(*alone, CONFIG, CLASSES)
        for metric in ("event", "segment", "clip"):
            assert np.array_equal(counts.metric(metric)[i], single.metric(metric)[0])


def test_names_that_match_by_basename_are_one_clip():
    reference = [Event("a/x.wav", 0.0, 1.0, "Dog")]
    estimated = [Event("x.wav", 0.1, 1.0, "Dog")]
    counts = count_by_clip(reference, estimated, CONFIG, ["Dog"])
    assert counts.clips == ("a/x.wav",)
    assert counts.event.tolist() == counts.clip.tolist() == [[[1, 1, 1]]]


# --- rates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", list(Undefined))
@given(st.integers(0, 10_000))
def test_macro_rates_are_those_of_the_metrics_under_every_rule(rule, seed):
    rng = np.random.default_rng(seed)
    n_reference, n_estimated = rng.integers(0, 4, (2, 6))
    tp = rng.integers(0, np.minimum(n_reference, n_estimated) + 1)
    macro = score("abcdef", Counts(tp, n_reference, n_estimated), rule).macro
    found = macro_rates(np.stack([tp, n_reference, n_estimated], axis=-1), rule)
    expected = [macro.f1, macro.precision, macro.recall]
    assert found.tolist() == pytest.approx(expected, abs=1e-12, nan_ok=True)


# --- resamples ------------------------------------------------------------------------------------


def test_every_resample_draws_as_many_clips_as_there_are(monkeypatch):
    whole = np.concatenate(list(clip_weights(7, 50, np.random.default_rng(0))))
    assert whole.shape == (50, 7) and (whole.sum(axis=1) == 7).all()
    assert whole.mean() == 1.0 and whole.var() == pytest.approx(1 - 1 / 7, rel=0.2)
    monkeypatch.setattr(resampling, "_BLOCK", 8 * 7 * 3)
    blocks = list(clip_weights(7, 50, np.random.default_rng(0)))
    assert len(blocks) == 17
    assert np.array_equal(np.concatenate(blocks), whole)


def test_resampled_rates_are_those_of_lists_in_which_clips_are_repeated():
    rng = np.random.default_rng(2)
    reference = labels(rng, n_clips=6)
    systems = [[near(rng, reference) for _ in range(2)], [near(rng, reference)]]
    counts = [
        np.stack([count_by_clip(reference, e, CONFIG, CLASSES).segment for e in seeds])
        for seeds in systems
    ]
    found = resample(counts, 20, seed=5)
    (weights,) = clip_weights(6, 20, np.random.default_rng((5, 0)))
    for i, seeds in enumerate(systems):
        drawn = np.random.default_rng((5, 1, i)).integers(len(seeds), size=(len(seeds), 20))
        for b in range(20):
            times = dict(zip(reference.names, weights[b].astype(int), strict=True))
            rates = []
            for s in drawn[:, b]:
                sides = [repeated(side, times) for side in (reference, seeds[s])]
                macro = evaluate(*sides, CONFIG, classes=CLASSES).segment.macro
                rates.append([macro.f1, macro.precision, macro.recall])
            assert found[i, b].tolist() == pytest.approx(np.mean(rates, axis=0).tolist())


def repeated(side, times):
    """Return the events of each clip as often as it was drawn, under other names."""
    names = [f"{i}-{name}" for name, n in times.items() for i in range(n)]
    events = [
        replace(event, name=f"{i}-{event.name}")
        for event in side.events
        for i in range(times[event.name])
    ]
    return StrongLabels(events, tuple(names))


def hits(values):
    """Return counts (1, C, 1, 3) of clips with one estimate each, right or wrong."""
    table = [[[int(value), 1, 1]] for value in values]
    return np.array([table])


def test_the_spread_of_a_resampled_share_is_that_of_the_binomial():
    values = np.arange(200) % 5 == 0
    precision = resample([hits(values)], 20_000, seed=0)[0, :, 1]
    assert precision.mean() == pytest.approx(0.2, abs=0.002)
    assert precision.std() == pytest.approx(math.sqrt(0.2 * 0.8 / 200), rel=0.02)


def test_the_spread_of_resampled_seeds_is_that_of_a_mean():
    shares = [0.0, 0.5, 1.0, 1.0]  # each the same in every clip, so that clips do not matter
    counts = np.stack([np.tile([[[int(10 * s), 10, 10]]], (6, 1, 1)) for s in shares])
    rates = resample([counts], 20_000, seed=0)[0, :, 0]
    assert rates.mean() == pytest.approx(np.mean(shares), abs=0.01)
    assert rates.std() == pytest.approx(np.std(shares) / 2, rel=0.02)


def test_clips_are_drawn_alike_for_all_systems():
    values = np.random.default_rng(0).uniform(size=50) < 0.5
    same = resample([hits(values), hits(values)], 100, seed=3)
    assert np.array_equal(same[0], same[1])
    found = difference(0.0, same[0, :, 0], same[1, :, 0])
    assert (found.low, found.high, found.p) == (0.0, 0.0, 1.0)


def test_equal_seeds_of_the_resampling_give_equal_results():
    counts = [hits(np.arange(30) % 3 == 0)]
    first, again, other = (resample(counts, 50, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("shape", [(2, 4, 3), (1, 4, 2, 2), (0, 4, 2, 3), (1, 0, 2, 3)])
def test_counts_of_another_shape_are_refused(shape):
    with pytest.raises(ConfigError, match=r"counts must be of shape|there must be a clip"):
        resample([np.zeros(shape, int)], 10, 0)
    with pytest.raises(ConfigError, match="equal C and K"):
        resample([np.zeros((1, 4, 2, 3), int), np.zeros((1, 5, 2, 3), int)], 10, 0)


# --- intervals and p-values -----------------------------------------------------------------------


def test_an_interval_and_a_p_value_are_read_off_the_resamples():
    resampled = np.arange(1, 1000) / 100 - 0.5  # 49 below 0, one at 0
    found = difference(4.5, resampled, np.zeros(999), confidence=0.9)
    assert found.low == pytest.approx(np.quantile(resampled, 0.05))
    assert found.high == pytest.approx(np.quantile(resampled, 0.95))
    assert found.p == pytest.approx(2 * (50 + 1) / 1000)
    assert difference(-4.5, -resampled, np.zeros(999)).p == pytest.approx(found.p)
    assert difference(1.0, np.ones(999), np.zeros(999)).p == pytest.approx(2 / 1000)  # never 0


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng, held = np.random.default_rng(7), []
    for trial in range(300):
        first, second = rng.uniform(size=(2, 60)) < np.array([[0.6], [0.4]])
        rates = resample([hits(first), hits(second)], 400, seed=trial)[:, :, 1]
        found = difference(0.0, rates[0], rates[1], confidence=0.9)
        held.append(found.low <= 0.2 <= found.high)
    assert 0.84 < np.mean(held) < 0.95


def test_equal_systems_are_rarely_told_apart():
    rng, p_values = np.random.default_rng(8), []
    for trial in range(300):
        rates = resample(list(map(hits, rng.uniform(size=(2, 60)) < 0.5)), 400, seed=trial)[:, :, 1]
        p_values.append(difference(0.0, rates[0], rates[1]).p)
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09


def test_holm_multiplies_by_how_many_are_left_and_never_goes_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2] and holm([]) == []
