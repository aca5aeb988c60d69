"""Each option of `train` and `tune`: what its help says is what it does."""

import json
import math
import time

import pytest
import yaml

from sedtool.checkpoint import load_model, load_state
from sedtool.config import (
    ARCHITECTURES,
    FEATURE_PRESETS,
    DecodingConfig,
    ExtractConfig,
    TrainConfig,
)
from sedtool.extraction import extract
from sedtool.labels import (
    Event,
    StrongLabels,
    read_events,
    read_names,
    read_weak,
    write_events,
)
from sedtool.pooling import POOLINGS
from sedtool.training.trainer import Trainer
from support.command_lines import refused, run, save_small_model, tries

pytestmark = pytest.mark.slow


@pytest.fixture
def line(tiny):
    """The inputs of a run of one epoch of two steps; without labels to validate on."""
    return (
        *("train", "--features", tiny.features, "--weak", tiny.weak, "--arch", "small"),
        *("--epochs", "1", "--steps-per-epoch", "2", "--batch-size", "4", "--device", "cpu"),
    )


@pytest.fixture
def short(line, tiny):
    """The same, with strong labels to validate on."""
    return (*line, "--val-strong", tiny.strong)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "run"


def rows(folder):
    """Return metrics.tsv as a list of dicts."""
    header, *lines = (row.split("\t") for row in (folder / "metrics.tsv").read_text().splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def trained(line, output, *options):
    run(*line, "-o", output, "--overwrite", *options)
    return rows(output)


@pytest.fixture
def seen(monkeypatch):
    """The names of the clips of each batch, and its features, as the network gets them."""
    batches = []
    step = Trainer.train_step

    def watched(self):
        result = step(self)
        batches.append(self.latest)
        return result

    monkeypatch.setattr(Trainer, "train_step", watched)
    return batches


# Files


@tries("train", "--output", "--features", "--weak", "--epochs", "--steps-per-epoch", "--batch-size")
def test_a_run_is_as_long_and_wide_as_asked_for(line, output, tiny, seen):
    assert len(trained(line, output, "--epochs", "2", "--steps-per-epoch", "3")) == 2
    assert [len(names) for names in seen] == [4] * 6
    seen.clear()
    (row,) = trained(line, output, "--steps-per-epoch", "0", "--batch-size", "5")
    assert (len(seen), row["step"]) == (3, "3")  # ceil of 14 clips over 5, 2 being held out
    labelled = {row.split("\t")[0] for row in tiny.weak.read_text().splitlines()[1:]}
    assert {name for names in seen for name in names} <= labelled
    assert list(json.loads((output / "run.json").read_text())["inputs"]) == [
        str(tiny.features),
        str(tiny.weak),
    ]


@tries("train", "--features")
def test_clips_are_found_in_several_features_files(tiny, output, tmp_path, line):
    parts = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for part, folder in zip(parts, ("train", "val"), strict=True):
        config = FEATURE_PRESETS["dcase2017"]
        extract([tiny.audio / folder], part, config, root=tiny.audio)
    at = line.index("--features")
    line = (*line[:at], "--features", parts[0], *line[at + 2 :])
    few = (*line, "-o", output, "--val-strong", tiny.strong)
    assert "8 of 8 clips have no features" in refused(*few, exit_code=5)
    trained((*line, "--features", parts[1]), output, "--val-strong", tiny.strong)


@tries("train", "--val-weak", "--val-strong")
def test_validation_labels_are_what_is_validated_on(line, output, tiny):
    columns = {"epoch", "step", "lr", "train_loss", "loss", "clip_f1"}
    (weak,) = trained(line, output, "--val-weak", tiny.weak_validation)
    (strong,) = trained(line, output, "--val-strong", tiny.strong)
    assert set(strong) - set(weak) == {"event_f1"}
    assert columns < set(weak)
    assert weak["loss"] == strong["loss"]  # the same clips and classes
    assert "trained on too" in refused(*line, "-o", output, "--overwrite", "--val-weak", tiny.weak)


@tries("train", "--validation-fraction")
def test_a_fraction_of_the_training_clips_is_held_out(line, output):
    for fraction, held in (("0.1", 2), ("0.5", 8)):
        result = run(*line, "-o", output, "--overwrite", "--validation-fraction", fraction)
        assert f"{held} of 16 training clips" in result.stderr
        assert load_model(output / "model.safetensors").trained["clips"] == 16 - held


@tries("train", "--classes")
def test_a_class_list_gives_the_classes_and_their_order(short, output, tmp_path):
    classes = tmp_path / "classes.txt"
    classes.write_text("tone\nsilence\nnoise\n")
    result = run(*short, "-o", output, "--classes", classes)
    assert load_model(output / "model.safetensors").classes == ("tone", "silence", "noise")
    assert "may not be learned, of none they cannot: 'silence' (0)" in result.stderr
    classes.write_text("tune\nnoise\n")
    wrong = refused(*short, "-o", output, "--overwrite", "--classes", classes)
    assert "unknown label 'tone'; did you mean 'tune'?" in wrong


@tries("train", "--missing")
def test_clips_without_features_are_an_error_or_left_out(short, output, tiny, tmp_path):
    more = tmp_path / "more.tsv"
    more.write_text(tiny.weak.read_text() + "gone.wav\ttone\n")
    line = tuple(more if word == tiny.weak else word for word in short)
    assert "1 of 17 clips have no features" in refused(*line, "-o", output)
    result = run(*line, "-o", output, "--missing", "skip")
    assert "1 of 17 clips have no features" in result.stderr
    assert load_model(output / "model.safetensors").trained["clips"] == 16


@tries("train", "--partial")
@tries("tune", "--partial")
def test_parts_of_features_are_taken_only_if_asked_to(short, output, tiny, tmp_path):
    part, preset = tmp_path / "part.h5", FEATURE_PRESETS["dcase2017"]
    settings = ExtractConfig(shard="1/2")
    extract([tiny.audio], part, preset, settings, root=tiny.audio)
    line = tuple(part if word == tiny.features else word for word in short)
    line = (*line, "-o", output, "--missing", "skip")
    assert "merge them, give all, or --partial" in refused(*line, exit_code=5)
    assert "clips have no features" in run(*line, "--partial").stderr
    model = save_small_model(tmp_path / "m.safetensors")
    tune = ("tune", model, "--features", part, "--reference", tiny.strong, "--missing", "skip")
    assert "merge them, give all, or --partial" in refused(*tune, exit_code=5)
    run(*tune, "--partial")
    assert load_model(model).tuned["clips"] == 4


# The network, and how it learns


@tries("train", "--pooling")
@pytest.mark.parametrize("name", [*POOLINGS, "power:init=2,lambda=0.5,max=4", "cap:init=1"])
def test_every_pooling_trains(short, output, name):
    trained(short, output, "--pooling", name)
    model = load_model(output / "model.safetensors")
    assert str(model.pooling) == name
    if name.startswith("power:"):
        assert model.detector.pooling.learned()["n"] == pytest.approx([2, 2], abs=0.1)


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        ("powr", "did you mean 'power'?"),
        ("power:inti=1", "it has: init, max, lambda"),
        ("power:init", "is not key=number"),
        ("power:init=nan", "is not key=number"),
        ("power:init=1,init=2", "is given twice"),
        ("power:max=-1", "max"),
    ],
)
def test_what_is_no_pooling_is_refused(short, output, pooling, message):
    assert message in refused(*short, "-o", output, "--pooling", pooling)


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_a_network_that_no_model_file_can_hold_is_refused_before_a_step(short, output, how):
    said = refused(*short, "-o", output, "--arch", "dcase2019:gru-units=4096", *how)
    assert "take 1555 MiB, and a model file holds 448 MiB of them; take fewer gru-units" in said
    assert not output.exists()


