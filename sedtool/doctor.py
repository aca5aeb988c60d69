"""The machine and the installation -> what works, what does not, and what mends it.

Everything is really tried where that is cheap. Nothing that is looked for is needed to look: every
import stands inside a try, so that a broken torch is a finding and not the end.
"""

import contextlib
import fcntl
import functools
import importlib
import importlib.metadata
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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from sedtool import __version__
from sedtool.atomic import write_bytes
from sedtool.errors import ConfigError, ResourceError
from sedtool.machine import existing_folder, file_system, memory, memory_limit, processor_limit
from sedtool.shards import Shard

__all__ = ["Check", "examine"]

OPTIONAL = {"plot": "only `sedtool plot` needs it", "torchaudio": "only --engine torchaudio does"}
MODULES = {"pyyaml": "yaml", "setuptools": "pkg_resources"}  # where the names differ
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
NETWORK = frozenset(
    (
        *("9p", "afs", "beegfs", "ceph", "cifs", "fhgfs", "fuse.glusterfs", "fuse.sshfs", "gpfs"),
        *("glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs", "pvfs2", "smb3", "smbfs"),
    )
)
IN_MEMORY = ("tmpfs", "ramfs")
_PIP = f"{sys.executable} -m pip install"
_KILLED = "it kills Python with signal"
_TRY_LOCK = (  # what another process makes of a lock that this one holds
    "import fcntl, sys\n"
    "with open(sys.argv[1], 'rb') as stream:\n"
    "    try:\n"
    "        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    "    except BlockingIOError:\n"
    "        sys.exit(3)\n"
)


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
        ("torchaudio", lambda: [check_torchaudio()]),
        ("audio formats", lambda: [check_formats()]),
        ("device", lambda: [check_device(environment)]),
        ("threads", lambda: [check_threads(environment)]),
        ("memory", lambda: [check_memory()]),
        ("folder", lambda: check_folder(folder, environment)),
        ("temporary files", lambda: [check_temporary()]),
        ("encodings", lambda: [check_encodings()]),
        ("job", lambda: [check_job(environment)]),
    ]
    checks: list[Check] = []
    for name, group in groups:
        try:
            checks += group()
        except Exception as error:  # one check that fails does not keep the others from being made
            found = f"could not be looked at ({error!r})"
            checks.append(Check(name, "problem", found, "report this: it is a bug"))
    return checks


# Packages


@dataclass(frozen=True)
class Requirement:
    """A line of the package's own requirements."""

    name: str
    bounds: tuple[tuple[str, str], ...]  # (">=", "2.10")
    extra: str  # empty: always required

    def refuses(self, version: str) -> bool:
        met, found = {">=": operator.ge, "<": operator.lt, "!=": operator.ne}, _numbers(version)
        return not all(met[sign](found, _numbers(bound)) for sign, bound in self.bounds)

    def __str__(self) -> str:
        return ",".join(sign + bound for sign, bound in self.bounds)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version without trailing zeros: 2.10.0+cu130 is (2, 10)."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _requirements() -> list[Requirement]:
    """Return what sedtool's own metadata requires, extras for developers left out."""
    found = []
    for line in importlib.metadata.requires("sedtool") or []:
        spec, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", spec)
        extra = re.search(r"extra\s*==\s*['\"](\w+)['\"]", marker)
        if name is None or (extra and extra[1] not in OPTIONAL):
            continue
        bounds = tuple(re.findall(r"(>=|<|!=)\s*([\w.]+)", spec))
        found.append(Requirement(name[0], bounds, extra[1] if extra else ""))
    return found


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
    except importlib.metadata.PackageNotFoundError:
        found = "sedtool is not installed, so that its requirements are not known"
        return [Check("packages", "problem", found, f"{_PIP} . (in the folder of pyproject.toml)")]
    return [_check_package(each) for each in requirements if each.name != "torchaudio"]


def _check_package(requirement: Requirement) -> Check:
    name, extra = requirement.name, requirement.extra
    bad: Literal["warning", "problem"] = "warning" if extra else "problem"
    upgrade = f"{_PIP} --upgrade '{name}{requirement}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        if extra:
            return Check(name, "ok", f"not installed; {OPTIONAL[extra]}", upgrade)
        return Check(name, "problem", "missing", upgrade)
    if requirement.refuses(version):
        return Check(name, bad, f"{version}, but sedtool needs {requirement}", upgrade)
    try:
        module = import_quietly(MODULES.get(name, name))
    except Exception as error:
        again = f"{_PIP} --force-reinstall '{name}{requirement}'"
        return Check(name, bad, f"{version}, which cannot be imported ({_line(error)})", again)
    return Check(name, "ok", version + _with(name, module))


