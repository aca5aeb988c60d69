"""What the container of an audio file says about its length, against the bytes that are there.

A program that writes into a pipe, or dies, leaves a size that is none: 0, or as much as fits. Such
a file is read to its end, a dead recorder's only where that is asked for.

libsndfile opens a truncated WAV, AIFF, AU, W64, CAF or Ogg file as a shorter one and says nothing,
and of several Ogg or MP3 streams in one file it reads the first and says nothing, so their
structure is read here. FLAC and MP3 state their length in samples; the reader compares that with
what it decodes.
"""

import io
import os
import re
import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

_COPY_AGAIN = "copy the file again"


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file."""

    message: str
    at_end: bool = False  # the end is missing, and nothing else: what comes before can be used
    remedy: str = ""  # other than the usual one
    is_taken: bool = False  # whether it is no more than a warning

    def __str__(self) -> str:
        """Return what is wrong, and what can be done."""
        usual = _COPY_AGAIN + ", or take what is there with --allow-truncated" * self.at_end
        return f"{self.message}; {self.remedy or usual}"


class Patch(NamedTuple):
    """What a header has to say at an offset for libsndfile to read to the end of the file."""

    offset: int
    content: bytes


class Patched(io.RawIOBase):
    """A file that is read as if its header were another one, and of which no seek fails."""

    def __init__(self, stream: BinaryIO, patch: Patch | None = None) -> None:
        self._stream, self._patch = stream, patch or Patch(0, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._stream.tell(), os.fstat(self._stream.fileno()).st_size)[whence]
        return self._stream.seek(min(max(base + offset, 0), _FARTHEST))  # a header may say anything

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: Any) -> int:
        view, start = memoryview(buffer).cast("B"), self._stream.tell()
        try:
            data = self._stream.read(len(view))
        except OSError:  # whoever decodes it asks the disk itself
            data = b""
        view[: len(data)] = data
        for place, byte in enumerate(self._patch.content, self._patch.offset - start):
            if 0 <= place < len(data):
                view[place] = byte
        return len(data)


class _Sound(NamedTuple):
    """What a container states of its samples."""

    start: int  # their offset
    size: int  # in bytes
    place: int  # offset of what states the size
    format: str  # of that, for struct
    more: int = 0  # bytes that it counts besides

    @property
    def is_streamed(self) -> bool:
        """Return whether the size stands for one that was not known when it was written."""
        sizes = (self.size, self.start + self.size - 8, self.start + self.size)  # RIFF, file
        return self.size > _FARTHEST or any(size in _STREAMED for size in sizes)

    def up_to(self, end: int) -> Patch:
        """Return what has to be stated for the samples to end there."""
        most = 2 ** (8 * struct.calcsize(self.format)) - 1
        size = max(end - self.start, 0) + self.more
        return Patch(self.place, struct.pack(self.format, min(size, most)))


@dataclass(frozen=True)
class _Chunks:
    """How a container lays out its chunks, each an id, a size and that many bytes."""

    first: int  # offset of the first chunk
    id_size: int  # bytes
    size: str  # struct format
    audio: bytes  # id of the chunk that holds the samples
    lead: int = 0  # bytes in that chunk before the samples
    counted: int = 0  # bytes of id and size that a size includes
    alignment: int = 2  # bytes

    @property
    def header(self) -> int:
        """Return the bytes of an id and a size."""
        return self.id_size + struct.calcsize(self.size)

    def read(self, stream: BinaryIO, position: int) -> tuple[bytes, int]:
        """Return id and size of the chunk that begins there; no id at the end of the file."""
        head = _read(stream, position, self.header)
        if len(head) < self.header:
            return b"", 0
        return head[: self.id_size], struct.unpack(self.size, head[self.id_size :])[0]


_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"

_CONTAINERS = {
    b"RIFF": _Chunks(12, 4, "<I", b"data"),
    b"RIFX": _Chunks(12, 4, ">I", b"data"),
    b"RF64": _Chunks(12, 4, "<I", b"data"),
    b"FORM": _Chunks(12, 4, ">I", b"SSND", lead=8),
    b"riff": _Chunks(40, 16, "<Q", _W64_DATA, counted=24, alignment=8),
    b"caff": _Chunks(8, 4, ">Q", b"data", lead=4, alignment=1),
}

# Sizes that programs write when they cannot go back to fill in the right one, or that with the
# header before the samples make such a size: ffmpeg, players of the 2 GiB era, sox, aplay, arecord,
# GStreamer. They say nothing about truncation, nor does what no file system holds.
_STREAMED = (2**32 - 1, 2**31 - 1, 2**31 - 2**12, 2**31 - 2**8, 2**31, 2**31 - 2**16)

MAX_UNREAD = 4_096  # bytes at the end that no sample is decoded from: two MP3 frames, or a tag
_BOXES = (
    b"emsg free ftyp junk mdat meta mfra moof moov pdin pnot prft sidx skip styp udta uuid wide"
).split()
_MOST_HEADER = 2**16  # bytes in which video states how large it is
_MOST_CHUNKS = 10_000  # with more of them a file would take minutes
_FARTHEST = 2**43  # bytes; a chunk that claims more ends beyond what any file system holds
_OGG_FIRST_PAGE, _OGG_LAST_PAGE = 2, 4  # flags
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def find_damage(
    stream: BinaryIO, size: int, is_piped: bool = False
) -> tuple[Damage | None, Patch | None]:
    """Return what is missing or damaged in an audio file of `size` bytes, and a patch to read it.

    Any format is taken. This moves the stream, and so does `read_mpeg_layout`. With the patch
    libsndfile reads to the end of the file, whatever its header states: what came through a pipe
    states nothing that need be true.
    """
    head = _read(stream, 0, 12)
    magic = head[:4]
    if magic == b"OggS":
        return _damage_of_ogg(stream), None
    if head[4:8] in (b"ftyp", b"moov", b"mdat"):
        return _damage_of_mpeg_4(stream, size), None
    if (end := _end_of_video(stream, head)) > size:
        return Damage(f"truncated: its header states {end} bytes, {size} are there", True), None
    if magic == b".snd":
        offset, length = struct.unpack(">II", _read(stream, 4, 8).ljust(8, b"\0"))
        sound: _Sound | None = _Sound(offset, length, 8, ">I")
    else:
        sound = _find_sound(stream, size, _CONTAINERS[magic]) if magic in _CONTAINERS else None
    if sound is None:
        return None, None
    there, after = size - sound.start, size - sound.start - sound.size
    if after < 0:
        message = f"truncated: its header states {size - after} bytes, {size} are there"
        is_near = any(-(2**17) <= sound.size - limit <= 2**12 for limit in (2**31, 2**32))
        remedy = "" if there > 0 else _COPY_AGAIN
        damage = Damage(message, at_end=True, remedy=remedy, is_taken=is_piped or is_near)
        return None if sound.is_streamed else damage, sound.up_to(size)
    if sound.size == 0 and there > 0:
        message = (
            f"its header states 0 bytes of audio, {there} follow: the recorder did not close it"
        )
        damage = Damage(message, at_end=True, remedy="--allow-truncated takes it")
        return None if is_piped else damage, sound.up_to(size)
    rest = _read(stream, size - after, MAX_UNREAD + 1).strip(b"\0")
    is_rest = len(rest) > MAX_UNREAD and not re.match(rb"[ -~]{4}|ID3", rest)  # a chunk, a tag
    if not is_rest or magic == b"riff":  # of which libsndfile reads all
        return None, None
    message = f"the header states {sound.size} bytes of audio, and {after} more are not read"
    return Damage(message, is_taken=True), None


def _find_sound(stream: BinaryIO, end: int, layout: _Chunks) -> _Sound | None:
    """Return what a file that ends there states of its samples; None if it does not."""
    position = layout.first
    wide = 0  # offset of the size of the samples in RF64, whose own 32-bit size holds all ones
    for _ in range(_MOST_CHUNKS):
        identifier, stated = layout.read(stream, position)
        body = stated - layout.counted
        if not identifier or (body < 0 and identifier != layout.audio):
            return None  # libsndfile will say so
        if identifier == layout.audio:
            break
        if identifier == b"ds64":
            wide = position + layout.header + 8
        position += layout.header + body + (-body) % layout.alignment
    else:
        return None
    start, more = position + layout.header + layout.lead, layout.lead + layout.counted
    if wide:
        return _Sound(start, struct.unpack("<Q", _read(stream, wide, 8))[0], wide, "<Q")
    after, length = layout.read(stream, start)
    if stated <= more and re.match(rb"[ -~]{4}", after) and length <= end - start:
        return None  # there are no samples, but another chunk
    return _Sound(start, max(stated - more, 0), position + layout.id_size, layout.size, more)


def _damage_of_mpeg_4(stream: BinaryIO, size: int) -> Damage | None:
    """Walk the boxes: one of them has the samples, and moov says where each begins."""
    position, names = 0, [b""]
    for _ in range(_MOST_CHUNKS):
        head = _read(stream, position, 16).ljust(16, b"\0")
        length, name, wide = struct.unpack(">I4sQ", head)
        if name not in _BOXES:  # the end, or what some programs add to it
            break
        names.append(name)
        position += wide if length == 1 else length or size - position
    if b"moov" not in names or (position > size and names[-1] == b"moov"):
        what = "truncated, or its recorder did not close it: it has no index (moov), or only a part"
        return Damage(what, remedy="copy it again, or mend it with a tool such as untrunc")
    if position <= size:
        return None
    return Damage(f"truncated: its header states {position} bytes, {size} are there", at_end=True)


def _end_of_video(stream: BinaryIO, head: bytes) -> int:
    """Return where AVI, Matroska, WebM or Windows Media should end; 0 where it is not stated."""
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        size: int = struct.unpack("<I", head[4:8])[0]
        return 0 if size in _STREAMED else 8 + size
    start = _read(stream, 0, _MOST_HEADER)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        place = start.find(b"\x18\x53\x80\x67")  # the segment, which has all the rest
        if place < 0 or len(start) < place + 12 or not start[place + 4]:
            return 0
        width = 9 - start[place + 4].bit_length()  # of the number, as its leading zeros say
        number = int.from_bytes(start[place + 4 : place + 4 + width], "big") - (1 << 7 * width)
        return 0 if number == (1 << 7 * width) - 1 else place + 4 + width + number
    if head.startswith(b"\x30\x26\xb2\x75"):
        place = start.find(b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11")  # the properties of the file
        return int.from_bytes(start[place + 40 : place + 48], "little") if place > 0 else 0
    return 0


def _damage_of_ogg(stream: BinaryIO) -> Damage | None:
    """Walk all pages: libsndfile leaves out one whose checksum is wrong and says nothing."""
    position, is_last = 0, False
    numbers: dict[bytes, int] = {}  # of the latest page of each stream
    while True:
        header = _read(stream, position, 27 + 255)
        if not header.startswith(b"OggS"):
            if is_last:
                return None
            message = f"damaged or truncated: an Ogg page is missing at byte {position}"
            return Damage(message, at_end=len(header) < 4)
        lacing = header[27 : 27 + header[26]] if len(header) > 26 else b""
        length = 27 + len(lacing) + sum(lacing)
        page = _read(stream, position, length)
        if len(page) < length or len(lacing) < page[26]:
            return Damage(f"truncated: the Ogg page at byte {position} is cut off", at_end=True)
        if _ogg_checksum(page) != page[22:26]:
            return Damage(f"damaged: the Ogg page at byte {position} is damaged")
        if is_last and page[5] & _OGG_FIRST_PAGE:
            message = f"another recording begins at byte {position}, which would not be read"
            return Damage(message, remedy="convert it to WAV or FLAC")
        stream_id, number = page[14:18], int.from_bytes(page[18:22], "little")
        if number != numbers.get(stream_id, number - 1) + 1:
            return Damage(f"damaged: an Ogg page is missing at byte {position}")
        numbers[stream_id] = number
        is_last = bool(page[5] & _OGG_LAST_PAGE)
        position += length


def _ogg_checksum(page: bytes) -> bytes:
    """Return the checksum of a page: zlib's polynomial, but with the bits the other way round."""
    blank = page[:22] + bytes(4) + page[26:]  # the checksum itself counts as zeros
    crc = ~zlib.crc32(blank.translate(_REVERSED_BITS), 0xFFFFFFFF) & 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_REVERSED_BITS)


