"""Scores become events: thresholds, medians, gates, merging, times inside the recording."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy import ndimage

from sedtool.config import DecodingConfig
from sedtool.decoding import clip_tags, decode_clip, median_filter, median_frames
from sedtool.errors import ConfigError
from sedtool.store import ClipScores
from support.score_files import scored_whole

RATE = 10.0  # frames a second
CLASSES = ("Dog", "Cat")


def config(**changes):
    """Return a configuration that decides at 0.5 and changes nothing else."""
    plain = DecodingConfig((0.5, 0.5), (0.5, 0.5), (0.0, 0.0))
    return dataclasses.replace(plain, **changes)


def scores(dog, cat=None, clip=(0.9, 0.9), duration=None):
    dog = np.asarray(dog, np.float32)
    cat = np.zeros_like(dog) if cat is None else np.asarray(cat, np.float32)
    frame = np.stack([dog, cat], axis=1)
    seconds = len(dog) / RATE if duration is None else duration
    return scored_whole("a.wav", seconds, frame, np.array(clip, np.float32))


def spans(clip, settings):
    events = decode_clip(clip, CLASSES, RATE, settings)
    return [(e.label, round(e.onset, 6), round(e.offset, 6)) for e in events]


def test_one_second_above_the_threshold_is_one_event_of_one_second():
    dog = np.zeros(100)
    dog[30:40] = 0.8
    assert spans(scores(dog), config()) == [("Dog", 3.0, 4.0)]


def test_a_score_at_the_threshold_is_no_event():
    assert spans(scores(np.full(10, 0.5)), config()) == []
    assert spans(scores(np.full(10, 0.5)), config(thresholds=(0.4999, 0.5))) == [("Dog", 0.0, 1.0)]


def test_confidence_is_the_mean_frame_score_of_the_event():
    (event,) = decode_clip(scores([0.1, 0.6, 0.8, 0.1]), CLASSES, RATE, config())
    assert event.confidence == pytest.approx(0.7)


def test_the_last_event_ends_with_the_recording_not_with_its_last_frame():
    assert spans(scores(np.full(10, 0.9), duration=0.9345), config()) == [("Dog", 0.0, 0.934)]


def test_a_clip_score_at_its_threshold_or_below_silences_its_class_only():
    clip = scores(np.full(10, 0.9), np.full(10, 0.9), clip=(0.5, 0.51))
    assert spans(clip, config()) == [("Cat", 0.0, 1.0)]
    assert len(spans(clip, config(gate=False))) == 2
    assert clip_tags(clip, CLASSES, config()) == ("Cat",)


def test_the_gate_acts_in_each_window_and_the_clip_score_is_the_maximum():
    clip = ClipScores(
        "a.wav",
        3.0,
        np.full((30, 2), 0.9, np.float32),
        np.array([0, 10]),
        np.array([20, 20]),
        np.array([[0.9, 0.1], [0.1, 0.1]], np.float32),
    )
    assert spans(clip, config()) == [("Dog", 0.0, 2.0)]
    assert clip.clip.tolist() == pytest.approx([0.9, 0.1])
    assert clip_tags(clip, CLASSES, config()) == ("Dog",)


def test_events_closer_than_the_gap_merge_before_short_ones_are_dropped():
    dog = np.zeros(40)
    dog[[5, 7, 20]] = 0.9
    assert len(spans(scores(dog), config())) == 3
    assert spans(scores(dog), config(merge_gap=0.1)) == [("Dog", 0.5, 0.8), ("Dog", 2.0, 2.1)]
    merged = spans(scores(dog), config(merge_gap=0.1, min_duration=0.2))
    assert merged == [("Dog", 0.5, 0.8)]


def test_gaps_between_classes_do_not_merge():
    dog, cat = np.zeros(20), np.zeros(20)
    dog[5:8], cat[8:10] = 0.9, 0.9
    assert len(spans(scores(dog, cat), config(merge_gap=1.0))) == 2


@pytest.mark.parametrize(
    ("seconds", "frames"), [(0, 1), (0.1, 1), (0.2, 3), (0.3, 3), (0.39, 3), (0.5, 5), (1.0, 11)]
)
def test_windows_are_odd(seconds, frames):
    assert median_frames(seconds, RATE) == frames


@given(
    active=st_numpy.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 3))),
    half=st.lists(st.integers(0, 30), min_size=3, max_size=3),
)
def test_the_median_of_decisions_is_that_of_scipy(active, half):
    sizes = 2 * np.array(half[: active.shape[1]]) + 1
    expected = np.stack(
        [
            ndimage.median_filter(column.astype(int), size, mode="reflect") > 0
            for column, size in zip(active.T, sizes, strict=True)
        ],
        axis=1,
    )
    assert np.array_equal(median_filter(active, sizes), expected)


@given(
    score=st_numpy.arrays(np.float32, st.integers(1, 60), elements=st.floats(0, 1, width=32)),
    half=st.integers(0, 8),
    threshold=st.floats(0.05, 0.95),
)
def test_filtering_decisions_equals_deciding_on_filtered_scores(score, half, threshold):
    filtered = ndimage.median_filter(score, 2 * half + 1, mode="reflect") > np.float32(threshold)
    settings = config(thresholds=(threshold, 0.5), windows=(2 * half / RATE, 0.0))
    events = decode_clip(scores(score), CLASSES, RATE, settings)
    decided = np.zeros(len(score), bool)
    for event in events:
        decided[round(event.onset * RATE) : round(event.offset * RATE)] = True
    assert np.array_equal(decided, filtered)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": (1.5, 0.5)}, r"thresholds must be in \[0, 1\], not 1.5"),
        ({"windows": (-0.1, 0.5)}, "median filters must last 0 s or more, not -0.1 s"),
        ({"windows": (0.1,)}, "differ in length"),
        ({"merge_gap": float("nan")}, r"merge_gap must be in \[0, 1e6\]"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)


@given(start=st.integers(0, 80), length=st.integers(1, 15))
def test_an_event_of_exactly_the_minimum_duration_is_kept(start, length):
    dog = np.zeros(100)
    dog[start : start + length] = 0.9
    assert len(spans(scores(dog), config(min_duration=length / 10))) == 1
    assert spans(scores(dog), config(min_duration=length / 10 + 0.01)) == []
