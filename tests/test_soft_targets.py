"""Scores as frame targets: resampled by overlap, moved like features, ruled out by weak labels."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sedtool.augment import shift_scores, time_shift
from sedtool.config import DecodingConfig, TrainConfig
from sedtool.datasets import FeatureSet, TrainingBatches, frame_targets
from sedtool.labels import Event, Vocabulary
from sedtool.store import ScoresHeader, ScoresWriter, SourceClip
from sedtool.training import TrainInputs, load_inputs
from support.features import CONFIG, features_writer
from support.score_files import scored_whole

RATE = CONFIG.frame_rate


def overlaps(scores, ratio, shift, n_frames, pooled, mode):
    """Return what `shift_scores` is defined to be, by the overlap of each score with each frame."""
    ends = [min(Fraction(ratio) * j, Fraction(n_frames)) for j in range(len(scores))]
    ends.append(Fraction(n_frames))
    turns = [k * n_frames + shift % n_frames for k in (-1, 0, 1)] if mode == "roll" else [shift]
    out = np.zeros((-(-n_frames // pooled), scores.shape[1]))
    for t in range(len(out)):
        start, end = t * pooled, min((t + 1) * pooled, n_frames)
        for j, score in enumerate(scores):
            for turn in turns:
                common = min(end, ends[j + 1] + turn) - max(start, ends[j] + turn)
                out[t] += score * float(max(common, 0) / Fraction(end - start))
    return out


@given(
    sizes=st.tuples(st.integers(1, 12), st.integers(1, 30), st.integers(1, 5)),
    ratio=st.sampled_from([1, 2, 3, 5, 0.5, 0.37, 1.7, 4.25]),
    shift=st.integers(-40, 40),
    mode=st.sampled_from(["roll", "pad"]),
)
def test_an_output_frame_is_the_mean_of_the_scores_over_its_time(sizes, ratio, shift, mode):
    n_scores, n_frames, pooled = sizes
    scores = np.random.default_rng(sizes).random((n_scores, 2), np.float32)
    found = shift_scores(scores, ratio, shift, n_frames, pooled, mode)
    expected = overlaps(scores, ratio, shift, n_frames, pooled, mode)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= scores.max()


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 6), st.integers(-50, 50))
def test_the_mean_of_a_clip_of_whole_frames_stays_wherever_it_is_rolled_to(
    n_scores, n_out, pooled, shift
):
    scores = np.random.default_rng(n_scores).random((n_scores, 3), np.float32)
    ratio = n_out * pooled / n_scores
    found = shift_scores(scores, ratio, shift, n_out * pooled, pooled)
    np.testing.assert_allclose(found.mean(axis=0), scores.mean(axis=0), atol=1e-6)


@given(st.integers(1, 300), st.integers(1, 8), st.integers(0, 100))
def test_scores_of_equal_frames_are_the_targets_bit_for_bit(n_frames, pooled, seed):
    n_scores = -(-n_frames // pooled)  # the last one may be cut short
    scores = np.random.default_rng(seed).random((n_scores, 2), np.float32) ** 9 * 1e-9
    assert np.array_equal(shift_scores(scores, pooled, 0, n_frames, pooled), scores)


@given(st.integers(1, 40), st.integers(-90, 90))
def test_scores_of_feature_frames_move_as_the_features_do(n_frames, shift):
    scores = np.random.default_rng(0).random((n_frames, 2), np.float32)
    assert np.array_equal(shift_scores(scores, 1, shift, n_frames, 1), time_shift(scores, shift))


def test_of_halves_and_thirds_the_means_are_those_by_hand():
    scores = np.array([[1.0], [0.0], [0.5]], np.float32)
    assert shift_scores(scores, 2, 0, 6, 3).ravel() == pytest.approx([2 / 3, 1 / 3])
    assert shift_scores(scores, 2, 0, 5, 4).tolist() == [[0.5], [0.5]]  # one frame is left
    assert shift_scores(scores, 2, 1, 6, 2).tolist() == [[0.75], [0.5], [0.25]]
    assert shift_scores(scores, 2, 1, 6, 2, "pad").tolist() == [[0.5], [0.5], [0.25]]
    assert shift_scores(scores, 2, -9, 6, 2, "pad").tolist() == [[0], [0], [0]]
    assert shift_scores(scores, 2, 0, 1, 4).tolist() == [[1]]


LENGTHS = {"a.wav": 12, "b.wav": 9, "c.wav": 7, "d.wav": 12, "e.wav": 1}  # feature frames
CLASSES = ("Dog", "Cat", "Rain")  # of the scores; labels have them in the order of the alphabet


@pytest.fixture
def files(tmp_path):
    """Features of five clips, scores of four, weak labels of two, strong ones of one."""
    rng = np.random.default_rng(0)
    with features_writer(tmp_path / "f.h5", list(LENGTHS)) as writer:
        for name, n in LENGTHS.items():
            clip = SourceClip(name, n, 8_000, 1, n / RATE, 100, name[0] * 64, 0)
            writer.add(clip, [rng.normal(size=(n, CONFIG.n_mels)).astype("<f2").tobytes()])
        writer.finish([])
    scores, half = {}, RATE / 2
    header = ScoresHeader(CLASSES, half, DecodingConfig.default(3), "1" * 64)
    with ScoresWriter(tmp_path / "s.h5", header) as writer:
        for name in ("e.wav", "c.wav", "b.wav", "a.wav"):
            scores[name] = rng.random((-(-LENGTHS[name] // 2), 3), np.float32)
            clip = scored_whole(name, LENGTHS[name] / RATE, scores[name], scores[name].max(axis=0))
            writer.append(clip)
    (tmp_path / "w.tsv").write_text("filename\tevent_labels\na.wav\tCat\nd.wav\tDog,Rain\n")
    (tmp_path / "t.tsv").write_text("filename\tonset\toffset\tevent_label\nc.wav\t0\t0.1\tCat\n")
    (tmp_path / "v.tsv").write_text("filename\tevent_labels\ne.wav\tCat\n")
    return tmp_path, scores


def batches(folder, time_pooling, *kinds, method="weak", **settings):
    names = {"weak": "w.tsv", "strong": "t.tsv", "val_weak": "v.tsv", "soft": "s.h5"}
    paths = {kind: folder / names[kind] for kind in (*kinds, "val_weak", "soft")}
    config = TrainConfig(**{"method": method, "arch": "small", "epochs": 1, **settings})
    clips, _, vocabulary = load_inputs(TrainInputs((folder / "f.h5",), **paths), config)
    assert vocabulary.classes == ("Cat", "Dog", "Rain")
    return TrainingBatches(clips, vocabulary, config, time_pooling)


def test_a_batch_has_the_scores_of_its_weak_clips_and_of_those_without_labels(files):
    folder, scores = files
    made = batches(folder, 2, "weak", batch_size=(6,), balance="none")
    batch = made.draw(0, 0)
    assert made.sizes == (3, 3, 0)  # half of it have no labels
    assert set(batch.names[:3]) == {"a.wav", "d.wav"} and set(batch.names[3:]) == {"b.wav", "c.wav"}
    assert [batch.names[row] for row in batch.framed] == [n for n in batch.names if n != "d.wav"]
    for frames, row in zip(batch.frame_targets.numpy(), batch.framed, strict=True):
        name = batch.names[row]
        mine = scores[name][:, [1, 0, 2]]  # in the order of the labels
        expected = mine * np.array([1, 0, 0], np.float32) if name == "a.wav" else mine
        assert np.array_equal(frames[: len(mine)], expected)
        assert not frames[len(mine) :].any()  # a shorter clip is padded
    assert torch.equal(batch.targets[3:], torch.zeros(3, 3))
    assert not len(batch.targets[batch.strong])


@pytest.mark.parametrize(("level", "said"), [(0.51, ""), (0.5, "none they cannot: 'Dog' (2)")])
def test_clips_count_for_a_class_that_scores_alone_say_they_have(files, caplog, level, said):
    folder, scores = files
    header = ScoresHeader(CLASSES, RATE / 2, DecodingConfig.default(3), "1" * 64)
    with ScoresWriter(folder / "s.h5", header) as writer:  # of e.wav, too, which is validated on
        for name, frames in scores.items():
            clip = np.array([level if name == "b.wav" else 0.9, 0.9, 0.9], np.float32)
            writer.append(scored_whole(name, LENGTHS[name] / RATE, frames, clip))
    batches(folder, 2, "weak", batch_size=(6,))  # each class is a label of one clip
    assert [text.partition(", of ")[2] for text in caplog.messages if "fewer than 3" in text] == (
        [said] if said else []
    )


def test_strong_labels_are_kept_and_validated_clips_left_out(files, caplog):
    made = batches(files[0], 1, "weak", "strong", method="mean-teacher", batch_size=(2, 2, 1))
    assert made.clips.unlabelled.names == ("b.wav",)  # c.wav is strong, and e.wav validated on
    assert "the strong labels of 1 clips count, and not their scores, as of 'c.wav'" in caplog.text
    assert "1 of 2 unlabelled clips are validated on; left out of training" in caplog.text
    batch = made.draw(0, 0)
    assert batch.names[4:] == ["c.wav"]
    assert batch.frame_targets[-1].sum() > 0 and not batch.frame_targets[-1, :, 1:].any()
    assert batch.frame_targets[-1].unique().tolist() == [0, 1]


@pytest.mark.parametrize("mode", ["roll", "pad"])
@pytest.mark.parametrize("time_pooling", [1, 2, 3, 4])
def test_scores_move_with_their_features_into_whatever_frames_the_network_has(
    files, time_pooling, mode
):
    folder, scores = files
    settings = {"batch_size": (8,), "time_shift": 3.0, "shift_mode": mode}
    made = batches(folder, time_pooling, "weak", **settings)
    batch = made.draw(0, 5)
    shifts = [made._shift.draw_frames(0, 0, 5, row) for row in range(8)]
    assert len({*shifts}) > 2
    for frames, row in zip(batch.frame_targets.numpy(), batch.framed, strict=True):
        name, n = batch.names[row], LENGTHS[batch.names[row]]
        assert np.array_equal(
            batch.features[row, :n].numpy(),
            time_shift(FeatureSet([folder / "f.h5"]).clip(name), shifts[row], mode),
        )
        mine = scores[name][:, [1, 0, 2]] * ([1, 0, 0] if name == "a.wav" else 1)
        expected = overlaps(mine, 2, shifts[row], n, time_pooling, mode)
        np.testing.assert_allclose(frames[: len(expected)], expected, atol=1e-6)


def test_frames_are_read_from_the_file_one_clip_at_a_time(files, monkeypatch):
    made = batches(files[0], 2, "weak", batch_size=(2,))
    frames, read = made.clips.soft.scores.frame, []
    one = type(frames).__getitem__
    monkeypatch.setattr(
        type(frames), "__getitem__", lambda s, rows: read.append(rows) or one(s, rows)
    )
    batch = made.draw(0, 0)
    of_scores = [rows for rows in read if rows.stop <= len(frames)]
    assert len(of_scores) >= len(batch.framed)
    assert max(rows.stop - rows.start for rows in read) <= max(LENGTHS.values())


def test_classes_of_the_vocabulary_are_found_by_name(files):
    made = batches(files[0], 2, "weak", batch_size=(2,))
    assert made.vocabulary.classes == Vocabulary(sorted(CLASSES)).classes
    assert made.clips.soft.columns.tolist() == [1, 0, 2]


NAMES = Vocabulary(["Cat", "Dog"])


def drawn_events(confidence=None):
    """Return strategies of events of a clip of two seconds, with that confidence or any."""
    time = st.floats(0, 2)
    level = st.just(confidence) if confidence else st.none() | st.floats(0, 1)
    return st.lists(
        st.builds(
            lambda a, b, label, c: Event("a.wav", min(a, b), max(a, b), label, c),
            *(time, time, st.sampled_from(NAMES.classes), level),
        ),
        max_size=8,
    )


@given(drawn_events(1.0), st.integers(0, 3))
def test_events_of_full_confidence_are_what_they_are_without_it_bit_for_bit(events, gap):
    hard = frame_targets(events, 20, 10.0, NAMES, gap)
    assert np.array_equal(frame_targets(events, 20, 10.0, NAMES, gap, soft=True), hard)


@given(drawn_events())
def test_a_frame_has_the_greatest_confidence_of_the_events_in_it(events):
    expected = np.zeros((20, 2), np.float32)
    for event in events:
        alone = frame_targets([event], 20, 10.0, NAMES)
        level = 1.0 if event.confidence is None else event.confidence
        expected = np.maximum(expected, alone * np.float32(level))
    found = frame_targets(events, 20, 10.0, NAMES, soft=True)
    assert np.array_equal(found, expected)
    hard = frame_targets(events, 20, 10.0, NAMES)
    assert set(hard.ravel()) <= {0, 1} and ((hard > 0) >= (found > 0)).all()
