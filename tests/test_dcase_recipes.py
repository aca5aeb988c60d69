"""The DCASE recipes: official label files and whatever audio is there -> label files, runs."""

import csv
import os
import subprocess
import sys

import pytest

from sedtool.comparison.runs import read_paper
from sedtool.config import PoolingConfig, parse_architecture
from sedtool.config.recipe import read_recipe
from sedtool.labels import read_events, read_vocabulary, read_weak
from sedtool.sweep import parse_poolings
from support.recipes import (
    RECIPES,
    YEARS,
    load,
    make_2017,
    make_2019,
    make_audio,
    prepare,
    read_all,
    rows,
    run_script,
)

cost = load(RECIPES / "cost.py")


# --- label files with faults ----------------------------------------------------------------------


@pytest.fixture
def small_2017(tmp_path):
    return make_2017(tmp_path)


def run(year, arguments, *options):
    return prepare[year].main([*map(str, arguments), *options])


def test_2017_labels_are_written_under_the_names_of_the_audio(small_2017, capsys):
    audio, _, out = small_2017
    assert run("dcase2017", small_2017) == 0
    found = read_all(out)
    assert found["train"] | found["test"] == {path.name for path in audio.iterdir()}
    vocabulary = read_vocabulary(out / "labels" / "classes.txt")
    weak = read_weak(out / "labels" / "train_weak.tsv", vocabulary)
    weak |= read_weak(out / "labels" / "held_out_weak.tsv", vocabulary)
    assert weak["Y-train00000_0.000_10.000.wav"] == ("Air horn, truck horn", "Train")
    assert weak["YYtrain00007_0.000_10.000.wav"] == ("Fire engine, fire truck (siren)",)
    assert len(weak) == 20 and len(found["held_out_weak"]) == 4
    assert "missing" not in capsys.readouterr().out
    assert rows(out / "missing.tsv") == []


def test_2017_clips_without_events_are_kept_and_clip_labels_are_those_of_the_weak_file(
    small_2017, capsys
):
    assert run("dcase2017", small_2017) == 0
    labels = small_2017[2] / "labels"
    strong = read_events(labels / "test_strong.tsv")
    first, second, third = (
        f"Y--test0000{i}_{times}.000.wav"
        for i, times in ((1, "30.000_40"), (2, "30.000_40"), (3, "8.000_18"))
    )
    assert set(strong.names) == {first, second, third}
    assert [(e.name, e.onset, e.offset, e.label) for e in strong.events] == [
        (second, 0.165, 3.8, "Air horn, truck horn"),
        (third, 5.0, 9.345, "Car"),
    ]
    weak = read_weak(labels / "test_weak.tsv", read_vocabulary(labels / "classes.txt"))
    assert weak[first] == ("Train horn",)
    assert weak[second] == ("Air horn, truck horn", "Train")
    assert "2 of 4 events have no length" in capsys.readouterr().err


@pytest.fixture
def small_2019(tmp_path):
    return make_2019(tmp_path)


def test_2019_labels_are_written_under_the_names_of_the_audio(small_2019):
    out = small_2019[2]
    assert run("dcase2019", small_2019) == 0
    found = read_all(out)
    assert {name: len(clips) for name, clips in found.items()} == {
        "train_weak": 8,
        "held_out_weak": 2,
        "train_strong": 8,
        "held_out_strong": 2,
        "unlabelled": 6,
        "test_strong": 2,
        "synthetic_strong": 10,
        "train": 26,
        "test": 2,
    }
    assert all(name.startswith("train/synthetic/") for name in found["train_strong"])
    strong = read_events(out / "labels" / "test_strong.tsv")
    assert "validation/Y-test000002_30.000_40.000.wav" in strong.names
    assert [(e.onset, e.offset) for e in strong.events] == [(0.0, 10.115)]


