"""Folders of score files and of event lists: their clips and labels are matched, or named."""

import json

import numpy as np
import pytest

from sedtool.labels import Event, StrongLabels, write_events
from sedtool.score_tables import FrameScores, write_score_tables
from support.command_lines import refused, run

HEADER = "filename\tonset\toffset\tevent_label\n"
PSDS = ("--psds", "dtc=0.5,gtc=0.5,max_efpr=10000", "--format", "json", "-q")
SECONDS = 2.0


def scores(name, peak):
    """Two seconds in which the dog is sure and the cat is guessed."""
    frames = np.tile([0.1, 0.2], (4, 1))
    frames[1:3, 0] = peak
    return FrameScores(name, np.arange(5) / 2, frames)


@pytest.fixture
def files(tmp_path):
    """A reference of two clips, and scores of a third, which it lacks."""
    events = [Event("a.wav", 0.5, 1.5, "Dog"), Event("b.wav", 0.5, 1.5, "Cat")]
    write_events(tmp_path / "reference.tsv", StrongLabels(events, ("a.wav", "b.wav")))
    clips = [scores("a", 0.9), scores("b", 0.3), scores("z", 0.8)]
    write_score_tables(tmp_path / "scores", ("Dog", "Cat"), clips)
    rows = [f"x/{name}.wav\t{SECONDS}\n" for name in "abz"]
    (tmp_path / "durations.tsv").write_text("".join(["filename\tduration\n", *rows]))
    groups = [f"{name}.wav\t{name}\n" for name in "abz"]
    (tmp_path / "groups.tsv").write_text("".join(["filename\tgroup\n", *groups]))
    return tmp_path


@pytest.fixture
def lists(files):
    """Events of the same clips at two thresholds."""
    (files / "lists").mkdir()
    for i, names in enumerate(("az", "abz")):
        rows = [f"{name}.wav\t0.5\t1.5\tDog\n" for name in names]
        (files / "lists" / f"{i}.tsv").write_text("".join([HEADER, *rows]))
    return files


def psds(*line):
    return json.loads(run("evaluate", *line, *PSDS).stdout)["psds"]["psds"]


def test_a_clip_that_the_reference_lacks_counts_once_with_and_without_durations(files):
    line = (files / "reference.tsv", files / "scores")
    alone, known = psds(*line), psds(*line, "--durations", files / "durations.tsv")
    assert (known["n_clips"], known["seconds"]) == (3, 3 * SECONDS)
    assert known == alone


def test_groups_may_name_a_clip_with_its_suffix(files):
    line = (files / "reference.tsv", files / "scores", "--groups", files / "groups.tsv")
    found = json.loads(run("evaluate", *line, "--bootstrap", 20, *PSDS).stdout)
    assert found["bootstrap"]["n_units"] == 3


def test_a_system_does_not_differ_from_itself_under_other_clip_names(files):
    clips = [scores("a.wav", 0.9), scores("b.wav", 0.3), scores("y.z.wav", 0.8)]
    write_score_tables(files / "first", ("Dog", "Cat"), clips)
    line = (files / "reference.tsv", files / "first", "--against", files / "first")
    found = json.loads(run("evaluate", *line, "--bootstrap", 30, *PSDS).stdout)
    assert found["bootstrap"]["n_units"] == 3
    assert set(found["against"]["differences"]["psds"].values()) == {0, 1}  # 1: p
    for folder in "xy":
        rows = [f"a.wav\t0.5\t1.5\tDog\n{folder}/q.wav\t0\t1\tDog\n"]
        (files / f"{folder}.tsv").write_text("".join([HEADER, *rows]))
    line = (files / "reference.tsv", files / "x.tsv", "--against", files / "y.tsv")
    found = json.loads(run("evaluate", *line, "--bootstrap", 30, "--format", "json", "-q").stdout)
    assert found["bootstrap"]["n_units"] == 3
    assert {d["p"] for d in found["against"]["differences"].values()} == {1}
    assert {d["low"] for d in found["against"]["differences"].values()} == {0}


