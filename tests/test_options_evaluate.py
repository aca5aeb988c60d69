"""Each option of `sedtool evaluate`."""

import json
import os

import numpy as np
import pytest

from sedtool.score_tables import FrameScores, write_score_tables
from support.command_lines import refused, run, save_small_model, tries

STRONG = "filename\tonset\toffset\tevent_label\n"


def write(path, text):
    path.write_text(text)
    return path


# A clip of 4 s; the onset is 0.3 s late, the offset 1 s; one class too many


@pytest.fixture
def lists(tmp_path):
    reference = write(tmp_path / "r.tsv", f"{STRONG}a.wav\t0.0\t2.0\tDog\na.wav\t2.0\t3.0\tCat\n")
    estimated = write(tmp_path / "e.tsv", f"{STRONG}a.wav\t0.3\t3.0\tDog\na.wav\t2.0\t3.0\tCow\n")
    return reference, estimated


def evaluated(tmp_path, *arguments):
    output = tmp_path / "metrics.json"
    run("evaluate", *arguments, "-o", output, "--overwrite")
    return json.loads(output.read_text())


def hits(result, metric="event"):
    return {label: row["tp"] for label, row in result[metric]["classes"].items()}


@tries("evaluate", "reference", "estimated", "--output", "--collar", "--offset-ratio")
def test_tolerances_decide_what_is_a_hit(lists, tmp_path):
    assert hits(evaluated(tmp_path, *lists)) == {"Dog": 0, "Cat": 0}
    # The onset is 0.3 s late, and the offset 1 s: half of the length of the event.
    for collar, ratio, dogs in ((0.3, 0.5, 1), (0.3, 0.4, 0), (0.2, 0.5, 0), (1, 0, 1)):
        line = ("--collar", collar, "--offset-ratio", ratio)
        result = evaluated(tmp_path, *lists, *line)
        assert hits(result)["Dog"] == dogs
        assert (result["parameters"]["collar"], result["parameters"]["offset_ratio"]) == line[1::2]


@tries("evaluate", "--segment", "--durations")
def test_segments_have_their_length_and_clips_their_duration(lists, tmp_path, tiny):
    assert hits(evaluated(tmp_path, *lists), "segment")["Dog"] == 2
    assert hits(evaluated(tmp_path, *lists, "--segment", 0.5), "segment")["Dog"] == 4
    durations = write(tmp_path / "d.tsv", "filename\tduration\na.wav\t2.5\n")
    result = evaluated(tmp_path, *lists, "--durations", durations, "--segment", 0.5)
    assert result["parameters"]["n_durations"] == 1
    assert result["segment"]["classes"]["Dog"]["fp"] == 1  # of two: the clip has ended
    for known in (tiny.features, tiny.audio):
        counted = evaluated(tmp_path, tiny.strong, tiny.strong, "--durations", known)
        assert counted["parameters"]["n_durations"] == 8


@tries("evaluate", "--classes")
def test_only_the_given_classes_are_scored(lists, tmp_path):
    classes = write(tmp_path / "classes.txt", "Cat\nDog\n")
    assert list(hits(evaluated(tmp_path, *lists, "--classes", classes))) == ["Cat", "Dog"]
    assert "no columns" in refused("evaluate", *lists, "--classes", lists[0])
    assert "is empty" in refused("evaluate", *lists, "--classes", os.devnull)


@tries("evaluate", "--min-confidence")
def test_reference_events_of_less_confidence_are_left_out_of_scores(lists, tmp_path):
    for path in lists:  # what a system is less sure of is an event all the same
        rows = zip(path.read_text().splitlines(), ("confidence", "0.9", "0.3"), strict=True)
        path.write_text("".join(f"{row}\t{cell}\n" for row, cell in rows))
    said = run("evaluate", *lists).stderr
    assert f"{lists[0]}: 2 of 2 events have a confidence below 1 (least 0.3); all are" in said
    assert str(lists[1]) not in said
    assert list(hits(evaluated(tmp_path, *lists, "--min-confidence", 0.5))) == ["Dog"]
    assert "must be in [0, 1]" in refused("evaluate", *lists, "--min-confidence", "2")


@tries("evaluate", "--weak-reference", "--weak-estimated")
def test_weak_labels_are_scored_in_place_of_events(lists, tmp_path):
    assert hits(evaluated(tmp_path, *lists), "clip") == {"Dog": 1, "Cat": 0}
    weak = write(tmp_path / "w.tsv", "filename\tevent_labels\na.wav\tCat\n")
    estimated = evaluated(tmp_path, *lists, "--weak-estimated", weak)
    assert hits(estimated, "clip") == {"Dog": 0, "Cat": 1}
    assert estimated["clip"]["source"] == "clip predictions"
    reference = evaluated(tmp_path, *lists, "--weak-reference", weak)
    assert hits(reference, "clip") == {"Cat": 0}


