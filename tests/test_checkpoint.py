"""Model and state files: what is saved is loaded, and nothing else is."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sedtool import checkpoint
from sedtool.checkpoint import (
    Model,
    digest,
    empty_detector,
    load_model,
    load_state,
    save_model,
    save_state,
)
from sedtool.config import DecodingConfig, PoolingConfig, parse_architecture
from sedtool.config.base import setting
from sedtool.errors import ArtifactError, ConfigError
from sedtool.inference import InferOutputs, infer
from support.models import new_model

EARLIER_MODEL = Path(__file__).parent / "golden/models/format2.safetensors"


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, new_model())
    return path


@pytest.mark.parametrize("pooling", ["power:init=2", "attention", "linear", "cap:max=3", "max"])
def test_a_model_is_read_back_whole(tmp_path, pooling):
    model, path = new_model(pooling), tmp_path / "model.safetensors"
    save_model(path, model)
    back = load_model(path)
    assert digest(back.detector.state_dict()) == digest(model.detector.state_dict())
    assert back.weights_sha256 == model.weights_sha256
    for name in ("classes", "features", "architecture", "pooling", "window", "decoding", "trained"):
        assert getattr(back, name) == getattr(model, name)
    assert np.array_equal(back.trained_on, model.trained_on)
    assert not back.detector.training
    features, lengths = torch.zeros(1, 40, 64), torch.tensor([40])
    assert torch.equal(back.detector(features, lengths)[2], model.detector(features, lengths)[2])


def test_other_programs_can_read_weights_and_settings(saved):
    with safe_open(saved, framework="np") as file:
        header = json.loads(file.metadata()["sedtool"])
        assert header["classes"] == ["Dog", "Air horn, truck horn"]
        assert header["pooling"]["learned"]["n"] == [2.0, 2.0]
        assert file.get_tensor("pooling.n").tolist() == [2.0, 2.0]


def test_decoding_settings_do_not_change_the_digest_of_the_weights(saved):
    model = load_model(saved)
    before = model.weights_sha256
    model.decoding = DecodingConfig.default(2)
    assert model.weights_sha256 == before
    model.detector.mean += 1
    assert model.weights_sha256 != before


@pytest.mark.parametrize(
    "change",
    [
        lambda m: dataclasses.replace(m, pooling=PoolingConfig("linear")),
        lambda m: dataclasses.replace(m, pooling=PoolingConfig("max")),
        lambda m: dataclasses.replace(m, pooling=PoolingConfig("hierarchical", {"base": "max"})),
        lambda m: dataclasses.replace(m, pooling=PoolingConfig("hierarchical", {"levels": "2x2"})),
        lambda m: with_architecture(m, norm_eps=1e-3),
        lambda m: with_architecture(m, pools=((2, 2), (2, 2), (1, 2))),
        lambda m: dataclasses.replace(m, classes=("Dog", "Cat")),
        lambda m: dataclasses.replace(m, features=m.features.with_overrides(fmin=50.0)),
    ],
)
def test_equal_weights_of_another_detector_have_another_digest(change):
    """Clip scores of linear and of max pooling differ, and so must their digests."""
    model = new_model("average")
    other = change(model)
    assert other.detector is model.detector
    assert other.weights_sha256 != model.weights_sha256


def with_architecture(model, **changes):
    architecture = dataclasses.replace(model.architecture, **changes)
    return dataclasses.replace(model, architecture=architecture)


def test_a_setting_that_a_later_version_adds_changes_no_digest(monkeypatch):
    """The network of a model without the setting is that of its default."""
    model = new_model()
    later = dataclasses.make_dataclass(
        "ArchitectureConfig",
        [("gating", bool, setting(False, "Whether there are gates.", added=True))],
        bases=(type(model.architecture),),
        frozen=True,
    )
    values = vars(model.architecture)
    same, other = (
        dataclasses.replace(model, architecture=later(**values, gating=g)) for g in (0, 1)
    )
    assert same.weights_sha256 == model.weights_sha256
    assert other.weights_sha256 != model.weights_sha256


def test_scores_of_equal_weights_and_another_pooling_are_refused(tmp_path, tiny):
    for pooling in ("linear", "max"):
        save_model(tmp_path / pooling, new_model(pooling))
    scores = tmp_path / "scores.h5"
    infer(tmp_path / "linear", [tiny.features], outputs=InferOutputs(scores=scores))
    with pytest.raises(ArtifactError, match=r"scores\.h5 was made by a model with other weights"):
        infer(tmp_path / "max", [scores], emit=print)


def test_a_model_of_format_2_is_read_and_written_as_format_3(tmp_path):
    old = load_model(EARLIER_MODEL)
    save_model(tmp_path / "new", old)
    new = load_model(tmp_path / "new")
    assert digest(new.detector.state_dict()) == digest(old.detector.state_dict())
    assert new.weights_sha256 == old.weights_sha256


def test_a_changed_weight_of_a_model_of_format_2_is_noticed(tmp_path):
    data = bytearray(EARLIER_MODEL.read_bytes())
    data[-1000] ^= 0x10
    (tmp_path / "old").write_bytes(data)
    with pytest.raises(ArtifactError, match="old is damaged"):
        load_model(tmp_path / "old")


def test_scores_that_an_earlier_version_made_are_refused_with_what_to_do(
    tmp_path, tiny, monkeypatch
):
    """Their digest could be of a model with another pooling as well."""
    path, scores = tmp_path / "model.safetensors", tmp_path / "scores.h5"
    save_model(path, new_model())
    with monkeypatch.context() as patch:
        patch.setattr(Model, "weights_sha256", Model.weights_sha256_of_format_2)
        save_model(tmp_path / "old", new_model())
        infer(tmp_path / "old", [tiny.features], outputs=InferOutputs(scores=scores))
    with pytest.raises(ArtifactError, match=r"made before .* score the clips again"):
        infer(path, [scores], emit=print)


def test_a_network_of_400_mib_fits_into_a_model_file():
    network = parse_architecture("dcase2019:gru-units=2048")
    size = sum(
        t.nbytes for t in empty_detector(network, PoolingConfig(), 64, 10).state_dict().values()
    )
    assert 390 * 2**20 < size < checkpoint.MOST_MODEL


@pytest.mark.parametrize("arch", ["dcase2019", "dcase2019-baseline", "crnn7:fdy=4"])
def test_shapes_of_a_network_take_none_of_what_torch_compiles_with(arch):
    """Loading that took longer than scoring a short clip."""
    code = f"""
