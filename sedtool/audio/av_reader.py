"""What libsndfile does not read, decoded by PyAV (FFmpeg), where that is installed.

The first bytes say what a file is (`sedtool.file_kinds`), and FFmpeg is told: it may not guess,
since it knows formats that name other files, or addresses in the network, to be opened.

Time 0 is the first sample that FFmpeg gives. It leaves out what the encoder put in front where the
container says how much that is: MPEG-4, WebM and Matroska do as a rule. AAC in ADTS, AC-3, AMR,
MP3 in AVI and MPEG streams do not say it: events are late there by the encoder's delay, up to
50 ms. At the end the last frame may be filled up with silence.

Not noticed, since nothing tells: ADTS, AC-3, AMR and MPEG streams that are cut between two frames.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from io import RawIOBase
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sedtool.audio.containers import Damage

# What FFmpeg calls the formats that state a length, and those whose length it would guess.
_STATING = {
    "3GP audio or video": "mov",
    "Flash video": "flv",
    "Matroska audio or video": "matroska",
    "Monkey's Audio": "ape",
    "MPEG-4 audio": "mov",
    "MPEG-4 audio or video": "mov",
    "Musepack audio": "mpc8",
    "Musepack audio (SV7)": "mpc",
    "QuickTime video": "mov",
    "RealMedia": "rm",
    "TAK audio": "tak",
    "True Audio (TTA)": "tta",
    "WavPack audio": "wv",
    "WebM audio or video": "matroska",
    "Windows Media (WMA, WMV or ASF)": "asf",
}
_OTHERS = {
    "AAC audio (ADTS)": "aac",
    "AC-3 audio": "ac3",
    "AMR audio": "amr",
    "AVI video": "avi",
    "Creative Voice audio": "voc",
    "DSD audio (.dff)": "iff",
    "DSD audio (.dsf)": "dsf",
    "DTS audio": "dts",
    "Ogg audio or video": "ogg",
    "RealAudio": "rm",
    "Shorten audio": "shn",
    "an MPEG program stream": "mpeg",
    "an MPEG transport stream": "mpegts",
}
SLACK = 0.1  # seconds that a file may state too much, that a frame or the sound may be late
_NEAR_END = 8_192  # bytes

Wave = npt.NDArray[np.float32]


def has_av() -> bool:
    """Return whether PyAV is installed; it is not imported for that."""
    return find_spec("av") is not None


def without_av(them: str = "it") -> str:
    """Return what to do with audio that cannot be read without it."""
    return f"pip install 'sedtool[av]' to read {them}, or convert {them} to FLAC, e.g. with ffmpeg"


class UndecodableError(Exception):
    """FFmpeg does not open a file, or finds no audio in it that it decodes."""


class AvSound:
    """An open file, decoded from start to end; its names are those of `soundfile.SoundFile`."""

    def __init__(self, stream: RawIOBase, size: int, format: str) -> None:
        import av

        if (demuxer := (_STATING | _OTHERS).get(format)) is None:
            raise UndecodableError("convert it to FLAC")
        self.format, self._size = format, size
        self.warnings: list[str] = []
        self.damage: Damage | None = None  # what ended the decoding
        self._errors = (av.FFmpegError, ValueError, MemoryError)
        self._n_decoded = self._position = 0  # samples a channel, bytes
        try:
            self._container: Any = av.open(stream, format=demuxer, metadata_errors="ignore")
        except self._errors as error:
            raise UndecodableError(f"FFmpeg does not open it ({_reason(error)})") from error
        try:
            self._begin()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _begin(self) -> None:
        """Choose a stream, and decode its first frame: only then rate and channels are certain."""
        streams, pictures = self._container.streams.audio, self._container.streams.video
        if not streams:
            raise UndecodableError("it is a video without sound" if pictures else "it has no sound")
        stream, context = streams[0], streams[0].codec_context
        if context is None:
            raise UndecodableError("its sound is encrypted, or of a codec that FFmpeg lacks")
        self.subtype: str = context.name.upper()
        self._frames = self._decoded(stream)
        self._next = next(self._frames, None)
        if self._next is None:
            raise UndecodableError(self.damage.message if self.damage else "it has no samples")
        self.samplerate: int = self._next.sample_rate  # Hz
        self.channels: int = self._next.layout.nb_channels
        if len(streams) > 1:
            self.warnings.append(f"it has {len(streams)} audio streams; the first is used")
        late = (self._next.time or 0.0) - (self._container.start_time or 0) / 1e6
        if late > SLACK:
            self.warnings.append(f"its sound begins {late:.3f} s late; times count from the sound")
        seconds = 0.0
        if self.format in _STATING:
            if stream.duration:
                seconds = float(stream.duration * stream.time_base)
            elif not pictures:  # else it may be that of the picture
                seconds = (self._container.duration or 0) / 1e6
        self.frames = max(round(seconds * self.samplerate), 0)  # that are stated; 0: none are

    def read(self, size: int) -> Wave:
        """Return the next samples, about so many, float32 (n, channels); none at the end."""
        blocks = [np.zeros((0, self.channels), np.float32)]
        while self._next is not None and size > 0:
            blocks.append(_samples(self._next))
            size -= len(blocks[-1])
            self._next = next(self._frames, None)
        return np.concatenate(blocks)

    def _decoded(self, stream: Any) -> Iterator[Any]:
        """Yield frames up to the end, or to what is wrong."""
        previous: Any = None
        try:
            for packet in self._container.demux(stream):
                self._position = max(self._position, (packet.pos or 0) + packet.size)
                for frame in packet.decode():
                    self.damage = self._fault(frame, previous)
                    if self.damage:
                        return
                    yield frame
                    self._n_decoded, previous = self._n_decoded + frame.samples, frame
        except self._errors:
            self.damage = self._undecoded(previous)

    def _fault(self, frame: Any, previous: Any) -> Damage | None:
        """Return what is wrong with a frame that follows another one, if there is one."""
        if frame.is_corrupt:
            return self._undecoded(previous)
        if previous is None:
            return None
        seconds = self._n_decoded / previous.sample_rate
        if _layout(frame) != _layout(previous):
            change = f"from {_layout(previous)} to {_layout(frame)} at {seconds:.3f} s"
            return Damage(f"it changes {change}", remedy="cut it there")
        if frame.time is None or previous.time is None:
            return None
        hole = frame.time - previous.time - previous.samples / previous.sample_rate
        if hole <= SLACK:
            return None
        return Damage(
            f"damaged: {hole:.3f} s are missing at {seconds:.3f} s",
            remedy="fill them with ffmpeg -i FILE -af aresample=async=1 FILE.flac",
        )

    def _undecoded(self, previous: Any) -> Damage:
        seconds = self._n_decoded / previous.sample_rate if previous else 0.0
        message = f"damaged or truncated: it cannot be decoded beyond {seconds:.3f} s"
        return Damage(message, at_end=self._position >= self._size - _NEAR_END)


def _layout(frame: Any) -> str:
    return f"{frame.sample_rate} Hz, {frame.layout.nb_channels} channels"


def _samples(frame: Any) -> Wave:
    """Return the samples of a frame, float32 (n, channels), full scale 1.0."""
    values: npt.NDArray[Any] = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    full = np.float32(2.0 ** (8 * values.itemsize - 1))
    return values.astype(np.float32) / full - np.float32(values.dtype.kind == "u")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
