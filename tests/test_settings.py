"""Where an option's value comes from: command line, --set, environment, recipe, preset, default."""

import itertools

import click
import pytest
import yaml
from click.testing import CliRunner

from sedtool.cli import COMMANDS, cli
from sedtool.cli.options import _seconds
from sedtool.cli.settings import SedtoolCommand, option_key, resolve, taken
from sedtool.config import TrainConfig
from sedtool.errors import ConfigError

REFERENCE = "filename\tonset\toffset\tevent_label\na.wav\t0.0\t1.0\tDog\nb.wav\t2.0\t3.0\tCat\n"


def run(*arguments, **environment):
    arguments = [str(argument) for argument in arguments]
    return CliRunner().invoke(cli, arguments, env=environment)


def commands(group=cli, prefix=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*prefix, name))
        elif isinstance(command, SedtoolCommand):  # `completion` has nothing to set
            yield (*prefix, name), command


def shown(*arguments, **environment):
    """Return what --print-config says: key -> (value, where it comes from)."""
    result = run(*arguments, "--print-config", **environment)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()[1:]
    parsed = yaml.safe_load(result.stdout)
    (values,) = parsed.values()
    values = {key or "null": value for key, value in values.items()}  # --null, to other readers
    return {
        line.split(":")[0].strip(): (values[line.split(":")[0].strip()], line.rsplit("# ", 1)[1])
        for line in lines
    }


# Precedence


