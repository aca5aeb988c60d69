"""An audio file -> blocks of mono float32 at one sample rate, or an AudioError; samples -> a WAV.

What is checked, in this order; each failure is an AudioError of one line:

1.  The file is there, a regular one (by stat: opening a FIFO never returns), and not empty.
2.  The clip's name can pass through a TSV file, where one is given.
3.  libsndfile opens it, as a container of `FORMATS`; or else PyAV, see `sedtool.audio.av_reader`.
4.  Its sample rate is 1,000 to 384,000 Hz and has a simple ratio to the wanted one.
5.  It has 1 to 64 channels, and the wanted one.
6.  All that its container claims is there (`find_damage`), and it is no longer than a day.
7.  Every sample is finite and below 1e4.
8.  As much could be decoded as the header states, and no other recording follows.

A file that ends too early is used as far as it goes where that is allowed. That is: a WAV, RF64,
W64, AIFF, AU or CAF file whose last chunk is cut, an Ogg file whose last page is cut or missing, a
FLAC or MP3 file that cannot be decoded to its end, and what PyAV reads alike. A hole is never
allowed, since what follows it would be moved in time: an Ogg page that is damaged or out of
sequence, a FLAC file that cannot be decoded somewhere else than near its end (8 KiB), an MP3 that
lost samples but no bytes.

Not noticed, since nothing tells: a shorter MP3 of constant bit rate that states no length.
"""

import contextlib
import hashlib
import io
import logging
import math
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from sedtool.atomic import write_bytes
from sedtool.audio.av_reader import SLACK, AvSound, UndecodableError, has_av, without_av
from sedtool.audio.containers import (
    MAX_UNREAD,
    Damage,
    Patched,
    find_damage,
    read_mpeg_layout,
)
from sedtool.audio.lists import SPOOLED
from sedtool.config import FeatureConfig
from sedtool.errors import AudioError, ResourceError, machine_fault
from sedtool.file_kinds import kind_of_file
from sedtool.labels.names import check_name
from sedtool.text import in_other_form

RESAMPLER = "soxr HQ"
# What libsndfile calls the containers whose truncation is noticed; it opens some fifteen more.
FORMATS = ("AIFF", "AU", "CAF", "FLAC", "MP3", "OGG", "RF64", "W64", "WAV", "WAVEX")
SAMPLE_RATES = (1_000, 384_000)  # Hz
MAX_RATIO = 1_000  # of the reduced fraction of two rates; beyond it soxr takes gigabytes
MAX_CHANNELS = 64
MAX_SECONDS = 24 * 3600.0
MAX_SAMPLE = 1e4  # integer audio is within 1, floating-point audio a little above
_PROBE = 2**16  # bytes before and behind the place where decoding failed
UNKNOWN_LENGTH = 2**62  # libsndfile says 2**63 - 1 samples of a FLAC that came out of a pipe

