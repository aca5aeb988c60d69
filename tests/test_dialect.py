"""Tables as other programs write them are read, or refused in one line that says what to do."""

import codecs
import logging
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedtool.checkpoint import load_model
from sedtool.errors import LabelError
from sedtool.labels import (
    Event,
    StrongLabels,
    read_durations,
    read_events,
    read_names,
    read_thresholds,
    read_vocabulary,
    read_weak,
    write_events,
    write_weak,
)
from sedtool.labels.dialect import SYNONYMS
from sedtool.labels.tables import _plain_events
from support.command_lines import refused, run

EVENTS = [Event("a.wav", 0.5, 1.25, "Dog"), Event("b.wav", 0.0, 2.0, "Cat")]
WEAK = {"a.wav": ("Dog", "Cat"), "b.wav": ("Dog",)}


@pytest.fixture
def file(tmp_path):
    def write(text, name="labels.tsv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "filename,onset,offset,event_label\na.wav,0.5,1.25,Dog\nb.wav,0,2,Cat\n",
            "as comma-separated",
        ),
        ("a.wav,0.5,1.25,Dog\r\nb.wav,0,2,Cat\r\n", "as comma-separated"),
        (
            '"filename","onset","offset","event_label"\n"a.wav",0.5,1.25,"Dog"\nb.wav,0,2,Cat',
            "as comma-separated",
        ),
        (
            "filename;onset;offset;event_label\na.wav;0,5;1,25;Dog\nb.wav;0;2;Cat\n",
            "as semicolon-separated, with decimal commas",
        ),
        ("a.wav\t0,5\t1,250\tDog\nb.wav\t0\t2\tCat\n", "with decimal commas"),
        ('a.wav,"0,5","1,25",Dog\nb.wav,0,2,Cat\n', "as comma-separated, with decimal commas"),
        (
            ",Begin (s),stop,class,audio_filename\n0,0.5,1.25,Dog,a.wav\n1,0,2,Cat,b.wav\n",
            "as comma-separated, with columns audio_filename → filename, Begin (s) → onset, "
            "stop → offset, class → event_label",
        ),
        (
            "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
            "a.wav\t0.5\t1.25\tDog\nb.wav\t0\t2\tCat\n",
            "with columns segment_id → filename, start_time_seconds → onset, "
            "end_time_seconds → offset, label → event_label",
        ),
        (
            "Filename\tOnset\tOffset\tEvent_label\na.wav\t0.5\t1.25\tDog\nb.wav\t0\t2\tCat\n",
            "with columns Filename → filename, Onset → onset, Offset → offset, "
            "Event_label → event_label",
        ),
        (
            "a.wav\tstreet\t0.5\t1.25\tDog\nb.wav\thome\t0\t2\tCat\n",
            "without its second column, a scene",
        ),
        (
            'filename\tonset\toffset\tevent_label\n"a.wav"\t0.5\t1.25\t"Dog"\nb.wav\t0\t2\tCat\n',
            "without the quotes around cells",
        ),
    ],
    ids=[
        *("csv", "no header", "quoted csv", "semicolons", "decimal commas", "quoted commas"),
        *("synonyms", "audioset", "capitals", "tut", "quotes"),
    ],
)
def test_events_are_read_however_the_table_is_written(file, caplog, text, said):
    path = file(text)
    assert read_events(path).events == EVENTS
    assert read_events(path).names == tuple(read_names(path))
    assert caplog.messages[0] == f"{path}: read {said}"


@pytest.mark.parametrize(
    "text",
    [
        'filename\tevent_labels\na.wav\t"Dog,Cat"\nb.wav\tDog\n',
        'fname,labels,mids,split\na.wav,"Dog,Cat","/m/1,/m/2",train\nb.wav,Dog,/m/1,val\n',
        "slice_file_name;start;end;class\na.wav;1;2;Dog\na.wav;1;2;Cat\nb.wav;1;2;Dog\n",
        "a.wav,Dog\na.wav,Cat\nb.wav,Dog\n",
        'Audio File\tTags\na.wav\t"Dog,Cat"\nb.wav\tDog\n',
        "filename,fold,target,category\na.wav,1,0,Dog\na.wav,1,0,Cat\nb.wav,1,0,Dog\n",
    ],
    ids=["excel", "fsd50k", "urbansound8k", "no header", "other names", "esc50"],
)
def test_weak_labels_are_read_however_the_table_is_written(file, text):
    path = file(text)
    assert read_weak(path) == WEAK
    assert read_names(path) == ["a.wav", "b.wav"]


