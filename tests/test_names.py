"""Any name survives from disk through features, events and scores, or is refused by name."""

import os
import random
import shutil
import unicodedata
from pathlib import Path

import pytest
import soundfile

from sedtool.checkpoint import save_model
from sedtool.config import (
    DecodingConfig,
    EvaluateInputs,
    EvaluationConfig,
    FeatureConfig,
    InferConfig,
)
from sedtool.evaluation.from_files import evaluate_files
from sedtool.extraction import extract
from sedtool.inference import InferOutputs, infer
from sedtool.labels import Event, StrongLabels, read_events, write_events
from sedtool.store import open_features
from support.audio import NOISE
from support.models import new_model
from support.sweeps import invoke

# What names are made of: plain letters, and whatever may break a shell, a table or a terminal.
PIECES = [
    *"abc019._-+=@,;:'\"`$&|<>()[]{}!?#%^~* ",
    *("é", "日", "й", "ß", "😀", "\u0301", "\u200b", "\u202e", "\xa0", "\u3000", "İ", "ﬀ"),
    *(
        "-",
        "--",
        "NA",
        "007",
        "True",
        "..",
        "con",
        "event_label",
        "filename",
        "=cmd()",
        "%s",
        "{0}",
    ),
    *("\t", "\n", "\r", "\x1b[31m", "\x7f", "\x85", "\u2028", "\\", "\\n", "\udcff"),
]
COUNT = {"short": 150, "long": 1000}


def random_names(count: int) -> list[str]:
    draw = random.Random(20261122)
    names: set[str] = set()
    while len(names) < count:
        stem = "".join(draw.choice(PIECES) for _ in range(draw.randint(1, 8)))
        folder = draw.choice(["", "", "sub/", "x y/", "é/", "-d/"])
        name = f"{folder}{stem}.wav"
        if stem.strip(".") == stem and len(os.fsencode(stem)) < 200:
            names.add(name)
    return sorted(names)


@pytest.mark.parametrize("size", ["short", pytest.param("long", marks=pytest.mark.campaign)])
def test_random_names_come_out_as_they_went_in_or_are_refused_by_name(tmp_path, size, report):
    tries = report("P14 P16", "random names through extract, infer and evaluate")
    root = tmp_path / "audio"
    wave = tmp_path / "one.wav"
    soundfile.write(wave, NOISE, 22_050)
    names = random_names(COUNT[size])
    made = []
    for name in names:
        path = os.fsencode(root) + b"/" + os.fsencode(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120  # bytes
        try:
            os.link(wave, path)
        except FileExistsError:
            continue
        made.append(name)
    features, model = tmp_path / "f.h5", tmp_path / "m.safetensors"
    detector = new_model()
    detector.decoding = DecodingConfig((0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    save_model(model, detector)
    extracted = extract([root], features, FeatureConfig())
    kept = open_features(features).names
    assert len(kept) + len(extracted.failures) == len(made)
    assert len({name for name, _, _ in extracted.failures}) == len(extracted.failures)
    assert 0 < len(extracted.failures) < len(made)
    for name, _, error in extracted.failures:
        assert name.isprintable() or "\u200b" in name or "\u202e" in name
        assert error.startswith("the name ")
    assert set(kept) == {name for name in made if name in set(kept)}

    events, tags, scores = tmp_path / "e.tsv", tmp_path / "w.tsv", tmp_path / "s.h5"
    from_audio = infer(model, [root], InferConfig(device="cpu"), InferOutputs(events, scores, tags))
    assert from_audio.n_clips == len(kept)
    assert sorted(read_events(events).names) == kept
    assert _names(tags) == kept
    copied = tmp_path / "again.tsv"
    infer(model, [features], InferConfig(device="cpu"), InferOutputs(copied))
    assert sorted(read_events(copied).names) == kept

    reference = tmp_path / "r.tsv"
    labels = [Event(name, 0.0, 1.0, "Dog") for name in kept]
    write_events(reference, StrongLabels(labels, tuple(kept)))
    scored = evaluate_files(EvaluateInputs(reference, scores), EvaluationConfig())
    assert scored.event.classes["Dog"].tp == len(kept)
    assert scored.n_clips == len(kept)
    tries.what += f": {len(extracted.failures)} refused by name"
    tries.add(len(made))


def _names(path):
    return [line.split("\t")[0] for line in path.read_text("utf-8").split("\n")[1:-1]]


def test_a_path_in_another_unicode_form_gets_a_hint_from_every_stage(tiny, tmp_path):
    composed, apart = (unicodedata.normalize(form, "Caf\xe9") for form in ("NFC", "NFD"))
    folder = tmp_path / composed
    shutil.copytree(tiny.audio / "val", folder / composed)
    shutil.copy(tiny.strong, folder / f"{composed}.tsv")
    hint = f"did you mean {folder / composed}"
    wrong = tmp_path / apart / apart
    out = ("-o", tmp_path / "f.h5")
    for line in (
        ("extract", wrong, *out),
        ("extract", f"{wrong}/*.wav", *out),
        ("evaluate", f"{wrong}.tsv", tiny.strong),
        ("convert", f"{wrong}.tsv"),
        ("info", wrong),
        ("merge", f"{wrong}.tsv", "-o", tmp_path / "out.tsv"),
    ):
        said = invoke(*line).stderr
        assert hint in said and "in another Unicode form?" in said, line
    (tmp_path / "list.txt").write_text(f"{wrong}/noise_17.wav\n")
    invoke("extract", "--files-from", tmp_path / "list.txt", *out)
    assert hint in Path(f"{out[1]}.failures.tsv").read_text()
