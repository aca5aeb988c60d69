"""Counts by clip and class: their sums are the scores, and rates and macro averages follow."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedtool.config import EvaluationConfig
from sedtool.evaluation import evaluate
from sedtool.evaluation.counts import (
    MacroRule,
    class_rates,
    macro_error_rates,
    macro_rates,
    score,
)
from sedtool.labels import Event, StrongLabels
from support.counts import counts_of, table_of

CLASSES = ("Cat", "Dog", "Owl")
CONFIG = EvaluationConfig()
METRICS = ("event", "segment", "clip", "onset", "intersection", "error-rate")


def labels(rng, n_clips=5, most=3, prefix="clip"):
    """Return random events, also of a class that is not in the class list."""
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
    """Return what a system might find: some of the events, moved a little, and others."""
    kept = [event for event in reference.events if rng.uniform() < 0.7]
    moved = [replace(event, onset=event.onset + float(rng.uniform(0, 0.25))) for event in kept]
    moved = [event for event in moved if event.onset < event.offset]
    return StrongLabels([*moved, *labels(rng, most=1).events], reference.names)


def given_sides(rng, reference, with_durations, with_tags):
    sides = {}
    if with_durations:
        sides["durations"] = dict.fromkeys(reference.names, 5.0)
    if with_tags:
        sides["weak_reference"] = labels(rng).weak()
        sides["weak_estimated"] = labels(rng).weak()
    return sides


# --- counts by clip -------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "dcase"]),
    st.none() | st.just(CLASSES),
)
def test_the_counts_of_a_clip_are_those_of_the_clip_alone(seed, durations, tags, compat, classes):
    rng = np.random.default_rng(seed)
    reference = labels(rng)
    estimated = near(rng, reference)
    sides = given_sides(rng, reference, durations, tags)
    config = EvaluationConfig(compat=compat)
    whole = evaluate(reference, estimated, config, classes=classes, metrics=METRICS, **sides)
    for i, name in enumerate(whole.clips):
        alone = [
            StrongLabels([e for e in side.events if e.name == name], (name,))
            for side in (reference, estimated)
        ]
        only = {
            key: {name: values[name]} if name in values else {} for key, values in sides.items()
        }
        for metric, counts in whole.counts.items():
            if not counts.classes:
                continue
            single = evaluate(*alone, config, classes=counts.classes, metrics=METRICS, **only)
            same = single.counts[metric]
            assert np.array_equal(table_of(counts)[i], table_of(same)[0]), (metric, name)


@given(st.integers(0, 10_000))
def test_the_same_weight_on_every_clip_gives_the_scores(seed):
    rng = np.random.default_rng(seed)
    reference = labels(rng)
    whole = evaluate(reference, near(rng, reference), CONFIG, metrics=METRICS)
    for measure in whole.measures:
        for weight in (1.0, 3.0):
            found = measure.scores(np.full((1, len(measure.clips)), weight))
            expected = {name: whole.macro_scores[name] for name in found}
            values = {name: float(value[0]) for name, value in found.items()}
            assert values == pytest.approx(expected, nan_ok=True)
    assert {name for m in whole.measures for name in m.scores(np.ones((1, len(m.clips))))} == set(
        whole.macro_scores if whole.counts["event"].classes else ()
    )


def test_names_that_match_by_basename_are_one_clip():
    reference = [Event("a/x.wav", 0.0, 1.0, "Dog")]
    found = evaluate(reference, [Event("x.wav", 0.1, 1.0, "Dog")], CONFIG)
    assert found.clips == ("a/x.wav",)
    assert table_of(found.counts["event"]).tolist() == [[[1, 1, 1]]]
    assert table_of(found.counts["clip"]).tolist() == [[[1, 1, 1]]]


def test_what_has_no_count_takes_no_room():
    n_clips = 100_000
    names = tuple(f"class {k}" for k in range(500))
    events = [Event(f"{i}.wav", 0, 1, names[i % 500]) for i in range(0, n_clips, 100)]
    clips = tuple(f"{i}.wav" for i in range(n_clips))
    found = evaluate(StrongLabels(events, clips), StrongLabels(events, clips), CONFIG)
    counts = found.counts["event"]
    assert counts.by_clip.shape == (n_clips, 3 * len(counts.classes))
    assert counts.by_clip.nnz == 3 * len(events)


def test_labels_beyond_the_class_list_count_in_micro_only():
    reference, estimated = [Event("1", 0, 1, "Dog")], [Event("1", 0, 1, "Cat")]
    scores = score(evaluate(reference, estimated, CONFIG).counts["event"])
    assert list(scores.classes) == ["Dog"]
    assert (scores.micro.tp, scores.micro.fp, scores.micro.fn) == (0, 1, 1)


# --- rates ----------------------------------------------------------------------------------------


def by_hand(table, rule):
    """Return macro F1, precision and recall, one class after the other."""
    rows = []
    for tp, reference, estimated in table.tolist():
        precision = tp / estimated if estimated else math.nan
        recall = tp / reference if reference else math.nan
        f1 = 2 * tp / (reference + estimated) if reference + estimated else math.nan
        if rule is MacroRule.DCASE_EVENTS and not estimated:
            precision = 0.0
        if rule is not MacroRule.ZERO and (math.isnan(precision) or math.isnan(recall)):
            f1 = math.nan
        rows.append((f1, precision, recall))
    averages = []
    for column in zip(*rows, strict=True):
        defined = [value for value in column if not math.isnan(value)]
        n = len(column) if rule is MacroRule.ZERO else len(defined)
        averages.append(sum(defined) / n if n else math.nan)
    return averages


@pytest.mark.parametrize("rule", list(MacroRule))
@given(st.integers(0, 10_000))
def test_macro_rates_follow_their_rule(rule, seed):
    rng = np.random.default_rng(seed)
    n_reference, n_estimated = rng.integers(0, 4, (2, 6))
    tp = rng.integers(0, np.minimum(n_reference, n_estimated) + 1)
    table = np.stack([tp, n_reference, n_estimated], axis=-1)
    expected = pytest.approx(by_hand(table, rule), abs=1e-12, nan_ok=True)
    assert macro_rates(table, rule).tolist() == expected
    assert macro_rates(np.stack([table, table]), rule)[1].tolist() == expected
    macro = score(counts_of(table[None], rule)).macro
    assert [macro.f1, macro.precision, macro.recall] == expected


@pytest.mark.parametrize("rule", list(MacroRule))
def test_a_class_without_its_references_is_left_out_and_one_that_never_has_any_is_not(rule):
    table = np.array([[2, 2, 2], [0, 0, 1], [0, 0, 0]])
    expected = np.array([True, True, False])
    alone = table[[0, 2]]
    assert macro_rates(table, rule, expected).tolist() == pytest.approx(by_hand(alone, rule))
    error, deletion, insertion = macro_error_rates(table, rule, expected).tolist()
    assert (error, deletion, insertion) == (0, 0, 0)
    assert np.isnan(macro_rates(table[1:2], rule, expected[1:2])).all()


def test_precision_and_recall_of_nothing_are_undefined():
    f1, precision, recall = class_rates(np.array([[0, 0, 3], [0, 3, 0]]), MacroRule.ZERO)
    assert f1.tolist() == [0, 0]
    assert np.isnan(precision).tolist() == [False, True]
    assert np.isnan(recall).tolist() == [True, False]


def test_the_macro_error_rate_leaves_out_classes_without_references():
    table = np.array([[[1, 2, 3], [0, 0, 5], [0, 4, 0]]])
    rate, deletion, insertion = macro_error_rates(table, MacroRule.ZERO)[0].tolist()
    assert rate == pytest.approx(((1 + 2) / 2 + 4 / 4) / 2)
    assert (deletion, insertion) == (pytest.approx((1 / 2 + 1) / 2), pytest.approx(1 / 2))
    assert np.isnan(macro_error_rates(np.zeros((1, 2, 3)), MacroRule.ZERO)).all()
    dcase = macro_error_rates(table, MacroRule.DCASE)[0, 0]
    assert dcase == pytest.approx(5 / np.spacing(1.0) / 3)
