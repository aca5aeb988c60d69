"""Figures: what they compute against closed forms and scipy, what they refuse, what they show."""

import dataclasses
import io
import math
import os
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import scipy.stats
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from sedtool.checkpoint import save_model
from sedtool.config import POOLING_NAMES, DecodingConfig, FeatureConfig, PoolingConfig
from sedtool.config.evaluation import CorrelationConfig
from sedtool.config.network import GRADIENT_EXAMPLES
from sedtool.errors import ArtifactError, ConfigError, LabelError, OutputExistsError
from sedtool.labels import Event
from sedtool.plots import canvas, plot_curves, plot_durations, plot_frames, plot_gradients
from sedtool.plots.canvas import NamedPoint, check_output, place_names, save, shown
from sedtool.plots.clip import draw_clip
from sedtool.plots.curves import History, draw_curves, read_history
from sedtool.plots.gradients import (
    EXAMPLE,
    FrameCurve,
    clip_gradient,
    draw_gradients,
    example_pooling,
    frame_curve,
    sign_change,
)
from sedtool.plots.learned import (
    ClassExponents,
    draw_durations,
    draw_pooling,
    learned_by_class,
    rank_correlation,
)
from support import command_lines
from support.models import new_model
from support.score_files import scored_whole

STRONG = "filename\tonset\toffset\tevent_label\n"
SMALL = FeatureConfig(sample_rate=8_000, hop_length=800, n_mels=8, fmax=4e3)
LONG_NAMES = (
    *("Train horn", "Air horn, truck horn", "Car alarm", "Reversing beeps", "Ambulance (siren)"),
    *("Police car (siren)", "Fire engine, fire truck (siren)", "Civil defense siren", "Screaming"),
    *("Bicycle", "Skateboard", "Car", "Car passing by", "_Bus", "犬の鳴き声", "$5^$", "Train"),
)
Y = np.concatenate([np.linspace(0.02, 0.97, 30), np.full(10, 0.1)])


def write(path, text):
    path.write_text(text)
    return path


# The gradient of each frame, and where it changes its sign


def weighted_gradient(y, log_w, slope):
    """Return y_c and dy_c/dy_i of weights w(y), by the quotient rule, in numpy."""
    w = np.exp(log_w - log_w.max())
    y_c = (w * y).sum() / w.sum()
    return y_c, w * (1 + slope * (y - y_c)) / w.sum()


@pytest.mark.parametrize("n", [0.0, 0.337, 1.0, 3.0])
def test_the_gradient_of_power_pooling_is_equation_5(n):
    n = float(np.float32(n))  # as models hold it
    y_c, gradient = clip_gradient(example_pooling(PoolingConfig("power", {"init": n})), Y)
    assert y_c == pytest.approx((Y ** (n + 1)).sum() / (Y**n).sum(), rel=1e-12)
    expected = ((n + 1) * Y**n - n * Y ** (n - 1) * y_c) / (Y**n).sum()
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-14)


