"""JAMS: what Scaper and others write is read, and what is written is a valid document."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedtool.errors import LabelError
from sedtool.labels import EVENT_FORMATS, Event, StrongLabels, detect_format
from sedtool.labels.formats import jams

JAMS = EVENT_FORMATS["jams"]


def observation(time, duration, value, confidence=1.0):
    return {"time": time, "duration": duration, "value": value, "confidence": confidence}


def scaper(label, role="foreground"):
    """Return a value as Scaper 1.6 has it."""
    return {
        "label": label,
        "source_file": f"sounds/{label}/1.wav",
        "source_time": 0,
        "event_time": 2,
        "event_duration": 5,
        "snr": 5,
        "role": role,
        "pitch_shift": None,
        "time_stretch": None,
    }


def annotation(namespace, *data, sandbox=None):
    return {"annotation_metadata": {}, "namespace": namespace, "data": data, "sandbox": sandbox}


@pytest.fixture
def read(tmp_path):
    def read(*annotations, name="x", **more):
        path = tmp_path / "x.jams"
        document = {"annotations": annotations, "file_metadata": {"duration": 10.0}, **more}
        path.write_text(json.dumps(document, indent=1))
        assert detect_format(path).name == "jams"
        return JAMS.read(path, name)

    return read


@pytest.mark.parametrize("namespace", ["scaper", "sound_event"])
def test_the_foreground_of_a_soundscape_is_read_and_its_background_is_left_out(
    read, namespace, caplog
):
    jams._say_background.cache_clear()
    sandbox = {"scaper": {"soundscape_audio_path": "/made/there/elsewhere.wav"}}
    data = [observation(0, 10, scaper("park", "background")), observation(0.2, 0.7, scaper("dog"))]
    assert read(annotation(namespace, *data, sandbox=sandbox)) == StrongLabels(
        [Event("x.wav", 0.2, 0.9, "dog")], ("x.wav",)
    )
    assert caplog.text.count("background events of Scaper") == 1


def test_segments_keep_their_confidence_and_a_name_with_a_suffix_stays(read):
    data = [observation(0, 1, "dog", 0.5), observation(1, 1, "cat", None)]
    events = [Event("x.flac", 0.0, 1.0, "dog", 0.5), Event("x.flac", 1.0, 2.0, "cat")]
    assert read(annotation("segment_open", *data), name="x.flac").events == events


def test_tags_are_labels_of_the_clip_where_there_are_no_events(read, caplog):
    tags = [annotation("tag_open", observation(0, 10, "dog"), observation(0, 10, "cat"))]
    tags += [annotation("tag_urbansound", observation(0, 10, "dog")), annotation("beat")]
    assert read(*tags) == {"x": ("dog", "cat")}
    assert caplog.text == ""
    assert read(annotation("tag_open", observation(0, 10, "dog", 0.4))) == {"x": ("dog",)}
    assert "1 tags that are not sure are taken as whole" in caplog.text
    assert read(*tags, annotation("segment_open")) == StrongLabels([], ("x",))


def test_annotations_of_one_clip_are_joined_and_it_says_so(read, caplog):
    events = read(
        annotation("segment_open", observation(0, 1, "dog")),
        annotation("segment_open", observation(1, 1, "cat")),
    ).events
    assert [event.label for event in events] == ["dog", "cat"]
    assert "events of 2 annotations are joined" in caplog.text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([observation("0", 1, "dog")], r"annotations\[0\]: data\[0\]: time '0' is not a number"),
        ([observation(0, True, "dog")], "duration True is not a number"),
        ([observation(-1, 1, "dog")], "time -1 is negative"),
        ([observation(0, -1, "dog")], "time -1 is negative"),
        ([observation(0, 1, {"label": 7})], "the value 7 is no label"),
        ([observation(0, 1, "")], "the value '' is no label"),
        ([observation(0, 1, "dog", "high")], "confidence 'high' is not a number"),
        ([{"time": 0, "value": "dog"}], "duration None is not a number"),
        (["dog"], r"data\[0\] is not an object"),
    ],
)
def test_a_wrong_observation_is_refused_with_its_place(read, data, message):
    with pytest.raises(LabelError, match=message):
        read(annotation("segment_open", *data))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"annotations": [', "x.jams: not JSON"),
        ('{"annotations": [], "annotations": []}', "a key stands twice"),
        ('{"annotations": [{"time": NaN}]}', "NaN is not a JSON number"),
        ("[]", "x.jams: not a JSON object, which a JAMS document is"),
        ("{}", "annotations is not a list"),
        ('{"annotations": [{"namespace": "beat"}]}', "no annotation of a namespace that is read"),
        ('{"annotations": [{"namespace": "scaper"}]}', r"annotations\[0\]: data is not a list"),
    ],
)
def test_a_document_that_is_none_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "x.jams").write_text(text)
    with pytest.raises(LabelError, match=message):
        JAMS.read(tmp_path / "x.jams", "x")


ANY_TEXT = st.text(min_size=1)
TIMES = st.floats(0, 1e6)
SCORES = st.none() | st.floats(0, 1)


@given(ANY_TEXT, st.lists(st.tuples(TIMES, TIMES, ANY_TEXT, SCORES)))
def test_what_is_written_is_valid_and_reads_back_digit_for_digit(tmp_path_factory, name, rows):
    events = [Event(name, *sorted((a, b)), label, score) for a, b, label, score in rows]
    path = tmp_path_factory.mktemp("jams") / "x.jams"
    path.write_text(JAMS.text(name, events, confidence=True), "utf-8", newline="\n")
    key = lambda e: (e.onset, e.offset, e.label, e.confidence or 0)  # noqa: E731
    back = JAMS.read(path, "another")
    assert back.names == (name,)
    assert sorted(back.events, key=key) == sorted(events, key=key)
    check_schema(json.loads(path.read_text("utf-8")))
    assert detect_format(path).name == "jams"


def check_schema(document):
    """Check what the schema of JAMS 0.3.4 and its library ask of a document."""
    duration = document["file_metadata"]["duration"]
    assert isinstance(duration, float) and duration >= 0
    assert document["file_metadata"]["jams_version"] == "0.3.4"
    assert isinstance(document["sandbox"], dict)
    for each in document["annotations"]:
        assert each["namespace"] == "segment_open"
        assert isinstance(each["annotation_metadata"], dict)
        for seen in each["data"]:
            assert set(seen) == {"time", "duration", "value", "confidence"}
            assert isinstance(seen["value"], str)
            assert seen["time"] >= 0 and seen["duration"] >= 0
            assert math.isclose(duration, max(duration, seen["time"] + seen["duration"]))
