"""`convert`: event lists go from one format to another and back unchanged, or are refused."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sedtool.cli import cli
from sedtool.convert import ConvertSettings, convert, read_labels
from sedtool.errors import (
    ConfigError,
    LabelError,
    NothingUsableError,
    OutputExistsError,
    ResourceError,
)
from sedtool.labels import EVENT_FORMATS, read_events, read_weak

HEADER = "filename\tonset\toffset\tevent_label\n"
TABLE = (
    f"{HEADER}"
    "a/1.wav\t0.500\t1.250\tDog\na/1.wav\t2.000\t2.000\tAir horn, truck horn\n"
    "a/silent.wav\t\t\t\nb.wav\t0.000\t10.000\tCat\n"
)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "in" / "events.tsv"
    path.parent.mkdir()
    path.write_text(TABLE)
    return path


def convert_to(output, *inputs, **settings):
    """Convert into a file or folder; without one, return the text."""
    texts = []
    convert(
        inputs, None if output is None else f"{output}", ConvertSettings(**settings), texts.append
    )
    return "".join(texts)


def test_a_folder_holds_a_label_track_for_each_recording(table, tmp_path):
    out = tmp_path / "out"
    convert_to(f"{out}/", table, target="audacity")
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    assert set(files) == {"a/1.wav.txt", "a/silent.wav.txt", "b.wav.txt"}
    assert files["a/1.wav.txt"].read_text() == (
        "0.500000\t1.250000\tDog\n2.000000\t2.000000\tAir horn, truck horn\n"
    )
    assert files["a/silent.wav.txt"].read_text() == ""


@pytest.mark.parametrize("form", EVENT_FORMATS)
def test_a_folder_of_any_format_converts_back(table, tmp_path, form):
    convert_to(f"{tmp_path}/out/", table, target=form)
    assert convert_to(None, tmp_path / "out") == TABLE


@pytest.mark.parametrize("form", ["dcase", "jsonl"])
def test_a_file_of_many_recordings_converts_back(table, tmp_path, form):
    output = tmp_path / f"x{EVENT_FORMATS[form].suffix}"
    convert_to(output, table)
    assert convert_to(None, output) == TABLE


def test_a_raven_table_says_that_it_leaves_out_what_has_no_events(table, tmp_path, caplog):
    convert_to(tmp_path / "x.selections.txt", table)
    assert "1 clips without events are left out" in caplog.text
    rows = (tmp_path / "x.selections.txt").read_text().splitlines()[1:]
    assert [row.split("\t")[0] for row in rows] == ["1", "2", "3"]
    silent = "a/silent.wav\t\t\t\n"
    assert convert_to(None, tmp_path / "x.selections.txt") == TABLE.replace(silent, "")


# Names a file system takes, and labels; a folder of labels is not read where it is hidden.
WORDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1)
AWKWARD = st.sampled_from(
    ["--to", "[/]", "a,b, c", '"x', "007", "NA", "é\u0301", "🐕 🐈", "a\\b", "{", "x.txt", "n.wav"]
)
LABELS = (WORDS | AWKWARD).filter(lambda text: text != "filename")
PARTS = LABELS.filter(lambda text: not text.startswith(".") and "/" not in text).map(
    lambda t: t[:40]
)
NAMES = st.one_of(PARTS, st.tuples(st.just("folder"), PARTS).map("/".join))
MILLISECONDS = st.integers(0, 10_000_000).map(lambda n: n / 1000)
SCORES = st.integers(0, 10_000).map(lambda n: n / 10_000)
ROWS = st.tuples(NAMES, MILLISECONDS, st.integers(0, 5000), LABELS, SCORES)


@pytest.mark.parametrize("form", EVENT_FORMATS)
@settings(max_examples=40)
@given(st.lists(ROWS, min_size=1, max_size=6), st.lists(NAMES, max_size=2), st.booleans())
def test_dcase_to_any_format_and_back_is_the_identity(tmp_path_factory, form, rows, silent, scored):
    folder = tmp_path_factory.mktemp("convert")
    lines = [
        "\t".join([name, f"{onset:.3f}", f"{onset + length / 1000:.3f}", label])
        + (f"\t{score:.4f}" if scored else "")
        for name, onset, length, label, score in rows
    ]
    lines += [f"{name}\t\t\t" for name in silent]
    source = folder / "source.tsv"
    header = HEADER.replace("\n", "\tconfidence\n") if scored else HEADER
    source.write_text(header + "".join(f"{line}\n" for line in lines), "utf-8", newline="\n")
    expected = convert_to(None, source)
    assert read_events(source).names  # the source can be read at all
    convert_to(f"{folder}/out/", source, target=form)
    assert convert_to(None, folder / "out", source=form) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.txt": "0\t1\tDog\n"}, {"a.wav"}),
        ({"x/a.flac.txt": "0\t1\tDog\n", "x/y/b.txt": ""}, {"a.flac", "y/b.wav"}),
    ],
)
def test_recordings_are_named_by_paths_and_the_audio_suffix(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    paths = [tmp_path / name for name in files]
    assert set(read_labels(paths, audio_suffix=".wav")[0].names) == expected


def test_hidden_files_and_other_files_in_a_folder_are_passed_over(table, tmp_path):
    (tmp_path / "in" / ".hidden.txt").write_text("x")
    (tmp_path / "in" / "a.wav").write_bytes(b"RIFF")
    assert convert_to(None, table.parent) == TABLE


def test_inputs_of_several_formats_are_joined(table, tmp_path):
    track = tmp_path / "in" / "c.wav.txt"
    track.write_text("0\t1\tDog\n")
    assert convert_to(None, table, track) == f"{TABLE}c.wav\t0.000\t1.000\tDog\n"


def test_a_recording_in_two_inputs_is_refused(table, tmp_path):
    (tmp_path / "in" / "b.wav.txt").write_text("")
    with pytest.raises(LabelError, match=r"'b\.wav' stands in .*b\.wav\.txt and in .*events\.tsv"):
        convert_to(None, table.parent)


def test_the_classes_of_each_clip_are_a_target(table, tmp_path):
    convert_to(tmp_path / "weak.tsv", table, target="weak")
    weak = read_weak(tmp_path / "weak.tsv")
    assert weak == {"a/1.wav": ("Dog",), "a/silent.wav": (), "b.wav": ("Cat",)}


def test_weak_labels_leave_out_points_and_say_so(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("1\t1\tDog\n1\t2\tCat\n")
    assert convert_to(None, tmp_path / "a.txt", target="weak").endswith("a\tCat\n")
    assert "1 events without length are left out of weak labels" in caplog.text


def test_confidences_go_along(tmp_path):
    (tmp_path / "a.txt").write_text("0\t1\tDog\t0.25\n2\t3\tCat\n")
    assert convert_to(None, tmp_path / "a.txt") == (
        "filename\tonset\toffset\tevent_label\tconfidence\n"
        "a\t0.000\t1.000\tDog\t0.2500\na\t2.000\t3.000\tCat\t\n"
    )


def test_events_of_less_confidence_are_left_out_or_it_says_that_they_are_not(tmp_path, caplog):
    path = tmp_path / "e.tsv"
    path.write_text(
        f"{HEADER[:-1]}\tconfidence\n"
        "a.wav\t0\t1\tDog\t0.9\na.wav\t0\t1\tCat\t0.4\nb.wav\t0\t1\tCat\t0.1\nc.wav\t0\t1\tCat\t\n"
    )
    assert convert_to(None, path, target="weak").endswith(
        "a.wav\tCat,Dog\nb.wav\tCat\nc.wav\tCat\n"
    )
    assert (
        "3 of 4 events have a confidence below 1 (least 0.1); all are taken as whole events"
        in caplog.text
    )
    caplog.clear()
    least = convert_to(None, path, target="weak", min_confidence=0.4)
    assert least.endswith("a.wav\tCat,Dog\nb.wav\t\nc.wav\tCat\n")
    assert "1 of 4 events have a confidence below 0.4; they are left out" in caplog.text
    caplog.clear()
    path.write_text(f"{HEADER[:-1]}\tconfidence\na.wav\t0\t1\tDog\t1.0\n")
    convert_to(None, path)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("output", "settings", "message"),
    [
        ("x.txt", {}, r"say with --to dcase\|audacity\|raven\|jsonl\|jams\|weak"),
        ("folder/", {}, "say with --to"),
        ("folder/", {"target": "weak"}, "weak labels are one file"),
        ("x", {"target": "audacity"}, "one clip a file and here are 3: give a folder"),
        (None, {"target": "audacity"}, "one clip a file and here are 3: give a folder"),
        (None, {"target": "jsnol"}, "unknown format 'jsnol'.*did you mean 'jsonl'"),
        (None, {"source": "scores"}, "unknown format 'scores'"),
        (None, {"min_confidence": 1.5}, r"min_confidence must be in \[0, 1\], not 1.5"),
        (None, {"audio_suffix": "wav"}, "'wav' is not like .wav"),
    ],
)
def test_what_does_not_fit_the_output_is_refused(table, tmp_path, output, settings, message):
    with pytest.raises(ConfigError, match=message):
        convert_to(output and f"{tmp_path}/{output}", table, **settings)


def test_nothing_is_written_if_one_name_leaves_the_folder(tmp_path):
    (tmp_path / "x.tsv").write_text(f"{HEADER}a.wav\t0\t1\tDog\n../b.wav\t0\t1\tDog\n")
    with pytest.raises(LabelError, match="leads out of the folder"):
        convert_to(f"{tmp_path}/out/", tmp_path / "x.tsv", target="audacity")
    assert not (tmp_path / "out").exists()


def test_existing_outputs_are_kept_unless_overwritten(table, tmp_path):
    convert_to(f"{tmp_path}/out/", table, target="audacity")
    (tmp_path / "out" / "b.wav.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="give --overwrite"):
        convert_to(f"{tmp_path}/out/", table, target="audacity")
    assert (tmp_path / "out" / "b.wav.txt").read_text() == "mine"
    convert_to(tmp_path / "out", table, target="audacity", overwrite=True)
    assert convert_to(None, tmp_path / "out") == TABLE
    with pytest.raises(OutputExistsError):
        convert_to(table, table)


def test_what_a_killed_run_left_in_a_folder_is_removed(table, tmp_path):
    leftover = tmp_path / "out" / "a" / ".1.wav.txt.abcd1234.tmp"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("half")
    convert_to(f"{tmp_path}/out/", table, target="audacity")
    assert not leftover.exists()
    assert not (tmp_path / "out" / ".convert.lock").exists()


def test_a_file_in_the_way_of_a_folder_is_one_line(tmp_path):
    (tmp_path / "x.tsv").write_text(f"{HEADER}a\t0\t1\tDog\na.txt/b\t0\t1\tDog\n")
    with pytest.raises(ResourceError, match="cannot write"):
        convert_to(f"{tmp_path}/out/", tmp_path / "x.tsv", target="audacity")


def test_a_folder_without_label_files_is_nothing_usable(tmp_path):
    with pytest.raises(
        NothingUsableError, match=r"no label file \(\.csv \.jams \.jsonl \.tsv \.txt\) in"
    ):
        convert_to(None, tmp_path)


def test_a_pipe_needs_its_format_said(tmp_path):
    with pytest.raises(LabelError, match="no regular file: say with --from"):
        read_labels([Path("/dev/null")])
    assert read_labels([Path("/dev/null")], "dcase")[0].events == []


@pytest.mark.parametrize("form", ["raven", "jsonl"])
@pytest.mark.parametrize(
    "path",
    [
        "dcase2019/metadata/train/synthetic.tsv",
        "dcase2017/groundtruth_strong_label_testing_set.csv",
        "dcase2017/groundtruth_strong_label_evaluation_set.csv",
    ],
)
def test_published_labels_keep_every_digit_both_ways(tmp_path, path, form, published_lists):
    output = tmp_path / f"x{EVENT_FORMATS[form].suffix}"
    convert_to(output, published_lists.folder / path)
    events, back = (
        read_events(published_lists.folder / path).events,
        read_labels([output])[0].events,
    )
    key = lambda e: (e.name, e.onset, e.offset, e.label)  # noqa: E731
    assert sorted(back, key=key) == sorted(events, key=key)


def test_published_labels_become_label_tracks_and_come_back(tmp_path, published_lists):
    source = published_lists.folder / "dcase2017/groundtruth_strong_label_testing_set.csv"
    convert_to(f"{tmp_path}/out/", source, target="audacity")
    assert convert_to(None, tmp_path / "out") == convert_to(None, source)


def test_the_command_writes_data_to_stdout_and_a_summary_to_stderr(table):
    result = CliRunner().invoke(cli, ["convert", str(table), "--to", "jsonl"])
    assert result.exit_code == 0
    assert result.stdout.startswith('{"filename": "a/1.wav", "onset": 0.5, "offset": 1.25, ')
    assert len(result.stdout.splitlines()) == 4
    assert "3 events in 3 clips -> stdout" in result.stderr


def test_the_command_takes_a_slash_as_a_folder(table, tmp_path):
    arguments = ["convert", str(table), "-o", f"{tmp_path}/out/", "--to", "raven", "-q"]
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, result.output) == (0, "")
    assert (tmp_path / "out" / "a" / "1.wav.selections.txt").is_file()


def test_the_command_refuses_a_wrong_row_with_exit_code_2(tmp_path):
    (tmp_path / "x.tsv").write_text(f"{HEADER}a.wav\t2\t1\tDog\n")
    result = CliRunner().invoke(cli, ["convert", str(tmp_path / "x.tsv")])
    assert result.exit_code == 2
    assert "x.tsv:2: offset 1 is before onset 2" in result.stderr
