"""What data sets and other programs publish is read by `convert`, or it says how to export it."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from sedtool.cli import cli
from sedtool.errors import LabelError
from sedtool.labels import SOURCES, StrongLabels, detect_format, read_label_names

AUDIOSET = (
    "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=2, num_segs=2\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
    '-PJHxphWEs4, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n'
    'bbbbbbbbbbb, 0.000, 8.500, "/m/012xff"\n'
)
CLASSES = (
    'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/t/dd00088,"Gush"\n'
    '2,/m/012xff,"Male speech, man speaking"\n'
)
R_COLUMNS = "filepath,start,end,scientific_name,common_name,confidence,lat,lon,week\n"
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"

# The name of a file, what is in it, and what becomes of it: events, or labels of clips.
TIMED = {
    "birdnet.csv": (
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
        '0.0,3.0,Strix varia,"Barred Owl, adult",0.42,C:\\data\\a.wav\n'
        "3.0,6.0,nocall,nocall,1.0,b.wav\n",
        "C:/data/a.wav\t0.000\t3.000\tBarred Owl, adult\t0.4200\nb.wav\t\t\t\n",
    ),
    "rec.BirdNET.results.csv": (
        "Start (s),End (s),Scientific name,Common name,Confidence\n"
        "0.0,3.0,Strix varia,Barred Owl,0.4200\n",
        "rec\t0.000\t3.000\tBarred Owl\t0.4200\n",
    ),
    "r.csv": (
        f"{R_COLUMNS}a.wav,3.0,6.0,Strix varia,Barred Owl,0.4200,-1,-1,-1\n",
        "a.wav\t3.000\t6.000\tBarred Owl\t0.4200\n",
    ),
    "kaleidoscope.csv": (
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence,lat\n"
        "data,site1,a.wav,0.2,0.7,Strix varia,Barred Owl,0.4200,-1\n",
        "data/site1/a.wav\t0.200\t0.900\tBarred Owl\t0.4200\n",
    ),
    "rec1.Table": (
        "tmin\ttier\ttext\ttmax\n0.2\tsounds\tDog\t0.9\n0.9\tsounds\t\t2\n",
        "rec1\t0.200\t0.900\tDog\n",
    ),
    "singapura.csv": (
        "annotator,onset,offset,event_label\n1,0.2,0.9,7-1\n1,1.0,2.0,9-2\n",
        "singapura\t0.200\t0.900\t7-1\nsingapura\t1.000\t2.000\t9-2\n",
    ),
    "spans.csv": ("START (s);DURATION;LABEL\n0.2;0.7;Dog\n", "spans\t0.200\t0.900\tDog\n"),
    "raven.csv": (
        f'{RAVEN},Annotation\n1,x,1,0.2,0.9,0,8000,"Dog, big"\n'.replace("\t", ","),
        "raven\t0.200\t0.900\tDog, big\n",
    ),
    "tut.txt": (
        "audio/street/x1.wav\tstreet\t0.186\t2.558\tcar\n",
        "audio/street/x1.wav\t0.186\t2.558\tcar\n",
    ),
}
WEAK = {
    "audioset.csv": (
        AUDIOSET,
        "-PJHxphWEs4_30.000_40.000\t/m/09x0r,/t/dd00088\nbbbbbbbbbbb_0.000_8.500\t/m/012xff\n",
    ),
    "plain.csv": (
        AUDIOSET.replace("# YTID, start_seconds, ", "YTID,start_seconds,"),
        "-PJHxphWEs4_30.000_40.000\t/m/09x0r,/t/dd00088\nbbbbbbbbbbb_0.000_8.500\t/m/012xff\n",
    ),
    "esc50.csv": (
        "filename,fold,target,category,esc10,src_file,take\n1-100032-A-0.wav,1,0,dog,True,1,A\n",
        "1-100032-A-0.wav\tdog\n",
    ),
    "UrbanSound8K.csv": (
        "slice_file_name,fsID,start,end,salience,fold,classID,class\n"
        "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark\n",
        "100032-3-0-0.wav\tdog_bark\n",
    ),
    "fsd50k.csv": (
        'fname,labels,mids,split\n64760,"Bark,Dog","/m/05tny_,/m/0bt9lr",train\n',
        "64760\tBark,Dog\n",
    ),
}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(files, *line, code=0):
        for name, text in files.items():
            Path(name).write_text(text, "utf-8", newline="")
        result = CliRunner().invoke(cli, ["convert", *line], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", TIMED)
def test_events_that_others_publish_become_a_table(run, name, end):
    text, rows = TIMED[name]
    out = run({name: text.replace("\n", end)}, name).stdout
    assert "".join(out.splitlines(keepends=True)[1:]).replace("\t\n", "\n") == rows.replace(
        "\t\n", "\n"
    )


def test_the_tiers_of_a_textgrid_are_joined_and_it_says_so(run):
    text = "tmin\ttier\ttext\ttmax\n0\tdogs\tbark\t1\n0\tcats\tpurr\t1\n"
    assert "x.txt: the events of 'cats', 'dogs' are joined" in run({"x.txt": text}, "x.txt").stderr


@pytest.mark.parametrize("name", WEAK)
@pytest.mark.parametrize("output", [None, "weak.tsv"])
def test_labels_without_times_become_weak_labels_and_it_says_so(run, name, output):
    text, rows = WEAK[name]
    result = run({name: text}, name, *(["-o", output] if output else []))
    written = Path(output).read_text() if output else result.stdout
    assert written == "filename\tevent_labels\n" + rows
    assert "labels without times become weak labels" in result.stderr
    assert f"labels of {rows.count(chr(10))} clips -> " in result.stderr


@pytest.mark.parametrize(
    "line", [["--to", "jsonl"], ["-o", "x.jsonl"], ["--to", "raven", "-o", "x/"]]
)
def test_labels_without_times_cannot_become_events(run, line):
    result = run({"a.csv": AUDIOSET}, "a.csv", *line, code=2)
    assert "labels without times, which can only become weak labels" in result.output


def test_names_without_a_suffix_are_given_one(run):
    out = run({"a.csv": WEAK["fsd50k.csv"][0]}, "a.csv", "--audio-suffix", ".wav").stdout
    assert out.endswith("64760.wav\tBark,Dog\n")
    out = run({"a.csv": AUDIOSET}, "a.csv", "--audio-suffix", ".wav").stdout
    assert "-PJHxphWEs4_30.000_40.000.wav\t" in out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_labels_indices.csv", CLASSES),
        ("mid.tsv", "/m/09x0r\tSpeech\n/t/dd00088\tGush\n/m/012xff\tMale speech, man speaking\n"),
        (
            "vocabulary.csv",
            '0,Speech,/m/09x0r\n1,Gush,/t/dd00088\n2,"Male speech, man speaking",/m/012xff\n',
        ),
        (
            "ontology.json",
            json.dumps(
                [
                    {"id": "/m/09x0r", "name": "Speech"},
                    {"id": "/t/dd00088", "name": "Gush"},
                    {"id": "/m/012xff", "name": "Male speech, man speaking"},
                ]
            ),
        ),
    ],
)
def test_a_file_of_names_translates_label_ids(run, name, text):
    result = run({name: text, "a.csv": AUDIOSET}, "a.csv", "--names", name)
    assert result.stdout.endswith(
        "-PJHxphWEs4_30.000_40.000\tSpeech,Gush\n"
        "bbbbbbbbbbb_0.000_8.500\tMale speech, man speaking\n"
    )
    strong = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\nx_30000\t0\t1\t/m/09x0r\n"
    assert (
        "x_30000\t0.000\t1.000\tSpeech\n" in run({"s.tsv": strong}, "s.tsv", "--names", name).stdout
    )


def test_label_ids_without_names_are_kept_with_a_hint(run):
    assert "--names FILE takes their names" in run({"a.csv": AUDIOSET}, "a.csv").stderr


def test_an_id_without_a_name_is_refused(run):
    files = {"n.csv": CLASSES.replace("/t/dd00088", "/t/dd00089"), "a.csv": AUDIOSET}
    assert (
        "n.csv has no name for '/t/dd00088'"
        in run(files, "a.csv", "--names", "n.csv", code=2).output
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\nc,d\n", r"n.csv:2: not one id like /m/09x0r and one name, but \['c', 'd'\]"),
        ("/m/1,/m/2,x\n", r"n.csv:1: not one id"),
        ('/m/1,"x\n', r"n.csv:1: not CSV"),
        ("/m/1\n", r"n.csv:1: not one id"),
    ],
)
def test_a_file_that_names_no_ids_is_refused(tmp_path, text, message):
    (tmp_path / "n.csv").write_text(text)
    with pytest.raises(LabelError, match=message):
        read_label_names(tmp_path / "n.csv")


@pytest.mark.parametrize("text", ["[1]", '[{"id": "/m/1"}]', "[", "7"])
def test_a_document_that_is_no_ontology_is_refused(tmp_path, text):
    (tmp_path / "n.json").write_text(text)
    with pytest.raises(LabelError, match=r"n.json: not (JSON|a list of objects with id and name)"):
        read_label_names(tmp_path / "n.json")


@pytest.mark.parametrize(
    ("source", "text", "message"),
    [
        (
            "birdnet",
            "a,b\n",
            r"x:1: no columns start \(s\), end \(s\), common name; the columns are",
        ),
        ("birdnet", f"{R_COLUMNS}a.wav,0,1,x,,1\n", "x:2: the label is empty"),
        ("track", "start,end,label,label\n0,1,x,y\n", "x:1: a column name stands twice"),
        ("track", "start,end\n0,1\n", "x:1: no columns onset, offset, event_label; the columns"),
        ("birdnet", f"{R_COLUMNS}a.wav,3,2,x,Owl,1\n", "x:2: offset 2 is before onset 3"),
        ("birdnet", f"{R_COLUMNS}a.wav,0,1,x,Owl,high\n", "x:2: 'high' is not a number"),
        ("birdnet", f'{R_COLUMNS}a.wav,0,1,x,"Owl,1\n', "x:2: not CSV"),
        ("praat", "", "x: no columns tmin, tmax, text"),
        ("audioset", "aaaaaaaaaaa, 0, 10\n", "x:1: 3 columns; a segment list of AudioSet has YTID"),
        ("audioset", 'aaaaaaaaaaa, 0, 10, "/m/1,"\n', "x:1: a label of '/m/1,' is empty"),
        ("audioset", "aaaaaaaaaaa, 9, 1, /m/1\n", "x:1: offset 1 is before onset 9"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path, source, text, message):
    (tmp_path / "x").write_text(text)
    with pytest.raises(LabelError, match=message):
        SOURCES[source].read(tmp_path / "x", "a.wav")


OTHERS = {
    "x.TextGrid": ('File type = "ooTextFile"\nObject class = "TextGrid"\n', "Down to Table..."),
    "x.eaf": ('<?xml version="1.0"?>\n<ANNOTATION_DOCUMENT AUTHOR="">\n', "tab-delimited text"),
    "elan.txt": ("default\t\t00:00:00.200\t0.2\t00:00:00.900\t0.9\tDog\n", "label track"),
    "labelstudio.json": (
        '[{"id": 1, "data": {"audio": "/data/a.wav"}, "annotations": [{"result": [{"value": '
        '{"start": 0.2, "end": 0.9, "labels": ["Dog"]}, "type": "labels"}]}]}]',
        "Label Studio; write filename, onset",
    ),
    "x.json": ('{\n "a": 1\n}', "a JSON document; write filename, onset"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_read_is_named_with_how_to_export_it(run, name, encoding):
    text, remedy = OTHERS[name]
    Path(name).write_bytes(text.encode(encoding))
    message = run({}, name, code=2).stderr
    assert remedy in message
    assert message.count("\n") == 1
    assert "not JSON" not in message


KNOWN = {
    "rec1.txt": "0.2\t0.9\tDog\n",
    "my rec1.wav.txt": "0.2\t0.9\tDog\n",
    "rec1.Table.1.selections.txt": f"{RAVEN}\tAnnotation\n1\tx\t1\t0.2\t0.9\t0\t8000\tDog\n",
    "e.jsonl": '{"filename": "rec1.wav", "onset": 0.2, "offset": 0.9, "event_label": "Dog"}\n',
    "rec1.jams": '{"annotations": [\n{"namespace": "segment_open", "data": [\n'
    '{"time": 0.2, "duration": 0.7, "value": "Dog", "confidence": null}]}]}\n',
    "rec1.BirdNET.results.csv": "Start (s),End (s),Scientific name,Common name,Confidence\n"
    "0.2,0.9,Canis,Dog,1.0\n",
    "rec1.csv": "tmin\ttier\ttext\ttmax\n0.2\tsounds\tDog\t0.9\n",
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_stage_that_refuses_what_convert_reads_says_the_line_and_the_line_works(run, name):
    Path(name).write_text(KNOWN[name])
    Path("est.tsv").write_text("filename\tonset\toffset\tevent_label\nrec1.wav\t0.2\t0.9\tDog\n")
    refused = CliRunner().invoke(cli, ["evaluate", name, "est.tsv"])
    assert refused.exit_code == 2
    (line,) = re.findall(r"sedtool (convert .* -o labels\.tsv)", refused.stderr)
    run({}, *shlex.split(line)[1:])
    table = Path("labels.tsv").read_text().replace("my rec1", "rec1").replace("\tconfidence", "")
    assert table.replace("\t1.0000", "") == (
        "filename\tonset\toffset\tevent_label\nrec1.wav\t0.200\t0.900\tDog\n"
    )


@pytest.mark.parametrize("name", ["audioset.csv", "esc50.csv"])
def test_a_stage_that_needs_events_says_of_weak_labels_what_they_are(run, name):
    Path(name).write_text(WEAK[name][0])
    message = CliRunner().invoke(cli, ["evaluate", name, name]).stderr
    assert f"sedtool convert {name} -o weak.tsv makes weak labels of it; it has no times" in message


def test_a_folder_is_searched_for_jams_and_csv_where_there_is_nothing_else(run, tmp_path):
    text, _ = WEAK["esc50.csv"]
    (tmp_path / "meta").mkdir()
    assert "\tdog\n" in run({"meta/esc50.csv": text}, "meta").stdout
    out = run({"meta/a.wav.txt": "0\t1\tCat\n"}, "meta").stdout
    assert out == "filename\tonset\toffset\tevent_label\na.wav\t0.000\t1.000\tCat\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.wav\tDog\nb.wav\tCat\n", "weak"),
        ("filename\tevent_labels\n", "weak"),
        ("file,label\na.wav,Dog\n", "weak"),
        ("file,start,end,label\na.wav,0,1,Dog\n", "dcase"),
        ("file,start,end,label\na.wav,x,1,Dog\n", "dcase"),  # whose reader says what is wrong
    ],
)
def test_columns_of_other_names_are_told_by_their_rows(tmp_path, text, name):
    (tmp_path / "x.txt").write_text(text)
    assert detect_format(tmp_path / "x.txt").name == name


@pytest.mark.parametrize("column", ["input", "recording_id", "species"])
def test_a_column_that_may_name_clips_is_not_passed_over(run, column):
    message = run({"x.csv": f"{column},start,end,label\n1,2,3,Dog\n"}, "x.csv", code=2).output
    assert "x.csv:1: no column 'filename'" in message


@pytest.mark.parametrize("text", ["a.wav\t10.0\nb.wav\t2.5\n", "Dog\nCat\n", "filename\na.wav\n"])
def test_lists_of_durations_classes_and_clips_are_no_labels(tmp_path, text):
    (tmp_path / "x.tsv").write_text(text)
    with pytest.raises(LabelError, match=r"or say what file this is with --from dcase\|audacity"):
        detect_format(tmp_path / "x.tsv")


def test_a_source_has_a_name_and_reads_labels(tmp_path):
    (tmp_path / "x").write_text(TIMED["r.csv"][0])
    assert isinstance(SOURCES["birdnet"].read(tmp_path / "x", ""), StrongLabels)
    assert SOURCES["birdnet"].clip_of("x/rec.BirdNET.results.csv") == "x/rec"