def test_the_gradient_of_linear_pooling_is_equation_3():
    y_c, gradient = clip_gradient(example_pooling(PoolingConfig("linear")), Y)
    np.testing.assert_allclose(gradient, (2 * Y - y_c) / Y.sum(), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(
    ("text", "log_w", "slope"),
    [
        ("average", 0 * Y, 0),
        ("exponential", Y, 1),
        ("auto:init=4", 4 * Y, 4),
        ("cap:init=4", 4 * Y, 4),
        ("rap:init=4", 4 * Y, 4),
        # Attention and its softmax over classes hold their weights; see `example_pooling`.
        ("attention", np.log(Y / (1 - Y)), 0),
        ("attention-classes", -np.log1p(((1 - Y) / Y) ** 2), 0),
    ],
)
def test_the_gradient_of_each_weighted_mean_is_that_of_its_weights(text, log_w, slope):
    y_c, gradient = clip_gradient(example_pooling(PoolingConfig.parse(text)), Y)
    expected_y_c, expected = weighted_gradient(Y, log_w, slope)
    # Probabilities of class-softmax attention may be floored by a tiny constant.
    assert y_c == pytest.approx(expected_y_c, rel=1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-9)


def test_only_the_highest_frame_moves_max_pooling():
    y_c, gradient = clip_gradient(example_pooling(PoolingConfig("max")), Y)
    assert y_c == pytest.approx(0.97)
    assert np.flatnonzero(gradient).tolist() == [29]
    assert gradient[29] == pytest.approx(1.0)


def test_scores_of_exactly_0_and_1_have_finite_gradients():
    for name in POOLING_NAMES:
        _, gradient = clip_gradient(example_pooling(PoolingConfig(name)), np.array([0.0, 1.0, 0.5]))
        assert np.isfinite(gradient).all(), name


@pytest.mark.parametrize("text", ["linear", "power:init=0.337", "power:init=3", "auto:init=4"])
def test_the_gradient_changes_its_sign_at_the_threshold(text):
    pooling = example_pooling(PoolingConfig.parse(text))
    y_c, _ = clip_gradient(pooling, Y)
    d = sign_change(pooling, 0, y_c)
    gradient = clip_gradient(pooling, Y)[1]
    assert (np.sign(gradient) == np.sign(Y - d)).all()
    theta = {"linear": 1 / 2, "power:init=0.337": 0.337 / 1.337, "power:init=3": 3 / 4}
    if text in theta:
        assert d == pytest.approx(theta[text] * y_c)


@pytest.mark.parametrize(
    "text", ["average", "max", "exponential", "attention", "attention-classes", "auto:init=0"]
)
def test_a_pooling_whose_gradient_has_one_sign_has_no_threshold(text):
    pooling = example_pooling(PoolingConfig.parse(text))
    y_c, gradient = clip_gradient(pooling, Y)
    assert (gradient >= 0).all()
    assert sign_change(pooling, 0, y_c) is None


def test_there_is_a_panel_for_every_pooling_and_one_scale_for_all(tmp_path):
    names = [text for name in POOLING_NAMES for text in GRADIENT_EXAMPLES.get(name, (name,))]
    figure = draw_gradients(EXAMPLE, [PoolingConfig.parse(text) for text in names])
    titles = [axes.get_title(loc="left").split("\n")[0] for axes in figure.axes]
    assert titles == ["the clip", *(str(PoolingConfig.parse(text)) for text in names)]
    assert len({axes.get_ylim() for axes in figure.axes[1:]}) == 1
    assert {axes.get_yscale() for axes in figure.axes[1:]} == {"symlog"}
    save(figure, tmp_path / "g.png")


def test_a_figure_that_another_run_has_drawn_meanwhile_stays(tmp_path):
    path = tmp_path / "g.svg"
    check_output(path, False)
    path.write_text("drawn meanwhile")
    with pytest.raises(OutputExistsError):
        save(Figure(), path)
    assert path.read_text() == "drawn meanwhile"
    save(Figure(), path, overwrite=True)
    assert path.read_text().startswith("<?xml")


def test_the_drawing_of_examples_leaves_the_global_draws_alone():
    import torch

    before = torch.get_rng_state()
    example_pooling(PoolingConfig("attention"))
    assert torch.equal(torch.get_rng_state(), before)


def test_scores_clip_and_class_belong_together(tiny, tmp_path):
    with pytest.raises(ConfigError, match="belong together"):
        plot_gradients(tmp_path / "g.png", clip="a.wav", label="tone")
    with pytest.raises(ConfigError, match="--reference needs them"):
        plot_gradients(tmp_path / "g.png", reference=tiny.strong)
    with pytest.raises(ConfigError, match=r"unknown pooling 'linaer'.*did you mean 'linear'"):
        plot_gradients(tmp_path / "g.png", poolings=["linaer"])


# Frames of one class


def saved(path, pooling="power:init=2", epoch=3, window=10.0):
    model = new_model(pooling)
    model.classes = ("noise", "tone")
    model.trained, model.window = {"epoch": epoch}, window
    save_model(path, model)
    return path


def curve(frame, sign):
    frame = np.array(frame, float)
    return FrameCurve("power", 40, 3.0, frame, 10.0, 0.8, np.array(sign), 0.6)


def test_a_frame_is_pushed_right_if_up_inside_the_event_and_down_outside():
    right = curve([0, 0.9, 0.9, 0, 0], [-1, 1, -1, 1, 0]).right([(0.1, 0.3)])
    assert right.tolist() == [True, True, False, False, False]


def test_a_frame_is_inside_an_event_if_its_middle_is():
    inside = curve([0] * 5, [1] * 5).right([(0.05, 0.15), (0.36, 0.45)])
    assert inside.tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("pooling", ["linear", "power:init=0.337", "power:init=2", "auto:init=20"])
def test_the_sign_of_each_frame_is_that_of_the_threshold(pooling):
    model = new_model(pooling)
    features = np.random.default_rng(0).normal(-5, 2, (120, 64)).astype(np.float32)
    for label in model.classes:
        found = frame_curve(model, features, label)
        assert found.frame.shape == (30,)
        if found.threshold is not None:
            expected = np.sign(found.frame - found.threshold)
            assert (found.sign == expected).all()
        else:
            assert (found.sign == 1).all()


def test_the_clip_probability_is_the_networks(tmp_path):
    import torch

    model = new_model("power:init=2")
    features = np.random.default_rng(0).normal(-5, 2, (120, 64)).astype(np.float32)
    with torch.no_grad():
        output = model.detector(torch.from_numpy(features)[None], torch.tensor([120]))
    for k, label in enumerate(model.classes):
        found = frame_curve(model, features, label)
        assert found.y_c == pytest.approx(float(output.log_y[0, k].exp()), rel=1e-5)
        assert found.n == 2
        np.testing.assert_allclose(found.frame, output.logits[0, :, k].sigmoid(), rtol=1e-6)


def test_frames_say_the_thresholds_of_both_models(tiny, tmp_path):
    linear, power = saved(tmp_path / "l.safetensors", "linear"), saved(tmp_path / "p.safetensors")
    lines = plot_frames(
        *(tiny.features, "tone_16.wav", "tone", [linear, power], tmp_path / "f.png"),
        reference=tiny.strong,
    )
    assert [line.split(":")[0] for line in lines] == [str(linear), str(power)]
    assert "linear, epoch 3: y_c = " in lines[0]
    assert "(0.500 y_c), " in lines[0]
    assert "n = 2.000, d = " in lines[1]
    assert "(0.667 y_c), " in lines[1]
    assert all("% of gradients of the right sign" in line for line in lines)
    (without,) = plot_frames(
        tiny.features, "tone_16.wav", "tone", [power], tmp_path / "without.png"
    )
    assert "right sign" not in without


def test_what_does_not_fit_a_figure_of_frames_is_refused(tiny, tmp_path):
    model, output = saved(tmp_path / "p.safetensors"), tmp_path / "f.png"
    with pytest.raises(LabelError, match=r"p\.safetensors: unknown label 'tune'.*'tone'"):
        plot_frames(tiny.features, "tone_16.wav", "tune", [model], output)
    with pytest.raises(LabelError, match=r"has no clip 'tone_99\.wav'"):
        plot_frames(tiny.features, "tone_99.wav", "tone", [model], output)
    short = saved(tmp_path / "s.safetensors", window=0.5)
    with pytest.raises(ConfigError, match=r"1 s long, and .* pools over windows of 0\.5 s"):
        plot_frames(tiny.features, "tone_16.wav", "tone", [short], output)
    other = new_model()
    other.classes, other.features = ("a", "tone"), dataclasses.replace(other.features, fmax=7000.0)
    save_model(tmp_path / "o.safetensors", other)
    with pytest.raises(ArtifactError, match=r"fmax 8000\.0 against 7000\.0"):
        plot_frames(tiny.features, "tone_16.wav", "tone", [tmp_path / "o.safetensors"], output)
    with pytest.raises(ConfigError, match="is an input"):
        plot_frames(
            *(tiny.features, "tone_16.wav", "tone", [saved(tmp_path / "m.png")]),
            tmp_path / "m.png",
            overwrite=True,
        )
    output.touch()
    with pytest.raises(OutputExistsError):
        plot_frames(tiny.features, "tone_16.wav", "tone", [model], output)


# Exponents against durations


def test_the_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    for _ in range(20):
        durations = rng.integers(1, 6, 12).astype(float)  # with ties
        values = rng.integers(0, 5, (3, 12)).astype(float)
        expected = scipy.stats.spearmanr(durations, values.mean(axis=0)).statistic
        found = rank_correlation(durations, values, CorrelationConfig(resamples=100))
        assert found.rho == pytest.approx(expected, abs=1e-12)
        assert found.low <= found.high


def test_the_interval_is_that_of_resampled_classes():
    # An independent bootstrap over classes with other draws agrees within its own noise.
    rng = np.random.default_rng(1)
    durations, values = np.arange(15.0), -np.arange(15.0) + rng.normal(0, 5, 15)
    found = rank_correlation(durations, values[None], CorrelationConfig(resamples=4000))
    drawn = []
    for _ in range(2000):
        chosen = rng.integers(15, size=15)
        drawn.append(scipy.stats.spearmanr(durations[chosen], values[chosen]).statistic)
    assert found.low == pytest.approx(np.quantile(drawn, 0.025), abs=0.03)
    assert found.high == pytest.approx(np.quantile(drawn, 0.975), abs=0.03)


def test_trainings_that_disagree_widen_the_interval():
    durations = np.arange(12.0)
    slopes = np.array([[-1.0], [-1.0], [1.2]])
    together = rank_correlation(durations, -np.ones((3, 1)) * durations, CorrelationConfig())
    apart = rank_correlation(durations, slopes * durations, CorrelationConfig())
    assert (together.low, together.high) == (-1, -1)
    assert apart.low == -1
    assert apart.high == pytest.approx(1)


def test_the_interval_repeats_for_a_seed_and_not_for_another():
    rng = np.random.default_rng(2)
    durations, values = rng.random(10), rng.random((1, 10))
    found = [rank_correlation(durations, values, CorrelationConfig(seed=s)) for s in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_equal_exponents_have_no_rank_correlation():
    found = rank_correlation(np.arange(4.0), np.ones((2, 4)), CorrelationConfig())
    assert math.isnan(found.rho)
    assert str(found) == "ρ not defined"


@pytest.mark.parametrize("wrong", [{"resamples": 10}, {"level": 1.0}, {"level": 0}, {"seed": -1}])
def test_settings_of_the_interval_are_checked(wrong):
    with pytest.raises(ConfigError):
        CorrelationConfig(**wrong)


def test_classes_are_parted_at_the_median_or_where_it_is_said():
    durations = np.array([1.0, 2.0, 4.0, 8.0])
    entry = ClassExponents("x", "n", tuple("abcd"), durations, np.ones((1, 4)), 3.0)
    short, long = [True, True, False, False], [False, False, True, True]
    assert {word: chosen.tolist() for word, chosen in entry.groups().items()} == {
        "shorter": short,
        "longer": long,
    }


def test_durations_are_drawn_of_models_runs_and_folders_of_runs(tmp_path):
    for seed in (0, 1):
        (tmp_path / f"power/seed-{seed}").mkdir(parents=True)
        saved(tmp_path / f"power/seed-{seed}/model.safetensors", f"power:init={1 + seed}")
    labels = write(tmp_path / "s.tsv", f"{STRONG}a.wav\t0\t9\tnoise\na.wav\t0\t1\ttone\n")
    seeds = f"two={tmp_path}/power:{labels}"
    run = f"one={tmp_path}/power/seed-0:{labels}"
    model = f"one={tmp_path}/power/seed-1/model.safetensors:{labels}"
    lines = plot_durations([seeds, run, model], tmp_path / "d.png", boundaries=["two=0.5"])
    assert lines[0].startswith("two (2 trainings): ρ not defined; longer classes 1 to 9 s, mean n")
    assert lines[0].endswith("1.500")
    assert "one (2 trainings)" in lines[1]
    assert "shorter classes 1 to 1 s, mean n 1.500" in lines[1]
    assert lines[2] == "all classes: ρ not defined"


def test_what_does_not_fit_a_figure_of_durations_is_refused(tmp_path):
    model = saved(tmp_path / "m.safetensors")
    labels = write(tmp_path / "s.tsv", f"{STRONG}a.wav\t0\t9\tnoise\na.wav\t0\t1\ttone\n")
    lacking = write(tmp_path / "l.tsv", f"{STRONG}a.wav\t0\t9\tnoise\na.wav\t1\t1\ttone\n")
    linear = saved(tmp_path / "linear.safetensors", "linear")
    auto = saved(tmp_path / "auto.safetensors", "auto")
    fits, output = f"a={model}:{labels}", tmp_path / "d.png"
    for data, boundaries, what in (
        ([f"{model}:{labels}"], [], "expected NAME=MODELS:STRONG"),
        ([f"a={model}"], [], "expected NAME=MODELS:STRONG"),
        ([f"a={tmp_path}:{labels}"], [], r"holds no model\.safetensors"),
        ([fits, f"a={model}:{lacking}"], [], "is given with both"),
        ([fits], ["b=1"], "no data set 'b'; one of: a"),
        ([fits], ["a=-1"], "expected NAME=SECONDS"),
        ([fits], ["1.5"], "expected NAME=SECONDS"),
        ([f"a={linear}:{labels}"], [], "linear pooling learns nothing"),
        ([fits, f"a={auto}:{labels}"], [], "learned another quantity"),
        ([fits, f"b={auto}:{labels}"], [], "alpha and n are no one quantity"),
    ):
        with pytest.raises(ConfigError, match=what):
            plot_durations(data, output, boundaries=boundaries)
    with pytest.raises(LabelError, match=r"l\.tsv: no event tells how long tone lasts"):
        plot_durations([f"a={model}:{lacking}"], output)
    assert not output.exists()


def test_names_stand_apart_from_points_and_from_each_other():
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    rng = np.random.default_rng(0)
    at = 0.1 + 0.8 * rng.random((17, 2))
    named = [NamedPoint(x, y, (y, y), n, "k") for (x, y), n in zip(at, LONG_NAMES, strict=True)]
    place_names(figure, axes, [p._replace(name=shown(p.name).replace("$", "")) for p in named])
    renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else None
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert not any(box.contains(*axes.transData.transform(point)) for point in at)
        assert axes.get_window_extent().containsx(box.x0)
        assert axes.get_window_extent().containsx(box.x1)


# Curves


def test_metrics_are_read_by_column_and_class(tmp_path):
    header, first = "epoch\tloss\tn[a]\tn[b [c], d]\ttheta[a]", "1\t0.5\t1.5\t2\t0.6"
    (tmp_path / "metrics.tsv").write_text(f"{header}\n{first}\n2\t\t1.6\t2.5\t0.61\n")
    for run in (tmp_path, tmp_path / "metrics.tsv"):
        history = read_history(run, "run")
        assert history.epochs.tolist() == [1, 2]
        assert history.columns["loss"][0] == 0.5
        assert math.isnan(history.columns["loss"][1])
        assert history.learned["n"]["b [c], d"].tolist() == [2, 2.5]
        assert history.learned["theta"]["a"].tolist() == [0.6, 0.61]
        assert history.selected is None
    saved(tmp_path / "model.safetensors", epoch=2)
    assert read_history(tmp_path, "run").selected == 2


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", ":1: no training metrics"),
        ("a\tb\n1\t2\n", ":1: no training metrics"),
        ("epoch\tloss\n", "no epoch is finished yet"),
        ("epoch\tloss\n1\n", ":2: 1 columns where 2 are expected"),
        ("epoch\tloss\n1\t0\n2\tx\n", ":3: could not convert string to float: 'x'"),
        ("epoch\tloss\n1\t0\n1\t0\n", ":3: epoch 1 after epoch 1"),
        ("epoch\tloss\nnan\t0\n", ":2: epoch nan after epoch 0"),
        ("epoch\tepoch\n1\t1\n", ":1: a column is named twice"),
    ],
)
def test_metrics_that_cannot_be_drawn_are_refused_with_their_line(tmp_path, content, what):
    path = write(tmp_path / "metrics.tsv", content)
    with pytest.raises(ArtifactError) as error:
        plot_curves([tmp_path], tmp_path / "c.png")
    assert f"{path}" in str(error.value)
    assert what in str(error.value)


