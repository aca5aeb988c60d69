"""The job scripts in recipes/slurm, on a real Slurm."""

import re
import sys
from pathlib import Path

import pytest

from sedtool.checkpoint import digest, load_state, save_model
from support import slurm
from support.models import new_model
from support.sweeps import RECIPE as RECIPE_OF_SWEEP
from support.sweeps import data_folder

RECIPE = Path(__file__).parents[1] / "recipes" / "slurm"
PARTS = 3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(slurm.MISSING), reason=f"Slurm is not installed: {', '.join(slurm.MISSING)}"
    ),
]


def program(path, text):
    """Write a shell script that can be run, and return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm.running_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        sedtool = program(cluster.folder / "sedtool", f'exec "{sys.executable}" -m sedtool "$@"')
        cluster.environment["SEDTOOL"] = str(sedtool)
        cluster.environment["PARTS"] = str(PARTS)
        yield cluster


@pytest.fixture
def training(tiny):
    """What submits a training of some seconds, but for the name of the run."""
    labels = ["--weak", tiny.weak, "--val-strong", tiny.strong]
    size = ["--arch", "small", "--batch-size", 4, "--steps-per-epoch", 10, "--epochs", 8]
    options = ["--features", tiny.features, *labels, *size, "--device", "cpu"]
    return ["--cpus-per-task=1", RECIPE / "train.sbatch", *options]


def submit_all(cluster, stage, *options, **environment):
    """Submit an array and its merge job; return their numbers."""
    printed = cluster.run(RECIPE / "submit.sh", stage, *options, **environment)
    array, merge = re.fullmatch(r"array (\d+), merge (\d+)\n", printed).groups()
    return array, merge


def ends(tasks):
    """Return how tasks ended, sorted by the numbers they have in their array."""
    tasks = sorted(tasks, key=lambda task: int(task.get("ArrayTaskId", 0)))
    return [(task["JobState"], task["ExitCode"], task["Restarts"]) for task in tasks]


DONE = ("COMPLETED", "0:0", "0")


# --- arrays ---------------------------------------------------------------------------------------


def test_an_extraction_array_makes_what_one_job_makes_and_a_rerun_only_what_is_missing(
    cluster, tiny
):
    environment = {"AUDIO": tiny.audio, "OUT": "out"}
    array, merge = submit_all(cluster, "extract", **environment)
    assert ends(cluster.finish(array, merge)) == [DONE] * (PARTS + 1), cluster.logs()
    merged = cluster.folder / "out" / "features.h5"
    assert merged.read_bytes() == tiny.features.read_bytes()

    parts = [cluster.folder / "out" / "features-parts" / f"{i}.h5" for i in (1, 2, 3)]
    second, kept = parts[1].read_bytes(), [parts[0].stat(), parts[2].stat()]
    merged.unlink()
    parts[1].unlink()
    alone = cluster.submit("--array=2", RECIPE / "extract.sbatch", **environment)
    assert ends(cluster.finish(alone)) == [DONE], cluster.logs()
    assert parts[1].read_bytes() == second

    parts[1].unlink()
    array, merge = submit_all(cluster, "extract", **environment)
    assert ends(cluster.finish(array, merge)) == [DONE] * (PARTS + 1), cluster.logs()
    assert merged.read_bytes() == tiny.features.read_bytes()
    assert [parts[0].stat(), parts[2].stat()] == kept


def test_an_inference_array_makes_what_one_job_makes(cluster, tiny):
    model = cluster.folder / "model.safetensors"
    save_model(model, new_model())
    environment = {"AUDIO": tiny.audio, "OUT": "out", "MODEL": model}
    options = ["--threshold", "0.45", "--clip-threshold", "off", "--median", "off"]
    array, merge = submit_all(cluster, "infer", *options, "--device", "cpu", **environment)
    assert ends(cluster.finish(array, merge)) == [DONE] * (PARTS + 1), cluster.logs()
    whole = cluster.folder / "whole"
    whole.mkdir()
    files = ["-o", whole / "events.tsv", "--scores", whole / "scores.h5"]
    command = [cluster.environment["SEDTOOL"], "infer", model, tiny.audio, *files, *options]
    cluster.run(*command, "--device", "cpu", OMP_NUM_THREADS=2)  # as the tasks have
    assert (whole / "events.tsv").read_text().count("\n") > PARTS
    for file in files[1::2]:
        assert (cluster.folder / "out" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_task_that_a_signal_ends_is_requeued_alone_and_the_merge_waits_for_it(cluster, tmp_path):
    """The last task has the number of its array as its own."""
    asked = tmp_path / "asked"
    stand_in = program(
        tmp_path / "sedtool",
        f"""echo "$1 $SLURM_ARRAY_TASK_ID" >> {asked}
        if [ "$1 $SLURM_ARRAY_TASK_ID $SLURM_RESTART_COUNT" = "extract {PARTS} " ]; then
            kill -USR1 $$
        fi""",
    )
    environment = {"SEDTOOL": stand_in, "AUDIO": "audio", "OUT": tmp_path}
    array, merge = submit_all(cluster, "extract", **environment)
    tasks = cluster.finish(array, merge)
    assert ends(tasks) == [DONE, DONE, DONE, ("COMPLETED", "0:0", "1")], cluster.logs()
    assert sorted(asked.read_text().splitlines()[:-1]) == [
        *("extract 1", "extract 2", "extract 3", "extract 3")
    ]
    assert asked.read_text().endswith("\nmerge \n")


def test_a_failed_task_cancels_the_merge_and_results_are_not_made_over(cluster, tmp_path):
    environment = {"AUDIO": tmp_path / "none", "OUT": tmp_path}
    array, merge = submit_all(cluster, "extract", **environment)
    assert ends(cluster.finish(array)) == [("FAILED", "2:0", "0")] * PARTS, cluster.logs()
    assert [task["JobState"] for task in cluster.finish(merge)] == ["CANCELLED"]
    (tmp_path / "features.h5").touch()
    with pytest.raises(AssertionError, match=r"features\.h5 exists; remove it"):
        submit_all(cluster, "extract", **environment)


# --- sweeps ---------------------------------------------------------------------------------------


def test_a_sweep_goes_on_where_a_task_is_signalled_and_ends_with_one_table(cluster, tiny):
    data = data_folder(tiny, cluster.folder / "swept data")
    (data / "recipe.yaml").write_text(RECIPE_OF_SWEEP.replace("epochs: 1", "epochs: 8"))
    line = ["sweep", data / "recipe.yaml", "--data", data, "-o", "runs", "--pooling", "max"]
    line += ["--vary", "train.lr=1e-3,3e-4"]
    printed = cluster.run(RECIPE / "submit.sh", *line, PARTS=2)
    array, table = re.fullmatch(r"array (\d+), table (\d+)\n", printed).groups()
    wait_for_an_epoch(cluster, "runs/max,lr=3e-4/seed-0", f"{array}_2")
    cluster.run("scancel", "--signal=USR1", f"{array}_2")
    alone = cluster.submit(RECIPE / "sweep.sbatch", *line[1:5], "once", *line[6:])
    assert ends(cluster.finish(alone)) == [DONE], cluster.logs()
    tasks = cluster.finish(array, table)
    assert ends(tasks)[0] == DONE and ends(tasks)[1] == DONE, cluster.logs()
    assert ends(tasks)[2] == ("COMPLETED", "0:0", "1"), cluster.logs()
    log = (cluster.folder / f"sedtool-sweep-{table}.log").read_text()
    assert "0 runs made, 2 done before" in log and "max lr=0.0003" in log
    for lr in ("1e-3", "3e-4"):
        runs = [cluster.folder / name / f"max,lr={lr}" / "seed-0" for name in ("runs", "once")]
        assert contents(runs[0]) == contents(runs[1])


# --- training -------------------------------------------------------------------------------------


def contents(run):
    """Return everything that equal runs must have in common."""
    return {
        "model": (run / "model.safetensors").read_bytes(),
        "metrics": (run / "metrics.tsv").read_bytes(),
        "state": digest(load_state(run / "last.pt")),
    }


def wait_for_an_epoch(cluster, run, job):
    """Wait until the first epoch of a training is done."""
    metrics = cluster.folder / run / "metrics.tsv"
    cluster.wait(lambda: metrics.exists() or cluster.ended(job), "the first epoch")
    assert metrics.exists(), cluster.logs()


def test_a_preempted_training_is_requeued_and_ends_bit_identical(cluster, training):
    straight = cluster.submit("--nodelist=n2", *training, "-o", "straight")
    job = cluster.submit("--nodelist=n1", *training, "-o", "preempted")
    wait_for_an_epoch(cluster, "preempted", job)
    cluster.stop(job)  # preemption lets it go on, however fast we are
    urgent = cluster.submit("--partition=high", "--nodelist=n1", "--exclusive", "--wrap=true")
    tasks = cluster.finish(straight, urgent, job)
    assert ends(tasks) == [DONE, DONE, ("COMPLETED", "0:0", "1")], cluster.logs()
    log = (cluster.folder / f"sedtool-train-{job}.log").read_text()
    assert "--resume goes on from preempted/last.pt" in log
    assert "Exited with exit code 75" in log
    assert contents(cluster.folder / "preempted") == contents(cluster.folder / "straight")


def test_a_mistake_is_not_requeued(cluster, training):
    job = cluster.submit(*training, "-o", "mistake", "--arch", "smal")
    assert ends(cluster.finish(job)) == [("FAILED", "2:0", "0")], cluster.logs()


def test_a_job_is_requeued_so_many_times_only(cluster, training):
    job = cluster.submit(*training, "-o", "often", "--epochs=99", MAX_REQUEUES=0)
    wait_for_an_epoch(cluster, "often", job)
    cluster.run("scancel", "--signal=USR1", job)  # as before the time limit
    assert ends(cluster.finish(job)) == [("FAILED", "75:0", "0")], cluster.logs()
