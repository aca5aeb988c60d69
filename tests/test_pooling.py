"""Every pooling maps frame logits (B, T, K) to clip log-probabilities (B, K)."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from sedtool.config import POOLING_NAMES, PoolingConfig
from sedtool.errors import ConfigError
from sedtool.pooling import (
    POOLINGS,
    AttentionPooling,
    AutoPooling,
    AveragePooling,
    ExponentialPooling,
    LinearPooling,
    MaxPooling,
    PowerPooling,
    clip_loss,
    make_pooling,
)
from support.poolings import OTHERS, Unmasked

B, T, K, H = 2, 7, 3, 5
LOGITS = 3 * torch.randn(B, T, K, generator=torch.Generator().manual_seed(0))
HIDDEN = torch.randn(B, T, H, generator=torch.Generator().manual_seed(1))
MASK = torch.arange(T) < torch.tensor([[T], [4]])  # (B, T): a whole clip and a short one
EVERY = sorted(POOLINGS)
TABLE = {**POOLINGS, **OTHERS, "unmasked": Unmasked}
CONTRACT = [*EVERY, *OTHERS]  # poolings of others keep it, too


def build(name, dtype=torch.float32):
    """Return a pooling whose parameters, if any, differ between classes."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        pool = TABLE[name](K, H)
        for parameter in pool.parameters():
            torch.nn.init.uniform_(parameter, 0.3, 3.0)
    return pool.to(dtype)


def clip_oracle(name, parameters, y, h):
    """Pool one clip, frame probabilities y (T, K) and hidden states h (T, H), by Σ w y / Σ w."""
    if name == "max":
        return y.max(axis=0)
    if name == "hierarchical":  # power over 5 frames, 4 segments, and the rest, as by default
        for size in (5, 4):
            pieces = [slice(t, t + size) for t in range(0, len(y), size)]
            y = np.stack([clip_oracle("power", parameters, y[piece], h[piece]) for piece in pieces])
            h = np.stack([h[piece].mean(axis=0) for piece in pieces])
        return clip_oracle("power", parameters, y, h)
    if name.startswith("attention"):
        w = np.exp(h @ parameters["attention.weight"].T + parameters["attention.bias"])
        w = w / w.sum(axis=1, keepdims=True) if name == "attention-classes" else w
    else:
        w = {
            "average": lambda y: np.ones_like(y),
            "linear": lambda y: y,
            "exponential": np.exp,
            "power": lambda y: y ** parameters["n"],
        }.get(name, lambda y: np.exp(parameters["alpha"] * y))(y)
    return (w * y).sum(axis=0) / w.sum(axis=0)


