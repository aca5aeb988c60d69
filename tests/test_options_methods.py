"""Each option of the mean teacher and of strong labels: what its help says is what it does."""

import numpy as np
import pytest
import torch
import yaml

from sedtool.checkpoint import load_model
from sedtool.config import ARCHITECTURES, ArchitectureConfig
from sedtool.labels import Event, StrongLabels, read_names, write_events
from sedtool.training.learner import Learner
from sedtool.training.trainer import Trainer
from support.command_lines import refused, run, tries

NANO = ArchitectureConfig((4,), (3,), ((4, 8),), gru_units=8, gru_layers=1)


@pytest.fixture
def line(tiny, tmp_path, monkeypatch):
    """A mean-teacher run of two steps on two weak, three unlabelled and two strong clips each."""
    monkeypatch.setitem(ARCHITECTURES, "nano", NANO)
    names = read_names(tiny.weak)
    events = [Event(n, 0.2, 0.7, n.split("/")[1].split("_")[0]) for n in names[10:]]
    write_events(tmp_path / "strong.tsv", StrongLabels(events, tuple(names[10:])))
    rows = tiny.weak.read_text().splitlines()
    (tmp_path / "weak.tsv").write_text("\n".join(rows[:7]) + "\n")
    (tmp_path / "others.tsv").write_text("filename\n" + "\n".join(names[6:10]) + "\n")
    return (
        *("train", "--method", "mean-teacher", "--features", tiny.features, "--arch", "nano"),
        *("--weak", tmp_path / "weak.tsv", "--unlabelled", tmp_path / "others.tsv"),
        *("--strong", tmp_path / "strong.tsv", "--val-strong", tiny.strong, "--epochs", "1"),
        *("--steps-per-epoch", "2", "--batch-size", "2,3,2", "--device", "cpu"),
    )


@pytest.fixture
def output(tmp_path):
    return tmp_path / "run"


def trained(line, output, *options):
    """Return the last row of metrics.tsv of a run."""
    run(*line, "-o", output, "--overwrite", *options)
    header, *_, last = (r.split("\t") for r in (output / "metrics.tsv").read_text().splitlines())
    return dict(zip(header, last, strict=True))


@pytest.fixture
def seen(monkeypatch):
    """The batches that a run draws."""
    batches = []
    step = Trainer.train_step

    def watched(self):
        batches.append(self.batches.draw(len(self.rows), self.step))
        return step(self)

    monkeypatch.setattr(Trainer, "train_step", watched)
    return batches


@tries("train", "--method", "--strong", "--unlabelled", "--batch-size")
def test_batches_hold_so_many_clips_of_each_list(line, output, tmp_path, seen):
    row = trained(line, output)
    assert {"clip_loss", "frame_loss", "frame_consistency"} <= row.keys()
    lists = [read_names(tmp_path / f"{name}.tsv") for name in ("weak", "others", "strong")]
    for batch in seen:
        parts = (batch.names[:2], batch.names[2:5], batch.names[5:])
        assert [len(part) for part in parts] == [2, 3, 2]
        assert all(set(part) <= set(names) for part, names in zip(parts, lists, strict=True))
    said = refused(*line, "-o", output, "--batch-size", "2,3")
    assert "--batch-size of mean-teacher must be three numbers" in said
    said = refused(*line, "-o", output, "--batch-size", "2,three,2")
    assert "'2,three,2' is no list of whole numbers" in said
    assert "'teacher' is not one of 'weak', 'mean-teacher', 'strong'" in refused(
        *line, "-o", output, "--method", "teacher"
    )
    assert "does not learn from --unlabelled" in refused(
        *line, "-o", output, "--overwrite", "--method", "weak", "--batch-size", "4"
    )


@tries("train", "--min-confidence")
def test_events_of_less_confidence_are_not_trained_on(line, output, tmp_path, seen):
    path = tmp_path / "strong.tsv"
    header, *rows = path.read_text().splitlines()
    rows = [f"{row}\t{0.2 if i else 0.9}" for i, row in enumerate(rows)]
    path.write_text("\n".join([f"{header}\tconfidence", *rows]))
    given = f"of {len(rows)} events have a confidence below"
    said = run(*line, "-o", output).stderr
    assert f"{len(rows)} {given} 1 (least 0.2); all are taken as whole events" in said
    said = run(*line, "-o", output, "--overwrite", "--min-confidence", "0.5").stderr
    assert f"{len(rows) - 1} {given} 0.5; they are left out" in said
    assert "min-confidence: 0.5" in (output / "config.yaml").read_text()
    assert "must be in [0, 1]" in refused(*line, "-o", output, "--min-confidence", "50")


