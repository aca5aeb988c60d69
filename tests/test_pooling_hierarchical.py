"""Hierarchical pooling: frames -> segments -> larger segments -> clip, the same at every stage."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from sedtool.config import PoolingConfig
from sedtool.pooling import (
    POOLINGS,
    AttentionPooling,
    AveragePooling,
    HierarchicalPooling,
    MaxPooling,
    PowerPooling,
    clip_loss,
    make_pooling,
)
from support.poolings import OTHERS

K, H = 2, 3
TABLE = POOLINGS | OTHERS  # masks reach poolings of others at every stage
BASES = sorted(set(TABLE) - {"hierarchical"})


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(base, levels):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        pool = HierarchicalPooling(K, H, base=TABLE[base](K, H), levels=levels).double()
        for parameter in pool.parameters():
            torch.nn.init.uniform_(parameter, 0.3, 3.0)
    return pool


def by_hand(pool, logits, hidden):
    """Pool one clip, (T, K) and (T, H), piece by piece with the base pooling; no masks."""
    for size in pool.levels:
        pieces = [slice(t, t + size) for t in range(0, len(logits), size)]
        pooled = [pool.base(logits[p][None], hidden[p][None])[0][0].exp() for p in pieces]
        logits = torch.stack(pooled).logit()  # by way of the probability, unlike the pooling
        hidden = torch.stack([hidden[p].mean(dim=0) for p in pieces])
    return pool.base(logits[None], hidden[None])[0][0]


@settings(max_examples=100, deadline=None)
@given(
    base=st.sampled_from(BASES),
    levels=st.lists(st.integers(2, 6), min_size=1, max_size=3),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    seed=st.integers(0, 2**31),
)
def test_each_clip_of_a_batch_is_pooled_as_it_is_piece_by_piece(base, levels, lengths, seed):
    pool, n_frames = make(base, levels), max(lengths) + 3
    logits, hidden = 3 * noise(len(lengths), n_frames, K, seed=seed), noise(1, n_frames, H)
    hidden = hidden.expand(len(lengths), -1, -1)
    mask = torch.arange(n_frames) < torch.tensor(lengths)[:, None]
    padded = logits.masked_fill(~mask[..., None], torch.nan)
    log_y, log_not_y = pool(padded, hidden, mask)
    for b, length in enumerate(lengths):
        expected = by_hand(pool, logits[b, :length], hidden[b, :length])
        assert_close(log_y[b], expected)
        assert_close(log_y[b].exp() + log_not_y[b].exp(), torch.ones(K).double())
        assert_close(pool(logits[b : b + 1, :length], hidden[b : b + 1, :length])[0][0], log_y[b])


@pytest.mark.parametrize("base", BASES)
def test_gradients_agree_with_finite_differences(base):
    pool, mask = make(base, (3, 2)), torch.arange(11) < torch.tensor([[11], [7]])
    logits, hidden = noise(2, 11, K).requires_grad_(), noise(2, 11, H, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z, h: pool(z, h, mask), (logits, hidden))


@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize("scale", [1e2, 1e30])
@pytest.mark.parametrize("base", BASES)
def test_loss_and_gradients_are_finite_for_any_logits(base, scale, target):
    pool = make(base, (3, 2)).float()
    signs = torch.tensor([1, -1, 0, -1, 1, -0.5, 1e-3, 1, 1, 1, -1, -1, -1])
    logits = (scale * signs[None, :, None]).repeat(2, 1, K).requires_grad_()
    mask = torch.arange(13) < torch.tensor([[13], [4]])
    log_y, log_not_y = pool(logits, noise(2, 13, H).float(), mask)
    (clip_loss(log_y, log_not_y, torch.full((2, K), target)) + pool.penalty()).backward()
    assert log_y.isfinite().all()
    assert log_not_y.isfinite().all()
    for tensor in (logits, *pool.parameters()):
        assert tensor.grad is None or tensor.grad.isfinite().all()


def test_a_hierarchy_of_maxima_is_the_maximum():
    logits, mask = noise(2, 23, K), torch.arange(23) < torch.tensor([[23], [9]])
    assert_close(make("max", (5, 4))(logits, mask=mask), MaxPooling(K)(logits, mask=mask))


def test_a_hierarchy_of_averages_is_the_average_where_its_segments_are_full():
    logits = noise(2, 40, K)
    assert_close(make("average", (5, 4))(logits), AveragePooling(K)(logits))
    shorter = make("average", (5, 4))(logits[:, :39])[0]
    assert not torch.allclose(shorter, AveragePooling(K)(logits[:, :39])[0])


def test_a_clip_of_one_segment_is_pooled_at_once():
    logits = noise(2, 5, K)
    assert_close(make("power", (5, 4))(logits), make("power", (5, 4)).base(logits))


def test_the_attention_logit_of_a_segment_is_the_mean_of_those_of_its_frames():
    pool, logits, hidden = make("attention", (4,)), noise(1, 8, K), noise(1, 8, H, seed=1)
    attention = pool.base.attention(hidden)[0].detach().numpy()  # (T, K)
    y = logits[0].sigmoid().numpy()
    pieces = [slice(0, 4), slice(4, 8)]
    weights = [np.exp(attention[p]) for p in pieces]
    segments = [
        (w * y[p]).sum(axis=0) / w.sum(axis=0) for w, p in zip(weights, pieces, strict=True)
    ]
    weights = np.exp([attention[p].mean(axis=0) for p in pieces])
    expected = (weights * segments).sum(axis=0) / weights.sum(axis=0)
    assert_close(pool(logits, hidden)[0][0].exp(), torch.from_numpy(expected))


@settings(max_examples=60, deadline=None)
@given(
    y=st.lists(st.floats(0.01, 0.99), min_size=2, max_size=20),
    n=st.floats(0.05, 8.0),
    size=st.integers(2, 6),
)
def test_a_frame_is_pushed_up_where_it_and_its_segment_are_on_the_same_side(y, n, size):
    """Of θ times their segment and the clip: two pushes down are a push up."""
    base = PowerPooling(1, init=n)
    pool = HierarchicalPooling(1, base=base, levels=(size,)).double()
    y, theta = torch.tensor(y, dtype=torch.float64).requires_grad_(), n / (n + 1)
    log_y, _ = pool(y.logit()[None, :, None])
    log_y.exp().sum().backward()
    pieces = y.detach().split(size)
    segment = torch.stack([base(piece.logit()[None, :, None])[0].exp()[0, 0] for piece in pieces])
    own = torch.cat([piece - theta * value for piece, value in zip(pieces, segment, strict=True)])
    whole = torch.cat(
        [
            (value - theta * log_y.exp()[0, 0]).expand(len(piece))
            for piece, value in zip(pieces, segment, strict=True)
        ]
    ).detach()
    clear = ((own.abs() > 1e-4) & (whole.abs() > 1e-4)).detach()
    assert torch.equal((y.grad > 0)[clear], (own * whole > 0)[clear])


def test_one_set_of_parameters_serves_every_stage():
    text = "hierarchical:base=power,levels=5x4x3,init=2,max=3,lambda=0.5"
    pool = make_pooling(PoolingConfig.parse(text), K, H)
    assert [name for name, _ in pool.named_parameters()] == ["base.n"]
    assert pool.learned() == pool.base.learned()
    assert pool.penalty().item() == 0.5 * K * 4
    pool.base.n.data.fill_(9.0)
    pool.project_()
    assert pool.learned()["n"] == [3.0] * K


def test_levels_are_read_from_text_a_number_or_a_sequence():
    for levels in ("5x4", (5, 4), [5, 4]):
        assert HierarchicalPooling(K, levels=levels).levels == (5, 4)
    assert HierarchicalPooling(K, levels=7).levels == (7,)
    assert make_pooling(PoolingConfig.parse("hierarchical:levels=7"), K, H).levels == (7,)


def test_a_level_longer_than_any_clip_takes_no_memory_for_it():
    pool = HierarchicalPooling(K, base="linear", levels=(4096,) * 8)
    logits = torch.zeros(1, 4097, K)
    assert pool(logits)[0].shape == (1, K)


def test_attention_below_a_hierarchy_says_what_it_needs():
    with pytest.raises(ValueError, match="hidden states of size 3, got 0"):
        HierarchicalPooling(K, H, base=AttentionPooling(K, H))(torch.zeros(1, 9, K))
