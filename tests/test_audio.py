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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sedtool.audio import (
    AudioReader,
    read,
    read_duration,
    reader,
    write_wav,
)
from sedtool.config import FeatureConfig
from sedtool.errors import AudioError
from sedtool.features import log_mel_blocks
from support.audio import (
    AIFF,
    AU,
    BAD_FILES,
    FLAC,
    MP3,
    NOISE,
    OGG,
    RF64,
    W64,
    WAV,
    encoded,
    patched,
    with_float,
)

CAF = encoded(NOISE, 22_050, "CAF")
FORMATS = {
    "wav": WAV,
    "flac": FLAC,
    "ogg": OGG,
    "mp3": MP3,
    "aiff": AIFF,
    "w64": W64,
    "rf64": RF64,
    "au": AU,
    "caf": CAF,
}
same_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def file(tmp_path):
    """Return a function that writes bytes to a file."""

    def write(content: bytes, name: str = "clip.wav") -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


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
    with AudioReader(path, 16_000, block_seconds=block_seconds) as reader:
        blocks = list(reader)
    assert np.array_equal(np.concatenate(blocks), read(path, 16_000))
    assert len(blocks) > 1


def test_blocks_are_bounded_whatever_the_number_of_channels(file):
    path = file(encoded(np.zeros((8_000, 64)) + 0.1, 8_000, "WAV"))
    with AudioReader(path, 8_000, block_seconds=1) as reader:
        assert max(map(len, reader)) == 8_000 // 64


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


def test_w64_from_a_pipe_has_the_length_of_the_file(file):
    at = W64.index(b"data\xf3\xac\xd3\x11") + 16
    streamed = patched(W64, at, struct.pack("<Q", 2**63 - 1))
    assert np.array_equal(read(file(streamed), 22_050), read(file(W64), 22_050))


def test_warnings_name_the_clip_where_it_has_a_name(file, caplog):
    path = file(encoded(np.zeros(8_000), 8_000, "WAV"))
    for name in (None, "x"):
        with AudioReader(path, None, name=name) as reader:
            list(reader)
    assert caplog.messages == [f"{what}: the clip is silent throughout" for what in (path, "x")]


# Where the size of the samples stands, as what, and what it counts besides.
SIZES = {
    "wav": (WAV, WAV.index(b"data") + 4, "<I", 0),
    "aiff": (AIFF, AIFF.index(b"SSND") + 4, ">I", 8),
    "w64": (W64, W64.index(b"data\xf3") + 16, "<Q", 24),
    "rf64": (RF64, RF64.index(b"ds64") + 16, "<Q", 0),
    "au": (AU, 8, ">I", 0),
    "caf": (CAF, CAF.index(b"data\0") + 4, ">Q", 4),
}
ALL_ONES, HALF = 2**32 - 1, 2**31
STREAMED = {
    "all ones": ALL_ONES,
    "all ones less the header of a WAV": ALL_ONES - 36,
    "all ones less the header and its id": ALL_ONES - 44,
    "sox, espeak": HALF - 2**12,
    "aplay": HALF - 2**8,
    "arecord": HALF,
    "players": HALF - 1,
    "players less the header of a WAV": HALF - 1 - 36,
    "GStreamer": HALF - 2**16,
}


def stating(kind, size):
    content, offset, format, more = SIZES[kind]
    return patched(content, offset, struct.pack(format, size + more))


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("size", STREAMED.values(), ids=STREAMED)
def test_audio_whose_size_was_never_filled_in_is_read_to_its_end(file, kind, size, caplog):
    if size == ALL_ONES and kind == "aiff":
        size -= SIZES[kind][3]  # which 32 bits do not hold besides
    assert np.array_equal(
        read(file(stating(kind, size)), 22_050), read(file(FORMATS[kind]), 22_050)
    )
    is_known = kind == "wav" or size in (ALL_ONES, HALF, HALF - 1, HALF - 2**12, HALF - 2**8)
    assert not (is_known and caplog.messages)


@pytest.mark.parametrize("kind", ["w64", "rf64", "caf"])
@pytest.mark.parametrize("size", [2**63 - 1, 2**64 - 1])
def test_a_size_that_no_disk_holds_is_read_to_the_end(file, kind, size, caplog):
    more = SIZES[kind][3]
    assert np.array_equal(
        read(file(stating(kind, size - more)), 22_050), read(file(FORMATS[kind]), 22_050)
    )
    assert not caplog.messages


@pytest.mark.parametrize("kind", SIZES)
def test_a_size_of_0_with_audio_behind_it_is_said_and_can_be_taken(file, kind, caplog):
    path = file(stating(kind, 0))
    n_bytes = 2 * len(NOISE)
    with pytest.raises(AudioError) as error:
        read(path, 22_050)
    assert str(error.value) == (
        f"{path}: its header states 0 bytes of audio, {n_bytes} follow: the recorder did not close "
        "it; --allow-truncated takes it"
    )
    with AudioReader(path, None, allow_truncated=True) as reader:
        wave = np.concatenate(list(reader))
        assert reader.truncated
    assert np.array_equal(wave, read(file(FORMATS[kind]), 22_050))
    assert len(caplog.messages) == 1


