"""Tuning: exact thresholds, a searched grid, clips never trained on."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedtool import fitting
from sedtool.checkpoint import load_model
from sedtool.cli.tune import tune as tune_command
from sedtool.config import (
    DecodingConfig,
    EvaluationConfig,
    PoolingConfig,
    TrainConfig,
    TuneConfig,
)
from sedtool.decoding import decode_clip
from sedtool.errors import ConfigError, LabelError
from sedtool.evaluation import evaluate_events
from sedtool.fitting import (
    _distinct,
    best_clip_thresholds,
    clip_f1,
    lengths_from_durations,
    lengths_that_leave_events,
    tune_events,
    untuned_decoding,
)
from sedtool.labels import Event, StrongLabels, read_events, write_events, write_weak
from sedtool.pooling import make_pooling
from sedtool.training import TrainInputs, train
from sedtool.tuning import TuneInputs, _warn_of_classes_nowhere, tune
from support.score_files import scored_whole


def f1(predicted, target):
    hits = (predicted & target).sum()
    return 2 * hits / (predicted.sum() + target.sum())


@given(
    st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=15).filter(
        lambda rows: any(positive for _, positive in rows)
    )
)
def test_no_threshold_does_better_than_the_fitted_one(rows):
    scores = np.array([[score / 8] for score, _ in rows], np.float32)
    targets = np.array([[positive] for _, positive in rows])
    thresholds, best = best_clip_thresholds(scores, targets.astype(np.float32))
    every = [f1(scores > t, targets) for t in np.arange(0, 9) / 8]
    assert best[0] == pytest.approx(max(every))
    assert f1(scores > np.float32(thresholds[0]), targets) == pytest.approx(best[0])


def test_a_threshold_lies_midway_and_a_class_without_positives_keeps_one_half():
    scores = np.array([[0.9, 0.2], [0.6, 0.3], [0.2, 0.4]])
    thresholds, best = best_clip_thresholds(scores, np.array([[1, 0], [1, 0], [0, 0]]))
    assert thresholds.tolist() == pytest.approx([0.4, 0.5])
    assert best[0] == 1.0
    assert np.isnan(best[1])
    assert clip_f1(scores, np.array([[1, 0], [1, 0], [0, 0]])) == 1.0


def names_nowhere(caplog, clip_f1, event_f1, n_clips, pooling="power", **settings):
    """Return the warnings of a class with so many clips, and of one that is right throughout."""
    detector = SimpleNamespace(pooling=make_pooling(PoolingConfig.parse(pooling), 2, 1))
    trained = {"config": {"lr": 1e-3, "pooling_lr": 0.0, **settings}}
    learned = detector.pooling.learned
    model = SimpleNamespace(
        classes=CLASSES,
        detector=detector,
        trained=trained,
        learned=learned,
        pooling=PoolingConfig.parse(pooling),
    )
    names = tuple(f"{i}.wav" for i in range(n_clips))
    pairs = [(name, label) for name in names for label in CLASSES]
    events = [Event(name, onset, onset + 0.1, label) for name, label in pairs for onset in (0, 1)]
    scores = np.array([clip_f1, 1.0]), np.array([event_f1, 1.0])
    caplog.clear()
    _warn_of_classes_nowhere(StrongLabels(events, names), model, *scores)
    return caplog.messages


def test_a_class_that_is_known_and_nowhere_is_named_with_what_mends_it(caplog):
    (message,) = names_nowhere(caplog, 0.8, 0.09, 5)
    assert message.startswith("the model knows what and not where: 'Dog' (clip F1 of 0.8 or more")
    assert "Drone" not in message
    assert "docs/short-sounds.md" in message
    assert names_nowhere(caplog, 1.0, 0.0, 5)


@pytest.mark.parametrize(
    ("pooling", "settings", "is_slow"),
    [
        ("power", {}, True),
        ("hierarchical:base=auto", {"pooling_lr": 1e-3}, True),
        ("hierarchical:base=auto", {}, False),  # which learns faster where nothing is given
        ("auto", {}, False),
        ("power", {"pooling_lr": 1e-1}, False),
        ("power", {"method": "strong"}, False),
        ("power:learned=0", {}, False),  # as max and attention, it has no exponents to learn
        ("max", {}, False),
        ("attention", {}, False),
    ],
)
def test_a_faster_pooling_is_named_where_exponents_had_the_learning_rate_of_the_network(
    caplog, pooling, settings, is_slow
):
    (message,) = names_nowhere(caplog, 1.0, 0.0, 5, pooling, **settings)
    assert ("with them a pooling that learns faster (--pooling-lr 1e-1)" in message) == is_slow


@pytest.mark.parametrize(
    ("clip_f1", "event_f1", "n_clips"),
    [(0.79, 0.0, 9), (1.0, 0.1, 9), (1.0, 0.0, 4), (np.nan, 0.0, 9), (1.0, np.nan, 9)],
)
def test_a_class_that_is_unknown_or_somewhere_or_in_few_clips_is_not(
    caplog, clip_f1, event_f1, n_clips
):
    assert not names_nowhere(caplog, clip_f1, event_f1, n_clips)


CLASSES = ("Dog", "Drone")


def two_clips():
    """Return scores in which Dog needs threshold 0.3 and no window, Drone 0.6 and a long one."""
    rng = np.random.default_rng(0)
    clips, events = [], []
    for name in ("a", "b", "c"):
        frame = np.full((100, 2), 0.1, np.float32)
        frame[20:23, 0] = 0.4
        frame[40:90, 1] = 0.9
        frame[:40, 1] = frame[90:, 1] = 0.5
        frame[rng.integers(50, 80, 6), 1] = 0.2
        events += [Event(name, 2.0, 2.3, "Dog"), Event(name, 4.0, 9.0, "Drone")]
        clips.append(scored_whole(name, 10.0, frame, np.ones(2, np.float32)))
    return clips, StrongLabels(events, ("a", "b", "c"))


def test_the_grid_finds_settings_with_which_every_event_is_right():
    clips, reference = two_clips()
    tuned, best, _ = tune_events(
        clips,
        reference,
        CLASSES,
        10.0,
        DecodingConfig.default(2),
        TuneConfig(),
    )
    assert best.tolist() == [1.0, 1.0]
    assert tuned.thresholds[0] < 0.4
    assert 0.5 <= tuned.thresholds[1] < 0.9
    assert tuned.windows[0] <= 0.3 < tuned.windows[1]
    events = [e for clip in clips for e in decode_clip(clip, CLASSES, 10.0, tuned)]
    scored = evaluate_events(reference, events, EvaluationConfig(), classes=CLASSES)
    assert scored.macro.f1 == 1.0


def test_the_fitted_score_is_what_the_evaluator_says_of_the_fitted_settings():
    clips, reference = two_clips()
    noisy = [
        dataclasses.replace(
            clip, frame=np.random.default_rng(i).random(clip.frame.shape).astype(np.float32)
        )
        for i, clip in enumerate(clips)
    ]
    arguments = (CLASSES, 10.0, DecodingConfig.default(2), TuneConfig())
    tuned, best, _ = tune_events(noisy, reference, *arguments)
    events = [e for clip in noisy for e in decode_clip(clip, CLASSES, 10.0, tuned)]
    scored = evaluate_events(reference, events, EvaluationConfig(), classes=CLASSES)
    assert [scored.classes[c].f1 for c in CLASSES] == pytest.approx(best.tolist())


def random_clips(n=12):
    """Return clips with events and scores that have something to do with each other."""
    rng, clips, events = np.random.default_rng(3), [], []
    for i in range(n):
        frame = 0.6 * rng.random((100, 2))
        for k, label in enumerate(CLASSES):
            start, length = rng.integers(0, 60), int(rng.integers(5, 40))
            frame[start : start + length, k] += 0.25
            events.append(Event(f"{i}", start / 10, (start + length) / 10, label))
        clips.append(scored_whole(f"{i}", 10.0, frame.astype(np.float32), np.ones(2, np.float32)))
    return clips, StrongLabels(events, tuple(clip.name for clip in clips))


COARSE = TuneConfig(thresholds=(0.4, 0.45, 0.5, 0.55, 0.6), windows=(0.0, 0.3, 0.5, 0.7, 1.0))


@pytest.mark.parametrize("config", [COARSE, dataclasses.replace(COARSE, decoder="boxes")])
def test_what_is_held_out_is_scored_with_what_fits_the_others(config):
    """The oracle fits each fold's settings and decodes its clips by the evaluator."""
    clips, reference = random_clips()
    start = DecodingConfig.default(2)
    fold = fitting._Clips(clips, reference, CLASSES, 10.0, config).fold
    assert sorted(np.bincount(fold)) == [2, 2, 2, 3, 3]
    counts = np.zeros((2, 3))
    for number in range(5):
        there = [clip for clip, other in zip(clips, fold, strict=True) if other != number]
        here = [clip for clip, other in zip(clips, fold, strict=True) if other == number]

        def only(chosen):
            names = {clip.name for clip in chosen}
            kept = [event for event in reference.events if event.name in names]
            return StrongLabels(kept, tuple(names))

        tuned = tune_events(there, only(there), CLASSES, 10.0, start, config).decoding
        events = [e for clip in here for e in decode_clip(clip, CLASSES, 10.0, tuned)]
        scored = evaluate_events(only(here), events, EvaluationConfig(), classes=CLASSES)
        for k, label in enumerate(CLASSES):
            rates = scored.classes[label]
            counts[k] += rates.tp, rates.n_reference, rates.n_estimated
    expected = 2 * counts[:, 0] / (counts[:, 1] + counts[:, 2])
    fitted = tune_events(clips, reference, CLASSES, 10.0, start, config)
    assert fitted.held_out == pytest.approx(expected)
    assert (fitted.f1 >= fitted.held_out).all()
    assert (fitted.f1 > fitted.held_out).any()


