"""info of runs and sweeps: how far they are, what came of them, and what is damaged."""

import json
import shutil

import pytest

from sedtool.atomic import lock
from sedtool.config import TrainConfig
from sedtool.errors import ArtifactError, StoppedError
from sedtool.info import describe, describe_all
from sedtool.training import TrainInputs, train
from support.info import as_json, check_frame, flip, run, write_small_scores


@pytest.fixture(scope="session")
def finished(tiny, tmp_path_factory):
    """A run of two epochs; do not change it."""
    path = tmp_path_factory.mktemp("info") / "run"
    config = TrainConfig(arch="small", epochs=2, batch_size=(8,), seed=4)
    train(path, TrainInputs((tiny.features,), tiny.weak, val_strong=tiny.strong), config)
    return path


# Runs


def test_a_run_folder_says_how_it_ended(finished):
    found = describe(finished, verify=True)
    assert found.kind == "run folder"
    assert found.problems == ()
    values = found.values
    assert values["status"] == "finished"
    assert values["epochs"] == 2
    assert values["best_epoch"] in (1, 2)
    assert values["seed"] == 4
    assert values["settings"]["arch"] == "small"
    assert values["last.pt"]["epochs"] == 2
    assert values["model.safetensors"]["epoch"] == values["best_epoch"]
    assert values["being_made"] is False


def test_the_text_of_a_run_begins_with_its_model_and_ends_with_its_inputs(finished):
    text = describe(finished).text()
    keys = [line.split(":")[0] for line in text.splitlines() if line[0] != " "]
    assert keys[1:6] == ["status", "classes", "frame length", "scoring window", "tuned on"]
    assert keys[-3:] == ["command", "inputs", "verified"]
    assert "error" not in keys


def test_a_run_folder_names_every_model_it_holds(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "epochs").mkdir()
    for name in ("teacher.safetensors", "epochs/001.safetensors"):
        shutil.copy(run / "model.safetensors", run / name)
    values = describe(run, verify=True).values
    for name in ("teacher.safetensors", "epochs/001.safetensors"):
        assert values[name] == values["model.safetensors"]
    assert "student.safetensors" not in values
    flip(run / "teacher.safetensors", 5_000)
    assert any("teacher.safetensors" in str(p) for p in describe(run, verify=True).problems)


def test_a_stopped_run_says_so(tiny, tmp_path):
    inputs = TrainInputs((tiny.features,), tiny.weak, val_strong=tiny.strong)
    config = TrainConfig(arch="small", epochs=2, batch_size=(8,))
    steps = []
    with pytest.raises(StoppedError):
        train(
            tmp_path / "run",
            inputs,
            config,
            progress=lambda done, *_: steps.append(done),
            stop=lambda: 75 if len(steps) >= 1 else 0,
        )
    found = describe(tmp_path / "run")
    assert found.problems == ()
    values = found.values
    assert values["status"] == "stopped"
    assert values["model.safetensors"] is None
    assert values["last.pt"]["step"] == 1
    assert values["epochs"] == 0


