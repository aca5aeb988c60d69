"""What a command shows on a terminal."""

import os
import subprocess
from typing import Any


def shown_on_a_terminal(command: list[str], stdout: Any = None, **how: Any) -> bytes:
    """Run with stderr, and stdout if it is None, on a terminal; return what that shows."""
    master, slave = os.openpty()
    run = subprocess.Popen(command, stdout=slave if stdout is None else stdout, stderr=slave, **how)
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:  # the end of a terminal
        pass
    os.close(master)
    assert run.wait() == 0
    return shown
