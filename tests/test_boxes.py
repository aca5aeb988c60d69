"""Boxes: borders where scores change, confidences that a threshold acts on alone."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sedtool.boxes import BoxSettings, box_scores
from sedtool.config import DecodingConfig, InferConfig
from sedtool.decoding import decode_clip, decoding_of
from sedtool.errors import ConfigError
from sedtool.store import ClipScores

RATE = 10.0  # frames a second
SETTINGS = BoxSettings(0.4, 0.2, 1.5)  # two frames before a change, two after it


def boxes(scores, how=SETTINGS, least=0.0):
    """Return (start, stop, confidence) of the boxes of one column."""
    boxed = box_scores(np.array(scores, float)[:, None], RATE, how, least)[:, 0]
    borders = [0, *np.flatnonzero(np.diff(boxed)) + 1, len(boxed)]
    pairs = pairwise(borders)
    return [(a, b, pytest.approx(boxed[a])) for a, b in pairs if boxed[a]]


def test_an_event_is_a_box_with_its_mean_score_and_its_own_borders():
    assert boxes([0] * 5 + [0.6, 1.0, 0.8, 0.8] + [0] * 6) == [(5, 9, 0.8)]


@pytest.mark.parametrize("height", [0.01, 0.3, 1.0])
def test_how_high_scores_are_moves_no_border(height):
    how = SETTINGS._replace(absolute=0.0)
    scores = height * np.array([0, 0, 0, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0, 0, 0, 0])
    assert boxes(scores, how) == [(3, 7, height), (10, 13, 0.9 * height)]


def test_an_event_may_begin_and_end_with_its_clip():
    assert boxes([0.7] * 12) == [(0, 12, 0.7)]
    assert boxes([0.7] * 4 + [0.0] * 8) == [(0, 4, 0.7)]
    assert boxes([0.0] * 8 + [0.7] * 4) == [(8, 12, 0.7)]


def test_silence_has_no_box():
    assert boxes([0.0] * 8) == []
    assert box_scores(np.zeros((0, 3)), RATE, SETTINGS).shape == (0, 3)


@pytest.mark.parametrize(
    ("gap", "how", "n_boxes"),
    [
        (0.4, BoxSettings(0.4, 0.3, 1.0), 2),
        (0.6, BoxSettings(0.4, 0.3, 1.0), 1),  # falls by less than 0.3
        (0.4, BoxSettings(0.4, 0.0, 1.9), 2),
        (0.4, BoxSettings(0.4, 0.0, 2.1), 1),  # is more than 0.8 / 2.1
    ],
)
def test_a_gap_parts_boxes_where_it_falls_far_enough_both_ways(gap, how, n_boxes):
    found = boxes([0] * 4 + [0.8] * 6 + [gap] * 4 + [0.8] * 6 + [0] * 4, how)
    assert len(found) == n_boxes
    if n_boxes == 1:
        assert found == [(4, 20, (0.8 * 12 + gap * 4) / 16)]


def test_a_ripple_between_events_draws_no_border_to_itself():
    ripple = [0.02, 0.03, 0.02, 0.06, 0.06, 0.02, 0.03, 0.02]
    event = [0.9] * 6
    assert boxes(ripple + event + ripple + event + ripple) == [(8, 14, 0.9), (22, 28, 0.9)]


def test_a_shelf_goes_to_the_level_that_is_nearer():
    high, low = [0.0] * 6 + [0.7, 0.7, 0.65, 0.65], [0.0] * 6 + [0.1, 0.1, 0.05, 0.05]
    event = [0.9] * 8 + [0.0] * 6
    assert [box[:2] for box in boxes(high + event, BoxSettings(0.2, 0.3, 1.0))] == [(6, 18)]
    assert [box[:2] for box in boxes(low + event, BoxSettings(0.2, 0.3, 1.0))] == [(10, 18)]


def random_scores(n_columns):
    """Return scores of which no two are equal, so that nothing depends on ties."""
    shapes = st.tuples(st.integers(1, 40), st.just(n_columns))
    values = st.floats(1e-3, 1.0, exclude_max=True)
    return npst.arrays(float, shapes, elements=values, unique=True)


HOW = st.builds(
    BoxSettings,
    st.sampled_from([0.2, 0.4, 0.6, 1.0]),
    st.sampled_from([0.0, 0.05, 0.15, 0.3]),
    st.sampled_from([1.0, 1.5, 3.0]),
)


def oracle(x, how):
    """Boxes of one column by the rule as it is written, everything computed anew each time."""
    half, n = max(round(how.step * RATE / 2), 1), len(x)
    padded = np.concatenate([np.zeros(2 * half), x, np.zeros(2 * half)])
    border = np.arange(half, n + 3 * half + 1)  # in `padded`
    change = [padded[b : b + half].sum() - padded[b - half : b].sum() for b in border]
    change = np.round(change, 9)
    turns = []
    for i in range(1, len(change) - 1):
        before = next((change[i] - c for c in change[:i][::-1] if c != change[i]), 0.0)
        if before * (change[i + 1] - change[i]) < 0:
            turns.append(int(np.clip(border[i] - 2 * half, 0, n)))
    parts = [0, *turns, n]

    def level(a, b):
        return x[a:b].mean() if b > a else 0.0

    while len(parts) > 4:
        levels = [level(a, b) for a, b in pairwise(parts)]
        steps = [(levels[i + 1] - levels[i]) * (-1) ** i for i in range(len(levels) - 1)]
        small = [
            (step, i)
            for i, step in enumerate(steps)
            if step < how.absolute
            or levels[i + (i + 1) % 2] < how.relative * levels[i + i % 2]  # a box, and a gap
        ]
        if not small:
            break
        _, i = min(small)
        choices = [j for j in (i - 1, i) if j >= 0 and j + 3 < len(parts)]
        if len(choices) == 2:
            shelf = level(parts[i], parts[i + 2])
            far = [abs(shelf - levels[i - 1]), abs(shelf - levels[i + 2])]
            choices = [i - 1 if far[0] <= far[1] else i]
        del parts[choices[0] + 1 : choices[0] + 3]
    pairs = list(pairwise(parts))
    return pairs[1::2]


@settings(max_examples=300, deadline=None)
@given(random_scores(1), HOW)
def test_boxes_are_those_of_the_rule_as_it_is_written(scores, how):
    expected = np.zeros(len(scores))
    for start, stop in oracle(scores[:, 0], how):
        expected[start:stop] = scores[start:stop, 0].mean()
    np.testing.assert_allclose(box_scores(scores, RATE, how)[:, 0], expected, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(random_scores(3), HOW)
def test_boxes_of_a_column_do_not_depend_on_others(scores, how):
    together = box_scores(scores, RATE, how)
    for k in range(3):
        alone = box_scores(scores[:, k : k + 1], RATE, how)
        np.testing.assert_array_equal(together[:, k : k + 1], alone)


@settings(max_examples=100, deadline=None)
@given(random_scores(3), HOW, st.floats(0.0, 1.0))
def test_columns_that_are_left_out_have_no_box_above_the_threshold(scores, how, least):
    every, some = box_scores(scores, RATE, how), box_scores(scores, RATE, how, least)
    np.testing.assert_array_equal(every > least, some > least)


def clip(frame, name="a.wav"):
    frame = np.array(frame, np.float32)
    whole = np.zeros(1, np.int64), np.array([len(frame)])
    return ClipScores(name, len(frame) / RATE, frame, *whole, frame.max(axis=0)[None])


def decoding(threshold, *, boxes=((0.4, 0.2, 1.5), ())):
    return DecodingConfig((threshold, 0.5), (0.0, 0.0), (0.0, 0.2), boxes=boxes)


def test_a_threshold_lets_boxes_through_and_moves_no_border():
    frame = np.zeros((20, 2))
    frame[3:9, 0] = [0.3, 0.6, 0.9, 0.9, 0.6, 0.3]
    times = {}
    for threshold in (0.1, 0.3, 0.74, 0.76):
        events = decode_clip(clip(frame), ("a", "b"), RATE, decoding(threshold))
        times[threshold] = [(event.onset, event.offset, event.confidence) for event in events]
    one = [(0.4, 0.8, pytest.approx(0.75))]
    assert times == {0.1: one, 0.3: one, 0.74: one, 0.76: []}


def test_classes_without_boxes_are_decoded_as_before():
    frame = np.zeros((20, 2))
    frame[3:9, 1] = [0.3, 0.6, 0.9, 0.9, 0.6, 0.3]
    events = decode_clip(clip(frame), ("a", "b"), RATE, decoding(0.5))
    assert [(event.label, event.onset, event.offset) for event in events] == [("b", 0.4, 0.8)]


def test_a_median_that_is_given_to_infer_takes_the_place_of_boxes():
    fitted = decoding(0.5)
    assert decoding_of(("a", "b"), fitted, InferConfig()).boxes == fitted.boxes
    given = decoding_of(("a", "b"), fitted, InferConfig(median="off"))
    assert (given.boxes, given.windows) == ((), (0.0, 0.0))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (((0.4, 0.2, 1.5),), "boxes and thresholds differ in length"),
        (((), (0.4, 0.2, 1.5)), r"boxes need a step.* and no filter, not .* and 0.2 s"),
        (((0.4, 0.2), ()), r"boxes need a step, absolute and relative difference in \(0, 60\]"),
        (((0.0, 0.2, 1.5), ()), r"not \(0.0, 0.2, 1.5\)"),
        (((0.4, 1.1, 1.5), ()), r"not \(0.4, 1.1, 1.5\)"),
        (((0.4, 0.2, 0.9), ()), r"not \(0.4, 0.2, 0.9\)"),
        (((0.4, float("nan"), 1.5), ()), "nan"),
    ],
)
def test_settings_of_boxes_that_cannot_be_are_refused(boxes, message):
    with pytest.raises(ConfigError, match=message):
        decoding(0.5, boxes=boxes)
