"""How sweeps are run in tests: a data folder, and stages in this process."""

import contextlib

from click.testing import CliRunner

from sedtool.cli import cli
from sedtool.errors import ConfigError, StoppedError
from sedtool.sweep import ChildError
from sedtool.sweep.children import StageSettings

RECIPE = """\
train:
  weak: weak.tsv
  val-strong: strong.tsv
  arch: small
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


def stages_in_process(monkeypatch):
    """Run stages in this process; returns the command lines that were run, `fail` to break some."""
    calls = SimpleCalls()

    def run(arguments, folder, log, stop, hear=None):
        calls.lines.append(list(arguments))
        calls.meanwhile(arguments)
        if code := stop():
            raise StoppedError("stopped; run the same command again to go on", code)
        result = invoke(*arguments, folder=folder)
        with log.open("a") as stream:
            stream.write(result.stderr)
        if result.exit_code not in (0, 3):
            raise ChildError(f"{arguments[0]}: {result.stderr}", result.exit_code)
        return result.exit_code

    def ask(arguments, folder):
        result = invoke(*arguments, "--print-config", folder=folder)
        if result.exit_code:
            raise ConfigError(result.stderr.strip().removeprefix("Error: "))
        return StageSettings.parse(result.stdout)

    monkeypatch.setattr("sedtool.sweep.making.run_child", run)
    monkeypatch.setattr("sedtool.sweep.stage.ask_settings", ask)
    return calls


class SimpleCalls:
    def __init__(self):
        self.lines = []
        self.meanwhile = lambda arguments: None  # called before a stage runs

    def stages(self):
        """Return the names of the stages that were run, and forget them."""
        names = [line[0] for line in self.lines]
        self.lines = []
        return names

    def fail(self, *words, exit_code=8):
        """Let those stages fail whose command lines have all these words."""

        def check(arguments):
            if all(word in arguments for word in words):
                raise ChildError(f"{arguments[0]}: the loss is not finite", exit_code)

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


def sweep(data, *options, pooling="power,max", exit_code=0):
    line = ("sweep", data / "recipe.yaml", "--data", data, "-o", data / "runs")
    result = invoke(*line, "--pooling", pooling, *options)
    assert result.exit_code == exit_code, f"{result.stderr}{result.exception!r}"
    return result