def oracle(name, pool, logits, hidden, mask):
    """Pool one clip after another in numpy float64."""
    logits, hidden = logits.double().numpy(), hidden.double().numpy()
    parameters = {
        n.removeprefix("base."): p.detach().double().numpy() for n, p in pool.named_parameters()
    }
    pooled = [
        clip_oracle(name, parameters, 1 / (1 + np.exp(-z[m])), h[m])
        for z, h, m in zip(logits, hidden, mask.numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(pooled))


@pytest.mark.parametrize("name", EVERY)
def test_values_agree_with_an_independent_float64_computation(name):
    pool = build(name)
    log_y, log_not_y = pool(LOGITS, HIDDEN, MASK)
    expected = oracle(name, pool, LOGITS, HIDDEN, MASK)
    assert_close(log_y.double(), expected.log(), rtol=1e-5, atol=1e-6)
    assert_close(log_not_y.double(), (1 - expected).log(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_gradients_agree_with_finite_differences_of_the_oracle(name):
    pool = build(name, torch.float64)
    logits, hidden = LOGITS.double().requires_grad_(), HIDDEN.double()
    pool(logits, hidden, MASK)[0].exp().sum().backward()
    step = 1e-5
    for index in [(0, 0, 0), (0, 3, 1), (1, 2, 2), (1, 6, 0)]:
        up, down = logits.detach().clone(), logits.detach().clone()
        up[index] += step
        down[index] -= step
        difference = oracle(name, pool, up, hidden, MASK) - oracle(name, pool, down, hidden, MASK)
        assert logits.grad[index].item() == pytest.approx(
            difference.sum().item() / (2 * step), abs=1e-8
        )


def gradient_by_probability(pool, y):
    """Return dy_c / dy_t (T,) of one clip with frame probabilities y (T,)."""
    y = y.double().requires_grad_()
    hidden = torch.randn(1, len(y), H, generator=torch.Generator().manual_seed(5))
    log_y, _ = pool(y.logit()[None, :, None], hidden)
    log_y.exp().sum().backward()
    return y.grad, log_y.exp().item()


def test_gradient_of_linear_pooling_is_equation_3():
    y = torch.tensor([0.9, 0.5, 0.3, 0.1], dtype=torch.float64)
    gradient, y_c = gradient_by_probability(LinearPooling(1, 0), y)
    assert_close(gradient, (2 * y - y_c) / y.sum())


@pytest.mark.parametrize("n", [0.0, 0.337, 1.0, 3.0, 10.0])
def test_gradient_of_power_pooling_is_equation_5(n):
    y = torch.tensor([0.9, 0.5, 0.3, 0.1], dtype=torch.float64)
    gradient, y_c = gradient_by_probability(PowerPooling(1, init=n).double(), y)
    assert_close(gradient, ((n + 1) * y**n - n * y ** (n - 1) * y_c) / (y**n).sum())


# Above which probability a frame is pushed up in a positive clip, by pooling (Table 1).
PUSHED_UP_ABOVE = {
    **dict.fromkeys(("average", "exponential", "attention", "attention-classes"), lambda *_: -1.0),
    "max": lambda pool, y, y_c: y_c - 1e-9,
    "linear": lambda pool, y, y_c: y_c / 2,
    "power": lambda pool, y, y_c: pool.n.item() / (pool.n.item() + 1) * y_c,
    **dict.fromkeys(("auto", "cap", "rap"), lambda pool, y, y_c: y_c - 1 / pool.alpha.item()),
}


@pytest.mark.parametrize("name", sorted(PUSHED_UP_ABOVE))
@settings(max_examples=30, deadline=None)
@given(
    y=st.lists(st.floats(0.01, 0.99), min_size=2, max_size=20),
    parameter=st.floats(0.05, 8.0),
)
def test_table_1_a_frame_is_pushed_up_exactly_where_it_is_above_the_threshold(name, y, parameter):
    y = torch.tensor(y, dtype=torch.float64)
    pool = POOLINGS[name](1, H).double()
    for value in () if name.startswith("attention") else pool.parameters():
        value.data.fill_(parameter)
    gradient, y_c = gradient_by_probability(pool, y)
    threshold = PUSHED_UP_ABOVE[name](pool, y, y_c)
    clear = (y - threshold).abs() > 1e-5 if name != "max" else (y - y.max()).abs() > 1e-5
    assert torch.equal((gradient > 0)[clear], (y > threshold)[clear])
    if name == "max":
        assert gradient[y.argmax()] > 0


def test_the_rule_of_signs_is_tested_for_every_pooling_that_is_one_stage():
    assert set(PUSHED_UP_ABOVE) == set(POOLINGS) - {"hierarchical"}


@settings(max_examples=30, deadline=None)
@given(y=st.lists(st.floats(0.001, 0.999), min_size=1, max_size=20), n=st.floats(0.0, 8.0))
def test_the_gradient_of_the_exponent_is_the_covariance_of_probability_and_its_logarithm(y, n):
    y, pool = np.array(y), PowerPooling(1, init=n).double()
    pool(torch.from_numpy(y).logit()[None, :, None])[0].exp().sum().backward()
    w = y ** pool.n.item() / (y ** pool.n.item()).sum()
    covariance = (w * y * np.log(y)).sum() - (w * y).sum() * (w * np.log(y)).sum()
    assert pool.n.grad.item() == pytest.approx(covariance, abs=1e-9)
    assert covariance >= -1e-12


def test_learned_theta_is_the_threshold_of_the_gradient():
    pool = PowerPooling(2)
    pool.n.data = torch.tensor([1.0, 3.0])
    assert pool.learned() == {"n": [1.0, 3.0], "theta": [0.5, 0.75]}


def test_power_zero_is_average():
    assert_close(
        PowerPooling(K, init=0)(LOGITS, mask=MASK), AveragePooling(K, 0)(LOGITS, mask=MASK)
    )


def test_power_one_is_linear():
    assert_close(PowerPooling(K, init=1)(LOGITS, mask=MASK), LinearPooling(K, 0)(LOGITS, mask=MASK))


def test_power_tends_to_max():
    power = PowerPooling(K, init=1e4, max_=1e4)
    assert_close(power(LOGITS, mask=MASK), MaxPooling(K, 0)(LOGITS, mask=MASK))


def test_auto_pooling_spans_average_exponential_and_max():
    for alpha, other in [(0.0, AveragePooling), (1.0, ExponentialPooling), (1e6, MaxPooling)]:
        auto = AutoPooling(K, 0, init=alpha)
        assert_close(auto(LOGITS, mask=MASK), other(K, 0)(LOGITS, mask=MASK))


def test_max_pooling_shares_the_gradient_between_frames_that_tie():
    logits = torch.tensor([[[2.0], [2.0], [1.0]]], requires_grad=True)
    MaxPooling(1, 0)(logits)[0].sum().backward()
    assert logits.grad[0, 0] == logits.grad[0, 1] > 0
    assert logits.grad[0, 2] == 0


def padded_and_not(name, logits, lengths, padding):
    """Return values and gradients of clips of some lengths, pooled in a batch and each alone.

    Beyond the end of a clip stands `padding`, in logits and hidden states.
    """
    mask = torch.arange(T + 4) < torch.tensor(lengths)[:, None]
    logits = torch.nn.functional.pad(logits, (0, 0, 0, 4)).masked_fill(~mask[..., None], padding)
    hidden = torch.nn.functional.pad(HIDDEN.double(), (0, 0, 0, 4)).masked_fill(
        ~mask[..., None], padding
    )
    results = []
    for batch in (slice(0, B),), (slice(0, 1), slice(1, 2)):
        pool = build(name, torch.float64)
        z, h = logits.clone().requires_grad_(), hidden.clone().requires_grad_()
        parts = []
        for rows in batch:
            n = lengths[rows.start] if len(batch) > 1 else T + 4  # alone: no frame of padding
            of_rows = mask[rows, :n] if len(batch) == 1 else None
            parts.append(pool(z[rows, :n], h[rows, :n], of_rows))
        log_y, log_not_y = (torch.cat(values) for values in zip(*parts, strict=True))
        (log_y.sum() + 0.5 * log_not_y.sum()).backward()
        assert not z.grad[~mask].any()
        states = () if h.grad is None else (h.grad,)
        grads = [p.grad for p in pool.parameters() if p.grad is not None]
        results.append([log_y, log_not_y, z.grad, *states, *grads])
    return results


@pytest.mark.parametrize("padding", [0.0, 9.0, -9.0, float("inf"), float("nan")])
@pytest.mark.parametrize("lengths", [(T, 4), (1, T), (1, 2)], ids=str)
@pytest.mark.parametrize("offset", [0.0, -20.0, 20.0])  # logits of one sign: 0 is an extreme
@pytest.mark.parametrize("name", CONTRACT)
def test_a_clip_in_a_batch_has_the_values_and_gradients_it_has_alone(
    name, offset, lengths, padding
):
    in_batch, alone = padded_and_not(name, LOGITS.double() + offset, lengths, padding)
    assert all(value.isfinite().all() for value in alone)
    assert_close(in_batch, alone)


def test_a_pooling_that_takes_padding_for_frames_is_noticed():
    in_batch, alone = padded_and_not("unmasked", LOGITS.double() - 20, (T, 4), float("nan"))
    assert alone[0].isfinite().all()
    assert in_batch[0][1].isnan().all()


@pytest.mark.parametrize("name", [n for n in EVERY if "attention" not in n])
def test_permuting_classes_permutes_the_result(name):
    pool, permuted = build(name), build(name)
    order = torch.tensor([2, 0, 1])
    for parameter in permuted.parameters():
        parameter.data = parameter.data[order]
    expected = tuple(out[:, order] for out in pool(LOGITS, HIDDEN, MASK))
    assert_close(permuted(LOGITS[..., order], HIDDEN, MASK), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4, 1e30])
@pytest.mark.parametrize("name", CONTRACT)
def test_loss_and_gradients_are_finite_for_any_logits(name, scale, target, dtype):
    scale = min(scale, torch.finfo(dtype).max)
    pool = build(name)
    signs = torch.tensor([1.0, -1.0, 0.0, -1.0, 1.0, -0.5, 1e-3])
    logits = (scale * signs[None, :, None]).expand(B, T, K).to(dtype).clone().requires_grad_()
    hidden = (HIDDEN * min(scale, 1e3)).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32):
        log_y, log_not_y = pool(logits, hidden, MASK)
    loss = clip_loss(log_y, log_not_y, torch.full((B, K), target)) + pool.penalty()
    loss.backward()
    assert log_y.dtype == torch.float32
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    for parameter in pool.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from([n for n in EVERY if "attention" not in n]),
    centre=st.floats(-100, 100),
    spread=st.floats(0, 60),
    seed=st.integers(0, 2**31),
)
def test_the_two_log_probabilities_are_of_complementary_events(name, centre, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = centre + spread * torch.randn(1, 30, K, generator=generator, dtype=torch.float64)
    log_y, log_not_y = build(name, torch.float64)(logits)
    assert_close(log_y.exp() + log_not_y.exp(), torch.ones(1, K, dtype=torch.float64))
    assert (log_y <= 1e-12).all()


def test_clip_loss_is_binary_cross_entropy():
    y = torch.tensor([[0.9, 0.2], [0.4, 0.7]], dtype=torch.float64)
    target = torch.tensor([[1.0, 0.0], [0.0, 0.3]], dtype=torch.float64)
    expected = torch.nn.functional.binary_cross_entropy(y, target)
    assert_close(clip_loss(y.log(), (1 - y).log(), target), expected)


def test_a_clip_without_a_valid_frame_is_an_error():
    empty = MASK.clone()
    empty[1] = False
    with pytest.raises(ValueError, match="no valid frame"):
        AveragePooling(K, 0)(LOGITS, mask=empty)
    with pytest.raises(ValueError, match="no valid frame"):
        AveragePooling(K, 0)(LOGITS[:, :0])


def test_attention_without_hidden_states_says_what_it_needs():
    with pytest.raises(ValueError, match="hidden states of size 5, got 0"):
        AttentionPooling(K, H)(LOGITS)


@pytest.mark.parametrize(
    ("text", "penalty"), [("power:lambda=0.5,init=2", 0.5 * 3 * 4), ("rap:lambda=0.5,init=-2", 6.0)]
)
def test_penalty_is_lambda_times_the_sum_of_squares(text, penalty):
    pool = make_pooling(PoolingConfig.parse(text), K, H)
    assert pool.penalty().item() == pytest.approx(penalty)


@pytest.mark.parametrize(
    ("text", "bounds"), [("power:max=5", (0.0, 5.0)), ("cap:max=4.6", (0.0, 4.6))]
)
def test_projection_returns_a_parameter_to_its_range_where_it_still_learns(text, bounds):
    pool = make_pooling(PoolingConfig.parse(text), K, H)
    (parameter,) = pool.parameters()
    parameter.data = torch.tensor([-1.0, 2.0, 99.0])
    pool.project_()
    assert parameter.tolist() == pytest.approx([bounds[0], 2.0, bounds[1]])
    pool(LOGITS, HIDDEN)[0].sum().backward()
    assert (parameter.grad != 0).all()


def test_average_exponential_and_auto_have_unbounded_or_no_parameters():
    pool = AutoPooling(K, H, init=-3.0)
    pool.project_()
    assert pool.learned() == {"alpha": [-3.0] * K}


def test_options_are_read_by_their_names_on_the_command_line():
    pool = make_pooling(PoolingConfig.parse("power:init=2,max=7,lambda=1e-3"), K, H)
    assert (pool.n.tolist(), pool.max, pool.lambda_) == ([2.0] * K, 7.0, 1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pwoer", "unknown pooling 'pwoer'; one of: attention, attention-classes, auto"),
        ("power:innit=1", "no option 'innit'; it has: init, max, lambda, shared, learned"),
        ("linear:init=1", "no option 'init'; it has: none"),
        ("power:init=-1", "0 <= init <= max"),
        ("power:init=30", "0 <= init <= max"),
        ("power:lambda=-1", "must not be negative"),
        ("power:init=x", "is not key=number"),
        ("power:init=1,init=2", "given twice"),
        ("power:init=nan", "is not key=number"),
    ],
)
def test_a_wrong_pooling_or_option_names_the_valid_ones(text, message):
    with pytest.raises(ConfigError, match=message):
        make_pooling(PoolingConfig.parse(text), K, H)


def test_building_a_pooling_in_every_registered_form_gives_its_own_class():
    for name, cls in POOLINGS.items():
        assert type(make_pooling(PoolingConfig(name), K, H)) is cls
        assert copy.deepcopy(make_pooling(PoolingConfig(name), K, H)).penalty() >= 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", CONTRACT)
def test_a_pooling_of_any_precision_takes_logits_of_any_precision(name, dtype):
    expected = build(name)(LOGITS, HIDDEN, MASK)
    mixed = build(name)(LOGITS.to(dtype), HIDDEN.to(dtype), MASK.to(torch.uint8))
    own = build(name, dtype)(LOGITS.to(dtype), HIDDEN.to(dtype), MASK)
    for result in (mixed, own):
        assert_close([r.float() for r in result], list(expected), rtol=0.1, atol=0.1)


def test_options_without_measure_are_refused():
    with pytest.raises(ConfigError, match="of 1e6 at most"):
        PoolingConfig.parse("auto:init=1e39")


def test_the_names_that_need_no_torch_are_those_of_the_poolings():
    assert set(POOLING_NAMES) == set(POOLINGS)
