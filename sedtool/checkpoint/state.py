"""last.pt: what a training run resumes from, as safetensors in spite of its name.

Earlier states were pickles in an archive of torch. They are refused: what that lets through takes
memory or time on a file's word, and its layout is torch's to change.
"""

import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sedtool import __version__
from sedtool.atomic import open_atomic, resource_errors
from sedtool.checkpoint.model import MOST_WEIGHTS
from sedtool.checkpoint.tensors import digest, read_header, regular_size, to_bytes
from sedtool.errors import ArtifactError

FORMAT, FORMAT_VERSION = "sedtool-state", 1
# A network, its teacher, and two numbers a weight of the optimiser; and the rows of all epochs.
MOST_BYTES = 4 * MOST_WEIGHTS + 2**28


def save_state(path: Path, state: dict[str, Any], previous: Path | None = None) -> None:
    """Write a training state: a table for JSON, with tensors by name in its "tensors".

    The state that stands at `path` becomes `previous`, once the new one is on the disk: at every
    moment a whole state stands at one of the two.
    """
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sedtool_version": __version__,
        "sha256": digest(state),
        "state": {name: value for name, value in state.items() if name != "tensors"},
    }
    content = to_bytes(state["tensors"], header)
    with open_atomic(path) as stream:
        stream.write(content)
        if previous is not None and path.exists():
            stream.flush()
            with resource_errors(path):
                os.fsync(stream.fileno())
                path.replace(previous)


def load_state(path: Path) -> dict[str, Any]:
    """Read a training state; its tensors are views of the file, which is to be left as it is.

    Raises
    ------
    ArtifactError
        If the file cannot be read, or is not what was saved.
    """
    size = regular_size(path, MOST_BYTES)
    try:
        _refuse_archive(path)
        header = read_header(path, size)
        if (header["format"], header["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"it is {header['format']} {header['format_version']}")
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state: dict[str, Any] = {**header["state"], "tensors": tensors}
        intact = digest(state) == header["sha256"]
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{path} cannot be read as a training state ({reason})") from error
    if not intact:
        raise ArtifactError(f"{path} is damaged: it is not what was saved")
    return state


def _refuse_archive(path: Path) -> None:
    with path.open("rb") as stream:
        if stream.read(4) == b"PK\x03\x04":
            raise ValueError(
                "an earlier version of sedtool wrote it, which alone can resume this run"
            )
