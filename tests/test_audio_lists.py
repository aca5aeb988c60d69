"""Lists, manifests and standard input become clip names and paths, or are refused by name."""

import csv
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sedtool.audio import AudioInputs, find_audio, lists, read, read_duration
from sedtool.errors import (
    AudioError,
    ConfigError,
    LabelError,
    NothingUsableError,
    ResourceError,
)
from sedtool.labels.cells import quoted_cell
from support.audio import BAD_FILES, FLAC, NOISE, OGG, WAV, patched, tree

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return an empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stdin(monkeypatch):
    """Return a function that puts bytes on standard input."""

    def put(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


@pytest.fixture
def terminal(monkeypatch):
    """Make standard input a terminal on which nobody types."""
    leader, follower = os.openpty()
    os.write(leader, b"\x04")  # should it be read after all, it ends at once
    with os.fdopen(follower, "rb") as stream:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        yield
    os.close(leader)


# Lists


def listed(content: bytes, null: bool = False, root: Path | None = None) -> dict[str, Path]:
    """Return what a list means that stands in the current folder."""
    Path("files.txt").write_bytes(content)
    return find_audio(AudioInputs(files_from="files.txt", null=null, root=root))


def test_a_list_has_files_and_folders_one_a_line(here):
    tree(here, "x/1.wav", "y/2.wav", "y/.3.wav", "z.bin")
    lines = b"\xef\xbb\xbfx/1.wav\r\n\r\n\ny\nz.bin\n./z.bin\n" + os.fsencode(here / "x" / "1.wav")
    assert listed(lines) == {
        "x/1.wav": here / "x" / "1.wav",
        "y/2.wav": here / "y" / "2.wav",
        "z.bin": here / "z.bin",
    }


def test_names_of_a_list_start_at_its_common_folder(here):
    tree(here, "data/x/1.wav", "data/y/2.wav")
    assert list(listed(b"data/x\ndata/y/2.wav\n")) == ["x/1.wav", "y/2.wav"]
    assert list(listed(b"data/y/2.wav\n")) == ["2.wav"]
    assert list(listed(b"data/y/2.wav\n", root=here)) == ["data/y/2.wav"]


def test_lines_of_a_list_stand_for_themselves(here):
    tree(here, "a.wav", "b.tsv", "-x.wav")
    names = ["*.wav", "-", "--root", "-x.wav", "[ab].wav", "a\tb.wav", "b.tsv", "nowhere.wav", "~"]
    assert list(listed("\n".join(names).encode(), root=here)) == sorted(names)


def test_a_list_may_end_its_paths_with_nul_bytes(here):
    assert list(listed(b"a\r\nb.wav\0\0c.wav\0", null=True)) == ["a\r\nb.wav", "c.wav"]
    assert list(listed(b"c.wav", null=True)) == ["c.wav"]


def test_what_ends_the_paths_of_a_list_must_be_as_said(here):
    with pytest.raises(ConfigError, match=r"files\.txt has NUL bytes; give --null"):
        listed(b"a.wav\0b.wav\0")
    with pytest.raises(ConfigError, match=r"files\.txt has lines and no NUL bytes; leave --null"):
        listed(b"a.wav\nb.wav\n", null=True)
    with pytest.raises(ConfigError, match="--null says how a list is written"):
        AudioInputs(("a.wav",), null=True)


@pytest.mark.parametrize(("content", "null"), [(b"", False), (b"\n\r\n", False), (b"\0\0", True)])
def test_an_empty_list_is_nothing_usable(here, content, null):
    with pytest.raises(NothingUsableError, match=r"the list of files in files\.txt is empty"):
        listed(content, null)


def test_lists_that_cannot_be_read_are_named(here, monkeypatch):
    with pytest.raises(ConfigError, match=r"list nowhere cannot be read \(No such file"):
        find_audio(AudioInputs(files_from="nowhere"))
    with pytest.raises(ConfigError, match=r"list \. cannot be read \(Is a directory"):
        find_audio(AudioInputs(files_from="."))
    monkeypatch.setattr(lists, "MAX_LIST", 2**20)
    with pytest.raises(ConfigError, match=r"is larger than 1 MiB"):
        listed(bytes(2**20 + 1))


def test_a_list_on_standard_input_adds_to_other_inputs(here, stdin):
    tree(here, "x/1.wav")
    stdin(b"y/2.wav\n")
    assert list(find_audio(AudioInputs(("x",), files_from="-"))) == ["x/1.wav", "y/2.wav"]
    stdin(b"")
    with pytest.raises(NothingUsableError, match="the list of files in standard input is empty"):
        find_audio(AudioInputs(("x",), files_from="-"))


def is_plain(text: str) -> bool:
    """Return whether text can be a part of a relative path."""
    return text not in (".", "..") and os.fsdecode(os.fsencode(text)) == text


# What the file system allows, and of it what a line, and what a table can hold.
ANY = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
NOT_UTF8 = st.binary(min_size=1).map(lambda b: os.fsdecode(b.translate(None, b"/\0"))).filter(bool)
ONE_LINE = (ANY | NOT_UTF8).filter(lambda text: "\n" not in text and not text.endswith("\r"))
PRINTED = st.text(
    st.characters(exclude_characters="/", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1
).filter(lambda text: text == text.strip())


def paths(part: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Return lists of relative paths, of which none begins with a byte-order mark."""
    part = part.filter(is_plain)
    path = st.lists(part, min_size=1, max_size=3).map("/".join)
    return st.lists(path.filter(lambda p: p[0] != "\ufeff"), min_size=1)


@same_folder
@given(paths(ONE_LINE), st.sampled_from(["\n", "\r\n"]))
@example(
    ["a b.wav", "[/].wav", "-0", "日本/\udcff.wav", "#", '"', "*", "~", "a\\", "é", "e\u0301"], "\n"
)
def test_any_paths_come_back_from_a_list(here, names, end):
    content = os.fsencode("".join(name + end for name in names))
    assert listed(content, root=here) == {name: here / name for name in names}


@same_folder
@given(paths(ANY | NOT_UTF8))
def test_any_paths_come_back_from_a_list_between_nul_bytes(here, names):
    content = os.fsencode("".join(name + "\0" for name in names))
    assert listed(content, null=True, root=here) == {name: here / name for name in names}


# Manifests


def as_tsv(names: list[str]) -> str:
    rows = [("event_label", "filename"), *(("Dog", quoted_cell(name)) for name in names)]
    return "".join("\t".join(row) + "\n" for row in rows)


def as_csv(names: list[str]) -> str:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerows([("event_label", "filename"), *(("Dog, large", name) for name in names)])
    return text.getvalue()


def as_jsonl(names: list[str]) -> str:
    rows = ({"audio_filepath": name, "offset": 0.0, "duration": 1.5} for name in names)
    return "".join(json.dumps(row) + "\n" for row in rows)


MANIFESTS = {"m.tsv": as_tsv, "m.csv": as_csv, "m.jsonl": as_jsonl}


@same_folder
@given(names=paths(PRINTED))
@example(
    names=["a b.wav", "[/].wav", "-x", '"a"', 'a"', "a,b", "''", "日本/é.wav", "NA", "007", "x"]
)
@pytest.mark.parametrize("manifest", MANIFESTS)
def test_any_paths_come_back_from_a_manifest(here, manifest, names):
    (here / "meta").mkdir(exist_ok=True)
    path = here / "meta" / manifest
    path.write_text(MANIFESTS[manifest](names), encoding="utf-8")
    assert find_audio([path]) == {name: here / "meta" / name for name in names}


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_rows_start_from_the_manifest_or_from_the_root(here, manifest):
    tree(here, "meta/x", "audio/x")
    path = here / "meta" / manifest
    path.write_text(MANIFESTS[manifest](["a/1.wav", "a/1.wav", "./a/1.wav"]))
    assert find_audio([f"meta/{manifest}"]) == {"a/1.wav": here / "meta" / "a" / "1.wav"}
    assert find_audio([path], Path("audio")) == {"a/1.wav": here / "audio" / "a" / "1.wav"}


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_rows_must_not_lead_out_of_the_manifests_folder_or_the_root(here, manifest):
    tree(here, "meta/x")
    path = here / "meta" / manifest
    inside = str(here / "audio" / "a" / "1.wav")
    for row in (inside, "../audio/b/2.wav", "x/../../audio/b/2.wav"):
        path.write_text(MANIFESTS[manifest]([row]))
        with pytest.raises(ConfigError, match=rf"{manifest}: {row} leads out .* give --root"):
            find_audio([path])
    path.write_text(MANIFESTS[manifest]([inside, "audio/b/2.wav"]))
    assert list(find_audio([path], here)) == ["audio/a/1.wav", "audio/b/2.wav"]
    with pytest.raises(ConfigError, match=r"1\.wav is not under the root .*/meta"):
        find_audio([path], here / "meta")


def test_manifests_line_ends_marks_and_suffixes_do_not_matter(here):
    rows = as_csv(["a.wav", "b.wav"]).replace("\n", "\r\n").replace("\r\r", "\r")
    Path("M.CSV").write_bytes(b"\xef\xbb\xbf" + rows.encode() + b"\r\n")
    assert list(find_audio(["M.CSV"])) == ["a.wav", "b.wav"]
    Path("m.tsv").write_text("c.wav\t0\t1\tDog\nc.wav\t2\t3\tDog\n")
    assert list(find_audio(["[mM].*"])) == ["a.wav", "b.wav", "c.wav"]


def test_a_folder_named_like_a_manifest_is_a_folder(here):
    tree(here, "x.csv/1.wav")
    assert list(find_audio(["x.csv"])) == ["1.wav"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.tsv", "filename\tl\n\n\tx\n", r"m\.tsv:3: the filename is empty"),
        ("m.tsv", "filename\na\tb\n", r"m\.tsv:2: 2 columns where 1 are expected"),
        ("m.csv", "filename,filename\n", r"m\.csv:1: a column name stands twice in 'filename'"),
        ("m.csv", 'filename,l\n"a.wav,Dog\nb.wav,Cat\n', r"m\.csv:2: not CSV \(unexpected end"),
        ("m.csv", 'filename,l\n"a"b.wav,x\n', r"m\.csv:2: not CSV \("),
        ("m.csv", "filename,l\na.wav\n", r"m\.csv:2: 1 columns where 2 are expected"),
        ("m.csv", "filename,l\na.wav,b,c\n", r"m\.csv:2: 3 columns where 2 are expected"),
        ("m.csv", "filename,l\n,Dog\n", r"m\.csv:2: the filename is empty"),
        ("m.csv", "filename\na\x1b.wav\n", r"m\.csv:2: a control character"),
        ("m.csv", "filename,l\n" + "a" * 200_000, r"m\.csv:2: not CSV \(field larger"),
        ("m.csv", b"filename\na\xff.wav\n", r"m\.csv:2: not UTF-8 text \(byte 10\)"),
        ("m.jsonl", '{"audio_filepath": "a.wav"}\n{"audio', r"m\.jsonl:2: not JSON \("),
        ("m.jsonl", '["a.wav"]', r"m\.jsonl:1: not an object with a text 'audio_filepath'"),
        ("m.jsonl", '{"filename": "a.wav"}', r"m\.jsonl:1: not an object with a text"),
        ("m.jsonl", '{"audio_filepath": 7}', r"m\.jsonl:1: not an object with a text"),
        ("m.jsonl", '{"audio_filepath": ""}', r"m\.jsonl:1: not an object with a text"),
        (
            "m.jsonl",
            '{"audio_filepath": "a\\u0000"}',
            r"l:1: the name 'a\\x00' has a control",
        ),
        (
            "m.jsonl",
            '{"audio_filepath": "\\ud800"}',
            r"l:1: the name '\\ud800' is not UTF-8",
        ),
        ("m.jsonl", '{"audio_filepath": "a", "offset": 1.5}', r"m\.jsonl:1: offset 1\.5 is not 0"),
        ("m.jsonl", '{"audio_filepath": "a", "offset": NaN}', r"m\.jsonl:1: not JSON \(NaN is not"),
        ("m.jsonl", '{"audio_filepath": "a", "offset": "0"}', r"offset '0' is not 0"),
        ("m.jsonl", '{"audio_filepath": "a", "audio_filepath": "b"}', r"l:1: .*key stands twice"),
        ("m.csv", "filename\na\x9b.wav\n", r"m\.csv:2: a control character"),
        ("m.tsv", "filename\na\u2028.wav\n", r"m\.tsv:2: a control character"),
        ("m.jsonl", "[" * 100_000, r"m\.jsonl:1: not JSON \(nested too deeply"),
        ("m.jsonl", "9" * 10_000, r"m\.jsonl:1: not JSON \("),
        ("m.jsonl", " " + "1" * 2**20, r"m\.jsonl: cannot be read \(line 1 is longer than 1 MiB"),
    ],
)
def test_a_row_that_cannot_be_read_is_refused_with_its_line(here, name, content, message):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LabelError, match=message) as caught:
        find_audio([name])
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_without_rows_is_nothing_usable(here, manifest):
    Path(manifest).write_text("" if manifest == "m.jsonl" else "filename\n")
    with pytest.raises(NothingUsableError, match=f"{manifest} names no audio file"):
        find_audio([manifest])


# Standard input

STREAMED = patched(patched(WAV, 4, b"\xff" * 4), 40, b"\xff" * 4)  # as ffmpeg -f wav - writes it


@pytest.mark.parametrize("content", [WAV, STREAMED, FLAC, OGG], ids=["wav", "pipe", "flac", "ogg"])
def test_audio_on_standard_input_is_read_as_from_a_file(tmp_path, stdin, content):
    (tmp_path / "clip").write_bytes(content)
    stdin(content)
    [(name, path)] = find_audio(["-"]).items()
    assert name == "stdin"
    for _ in range(2):  # as often as from any file
        np.testing.assert_array_equal(read(path, 16_000), read(tmp_path / "clip", 16_000))
    assert read_duration(path) == len(NOISE) / 22_050


def test_a_stream_that_breaks_off_fails_when_it_is_read(stdin):
    stdin(BAD_FILES["cut.ogg"][0])
    [path] = find_audio(["-"]).values()
    with pytest.raises(AudioError, match=r"Ogg page .* is cut off"):
        read(path, 16_000)


def test_the_clip_on_standard_input_can_be_named(stdin):
    stdin(WAV)
    assert list(find_audio(AudioInputs(("-",), stdin_name="a/b c.wav"))) == ["a/b c.wav"]


@pytest.mark.parametrize("name", ["", ".", "/", "/a.wav", "../a.wav", "a\n.wav", "\udcff", " a"])
def test_the_clip_on_standard_input_must_have_a_usable_name(name):
    with pytest.raises(ConfigError, match=r"--stdin-name '.*' cannot be the name"):
        AudioInputs(("-",), stdin_name=name)


def test_a_file_named_like_standard_input_is_a_file(here):
    tree(here, "-")
    assert find_audio(["./-"]) == find_audio([Path("-")]) == {"-": here / "-"}


def test_audio_on_standard_input_goes_alone():
    for inputs in [{"paths": ("-", "a.wav")}, {"paths": ("-",), "files_from": "-"}]:
        with pytest.raises(ConfigError, match=r"audio on standard input \(-\) goes alone"):
            AudioInputs(**inputs)


def test_standard_input_without_audio_is_nothing_usable(stdin, monkeypatch):
    stdin(b"")
    with pytest.raises(NothingUsableError, match="standard input is empty"):
        find_audio(["-"])
    stdin(WAV)
    monkeypatch.setattr(lists, "MAX_AUDIO", len(WAV) - 1)
    with pytest.raises(NothingUsableError, match="standard input has more than"):
        find_audio(["-"])
    monkeypatch.setattr(lists, "MAX_AUDIO", len(WAV))
    stdin(WAV)
    find_audio(["-"])


@pytest.mark.parametrize("inputs", [AudioInputs(("-",)), AudioInputs(files_from="-")])
def test_nobody_waits_for_a_terminal(terminal, inputs):
    with pytest.raises(ConfigError, match=r"standard input is a terminal; pipe .*: .* \| sedtool"):
        find_audio(inputs)


def test_standard_input_that_cannot_be_read_is_an_error(here, monkeypatch):
    class Folder(io.BytesIO):
        def read(self, size=-1):
            os.read(os.open(here, os.O_RDONLY), size)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Folder()))
    for inputs in (AudioInputs(("-",)), AudioInputs(files_from="-")):
        with pytest.raises(ConfigError, match=r"standard input cannot be read \(Is a directory"):
            find_audio(inputs)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ConfigError, match="standard input is closed"):
        find_audio(["-"])


def test_a_full_disk_is_no_room_for_standard_input(stdin, monkeypatch):
    stdin(WAV)
    full = Path("/dev/full")
    monkeypatch.setattr(lists.tempfile, "TemporaryFile", lambda: full.open("wb"))
    with pytest.raises(ResourceError, match=r"standard input: the disk is full; TMPDIR can"):
        find_audio(["-"])


def test_paths_of_a_manifest_that_are_not_there_are_matched_as_names_of_labels_are(here, caplog):
    for name in ("rec/sub/a.wav", "rec/b.wav", "rec/K\u00fcche.wav", "rec/c.flac", "rec/d.wav"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(WAV)
    rows = ["sub\\a.wav", "C:\\data\\rec\\b.wav", "Ku\u0308che.wav", "c.wav", "d.wav", "x/d.wav"]
    Path("list.csv").write_text("filename\n" + "".join(f"{row}\n" for row in rows))
    found = find_audio(["list.csv"], root=Path("rec"))
    names = ["K\u00fcche.wav", "b.wav", "c.wav", "d.wav", "sub/a.wav", "x/d.wav"]
    assert list(found) == names  # d.wav is listed, and so is not x/d.wav, too
    assert "3 files are matched by their basename" in caplog.messages[0]
    assert "1 files are not there, but others like them: c.wav (there is c.flac)" in caplog.text
    Path("rec/other").mkdir()
    Path("rec/other/a.wav").write_bytes(WAV)
    with pytest.raises(LabelError, match=r"'y/a\.wav' could be any of 2 clips: other/a\.wav, sub"):
        Path("list.csv").write_text("filename\ny/a.wav\n")
        find_audio(["list.csv"], root=Path("rec"))


def test_a_manifest_with_durations_says_once_that_files_are_read_to_their_end(here, caplog):
    rows = [{"audio_filepath": f"{i}.wav", "duration": 0.5} for i in range(3)]
    Path("m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    find_audio(["m.jsonl"])
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("is not looked at; files are read from start to end")


def test_an_entry_that_no_path_can_be_is_refused_with_its_length(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(f"a.wav\n{'x' * 5000}\n")
    with pytest.raises(ConfigError, match=r"no path is 5000 characters long.*list\.txt"):
        lists.read_list(str(path))