def test_how_a_table_is_read_is_said_once_and_of_a_plain_one_nothing(file, caplog):
    caplog.set_level(logging.INFO)
    read_events(file("filename\tonset\toffset\tevent_label\na.wav\t0\t1\tDog\n", "plain.tsv"))
    read_weak(file("filename\tevent_labels\na.wav\tDog,Cat\n", "weak.tsv"))
    assert not caplog.messages
    path = file("file,label\na.wav,Dog\n", "other.csv")
    read_weak(path)
    read_weak(path)
    assert caplog.messages == [
        f"{path}: read as comma-separated, with columns file → filename, label → event_labels"
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_text_with_a_byte_order_mark_is_read(file, encoding, caplog):
    mark = codecs.BOM_UTF16_BE.decode("utf-16-be") if encoding == "utf-16-be" else ""
    path = file(f"{mark}filename\tonset\toffset\tevent_label\nä.wav\t0\t1\tHund\n", "x", encoding)
    assert read_events(path).events == [Event("ä.wav", 0.0, 1.0, "Hund")]
    assert caplog.messages == ([f"{path}: read as UTF-16"] if "16" in encoding else [])


NO_PLACE = "; name the columns filename, onset, offset, event_label"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sound\tt1\tt2\tspecies\na.wav\t0\t1\tDog\n",
            ":1: this looks like a header without a column 'filename': 'sound', 't1', 't2', "
            "'species'" + NO_PLACE,
        ),
        (
            "file,start,duration,label\na.wav,0,1,Dog\n",
            ":1: no column 'offset'; the columns are 'file', 'start', 'duration', 'label'"
            + NO_PLACE,
        ),
        (
            "slice_file_name,fold,start,end,class\na.wav,1,30,34,Dog\n",
            ":1: no column 'filename'; the columns are 'slice_file_name', 'fold', 'start', 'end', "
            "'class'" + NO_PLACE,
        ),
        (
            "fname\tstart\tend\tlabel\tclass\na.wav\t0\t1\tDog\tx\n",
            ":1: 'label', 'class' could each be 'event_label'; rename one",
        ),
        (
            "filename\tonset\toffset\tevent_label\tPresent\na.wav\t0\t1\tDog\tNOT_PRESENT\n",
            ":1: by its column 'present', rows may say that a class is not there; take those rows "
            "and the column out",
        ),
        ("a.wav 0 1 Dog\n", ":1: columns must be separated by tabs, not as in 'a.wav 0 1 Dog'"),
        (
            "a.wav\t0,5\t1,25\tDog\nb.wav\t0.5\t2\tDog\n",
            ":1: '0,5' is not a number; write numbers with a point, and not with a comma",
        ),
        (
            "a.wav\t1,250\t2,500\tDog\n",
            ":1: '1,250' is not a number; write numbers with a point, and not with a comma",
        ),
        (
            "filename,onset,offset,event_label\na.wav,0,1,Air horn, truck horn\n",
            ':2: 5 columns where 4 are expected; labels in one cell need quotes: "Dog,Cat"',
        ),
        ('filename,onset,offset,event_label\na.wav,0,1,"Dog\n', ":2: not CSV (unexpected end of"),
        (
            "<!DOCTYPE html>\n<html></html>\n",
            ":1: it is a web page; the download went wrong: get the file again",
        ),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            ":1: it is a Git LFS pointer, not the file; run git lfs pull",
        ),
    ],
)
def test_what_is_not_certain_is_refused_in_a_line_that_says_what_to_do(file, text, message):
    path = file(text)
    with pytest.raises(LabelError) as caught:
        read_events(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sound\tspecies\na.wav\tDog\nb.wav\tDog\n", "looks like a header without a column"),
        ("clip\tspecies\na\tDog\nb\tDog\n", "looks like a header without a column"),
        ("id,species\n64760,Dog\n64761,Dog\n", "looks like a header without a column"),
        ("name\tlabel\na\tDog\n", "no column 'filename'; the columns are 'name', 'label'"),
        (
            "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\na\t0\t1\tDog\n",
            "no column 'event_labels'.*; it looks like a table of strong labels",
        ),
        (
            "filename\tonset\toffset\tevent_label\na\t0\t1\tDog\n",
            "no column 'event_labels'.*; it looks like a table of strong labels",
        ),
        ("a.wav,1,0,dog\n", "4 columns and no header line; expected filename, event_labels"),
        (
            "split,sensor_id,audio_filename,1_engine_presence\ntrain,1,a.wav,1\n",
            "looks like a header without a column 'event_labels'",
        ),
        ("file_name,keywords,sound_id\na.wav,dog;bark,1\n", "without a column 'event_labels'"),
        ("a.wav\t['Dog', 'Cat']\n", "is a list in code; join labels by commas"),
        ("a;x,Dog\n", "separated by commas or by semicolons"),
        ("fname,labels\na.wav,Dog,Cat\n", ':2: 3 columns .* need quotes: "Dog,Cat"'),
    ],
)
def test_a_foreign_header_never_becomes_a_clip_with_a_class(file, text, message):
    with pytest.raises(LabelError, match=message) as caught:
        read_weak(file(text))
    assert "unlabelled" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "filename\tevent_labels\na.wav\tDog\nfilename\tevent_labels\nb.wav\tDog\n",
        "fname,labels,split\na.wav,Dog,x\nfname,labels,split\nb.wav,Dog,x\n",
        "a.wav\tDog\nb.wav\tDog\nfilename\tevent_labels\n",
    ],
)
def test_headers_of_files_that_were_joined_are_no_rows(file, text):
    with pytest.raises(LabelError, match=r"labels\.tsv:3: a header stands here again; take this"):
        read_weak(file(text))
    with pytest.raises(LabelError, match=r"labels\.tsv:3: "):
        read_names(file(text))