def test_two_systems_have_the_metrics_that_both_can_have(files, lists):
    line = (files / "reference.tsv", files / "scores", "--against", files / "lists")
    durations = ("--durations", files / "durations.tsv", "--bootstrap", 5)
    found = json.loads(run("evaluate", *line, *durations, "--format", "json", "-q").stdout)
    assert found["against"]["scores"].keys() == {"psds1", "psds2"}
    event_list = files / "lists" / "0.tsv"
    for line in ((files / "scores", "--against", event_list), (event_list, files / "scores")):
        first, *others = line
        others = others if "--against" in others else ["--against", *others]
        said = refused("evaluate", files / "reference.tsv", first, *others, "--bootstrap", 5)
        assert f"psds1 needs scores, not one event list such as {event_list}" in said


def test_clips_of_a_folder_of_scores_on_one_side_only_are_named(files):
    line = ("evaluate", files / "reference.tsv", files / "scores", "--metrics", "psds1")
    assert "clips of the estimated scores that are not in the reference (1): z" in run(*line).stderr
    (files / "scores" / "b.tsv").unlink()
    line = (*line, "--durations", files / "durations.tsv")
    lacking = "clips of the reference scores that are not in the estimates (1): b.wav"
    assert lacking in run(*line).stderr
    assert "do not fit (--strict)" in run(*line, "--strict", exit_code=5).stderr


def test_a_class_that_the_scores_misspell_is_suggested(files):
    write_score_tables(files / "small", ("dog", "Cat"), [scores("a", 0.9), scores("b", 0.3)])
    said = run("evaluate", files / "reference.tsv", files / "small", *PSDS[:2]).stderr
    assert "classes without scores (1), whose PSDS is 0: Dog (did you mean 'dog'?)" in said


def test_clips_labels_and_times_of_a_folder_of_lists_are_named(files, lists):
    path = lists / "lists" / "1.tsv"
    path.write_text(f"{path.read_text()}q.wav\t0\t1\tDog\na.wav\t0\t3.5\tdog\n")
    with (files / "durations.tsv").open("a") as stream:
        stream.write(f"q.wav\t{SECONDS}\n")
    line = ("evaluate", files / "reference.tsv", lists / "lists", "--metrics", "psds1")
    said = run(*line, "--durations", files / "durations.tsv").stderr
    assert "clips of the estimated lists that are not in the reference (2): q.wav, x/z.wav" in said
    assert "labels not in the class list, not scored (1): dog (did you mean 'Dog'?)" in said
    assert "estimated events end after the clip (1), by up to 1.500 s, such as a.wav" in said


def test_the_number_of_lists_is_told(files, lists):
    line = (files / "reference.tsv", lists / "lists", "--durations", files / "durations.tsv")
    assert psds(*line)["n_lists"] == 2
    assert "6 s, 2 lists" in run("evaluate", *line, "--metrics", "psds1", "-q").stdout


def test_a_reference_without_events_needs_a_class_list(files):
    (files / "silent.tsv").write_text(f"{HEADER}a.wav\t\t\t\n")
    said = refused("evaluate", files / "silent.tsv", files / "scores", *PSDS)
    assert "PSDS needs a class: the reference has no events, so give a class list" in said


def test_score_files_with_commas_are_told_to_have_tabs(files):
    for path in (files / "scores").iterdir():
        path.write_text(path.read_text().replace("\t", ","))
    said = refused("evaluate", files / "reference.tsv", files / "scores", *PSDS)
    assert "a.tsv:1: a score file begins with the columns onset, offset and a class or more" in said


def test_clips_alone_are_not_warned_of_by_their_events(files):
    (files / "weak.tsv").write_text("filename\tevent_labels\na.wav\tDog,Cow\nb.wav\tCat\n")
    (files / "events.tsv").write_text(f"{HEADER}a.wav\t0\t1\tCow\n")
    (files / "tags.tsv").write_text("filename\tevent_labels\na.wav\tCow\nb.wav\tCat\n")
    weak = ("--weak-reference", files / "weak.tsv", "--weak-estimated", files / "tags.tsv")
    line = ("evaluate", files / "reference.tsv", files / "events.tsv", *weak)
    assert "warning" not in run(*line, "--metrics", "clip").stderr
    said = run(*line, "--metrics", "clip,event").stderr
    assert "clips of the reference events that are not in the estimates (1): b.wav" in said
    assert "estimated labels not in the reference, counted in micro only (1): Cow" in said
