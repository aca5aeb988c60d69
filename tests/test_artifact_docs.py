"""docs/artifacts.md says what is in the files, and its examples run."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from sedtool import runs
from sedtool.audio import write_wav
from sedtool.checkpoint import MODEL_VERSION, load_model, save_model
from sedtool.config import (
    FEATURE_PRESETS,
    EvaluateInputs,
    EvaluationConfig,
    ExtractConfig,
    InferConfig,
    TrainConfig,
)
from sedtool.config.evaluation import METRICS, ReportConfig
from sedtool.decoding import decode_clip
from sedtool.errors import ArtifactError, StoppedError
from sedtool.evaluation.from_files import evaluate_files
from sedtool.extraction import extract
from sedtool.inference import InferOutputs, infer
from sedtool.labels import EVENT_FORMATS, Event, format_events, format_weak, read_events
from sedtool.shards import PART_FORMAT
from sedtool.store import clip_scores, layout, open_features, open_scores
from sedtool.store.made import MADE_FORMAT
from sedtool.training import TrainInputs, train
from support.audio import RATE
from support.models import new_model

DOCUMENT = Path(__file__).parents[1] / "docs" / "artifacts.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
CLIP = "yard/dog.wav"  # that the examples are about
SETTINGS = InferConfig(threshold="0.01", clip_threshold="off", window=0.5)
EVENTS = [
    Event(CLIP, 0.5, 1.25, "Dog", 0.9125),
    Event(CLIP, 2.0, 2.001, "Air horn, truck horn", 0.5),
]


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def table(name: str) -> list[dict[str, str]]:
    """Return the rows of the table behind the comment `name`, cells by column."""
    _, _, rest = TEXT.partition(f"<!-- {name} -->\n")
    rows = [line.strip("| ").split(" | ") for line in rest.split("\n\n")[0].splitlines()]
    header = [cell.split(" ")[0] for cell in rows[0]]
    return [dict(zip(header, [*row, ""], strict=False)) for row in rows[2:]]


def names(cell: str) -> list[str]:
    """Return what stands in backquotes in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def keys(name: str) -> list[str]:
    """Return the keys that a table of keys names."""
    return [key for row in table(name) for key in names(row["key"])]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Return a folder with every artifact, of three clips and one that cannot be used."""
    folder = tmp_path_factory.mktemp("artifacts")
    rng = np.random.default_rng(0)
    for name, seconds in {"größe 1.wav": 0.7, CLIP: 1.9, "yard/silent.wav": 0.4}.items():
        path = folder / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wav(path, 0.1 * rng.standard_normal(int(seconds * RATE)), RATE)
    (folder / "audio" / "cut.wav").write_bytes((folder / "audio" / CLIP).read_bytes()[:9000])
    save_model(folder / "model.safetensors", new_model())
    audio, model = [folder / "audio"], folder / "model.safetensors"
    extract(audio, folder / "features.h5", FEATURE_PRESETS["dcase2017"])
    f32 = ExtractConfig(dtype="f32")
    extract(audio, folder / "features32.h5", FEATURE_PRESETS["dcase2017"], f32)
    lists = InferOutputs(
        folder / "events.tsv", folder / "scores.h5", folder / "tags.tsv", confidence=True
    )
    infer(model, [folder / "features.h5"], SETTINGS, lists)
    infer(model, audio, SETTINGS, InferOutputs(folder / "events.jsonl", format="jsonl"))
    part = InferOutputs(folder / "part.tsv", weak=folder / "part tags.tsv")
    infer(model, audio, replace(SETTINGS, shard="1/2"), part)
    inputs = EvaluateInputs(folder / "events.tsv", folder / "scores.h5")
    evaluate_files(inputs, EvaluationConfig(), folder / "metrics.json")
    return folder


# What the tables say


def of_type(dtype: np.dtype) -> str:
    text = h5py.check_string_dtype(dtype)
    if text is None:
        assert dtype.byteorder in "<|="
        return dtype.name
    assert text.length
    assert text.encoding == "utf-8"
    return "text"


@pytest.mark.parametrize("file", ["features.h5", "scores.h5"])
def test_attributes_are_those_of_the_tables(artifacts, file):
    rows = [*table("attributes of both"), *table(f"attributes of {file}")]
    documented = {names(row["attribute"])[0]: row["type"] for row in rows}
    with h5py.File(artifacts / file) as store:
        found = {name: of_type(store.attrs.get_id(name).dtype) for name in store.attrs}
        assert all(store.attrs[name].shape == () for name in store.attrs)
    assert documented == found


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("features.h5", "features.h5"),
        ("features.h5", "features32.h5"),
        ("scores.h5", "scores.h5"),
    ],
)
def test_data_sets_are_those_of_the_tables(artifacts, file, path):
    sizes = {"blocks": 1, "mels": 64, "classes": 2, "clips": 3, "failures": 1}
    with h5py.File(artifacts / path) as store:
        sizes["frames"] = int(store["/clips/frames"][()].sum())
        sizes["windows"] = len(store["/windows/clip"]) if "windows" in store else 0
        found = {}

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                found[f"/{name}"] = (of_type(item.dtype), item.shape)
                assert item.chunks is None
                assert item.id.get_offset()

        store.visititems(visit)
    documented = {}
    for row in table(f"data sets of {file}"):
        (name,), types = names(row["data"]), row["type"].split(" or ")
        kind = found[name][0] if found.get(name, [""])[0] in types else row["type"]
        documented[name] = (
            kind,
            tuple(sizes[axis] for axis in row["shape"].strip("()").split(", ")),
        )
    assert documented == found


def test_frames_may_be_of_both_types(artifacts):
    with (
        h5py.File(artifacts / "features.h5") as half,
        h5py.File(artifacts / "features32.h5") as full,
    ):
        types = [store["/features/logmel"].dtype.name for store in (half, full)]
    (row,) = [r for r in table("data sets of features.h5") if "logmel" in r["data"]]
    assert row["type"].split(" or ") == types


def test_json_in_attributes_has_the_keys_of_the_tables(artifacts):
    with h5py.File(artifacts / "features.h5") as features, h5py.File(artifacts / "scores.h5") as s:
        assert sorted(keys("keys of config")) == sorted(json.loads(features.attrs["config"]))
        assert sorted(keys("keys of decoding")) == sorted(json.loads(s.attrs["decoding"]))


def test_the_model_header_and_tensors_are_those_of_the_tables(artifacts):
    content = (artifacts / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    tensors = json.loads(content[8 : 8 + length])
    header = json.loads(tensors.pop("__metadata__")["sedtool"])
    assert sorted(keys("keys of the model header")) == sorted(header)
    patterns = {p: row for row in table("tensors of the model") for p in names(row["tensor"])}
    for name, entry in tensors.items():
        (pattern,) = [p for p in patterns if fnmatch(name, p)]
        assert entry["dtype"] in patterns[pattern]["type"]
    assert all(any(fnmatch(name, pattern) for name in tensors) for pattern in patterns)


def test_a_part_record_has_the_keys_of_the_table(artifacts):
    for name in ("part.tsv", "part tags.tsv"):
        record = json.loads((artifacts / f"{name}.part.json").read_text())
        assert sorted(keys("keys of a part record")) == sorted(record)
        assert record["kind"] in TEXT


def test_metrics_have_the_keys_of_the_tables(artifacts):
    metrics = json.loads((artifacts / "metrics.json").read_text())
    assert sorted(keys("keys of metrics.json")) == sorted(metrics)
    assert sorted(keys("keys of a metric")) == sorted(metrics["event"])
    counts = names(next(r["value"] for r in table("keys of a metric") if "`classes`" in r["key"]))
    assert sorted(counts) == sorted(metrics["event"]["classes"]["Dog"])
    assert set(metrics["clip"]) - set(metrics["event"]) == {"source"}


def test_metrics_have_more_keys_if_asked_to(artifacts, tmp_path):
    scores, every = artifacts / "scores.h5", tmp_path / "metrics.json"
    inputs = EvaluateInputs(artifacts / "events.tsv", scores, against=scores)
    report = ReportConfig(metrics=METRICS, bootstrap=3)
    evaluate_files(inputs, EvaluationConfig(), every, report=report)
    metrics = json.loads(every.read_text())
    assert set(keys("further keys of metrics.json")) == set(metrics) - set(
        keys("keys of metrics.json")
    )
    rows = table("further keys of metrics.json")
    inside = {key: row["value"] for row in rows for key in names(row["key"])}
    for key, found in {
        "error_rate": metrics["error_rate"]["event"],
        "errors": metrics["errors"],
        "psds": metrics["psds"]["psds1"],
        "bootstrap": metrics["bootstrap"],
        "against": metrics["against"],
    }.items():
        assert set(found) <= set(names(inside[key]))
    assert set(metrics["error_rate"]["segment"]["overall"]) <= set(names(inside["error_rate"]))
    assert set(metrics["errors"]["total"]) <= set(names(inside["errors"]))
    assert set(metrics["against"]["differences"]["event_f1"]) <= set(names(inside["against"]))


def test_the_run_folder_is_as_described(tiny, tmp_path):
    inputs = TrainInputs((tiny.features,), tiny.weak, val_strong=tiny.strong)
    config = TrainConfig(arch="small", epochs=1, steps_per_epoch=1, batch_size=(2,))
    train(tmp_path, inputs, config, device="cpu")
    record = json.loads((tmp_path / "run.json").read_text())
    assert sorted(set(keys("keys of run.json")) - {"error"}) == sorted(record)
    columns = (tmp_path / "metrics.tsv").read_text().splitlines()[0].split("\t")
    documented = ["epoch", "step", "lr", "train_loss", "loss", "clip_f1", "event_f1"]
    assert columns[:7] == documented
    assert all(f"`{column}`" in TEXT for column in documented)
    assert all(re.fullmatch(r"\w+\[(noise|tone)\]", column) for column in columns[7:])


def test_the_record_of_a_run_that_stopped_has_the_keys_of_the_table(tiny, tmp_path):
    config = TrainConfig(arch="small", epochs=1, steps_per_epoch=2, batch_size=(2,))
    inputs = TrainInputs((tiny.features,), tiny.weak, val_weak=tiny.weak_validation)
    codes = iter([0])  # goes on once, then stops
    with pytest.raises(StoppedError):
        train(tmp_path, inputs, config, device="cpu", stop=lambda: next(codes, 75))
    record = json.loads((tmp_path / "run.json").read_text())
    _, _, results = TEXT.partition("only where it finished")
    of_results = set(re.findall(r"`(\w+)`", results.partition("\n\n")[0]))
    assert sorted(set(keys("keys of run.json")) - {"model", *of_results}) == sorted(record)
    assert f"`{record['status']}`" in TEXT


def test_the_versions_are_those_that_are_written():
    overview = TEXT.partition("**Everywhere.**")[0]
    rows = dict(re.findall(r"^\| \[?`([^`]+)`.* \| (\d) \|$", overview, re.MULTILINE))
    assert rows == {
        "features.h5": str(layout.FORMAT_VERSION),
        "scores.h5": str(layout.FORMAT_VERSION),
        "model.safetensors": str(MODEL_VERSION),
        "sweep.json": str(runs._SWEEP_FORMAT["format_version"]),
        "NAME.part.json": str(PART_FORMAT["format_version"]),
        ".NAME.made": str(MADE_FORMAT["format_version"]),
    }


@pytest.mark.parametrize("name", EVENT_FORMATS)
def test_the_example_of_an_event_format_is_what_is_written(name):
    form = EVENT_FORMATS[name]
    assert blocks(name) == [form.text(CLIP, EVENTS, confidence=True)]


def test_the_example_of_clip_tags_is_what_is_written():
    tags = {"silent.wav": (), CLIP: ("Dog", "Air horn, truck horn")}
    assert blocks("weak") == [format_weak(tags)]


# What the examples do


@pytest.fixture(scope="module")
def python(artifacts):
    """Return the names that the Python examples leave, run in the order of the document."""
    examples = SimpleNamespace()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(artifacts)
        for code in blocks("python"):
            exec(compile(code, str(DOCUMENT), "exec"), vars(examples))
    return examples


def test_python_reads_the_features_of_a_clip(artifacts, python):
    features = open_features(artifacts / "features.h5")
    assert features.names == ["größe 1.wav", CLIP, "yard/silent.wav"]
    np.testing.assert_array_equal(python.logmel, features.clip(1), strict=True)


def test_python_reads_the_scores_of_a_recording(artifacts, python):
    scores = open_scores(artifacts / "scores.h5")
    assert tuple(python.classes) == scores.classes
    assert list(python.clip.values()) == scores.clip[1].tolist()


def test_python_maps_the_frames(artifacts, python):
    scores = open_scores(artifacts / "scores.h5")
    np.testing.assert_array_equal(python.mapped, scores.frame[:], strict=True)


@pytest.mark.parametrize("file", ["features.h5", "scores.h5"])
def test_the_digests_of_python_see_every_data_set(artifacts, python, tmp_path, file):
    changed = tmp_path / file
    frames = {"features.h5": "/features/logmel", "scores.h5": "/scores/frame"}[file]
    for row in table(f"data sets of {file}"):
        (name,) = names(row["data"])
        shutil.copy(artifacts / file, changed)
        with h5py.File(changed) as store:
            offset = store[name].id.get_offset()
        content = bytearray(changed.read_bytes())
        content[offset] ^= 1
        changed.write_bytes(content)
        with h5py.File(changed) as store:
            stored = store[frames.rpartition("/")[0]]["sha256"].asstr()[()].tolist()
            whole = python.content_digest(store) == store.attrs["sha256"].decode()
            assert whole == (name == frames)
            assert (python.block_digests(store[frames][()]) == stored) == (
                name not in (frames, f"{frames.rpartition('/')[0]}/sha256")
            )


def test_frames_have_a_digest_for_each_block(python):
    array = np.arange(25, dtype="|u1")
    assert len(python.block_digests(array, 10)) == 3
    assert python.block_digests(array, 10)[2] == python.block_digests(array[20:])[0]
    assert python.block_digests(array[:20], 10) == python.block_digests(array, 10)[:2]
    assert python.block_digests(array[:0]) == []


def test_python_writes_scores_that_sedtool_reads(artifacts, python):
    scores = open_scores(artifacts / "other.h5")
    assert scores.classes == ("dog", "cat")
    (clip,) = clip_scores(scores)
    (event,) = decode_clip(clip, scores.classes, scores.frame_rate, scores.decoding)
    assert (event.name, event.onset, event.offset, event.label) == (CLIP, 0.1, 0.4, "dog")
    (artifacts / "dog.tsv").write_text(format_events([event]))
    inputs = EvaluateInputs(artifacts / "dog.tsv", artifacts / "other.h5")
    assert evaluate_files(inputs, EvaluationConfig()).event.micro.f1 == 1
    with pytest.raises(ArtifactError, match="made by a model with other weights"):
        infer(artifacts / "model.safetensors", [artifacts / "other.h5"], emit=print)


def test_python_reads_a_model(artifacts, python):
    model = load_model(artifacts / "model.safetensors")
    assert tuple(python.model["classes"]) == model.classes
    weights = model.detector.state_dict()
    assert set(python.tensors) == {*weights, "trained_on"}
    for name, values in weights.items():
        np.testing.assert_array_equal(python.tensors[name], values.numpy(), strict=True)
    other = {**python.tensors, "mean": python.tensors["mean"] + 1}
    assert python.weights_digest(python.model, other) != model.weights_sha256


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def require(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def first_numbers(artifacts: Path, index: int) -> list[str]:
    """Return the lowest band of the first frames of a clip."""
    features = open_features(artifacts / "features.h5")
    return [f"{value:.6f}" for value in features.clip(index)[:3, 0].astype(float)]


def test_r_reads_features_and_scores(artifacts):
    require("Rscript")
    found = subprocess.run(["Rscript", "-e", "library(rhdf5)"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("the R package rhdf5 is not installed")
    (code,) = blocks("r")
    lines = run(["Rscript", "-e", code], artifacts).splitlines()
    features, scores = (
        open_features(artifacts / "features.h5"),
        open_scores(artifacts / "scores.h5"),
    )
    assert lines[0].split() == ["64", str(features.frames[1])]
    assert lines[1].split() == first_numbers(artifacts, 1)
    pairs = zip(scores.classes, scores.clip[1], strict=True)
    assert lines[2:4] == [f"{label}\t{value:.6f}" for label, value in pairs]
    assert float(lines[4]) == scores.frame_rate


def test_octave_reads_features(artifacts):
    require("octave-cli", "h5dump")
    (code,) = blocks("octave")
    lines = run(["octave-cli", "--norc", "--eval", code], artifacts).splitlines()
    features = open_features(artifacts / "features.h5")
    assert lines == [f"64 {features.frames[1]}", *first_numbers(artifacts, 1)]


def test_c_reads_features(artifacts, tmp_path):
    require("h5cc")
    (code,) = blocks("c")
    (tmp_path / "read.c").write_text(code)
    run(["h5cc", "-o", "read", "read.c"], tmp_path)
    lines = run([str(tmp_path / "read")], artifacts).splitlines()
    features = open_features(artifacts / "features.h5")
    assert lines[:4] == [f"{len(features.data)} 64", *first_numbers(artifacts, 0)]
    assert lines[4] == f"offset {features.data.offset}"


def test_javascript_reads_a_model(artifacts):
    require("node")
    (code,) = blocks("js")
    lines = run(["node", "-e", code], artifacts).splitlines()
    assert lines == ["Dog", "Air horn, truck horn", "64 -5.000000"]


def test_a_shell_reads_hdf5(artifacts):
    require("h5dump")
    lines = run(["sh", "-c", blocks("sh")[0]], artifacts).splitlines()
    scores, features = (
        open_scores(artifacts / "scores.h5"),
        open_features(artifacts / "features.h5"),
    )
    assert f"(0): {scores.frame_rate:g}" in [line.strip() for line in lines]
    assert ", ".join(f"{seconds:g}" for seconds in scores.duration) in map(str.strip, lines)
    with h5py.File(features.path) as store:
        (digest,) = store["/features/sha256"].asstr()[()].tolist()
    assert f"{digest}  -" in lines  # of sha256sum
    assert f'"{digest}"' in map(str.strip, lines)  # as stored


def test_a_shell_reads_a_model(artifacts):
    require("jq")
    lines = run(["sh", "-c", blocks("sh")[1]], artifacts).splitlines()
    model = load_model(artifacts / "model.safetensors")
    assert lines[:2] == list(model.classes)
    assert tuple(map(float, lines[2:])) == model.decoding.thresholds


def test_a_shell_sums_events(artifacts):
    require("awk", "jq")
    rows = [line.split("\t") for line in run(["sh", "-c", blocks("sh")[2]], artifacts).splitlines()]
    expected: dict[str, float] = {}
    for event in read_events(artifacts / "events.tsv").events:
        expected[event.label] = expected.get(event.label, 0) + event.offset - event.onset
    assert expected
    sums = [(label, pytest.approx(total, abs=2e-3)) for label, total in sorted(expected.items())]
    assert [(label, float(total)) for label, total in rows] == sums * 2


def test_a_shell_makes_a_table_of_label_studio(tmp_path):
    value = {"start": 0.2, "end": 0.9, "labels": ["Dog"]}
    regions = [{"value": value, "type": "labels"}, {"value": {"choices": ["x"]}}]
    tasks = [{"data": {"audio": "/upload/1/a.wav"}, "annotations": [{"result": regions}]}]
    (tmp_path / "labelstudio.json").write_text(json.dumps(tasks))
    run(["sh", "-c", blocks("sh")[3]], tmp_path)
    assert read_events(tmp_path / "labels.tsv").events == [Event("a.wav", 0.2, 0.9, "Dog")]


def test_a_shell_reads_metrics(artifacts):
    require("jq")
    first, *rows = run(["sh", "-c", blocks("sh")[4]], artifacts).splitlines()
    event = json.loads((artifacts / "metrics.json").read_text())["event"]
    assert float(first) == event["macro"]["f1"]
    assert {row.split("\t")[0]: int(row.split("\t")[2]) for row in rows} == {
        label: scores["tp"] for label, scores in event["classes"].items()
    }