def test_a_size_of_0_before_another_chunk_is_0(file):
    for kind in ("wav", "aiff"):
        _, offset, format, more = SIZES[kind]
        empty = stating(kind, 0)[: offset + 4 + more] + b"LIST" + struct.pack(format, 4) + b"INFO"
        with pytest.raises(AudioError, match="no samples"):
            read(file(empty), 22_050)


@pytest.fixture
def piped(tmp_path):
    """Return a function that gives audio the path that standard input has."""
    streams = []

    def spool(content):
        streams.append((tmp_path / "spooled").open("w+b"))
        streams[-1].write(content)
        streams[-1].flush()
        return Path(f"/dev/fd/{streams[-1].fileno()}")

    yield spool
    for stream in streams:
        stream.close()


@pytest.mark.parametrize("kind", SIZES)
def test_audio_from_a_pipe_is_read_to_its_end_whatever_it_states(piped, file, kind, caplog):
    whole = read(file(FORMATS[kind]), 22_050)
    assert np.array_equal(read(piped(stating(kind, 0)), 22_050), whole)
    assert not caplog.messages
    assert np.array_equal(read(piped(stating(kind, 10**6)), 22_050), whole)
    assert len(caplog.messages) == 1
    assert "used as far as it goes, though truncated: its header states" in caplog.text


@pytest.mark.parametrize("kind", sorted({*SIZES} - {"w64"}))
def test_a_size_that_stops_in_the_middle_of_the_audio_is_a_warning(file, kind, caplog):
    wave = read(file(stating(kind, 30_000)), 22_050)
    assert np.array_equal(wave, read(file(FORMATS[kind]), 22_050)[:15_000])
    assert "states 30000 bytes of audio, and 14100 more are not read" in caplog.text


@pytest.mark.parametrize(
    "more", [b"LIST\x88\x13\0\0" + b"x" * 5_000, bytes(9_000), b"ID3\3" * 2_000]
)
def test_tags_and_zeros_after_the_audio_are_no_warning(file, more, caplog):
    assert len(read(file(WAV + more), 22_050)) == len(NOISE)
    assert not caplog.messages


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


@pytest.mark.parametrize("with_header", [True, False])
@pytest.mark.parametrize("with_id3", [True, False])
def test_tags_of_any_size_may_follow_an_mp3(file, with_header, with_id3):
    """A picture of the cover is longer than any frame."""
    size = 32 + 100_000
    fields = b"APETAGEX" + struct.pack("<IIII", 2000, size, 1, 0) + bytes(8)
    tag = fields * with_header + bytes([255, 251]) * 50_000 + fields
    content = MP3 + tag + (b"TAG" + b" " * 125) * with_id3
    assert np.array_equal(read(file(content, "clip.mp3"), 22_050), read(file(MP3), 22_050))


def test_a_chunk_after_the_audio_may_be_missing(file):
    """The list chunk of tags is cut, the audio is whole."""
    tagged = WAV + b"LIST" + struct.pack("<I", 1000) + b"INFO"
    assert np.array_equal(read(file(tagged), 22_050), read(file(WAV), 22_050))


# What is refused


def test_the_checks_are_made_in_this_order(tmp_path, monkeypatch):
    """What is wrong in more ways than one is refused for the first."""
    monkeypatch.setattr(reader, "MAX_SECONDS", 0.5)

    def refusal(content: bytes | None, name: str = "clip.wav", sample_rate: int = 16_000) -> str:
        path = tmp_path / "x.wav"
        if content is not None:
            path.write_bytes(content)
        reader = AudioReader(path, sample_rate, name=name)
        with pytest.raises(AudioError) as caught, reader:
            list(reader)
        path.unlink(missing_ok=True)
        return str(caught.value)

    def wav(rate: int, channels: int, *, cut: int = 0, value: float = np.nan) -> bytes:
        wave = np.full((rate, channels), value)
        return encoded(wave, rate, "WAV", "FLOAT")[: -cut or None]

    bad = "a\nb"
    steps = [
        (refusal(None, bad), "no such file"),
        (refusal(b"", bad), "empty"),
        (refusal(b"text", bad), "control character"),
        (refusal(b"text"), "not audio"),
        (refusal(patched(wav(8_000, 65, cut=9), 24, struct.pack("<I", 999))), "999 Hz"),
        (refusal(wav(16_001, 65, cut=9)), "no simple ratio"),
        (refusal(wav(16_000, 65, cut=9)), "65 channels"),
        (refusal(wav(16_000, 1, cut=9)), "truncated"),
        (refusal(wav(16_000, 1)), "longer than"),
    ]
    monkeypatch.undo()
    steps.append((refusal(wav(16_000, 1)), "is nan"))
    for message, expected in steps:
        assert expected in message


