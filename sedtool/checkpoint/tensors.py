"""What models and training states share: tensors under one JSON table, as safetensors.

Such a file is never a pickle, so it runs nothing. It may be a stranger's all the same: nothing it
declares is believed before it is checked, and it takes no more memory than its own size.
"""

import hashlib
import json
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from sedtool.errors import ArtifactError

MOST_HEADER_BYTES = 2**23


def to_bytes(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """Return a file of tensors, with a table for JSON in its metadata under "sedtool".

    The table keeps its order: that of losses is the order of their columns in metrics.tsv.
    """
    text = json.dumps(header, allow_nan=False)
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(on_cpu, {"sedtool": text})


def read_header(path: Path, size: int) -> dict[str, Any]:
    """Return the table that `to_bytes` was given, from a file of `size` bytes.

    Raises
    ------
    ValueError, RecursionError
        If the file has none, or one that readers could understand in different ways.
    """
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size, MOST_HEADER_BYTES):
            raise ValueError(f"a header of {length} bytes")
        header = _strict_json(stream.read(length))
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise ValueError("a header without metadata")
    table = _strict_json(metadata.get("sedtool", ""))
    if not isinstance(table, dict):
        raise ValueError("metadata that is no table")
    return table


def _strict_json(text: str | bytes) -> Any:
    """Read JSON without what readers disagree on: NaN, infinities and repeated keys."""

    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for key, value in pairs:
            if key in table:
                raise ValueError(f"{key[:80]!a} stands twice in a table")
            table[key] = value
        return table

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not a number in JSON")

    return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)


def regular_size(path: Path, most: int) -> int:
    """Return the bytes of a file that may be read whole; a FIFO would block whoever opens it.

    Raises
    ------
    ArtifactError
        If it is not there, not a regular file, or of more than `most` bytes.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactError(f"{path} is not a regular file")
    if status.st_size > most:
        raise ArtifactError(f"{path} is larger than {most // 2**20} MiB, the most that is read")
    return status.st_size


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