Wave = npt.NDArray[np.float32]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file is."""

    sample_rate: int  # Hz
    channels: int
    duration: float  # seconds, of what was decoded
    size: int  # bytes
    sha256: str  # of the file


class _ForwardOnly(soundfile.SoundFile):  # type: ignore[misc]  # soundfile may be untyped
    """A sound file that is read from start to end.

    Where it can, soundfile seeks after each read to where it already is. In an MP3 that loses the
    bit reservoir, so that each block begins with noise; in a FLAC of unknown length it fails.
    """

    def seekable(self) -> bool:
        return False


@dataclass(eq=False)
class AudioReader:
    """One audio file, decoded block by block.

    ::

        with AudioReader(path, 16_000) as reader:
            for block in reader:
                ...
            info = reader.info()

    Raises
    ------
    AudioError
        On entering and while iterating, if the file cannot be used. Blocks that were yielded
        before are then to be thrown away.
    ResourceError
        If the machine cannot read it now: too many files are open, a disk fails.
    """

    path: Path  # its format is found from its content
    sample_rate: int | None  # Hz, to resample to by soxr at its "HQ" quality; None: as it is
    channel: str = FeatureConfig.channel  # "mean" of all channels, or the number of one, from 0
    block_seconds: float = 2.0  # of all channels, to decode at once, so that memory is bounded
    name: str | None = None  # of the clip, if it must pass through a TSV file; see `check_name`
    allow_truncated: bool = False  # use a file whose end is missing or damaged as far as it goes

    def __enter__(self) -> Self:
        self.n_decoded = 0  # samples a channel so far, at the file's own rate
        self.truncated = False  # known once the iteration has ended
        self._warnings: list[str] = []
        with ExitStack() as closing:  # of whatever is open when a check fails
            try:
                self._size = self._check_file()
                if self.name is not None:
                    check_name(self.name)
                # One descriptor for all that is read; libsndfile then goes by content, not suffix.
                self._stream = closing.enter_context(self.path.open("rb", buffering=0))
                is_piped = self.path.parent == SPOOLED
                damage, patch = find_damage(self._stream, self._size, is_piped)
                self._stream.seek(0)
                where = Patched(self._stream, patch) if patch else self._stream.fileno()
                self._sound = closing.enter_context(self._opened(where, damage))
                self._check_format()
                self._check_length(damage)
            except (OSError, ValueError) as error:
                raise self._unreadable(error) from error
            self._closing = closing.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()
        if kind is None:  # what failed is an error, which needs no warning besides
            what = self.path if self.name is None else self.name  # audio on stdin has no real path
            for warning in self._warnings:
                _log.warning("%s: %s", what, warning)

    def __iter__(self) -> Iterator[Wave]:
        """Yield the samples at the wanted rate, float32 (n,)."""
        rate, wanted = self._sound.samplerate, self.sample_rate
        blocks = self._mixed()
        if wanted in (None, rate):
            yield from blocks
            return
        resampler = soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ")
        for block in blocks:
            yield resampler.resample_chunk(block)
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)

    @property
    def duration(self) -> float:
        """Seconds decoded so far: all of them, once the iteration has ended."""
        return float(self.n_decoded / self._sound.samplerate)

    def info(self) -> AudioInfo:
        """Return what the file is, once it has been decoded; reads it again for its digest."""
        self._stream.seek(0)
        try:
            digest = hashlib.file_digest(self._stream, "sha256").hexdigest()
        except OSError as error:
            raise self._unreadable(error) from error
        sound = self._sound
        return AudioInfo(sound.samplerate, sound.channels, self.duration, self._size, digest)

    def _error(self, message: str) -> AudioError:
        return AudioError(f"{self.path}: {message}")

    def _unreadable(self, error: OSError | ValueError) -> AudioError | ResourceError:
        """Return what an error says of the file, or of the machine: then it ends the run."""
        if fault := machine_fault(error):
            return ResourceError(f"{self.path} cannot be read: {fault}")
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return self._error(f"cannot be read ({reason})")

    def _opened(self, where: Patched | int, damage: Damage | None) -> Any:
        """Return the file as libsndfile opens it, or what it does not, as PyAV does."""
        try:
            return _ForwardOnly(where, closefd=False)
        except soundfile.LibsndfileError as error:
            self._require_disk()
            kind, what = kind_of_file(self.path), "not audio that libsndfile can decode"
            if kind and kind.what.split()[0] in FORMATS:
                raise self._error(f"{what}: {kind}, damaged or of a rare encoding") from error
            if kind is None or not kind.is_media:
                raise self._error(f"{what}: {kind}" if kind else what) from error
            if not has_av():
                raise self._error(f"{what}: {kind}; {without_av()}") from error
            self._stream.seek(0)
            try:
                return AvSound(Patched(self._stream), self._size, kind.what)
            except UndecodableError as fault:
                self._require_disk()
                raise self._error(f"{what}: {kind}; {damage or fault}") from fault

    def _require_disk(self) -> None:
        """Raise a ResourceError if a disk fails, which libsndfile takes for the end of the file."""
        descriptor = self._stream.fileno()
        position = max(os.lseek(descriptor, 0, os.SEEK_CUR) - _PROBE, 0)
        try:
            os.pread(descriptor, 2 * _PROBE, position)
        except OSError as error:
            raise self._unreadable(error) from error

    def _check_file(self) -> int:
        """Return the size in bytes. A FIFO is told by stat: opening it never returns."""
        try:
            status = self.path.stat()
        except FileNotFoundError as error:
            if self.path.is_symlink():
                raise self._error(f"{kind_of_file(self.path) or 'a broken link'}") from error
            raise self._error(f"no such file{in_other_form(self.path)}") from error
        if not stat.S_ISREG(status.st_mode):
            raise self._error("not a regular file")
        if status.st_size == 0:
            raise self._error("the file is empty")
        return status.st_size

    def _check_format(self) -> None:
        sound = self._sound
        if not self._is_av and sound.format not in FORMATS:
            raise self._error(f"it is {sound.format_info}; convert it to WAV or FLAC")
        rate, channels = sound.samplerate, sound.channels
        if not SAMPLE_RATES[0] <= rate <= SAMPLE_RATES[1]:
            raise self._error(
                f"its sample rate is {rate} Hz; {SAMPLE_RATES[0]} to {SAMPLE_RATES[1]} can be read"
            )
        wanted = self.sample_rate or rate
        if max(rate, wanted) // math.gcd(rate, wanted) > MAX_RATIO:
            raise self._error(
                f"{rate} Hz and {wanted} Hz have no simple ratio to resample by; "
                "resample the file by other means"
            )
        if not 1 <= channels <= MAX_CHANNELS:
            raise self._error(f"it has {channels} channels; 1 to {MAX_CHANNELS} can be read")
        if self.channel != "mean" and int(self.channel) >= channels:
            raise self._error(
                f"it has no channel {self.channel} (numbered from 0), only {channels}; "
                "see --channel"
            )

    def _check_length(self, damage: Damage | None) -> None:
        # The descriptor's position belongs to libsndfile: it is put back.
        position = self._stream.tell()
        is_mpeg = self._sound.format == "MP3"
        self._mpeg = read_mpeg_layout(self._stream, self._size) if is_mpeg else None
        self._stream.seek(position)
        if damage:
            self._accept(damage)
        if self.claimed_duration > MAX_SECONDS:
            raise self._too_long()

    def _accept(self, damage: Damage) -> None:
        """Note damage that costs no more than the end of the clip, if that is allowed."""
        self._require_disk()
        if not (damage.is_taken or (self.allow_truncated and damage.at_end)):
            raise self._error(str(damage))
        if not self.truncated:
            self._warnings.append(f"used as far as it goes, though {damage.message}")
        self.truncated = True

    @property
    def claimed_duration(self) -> float:
        """Seconds that the file says it lasts; 0 where it does not say."""
        return self._claimed() / float(self._sound.samplerate)

    def _claimed(self) -> int:
        """Return the samples a channel that the file says it has; 0 where it does not say."""
        frames = int(self._sound.frames)
        is_stated = self._mpeg.states_length if self._mpeg else frames < UNKNOWN_LENGTH
        return frames if is_stated else 0

    def _too_long(self) -> AudioError:
        return self._error(f"longer than {MAX_SECONDS / 3600:g} h; cut it into parts")

    def _mixed(self) -> Iterator[Wave]:
        """Yield one channel at the file's own rate, checked."""
        low, high = math.inf, -math.inf
        for block in self._decoded():  # (n, channels)
            if self.channel != "mean":
                mono = np.ascontiguousarray(block[:, int(self.channel)])
            else:
                mono = _mean(block)
            if low >= high:  # as yet the clip is constant
                low, high = min(low, float(mono.min())), max(high, float(mono.max()))
            yield mono
        if low == high:
            what = f"constant ({low:g})" if low else "silent"
            self._warnings.append(f"the clip is {what} throughout")

    def _decoded(self) -> Iterator[Wave]:
        """Yield all channels, float32 (n, channels), checked."""
        while len(block := self._decode_block()):
            # 16-bit samples are scaled here: four times as fast as libsndfile's float, and equal.
            if block.dtype == np.int16:
                block = block * np.float32(2.0**-15)
            else:
                self._check_samples(block)
            self.n_decoded += len(block)
            if self.duration > MAX_SECONDS:
                raise self._too_long()
            yield block
        self._check_complete()

    @property
    def _is_av(self) -> bool:
        return isinstance(self._sound, AvSound)

    def _decode_block(self) -> npt.NDArray[Any]:
        """Return the next samples, int16 or float32 (n, channels); none at the end."""
        sound = self._sound
        size = max(int(self.block_seconds * sound.samplerate / sound.channels), 1)
        if self._is_av:
            return self._decode_block_of_av(size)
        # Beyond what the header states libsndfile would decode all the rest and drop it.
        size = min(size, sound.frames - self.n_decoded)
        dtype = np.int16 if sound.subtype == "PCM_16" else np.float32
        block = np.empty((size, sound.channels), dtype)
        try:
            return sound.read(out=block)  # type: ignore[no-any-return]  # soundfile may be untyped
        except soundfile.LibsndfileError:
            decoded = block[: sound.tell() - self.n_decoded]  # what came before the damage
            seconds = (self.n_decoded + len(decoded)) / sound.samplerate
            is_read = self._stream.tell() >= self._size
            message = f"damaged or truncated: it cannot be decoded beyond {seconds:.3f} s"
            self._accept(Damage(message, at_end=is_read))
            return decoded

    def _decode_block_of_av(self, size: int) -> Wave:
        block: Wave = self._sound.read(size)
        if not len(block):
            self._warnings += self._sound.warnings
            if self._sound.damage:
                self._accept(self._sound.damage)
        return block

    def _check_samples(self, block: Wave) -> None:
        # One comparison finds NaN, infinity and absurd values alike.
        if max(-block.min(), block.max()) < MAX_SAMPLE:
            return
        bad = ~(np.abs(block) < MAX_SAMPLE).all(axis=1)
        first = int(bad.argmax())
        value = block[first][~(np.abs(block[first]) < MAX_SAMPLE)][0]
        raise self._error(
            f"a sample at {self.duration + first / self._sound.samplerate:.3f} s is {value:g}; "
            f"samples must be numbers below {MAX_SAMPLE:g}"
        )

    def _check_complete(self) -> None:
        """Compare what was decoded with what the header promised."""
        claimed, rate = self._claimed(), self._sound.samplerate
        if self.n_decoded < claimed - self._is_av * SLACK * rate:
            # An MP3 that has all its bytes lost samples somewhere else, and so did other formats.
            is_cut = self._mpeg and self._mpeg.stated_end > self._size
            at_end = self.truncated if self._is_av else is_cut or not self._mpeg
            message = (
                f"damaged or truncated: {self.duration:.3f} s could be decoded of the "
                f"{claimed / rate:.3f} s its header states"
            )
            self._accept(Damage(message, at_end))
        if self.n_decoded == 0:
            raise self._error("it has no samples")
        if self.n_decoded == self._sound.frames and self._sound.format in ("MP3", "FLAC"):
            self._check_unread(self._mpeg.end if self._mpeg else self._size)

    def _check_unread(self, end: int) -> None:
        """Refuse a file of which libsndfile stops to read before the audio ends."""
        position = self._stream.tell()
        unread = self._stream.read(max(min(end - position, 2 * MAX_UNREAD), 0))
        if len(unread.strip(b"\0")) <= MAX_UNREAD:
            return
        if self._claimed():
            raise self._error(
                f"{end - position} bytes follow the audio that its header states, perhaps another "
                "recording; convert it to WAV or FLAC"
            )
        # libsndfile estimates the length of an MP3 that does not state one, and stops there.
        raise self._error(
            "an MP3 of varying bit rate that does not state its length, so that only part of it "
            "can be decoded; convert it to WAV or FLAC"
        )


