"""On a real terminal, and where there is none: bars, data, and signals that libraries swallow."""

import os
import re
import subprocess
import sys
import threading
import time

import pytest
from click.testing import CliRunner

from sedtool.checkpoint import save_model
from sedtool.cli import cli
from sedtool.config import DecodingConfig
from support.models import new_model
from support.terminals import shown_on_a_terminal

pytestmark = pytest.mark.slow

SEDTOOL = [sys.executable, "-m", "sedtool"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "xterm"}


@pytest.fixture
def model(tmp_path):
    model = new_model()
    model.decoding = DecodingConfig((0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    save_model(tmp_path / "m.safetensors", model)
    return tmp_path / "m.safetensors"


def on_a_terminal(arguments, stdout):
    return shown_on_a_terminal([*SEDTOOL, *map(str, arguments)], stdout, env=ENVIRONMENT)


def test_lines_that_are_said_stand_above_the_bar_and_not_behind_it(tiny, tmp_path):
    line = ("train", "-o", tmp_path / "run", "--features", tiny.features, "--weak", tiny.weak)
    shown = on_a_terminal([*line, "--arch", "small", "--epochs", "2"], None).decode()
    assert re.search("step [1-4] of 4", shown)  # which of them are drawn is a matter of time
    for said in ("warning: no validation labels", "14 clips to train", "epoch 1 of 2: loss"):
        before = shown.split(said)[0].replace("\r", "\n").rsplit("\n", 1)[1]
        assert re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", before) == ""


def test_data_goes_where_the_shell_sends_it_while_the_terminal_has_a_bar(model, tiny, tmp_path):
    with (tmp_path / "out.tsv").open("wb") as file:
        shown = on_a_terminal(["infer", model, tiny.audio / "val"], file)
    plain = subprocess.run(
        [*SEDTOOL, "infer", model, tiny.audio / "val"], env=ENVIRONMENT, capture_output=True
    )
    assert (tmp_path / "out.tsv").read_bytes() == plain.stdout
    assert plain.stdout.count(b"\n") == 17
    assert b"infer" in shown
    assert b"noise_17.wav\t" not in shown


def test_data_on_a_terminal_is_not_mixed_with_a_bar(model, tiny):
    shown = on_a_terminal(["infer", model, tiny.audio / "val"], None)
    assert b"\x1b" not in shown
    assert shown.count(b"\r\n") == 18  # the rows and the summary


def test_a_full_stderr_does_not_fail_a_run(model, tiny):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [*SEDTOOL, "infer", model, tiny.audio / "val"],
            stdout=subprocess.DEVNULL,
            stderr=full,
            env=ENVIRONMENT,
        )
    assert done.returncode == 0


def test_a_log_file_on_a_full_disk_does_not_fail_a_run(tmp_path):
    done = subprocess.run([*SEDTOOL, "doctor", tmp_path, "--log-file", "/dev/full", "-q"])
    assert done.returncode == 0


def test_dev_stderr_gets_what_it_is_sent(model, tiny):
    arguments = ["infer", model, tiny.audio / "val", "-o", "/dev/stderr", "-q"]
    done = subprocess.run([*SEDTOOL, *arguments], env=ENVIRONMENT, capture_output=True)
    assert done.stderr.count(b"\n") == 17


def test_one_recipe_serves_stages_whose_inputs_are_not_there_yet(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "extract:\n  output: f.h5\ntrain:\n  features: f.h5\n  weak: w.tsv\ninfer:\n  model: m\n"
    )
    done = CliRunner().invoke(cli, ["extract", "-c", str(recipe), "--print-config"])
    assert done.exit_code == 0, done.stderr


def test_a_value_out_of_range_says_where_it_stands(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("extract:\n  n-mels: 5000\n")
    arguments = ["extract", str(tmp_path), "-o", str(tmp_path / "x.h5"), "-c", str(recipe)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2
    assert done.stderr == f"Error: {recipe}:2: --n-mels must be in [1, 1024], not 5000\n"


@pytest.mark.parametrize("name", ["loop", "x" * 250, "/dev/fd/99", "new/"])
def test_an_output_that_cannot_be_is_one_line(model, tiny, tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    output = name if name.startswith("/") else f"{tmp_path}/{name}"
    done = CliRunner().invoke(
        cli, ["infer", str(model), str(tiny.audio / "val"), "-o", output, "--overwrite"]
    )
    assert done.exit_code in (2, 6)
    assert done.stderr.count("\nError: ") + done.stderr.startswith("Error: ") == 1


# Locks


def test_looking_whether_a_file_is_locked_sends_no_run_away(tmp_path):
    import fcntl

    from sedtool.atomic import claim

    output, done = tmp_path / "x", threading.Event()

    def look():
        while not done.is_set():
            try:
                with (tmp_path / ".x.lock").open() as stream:
                    fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                pass
            time.sleep(0.0005)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(300):
            with claim(output):
                pass
    finally:
        done.set()
        watcher.join()
