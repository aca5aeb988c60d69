"""Published data sets: clips are found under other names, and held out whatever audio there is."""

from collections import Counter

import numpy as np
import pytest
import soundfile

from sedtool.audio import write_wav
from sedtool.errors import ConfigError, NothingUsableError
from sedtool.labels import read_names
from sedtool.labels.names import clip_key
from sedtool.recipes.corpora import (
    AudioFolder,
    Missing,
    find_label_file,
    format_classes,
    format_summary,
    hold_out,
    seconds_of,
    video,
    write_missing,
    write_names,
)

RATE = 8_000  # Hz


@pytest.fixture
def sound(tmp_path):
    """Return a function that writes a file of noise, by default another one each time."""
    made = Counter()

    def write(name, seed=None):
        made["files"] += 1
        path = tmp_path / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(made["files"] if seed is None else 10**6 + seed)
        write_wav(path, 0.1 * noise.standard_normal(RATE), RATE)
        return path

    return write


def resolve(tmp_path, folders=None, **splits):
    return AudioFolder(tmp_path / "audio").resolve(splits, folders or {})


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "-5QrBL6MzLg_60.000_70.000.wav",
        "Y-5QrBL6MzLg_60.000_70.000.wav",
        "train/weak/Y-5QrBL6MzLg_60.000_70.000.flac",
        "-5QrBL6MzLg_60_70.WAV",
    ],
)
def test_all_names_of_a_part_of_a_video_are_one_clip(name):
    assert clip_key(name) == clip_key("-5QrBL6MzLg_60.000_70.000.wav")
    assert video(name) == "-5QrBL6MzLg"


@pytest.mark.parametrize(
    "other",
    [
        "Y-5QrBL6MzLg_30.000_40.000.wav",  # another part
        "Y-5QrBL6MzLg_60.000_70.500.wav",
        "Y-5QrBL6MzLh_60.000_70.000.wav",  # another video
        "Y-5QrBL6MzLg_12345.678_12355.678.wav",
    ],
)
def test_other_parts_and_videos_are_other_clips(other):
    assert clip_key(other) != clip_key("-5QrBL6MzLg_60.000_70.000.wav")
    assert clip_key("x" * 11 + "_12345.671_2.wav") != clip_key("x" * 11 + "_12345.672_2.wav")


@pytest.mark.parametrize("name", ["YU0Cg_t_3Td_30.000_40.000.wav", "Yabcdefghi__0.000_9.000.wav"])
def test_an_id_that_begins_with_y_loses_nothing(name):
    assert video(name) == name[:11]
    assert clip_key(f"Y{name}") == clip_key(name)


@pytest.mark.parametrize("name", ["10.wav", "train/synthetic/10.wav", "dog_30_40.wav"])
def test_what_is_no_part_of_a_video_is_its_own_source(name):
    assert video(name) == name
    assert clip_key(name) == name.rpartition("/")[2].removesuffix(".wav")


# --- what is held out -----------------------------------------------------------------------------

LABELS = {f"{c}{i:010d}_0_10.wav": ("common",) for c in "ab" for i in range(100)} | {
    f"c{i:010d}_0_10.wav": ("common", "rare") for i in range(10)
}


def test_a_fifth_of_every_class_is_held_out():
    held = hold_out(LABELS, 0.2, seed=0)
    assert len([name for name in held if "rare" in LABELS[name]]) == 2
    assert len([name for name in held if "rare" not in LABELS[name]]) == 40


def test_what_is_held_out_depends_on_names_and_seed_alone():
    held = hold_out(LABELS, 0.2, seed=0)
    assert held == hold_out(dict(reversed(LABELS.items())), 0.2, seed=0)
    assert held != hold_out(LABELS, 0.2, seed=1)