def _mean(block: Wave) -> Wave:
    """Return the mean over channels of (n, channels): 20 times as fast as np.mean."""
    if block.shape[1] == 1:
        return block[:, 0]
    total = block[:, 0] + block[:, 1]
    for channel in range(2, block.shape[1]):
        total += block[:, channel]
    return total / np.float32(block.shape[1])


def read_duration(path: Path) -> float:
    """Return the seconds of an audio file; decodes it only if its header does not say."""
    with AudioReader(path, None) as reader:
        if not reader.claimed_duration:
            for _ in reader:
                pass
        return reader.claimed_duration or reader.duration


def read(path: Path, sample_rate: int, channel: str = FeatureConfig.channel) -> Wave:
    """Return a whole audio file at `sample_rate` Hz, float32 (N,); see AudioReader."""
    with AudioReader(path, sample_rate, channel) as reader:
        return np.concatenate(list(reader))


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
    """Open an audio file, and check its container, as `AudioReader` does; decode nothing."""
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


def write_wav(path: Path, wave: npt.NDArray[np.floating], sample_rate: int) -> None:
    """Write samples within [-1, 1], shape (N,) or (N, channels), as a WAV file of 16 bits."""
    peak = np.abs(wave).max(initial=0.0)
    if not peak <= 1.0:
        raise AudioError(f"{path}: a sample of {peak:g} does not fit 16 bits; scale to within 1")
    pcm = np.minimum(np.rint(np.asarray(wave, np.float64) * 2**15), 2**15 - 1).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sample_rate, format="WAV", subtype="PCM_16")
    write_bytes(path, buffer.getvalue())


def stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file does: its size, and when it was written, ns since 1970."""
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def unnamed(path: Path) -> Iterator[None]:
    """Take the path out of an AudioError: a clip is called by its name, wherever its file lies."""
    try:
        yield
    except AudioError as error:
        raise AudioError(str(error).removeprefix(f"{path}: ")) from error
