"""How sweeps are run in tests: a data folder, and what is told of the stages."""

import contextlib
import importlib
import shlex

from click.testing import CliRunner

from sedtool.cli import cli
from sedtool.cli.sweep import Stages
from sedtool.errors import DivergedError

RECIPE = """\
train:
  weak: weak.tsv
  val-strong: strong.tsv
  arch: small:gru-units=4
  epochs: 1
  steps-per-epoch: 1
  batch-size: 2
sweep:
  audio: [audio]
  root: audio
  test: audio/val
  test-reference: strong.tsv
"""


def invoke(*arguments, folder=None):
    """Run a command line in a folder, as a process would."""
    with contextlib.chdir(folder or "."):
        return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def watched_stages(monkeypatch):
    """Return the command lines of the stages that a sweep runs; `fail` breaks some."""
    calls = Calls()
    making = importlib.import_module("sedtool.sweep.sweep")
    log, call = Stages.logged, making.call

    def noted(self, step, path):
        calls.lines.append(shlex.split(self.line(step))[1:])
        return log(self, step, path)

    def called(*arguments):
        calls.meanwhile(calls.lines[-1])
        return call(*arguments)

    monkeypatch.setattr(Stages, "logged", noted)
    monkeypatch.setattr(making, "call", called)
    return calls


class Calls:
    def __init__(self):
        self.lines = []
        self.meanwhile = lambda arguments: None  # called before a stage runs

    def stages(self):
        """Return the names of the stages that were run, and forget them."""
        names = [line[0] for line in self.lines]
        self.lines = []
        return names

    def fail(self, *words, error=DivergedError):
        """Let those stages fail whose command lines have all these words."""

        def check(arguments):
            if all(word in arguments for word in words):
                raise error("the loss is not finite")

        self.meanwhile = check


def data_folder(tiny, folder):
    """Make a data folder with a recipe in it."""
    folder.mkdir()
    (folder / "audio").symlink_to(tiny.audio)
    for path in (tiny.weak, tiny.strong):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "features.h5").write_bytes(tiny.features.read_bytes())
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def sweep(data, *options, pooling="power,max", exit_code=0, folder=None):
    line = ("sweep", data / "recipe.yaml", "--data", data, "-o", data / "runs")
    result = invoke(*line, "--pooling", pooling, *options, folder=folder)
    assert result.exit_code == exit_code, f"{result.stderr}{result.exception!r}"
    return result
