"""The run that is there stays until the one that replaces it has a model of its own."""

import contextlib
import dataclasses
import errno
import json
import shutil

import pytest

from sedtool.checkpoint import load_model
from sedtool.errors import (
    ArtifactError,
    DivergedError,
    OutputExistsError,
    ResourceError,
    StoppedError,
)
from sedtool.info import describe
from sedtool.training import TrainInputs, train
from support.faults import Faults, fail
from support.training import ALL_FILES, CONFIG, contents, names, stop_after

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nano")]


@pytest.fixture(scope="session")
def inputs(tiny):
    return TrainInputs((tiny.features,), tiny.weak, val_strong=tiny.strong)


@pytest.fixture(scope="module")
def old(nano, inputs, tmp_path_factory):
    run = tmp_path_factory.mktemp("old") / "run"
    train(run, inputs, dataclasses.replace(CONFIG, keep_epochs=(1,)), device="cpu")
    return run


@pytest.fixture(scope="module")
def other(nano):
    """Return the settings of the new run."""
    return dataclasses.replace(CONFIG, seed=2)


@pytest.fixture(scope="module")
def new(other, inputs, tmp_path_factory):
    run = tmp_path_factory.mktemp("new") / "run"
    train(run, inputs, other, device="cpu")
    return run


@pytest.fixture
def run(old, tmp_path):
    """A folder with the old run."""
    return shutil.copytree(old, tmp_path / "run")


def test_the_old_run_goes_when_the_new_one_has_its_place(run, new, inputs, other):
    def progress(step, n_steps, where):
        is_old = step <= CONFIG.steps_per_epoch
        assert ("epochs" in names(run)) == is_old
        status = json.loads((run / "run.json").read_text())["status"]
        assert status == ("finished" if is_old else "running")

    train(run, inputs, other, device="cpu", overwrite=True, progress=progress)
    assert contents(run) == contents(new)
    assert names(run) == ALL_FILES


def test_the_place_that_a_run_takes_is_on_the_disk(run, inputs, other, monkeypatch):
    synced = []
    monkeypatch.setattr("sedtool.training.folder.sync_folder", synced.append)
    train(run, inputs, other, device="cpu", overwrite=True)
    assert synced and set(synced) == {run}


def test_a_full_disk_anywhere_costs_neither_run_its_model(old, new, inputs, tmp_path, other):
    models = {contents(old)["model"]: "old", contents(new)["model"]: "new"}
    seen = []
    for at in range(1, 300, 7):
        run = shutil.copytree(old, tmp_path / str(at))
        faults, failed = Faults(at, fail(errno.ENOSPC)), False
        try:
            with faults.installed():
                train(run, inputs, other, device="cpu", overwrite=True)
        except ResourceError:
            failed = True  # some are forgiven: a folder to make is there, a lock stays
        if faults.count < at:
            break
        load_model(run / "model.safetensors")
        model = models.get((run / "model.safetensors").read_bytes(), "new, of the first epoch")
        if failed:
            seen.append(model)
        if model == "old":
            assert (run / "last.pt").exists() or (run / ".new" / "model.safetensors").exists()
        train(run, inputs, other, device="cpu", overwrite=True)
        assert contents(run) == contents(new), at
        assert names(run) == ALL_FILES, at
        shutil.rmtree(run)
    assert seen == sorted(seen, key=lambda which: which != "old")
    assert set(seen) >= {"old", "new"}


@pytest.mark.parametrize("at", range(1, 8))
def test_a_run_that_failed_while_it_took_its_place_takes_it_next_time(run, new, inputs, at, other):
    def replace(self, target):
        if ".new" in self.parts and ".new" not in target.parts and next(count) == at:
            fail(errno.EIO)()
        return replaced(self, target)

    replaced, count = type(run).replace, iter(range(1, 100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(run), "replace", replace)
        with contextlib.suppress(ResourceError):
            train(run, inputs, other, device="cpu", overwrite=True)
    load_model(run / "model.safetensors")
    replaced_by = describe(run).values["being_replaced"]
    assert (replaced_by is not None) == (run / ".new" / "model.safetensors").exists()
    train(run, inputs, other, device="cpu", resume=True)
    assert contents(run) == contents(new)
    assert names(run) == ALL_FILES
    assert describe(run).values["being_replaced"] is None


def test_a_new_run_that_diverges_leaves_the_old_one_which_goes_on(run, old, inputs, other):
    hot = dataclasses.replace(other, lr=1e25)
    with pytest.raises(DivergedError, match="there is no model but that of the run before"):
        train(run, inputs, hot, device="cpu", overwrite=True)
    assert contents(run) == contents(old)
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert json.loads((run / ".new" / "run.json").read_text())["status"] == "diverged"
    longer = dataclasses.replace(CONFIG, epochs=3)
    assert train(run, inputs, longer, device="cpu", resume=True).epochs == 3
    assert not (run / ".new").exists()


def test_a_new_run_that_left_no_state_is_not_taken_for_the_old_one(run, old, new, inputs, other):
    def killed(*arguments):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, inputs, CONFIG, device="cpu", overwrite=True, progress=killed)
    assert not (run / ".new" / "last.pt").exists()
    with pytest.raises(OutputExistsError, match="no state to go on from; give --overwrite again"):
        train(run, inputs, CONFIG, device="cpu", resume=True)
    assert contents(run) == contents(old)
    train(run, inputs, other, device="cpu", overwrite=True)
    assert contents(run) == contents(new)


def test_a_new_run_that_was_stopped_in_its_first_epoch_is_resumed(run, old, new, inputs, other):
    with pytest.raises(StoppedError, match="after step 1"):
        train(run, inputs, other, device="cpu", overwrite=True, stop=stop_after(1))
    assert contents(run) == contents(old)
    with pytest.raises(ArtifactError, match=r"\.new/last\.pt is of another run: seed"):
        train(run, inputs, CONFIG, device="cpu", resume=True)
    train(run, inputs, other, device="cpu", resume=True)
    assert contents(run) == contents(new)
    assert names(run) == ALL_FILES
