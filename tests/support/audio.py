"""Audio files in memory: good ones in several containers, and what can be wrong with one."""

import io
import struct

import numpy as np
import soundfile

RATE = 16_000  # Hz, of the tiny data set
RNG = np.random.default_rng(20170613)
NOISE = RNG.uniform(-0.5, 0.5, 22_050)  # 1 s at 22.05 kHz


def encoded(wave: np.ndarray, rate: int, kind: str, subtype: str = "PCM_16") -> bytes:
    """Return an audio file in memory."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


WAV = encoded(NOISE, 22_050, "WAV")
FLAC = encoded(NOISE, 22_050, "FLAC")
OGG = encoded(NOISE, 22_050, "OGG", "VORBIS")
MP3 = encoded(NOISE, 22_050, "MP3", "MPEG_LAYER_III")
AIFF = encoded(NOISE, 22_050, "AIFF")
W64 = encoded(NOISE, 22_050, "W64")
RF64 = encoded(NOISE, 22_050, "RF64")
AU = encoded(NOISE, 22_050, "AU")


def with_float(value: float, at: int = 7_000) -> bytes:
    """Return a 32-bit float WAV with one strange sample."""
    wave = NOISE.astype(np.float32)
    wave[at] = value
    return encoded(wave, 22_050, "WAV", "FLOAT")


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def without_length() -> bytes:
    """Return an MP3 of varying bit rate without its first frame, which states the length."""
    loud_then_quiet = np.concatenate([NOISE, NOISE, *[1e-4 * NOISE] * 6])
    content = encoded(loud_then_quiet, 22_050, "MP3", "MPEG_LAYER_III")
    return content[content.index(content[:2], 2) :]


# File name -> content, and what the error says.
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty.wav": (b"", "empty"),
    "text.wav": (b"this is no audio\n" * 100, "not audio"),
    "zeros.wav": (bytes(5000), "not audio"),
    "noise.mp3": (RNG.bytes(5000), "not audio"),
    "header only.wav": (WAV[:44], "states 44144 bytes, 44 are there"),
    "half a header.wav": (WAV[:20], "not audio"),
    "cut.wav": (WAV[:-1000], "states 44144 bytes, 43144 are there"),
    "cut by one byte.wav": (WAV[:-1], "states 44144 bytes, 44143 are there"),
    "cut.flac": (FLAC[:-1000], "cannot be decoded beyond"),
    "cut.ogg": (OGG[:-1000], "Ogg page .* is cut off"),
    "cut at a page.ogg": (OGG[: OGG.rfind(b"OggS")], "an Ogg page is missing at byte"),
    "flipped.ogg": (patched(OGG, len(OGG) // 2, b"\xff\x00\xff"), "Ogg page .* is damaged"),
    "cut.mp3": (MP3[: len(MP3) // 2], "could be decoded of the 1.000 s its header states"),
    "no length.mp3": (without_length(), "MP3 of varying bit rate that does not state its length"),
    "cut.aiff": (AIFF[:-1000], "states .* bytes, .* are there"),
    "cut.w64": (W64[:-1000], "states .* bytes, .* are there"),
    "cut.rf64": (RF64[:-1000], "states .* bytes, .* are there"),
    "cut.au": (AU[:-1000], "states .* bytes, .* are there"),
    "no channels.wav": (patched(WAV, 22, struct.pack("<H", 0)), "not audio"),
    "channels.wav": (encoded(np.zeros((2_000, 65)), 8_000, "WAV"), "65 channels"),
    "no rate.wav": (patched(WAV, 24, struct.pack("<I", 0)), "not audio"),
    "slow.wav": (patched(WAV, 24, struct.pack("<I", 999)), "999 Hz; 1000 to 384000"),
    "fast.wav": (patched(WAV, 24, struct.pack("<I", 384_001)), "384001 Hz; 1000 to 384000"),
    "odd rate.wav": (patched(WAV, 24, struct.pack("<I", 15_999)), "no simple ratio"),
    "no samples.wav": (encoded(NOISE[:0], 22_050, "WAV"), "no samples"),
    "short.wav": (encoded(NOISE[:700], 22_050, "WAV"), "too short for one window"),
    "nan.wav": (with_float(np.nan), r"at 0\.317 s is nan"),
    "inf.wav": (with_float(np.inf), r"at 0\.317 s is inf"),
    "minus inf.wav": (with_float(-np.inf), r"at 0\.317 s is -inf"),
    "huge.wav": (with_float(3e30), r"at 0\.317 s is 3e\+30"),
    "double.wav": (encoded(np.full(20_000, 1e300), 8_000, "WAV", "DOUBLE"), r"at 0\.000 s is inf"),
}


def tree(root, *names):
    """Make empty files, and the folders they are in."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
