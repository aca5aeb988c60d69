"""Audio files in: find, decode, check, mix down, resample. Only this package knows soundfile, soxr.

A file is used whole or not at all. These are checked in this order, and each failure is an
AudioError of one line: regular file, not empty, opens, sample rate, channels, the length that its
container claims against what is there, a length limit, finite samples of sane size. A silent or
constant clip is a warning.

Decoded audio is float32, shape (N,), full scale 1.0. It is read in blocks, so that an hour costs
as much memory as ten seconds; joined, the blocks are the same whatever their length.

libsndfile's MP3 decoder (libmpg123) writes warnings to file descriptor 2 itself. A library cannot
catch them, since moving the descriptor aside would move it for every thread. A program that minds
gives ``sys.stderr`` another descriptor, and 2 to ``/dev/null``, before it starts any.
"""

from sedtool.audio.finding import AudioInputs, find_audio
from sedtool.audio.folders import AUDIO_SUFFIXES
from sedtool.audio.names import check_name, printable
from sedtool.audio.reading import (
    RESAMPLER,
    AudioInfo,
    AudioReader,
    read,
    read_blocks,
    read_duration,
)
from sedtool.audio.writing import write_wav

__all__ = [
    "AUDIO_SUFFIXES",
    "RESAMPLER",
    "AudioInfo",
    "AudioInputs",
    "AudioReader",
    "check_name",
    "find_audio",
    "printable",
    "read",
    "read_blocks",
    "read_duration",
    "write_wav",
]
