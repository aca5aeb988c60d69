"""Processors, memory, encodings, and the job of a batch system."""

import locale
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from sedtool.doctor.check import Check, in_gib, ok, warning
from sedtool.doctor.packages import import_quietly
from sedtool.errors import ConfigError
from sedtool.shards import Shard

__all__ = ["check_device", "check_encodings", "check_job", "check_memory", "check_threads"]

LEAST_MEMORY = 2**30  # bytes that the stages are meant to need at most, networks aside
_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60  # bytes; version 1 writes a number near 2**63


def check_device(environment: Mapping[str, str]) -> list[Check]:
    """Say which device `--device auto` takes, and why."""
    try:
        torch = import_quietly("torch")
        if torch.cuda.is_available():
            return [ok("device", f"auto takes cuda: {', '.join(_gpus(torch))}")]
        mps = bool(torch.backends.mps.is_available())
    except Exception:
        return [warning("device", "unknown, since torch does not load", "mend torch")]
    if mps:
        return [ok("device", "auto takes cpu; there is an mps device", "give --device mps")]
    return [ok("device", "auto takes cpu: " + _why_no_gpu(torch.version.cuda, environment))]


def _gpus(torch: object) -> list[str]:
    cuda = torch.cuda  # type: ignore[attr-defined]
    found = []
    for index in range(cuda.device_count()):
        about = cuda.get_device_properties(index)
        free, total = cuda.mem_get_info(index)
        found.append(f"{about.name} ({in_gib(total)}, {in_gib(free)} free)")
    return found


def _why_no_gpu(cuda: str | None, environment: Mapping[str, str]) -> str:
    if cuda is None:
        return "this torch is built without CUDA"
    if environment.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1", "NoDevFiles"):
        return "CUDA_VISIBLE_DEVICES is empty and hides every GPU"
    if not Path("/proc/driver/nvidia/version").exists():
        return f"torch has CUDA {cuda}, but there is no NVIDIA driver"
    return f"torch has CUDA {cuda} and there is a driver, but it sees no GPU (nvidia-smi says more)"


def check_threads(environment: Mapping[str, str]) -> list[Check]:
    """Compare the threads that torch uses with the processors there are for this process."""
    allowed = len(os.sched_getaffinity(0))
    limit = _cgroup_processors()
    usable = min(allowed, limit) if limit else float(allowed)
    found = [f"{os.cpu_count()} processors", f"{allowed} for this process"]
    if limit:
        found.append(f"a cgroup limit of {limit:g}")
    found.append(f"OMP_NUM_THREADS {environment.get('OMP_NUM_THREADS', 'not set')}")
    try:
        threads = int(import_quietly("torch").get_num_threads())
    except Exception:
        return [ok("threads", ", ".join(found))]
    found.append(f"torch uses {threads}")
    if threads > max(usable, 1):
        remedy = f"export OMP_NUM_THREADS={max(int(usable), 1)}: more threads only wait"
        return [warning("threads", ", ".join(found), remedy)]
    return [ok("threads", ", ".join(found))]


def _cgroup_processors() -> float | None:
    """Return how many processors the cgroup grants, or None without a limit."""
    limits = []
    for text in _cgroup_texts("cpu.max"):
        quota, _, period = text.partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            limits.append(int(quota) / int(period))
    quotas, periods = _cgroup_texts("cpu.cfs_quota_us"), _cgroup_texts("cpu.cfs_period_us")
    for quota, period in zip(quotas, periods, strict=False):
        if quota.isdecimal() and period.isdecimal() and int(period):
            limits.append(int(quota) / int(period))
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


def check_memory() -> list[Check]:
    """Say how much memory there is, for the machine and for this process."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return [ok("memory", "unknown here")]
    kib = dict(re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE))
    total, available = (2**10 * int(kib.get(key, 0)) for key in ("MemTotal", "MemAvailable"))
    found = f"{in_gib(total)}, {in_gib(available)} available"
    texts = _cgroup_texts("memory.max") + _cgroup_texts("memory.limit_in_bytes")
    limits = [int(limit) for limit in texts if limit.isdecimal() and int(limit) < _UNLIMITED]
    if limits:
        found += f", a cgroup limit of {in_gib(min(limits))}"
    if min([available, *limits]) < LEAST_MEMORY:
        return [
            warning("memory", found, "ask for 1 GiB at least, or lower --workers, --batch-size")
        ]
    return [ok("memory", found)]


def check_encodings() -> list[Check]:
    """Check that names of files and terminals are UTF-8."""
    encodings = {
        "file names": sys.getfilesystemencoding(),
        "locale": locale.getencoding(),
        "stdout": getattr(sys.stdout, "encoding", None) or "none",
        "stderr": getattr(sys.stderr, "encoding", None) or "none",
    }
    found = ", ".join(f"{name} {encoding}" for name, encoding in encodings.items())
    if all(e.lower().replace("-", "") in ("utf8", "none") for e in encodings.values()):
        return [ok("encodings", found)]
    return [warning("encodings", found, "export LC_ALL=C.UTF-8, or PYTHONUTF8=1")]


def check_job(environment: Mapping[str, str]) -> list[Check]:
    """Say what a batch system grants, if this runs inside one of its jobs."""
    if "SLURM_JOB_ID" not in environment:
        return [ok("job", "not inside a Slurm job")]
    names = ("JOB_ID", "ARRAY_TASK_ID", "JOB_PARTITION", "CPUS_PER_TASK", "MEM_PER_NODE", "NTASKS")
    values = [(name, environment.get(f"SLURM_{name}")) for name in names]
    found = ", ".join(f"{name} {value}" for name, value in values if value is not None)
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return [ok("job", found)]
    try:
        return [ok("job", f"{found}; --shard auto is {Shard.parse('auto', environment)}")]
    except ConfigError as error:
        return [warning("job", found, f"state how many shards there are (auto/N): {error}")]
