"""Bad and odd audio: each file is used whole or refused in one line, and disturbs no other.

The corpus is made here, in code: name -> (content, what is to become of it). A number is the
seconds it must give; text is what its error must say. Files are examined in a child process with
limits on time and memory, so that a crash or a hang of a decoder is a failed test and no more.
"""

import faulthandler
import gzip
import io
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sedtool.audio import AudioReader
from sedtool.config import ExtractConfig, FeatureConfig
from sedtool.errors import AudioError
from sedtool.extraction import extract
from sedtool.features import log_mel_blocks
from sedtool.labels import printable
from sedtool.store import open_features
from support.audio import encoded, patched
from support.campaign import scaled
from support.mutations import mutated

CONFIG = FeatureConfig()
MOST_SECONDS = 10  # for one file
MOST_MEMORY = 2**30  # bytes above what an idle process has
RNG = np.random.default_rng(6)

Corpus = dict[str, tuple[bytes, float | str]]

NOISE = RNG.uniform(-0.5, 0.5, 22_050)  # 1 s
REFUSED = ""  # for whatever reason

WAV, AIFF, AU, W64, RF64, CAF, FLAC = (
    encoded(NOISE, 22_050, kind) for kind in ("WAV", "AIFF", "AU", "W64", "RF64", "CAF", "FLAC")
)
OGG = encoded(NOISE, 22_050, "OGG", "VORBIS")
MP3 = encoded(NOISE, 22_050, "MP3", "MPEG_LAYER_III")
PCM = WAV[44:]


# The corpus


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """Return a RIFF chunk; `size` is what it claims."""
    claimed = len(body) if size is None else size
    return name + struct.pack("<I", claimed) + body + bytes(len(body) % 2)


def riff(*chunks: bytes, size: int | None = None, form: bytes = b"WAVE") -> bytes:
    return chunk(b"RIFF", form + b"".join(chunks), size)


def fmt(
    tag: int = 1, channels: int = 1, rate: int = 22_050, bits: int = 16, align: int | None = None
) -> bytes:
    align = channels * bits // 8 % 2**16 if align is None else align
    fields = (tag, channels, rate, rate * align % 2**32, align, bits)
    return chunk(b"fmt ", struct.pack("<HHIIHH", *fields))


DATA = chunk(b"data", PCM)
LIST = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 4) + b"test")