def test_2019_soundscapes_of_other_data_sets_are_not_mistaken(small_2019):
    audio, _, out = small_2019
    make_audio(audio, ["eval/500ms/1.wav", "eval/500ms/2.wav"])
    assert run("dcase2019", small_2019) == 0
    assert not any("eval" in name for clips in read_all(out).values() for name in clips)
    assert rows(out / "missing.tsv") == []


@pytest.mark.parametrize("year", YEARS)
def test_missing_and_broken_audio_is_named_and_the_rest_is_used(year, request, capsys):
    arguments = request.getfixturevalue(f"small_{year.removeprefix('dcase')}")
    files = sorted(path for path in arguments[0].rglob("*") if path.is_file())
    files[0].write_bytes(b"")
    other = files[1].with_suffix(".flac")
    files[1].rename(other)  # what is in a file counts, not its suffix
    files[-1].unlink()
    assert run(year, arguments) == 0
    missing = rows(arguments[2] / "missing.tsv")
    assert len(missing) == 2
    reasons = {reason.rpartition(": ")[2] for _, _, reason in missing}
    assert reasons == {"no audio", "the file is empty"}
    used = set.union(*read_all(arguments[2]).values())
    assert str(other.relative_to(arguments[0])) in used
    assert str(files[0].relative_to(arguments[0])) not in used
    assert capsys.readouterr().err.count("; 1 cannot be used: ") == 2


@pytest.mark.parametrize("year", YEARS)
def test_what_was_made_is_found_made_and_not_mixed_with_anything_else(year, request, capsys):
    arguments = request.getfixturevalue(f"small_{year.removeprefix('dcase')}")
    audio, metadata, out = arguments
    assert run(year, arguments) == 0
    before = read_all(out)
    capsys.readouterr()
    assert run(year, arguments) == 0
    assert capsys.readouterr().err == f"{out} is prepared already\n"
    make_audio(audio, ["more.wav"])
    assert run(year, arguments) == 0
    assert "has other files than then; the lists of" in capsys.readouterr().err
    assert run(year, arguments, "--seed", "1") == 2
    assert "prepared from something else (seed 0 then and 1 now)" in capsys.readouterr().err
    labels = next(path for path in metadata.rglob("*") if path.suffix in (".csv", ".tsv"))
    content = labels.read_bytes()
    labels.write_bytes(content + b"\n")
    assert run(year, arguments) == 2
    assert f"({labels.name} sha256:" in capsys.readouterr().err
    labels.write_bytes(content)
    assert read_all(out) == before
    (arguments[2] / "test.h5").touch()
    assert run(year, arguments, "--seed", "1", "--overwrite") == 0
    assert read_all(arguments[2]) != before
    assert "test.h5 is of earlier lists; remove it" in capsys.readouterr().err


@pytest.mark.parametrize("year", YEARS)
def test_what_is_held_out_does_not_depend_on_the_audio_that_is_there(year, request):
    arguments = request.getfixturevalue(f"small_{year.removeprefix('dcase')}")
    audio, metadata, out = arguments
    assert run(year, arguments) == 0
    before = read_all(out)
    for path in sorted(audio.rglob("*.wav"))[::3]:
        path.unlink()
    assert run(year, (audio, metadata, out.with_name("other"))) == 0
    after = read_all(out.with_name("other"))
    for split in ("train_weak", "held_out_weak"):
        assert after[split] == {name for name in before[split] if (audio / name).exists()}


@pytest.mark.parametrize("year", YEARS)
def test_an_unknown_label_or_a_missing_label_file_is_an_error(year, request, capsys):
    arguments = request.getfixturevalue(f"small_{year.removeprefix('dcase')}")
    path = next(p for p in arguments[1].rglob("*") if "test" in p.stem or "valid" in p.stem)
    path = path if path.is_file() else next(path.iterdir())
    text = path.read_text()
    path.write_text(text.replace("Car", "Cat's").replace("Vacuum_cleaner", "Hoover"))
    if "weak" not in path.stem:
        assert run(year, arguments) == 2
        assert "unknown label" in capsys.readouterr().err
    path.unlink()
    assert run(year, arguments) == 2
    assert "has no files " in capsys.readouterr().err
    assert not arguments[2].exists()


