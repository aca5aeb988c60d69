"""What the tests of options and exit codes share: all options, quick lines, how they are run."""

import ast
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import click
from click.testing import CliRunner, Result

from sedtool.checkpoint import load_model, save_model
from sedtool.cli import cli
from sedtool.config import DecodingConfig
from support.models import new_model

F = TypeVar("F", bound=Callable)

COMMON = ("--config", "--set", "--print-config", "--log-file", "--quiet", "--verbose")


def tries(command: str, *options: str) -> Callable[[F], F]:
    """Say which options of a command a test tries, for `tried_options` to find."""
    return lambda test: test


def tried_options() -> set[tuple[str, str]]:
    """Return commands and options that decorators `tries` name in the modules of options."""
    found = set()
    for path in Path(__file__).parents[1].glob("test_options_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tries":
                command, *options = (ast.literal_eval(argument) for argument in node.args)
                found.update((command, option) for option in options)
    return found


def every_command(group: click.Group = cli, words: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield each subcommand with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from every_command(command, f"{words}{name} ")
        else:
            yield words + name, command


def option_name(parameter: click.Parameter) -> str:
    """Return the long option, or the name of an argument."""
    return max(parameter.opts, key=len)


def every_option() -> Iterator[tuple[str, click.Parameter]]:
    """Yield each option and argument with the words of its command."""
    for words, command in every_command():
        for parameter in command.params:
            yield words, parameter


def run(*arguments, exit_code: int = 0, stdin: bytes | None = None, **environment) -> Result:
    """Run a command line, whose first argument may be several words."""
    words = [*str(arguments[0]).split(), *map(str, arguments[1:])]
    result = CliRunner().invoke(cli, words, input=stdin, env=environment)
    assert result.exit_code == exit_code, f"{result.stdout}{result.stderr}{result.exception!r}"
    return result


def refused(*arguments, exit_code: int = 2, **how) -> str:
    """Run a command line that is refused; return the one line that says why."""
    result = run(*arguments, exit_code=exit_code, **how)
    assert result.stdout == ""
    assert is_one_line(result.stderr), result.stderr
    return result.stderr


def is_one_line(said: str) -> bool:
    """Return whether one error is said, in a line without control characters."""
    line = said.removesuffix("\n")
    return line.startswith("Error: ") and line.isprintable() and said != line


def quick_lines(tiny, folder: Path) -> dict[str, tuple]:
    """Return a line for each command that ends well, and soon, with outputs in the folder."""
    for name, content in _artifacts(tiny).items():
        (folder / name).write_bytes(content)
    model, scores, part = folder / "m.safetensors", folder / "s.h5", folder / "1.h5"
    clip, out = tiny.audio / "val" / "tone_16.wav", folder / "out"
    small = ("--arch", "small", "--epochs", 1, "--steps-per-epoch", 1, "--batch-size", 2)
    labels = ("--weak", tiny.weak, "--val-weak", tiny.weak_validation)
    return {
        "extract": ("extract", clip, "-o", out),
        "train": ("train", "-o", out, "--features", tiny.features, *labels, *small),
        "tune": ("tune", model, "--features", tiny.features, "--weak", tiny.weak_validation),
        "infer": ("infer", model, clip),
        "evaluate": ("evaluate", tiny.strong, tiny.strong),
        "plot clip": ("plot clip", tiny.features, scores, "tone_16.wav", "-o", folder / "c.svg"),
        "plot pooling": ("plot pooling", model, "-o", folder / "p.svg"),
        **_plot_lines(tiny, folder, model),
        "demo": ("demo", "-o", out),
        **_sweep_lines(tiny, folder),
        "merge": ("merge", part, "-o", out, "--partial"),
        "check": ("check", clip),
        "convert": ("convert", tiny.strong),
        "info": ("info", clip.parent),
        "doctor": ("doctor", folder),
    }


def _plot_lines(tiny, folder: Path, model: Path) -> dict[str, tuple]:
    """Return lines for the figures of the paper."""
    metrics, clip = folder / "metrics.tsv", (tiny.features, "tone_16.wav", "--class", "tone")
    metrics.write_text("epoch\tloss\n1\t0.5\n")
    data = f"tiny={model}:{tiny.strong}"
    return {
        "plot frames": ("plot frames", *clip, "--model", model, "-o", folder / "f.svg"),
        "plot durations": ("plot durations", "--data", data, "-o", folder / "d.svg"),
        "plot gradients": ("plot gradients", "--pooling", "linear", "-o", folder / "g.svg"),
        "plot curves": ("plot curves", metrics, "-o", folder / "curves.svg"),
    }


def _sweep_lines(tiny, folder: Path) -> dict[str, tuple]:
    """Return lines for a sweep whose only run is done, and for comparing it."""
    runs, recipe = folder / "runs", folder / "sweep.yaml"
    recipe.write_text(_sweep_recipe(tiny))
    for name, content in _finished_run(tiny).items():
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).write_bytes(content)
    given = ("--features", tiny.features, "--test", tiny.features, "--test-reference", tiny.strong)
    line = ("sweep", recipe, "--data", folder, "-o", runs, "--pooling", "max", *given)
    return {
        "sweep": line,
        "compare": ("compare", runs, "--reference", tiny.strong, "--resamples", 20),
    }


def _sweep_recipe(tiny) -> str:
    small = "  arch: small\n  epochs: 1\n  steps-per-epoch: 1\n  batch-size: 2\n"
    return f"train:\n  weak: {tiny.weak}\n  val-weak: {tiny.weak_validation}\n{small}"


@functools.cache
def _finished_run(tiny) -> dict[str, bytes]:
    """Return a run as a sweep leaves it, by file name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "max" / "seed-0"
        recipe, model, test = (
            Path(name) / "sweep.yaml",
            folder / "model.safetensors",
            folder / "test",
        )
        recipe.write_text(_sweep_recipe(tiny))
        features = ("--features", tiny.features)
        run("train", "-o", folder, "-c", recipe, "--pooling", "max", *features, "-q")
        run("tune", model, *features, "--weak", tiny.weak_validation, "-q")
        test.mkdir()
        run(
            "infer",
            model,
            tiny.features,
            "-o",
            test / "e.tsv",
            "--scores",
            test / "scores.h5",
            "-q",
        )
        run("evaluate", tiny.strong, test / "scores.h5", "-o", test / "metrics.json", "-q")
        recipe.unlink()
        files = (path for path in Path(name).rglob("*") if path.is_file())
        return {str(path.relative_to(name)): path.read_bytes() for path in files}


@functools.cache
def _artifacts(tiny) -> dict[str, bytes]:
    """Return a model, scores and a part of features, by file name."""
    clip = tiny.audio / "val" / "tone_16.wav"
    with tempfile.TemporaryDirectory() as folder:
        model = save_small_model(Path(folder) / "m.safetensors")
        run("infer", model, clip, "--scores", f"{folder}/s.h5", "--root", tiny.audio, "-q")
        run("extract", clip, "-o", f"{folder}/1.h5", "--shard", "1/2", "-q")
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def save_small_model(path: Path, threshold: float = 0.0) -> Path:
    """Save a model of the classes of the tiny data set, which was never trained."""
    model = new_model()
    model.classes = ("noise", "tone")
    model.decoding = DecodingConfig((threshold,) * 2, (threshold,) * 2, (0.0, 0.0))
    save_model(path, model)
    assert load_model(path).tuned  # or it would warn
    return path