def test_a_threshold_is_as_good_as_it_and_its_neighbours_count_together():
    """The oracle decodes with each setting, counts by the evaluator and weighs by hand."""
    clips, reference = random_clips()
    start = DecodingConfig.default(2)
    thresholds, lengths, weights = COARSE.thresholds, COARSE.windows, COARSE.smoothing
    counts = np.zeros((len(lengths), len(thresholds), 2, 3))
    for i, length in enumerate(lengths):
        for j, threshold in enumerate(thresholds):
            both = {"windows": (length,) * 2, "thresholds": (threshold,) * 2}
            settings = dataclasses.replace(start, **both)
            events = [e for clip in clips for e in decode_clip(clip, CLASSES, 10.0, settings)]
            scored = evaluate_events(reference, events, EvaluationConfig(), classes=CLASSES)
            rates = [scored.classes[label] for label in CLASSES]
            counts[i, j] = [(r.tp, r.n_reference, r.n_estimated) for r in rates]
    together = np.zeros_like(counts)
    for j in range(len(thresholds)):
        for weight, neighbour in zip(weights, range(j - 2, j + 3), strict=True):
            together[:, j] += weight * counts[:, min(max(neighbour, 0), len(thresholds) - 1)]
    f1 = 2 * together[..., 0] / (together[..., 1] + together[..., 2])
    fitted = tune_events(clips, reference, CLASSES, 10.0, start, COARSE).decoding
    for k in range(2):
        length = np.abs(np.array(lengths) - fitted.windows[k]).argmin()  # in whole, odd frames
        assert f1[length, thresholds.index(fitted.thresholds[k]), k] == f1[..., k].max()


