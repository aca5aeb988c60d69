"""The machine and the installation -> what works, what does not, and what mends it.

Everything is really tried where that is cheap. Nothing that is looked for is needed to look: every
import stands inside a try, so that a broken torch is a finding and not the end.
"""

import contextlib
import fcntl
import functools
import locale
import operator
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from sedtool import __version__
from sedtool.atomic import write_bytes
from sedtool.errors import ConfigError, ResourceError
from sedtool.machine import existing_folder, file_system, memory, memory_limit, processor_limit
from sedtool.shards import Shard

__all__ = ["Check", "examine"]

OPTIONAL = {
    "av": "only m4a, mp4, webm, wma, amr, AC-3 and video need it",
    "plot": "only `sedtool plot` needs it",
    "torchaudio": "only --engine torchaudio does",
}
MODULES = {"pyyaml": "yaml", "setuptools": "pkg_resources"}  # where the names differ
BRINGS = {  # the C library in a package
    "av": ", FFmpeg {.ffmpeg_version_info}",
    "h5py": ", HDF5 {.version.hdf5_version}",
    "soundfile": ", libsndfile {.__libsndfile_version__}",
    "torch": ", CUDA {.version.cuda}",
}
FORMATS = {  # as sedtool's users know them -> libsndfile's format and subtype
    **{name: (name, "PCM_16") for name in ("WAV", "FLAC", "AIFF", "W64", "RF64")},
    "OGG": ("OGG", "VORBIS"),
    "OPUS": ("OGG", "OPUS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
}
REQUIRED_FORMATS = ("WAV", "FLAC")
LEAST_MEMORY = 2**30  # bytes that the stages are meant to need at most, networks aside
LEAST_SPACE = 2**30  # bytes
LEAST_FILES = 1_000  # inodes
NETWORK = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "fhgfs", "fuse.glusterfs", "fuse.sshfs", "gpfs"),
    *("glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs", "pvfs2", "smb3", "smbfs"),
)
IN_MEMORY = ("tmpfs", "ramfs")
SLURM = ("JOB_ID", "ARRAY_TASK_ID", "JOB_PARTITION", "CPUS_PER_TASK", "MEM_PER_NODE", "NTASKS")
_PIP = f"{sys.executable} -m pip install"
_KILLED = "it kills Python with signal"


@dataclass(frozen=True)
class Check:
    """What was found, whether it is well, and what to do if not."""

    name: str
    status: Literal["ok", "warning", "problem"]  # problem: something required does not work
    found: str
    remedy: str = ""  # of what is ok: what else there is

    def to_json(self) -> dict[str, str | None]:
        """Return the fields; a remedy that is not needed is None."""
        return {**asdict(self), "remedy": self.remedy or None}

    def __str__(self) -> str:
        """Return a line, and a second one for the remedy."""
        line = f"{self.status:<8} {self.name:<22} {self.found}"
        return f"{line}\n{'':<31} -> {self.remedy}" if self.remedy else line


def _warn_if(wrong: bool, name: str, found: str, remedy: str) -> Check:
    return Check(name, "warning", found, remedy) if wrong else Check(name, "ok", found)


def examine(folder: Path, environment: Mapping[str, str]) -> list[Check]:
    """Look at the installation, at this machine, and at a folder for outputs.

    A file in the folder is made, renamed, locked and removed; `environment` is `os.environ`.
    """
    probes: dict[str, tuple[Any, ...]] = {  # what returns a check or several, and of what
        "python": (check_python,),
        "packages": (check_packages,),
        "torchaudio": (check_torchaudio,),
        "audio formats": (check_formats,),
        "device": (check_device, environment),
        "threads": (check_threads, environment),
        "memory": (check_memory,),
        "folder": (check_folder, folder, environment),
        "temporary files": (check_temporary,),
        "encodings": (check_encodings,),
        "job": (check_job, environment),
    }
    checks: list[Check] = []
    for name, (probe, *arguments) in probes.items():
        try:
            made = probe(*arguments)
        except Exception as error:  # one check that fails does not keep the others from being made
            found = f"could not be looked at ({error!r})"
            made = Check(name, "problem", found, "report this: it is a bug")
        checks += [made] if isinstance(made, Check) else made
    return checks


# Packages


