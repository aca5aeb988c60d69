"""What others write is used by name; what is wrong with it is said in one line, and no more is."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import yaml

from sedtool import plugins
from sedtool.augment import Batch, make_augmentations
from sedtool.config import PoolingConfig, parse_architecture
from sedtool.config.named import AugmentationConfig
from sedtool.crnn import Detector
from sedtool.draws import generator
from sedtool.losses import make_loss
from support import sweeps
from support.command_lines import refused, run, tries
from support.forged import forge_model, put

PAGE = (Path(__file__).parents[1] / "docs/plugins.md").read_text("utf-8")
EXAMPLE, PROJECT = (
    re.search(rf"```{kind}\n(.*?)```", PAGE, re.S)[1] for kind in ("python", "toml")
)
USED = ("--pooling", "top-k:share=0.2", "--arch", "small:block=separable")
IN_TRAINING = ("--augment", "tilt:most=3", "--augment", "mixup", "--loss", "focal:gamma=1")
POOLING = """
from sedtool.pooling import LinearPooling

class Mine(LinearPooling):
    def __init__(self, n_classes, hidden_size=0, *, init: float = 1.0):
        super().__init__(n_classes, hidden_size)
"""


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Leave no plugin behind, and no module or folder of one."""
    monkeypatch.setattr(plugins, "_members", {})
    monkeypatch.setattr(plugins, "_files", [])
    monkeypatch.setattr(plugins, "_broken", None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("mine", "my_plugin", "pack", "other", "broken"):
            del sys.modules[name]


@pytest.fixture
def trained(tiny, tmp_path):
    """Return a function that trains a run with the plugin of the page, and its words."""
    file = tmp_path / "my_plugin.py"
    file.write_text(EXAMPLE)

    def train(name, *options, used=USED, **how):
        labels = ("--weak", tiny.weak, "--val-strong", tiny.strong)
        few = ("--epochs", 2, "--steps-per-epoch", 2, "--batch-size", 4)
        line = ("train", "-o", tmp_path / name, "--features", tiny.features, *labels, *few, *used)
        return run(*line, "--plugin", file, *options, **how)

    return train


def written(folder, text, name="mine.py"):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def forget(*names):
    """Do as a new process would, that has loaded no plugin."""
    plugins._members.clear()
    plugins._files.clear()
    plugins._broken = None


@pytest.mark.slow
@tries("train", "--plugin")
@tries("infer", "--plugin")
def test_the_plugin_of_the_page_trains_and_infers(trained, tiny, tmp_path):
    said = trained("run", *IN_TRAINING).stderr
    file, model = tmp_path / "my_plugin.py", tmp_path / "run/model.safetensors"
    assert f"next: sedtool infer {model} INPUT -o events.tsv --plugin {file}\n" in said
    forget()
    run("infer", model, tiny.features, "-o", tmp_path / "e.tsv", "--plugin", file)
    assert (tmp_path / "e.tsv").exists()
    trained("plain")
    rows = [(tmp_path / name / "metrics.tsv").read_text() for name in ("run", "plain")]
    assert rows[0] != rows[1]


def test_the_augmentation_and_the_loss_of_the_page_are_what_they_say(tmp_path):
    plugins.load(str(written(tmp_path, EXAMPLE, "my_plugin.py")))
    tilt = make_augmentations([AugmentationConfig("tilt", {"most": 3.0})])["tilt"]
    x, none = torch.zeros(2, 5, 11), torch.zeros(0, 5, 1)
    parts = (torch.tensor([5, 3]), torch.zeros(2, 1), none, slice(0, 2), slice(2, None), ["a", "b"])
    tilted = tilt(Batch(x, *parts, decibel=2.0), generator("test", 0)).features
    ends = tilted[..., -1:]
    torch.testing.assert_close(tilted, ends * torch.linspace(-1, 1, 11).expand_as(tilted))
    assert (ends == ends[:, :1]).all() and 0 < ends.abs().max() <= 3.0
    logits, target = torch.randn(2, 4, 3), torch.rand(2, 4, 3)
    mask = torch.ones(2, 4, dtype=torch.bool)
    y = logits.sigmoid()
    expected = -(target * (1 - y) ** 2 * y.log() + (1 - target) * y**2 * (1 - y).log()).mean()
    torch.testing.assert_close(make_loss("focal").of_frames(logits, mask, target), expected)


def test_a_clip_that_the_plugin_of_the_page_scores_in_a_batch_has_the_scores_it_has_alone(tmp_path):
    plugins.load(str(written(tmp_path, EXAMPLE, "my_plugin.py")))
    network = parse_architecture("small:block=separable"), PoolingConfig("top-k", {"share": 0.2})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = Detector(*network, 16, 3).eval()
        clips = torch.randn(2, 40, 16)
    for length in (1, 17, 33):
        batch = detector(clips, torch.tensor([40, length]))
        alone = detector(clips[1:, :length], torch.tensor([length]))
        torch.testing.assert_close(batch.log_y[1:], alone.log_y)
        frames = alone.logits.shape[1]
        torch.testing.assert_close(batch.logits[1:, :frames], alone.logits)


@pytest.mark.slow
@tries("tune", "--plugin")
@tries("info", "--plugin")
@tries("plot pooling", "--plugin")
@tries("plot frames", "--plugin")
@tries("plot durations", "--plugin")
def test_what_takes_a_model_says_which_plugin_it_needs(trained, tiny, tmp_path):
    learned = POOLING.replace("Linear", "Power") + 'POOLINGS = {"mine": Mine}'
    plugin, model = written(tmp_path, learned), tmp_path / "run/model.safetensors"
    trained("run", "--plugin", plugin, used=("--pooling", "mine", "--arch", "small"))
    lines = {
        "tune": (model, "--features", tiny.features, "--reference", tiny.strong),
        "infer": (model, tiny.features),
        "info": (model,),
        "plot pooling": (model, "-o", tmp_path / "p.svg"),
        "plot frames": (
            *(tiny.features, "tone_16.wav", "--class", "tone"),
            *("--model", model, "-o", tmp_path / "f.svg"),
        ),
        "plot durations": ("--data", f"a={model}:{tiny.strong}", "-o", tmp_path / "d.svg"),
    }
    for command, words in lines.items():
        forget()
        why = refused(command, *words, exit_code=5)
        assert f"{model} needs pooling 'mine' of plugin 'mine': name it, or its file, by" in why
        run(command, *words, "--plugin", plugin)


@pytest.mark.slow
def test_the_configuration_of_a_run_names_its_plugins_and_repeats_it(trained, tmp_path):
    other = written(tmp_path, POOLING + 'POOLINGS = {"other": Mine}', "other.py")
    trained("run", "--plugin", other)
    config = tmp_path / "run/config.yaml"
    assert yaml.safe_load(config.read_text())["train"]["plugin"] == [str(tmp_path / "my_plugin.py")]
    assert (
        str(tmp_path / "my_plugin.py")
        in json.loads((tmp_path / "run/run.json").read_text())["inputs"]
    )
    forget()
    run("train", "-c", config, "-o", tmp_path / "again")
    for name in ("model.safetensors", "metrics.tsv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.slow
def test_a_run_whose_plugin_has_changed_is_another_run_and_its_model_warns(trained, tiny, tmp_path):
    trained("run", "--no-tune")
    file = tmp_path / "my_plugin.py"
    file.write_text(EXAMPLE + "# changed\n")
    line = ("infer", tmp_path / "run", tiny.features, "-o", tmp_path / "e.tsv", "--plugin", file)
    said = run(*line).stderr
    assert "was trained with another version of pooling 'top-k' of plugin 'my_plugin'" in said
    labels = ("--weak", tiny.weak, "--val-strong", tiny.strong)
    few = ("--epochs", 3, "--steps-per-epoch", 2, "--batch-size", 4)
    again = ("train", "-o", tmp_path / "run", "--features", tiny.features, *labels, *few, *USED)
    assert "plugins differ" in refused(*again, "--plugin", file, "--resume", exit_code=5)


@tries("plot gradients", "--plugin")
def test_a_plugin_is_a_module_of_the_current_folder_by_name(tmp_path, monkeypatch):
    written(tmp_path, POOLING + 'POOLINGS = {"mine": Mine}')
    monkeypatch.chdir(tmp_path)
    run("plot gradients", "-o", "g.svg", "--pooling", "mine:init=2", "--plugin", "mine")
    assert (tmp_path / "g.svg").exists()


@pytest.mark.parametrize("source", ["recipe", "environment", "set"])
def test_a_plugin_is_named_once_for_all_commands(source, tmp_path):
    file = written(tmp_path, POOLING + 'POOLINGS = {"mine": Mine}')
    recipe = written(tmp_path, f"all:\n  plugin: {file}\n", "recipe.yaml")
    words, environment = {
        "recipe": (("-c", recipe), {}),
        "environment": ((), {"SEDTOOL_ALL_PLUGIN": str(file)}),
        "set": (("--set", f"all.plugin={file}"), {}),
    }[source]
    run("plot gradients", "-o", tmp_path / "g.svg", "--pooling", "mine", *words, **environment)


def test_a_file_in_a_package_can_import_what_is_beside_it(tmp_path):
    written(tmp_path, "", "pack/__init__.py")
    written(tmp_path, POOLING, "pack/classes.py")
    path = written(tmp_path, "from .classes import Mine\nPOOLINGS = {'a': Mine}", "pack/b.py")
    plugins.load(str(path))
    assert plugins.is_known("pooling", "a")
    assert plugins.needed([("pooling", "a"), ("pooling", "max")])["pooling a"]["plugin"] == "pack.b"


def test_a_plugin_that_is_loaded_twice_is_one(tmp_path):
    path = written(tmp_path, POOLING + 'POOLINGS = {"mine": Mine}')
    for text in (str(path), str(path), "mine"):
        plugins.load(text)
    assert plugins.loaded_files() == (path,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nowhere", r"mine.py:1: ModuleNotFoundError: No module named 'nowhere'"),
        ("x = 1\n1 / 0", r"mine.py:2: ZeroDivisionError: division by zero"),
        ("def", r"SyntaxError: invalid syntax \(mine.py, line 1\)"),
        ("import sys; sys.exit(3)", r"mine.py:1: SystemExit: 3"),
        ("x = 1", "has none of POOLINGS, BLOCKS"),
        ('POOLINGS = ["a"]', "POOLINGS is no table"),
        ('POOLINGS = {"a": 1}', "not 1 by the name 'a'"),
        ('POOLINGS = {"a:b": int}', "by the name 'a:b'"),
        ('POOLINGS = {"max": int}', "pooling 'max' is one of sedtool already; give it another"),
        ('BLOCKS = {"relu-max": int}', "block 'relu-max' is one of sedtool already"),
        ('AUGMENTATIONS = {"gain": int}', "augmentation 'gain' is one of sedtool already"),
        ('LOSSES = {"bce": int}', "loss 'bce' is one of sedtool already"),
        ('POOLINGS = {"mine": int}', "'mine' of plugin 'mine' is no sedtool.pooling.base.Pooling"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_said_in_one_line(text, why, tmp_path):
    path = written(tmp_path, text)
    said = refused(
        "plot gradients", "-o", tmp_path / "g.svg", "--pooling", "mine", "--plugin", path
    )
    assert re.search(why, said), said
    assert "mine" in said


def test_an_error_in_a_class_of_a_plugin_says_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    text = POOLING + "    def log_weights(self, logits, hidden):\n        pass\n"
    broken = text.replace("(self, logits, hidden)", "(self, logits, hidden, valid)")
    path = written(tmp_path, broken.replace("pass", "1 / 0") + 'POOLINGS = {"mine": Mine}')
    line = ("plot gradients", "-o", tmp_path / "g.svg", "--pooling", "mine", "--plugin", path)
    why = refused(*line, exit_code=1)
    assert why.startswith(f"Error: {path}:8: ZeroDivisionError: division by zero (traceback in ")


def test_what_a_model_says_of_plugins_is_not_believed(tiny, tmp_path):
    few = ("--epochs", 1, "--steps-per-epoch", 1, "--batch-size", 2, "--arch", "small")
    labels = ("--weak", tiny.weak, "--val-weak", tiny.weak_validation)
    run("train", "-o", tmp_path / "run", "--features", tiny.features, *labels, *few)
    written(tmp_path, "open('loaded', 'w')")
    model, forged = tmp_path / "run/model.safetensors", tmp_path / "m.safetensors"
    for plugins_, why in (
        (
            {"pooling mine": {"plugin": "mine", "sha256": ""}},
            "needs pooling 'mine' of plugin 'mine'",
        ),
        ({"pooling a\nb": {"plugin": "c\x1b" * 99, "sha256": ""}}, "needs pooling 'a\\nb' of"),
        ({"pooling mine": "mine"}, "header cannot be used"),
        ({"nothing": {"plugin": "mine", "sha256": ""}}, "header cannot be used"),
        (["mine"], "header cannot be used"),
    ):
        forge_model(model, forged, put("plugins", value=plugins_))
        with contextlib.chdir(tmp_path):
            assert why in refused("info", forged, exit_code=5)
        assert not (tmp_path / "loaded").exists()


def test_a_plugin_that_is_not_there_or_has_the_name_of_another_module_is_refused(tmp_path):
    line = ("plot gradients", "-o", tmp_path / "g.svg", "--plugin")
    assert "No module named 'nowhere'" in refused(*line, tmp_path / "nowhere.py")
    assert "No module named 'nowhere_at_all'" in refused(*line, "nowhere_at_all")
    path = written(tmp_path, POOLING + 'POOLINGS = {"mine": Mine}', "json.py")
    assert "another module has the name 'json'" in refused(*line, path)


def test_two_plugins_cannot_have_one_name(tmp_path):
    first = written(tmp_path, POOLING + 'POOLINGS = {"mine": Mine}')
    second = written(tmp_path, POOLING + 'POOLINGS = {"mine": Mine}', "other.py")
    why = refused("info", tmp_path, "--plugin", first, "--plugin", second)
    assert "plugin 'other': pooling 'mine' is one of plugin 'mine' already" in why


def test_an_option_of_a_plugin_is_checked_as_those_of_sedtool_are(tmp_path):
    path = written(tmp_path, POOLING + 'POOLINGS = {"mine": Mine}')
    line = ("plot gradients", "-o", tmp_path / "g.svg", "--plugin", path, "--pooling")
    assert "pooling 'mine' has no option 'innit'; it has: init" in refused(*line, "mine:innit=1")
    run(*line, "hierarchical:base=mine,init=2")


def installed(folder, **modules):
    """Install a package with entry points, as pip would leave it in a folder on the path."""
    about = folder / "mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    lines = [f"{name} = {name}" for name in modules]
    (about / "entry_points.txt").write_text("\n".join(["[sedtool.plugins]", *lines]))
    for name, text in modules.items():
        written(folder, text, f"{name}.py")
    sys.path.append(str(folder))


def test_an_installed_plugin_is_loaded_where_its_name_is_asked_for(tmp_path):
    mark = tmp_path / "loaded"
    note = f"open({str(mark)!r}, 'w').close()\n"
    installed(tmp_path, mine=note + POOLING + 'POOLINGS = {"mine": Mine}', broken="1 / 0")
    line = ("plot gradients", "-o", tmp_path / "g.svg", "--overwrite", "--pooling")
    run("train", "--help")
    run(*line, "power")
    assert not mark.exists()
    run(*line, "mine")
    assert mark.exists()
    why = refused(*line, "mien")
    assert "unknown pooling 'mien'" in why and "did you mean 'mine'?" in why
    assert "plugin 'broken' cannot be loaded: " in why and "ZeroDivisionError" in why


@pytest.mark.slow
def test_the_project_of_the_page_installs_a_plugin(tmp_path):
    project, target = tmp_path / "project", tmp_path / "target"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "my_plugin.py").write_text(EXAMPLE)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", target, project], capture_output=True, text=True)
    if "No module named pip" in done.stderr:
        pytest.skip("needs pip")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(project)
    words = ["plot", "gradients", "-o", "g.svg", "--pooling", "top-k:share=0.5"]
    path = f"{target}{os.pathsep}{Path(__file__).parents[1]}"
    subprocess.run(
        [sys.executable, "-m", "sedtool", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
    )


@pytest.mark.slow
@tries("sweep", "--plugin")
def test_a_sweep_takes_plugins_and_leaves_runs_alone_that_need_none(tiny, tmp_path):
    folder = sweeps.data_folder(tiny, tmp_path / "data")
    written(folder, POOLING + 'POOLINGS = {"mine": Mine}')
    recipe = folder / "recipe.yaml"
    line = ("sweep", recipe, "-o", "runs")
    assert sweeps.invoke(*line, "--pooling", "max", folder=folder).exit_code == 0
    recipe.write_text("all:\n  plugin: mine.py\n" + recipe.read_text())
    shown = sweeps.invoke(*line, "--pooling", "max,mine", "--dry-run", folder=folder)
    assert shown.stdout.startswith("# 1 of 2 runs are done\n"), shown.stderr
    commands = [text for text in shown.stdout.splitlines() if "mine" in text and "sedtool" in text]
    assert len(commands) > 1
    named = [text for text in commands if " evaluate " not in text and " compare " not in text]
    assert all(f"--plugin {folder}/mine.py" in text for text in named)
    done = sweeps.invoke(*line, "--pooling", "max,mine", folder=folder)
    assert done.exit_code == 0, done.stderr
    assert "plugin:" not in (folder / "runs/max/seed-0/config.yaml").read_text()
    assert str(folder / "mine.py") in (folder / "runs/mine/seed-0/config.yaml").read_text()
    forget()
    assert sweeps.invoke("compare", "runs", folder=folder).exit_code == 0
