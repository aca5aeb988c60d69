"""The network: shapes, parameter counts, and padding that changes nothing."""

import pytest
import torch
from torch.testing import assert_close

from sedtool.config import ARCHITECTURES, PoolingConfig
from sedtool.crnn import Detector, frame_mask, pooled_length
from sedtool.pooling import POOLINGS


def detector(arch="small", pooling="power", n_classes=5):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = Detector(ARCHITECTURES[arch], PoolingConfig(pooling), 64, n_classes)
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


@pytest.mark.parametrize(
    ("arch", "frames", "expected"), [("dcase2017", 400, 100), ("small", 397, 100)]
)
def test_ten_seconds_become_ten_frames_a_second(arch, frames, expected):
    output = detector(arch)(noise(2, frames, 64), torch.tensor([frames, frames]))
    assert output.logits.shape == (2, expected, 5)
    assert output.log_y.shape == output.log_not_y.shape == (2, 5)


def test_lengths_round_up_at_every_pooling():
    pools = ((1, 2), (2, 2), (2, 2))
    lengths = torch.tensor([1, 2, 3, 4, 5, 400])
    assert pooled_length(lengths, pools).tolist() == [1, 1, 1, 1, 2, 100]
    assert frame_mask(torch.tensor([1, 3]), 3).tolist() == [[True, False, False], [True] * 3]


@pytest.mark.parametrize(
    ("pooling", "length"),
    [(name, 57) for name in sorted(POOLINGS)] + [("power", n) for n in (1, 3, 80, 98)],
)
def test_in_evaluation_padding_changes_nothing_to_1e_5(pooling, length):
    model, clip, long = detector(pooling=pooling), noise(1, length, 64), noise(1, 100, 64, seed=2)
    alone = model(clip, torch.tensor([length]))
    batch = torch.full((2, 100, 64), 50.0)
    batch[0, :length], batch[1] = clip[0], long[0]
    together = model(batch, torch.tensor([length, 100]))
    n = alone.logits.shape[1]
    assert together.mask[0].sum() == n
    assert_close(together.logits[0, :n], alone.logits[0], rtol=1e-5, atol=1e-5)
    assert_close(together.log_y[0], alone.log_y[0], rtol=1e-5, atol=1e-5)
    assert_close(together.log_not_y[0], alone.log_not_y[0], rtol=1e-5, atol=1e-5)


def test_in_training_padding_gets_no_gradient():
    model = detector().train()
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


def test_bfloat16_autocast_gives_finite_float32_clip_scores():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = detector()(noise(2, 40, 64), torch.tensor([40, 23]))
    assert output.log_y.dtype == torch.float32
    assert output.log_y.isfinite().all()