@pytest.mark.parametrize("year", YEARS)
def test_a_folder_without_the_audio_of_a_split_ends_with_an_error(year, request, capsys):
    _, metadata, out = request.getfixturevalue(f"small_{year.removeprefix('dcase')}")
    make_audio(out.with_name("elsewhere"), ["a.wav"])
    assert run(year, (out.with_name("elsewhere"), metadata, out)) == 4
    assert "clips of test" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("year", YEARS)
def test_label_files_that_no_recipe_made_are_not_replaced_unasked(year, request, capsys):
    arguments = request.getfixturevalue(f"small_{year.removeprefix('dcase')}")
    mine = arguments[2] / "labels" / "train_weak.tsv"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert run(year, arguments) == 2
    assert "labels has files that no recipe recorded" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert run(year, arguments, "--overwrite") == 0


@pytest.mark.parametrize("year", YEARS)
def test_a_preparation_that_was_interrupted_is_made_again(year, request, monkeypatch, capsys):
    arguments = request.getfixturevalue(f"small_{year.removeprefix('dcase')}")

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prepare[year], "write_missing", interrupt)
        assert run(year, arguments) == 130
    assert capsys.readouterr().err.endswith("\nstopped; run the same line again\n")
    assert run(year, arguments) == 0
    assert "prepared already" not in capsys.readouterr().err
    assert (arguments[2] / "missing.tsv").exists()


def swap(one, other):
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def test_2017_label_files_that_are_exchanged_are_refused(small_2017, capsys):
    folder = small_2017[1] / "groundtruth_release"
    strong, weak, training = (
        folder / f"groundtruth_{kind}_set.csv"
        for kind in ("strong_label_testing", "weak_label_testing", "weak_label_training")
    )
    swap(strong, weak)
    assert run("dcase2017", small_2017) == 2
    assert (
        "begins at 30 s, after the end of the clip; are these the weak" in capsys.readouterr().err
    )
    swap(strong, weak)
    swap(training, weak)
    assert run("dcase2017", small_2017) == 2
    assert "misses 3 of the 3 clips of groundtruth_strong" in capsys.readouterr().err
    assert not small_2017[2].exists()


@pytest.mark.parametrize("year", YEARS)
def test_run_names_the_folder_that_is_not_there(year, request, tmp_path):
    audio, metadata, out = request.getfixturevalue(f"small_{year.removeprefix('dcase')}")
    for arguments, message in (
        ((tmp_path / "nope", metadata, out), f"error: AUDIO {tmp_path}/nope is no folder\n"),
        ((audio, tmp_path / "nope", out), f"error: METADATA {tmp_path}/nope is no folder\n"),
    ):
        done = run_script(year, *arguments)
        assert (done.returncode, done.stderr) == (2, message)
    assert not out.exists()


