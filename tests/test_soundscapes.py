"""A soundscape's labels are true to where its sounds are, and its levels are as drawn."""

from itertools import pairwise

import numpy as np
import pytest

from sedtool.audio import read
from sedtool.errors import OutputExistsError
from sedtool.labels import read_events, read_names, read_vocabulary, read_weak
from sedtool.recipes.soundscapes import (
    PEAK,
    Soundscape,
    Source,
    active_spans,
    clip_generator,
    compose,
    loop,
    noise,
    rms,
    trim,
    write_dataset,
)

RATE = 16_000  # Hz


def tone(seconds, frequency=1000.0, amplitude=1.0):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)


def silence(seconds):
    return np.zeros(round(seconds * RATE))


def white(seconds, level=0.01, seed=0):
    return level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


# --- where energy is ------------------------------------------------------------------------------


def test_an_active_span_is_where_the_tone_is():
    wave = np.concatenate([silence(0.3), tone(0.2), silence(0.5)])
    [(start, stop)] = active_spans(wave, RATE)
    assert start == pytest.approx(0.3 * RATE, abs=0.005 * RATE)
    assert stop == pytest.approx(0.5 * RATE, abs=0.005 * RATE)


def test_what_is_weaker_than_the_floor_is_silence():
    wave = np.concatenate([tone(0.2), silence(0.1), tone(0.2, amplitude=0.05)])  # -26 dB
    assert len(active_spans(wave, RATE, floor=-30.0)) == 2
    assert len(active_spans(wave, RATE, floor=-20.0)) == 1


def test_spans_closer_than_join_are_one():
    wave = np.concatenate([tone(0.2), silence(0.3), tone(0.2)])
    assert len(active_spans(wave, RATE, join=0.2)) == 2
    assert len(active_spans(wave, RATE, join=0.4)) == 1


def test_a_long_window_makes_a_train_of_grains_one_span():
    wave = np.tile(np.concatenate([tone(0.02), silence(0.08)]), 20)
    assert len(active_spans(wave, RATE, floor=-20.0)) == 20
    assert len(active_spans(wave, RATE, floor=-20.0, window=0.25)) == 1


def test_nothing_in_digital_silence_is_active():
    assert active_spans(silence(1.0), RATE) == []
    assert len(trim(silence(1.0), RATE)) == 0
    assert rms(silence(1.0), RATE) == 0.0


def test_trim_keeps_the_energy_and_the_pauses_inside():
    wave = np.concatenate([silence(1.0), tone(0.2), silence(0.4), tone(0.2), silence(1.0)])
    cut = trim(wave, RATE)
    assert len(cut) == pytest.approx(0.8 * RATE, abs=0.01 * RATE)
    assert np.sum(cut**2) > 0.999 * np.sum(wave**2)


def test_pauses_do_not_make_a_sound_quieter():
    train = np.concatenate([tone(0.1), silence(0.9), tone(0.1), silence(0.9), tone(0.1)])
    assert 20 * np.log10(rms(train, RATE) / rms(tone(0.1), RATE)) == pytest.approx(0.0, abs=0.5)
    assert rms(tone(1.0), RATE) == pytest.approx(np.sqrt(0.5), rel=0.01)


# --- noise and loops ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_unit_power_and_no_rumble(seed):
    wave = noise(np.random.default_rng(seed), RATE, RATE)
    spectrum = np.abs(np.fft.rfft(wave)) ** 2
    assert np.mean(wave**2) == pytest.approx(1.0)
    assert spectrum[:50].sum() < 1e-9 * spectrum.sum()


def test_noise_differs_in_colour_from_draw_to_draw():
    shares = []
    for seed in range(20):
        spectrum = np.abs(np.fft.rfft(noise(np.random.default_rng(seed), RATE, RATE))) ** 2
        shares.append(spectrum[1000:].sum() / spectrum.sum())  # of the power above 1 kHz
    assert min(shares) < 0.1 and max(shares) > 0.7