def test_a_run_that_has_not_begun_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"is not there: is .* a run that has begun"):
        plot_curves([tmp_path], tmp_path / "c.png")
    (tmp_path / "metrics.tsv").write_bytes(b"epoch\xff\n")
    with pytest.raises(ArtifactError, match="cannot be read"):
        plot_curves([tmp_path], tmp_path / "c.png")


def history(name, n_epochs=50, classes=LONG_NAMES, **columns):
    epochs = np.arange(1.0, n_epochs + 1)
    base = {"epoch": epochs, "train_loss": 1 / epochs, "loss": 2 / epochs, "clip_f1": epochs / 99}
    learned = {p: {c: epochs / (k + 9) for k, c in enumerate(classes)} for p in ("n", "theta")}
    return History(name, base | columns, learned if classes else {}, 7)


def test_what_runs_have_is_drawn_and_nothing_empty(tmp_path):
    plain, taught = history("plain", 1, ()), history("taught", consistency=np.ones(50))
    taught.columns["frame_consistency"] = np.ones(50)
    labels = [axes.get_ylabel() for axes in draw_curves([plain]).axes]
    assert labels == ["loss (nats)", "F1 on validation clips"]
    figure = draw_curves([plain, taught])
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "loss (nats)",
        "F1 on validation clips",
        "part of the training loss",
        "weight of consistency",
        "exponent n",
        "θ = n / (n + 1)",
    ]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    lines = figure.axes[-1].get_lines()[: len(LONG_NAMES)]
    looks = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}
    assert len(looks) == len(LONG_NAMES)
    save(figure, tmp_path / "c.svg")


