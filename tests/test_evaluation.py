"""Scores that can be had by hand, conventions for what is undefined, and the report."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sedtool.config import EvaluateInputs, EvaluationConfig
from sedtool.errors import ConfigError, LabelError
from sedtool.evaluation import (
    ClassScores,
    EventArrays,
    evaluate,
    evaluate_clips,
    evaluate_events,
    evaluate_segments,
    event_counts,
)
from sedtool.evaluation.formats import format_evaluation
from sedtool.evaluation.from_files import evaluate_files
from sedtool.labels import Event, StrongLabels, read_durations, read_events, read_weak

CONFIG = EvaluationConfig()
DCASE = EvaluationConfig(compat="dcase")
GOLDEN = Path(__file__).parent / "golden" / "evaluation"

# Two clips, three classes, counted by hand below.
REFERENCE = [
    Event("1.wav", 0.0, 2.0, "Dog"),
    Event("1.wav", 3.0, 4.0, "Dog"),
    Event("1.wav", 1.0, 9.0, "Speech"),
    Event("2.wav", 5.0, 6.5, "Cat"),
]
ESTIMATED = [
    Event("1.wav", 0.1, 2.3, "Dog"),  # a hit: the offset may be 20 % of 2 s = 0.4 s late
    Event("1.wav", 3.0, 4.3, "Dog"),  # 0.3 s late, and 20 % of 1 s is less than the collar
    Event("1.wav", 1.0, 7.5, "Speech"),  # a hit: 1.5 s early, and 1.6 s are allowed
    Event("2.wav", 5.0, 6.5, "Dog"),  # the wrong class
]


def counts(row: ClassScores) -> tuple[int, int, int]:
    return row.tp, row.fp, row.fn


def silent(*names: str) -> StrongLabels:
    return StrongLabels([], names)


def test_perfect_detection_scores_1_everywhere():
    result = evaluate(REFERENCE, REFERENCE[::-1], CONFIG)
    for scores in result.scores.values():
        assert (scores.macro.f1, scores.macro.precision, scores.macro.recall) == (1, 1, 1)
        assert scores.micro.f1 == 1
        assert set(scores.classes) == {"Cat", "Dog", "Speech"}
    assert result.warnings == ()


def test_a_silent_system_scores_0_and_its_precision_is_undefined():
    result = evaluate(REFERENCE, silent("1.wav", "2.wav"), CONFIG)
    for scores in result.scores.values():
        assert (scores.macro.f1, scores.macro.precision, scores.macro.recall) == (0, 0, 0)
        assert (scores.micro.f1, scores.micro.recall) == (0, 0)
        assert math.isnan(scores.micro.precision)
        assert math.isnan(scores.classes["Dog"].precision)
        assert scores.undefined == ()


def test_without_events_on_either_side_every_score_is_undefined():
    result = evaluate(silent("1.wav"), silent("1.wav"), CONFIG)
    for scores in result.scores.values():
        assert math.isnan(scores.macro.f1)
        assert math.isnan(scores.micro.f1)
    assert json.loads(result.to_json())["event"]["micro"]["f1"] is None


def test_events_are_counted_as_by_hand():
    scores = evaluate_events(REFERENCE, ESTIMATED, CONFIG)
    assert counts(scores.classes["Dog"]) == (1, 2, 1)
    assert counts(scores.classes["Speech"]) == (1, 0, 0)
    assert counts(scores.classes["Cat"]) == (0, 0, 1)
    assert counts(scores.micro) == (2, 2, 2)
    assert (scores.classes["Dog"].n_reference, scores.classes["Dog"].n_estimated) == (2, 3)
    assert scores.classes["Dog"].precision == pytest.approx(1 / 3)
    assert scores.classes["Dog"].recall == pytest.approx(1 / 2)
    assert scores.classes["Dog"].f1 == pytest.approx(2 / 5)
    assert scores.macro.f1 == pytest.approx((2 / 5 + 1 + 0) / 3)
    assert scores.macro.precision == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert scores.micro.f1 == pytest.approx(1 / 2)


def test_segments_are_counted_as_by_hand():
    scores = evaluate_segments(REFERENCE, ESTIMATED, CONFIG)
    assert counts(scores.classes["Dog"]) == (3, 4, 0)  # segments 0 1 3; 0 1 2 3 4 and two more
    assert counts(scores.classes["Speech"]) == (7, 0, 1)
    assert counts(scores.classes["Cat"]) == (0, 0, 2)
    assert counts(scores.micro) == (10, 4, 3)


def test_clips_are_counted_as_by_hand():
    scores = evaluate(REFERENCE, ESTIMATED, CONFIG).clip
    assert counts(scores.classes["Dog"]) == (1, 1, 0)
    assert counts(scores.classes["Speech"]) == (1, 0, 0)
    assert counts(scores.classes["Cat"]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("onset", "offset", "hits"),
    [(0.75, 3.0, 1), (0.74, 3.0, 0), (1.25, 3.0, 1), (1.0, 3.5, 1), (1.0, 3.51, 0), (1.0, 2.5, 1)],
)
def test_tolerances_are_inclusive(onset, offset, hits):
    config = EvaluationConfig(collar=0.25, offset_ratio=0.25)  # 0.5 s for the offset of 2 s
    reference = [Event("1.wav", 1.0, 3.0, "Dog")]
    estimated = [Event("1.wav", onset, offset, "Dog")]
    assert evaluate_events(reference, estimated, config).micro.tp == hits


def test_decimal_ties_fall_as_their_floats_do():
    def hits(reference: float, estimated: float) -> int:
        r, e = (
            EventArrays(np.array([0]), np.array([t]), np.array([t])) for t in (reference, estimated)
        )
        return event_counts(r, e, CONFIG)

    assert [hits(0.3, 0.1), hits(0.4, 0.2), hits(0.8, 0.6)] == [1, 1, 0]


def test_the_largest_pairing_is_found_where_the_first_fit_would_lose_one():
    reference = [Event("1.wav", 0.25, 5, "Dog"), Event("1.wav", 0.0, 5, "Dog")]
    estimated = [Event("1.wav", 0.125, 5, "Dog"), Event("1.wav", 0.375, 5, "Dog")]
    for order in (1, -1):
        assert evaluate_events(reference[::order], estimated, CONFIG).micro.tp == 2


def test_a_chain_of_thousands_of_events_is_paired_to_the_last():
    # Every estimate fits the reference before and the one after it; one choice decides the rest.
    references = np.arange(20_000) * 0.3
    r = EventArrays(np.zeros(20_000, np.int64), references, references)
    e = EventArrays(r.clip, references[::-1] + 0.15, references[::-1] + 0.15)
    assert event_counts(r, e, CONFIG) == 20_000
    first_gone = EventArrays(r.clip[1:], r.onset[1:], r.offset[1:])
    assert event_counts(first_gone, e, CONFIG) == 19_999


def test_a_duplicate_is_a_false_positive_in_events_and_nothing_in_segments():
    once = [Event("1.wav", 1, 3, "Dog")]
    assert counts(evaluate_events(once, once * 3, CONFIG).micro) == (1, 2, 0)
    assert counts(evaluate_segments(once, once * 3, CONFIG).micro) == (2, 0, 0)


def test_a_zero_length_event_matches_and_is_active_inside_a_segment_only():
    border, inside = [Event("1.wav", 2, 2, "Dog")], [Event("1.wav", 2.5, 2.5, "Dog")]
    assert evaluate_events(border, border, CONFIG).micro.tp == 1
    assert evaluate_segments(border, border, CONFIG).micro.tp == 0
    assert evaluate_segments(inside, inside, CONFIG).micro.tp == 1


def test_events_of_different_clips_never_match():
    reference = [Event("1.wav", 0, 1, "Dog"), Event("2.wav", 3, 4, "Dog")]
    swapped = [Event("2.wav", 0, 1, "Dog"), Event("1.wav", 3, 4, "Dog")]
    assert counts(evaluate_events(reference, swapped, CONFIG).micro) == (0, 2, 2)
    assert counts(evaluate_segments(reference, swapped, CONFIG).micro) == (0, 2, 2)


def test_segments_of_a_microsecond_cost_no_more_than_those_of_a_second():
    events = [Event("1.wav", 0, 3600, "Dog")]
    scores = evaluate_segments(events, events, EvaluationConfig(segment=1e-6))
    assert scores.micro.tp == 3_600_000_000


def test_segments_past_a_known_end_are_not_scored():
    reference = [Event("1.wav", 8, 10.0, "Dog"), Event("2.wav", 8, 10.0, "Dog")]
    estimated = [Event("1.wav", 8, 10.01, "Dog"), Event("2.wav", 8, 10.01, "Dog")]
    uncut = evaluate_segments(reference, estimated, CONFIG)
    assert counts(uncut.micro) == (4, 2, 0)
    cut = evaluate_segments(reference, estimated, CONFIG, durations={"1.wav": 10.0})
    assert counts(cut.micro) == (4, 1, 0)
    early = evaluate_segments(reference, estimated, CONFIG, durations={"1.wav": 8.5, "2.wav": 0})
    assert counts(early.micro) == (1, 0, 0)


def test_a_class_that_was_never_estimated_counts_0_here_and_is_dropped_by_sed_eval():
    estimated = [event for event in REFERENCE if event.label != "Cat"]
    assert evaluate_segments(REFERENCE, estimated, CONFIG).macro.f1 == pytest.approx(2 / 3)
    assert evaluate_segments(REFERENCE, estimated, DCASE).macro.f1 == 1
    assert evaluate_events(REFERENCE, estimated, DCASE).macro.f1 == pytest.approx(2 / 3)


def test_a_class_only_in_the_estimates_counts_in_micro_and_not_in_macro():
    estimated = [*REFERENCE, Event("1.wav", 0, 1, "Doog")]
    result = evaluate(REFERENCE, estimated, CONFIG)
    for scores in result.scores.values():
        assert scores.macro.f1 == scores.macro.precision == 1
        assert counts(scores.micro)[1] == 1
        assert "Doog" not in scores.classes
    assert result.warnings == (
        "estimated labels not in the reference, counted in micro only (1): Doog "
        "(did you mean 'Dog'?)",
    )
    by_dcase = evaluate(REFERENCE, estimated, DCASE)
    assert by_dcase.event.macro.f1 == by_dcase.segment.macro.f1 == 1
    assert by_dcase.event.macro.precision == by_dcase.segment.macro.precision == 3 / 4
    assert by_dcase.clip.macro.f1 == 3 / 4
    assert by_dcase.event.undefined == ("Doog",)
    assert by_dcase.warnings == ()


def test_a_given_class_list_decides_what_is_scored_on_both_sides():
    result = evaluate(REFERENCE, ESTIMATED, CONFIG, classes=["Dog", "Bird"])
    for scores in result.scores.values():
        assert tuple(scores.classes) == ("Dog", "Bird")
        assert counts(scores.micro) == counts(scores.classes["Dog"])
        assert scores.undefined == ("Bird",)
        assert scores.macro.f1 == scores.classes["Dog"].f1 / 2
    assert result.warnings == ("labels not in the class list, not scored (2): Cat, Speech",)


def test_a_class_named_twice_in_the_list_is_refused():
    with pytest.raises(LabelError, match="names 'Dog' 2 times"):
        evaluate(REFERENCE, ESTIMATED, CONFIG, classes=["Dog", "Dog"])


def test_a_clip_only_in_the_estimates_counts_its_false_positives_and_is_named():
    estimated = [*REFERENCE, Event("9.wav", 0, 2, "Dog")]
    result = evaluate(REFERENCE, estimated, CONFIG)
    assert counts(result.event.classes["Dog"]) == (2, 1, 0)
    assert counts(result.segment.classes["Dog"]) == (3, 2, 0)
    assert counts(result.clip.classes["Dog"]) == (1, 1, 0)
    assert result.warnings == (
        "clips of the estimated events that are not in the reference (1): 9.wav",
    )
    by_dcase = evaluate(REFERENCE, estimated, DCASE)
    assert by_dcase.event.micro.f1 == by_dcase.segment.micro.f1 == 1
    assert counts(by_dcase.clip.classes["Dog"]) == (1, 1, 0)


def test_a_clip_only_in_the_reference_counts_its_misses_and_is_named():
    result = evaluate(REFERENCE, REFERENCE[:3], CONFIG)
    assert counts(result.event.classes["Cat"]) == (0, 0, 1)
    assert result.warnings == (
        "clips of the reference events that are not in the estimates (1): 2.wav",
    )


def test_a_warning_names_five_clips_and_counts_all():
    reference = silent(*(f"{i}.wav" for i in range(7)))
    (warning,) = evaluate(reference, silent(), CONFIG).warnings
    assert warning.startswith("clips of the reference")
    assert warning.endswith(" (7): 0.wav, 1.wav, 2.wav, 3.wav, 4.wav and 2 more")


def test_clips_match_by_unique_basename_and_the_result_says_how_many():
    moved = [replace(event, name=f"/data/eval/{event.name}") for event in REFERENCE]
    result = evaluate(REFERENCE, moved, CONFIG, durations={"audio/1.wav": 8.0, "other.wav": 1.0})
    assert [scores.micro.f1 for scores in result.scores.values()] == [1, 1, 1]
    assert result.n_matched_by_basename == 2
    assert result.segment.classes["Speech"].n_reference == 7  # 1 to 8 s, not to 9 s
    assert evaluate(REFERENCE, REFERENCE, CONFIG).n_matched_by_basename == 0


def test_an_ambiguous_basename_is_refused():
    reference = silent("a/1.wav", "b/1.wav")
    with pytest.raises(LabelError, match=r"estimated events: '1.wav' could be any of 2 clips"):
        evaluate(reference, silent("1.wav"), CONFIG)
    with pytest.raises(LabelError, match=r"'a/1.wav' and 'b/1.wav' both mean clip '1.wav'"):
        evaluate(reference, silent(), CONFIG, durations={"1.wav": 10.0})


def test_clip_predictions_are_scored_instead_of_events_where_given():
    predicted = {"x/1.wav": {"Dog", "Speech"}, "x/2.wav": {"Cat"}}
    result = evaluate(REFERENCE, ESTIMATED, CONFIG, weak_estimated=predicted)
    assert (result.clip.macro.f1, result.clip_source) == (1, "clip predictions")
    assert result.n_matched_by_basename == 2
    assert evaluate(REFERENCE, ESTIMATED, CONFIG).clip_source == "event lists"


def test_a_weak_reference_has_the_clips_of_the_events_whatever_their_suffix():
    weak = {"1": ["Dog", "Speech"], "x/2.wav": ["Cat"]}
    predicted = {"1.wav": ["Dog", "Speech"], "2.wav": ["Cat"]}
    result = evaluate(REFERENCE, REFERENCE, CONFIG, weak_reference=weak, weak_estimated=predicted)
    assert set(result.clips) == {event.name for event in REFERENCE}
    assert result.clip.micro.f1 == 1
    assert result.warnings == ()


def test_a_weak_reference_replaces_the_labels_of_the_events():
    weak = {"1.wav": ["Dog"], "3.wav": ["Dog"]}
    result = evaluate(REFERENCE, REFERENCE, CONFIG, weak_reference=weak)
    assert tuple(result.clip.classes) == ("Dog",)
    assert counts(result.clip.classes["Dog"]) == (1, 0, 1)
    assert counts(result.clip.micro) == (1, 2, 1)
    assert result.clip_source == "event lists"
    assert result.warnings == (
        "clips of the estimated clip labels that are not in the reference (1): 2.wav",
        "clips of the reference clip labels that are not in the estimates (1): 3.wav",
        "estimated labels not in the reference, counted in micro only (2): Cat, Speech",
    )


def test_a_zero_length_event_is_not_heard_in_its_clip_except_in_dcase():
    click = [Event("1.wav", 2, 2, "Dog")]
    assert evaluate(click, click, CONFIG).clip.micro.tp == 0
    assert evaluate(click, click, DCASE).clip.micro.tp == 1


def test_clip_labels_may_repeat_and_come_in_any_order():
    scores = evaluate_clips({"1.wav": ["Dog", "Cat"]}, {"1.wav": ("Cat", "Cat", "Dog")})
    assert counts(scores.micro) == (2, 0, 0)


def test_clips_without_a_duration_and_events_past_the_end_are_reported():
    reference = [Event("1.wav", 8, 10, "Dog"), Event("2.wav", 8, 10, "Dog")]
    estimated = [Event("1.wav", 8, 10.011, "Dog"), Event("2.wav", 8, 99, "Dog")]
    warnings = evaluate(reference, estimated, CONFIG, durations={"1.wav": 10.0}).warnings
    assert warnings == (
        "clips without a duration, taken to end with their last event (1): 2.wav",
        "estimated events that end after their clip (1), by up to 0.011 s; segments past the end "
        "are not scored",
    )


@pytest.mark.parametrize(
    ("onset", "offset"), [(-0.5, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)]
)
def test_impossible_times_are_refused_with_the_clip_name(onset, offset):
    impossible = [Event("a/7.wav", onset, offset, "Dog")]
    for sides in ((impossible, REFERENCE), (REFERENCE, impossible)):
        for verb in (evaluate, evaluate_events, evaluate_segments):
            with pytest.raises(LabelError, match=r"^a/7.wav: a 'Dog' event from"):
                verb(*sides, CONFIG)


@pytest.mark.parametrize("duration", [-1.0, math.nan, math.inf])
def test_impossible_durations_are_refused_with_the_clip_name(duration):
    with pytest.raises(LabelError, match=r"^1.wav: a duration of"):
        evaluate_segments(REFERENCE, REFERENCE, CONFIG, durations={"1.wav": duration})


def test_json_has_the_documented_layout():
    result = evaluate(REFERENCE, ESTIMATED, CONFIG, classes=["Dog", "Cat", "Speech", "Bird"])
    report = json.loads(result.to_json())
    assert list(report) == ["parameters", "event", "segment", "clip", "warnings"]
    assert report["parameters"] == {
        "collar": 0.2,
        "offset_ratio": 0.2,
        "segment": 1.0,
        "engine": "native",
        "compat": "",
        "class_list": "given",
        "n_clips": 2,
        "n_durations": 0,
        "n_matched_by_basename": 0,
    }
    event = report["event"]
    assert list(event["macro"]) == ["f1", "precision", "recall"]
    assert event["classes"]["Dog"] == {
        "f1": 2 / 5,
        "precision": 1 / 3,
        "recall": 1 / 2,
        "tp": 1,
        "fp": 2,
        "fn": 1,
        "n_reference": 2,
        "n_estimated": 3,
    }
    assert event["classes"]["Cat"]["precision"] is None
    assert event["classes"]["Bird"]["f1"] is None
    assert event["undefined_classes"] == ["Bird"]
    assert event["micro"].keys() == event["classes"]["Dog"].keys()
    assert report["clip"]["source"] == "event lists"
    assert report["warnings"] == list(result.warnings)


def test_the_table_has_averages_first_and_aligned_columns():
    lines = format_evaluation(evaluate(REFERENCE, ESTIMATED, CONFIG), "table").splitlines()
    assert lines[0].split()[:5] == ["metric", "class", "F1", "precision", "recall"]
    assert [line.split()[:2] for line in lines[1:7]] == [
        [metric, average]
        for metric in ("event", "segment", "clip")
        for average in ("macro", "micro")
    ]
    dog = next(line for line in lines if line.startswith("event    Dog"))
    assert dog.split()[2:] == ["0.4000", "0.3333", "0.5000", "1", "2", "1"]
    cat = next(line for line in lines if line.startswith("event    Cat"))
    assert cat.split()[2:] == ["0.0000", "-", "0.0000", "0", "0", "1"]
    assert {len(line) for line in lines if line.endswith(("fn", "1", "2"))} == {len(lines[0])}
    assert lines.index(cat) < lines.index(dog)  # the worst comes first


def test_the_table_says_how_it_was_measured():
    result = evaluate(REFERENCE, ESTIMATED, CONFIG, classes=["Dog", "Bird"], durations={"1.wav": 9})
    footer = format_evaluation(result, "table").split("\n\n")[-1]
    assert "20% of the reference event's length (median 1.5 s)\n" in footer
    assert "1 of 2 clips end with their known duration" in footer
    assert "clip: from event lists" in footer
    assert "class list given; an undefined rate counts 0" in footer
    assert "event: F1 of 1 of 2 classes is undefined: Bird" in footer


def test_a_table_without_classes_is_still_a_table():
    table = format_evaluation(evaluate(silent(), silent(), CONFIG), "table")
    assert table.splitlines()[1].split() == ["event", "macro", "-", "-", "-"]


def test_sed_eval_is_imported_only_by_its_engine():
    code = "import sys, sedtool.evaluation; sys.exit('sed_eval' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def golden_evaluation():
    return evaluate(
        read_events(GOLDEN / "reference.tsv"),
        read_events(GOLDEN / "estimated.tsv"),
        CONFIG,
        durations=read_durations(GOLDEN / "durations.tsv"),
        weak_estimated=read_weak(GOLDEN / "tags.tsv"),
    )


@pytest.mark.parametrize("name", ["metrics.json", "table.txt"])
def test_reports_equal_the_golden_files(name):
    result = golden_evaluation()
    text = {"metrics.json": result.to_json(), "table.txt": format_evaluation(result, "table")}[name]
    assert text == (GOLDEN / name).read_text("utf-8"), "if meant: python tests/golden/evaluation"


@pytest.mark.parametrize("name", ["reference.tsv", "estimated.tsv", "durations.tsv", "tags.tsv"])
def test_metrics_never_replace_an_input(tmp_path, name):
    given = ("reference.tsv", "estimated.tsv", "durations.tsv", "tags.tsv")
    reference, estimated, durations, tags = (tmp_path / file for file in given)
    for file in given:
        (tmp_path / file).write_bytes((GOLDEN / file).read_bytes())
    inputs = EvaluateInputs(reference, estimated, durations=durations, weak_estimated=tags)
    with pytest.raises(ConfigError, match="is an input"):
        evaluate_files(inputs, CONFIG, tmp_path / name, overwrite=True)
    assert (tmp_path / name).read_bytes() == (GOLDEN / name).read_bytes()


def test_more_labels_than_can_be_scored_are_refused():
    events = [Event("a.wav", 0.0, 1.0, f"label {n}") for n in range(100_001)]
    with pytest.raises(LabelError, match="100001 different labels; 100000 are the most"):
        evaluate(StrongLabels(events, ("a.wav",)), StrongLabels([], ()), CONFIG)
