"""What PyAV reads is decoded where it belongs in time, in blocks, or refused in one line."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pytest
import soxr

from sedtool.audio import AudioReader, find_audio, read, read_duration, read_header, reader
from sedtool.errors import AudioError
from sedtool.extraction import extract
from sedtool.store import open_features
from support.audio import FLAC, MP3, OGG, RNG, WAV
from support.features import CONFIG

av = pytest.importorskip("av")

SECONDS = 3.0
ONSETS = (0.5, 1.5, 2.4)


def bursts(rate):
    """Return tones that begin at ONSETS, in faint noise."""
    time = np.arange(int(SECONDS * rate)) / rate
    wave = 0.001 * np.random.default_rng(0).standard_normal(len(time))
    for number, onset in enumerate(ONSETS):
        sounds = (time >= onset) & (time < onset + 0.3)
        wave += sounds * 0.3 * np.sin(2 * np.pi * (700 + 400 * number) * time)
    return wave.astype(np.float32)


def encoded(
    container, codec, rate=44_100, gains=(1.0,), picture=False, streams=1, hole=0, **options
):
    """Return a file of `bursts`, of as many channels as there are gains; a hole is in samples."""
    layout, wave = {1: "mono", 2: "stereo"}[len(gains)], bursts(rate)
    with (
        NamedTemporaryFile() as file,
        av.open(file.name, "w", format=container, options=options) as output,
    ):
        video = output.add_stream("mpeg4", rate=10) if picture else None
        if video:
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
        sounds = [output.add_stream(codec, rate=rate, layout=layout) for _ in range(streams)]
        for stream in sounds:
            stream.bit_rate = 96_000 if rate > 8_000 else 12_200
        if video:
            for _ in range(int(10 * SECONDS)):
                image = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
                output.mux(video.encode(image))
            output.mux(video.encode(None))
        for stream in sounds:
            context = stream.codec_context
            size = context.frame_size or 1024
            fifo = av.AudioResampler(context.format.name, layout, rate, frame_size=size)
            for start in range(0, len(wave), size):
                values = np.outer(gains, wave[start : start + size]).astype(np.float32)
                frame = av.AudioFrame.from_ndarray(values, "fltp", layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = start
                for each in fifo.resample(frame):
                    each.pts += hole if start >= len(wave) // 2 else 0
                    output.mux(stream.encode(each))
            for each in fifo.resample(None):
                each.pts += hole
                output.mux(stream.encode(each))
            output.mux(stream.encode(None))
        output.close()
        return Path(file.name).read_bytes()


# Name -> what makes it, and the samples at 44.1 kHz by which events may be late or early.
MADE = {
    "aac.m4a": (("ipod", "aac"), {}, 2),
    "front.m4a": (("ipod", "aac"), {"movflags": "faststart"}, 2),
    "fragments.mp4": (("mp4", "aac"), {"movflags": "frag_keyframe+empty_moov"}, 1024),
    "alac.m4a": (("ipod", "alac"), {}, 0),
    "video.mp4": (("mp4", "aac"), {"picture": True}, 2),
    "video.mkv": (("matroska", "libopus", 48_000), {"picture": True}, 2),
    "video.avi": (("avi", "pcm_s16le"), {"picture": True}, 0),
    "opus.webm": (("webm", "libopus", 48_000), {}, 2),
    "aac.aac": (("adts", "aac"), {}, 1024),
    "audio.wma": (("asf", "wmav2"), {}, 2048),
    "audio.ac3": (("ac3", "ac3"), {}, 256),
    "audio.eac3": (("eac3", "eac3"), {}, 256),
    "phone.amr": (("amr", "libopencore_amrnb", 8_000), {}, 45),
    "phone.3gp": (("3gp", "libopencore_amrnb", 8_000), {}, 45),
    "audio.flv": (("flv", "aac"), {}, 1024),
    "audio.mts": (("mpegts", "aac"), {}, 1024),
    "audio.mpg": (("mpeg", "mp2"), {}, 481),
    "audio.wv": (("wv", "wavpack"), {}, 0),
    "audio.tta": (("tta", "tta"), {}, 0),
}
# Of these nothing tells how long they should be, if they are cut between two frames.
UNSTATED = ("aac.aac", "audio.ac3", "audio.eac3", "phone.amr", "audio.mts", "audio.mpg")
_CONTENT: dict[str, bytes] = {}


def content(name):
    if name not in _CONTENT:
        arguments, options, _ = MADE[name]
        try:
            _CONTENT[name] = encoded(*arguments, **options)
        except av.codec.codec.UnknownCodecError:
            pytest.skip(f"FFmpeg is built without {arguments[1]}")
    return _CONTENT[name]


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a file; its name says nothing."""

    def write(data: bytes, name: str = "clip") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def decoded(path, **settings):
    with AudioReader(path, None, **settings) as audio:
        wave = np.concatenate([np.zeros(0, np.float32), *audio])
        return wave, audio.info()


