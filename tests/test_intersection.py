"""Intersection-based F1 equals psds_eval's, brute force, and what its criteria say by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedtool.config.evaluation import IntersectionConfig
from sedtool.errors import ConfigError, LabelError
from sedtool.evaluation import evaluate_intersection
from sedtool.evaluation.intersection import count_intersection, intersect, merge
from sedtool.evaluation.pair import pair_up
from sedtool.labels import Event, StrongLabels, read_events
from support.psds_cases import events_above, labels_of, scores_of

GOLDEN = json.loads((Path(__file__).parent / "golden" / "psds" / "golden.json").read_text())
HALF = IntersectionConfig(0.5, 0.5, 0.3)


def counts(row):
    return (row.tp, row.fp, row.fn)


def crosses(found, n_labels):
    """Return how many estimates of each class cross each other class, (K, K)."""
    table = np.zeros((n_labels, n_labels), int)
    of_class = found.estimated.clip[found.crossing] % n_labels
    np.add.at(table, (of_class, found.crossed), 1)
    return table


@pytest.mark.parametrize("name", sorted(GOLDEN["cases"]))
def test_f1_of_each_class_is_that_of_psds_eval(name):
    case = GOLDEN["cases"][name]
    estimated = events_above(scores_of(case), case["classes"], 0.45)
    for expected in case["expected"]:
        config = IntersectionConfig(expected["dtc"], expected["gtc"], expected["cttc"])
        scores = evaluate_intersection(labels_of(case), estimated, config)
        for label, f1 in expected["from_lists"]["f1"].items():
            # psds_eval has no F1 where nothing is found.
            assert scores.classes[label].f1 == (0 if f1 is None else pytest.approx(f1, abs=1e-12))


@pytest.mark.parametrize("name", sorted(GOLDEN["cases"]))
def test_counts_are_those_of_sed_scores_eval(name):
    case = GOLDEN["cases"][name]
    classes = case["classes"]
    for expected in case["expected"]:
        config = IntersectionConfig(expected["dtc"], expected["gtc"], expected["cttc"])
        for i, threshold in enumerate(GOLDEN["thresholds"]):
            estimated = events_above(scores_of(case), classes, threshold)
            pair = pair_up(labels_of(case), estimated, classes)
            found = intersect(pair, config)
            table = count_intersection(pair, config).table
            for k, label in enumerate(classes):
                points = expected["from_scores"]["points"][label]
                tp, _, estimates = table[k].tolist()
                assert (tp, estimates - tp) == (points["tp"][i], points["fp"][i])
                for other, crossing in points["cross"].items():
                    assert crosses(found, pair.n_labels)[k, classes.index(other)] == crossing[i]


TIMES = st.integers(0, 40).map(lambda n: n / 20)
EVENTS = st.builds(
    lambda name, onset, length, label: Event(name, onset, onset + length, label),
    st.sampled_from(["1", "2", "3"]),
    TIMES,
    TIMES,
    st.sampled_from(["a", "b", "c"]),
)
SHARES = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
CONFIGS = st.builds(IntersectionConfig, SHARES, SHARES, SHARES)


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=12), st.lists(EVENTS, max_size=12), CONFIGS)
def test_counts_are_those_of_brute_force(reference, estimated, config):
    classes = ["a", "b", "c"]
    pair = pair_up(reference, estimated, classes)
    found = intersect(pair, config)
    table = count_intersection(pair, config).table
    truth, guess = joined(reference), joined(estimated)
    accepted = [e for e in guess if enough(e, [t for t in truth if t[3] == e[3]], config.dtc)]
    false = [e for e in guess if e not in accepted]
    for k, label in enumerate(classes):
        mine = [e for e in accepted if e[3] == label]
        tp = sum(enough(t, mine, config.gtc) for t in truth if t[3] == label)
        fp = sum(e[3] == label for e in false)
        n_reference = sum(t[3] == label for t in truth)
        assert tuple(table[k].tolist()) == (tp, n_reference, tp + fp)
        for c, other in enumerate(classes):
            theirs = [t for t in truth if t[3] == other]
            crossing = [e for e in false if e[3] == label and enough(e, theirs, config.cttc)]
            assert crosses(found, pair.n_labels)[k, c] == (len(crossing) if c != k else 0)


def joined(events):
    """Join overlapping events of a clip and class, one after the other."""
    rows = []
    for e in sorted(events, key=lambda e: (e.name, e.label, e.onset)):
        if e.offset <= e.onset:
            continue
        if rows and rows[-1][::3] == (e.name, e.label) and e.onset < rows[-1][2]:
            rows[-1] = (e.name, rows[-1][1], max(rows[-1][2], e.offset), e.label)
        else:
            rows.append((e.name, e.onset, e.offset, e.label))
    return rows


def enough(event, others, share):
    name, onset, offset, _ = event
    pieces = [min(offset, o[2]) - max(onset, o[1]) for o in others if o[0] == name]
    part = sum(max(piece, 0) for piece in pieces)
    return part > 1e-9 and round(part, 6) >= round(share * (offset - onset), 6)


REFERENCE = [Event("1", 0, 10, "a"), Event("1", 20, 30, "b"), Event("2", 0, 4, "a")]


def test_perfect_estimates_score_1_and_none_score_0():
    scores = evaluate_intersection(REFERENCE, REFERENCE, HALF)
    assert (scores.macro.f1, scores.micro.f1) == (1.0, 1.0)
    scores = evaluate_intersection(REFERENCE, [], HALF)
    assert (scores.macro.f1, counts(scores.micro)) == (0.0, (0, 0, 3))


def test_pieces_of_an_event_find_it_together_and_are_no_false_positives():
    pieces = [Event("1", t, t + 1, "a") for t in (0, 2, 4, 6, 8)]
    rows = evaluate_intersection(REFERENCE, pieces, HALF).classes
    assert counts(rows["a"]) == (1, 0, 1)
    rows = evaluate_intersection(REFERENCE, pieces[:4], HALF).classes
    assert counts(rows["a"]) == (0, 0, 2)  # accepted, but too little


def test_what_is_too_long_to_be_accepted_finds_nothing():
    rows = evaluate_intersection(REFERENCE, [Event("1", 0, 20.001, "a")], HALF).classes
    assert counts(rows["a"]) == (0, 1, 2)
    rows = evaluate_intersection(REFERENCE, [Event("1", 0, 20, "a")], HALF).classes
    assert counts(rows["a"]) == (1, 0, 1)


def test_a_cross_trigger_is_a_false_positive_that_covers_another_class():
    estimated = [Event("1", 15, 30, "a"), Event("1", 25, 60, "a"), Event("2", 0, 4, "b")]
    pair = pair_up(REFERENCE, estimated)
    found = intersect(pair, IntersectionConfig(0.5, 0.5, 0.5))
    # Joined, the first two are 15 s to 60 s, of which 10 s are b.
    assert crosses(found, pair.n_labels).tolist() == [[0, 0], [1, 0]]
    found = intersect(pair, IntersectionConfig(0.5, 0.5, 0.2))
    assert crosses(found, pair.n_labels).tolist() == [[0, 1], [1, 0]]


def test_times_that_tie_in_decimals_meet_the_share():
    # 0.9 - 0.2 is less than 0.7 in floats.
    reference = [Event("1", 0.2, 0.9, "a")]
    config = IntersectionConfig(dtc=0.7, gtc=0.5)
    assert evaluate_intersection(reference, [Event("1", 0.2, 1.2, "a")], config).macro.f1 == 1.0


def test_events_that_touch_stay_two_and_events_that_overlap_become_one():
    touching = [Event("1", 0, 1, "a"), Event("1", 1, 2, "a")]
    assert evaluate_intersection(touching, [], HALF).micro.n_reference == 2
    overlapping = [Event("1", 0, 1, "a"), Event("1", 0.9, 2, "a"), Event("1", 0.2, 0.3, "a")]
    scores = evaluate_intersection(overlapping, [Event("1", 0, 2, "a")] * 2, HALF)
    assert counts(scores.micro) == (1, 0, 0)


def test_zero_length_events_are_left_out():
    nothing = [Event("1", 5, 5, "a"), Event("1", 0, 0, "c")]
    scores = evaluate_intersection([*REFERENCE, *nothing], nothing, HALF)
    assert counts(scores.micro) == (0, 0, 3)


def test_a_share_of_0_asks_for_some_overlap():
    none = IntersectionConfig(0, 0, 0)
    assert counts(evaluate_intersection(REFERENCE, [], none).micro) == (0, 0, 3)
    apart = [Event("1", 10, 11, "a")]
    assert counts(evaluate_intersection(REFERENCE, apart, none).micro) == (0, 1, 3)
    touch = [Event("1", 9.999, 11, "a")]
    assert counts(evaluate_intersection(REFERENCE, touch, none).micro) == (1, 0, 2)


def test_estimates_in_unknown_clips_and_of_unknown_classes_are_false_positives():
    estimated = [Event("9", 0, 1, "a"), Event("1", 0, 1, "x")]
    scores = evaluate_intersection(REFERENCE, estimated, HALF)
    assert (scores.classes["a"].fp, scores.micro.fp) == (1, 2)
    assert "x" not in scores.classes
    assert evaluate_intersection(REFERENCE, estimated, HALF, ["a"]).micro.fp == 1


def test_a_class_without_references_counts_0_and_is_named():
    scores = evaluate_intersection(REFERENCE, REFERENCE, HALF, ["a", "b", "c"])
    assert scores.macro.f1 == pytest.approx(2 / 3)
    assert scores.undefined == ("c",)


def test_times_that_are_no_seconds_are_refused():
    with pytest.raises(LabelError, match="are its times in seconds"):
        evaluate_intersection(REFERENCE, [Event("1", 0, 2e6, "a")], HALF)


@pytest.mark.parametrize("wrong", [{"dtc": -0.1}, {"gtc": 1.5}, {"cttc": float("nan")}])
def test_shares_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        IntersectionConfig(**wrong)


def test_merged_events_are_sorted_and_apart():
    rng = np.random.default_rng(0)
    onset = rng.uniform(0, 50, 300)
    events = merge(rng.integers(5, size=300), onset, onset + rng.exponential(1, 300))
    same = events.clip[1:] == events.clip[:-1]
    assert (np.diff(events.clip) >= 0).all()
    assert (events.onset[1:] >= events.offset[:-1])[same].all()


@pytest.mark.parametrize(
    ("threshold", "share", "whole", "excerpt"),
    [
        (0.2, 0.1, (2789, 1343, 0.5556583223871748), (33, 21, 0.5944534632034633)),
        (0.5, 0.1, (2585, 886, 0.5618569764528015), (30, 16, 0.6169230769230769)),
        (0.2, 0.5, (2385, 1475, 0.4828286372859088), (29, 21, 0.5642692939244663)),
        (0.5, 0.5, (2268, 974, 0.48970377598037695), (27, 17, 0.549055759055759)),
        (0.2, 0.7, (1673, 1769, 0.3679636295739274), (20, 23, 0.44761904761904764)),
        (0.5, 0.7, (1713, 1173, 0.3873474107490121), (18, 20, 0.3666300366300366)),
    ],
)
def test_the_dcase_baseline_counts_as_in_the_reference_tools(
    threshold, share, whole, excerpt, published_lists
):
    """psds_eval and sed_scores_eval agree, once the 12 overlapping references are joined."""
    estimated = read_events(published_lists.predictions(threshold))
    reference = read_events(published_lists.validation)
    scores = evaluate_intersection(reference, estimated, IntersectionConfig(share, share, 0.3))
    tp, fp, macro_f1 = published_lists.expect(whole, excerpt)
    assert (scores.micro.tp, scores.micro.fp) == (tp, fp)
    assert scores.micro.n_reference == published_lists.expect(4224, 62)
    assert scores.macro.f1 == pytest.approx(macro_f1, abs=1e-12)


def test_labels_without_any_event_score_nothing():
    empty = StrongLabels([], ("1",))
    assert counts(evaluate_intersection(empty, empty, HALF, ["a"]).micro) == (0, 0, 0)