@tries("train", "--arch")
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_trains(short, output, arch):
    trained(short, output, "--arch", arch, "--steps-per-epoch", "1", "--batch-size", "1")
    assert load_model(output / "model.safetensors").architecture == ARCHITECTURES[arch]


@tries("train", "--seed", "--lr", "--pooling-lr", "--time-shift", "--balance", "--amp", "--method")
@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--seed", (0, 2**63 - 1)),
        ("--lr", ("1e-3", "0.1")),
        ("--pooling-lr", ("0", "0.5")),
        ("--time-shift", ("0", "8")),
        ("--balance", ("classes", "none")),
        ("--amp", ("off", "bf16")),
        ("--method", ("weak",)),
    ],
)
def test_what_changes_training_changes_the_model_and_is_recorded(short, output, option, values):
    key = option.removeprefix("--")
    weights = set()
    for value in values:
        for _ in range(2):  # and equal values give equal weights
            trained(short, output, option, value)
            model = load_model(output / "model.safetensors")
            weights.add(model.weights_sha256)
        expected = type(model.trained["config"][key.replace("-", "_")])(value)
        assert model.trained["config"][key.replace("-", "_")] == expected
        assert yaml.safe_load((output / "config.yaml").read_text())["train"][key] == expected
    assert len(weights) == len(values)


