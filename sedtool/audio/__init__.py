"""Audio files: find, decode, check, mix down, resample; by soundfile, soxr and perhaps PyAV.

A file is used whole or not at all, unless truncated audio is asked for. `sedtool.audio.reader`
lists what is checked, in its order; each failure is an AudioError of one line.

Decoded audio is float32, shape (N,), full scale 1.0. It is read in blocks, so that an hour costs
as much memory as ten seconds; joined, the blocks are the same whatever their length.

libsndfile's MP3 decoder (libmpg123) writes warnings to file descriptor 2 itself. A library cannot
catch them, since moving the descriptor aside would move it for every thread. A program that minds
gives ``sys.stderr`` another descriptor, and 2 to ``/dev/null``, before it starts any.
"""

from sedtool.audio.find import AUDIO_SUFFIXES, AudioFiles, AudioInputs, find_audio
from sedtool.audio.reader import (
    RESAMPLER,
    AudioHeader,
    AudioInfo,
    AudioReader,
    read,
    read_duration,
    read_header,
    stamp,
    unnamed,
    write_wav,
)

__all__ = [
    "AUDIO_SUFFIXES",
    "RESAMPLER",
    "AudioFiles",
    "AudioHeader",
    "AudioInfo",
    "AudioInputs",
    "AudioReader",
    "find_audio",
    "read",
    "read_duration",
    "read_header",
    "stamp",
    "unnamed",
    "write_wav",
]
