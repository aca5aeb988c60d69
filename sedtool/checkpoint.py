"""model.safetensors and last.pt, saved and loaded as one.

Both are safetensors with a JSON table in the header, never a pickle, so that reading them runs
nothing. They may be a stranger's all the same: nothing that they declare is believed before it is
checked, and what they may take of memory is bounded. They are read, not mapped: a process that
touches what is mapped of a file that was cut short ends on the spot.

``model.safetensors`` holds the weights and everything that `infer` needs. What scores depend on
and the decoding settings are hashed apart: tuning changes what a model decides, not what it is.
``last.pt`` holds what resuming needs, and its own digest. Earlier states were pickles in an archive
of torch. They are refused: what that lets through takes memory or time on a file's word, and its
layout is torch's to change.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sedtool import __version__
from sedtool.atomic import open_atomic, resource_errors, write_bytes
from sedtool.config import (
    ArchitectureConfig,
    DecodingConfig,
    FeatureConfig,
    PoolingConfig,
    from_json,
)
from sedtool.config.base import stated
from sedtool.crnn import Detector, Ensemble, most_values
from sedtool.errors import ArtifactError, ConfigError, LabelError
from sedtool.file_kinds import kind_of_file
from sedtool.labels import Vocabulary
from sedtool.plugins import needed, require_needed
from sedtool.text import brief, is_writable, strict_json

__all__ = [
    "Model",
    "checked_classes",
    "digest",
    "empty_detector",
    "load_model",
    "load_state",
    "read_header",
    "require_finite",
    "save_model",
    "save_state",
    "source_tags",
]

MODEL_FORMAT, MODEL_VERSION = "sedtool-model", 3
STATE_FORMAT, STATE_VERSION = "sedtool-state", 1
MOST_HEADER = 2**23  # bytes
MOST_WEIGHTS = 7 * 2**26  # bytes, 448 MiB: reading takes thrice that, and under 1.5 GB of memory
MOST_MODEL = MOST_WEIGHTS + 2**25  # of a file, which has a header and the tags of clips, too
# A network, its teacher, and two numbers a weight of the optimiser; and the rows of all epochs.
MOST_STATE = 4 * MOST_WEIGHTS + 2**28
MOST_VALUES = 2**18  # that a convolutional block makes of a frame
MOST_MEMBERS = 64  # of an ensemble
MOST_WINDOW, MOST_FRAMES = 3600.0, 150_000  # seconds and feature frames of a scoring window

# What a header that makes no sense provokes.
_BUILTIN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError)
_UNUSABLE = (*_BUILTIN, ConfigError, LabelError)


# Models


@dataclass
class Model:
    """A trained detector, or an ensemble of them, with all that is needed to use it."""

    network: Detector | Ensemble
    classes: tuple[str, ...]
    features: FeatureConfig
    architecture: ArchitectureConfig
    pooling: PoolingConfig
    window: float  # seconds; longer clips are scored in windows of this length
    decoding: DecodingConfig
    trained: dict[str, Any] = field(default_factory=dict)  # seed, epoch, scores, …
    tuned: dict[str, Any] = field(default_factory=dict)  # what the decoding settings were fitted on
    trained_on: np.ndarray = field(default_factory=lambda: source_tags([]))  # uint8 (clips, 8)
    others: tuple[tuple[ArchitectureConfig, PoolingConfig], ...] = ()  # members after the first

    @property
    def frame_rate(self) -> float:
        """Return output frames a second."""
        return self.features.frame_rate / self.architecture.time_pooling

    @property
    def weights_sha256(self) -> str:
        """Return the digest of all that scores depend on; decoding settings are no part of it."""
        return digest(self.scoring())

    @property
    def weights_sha256_of_format_2(self) -> str:
        """Return what stood for it in older files: without the network and the pooling."""
        parts = self.scoring()
        return digest({key: parts[key] for key in ("weights", "classes", "features")})

    @property
    def detector(self) -> Detector:
        """Return the one network that it is; an ensemble, which is several, is a ConfigError."""
        if isinstance(self.network, Ensemble):
            raise ConfigError("an ensemble; give one of the models that it was made of")
        return self.network

    @property
    def members(self) -> tuple[tuple[ArchitectureConfig, PoolingConfig], ...]:
        """Return what networks it is made of: one, or those of an ensemble."""
        return ((self.architecture, self.pooling), *self.others)

    def learned(self) -> dict[str, list[float]]:
        """Return what the pooling learned of each class, by name; of an ensemble, nothing."""
        return {} if self.others else self.detector.pooling.learned()

    def scoring(self) -> dict[str, Any]:
        """Return all that scores depend on."""
        others = [{"architecture": stated(a), "pooling": stated(p)} for a, p in self.others]
        return {
            "weights": self.network.state_dict(),
            "classes": list(self.classes),
            "features": stated(self.features),
            "architecture": stated(self.architecture),
            "pooling": stated(self.pooling),
            **({"others": others} if others else {}),
        }


def source_tags(digests: list[str]) -> np.ndarray:
    """Return the first 8 bytes of each audio digest, sorted, as uint8 (clips, 8).

    A model carries those of its training clips, so that `tune` can tell what it was trained on,
    under whatever name.
    """
    tags = sorted({bytes.fromhex(text)[:8] for text in digests})
    return np.frombuffer(b"".join(tags), np.uint8).reshape(-1, 8)


def empty_detector(
    architecture: ArchitectureConfig, pooling: PoolingConfig, n_mels: int, n_classes: int
) -> Detector:
    """Return a detector whose weights have shapes but neither values nor memory.

    Raises
    ------
    ConfigError
        If it is too large for a model file.
    """
    with torch.device("meta"):  # draws no random numbers either
        detector = Detector(architecture, pooling, n_mels, n_classes)
    values = most_values(architecture, n_mels)
    if values > MOST_VALUES:
        raise ConfigError(f"a block makes {values} values of a frame, more than {MOST_VALUES}")
    size = sum(tensor.nbytes for tensor in detector.state_dict().values())
    if size > MOST_WEIGHTS:
        raise ConfigError(
            f"the weights of the network take {size / 2**20:.0f} MiB, and a model file holds "
            f"{MOST_WEIGHTS / 2**20:.0f} MiB of them; take fewer gru-units or gru-layers, or "
            "another network (--arch)"
        )
    return detector


def save_model(path: Path, model: Model) -> None:
    """Write a model file.

    Raises
    ------
    ArtifactError
        If a weight is not finite; what stood at `path` is untouched.
    """
    require_finite(model.network, str(path))
    settings = model.scoring()
    weights = settings.pop("weights")
    settings["pooling"] |= {"learned": model.learned()}
    header = {
        "format": MODEL_FORMAT,
        "format_version": MODEL_VERSION,
        "sedtool_version": __version__,
        **settings,
        "window": model.window,
        "decoding": stated(model.decoding),
        "tuned": model.tuned,
        "trained": model.trained,
        "weights_sha256": model.weights_sha256,
    }
    if plugins := needed(
        [name for a, p in model.members for name in (*p.names, ("block", a.block))]
    ):
        header["plugins"] = plugins
    header["sha256"] = _digest_of_all(header, model.trained_on)
    trained_on = torch.from_numpy(model.trained_on.copy())  # it may be read-only
    write_bytes(path, _to_bytes(weights | {"trained_on": trained_on}, header))


def _digest_of_all(header: dict[str, Any], trained_on: np.ndarray) -> str:
    """Return the sha256 of a whole model: its header, which has that of the weights, and the tags.

    Apart from `weights_sha256`, so that tuning changes this one alone.
    """
    rest = {key: value for key, value in header.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True).encode()
    return hashlib.sha256(text + trained_on.tobytes()).hexdigest()


def require_finite(detector: Detector | Ensemble, where: str) -> None:
    """Raise an ArtifactError that names the first weight or buffer that cannot be used."""
    for name, tensor in detector.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ArtifactError(f"{where}: weight {name} is not finite")
        least = {"std": 1e-30, "running_var": 0.0}.get(name.rpartition(".")[2])
        if least is not None and bool((tensor < least).any()):
            raise ArtifactError(f"{where}: weight {name} is below {least:g}")


def load_model(path: Path) -> Model:
    """Read and check a model file; the detector is in evaluation mode on the CPU.

    Raises
    ------
    ArtifactError
        If the file is no sedtool model, from a newer version, damaged, or its weights do not fit
        its own description.
    """
    try:
        size = _size(path, MOST_MODEL)
        header, tensors = read_header(path), load(_read(path, size))
    except (SafetensorError, OSError, *_BUILTIN) as error:
        raise ArtifactError(
            f"{path} is no model file ({_mistaken(path) or brief(error)})"
        ) from error
    return _read_model(path, header, tensors)


def _mistaken(path: Path) -> str:
    """Return what a file is that was taken for a model; nothing if it seems to be one."""
    kind = kind_of_file(path)
    if kind is None or kind.what == "a model of sedtool train":
        return ""
    is_input = kind.is_media or kind.what.endswith((" extract", " infer"))
    return f"{kind}" + "; the model comes first" * is_input


def _read_model(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
    """Make the model of a file's table and tensors."""
    try:
        if header["format"] != MODEL_FORMAT:
            raise ArtifactError(f"{path} is no model file ({_mistaken(path)})")
        version = header["format_version"]
        if version not in (2, MODEL_VERSION):
            raise ArtifactError(
                f"{path} has model format {version}; this sedtool reads {MODEL_VERSION}"
            )
        model = _rebuild(path, header, tensors)
        weights, whole = header["weights_sha256"], header["sha256"]
    except _UNUSABLE as error:
        what = f"{path}: the model's header cannot be used ({brief(error)})"
        raise ArtifactError(what) from error
    mine = model.weights_sha256_of_format_2 if version == 2 else model.weights_sha256
    if mine != weights:
        raise ArtifactError(f"{path} is damaged: its weights are not those that were saved")
    if _digest_of_all(header, model.trained_on) != whole:
        raise ArtifactError(f"{path} is damaged: its header is not what was saved")
    return model