def test_the_section_all_is_of_every_command_that_has_the_option_and_weaker_than_its_own(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("tune:\n  collar: 0.1\nall:\n  collar: 0.05\n  epochs: 7\n")
    of_train, of_tune, of_evaluate = (
        shown(*words, "-c", recipe) for words in (("train",), ("tune",), ("evaluate",))
    )
    assert of_train["collar"] == of_evaluate["collar"] == (0.05, f"{recipe}:4")
    assert of_tune["collar"] == (0.1, f"{recipe}:2")
    assert of_train["epochs"] == (7, f"{recipe}:5")
    assert "epochs" not in of_tune
    by_set = shown("tune", "-c", recipe, "--set", "all.collar=0.3")
    assert by_set["collar"] == (0.3, "--set all.collar")
    assert shown("train", SEDTOOL_ALL_COLLAR="0.4")["collar"] == (0.4, "SEDTOOL_ALL_COLLAR")
    typed = shown("train", "--collar", "0.6", "-c", recipe)
    assert typed["collar"] == (0.6, "command line")


def test_a_key_of_the_section_all_that_no_command_has_is_refused(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("all:\n  colar: 0.05\n")
    refused = run("tune", "-c", recipe, "--print-config")
    assert refused.exit_code == 2
    assert f"{recipe}:2: all has no option 'colar'; did you mean" in refused.stderr


SOURCES = ("config", "environment", "set", "command line")  # from the weakest


@pytest.mark.parametrize(
    "given", [g for n in range(5) for g in itertools.combinations(SOURCES, n)], ids=str
)
def test_the_strongest_source_that_gives_a_value_wins_and_is_named(tmp_path, given):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train:\n  epochs: 11\n" if "config" in given else "train:\n")
    arguments = ["train", "-c", recipe]
    environment = {"SEDTOOL_TRAIN_EPOCHS": "12"} if "environment" in given else {}
    if "set" in given:
        arguments += ["--set", "train.epochs=13"]
    if "command line" in given:
        arguments += ["--epochs", "14"]
    expected = {
        "": (0, "default"),
        "config": (11, f"{recipe}:2"),
        "environment": (12, "SEDTOOL_TRAIN_EPOCHS"),
        "set": (13, "--set train.epochs"),
        "command line": (14, "command line"),
    }
    assert shown(*arguments, **environment)["epochs"] == expected[given[-1] if given else ""]


def test_an_empty_value_takes_back_what_a_weaker_source_gives(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train:\n  epochs: 11\n")
    assert shown("train", "-c", recipe, "--set", "train.epochs=")["epochs"] == (0, "default")


def test_a_preset_is_the_source_of_what_it_implies():
    values = shown("extract", "--preset", "dcase2019", "--n-mels", "128")
    assert values["n-mels"] == (128, "command line")
    assert values["sample-rate"] == (44_100, "preset dcase2019")
    assert values["preset"] == ("dcase2019", "command line")


@pytest.mark.parametrize("words", [words for words, _ in commands()])
def test_print_config_of_every_command_is_a_recipe_that_changes_nothing(tmp_path, words):
    first = run(*words, "--print-config")
    assert first.exit_code == 0, first.stderr
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(first.stdout)
    again = run(*words, "-c", recipe, "--print-config")
    assert again.exit_code == 0, again.stderr
    assert yaml.safe_load(again.stdout) == yaml.safe_load(first.stdout)


def test_repeatable_options_take_lists_and_single_values(tmp_path):
    for name in ("a.h5", "b.h5"):
        (tmp_path / name).write_text("")
    a, b = (str(tmp_path / name) for name in ("a.h5", "b.h5"))
    both = shown("train", "--set", f"train.features=[{a}, {b}]")
    assert both["features"][0] == [a, b]
    assert shown("train", SEDTOOL_TRAIN_FEATURES=a)["features"] == ([a], "SEDTOOL_TRAIN_FEATURES")


def test_whole_numbers_may_be_a_list(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train:\n  keep-epochs: [1, 3]\n")
    values = shown("train", "-c", recipe, "--set", "train.batch-size=[6, 12, 6]")
    assert [values[key][0] for key in ("keep-epochs", "batch-size")] == ["1,3", "6,12,6"]
    result = run("train", "--set", "train.batch-size=[6, x]", "--print-config")
    assert "batch-size: '6,x' is no list of whole numbers" in result.stderr


def test_flags_are_set_by_words(tmp_path):
    for word, expected in (("yes", True), ("off", False), ("1", True), ("false", False)):
        assert shown("train", "--set", f"train.resume={word}")["resume"][0] is expected


def test_names_that_yaml_takes_for_something_else_stay_names(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train:\n  amp: off\n  pooling: 007\n  lr: 1e-3\n")
    values = shown("train", "-c", recipe)
    assert values["amp"][0] == "off"
    assert values["pooling"][0] == "007"
    assert values["lr"][0] == 0.001


def test_a_subcommand_of_plot_has_a_section_of_its_own(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("plot-pooling:\n  output: n.png\n")
    assert shown("plot", "pooling", "-c", recipe)["output"][0] == "n.png"


# Mistakes


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("train.epocs=3", "--set train.epocs: train has no option 'epocs'; did you mean 'epochs'?"),
        ("trian.epochs=3", "no subcommand 'trian'; did you mean 'train'?"),
        ("epochs=3", "expected section.key=value"),
        ("train.epochs", "expected section.key=value"),
        ("train.epochs=many", "--set train.epochs: epochs: 'many' is not a valid integer"),
        ("train.epochs=[1, 2]", "epochs takes one value, not a list"),
        ("train.features=[a", "--set train.features:1: not valid YAML"),
        ("train.features=[a, {b: c}]", "a value must be a word, a number or a list"),
        ("extract.presset=x", "extract has no option 'presset'; did you mean 'preset'?"),
    ],
)
def test_a_wrong_setting_is_refused_where_it_stands(value, message):
    result = run("train", "--set", value, "--print-config")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_setting_given_twice_is_refused():
    result = run("train", "--set", "train.epochs=1", "--set", "train.epochs=2", "--print-config")
    assert result.exit_code == 2
    assert "--set train.epochs is given twice" in result.stderr


def test_a_misspelt_variable_of_the_command_is_refused_and_of_none_is_warned_of():
    result = run("train", "--print-config", SEDTOOL_TRAIN_EPOCS="3")
    assert result.exit_code == 2
    assert "SEDTOOL_TRAIN_EPOCS: train has no option 'epocs'" in result.stderr
    result = run("train", "--print-config", SEDTOOL_HOME="/opt")
    assert result.exit_code == 0
    assert "warning: SEDTOOL_HOME in the environment is no setting of sedtool" in result.stderr


def test_a_variable_of_another_command_does_not_matter():
    result = run("train", "--print-config", SEDTOOL_INFER_WINDOW="x")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_mistake_in_the_section_of_another_command_is_found_too(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("extract:\n  preset: dcase2017\ntrain:\n  epoch: 3\n")
    result = run("extract", "-c", recipe, "--print-config")
    assert result.exit_code == 2
    assert f"{recipe}:4: train has no option 'epoch'; did you mean 'epochs'?" in result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_misspelt_command_suggests_the_right_one(name):
    result = run(name[:-1] + "x")
    assert result.exit_code == 2
    assert f"Did you mean {name!r}?" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_missing_input_is_one_line(tmp_path):
    result = run("extract", "-o", tmp_path / "x.h5")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: Missing argument 'INPUT...'")
    assert result.stderr.count("\n") == 1


# Time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5h", 5400), ("90m", 5400), ("2d", 172_800), ("30s", 30), ("23:30:00", 84_600)],
)
def test_times_are_read(text, seconds):
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["0", "-5", "1x", "", "nan", "inf", "1e9", "10:00", "99:99:99"])
def test_what_is_no_time_is_refused(tmp_path, text):
    result = run("extract", tmp_path, "-o", tmp_path / "x.h5", f"--max-time={text}")
    assert result.exit_code == 2
    assert "is no time such as 3600, 90m" in result.stderr


def test_keys_are_the_long_options():
    for _, command in commands():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert f"--{option_key(parameter)}" in parameter.opts


def test_what_is_typed_takes_the_place_of_a_file_that_a_recipe_names(tmp_path):
    recipe, there = tmp_path / "r.yaml", tmp_path / "weak.tsv"
    recipe.write_text("train:\n  weak: gone.tsv\n")
    there.write_text("filename\tevent_labels\n")
    features = ("--features", str(there), "-o", str(tmp_path / "run"))
    refused = run("train", "-c", str(recipe), *features, "--print-config")
    assert refused.exit_code == 2
    assert f"{recipe}:2: weak: File 'gone.tsv' does not exist" in refused.stderr
    line = run("train", "-c", str(recipe), "--weak", str(there), *features, "--print-config")
    assert line.exit_code == 0
    assert f'weak: "{there}"' in line.stdout


# What a command would run with


@pytest.mark.parametrize("name", ["extract", "train", "tune", "infer", "evaluate", "compare"])
def test_what_is_resolved_is_what_print_config_shows(name, monkeypatch, tmp_path):
    monkeypatch.setenv("SEDTOOL_INFER_MEDIAN", "0.5")
    options = resolve(click.Context(cli), name, None, ("train.epochs=3",), tmp_path)
    values = shown(name, "--set", "train.epochs=3")
    for key, value in options.by_key().items():
        if value not in (None, ()):
            assert value == values[key][0], key
    assert options.given == ({"train": {"epochs"}, "infer": {"median"}}.get(name, set()))


def test_paths_are_relative_to_the_folder_that_is_asked_for(tmp_path):
    (tmp_path / "data").mkdir()
    recipe, data = tmp_path / "recipe.yaml", tmp_path / "data"
    recipe.write_text("infer:\n  threshold: t.tsv\ncompare:\n  paper: paper.tsv\n")
    (data / "t.tsv").write_text("")
    (data / "classes.txt").write_text("")

    def resolved(name, *sets):
        return resolve(click.Context(cli), name, recipe, sets, data)

    assert resolved("infer")["threshold"] == str(data / "t.tsv")
    assert resolved("infer", "infer.threshold=0.5")["threshold"] == "0.5"
    assert resolved("train", "train.classes=classes.txt")["classes"] == data / "classes.txt"
    assert resolved("extract", "extract.files-from=-")["files_from"] == "-"
    assert resolved("compare")["paper"] == tmp_path / "paper.tsv"  # beside the recipe
    with pytest.raises(ConfigError, match=f"train.weak: weak: File '{data}/w.tsv' does not exist"):
        resolved("train", "train.weak=w.tsv")


def test_a_setting_that_is_resolved_says_where_it_stands(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train:\n  lr: -1\n")
    options = resolve(click.Context(cli), "train", recipe, (), tmp_path)
    with pytest.raises(ConfigError, match=f"^{recipe}:2: --lr must be"), options.named():
        taken(TrainConfig, options)