def test_a_run_that_was_killed_is_told_from_one_that_goes_on(finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    record = (path / "run.json").read_text()
    (path / "run.json").write_text(record.replace('"status": "finished"', '"status": "running"'))
    assert describe(path).values["status"] == "killed"
    with lock(path / ".lock", path):
        assert describe(path).values["status"] == "running"


def test_what_a_run_resumes_from_is_described_and_its_damage_found(finished, tmp_path):
    run_folder = tmp_path / "run"
    shutil.copytree(finished, run_folder)
    found = describe(run_folder / "last.pt")
    assert found.kind == "training state"
    assert found.values["epochs"] == 2
    assert [row["class"] for row in found.values["classes"]] == ["noise", "tone"]
    size = (run_folder / "last.pt").stat().st_size
    flip(run_folder / "last.pt", size // 2)
    assert run(run_folder / "last.pt").exit_code == 5
    result = run(run_folder, "--json", "--verify")
    assert result.exit_code == 5
    content = json.loads(result.stdout)
    assert content["last.pt"] is None
    assert content["status"] == "finished"
    assert "last.pt" in content["problems"][0]


def test_a_recipe_and_a_run_record_are_described(finished):
    found = describe(finished / "config.yaml")
    assert found.kind == "recipe"
    assert found.values["sections"]["train"]["pooling"] == "power"
    assert describe(finished / "run.json").kind == "run record"


# Sweeps


@pytest.fixture
def swept(finished, tmp_path):
    """The folder of a sweep: power with seeds 0 and 1 is done, linear is not begun."""
    path = tmp_path / "runs"
    names = ["power-init=1/seed-0", "linear/seed-0", "power-init=1/seed-1", "linear/seed-1"]
    for name, f1 in (("power-init=1/seed-0", 0.25), ("power-init=1/seed-1", 0.75)):
        shutil.copytree(finished, path / name)
        config = path / name / "config.yaml"
        config.write_text(config.read_text().replace("pooling: power", "pooling: power:init=1"))
        (path / name / "test").mkdir()
        write_small_scores(path / name / "test" / "scores.h5")
        macro = {"event": f1, "segment": f1 / 2, "clip": None}
        metrics = {metric: {"macro": {"f1": value}} for metric, value in macro.items()}
        (path / name / "test" / "metrics.json").write_text(json.dumps(metrics))
    record = {"format": "sedtool-sweep", "format_version": 1, "recipe": "/r.yaml", "data": "/d"}
    record |= {"reference": {"path": "/s.tsv", "sha256": "ab"}, "weak_reference": None}
    (path / "sweep.json").write_text(json.dumps(record | {"paper": None, "runs": names}))
    return path


def not_done(path):
    """Return status and error of each run that is not done, by name."""
    rows = describe(path).values["not_done"]
    return {row["run"]: (row["status"], row["error"]) for row in rows}


def test_the_folder_of_a_sweep_says_what_it_is_of_and_what_is_done(swept):
    found = as_json(swept)
    assert list(found)[:2] == ["path", "kind"]
    assert found["kind"] == "sweep"
    assert [found[key] for key in ("recipe", "data", "reference")] == ["/r.yaml", "/d", "/s.tsv"]
    assert found["weak_reference"] is None and found["paper"] is None
    assert (found["runs"], found["done"], found["seeds"]) == (4, 2, [0, 1])
    assert found["not_done"] == [
        {"run": "linear/seed-0", "status": "not begun", "error": None},
        {"run": "linear/seed-1", "status": "not begun", "error": None},
    ]
    assert found["verified"] is False and found["problems"] == []


def test_the_poolings_of_a_sweep_stand_as_they_were_written_with_their_means(swept):
    power, linear = describe(swept).values["poolings"]
    f1 = {"event_f1": 0.5, "segment_f1": 0.25, "clip_f1": None}
    assert power == {"pooling": "power:init=1", "seeds": [0, 1], "done": 2, **f1}
    assert linear == {"pooling": "linear", "seeds": [0, 1], "done": 0, **dict.fromkeys(f1)}
    text = run(swept).stdout
    assert "power:init=1   0, 1     2       0.5        0.25\n" in text
    assert "linear/seed-0  not begun\n" in text


def test_a_mean_is_of_the_runs_that_are_done_and_undefined_where_one_of_them_is(swept):
    metrics = swept / "power-init=1/seed-1/test/metrics.json"
    metrics.write_text(metrics.read_text().replace("0.75", "NaN"))
    power = describe(swept).values["poolings"][0]
    assert (power["done"], power["event_f1"], power["segment_f1"]) == (2, None, 0.25)
    metrics.unlink()
    power = describe(swept).values["poolings"][0]
    assert (power["done"], power["event_f1"], power["segment_f1"]) == (1, 0.25, 0.125)
    assert not_done(swept)["power-init=1/seed-1"] == ("not scored", None)


@pytest.mark.parametrize("name", [".seed-0.lock", "seed-0/.lock"])
def test_a_run_that_a_process_works_on_is_under_way(swept, name):
    (swept / "linear" / "seed-0").mkdir(parents=True)
    (swept / "linear" / "seed-0" / "run.json").write_text('{"status": "running"}')
    assert not_done(swept)["linear/seed-0"] == ("killed", None)
    with lock(swept / "linear" / name, swept):
        assert not_done(swept)["linear/seed-0"] == ("under way", None)


@pytest.mark.parametrize(
    ("record", "failure", "expected"),
    [
        ({"status": "stopped", "error": "out of time"}, None, ("stopped", "out of time")),
        ({"status": "diverged", "error": "nan"}, "train\tnan", ("diverged", "nan")),
        ({"status": "failed", "error": "x"}, "train\tTraceback", ("failed", "x")),
        ({"status": "finished"}, "infer\tno clip", ("failed", "infer: no clip")),
        ({"status": "finished"}, None, ("not scored", None)),
        (None, "train\tno labels", ("failed", "train: no labels")),
    ],
)
def test_a_run_that_came_to_an_end_before_its_metrics_says_why(swept, record, failure, expected):
    if record is not None:
        (swept / "linear" / "seed-0").mkdir(parents=True)
        (swept / "linear" / "seed-0" / "run.json").write_text(json.dumps(record))
    if failure is not None:
        table = swept.with_name("runs.failures.tsv")
        done = "power-init=1/seed-0\ttrain\tlong ago"
        table.write_text(f"filename\tstage\terror\n{done}\nlinear/seed-0\t{failure}\n")
    found = not_done(swept)
    assert found["linear/seed-0"] == expected
    assert "power-init=1/seed-0" not in found


@pytest.mark.parametrize("name", ["model.safetensors", "last.pt", "test/scores.h5"])
def test_verify_finds_damage_in_any_run_of_a_sweep(swept, name):
    assert describe(swept, verify=True).problems == ()
    damaged = swept / "power-init=1/seed-1" / name
    flip(damaged, damaged.stat().st_size // 2)
    assert describe(swept).problems == ()
    result = run(swept, "--verify", "--json")
    assert result.exit_code == 5
    content = json.loads(result.stdout)
    assert content["verified"] is True and content["done"] == 2
    assert len(content["problems"]) == 1 and str(damaged) in content["problems"][0]


def test_metrics_that_cannot_be_read_are_a_problem_and_their_run_is_not_done(swept):
    (swept / "power-init=1/seed-1/test/metrics.json").write_text("{")
    result = run(swept)
    assert result.exit_code == 5
    assert "power-init=1/seed-1/test/metrics.json: damaged" in result.stderr
    assert "power-init=1/seed-1  not scored" in result.stdout


@pytest.mark.parametrize(
    "name", ["../seed-0", "/etc/seed-0", "a/../../seed-0", "power", "./seed-1"]
)
def test_a_run_outside_the_folder_of_its_sweep_is_not_looked_at(swept, name):
    record = json.loads((swept / "sweep.json").read_text())
    (swept / "sweep.json").write_text(json.dumps(record | {"runs": [name]}))
    with pytest.raises(ArtifactError, match=r"sweep\.json: '.*' is no name of a run"):
        describe(swept)


def test_a_sweep_record_is_described_and_a_damaged_one_refused(swept):
    found = describe(swept / "sweep.json")
    assert found.kind == "sweep record"
    assert found.values["runs"][0] == "power-init=1/seed-0"
    (swept / "sweep.json").write_text('{"format": "sedtool-sweep"}')
    with pytest.raises(ArtifactError, match=r"sweep\.json: cannot be read"):
        describe(swept)


def test_the_runs_of_a_sweep_are_counted_while_they_are_looked_at(swept):
    calls = []
    describe(swept, progress=lambda *call: calls.append(call))
    assert calls[0] == (1, 4, "power-init=1/seed-0")
    assert [call[:2] for call in calls] == [(i, 4) for i in (1, 2, 3, 4)]


def test_folders_have_the_same_frame_of_keys_as_files(finished, swept):
    described, problems = describe_all([finished, swept])
    assert problems == []
    for found in described:
        check_frame(found)
