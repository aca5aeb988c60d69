"""What this machine has: the limits of cgroups, read as the kernel has them."""

import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sedtool import machine


@pytest.mark.parametrize(
    ("lines", "files", "limit"),
    [
        ("0::/a/b\n", {"a/cpu.max": "max 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/a/b\n", {"a/cpu.max": "20000 100000", "a/b/cpu.max": "50000 100000"}, 0.2),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        (
            "2:cpu,cpuacct:/j\n",
            {
                "cpu,cpuacct/j/cpu.cfs_quota_us": "300000",
                "cpu,cpuacct/j/cpu.cfs_period_us": "100000",
            },
            3.0,
        ),
        ("2:cpu:/j\n", {"cpu/j/cpu.cfs_quota_us": "-1", "cpu/j/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_the_limit_of_a_cgroup_is_that_of_the_tightest_one_around(
    monkeypatch, tmp_path, lines, files, limit
):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    real = Path.read_text

    def read_text(path, *args, **kwargs):
        return lines if str(path) == "/proc/self/cgroup" else real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert machine.processor_limit() == limit


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is the malloc of glibc")
def test_a_process_that_keeps_freed_memory_gets_no_new_pages_for_the_next_tensor():
    script = """
import ctypes, resource, sys
import numpy as np
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no huge pages, which would hide faults
from sedtool.machine import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    np.ones(2**24)  # 128 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
first = faults()
print([faults() for _ in range(5)][-1] - first)
"""
    pages = {
        how: int(subprocess.check_output([sys.executable, "-c", script, how]))
        for how in ("keep", "return")
    }
    assert pages["keep"] < 100 < 4 * 2**27 // resource.getpagesize() < pages["return"]
