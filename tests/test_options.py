"""Every documented option is tried by a test, and every wrong value is refused."""

import logging
import sys

import click
import pytest

from sedtool.cli.settings import SedtoolCommand
from sedtool.config import EvaluationConfig
from sedtool.doctor import Check
from sedtool.evaluation import evaluate
from sedtool.labels import read_events
from sedtool.machine import pick_device
from support.command_lines import (
    COMMON,
    every_command,
    every_option,
    option_name,
    quick_lines,
    refused,
    run,
    tried_options,
)

pytestmark = pytest.mark.slow

COMMANDS = [words for words, command in every_command() if isinstance(command, SedtoolCommand)]


def test_every_option_is_tried_by_a_test_and_no_test_tries_what_is_no_option():
    of_all = {(command, option) for command in COMMANDS for option in COMMON}  # tried below
    every = {(words, option_name(parameter)) for words, parameter in every_option()}
    assert every == tried_options() | of_all


def test_every_option_has_a_help_text():
    options = [(words, p) for words, p in every_option() if isinstance(p, click.Option)]
    assert [(words, p.name) for words, p in options if not p.help] == []


# What all commands share


@pytest.fixture
def lines(tiny, tmp_path, monkeypatch):
    """A line for each command that ends well, and quickly."""
    monkeypatch.setattr("sedtool.doctor.examine", lambda *_: [Check("all", "ok", "is well")])
    labels = read_events(tiny.strong)
    evaluation = evaluate(labels, labels, EvaluationConfig())

    def demo(*_, device, **__):
        pick_device(device)
        return evaluation

    monkeypatch.setattr("sedtool.demo.run_demo", demo)
    return quick_lines(tiny, tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_stderr_says_how_a_run_ended_unless_quiet_and_the_log_file_has_it_all(
    lines, command, tmp_path, capsys
):
    log = tmp_path / "run.log"
    said = run(*lines[command], "--log-file", log, "--verbose").stderr
    logged = [line.split(" ", 1)[1] for line in log.read_text().splitlines()]
    assert logged[0] == str(sys.argv)
    assert [line for line in said.splitlines() if line not in logged] == []
    assert (said == "") == (command in ("info", "doctor"))  # which have nothing but data
    logging.getLogger("sedtool.store").info("more")
    assert capsys.readouterr().err == "info: more\n"  # of --verbose


@pytest.mark.parametrize("command", COMMANDS)
def test_a_quiet_run_says_only_errors(lines, command, capsys, monkeypatch):
    monkeypatch.setattr("sedtool.cli.console._LINE_EVERY", 0.0)  # it would say how far it is
    assert run(*lines[command], "--quiet").stderr == ""
    logging.getLogger("sedtool.store").warning("beware")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_values_come_from_a_recipe_and_from_set_and_are_shown(command, tmp_path):
    section = command.replace(" ", "-")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"{section}:\n  quiet: yes\n")
    given = {
        "default": (),
        f"{recipe}:2": ("--config", recipe),
        f"--set {section}.quiet": ("-c", recipe, "--set", f"{section}.quiet=no"),
    }
    for source, options in given.items():
        text = run(command, *options, "--print-config").stdout
        assert text.startswith(f"{section}:\n")
        (line,) = (line for line in text.splitlines() if line.startswith("  quiet:"))
        assert line.split() == ["quiet:", str("recipe" in source).lower(), "#", *source.split()]
    assert list(tmp_path.iterdir()) == [recipe]
    assert "did you mean 'quiet'" in refused(command, "--set", f"{section}.quit=yes")


# Wrong values


WRONG = ("0", "-1", "nan", "inf", "-inf", "1e400", "1e31", str(2**64), "many", "")
# Those that some options take all the same.
FINE = {
    "0": {
        *("--fmin", "--steps-per-epoch", "--pooling-lr", "--time-shift", "--seed", "--patience"),
        *("--window", "--min-duration", "--merge-gap", "--overlap", "--collar", "--offset-ratio"),
        *("--consistency", "--ramp-up", "--ema", "--noise", "--dtc", "--gtc", "--min-confidence"),
        *("--from", "--touching-gap", "--epochs", "--warm-up", "--pooling-start"),
        *("--clip-weight", "--frame-weight"),
    },
    str(2**64): {"--lr"},  # which ends in exit code 8
}
NUMBERS = [
    (words, option_name(parameter))
    for words, parameter in every_option()
    if isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType)
]


@pytest.mark.parametrize(("command", "option"), NUMBERS)
def test_a_number_out_of_range_is_refused_and_never_clamped(lines, command, option, tmp_path):
    fine = {value for value, options in FINE.items() if option in options}
    if command == "infer" and option == "--window":
        fine = set()  # zero seconds are no window of the network, but one of a median
    there = sorted(tmp_path.iterdir())
    for value in WRONG:
        if value not in fine:
            refused(*lines[command], f"{option}={value}")
    assert sorted(tmp_path.iterdir()) == there


CHOICES = [
    (words, option_name(parameter), parameter.type.choices)
    for words, parameter in every_option()
    if isinstance(parameter.type, click.Choice) and words != "completion"
]


@pytest.mark.parametrize(("command", "option", "choices"), CHOICES)
def test_a_misspelt_choice_is_refused_with_those_there_are(lines, command, option, choices):
    message = refused(*lines[command], option, f"{choices[0]}x")
    assert all(choice in message for choice in choices)


TEXTS = [
    (words, option_name(parameter))
    for words, parameter in every_option()
    if isinstance(parameter, click.Option) and not parameter.is_flag
    if option_name(parameter) not in ("--compat", "--audio-suffix")  # where it means none
]


@pytest.mark.parametrize(("command", "option"), TEXTS)
def test_an_empty_variable_in_a_script_is_no_value(lines, command, option, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    refused(*lines[command], f"{option}=", exit_code=6 if option == "--log-file" else 2)
    assert not list(folder.iterdir())


def test_a_folder_of_outputs_is_made_only_where_one_is_meant(lines, tmp_path):
    for command in ("extract", "infer", "evaluate", "merge"):
        assert "new/" in refused(*lines[command], "-o", f"{tmp_path}/new/")
    run(*lines["train"], "-o", f"{tmp_path}/new/")


FILES = [
    (words, option_name(parameter))
    for words, parameter in every_option()
    if isinstance(parameter, click.Option) and getattr(parameter.type, "exists", False)
]


@pytest.mark.parametrize(("command", "option"), FILES)
def test_a_file_that_is_not_there_is_named(lines, command, option):
    assert "nowhere" in refused(*lines[command], option, "nowhere")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_misspelt_option_is_refused_with_the_one_that_was_meant(lines, command):
    assert "--log-file" in refused(*lines[command], "--log-fil_")
