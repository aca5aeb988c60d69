"""What poolings can be told: shared and fixed numbers, bounds, and what is refused."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from sedtool.checkpoint import load_model, save_model
from sedtool.config import PoolingConfig
from sedtool.errors import ConfigError
from sedtool.pooling import (
    AttentionPooling,
    AutoPooling,
    AveragePooling,
    ClassAttentionPooling,
    LinearPooling,
    PowerPooling,
    make_pooling,
)
from support.models import new_model

B, T, K, H = 2, 7, 3, 5
LOGITS = 3 * torch.randn(B, T, K, generator=torch.Generator().manual_seed(0))
HIDDEN = torch.randn(B, T, H, generator=torch.Generator().manual_seed(1))


def make(text, n_classes=K):
    return make_pooling(PoolingConfig.parse(text), n_classes, H)


# One number for all classes


@pytest.mark.parametrize("name", ["power", "auto", "cap", "rap"])
def test_a_shared_number_is_one_parameter_and_has_the_gradients_of_all_classes(name):
    shared, own = make(f"{name}:init=2,shared=1"), make(f"{name}:init=2")
    assert [p.shape for p in shared.parameters()] == [(1,)]
    for pool in (shared, own):
        log_y, _ = pool(LOGITS, HIDDEN)
        (log_y.sum() + pool.penalty()).backward()
    assert_close(shared(LOGITS), own(LOGITS))
    (one,), (each,) = shared.parameters(), own.parameters()
    assert_close(one.grad, each.grad.sum(dim=0, keepdim=True))
    assert_close(torch.as_tensor(shared.penalty()), torch.as_tensor(own.penalty()))
    assert shared.learned() == own.learned()  # a value a class, for logs


# Numbers that stay


@pytest.mark.parametrize("name", ["power", "auto"])
@pytest.mark.parametrize("shared", [0, 1])
def test_a_fixed_number_is_no_parameter_but_is_in_the_state(name, shared):
    pool = make(f"{name}:init=2,learned=0,shared={shared}")
    assert list(pool.parameters()) == []
    ((_, value),) = pool.state_dict().items()
    assert value.tolist() == [2.0] * (1 if shared else K)
    assert_close(pool(LOGITS), make(f"{name}:init=2")(LOGITS))
    assert pool.penalty() == 0
    pool.project_()
    assert value.tolist() == [2.0] * (1 if shared else K)


def test_power_fixed_at_one_is_linear_pooling_after_any_training():
    pool, logits = make("power:learned=0"), LOGITS.clone().requires_grad_()
    optimizer = torch.optim.SGD([logits], lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        (pool(logits)[0].sum() + pool.penalty()).backward()
        optimizer.step()
        pool.project_()
    assert_close(pool(logits), LinearPooling(K)(logits))


@pytest.mark.parametrize(
    "text",
    [
        "power:init=2,learned=0,shared=1",
        "auto:shared=1",
        "cap:shortest=0.25",
        "attention-classes",
        "hierarchical:base=cap,levels=4x3,max=3",
        "hierarchical:base=attention,levels=5",
    ],
)
def test_options_and_numbers_are_saved_with_the_model(tmp_path, text):
    model, path = new_model(text), tmp_path / "model.safetensors"
    save_model(path, model)
    back = load_model(path)
    assert back.pooling == model.pooling
    assert str(back.pooling) == text
    assert back.detector.pooling.learned() == model.detector.pooling.learned()
    features, lengths = torch.zeros(1, 40, 64), torch.tensor([40])
    assert torch.equal(back.detector(features, lengths)[2], model.detector(features, lengths)[2])


# The bound of CAP


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(3, 300), data=st.data())
def test_at_its_bound_cap_gives_one_half_to_a_certain_event_as_short_as_the_shortest(frames, data):
    event = data.draw(st.integers(1, (frames - 1) // 2))
    pool = make(f"cap:shortest={event},clip={frames}", 1).double()
    assert pool.max == pytest.approx(math.log((frames - event) / event))
    pool.alpha.data.fill_(1e9)
    pool.project_()
    logits = torch.full((1, frames, 1), -50.0, dtype=torch.float64)
    logits[:, :event] = 50.0
    assert pool(logits)[0].exp().item() == pytest.approx(0.5)


def test_the_bound_of_cap_is_of_ten_seconds_and_of_one_frame_in_a_hundred_by_default():
    assert make("cap:shortest=0.25").max == pytest.approx(math.log(9.75 / 0.25))
    assert make("cap").max == 4.6
    assert make("cap:max=3").max == 3.0


# Attention over classes


def test_attention_over_one_class_is_average_pooling():
    pool = ClassAttentionPooling(1, H)
    assert_close(pool(LOGITS[..., :1], HIDDEN), AveragePooling(1)(LOGITS[..., :1]))


def test_the_two_attentions_differ_where_another_class_changes():
    """Over classes the weights of one class depend on another's, over time they do not."""
    changed = []
    for cls in (AttentionPooling, ClassAttentionPooling):
        pool = cls(K, H)
        before = pool(LOGITS, HIDDEN)[0][:, 0]
        pool.attention.weight.data[1] += 5.0
        changed.append(not torch.allclose(pool(LOGITS, HIDDEN)[0][:, 0], before))
    assert changed == [False, True]


