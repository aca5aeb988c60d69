"""The network: shapes, parameter counts, and padding that changes nothing."""

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from sedtool.checkpoint import load_model
from sedtool.config import (
    ARCHITECTURES,
    ArchitectureConfig,
    PoolingConfig,
    network,
    parse_architecture,
)
from sedtool.crnn import (
    BLOCKS,
    ContextBlock,
    Convolution,
    Detector,
    FrequencyDynamicConvolution,
    GatedBlock,
    floor,
    frame_mask,
    pooled_length,
)
from sedtool.errors import ConfigError
from sedtool.pooling import POOLINGS

EARLIER_MODEL = Path(__file__).parent / "golden/models/format2.safetensors"


def detector(arch="small", pooling="power", n_classes=5, n_mels=64):
    config = arch if isinstance(arch, ArchitectureConfig) else parse_architecture(arch)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = Detector(config, PoolingConfig(pooling), n_mels, n_classes)
        for module in built.modules():  # statistics as after some training
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
                torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    return built.eval()


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_dcase2017_network_has_the_parameters_its_layers_add_up_to():
    convolutions = (25 * 1 * 32 + 32) + (25 * 32 * 64 + 64) + (25 * 64 * 128 + 128)
    norms = 2 * (32 + 64 + 128)
    first_gru = 2 * 3 * (100 * 1024 + 100 * 100 + 2 * 100)
    second_gru = 2 * 3 * (100 * 200 + 100 * 100 + 2 * 100)
    linear = 200 * 17 + 17
    total = convolutions + norms + first_gru + second_gru + linear
    assert total == 1_117_689  # as counted in the reference systems' sizes
    built = detector("dcase2017", "linear", 17)
    assert sum(p.numel() for p in built.parameters()) == total


def gru(n_in, units):
    """Return the parameters of a bidirectional layer."""
    return 2 * 3 * (units * n_in + units * units + 2 * units)


def test_dcase2019_network_has_the_parameters_its_layers_add_up_to():
    convolutions = (25 * 1 * 160 + 160) + (25 * 160 * 160 + 160) + (9 * 160 * 160 + 160)
    norms = 2 * 3 * 160
    linear = 128 * 10 + 10
    total = convolutions + norms + gru(160, 64) + gru(128, 64) + linear
    assert round(total / 1e6, 2) == 1.04  # as counted in the reference systems' sizes
    built = detector("dcase2019", "linear", 10)
    assert sum(p.numel() for p in built.parameters()) == total


def test_dcase2019_baseline_has_the_parameters_its_layers_add_up_to():
    convolutions = (9 * 64 + 64) + 2 * (9 * 64 * 64 + 64)
    norms, gates = 2 * 3 * 64, 3 * (64 * 64 + 64)
    linear, attention = 128 * 10 + 10, 128 * 10 + 10
    total = convolutions + norms + gates + gru(64, 64) + gru(128, 64) + linear + attention
    assert total == 214_356  # as counted in the reference systems' sizes
    built = detector("dcase2019-baseline", "attention-classes", 10)
    assert sum(p.numel() for p in built.parameters()) == total


