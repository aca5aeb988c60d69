"""Reading by columns gives what reading row by row gives, the same error or the same events."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedtool.errors import LabelError
from sedtool.labels import Event, StrongLabels, tables

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


CELLS = st.sampled_from(
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
    st.lists(CELLS, min_size=3, max_size=5).map("\t".join)
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