def test_runs_that_differ_in_the_seed_alone_are_one_curve_with_its_spread():
    def of_seed(seed, n_epochs, f1, settings="a", selected=7):
        drawn = history(f"power/seed-{seed}", n_epochs, ("Dog",), clip_f1=np.full(n_epochs, f1))
        return dataclasses.replace(drawn, seed=seed, settings=settings, selected=selected)

    runs = [of_seed(0, 9, 0.2), of_seed(3, 8, 0.6), of_seed(4, 9, 0.7, selected=None)]
    figure = draw_curves([*runs, history("alone"), of_seed(0, 9, 0.1)])
    (texts,) = ([t.get_text() for t in g.get_texts()] for g in figure.subfigs[0].legends)
    seeds = "(mean and range of seeds 0, 3, 4; marked: their models, epochs 7, 7)"
    model = "(marked: its model, epoch 7)"
    assert texts == [f"power {seeds}", f"alone {model}", f"power/seed-0 {model}"]
    axes = figure.axes[1]
    line, first, second, *_ = axes.get_lines()
    assert line.get_ydata()[:8].tolist() == pytest.approx([0.5] * 8)
    assert np.isnan(line.get_ydata()[8])  # seed 3 has not come so far
    assert [each.get_ydata().tolist() for each in (first, second)] == [[0.2], [0.6]]
    (band,) = axes.collections
    ends = {x: {y for a, y in band.get_paths()[0].vertices if a == x} for x in (1, 9)}
    assert ends == {1: {0.2, 0.7}, 9: {0.2, 0.7}}
    assert len(figure.subfigs) == 4  # a row of exponents each
    assert len(figure.axes[-1].get_lines()) == 2 and not figure.axes[-1].collections


