"""How much memory a command line has at its peak."""

import os
import subprocess
import sys

PROGRAM = """
import atexit, sys
from pathlib import Path
from sedtool.__main__ import main

def say():
    status = Path("/proc/self/status").read_text()
    print("\\nPEAK", status.split("VmHWM:")[1].split()[0], file=sys.stderr)

atexit.register(say)
main()
"""


def peak(*words: object, exit_code: int = 0) -> int:
    """Run a command line in a process of its own; return the most memory it had, in bytes.

    The figures of `getrusage` would count what this process had when it started the other.
    """
    line = [sys.executable, "-c", PROGRAM, *map(str, words), "-q"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert done.returncode == exit_code, done.stderr[-500:]
    return 1024 * int(done.stderr.split("PEAK")[1])
