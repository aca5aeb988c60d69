"""Folders for outputs: space, locks, and whether what is written stays."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sedtool.atomic import write_bytes
from sedtool.doctor.check import Check, in_gib, ok, problem, warning
from sedtool.errors import ResourceError

__all__ = ["check_folder", "check_temporary"]

LEAST_SPACE = 2**30  # bytes
LEAST_FILES = 1_000  # inodes
NETWORK = frozenset(
    (
        *("9p", "afs", "beegfs", "ceph", "cifs", "fhgfs", "fuse.glusterfs", "fuse.sshfs", "gpfs"),
        *("glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs", "pvfs2", "smb3", "smbfs"),
    )
)
IN_MEMORY = ("tmpfs", "ramfs")
_TRY_LOCK = (  # what another process makes of a lock that this one holds
    "import fcntl, sys\n"
    "with open(sys.argv[1], 'rb') as stream:\n"
    "    try:\n"
    "        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    "    except BlockingIOError:\n"
    "        sys.exit(3)\n"
)


def check_folder(folder: Path, environment: Mapping[str, str]) -> list[Check]:
    """Try what every stage does in the folder of its output."""
    there = _existing(folder)
    checks = [_check_place(folder, there), *_check_space("space", there)]
    locking = environment.get("HDF5_USE_FILE_LOCKING")
    hdf5 = ok("HDF5 locking", f"HDF5_USE_FILE_LOCKING is {locking or 'not set'}; nothing needs it")
    try:
        trial = Path(tempfile.mkdtemp(prefix=".sedtool-doctor-", dir=there))
    except OSError as error:
        remedy = "name a folder that you may write to: sedtool doctor PATH"
        return [*checks, problem("writing", f"{there}: {error.strerror}", remedy), hdf5]
    try:
        return [*checks, _check_writing(trial), _check_locks(trial), hdf5]
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(
        (path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir()),
        Path("/"),
    )


def _check_place(folder: Path, there: Path) -> Check:
    kind = _file_system(there)
    found = f"{there} ({kind})"
    if there != folder.absolute():
        found = f"{folder} is not there; looked at {found}"
    if kind in NETWORK:
        return ok("folder", f"{found}, on the network", "a local disk is faster for extract")
    if kind in IN_MEMORY:
        return warning("folder", f"{found}, in memory", "copy results elsewhere: it is lost")
    return ok("folder", found)


def _file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on, as the kernel names it."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return "unknown file system"
    device, best = folder.stat().st_dev, ("", "unknown file system")
    wanted = f"{os.major(device)}:{os.minor(device)}"
    real = str(folder.resolve())
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        place = fields[4].encode().decode("unicode_escape")  # a space is \040
        is_above = real == place or real.startswith(place.rstrip("/") + "/")
        if (fields[2] == wanted or is_above) and is_above and len(place) >= len(best[0]):
            best = (place, right.split()[0])
    return best[1]


def _check_space(name: str, folder: Path) -> list[Check]:
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    found = f"{in_gib(free)} free in {folder}"
    if status.f_files:  # some file systems do not count
        found += f", {status.f_favail} files may be added"
    if free < LEAST_SPACE:
        return [warning(name, found, "an hour of audio takes 18 MB as features; make room")]
    if status.f_files and status.f_favail < LEAST_FILES:
        return [warning(name, found, "remove files: the disk holds no more of them")]
    return [ok(name, found)]


def check_temporary() -> list[Check]:
    """Check the folder for temporary files, where audio from stdin waits."""
    try:
        folder = Path(tempfile.gettempdir())
    except OSError as error:
        return [problem("temporary files", str(error), "export TMPDIR=a folder you may write to")]
    return _check_space("temporary files", folder)


def _check_writing(trial: Path) -> Check:
    """Write as the stages do: a temporary file, fsync, rename, fsync of the folder."""
    path, content = trial / "output", b"sedtool"
    try:
        write_bytes(path, b"")
        write_bytes(path, content)
        if path.read_bytes() != content:
            return problem("writing", "what was written is not what is read", "use another disk")
    except (OSError, ResourceError) as error:
        return problem("writing", str(error), "make room, or use another disk")
    return ok("writing", "write, fsync and rename work")


def _check_locks(trial: Path) -> Check:
    """Hold a lock and let another process try to take it."""
    remedy = "start no two runs on one output: the second is not noticed there"
    path = trial / "lock"
    try:
        with path.open("wb") as stream, contextlib.ExitStack() as held:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.callback(fcntl.flock, stream.fileno(), fcntl.LOCK_UN)
            is_kept = _is_refused_elsewhere(path)
    except OSError as error:
        return warning("file locks", f"do not work ({error.strerror})", remedy)
    if not is_kept:
        return warning("file locks", "are granted twice, so that they keep nobody out", remedy)
    return ok("file locks", "another process is kept out")


def _is_refused_elsewhere(path: Path) -> bool:
    command = [sys.executable, "-S", "-E", "-c", _TRY_LOCK, str(path)]
    return subprocess.run(command, timeout=60, check=False).returncode == 3
