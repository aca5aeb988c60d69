"""Every count agrees with sed_eval and with brute force, and the published lists score as known."""

import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from sedtool.config import EvaluationConfig
from sedtool.errors import ConfigError
from sedtool.evaluation import (
    EventArrays,
    MetricScores,
    evaluate,
    evaluate_clips,
    evaluate_events,
    evaluate_onsets,
    evaluate_segments,
    event_counts,
)
from sedtool.labels import Event, StrongLabels, read_durations, read_events

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import sed_eval

CONFIG = EvaluationConfig()

CLIPS = ("1.wav", "2.wav", "3.wav")
LABELS = ("Cat", "Dog", "Speech")

# Tenths of seconds tie with the collars below, in decimals if not in floats; a short range makes
# events dense, and a length of 0 is as likely as any.
TENTHS = st.integers(0, 15).map(lambda n: n / 10)
TIMES = TENTHS | st.integers(0, 120).map(lambda n: n / 10) | st.floats(0, 12)
EVENTS = st.builds(
    lambda name, onset, length, label: Event(name, onset, onset + length, label),
    st.sampled_from(CLIPS),
    TIMES,
    TENTHS | st.floats(0, 4),
    st.sampled_from(LABELS),
)
LABEL_LISTS = st.lists(EVENTS, max_size=25).map(
    lambda events: StrongLabels(events, tuple(sorted({event.name for event in events})))
)
CONFIGS = st.builds(
    EvaluationConfig,
    collar=st.sampled_from([0.1, 0.2, 0.3, 1.0]),
    offset_ratio=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    segment=st.sampled_from([0.1, 0.3, 1.0, 2.5]),
    compat=st.sampled_from(["", "dcase"]),
)
FEW = settings(max_examples=100, deadline=None)


def counts(scores: MetricScores) -> dict[str, tuple[int, int, int]]:
    rows = scores.classes | {"micro": scores.micro}
    return {label: (row.tp, row.n_reference, row.n_estimated) for label, row in rows.items()}


@FEW
@given(LABEL_LISTS, LABEL_LISTS, CONFIGS)
def test_event_counts_equal_those_of_sed_eval(reference, estimated, config):
    native = evaluate_events(reference, estimated, config)
    oracle = evaluate_events(reference, estimated, replace(config, engine="sed_eval"))
    assert counts(native) == counts(oracle)


@FEW
@given(LABEL_LISTS, LABEL_LISTS, CONFIGS)
def test_onset_counts_equal_those_of_sed_eval(reference, estimated, config):
    native = evaluate_onsets(reference, estimated, config)
    oracle = evaluate_onsets(reference, estimated, replace(config, engine="sed_eval"))
    assert counts(native) == counts(oracle)


@FEW
@given(LABEL_LISTS, LABEL_LISTS, CONFIGS)
def test_the_labels_of_clips_are_those_of_their_events(reference, estimated, config):
    assume(not {*reference.names}.isdisjoint(estimated.names))  # else they are refused
    listed = [side.weak() for side in (reference, estimated)]
    config = replace(config, compat="")
    both = (
        evaluate(reference, estimated, config),
        evaluate(reference, estimated, config, weak_reference=listed[0], weak_estimated=listed[1]),
    )
    assert len({str(result.clip.micro) for result in both}) == 1
    shared = both[1].clip.classes  # a class heard for no time is in no list of labels
    assert {k: str(both[0].clip.classes[k]) for k in shared} == {
        k: str(row) for k, row in shared.items()
    }


@FEW
@given(LABEL_LISTS, LABEL_LISTS, CONFIGS, st.dictionaries(st.sampled_from(CLIPS), TENTHS | TIMES))
def test_segment_counts_equal_those_of_sed_eval(reference, estimated, config, durations):
    native = evaluate_segments(reference, estimated, config, durations=durations)
    config = replace(config, engine="sed_eval")
    oracle = evaluate_segments(reference, estimated, config, durations=durations)
    assert counts(native) == counts(oracle)


WEAK = st.dictionaries(st.sampled_from(CLIPS), st.sets(st.sampled_from(LABELS)))