def _with(name: str, module: ModuleType) -> str:
    """Return the version of the C library that a package brings."""
    inner: dict[str, Any] = {
        "h5py": lambda: f", HDF5 {module.version.hdf5_version}",
        "soundfile": lambda: f", libsndfile {module.__libsndfile_version__}",
        "torch": lambda: f", CUDA {module.version.cuda}" if module.version.cuda else ", CPU only",
    }
    return str(inner[name]()) if name in inner else ""


def import_quietly(name: str) -> ModuleType:
    """Import a module without its warnings.

    Raises
    ------
    ImportError
        If importing it would kill this process: torch does on a processor it was not built for.
    """
    if name == "torch" and name not in sys.modules and (crash := _crash(name)):
        raise ImportError(crash)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


@functools.cache
def _crash(name: str) -> str | None:
    """Return which signal ends a process that imports a module, in words, or None."""
    reason = _failure_elsewhere(f"import {name}")
    return reason if reason and reason.startswith(_KILLED) else None


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
        version = importlib.metadata.version("torchaudio")
    except importlib.metadata.PackageNotFoundError:
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
    if all(read.values()):
        return Check("audio formats", "ok", found)
    remedy = f"{_PIP} --upgrade soundfile: it brings libsndfile 1.2"
    enough = all(read[name] for name in REQUIRED_FORMATS)
    return Check("audio formats", "warning" if enough else "problem", found, remedy)


# The machine


def check_device(environment: Mapping[str, str]) -> Check:
    """Say which device `--device auto` takes, and why."""
    try:
        torch = import_quietly("torch")
        if torch.cuda.is_available():
            return Check("device", "ok", f"auto takes cuda: {', '.join(_gpus(torch.cuda))}")
        mps = bool(torch.backends.mps.is_available())
    except Exception:
        return Check("device", "warning", "unknown, since torch does not load", "mend torch")
    if mps:
        found = "auto takes cpu; there is an mps device"
        return Check("device", "ok", found, "give --device mps")
    return Check("device", "ok", "auto takes cpu: " + _why_no_gpu(torch.version.cuda, environment))


def _gpus(cuda: Any) -> list[str]:
    found = []
    for index in range(cuda.device_count()):
        name = cuda.get_device_properties(index).name
        free, total = cuda.mem_get_info(index)
        found.append(f"{name} ({_in_gib(total)}, {_in_gib(free)} free)")
    return found


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
    if threads > max(limit or allowed, usable):
        remedy = f"export OMP_NUM_THREADS={usable}: more threads only wait"
        return Check("threads", "warning", ", ".join(parts), remedy)
    return Check("threads", "ok", ", ".join(parts))


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
    if available < LEAST_MEMORY:
        remedy = "ask for 1 GiB at least, or lower --workers, --batch-size"
        return Check("memory", "warning", found, remedy)
    return Check("memory", "ok", found)


def check_encodings() -> Check:
    """Check that names of files and terminals are UTF-8."""
    encodings = {
        "file names": sys.getfilesystemencoding(),
        "locale": locale.getencoding(),
        "stdout": getattr(sys.stdout, "encoding", None) or "none",
        "stderr": getattr(sys.stderr, "encoding", None) or "none",
    }
    found = ", ".join(f"{name} {encoding}" for name, encoding in encodings.items())
    if all(e.lower().replace("-", "") in ("utf8", "none") for e in encodings.values()):
        return Check("encodings", "ok", found)
    return Check("encodings", "warning", found, "export LC_ALL=C.UTF-8, or PYTHONUTF8=1")


def check_job(environment: Mapping[str, str]) -> Check:
    """Say what a batch system grants, if this runs inside one of its jobs."""
    if "SLURM_JOB_ID" not in environment:
        return Check("job", "ok", "not inside a Slurm job")
    names = ("JOB_ID", "ARRAY_TASK_ID", "JOB_PARTITION", "CPUS_PER_TASK", "MEM_PER_NODE", "NTASKS")
    values = [(name, environment.get(f"SLURM_{name}")) for name in names]
    found = ", ".join(f"{name} {value}" for name, value in values if value is not None)
    if "SLURM_ARRAY_TASK_ID" not in environment:
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
    if status.f_files and status.f_favail < LEAST_FILES:
        return Check(name, "warning", found, "remove files: the disk holds no more of them")
    return Check(name, "ok", found)


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
    command = [sys.executable, "-S", "-E", "-c", _TRY_LOCK, str(path)]
    return subprocess.run(command, timeout=60, check=False).returncode == 3
