"""The command line: help, streams, exit codes, configuration files."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sedtool.cli import COMMANDS, cli
from sedtool.cli.settings import SedtoolCommand, option_key
from sedtool.config import TrainConfig
from sedtool.config.recipe import read_recipe
from sedtool.errors import ConfigError
from support.command_lines import every_command, every_option

REFERENCE = "filename\tonset\toffset\tevent_label\na.wav\t0.0\t1.0\tDog\nb.wav\t2.0\t3.0\tCat\n"


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def lists(tmp_path):
    reference, estimated = tmp_path / "reference.tsv", tmp_path / "estimated.tsv"
    reference.write_text(REFERENCE)
    estimated.write_text(REFERENCE.replace("2.0", "2.9"))
    return reference, estimated


@pytest.mark.parametrize("words", [words for words, _ in every_command()])
def test_each_help_text_has_an_example(words):
    result = run(*words.split(), "--help")
    assert result.exit_code == 0
    assert f"Example: sedtool {words}" in result.stdout


@pytest.mark.parametrize("words", [(), ("plot",)])
def test_no_summary_of_a_command_is_cut_off(words):
    lines = run(*words, "--help").stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    assert all(line.endswith(".") and not line.endswith("...") for line in lines.splitlines())


def test_the_help_of_an_option_is_a_sentence():
    for words, parameter in every_option():
        if isinstance(parameter, click.Option):
            text = str(parameter.help)
            assert text.endswith(".") and len(text.split()) > 3, f"{words} {parameter.name}: {text}"


def test_every_option_of_a_command_is_in_a_group_that_help_shows():
    for words, command in every_command():
        if isinstance(command, SedtoolCommand):
            text = run(*words.split(), "--help").stdout
            assert "\nOptions:" not in text
            for parameter in command.params:
                if isinstance(parameter, click.Option):
                    assert f"\n{parameter.group}:\n" in text, f"{words} {parameter.name}"


def test_help_loads_nothing_heavy():
    heavy = {"torch", "numpy", "scipy", "h5py", "soundfile", "rich", "matplotlib", "yaml"}
    code = (
        "import sys; from click.testing import CliRunner; from sedtool.cli import cli, COMMANDS\n"
        "for words in [[], *([name] for name in COMMANDS)]:\n"
        "    assert CliRunner().invoke(cli, [*words, '--help']).exit_code == 0\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_training_setting_is_an_option_with_the_same_default():
    options = {p.name: p for p in cli.get_command(click.Context(cli), "train").params}
    for name, field in TrainConfig.__dataclass_fields__.items():
        assert options[name].default == field.default, name


def test_an_error_is_one_line_on_stderr_with_its_exit_code(tmp_path):
    path = tmp_path / "x.h5"
    path.write_text("nonsense")
    result = run("tune", path, "--features", path, "--weak", path)
    assert result.exit_code == 5
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {path}")
    assert result.stderr.count("\n") == 1


def test_a_bug_is_one_line_and_a_traceback_in_a_file(tmp_path, monkeypatch, lists):
    def broken(*_):
        raise ZeroDivisionError("oh")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sedtool.evaluation.from_files.evaluate_files", broken)
    result = run("evaluate", *lists)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: this is a bug in sedtool: ZeroDivisionError: oh (trace")
    (report,) = (tmp_path / "sedtool").iterdir()
    assert "ZeroDivisionError: oh" in report.read_text()


def test_evaluate_prints_the_table_alone_on_stdout_and_writes_json(tmp_path, lists):
    output = tmp_path / "metrics.json"
    result = run("evaluate", *lists, "-o", output)
    assert result.exit_code == 0
    assert result.stderr.startswith("2 clips, 2 classes in ")
    assert result.stderr.endswith(f" s -> stdout, {output}\n")
    assert "event" in result.stdout
    assert output.exists()
    again = run("evaluate", *lists, "-o", output)
    assert (again.exit_code, again.stdout) == (0, result.stdout)
    assert "nothing to do" in again.stderr
    other = run("evaluate", *lists, "-o", output, "--collar", "0.1")
    assert other.exit_code == 2
    assert "--overwrite" in other.stderr
    assert run("evaluate", *lists, "-o", output, "--collar", "0.1", "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--collar", "-1"], "collar must be in [0, 1e6], not -1.0"),
        (["--segment", "0"], "segment must be in (0, 1e6], not 0.0"),
        (["--engine", "sed_evall"], "'sed_evall' is not one of 'native', 'sed_eval'"),
        (["--collr", "1"], "No such option"),
        (["--collar", "x"], "not a valid float"),
        (["--collar", "nan"], "collar must be in [0, 1e6], not nan"),
    ],
)
def test_a_value_out_of_range_is_refused_not_clamped(lists, arguments, message):
    result = run("evaluate", *lists, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_bad_label_row_is_refused_with_file_and_line(lists):
    reference, estimated = lists
    estimated.write_text(REFERENCE + "c.wav\t3\t2\tDog\n")
    result = run("evaluate", reference, estimated)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {estimated}:4: offset 2 is before onset 3\n"


def write(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_configuration_file_sets_defaults_that_the_command_line_overrides(tmp_path, lists):
    recipe = write(tmp_path, "evaluate:\n  collar: 1e-3\n  segment: 0.5\ntrain:\n  epochs: 3\n")
    output = tmp_path / "metrics.json"
    run("evaluate", *lists, "-c", recipe, "--segment", "2", "-o", output)
    text = output.read_text()
    assert '"collar": 0.001' in text
    assert '"segment": 2.0' in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("evaluate:\n  colar: 1\n", ":2: evaluate has no option 'colar'; did you mean 'collar'?"),
        ("evaluate:\n  collar: 1\n  collar: 2\n", ":3: 'collar' is given twice, first in line 2"),
        ("evaluate: {collar: 1}\nevaluate: {}\n", ":2: 'evaluate' is given twice"),
        ("evalute:\n  collar: 1\n", ":1: no subcommand 'evalute'"),
        ("evaluate:\n  collar: wide\n", ":2: collar: 'wide' is not a valid float"),
        ("evaluate:\n  collar: [1, 2]\n", ":2: collar takes one value, not a list"),
        ("evaluate:\n  collar: {a: 1}\n", "a value must be a word, a number or a list"),
        ("evaluate: &a\n  collar: 1\n", "anchors, aliases and tags are refused"),
        ("evaluate:\n  collar: !!python/none x\n", "anchors, aliases and tags are refused"),
        ("evaluate:\n\tcollar: 1\n", ":2: not valid YAML"),
        ("- evaluate\n", ":1: expected 'key: value' lines"),
        ("evaluate:\n  quiet: [1]\n", "quiet takes one value"),
    ],
)
def test_a_wrong_configuration_file_is_an_error_with_its_line(tmp_path, lists, text, message):
    result = run("evaluate", *lists, "-c", write(tmp_path, text))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "recipe.yaml" in result.stderr


def test_numbers_in_scientific_notation_and_flags_are_read(tmp_path):
    recipe = read_recipe(write(tmp_path, "train:\n  lr: 1e-3\n  resume: yes\n  features: [a, b]\n"))
    assert {key: value for key, (value, _) in recipe["train"].values.items()} == {
        "lr": "1e-3",  # Click makes numbers and flags of text
        "resume": "yes",
        "features": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe\x00", "it is UTF-16 text; save it as UTF-8"), (b"\xff\x00", "not valid YAML")],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, content, message):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_recipe(path)


def test_configuration_keys_are_the_long_options():
    for _, command in every_command():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert f"--{option_key(parameter)}" in parameter.opts


def test_the_readme_names_every_command():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert all(f"sedtool {name}" in readme for name in COMMANDS)


def test_control_characters_of_a_message_do_not_reach_the_terminal(tmp_path, lists):
    result = run("evaluate", lists[0], lists[1], "--engine", "a\x1b[31m\nb")
    assert "\x1b" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_closed_pipe_ends_quietly_with_141(lists):
    done = subprocess.run(
        f"{sys.executable} -m sedtool evaluate {lists[0]} {lists[1]} | true; "
        "exit ${PIPESTATUS[0]}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 141)  # 0 where the table fits the pipe before it closes
    assert "Traceback" not in done.stderr
