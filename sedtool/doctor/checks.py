"""All checks, in the order in which they are shown."""

from collections.abc import Callable, Mapping
from pathlib import Path

from sedtool.doctor.check import Check, problem
from sedtool.doctor.machine import (
    check_device,
    check_encodings,
    check_job,
    check_memory,
    check_threads,
)
from sedtool.doctor.packages import check_formats, check_packages, check_python, check_torchaudio
from sedtool.doctor.storage import check_folder, check_temporary

__all__ = ["Check", "examine"]


def examine(folder: Path, environment: Mapping[str, str]) -> list[Check]:
    """Look at the installation, at this machine, and at a folder for outputs.

    Parameters
    ----------
    folder
        Where outputs are to be written. A file in it is made, renamed, locked and removed.
    environment
        The variables of the process, as `os.environ` has them.
    """
    groups: list[tuple[str, Callable[[], list[Check]]]] = [
        ("python", check_python),
        ("packages", check_packages),
        ("torchaudio", check_torchaudio),
        ("audio formats", check_formats),
        ("device", lambda: check_device(environment)),
        ("threads", lambda: check_threads(environment)),
        ("memory", check_memory),
        ("folder", lambda: check_folder(folder, environment)),
        ("temporary files", check_temporary),
        ("encodings", check_encodings),
        ("job", lambda: check_job(environment)),
    ]
    checks: list[Check] = []
    for name, group in groups:
        try:
            checks += group()
        except Exception as error:  # a doctor that falls ill helps nobody
            checks.append(
                problem(name, f"could not be looked at ({error!r})", "report this: it is a bug")
            )
    return checks