@tries("evaluate", "--engine", "--compat")
def test_the_engine_and_its_rules_are_as_asked_for(lists, tmp_path):
    native = evaluated(tmp_path, *lists, "--engine", "native")
    pytest.importorskip("sed_eval")
    other = evaluated(tmp_path, *lists, "--engine", "sed_eval")
    assert other["parameters"]["engine"] == "sed_eval"
    assert other["event"] == native["event"]
    dcase = evaluated(tmp_path, *lists, "--compat", "dcase")
    assert dcase["segment"]["macro"]["f1"] > native["segment"]["macro"]["f1"]  # Cat is dropped
    assert "'native', 'sed_eval'" in refused("evaluate", *lists, "--engine", "sedeval")
    assert "only 'dcase'" in refused("evaluate", *lists, "--compat", "dcas")


@tries("evaluate", "--partial")
def test_a_part_is_scored_only_if_asked_to(tiny, tmp_path):
    model = save_small_model(tmp_path / "m.safetensors")
    part = tmp_path / "part.tsv"
    run("infer", model, tiny.audio / "val", "--shard", "1/2", "-o", part)
    assert "is shard 1/2" in refused("evaluate", tiny.strong, part, exit_code=5)
    run("evaluate", tiny.strong, part, "--partial")


@tries("evaluate", "--overwrite")
def test_finished_metrics_are_replaced_only_if_asked_to(lists, tmp_path):
    output = write(tmp_path / "metrics.json", "mine")
    assert "--overwrite" in refused("evaluate", *lists, "-o", output)
    assert output.read_text() == "mine"
    run("evaluate", *lists, "-o", output, "--overwrite")
    json.loads(output.read_text())


# Which metrics


def scores_of(*arguments):
    return json.loads(run("evaluate", *arguments, "--format", "json").stdout)


@tries("evaluate", "--metrics")
def test_the_metrics_asked_for_are_computed_in_the_order_of_reports(lists):
    assert [key for key in scores_of(*lists) if key in ("event", "segment", "clip", "onset")] == [
        *("event", "segment", "clip")
    ]
    found = scores_of(*lists, "--metrics", "intersection, onset,event")
    assert list(found) == ["parameters", "event", "onset", "intersection", "warnings"]
    assert hits(found, "onset") == {"Dog": 0, "Cat": 0}
    late = scores_of(*lists, "--metrics", "onset", "--collar", 0.3)
    assert hits(late, "onset") == {"Dog": 1, "Cat": 0}
    message = refused("evaluate", *lists, "--metrics", "event,segments")
    assert "unknown name 'segments'" in message
    assert "did you mean 'segment'?" in message
    assert "only once" in refused("evaluate", *lists, "--metrics", "event,event")
    assert "with commas between them" in refused("evaluate", *lists, "--metrics", "event,")


def test_errors_are_counted_if_asked_for(lists):
    """Dog is late by 0.3 s and 1 s too long; Cat is called Cow."""
    found = scores_of(*lists, "--metrics", "error-rate,errors")
    assert list(found) == ["parameters", "error_rate", "errors", "warnings"]
    overall = found["error_rate"]["event"]["overall"]
    assert [overall[key] for key in ("substitutions", "deletions", "insertions")] == [1, 1, 1]
    assert overall["rate"] == 3 / 2
    assert found["error_rate"]["event"]["macro"] == (2 + 1) / 2
    total = found["errors"]["total"]
    kinds = ("displaced", "late_onset", "late_offset", "substituted", "missed", "spurious")
    assert [total[kind] for kind in kinds] == [1, 1, 1, 1, 0, 0]
    table = run("evaluate", *lists, "--metrics", "error-rate,errors").stdout
    assert "event    all    1.5000              1          1           1          2" in table
    rows = run("evaluate", *lists, "--metrics", "error-rate,errors", "--format", "tsv").stdout
    assert "event\tmicro\t\terror_rate\t1.5\t" in rows
    assert "event\tmacro\t\terror_rate\t1.5\t" in rows
    assert "errors\tclass\tCat\tsubstituted\t1\t" in rows
    message = refused("evaluate", *lists, "--metrics", "error-rate", "--fail-under", "event_f1=0")
    assert "'event_f1' is no score of this evaluation" in message


