"""What a file is, by its first bytes: made here by the programs that write such files."""

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import save

from sedtool.audio import read_duration, reader
from sedtool.audio.lists import read_list
from sedtool.checkpoint import load_model
from sedtool.config.recipe import read_recipe
from sedtool.errors import ArtifactError, AudioError, ConfigError, LabelError
from sedtool.file_kinds import file_kind, kind_of_file
from sedtool.labels import read_weak
from sedtool.store import open_features, open_scores


def zipped(*members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member in members:
            archive.writestr(member, "content")
    return buffer.getvalue()


def written_by(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.wav"))
    return buffer.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
OFFICE = ("[Content_Types].xml", "_rels/.rels")

KINDS = {
    "a Git LFS pointer, not the file; run git lfs pull": [POINTER],
    "a git-annex pointer, not the file; run git annex get": [
        b"/annex/objects/SHA256E-s1234--4d7a.wav\n",
        b"../.git/annex/objects/4x/2J/SHA256E-s1--4d/SHA256E-s1--4d.wav",
    ],
    "a web page; the download went wrong: get the file again": [
        b"<!DOCTYPE html>\n<html><head>",
        b"\xef\xbb\xbf\n  <HTML>",
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>',
    ],
    "an error message of a server; the download went wrong: get the file again": [
        b'{"message": "Not Found", "status": "404"}',
        b'{"error":"Repository not found"}',
        b"404: Not Found",
        b"Entry not found",
    ],
    "empty": [b""],
    "made of zero bytes, at least at its start; copy the file again": [bytes(4096)],
    "UTF-16 text; save it as UTF-8": ["a\tb\n".encode("utf-16"), b"\xfe\xff\0a\0\n"],
    "compressed by gzip; unpack it": [gzip.compress(b"text")],
    "compressed by bzip2; unpack it": [bz2.compress(b"text")],
    "compressed by xz; unpack it": [lzma.compress(b"text")],
    "a tar archive; unpack it": [tarred()],
    "a ZIP archive; unpack it": [zipped("a.wav"), zipped()],
    "an Excel workbook; save its table as CSV or TSV": [zipped(*OFFICE, "xl/workbook.xml")],
    "an Excel or Word document; save its table as CSV or TSV": [zipped(*OFFICE)],
    "a PDF document": [b"%PDF-1.7\n%\xe2\xe3"],
    "an SQLite database; export its table as CSV or TSV": [
        sqlite3.connect(":memory:").execute("create table a (b)").connection.serialize()
    ],
    "HDF5 data": [written_by(lambda file: h5py.File(file, "w").close())],
    "safetensors weights of another program": [save({"a": np.zeros(3, np.float32)})],
    "a training state (or PyTorch checkpoint); the model is model.safetensors beside it": [
        written_by(lambda file: torch.save({"a": torch.zeros(2)}, file))
    ],
    "a Python pickle, which sedtool never opens": [
        *(pickle.dumps(thing, protocol) for thing in ([], {"a": 1}) for protocol in (2, 4, 5)),
        written_by(
            lambda file: torch.save({}, file, _use_new_zipfile_serialization=False),
        ),
    ],
    "a NumPy array (.npy)": [written_by(lambda file: np.save(file, np.zeros(3)))],
    "NumPy arrays (.npz)": [written_by(lambda file: np.savez(file, a=np.zeros(3)))],
    "MPEG-4 audio": [b"\0\0\0\x1cftypM4A \0\0\2\0M4A isomiso2"],
    "MPEG-4 audio or video": [b"\0\0\0\x20ftypisom\0\0\2\0", b"\0\0\0\x20ftypmp42\0\0\0\0"],
    "3GP audio or video": [b"\0\0\0\x18ftyp3gp4\0\0\0\0"],
    "QuickTime video": [b"\0\0\0\x14ftypqt  \0\0\2\0"],
    "WebM audio or video": [b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\x82\x84webm"],
    "Matroska audio or video": [b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\1\x42\x82\x88matroska"],
    "Windows Media (WMA, WMV or ASF)": [b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0"],
    "AMR audio": [b"#!AMR\n\x3c\x08", b"#!AMR-WB\n\x04"],
    "AAC audio (ADTS)": [b"\xff\xf1\x50\x80\x02\x1f\xfc\xde", b"\xff\xf9\x50\x80\x02\x1f"],
    "MP3 audio": [b"\xff\xfb\x90\x64\0\x0f", b"\xff\xf3\x44\xc4\0", b"ID3\4\0\0\0\0\0\x23"],
    "AC-3 audio": [b"\x0b\x77\1\2"],
    "AVI video": [b"RIFF\x24\0\0\0AVI LIST"],
    "an MPEG transport stream": [(b"\x47\x40\0\x10" + bytes(184)) * 3],
    "an MPEG program stream": [b"\0\0\1\xba\x44\0"],
    "WavPack audio": [b"wvpk\x10\0\0\0"],
    "MIDI: notes, without sound": [b"MThd\0\0\0\6"],
}


@pytest.mark.parametrize("said", KINDS)
def test_a_file_is_named_by_its_first_bytes(said):
    for head in KINDS[said]:
        assert str(file_kind(head[:4096])) == f"it is {said}"


@pytest.mark.parametrize(
    ("format", "subtype", "what"),
    [
        ("WAV", "PCM_16", "WAV audio"),
        ("FLAC", "PCM_16", "FLAC audio"),
        ("OGG", "VORBIS", "Ogg audio or video"),
        ("MP3", "MPEG_LAYER_III", "MP3 audio"),
        ("AIFF", "PCM_16", "AIFF audio"),
        ("CAF", "PCM_16", "CAF audio"),
        ("W64", "PCM_16", "W64 audio"),
        ("AU", "PCM_16", "AU audio"),
        ("RF64", "PCM_16", "RF64 audio"),
    ],
)
def test_what_libsndfile_writes_is_named(format, subtype, what):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    soundfile.write(buffer, noise, 16_000, format=format, subtype=subtype)
    kind = file_kind(buffer.getvalue()[:4096])
    assert kind is not None
    assert (kind.what, kind.is_media) == (what, True)


MISTAKEN = sorted(
    {
        *("a Git LFS pointer, not the file; run git lfs pull", "compressed by gzip; unpack it"),
        "a web page; the download went wrong: get the file again",
        "an error message of a server; the download went wrong: get the file again",
        "an Excel workbook; save its table as CSV or TSV",
        *("a PDF document", "NumPy arrays (.npz)", "a Python pickle, which sedtool never opens"),
        "an SQLite database; export its table as CSV or TSV",
        "a training state (or PyTorch checkpoint); the model is model.safetensors beside it",
        *("MPEG-4 audio", "3GP audio or video", "AMR audio", "MP3 audio"),
    }
)
READERS = {
    load_model: ArtifactError,
    open_features: ArtifactError,
    open_scores: ArtifactError,
    read_recipe: ConfigError,
    read_list: ConfigError,
    read_weak: LabelError,
    read_duration: AudioError,
}


@pytest.mark.parametrize("said", MISTAKEN)
@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_every_reader_names_what_it_was_given_instead(tmp_path, monkeypatch, read, said):
    monkeypatch.setattr(reader, "has_av", lambda: False)
    path = tmp_path / "given"
    path.write_bytes(KINDS[said][0])
    if read is read_list and b"\0" not in KINDS[said][0]:
        pytest.skip("any text may be a list of paths")
    if read is read_duration and said == "MP3 audio":
        said = "MP3 audio, damaged or of a rare encoding"
    with pytest.raises(READERS[read]) as error:
        read(path)
    assert f"it is {said}" in str(error.value)
    assert "\n" not in str(error.value)


def test_artifacts_in_each_others_place_are_named(tiny, tmp_path):
    with pytest.raises(AudioError, match="it is features of sedtool extract"):
        read_duration(tiny.features)
    with pytest.raises(LabelError, match="it is features of sedtool extract"):
        read_weak(tiny.features)
    with pytest.raises(ConfigError, match="it is features of sedtool extract"):
        read_list(str(tiny.features))


def test_a_name_tells_a_training_state_from_another_archive():
    head = b"PK\3\4 anything a torch archive has in it"
    assert file_kind(head, "last.pt").what == "a training state (or PyTorch checkpoint)"
    assert file_kind(head, "labels.zip").what == "a ZIP archive"


@pytest.mark.parametrize(
    "text",
    [
        "filename\tevent_labels\na.wav\tdog\n",
        "ID3_song.wav\t0\t1\tdog\n",
        "MAC book.wav\t0\t1\tdog\n",
        "RIFF\n",
        "Größe.wav\n",
        "404.wav\tdog\n",
    ],
)
def test_plain_text_has_no_kind(tmp_path, text):
    assert file_kind(text.encode()) is None
    path = tmp_path / "labels.tsv"
    path.write_text(text)
    assert str(kind_of_file(path)) == "it is text"


def test_what_cannot_be_opened_has_no_kind_and_a_broken_link_of_annex_has(tmp_path):
    assert kind_of_file(tmp_path / "absent") is None
    assert kind_of_file(tmp_path) is None
    link = tmp_path / "a.wav"
    link.symlink_to("../.git/annex/objects/SHA256E-s1--4d.wav")
    assert str(kind_of_file(link)) == "it is a broken link of git-annex; run git annex get"