@pytest.mark.parametrize(("smoothing", "chosen"), [((1,), 0.2), ((1, 2, 3, 2, 1), 0.6)])
def test_a_peak_at_one_threshold_loses_to_a_level_stretch(smoothing, chosen):
    thresholds = tuple(i / 10 for i in range(1, 10))
    hits = np.array([0, 10, 0, 7, 8, 8, 8, 7, 0])
    counts = np.stack([hits, np.full(9, 10), np.full(9, 10)], axis=1)[:, None, None]
    grid = [dataclasses.replace(DecodingConfig.default(1), thresholds=(t,)) for t in thresholds]
    config = TuneConfig(thresholds=thresholds, smoothing=smoothing)
    search = fitting._Search(grid, counts, config)
    assert grid[search.best[0]].thresholds == (chosen,)
    assert search.f1 == [1.0 if chosen == 0.2 else 0.8]


def test_thresholds_are_searched_at_equal_distances_of_logits():
    thresholds = np.array(TuneConfig.thresholds)
    logits = np.log(thresholds / (1 - thresholds))
    assert logits == pytest.approx(np.arange(-6, 4.1, 0.5), abs=0.02)
    assert 0.5 in thresholds
    assert f"frame thresholds ({thresholds[0]} to {thresholds[-1]:.3f}" in tune_command.help


