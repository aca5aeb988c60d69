"""A loss is one line for clips and frames; means and masks are those of the base class."""

import pytest
import torch
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


def test_names_and_options_are_checked():
    assert set(LOSS_NAMES) == set(LOSSES)
    assert type(make_loss(TrainConfig.loss)) is BinaryCrossEntropy
    with pytest.raises(ConfigError, match="unknown loss 'focal'; one of: bce"):
        make_loss("focal")


def test_settings_that_are_new_do_not_make_another_run_of_an_earlier_one():
    assert not {"loss", "augment"} & settings_of_weights(TrainConfig()).keys()
    given = settings_of_weights(TrainConfig(augment=("gain",), loss="other"))
    assert (given["augment"], given["loss"]) == (("gain",), "other")
