"""`check` counts every kind of fault exactly, says where, and finds none where there is none."""

import io
import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sedtool.audio import AudioInputs, find, reader, write_wav
from sedtool.checking import CheckInputs, check
from sedtool.checking.rules import RULES
from sedtool.cli import cli
from sedtool.errors import ConfigError, NothingUsableError

RATE = 8_000  # Hz
CLASSES = ("Air horn, truck horn", "Dog")


def noise(seed, seconds=0.5):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(RATE * seconds))


@dataclass
class DataSet:
    """Ten training and ten validation clips of each class, 0.5 s each, without a fault."""

    folder: Path
    weak: list[str] = field(default_factory=lambda: ["filename\tevent_labels"])
    strong: list[str] = field(default_factory=lambda: ["filename\tonset\toffset\tevent_label"])
    unlabelled: list[str] = field(default_factory=list)
    classes: tuple[str, ...] = CLASSES
    decode: bool = False

    def __post_init__(self):
        for i in range(40):
            label = CLASSES[i % 2]
            if i < 20:
                name = f"train/{i}.wav"
                self.weak.append(f"{name}\t{label}")
            else:
                name = f"val/{i}.wav"
                self.strong.append(f"{name}\t0.100\t0.300\t{label}")
            self.add_audio(name, noise(i))

    def add_audio(self, name, wave, rate=RATE):
        path = self.folder / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wav(path, wave, rate)

    def remove_audio(self, *names):
        for name in names:
            (self.folder / "audio" / name).unlink()

    def write(self):
        """Write the label files; return the arguments of the command."""
        texts = {"weak": self.weak, "strong": self.strong, "unlabelled": self.unlabelled}
        arguments = [str(self.folder / "audio")]
        for kind, rows in texts.items():
            if rows or kind != "unlabelled":
                path = self.folder / f"{kind}.tsv"
                path.write_text("".join(f"{row}\n" for row in rows))
                arguments += [f"--{kind}", str(path)]
        if self.classes:
            (self.folder / "classes.txt").write_text("".join(f"{c}\n" for c in self.classes))
            arguments += ["--classes", str(self.folder / "classes.txt")]
        return arguments

    def check(self):
        arguments = self.write()
        return check(
            CheckInputs(
                AudioInputs((arguments[0],)),
                strong=[self.folder / "strong.tsv"],
                weak=[self.folder / "weak.tsv"],
                unlabelled=[self.folder / "unlabelled.tsv"] if self.unlabelled else [],
                classes=self.folder / "classes.txt" if self.classes else None,
            ),
            decode=self.decode,
            workers=2,
        )


@pytest.fixture(autouse=True)
def without_av(monkeypatch):
    for module in (find, reader):
        monkeypatch.setattr(module, "has_av", lambda: False)


@pytest.fixture
def data(tmp_path):
    return DataSet(tmp_path)


def counts(report):
    return sum((Counter({f.kind: f.count}) for f in report.findings), Counter())


def finding(report, kind):
    return next(f for f in report.findings if f.kind == kind)


# Faults, one kind each


@pytest.mark.parametrize("decode", [False, True])
def test_a_clean_data_set_has_no_finding_at_all(data, decode):
    data.decode = decode
    report = data.check()
    assert counts(report) == {}
    assert report.problems == 0
    assert report.verdict() == "nothing wrong; 0 notes"


def unreadable_audio(data):
    for name in ("train/0.wav", "val/20.wav"):
        (data.folder / "audio" / name).write_bytes(b"this is no audio")


