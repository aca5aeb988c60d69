"""The same line again is no error: what is finished is left alone, and what differs is named."""

import json
import shutil
from pathlib import Path

import pytest

import sedtool.demo
from support.command_lines import refused, run
from support.jobs import JOBS, fresh_case, shorten_demo

pytestmark = pytest.mark.slow

# Commands that leave a finished output alone. `tune` fits again, and the model has the same bytes.
AGAIN = [
    name for name in JOBS if not name.startswith(("extract", "infer", "tune", "sweep"))
]  # fmt: skip
# What is another input, or another setting, of a command, and what its refusal says.
CHANGED = {
    "evaluate": ("--collar 0.1", "m.json exists; give --overwrite to replace it, or another name "
                 """(it has '"collar": 0.2,' where there would be '"collar": 0.1,')"""),
    "convert": ("given/heard.tsv", "(it has 'val/noise_17.wav\\tnoise' where there would "
                "be 'train/noise_1.wav\\tnoise')"),
    "compare": ("--seed 7", "exists; give --overwrite to replace it, or another name (it has"),
    "plot clip": ("--from 0.5", "c.svg exists; give --overwrite"),
    "plot gradients": ("--pooling max", "g.svg exists; give --overwrite"),
    "plot pooling": ("given/m.safetensors", "p.pdf exists; give --overwrite"),
    "train": ("--lr 1e-2 --epochs 3", "out/run holds a run already of other settings or files: "
              "epochs is 2 there and 3 here, lr is 0.003 there and 0.01 here; --overwrite starts"),
    "demo": ("--seed 3", "out/demo exists; give --overwrite to replace it, or another name "
             "(seed is 0 there and 3 here)"),
}  # fmt: skip


@pytest.fixture
def case(given, nano, tmp_path, monkeypatch):
    """Return a function that makes the folder of a job, works in it, and runs the job's line."""
    monkeypatch.setattr(sedtool.demo, "SIZES", sedtool.demo.SIZES)
    monkeypatch.setattr(sedtool.demo, "TRAINING", sedtool.demo.TRAINING)
    shorten_demo()

    def enter(name: str):
        fresh_case(JOBS[name], given, tmp_path / "case")
        monkeypatch.chdir(tmp_path / "case")
        run(*JOBS[name].words(), exit_code=JOBS[name].code)
        return JOBS[name].line.split()

    return enter