def test_the_order_of_clips_changes_no_fold():
    clips, reference = random_clips()
    arguments = (reference, CLASSES, 10.0, DecodingConfig.default(2), COARSE)
    one, other = tune_events(clips, *arguments), tune_events(clips[::-1], *arguments)
    assert one.decoding == other.decoding
    assert one.held_out.tolist() == other.held_out.tolist()


def test_a_class_without_reference_events_keeps_its_settings():
    clips, reference = random_clips()
    dogs = [event for event in reference.events if event.label == "Dog"]
    start = dataclasses.replace(DecodingConfig.default(2), windows=(0.1, 0.7))
    labels = StrongLabels(dogs, reference.names)
    fitted = tune_events(clips, labels, CLASSES, 10.0, start, COARSE)
    assert (fitted.decoding.thresholds[1], fitted.decoding.windows[1]) == (0.5, 0.7)
    assert np.isnan(fitted.f1).tolist() == np.isnan(fitted.held_out).tolist() == [False, True]


def ramps_and_holes():
    """Return events that rise and fall slowly to any height, and events with holes, by class.

    No threshold cuts all slopes in the middle. Holes go with a median filter alone.
    """
    rng, clips, events = np.random.default_rng(0), [], []
    for i in range(20):
        frame = np.zeros((100, 2))
        height = rng.uniform(0.2, 1.0)
        slope = height / (1 + np.exp(-np.arange(-9.5, 10)))  # steepest in the middle
        frame[15:85, 0] = np.concatenate([slope, np.full(30, height), slope[::-1]])
        frame[30:70, 1] = 0.9
        frame[rng.permutation(np.arange(32, 68, 3))[:8], 1] = 0.0
        frame[rng.permutation(np.arange(2, 26, 4))[:3], 1] = 0.9
        events += [Event(f"{i}", 2.5, 7.5, "Dog"), Event(f"{i}", 3.0, 7.0, "Drone")]
        clips.append(scored_whole(f"{i}", 10.0, frame.astype(np.float32), np.ones(2, np.float32)))
    return clips, StrongLabels(events, tuple(clip.name for clip in clips))


def test_auto_gives_boxes_to_the_classes_that_are_surely_better_with_them():
    clips, reference = ramps_and_holes()
    how = (reference, CLASSES, 10.0, DecodingConfig.default(2))
    f1 = {}
    for decoder in ("median", "boxes", "auto"):
        config = TuneConfig(collar=0.1, offset_ratio=0.0, decoder=decoder)
        fitted = tune_events(clips, *how, config)
        f1[decoder] = fitted.held_out.tolist()
        has_boxes = [bool(box) for box in fitted.decoding.boxes]
        expected = {"median": [], "boxes": [True, True], "auto": [True, False]}
        assert has_boxes == expected[decoder]
    assert f1["boxes"][0] > f1["median"][0]
    assert f1["boxes"][1] < f1["median"][1]
    assert f1["auto"] == [f1["boxes"][0], f1["median"][1]]


def test_windows_that_are_given_are_left_alone():
    clips, reference = two_clips()
    start = dataclasses.replace(DecodingConfig.default(2), windows=(0.5, 0.7))
    tuned, *_ = tune_events(clips, reference, CLASSES, 10.0, start, TuneConfig(windows=()))
    assert tuned.windows == (0.5, 0.7)


@given(n_frames=st.integers(1, 200), frame_rate=st.sampled_from([10.0, 25.0, 62.5, 100.0]))
def test_no_untuned_median_filter_erases_the_shortest_labelled_event(n_frames, frame_rate):
    events = [Event("a", 1.0, 1.0 + n_frames / frame_rate + 1e-6, "Dog"), Event("a", 0, 9, "Dog")]
    decoding = untuned_decoding(events, CLASSES, frame_rate)
    frame = np.zeros((20 * n_frames, 2), np.float32)
    frame[n_frames : 2 * n_frames] = 1.0
    clip = scored_whole("a", len(frame) / frame_rate, frame, np.ones(2, np.float32))
    found = decode_clip(clip, CLASSES, frame_rate, decoding)
    assert [e.label for e in found if e.label == "Dog"] == ["Dog"]
    assert decoding.windows[0] <= decoding.windows[1] == 0.3  # no event is labelled Drone