def test_clips_of_one_video_stay_together():
    labels = {f"{i:011d}_{start}_{start + 10}.wav": ("a",) for i in range(50) for start in (0, 30)}
    held = hold_out(labels, 0.2, seed=0)
    assert len(held) == 20
    assert Counter(map(video, held)).keys() == {video(name) for name in held}
    assert set(Counter(map(video, held)).values()) == {2}


@pytest.mark.parametrize("n_videos, n_held", [(1, 0), (2, 1), (3, 1), (8, 2)])
def test_a_rare_class_is_on_both_sides_where_it_can_be(n_videos, n_held):
    labels = {f"{i:011d}_0_10.wav": ("rare",) for i in range(n_videos)}
    assert len(hold_out(labels, 0.2, seed=0)) == n_held


def test_clips_without_labels_are_held_out_too():
    labels = {f"{i:011d}_0_10.wav": () for i in range(10)}
    assert len(hold_out(labels, 0.2, seed=0)) == 2


@pytest.mark.parametrize("share, seed", [(0.0, 0), (1.0, 0), (float("nan"), 0), (0.2, -1)])
def test_a_share_or_a_seed_that_is_none_is_refused(share, seed):
    with pytest.raises(ConfigError, match=r"must be in \(0, 1\)|must not be negative"):
        hold_out(LABELS, share, seed)


# --- audio ----------------------------------------------------------------------------------------


def test_audio_is_found_under_other_names(tmp_path, sound):
    sound("a/Y-5QrBL6MzLg_60.000_70.000.wav")
    sound("b/-E0shPRxAbo_30_40.WAV")
    found, missing = resolve(
        tmp_path, train=["-5QrBL6MzLg_60.000_70.000.mp3", "-E0shPRxAbo_30.000_40.000.wav", "z.wav"]
    )
    assert found["train"] == {
        "-5QrBL6MzLg_60.000_70.000.mp3": "a/Y-5QrBL6MzLg_60.000_70.000.wav",
        "-E0shPRxAbo_30.000_40.000.wav": "b/-E0shPRxAbo_30_40.WAV",
    }
    assert missing == [Missing("train", "z.wav", "no audio")]


def test_of_several_files_of_a_clip_that_of_the_own_folder_and_suffix_counts(tmp_path, sound):
    for name in ("x/10.wav", "train/synthetic/10.flac.wav", "train/synthetic/10.wav"):
        sound(name)
    (tmp_path / "audio" / "train/synthetic/10.mp3").write_bytes(b"no audio at all")
    found, missing = resolve(tmp_path, {"strong": "train/synthetic"}, strong=["10.wav"])
    assert found["strong"] == {"10.wav": "train/synthetic/10.wav"} and not missing


def test_soundscapes_of_one_name_are_not_taken_for_each_other(tmp_path, sound):
    sound("2018/10.wav"), sound("2019/10.wav")
    found, missing = resolve(tmp_path, {"strong": "train/synthetic"}, strong=["10.wav"])
    assert found == {"strong": {}}
    assert missing == [Missing("strong", "10.wav", "could be any of 2018/10.wav, 2019/10.wav")]


def test_a_soundscape_that_lacks_is_not_replaced_by_one_of_another_data_set(tmp_path, sound):
    sound("train/synthetic/10.wav"), sound("eval/synthetic/11.wav")
    found, missing = resolve(tmp_path, {"strong": "train/synthetic"}, strong=["10.wav", "11.wav"])
    assert found == {"strong": {"10.wav": "train/synthetic/10.wav"}}
    assert missing == [Missing("strong", "11.wav", "no audio")]


def test_a_part_of_a_video_is_itself_wherever_it_lies(tmp_path, sound):
    name = "Y-5QrBL6MzLg_60.000_70.000.wav"
    sound("train/weak/a.wav"), sound(f"else/{name}")
    assert resolve(tmp_path, {"weak": "train/weak"}, weak=[name]) == (
        {"weak": {name: f"else/{name}"}},
        [],
    )


