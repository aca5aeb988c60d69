"""The first bytes of a file -> what it is, for whoever was given it as something else.

A label table that is a web page, a model that is a training state, audio that Git LFS has left a
pointer of: each reader says in its own words that it cannot read a file, and from here what the
file is, and how to come to the right one.
"""

import re
from pathlib import Path
from typing import NamedTuple

HEAD_SIZE = 4096  # bytes that are looked at

_UNPACK = "unpack it"
_AS_TABLE = "save its table as CSV or TSV"
_AS_UTF_8 = "save it as UTF-8"
_PULL, _GET_ANNEX = "run git lfs pull", "run git annex get"
_AGAIN = "the download went wrong: get the file again"
_BESIDE = "the model is model.safetensors beside it"


class FileKind(NamedTuple):
    """What a file is, as ``"a ZIP archive"``, and how to come to the right one, if that helps."""

    what: str
    remedy: str = ""
    is_media: bool = False  # audio or video

    def __str__(self) -> str:
        """Return it as the end of a message: ``"it is a ZIP archive; unpack it"``."""
        return f"it is {self.what}" + f"; {self.remedy}" * bool(self.remedy)


_SERVER_ERROR = FileKind("an error message of a server", _AGAIN)

# Bytes at the start, what they tell, and the remedy. The first that fits is taken.
_MAGIC = (
    (b"\0GITCRYPT\0", "locked by git-crypt", "run git-crypt unlock"),
    (b"\0\5\x16\7", "a resource fork of macOS", "the file is the one without ._"),
    (b"\xff\xfe\0\0", "UTF-32 text", _AS_UTF_8),
    (b"\xfe\xff", "UTF-16 text", _AS_UTF_8),
    (b"\x1f\x8b", "compressed by gzip", _UNPACK),
    (b"BZh", "compressed by bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "compressed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (b"\x04\x22\x4d\x18", "compressed by lz4", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\7", "a RAR archive", _UNPACK),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (.xls, .doc)", _AS_TABLE),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture", ""),
    (b"\xff\xd8\xff", "a JPEG picture", ""),
    (b"GIF8", "a GIF picture", ""),
    (b"II*\0", "a TIFF picture", ""),
    (b"MM\0*", "a TIFF picture", ""),
    (b"SQLite format 3\0", "an SQLite database", "export its table as CSV or TSV"),
    (b"PAR1", "a Parquet table", _AS_TABLE),
    (b"ARROW1", "an Arrow table", _AS_TABLE),
    (b"\x93NUMPY", "a NumPy array (.npy)", ""),
    (b"MATLAB 5.0", "a MATLAB file (.mat)", ""),
    (b"GGUF", "a GGUF model of another program", ""),
    (b"\x7fELF", "a program", ""),
    (b"MThd", "MIDI: notes, without sound", ""),
)
_MEDIA = {
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "Windows Media (WMA, WMV or ASF)",
    b"#!AMR": "AMR audio",
    b"FLV\1": "Flash video",
    b"\0\0\1\xba": "an MPEG program stream",
    b"\0\0\1\xb3": "MPEG video without sound",
    b"\x0b\x77": "AC-3 audio",
    b"\x7f\xfe\x80\1": "DTS audio",
    b"MAC ": "Monkey's Audio",
    b"wvpk": "WavPack audio",
    b"TTA1": "True Audio (TTA)",
    b"MPCK": "Musepack audio",
    b"MP+": "Musepack audio (SV7)",
    b"tBaK": "TAK audio",
    b"OFR ": "OptimFROG audio",
    b"ajkg": "Shorten audio",
    b"NIST_1A\n": "NIST SPHERE audio",
    b"DSD ": "DSD audio (.dsf)",
    b"FRM8": "DSD audio (.dff)",
    b".RMF": "RealMedia",
    b".ra\xfd": "RealAudio",
    b"Creative Voice File": "Creative Voice audio",
    b"fLaC": "FLAC audio",
    b"RF64": "RF64 audio",
    b"RIFX": "WAV audio",
    b".snd": "AU audio",
    b"caff": "CAF audio",
    b"riff\x2e\x91\xcf\x11": "W64 audio",
    b"OggS": "Ogg audio or video",
    b"ID3": "MP3 audio",
}
# What follows in a RIFF or FORM file, and the brands of MPEG-4.
_FORMS = {b"WAVE": "WAV audio", b"AVI ": "AVI video", b"AIFF": "AIFF audio", b"AIFC": "AIFF audio"}
_BRANDS = {b"M4A": "MPEG-4 audio", b"M4B": "MPEG-4 audio", b"qt ": "QuickTime video"}
_PICTURES = (b"hei", b"hev", b"mif", b"msf", b"avi")

# What the names of the first members of a ZIP archive tell.
_TRAINING_STATE = FileKind("a training state (or PyTorch checkpoint)", _BESIDE)
_ZIPPED = (
    (rb"data\.pkl|\.data/|\.storage_alignment", _TRAINING_STATE),
    (rb"xl/", FileKind("an Excel workbook", _AS_TABLE)),
    (rb"opendocument\.spreadsheet", FileKind("an OpenDocument spreadsheet", _AS_TABLE)),
    (rb"Index/\w+\.iwa", FileKind("an Apple Numbers document", _AS_TABLE)),
    (rb"word/|opendocument\.text", FileKind("a Word document", "save it as plain text")),
    (rb"\[Content_Types\]\.xml|_rels/", FileKind("an Excel or Word document", _AS_TABLE)),
    (rb"\.npy", FileKind("NumPy arrays (.npz)")),
)

# Text that stands where a file should, in lower case and without what is blank before it.
_TEXTS = (
    (rb"version https://[\w.-]+/spec/v", FileKind("a Git LFS pointer, not the file", _PULL)),
    (rb"[./git]*/annex/objects/", FileKind("a git-annex pointer, not the file", _GET_ANNEX)),
    (rb"%pdf-", FileKind("a PDF document")),
    (rb"\{\\rtf", FileKind("an RTF document", "save it as plain text")),
    (rb"<(!doctype html|html|head|body|script)\b", FileKind("a web page", _AGAIN)),
    (rb"<\?xml\b[^>]*>\s*<(!doctype html|html|error)\b", FileKind("a web page", _AGAIN)),
    (rb'\{\s*"(errors?|message|detail|statuscode)"\s*:', _SERVER_ERROR),
    (rb"(error )?[45]0\d\b:? [a-z ]*\s*$|([a-z]+ )?not found\.?\s*$|access denied", _SERVER_ERROR),
)


def file_kind(head: bytes, name: str = "") -> FileKind | None:
    """Return what a file is that begins with `head`; None for plain text and what is unknown.

    Parameters
    ----------
    head
        The first `HEAD_SIZE` bytes, or all of a shorter file.
    name
        Tells apart what begins alike: a training state and another archive.
    """
    if not head:
        return FileKind("empty")
    if not head.strip(b"\0"):
        return FileKind("made of zero bytes, at least at its start", "copy the file again")
    looks = _LOOKS[:1] if _is_text(head) else _LOOKS  # a clip may be called ID3 or MAC
    return next((kind for look in looks if (kind := look(head, name))), None)


def kind_of_file(path: Path) -> FileKind | None:
    """Return what a file is, text included; None if it is unknown or cannot be read now."""
    try:
        target = str(path.readlink()) if path.is_symlink() else ""
        if "annex/objects/" in target and not path.exists():
            return FileKind("a broken link of git-annex", "run git annex get")
        if not path.is_file():  # opening a FIFO would wait without end
            return None
        with path.open("rb") as stream:
            head = stream.read(HEAD_SIZE)
    except OSError:
        return None
    return file_kind(head, path.name) or (FileKind("text") if _is_text(head) else None)


def _is_text(head: bytes) -> bool:
    return not re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]", head)