def _requirements() -> list[tuple[str, str]]:
    """Return what sedtool's metadata requires, and for which extra; those of developers not."""
    found = []
    for line in metadata.requires("sedtool") or []:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra\s*==\s*['\"](\w+)['\"]", marker)
        if extra is None or extra[1] in OPTIONAL:
            found.append((requirement.strip(), extra[1] if extra else ""))
    return found


def _is_met(requirement: str, version: str) -> bool:
    """Return whether a version is one of ``NAME>=2.10,<3``; its numbers are compared as such."""
    compare = {">=": operator.ge, "<": operator.lt, "!=": operator.ne}
    bounds = re.findall(r"(>=|<|!=)\s*([\w.]+)", requirement)
    return all(compare[sign](_numbers(version), _numbers(bound)) for sign, bound in bounds)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version without trailing zeros: 2.10.0+cu130 is (2, 10)."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def check_python() -> list[Check]:
    """Name the versions of sedtool and Python."""
    python = f"{platform.python_version()} ({sys.executable}), {platform.platform()}"
    return [
        Check("sedtool", "ok", f"{__version__} in {Path(__file__).parent}"),
        Check("python", "ok", python),
    ]


def check_packages() -> list[Check]:
    """Compare every package with what sedtool's metadata requires, and import it."""
    try:
        requirements = _requirements()
    except metadata.PackageNotFoundError:
        found = "sedtool is not installed, so that its requirements are not known"
        return [Check("packages", "problem", found, f"{_PIP} . (in the folder of pyproject.toml)")]
    return [_check_package(*each) for each in requirements if each[1] != "torchaudio"]


def _check_package(requirement: str, extra: str) -> Check:
    (name,) = re.findall(r"^[\w.-]+", requirement)
    bad: Literal["warning", "problem"] = "warning" if extra else "problem"
    upgrade = f"{_PIP} --upgrade '{requirement}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        if extra:
            return Check(name, "ok", f"not installed; {OPTIONAL[extra]}", upgrade)
        return Check(name, "problem", "missing", upgrade)
    if not _is_met(requirement, version):
        needed = requirement.removeprefix(name)
        return Check(name, bad, f"{version}, but sedtool needs {needed}", upgrade)
    try:
        module = import_quietly(MODULES.get(name, name))
    except Exception as error:
        again = f"{_PIP} --force-reinstall '{requirement}'"
        return Check(name, bad, f"{version}, which cannot be imported ({_line(error)})", again)
    brings = BRINGS.get(name, "").format(module).replace("CUDA None", "CPU only")
    return Check(name, "ok", version + brings)


def import_quietly(name: str) -> ModuleType:
    """Import a module without its warnings, unless that kills the process, as torch may."""
    if name == "torch" and name not in sys.modules:
        reason = _failure_elsewhere("import torch")
        if reason and reason.startswith(_KILLED):
            raise ImportError(reason)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