UNUSED = {
    "--dtc 0.5": "--dtc is used by the metric intersection; add one to --metrics",
    "--gtc 0.5": "--gtc is used by the metric intersection; add one to --metrics",
    "--seed 0": "--seed is used by --bootstrap and --against; give one of them",
    "--confidence 0.9": "--confidence is used by --bootstrap and --against; give one of them",
    "--metrics clip --collar 0.2": "--collar is used by the metrics event, onset, error-rate",
    "--metrics onset --offset-ratio 0.2": "--offset-ratio is used by the metrics event, error-rate",
    "--metrics event --segment 1": "--segment is used by the metrics segment, error-rate; add one",
    "--metrics errors --engine native": "--engine is used by the metrics event, segment, clip",
    "--metrics event --durations {}": "--durations is used by the metrics segment, error-rate",
    "--metrics event --weak-reference {}": "--weak-reference is used by the metric clip; add",
    "--metrics event --weak-estimated {}": "--weak-estimated is used by the metric clip; add",
}


@pytest.mark.parametrize(("options", "message"), UNUSED.items(), ids=UNUSED)
def test_an_option_that_nothing_uses_is_refused(options, message, lists, tmp_path):
    output = tmp_path / "metrics.json"
    words = options.format(lists[0]).split()
    assert f"Error: {message}" in refused("evaluate", *lists, *words, "-o", output)
    assert not output.exists()


def test_an_option_that_a_recipe_gives_may_be_of_other_uses(lists, tmp_path):
    recipe = write(tmp_path / "recipe.yaml", "evaluate:\n  seed: 3\n  dtc: 0.4\n")
    run("evaluate", *lists, "-c", recipe, "--metrics", "event")


@tries("evaluate", "--dtc", "--gtc")
def test_shares_decide_what_intersects(lists):
    """The Dog of 2.7 s lies over 1.7 s of a reference of 2 s: 0.63 and 0.85 of them."""
    for dtc, gtc, dogs in ((0.5, 0.5, 1), (0.62, 0.85, 1), (0.64, 0.5, 0), (0.5, 0.86, 0)):
        line = ("--metrics", "intersection", "--dtc", dtc, "--gtc", gtc)
        found = scores_of(*lists, *line)
        assert hits(found, "intersection")["Dog"] == dogs
        assert (found["parameters"]["dtc"], found["parameters"]["gtc"]) == (dtc, gtc)
    assert "--dtc must be in [0, 1], not 1.5" in refused("evaluate", *lists, "--dtc", 1.5)


@pytest.fixture
def score_folder(tmp_path, lists):
    """Scores of 4 s in frames of 1 s: the Dog is right, the Cat never."""
    frame = np.array([[0.9, 0.1], [0.8, 0.1], [0.1, 0.2], [0.2, 0.1]])
    folder = tmp_path / "scores"
    write_score_tables(folder, ("Dog", "Cat"), [FrameScores("a.wav", np.arange(5.0), frame)])
    return folder


@tries("evaluate", "--psds")
def test_psds_of_a_folder_of_scores_has_the_parameters_given(lists, score_folder):
    reference = lists[0]
    found = scores_of(reference, score_folder)
    assert list(found) == ["parameters", "psds", "warnings"]
    assert list(found["psds"]) == ["psds1", "psds2"]
    assert found["psds"]["psds1"]["classes"] == {"Cat": 1, "Dog": 1}  # at a threshold below 0.2
    own = scores_of(reference, score_folder, "--psds", "dtc=0.9, gtc=0.9,alpha_st=0")
    assert list(own["psds"]) == ["psds"]
    assert own["psds"]["psds"]["parameters"] == {
        "dtc": 0.9,
        "gtc": 0.9,
        "cttc": 0.3,
        "alpha_ct": 0.0,
        "alpha_st": 0.0,
        "max_efpr": 100.0,
    }
    both = scores_of(reference, score_folder, "--psds", "dtc=0.9", "--metrics", "psds2")
    assert list(both["psds"]) == ["psds2", "psds"]
    for wrong, message in {
        "dct=0.5": "unknown name 'dct'; one of: dtc, gtc, cttc, alpha_ct, alpha_st, max_efpr; did "
        "you mean 'dtc'?",
        "dtc=2": "--psds dtc must be in [0, 1], not 2",
        "dtc=high": "--psds dtc must be a number, not 'high'",
        "dtc=0.1,dtc=0.2": "--psds gives dtc twice",
    }.items():
        assert message in refused("evaluate", reference, score_folder, "--psds", wrong)
    assert "needs an event list" in refused(
        "evaluate", reference, score_folder, "--metrics", "clip"
    )
    assert "needs scores, not one event list" in refused("evaluate", *lists, "--metrics", "psds1")