def test_of_two_copies_the_one_that_can_be_read_is_used(tmp_path, sound):
    name = "Y-5QrBL6MzLg_60.000_70.000.wav"
    sound(f"a/{name}").write_bytes(b"")
    sound(f"b/{name}")
    assert resolve(tmp_path, train=[name]) == ({"train": {name: f"b/{name}"}}, [])


def test_audio_without_a_sample_is_named_though_its_header_is_whole(tmp_path, sound):
    sound("good.wav")
    for name in ("one.wav", "two.wav"):
        write_wav(tmp_path / "audio" / name, np.zeros(0), RATE)
    found, missing = resolve(tmp_path, train=["one.wav", "good.wav"], more=["two.wav"])
    assert found == {"train": {"good.wav": "good.wav"}, "more": {}}
    assert [clip.name for clip in missing] == ["one.wav", "two.wav"]
    assert all("no samples" in clip.reason for clip in missing)


def test_copies_of_a_part_of_a_video_are_one_clip(tmp_path, sound):
    name = "Y-5QrBL6MzLg_60.000_70.000.wav"
    sound(f"a/{name}"), sound(f"b/{name}")
    assert resolve(tmp_path, train=[name]) == ({"train": {name: f"a/{name}"}}, [])


def test_unreadable_audio_is_named_with_what_is_wrong(tmp_path, sound):
    good, cut = sound("good.wav"), sound("cut.wav")
    cut.write_bytes(cut.read_bytes()[:5_000])
    (good.parent / "empty.wav").touch()
    (good.parent / "page.wav").write_text("<html>404</html>")
    names = ["page.wav", "good.wav", "empty.wav", "cut.wav"]
    found, missing = resolve(tmp_path, train=names)
    assert found == {"train": {"good.wav": "good.wav"}}
    reasons = {clip.name: clip.reason for clip in missing}
    assert reasons.keys() == set(names) - {"good.wav"}
    assert "the file is empty" in reasons["empty.wav"]
    assert "not audio" in reasons["page.wav"]


def test_what_only_decoding_shows_is_named_where_decoding_is_asked_for(tmp_path):
    (tmp_path / "audio").mkdir()
    for name in ("test.wav", "train.wav"):
        wave = np.random.default_rng(len(name)).standard_normal(RATE) / 10
        wave[-1] = np.nan
        soundfile.write(tmp_path / "audio" / name, wave, RATE, subtype="FLOAT")
    found, missing = AudioFolder(tmp_path / "audio").resolve(
        {"test": ["test.wav"], "train": ["train.wav"]}, {}, decoded=["test"]
    )
    assert found == {"test": {}, "train": {"train.wav": "train.wav"}}
    assert "is nan" in missing[0].reason


def test_a_video_is_in_the_first_split_alone(tmp_path, sound):
    first, second = "-5QrBL6MzLg_60.000_70.000.wav", "Y-5QrBL6MzLg_30.000_40.000.wav"
    sound(first), sound(second)
    found, missing = resolve(tmp_path, test=[first], train=[second])
    assert found == {"test": {first: first}, "train": {}}
    assert missing == [Missing("train", second, f"the same video as {first} in test")]


def test_equal_audio_is_in_the_first_split_alone(tmp_path, sound):
    for name, seed in {"a.wav": 1, "b.wav": 1, "c.wav": 2, "d.wav": 1}.items():
        sound(name, seed)
    found, missing = resolve(tmp_path, test=["a.wav", "b.wav"], train=["c.wav", "d.wav"])
    assert [list(clips) for clips in found.values()] == [["a.wav", "b.wav"], ["c.wav"]]
    assert missing == [Missing("train", "d.wav", "the same audio as a.wav in test")]


def test_audio_that_is_equal_in_its_middle_only_is_not_equal(tmp_path, sound):
    path, other = sound("a.wav", 1), sound("b.wav", 1)
    content = bytearray(other.read_bytes())
    content[100] ^= 1
    other.write_bytes(content)
    found, missing = resolve(tmp_path, test=[path.name], train=[other.name])
    assert found["train"] == {"b.wav": "b.wav"} and not missing