def test_crnn7_has_the_parameters_its_layers_add_up_to():
    widths = [(1, 32), (32, 64), (64, 128), (128, 256), *[(256, 256)] * 3]
    blocks = sum(9 * a * b + b + 2 * b + b * b + b for a, b in widths)  # norm and gate, too
    total = blocks + gru(256, 256) + gru(512, 256) + 512 * 10 + 10
    built = detector("crnn7", "linear", 10, n_mels=128)
    assert sum(p.numel() for p in built.parameters()) == total
    dynamic = 0
    for a, b in widths[1:]:  # three more kernels, and what chooses among the four
        hidden = max(a // 4, 4)
        dynamic += 3 * (9 * a * b + b) + 3 * a * hidden + 2 * hidden + 4 * hidden + 4
    built = detector("crnn7:fdy=4", "linear", 10, n_mels=128)
    assert sum(p.numel() for p in built.parameters()) == total + dynamic


@pytest.mark.parametrize(
    ("arch", "frames", "expected"),
    [
        ("crnn7-small", 625, 157),
        ("crnn7-small:time-pooling=1", 86, 86),
        ("dcase2017", 400, 100),
        ("small", 397, 100),
        ("dcase2019", 86, 86),
        ("dcase2019:time-pooling=4", 86, 22),
        ("dcase2019-baseline", 864, 108),
        ("dcase2019-baseline", 86, 11),
    ],
)
def test_feature_frames_become_the_output_frames_of_the_architecture(arch, frames, expected):
    output = detector(arch)(noise(2, frames, 64), torch.tensor([frames, frames]))
    assert output.logits.shape == (2, expected, 5)
    assert output.log_y.shape == output.log_not_y.shape == (2, 5)


def test_lengths_round_up_at_every_pooling():
    pools = ((1, 2), (2, 2), (2, 2))
    lengths = torch.tensor([1, 2, 3, 4, 5, 400])
    assert pooled_length(lengths, pools).tolist() == [1, 1, 1, 1, 2, 100]
    assert frame_mask(torch.tensor([1, 3]), 3).tolist() == [[True, False, False], [True] * 3]


THIN = {  # every kind of block, with windows that do not divide 100 frames
    "max": ArchitectureConfig((8, 8), (5, 3), ((3, 4), (2, 4)), gru_units=8),
    "gated": ArchitectureConfig((8, 8), (3, 3), ((3, 5), (2, 4)), gru_units=8, block="glu-average"),
    "dynamic": ArchitectureConfig((8, 8), (3, 3), ((3, 5), (2, 4)), gru_units=8, fdy=3),
    "floor": ArchitectureConfig((8, 8), (5, 3), ((3, 4), (2, 4)), gru_units=8, floor=0.1),
}


@pytest.mark.parametrize(
    ("arch", "pooling", "length"),
    [
        *(("small", name, 57) for name in sorted(POOLINGS)),
        *(("small", "power", n) for n in (1, 3, 80, 98)),
        *(("small:gru-layers=0", name, 57) for name in ("power", "attention")),
        *(("dcase2019-baseline", "power", n) for n in (1, 3, 7, 57, 80, 98)),
        *(("dcase2019:time-pooling=8", "power", n) for n in (3, 57)),
        *(("crnn7-small", "power", n) for n in (1, 57)),
        *(("crnn7-small:fdy=4", "power", n) for n in (1, 57)),
        *((THIN[kind], "linear", n) for kind in THIN for n in range(1, 100, 7)),
    ],
)
def test_in_evaluation_padding_changes_nothing_to_1e_5(arch, pooling, length):
    model = detector(arch, pooling)
    clip, long = noise(1, length, 64), noise(1, 100, 64, seed=2)
    alone = model(clip, torch.tensor([length]))
    batch = torch.full((2, 100, 64), 50.0)
    batch[0, :length], batch[1] = clip[0], long[0]
    together = model(batch, torch.tensor([length, 100]))
    n = alone.logits.shape[1]
    assert together.mask[0].sum() == n
    assert_close(together.logits[0, :n], alone.logits[0], rtol=1e-5, atol=1e-5)
    assert_close(together.log_y[0], alone.log_y[0], rtol=1e-5, atol=1e-5)
    assert_close(together.log_not_y[0], alone.log_not_y[0], rtol=1e-5, atol=1e-5)


def test_without_a_gru_a_frame_says_nothing_of_what_is_out_of_reach_of_its_convolutions():
    """Three blocks of 5 frames reach 6 frames to each side; a GRU takes in the whole clip."""
    clip = noise(1, 40, 64).requires_grad_()
    seen = {}
    for layers in (0, 2):
        model = detector(f"small:time-pooling=1,gru-layers={layers}")
        (gradient,) = torch.autograd.grad(model(clip, torch.tensor([40])).logits[0, 20].sum(), clip)
        seen[layers] = gradient[0].abs().sum(dim=1).nonzero()[:, 0].tolist()
    assert seen == {0: list(range(14, 27)), 2: list(range(40))}


@pytest.mark.parametrize(
    "arch", ["small", "small:floor=0.1", "dcase2019-baseline", "crnn7-small:fdy=2"]
)
def test_in_training_padding_gets_no_gradient(arch):
    model = detector(arch).train()
    batch = noise(2, 80, 64).requires_grad_()
    model(batch, torch.tensor([80, 40])).log_y.sum().backward()
    assert not batch.grad[1, 40:].any()
    assert batch.grad[1, :40].any()


def test_features_are_normalised_by_the_stored_statistics():
    model, features = detector(), noise(1, 40, 64)
    model.mean.fill_(3.0)
    model.std.fill_(2.0)
    shifted = model(features * 2 + 3, torch.tensor([40])).logits
    model.mean.fill_(0.0)
    model.std.fill_(1.0)
    assert_close(shifted, model(features, torch.tensor([40])).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ["small", "dcase2019-baseline", "crnn7-small:fdy=2"])
def test_bfloat16_autocast_gives_finite_float32_clip_scores(arch):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = detector(arch)(noise(2, 40, 64), torch.tensor([40, 23]))
    assert output.log_y.dtype == torch.float32
    assert output.log_y.isfinite().all()


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    pool=st.tuples(st.integers(1, 5), st.integers(1, 3)),
    seed=st.integers(0, 2**31),
)
def test_average_pooling_is_the_mean_over_the_frames_that_are_in_the_clip(lengths, pool, seed):
    """The gate is made the identity, so that the mean is all that the block does."""
    n_frames, (time, frequency) = max(lengths), pool
    config = ArchitectureConfig((3,), (1,), (pool,), block="glu-average")
    block = GatedBlock(config, 0).double().eval()
    torch.nn.init.eye_(block.linear.weight)
    x = noise(len(lengths), 1, n_frames, 7, seed=seed).double()
    lengths = torch.tensor(lengths)
    padding = ~frame_mask(lengths, n_frames)[:, None, :, None]
    gated = block.norm(block.conv(x, None))
    gated = (gated * gated.sigmoid()).detach()  # (B, C, T, F)
    found = block(x, padding)
    for b, length in enumerate(lengths):
        for t in range(-(-n_frames // time)):
            for f in range(-(-7 // frequency)):
                last = min((t + 1) * time, int(length))
                window = gated[b, :, t * time : last, f * frequency : (f + 1) * frequency]
                expected = window.mean(dim=(1, 2)) if last > t * time else torch.zeros(3).double()
                assert_close(found[b, :, t, f], expected)


def test_the_gate_of_the_baseline_is_its_input():
    """GLU as the DCASE 2019 baseline has it: Linear(x) * sigmoid(x), over channels."""
    block = GatedBlock(ArchitectureConfig((4,), (3,), ((1, 1),), block="glu-average"), 0).eval()
    x = noise(2, 1, 6, 5)
    normed = block.norm(block.conv(x, None))
    linear = torch.einsum("oc,bctf->botf", block.linear.weight, normed)
    linear = linear + block.linear.bias[:, None, None]
    assert_close(block(x, None), linear * normed.sigmoid())


def test_context_gating_lets_through_the_input():
    config = ArchitectureConfig((4,), (3,), ((1, 1),), block="context-average")
    block = ContextBlock(config, 0).eval()
    x = noise(2, 1, 6, 5)
    normed = block.norm(block.conv(x, None))
    linear = torch.einsum("oc,bctf->botf", block.linear.weight, normed)
    linear = linear + block.linear.bias[:, None, None]
    assert_close(block(x, None), normed * linear.sigmoid())


def dynamic_convolution():
    config = ArchitectureConfig((4, 6), (3, 3), ((1, 1), (1, 1)), fdy=3)
    convolution = FrequencyDynamicConvolution(config, 1).double().eval()
    for layer in convolution.attention.children():  # so that weights differ much between bands
        if isinstance(layer, torch.nn.Conv1d):
            torch.nn.init.normal_(layer.weight, std=20.0)
    return convolution


def test_a_frequency_dynamic_convolution_is_that_of_the_kernel_mixed_for_each_band():
    """The oracle mixes kernels and convolves once a band, instead of mixing convolutions."""
    convolution, x = dynamic_convolution(), noise(2, 4, 7, 5).double()
    logits = convolution.attention(x.mean(dim=2))
    weights = (logits / 31).softmax(dim=1)  # (B, N, F)
    assert weights.max() > 0.6
    kernels = convolution.kernels.weight.unflatten(0, (3, 6))
    biases = convolution.kernels.bias.unflatten(0, (3, 6))
    found = convolution(x, None)
    for b in range(2):
        for f in range(5):
            kernel = torch.einsum("n,noikl->oikl", weights[b, :, f], kernels)
            bias = torch.einsum("n,no->o", weights[b, :, f], biases)
            expected = torch.nn.functional.conv2d(x[b : b + 1], kernel, bias, padding=1)
            assert_close(found[b, :, :, f], expected[0, :, :, f])


def test_equal_kernels_make_a_frequency_dynamic_convolution_an_ordinary_one():
    convolution, x = dynamic_convolution(), noise(2, 4, 7, 5).double()
    with torch.no_grad():
        weight = convolution.kernels.weight[:6].repeat(3, 1, 1, 1)
        convolution.kernels.weight.copy_(weight)
    expected = torch.nn.functional.conv2d(x, weight[:6], padding=1)
    assert_close(convolution(x, None), expected)


def test_the_first_convolution_is_an_ordinary_one_in_a_frequency_dynamic_network():
    first, *others = detector("crnn7-small:fdy=4", n_mels=128).crnn.blocks
    assert type(first.conv) is Convolution
    assert {type(block.conv) for block in others} == {FrequencyDynamicConvolution}


def test_kernels_of_a_frequency_dynamic_convolution_are_drawn_as_those_of_an_ordinary_one():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ArchitectureConfig((64, 64), (3, 3), ((1, 1), (1, 1)), fdy=4)
        kernels = FrequencyDynamicConvolution(config, 1).kernels
    bound = (6 / (9 * 64 + 9 * 64)) ** 0.5  # Xavier uniform
    assert kernels.weight.abs().max().item() == pytest.approx(bound, rel=0.01)


def test_dropout_is_where_the_architecture_has_it():
    shares = {}
    for arch in ("dcase2017:dropout=0.3", "dcase2019:dropout=0.3", "dcase2019-baseline"):
        crnn = detector(arch).crnn
        blocks = {block.dropout.p for block in crnn.blocks}
        shares[arch] = (blocks, crnn.dropout.p, crnn.gru.dropout, crnn.last_dropout.p)
    assert shares == {
        "dcase2017:dropout=0.3": ({0.0}, 0.3, 0.3, 0.3),
        "dcase2019:dropout=0.3": ({0.0}, 0.0, 0.0, 0.3),
        "dcase2019-baseline": ({0.5}, 0.0, 0.0, 0.5),
    }


def test_initial_weights_of_dcase2019_are_drawn_as_its_baseline_draws_them_but_for_gates():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        crnn = Detector(ARCHITECTURES["dcase2019-baseline"], PoolingConfig("linear"), 64, 10).crnn
    crnn.requires_grad_(False)
    blocks = crnn.blocks
    bound = 2**0.5 * (6 / (9 * 64 + 9 * 64)) ** 0.5  # Xavier uniform, gain √2
    assert blocks[1].conv.weight.abs().max() == pytest.approx(bound, rel=0.01)
    scales = torch.cat([block.norm.weight for block in blocks])
    assert scales.mean() == pytest.approx(1.0, abs=0.01)
    assert scales.std() == pytest.approx(0.02, rel=0.2)
    assert crnn.classify.weight.std() == pytest.approx(0.01, rel=0.1)
    assert not crnn.classify.bias.any()
    gate = 2 * (6 / (64 + 64)) ** 0.5 / 12**0.5  # but these are Xavier's: see GatedBlock
    assert blocks[2].linear.weight.std() == pytest.approx(gate, rel=0.05)
    weight = crnn.gru.weight_hh_l0  # (3 * 64, 64)
    assert_close(weight.T @ weight, torch.eye(64), rtol=1e-4, atol=1e-4)


def test_batch_norms_are_not_those_of_the_last_batch():
    for arch in ARCHITECTURES:
        assert {block.norm.momentum for block in detector(arch).crnn.blocks} == {0.1}
    flipped = detector("dcase2019-baseline:norm-momentum=0.99")
    assert {block.norm.momentum for block in flipped.crnn.blocks} == {0.99}


# The text of an architecture


def test_a_name_alone_is_the_architecture_of_that_name():
    for name, config in ARCHITECTURES.items():
        assert parse_architecture(name) == config


def test_keys_of_a_text_change_the_architecture():
    text = "dcase2019:time-pooling=4,gru-units=32,gru-layers=1,dropout=0.2,dropout-at=all"
    assert parse_architecture(text + ",init=xavier,norm-momentum=0.05") == dataclasses.replace(
        ARCHITECTURES["dcase2019"],
        pools=((2, 4), (2, 4), (1, 4)),
        gru_units=32,
        gru_layers=1,
        dropout=0.2,
        dropout_at="all",
        init="xavier",
        norm_momentum=0.05,
    )
    assert parse_architecture("dcase2017:time-pooling=4") == ARCHITECTURES["dcase2017"]
    assert parse_architecture("dcase2017:time-pooling=1").pools == ((1, 2), (1, 2), (1, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dcase2018", "unknown architecture 'dcase2018'; one of: crnn7, crnn7-small, dcase2017"),
        ("small:units=3", "no option 'units'; it has: time-pooling, gru-units, gru-layers"),
        ("small:gru-units", "'gru-units' of 'small:gru-units' is not key=value"),
        ("small:gru-units=x", "'gru-units=x' of 'small:gru-units=x' needs a whole number"),
        ("small:gru-units=1.5", "needs a whole number"),
        ("small:gru-units=" + "9" * 5000, "needs a whole number"),
        ("small:dropout=much", "needs a number"),
        ("small:dropout=nan", r"dropout must be in \[0, 1\), not nan"),
        ("small:dropout=0.1,dropout=0.2", "is given twice"),
        ("small:gru-units=0", r"gru_units must be in \[1, 4096\], not 0"),
        ("small:time-pooling=3", "time-pooling must be one of 1, 2, 4, 8, not 3"),
        ("small:dropout-at=end", "dropout_at must be one of all, blocks, linear, not 'end'"),
        ("small:init=best", "init must be one of xavier, dcase2019, not 'best'"),
        ("small:norm-momentum=0", r"norm_momentum must be in \(0, 1\], not 0"),
    ],
)
def test_a_wrong_text_of_an_architecture_says_what_is_valid(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_architecture(text)


def test_the_blocks_that_need_no_torch_are_those_of_the_network():
    assert set(network.BLOCKS) == set(BLOCKS)


def test_an_unknown_block_is_refused():
    with pytest.raises(ConfigError, match="unknown block 'resnet'; one of: context-average, glu"):
        Detector(parse_architecture("small:block=resnet"), PoolingConfig(), 16, 2)


# What earlier versions made


def earlier_input():
    features = torch.sin(torch.arange(2 * 37 * 64.0)).reshape(2, 37, 64)
    return features, torch.tensor([37, 20])


def test_a_model_file_of_before_there_were_other_blocks_scores_as_it_did():
    model = load_model(EARLIER_MODEL)  # of version 0.1.0; the scores are in its header
    with torch.inference_mode():
        output = model.detector(*earlier_input())
    assert_close(output.log_y, torch.tensor(model.trained["log_y"]))
    assert_close(output.logits, torch.tensor(model.trained["logits"]))


def test_a_seed_draws_the_weights_that_it_drew_before_there_were_other_blocks():
    model = load_model(EARLIER_MODEL)  # with the weights that seed 0 drew
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = Detector(model.architecture, model.pooling, 64, 2).state_dict()
    assert_close(dict(drawn), dict(model.detector.state_dict()))


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
@pytest.mark.parametrize("n_frames", [301, 1000])
def test_a_long_clip_goes_through_the_blocks_in_pieces_with_the_same_scores(
    arch, n_frames, monkeypatch
):
    network = detector(arch).crnn
    clip, length = noise(1, n_frames, 64), torch.tensor([n_frames])
    with torch.inference_mode():
        whole = network(clip, length)
        monkeypatch.setattr("sedtool.crnn.PIECE_MEMORY", 100 * network.frame_memory)
        pieces = network(clip, length)
    for one, other in zip(whole, pieces, strict=True):
        assert_close(one, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("arch", ["crnn7-small:fdy=2", "small:floor=0.1"])
def test_a_long_clip_stays_whole_where_frames_depend_on_all_of_it(arch, monkeypatch):
    network = detector(arch).crnn
    clip, length = noise(1, 301, 64), torch.tensor([301])
    with torch.inference_mode():
        whole = network(clip, length)
        monkeypatch.setattr("sedtool.crnn.PIECE_MEMORY", 100 * network.frame_memory)
        assert torch.equal(network(clip, length)[0], whole[0])


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    share=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**31),
)
def test_the_floor_of_a_band_is_the_quantile_of_its_valid_frames(lengths, share, seed):
    features = noise(len(lengths), max(lengths), 3, seed=seed)
    found = floor(features, torch.tensor(lengths), share)
    for b, length in enumerate(lengths):
        valid, level = features[b, :length], found[b]
        assert (valid == level).any(dim=0).all()
        assert ((valid <= level).sum(dim=0) >= share * length - 1e-4).all()
        assert ((valid < level).sum(dim=0) < share * length + 1e-4).all()


def test_above_the_floor_a_steady_background_of_any_level_and_colour_is_the_same():
    """What a filter adds to all frames of a band changes the features, and not the second input."""
    model, clip = detector("small:floor=0.1"), noise(1, 40, 64)
    first = model.crnn.blocks[0].conv
    torch.nn.init.zeros_(first.weight[:, :1])  # of the features themselves
    coloured = clip + 3 * noise(1, 1, 64, seed=3)
    scores = [model(each, torch.tensor([40])).logits for each in (clip, coloured)]
    assert_close(*scores, rtol=1e-4, atol=1e-5)
    torch.nn.init.ones_(first.weight[:, :1])
    assert not torch.allclose(model(clip, torch.tensor([40])).logits, scores[0])
