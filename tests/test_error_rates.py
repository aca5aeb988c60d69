"""Error rates equal those of sed_eval, and every event has one kind of error, told by hand."""

import math
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedtool.config import EvaluationConfig
from sedtool.evaluation import (
    ErrorRate,
    ErrorRates,
    EventColumns,
    analyse_errors,
    error_rates,
    evaluate_events,
    event_errors,
    segment_errors,
)
from sedtool.labels import Event

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import sed_eval

CONFIG = EvaluationConfig()
LABELS = ("Cat", "Dog", "Speech")
TENTHS = st.integers(0, 15).map(lambda n: n / 10)
EVENTS = st.lists(
    st.builds(
        lambda name, onset, length, label: Event(name, onset, onset + length, label),
        st.sampled_from(["1.wav", "2.wav"]),
        TENTHS | st.floats(0, 5),
        TENTHS,
        st.sampled_from(LABELS),
    ),
    max_size=25,
)
CONFIGS = st.builds(
    EvaluationConfig,
    collar=st.sampled_from([0.1, 0.2, 0.3, 1.0]),
    offset_ratio=st.sampled_from([0.0, 0.2, 0.5]),
    segment=st.sampled_from([0.1, 0.3, 1.0]),
    compat=st.just("dcase"),
)
FEW = settings(max_examples=100, deadline=None)


def sed_eval_rates(metric, reference, estimated):
    for name in dict.fromkeys(event.name for event in reference):
        sides = (
            [
                {"event_label": e.label, "event_onset": e.onset, "event_offset": e.offset}
                for e in events
                if e.name == name
            ]
            for events in (reference, estimated)
        )
        metric.evaluate(*sides)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # F1 of no class, which is not asked for
        results = metric.results()
    names = ("error_rate", "substitution_rate", "deletion_rate", "insertion_rate")
    overall = [results["overall"]["error_rate"][name] for name in names]
    macro = [
        results["class_wise_average"]["error_rate"][name] for name in names if "sub" not in name
    ]
    classes = [row["error_rate"]["error_rate"] for row in results["class_wise"].values()]
    return overall + macro + classes


def flat(rates: ErrorRates) -> list[float]:
    o = rates.overall
    return [
        *(o.rate, o.substitution_rate, o.deletion_rate, o.insertion_rate),
        *(rates.macro, rates.macro_deletion_rate, rates.macro_insertion_rate),
        *(row.rate for row in rates.classes.values()),
    ]


@FEW
@given(EVENTS, EVENTS, CONFIGS, st.booleans())
def test_event_error_rates_equal_those_of_sed_eval(reference, estimated, config, onset_only):
    classes = sorted({event.label for event in (*reference, *estimated)})
    if classes:
        metric = sed_eval.sound_event.EventBasedMetrics(
            classes,
            t_collar=config.collar,
            percentage_of_length=config.offset_ratio,
            evaluate_offset=not onset_only,
        )
        expected = sed_eval_rates(metric, reference, estimated)
        found = event_errors(reference, estimated, config, onset_only=onset_only)
        assert flat(found) == pytest.approx(expected, rel=1e-9)


@FEW
@given(EVENTS, EVENTS, CONFIGS)
def test_segment_error_rates_equal_those_of_sed_eval(reference, estimated, config):
    classes = sorted({event.label for event in (*reference, *estimated)})
    if classes:
        metric = sed_eval.sound_event.SegmentBasedMetrics(classes, time_resolution=config.segment)
        expected = sed_eval_rates(metric, reference, estimated)
        assert flat(segment_errors(reference, estimated, config)) == pytest.approx(
            expected, rel=1e-9
        )


REFERENCE = [
    Event("1.wav", 0.0, 2.0, "Dog"),
    Event("1.wav", 3.0, 4.0, "Dog"),
    Event("1.wav", 6.0, 7.0, "Cat"),
]
ESTIMATED = [
    Event("1.wav", 0.0, 2.0, "Dog"),
    Event("1.wav", 3.1, 4.1, "Cat"),  # the right time, the wrong name
    Event("1.wav", 9.0, 9.5, "Dog"),
]