@pytest.mark.slow
def test_the_seed_of_a_run_is_read_from_its_settings(tiny, tmp_path):
    options = ("--arch", "small:gru-units=4", "--steps-per-epoch=1", "--batch-size=2")
    for name, seed, lr in (("a", 0, 0.1), ("b", 1, 0.1), ("c", 1, 0.2)):
        given = ("--features", tiny.features, "--weak", tiny.weak, *options)
        command_lines.run(
            "train", "-o", tmp_path / name, *given, f"--seed={seed}", f"--lr={lr}", "--epochs=1"
        )
    a, b, c = (read_history(tmp_path / name, name) for name in "abc")
    assert [h.seed for h in (a, b, c)] == [0, 1, 1]
    assert a.settings == b.settings != c.settings
    command_lines.run("plot curves", *(tmp_path / name for name in "abc"), "-o", tmp_path / "c.svg")
    assert "a to b (mean and range of seeds 0, 1;" in (tmp_path / "c.svg").read_text()


# What all figures share


def test_names_that_fonts_and_formulas_choke_on_are_drawn_without_a_warning(tmp_path):
    durations = np.linspace(0.5, 9, len(LONG_NAMES))
    values = np.linspace(2, 0.3, 2 * len(LONG_NAMES)).reshape(2, -1)
    entry = ClassExponents("データ $x", "n", LONG_NAMES, durations, values, 4.0)
    found = {entry.name: rank_correlation(durations, values, CorrelationConfig())}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(draw_durations([entry], found), tmp_path / "d.png")
        save(draw_curves([history("データ $x^")]), tmp_path / "c.png")
    assert shown("_Bus").lstrip("\u200b") == "_Bus"


