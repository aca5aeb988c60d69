"""Audio files are decoded exactly, in blocks of any length, or refused in one line."""

import hashlib
import io
import logging
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import AIFF, AU, BAD_FILES, FLAC, MP3, NOISE, OGG, RF64, W64, WAV, encoded, patched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sedtool.audio import (
    AudioReader,
    check_name,
    find_audio,
    read,
    read_blocks,
    read_duration,
    write_wav,
)
from sedtool.errors import AudioError, ConfigError, NothingUsableError

FORMATS = {
    "wav": WAV,
    "flac": FLAC,
    "ogg": OGG,
    "mp3": MP3,
    "aiff": AIFF,
    "w64": W64,
    "rf64": RF64,
    "au": AU,
}
same_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def file(tmp_path):
    """Return a function that writes bytes to a file."""

    def write(content: bytes, name: str = "clip.wav") -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


# Finding files


def test_folders_are_searched_recursively_for_audio_suffixes_in_any_case(tmp_path):
    tree(tmp_path, "b/2.FLAC", "b/1.wav", "a.Ogg", "notes.txt", "b/c/3.mp3", "wav")
    found = find_audio([tmp_path])
    assert list(found) == ["a.Ogg", "b/1.wav", "b/2.FLAC", "b/c/3.mp3"]
    assert found["b/c/3.mp3"] == tmp_path / "b" / "c" / "3.mp3"


def test_hidden_files_and_folders_are_left_out(tmp_path):
    tree(tmp_path, ".a.wav", ".git/b.wav", "c.wav")
    assert list(find_audio([tmp_path])) == ["c.wav"]


def test_a_file_is_taken_whatever_its_suffix(tmp_path):
    tree(tmp_path, "clip.bin", "clip.wav")
    assert list(find_audio([tmp_path / "clip.bin"])) == ["clip.bin"]


def test_a_folder_named_like_a_file_is_a_folder(tmp_path):
    tree(tmp_path, "x.wav/y.wav")
    assert list(find_audio([tmp_path])) == ["x.wav/y.wav"]


def test_names_are_relative_to_the_common_folder_or_to_the_root(tmp_path):
    tree(tmp_path, "data/x/1.wav", "data/y/2.wav")
    inputs = [tmp_path / "data" / "y" / "2.wav", tmp_path / "data" / "x"]
    assert list(find_audio(inputs)) == ["x/1.wav", "y/2.wav"]
    assert list(find_audio(inputs, tmp_path)) == ["data/x/1.wav", "data/y/2.wav"]
    assert list(find_audio(inputs[1:])) == ["1.wav"]


def test_a_file_given_twice_is_one_clip(tmp_path):
    tree(tmp_path, "x/1.wav")
    inputs = [tmp_path, tmp_path / "x", tmp_path / "x" / ".." / "x" / "1.wav"]
    assert list(find_audio(inputs)) == ["x/1.wav"]


def test_linked_folders_are_searched_and_loops_of_links_end(tmp_path):
    tree(tmp_path, "elsewhere/1.wav", "data/2.wav")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "self").symlink_to("self")
    assert list(find_audio([tmp_path / "data"])) == ["2.wav", "linked/1.wav"]


def test_a_linked_file_has_the_name_of_the_link(tmp_path):
    tree(tmp_path, "store/0a1b.bin")
    (tmp_path / "clip.wav").symlink_to(tmp_path / "store" / "0a1b.bin")
    assert list(find_audio([tmp_path / "clip.wav"])) == ["clip.wav"]


def test_inputs_that_cannot_be_found_are_errors(tmp_path):
    tree(tmp_path, "a/1.wav", "b/2.wav", "c/notes.txt")
    with pytest.raises(ConfigError, match=r"nowhere does not exist"):
        find_audio([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match=r"1\.wav is not under the root .*/b; give another"):
        find_audio([tmp_path / "a"], tmp_path / "b")
    with pytest.raises(NothingUsableError, match=r"no audio file in .*/c"):
        find_audio([tmp_path / "c"])
    with pytest.raises(NothingUsableError, match="no audio file in no input"):
        find_audio([])


@pytest.mark.parametrize(
    "name", ["a b.wav", "[/].wav", "é/ü.wav", "a'\"b.wav", "-x.wav", "日本.wav"]
)
def test_unusual_names_are_fine(name):
    check_name(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\nb.wav", r"'a\\nb.wav' has a control character"),
        ("a\x1b[31m.wav", r"'a\\x1b\[31m.wav' has a control character"),
        ("a\tb.wav", "control character"),
        ("a\x85b.wav", "control character"),
        ("a\u2028b.wav", "control character"),
        ("a\udcff.wav", r"'a\\udcff.wav' is not UTF-8"),
        (" a.wav", "begins or ends with a space"),
        ("a.wav ", "begins or ends with a space"),
    ],
)
def test_names_that_a_tsv_would_not_keep_are_refused(name, message):
    with pytest.raises(AudioError, match=message) as caught:
        check_name(name)
    assert str(caught.value).isprintable()