def test_a_list_of_names_is_not_taken_for_a_table_nor_a_table_for_names(file):
    assert read_names(file("a, b.wav\nc; d.wav\nx.wav\n")) == ["a, b.wav", "c; d.wav", "x.wav"]
    assert read_names(file("a.wav,1,0,dog\nb.wav,1,0,cat\n")) == ["a.wav", "b.wav"]
    assert read_names(file("fname\na.wav\n")) == ["a.wav"]
    with pytest.raises(LabelError, match=r":1: 'a\.wav,1,0,dog' looks like several cells"):
        read_names(file("a.wav,1,0,dog\nb.wav\n"))
    with pytest.raises(LabelError, match=r":1: this looks like a header.*: 'Sounds'"):
        read_names(file("Sounds\na.wav\nb.wav\n"))
    with pytest.raises(LabelError, match=r":1: this looks like a header.*: 'clip'"):
        read_names(file("clip\ndog\n"))


def test_quotes_within_a_cell_are_text(file):
    labels = read_weak(file('a\t6" pipe\nb\t"quoted" word\nc\t"big ""Dog"""\nd\t"Cat\n'))
    assert labels == {
        "a": ('6" pipe',),
        "b": ('"quoted" word',),
        "c": ('big "Dog"',),
        "d": ('"Cat',),
    }


def test_a_line_for_excel_alone_is_passed_over(file):
    text = "sep=;\r\nfilename;onset;offset;event_label\r\na.wav;0,5;1;Dog\r\na.wav;x;1;Dog\r\n"
    with pytest.raises(LabelError, match=r"labels\.tsv:4: 'x' is not a number"):
        read_events(file(text))
    assert read_events(file(text.replace("x", "0,75"))).classes == ("Dog",)


@pytest.mark.parametrize(
    "text",
    [
        'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man"\n',
        "0,Accordion,/m/0mkg\n1,Applause,/m/0l15bq\n",
        "label\nDog\n",
        "Dog\t3\n",
    ],
)
def test_a_table_is_no_class_list(file, text):
    with pytest.raises(LabelError, match=r":1: (a class list has one name a line|'label' names a)"):
        read_vocabulary(file(text))


def test_rows_without_anything_in_their_cells_are_blank(file):
    assert read_weak(file("fname;labels\r\na;Dog\r\n;\r\n ; \r\nb;Cat\r\n;\r\n")) == {
        "a": ("Dog",),
        "b": ("Cat",),
    }


def test_a_quote_that_closes_in_another_cell_is_refused(file):
    path = file('filename\tonset\toffset\tevent_label\n"a.wav\t0\t1\tDog"\n')
    with pytest.raises(LabelError, match=":2: a quote opens in one cell and closes in another"):
        read_events(path)


