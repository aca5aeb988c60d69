"""doctor: each thing that can be amiss is found, named and given a remedy; all else is ok."""

import fcntl
import importlib.metadata
import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from sedtool import doctor, machine
from sedtool.cli import cli
from sedtool.doctor import Check, examine

AS_ROOT = os.geteuid() == 0
Usage = namedtuple("Usage", "f_bavail f_frsize f_files f_favail")


def one(checks, name):
    """Return the check of this name."""
    (found,) = [check for check in checks if check.name == name]
    return found


def run(*arguments):
    return CliRunner().invoke(cli, ["doctor", *map(str, arguments)])


@pytest.fixture
def quick(monkeypatch):
    """Leave out what takes seconds, and has tests of its own."""
    monkeypatch.setattr("sedtool.doctor.check_packages", list)
    monkeypatch.setattr("sedtool.doctor.check_torchaudio", lambda: Check("a", "ok", "b"))


def test_here_everything_that_is_required_works(tmp_path):
    result = run(tmp_path, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["healthy"]
    names = [check["name"] for check in found["checks"]]
    assert len(set(names)) == len(names)
    assert {"python", "torch", "h5py", "device", "writing", "file locks", "job"} <= set(names)
    for check in found["checks"]:
        assert list(check) == ["name", "status", "found", "remedy"]
        assert check["status"] in ("ok", "warning"), check
        assert check["status"] == "ok" or check["remedy"], check
    assert list(tmp_path.iterdir()) == []


def test_each_check_is_a_line_and_quiet_leaves_out_what_is_well(quick, monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    everything = run(tmp_path)
    assert everything.exit_code == 0
    assert "ok       job                    JOB_ID 7" in everything.stdout
    monkeypatch.setattr("sedtool.doctor._is_refused_elsewhere", lambda path: False)
    lines = [line for line in run(tmp_path, "-q").stdout.splitlines() if "->" not in line]
    assert all(line.startswith("warning") for line in lines)
    assert any("file locks" in line for line in lines)


def test_a_problem_ends_with_6_and_is_named(quick, monkeypatch, tmp_path):
    bad = Check("thing", "problem", "is broken\x1b[31m", "mend it")
    monkeypatch.setattr("sedtool.doctor.check_memory", lambda: bad)
    result = run(tmp_path)
    assert result.exit_code == 6
    assert "problem  thing" in result.stdout
    assert "-> mend it" in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stderr.startswith("Error: 1 of ")
    assert "thing" in result.stderr
    assert json.loads(run(tmp_path, "--json").stdout)["healthy"] is False


def test_a_check_that_fails_does_not_keep_the_others_from_being_made(quick, monkeypatch, tmp_path):
    def fails():
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("sedtool.doctor.check_memory", fails)
    checks = examine(tmp_path, {})
    assert one(checks, "memory").status == "problem"
    assert "oh" in one(checks, "memory").found
    assert one(checks, "writing").status == "ok"


# Packages


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name in ("soxr", "matplotlib"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    checks = doctor.check_packages()
    assert one(checks, "soxr").status == "problem"
    assert one(checks, "soxr").remedy.endswith("-m pip install --upgrade 'soxr>=0.3.7'")
    assert one(checks, "matplotlib").status == "ok"
    assert "not installed; only `sedtool plot`" in one(checks, "matplotlib").found


@pytest.mark.parametrize(
    ("name", "version", "status"),
    [
        ("torch", "2.9.1", "problem"),
        ("torch", "2.10.0+cpu", "ok"),
        ("torch", "10.0", "ok"),
        ("setuptools", "81.0.0", "problem"),
        ("matplotlib", "3.7.5", "warning"),
    ],
)
def test_versions_are_compared_as_numbers_with_what_the_package_requires(
    monkeypatch, name, version, status
):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda n: version if n == name else real(n))
    monkeypatch.setattr(doctor, "import_quietly", lambda name: SimpleNamespace())
    monkeypatch.setattr(doctor, "BRINGS", {})
    found = one(doctor.check_packages(), name)
    assert found.status == status
    assert version in found.found


def test_a_package_that_is_installed_and_broken_is_a_problem(monkeypatch):
    monkeypatch.setitem(sys.modules, "soxr", None)
    found = one(doctor.check_packages(), "soxr")
    assert found.status == "problem"
    assert "cannot be imported" in found.found
    assert "--force-reinstall 'soxr" in found.remedy


def test_a_broken_torch_is_a_finding_and_the_rest_is_looked_at(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("sedtool.doctor.check_torchaudio", lambda: Check("a", "ok", "b"))
    result = run(tmp_path)
    assert result.exit_code == 6
    assert "torch" in result.stderr
    assert "unknown, since torch does not load" in result.stdout
    assert "file locks" in result.stdout


def test_a_torch_that_kills_python_is_found_in_another_process(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(doctor, "_failure_elsewhere", lambda code: f"{doctor._KILLED} 4")
    with pytest.raises(ImportError, match="kills Python with signal 4"):
        doctor.import_quietly("torch")


def test_without_the_metadata_of_an_installation_the_requirements_are_unknown(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    (found,) = doctor.check_packages()
    assert found.status == "problem"
    assert "pip install ." in found.remedy


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise OSError('libcudart.so.13: cannot open')", "libcudart.so.13: cannot open"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "kills Python with signal 11"),
    ],
)
def test_a_torchaudio_that_does_not_load_is_a_warning_with_its_reason(
    monkeypatch, tmp_path, code, reason
):
    (tmp_path / "torchaudio.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    doctor._failure_elsewhere.cache_clear()
    found = doctor.check_torchaudio()
    doctor._failure_elsewhere.cache_clear()
    assert found.status == "warning"
    assert reason in found.found
    assert "matching versions" in found.remedy
    assert "native engine does not need it" in found.remedy


def test_formats_that_libsndfile_lacks_are_named(monkeypatch):
    import soundfile

    real = soundfile.available_formats()
    monkeypatch.setattr(
        soundfile, "available_formats", lambda: {k: v for k, v in real.items() if k != "MP3"}
    )
    found = doctor.check_formats()
    assert found.status == "warning"
    assert "MP3 no" in found.found
    assert "WAV yes" in found.found
    monkeypatch.setattr(soundfile, "available_formats", dict)
    assert doctor.check_formats().status == "problem"


# The machine


def a_torch(cuda="13.0", gpus=0, mps=False):
    about = SimpleNamespace(name="Card")
    return SimpleNamespace(
        version=SimpleNamespace(cuda=cuda),
        cuda=SimpleNamespace(
            is_available=lambda: gpus > 0,
            device_count=lambda: gpus,
            get_device_properties=lambda index: about,
            mem_get_info=lambda index: (2**33, 2**34),
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
        get_num_threads=lambda: 64,
    )


@pytest.mark.parametrize(
    ("torch", "environment", "found"),
    [
        (a_torch(gpus=2), {}, "auto takes cuda: Card (16.0 GiB, 8.0 GiB free), Card"),
        (a_torch(cuda=None), {}, "auto takes cpu: this torch is built without CUDA"),
        (a_torch(), {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES is empty"),
        (a_torch(mps=True), {}, "there is an mps device"),
    ],
)
def test_the_device_that_auto_takes_is_named_with_the_reason(
    monkeypatch, torch, environment, found
):
    monkeypatch.setitem(sys.modules, "torch", torch)
    check = doctor.check_device(environment)
    assert check.status == "ok"
    assert found in check.found


def test_more_threads_than_processors_are_a_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", a_torch())
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    monkeypatch.setattr(
        machine, "_cgroup_texts", lambda name: {"cpu.max": ["150000 100000"]}.get(name, [])
    )
    found = doctor.check_threads({"OMP_NUM_THREADS": "64"})
    assert found.status == "warning"
    assert "3 for this process, a cgroup limit of 1.5, OMP_NUM_THREADS 64" in found.found
    assert "OMP_NUM_THREADS=1:" in found.remedy


def test_little_memory_is_a_warning(monkeypatch):
    monkeypatch.setattr(
        machine, "_cgroup_texts", lambda name: {"memory.max": ["max", "536870912"]}.get(name, [])
    )
    found = doctor.check_memory()
    assert found.status == "warning"
    assert "a cgroup limit of 0.5 GiB" in found.found


def test_an_encoding_that_is_not_utf_8_is_a_warning(monkeypatch):
    monkeypatch.setattr("locale.getencoding", lambda: "ANSI_X3.4-1968")
    found = doctor.check_encodings()
    assert found.status == "warning"
    assert "locale ANSI_X3.4-1968" in found.found
    assert "LC_ALL=C.UTF-8" in found.remedy


def test_inside_a_job_array_the_shard_is_named_or_why_not():
    job = {f"SLURM_{name}": "5" for name in ("JOB_ID", "CPUS_PER_TASK", "ARRAY_TASK_ID")}
    array = {
        f"SLURM_ARRAY_TASK_{name}": text
        for name, text in {"MIN": "1", "MAX": "8", "STEP": "1", "COUNT": "8"}.items()
    }
    found = doctor.check_job(job | array)
    assert found.found == "JOB_ID 5, ARRAY_TASK_ID 5, CPUS_PER_TASK 5; --shard auto is 5/8"
    alone = doctor.check_job(job)
    assert alone.status == "warning"
    assert "auto/N" in alone.remedy


# The folder


def test_a_folder_that_cannot_be_written_is_a_problem(monkeypatch, tmp_path):
    if AS_ROOT:  # whom permissions do not stop

        def refuse(**_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tempfile.mkdtemp", refuse)
    else:
        tmp_path.chmod(0o500)
    found = one(doctor.check_folder(tmp_path, {}), "writing")
    tmp_path.chmod(0o700)
    assert found.status == "problem"
    assert "Permission denied" in found.found


def test_a_rename_that_fails_is_a_problem(monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", refuse)
    found = one(doctor.check_folder(tmp_path, {}), "writing")
    assert found.status == "problem"
    assert "the disk failed" in found.found


def test_locks_that_do_not_work_are_a_warning_that_says_what_it_means(monkeypatch, tmp_path):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    found = one(doctor.check_folder(tmp_path, {}), "file locks")
    assert found.status == "warning"
    assert "No locks available" in found.found
    assert "start no two runs on one output" in found.remedy


def test_locks_that_keep_nobody_out_are_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # here; the other process has real ones
    found = one(doctor.check_folder(tmp_path, {}), "file locks")
    assert found.status == "warning"
    assert "granted twice" in found.found


def test_a_lock_that_is_held_keeps_another_process_out(tmp_path):
    assert one(doctor.check_folder(tmp_path, {}), "file locks").status == "ok"
    path = tmp_path / "lock"
    path.touch()
    assert doctor._is_refused_elsewhere(path) is False


@pytest.mark.parametrize(
    ("usage", "status"),
    [
        (Usage(2**20, 4096, 10_000, 5_000), "ok"),
        (Usage(1_000, 4096, 10_000, 5_000), "warning"),
        (Usage(2**20, 4096, 10_000, 5), "warning"),
        (Usage(2**20, 4096, 0, 0), "ok"),
    ],
)
def test_little_space_and_few_inodes_are_warnings(monkeypatch, tmp_path, usage, status):
    monkeypatch.setattr(os, "statvfs", lambda path: usage)
    assert one(doctor.check_folder(tmp_path, {}), "space").status == status
    assert doctor.check_temporary().status == status


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [("nfs4", "ok", "on the network"), ("tmpfs", "warning", "in memory"), ("ext4", "ok", "(ext4)")],
)
def test_the_file_system_is_named(monkeypatch, tmp_path, kind, status, words):
    folder = tmp_path / "with space"
    folder.mkdir()
    place = str(tmp_path).replace(" ", r"\040")
    lines = (
        "1 0 0:1 / / rw - ext4 /dev/a rw\n"
        f"2 1 0:2 / {place} rw shared:1 - xfs /dev/b rw\n"
        rf"3 2 0:3 / {place}/with\040space rw - {kind} server:/x rw"
    )
    real = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, *a: lines if str(path) == "/proc/self/mountinfo" else real(path, *a),
    )
    found = one(doctor.check_folder(folder, {}), "folder")
    assert found.status == status
    assert words in found.found
    assert machine.file_system(tmp_path) == "xfs"


def test_a_folder_that_is_not_there_yet_is_looked_for_above(tmp_path):
    found = one(doctor.check_folder(tmp_path / "a" / "b", {}), "folder")
    assert f"a/b is not there; looked at {tmp_path}" in found.found
    assert not (tmp_path / "a").exists()


def test_hdf5_locking_is_named(tmp_path):
    checks = doctor.check_folder(tmp_path, {"HDF5_USE_FILE_LOCKING": "FALSE"})
    assert "HDF5_USE_FILE_LOCKING is FALSE" in one(checks, "HDF5 locking").found


@pytest.mark.slow
def test_the_doctor_comes_also_where_torch_is_missing(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from sedtool.cli import main\n"
        f"sys.argv = ['sedtool', 'doctor', {str(tmp_path)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 6
    assert "problem  torch" in done.stdout
    assert "ok       writing" in done.stdout
    assert done.stderr.count("\n") == 1