@functools.cache
def _failure_elsewhere(code: str) -> str | None:
    """Run code in another Python; return why it failed, or None."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,  # seconds
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _line(error)
    if done.returncode < 0:
        return f"{_KILLED} {-done.returncode}"
    lines = done.stderr.strip().splitlines()
    return _line(lines[-1] if lines else "no reason given") if done.returncode else None


def _line(error: Exception | str) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:160]}…"


def check_torchaudio() -> Check:
    """Import torchaudio in another process, which it may crash."""
    try:
        version = metadata.version("torchaudio")
    except metadata.PackageNotFoundError:
        return Check("torchaudio", "ok", f"not installed; {OPTIONAL['torchaudio']}")
    reason = _failure_elsewhere("import torchaudio")
    if reason is None:
        return Check("torchaudio", "ok", version)
    remedy = (
        f"install torch and torchaudio of matching versions from one index ({_PIP} "
        "--force-reinstall torch torchaudio --index-url https://download.pytorch.org/whl/cpu), or "
        "leave it: the native engine does not need it"
    )
    return Check("torchaudio", "warning", f"{version} does not load ({reason})", remedy)


def check_formats() -> Check:
    """Ask libsndfile which formats it reads."""
    try:
        soundfile = import_quietly("soundfile")
        read = {
            name: kind in soundfile.available_formats()
            and subtype in soundfile.available_subtypes(kind)
            for name, (kind, subtype) in FORMATS.items()
        }
    except Exception as error:
        found = f"libsndfile does not load ({_line(error)})"
        return Check("audio formats", "problem", found, f"{_PIP} --force-reinstall soundfile")
    found = ", ".join(f"{name} {'yes' if reads else 'no'}" for name, reads in read.items())
    others = "m4a, mp4, webm, wma, amr, AC-3 and video"
    found += f"; {others} {'yes' if find_spec('av') else 'no: they need sedtool[av]'}"
    remedy = f"{_PIP} --upgrade soundfile: it brings libsndfile 1.2"
    if not all(read[name] for name in REQUIRED_FORMATS):
        return Check("audio formats", "problem", found, remedy)
    return _warn_if(not all(read.values()), "audio formats", found, remedy)


# The machine


def check_device(environment: Mapping[str, str]) -> Check:
    """Say which device `--device auto` takes, and why."""
    try:
        torch = import_quietly("torch")
        if torch.cuda.is_available():
            gpus = [_gpu(torch.cuda, index) for index in range(torch.cuda.device_count())]
            return Check("device", "ok", f"auto takes cuda: {', '.join(gpus)}")
        mps = torch.backends.mps.is_available()
    except Exception:
        return Check("device", "warning", "unknown, since torch does not load", "mend torch")
    if mps:
        found = "auto takes cpu; there is an mps device"
        return Check("device", "ok", found, "give --device mps")
    return Check("device", "ok", "auto takes cpu: " + _why_no_gpu(torch.version.cuda, environment))


def _gpu(cuda: Any, index: int) -> str:
    free, total = cuda.mem_get_info(index)
    name = cuda.get_device_properties(index).name
    return f"{name} ({_in_gib(total)}, {_in_gib(free)} free)"


def _why_no_gpu(cuda: str | None, environment: Mapping[str, str]) -> str:
    if cuda is None:
        return "this torch is built without CUDA"
    if environment.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1", "NoDevFiles"):
        return "CUDA_VISIBLE_DEVICES is empty and hides every GPU"
    if not Path("/proc/driver/nvidia/version").exists():
        return f"torch has CUDA {cuda}, but there is no NVIDIA driver"
    return f"torch has CUDA {cuda} and there is a driver, but it sees no GPU (nvidia-smi says more)"


def check_threads(environment: Mapping[str, str]) -> Check:
    """Compare the threads that torch uses with the processors there are for this process."""
    allowed, limit = len(os.sched_getaffinity(0)), processor_limit()
    usable = int(min(allowed, limit or allowed)) or 1
    parts = [f"{os.cpu_count()} processors", f"{allowed} for this process"]
    if limit:
        parts.append(f"a cgroup limit of {limit:g}")
    parts.append(f"OMP_NUM_THREADS {environment.get('OMP_NUM_THREADS', 'not set')}")
    threads = 0
    with contextlib.suppress(Exception):
        threads = int(import_quietly("torch").get_num_threads())
        parts.append(f"torch uses {threads}")
    remedy = f"export OMP_NUM_THREADS={usable}: more threads only wait"
    return _warn_if(threads > max(limit or allowed, usable), "threads", ", ".join(parts), remedy)


def check_memory() -> Check:
    """Say how much memory there is, for the machine and for this process."""
    sizes = memory()
    if sizes is None:
        return Check("memory", "ok", "unknown here")
    total, available = sizes
    found, limit = f"{_in_gib(total)}, {_in_gib(available)} available", memory_limit()
    if limit is not None:
        found += f", a cgroup limit of {_in_gib(limit)}"
        available = min(available, limit)
    remedy = "ask for 1 GiB at least, or lower --workers, --batch-size"
    return _warn_if(available < LEAST_MEMORY, "memory", found, remedy)


def check_encodings() -> Check:
    """Check that names of files and terminals are UTF-8."""
    encodings = {
        "file names": sys.getfilesystemencoding(),
        "locale": locale.getencoding(),
        "stdout": getattr(sys.stdout, "encoding", None) or "none",
        "stderr": getattr(sys.stderr, "encoding", None) or "none",
    }
    found = ", ".join(f"{name} {encoding}" for name, encoding in encodings.items())
    wrong = any(e.lower().replace("-", "") not in ("utf8", "none") for e in encodings.values())
    return _warn_if(wrong, "encodings", found, "export LC_ALL=C.UTF-8, or PYTHONUTF8=1")


def check_job(environment: Mapping[str, str]) -> Check:
    """Say what a batch system grants, if this runs inside one of its jobs."""
    if "SLURM_JOB_ID" not in environment:
        return Check("job", "ok", "not inside a Slurm job")
    values = {name: environment.get(f"SLURM_{name}") for name in SLURM}
    found = ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
    if values["ARRAY_TASK_ID"] is None:
        return Check("job", "ok", found)
    try:
        return Check("job", "ok", f"{found}; --shard auto is {Shard.parse('auto', environment)}")
    except ConfigError as error:
        remedy = f"state how many shards there are (auto/N): {error}"
        return Check("job", "warning", found, remedy)


def _in_gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**27 else f"{n_bytes / 2**20:.1f} MiB"


# The folder for outputs


def check_folder(folder: Path, environment: Mapping[str, str]) -> list[Check]:
    """Try what every stage does in the folder of its output."""
    there = existing_folder(folder)
    locking = environment.get("HDF5_USE_FILE_LOCKING") or "not set"
    hdf5 = Check("HDF5 locking", "ok", f"HDF5_USE_FILE_LOCKING is {locking}; nothing needs it")
    checks = [_check_place(folder, there), _check_space("space", there)]
    try:
        trial = Path(tempfile.mkdtemp(prefix=".sedtool-doctor-", dir=there))
    except OSError as error:
        remedy = "name a folder that you may write to: sedtool doctor PATH"
        found = f"{there}: {error.strerror}"
        return [*checks, Check("writing", "problem", found, remedy), hdf5]
    try:
        return [*checks, _check_writing(trial), _check_locks(trial), hdf5]
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _check_place(folder: Path, there: Path) -> Check:
    kind = file_system(there)
    found = f"{there} ({kind})"
    if there != folder.absolute():
        found = f"{folder} is not there; looked at {found}"
    if kind in NETWORK:
        remedy = "a local disk is faster for extract"
        return Check("folder", "ok", f"{found}, on the network", remedy)
    if kind in IN_MEMORY:
        remedy = "copy results elsewhere: it is lost"
        return Check("folder", "warning", f"{found}, in memory", remedy)
    return Check("folder", "ok", found)


def _check_space(name: str, folder: Path) -> Check:
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    found = f"{_in_gib(free)} free in {folder}"
    if status.f_files:  # some file systems do not count
        found += f", {status.f_favail} files may be added"
    if free < LEAST_SPACE:
        remedy = "an hour of audio takes 18 MB as features; make room"
        return Check(name, "warning", found, remedy)
    is_full = status.f_files > 0 and status.f_favail < LEAST_FILES
    return _warn_if(is_full, name, found, "remove files: the disk holds no more of them")


def check_temporary() -> Check:
    """Check the folder for temporary files, where audio from stdin waits."""
    try:
        folder = Path(tempfile.gettempdir())
    except OSError as error:
        remedy = "export TMPDIR=a folder you may write to"
        return Check("temporary files", "problem", str(error), remedy)
    return _check_space("temporary files", folder)


def _check_writing(trial: Path) -> Check:
    """Write as the stages do: a temporary file, fsync, rename, fsync of the folder."""
    path, content = trial / "output", b"sedtool"
    try:
        write_bytes(path, b"")
        write_bytes(path, content)
        if path.read_bytes() != content:
            found = "what was written is not what is read"
            return Check("writing", "problem", found, "use another disk")
    except (OSError, ResourceError) as error:
        return Check("writing", "problem", str(error), "make room, or use another disk")
    return Check("writing", "ok", "write, fsync and rename work")


def _check_locks(trial: Path) -> Check:
    """Hold a lock and let another process try to take it."""
    remedy = "start no two runs on one output: the second is not noticed there"
    path = trial / "lock"
    try:
        with path.open("wb") as stream:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_kept = _is_refused_elsewhere(path)
    except OSError as error:
        return Check("file locks", "warning", f"do not work ({error.strerror})", remedy)
    if not is_kept:
        found = "are granted twice, so that they keep nobody out"
        return Check("file locks", "warning", found, remedy)
    return Check("file locks", "ok", "another process is kept out")


def _is_refused_elsewhere(path: Path) -> bool:
    """Return whether another process is refused the lock of a file."""
    code = f"import fcntl; fcntl.flock(open({str(path)!r}), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    return "BlockingIOError" in (_failure_elsewhere(code) or "")