def test_psds_of_a_folder_of_event_lists_needs_durations(lists, tmp_path):
    reference, estimated = lists
    folder = tmp_path / "lists"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.tsv").write_text(estimated.read_text())
    assert "--durations are needed" in refused("evaluate", reference, folder)
    durations = write(tmp_path / "d.tsv", "filename\tduration\na.wav\t4\nsilent.wav\t6\n")
    found = scores_of(reference, folder, "--durations", durations)["psds"]["psds2"]
    assert (found["n_clips"], found["seconds"]) == (2, 10)
    assert found["classes"] == {"Cat": 0, "Dog": 1}


def test_a_scores_file_has_psds_beside_the_rest(tiny, tmp_path):
    model, scores = save_small_model(tmp_path / "m.safetensors"), tmp_path / "s.h5"
    run("infer", model, tiny.features, "--scores", scores, "-q")
    found = scores_of(tiny.strong, scores, "--metrics", "event,psds1")
    assert list(found)[:3] == ["parameters", "event", "psds"]
    assert 0 <= found["psds"]["psds1"]["value"] <= 1
    table = run("evaluate", tiny.strong, scores, "--metrics", "event,psds1").stdout
    assert f"psds1   all    {found['psds']['psds1']['value']:.4f}" in table


# How sure they are


@tries("evaluate", "--bootstrap", "--seed", "--confidence", "--against", "--groups")
def test_options_of_the_resampling_are_used(lists, tmp_path):
    rows = [f"{i}.wav\t0\t1\tDog\n" for i in range(8)]
    reference = write(tmp_path / "many.tsv", STRONG + "".join(rows))
    half = write(tmp_path / "half.tsv", STRONG + "".join(rows[:4]))
    quarter = write(tmp_path / "quarter.tsv", STRONG + "".join(rows[:2]))
    line = (reference, half, "-q", "--bootstrap", 40)
    found = scores_of(*line)
    assert "against" not in found
    assert found["bootstrap"]["resamples"] == 40
    assert found["bootstrap"]["n_units"] == 8
    assert (
        scores_of(*line, "--seed", 3)["bootstrap"]["intervals"] != found["bootstrap"]["intervals"]
    )
    low, high = found["bootstrap"]["intervals"]["event_recall"]
    narrow = scores_of(*line, "--confidence", 0.2)["bootstrap"]["intervals"]["event_recall"]
    assert low < narrow[0] <= narrow[1] < high
    groups = write(tmp_path / "g.tsv", "".join(f"{i}.wav\tg{i % 2}\n" for i in range(8)))
    by_group = scores_of(*line, "--groups", groups)["bootstrap"]
    assert (by_group["unit"], by_group["n_units"]) == ("groups", 2)
    assert by_group["intervals"]["event_recall"] == [0.5, 0.5]  # of either group half is found
    against = scores_of(reference, half, "--against", quarter)
    assert against["bootstrap"]["resamples"] == 10_000
    assert against["against"]["estimated"] == str(quarter)
    difference = against["against"]["differences"]["event_recall"]
    assert difference["difference"] == 0.25
    assert difference["low"] == 0
    few = write(tmp_path / "few.tsv", "0.wav\tg0\n")
    assert "7 clips have no group" in refused("evaluate", *line, "--groups", few)
    assert "--groups needs --bootstrap" in refused("evaluate", reference, half, "--groups", groups)


# What is said


@tries("evaluate", "--format")
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("table", "metric   class"),
        ("tsv", "metric\taverage\tclass\tscore\tvalue\t"),
        ("json", "{\n"),
        ("md", "| metric | class | F1 |"),
        ("latex", "% event: onset within 0.2 s"),
    ],
)
def test_stdout_has_the_format_asked_for(lists, name, start, tmp_path):
    output = tmp_path / "m.json"
    printed = run("evaluate", *lists, "--format", name, "-o", output).stdout
    assert printed.startswith(start)
    assert list(json.loads(output.read_text()))[1:4] == ["event", "segment", "clip"]


