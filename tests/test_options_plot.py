"""Each option of the figures of the paper; those of clips and poolings are in the other files."""

import numpy as np
import pytest

from sedtool.audio import write_wav
from support.audio import RATE
from support.command_lines import refused, run, save_small_model, tries

pytestmark = pytest.mark.slow

STRONG = "filename\tonset\toffset\tevent_label\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text(f"{STRONG}a.wav\t0\t9\tnoise\na.wav\t0\t1\ttone\n")
    return path


def drawn_anew(output, line):
    """Run a line whose output is there: refused, then done with --overwrite."""
    output.write_text("mine")
    assert "--overwrite" in refused(*line)
    assert output.read_text() == "mine"
    run(*line, "--overwrite")
    return output.read_bytes()


@tries("plot frames", "features", "name", "--class", "--model", "--output", "--reference")
@tries("plot frames", "--overwrite")
def test_frames_of_the_given_class_are_drawn_by_each_model(tiny, model, tmp_path):
    output = tmp_path / "f.svg"
    line = ("plot frames", tiny.features, "tone_16.wav", "--model", model, "-o", output)
    said = run(*line, "--class", "tone").stderr
    assert "right sign" not in said
    two = run(*line, "--class", "tone", "--model", model, "--reference", tiny.strong, "--overwrite")
    assert two.stderr.count("% of gradients of the right sign") == 2
    tone = drawn_anew(output, (*line, "--class", "tone"))
    assert drawn_anew(output, (*line, "--class", "noise")) != tone
    other = [word if word != "tone_16.wav" else "tone_18.wav" for word in line]
    assert drawn_anew(output, (*other, "--class", "tone")) != tone
    assert "'tone'" in refused(*line, "--class", "tune", "--overwrite")


@pytest.fixture
def dashed(tmp_path):
    """Features, scores and labels of a clip whose name looks like an option."""
    rng = np.random.default_rng(0)
    (tmp_path / "audio").mkdir()
    for name in ("-x.wav", "a.wav"):
        write_wav(tmp_path / "audio" / name, 0.1 * rng.standard_normal(RATE), RATE)
    features, scores = tmp_path / "f.h5", tmp_path / "s.h5"
    model = save_small_model(tmp_path / "m.safetensors")
    run("extract", tmp_path / "audio", "-o", features, "-q")
    run("infer", model, features, "--scores", scores, "-q")
    (tmp_path / "s.tsv").write_text(f"{STRONG}-x.wav\t0\t0.5\ttone\n")
    return {
        "plot clip": ("plot clip", features, scores, "--reference", tmp_path / "s.tsv"),
        "plot frames": ("plot frames", features, "--model", model, "--class", "tone"),
        "plot gradients": ("plot gradients", "--scores", scores, "--class", "tone"),
    }


@pytest.mark.parametrize("command", ["plot clip", "plot frames"])
def test_a_clip_whose_name_looks_like_an_option_stands_behind_two_hyphens(
    dashed, tmp_path, command
):
    line = (*dashed[command], "-o", tmp_path / "p.svg")
    said = refused(*line, "-x.wav")
    assert "A clip whose name begins with - is named last, after --" in said
    run(*line, "--", "-x.wav")
    assert (tmp_path / "p.svg").exists()
    said = refused(*line, "a.wav", "--overwrit")
    assert "--overwrite" in said and "after --" not in said


def test_a_clip_whose_name_looks_like_an_option_is_the_value_of_one(dashed, tmp_path):
    run(*dashed["plot gradients"], "-o", tmp_path / "p.svg", "--clip", "-x.wav")
    assert (tmp_path / "p.svg").exists()


def test_the_folder_of_a_run_stands_for_its_model(tiny, model, tmp_path):
    folder, output = tmp_path / "run", tmp_path / "p.svg"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(model.read_bytes())
    clip = ("--class", "tone", "-o", output, "--overwrite")
    frames = ("plot frames", tiny.features, "tone_16.wav", *clip, "--model")
    said = run(*frames, folder).stderr
    assert said == run(*frames, folder / "model.safetensors").stderr
    assert said.startswith(f"{folder / 'model.safetensors'}: power, ")
    drawn = output.read_bytes()
    run(*frames, model)
    assert output.read_bytes() == drawn
    pooling = ("plot pooling", "-o", output, "--overwrite")
    assert run(*pooling, folder).stderr == f"1 model -> {output}\n"
    drawn = output.read_bytes()
    run(*pooling, folder / "model.safetensors")
    assert output.read_bytes() == drawn
    for line in (frames, pooling):
        said = refused(*line, tiny.audio)
        assert f"{tiny.audio} holds no model.safetensors; give a model file, or the folder" in said


@tries("plot durations", "--data", "--output", "--boundary", "--resamples", "--level", "--seed")
@tries("plot durations", "--overwrite")
def test_exponents_are_drawn_against_durations(model, labels, tmp_path):
    output = tmp_path / "d.svg"
    line = ("plot durations", "--data", f"one={model}:{labels}", "-o", output)
    assert "one (1 training): ρ" in run(*line).stderr
    drawn = drawn_anew(output, line)
    assert drawn_anew(output, (*line, "--data", f"two={model}:{labels}")) != drawn
    said = run(*line, "--boundary", "one=0.5", "--overwrite").stderr
    assert "longer classes 1 to 9 s" in said
    drawn_anew(output, (*line, "--resamples", 100, "--level", 0.5, "--seed", 3))
    line = (*line, "--overwrite")
    assert "--resamples must be in [100, 1e6]" in refused(*line, "--resamples", 1)
    assert "--level must be in (0, 1)" in refused(*line, "--level", 1)
    assert "--seed must be in [0, 9" in refused(*line, "--seed", -1)
    assert "NAME=SECONDS" in refused(*line, "--boundary", "0.5")


@tries("plot gradients", "--output", "--pooling", "--scores", "--clip", "--class", "--reference")
@tries("plot gradients", "--overwrite")
def test_gradients_are_drawn_of_a_made_up_clip_or_a_real_one(tiny, model, tmp_path):
    output, scores = tmp_path / "g.svg", tmp_path / "s.h5"
    line = ("plot gradients", "-o", output, "--pooling", "linear")
    run(*line)
    made_up = drawn_anew(output, line)
    assert drawn_anew(output, (*line, "--pooling", "power:init=3")) != made_up
    run("infer", model, tiny.audio / "val", "--scores", scores)
    real = ("--scores", scores, "--clip", "tone_16.wav")
    tone = drawn_anew(output, (*line, *real, "--class", "tone"))
    assert tone != made_up
    assert drawn_anew(output, (*line, *real, "--class", "noise")) != tone
    marked = (*line, *real, "--class", "tone", "--reference", tiny.strong)
    assert drawn_anew(output, marked) != tone
    assert "belong together" in refused(*line, *real, "--overwrite")
    assert "init" in refused(*line, "--pooling", "power:start=1", "--overwrite")


@tries("plot curves", "runs", "--output", "--overwrite")
def test_curves_are_drawn_of_runs_and_of_metrics(tmp_path):
    output = tmp_path / "c.svg"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.tsv").write_text(f"epoch\tloss\n1\t{len(name)}\n2\t1\n")
    line = ("plot curves", tmp_path / "one", "-o", output)
    run(*line)
    drawn = drawn_anew(output, line)
    assert drawn_anew(output, (*line, tmp_path / "two" / "metrics.tsv")) != drawn
    assert "no training metrics" in refused(
        "plot curves", tmp_path / "c.svg", "-o", tmp_path / "x.png", exit_code=5
    )