@FEW
@given(WEAK, WEAK, st.none() | st.just(["Dog", "Bird"]), CONFIGS)
def test_clip_counts_equal_those_of_sed_eval(reference, estimated, classes, config):
    native = evaluate_clips(reference, estimated, classes, config)
    config = replace(config, engine="sed_eval")
    assert counts(native) == counts(evaluate_clips(reference, estimated, classes, config))


def as_sed_eval(labels: StrongLabels, name: str) -> list[dict[str, object]]:
    return [
        {"event_label": event.label, "event_onset": event.onset, "event_offset": event.offset}
        for event in labels.events
        if event.name == name
    ]


def results_as_dcase_calls_it(metric, reference, estimated):
    """Evaluate the clips of the reference only; average over the union of the classes."""
    for name in reference.names:
        metric.evaluate(as_sed_eval(reference, name), as_sed_eval(estimated, name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no defined class
        results = metric.results()
    return [
        results[average]["f_measure"][rate]
        for average in ("class_wise_average", "overall")
        for rate in ("f_measure", "precision", "recall")
    ]


def rates(scores: MetricScores) -> list[float]:
    both = (scores.macro, scores.micro)
    return [rate for row in both for rate in (row.f1, row.precision, row.recall)]


@FEW
@given(LABEL_LISTS, LABEL_LISTS)
def test_compat_dcase_equals_sed_eval_as_dcase_calls_it(reference, estimated):
    classes = sorted({*reference.classes, *estimated.classes})
    if not classes:
        return  # sed_eval returns no averages at all
    config = EvaluationConfig(compat="dcase")
    events = sed_eval.sound_event.EventBasedMetrics(
        classes,
        t_collar=0.2,
        percentage_of_length=0.2,
        empty_system_output_handling="zero_score",
    )
    expected = results_as_dcase_calls_it(events, reference, estimated)
    assert rates(evaluate_events(reference, estimated, config)) == pytest.approx(
        expected, nan_ok=True, abs=1e-12
    )
    segments = sed_eval.sound_event.SegmentBasedMetrics(classes, time_resolution=1.0)
    expected = results_as_dcase_calls_it(segments, reference, estimated)
    assert rates(evaluate_segments(reference, estimated, config)) == pytest.approx(
        expected, nan_ok=True, abs=1e-12
    )


def dcase_clip_macro(reference: StrongLabels, estimated: StrongLabels) -> float:
    """Macro F1 as `audio_tagging_results` of the DCASE 2019 task 4 baseline defines it."""
    classes = sorted({*reference.classes, *estimated.classes})
    names = sorted({*reference.names, *estimated.names})
    active = np.zeros((2, len(names), len(classes)), bool)
    for side, labels in enumerate((reference, estimated)):
        for event in labels.events:
            active[side, names.index(event.name), classes.index(event.label)] = True
    tp = (active[0] & active[1]).sum(axis=0)
    wrong = (active[0] ^ active[1]).sum(axis=0)
    return float(
        np.mean([2 * t / (2 * t + w) if t + w else 0 for t, w in zip(tp, wrong, strict=True)])
    )


@FEW
@given(LABEL_LISTS, LABEL_LISTS)
def test_compat_dcase_equals_the_dcase_clip_metric(reference, estimated):
    assume(not {*reference.names}.isdisjoint(estimated.names))  # else they are refused
    if reference.events or estimated.events:
        result = evaluate(reference, estimated, EvaluationConfig(compat="dcase"))
        assert result.clip.macro.f1 == pytest.approx(dcase_clip_macro(reference, estimated))


CLASS_EVENTS = st.lists(
    st.tuples(st.integers(0, 3), TENTHS | st.floats(0, 100), TENTHS), max_size=40
).map(
    lambda rows: EventArrays(
        np.array([clip for clip, _, _ in rows], np.int64),
        np.array([onset for _, onset, _ in rows], float),
        np.array([onset + length for _, onset, length in rows], float),
    )
)


@settings(max_examples=300, deadline=None)
@given(CLASS_EVENTS, CLASS_EVENTS, CONFIGS)
def test_true_positives_are_those_of_an_optimal_assignment(reference, estimated, config):
    hit = np.zeros((len(reference.clip), len(estimated.clip)))
    for i, (clip, onset, offset) in enumerate(zip(*reference, strict=True)):
        tolerance = max(config.collar, config.offset_ratio * (offset - onset))
        for j, (other, start, end) in enumerate(zip(*estimated, strict=True)):
            same = clip == other and abs(onset - start) <= config.collar
            hit[i, j] = same and abs(offset - end) <= tolerance
    expected = hit[linear_sum_assignment(hit, maximize=True)].sum()
    assert event_counts(reference, estimated, config) == expected


def test_ties_are_kept_on_the_time_line_of_a_million_clips():
    # Late clips of a long line are where a window that is a rounding too narrow loses pairs.
    clip = np.arange(1_000_000)
    onset = np.arange(1_000_000) % 100 / 10
    reference = EventArrays(clip, onset, onset + 1)
    estimated = EventArrays(clip, onset + 0.2, onset + 1)
    expected = np.count_nonzero(np.abs(onset - (onset + 0.2)) <= 0.2)
    assert 0 < expected < 1_000_000
    assert event_counts(reference, estimated, CONFIG) == expected


def test_labels_and_names_that_dcase_util_would_change_reach_sed_eval_unchanged():
    events = [Event(r"a\b.wav", 0, 1, "none"), Event("1", 0, 1, " Dog"), Event("01", 0, 1, "Dog")]
    for engine in ("native", "sed_eval"):
        result = evaluate(events, events, EvaluationConfig(engine=engine))
        for scores in result.scores.values():
            assert counts(scores)["none"] == counts(scores)[" Dog"] == (1, 1, 1)


@pytest.mark.parametrize("values", [{"collar": 0.0}, {"offset_ratio": 1.5}])
def test_settings_that_sed_eval_refuses_are_named(values):
    with pytest.raises(ConfigError, match="use the native engine"):
        evaluate([], [], EvaluationConfig(engine="sed_eval", **values))


def test_a_missing_sed_eval_is_a_configuration_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "sed_eval.sound_event", None)
    with pytest.raises(ConfigError, match="setuptools<81"):
        evaluate([], [], EvaluationConfig(engine="sed_eval"))


@pytest.fixture
def lists(published_lists):
    return read_events(published_lists.validation), read_events(published_lists.predictions(0.5))


@pytest.mark.parametrize("compat", ["", "dcase"])
def test_the_dcase_2019_baseline_scores_what_sed_eval_says(lists, published_lists, compat):
    result = evaluate(*lists, EvaluationConfig(compat=compat))
    percent = [
        round(100 * value, 2)
        for scores in (result.event, result.segment)
        for value in (scores.macro.f1, scores.micro.f1)
    ]
    assert percent == published_lists.expect(
        [21.65, 23.84, 54.38, 62.46], [22.27, 17.54, 54.08, 59.95]
    )
    assert round(100 * result.clip.macro.f1, 2) == published_lists.expect(61.39, 65.61)
    assert result.n_clips == published_lists.expect(1168, 21)


def test_known_durations_move_the_baseline_by_more_than_a_point(lists, published_lists):
    durations = read_durations(published_lists.durations)
    result = evaluate(*lists, CONFIG, durations=durations)
    assert round(100 * result.segment.macro.f1, 2) == published_lists.expect(55.77, 56.05)
    assert round(100 * result.event.macro.f1, 2) == published_lists.expect(21.65, 22.27)
    n_late = published_lists.expect(575, 14)
    assert any(
        f"estimated events that end after their clip ({n_late})" in w for w in result.warnings
    )


@pytest.mark.slow
def test_every_count_of_the_baseline_equals_that_of_sed_eval(lists, published_lists):
    durations = read_durations(published_lists.durations)
    oracle = evaluate(*lists, replace(CONFIG, engine="sed_eval"), durations=durations)
    assert evaluate(*lists, CONFIG, durations=durations).scores == oracle.scores
