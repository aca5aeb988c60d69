"""last.pt: what a training run resumes from.

A state is a pickle, which torch loads with ``weights_only=True``. What that lets through takes
memory or time on a file's word, so the file is checked first: it must be what `save_state` writes.
"""

import io
import os
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from sedtool.atomic import open_atomic, resource_errors
from sedtool.checkpoint.tensors import digest, regular_size
from sedtool.errors import ArtifactError

__all__ = ["load_state", "save_state"]

MOST_BYTES = 4 * 2**28  # a model's, its teacher's, and two numbers a weight of the optimiser
MOST_OPCODES = 2_000_000  # of the pickle; a run of ten thousand epochs has a few of them
_GLOBALS = ("collections OrderedDict", "torch._utils _rebuild_tensor_v2")


def save_state(path: Path, state: dict[str, Any], previous: Path | None = None) -> None:
    """Write a training state: nested dicts and lists of tensors, numbers and text.

    The state that stands at `path` becomes `previous`, once the new one is on the disk: at every
    moment a whole state stands at one of the two.
    """
    buffer = io.BytesIO()
    torch.save({"state": state, "sha256": digest(state)}, buffer)
    with open_atomic(path) as stream:
        stream.write(buffer.getbuffer())
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
    size = regular_size(path, MOST_BYTES)
    try:
        _check_archive(path, size)
        saved = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, Any] = saved["state"]
        _check_content(state, size)
        intact = digest(state) == saved["sha256"]
    except Exception as error:  # torch.load raises whatever the bytes provoke
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{path} cannot be read as a training state ({reason})") from error
    if not intact:
        raise ArtifactError(f"{path} is damaged: it is not what was saved")
    return state


def _check_archive(path: Path, size: int) -> None:
    """Refuse a file that torch did not write for `save_state`, before torch unpacks it."""
    with path.open("rb") as stream:
        _check_directory(stream, size)
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("it is compressed")
            if sum(entry.file_size for entry in entries) > size:
                raise ValueError("its parts overlap")
            (pickled,) = (entry for entry in entries if entry.filename.endswith("/data.pkl"))
            _check_pickle(archive.read(pickled))


def _check_directory(stream: BinaryIO, size: int) -> None:
    """Check that the last bytes state one small directory, so that every reader finds the same."""
    stream.seek(max(size - 98, 0))
    tail = stream.read()
    wide = struct.unpack("<4sQHHIIQQQQ4sIQI", tail[:76])
    plain = struct.unpack("<4sHHHHIIH", tail[76:])
    n_entries, n_bytes, start = wide[7:10]
    if (wide[0], wide[10], plain[0]) != (b"PK\x06\x06", b"PK\x06\x07", b"PK\x05\x06"):
        raise ValueError("it is no archive of torch")
    if plain[4:] != (n_entries, n_bytes, start, 0) or start + n_bytes + 98 != size:
        raise ValueError("its directory is damaged")
    if n_entries > 100_000:
        raise ValueError(f"it has {n_entries} parts")


def _check_pickle(pickled: bytes) -> None:
    """Refuse a pickle that names anything but tensors and their containers.

    ``weights_only`` also lets through what takes memory on a file's word, such as bytearray.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):
        if count > MOST_OPCODES:
            raise ValueError("its structure is too large")
        if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL"):
            name = str(argument)
            if name not in _GLOBALS and not re.fullmatch(r"torch [A-Z][A-Za-z0-9]+Storage", name):
                raise ValueError(f"it holds {name[:80]!a}")


def _check_content(state: Any, size: int) -> None:
    """Refuse a state with more in it than its file can hold: parts that are repeated or stretched.

    Hashing it would take for ever.
    """
    if not isinstance(state, dict):
        raise ValueError("it holds no table")
    waiting, n_values, n_bytes = [state], 0, 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            n_bytes += value.numel() * value.element_size()
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, str):
            n_bytes += len(value)
        elif not isinstance(value, int | float | None):
            raise ValueError(f"it holds a {type(value).__name__}")
        n_values += 1
        if n_bytes > size or n_values + len(waiting) > MOST_OPCODES:
            raise ValueError("parts of it are repeated or stretched")