@tries("evaluate", "--per-class")
def test_of_many_classes_the_table_has_the_worst_and_the_best_unless_all_are_asked_for(tmp_path):
    rows = [f"{c}.wav\t{i}\t{i + 0.5}\t{c}\n" for c in "ABCDEFGHI" for i in range(9)]
    reference = write(tmp_path / "r.tsv", STRONG + "".join(rows))
    hits = {c: n for n, c in enumerate("CAGBIDHEF", 1)}  # of nine; of Z there is nothing
    some = [row for row in rows if int(row.split("\t")[1]) < hits[row[0]]]
    estimated = write(tmp_path / "e.tsv", STRONG + "".join(some))
    classes = write(tmp_path / "c.txt", "".join(f"{c}\n" for c in "ABCDEFGHIZ"))
    line = ("evaluate", reference, estimated, "--classes", classes, "--metrics")

    def shown(*more):
        table = run(*line, *more).stdout
        rows = [row.split()[:2] for row in table.splitlines() if row]
        return table, [label for metric, label, *_ in rows if label in [*hits, "Z"]]

    table, labels = shown("segment,event,clip")
    assert labels == [*"CAG", *"HEF"]  # Z is not among the worst: its F1 is undefined
    assert "classes: the worst and the best by event F1; --per-class shows all 10\n" in table
    assert max(map(len, table.splitlines()[:14])) <= 80
    table, labels = shown("event,clip", "--per-class")
    assert labels == [*"CAGBIDHEF", "Z"] * 2
    assert "--per-class" not in table
    assert shown("error-rate,errors")[1] == [*"CAG", *"HEF"] * 3
    assert shown("errors", "--per-class")[1] == [*"ABCDEFGHIZ"] * 2
    for name in ("tsv", "json", "md", "latex"):
        every = run(*line, "event,clip", "--format", name).stdout
        assert every == run(*line, "event,clip", "--format", name, "--per-class").stdout
        assert "Z" in every


def test_names_that_mean_something_to_a_format_are_escaped(tmp_path):
    lists = write(tmp_path / "r.tsv", f"{STRONG}a.wav\t0\t2\tA_b|c & 50%\n")
    assert "A\\_b\\|c & 50%" in run("evaluate", lists, lists, "--format", "md").stdout
    assert r"A\_b|c \& 50\%" in run("evaluate", lists, lists, "--format", "latex").stdout
    rows = run("evaluate", lists, lists, "--format", "tsv").stdout.splitlines()
    assert "event\tclass\tA_b|c & 50%\tf1\t1\t\t\t\t\t\t\t" in rows
    assert len({row.count("\t") for row in rows}) == 1


@tries("evaluate", "--fail-under")
def test_a_score_below_its_limit_ends_with_7_after_all_is_written(lists, tmp_path):
    output = tmp_path / "m.json"
    line = ("evaluate", *lists, "-o", output, "-q", "--overwrite")
    run(*line, "--fail-under", "clip_f1=0.5", "--fail-under", "clip_micro_recall = 0.5")
    output.unlink()
    limits = ("--fail-under", "clip_f1=0.5", "--fail-under", "event_f1=0.30")
    result = run(*line, *limits, "--fail-under", "segment_recall=0.99", exit_code=7)
    *_, error = result.stderr.splitlines()
    assert error == (
        "Error: event_f1 is 0, less than 0.3; segment_recall is 0.5, less than 0.99 (--fail-under)"
    )
    assert result.stdout == run(*line).stdout
    json.loads(output.read_text())
    for wrong, message in {
        "evnt_f1=0.3": "'evnt_f1' is no score of this evaluation; those are event_f1, ",
        "psds1=0.3": "'psds1' is no score of this evaluation",
        "event_f1": "as in event_f1=0.30, not 'event_f1'",
        "event_f1=30": "a value in [0, 1]",
        "event_f1=nan": "a value in [0, 1]",
    }.items():
        assert message in refused("evaluate", *lists, "--fail-under", wrong)
    assert "did you mean 'event_f1'?" in refused("evaluate", *lists, "--fail-under", "evnt_f1=0")


def test_an_undefined_score_is_below_any_limit(tmp_path):
    empty = write(tmp_path / "r.tsv", STRONG)
    result = run("evaluate", empty, empty, "-q", "--fail-under", "event_f1=0", exit_code=7)
    assert result.stderr == "Error: event_f1 is undefined, not 0 or more (--fail-under)\n"


@tries("evaluate", "--strict")
def test_a_warning_is_an_error_if_asked_to(lists, tmp_path):
    assert "warning: estimated labels not in the reference" in run("evaluate", *lists).stderr
    output = tmp_path / "m.json"
    message = refused("evaluate", *lists, "--strict", "-o", output, exit_code=5)
    assert "estimated labels not in the reference" in message
    assert not output.exists()