def passed_over(data):
    audio = data.folder / "audio" / "train"
    (audio / "0.wav").unlink()
    (audio / "0.m4a").write_bytes(b"\0\0\0\x1cftypM4A \0\0\2\0")
    (audio / "2.mp4").write_bytes(b"\0\0\0\x1cftypisom\0\0\2\0")  # of which 2.wav is the audio
    (audio / "film.webm").write_bytes(b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm")
    data.weak = [row.replace("train/0.wav", "train/0.m4a") for row in data.weak]


def short_clip(data):
    data.add_audio("train/0.wav", noise(0, 0.0635))  # a window is 0.064 s
    data.add_audio("train/2.wav", noise(2, 0.0645))


def leak(data):
    data.add_audio("val/20.wav", noise(0))


def duplicate_audio(data):
    data.add_audio("train/2.wav", noise(0))
    data.add_audio("train/4.wav", noise(0))


def silent(data):
    data.decode = True
    data.add_audio("train/0.wav", np.zeros(4000))
    data.add_audio("train/2.wav", np.full(4000, 0.25))


def long_clip(data):
    data.add_audio("train/0.wav", noise(0, 5.5))
    data.add_audio("train/2.wav", noise(0, 4.5))


def mixed_formats(data):
    data.add_audio("train/0.wav", noise(0), 2 * RATE)
    data.add_audio("train/2.wav", np.stack([noise(1), noise(2)], axis=1))


def unknown_duration(data):
    content = io.BytesIO()
    soundfile.write(content, noise(0, 2), RATE, format="MP3", subtype="MPEG_LAYER_III")
    mp3 = content.getvalue()
    frames = mp3[mp3.index(mp3[:2], 2) :]  # without the first, which states the length
    (data.folder / "audio/train/0.wav").write_bytes(frames)


def unreadable_labels(data):
    data.weak[0] = "filename\tfold"


def empty_file(data):
    data.weak[1:] = []


def bad_row(data):
    data.weak += [
        "train/0.wav\tDog\tand more",
        "\tDog",
        "train/0.wav\tDog,,Dog",
        "\x1b[31m\tDog",
        "\x0c",
    ]
    data.strong += ["val/20.wav\t1\t2\t", "val/20.wav\t0.4\t0.5"]


def bad_time(data):
    times = ["-1\t0.1", "0.2\t0.1", "nan\t0.1", "0\tinf", "0,1\t0.2", "1_0\t20", "\u0661\t2"]
    data.strong += [f"val/20.wav\t{time}\tDog" for time in times]


def unknown_label(data):
    data.weak[1:3] = ["train/0.wav\tDgo,Cow,Air horn, truck horn", "train/1.wav\tDog,Dgo"]
    data.strong.append("val/21.wav\t0.3\t0.4\tdog")


def duplicate_event(data):
    data.strong += [data.strong[1], data.strong[1], data.strong[2].replace("0.100", "0.10")]


def duplicate_row(data):
    data.weak += [data.weak[1]]
    data.unlabelled += ["unlabelled.wav"] * 3
    data.add_audio("unlabelled.wav", noise(99))


def overlap(data):
    data.strong += [
        "val/20.wav\t0.05\t0.40\tAir horn, truck horn",  # around the one that is there
        "val/20.wav\t0.38\t0.45\tAir horn, truck horn",  # overlaps the longer one, not the last
        "val/20.wav\t0.20\t0.40\tDog",  # another class
        "val/21.wav\t0.298\t0.40\tDog",
        "val/23.wav\t0.295\t0.295\tDog",  # lasts no time
    ]


def touching(data):
    data.strong += ["val/21.wav\t0.300\t0.400\tDog", "val/23.wav\t0.301\t0.400\tDog"]
    data.strong += ["val/25.wav\t0.302\t0.400\tDog", "val/22.wav\t0.300\t0.400\tDog"]


def short_events(data):
    data.strong += [f"val/{i}.wav\t0.410\t0.490\tDog" for i in range(21, 41, 2)]  # half of them


def relabelled(data):
    data.weak += ["train/0.wav\tDog", "train/1.wav\tDog,Air horn, truck horn"]


def added_labels(data):
    data.weak += ["train/0.wav\tDog", "train/1.wav\tAir horn, truck horn"]


def zero_length(data):
    data.strong += ["val/21.wav\t0.4\t0.4\tDog", "val/21.wav\t0\t0.000\tDog"]


def without_labels(data):
    data.add_audio("train/40.wav", noise(40))
    data.add_audio("val/41.wav", noise(41))
    data.weak.append("train/40.wav\t")
    data.strong.append("val/41.wav\t\t\t")


def rare_class(data):
    data.classes = (*CLASSES, "Cow")
    data.weak.remove("train/1.wav\tDog")
    data.remove_audio("train/1.wav")
    data.unlabelled.append("train/3.wav\tignored")


def missing(data):
    data.remove_audio("train/0.wav", "train/1.wav", "val/20.wav")
    data.strong.append("val/20.wav\t0.4\t0.5\tDog")  # a clip counts once


def misnamed(data):
    for old, new in [("0.wav", "0.WAV"), ("2.wav", "2.aiff"), ("4.wav", "Y4.wav")]:
        (data.folder / "audio/train" / old).rename(data.folder / "audio/train" / new)
    data.weak[7] = data.weak[7].replace("6.wav", "Y6.wav")


def ambiguous(data):
    data.weak[1] = "0.wav\tAir horn, truck horn"
    data.add_audio("old/0.wav", noise(50))
    data.unlabelled += ["old/0.wav", "train/0.wav"]


def same_clip(data):
    data.weak.append("0.wav\tAir horn, truck horn")


def past_end(data):
    data.strong[1:4] = [
        "val/20.wav\t0.1\t0.501\tAir horn, truck horn",  # tolerated: 1 ms
        "val/21.wav\t0.1\t0.502\tDog",
        "val/22.wav\t30.000\t40.000\tAir horn, truck horn",
    ]


def by_basename(data):
    data.weak[1:] = [row.removeprefix("train/") for row in data.weak[1:]]


def unlabelled(data):
    for i in range(6):
        data.add_audio(f"more/{i}.wav", noise(100 + i))


def shared_clip(data):
    data.weak[1:3] = ["val/20.wav\tAir horn, truck horn", "val/21.wav\tDog"]
    data.remove_audio("train/0.wav", "train/1.wav")


def contradiction(data):
    parallel_labels(data)
    data.weak[-20] = "val/20.wav\tDog"
    data.strong.append("val/21.wav\t0.4\t0.4\tAir horn, truck horn")  # lasts no time


def parallel_labels(data):
    data.weak += [f"val/{i}.wav\t{CLASSES[i % 2]}" for i in range(20, 40)]


def unlocated(data):
    parallel_labels(data)
    data.weak[-20] = "val/20.wav\tDog,Air horn, truck horn"


def label_spelling(data):
    data.classes = ()
    data.weak[1:] = [row.replace("Air horn, truck horn", "Siren") for row in data.weak[1:]]
    data.strong[1:] = [row.replace("Air horn, truck horn", "si_ren") for row in data.strong[1:]]


def joined_labels(data):
    data.classes = ()
    data.weak[1:] = [row.replace("Air horn, truck horn", "Siren") for row in data.weak[1:]]
    data.strong[1:] = [row.replace("Air horn, truck horn", "Siren") for row in data.strong[1:]]
    data.weak[1:3] = ["train/0.wav\tDog;Cow", "train/1.wav\tDog/Siren"]
    data.strong[1] = "val/20.wav\t0.1\t0.3\tDog,Siren"
    data.strong[3] = "val/22.wav\t0.1\t0.3\tAC/DC, loud"  # none of whose parts is a class


def unsure(data):
    data.strong[0] += "\tconfidence"
    data.strong[1:] = [f"{row}\t{(1, 0.9, '')[i % 3]}" for i, row in enumerate(data.strong[1:])]


SEEDED = {
    unreadable_audio: {"unreadable-audio": 2},
    passed_over: {"unreadable-audio": 1, "passed-over": 1},
    short_clip: {"short-clip": 1},
    leak: {"leak": 1},
    duplicate_audio: {"duplicate-audio": 2},
    silent: {"silent": 2},
    long_clip: {"long-clip": 1},
    mixed_formats: {"mixed-formats": 2},
    unknown_duration: {"unknown-duration": 1},
    unreadable_labels: {"unreadable-labels": 1, "unlabelled": 20},
    empty_file: {"empty-file": 1, "unlabelled": 20},
    bad_row: {"bad-row": 5 + 2},
    bad_time: {"bad-time": 7},
    unknown_label: {"unknown-label": 3 + 1},
    duplicate_event: {"duplicate-event": 3},
    duplicate_row: {"duplicate-row": 1 + 2},
    overlap: {"overlap": 3, "zero-length": 1},
    touching: {"touching": 2, "near": 1},
    short_events: {"short-events": 1},
    relabelled: {"relabelled": 2},
    added_labels: {"added-labels": 2},
    zero_length: {"zero-length": 2},
    without_labels: {"without-labels": 1 + 1},
    rare_class: {"rare-class": 2 + 1, "parallel-labels": 1},
    missing: {"missing": 2 + 1},
    misnamed: {"misnamed": 4},
    ambiguous: {"ambiguous": 1},
    same_clip: {"same-clip": 1},
    past_end: {"past-end": 2},
    by_basename: {"by-basename": 20},
    unlabelled: {"unlabelled": 6},
    shared_clip: {"shared-clip": 2},
    contradiction: {"contradiction": 1, "unlocated": 1, "parallel-labels": 20, "zero-length": 1},
    parallel_labels: {"parallel-labels": 20},
    unlocated: {"unlocated": 1, "parallel-labels": 20},
    joined_labels: {"joined-labels": 3, "rare-class": 6 + 5},
    unsure: {"unsure": 7},
    label_spelling: {"label-spelling": 1, "rare-class": 1 + 1},
}


def test_every_rule_is_seeded_below_and_says_what_it_is_for():
    assert {kind for expected in SEEDED.values() for kind in expected} == set(RULES)
    for rule in RULES.values():
        assert rule.what
        assert bool(rule.remedy) == (rule.severity == "problem")


@pytest.mark.parametrize("seed", SEEDED, ids=lambda seed: seed.__name__)
def test_a_seeded_fault_is_counted_exactly_and_nothing_else_is_found(data, seed):
    seed(data)
    report = data.check()
    assert counts(report) == SEEDED[seed]
    for found in report.findings:
        assert found.severity == RULES[found.kind].severity
        assert 1 <= len(found.first) <= 5
    problems = [f.count for f in report.findings if f.severity == "problem"]
    assert report.problems == sum(problems)


# What is said


def test_rows_are_named_by_file_and_line(data):
    data.strong += ["val/21.wav\t0.4\t0.2\tDog"]
    (found,) = data.check().findings
    assert found.where == str(data.folder / "strong.tsv")
    assert found.first == (f"{found.where}:22: offset 0.2 is before onset 0.4",)


def test_the_first_five_are_shown_and_all_are_counted(data):
    data.strong += [f"val/21.wav\t{i}\t-1\tDog" for i in range(7)]
    report = data.check()
    (found,) = report.findings
    assert found.count == 7
    assert len(found.first) == 5
    lines = report.lines()
    assert lines[lines.index("    line 26: time -1 is negative") + 1] == "    ..."


def test_of_touching_events_it_is_said_what_they_cost(data):
    touching(data)
    lines = finding(data.check(), "touching").lines()
    assert lines[0].endswith("of their class ends: frames make one event of both")
    said = "micro event F1 is 0.96 at best where each is one with those before it"
    assert lines[1].strip() == said
    assert "`train --touching-gap 2` learns from strong labels" in lines[-1]
    (tight,) = (found for found in data.check().findings if found.kind == "near")
    assert (
        tight.lines()[-1].strip().startswith("decoding may join them; `extract` and `train` make")
    )


def test_events_are_short_by_the_frames_of_their_features(data, tmp_path):
    short_events(data)
    lines = finding(data.check(), "short-events").lines()
    assert lines[1].strip() == "Dog: median 0.140 s, shortest 0.080 s; two frames are 0.2 s"
    assert lines[2].strip() == (
        "`extract` and `train` make output frames of 100 ms, with `extract --preset short` and "
        "`train --arch small:time-pooling=1` of 10 ms"
    )
    audio, *labels = data.write()
    for preset, kinds in (("dcase2017", {"short-events"}), ("short", set())):
        features = tmp_path / f"{preset}.h5"
        CliRunner().invoke(cli, ["extract", audio, "-o", str(features), "--preset", preset])
        found = json.loads(
            CliRunner().invoke(cli, ["check", str(features), *labels, "--json"]).stdout
        )
        assert {each["kind"] for each in found["findings"]} == kinds


def test_a_misspelt_label_suggests_the_class_and_says_how_often_it_occurs(data):
    data.strong += ["val/21.wav\t0.3\t0.4\tDgo", "val/21.wav\t0.41\t0.45\tDgo"]
    (place,) = finding(data.check(), "unknown-label").first
    assert place.endswith("strong.tsv:22: unknown label 'Dgo'; did you mean 'Dog'? (rows: 2)")


def test_a_weak_field_is_read_beyond_an_unknown_label(data):
    unknown_label(data)
    weak = [f for f in data.check().findings if f.where.endswith("weak.tsv")]
    (found,) = weak
    assert [re.search(r"label '(\w+)'", place)[1] for place in found.first] == ["Dgo", "Cow"]
    assert found.count == 3


def test_a_name_with_a_comma_needs_a_class_list(data):
    data.classes = ()
    report = data.check()
    assert counts(report)["bad-row"] == 10
    assert "give the class list (--classes)" in finding(report, "bad-row").first[0]


def test_times_of_the_recording_a_clip_was_cut_from_are_recognised(data):
    name = "val/-x_30.000_40.000.wav"
    data.add_audio(name, noise(60))
    data.strong += [f"{name}\t30.000\t40.000\tDog"]
    (place,) = finding(data.check(), "past-end").first
    assert place.endswith("the clip's own times in a longer recording")


def test_classes_are_counted_and_measured_in_each_file(data):
    data.strong[1:] = [
        "val/20.wav\t0\t0.1\tDog",
        "val/20.wav\t0.2\t0.4\tDog",
        "val/21.wav\t0\t0.45\tDog",
        "val/22.wav\t0.1\t0.1\tDog",
    ]
    rows = {(Path(row.file).stem, row.label): row for row in data.check().classes}
    dog = rows["strong", "Dog"]
    assert (dog.clips, dog.events) == (3, 4)
    assert (dog.total, dog.mean) == pytest.approx((0.75, 0.25))
    assert (dog.median, dog.min, dog.max) == pytest.approx((0.2, 0.1, 0.45))
    assert rows["strong", "Air horn, truck horn"].clips == 0
    assert rows["strong", "Air horn, truck horn"].max is None
    assert (rows["weak", "Dog"].clips, rows["weak", "Dog"].events) == (10, None)


def test_the_audio_is_summarised(data):
    data.add_audio("train/0.wav", noise(0), 2 * RATE)
    data.add_audio("train/2.wav", noise(0, 0.75))
    audio = data.check().audio
    assert (audio.clips, audio.unreadable, audio.decoded) == (40, 0, False)
    assert (audio.min, audio.median, audio.max) == (0.25, 0.5, 0.75)
    assert audio.total == pytest.approx(20)
    assert audio.formats == {"8000 Hz, 1 channel": 39, "16000 Hz, 1 channel": 1}


def test_damage_behind_a_sound_header_is_found_by_decoding(data, bad_files):
    sound_header = bad_files["nan.wav"].read_bytes()
    (data.folder / "audio/train/0.wav").write_bytes(sound_header)
    assert "unreadable-audio" not in counts(data.check())
    data.decode = True
    (place,) = finding(data.check(), "unreadable-audio").first
    assert re.search(r"train/0\.wav: .*nan", place)


def test_every_bad_file_of_the_corpus_is_unreadable_when_decoded(bad_files, tmp_path):
    (tmp_path / "empty").mkdir()
    report = check(CheckInputs(AudioInputs((bad_files["nan.wav"].parent,))), decode=True, workers=2)
    refused = Counter(f.kind for f in report.findings)
    assert set(refused) <= {"unreadable-audio", "short-clip", "mixed-formats"}
    assert finding(report, "unreadable-audio").count >= len(bad_files) - 2  # rates, short clips


# Names and files against each other


def test_a_recording_under_two_names_in_one_label_file_is_a_note(data):
    data.add_audio("val/22.wav", noise(20))
    (found,) = data.check().findings
    assert (found.kind, found.severity) == ("duplicate-audio", "note")
    assert found.first == ("val/20.wav = val/22.wav",)


def test_a_leak_names_both_clips_and_both_files(data):
    leak(data)
    (place,) = finding(data.check(), "leak").first
    files = [str(data.folder / f"{kind}.tsv") for kind in ("weak", "strong")]
    assert place == f"train/0.wav ({files[0]}) = val/20.wav ({files[1]})"


def test_weak_labels_of_some_clips_of_a_strong_file_are_parallel_labels(data):
    parallel_labels(data)
    data.weak[1:-15] = []  # and nothing else is in the weak file
    assert counts(data.check()) == {"parallel-labels": 15, "unlabelled": 20, "rare-class": 2}


def test_weak_labels_of_other_clips_too_are_shared_clips(data):
    parallel_labels(data)
    data.weak[-5:] = []
    assert counts(data.check()) == {"shared-clip": 15}


def test_unlabelled_clips_may_be_labelled_ones_and_copies_of_them(data):
    data.add_audio("train/40.wav", noise(0))
    data.unlabelled += ["train/40.wav", "train/1.wav"]
    assert counts(data.check()) == {"parallel-labels": 1, "duplicate-audio": 1}


def test_features_stand_for_the_audio_they_were_made_from(tiny):
    report = check(
        CheckInputs(AudioInputs((tiny.features,)), strong=[tiny.strong], weak=[tiny.weak]),
        workers=1,
    )
    assert set(counts(report)) == {"rare-class"}
    assert report.audio.clips == 24
    assert report.audio.total == pytest.approx(24)


def test_clips_are_not_taken_from_features_and_audio_at_once(tiny):
    inputs = CheckInputs(AudioInputs((tiny.features, tiny.audio)))
    with pytest.raises(ConfigError, match="is in a features file and among the audio files"):
        check(inputs, workers=1)


def test_a_folder_without_audio_is_nothing_usable(tmp_path):
    with pytest.raises(NothingUsableError, match="no audio file"):
        check(CheckInputs(AudioInputs((tmp_path,))), workers=1)


@pytest.mark.slow
def test_fifty_thousand_rows_take_seconds(data):
    rng = np.random.default_rng(0)
    names = [f"val/{i}.wav" for i in range(20, 40)] + [f"gone/g{i}.wav" for i in range(5_000)]
    onsets = rng.uniform(0, 0.4, 50_000)
    data.strong += [
        f"{names[i % len(names)]}\t{onset:.3f}\t{onset + 0.01:.3f}\t{CLASSES[i % 2]}"
        for i, onset in enumerate(onsets)
    ]
    started = time.process_time()
    report = data.check()
    assert time.process_time() - started < 10
    assert counts(report)["missing"] == 5_000
    assert report.files[0].rows == 50_020


def run(data, *options):
    return CliRunner().invoke(cli, ["check", *data.write(), *options])


def test_what_is_passed_over_is_named_with_the_way_to_read_it(data):
    passed_over(data)
    report = data.check()
    [place] = finding(report, "passed-over").first
    assert place == (
        "train/film.webm: not audio that libsndfile can decode: it is WebM audio or video; "
        "pip install 'sedtool[av]' to read it, or convert it to FLAC, e.g. with ffmpeg"
    )
    assert finding(report, "unreadable-audio").first[0].startswith("train/0.m4a: not audio")
    assert report.audio.clips == 41


def test_the_command_ends_with_0_where_nothing_is_wrong(data):
    result = run(data)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("audio: 40 clips, 0 unreadable (headers only); 20.0 s")
    assert "Problems" not in result.stdout
    assert result.stderr == "nothing wrong; 0 notes\n"


def test_the_command_ends_with_3_and_one_line_where_something_is_wrong(data):
    missing(data)
    past_end(data)
    result = run(data)
    assert result.exit_code == 3
    assert result.stderr.splitlines() == [
        "Error: 2 kinds of problems in 5 places: missing, past-end"
    ]
    assert f"  2 missing ({data.folder}/weak.tsv): labelled clips without audio" in result.stdout


def test_notes_do_not_fail_the_command(data):
    unlabelled(data)
    result = run(data)
    assert result.exit_code == 0
    assert "  6 unlabelled (audio): audio files that no label file names" in result.stdout


def test_the_report_as_json_has_the_same_counts(data):
    missing(data)
    result = run(data, "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert set(report) == {"problems", "findings", "classes", "files", "audio"}
    assert report["problems"] == 3
    assert [(f["kind"], f["count"]) for f in report["findings"]] == [("missing", 1), ("missing", 2)]
    assert set(report["findings"][0]) == {"kind", "severity", "count", "where", "first"}
    assert report["audio"]["clips"] == 37
    assert report["classes"][0]["label"] == "Air horn, truck horn"


def test_names_reach_the_terminal_without_escape_sequences(data):
    evil = ["[red]x[/].wav", "\x9b31mx.wav", "\u202ex.wav", "a\u2028b.wav"]
    data.weak += [f"{name}\tDog" for name in evil] + ["\x1b[31mx.wav\tDog"]
    data.add_audio("\x1b[2J.wav", noise(70))
    for options in ([], ["--json"], ["--decode"]):
        result = run(data, *options)
        assert result.exit_code == 3
        text = (result.stdout + result.stderr).replace("\n", "")
        assert text.isprintable()
        assert "[red]x[/].wav" in text
        assert "has a control character in it; rename the file" in text


def test_names_that_differ_in_unicode_normalisation_only_are_one_clip(data):
    data.add_audio("cafe\u0301.wav", noise(71))
    data.weak.append("caf\u00e9.wav\tDog")
    assert counts(data.check()) == {"by-basename": 1}


def test_no_audio_ends_with_4(data):
    arguments = data.write()
    for path in (data.folder / "audio").rglob("*.wav"):
        path.unlink()
    assert CliRunner().invoke(cli, ["check", *arguments]).exit_code == 4