@dataclass(frozen=True)
class MpegLayout:
    """Where the frames of an MP3 are, and what its Xing, Info or VBRI header says of them.

    Without such a header libsndfile estimates the length from the bit rate of the first frame.
    """

    end: int  # offset after the last frame, where the tags at the end begin
    states_length: bool = False  # in samples
    stated_end: int = 0  # as `end`, by the header; 0 where it does not say


def read_mpeg_layout(stream: BinaryIO, size: int) -> MpegLayout:
    """Return the layout of an MP3 of `size` bytes."""
    start, end = _end_of_id3(stream), _start_of_end_tags(stream, size)
    # Sync and header of the first frame, its side information, then the tag.
    match = re.search(
        rb"\xff[\xe2-\xff].{11,36}?(Xing|Info|VBRI)", _read(stream, start, 4096), re.DOTALL
    )
    if not match:
        return MpegLayout(end)
    fields = _read(stream, start + match.end(), 12).ljust(12, b"\0")
    flags, _, length = struct.unpack(">III", fields)
    is_stated = match[1] != b"VBRI" and flags & 3 == 3  # that frames and bytes follow
    return MpegLayout(end, True, start + match.start() + length if is_stated else 0)


def _end_of_id3(stream: BinaryIO) -> int:
    """Return the offset after an ID3v2 tag at the start."""
    head = _read(stream, 0, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    a, b, c, d = head[6:]  # seven bits each
    return 10 + (a << 21 | b << 14 | c << 7 | d)


def _start_of_end_tags(stream: BinaryIO, size: int) -> int:
    """Return the offset at which ID3v1 and APE tags at the end begin."""
    end = size
    if _read(stream, max(end - 128, 0), 3) == b"TAG":
        end -= 128
    footer = _read(stream, max(end - 32, 0), 32)
    if footer[:8] == b"APETAGEX":
        (length,) = struct.unpack("<I", footer[12:16])  # without the header, which looks the same
        has_header = _read(stream, max(end - length - 32, 0), 8) == b"APETAGEX"
        end -= length + 32 * has_header
    return max(end, 0)


def _read(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(min(offset, _FARTHEST))
    return stream.read(size)