def delay(wave, original):
    """Return by how many samples a wave is late, and how well it then correlates."""
    n, most = min(len(wave), len(original)), 4096
    lag = int(np.correlate(np.pad(wave[:n], most), original[:n], "valid").argmax()) - most
    late, early = max(lag, 0), max(-lag, 0)
    pair = wave[late : n - early], original[early : n - late]
    return lag, np.corrcoef(*(part[: n - abs(lag)] for part in pair))[0, 1]


# What is decoded


@pytest.mark.parametrize("name", MADE)
def test_events_stay_where_they_are(file, name):
    wave, info = decoded(file(content(name)))
    assert info.duration == pytest.approx(SECONDS, abs=0.06)
    lag, correlation = delay(wave, bursts(info.sample_rate))
    assert abs(lag) <= MADE[name][2] + 10 * (info.sample_rate == 8_000)
    assert correlation > 0.95


@pytest.mark.parametrize("name", ["alac.m4a", "video.avi"])
def test_lossless_audio_is_exact(file, name):
    wave, _ = decoded(file(content(name)))

    assert np.allclose(wave, bursts(44_100), atol=2.0**-15)


def test_joined_blocks_are_the_same_whatever_their_length(file):
    path = file(content("aac.m4a"))
    whole, _ = decoded(path)
    for seconds in (1e-4, 0.1, 60.0):
        with AudioReader(path, None, block_seconds=seconds) as audio:
            blocks = list(audio)
        assert np.array_equal(np.concatenate(blocks), whole)
        assert max(map(len, blocks)) < seconds * 44_100 + 2048


def test_it_is_resampled_by_soxr(file):
    path = file(content("opus.webm"))
    expected = soxr.resample(decoded(path)[0], 48_000, 16_000, quality="HQ")
    assert np.allclose(read(path, 16_000), expected, atol=1e-6)


def test_channels_are_averaged_or_picked(file):
    path = file(encoded("ipod", "alac", gains=(1.0, 0.5)))
    left, right = (read(path, 44_100, channel) for channel in "01")
    assert np.allclose(right, left / 2, atol=2.0**-14)
    assert np.allclose(read(path, 44_100), (left + right) / 2)
    with pytest.raises(AudioError, match="it has no channel 2"):
        read(path, 44_100, "2")


def test_headers_say_what_it_is(file):
    path = file(content("aac.m4a"))
    header = read_header(path)
    assert (header.format, header.subtype) == ("MPEG-4 audio", "AAC")
    assert (header.sample_rate, header.channels, header.duration) == (44_100, 1, SECONDS)
    assert read_duration(file(content("audio.ac3"))) == pytest.approx(SECONDS, abs=0.06)


def test_of_several_streams_the_first_is_used_and_said(file, caplog):
    wave, _ = decoded(file(encoded("matroska", "aac", streams=2)))
    assert len(wave) / 44_100 == pytest.approx(SECONDS, abs=0.05)
    assert caplog.messages[0].endswith("it has 2 audio streams; the first is used")


def test_audio_on_stdin_is_read_with_its_index_at_the_end(tmp_path):
    with (tmp_path / "spooled").open("w+b") as stream:
        stream.write(content("aac.m4a"))
        stream.flush()
        assert len(read(Path(f"/dev/fd/{stream.fileno()}"), 16_000)) >= SECONDS * 16_000


@pytest.mark.parametrize("data", [WAV, FLAC, OGG, MP3], ids=["wav", "flac", "ogg", "mp3"])
def test_what_libsndfile_reads_never_comes_to_pyav(file, data, monkeypatch):
    monkeypatch.setattr(reader.AvSound, "__init__", None)
    assert len(read(file(data), 22_050)) > 20_000


def test_features_of_a_folder_of_phone_recordings(tmp_path):
    (tmp_path / "rec").mkdir()
    for name in ("aac.m4a", "opus.webm", "video.mp4"):
        (tmp_path / "rec" / name).write_bytes(content(name))
    (tmp_path / "rec" / "a.wav").write_bytes(WAV)
    assert not find_audio([tmp_path / "rec"]).passed_over
    result = extract([tmp_path / "rec"], tmp_path / "f.h5", CONFIG)
    assert (result.n_clips, result.n_passed_over, result.failures) == (4, 0, [])
    features = open_features(tmp_path / "f.h5")
    assert features.names == ["a.wav", "aac.m4a", "opus.webm", "video.mp4"]


# What is refused


@pytest.mark.parametrize("name", sorted({*MADE} - {*UNSTATED}))
@pytest.mark.parametrize("part", [0.4, 0.9])
def test_a_file_that_is_cut_is_refused_or_taken_as_far_as_it_goes(file, name, part, caplog):
    data = content(name)
    path = file(data[: int(part * len(data))])
    with pytest.raises(AudioError) as error:
        decoded(path)
    assert "\n" not in str(error.value)
    if "--allow-truncated" in str(error.value):
        caplog.clear()
        wave, _ = decoded(path, allow_truncated=True)
        whole, _ = decoded(file(data))
        assert 0 < len(wave) <= len(whole)
        assert np.array_equal(wave[:-4096], whole[: len(wave)][:-4096])
        assert "used as far as it goes" in caplog.text
    else:
        assert "it has no index (moov)" in str(error.value) or "cannot be decoded" in str(
            error.value
        )