@tries("train", "--strong-clip-loss")
def test_strong_clips_have_a_clip_loss_where_it_is_asked_for(line, output):
    without = trained(line, output)
    assert trained(line, output, "--no-strong-clip-loss") == without
    assert trained(line, output, "--strong-clip-loss")["clip_loss"] != without["clip_loss"]


@tries("train", "--touching-gap")
def test_events_that_touch_are_learned_apart_where_that_is_asked_for(line, output, tmp_path):
    apart = trained(line, output, "--touching-gap", "3")
    assert apart == trained(line, output)  # none touches
    path = tmp_path / "strong.tsv"
    header, *rows = (row.split("\t") for row in path.read_text().splitlines())
    events = [(name, float(onset), float(offset), k) for name, onset, offset, k in rows]
    halves = [
        (n, *half, k) for n, a, b, k in events for half in ((a, (a + b) / 2), ((a + b) / 2, b))
    ]
    path.write_text("\n".join("\t".join(map(str, row)) for row in (header, *halves)))
    assert trained(line, output)["frame_loss"] == apart["frame_loss"]
    assert trained(line, output, "--touching-gap", "3")["frame_loss"] != apart["frame_loss"]
    assert "must be in [0, 1000]" in refused(*line, "-o", output, "--touching-gap", "-1")


@tries("train", "--augment")
def test_student_and_teacher_share_masks_and_mixtures_and_have_gains_of_their_own(
    line, output, monkeypatch
):
    heard, learner = [], Learner._augmented

    def noted(self, batch, whose, number):
        changed = learner(self, batch, whose, number)
        heard.append((whose, batch, changed))
        return changed

    monkeypatch.setattr(Learner, "_augmented", noted)
    options = ("--augment", "time-mask:least=0.2", "--augment", "gain", "--augment", "mixup")
    trained(line, output, *options)
    assert len(heard) == 2 * 3
    for both, teacher, student in zip(heard[::3], heard[1::3], heard[2::3], strict=True):
        assert [who for who, *_ in (both, teacher, student)] == ["both", "teacher", "student"]
        assert (both[2].frame_targets != both[1].frame_targets).any()
        assert both[2].features.dtype == torch.float32
        for _, before, after in (teacher, student):
            assert before is both[2]
            gains = after.features - before.features
            assert (gains - gains.mean(dim=(1, 2), keepdim=True)).abs().max() < 1e-4
            assert torch.equal(after.frame_targets, before.frame_targets)
        assert not torch.equal(teacher[2].features, student[2].features)
    config = output / "config.yaml"
    assert yaml.safe_load(config.read_text())["train"]["augment"] == [*options[1::2]]
    again = output.with_name("again")
    run("train", "-c", config, "-o", again)
    assert (again / "metrics.tsv").read_bytes() == (output / "metrics.tsv").read_bytes()
    assert "did you mean 'mixup'" in refused(
        *line, "-o", again, "--overwrite", "--augment", "mixpu"
    )
    twice = ("--augment", "gain", "--augment", "gain:most=2")
    assert "--augment has gain twice" in refused(*line, "-o", again, "--overwrite", *twice)


def test_a_shift_in_time_is_an_augmentation_with_a_short_form(line, output, seen):
    short = trained(line, output, "--time-shift", "3", "--shift-mode", "pad")
    n_batches = len(seen)
    assert trained(line, output, "--augment", "time-shift:std=3,mode=pad") == short
    for one, other in zip(seen[:n_batches], seen[n_batches:], strict=True):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.frame_targets, other.frame_targets)


@tries("train", "--loss")
def test_the_loss_is_the_one_of_its_name(line, output):
    default = trained(line, output)
    assert trained(line, output, "--loss", "bce") == default
    assert "unknown loss 'mse'; one of: bce" in refused(
        *line, "-o", output, "--overwrite", "--loss", "mse"
    )
    of_edges = trained(line, output, "--loss", "bce:edges=2,reach=3")
    assert of_edges["frame_loss"] != default["frame_loss"]
    assert "loss 'bce' has no option 'gamma'; it has: edges, reach" in refused(
        *line, "-o", output, "--overwrite", "--loss", "bce:gamma=2"
    )