def test_without_strong_labels_no_median_filter_erases_what_most_clips_are_known_to_have():
    """Ten frames a second: an event of 3 frames outlives a filter of 0.5 s and not one of 0.7 s."""
    targets, scores = np.zeros((20, 3)), []
    targets[:, 0] = targets[:10, 1] = 1
    for i in range(20):
        frame = np.zeros((100, 3), np.float32)
        frame[20 : 23 if i < 3 else 60, 0] = (
            1.0  # too short for the filter in three of twenty clips
        )
        frame[40:42, 1] = i % 10 == 0  # in two clips, one of which does not have the class
        frame[:, 2] = 1.0  # in no clip that has the class
        scores.append(scored_whole(f"{i}", 10.0, frame, np.ones(3, np.float32)))
    own = dataclasses.replace(DecodingConfig.default(3), windows=(0.7, 0.7, 0.7))
    found = lengths_that_leave_events(scores, targets, 10.0, own, TuneConfig())
    assert found.windows == pytest.approx((0.5, 0.3, 0.7))
    less = [scores[0], *scores[3:]], targets[2:]  # one of 18 clips
    assert lengths_that_leave_events(*less, 10.0, own, TuneConfig()).windows[0] == 0.7


def test_windows_are_a_third_of_the_mean_duration():
    labels = StrongLabels(
        [Event("a", 0, 3.0, "Dog"), Event("a", 5, 8.6, "Dog"), Event("a", 1, 1, "Drone")], ("a",)
    )
    tuned, without = lengths_from_durations(
        labels, CLASSES, DecodingConfig.default(2), TuneConfig()
    )
    assert tuned.windows == pytest.approx((1.1, 0.3))
    assert without == ["Drone"]


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory):
    run = tmp_path_factory.mktemp("tuning") / "run"
    config = TrainConfig(arch="small", epochs=2, batch_size=(4,), lr=3e-3, tune=False)
    inputs = TrainInputs((tiny.features,), tiny.weak, val_strong=tiny.strong)
    return train(run, inputs, config, device="cpu").model


def test_strong_labels_set_everything_and_leave_the_weights(tiny, model):
    before = load_model(model)
    result = tune(model, TuneInputs((tiny.features,), reference=tiny.strong), TuneConfig())
    after = load_model(model)
    assert after.weights_sha256 == before.weights_sha256
    assert after.decoding != before.decoding
    assert result.n_clips == after.tuned["clips"] == 8
    assert list(after.tuned["files"]) == [str(tiny.strong)]
    assert result.event_f1 == pytest.approx(np.mean(list(after.tuned["event_f1"].values())))
    assert f"clip F1 {result.clip_f1:.3f}" in str(result)


def test_tune_warns_of_classes_that_are_known_and_nowhere(tiny, model, caplog, monkeypatch):
    monkeypatch.setattr("sedtool.tuning._ENOUGH", 4)
    inputs = TuneInputs(features=(tiny.features,), reference=tiny.strong)
    assert tune(model, inputs, TuneConfig(collar=1.0)).event_f1 > 0.9
    assert not caplog.messages
    monkeypatch.setattr("sedtool.tuning._NOWHERE", 0.9)
    assert tune(model, inputs, TuneConfig(collar=0.0, offset_ratio=0.0)).event_f1 < 0.9
    assert caplog.messages[0].startswith("the model knows what and not where: 'noise', 'tone' (")