def _rebuild(path: Path, header: dict[str, Any], stored: dict[str, Tensor]) -> Model:
    """Make the model that `header` describes and fill it with the tensors that are stored."""

    def part(cls: Any, key: str, of: dict[str, Any] = header) -> Any:
        return from_json(cls, json.dumps(of[key]), str(path))

    require_needed(header.get("plugins", {}), path)
    features = part(FeatureConfig, "features")
    entries = [header, *header.get("others", [])]
    if len(entries) > MOST_MEMBERS:
        raise ValueError(f"an ensemble of {len(entries)} networks")
    members = [
        (
            part(ArchitectureConfig, "architecture", entry),
            PoolingConfig(entry["pooling"]["name"], entry["pooling"]["options"]),
        )
        for entry in entries
    ]
    (architecture, pooling), *others = members
    if len({of.time_pooling for of, _ in members}) > 1:
        raise ValueError("networks of an ensemble that differ in their output frames")
    classes = checked_classes(header["classes"])
    decoding = part(DecodingConfig, "decoding")
    if len(decoding.thresholds) != len(classes):
        raise ArtifactError(f"{path}: thresholds are not one for each of {len(classes)} classes")
    window, trained, tuned = float(header["window"]), header["trained"], header["tuned"]
    if not 0 < window <= MOST_WINDOW or window * features.frame_rate > MOST_FRAMES:
        raise ValueError(f"a window of {window} s, {window * features.frame_rate:.0f} frames")
    decoding.require_rate(features.frame_rate / architecture.time_pooling)
    if not (isinstance(trained, dict) and isinstance(tuned, dict)):
        raise ValueError("'trained' and 'tuned' must be tables")
    if type(epoch := trained.get("epoch", 0)) is not int or not 0 <= epoch <= 10**6:
        raise ValueError("the epoch it was trained for is no number up to a million")
    if trained.get("network") not in (None, "student", "teacher"):
        raise ValueError("it is neither the student nor the teacher of a pair")
    empty = [empty_detector(*member, features.n_mels, len(classes)) for member in members]
    detector = Ensemble(empty) if others else empty[0]
    tensors = _take_tensors(path, stored, detector)
    trained_on = tensors.pop("trained_on").numpy()
    detector.load_state_dict(tensors, assign=True)
    detector.use_fast_layout()
    require_finite(detector, str(path))
    description = (classes, features, architecture, pooling, window, decoding, trained, tuned)
    return Model(detector.eval(), *description, trained_on, tuple(others))


