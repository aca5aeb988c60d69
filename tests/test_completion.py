"""completion: the scripts that are printed really complete, and quickly."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from sedtool.cli import cli

SEDTOOL = Path(sys.executable).with_name("sedtool")
BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
compopt() { :; }
_sedtool_completion sedtool "${COMP_WORDS[COMP_CWORD]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(tmp_path):
    """Return a function that asks bash what completes these words."""
    if not (shutil.which("bash") and SEDTOOL.exists()):
        pytest.skip("needs bash and an installed sedtool")
    script = tmp_path / "sedtool.bash"
    script.write_text(CliRunner().invoke(cli, ["completion", "bash"]).stdout)
    path = f"{SEDTOOL.parent}{os.pathsep}{os.environ['PATH']}"

    def complete(*words):
        done = subprocess.run(
            ["bash", "-c", BASH, "bash", script, "sedtool", *words],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PATH": path},
        )
        assert done.stderr == ""
        return done.stdout.split()

    return complete


def test_bash_completes_subcommands(complete):
    assert complete("ex") == ["extract"]
    assert set(complete("ev")) == {"evaluate"}
    assert complete("plot", "p") == ["pooling"]


def test_bash_completes_options(complete):
    assert complete("extract", "--pre") == ["--preset"]
    assert complete("extract", "audio", "--pre") == ["--preset"]
    assert complete("info", "--ver") == ["--verify", "--verbose"]


def test_bash_completes_values(complete):
    assert complete("train", "--augment", "gain", "--augment", "time") == [
        "time-shift",
        "time-mask",
    ]
    assert complete("train", "--loss", "b") == ["bce"]
    assert complete("completion", "") == ["bash", "zsh", "fish"]
    assert complete("extract", "--engine", "t") == ["torchaudio"]


def test_what_was_typed_before_may_be_wrong(complete):
    assert complete("extract", "--no-such-option", "--pre") == ["--preset"]
    assert complete("extract", "--workers", "x", "--pre") == ["--preset"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_alone_on_stdout_and_the_shell_can_read_it(tmp_path, shell):
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert result.stderr == ""
    assert f"_SEDTOOL_COMPLETE={shell}_complete" in result.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    script = tmp_path / "script"
    script.write_text(result.stdout)
    subprocess.run([shell, "-n", script], check=True)


def test_an_unknown_shell_is_an_error_that_lists_the_known_ones():
    result = CliRunner().invoke(cli, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.stderr


def test_completion_loads_nothing_heavy_and_takes_little_time():
    heavy = {"torch", "numpy", "scipy", "h5py", "soundfile", "rich", "matplotlib", "yaml"}
    code = (
        "import atexit, sys; from sedtool.cli import cli\n"
        f"atexit.register(lambda: print(sorted({heavy!r} & set(sys.modules))))\n"
        "cli(prog_name='sedtool')"
    )
    environment = {"_SEDTOOL_COMPLETE": "bash_complete", "COMP_WORDS": "sedtool train --p"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "COMP_CWORD": "2"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "--pooling" in done.stdout
    assert done.stdout.endswith("[]\n")
    assert after.ru_utime - before.ru_utime < 1.0  # 0.1 s on an idle machine


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("train", "--arch", "s"), ["small"]),
        (("train", "--pooling", "po"), ["power"]),
        (("train", "--select-by", "e"), ["event_f1"]),
        (("infer", "--amp", "b"), ["bf16"]),
        (("tune", "--device", "cu"), ["cuda"]),
    ],
)
def test_values_that_are_names_are_completed(complete, words, found):
    assert complete(*words) == found
