"""Inference: windows that cover, seams that vanish, inputs that agree."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sedtool.audio import write_wav
from sedtool.checkpoint import load_model, save_model
from sedtool.config import DecodingConfig, InferConfig, WindowConfig
from sedtool.decoding import decoding_of
from sedtool.errors import (
    ArtifactError,
    ConfigError,
    LabelError,
    NothingUsableError,
    OutputExistsError,
)
from sedtool.inference import InferOutputs, infer
from sedtool.labels import read_events, read_weak
from sedtool.machine import pick_device
from sedtool.scoring import ClipFeatures, WindowGrid, cut_windows, predict, score_clips
from sedtool.store import open_scores
from support.models import new_model

CPU = torch.device("cpu")


@pytest.fixture
def model_path(tmp_path):
    path = tmp_path / "model.safetensors"
    model = new_model()
    model.classes = ("noise", "tone")
    model.decoding = DecodingConfig((0.45, 0.45), (0.3, 0.3), (0.0, 0.0))
    save_model(path, model)
    return path


@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=12),
    size=st.integers(1, 10),
    hop=st.integers(1, 10),
)
def test_windows_cover_every_frame_in_order_and_none_is_longer_than_asked(lengths, size, hop):
    grid = 4
    size, hop = size * grid, min(hop, size) * grid
    frames = np.arange(sum(lengths), dtype=np.float32)[:, None]
    blocks = np.split(frames, np.cumsum(lengths)[:-1])
    windows = list(cut_windows(blocks, WindowGrid(size, hop, grid)))
    covered = np.zeros(len(frames), bool)
    for start, window in windows:
        assert np.array_equal(window, frames[start : start + len(window)])
        assert start % grid == 0
        assert len(window) <= size
        covered[start : start + len(window)] = True
    assert covered.all()
    assert windows[-1][0] + len(windows[-1][1]) == len(frames)
    assert [start for start, _ in windows] == sorted({start for start, _ in windows})


def recording(name, features, size=100):
    blocks = [features[i : i + size] for i in range(0, len(features), size)]
    return ClipFeatures(name, lambda: blocks, lambda: len(features) / 40)


def features(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 64)).astype(np.float32) - 5


def test_a_clip_as_long_as_the_window_is_scored_whole():
    model, clip = new_model(), features(400)
    (scores,) = score_clips(model, [recording("a", clip)], WindowConfig(10.0), CPU)
    with torch.inference_mode():
        output = model.detector(torch.from_numpy(clip)[None], torch.tensor([400]))
    assert np.allclose(scores.frame, output.logits[0].sigmoid(), atol=1e-6)
    assert np.allclose(scores.clip, output.log_y[0].exp(), atol=1e-6)


def test_a_clip_a_few_samples_over_a_frame_is_one_window_of_its_own_length():
    model, clip = new_model(), features(201)
    config = WindowConfig(5.001, 0.5)
    (scores,) = score_clips(model, [recording("a", clip)], config, CPU)
    assert scores.window_frames.tolist() == [51]


def test_overlapping_windows_are_averaged_and_the_clip_score_is_their_maximum():
    model, clip = new_model(), features(120)
    config = WindowConfig(2.0, 0.5)  # 80 frames in, every 40: windows at 0 and 40
    (scores,) = score_clips(model, [recording("a", clip)], config, CPU)
    parts = [
        next(iter(score_clips(model, [recording("a", part)], WindowConfig(2.0), CPU)))
        for part in (clip[:80], clip[40:])
    ]
    assert scores.window_start.tolist() == [0, 10]
    expected = np.concatenate(
        [
            parts[0].frame[:10],
            (parts[0].frame[10:] + parts[1].frame[:10]) / 2,
            parts[1].frame[10:],
        ]
    )
    assert np.allclose(scores.frame, expected, atol=1e-6)
    assert np.allclose(scores.clip, np.maximum(parts[0].clip, parts[1].clip), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_results_do_not_depend_on_the_batch_size(batch_size):
    model, clip = new_model(), features(900)
    config = WindowConfig(10.0, 0.5, batch_size)
    (scores,) = score_clips(model, [recording("x", clip)], config, CPU)
    (one,) = score_clips(model, [recording("x", clip)], WindowConfig(10.0, 0.5, 1), CPU)
    assert np.allclose(scores.frame, one.frame, atol=1e-5)
    assert np.allclose(scores.clip, one.clip, atol=1e-5)


@pytest.mark.parametrize(("share", "expected"), [(1, [8, 1]), (0.5, [4, 4, 1]), (0.01, [1] * 9)])
def test_fewer_windows_go_at_once_where_they_are_long(monkeypatch, share, expected):
    model, sizes = new_model(), []

    def watched(detector, windows, *others):
        sizes.append(len(windows))
        return predict(detector, windows, *others)

    size = int(40 * model.detector.crnn.frame_memory * share)
    monkeypatch.setattr("sedtool.scoring.WINDOW_MEMORY", size)
    monkeypatch.setattr("sedtool.scoring.predict", watched)
    list(score_clips(model, [recording("x", features(200))], WindowConfig(1.0, 0.5), CPU))
    assert sizes == expected


def test_recordings_beside_a_recording_change_no_bit_of_its_scores():
    model = new_model()
    clips = [features(n, seed=n) for n in (400, 37, 900, 1, 400)]
    named = [recording(str(i), clip) for i, clip in enumerate(clips)]
    together = list(score_clips(model, named, WindowConfig(10.0), CPU))
    assert [scores.name for scores in together] == ["0", "1", "2", "3", "4"]
    for clip, scores in zip(clips, together, strict=True):
        (alone,) = score_clips(model, [recording("x", clip)], WindowConfig(10.0), CPU)
        assert np.array_equal(scores.frame, alone.frame)
        assert np.array_equal(scores.window, alone.window)


CPU_RUN = InferConfig(device="cpu")


def run(model, inputs, config=CPU_RUN, **outputs):
    stream = io.StringIO()
    result = infer(model, inputs, config, InferOutputs(**outputs), emit=stream.write)
    return stream.getvalue(), result


def test_audio_features_and_scores_give_the_same_events(model_path, tiny, tmp_path):
    from_features, result = run(model_path, [tiny.features], scores=tmp_path / "s.h5")
    from_scores, _ = run(model_path, [tmp_path / "s.h5"])
    assert result.n_clips == 24
    assert result.n_events > 5
    assert from_scores == from_features
    from_audio, _ = run(model_path, [tiny.audio])
    a = [line.split("\t") for line in from_audio.splitlines()]
    b = [line.split("\t") for line in from_features.splitlines()]
    # float16 storage may move a score across a threshold, rarely
    assert len({tuple(row) for row in a} ^ {tuple(row) for row in b}) <= 0.1 * len(b)


def test_every_output_is_written_and_no_event_leaves_its_recording(model_path, tiny, tmp_path):
    _, result = run(
        model_path,
        [tiny.features],
        events=tmp_path / "e.tsv",
        scores=tmp_path / "s.h5",
        weak=tmp_path / "w.tsv",
        confidence=True,
    )
    events = read_events(tmp_path / "e.tsv").events
    assert len(events) == result.n_events
    assert all(0 <= e.onset < e.offset <= 1.0 and 0 <= e.confidence <= 1 for e in events)
    scores = open_scores(tmp_path / "s.h5")
    assert scores.model_sha256 == load_model(model_path).weights_sha256
    tags = read_weak(tmp_path / "w.tsv")
    assert list(tags) == scores.names
    expected = [
        tuple(c for c, p in zip(scores.classes, row, strict=True) if p > 0.3) for row in scores.clip
    ]
    assert list(tags.values()) == expected


def test_an_hour_is_scored_in_windows_of_the_model(model_path, tmp_path):
    write_wav(
        tmp_path / "long.wav", 0.1 * np.random.default_rng(0).standard_normal(35 * 16000), 16000
    )
    run(model_path, [tmp_path / "long.wav"], scores=tmp_path / "s.h5")
    scores = open_scores(tmp_path / "s.h5")
    assert scores.frames.tolist() == [350]
    assert scores.window_start.tolist() == [0, 50, 100, 150, 200, 250]
    assert scores.duration.tolist() == [35.0]


def test_settings_replace_those_of_the_model(model_path, tmp_path):
    model = load_model(model_path)
    (tmp_path / "t.tsv").write_text("event_label\tthreshold\ntone\t0.9\n")
    settings = InferConfig(str(tmp_path / "t.tsv"), "0.7", "0.5", 0.2, 0.1)
    decoding = decoding_of(model.classes, model.decoding, settings)
    assert decoding.thresholds == (0.45, 0.9)
    assert decoding.clip_thresholds == (0.7, 0.7)
    assert decoding.windows == (0.5, 0.5)
    assert (decoding.min_duration, decoding.merge_gap, decoding.gate) == (0.2, 0.1, True)
    off = decoding_of(model.classes, model.decoding, InferConfig("0.5", "off", "off"))
    assert (off.thresholds, off.gate, off.windows) == ((0.5, 0.5), False, (0.0, 0.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": "often"}, "--threshold 'often' is not a number, nor"),
        ({"threshold": "1.5"}, r"thresholds must be in \[0, 1\]"),
        ({"median": "-1"}, "must last 0 s or more, not -1"),
        ({"window": 0.0}, r"window must be in \(0, 1e6\]"),
        ({"overlap": 1.0}, r"overlap must be in \[0, 1\)"),
        ({"amp": "fp8"}, "amp must be one of off, bf16, fp16"),
    ],
)
def test_wrong_settings_are_refused(model_path, tiny, settings, message):
    with pytest.raises(ConfigError, match=message):
        run(model_path, [tiny.features], InferConfig(**settings))


def test_thresholds_for_unknown_classes_are_refused(model_path, tmp_path):
    model = load_model(model_path)
    (tmp_path / "t.tsv").write_text("zebra\t0.9\n")
    with pytest.raises(LabelError, match=r"t\.tsv:1: unknown label 'zebra'"):
        decoding_of(model.classes, model.decoding, InferConfig(str(tmp_path / "t.tsv")))


def test_scores_of_another_model_are_refused(model_path, tiny, tmp_path):
    run(model_path, [tiny.features], scores=tmp_path / "s.h5")
    other = load_model(model_path)
    other.detector.mean += 1.0
    save_model(model_path, other)
    with pytest.raises(ArtifactError, match="made by a model with other weights"):
        run(model_path, [tmp_path / "s.h5"])


def test_features_of_another_kind_are_refused_with_both_values(tiny, tmp_path):
    model = new_model()
    model.features = model.features.with_overrides(hop_length=320)
    save_model(tmp_path / "m", model)
    with pytest.raises(ArtifactError, match="hop_length 400 against 320"):
        run(tmp_path / "m", [tiny.features])


def test_a_bad_recording_is_named_and_the_others_are_complete(model_path, tiny, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    good = sorted(tiny.audio.rglob("*.wav"))[:2]
    _, result = run(model_path, [*good, tmp_path / "bad.wav"], events=tmp_path / "e.tsv")
    assert result.n_clips == 2
    assert [stage for _, stage, _ in result.failures] == ["infer"]
    lines = (tmp_path / "e.tsv.failures.tsv").read_text().splitlines()
    assert lines[0] == "filename\tstage\terror"
    assert "bad.wav\tinfer\t" in lines[1]
    with pytest.raises(NothingUsableError, match="none of 1 clips could be used"):
        run(model_path, [tmp_path / "bad.wav"])


def test_a_finished_output_is_not_replaced_unasked(model_path, tiny, tmp_path):
    (tmp_path / "e.tsv").write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        run(model_path, [tiny.features], events=tmp_path / "e.tsv")
    assert (tmp_path / "e.tsv").read_text() == "mine"


def test_a_model_that_was_not_tuned_says_what_it_uses(model_path, tiny, caplog):
    run(model_path, [tiny.features])
    assert not caplog.text
    untuned = load_model(model_path)
    untuned.tuned, untuned.decoding = {}, DecodingConfig((0.5, 0.5), (0.5, 0.5), (0.1, 0.3))
    save_model(model_path, untuned)
    run(model_path, [tiny.features])
    assert "is not tuned: thresholds are 0.5 and median filters 0.1 to 0.3 s long" in caplog.text


def test_two_outputs_in_one_file_are_refused(model_path, tiny, tmp_path):
    with pytest.raises(ConfigError, match="need a file each"):
        run(model_path, [tiny.features], events=tmp_path / "e", scores=tmp_path / "e")


def test_devices_that_are_not_there_are_named():
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        pick_device("gpu")


def test_a_name_that_would_act_on_a_terminal_is_refused_by_name(model_path, tiny, tmp_path):
    good = next(tiny.audio.rglob("tone_*.wav")).read_bytes()
    for name in ("good.wav", "bad\x1b[31m\n.wav"):
        (tmp_path / name).write_bytes(good)
    text, result = run(model_path, [tmp_path / "good.wav", tmp_path / "bad\x1b[31m\n.wav"])
    assert "\x1b" not in text
    ((name, _, error),) = result.failures
    assert name == "bad\\x1b[31m\\n.wav"
    assert "control character" in error
