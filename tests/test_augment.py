"""Augmentations change features and labels together, and are functions of seed and step."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close

from sedtool.augment import AUGMENTATIONS, Batch, TimeShift, augmented, make_augmentations
from sedtool.config import TrainConfig
from sedtool.config.named import AUGMENTATION_NAMES, AugmentationConfig
from sedtool.draws import generator
from sedtool.errors import ConfigError

LENGTHS = (20, 13, 20, 9, 20, 7, 20, 1)  # of 3 weak, 2 unlabelled and 3 strong clips
WEAK, STRONG, POOLED = slice(0, 3), slice(5, None), 3
ON_BATCHES = sorted(set(AUGMENTATIONS) - {"time-shift"})


def batch(seed=0, soft=False, padding=float("nan")):
    """Return a batch whose strong clips have each class in some of their frames."""
    rng = np.random.default_rng(seed)
    lengths = torch.tensor(LENGTHS)
    features = rng.normal(size=(8, 20, 12)).astype(np.float32)
    frames = (rng.random((3, 7, 4)) < 0.4).astype(np.float32)
    frames *= rng.random(frames.shape).astype(np.float32) if soft else 1
    frames[np.arange(7)[None] >= -(-np.array(LENGTHS[STRONG]) // POOLED)[:, None]] = 0
    targets = (rng.random((8, 4)) < 0.5).astype(np.float32)
    targets[3:5], targets[STRONG] = 0, frames.max(axis=1)
    made = Batch(
        *(torch.from_numpy(features), lengths, torch.from_numpy(targets)),
        *(torch.from_numpy(frames), WEAK, STRONG, list("abcdefgh"), POOLED, 0.5),
    )
    return made._replace(features=features_with(made, padding))


def features_with(one, padding):
    return one.features.masked_fill(~one.valid, padding)


def make(text):
    (augmentation,) = make_augmentations([AugmentationConfig.parse(text)]).values()
    return augmentation


def changed(text, seed=0, **how):
    before = batch(seed, **how)
    return before, make(text)(before, generator("test", seed))


def same(one, other):
    """Assert that all but the features beyond the end of clips is the same."""
    assert_close(features_with(one, 0.0), features_with(other, 0.0), rtol=0, atol=0)
    for name in ("lengths", "targets", "frame_targets"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("name", ON_BATCHES)
def test_a_batch_is_changed_as_draws_say_and_the_given_one_stays_as_it_is(name):
    before, after = changed(name)
    same(before, batch())
    same(after, changed(name)[1])
    assert not torch.equal(features_with(after, 0.0), features_with(before, 0.0))
    other = make(name)(before, generator("test", 1))
    assert not torch.equal(features_with(after, 0.0), features_with(other, 0.0))


@pytest.mark.parametrize("name", ON_BATCHES)
def test_what_stands_beyond_the_end_of_a_clip_reaches_nothing(name):
    same(changed(name, padding=0.0)[1], changed(name)[1])
    assert features_with(changed(name)[1], 0.0).isfinite().all()


@pytest.mark.parametrize("name", [name for name in ON_BATCHES if not AUGMENTATIONS[name].shared])
def test_what_is_not_shared_leaves_labels_and_lengths_alone(name):
    before, after = changed(name)
    same(after, before._replace(features=after.features))


@given(st.integers(0, 10_000))
def test_gain_adds_one_number_a_clip_in_stored_units(seed):
    before, after = changed("gain:most=6", seed)
    added = after.features - before.features
    gains = added.nanmean(dim=(1, 2), keepdim=True)
    shown = features_with(after._replace(features=added), 0.0)
    assert_close(shown, (gains * before.valid).expand_as(shown))
    assert (gains.abs() <= 6 * 0.5 + 1e-6).all()  # a decibel is half a unit here
    assert len(set(gains.flatten().tolist())) == 8


@given(st.integers(0, 10_000))
def test_a_frequency_mask_keeps_neighbouring_bands_at_their_lowest(seed):
    before, after = changed("freq-mask:least=0.1,most=0.5", seed)
    for b, n in enumerate(LENGTHS):
        x, y = before.features[b, :n], after.features[b, :n]
        masked = (y == x.amin(dim=0)).all(dim=0)
        if n > 1:  # a single frame is its own lowest
            assert 1 <= masked.sum() <= 6
            assert masked.int().diff().abs().sum() <= 2
        assert torch.equal(y[:, ~masked], x[:, ~masked])


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 12]))
def test_a_frequency_warp_of_a_line_is_a_line_with_another_slope_up_to_the_last_band(seed, size):
    slopes = torch.arange(1.0, 9)[:, None, None]
    line = torch.arange(size).float() * slopes  # (B, 1, F)
    one = batch()
    one = one._replace(features=line.expand(-1, 20, -1))
    after = make("freq-warp:most=0.3")(one, generator("test", seed)).features / slopes
    if size == 12:
        factors = after[:, :1, 1:2]
        assert ((factors - 1).abs() <= 0.3 + 1e-6).all() and len(set(factors.flatten())) == 8
        assert_close(after, (torch.arange(12) * factors).clamp_max(11).expand_as(after))
    assert (after >= 0).all() and (after <= size - 1).all()


@given(st.integers(0, 10_000), st.booleans())
def test_a_time_mask_silences_frames_and_zeroes_their_strong_labels(seed, soft):
    before, after = changed("time-mask:least=0.2,most=0.6", seed, soft=soft)
    quiet = before.quiet[:, 0]
    for b, n in enumerate(LENGTHS):
        x, y = before.features[b, :n], after.features[b, :n]
        silenced = (y == quiet[b]).all(dim=1)
        assert torch.equal(y[~silenced], x[~silenced])
        if n < 2:
            continue
        whole = [bool(piece.all()) for piece in silenced.split(POOLED)]  # of output frames
        assert 0.2 * len(whole) - 0.5 <= sum(whole) <= 0.6 * len(whole) + 0.5
        assert silenced.tolist() == [whole[t // POOLED] for t in range(n)]  # no frame is cut
        assert np.abs(np.diff(np.array(whole, int))).sum() <= 2  # one stretch
        if b >= STRONG.start:
            was, now = before.frame_targets[b - 5], after.frame_targets[b - 5]
            gone = torch.tensor([*whole, *[False] * (7 - len(whole))])
            assert torch.equal(now, was.masked_fill(gone[:, None], 0))
            assert_close(after.targets[b], now.amax(dim=0))
    assert torch.equal(after.targets[:5], before.targets[:5])
    assert torch.equal(after.lengths, before.lengths)


def test_a_clip_that_is_masked_whole_has_no_class_if_its_labels_are_strong():
    before, after = changed("time-mask:least=1,most=1")
    assert not after.targets[STRONG].any() and not after.frame_targets.any()
    assert torch.equal(after.targets[:5], before.targets[:5])
    assert_close(features_with(after, 0.0), before.quiet.expand_as(before.features) * after.valid)


@given(st.integers(0, 10_000), st.booleans())
def test_mixup_mixes_features_and_labels_of_two_clips_of_a_kind_by_one_share(seed, soft):
    before, after = changed("mixup:alpha=1", seed, soft=soft)
    draw = generator("test", seed)
    share, rows = draw.beta(1, 1), np.arange(8)
    for part in (WEAK, STRONG):
        rows[part] = draw.permutation(rows[part])
    assert {*rows[WEAK]} == {0, 1, 2} and {*rows[STRONG]} == {5, 6, 7}
    for b, other in enumerate(rows):
        n = max(LENGTHS[b], LENGTHS[other])
        assert after.lengths[b] == n
        x = [  # of both, to the end of the longer one
            torch.cat([before.features[c, : LENGTHS[c]], before.quiet[c].expand(20, -1)])[:n]
            for c in (b, other)
        ]
        assert_close(after.features[b, :n], share * x[0] + (1 - share) * x[1])
        pairs = [(before.targets[b], before.targets[other], after.targets[b])]
        if b >= STRONG.start:
            frames = (before.frame_targets[b - 5], before.frame_targets[other - 5])
            pairs.append((*frames, after.frame_targets[b - 5]))
        for mine, its, mixed in pairs:
            assert_close(mixed, share * mine + (1 - share) * its, rtol=1e-5, atol=1e-6)
    assert torch.equal(features_with(after, 0.0)[3:5], features_with(before, 0.0)[3:5])


@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([1, 2]))
def test_hard_mixup_adds_powers_and_joins_labels_of_clips_of_a_kind(seed, soft, most):
    before, after = changed(f"hard-mixup:share=0.7,most={most}", seed, soft=soft)
    draw = generator("test", seed)
    chosen = draw.random(8) < 0.7
    n_others = draw.integers(1, most + 1, 8) * chosen
    drawn = []
    for _ in range(most):
        rows = np.arange(8)
        for part in (WEAK, slice(3, 5), STRONG):
            rows[part] = draw.permutation(rows[part])
        drawn.append(rows)
    decibel = before.decibel
    for b in range(8):
        mixed = [b, *(int(rows[b]) for rows in drawn[: n_others[b]])]
        n = max(LENGTHS[c] for c in mixed)
        assert after.lengths[b] == n
        x = [
            torch.cat([before.features[c, : LENGTHS[c]], before.quiet[c].expand(20, -1)])[:n]
            for c in mixed
        ]
        power = sum(10 ** (part.double() / decibel / 10) for part in x)
        expected = (10 * decibel * power.log10()).float()
        assert_close(after.features[b, :n], expected, rtol=1e-4, atol=1e-5)
        if len(mixed) == 1:
            assert torch.equal(after.features[b, :n], before.features[b, :n])
        assert torch.equal(after.targets[b], before.targets[mixed].amax(dim=0))
        if b >= STRONG.start:
            of_strong = before.frame_targets[[c - STRONG.start for c in mixed]]
            assert torch.equal(after.frame_targets[b - STRONG.start], of_strong.amax(dim=0))


@given(st.integers(0, 10_000))
def test_a_step_filter_changes_a_few_wide_bands_by_a_number_each(seed):
    before, after = changed("filter:fewest=2,greatest=3,width=4,low=-3,high=5", seed)
    for b, n in enumerate(LENGTHS):
        added = (after.features - before.features)[b, :n] / before.decibel
        assert_close(added, added[:1].expand_as(added), rtol=0, atol=2e-5)  # in all frames
        assert (added > -3.001).all() and (added < 5.001).all()
        borders = np.flatnonzero(added[0].diff().abs() > 1e-4) + 1
        assert len(borders) in (1, 2)
        assert (np.diff([0, *borders, 12]) >= 4).all()


@given(st.integers(0, 10_000))
def test_a_linear_filter_lies_on_lines_between_its_borders(seed):
    before, after = changed("filter:mode=linear,fewest=2,greatest=2,width=5", seed)
    for b in range(8):
        added = (after.features - before.features)[b, 0].double() / before.decibel
        assert (added > -4.501).all() and (added < 6.001).all()
        bends = np.flatnonzero(added.diff().diff().abs() > 1e-3) + 1
        assert len(bends) == 1 and 5 <= bends[0] <= 7


@pytest.mark.parametrize("mode", ["step", "linear"])
def test_a_filter_has_as_many_bands_as_there_is_room_for(mode):
    one = batch()
    one = one._replace(features=one.features[:, :, :3])
    after = make(f"filter:mode={mode},fewest=3,greatest=5,width=4")(one, generator("test", 0))
    added = (after.features - one.features)[:, 0]
    one_band = added[:, :1] if mode == "step" else (added[:, :1] + added[:, 2:]) / 2
    assert_close(added[:, 1:2], one_band)


@pytest.mark.parametrize("name", ON_BATCHES)
@pytest.mark.parametrize("n_strong", [0, 8])
def test_a_batch_of_clips_of_one_kind_is_changed_too(name, n_strong):
    one, n = batch(), 8 - n_strong
    frames = torch.rand(n_strong, 7, 4)
    one = one._replace(weak=slice(0, n), strong=slice(n, None), frame_targets=frames)
    after = make(name)(one, generator("test", 0))
    assert after.frame_targets.shape == frames.shape
    assert features_with(after, 0.0).isfinite().all()


@pytest.mark.parametrize("name", [n for n in ON_BATCHES if "mask" not in n])
@pytest.mark.parametrize("soft", [None, (), (0, 2, 4)])
def test_what_is_made_on_the_way_is_on_the_device_of_the_batch(name, soft):
    with FakeTensorMode(allow_non_fake_inputs=True):  # says where two tensors are not together
        one = batch()._replace(soft=soft, frame_targets=torch.empty(3 + len(soft or ()), 7, 4))
        after = make(name)(one.to(torch.device("cuda")), generator("test", 0))
    assert {after.features.device.type, after.frame_targets.device.type} == {"cuda"}


def test_student_and_teacher_share_what_changes_labels_and_draw_the_rest_apart():
    made = {name: make(name) for name in ON_BATCHES}
    moving = ("hard-mixup", "mixup", "time-mask")
    assert tuple(name for name in made if made[name].shared) == moving
    both = augmented(batch(), made, "both", 0, 3)
    same(both, augmented(batch(), {k: made[k] for k in moving}, "both", 0, 3))
    student, teacher = (augmented(both, made, whose, 0, 3) for whose in ("student", "teacher"))
    assert not torch.equal(features_with(student, 0.0), features_with(teacher, 0.0))
    same(student, teacher._replace(features=student.features))


def test_the_names_that_need_no_torch_are_those_of_the_augmentations():
    assert set(AUGMENTATION_NAMES) == set(AUGMENTATIONS)
    for name in AUGMENTATION_NAMES:
        assert type(make(name)) is AUGMENTATIONS[name]


def test_the_option_for_shifts_is_short_for_the_augmentation():
    short, long = (
        TrainConfig(time_shift=16.0, shift_mode="pad"),
        TrainConfig(augment=("time-shift:std=16,mode=pad",)),
    )
    assert short.augmentations == long.augmentations
    shift = make("time-shift:std=16,mode=pad")
    assert isinstance(shift, TimeShift)
    drawn = [shift.draw_frames(0, 0, step, i) for step in range(100) for i in range(20)]
    assert np.std(drawn) == np.clip(np.std(drawn), 15.0, 17.0)
    assert abs(np.mean(drawn)) < 1.5
    expected = generator("time shift", 4, 1, 2, 3).normal(0.0, 16.0)
    assert shift.draw_frames(4, 1, 2, 3) == round(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "mixpu",
            "unknown augmentation 'mixpu'; one of: filter, freq-mask.*did you mean 'mixup'",
        ),
        ("mixup:beta=1", "augmentation 'mixup' has no option 'beta'; it has: alpha"),
        ("mixup:alpha=0", "alpha of mixup must be at least 0.001"),
        ("gain:most=-1", "most of gain must not be negative"),
        ("time-mask:most=2", "time-mask needs 0 <= least <= most <= 1"),
        ("freq-mask:least=0.5", "freq-mask needs 0 <= least <= most <= 1"),
        ("time-shift:mode=wrap", "mode of time-shift must be roll or pad"),
        ("time-shift:std=-1", "std of time-shift must not be negative"),
        ("gain:most=x", "augmentation option 'most=x' of 'gain:most=x' is not key=number"),
        ("gain:mode=x", "has no option 'mode'"),
        ("hard-mixup:share=2", r"share of hard-mixup must be within \[0, 1\], but is 2"),
        ("hard-mixup:most=3", "most of hard-mixup must be 1 or 2, but is 3"),
        ("freq-warp:most=1", r"most of freq-warp must be within \[0, 1\), but is 1"),
        ("filter:mode=round", "mode of filter must be step or linear"),
        ("filter:fewest=5", "filter needs 1 <= fewest <= greatest"),
        ("filter:width=0", "width of filter must be at least 1, but is 0"),
        ("filter:width=1.5", "fewest, greatest and width of filter must be whole numbers"),
        ("filter:low=7", "filter needs low <= high"),
    ],
)
def test_what_makes_no_sense_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        make(text)


def test_an_augmentation_is_given_once():
    for texts in (("gain", "gain:most=2"), ("time-shift",)):
        with pytest.raises(ConfigError, match=r"augment has .* twice"):
            TrainConfig(time_shift=3.0, augment=texts)


SOFT = (0, 2, 4)  # of the weak clips the first and the last, of the unlabelled ones the second


def with_soft_targets(seed=0):
    """Return the batch with soft targets of some clips that have no strong labels."""
    one = batch(seed, soft=True)
    rng = np.random.default_rng(seed + 1)
    frames = rng.random((len(SOFT), 7, 4)).astype(np.float32)
    of_all = torch.cat([torch.from_numpy(frames), one.frame_targets])
    return one._replace(soft=SOFT, frame_targets=of_all)


def test_frame_targets_are_of_soft_clips_then_of_strong_ones():
    assert with_soft_targets().framed == [0, 2, 4, 5, 6, 7]
    assert batch().framed == batch()._replace(soft=()).framed == STRONG


@given(st.integers(0, 1000))
def test_a_time_mask_zeroes_soft_targets_and_leaves_weak_labels(seed):
    before = with_soft_targets(seed)
    after = make("time-mask:least=0.2,most=0.6")(before, generator("test", seed))
    of_strong = make("time-mask:least=0.2,most=0.6")(
        before._replace(soft=None, frame_targets=before.frame_targets[3:]), generator("test", seed)
    )
    assert torch.equal(after.frame_targets[3:], of_strong.frame_targets)
    assert torch.equal(after.targets, of_strong.targets)
    quiet = before.quiet[:, 0]
    for k, b in enumerate(SOFT):
        n, was = LENGTHS[b], before.frame_targets[k]
        silenced = (after.features[b, :n] == quiet[b]).all(dim=1)
        gone = torch.tensor([bool(piece.all()) for piece in silenced.split(POOLED)])
        gone = torch.cat([gone, torch.zeros(7 - len(gone), dtype=torch.bool)])
        assert gone.any()
        assert torch.equal(after.frame_targets[k], was.masked_fill(gone[:, None], 0))


@given(st.integers(0, 1000))
def test_mixup_mixes_soft_targets_with_soft_ones_of_the_same_kind(seed):
    before = with_soft_targets(seed)
    before = before._replace(targets=torch.eye(8)[:, :4] + 1)  # that tell clips apart, or nearly
    after = make("mixup:alpha=1")(before, generator("test", seed))
    draw = generator("test", seed)
    share, other = draw.beta(1, 1), np.arange(8)
    for kind in ([1], [5, 6, 7], [0, 2], [4]):
        other[kind] = draw.permutation(kind)
    for place, b in enumerate(before.framed):
        partner = before.framed.index(other[b])
        mixed = share * before.frame_targets[place] + (1 - share) * before.frame_targets[partner]
        assert_close(after.frame_targets[place], mixed, rtol=1e-5, atol=1e-6)
        assert_close(
            after.targets[b], share * before.targets[b] + (1 - share) * before.targets[other[b]]
        )
    assert torch.equal(after.targets[3], before.targets[3])  # unlabelled, and without scores


@given(st.integers(0, 1000))
def test_hard_mixup_joins_soft_targets_with_soft_ones_of_the_same_kind(seed):
    before = with_soft_targets(seed)
    after = make("hard-mixup:share=1,most=1")(before, generator("test", seed))
    draw = generator("test", seed)
    draw.random(8), draw.integers(1, 2, 8)
    other = np.arange(8)
    for kind in ([1], [3], [5, 6, 7], [0, 2], [4]):
        other[kind] = draw.permutation(kind)
    partners = [before.framed.index(other[b]) for b in before.framed]
    joined = torch.maximum(before.frame_targets, before.frame_targets[partners])
    assert torch.equal(after.frame_targets, joined)
    assert torch.equal(after.targets, torch.maximum(before.targets, before.targets[other]))