def checked_classes(names: Any) -> tuple[str, ...]:
    """Return the class list of a header: what label files could name."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("the class list is no list of names")
    for name in names:
        if not is_writable(name):
            raise ValueError(f"class name {name[:80]!a} has a control character")
    return Vocabulary(names).classes


def _take_tensors(
    path: Path, stored: dict[str, Tensor], detector: Detector | Ensemble
) -> dict[str, Tensor]:
    """Take the tensors of a file if they are those of `detector`, by name, shape and type.

    They are copied to where torch places tensors: a matrix product may differ in its last bit with
    the alignment of its operands.
    """
    expected = detector.state_dict()
    if wrong := stored.keys() ^ {*expected, "trained_on"}:
        name = min(wrong)
        what = "is not one of the model's" if name in stored else "is missing"
        raise ArtifactError(f"{path}: weight {name[:80]!a} {what}")
    n_clips = stored["trained_on"].shape[:1]
    expected["trained_on"] = torch.empty(*n_clips, 8, dtype=torch.uint8, device="meta")
    tensors: dict[str, Tensor] = {}
    for name, tensor in expected.items():
        found = stored.pop(name)
        if (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
            raise ArtifactError(
                f"{path}: weight {name} is {found.dtype} of shape {list(found.shape)}, and the "
                f"model's is {tensor.dtype} of shape {list(tensor.shape)}"
            )
        tensors[name] = found.clone()
    return tensors


# Training states


def save_state(path: Path, state: dict[str, Any], previous: Path | None = None) -> None:
    """Write a training state: a table for JSON, with tensors by name in its "tensors".

    The state that stands at `path` becomes `previous`, once the new one is on the disk: at every
    moment a whole state stands at one of the two.
    """
    header = {
        "format": STATE_FORMAT,
        "format_version": STATE_VERSION,
        "sedtool_version": __version__,
        "sha256": digest(state),
        "state": {name: value for name, value in state.items() if name != "tensors"},
    }
    content = _to_bytes(state["tensors"], header)
    with open_atomic(path) as stream:
        stream.write(content)
        if previous is not None and path.exists():
            stream.flush()
            with resource_errors(path):
                os.fsync(stream.fileno())
                path.replace(previous)


def load_state(path: Path) -> dict[str, Any]:
    """Read a training state.

    Raises
    ------
    ArtifactError
        If the file cannot be read, or is not what was saved.
    """
    try:
        size = _size(path, MOST_STATE)
        if _read(path, 4) == b"PK\x03\x04":
            what = "an earlier version of sedtool wrote it, which alone can resume this run"
            raise ValueError(what)
        header = read_header(path)
        if (header["format"], header["format_version"]) != (STATE_FORMAT, STATE_VERSION):
            raise ValueError(f"it is {header['format']} {header['format_version']}")
        state: dict[str, Any] = {**header["state"], "tensors": load(_read(path, size))}
        intact = digest(state) == header["sha256"]
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
        what = f"{path} cannot be read as a training state ({brief(error)})"
        raise ArtifactError(what) from error
    if not intact:
        raise ArtifactError(f"{path} is damaged: it is not what was saved")
    return state


# Tensors under one JSON table


def _to_bytes(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """Return a file of tensors, with a table for JSON in its metadata under "sedtool".

    The table keeps its order: that of losses is the order of their columns in metrics.tsv.
    """
    text = json.dumps(header, allow_nan=False)
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(on_cpu, {"sedtool": text})


def read_header(path: Path) -> dict[str, Any]:
    """Return the table of a model or state, of which nothing else is read.

    Raises a ValueError if there is none, or one that readers could understand in different ways.
    """
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(os.fstat(stream.fileno()).st_size, MOST_HEADER):
            raise ValueError(f"a header of {length} bytes")
        header = strict_json(stream.read(length))
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise ValueError("a header without metadata")
    table = strict_json(metadata.get("sedtool", ""))
    if not isinstance(table, dict):
        raise ValueError("metadata that is no table")
    return table


def _size(path: Path, most: int) -> int:
    """Return the bytes of a file; refuse one that is not there, too large, or a FIFO."""
    try:
        status = path.stat()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactError(f"{path} is not a regular file")
    if status.st_size > most:
        raise ArtifactError(f"{path} is larger than {most // 2**20} MiB, the most that is read")
    return status.st_size


def _read(path: Path, size: int) -> bytes:
    """Read the first bytes of a file; mapped, one that is cut short would end the process."""
    with path.open("rb") as stream:
        return stream.read(size)


def digest(value: Any) -> str:
    """Return the sha256 of nested dicts, lists, tensors, numbers and text, by content."""
    sha256 = hashlib.sha256()
    _feed(sha256, value)
    return sha256.hexdigest()


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
