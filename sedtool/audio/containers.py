"""What the container of an audio file says about its length, against the bytes that are there.

libsndfile opens a truncated WAV, AIFF, AU, W64, CAF or Ogg file as a shorter one and says nothing,
and of several Ogg or MP3 streams in one file it reads the first and says nothing, so their
structure is read here. FLAC and MP3 state their length in samples; the reader compares that with
what it decodes.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file."""

    message: str
    at_end: bool = False  # the end is missing, and nothing else: what comes before can be used
    remedy: str = "copy the file again"


@dataclass(frozen=True)
class _Chunks:
    """How a container lays out its chunks, each an id, a size and that many bytes."""

    first: int  # offset of the first chunk
    id_size: int  # bytes
    size: str  # struct format
    audio: bytes  # id of the chunk that holds the samples
    counts_header: bool = False  # whether a size includes id and size themselves
    alignment: int = 2  # bytes


_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"

_CONTAINERS = {
    b"RIFF": _Chunks(12, 4, "<I", b"data"),
    b"RIFX": _Chunks(12, 4, ">I", b"data"),
    b"RF64": _Chunks(12, 4, "<I", b"data"),
    b"FORM": _Chunks(12, 4, ">I", b"SSND"),
    b"riff": _Chunks(40, 16, "<Q", _W64_DATA, counts_header=True, alignment=8),
    b"caff": _Chunks(8, 4, ">Q", b"data", alignment=1),
}

# Sizes that programs write when they cannot go back to fill in the right one: ffmpeg and others,
# sox, arecord, players of the 2 GiB era, ffmpeg again in W64, and CAF by its definition. They say
# nothing about truncation.
_STREAMED = frozenset((0xFFFFFFFF, 0x7FFFF000, 0x7FFFFF00, 0x7FFFFFFF, 2**63 - 1, 2**64 - 1))

_MOST_CHUNKS = 10_000  # with more of them a file would take minutes
_FARTHEST = 2**43  # bytes; a chunk that claims more ends beyond what any file system holds
_OGG_FIRST_PAGE, _OGG_LAST_PAGE = 2, 4  # flags
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def find_damage(stream: BinaryIO, size: int) -> Damage | None:
    """Return what is missing or damaged in an audio file of `size` bytes, or None.

    Any format is taken. This moves the stream, and so does `read_mpeg_layout`.
    """
    magic = _read(stream, 0, 4)
    if magic == b"OggS":
        return _damage_of_ogg(stream)
    if magic == b".snd":
        offset, length = struct.unpack(">II", _read(stream, 4, 8).ljust(8, b"\0"))
        end = 0 if length in _STREAMED else offset + length
    else:
        end = _end_of_audio(stream, _CONTAINERS[magic]) if magic in _CONTAINERS else 0
    if end <= size:
        return None
    return Damage(f"truncated: its header states {end} bytes, {size} are there", at_end=True)


def _end_of_audio(stream: BinaryIO, layout: _Chunks) -> int:
    """Return the offset at which the audio chunk claims to end; 0 where it is not stated."""
    header = layout.id_size + struct.calcsize(layout.size)
    position = layout.first
    wide_size = 0  # of the audio in an RF64 file, whose 32-bit size holds all ones
    for _ in range(_MOST_CHUNKS):
        chunk = _read(stream, position, header + 16)
        if len(chunk) < header:
            return 0  # there is no audio chunk: libsndfile will say so
        identifier = chunk[: layout.id_size]
        size: int = struct.unpack(layout.size, chunk[layout.id_size : header])[0]
        body = size - header if layout.counts_header else size
        if identifier == b"ds64" and len(chunk) == header + 16:
            wide_size = struct.unpack("<Q", chunk[header + 8 :])[0]
        if identifier == layout.audio:
            if size in _STREAMED:
                body = wide_size
            return position + header + body
        if body < 0:
            return 0
        position += header + body + (-body) % layout.alignment
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
