"""Label files: a row is read as it stands, or refused with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedtool.errors import LabelError
from sedtool.labels import (
    Event,
    StrongLabels,
    Vocabulary,
    format_events,
    format_weak,
    read_durations,
    read_events,
    read_names,
    read_thresholds,
    read_vocabulary,
    read_weak,
    write_events,
)
from sedtool.labels.vocabulary import split_labels

HORNS = Vocabulary(["Train", "Train horn", "Air horn, truck horn", "Car"])


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "labels.tsv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


EXPECTED = [Event("a.wav", 0.5, 1.25, "Dog"), Event("b.wav", 0.0, 2.0, "Cat")]


@pytest.mark.parametrize(
    "text",
    [
        "filename\tonset\toffset\tevent_label\na.wav\t0.5\t1.25\tDog\nb.wav\t0\t2\tCat\n",
        "a.wav\t0.5\t1.25\tDog\nb.wav\t0\t2\tCat",  # no header, no last line end
        "event_label\toffset\tfilename\tonset\nDog\t1.25\ta.wav\t0.5\nCat\t2\tb.wav\t0\n",
        "filename\tonset\toffset\tevent_label\r\na.wav\t0.5\t1.25\tDog\r\nb.wav\t0\t2\tCat\r\n",
        b"\xef\xbb\xbffilename\tonset\toffset\tevent_label\na.wav\t0.5\t1.25\tDog\nb.wav\t0\t2\tCat\n",
        "filename\tonset\toffset\tevent_label\n\na.wav \t0.5\t1.25\t Dog\nb.wav\t0\t2\tCat\n\n",
    ],
    ids=["plain", "headerless", "columns", "crlf", "bom", "spaces"],
)
def test_the_same_events_are_read_from_every_form(file, text):
    labels = read_events(file(text))
    assert labels.events == EXPECTED
    assert labels.names == ("a.wav", "b.wav")


def test_text_stays_text(file):
    labels = read_events(file('007\t0\t1\tNA\n01\t0\t1\tnull\n1\t0\t1\t"quote\nNone\t0\t1\tTrue\n'))
    assert labels.names == ("007", "01", "1", "None")
    assert [event.label for event in labels.events] == ["NA", "null", '"quote', "True"]


def test_a_clip_without_events_is_kept(file):
    labels = read_events(file("filename\tonset\toffset\tevent_label\nsilent.wav\t\t\t\n"))
    assert labels.events == []
    assert labels.weak() == {"silent.wav": ()}


def test_zero_length_events_are_read_but_say_nothing_was_heard(file):
    labels = read_events(file("a.wav\t0\t0\tDog\na.wav\t1\t2\tCat\n"))
    assert len(labels.events) == 2
    assert labels.weak() == {"a.wav": ("Cat",)}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav\t-1\t2\tDog", "labels.tsv:1: time -1 is negative"),
        ("a.wav\t2\t1\tDog", "offset 1 is before onset 2"),
        ("a.wav\tx\t1\tDog", "'x' is not a number"),
        ("a.wav\tnan\t1\tDog", "'nan' is not a number"),
        ("a.wav\t0\tinf\tDog", "'inf' is not a number"),
        ("a.wav\t1_0\t20\tDog", "'1_0' is not a number"),
        ("a.wav\t0\t1\t", "must be all given or all empty"),
        ("a.wav\t\t\tDog", "must be all given or all empty"),
        ("\t0\t1\tDog", "the filename is empty"),
        ("a.wav\t0\t1", "3 columns and no header line"),
        ("a.wav\t0\t1\tDog\t0.5\tx", "6 columns and no header line"),
        ("filename\tonset\toffset", "no column 'event_label'"),
        ("filename\tonset\tonset\toffset\tevent_label", "stands twice"),
        ("a.wav\t0\t1\tD\x1bog", "control character"),
        *((f"a.wav\t0\t1\tD{c}og", ":1: a control") for c in "\x7f\x85\x9b\u2028\u2029"),
        (b"a.wav\t0\t1\tD\xff", "not UTF-8"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(file, row, message):
    with pytest.raises(LabelError, match=message):
        read_events(file(row))


def test_an_error_names_the_line_it_is_in(file):
    with pytest.raises(LabelError, match=r"labels\.tsv:3: offset"):
        read_events(file("filename\tonset\toffset\tevent_label\na\t0\t1\tDog\nb\t2\t1\tDog\n"))


def test_labels_with_commas_are_matched_longest_first():
    assert split_labels("Train,Air horn, truck horn,Train horn", HORNS) == (
        "Train",
        "Air horn, truck horn",
        "Train horn",
    )
    assert split_labels("Car, Train , Car", HORNS) == ("Car", "Train")
    assert split_labels("", HORNS) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Trian horn", "unknown label 'Trian horn'; did you mean 'Train horn'"),
        ("Car,", "a label is missing"),
        ("Air horn", "unknown label 'Air horn'"),
        ("Zebra", "the 4 classes are 'Train', 'Train horn', 'Air horn, truck horn', 'Car'"),
    ],
)
def test_an_unknown_label_gets_a_suggestion(text, message):
    with pytest.raises(LabelError, match=message):
        HORNS.require(split_labels(text, HORNS), "weak.tsv")


def test_a_field_of_very_many_labels_is_split_in_seconds():
    labels = split_labels("Train horn,Air horn, truck horn," * 100_000 + "Car", HORNS)
    assert labels == ("Train horn", "Air horn, truck horn", "Car")


@given(st.lists(st.sampled_from(HORNS.classes), unique=True))
def test_splitting_undoes_joining(labels):
    assert split_labels(",".join(labels), HORNS) == tuple(labels)


def test_rows_of_one_clip_add_up(file):
    path = file("a.wav\tCar\na.wav\tAir horn, truck horn\nb.wav\t\n")
    assert read_weak(path, HORNS) == {"a.wav": ("Car", "Air horn, truck horn"), "b.wav": ()}


def test_without_a_class_list_an_ambiguous_comma_is_refused(file):
    assert read_weak(file("a.wav\tDog,Cat\n")) == {"a.wav": ("Dog", "Cat")}
    with pytest.raises(LabelError, match=r":1: 'Air horn, truck horn' may be one label or several"):
        read_weak(file("a.wav\tAir horn, truck horn\n"))


def test_a_class_list_keeps_its_order_and_refuses_duplicates(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("Dog\nAir horn, truck horn\nCat\n")
    assert read_vocabulary(path).classes == ("Dog", "Air horn, truck horn", "Cat")
    path.write_text("Dog\nDog\n")
    with pytest.raises(LabelError, match="'Dog' 2 times"):
        read_vocabulary(path)
    path.write_text("".join(f"{n}\n" for n in range(100_001)))
    with pytest.raises(LabelError, match=r"classes\.txt: 100001 classes; 100000 are the most"):
        read_vocabulary(path)


def test_identical_durations_may_repeat_and_others_may_not(file):
    assert read_durations(file("filename\tduration\na\t10.0\na\t10\nb\t9.5\n")) == {
        "a": 10,
        "b": 9.5,
    }
    with pytest.raises(LabelError, match=":3: 'a' lasts 9 s here and 10 s"):
        read_durations(file("filename\tduration\na\t10\na\t9\n"))


def test_thresholds_are_read_by_class(file):
    assert read_thresholds(file("event_label\tthreshold\nDog\t0.4\n")) == {"Dog": 0.4}
    with pytest.raises(LabelError, match="has a threshold already"):
        read_thresholds(file("Dog\t0.4\nDog\t0.5\n"))


def test_events_are_written_sorted_with_three_decimals_and_no_zero_length():
    events = [
        Event("b", 1.0004, 1.00049, "x"),
        Event("a", 2.0, 3.0, "x"),
        Event("a", 0.1, 1.0, "y"),
    ]
    assert format_events(events) == (
        "filename\tonset\toffset\tevent_label\n"
        "a\t0.100\t1.000\ty\na\t2.000\t3.000\tx\nb\t0.999\t1.000\tx\n"
    )


NAMES = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1)
NAMES = NAMES.map(str.strip).filter(lambda text: text not in ("", "filename"))
MILLISECONDS = st.integers(0, 100_000).map(lambda n: n / 1000)


@given(st.lists(st.tuples(NAMES, MILLISECONDS, st.integers(1, 5000), NAMES)), st.lists(NAMES))
def test_what_is_written_is_read_back(tmp_path_factory, rows, silent):
    path = tmp_path_factory.mktemp("labels") / "strong.tsv"
    events = [
        Event(name, on, round(on + length / 1000, 3), label) for name, on, length, label in rows
    ]
    heard = {event.name for event in events}
    names = tuple(dict.fromkeys([*heard, *silent]))
    write_events(path, StrongLabels(events, names))
    back = read_events(path)
    key = lambda e: (e.name, e.onset, e.offset, e.label)  # noqa: E731
    assert sorted(back.events, key=key) == sorted(events, key=key)
    assert set(back.names) == set(names)


def test_weak_labels_are_written_as_dcase_does():
    assert format_weak({"a": ("Dog", "Cat"), "b": ()}) == (
        "filename\tevent_labels\na\tDog,Cat\nb\t\n"
    )


@pytest.mark.parametrize(
    ("path", "whole", "excerpt"),
    [
        ("dcase2019/metadata/validation/validation.tsv", (4236, 1168), (70, 21)),
        ("dcase2019/metadata/train/synthetic.tsv", (6032, 2045), (98, 27)),
        ("dcase2017/groundtruth_strong_label_testing_set.csv", (688, 488), (54, 33)),
        ("dcase2017/groundtruth_strong_label_evaluation_set.csv", (1706, 1103), (70, 34)),
    ],
)
def test_published_strong_labels_are_read_whole(path, whole, excerpt, published_lists):
    labels = read_events(published_lists.folder / path)
    counts = len(labels.events), len(labels.names)
    assert counts == published_lists.expect(whole, excerpt)


def test_published_weak_and_unlabelled_lists_are_read_whole(published_lists):
    folder = published_lists.folder / "dcase2019/metadata/train"
    weak = read_weak(folder / "weak.tsv")
    assert weak["YKK227gPpRn4_30.000_40.000.wav"] == ("Alarm_bell_ringing", "Speech")
    assert len(weak) == published_lists.expect(1578, 35)
    n_unlabelled = len(read_names(folder / "unlabel_in_domain.tsv"))
    assert n_unlabelled == published_lists.expect(14412, 40)
