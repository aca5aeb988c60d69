"""What is installed, and whether it can be imported."""

import functools
import importlib
import importlib.metadata
import platform
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from sedtool import __version__
from sedtool.doctor.check import Check, ok, problem, warning

__all__ = [
    "check_formats",
    "check_packages",
    "check_python",
    "check_torchaudio",
    "import_quietly",
]

OPTIONAL = {"plot": "only `sedtool plot` needs it", "torchaudio": "only --engine torchaudio does"}
MODULES = {"pyyaml": "yaml", "setuptools": "pkg_resources"}  # where the names differ
FORMATS = {  # as sedtool's users know them -> libsndfile's format and subtype
    **{name: (name, "PCM_16") for name in ("WAV", "FLAC", "AIFF", "W64", "RF64")},
    "OGG": ("OGG", "VORBIS"),
    "OPUS": ("OGG", "OPUS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
}
REQUIRED_FORMATS = ("WAV", "FLAC")
_KILLED = "it kills Python with signal"
_SECONDS = 120  # for an import in another process


@dataclass(frozen=True)
class Requirement:
    """A line of the package's own requirements."""

    name: str
    bounds: tuple[tuple[str, str], ...]  # (">=", "2.10")
    extra: str  # empty: always required

    def refuses(self, version: str) -> bool:
        """Return whether an installed version does not meet the requirement."""
        found = _numbers(version)
        met = {
            ">=": lambda bound: found >= bound,
            "<": lambda bound: found < bound,
            "!=": lambda bound: found != bound,
        }
        return not all(met[sign](_numbers(bound)) for sign, bound in self.bounds)

    @property
    def command(self) -> str:
        """Return what installs or mends it."""
        bounds = ",".join(sign + bound for sign, bound in self.bounds)
        return f"{sys.executable} -m pip install --upgrade '{self.name}{bounds}'"


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
    return [
        ok("sedtool", f"{__version__} in {__file__.rpartition('/doctor/')[0]}"),
        ok("python", f"{platform.python_version()} ({sys.executable}), {platform.platform()}"),
    ]


def check_packages() -> list[Check]:
    """Compare every package with what sedtool's metadata requires, and import it."""
    try:
        requirements = _requirements()
    except importlib.metadata.PackageNotFoundError:
        return [
            problem(
                "packages",
                "sedtool is not installed, so that its requirements are not known",
                f"{sys.executable} -m pip install . (in the folder with pyproject.toml)",
            )
        ]
    return [
        _check_package(requirement)
        for requirement in requirements
        if requirement.name != "torchaudio"
    ]


def _check_package(requirement: Requirement) -> Check:
    name, extra = requirement.name, requirement.extra
    report = warning if extra else problem
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        if extra:
            return ok(name, f"not installed; {OPTIONAL[extra]}", requirement.command)
        return problem(name, "missing", requirement.command)
    if requirement.refuses(version):
        wanted = ",".join(sign + bound for sign, bound in requirement.bounds)
        return report(name, f"{version}, but sedtool needs {wanted}", requirement.command)
    try:
        module = import_quietly(MODULES.get(name, name))
    except Exception as error:
        command = requirement.command.replace("--upgrade", "--force-reinstall")
        return report(name, f"{version}, which cannot be imported ({_line(error)})", command)
    return ok(name, version + _with(name, module))


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


def _line(error: Exception) -> str:
    """Return an error on one line that is not too long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:160]}…"


def check_torchaudio() -> list[Check]:
    """Import torchaudio in another process, which it may crash."""
    try:
        version = importlib.metadata.version("torchaudio")
    except importlib.metadata.PackageNotFoundError:
        return [ok("torchaudio", f"not installed; {OPTIONAL['torchaudio']}")]
    reason = _failure_elsewhere("import torchaudio")
    if reason is None:
        return [ok("torchaudio", version)]
    remedy = (
        f"install torch and torchaudio of matching versions from one index ({sys.executable} -m "
        "pip install --force-reinstall torch torchaudio --index-url "
        "https://download.pytorch.org/whl/cpu), or leave it: the native engine does not need it"
    )
    return [warning("torchaudio", f"{version} does not load ({reason})", remedy)]


def _failure_elsewhere(code: str) -> str | None:
    """Run code in another Python; return why it failed, or None."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _line(error)
    if done.returncode < 0:
        return f"{_KILLED} {-done.returncode}"
    lines = done.stderr.strip().splitlines()
    return _line(Exception(lines[-1] if lines else "no reason given")) if done.returncode else None


def check_formats() -> list[Check]:
    """Ask libsndfile which formats it reads."""
    try:
        soundfile = import_quietly("soundfile")
        read = {
            name: kind in soundfile.available_formats()
            and subtype in soundfile.available_subtypes(kind)
            for name, (kind, subtype) in FORMATS.items()
        }
    except Exception as error:
        remedy = f"{sys.executable} -m pip install --force-reinstall soundfile"
        return [problem("audio formats", f"libsndfile does not load ({_line(error)})", remedy)]
    found = ", ".join(f"{name} {'yes' if reads else 'no'}" for name, reads in read.items())
    if all(read.values()):
        return [ok("audio formats", found)]
    report = warning if all(read[name] for name in REQUIRED_FORMATS) else problem
    remedy = f"{sys.executable} -m pip install --upgrade soundfile: it brings libsndfile 1.2"
    return [report("audio formats", found, remedy)]
