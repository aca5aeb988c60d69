"""PSDS over all thresholds equals the reference tools, brute force and closed forms."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedtool.config import DecodingConfig
from sedtool.config.evaluation import PSDS_SCENARIOS, PsdsConfig
from sedtool.decoding import median_filter
from sedtool.errors import ConfigError, LabelError
from sedtool.evaluation import evaluate_intersection
from sedtool.evaluation.pair import match_names
from sedtool.evaluation.psds import area, psd_roc, psds_from_lists, psds_from_scores
from sedtool.evaluation.psds_steps import find_runs
from sedtool.labels import Event, StrongLabels, read_durations, read_events
from sedtool.score_tables import (
    FrameScores,
    filter_scores,
    frame_scores,
    open_frame_scores,
    write_score_tables,
)
from sedtool.store import ScoresHeader, ScoresWriter, open_scores
from support.psds_cases import events_above, labels_of, scores_of
from support.score_files import scored_whole

GOLDEN = json.loads((Path(__file__).parent / "golden" / "psds" / "golden.json").read_text())
CASES = GOLDEN["cases"]
PAIRS = [(case, i) for case in CASES for i in range(3)]


def lists_of(case, thresholds):
    return [
        StrongLabels(
            events_above(scores_of(case), case["classes"], threshold), tuple(case["clips"])
        )
        for threshold in thresholds
    ]


def scenario_of(expected):
    names = ("dtc", "gtc", "cttc", "alpha_ct", "alpha_st", "max_efpr")
    return PsdsConfig(**{name: expected[name] for name in names})


@pytest.mark.parametrize(("name", "i"), PAIRS)
def test_psds_of_scores_is_that_of_sed_scores_eval(name, i):
    case, expected = CASES[name], CASES[name]["expected"][i]
    (result,) = psds_from_scores(
        labels_of(case),
        scores_of(case),
        case["classes"],
        [scenario_of(expected)],
        durations=case["durations"],
    )
    assert result.value == pytest.approx(expected["from_scores"]["psds"], abs=1e-12)
    assert result.classes == pytest.approx(expected["from_scores"]["classes"], abs=1e-12)
    for curve in curves_of(result).values():
        assert (np.diff(curve.rate) > 0).all()
        assert (np.diff(curve.ratio) > 0).all()
    assert len(result.counts.clips) == len(case["clips"])
    assert result.counts.seconds.sum() == pytest.approx(sum(case["durations"].values()))


@pytest.mark.parametrize(("name", "i"), PAIRS)
def test_psds_of_lists_is_that_of_psds_eval(name, i):
    case, expected = CASES[name], CASES[name]["expected"][i]
    lists = lists_of(case, GOLDEN["thresholds"])
    (result,) = psds_from_lists(
        labels_of(case), lists, [scenario_of(expected)], durations=case["durations"]
    )
    assert result.value == pytest.approx(expected["from_lists"]["psds"], abs=1e-12)


@pytest.mark.parametrize(("name", "i"), PAIRS)
def test_counts_at_every_threshold_are_those_of_sed_scores_eval(name, i):
    case, expected = CASES[name], CASES[name]["expected"][i]
    thresholds = GOLDEN["thresholds"]
    config = replace(scenario_of(expected), alpha_ct=1.0)
    (result,) = psds_from_scores(
        labels_of(case), scores_of(case), case["classes"], [config], classes=case["classes"]
    )
    length = dict.fromkeys(case["classes"], 0.0)
    for event in labels_of(case).events:
        length[event.label] += event.offset - event.onset
    for label, points in zip(case["classes"], points_of(result), strict=True):
        counts = expected["from_scores"]["points"][label]
        assert at(points, points.tp, thresholds) == counts["tp"]
        assert at(points, points.fp, thresholds) == counts["fp"]
        crossed = sum(np.array(counts["cross"][c]) / length[c] for c in counts["cross"])
        assert at(points, points.cross, thresholds) == pytest.approx(crossed, abs=1e-12)


def curves_of(result):
    """Return the ROC of each class."""
    return dict(
        zip(result.classes, result.counts.curves(np.ones(len(result.counts.clips))), strict=True)
    )


def points_of(result):
    """Return the counts of each class at its thresholds."""
    return result.counts.points(np.ones(len(result.counts.clips)))


def at(points, counts, thresholds):
    """Return the counts where a score must be above each threshold."""
    row = [np.count_nonzero(points.threshold > threshold) for threshold in thresholds]
    return [([0, *counts.tolist()])[i] for i in row]


# Few values of few decimals: equal scores, plateaus and ties with the criteria are common.
@st.composite
def small_sets(draw):
    classes = ["a", "b", "c"][: draw(st.integers(1, 3))]
    clips, events = [], []
    for i in range(draw(st.integers(1, 3))):
        n_frames = draw(st.integers(1, 9))
        levels = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.9, 1.0])
        values = draw(
            st.lists(levels, min_size=n_frames * len(classes), max_size=n_frames * len(classes))
        )
        scores = np.array(values).reshape(n_frames, len(classes))
        clips.append(FrameScores(f"{i}", np.arange(n_frames + 1) / 10, scores))
        for label in classes:
            borders = draw(st.sets(st.integers(0, 2 * n_frames), max_size=6))
            times = [b / 20 for b in sorted(borders)]
            events += [
                Event(f"{i}", onset, offset, label)
                for onset, offset in zip(times[::2], times[1::2], strict=False)
            ]
    shares = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
    config = PsdsConfig(
        dtc=draw(shares),
        gtc=draw(shares),
        cttc=draw(shares),
        alpha_ct=draw(st.sampled_from([0.0, 0.5, 1.0])),
        alpha_st=draw(st.sampled_from([0.0, 1.0])),
        max_efpr=draw(st.sampled_from([100.0, 20_000.0])),
    )
    return classes, clips, events, config


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(small_sets())
def test_psds_is_that_of_every_threshold_tried_and_every_event_compared(case):
    classes, clips, events, config = case
    seconds = sum(float(clip.times[-1]) for clip in clips)
    curves = []
    for label in classes:
        own = [e for e in events if e.label == label]
        points = [(0.0, 0.0)]
        for threshold in sorted({-1.0, *(s for c in clips for s in c.scores.flat)}):
            found = [e for e in events_above(clips, classes, threshold) if e.label == label]
            points.append(slow_point(label, found, events, classes, seconds, config))
        curves.append((label, points, len(own)))
    (result,) = psds_from_scores(events, clips, classes, [config], classes=classes)
    assert result.value == pytest.approx(slow_psds(curves, config), abs=1e-9)
    assert result.undefined == tuple(label for label, _, n in curves if n == 0)


def copies(names, drawn, rename):
    """Return (new name, name) of each clip as often as it was drawn."""
    return [(rename(name, i), name) for name, n in zip(names, drawn, strict=True) for i in range(n)]


def of_clips(events, drawn):
    return [replace(e, name=new) for new, name in drawn for e in events if e.name == name]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(small_sets(), st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any))
def test_psds_of_resampled_clips_is_that_of_clips_copied_and_left_out(case, drawn):
    classes, clips, events, config = case
    durations = {clip.name: float(clip.times[-1]) for clip in clips}
    drawn = [1] * len(clips) if not any(drawn[: len(clips)]) else drawn[: len(clips)]
    by_name = {clip.name: clip for clip in clips}
    pairs = copies(by_name, drawn, "{0}-{1}".format)
    lasting = {new: durations[name] for new, name in pairs}
    labels = StrongLabels(of_clips(events, pairs), tuple(lasting))
    present = set(labels.classes)
    twice = [replace(by_name[name], name=new) for new, name in pairs]

    def both(psds, found, copied):
        (once,) = psds(events, *found, [config], durations=durations, classes=classes)
        (other,) = psds(labels, *copied, [config], durations=lasting, classes=classes)
        rows = [[1.0] * len(clips), [float(drawn[int(name)]) for name in once.counts.clips]]
        # Classes whose references were not drawn are left out.
        kept = [curves_of(other)[c] for c in classes if c in present or c in once.undefined]
        value = area(psd_roc(kept, config.alpha_st), config.max_efpr) if kept else math.nan
        expected = pytest.approx([once.value, value], abs=1e-9, nan_ok=True)
        assert once.counts.psds(np.array(rows)) == expected

    both(psds_from_scores, (clips, classes), (twice, classes))
    lists = [events_above(clips, classes, threshold) for threshold in (0.05, 0.4, 0.95)]
    both(psds_from_lists, (lists,), ([of_clips(found, pairs) for found in lists],))


def slow_overlap(event, others):
    pieces = [
        min(event.offset, o.offset) - max(event.onset, o.onset)
        for o in others
        if o.name == event.name
    ]
    return sum(max(piece, 0.0) for piece in pieces)


def slow_point(label, found, events, classes, seconds, config):
    """Return (effective false positive rate, true positive ratio), from the definitions."""

    def enough(event, others, share):
        part, length = slow_overlap(event, others), event.offset - event.onset
        return part > 1e-9 and round(part, 6) >= round(share * length, 6)

    own = [e for e in events if e.label == label]
    accepted = [e for e in found if enough(e, own, config.dtc)]
    false = [e for e in found if e not in accepted]
    tp = sum(enough(e, accepted, config.gtc) for e in own)
    rates = []
    for other in classes:
        theirs = [e for e in events if e.label == other]
        if other != label:
            length = sum(e.offset - e.onset for e in theirs)
            crossing = sum(enough(e, theirs, config.cttc) for e in false)
            rates.append(crossing / length if length else 0.0)
    cross = float(np.mean(rates)) if rates else 0.0
    return 3600 * (len(false) / seconds + config.alpha_ct * cross), tp / max(len(own), 1)


def slow_psds(curves, config):
    xs = sorted({round(x, 9) for _, points, _ in curves for x, _ in points if x <= config.max_efpr})
    total = 0.0
    for x, following in zip(xs, [*xs[1:], config.max_efpr], strict=True):
        heights = [max(y for px, y in points if px <= x + 1e-9) for _, points, _ in curves]
        total += max(np.mean(heights) - config.alpha_st * np.std(heights), 0) * (following - x)
    return total / config.max_efpr


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.sampled_from([-math.inf, 0, 1, 2, 3]), max_size=12), max_size=4))
def test_runs_are_those_of_all_thresholds(signals):
    flat = np.array([v for signal in signals for v in (-math.inf, *signal)] + [-math.inf])
    found = find_runs(flat)
    expected = set()
    for threshold in sorted({v for v in flat if v > -math.inf}):
        active = np.append(flat >= threshold, False)
        first = None
        for t, on in enumerate(active):
            if on and first is None:
                first = t
            if not on and first is not None:
                expected.add((first, t, flat[first:t].min()))
                first = None
    rows = list(zip(found.first.tolist(), found.stop.tolist(), found.score.tolist(), strict=True))
    assert len(rows) == len(set(rows))
    assert set(rows) == expected
    for (first, stop, score), parent in zip(rows, found.parent.tolist(), strict=True):
        around = [r for r in rows if r[0] <= first and r[1] >= stop and r[2] < score]
        shortest = min(around, key=lambda r: r[1] - r[0], default=None)
        assert (rows[parent] if parent >= 0 else None) == shortest


def whole(name, n_frames, values):
    return FrameScores(name, np.arange(n_frames + 1.0), np.array(values, float))


REFERENCE = [Event("1", 2, 4, "a"), Event("1", 5, 8, "b"), Event("2", 0, 3, "b")]
PERFECT = [
    whole("1", 10, [[2 <= t < 4, 5 <= t < 8] for t in range(10)]),
    whole("2", 10, [[False, t < 3] for t in range(10)]),
]


def test_perfect_detection_has_psds_1():
    for result in psds_from_scores(REFERENCE, PERFECT, "ab", list(PSDS_SCENARIOS.values())):
        assert result.value == 1.0
        assert result.classes == {"a": 1.0, "b": 1.0}


def test_a_perfect_system_has_psds_1_in_every_resample():
    """Class a has references in clip 1 alone: where that is not drawn, it has no curve."""
    (result,) = psds_from_scores(REFERENCE, PERFECT, "ab", [PsdsConfig()])
    assert result.counts.clips == ("1", "2")
    assert result.counts.psds(np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]])).tolist() == [1.0] * 3


def test_a_class_without_references_in_the_data_counts_0_in_every_resample():
    config = PsdsConfig(alpha_st=0.0)
    (result,) = psds_from_scores(REFERENCE, PERFECT, "ab", [config], classes=["a", "b", "c"])
    values = result.counts.psds(np.array([[1.0, 1.0], [0.0, 2.0]]))
    assert values == pytest.approx([2 / 3, 1 / 2])  # of a, b, c; of b, c


def test_a_resample_without_any_reference_or_time_has_no_psds():
    clips = [*PERFECT, whole("3", 10, np.zeros((10, 2)))]
    (result,) = psds_from_scores(REFERENCE, clips, "ab", [PsdsConfig()])
    assert np.isnan(result.counts.psds(np.array([[0.0, 0.0, 3.0], [0.0, 0.0, 0.0]]))).all()


def test_scores_that_are_equal_everywhere_have_psds_0():
    flat = [whole(name, 10, np.full((10, 2), 0.5)) for name in "12"]
    for result in psds_from_scores(REFERENCE, flat, "ab", list(PSDS_SCENARIOS.values())):
        # One event a clip: accepted for b where DTC is 0.1, but the other class costs a deviation.
        assert result.value == pytest.approx(0.0)


def test_no_lists_and_empty_lists_have_psds_0():
    durations = {"1": 10.0, "2": 10.0}
    for lists in ([], [[]]):
        (result,) = psds_from_lists(REFERENCE, lists, [PsdsConfig()], durations=durations)
        assert result.value == 0.0


def test_deviation_between_classes_is_subtracted():
    found = [[event for event in REFERENCE if event.label == "a"]]
    durations = {"1": 10.0, "2": 10.0}
    (result,) = psds_from_lists(REFERENCE, found, [PsdsConfig(alpha_st=0.5)], durations=durations)
    assert result.value == pytest.approx(0.5 - 0.5 * 0.5)
    assert result.classes == {"a": 1.0, "b": 0.0}


def test_one_false_positive_before_the_true_one_starts_the_curve_at_its_rate():
    scores = whole("1", 100, [[0.9 if t == 50 else 0.8 * (2 <= t < 4)] for t in range(100)])
    (result,) = psds_from_scores(
        REFERENCE[:1], [scores], "a", [PsdsConfig(max_efpr=100)], durations={"1": 3600.0}
    )
    assert result.value == pytest.approx(0.99)
    (curve,) = curves_of(result).values()
    assert curve.rate.tolist() == [0.0, 1.0]
    assert curve.ratio.tolist() == [0.0, 1.0]


def test_clips_without_events_count_by_their_false_positives_and_their_duration():
    silent = whole("3", 10, [[0.0, float(t == 5)] for t in range(10)])
    config = PsdsConfig(max_efpr=100, alpha_st=0.0)
    durations = {"1": 600.0, "2": 600.0, "3": 600.0}
    (without,) = psds_from_scores(REFERENCE, PERFECT, "ab", [config], durations=durations)
    (with_it,) = psds_from_scores(
        REFERENCE, [*PERFECT, silent], "ab", [config], durations=durations
    )
    assert without.counts.seconds.tolist() == [600.0] * 3
    assert without.value == 1.0
    # One false positive in half an hour is 2 an hour, for one of two classes.
    assert with_it.value == pytest.approx(1 - 0.5 * 2 / 100)


def test_clips_without_scores_are_missed():
    durations = {"1": 10.0, "2": 10.0}
    config = PsdsConfig(alpha_st=0.0)
    (result,) = psds_from_scores(REFERENCE, PERFECT[:1], "ab", [config], durations=durations)
    assert result.classes == {"a": 1.0, "b": 0.5}
    with pytest.raises(LabelError, match="1 clips have no duration: 2; rates"):
        psds_from_scores(REFERENCE, PERFECT[:1], "ab", [config])


def test_order_of_clips_size_of_blocks_and_batching_change_nothing(monkeypatch):
    case = CASES["noisy"]
    configs = [scenario_of(expected) for expected in case["expected"]]
    arguments = (case["classes"], configs)
    clips, labels = scores_of(case), labels_of(case)
    once = psds_from_scores(labels, clips, *arguments)
    monkeypatch.setattr("sedtool.evaluation.psds_steps._BLOCK", 1)
    again = psds_from_scores(labels, clips[::-1], *arguments)
    assert [r.value for r in again] == pytest.approx([r.value for r in once], abs=1e-12)
    alone = [psds_from_scores(labels, clips, case["classes"], [c])[0].value for c in configs]
    assert alone == pytest.approx([r.value for r in once], abs=1e-12)


def test_order_of_classes_changes_nothing_and_other_columns_are_left_out():
    case = CASES["smooth"]
    configs = [scenario_of(expected) for expected in case["expected"]]
    clips, labels = scores_of(case), labels_of(case)
    once = psds_from_scores(labels, clips, case["classes"], configs)
    turned = [
        FrameScores(c.name, c.times, np.c_[c.scores[:, ::-1], np.ones(len(c.scores))])
        for c in clips
    ]
    again = psds_from_scores(labels, turned, [*case["classes"][::-1], "Other"], configs)
    assert [r.value for r in again] == pytest.approx([r.value for r in once], abs=1e-12)
    assert again[0].classes == pytest.approx(once[0].classes)


def test_a_class_without_scores_or_references_counts_0_and_is_named():
    (result,) = psds_from_scores(
        REFERENCE, PERFECT, "ax", [PsdsConfig(alpha_st=0.0)], classes=["a", "b", "c"]
    )
    assert result.classes == {"a": 1.0, "b": 0.0, "c": 0.0}
    assert result.value == pytest.approx(1 / 3)
    assert (result.undefined, result.unscored) == (("c",), ("b", "c"))


def test_overlapping_references_are_joined():
    twice = [*REFERENCE, Event("1", 3, 4, "a"), Event("2", 0, 3, "b"), Event("2", 1, 1, "b")]
    assert psds_from_scores(twice, PERFECT, "ab", [PsdsConfig()])[0].value == 1.0


def test_an_infinitely_low_score_is_never_detected():
    scores = whole("1", 4, [[-math.inf], [0.5], [-math.inf], [-math.inf]])
    (result,) = psds_from_scores([Event("1", 1, 2, "a")], [scores], "a", [PsdsConfig(dtc=1)])
    assert result.value == 1.0


@pytest.mark.parametrize(
    ("clips", "match"),
    [
        ([whole("1", 1, [[0.5, math.nan]])], "1: a score is not a number"),
        ([*PERFECT, PERFECT[0]], "1 has scores twice"),
    ],
)
def test_scores_that_say_nothing_are_refused(clips, match):
    with pytest.raises(LabelError, match=match):
        psds_from_scores(REFERENCE, clips, "ab", [PsdsConfig()], durations={"1": 9, "2": 9})


@pytest.mark.parametrize(
    "wrong", [{"dtc": 1.1}, {"alpha_ct": -1}, {"alpha_st": -1}, {"max_efpr": 0}, {"gtc": math.nan}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PsdsConfig(**wrong)


def test_filtered_scores_above_a_threshold_are_filtered_decisions():
    rng = np.random.default_rng(0)
    for n_frames in (1, 2, 5, 40):
        scores = rng.random((n_frames, 4)).astype(np.float32)
        sizes = np.array([1, 3, 9, 3])
        filtered = filter_scores(scores, sizes)
        assert filtered.dtype == np.float32
        for threshold in (0.2, 0.5, 0.8):
            decided = median_filter(scores > threshold, sizes)
            assert ((filtered > threshold) == decided).all()


def write_scores(path, window):
    decoding = DecodingConfig((0.5, 0.5), (0.5, 0.5), (0.0, window))
    with ScoresWriter(path, ScoresHeader(("a", "b"), 10.0, decoding, "0" * 64)) as writer:
        for i, clip in enumerate(PERFECT):
            frame = np.repeat(clip.scores.astype(np.float32), 10, axis=0)
            frame[20 + i, 1] = 1  # a single frame, which the filter takes away
            writer.append(scored_whole(f"x/{clip.name}.wav", 9.95, frame, frame[0]))


def test_a_scores_file_is_filtered_with_its_own_windows(tmp_path):
    path = tmp_path / "scores.h5"
    write_scores(path, 0.3)
    first = next(frame_scores(open_scores(path)))
    assert first.scores.shape == (100, 2)
    assert first.times[[0, 1, 99, 100]].tolist() == [0.0, 0.1, 9.9, 9.95]
    found = {}
    for window in (0.3, 0.0):
        path = tmp_path / f"{window}.h5"
        write_scores(path, window)
        source = open_frame_scores(path)
        names = match_names(source.names, ["1", "2"], "scores")
        assert names == {"x/1.wav": "1", "x/2.wav": "2"}
        reference = [Event(f"x/{e.name}.wav", e.onset, e.offset, e.label) for e in REFERENCE]
        found[window] = psds_from_scores(
            reference, source.clips(), source.classes, [PsdsConfig()], durations=source.durations
        )[0]
    assert found[0.3].value == 1.0
    assert found[0.0].classes["b"] < 1.0


def test_a_scores_file_with_boxes_scores_as_their_confidences(tmp_path):
    path = tmp_path / "scores.h5"
    decoding = DecodingConfig((0.5,), (0.5,), (0.0,), boxes=((0.4, 0.2, 1.5),))
    frame = np.zeros((40, 1), np.float32)
    frame[10:20, 0] = np.linspace(0.6, 0.8, 10)
    with ScoresWriter(path, ScoresHeader(("a",), 10.0, decoding, "0" * 64)) as writer:
        writer.append(scored_whole("1.wav", 4.0, frame, frame.max(axis=0)))
    assert open_scores(path).decoding == decoding
    expected = np.zeros(40)
    expected[10:20] = 0.7
    assert next(frame_scores(open_scores(path))).scores[:, 0] == pytest.approx(expected)


def test_a_folder_of_score_tables_scores_as_the_arrays_it_was_made_of(tmp_path):
    write_score_tables(tmp_path, ("a", "b"), PERFECT)
    source = open_frame_scores(tmp_path)
    reference = [Event(f"x/{e.name}.wav", e.onset, e.offset, e.label) for e in REFERENCE]
    names = match_names(source.names, ["x/1.wav", "x/2.wav"], "scores")
    (result,) = psds_from_scores(reference, source.clips(names), source.classes, [PsdsConfig()])
    assert result.value == 1.0


def test_a_name_that_could_be_two_clips_is_neither():
    assert match_names(["1"], ["y/1.wav", "x/1.flac"], "scores") == {"1": "1"}
    names = match_names(["1", "1.wav"], ["1.wav"], "scores")
    assert names == {"1": "1", "1.wav": "1.wav"}


def test_lists_at_all_thresholds_and_scores_agree():
    case = CASES["two-classes"]
    thresholds = sorted({-1.0, *(v for c in scores_of(case) for v in c.scores.flat)})
    configs = [scenario_of(expected) for expected in case["expected"]]
    lists = lists_of(case, thresholds)
    durations = {clip.name: float(clip.times[-1]) for clip in scores_of(case)}
    by_lists = psds_from_lists(labels_of(case), lists, configs, durations=durations)
    by_scores = psds_from_scores(labels_of(case), scores_of(case), case["classes"], configs)
    for one, other in zip(by_lists, by_scores, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-12)
        assert one.classes == pytest.approx(other.classes, abs=1e-12)


def test_counts_of_a_threshold_are_those_of_intersection_f1():
    case = CASES["plateaus"]
    config = scenario_of(case["expected"][1])
    (result,) = psds_from_scores(
        labels_of(case), scores_of(case), case["classes"], [config], classes=case["classes"]
    )
    (estimated,) = lists_of(case, [0.45])
    rows = evaluate_intersection(labels_of(case), estimated, config.criteria).classes
    for label, points in zip(case["classes"], points_of(result), strict=True):
        assert at(points, points.tp, [0.45]) == [rows[label].tp]
        assert at(points, points.fp, [0.45]) == [rows[label].fp]


def test_psds_of_the_dcase_baseline_at_two_thresholds_is_that_of_psds_eval(published_lists):
    """With the 12 overlapping references joined, which psds_eval refuses."""
    results = psds_from_lists(
        read_events(published_lists.validation),
        [read_events(published_lists.predictions(threshold)) for threshold in (0.2, 0.5)],
        list(PSDS_SCENARIOS.values()),
        durations=read_durations(published_lists.durations),
    )
    expected = published_lists.expect(
        whole=[0.0715733963245874, 0.09841839997915786],
        excerpt=[0.0565973619496577, 0.104156470259011],
    )
    assert [result.value for result in results] == pytest.approx(expected, abs=1e-12)
    assert {len(result.counts.clips) for result in results} == {published_lists.expect(1168, 21)}
