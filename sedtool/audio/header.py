"""What the header of an audio file says, without decoding it."""

from dataclasses import dataclass
from pathlib import Path

from sedtool.audio.reader import AudioReader

__all__ = ["AudioHeader", "read_header"]


@dataclass(frozen=True)
class AudioHeader:
    """What an audio file says it is."""

    format: str  # as libsndfile names it: "WAV", "OGG"
    subtype: str  # "PCM_16", "VORBIS"
    sample_rate: int  # Hz
    channels: int
    duration: float | None  # seconds; None where it does not say
    size: int  # bytes


def read_header(path: Path) -> AudioHeader:
    """Open an audio file, and check its container, as `AudioReader` does; decode nothing.

    Raises
    ------
    AudioError
        If the file cannot be used.
    """
    with AudioReader(path, None) as reader:
        sound = reader._sound
        return AudioHeader(
            sound.format,
            sound.subtype,
            sound.samplerate,
            sound.channels,
            reader.claimed_duration or None,
            path.stat().st_size,
        )