@pytest.mark.parametrize("name", ["aac.aac", "audio.ac3", "phone.amr"])
def test_a_stream_that_is_cut_within_a_frame_is_refused(file, name):
    data = content(name)
    with pytest.raises(AudioError, match=r"cannot be decoded beyond 1\.[34]\d* s; .*-truncated"):
        decoded(file(data[: int(0.473 * len(data))]))


def test_a_recording_without_its_index_is_said(file):
    data = content("aac.m4a")
    with pytest.raises(AudioError, match=r"MPEG-4 audio; truncated, .* no index \(moov\)"):
        decoded(file(data[: data.index(b"moov") - 4]), allow_truncated=True)


def test_a_hole_is_refused_since_it_moves_what_follows(file):
    path = file(encoded("matroska", "flac", hole=22_050))
    with pytest.raises(AudioError, match=r"damaged: 0\.5\d+ s are missing at 1\.\d+ s; fill"):
        decoded(path, allow_truncated=True)


def test_a_video_without_sound_is_said(file):
    data = encoded("mp4", "aac", picture=True, streams=0)
    with pytest.raises(
        AudioError, match="it is MPEG-4 audio or video; it is a video without sound"
    ):
        decoded(file(data))


def test_damage_in_the_middle_is_refused_though_truncation_is_allowed(file):
    data = bytearray(content("audio.ac3") * 3)
    middle = len(data) // 2
    data[middle : middle + 3_000] = RNG.bytes(3_000)
    with pytest.raises(AudioError, match="damaged or truncated: it cannot be decoded beyond"):
        decoded(file(bytes(data)), allow_truncated=True)


@pytest.mark.parametrize("name", MADE)
def test_garbage_at_the_end_loses_nothing(file, name):
    try:
        wave, _ = decoded(file(content(name) + RNG.bytes(700)))
    except AudioError as error:
        assert "cannot be decoded beyond" in str(error)
    else:
        assert np.array_equal(wave, decoded(file(content(name)))[0])


def test_a_clip_that_is_too_long_is_refused(file, monkeypatch):
    monkeypatch.setattr(reader, "MAX_SECONDS", 2.0)
    for name in ("aac.m4a", "audio.ac3"):
        with pytest.raises(AudioError, match=r"longer than .* h; cut it into parts"):
            decoded(file(content(name)))


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXT-X-TARGETDURATION:3\n{}\n", "ffconcat version 1.0\nfile {}\n"]
)
def test_no_list_of_other_files_is_followed(file, text):
    target = file(content("aac.m4a"), "target.m4a")
    with pytest.raises(AudioError, match="not audio that libsndfile can decode"):
        decoded(file(text.format(target).encode()))


def test_without_pyav_the_way_to_it_is_said(file, monkeypatch):
    monkeypatch.setattr(reader, "has_av", lambda: False)
    with pytest.raises(AudioError) as error:
        decoded(file(content("aac.m4a")))
    assert str(error.value).endswith(
        "it is MPEG-4 audio; pip install 'sedtool[av]' to read it, or convert it to FLAC, "
        "e.g. with ffmpeg"
    )


# Files that nobody made


def mutate(data, rng):
    """Return a file with some bytes changed, left out, put in or repeated."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 12)):
        at = int(rng.integers(min(len(data), 2_000) if rng.random() < 0.5 else len(data)))
        other, length = int(rng.integers(len(data))), int(rng.integers(1, 1_000))
        extremes = (0, 1, 2**31 - 1, 2**31, 2**32 - 1)
        match rng.integers(5):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at : at + 4] = int(rng.choice(extremes)).to_bytes(4, "big")
            case 2:
                del data[at : at + min(length, len(data) - 20)]
            case 3:
                data[at:at] = rng.bytes(length)
            case 4:
                data[at:at] = data[other : other + length]
    return bytes(data)


def decode_mutated(folder, number, seed):
    """Decode mutated files; anything but an AudioError escapes."""
    rng = np.random.default_rng(seed)
    names = sorted(path for path in folder.iterdir() if path.name in MADE)
    for i in range(number):
        path = folder / "mutated"
        path.write_bytes(mutate(names[i % len(names)].read_bytes(), rng))
        try:
            with AudioReader(path, 16_000, allow_truncated=bool(i % 2)) as audio:
                for _ in audio:
                    pass
        except AudioError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "number", [30, pytest.param(500, marks=pytest.mark.campaign)], ids=["30", "500"]
)
def test_mutated_files_are_decoded_or_refused_in_one_line(tmp_path, number):
    for name in MADE:
        if name not in ("phone.amr", "phone.3gp"):
            (tmp_path / name).write_bytes(content(name))
    code = (
        "import sys; from pathlib import Path; from test_audio_av import decode_mutated; "
        f"decode_mutated(Path({str(tmp_path)!r}), {number}, {number})"
    )
    # In another process, since a fault of FFmpeg would end this one.
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        timeout=30 + number,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