def waves() -> Corpus:
    """WAV files whose chunks are strange or lie."""
    extensible = struct.pack("<HHIIHH", 0xFFFE, 1, 22_050, 44_100, 2, 16)
    extensible += struct.pack("<HHI", 22, 16, 4) + b"\1\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    return {
        "plain": (riff(fmt(), DATA), 1.0),
        "extensible": (riff(chunk(b"fmt ", extensible), DATA), 1.0),
        "list before": (riff(fmt(), LIST, DATA), 1.0),
        "list after": (riff(fmt(), DATA, LIST), 1.0),
        "list before fmt": (riff(LIST, fmt(), DATA), 1.0),
        "odd chunk": (riff(fmt(), chunk(b"note", b"odd"), DATA), 1.0),
        "empty chunk": (riff(fmt(), chunk(b"JUNK", b""), DATA), 1.0),
        "empty chunks": (riff(fmt(), *[chunk(b"JUNK", b"")] * 500, DATA), 1.0),
        "many chunks": (riff(fmt(), *[chunk(b"JUNK", b"")] * 20_000, DATA), REFUSED),
        "fact": (riff(fmt(), chunk(b"fact", struct.pack("<I", 22_050)), DATA), 1.0),
        "fact lies": (riff(fmt(), chunk(b"fact", struct.pack("<I", 9)), DATA), 1.0),
        "riff size 0": (riff(fmt(), DATA, size=0), 1.0),
        "riff size small": (riff(fmt(), DATA, size=100), 1.0),
        "riff size huge": (riff(fmt(), DATA, size=2**32 - 1), 1.0),
        "bytes after": (riff(fmt(), DATA) + RNG.bytes(999), 1.0),
        "data size 0": (riff(fmt(), chunk(b"data", PCM, 0)), REFUSED),
        "data size odd": (riff(fmt(), chunk(b"data", PCM, len(PCM) - 1)), 22_049 / 22_050),
        "data size small": (riff(fmt(), chunk(b"data", PCM, 22_050)), 0.5),
        "data size one more": (riff(fmt(), chunk(b"data", PCM, len(PCM) + 1)), "truncated"),
        "data size huge": (riff(fmt(), chunk(b"data", PCM, 2**32 - 9)), 1.0),
        "data size streamed": (riff(fmt(), chunk(b"data", PCM, 2**32 - 1)), 1.0),
        "two data": (riff(fmt(), DATA, DATA), REFUSED),
        "data before fmt": (riff(DATA, fmt()), REFUSED),
        "no fmt": (riff(DATA), REFUSED),
        "no data": (riff(fmt()), REFUSED),
        "two fmt": (riff(fmt(), fmt(rate=8_000), DATA), REFUSED),
        "nested": (riff(chunk(b"LIST", riff(fmt(), DATA)), fmt(), DATA), 1.0),
        "riff in riff": (riff(riff(fmt(), DATA)), REFUSED),
        "junk claims all": (riff(fmt(), chunk(b"JUNK", b"", 2**32 - 1), DATA), REFUSED),
        "junk claims much": (riff(fmt(), chunk(b"JUNK", b"", 2**31 - 16), DATA), REFUSED),
        "form": (riff(fmt(), DATA, form=b"AVI "), REFUSED),
        "rifx": (b"RIFX" + riff(fmt(), DATA)[4:], REFUSED),
        "fmt short": (riff(chunk(b"fmt ", fmt()[8:22]), DATA), REFUSED),
        "fmt empty": (riff(chunk(b"fmt ", b""), DATA), REFUSED),
        "fmt long": (riff(chunk(b"fmt ", fmt()[8:] + bytes(1000)), DATA), 1.0),
        "fmt claims much": (riff(chunk(b"fmt ", fmt()[8:], 2**31), DATA), REFUSED),
        "silence": (riff(fmt(), chunk(b"data", bytes(44_100))), 1.0),
        "one bit": (encoded(np.sign(NOISE) * 0.99, 22_050, "WAV"), 1.0),
        "one sample": (riff(fmt(), chunk(b"data", PCM[:2])), "too short for one window"),
        "short": (riff(fmt(), chunk(b"data", PCM[:1_400])), "too short for one window"),
        "no samples": (riff(fmt(), chunk(b"data", b"")), "no samples"),
    }