def state(folder: Path = Path("out")) -> dict[Path, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("name", AGAIN)
def test_a_finished_output_is_left_alone_and_that_is_said(case, name):
    line, before = case(name), state()
    for words in (line, [*line, "--quiet"]):
        said = run(*words).stderr
        assert state() == before
        expected = "" if "--quiet" in words else "nothing to do: out/"
        assert said.startswith(expected) and said.count("\n") == bool(expected), said
    run(*line, "--overwrite", "-q")
    after = state()
    assert after.keys() == before.keys()
    assert any(after[path][1] > before[path][1] for path in before)


def test_a_model_that_is_tuned_again_has_the_same_bytes(case):
    line, (model, *_) = case("tune"), state()
    before = model.read_bytes()
    run(*line, "-q")
    assert model.read_bytes() == before


@pytest.mark.parametrize("name", CHANGED)
def test_what_would_be_written_otherwise_is_refused_and_said(case, name):
    line = case(name)
    before = state()
    more, said = CHANGED[name]
    assert said in refused(*line, *more.split())
    assert state() == before


def test_scores_are_said_again_where_their_file_is_the_same(case):
    line = case("evaluate")
    first = run(*line, "--overwrite")
    again = run(*line)
    assert again.stdout == first.stdout
    assert again.stderr == "nothing to do: out/m.json is finished and the same\n"
    run(*line, "--fail-under", "event_f1=1.01", exit_code=2)
    run(*line, "--collar", "0.1", "--overwrite", "-q")
    refused(*line)


def test_of_several_outputs_the_one_that_is_missing_is_made(case):
    line = case("compare")
    before = state()
    Path("out/b.tex").unlink()
    run(*line)
    after = state()
    assert {path: content for path, (content, _) in after.items()} == {
        path: content for path, (content, _) in before.items()
    }
    assert after[Path("out/a.md")] == before[Path("out/a.md")]
    Path("out/a.md").write_text("mine")
    Path("out/b.tex").unlink()
    assert "a.md exists; give --overwrite" in refused(*line)
    assert not Path("out/b.tex").exists()


def test_a_longer_file_is_not_the_same(case):
    line, path = case("convert"), Path("out/w.tsv")
    path.write_bytes(path.read_bytes() + b"more\tDog\n")
    assert "w.tsv exists; give --overwrite" in refused(*line)
    assert refused(*line).endswith("(it has more in it than would be written now)\n")


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_figure_that_is_drawn_again_is_the_same_file(case, suffix):
    case("plot clip")
    for name in ("plot clip", "plot gradients", "plot pooling", "plot durations", "plot curves"):
        *line, _ = JOBS[name].line.split()
        run(*line, f"out/figure.{suffix}", "-q")
        assert run(*line, f"out/figure.{suffix}").stderr.startswith("nothing to do: ")
        Path(f"out/figure.{suffix}").unlink()


def test_a_link_stays_a_link_to_what_is_the_same(case):
    line = case("convert")
    shutil.move("out/w.tsv", "elsewhere.tsv")
    Path("out/w.tsv").symlink_to("../elsewhere.tsv")
    assert run(*line).stderr == "nothing to do: out/w.tsv is finished and the same\n"
    assert Path("out/w.tsv").is_symlink()


# Runs


def test_there_is_nothing_to_plan_where_a_run_is_finished(case):
    line, before = case("train"), state()
    said = run(*line, "--dry-run").stderr
    assert said.startswith("nothing to do: out/run is finished, and was trained on the same files")
    assert state() == before


def test_files_count_by_what_is_in_them_and_settings_by_what_they_do(case, tiny):
    line, features = case("train"), Path("given/features.h5")
    before = state()
    shutil.copy(features, "copy.h5")
    same = ["copy.h5" if word == str(features) else word for word in line]
    same[same.index("1e-9")] = "5"  # --save-every changes no result
    assert run(*same).stderr.startswith("nothing to do: ")
    shutil.copy(tiny.weak_validation, "v.tsv")
    other = [*line, "--val-weak", "v.tsv"]
    assert "other settings or files: val-weak is not given there and /" in refused(*other)
    run(*other, "--overwrite", "-q")
    assert run(*other).stderr.startswith("nothing to do: ")
    rows = Path("v.tsv").read_text().splitlines(keepends=True)
    Path("v.tsv").write_text("".join(rows[:-1]))
    assert "of other settings or files: val-weak has changed; --overwrite" in refused(*other)
    assert state().keys() == before.keys()


def test_a_run_of_another_version_or_without_a_record_is_refused_and_said(case):
    line, record = case("train"), Path("out/run/run.json")
    fields = json.loads(record.read_text())
    record.write_text(json.dumps(fields | {"sedtool_version": "0.0.1"}))
    assert "files: sedtool_version is 0.0.1 there and " in refused(*line)
    record.write_text(json.dumps(fields | {"inputs": {}}))
    assert "files: run.json does not say what was read; --overwrite" in refused(*line)
    record.write_text(json.dumps(fields | {"status": "stopped"}))
    assert "out/run holds a run already; --resume goes on with it, --over" in refused(*line)
    run(*line, "--resume", "-q")


def test_a_run_whose_model_was_tuned_on_other_labels_is_left_so(case, tiny):
    line, model = case("train"), Path("out/run/model.safetensors")
    run("tune", model, "--features", "given/features.h5", "--weak", tiny.weak_validation, "-q")
    before = model.read_bytes()
    assert run(*line).stderr.startswith("nothing to do: ")
    assert model.read_bytes() == before
