"""Whole files of other clips, such as days, become what one run over all would have written."""

import os
import shutil
from pathlib import Path

import pytest

from sedtool.checkpoint import load_model, save_model
from sedtool.store import open_features, open_scores
from support.command_lines import refused, run, save_small_model

pytestmark = pytest.mark.slow

DAYS = ("monday", "tuesday", "wednesday")
KINDS = {"features": "f.h5", "scores": "s.h5", "events": "e.tsv", "tags": "w.tsv"}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def week(tiny, tmp_path_factory):
    """A folder with audio of three days, a model, and what each day, and all days, became."""
    folder = tmp_path_factory.mktemp("week")
    for i, clip in enumerate(sorted((tiny.audio / "train").iterdir())[:9]):
        day = folder / "audio" / DAYS[i % 3]
        day.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, day)
    model = save_small_model(folder / "m.safetensors")
    for name in (*DAYS, "."):
        made, audio = folder / "made" / name, folder / "audio" / name
        made.mkdir(parents=True, exist_ok=True)
        run("extract", audio, "--root", folder / "audio", "-o", made / "f.h5", "-q")
        outputs = ("-o", made / "e.tsv", "--scores", made / "s.h5", "--weak", made / "w.tsv")
        run("infer", model, made / "f.h5", *outputs, "--threshold", "0.3", "-q")
    return folder


def days_of(week: Path, kind: str) -> list[Path]:
    return [week / "made" / day / KINDS[kind] for day in DAYS]


def union(*arguments) -> str:
    return run("merge", *arguments, "--union").stderr


@every_kind
def test_days_become_what_one_run_over_all_would_have_written(week, tmp_path, kind):
    first, *others = days_of(week, kind)
    output, whole = tmp_path / KINDS[kind], week / "made" / KINDS[kind]
    assert len(whole.read_bytes()) > 200
    assert "3 parts, " in union(*reversed(others), first, "-o", output)
    assert output.read_bytes() == whole.read_bytes()
    two = tmp_path / f"two{output.suffix}"
    union(*others, "-o", two)
    union(two, first, "-o", output, "--overwrite")
    assert output.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {two.name, output.name}


@every_kind
def test_the_same_days_again_are_nothing_to_do_and_one_more_is_named(week, tmp_path, kind):
    *two, third = days_of(week, kind)
    output = tmp_path / KINDS[kind]
    union(*two, "-o", output, "-q")
    before = output.stat().st_mtime_ns
    assert union(*two, "-o", output) == f"nothing to do: {output} is finished and the same\n"
    said = refused("merge", *two, third, "-o", output, "--union")
    assert f"{output} exists; give --overwrite" in said
    assert "(other clips: wednesday/" in said
    assert output.stat().st_mtime_ns == before


@every_kind
def test_a_folder_gives_its_whole_files(week, tmp_path, kind):
    for number, day in enumerate(days_of(week, kind)):
        shutil.copy(day, tmp_path / f"{number}{day.suffix}")
    (tmp_path / "0.tsv.failures.tsv").write_text("filename\tstage\terror\n")
    output = tmp_path / KINDS[kind]
    union(tmp_path, "-o", output)
    assert output.read_bytes() == (week / "made" / KINDS[kind]).read_bytes()


def test_what_is_joined_is_read_by_the_next_stages(week, tmp_path):
    features, scores = tmp_path / "f.h5", tmp_path / "s.h5"
    union(*days_of(week, "features"), "-o", features)
    union(*days_of(week, "scores"), "-o", scores)
    run("info", features, "--verify")
    model, events = week / "m.safetensors", tmp_path / "e.tsv"
    run("infer", model, features, "-o", events, "--threshold", "0.3", "-q")
    assert events.read_bytes() == (week / "made" / "e.tsv").read_bytes()
    run("evaluate", events, scores, "-q")
    assert open_features(features).names == open_scores(scores).names


@every_kind
def test_clips_in_two_files_are_refused_with_the_first_five(week, tmp_path, kind):
    monday, tuesday, _ = days_of(week, kind)
    again = tmp_path / f"again{monday.suffix}"
    union(monday, tuesday, "-o", again)
    output = tmp_path / KINDS[kind]
    said = refused("merge", again, tuesday, "-o", output, "--union", exit_code=5)
    assert f"{again} and {tuesday} both hold the clips tuesday/" in said
    said = refused(
        "merge", again, week / "made" / KINDS[kind], "-o", output, "--union", exit_code=5
    )
    assert said.count("day/") == 5 and said.endswith(" and 1 more\n")
    assert not output.exists()