def formats() -> Corpus:
    """WAV files whose format makes no sense, or is rare."""
    accepted = {
        **{f"rate {r}": (fmt(rate=r), 22_050 / r) for r in (1_000, 11_025, 48_000, 192_000)},
        **{f"channels {c}": (fmt(channels=c), 22_050 // c / 22_050) for c in (2, 7, 10)},
        **{f"bits {b}": (fmt(bits=b), 2.0) for b in (1, 2, 4, 7, 8)},  # a byte a sample
        **{f"align {a}": (fmt(align=a), 1.0) for a in (0, 1, 3, 4, 2**16 - 1)},  # it is computed
        **{f"tag {t}": (fmt(tag=t), 2.0) for t in (6, 7)},  # A-law and mu-law
    }
    refused = {
        **{f"rate {r}": (fmt(rate=r), REFUSED) for r in (0, 1, 999, 384_001, 2**31, 2**32 - 1)},
        **{f"rate {r}": (fmt(rate=r), "no simple ratio") for r in (15_999, 44_101, 99_991)},
        "rate 384000": (fmt(rate=384_000), "too short for one window"),
        **{f"channels {c}": (fmt(channels=c), REFUSED) for c in (0, 65, 1_000, 2**16 - 1)},
        **{f"bits {b}": (fmt(bits=b), REFUSED) for b in (0, 33, 48, 65, 255, 2**16 - 1)},
        **{f"tag {t}": (fmt(tag=t), REFUSED) for t in (0, 2, 3, 17, 49, 85, 353, 4_660, 65_534)},
    }
    return {
        name: (riff(head, DATA), outcome)
        for name, (head, outcome) in {**accepted, **refused}.items()
    }


def subtypes() -> Corpus:
    """WAV files of other samples than 16-bit integers, and of samples that are out of range."""
    corpus: Corpus = {}
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"):
        corpus[subtype] = (encoded(NOISE, 22_050, "WAV", subtype), 1.0)
    for subtype in ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32"):  # these have whole blocks
        content = encoded(NOISE, 22_050, "WAV", subtype)
        corpus[subtype] = (content, len(soundfile.read(io.BytesIO(content))[0]) / 22_050)
        corpus[f"{subtype} cut"] = (content[:-1_000], "truncated")
    for value in (np.nan, np.inf, -np.inf, 3e30, 1e4):
        wave = patched(encoded(NOISE, 22_050, "WAV", "FLOAT"), 25_000, struct.pack("<f", value))
        corpus[f"sample {value:g}"] = (wave, "a sample at 0.28")
    corpus["sample 9999"] = (encoded(np.full(22_050, 9_999.0), 22_050, "WAV", "FLOAT"), 1.0)
    return corpus


def cuts() -> Corpus:
    """Every container, cut where it hurts."""
    kinds = {"wav": WAV, "aiff": AIFF, "au": AU, "w64": W64, "rf64": RF64, "caf": CAF}
    kinds |= {"flac": FLAC, "ogg": OGG, "mp3": MP3}
    corpus: Corpus = {f"whole.{kind}": (content, 1.0) for kind, content in kinds.items()}
    for kind, content in kinds.items():
        n = len(content)
        for end in (1, 4, 12, 21, 40, 60, n // 4, n // 2, n * 9 // 10, n - 2, n - 1):
            corpus[f"cut {end}.{kind}"] = (content[:end], REFUSED)
    return corpus


def flacs() -> Corpus:
    """FLAC files with other headers; the stream information begins at byte 8."""
    flac = bytearray(FLAC)
    padding = b"\x01" + (5_000).to_bytes(3, "big") + bytes(5_000)
    end = 4 + 4 + 34
    return {
        "wrong md5.flac": (patched(FLAC, 26, RNG.bytes(16)), 1.0),
        "no total.flac": (patched(FLAC, 21, bytes([flac[21] & 0xF0, 0, 0, 0, 0])), 1.0),
        "more samples.flac": (patched(FLAC, 22, struct.pack(">I", 22_051)), REFUSED),
        "many samples.flac": (patched(FLAC, 22, b"\xff\xff\xff\xff"), REFUSED),
        "fewer samples.flac": (patched(FLAC, 22, struct.pack(">I", 9_000)), "follow the audio"),
        "no rate.flac": (patched(FLAC, 18, b"\0\0\0"), REFUSED),
        "blocks of 0.flac": (patched(FLAC, 8, bytes(4)), 1.0),
        "padding.flac": (FLAC[:end] + padding + FLAC[end:], 1.0),
        "padding lies.flac": (FLAC[:end] + padding[:1_000] + FLAC[end:], REFUSED),
        "id3.flac": (b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + FLAC, 1.0),
        "twice.flac": (FLAC + FLAC, "follow the audio"),
        "id3v1.flac": (FLAC + b"TAG" + b" " * 125, 1.0),
        "bytes after.flac": (FLAC + RNG.bytes(20_000), "follow the audio"),
        "hole.flac": (FLAC[:9_000] + FLAC[9_500:], REFUSED),
        "zeros.flac": (patched(FLAC, 9_000, bytes(500)), REFUSED),
        "headers alone.flac": (FLAC[:end], REFUSED),
    }


def mp3s() -> Corpus:
    """MP3 files with tags, garbage and company."""
    id3 = b"ID3\x04\0\0" + bytes([0, 0, 8, 0]) + bytes(1_024)
    id3v1 = b"TAG" + b" " * 125
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)
    return {
        "id3.mp3": (id3 + MP3, 1.0),
        "id3 twice.mp3": (id3 + id3 + MP3, 1.0),
        "id3v1.mp3": (MP3 + id3v1, 1.0),
        "ape.mp3": (MP3 + ape + id3v1, 1.0),
        "id3 alone.mp3": (id3, REFUSED),
        "id3 lies.mp3": (b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + MP3, REFUSED),
        "garbage before.mp3": (RNG.bytes(500) + MP3, REFUSED),
        "garbage after.mp3": (MP3 + RNG.bytes(9_000), REFUSED),
        "zeros after.mp3": (MP3 + bytes(9_000), 1.0),
        "twice.mp3": (MP3 + MP3, "follow the audio"),
        "hole.mp3": (MP3[:3_000] + MP3[3_500:], "could be decoded of"),
        "text between.mp3": (MP3[:3_000] + b"text" * 500 + MP3[3_000:], REFUSED),
        "sync alone.mp3": (b"\xff\xfb\x90\x00" * 2_000, REFUSED),
        "noise.mp3": (RNG.bytes(9_000), REFUSED),
    }


def oggs() -> Corpus:
    """Ogg files: pages lost, flipped, joined; other codecs."""
    pages = [b"OggS" + page for page in OGG.split(b"OggS")[1:]]
    opus = encoded(NOISE[:12_000], 24_000, "OGG", "OPUS")
    return {
        "opus.opus": (opus, 0.5),
        "opus cut.opus": (opus[:-100], REFUSED),
        "chained.ogg": (OGG + OGG, "another recording begins"),
        "no first page.ogg": (b"".join(pages[1:]), REFUSED),
        "no headers.ogg": (pages[0] + b"".join(pages[2:]), REFUSED),
        "a page lost.ogg": (b"".join(pages[:2] + pages[3:]), REFUSED),
        "last page lost.ogg": (b"".join(pages[:-1]), REFUSED),
        "pages swapped.ogg": (b"".join([*pages[:2], pages[3], pages[2], *pages[4:]]), REFUSED),
        "garbage between.ogg": (b"".join(pages[:2]) + b"?" * 99 + b"".join(pages[2:]), REFUSED),
        "garbage after.ogg": (OGG + RNG.bytes(999), 1.0),
        "flipped.ogg": (patched(OGG, 6_000, bytes([OGG[6_000] ^ 1])), "is damaged"),
        "another codec.ogg": (OGG[:28] + b"\x80theora" + OGG[35:], REFUSED),
    }


def others() -> Corpus:
    """What is no audio, or no audio that is read."""
    page = b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>\n" * 20
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + bytes(13)
    wave = np.int16(NOISE * 32_767)
    corpus: Corpus = {
        "text": (b"this is no audio\n" * 100, "not audio"),
        "page": (page, "not audio"),
        "utf-16": ("no audio\n".encode("utf-16") * 100, "not audio"),
        "json": (b'{"error": "rate limit exceeded"}', "not audio"),
        "gzip": (gzip.compress(WAV), "not audio"),
        "zlib": (zlib.compress(WAV), "not audio"),
        "png": (png + zlib.compress(bytes(9_000)), "not audio"),
        "zip": (b"PK\3\4" + RNG.bytes(5_000), "not audio"),
        "elf": (b"\x7fELF" + RNG.bytes(5_000), "not audio"),
        "pdf": (b"%PDF-1.7\n" + RNG.bytes(5_000), "not audio"),
        "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(5_000), "not audio"),
        "mp4": (b"\0\0\0 ftypM4A " + RNG.bytes(5_000), "not audio"),
        "matroska": (b"\x1aE\xdf\xa3" + RNG.bytes(5_000), "not audio"),
        "apple double": (b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(4_000), "not audio"),
        "raw samples": (wave.tobytes(), "not audio"),
        "zeros": (bytes(5_000), "not audio"),
        "ones": (b"\xff" * 5_000, REFUSED),
        "one byte": (b"R", REFUSED),
        "riff alone": (b"RIFF", REFUSED),
        "empty": (b"", "the file is empty"),
        "base64": (b"UklGRiQAAABXQVZF" * 100, "not audio"),
        "w64 chunk claims all": (patched(W64, 56, b"\xff" * 7 + b"\x7f"), REFUSED),
        "caf chunk claims all": (patched(CAF, 12, b"\x7f" + b"\xff" * 7), REFUSED),
        "lf made crlf": (WAV.replace(b"\n", b"\r\n"), 1.0),
    }
    for kind in ("VOC", "NIST", "IRCAM", "PAF", "SVX", "MAT4", "MAT5", "PVF", "AVR", "SDS", "HTK"):
        rate = 16_000 if kind == "HTK" else 22_050
        corpus[kind] = (encoded(NOISE, rate, kind), "convert it to WAV or FLAC")
    return corpus


CORPUS: Corpus = {}
for part in (waves, formats, subtypes, cuts, flacs, mp3s, oggs, others):
    for made, entry in part().items():
        CORPUS[made if "." in made else f"{part.__name__} {made}.wav"] = entry


# Looking at files


def examine(path: Path) -> dict[str, Any]:
    """Return what becomes of a file."""
    frames, finite = 0, True
    try:
        with AudioReader(path, CONFIG.sample_rate) as reader:
            for block in log_mel_blocks(reader, CONFIG):
                frames += len(block)
                finite = finite and bool(np.isfinite(block).all())
            return {"seconds": reader.duration, "frames": frames, "finite": finite}
    except AudioError as error:
        return {"error": str(error).removeprefix(f"{path}: ")}


def examine_all(paths: Iterable[Path]) -> None:
    """Print a line of JSON for each file; end if one takes too long or too much."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for path in paths:
        faulthandler.dump_traceback_later(MOST_SECONDS, exit=True)
        print(json.dumps([path.name, examine(path)]), flush=True)
        faulthandler.cancel_dump_traceback_later()


def examined(names: list[str], *arguments: object) -> dict[str, dict[str, Any]]:
    """Return what becomes of files that a child looks at, in the order of their names."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    results = dict(map(json.loads, done.stdout.splitlines()))
    culprit = next((name for name in names if name not in results), "none")
    assert done.returncode == 0, f"{culprit} ended the child: {done.stderr[-2_000:]}"
    assert list(results) == names
    return results


def is_as_it_should_be(result: dict[str, Any]) -> bool:
    """Return whether a file was used whole, or refused in one line."""
    if "error" in result:
        return bool(result["error"]) and result["error"].isprintable()
    # ceil(samples / hop), where resampling may round the number of samples either way
    frames = result["seconds"] * CONFIG.frame_rate
    return result["finite"] and 0 <= result["frames"] - frames < 1.01


def is_as_expected(result: dict[str, Any], expected: float | str) -> bool:
    """Return whether a file was used to this length, or refused in these words."""
    if isinstance(expected, str):
        return is_as_it_should_be(result) and expected in result.get("error", "")
    seconds = result.get("seconds", np.nan)
    return is_as_it_should_be(result) and seconds == pytest.approx(expected, abs=1e-9)


# The corpus, one by one and all together


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for name, (content, _) in CORPUS.items():
        (folder / name).write_bytes(content)
    return examined(sorted(CORPUS), folder)


def test_the_corpus_has_hundreds_of_distinct_files():
    assert len({content for content, _ in CORPUS.values()}) > 250


@pytest.mark.parametrize("name", CORPUS)
def test_a_file_is_used_whole_or_refused_in_one_line(outcomes, name):
    assert is_as_expected(outcomes[name], CORPUS[name][1]), outcomes[name]


def make_special_files(folder: Path) -> dict[str, str]:
    """Make what is no regular file, or has a strange name; return name -> error."""
    os.mkfifo(folder / "fifo.wav")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(folder, os.O_RDONLY)  # the path itself may be too long for a socket
        server.bind(f"/proc/self/fd/{here}/socket.wav")
        os.close(here)
    (folder / "broken.wav").symlink_to("nowhere.wav")
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder / "zero.wav").symlink_to("/dev/zero")
    (folder / "folder.wav").mkdir()  # is listed, and is empty
    with (folder / "sparse.wav").open("wb") as sparse:
        sparse.write(WAV[:40] + struct.pack("<I", 3_900_000_000))
        sparse.truncate(44 + 3_900_000_000)
    errors = {
        "fifo.wav": "not a regular file",
        "socket.wav": "not a regular file",
        "broken.wav": "a broken link",
        "loop.wav": "cannot be read (Too many levels of symbolic links)",
        "zero.wav": "not a regular file",
        "sparse.wav": "longer than 24 h",
    }
    for name in ("line\nend.wav", "\x1b[31mred.wav", "tab\t.wav", " space.wav", "\u2028.wav"):
        (folder / name).write_bytes(WAV)
        errors[name] = "rename the file"
    latin = os.fsencode(folder) + b"/latin-\xe9.wav"
    Path(os.fsdecode(latin)).write_bytes(WAV)
    errors["latin-\udce9.wav"] = "is not UTF-8"
    if os.geteuid():
        (folder / "unreadable.wav").write_bytes(WAV)
        (folder / "unreadable.wav").chmod(0)
        errors["unreadable.wav"] = "Permission denied"
    return errors


STRANGE_BUT_GOOD = ("[red].wav", "-rf.wav", "日本.wav", "🐕.wav", "a'\"b.wav", "x" * 251 + ".wav")


def test_a_folder_of_bad_files_changes_nothing_of_the_good_ones(tmp_path, outcomes):
    good = tmp_path / "all" / "good"
    good.mkdir(parents=True)
    for i, name in enumerate(STRANGE_BUT_GOOD):
        wave = np.random.default_rng(i).uniform(-0.5, 0.5, 20_000)
        (good / name).write_bytes(encoded(wave, 22_050, "WAV"))
    extract([good], tmp_path / "good.h5", CONFIG, root=tmp_path / "all")
    alone = open_features(tmp_path / "good.h5")

    (tmp_path / "all" / "corpus").mkdir()
    for name, (content, _) in CORPUS.items():
        (tmp_path / "all" / "corpus" / name).write_bytes(content)
    special = make_special_files(tmp_path / "all")
    extract([tmp_path / "all"], tmp_path / "all.h5", CONFIG, ExtractConfig(workers=2))
    features = open_features(tmp_path / "all.h5")

    for i, name in enumerate(alone.names):
        assert np.array_equal(features.clip(features.names.index(name)), alone.clip(i))
    usable = [f"corpus/{name}" for name, result in outcomes.items() if "error" not in result]
    assert features.names == sorted(usable + alone.names)
    errors = dict(features.failures)
    assert len(errors) == len(CORPUS) - len(usable) + len(special)
    for name, message in special.items():
        assert message in errors[printable(name)]
    for name, error in errors.items():
        assert name.isprintable() and error.isprintable()
    assert np.isfinite(features.data).all()


# Mutants


SEEDS = [
    encoded(NOISE[:6_000], 16_000, kind, subtype)
    for kind, subtype in [
        *(("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM")),
        *(("WAV", "GSM610"), ("AIFF", "PCM_16"), ("AU", "ULAW"), ("CAF", "PCM_16")),
        *(("CAF", "ALAC_16"), ("W64", "PCM_16"), ("RF64", "PCM_24"), ("FLAC", "PCM_16")),
        *(("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
    ]
]


def mutant(number: int) -> bytes:
    """Return an audio file with a few changes, the same for the same number."""
    rng = np.random.default_rng([20_261, number])
    fixed = bytes(mutated(SEEDS[number % len(SEEDS)], rng))
    return with_checksums(fixed) if fixed[:4] == b"OggS" and rng.random() < 0.7 else fixed


def with_checksums(ogg: bytes) -> bytes:
    """Return an Ogg file with the checksums put right, so that the mutation reaches the decoder."""
    pages = ogg.split(b"OggS")[1:]
    whole = bytearray()
    for page in pages:
        blank = b"OggS" + page[:18] + bytes(4) + page[22:]
        whole += blank[:22] + ogg_checksum(blank) + blank[26:]
    return bytes(whole)


def ogg_checksum(page: bytes) -> bytes:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc >> 31 else crc << 1) & 0xFFFFFFFF
    return crc.to_bytes(4, "little")


def mutants(folder: Path, start: int, stop: int) -> Iterator[Path]:
    for number in range(start, stop):
        path = folder / str(number)
        path.write_bytes(mutant(number))
        yield path
        path.unlink()


def check_mutants(folder: Path, start: int, stop: int) -> dict[str, dict[str, Any]]:
    results = examined([str(n) for n in range(start, stop)], folder, start, stop)
    wrong = {name: result for name, result in results.items() if not is_as_it_should_be(result)}
    assert not wrong
    return results


def test_some_hundred_mutants_are_used_or_refused(tmp_path):
    results = check_mutants(tmp_path, 0, 300)
    refused = sum("error" in result for result in results.values())
    assert 50 < refused < 280  # else the mutations are too gentle, or too rough, to tell


@pytest.mark.campaign
def test_ten_thousand_mutants_are_used_or_refused(tmp_path, report):
    limits = f"each in under {MOST_SECONDS} s and {MOST_MEMORY // 2**20} MiB"
    tries = report("P6 P9", f"mutated audio files of {len(SEEDS)} kinds, {limits}")
    for start in range(0, scaled(10_000, 500), 500):
        results = examined(
            [str(n) for n in range(start, start + 500)], tmp_path, start, start + 500
        )
        tries.add(len(results), sum(map(is_as_it_should_be, results.values())))
    assert tries.held == tries.tried


@pytest.mark.campaign
def test_hundreds_of_bad_and_odd_files_are_used_or_refused(outcomes, report):
    tries = report("P6 P7", "bad and odd audio files made by hand, one by one")
    for name, (_, expected) in CORPUS.items():
        tries.add(1, int(is_as_expected(outcomes[name], expected)))
    assert tries.held == tries.tried


if __name__ == "__main__":
    place, *numbers = sys.argv[1:]
    chosen = mutants(Path(place), *map(int, numbers)) if numbers else sorted(Path(place).iterdir())
    examine_all(chosen)