@pytest.mark.slow
def test_a_signal_to_run_reaches_the_sweep(small_2017, tmp_path):
    program = tmp_path / "sedtool"
    program.write_text("#!/bin/sh\necho $$\n")
    program.chmod(0o755)
    environment = os.environ | {"PYTHON": sys.executable, "SEDTOOL": str(program)}
    script = [RECIPES / "dcase2017" / "run.sh", *small_2017]
    with subprocess.Popen(
        script, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert int(process.stdout.read()) == process.pid  # the shell has become the program


@pytest.mark.parametrize("year", [*YEARS, "esc10"])
def test_run_says_that_sedtool_is_not_there(year, tmp_path):
    done = subprocess.run(
        [RECIPES / year / "run.sh", "a", "b", "c"],
        env={"PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: no sedtool here: activate its environment, or name PYTHON and SEDTOOL\n"
    )


# --- the recipes ----------------------------------------------------------------------------------


def sections(year):
    recipe = read_recipe(RECIPES / year / f"{year}.yaml")
    return {name: {k: v for k, (v, _) in s.values.items()} for name, s in recipe.items()}


@pytest.mark.parametrize("year", YEARS)
def test_no_test_clip_is_in_what_is_trained_selected_or_tuned_with(year):
    found = sections(year)
    for stage in ("train", "tune"):
        assert not [v for v in found[stage].values() if isinstance(v, str) and "test" in v]
    assert all("test" in found["sweep"][key] for key in ("test", "test-reference"))
    assert "test" not in found["sweep"]["audio"]


@pytest.mark.parametrize("year", YEARS)
def test_the_paper_has_a_row_for_every_pooling_of_the_recipe(year):
    poolings = parse_poolings(sections(year)["sweep"]["pooling"])
    published = read_paper(RECIPES / year / "paper.tsv")
    assert list(published) == [str(PoolingConfig.parse(text)) for text in poolings]
    assert all(len(row) == 7 for row in published.values())


# Event, segment and clip F1 of the paper's tables 2 and 3.
@pytest.mark.parametrize(
    "year, pooling, expected",
    [
        ("dcase2017", "power:init=1,max=20,lambda=1e-4", ["0.196", "0.480", "0.545"]),
        ("dcase2017", "linear", ["0.162", "0.471", "0.535"]),
        ("dcase2019", "power:init=1,max=20,lambda=0", ["0.378", "0.624", "0.694"]),
        ("dcase2019", "linear", ["0.343", "0.583", "0.655"]),
    ],
)
def test_the_numbers_of_the_paper_are_its_own(year, pooling, expected):
    with (RECIPES / year / "paper.tsv").open(newline="") as stream:
        table = {row["pooling"]: row for row in csv.DictReader(stream, delimiter="\t")}
    assert [table[pooling][f"{kind}_f1"] for kind in ("event", "segment", "clip")] == expected


def test_the_recipes_have_what_the_paper_states():
    weak, semi = sections("dcase2017"), sections("dcase2019")
    assert PoolingConfig.parse(weak["train"]["pooling"]).options["lambda"] == 1e-4
    assert PoolingConfig.parse(semi["train"]["pooling"]).options["lambda"] == 0
    for found in (weak, semi):
        assert found["train"]["pooling"] == found["sweep"]["pooling"][-1]
        assert (found["evaluate"]["collar"], found["evaluate"]["segment"]) == ("0.2", "1.0")
    assert (semi["train"]["epochs"], semi["train"]["time-shift"]) == ("200", "16")
    assert parse_architecture(weak["train"]["arch"]) == parse_architecture("dcase2017")
    assert parse_architecture(semi["train"]["arch"]) == parse_architecture("dcase2019")


def test_the_cost_of_a_run_is_that_of_its_layers(capsys):
    conv = 400 * 64 * 25 * 32 + 400 * 32 * 25 * 32 * 64 + 200 * 16 * 25 * 64 * 128
    gru = 100 * 2 * 3 * 100 * (1024 + 100 + 200 + 100)
    dense = 100 * 200 * 17
    forward = (conv + gru + dense) / 1e9
    recipe = str(RECIPES / "dcase2017" / "dcase2017.yaml")
    assert cost.main([recipe, "--held-out", "10235"]) == 0
    printed = capsys.readouterr().out
    stated = float(printed.partition("features: ")[2].split()[0])
    assert stated == pytest.approx(forward, abs=0.006)
    assert "25000 steps of 100 clips: 2500000 clips, " in printed
    trained = float(printed.partition("2500000 clips, ")[2].partition("e15")[0])
    assert trained == pytest.approx(2.5e6 * 2e9 * 2.985 * forward / 1e15, abs=0.1)