def test_files_are_counted_as_they_are_read(tmp_path, sound):
    sound("a.wav"), sound("b.wav")
    seen = []
    AudioFolder(tmp_path / "audio").resolve(
        {"train": ["a.wav", "b.wav", "none.wav"]}, {}, (), lambda *counts: seen.append(counts)
    )
    assert seen == [(1, 2), (2, 2)]


# --- label files and reports ----------------------------------------------------------------------


def test_a_label_file_is_found_at_any_depth_and_is_one(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"has no files weak\.tsv or weak\.csv; give the folder"):
        find_label_file(tmp_path, "weak.tsv", "weak.csv")
    (tmp_path / "a" / "b" / "weak.csv").touch()
    assert find_label_file(tmp_path, "weak.tsv", "weak.csv").parent.name == "b"
    (tmp_path / "weak.tsv").touch()
    with pytest.raises(ConfigError, match=r"has 2 files weak\.tsv or weak\.csv: .*weak\.csv, "):
        find_label_file(tmp_path, "weak.tsv", "weak.csv")


def test_the_summary_counts_and_names_what_is_missing():
    found = {"test": {"a": "a"}, "train": {f"{i}": f"{i}" for i in range(5)}}
    missing = [Missing("test", f"m{i}", "no audio") for i in range(4)]
    assert format_summary(found, missing).splitlines() == [
        "test: 1 of 5 clips; 4 cannot be used: m0, m1, m2, m3",
        "train: 5 of 5 clips",
    ]


def test_a_split_without_a_clip_ends_with_an_error(tmp_path, sound):
    sound("x/other.wav")
    audio = AudioFolder(tmp_path / "audio")
    with pytest.raises(
        NothingUsableError,
        match=r"none of the 1 clips of test .* \(a\.wav: no audio\); .* has 1 audio files, such as "
        r"x/other\.wav: give the folder with",
    ):
        audio.require_clips(*audio.resolve({"test": ["a.wav"]}, {}))
    with pytest.raises(NothingUsableError, match="the label files name no clip of test"):
        audio.require_clips({"test": {}}, [])


def test_a_folder_that_is_not_there_is_called_that(tmp_path):
    with pytest.raises(ConfigError, match=r"the audio folder .*nope is not there, or no folder"):
        AudioFolder(tmp_path / "nope")


def test_clips_of_a_class_are_counted_and_what_a_split_has_none_of_is_named():
    splits = {"a": {"x": ["Dog", "Car, old"], "y": ["Dog"]}, "test": {"y": ["Dog"], "z": []}}
    table = format_classes(["Dog", "Car, old"], splits)
    assert table.splitlines() == [
        "clips with  a  test",
        "Dog         2     1",
        "Car, old    1     0",
        "warning: test has no clip with Car, old",
    ]
    assert "warning" not in format_classes(["Dog"], splits)


@pytest.mark.parametrize(
    "name, seconds",
    [("Y-5QrBL6MzLg_60.000_70.500.wav", 10.5), ("-5QrBL6MzLg_0_1.flac", 1.0), ("10.wav", np.inf)],
)
def test_the_name_of_a_part_of_a_video_says_how_long_it_is(name, seconds):
    assert seconds_of(name) == seconds


def test_lists_can_be_read_back(tmp_path):
    write_names(tmp_path / "list.tsv", ["-a.wav", "b c.wav"])
    assert read_names(tmp_path / "list.tsv") == ["-a.wav", "b c.wav"]
    write_missing(tmp_path / "missing.tsv", [Missing("test", "a.wav", "no audio")])
    assert (tmp_path / "missing.tsv").read_text() == (
        "filename\tsplit\treason\na.wav\ttest\tno audio\n"
    )