@tries("train", "--clip-weight", "--frame-weight")
def test_losses_of_weak_and_of_strong_labels_have_weights(line, output):
    kinds = ("clip_loss", "frame_loss")
    of_a_step = (*line, "--epochs", "1", "--steps-per-epoch", "1", "--consistency", "0")
    penalty = ("--pooling", "linear")  # that has none
    row = trained(of_a_step, output, *penalty)
    clip, frame = (float(row[kind]) for kind in kinds)
    assert float(row["train_loss"]) == pytest.approx(clip + frame, rel=1e-5)
    row = trained(of_a_step, output, *penalty, "--clip-weight", "0.5", "--frame-weight", "3")
    assert [float(row[kind]) for kind in kinds] == [clip, frame]
    assert float(row["train_loss"]) == pytest.approx(0.5 * clip + 3 * frame, rel=1e-5)
    for option in ("--clip-weight", "--frame-weight"):
        assert "must be in [0, 1e6]" in refused(*line, "-o", output, option, "-1")


@tries("train", "--consistency", "--ramp-up")
def test_the_weight_of_consistency_rises_to_what_is_given(line, output):
    assert float(trained(line, output)["consistency"]) == pytest.approx(
        (np.exp(-5) + 1) * 2 / 2, rel=1e-5
    )
    row = trained(line, output, "--consistency", "3", "--ramp-up", "1")
    assert float(row["consistency"]) == pytest.approx((np.exp(-5) + 1) * 3 / 2, rel=1e-5)


@tries("train", "--ema", "--ema-buffers")
def test_the_teacher_is_the_student_without_memory(line, output):
    def weights(name):
        return load_model(output / f"{name}.safetensors").detector.state_dict()

    trained(line, output, "--ema", "0")
    assert all(value.equal(weights("model")[key]) for key, value in weights("teacher").items())
    trained(line, output, "--ema", "0", "--no-ema-buffers")
    differing = [
        k for k, value in weights("teacher").items() if not value.equal(weights("model")[k])
    ]
    assert differing == ["crnn.blocks.0.norm.running_mean", "crnn.blocks.0.norm.running_var"]


@tries("train", "--noise", "--noise-domain")
def test_noise_on_the_teachers_input_moves_what_it_says(line, output):
    rows = [
        trained(line, output, "--noise", noise, "--noise-domain", domain)["frame_consistency"]
        for noise, domain in (
            ("0", "linear"),
            ("0", "normalised"),
            ("1", "linear"),
            ("1", "normalised"),
        )
    ]
    assert rows[0] == rows[1]
    assert len(set(rows)) == 3


@tries("train", "--shift-mode")
def test_what_is_shifted_out_enters_at_the_other_end_or_is_lost(line, output, seen):
    trained(line, output, "--time-shift", "30")
    rolled = seen[:2]
    trained(line, output, "--time-shift", "30", "--shift-mode", "pad")
    lost = seen[2:]
    active = [sum(float(batch.frame_targets.sum()) for batch in kind) for kind in (rolled, lost)]
    assert active[1] < active[0]


@tries("train", "--final")
@tries("infer", "--teacher")
def test_the_teacher_of_a_run_is_used_where_it_is_asked_for(line, output, tiny):
    trained(line, output)
    model, clips = output / "model.safetensors", tiny.audio / "val"
    student = run("infer", model, clips, "--threshold", "0", "--confidence").stdout
    teacher = run("infer", model, clips, "--teacher", "--threshold", "0", "--confidence").stdout
    alone = run(
        "infer", output / "teacher.safetensors", clips, "--threshold", "0", "--confidence"
    ).stdout
    assert student != teacher == alone
    trained(line, output, "--final", "teacher")
    again = run("infer", model, clips, "--teacher", "--threshold", "0", "--confidence").stdout
    assert again == teacher
    said = refused("infer", output / "student.safetensors", clips, "--teacher", exit_code=5)
    assert "has no teacher" in said


@tries("train", "--keep-epochs")
def test_models_of_named_epochs_are_kept(line, output):
    trained(line, output, "--epochs", "3", "--keep-epochs", "1,3")
    kept = sorted(path.name for path in (output / "epochs").iterdir())
    assert kept == ["001.safetensors", "003.safetensors"]
    said = refused(*line, "-o", output, "--overwrite", "--keep-epochs", "2")
    assert "epoch 2 to keep (keep-epochs) is none of 1 to 1" in said