def test_a_clip_that_is_too_short_is_not_called_silent_besides(file, caplog):
    path = file(encoded(np.zeros(100), 16_000, "WAV"))
    reader = AudioReader(path, 16_000)
    with pytest.raises(AudioError, match="too short for one window"), reader:
        list(log_mel_blocks(reader, FeatureConfig()))
    assert not caplog.records


@pytest.mark.parametrize("kind", ["VOC", "MAT5", "IRCAM", "NIST", "SVX"])
def test_containers_whose_truncation_would_not_be_noticed_are_refused(file, kind):
    path = file(encoded(NOISE, 22_050, kind))
    with pytest.raises(AudioError, match=r"it is .*; convert it to WAV or FLAC"):
        read(path, 22_050)


@pytest.mark.parametrize("second", [OGG, encoded(NOISE[:9_000], 22_050, "OGG", "VORBIS")])
def test_several_ogg_streams_in_a_row_are_refused(file, second):
    """libsndfile would read the first alone."""
    with pytest.raises(AudioError, match=f"another recording begins at byte {len(OGG)}"):
        read(file(OGG + second), 22_050)


def test_several_mp3s_in_a_row_are_refused(file):
    """libsndfile would read the first alone."""
    id3v2 = b"ID3\x04\0\0" + bytes([0, 0, 8, 0]) + bytes(1024)
    for content in (MP3 + MP3, MP3 + id3v2 + MP3, MP3 + b"TAG" + b" " * 125 + MP3):
        with pytest.raises(AudioError, match="bytes follow the audio that its header states"):
            read(file(content, "clip.mp3"), 22_050)


def test_an_mp3_that_has_all_its_bytes_but_lost_samples_is_damaged_not_truncated(file):
    content = encoded(np.tile(NOISE, 5), 22_050, "MP3", "MPEG_LAYER_III")
    path = file(patched(content, 10_000, bytes(100)), "clip.mp3")
    reader = AudioReader(path, 22_050, allow_truncated=True)
    with pytest.raises(AudioError, match=r"could be decoded of the 5\.000 s"), reader:
        list(reader)


# Truncated files that are allowed


@pytest.mark.parametrize("kind", FORMATS)
@given(cut=st.integers(1, 40_000))
@settings(same_folder, max_examples=15)
def test_what_is_left_of_a_truncated_file_is_the_beginning_of_the_whole(file, kind, cut):
    content = FORMATS[kind]
    whole = read(file(content), 22_050)
    try:
        path = file(content[: max(len(content) - cut, 1)])
        with AudioReader(path, 22_050, allow_truncated=True) as reader:
            wave = np.concatenate(list(reader))
    except AudioError:
        return  # nothing is left, or no header
    assert np.array_equal(wave, whole[: len(wave)])
    assert reader.truncated == (len(wave) < len(whole))


@pytest.mark.parametrize("kind", sorted(set(FORMATS) - {"caf"}))  # libsndfile opens no such CAF
def test_a_file_cut_by_a_tenth_keeps_most_of_its_audio(file, kind, caplog):
    content = FORMATS[kind]
    path = file(content[: len(content) * 9 // 10])
    with AudioReader(path, 22_050, allow_truncated=True) as reader:
        wave = np.concatenate(list(reader))
    assert reader.truncated
    assert 0.6 * 22_050 < len(wave) < 22_050
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith(f"{path}: used as far as it goes, though ")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_whole_file_is_not_called_truncated(file, kind):
    with AudioReader(file(FORMATS[kind]), 22_050, allow_truncated=True) as reader:
        assert sum(map(len, reader)) == 22_050
    assert not reader.truncated


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (patched(OGG, len(OGG) // 2, b"\xff\x00\xff"), "damaged: the Ogg page"),
        (OGG[:5_000] + OGG[6_000:], "damaged: the Ogg page"),
        (patched(FLAC, 15_000, bytes(500)), "damaged or truncated"),
        (with_float(np.nan)[:-100], "is nan"),
        (WAV[:44], "no samples"),
        (WAV[:20], "not audio"),
    ],
)
def test_damage_elsewhere_is_refused_though_truncation_is_allowed(file, content, message):
    with (
        pytest.raises(AudioError, match=message),
        AudioReader(file(content), 22_050, allow_truncated=True) as reader,
    ):
        list(reader)


# Length, level


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


@pytest.mark.parametrize("content", [WAV, FLAC_FROM_A_PIPE])
def test_a_clip_that_is_too_long_is_refused(file, content, monkeypatch):
    path = file(content)
    monkeypatch.setattr(reader, "MAX_SECONDS", 1.0)
    assert len(read(path, 16_000)) == 16_000
    monkeypatch.setattr(reader, "MAX_SECONDS", 0.9)
    with pytest.raises(AudioError, match=r"longer than 0\.00025 h"):
        read(path, 16_000)


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