# Decoding


def test_sixteen_bit_samples_are_exact(file):
    pcm = np.array([0, 1, -1, 32767, -32768, 12345], np.int16)
    path = file(encoded(pcm, 16_000, "WAV"))
    assert read(path, 16_000).tolist() == (pcm / 32768).tolist()


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_other_samples_are_as_libsndfile_decodes_them(file, subtype):
    path = file(encoded(NOISE, 22_050, "WAV", subtype))
    assert np.array_equal(read(path, 22_050), soundfile.read(path, dtype="float32")[0])


@pytest.mark.parametrize("kind", ["flac", "ogg", "mp3", "aiff"])
def test_other_containers_are_as_libsndfile_decodes_them(file, kind):
    path = file(FORMATS[kind], f"clip.{kind}")
    expected = soundfile.read(path, dtype="float32")[0]
    # soundfile seeks to the start of an MP3 first, which costs its decoder a rounding.
    assert np.allclose(read(path, 22_050), expected, rtol=0, atol=1e-6 if kind == "mp3" else 0)


def test_channels_are_averaged_or_picked(file):
    stereo = np.stack([np.linspace(-1, 0.9, 800), np.linspace(0, 0.5, 800)], axis=1)
    path = file(encoded(stereo, 8_000, "WAV", "FLOAT"))
    left, right = stereo.astype(np.float32).T
    assert np.allclose(read(path, 8_000), stereo.mean(axis=1), atol=1e-7)
    assert np.array_equal(read(path, 8_000, "0"), left)
    assert np.array_equal(read(path, 8_000, "1"), right)
    with pytest.raises(AudioError, match=r"no channel 2 \(numbered from 0\), only 2"):
        read(path, 8_000, "2")


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_resampling_is_that_of_soxr_over_the_whole_clip(file, rate):
    wave = soundfile.read(io.BytesIO(WAV), dtype="float32")[0]
    expected = soxr.resample(wave, 22_050, rate, quality="HQ")
    assert np.array_equal(read(file(WAV), rate), expected)


def test_a_resampled_tone_keeps_its_frequency_and_amplitude(file):
    tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(44_100) / 44_100)
    wave = read(file(encoded(tone, 44_100, "WAV")), 16_000)
    expected = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000)
    assert len(wave) == 16_000
    assert np.abs(wave - expected)[200:-200].max() < 1e-4


# An MP3 once came out with noise at the start of each block but the first.
@pytest.mark.parametrize("kind", FORMATS)
@given(block_seconds=st.floats(1e-4, 1.5))
@settings(same_folder, max_examples=8)
def test_joined_blocks_are_the_same_whatever_their_length(file, kind, block_seconds):
    path = file(FORMATS[kind], f"clip.{kind}")
    blocks = list(read_blocks(path, 16_000, block_seconds=block_seconds))
    assert np.array_equal(np.concatenate(blocks), read(path, 16_000))
    assert len(blocks) > 1


def test_blocks_are_bounded_whatever_the_number_of_channels(file):
    path = file(encoded(np.zeros((8_000, 64)) + 0.1, 8_000, "WAV"))
    assert max(len(block) for block in read_blocks(path, 8_000, block_seconds=1)) == 8_000 // 64


def test_a_reader_tells_what_the_file_is(file):
    path = file(encoded(np.stack([NOISE, NOISE], axis=1), 22_050, "WAV"))
    with AudioReader(path, 16_000) as reader:
        assert sum(len(block) for block in reader) == 16_000
        info = reader.info()
    assert (info.sample_rate, info.channels, info.duration) == (22_050, 2, 1.0)
    assert info.size == path.stat().st_size
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_durations_are_stated_by_the_header_or_counted(file):
    assert read_duration(file(WAV)) == 1.0
    assert read_duration(file(FLAC_FROM_A_PIPE)) == 1.0


# What pipes write


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF])
def test_a_wav_whose_size_was_never_filled_in_is_read_to_its_end(file, size):
    streamed = patched(WAV, 40, struct.pack("<I", size))
    assert np.array_equal(read(file(streamed), 22_050), read(file(WAV), 22_050))


FLAC_FROM_A_PIPE = patched(FLAC, 21, bytes([FLAC[21] & 0xF0, 0, 0, 0, 0]))


def test_a_flac_that_states_no_length_is_read_to_its_end(file):
    assert np.array_equal(read(file(FLAC_FROM_A_PIPE), 22_050), read(file(FLAC), 22_050))