def test_lists_of_numbers_and_classes_are_read_alike(file):
    assert read_durations(file("fname;Length (s)\na.wav;1,5\n")) == {"a.wav": 1.5}
    with pytest.raises(LabelError, match="looks like a header without a column 'duration'"):
        read_durations(file("file\tduration_ms\na\t10\n"))
    assert read_thresholds(file('label,threshold\n"Air horn, truck horn",0.5\n')) == {
        "Air horn, truck horn": 0.5
    }
    with pytest.raises(LabelError, match="3 columns and no header line; expected event_label"):
        read_thresholds(file("Dog\t0.5\tx\n"))
    assert read_vocabulary(file('"Air horn, truck horn"\nDog\n')).classes == (
        "Air horn, truck horn",
        "Dog",
    )


def test_the_other_names_of_columns_are_those_of_the_docs():
    text = (Path(__file__).parents[1] / "docs" / "artifacts.md").read_text(encoding="utf-8")
    rows = text.partition("<!-- names of columns -->\n")[2].split("\n\n")[0].splitlines()[2:]
    documented = {names[0]: names[1:] for row in rows if (names := re.findall("`(.+?)`", row))}
    assert documented == {column: list(names) for column, names in SYNONYMS.items()}


def test_each_synonym_is_of_one_column_of_a_kind():
    strong = [name for c in ("filename", "onset", "offset", "event_label") for name in SYNONYMS[c]]
    assert len(strong) == len(set(strong))
    assert not {*SYNONYMS["filename"]} & {*SYNONYMS["event_labels"]}


QUOTES = st.text('"a ', min_size=1).filter(lambda text: text == text.strip())


@given(QUOTES, QUOTES, st.booleans())
def test_names_and_labels_with_quotes_are_read_back(tmp_path_factory, name, label, is_silent):
    path = tmp_path_factory.getbasetemp() / "quotes.tsv"
    labels = StrongLabels([] if is_silent else [Event(name, 0.0, 1.0, label)], (name,))
    write_events(path, labels)
    assert read_events(path) == labels
    write_weak(path, weak := {name: () if is_silent else (label,)})
    assert read_weak(path) == weak


def test_a_table_that_may_be_written_otherwise_is_not_read_by_columns():
    header = "filename\tonset\toffset\tevent_label"
    assert _plain_events(f"{header}\na\t0\t1\tDog\n") is not None
    for text in (
        f'{header}\na\t0\t1\t"Dog"\n',
        f"{header}\tpresent\na\t0\t1\tDog\tNOT_PRESENT\n",
        f"{header}\tscore\na\t0\t1\tDog\t0.5\n",
    ):
        assert _plain_events(text) is None


def test_a_model_learns_the_classes_of_a_table_and_not_its_marks(tiny, tmp_path):
    names = read_weak(tiny.weak)
    path, out = tmp_path / "excel.csv", tmp_path / "run"
    rows = (f'{name},"{",".join((*labels, "all"))}",train\n' for name, labels in names.items())
    path.write_text("fname,labels,split\n" + "".join(rows))
    said = run("check", tiny.features, "--weak", path).stdout
    assert "Problems" not in said
    small = ("--arch", "small", "--epochs", 1, "--steps-per-epoch", 1, "--batch-size", 4)
    line = ("train", "-o", out, "--features", tiny.features, *small)
    run(*line, "--weak", path)
    assert load_model(out / "model.safetensors").classes == ("all", "noise", "tone")
    path.write_text("sound,what\n" + "".join(f"{name},tone\n" for name in names))
    for more in ((), ("--missing", "skip")):
        said = refused(*line, "--overwrite", "--weak", path, *more)
        assert said == (
            f"Error: {path}:1: this looks like a header without a column 'filename': 'sound', "
            "'what'; name the columns filename, event_labels\n"
        )


def test_a_first_clip_that_is_not_there_may_be_a_header(tiny, tmp_path):
    rows = [f"{Path(name).stem}\t{labels[0]}\n" for name, labels in read_weak(tiny.weak).items()]
    path = tmp_path / "weak.tsv"
    path.write_text("sound\twhat\n" + "".join(rows))
    line = ("train", "-o", tmp_path / "run", "--features", tiny.features, "--weak", path)
    said = run(*line, exit_code=2).stderr
    assert "(sound); it may be a header line, whose first column has to be filename" in said
    assert "--missing skip" not in said