import sys
from sedtool.checkpoint import empty_detector
from sedtool.config import PoolingConfig, parse_architecture
before = set(sys.modules)
empty_detector(parse_architecture({arch!r}), PoolingConfig("attention-classes"), 64, 10)
print(len(sys.modules.keys() - before))
"""
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(made.stdout) < 50


def test_a_network_is_made_exactly_if_its_file_is_read(saved, monkeypatch):
    model = new_model()
    parts = (model.architecture, model.pooling, 64, 2)
    size = sum(tensor.nbytes for tensor in model.detector.state_dict().values())
    monkeypatch.setattr(checkpoint, "MOST_WEIGHTS", size)
    empty_detector(*parts)
    load_model(saved)
    monkeypatch.setattr(checkpoint, "MOST_WEIGHTS", size - 1)
    with pytest.raises(ConfigError, match="the weights of the network take 1 MiB"):
        empty_detector(*parts)
    with pytest.raises(ArtifactError, match="the weights of the network take 1 MiB"):
        load_model(saved)


def test_equal_models_are_equal_files(saved, tmp_path):
    save_model(tmp_path / "again", load_model(saved))
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


def test_a_changed_weight_byte_is_noticed(saved):
    data = bytearray(saved.read_bytes())
    for position in np.random.default_rng(0).integers(len(data) // 2, len(data), 20):
        changed = bytearray(data)
        changed[position] ^= 0x10
        saved.write_bytes(changed)
        with pytest.raises(ArtifactError, match=r"model\.safetensors"):
            load_model(saved)


def rewrite(path, change_header=lambda header: None, change_tensors=lambda tensors: None):
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["sedtool"])
    tensors = load_file(path)
    change_header(header)
    change_tensors(tensors)
    save_file(tensors, path, {"sedtool": json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(format_version=9), "has model format 9; this sedtool reads 3"),
        (
            lambda h: h.update(format="other"),
            r"is no model file \(it is safetensors weights of another program",
        ),
        (lambda h: h.pop("classes"), "header cannot be used"),
        (lambda h: h.update(classes=["Dog"]), "thresholds are not one for each"),
        (lambda h: h["architecture"].update(gru_units=128), "and the model's is"),
        (lambda h: h["architecture"].update(extra=1), "settings cannot be read"),
        (lambda h: h["features"].update(n_mels=-1), "settings cannot be read"),
        (lambda h: h["pooling"].update(name="zebra"), "unknown pooling 'zebra'"),
        (lambda h: h["decoding"].update(thresholds=[2.0, 0.1]), "settings cannot be read"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(saved, change, message):
    rewrite(saved, change)
    with pytest.raises(ArtifactError, match=message):
        load_model(saved)


def test_weights_that_are_missing_or_not_finite_are_refused(saved):
    rewrite(saved, change_tensors=lambda t: t.pop("mean"))
    with pytest.raises(ArtifactError, match="weight 'mean' is missing"):
        load_model(saved)


@pytest.mark.parametrize("name", ["mean", "std", "crnn.classify.bias", "pooling.n"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_none_is_neither_saved_nor_loaded(saved, name, value):
    model, before = new_model(), saved.read_bytes()
    model.detector.state_dict()[name].view(-1)[0] = value
    with pytest.raises(ArtifactError, match=f"weight {name} is not finite"):
        save_model(saved, model)
    assert saved.read_bytes() == before
    rewrite(saved, change_tensors=lambda t: t[name].view(-1)[0].fill_(value))
    with pytest.raises(ArtifactError, match=f"weight {name} is not finite"):
        load_model(saved)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100, b"\x80\x04K\x01."])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="is no model file"):
        load_model(path)


def test_features_in_the_place_of_a_model_are_named(tiny):
    with pytest.raises(ArtifactError, match=r"features of sedtool extract; the model comes first"):
        load_model(tiny.features)


STATE = {
    "step": 3,
    "sums": {"loss": 0.1, "a": 1e-300},
    "tensors": {"a": torch.arange(3.0), "n": torch.tensor(5), "rows": torch.zeros(0, 2).double()},
}


def test_a_state_is_read_back(tmp_path):
    save_state(tmp_path / "last.pt", STATE)
    back = load_state(tmp_path / "last.pt")
    assert digest(back) == digest(STATE)
    assert list(back["sums"]) == ["loss", "a"]


def test_a_changed_byte_of_a_state_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "last.pt"
    save_state(path, STATE)
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 0x10
        path.write_bytes(changed)
        try:
            assert digest(load_state(path)) == digest(STATE)
        except ArtifactError as error:
            assert "last.pt" in str(error)


def test_a_state_that_would_run_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"state": Harmful(), "sha256": ""}, tmp_path / "last.pt")
    with pytest.raises(ArtifactError, match="cannot be read as a training state"):
        load_state(tmp_path / "last.pt")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"b": 1}),
        ([1, 2], [2, 1]),
        (torch.zeros(2), torch.zeros(1, 2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        ({"a": "1"}, {"a": 1}),
        ([[1], [2]], [[1, 2]]),
    ],
)
def test_digests_differ_where_values_do(one, other):
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


def test_the_length_of_the_header_changes_no_bit_of_a_score(tmp_path):
    """Weights in a file are aligned as its header happens to end; matrix products may notice."""
    features, lengths = torch.rand(1, 400, 64), torch.tensor([400])
    kinds = set()
    for length in range(0, 64, 8):
        model = new_model()
        model.tuned = {"files": "x" * length}
        save_model(tmp_path / "m", model)
        with torch.inference_mode():
            logits = load_model(tmp_path / "m").detector(features, lengths)[0]
        kinds.add(logits.numpy().tobytes())
    assert len(kinds) == 1


def test_a_file_that_is_cut_short_after_it_was_read_changes_nothing(tmp_path, saved):
    path = tmp_path / "last.pt"
    save_state(path, STATE)
    model, state = load_model(saved), load_state(path)
    before = model.weights_sha256, digest(state)
    for file in (saved, path):
        os.truncate(file, 0)
    assert (model.weights_sha256, digest(state)) == before