def test_an_mp3_of_constant_bit_rate_may_lack_its_length_and_have_tags(file):
    """What is lost with the first frame is the delay it states."""
    noise = np.tile(NOISE, 3)
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        *(buffer, "w", 22_050, 1),
        format="MP3",
        bitrate_mode="CONSTANT",
        compression_level=0.5,
    ) as sound:
        sound.write(noise)
    whole = buffer.getvalue()
    bare = whole[whole.index(whole[:2], 2) :]
    id3v2 = b"ID3\x04\0\0" + bytes([0, 0, 8, 0]) + bytes(1024)
    for content in (bare, id3v2 + bare, bare + b"TAG" + b" " * 125):
        assert len(noise) <= len(read(file(content, "clip.mp3"), 22_050)) <= len(noise) + 3 * 1152
    assert len(read(file(id3v2 + whole, "clip.mp3"), 22_050)) == len(noise)
    with pytest.raises(AudioError, match=r"of the 3.000 s its header states"):
        read(file(id3v2 + whole[:-3_000], "clip.mp3"), 22_050)


def test_a_chunk_after_the_audio_may_be_missing(file):
    """The list chunk of tags is cut, the audio is whole."""
    tagged = WAV + b"LIST" + struct.pack("<I", 1000) + b"INFO"
    assert np.array_equal(read(file(tagged), 22_050), read(file(WAV), 22_050))


# What is refused


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line_that_says_why(bad_files, name):
    path, (_, message) = bad_files[name], BAD_FILES[name]
    if name == "short.wav":
        pytest.skip("only the window of the features makes it too short")
    with pytest.raises(AudioError, match=message) as caught:
        read(path, 16_000)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fifo.wav", "not a regular file"),
        ("broken link.wav", "a broken link"),
        ("loop.wav", "cannot be read"),
        ("nowhere.wav", "no such file"),
        (".", "not a regular file"),
    ],
)
def test_what_is_no_file_is_refused(bad_files, name, message):
    folder = next(iter(bad_files.values())).parent
    with pytest.raises(AudioError, match=message):
        read(folder / name, 16_000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(file):
    path = file(WAV)
    path.chmod(0)
    with pytest.raises(AudioError, match="Permission denied"):
        read(path, 16_000)


@pytest.mark.parametrize("kind", FORMATS)
@given(cut=st.integers(1, 40_000))
@settings(same_folder, max_examples=15)
def test_a_truncated_file_is_refused_or_loses_no_sample(file, kind, cut):
    content = FORMATS[kind]
    whole = read(file(content), 22_050)
    try:
        wave = read(file(content[: max(len(content) - cut, 1)]), 22_050)
    except AudioError:
        return
    assert np.array_equal(wave, whole)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "aiff"])
def test_a_file_with_changed_bytes_is_decoded_or_refused(file, kind):
    """Nothing else may happen: no crash, no other exception, no hang."""
    rng = np.random.default_rng(5)
    for _ in range(40):
        content = bytearray(FORMATS[kind])
        for position in rng.integers(min(len(content), 2_000), size=3):
            content[position] = rng.integers(256)
        try:
            read(file(bytes(content)), 16_000)
        except AudioError as error:
            assert str(error).isprintable()


def test_a_clip_that_is_too_long_is_refused(file):
    wav, piped = file(WAV), file(FLAC_FROM_A_PIPE, "clip.flac")
    for path in (wav, piped):
        with (
            pytest.raises(AudioError, match=r"longer than 0\.00025 h"),
            AudioReader(path, 16_000, max_seconds=0.9) as reader,
        ):
            list(reader)
    with AudioReader(wav, 16_000, max_seconds=1.0) as reader:
        assert sum(map(len, reader)) == 16_000


@pytest.mark.parametrize(("level", "word"), [(0.0, "silent"), (0.25, r"constant \(0\.25\)")])
def test_a_silent_or_constant_clip_is_a_warning(file, caplog, level, word):
    path = file(encoded(np.full(8_000, level), 16_000, "WAV"))
    with caplog.at_level(logging.WARNING):
        assert read(path, 16_000).tolist() == [level] * 8_000
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()
    read(file(WAV), 16_000)
    assert not caplog.records


# Writing


def test_what_is_written_is_read_back_to_half_a_step(tmp_path):
    path = tmp_path / "clip.wav"
    wave = np.concatenate([NOISE, [1.0, -1.0, 0.0]]).astype(np.float32)
    write_wav(path, wave, 22_050)
    assert np.abs(read(path, 22_050) - wave).max() <= 2.0**-15
    assert np.abs(read(path, 22_050) - wave)[:-3].max() <= 2.0**-16 + 1e-9
    write_wav(path, read(path, 22_050), 22_050)
    assert np.array_equal(read(path, 22_050), soundfile.read(path, dtype="float32")[0])


@pytest.mark.parametrize("value", [1.001, -2.0, np.nan, np.inf])
def test_samples_that_do_not_fit_are_not_written(tmp_path, value):
    with pytest.raises(AudioError, match="does not fit 16 bits"):
        write_wav(tmp_path / "clip.wav", np.array([0.0, value]), 16_000)
    assert not list(tmp_path.iterdir())


def test_importing_audio_does_not_import_torch():
    code = "import sys, sedtool.audio, sedtool.features, sedtool.store, sedtool.extraction; "
    subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=True)