def test_lengths_that_are_not_given_are_shortened_where_labels_are_weak(tiny, model, monkeypatch):
    def shortened(scores, targets, frame_rate, decoding, config):
        assert len(scores) == len(targets) == 8
        return dataclasses.replace(decoding, windows=(0.1, 0.1))

    monkeypatch.setattr("sedtool.tuning.lengths_that_leave_events", shortened)
    weak = TuneInputs((tiny.features,), weak=tiny.weak_validation)
    tune(model, dataclasses.replace(weak, window=0.7), TuneConfig())
    assert load_model(model).decoding.windows == (0.7, 0.7)
    tune(model, weak, TuneConfig())
    assert load_model(model).decoding.windows == (0.1, 0.1)
    tune(model, TuneInputs((tiny.features,), reference=tiny.strong), TuneConfig(windows=(0.3,)))
    assert load_model(model).decoding.windows == pytest.approx((0.3, 0.3))


def test_weak_labels_set_clip_thresholds_and_windows_come_from_durations(tiny, model):
    weak, before = TuneInputs((tiny.features,), weak=tiny.weak_validation), load_model(model)
    tune(model, weak, TuneConfig())
    assert load_model(model).decoding.windows == before.decoding.windows
    tune(model, dataclasses.replace(weak, durations_from=tiny.strong), TuneConfig())
    decoding = load_model(model).decoding
    assert decoding.windows == pytest.approx((0.5 / 3, 0.5 / 3))
    assert decoding.thresholds == decoding.clip_thresholds
    tune(model, dataclasses.replace(weak, window=0.7), TuneConfig())
    assert load_model(model).decoding.windows == (0.7, 0.7)


def test_weak_labels_alone_set_clip_thresholds_where_there_are_strong_ones_besides(
    tiny, model, tmp_path
):
    labels = read_events(tiny.strong)
    half = tmp_path / "weak.tsv"
    write_weak(half, {e.name: (e.label,) for e in labels.events[:4]})
    wrong = {"tone": "noise", "noise": "tone"}  # as clips, these would spoil the thresholds
    events = [dataclasses.replace(e, label=wrong[e.label]) for e in labels.events[4:]]
    strong = tmp_path / "strong.tsv"
    write_events(strong, StrongLabels(events, tuple(e.name for e in events)))
    alone = tune(model, TuneInputs((tiny.features,), weak=half), TuneConfig())
    thresholds = load_model(model).decoding.clip_thresholds
    both = TuneInputs((tiny.features,), weak=half, reference=strong)
    result = tune(model, both, TuneConfig())
    assert load_model(model).decoding.clip_thresholds == thresholds
    assert (alone.n_clips, result.n_clips) == (4, 8)
    assert result.clip_f1 == alone.clip_f1 == 1.0
    assert result.event_f1 is not None


def test_clips_that_were_trained_on_are_refused(tiny, model):
    before = model.read_bytes()
    with pytest.raises(LabelError, match=r"trained on 16 of 16 clips, e\.g\. 'train/tone_0\.wav'"):
        tune(model, TuneInputs((tiny.features,), weak=tiny.weak), TuneConfig())
    assert model.read_bytes() == before


def test_unknown_classes_are_refused_by_file(tiny, model, tmp_path):
    strong = tmp_path / "strong.tsv"
    strong.write_text(tiny.strong.read_text().replace("tone\n", "tune\n"))
    with pytest.raises(LabelError, match=r"strong\.tsv:6: unknown label 'tune'; did you mean"):
        tune(model, TuneInputs((tiny.features,), reference=strong), TuneConfig())
    strong.write_text(tiny.strong.read_text().replace("tone\n", "a dog\n"))
    with pytest.raises(LabelError, match="'noise', 'tone'; the model has no others; leave their"):
        tune(model, TuneInputs((tiny.features,), reference=strong), TuneConfig())


@pytest.mark.parametrize(
    ("kind", "header"),
    [("weak", "filename\tevent_labels"), ("reference", "filename\tonset\toffset\tevent_label")],
)
def test_labels_of_no_clip_are_refused(tiny, model, tmp_path, kind, header):
    empty = tmp_path / "empty.tsv"
    empty.write_text(f"{header}\n")
    with pytest.raises(LabelError, match=r"empty\.tsv names no clip"):
        tune(model, TuneInputs((tiny.features,), **{kind: empty}), TuneConfig())


def test_what_tune_is_to_do_must_be_said(tiny):
    with pytest.raises(ConfigError, match="tune needs labels"):
        TuneInputs((tiny.features,))
    with pytest.raises(ConfigError, match="both set the median filter lengths"):
        TuneInputs((tiny.features,), weak=tiny.weak, durations_from=tiny.strong, window=0.3)


