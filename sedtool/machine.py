"""What this machine has: devices, memory, disks.

torch is loaded only when a device is asked for.
"""

import ctypes
import re
import resource
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sedtool.errors import ConfigError, ResourceError
from sedtool.text import quoted

if TYPE_CHECKING:
    import torch

_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60  # bytes; version 1 of cgroups writes a number near 2**63
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # options of mallopt, as malloc.h of glibc numbers them


def pick_device(name: str) -> "torch.device":
    """Return the device of a name: auto, cpu, cuda, cuda:1, mps.

    One that this machine, or this build of torch, does not have is a ResourceError.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kinds = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    try:
        device = torch.device(name)
        available = kinds[device.type]
    except (RuntimeError, KeyError):
        raise ConfigError(
            f"unknown device {quoted(name)}; use auto, cpu, cuda, cuda:1 or mps"
        ) from None
    if (device.index or 0) >= available:
        raise ResourceError(f"device {name} is not there: this torch sees {available} of its kind")
    return device


def autocast(device: "torch.device", amp: str) -> "torch.autocast":
    """Return the autocast context of ``--amp off|bf16|fp16``."""
    import torch

    types = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    if amp not in types:
        raise ConfigError(f"amp must be off, bf16 or fp16, not {quoted(amp)}")
    return torch.autocast(device.type, dtype=types[amp], enabled=amp != "off")


def keep_freed_memory() -> None:
    """Have this process keep the memory it frees, where its C library is glibc.

    glibc returns large blocks to the system when they are freed, and the tensors of a training step
    are large, and of the same sizes in each step: the system would clear pages for them that it was
    given back a moment before. The most memory in use may grow a little, as blocks of other sizes
    do not fit into those that are kept.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def peak_memory(device: "torch.device | None" = None) -> int:
    """Return the most bytes that were in use so far, of the device where it has its own."""
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def memory() -> tuple[int, int] | None:
    """Return the bytes of memory in all, and of those available; None where nothing tells."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    kib = dict(re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE))
    total, available = (2**10 * int(kib.get(key, 0)) for key in ("MemTotal", "MemAvailable"))
    return total, available


def memory_limit() -> int | None:
    """Return how many bytes the cgroup grants, or None without a limit."""
    texts = _cgroup_texts("memory.max") + _cgroup_texts("memory.limit_in_bytes")
    limits = [int(limit) for limit in texts if limit.isdecimal() and int(limit) < _UNLIMITED]
    return min(limits, default=None)


def processor_limit() -> float | None:
    """Return how many processors the cgroup grants, or None without a limit."""
    pairs = [text.split() for text in _cgroup_texts("cpu.max")]
    quotas, periods = _cgroup_texts("cpu.cfs_quota_us"), _cgroup_texts("cpu.cfs_period_us")
    pairs += [list(pair) for pair in zip(quotas, periods, strict=False)]
    limits = [
        int(quota) / int(period)
        for quota, period in pairs
        if quota.isdecimal() and period.isdecimal() and int(period)
    ]
    return min(limits, default=None)


def _cgroup_texts(name: str) -> list[str]:
    """Return what the file `name` holds in our cgroup and those around it, of either version."""
    found = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base = _CGROUPS / controllers if controllers else _CGROUPS
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(base):
                break
            try:
                found.append((folder / name).read_text().strip())
            except OSError:
                continue  # the root of a hierarchy, or what a container does not see, has none
    return found


def existing_folder(path: Path) -> Path:
    """Return a folder, or the nearest one above that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def free_disk(path: Path) -> int:
    """Return the free bytes where a file or folder is to be made, whose parents may be missing."""
    return shutil.disk_usage(existing_folder(path)).free


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on, as the kernel names it."""
    unknown = "unknown file system"
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return unknown
    real, best = str(folder.resolve()), ("", unknown)
    for line in lines:
        left, _, right = line.partition(" - ")
        place = left.split()[4].encode().decode("unicode_escape")  # a space is \040
        is_above = real == place or real.startswith(place.rstrip("/") + "/")
        if is_above and len(place) >= len(best[0]):
            best = (place, right.split()[0])
    return best[1]