def square_font(path, family, characters):
    """Write a font in which each of some characters is a square."""
    glyphs = [".notdef", *(f"uni{ord(c):04X}" for c in characters)]
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(corner)
    pen.closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(glyphs)
    font.setupCharacterMap({ord(c): glyph for c, glyph in zip(characters, glyphs[1:], strict=True)})
    font.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 100)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": family, "styleName": "Regular", "psName": family})
    font.setupOS2(usWeightClass=400)
    font.setupPost()
    font.save(path)
    return path


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that leaves no other fonts than DejaVu Sans and one of some characters."""
    remembered = (canvas._font_of, canvas._other_fonts)

    def only(family, characters):
        ours = [font for font in fontManager.ttflist if font.name == "DejaVu Sans"]
        monkeypatch.setattr(fontManager, "ttflist", ours)
        fontManager.addfont(square_font(tmp_path / f"{family}.ttf", family, characters))
        for function in remembered:
            function.cache_clear()

    yield only
    for function in remembered:
        function.cache_clear()


@pytest.mark.slow
def test_what_our_font_lacks_is_drawn_in_an_installed_one_that_has_it(install, tmp_path):
    install("Squares", "犬鳴A")
    assert shown("_A犬x声\x07") == "\u200b_A犬x\\u58f0\\u0007"
    data = ClassExponents("鳴A", "n", ("犬A", "b"), np.array([1.0, 3.0]), np.ones((1, 2)), 2.0)
    found = {"鳴A": rank_correlation(data.durations, data.values, CorrelationConfig())}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for suffix in ("svg", "pdf", "png"):
            save(draw_durations([data], found), tmp_path / f"d.{suffix}")
            save(draw_curves([history("鳴A", classes=("犬A",))]), tmp_path / f"c.{suffix}")
    drawn = re.findall('id="Squares-', (tmp_path / "c.svg").read_text())
    assert len(drawn) == 2  # the A is ours
    assert 'id="Squares-' in (tmp_path / "d.svg").read_text()


@pytest.mark.parametrize(("family", "characters"), [("Squares", "B"), ("Last Resort X", "犬")])
def test_what_no_font_has_is_drawn_as_its_number(install, family, characters):
    install(family, characters)
    assert shown("犬_") == "\\u72ac_"


def test_a_font_that_was_taken_away_is_not_drawn_in(install, tmp_path):
    install("Squares", "犬")
    (tmp_path / "Squares.ttf").unlink()
    assert shown("犬_") == "\\u72ac_"


def test_a_class_whose_name_begins_with_an_underscore_stands_in_the_legend():
    figure = draw_curves([history("run", classes=("_a", "b"))])
    texts = [t.get_text() for part in figure.subfigs for g in part.legends for t in g.get_texts()]
    assert shown("_a") in texts


def test_equal_figures_are_equal_files_and_styles_of_the_caller_do_not_matter(tmp_path):
    model = new_model()
    for suffix in ("svg", "pdf", "png"):
        first, second = tmp_path / f"1.{suffix}", tmp_path / f"2.{suffix}"
        save(draw_pooling([("m", model)], {}), first)
        with matplotlib.rc_context({"font.family": "monospace", "svg.hashsalt": "other"}):
            save(draw_pooling([("m", model)], {}), second)
        assert first.read_bytes() == second.read_bytes()


def test_a_home_that_cannot_be_written_is_not_talked_of_and_leaves_nothing(tmp_path):
    (tmp_path / "tmp").mkdir()
    line = [sys.executable, "-m", "sedtool", "plot", "gradients", "-o", tmp_path / "g.svg"]
    kept = {k: v for k, v in os.environ.items() if k not in ("MPLCONFIGDIR", "XDG_CACHE_HOME")}
    kept.pop("XDG_CONFIG_HOME", None)
    environment = kept | {"HOME": "/proc/nope", "TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.stderr == f"gradients -> {tmp_path}/g.svg\n"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_without_matplotlib_it_is_said_how_to_get_it():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from sedtool.cli import main\n"
        "sys.argv = ['sedtool', 'plot', 'gradients', '-o', 'g.png']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "Error: figures need matplotlib: pip install 'sedtool[plot]'\n"


# Long clips


def long_clip(n_events, length, seconds=3600.0):
    """Return a clip of an hour with short events of two classes, its scores, and its events."""
    onsets = np.linspace(10, seconds - 10, n_events)
    frame = np.zeros((int(seconds * 10), 2), np.float32)
    for onset in onsets:
        frame[int(onset * 10), 0] = 1.0
    clip = scored_whole("long.wav", seconds, frame, np.ones(2, np.float32))
    decoding = DecodingConfig((0.5, 0.5), (0.5, 0.5), (0.0, 0.0))
    stored = SimpleNamespace(classes=("a", "b"), frame_rate=10.0, decoding=decoding)
    return clip, stored, [Event("long.wav", t, t + length, "a") for t in onsets]


def test_every_event_of_a_long_clip_is_at_least_a_pixel_wide_and_bars_are_no_ink():
    clip, stored, reference = long_clip(40, 0.05)
    spectrogram = np.random.default_rng(0).random((36_000, 8))
    part = (0.0, clip.duration)
    figure = draw_clip(spectrogram, SMALL, clip, stored, reference, part)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    events = next(axes for axes in figure.axes if axes.get_ylabel() == "events")
    above, below, *_ = events.collections
    for bars in (above, below):
        pixels = [np.ptp(events.transData.transform(p.vertices)[:, 0]) for p in bars.get_paths()]
        assert len(pixels) == 40
        assert min(pixels) >= 1.0
    assert above.get_hatch() is None
    part = draw_clip(spectrogram, SMALL, clip, stored, [Event("", 9, 11, "a")], (0.0, 12.0))
    events = next(axes for axes in part.axes if axes.get_ylabel() == "events")
    assert events.get_xlim() == (0.0, 12.0)
    assert events.collections[0].get_hatch() == "//"


def test_scores_of_more_frames_than_a_line_can_show_are_their_mean_within_their_range():
    clip, stored, reference = long_clip(40, 0.05)
    figure = draw_clip(np.zeros((36_000, 8)), SMALL, clip, stored, reference, (0.0, clip.duration))
    middle = figure.axes[1]
    line = middle.lines[0]
    assert len(line.get_xdata()) <= 700
    n = -(-36_000 // len(line.get_xdata()))
    expected = [clip.frame[i : i + n, 0].mean() for i in range(0, 36_000, n)]
    assert line.get_ydata() == pytest.approx(expected)
    assert middle.collections[0].get_datalim(middle.transData).y1 == pytest.approx(1.0)


def test_colours_do_not_repeat_within_eight_neighbours():
    for i in range(40):
        assert canvas.colour(i) not in [canvas.colour(j) for j in range(i + 1, i + 9)]


def test_a_pooling_that_never_learned_is_not_drawn():
    model = new_model()
    model.trained = {"step": 3}
    with pytest.raises(ConfigError, match="m: power pooling learned nothing of a class"):
        learned_by_class("m", model)
    with torch.no_grad():
        next(iter(model.detector.pooling.parameters())).add_(0.1)
    assert learned_by_class("m", model)[0] == "n"
