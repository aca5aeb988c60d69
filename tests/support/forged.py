"""Artifacts whose checksums are right and whose content is not, by sedtool's own writers."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
from safetensors import safe_open
from safetensors.torch import save

from sedtool.checkpoint import digest, load_state, read_header, save_state
from sedtool.store import features, scores
from sedtool.store.layout import Frames, write_flat

Change = Callable[[Any], Any]
_WRITTEN = ("format", "format_version", "sedtool_version", "sha256")  # by the writer itself
LAYOUTS = {layout.format: layout for layout in (features._LAYOUT, scores._LAYOUT)}


def forge_flat(source: Path, target: Path, changes: Mapping[str, Any]) -> None:
    """Write a features or scores file again, with other attributes and data sets, by name.

    A change is a value, or a function of the value that is there.
    """
    with h5py.File(source) as file:
        layout = LAYOUTS[file.attrs["format"].decode()]
        values: dict[str, Any] = {k: _plain(v) for k, v in file.attrs.items() if k not in _WRITTEN}
        for name in layout.datasets():
            content = file[name][()]
            values[name] = [_plain(t) for t in content] if content.dtype.kind in "SO" else content
    for name, change in changes.items():
        values[name] = change(values[name]) if callable(change) else change
    frames = values.pop(layout.frames)
    values.pop(layout.digests)
    tables = {name: values.pop(name) for name in list(values) if name.startswith("/")}
    stored = Frames(frames.shape, frames.dtype.str, lambda: [frames.tobytes()])
    write_flat(target, layout, values, tables, stored)


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value.item()


def in_json(**changes: Any) -> Change:
    """Return a change of a JSON text: of keys, to values or by functions of values."""

    def change(text: str) -> str:
        content = json.loads(text)
        for key, value in changes.items():
            content[key] = value(content[key]) if callable(value) else value
        return json.dumps(content)

    return change


def forge_model(source: Path, target: Path, change: Callable[[dict[str, Any], dict], Any]) -> None:
    """Write a model again after a change of its header and tensors; its digests fit them."""
    header = read_header(source)
    with safe_open(source, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    weights = {name: value for name, value in tensors.items() if name != "trained_on"}
    pooling = {k: v for k, v in header["pooling"].items() if k != "learned"}
    settings = {key: header[key] for key in ("classes", "features", "architecture")}
    header["weights_sha256"] = digest({"weights": weights, "pooling": pooling, **settings})
    rest = {key: value for key, value in header.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True).encode()
    header["sha256"] = hashlib.sha256(text + tensors["trained_on"].numpy().tobytes()).hexdigest()
    target.write_bytes(save(tensors, {"sedtool": json.dumps(header)}))


def forge_state(source: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write a training state again after a change."""
    state = load_state(source)
    state["tensors"] = {name: tensor.clone() for name, tensor in state["tensors"].items()}
    change(state)
    save_state(target, state)


def put(*keys: str, value: Any) -> Callable[..., None]:
    """Return a change that sets a value deep in a table, or what a function makes of it."""

    def change(table: Any, *_: Any) -> None:
        for key in keys[:-1]:
            table = table[key]
        table[keys[-1]] = value(table[keys[-1]]) if callable(value) else value

    return change
