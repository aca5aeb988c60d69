"""What this machine has: devices, memory, disks.

torch is loaded only when a device is asked for.
"""

import resource
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sedtool.errors import ConfigError, ResourceError

if TYPE_CHECKING:
    import torch

__all__ = ["autocast", "free_disk", "peak_memory", "pick_device"]


def pick_device(name: str) -> "torch.device":
    """Return the device of a name: auto, cpu, cuda, cuda:1, mps.

    Raises
    ------
    ConfigError
        If there is no such kind of device.
    ResourceError
        If this machine, or this build of torch, does not have it.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:1 or mps") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:1 or mps")
    available = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }[device.type]
    if (device.index or 0) >= available:
        raise ResourceError(f"device {name} is not there: this torch sees {available} of its kind")
    return device


def autocast(device: "torch.device", amp: str) -> "torch.autocast":
    """Return the autocast context of ``--amp off|bf16|fp16``."""
    import torch

    types = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    if amp not in types:
        raise ConfigError(f"amp must be off, bf16 or fp16, not {amp!r}")
    return torch.autocast(device.type, dtype=types[amp], enabled=amp != "off")


def peak_memory(device: "torch.device | None" = None) -> int:
    """Return the most bytes that were in use so far, of the device where it has its own."""
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def free_disk(path: Path) -> int:
    """Return the free bytes where a file or folder is to be made, whose parents may be missing."""
    path = path.absolute()
    nearest = next(folder for folder in (path, *path.parents) if folder.is_dir())
    return shutil.disk_usage(nearest).free
