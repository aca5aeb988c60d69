"""Digests of files and of values in memory; and the first look at a file that is read whole."""

import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sedtool.errors import ArtifactError

__all__ = ["digest", "file_sha256", "regular_size"]


def digest(value: Any) -> str:
    """Return the sha256 of nested dicts, lists, tensors, numbers and text, by content."""
    sha256 = hashlib.sha256()
    _feed(sha256, value)
    return sha256.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def regular_size(path: Path, most: int) -> int:
    """Return the bytes of a file that may be read whole; a FIFO would block whoever opens it."""
    try:
        status = path.stat()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactError(f"{path} is not a regular file")
    if status.st_size > most:
        raise ArtifactError(f"{path} is larger than {most // 2**20} MiB, the most that is read")
    return status.st_size


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