def _of_text(head: bytes, _: str) -> FileKind | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((kind for pattern, kind in _TEXTS if re.match(pattern, text)), None)


def _of_start(head: bytes, _: str) -> FileKind | None:
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            return FileKind(what, remedy)
    what = next((what for magic, what in _MEDIA.items() if head.startswith(magic)), "")
    if head[:4] in (b"RIFF", b"FORM"):
        what = _FORMS.get(head[8:12], "")
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        what = "WebM audio or video" if b"webm" in head[:64] else "Matroska audio or video"
    return FileKind(what, is_media=True) if what else None


def _of_mpeg_4(head: bytes, _: str) -> FileKind | None:
    box, brand = head[4:8], head[8:11]
    if box == b"ftyp" and brand in _PICTURES:
        return FileKind("a HEIF or AVIF picture")
    if box not in (b"ftyp", b"moov", b"mdat"):
        return None
    what = "3GP audio or video" if brand.startswith(b"3g") else "MPEG-4 audio or video"
    return FileKind(_BRANDS.get(brand, what), is_media=True)


def _of_archive(head: bytes, name: str) -> FileKind | None:
    if head[257:262] == b"ustar":
        return FileKind("a tar archive", _UNPACK)
    if head[:4] not in (b"PK\3\4", b"PK\5\6", b"PK\7\x08"):
        return None
    kind = next((kind for pattern, kind in _ZIPPED if re.search(pattern, head)), None)
    if kind is None and name.lower().endswith((".pt", ".pth", ".ckpt")):
        return _TRAINING_STATE
    if kind is None and name.lower().endswith((".xlsx", ".xlsm", ".ods")):
        return FileKind("a spreadsheet", _AS_TABLE)
    return kind or FileKind("a ZIP archive", _UNPACK)


def _of_numbers(head: bytes, _: str) -> FileKind | None:
    """Tell files of arrays and weights."""
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        names = head[:512]  # those of the root group, in what sedtool writes
        if b"features" in names and b"failures" in names:
            return FileKind("features of sedtool extract")
        if b"scores" in names and b"classes" in names:
            return FileKind("scores of sedtool infer")
        return FileKind("HDF5 data")
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < 2**27:
        if b"sedtool-model" in head:
            return FileKind("a model of sedtool train")
        if b"sedtool-state" in head:
            return FileKind("a training state", _BESIDE)
        return FileKind("safetensors weights of another program")
    # The protocol, then the first instruction: a frame, a container or a number.
    if re.match(rb"\x80[\2-\5][\x95}\]()\x8a\x8cXKMc]", head):
        return FileKind("a Python pickle, which sedtool never opens")
    return None


def _of_frames(head: bytes, _: str) -> FileKind | None:
    """Tell streams by the first bits of a frame, and UTF-16, whose mark looks like them."""
    if head.startswith(b"\xff\xfe"):
        return FileKind("UTF-16 text", _AS_UTF_8)
    if head[:1] == b"\x47" == head[188:189] == head[376:377]:
        return FileKind("an MPEG transport stream", is_media=True)
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0 or head[2] >> 4 == 15:
        return None
    if head[1] & 6:  # the layer, which AAC has none of
        return FileKind("MP3 audio", is_media=True)
    return FileKind("AAC audio (ADTS)", is_media=True) if head[1] >= 0xF0 else None


_LOOKS = (_of_text, _of_start, _of_mpeg_4, _of_archive, _of_numbers, _of_frames)
