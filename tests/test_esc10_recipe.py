"""The ESC-10 recipe: events are cut to their energy, and no recording is in two splits."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from sedtool.audio import read
from sedtool.errors import ConfigError
from sedtool.labels import (
    Event,
    StrongLabels,
    read_events,
    read_names,
    read_vocabulary,
    read_weak,
)
from sedtool.recipes.soundscapes import clip_generator
from support.esc10 import FOLDERS, RATE, bursts, make_esc10, silence, ticks, tone, white
from support.published import ESC10

REPOSITORY = Path(__file__).parents[1]
SIZES = ["--train", "3", "--validation", "2", "--test", "2"]

specification = importlib.util.spec_from_file_location(
    "esc10_prepare", REPOSITORY / "recipes" / "esc10" / "prepare.py"
)
recipe = importlib.util.module_from_spec(specification)
specification.loader.exec_module(recipe)


@pytest.fixture
def esc10(tmp_path):
    return make_esc10(tmp_path / "esc10")


def run(esc10, out, *options):
    return recipe.main([str(esc10), str(out), *SIZES, *options])


def frequency_of(wave):
    return float(np.argmax(np.abs(np.fft.rfft(wave, RATE))))


# --- events ---------------------------------------------------------------------------------------


def test_bursts_are_cut_to_their_energy():
    first, second = recipe.cut_bursts(bursts())
    assert len(first) / RATE == pytest.approx(0.4, abs=0.01)
    assert len(second) / RATE == pytest.approx(0.3, abs=0.01)
    assert frequency_of(first[:1600]) == pytest.approx(1000.0, abs=10)  # from its very start


@pytest.mark.parametrize("gap, n_bursts", [(0.2, 1), (0.3, 2)])
def test_bursts_closer_than_a_quarter_of_a_second_are_one(gap, n_bursts):
    wave = np.concatenate([silence(1), tone(0.3), silence(gap), tone(0.3), silence(1)])
    assert len(recipe.cut_bursts(wave)) == n_bursts


def test_bursts_that_are_weak_or_short_are_dropped():
    wave = np.concatenate([tone(0.4), silence(1), 0.05 * tone(0.4), silence(1), tone(0.05)])
    assert [len(burst) for burst in recipe.cut_bursts(wave)] == [pytest.approx(6400, abs=160)]


def test_a_burst_in_noise_is_cut_above_the_noise():
    wave = np.concatenate([silence(2), tone(0.5), silence(2)]) + white(4.5, 0.03)
    [burst] = recipe.cut_bursts(wave)  # the noise is 17 dB below the tone, above the usual floor
    assert len(burst) / RATE == pytest.approx(0.5, abs=0.02)


def test_nothing_is_cut_from_steady_noise_or_silence():
    for cut in (recipe.cut_bursts, recipe.cut_trains):
        assert cut(white(5.0)) == []
        assert cut(silence(5.0)) == []
    assert recipe.cut_textures(silence(5.0)) == []


@pytest.mark.parametrize("seed", range(10))
def test_a_train_starts_with_one_tick_and_ends_with_another(seed):
    [part] = recipe.cut_trains(ticks())
    assert len(part) / RATE == pytest.approx(9 * 0.5 + 0.03, abs=0.01)
    train = recipe.draw_train(np.random.default_rng(seed), part)
    assert 2.0 <= len(train) / RATE <= 5.0
    assert (len(train) / RATE - 0.03) % 0.5 == pytest.approx(0.01, abs=0.01)
    for end in (train[:320], train[-320:]):
        assert np.abs(end).max() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("seed", range(10))
def test_a_short_texture_is_looped_without_its_silence(seed):
    [part] = recipe.cut_textures(np.concatenate([white(2.0), silence(3.0)]))
    assert len(part) / RATE == pytest.approx(2.0, abs=0.25)
    event = recipe.draw_texture(np.random.default_rng(seed), part)
    assert 2.9 <= len(event) / RATE <= 10.0
    tenths = event[: len(event) // 1600 * 1600].reshape(-1, 1600).std(axis=1)
    assert tenths[1:-1] == pytest.approx(0.1, rel=0.2)


def test_the_end_that_the_background_drowns_is_cut_off():
    event = np.concatenate([tone(0.5), 0.15 * tone(0.5)])  # its second half is 16 dB weaker
    assert len(recipe._audible(event, snr=25.0)) == pytest.approx(RATE, abs=160)
    assert len(recipe._audible(event, snr=0.0)) == pytest.approx(RATE / 2, abs=160)


# --- splits ---------------------------------------------------------------------------------------


def test_each_split_is_made_of_its_own_folds(esc10):
    parts, n_unreadable = recipe.read_parts(recipe.find_files(esc10))
    assert n_unreadable == 0
    for split, frequencies in {
        "train": [500, 1000, 1500],
        "validation": [2000],
        "test": [2500],
    }.items():
        for label in recipe.KINDS:
            found = [frequency_of(part) for file in parts[split][label] for part in file]
            assert sorted(set(np.round(found, -2))) == frequencies, label


def test_a_recording_in_two_splits_is_refused(esc10, capsys):
    shutil.copy(esc10 / FOLDERS[0] / "1-1001-A.wav", esc10 / FOLDERS[0] / "5-1001-B.wav")
    with pytest.raises(ConfigError, match="recording 1001 is in the folds of test and of train"):
        recipe.count_recordings(recipe.find_files(esc10))
    assert run(esc10, esc10.parent / "out") == 2
    assert "1001" in capsys.readouterr().err
    assert not (esc10.parent / "out").exists()


def test_two_takes_of_a_recording_in_one_split_are_one_recording(esc10):
    shutil.copy(esc10 / FOLDERS[0] / "1-1001-A.wav", esc10 / FOLDERS[0] / "2-1001-B.wav")
    counts = recipe.count_recordings(recipe.find_files(esc10))
    assert counts == {"train": 30, "validation": 10, "test": 10}


# --- the data set ---------------------------------------------------------------------------------


def test_the_recipe_makes_weak_labels_to_train_with_and_strong_ones_to_test_with(esc10, capsys):
    out = esc10.parent / "out"
    assert run(esc10, out) == 0
    vocabulary = read_vocabulary(out / "labels" / "classes.txt")
    assert vocabulary.classes == tuple(sorted(recipe.KINDS))
    weak = read_weak(out / "labels" / "train_weak.tsv", vocabulary)
    assert list(weak) == [f"train/esc10_train_000{i}.wav" for i in (1, 2, 3)]
    strong = read_events(out / "labels" / "test_strong.tsv")
    assert strong.names == ("test/esc10_test_0001.wav", "test/esc10_test_0002.wav")
    for name in (*weak, *strong.names):
        assert len(read(out / "audio" / name, RATE)) == 10 * RATE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "none in two splits" in printed.err and "test: 2 clips" in printed.err


def test_a_mean_teacher_knows_the_classes_of_some_clips_and_the_events_of_others(tmp_path):
    names = tuple(f"train/{i}.wav" for i in range(10))
    events = [Event(name, 1.0, 2.0, "dog") for name in names[1:]]  # the first has none
    (tmp_path / "labels").mkdir()
    folder = tmp_path / "labels" / "mean_teacher"
    recipe.write_shares(folder, StrongLabels(events, names))
    assert read_weak(folder / "weak.tsv") == {names[0]: (), names[1]: ("dog",)}
    strong = read_events(folder / "strong.tsv")
    assert strong.names == names[8:]
    assert [event.name for event in strong.events] == list(names[8:])
    assert read_names(folder / "unlabelled.tsv") == list(names[2:8])


def test_equal_seeds_give_equal_clips_and_others_do_not(esc10):
    parts, _ = recipe.read_parts(recipe.find_files(esc10))
    clips = [recipe.make_clip(seed, "train", 1, parts["train"]) for seed in (0, 0, 1)]
    assert np.array_equal(clips[0].wave, clips[1].wave) and clips[0].spans == clips[1].spans
    assert not np.array_equal(clips[0].wave, clips[2].wave)


def test_a_clip_has_one_to_four_events_and_one_texture_at_most(esc10):
    parts, _ = recipe.read_parts(recipe.find_files(esc10))
    counts, heard = [], set()
    for index in range(1, 41):
        labels = [span[0] for span in recipe.make_clip(0, "test", index, parts["test"]).spans]
        counts.append(len(labels))
        heard.update(labels)
        assert sum(recipe.KINDS[label] is recipe.TEXTURES for label in labels) <= 1
    assert min(counts) == 1 and max(counts) == 4
    assert heard == set(recipe.KINDS)


def test_an_unreadable_file_is_named_and_left_out(esc10, capsys):
    shutil.copy(esc10 / FOLDERS[0] / "1-1001-A.wav", esc10 / FOLDERS[0] / "1-7-A.wav")
    (esc10 / FOLDERS[0] / "1-1001-A.wav").write_bytes(b"RIFF")
    assert run(esc10, esc10.parent / "out") == 3
    printed = capsys.readouterr().err
    assert "unreadable: " in printed and "1-1001-A.wav" in printed
    assert "made without 1 of 51 files" in printed
    assert (esc10.parent / "out" / "labels" / "classes.txt").exists()


def test_a_class_without_a_file_in_a_fold_ends_with_an_error(esc10, capsys):
    (esc10 / FOLDERS[0] / "5-5001-A.wav").unlink()
    assert run(esc10, esc10.parent / "out") == 4
    printed = capsys.readouterr().err
    assert "missing: dog_bark has 0 of 8 files in fold 5" in printed
    assert "no file of dog_bark in fold 5 can be used" in printed


def test_a_folder_that_is_not_esc10_ends_with_an_error(tmp_path, capsys):
    assert run(tmp_path, tmp_path / "out") == 4
    assert "has no files such as" in capsys.readouterr().err


def test_a_finished_data_set_is_found_made_and_not_mixed_with_another(esc10, capsys):
    out = esc10.parent / "out"
    assert run(esc10, out) == 0
    made = (out / "labels" / "train_weak.tsv").stat().st_mtime_ns
    assert run(esc10, out) == 0
    assert f"{out} is prepared already" in capsys.readouterr().err
    assert run(esc10, out, "--seed", "1") == 2
    assert "(seed 0 then and 1 now)" in capsys.readouterr().err
    assert (out / "labels" / "train_weak.tsv").stat().st_mtime_ns == made
    assert run(esc10, out, "--seed", "1", "--overwrite") == 0


@pytest.mark.parametrize("option", ["--seed", "--train"])
def test_a_negative_number_is_refused(esc10, capsys, option):
    with pytest.raises(SystemExit):
        run(esc10, esc10.parent / "out", option, "-1")
    assert "-1 is below 0" in capsys.readouterr().err


# --- the real data --------------------------------------------------------------------------------

needs_esc10 = pytest.mark.skipif(not ESC10.is_dir(), reason="ESC-10 is not here")


@needs_esc10
def test_the_real_data_are_complete_and_split_by_recording(capsys):
    files = recipe.find_files(ESC10)
    assert len(files) == 400
    assert "missing" not in capsys.readouterr().err
    assert recipe.count_recordings(files).keys() == recipe.FOLDS.keys()


@needs_esc10
def test_events_of_real_recordings_start_and_end_with_their_sound():
    files = [file for file in recipe.find_files(ESC10) if file.fold == 5][::4]
    n_events = 0
    for file in files:
        wave = recipe._without_rumble(read(file.path, RATE).astype(np.float64))
        kind = recipe.KINDS[file.label]
        for part in kind.cut(wave):
            event = kind.draw(clip_generator(0, "test", 1), part)
            if kind is not recipe.TEXTURES:
                event = recipe._audible(event, snr=10.0)
            loudest = np.abs(event).max()
            assert np.abs(event[:1600]).max() > 0.03 * loudest, file.path
            assert np.abs(event[-1600:]).max() > 0.03 * loudest, file.path
            n_events += 1
    assert n_events > 20
