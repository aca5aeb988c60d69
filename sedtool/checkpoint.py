"""model.safetensors and last.pt, saved and loaded as one.

``model.safetensors`` holds the weights and, as JSON in its header, everything `infer` needs. It is
never a pickle, so a stranger's model is safe to open. Weights and decoding settings are hashed
apart: tuning changes what a model decides, not what its weights are.

``last.pt`` holds what resuming needs. It loads with ``weights_only=True`` and carries its own
digest, because torch does not notice a changed byte.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from sedtool import __version__
from sedtool.atomic import write_bytes
from sedtool.config import (
    ArchitectureConfig,
    DecodingConfig,
    FeatureConfig,
    PoolingConfig,
    from_json,
)
from sedtool.crnn import Detector
from sedtool.errors import ArtifactError, ConfigError
from sedtool.store import is_hdf5

__all__ = [
    "Model",
    "digest",
    "file_sha256",
    "load_model",
    "load_state",
    "save_model",
    "save_state",
    "source_tags",
]

FORMAT, FORMAT_VERSION = "sedtool-model", 1


@dataclass
class Model:
    """A trained detector with all that is needed to use it."""

    detector: Detector
    classes: tuple[str, ...]
    features: FeatureConfig
    architecture: ArchitectureConfig
    pooling: PoolingConfig
    window: float  # seconds; longer recordings are cut into windows of this length
    decoding: DecodingConfig
    trained: dict[str, Any] = field(default_factory=dict)  # seed, epoch, scores, …
    tuned: dict[str, Any] = field(default_factory=dict)  # what the decoding settings were fitted on
    trained_on: np.ndarray = field(default_factory=lambda: source_tags([]))  # uint8 (clips, 8)

    @property
    def frame_rate(self) -> float:
        """Return output frames a second."""
        return self.features.frame_rate / self.architecture.time_pooling

    @property
    def weights_sha256(self) -> str:
        """Return the digest of weights, buffers and class list: what frame scores depend on."""
        return digest(
            {
                "weights": self.detector.state_dict(),
                "classes": list(self.classes),
                "features": dataclasses.asdict(self.features),
            }
        )


def source_tags(digests: list[str]) -> np.ndarray:
    """Return the first 8 bytes of each audio digest, sorted, as uint8 (clips, 8).

    A model carries those of its training clips, so that `tune` can tell what it was trained on,
    under whatever name.
    """
    tags = sorted({bytes.fromhex(text)[:8] for text in digests})
    return np.frombuffer(b"".join(tags), np.uint8).reshape(-1, 8)


def save_model(path: Path, model: Model) -> None:
    """Write a model file."""
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sedtool_version": __version__,
        "classes": list(model.classes),
        "features": dataclasses.asdict(model.features),
        "architecture": dataclasses.asdict(model.architecture),
        "pooling": dataclasses.asdict(model.pooling)
        | {"learned": model.detector.pooling.learned()},
        "window": model.window,
        "decoding": dataclasses.asdict(model.decoding),
        "tuned": model.tuned,
        "trained": model.trained,
        "weights_sha256": model.weights_sha256,
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.detector.state_dict().items()}
    tensors["trained_on"] = torch.from_numpy(model.trained_on.copy())
    metadata = {"sedtool": json.dumps(header, sort_keys=True)}
    write_bytes(path, to_safetensors(tensors, metadata))


def load_model(path: Path) -> Model:
    """Read and check a model file; the detector is in evaluation mode on the CPU.

    Raises
    ------
    ArtifactError
        If the file is no sedtool model, from a newer version, damaged, or its weights do not fit
        its own description.
    """
    if is_hdf5(path):
        raise ArtifactError(
            f"{path} holds features or scores and is no model; the model comes first"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(f"{path} is no model file ({error})") from error
    try:
        header = json.loads(metadata.get("sedtool", ""))
        if header["format"] != FORMAT:
            raise ArtifactError(f"{path} is a {header['format']} file, not a model")
        if header["format_version"] != FORMAT_VERSION:
            raise ArtifactError(
                f"{path} has model format {header['format_version']}; this sedtool reads "
                f"{FORMAT_VERSION}"
            )
        model = _rebuild(path, header, tensors)
    except (ValueError, KeyError, TypeError, ConfigError, RuntimeError, AttributeError) as error:
        raise ArtifactError(f"{path}: the model's header cannot be used ({error})") from error
    if model.weights_sha256 != header["weights_sha256"]:
        raise ArtifactError(f"{path} is damaged: its weights are not those that were saved")
    return model


def _rebuild(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
    """Make the model that `header` describes and fill it with `tensors`."""

    def part(cls: Any, key: str) -> Any:
        return from_json(cls, json.dumps(header[key]), str(path))

    features, architecture = (
        part(FeatureConfig, "features"),
        part(ArchitectureConfig, "architecture"),
    )
    pooling = PoolingConfig(header["pooling"]["name"], header["pooling"]["options"])
    classes = tuple(header["classes"])
    decoding = part(DecodingConfig, "decoding")
    if len(decoding.thresholds) != len(classes):
        raise ArtifactError(f"{path}: thresholds are not one for each of {len(classes)} classes")
    trained_on = tensors.pop("trained_on").numpy()
    with torch.device("meta"):  # draws no random numbers, and takes no memory on a header's word
        detector = Detector(architecture, pooling, features.n_mels, len(classes))
    detector.load_state_dict(tensors, assign=True)  # strict: every name and shape must fit
    detector.use_fast_layout()
    for name, tensor in detector.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ArtifactError(f"{path}: weight {name} is not finite")
    detector.eval()
    return Model(
        detector,
        classes,
        features,
        architecture,
        pooling,
        float(header["window"]),
        decoding,
        header["trained"],
        header["tuned"],
        trained_on,
    )


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state: nested dicts and lists of tensors, numbers and text."""
    buffer = io.BytesIO()
    torch.save({"state": state, "sha256": digest(state)}, buffer)
    write_bytes(path, buffer.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """Read a training state.

    Raises
    ------
    ArtifactError
        If the file cannot be read, or is not what was saved.
    """
    try:
        saved = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
        state: dict[str, Any] = saved["state"]
        intact = digest(state) == saved["sha256"]
    except Exception as error:  # torch.load raises whatever the bytes provoke
        raise ArtifactError(f"{path} cannot be read as a training state ({error})") from error
    if not intact:
        raise ArtifactError(f"{path} is damaged: it is not what was saved")
    return state


def digest(value: Any) -> str:
    """Return the sha256 of nested dicts, lists, tensors, numbers and text, by content."""
    sha256 = hashlib.sha256()
    _feed(sha256, value)
    return sha256.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _feed(sha256: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        array = value.detach().cpu().contiguous()
        sha256.update(f"{array.dtype}{tuple(array.shape)}".encode())
        sha256.update(array.reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        sha256.update(b"{")
        for key in sorted(value, key=str):
            sha256.update(f"{type(key).__name__} {key!r}:".encode())
            _feed(sha256, value[key])
        sha256.update(b"}")
    elif isinstance(value, list | tuple):
        sha256.update(b"[")
        for item in value:
            _feed(sha256, item)
            sha256.update(b",")
        sha256.update(b"]")
    else:
        sha256.update(f"{type(value).__name__} {value!r}".encode())
