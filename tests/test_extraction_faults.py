"""Whatever stops an extraction, the same call goes on and ends in the same bytes."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedtool.config import ExtractConfig
from sedtool.errors import (
    OutputExistsError,
    ResourceError,
)
from sedtool.extraction import extract
from sedtool.planning import plan_extraction
from sedtool.store import open_features
from support.extraction import beside, run
from support.faults import Faults, fail, in_a_child
from support.features import CONFIG

pytestmark = pytest.mark.slow


@pytest.fixture
def output(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "features.h5"


def test_an_unfinished_run_of_other_files_is_no_leave_to_replace_an_output(make_clips, output):
    folder = make_clips(3)
    extract([folder], output, CONFIG)
    finished = output.read_bytes()
    journal = output.with_name(output.name + ".journal")
    journal.write_text(json.dumps({"clips": 3, "shard": "1/1", "manifest_sha256": "0"}) + "\n")
    for make in (extract, plan_extraction):
        with pytest.raises(OutputExistsError, match="an unfinished run with other settings"):
            make([folder], output, CONFIG)
    assert output.read_bytes() == finished
    assert journal.exists()
    extract([folder], output, CONFIG, ExtractConfig(overwrite=True))
    assert output.read_bytes() == finished
    assert not journal.exists()


def test_a_file_that_the_interrupted_run_did_not_make_is_not_replaced(make_clips, output):
    folder = make_clips(3)

    def killed(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract([folder], output, CONFIG, progress=killed)
    assert output.with_name(output.name + ".journal").exists()
    output.write_text("precious")
    for make in (extract, plan_extraction):
        with pytest.raises(OutputExistsError, match="exists; give --overwrite"):
            make([folder], output, CONFIG)
    assert output.read_text() == "precious"
    output.unlink()
    assert extract([folder], output, CONFIG).n_resumed


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_failing_disk_is_one_line_the_old_output_stays_and_a_rerun_goes_on(
    make_clips, output, number
):
    folder = make_clips(3)
    (folder / "bad.wav").write_bytes(b"")
    run(folder, output)
    expected = output.read_bytes()
    survived = 0
    for at in range(1, 200):
        output.write_text("old")
        faults = Faults(at, fail(number))
        try:
            with faults.installed():
                run(folder, output)
        except ResourceError as error:
            assert str(error).isprintable()
            # Only what follows the rename may fail after it: tidying up.
            assert output.read_bytes() in (b"old", expected)
            assert not [name for name in beside(output) if name.startswith(".")]
        else:
            assert output.read_bytes() == expected
        if faults.count < at:
            break
        survived += 1
        run(folder, output)
        assert output.read_bytes() == expected
        assert beside(output) == ["features.h5", "features.h5.failures.tsv"]
    assert survived > 15


def kill_campaign(folder: Path, output: Path) -> None:
    """Kill the run at every operation, in processes of their own, and run it again."""
    reference = output.with_name("reference.h5")
    in_a_child(lambda: run(folder, reference))
    expected = reference.read_bytes()
    for at in range(1, 200):
        output.unlink(missing_ok=True)
        killed = in_a_child(lambda at=at: killed_at(at, folder, output))
        if output.exists():
            assert output.read_bytes() == expected, f"kill {at}: a broken output"
        assert in_a_child(lambda: run(folder, output)) == 0, f"kill {at}: the rerun failed"
        assert output.read_bytes() == expected, f"kill {at}: other bytes"
        names = beside(output)
        assert names == ["features.h5", "reference.h5"], f"kill {at}: left {names}"
        if not killed:
            print(at - 1)
            return


def killed_at(at: int, folder: Path, output: Path) -> None:
    with Faults(at, lambda: os.kill(os.getpid(), signal.SIGKILL)).installed():
        run(folder, output)


def test_a_run_killed_at_any_write_is_taken_up_and_ends_in_the_same_bytes(make_clips, output):
    # In a fresh interpreter: this one may hold threads of torch, which do not survive a fork.
    folder = make_clips(3)
    campaign = subprocess.run(
        [sys.executable, __file__, folder, output], capture_output=True, text=True, check=False
    )
    assert campaign.returncode == 0, campaign.stderr
    assert int(campaign.stdout) > 15  # kills


def test_an_interrupt_leaves_finished_clips_to_the_next_run(make_clips, output, caplog):
    folder = make_clips(8)
    run(folder, output)
    expected = output.read_bytes()
    output.unlink()

    def interrupt(done: int, total: int, name: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract([folder], output, CONFIG, ExtractConfig(workers=2), progress=interrupt)
    assert beside(output) == ["features.h5.journal", "features.h5.spool"]
    with caplog.at_level(logging.INFO, logger="sedtool"):
        result = extract([folder], output, CONFIG)
    assert (result.n_resumed, result.n_clips) == (4, 8)
    features = open_features(output)
    assert 0 < result.audio_seconds < 0.7 * features.duration.sum()  # of four clips, not of all
    assert str(result).startswith("8 clips (4 of an interrupted run), ")
    assert f", {result.audio_seconds:.0f} s of audio in " in str(result)
    assert "4 of 8 clips are done" in caplog.text
    assert output.read_bytes() == expected


def test_a_file_that_changed_since_the_interruption_is_done_again(make_clips, output):
    folder = make_clips(3)

    def interrupt(done: int, total: int, name: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract([folder], output, CONFIG, progress=interrupt)
    soundfile.write(folder / "a" / "000.wav", np.linspace(-0.1, 0.1, 5_000), 16_000)
    (folder / "b" / "001.flac").write_bytes(b"")
    result = extract([folder], output, CONFIG)
    assert (result.n_resumed, result.n_clips, len(result.failures)) == (1, 2, 1)
    resumed = output.read_bytes()
    run(folder, output)
    assert output.read_bytes() == resumed


def test_a_second_run_on_the_same_output_stops_at_once(make_clips, output):
    folder = make_clips(6)

    def second(done: int, total: int, name: str) -> None:
        with pytest.raises(ResourceError, match="another sedtool is making"):
            extract([folder], output, CONFIG)

    assert extract([folder], output, CONFIG, progress=second).n_clips == 6


def test_a_list_of_failures_never_stands_beside_an_older_output(
    make_clips, bad_files, output, monkeypatch
):
    folder = make_clips(2)
    extract([folder], output, CONFIG)
    before = output.read_bytes()

    def full(*_):
        raise ResourceError("the disk is full")

    monkeypatch.setattr("sedtool.store.features.write_features", full)
    with pytest.raises(ResourceError):
        inputs = [folder, bad_files["empty.wav"]]
        extract(inputs, output, CONFIG, ExtractConfig(overwrite=True))
    assert output.read_bytes() == before
    assert not output.with_name(output.name + ".failures.tsv").exists()


def test_a_run_killed_before_its_list_of_failures_completes_it(
    make_clips, bad_files, output, monkeypatch
):
    inputs = [make_clips(2), bad_files["empty.wav"]]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sedtool.extraction.write_failures", killed)
        with pytest.raises(KeyboardInterrupt):
            extract(inputs, output, CONFIG)
    whole = output.read_bytes()
    result = extract(inputs, output, CONFIG)
    assert result.n_resumed == 2
    assert output.read_bytes() == whole
    assert result.failures_path.read_text().count("empty.wav") == 1
    assert beside(output) == ["features.h5", "features.h5.failures.tsv"]


if __name__ == "__main__":
    kill_campaign(Path(sys.argv[1]), Path(sys.argv[2]))
