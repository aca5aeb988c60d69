"""A loss is one line for clips and frames; means and masks are those of the base class."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.testing import assert_close

from sedtool.config import TrainConfig
from sedtool.config.named import LOSS_NAMES
from sedtool.errors import ConfigError
from sedtool.losses import LOSSES, BinaryCrossEntropy, Loss, make_loss
from sedtool.pooling import clip_loss
from sedtool.runs import settings_of_weights


class Squared(Loss):
    def values(self, log_y, log_not_y, target):
        return (log_y.exp() - target).square()


LOGITS = 3 * torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
TARGET = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(1))
MASK = torch.arange(5) < torch.tensor([[5], [2]])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(Squared(), F.mse_loss), (BinaryCrossEntropy(), F.binary_cross_entropy)],
    ids=["squared", "bce"],
)
@pytest.mark.parametrize("padding", [0.0, float("nan")])
def test_frames_beyond_the_end_of_a_clip_do_not_count(loss, expected, padding):
    logits = LOGITS.masked_fill(~MASK[..., None], padding).requires_grad_()
    value = loss.of_frames(logits, MASK, TARGET)
    assert_close(value, expected(LOGITS.sigmoid()[MASK], TARGET[MASK]))
    value.backward()
    assert not logits.grad[~MASK].any() and logits.grad.isfinite().all()


def test_clips_are_compared_by_the_logarithms_of_their_probabilities():
    z, target = LOGITS[:, 0], TARGET[:, 0]
    log_y, log_not_y = F.logsigmoid(z), F.logsigmoid(-z)
    assert_close(Squared().of_clips(log_y, log_not_y, target), F.mse_loss(z.sigmoid(), target))
    expected = clip_loss(log_y, log_not_y, target)
    assert BinaryCrossEntropy().of_clips(log_y, log_not_y, target).equal(expected)


def test_the_cross_entropy_of_frames_is_that_of_torch_to_the_bit():
    losses = F.binary_cross_entropy_with_logits(LOGITS, TARGET, reduction="none")
    assert BinaryCrossEntropy().of_frames(LOGITS, MASK | True, TARGET).equal(losses.sum() / 30)


def test_frames_by_onsets_and_offsets_count_more_along_a_sine():
    target = torch.zeros(2, 12, 2)
    target[0, 4:, 0], target[1, :9, 1] = 0.5, 1.0
    mask = torch.arange(12) < torch.tensor([[12], [9]])  # the second clip ends with its event
    weights = BinaryCrossEntropy(edges=3, reach=2).frame_weights(target, mask)
    expected = torch.ones(2, 12, 2)
    far, near = math.cos(math.pi / 2 * 0.75), math.cos(math.pi / 2 * 0.25)
    expected[0, 2:6, 0] += 3 * 0.5 * torch.tensor([far, near, near, far])
    assert_close(weights, expected)


def test_the_loss_of_edges_is_the_weighted_mean_of_the_frames_of_clips():
    loss = BinaryCrossEntropy(edges=2, reach=3)
    weights, losses = loss.frame_weights(TARGET, MASK)[MASK], []
    for z, y in zip(LOGITS[MASK].flatten(), TARGET[MASK].flatten(), strict=True):
        losses.append(F.binary_cross_entropy(z.sigmoid(), y))
    expected = (torch.stack(losses) * weights.flatten()).sum() / weights.sum()
    padded = LOGITS.masked_fill(~MASK[..., None], float("nan"))
    assert_close(loss.of_frames(padded, MASK, TARGET), expected)
    assert weights.max() > 1.5


@pytest.mark.parametrize("n_frames", [1, 2, 5])
@pytest.mark.parametrize("reach", [1, 7])
def test_clips_of_any_length_have_weights(n_frames, reach):
    target = torch.ones(3, n_frames, 2)
    mask = torch.ones(3, n_frames, dtype=torch.bool)
    weights = BinaryCrossEntropy(edges=1, reach=reach).frame_weights(target, mask)
    assert torch.equal(weights, torch.ones(3, n_frames, 2))


def test_weights_of_edges_are_on_the_device_of_the_labels():
    with FakeTensorMode():  # says where two tensors are not together
        target = torch.empty(2, 7, 3, device="cuda")
        mask = torch.empty(2, 7, dtype=torch.bool, device="cuda")
        loss = BinaryCrossEntropy(edges=1).of_frames(target.bfloat16(), mask, target)
    assert (loss.device.type, loss.dtype) == ("cuda", torch.float32)


def test_names_and_options_are_checked():
    with pytest.raises(ConfigError, match="edges of bce must not be negative, but is -1"):
        make_loss("bce:edges=-1")
    with pytest.raises(ConfigError, match=r"reach of bce must be a whole number .* but is 0\.5"):
        make_loss("bce:reach=0.5")
    assert set(LOSS_NAMES) == set(LOSSES)
    assert type(make_loss(TrainConfig.loss)) is BinaryCrossEntropy
    with pytest.raises(ConfigError, match="unknown loss 'focal'; one of: bce"):
        make_loss("focal")


def test_settings_that_are_new_do_not_make_another_run_of_an_earlier_one():
    new = {"loss", "augment", "warm_up", "clip_weight", "frame_weight", "pooling_start"}
    new |= {"soft_confidence", "touching_gap"}
    assert not new & settings_of_weights(TrainConfig()).keys()
    given = settings_of_weights(TrainConfig(augment=("gain",), loss="other"))
    assert (given["augment"], given["loss"]) == (("gain",), "other")
