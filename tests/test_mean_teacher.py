"""Mean teacher: losses, ramp and averages are what their formulas say, step by step."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from sedtool.augment import add_mel_noise, shift_events, time_shift
from sedtool.config import FEATURE_PRESETS, ArchitectureConfig, PoolingConfig, TrainConfig
from sedtool.crnn import Detector, Output
from sedtool.datasets import Batch, frame_targets
from sedtool.draws import torch_draws
from sedtool.labels import Event, Vocabulary
from sedtool.mean_teacher import Teacher, average_share, consistency_losses, ramp
from sedtool.training.learner import Learner

VOCABULARY = Vocabulary(["a", "b", "c"])
NANO = ArchitectureConfig((4,), (3,), ((2, 4),), gru_units=5, gru_layers=1)
FEATURES = FEATURE_PRESETS["dcase2017"]
N_STEPS = 6


def config(**changes):
    given = {"method": "mean-teacher", "batch_size": (2, 3, 2), "lr": 0.01, "pooling": "power"}
    return TrainConfig(**given | changes)


def detector(pooling="power:lambda=0.01"):
    with torch_draws(torch.device("cpu"), "test", 0):
        network = Detector(NANO, PoolingConfig.parse(pooling), 8, 3)
    network.mean.fill_(0.5)
    network.std.fill_(2.0)
    return network


def batch(step):
    """Return a batch of 2 weak, 3 unlabelled and 2 strong clips, most of them padded."""
    rng = np.random.default_rng(step)
    lengths = torch.tensor([12, 7, 12, 9, 5, 11, 6])
    features = rng.normal(size=(7, 12, 8)).astype(np.float32)
    targets = (rng.random((7, 3)) < 0.5).astype(np.float32)
    frames = (rng.random((2, 6, 3)) < 0.4).astype(np.float32)
    tensors = (torch.from_numpy(features), lengths, torch.from_numpy(targets))
    return Batch(*tensors, torch.from_numpy(frames), slice(0, 2), slice(5, None), ["clip"] * 7)


# An independent computation in float64: formulas of the papers on probabilities, by hand


class Oracle:
    """The same network in float64 under hand-written losses, Adam and averages."""

    def __init__(self, network, settings):
        self.settings = settings
        self.student = copy.deepcopy(network).double()
        self.teacher = copy.deepcopy(self.student)
        self.moments = [[0 * p, 0 * p] for p in self.student.parameters()]

    def clip_and_frames(self, network, features, lengths):
        out = network(features, lengths)
        return out.log_y.exp(), out.logits.sigmoid(), out.mask

    def step(self, batch, number):
        settings, rows = self.settings, len(batch.lengths)
        with torch_draws(torch.device("cpu"), "teacher", settings.seed, number):
            noise = settings.noise * torch.randn_like(batch.features)
        noisy = (batch.features.double().exp() + noise.abs().double()).log()
        if settings.noise_domain == "normalised":
            noisy = batch.features.double() + 2.0 * noise.double()
        before = {k: v.clone() for k, v in self.teacher.state_dict().items()}
        clip_t, frame_t, _ = self.clip_and_frames(self.teacher.train(), noisy, batch.lengths)
        if settings.ema_buffers:
            self.teacher.load_state_dict(before)  # hearing a batch teaches it nothing
        clip, frame, mask = self.clip_and_frames(
            self.student.train(), batch.features.double(), batch.lengths
        )
        labelled = [0, 1, 5, 6] if settings.strong_clip_loss else [0, 1]
        losses = {
            "clip_loss": cross_entropy(clip[labelled], batch.targets[labelled].double()),
            "frame_loss": cross_entropy(
                frame[5:][mask[5:]], batch.frame_targets[mask[5:]].double()
            ),
            "frame_consistency": sum(
                ((frame[b] - frame_t[b].detach()) ** 2)[mask[b]].sum() for b in range(rows)
            )
            / (mask.sum() * 3),
            "clip_consistency": ((clip - clip_t.detach()) ** 2).sum() / (rows * 3),
        }
        t = min(number / (settings.ramp_up or settings.warm_up), 1)
        weight = settings.consistency * math.exp(-5 * (1 - t) ** 2)
        exponents = self.student.pooling.n
        total = settings.clip_weight * losses["clip_loss"] + 0.01 * (exponents**2).sum()
        total = total + settings.frame_weight * losses["frame_loss"]
        total = total + weight * (losses["frame_consistency"] + losses["clip_consistency"])
        self.student.zero_grad()
        total.backward()
        self.adam(number + 1)
        self.average(number)
        return {"train_loss": total.item(), "consistency": weight} | {
            name: loss.item() for name, loss in losses.items()
        }

    def rate(self, number):
        warm_up = self.settings.warm_up
        if number < warm_up:
            return self.settings.lr * math.exp(-5 * (1 - number / warm_up) ** 2)
        if self.settings.schedule != "cosine":
            return self.settings.lr
        turn = math.pi * (number - warm_up) / (N_STEPS - warm_up)
        return self.settings.lr * math.cos(turn / 2) ** 2

    @torch.no_grad()
    def adam(self, count):
        for parameter, moments in zip(self.student.parameters(), self.moments, strict=True):
            moments[0] = 0.9 * moments[0] + 0.1 * parameter.grad
            moments[1] = 0.999 * moments[1] + 0.001 * parameter.grad**2
            mean, square = moments[0] / (1 - 0.9**count), moments[1] / (1 - 0.999**count)
            parameter -= self.rate(count - 1) * mean / (square.sqrt() + 1e-8)

    @torch.no_grad()
    def average(self, number):
        alpha = min(1 - 1 / (number + 1), self.settings.ema)
        student, teacher = self.student.state_dict(), self.teacher.state_dict()
        weights = {name for name, _ in self.student.named_parameters()}
        for name, value in teacher.items():
            if name in weights or (self.settings.ema_buffers and value.is_floating_point()):
                value.copy_(alpha * value + (1 - alpha) * student[name])
            elif self.settings.ema_buffers:
                value.copy_(student[name])


def cross_entropy(y, target):
    return -(target * y.log() + (1 - target) * (1 - y).log()).mean()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema_buffers": False},
        {"strong_clip_loss": True, "ema": 0.6},
        {"noise": 0.0, "consistency": 0.5},
        {"noise": 0.7, "noise_domain": "normalised", "ramp_up": 2},
        {"ramp_up": 0, "warm_up": 3},
        {"warm_up": 2, "schedule": "cosine"},
        {"schedule": "cosine", "clip_weight": 0.5, "frame_weight": 3.0},
    ],
)
def test_every_step_is_that_of_an_independent_computation_in_float64(changes):
    settings = config(**{"ramp_up": 4} | changes)
    network = detector()
    oracle = Oracle(network, settings)
    learner = Learner(network.double(), settings, torch.device("cpu"), FEATURES, N_STEPS)
    for number in range(N_STEPS):
        losses = learner.step(batch(number), number)
        expected = oracle.step(batch(number), number)
        assert losses.keys() == expected.keys()
        for name, value in expected.items():
            assert losses[name] == pytest.approx(value, rel=1e-5), (number, name)
        for mine, other in (
            (learner.detector, oracle.student),
            (learner.teacher.network, oracle.teacher),
        ):
            assert_close(mine.state_dict(), other.state_dict(), rtol=1e-4, atol=1e-6)


def test_the_ramp_rises_from_exp_minus_five_to_one_and_stays():
    assert ramp(0, 100) == pytest.approx(math.exp(-5))
    assert ramp(50, 100) == pytest.approx(math.exp(-5 * 0.25))
    assert ramp(100, 100) == ramp(1000, 100) == ramp(0, 0) == 1.0


def test_the_ramp_takes_half_of_the_run_unless_its_steps_are_given():
    learner = Learner(detector(), config(), torch.device("cpu"), FEATURES, 10)
    assert learner.ramp_up == 5
    for changes in ({"ramp_up": 7}, {"ramp_up": 7, "warm_up": 3}, {"warm_up": 7}):
        learner = Learner(detector(), config(**changes), torch.device("cpu"), FEATURES, 10)
        assert learner.ramp_up == 7


def test_the_first_averages_are_means_of_all_students_so_far():
    ema = 0.999
    values = np.random.default_rng(0).normal(size=20)
    average = 0.0
    for step, value in enumerate(values):
        share = average_share(step, ema)
        average = share * average + (1 - share) * value
        assert average == pytest.approx(values[: step + 1].mean())
    assert average_share(10**6, ema) == ema
    assert average_share(0, ema) == 0.0


def test_after_the_first_step_the_teacher_is_the_student_buffers_included():
    learner = Learner(detector(), config(), torch.device("cpu"), FEATURES, N_STEPS)
    learner.step(batch(0), 0)
    assert_close(
        learner.teacher.network.state_dict(), learner.detector.state_dict(), rtol=0, atol=0
    )
    learner.step(batch(1), 1)
    bias = "crnn.classify.bias"
    student, teacher = learner.detector.state_dict(), learner.teacher.network.state_dict()
    assert not torch.equal(student[bias], teacher[bias])


@pytest.mark.parametrize(("ema_buffers", "n_heard"), [(True, 0), (False, 3)])
def test_a_teacher_that_counts_for_nothing_hears_what_its_own_statistics_need(ema_buffers, n_heard):
    def learned(consistency, heard):
        settings = config(consistency=consistency, ema_buffers=ema_buffers)
        learner = Learner(detector(), settings, torch.device("cpu"), FEATURES, N_STEPS)
        learner.teacher.network.register_forward_hook(lambda *_: heard.append(1))
        for number in range(3):
            losses = learner.step(batch(number), number)
        assert ("frame_consistency" in losses) == bool(len(heard))
        return learner

    heard = []
    without, hardly = learned(0.0, heard), learned(1e-30, [])
    assert len(heard) == n_heard
    for name in ("student", "teacher"):
        one, other = (each.networks[name].state_dict() for each in (without, hardly))
        assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("average_buffers", [True, False])
def test_what_a_teacher_hears_moves_its_statistics_only_where_they_are_its_own(average_buffers):
    network = detector()
    teacher = Teacher(copy.deepcopy(network), 0.999, average_buffers)
    before = teacher.network.crnn.blocks[0].norm.running_mean.clone()
    drawn = batch(0)
    teacher.network.train()(drawn.features, drawn.lengths)
    moved = not torch.equal(teacher.network.crnn.blocks[0].norm.running_mean, before)
    assert moved == (not average_buffers)


def output(logits, mask):
    y = (logits.sigmoid() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return Output(logits, mask, y.log(), (1 - y).log())


def test_padding_has_no_part_in_consistency():
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    one, other = torch.randn(2, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    frame, clip = consistency_losses(output(one, mask), output(other, mask))
    one, other = (logits.masked_fill(~mask[..., None], torch.nan) for logits in (one, other))
    filled = Output(one, mask, *output(one.nan_to_num(), mask)[2:])
    again = consistency_losses(filled, Output(other, mask, *output(other.nan_to_num(), mask)[2:]))
    assert again == (frame, clip)
    assert frame > 0


def test_consistency_teaches_the_student_alone():
    mask = torch.ones(1, 4, dtype=torch.bool)
    one, other = torch.zeros(1, 4, 3, requires_grad=True), torch.ones(1, 4, 3, requires_grad=True)
    sum(consistency_losses(output(one, mask), output(other, mask))).backward()
    assert one.grad.abs().sum() > 0
    assert other.grad is None


# Strong labels as frames


def test_events_go_to_the_nearest_borders_of_frames_and_last_one_frame_at_least():
    events = [
        Event("x", 0.14, 0.46, "a"),  # 1.4 to 4.6 frames: 1 to 5
        Event("x", 0.51, 0.52, "b"),  # shorter than a frame: the one it begins in
        Event("x", 0.80, 7.0, "b"),  # past the end
        Event("x", 0.99, 0.995, "c"),  # rounds to the end: the last frame
        Event("x", 0.30, 0.30, "c"),  # says that the clip has no event
    ]
    targets = frame_targets(events, 10, 10.0, VOCABULARY)
    assert targets.T.tolist() == [
        [0, 1, 1, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ]


def test_a_gap_is_learned_where_an_event_begins_as_another_of_its_class_ends():
    spans = [(0.5, 0.9, "a"), (0.1, 0.5, "a"), (0.3, 0.5, "b"), (0.55, 0.8, "b"), (0.4, 0.5, "c")]
    events = [Event("x", *span) for span in (*spans, (0.5, 0.7, "c"), (0.55, 1.0, "a"))]
    targets = frame_targets(events, 10, 10.0, VOCABULARY, touching_gap=2)
    assert targets.T.tolist() == [
        [0, 1, 1, 0, 0, 1, 1, 1, 1, 1],  # frames 3 and 4 are free; those that overlap are one
        [0, 0, 0, 1, 1, 0, 1, 1, 0, 0],  # these do not touch
        [0, 0, 0, 0, 1, 1, 1, 0, 0, 0],  # a frame of the first stays
    ]


def test_lengths_in_frames_are_right_on_average():
    rng = np.random.default_rng(0)
    spans = [(a, a + d) for a, d in rng.uniform((0, 0.2), (5, 3), (3000, 2))]
    frames = [
        frame_targets([Event("x", *span, "a")], 100, 10.0, VOCABULARY).sum() for span in spans
    ]
    lengths = [10 * (offset - onset) for onset, offset in spans]
    assert np.mean(frames) == pytest.approx(np.mean(lengths), abs=0.02)


@given(
    onset=st.integers(0, 19),
    length=st.integers(1, 20),
    shift=st.integers(-50, 50),
    mode=st.sampled_from(["roll", "pad"]),
)
def test_events_move_as_their_frames_do(onset, length, shift, mode):
    event = Event("x", onset / 10, min(onset + length, 20) / 10, "a")
    still = frame_targets([event], 20, 10.0, VOCABULARY)
    moved = shift_events([event], shift / 10, 2.0, mode)
    frames = frame_targets(moved, 20, 10.0, VOCABULARY)
    if mode == "pad":  # silence comes in
        silence = np.zeros_like(still)
        shift = max(-20, min(20, shift))
        expected = np.roll(np.concatenate([silence, still, silence]), shift, axis=0)[20:40]
    else:
        expected = time_shift(still, shift)
    np.testing.assert_array_equal(frames, expected)


def test_what_padding_brings_in_is_the_quietest_of_each_band():
    features = np.array([[3.0, 1.0], [2.0, 5.0], [4.0, 6.0]])
    assert time_shift(features, 1, "pad").tolist() == [[2.0, 1.0], [3.0, 1.0], [2.0, 5.0]]
    assert time_shift(features, -2, "pad").tolist() == [[4.0, 6.0], [2.0, 1.0], [2.0, 1.0]]
    assert time_shift(features, 1).tolist() == [[4.0, 6.0], [3.0, 1.0], [2.0, 5.0]]


@given(
    onset=st.floats(0, 9.9),
    length=st.floats(0.01, 9),
    seconds=st.floats(-30, 30),
)
def test_rolled_events_keep_what_they_last(onset, length, seconds):
    event = Event("x", onset, min(onset + length, 10.0), "a")
    moved = shift_events([event], seconds, 10.0)
    assert sum(e.offset - e.onset for e in moved) == pytest.approx(event.offset - event.onset)
    assert all(0 <= e.onset < e.offset <= 10.0 for e in moved)


def test_of_an_event_in_two_parts_a_sliver_is_left_out():
    moved = shift_events([Event("x", 0.4, 0.8, "a")], -2.8, 2.0)
    assert [(e.onset, e.offset) for e in moved] == [(pytest.approx(1.6), pytest.approx(2.0))]
    event = Event("x", 1.0, 1.5, "a")
    assert len(shift_events([event], 0.96, 2.0, shortest=0.05)) == 1
    assert len(shift_events([event], 0.90, 2.0, shortest=0.05)) == 2
    tiny = Event("x", 1.0, 1.06, "a")  # both parts are slivers: the longer stays
    (moved,) = shift_events([tiny], 0.98, 2.0, shortest=0.05)
    assert (moved.onset, moved.offset) == (0.0, pytest.approx(0.04))


def test_an_event_labelled_past_the_end_of_its_clip_is_cut_there_before_it_moves():
    (moved,) = shift_events([Event("x", 9.0, 11.0, "a")], -1.0, 10.0)
    assert (moved.onset, moved.offset) == (8.0, 9.0)
    assert shift_events([Event("x", 10.5, 11.0, "a")], -1.0, 10.0) == []


# Noise


@pytest.mark.parametrize("preset", ["dcase2017", "dcase2019"])
def test_mel_noise_is_added_to_linear_values(preset):
    settings = FEATURE_PRESETS[preset]
    rng = np.random.default_rng(0)
    linear = rng.uniform(1e-9, 3.0, (2, 5, 4))
    stored = 20 * np.log10(linear) if preset == "dcase2019" else np.log(linear)
    with torch_draws(torch.device("cpu"), "teacher", 0):
        noisy = add_mel_noise(torch.from_numpy(stored), 0.25, settings)
    with torch_draws(torch.device("cpu"), "teacher", 0):
        noise = 0.25 * torch.randn_like(torch.from_numpy(stored)).abs().numpy()
    expected = np.log(linear + noise)
    if preset == "dcase2019":
        expected = 20 * np.log10(linear + noise)
    np.testing.assert_allclose(noisy.numpy(), expected, rtol=1e-9)
