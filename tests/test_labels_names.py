"""The clip that a name means is the same in every stage, and `check` tells what a stage refuses."""

import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sedtool.checking.files import LabelFile
from sedtool.checking.rules import Data, in_labels
from sedtool.datasets import FeatureSet
from sedtool.errors import LabelError
from sedtool.evaluation.pair import match_names
from sedtool.labels import NameIndex

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Küche.wav") for form in ("NFC", "NFD"))


def test_names_match_by_path_then_by_unique_basename():
    index = NameIndex(["x/a.wav", "y/b.wav", "z/b.wav"])
    assert index.find("x/a.wav") == "x/a.wav"
    assert index.n_inexact == 0
    assert index.find("other/a.wav") == "x/a.wav"
    assert index.n_inexact == 1
    assert index.find("c.wav") is None
    assert index.find("y/b.wav") == "y/b.wav"
    with pytest.raises(LabelError, match=r"'b\.wav' could be any of 2 clips: y/b\.wav, z/b\.wav"):
        index.find("b.wav")


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        (r"sub\a.wav", "sub/a.wav"),
        (r"C:\data\rec\a.wav", "sub/a.wav"),
        (DECOMPOSED, COMPOSED),
        (COMPOSED, DECOMPOSED),
        (f"other/{DECOMPOSED}", COMPOSED),
        ("sub/a.wav", r"sub\a.wav"),
    ],
)
def test_backslashes_and_unicode_forms_make_no_other_clip(name, clip):
    assert NameIndex([clip, "b.wav"]).find(name) == clip


def test_a_name_that_is_there_as_it_stands_is_not_looked_at_any_further():
    index = NameIndex([r"sub\a.wav", "sub/a.wav", COMPOSED, DECOMPOSED])
    for name in (r"sub\a.wav", "sub/a.wav", COMPOSED, DECOMPOSED):
        assert index.find(name) == name


def test_what_stands_for_several_clips_names_the_first_five():
    names = [f"{folder}/a.wav" for folder in "abcdefg"]
    for name in ("a.wav", r"D:\a.wav"):
        with pytest.raises(LabelError, match=r"any of 7 clips: a/a\.wav.*e/a\.wav and 2 more"):
            NameIndex(names).find(name)
    with pytest.raises(LabelError, match="could be any of 2 clips"):
        NameIndex([f"x/{COMPOSED}", f"y/{COMPOSED}"]).find(DECOMPOSED)
    with pytest.raises(LabelError, match="could be any of 2 clips"):
        NameIndex(["1.wav", "x/1.flac"]).find("1", any_suffix=True)


def test_a_name_without_a_suffix_means_a_clip_only_where_that_is_asked_for():
    index = NameIndex(["x/1.wav", "2.wav"])
    assert index.find("1") is None
    assert index.find("1", any_suffix=True) == "x/1.wav"


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("a", "x/a.wav"),
        ("a.flac", "x/a.wav"),
        ("A.WAV", "x/a.wav"),
        ("other/a.mp3", "x/a.wav"),
        ("-5QrBL6MzLg_60_70.wav", "Y-5QrBL6MzLg_60.000_70.000.wav"),
        ("dog.wav", "Ydog.flac"),
        ("b.wav", None),
    ],
)
def test_the_nearest_name_is_of_another_suffix_case_folder_or_download(name, clip):
    index = NameIndex(["x/a.wav", "Y-5QrBL6MzLg_60.000_70.000.wav", "Ydog.flac"])
    assert index.find(name) is None
    assert index.nearest(name) == clip
    assert index.listed([name]) == (f"{name} (there is {clip})" if clip else name)


def test_two_names_for_one_clip_are_refused():
    with pytest.raises(LabelError, match=r"both mean clip 'x/a\.wav'"):
        NameIndex(["x/a.wav"]).resolve(["a.wav", "x/a.wav"], Path("weak.tsv"))


# `check` and the stages agree on every name

FOLDERS = st.sampled_from(["", "x/", "y/", "x\\", "Y/"])
BASES = st.sampled_from(["a.wav", "A.wav", "a.flac", "a", "Ya.wav", COMPOSED, DECOMPOSED])
NAMES = st.builds("".join, st.tuples(FOLDERS, BASES))


@given(st.sets(NAMES, min_size=1), st.lists(NAMES, unique=True))
@example({"x/a.wav"}, ["x\\a.wav", "a.wav"])
def test_faults_are_exactly_what_a_stage_refuses_or_misses(clips, names):
    matches = list(NameIndex(clips).matches(names))
    missing = [match.name for match in matches if match.fault == "missing"]
    refused = [match.message for match in matches if match.fault not in ("", "missing")]
    try:
        found, absent = NameIndex(clips).resolve(names, "labels")
    except LabelError as error:
        assert str(error) == f"labels: {refused[0]}"
        with pytest.raises(LabelError):
            match_names(names, clips, "labels")
        return
    assert not refused
    assert absent == missing
    assert found == {match.name: match.clip for match in matches if match.clip}
    assert match_names(names, clips, "labels") == {name: found.get(name, name) for name in names}
    assert len(set(found.values())) == len(found)


@given(st.sets(NAMES, min_size=1), st.lists(NAMES, min_size=1, unique=True))
@example({"x/a.wav", "y/a.wav"}, ["a.wav", "A.wav"])
def test_check_finds_the_names_that_training_does_not(tmp_path_factory, clips, names):
    path = tmp_path_factory.getbasetemp() / "names.tsv"
    path.write_text("filename\n" + "".join(f"{name}\n" for name in names))
    file = LabelFile(path, "unlabelled", None, NameIndex(clips))
    counts = Counter(f.kind for f in in_labels(file, Data({}, [file], (), None, ())))
    features = FeatureSet.__new__(FeatureSet)  # of which only the names count
    features.files, features.place = [], dict.fromkeys(clips, (0, 0))
    try:
        found = features.match(names, path, "skip")
    except LabelError as error:
        missing = counts.get("missing", 0) + counts.get("misnamed", 0)
        refused = {"ambiguous", "same-clip"} & set(counts)
        assert refused or (missing == len(names) and "have no features" in str(error))
        return
    assert not {"ambiguous", "same-clip"} & set(counts)
    assert len(found) == len(names) - counts.get("missing", 0) - counts.get("misnamed", 0)


def test_clips_that_are_misnamed_are_not_to_be_skipped():
    features = FeatureSet.__new__(FeatureSet)  # of which only the names count
    features.files, features.place = [], dict.fromkeys(["a.wav", "b.wav"], (0, 0))
    with pytest.raises(LabelError, match=r"1 of 2 .*\(c\.wav\); --missing skip leaves them out"):
        features.match(["a.wav", "c.wav"], Path("weak.tsv"), "error")
    with pytest.raises(LabelError, match=r"1 of 2 .*\(b\.WAV \(there is b\.wav\)\)$"):
        features.match(["a.wav", "b.WAV"], Path("weak.tsv"), "error")
    with pytest.raises(LabelError, match=r"2 of 3 .*there is b.*, c\.wav\); --missing skip leaves"):
        features.match(["a.wav", "b.WAV", "c.wav"], Path("weak.tsv"), "error")