def test_a_wrong_label_is_one_substitution_and_what_is_left_is_missed_or_spurious():
    rates = event_errors(REFERENCE, ESTIMATED, CONFIG)
    assert rates.overall == ErrorRate(1.0, 1 / 3, 1 / 3, 1 / 3, 1, 1, 1, 3)
    assert rates.classes["Dog"] == ErrorRate(1.0, 0.0, 0.5, 0.5, 0, 1, 1, 2)
    assert rates.classes["Cat"] == ErrorRate(2.0, 0.0, 1.0, 1.0, 0, 1, 1, 1)
    assert (rates.macro, rates.macro_deletion_rate, rates.macro_insertion_rate) == (1.5, 0.75, 0.75)


def test_segments_are_substituted_one_by_one():
    # Dog 0 1 3, Cat 6; against Dog 0 1 9, Cat 3 4: 3 is substituted, 6 missed, 4 and 9 spurious.
    overall = segment_errors(REFERENCE, ESTIMATED, CONFIG).overall
    assert (overall.substitutions, overall.deletions, overall.insertions) == (1, 1, 2)
    assert (overall.n_reference, overall.rate) == (4, 1.0)
    cut = segment_errors(REFERENCE, ESTIMATED, CONFIG, durations={"1.wav": 5.0}).overall
    assert (cut.substitutions, cut.deletions, cut.insertions, cut.n_reference) == (1, 0, 1, 3)


def test_without_references_rates_are_undefined_and_left_out_of_macro():
    rates = event_errors(REFERENCE, ESTIMATED, CONFIG, classes=["Dog", "Cat", "Bird"])
    assert math.isnan(rates.classes["Bird"].rate)
    assert rates.macro == 1.5
    silent = segment_errors([], ESTIMATED, CONFIG)
    assert math.isnan(silent.overall.rate)
    assert math.isnan(silent.macro)
    assert silent.overall.insertions == 5


def test_the_order_of_rows_decides_only_beyond_the_last_pair_that_is_looked_at(monkeypatch):
    monkeypatch.setattr(error_rates, "MOST_PAIRS", 0)
    rates = event_errors(REFERENCE, ESTIMATED, CONFIG)
    assert rates.overall == ErrorRate(1.0, 1 / 3, 1 / 3, 1 / 3, 1, 1, 1, 3)


def kinds(reference: list[tuple[float, float]], estimated: list[tuple[float, float]]):
    """Return the kinds of events of one class and clip that occur."""
    sides = ([Event("1.wav", *times, "Dog") for times in side] for side in (reference, estimated))
    counts = asdict(analyse_errors(*sides, CONFIG).total)
    return {name: n for name, n in counts.items() if n and name not in ("reference", "estimated")}


@pytest.mark.parametrize(
    ("estimated", "expected"),
    [
        ([(2.1, 6.1)], {"correct": 1}),
        ([], {"missed": 1}),
        ([(7, 8)], {"missed": 1, "spurious": 1}),
        ([(2.5, 6)], {"displaced": 1, "late_onset": 1}),
        ([(1.5, 6)], {"displaced": 1, "early_onset": 1}),
        ([(2, 5)], {"displaced": 1, "early_offset": 1}),
        ([(1, 7)], {"displaced": 1, "early_onset": 1, "late_offset": 1}),
        ([(2, 3), (4, 6)], {"fragmented": 1, "fragments": 2}),
        ([(2, 6), (3, 4)], {"correct": 1, "spurious": 1}),
        ([(6, 7)], {"missed": 1, "spurious": 1}),  # they touch
        ([(4, 4)], {"displaced": 1, "late_onset": 1, "early_offset": 1}),
        ([(2, 2)], {"missed": 1, "spurious": 1}),
    ],
)
def test_each_kind_of_error_is_told_from_the_others(estimated, expected):
    assert kinds([(2, 6)], estimated) == expected