def test_the_learning_rate_of_the_pooling_is_its_own(short, output):
    def exponents(*options):
        (row,) = trained(short, output, *options)
        return [float(row[f"n[{label}]"]) for label in ("noise", "tone")]

    step = [abs(n - 1) for n in exponents("--pooling-lr", "0.25", "--steps-per-epoch", "1")]
    assert step == pytest.approx([0.25, 0.25], rel=1e-3)  # the first step of Adam is the rate
    assert exponents() == exponents("--pooling-lr", TrainConfig.lr)


@pytest.mark.parametrize("pooling", ["auto", "cap:init=1", "rap", "hierarchical:base=auto"])
def test_poolings_that_start_as_the_average_learn_faster_and_it_is_said(short, output, pooling):
    """Where no learning rate of theirs is given; the first step of Adam is the rate."""
    for options, rate in (((), 0.1), (("--pooling-lr", "1e-3"), 1e-3)):
        (row,) = trained(short, output, "--steps-per-epoch", "1", "--pooling", pooling, *options)
        moved = abs(float(row["alpha[noise]"]) - pooling.endswith("init=1"))
        assert moved == pytest.approx(rate, rel=1e-2)
    plan = run(*short, "-o", output.with_name("other"), "--pooling", pooling, "--dry-run").stderr
    assert f"chosen for {pooling.partition(':')[0]} pooling: --pooling-lr 0.1" in plan
    assert "--pooling-lr" not in run(*short, "-o", output.with_name("other"), "--dry-run").stderr


def test_classes_are_drawn_equally_often_only_if_balanced(line, output, tiny, tmp_path, seen):
    rare = tmp_path / "rare.tsv"  # 8 clips of noise and one of tone
    header, *labelled = tiny.weak.read_text().splitlines()
    tones = [row for row in labelled if row.endswith("tone")]
    noises = [row for row in labelled if row.endswith("noise")]
    rare.write_text("\n".join([header, tones[0], *noises, ""]))
    line = tuple(rare if word == tiny.weak else word for word in line)
    line = (*line, "--val-strong", tiny.strong, "--batch-size", "9", "--steps-per-epoch", "4")
    share = {}
    for balance in ("classes", "none"):
        seen.clear()
        trained(line, output, "--balance", balance)
        drawn = ["tone" in name for names in seen for name in names]
        share[balance] = sum(drawn) / len(drawn)
    assert share == {"classes": pytest.approx(1 / 2, abs=0.15), "none": pytest.approx(1 / 9)}


