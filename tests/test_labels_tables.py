"""Tables are read by one reader: by columns as row by row, and by `check` as by each stage."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedtool.checking.files import LabelFile
from sedtool.checking.rules import Data, in_labels
from sedtool.errors import LabelError
from sedtool.labels import (
    Event,
    NameIndex,
    StrongLabels,
    Vocabulary,
    read_events,
    read_names,
    read_weak,
    tables,
)
from sedtool.labels.tables import read_rows

HEADER = "filename\tonset\toffset\tevent_label"
ROWS = "a.wav\t0.5\t1.25\tDog\nb.wav\t\t\t\na.wav\t2\t3.0\tair horn"
HERE = Path("list.tsv")


def plain(text: str) -> StrongLabels | None:
    return tables._plain_events(text)


def row_by_row(text: str) -> StrongLabels | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_plain_events", lambda text: None)
        patch.setattr(tables, "read_text", lambda path: text)
        try:
            return tables.read_events(HERE)
        except LabelError as error:
            return str(error)


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n{ROWS}\n",
        ROWS,
        f"{HEADER}\n{ROWS}".replace("\n", "\r\n"),
        "event_label\tonset\tother\toffset\tfilename\nDog\t1\t-\t2\tä.wav\n",
        f"{HEADER}\tconfidence\na\t0\t1\tDog\t0.5\nb\t\t\t\t\na\t1\t2\tDog\t\n",
        "a\t-0\t1e-1\tDog",
        HEADER,
    ],
)
def test_plain_lists_are_read_by_columns(text):
    found = plain(text)
    assert found is not None
    assert found == row_by_row(text)
    assert repr(found.columns) == repr(StrongLabels(found.events, ()).columns)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{HEADER}\na\t0\t1\n",
        f"{HEADER}\na\t0\t1\tDog\t5\n",
        f"{HEADER}\na\t0\t1\t Dog\n",
        f"{HEADER}\na\t0\t1\tDog \n",
        f"{HEADER}\na\t0\t1\tDog\u3000\n",
        f"{HEADER}\na\t0\tnan\tDog\n",
        f"{HEADER}\na\t0\t1_0\tDog\n",
        f"{HEADER}\na\t0\t٣\tDog\n",
        f"{HEADER}\na\t-1\t1\tDog\n",
        f"{HEADER}\na\t2\t1\tDog\n",
        f"{HEADER}\na\t\t\tDog\n",
        f"{HEADER}\n\t0\t1\tDog\n",
        f"{HEADER}\na\t0\t2e9\tDog\n",
        '"filename"\t\t\t\n',
        f"{HEADER}\na\t0\t1\tDo\x07g\n",
        f"{HEADER}\na\t0\t1\tDog\n\nb\t0\t1\tDog",
        "filename\tonset\toffset\nb\t0\t1",
        f"{HEADER}\tconfidence\na\t0\t1\tDog\thigh\n",
    ],
)
def test_anything_else_is_left_to_the_other_reader(text):
    assert plain(text) is None


PLAIN_CELLS = st.sampled_from(
    [
        *("a.wav", "b", "0.5", "1", "2.25", "-0", "1e1", "-1", "", " ", "Dog", "air horn", "nan"),
        *(
            "filename",
            "onset",
            "\n",
            "\r\n",
            "\r",
            "\t",
            "\x85",
            "é",
            "inf",
            "1_0",
            " x",
            "١",
            "Dog\u3000",
        ),
    ]
)
TEXTS = st.lists(
    st.lists(PLAIN_CELLS, min_size=3, max_size=5).map("\t".join)
    | st.sampled_from(["a.wav\t0.5\t1.5\tDog", "a.wav\t\t\t", "b\t1\t2.0\tCat\t0.5", HEADER]),
    max_size=6,
).map("\n".join)


@settings(max_examples=1000, deadline=None)
@given(TEXTS)
def test_both_readers_agree_on_any_text(text):
    found = plain(text)
    assert found is None or found == row_by_row(text)


def test_labels_from_objects_and_from_columns_are_equal():
    events = [Event("a", 0.0, 1.0, "Dog", 0.5), Event("b", 1.0, 2.0, "Cat")]
    labels = StrongLabels(events, ("a", "b", "c"))
    columns = StrongLabels.from_columns(labels.columns, labels.names)
    assert columns == labels
    assert columns.events == events
    assert labels != StrongLabels(events, ("a", "b"))
    renamed = columns.renamed({"a": "x/a", "c": "x/c"})
    assert renamed == StrongLabels([Event("x/a", 0.0, 1.0, "Dog", 0.5)], ("x/a", "x/c"))


# `check` finds a fault exactly where a stage raises one


@pytest.mark.parametrize(
    ("kind", "other", "row"),
    [
        ("weak", "strong labels", "a.wav\t0\t1\tDog"),
        ("strong", "weak labels", "a.wav\tDog"),
        ("strong", "weak labels", "filename\tevent_labels"),
        ("strong", "unlabelled clips", "filename"),
    ],
)
def test_a_label_file_of_another_kind_is_recognised(tmp_path, kind, other, row):
    (tmp_path / "labels.tsv").write_text(f"{row}\n")
    (fault,) = read_rows(tmp_path / "labels.tsv", kind)
    assert str(fault).endswith(f"it looks like a table of {other}")


@pytest.mark.parametrize("kind", ["strong", "weak"])
def test_a_raven_table_is_recognised_however_many_columns_it_has(tmp_path, kind):
    path = tmp_path / "labels.txt"
    path.write_text("Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation\n1\t0\t1\tDog\n")
    (fault,) = read_rows(path, kind)
    assert "it looks like a Raven selection table; sedtool convert" in str(fault)


def faults(path, kind, vocabulary=None):
    """Return what makes a file unreadable; strong labels of no class are refused later."""
    file = LabelFile(path, kind, vocabulary, NameIndex(()))
    found = {f.kind for f in in_labels(file, Data({}, [file], (), vocabulary, ()))}
    wanted = {"unreadable-labels", "bad-row", "bad-time"}
    return found & (wanted | {"unknown-label"} if kind == "weak" else wanted)


def test_labels_without_a_class_make_no_model(tmp_path):
    path = tmp_path / "weak.tsv"
    path.write_text("filename\tevent_labels\na.wav\t\n")
    file = LabelFile(path, "weak", None, NameIndex(["a.wav"]))
    found = [f.kind for f in in_labels(file, Data({}, [file], (), None, ()))]
    assert "empty-file" in found
    with pytest.raises(LabelError, match="the class list is empty"):
        Vocabulary(label for labels in read_weak(path).values() for label in labels)


def test_a_header_that_train_refuses_is_no_row(tmp_path):
    path = tmp_path / "weak.tsv"
    path.write_text("sound\tevent_labels\na.wav\tDog\n")
    assert faults(path, "weak") == {"unreadable-labels"}
    with pytest.raises(LabelError, match="no column 'filename'"):
        read_weak(path)


CELLS = st.one_of(
    st.sampled_from(["", " ", "a.wav", "b", "Dog", "Dog,Cow", "Dog, Cow", "0", "1.5", "-1", "nan"]),
    st.sampled_from(["filename", "onset", "offset", "event_label", "event_labels", "\x0b", "\r"]),
    st.text("aDog ,.1\t\x00", max_size=4),
)
TABLES = st.lists(st.lists(CELLS, max_size=6).map("\t".join), max_size=5).map("\n".join)
HEADERS = st.sampled_from(
    [
        *("", "filename\tonset\toffset\tevent_label\n", "filename\tevent_labels\n"),
        *("file\tevent_labels\n", "'filename'\t'event_labels'\n", "filename,event_labels\n"),
        *("name\tonset\toffset\tevent_label\n", '"filename"\tonset\toffset\tevent_label\n'),
        *("filename\tevent_labels\tevent_labels\n", "\ufefffilename\tevent_labels\r\n", "\xff"),
    ]
)


@given(HEADERS, TABLES, st.sampled_from([None, Vocabulary(["Dog", "Cow", "Dog, Cow", "a"])]))
def test_a_file_is_without_faults_exactly_if_it_can_be_read(tmp_path_factory, head, text, classes):
    path = tmp_path_factory.getbasetemp() / "table.tsv"
    path.write_bytes((head + text).encode())
    readers = {
        "strong": lambda: read_events(path),
        "weak": lambda: read_weak(path, classes),
        "unlabelled": lambda: read_names(path),
    }
    for kind, read in readers.items():
        if not faults(path, kind, classes):
            read()
        else:
            with pytest.raises(LabelError):
                read()


def test_the_validation_list_of_dcase_2019_has_three_known_faults(published_lists):
    path = published_lists.validation
    file = LabelFile(path, "strong", None, NameIndex(read_events(path).names))
    found = in_labels(file, Data({}, [file], read_events(path).classes, None, ()))
    assert Counter(f.kind for f in found) == published_lists.expect(
        {"overlap": 12, "without-labels": 15, "near": 1},
        {"overlap": 8, "without-labels": 2, "rare-class": 10},
    )


@pytest.mark.parametrize("labels", ['["Dog","Cat"]', "['Dog']", '[{"labels":["Dog"]}]', "{'Dog'}"])
def test_a_list_in_code_is_no_label(tmp_path, labels):
    path = tmp_path / "weak.tsv"
    path.write_text(f"filename\tevent_labels\na.wav\t{labels}\n")
    with pytest.raises(
        LabelError, match=r"weak.tsv:2: .* is a list in code; join labels by commas"
    ):
        read_weak(path)