def test_a_loop_has_no_click_at_its_joints():
    wave = tone(1.0, frequency=3.25)  # ends at its peak, so that a bare repetition would jump
    steepest = np.abs(np.diff(wave)).max()
    assert np.abs(np.diff(np.tile(wave, 3))).max() > 100 * steepest
    looped = loop(wave, 3 * RATE, RATE)
    assert np.abs(np.diff(looped)).max() < 2 * steepest


def test_a_loop_keeps_its_power_at_the_joints():
    power = np.zeros(4 * RATE)
    for seed in range(200):
        power += loop(white(1.0, 1.0, seed), 4 * RATE, RATE, fade=0.25) ** 2 / 200
    tenths = power.reshape(-1, RATE // 10).mean(axis=1)
    assert tenths == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 1.01, 7.3])
def test_a_loop_is_as_long_as_asked_and_starts_as_its_source(seconds):
    wave = white(1.0)
    looped = loop(wave, round(seconds * RATE), RATE, fade=0.25)
    assert len(looped) == round(seconds * RATE)
    n_same = min(round(0.75 * RATE), len(looped))
    assert np.array_equal(looped[:n_same], wave[:n_same])


# --- mixes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr", [0.0, 6.0, 25.0])
@pytest.mark.parametrize("level", [1e-3, 0.2], ids=["quiet", "scaled down"])
def test_the_signal_to_noise_ratio_of_the_mix_is_the_one_drawn(snr, level):
    background = white(4.0, level)
    clip = compose(np.random.default_rng(0), background, [Source("tone", tone(1.0), snr)], RATE)
    [(_, start, stop)] = clip.spans
    outside = 0 if start > 0 else stop
    scale = clip.wave[outside] / background[outside]
    event = clip.wave[start:stop] - scale * background[start:stop]
    drowned = scale * background[start:stop]
    measured = 10 * np.log10(np.mean(event**2) / np.mean(drowned**2))
    assert measured == pytest.approx(snr, abs=0.1)


def test_the_labelled_interval_holds_the_event_and_nothing_of_it_is_outside():
    background = white(4.0, 1e-3)
    source = Source("tone", trim(np.concatenate([silence(1), tone(0.5), silence(1)]), RATE), 20.0)
    clip = compose(np.random.default_rng(3), background, [source], RATE)
    [event] = clip.events("a.wav")
    inside = slice(round(event.onset * RATE), round(event.offset * RATE))
    energy = (clip.wave - background) ** 2
    assert event.offset - event.onset == pytest.approx(0.5, abs=0.01)
    assert energy[inside].sum() == pytest.approx(energy.sum(), rel=1e-12)
    assert (energy > 0)[inside].mean() > 0.95


@pytest.mark.parametrize("seed", range(20))
def test_events_of_one_class_keep_apart_and_are_inside_the_clip(seed):
    sources = [Source("a", tone(1.0), 10.0) for _ in range(4)]
    clip = compose(np.random.default_rng(seed), white(8.0), sources, RATE, gap=0.5)
    assert clip.spans[0][1] >= 0 and clip.spans[-1][2] <= 8 * RATE
    assert all(after[1] - before[2] >= 0.5 * RATE for before, after in pairwise(clip.spans))


def test_events_of_different_classes_may_overlap():
    sources = [Source("a", tone(3.0), 10.0), Source("b", tone(3.0), 10.0)]
    clip = compose(np.random.default_rng(0), white(4.0), sources, RATE)
    (_, _, stop), (_, start, _) = clip.spans
    assert start < stop


def test_a_source_that_finds_no_room_is_neither_in_the_mix_nor_in_the_labels():
    background = white(4.0)
    too_long = Source("a", tone(4.1), 10.0)
    clip = compose(np.random.default_rng(0), background, [too_long], RATE)
    assert clip.spans == () and np.array_equal(clip.wave, background)
    twice = [Source("a", tone(3.0), 10.0), Source("a", tone(1.0), 10.0)]
    assert len(compose(np.random.default_rng(0), background, twice, RATE).spans) == 1