def test_clips_that_failed_count_as_clips(week, tmp_path):
    for number in "12":
        (tmp_path / number).mkdir()
        shutil.copy(
            next((week / "audio" / "monday").iterdir()), tmp_path / number / f"{number}.wav"
        )
        (tmp_path / number / "bad.wav").write_bytes(b"")
        line = ("extract", tmp_path / number, "-o", tmp_path / f"{number}.h5", "-q")
        run(*line, exit_code=3)
    line = ("merge", tmp_path / "1.h5", tmp_path / "2.h5", "-o", tmp_path / "f.h5", "--union")
    assert "2.h5 both hold the clip bad.wav" in refused(*line, exit_code=5)
    (tmp_path / "2" / "bad.wav").rename(tmp_path / "2" / "worse.wav")
    run("extract", tmp_path / "2", "-o", tmp_path / "2.h5", "-q", "--overwrite", exit_code=3)
    assert "2 files had failed" in run(*line).stderr
    (tmp_path / "all").mkdir()
    for number in "12":
        for path in (tmp_path / number).iterdir():
            shutil.copy(path, tmp_path / "all")
    run("extract", tmp_path / "all", "-o", tmp_path / "whole.h5", "-q", exit_code=3)
    for suffix in ("", ".failures.tsv"):
        whole = (tmp_path / f"whole.h5{suffix}").read_bytes()
        assert (tmp_path / f"f.h5{suffix}").read_bytes() == whole


def test_failures_beside_event_lists_are_joined(week, tmp_path):
    monday, tuesday, _ = days_of(week, "events")
    shutil.copy(monday, tmp_path / "1.tsv")
    head = "filename\tstage\terror\n"
    (tmp_path / "1.tsv.failures.tsv").write_text(f"{head}monday/x.wav\tinfer\tthe file is empty\n")
    union(tmp_path / "1.tsv", tuesday, "-o", tmp_path / "e.tsv")
    failures = (tmp_path / "e.tsv.failures.tsv").read_text()
    assert failures == f"{head}monday/x.wav\tinfer\tthe file is empty\n"


def test_files_of_other_settings_are_refused_with_what_differs(week, tmp_path):
    monday, tuesday, _ = days_of(week, "features")
    audio, other = week / "audio", tmp_path / "other.h5"
    line = ("extract", audio / "tuesday", "--root", audio, "-o", other, "--fmin", "50", "-q")
    run(*line)
    said = refused("merge", monday, other, "-o", tmp_path / "f.h5", "--union", exit_code=5)
    assert f"{other}: its fmin is 50.0, and 0.0 in the other" in said
    model = load_model(week / "m.safetensors")
    model.detector.pooling.n.data += 1
    save_model(tmp_path / "m.safetensors", model)
    scores = tmp_path / "s.h5"
    run(
        "infer", tmp_path / "m.safetensors", tuesday, "--scores", scores, "--threshold", "0.3", "-q"
    )
    first, *_ = days_of(week, "scores")
    said = refused("merge", first, scores, "-o", tmp_path / "all.h5", "--union", exit_code=5)
    assert "its model differs from that of the other" in said


def test_parts_and_files_that_are_no_lists_are_refused(week, tmp_path):
    monday, *_ = days_of(week, "features")
    part = tmp_path / "part.h5"
    audio = ("extract", week / "audio" / "tuesday", "--root", week / "audio")
    run(*audio, "--shard", "1/2", "-o", part, "-q")
    line = ("merge", monday, part, "-o", tmp_path / "f.h5", "--union")
    assert f"{part}: it is shard 1/2; merge its parts first" in refused(*line, exit_code=5)
    events, *_ = days_of(week, "events")
    line = ("merge", events, tmp_path / "notes.tsv", "-o", tmp_path / "e.tsv", "--union")
    os.mkfifo(tmp_path / "notes.tsv")
    assert "notes.tsv: not a regular file" in refused(*line, exit_code=5)
    (tmp_path / "notes.tsv").unlink()
    for text in (b"a note\n", b"", b"\xff\0"):
        (tmp_path / "notes.tsv").write_bytes(text)
        assert "notes.tsv: not an event list or clip tags, as" in refused(*line, exit_code=5)
    shutil.copy(events, tmp_path / "notes.tsv")
    for text in (b"filename\nx\n", b"\xff\xff\n"):
        (tmp_path / "notes.tsv.failures.tsv").write_bytes(text)
        assert "notes.tsv.failures.tsv: cannot be read (" in refused(*line, exit_code=5)
    both = (days_of(week, "events")[0], days_of(week, "tags")[1], "-o", tmp_path / "e.tsv")
    assert "hold events (" in refused("merge", *both, "--union", exit_code=5)


def test_a_list_of_which_only_a_part_is_there_is_refused(week, tmp_path):
    monday, tuesday, _ = days_of(week, "events")
    shutil.copy(monday, tmp_path / "1.tsv")
    (tmp_path / ".1.tsv.unfinished").write_text("{}")
    line = ("merge", tmp_path / "1.tsv", tuesday, "-o", tmp_path / "e.tsv", "--union")
    assert "1.tsv: not complete" in refused(*line, exit_code=5)
