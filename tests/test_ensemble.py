"""merge --average of models: one whose scores are the means of theirs."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from sedtool.checkpoint import Model, load_model, save_model, source_tags
from sedtool.config import FEATURE_PRESETS, DecodingConfig, PoolingConfig
from sedtool.crnn import Detector, Ensemble
from sedtool.scoring import predict
from sedtool.store import clip_scores, open_features, open_scores
from support.command_lines import refused, run
from support.training import NANO

CLASSES = ("noise", "tone")


def model_of(seed, architecture=NANO, pooling="power", **changes):
    """Return a model of random weights, whose thresholds are its own."""
    spec = PoolingConfig.parse(pooling)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        detector = Detector(architecture, spec, 64, len(CLASSES))
    detector.mean.fill_(-5.0)
    decoding = DecodingConfig((0.1 * seed, 0.6), (0.2, 0.1 * seed), (0.2 * seed, 1.0))
    parts = (detector.eval(), CLASSES, FEATURE_PRESETS["dcase2017"], architecture, spec, 1.0)
    tags = source_tags(["01" * 32, f"{seed:02}" * 32])
    model = Model(*parts, decoding, {"config": {"seed": seed}, "epoch": 9}, {"a": 1}, tags)
    return dataclasses.replace(model, **changes)


@pytest.fixture
def folders(tmp_path):
    """Return folders of runs: of two networks, and two poolings."""
    models = (
        model_of(1),
        model_of(2, dataclasses.replace(NANO, channels=(6,)), "linear"),
        model_of(3, pooling="attention"),
    )
    for seed, model in enumerate(models, 1):
        (tmp_path / f"seed-{seed}").mkdir()
        save_model(tmp_path / f"seed-{seed}" / "model.safetensors", model)
    return [tmp_path / f"seed-{seed}" for seed in (1, 2, 3)]


def test_an_ensemble_scores_the_means_of_the_scores_that_its_models_give(folders, tiny, tmp_path):
    audio, ensemble = tiny.audio / "val", tmp_path / "ensemble.safetensors"
    said = run("merge", "--average", *folders, "-o", ensemble).stderr
    assert "an ensemble of 3 networks" in said and "sedtool tune" in said
    scores = [folder / "scores.h5" for folder in (*folders, tmp_path)]
    for model, path in zip((*folders, ensemble), scores, strict=True):
        run("infer", model, audio, "--scores", path, "-o", path.with_suffix(".tsv"))
    run("merge", "--average", *scores[:3], "-o", tmp_path / "mean.h5")
    means, got = (clip_scores(open_scores(path)) for path in (tmp_path / "mean.h5", scores[3]))
    for expected, clip in zip(means, got, strict=True):
        np.testing.assert_allclose(clip.frame, expected.frame, atol=1e-6)
        np.testing.assert_allclose(clip.window, expected.window, atol=1e-6)


def test_small_probabilities_keep_their_digits(folders):
    detectors = [load_model(folder / "model.safetensors").detector for folder in folders]
    for detector, bias in zip(detectors, (-60.0, -60.0, -50.0), strict=True):
        torch.nn.init.zeros_(detector.crnn.classify.weight)
        torch.nn.init.constant_(detector.crnn.classify.bias, bias)
    output = Ensemble(detectors)(torch.zeros(1, 8, 64), torch.tensor([8]))
    mean = np.mean(np.exp([-60.0, -60.0, -50.0]))
    assert output.logits.exp().detach().numpy() == pytest.approx(mean)
    assert output.log_y.exp().detach().numpy() == pytest.approx(mean)


def test_clips_of_unequal_lengths_score_as_each_by_itself(folders, tmp_path):
    run("merge", "--average", *folders, "-o", tmp_path / "e.safetensors")
    network = load_model(tmp_path / "e.safetensors").network
    rng = np.random.default_rng(0)
    windows = [rng.standard_normal((n, 64)).astype(np.float32) for n in (40, 23)]
    together = predict(network, windows, torch.device("cpu"))
    for window, beside in zip(windows, together, strict=True):
        (alone,) = predict(network, [window], torch.device("cpu"))
        np.testing.assert_allclose(beside.frame, alone.frame, atol=1e-6)
        np.testing.assert_allclose(beside.log_y, alone.log_y, atol=1e-6)


def test_the_order_of_models_changes_no_byte(folders, tmp_path):
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    run("merge", "--average", *folders, "-o", first)
    run("merge", "--average", *reversed(folders), "-o", second)
    assert first.read_bytes() == second.read_bytes()
    assert "nothing to do" in run("merge", "--average", tmp_path, "-o", first).stderr
    assert "nothing to do" in run("merge", "--average", tmp_path / "seed-?", "-o", first).stderr
    assert "is an ensemble; name the models" in refused(
        "merge", "--average", first, folders[2], "-o", tmp_path / "three.safetensors"
    )


def test_settings_are_means_until_it_is_tuned_and_clips_of_any_member_are_not_tuned_on(
    folders, tiny, tmp_path
):
    ensemble = tmp_path / "ensemble.safetensors"
    run("merge", "--average", *folders, "-o", ensemble)
    model = load_model(ensemble)
    assert model.decoding.thresholds == pytest.approx((0.2, 0.6))
    assert model.decoding.clip_thresholds == pytest.approx((0.2, 0.2))
    assert model.decoding.windows == pytest.approx((0.4, 1.0))
    assert {bytes(tag)[0] for tag in model.trained_on} == {1, 2, 3}
    assert "is not tuned" in run("infer", ensemble, tiny.audio / "val", "--root", tiny.audio).stderr
    run("tune", ensemble, "--features", tiny.features, "--reference", tiny.strong)
    tuned = load_model(ensemble)
    assert tuned.tuned["clips"] == 8 and tuned.weights_sha256 == model.weights_sha256
    assert "exists; give --overwrite" in refused("merge", "--average", *folders, "-o", ensemble)
    features = open_features(tiny.features)
    digest = features.source_sha256[features.names.index("val/tone_16.wav")]
    save_model(ensemble, dataclasses.replace(tuned, trained_on=source_tags([digest])))
    line = ("tune", ensemble, "--features", tiny.features, "--reference", tiny.strong)
    assert "was trained on 1 of 8 clips" in refused(*line)


def test_what_an_ensemble_is_is_told(folders, tmp_path):
    ensemble = tmp_path / "ensemble.safetensors"
    run("merge", "--average", *folders, "-o", ensemble)
    told = json.loads(run("info", ensemble, "--json").stdout)
    assert told["networks"] == 3
    assert {*told["pooling"].split()} == {"power", "linear", "attention"}
    assert {member["seed"] for member in told["trained"]["members"]} == {1, 2, 3}
    assert "networks:       3" in run("info", ensemble).stdout
    said = refused("plot", "pooling", ensemble, "-o", tmp_path / "a.png")
    assert f"{ensemble} is an ensemble; give one of the models" in said


def test_models_that_do_not_fit_are_refused_with_what_differs(folders, tmp_path):
    def with_another(model):
        save_model(tmp_path / "other.safetensors", model)
        line = ("merge", "--average", folders[0], tmp_path / "other.safetensors", "-o")
        return refused(*line, tmp_path / "e.safetensors", exit_code=5)

    mels = dataclasses.replace(FEATURE_PRESETS["dcase2017"], fmin=50.0)
    finer = dataclasses.replace(NANO, pools=((2, 8),))
    assert "the order of classes differs" in with_another(model_of(5, classes=CLASSES[::-1]))
    assert "other classes: 'dog', 'noise'" in with_another(model_of(5, classes=("dog", "tone")))
    assert "features of other settings" in with_another(model_of(5, features=mels))
    assert "20 and 10 output frames a second" in with_another(model_of(5, finer))
    ungated = dataclasses.replace(model_of(5).decoding, gate=False)
    assert "gate of decoding is False and True" in with_another(model_of(5, decoding=ungated))
    assert not (tmp_path / "e.safetensors").exists()


def test_one_model_or_one_twice_is_no_ensemble(folders, tmp_path):
    line = ("merge", "--average", "-o", tmp_path / "e.safetensors")
    assert "needs two models or more, not 1" in refused(*line, folders[0], folders[0])
    (tmp_path / "copy.safetensors").write_bytes((folders[0] / "model.safetensors").read_bytes())
    assert "nothing matches the pattern" in refused(*line, folders[0], "no-*", exit_code=4)
    one = ("merge", *folders, "-o", tmp_path / "e.safetensors")
    assert "models are joined by --average" in refused(*one)
    assert "are the same model" in refused(*line, folders[0], tmp_path / "copy.safetensors")
    here = folders[0] / "model.safetensors"
    assert "is an input" in refused("merge", "--average", *folders, "-o", here, "--overwrite")
    (tmp_path / "empty").mkdir()
    assert "holds no model.safetensors" in refused(*line, tmp_path / "empty", folders[0])


def test_more_than_a_model_file_holds_is_refused(folders, tmp_path, monkeypatch):
    line = ("merge", "--average", *folders, "-o", tmp_path / "e.safetensors")
    monkeypatch.setattr("sedtool.ensemble.MOST_MEMBERS", 2)
    assert "a model file holds 2 networks and 448 MiB of weights" in refused(*line)
    monkeypatch.setattr("sedtool.ensemble.MOST_MEMBERS", 9)
    weights = load_model(folders[0] / "model.safetensors").detector.state_dict().values()
    size = sum(tensor.nbytes for tensor in weights)
    monkeypatch.setattr("sedtool.ensemble.MOST_WEIGHTS", size)
    assert f"{folders[1] / 'model.safetensors'} is too much" in refused(*line)


def test_a_class_with_boxes_counts_with_the_filter_of_an_untuned_model(tmp_path):
    box = (0.32, 0.2, 2.0)
    decodings = [
        DecodingConfig((0.2, 0.2), (0.5, 0.5), (0.0, 1.0), min_duration=0.1, boxes=(box, ())),
        DecodingConfig((0.4, 0.8), (0.5, 0.5), (0.7, 2.0), min_duration=0.1),
    ]
    for seed, decoding in enumerate(decodings, 1):
        save_model(tmp_path / f"{seed}.safetensors", model_of(seed, decoding=decoding))
    run("merge", "--average", tmp_path / "?.safetensors", "-o", tmp_path / "mean.safetensors")
    joined = load_model(tmp_path / "mean.safetensors").decoding
    assert joined.windows == pytest.approx(((DecodingConfig.window + 0.7) / 2, 1.5))
    assert joined.thresholds == pytest.approx((0.3, 0.5))
    assert (joined.boxes, joined.min_duration) == ((), 0.1)
