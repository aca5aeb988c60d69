"""Event formats: what Audacity, Raven and BirdNET-Analyzer write is read, strictly, and back."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedtool.convert import format_labels
from sedtool.errors import ConfigError, LabelError
from sedtool.labels import EVENT_FORMATS, Event, StrongLabels, detect_format, event_format

RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
BIRDNET = f"{RAVEN}\tCommon Name\tSpecies Code\tConfidence\tBegin Path\tFile Offset (s)\n"
DOG = '{"filename": "a.wav", "onset": 0.5, "offset": 1.25, "event_label": "Dog"}\n'


@pytest.fixture
def read(tmp_path):
    def read(form, text, name="a.wav"):
        path = tmp_path / "labels.txt"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return event_format(form).read(path, name)

    return read


@pytest.mark.parametrize(
    "text",
    [
        "0.500000\t1.250000\tDog\n",
        "0.5\t1.25\tDog",
        "\ufeff0.500000\t1.250000\tDog\r\n",
        "0.500000\t1.250000\tDog\n\\\t800.000000\t-1.000000\n",
    ],
    ids=["plain", "short", "windows", "spectral"],
)
def test_audacity_label_tracks_are_read(read, text):
    assert read("audacity", text) == StrongLabels([Event("a.wav", 0.5, 1.25, "Dog")], ("a.wav",))


def test_what_birdnet_writes_for_audacity_has_a_confidence(read):
    text = "3.0\t6.0\tPoecile atricapillus, Black-capped Chickadee\t0.8141\n"
    event = Event("a.wav", 3.0, 6.0, "Poecile atricapillus, Black-capped Chickadee", 0.8141)
    assert read("audacity", text).events == [event]


def test_a_point_label_has_no_length_and_an_empty_track_no_events(read):
    assert read("audacity", "2\t2\tclick\n").events == [Event("a.wav", 2.0, 2.0, "click")]
    assert read("audacity", "") == StrongLabels([], ("a.wav",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\t1", "labels.txt:1: 2 columns"),
        ("0\t1\tDog\t0.5\tx", "5 columns"),
        ("0\t1\t", "the label is empty"),
        ("-1\t1\tDog", "negative"),
        ("2\t1\tDog", "offset 1 is before onset 2"),
        ("0\tnan\tDog", "'nan' is not a number"),
        ("0\t١\tDog", "is not a number"),
        ("0\t1\tDog\thigh", "'high' is not a number"),
        ("\\\t1\t2", "a frequency range is two numbers in the line after its label"),
        ("0\t1\tDog\n\\\t1", ":2: a frequency range is two numbers"),
        ("0\t1\tDog\n\\\t1\tx", ":2: 'x' is not a number"),
        ("0\t1\tD\x1bog", "control character"),
    ],
)
def test_a_wrong_line_of_a_label_track_is_refused_with_its_number(read, text, message):
    with pytest.raises(LabelError, match=message):
        read("audacity", text)


def test_both_views_of_a_raven_selection_are_one_event(read):
    text = (
        f"{RAVEN}\tAnnotation\n"
        "1\tWaveform 1\t1\t0.5\t1.25\t0\t0\tDog\n"
        "1\tSpectrogram 1\t1\t0.5\t1.25\t100\t900\tDog\n"
        "2\tSpectrogram 1\t1\t3\t4\t100\t900\tCat\n"
        "2\tSpectrogram 1\t2\t3\t4\t100\t900\tCat\n"
    )
    events = [Event("a.wav", 0.5, 1.25, "Dog"), Event("a.wav", 3.0, 4.0, "Cat")]
    assert read("raven", text).events == events


def test_what_birdnet_writes_for_raven_is_read(read):
    text = (
        f"{BIRDNET}"
        "1\tSpectrogram 1\t1\t3.0\t6.0\t0\t15000\tHouse Finch\thoufin\t0.6394\t/x/a.wav\t3.0\n"
    )
    event = Event("/x/a.wav", 3.0, 6.0, "House Finch", 0.6394)
    assert read("raven", text) == StrongLabels([event], ("/x/a.wav",))


def test_times_of_a_combined_table_count_from_the_start_of_each_recording(read):
    text = (
        f"{BIRDNET}"
        "1\tSpectrogram 1\t1\t3.0\t6.0\t0\t15000\tA\ta\t0.5\tC:\\x\\a.wav\t3.0\n"
        "2\tSpectrogram 1\t1\t121.5\t124.5\t0\t15000\tB\tb\t0.5\tC:\\x\\b.wav\t1.5\n"
    )
    events = [Event("C:/x/a.wav", 3.0, 6.0, "A", 0.5), Event("C:/x/b.wav", 1.5, 4.5, "B", 0.5)]
    assert read("raven", text).events == events


def test_a_birdnet_table_without_calls_names_a_recording_without_events(read):
    text = f"{BIRDNET}1\tSpectrogram 1\t1\t0\t3\t0\t15000\tnocall\tnocall\t1.0\tx/a.wav\t0\n"
    assert read("raven", text) == StrongLabels([], ("x/a.wav",))
    assert read("raven", BIRDNET) == StrongLabels([], ("a.wav",))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1\tS\t1\t2\t1\t0\t1\tDog", "labels.txt:2: offset 1 is before onset 2"),
        ("1\tS\t1\tx\t1\t0\t1\tDog", "'x' is not a number"),
        ("1\tS\t1\t0\t1\t0\t1\t", "the Annotation is empty"),
        ("1\tS\t1\t0\t1\t0\t1\tDog\tx\ty", "10 columns where 9"),
        ("1\tS\t1\t0\t1\t0\t1\tDog\n1\tS\t1\t0\t1\t0\t1\tDog", ":3: selection 1 stands twice"),
        ("1\tS\t1\t0\t1\t0\t1\tDog\n1\tW\t1\t0\t2\t0\t1\tDog", ":3: selection 1 differs"),
        (
            "1\tS\t1\t0\t1\t0\t1\tDog\ta.wav\n2\tS\t1\t9\t10\t0\t1\tDog\tb.wav",
            r":3: another recording, and no 'File Offset \(s\)'",
        ),
    ],
)
def test_a_wrong_row_of_a_selection_table_is_refused_with_its_line(read, rows, message):
    with pytest.raises(LabelError, match=message):
        read("raven", f"{RAVEN}\tAnnotation\tBegin File\n{rows}\n")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", r"no column 'Begin Time \(s\)'; the columns are none"),
        ("Begin Time (s)\tAnnotation", r"no column 'End Time \(s\)'"),
        (RAVEN, "no column of labels in .* name it one of Annotation"),
        (f"{RAVEN}\tAnnotation\tView", "stands twice"),
    ],
)
def test_a_selection_table_needs_its_columns(read, header, message):
    with pytest.raises(LabelError, match=message):
        read("raven", header)


def test_json_lines_keep_strings_and_pass_over_other_keys(read):
    text = (
        '{"label_id": {"x": [1]}, "event_label": "NA", "offset": 2, "onset": 1e-3, '
        '"filename": "007", "confidence": null}\n\n'
        '{"filename": "s\\t\\u00e9", "onset": null, "offset": null, "event_label": null}\n'
    )
    assert read("jsonl", text) == StrongLabels([Event("007", 0.001, 2.0, "NA")], ("007", "s\té"))


def changed(**values):
    return json.dumps(json.loads(DOG) | values)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x", "labels.txt:2: not JSON"),
        ("[1]", "not a JSON object"),
        ('{"filename": "a"}', "no key 'onset'; the keys are"),
        (DOG.replace("{", '{"onset": 0.5, '), "a key stands twice"),
        (DOG.replace("}", ', "x": {"y": 1, "y": 1}}'), "a key stands twice"),
        (changed(onset="0.5"), "onset '0.5' is not a number"),
        (changed(onset=True), "onset True is not a number"),
        (changed(offset=0.25), "offset 0.25 is before onset 0.5"),
        (changed(onset=-1), "negative"),
        (changed(onset=None), "must be all given or all null"),
        (changed(offset=float("nan")), "NaN is not a JSON number"),
        (changed(offset=float("inf")), "Infinity is not a JSON number"),
        (DOG.replace("1.25", "1e999"), "'inf' is not a number"),
        (DOG.replace("1.25", "9" * 400), "is not a number"),
        (DOG.replace("1.25", "9" * 5000), "not JSON"),
        (changed(filename=7), "filename 7 is not text"),
        (changed(filename=""), "filename '' is not text, or empty"),
        (changed(event_label=["Dog"]), "is not text"),
        (changed(confidence="high"), "confidence 'high' is not a number"),
        ("[" * 100_000, "nested too deeply"),
        (DOG.replace("1.25", "[" * 100_000), "nested too deeply"),
    ],
)
def test_a_wrong_json_line_is_refused_with_its_number(read, line, message):
    with pytest.raises(LabelError, match=message):
        read("jsonl", DOG + line)


# What a name or a label may be in a table: no control characters, no space at an end.
WORDS = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1)
AWKWARD = st.sampled_from(
    ["--help", "[/]", "a,b, c", '"quoted', "007", "NA", "null", "é\u0301", "🐕", "\\", "a\\b", "{"]
)
TEXTS = (WORDS.map(str.strip).filter(bool) | AWKWARD).filter(lambda t: t != "filename")
TIMES = st.floats(0, 1e6)
ANY_TEXT = st.text(min_size=1)


@st.composite
def event_lists(draw, texts, times):
    rows = draw(st.lists(st.tuples(texts, times, times, texts, st.none() | st.floats(0, 1))))
    return [Event(name, *sorted((a, b)), label, score) for name, a, b, label, score in rows]


def written(form, events, tmp_path_factory):
    path = tmp_path_factory.mktemp("formats") / f"x{form.suffix}"
    path.write_text(form.header(True) + form.rows(events, 1, True), "utf-8", newline="\n")
    return path


@given(event_lists(TEXTS, TIMES))
def test_raven_keeps_every_digit_of_a_time(tmp_path_factory, events):
    form = EVENT_FORMATS["raven"]
    back = form.read(written(form, events, tmp_path_factory), "x").events
    for event, other in zip(sorted(events, key=lambda e: key(e)[:4]), back, strict=True):
        assert key(event)[:4] == key(other)[:4]
        if event.confidence is not None:
            assert other.confidence == pytest.approx(event.confidence, abs=5e-5)


@given(event_lists(ANY_TEXT, TIMES))
def test_json_lines_keep_everything_and_print_no_control_character(tmp_path_factory, events):
    form = EVENT_FORMATS["jsonl"]
    path = written(form, events, tmp_path_factory)
    assert sorted(form.read(path, "").events, key=key) == sorted(events, key=key)
    assert all(line.isprintable() for line in path.read_text("utf-8").split("\n"))


MILLISECONDS = st.integers(0, 10_000_000).map(lambda n: n / 1000)
TEN_THOUSANDTHS = st.none() | st.integers(0, 10_000).map(lambda n: n / 10_000)
LISTS = st.lists(st.tuples(TEXTS, MILLISECONDS, MILLISECONDS, TEXTS, TEN_THOUSANDTHS), min_size=1)


@pytest.mark.parametrize("form", EVENT_FORMATS.values(), ids=EVENT_FORMATS)
@given(rows=LISTS)
def test_what_a_format_can_carry_reads_back_as_it_was(tmp_path_factory, form, rows):
    if form.one_clip:
        rows = [("a.wav", *row[1:]) for row in rows]
    events = [Event(name, *sorted((a, b)), label, score) for name, a, b, label, score in rows]
    if form.name == "audacity":  # has no place for the rest of an event without a confidence
        events = [replace(event, confidence=event.confidence or None) for event in events]
    labels = StrongLabels(events, tuple({event.name: None for event in events}))
    path = tmp_path_factory.mktemp("formats") / f"x{form.suffix}"
    path.write_text(format_labels(labels, form.name), "utf-8", newline="\n")
    back = form.read(path, "a.wav")
    assert sorted(back.events, key=key) == sorted(events, key=key)
    assert set(back.names) == set(labels.names)


def key(event):
    return event.name, event.onset, event.offset, event.label, event.confidence or 0


@pytest.mark.parametrize("form", ["dcase", "audacity", "raven"])
@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\x9bb", "a\u2028b", "a\ud800", " a", "a ", ""])
def test_a_table_refuses_a_label_that_it_would_change(form, text):
    with pytest.raises(LabelError, match=r"begins or ends|table cannot carry"):
        event_format(form).rows([Event("a.wav", 0.0, 1.0, text)], 1, False)


@pytest.mark.parametrize("form", ["dcase", "raven"])
def test_a_table_refuses_a_name_that_it_would_change(form):
    with pytest.raises(LabelError, match="table cannot carry"):
        event_format(form).rows([Event("a\tb.wav", 0.0, 1.0, "Dog")], 1, False)


def test_raven_refuses_a_name_that_it_would_read_as_a_windows_path():
    with pytest.raises(LabelError, match="taken for a Windows path"):
        event_format("raven").rows([Event("C:\\a.wav", 0.0, 1.0, "Dog")], 1, False)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("dcase", "a.wav\t0.000\t0.001\tx\na.wav\t1.999\t2.000\tx\n"),
        ("audacity", "0.000100\t0.000200\tx\n1.999999\t2.000000\tx\n"),
    ],
)
def test_rounding_takes_the_length_from_no_event(form, expected):
    events = [Event("a.wav", 0.0001, 0.0002, "x"), Event("a.wav", 1.9999997, 2.0, "x")]
    assert event_format(form).rows(events, 1, False) == expected


def test_rows_of_one_clip_after_another_are_one_raven_table():
    form = EVENT_FORMATS["raven"]
    first = form.rows([Event("a.wav", 2.0, 3.0, "x"), Event("a.wav", 0.1, 1.0, "y")], 1, False)
    second = form.rows([Event("b.wav", 1e-7, 1.0, "x")], 3, False)
    assert form.header(False) + first + second == (
        f"{RAVEN}\tBegin Path\tFile Offset (s)\tAnnotation\n"
        "1\tSpectrogram 1\t1\t0.1\t1.0\t0\t8000\ta.wav\t0.1\ty\n"
        "2\tSpectrogram 1\t1\t2.0\t3.0\t0\t8000\ta.wav\t2.0\tx\n"
        "3\tSpectrogram 1\t1\t0.0000001\t1.0\t0\t8000\tb.wav\t0.0000001\tx\n"
    )


def test_an_unknown_format_gets_a_suggestion():
    with pytest.raises(ConfigError, match=r"unknown format 'audacty'; one of: .* mean 'audacity'"):
        event_format("audacty")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.tsv", "filename\tonset\toffset\tevent_label\n", "dcase"),
        ("x.csv", "\ufeffa.wav\t0\t1\tDog\r\n", "dcase"),
        ("x.txt", "007\t0\t1\tDog\n", "dcase"),
        ("x.txt", "\n0\t1\tDog\n", "audacity"),
        ("x.wav.txt", "0\t1\t7\n", "audacity"),
        ("x.txt", "0\t1\tDog\t0.5\n", "audacity"),
        ("x.txt", f"{RAVEN}\n", "raven"),
        ("x.selections.txt", BIRDNET, "raven"),
        ("x", DOG, "jsonl"),
        ("x.txt", "", "audacity"),
        ("x.tsv", "", "dcase"),
        ("x.jsonl", "\n", "jsonl"),
    ],
)
def test_the_format_of_a_file_is_told(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text, "utf-8", newline="")
    assert detect_format(tmp_path / name).name == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.txt", "1\t2\t3\t4\n", "say with --from audacity or --from dcase which$"),
        (
            "x.txt",
            "hello world\n",
            r":1: .*; or say what file this is with --from dcase\|",
        ),
        ("x", "", "x: it is empty$"),
        ("x.txt", "PK\3\4", "x.txt: it is a ZIP archive; unpack it$"),
        ("x.jsonl", "0\t1\tDog\n", "cannot tell"),
        ("x.selections.txt", "0\t1\tDog\n", "cannot tell"),
    ],
)
def test_a_file_that_could_be_anything_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(LabelError, match=message):
        detect_format(tmp_path / name)


@pytest.mark.parametrize("form", EVENT_FORMATS.values(), ids=EVENT_FORMATS)
@pytest.mark.parametrize("name", ["a/b.wav", "a b", "--x.flac", "a.txt", "x.selections"])
def test_the_file_of_a_recording_tells_its_name(form, name):
    assert form.clip_of(form.file_of(name).as_posix()) == name


def test_a_table_that_raven_named_tells_the_recording():
    assert EVENT_FORMATS["raven"].clip_of("x/a.Table.12.selections.txt") == "x/a"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../x.wav", "leads out of the folder"),
        ("/x.wav", "leads out of the folder"),
        ("a/../../x.wav", "leads out of the folder"),
        ("a//x.wav", "no plain path"),
        ("a/./x.wav", "no plain path"),
        ("a/.x.wav", "hidden"),
        ("x" * 300, "too long"),
        ("a\tb.wav", "cannot carry"),
    ],
)
def test_a_name_that_leaves_the_folder_is_refused(name, message):
    with pytest.raises(LabelError, match=message):
        EVENT_FORMATS["audacity"].file_of(name)
