"""Draws are pure functions of their place in the run; shifts roll what is valid."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sedtool.augment import time_shift
from sedtool.config import FEATURE_PRESETS, ExtractConfig
from sedtool.datasets import FeatureSet
from sedtool.draws import Sampler, generator, torch_draws
from sedtool.errors import ArtifactError
from sedtool.extraction import extract


def targets(*rows):
    return np.array(rows, np.float32)


@given(
    labels=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12),
    balance=st.sampled_from(["classes", "none"]),
    cut=st.integers(0, 40),
)
def test_a_sampler_that_starts_anywhere_draws_what_one_from_the_start_draws(labels, balance, cut):
    rows = targets(*labels)
    whole = Sampler(rows, balance, seed=3).indices(0, 60)
    assert Sampler(rows, balance, seed=3).indices(cut, 60 - cut) == whole[cut:]


def test_every_class_is_the_reason_of_equally_many_draws():
    rows = np.zeros((102, 3), np.float32)
    rows[:100, 0], rows[100, 1], rows[101, 2] = 1, 1, 1
    drawn = Sampler(rows, "classes", seed=0).indices(0, 300)
    assert sum(i < 100 for i in drawn) == drawn.count(100) == drawn.count(101) == 100
    assert sorted(i for i in drawn if i < 100) == list(range(100))  # each once in a pass


def test_clips_without_labels_have_a_queue_of_their_own():
    drawn = Sampler(targets([1, 0], [0, 0]), "classes", seed=0).indices(0, 10)
    assert drawn.count(1) == 5


@pytest.mark.parametrize("n_rare", [0, 1, 2, 3])
def test_classes_are_balanced_unasked_where_one_has_ten_times_the_clips_of_another(n_rare):
    """A class without a clip is none of them, nor are clips without a class."""
    labels = np.zeros((27 + n_rare, 3))
    labels[:22, 0], labels[25 : 25 + n_rare, 1] = 1, 1
    chosen = "classes" if n_rare in (1, 2) else "none"
    auto, like = Sampler(labels, "auto", seed=3), Sampler(labels, chosen, seed=3)
    assert auto.balance == chosen
    assert auto.indices(0, 60) == like.indices(0, 60)


def test_without_balance_every_clip_comes_once_in_a_pass():
    drawn = Sampler(targets(*[[1, 0]] * 10), "none", seed=0).indices(0, 20)
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]


def test_seeds_differ():
    rows = targets(*[[1, 0]] * 10)
    assert Sampler(rows, "none", 0).indices(0, 10) != Sampler(rows, "none", 1).indices(0, 10)


def test_a_shift_moves_frames_and_loses_none():
    features = np.arange(10).reshape(5, 2)
    assert time_shift(features, 2)[2].tolist() == [0, 1]
    assert np.array_equal(time_shift(time_shift(features, 2), -2), features)


def test_a_draw_depends_on_its_purpose_and_place_alone():
    first = generator("sampler", 1, 2).random()
    assert generator("sampler", 1, 2).random() == first
    assert generator("sampler", 1, 3).random() != first
    assert generator("shift", 1, 2).random() != first


def test_global_generators_are_left_as_found():
    before = torch.get_rng_state()
    with torch_draws(torch.device("cpu"), "dropout", 0, 1):
        one = torch.rand(3)
    with torch_draws(torch.device("cpu"), "dropout", 0, 1):
        assert torch.equal(torch.rand(3), one)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture(scope="module")
def parts(tiny, tmp_path_factory):
    """Return the features of the tiny data set in three parts."""
    folder = tmp_path_factory.mktemp("parts")
    paths = [folder / f"part-{number}.h5" for number in (1, 2, 3)]
    for number, path in enumerate(paths, 1):
        settings = ExtractConfig(shard=f"{number}/3")
        extract([tiny.audio], path, FEATURE_PRESETS["dcase2017"], settings, root=tiny.audio)
    return paths


def test_draws_on_mps_are_seeded_by_purpose_and_key_and_the_generator_is_restored(monkeypatch):
    """With a stand-in for the generator of mps: its state is the list of its seeds."""
    seeds = [["before"]]
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda device: list(seeds[-1]))
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state, device: seeds.append(state))
    monkeypatch.setattr(torch.mps, "manual_seed", lambda seed: seeds.append([seed]))
    for key in (0, 0, 1):
        with torch_draws(torch.device("mps"), "dropout", key):
            assert torch.initial_seed() == seeds[-1][0]  # that of the CPU
    first, restored, again, _, other, _ = seeds[1:]
    assert first == again != other
    assert restored == ["before"]


def test_all_parts_are_as_good_as_the_whole(tiny, parts):
    whole, joined = FeatureSet([tiny.features]), FeatureSet(parts)
    assert set(joined.place) == set(whole.place)
    assert all(np.array_equal(joined.clip(name), whole.clip(name)) for name in whole.place)


@pytest.mark.parametrize(("given", "numbers"), [((0, 2), "1, 3"), ((1,), "2")])
def test_parts_of_which_others_are_missing_are_refused_unless_asked_for(parts, given, numbers):
    some = [parts[i] for i in given]
    message = f"parts {numbers} of 3 are given ({some[0]}"
    with pytest.raises(ArtifactError, match=f"{re.escape(message)}.*give all, or --partial"):
        FeatureSet(some)
    assert len(FeatureSet(some, partial=True).place) == 8 * len(some)


def test_parts_of_two_lists_do_not_complete_each_other(tiny, parts, tmp_path):
    other = tmp_path / "other.h5"
    settings = ExtractConfig(shard="1/2")
    audio = tiny.audio / "val"
    extract([audio], other, FEATURE_PRESETS["dcase2017"], settings, root=audio)
    with pytest.raises(ArtifactError, match="parts 1 of 2 are given"):
        FeatureSet([*parts, other])