def test_a_source_as_long_as_the_clip_fits():
    clip = compose(np.random.default_rng(0), white(2.0), [Source("a", tone(2.0), 0.0)], RATE)
    assert clip.spans == (("a", 0, 2 * RATE),)


def test_a_loud_mix_is_scaled_down_instead_of_clipped():
    clip = compose(np.random.default_rng(0), white(2.0, 0.5), [Source("a", tone(1), 25.0)], RATE)
    assert np.abs(clip.wave).max() == pytest.approx(PEAK)


def test_a_silent_source_is_refused():
    with pytest.raises(ValueError, match="'a' is silent"):
        Source("a", silence(1.0), 10.0)


def test_every_clip_has_random_numbers_of_its_own():
    keys = [(0, "train", 1), (1, "train", 1), (0, "test", 1), (0, "train", 2)]
    draws = [clip_generator(*key).random() for key in keys]
    assert len(set(draws)) == 4
    assert clip_generator(*keys[0]).random() == draws[0]


# --- data sets ------------------------------------------------------------------------------------


def make_clip(split, index):
    """Return a clip with one event, `index` tenths of a second after its start; none in clip 2."""
    start = round(index * 0.1 * RATE)
    spans = () if index == 2 else (("beep", start, start + RATE // 2),)
    return Soundscape(white(2.0, seed=index), RATE, spans)


SIZES = {"train": 3, "validation": 2, "test": 1}


def test_a_data_set_has_weak_labels_to_train_with_and_strong_ones_to_test_with(tmp_path):
    write_dataset(tmp_path, ("beep", "click"), SIZES, make_clip, prefix="x_")
    labels = tmp_path / "labels"
    vocabulary = read_vocabulary(labels / "classes.txt")
    assert vocabulary.classes == ("beep", "click")
    assert read_weak(labels / "train_weak.tsv", vocabulary) == {
        "train/x_train_0001.wav": ("beep",),
        "train/x_train_0002.wav": (),
        "train/x_train_0003.wav": ("beep",),
    }
    [event] = read_events(labels / "test_strong.tsv").events
    assert (event.name, event.onset, event.offset) == ("test/x_test_0001.wav", 0.1, 0.6)
    validation = read_events(labels / "validation_strong.tsv")
    assert len(validation.events) == 1 and len(validation.names) == 2
    assert not list(labels.glob("train_strong*"))
    assert len(read_events(labels / "check" / "train_strong.tsv").events) == 2


def test_every_labelled_clip_is_there_and_sounds_as_it_was_made(tmp_path):
    write_dataset(tmp_path, ("beep",), SIZES, make_clip)
    for file in ("train_weak", "validation_strong", "test_strong"):
        for index, name in enumerate(read_names(tmp_path / "labels" / f"{file}.tsv"), 1):
            assert name.endswith(f"_{index:04d}.wav")
            wave = read(tmp_path / "audio" / name, RATE)
            assert wave == pytest.approx(white(2.0, seed=index), abs=2**-15)


def test_progress_counts_all_clips(tmp_path):
    calls = []
    write_dataset(tmp_path, ("beep",), SIZES, make_clip, progress=lambda *call: calls.append(call))
    assert [call[0] for call in calls] == [1, 2, 3, 4, 5, 6]
    assert calls[-1] == (6, 6, "test/test_0001.wav")


def test_a_finished_data_set_is_replaced_only_if_asked(tmp_path):
    write_dataset(tmp_path, ("beep",), SIZES, make_clip)
    with pytest.raises(OutputExistsError, match="overwrite"):
        write_dataset(tmp_path, ("beep",), SIZES, make_clip)
    write_dataset(tmp_path, ("beep", "click"), SIZES, make_clip, overwrite=True)
    assert len(read_vocabulary(tmp_path / "labels" / "classes.txt")) == 2


def test_an_interrupted_data_set_is_not_mistaken_for_a_finished_one(tmp_path):
    write_dataset(tmp_path, ("beep",), SIZES, make_clip)

    def interrupt(done, total, name):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, ("beep",), SIZES, make_clip, overwrite=True, progress=interrupt)
    assert not (tmp_path / "labels" / "classes.txt").exists()
