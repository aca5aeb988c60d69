"""What `sedtool evaluate` takes for a table, and what it refuses, with file and line."""

import json
import shlex
import unicodedata

import pytest

from support.command_lines import refused, run

HEADER = "filename\tonset\toffset\tevent_label\n"
CATS = f"{HEADER}a.wav\t1\t2\tCat\n"
ONE = {"tp": 1, "n_reference": 1, "n_estimated": 1}


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def evaluated(*arguments):
    """Return the metrics, and what was said about them."""
    result = json.loads(run("evaluate", *arguments, "--format", "json", "-q").stdout)
    return result, result["warnings"]


# Odd, and right


TAKEN = {
    "columns in another order": "event_label\toffset\tonset\tfilename\nCat\t2\t1\ta.wav\n",
    "foreign columns": "id\tfilename\tonset\toffset\tevent_label\tby\n7\ta.wav\t1\t2\tCat\tme\n",
    "no header": "a.wav\t1\t2\tCat\n",
    "no header, and confidence": "a.wav\t1\t2\tCat\t0.5\n",
    "no line end": f"{HEADER}a.wav\t1\t2\tCat",
    "CRLF": CATS.replace("\n", "\r\n"),
    "a byte-order mark": "\ufeff" + CATS,
    "a byte-order mark and no header": "\ufeffa.wav\t1\t2\tCat\n",
    "empty lines": f"\n{HEADER}\n\na.wav\t1\t2\tCat\n\n",
    "spaces around cells": f"{HEADER}a.wav \t 1\t2 \t Cat\n",
    "times in other forms": f"{HEADER}a.wav\t+1.0e0\t02.00\tCat\n",
    "a clip without events": f"{CATS}b.wav\t\t\t\n",
    "a clip without events or tabs": f"{CATS}b.wav\n",
    "a confidence column": f"{HEADER[:-1]}\tconfidence\na.wav\t1\t2\tCat\t\n",
    "a number with many digits": f"{HEADER}a.wav\t1.00000000000000000000\t2\tCat\n",
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
def test_a_table_that_is_odd_but_clear_is_read(text, write):
    result, _ = evaluated(write("r.tsv", CATS), write("e.tsv", text))
    cat = result["event"]["classes"]["Cat"]
    assert {key: cat[key] for key in ONE} == ONE
    assert result["event"]["micro"]["n_estimated"] == 1


@pytest.mark.parametrize(
    "label",
    [
        "NA",
        "None",
        "nan",
        "null",
        "007",
        "7",
        "1e3",
        "True",
        'the "Dog"',
        "Hund & Söhne",
        "犬",
        "-",
        "#",
    ],
)
def test_text_stays_text_in_labels(label, write):
    lists = write("r.tsv", f"{HEADER}a.wav\t1\t2\t{label}\n")
    result, warnings = evaluated(lists, lists)
    assert list(result["event"]["classes"]) == [label]
    assert result["clip"]["macro"]["f1"] == 1
    assert warnings == []


def test_text_stays_text_in_names(write):
    names = ["1", "01", "1.0", "NA", "nan", '"a" b', "犬.wav", "a b.wav", "-x", "a,b"]
    rows = "".join(f"{name}\t1\t2\tCat\n" for name in names)
    lists = write("r.tsv", HEADER + rows)
    result, warnings = evaluated(lists, lists)
    assert result["parameters"]["n_clips"] == len(names)
    assert result["event"]["classes"]["Cat"]["tp"] == len(names)
    assert warnings == []
    one, other = (f"{HEADER}{name}\t1\t2\tCat\nx\t1\t2\tCat\n" for name in ("1", "01"))
    result, _ = evaluated(write("s.tsv", one), write("e.tsv", other))
    assert result["event"]["micro"]["tp"] == 1


@pytest.mark.parametrize("text", ["", "\n", HEADER, "\ufeff", f"{HEADER}a.wav\n"])
def test_no_estimates_are_a_score_of_zero_and_never_nan(text, write):
    result, _ = evaluated(write("r.tsv", CATS), write("e.tsv", text))
    assert [result[name]["macro"]["f1"] for name in ("event", "segment", "clip")] == [0, 0, 0]
    table = run("evaluate", write("r.tsv", CATS), write("e.tsv", text), "-q").stdout
    assert "nan" not in table.lower()


def test_nothing_at_all_has_undefined_scores_and_no_nan(write):
    empty = write("r.tsv", HEADER)
    for name in ("table", "tsv", "json", "md", "latex"):
        assert "nan" not in run("evaluate", empty, empty, "--format", name).stdout.lower()
    assert evaluated(empty, empty)[0]["event"]["macro"]["f1"] is None


# Wrong


NAMES = "'filename', 'onset', 'offset', 'event_label', 'onset'"
NAME = "; name the columns filename, onset, offset, event_label"
REFUSED = {
    "a duration for an offset": (
        "filename,onset,duration,event_label\na.wav,1,2,Cat\n",
        "1: no column 'offset'; the columns are 'filename', 'onset', 'duration', "
        f"'event_label'{NAME}",
    ),
    "a header of other words": (
        "sound\tfirst\tlast\twhat\na.wav\t1\t2\tCat\n",
        "1: this looks like a header without a column 'filename': 'sound', 'first', 'last', "
        f"'what'{NAME}",
    ),
    "spaces for tabs": (
        "filename onset offset event_label\na.wav 1 2 Cat\n",
        "1: columns must be separated by tabs, not as in 'filename onset offset event_label'",
    ),
    "no filename": (
        "onset\toffset\tevent_label\n1\t2\tCat\n",
        f"1: no column 'filename'; the columns are 'onset', 'offset', 'event_label'{NAME}",
    ),
    "weak labels": (
        "filename\tevent_labels\na.wav\tCat\n",
        f"1: no column 'onset'; the columns are 'filename', 'event_labels'{NAME}; "
        "it looks like a table of weak labels",
    ),
    "names alone": (
        "filename\na.wav\n",
        f"1: no column 'onset'; the columns are 'filename'{NAME}; "
        "it looks like a table of unlabelled clips",
    ),
    "a column twice": (
        f"{HEADER[:-1]}\tonset\na.wav\t1\t2\tCat\t3\n",
        f"1: a column name stands twice in {NAMES}",
    ),
    "three columns": (
        "a.wav\t1\t2\n",
        "1: 3 columns and no header line; expected filename, onset, offset, event_label, not "
        "'a.wav', '1', '2'",
    ),
    "six columns": (
        "a.wav\t1\t2\tCat\t0.5\tx\n",
        "1: 6 columns and no header line; expected filename, onset, offset, event_label, not "
        "'a.wav', '1', '2', 'Cat', '0.5' and 1 more",
    ),
    "another order and no header": ("Cat\ta.wav\t1\t2\n", "1: 'a.wav' is not a number"),
    "a header twice": (HEADER + HEADER, "2: a header stands here again; take this line out"),
    "a negative onset": (f"{HEADER}a.wav\t-1\t2\tCat\n", "2: time -1 is negative"),
    "a negative offset": (f"{HEADER}a.wav\t0\t-2\tCat\n", "2: time -2 is negative"),
    "an offset before the onset": (
        f"{HEADER}a.wav\t2\t1.5\tCat\n",
        "2: offset 1.5 is before onset 2",
    ),
    "an onset that is nan": (f"{HEADER}a.wav\tnan\t1\tCat\n", "2: 'nan' is not a number"),
    "an endless event": (f"{HEADER}a.wav\t1\tinf\tCat\n", "2: 'inf' is not a number"),
    "a word for a time": (f"{HEADER}a.wav\tone\t2\tCat\n", "2: 'one' is not a number"),
    "a decimal comma among points": (
        f"{HEADER}a.wav\t1,5\t2.5\tCat\n",
        "2: '1,5' is not a number; write numbers with a point, and not with a comma",
    ),
    "a hexadecimal number": (f"{HEADER}a.wav\t0x1\t2\tCat\n", "2: '0x1' is not a number"),
    "an underscore": (f"{HEADER}a.wav\t1_0\t20\tCat\n", "2: '1_0' is not a number"),
    "other digits": (f"{HEADER}a.wav\t٣\t4\tCat\n", "2: '٣' is not a number"),
    "a clock": (f"{HEADER}a.wav\t0:01\t2\tCat\n", "2: '0:01' is not a number"),
    "a unit": (f"{HEADER}a.wav\t1s\t2\tCat\n", "2: '1s' is not a number"),
    "a time past all recordings": (
        f"{HEADER}a.wav\t1\t1e15\tCat\n",
        "2: time 1e15 is beyond 1e+09 s; times are in seconds",
    ),
    "too large a number": (f"{HEADER}a.wav\t1\t1e400\tCat\n", "2: '1e400' is not a number"),
    "no label given": (
        f"{HEADER}a.wav\t1\t2\t\n",
        "2: onset, offset and event_label must be all given or all empty",
    ),
    "no times given": (
        f"{HEADER}a.wav\t\t\tCat\n",
        "2: onset, offset and event_label must be all given or all empty",
    ),
    "no offset given": (
        f"{CATS}a.wav\t1\t\tCat\n",
        "3: onset, offset and event_label must be all given or all empty",
    ),
    "a row that ends early": (
        f"{CATS}\n\na.wav\t1\t2\n",
        "5: onset, offset and event_label must be all given or all empty",
    ),
    "no name given": (f"{HEADER}\t1\t2\tCat\n", "2: the filename is empty"),
    "a cell too many": (f"{HEADER}a.wav\t1\t2\tCat\tx\n", "2: 5 columns where 4 are expected"),
    "no confidence": (
        f"{HEADER[:-1]}\tconfidence\na.wav\t1\t2\tCat\thigh\n",
        "2: 'high' is not a number",
    ),
    "a NUL": (f"{HEADER}a.wav\t1\t2\tCat\x00\n", "2: a control character stands in the line"),
    "an escape": (f"{HEADER}a\x1b.wav\t1\t2\tCat\n", "2: a control character stands in the line"),
    "carriage returns alone": (
        CATS.replace("\n", "\r"),
        "1: a control character stands in the line",
    ),
}
BYTES = {
    "UTF-16 without a mark": (
        CATS.encode("utf-16-le"),
        ":1: it seems to be UTF-16 text without a byte-order mark; save it as UTF-8 text",
    ),
    "Latin-1": (
        f"{HEADER}ä.wav\t1\t2\tCat\n".encode("latin-1"),
        ":2: not UTF-8 text (byte 34); it may be Windows-1252 or Latin-1; save it as UTF-8 text",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_bad_row_is_refused_with_file_and_line(text, message, write):
    good, bad = write("r.tsv", CATS), write("e.tsv", text)
    for line in ((good, bad), (bad, good)):
        assert refused("evaluate", *line) == f"Error: {bad}:{message}\n"


@pytest.mark.parametrize(("content", "message"), BYTES.values(), ids=BYTES)
def test_what_is_no_utf8_text_is_refused(content, message, write):
    bad = write("e.tsv", content)
    assert refused("evaluate", write("r.tsv", CATS), bad) == f"Error: {bad}{message}\n"


# Durations and groups


@pytest.mark.parametrize(
    "text",
    [
        "filename\tduration\na.wav\t10\na.wav\t10.0\na.wav\t1e1\n",
        "duration\tfilename\r\n10\ta.wav\r\n10\ta.wav\r\n",
        "a.wav\t10\n",
        "filename\tduration\nelse/a.wav\t10\n",
    ],
)
def test_durations_may_stand_more_than_once_if_they_are_equal(text, write):
    lists = write("r.tsv", CATS)
    result, warnings = evaluated(lists, lists, "--durations", write("d.tsv", text))
    assert result["parameters"]["n_durations"] == 1
    assert warnings == []


TABLES = {
    "--durations": {
        "a.wav\t10\na.wav\t9\n": "2: 'a.wav' lasts 9 s here and 10 s in an earlier row",
        "filename\tduration\na.wav\t\n": "2: '' is not a number",
        "filename\tduration\na.wav\t-1\n": "2: time -1 is negative",
        "filename\tseconds\na.wav\t1\n": "1: no column 'duration'; the columns are "
        "'filename', 'seconds'; name the columns filename, duration",
    },
    "--groups": {
        "a.wav\tx\na.wav\tx\na.wav\ty\n": "3: 'a.wav' is of group 'y' here and of 'x' in an "
        "earlier row",
        "filename\tgroup\na.wav\n": "2: the group is empty",
    },
}


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [(option, *case) for option, cases in TABLES.items() for case in cases.items()],
)
def test_other_tables_are_refused_with_file_and_line_too(option, text, message, write):
    lists, bad = write("r.tsv", CATS), write("d.tsv", text)
    line = ("evaluate", lists, lists, option, bad, "--bootstrap", 10)
    assert refused(*line) == f"Error: {bad}:{message}\n"


# What fits not


ESTIMATED = f"{HEADER}a.wav\t1\t2\tCat\n"
DOUBTS = {
    "a clip of the reference alone": (
        f"{CATS}b.wav\t\t\t\n",
        ESTIMATED,
        "clips of the reference events that are not in the estimates (1): b.wav",
    ),
    "a clip of the estimates alone": (
        CATS,
        f"{ESTIMATED}b.wav\t1\t2\tCat\n",
        "clips of the estimated events that are not in the reference (1): b.wav",
    ),
    "another folder": (
        CATS,
        ESTIMATED.replace("a.wav", "/data/a.wav"),
        "estimated clips matched by their basename, as folders, suffixes or Unicode forms differ "
        "(1): /data/a.wav is a.wav",
    ),
    "another Unicode form": (
        CATS.replace("a.wav", "\u00e4.wav"),
        ESTIMATED.replace("a.wav", "a\u0308.wav"),
        "estimated clips matched by their basename, as folders, suffixes or Unicode forms differ "
        "(1): a\u0308.wav is \u00e4.wav, in another Unicode form",
    ),
    "a misspelt label": (
        CATS,
        f"{ESTIMATED}a.wav\t3\t4\tcat\n",
        "estimated labels not in the reference, counted in micro only (1): cat (did you mean "
        "'Cat'?)",
    ),
    "a foreign label": (
        CATS,
        f"{ESTIMATED}a.wav\t3\t4\tTrombone\n",
        "estimated labels not in the reference, counted in micro only (1): Trombone",
    ),
    "references that overlap": (
        f"{CATS}a.wav\t1.5\t3\tCat\n",
        ESTIMATED,
        "reference events that overlap with another of their class (1), such as 'Cat' in a.wav; "
        "where time is counted they are one, in event counts several",
    ),
    "estimates that overlap": (
        CATS,
        f"{ESTIMATED}a.wav\t1\t2\tCat\n",
        "estimated events that overlap with another of their class (1), such as 'Cat' in a.wav; "
        "where time is counted they are one, in event counts several",
    ),
}


@pytest.mark.parametrize(("reference", "estimated", "warning"), DOUBTS.values(), ids=DOUBTS)
def test_what_does_not_fit_is_a_warning_and_with_strict_an_error(
    reference, estimated, warning, write, tmp_path
):
    lists = write("r.tsv", reference), write("e.tsv", estimated)
    assert evaluated(*lists)[1] == [warning]
    output = tmp_path / "m.json"
    line = ("evaluate", *lists, "--strict", "-o", output)
    expected = f"Error: {lists[0]} and {lists[1]} do not fit (--strict): {warning}\n"
    assert refused(*line, exit_code=5) == expected
    assert not output.exists()


def cats(*names):
    return HEADER + "".join(f"{name}\t1\t2\tCat\n" for name in names)


KUECHE = [unicodedata.normalize(form, "K\u00fcche") for form in ("NFC", "NFD")]


@pytest.mark.parametrize(
    ("reference", "estimated"),
    [
        (cats("a", "b"), cats("a.wav", "b.wav")),
        (cats("a.mp3", "b.mp3"), cats("x/a", "x/b")),
        (cats(f"{KUECHE[0]}.wav", "b.wav"), cats(f"{KUECHE[1]}.wav", "b.wav")),
        (cats(r"C:\x\a.wav", r"C:\x\b.wav"), cats("x/a", "x/b")),
    ],
    ids=["no suffix here", "nor there", "Unicode form", "Windows"],
)
def test_names_that_are_almost_equal_are_those_of_one_clip(reference, estimated, write):
    for lists in ((reference, estimated), (estimated, reference)):
        result, warnings = evaluated(write("r.tsv", lists[0]), write("e.tsv", lists[1]))
        assert result["event"]["micro"]["tp"] == result["parameters"]["n_clips"] == 2
        (warning,) = warnings
        assert warning.startswith("estimated clips matched by their basename")


def test_where_no_clip_is_common_the_nearest_is_named_and_the_remedy_works(write, tmp_path):
    reference, estimated = (
        write("r.tsv", cats("x/a.mp3", "b")),
        write("e e.tsv", cats("a.wav", "c")),
    )
    output = tmp_path / "out.json"
    said = refused("evaluate", reference, estimated, "-o", output, exit_code=5)
    assert f"{reference} and {estimated} do not fit: no clip of the estimated events" in said
    assert "in the reference: a.wav (there is x/a.mp3), c; 1 may be there under ano" in said
    assert not output.exists()
    remedy = shlex.split(said.split("`")[1].replace("RENAMED.tsv", str(tmp_path / "renamed.tsv")))
    assert remedy[0] == "sedtool"
    run(*remedy[1:])
    result, _ = evaluated(tmp_path / "renamed.tsv", estimated)
    assert result["event"]["micro"]["tp"] == 1
    said = refused("evaluate", reference, write("e.tsv", cats("y", "z")), exit_code=5)
    assert said.endswith("in the reference: y, z; there are b, x/a.mp3\n")


def test_where_some_clips_are_common_the_names_that_are_nearly_are_shown_and_counted(write):
    reference = write("r.tsv", cats("a.wav", "b.mp3", "C.wav", *map(str, range(9))))
    _, warnings = evaluated(reference, write("e.tsv", cats("a.wav", "b.wav", "c.wav", "z")))
    assert warnings == [
        "clips of the estimated events that are not in the reference (3): b.wav (there is b.mp3), "
        "c.wav (there is C.wav), z; 2 may be there under another name",
        "clips of the reference events that are not in the estimates (11): C.wav (there is c.wav), "
        "b.mp3 (there is b.wav), 0, 1, 2 and 6 more; 2 may be there under another name",
    ]
    few = write("e.tsv", cats("a.wav", "a.mp3", "b.mp3"))
    (warning,) = evaluated(write("r.tsv", cats("a", "b")), few)[1][1:2]
    assert warning.endswith("not in the reference (2): a.mp3 (there is a), a.wav (there is a)")


def test_labels_durations_groups_and_folders_of_other_clips_do_not_fit(write, tmp_path):
    lists = write("r.tsv", cats("a.wav")), write("e.tsv", cats("a.wav"))
    weak = write("w.tsv", "filename\tevent_labels\na.mp3\tCat\n")
    others = write("d.tsv", "filename\tduration\na.mp3\t3\n"), write("g.tsv", "a.mp3\tg\n")
    (tmp_path / "scores").mkdir()
    write("scores/a.mp3.tsv", "onset\toffset\tCat\n0\t1\t0.5\n")
    for line in (
        ("evaluate", *lists, "--weak-estimated", weak),
        ("evaluate", *lists, "--durations", others[0]),
        ("evaluate", *lists, "--bootstrap", 10, "--groups", others[1]),
        ("evaluate", lists[0], tmp_path / "scores", "--metrics", "psds1"),
        ("evaluate", lists[0], tmp_path / "scores", "--metrics", "psds1", "--durations", others[0]),
    ):
        said = refused(*line, exit_code=5)
        assert "(there is a.mp3)" in said or "(there is a.wav)" in said, line


def test_strict_says_that_there_are_more_and_names_them(write):
    lists = write("r.tsv", CATS), write("e.tsv", f"{HEADER}a.wav\t\t\t\nb.wav\t1\t2\tcat\n")
    result = run("evaluate", *lists, "--strict", exit_code=5)
    *warnings, error = result.stderr.splitlines()
    assert [line.split(":")[0] for line in warnings] == ["warning"]
    assert error.endswith("; and 1 more, see above")
    assert result.stdout == ""


def test_what_ends_past_its_clip_is_an_error_with_strict(write):
    lists = write("r.tsv", CATS), write("e.tsv", CATS.replace("2", "1.4"))
    durations = write("d.tsv", "a.wav\t1.5\n")
    message = refused("evaluate", *lists, "--durations", durations, "--strict", exit_code=5)
    assert "reference events that end after their clip (1), by up to 0.500 s" in message


def test_lists_that_fit_are_fine_with_strict(write):
    lists = write("r.tsv", CATS)
    assert "warning" not in run("evaluate", lists, lists, "--strict").stderr


def test_a_name_that_may_mean_two_clips_is_refused(write):
    reference = write("r.tsv", f"{HEADER}x/a.wav\t1\t2\tCat\ny/a.wav\t1\t2\tCat\n")
    message = refused("evaluate", reference, write("e.tsv", CATS))
    assert "estimated events: 'a.wav' could be any of 2 clips: x/a.wav, y/a.wav" in message


# What odd labels look like

ODD = "Dog\u00a0bark", "س\u06af\u200cها", "soft\u00adhyphen", "\U0001f3f4\U000e0067"


def test_odd_labels_are_the_same_on_stdout_as_in_the_file(write, tmp_path):
    path = write("odd.tsv", HEADER + "".join(f"a.wav\t0\t1\t{label}\n" for label in ODD))
    line = ("evaluate", path, path, "--metrics", "event", "-q")
    shown = run(*line, "--format", "json", "-o", tmp_path / "m.json").stdout
    assert shown == (tmp_path / "m.json").read_text()
    assert json.loads(shown)["event"]["classes"].keys() == set(ODD)
    rows = [row.split("\t") for row in run(*line, "--format", "tsv").stdout.splitlines()]
    assert {row[2] for row in rows if row[1] == "class"} == set(ODD)
    for name in ("table", "md", "latex"):
        assert all(label in run(*line, "--format", name).stdout for label in ODD)


def test_names_of_files_cannot_act_on_a_terminal(write):
    path = write("a.tsv", f"{HEADER}a.wav\t0\t1\tDog\n")
    other = write("b\x1b[31m\u2028.tsv", path.read_text())
    line = ("evaluate", path, path, "--against", other, "--bootstrap", 5, "-q")
    shown = run(*line).stdout
    assert "b\\x1b[31m\\u2028.tsv" in shown and "\x1b" not in shown
    shown = run(*line, "--format", "json").stdout
    assert "\u2028" not in shown
    assert json.loads(shown)["against"]["estimated"] == str(other)


def test_segments_that_cannot_be_counted_are_refused(write):
    path = write("a.tsv", f"{HEADER}a.wav\t0\t10\tDog\n")
    said = refused("evaluate", path, path, "--segment", "1e-15")
    assert "an event ends at 10 s, too far on for segments of 1e-15 s" in said
    found, _ = evaluated(path, path, "--segment", "1e-14")
    assert found["segment"]["macro"]["f1"] == 1


def test_a_missed_limit_is_told_from_its_score(write):
    path = write("a.tsv", f"{HEADER}a.wav\t0\t1\tDog\n")
    more = write("b.tsv", HEADER + "".join(f"a.wav\t{i}\t{i + 1}\tDog\n" for i in range(3)))
    line = ("evaluate", path, more, "--fail-under", "event_precision=0.3333333334", "-q")
    said = run(*line, exit_code=7).stderr
    assert "event_precision is 0.333333333333, less than 0.3333333334" in said
