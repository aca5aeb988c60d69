"""The clip that a name means is the same in every stage, and `check` tells what a stage refuses."""

import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sedtool.checking.files import LabelFile
from sedtool.checking.rules import Data, in_labels
from sedtool.datasets import FeatureSet
from sedtool.errors import ArtifactError, LabelError
from sedtool.evaluation.pair import match_names
from sedtool.labels import NameIndex
from sedtool.labels.names import inexact
from support.command_lines import refused, run, save_small_model

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Küche.wav") for form in ("NFC", "NFD"))


def test_names_match_by_path_then_by_unique_basename():
    index = NameIndex(["x/a.wav", "y/b.wav", "z/b.wav"])
    assert index.find("x/a.wav") == "x/a.wav"
    assert index.find("other/a.wav") == "x/a.wav"
    assert index.find("c.wav") is None
    assert index.find("y/b.wav") == "y/b.wav"
    with pytest.raises(LabelError, match=r"'b\.wav' could be any of 2 clips: y/b\.wav, z/b\.wav"):
        index.find("b.wav")


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("/data/x/a.wav", "x/a.wav"),
        (r"C:\data\x\a.wav", "x/a.wav"),
        ("./z/x/a.wav", "z/x/a.wav"),
        ("/data/a.wav", "a.wav"),
        ("y/a.wav", "p/y/a.wav"),
        (r"y\a.wav", "p/y/a.wav"),
    ],
)
def test_of_several_clips_of_a_basename_the_one_with_the_same_end_of_a_path_is_meant(name, clip):
    assert NameIndex(["a.wav", "x/a.wav", "z/x/a.wav", "p/y/a.wav"]).find(name) == clip


def test_an_end_of_several_paths_is_ambiguous():
    with pytest.raises(LabelError, match=r"'x/a\.wav' could be any of 2 clips: p/x/a.*, q/x/a"):
        NameIndex(["p/x/a.wav", "q/x/a.wav", "y/a.wav"]).find("x/a.wav")


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


@pytest.mark.parametrize(
    ("names", "clips", "found"),
    [
        (["a"], ["x/a.wav"], {"a": "x/a.wav"}),
        (["x/a.wav"], ["a"], {"x/a.wav": "a"}),
        (["x/a", "y/a"], ["x/a.wav", "y/a.wav"], {"x/a": "x/a.wav", "y/a": "y/a.wav"}),
        (["a"], ["a.wav", "a.mp3"], {}),
        (["a.wav", "a.mp3"], ["a"], {}),
        (["a.wav", "a"], ["a.wav", "a.mp3"], {"a.wav": "a.wav"}),
        (["a.wav"], ["a.mp3", "A.wav", "a.b.wav"], {}),
        (["rec_12.5", "Y_0.000_9.000"], ["rec_12.wav", "Y_0.000_9.wav"], {}),
        (["rec_12.5"], ["rec_12.5.3gp"], {"rec_12.5": "rec_12.5.3gp"}),
        ([r"sub\a"], ["sub/a.wav", "b/c.wav"], {r"sub\a": "sub/a.wav"}),
        ([DECOMPOSED.removesuffix(".wav")], [COMPOSED], {DECOMPOSED[:-4]: COMPOSED}),
    ],
)
def test_a_suffix_more_or_less_makes_no_other_clip_where_nothing_else_is_as_near(
    names, clips, found
):
    assert NameIndex(clips).resolve(names, "labels")[0] == found
    backwards = NameIndex(names).resolve(clips, "labels")[0]
    assert backwards == {clip: name for name, clip in found.items()}


