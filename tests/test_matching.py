"""The largest matching is found where events are so dense that pairs are left out at first."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from sedtool.config import EvaluationConfig
from sedtool.evaluation import EventArrays, event_counts, events
from sedtool.evaluation.events import layered_matching
from sedtool.evaluation.segments import _sorted

CONFIG = EvaluationConfig()


@pytest.fixture(autouse=True, scope="module")
def few_pairs_first():
    patch = pytest.MonkeyPatch()
    patch.setattr(events, "MOST_PAIRS", 2)
    patch.setattr(events, "_BLOCK", 7)
    yield
    patch.undo()


CLASS_EVENTS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 10), st.integers(0, 10)), max_size=30
).map(
    lambda rows: EventArrays(
        np.array([clip for clip, _, _ in rows], np.int64),
        np.array([onset / 10 for _, onset, _ in rows], float),
        np.array([(onset + length) / 10 for _, onset, length in rows], float),
    )
)
CONFIGS = st.builds(
    EvaluationConfig,
    collar=st.sampled_from([0.1, 0.2, 0.5]),
    offset_ratio=st.sampled_from([0.0, 0.2, 0.5]),
)


@settings(max_examples=300, deadline=None)
@given(CLASS_EVENTS, CLASS_EVENTS, CONFIGS, st.booleans())
def test_no_pair_is_lost_that_was_left_out_at_first(reference, estimated, config, onset_only):
    hit = np.zeros((len(reference.clip), len(estimated.clip)), bool)
    for i, (clip, onset, offset) in enumerate(zip(*reference, strict=True)):
        tolerance = max(config.collar, config.offset_ratio * (offset - onset))
        for j, (other, start, end) in enumerate(zip(*estimated, strict=True)):
            hit[i, j] = clip == other and abs(onset - start) <= config.collar
            hit[i, j] &= onset_only or abs(offset - end) <= tolerance
    size = hit[linear_sum_assignment(hit, maximize=True)].sum()
    assert event_counts(reference, estimated, config, onset_only) == size
    rows, partners = events.largest_matching(reference, estimated, config, onset_only)
    assert hit[rows, partners].all()
    assert len(set(rows)) == len(set(partners)) == size
    found = layered_matching(*(side.tolist() for side in np.nonzero(hit)))
    assert len(found) == len(set(found.values())) == size
    assert all(hit[pair] for pair in found.items())


@pytest.mark.slow
def test_a_clip_of_ten_thousand_overlapping_events_is_matched_to_the_last(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(events, "MOST_PAIRS", 48)
    monkeypatch.setattr(events, "_BLOCK", 1_000_000)
    rng = np.random.default_rng(0)
    onset = rng.uniform(0, 1, 10_000)
    reference = EventArrays(np.zeros(10_000, np.int64), onset, onset + 5)
    order = rng.permutation(10_000)
    estimated = EventArrays(reference.clip, reference.onset[order], reference.offset[order])
    assert event_counts(reference, estimated, CONFIG) == 10_000
    fewer = EventArrays(*(column[:9_000] for column in estimated))
    assert event_counts(reference, fewer, CONFIG) == 9_000


def test_identical_events_are_matched_one_to_one():
    many, few = (EventArrays(np.zeros(n, np.int64), np.ones(n), np.ones(n)) for n in (500, 300))
    assert event_counts(many, few, CONFIG) == event_counts(few, many, CONFIG) == 300


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 3)), max_size=20),
    st.sampled_from([0, 2**52 - 10, 2**53 - 10]),
    st.sampled_from([1, 2**50]),
)
def test_edges_are_sorted_by_class_and_clip_then_time_at_any_size(rows, first, cells):
    cell, edge, kind = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    found = _sorted(cell * cells, (edge + first).astype(float), kind)
    expected = sorted(zip((cell * cells).tolist(), (edge + first).tolist(), strict=True))
    assert list(zip(*(column.tolist() for column in found[:2]), strict=True)) == expected
    triples = zip(*(column.tolist() for column in found), strict=True)
    given = zip((cell * cells).tolist(), (edge + first).tolist(), kind.tolist(), strict=True)
    assert sorted(triples) == sorted(given)
