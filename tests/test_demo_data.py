"""The demo's sounds are new in every draw, and its labels are true to them."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from sedtool import demo
from sedtool.audio import AudioReader
from sedtool.demo import SAMPLE_RATE, SOUNDS, make_clip
from sedtool.labels import read_events, read_names, read_vocabulary, read_weak
from sedtool.recipes.soundscapes import rms, trim, write_dataset

SIZES = {"train": 3, "validation": 2, "test": 2}
LENGTHS = {  # seconds, as the module's docstring states them
    "click": (0.08, 0.12),
    "knock": (0.2, 0.5),
    "beep": (0.3, 1.0),
    "chirp": (0.4, 1.0),
    "trill": (0.6, 1.5),
    "bell": (1.0, 2.0),
    "rattle": (1.0, 2.5),
    "siren": (2.0, 5.0),
    "hiss": (2.0, 6.0),
    "engine": (4.0, 8.0),
}


def make_dataset(folder, seed, sizes):
    write_dataset(folder, tuple(SOUNDS), sizes, partial(make_clip, seed))


def draw(label, seed):
    return SOUNDS[label](np.random.default_rng(seed), SAMPLE_RATE)


@pytest.fixture(scope="module")
def clips():
    return [make_clip(0, "train", index) for index in range(1, 61)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    make_dataset(folder, seed=0, sizes=SIZES)
    return folder


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# --- sounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", SOUNDS)
def test_a_sound_is_as_long_as_its_module_says(label):
    shortest, longest = LENGTHS[label]
    for seed in range(5):
        assert shortest - 0.01 <= len(draw(label, seed)) / SAMPLE_RATE <= longest + 0.01


@pytest.mark.parametrize("label", SOUNDS)
def test_a_sound_starts_and_ends_sharply(label):
    for seed in range(5):
        wave = draw(label, seed)
        cut = trim(wave, SAMPLE_RATE)
        assert len(wave) - len(cut) < 0.1 * SAMPLE_RATE
        assert np.sum(cut**2) > 0.99 * np.sum(wave**2)
        # Heard in noise too: the first and the last 50 ms are at most 25 dB below the whole.
        for end in (cut[:800], cut[-800:]):
            assert 20 * np.log10(np.sqrt(np.mean(end**2)) / rms(cut, SAMPLE_RATE)) > -25


@pytest.mark.parametrize("label", SOUNDS)
def test_equal_generators_make_equal_sounds_and_others_do_not(label):
    assert np.array_equal(draw(label, 0), draw(label, 0))
    one, other = draw(label, 0), draw(label, 1)
    n = min(len(one), len(other), 2**14)
    spectra = [np.abs(np.fft.rfft(wave[:n])) for wave in (one, other)]
    assert np.corrcoef(*spectra)[0, 1] < 0.95


@pytest.mark.parametrize("label", SOUNDS)
def test_a_sound_does_not_alias(label):
    """Made at four times the rate, it has next to nothing above the Nyquist frequency."""
    wave = SOUNDS[label](np.random.default_rng(0), 4 * SAMPLE_RATE)
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    assert power[len(power) // 4 :].sum() < 1e-2 * power.sum()


# --- clips ----------------------------------------------------------------------------------------


def test_outside_its_labels_a_clip_is_background_alone(monkeypatch):
    monkeypatch.setattr(demo, "noise", lambda rng, n_samples, sample_rate: np.ones(n_samples))
    n_events = 0
    for index in range(1, 9):
        clip = make_clip(0, "train", index)
        labelled = np.zeros(len(clip.wave), bool)
        for _, start, stop in clip.spans:
            labelled[start:stop] = True
            n_events += 1
            assert np.std(clip.wave[start : start + 320]) > 0  # it starts where the label does
            assert np.std(clip.wave[stop - 320 : stop]) > 0
        assert np.ptp(clip.wave[~labelled]) == 0
    assert n_events > 8


def test_clips_have_up_to_four_events_and_some_have_none(clips):
    counts = [len(clip.spans) for clip in clips]
    assert min(counts) == 0 and max(counts) == 4
    assert 1.5 < np.mean(counts) < 3


def test_every_class_occurs_and_none_always_with_the_same_other_one(clips):
    labels = [{label for label, _, _ in clip.spans} for clip in clips]
    assert set().union(*labels) == set(SOUNDS)
    for label in SOUNDS:
        others = [classes - {label} for classes in labels if label in classes]
        assert not set.intersection(*others)


def test_events_of_one_class_are_half_a_second_apart(clips):
    n_pairs = 0
    for clip in clips:
        for label in SOUNDS:
            spans = [span[1:] for span in clip.spans if span[0] == label]
            for (_, stop), (start, _) in pairwise(spans):
                n_pairs += 1
                assert start - stop >= 0.5 * SAMPLE_RATE
    assert n_pairs > 10


def test_splits_seeds_and_clips_sound_different():
    waves = [make_clip(*key).wave for key in [(0, "train", 1), (0, "test", 1), (1, "train", 1)]]
    assert abs(np.corrcoef(waves)[np.triu_indices(3, 1)]).max() < 0.1


# --- files ----------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_bytes_and_others_do_not(folder, tmp_path):
    make_dataset(tmp_path / "same", seed=0, sizes=SIZES)
    make_dataset(tmp_path / "other", seed=1, sizes=SIZES)
    assert contents(tmp_path / "same") == contents(folder)
    other = contents(tmp_path / "other")
    assert not [
        name for name, data in contents(folder).items() if ".wav" in name and other[name] == data
    ]


def test_a_clip_does_not_depend_on_how_many_others_are_made(folder, tmp_path):
    make_dataset(tmp_path, seed=0, sizes={"train": 1, "validation": 1, "test": 2})
    fewer, more = contents(tmp_path / "audio"), contents(folder / "audio")
    assert len(fewer) == 4
    assert fewer.items() <= more.items()


def test_every_clip_lasts_ten_seconds_at_16_khz(folder):
    paths = list((folder / "audio").rglob("*.wav"))
    assert len(paths) == 7
    for path in paths:
        with AudioReader(path, SAMPLE_RATE) as reader:
            assert sum(len(block) for block in reader) == 160_000
            assert reader.info().sample_rate == 16_000


def test_training_labels_are_weak_and_name_each_clip_once(folder):
    labels = folder / "labels"
    vocabulary = read_vocabulary(labels / "classes.txt")
    assert vocabulary.classes == tuple(SOUNDS)
    weak = read_weak(labels / "train_weak.tsv", vocabulary)
    assert weak == read_events(labels / "check" / "train_strong.tsv").weak()
    audio = {path.relative_to(folder / "audio").as_posix() for path in folder.rglob("*.wav")}
    names = [*weak]
    for split in ("validation", "test"):
        names += read_names(labels / f"{split}_strong.tsv")
    assert sorted(names) == sorted(audio)
    assert len({name.rpartition("/")[2] for name in names}) == len(names)
