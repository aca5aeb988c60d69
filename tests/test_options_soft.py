"""train --soft: scores of clips as targets of their frames, from the files of earlier stages."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml

from sedtool.config import DecodingConfig, TrainConfig
from sedtool.errors import ArtifactError, StoppedError
from sedtool.labels import (
    Event,
    StrongLabels,
    read_events,
    read_names,
    read_soft,
    read_weak,
    write_events,
)
from sedtool.losses import BinaryCrossEntropy
from sedtool.shards import Shard
from sedtool.store import ScoresHeader, ScoresWriter, clip_scores, open_scores
from sedtool.training import TrainInputs, load_inputs, train
from sedtool.training.learner import Learner
from support.command_lines import refused, run, tries
from support.training import stop_after, whole_contents

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nano")]

SHORT = ("--arch", "nano", "--epochs", 1, "--steps-per-epoch", 2, "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tiny, nano, tmp_path_factory):
    """Weak labels of six clips, strong ones of two others, and mean scores of all 24."""
    folder = tmp_path_factory.mktemp("soft")
    names, rows = read_names(tiny.weak), tiny.weak.read_text().splitlines()
    (folder / "weak.tsv").write_text("\n".join(rows[:7]) + "\n")
    events = [Event(n, 0.2, 0.7, n.split("/")[1].split("_")[0]) for n in names[6:8]]
    write_events(folder / "strong.tsv", StrongLabels(events, tuple(names[6:8])))
    (folder / "others.tsv").write_text("filename\n" + "\n".join(names[4:12]) + "\n")
    for seed in (0, 1):
        labels = ("--weak", folder / "weak.tsv", "--val-strong", tiny.strong)
        where = ("-o", folder / f"run{seed}", "--features", tiny.features)
        run("train", *where, *labels, *SHORT, "--seed", seed, "--batch-size", 4)
        run("infer", folder / f"run{seed}", tiny.features, "--scores", folder / f"s{seed}.h5")
    run("merge", "--average", folder / "s0.h5", folder / "s1.h5", "-o", folder / "mean.h5")
    return folder


@pytest.fixture
def line(tiny, folder):
    return (
        *("train", "--features", tiny.features, "--weak", folder / "weak.tsv"),
        *("--val-strong", tiny.strong, *SHORT, "--batch-size", 6, "--soft", folder / "mean.h5"),
    )


@pytest.fixture
def output(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def learned(monkeypatch):
    """The batches that are learned from."""
    batches, step = [], Learner.step

    def watched(self, batch, number):
        batches.append(batch)
        return step(self, batch, number)

    monkeypatch.setattr(Learner, "step", watched)
    return batches


def rows(output):
    header, *lines = (row.split("\t") for row in (output / "metrics.tsv").read_text().splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


@tries("train", "--soft")
def test_weak_clips_have_frames_to_learn_too_and_clips_without_labels_are_half_of_a_batch(
    line, output, tiny, folder, learned
):
    said = run(*line, "-o", output).stderr
    assert "8 of 18 unlabelled clips are validated on; left out of training" in said
    weak, trained = read_names(folder / "weak.tsv"), read_names(output / "trained_on.tsv")
    assert trained == sorted(read_names(tiny.weak))
    (row,) = rows(output)
    assert list(row)[:6] == ["epoch", "step", "lr", "train_loss", "clip_loss", "frame_loss"]
    parts = float(row["clip_loss"]) + float(row["frame_loss"])
    assert float(row["train_loss"]) == pytest.approx(parts, rel=1e-3)  # and the penalty of n
    for batch in learned:
        assert batch.framed == [*range(6)]
        assert {name in weak for name in batch.names[:3]} == {True}
        assert {name in weak for name in batch.names[3:]} == {False}
        for frames, targets in zip(batch.frame_targets[:3], batch.targets, strict=False):
            assert torch.equal(frames.amax(dim=0) > 0, targets > 0)  # else they are ruled out
    assert yaml.safe_load((output / "config.yaml").read_text())["train"]["soft"] == str(
        (folder / "mean.h5").resolve()
    )
    assert str(folder / "mean.h5") in json.loads((output / "run.json").read_text())["inputs"]
    assert "finished, and was trained on the same files" in run(*line, "-o", output).stderr
    other = [folder / "s0.h5" if word == folder / "mean.h5" else word for word in line]
    assert "of other settings or files: soft is" in refused(*other, "-o", output)
    again = output.with_name("again")
    run("train", "-c", output / "config.yaml", "-o", again)
    assert whole_contents(again) == whole_contents(output)


def test_the_frame_loss_is_the_cross_entropy_with_the_scores(line, output, learned, monkeypatch):
    given, of_frames = [], BinaryCrossEntropy.of_frames

    def watched(self, logits, mask, target):
        given.append((logits.detach(), mask, target))
        return of_frames(self, logits, mask, target)

    monkeypatch.setattr(BinaryCrossEntropy, "of_frames", watched)
    run(*line, "-o", output)
    losses = []
    for batch, (logits, mask, target) in zip(learned, given, strict=False):
        assert torch.equal(target, batch.frame_targets)
        p = logits.sigmoid()
        each = -(target * p.log() + (1 - target) * (1 - p).log())
        losses.append(float(each[mask].mean()))
    (row,) = rows(output)
    assert float(row["frame_loss"]) == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_mean_teacher_learns_from_the_scores_of_weak_and_unlabelled_clips_in_their_places(
    line, output, folder, learned
):
    given = ("--unlabelled", folder / "others.tsv", "--strong", folder / "strong.tsv")
    line = [word for word in line if word not in ("--batch-size", 6)]
    said = run(
        *line, "-o", output, *given, "--method", "mean-teacher", "--batch-size", "2,3,1"
    ).stderr
    assert "the strong labels of 2 clips count, and not their scores" in said
    scored = {*open_scores(folder / "mean.h5").names} - {*read_names(folder / "strong.tsv")}
    for batch in learned:
        assert [batch.names[row] for row in batch.framed][:-1] == [
            name for name in batch.names[:5] if name in scored
        ]
        assert len(batch.frame_targets) == len(batch.framed)
        assert batch.frame_targets[-1].unique().tolist() == [0, 1]  # of a strong clip


def test_strong_and_scored_clips_share_a_batch(line, output, folder, learned):
    at = line.index("--weak")
    line = (*line[:at], *line[at + 2 :], "--strong", folder / "strong.tsv", "--method", "strong")
    run(*line, "-o", output)
    strong = read_names(folder / "strong.tsv")
    for batch in learned:
        assert {name in strong for name in batch.names[:3]} == {False}
        assert {name in strong for name in batch.names[3:]} == {True}
        assert batch.framed == [*range(6)]


def test_a_run_with_scores_of_some_weak_clips_has_a_frame_loss_at_every_step(
    line, output, folder, tmp_path, learned, monkeypatch
):
    parts, step = [], Learner.step

    def watched(self, batch, number):
        parts.append(step(self, batch, number))
        return parts[-1]

    monkeypatch.setattr(Learner, "step", watched)
    few = forged(folder, tmp_path, names=read_names(folder / "weak.tsv")[:1])
    line = [few if word == folder / "mean.h5" else word for word in line]
    run(*line, "-o", output, "--batch-size", 1, "--steps-per-epoch", 8, "--balance", "none")
    assert {batch.soft for batch in learned} == {(0,), ()}
    for batch, losses in zip(learned, parts, strict=True):
        assert set(losses) == {"train_loss", "clip_loss", "frame_loss"}
        assert (losses["frame_loss"] > 0) == bool(batch.soft)


def test_an_epoch_is_a_pass_over_the_more_numerous_kind(line, output, tiny, folder, tmp_path):
    names = read_names(tiny.weak)  # of which six are weak
    line = (*line, "-o", output, "--steps-per-epoch", 0, "--batch-size", 2, "--overwrite")
    for n_others, steps in ((1, 6), (10, 10)):
        path = forged(folder, tmp_path, names=names[: 6 + n_others])
        run(*(path if word == folder / "mean.h5" else word for word in line))
        assert rows(output)[0]["step"] == str(steps)


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": ("mixup", "time-mask", "hard-mixup"), "time_shift": 3.0},
        {"method": "mean-teacher", "batch_size": (2, 2, 1), "time_shift": 2.0},
    ],
)
def test_a_run_with_scores_resumes_bit_for_bit_and_from_no_other_scores(
    changes, tiny, folder, tmp_path
):
    given = {"arch": "nano", "epochs": 2, "steps_per_epoch": 3, "batch_size": (4,), "lr": 1e-2}
    config = TrainConfig(**given | changes)
    inputs = TrainInputs(
        (tiny.features,), folder / "weak.tsv", val_strong=tiny.strong, soft=folder / "mean.h5"
    )
    if config.method == "mean-teacher":
        inputs = dataclasses.replace(inputs, strong=folder / "strong.tsv")
    train(tmp_path / "whole", inputs, config, device="cpu")
    part = tmp_path / "part"
    for steps in (1, 3):
        with pytest.raises(StoppedError):
            train(part, inputs, config, device="cpu", resume=True, stop=stop_after(steps))
    other = dataclasses.replace(inputs, soft=folder / "s1.h5")
    with pytest.raises(ArtifactError, match="of another run: soft scores differ"):
        train(part, other, config, device="cpu", resume=True)
    without = dataclasses.replace(inputs, soft=None)
    with pytest.raises(ArtifactError, match=r"of another run: soft scores.* differ"):
        train(part, without, config, device="cpu", resume=True)
    train(part, inputs, config, device="cpu", resume=True)
    assert whole_contents(part) == whole_contents(tmp_path / "whole")


def test_scores_of_weak_and_of_validated_clips_are_enough(line, output, folder, tmp_path, tiny):
    names = [*read_names(folder / "weak.tsv"), *read_names(tiny.strong)]
    path = forged(folder, tmp_path, names=names)
    line = [path if word == folder / "mean.h5" else word for word in line]
    said = run(*line, "-o", output, "--dry-run").stderr
    assert "8 of 8 unlabelled clips are validated on; left out of training" in said
    assert "no unlabelled clip is left" not in said
    assert "6 clips (6 with scores as targets) to train and 8 to validate on" in said


def test_held_out_clips_are_not_learned_from_through_their_scores(tiny, folder, output, line):
    at = line.index("--val-strong")
    run(*line[:at], *line[at + 2 :], "-o", output, "--validation-fraction", 0.5)
    held_out, trained = (read_names(output / f"{n}.tsv") for n in ("held_out", "trained_on"))
    assert len(held_out) == 3 and not {*held_out} & {*trained}


@tries("train", "--soft")
def test_a_dry_run_and_the_settings_know_the_scores(line, output, folder):
    said = run(*line, "-o", output, "--dry-run").stderr
    assert "16 clips (16 with scores as targets) to train and 8 to validate on" in said
    assert not output.exists()
    printed = run(*line, "-o", output, "--print-config").stdout
    assert f'soft: "{folder / "mean.h5"}"' in printed


def forged(folder, tmp_path, **changes):
    """Write the mean scores with another header, and of clips that a function changes."""
    scores = open_scores(folder / "mean.h5")
    change, names = changes.pop("clip", lambda clip: clip), changes.pop("names", scores.names)
    fields = {f.name: getattr(scores, f.name) for f in dataclasses.fields(ScoresHeader)}
    path = tmp_path / "forged.h5"
    with ScoresWriter(path, ScoresHeader(**{**fields, **changes})) as writer:
        for clip in clip_scores(scores):
            if clip.name in names:
                writer.append(change(clip))
    return path


def test_classes_are_matched_by_name_and_more_of_them_left_out(
    line, output, folder, tmp_path, learned
):
    def more(clip):
        def turned(x):
            return np.concatenate([x[:, ::-1], x[:, :1]], axis=1)

        return dataclasses.replace(clip, frame=turned(clip.frame), window=turned(clip.window))

    decoding = DecodingConfig.default(3)
    classes = ("tone", "noise", "Owl")
    path = forged(folder, tmp_path, clip=more, classes=classes, decoding=decoding)
    run(*line, "-o", output)
    expected = [batch.frame_targets for batch in learned]
    learned.clear()
    other = [path if word == folder / "mean.h5" else word for word in line]
    said = run(*other, "-o", output, "--overwrite").stderr
    assert "'Owl' are no classes of the labels, or of --classes; their scores are left out" in said
    assert all(map(torch.equal, expected, [batch.frame_targets for batch in learned]))


def longer(clip):
    return dataclasses.replace(
        clip, frame=np.tile(clip.frame, (2, 1)), window_frames=clip.window_frames * 2
    )


@pytest.mark.parametrize(
    ("changes", "message", "exit_code"),
    [
        ({"classes": ("noise", "Owl")}, "has no scores of 'tone'; score with models that know", 2),
        ({"clip": longer}, "are of 2.000 s, and the features of 1.000 s; score what", 5),
        ({"frame_rate": 2.0}, "and the features of 1.000 s; score what the features are", 5),
        ({"shard": Shard(1, 2)}, "scores of one shard; merge all, or --partial", 5),
        ({"names": ["val/tone_16.wav"]}, "no clip is left to learn from that has no strong", 2),
        (
            {"clip": lambda clip: dataclasses.replace(clip, name=f"other/{clip.name[4:]}x")},
            "24 of 24 clips have no features in",
            5,
        ),
    ],
)
def test_scores_that_do_not_fit_are_refused_in_a_line(
    changes, message, exit_code, line, output, folder, tmp_path
):
    path = forged(folder, tmp_path, **changes)
    line = [path if word == folder / "mean.h5" else word for word in line]
    said = refused(*line, "-q", "-o", output, exit_code=exit_code)
    assert message in said and str(path) in said
    assert not output.exists()


def test_what_are_no_whole_scores_is_refused_in_a_line(line, output, tiny, folder, tmp_path):
    def said(path, exit_code=5):
        words = [path if word == folder / "mean.h5" else word for word in line]
        text = refused(*words, "-q", "-o", output, exit_code=exit_code)
        assert str(path) in text
        return text

    what = "--soft takes the scores of `sedtool infer --scores`, or of `sedtool merge`"
    assert f"its format is 'sedtool-features', not 'sedtool-scores'; {what}" in said(tiny.features)
    assert f"not an HDF5 file that sedtool wrote: it is text; {what}" in said(tiny.weak)
    content, path = (folder / "mean.h5").read_bytes(), tmp_path / "damaged.h5"
    scores = open_scores(folder / "mean.h5")
    at = scores.frame.offset
    for place, change in ((at, b"\xff"), (at + 8, b"\0\0\xc0\x7f")):  # another number, and NaN
        path.write_bytes(content[:place] + change + content[place + len(change) :])
        assert "does not match its digest" in said(path)
    path.write_bytes(content[:-20])
    assert "truncated" in said(path) or "damaged" in said(path)
    assert "does not exist" in refused(*line[:-1], tmp_path / "no.h5", "-o", output)


def test_labels_and_a_place_in_the_batch_are_needed(line, output, folder):
    at = line.index("--weak")
    said = refused(*line[:at], *line[at + 2 :], "-q", "-o", output)
    assert "method weak needs labelled clips: --weak" in said
    said = refused(*line, "-q", "-o", output, "--batch-size", 1)
    assert "--batch-size 1 has no place for clips of --soft without labels" in said


def test_settings_are_chosen_for_labelled_and_scored_clips(line, output, folder):
    line = [word for word in line if word not in ("--batch-size", 6)]
    said = run(*line, "-o", output, "--dry-run").stderr
    assert "chosen for 16 labelled clips" in said
    printed = run(*line, "-o", output, "--print-config").stdout
    assert "chosen for 16 labelled clips" in printed  # without those that are validated on
    inputs = TrainInputs(
        (line[2],), folder / "weak.tsv", val_strong=line[6], soft=folder / "mean.h5"
    )
    clips, _, _ = load_inputs(inputs, TrainConfig())
    assert (len(clips), clips.n_labelled) == (16, 16)


def test_a_sweep_takes_scores_below_its_data_folder_and_names_test_clips_in_them(folder, data):
    line = (
        "sweep",
        data / "recipe.yaml",
        "--data",
        data,
        "-o",
        data / "runs",
        "--pooling",
        "power",
    )
    (data / "soft.h5").write_bytes((folder / "mean.h5").read_bytes())
    recipe = (data / "recipe.yaml").read_text()
    (data / "recipe.yaml").write_text(recipe.replace("weak:", "soft: soft.h5\n  weak:", 1))
    said = run(*line).stderr
    assert f"8 clips of {data / 'strong.tsv'} are in {data / 'soft.h5'} (train.soft), too" in said
    made = data / "runs" / "power" / "seed-0"
    written = yaml.safe_load((made / "config.yaml").read_text())["train"]
    assert written["soft"] == str((data / "soft.h5").resolve())
    assert "frame_loss" in rows(made)[0]
    assert "0 runs made, 1 done before" in run(*line).stderr
    (data / "soft.h5").write_bytes((folder / "s0.h5").read_bytes())
    assert "holds a run of other settings: soft has changed" in refused(*line, exit_code=5)
    (data / "soft.h5").write_bytes((data / "strong.tsv").read_bytes())
    assert "soft.h5: not an HDF5 file that sedtool wrote" in refused(*line, exit_code=5)


# Confidences


@pytest.fixture
def unsure(tiny, tmp_path):
    """Strong labels of the training clips by segments of half a second, as MAESTRO has them."""
    rows = ["filename\tonset\toffset\tevent_label\tconfidence"]
    for name in read_names(tiny.weak):
        label = name.split("/")[1].split("_")[0]
        other = {"tone": "noise", "noise": "tone"}[label]
        rows += [f"{name}\t0\t0.5\t{label}\t0.75", f"{name}\t0\t0.5\t{other}\t0.125"]
        rows += [f"{name}\t0.5\t1\t{label}\t0.5", f"{name}\t0.5\t1\t{other}\t0"]
    path = tmp_path / "segments.tsv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def segments(tiny, unsure):
    return (
        *("train", "--features", tiny.features, "--strong", unsure, "--method", "strong"),
        *("--val-strong", tiny.strong, *SHORT, "--batch-size", 4),
    )


@tries("train", "--soft-confidence")
def test_confidences_are_targets_of_frames_and_of_clips_if_that_is_asked_for(
    segments, output, learned
):
    said = run(*segments, "-o", output).stderr
    assert "events have a confidence below 1 (least 0); all are taken as whole events" in said
    for batch in learned:
        assert batch.frame_targets.unique().tolist() == [1]
    learned.clear()
    soft = (*segments, "--soft-confidence", "--strong-clip-loss")
    said = run(*soft, "-o", output, "--overwrite").stderr
    assert "whole events" not in said
    for batch in learned:
        columns = [int("tone" in name) for name in batch.names]
        for frames, clip, mine in zip(batch.frame_targets, batch.targets, columns, strict=True):
            half = len(frames) // 2
            assert frames[:half, mine].unique().tolist() == [0.75]
            assert frames[:half, 1 - mine].unique().tolist() == [0.125]
            assert frames[half + 1 :, mine].unique().tolist() == [0.5]
            assert frames[half + 1 :, 1 - mine].unique().tolist() == [0]
            assert (clip[mine], clip[1 - mine]) == (0.75, 0.125)
    written = yaml.safe_load((output / "config.yaml").read_text())["train"]
    assert written["soft-confidence"] is True


def test_a_run_of_confidences_goes_on_with_the_same_ones_alone(segments, output, unsure):
    line = (*segments, "--soft-confidence", "-o", output)
    run(*line)
    text = unsure.read_text()
    unsure.write_text(text.replace("0.125", "0.25", 1))
    said = refused(*line, "-q", "--resume", "--epochs", 2, exit_code=5)
    assert "of another run: confidences" in said
    said = refused(*segments, "-q", "-o", output, "--resume", "--epochs", 2, exit_code=5)
    assert "soft_confidence" in said
    unsure.write_text(text)
    run(*line, "--resume", "--epochs", 2)


def test_what_is_held_out_is_there_or_is_not(segments, output, unsure):
    at = segments.index("--val-strong")
    line = (*segments[:at], *segments[at + 2 :], "--soft-confidence", "-o", output, "--overwrite")
    for least, (n_events, offsets, labels) in {
        None: (1, {1.0}, 1),
        "0.6": (1, {0.5}, 1),
        "0.1": (2, {0.5, 1.0}, 2),
    }.items():  # of two segments that touch one event
        run(*line, *(("--min-confidence", least) if least else ()))
        held_out = read_events(output / "held_out_strong.tsv")
        assert len(held_out.events) == n_events * len(held_out.names) > 0
        assert {event.onset for event in held_out.events} == {0.0}
        assert {event.offset for event in held_out.events} == offsets
        weak = read_weak(output / "held_out.tsv")
        assert {len(of_clip) for of_clip in weak.values()} == {labels}


def test_confidences_that_are_no_targets_are_refused_in_a_line(segments, output, unsure, tiny):
    line = (*segments, "--soft-confidence", "-q", "-o", output)
    text = unsure.read_text()
    for value in ("1.5", "-0.25"):
        unsure.write_text(text.replace("0.75", value).replace(value, "0.75", 2))
        said = refused(*line)
        assert f"{unsure}:10: confidence {value}; as a target of training it is 0 to 1" in said
    unsure.write_text("".join(line.rsplit("\t", 1)[0] + "\n" for line in text.splitlines()))
    assert "no event has a confidence; --soft-confidence needs that column" in refused(*line)
    weak = ("train", "--features", tiny.features, "--weak", tiny.weak, "-o", output, *SHORT)
    said = refused(*weak, "-q", "--soft-confidence")
    assert "--soft-confidence is of strong labels: --strong" in said


def test_a_table_of_segments_of_one_clip_becomes_one_that_training_takes(tmp_path):
    table = tmp_path / "cafe.txt"
    table.write_text("onset\toffset\tevent_label\tconfidence\n0\t1\tbirds\t0.25\n1\t2\tbirds\t1\n")
    run("convert", table, "--audio-suffix", ".wav", "-o", tmp_path / "strong.tsv")
    found = read_soft(tmp_path / "strong.tsv")
    assert found.events == [
        Event("cafe.wav", 0.0, 1.0, "birds", 0.25), Event("cafe.wav", 1.0, 2.0, "birds", 1.0)
    ]  # fmt: skip
