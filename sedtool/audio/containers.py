"""What the container of an audio file says about its length, against the bytes that are there.

libsndfile opens a truncated WAV, AIFF, AU, W64 or Ogg file as a shorter one and says nothing, so
their structure is read here. FLAC and MP3 state their length in samples; the reader compares that
with what it decodes.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["find_damage", "states_its_length"]


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
}

# Sizes that programs write when they cannot go back to fill in the right one: ffmpeg and others,
# sox, arecord, and players of the 2 GiB era. They say nothing about truncation.
_STREAMED = frozenset((0xFFFFFFFF, 0x7FFFF000, 0x7FFFFF00, 0x7FFFFFFF))

_MOST_CHUNKS = 10_000  # more of them is an attack on our patience
_OGG_LAST_PAGE = 4  # flag
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def find_damage(stream: BinaryIO, size: int) -> str | None:
    """Return what is missing or damaged in a file, in words, or None; moves the stream.

    Parameters
    ----------
    stream
        An audio file of any format.
    size
        Its bytes.
    """
    magic = _read(stream, 0, 4)
    if magic == b"OggS":
        return _damage_of_ogg(stream)
    if magic == b".snd":
        offset, length = struct.unpack(">II", _read(stream, 4, 8).ljust(8, b"\0"))
        end = 0 if length in _STREAMED else offset + length
    else:
        end = _end_of_audio(stream, _CONTAINERS[magic]) if magic in _CONTAINERS else 0
    return f"its header states {end} bytes, {size} are there" if end > size else None


def _end_of_audio(stream: BinaryIO, layout: _Chunks) -> int:
    """Return the offset at which the audio chunk claims to end; 0 where that is not said."""
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


def _damage_of_ogg(stream: BinaryIO) -> str | None:
    """Walk all pages: libsndfile leaves out one whose checksum is wrong and says nothing."""
    position, is_last = 0, False
    while True:
        header = _read(stream, position, 27 + 255)
        if not header.startswith(b"OggS"):
            return None if is_last else f"an Ogg page is missing at byte {position}"
        lacing = header[27 : 27 + header[26]] if len(header) > 26 else b""
        length = 27 + len(lacing) + sum(lacing)
        page = _read(stream, position, length)
        if len(page) < length or len(lacing) < page[26]:
            return f"the Ogg page at byte {position} is cut off"
        if _ogg_checksum(page) != page[22:26]:
            return f"the Ogg page at byte {position} is damaged"
        is_last = bool(page[5] & _OGG_LAST_PAGE)
        position += length


def _ogg_checksum(page: bytes) -> bytes:
    """Return the checksum of a page: zlib's polynomial, but with the bits the other way round."""
    blank = page[:22] + bytes(4) + page[26:]  # the checksum itself counts as zeros
    crc = ~zlib.crc32(blank.translate(_REVERSED_BITS), 0xFFFFFFFF) & 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_REVERSED_BITS)


def states_its_length(stream: BinaryIO) -> bool:
    """Return False for an MP3 without a Xing, Info or VBRI header; moves the stream.

    libsndfile estimates the length of such a file from the bit rate of its first frame.
    """
    start = 0
    head = _read(stream, 0, 10)
    if head[:3] == b"ID3" and len(head) == 10:
        a, b, c, d = head[6:]  # seven bits each
        start = 10 + (a << 21 | b << 14 | c << 7 | d)
        head = _read(stream, start, 4)
    is_mpeg_audio = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    if not is_mpeg_audio:
        return True
    first_frame = _read(stream, start, 64)  # the tag follows 9 to 32 bytes of zeros
    return any(tag in first_frame for tag in (b"Xing", b"Info", b"VBRI"))


def _read(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)
