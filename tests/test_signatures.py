"""What somebody gives as labels is told from its head, with what can be done with it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedtool.labels.signatures import HEAD, decode_head, signature

SCAPER = {
    "sandbox": {},
    "file_metadata": {"identifiers": {}, "duration": 10.0, "jams_version": "0.2.2"},
    "annotations": [
        {"namespace": "scaper", "data": [{"time": 0.2, "duration": 0.7, "value": {"label": "Dog"}}]}
    ],
}
TASK = {"value": {"start": 0.2, "end": 0.9, "labels": ["Dog"]}, "type": "labels"}
LABEL_STUDIO = [{"id": 1, "data": {"audio": "/a.wav"}, "annotations": [{"result": [TASK]}]}]
MINIMAL = [{"audio": "/a.wav", "label": [{"start": 0.2, "end": 0.9, "labels": ["Dog"]}]}]

DOG = '{"filename": "a.wav", "onset": 0.2, "offset": 0.9, "event_label": "Dog"}\n'

READ = [
    ("dcase", "filename\tonset\toffset\tevent_label\na.wav\t0.2\t0.9\tDog\n"),
    ("dcase", "filename;onset;offset;event_label\na.wav;0,2;0,9;Dog\n"),
    ("dcase", "a.wav\t0.2\t0.9\tDog\n"),
    ("audacity", "0.200000\t0.900000\tDog\n\\\t800.000000\t4000.000000\n"),
    ("raven", "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tAnnotation\n"),
    ("jsonl", DOG),
]
PUBLISHED = [
    ("JAMS", json.dumps(SCAPER)),
    ("JAMS", json.dumps(SCAPER, indent=2)),
    (
        "ESC-50",
        "filename,fold,target,category,esc10,src_file,take\n1-100032-A-0.wav,1,0,dog,True\n",
    ),
    ("UrbanSound8K", "slice_file_name,fsID,start,end,salience,fold,classID,class\n"),
    (
        "FSD50K",
        'fname,labels,mids,split\n64760,"Electric_guitar,Music","/m/02sgy,/m/04rlf",train\n',
    ),
    (
        "AudioSet",
        "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=22160\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n--PJHxphWEs, 30.000, 40.000, "
        '"/m/09x0r,/t/dd00088"\n',
    ),
    ("AudioSet", '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n'),
    ("AudioSet", "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"),
    ("BirdNET", "Start (s),End (s),Scientific name,Common name,Confidence,File\n"),
    ("BirdNET", "filepath,start,end,scientific_name,common_name,confidence,lat,lon,week\n"),
    ("Kaleidoscope", "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name\n"),
    ("TUT", "audio/street/x1.wav\tstreet\t0.186\t2.558\tcar\n"),
    ("Praat", "tmin\ttier\ttext\ttmax\n0.2\tsounds\tDog\t0.9\n"),
]
OTHERS = [
    ("a TextGrid", "Down to Table", 'File type = "ooTextFile"\nObject class = "TextGrid"\n'),
    ("a TextGrid", "Down to Table", 'File type = "ooTextFile"\n"TextGrid"\n\n0\n2\n<exists>\n'),
    ("an ELAN document", "tab-delimited", '<?xml version="1.0"?>\n<ANNOTATION_DOCUMENT AUTHOR="">'),
    ("ELAN exported", "label track", "default\t\t00:00:00.200\t0.2\t00:00:00.900\t0.9\tDog\n"),
    ("Label Studio", "to a table", json.dumps(LABEL_STUDIO)),
    ("Label Studio", "to a table", json.dumps(MINIMAL)),
    ("Label Studio", "to a table", "audio,id,label,annotator,annotation_id,lead_time\n"),
    ("ELAN exported", "label track", "Tier\tBegin Time - ss.msec\tEnd Time - ss.msec\tdefault\n"),
    (
        "a JSON list of events",
        "jq -c '.[]' x.txt > events",
        json.dumps([json.loads(DOG)]),
    ),
    ("JSON without the key 'filename'", "needs filename", '{"audio_filepath": "a.wav"}\n'),
    ("a JSON document", "to a table", '{\n  "images": []\n}\n'),
    ("a Sonic Visualiser session", "to a table", '<?xml version="1.0"?>\n<!DOCTYPE x>\n<sv>\n'),
    (
        "an Audacity project",
        "labels as text",
        '<?xml version="1.0"?>\n<project audacityversion="3">',
    ),
    ("numbers without names of clips", "to a table", "0.5,1.2,Parate_song\n"),
    ("numbers without names of clips", "to a table", "10,1,0,-50,30\n"),
    ("numbers without names of clips", "to a table", "0.200000000,0.9,0.7,Dog\n"),
    ("an XML document", "to a table", '<?xml version="1.0"?>\n<a/>\n'),
    ("subtitles", "to a table", "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nDog\n"),
    ("subtitles", "to a table", "1\n00:00:01,000 --> 00:00:02,000\nDog\n"),
    ("a YAML document", "to a table", "- filename: a.wav\n  onset: 0.2\n"),
]


@pytest.mark.parametrize(("name", "text"), READ)
def test_an_event_list_is_told_with_the_command_that_reads_it(name, text):
    told = signature(text, Path("my files/x.wav.txt"))
    assert told.name == name
    assert told.remedy.startswith("sedtool convert 'my files/x.wav.txt' -o labels.tsv ")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("what", "text"), PUBLISHED)
def test_the_files_of_published_data_sets_and_programs_are_told(what, text, end):
    assert what in signature(text.replace("\n", end), Path("x.csv")).what


@pytest.mark.parametrize(("what", "remedy", "text"), OTHERS)
def test_what_is_not_read_is_told_with_how_to_export_it(what, remedy, text):
    told = signature(text, Path("x.txt"))
    assert what in told.what
    assert remedy in told.remedy
    assert told.name == ""


@pytest.mark.parametrize(
    "text",
    ["", "\n", "a.wav\tDog\n", "a.wav\n", "fname\tlabel\n", "# x\n", "Dog\nCat\n"],
)
def test_what_could_be_anything_is_not_told(text):
    assert signature(text, Path("x.txt")) is None


def test_a_track_or_a_table_of_numbers_alone_is_not_guessed():
    told = signature("1\t2\t3\t4\n", Path("x.txt"))
    assert (told.name, told.remedy) == ("", "say with --from audacity or --from dcase which")


def test_a_label_track_named_after_no_suffix_is_given_one():
    assert "--audio-suffix .wav" in signature("0\t1\tDog\n", Path("rec1.txt")).remedy
    assert "--audio-suffix" not in signature("0\t1\tDog\n", Path("rec1.wav.txt")).remedy


@given(st.text() | st.lists(st.sampled_from("nx0.\t,;\r\n\"'#{[<: \0")).map("".join))
def test_any_text_is_looked_at_without_an_error(text):
    signature(text, Path("x.txt"))
    assert decode_head(text.encode("utf-16-le", "surrogatepass")) is not None


def test_no_more_than_the_head_is_looked_at():
    long = '{"annotations": [' + " " * HEAD + '{"namespace": "scaper"}]}'
    assert signature(long, Path("x.json")).what == "a JSON document"