@tries("train", "--schedule", "--plateau-patience")
def test_the_rate_halves_when_the_loss_stalls(short, output, monkeypatch):
    monkeypatch.setattr("sedtool.training.trainer.validate", lambda *_: {"loss": 1.0, "clip_f1": 1})
    run_of_4 = (*short, "--epochs", "4", "--steps-per-epoch", "1")

    def rates(*options):
        return [float(row["lr"]) / TrainConfig.lr for row in trained(run_of_4, output, *options)]

    assert rates("--plateau-patience", "1") == [1, 1, 1, 0.5]
    assert rates("--plateau-patience", "2") == [1, 1, 1, 1]
    assert rates("--plateau-patience", "1", "--schedule", "constant") == [1, 1, 1, 1]
    cosine = [(1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    assert rates("--schedule", "cosine") == pytest.approx(cosine, rel=1e-5)


@tries("train", "--pooling-start")
def test_the_pooling_stays_as_it_starts_until_the_given_step(short, output):
    run_of_4 = (*short, "--epochs", "4", "--steps-per-epoch", "1", "--schedule", "constant")
    exponents = [float(row["n[tone]"]) for row in trained(run_of_4, output, "--pooling-start", "2")]
    assert exponents[:2] == [1, 1] and len({*exponents}) == 3
    wrong = refused(*short, "-o", output, "--pooling-start", "-1")
    assert "--pooling-start must be in [0," in wrong


@tries("train", "--warm-up")
def test_rates_rise_from_exp_minus_five_over_the_steps_of_the_warm_up(short, output):
    run_of_4 = (*short, "--epochs", "4", "--steps-per-epoch", "1", "--schedule", "constant")
    rates = [float(row["lr"]) for row in trained(run_of_4, output, "--warm-up", "2")]
    assert rates == pytest.approx([1e-3 * math.exp(x) for x in (-5, -5 / 4, 0, 0)])
    assert "--warm-up must be in [0," in refused(*short, "-o", output, "--warm-up", "-1")


@tries("train", "--select-by", "--patience")
def test_the_best_epoch_is_told_by_the_score_and_stalls_end_the_run(short, output, monkeypatch):
    scores = [
        {"loss": 3.0, "clip_f1": 0.1, "event_f1": 0.3},
        {"loss": 1.0, "clip_f1": 0.2, "event_f1": 0.2},
        {"loss": 2.0, "clip_f1": 0.3, "event_f1": 0.1},
        {"loss": 2.0, "clip_f1": 0.3, "event_f1": 0.1},
        {"loss": 2.0, "clip_f1": 0.3, "event_f1": 0.1},
    ]
    monkeypatch.setattr("sedtool.training.trainer.validate", lambda *_: given.pop(0), raising=True)
    line = (*short, "--epochs", "5", "--steps-per-epoch", "1")
    for select_by, best in {"clip_f1": 3, "loss": 2, "event_f1": 1}.items():
        for patience, epochs in (("0", 5), ("1", min(best + 1, 5)), ("2", min(best + 2, 5))):
            given = [dict(row) for row in scores]
            done = trained(line, output, "--select-by", select_by, "--patience", patience)
            assert load_model(output / "model.safetensors").trained["epoch"] == best
            assert len(done) == epochs


@pytest.fixture
def strong(tiny, tmp_path):
    """Strong labels of the training clips."""
    labels = [Event(name, 0.2, 0.7, *of_clip) for name, of_clip in read_weak(tiny.weak).items()]
    write_events(tmp_path / "strong.tsv", StrongLabels(labels, tuple(e.name for e in labels)))
    return tmp_path / "strong.tsv"


def test_the_score_to_select_by_follows_what_is_learned_from_and_validated_on(
    short, output, strong
):
    def selected(*options):
        trained(short, output, *options)
        return load_model(output / "model.safetensors").trained["selected_by"]

    assert selected() == "clip_f1"
    mean_teacher = ("--method", "mean-teacher", "--batch-size", "2,0,2")
    assert selected(*mean_teacher, "--strong", strong) == "event_f1"
    assert selected(*mean_teacher) == "clip_f1"
    assert selected(*mean_teacher, "--strong", strong, "--select-by", "loss") == "loss"


@tries("train", "--tune")
@pytest.mark.parametrize("kind", ["strong", "weak", "held out"])
def test_training_leaves_what_tune_would_make_of_the_model(line, output, tiny, kind):
    labels, option, weak = {
        "strong": (("--val-strong", tiny.strong), "--reference", tiny.strong),
        "weak": (("--val-weak", tiny.weak_validation), "--weak", tiny.weak_validation),
        "held out": ((), "--weak", output / "held_out.tsv"),
    }[kind]
    trained((*line, *labels), output, "--no-tune")
    model = output / "model.safetensors"
    assert not load_model(model).tuned
    run("tune", model, "--features", tiny.features, option, weak)
    by_hand = load_model(model)
    trained((*line, *labels), output)
    fitted = load_model(model)
    assert fitted.decoding == by_hand.decoding != DecodingConfig.default(2)
    assert [*fitted.tuned["files"].values()] == [*by_hand.tuned["files"].values()]
    assert fitted.weights_sha256 == by_hand.weights_sha256


def test_held_out_clips_and_training_clips_are_those_of_the_labels(line, output, tiny):
    trained(line, output)
    held_out, trained_on = (read_names(output / f"{n}.tsv") for n in ("held_out", "trained_on"))
    assert sorted(held_out + trained_on) == sorted(read_names(tiny.weak))
    labels = read_weak(tiny.weak)
    assert read_weak(output / "held_out.tsv") == {name: labels[name] for name in held_out}


def test_held_out_strong_labels_are_written_too(line, output, strong):
    weak = line.index("--weak")
    only = (*line[:weak], *line[weak + 2 :], "--strong", strong, "--method", "strong")
    trained(only, output)
    labels, held_out = read_events(strong), read_events(output / "held_out_strong.tsv")
    assert held_out.events == [e for e in labels.events if e.name in held_out.names]
    assert {e.name: (e.label,) for e in held_out.events} == read_weak(output / "held_out.tsv")


@tries("train", "--collar", "--offset-ratio")
@tries("tune", "--collar", "--offset-ratio")
def test_event_f1_of_training_and_tuning_is_what_evaluate_says_with_these_tolerances(
    short, output, tiny, tmp_path
):
    scores = {}
    for collar, ratio in (("0.01", "0"), ("0.1", "0"), ("0.1", "0.9")):
        how = ("--collar", collar, "--offset-ratio", ratio)
        learned = ("--epochs", "3", "--lr", "3e-3", "--balance", "classes")
        *_, last = trained(short, output, *learned, *how)
        fitted = json.loads((output / "run.json").read_text())["fitted"]["event_f1"]
        events = tmp_path / "events.tsv"
        run("infer", output, tiny.audio / "val", "--root", tiny.audio, "-o", events)
        done = run("evaluate", tiny.strong, events, "--format", "json", *how)
        scores[how] = json.loads(done.stdout)["event"]["macro"]["f1"]
        assert fitted == pytest.approx(scores[how])
        assert float(last["event_f1"]) <= fitted + 1e-6  # it is on a smaller grid
        run("tune", output, "--features", tiny.features, "--reference", tiny.strong, *how)
        by_class = load_model(output / "model.safetensors").tuned["event_f1"]
        assert sum(by_class.values()) / 2 == pytest.approx(fitted)
        events.unlink()
    assert len(set(scores.values())) > 1


@tries("tune", "--decoder")
def test_the_decoder_is_what_decodes_until_the_model_is_tuned_with_another(tiny, tmp_path):
    model = save_small_model(tmp_path / "m.safetensors")
    line = ("tune", model, "--features", tiny.features, "--reference", tiny.strong)
    events, found = tmp_path / "events.tsv", {}
    for decoder in ("boxes", "auto", "median"):
        said = run(*line, "--decoder", decoder).stderr
        decoding, tuned = load_model(model).decoding, load_model(model).tuned
        assert bool(decoding.boxes) == (decoder == "boxes")  # too few clips to be sure of them
        mean = sum(tuned["event_f1_held_out"].values()) / 2
        assert f"event F1 of each fifth, fitted to the others: {mean:.3f})" in said
        audio = (tiny.audio / "val", "--root", tiny.audio)
        run("infer", model, *audio, "-o", events, "--overwrite")
        scored = run("evaluate", tiny.strong, events, "--format", "json").stdout
        by_class = json.loads(scored)["event"]["classes"]
        f1 = [by_class[name]["f1"] for name in tuned["event_f1"]]
        assert f1 == pytest.approx(list(tuned["event_f1"].values()))
        found[decoder] = events.read_text()
    assert found["boxes"] != found["median"]
    weak = (*line[:4], "--weak", tiny.weak_validation, "--decoder", "boxes")
    assert "--decoder boxes needs strong labels: --reference" in refused(*weak)
    assert "leave one out" in refused(*line, "--decoder", "auto", "--window", "0.3")


def test_selecting_by_events_needs_strong_labels(line, output, tiny):
    line = (*line, "-o", output, "--val-weak", tiny.weak_validation, "--select-by", "event_f1")
    assert "--val-strong" in refused(*line)


@tries("train", "--device")
@tries("tune", "--device")
@pytest.mark.parametrize("command", ["train", "tune"])
def test_the_device_is_one_that_is_there(short, output, tiny, tmp_path, command):
    model = save_small_model(tmp_path / "m.safetensors")
    tune = ("tune", model, "--features", tiny.features, "--reference", tiny.strong)
    line = (*short, "-o", output) if command == "train" else tune
    assert "cuda:99 is not there" in refused(*line, "--device", "cuda:99", exit_code=6)
    assert "use auto, cpu, cuda, cuda:1 or mps" in refused(*line, "--device", "gpu")
    run(*line, "--device", "cpu")
    run(*line, "--device", "auto", *["--overwrite"][: command == "train"])


@tries("train", "--amp")
def test_half_precision_needs_no_gpu(short, output):
    assert math.isfinite(float(trained(short, output, "--amp", "fp16")[0]["train_loss"]))


# How the run goes


@tries("train", "--save-every")
def test_the_state_is_saved_inside_an_epoch_as_often_as_asked_for(short, output, monkeypatch):
    saved = []
    monkeypatch.setattr(Trainer, "save", lambda self: saved.append(self.step))
    trained(short, output, "--steps-per-epoch", "4", "--save-every", "1e-9")
    assert saved[:4] == [1, 2, 3, 4]  # 4 again before each batch of validation, and after it
    saved.clear()
    trained(short, output, "--steps-per-epoch", "4")
    assert saved == [4]


@tries("train", "--resume", "--max-time", "--overwrite")
def test_a_run_that_is_stopped_goes_on_and_is_not_replaced_unasked(short, output, monkeypatch):
    line = (*short, "-o", output, "--steps-per-epoch", "20", "--resume")
    done, step = [], Trainer.train_step

    def watched(self):
        done.append(self.step)
        until = time.monotonic() + 30
        while len(done) == 3 and not self.stop() and time.monotonic() < until:
            time.sleep(0.01)  # the time is up in the third step
        return step(self)

    monkeypatch.setattr(Trainer, "train_step", watched)
    assert "--resume goes on from" in run(*line, "--max-time", "1.5s", exit_code=75).stderr
    assert load_state(output / "last.pt")["step"] == 3
    run(*line)
    assert done == list(range(20))
    before = (output / "model.safetensors").read_bytes()
    said = refused(*line[:-1], "--epochs", "2")
    assert "settings or files: epochs is 1 there and 2 here; --resume goes on with it" in said
    run(*line, "--epochs", "2")
    assert done == list(range(40))
    run(*line[:-1], "--overwrite")
    assert len(rows(output)) == 1
    assert (output / "model.safetensors").read_bytes() == before


@tries("train", "--dry-run")
def test_a_dry_run_writes_nothing(short, output):
    result = run(*short, "-o", output, "--dry-run")
    assert "16 clips to train and 8 to validate on, 2 classes" in result.stderr
    assert "1 epochs of 2 steps" in result.stderr
    assert not output.exists()


CHOICES = {
    "--method": "weak",
    "--arch": "small",
    "--balance": "classes",
    "--schedule": "plateau",
    "--select-by": "clip_f1",
    "--amp": "bf16",
    "--missing": "error",
}


@pytest.mark.parametrize("option", CHOICES)
def test_a_misspelt_value_is_refused_with_those_there_are(short, output, option):
    message = refused(*short, "-o", output, option, CHOICES[option][:-1] + "_")
    assert CHOICES[option] in message
    assert not output.exists()


# Tuning


@pytest.fixture
def model(tmp_path):
    return save_small_model(tmp_path / "m.safetensors")


@tries("tune", "model", "--features", "--reference", "--weak")
def test_labels_of_either_kind_tune_what_they_can(model, tiny):
    untouched = load_model(model)
    run("tune", model, "--features", tiny.features, "--weak", tiny.weak_validation)
    weak = load_model(model)
    assert weak.weights_sha256 == untouched.weights_sha256
    assert weak.decoding.clip_thresholds != untouched.decoding.clip_thresholds
    assert weak.decoding.thresholds == weak.decoding.clip_thresholds
    assert weak.tuned["event_f1"] is None
    run("tune", model, "--features", tiny.features, "--reference", tiny.strong)
    strong = load_model(model)
    assert strong.decoding.clip_thresholds == weak.decoding.clip_thresholds
    assert strong.decoding.thresholds != weak.decoding.thresholds
    assert set(strong.tuned["event_f1"]) == {"noise", "tone"}
    assert "needs labels" in refused("tune", model, "--features", tiny.features)


@tries("tune", "model")
def test_the_model_in_the_folder_of_a_run_is_tuned(model, tiny, tmp_path):
    assert "holds no model.safetensors" in refused("tune", tiny.audio, "--features", tiny.features)
    folder = tmp_path / "run"
    folder.mkdir()
    model = model.rename(folder / "model.safetensors")
    run("tune", folder, "--features", tiny.features, "--weak", tiny.weak_validation)
    assert load_model(model).tuned


@tries("tune", "--durations-from", "--window")
def test_windows_are_given_outright_or_by_durations(model, tiny):
    for labels in (("--weak", tiny.weak_validation), ("--reference", tiny.strong)):
        line = ("tune", model, "--features", tiny.features, *labels)
        run(*line, "--window", "0.7")
        assert load_model(model).decoding.windows == (0.7, 0.7)
        run(*line, "--durations-from", tiny.strong)
        assert load_model(model).decoding.windows == pytest.approx((0.5 / 3, 0.5 / 3))
        assert "give one" in refused(*line, "--window", "1", "--durations-from", tiny.strong)


@tries("tune", "--min-confidence")
def test_events_of_less_confidence_are_not_tuned_to(model, tiny, tmp_path):
    header, *rows = tiny.strong.read_text().splitlines()
    rows = [f"{row}\t{0.4 if 'noise' in row else 1}" for row in rows]
    path = tmp_path / "unsure.tsv"
    path.write_text("\n".join([f"{header}\tconfidence", *rows]))
    line = ("tune", model, "--features", tiny.features, "--reference", path)
    assert "4 of 8 events have a confidence below 1 (least 0.4)" in run(*line).stderr
    assert "4 of 8 events have a confidence below 0.5" in run(*line, "--min-confidence", 0.5).stderr


@tries("tune", "--missing")
def test_clips_without_features_are_an_error_or_left_out_of_tuning(model, tiny, tmp_path):
    more = tmp_path / "more.tsv"
    more.write_text(tiny.weak_validation.read_text() + "gone.wav\ttone\n")
    line = ("tune", model, "--features", tiny.features, "--weak", more)
    before = model.read_bytes()
    assert "1 of 9 clips have no features" in refused(*line)
    assert "'error', 'skip'" in refused(*line, "--missing", "skp")
    assert model.read_bytes() == before
    run(*line, "--missing", "skip")
    assert load_model(model).tuned["clips"] == 8