def test_one_estimate_over_two_references_merges_them():
    assert kinds([(1, 2), (3, 4)], [(1, 4)]) == {"joined": 2, "merged": 1}
    # A reference that overlaps several estimates is fragmented, even if one of them merges.
    assert kinds([(1, 2), (3, 6)], [(1, 4), (5, 5.5)]) == {
        "joined": 1,
        "merged": 1,
        "fragmented": 1,
        "fragments": 1,
    }


def test_an_event_under_another_name_is_substituted_by_class():
    found = analyse_errors(REFERENCE, ESTIMATED, CONFIG)
    assert (found.total.substituted, found.total.mislabelled) == (1, 1)
    assert (found.classes["Dog"].substituted, found.classes["Cat"].mislabelled) == (1, 1)
    assert (found.classes["Cat"].missed, found.classes["Dog"].spurious) == (1, 1)


def overlap(a: Event, b: Event) -> bool:
    same = (a.name, a.label) == (b.name, b.label)
    return same and a.onset < b.offset and b.onset < a.offset


@FEW
@given(EVENTS, EVENTS)
def test_kinds_add_up_and_are_those_of_a_look_at_every_pair(reference, estimated):
    found = analyse_errors(reference, estimated, CONFIG)
    t = found.total
    assert t.correct == evaluate_events(reference, estimated, CONFIG).micro.tp
    seen = t.correct + t.displaced + t.fragmented + t.joined + t.substituted + t.missed
    said = t.correct + t.displaced + t.fragments + t.merged + t.mislabelled + t.spurious
    assert (seen, said) == (len(reference), len(estimated)) == (t.reference, t.estimated)
    shifts = t.early_onset + t.late_onset + t.early_offset + t.late_offset
    assert t.displaced <= shifts <= 2 * t.displaced


@FEW
@given(EVENTS, EVENTS)
def test_without_a_collar_to_match_in_the_overlaps_decide_alone(reference, estimated):
    # Moved away from all estimates, by less than they are long: nothing matches.
    strict = replace(CONFIG, collar=0.0, offset_ratio=0.0)
    estimated = [replace(e, onset=e.onset + 0.03, offset=e.offset + 0.05) for e in estimated]
    reference = [replace(e, onset=round(e.onset, 1), offset=round(e.offset, 1)) for e in reference]
    t = analyse_errors(reference, estimated, strict).total
    if t.correct:
        return
    over = [sum(overlap(r, e) for e in estimated) for r in reference]
    under = [sum(overlap(r, e) for r in reference) for e in estimated]
    assert t.fragmented == sum(n > 1 for n in over)
    assert t.merged == sum(n > 1 for n in under)
    assert t.displaced == sum(
        over[i] == under[j] == 1 and overlap(r, e)
        for i, r in enumerate(reference)
        for j, e in enumerate(estimated)
    )
    alone = [r for r, n in zip(reference, over, strict=True) if not n]
    stray = [replace(e, label="") for e, n in zip(estimated, under, strict=True) if not n]
    assert t.substituted == sum(any(overlap(replace(r, label=""), e) for e in stray) for r in alone)


def test_metrics_take_columns_of_arrays():
    columns = EventColumns(
        np.array(["a", "a", "b"]),
        np.array([0.0, 1.0, 0.0]),
        np.array([1.0, 2.0, 1.0]),
        np.array(["Dog", "Cat", "Dog"]),
    )
    assert evaluate_events(columns, columns, CONFIG).micro.tp == 3
    assert event_errors(columns, columns, CONFIG).overall.rate == 0
    assert segment_errors(columns, columns, CONFIG).overall.rate == 0
    assert analyse_errors(columns, columns, CONFIG).classes["Dog"].correct == 2