@pytest.mark.parametrize(
    ("name", "clip"),
    [
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
    assert index.resolve([name], "labels") == ({}, [name])
    assert index.near(name) == ([clip] if clip else [])
    assert index.listed([name]) == (f"{name} (there is {clip})" if clip else name)


def test_of_many_names_those_are_shown_that_are_nearly_a_clip():
    index = NameIndex([f"{i}.wav" for i in range(9)])
    names = [*(f"x{i}" for i in range(9)), "3.mp3", "4.WAV"]
    assert index.listed(names) == (
        "3.mp3 (there is 3.wav), 4.WAV (there is 4.wav), x0, x1, x2 and 6 more; "
        "2 may be there under another name"
    )
    assert NameIndex(["a.mp3", "a.flac"]).listed(["a"]) == "a (there are a.flac, a.mp3)"


def test_names_that_look_the_same_are_told_apart():
    assert inexact({"b": "b", DECOMPOSED: COMPOSED}) == (
        1,
        f"{DECOMPOSED} is {COMPOSED}, in another Unicode form",
    )
    with pytest.raises(LabelError, match=r"both mean clip .*, in another Unicode form"):
        NameIndex([COMPOSED]).resolve([COMPOSED, DECOMPOSED], "labels")


def test_two_names_for_one_clip_are_refused():
    with pytest.raises(LabelError, match=r"both mean clip 'x/a\.wav'"):
        NameIndex(["x/a.wav"]).resolve(["a.wav", "x/a.wav"], Path("weak.tsv"))


# `check` and the stages agree on every name

FOLDERS = st.sampled_from(["", "x/", "y/", "x\\", "Y/", "/d/x/", "/d/", "C:\\d\\x\\"])
BASES = st.sampled_from(
    ["a.wav", "A.wav", "a.flac", "a", "a.5", "a.wav.wav", "Ya.wav", "K", COMPOSED, DECOMPOSED]
)
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


@given(st.sets(NAMES, min_size=1), st.sets(NAMES, min_size=1))
def test_both_sides_match_the_same(clips, names):
    try:
        found, missing = NameIndex(clips).resolve(sorted(names), "labels")
        backwards, _ = NameIndex(names).resolve(sorted(clips), "labels")
    except LabelError:
        return  # one of them cannot be told apart
    assert backwards == {clip: name for name, clip in found.items()}
    assert {*found, *missing} == names
    for name in missing:  # nothing that a suffix makes different alone was passed over
        apart = [clip for clip in clips if _is_one_suffix_apart(name, clip)]
        others = [other for other in names if apart and _is_one_suffix_apart(other, apart[0])]
        assert len(apart) != 1 or len(others) != 1 or apart[0] in found.values()


def _is_one_suffix_apart(name, clip):
    one, other = (
        unicodedata.normalize("NFC", n.replace("\\", "/")).split("/")[-1] for n in (name, clip)
    )
    return any(
        f"{a}{suffix}" == b for a, b in ((one, other), (other, one)) for suffix in (".wav", ".flac")
    )


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
    except (LabelError, ArtifactError) as error:
        missing = counts.get("missing", 0) + counts.get("misnamed", 0)
        refused = {"ambiguous", "same-clip"} & set(counts)
        assert refused or (missing == len(names) and "have no features" in str(error))
        return
    assert not {"ambiguous", "same-clip"} & set(counts)
    assert len(found) == len(names) - counts.get("missing", 0) - counts.get("misnamed", 0)


def test_clips_that_are_misnamed_are_not_to_be_skipped(caplog):
    features = FeatureSet.__new__(FeatureSet)  # of which only the names count
    features.files, features.place = [], dict.fromkeys(["a.wav", "b.wav"], (0, 0))
    with pytest.raises(LabelError, match=r"1 of 2 .*\(c\.wav\); --missing skip leaves them out"):
        features.match(["a.wav", "c.wav"], Path("weak.tsv"), "error")
    with pytest.raises(LabelError, match=r"1 of 2 .*\(b\.WAV \(there is b\.wav\)\)$"):
        features.match(["a.wav", "b.WAV"], Path("weak.tsv"), "error")
    some = r"2 of 3 .*\(b.WAV \(there is b.wav\), c.wav; 1 may be there under another name\)"
    with pytest.raises(LabelError, match=some + "; --missing skip leaves"):
        features.match(["a.wav", "c.wav", "b.WAV"], Path("weak.tsv"), "error")
    features.match(["a.wav", "c.wav", "b.WAV"], Path("weak.tsv"), "skip")
    assert re.search(some + "; left out", caplog.text)


def test_labels_of_other_clips_altogether_do_not_fit_the_features():
    features = FeatureSet.__new__(FeatureSet)  # of which only the names count
    features.files, features.place = [], dict.fromkeys(["a.wav", "b.wav"], (0, 0))
    for missing in ("error", "skip"):
        with pytest.raises(
            ArtifactError, match=r"2 of 2 .* \(a\.mp3 \(there is a\.wav\), c; 1 may be"
        ):
            features.match(["a.mp3", "c"], Path("weak.tsv"), missing)


@pytest.mark.parametrize(
    ("suffix", "said"), [(".wav", None), ("", None), (".mp3", "16 of 16 clips have no features")]
)
def test_stages_that_learn_match_and_refuse_alike(tiny, tmp_path, suffix, said):
    weak, validation, run_folder = tmp_path / "w.tsv", tmp_path / "v.tsv", tmp_path / "run"
    weak.write_text(tiny.weak.read_text().replace(".wav", suffix))
    validation.write_text(tiny.weak_validation.read_text().replace(".wav", suffix))
    model = save_small_model(tmp_path / "m.safetensors")
    train = ("train", "-o", run_folder, "--features", tiny.features, "--dry-run")
    tune = ("tune", model, "--features", tiny.features, "--weak", validation)
    check = ("check", tiny.features, "--weak", weak)
    if said is None:
        run(*train, "--weak", weak, "--val-weak", validation)
        run(*tune)
        assert "misnamed" not in run(*check).stdout
    else:
        line = refused(*train, "--weak", weak, "--val-weak", validation, exit_code=5)
        assert said in line and "train/noise_1.mp3 (there is train/noise_1.wav)" in line
        assert "8 of 8 clips have no features" in refused(*tune, exit_code=5)
        report = run(*check, exit_code=3).stdout
        assert "16 misnamed" in report
        assert "train/noise_1.mp3 (there is train/noise_1.wav)" in report
