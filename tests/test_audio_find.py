"""Files, folders and patterns become clip names and paths, or are refused by name."""

import errno
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sedtool.audio import AudioInputs, find, find_audio
from sedtool.errors import (
    AudioError,
    ConfigError,
    NothingUsableError,
)
from sedtool.labels import check_name
from support.audio import tree

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return an empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Files and folders


def test_folders_are_searched_recursively_for_audio_suffixes_in_any_case(tmp_path):
    tree(tmp_path, "b/2.FLAC", "b/1.wav", "a.Ogg", "notes.txt", "b/c/3.mp3", "wav")
    found = find_audio([tmp_path])
    assert list(found) == ["a.Ogg", "b/1.wav", "b/2.FLAC", "b/c/3.mp3"]
    assert found["b/c/3.mp3"] == tmp_path / "b" / "c" / "3.mp3"


def test_hidden_files_and_folders_are_left_out(tmp_path):
    tree(tmp_path, ".a.wav", ".git/b.wav", "c.wav")
    assert list(find_audio([tmp_path])) == ["c.wav"]


def test_audio_and_video_that_cannot_be_read_is_passed_over_and_named(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(find, "has_av", lambda: False)
    tree(tmp_path, "a.wav", "b.M4A", "x/c.webm", "d.amr", "e.wma", "f.wma", ".g.mp4", "notes.txt")
    found = find_audio([tmp_path])
    assert list(found) == ["a.wav"]
    assert list(found.passed_over) == ["b.M4A", "d.amr", "e.wma", "f.wma", "x/c.webm"]
    said = (
        "5 files passed over: .amr .m4a .webm .wma cannot be read; "
        "pip install 'sedtool[av]' to read them, or convert them to FLAC, e.g. with ffmpeg"
    )
    assert caplog.messages == [said]
    with pytest.raises(NothingUsableError) as error:
        find_audio([tmp_path / "x"])
    assert str(error.value).startswith(f"no audio file in {tmp_path}/x; 1 file passed over: .webm ")


def test_a_file_that_is_given_by_name_is_not_passed_over(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(find, "has_av", lambda: False)
    tree(tmp_path, "a.wav", "b.m4a")
    assert list(find_audio([tmp_path, tmp_path / "b.m4a"])) == ["a.wav", "b.m4a"]
    assert not caplog.messages


def test_audio_and_video_that_pyav_reads_is_found(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(find, "has_av", lambda: True)
    tree(tmp_path, "a.wav", "b.M4A", "c.webm", "notes.txt")
    assert list(find_audio([tmp_path])) == ["a.wav", "b.M4A", "c.webm"]
    assert not caplog.messages


def test_a_file_is_taken_whatever_its_suffix(tmp_path):
    tree(tmp_path, "clip.bin", "clip.wav")
    assert list(find_audio([tmp_path / "clip.bin"])) == ["clip.bin"]


def test_a_folder_named_like_a_file_is_a_folder(tmp_path):
    tree(tmp_path, "x.wav/y.wav")
    assert list(find_audio([tmp_path])) == ["x.wav/y.wav"]


def test_names_are_relative_to_the_common_folder_or_to_the_root(tmp_path):
    tree(tmp_path, "data/x/1.wav", "data/y/2.wav")
    inputs = [tmp_path / "data" / "y" / "2.wav", tmp_path / "data" / "x"]
    assert list(find_audio(inputs)) == ["x/1.wav", "y/2.wav"]
    assert list(find_audio(inputs, tmp_path)) == ["data/x/1.wav", "data/y/2.wav"]
    assert list(find_audio(inputs[1:])) == ["1.wav"]


def test_a_file_given_twice_is_one_clip(tmp_path):
    tree(tmp_path, "x/1.wav")
    inputs = [tmp_path, tmp_path / "x", tmp_path / "x" / ".." / "x" / "1.wav"]
    assert list(find_audio(inputs)) == ["x/1.wav"]


def test_linked_folders_are_searched_and_loops_of_links_end(tmp_path):
    tree(tmp_path, "elsewhere/1.wav", "data/2.wav")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "self").symlink_to("self")
    assert list(find_audio([tmp_path / "data"])) == ["2.wav", "linked/1.wav"]


def test_a_linked_file_has_the_name_of_the_link(tmp_path):
    tree(tmp_path, "store/0a1b.bin")
    (tmp_path / "clip.wav").symlink_to(tmp_path / "store" / "0a1b.bin")
    assert list(find_audio([tmp_path / "clip.wav"])) == ["clip.wav"]


def test_inputs_that_cannot_be_found_are_errors(tmp_path):
    tree(tmp_path, "a/1.wav", "b/2.wav", "c/notes.txt")
    with pytest.raises(ConfigError, match=r"nowhere does not exist"):
        find_audio([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match=r"1\.wav is not under the root .*/b; give another"):
        find_audio([tmp_path / "a"], tmp_path / "b")
    with pytest.raises(NothingUsableError, match=r"no audio file in .*/c"):
        find_audio([tmp_path / "c"])
    with pytest.raises(NothingUsableError, match="no audio file in no input"):
        find_audio([])


def test_a_path_that_does_not_exist_is_named_with_one_that_is_like_it(tmp_path):
    tree(tmp_path, "recordings/dog.wav")
    with pytest.raises(ConfigError, match=r"recordigns does not exist; did you mean .*recordings"):
        find_audio([tmp_path / "recordigns"])
    with pytest.raises(ConfigError, match=r"dgo.wav does not exist; did you mean .*/dog.wav"):
        find_audio([tmp_path / "recordings" / "dgo.wav"])
    with pytest.raises(ConfigError, match=r"x\.wav/y does not exist$"):
        find_audio([tmp_path / "x.wav" / "y"])
    with pytest.raises(ConfigError, match=r"cannot be read \(File name too long\)"):
        find_audio([tmp_path / ("x" * 300)])


def test_an_empty_path_is_not_the_current_folder(here):
    tree(here, "a.wav")
    with pytest.raises(ConfigError, match="an input is empty text"):
        find_audio([""])


def test_a_folder_that_cannot_be_listed_is_named(here, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied")

    tree(here, "a/1.wav")
    monkeypatch.setattr(find.os, "scandir", refuse)
    for name in ("a", "a/*.wav", "**/*.wav"):
        with pytest.raises(ConfigError, match="cannot be listed: Permission denied"):
            find_audio([name])


def test_a_root_that_is_no_folder_is_an_error(tmp_path):
    tree(tmp_path, "a.wav")
    with pytest.raises(ConfigError, match=r"the root .*/nowhere is not a folder"):
        find_audio([tmp_path], tmp_path / "nowhere")


def test_one_file_by_several_spellings_is_one_clip(here):
    tree(here, "a.wav", "b/c.wav")
    spellings = ["a.wav", "./a.wav", "b/../a.wav", str(here / "a.wav"), f"/{here}/a.wav", "b//"]
    assert find_audio(spellings) == {"a.wav": here / "a.wav", "b/c.wav": here / "b" / "c.wav"}


def test_two_dots_after_a_link_are_the_folder_of_what_it_points_to(here):
    tree(here, "elsewhere/deep/x.wav", "elsewhere/a.wav", "data/a.wav")
    (here / "data" / "link").symlink_to(here / "elsewhere" / "deep")
    [path] = find_audio(["data/link/../a.wav"]).values()
    assert path == here / "elsewhere" / "a.wav"


def test_the_root_of_inputs_gives_way_to_the_argument(tmp_path):
    tree(tmp_path, "a/b/1.wav")
    inputs = AudioInputs((tmp_path / "a" / "b",), root=tmp_path / "a")
    assert list(find_audio(inputs)) == ["b/1.wav"]
    assert list(find_audio(inputs, tmp_path)) == ["a/b/1.wav"]


# Patterns


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("rec/*.wav", ["1.wav"]),
        ("rec/**/*.wav", ["1.wav", "a/2.wav", "a/b/3.wav", "b/3.wav"]),
        ("rec/**/3.wav", ["a/b/3.wav", "b/3.wav"]),
        ("rec/?/[!2].wav", ["b/3.wav"]),
        ("rec/*/b/3.wav", ["a/b/3.wav"]),
        ("rec/[a]", ["a/2.wav", "a/b/3.wav"]),
        ("rec/**", ["1.wav", "a/2.wav", "a/b/3.wav", "b/3.wav"]),
        ("rec/**/**/2.wav", ["a/2.wav"]),
        ("rec/*/", ["a/2.wav", "a/b/3.wav", "b/3.wav"]),
        ("re[c]/a/*.wav", ["rec/a/2.wav"]),
        ("rec/*.txt", ["notes.txt"]),
        ("rec/.h*/*.wav", [".hidden/5.wav"]),
        ("rec/.hidden/*", ["5.wav"]),
        ("./rec/../rec/*.wav", ["1.wav"]),
        (Path("rec", "*.wav"), ["1.wav"]),
    ],
)
def test_patterns_match_as_in_a_shell_and_names_start_where_they_do(here, pattern, names):
    tree(here, *("rec/" + name for name in ["1.wav", "a/2.wav", "a/b/3.wav", "b/3.wav"]))
    tree(here, "rec/notes.txt", "rec/.4.wav", "rec/.hidden/5.wav")
    assert list(find_audio([pattern])) == names


@pytest.mark.parametrize("pattern", ["rec/*.mp3", "nowhere/*.wav", "rec/1.wav/*", "rec/**/x/*"])
def test_a_pattern_that_matches_nothing_is_named(here, pattern):
    tree(here, "rec/1.wav")
    with pytest.raises(NothingUsableError) as caught:
        find_audio(["rec", pattern])
    assert str(caught.value) == f"nothing matches the pattern {pattern}"


def test_a_file_of_that_very_name_is_no_pattern(here):
    tree(here, "take[1].wav", "take1.wav", "a*/x.wav", "ab/y.wav")
    assert list(find_audio(["take[1].wav"])) == ["take[1].wav"]
    assert list(find_audio(["a*"])) == ["x.wav"]


def test_patterns_pass_through_loops_of_links_once(here):
    tree(here, "data/2.wav", "data/sub/3.wav")
    for folder in ("data", "data/sub"):
        (here / folder / "up").symlink_to(here / "data")
        (here / folder / "self").symlink_to("self")
    assert list(find_audio(["data/**/*.wav"])) == ["2.wav", "sub/3.wav"]


# Names


@pytest.mark.parametrize(
    "name", ["a b.wav", "[/].wav", "é/ü.wav", "a'\"b.wav", "-x.wav", "日本.wav"]
)
def test_unusual_names_are_fine(name):
    check_name(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\nb.wav", r"'a\\nb.wav' has a control character"),
        ("a\x1b[31m.wav", r"'a\\x1b\[31m.wav' has a control character"),
        ("a\tb.wav", "control character"),
        ("a\x85b.wav", "control character"),
        ("a\u2028b.wav", "control character"),
        ("a\udcff.wav", r"'a\\udcff.wav' is not UTF-8"),
        (" a.wav", "begins or ends with a space"),
        ("a.wav ", "begins or ends with a space"),
    ],
)
def test_names_that_a_tsv_would_not_keep_are_refused(name, message):
    with pytest.raises(AudioError, match=message) as caught:
        check_name(name)
    assert str(caught.value).isprintable()