# Text


@settings(max_examples=50, deadline=None)
@given(
    options=st.dictionaries(
        st.sampled_from(["init", "max", "lambda"]), st.floats(-1e6, 1e6), max_size=3
    )
)
def test_a_pooling_is_read_back_from_its_text(options):
    config = PoolingConfig("power", options)
    assert PoolingConfig.parse(str(config)) == config


def test_words_are_read_back_from_the_text():
    text = "hierarchical:base=cap,levels=5x4,shortest=0.25"
    assert str(PoolingConfig.parse(text)) == text
    assert PoolingConfig.parse(text).options["levels"] == "5x4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cap:max=3,shortest=0.25", "its bound from max or from shortest, not both"),
        ("cap:clip=10", "clip of cap pooling has a meaning with shortest alone"),
        ("cap:shortest=5", "less than half a clip, not shortest=5 s of clip=10 s"),
        ("cap:shortest=0", "less than half a clip"),
        ("cap:shortest=-1", "less than half a clip"),
        ("cap:shortest=1,clip=1.5", "less than half a clip"),
        ("cap:shortest=0.25,init=4", "needs 0 <= init <= max, not init=4, max=3.6"),
        ("cap:learned=0", "no option 'learned'; it has: init, max, shortest, clip, shared"),
        ("linear:shared=1", "no option 'shared'; it has: none"),
        ("power:shared=2", "option 'shared' of power pooling is 0 or 1, not 2"),
        ("power:learned=0.5", "option 'learned' of power pooling is 0 or 1, not 0.5"),
        ("power:shared=yes", "is not key=number"),
        ("power:levels=5x4", "no option 'levels'"),
        ("hierarchical:base=", "is not key=number"),
        ("hierarchical:base=pwr", "unknown pooling 'pwr'; one of: attention, .*'power'"),
        ("hierarchical:base=hierarchical", "unknown pooling 'hierarchical'"),
        ("hierarchical:base=2", "unknown pooling '2.0'"),
        ("hierarchical:base=linear,init=1", "pooling 'linear' has no option 'init'; it has: none"),
        *(
            (f"hierarchical:levels={levels}", "whole numbers from 2 to 4096, such as 5x4")
            for levels in (
                "1",
                "0",
                "-5",
                "2.5",
                "4097",
                "5x",
                "5x1",
                "ax4",
                "99999x2",
                "x".join("5" * 9),
            )
        ),
    ],
)
def test_what_makes_no_sense_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        make(text)


@pytest.mark.parametrize(
    "options",
    [
        {"init": "1"},
        {"init": None},
        {"init": True},
        {"init": [1]},
        {"init": math.nan},
        {"init": math.inf},
        {"init": 10**400},
        {"base": "power"},
        {1: 1.0},
        {"__init__": 1.0},
        ["init"],
        "init",
        None,
    ],
)
def test_options_that_a_stranger_wrote_are_refused(options):
    with pytest.raises(ConfigError):
        make_pooling(PoolingConfig("power", options), K, H)


@pytest.mark.parametrize(
    "options",
    [
        {"base": 5},
        {"base": ["power"]},
        {"base": "power" * 1000},
        {"levels": [5, 4]},
        {"levels": 10**400},
        {"levels": 1e6},
        {"levels": "5" * 5000},
        {"levels": "x".join(["5"] * 50)},
        {"levels": "٥x٤"},
        {"n_classes": 5},
    ],
)
def test_levels_and_bases_that_a_stranger_wrote_are_refused(options):
    with pytest.raises(ConfigError):
        make_pooling(PoolingConfig("hierarchical", options), K, H)


def test_a_name_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="a name and a table of options"):
        PoolingConfig(["power"])


def test_poolings_can_be_copied_and_moved_to_another_precision():
    for text in ("power:learned=0", "power:shared=1", "hierarchical:base=auto"):
        pool = copy.deepcopy(make(text)).double()
        assert pool(LOGITS.double())[0].dtype == torch.float64
    assert isinstance(make("auto"), AutoPooling)
    assert isinstance(make("power"), PowerPooling)