def test_the_labels_of_this_test_are_what_they_are_taken_for(tiny):
    assert len(read_events(tiny.strong).events) == 8


def test_a_threshold_between_neighbouring_floats_still_separates_them():
    upper = np.float32(1.0)
    lower = np.nextafter(upper, np.float32(0))
    scores = np.array([[lower], [upper]])
    thresholds, best = best_clip_thresholds(scores, np.array([[0], [1]]))
    assert best.tolist() == [1.0]
    assert (scores > np.float32(thresholds[0])).ravel().tolist() == [False, True]


def test_the_grid_holds_windows_as_the_frames_they_are():
    assert _distinct((0.0, 0.1, 0.2, 0.3, 0.5, 1.0), 10.0) == [0.0, 0.3, 0.5, 1.1]


@given(n_frames=st.integers(1, 5), frame_rate=st.floats(5, 1000))
def test_the_grid_begins_with_no_filter_and_so_erases_no_event_however_short(n_frames, frame_rate):
    assert _distinct(TuneConfig().windows, frame_rate)[0] == 0.0
    frame = np.zeros((200, 2), np.float32)
    frame[100 : 100 + n_frames] = 1.0
    clip = scored_whole("a", 200 / frame_rate, frame, np.ones(2, np.float32))
    times = 100 / frame_rate, (100 + n_frames) / frame_rate
    reference = StrongLabels([Event("a", *times, label) for label in CLASSES], ("a",))
    config = TuneConfig(thresholds=(0.5,))
    how = (CLASSES, frame_rate, DecodingConfig.default(2), config)
    assert tune_events([clip], reference, *how).f1.tolist() == [1.0, 1.0]


def labelled(path, lengths):
    """Write strong labels of the validation clips, with tones of these lengths."""
    names = [f"val/tone_{i}.wav" for i in range(16, 24, 2)]
    events = [Event(name, 0.2, 0.2 + s, "tone") for name, s in zip(names, lengths, strict=True)]
    write_events(path, StrongLabels(events, tuple(names)))
    return path


@pytest.mark.parametrize(
    ("lengths", "window", "is_erased"),
    [
        ((0.09, 0.09, 0.5, 0.5), 0.7, True),  # the median is 0.295 s
        ((0.09, 0.5, 0.5, 0.5), 0.7, False),
        ((0.09, 0.09, 0.09, 0.09), 0.1, False),  # of one frame, which is no filter
        ((0.09, 0.09, 0.09, 0.09), 0.3, True),
        ((0.09, 0.09, 0.09, 0.09), None, False),
    ],
)
def test_a_filter_given_by_hand_that_erases_half_of_the_events_of_a_class_is_remarked(
    tiny, model, tmp_path, caplog, lengths, window, is_erased
):
    reference = labelled(tmp_path / "strong.tsv", lengths)
    tune(model, TuneInputs((tiny.features,), reference=reference, window=window), TuneConfig())
    said = [message for message in caplog.messages if "median filter erases half" in message]
    assert len(said) == is_erased
    if said:
        what = f"or more of 'tone' ({np.median(lengths):.3g} s, the filter {window} s)"
        assert f"{what}; give a shorter --window" in said[0]


def test_a_third_of_a_mean_that_long_events_make_is_remarked_where_it_erases_the_others(
    tiny, model, tmp_path, caplog
):
    durations = labelled(tmp_path / "d.tsv", (0.1, 0.1, 0.1, 9.0))
    how = {"weak": tiny.weak_validation, "durations_from": durations}
    tune(model, TuneInputs((tiny.features,), **how), TuneConfig())
    assert "of 'tone' (0.1 s, the filter 0.775 s)" in caplog.messages[-1]
    assert "noise" not in caplog.messages[-1]


@pytest.mark.parametrize("window", [-1.0, float("nan"), float("inf"), 1e9])
def test_a_window_out_of_range_is_refused_before_anything_is_scored(tiny, window):
    with pytest.raises(ConfigError, match="median filters must last"):
        TuneInputs((tiny.features,), reference=tiny.strong, window=window)
